//! An executor's thread: takes orders, messages and tasks from the desk, one at a time.

use crate::{
    backend::{
        Backend,
        slot::{Broke, Slot, TaskRun},
    },
    machine::{InstanceId, history::History, supervisor::Event},
    services::Services,
    stream::{
        self, Policy,
        batch::OutputLimits,
        desk::{Desk, Order, Post, Returned, Work},
        task::{self, Ran},
    },
};
use std::{sync::Arc, thread};

#[cfg(test)]
mod tests;

/// What every executor of a host needs.
#[derive(Clone)]
pub(crate) struct Crew {
    pub(crate) desk: Arc<Desk>,
    pub(crate) services: Arc<Services>,
    pub(crate) backends: Arc<[Arc<dyn Backend>]>,
    /// The instances of `[stream] processors`, in order.
    pub(crate) chain: Arc<[InstanceId]>,
    pub(crate) policy: Policy,
    pub(crate) counts: Arc<stream::Counts>,
    pub(crate) limits: OutputLimits,
}

impl Crew {
    /// The given instances with their backends.
    fn of(&self, instances: &[InstanceId]) -> Vec<(InstanceId, Arc<dyn Backend>)> {
        instances
            .iter()
            .filter_map(|id| {
                self.backends
                    .get(id.0)
                    .map(|backend| (*id, Arc::clone(backend)))
            })
            .collect()
    }
}

/// Starts a thread that serves an executor; it waits for its first order.
pub(crate) fn spawn(post: Post, crew: Crew) -> std::io::Result<()> {
    let name = format!("executor {}", post.executor.0);
    thread::Builder::new()
        .name(name)
        .spawn(move || run(post, &crew))
        .map(drop)
}

fn run(post: Post, crew: &Crew) {
    let id = post.executor;
    let slot = Slot::new(id, crew.limits, Arc::clone(&crew.desk.cancelled));
    let mut executor = Executor { post, crew, slot };
    while let Some(work) = crew.desk.next(post) {
        match work {
            Work::Task(run) => executor.work(run),
            Work::Message(instance, message) => executor.slot.receive(instance, &message),
            Work::Order(Order::Start(instances)) => {
                let outcome = executor.slot.start(&crew.of(&instances), &crew.chain);
                if !crew.desk.serves(post) {
                    break;
                }
                if outcome.is_ok() {
                    crew.desk.open(post, executor.slot.window());
                }
                crew.services.tell(Event::ExecutorStarted(id, outcome));
            }
            Work::Order(Order::Revive(instance)) => executor.revive(instance),
            Work::Order(Order::Finish(run)) => executor.finish(run),
            Work::Order(Order::Stop) => {
                let problems = executor.slot.stop();
                if crew.desk.serves(post) {
                    crew.services.tell(Event::ExecutorStopped(id, problems));
                }
                return;
            }
        }
    }
    // Given up: the supervisor has gone on without this thread. The parts are dropped here, where they lived.
}

/// What serves one executor while its thread does.
struct Executor<'a> {
    post: Post,
    crew: &'a Crew,
    slot: Slot,
}

impl Executor<'_> {
    /// Runs a task, with others beside it where that is allowed.
    fn work(&mut self, run: Arc<TaskRun>) {
        let fresh = run.with_history(|history| history.is_fresh());
        if !fresh || self.slot.window() == 1 {
            self.one_by_one(vec![Returned { run, gone: None }]);
            return;
        }
        let (post, desk) = (self.post, &self.crew.desk);
        let several = task::run_several(
            &mut self.slot,
            run,
            &self.crew.counts,
            || desk.another(post),
            |run, outcome| desk.complete(post, run, outcome),
        );
        if several.returned.iter().any(|task| task.gone.is_some()) {
            self.give_back(several.returned, several.aboard);
        } else {
            self.one_by_one(several.returned);
        }
    }

    /// Runs tasks to their end, each by itself. Where a worker dies, those that are left are put back with the one it had.
    fn one_by_one(&mut self, mut tasks: Vec<Returned>) {
        let (post, crew) = (self.post, self.crew);
        let mut left = 0;
        while left < tasks.len() {
            if !crew.desk.serves(post) {
                return;
            }
            let task = &mut tasks[left];
            match task::run_task(&mut self.slot, &task.run, &crew.policy, &crew.counts) {
                Ran::Over(outcome) => {
                    // Told first: with the last task the stream ends.
                    for instance in task.run.with_history(History::acquitted) {
                        crew.services.tell(Event::HuntEnded(instance));
                    }
                    crew.desk.complete(post, &task.run, outcome);
                }
                Ran::Gone(gone) => {
                    task.gone = Some(gone);
                    self.give_back(tasks.split_off(left), 1);
                    return;
                }
            }
            left += 1;
        }
    }

    fn give_back(&self, returned: Vec<Returned>, aboard: usize) {
        for task in &returned {
            if let Some(gone) = &task.gone {
                let plugin = gone.plugin.as_str();
                tracing::warn!(
                    plugin,
                    task = task.run.id,
                    "its worker died; the task runs again"
                );
            }
        }
        let desk = &self.crew.desk;
        for (instance, lives) in desk.give_back(self.post, returned, aboard) {
            self.crew.services.tell(Event::Poisoned(instance, lives));
        }
    }

    fn revive(&mut self, instance: InstanceId) {
        let (post, crew) = (self.post, self.crew);
        let Some(backend) = crew.backends.get(instance.0) else {
            return;
        };
        let outcome = self.slot.revive(instance, backend.as_ref());
        if !crew.desk.serves(post) {
            return;
        }
        match &outcome {
            Ok(()) => crew.desk.revived(post, instance),
            Err(_) if self.slot.in_chain(instance) => crew.desk.still_dead(post, instance),
            // Tasks do not pass through it: they go on without its hooks.
            Err(_) => {}
        }
        crew.services
            .tell(Event::Revived(post.executor, instance, outcome));
    }

    fn finish(&mut self, run: Arc<TaskRun>) {
        let desk = &self.crew.desk;
        match self.slot.finish(&run) {
            Ok(batch) => desk.finished(Ok(batch)),
            Err(Broke::Failed(reason)) => desk.finished(Err(reason)),
            Err(Broke::Gone(gone)) => {
                let plugin = gone.plugin.as_str();
                tracing::warn!(plugin, "its worker died in finish, which runs again");
                desk.finish_later(self.post, run, gone.instance);
            }
        }
    }
}
