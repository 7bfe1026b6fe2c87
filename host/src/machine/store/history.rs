//! The kept generations: which ones stay, which ones a page shows. Holds entries, decides nothing about changes.

use std::{collections::VecDeque, sync::Arc};

use super::change::{Entry, Missing};

/// What an entry costs beside its document, in bytes: about what its journal line says of it.
const ENTRY_OVERHEAD_BYTES: usize = 128;

/// Generations that are kept whatever they weigh: the current one and its parent.
const KEPT_ALWAYS: usize = 2;

/// A part of the history, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The entries.
    pub items: Vec<Arc<Entry>>,
    /// The current generation.
    pub newest: u64,
    /// What to ask `before` next; `None` when there is no more.
    pub next: Option<u64>,
    /// The oldest kept generation.
    pub oldest: u64,
}

/// Oldest first; never empty. Cloning it shares the entries.
#[derive(Debug, Clone)]
pub(super) struct History {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    generations_max: usize,
    bytes_max: usize,
}

impl History {
    pub(super) fn new(first: Arc<Entry>, generations_max: usize, bytes_max: usize) -> Self {
        Self {
            bytes: cost(&first),
            entries: VecDeque::from([first]),
            generations_max,
            bytes_max,
        }
    }

    pub(super) fn current(&self) -> &Arc<Entry> {
        self.entries.back().expect("a history is never empty")
    }

    pub(super) fn oldest(&self) -> u64 {
        self.entries.front().map_or(0, |entry| entry.generation)
    }

    /// Bytes that the kept entries count for.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn limit(&mut self, generations_max: usize, bytes_max: usize) {
        self.generations_max = generations_max;
        self.bytes_max = bytes_max;
        self.retain();
    }

    pub(super) fn push(&mut self, entry: Arc<Entry>) {
        self.bytes += cost(&entry);
        self.entries.push_back(entry);
        self.retain();
    }

    /// Kept: the newest `generations_max`, as far as all that came after is within `bytes_max` (config-api §9).
    fn retain(&mut self) {
        while let Some(oldest) = self.entries.front() {
            let after = self.bytes - cost(oldest);
            let kept = self.entries.len() <= self.generations_max && after <= self.bytes_max;
            if kept || self.entries.len() <= KEPT_ALWAYS {
                return;
            }
            self.bytes = after;
            self.entries.pop_front();
        }
    }

    pub(super) fn entry(&self, generation: u64) -> Result<&Arc<Entry>, Missing> {
        if generation == 0 || generation > self.current().generation {
            return Err(Missing::NotFound(generation));
        }
        self.position(generation)
            .map(|i| &self.entries[i])
            .ok_or(Missing::Gone(generation))
    }

    /// By search: generations ascend, but a recovery may have skipped some.
    fn position(&self, generation: u64) -> Option<usize> {
        self.entries
            .binary_search_by_key(&generation, |entry| entry.generation)
            .ok()
    }

    /// Puts another entry in place of the one of its generation, if that is still kept.
    pub(super) fn replace(&mut self, entry: Entry) {
        if let Some(i) = self.position(entry.generation) {
            self.entries[i] = Arc::new(entry);
        }
    }

    pub(super) fn page(&self, before: Option<u64>, limit: usize) -> Page {
        let end = before.map_or(self.entries.len(), |before| {
            self.entries
                .partition_point(|entry| entry.generation < before)
        });
        let start = end.saturating_sub(limit);
        let items: Vec<_> = self.entries.range(start..end).rev().cloned().collect();
        Page {
            next: items.last().filter(|_| start > 0).map(|e| e.generation),
            items,
            newest: self.current().generation,
            oldest: self.oldest(),
        }
    }

    pub(super) fn since(&self, generation: u64, limit: usize) -> Result<Vec<Arc<Entry>>, Missing> {
        if generation > self.current().generation {
            return Err(Missing::NotFound(generation));
        }
        // The asked-for point itself need not be kept, only everything after it.
        if generation.saturating_add(1) < self.oldest() {
            return Err(Missing::Gone(generation));
        }
        let start = self
            .entries
            .partition_point(|entry| entry.generation <= generation);
        Ok(self.entries.range(start..).take(limit).cloned().collect())
    }
}

fn cost(entry: &Entry) -> usize {
    entry.document.len() + ENTRY_OVERHEAD_BYTES
}
