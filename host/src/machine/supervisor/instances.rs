//! From verified to ready, instance by instance, and what a failed or late call means for one. Loading follows the config's
//! order, so that what is printed matches what is read; everything later follows `after`.

use super::{
    Answer, Call, Driver, Effect, InstanceId, Life, Phase, Side, State, Supervisor, Timer,
    as_warning, human,
};
use crate::{
    error::{Blame, ExitCode, Problem},
    machine::retry,
};

impl Supervisor {
    pub(super) fn next_open(&mut self, effects: &mut Vec<Effect>) -> bool {
        let id = InstanceId(self.cursor);
        match self.instances.get(self.cursor) {
            // Every library was opened, so that every refusal is told at once; no instance was made.
            None if self.exit.is_some() => self.stop(effects),
            None => self.enter(Phase::Creating),
            Some(instance) => {
                self.cursor += 1;
                if !instance.out {
                    self.order(id, Call::Open, effects);
                }
            }
        }
        true
    }

    pub(super) fn next_create(&mut self, effects: &mut Vec<Effect>) -> bool {
        let id = InstanceId(self.cursor);
        match self.instances.get(self.cursor) {
            None => self.enter(Phase::Initializing),
            Some(instance) if matches!(instance.restarts.life, Life::Dead { .. }) => {
                self.cursor += 1;
                if !instance.out {
                    self.fail_instance(id, self.death(id, ExitCode::Init), effects);
                }
            }
            Some(instance) => {
                self.cursor += 1;
                if !instance.out {
                    self.order(id, Call::Create, effects);
                }
            }
        }
        true
    }

    pub(super) fn next_init(&mut self, effects: &mut Vec<Effect>) -> bool {
        let Some(&id) = self.plan.order.get(self.cursor) else {
            self.enter(Phase::Registering);
            return true;
        };
        if self.instances[id.0].state == State::BackingOff {
            // Its timer brings it back.
            return false;
        }
        if !self.instances[id.0].out {
            match self.instances[id.0].restarts.life {
                Life::Dead { counted: false } => {
                    // Its worker died between two calls, which is as good as a failed init.
                    self.instance(id).restarts.life = Life::Dead { counted: true };
                    self.init_failed(id, self.death(id, ExitCode::Init), effects);
                    return true;
                }
                Life::Dead { counted: true } => {
                    self.set(id, State::Initializing, None);
                    self.order(id, Call::Open, effects);
                    return true;
                }
                Life::Reopened => {
                    self.order(id, Call::Create, effects);
                    return true;
                }
                _ => {}
            }
        }
        if let Some(call) = self.init_due(id) {
            self.set(id, State::Initializing, None);
            self.order(id, call, effects);
            return true;
        }
        self.cursor += 1;
        let instance = self.instance(id);
        instance.restarts.served = !instance.out;
        match instance.state {
            _ if instance.out => {}
            State::Hung => instance.resumes = State::Ready,
            _ => self.set(id, State::Ready, None),
        }
        true
    }

    pub(super) fn init_due(&self, id: InstanceId) -> Option<Call> {
        let (instance, parts) = (&self.instances[id.0], self.plan_of(id).parts);
        if instance.out || self.plan.side == Side::Executors {
            None
        } else if parts.driver && instance.driver == Driver::Absent {
            Some(Call::InitDriver)
        } else if parts.checker && !instance.checker_ready {
            Some(Call::InitChecker)
        } else {
            None
        }
    }

    pub(super) fn next_register(&mut self, effects: &mut Vec<Effect>) -> bool {
        let Some(&id) = self.plan.order.get(self.cursor) else {
            self.enter(Phase::StartingExecutors);
            return true;
        };
        self.cursor += 1;
        let instance = &self.instances[id.0];
        if !instance.out && instance.driver == Driver::Initialised {
            self.order(id, Call::RegisterMetrics, effects);
        }
        true
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.cursor = 0;
    }

    /// Orders a call. Its timer comes first: nothing is ever in hand without one.
    pub(super) fn order(&mut self, id: InstanceId, call: Call, effects: &mut Vec<Effect>) {
        let instance = self.instance(id);
        instance.call = Some(call);
        if call == Call::Open {
            instance.restarts.opens();
        }
        effects.push(Effect::Arm(Timer::Call(id, call), self.deadline(id, call)));
        effects.push(Effect::Call(id, call));
    }

    fn deadline(&self, id: InstanceId, call: Call) -> std::time::Duration {
        let plan = self.plan_of(id);
        match call {
            Call::Open | Call::Create => plan.load,
            Call::InitDriver | Call::InitChecker | Call::RegisterMetrics => plan.init,
            Call::Shutdown => plan.shutdown,
        }
    }

    pub(super) fn returned(
        &mut self,
        id: InstanceId,
        call: Call,
        outcome: Result<Answer, Problem>,
        effects: &mut Vec<Effect>,
    ) {
        if self.instances[id.0].call != Some(call) {
            // A timer and the return it guards can cross, so a late answer is reported, never fatal.
            effects.push(Effect::ReportLate(id, call));
            return;
        }
        self.instance(id).call = None;
        effects.push(Effect::Disarm(Timer::Call(id, call)));
        let outcome = self.in_hindsight(id, call, outcome);
        if self.instances[id.0].restarts.life == Life::Restarting {
            self.restart_returned(id, call, outcome, effects);
            return;
        }
        match outcome {
            Ok(Answer::Done) => self.returned_well(id, call),
            Ok(Answer::Declined(reason)) => {
                self.instance(id).out = true;
                self.set(id, State::Skipped, Some(reason.clone()));
                effects.push(Effect::ReportSkipped(id, reason.clone()));
                if self.plan_of(id).in_stream {
                    let problem = declined_processor(&self.plan_of(id).name, &reason);
                    self.fail_host(problem, effects);
                }
            }
            Err(problem) => match call {
                Call::InitDriver => self.init_failed(id, problem, effects),
                Call::Shutdown => {
                    self.set(id, State::Failed, Some(problem.headline.clone()));
                    self.report(problem, effects);
                }
                // Another attempt at its init, in a new worker, did not even come to it.
                Call::Open | Call::Create if self.phase == Phase::Initializing => {
                    self.reopening_failed(id, &problem.headline, effects);
                    self.init_failed(id, problem, effects);
                }
                Call::InitChecker | Call::RegisterMetrics if self.went_with(id, &problem) => {
                    self.died_in_start(id, problem, effects);
                }
                Call::Open | Call::Create | Call::InitChecker | Call::RegisterMetrics => {
                    self.fail_instance(id, problem, effects);
                }
            },
        }
    }

    fn returned_well(&mut self, id: InstanceId, call: Call) {
        let instance = self.instance(id);
        match call {
            Call::Open if matches!(instance.restarts.life, Life::Dead { .. }) => {
                instance.restarts.life = Life::Reopened;
            }
            Call::Open => {}
            Call::Create if instance.restarts.life == Life::Reopened => {
                instance.restarts.life = Life::Up;
            }
            Call::Create if !instance.out => self.set(id, State::Loaded, None),
            Call::Create => {}
            Call::InitDriver => instance.driver = Driver::Initialised,
            Call::InitChecker => instance.checker_ready = true,
            Call::RegisterMetrics => instance.driver = Driver::Registered,
            // What it failed with stays to be read.
            Call::Shutdown if instance.state == State::Failed => {}
            Call::Shutdown => self.set(id, State::Stopped, None),
        }
    }

    /// Its worker died in a call that comes after its init: what had gone well went with it, so that is a failed init, and the
    /// next attempt begins with an init in a new worker. Whatever is initialised by then is passed over.
    fn died_in_start(&mut self, id: InstanceId, problem: Problem, effects: &mut Vec<Effect>) {
        self.bury(id, &problem.headline, effects);
        if self.phase == Phase::Registering {
            self.enter(Phase::Initializing);
        }
        self.init_failed(id, problem, effects);
    }

    fn init_failed(&mut self, id: InstanceId, problem: Problem, effects: &mut Vec<Effect>) {
        let attempts = self.plan_of(id).init_attempts;
        let stopping = self.stopping();
        let instance = self.instance(id);
        instance.init_failures += 1;
        let failures = instance.init_failures;
        if failures >= attempts || stopping || instance.out {
            self.fail_instance(id, problem, effects);
            return;
        }
        self.set(id, State::BackingOff, Some(problem.headline.clone()));
        effects.push(Effect::Report(as_warning(problem)));
        effects.push(Effect::Arm(Timer::Backoff(id), retry::pause(failures)));
    }

    pub(super) fn backed_off(&mut self, id: InstanceId) {
        if self.instances[id.0].state == State::BackingOff && !self.stopping() {
            self.set(id, State::Initializing, None);
        }
    }

    /// A call that the supervisor ordered did not return in time. In-process it cannot be killed: it is left behind. A worker
    /// can, and the call then returns; if it still does not, it is left behind too.
    pub(super) fn call_overran(&mut self, id: InstanceId, call: Call, effects: &mut Vec<Effect>) {
        if self.instances[id.0].call != Some(call) {
            // It returned just before.
            return;
        }
        let (key, exit) = match call {
            Call::Open | Call::Create => ("load", ExitCode::Init),
            Call::InitDriver | Call::InitChecker | Call::RegisterMetrics => {
                ("init", ExitCode::Init)
            }
            Call::Shutdown => ("shutdown", ExitCode::Shutdown),
        };
        let (name, within) = (&self.plan_of(id).name, human(self.deadline(id, call)));
        let headline = format!(
            "plugin `{name}`: {} did not return within {within}",
            call.method()
        );
        let problem = Problem::error(exit, Blame::Plugin, format!("{key}-timeout"), headline)
            .wanted(format!("an answer within {within}"))
            .found("no answer; the call still runs and is left behind")
            .fix(format!(
                "raise deadlines.{key} of plugin `{name}`, or find out what it waits for"
            ));
        let killed = Problem {
            found: Some("no answer; its worker is killed".to_owned()),
            ..problem.clone()
        };
        if self.kill_for_call(id, call, &killed, effects) {
            return;
        }
        self.instance(id).call = None;
        let reason = Some(problem.headline.clone());
        match call {
            Call::Shutdown => self.report(problem, effects),
            _ => self.fail_instance(id, problem, effects),
        }
        self.set(id, State::Hung, reason);
    }

    /// A call that nobody ordered overran and still runs. It costs the instance nothing but the time.
    pub(super) fn overran(&mut self, id: InstanceId, problem: Problem, effects: &mut Vec<Effect>) {
        let reason = problem.headline.clone();
        effects.push(Effect::Report(as_warning(problem)));
        let instance = self.instance(id);
        instance.hung_calls += 1;
        let serves = !matches!(
            instance.state,
            State::Hung | State::BackingOff | State::Stopped
        );
        if serves && !instance.out {
            instance.resumes = instance.state;
            self.set(id, State::Hung, Some(reason.clone()));
        }
        self.kill(id, &reason, effects);
    }

    pub(super) fn recovered(&mut self, id: InstanceId) {
        let instance = self.instance(id);
        instance.hung_calls = instance.hung_calls.saturating_sub(1);
        // One that is being killed does not serve again: its calls return because of that.
        let serves = !instance.out && !instance.restarts.killed;
        if instance.hung_calls == 0 && serves && instance.state == State::Hung {
            let resumes = instance.resumes;
            self.set(id, resumes, None);
        }
    }

    /// The instance is out. A required one takes the host with it, in order.
    pub(super) fn fail_instance(
        &mut self,
        id: InstanceId,
        problem: Problem,
        effects: &mut Vec<Effect>,
    ) {
        let instance = self.instance(id);
        let was_out = std::mem::replace(&mut instance.out, true);
        if instance.state == State::BackingOff {
            effects.push(Effect::Disarm(Timer::Backoff(id)));
        }
        self.end_restarts(id, effects);
        let instance = self.instance(id);
        if !was_out && instance.state != State::Stopped {
            self.set(id, State::Failed, Some(problem.headline.clone()));
        }
        // A configuration that is wrong stops everything, whoever it is about.
        if self.plan_of(id).required || problem.exit == ExitCode::Usage {
            self.fail_host(problem, effects);
            return;
        }
        effects.push(Effect::Report(as_warning(problem)));
        if !was_out {
            effects.push(Effect::Retire(id));
        }
    }
}

/// Without it records would pass unprocessed.
pub(super) fn declined_processor(name: &str, reason: &str) -> Problem {
    let headline =
        format!("plugin `{name}`, which [stream] names, says it is not for this host: {reason}");
    Problem::usage("unknown-processor", headline)
        .wanted("a processor that runs here")
        .found("it declined")
        .fix(format!(
            "take `{name}` out of [stream] processors, or run where it can"
        ))
}
