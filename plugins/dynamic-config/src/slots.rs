//! Room for connections: how many there are, which one goes when there are too many (config-api §2 step 1, §12).
//!
//! The one that goes has waited longest for a request's head; a connection with a request in hand never goes. Closes
//! nothing itself: it tells the connection's task to.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::{Notify, oneshot};

/// All connections of the instance.
#[derive(Clone)]
pub(crate) struct Slots(Arc<Shared>);

struct Shared {
    table: Mutex<Table>,
    max: usize,
    /// Woken when the last connection ends.
    empty: Notify,
    /// The next connection finds a bug here.
    #[cfg(test)]
    broken: AtomicBool,
}

#[derive(Default)]
struct Table {
    next: u64,
    open: HashMap<u64, Open>,
    /// Connections without a full head, in the order in which they began to wait for it.
    waiting: BTreeMap<u64, u64>,
}

struct Open {
    waits_since: Option<u64>,
    blocked: Arc<AtomicBool>,
    evict: Option<oneshot::Sender<()>>,
}

/// One connection's place; given back when dropped.
pub(crate) struct Slot {
    id: u64,
    slots: Slots,
}

impl Slots {
    pub(crate) fn new(max: usize) -> Self {
        Self(Arc::new(Shared {
            table: Mutex::default(),
            max,
            empty: Notify::new(),
            #[cfg(test)]
            broken: AtomicBool::new(false),
        }))
    }

    /// A place, and what fires when it must be given up; `None` where all are taken by requests in hand.
    ///
    /// `blocked`: the connection's socket waits for its peer in the middle of an answer.
    pub(crate) fn open(&self, blocked: Arc<AtomicBool>) -> Option<(Slot, oneshot::Receiver<()>)> {
        #[cfg(test)]
        assert!(!self.0.broken.swap(false, Ordering::Relaxed), "told to");
        let mut table = self.table();
        if table.open.len() >= self.0.max && !table.evict() {
            return None;
        }
        let id = table.tick();
        let (evict, evicted) = oneshot::channel();
        let open = Open {
            waits_since: None,
            blocked,
            evict: Some(evict),
        };
        table.open.insert(id, open);
        table.wait(id);
        let slots = self.clone();
        Some((Slot { id, slots }, evicted))
    }

    #[cfg(test)]
    pub(crate) fn break_once(&self) {
        self.0.broken.store(true, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn working(&self) -> usize {
        let table = self.table();
        table.open.len() - table.waiting.len()
    }

    pub(crate) fn count(&self) -> usize {
        self.table().open.len()
    }

    /// Waits until no connection is left.
    pub(crate) async fn emptied(&self) {
        loop {
            let woken = self.0.empty.notified();
            if self.count() == 0 {
                return;
            }
            woken.await;
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn tick(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Tells the one that has waited longest; its place is free from now on.
    fn evict(&mut self) -> bool {
        let candidates = self.waiting.values().copied();
        let oldest = candidates
            .filter_map(|id| self.open.get(&id).map(|open| (id, open)))
            .find(|(_, open)| !open.blocked.load(Ordering::Relaxed))
            .map(|(id, _)| id);
        let Some(id) = oldest else {
            return false;
        };
        let evict = self.remove(id).and_then(|open| open.evict);
        // Its task may have ended by itself just now.
        evict.map(|evict| evict.send(()));
        true
    }

    fn remove(&mut self, id: u64) -> Option<Open> {
        let open = self.open.remove(&id)?;
        if let Some(since) = open.waits_since {
            self.waiting.remove(&since);
        }
        Some(open)
    }

    fn wait(&mut self, id: u64) {
        let since = self.tick();
        if let Some(open) = self.open.get_mut(&id) {
            open.waits_since = Some(since);
            self.waiting.insert(since, id);
        }
    }

    fn work(&mut self, id: u64) {
        let since = self
            .open
            .get_mut(&id)
            .and_then(|open| open.waits_since.take());
        if let Some(since) = since {
            self.waiting.remove(&since);
        }
    }
}

impl Slot {
    /// A request's head is complete.
    pub(crate) fn begin(&self) {
        self.slots.table().work(self.id);
    }

    /// The answer is made; the next head is waited for.
    pub(crate) fn end(&self) {
        self.slots.table().wait(self.id);
    }

    /// Whether a request is in hand.
    pub(crate) fn is_working(&self) -> bool {
        let table = self.slots.table();
        table
            .open
            .get(&self.id)
            .is_some_and(|open| open.waits_since.is_none())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut table = self.slots.table();
        table.remove(self.id);
        if table.open.is_empty() {
            self.slots.0.empty.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(slots: &Slots) -> Option<(Slot, oneshot::Receiver<()>)> {
        slots.open(Arc::default())
    }

    #[test]
    fn the_one_that_waited_longest_goes() {
        let slots = Slots::new(3);
        let (first, mut first_goes) = open(&slots).unwrap();
        let (_second, mut second_goes) = open(&slots).unwrap();
        let (_third, mut third_goes) = open(&slots).unwrap();
        // The first has a request in hand, answers it, and now waits since later than the others.
        first.begin();
        assert!(first.is_working());
        first.end();
        let (_fourth, _goes) = open(&slots).unwrap();
        assert!(second_goes.try_recv().is_ok());
        assert!(first_goes.try_recv().is_err() && third_goes.try_recv().is_err());
        assert_eq!(slots.count(), 3);
    }

    #[test]
    fn a_request_in_hand_never_goes() {
        let slots = Slots::new(2);
        let (working, _w) = open(&slots).unwrap();
        working.begin();
        let blocked = Arc::new(AtomicBool::new(true));
        let (answering, _a) = slots.open(Arc::clone(&blocked)).unwrap();
        assert!(open(&slots).is_none());
        drop(answering);
        assert_eq!(slots.count(), 1);
        assert!(open(&slots).is_some());
    }

    #[test]
    fn an_evicted_place_is_given_back_once() {
        let slots = Slots::new(1);
        let (first, _goes) = open(&slots).unwrap();
        let (second, _goes) = open(&slots).unwrap();
        // Late calls of the evicted one change nothing.
        first.begin();
        first.end();
        drop(first);
        assert_eq!(slots.count(), 1);
        drop(second);
        assert_eq!(slots.count(), 0);
    }
}
