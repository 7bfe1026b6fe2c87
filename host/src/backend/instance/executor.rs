//! One instance's parts on one executor: plain calls on whatever thread the executor is served by.

use super::{ExecutorParts, Shared};
use crate::{
    backend::{
        Hook,
        code::{ExecutorPart, ProcessorPart},
    },
    error::ExitCode,
    machine::{ExecutorId, supervisor::Event},
    services::{
        InstanceInfo,
        component::Kind,
        failure::{closed, kind_name},
        watch::{Method, Watch},
    },
};
use hotshoe_abi::{
    BatchRef, Failure, OutBatch, Pairs, Task, abi_stable::std_types::Tuple2, failure_kind,
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// See the file.
pub(super) struct Parts {
    shared: Arc<Shared>,
    id: ExecutorId,
    name: String,
    closed: Arc<AtomicBool>,
    executor: Option<(Box<dyn ExecutorPart>, Arc<Watch>)>,
    processor: Option<Box<dyn ProcessorPart>>,
    processor_watch: Option<Arc<Watch>>,
    /// Batches begun and not ended.
    begun: usize,
    /// The processor panicked under one of them: it is dropped with the last.
    poisoned: bool,
    /// The executor part knows of the task in hand.
    start_told: bool,
}

impl Parts {
    pub(super) fn new(shared: &Arc<Shared>, id: ExecutorId) -> Self {
        Self {
            shared: Arc::clone(shared),
            id,
            name: id.0.to_string(),
            closed: Arc::default(),
            executor: None,
            processor: None,
            processor_watch: None,
            begun: 0,
            poisoned: false,
            start_told: false,
        }
    }

    fn retired(&self) -> bool {
        self.shared.retired.load(Ordering::Relaxed)
    }

    fn make_processor(&mut self) -> Result<(), Failure> {
        let watch = match &self.processor_watch {
            Some(watch) => Arc::clone(watch),
            None => Arc::clone(self.processor_watch.insert(self.watch("processor"))),
        };
        let kind = Kind::Processor(self.id);
        let host = self
            .shared
            .component(kind, &self.name, &self.closed, Some(&watch));
        // The factory is the author's code as well: it may hang like any other.
        let (outcome, _) = watch.during(Method::Init, || {
            let mut processor = self.shared.code.processor(self.id)?;
            processor.init(host).map(|()| processor)
        });
        outcome.map(|processor| self.processor = Some(processor))
    }

    fn watch(&self, component: &'static str) -> Arc<Watch> {
        self.shared
            .services
            .watches
            .add(&self.shared.info, component, Some(self.id))
    }

    fn call_processor(
        &mut self,
        method: Method,
        call: impl FnOnce(&mut dyn ProcessorPart) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if self.processor.is_none() {
            // The one before it panicked; a new one serves the retry.
            self.make_processor()?;
        }
        let (Some(processor), Some(watch)) =
            (self.processor.as_mut(), self.processor_watch.as_ref())
        else {
            return Err(closed("the processor"));
        };
        let (outcome, _) = watch.during(method, || call(processor.as_mut()));
        if outcome
            .as_ref()
            .is_err_and(|failure| failure.kind == failure_kind::PANIC)
        {
            self.processor = None;
        }
        outcome
    }
}

impl ExecutorParts for Parts {
    fn instance(&self) -> &Arc<InstanceInfo> {
        &self.shared.info
    }

    fn init_executor(&mut self) -> Result<(), Failure> {
        if !self.shared.declared.executor {
            return Ok(());
        }
        let watch = self.watch("executor");
        let kind = Kind::Executor(self.id);
        let host = self
            .shared
            .component(kind, &self.name, &self.closed, Some(&watch));
        let extra: Pairs = {
            let extra = self.shared.extra.lock();
            extra
                .iter()
                .map(|(key, value)| Tuple2(key.as_str().into(), value.as_str().into()))
                .collect()
        };
        let (outcome, _) = watch.during(Method::Init, || {
            let mut executor = self.shared.code.executor(self.id)?;
            executor.init(host, extra).map(|()| executor)
        });
        outcome.map(|executor| self.executor = Some((executor, watch)))
    }

    fn init_processor(&mut self) -> Result<(), Failure> {
        match self.shared.declared.processor {
            true => self.make_processor(),
            false => Ok(()),
        }
    }

    fn hook(&mut self, hook: Hook<'_>, task: Task) {
        // Whoever was told of a start is told of its end, retired meanwhile or not; nobody else is.
        let due = match hook {
            Hook::Start => {
                self.start_told = !self.retired();
                self.start_told
            }
            Hook::Succeeded | Hook::Failed(_) => std::mem::take(&mut self.start_told),
        };
        if !due {
            return;
        }
        let Some((executor, watch)) = self.executor.as_mut() else {
            return;
        };
        let (outcome, _) = match hook {
            Hook::Start => watch.during(Method::OnTaskStart, || executor.on_task_start(task)),
            Hook::Succeeded => {
                watch.during(Method::OnTaskSucceeded, || executor.on_task_succeeded(task))
            }
            Hook::Failed(reason) => watch.during(Method::OnTaskFailed, || {
                executor.on_task_failed(task, reason)
            }),
        };
        if let Err(failure) = outcome {
            self.shared.hook_errors.fetch_add(1, Ordering::Relaxed);
            let (plugin, executor) = (&self.shared.info.name, &self.name);
            let kind = kind_name(failure.kind);
            tracing::warn!(
                plugin,
                executor,
                task = task.id,
                kind,
                "a task hook failed: {}",
                failure.message
            );
        }
    }

    fn process(&mut self, batch: BatchRef<'_>, out: &mut OutBatch) -> Result<(), Failure> {
        self.call_processor(Method::Process, |processor| processor.process(batch, out))
    }

    fn finish(&mut self, out: &mut OutBatch) -> Result<(), Failure> {
        self.call_processor(Method::Finish, |processor| processor.finish(out))
    }

    fn receive(&mut self, message: &[u8]) {
        if self.retired() {
            return;
        }
        let Some((executor, watch)) = self.executor.as_mut() else {
            self.shared.counted(|counts| &counts.dropped);
            return;
        };
        self.shared.counted(|counts| &counts.delivered);
        let (outcome, _) = watch.during(Method::Receive, || executor.receive(message));
        let Err(failure) = outcome else { return };
        self.shared.counted(|counts| &counts.failed);
        if failure.kind == failure_kind::PANIC {
            let problem = self.shared.problem("receive", ExitCode::Running, &failure);
            self.shared
                .services
                .tell(Event::Faulted(self.shared.info.id, problem));
            return;
        }
        let (plugin, executor) = (&self.shared.info.name, &self.name);
        tracing::warn!(
            plugin,
            executor,
            "a broadcast message failed: {}",
            failure.message
        );
    }

    fn shutdown(&mut self) -> Result<(), Failure> {
        let outcome = match self.executor.as_mut() {
            Some((executor, watch)) => watch.during(Method::Shutdown, || executor.shutdown()).0,
            None => Ok(()),
        };
        self.closed.store(true, Ordering::Release);
        self.processor = None;
        self.executor = None;
        outcome
    }

    fn window(&self) -> usize {
        self.processor
            .as_ref()
            .map_or(1, |processor| processor.window())
    }

    fn begin(&mut self, batch: BatchRef<'_>) -> Result<(), Failure> {
        if self.poisoned {
            return Err(closed("the processor"));
        }
        self.call_processor(Method::Process, |processor| processor.begin(batch))?;
        self.begun += 1;
        Ok(())
    }

    fn end(&mut self, out: &mut OutBatch) -> Result<(), Failure> {
        let (Some(processor), Some(watch)) =
            (self.processor.as_mut(), self.processor_watch.as_ref())
        else {
            return Err(closed("the processor"));
        };
        let (outcome, _) = watch.during(Method::Process, || processor.end(out));
        self.begun = self.begun.saturating_sub(1);
        let panicked = |failure: &Failure| failure.kind == failure_kind::PANIC;
        self.poisoned |= outcome.as_ref().is_err_and(panicked);
        if self.poisoned && self.begun == 0 {
            self.poisoned = false;
            self.processor = None;
        }
        outcome
    }

    fn ended(&mut self) -> bool {
        self.processor
            .as_mut()
            .is_none_or(|processor| processor.ended())
    }

    fn has_executor_part(&self) -> bool {
        self.executor.is_some()
    }
}
