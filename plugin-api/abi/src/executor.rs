//! The components that live once per executor: task hooks and record processing.

use crate::{BatchRef, Failure, HostBox, OutBatch, Pairs, Task};
use abi_stable::{
    sabi_trait,
    std_types::{RBox, RResult, RSlice, RStr, RVec},
};

/// An executor part. One thread at a time calls it.
#[sabi_trait]
pub trait Executor: Send {
    /// Called once per life, before this executor's first task.
    fn init(&mut self, host: HostBox, extra: Pairs) -> RResult<(), Failure>;
    /// An attempt begins.
    fn on_task_start(&mut self, task: Task) -> RResult<(), Failure>;
    /// The attempt that began last has succeeded, the whole chain of it.
    fn on_task_succeeded(&mut self, task: Task) -> RResult<(), Failure>;
    /// The attempt that began last has failed.
    fn on_task_failed(&mut self, task: Task, reason: RStr<'_>) -> RResult<(), Failure>;
    /// Handles one message of the instance's driver, between tasks.
    fn receive(&mut self, message: RSlice<'_, u8>) -> RResult<RVec<u8>, Failure>;
    /// Called once, after the last task.
    #[sabi(last_prefix_field)]
    fn shutdown(&mut self) -> RResult<(), Failure>;
}

/// An owned executor part.
pub type ExecutorBox = Executor_TO<'static, RBox<()>>;

/// A processor part. One thread at a time calls it.
#[sabi_trait]
pub trait Processor: Send {
    /// Called once per life, after every executor part's init.
    fn init(&mut self, host: HostBox) -> RResult<(), Failure>;
    /// Turns a batch into another. May run again on the same records.
    fn process(&mut self, batch: BatchRef<'_>, out: &mut OutBatch) -> RResult<(), Failure>;
    /// Writes what is left, after the last task of a clean stop.
    #[sabi(last_prefix_field)]
    fn finish(&mut self, out: &mut OutBatch) -> RResult<(), Failure>;
}

/// An owned processor.
pub type ProcessorBox = Processor_TO<'static, RBox<()>>;
