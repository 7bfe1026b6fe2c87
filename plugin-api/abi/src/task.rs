//! What a task hook is told.

use abi_stable::StableAbi;

/// One attempt at one task: a batch going through the whole chain on one executor.
#[repr(C)]
#[derive(StableAbi, Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// Counts from 1 within a run, in batch order.
    pub id: u64,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// Records in the batch.
    pub records: u32,
    /// The config set that is pinned to the task; the same for every attempt.
    pub epoch: u64,
}
