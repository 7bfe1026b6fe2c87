//! Where an instance's code runs, seen from the host's side of the instance: what makes its parts, and the parts. Each
//! method is one call of the plugin's, made on the calling thread, which waits for it; threads, mailboxes, watches and the
//! rules of poison are `instance/`'s and the same whatever stands behind this.

use crate::{
    error::Problem,
    machine::ExecutorId,
    services::{component::Component, config::Proposal},
    status::WorkerStatus,
};
use hotshoe_abi::{BatchRef, Failure, OutBatch, Pairs, Task, Veto};

/// One instance's code.
pub(crate) trait Code: Send + Sync {
    /// Brings it in: none of the plugin's own functions is called. Again only after it was gone.
    fn open(&self) -> Result<(), Problem>;
    /// It is taken into service: from here on the death of its process is told. Not so where it has died before.
    fn serve(&self) -> Result<(), Problem> {
        Ok(())
    }
    /// The JSON Schema of the plugin's settings.
    fn settings_schema(&self) -> Result<String, Problem>;
    /// Makes the instance. `host` serves threads that work for no component.
    fn create(&self, settings: &str, host: Component) -> Result<(), Failure>;
    /// The driver part, as the plugin hands it out.
    fn driver(&self) -> Result<Box<dyn DriverPart>, Failure>;
    /// The checker part.
    fn checker(&self) -> Result<Box<dyn CheckerPart>, Failure>;
    /// The executor part for one executor.
    fn executor(&self, id: ExecutorId) -> Result<Box<dyn ExecutorPart>, Failure>;
    /// Counts the processes that it has been in: parts of one are no use in the next, which knows nothing of them.
    fn life(&self) -> u64 {
        0
    }
    /// The processor part for one executor.
    fn processor(&self, id: ExecutorId) -> Result<Box<dyn ProcessorPart>, Failure>;
    /// Speaks to the glue beside a running call; returns at once.
    fn signal(&self, kind: u32, value: u64);
    /// Ends the process that the code is in, where that is one of its own; answers whether it is.
    fn kill(&self, _why: &str) -> bool {
        false
    }
    /// That process, for status.
    fn worker(&self) -> Option<WorkerStatus> {
        None
    }
    /// Nothing is called any more.
    fn close(&self) {}
}

/// A driver part.
pub(crate) trait DriverPart: Send {
    fn init(&mut self, host: Component) -> Result<Pairs, Failure>;
    fn register_metrics(&mut self) -> Result<(), Failure>;
    fn receive(&mut self, message: &[u8]) -> Result<Vec<u8>, Failure>;
    fn shutdown(&mut self) -> Result<(), Failure>;
}

/// A checker part.
pub(crate) trait CheckerPart: Send {
    fn init(&mut self, host: Component) -> Result<(), Failure>;
    fn check(&mut self, proposal: &Proposal) -> Result<Option<Veto>, Failure>;
}

/// An executor part.
pub(crate) trait ExecutorPart: Send {
    fn init(&mut self, host: Component, extra: Pairs) -> Result<(), Failure>;
    fn on_task_start(&mut self, task: Task) -> Result<(), Failure>;
    fn on_task_succeeded(&mut self, task: Task) -> Result<(), Failure>;
    fn on_task_failed(&mut self, task: Task, reason: &str) -> Result<(), Failure>;
    fn receive(&mut self, message: &[u8]) -> Result<(), Failure>;
    fn shutdown(&mut self) -> Result<(), Failure>;
}

/// A processor part.
pub(crate) trait ProcessorPart: Send {
    fn init(&mut self, host: Component) -> Result<(), Failure>;
    fn process(&mut self, batch: BatchRef<'_>, out: &mut OutBatch) -> Result<(), Failure>;
    fn finish(&mut self, out: &mut OutBatch) -> Result<(), Failure>;
    /// How many batches may be handed over before the first is taken back.
    fn window(&self) -> usize {
        1
    }
    /// Hands a batch over and returns. Only where [`window`](Self::window) is more than 1.
    fn begin(&mut self, _batch: BatchRef<'_>) -> Result<(), Failure> {
        Err(crate::services::failure::closed("a window of one"))
    }
    /// Whether the oldest batch that was handed over can be taken back at once.
    fn ended(&mut self) -> bool {
        true
    }
    /// Takes the oldest batch back; waits for it.
    fn end(&mut self, _out: &mut OutBatch) -> Result<(), Failure> {
        Err(crate::services::failure::closed("a window of one"))
    }
}
