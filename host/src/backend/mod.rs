//! How an instance runs. Everything above talks to [`Backend`] and does not know which one it is.

pub(crate) mod code;
pub(crate) mod in_process;
pub(crate) mod instance;
pub(crate) mod isolated;
#[cfg(test)]
pub(crate) mod scripted;
pub(crate) mod slot;

use crate::{
    error::{self, ExitCode, Place, Problem},
    machine::{ExecutorId, supervisor::Answer},
    services::{
        InstanceInfo,
        config::{Proposal, VerdictTo},
        failure::closed,
        message::Mail,
    },
    status::WorkerStatus,
};
use hotshoe_abi::{BatchRef, Failure, OutBatch, Task};
use std::{collections::BTreeMap, sync::Arc};

/// Takes a call's outcome, on whatever thread, at most once. A call that never returns never calls it.
pub(crate) type Done<T> = Box<dyn FnOnce(Result<T, Problem>) + Send>;

/// One instance. No method waits for the plugin: each orders a call and returns; `parts` makes what is called on an
/// executor's thread.
pub(crate) trait Backend: Send + Sync {
    /// Brings the code in and checks the settings against its own schema.
    fn open(&self, done: Done<Answer>);
    /// Makes the instance.
    fn create(&self, done: Done<Answer>);
    /// Makes the driver part anew and initialises it; keeps its extra conf.
    fn init_driver(&self, done: Done<Answer>);
    /// Makes the checker part and initialises it.
    fn init_checker(&self, done: Done<Answer>);
    /// Calls the driver's `register_metrics`.
    fn register_metrics(&self, done: Done<Answer>);
    /// Tells the instance to stop, handles the mail that came before, and calls the driver's `shutdown`.
    fn shutdown(&self, done: Done<Answer>);
    /// What the driver's init answered for the executor parts.
    fn extra_conf(&self) -> BTreeMap<String, String>;
    /// The same, where the driver is elsewhere.
    fn set_extra_conf(&self, extra: BTreeMap<String, String>);
    /// Queues mail for the driver.
    fn deliver(&self, mail: Mail) -> Result<(), Failure>;
    /// Asks the checker.
    fn check(&self, proposal: Proposal, verdict_to: VerdictTo);
    /// The instance's parts on one executor, not initialised yet.
    fn parts(&self, executor: ExecutorId) -> Box<dyn ExecutorParts>;
    /// Speaks to the glue beside a running call.
    fn signal(&self, kind: u32, value: u64);
    /// The host ends: threads that no shutdown has ended are told, and the instance's own with them. Again is nothing.
    fn close(&self);
    /// The process that its code was in has died: whoever waits for an answer is told, and mail is refused until the next
    /// init has returned.
    fn died(&self, how: &str);
    /// Ends the process that its code is in, where that is one of its own; answers whether it is. Its death is told as any.
    fn kill(&self, why: &str) -> bool;
    /// The process that its code is in, where that is one of its own.
    fn worker(&self) -> Option<WorkerStatus>;
    /// The instance is out: nothing is delivered to it any more.
    fn retire(&self);
    /// The schema of its settings, once it is open.
    fn settings_schema(&self) -> Result<String, Problem>;
}

/// A task hook that is due.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Hook<'a> {
    Start,
    Succeeded,
    Failed(&'a str),
}

/// One instance's parts on one executor. One thread at a time calls them.
///
/// A call into code whose process has died answers [`GONE`](hotshoe_abi::failure_kind::GONE), and so does every later one:
/// parts do not come back to life, others are made. Such a failure's message says how the process ended (`killed by signal 11
/// (SIGSEGV)`), and its code is [`IN_HAND`] or [`IN_COMPANY`] where the batch of the call had been delivered and was the one
/// being worked on.
pub(crate) trait ExecutorParts: Send {
    fn instance(&self) -> &Arc<InstanceInfo>;
    /// Which life of the instance's process they are of.
    fn life(&self) -> u64;
    /// Makes and initialises the executor part, if one is declared.
    fn init_executor(&mut self) -> Result<(), Failure>;
    /// Makes and initialises the processor, if one is declared.
    fn init_processor(&mut self) -> Result<(), Failure>;
    /// Calls a hook of the executor part; what it fails with is counted and goes no further.
    fn hook(&mut self, hook: Hook<'_>, task: Task);
    /// Calls the processor. After a panic the next call finds a new one. Never between a `begin` and its `end`.
    fn process(&mut self, batch: BatchRef<'_>, out: &mut OutBatch) -> Result<(), Failure>;
    /// Calls the processor's `finish`.
    fn finish(&mut self, out: &mut OutBatch) -> Result<(), Failure>;
    /// Hands a broadcast to the executor part.
    fn receive(&mut self, message: &[u8]);
    /// Shuts the executor part down, if it was initialised, and drops everything.
    fn shutdown(&mut self) -> Result<(), Failure>;
    /// How many batches may be begun before the first is ended. 1: `process` only. Asked once the processor is initialised.
    fn window(&self) -> usize {
        1
    }
    /// Hands a batch over and returns; never waits for what comes of one. The batch is lent until the call returns. A failure
    /// means that it was not begun.
    fn begin(&mut self, _batch: BatchRef<'_>) -> Result<(), Failure> {
        Err(closed("a window of one"))
    }
    /// Takes back what came of the oldest batch that was begun and not ended; waits for it. Every begun batch is ended, also
    /// after a failure.
    fn end(&mut self, _out: &mut OutBatch) -> Result<(), Failure> {
        Err(closed("a window of one"))
    }
    /// Whether `end` would return at once.
    fn ended(&mut self) -> bool {
        true
    }
    /// Whether task hooks reach anybody: then tasks run one at a time, so that the hooks of two never interleave.
    fn has_executor_part(&self) -> bool {
        true
    }
}

/// The code of a failure whose batch was being worked on when the process died, and no other was out.
pub(crate) const IN_HAND: &str = "in-hand";

/// The same, with others out.
pub(crate) const IN_COMPANY: &str = "in-company";

/// A refusal in the host's words.
pub(crate) fn refused(refusal: &hotshoe_loader::Refusal, at: Option<Place>) -> Problem {
    let blame = match refusal.blame {
        hotshoe_loader::Blame::Operator => error::Blame::Operator,
        hotshoe_loader::Blame::Plugin => error::Blame::Plugin,
        hotshoe_loader::Blame::Environment => error::Blame::Environment,
        #[allow(unreachable_patterns, reason = "the loader may learn to blame itself")]
        _ => error::Blame::Host,
    };
    let mut problem = Problem::error(
        ExitCode::Refused,
        blame,
        refusal.code.as_str(),
        refusal.headline(),
    )
    .wanted(&*refusal.wanted)
    .found(&*refusal.found);
    problem.at = at;
    problem.fix = refusal.fix.as_deref().map(str::to_owned);
    problem.detail = refusal.detail.as_deref().map(str::to_owned);
    problem
}
