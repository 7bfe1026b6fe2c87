//! Executors: started together, each with every part of every instance that lives there, tried again within bounds, and
//! given up where a thread does not come back.

use super::{
    Cancel, Effect, Executor, ExecutorId, ExecutorState, GONE, InstanceId, Phase, Side, State,
    Supervisor, Timer, as_warning, human,
};
use crate::{
    error::{Blame, ExitCode, Problem},
    machine::retry,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// What an executor may take beyond its parts' own deadlines. The watchdog measures those and knows the part at fault, so it
/// speaks first; after this second there is something that it does not see, a factory or a Drop.
const EXECUTOR_MARGIN: Duration = Duration::from_secs(1);

impl Supervisor {
    /// The instances that have something on executors and are not out, in init order.
    fn on_executors(&self) -> Vec<InstanceId> {
        let lives =
            |id: &InstanceId| !self.instances[id.0].out && self.plan_of(*id).parts.on_executors();
        self.plan.order.iter().copied().filter(lives).collect()
    }

    pub(super) fn start_executors(&mut self, effects: &mut Vec<Effect>) -> bool {
        let instances = self.on_executors();
        let wanted = match self.plan.side {
            Side::Drivers => 0,
            // An executor without parts and without a stream would be a thread for nothing.
            _ if !self.plan.stream && instances.is_empty() => 0,
            _ => self.plan.executors,
        };
        if self.executors.is_empty() && wanted > 0 {
            for number in 0..wanted {
                self.start_executor(ExecutorId(number), effects);
            }
            return false;
        }
        let pending = |executor: &Executor| {
            matches!(
                executor.state,
                ExecutorState::Starting | ExecutorState::BackingOff | ExecutorState::Awaiting(_)
            )
        };
        self.start_awaiting(effects);
        if self.executors.values().any(pending) {
            return false;
        }
        if self.settle_exhausted(effects) {
            // Either they start again, or the stop has begun and goes on at once.
            return self.stopping();
        }
        if self.any_reviving() {
            return false;
        }
        if self.plan.stream && self.plan.side == Side::Both {
            self.phase = Phase::OpeningStream;
            effects.push(Effect::OpenStream);
        } else {
            self.run(effects);
        }
        false
    }

    /// Orders a start, the first one or another attempt, with the instances that are still in.
    fn start_executor(&mut self, id: ExecutorId, effects: &mut Vec<Effect>) {
        let instances = self.on_executors();
        let lives = self.lives_of(&instances);
        let down = instances.iter().copied().find(|id| self.down(*id));
        let deadline = |id: &InstanceId| {
            let plan = self.plan_of(*id);
            plan.init * (u32::from(plan.parts.executor) + u32::from(plan.parts.processor))
        };
        let within = instances.iter().map(deadline).sum::<Duration>() + EXECUTOR_MARGIN;
        let starting = Executor {
            state: ExecutorState::Starting,
            failures: 0,
            lives: BTreeMap::new(),
        };
        let executor = self.executors.entry(id).or_insert(starting);
        if let Some(down) = down {
            // It would only fail.
            executor.state = ExecutorState::Awaiting(down);
            return;
        }
        executor.state = ExecutorState::Starting;
        executor.lives = lives;
        effects.push(Effect::Arm(Timer::ExecutorStart(id), within));
        effects.push(Effect::StartExecutor(id, instances));
    }

    /// Starts those that waited for an instance which is back, or given up.
    fn start_awaiting(&mut self, effects: &mut Vec<Effect>) {
        let executors = self.executors.iter();
        let due = executors.filter_map(|(id, executor)| match executor.state {
            ExecutorState::Awaiting(instance) if !self.down(instance) => Some(*id),
            _ => None,
        });
        for id in due.collect::<Vec<_>>() {
            self.start_executor(id, effects);
        }
    }

    /// All executors have come to rest. Those out of attempts decide about the instance at fault, and start again without it;
    /// answers whether there was one.
    fn settle_exhausted(&mut self, effects: &mut Vec<Effect>) -> bool {
        let mut told = BTreeSet::new();
        let mut exhausted = Vec::new();
        for (id, executor) in &mut self.executors {
            if !matches!(executor.state, ExecutorState::Exhausted(..)) {
                continue;
            }
            if let ExecutorState::Exhausted(instance, problem) =
                std::mem::replace(&mut executor.state, ExecutorState::Down)
            {
                executor.failures = 0;
                exhausted.push((*id, instance, problem));
            }
        }
        let mut again = Vec::new();
        for (id, instance, problem) in exhausted {
            again.push(id);
            if problem.blame == Blame::Environment {
                // No thread to be had: the instance that is named was only the first that would have needed it.
                self.fail_host(*problem, effects);
            } else if told.insert(instance) {
                // One report an instance, however many executors it failed.
                self.fail_instance(instance, *problem, effects);
            }
        }
        if !self.stopping() {
            for id in &again {
                self.start_executor(*id, effects);
            }
        }
        !again.is_empty()
    }

    pub(super) fn executor_started(
        &mut self,
        id: ExecutorId,
        outcome: Result<(), (InstanceId, Problem)>,
        effects: &mut Vec<Effect>,
    ) {
        if !self.executor_is(id, &ExecutorState::Starting) {
            return;
        }
        effects.push(Effect::Disarm(Timer::ExecutorStart(id)));
        match outcome {
            Ok(()) => self.rest(id, ExecutorState::Up),
            Err((instance, problem)) => self.executor_failed(id, instance, problem, effects),
        }
        self.executor_settled(id, effects);
    }

    fn executor_failed(
        &mut self,
        id: ExecutorId,
        instance: InstanceId,
        problem: Problem,
        effects: &mut Vec<Effect>,
    ) {
        let (restarts_max, stopping) = (self.plan.executor_restarts_max, self.stopping());
        let of_another_life = self.start_was_of_another_life(id, instance);
        let gone = self.isolated(instance) && problem.code == GONE;
        let Some(executor) = self.executors.get_mut(&id) else {
            return;
        };
        executor.failures += u32::from(!of_another_life && !gone);
        if stopping {
            // Nothing of it lives: what was initialised in the failed attempt was shut down with it.
            executor.state = ExecutorState::Down;
            effects.push(Effect::Report(as_warning(problem)));
        } else if of_another_life {
            executor.state = ExecutorState::Awaiting(instance);
        } else if gone {
            // That death is not told yet, and will be.
            executor.state = ExecutorState::BackingOff;
            let pause = retry::FIRST_PAUSE;
            effects.push(Effect::Arm(Timer::ExecutorBackoff(id), pause));
        } else if executor.failures > restarts_max {
            let times = executor.failures;
            let headline = format!("{} ({times} times on executor {})", problem.headline, id.0);
            let problem = Problem {
                headline,
                exit: ExitCode::Executors,
                ..problem
            };
            executor.state = ExecutorState::Exhausted(instance, Box::new(problem));
        } else {
            executor.state = ExecutorState::BackingOff;
            let pause = retry::pause(executor.failures);
            effects.push(Effect::Report(as_warning(problem)));
            effects.push(Effect::Arm(Timer::ExecutorBackoff(id), pause));
        }
    }

    pub(super) fn executor_backed_off(&mut self, id: ExecutorId, effects: &mut Vec<Effect>) {
        if self.executor_is(id, &ExecutorState::BackingOff) && !self.stopping() {
            self.start_executor(id, effects);
        }
    }

    fn executor_is(&self, id: ExecutorId, state: &ExecutorState) -> bool {
        self.executors
            .get(&id)
            .is_some_and(|executor| executor.state == *state)
    }

    /// Some executor serves, or may yet.
    fn any_executor_left(&self) -> bool {
        let gone = |executor: &Executor| {
            matches!(
                executor.state,
                ExecutorState::Abandoned | ExecutorState::Stopping | ExecutorState::Down
            )
        };
        !self.executors.values().all(gone)
    }

    /// A call on an executor's thread overran. The thread does not come back: what it has is another's.
    pub(super) fn executor_hung(
        &mut self,
        id: ExecutorId,
        instance: InstanceId,
        problem: Problem,
        effects: &mut Vec<Effect>,
    ) {
        if self.isolated(instance) && self.executors.contains_key(&id) {
            self.executor_hung_in_worker(id, instance, problem, effects);
            return;
        }
        let Some(executor) = self.executors.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(&mut executor.state, ExecutorState::Abandoned);
        if matches!(before, ExecutorState::Exhausted(..)) {
            // Still to be told, and no thread is needed for it.
            executor.state = before;
            return;
        }
        match before {
            ExecutorState::Starting => effects.push(Effect::Disarm(Timer::ExecutorStart(id))),
            ExecutorState::Stopping => effects.push(Effect::Disarm(Timer::ExecutorStop(id))),
            ExecutorState::BackingOff => effects.push(Effect::Disarm(Timer::ExecutorBackoff(id))),
            _ => {}
        }
        self.executor_lost(id, effects);
        match before {
            // One thread is abandoned once.
            ExecutorState::Abandoned | ExecutorState::Down => {
                effects.push(Effect::Report(as_warning(problem)));
            }
            ExecutorState::Stopping => {
                self.report(
                    Problem {
                        exit: ExitCode::Shutdown,
                        ..problem
                    },
                    effects,
                );
            }
            ExecutorState::Starting if !self.instances[instance.0].out => {
                let reason = problem.headline.clone();

                self.fail_instance(
                    instance,
                    Problem {
                        exit: ExitCode::Init,
                        ..problem
                    },
                    effects,
                );
                self.set(instance, State::Hung, Some(reason));
                if !self.stopping() {
                    // The thread is lost to the optional instance that holds it; the executor gets another.
                    self.start_executor(id, effects);
                }
            }
            _ if self.any_executor_left() => effects.push(Effect::Report(as_warning(problem))),
            _ => self.last_executor_hung(instance, problem, effects),
        }
    }

    /// The call waits for a worker, which can be killed: the thread comes back, and the executor is not given up.
    fn executor_hung_in_worker(
        &mut self,
        id: ExecutorId,
        instance: InstanceId,
        problem: Problem,
        effects: &mut Vec<Effect>,
    ) {
        let why = problem.headline.clone();
        if self.executor_is(id, &ExecutorState::Stopping) {
            let exit = ExitCode::Shutdown;
            self.report(Problem { exit, ..problem }, effects);
        } else {
            effects.push(Effect::Report(as_warning(problem)));
        }
        self.kill(instance, &why, effects);
    }

    /// Nobody is left to run tasks: optional or not, the run is over.
    fn last_executor_hung(
        &mut self,
        instance: InstanceId,
        problem: Problem,
        effects: &mut Vec<Effect>,
    ) {
        self.set(instance, State::Hung, Some(problem.headline.clone()));
        self.fail_host(problem, effects);
        if self.phase == Phase::Draining {
            effects.push(Effect::CancelStream(Cancel::NoWay));
        }
    }

    pub(super) fn executor_start_overran(&mut self, id: ExecutorId, effects: &mut Vec<Effect>) {
        if !self.executor_is(id, &ExecutorState::Starting) {
            return;
        }
        self.rest(id, ExecutorState::Abandoned);
        let headline = format!("executor {} did not start in time", id.0);
        let problem = Problem::error(ExitCode::Init, Blame::Plugin, "init-timeout", headline)
            .wanted("every part on it made and initialised within its deadlines.init")
            .found("no answer; what it called last still runs and is left behind")
            .fix("find out what a factory of a plugin on executors waits for");
        self.fail_host(problem, effects);
    }

    fn rest(&mut self, id: ExecutorId, state: ExecutorState) {
        if let Some(executor) = self.executors.get_mut(&id) {
            executor.state = state;
        }
    }

    pub(super) fn stop_executors(&mut self, effects: &mut Vec<Effect>) -> bool {
        self.end_all_restarts(effects);
        // What was out of attempts when the stop began did fail, and is told.
        self.settle_exhausted(effects);
        let ids: Vec<ExecutorId> = self.executors.keys().copied().collect();
        for id in ids {
            if self.executor_is(id, &ExecutorState::Up) {
                self.order_executor_stop(id, effects);
            } else if self.executor_is(id, &ExecutorState::BackingOff) {
                // It waits for its next attempt and has nothing to shut down.
                effects.push(Effect::Disarm(Timer::ExecutorBackoff(id)));
                self.rest(id, ExecutorState::Down);
            } else if matches!(
                self.executors.get(&id).map(|executor| &executor.state),
                Some(ExecutorState::Awaiting(_))
            ) {
                self.rest(id, ExecutorState::Down);
            }
        }
        let busy = |executor: &Executor| {
            matches!(
                executor.state,
                ExecutorState::Starting | ExecutorState::Stopping
            )
        };
        if self.executors.values().any(busy) {
            return false;
        }
        self.enter(Phase::StoppingDrivers);
        true
    }

    fn order_executor_stop(&mut self, id: ExecutorId, effects: &mut Vec<Effect>) {
        self.rest(id, ExecutorState::Stopping);
        effects.push(Effect::Arm(
            Timer::ExecutorStop(id),
            self.executor_stop_deadline(id),
        ));
        effects.push(Effect::StopExecutor(id));
    }

    fn executor_stop_deadline(&self, id: ExecutorId) -> Duration {
        // Also of those that are out: their parts live until then.
        let on = self
            .plan
            .instances
            .iter()
            .filter(|plan| plan.parts.on_executors());
        let shutdowns = on.map(|plan| plan.shutdown).sum::<Duration>();
        shutdowns + self.revives_of(id) + EXECUTOR_MARGIN
    }

    pub(super) fn executor_stopped(
        &mut self,
        id: ExecutorId,
        problems: Vec<Problem>,
        effects: &mut Vec<Effect>,
    ) {
        for problem in problems {
            self.report(problem, effects);
        }
        if self.executor_is(id, &ExecutorState::Stopping) {
            effects.push(Effect::Disarm(Timer::ExecutorStop(id)));
            self.rest(id, ExecutorState::Down);
        }
    }

    pub(super) fn executor_stop_overran(&mut self, id: ExecutorId, effects: &mut Vec<Effect>) {
        if !self.executor_is(id, &ExecutorState::Stopping) {
            return;
        }
        self.rest(id, ExecutorState::Abandoned);
        let within = human(self.executor_stop_deadline(id));
        let headline = format!("executor {} did not stop within {within}", id.0);
        let problem = Problem::error(
            ExitCode::Shutdown,
            Blame::Plugin,
            "shutdown-timeout",
            headline,
        )
        .wanted("its task, its messages and every part's shutdown done by then")
        .found("no answer; what it called last still runs and is left behind")
        .fix("find out what the plugins on executors wait for, or raise their deadlines");
        self.report(problem, effects);
    }
}
