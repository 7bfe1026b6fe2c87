//! A host whose other half is elsewhere: config sets as values, executors as slots that no thread owns, and the way to the
//! drivers. This is what a bridge into another engine is made of; it starts no thread and knows no wire.

use crate::{
    CallError, Problem,
    backend::{
        Backend,
        slot::{Attempt, Broke, Slot, TaskRun},
    },
    machine::{
        ExecutorId, InstanceId,
        batch::{Batch, OutputLimits},
    },
    services::{self, Services},
};
use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

/// The drivers' half of a host, seen from an executors' half: [`crate::Builder::drivers_elsewhere`].
///
/// Both methods are called on a thread of a plugin's, and may block it for as long as the deadline says.
pub trait DriversElsewhere: Send + Sync {
    /// Hands a one-way message to the driver of the instance `to`.
    ///
    /// # Errors
    /// What the sender is told.
    fn send(&self, to: &str, message: &[u8]) -> Result<(), CallError>;

    /// Asks the driver of the instance `to`.
    ///
    /// # Errors
    /// What the asker is told.
    fn ask(&self, to: &str, message: &[u8], deadline: Duration) -> Result<Vec<u8>, CallError>;
}

/// Keeps one config set alive: every topic at one moment. A task and all its attempts keep theirs.
#[derive(Debug, Clone)]
pub struct Pin(pub(crate) services::config::Pin);

impl Pin {
    /// The set's number; grows by one with each change.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.0.epoch()
    }

    /// The whole set as bytes, for [`crate::Host::install`] in another process. Opaque.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.0.encode()
    }
}

/// One executor's parts, called by whatever thread holds it, one at a time. Made by [`crate::Host::slot`].
pub struct ExecutorSlot {
    slot: Slot,
    instances: Vec<(InstanceId, Arc<dyn Backend>)>,
    names: Vec<(String, InstanceId)>,
    chain: Vec<InstanceId>,
    next_task: u64,
}

/// What became of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskOutcome {
    /// The records that came out, in order.
    Done(Vec<Vec<u8>>),
    /// Why it failed; the output is discarded, and it may run again with the same pin.
    Failed(String),
}

impl ExecutorSlot {
    pub(crate) fn new(
        id: ExecutorId,
        instances: Vec<(InstanceId, Arc<dyn Backend>)>,
        names: Vec<(String, InstanceId)>,
        chain: Vec<InstanceId>,
    ) -> Self {
        let slot = Slot::new(
            id,
            OutputLimits::default(),
            Arc::new(AtomicBool::new(false)),
        );
        Self {
            slot,
            instances,
            names,
            chain,
            next_task: 1,
        }
    }

    /// Makes and initialises every part: executor parts first, then processors.
    ///
    /// # Errors
    /// The first part that failed; those before it are shut down again.
    pub fn start(&mut self) -> Result<(), Problem> {
        self.slot
            .start(&self.instances, &self.chain)
            .map_err(|(_, problem)| problem)
    }

    /// Sends one batch through the chain, with the hooks around it.
    ///
    /// - `records`: at most what 64 MiB hold in all.
    /// - `attempt`: 1 for the first; a re-run keeps its `pin`.
    pub fn run<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a [u8]>,
        pin: &Pin,
        attempt: u32,
    ) -> TaskOutcome {
        let mut batch = Batch::new();
        for record in records {
            batch.push(record);
        }
        if attempt <= 1 {
            self.next_task += 1;
        }
        if let Err(problem) = self.revive() {
            return TaskOutcome::Failed(problem.headline);
        }
        let run = TaskRun::new(self.next_task - 1, batch, pin.0.clone());
        match self.slot.attempt(&run, attempt.max(1)) {
            Attempt::Done(batch) | Attempt::Partial(batch, _) => {
                TaskOutcome::Done(batch.iter().map(<[u8]>::to_vec).collect())
            }
            Attempt::Failed(reason) => TaskOutcome::Failed(reason),
            Attempt::Cancelled => TaskOutcome::Failed("cancelled".to_owned()),
            Attempt::Gone(gone) => TaskOutcome::Failed(gone.reason()),
        }
    }

    /// Lets every processor write what it has left, down the chain.
    ///
    /// # Errors
    /// Why one could not.
    pub fn finish(&mut self, pin: &Pin) -> Result<Vec<Vec<u8>>, String> {
        self.revive().map_err(|problem| problem.headline)?;
        let run = TaskRun::new(0, Batch::new(), pin.0.clone());
        match self.slot.finish(&run) {
            Ok(batch) => Ok(batch.iter().map(<[u8]>::to_vec).collect()),
            Err(Broke::Failed(reason)) => Err(reason),
            Err(Broke::Gone(gone)) => Err(gone.reason()),
        }
    }

    /// Makes the parts of an instance whose worker died anew; fails for as long as no new worker is up.
    fn revive(&mut self) -> Result<(), Problem> {
        while let Some(dead) = self.slot.dead() {
            let Some((_, backend)) = self.instances.iter().find(|(id, _)| *id == dead) else {
                break;
            };
            self.slot.revive(dead, backend.as_ref())?;
        }
        Ok(())
    }

    /// Hands an instance's part what its driver broadcast.
    pub fn receive(&mut self, instance: &str, message: &[u8]) {
        if let Some((_, id)) = self.names.iter().find(|(name, _)| name == instance) {
            self.slot.receive(*id, message);
        }
    }

    /// Shuts every part down, in reverse order, each exactly once; answers what failed.
    pub fn stop(&mut self) -> Vec<Problem> {
        self.slot.stop()
    }
}

impl Drop for ExecutorSlot {
    fn drop(&mut self) {
        for problem in self.slot.stop() {
            tracing::warn!("{problem}");
        }
    }
}

/// Makes the way from an executors' half to the driver of one instance.
pub(crate) fn to_driver(
    link: &Arc<dyn DriversElsewhere>,
    name: &str,
) -> services::message::ToDriver {
    let (link, name) = (Arc::clone(link), name.to_owned());
    Arc::new(move |mail| {
        let Some(reply) = mail.reply else {
            return link.send(&name, &mail.bytes).map_err(Into::into);
        };
        let left = mail.deadline.map_or(Duration::MAX, |at| {
            at.saturating_duration_since(std::time::Instant::now())
        });
        reply(link.ask(&name, &mail.bytes, left).map_err(Into::into));
        Ok(())
    })
}

/// Reads what [`Pin::encode`] wrote and makes it a set of this host's.
pub(crate) fn install(services: &Services, bytes: &[u8]) -> Result<Pin, CallError> {
    Ok(Pin(services.config.install(bytes)?))
}
