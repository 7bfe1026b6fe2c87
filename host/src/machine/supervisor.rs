//! Start, failure and shutdown of everything a host runs, as one pure function.
//!
//! [`step`] takes what happened and answers what to do next; `runtime/event_loop.rs` alone does it. The supervisor never
//! waits on what it supervises: every call it orders comes with a timer, and a late answer is reported, never fatal.

use super::{ExecutorId, InstanceId, Parts, retry};
use crate::error::{Blame, ExitCode, Problem, Severity};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

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
    pub(crate) parts: Parts,
    pub(crate) load: Duration,
    pub(crate) init: Duration,
    pub(crate) shutdown: Duration,
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
    /// A failed init waits for its next attempt.
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
    ExecutorBackoff(ExecutorId),
    Drain,
    /// After the drain: how long a cancelled task may still run.
    Cancel,
}

/// Why the host stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A signal, or [`crate::Host::shutdown`].
    Asked,
    /// The source has ended and everything was delivered, or nobody reads the sink any more.
    StreamEnded,
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
    StopAsked,
}

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
    OpenStream,
    StartStream,
    /// Read no further; deliver what was read.
    DrainStream,
    /// Discard what is not delivered yet.
    CancelStream,
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
    /// The call in hand.
    call: Option<Call>,
    init_failures: u32,
    /// Its driver's init returned well: it is owed one shutdown.
    initialised: bool,
    checker_ready: bool,
    registered: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExecutorState {
    Starting,
    BackingOff,
    /// Out of attempts because of that instance.
    Exhausted(InstanceId),
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
    problem: Option<Problem>,
}

#[derive(Debug)]
pub(crate) struct Supervisor {
    plan: Plan,
    phase: Phase,
    instances: Vec<InstanceState>,
    executors: BTreeMap<ExecutorId, Executor>,
    /// Next place in `plan.order` of the phase in hand.
    cursor: usize,
    exit: Option<ExitCode>,
    stream_open: bool,
}

impl Supervisor {
    pub(crate) fn new(plan: Plan) -> Self {
        let instances = plan
            .instances
            .iter()
            .map(|_| InstanceState {
                state: State::Verified,
                reason: None,
                call: None,
                init_failures: 0,
                initialised: false,
                checker_ready: false,
                registered: false,
            })
            .collect();
        Self {
            plan,
            phase: Phase::Idle,
            instances,
            executors: BTreeMap::new(),
            cursor: 0,
            exit: None,
            stream_open: false,
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
                ExecutorState::BackingOff => "backing-off",
                ExecutorState::Exhausted(_) => "failed",
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

    /// In service: loaded and neither skipped nor failed.
    fn alive(&self, id: InstanceId) -> bool {
        !matches!(self.instances[id.0].state, State::Skipped | State::Failed | State::Stopped)
    }
}

/// Takes one event and answers what to do, in order.
pub(crate) fn step(supervisor: &mut Supervisor, event: Event) -> Vec<Effect> {
    let mut effects = Vec::new();
    match event {
        Event::Begin => {
            supervisor.phase = Phase::Opening;
        }
        Event::Returned(id, call, outcome) => returned(supervisor, id, call, outcome, &mut effects),
        Event::TimerFired(timer) => timer_fired(supervisor, timer, &mut effects),
        Event::ExecutorsSet(count) => supervisor.plan.executors = count,
        Event::ExecutorStarted(id, outcome) => {
            executor_started(supervisor, id, outcome, &mut effects);
        }
        Event::ExecutorStopped(id, problems) => {
            for problem in problems {
                report(supervisor, problem, &mut effects);
            }
            if let Some(executor) = supervisor.executors.get_mut(&id) {
                executor.state = ExecutorState::Down;
            }
        }
        Event::ExecutorHung(id, instance, problem) => {
            executor_hung(supervisor, id, instance, problem, &mut effects);
        }
        Event::StreamOpened(Ok(())) => {
            supervisor.stream_open = true;
            if supervisor.phase == Phase::OpeningStream {
                run(supervisor, &mut effects);
            } else {
                effects.push(Effect::CancelStream);
            }
        }
        Event::StreamOpened(Err(problem)) => fail_host(supervisor, problem, &mut effects),
        Event::StreamEnded(outcome) => stream_ended(supervisor, outcome, &mut effects),
        Event::Overran(id, problem) => {
            if supervisor.alive(id) {
                supervisor.set(id, State::Hung, Some(problem.headline.clone()));
            }
            effects.push(Effect::Report(as_warning(problem)));
        }
        Event::Recovered(id) => {
            if supervisor.instances[id.0].state == State::Hung {
                supervisor.set(id, State::Ready, None);
            }
        }
        Event::Faulted(id, problem) => fail_instance(supervisor, id, problem, &mut effects),
        Event::StopAsked => stop(supervisor, &mut effects),
    }
    advance(supervisor, &mut effects);
    effects
}

/// Orders whatever the phase in hand needs next, until something has to be waited for.
fn advance(supervisor: &mut Supervisor, effects: &mut Vec<Effect>) {
    while !supervisor.instances.iter().any(|instance| instance.call.is_some()) {
        let moved = match supervisor.phase {
            Phase::Idle | Phase::Running | Phase::Draining | Phase::OpeningStream | Phase::Finished => false,
            Phase::Opening => next_instance(supervisor, effects, Phase::Creating, |s, id| {
                (s.instances[id.0].state == State::Verified).then_some(Call::Open)
            }),
            Phase::Creating => next_instance(supervisor, effects, Phase::Initializing, |s, id| {
                (s.instances[id.0].state == State::Verified).then_some(Call::Create)
            }),
            Phase::Initializing => next_init(supervisor, effects),
            Phase::Registering => next_instance(supervisor, effects, Phase::StartingExecutors, |s, id| {
                let instance = &s.instances[id.0];
                let due = s.alive(id) && instance.initialised && !instance.registered;
                due.then_some(Call::RegisterMetrics)
            }),
            Phase::StartingExecutors => start_executors(supervisor, effects),
            Phase::StoppingExecutors => stop_executors(supervisor, effects),
            Phase::StoppingDrivers => next_shutdown(supervisor, effects),
        };
        if !moved {
            return;
        }
    }
}

/// Orders the call that `due` names for the next instance in init order, or enters the next phase.
fn next_instance(
    supervisor: &mut Supervisor,
    effects: &mut Vec<Effect>,
    next: Phase,
    due: impl Fn(&Supervisor, InstanceId) -> Option<Call>,
) -> bool {
    // Loading follows the config's order, so that what is printed matches what is read; everything later follows `after`.
    let by_config = matches!(supervisor.phase, Phase::Opening | Phase::Creating);
    while supervisor.cursor < supervisor.plan.order.len() {
        let id = match by_config {
            true => InstanceId(supervisor.cursor),
            false => supervisor.plan.order[supervisor.cursor],
        };
        supervisor.cursor += 1;
        if let Some(call) = due(supervisor, id) {
            order(supervisor, id, call, effects);
            return true;
        }
    }
    supervisor.cursor = 0;
    if supervisor.exit.is_some() {
        stop(supervisor, effects);
    } else {
        supervisor.phase = next;
    }
    true
}

fn order(supervisor: &mut Supervisor, id: InstanceId, call: Call, effects: &mut Vec<Effect>) {
    supervisor.instance(id).call = Some(call);
    let plan = supervisor.plan_of(id);
    let deadline = match call {
        Call::Open | Call::Create => plan.load,
        Call::InitDriver | Call::InitChecker | Call::RegisterMetrics => plan.init,
        Call::Shutdown => plan.shutdown,
    };
    effects.push(Effect::Arm(Timer::Call(id, call), deadline));
    effects.push(Effect::Call(id, call));
}

fn next_init(supervisor: &mut Supervisor, effects: &mut Vec<Effect>) -> bool {
    let Some(&id) = supervisor.plan.order.get(supervisor.cursor) else {
        supervisor.cursor = 0;
        supervisor.phase = Phase::Registering;
        return true;
    };
    let parts = supervisor.plan_of(id).parts;
    let drivers_here = supervisor.plan.side != Side::Executors;
    let instance = &supervisor.instances[id.0];
    let call = if parts.driver && drivers_here && !instance.initialised {
        Some(Call::InitDriver)
    } else if parts.checker && drivers_here && !instance.checker_ready {
        Some(Call::InitChecker)
    } else {
        None
    };
    match (instance.state, call) {
        // Its timer brings it back.
        (State::BackingOff, _) => return false,
        (State::Loaded | State::Initializing, Some(call)) => {
            supervisor.set(id, State::Initializing, None);
            order(supervisor, id, call, effects);
        }
        (State::Loaded | State::Initializing, None) => {
            supervisor.set(id, State::Ready, None);
            supervisor.cursor += 1;
        }
        _ => supervisor.cursor += 1,
    }
    true
}

fn returned(
    supervisor: &mut Supervisor,
    id: InstanceId,
    call: Call,
    outcome: Result<Answer, Problem>,
    effects: &mut Vec<Effect>,
) {
    if supervisor.instances[id.0].call != Some(call) {
        // A timer and the return it guards can cross, so a late answer is reported, never fatal.
        effects.push(Effect::ReportLate(id, call));
        return;
    }
    supervisor.instance(id).call = None;
    effects.push(Effect::Disarm(Timer::Call(id, call)));
    match (call, outcome) {
        (_, Ok(Answer::Declined(reason))) => {
            supervisor.set(id, State::Skipped, Some(reason.clone()));
            effects.push(Effect::ReportSkipped(id, reason));
        }
        (Call::Open, Ok(Answer::Done)) => {}
        (Call::Create, Ok(Answer::Done)) => supervisor.set(id, State::Loaded, None),
        (Call::InitDriver, Ok(Answer::Done)) => supervisor.instance(id).initialised = true,
        (Call::InitChecker, Ok(Answer::Done)) => supervisor.instance(id).checker_ready = true,
        (Call::RegisterMetrics, Ok(Answer::Done)) => supervisor.instance(id).registered = true,
        (Call::Shutdown, Ok(Answer::Done)) => supervisor.set(id, State::Stopped, None),
        (Call::Shutdown, Err(problem)) => {
            supervisor.set(id, State::Failed, Some(problem.headline.clone()));
            report(supervisor, problem, effects);
        }
        (Call::InitDriver, Err(problem)) => init_failed(supervisor, id, problem, effects),
        (Call::Open | Call::Create | Call::InitChecker | Call::RegisterMetrics, Err(problem)) => {
            fail_instance(supervisor, id, problem, effects);
        }
    }
}

fn init_failed(supervisor: &mut Supervisor, id: InstanceId, problem: Problem, effects: &mut Vec<Effect>) {
    let attempts = supervisor.plan_of(id).init_attempts;
    let instance = supervisor.instance(id);
    instance.init_failures += 1;
    let failures = instance.init_failures;
    if failures >= attempts || supervisor.stopping() {
        fail_instance(supervisor, id, problem, effects);
        return;
    }
    supervisor.set(id, State::BackingOff, Some(problem.headline.clone()));
    effects.push(Effect::Report(as_warning(problem)));
    effects.push(Effect::Arm(Timer::Backoff(id), retry::pause(failures)));
}

fn timer_fired(supervisor: &mut Supervisor, timer: Timer, effects: &mut Vec<Effect>) {
    match timer {
        Timer::Call(id, call) if supervisor.instances[id.0].call == Some(call) => {
            supervisor.instance(id).call = None;
            overran(supervisor, id, call, effects);
        }
        Timer::Backoff(id) if supervisor.instances[id.0].state == State::BackingOff => {
            supervisor.set(id, State::Initializing, None);
        }
        Timer::ExecutorBackoff(id) => restart_executor(supervisor, id, effects),
        Timer::Drain if supervisor.phase == Phase::Draining => {
            effects.push(Effect::CancelStream);
            let patience = supervisor.plan.instances.iter().map(|plan| plan.shutdown).max();
            effects.push(Effect::Arm(Timer::Cancel, patience.unwrap_or(CANCEL_PATIENCE)));
        }
        Timer::Cancel if supervisor.phase == Phase::Draining => {
            let problem = Problem::error(
                ExitCode::Shutdown,
                Blame::Plugin,
                "drain-overran",
                "a task in hand did not return after it was cancelled; its executor is abandoned",
            );
            report(supervisor, problem, effects);
            supervisor.phase = Phase::StoppingExecutors;
        }
        // The call it guarded has returned.
        Timer::Call(..) | Timer::Backoff(_) | Timer::Drain | Timer::Cancel => {}
    }
}

/// How long a cancelled task may still run where no instance says how long its shutdown may take.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);

/// A call that the supervisor ordered did not return in time. In-process it cannot be killed: it is left behind.
fn overran(supervisor: &mut Supervisor, id: InstanceId, call: Call, effects: &mut Vec<Effect>) {
    let plan = supervisor.plan_of(id);
    let (deadline, exit) = match call {
        Call::Open | Call::Create => (plan.load, ExitCode::Init),
        Call::InitDriver | Call::InitChecker | Call::RegisterMetrics => (plan.init, ExitCode::Init),
        Call::Shutdown => (plan.shutdown, ExitCode::Shutdown),
    };
    let key = match call {
        Call::Open | Call::Create => "load",
        Call::Shutdown => "shutdown",
        _ => "init",
    };
    let headline = format!("plugin `{}`: {} did not return within {}", plan.name, call.method(), human(deadline));
    let problem = Problem::error(exit, Blame::Plugin, format!("{key}-timeout"), headline)
        .wanted(format!("an answer within {}", human(deadline)))
        .found("no answer; the call still runs and is left behind")
        .fix(format!("raise deadlines.{key} of plugin `{}`, or find out what it waits for", plan.name));
    match call {
        Call::Shutdown => {
            supervisor.set(id, State::Hung, Some(problem.headline.clone()));
            report(supervisor, problem, effects);
        }
        _ => {
            fail_instance(supervisor, id, problem, effects);
            let reason = supervisor.instances[id.0].reason.take();
            // A hung instance is owed no shutdown: its init has not returned.
            supervisor.set(id, State::Hung, reason);
        }
    }
}

/// `5s`, `500ms`.
pub(crate) fn human(duration: Duration) -> String {
    match (duration.as_secs(), duration.subsec_millis()) {
        (secs, 0) => format!("{secs}s"),
        _ => format!("{}ms", duration.as_millis()),
    }
}

/// The instance is out. A required one takes the host with it, in order.
fn fail_instance(supervisor: &mut Supervisor, id: InstanceId, problem: Problem, effects: &mut Vec<Effect>) {
    if !matches!(supervisor.instances[id.0].state, State::Stopped | State::Skipped) {
        supervisor.set(id, State::Failed, Some(problem.headline.clone()));
    }
    // A configuration that is wrong stops everything, whoever it is about.
    let fatal = supervisor.plan_of(id).required || problem.exit == ExitCode::Usage;
    if fatal {
        fail_host(supervisor, problem, effects);
    } else {
        effects.push(Effect::Report(as_warning(problem)));
        effects.push(Effect::Retire(id));
    }
}

fn as_warning(problem: Problem) -> Problem {
    Problem { severity: Severity::Warning, ..problem }
}

/// Reports an error; the first one decides the exit code.
fn report(supervisor: &mut Supervisor, problem: Problem, effects: &mut Vec<Effect>) {
    supervisor.exit.get_or_insert(problem.exit);
    effects.push(Effect::Report(problem));
}

fn fail_host(supervisor: &mut Supervisor, problem: Problem, effects: &mut Vec<Effect>) {
    report(supervisor, problem, effects);
    // While libraries are only opened, every other entry's fault is worth knowing too: no instance was made yet.
    if supervisor.phase != Phase::Opening {
        stop(supervisor, effects);
    }
}

/// Begins the orderly stop, once.
fn stop(supervisor: &mut Supervisor, effects: &mut Vec<Effect>) {
    if supervisor.stopping() {
        return;
    }
    if supervisor.stream_open {
        supervisor.phase = Phase::Draining;
        effects.push(Effect::DrainStream);
        effects.push(Effect::Arm(Timer::Drain, supervisor.plan.drain));
    } else {
        supervisor.phase = Phase::StoppingExecutors;
    }
    supervisor.cursor = 0;
}

fn stream_ended(supervisor: &mut Supervisor, outcome: Result<(), Problem>, effects: &mut Vec<Effect>) {
    supervisor.stream_open = false;
    if let Err(problem) = outcome {
        report(supervisor, problem, effects);
    }
    if supervisor.phase == Phase::Draining {
        effects.push(Effect::Disarm(Timer::Drain));
        effects.push(Effect::Disarm(Timer::Cancel));
        supervisor.phase = Phase::StoppingExecutors;
    } else {
        stop(supervisor, effects);
    }
}

fn run(supervisor: &mut Supervisor, effects: &mut Vec<Effect>) {
    supervisor.phase = Phase::Running;
    effects.push(Effect::Ready);
    if supervisor.stream_open {
        effects.push(Effect::StartStream);
    }
}

/// The instances that have something on executors and still live, in init order.
fn on_executors(supervisor: &Supervisor) -> Vec<InstanceId> {
    let lives = |id: &InstanceId| supervisor.alive(*id) && supervisor.plan_of(*id).parts.on_executors();
    supervisor.plan.order.iter().copied().filter(lives).collect()
}

fn start_executors(supervisor: &mut Supervisor, effects: &mut Vec<Effect>) -> bool {
    let wanted = match supervisor.plan.side {
        Side::Drivers => 0,
        // An executor without parts and without a stream would be a thread for nothing.
        _ if !supervisor.plan.stream && on_executors(supervisor).is_empty() => 0,
        _ => supervisor.plan.executors,
    };
    if supervisor.executors.len() < wanted as usize {
        for number in 0..wanted {
            let id = ExecutorId(number);
            supervisor.executors.insert(id, Executor { state: ExecutorState::Starting, failures: 0, problem: None });
            effects.push(Effect::StartExecutor(id, on_executors(supervisor)));
        }
        return false;
    }
    let pending = |executor: &Executor| matches!(executor.state, ExecutorState::Starting | ExecutorState::BackingOff);
    if supervisor.executors.values().any(pending) {
        return false;
    }
    if settle_exhausted(supervisor, effects) {
        return false;
    }
    if supervisor.stopping() {
        return true;
    }
    if supervisor.plan.stream && supervisor.plan.side == Side::Both {
        supervisor.phase = Phase::OpeningStream;
        effects.push(Effect::OpenStream);
    } else {
        run(supervisor, effects);
    }
    false
}

/// All executors have come to rest. Those out of attempts decide about the instance at fault; answers whether any was.
fn settle_exhausted(supervisor: &mut Supervisor, effects: &mut Vec<Effect>) -> bool {
    let exhausted: Vec<(ExecutorId, InstanceId)> = supervisor
        .executors
        .iter()
        .filter_map(|(id, executor)| match executor.state {
            ExecutorState::Exhausted(instance) => Some((*id, instance)),
            _ => None,
        })
        .collect();
    if exhausted.is_empty() {
        return false;
    }
    let guilty: BTreeSet<InstanceId> = exhausted.iter().map(|(_, instance)| *instance).collect();
    for instance in guilty {
        // One report an instance, however many executors it failed.
        let first = exhausted.iter().find(|(_, other)| *other == instance).map(|(id, _)| *id);
        let executor = first.and_then(|id| supervisor.executors.get_mut(&id));
        if let Some(problem) = executor.and_then(|executor| executor.problem.take()) {
            fail_instance(supervisor, instance, problem, effects);
        }
    }
    let stopping = supervisor.stopping();
    for (id, _) in exhausted {
        if let Some(executor) = supervisor.executors.get_mut(&id) {
            *executor = Executor { state: ExecutorState::Starting, failures: 0, problem: None };
            if stopping {
                // Nothing of it lives: what was initialised in the failed attempt was shut down with it.
                executor.state = ExecutorState::Down;
            } else {
                effects.push(Effect::StartExecutor(id, on_executors(supervisor)));
            }
        }
    }
    true
}

fn executor_started(
    supervisor: &mut Supervisor,
    id: ExecutorId,
    outcome: Result<(), (InstanceId, Problem)>,
    effects: &mut Vec<Effect>,
) {
    let restarts_max = supervisor.plan.executor_restarts_max;
    let stopping = supervisor.stopping();
    let Some(executor) = supervisor.executors.get_mut(&id) else { return };
    if executor.state != ExecutorState::Starting {
        return;
    }
    match outcome {
        Ok(()) => executor.state = ExecutorState::Up,
        Err((instance, problem)) => {
            executor.failures += 1;
            if stopping {
                executor.state = ExecutorState::Down;
            } else if executor.failures > restarts_max {
                let headline = format!("{} ({} times on executor {})", problem.headline, executor.failures, id.0);
                executor.problem = Some(Problem { headline, exit: ExitCode::Executors, ..problem });
                executor.state = ExecutorState::Exhausted(instance);
            } else {
                executor.state = ExecutorState::BackingOff;
                effects.push(Effect::Arm(Timer::ExecutorBackoff(id), retry::pause(executor.failures)));
                effects.push(Effect::Report(as_warning(problem)));
            }
        }
    }
    if stopping {
        let up: Vec<ExecutorId> = [id].into_iter().filter(|id| executor_is(supervisor, *id, ExecutorState::Up)).collect();
        for id in up {
            order_executor_stop(supervisor, id, effects);
        }
    }
}

fn executor_is(supervisor: &Supervisor, id: ExecutorId, state: ExecutorState) -> bool {
    supervisor.executors.get(&id).is_some_and(|executor| executor.state == state)
}

fn restart_executor(supervisor: &mut Supervisor, id: ExecutorId, effects: &mut Vec<Effect>) {
    if !executor_is(supervisor, id, ExecutorState::BackingOff) {
        return;
    }
    if let Some(executor) = supervisor.executors.get_mut(&id) {
        executor.state = if supervisor.phase == Phase::StartingExecutors {
            effects.push(Effect::StartExecutor(id, Vec::new()));
            ExecutorState::Starting
        } else {
            ExecutorState::Down
        };
    }
    let instances = on_executors(supervisor);
    if let Some(Effect::StartExecutor(_, wanted)) = effects.last_mut() {
        *wanted = instances;
    }
}

fn executor_hung(
    supervisor: &mut Supervisor,
    id: ExecutorId,
    instance: InstanceId,
    problem: Problem,
    effects: &mut Vec<Effect>,
) {
    let Some(executor) = supervisor.executors.get_mut(&id) else { return };
    let before = std::mem::replace(&mut executor.state, ExecutorState::Abandoned);
    let serving = supervisor.executors.values().any(|executor| executor.state == ExecutorState::Up);
    match before {
        ExecutorState::Starting => fail_host(supervisor, Problem { exit: ExitCode::Init, ..problem }, effects),
        ExecutorState::Stopping => report(supervisor, Problem { exit: ExitCode::Shutdown, ..problem }, effects),
        _ if serving => effects.push(Effect::Report(as_warning(problem))),
        _ => {
            supervisor.set(instance, State::Hung, Some(problem.headline.clone()));
            effects.push(Effect::CancelStream);
            fail_host(supervisor, Problem { exit: ExitCode::Running, ..problem }, effects);
        }
    }
}

fn order_executor_stop(supervisor: &mut Supervisor, id: ExecutorId, effects: &mut Vec<Effect>) {
    if let Some(executor) = supervisor.executors.get_mut(&id) {
        executor.state = ExecutorState::Stopping;
        effects.push(Effect::StopExecutor(id));
    }
}

fn stop_executors(supervisor: &mut Supervisor, effects: &mut Vec<Effect>) -> bool {
    let up: Vec<ExecutorId> =
        supervisor.executors.keys().copied().filter(|id| executor_is(supervisor, *id, ExecutorState::Up)).collect();
    for id in up {
        order_executor_stop(supervisor, id, effects);
    }
    for (id, executor) in &mut supervisor.executors {
        // One that waits for its next attempt has nothing to shut down.
        if executor.state == ExecutorState::BackingOff {
            effects.push(Effect::Disarm(Timer::ExecutorBackoff(*id)));
            executor.state = ExecutorState::Down;
        }
    }
    let at_rest = |executor: &Executor| {
        matches!(
            executor.state,
            ExecutorState::Down | ExecutorState::Abandoned | ExecutorState::Exhausted(_)
        )
    };
    if !supervisor.executors.values().all(at_rest) {
        return false;
    }
    supervisor.phase = Phase::StoppingDrivers;
    supervisor.cursor = 0;
    true
}

fn next_shutdown(supervisor: &mut Supervisor, effects: &mut Vec<Effect>) -> bool {
    let last = supervisor.plan.order.len();
    while supervisor.cursor < last {
        let id = supervisor.plan.order[last - 1 - supervisor.cursor];
        supervisor.cursor += 1;
        let instance = supervisor.instance(id);
        if std::mem::take(&mut instance.initialised) {
            if instance.state != State::Failed {
                supervisor.set(id, State::Stopping, None);
            }
            order(supervisor, id, Call::Shutdown, effects);
            return true;
        }
        if matches!(instance.state, State::Ready | State::Loaded | State::BackingOff) {
            supervisor.set(id, State::Stopped, None);
        }
    }
    supervisor.phase = Phase::Finished;
    effects.push(Effect::Finish(supervisor.exit.unwrap_or(ExitCode::Clean)));
    false
}

#[cfg(test)]
#[path = "supervisor_tests.rs"]
mod tests;
