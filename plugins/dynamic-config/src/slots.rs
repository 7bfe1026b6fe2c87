//! Room for connections: how many there are, which one goes when there are too many (config-api §2 step 1, §12).
//!
//! The one that goes has waited longest for a request's head; a connection with a request in hand never goes. Closes
//! nothing itself: it tells the connection's task to.

use crate::guard::PeerKey;
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
    watchers_max: usize,
    /// Woken when the last connection ends, and when only watchers are left.
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
    watchers: usize,
    /// Connections of each peer that is not this machine.
    peers: HashMap<PeerKey, usize>,
}

struct Open {
    waits_since: Option<u64>,
    blocked: Arc<AtomicBool>,
    watches: bool,
    peer: Option<PeerKey>,
    evict: Option<oneshot::Sender<()>>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// All are taken by requests in hand.
    Connections,
    /// This peer has as many as one may have.
    OfPeer,
}

/// Connections of one peer that is not this machine (config-api §12).
pub(crate) const OF_PEER_MAX: usize = 64;

/// One connection's place; given back when dropped.
pub(crate) struct Slot {
    id: u64,
    slots: Slots,
}

impl Slots {
    pub(crate) fn new(max: usize, watchers_max: usize) -> Self {
        Self(Arc::new(Shared {
            table: Mutex::default(),
            max,
            watchers_max,
            empty: Notify::new(),
            #[cfg(test)]
            broken: AtomicBool::new(false),
        }))
    }

    /// A place, and what fires when it must be given up.
    ///
    /// `blocked`: the connection's socket waits for its peer in the middle of an answer.
    pub(crate) fn open(
        &self,
        blocked: Arc<AtomicBool>,
        peer: Option<PeerKey>,
    ) -> Result<(Slot, oneshot::Receiver<()>), Full> {
        #[cfg(test)]
        assert!(!self.0.broken.swap(false, Ordering::Relaxed), "told to");
        let mut table = self.table();
        if peer.is_some_and(|peer| table.peers.get(&peer) >= Some(&OF_PEER_MAX)) {
            return Err(Full::OfPeer);
        }
        if table.open.len() - table.watchers >= self.0.max && !table.evict() {
            return Err(Full::Connections);
        }
        let id = table.tick();
        let (evict, evicted) = oneshot::channel();
        let open = Open {
            waits_since: None,
            blocked,
            watches: false,
            peer,
            evict: Some(evict),
        };
        if let Some(peer) = peer {
            *table.peers.entry(peer).or_default() += 1;
        }
        table.open.insert(id, open);
        table.wait(id);
        let slots = self.clone();
        Ok((Slot { id, slots }, evicted))
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

    /// Connections that do not watch.
    pub(crate) fn count(&self) -> usize {
        let table = self.table();
        table.open.len() - table.watchers
    }

    pub(crate) fn watchers(&self) -> usize {
        self.table().watchers
    }

    pub(crate) fn watchers_max(&self) -> usize {
        self.0.watchers_max
    }

    /// Waits until no connection is left but those that watch.
    pub(crate) async fn answered(&self) {
        loop {
            let woken = self.0.empty.notified();
            if self.count() == 0 {
                return;
            }
            woken.await;
        }
    }

    /// Waits until no connection is left.
    pub(crate) async fn emptied(&self) {
        loop {
            let woken = self.0.empty.notified();
            if self.table().open.is_empty() {
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
        self.watchers -= usize::from(open.watches);
        if let Some(peer) = open.peer {
            let left = self.peers.get_mut(&peer).map(|count| {
                *count -= 1;
                *count
            });
            if left == Some(0) {
                self.peers.remove(&peer);
            }
        }
        Some(open)
    }

    fn wait(&mut self, id: u64) {
        let since = self.tick();
        let open = self.open.get_mut(&id);
        if let Some(open) = open.filter(|open| !open.watches) {
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

    /// From now on it is a watcher's, until its end; false where there are enough of them.
    pub(crate) fn watch(&self) -> bool {
        let mut table = self.slots.table();
        if table.watchers >= self.slots.0.watchers_max {
            return false;
        }
        table.work(self.id);
        let Some(open) = table.open.get_mut(&self.id) else {
            return false;
        };
        if !open.watches {
            open.watches = true;
            table.watchers += 1;
        }
        if table.open.len() == table.watchers {
            self.slots.0.empty.notify_waiters();
        }
        true
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
        if table.open.len() == table.watchers {
            self.slots.0.empty.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(slots: &Slots) -> Option<(Slot, oneshot::Receiver<()>)> {
        slots.open(Arc::default(), None).ok()
    }

    #[test]
    fn the_one_that_waited_longest_goes() {
        let slots = Slots::new(3, 1);
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
        let slots = Slots::new(2, 1);
        let (working, _w) = open(&slots).unwrap();
        working.begin();
        let blocked = Arc::new(AtomicBool::new(true));
        let (answering, _a) = slots.open(Arc::clone(&blocked), None).unwrap();
        assert!(open(&slots).is_none());
        drop(answering);
        assert_eq!(slots.count(), 1);
        assert!(open(&slots).is_some());
    }

    #[test]
    fn an_evicted_place_is_given_back_once() {
        let slots = Slots::new(1, 1);
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

    #[test]
    fn c37_watchers_are_counted_apart() {
        let slots = Slots::new(1, 2);
        let (first, mut goes) = open(&slots).unwrap();
        assert!(first.watch());
        // The answer's head is made; the place is not one that waits for a request.
        first.end();
        let (second, _goes) = open(&slots).unwrap();
        assert!(second.watch());
        let (third, _goes) = open(&slots).unwrap();
        assert!(!third.watch());
        assert_eq!((slots.count(), slots.watchers()), (1, 2));
        let (_fourth, _goes) = open(&slots).unwrap();
        assert!(goes.try_recv().is_err(), "a watcher makes no room");
        drop(first);
        assert_eq!(slots.watchers(), 1);
    }

    #[test]
    fn a_peer_has_64_places_and_this_machine_as_many_as_there_are() {
        let slots = Slots::new(1_000, 1);
        let (one, other) = (Some(PeerKey(1)), Some(PeerKey(2)));
        let mut held: Vec<_> = (0..OF_PEER_MAX)
            .map(|_| slots.open(Arc::default(), one).ok().unwrap())
            .collect();
        assert_eq!(slots.open(Arc::default(), one).err(), Some(Full::OfPeer));
        assert!(slots.open(Arc::default(), other).is_ok());
        held.pop();
        held.push(slots.open(Arc::default(), one).ok().unwrap());
        let local: Vec<_> = (0..100).map(|_| open(&slots).unwrap()).collect();
        drop((held, local));
        assert!(slots.table().peers.is_empty());
    }
}
