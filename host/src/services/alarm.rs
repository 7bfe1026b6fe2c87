//! What is to happen at a moment, for everybody who waits and holds no thread: one thread for all of them.
//!
//! It starts with the first alarm and ends with its owner. It refuses to run anything that blocks: the next alarm is behind it.

use super::{
    clock,
    failure::{closed, failure},
};
use hotshoe_abi::{Failure, failure_kind};
use parking_lot::{Condvar, Mutex};
use std::{collections::BTreeMap, sync::Arc, thread, time::Duration};

type Action = Box<dyn FnOnce() + Send>;

/// Names an alarm that was set. By moment, and by order among those of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Alarm(Duration, u64);

/// Every alarm of a host.
#[derive(Default)]
pub(crate) struct Alarms(Arc<Inner>);

#[derive(Default)]
struct Inner {
    set: Mutex<Set>,
    changed: Condvar,
}

#[derive(Default)]
struct Set {
    due: BTreeMap<Alarm, Action>,
    next: u64,
    /// The thread is there.
    running: bool,
    /// The owner is gone.
    ended: bool,
}

impl Alarms {
    /// Calls `action` once `at` has passed on the monotonic clock, on the alarms' thread, with no lock held.
    ///
    /// Errors: the operating system refuses the thread, or the host is gone; then `action` is dropped.
    pub(crate) fn set(&self, at: Duration, action: Action) -> Result<Alarm, Failure> {
        let mut set = self.0.set.lock();
        if set.ended {
            drop(set);
            return Err(closed("the host"));
        }
        if !set.running {
            let inner = Arc::clone(&self.0);
            let spawned = thread::Builder::new()
                .name("alarms".to_owned())
                .spawn(move || inner.run());
            if let Err(error) = spawned {
                drop(set);
                let text = format!("the operating system refuses a thread (alarms): {error}");
                return Err(failure(failure_kind::ERROR, text));
            }
            set.running = true;
        }
        let alarm = Alarm(at, set.next);
        set.next += 1;
        let first = set
            .due
            .first_key_value()
            .is_none_or(|(due, _)| alarm < *due);
        set.due.insert(alarm, action);
        drop(set);
        if first {
            self.0.changed.notify_one();
        }
        Ok(alarm)
    }

    /// Forgets an alarm that has not gone off yet.
    pub(crate) fn cancel(&self, alarm: Alarm) {
        // Dropped after the lock: what an action holds may do something of its own when it goes.
        let action = self.0.set.lock().due.remove(&alarm);
        drop(action);
    }
}

impl Inner {
    fn run(&self) {
        let mut set = self.set.lock();
        while !set.ended {
            let Some((alarm, _)) = set.due.first_key_value() else {
                self.changed.wait(&mut set);
                continue;
            };
            let left = alarm.0.saturating_sub(clock::monotonic());
            if !left.is_zero() {
                self.changed.wait_for(&mut set, left);
                continue;
            }
            if let Some((_, action)) = set.due.pop_first() {
                drop(set);
                action();
                set = self.set.lock();
            }
        }
    }
}

impl Drop for Alarms {
    fn drop(&mut self) {
        let due = {
            let mut set = self.0.set.lock();
            set.ended = true;
            std::mem::take(&mut set.due)
        };
        self.0.changed.notify_one();
        drop(due);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const DEADLINE: Duration = Duration::from_secs(20);

    #[test]
    fn they_go_off_in_the_order_of_their_moments_and_not_before() {
        let alarms = Alarms::default();
        let (sender, receiver) = mpsc::channel();
        let now = clock::monotonic();
        let set = |ms: u64| {
            let (at, sender) = (now + Duration::from_millis(ms), sender.clone());
            let action = move || sender.send((ms, clock::monotonic() >= at)).unwrap();
            alarms.set(at, Box::new(action)).unwrap()
        };
        set(60);
        set(20);
        let never = set(40);
        set(0);
        alarms.cancel(never);
        for expected in [0, 20, 60] {
            let went_off = receiver.recv_timeout(DEADLINE).unwrap();
            assert_eq!(went_off, (expected, true));
        }
        assert!(receiver.try_recv().is_err());
    }

    #[test]
    fn an_alarm_may_set_another_and_what_is_left_is_dropped_with_the_owner() {
        let alarms = Arc::new(Alarms::default());
        let (sender, receiver) = mpsc::channel::<u32>();
        let again = {
            let (alarms, sender) = (Arc::downgrade(&alarms), sender.clone());
            move || {
                sender.send(1).unwrap();
                let alarms = alarms.upgrade().unwrap();
                let send = move || sender.send(2).unwrap();
                alarms.set(clock::monotonic(), Box::new(send)).unwrap();
            }
        };
        alarms.set(clock::monotonic(), Box::new(again)).unwrap();
        assert_eq!(receiver.recv_timeout(DEADLINE).unwrap(), 1);
        assert_eq!(receiver.recv_timeout(DEADLINE).unwrap(), 2);
        let far = clock::monotonic() + Duration::from_secs(3600);
        alarms
            .set(far, Box::new(move || sender.send(3).unwrap()))
            .unwrap();
        drop(alarms);
        // The sender went with the action; the thread went with the owner.
        let gone = receiver.recv_timeout(DEADLINE).unwrap_err();
        assert_eq!(gone, mpsc::RecvTimeoutError::Disconnected);
    }
}
