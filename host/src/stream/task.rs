//! A task's way to its end: attempt after attempt, by itself or with others under way. It says what became of the task and
//! leaves it to the desk to keep or to put back.

#[cfg(test)]
mod tests;

use super::{
    Batch, Counts, Policy,
    desk::{Outcome, Returned},
};
use crate::{
    backend::slot::{Attempt, Landed, Landing, Slot, TaskRun},
    machine::history::{Gone, Replay},
};
use std::sync::{Arc, atomic::Ordering};

/// How far a task got.
#[derive(Debug)]
pub(crate) enum Ran {
    Over(Outcome),
    /// A worker died under it. It runs again, and its history goes with it.
    Gone(Gone),
}

/// Runs a task to its end: again after a failure, and record by record at last, so that exactly the records at fault are
/// named and the others go on. A death is no failure of the task's: it ends the call, and the next goes on from there.
pub(crate) fn run_task(slot: &mut Slot, run: &TaskRun, policy: &Policy, counts: &Counts) -> Ran {
    let attempts = policy.retries + 1;
    let mut history = run.history();
    while history.errors < attempts || history.replay.is_some() {
        let left = attempts.saturating_sub(history.errors).max(1);
        if left == 1 && policy.retries > 0 {
            history.replay.get_or_insert_with(Replay::default);
        }
        history.attempts += 1;
        let attempt = history.attempts;
        counts.tasks_started.fetch_add(1, Ordering::Relaxed);
        let made = match &mut history.replay {
            Some(replay) => slot.attempt_singly(run, attempt, replay, left),
            None => slot.attempt(run, attempt),
        };
        let counter = match &made {
            Attempt::Done(_) => &counts.tasks_succeeded,
            _ => &counts.tasks_failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        match made {
            Attempt::Done(batch) => return Ran::Over(batch.into()),
            Attempt::Partial(batch, faults) => {
                return Ran::Over(Outcome::Delivered(batch, faults));
            }
            Attempt::Cancelled => return Ran::Over(Outcome::Cancelled),
            Attempt::Failed(why) => {
                tracing::warn!(task = run.id, attempt, attempts, "an attempt failed: {why}");
                history.errors += 1;
                history.reason = why;
                run.set_history(history.clone());
            }
            Attempt::Gone(gone) => {
                run.set_history(history);
                return Ran::Gone(gone);
            }
        }
    }
    // Without retries nobody looked at single records: the whole batch is at fault.
    let faults = (0..run.batch.len())
        .map(|index| (index, history.reason.clone()))
        .collect();
    Ran::Over(Outcome::Delivered(Batch::new(), faults))
}

/// What is left of a run of several.
pub(crate) struct Several {
    /// The tasks that run again, each by itself, in order.
    pub(crate) returned: Vec<Returned>,
    /// How many of them a worker that died had been handed.
    pub(crate) aboard: usize,
}

/// Runs tasks with several under way, each its first attempt, for as long as there is another to launch and none has failed;
/// then brings home what is out.
///
/// - `another`: the next task, if there is one at hand.
/// - `done`: takes what is through, in whatever order.
pub(crate) fn run_several(
    slot: &mut Slot,
    first: Arc<TaskRun>,
    counts: &Counts,
    mut another: impl FnMut() -> Option<Arc<TaskRun>>,
    mut done: impl FnMut(&Arc<TaskRun>, Outcome),
) -> Several {
    let mut left = Several {
        returned: Vec::new(),
        aboard: 0,
    };
    let mut next = Some(first);
    loop {
        while let Some(run) = next.take() {
            counts.tasks_started.fetch_add(1, Ordering::Relaxed);
            run.with_history(|history| history.attempts += 1);
            slot.launch(run, 1);
            if left.returned.is_empty() && slot.has_room() {
                next = another();
            }
        }
        let Some(landed) = slot.land() else { break };
        take(landed, slot, counts, &mut left, &mut done);
        if left.returned.is_empty() && slot.has_room() {
            next = another();
        }
    }
    left.returned.sort_by_key(|returned| returned.run.id);
    left
}

fn take(
    landed: Landed,
    slot: &Slot,
    counts: &Counts,
    left: &mut Several,
    done: &mut impl FnMut(&Arc<TaskRun>, Outcome),
) {
    let Landed { run, landing } = landed;
    let counter = match &landing {
        Landing::Done(_) if !slot.is_cancelled() => &counts.tasks_succeeded,
        _ => &counts.tasks_failed,
    };
    counter.fetch_add(1, Ordering::Relaxed);
    let gone = match landing {
        _ if slot.is_cancelled() => {
            done(&run, Outcome::Cancelled);
            return;
        }
        Landing::Done(batch) => {
            done(&run, batch.into());
            return;
        }
        Landing::Failed { reason, own } => {
            tracing::warn!(
                task = run.id,
                attempt = 1,
                "an attempt failed, and runs again by itself: {reason}"
            );
            run.with_history(|history| {
                history.errors += u32::from(own);
                history.reason = reason;
            });
            None
        }
        Landing::Gone { gone, aboard } => {
            left.aboard += usize::from(aboard);
            Some(gone)
        }
    };
    left.returned.push(Returned { run, gone });
}
