//! Messages between components. They are bytes, always.

use abi_stable::{
    StableAbi,
    std_types::{RSlice, RStr},
};

/// A one-way message to the driver of an instance.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct Telling<'a> {
    /// The instance's name; empty for the sender's own instance.
    pub to: RStr<'a>,
    /// At most 1 MiB.
    pub bytes: RSlice<'a, u8>,
}

/// A message to the driver of an instance that wants an answer.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct Question<'a> {
    /// The instance's name; empty for the asker's own instance.
    pub to: RStr<'a>,
    /// At most 1 MiB.
    pub bytes: RSlice<'a, u8>,
    /// How long the asker waits, in milliseconds; 0 for the target's own `receive` deadline.
    pub deadline_ms: u64,
    /// The component whose call the asking thread is inside (`driver`, `checker`, `executor`, `processor`), or empty on a
    /// thread of the plugin's own. The host refuses to wait for the thread that asks.
    pub caller: RStr<'a>,
}
