//! How a call says that it failed.

use abi_stable::{StableAbi, std_types::RString};

/// A failure as it crosses the boundary.
///
/// The kind is said by glue and host alone; whatever an author returns is [`failure_kind::ERROR`], even when it was made
/// from a peer's failure, so that no plugin can make another look guilty.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct Failure {
    /// One of [`failure_kind`].
    pub kind: u8,
    /// A stable code of the author's (`config-port-taken`), or empty.
    pub code: RString,
    /// A sentence for an operator, with its causes after colons.
    pub message: RString,
    /// What to do, or empty.
    pub fix: RString,
}

/// The kinds of [`Failure`]. Append-only.
pub mod failure_kind {
    /// The author's code answered an error.
    pub const ERROR: u8 = 1;
    /// The author's code panicked; the panic was caught in the plugin's own glue.
    pub const PANIC: u8 = 2;
    /// The component, or the host behind a kept context, was shut down.
    pub const CLOSED: u8 = 3;
    /// A deadline passed before the answer.
    pub const TIMEOUT: u8 = 4;
    /// The target of a message is no instance of this host.
    pub const UNKNOWN: u8 = 5;
    /// A mailbox or budget is full.
    pub const FULL: u8 = 6;
    /// The process that held the target died.
    pub const GONE: u8 = 7;
    /// The call would wait for the thread that makes it.
    pub const REENTRANT: u8 = 8;
    /// A config set that nobody pins was asked for.
    pub const EPOCH: u8 = 9;
    /// The target's own init has not returned yet.
    pub const NOT_READY: u8 = 10;
    /// A message or output is over its limit.
    pub const TOO_LARGE: u8 = 11;
    /// The other side has no such method or handler.
    pub const UNSUPPORTED: u8 = 12;
    /// No instance has declared that topic.
    pub const NO_TOPIC: u8 = 13;
    /// "Not for this host": the plugin asks to be skipped. Only from `create`.
    pub const DECLINED: u8 = 14;
}
