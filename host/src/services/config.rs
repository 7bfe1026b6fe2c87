//! Live configuration: the config sets that tasks pin, and a writer thread per topic around the pure store.
//!
//! A reader never waits for a writer: it takes the current set's pointer. A change is evaluated, checked by whoever may veto
//! it, and published by one pointer swap and one store of the epoch word; only then is it answered.

use super::{
    clock,
    failure::{closed, failure, kind_name},
};
use crate::machine::store::{
    self, ChangeError as Refused, DeclareError, Evaluated, Expect, Operation, Store, StoreSettings,
};
use hotshoe_abi::{
    Applied, Change, ChangeError, Declaration, Failure, HistoryEntry, Opened, Snapshot, Veto,
    change_op, failure_kind,
};
use parking_lot::{Condvar, Mutex, RwLock};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

/// Changes that wait for one topic's writer; one more is `busy` (config-api §12).
const QUEUE_LEN_MAX: usize = 4096;

/// Requests that are taken together (config-api §1, group commit).
const GROUP_LEN_MAX: usize = 64;

/// How often a waiter looks whether its component was closed, beside being woken by every change.
const CLOSED_POLL: Duration = Duration::from_millis(50);

/// Everything that readers can see at one moment. Immutable.
#[derive(Debug, Default)]
pub(crate) struct ConfigSet {
    pub(crate) epoch: u64,
    topics: BTreeMap<String, Document>,
}

#[derive(Debug, Clone)]
struct Document {
    generation: u64,
    bytes: Arc<[u8]>,
}

/// Keeps a config set alive, for a task and all its attempts.
#[derive(Debug, Clone)]
pub(crate) struct Pin(Arc<ConfigSet>);

impl Pin {
    pub(crate) fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// The set as bytes; [`ConfigService::install`] reads them.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let topics = self.0.topics.iter().map(|(name, document)| {
            (
                name.clone(),
                document.generation,
                String::from_utf8_lossy(&document.bytes).into_owned(),
            )
        });
        let encoded = EncodedSet {
            epoch: self.0.epoch,
            topics: topics.collect(),
        };
        serde_json::to_vec(&encoded).expect("a set of strings and numbers is JSON")
    }
}

/// A config set on its way to another process: topic, generation, canonical document.
#[derive(serde::Serialize, serde::Deserialize)]
struct EncodedSet {
    epoch: u64,
    topics: Vec<(String, u64, String)>,
}

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

struct Shared {
    current: RwLock<Arc<ConfigSet>>,
    /// Sets that somebody may still pin; the current one is kept by `current`.
    sets: Mutex<BTreeMap<u64, Weak<ConfigSet>>>,
    /// The newest epoch. Leaked, 8 bytes a host: plugins read it for as long as they like.
    word: &'static AtomicU64,
    closed: AtomicBool,
}

struct Topic {
    name: Arc<str>,
    store: Mutex<Store>,
    changed: Condvar,
    queue: mpsc::SyncSender<Request>,
}

struct Request {
    changes: Vec<store::Change>,
    answer: Box<dyn FnOnce(Answers) + Send>,
}

/// The answers to the changes of one request, in order.
pub(crate) type Answers = Vec<Result<Applied, ChangeError>>;

impl Default for ConfigService {
    fn default() -> Self {
        // Epoch 0 means "the newest" at the boundary, so the first set, which is empty, is 1.
        let first = Arc::new(ConfigSet {
            epoch: 1,
            topics: BTreeMap::new(),
        });
        let shared = Shared {
            sets: Mutex::new(BTreeMap::from([(1, Arc::downgrade(&first))])),
            current: RwLock::new(first),
            word: Box::leak(Box::new(AtomicU64::new(1))),
            closed: AtomicBool::new(false),
        };
        Self {
            shared: Arc::new(shared),
            topics: Mutex::default(),
            checks: Checks::default(),
            pins_by_key: Mutex::default(),
            readers: Arc::default(),
        }
    }
}

impl ConfigService {
    /// The epoch word.
    pub(crate) fn word(&self) -> &'static AtomicU64 {
        self.shared.word
    }

    /// Pins the newest set.
    pub(crate) fn pin(&self) -> Pin {
        Pin(Arc::clone(&self.shared.current.read()))
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
    pub(crate) fn declare(
        &self,
        instance: &str,
        declaration: &Declaration<'_>,
    ) -> Result<Opened, Failure> {
        let settings = read_settings(declaration.settings.as_slice())?;
        let mut topics = self.topics.lock();
        let declared = store::Declaration {
            topic: instance,
            store_id: store_id(),
            schema: declaration.schema.as_slice(),
            initial: declaration.initial.as_slice(),
            settings,
            at: clock::utc_now(),
            by: "host".to_owned(),
        };
        if let Some(topic) = topics.get(instance) {
            let mut store = topic.store.lock();
            store.redeclare(declared).map_err(bad_declaration)?;
            return Ok(opened(&store, true));
        }
        let store = Store::open(declared).map_err(bad_declaration)?;
        let opened = opened(&store, false);
        let topic = self.start_topic(instance, store)?;
        topics.insert(instance.to_owned(), topic);
        Ok(opened)
    }

    fn start_topic(&self, instance: &str, store: Store) -> Result<Arc<Topic>, Failure> {
        let (queue, requests) = mpsc::sync_channel(QUEUE_LEN_MAX);
        let name: Arc<str> = instance.into();
        self.shared.publish(&name, store.current());
        let topic = Arc::new(Topic {
            name,
            store: Mutex::new(store),
            changed: Condvar::new(),
            queue,
        });
        let writer = Writer {
            topic: Arc::downgrade(&topic),
            shared: Arc::clone(&self.shared),
            checks: Arc::clone(&self.checks),
            readers: Arc::clone(&self.readers),
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
        if caller == Caller::Checker {
            let text = "apply inside check would wait for the change that is being checked";
            return Err(failure(failure_kind::REENTRANT, text));
        }
        let by = format!("plugin:{instance}");
        let read = changes
            .iter()
            .map(|change| read_change(change, &by))
            .collect::<Result<Vec<_>, _>>()?;
        let (sender, receiver) = mpsc::sync_channel(1);
        let answer = Box::new(move |answers| {
            let _ = sender.try_send(answers);
        });
        self.enqueue(instance, read, answer)?;
        receiver
            .recv()
            .map_err(|_| closed(&format!("topic `{instance}`")))
    }

    /// Queues changes to a topic; `answer` is called once they are durable and visible, or refused.
    pub(crate) fn enqueue(
        &self,
        topic: &str,
        changes: Vec<store::Change>,
        answer: Box<dyn FnOnce(Answers) + Send>,
    ) -> Result<(), Failure> {
        let topic = self.topic(topic)?;
        match topic.queue.try_send(Request { changes, answer }) {
            Ok(()) => Ok(()),
            Err(mpsc::TrySendError::Full(_)) => {
                let text = format!(
                    "{QUEUE_LEN_MAX} changes of topic `{}` wait already",
                    topic.name
                );
                Err(failure(failure_kind::FULL, text))
            }
            Err(mpsc::TrySendError::Disconnected(_)) => {
                Err(closed(&format!("topic `{}`", topic.name)))
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

    /// Accepted changes, newest first.
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

    /// The patch from one kept generation to another; `to` 0 is the current one.
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
        Ok(store::canonical(&patch))
    }

    /// A topic's state, as `hotshoe_abi::Host::topic_status` says.
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
        let store = topic.store.lock();
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
            "durable": false,
            "generation": store.current().generation,
            "history": {"bytes": store.history_bytes(), "newest": page.newest, "oldest": page.oldest},
            "read_only": false,
            "readers": readers,
            "store": store.store_id(),
            "warnings": [],
        });
        Ok(store::canonical(&status))
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
        component_closed: &AtomicBool,
    ) -> Result<u64, Failure> {
        let topic = self.topic(topic)?;
        let until = clock::monotonic().saturating_add(timeout);
        let mut store = topic.store.lock();
        loop {
            let generation = store.current().generation;
            if generation > after {
                return Ok(generation);
            }
            if component_closed.load(Ordering::Acquire)
                || self.shared.closed.load(Ordering::Acquire)
            {
                return Err(closed(&format!("topic `{}`", topic.name)));
            }
            let left = until.saturating_sub(clock::monotonic());
            if left.is_zero() {
                return Ok(0);
            }
            topic.changed.wait_for(&mut store, left.min(CLOSED_POLL));
        }
    }

    /// Ends every wait and every writer. What was acknowledged stays readable.
    pub(crate) fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
        let topics = std::mem::take(&mut *self.topics.lock());
        for topic in topics.values() {
            topic.changed.notify_all();
        }
    }
}

impl Shared {
    fn set(&self, epoch: u64) -> Result<Arc<ConfigSet>, Failure> {
        let set = self.sets.lock().get(&epoch).and_then(Weak::upgrade);
        set.ok_or_else(|| {
            failure(
                failure_kind::EPOCH,
                format!("nobody pins the config set of epoch {epoch}"),
            )
        })
    }

    /// Keeps a set that was made elsewhere; current where it is newer than what is.
    fn install(&self, set: ConfigSet) -> Arc<ConfigSet> {
        let mut current = self.current.write();
        let mut sets = self.sets.lock();
        if let Some(known) = sets
            .get(&set.epoch)
            .and_then(Weak::upgrade)
            .filter(|known| known.epoch > 1)
        {
            return known;
        }
        let set = Arc::new(set);
        sets.retain(|_, set| set.strong_count() > 0);
        sets.insert(set.epoch, Arc::downgrade(&set));
        if set.epoch > current.epoch {
            *current = Arc::clone(&set);
            self.word.store(set.epoch, Ordering::Release);
        }
        set
    }

    /// Swaps in a set with one topic's new entry, then advances the word.
    fn publish(&self, topic: &str, entry: &store::Entry) {
        let mut current = self.current.write();
        let document = Document {
            generation: entry.generation,
            bytes: Arc::clone(&entry.document),
        };
        let mut topics = current.topics.clone();
        topics.insert(topic.to_owned(), document);
        let set = Arc::new(ConfigSet {
            epoch: current.epoch + 1,
            topics,
        });
        let mut sets = self.sets.lock();
        sets.retain(|_, set| set.strong_count() > 0);
        sets.insert(set.epoch, Arc::downgrade(&set));
        drop(sets);
        let epoch = set.epoch;
        *current = set;
        // After the swap: whoever sees the word finds the set.
        self.word.store(epoch, Ordering::Release);
    }
}

/// The one writer of a topic.
struct Writer {
    /// Weak: a closed service ends its writers by dropping the queue's sender with the topic.
    topic: Weak<Topic>,
    shared: Arc<Shared>,
    checks: Checks,
    readers: Arc<Mutex<Readers>>,
}

impl Writer {
    fn run(&self, requests: &mpsc::Receiver<Request>) {
        loop {
            let deadline = self
                .topic
                .upgrade()
                .and_then(|topic| topic.store.lock().next_deadline());
            let first = match deadline {
                None => requests.recv().ok(),
                Some(deadline) => {
                    match requests.recv_timeout(deadline.saturating_sub(clock::monotonic())) {
                        Ok(request) => Some(request),
                        Err(mpsc::RecvTimeoutError::Timeout) => {
                            self.tick();
                            continue;
                        }
                        Err(mpsc::RecvTimeoutError::Disconnected) => None,
                    }
                }
            };
            let Some(first) = first else { return };
            let mut group = vec![first];
            group.extend(requests.try_iter().take(GROUP_LEN_MAX - 1));
            for request in group {
                let answers = request
                    .changes
                    .iter()
                    .map(|change| self.change(change))
                    .collect();
                (request.answer)(answers);
            }
        }
    }

    /// A provisional change whose time has come goes back by itself.
    fn tick(&self) {
        let Some(topic) = self.topic.upgrade() else {
            return;
        };
        let candidate = topic.store.lock().tick(clock::monotonic());
        if let Some(candidate) = candidate {
            self.commit(&topic, candidate);
        }
    }

    fn change(&self, change: &store::Change) -> Result<Applied, ChangeError> {
        let Some(topic) = self.topic.upgrade() else {
            return Err(refusal(Refused::new(
                "shutting-down",
                "the host is stopping",
            )));
        };
        loop {
            self.tick();
            let (evaluated, current) = {
                let store = topic.store.lock();
                (
                    store.evaluate(change, clock::monotonic()),
                    Arc::clone(&store.current().document),
                )
            };
            match evaluated.map_err(refusal)? {
                Evaluated::NoOp(applied) => return Ok(answer(applied)),
                Evaluated::DryRun(dry_run) => {
                    if dry_run.asks_checkers {
                        let proposal = proposal(&topic, &dry_run.document, &current, true);
                        self.ask_checkers(&proposal, dry_run.generation)
                            .map_err(refusal)?;
                    }
                    return Ok(dry_run_answer(&dry_run, &current));
                }
                Evaluated::Candidate(candidate) => {
                    if matches!(change.operation, Operation::Confirm { .. }) {
                        self.no_reader_objects(&topic, candidate.on())
                            .map_err(refusal)?;
                    }
                    if let Some(document) =
                        candidate.document().filter(|_| candidate.asks_checkers())
                    {
                        let proposal = proposal(&topic, document, &current, false);
                        self.ask_checkers(&proposal, candidate.on())
                            .map_err(refusal)?;
                    }
                    // The topic may have been declared again while checkers were thinking: then all of it is asked anew.
                    if let Some(applied) = self.commit(&topic, candidate) {
                        return Ok(answer(applied));
                    }
                }
            }
        }
    }

    /// A generation that a reader cannot decode is not confirmed: it goes back by itself.
    fn no_reader_objects(&self, topic: &Topic, generation: u64) -> Result<(), Refused> {
        let readers = self.readers.lock();
        let objects = |(_, reading): &(&str, &Reading)| {
            reading.generation == generation && reading.nack.is_some()
        };
        match readers.of(&topic.name).find(objects) {
            None => Ok(()),
            Some((reader, reading)) => {
                let why = reading.nack.as_deref().unwrap_or_default();
                let text = format!("{reader} cannot decode generation {generation}: {why}");
                Err(Refused::new("readers-nacked", text).on(generation))
            }
        }
    }

    /// Asks one after another, in init order; the first objection decides. No lock is held meanwhile.
    fn ask_checkers(&self, proposal: &Proposal, generation: u64) -> Result<(), Refused> {
        let checkers = self
            .checks
            .read()
            .get(&*proposal.topic)
            .cloned()
            .unwrap_or_default();
        for checker in checkers {
            let (sender, receiver) = mpsc::sync_channel(1);
            let verdict_to: VerdictTo = Box::new(move |verdict| {
                let _ = sender.try_send(verdict);
            });
            (checker.ask)(proposal.clone(), verdict_to);
            let verdict = receiver.recv_timeout(checker.deadline);
            veto(&checker, verdict).map_err(|refused| refused.on(generation))?;
        }
        Ok(())
    }

    /// Makes a candidate current and visible; `None` where it no longer fits what is declared.
    fn commit(&self, topic: &Topic, candidate: store::Candidate) -> Option<store::Applied> {
        let mut store = topic.store.lock();
        if !store.fits(&candidate) {
            return None;
        }
        let applied = store.commit(candidate, &clock::utc_now());
        if Some(applied.generation) != self.published(&topic.name) {
            self.shared.publish(&topic.name, store.current());
        }
        drop(store);
        topic.changed.notify_all();
        Some(applied)
    }

    fn published(&self, topic: &str) -> Option<u64> {
        self.shared
            .current
            .read()
            .topics
            .get(topic)
            .map(|document| document.generation)
    }
}

fn proposal(topic: &Topic, candidate: &Arc<[u8]>, current: &Arc<[u8]>, dry_run: bool) -> Proposal {
    Proposal {
        topic: Arc::clone(&topic.name),
        candidate: Arc::clone(candidate),
        current: Arc::clone(current),
        dry_run,
    }
}

fn dry_run_answer(dry_run: &store::DryRun, current: &Arc<[u8]>) -> Applied {
    Applied {
        changed: dry_run.changed,
        durable: false,
        generation: dry_run.generation,
        parent: dry_run.generation.saturating_sub(1),
        op: "dry-run".into(),
        document: current.to_vec().into(),
        touched: "".into(),
        patch: store::canonical(&dry_run.patch).into(),
        confirm: "".into(),
    }
}

/// What a checker's verdict means for the change.
fn veto(
    checker: &CheckedBy,
    verdict: Result<Result<Option<Veto>, Failure>, mpsc::RecvTimeoutError>,
) -> Result<(), Refused> {
    let name = &checker.instance;
    match verdict {
        Ok(Ok(None)) => Ok(()),
        Ok(Ok(Some(veto))) => {
            Err(Refused::new("plugin-veto", veto.reason.as_str()).at(veto.pointer.as_str()))
        }
        Err(mpsc::RecvTimeoutError::Timeout) => {
            let text = format!(
                "plugin `{name}` did not say within {} ms",
                checker.deadline.as_millis()
            );
            Err(Refused::new("veto-timeout", text))
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(Refused::new(
            "veto-timeout",
            format!("the checker of plugin `{name}` is gone"),
        )),
        Ok(Err(failure)) if failure.kind == failure_kind::PANIC => Err(Refused::new(
            "veto-panicked",
            format!("the checker of plugin `{name}` panicked"),
        )),
        Ok(Err(failure))
            if matches!(failure.kind, failure_kind::TIMEOUT | failure_kind::CLOSED) =>
        {
            let text = format!(
                "the checker of plugin `{name}` cannot answer: {}",
                failure.message
            );
            Err(Refused::new("veto-timeout", text))
        }
        Ok(Err(failure)) => {
            let text = format!(
                "the checker of plugin `{name}`: {}: {}",
                kind_name(failure.kind),
                failure.message
            );
            Err(Refused::new("plugin-veto", text))
        }
    }
}

fn store_id() -> String {
    // Random through the standard library's hasher keys: an id to tell stores apart, not a secret.
    use std::hash::{BuildHasher as _, RandomState};
    let random = RandomState::new().hash_one(clock::monotonic());
    format!("{:08x}", random as u32)
}

fn opened(store: &Store, recovered: bool) -> Opened {
    Opened {
        generation: store.current().generation,
        recovered,
        durable: false,
        store: store.store_id().into(),
    }
}

fn bad_declaration(error: DeclareError) -> Failure {
    Failure {
        code: error.code.into(),
        ..failure(failure_kind::ERROR, error.message)
    }
}

/// The store's settings as they cross (see `hotshoe_abi::Declaration::settings`).
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawSettings {
    touch: Option<RawTouch>,
    state: String,
    history_generations: usize,
    history_bytes: usize,
    value_len_max: usize,
    require_if_match: bool,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTouch {
    step: i64,
    #[serde(default = "touch_pointer")]
    pointer: String,
}

fn touch_pointer() -> String {
    "/value".to_owned()
}

impl Default for RawSettings {
    fn default() -> Self {
        let default = StoreSettings::default();
        Self {
            touch: None,
            state: "memory".to_owned(),
            history_generations: default.history_generations,
            history_bytes: default.history_bytes,
            value_len_max: default.value_len_max,
            require_if_match: default.require_if_match,
        }
    }
}

fn read_settings(bytes: &[u8]) -> Result<StoreSettings, Failure> {
    let bad = |text: String| Failure {
        code: "config-bad-setting".into(),
        ..failure(failure_kind::ERROR, text)
    };
    let raw: RawSettings =
        serde_json::from_slice(bytes).map_err(|error| bad(format!("store settings: {error}")))?;
    if raw.state != "memory" {
        let shown = store::echo_text(&raw.state);
        return Err(bad(format!(
            "state = \"{shown}\": this version keeps topics in memory; allowed: \"memory\""
        )));
    }
    Ok(StoreSettings {
        touch: raw.touch.map(|touch| store::Touch {
            pointer: touch.pointer,
            step: touch.step,
        }),
        value_len_max: raw.value_len_max,
        history_generations: raw.history_generations,
        history_bytes: raw.history_bytes,
        require_if_match: raw.require_if_match,
    })
}

fn read_change(change: &Change<'_>, by: &str) -> Result<store::Change, Failure> {
    let document = || -> Result<Value, Failure> {
        // The store's own reader: it keeps every digit and takes no member twice.
        store::parse(change.document.as_slice(), store::DEPTH_MAX).map_err(|fault| {
            let text = format!(
                "a change's document is not JSON: byte {}: {}",
                fault.offset, fault.detail
            );
            failure(failure_kind::ERROR, text)
        })
    };
    let pointer = change.text.pointer.as_str().to_owned();
    let generation = (change.generation != u64::MAX).then_some(change.generation);
    let operation = match change.op {
        change_op::SET => Operation::Set {
            pointer,
            value: document()?,
        },
        change_op::REMOVE => Operation::Remove { pointer },
        change_op::JSON_PATCH => Operation::JsonPatch {
            pointer,
            ops: document()?,
        },
        change_op::MERGE_PATCH => Operation::MergePatch {
            pointer,
            document: document()?,
        },
        change_op::TOUCH => Operation::Touch,
        change_op::RESET => Operation::Reset,
        change_op::ROLLBACK => Operation::Rollback { to: generation },
        change_op::CONFIRM => Operation::Confirm { generation },
        other => {
            return Err(failure(
                failure_kind::UNSUPPORTED,
                format!("this host knows no change operation {other}"),
            ));
        }
    };
    Ok(store::Change {
        operation,
        expect: match change.expect.as_slice() {
            [] => Expect::Absent,
            [u64::MAX] => Expect::Any,
            generations => Expect::OneOf(generations.to_vec()),
        },
        dry_run: change.dry_run,
        confirm: (change.confirm_s != 0).then(|| Duration::from_secs(u64::from(change.confirm_s))),
        by: match change.text.by.as_str() {
            "" => by.to_owned(),
            by => by.to_owned(),
        },
    })
}

fn answer(applied: store::Applied) -> Applied {
    let confirm = applied
        .confirm
        .map(|confirm| json!({"base": confirm.base, "deadline": confirm.deadline}));
    Applied {
        changed: applied.changed,
        durable: false,
        generation: applied.generation,
        parent: applied.parent,
        op: applied.op.as_str().into(),
        document: applied.document.to_vec().into(),
        touched: applied
            .touched
            .map_or_else(String::new, |number| number.to_string())
            .into(),
        patch: Vec::new().into(),
        confirm: confirm
            .map_or_else(String::new, |confirm| confirm.to_string())
            .into(),
    }
}

fn refusal(refused: Refused) -> ChangeError {
    let refused = refused.into_refusal();
    let violations: Vec<Value> = refused
        .violations
        .iter()
        .map(|violation| json!({"detail": violation.detail, "pointer": violation.pointer}))
        .collect();
    ChangeError {
        slug: refused.slug.into(),
        detail: refused.detail.into(),
        hint: refused.hint.unwrap_or_default().into(),
        has_pointer: refused.pointer.is_some(),
        pointer: refused.pointer.unwrap_or_default().into(),
        generation: refused.generation.unwrap_or(0),
        operation: refused
            .operation
            .and_then(|index| i64::try_from(index).ok())
            .unwrap_or(-1),
        retry_after_s: refused.retry_after.map_or(0, |after| {
            u32::try_from(after.as_secs_f64().ceil() as u64).unwrap_or(u32::MAX)
        }),
        violations: match violations.is_empty() {
            true => Vec::new().into(),
            false => store::canonical(&Value::Array(violations)).into(),
        },
    }
}

fn history_entry(entry: &store::Entry) -> HistoryEntry {
    let mut item = json!({
        "at": entry.at,
        "by": entry.by,
        "confirm": entry.confirm.as_ref().map(|mark| mark.outcome.as_str()),
        "generation": entry.generation,
        "op": entry.op.as_str(),
        "parent": entry.parent,
    });
    if let Value::Object(members) = &mut item {
        members.extend(entry.from.map(|from| ("from".to_owned(), from.into())));
        members.extend(
            entry
                .reason
                .clone()
                .map(|reason| ("reason".to_owned(), reason.into())),
        );
    }
    HistoryEntry {
        generation: entry.generation,
        item: store::canonical(&item).into(),
        document: entry.document.to_vec().into(),
    }
}
