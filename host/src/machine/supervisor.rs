//! Start, failure and shutdown of everything a host runs, as one pure function.
//!
//! [`step`] takes what happened and answers what to do next; `runtime/event_loop.rs` alone does it. The supervisor never
//! waits on what it supervises: every call it orders comes with a timer, and a late answer is reported, never fatal.
//! What it decides about instances, executors and the stop stands in the files below this one.

mod death;
mod executors;
mod hunt;
mod instances;
mod restart;
mod revive;
mod stop;

use super::{
    ExecutorId, InstanceId, Parts,
    retry::{Jitter, RestartPolicy},
};
use crate::error::{ExitCode, Problem, Severity};
use restart::{Life, Restarts};
use std::{collections::BTreeMap, time::Duration};

/// What is to be run. Fixed, but for `executors`, which a driver's init may set.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// In the merged configuration's order.
    pub(crate) instances: Vec<InstancePlan>,
    /// Init order; shutdown is the reverse.
    pub(crate) order: Vec<InstanceId>,
    pub(crate) executors: u32,
    pub(crate) executor_restarts_max: u32,
    pub(crate) drain: Duration,
    /// There is a stream to open once everything is ready.
    pub(crate) stream: bool,
    pub(crate) side: Side,
    /// What the pauses of restarts are spread by.
    pub(crate) jitter_seed: u64,
}

/// Which halves of a host run here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Drivers, checkers and executors.
    Both,
    /// Drivers and checkers only.
    Drivers,
    /// Executors only.
    Executors,
}

#[derive(Debug, Clone)]
pub(crate) struct InstancePlan {
    pub(crate) name: String,
    pub(crate) required: bool,
    pub(crate) init_attempts: u32,
    /// `[stream]` names it: records pass through it or not at all.
    pub(crate) in_stream: bool,
    pub(crate) parts: Parts,
    pub(crate) load: Duration,
    pub(crate) init: Duration,
    pub(crate) shutdown: Duration,
    /// It runs in a worker of its own, which may be killed and started again.
    pub(crate) isolated: bool,
    pub(crate) restart: RestartPolicy,
}

/// Where an instance is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Its file was read and accepted; none of its code ran.
    Verified,
    /// Its code is in the process and its instance was made.
    Loaded,
    /// Its driver's init runs.
    Initializing,
    /// A failed init, or a worker that died, waits for its next attempt.
    BackingOff,
    /// In service.
    Ready,
    /// A call overran its deadline and still runs.
    Hung,
    /// Its shutdown runs.
    Stopping,
    /// Shut down.
    Stopped,
    /// It said "not for this host".
    Skipped,
    /// It failed; the reason says how.
    Failed,
    /// Its worker died more often than is forgiven.
    Quarantined,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Verified => "verified",
            Self::Loaded => "loaded",
            Self::Initializing => "initializing",
            Self::BackingOff => "backing-off",
            Self::Ready => "ready",
            Self::Hung => "hung",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Quarantined => "quarantined",
        })
    }
}

/// A call that the supervisor ordered and waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Call {
    Open,
    Create,
    InitDriver,
    InitChecker,
    RegisterMetrics,
    Shutdown,
}

impl Call {
    /// As an operator reads it.
    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::Open => "load",
            Self::Create => "new",
            Self::InitDriver => "init",
            Self::InitChecker => "checker init",
            Self::RegisterMetrics => "register_metrics",
            Self::Shutdown => "shutdown",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Call(InstanceId, Call),
    Backoff(InstanceId),
    /// The watchdog, which knows the part at fault, speaks first; this one ends what it cannot see.
    ExecutorStart(ExecutorId),
    ExecutorBackoff(ExecutorId),
    ExecutorStop(ExecutorId),
    /// The pause before a restart, or how long a killed worker's end is waited for.
    Restart(InstanceId),
    /// That failure, or poison record, counts no more.
    Forgive(InstanceId, u32),
    Revive(ExecutorId, InstanceId),
    Drain,
    /// After the drain: how long a cancelled task may still run.
    Cancel,
}

#[derive(Debug)]
pub(crate) enum Event {
    Begin,
    /// A call returned.
    Returned(InstanceId, Call, Result<Answer, Problem>),
    TimerFired(Timer),
    /// A driver's init set `executors.count`.
    ExecutorsSet(u32),
    /// An executor has all its parts, or the instance that failed it.
    ExecutorStarted(ExecutorId, Result<(), (InstanceId, Problem)>),
    /// Every executor part was shut down; what failed.
    ExecutorStopped(ExecutorId, Vec<Problem>),
    /// A call on an executor's thread overran; the executor is abandoned.
    ExecutorHung(ExecutorId, InstanceId, Problem),
    StreamOpened(Result<(), Problem>),
    /// Everything that was read is delivered, or given up with a reason.
    StreamEnded(Result<(), Problem>),
    /// A driver or checker call overran, and still runs.
    Overran(InstanceId, Problem),
    /// That call returned after all.
    Recovered(InstanceId),
    /// A running part broke in a way that fails its instance.
    Faulted(InstanceId, Problem),
    /// An isolated instance's worker is gone: told once for each worker that `Open` answered well for, after whatever calls
    /// had answered well. Calls in hand fail with it, before or after.
    Died(InstanceId, Death),
    /// The executor made its parts of the instance anew, or could not.
    Revived(ExecutorId, InstanceId, Result<(), Problem>),
    /// A record was found that killed the instance's worker in these of its lives. Told before that executor's `Revived`.
    Poisoned(InstanceId, Vec<u64>),
    /// A task is through under which the instance's worker died, and none of its records was found to be at fault for that.
    HuntEnded(InstanceId),
    StopAsked,
}

/// Why what was read is not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancel {
    /// The drain took longer than it may.
    DrainOverran,
    /// Nothing passes any more, however long one waits; why was told.
    NoWay,
}

/// The end of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Death {
    /// `killed by signal 11 (SIGSEGV)`, `it exited with code 3`.
    pub(crate) how: String,
    /// It was at a batch, and no other was out: a record of that may be at fault.
    pub(crate) in_hand: bool,
    /// Which of its lives ended: they are numbered upwards.
    pub(crate) life: u64,
}

/// The code of a problem that only says: the worker is gone. An executor whose start fails with it is not charged.
pub(crate) const GONE: &str = "gone";

/// What a call answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    /// `new` said "not for this host", and why.
    Declined(String),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Call(InstanceId, Call),
    Arm(Timer, Duration),
    Disarm(Timer),
    /// Make and init every part of these instances on the executor.
    StartExecutor(ExecutorId, Vec<InstanceId>),
    StopExecutor(ExecutorId),
    /// End the instance's worker, now, and say why. Its calls in hand then fail, and its death is told.
    Kill(InstanceId, String),
    /// Make and init the executor's parts of that instance anew. Tasks wait for it.
    Revive(ExecutorId, InstanceId),
    OpenStream,
    StartStream,
    /// Read no further; deliver what was read.
    DrainStream,
    /// Discard what is not delivered yet.
    CancelStream(Cancel),
    Report(Problem),
    /// One info line: the instance is skipped.
    ReportSkipped(InstanceId, String),
    ReportLate(InstanceId, Call),
    /// The host goes on without it: no message, hook or check reaches it any more.
    Retire(InstanceId),
    Ready,
    Finish(ExitCode),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Opening,
    Creating,
    Initializing,
    Registering,
    StartingExecutors,
    OpeningStream,
    Running,
    Draining,
    StoppingExecutors,
    StoppingDrivers,
    Finished,
}

#[derive(Debug)]
pub(crate) struct InstanceState {
    pub(crate) state: State,
    pub(crate) reason: Option<String>,
    /// Failed, skipped or left behind: nothing of it is started any more.
    out: bool,
    /// The call in hand.
    call: Option<Call>,
    driver: Driver,
    init_failures: u32,
    checker_ready: bool,
    /// Calls that overran and still run, of those that nobody ordered: `receive` and `check`.
    hung_calls: u32,
    /// What it goes back to when the last of them returns.
    resumes: State,
    restarts: Restarts,
}

/// How far an instance's driver is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Driver {
    /// Not initialised, or shut down: it is owed nothing.
    Absent,
    /// Its init returned well: it is owed one shutdown.
    Initialised,
    /// The same, and its metrics are registered.
    Registered,
}

#[derive(Debug, PartialEq, Eq)]
enum ExecutorState {
    Starting,
    BackingOff,
    /// Out of attempts because of that instance, which was not told yet.
    Exhausted(InstanceId, Box<Problem>),
    /// Its start needs that instance, which is being brought back.
    Awaiting(InstanceId),
    Up,
    Stopping,
    Down,
    /// Its thread does not come back; nothing is called on it any more.
    Abandoned,
}

#[derive(Debug)]
struct Executor {
    state: ExecutorState,
    failures: u32,
    /// Isolated instances, and the life of each that the last start made parts of.
    lives: BTreeMap<InstanceId, u32>,
}

/// See the file.
#[derive(Debug)]
pub(crate) struct Supervisor {
    plan: Plan,
    phase: Phase,
    instances: Vec<InstanceState>,
    executors: BTreeMap<ExecutorId, Executor>,
    /// Next place, in init order, of the phase in hand.
    cursor: usize,
    /// The first failure's.
    exit: Option<ExitCode>,
    stream_open: bool,
    jitter: Jitter,
}

impl Supervisor {
    pub(crate) fn new(plan: Plan) -> Self {
        let instance = |_: &InstancePlan| InstanceState {
            state: State::Verified,
            reason: None,
            out: false,
            call: None,
            driver: Driver::Absent,
            init_failures: 0,
            checker_ready: false,
            hung_calls: 0,
            resumes: State::Ready,
            restarts: Restarts::new(),
        };
        Self {
            phase: Phase::Idle,
            instances: plan.instances.iter().map(instance).collect(),
            executors: BTreeMap::new(),
            cursor: 0,
            exit: None,
            stream_open: false,
            jitter: Jitter::new(plan.jitter_seed),
            plan,
        }
    }

    pub(crate) fn instances(&self) -> &[InstanceState] {
        &self.instances
    }

    /// Executors and whether they serve, in a word for people.
    pub(crate) fn executors(&self) -> impl Iterator<Item = (ExecutorId, &'static str)> {
        self.executors.iter().map(|(id, executor)| {
            let word = match executor.state {
                ExecutorState::Starting => "initializing",
                ExecutorState::BackingOff | ExecutorState::Awaiting(_) => "backing-off",
                ExecutorState::Exhausted(..) => "failed",
                ExecutorState::Up => "ready",
                ExecutorState::Stopping => "stopping",
                ExecutorState::Down => "stopped",
                ExecutorState::Abandoned => "hung",
            };
            (*id, word)
        })
    }

    /// How many executors there are to be, as far as is known now.
    pub(crate) fn executors_wanted(&self) -> u32 {
        self.plan.executors
    }

    pub(crate) fn ready(&self) -> bool {
        self.phase == Phase::Running
    }

    /// A word for the whole host.
    pub(crate) fn phase(&self) -> &'static str {
        match self.phase {
            Phase::Idle | Phase::Opening | Phase::Creating => "loading",
            Phase::Initializing
            | Phase::Registering
            | Phase::StartingExecutors
            | Phase::OpeningStream => "initializing",
            Phase::Running => "ready",
            Phase::Draining | Phase::StoppingExecutors | Phase::StoppingDrivers => "stopping",
            Phase::Finished => "stopped",
        }
    }

    fn stopping(&self) -> bool {
        matches!(
            self.phase,
            Phase::Draining | Phase::StoppingExecutors | Phase::StoppingDrivers | Phase::Finished
        )
    }

    fn instance(&mut self, id: InstanceId) -> &mut InstanceState {
        &mut self.instances[id.0]
    }

    fn plan_of(&self, id: InstanceId) -> &InstancePlan {
        &self.plan.instances[id.0]
    }

    fn set(&mut self, id: InstanceId, state: State, reason: Option<String>) {
        let instance = self.instance(id);
        instance.state = state;
        instance.reason = reason;
    }

    /// Reports an error; the first one decides the exit code.
    fn report(&mut self, problem: Problem, effects: &mut Vec<Effect>) {
        self.exit.get_or_insert(problem.exit);
        effects.push(Effect::Report(problem));
    }
}

/// Takes one event and answers what to do, in order. Once it has answered [`Effect::Finish`], it answers nothing.
pub(crate) fn step(supervisor: &mut Supervisor, event: Event) -> Vec<Effect> {
    let mut effects = Vec::new();
    if supervisor.phase == Phase::Finished {
        return effects;
    }
    supervisor.take(event, &mut effects);
    supervisor.advance(&mut effects);
    effects
}

impl Supervisor {
    fn take(&mut self, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Begin if self.phase == Phase::Idle => self.phase = Phase::Opening,
            // It was asked to stop before it began.
            Event::Begin => {}
            Event::Returned(id, call, outcome) => self.returned(id, call, outcome, effects),
            Event::TimerFired(timer) => self.timer_fired(timer, effects),
            // An init that was left behind has no say any more.
            Event::ExecutorsSet(count) if self.phase == Phase::Initializing => {
                self.plan.executors = count;
            }
            Event::ExecutorsSet(_) => {}
            Event::ExecutorStarted(id, outcome) => self.executor_started(id, outcome, effects),
            Event::ExecutorStopped(id, problems) => self.executor_stopped(id, problems, effects),
            Event::ExecutorHung(id, instance, problem) => {
                self.executor_hung(id, instance, problem, effects);
            }
            Event::StreamOpened(outcome) => self.stream_opened(outcome, effects),
            Event::StreamEnded(outcome) => self.stream_ended(outcome, effects),
            Event::Overran(id, problem) => self.overran(id, problem, effects),
            Event::Recovered(id) => self.recovered(id),
            Event::Faulted(id, problem) if self.fault_of_the_dead(id) => {
                effects.push(Effect::Report(as_warning(problem)));
            }
            Event::Faulted(id, problem) => self.fail_instance(id, problem, effects),
            Event::Died(id, death) => self.died(id, death, effects),
            Event::Revived(executor, id, outcome) => self.revived(executor, id, outcome, effects),
            Event::Poisoned(id, lives) => self.poisoned(id, &lives, effects),
            Event::HuntEnded(id) => self.restarts(id).charge_held(),
            Event::StopAsked => self.stop(effects),
        }
    }

    fn timer_fired(&mut self, timer: Timer, effects: &mut Vec<Effect>) {
        match timer {
            Timer::Call(id, call) => self.call_overran(id, call, effects),
            Timer::Backoff(id) => self.backed_off(id),
            Timer::ExecutorStart(id) => self.executor_start_overran(id, effects),
            Timer::ExecutorBackoff(id) => self.executor_backed_off(id, effects),
            Timer::ExecutorStop(id) => self.executor_stop_overran(id, effects),
            Timer::Restart(id) => self.restart_due(id, effects),
            Timer::Forgive(id, serial) => self.forgive(id, serial),
            Timer::Revive(executor, id) => self.revive_overran(executor, id, effects),
            Timer::Drain => self.drain_ended(effects),
            Timer::Cancel => self.cancel_overran(effects),
        }
    }

    /// Orders whatever the phase in hand needs next, until something has to be waited for.
    fn advance(&mut self, effects: &mut Vec<Effect>) {
        while !self
            .instances
            .iter()
            .any(|instance| instance.call.is_some())
            && !self.start_waits()
        {
            let moved = match self.phase {
                Phase::Idle
                | Phase::Running
                | Phase::Draining
                | Phase::OpeningStream
                | Phase::Finished => false,
                Phase::Opening => self.next_open(effects),
                Phase::Creating => self.next_create(effects),
                Phase::Initializing => self.next_init(effects),
                Phase::Registering => self.next_register(effects),
                Phase::StartingExecutors => self.start_executors(effects),
                Phase::StoppingExecutors => self.stop_executors(effects),
                Phase::StoppingDrivers => self.next_shutdown(effects),
            };
            if !moved {
                return;
            }
        }
    }
}

fn as_warning(problem: Problem) -> Problem {
    Problem {
        severity: Severity::Warning,
        ..problem
    }
}

/// `5s`, `500ms`.
pub(crate) fn human(duration: Duration) -> String {
    match (duration.as_secs(), duration.subsec_millis()) {
        (secs, 0) if secs > 60 && secs % 60 == 0 => format!("{}m", secs / 60),
        (secs, 0) => format!("{secs}s"),
        _ => format!("{}ms", duration.as_millis()),
    }
}

#[cfg(test)]
#[path = "supervisor_tests.rs"]
mod tests;
