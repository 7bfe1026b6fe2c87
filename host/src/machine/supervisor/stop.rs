//! The stream and the orderly stop: drain, executors, then drivers in reverse, each exactly once. It begins once, whatever
//! asks for it, and nothing that fails meanwhile holds it up.

use super::{Call, Cancel, Driver, Effect, InstanceId, Life, Phase, State, Supervisor, Timer};
use crate::error::{Blame, ExitCode, Problem};
use std::time::Duration;

/// How long a cancelled task may still run where no instance says how long its shutdown may take.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);

impl Supervisor {
    pub(super) fn fail_host(&mut self, problem: Problem, effects: &mut Vec<Effect>) {
        self.report(problem, effects);
        // While libraries are only opened, every other entry's fault is worth knowing too: no instance was made yet.
        if self.phase != Phase::Opening {
            self.stop(effects);
        }
    }

    /// Begins the orderly stop, once.
    pub(super) fn stop(&mut self, effects: &mut Vec<Effect>) {
        if self.stopping() {
            return;
        }
        for (place, instance) in self.instances.iter().enumerate() {
            if instance.state == State::BackingOff {
                effects.push(Effect::Disarm(Timer::Backoff(InstanceId(place))));
            }
        }
        if self.stream_open {
            self.phase = Phase::Draining;
            effects.push(Effect::DrainStream);
            effects.push(Effect::Arm(Timer::Drain, self.plan.drain));
        } else {
            self.phase = Phase::StoppingExecutors;
        }
    }

    pub(super) fn run(&mut self, effects: &mut Vec<Effect>) {
        self.phase = Phase::Running;
        effects.push(Effect::Ready);
        if self.stream_open {
            effects.push(Effect::StartStream);
        }
    }

    pub(super) fn stream_opened(
        &mut self,
        outcome: Result<(), Problem>,
        effects: &mut Vec<Effect>,
    ) {
        match outcome {
            Ok(()) if self.phase == Phase::OpeningStream => {
                self.stream_open = true;
                self.run(effects);
            }
            // The stop began meanwhile; nothing was read.
            Ok(()) => effects.push(Effect::CancelStream(Cancel::NoWay)),
            Err(problem) => self.fail_host(problem, effects),
        }
    }

    pub(super) fn stream_ended(&mut self, outcome: Result<(), Problem>, effects: &mut Vec<Effect>) {
        if let Err(problem) = outcome {
            self.report(problem, effects);
        }
        if !std::mem::take(&mut self.stream_open) {
            return;
        }
        if self.phase == Phase::Draining {
            effects.push(Effect::Disarm(Timer::Drain));
            effects.push(Effect::Disarm(Timer::Cancel));
            self.phase = Phase::StoppingExecutors;
        } else {
            self.stop(effects);
        }
    }

    pub(super) fn drain_ended(&mut self, effects: &mut Vec<Effect>) {
        if self.phase == Phase::Draining {
            let patience = self.plan.instances.iter().map(|plan| plan.shutdown).max();
            effects.push(Effect::CancelStream(Cancel::DrainOverran));
            effects.push(Effect::Arm(
                Timer::Cancel,
                patience.unwrap_or(CANCEL_PATIENCE),
            ));
        }
    }

    pub(super) fn cancel_overran(&mut self, effects: &mut Vec<Effect>) {
        if self.phase != Phase::Draining {
            return;
        }
        let headline = "a task in hand did not return after it was cancelled; it is left behind";
        let problem = Problem::error(ExitCode::Shutdown, Blame::Plugin, "drain-overran", headline)
            .wanted("every task back by then")
            .found("no answer; it still runs, and its records are not delivered")
            .fix("raise [executors] drain, or find out what the processors wait for");
        self.report(problem, effects);
        self.phase = Phase::StoppingExecutors;
    }

    /// Orders the next shutdown, in reverse init order, of whoever is owed one; after the last the host is finished.
    pub(super) fn next_shutdown(&mut self, effects: &mut Vec<Effect>) -> bool {
        let left = self.plan.order.len() - self.cursor;
        if left == 0 {
            self.phase = Phase::Finished;
            effects.push(Effect::Finish(self.exit.unwrap_or(ExitCode::Clean)));
            return false;
        }
        let id = self.plan.order[left - 1];
        self.cursor += 1;
        let instance = self.instance(id);
        let mut owed = std::mem::replace(&mut instance.driver, Driver::Absent) != Driver::Absent;
        if owed && self.killed(id) {
            owed = false;
            if !self.instances[id.0].out {
                self.report_unshut(id, effects);
            }
        }
        let instance = self.instance(id);
        // Whatever its worker does from here on, it has nothing to say about it any more.
        instance.restarts.life = Life::Dead { counted: true };
        // What failed or never was says so until the end.
        let stays = instance.out || matches!(instance.state, State::Verified | State::Failed);
        let hung = instance.state == State::Hung;
        if owed {
            if !stays {
                self.set(id, State::Stopping, None);
            }
            self.order(id, Call::Shutdown, effects);
        } else if !stays && !hung {
            self.set(id, State::Stopped, None);
        }
        true
    }
}
