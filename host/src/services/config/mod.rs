//! Live configuration: the config sets that tasks pin, and a writer thread per topic around the pure store.
//!
//! A reader never waits for a writer: it takes the current set's pointer. A change is evaluated, checked by whoever may veto
//! it, made durable where the topic has a journal, and published by one pointer swap and one store of the epoch word; only
//! then is it answered.

mod journal;
mod sets;
#[cfg(test)]
mod tests;
mod waits;
mod wire;
mod writer;

use super::{
    alarm::Alarms,
    clock,
    failure::{closed, failure},
    then::{Owed, Then},
};
use crate::machine::store::{self, ChangeError as Refused, Store};
use hotshoe_abi::{
    Applied, Change, ChangeError, Declaration, Failure, HistoryEntry, Opened, Snapshot, Veto,
    failure_kind,
};
use hotshoe_loader::EpochPage;
use journal::{Disk, Journal, Lines, Opening, RealDisk, Syncs};
use parking_lot::{Mutex, RwLock};
use serde_json::json;
use sets::{Document, EncodedSet, Shared};
use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};
use waits::Waits;
use wire::{
    State, bad_declaration, bad_journal, history_entry, opened, read_change, read_settings, refusal,
};
use writer::Writer;

pub use journal::Recover;
#[cfg(fuzzing)]
pub use journal::fuzz as fuzz_journal;
pub(crate) use sets::{ConfigSet, Pin};
pub(crate) use waits::Waiter;

/// Changes that wait for one topic's writer; one more is `busy` (config-api §12).
const QUEUE_LEN_MAX: usize = 4096;

/// Requests that are taken together (config-api §1, group commit).
const GROUP_LEN_MAX: usize = 64;

/// Who calls: a checker may not wait for the writer that waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    Checker,
    Other,
}

/// A change that a checker is asked about.
#[derive(Debug, Clone)]
pub(crate) struct Proposal {
    pub(crate) topic: Arc<str>,
    pub(crate) candidate: Arc<[u8]>,
    pub(crate) current: Arc<[u8]>,
    pub(crate) dry_run: bool,
}

/// Takes a checker's verdict, on whatever thread, at most once.
pub(crate) type VerdictTo = Box<dyn FnOnce(Result<Option<Veto>, Failure>) + Send>;

/// An instance whose checker is asked about a topic.
#[derive(Clone)]
pub(crate) struct CheckedBy {
    pub(crate) instance: String,
    pub(crate) deadline: Duration,
    pub(crate) ask: Arc<dyn Fn(Proposal, VerdictTo) + Send + Sync>,
}

type Checks = Arc<RwLock<BTreeMap<String, Vec<CheckedBy>>>>;

/// Every topic of a host.
pub(crate) struct ConfigService {
    shared: Arc<Shared>,
    topics: Mutex<BTreeMap<String, Arc<Topic>>>,
    checks: Checks,
    pins_by_key: Mutex<BTreeMap<String, Weak<ConfigSet>>>,
    readers: Arc<Mutex<Readers>>,
    waits: Arc<Waits>,
    /// Held over a whole declaration, disk included, and by whoever closes; `topics` is not.
    declaring: Mutex<()>,
    /// What workers map to see the epoch word, or why there is none.
    page: io::Result<EpochPage>,
    home: Home,
}

/// Where journals are, and how they are opened.
struct Home {
    state_dir: PathBuf,
    recover: Recover,
    disk: Arc<dyn Disk>,
}

/// Who reads which topic, and which generation it has read last.
#[derive(Default)]
struct Readers(BTreeMap<(String, String), Reading>);

struct Reading {
    generation: u64,
    /// Why the generation does not decode there.
    nack: Option<String>,
}

impl Readers {
    fn of<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = (&'a str, &'a Reading)> {
        let of_topic = self.0.iter().filter(move |((name, _), _)| name == topic);
        of_topic.map(|((_, reader), reading)| (reader.as_str(), reading))
    }
}

struct Topic {
    name: Arc<str>,
    store: Mutex<Store>,
    durable: bool,
    /// Locked before the store, by whoever commits to it or declares it again. None: in memory, or closed.
    journal: Mutex<Option<Journal>>,
    /// What status says of the journal, without waiting for a sync.
    storage: Mutex<Storage>,
    queue: mpsc::SyncSender<Request>,
    /// Lives of its owner that are over.
    lives: AtomicU64,
}

struct Request {
    changes: Vec<store::Change>,
    asker: Asker,
    answer: Owed<Answers>,
}

/// Who wants a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    Host,
    /// The topic's owner, in the life that began when so many were over.
    Owner(u64),
}

/// What became of a topic's journal.
#[derive(Default)]
struct Storage {
    history_damaged: bool,
    /// Why nothing is written any more.
    failed: Option<String>,
    /// A way back that is in force and not written, and when that is tried again.
    unwritten: Option<(Lines, Duration)>,
    len_bytes: u64,
    syncs: Syncs,
}

impl Storage {
    /// Why no change is taken.
    fn read_only(&self) -> Option<String> {
        let unwritten = self.unwritten.as_ref();
        let text = unwritten.map(|_| "the way back to the last confirmed value is not written yet");
        self.failed.clone().or(text.map(str::to_owned))
    }

    fn warnings(&self) -> Vec<&'static str> {
        let all = [
            ("history-damaged", self.history_damaged),
            ("rollback-not-durable", self.unwritten.is_some()),
            ("store-readonly", self.failed.is_some()),
        ];
        let all = all.into_iter();
        all.filter(|(_, holds)| *holds)
            .map(|(word, _)| word)
            .collect()
    }
}

impl Topic {
    fn generation(&self) -> u64 {
        self.store.lock().current().generation
    }

    /// When the writer has something to do by itself.
    fn wake_at(&self) -> Option<Duration> {
        let deadline = self.store.lock().next_deadline();
        let storage = self.storage.lock();
        let again = storage.unwritten.as_ref().map(|(_, at)| *at);
        // Nothing is tried again after a failure.
        let again = again.filter(|_| storage.failed.is_none());
        deadline.into_iter().chain(again).min()
    }

    /// Keeps what status says up to date.
    fn note(&self, journal: &Journal) {
        let mut storage = self.storage.lock();
        storage.failed = journal.failed().map(str::to_owned);
        storage.len_bytes = journal.len_bytes();
        storage.syncs = journal.syncs().clone();
    }
}

/// The answers to the changes of one request, in order.
pub(crate) type Answers = Vec<Result<Applied, ChangeError>>;

impl ConfigService {
    /// - `state_dir`: where topics with `state = "dir"` keep their journals.
    /// - `alarms`: who ends waits whose time has come.
    pub(crate) fn new(state_dir: PathBuf, recover: Recover, alarms: Arc<Alarms>) -> Self {
        let home = Home {
            state_dir,
            recover,
            disk: Arc::new(RealDisk),
        };
        Self::on(home, EpochPage::create(), alarms)
    }

    fn on(home: Home, page: io::Result<EpochPage>, alarms: Arc<Alarms>) -> Self {
        // Epoch 0 means "the newest" at the boundary, so the first set, which is empty, is 1.
        let first = Arc::new(ConfigSet {
            epoch: 1,
            topics: BTreeMap::new(),
        });
        // Without a page the word is this process's own: then nothing of a host is missing but isolated instances.
        let word = page.as_ref().map_or_else(
            |_| &*Box::leak(Box::new(AtomicU64::new(0))),
            EpochPage::word,
        );
        word.store(1, Ordering::Release);
        let shared = Shared {
            sets: Mutex::new(BTreeMap::from([(1, Arc::downgrade(&first))])),
            current: RwLock::new(first),
            word,
            closed: AtomicBool::new(false),
        };
        Self {
            shared: Arc::new(shared),
            topics: Mutex::default(),
            checks: Checks::default(),
            pins_by_key: Mutex::default(),
            readers: Arc::default(),
            waits: Arc::new(Waits::new(alarms)),
            declaring: Mutex::default(),
            page,
            home,
        }
    }

    /// The epoch word.
    pub(crate) fn word(&self) -> &'static AtomicU64 {
        self.shared.word
    }

    /// The page that holds the epoch word, for a worker to map: read-only is all that it can be mapped.
    ///
    /// Errors: `unsupported`, where the system has no such page; an isolated instance is refused then.
    #[cfg(target_os = "linux")]
    pub(crate) fn epoch_page(&self) -> Result<std::os::fd::BorrowedFd<'_>, Failure> {
        match &self.page {
            Ok(page) => Ok(page.descriptor()),
            Err(error) => Err(failure(
                failure_kind::UNSUPPORTED,
                format!("there is no page for the epoch word that workers can only read: {error}"),
            )),
        }
    }

    /// Pins the newest set.
    pub(crate) fn pin(&self) -> Pin {
        Pin(Arc::clone(&self.shared.current.read()))
    }

    /// The set of an epoch, for as long as somebody pins it.
    pub(crate) fn pin_of(&self, epoch: u64) -> Result<Pin, Failure> {
        self.shared.set(epoch).map(Pin)
    }

    /// Pins by a key of the caller's: the first asker pins the newest set, later ones get the same for as long as anybody
    /// keeps it.
    pub(crate) fn pin_by(&self, key: &str) -> Pin {
        let mut pins = self.pins_by_key.lock();
        if let Some(set) = pins.get(key).and_then(Weak::upgrade) {
            return Pin(set);
        }
        pins.retain(|_, set| set.strong_count() > 0);
        let pin = self.pin();
        pins.insert(key.to_owned(), Arc::downgrade(&pin.0));
        pin
    }

    /// Takes in a set that another host has encoded, whose epochs these are; the newest becomes current.
    pub(crate) fn install(&self, bytes: &[u8]) -> Result<Pin, Failure> {
        let encoded: EncodedSet = serde_json::from_slice(bytes).map_err(|error| {
            failure(
                failure_kind::ERROR,
                format!("this is no encoded config set: {error}"),
            )
        })?;
        let document = |(name, generation, text): (String, u64, String)| {
            (
                name,
                Document {
                    generation,
                    bytes: text.into_bytes().into(),
                },
            )
        };
        let topics = encoded.topics.into_iter().map(document).collect();
        Ok(Pin(self.shared.install(ConfigSet {
            epoch: encoded.epoch,
            topics,
        })))
    }

    /// Names who is asked about a topic, in init order.
    pub(crate) fn check_by(&self, topic: &str, checker: CheckedBy) {
        self.checks
            .write()
            .entry(topic.to_owned())
            .or_default()
            .push(checker);
    }

    /// Topics and their current generations.
    pub(crate) fn generations(&self) -> Vec<(String, u64)> {
        let set = self.pin();
        set.0
            .topics
            .iter()
            .map(|(name, document)| (name.clone(), document.generation))
            .collect()
    }

    /// One topic of a pinned set, or of the newest where `epoch` is 0.
    pub(crate) fn snapshot(&self, topic: &str, epoch: u64) -> Result<Snapshot, Failure> {
        let set = match epoch {
            0 => self.pin().0,
            epoch => self.shared.set(epoch)?,
        };
        let Some(document) = set.topics.get(topic) else {
            let text = format!("no instance has declared the topic `{topic}`");
            let fix =
                format!("a driver that reads it in init names its owner: after = [\"{topic}\"]");
            return Err(Failure {
                fix: fix.into(),
                ..failure(failure_kind::NO_TOPIC, text)
            });
        };
        Ok(Snapshot {
            epoch: set.epoch,
            generation: document.generation,
            document: document.bytes.to_vec().into(),
        })
    }

    /// Opens an instance's own topic, or finds it as it is.
    ///
    /// Blocks on the disk: it reads a journal and writes to it, and waits for a commit of the same topic that is under way, and
    /// for other declarations. Nobody else waits for it.
    pub(crate) fn declare(
        &self,
        instance: &str,
        declaration: &Declaration<'_>,
    ) -> Result<Opened, Failure> {
        let (settings, state) = read_settings(declaration.settings.as_slice())?;
        let _declaring = self.declaring.lock();
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(closed("the host"));
        }
        let declared = store::Declaration {
            topic: instance,
            store_id: store_id(),
            schema: declaration.schema.as_slice(),
            initial: declaration.initial.as_slice(),
            settings,
            at: clock::utc_now(),
            by: "host".to_owned(),
        };
        let known = self.topics.lock().get(instance).cloned();
        if let Some(topic) = known {
            return redeclare(&topic, declared, &state);
        }
        let (topic, recovered) = match state {
            State::Memory => {
                let store = Store::open(declared).map_err(bad_declaration)?;
                (Parts::in_memory(store), false)
            }
            State::Dir(folder) => {
                let home = &self.home;
                let opening = Opening {
                    state_dir: folder.as_deref().unwrap_or(&home.state_dir),
                    disk: Arc::clone(&home.disk),
                    recover: home.recover,
                    declaration: declared,
                };
                let opened = journal::open(opening).map_err(bad_journal)?;
                let recovered = opened.recovered;
                (Parts::kept(opened), recovered)
            }
        };
        let opened = opened(&topic.store, recovered, topic.journal.is_some());
        let topic = self.start_topic(instance, topic)?;
        self.topics.lock().insert(instance.to_owned(), topic);
        Ok(opened)
    }

    fn start_topic(&self, instance: &str, parts: Parts) -> Result<Arc<Topic>, Failure> {
        let (queue, requests) = mpsc::sync_channel(QUEUE_LEN_MAX);
        let name: Arc<str> = instance.into();
        self.shared.publish(&name, parts.store.current());
        let topic = Arc::new(Topic {
            name,
            store: Mutex::new(parts.store),
            durable: parts.journal.is_some(),
            journal: Mutex::new(parts.journal),
            storage: Mutex::new(parts.storage),
            queue,
            lives: AtomicU64::new(0),
        });
        let writer = Writer {
            topic: Arc::downgrade(&topic),
            shared: Arc::clone(&self.shared),
            checks: Arc::clone(&self.checks),
            readers: Arc::clone(&self.readers),
            waits: Arc::clone(&self.waits),
        };
        let spawned = thread::Builder::new()
            .name(format!("store {instance}"))
            .spawn(move || writer.run(&requests));
        match spawned {
            Ok(_) => Ok(topic),
            Err(error) => Err(failure(
                failure_kind::ERROR,
                format!("cannot start the topic's writer: {error}"),
            )),
        }
    }

    /// Applies changes of an instance to its own topic and waits for the answers.
    pub(crate) fn apply(
        &self,
        instance: &str,
        changes: &[Change<'_>],
        caller: Caller,
    ) -> Result<Answers, Failure> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let then: Then<Answers> = Box::new(move |answers| {
            let _ = sender.try_send(answers);
        });
        self.apply_then(instance, changes, caller, then);
        receiver
            .recv()
            .unwrap_or_else(|_| Err(closed(&format!("topic `{instance}`"))))
    }

    /// [`Self::apply`] that does not block: `then` takes the answers once the changes are durable and visible, or refused.
    pub(crate) fn apply_then(
        &self,
        instance: &str,
        changes: &[Change<'_>],
        caller: Caller,
        then: Then<Answers>,
    ) {
        let owed = Owed::new(format!("topic `{instance}`"), then);
        if caller == Caller::Checker {
            let text = "apply inside check would wait for the change that is being checked";
            return owed.pay(Err(failure(failure_kind::REENTRANT, text)));
        }
        let by = format!("plugin:{instance}");
        let read = changes.iter().map(|change| read_change(change, &by));
        match read.collect::<Result<Vec<_>, _>>() {
            Err(failure) => owed.pay(Err(failure)),
            Ok(changes) => {
                let owner = |topic: &Topic| Asker::Owner(topic.lives.load(Ordering::Acquire));
                if let Some((owed, failure)) = self.offer(instance, changes, owner, owed) {
                    owed.pay(Err(failure));
                }
            }
        }
    }

    /// An instance has died or is unloaded: what it still asks for is refused, whatever a checker says of it (config-api §11).
    pub(crate) fn forget_changes(&self, instance: &str) {
        if let Ok(topic) = self.topic(instance) {
            topic.lives.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Queues changes to a topic; `answer` is called once they are durable and visible, or refused.
    pub(crate) fn enqueue(
        &self,
        topic: &str,
        changes: Vec<store::Change>,
        answer: Box<dyn FnOnce(Answers) + Send>,
    ) -> Result<(), Failure> {
        // A topic that is closed meanwhile drops the answer.
        let then: Then<Answers> = Box::new(|answers| drop(answers.map(answer)));
        let owed = Owed::new(format!("topic `{topic}`"), then);
        match self.offer(topic, changes, |_| Asker::Host, owed) {
            None => Ok(()),
            Some((_, failure)) => Err(failure),
        }
    }

    /// Queues changes; hands the answer back where it cannot, with the reason.
    fn offer(
        &self,
        topic: &str,
        changes: Vec<store::Change>,
        asker: impl FnOnce(&Topic) -> Asker,
        answer: Owed<Answers>,
    ) -> Option<(Owed<Answers>, Failure)> {
        let topic = match self.topic(topic) {
            Ok(topic) => topic,
            Err(failure) => return Some((answer, failure)),
        };
        let asker = asker(&topic);
        let request = Request {
            changes,
            asker,
            answer,
        };
        match topic.queue.try_send(request) {
            Ok(()) => None,
            Err(mpsc::TrySendError::Full(request)) => {
                let text = format!(
                    "{QUEUE_LEN_MAX} changes of topic `{}` wait already",
                    topic.name
                );
                Some((request.answer, failure(failure_kind::FULL, text)))
            }
            Err(mpsc::TrySendError::Disconnected(request)) => {
                Some((request.answer, closed(&format!("topic `{}`", topic.name))))
            }
        }
    }

    fn topic(&self, name: &str) -> Result<Arc<Topic>, Failure> {
        let topic = self.topics.lock().get(name).cloned();
        topic.ok_or_else(|| {
            failure(
                failure_kind::NO_TOPIC,
                format!("no instance has declared the topic `{name}`"),
            )
        })
    }

    /// Accepted changes, newest first. Never waits for a disk: the store is locked to look and to swap only.
    pub(crate) fn history(
        &self,
        topic: &str,
        before: u64,
        limit: u32,
    ) -> Result<Vec<HistoryEntry>, Failure> {
        let topic = self.topic(topic)?;
        let before = (before != 0).then_some(before);
        let page = topic.store.lock().history(before, limit as usize);
        Ok(page
            .items
            .iter()
            .map(|entry| history_entry(entry))
            .collect())
    }

    /// The patch from one kept generation to another; `to` 0 is the current one. Never waits for a disk.
    pub(crate) fn diff(&self, topic: &str, from: u64, to: u64) -> Result<Vec<u8>, ChangeError> {
        let gone =
            |failure: Failure| refusal(Refused::new("shutting-down", failure.message.as_str()));
        let topic = self.topic(topic).map_err(gone)?;
        let store = topic.store.lock();
        let to = if to == 0 {
            store.current().generation
        } else {
            to
        };
        let patch = store
            .diff(from, to)
            .map_err(|missing| refusal(missing.into()))?;
        Ok(hotshoe_json::canonical(&patch))
    }

    /// A topic's state, as `hotshoe_abi::Host::topic_status` says. Never waits for a disk, nor for a checker.
    pub(crate) fn status(&self, topic: &str) -> Result<Vec<u8>, Failure> {
        let topic = self.topic(topic)?;
        let readers = {
            let readers = self.readers.lock();
            let of_topic: Vec<_> = readers.of(&topic.name).collect();
            let nacked = of_topic.iter().filter_map(|(reader, reading)| {
                let error = reading.nack.as_ref()?;
                Some(json!({"reader": reader, "generation": reading.generation, "error": error}))
            });
            json!({
                "attached": of_topic.len(),
                "min_generation": of_topic.iter().map(|(_, reading)| reading.generation).min(),
                "nacked": nacked.collect::<Vec<_>>(),
            })
        };
        let (len_bytes, read_only, warnings, syncs) = {
            let storage = topic.storage.lock();
            let read_only = storage.read_only().is_some();
            let syncs = storage.syncs.to_json();
            (storage.len_bytes, read_only, storage.warnings(), syncs)
        };
        let store = topic.store.lock();
        let bytes = match topic.durable {
            true => len_bytes,
            false => store.history_bytes() as u64,
        };
        let page = store.history(None, 1);
        let confirm = store.pending().map(|pending| {
            let remaining = pending.deadline.saturating_sub(clock::monotonic());
            json!({
                "base": pending.base.generation,
                "deadline": pending.deadline_utc,
                "generation": store.current().generation,
                "remaining_s": remaining.as_secs_f64().ceil() as u64,
            })
        });
        let status = json!({
            "confirm": confirm,
            "durable": topic.durable,
            "generation": store.current().generation,
            "history": {"bytes": bytes, "newest": page.newest, "oldest": page.oldest},
            "read_only": read_only,
            "readers": readers,
            "store": store.store_id(),
            "syncs": syncs,
            "warnings": warnings,
        });
        Ok(hotshoe_json::canonical(&status))
    }

    /// Notes what a reader has read last.
    pub(crate) fn read_by(&self, topic: &str, reader: &str, generation: u64) {
        let key = (topic.to_owned(), reader.to_owned());
        self.readers.lock().0.insert(
            key,
            Reading {
                generation,
                nack: None,
            },
        );
    }

    /// A reader cannot decode a generation and keeps its last good value.
    pub(crate) fn nacked(&self, topic: &str, reader: &str, generation: u64, error: &str) {
        let key = (topic.to_owned(), reader.to_owned());
        let error = error.chars().take(256).collect();
        self.readers.lock().0.insert(
            key,
            Reading {
                generation,
                nack: Some(error),
            },
        );
    }

    /// The component is gone, and reads nothing any more.
    pub(crate) fn reader_gone(&self, reader: &str) {
        self.readers.lock().0.retain(|(_, name), _| name != reader);
    }

    /// Blocks until a generation newer than `after`; 0 at the timeout.
    pub(crate) fn wait(
        &self,
        topic: &str,
        after: u64,
        timeout: Duration,
        waiter: Waiter<'_>,
    ) -> Result<u64, Failure> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let then: Then<u64> = Box::new(move |generation| {
            let _ = sender.try_send(generation);
        });
        self.wait_then(topic, after, timeout, waiter, then);
        receiver
            .recv()
            .unwrap_or_else(|_| Err(closed(&format!("topic `{topic}`"))))
    }

    /// [`Self::wait`] that does not block: `then` takes the generation, on whatever thread made it.
    pub(crate) fn wait_then(
        &self,
        topic: &str,
        after: u64,
        timeout: Duration,
        waiter: Waiter<'_>,
        then: Then<u64>,
    ) {
        let topic = match self.topic(topic) {
            Ok(topic) => topic,
            Err(failure) => return then(Err(failure)),
        };
        let current = topic.generation();
        if current > after {
            return then(Ok(current));
        }
        self.waits
            .enter((&topic.name, after), timeout, waiter, then);
        // A change that came between the look and the entry woke nobody.
        let current = topic.generation();
        if current > after {
            self.waits.published(&topic.name, current);
        }
    }

    /// Ends every wait of an instance that is told to stop: its threads are not to be waited for until they look again.
    pub(crate) fn end_waits(&self, instance: &str) {
        self.waits.end(instance);
    }

    /// Ends what an instance's last life waits for: nobody is there to be told, and its next one would soon have no waits left.
    pub(crate) fn forget_waits(&self, instance: &str) {
        self.waits.forget(instance);
    }

    /// Ends every wait and every writer. What was acknowledged stays readable.
    pub(crate) fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
        self.waits.close();
        // A declaration that is under way opens its journal first; then it is closed like the others.
        let _declaring = self.declaring.lock();
        let topics = std::mem::take(&mut *self.topics.lock());
        for topic in topics.values() {
            // Waits for a commit that is under way; then the folder is free for another host.
            drop(topic.journal.lock().take());
        }
    }
}

impl Drop for ConfigService {
    fn drop(&mut self) {
        // Writers keep the waits alive until they have seen their topic go.
        self.waits.close();
    }
}

/// What a topic is made of.
struct Parts {
    store: Store,
    journal: Option<Journal>,
    storage: Storage,
}

impl Parts {
    fn in_memory(store: Store) -> Self {
        Self {
            store,
            journal: None,
            storage: Storage::default(),
        }
    }

    fn kept(opened: journal::Opened) -> Self {
        Self {
            storage: Storage {
                history_damaged: opened.history_damaged,
                len_bytes: opened.journal.len_bytes(),
                ..Storage::default()
            },
            store: opened.store,
            journal: Some(opened.journal),
        }
    }
}

/// The plugin was reloaded or restarted: the store is as it was, under the new terms.
fn redeclare(
    topic: &Topic,
    declared: store::Declaration<'_>,
    state: &State,
) -> Result<Opened, Failure> {
    if topic.durable == (*state == State::Memory) {
        let text = "state: it cannot be changed while the host runs; start the host again";
        return Err(Failure {
            code: "config-bad-setting".into(),
            ..failure(failure_kind::ERROR, text)
        });
    }
    let mut journal = topic.journal.lock();
    let mut store = topic.store.lock();
    store.redeclare(declared).map_err(bad_declaration)?;
    if let Some(journal) = &mut *journal {
        journal.value_len_max(store.settings().value_len_max);
    }
    Ok(opened(&store, true, topic.durable))
}

fn store_id() -> String {
    // Random through the standard library's hasher keys: an id to tell stores apart, not a secret.
    use std::hash::{BuildHasher as _, RandomState};
    let random = RandomState::new().hash_one(clock::monotonic());
    format!("{:08x}", random as u32)
}
