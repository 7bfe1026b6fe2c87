//! One executor: every instance's parts on it, and the chain of processors. Bound to no thread: one at a time calls it.

mod flight;

use self::flight::Flight;
pub(crate) use self::flight::{Landed, Landing};
use super::{Backend, ExecutorParts, Hook, IN_COMPANY, IN_HAND};
use crate::{
    error::{Blame, ExitCode, Problem},
    machine::{
        ExecutorId, InstanceId,
        batch::{Batch, OutputLimits},
        history::{Gone, Hand, History, Replay},
        supervisor::GONE,
    },
    services::{
        config::Pin,
        failure::{failure, problem_of},
    },
};
use hotshoe_abi::{BatchRef, Failure, OutBatch, Task, failure_kind};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// A batch on its way through the chain, with the config set that every attempt keeps.
#[derive(Debug)]
pub(crate) struct TaskRun {
    /// Counts from 1, in batch order.
    pub(crate) id: u64,
    pub(crate) batch: Batch,
    pub(crate) pin: Pin,
    /// Never held over a call: a thread that hangs would keep the next one from running the task.
    history: Mutex<History>,
}

impl TaskRun {
    /// What a stage of the chain is lent: what the one before it made, or the batch itself.
    fn lent<'a>(&self, attempt: u32, batch: &'a Batch, made: Option<&'a OutBatch>) -> BatchRef<'a> {
        let (offsets, bytes) = match made {
            None => (batch.offsets(), batch.bytes()),
            Some(out) => (out.offsets.as_slice(), out.bytes.as_slice()),
        };
        BatchRef {
            epoch: self.pin.epoch(),
            task: self.id,
            attempt,
            offsets: offsets.into(),
            bytes: bytes.into(),
        }
    }

    pub(crate) fn new(id: u64, batch: Batch, pin: Pin) -> Self {
        Self {
            id,
            batch,
            pin,
            history: Mutex::default(),
        }
    }

    pub(crate) fn history(&self) -> History {
        self.history.lock().clone()
    }

    pub(crate) fn set_history(&self, history: History) {
        *self.history.lock() = history;
    }

    /// Reads or changes the history in place.
    pub(crate) fn with_history<T>(&self, with: impl FnOnce(&mut History) -> T) -> T {
        with(&mut self.history.lock())
    }

    /// The same task for another thread, as far as it got: the one that has it hangs, and may yet write to its own.
    pub(crate) fn taken_over(&self) -> Self {
        Self {
            id: self.id,
            batch: self.batch.clone(),
            pin: self.pin.clone(),
            history: Mutex::new(self.history()),
        }
    }
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
    /// A worker died under it. Its instance's parts are dead until they are revived, and no attempt reaches past them.
    Gone(Gone),
}

/// Why a chain went no further.
#[derive(Debug)]
pub(crate) enum Broke {
    Failed(String),
    Gone(Gone),
}

impl Broke {
    fn reason(&self) -> String {
        match self {
            Self::Failed(reason) => reason.clone(),
            Self::Gone(gone) => gone.reason(),
        }
    }
}

/// How far `finish` has got down the chain.
struct Finishing {
    step: usize,
    /// What the processor at `step` wrote, on its way through those after it.
    written: Option<Batch>,
    all: Batch,
}

/// See the file.
pub(crate) struct Slot {
    id: ExecutorId,
    parts: Vec<Box<dyn ExecutorParts>>,
    /// Places in `parts` whose worker died: nothing of them is called until they are revived.
    dead: Vec<usize>,
    /// Places in `parts`, in the order of `[stream] processors`.
    chain: Vec<usize>,
    /// By place in `chain`: how many batches each takes before the first comes back.
    windows: Vec<usize>,
    /// By place in `chain`: the tasks that each has, oldest first.
    flights: Vec<VecDeque<Flight>>,
    /// Home without having been waited for.
    landed: VecDeque<Landed>,
    /// Places in `chain` where a panic spoiled what else was in flight.
    spoiled: Vec<usize>,
    finishing: Option<Finishing>,
    limits: OutputLimits,
    cancelled: Arc<AtomicBool>,
}

impl Slot {
    pub(crate) fn new(id: ExecutorId, limits: OutputLimits, cancelled: Arc<AtomicBool>) -> Self {
        Self {
            id,
            parts: Vec::new(),
            dead: Vec::new(),
            chain: Vec::new(),
            windows: Vec::new(),
            flights: Vec::new(),
            landed: VecDeque::new(),
            spoiled: Vec::new(),
            finishing: None,
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
        self.dead.clear();
        self.finishing = None;
        let place = |wanted: &InstanceId| instances.iter().position(|(id, _)| id == wanted);
        self.chain = chain.iter().filter_map(place).collect();
        let all = 0..self.parts.len();
        let started = self
            .init(all.clone(), |parts| parts.init_executor())
            .and_then(|()| self.init(all, |parts| parts.init_processor()));
        self.measure();
        started.inspect_err(|_| {
            // The headline is why it did not start; what fails while that is undone is logged.
            for problem in self.stop() {
                tracing::warn!(executor = self.id.0, "{problem}");
            }
        })
    }

    /// Makes one instance's parts anew after its worker died, and initialises them. What was there is owed nothing. After a
    /// failure the instance is dead as before.
    pub(crate) fn revive(
        &mut self,
        instance: InstanceId,
        backend: &dyn Backend,
    ) -> Result<(), Problem> {
        let mut parts = self.parts.iter();
        let Some(place) = parts.position(|parts| parts.instance().id == instance) else {
            return Ok(());
        };
        self.parts[place] = backend.parts(self.id);
        self.dead.retain(|dead| *dead != place);
        let revived = self
            .init(place..place + 1, |parts| parts.init_executor())
            .and_then(|()| self.init(place..place + 1, |parts| parts.init_processor()));
        self.measure();
        revived.map_err(|(_, problem)| {
            if !self.dead.contains(&place) {
                // It lives, and what was initialised is owed a shutdown.
                if let Err(failure) = self.parts[place].shutdown() {
                    tracing::warn!(executor = self.id.0, "{}", failure.message);
                }
                self.dead.push(place);
            }
            problem
        })
    }

    /// An instance whose worker died and which was not revived.
    pub(crate) fn dead(&self) -> Option<InstanceId> {
        self.dead
            .first()
            .map(|place| self.parts[*place].instance().id)
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Whether records pass through the instance here.
    pub(crate) fn in_chain(&self, instance: InstanceId) -> bool {
        let mut chain = self.chain.iter();
        chain.any(|place| self.parts[*place].instance().id == instance)
    }

    fn init(
        &mut self,
        places: std::ops::Range<usize>,
        init: impl Fn(&mut dyn ExecutorParts) -> Result<(), Failure>,
    ) -> Result<(), (InstanceId, Problem)> {
        for place in places {
            let parts = &mut self.parts[place];
            let Err(failure) = init(parts.as_mut()) else {
                continue;
            };
            let info = Arc::clone(parts.instance());
            let method = format!("init on executor {}", self.id.0);
            if failure.kind == failure_kind::GONE {
                let reason = self.bury(place, &failure).reason();
                let headline = format!("{method}: {reason}");
                let problem = Problem::error(ExitCode::Init, Blame::Plugin, GONE, headline);
                return Err((info.id, problem));
            }
            let call = (method.as_str(), "executor-init");
            let problem = problem_of(&info.name, call, ExitCode::Init, &failure);
            return Err((info.id, problem));
        }
        Ok(())
    }

    /// The worker at that place died: nothing of it is called any more.
    fn bury(&mut self, place: usize, failure: &Failure) -> Gone {
        if !self.dead.contains(&place) {
            self.dead.push(place);
        }
        let hand = match failure.code.as_str() {
            IN_HAND => Hand::Only,
            IN_COMPANY => Hand::Company,
            _ => Hand::Elsewhere,
        };
        self.gone(place, failure.message.as_str(), hand)
    }

    fn gone(&self, place: usize, how: &str, hand: Hand) -> Gone {
        let info = self.parts[place].instance();
        Gone {
            instance: info.id,
            plugin: info.name.clone(),
            how: how.to_owned(),
            life: self.parts[place].life(),
            hand,
        }
    }

    /// Refuses a call to a place that is known to be dead.
    fn alive(&self, place: usize) -> Result<(), Broke> {
        if !self.dead.contains(&place) {
            return Ok(());
        }
        Err(Broke::Gone(self.gone(place, "", Hand::Elsewhere)))
    }

    /// Runs the whole chain once, with the hooks of every executor part around it.
    pub(crate) fn attempt(&mut self, run: &TaskRun, attempt: u32) -> Attempt {
        let task = task(run, attempt);
        self.hooks(Hook::Start, task);
        let outcome = self.through_chain(run, &run.batch, attempt, 0);
        self.conclude(task, outcome.map(|batch| (batch, Vec::new())))
    }

    /// As [`attempt`](Self::attempt), one record after another from where the replay stands: finds exactly the records at
    /// fault. Where a worker dies, the replay says which record it had.
    ///
    /// - `tries`: how often a record may fail before it is at fault.
    pub(crate) fn attempt_singly(
        &mut self,
        run: &TaskRun,
        attempt: u32,
        replay: &mut Replay,
        tries: u32,
    ) -> Attempt {
        let task = task(run, attempt);
        self.hooks(Hook::Start, task);
        while replay.next < run.batch.len() {
            if self.is_cancelled() {
                break;
            }
            match self.one_record(run, attempt, replay, tries) {
                Ok(()) => {}
                Err(Broke::Failed(reason)) => replay.faults.push((replay.next, reason)),
                Err(gone) => return self.conclude(task, Err(gone)),
            }
            replay.next += 1;
        }
        let done = std::mem::take(replay);
        self.conclude(task, Ok((done.out, done.faults)))
    }

    fn one_record(
        &mut self,
        run: &TaskRun,
        attempt: u32,
        replay: &mut Replay,
        tries: u32,
    ) -> Result<(), Broke> {
        let one = run.batch.slice(replay.next);
        let mut left = tries;
        let made = loop {
            left = left.saturating_sub(1);
            match self.through_chain(run, &one, attempt, 0) {
                Err(Broke::Failed(_)) if left > 0 => {}
                made => break made?,
            }
        };
        let added = replay.out.append(&made, self.limits);
        added.map_err(|fault| Broke::Failed(fault.to_string()))
    }

    fn conclude(
        &mut self,
        task: Task,
        outcome: Result<(Batch, Vec<(usize, String)>), Broke>,
    ) -> Attempt {
        if self.is_cancelled() {
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
            Err(broke) => {
                self.hooks(Hook::Failed(&broke.reason()), task);
                match broke {
                    Broke::Failed(reason) => Attempt::Failed(reason),
                    Broke::Gone(gone) => Attempt::Gone(gone),
                }
            }
        }
    }

    fn hooks(&mut self, hook: Hook<'_>, task: Task) {
        for (place, parts) in self.parts.iter_mut().enumerate() {
            if !self.dead.contains(&place) {
                parts.hook(hook, task);
            }
        }
    }

    /// Sends a batch through the chain from the processor at `from` on.
    fn through_chain(
        &mut self,
        run: &TaskRun,
        batch: &Batch,
        attempt: u32,
        from: usize,
    ) -> Result<Batch, Broke> {
        let mut made: Option<OutBatch> = None;
        for step in from..self.chain.len() {
            let lent = run.lent(attempt, batch, made.as_ref());
            if lent.offsets.len() < 2 {
                // A processor before it dropped every record.
                break;
            }
            made = Some(self.process(step, lent)?);
        }
        match made {
            None => Ok(batch.clone()),
            Some(out) => self.proven(out).map_err(Broke::Failed),
        }
    }

    /// Calls one processor and looks at what it wrote.
    fn process(&mut self, step: usize, lent: BatchRef<'_>) -> Result<OutBatch, Broke> {
        let place = self.chain[step];
        self.alive(place)?;
        let mut out = OutBatch::default();
        out.bytes.reserve(lent.bytes.len());
        out.offsets.reserve(lent.offsets.len());
        let outcome = self.parts[place].process(lent, &mut out);
        self.judged(place, outcome, out)
    }

    /// What a call of `process` came to.
    fn judged(
        &mut self,
        place: usize,
        outcome: Result<(), Failure>,
        out: OutBatch,
    ) -> Result<OutBatch, Broke> {
        outcome.map_err(|failure| self.broke(place, "process", &failure))?;
        let checked = Batch::check(&out.offsets, out.bytes.len(), self.limits);
        checked.map_err(|fault| {
            let name = &self.parts[place].instance().name;
            Broke::Failed(format!(
                "plugin `{name}`: process wrote a broken batch: {fault}"
            ))
        })?;
        Ok(out)
    }

    fn broke(&mut self, place: usize, method: &str, failure: &Failure) -> Broke {
        match failure.kind {
            failure_kind::GONE => Broke::Gone(self.bury(place, failure)),
            _ => {
                let name = &self.parts[place].instance().name;
                Broke::Failed(explain(name, method, failure))
            }
        }
    }

    fn proven(&self, out: OutBatch) -> Result<Batch, String> {
        Batch::proven(out.offsets.into(), out.bytes.into(), self.limits)
            .map_err(|fault| fault.to_string())
    }

    /// Calls `finish` down the chain; what each writes passes the processors after it. After a death the next call goes on
    /// where that one was: whoever has finished is not asked again.
    pub(crate) fn finish(&mut self, run: &TaskRun) -> Result<Batch, Broke> {
        let mut now = self.finishing.take().unwrap_or_else(|| Finishing {
            step: 0,
            written: None,
            all: Batch::new(),
        });
        match self.finish_from(run, &mut now) {
            Ok(()) => Ok(now.all),
            Err(broke) => {
                self.finishing = matches!(broke, Broke::Gone(_)).then_some(now);
                Err(broke)
            }
        }
    }

    fn finish_from(&mut self, run: &TaskRun, now: &mut Finishing) -> Result<(), Broke> {
        while now.step < self.chain.len() {
            let written = match now.written.take() {
                Some(written) => written,
                None => self.finish_one(self.chain[now.step])?,
            };
            if !written.is_empty() {
                match self.through_chain(run, &written, 1, now.step + 1) {
                    Ok(made) => {
                        let added = now.all.append(&made, self.limits);
                        added.map_err(|fault| Broke::Failed(fault.to_string()))?;
                    }
                    Err(broke) => {
                        now.written = Some(written);
                        return Err(broke);
                    }
                }
            }
            now.step += 1;
        }
        Ok(())
    }

    fn finish_one(&mut self, place: usize) -> Result<Batch, Broke> {
        self.alive(place)?;
        let mut out = OutBatch::default();
        let outcome = self.parts[place].finish(&mut out);
        outcome.map_err(|failure| self.broke(place, "finish", &failure))?;
        self.proven(out).map_err(|fault| {
            let name = &self.parts[place].instance().name;
            Broke::Failed(format!(
                "plugin `{name}`: finish wrote a broken batch: {fault}"
            ))
        })
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

    /// Shuts every part down, in reverse order, each exactly once; answers what failed. What a dead worker held is owed
    /// nothing.
    pub(crate) fn stop(&mut self) -> Vec<Problem> {
        let mut problems = Vec::new();
        while let Some(mut parts) = self.parts.pop() {
            if self.dead.contains(&self.parts.len()) {
                continue;
            }
            match parts.shutdown() {
                // Its death is the supervisor's to tell.
                Err(failure) if failure.kind != failure_kind::GONE => {
                    let method = format!("shutdown on executor {}", self.id.0);
                    let call = (method.as_str(), "executor-shutdown");
                    let name = &parts.instance().name;
                    problems.push(problem_of(name, call, ExitCode::Shutdown, &failure));
                }
                _ => {}
            }
        }
        self.chain.clear();
        self.dead.clear();
        self.measure();
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
