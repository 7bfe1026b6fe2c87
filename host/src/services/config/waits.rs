//! Who waits for a newer generation of a topic. No thread is held: a waiter is an entry, answered by the publish that it
//! waits for, by its instance's stop, by the host's, or by an alarm.
//!
//! Everybody is answered with no lock held, and exactly once.

#[cfg(test)]
mod tests;

use crate::services::{
    alarm::{Alarm, Alarms},
    clock,
    failure::{closed, failure},
    then::{Owed, Then},
};
use hotshoe_abi::{Failure, failure_kind};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Waits of one instance at one time. Each was a thread of the plugin's own in the first design, and nobody has a thousand; one
/// more is `full`.
const WAITS_PER_INSTANCE_MAX: usize = 1024;

/// How often a waiter is looked at whether its component was closed, beside being answered by every change.
const CLOSED_POLL: Duration = Duration::from_millis(50);

/// Who waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiter<'a> {
    pub(crate) instance: &'a str,
    /// The component was shut down.
    pub(crate) closed: &'a Arc<AtomicBool>,
}

pub(super) struct Waits {
    inner: Mutex<Inner>,
    alarms: Arc<Alarms>,
}

#[derive(Default)]
struct Inner {
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
    /// Instances that were told to stop: nothing of theirs waits any more.
    ended: BTreeSet<String>,
    /// The host was.
    closed: bool,
}

struct Waiting {
    topic: Arc<str>,
    after: u64,
    until: Duration,
    instance: String,
    closed: Arc<AtomicBool>,
    alarm: Alarm,
    owed: Owed<u64>,
}

impl Waits {
    pub(super) fn new(alarms: Arc<Alarms>) -> Self {
        Self {
            inner: Mutex::default(),
            alarms,
        }
    }

    /// Enters who waits for a generation of `topic` newer than `after`. Whoever enters looks at the current one afterwards, and
    /// says so with [`Self::published`]: then none is missed, whichever came first.
    pub(super) fn enter(
        self: &Arc<Self>,
        (topic, after): (&Arc<str>, u64),
        timeout: Duration,
        waiter: Waiter<'_>,
        then: Then<u64>,
    ) {
        let owed = Owed::new(format!("topic `{topic}`"), then);
        let mut inner = self.inner.lock();
        let count = |inner: &Inner| {
            let all = inner.waiting.values();
            all.filter(|waiting| waiting.instance == waiter.instance)
                .count()
        };
        let stopped = inner.closed || inner.ended.contains(waiter.instance);
        let refused = if stopped || waiter.closed.load(Ordering::Acquire) {
            Some(Err(closed(&format!("topic `{topic}`"))))
        } else if timeout.is_zero() {
            Some(Ok(0))
        } else if count(&inner) >= WAITS_PER_INSTANCE_MAX {
            let text = format!("{WAITS_PER_INSTANCE_MAX} threads of one instance wait already");
            Some(Err(failure(failure_kind::FULL, text)))
        } else {
            None
        };
        if let Some(answer) = refused {
            drop(inner);
            return owed.pay(answer);
        }
        let id = inner.next;
        inner.next += 1;
        let until = clock::monotonic().saturating_add(timeout);
        match self.look_later(id, until) {
            Ok(alarm) => {
                let waiting = Waiting {
                    topic: Arc::clone(topic),
                    after,
                    until,
                    instance: waiter.instance.to_owned(),
                    closed: Arc::clone(waiter.closed),
                    alarm,
                    owed,
                };
                inner.waiting.insert(id, waiting);
            }
            Err(failure) => {
                drop(inner);
                owed.pay(Err(failure));
            }
        }
    }

    fn look_later(self: &Arc<Self>, id: u64, until: Duration) -> Result<Alarm, Failure> {
        let at = until.min(clock::monotonic() + CLOSED_POLL);
        let waits = Arc::downgrade(self);
        let look = move || {
            if let Some(waits) = waits.upgrade() {
                waits.look(id);
            }
        };
        self.alarms.set(at, Box::new(look))
    }

    /// An alarm's: has its time come, or was its component closed?
    fn look(self: &Arc<Self>, id: u64) {
        let mut inner = self.inner.lock();
        let Some(waiting) = inner.waiting.get_mut(&id) else {
            return;
        };
        let answer = if waiting.closed.load(Ordering::Acquire) {
            Err(closed(&format!("topic `{}`", waiting.topic)))
        } else if waiting.until <= clock::monotonic() {
            Ok(0)
        } else {
            match self.look_later(id, waiting.until) {
                Ok(alarm) => {
                    waiting.alarm = alarm;
                    return;
                }
                Err(failure) => Err(failure),
            }
        };
        let waiting = inner.waiting.remove(&id);
        drop(inner);
        if let Some(waiting) = waiting {
            waiting.owed.pay(answer);
        }
    }

    /// Answers everybody who waits for an older generation than this one, which is visible.
    pub(super) fn published(&self, topic: &str, generation: u64) {
        let met = |waiting: &Waiting| waiting.after < generation && *waiting.topic == *topic;
        // The guard ends with this statement: nobody is answered under the lock.
        let met = take(&mut self.inner.lock(), met);
        for waiting in met {
            self.answer(waiting, Ok(generation));
        }
    }

    /// Ends every wait of an instance, and those that it begins later.
    pub(super) fn end(&self, instance: &str) {
        let ended = {
            let mut inner = self.inner.lock();
            inner.ended.insert(instance.to_owned());
            take(&mut inner, |waiting| waiting.instance == instance)
        };
        self.all_closed(ended);
    }

    /// Ends every wait of an instance whose process has died; its next life may wait again.
    pub(super) fn forget(&self, instance: &str) {
        let left = take(&mut self.inner.lock(), |waiting| {
            waiting.instance == instance
        });
        self.all_closed(left);
    }

    /// Ends every wait, and those that begin later.
    pub(super) fn close(&self) {
        let ended = {
            let mut inner = self.inner.lock();
            inner.closed = true;
            take(&mut inner, |_| true)
        };
        self.all_closed(ended);
    }

    fn all_closed(&self, ended: Vec<Waiting>) {
        for waiting in ended {
            let failure = closed(&format!("topic `{}`", waiting.topic));
            self.answer(waiting, Err(failure));
        }
    }

    fn answer(&self, waiting: Waiting, answer: Result<u64, Failure>) {
        self.alarms.cancel(waiting.alarm);
        waiting.owed.pay(answer);
    }
}

fn take(inner: &mut Inner, wanted: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
    let ids: Vec<u64> = inner
        .waiting
        .iter()
        .filter(|(_, waiting)| wanted(waiting))
        .map(|(id, _)| *id)
        .collect();
    ids.iter()
        .filter_map(|id| inner.waiting.remove(id))
        .collect()
}
