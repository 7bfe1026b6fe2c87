//! Records on their way through a processor: offsets and bytes, as an Arrow binary array is laid out.

use abi_stable::{
    StableAbi,
    std_types::{RSlice, RVec},
};

/// A batch, lent to `process` for the length of the call.
///
/// Shape: `offsets` has one more entry than there are records, starts with 0, never falls, and ends with `bytes.len()`.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct BatchRef<'a> {
    /// The config set pinned to the task.
    pub epoch: u64,
    /// [`crate::Task::id`].
    pub task: u64,
    /// [`crate::Task::attempt`].
    pub attempt: u32,
    /// Where each record begins, and where the last one ends; in bytes.
    pub offsets: RSlice<'a, u32>,
    /// All records, one after another, nothing between.
    pub bytes: RSlice<'a, u8>,
}

/// What a processor writes. The host lends it empty and checks it when the call returns: until then it is an allegation.
///
/// Shape: as [`BatchRef`], or both empty for no records.
#[repr(C)]
#[derive(StableAbi, Debug, Default)]
pub struct OutBatch {
    /// Where each record begins, and where the last one ends; in bytes.
    pub offsets: RVec<u32>,
    /// All records, one after another.
    pub bytes: RVec<u8>,
}
