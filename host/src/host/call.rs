//! Why a call of a host's failed, as a program reads it.

use crate::services::failure::{failure, kind_name};
use hotshoe_abi::{Failure, failure_kind};
use std::fmt;

/// Why a call of [`crate::Host`]'s failed: `unknown plugin`, `timeout`, the handler's own error, ….
#[derive(Debug, Clone)]
pub struct CallError {
    kind: u8,
    message: String,
}

impl CallError {
    /// A stable word: `error`, `panic`, `closed`, `timeout`, `unknown`, `full`, `not-ready`, `too-large`, ….
    #[must_use]
    pub fn kind(&self) -> &'static str {
        kind_name(self.kind)
    }
}

impl CallError {
    /// A failure of a [`crate::DriversElsewhere`]'s own.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            kind: failure_kind::ERROR,
            message: message.into(),
        }
    }

    /// The other half cannot be reached.
    pub fn gone(message: impl Into<String>) -> Self {
        Self {
            kind: failure_kind::GONE,
            message: message.into(),
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        failure(error.kind, error.message)
    }
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        Self {
            kind: failure.kind,
            message: failure.message.into_string(),
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CallError {}
