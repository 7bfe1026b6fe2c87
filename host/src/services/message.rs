//! Messages: who can be reached under which name, with bounded mailboxes and counts that add up. It delivers into queues
//! and never calls a handler.

use super::{
    failure::{closed, failure},
    then::Then,
};
use crate::machine::InstanceId;
use hotshoe_abi::{Failure, failure_kind};
use parking_lot::{Condvar, Mutex, RwLock};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

/// The longest message. The same on every path, so that what works in one mode works in all.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Messages that wait for one component. Enough for a burst from each of a thousand senders; a sender that finds it full
/// learns so at once, instead of the host growing.
pub(crate) const MAILBOX_LEN_MAX: usize = 1024;

/// Takes the handler's answer. Called at most once, on whatever thread.
pub(crate) type Reply = Then<Vec<u8>>;

/// A message on its way.
pub(crate) struct Mail {
    pub(crate) bytes: Vec<u8>,
    /// `None` for a one-way message.
    pub(crate) reply: Option<Reply>,
    /// Nobody waits for the answer any more after this.
    pub(crate) deadline: Option<Instant>,
}

/// What a component's thread takes out of its mailbox: mail, or an order of the supervisor's.
pub(crate) enum Item<O> {
    Mail(Mail),
    Order(O),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    /// Its init has not returned yet.
    NotReady,
    Open,
    /// The process that it was in has died, and the next one is not ready.
    Gone,
    /// Its shutdown was ordered.
    Closed,
}

/// A component's queue. Orders always fit; mail is bounded and refused while the door is not open.
pub(crate) struct Mailbox<O> {
    inner: Mutex<Inner<O>>,
    arrived: Condvar,
}

struct Inner<O> {
    items: VecDeque<Item<O>>,
    mail: usize,
    door: Door,
}

impl<O> Default for Mailbox<O> {
    fn default() -> Self {
        let inner = Inner {
            items: VecDeque::new(),
            mail: 0,
            door: Door::NotReady,
        };
        Self {
            inner: Mutex::new(inner),
            arrived: Condvar::new(),
        }
    }
}

impl<O> Mailbox<O> {
    /// Queues mail for the component of the instance `to`.
    pub(crate) fn deliver(&self, to: &str, mail: Mail) -> Result<(), Failure> {
        let mut inner = self.inner.lock();
        match inner.door {
            Door::NotReady => {
                let text = format!("plugin `{to}` has not finished its init");
                return Err(failure(failure_kind::NOT_READY, text));
            }
            Door::Gone => {
                let text =
                    format!("the worker of plugin `{to}` has died, and the next is not ready");
                return Err(failure(failure_kind::GONE, text));
            }
            Door::Closed => return Err(closed(&format!("plugin `{to}`"))),
            Door::Open if inner.mail >= MAILBOX_LEN_MAX => {
                let text = format!(
                    "the mailbox of plugin `{to}` is full ({MAILBOX_LEN_MAX} messages wait)"
                );
                return Err(failure(failure_kind::FULL, text));
            }
            Door::Open => {}
        }
        inner.mail += 1;
        inner.items.push_back(Item::Mail(mail));
        drop(inner);
        self.arrived.notify_one();
        Ok(())
    }

    pub(crate) fn order(&self, order: O) {
        self.inner.lock().items.push_back(Item::Order(order));
        self.arrived.notify_one();
    }

    /// The last order: mail that came before it is still handled, later mail is refused as closed.
    pub(crate) fn close_with(&self, order: O) {
        let mut inner = self.inner.lock();
        inner.door = Door::Closed;
        inner.items.push_back(Item::Order(order));
        drop(inner);
        self.arrived.notify_one();
    }

    /// Refuses mail from now on, and hands out what waits so that nobody waits for it in vain.
    pub(crate) fn close(&self) -> Vec<Mail> {
        self.refuse(Door::Closed)
    }

    /// The same until the next [`open`](Self::open), where the component was in service: its process has died.
    pub(crate) fn gone(&self) -> Vec<Mail> {
        let door = self.inner.lock().door;
        match door {
            Door::Open | Door::Gone => self.refuse(Door::Gone),
            Door::NotReady | Door::Closed => Vec::new(),
        }
    }

    fn refuse(&self, door: Door) -> Vec<Mail> {
        let mut inner = self.inner.lock();
        inner.door = door;
        inner.mail = 0;
        let (mail, orders): (VecDeque<_>, VecDeque<_>) = inner
            .items
            .drain(..)
            .partition(|item| matches!(item, Item::Mail(_)));
        inner.items = orders;
        mail.into_iter()
            .filter_map(|item| match item {
                Item::Mail(mail) => Some(mail),
                Item::Order(_) => None,
            })
            .collect()
    }

    /// The init has returned.
    pub(crate) fn open(&self) {
        let mut inner = self.inner.lock();
        if inner.door != Door::Closed {
            inner.door = Door::Open;
        }
    }

    /// Waits for the next item.
    pub(crate) fn take(&self) -> Item<O> {
        let mut inner = self.inner.lock();
        loop {
            if let Some(item) = inner.items.pop_front() {
                if matches!(item, Item::Mail(_)) {
                    inner.mail = inner.mail.saturating_sub(1);
                }
                return item;
            }
            self.arrived.wait(&mut inner);
        }
    }
}

/// What became of an instance's messages. `sent` = `delivered` + `dropped`, once nothing is on its way any more.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Accepted from senders, addressed to this instance.
    pub(crate) sent: AtomicU64,
    /// Handed to a handler.
    pub(crate) delivered: AtomicU64,
    /// Of those, the ones whose handler failed.
    pub(crate) failed: AtomicU64,
    /// Accepted, and never handed to a handler.
    pub(crate) dropped: AtomicU64,
    /// Refused at once: full, closed, not ready.
    pub(crate) refused: AtomicU64,
}

impl Counts {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Hands mail to an instance's driver.
pub(crate) type ToDriver = Arc<dyn Fn(Mail) -> Result<(), Failure> + Send + Sync>;
/// Hands a broadcast to an instance's part on one executor.
pub(crate) type ToParts = Arc<dyn Fn(InstanceId, &[u8]) -> Result<(), Failure> + Send + Sync>;

/// Finds the way from a name to a mailbox.
#[derive(Default)]
pub(crate) struct PostOffice {
    drivers: RwLock<BTreeMap<String, Address>>,
    executors: RwLock<Vec<ToParts>>,
}

#[derive(Clone)]
struct Address {
    counts: Arc<Counts>,
    /// `None` where the instance has no driver.
    driver: Option<ToDriver>,
}

impl PostOffice {
    /// Enters an instance, with the way to its driver if it has one.
    pub(crate) fn enter(&self, name: &str, driver: Option<ToDriver>) -> Arc<Counts> {
        let counts = Arc::new(Counts::default());
        let address = Address {
            counts: Arc::clone(&counts),
            driver,
        };
        self.drivers.write().insert(name.to_owned(), address);
        counts
    }

    /// Enters an executor's inbox.
    pub(crate) fn enter_executor(&self, deliver: ToParts) {
        self.executors.write().push(deliver);
    }

    pub(crate) fn counts(&self, name: &str) -> Option<Arc<Counts>> {
        self.drivers
            .read()
            .get(name)
            .map(|address| Arc::clone(&address.counts))
    }

    fn post(&self, to: &str, mail: Mail) -> Result<(), Failure> {
        // Cloned out: no lock is held while a mailbox is reached.
        let Some(address) = self.drivers.read().get(to).cloned() else {
            return Err(failure(
                failure_kind::UNKNOWN,
                format!("unknown plugin `{to}`"),
            ));
        };
        let Some(driver) = address.driver else {
            let text = format!("plugin `{to}` has no driver to receive messages");
            return Err(failure(failure_kind::UNSUPPORTED, text));
        };
        check_len(mail.bytes.len())?;
        let posted = driver(mail);
        Counts::add(match posted {
            Ok(()) => &address.counts.sent,
            Err(_) => &address.counts.refused,
        });
        posted
    }

    /// Sends one way.
    pub(crate) fn tell(&self, to: &str, bytes: &[u8]) -> Result<(), Failure> {
        check_len(bytes.len())?;
        self.post(
            to,
            Mail {
                bytes: bytes.to_vec(),
                reply: None,
                deadline: None,
            },
        )
    }

    /// Sends and hands the answer to `reply`, which is called at most once and not after the deadline matters.
    pub(crate) fn ask_with(
        &self,
        to: &str,
        bytes: &[u8],
        deadline: Duration,
        reply: Reply,
    ) -> Result<(), Failure> {
        check_len(bytes.len())?;
        let mail = Mail {
            bytes: bytes.to_vec(),
            reply: Some(reply),
            deadline: Instant::now().checked_add(deadline),
        };
        self.post(to, mail)
    }

    /// Sends and waits on the calling thread, which is the asker's own.
    pub(crate) fn ask(
        &self,
        to: &str,
        bytes: &[u8],
        deadline: Duration,
    ) -> Result<Vec<u8>, Failure> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let reply: Reply = Box::new(move |answer| {
            // The asker may have stopped waiting.
            let _ = sender.try_send(answer);
        });
        self.ask_with(to, bytes, deadline, reply)?;
        match receiver.recv_timeout(deadline) {
            Ok(answer) => answer,
            Err(mpsc::RecvTimeoutError::Timeout) => Err(too_late(to, deadline)),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(closed(&format!("plugin `{to}`"))),
        }
    }

    /// Sends to the instance's part on each executor; answers how many.
    pub(crate) fn broadcast(&self, from: InstanceId, bytes: &[u8]) -> Result<u32, Failure> {
        check_len(bytes.len())?;
        let executors = self.executors.read().clone();
        for executor in &executors {
            executor(from, bytes)?;
        }
        Ok(u32::try_from(executors.len()).unwrap_or(u32::MAX))
    }
}

/// An asker's deadline has passed.
pub(super) fn too_late(to: &str, deadline: Duration) -> Failure {
    let text = format!(
        "plugin `{to}` did not answer within {} ms",
        deadline.as_millis()
    );
    failure(failure_kind::TIMEOUT, text)
}

/// A handler's answer, if it is no longer than a message may be: otherwise the asker's failure.
pub(crate) fn bounded_reply(from: &str, reply: Vec<u8>) -> Result<Vec<u8>, Failure> {
    let len = reply.len();
    if len <= MESSAGE_BYTES_MAX {
        return Ok(reply);
    }
    let text = format!(
        "the answer of plugin `{from}` is too large: {len} bytes, the most is {MESSAGE_BYTES_MAX}"
    );
    Err(failure(failure_kind::TOO_LARGE, text))
}

fn check_len(len: usize) -> Result<(), Failure> {
    if len <= MESSAGE_BYTES_MAX {
        return Ok(());
    }
    let text = format!("message too large: {len} bytes, the most is {MESSAGE_BYTES_MAX}");
    Err(failure(failure_kind::TOO_LARGE, text))
}
