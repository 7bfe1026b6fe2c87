//! Whatever happens, in whatever order: the promises that hold for every sequence of events.

use super::super::{
    Answer, Call, Effect, Event, ExecutorId, InstanceId, InstancePlan, Phase, Plan, Side,
    Supervisor, Timer, step,
};
use crate::{
    error::{Blame, ExitCode, Problem},
    machine::Parts,
};
use proptest::prelude::*;
use std::{collections::BTreeSet, time::Duration};

/// What the supervisor ordered and nobody answered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owed {
    Call(InstanceId, Call),
    Started(ExecutorId),
    Stopped(ExecutorId),
    Opened,
    /// It runs, or is being drained.
    Ended,
}

/// The other side: keeps book of what is ordered, and of what a plugin may rely on.
struct Book {
    supervisor: Supervisor,
    owed: Vec<Owed>,
    /// Calls whose timer fired: they may still return.
    left_behind: Vec<(InstanceId, Call)>,
    timers: BTreeSet<Timer>,
    /// Drivers whose init returned well and in time, and how many shutdowns each got.
    initialised: Vec<bool>,
    shutdowns: Vec<u32>,
    ready: u32,
    stopping: bool,
    finished: bool,
}

fn problem() -> Problem {
    Problem::error(ExitCode::Init, Blame::Plugin, "random", "it failed")
}

impl Book {
    fn new(plan: Plan) -> Self {
        let count = plan.instances.len();
        Self {
            supervisor: Supervisor::new(plan),
            owed: Vec::new(),
            left_behind: Vec::new(),
            timers: BTreeSet::new(),
            initialised: vec![false; count],
            shutdowns: vec![0; count],
            ready: 0,
            stopping: false,
            finished: false,
        }
    }

    fn send(&mut self, event: Event) {
        self.note(&event);
        let shown = format!("{event:?}");
        for effect in step(&mut self.supervisor, event) {
            assert!(!self.finished, "{effect:?} after the end, for {shown}");
            self.take(effect);
        }
        let phase = self.supervisor.phase();
        self.stopping |= phase == "stopping";
        let waits = self.finished || phase == "ready" || self.supervisor.phase == Phase::Idle;
        let stalled = !waits && self.owed.is_empty() && self.timers.is_empty();
        assert!(!stalled, "{phase}, and nothing is under way after {shown}");
    }

    /// Takes from the book what this event answers.
    fn note(&mut self, event: &Event) {
        match event {
            Event::Returned(id, call, outcome) => {
                let in_hand = self.settle(Owed::Call(*id, *call));
                if in_hand && *call == Call::InitDriver && matches!(outcome, Ok(Answer::Done)) {
                    assert!(!self.initialised[id.0], "a driver is initialised once");
                    self.initialised[id.0] = true;
                }
            }
            Event::TimerFired(timer) => {
                self.timers.remove(timer);
                if let Timer::Call(id, call) = timer {
                    if self.settle(Owed::Call(*id, *call)) {
                        self.left_behind.push((*id, *call));
                    }
                }
            }
            Event::ExecutorStarted(id, _) => drop(self.settle(Owed::Started(*id))),
            Event::ExecutorStopped(id, _) => drop(self.settle(Owed::Stopped(*id))),
            Event::ExecutorHung(id, ..) => {
                self.settle(Owed::Started(*id));
                self.settle(Owed::Stopped(*id));
            }
            Event::StreamOpened(_) => drop(self.settle(Owed::Opened)),
            Event::StreamEnded(_) => drop(self.settle(Owed::Ended)),
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
                if call == Call::Shutdown {
                    self.shutdowns[id.0] += 1;
                } else {
                    assert!(!self.stopping, "{call:?} after the stop began");
                    let out = self.supervisor.instances()[id.0].out;
                    assert!(!out, "{call:?} of an instance that is out");
                }
                self.owed.push(Owed::Call(id, call));
            }
            Effect::Arm(timer, _) => drop(self.timers.insert(timer)),
            Effect::Disarm(timer) => drop(self.timers.remove(&timer)),
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
                for (initialised, shutdowns) in self.initialised.iter().zip(&self.shutdowns) {
                    assert_eq!(
                        *shutdowns,
                        u32::from(*initialised),
                        "one shutdown for each init that returned well"
                    );
                }
            }
            Effect::DrainStream
            | Effect::CancelStream
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
        let blamed = || Err((whom, Problem { blame, ..problem() }));
        let mut possible: Vec<Box<dyn FnOnce() -> Event>> = Vec::new();
        for owed in self.owed.clone() {
            possible.push(match owed {
                Owed::Call(id, Call::Create) if badly && choice % 2 == 0 => Box::new(move || {
                    Event::Returned(id, Call::Create, Ok(Answer::Declined("no".to_owned())))
                }),
                Owed::Call(id, call) => {
                    Box::new(move || Event::Returned(id, call, outcome().map(|()| Answer::Done)))
                }
                Owed::Started(id) if badly => {
                    Box::new(move || Event::ExecutorStarted(id, blamed()))
                }
                Owed::Started(id) => Box::new(move || Event::ExecutorStarted(id, Ok(()))),
                Owed::Stopped(id) => Box::new(move || {
                    Event::ExecutorStopped(id, outcome().err().into_iter().collect())
                }),
                Owed::Opened => Box::new(move || Event::StreamOpened(outcome())),
                Owed::Ended => Box::new(move || Event::StreamEnded(outcome())),
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
        }
        if instances > 0 && executors > 0 {
            let id = ExecutorId(u32::from(choice) % executors as u32);
            possible.push(Box::new(move || Event::ExecutorHung(id, whom, problem())));
        }
        possible.push(Box::new(move || Event::ExecutorsSet(u32::from(choice % 4))));
        possible.push(Box::new(|| Event::StopAsked));
        let chosen = usize::from(choice) % possible.len();
        self.send(possible.swap_remove(chosen)());
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
    let parts = (any::<[bool; 4]>(), any::<bool>(), 1_u32..4);
    let instance = parts.prop_map(
        |([driver, checker, executor, processor], required, init_attempts)| InstancePlan {
            name: "x".to_owned(),
            required,
            init_attempts,
            parts: Parts {
                driver,
                checker,
                executor,
                processor,
            },
            in_stream: false,
            load: Duration::from_secs(1),
            init: Duration::from_secs(1),
            shutdown: Duration::from_secs(1),
        },
    );
    let sides =
        prop_oneof![4 => Just(Side::Both), 1 => Just(Side::Drivers), 1 => Just(Side::Executors)];
    let host = (0_u32..4, 0_u32..3, any::<bool>(), sides, any::<bool>());
    (prop::collection::vec(instance, 0..5), host).prop_map(
        |(instances, (executors, executor_restarts_max, stream, side, backwards))| {
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
            }
        },
    )
}

/// Mostly what goes well, so that most sequences get far.
fn happenings() -> impl Strategy<Value = Vec<(u8, bool)>> {
    let one = prop_oneof![
        6 => (Just(0_u8), Just(false)),
        1 => (Just(0_u8), Just(true)),
        2 => (any::<u8>(), prop::bool::weighted(0.3)),
    ];
    prop::collection::vec(one, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_it_keeps_its_promises_and_ends(
        plan in plan(),
        happenings in happenings(),
        by_timers in any::<bool>(),
    ) {
        let mut book = Book::new(plan);
        book.send(Event::Begin);
        for (choice, badly) in happenings {
            book.happen(choice, badly);
        }
        book.end(by_timers);
        prop_assert!(book.finished);
        // Nothing comes of whatever is said afterwards.
        book.send(Event::StopAsked);
        book.send(Event::Begin);
    }
}
