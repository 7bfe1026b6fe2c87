//! How a worker ends: it dies, or is killed for a call that overran; what its calls are worth then, and what it was owed.
//!
//! A life that is killed, or dies, is owed no shutdown. Never waits for a worker: whoever was killed and does not end is left
//! behind. What comes after a death is for `restart.rs` to say.

use super::{
    Answer, Call, Death, Driver, Effect, GONE, InstanceId, State, Supervisor, Timer, as_warning,
    restart::{KILL_PATIENCE, Life, When},
};
use crate::error::{Blame, ExitCode, Problem};

impl Supervisor {
    /// Its worker is gone. Told once a life; what is told again is about nobody.
    pub(super) fn died(&mut self, id: InstanceId, death: Death, effects: &mut Vec<Effect>) {
        if !self.isolated(id) {
            return;
        }
        let allowed = self.restarts_allowed();
        let instance = self.instance(id);
        instance.restarts.told = instance.restarts.told.max(death.life);
        if instance.call == Some(Call::Open) {
            // Its own death fails this call or the next one.
            instance.restarts.doubtful = true;
            instance.restarts.last_death = Some(death.how);
            return;
        }
        if !std::mem::take(&mut instance.restarts.worker) {
            return;
        }
        instance.restarts.last_death = Some(death.how);
        let when = match death.in_hand {
            true => When::InHand(death.life),
            false => When::InService(death.life),
        };
        let owed = self.drop_life(id, effects);
        let instance = self.instance(id);
        if instance.call.is_some() {
            instance.restarts.died_in_call = true;
            return;
        }
        if instance.out {
            // Whoever took it out otherwise has said so.
            if instance.state == State::Failed && self.plan_of(id).in_stream {
                self.nothing_passes(effects);
            }
            return;
        }
        match instance.restarts.life {
            // No restart is without a call in hand.
            Life::Dead { .. } | Life::Restarting => {}
            Life::Waiting { pause_over, .. } => {
                let ended = true;
                instance.restarts.life = Life::Waiting { pause_over, ended };
                if pause_over {
                    effects.push(Effect::Disarm(Timer::Restart(id)));
                }
                self.begin_restart(id, effects);
            }
            Life::Reopened => instance.restarts.life = Life::Dead { counted: false },
            Life::Up | Life::Reviving if !allowed => self.died_in_stop(id, owed, effects),
            Life::Up if !instance.restarts.served => {
                let counted = instance.state == State::BackingOff;
                instance.restarts.life = Life::Dead { counted };
            }
            Life::Up | Life::Reviving => {
                let problem = self.death(id, ExitCode::Running);
                self.fail_life(id, problem, when, effects);
            }
        }
    }

    fn died_in_stop(&mut self, id: InstanceId, owed: bool, effects: &mut Vec<Effect>) {
        self.restarts(id).life = Life::Dead { counted: true };
        if owed {
            self.report_unshut(id, effects);
        } else {
            let problem = self.death(id, ExitCode::Running);
            effects.push(Effect::Report(as_warning(problem)));
        }
    }

    /// A driver that was owed its shutdown cannot get it any more.
    pub(super) fn report_unshut(&mut self, id: InstanceId, effects: &mut Vec<Effect>) {
        self.restarts(id).life = Life::Dead { counted: true };
        let problem = self.death(id, ExitCode::Shutdown);
        let headline = format!("{}, and its driver got no shutdown", problem.headline);
        self.set(id, State::Failed, Some(headline.clone()));
        self.report(
            Problem {
                headline,
                ..problem
            },
            effects,
        );
    }

    /// What the old life had: its driver is owed nothing, its calls hang no more, and what executors answer is about it.
    /// Answers whether the driver was owed a shutdown.
    pub(super) fn drop_life(&mut self, id: InstanceId, effects: &mut Vec<Effect>) -> bool {
        let instance = self.instance(id);
        instance.checker_ready = false;
        instance.hung_calls = 0;
        let owed = std::mem::replace(&mut instance.driver, Driver::Absent) != Driver::Absent;
        self.outdate_revives(id, effects);
        owed
    }

    /// Whether the driver may still be called for its shutdown; a worker that is being killed is as good as dead.
    pub(super) fn killed(&self, id: InstanceId) -> bool {
        self.instances[id.0].restarts.killed
    }

    /// Orders the end of a worker, once a life. Its death is told like any other.
    pub(super) fn kill(&mut self, id: InstanceId, why: &str, effects: &mut Vec<Effect>) {
        let restarts = self.restarts(id);
        if restarts.worker && !std::mem::replace(&mut restarts.killed, true) {
            effects.push(Effect::Kill(id, why.to_owned()));
        }
    }

    /// The call in hand overran. The worker is killed, so the call will return; answers false where that was done before
    /// and did not help, or where there is no worker to be killed.
    pub(super) fn kill_for_call(
        &mut self,
        id: InstanceId,
        call: Call,
        problem: &Problem,
        effects: &mut Vec<Effect>,
    ) -> bool {
        if !self.isolated(id) || self.restarts(id).overran.take().is_some() {
            return false;
        }
        let restarts = self.restarts(id);
        restarts.overran = Some(Box::new(problem.clone()));
        effects.push(Effect::Arm(Timer::Call(id, call), KILL_PATIENCE));
        if call == Call::Open {
            // Whether there is a worker yet nobody has told.
            restarts.killed = true;
            effects.push(Effect::Kill(id, problem.headline.clone()));
        } else {
            self.kill(id, &problem.headline, effects);
        }
        true
    }

    /// What a call's answer is worth: nothing, if it overran or its worker died meanwhile.
    pub(super) fn in_hindsight(
        &mut self,
        id: InstanceId,
        call: Call,
        outcome: Result<Answer, Problem>,
    ) -> Result<Answer, Problem> {
        if !self.isolated(id) {
            return outcome;
        }
        let restarts = self.restarts(id);
        if call == Call::Open {
            restarts.worker = outcome.is_ok();
        }
        let died = std::mem::take(&mut restarts.died_in_call);
        let overran = restarts.overran.take();
        let outcome = match (outcome, overran) {
            (_, Some(problem)) => Err(*problem),
            // A shutdown is the last call: what it answered counts, and that the worker ends then is as it should be.
            (Ok(_), None) if died && call != Call::Shutdown => Err(self.death(id, ExitCode::Init)),
            (outcome, None) => outcome,
        };
        let restarts = self.restarts(id);
        let gone = died || restarts.killed;
        if outcome.is_err() && gone && restarts.life != Life::Restarting {
            restarts.life = Life::Dead { counted: true };
        }
        outcome
    }

    /// A call of another attempt at the first init failed before the init: the worker, if there is one, goes with it.
    pub(super) fn reopening_failed(
        &mut self,
        id: InstanceId,
        why: &str,
        effects: &mut Vec<Effect>,
    ) {
        self.kill(id, why, effects);
        self.restarts(id).life = Life::Dead { counted: true };
    }

    /// Whether a call of the start failed because its worker is gone. What the failure says may be told before the death.
    pub(super) fn went_with(&self, id: InstanceId, problem: &Problem) -> bool {
        let dead = matches!(self.life(id), Life::Dead { .. });
        self.isolated(id) && (dead || problem.code == GONE)
    }

    /// Whatever is left of a worker that died in a call of the start, and of what it had initialised, is no more; that it was
    /// a failed init is counted by whoever asks.
    pub(super) fn bury(&mut self, id: InstanceId, why: &str, effects: &mut Vec<Effect>) {
        self.drop_life(id, effects);
        self.reopening_failed(id, why, effects);
        self.restarts(id).served = false;
    }

    /// A fault that is told while the instance is dead was the old life's, and ended with it. One that shuts down lives.
    pub(super) fn fault_of_the_dead(&self, id: InstanceId) -> bool {
        let instance = &self.instances[id.0];
        let dead = matches!(instance.restarts.life, Life::Dead { .. });
        let lives = instance.call == Some(Call::Shutdown);
        !instance.out && !lives && instance.driver == Driver::Absent && (dead || self.down(id))
    }

    /// How its worker died, as an operator reads it.
    pub(super) fn death(&self, id: InstanceId, exit: ExitCode) -> Problem {
        let name = &self.plan_of(id).name;
        let how = self.instances[id.0].restarts.last_death.as_deref();
        let how = how.unwrap_or("killed");
        let headline = format!("plugin `{name}`: its worker died: {how}");
        Problem::error(exit, Blame::Plugin, "died", headline)
            .wanted("a worker that lives as long as its instance")
            .found(how)
            .fix("its log lines just before show what it did last")
    }
}
