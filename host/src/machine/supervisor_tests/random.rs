//! Whatever happens, in whatever order: the promises that hold for every sequence of events.

use super::super::{
    Answer, Call, Death, Effect, Event, ExecutorId, GONE, InstanceId, InstancePlan, Life, Phase,
    Plan, Side, State, Supervisor, Timer, step,
};
use crate::{
    error::{Blame, ExitCode, Problem},
    machine::{Parts, history::DEATHS_TO_FIND, retry::RestartPolicy},
};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How long a failure counts here; nothing else is armed for so long.
const WITHIN: Duration = Duration::from_secs(300);

/// For how long the end of a killed worker is waited for; no pause of these plans is so long.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// What the supervisor ordered and nobody answered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owed {
    Call(InstanceId, Call),
    Started(ExecutorId),
    Stopped(ExecutorId),
    Revived(ExecutorId, InstanceId),
    Opened,
    /// It runs, or is being drained.
    Ended,
}

/// One life of an instance. In this process there is one; a worker is another each time.
#[derive(Debug, Default, Clone)]
struct LifeBook {
    /// Its `Open` answered well, and no death was told since.
    alive: bool,
    killed: bool,
    /// Its driver's init returned well and in time.
    initialised: bool,
    shutdowns: u32,
}

/// The other side: keeps book of what is ordered, and of what a plugin may rely on.
struct Book {
    supervisor: Supervisor,
    owed: Vec<Owed>,
    /// Calls whose timer fired: they may still return.
    left_behind: Vec<(InstanceId, Call)>,
    timers: BTreeSet<Timer>,
    lives: Vec<LifeBook>,
    /// Calls whose timer fired, and whose worker was killed for it.
    graced: BTreeSet<(InstanceId, Call)>,
    /// The life whose parts each executor has, or is to make: as ordered, and as answered.
    ordered: BTreeMap<(ExecutorId, InstanceId), u32>,
    made: BTreeMap<(ExecutorId, InstanceId), u32>,
    /// Failures that count, by their timers.
    failures: Vec<BTreeSet<u32>>,
    /// Those of them that a record may be at fault for.
    held: Vec<BTreeSet<u32>>,
    /// The life whose end each of the failures was, where it was one in service.
    ended: BTreeMap<(InstanceId, u32), u64>,
    /// In this step: the life whose end is told, and those that a record is found to have ended.
    told: Option<u64>,
    named: Option<(InstanceId, Vec<u64>)>,
    /// In this step: a record was found, and its mark is kept for a minute.
    marked: bool,
    /// Inits of its driver that were ordered before it was ever in service, but for those of a restart.
    inits: Vec<u32>,
    /// Who was out before this step.
    was_out: Vec<bool>,
    /// In this step: who failed, and how many failures counted then.
    charged: Vec<(InstanceId, usize)>,
    /// In this step: a death in service that must be charged, or held.
    died_in_service: Option<InstanceId>,
    /// In this step: a death with a batch in hand.
    died_in_hand: bool,
    ready: u32,
    stopping: bool,
    /// Executors are being stopped, or more: nothing is brought back any more.
    no_more: bool,
    finished: bool,
}

fn problem() -> Problem {
    Problem::error(ExitCode::Init, Blame::Plugin, "random", "it failed")
}

fn death(in_hand: bool, life: u64) -> Death {
    let how = "killed by signal 9 (SIGKILL)".to_owned();
    Death { how, in_hand, life }
}

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Happening {
    Chosen(u8, bool),
    Death(u8),
    PauseEnds,
}

impl Book {
    fn new(plan: Plan) -> Self {
        let count = plan.instances.len();
        Self {
            supervisor: Supervisor::new(plan),
            owed: Vec::new(),
            left_behind: Vec::new(),
            timers: BTreeSet::new(),
            lives: vec![LifeBook::default(); count],
            graced: BTreeSet::new(),
            ordered: BTreeMap::new(),
            made: BTreeMap::new(),
            failures: vec![BTreeSet::new(); count],
            held: vec![BTreeSet::new(); count],
            ended: BTreeMap::new(),
            told: None,
            named: None,
            marked: false,
            inits: vec![0; count],
            was_out: Vec::new(),
            charged: Vec::new(),
            died_in_service: None,
            died_in_hand: false,
            ready: 0,
            stopping: false,
            no_more: false,
            finished: false,
        }
    }

    fn send(&mut self, event: Event) {
        self.charged.clear();
        self.died_in_service = None;
        self.died_in_hand = matches!(&event, Event::Died(_, death) if death.in_hand);
        self.marked = false;
        (self.told, self.named) = match &event {
            Event::Died(_, death) => (Some(death.life), None),
            Event::Poisoned(id, lives) => (None, Some((*id, lives.clone()))),
            _ => (None, None),
        };
        let answered = match &event {
            Event::Poisoned(id, _) | Event::HuntEnded(id) => Some(*id),
            _ => None,
        };
        let poisoned = matches!(event, Event::Poisoned(..));
        let may_fail = matches!(
            event,
            Event::Died(..) | Event::Returned(..) | Event::Revived(..)
        );
        self.note(&event);
        let shown = format!("{event:?}");
        let quarantined = |supervisor: &Supervisor| -> Vec<bool> {
            let states = supervisor.instances().iter();
            states
                .map(|instance| instance.state == State::Quarantined)
                .collect()
        };
        let before = quarantined(&self.supervisor);
        let instances = self.supervisor.instances().iter();
        self.was_out = instances.map(|instance| instance.out).collect();
        for effect in step(&mut self.supervisor, event) {
            assert!(!self.finished, "{effect:?} after the end, for {shown}");
            self.take(effect);
        }
        assert!(may_fail || self.charged.is_empty(), "{shown} is no failure");
        assert!(self.charged.len() <= 1, "{shown} is one failure");
        self.what_a_record_caused_is_taken_back(&shown);
        if let Some(id) = answered {
            // What was held and is not taken back counts now, and is no failure of this moment.
            self.held[id.0].clear();
        }
        if let Some(id) = self.died_in_service {
            let charged = self.charged.iter().any(|(whose, _)| *whose == id);
            assert!(charged, "{shown} was not counted");
        }
        for (place, now) in quarantined(&self.supervisor).into_iter().enumerate() {
            let attempts = self.supervisor.plan.instances[place].restart.attempts as usize;
            let peak = self.charged.iter().find(|(id, _)| id.0 == place);
            let too_many = peak.is_some_and(|(_, failures)| *failures > attempts);
            assert_eq!(now && !before[place], too_many, "quarantine after {shown}");
            // So whatever it dies of, and whoever says that a record may be at fault, it does not live for ever.
            let (all, held) = (self.failures[place].len(), self.held[place].len());
            let most = if attempts == 0 {
                0
            } else {
                attempts + DEATHS_TO_FIND
            };
            assert!(held <= DEATHS_TO_FIND && all <= most, "failures are left");
        }
        assert!(!poisoned || self.charged.is_empty());
        self.no_restart_is_stuck(&shown);
        self.executors_have_living_parts(&shown);
        let phase = self.supervisor.phase();
        self.stopping |= phase == "stopping";
        self.no_more = self.stopping && self.supervisor.phase != Phase::Draining;
        let waits = self.finished || phase == "ready" || self.supervisor.phase == Phase::Idle;
        let stalled = !waits && self.owed.is_empty() && self.timers.is_empty();
        assert!(!stalled, "{phase}, and nothing is under way after {shown}");
    }

    /// Of the deaths that still count all that the record caused are taken back, unless there were too many records.
    fn what_a_record_caused_is_taken_back(&self, shown: &str) {
        let Some((id, lives)) = &self.named else {
            return;
        };
        let poisons = self.supervisor.instances()[id.0].restarts.poisons.len();
        let mut counting = self.failures[id.0].iter();
        let left = counting.any(|serial| {
            let ended = self.ended.get(&(*id, *serial));
            ended.is_some_and(|life| lives.contains(life))
        });
        let excused = self.marked && poisons <= 10;
        assert!(!(excused && left), "one is left after {shown}");
    }

    /// Whatever is to come back has something under way that will bring it back.
    fn no_restart_is_stuck(&self, shown: &str) {
        if self.supervisor.stopping() && self.supervisor.phase != Phase::Draining {
            return;
        }
        for (place, instance) in self.supervisor.instances().iter().enumerate() {
            let id = InstanceId(place);
            let owed = |owed: &Owed| match owed {
                Owed::Call(whose, _) | Owed::Revived(_, whose) => *whose == id,
                Owed::Started(_) => true,
                _ => false,
            };
            let comes_back = match instance.restarts.life {
                Life::Waiting { .. } => self.timers.contains(&Timer::Restart(id)),
                Life::Restarting | Life::Reviving => self.owed.iter().any(owed),
                _ => true,
            };
            let stuck = !self.finished && !instance.out && !comes_back;
            assert!(!stuck, "{instance:#?} is stuck after {shown}");
        }
    }

    /// Of an instance in service an executor that is up has the parts of the present life, or is asked for them.
    fn executors_have_living_parts(&self, shown: &str) {
        for (place, instance) in self.supervisor.instances().iter().enumerate() {
            let (id, plan) = (InstanceId(place), &self.supervisor.plan.instances[place]);
            let (life, served) = (instance.restarts.life, instance.restarts.served);
            let serves = plan.isolated && served && life == Life::Up && !instance.out;
            if !serves || self.no_more || !plan.parts.on_executors() {
                continue;
            }
            for (executor, _) in self
                .supervisor
                .executors()
                .filter(|(_, word)| *word == "ready")
            {
                let living = self.made.get(&(executor, id)) == Some(&instance.restarts.number);
                let asked = self.owed.contains(&Owed::Revived(executor, id));
                assert!(
                    living || asked,
                    "{executor:?} of {instance:#?} after {shown}"
                );
            }
        }
    }

    /// Takes from the book what this event answers.
    fn note(&mut self, event: &Event) {
        match event {
            Event::Returned(id, call, outcome) => {
                let in_hand = self.settle(Owed::Call(*id, *call));
                self.graced.remove(&(*id, *call));
                let (well, life) = (matches!(outcome, Ok(Answer::Done)), &mut self.lives[id.0]);
                if in_hand && *call == Call::Open {
                    life.alive = well;
                }
                if in_hand && *call == Call::InitDriver && well && life.alive {
                    assert!(!life.initialised, "a driver is initialised once a life");
                    life.initialised = true;
                }
            }
            Event::Died(id, death) => self.note_death(*id, death.life),
            Event::Revived(executor, id, outcome) => {
                let answered = self.settle(Owed::Revived(*executor, *id));
                if answered && outcome.is_ok() {
                    let life = self.ordered[&(*executor, *id)];
                    self.made.insert((*executor, *id), life);
                }
            }
            Event::TimerFired(timer) => {
                self.timers.remove(timer);
                if let Timer::Forgive(id, serial) = timer {
                    self.failures[id.0].remove(serial);
                    self.held[id.0].remove(serial);
                }
                if let Timer::Call(id, call) = timer {
                    let isolated = self.supervisor.plan.instances[id.0].isolated;
                    let in_hand = self.owed.contains(&Owed::Call(*id, *call));
                    if isolated && in_hand && self.graced.insert((*id, *call)) {
                        return;
                    }
                    if self.settle(Owed::Call(*id, *call)) {
                        self.left_behind.push((*id, *call));
                    }
                }
            }
            Event::ExecutorStarted(id, outcome) => {
                let answered = self.settle(Owed::Started(*id));
                if answered && outcome.is_ok() {
                    let ordered = self.ordered.iter();
                    let of_this = ordered.filter(|((executor, _), _)| executor == id);
                    self.made.extend(of_this.map(|(key, life)| (*key, *life)));
                }
            }
            Event::ExecutorStopped(id, _) => drop(self.settle(Owed::Stopped(*id))),
            Event::ExecutorHung(_, instance, _)
                if self.supervisor.plan.instances[instance.0].isolated => {}
            Event::ExecutorHung(id, ..) => {
                self.settle(Owed::Started(*id));
                self.settle(Owed::Stopped(*id));
                self.owed
                    .retain(|owed| !matches!(owed, Owed::Revived(executor, _) if executor == id));
            }
            Event::StreamOpened(_) => drop(self.settle(Owed::Opened)),
            Event::StreamEnded(_) => drop(self.settle(Owed::Ended)),
            _ => {}
        }
    }

    fn note_death(&mut self, id: InstanceId, life: u64) {
        let plan = &self.supervisor.plan.instances[id.0];
        let opening = self.owed.contains(&Owed::Call(id, Call::Open));
        if !plan.isolated || opening {
            return;
        }
        let instance = &self.supervisor.instances()[id.0];
        let called = self
            .owed
            .iter()
            .any(|owed| matches!(owed, Owed::Call(whose, _) if *whose == id));
        let lives = matches!(instance.restarts.life, Life::Up | Life::Reviving);
        let ending = matches!(
            self.supervisor.phase,
            Phase::StoppingExecutors | Phase::StoppingDrivers | Phase::Finished
        );
        let serves = lives && instance.restarts.served && !instance.out && !called && !ending;
        let pardoned = instance.restarts.pardon == Some(life);
        if std::mem::take(&mut self.lives[id.0].alive) && serves && !pardoned {
            self.died_in_service = Some(id);
        }
    }

    fn take_call(&mut self, id: InstanceId, call: Call) {
        let isolated = self.supervisor.plan.instances[id.0].isolated;
        let life = &mut self.lives[id.0];
        match call {
            Call::Open => {
                assert!(
                    !life.alive || life.killed,
                    "a worker is started beside a living one"
                );
                assert!(isolated || life.shutdowns == 0 && !life.initialised);
                *life = LifeBook::default();
                if self.died_in_service == Some(id) {
                    assert!(self.failures[id.0].len() <= 1, "back without a pause");
                }
            }
            _ => assert!(life.alive, "{call:?} of one that is dead"),
        }
        let restarts = &self.supervisor.instances()[id.0].restarts;
        if call == Call::InitDriver && restarts.life != Life::Restarting {
            self.inits[id.0] += 1;
            let attempts = self.supervisor.plan.instances[id.0].init_attempts;
            assert!(self.inits[id.0] <= attempts, "more inits than attempts");
        }
        if call == Call::Shutdown {
            life.shutdowns += 1;
            assert_eq!(life.shutdowns, 1, "a second shutdown");
            assert!(life.initialised, "a shutdown without an init");
            assert!(!life.killed, "a shutdown of one that is being killed");
        }
    }

    fn take_timer(&mut self, timer: Timer, after: Duration) {
        self.timers.insert(timer);
        match timer {
            Timer::Forgive(id, serial) if after == WITHIN => {
                let plan = &self.supervisor.plan.instances[id.0];
                let hunted = plan.in_stream && self.owed.contains(&Owed::Ended);
                let room = self.held[id.0].len() < DEATHS_TO_FIND;
                if self.died_in_hand && hunted && room && plan.restart.attempts > 0 {
                    self.held[id.0].insert(serial);
                }
                self.failures[id.0].insert(serial);
                if let Some(life) = self.told {
                    self.ended.insert((id, serial), life);
                }
                let counted = self.failures[id.0].len() - self.held[id.0].len();
                self.charged.push((id, counted));
            }
            Timer::Forgive(..) => self.marked = true,
            Timer::Restart(id) if after == KILL_PATIENCE => assert!(self.lives[id.0].killed),
            Timer::Restart(id) => {
                let policy = self.supervisor.plan.instances[id.0].restart;
                let failures = self.failures[id.0].len() as u32;
                // 100, 200, 400 ms, from the second failure on, and for one in a start from the first.
                let doublings = failures.saturating_sub(2);
                let least = (policy.backoff * (1 << doublings)).min(policy.backoff_max);
                let most = least * 5 / 4;
                assert!((least..=most).contains(&after), "{failures}: {after:?}");
            }
            _ => {}
        }
    }

    fn settle(&mut self, owed: Owed) -> bool {
        let place = self.owed.iter().position(|other| *other == owed);
        place.map(|place| self.owed.remove(place)).is_some()
    }

    fn take(&mut self, effect: Effect) {
        match effect {
            Effect::Call(id, call) => {
                let others = self
                    .owed
                    .iter()
                    .any(|owed| matches!(owed, Owed::Call(other, _) if *other == id));
                assert!(!others, "two calls in hand for one instance");
                assert!(
                    self.timers.contains(&Timer::Call(id, call)),
                    "{call:?} without a timer"
                );
                self.take_call(id, call);
                if call != Call::Shutdown {
                    // What is drained may need an instance back.
                    let drains = self.supervisor.plan.instances[id.0].isolated
                        && self.supervisor.instances()[id.0].restarts.served
                        && !self.no_more;
                    assert!(!self.stopping || drains, "{call:?} after the stop began");
                    let out = self.supervisor.instances()[id.0].out;
                    assert!(!out, "{call:?} of an instance that is out");
                }
                self.owed.push(Owed::Call(id, call));
            }
            Effect::Arm(timer, after) => self.take_timer(timer, after),
            Effect::Disarm(timer) => {
                self.timers.remove(&timer);
                if let Timer::Forgive(id, serial) = timer {
                    self.failures[id.0].remove(&serial);
                    self.held[id.0].remove(&serial);
                    let ended = self.ended.get(&(id, serial));
                    let caused = |(whose, lives): &(InstanceId, Vec<u64>)| {
                        *whose == id && ended.is_some_and(|life| lives.contains(life))
                    };
                    let taken_back = self.named.as_ref().is_none_or(caused);
                    assert!(taken_back, "a death that no record caused is taken back");
                }
            }
            Effect::Kill(id, _) => {
                let life = &mut self.lives[id.0];
                assert!(self.supervisor.plan.instances[id.0].isolated);
                assert!(!life.killed, "killed twice");
                life.killed = true;
            }
            Effect::Revive(executor, id) => {
                let order = Owed::Revived(executor, id);
                assert!(!self.owed.contains(&order), "revived twice at once");
                assert!(self.timers.contains(&Timer::Revive(executor, id)));
                assert!(!self.no_more, "revived while executors are being stopped");
                // It may be given up later in the same step, for another reason.
                let out = self.was_out[id.0];
                assert!(self.lives[id.0].alive && !out, "revived, and dead");
                let life = self.supervisor.instances()[id.0].restarts.number;
                self.ordered.insert((executor, id), life);
                self.owed.push(order);
            }
            Effect::StartExecutor(id, instances) => {
                assert!(
                    !self.stopping,
                    "an executor is started after the stop began"
                );
                assert!(self.timers.contains(&Timer::ExecutorStart(id)));
                let instances: BTreeSet<InstanceId> = instances.into_iter().collect();
                let retired = self.supervisor.instances().iter().enumerate();
                for (place, instance) in retired.filter(|(_, instance)| instance.out) {
                    assert!(
                        !instances.contains(&InstanceId(place)),
                        "{instance:?} is started again"
                    );
                }
                for instance in &instances {
                    let life = self.supervisor.instances()[instance.0].restarts.number;
                    self.ordered.insert((id, *instance), life);
                }
                self.owed.push(Owed::Started(id));
            }
            Effect::StopExecutor(id) => {
                assert!(self.timers.contains(&Timer::ExecutorStop(id)));
                assert!(
                    !self.owed.contains(&Owed::Stopped(id)),
                    "an executor is stopped twice"
                );
                self.owed.push(Owed::Stopped(id));
            }
            Effect::OpenStream => self.owed.push(Owed::Opened),
            Effect::StartStream => self.owed.push(Owed::Ended),
            Effect::Ready => {
                self.ready += 1;
                assert!(
                    self.ready == 1 && !self.stopping,
                    "ready, and not for the first time"
                );
            }
            Effect::Finish(_) => {
                self.finished = true;
                assert!(self.timers.is_empty(), "left: {:?}", self.timers);
                for life in &self.lives {
                    if life.alive && !life.killed {
                        assert_eq!(
                            life.shutdowns,
                            u32::from(life.initialised),
                            "one shutdown for each init that returned well: {life:?}"
                        );
                    }
                }
            }
            Effect::DrainStream
            | Effect::CancelStream(_)
            | Effect::Report(_)
            | Effect::ReportSkipped(..)
            | Effect::ReportLate(..)
            | Effect::Retire(_) => {}
        }
    }

    /// The `choice`th of everything that may happen now, well or badly.
    fn happen(&mut self, choice: u8, badly: bool) {
        let outcome = || if badly { Err(problem()) } else { Ok(()) };
        let instances = self.supervisor.plan.instances.len();
        let executors = self.supervisor.executors.len();
        let whom = InstanceId(usize::from(choice) % instances.max(1));
        // Where there is no instance, only the environment can be to blame.
        let blame = if instances == 0 {
            Blame::Environment
        } else {
            Blame::Plugin
        };
        let code = if choice % 3 == 0 { GONE } else { "random" };
        let blamed = || {
            let code = code.to_owned();
            let problem = problem();
            Err((
                whom,
                Problem {
                    blame,
                    code,
                    ..problem
                },
            ))
        };
        let called = || {
            let code = code.to_owned();
            outcome().map_err(|problem| Problem { code, ..problem })
        };
        let mut possible: Vec<Box<dyn FnOnce() -> Event>> = Vec::new();
        // A stream runs until it is told to end, or something else brings that about.
        let (ends, mut others): (Vec<Owed>, Vec<Owed>) =
            self.owed.iter().partition(|owed| **owed == Owed::Ended);
        // Executors are the slow ones: what they owe may outlive an instance or two.
        others.sort_by_key(|owed| !matches!(owed, Owed::Call(..)));
        for owed in others {
            possible.push(match owed {
                Owed::Call(id, Call::Create) if badly && choice % 2 == 0 => Box::new(move || {
                    Event::Returned(id, Call::Create, Ok(Answer::Declined("no".to_owned())))
                }),
                Owed::Call(id, call) => {
                    Box::new(move || Event::Returned(id, call, called().map(|()| Answer::Done)))
                }
                Owed::Started(id) if badly => {
                    Box::new(move || Event::ExecutorStarted(id, blamed()))
                }
                Owed::Started(id) => Box::new(move || Event::ExecutorStarted(id, Ok(()))),
                Owed::Stopped(id) => Box::new(move || {
                    Event::ExecutorStopped(id, outcome().err().into_iter().collect())
                }),
                Owed::Revived(executor, id) => {
                    Box::new(move || Event::Revived(executor, id, outcome()))
                }
                Owed::Opened => Box::new(move || Event::StreamOpened(outcome())),
                Owed::Ended => continue,
            });
        }
        for timer in self.timers.clone() {
            possible.push(Box::new(move || Event::TimerFired(timer)));
        }
        for (id, call) in self.left_behind.clone() {
            possible.push(Box::new(move || {
                Event::Returned(id, call, outcome().map(|()| Answer::Done))
            }));
        }
        if instances > 0 {
            possible.push(Box::new(move || Event::Overran(whom, problem())));
            possible.push(Box::new(move || Event::Recovered(whom)));
            possible.push(Box::new(move || Event::Faulted(whom, problem())));
            // Told twice, or of one that does not live.
            let life = u64::from(self.supervisor.instances()[whom.0].restarts.number);
            possible.push(Box::new(move || Event::Died(whom, death(badly, life))));
            possible.push(Box::new(move || Event::HuntEnded(whom)));
            // The last few, also one that is not told yet.
            let lives = (0..u64::from(choice % 4)).map(|back| life.saturating_sub(back));
            let lives: Vec<u64> = lives.collect();
            possible.push(Box::new(move || Event::Poisoned(whom, lives)));
        }
        if instances > 0 && executors > 0 {
            let id = ExecutorId(u32::from(choice) % executors as u32);
            possible.push(Box::new(move || Event::ExecutorHung(id, whom, problem())));
        }
        possible.push(Box::new(move || Event::ExecutorsSet(u32::from(choice % 4))));
        if !ends.is_empty() {
            possible.push(Box::new(move || Event::StreamEnded(outcome())));
        }
        possible.push(Box::new(|| Event::StopAsked));
        let chosen = usize::from(choice) % possible.len();
        self.send(possible.swap_remove(chosen)());
    }

    /// One of the workers that live dies.
    fn kill(&mut self, choice: u8) {
        let living = self.lives.iter().enumerate();
        let living: Vec<InstanceId> = living
            .filter(|(place, life)| life.alive && self.supervisor.plan.instances[*place].isolated)
            .map(|(place, _)| InstanceId(place))
            .collect();
        if !living.is_empty() {
            let id = living[usize::from(choice) % living.len()];
            let life = u64::from(self.supervisor.instances()[id.0].restarts.number);
            self.send(Event::Died(id, death(choice >= 128, life)));
        }
    }

    /// A pause before a restart is over.
    fn pause_ends(&mut self) {
        let pause = |timer: &&Timer| matches!(timer, Timer::Restart(_) | Timer::Backoff(_));
        if let Some(timer) = self.timers.iter().find(pause).copied() {
            self.send(Event::TimerFired(timer));
        }
    }

    /// Asks for the stop, then answers everything, or lets its timer fire, until there is nothing left.
    fn end(&mut self, by_timers: bool) {
        self.send(Event::StopAsked);
        // Every event below answers an order or spends a timer, and both are finite: far fewer than this.
        for _ in 0..1000 {
            if self.finished {
                return;
            }
            let timer = self.timers.iter().next().copied();
            let event = match (self.owed.first().copied(), timer) {
                (_, Some(timer)) if by_timers => Event::TimerFired(timer),
                (Some(Owed::Call(id, call)), _) => Event::Returned(id, call, Ok(Answer::Done)),
                (Some(Owed::Started(id)), _) => Event::ExecutorStarted(id, Ok(())),
                (Some(Owed::Stopped(id)), _) => Event::ExecutorStopped(id, Vec::new()),
                (Some(Owed::Revived(executor, id)), _) => Event::Revived(executor, id, Ok(())),
                (Some(Owed::Opened), _) => Event::StreamOpened(Ok(())),
                (Some(Owed::Ended), _) => Event::StreamEnded(Ok(())),
                (None, Some(timer)) => Event::TimerFired(timer),
                (None, None) => break,
            };
            self.send(event);
        }
        panic!("it never ends: {:#?}", self.supervisor);
    }
}

fn plan() -> impl Strategy<Value = Plan> {
    let worker = (
        prop::bool::weighted(0.7),
        prop::bool::weighted(0.3),
        0_u32..4,
    );
    let parts = (any::<[bool; 4]>(), any::<bool>(), 1_u32..4, worker);
    let instance = parts.prop_map(
        |(
            [driver, checker, executor, processor],
            required,
            init_attempts,
            (isolated, in_stream, attempts),
        )| InstancePlan {
            name: "x".to_owned(),
            required,
            init_attempts,
            parts: Parts {
                driver,
                checker,
                executor,
                processor,
            },
            in_stream: in_stream && processor,
            load: Duration::from_secs(1),
            init: Duration::from_secs(1),
            shutdown: Duration::from_secs(1),
            isolated,
            restart: RestartPolicy {
                attempts,
                within: WITHIN,
                backoff: Duration::from_millis(100),
                backoff_max: Duration::from_millis(300),
            },
        },
    );
    let sides =
        prop_oneof![4 => Just(Side::Both), 1 => Just(Side::Drivers), 1 => Just(Side::Executors)];
    let host = (
        0_u32..4,
        0_u32..3,
        any::<bool>(),
        sides,
        any::<(bool, u64)>(),
    );
    (prop::collection::vec(instance, 0..5), host).prop_map(
        |(
            instances,
            (executors, executor_restarts_max, stream, side, (backwards, jitter_seed)),
        )| {
            let mut order: Vec<InstanceId> = (0..instances.len()).map(InstanceId).collect();
            if backwards {
                order.reverse();
            }
            let drain = Duration::from_secs(1);
            Plan {
                instances,
                order,
                executors,
                executor_restarts_max,
                drain,
                stream,
                side,
                jitter_seed,
            }
        },
    )
}

/// Mostly what goes well, so that most sequences get far.
fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        24 => Just(Happening::Chosen(0, false)),
        2 => Just(Happening::Chosen(0, true)),
        5 => (any::<u8>(), prop::bool::weighted(0.3)).prop_map(|(choice, badly)| Happening::Chosen(choice, badly)),
        4 => any::<u8>().prop_map(Happening::Death),
        3 => Just(Happening::PauseEnds),
    ];
    prop::collection::vec(one, 0..160)
}

/// Enough for the suite; `PROPTEST_CASES` asks for more.
fn cases() -> u32 {
    ProptestConfig::default().cases.max(2000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_it_keeps_its_promises_and_ends(
        plan in plan(),
        happenings in happenings(),
        by_timers in any::<bool>(),
    ) {
        let mut book = Book::new(plan);
        book.send(Event::Begin);
        for happening in happenings {
            match happening {
                Happening::Chosen(choice, badly) => book.happen(choice, badly),
                Happening::Death(choice) => book.kill(choice),
                Happening::PauseEnds => book.pause_ends(),
            }
        }
        book.end(by_timers);
        prop_assert!(book.finished);
        // Nothing comes of whatever is said afterwards.
        book.send(Event::StopAsked);
        book.send(Event::Begin);
    }
}
