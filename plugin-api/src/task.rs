//! What a task hook is told.

/// One attempt at one task: a batch going through the whole chain on one executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
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

impl From<hotshoe_abi::Task> for Task {
    fn from(task: hotshoe_abi::Task) -> Self {
        Self {
            id: task.id,
            attempt: task.attempt,
            records: task.records,
            epoch: task.epoch,
        }
    }
}
