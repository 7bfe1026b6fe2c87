//! An executor's thread: takes orders, messages and tasks from the desk, one at a time.

use crate::{
    backend::{Backend, slot::Slot},
    machine::{ExecutorId, InstanceId, supervisor::Event},
    services::Services,
    stream::{
        self, Policy,
        batch::OutputLimits,
        desk::{Desk, Order, Work},
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

/// Starts an executor's thread; it waits for its first order.
pub(crate) fn spawn(id: ExecutorId, crew: Crew) -> std::io::Result<()> {
    let name = format!("executor {}", id.0);
    thread::Builder::new()
        .name(name)
        .spawn(move || run(id, &crew))
        .map(drop)
}

fn run(id: ExecutorId, crew: &Crew) {
    let mut slot = Slot::new(id, crew.limits, Arc::clone(&crew.desk.cancelled));
    while let Some(work) = crew.desk.next(id) {
        match work {
            Work::Task(run) => {
                let outcome = stream::run_task(&mut slot, &run, &crew.policy, &crew.counts);
                crew.desk.complete(id, &run, outcome);
            }
            Work::Message(instance, message) => slot.receive(instance, &message),
            Work::Order(Order::Start(instances)) => {
                let outcome = slot.start(&crew.of(&instances), &crew.chain);
                if outcome.is_ok() {
                    crew.desk.open(id);
                }
                crew.services.tell(Event::ExecutorStarted(id, outcome));
            }
            Work::Order(Order::Finish(run)) => crew.desk.finished(slot.finish(&run)),
            Work::Order(Order::Stop) => {
                let problems = slot.stop();
                crew.services.tell(Event::ExecutorStopped(id, problems));
                return;
            }
        }
    }
    // Abandoned: the supervisor has gone on without this thread. The parts are dropped here, where they lived.
}
