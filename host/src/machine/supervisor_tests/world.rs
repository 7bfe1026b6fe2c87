//! A runtime for tests: performs effects by a script, keeps a clock that only it moves, and writes down what was done.
//!
//! Whatever nobody wrote a line for goes well and at once. Time passes only when nothing else is left to do.

use super::super::{
    Answer, Call, Cancel, Death, Effect, Event, ExecutorId, InstanceId, InstancePlan, Plan, Side,
    State, Supervisor, Timer, human, step,
};
use crate::{
    error::{Blame, ExitCode, Problem, Severity},
    machine::{Parts, retry::RestartPolicy},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

/// A part of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Driver.
    D,
    /// Checker.
    C,
    /// Executor.
    X,
    /// Processor.
    P,
}

/// What becomes of the effect that a line names.
#[derive(Debug, Clone, Copy)]
pub(super) enum Does {
    Fails(ExitCode),
    FailsTimes(u32, ExitCode),
    /// A start of an executor that fails so many times, because of that instance.
    FailsFor(&'static str, u32),
    Declines,
    /// Its worker dies meanwhile: it fails, and then the death is told.
    Dies,
    DiesTimes(u32),
    /// The death is told, and then it fails.
    DiesFirst,
    /// The death is told first, and the call had gone well.
    DiesAfterAll,
    /// An executor's start or revival that fails so many times because that instance's worker is gone.
    FindsGone(&'static str, u32),
    Hangs,
    /// Hangs, and the watchdog says in which instance.
    HangsNoticed(&'static str),
    SetsExecutors(u32),
    /// A stop is asked for while it is in hand; it goes well.
    Stops,
}

/// A required instance with those parts.
pub(super) fn instance(name: &str, parts: &[Part]) -> InstancePlan {
    let has = |part| parts.contains(&part);
    InstancePlan {
        name: name.to_owned(),
        required: true,
        init_attempts: 1,
        parts: Parts {
            driver: has(Part::D),
            checker: has(Part::C),
            executor: has(Part::X),
            processor: has(Part::P),
        },
        in_stream: false,
        load: Duration::from_secs(1),
        init: Duration::from_secs(10),
        shutdown: Duration::from_secs(5),
        isolated: false,
        restart: RestartPolicy::default(),
    }
}

impl InstancePlan {
    pub(super) fn optional(mut self) -> Self {
        self.required = false;
        self
    }

    /// In a worker of its own.
    pub(super) fn isolated(mut self) -> Self {
        self.isolated = true;
        self
    }

    /// So many failures are forgiven.
    pub(super) fn forgiven(mut self, attempts: u32) -> Self {
        self.restart.attempts = attempts;
        self
    }

    pub(super) fn in_stream(mut self) -> Self {
        self.in_stream = true;
        self
    }

    pub(super) fn attempts(mut self, attempts: u32) -> Self {
        self.init_attempts = attempts;
        self
    }
}

pub(super) struct World {
    plan: Plan,
    pub(super) supervisor: Supervisor,
    script: BTreeMap<String, Does>,
    events: VecDeque<Event>,
    timers: BTreeMap<Timer, Duration>,
    now: Duration,
    stands_still: bool,
    /// The call or order behind each line, for answers that come later.
    ordered: BTreeMap<String, Ordered>,
    /// Isolated instances whose worker lives.
    workers: BTreeSet<InstanceId>,
    /// Lives whose end was told.
    told: Vec<(InstanceId, u64)>,
    /// Calls that hang.
    hanging: Vec<(InstanceId, Call)>,
    log: Vec<String>,
    problems: Vec<Problem>,
}

#[derive(Debug, Clone, Copy)]
enum Ordered {
    Call(InstanceId, Call),
    Start(ExecutorId),
    Stop(ExecutorId),
    Revive(ExecutorId, InstanceId),
    Open,
    Drain,
    Cancel,
}

fn died(id: InstanceId, life: u64, in_hand: bool) -> Event {
    let how = "killed by signal 11 (SIGSEGV)".to_owned();
    Event::Died(id, Death { how, in_hand, life })
}

/// A pause without its jitter, of which there is at most a quarter.
fn jittered(pause: Duration) -> String {
    let doubled = (0..10).map(|doublings| Duration::from_millis(100 << doublings));
    let plain = doubled.chain([Duration::from_secs(5), Duration::from_secs(60)]);
    let plain = plain.filter(|plain| *plain <= pause).max();
    let plain = plain.expect("no pause is shorter than the first");
    assert!(pause < plain * 5 / 4 || pause == plain, "{pause:?}");
    human(plain)
}

fn problem(exit: ExitCode, what: &str) -> Problem {
    Problem::error(exit, Blame::Plugin, "scripted", what)
}

/// What a call of a dead worker fails with.
fn gone() -> Problem {
    let code = super::super::GONE;
    Problem::error(ExitCode::Init, Blame::Plugin, code, "its worker is gone")
}

impl World {
    pub(super) fn of<const N: usize>(instances: [InstancePlan; N]) -> Self {
        let plan = Plan {
            order: (0..N).map(InstanceId).collect(),
            instances: instances.into(),
            executors: 1,
            executor_restarts_max: 0,
            drain: Duration::from_secs(2),
            stream: false,
            side: Side::Both,
            jitter_seed: 7,
        };
        Self {
            supervisor: Supervisor::new(plan.clone()),
            plan,
            script: BTreeMap::new(),
            told: Vec::new(),
            events: VecDeque::new(),
            timers: BTreeMap::new(),
            now: Duration::ZERO,
            stands_still: false,
            ordered: BTreeMap::new(),
            workers: BTreeSet::new(),
            hanging: Vec::new(),
            log: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn planned(mut self, change: impl FnOnce(&mut Plan)) -> Self {
        change(&mut self.plan);
        self.supervisor = Supervisor::new(self.plan.clone());
        self
    }

    pub(super) fn stream(self) -> Self {
        self.planned(|plan| plan.stream = true)
    }

    pub(super) fn executors(self, count: u32) -> Self {
        self.planned(|plan| plan.executors = count)
    }

    pub(super) fn restarts(self, max: u32) -> Self {
        self.planned(|plan| plan.executor_restarts_max = max)
    }

    pub(super) fn side(self, side: Side) -> Self {
        self.planned(|plan| plan.side = side)
    }

    pub(super) fn order<const N: usize>(self, order: [usize; N]) -> Self {
        self.planned(|plan| plan.order = order.into_iter().map(InstanceId).collect())
    }

    /// What becomes of the effect with that line (an executor's start without its instances).
    pub(super) fn on(&mut self, line: &str, does: Does) -> &mut Self {
        self.script.insert(line.to_owned(), does);
        self
    }

    /// Begins and lets happen what happens, to the end or until it runs.
    pub(super) fn start(&mut self) -> String {
        self.send(Event::Begin)
    }

    /// From now on no time passes: what hangs is answered by the test.
    pub(super) fn stand_still(&mut self) -> &mut Self {
        self.stands_still = true;
        self
    }

    /// Time passes again, wherever it stood still.
    pub(super) fn go_on(&mut self) -> String {
        self.stands_still = false;
        self.settle()
    }

    pub(super) fn stop(&mut self) -> String {
        self.send(Event::StopAsked)
    }

    /// What follows `line` once a stop was asked for.
    pub(super) fn stop_from(&mut self, line: &str) -> String {
        self.stop();
        self.since(line)
    }

    /// Feeds one event and all that comes of it; answers what was done.
    pub(super) fn send(&mut self, event: Event) -> String {
        self.events.push_back(event);
        self.settle()
    }

    fn step_all(&mut self) {
        while let Some(event) = self.events.pop_front() {
            self.step(event);
        }
    }

    fn settle(&mut self) -> String {
        let before = self.log.len();
        loop {
            self.step_all();
            if !self.pass_time() {
                return self.log[before..].join(", ");
            }
        }
    }

    /// The answer to what `line` ordered, which the script let hang.
    pub(super) fn answer(&mut self, line: &str) -> String {
        let ordered = self.ordered[line];
        if matches!(self.script.get(line), Some(Does::Hangs)) {
            self.script.remove(line);
        }
        if let Ordered::Call(id, call) = ordered {
            self.hanging.retain(|hanging| *hanging != (id, call));
        }
        self.perform(line, ordered);

        let event = self.events.pop_back().expect("an answer is an event");
        self.send(event)
    }

    /// The instance's worker dies of a segfault, with whatever it was doing.
    pub(super) fn dies(&mut self, name: &str) -> String {
        let id = self.id(name);
        assert!(self.workers.contains(&id), "{name} has no worker to die");
        self.end_worker(id);
        self.settle()
    }

    /// The same with a batch in hand, and no other under way.
    pub(super) fn dies_in_hand(&mut self, name: &str) -> String {
        let id = self.id(name);
        assert!(self.workers.remove(&id), "{name} has no worker to die");
        let life = self.life(id);
        self.told.push((id, life));
        self.send(died(id, life, true))
    }

    fn life(&self, id: InstanceId) -> u64 {
        u64::from(self.supervisor.instances()[id.0].restarts.number)
    }

    pub(super) fn hunt_ends(&mut self, name: &str) -> String {
        self.send(Event::HuntEnded(self.id(name)))
    }

    /// A death is told, true or not.
    pub(super) fn death_is_told(&mut self, name: &str) -> String {
        let id = self.id(name);
        self.send(died(id, self.life(id), false))
    }

    /// A record is found that caused so many of the deaths that were told last.
    pub(super) fn poisons(&mut self, name: &str, deaths: usize) -> String {
        let id = self.id(name);
        let told = self.told.iter().rev().filter(|(whose, _)| *whose == id);
        let lives = told.take(deaths).map(|(_, life)| *life).collect();
        self.send(Event::Poisoned(id, lives))
    }

    /// The same, before the last of them is told.
    pub(super) fn poisons_early(&mut self, name: &str, deaths: usize) -> String {
        let id = self.id(name);
        self.told.push((id, self.life(id)));
        self.poisons(name, deaths)
    }

    /// So much time passes.
    pub(super) fn wait(&mut self, time: Duration) -> String {
        let (before, until) = (self.log.len(), self.now + time);
        while let Some((&timer, &at)) = self.timers.iter().min_by_key(|(_, at)| **at) {
            if at > until {
                break;
            }
            self.now = at;
            self.events.push_back(Event::TimerFired(timer));
            self.step_all();
        }
        self.now = until;
        self.log[before..].join(", ")
    }

    /// The calls that hang return, and the death is told.
    fn end_worker(&mut self, id: InstanceId) {
        let hanging = std::mem::take(&mut self.hanging);
        for (whose, call) in hanging {
            if whose == id {
                self.events
                    .push_back(Event::Returned(id, call, Err(gone())));
            } else {
                self.hanging.push((whose, call));
            }
        }
        if self.workers.remove(&id) {
            let life = self.life(id);
            self.told.push((id, life));
            self.events.push_back(died(id, life, false));
        }
    }

    pub(super) fn fault(&mut self, name: &str) -> String {
        let problem = problem(ExitCode::Running, &format!("{name} faulted"));
        self.send(Event::Faulted(self.id(name), problem))
    }

    pub(super) fn overruns(&mut self, name: &str) -> String {
        self.send(Event::Overran(
            self.id(name),
            problem(ExitCode::Running, "receive"),
        ))
    }

    pub(super) fn hangs(&mut self, executor: u32, name: &str) -> String {
        let problem = problem(ExitCode::Running, "process");
        self.send(Event::ExecutorHung(
            ExecutorId(executor),
            self.id(name),
            problem,
        ))
    }

    pub(super) fn stream_fails(&mut self) -> String {
        self.send(Event::StreamEnded(Err(problem(
            ExitCode::Running,
            "a record failed",
        ))))
    }

    fn step(&mut self, event: Event) {
        if let Event::TimerFired(timer) = &event {
            self.timers.remove(timer);
        }
        for effect in step(&mut self.supervisor, event) {
            self.take(effect);
        }
    }

    /// Moves to the next timer; it is a line of its own, for how long it was armed.
    fn pass_time(&mut self) -> bool {
        let Some((&timer, &at)) = self.timers.iter().min_by_key(|(_, at)| **at) else {
            return false;
        };
        // Nothing is under way where only failures are waiting to be forgotten.
        let idle = self
            .timers
            .keys()
            .all(|timer| matches!(timer, Timer::Forgive(..)));
        if self.stands_still || idle {
            return false;
        }
        if at > self.now {
            let passed = match timer {
                Timer::Restart(_) => jittered(at - self.now),
                _ => human(at - self.now),
            };
            self.log.push(format!("({passed})"));
        }
        self.now = at;
        self.events.push_back(Event::TimerFired(timer));
        true
    }

    fn take(&mut self, effect: Effect) {
        let name = |world: &Self, id: InstanceId| world.plan.instances[id.0].name.clone();
        match effect {
            Effect::Arm(timer, after) => {
                self.timers.insert(timer, self.now + after);
            }
            Effect::Disarm(timer) => {
                self.timers.remove(&timer);
            }
            Effect::Call(id, call) => {
                let line = format!("{} {}", name(self, id), call.method());
                self.log.push(line.clone());
                self.ordered(&line, Ordered::Call(id, call));
            }
            Effect::StartExecutor(id, instances) => {
                let names: Vec<String> = instances.iter().map(|id| name(self, *id)).collect();
                let line = format!("executor {} start", id.0);
                self.log
                    .push(format!("{line} {}", names.join(" ")).trim_end().to_owned());
                self.ordered(&line, Ordered::Start(id));
            }
            Effect::StopExecutor(id) => {
                self.logged(&format!("executor {} stop", id.0), Ordered::Stop(id))
            }
            Effect::Kill(id, why) => {
                assert!(!why.is_empty(), "a worker is killed without a word");
                let line = format!("{} killed", name(self, id));
                self.log.push(line.clone());
                if !matches!(self.script.get(&line), Some(Does::Hangs)) {
                    self.end_worker(id);
                }
            }
            Effect::Revive(executor, id) => {
                let line = format!("executor {} revives {}", executor.0, name(self, id));
                self.logged(&line, Ordered::Revive(executor, id));
            }
            Effect::OpenStream => self.logged("open stream", Ordered::Open),
            Effect::DrainStream => self.logged("drain stream", Ordered::Drain),
            Effect::CancelStream(Cancel::DrainOverran) => {
                self.logged("cancel stream", Ordered::Cancel);
            }
            Effect::CancelStream(Cancel::NoWay) => self.logged("give up stream", Ordered::Cancel),
            Effect::StartStream => self.log.push("start stream".to_owned()),
            Effect::Report(problem) => {
                let word = match problem.severity {
                    Severity::Error => "error",
                    Severity::Warning => "warning",
                };
                self.log.push(format!("{word} {}", problem.exit as u8));
                self.problems.push(problem);
            }
            Effect::ReportSkipped(id, _) => self.log.push(format!("{} skipped", name(self, id))),
            Effect::ReportLate(id, call) => {
                self.log
                    .push(format!("{} {} late", name(self, id), call.method()));
            }
            Effect::Retire(id) => self.log.push(format!("{} retired", name(self, id))),
            Effect::Ready => self.log.push("ready".to_owned()),
            Effect::Finish(exit) => {
                self.log.push(format!("finish {}", exit as u8));
                assert!(
                    self.timers.is_empty(),
                    "timers outlive the host: {:?}",
                    self.timers
                );
            }
        }
    }

    fn logged(&mut self, line: &str, ordered: Ordered) {
        self.log.push(line.to_owned());
        self.ordered(line, ordered);
    }

    fn ordered(&mut self, line: &str, ordered: Ordered) {
        self.ordered.insert(line.to_owned(), ordered);
        self.perform(line, ordered);
    }

    /// Queues what the script makes of it.
    fn perform(&mut self, line: &str, ordered: Ordered) {
        let does = self.script.get(line).copied();
        if let (Ordered::Call(id, Call::Open), Some(plan)) = (ordered, self.plan_of(ordered)) {
            if plan.isolated {
                self.workers.insert(id);
            }
        }
        let failed = match does {
            Some(Does::Fails(exit)) => Some(exit),
            Some(Does::FailsTimes(left, exit)) if left > 0 => {
                self.on(line, Does::FailsTimes(left - 1, exit));
                Some(exit)
            }
            Some(Does::DiesTimes(left)) if left > 0 => {
                self.on(line, Does::DiesTimes(left - 1));
                self.dying(ordered, true, false);
                return;
            }
            Some(Does::Dies) => return self.dying(ordered, true, false),
            Some(Does::DiesFirst) => return self.dying(ordered, true, true),
            Some(Does::DiesAfterAll) => return self.dying(ordered, false, true),
            _ => None,
        };
        match does {
            Some(Does::Hangs) => {
                if let Ordered::Call(id, call) = ordered {
                    self.hanging.push((id, call));
                }
                return;
            }
            Some(Does::HangsNoticed(name)) => {
                let (Ordered::Start(id) | Ordered::Stop(id)) = ordered else {
                    panic!("the watchdog looks at executors")
                };
                // Once: the thread that takes its place does not hang.
                self.script.remove(line);
                let problem = problem(ExitCode::Running, line);
                self.events
                    .push_back(Event::ExecutorHung(id, self.id(name), problem));

                return;
            }
            Some(Does::Stops) => self.events.push_back(Event::StopAsked),
            Some(Does::SetsExecutors(count)) => self.events.push_back(Event::ExecutorsSet(count)),
            _ => {}
        }
        let outcome = match failed {
            Some(exit) => Err(problem(exit, line)),
            None => Ok(()),
        };
        let event = match ordered {
            Ordered::Call(id, call) if matches!(does, Some(Does::Declines)) => {
                Event::Returned(id, call, Ok(Answer::Declined(line.to_owned())))
            }
            Ordered::Call(id, call) => Event::Returned(id, call, outcome.map(|()| Answer::Done)),
            Ordered::Start(id) => Event::ExecutorStarted(id, self.started(line, does)),
            Ordered::Revive(executor, id) => {
                let gone = self.started(line, does).map_err(|(_, problem)| problem);
                Event::Revived(executor, id, outcome.and(gone))
            }
            Ordered::Stop(id) => Event::ExecutorStopped(id, outcome.err().into_iter().collect()),
            Ordered::Open => Event::StreamOpened(outcome),
            // What was only opened has no end.
            Ordered::Drain | Ordered::Cancel
                if !self.log.iter().any(|line| line == "start stream") =>
            {
                return;
            }
            Ordered::Drain | Ordered::Cancel => Event::StreamEnded(outcome),
        };
        self.events.push_back(event);
    }

    fn started(&mut self, line: &str, does: Option<Does>) -> Result<(), (InstanceId, Problem)> {
        match does {
            Some(Does::FailsFor(name, left)) if left > 0 => {
                self.on(line, Does::FailsFor(name, left - 1));
                Err((self.id(name), problem(ExitCode::Init, line)))
            }
            Some(Does::FindsGone(name, left)) if left > 0 => {
                self.on(line, Does::FindsGone(name, left - 1));
                let problem = problem(ExitCode::Init, line);
                let code = super::super::GONE.to_owned();
                Err((self.id(name), Problem { code, ..problem }))
            }
            _ => Ok(()),
        }
    }

    fn plan_of(&self, ordered: Ordered) -> Option<&InstancePlan> {
        match ordered {
            Ordered::Call(id, _) => self.plan.instances.get(id.0),
            _ => None,
        }
    }

    /// A call in whose course the worker dies.
    fn dying(&mut self, ordered: Ordered, fails: bool, told_first: bool) {
        let Ordered::Call(id, call) = ordered else {
            panic!("only calls die")
        };
        self.workers.remove(&id);
        let outcome = match fails {
            true => Err(gone()),
            false => Ok(Answer::Done),
        };
        let returned = Event::Returned(id, call, outcome);
        let died = died(id, self.life(id), false);
        if told_first {
            self.events.extend([died, returned]);
        } else {
            self.events.extend([returned, died]);
        }
    }

    fn id(&self, name: &str) -> InstanceId {
        let place = self
            .plan
            .instances
            .iter()
            .position(|plan| plan.name == name);
        InstanceId(place.expect("the test names an instance of its plan"))
    }

    pub(super) fn state(&self, name: &str) -> State {
        self.supervisor.instances()[self.id(name).0].state
    }

    pub(super) fn reason(&self, name: &str) -> Option<String> {
        self.supervisor.instances()[self.id(name).0].reason.clone()
    }

    pub(super) fn words(&self) -> Vec<&'static str> {
        self.supervisor.executors().map(|(_, word)| word).collect()
    }

    pub(super) fn log(&self) -> String {
        self.log.join(", ")
    }

    pub(super) fn last(&self) -> String {
        self.log.last().cloned().unwrap_or_default()
    }

    /// What follows the last line that begins so.
    pub(super) fn since(&self, line: &str) -> String {
        let place = self.log.iter().rposition(|logged| logged.starts_with(line));
        let place = place.unwrap_or_else(|| panic!("no `{line}` in {}", self.log()));
        self.log[place + 1..].join(", ")
    }

    /// How many lines begin so.
    pub(super) fn count(&self, line: &str) -> usize {
        self.log
            .iter()
            .filter(|logged| logged.starts_with(line))
            .count()
    }

    /// How long executors waited for their next attempt.
    pub(super) fn pauses(&self) -> Vec<String> {
        let pauses = self
            .log
            .iter()
            .filter_map(|line| line.strip_prefix('(')?.strip_suffix(')'));
        pauses.map(str::to_owned).collect()
    }

    pub(super) fn codes(&self) -> Vec<String> {
        self.problems
            .iter()
            .map(|problem| problem.code.clone())
            .collect()
    }

    pub(super) fn headlines(&self) -> Vec<&str> {
        self.problems
            .iter()
            .map(|problem| problem.headline.as_str())
            .collect()
    }

    pub(super) fn timers(&self) -> usize {
        self.timers.len()
    }
}
