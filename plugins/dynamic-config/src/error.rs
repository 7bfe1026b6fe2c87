//! The one table of what a request can be refused with: status and slug (config-api §4), and the problem document that says
//! it. Slugs, statuses and titles never change within v1; details and hints are for people.
//!
//! Nothing here decides when a row applies.

use crate::answer::{self, PROBLEM_JSON};
use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use hotshoe_json::{Position, canonical};
use serde_json::{Map, Value};
use std::fmt;

macro_rules! slugs {
    ($($slug:ident = $status:literal $word:literal,)*) => {
        /// A row of config-api §4.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Slug {
            $($slug,)*
        }

        impl Slug {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$slug,)*];

            const fn row(self) -> (u16, &'static str) {
                match self {
                    $(Self::$slug => ($status, $word),)*
                }
            }
        }
    };
}

slugs! {
    BadHost = 400 "bad-host",
    BadJson = 400 "bad-json",
    DuplicateKey = 400 "duplicate-key",
    NumberOutOfRange = 400 "number-out-of-range",
    TooDeep = 400 "too-deep",
    BadPointer = 400 "bad-pointer",
    BadQuery = 400 "bad-query",
    UnknownQuery = 400 "unknown-query",
    BadHeader = 400 "bad-header",
    BadPatch = 400 "bad-patch",
    TokenRequired = 401 "token-required",
    TokenInvalid = 401 "token-invalid",
    HostRefused = 403 "host-refused",
    PeerRefused = 403 "peer-refused",
    BrowserRefused = 403 "browser-refused",
    NoSuchRoute = 404 "no-such-route",
    TouchDisabled = 404 "touch-disabled",
    PointerNotFound = 404 "pointer-not-found",
    GenerationNotFound = 404 "generation-not-found",
    GenerationGone = 410 "generation-gone",
    MethodNotAllowed = 405 "method-not-allowed",
    BodyTimeout = 408 "body-timeout",
    ConfirmPending = 409 "confirm-pending",
    NothingToConfirm = 409 "nothing-to-confirm",
    ReadersNacked = 409 "readers-nacked",
    PatchTestFailed = 409 "patch-test-failed",
    PatchPathMissing = 409 "patch-path-missing",
    TouchOverflow = 409 "touch-overflow",
    TouchNotInteger = 409 "touch-not-integer",
    GenerationMismatch = 412 "generation-mismatch",
    BodyTooLarge = 413 "body-too-large",
    DocumentTooLarge = 413 "document-too-large",
    UnsupportedMediaType = 415 "unsupported-media-type",
    SchemaViolation = 422 "schema-violation",
    PluginVeto = 422 "plugin-veto",
    IfMatchRequired = 428 "if-match-required",
    RateLimited = 429 "rate-limited",
    Internal = 500 "internal",
    VetoPanicked = 500 "veto-panicked",
    StorageFailed = 500 "storage-failed",
    ScopeNotAvailable = 501 "scope-not-available",
    NotReady = 503 "not-ready",
    ShuttingDown = 503 "shutting-down",
    StoreReadonly = 503 "store-readonly",
    Busy = 503 "busy",
    VetoTimeout = 503 "veto-timeout",
    TooManyConnections = 503 "too-many-connections",
    TooManyWatchers = 503 "too-many-watchers",
    DiskFull = 507 "disk-full",
}

impl Slug {
    pub(crate) const fn word(self) -> &'static str {
        self.row().1
    }

    pub(crate) fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().0).expect("the table holds statuses")
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|slug| slug.word() == word)
    }

    /// The slug with spaces for dashes and a capital first letter.
    pub(crate) fn title(self) -> String {
        let words = self.word().replace('-', " ");
        let (first, rest) = words.split_at(1);
        first.to_ascii_uppercase() + rest
    }

    /// Rows that are about the current generation and therefore name it.
    pub(crate) const fn names_generation(self) -> bool {
        matches!(
            self,
            Self::GenerationMismatch
                | Self::IfMatchRequired
                | Self::ConfirmPending
                | Self::NothingToConfirm
                | Self::ReadersNacked
        )
    }
}

/// One fault in the resulting value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) detail: String,
    pub(crate) pointer: String,
    pub(crate) position: Option<Position>,
}

/// A refusal, filled in: what a client reads. In a box, so that the results which carry it stay small.
#[derive(Debug)]
pub(crate) struct Problem(Box<Inner>);

#[derive(Debug)]
struct Inner {
    slug: Slug,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub(crate) fn new(slug: Slug, detail: impl Into<String>) -> Self {
        let mut problem = Self(Box::new(Inner {
            slug,
            members: Map::new(),
            headers: Vec::new(),
        }));
        problem.set("detail", detail.into());
        problem.set("status", slug.row().0);
        problem.set("title", slug.title());
        problem.set("type", format!("urn:hotshoe:config:{}", slug.word()));
        if slug.status() == StatusCode::SERVICE_UNAVAILABLE {
            return problem.retry_after_s(1);
        }
        problem
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.set("hint", hint.into());
        self
    }

    pub(crate) fn pointer(mut self, pointer: impl Into<String>) -> Self {
        self.set("pointer", pointer.into());
        self
    }

    pub(crate) fn operation(mut self, index: u64) -> Self {
        self.set("operation", index);
        self
    }

    /// Line and column, in the request's body.
    pub(crate) fn at(mut self, position: Position) -> Self {
        self.set("line", position.line);
        self.set("column", position.column);
        self
    }

    /// The current generation, in body and header.
    pub(crate) fn generation(self, generation: u64) -> Self {
        let mut problem = self.header(answer::GENERATION, generation.into());
        problem.set("generation", generation);
        problem
    }

    /// All violations; only where there is more than one.
    pub(crate) fn errors(mut self, violations: &[Violation]) -> Self {
        let errors: Vec<Value> = violations.iter().map(violation_json).collect();
        self.set("errors", errors);
        self
    }

    pub(crate) fn reasons(mut self, reasons: &[&str]) -> Self {
        self.set("reasons", reasons.to_vec());
        self
    }

    pub(crate) fn retry_after_s(self, seconds: u64) -> Self {
        self.header(header::RETRY_AFTER, seconds.into())
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// The connection ends with this answer.
    pub(crate) fn closing(self) -> Self {
        self.header(header::CONNECTION, HeaderValue::from_static("close"))
    }

    fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.members.insert(name.to_owned(), value.into());
    }

    /// The body: canonical JSON and one LF.
    pub(crate) fn body(&self) -> Vec<u8> {
        let mut body = canonical(&Value::Object(self.0.members.clone()));
        body.push(b'\n');
        body
    }

    pub(crate) fn slug(&self) -> Slug {
        self.0.slug
    }

    pub(crate) fn into_response(self) -> Response {
        let mut response = answer::reply(self.0.slug.status(), PROBLEM_JSON, self.body());
        for (name, value) in self.0.headers {
            response.headers_mut().insert(name, value);
        }
        // For the count of refusals.
        response.extensions_mut().insert(self.0.slug);
        response
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detail = self.0.members.get("detail").and_then(Value::as_str);
        write!(f, "{}: {}", self.0.slug.word(), detail.unwrap_or_default())
    }
}

fn violation_json(violation: &Violation) -> Value {
    let mut members = Map::new();
    members.insert("detail".to_owned(), violation.detail.clone().into());
    members.insert("pointer".to_owned(), violation.pointer.clone().into());
    if let Some(position) = violation.position {
        members.insert("line".to_owned(), position.line.into());
        members.insert("column".to_owned(), position.column.into());
    }
    Value::Object(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_has_one_row_and_reads_back() {
        for slug in Slug::ALL {
            assert_eq!(Slug::from_word(slug.word()), Some(*slug));
            assert!((400..=507).contains(&slug.status().as_u16()), "{slug:?}");
        }
        assert_eq!(Slug::from_word("no-such-slug"), None);
    }

    #[test]
    fn a_problem_is_the_bytes_of_the_contract() {
        let problem = Problem::new(
            Slug::GenerationMismatch,
            "If-Match names generation 2, the current generation is 3",
        )
        .hint("read the value again, then repeat with If-Match: \"3\"")
        .generation(3);
        let body = String::from_utf8(problem.body()).unwrap();
        assert_eq!(
            body,
            concat!(
                r#"{"detail":"If-Match names generation 2, the current generation is 3","generation":3,"#,
                r#""hint":"read the value again, then repeat with If-Match: \"3\"","status":412,"#,
                r#""title":"Generation mismatch","type":"urn:hotshoe:config:generation-mismatch"}"#,
                "\n"
            )
        );
        assert_eq!(body.len(), 240);
    }
}
