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
        failure::{closed, failure, kind_name},
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
    /// The life of the code's process that these are of: another one's parts are not made here, but when it is revived.
    life: u64,
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
            life: shared.code.life(),
        }
    }

    /// Makes a part, unless the process that the others are in is gone. A new one may be there and not initialised: what is
    /// made in it now would be called before its driver's init, or refused.
    fn in_this_life<T>(&self, make: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        let is_over = || {
            let name = &self.shared.info.name;
            let text =
                format!("the worker of plugin `{name}` died, and the next is not in service");
            failure(failure_kind::GONE, text)
        };
        let lives = || self.shared.code.life() == self.life;
        if !lives() {
            return Err(is_over());
        }
        let made = make();
        // It may have died and been followed while the part was made: then that is the next one's.
        match lives() {
            true => made,
            false => Err(is_over()),
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
        let host = self.shared.component(kind, &self.closed, Some(&watch));
        // The factory is the author's code as well: it may hang like any other.
        let (outcome, _) = watch.during(Method::Init, || {
            self.in_this_life(|| {
                let mut processor = self.shared.code.processor(self.id)?;
                processor.init(host).map(|()| processor)
            })
        });
        outcome.map(|processor| self.processor = Some(processor))
    }

    fn watch(&self, component: &'static str) -> Arc<Watch> {
        self.shared
            .services
            .watches
            .add(&self.shared.info, component, Some(self.id))
    }

    /// Lets go of the processor. Its drop is the author's code as well, and may hang like any other call.
    fn drop_processor(&mut self, during: Method) {
        if let (Some(processor), Some(watch)) = (self.processor.take(), &self.processor_watch) {
            watch.during(during, || drop(processor));
        }
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
            self.drop_processor(method);
        }
        outcome
    }
}

impl ExecutorParts for Parts {
    fn instance(&self) -> &Arc<InstanceInfo> {
        &self.shared.info
    }

    fn life(&self) -> u64 {
        self.life
    }

    fn init_executor(&mut self) -> Result<(), Failure> {
        if !self.shared.declared.executor {
            return Ok(());
        }
        let watch = self.watch("executor");
        let kind = Kind::Executor(self.id);
        let host = self.shared.component(kind, &self.closed, Some(&watch));
        let extra: Pairs = {
            let extra = self.shared.extra.lock();
            extra
                .iter()
                .map(|(key, value)| Tuple2(key.as_str().into(), value.as_str().into()))
                .collect()
        };
        let (outcome, _) = watch.during(Method::Init, || {
            self.in_this_life(|| {
                let mut executor = self.shared.code.executor(self.id)?;
                executor.init(host, extra).map(|()| executor)
            })
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
        self.drop_processor(Method::Shutdown);
        if let Some((executor, watch)) = self.executor.take() {
            watch.during(Method::Shutdown, || drop(executor));
        }
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
            self.drop_processor(Method::Process);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backend::{
            code::{CheckerPart, Code, DriverPart},
            instance::Settings,
            scripted::{self, Build, Scripted},
        },
        error::Problem,
        machine::Parts as Declared,
        services::component::Component,
    };
    use std::sync::{atomic::AtomicU64, mpsc};

    /// A process whose processors panic at every batch.
    #[derive(Default)]
    struct Lives {
        life: AtomicU64,
        made: AtomicU64,
        /// The next one is there by the time a processor is made.
        dies_while_made: AtomicBool,
    }

    struct Panics;

    impl ProcessorPart for Panics {
        fn init(&mut self, _host: Component) -> Result<(), Failure> {
            Ok(())
        }

        fn process(&mut self, _: BatchRef<'_>, _: &mut OutBatch) -> Result<(), Failure> {
            Err(failure(failure_kind::PANIC, "a crime"))
        }

        fn finish(&mut self, _: &mut OutBatch) -> Result<(), Failure> {
            Ok(())
        }
    }

    impl Code for Arc<Lives> {
        fn open(&self) -> Result<(), Problem> {
            Ok(())
        }

        fn settings_schema(&self) -> Result<String, Problem> {
            Ok(String::new())
        }

        fn create(&self, _: &str, _: Component) -> Result<(), Failure> {
            Ok(())
        }

        fn driver(&self) -> Result<Box<dyn DriverPart>, Failure> {
            Err(closed("the driver"))
        }

        fn checker(&self) -> Result<Box<dyn CheckerPart>, Failure> {
            Err(closed("the checker"))
        }

        fn executor(&self, _: ExecutorId) -> Result<Box<dyn ExecutorPart>, Failure> {
            Err(closed("the executor part"))
        }

        fn life(&self) -> u64 {
            self.life.load(Ordering::Relaxed)
        }

        fn processor(&self, _: ExecutorId) -> Result<Box<dyn ProcessorPart>, Failure> {
            self.made.fetch_add(1, Ordering::Relaxed);
            let dies = self.dies_while_made.load(Ordering::Relaxed);
            self.life.fetch_add(u64::from(dies), Ordering::Relaxed);
            Ok(Box::new(Panics))
        }

        fn signal(&self, _: u32, _: u64) {}
    }

    fn parts(lives: &Arc<Lives>) -> Parts {
        let shared = Shared {
            info: Arc::clone(Scripted::quiet(0, Build::PLAIN).info()),
            services: scripted::services(mpsc::channel().0),
            declared: Declared {
                processor: true,
                ..Declared::default()
            },
            settings: Settings {
                value: serde_json::Value::Null,
                place: Box::new(|_| None),
                hidden: Box::new(|_| false),
            },
            code: Box::new(Arc::clone(lives)),
            extra: Default::default(),
            counts: Default::default(),
            hook_errors: Arc::default(),
            retired: AtomicBool::new(false),
            initializing: Arc::default(),
        };
        Parts::new(&Arc::new(shared), ExecutorId(0))
    }

    fn process(parts: &mut Parts) -> u8 {
        let offsets = [0_u32, 1];
        let batch = BatchRef {
            epoch: 0,
            task: 1,
            attempt: 1,
            offsets: offsets.as_slice().into(),
            bytes: b"x".as_slice().into(),
        };
        let outcome = parts.process(batch, &mut OutBatch::default());
        outcome.expect_err("each of them fails").kind
    }

    /// The seed of chaos that found it: a record had panicked on an executor, the worker died on another one, and the next
    /// record of the replay went to the new worker before its instance was made. It was at fault for that.
    #[test]
    fn no_processor_is_made_in_a_life_that_is_not_in_service() {
        let lives = Arc::new(Lives::default());
        let mut here = parts(&lives);
        here.init_processor().expect("the first");
        assert_eq!(process(&mut here), failure_kind::PANIC);
        assert_eq!(process(&mut here), failure_kind::PANIC);
        assert_eq!(lives.made.load(Ordering::Relaxed), 2);
        lives.life.fetch_add(1, Ordering::Relaxed);
        assert_eq!(process(&mut here), failure_kind::GONE);
        assert_eq!(lives.made.load(Ordering::Relaxed), 2);
        // Revived, it has parts of the new life.
        let mut here = parts(&lives);
        here.init_processor().expect("its own");
        assert_eq!(process(&mut here), failure_kind::PANIC);
        lives.dies_while_made.store(true, Ordering::Relaxed);
        assert_eq!(process(&mut here), failure_kind::GONE);
    }
}
