//! One executor: every instance's parts on it, and the chain of processors. Bound to no thread: one at a time calls it.

use super::{Backend, ExecutorParts, Hook};
use crate::{
    error::{ExitCode, Problem},
    machine::{
        ExecutorId, InstanceId,
        batch::{Batch, OutputLimits},
    },
    services::{
        config::Pin,
        failure::{failure, problem_of},
    },
};
use hotshoe_abi::{BatchRef, Failure, OutBatch, Task, failure_kind};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// A batch on its way through the chain, with the config set that every attempt keeps.
#[derive(Debug)]
pub(crate) struct TaskRun {
    /// Counts from 1, in batch order.
    pub(crate) id: u64,
    pub(crate) batch: Batch,
    pub(crate) pin: Pin,
}

/// What an attempt makes of a task.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// The records that came out of the chain.
    Done(Batch),
    /// What a record-by-record attempt makes: what came out, and the records at fault with the reason.
    Partial(Batch, Vec<(usize, String)>),
    Failed(String),
    Cancelled,
}

/// See the file.
pub(crate) struct Slot {
    id: ExecutorId,
    parts: Vec<Box<dyn ExecutorParts>>,
    /// Places in `parts`, in the order of `[stream] processors`.
    chain: Vec<usize>,
    limits: OutputLimits,
    cancelled: Arc<AtomicBool>,
}

impl Slot {
    pub(crate) fn new(id: ExecutorId, limits: OutputLimits, cancelled: Arc<AtomicBool>) -> Self {
        Self {
            id,
            parts: Vec::new(),
            chain: Vec::new(),
            limits,
            cancelled,
        }
    }

    /// Makes and initialises every part: executor parts first, then processors, in init order. After a failure nothing is
    /// left of the attempt: what was initialised was shut down.
    pub(crate) fn start(
        &mut self,
        instances: &[(InstanceId, Arc<dyn Backend>)],
        chain: &[InstanceId],
    ) -> Result<(), (InstanceId, Problem)> {
        self.parts = instances
            .iter()
            .map(|(_, backend)| backend.parts(self.id))
            .collect();
        let place = |wanted: &InstanceId| instances.iter().position(|(id, _)| id == wanted);
        self.chain = chain.iter().filter_map(place).collect();
        let started = self
            .init(|parts| parts.init_executor())
            .and_then(|()| self.init(|parts| parts.init_processor()));
        started.inspect_err(|_| {
            // The headline is why it did not start; what fails while that is undone is logged.
            for problem in self.stop() {
                tracing::warn!(executor = self.id.0, "{problem}");
            }
        })
    }

    fn init(
        &mut self,
        init: impl Fn(&mut dyn ExecutorParts) -> Result<(), Failure>,
    ) -> Result<(), (InstanceId, Problem)> {
        for parts in &mut self.parts {
            if let Err(failure) = init(parts.as_mut()) {
                let info = parts.instance();
                let method = format!("init on executor {}", self.id.0);
                let call = (method.as_str(), "executor-init");
                let problem = problem_of(&info.name, call, ExitCode::Init, &failure);
                return Err((info.id, problem));
            }
        }
        Ok(())
    }

    /// Runs the whole chain once, with the hooks of every executor part around it.
    pub(crate) fn attempt(&mut self, run: &TaskRun, attempt: u32) -> Attempt {
        let task = task(run, attempt);
        self.hooks(Hook::Start, task);
        let outcome = self.through_chain(run, &run.batch, attempt, 0);
        self.conclude(task, outcome.map(|batch| (batch, Vec::new())))
    }

    /// As [`attempt`](Self::attempt), one record after another: finds exactly the records at fault.
    pub(crate) fn attempt_singly(&mut self, run: &TaskRun, attempt: u32) -> Attempt {
        let task = task(run, attempt);
        self.hooks(Hook::Start, task);
        let (mut out, mut faults) = (Batch::new(), Vec::new());
        for index in 0..run.batch.len() {
            if self.cancelled.load(Ordering::Acquire) {
                break;
            }
            let one = run.batch.slice(index);
            let made = self.through_chain(run, &one, attempt, 0);
            let added = made.and_then(|made| {
                out.append(&made, self.limits)
                    .map_err(|fault| fault.to_string())
            });
            if let Err(reason) = added {
                faults.push((index, reason));
            }
        }
        self.conclude(task, Ok((out, faults)))
    }

    fn conclude(
        &mut self,
        task: Task,
        outcome: Result<(Batch, Vec<(usize, String)>), String>,
    ) -> Attempt {
        if self.cancelled.load(Ordering::Acquire) {
            self.hooks(Hook::Failed("cancelled"), task);
            return Attempt::Cancelled;
        }
        match outcome {
            Ok((batch, faults)) if faults.is_empty() => {
                self.hooks(Hook::Succeeded, task);
                Attempt::Done(batch)
            }
            Ok((batch, faults)) => {
                let first = faults.first().map_or("", |(_, reason)| reason.as_str());
                let reason = format!(
                    "{} of {} records failed: {first}",
                    faults.len(),
                    task.records
                );
                self.hooks(Hook::Failed(&reason), task);
                Attempt::Partial(batch, faults)
            }
            Err(reason) => {
                self.hooks(Hook::Failed(&reason), task);
                Attempt::Failed(reason)
            }
        }
    }

    fn hooks(&mut self, hook: Hook<'_>, task: Task) {
        for parts in &mut self.parts {
            parts.hook(hook, task);
        }
    }

    /// Sends a batch through the chain from the processor at `from` on.
    fn through_chain(
        &mut self,
        run: &TaskRun,
        batch: &Batch,
        attempt: u32,
        from: usize,
    ) -> Result<Batch, String> {
        let mut made: Option<OutBatch> = None;
        for place in &self.chain[from..] {
            let (offsets, bytes) = match &made {
                None => (batch.offsets(), batch.bytes()),
                Some(out) => (out.offsets.as_slice(), out.bytes.as_slice()),
            };
            if offsets.len() < 2 {
                // A processor before it dropped every record.
                break;
            }
            let lent = BatchRef {
                epoch: run.pin.epoch(),
                task: run.id,
                attempt,
                offsets: offsets.into(),
                bytes: bytes.into(),
            };
            let mut out = OutBatch::default();
            out.bytes.reserve(bytes.len());
            out.offsets.reserve(offsets.len());
            let parts = &mut self.parts[*place];
            let outcome = parts.process(lent, &mut out);
            let name = &parts.instance().name;
            outcome.map_err(|failure| explain(name, "process", &failure))?;
            Batch::check(&out.offsets, out.bytes.len(), self.limits).map_err(|fault| {
                format!("plugin `{name}`: process wrote a broken batch: {fault}")
            })?;
            made = Some(out);
        }
        match made {
            None => Ok(batch.clone()),
            Some(out) => Batch::proven(out.offsets.into(), out.bytes.into(), self.limits)
                .map_err(|fault| fault.to_string()),
        }
    }

    /// Calls `finish` down the chain; what each writes passes the processors after it.
    pub(crate) fn finish(&mut self, run: &TaskRun) -> Result<Batch, String> {
        let mut all = Batch::new();
        for step in 0..self.chain.len() {
            let parts = &mut self.parts[self.chain[step]];
            let mut out = OutBatch::default();
            let outcome = parts.finish(&mut out);
            let name = parts.instance().name.clone();
            outcome.map_err(|failure| explain(&name, "finish", &failure))?;
            let broken = |fault| format!("plugin `{name}`: finish wrote a broken batch: {fault}");
            let written =
                Batch::proven(out.offsets.into(), out.bytes.into(), self.limits).map_err(broken)?;
            if !written.is_empty() {
                let made = self.through_chain(run, &written, 1, step + 1)?;
                all.append(&made, self.limits)
                    .map_err(|fault| fault.to_string())?;
            }
        }
        Ok(all)
    }

    /// Hands a broadcast to an instance's part.
    pub(crate) fn receive(&mut self, instance: InstanceId, message: &[u8]) {
        let parts = self
            .parts
            .iter_mut()
            .find(|parts| parts.instance().id == instance);
        if let Some(parts) = parts {
            parts.receive(message);
        }
    }

    /// Shuts every part down, in reverse order, each exactly once; answers what failed.
    pub(crate) fn stop(&mut self) -> Vec<Problem> {
        let mut problems = Vec::new();
        while let Some(mut parts) = self.parts.pop() {
            if let Err(failure) = parts.shutdown() {
                let method = format!("shutdown on executor {}", self.id.0);
                let call = (method.as_str(), "executor-shutdown");
                let name = &parts.instance().name;
                problems.push(problem_of(name, call, ExitCode::Shutdown, &failure));
            }
        }
        self.chain.clear();
        problems
    }
}

fn task(run: &TaskRun, attempt: u32) -> Task {
    Task {
        id: run.id,
        attempt,
        records: u32::try_from(run.batch.len()).unwrap_or(u32::MAX),
        epoch: run.pin.epoch(),
    }
}

fn explain(plugin: &str, method: &str, failure: &Failure) -> String {
    match failure.kind {
        failure_kind::PANIC => format!("plugin `{plugin}`: {method} {}", failure.message),
        _ => format!("plugin `{plugin}`: {method} failed: {}", failure.message),
    }
}

/// The reason for a broadcast that finds an executor's inbox full.
pub(crate) fn inbox_full(executor: ExecutorId, len: usize) -> Failure {
    failure(
        failure_kind::FULL,
        format!(
            "the mailbox of executor {} is full ({len} messages wait)",
            executor.0
        ),
    )
}
