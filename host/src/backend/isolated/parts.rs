//! A worker's parts as the host's threads call them: each call is a message and the wait for its answer.

use super::{
    channel::{Channel, WINDOW},
    connection::Connection,
    data::DataCall,
    wire::{Call, Proposed, Returned},
};
use crate::{
    backend::code::{CheckerPart, DriverPart, ExecutorPart, ProcessorPart},
    services::{component::Component, config::Proposal, failure::failure, foreign},
};
use hotshoe_abi::{
    BatchRef, Failure, OutBatch, Pairs, Task, Veto, abi_stable::std_types::Tuple2, failure_kind,
};
use parking_lot::Mutex;
use std::sync::Arc;

/// An answer of another kind than was asked for. The worker is of this build, so it is broken or somebody else.
fn odd(connection: &Connection) -> Failure {
    connection.kill("it answered something else than it was asked");
    failure(failure_kind::GONE, connection.epitaph())
}

pub(super) struct Driver(pub(super) Arc<Connection>);

impl Driver {
    fn call(&self, call: Call) -> Result<(), Failure> {
        match self.0.call(call)? {
            Returned::Nothing => Ok(()),
            _ => Err(odd(&self.0)),
        }
    }
}

impl DriverPart for Driver {
    fn init(&mut self, host: Component) -> Result<Pairs, Failure> {
        self.0.enter(host);
        match self.0.call(Call::InitDriver)? {
            Returned::Pairs(pairs) => {
                let pairs = pairs.into_iter();
                Ok(pairs
                    .map(|(key, value)| Tuple2(key.into(), value.into()))
                    .collect())
            }
            _ => Err(odd(&self.0)),
        }
    }

    fn register_metrics(&mut self) -> Result<(), Failure> {
        self.call(Call::RegisterMetrics)
    }

    fn receive(&mut self, message: &[u8]) -> Result<Vec<u8>, Failure> {
        match self.0.call(Call::Receive(message.to_vec()))? {
            Returned::Bytes(reply) => Ok(reply),
            _ => Err(odd(&self.0)),
        }
    }

    fn shutdown(&mut self) -> Result<(), Failure> {
        self.call(Call::ShutdownDriver)
    }
}

pub(super) struct Checker(pub(super) Arc<Connection>);

impl CheckerPart for Checker {
    fn init(&mut self, host: Component) -> Result<(), Failure> {
        self.0.enter(host);
        match self.0.call(Call::InitChecker)? {
            Returned::Nothing => Ok(()),
            _ => Err(odd(&self.0)),
        }
    }

    fn check(&mut self, proposal: &Proposal) -> Result<Option<Veto>, Failure> {
        let proposed = Proposed {
            topic: proposal.topic.to_string(),
            candidate: proposal.candidate.to_vec(),
            current: proposal.current.to_vec(),
            dry_run: proposal.dry_run,
        };
        match self.0.call(Call::Check(proposed))? {
            Returned::Verdict(veto) => Ok(veto.map(|(pointer, reason)| {
                foreign::veto(Veto {
                    pointer: pointer.into(),
                    reason: reason.into(),
                })
            })),
            _ => Err(odd(&self.0)),
        }
    }
}

/// An executor part and a processor of one executor use one socket, from one thread.
pub(super) type Shared = Arc<Mutex<Channel>>;

pub(super) struct Executor(pub(super) Shared);

impl Executor {
    fn call(&self, call: &DataCall) -> Result<(), Failure> {
        self.0.lock().call(call)
    }
}

impl ExecutorPart for Executor {
    fn init(&mut self, host: Component, extra: Pairs) -> Result<(), Failure> {
        let mut channel = self.0.lock();
        channel.connection().enter(host);
        channel.call(&DataCall::InitExecutor(plain(extra)))
    }

    fn on_task_start(&mut self, task: Task) -> Result<(), Failure> {
        self.call(&DataCall::TaskStart(task.into()))
    }

    fn on_task_succeeded(&mut self, task: Task) -> Result<(), Failure> {
        self.call(&DataCall::TaskSucceeded(task.into()))
    }

    fn on_task_failed(&mut self, task: Task, reason: &str) -> Result<(), Failure> {
        self.call(&DataCall::TaskFailed(task.into(), reason.to_owned()))
    }

    fn receive(&mut self, message: &[u8]) -> Result<(), Failure> {
        self.call(&DataCall::Receive(message.to_vec()))
    }

    fn shutdown(&mut self) -> Result<(), Failure> {
        self.call(&DataCall::ShutdownExecutor)
    }
}

fn plain(pairs: Pairs) -> Vec<(String, String)> {
    let pairs = pairs.into_iter();
    pairs
        .map(|Tuple2(key, value)| (key.into(), value.into()))
        .collect()
}

pub(super) struct Processor(pub(super) Shared);

impl ProcessorPart for Processor {
    fn init(&mut self, host: Component) -> Result<(), Failure> {
        let mut channel = self.0.lock();
        let extra = host.extra.lock().clone();
        channel.connection().enter(host);
        channel.call(&DataCall::InitProcessor(extra))
    }

    fn process(&mut self, batch: BatchRef<'_>, out: &mut OutBatch) -> Result<(), Failure> {
        let mut channel = self.0.lock();
        channel.begin(&batch)?;
        channel.end(out)
    }

    fn finish(&mut self, out: &mut OutBatch) -> Result<(), Failure> {
        self.0.lock().finish(out)
    }

    fn window(&self) -> usize {
        WINDOW
    }

    fn begin(&mut self, batch: BatchRef<'_>) -> Result<(), Failure> {
        self.0.lock().begin(&batch)
    }

    fn ended(&mut self) -> bool {
        self.0.lock().ended()
    }

    fn end(&mut self, out: &mut OutBatch) -> Result<(), Failure> {
        self.0.lock().end(out)
    }
}

impl Drop for Processor {
    fn drop(&mut self) {
        // A worker that is gone has dropped it already.
        let _ = self.0.lock().call(&DataCall::DropProcessor);
    }
}
