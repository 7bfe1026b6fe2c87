//! An executor's thread: takes orders, messages and tasks from the desk, one at a time.

use crate::{
    backend::{Backend, slot::Slot},
    machine::{InstanceId, supervisor::Event},
    services::Services,
    stream::{
        self, Policy,
        batch::OutputLimits,
        desk::{Desk, Order, Post, Work},
    },
};
use std::{sync::Arc, thread};

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
    let mut slot = Slot::new(id, crew.limits, Arc::clone(&crew.desk.cancelled));
    while let Some(work) = crew.desk.next(post) {
        match work {
            Work::Task(run) => {
                let outcome = stream::run_task(&mut slot, &run, &crew.policy, &crew.counts);
                crew.desk.complete(post, &run, outcome);
            }
            Work::Message(instance, message) => slot.receive(instance, &message),
            Work::Order(Order::Start(instances)) => {
                let outcome = slot.start(&crew.of(&instances), &crew.chain);
                if !crew.desk.serves(post) {
                    break;
                }
                if outcome.is_ok() {
                    crew.desk.open(post);
                }
                crew.services.tell(Event::ExecutorStarted(id, outcome));
            }
            Work::Order(Order::Finish(run)) => crew.desk.finished(slot.finish(&run)),
            Work::Order(Order::Stop) => {
                let problems = slot.stop();
                if crew.desk.serves(post) {
                    crew.services.tell(Event::ExecutorStopped(id, problems));
                }
                return;
            }
        }
    }
    // Given up: the supervisor has gone on without this thread. The parts are dropped here, where they lived.
}
