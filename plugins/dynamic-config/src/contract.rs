//! The one table of what may be asked and what comes back (config-api §3): paths, methods, parameters, bodies, answers and
//! refusals. The router serves from it, `openapi.json` is made of it.
//!
//! It decides nothing: what a row names is checked and answered elsewhere.

use crate::error::Slug;
use axum::http::Method;
use serde_json::{Value, json};

/// Which handler answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Root,
    Touch,
    Config,
    Confirm,
    Rollback,
    History,
    HistoryEntry,
    Diff,
    Watch,
    Schema,
    Status,
    OpenApi,
    Health,
    Ready,
    Metrics,
}

/// What is asked of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// `GET`, and `HEAD` where the route takes it.
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Verb {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// A path. Paths are never normalised: a trailing slash is another one, below `/v1/config` another pointer.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// As axum writes it.
    pub(crate) path: &'static str,
    pub(crate) route: Route,
    pub(crate) takes_head: bool,
    /// Answered without a token.
    pub(crate) open: bool,
    pub(crate) calls: &'static [Call],
}

/// A method of a path.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) verb: Verb,
    pub(crate) summary: &'static str,
    pub(crate) parameters: &'static [Parameter],
    pub(crate) headers: &'static [&'static str],
    pub(crate) sends: Sends,
    pub(crate) answers: &'static [Answer],
    /// Refusals beyond [`COMMON`], and beyond [`CHANGE`] where `changes`.
    pub(crate) refusals: &'static [Slug],
    /// It changes the value, with all that can be wrong with that.
    pub(crate) changes: bool,
}

/// The body of a request.
#[derive(Debug)]
pub(crate) enum Sends {
    Nothing,
    /// One of these media types, each with the name of its schema.
    Body(&'static [(&'static str, &'static str)]),
    /// The same, or nothing.
    Maybe(&'static [(&'static str, &'static str)]),
}

/// A good answer: status, media type and schema; no media type for one without a body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content: Option<(&'static str, &'static str)>,
}

/// A parameter of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parameter {
    DryRun,
    Confirm,
    Scope,
    Canary,
    Limit,
    Before,
    From,
    To,
    Include,
    Coalesce,
}

impl Parameter {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::DryRun => "dry_run",
            Self::Confirm => "confirm",
            Self::Scope => "scope",
            Self::Canary => "canary",
            Self::Limit => "limit",
            Self::Before => "before",
            Self::From => "from",
            Self::To => "to",
            Self::Include => "include",
            Self::Coalesce => "coalesce",
        }
    }

    pub(crate) const fn is_required(self) -> bool {
        matches!(self, Self::From)
    }

    pub(crate) fn schema(self) -> Value {
        match self {
            Self::DryRun | Self::Coalesce => json!({"type": "boolean", "default": false}),
            Self::Confirm => json!({"type": "string", "pattern": "^[1-9][0-9]{0,5}(s|m|h)$"}),
            Self::Scope => json!({"type": "string", "enum": ["host", "fleet"], "default": "host"}),
            Self::Canary => json!({"type": "string"}),
            Self::Limit => {
                json!({"type": "integer", "minimum": 1, "maximum": 1_000, "default": 50})
            }
            Self::Before | Self::From | Self::To => json!({"type": "integer", "minimum": 0}),
            Self::Include => json!({"type": "string", "enum": ["value"]}),
        }
    }
}

pub(crate) const JSON: &str = "application/json";
pub(crate) const JSON_PATCH: &str = "application/json-patch+json";
pub(crate) const MERGE_PATCH: &str = "application/merge-patch+json";
pub(crate) const SCHEMA_JSON: &str = "application/schema+json";
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";
pub(crate) const METRICS_TEXT: &str = "text/plain; version=0.0.4";
pub(crate) const EVENT_STREAM: &str = "text/event-stream";

const CHANGE_PARAMETERS: &[Parameter] = &[
    Parameter::DryRun,
    Parameter::Confirm,
    Parameter::Scope,
    Parameter::Canary,
];
const PRECONDITIONS: &[&str] = &["If-Match", "If-None-Match"];
const POINTER_REFUSALS: &[Slug] = &[Slug::BadPointer, Slug::PointerNotFound];
const GENERATION_REFUSALS: &[Slug] = &[Slug::GenerationNotFound, Slug::GenerationGone];

/// What any route may refuse with.
pub(crate) const COMMON: &[Slug] = &[
    Slug::BadHost,
    Slug::UnknownQuery,
    Slug::BadQuery,
    Slug::BadHeader,
    Slug::TokenRequired,
    Slug::TokenInvalid,
    Slug::HostRefused,
    Slug::PeerRefused,
    Slug::BrowserRefused,
    Slug::NoSuchRoute,
    Slug::MethodNotAllowed,
    Slug::RateLimited,
    Slug::Internal,
    Slug::NotReady,
    Slug::ShuttingDown,
    Slug::TooManyConnections,
];

/// What any change may be refused with besides.
pub(crate) const CHANGE: &[Slug] = &[
    Slug::ConfirmPending,
    Slug::GenerationMismatch,
    Slug::BodyTooLarge,
    Slug::DocumentTooLarge,
    Slug::UnsupportedMediaType,
    Slug::SchemaViolation,
    Slug::PluginVeto,
    Slug::IfMatchRequired,
    Slug::BodyTimeout,
    Slug::StorageFailed,
    Slug::VetoPanicked,
    Slug::ScopeNotAvailable,
    Slug::StoreReadonly,
    Slug::VetoTimeout,
    Slug::Busy,
    Slug::DiskFull,
];

const fn ok(media: &'static str, schema: &'static str) -> Answer {
    Answer {
        status: 200,
        content: Some((media, schema)),
    }
}

const CHANGED: &[Answer] = &[ok(JSON, "Changed")];

/// A row that reads.
const fn reads(
    summary: &'static str,
    answers: &'static [Answer],
    refusals: &'static [Slug],
) -> Call {
    Call {
        verb: Verb::Get,
        summary,
        parameters: &[],
        headers: &[],
        sends: Sends::Nothing,
        answers,
        refusals,
        changes: false,
    }
}

/// A row that changes.
const fn changes(
    verb: Verb,
    summary: &'static str,
    sends: Sends,
    refusals: &'static [Slug],
) -> Call {
    Call {
        verb,
        summary,
        parameters: CHANGE_PARAMETERS,
        headers: PRECONDITIONS,
        sends,
        answers: CHANGED,
        refusals,
        changes: true,
    }
}

const fn endpoint(path: &'static str, route: Route, calls: &'static [Call]) -> Endpoint {
    Endpoint {
        path,
        route,
        takes_head: true,
        open: false,
        calls,
    }
}

const CONFIG: &[Call] = &[
    Call {
        headers: &["If-None-Match"],
        ..reads(
            "The value, or what a pointer names in it",
            &[
                ok(JSON, "Any"),
                Answer {
                    status: 304,
                    content: None,
                },
            ],
            POINTER_REFUSALS,
        )
    },
    changes(
        Verb::Put,
        "Sets the value, or what a pointer names in it",
        Sends::Body(&[(JSON, "Any")]),
        &[
            Slug::BadPointer,
            Slug::BadJson,
            Slug::DuplicateKey,
            Slug::NumberOutOfRange,
            Slug::TooDeep,
            Slug::PointerNotFound,
        ],
    ),
    changes(
        Verb::Patch,
        "Applies RFC 6902 or RFC 7396 to the value, or to what a pointer names in it",
        Sends::Body(&[(JSON_PATCH, "Patch"), (MERGE_PATCH, "Any")]),
        &[
            Slug::BadPatch,
            Slug::BadPointer,
            Slug::BadJson,
            Slug::DuplicateKey,
            Slug::NumberOutOfRange,
            Slug::TooDeep,
            Slug::PointerNotFound,
            Slug::PatchTestFailed,
            Slug::PatchPathMissing,
        ],
    ),
    changes(
        Verb::Delete,
        "Removes what a pointer names; the whole value becomes the initial one again",
        Sends::Nothing,
        POINTER_REFUSALS,
    ),
];

/// Every path.
pub(crate) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        takes_head: false,
        ..endpoint(
            "/",
            Route::Root,
            &[Call {
                verb: Verb::Get,
                summary: "Touches the value and tells it: the demo's one curl",
                parameters: &[],
                answers: &[ok(TEXT, "Text")],
                ..changes(
                    Verb::Get,
                    "",
                    Sends::Nothing,
                    &[
                        Slug::TouchDisabled,
                        Slug::TouchOverflow,
                        Slug::TouchNotInteger,
                    ],
                )
            }],
        )
    },
    endpoint(
        "/v1/touch",
        Route::Touch,
        &[changes(
            Verb::Post,
            "Adds the declared step to the declared number",
            Sends::Nothing,
            &[
                Slug::TouchDisabled,
                Slug::TouchOverflow,
                Slug::TouchNotInteger,
            ],
        )],
    ),
    endpoint("/v1/config", Route::Config, CONFIG),
    endpoint("/v1/config/", Route::Config, CONFIG),
    endpoint("/v1/config/{*pointer}", Route::Config, CONFIG),
    endpoint(
        "/v1/confirm",
        Route::Confirm,
        &[Call {
            parameters: &[],
            answers: &[ok(JSON, "Confirmed")],
            changes: false,
            ..changes(
                Verb::Post,
                "Makes a provisional change stand",
                Sends::Maybe(&[(JSON, "ConfirmRequest")]),
                &[
                    Slug::NothingToConfirm,
                    Slug::ReadersNacked,
                    Slug::GenerationMismatch,
                    Slug::BadJson,
                    Slug::DuplicateKey,
                    Slug::NumberOutOfRange,
                    Slug::TooDeep,
                    Slug::SchemaViolation,
                    Slug::UnsupportedMediaType,
                    Slug::BodyTooLarge,
                    Slug::BodyTimeout,
                    Slug::StorageFailed,
                    Slug::StoreReadonly,
                    Slug::Busy,
                    Slug::DiskFull,
                ],
            )
        }],
    ),
    endpoint(
        "/v1/rollback",
        Route::Rollback,
        &[changes(
            Verb::Post,
            "A new generation with an old value",
            Sends::Maybe(&[(JSON, "RollbackRequest")]),
            &[
                Slug::GenerationNotFound,
                Slug::GenerationGone,
                Slug::BadJson,
                Slug::DuplicateKey,
                Slug::NumberOutOfRange,
                Slug::TooDeep,
            ],
        )],
    ),
    endpoint(
        "/v1/history",
        Route::History,
        &[Call {
            parameters: &[Parameter::Limit, Parameter::Before],
            ..reads("Accepted changes, newest first", &[ok(JSON, "Page")], &[])
        }],
    ),
    endpoint(
        "/v1/history/{generation}",
        Route::HistoryEntry,
        &[reads(
            "One accepted change with its value",
            &[ok(JSON, "Entry")],
            GENERATION_REFUSALS,
        )],
    ),
    endpoint(
        "/v1/diff",
        Route::Diff,
        &[Call {
            parameters: &[Parameter::From, Parameter::To],
            ..reads(
                "The RFC 6902 patch from one generation to another",
                &[ok(JSON, "Diff")],
                GENERATION_REFUSALS,
            )
        }],
    ),
    Endpoint {
        takes_head: false,
        ..endpoint(
            "/v1/watch",
            Route::Watch,
            &[Call {
                parameters: &[Parameter::Include, Parameter::Coalesce],
                headers: &["Last-Event-ID"],
                ..reads(
                    "Every new generation, as server-sent events",
                    &[ok(EVENT_STREAM, "Text")],
                    &[Slug::TooManyWatchers],
                )
            }],
        )
    },
    endpoint(
        "/v1/schema",
        Route::Schema,
        &[reads(
            "The JSON Schema in force",
            &[ok(SCHEMA_JSON, "Any")],
            &[],
        )],
    ),
    endpoint(
        "/v1/status",
        Route::Status,
        &[reads(
            "What an operator asks first",
            &[ok(JSON, "Status")],
            &[],
        )],
    ),
    endpoint(
        "/v1/openapi.json",
        Route::OpenApi,
        &[reads("This description", &[ok(JSON, "Any")], &[])],
    ),
    Endpoint {
        open: true,
        ..endpoint(
            "/healthz",
            Route::Health,
            &[reads("Somebody is here", &[ok(TEXT, "Text")], &[])],
        )
    },
    Endpoint {
        open: true,
        ..endpoint(
            "/readyz",
            Route::Ready,
            &[reads("Changes would be taken", &[ok(TEXT, "Text")], &[])],
        )
    },
    endpoint(
        "/metrics",
        Route::Metrics,
        &[reads(
            "Figures for Prometheus",
            &[ok(METRICS_TEXT, "Text")],
            &[],
        )],
    ),
];

impl Endpoint {
    /// The methods, as `allow` lists them.
    pub(crate) fn methods(&self) -> String {
        let mut words = Vec::new();
        for call in self.calls {
            words.push(call.verb.word());
            if call.verb == Verb::Get && self.takes_head {
                words.push("HEAD");
            }
        }
        words.join(", ")
    }

    /// The row for a method; `None` where the path does not take it.
    pub(crate) fn call(&self, method: &Method) -> Option<&'static Call> {
        let word = match method.as_str() {
            "HEAD" if self.takes_head => "GET",
            word => word,
        };
        self.calls.iter().find(|call| call.verb.word() == word)
    }

    /// Everything that a call may be refused with, each once.
    pub(crate) fn refusals(&self, call: &Call) -> Vec<Slug> {
        let change = if call.changes { CHANGE } else { &[] };
        let mut all = Vec::new();
        for slug in COMMON.iter().chain(change).chain(call.refusals) {
            let token = matches!(slug, Slug::TokenRequired | Slug::TokenInvalid);
            if !(all.contains(slug) || self.open && token) {
                all.push(*slug);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_refusal_belongs_to_some_route() {
        let mut named = BTreeSet::new();
        for endpoint in ENDPOINTS {
            for call in endpoint.calls {
                let words = endpoint.refusals(call).into_iter().map(Slug::word);
                named.extend(words);
            }
        }
        let all: BTreeSet<_> = Slug::ALL.iter().map(|slug| slug.word()).collect();
        assert_eq!(named, all);
    }

    #[test]
    fn methods_are_listed_with_head() {
        let methods = |path: &str| {
            let endpoint = ENDPOINTS.iter().find(|endpoint| endpoint.path == path);
            endpoint.unwrap().methods()
        };
        assert_eq!(methods("/"), "GET");
        assert_eq!(methods("/v1/watch"), "GET");
        assert_eq!(methods("/v1/config"), "GET, HEAD, PUT, PATCH, DELETE");
        assert_eq!(methods("/v1/confirm"), "POST");
    }
}
