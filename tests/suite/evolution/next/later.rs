//! What ABI 1.1 would add: a struct of its own, for a method of its own.

use crate::{Failure, failure_kind};
use abi_stable::{StableAbi, std_types::RString};

/// What is asked of [`Host::later`](crate::Host::later).
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct Later {
    /// A number.
    pub value: u64,
}

/// What a default body answers.
pub fn unsupported() -> Failure {
    Failure {
        kind: failure_kind::UNSUPPORTED,
        code: RString::new(),
        message: "the other side is older".into(),
        fix: RString::new(),
    }
}
