//! The parts that live once per executor: task hooks, and record processing.

use crate::{
    Batch, Context, Error, ExtraConf, Kind, Output, Result, Task,
    driver::received,
    lifecycle::{Home, Part},
};
use hotshoe_abi::{
    BatchRef, Executor, Executor_TO, ExecutorBox, Failure, HostBox, OutBatch, Pairs, Processor_TO,
    ProcessorBox,
    abi_stable::{
        sabi_trait::TD_Opaque,
        std_types::{RResult, RSlice, RStr, RVec},
    },
};
use std::sync::Arc;

/// The executor part. Every method has a default. One thread at a time calls it, not always the same one: rely on
/// `&mut self`, not on thread-locals.
///
/// Within one life each `on_task_start` is followed by exactly one `_succeeded` or `_failed`.
///
/// ```
/// # use hotshoe_plugin_api::*;
/// #[derive(Default)]
/// struct Failures { counter: Option<Counter> }
/// impl ExecutorPlugin for Failures {
///     fn init(&mut self, ctx: Context, _extra: ExtraConf) -> Result<()> {
///         self.counter = Some(ctx.metrics().counter("failures")?);
///         Ok(())
///     }
///     fn on_task_failed(&mut self, _task: Task, _reason: &str) -> Result<()> {
///         if let Some(counter) = &self.counter { counter.inc(); }
///         Ok(())
///     }
/// }
/// ```
pub trait ExecutorPlugin: Send {
    /// Starts the part, with the extra conf that this instance's driver answered.
    ///
    /// - Errors: this executor starts again, up to `executors.max_restarts`.
    /// - Called: [executor & after every driver's init, before its first task]; deadline `init`, 10 s.
    fn init(&mut self, ctx: Context, extra: ExtraConf) -> Result<()> {
        let _ = (ctx, extra);
        Ok(())
    }

    /// An attempt at a task begins.
    ///
    /// - Errors, and panics: counted as `hook_errors`; the task goes on and the end hook still comes.
    /// - Called: [executor & right before the chain]; deadline `hook`, 1 s; once per attempt.
    fn on_task_start(&mut self, task: Task) -> Result<()> {
        let _ = task;
        Ok(())
    }

    /// The attempt succeeded, the whole chain of it. Errors, call and deadline as [`on_task_start`](Self::on_task_start).
    fn on_task_succeeded(&mut self, task: Task) -> Result<()> {
        let _ = task;
        Ok(())
    }

    /// The attempt failed or was cancelled. Errors, call and deadline as [`on_task_start`](Self::on_task_start).
    fn on_task_failed(&mut self, task: Task, reason: &str) -> Result<()> {
        let _ = (task, reason);
        Ok(())
    }

    /// Handles one message that this instance's driver broadcast.
    ///
    /// - Errors: counted and logged.
    /// - Called: [executor & between tasks]; deadline `receive`, 10 s.
    fn receive(&mut self, message: &[u8]) -> Result<Vec<u8>> {
        let _ = message;
        Err(Error::of_kind(
            Kind::Unsupported,
            "this plugin's executor part handles no messages".to_owned(),
        ))
    }

    /// Ends what `init` started. Its driver still takes messages.
    ///
    /// - Errors: are reported, everybody else is shut down all the same.
    /// - Called: [executor & after its last task]; deadline `shutdown`, 5 s; exactly once per life.
    fn shutdown(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The processor part: turns records into records. One thread at a time calls it.
///
/// `process` may run again on the same records: the output of a failed attempt is discarded, the state is not rolled back,
/// counters count twice.
///
/// ```
/// # use hotshoe_plugin_api::*;
/// #[derive(serde::Deserialize)]
/// struct Setting { value: i64 }
/// struct Append { topic: String, live: Option<Live<Setting>> }
/// impl Processor for Append {
///     fn init(&mut self, ctx: Context) -> Result<()> {
///         self.live = Some(ctx.live(&self.topic)?);
///         Ok(())
///     }
///     fn process(&mut self, batch: &Batch<'_>, out: &mut Output<'_>) -> Result<()> {
///         let live = self.live.as_mut().ok_or_else(|| Error::new("not initialised"))?;
///         let suffix = live.at(batch)?.value.to_string();
///         for record in batch {
///             out.push_parts(&[record, suffix.as_bytes()]);
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Processor: Send {
    /// Starts the part. All topics that drivers declare are there.
    ///
    /// - Errors: this executor starts again, up to `executors.max_restarts`.
    /// - Called: [executor & after its executor parts' init]; deadline `init`, 10 s; again on a new part after a panic.
    fn init(&mut self, ctx: Context) -> Result<()> {
        let _ = ctx;
        Ok(())
    }

    /// Writes the batch's results to `out`, in order. One record in may be none or many out.
    ///
    /// - Shape: 1 to `batch_records` records, lent until the call returns.
    /// - Errors: the attempt fails, its output is discarded, the task runs again up to `retries`. After a panic a new part
    ///   is made.
    /// - Called: [executor & inside a task]; deadline `process`, 30 s.
    fn process(&mut self, batch: &Batch<'_>, out: &mut Output<'_>) -> Result<()>;

    /// Writes what is left, after the last task of a clean stop; later processors of the chain still see it.
    ///
    /// - Errors: fail the stream.
    /// - Called: [executor & after its last task]; deadline `process`; once.
    fn finish(&mut self, out: &mut Output<'_>) -> Result<()> {
        let _ = out;
        Ok(())
    }
}

pub(crate) struct ExecutorGlue(Part<Box<dyn ExecutorPlugin>>);

impl ExecutorGlue {
    pub(crate) fn boxed(author: Box<dyn ExecutorPlugin>, home: Arc<Home>) -> ExecutorBox {
        Executor_TO::from_value(Self(Part::new("executor", author, home)), TD_Opaque)
    }
}

impl Executor for ExecutorGlue {
    fn init(&mut self, host: HostBox, extra: Pairs) -> RResult<(), Failure> {
        let extra = extra
            .into_iter()
            .map(|pair| (pair.0.into_string(), pair.1.into_string()))
            .collect();
        self.0.init(host, |author, ctx| author.init(ctx, extra))
    }

    fn on_task_start(&mut self, task: hotshoe_abi::Task) -> RResult<(), Failure> {
        self.0
            .call(|author, _| author.on_task_start(Task::from(task)))
    }

    fn on_task_succeeded(&mut self, task: hotshoe_abi::Task) -> RResult<(), Failure> {
        self.0
            .call(|author, _| author.on_task_succeeded(Task::from(task)))
    }

    fn on_task_failed(
        &mut self,
        task: hotshoe_abi::Task,
        reason: RStr<'_>,
    ) -> RResult<(), Failure> {
        self.0
            .call(|author, _| author.on_task_failed(Task::from(task), reason.as_str()))
    }

    fn receive(&mut self, message: RSlice<'_, u8>) -> RResult<RVec<u8>, Failure> {
        received(&mut self.0, |author| author.receive(message.as_slice()))
    }

    fn shutdown(&mut self) -> RResult<(), Failure> {
        self.0.call(|author, _| author.shutdown())
    }
}

pub(crate) struct ProcessorGlue(Part<Box<dyn Processor>>);

impl ProcessorGlue {
    pub(crate) fn boxed(author: Box<dyn Processor>, home: Arc<Home>) -> ProcessorBox {
        Processor_TO::from_value(Self(Part::new("processor", author, home)), TD_Opaque)
    }
}

impl hotshoe_abi::Processor for ProcessorGlue {
    fn init(&mut self, host: HostBox) -> RResult<(), Failure> {
        self.0.init(host, |author, ctx| author.init(ctx))
    }

    fn process(&mut self, batch: BatchRef<'_>, out: &mut OutBatch) -> RResult<(), Failure> {
        let mut output = Output::new(out);
        let result = self
            .0
            .call(|author, _| author.process(&Batch::new(batch), &mut output));
        output.checked(result)
    }

    fn finish(&mut self, out: &mut OutBatch) -> RResult<(), Failure> {
        let mut output = Output::new(out);
        let result = self.0.call(|author, _| author.finish(&mut output));
        output.checked(result)
    }
}
