//! Executors and a restarted instance: each makes its parts of it anew, and only then is the instance ready. What an
//! executor answers about an old life is told apart from what it answers about the new one, and a busy executor is waited for
//! only so long: that another's call keeps it is not this instance's fault.

use super::{
    Effect, ExecutorId, ExecutorState, GONE, InstanceId, InstanceState, Life, State, Supervisor,
    Timer, human, restart::When,
};
use crate::error::Problem;
use std::{collections::BTreeMap, time::Duration};

/// What making parts anew on an executor may take beyond their init. The watchdog speaks first.
const REVIVE_MARGIN: Duration = Duration::from_secs(1);

/// Making parts anew, ordered of an executor and not answered.
#[derive(Debug)]
pub(super) struct Revive {
    /// Ordered in this life; else the answer may be about another one, and only then is it ordered for this.
    fresh: bool,
    /// Its time is over: the instance serves without that executor until it answers.
    late: bool,
}

impl Supervisor {
    /// The calls of a restart went well; the executors that are up come last.
    pub(super) fn revive_everywhere(&mut self, id: InstanceId, effects: &mut Vec<Effect>) {
        self.restarts(id).life = Life::Reviving;
        if self.plan_of(id).parts.on_executors() {
            let up = self.executors.iter();
            let up = up.filter(|(_, executor)| executor.state == ExecutorState::Up);
            for executor in up.map(|(executor, _)| *executor).collect::<Vec<_>>() {
                self.revive(executor, id, effects);
            }
        }
        self.finish_restart(id);
    }

    pub(super) fn any_reviving(&self) -> bool {
        let reviving = |id: &InstanceId| self.life(*id) == Life::Reviving;
        self.ids().any(|id| reviving(&id))
    }

    /// Whatever executors still answer is about a life that is over.
    pub(super) fn outdate_revives(&mut self, id: InstanceId, effects: &mut Vec<Effect>) {
        for (executor, revive) in &mut self.restarts(id).revives {
            revive.fresh = false;
            // So that it holds up nobody; should it be waited for again, its timer is armed again.
            if !std::mem::replace(&mut revive.late, true) {
                effects.push(Effect::Disarm(Timer::Revive(*executor, id)));
            }
        }
    }

    fn revive_deadline(&self, id: InstanceId) -> Duration {
        let plan = self.plan_of(id);
        let parts = u32::from(plan.parts.executor) + u32::from(plan.parts.processor);
        plan.init * parts + REVIVE_MARGIN
    }

    /// What an executor may still have to make before it comes to its stop.
    pub(super) fn revives_of(&self, executor: ExecutorId) -> Duration {
        let owing = |id: &InstanceId| {
            self.instances[id.0]
                .restarts
                .revives
                .contains_key(&executor)
        };
        self.ids()
            .filter(owing)
            .map(|id| self.revive_deadline(id))
            .sum()
    }

    /// Orders parts made anew, or waits first for the answer to an earlier order.
    fn revive(&mut self, executor: ExecutorId, id: InstanceId, effects: &mut Vec<Effect>) {
        let within = self.revive_deadline(id);
        effects.push(Effect::Arm(Timer::Revive(executor, id), within));
        let revives = &mut self.restarts(id).revives;
        if let Some(earlier) = revives.get_mut(&executor) {
            earlier.late = false;
            return;
        }
        let (fresh, late) = (true, false);
        revives.insert(executor, Revive { fresh, late });
        effects.push(Effect::Revive(executor, id));
    }

    pub(super) fn revived(
        &mut self,
        executor: ExecutorId,
        id: InstanceId,
        outcome: Result<(), Problem>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(revive) = self.restarts(id).revives.remove(&executor) else {
            return;
        };
        if !revive.late {
            effects.push(Effect::Disarm(Timer::Revive(executor, id)));
        }
        let lives = matches!(self.life(id), Life::Up | Life::Reviving);
        if !lives || self.instances[id.0].out || !self.restarts_allowed() {
            return;
        }
        match outcome {
            _ if !revive.fresh => self.revive(executor, id, effects),
            Ok(()) => self.finish_restart(id),
            // That death is not told yet, and will be, with the life that it ended and what was in hand.
            Err(problem) if problem.code == GONE => {}
            Err(problem) => self.fail_life(id, problem, When::Starting, effects),
        }
    }

    /// An executor has not made its parts anew in time. It may be busy with another's call, which is not this one's fault:
    /// the instance serves without it meanwhile.
    pub(super) fn revive_overran(
        &mut self,
        executor: ExecutorId,
        id: InstanceId,
        effects: &mut Vec<Effect>,
    ) {
        match self.restarts(id).revives.get_mut(&executor) {
            Some(revive) if !revive.late => revive.late = true,
            _ => return,
        }
        let within = human(self.revive_deadline(id));
        let name = &self.plan_of(id).name;
        let headline = format!(
            "plugin `{name}`: executor {} has not made its parts anew within {within}",
            executor.0
        );
        let problem = Problem::warning("revive-timeout", headline)
            .wanted(format!("new parts within {within} of the restart"))
            .found("no answer; the instance serves without that executor until there is one")
            .fix("find out which call keeps that executor busy");
        effects.push(Effect::Report(problem));
        self.finish_restart(id);
    }

    /// The restart is over once no executor has parts of an old life that it could use.
    fn finish_restart(&mut self, id: InstanceId) {
        let restarts = &self.instances[id.0].restarts;
        let (number, revives) = (restarts.number, &restarts.revives);
        // One that is being started answers soon, and is then given new parts or started again.
        let mut executors = self.executors.values();
        let outdated = executors.any(|executor| {
            let made = executor.lives.get(&id);
            executor.state == ExecutorState::Starting && made.is_some_and(|life| *life != number)
        });
        if restarts.life != Life::Reviving || outdated || revives.values().any(|one| !one.late) {
            return;
        }
        let instance = self.instance(id);
        instance.restarts.life = Life::Up;
        match instance.state {
            State::Hung => instance.resumes = State::Ready,
            _ => self.set(id, State::Ready, None),
        }
    }

    /// An executor came to rest after a start: instances that were restarted meanwhile have it make their parts anew, or
    /// wait for it no longer.
    pub(super) fn executor_settled(&mut self, executor: ExecutorId, effects: &mut Vec<Effect>) {
        for id in self.ids() {
            let reviving = self.life(id) == Life::Reviving && !self.instances[id.0].out;
            if !reviving || !self.restarts_allowed() {
                continue;
            }
            let number = self.instances[id.0].restarts.number;
            let outdated = self.executors.get(&executor).is_some_and(|executor| {
                let made = executor.lives.get(&id);
                executor.state == ExecutorState::Up && made.is_some_and(|life| *life != number)
            });
            if outdated {
                self.revive(executor, id, effects);
            }
            self.finish_restart(id);
        }
    }

    /// An executor's thread does not come back, nor its answers.
    pub(super) fn executor_lost(&mut self, executor: ExecutorId, effects: &mut Vec<Effect>) {
        for id in self.ids() {
            let revive = self.restarts(id).revives.remove(&executor);
            if revive.is_some_and(|revive| !revive.late) {
                effects.push(Effect::Disarm(Timer::Revive(executor, id)));
            }
            if !self.instances[id.0].out {
                self.finish_restart(id);
            }
        }
    }

    /// Why the executor's start is no fault of its own: the parts that failed it belong to a life that is over.
    pub(super) fn start_was_of_another_life(&self, executor: ExecutorId, id: InstanceId) -> bool {
        let made = self.executors.get(&executor);
        let made = made.and_then(|executor| executor.lives.get(&id).copied());
        let over = |instance: &InstanceState| {
            instance.out || self.down(id) || made != Some(instance.restarts.number)
        };
        self.isolated(id) && over(&self.instances[id.0])
    }

    /// The lives that an executor that is started now makes parts of.
    pub(super) fn lives_of(&self, instances: &[InstanceId]) -> BTreeMap<InstanceId, u32> {
        let isolated = instances.iter().filter(|id| self.isolated(**id));
        isolated
            .map(|id| (*id, self.instances[id.0].restarts.number))
            .collect()
    }
}
