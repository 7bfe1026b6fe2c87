//! The component that may veto changes of other instances' topics.

use crate::{Failure, HostBox};
use abi_stable::{
    StableAbi, sabi_trait,
    std_types::{RBox, ROption, RResult, RSlice, RStr, RString},
};

/// A change that is about to happen.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct Proposal<'a> {
    /// Whose value.
    pub topic: RStr<'a>,
    /// The value after the change, canonical JSON.
    pub candidate: RSlice<'a, u8>,
    /// The value now, canonical JSON.
    pub current: RSlice<'a, u8>,
    /// Nothing will be changed, whatever the answer.
    pub dry_run: bool,
}

/// A refusal.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct Veto {
    /// RFC 6901, of the value that is objected to.
    pub pointer: RString,
    /// A sentence for whoever asked for the change.
    pub reason: RString,
}

/// A checker part, called on a thread of its own.
#[sabi_trait]
pub trait Checker: Send {
    /// Called once, before the first check.
    fn init(&mut self, host: HostBox) -> RResult<(), Failure>;
    /// Answers a veto, or nothing.
    #[sabi(last_prefix_field)]
    fn check(&mut self, proposal: Proposal<'_>) -> RResult<ROption<Veto>, Failure>;
}

/// An owned checker.
pub type CheckerBox = Checker_TO<'static, RBox<()>>;
