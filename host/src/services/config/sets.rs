//! Config sets: what all topics are at one moment, as readers pin it. A set is immutable; a change swaps one pointer and then
//! advances one word. Nothing here waits, decides or writes to a disk.

use crate::{machine::store, services::failure::failure};
use hotshoe_abi::{Failure, failure_kind};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// Everything that readers can see at one moment. Immutable.
#[derive(Debug, Default)]
pub(crate) struct ConfigSet {
    pub(crate) epoch: u64,
    pub(super) topics: BTreeMap<String, Document>,
}

#[derive(Debug, Clone)]
pub(super) struct Document {
    pub(super) generation: u64,
    pub(super) bytes: Arc<[u8]>,
}

/// Keeps a config set alive, for a task and all its attempts.
#[derive(Debug, Clone)]
pub(crate) struct Pin(pub(super) Arc<ConfigSet>);

impl Pin {
    pub(crate) fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// What is in the set: topic, generation, canonical document.
    pub(crate) fn topics(&self) -> impl Iterator<Item = (&str, u64, &Arc<[u8]>)> {
        let topics = self.0.topics.iter();
        topics.map(|(name, document)| (name.as_str(), document.generation, &document.bytes))
    }

    /// The set as bytes; [`super::ConfigService::install`] reads them.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let topics = self.topics().map(|(name, generation, document)| {
            let text = String::from_utf8_lossy(document).into_owned();
            (name.to_owned(), generation, text)
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
pub(super) struct EncodedSet {
    pub(super) epoch: u64,
    pub(super) topics: Vec<(String, u64, String)>,
}

/// The sets of a host, and the word that names the newest.
pub(super) struct Shared {
    pub(super) current: RwLock<Arc<ConfigSet>>,
    /// Sets that somebody may still pin; the current one is kept by `current`.
    pub(super) sets: Mutex<BTreeMap<u64, Weak<ConfigSet>>>,
    /// The newest epoch. Leaked, a page a host: plugins read it for as long as they like.
    pub(super) word: &'static AtomicU64,
    pub(super) closed: AtomicBool,
}

impl Shared {
    pub(super) fn set(&self, epoch: u64) -> Result<Arc<ConfigSet>, Failure> {
        let set = self.sets.lock().get(&epoch).and_then(Weak::upgrade);
        set.ok_or_else(|| {
            failure(
                failure_kind::EPOCH,
                format!("nobody pins the config set of epoch {epoch}"),
            )
        })
    }

    /// Keeps a set that was made elsewhere; current where it is newer than what is.
    pub(super) fn install(&self, set: ConfigSet) -> Arc<ConfigSet> {
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
    pub(super) fn publish(&self, topic: &str, entry: &store::Entry) {
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
