//! An isolated instance whose worker died (`death.rs`): what that costs it, when it comes back, and when it is given up.
//!
//! A restart is the calls of a start, one after another, on that instance alone; then every executor that is up makes its
//! parts of it anew. Nothing of a new life is begun before the last call of the old one has returned, which every call of
//! a dead worker does, so no late answer is taken for the new life's. Answers of executors may come late: those are told
//! apart by what they were ordered for (`revive.rs`).
//!
//! Deaths are forgiven up to a number within a time; one more quarantines. Which do not count is for `hunt.rs` to say.
//!
//! While tasks are drained an instance is still brought back, for records that were read wait for it; once executors are being
//! stopped nothing is.

use super::{
    Answer, Call, Cancel, Driver, Effect, ExecutorId, InstanceId, Phase, State, Supervisor, Timer,
    as_warning, human, instances::declined_processor, revive::Revive,
};
use crate::error::{Blame, ExitCode, Problem};
use std::{collections::BTreeMap, time::Duration};

/// How long a killed worker's end is waited for. The kernel needs milliseconds, or seconds to tear down a large one; what
/// takes longer hangs in the kernel, and nothing here can change that.
pub(super) const KILL_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// Nothing is to be brought back. Instances in this process are never anything else.
    Up,
    /// Its worker died before it was ever in service, or is not brought back any more.
    Dead {
        /// The failed init that it was is counted among `init_attempts`.
        counted: bool,
    },
    /// Another attempt at its first init, in a new worker where it is not made yet.
    Reopened,
    /// Not restarted yet.
    Waiting {
        pause_over: bool,
        /// The old worker's end was told, or waited for long enough.
        ended: bool,
    },
    /// The calls of a restart run; one of them is in hand.
    Restarting,
    /// Executors make their parts of it anew.
    Reviving,
}

/// When a life failed, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    InService(u64),
    /// In service, and at the only batch that was out.
    InHand(u64),
    /// In a restart, before it was ready again.
    Starting,
}

impl When {
    /// The life that a record may have ended.
    fn life(self) -> Option<u64> {
        match self {
            Self::InService(life) | Self::InHand(life) => Some(life),
            Self::Starting => None,
        }
    }
}

/// A failure that still counts.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) serial: u32,
    /// The life that ended in service; none where it failed in a restart.
    pub(super) life: Option<u64>,
    /// A record may be at fault: it does not count yet.
    pub(super) held: bool,
}

/// What is known of an instance's lives.
#[derive(Debug)]
pub(super) struct Restarts {
    pub(super) life: Life,
    /// Counts workers. Parts that executors made in one life are useless in another.
    pub(super) number: u32,
    /// It has been ready once.
    pub(super) served: bool,
    /// It has a worker, as far as was told.
    pub(super) worker: bool,
    /// Told to be killed, in this life.
    pub(super) killed: bool,
    /// A death was told while the worker was opened: an old one's, told twice, or its own.
    pub(super) doubtful: bool,
    /// Its worker died while the call in hand ran: whatever that answers, it failed.
    pub(super) died_in_call: bool,
    /// The call in hand overran, and its worker is killed for it.
    pub(super) overran: Option<Box<Problem>>,
    /// How the last worker died.
    pub(super) last_death: Option<String>,
    pub(super) failures: Vec<Failure>,
    /// Poison records of the last minute.
    pub(super) poisons: Vec<u32>,
    serials: u32,
    /// The newest life whose death was told.
    pub(super) told: u64,
    /// A life whose death is taken back before it is told: a poison record may be told before its last death.
    pub(super) pardon: Option<u64>,
    pub(super) revives: BTreeMap<ExecutorId, Revive>,
}

impl Restarts {
    pub(super) fn new() -> Self {
        Self {
            life: Life::Up,
            number: 0,
            served: false,
            worker: false,
            killed: false,
            doubtful: false,
            died_in_call: false,
            overran: None,
            last_death: None,
            failures: Vec::new(),
            poisons: Vec::new(),
            serials: 0,
            told: 0,
            pardon: None,
            revives: BTreeMap::new(),
        }
    }

    /// A worker is about to be started.
    pub(super) fn opens(&mut self) {
        self.number = self.number.wrapping_add(1);
        self.worker = false;
        self.killed = false;
        self.doubtful = false;
        self.died_in_call = false;
    }

    pub(super) fn serial(&mut self) -> u32 {
        self.serials = self.serials.wrapping_add(1);
        self.serials
    }

    /// Everything that a timer is to forget.
    fn remembered(&self) -> impl Iterator<Item = u32> {
        let failures = self.failures.iter().map(|failure| failure.serial);
        failures.chain(self.poisons.iter().copied())
    }
}

impl Supervisor {
    pub(super) fn restarts(&mut self, id: InstanceId) -> &mut Restarts {
        &mut self.instances[id.0].restarts
    }

    /// Where there is no instance at all, none is isolated: what an executor is blamed for may name one.
    pub(super) fn isolated(&self, id: InstanceId) -> bool {
        let plan = self.plan.instances.get(id.0);
        plan.is_some_and(|plan| plan.isolated)
    }

    pub(super) fn life(&self, id: InstanceId) -> Life {
        self.instances[id.0].restarts.life
    }

    /// Dead instances are brought back until executors are being stopped: what was read waits for them.
    pub(super) fn restarts_allowed(&self) -> bool {
        !matches!(
            self.phase,
            Phase::StoppingExecutors | Phase::StoppingDrivers | Phase::Finished
        )
    }

    /// It is dead, and comes back.
    pub(super) fn down(&self, id: InstanceId) -> bool {
        let down = matches!(self.life(id), Life::Waiting { .. } | Life::Restarting);
        down && !self.instances[id.0].out
    }

    /// The start stands still while an instance of it is brought back: what comes later may need it.
    pub(super) fn start_waits(&self) -> bool {
        let starting = matches!(
            self.phase,
            Phase::Creating | Phase::Initializing | Phase::Registering | Phase::StartingExecutors
        );
        starting && (0..self.instances.len()).any(|place| self.down(InstanceId(place)))
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = InstanceId> + use<> {
        (0..self.instances.len()).map(InstanceId)
    }

    /// A life failed: counts it, and brings the instance back or gives it up.
    pub(super) fn fail_life(
        &mut self,
        id: InstanceId,
        problem: Problem,
        when: When,
        effects: &mut Vec<Effect>,
    ) {
        if !self.restarts_allowed() {
            // A driver whose init had returned well is owed its shutdown, as long as its worker lives.
            let restarts = self.restarts(id);
            restarts.life = match restarts.worker {
                true => Life::Up,
                false => Life::Dead { counted: true },
            };
            effects.push(Effect::Report(as_warning(problem)));
            return;
        }
        self.drop_life(id, effects);
        let policy = self.plan_of(id).restart;
        let held = matches!(when, When::InHand(_)) && self.hunts(id);
        let (restarts, life) = (self.restarts(id), when.life());
        let pardoned = life.is_some() && restarts.pardon == life;
        if pardoned {
            restarts.pardon = None;
        } else {
            let serial = restarts.serial();
            let failure = Failure { serial, life, held };
            restarts.failures.push(failure);
            effects.push(Effect::Arm(Timer::Forgive(id, serial), policy.within));
        }
        let count = |failures: usize| u32::try_from(failures).unwrap_or(u32::MAX);
        let failures = count(restarts.failures.len());
        let charged = count(restarts.failures.len() - restarts.held());
        if charged > policy.attempts {
            self.quarantine(id, &problem, effects);
            return;
        }
        // One that is held counts here: a hunt is no reason to hurry.
        let pause = match when {
            When::InService(_) | When::InHand(_) => policy.pause(failures),
            When::Starting => policy.pause_after_failed_start(failures),
        };
        let pause = self.jitter.spread(pause);
        let restarts = self.restarts(id);
        let (pause_over, ended) = (pause.is_zero(), !restarts.worker || restarts.doubtful);
        restarts.life = Life::Waiting { pause_over, ended };
        let reason = problem.headline.clone();
        self.set(id, State::BackingOff, Some(reason.clone()));
        let next = match pause_over {
            true => "restarts at once".to_owned(),
            false => format!("restarts in {}", human(pause)),
        };
        let count = match pardoned {
            true => "its death was a record's fault".to_owned(),
            false if held => "it may be a record's fault, and counts if none is found".to_owned(),
            false => format!(
                "failure {charged} in {}; {} are forgiven",
                human(policy.within),
                policy.attempts
            ),
        };
        effects.push(Effect::Report(as_warning(Problem {
            headline: format!("{reason}; it {next} ({count})"),
            ..problem
        })));
        self.kill(id, &reason, effects);
        if !pause_over {
            effects.push(Effect::Arm(Timer::Restart(id), pause));
        } else if !ended {
            effects.push(Effect::Arm(Timer::Restart(id), KILL_PATIENCE));
        }
        self.begin_restart(id, effects);
    }

    pub(super) fn restart_due(&mut self, id: InstanceId, effects: &mut Vec<Effect>) {
        let Life::Waiting { pause_over, ended } = self.life(id) else {
            return;
        };
        if !pause_over && !ended {
            effects.push(Effect::Arm(Timer::Restart(id), KILL_PATIENCE));
        }
        self.restarts(id).life = Life::Waiting {
            pause_over: true,
            // The second time the killed worker's end was waited for, and is no longer.
            ended: ended || pause_over,
        };
        self.begin_restart(id, effects);
    }

    /// Begins where nothing is to be waited for any more.
    pub(super) fn begin_restart(&mut self, id: InstanceId, effects: &mut Vec<Effect>) {
        let due = Life::Waiting {
            pause_over: true,
            ended: true,
        };
        if self.life(id) != due {
            return;
        }
        if !self.restarts_allowed() {
            self.restarts(id).life = Life::Dead { counted: true };
            return;
        }
        self.restarts(id).life = Life::Restarting;
        let reason = self.instance(id).reason.take();
        self.set(id, State::Initializing, reason);
        self.order(id, Call::Open, effects);
    }

    /// A call of a restart returned.
    pub(super) fn restart_returned(
        &mut self,
        id: InstanceId,
        call: Call,
        outcome: Result<Answer, Problem>,
        effects: &mut Vec<Effect>,
    ) {
        let allowed = self.restarts_allowed();
        let instance = self.instance(id);
        match outcome {
            Ok(Answer::Done) => {
                match call {
                    Call::InitDriver => instance.driver = Driver::Initialised,
                    Call::InitChecker => instance.checker_ready = true,
                    Call::RegisterMetrics => instance.driver = Driver::Registered,
                    Call::Open | Call::Create | Call::Shutdown => {}
                }
                if instance.out || !allowed {
                    // What was initialised is owed its shutdown; nothing more is begun.
                    instance.restarts.life = Life::Up;
                } else {
                    self.go_on(id, call, effects);
                }
            }
            Ok(Answer::Declined(reason)) => self.declined_again(id, reason, effects),
            Err(_) if instance.out => instance.restarts.life = Life::Dead { counted: true },
            Err(problem) => self.fail_life(id, problem, When::Starting, effects),
        }
    }

    /// Orders what follows a call of a restart that went well.
    fn go_on(&mut self, id: InstanceId, call: Call, effects: &mut Vec<Effect>) {
        let initialised = self.instances[id.0].driver == Driver::Initialised;
        let next = match call {
            Call::Open => Some(Call::Create),
            Call::Create | Call::InitDriver | Call::InitChecker => {
                let register = initialised.then_some(Call::RegisterMetrics);
                self.init_due(id).or(register)
            }
            Call::RegisterMetrics | Call::Shutdown => None,
        };
        if let Some(next) = next {
            self.order(id, next, effects);
            return;
        }
        self.revive_everywhere(id, effects);
    }

    /// It said "not for this host", and had not when it was first asked.
    fn declined_again(&mut self, id: InstanceId, reason: String, effects: &mut Vec<Effect>) {
        self.kill(id, "it says that it is not for this host", effects);
        self.restarts(id).life = Life::Dead { counted: true };
        if std::mem::replace(&mut self.instance(id).out, true) {
            return;
        }
        self.end_restarts(id, effects);
        self.set(id, State::Skipped, Some(reason.clone()));
        effects.push(Effect::ReportSkipped(id, reason.clone()));
        effects.push(Effect::Retire(id));
        if self.plan_of(id).in_stream {
            let problem = declined_processor(&self.plan_of(id).name, &reason);
            self.fail_host(problem, effects);
            self.nothing_passes(effects);
        }
    }

    /// It failed more often than is forgiven.
    fn quarantine(&mut self, id: InstanceId, last: &Problem, effects: &mut Vec<Effect>) {
        let plan = self.plan_of(id);
        let (name, within) = (&plan.name, human(plan.restart.within));
        let ends_run = plan.required || plan.in_stream;
        let failures = self.instances[id.0].restarts.failures.len();
        let headline = format!(
            "plugin `{name}` is quarantined: it failed {failures} times within {within}, the last time: {}",
            last.headline
        );
        let death = self.instances[id.0].restarts.last_death.as_deref();
        let problem = Problem::error(ExitCode::Running, Blame::Plugin, "quarantined", headline)
            .wanted(format!(
                "no more than {} failures within {within} (restart.attempts)",
                plan.restart.attempts
            ))
            .found(format!(
                "{failures}; its worker died last: {}",
                death.unwrap_or("never")
            ))
            .fix(format!(
                "find out what it died of, which its log lines before each death show, then start the host again; raise restart.attempts of plugin `{name}` only if that is to be expected"
            ));
        self.kill(id, "it is quarantined", effects);
        self.instance(id).out = true;
        self.end_restarts(id, effects);
        self.restarts(id).life = Life::Dead { counted: true };
        self.set(id, State::Quarantined, Some(problem.headline.clone()));
        // Executors that wait for it need not wait any more.
        effects.push(Effect::Retire(id));
        if !ends_run {
            effects.push(Effect::Report(as_warning(problem)));
            return;
        }
        let in_stream = self.plan_of(id).in_stream;
        self.fail_host(problem, effects);
        if in_stream {
            self.nothing_passes(effects);
        }
    }

    /// One of the stream is gone for good: no task can pass it, so that nothing is to be waited for.
    pub(super) fn nothing_passes(&self, effects: &mut Vec<Effect>) {
        if self.phase == Phase::Draining {
            effects.push(Effect::CancelStream(Cancel::NoWay));
        }
    }

    /// Nothing of it is brought back any more, whatever is under way. A call in hand is still waited for.
    pub(super) fn end_restarts(&mut self, id: InstanceId, effects: &mut Vec<Effect>) {
        self.outdate_revives(id, effects);
        let restarts = self.restarts(id);
        for serial in restarts.remembered() {
            effects.push(Effect::Disarm(Timer::Forgive(id, serial)));
        }
        restarts.failures.clear();
        restarts.poisons.clear();
        match restarts.life {
            Life::Waiting { .. } => {
                effects.push(Effect::Disarm(Timer::Restart(id)));
                restarts.life = Life::Dead { counted: true };
            }
            Life::Reviving => restarts.life = Life::Up,
            Life::Up | Life::Dead { .. } | Life::Reopened | Life::Restarting => {}
        }
    }

    pub(super) fn end_all_restarts(&mut self, effects: &mut Vec<Effect>) {
        for id in self.ids() {
            self.end_restarts(id, effects);
        }
    }
}
