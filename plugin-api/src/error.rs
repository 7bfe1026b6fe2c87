//! The error an author returns, and what glue makes of it. It decides nothing: kinds are said by glue and host alone.

use hotshoe_abi::{
    Failure,
    abi_stable::std_types::{RResult, RString},
    failure_kind,
};
use std::fmt::{self, Write as _};

/// What every fallible method of this crate answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something failed: a sentence, its causes, and, where an operator can act, a stable code and a fix.
///
/// Every `std::error::Error` converts with `?`. Whatever its kind was, an error that a plugin returns reaches the host as
/// [`Kind::Error`]; the one exception is [`Error::declined`] from [`Plugin::new`](crate::Plugin::new).
///
/// ```
/// use hotshoe_plugin_api::{Error, Result};
/// fn parse(text: &str) -> Result<u16> {
///     let port = text.parse::<u16>()?;
///     if port == 0 {
///         return Err(Error::new("port 0 is not allowed").with_code("bad-port").with_fix("name a port above 0"));
///     }
///     Ok(port)
/// }
/// assert_eq!(parse("0").unwrap_err().to_string(), "port 0 is not allowed");
/// assert_eq!(parse("x").unwrap_err().context("reading the port").to_string(),
///            "reading the port: invalid digit found in string");
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    code: String,
    message: String,
    fix: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What kind of failure an [`Error`] is. More may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// An author's own, or one of a kind that this version does not know.
    Error,
    /// The other side panicked.
    Panic,
    /// The component, or the host behind a kept context, was shut down.
    Closed,
    /// A deadline passed before the answer.
    Timeout,
    /// The target of a message is no instance of this host.
    Unknown,
    /// A mailbox or budget is full.
    Full,
    /// The process that held the target died.
    Gone,
    /// The call would wait for the thread that makes it.
    Reentrant,
    /// A config set that nobody pins was asked for.
    Epoch,
    /// The target's own init has not returned yet.
    NotReady,
    /// A message or output is over its limit.
    TooLarge,
    /// The other side has no such method or handler.
    Unsupported,
    /// No instance has declared that topic.
    NoTopic,
    /// "Not for this host".
    Declined,
}

impl Kind {
    const TABLE: [(u8, Self); 14] = [
        (failure_kind::ERROR, Self::Error),
        (failure_kind::PANIC, Self::Panic),
        (failure_kind::CLOSED, Self::Closed),
        (failure_kind::TIMEOUT, Self::Timeout),
        (failure_kind::UNKNOWN, Self::Unknown),
        (failure_kind::FULL, Self::Full),
        (failure_kind::GONE, Self::Gone),
        (failure_kind::REENTRANT, Self::Reentrant),
        (failure_kind::EPOCH, Self::Epoch),
        (failure_kind::NOT_READY, Self::NotReady),
        (failure_kind::TOO_LARGE, Self::TooLarge),
        (failure_kind::UNSUPPORTED, Self::Unsupported),
        (failure_kind::NO_TOPIC, Self::NoTopic),
        (failure_kind::DECLINED, Self::Declined),
    ];

    fn from_abi(kind: u8) -> Self {
        Self::TABLE
            .iter()
            .find(|(number, _)| *number == kind)
            .map_or(Self::Error, |(_, kind)| *kind)
    }
}

impl Error {
    /// An error that says `message`.
    pub fn new(message: impl fmt::Display) -> Self {
        Self::of_kind(Kind::Error, message.to_string())
    }

    /// "Not for this host": answered by [`Plugin::new`](crate::Plugin::new), the host skips the instance with one line and
    /// goes on. Anywhere else it is an error like any other.
    pub fn declined(message: impl fmt::Display) -> Self {
        Self::of_kind(Kind::Declined, message.to_string())
    }

    pub(crate) fn of_kind(kind: Kind, message: String) -> Self {
        Self(Box::new(Inner {
            kind,
            code: String::new(),
            message,
            fix: String::new(),
            source: None,
        }))
    }

    /// Adds a stable code, kebab-case: an operator may look it up, a script may match it.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.0.code = code.into();
        self
    }

    /// Adds what to do: a command or an edit.
    #[must_use]
    pub fn with_fix(mut self, fix: impl Into<String>) -> Self {
        self.0.fix = fix.into();
        self
    }

    /// Puts a sentence in front; kind, code and fix stay.
    #[must_use]
    pub fn context(mut self, message: impl fmt::Display) -> Self {
        self.0.message = format!("{message}: {}", self.0.message);
        self
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The stable code, or an empty string.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// What to do, or an empty string.
    #[must_use]
    pub fn fix(&self) -> &str {
        &self.0.fix
    }

    /// The cause, where it was made from another error.
    #[must_use]
    pub fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn std::error::Error + 'static))
    }

    /// As it crosses the boundary: `kind` is the glue's word, whatever the author returned.
    pub(crate) fn into_failure(self, kind: u8) -> Failure {
        Failure {
            kind,
            message: self.to_string().into(),
            code: self.0.code.into(),
            fix: self.0.fix.into(),
        }
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Error {
    fn from(source: E) -> Self {
        let mut error = Self::new(&source);
        error.0.source = Some(Box::new(source));
        error
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        // The first cause's own text is the message already; only what lies behind it is news.
        let mut cause = self.0.source.as_ref().and_then(|source| source.source());
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)?;
        if !self.0.code.is_empty() {
            write!(f, " [{}]", self.0.code)?;
        }
        if !self.0.fix.is_empty() {
            f.write_str("; fix: ")?;
            f.write_str(&self.0.fix)?;
        }
        f.write_char('.')
    }
}

/// A failure of the host's, as the author sees it.
pub(crate) fn from_failure(failure: Failure) -> Error {
    let mut error = Error::of_kind(Kind::from_abi(failure.kind), failure.message.into_string());
    error.0.code = RString::into_string(failure.code);
    error.0.fix = failure.fix.into_string();
    error
}

/// The answer of a host service, as the author sees it.
pub(crate) fn from_abi<T>(answer: RResult<T, Failure>) -> Result<T> {
    answer.into_result().map_err(from_failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authors_error_loses_the_kind_of_its_origin() {
        let peer = from_failure(Failure {
            kind: failure_kind::PANIC,
            code: "c".into(),
            message: "peer panicked".into(),
            fix: "f".into(),
        });
        assert_eq!(peer.kind(), Kind::Panic);
        let failure = peer.context("asking").into_failure(failure_kind::ERROR);
        assert_eq!(failure.kind, failure_kind::ERROR);
        assert_eq!(
            (
                failure.code.as_str(),
                failure.message.as_str(),
                failure.fix.as_str()
            ),
            ("c", "asking: peer panicked", "f")
        );
    }

    #[test]
    fn an_unknown_kind_is_an_error() {
        assert_eq!(Kind::from_abi(250), Kind::Error);
    }
}
