//! The store of one live-configuration topic: what a change means, and every generation that came of one.
//!
//! Pure: it reads no clock, opens no file, starts no thread and logs nothing; times and random ids are arguments. Its
//! owner (`services/config.rs`) is one writer that, per change, calls [`Store::evaluate`], asks the checkers, writes the
//! journal, calls [`Store::commit`] and publishes [`Store::current`]. A group of changes is evaluated one on top of the
//! other by committing each to a clone: if the journal refuses the group, the clone is dropped and nothing happened.
//!
//! Invariant: an evaluation changes nothing. Invariant: every document in a store is canonical, within its limits and,
//! but for a recovered one that only waits to be rolled back, valid under the schema in force.

mod change;
mod confirm;
mod declare;
mod diff;
mod edit;
mod evaluate;
mod history;
mod json;
mod openness;
mod patch;
mod pointer;
mod schema;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use hotshoe_json::{DEPTH_MAX, canonical};
use serde_json::Value;

use change::{CandidateKind, SetCandidate};
use confirm::Transition;
use declare::Terms;
use history::History;

pub use change::{
    Applied, Candidate, Change, ChangeError, Confirming, DeclareError, DryRun, Entry, Evaluated,
    Expect, Missing, Op, Operation, Refusal, Violation,
};
pub use confirm::{ConfirmMark, Outcome, PENDING_MAX, Pending};
pub use declare::{
    Declaration, HISTORY_BYTES_MIN, HISTORY_GENERATIONS_MIN, StoreSettings, Touch,
    VALUE_LEN_LIMIT_BYTES,
};
pub use history::Page;
pub use patch::OPERATIONS_MAX;
pub use pointer::SEGMENTS_MAX;
pub use schema::{VIOLATIONS_MAX, builtin_schema};

/// One topic's generations. A clone shares all documents and costs one count per kept generation.
#[derive(Debug, Clone)]
pub struct Store {
    topic: Arc<str>,
    store_id: Arc<str>,
    terms: Arc<Terms>,
    /// How often the topic was declared again.
    edition: u64,
    history: History,
    value: Arc<Value>,
    pending: Option<Pending>,
}

/// The text of the pointer that `text` is, where it is one: for the fuzzer.
#[cfg(fuzzing)]
pub fn pointer_text(text: &str) -> Option<String> {
    pointer::Pointer::parse(text)
        .ok()
        .map(|pointer| pointer.to_string())
}

impl Store {
    /// A new store, whose generation 1 is the initial value.
    ///
    /// Errors: `config-bad-setting`, `config-schema-open`.
    pub fn open(declaration: Declaration<'_>) -> Result<Self, DeclareError> {
        let terms = Terms::check(&declaration)?;
        let entry = Arc::new(Entry {
            generation: 1,
            parent: 0,
            op: Op::Initial,
            at: declaration.at,
            by: declaration.by,
            from: None,
            reason: None,
            confirm: None,
            document: canonical(&terms.initial).into(),
        });
        let limits = (
            terms.settings.history_generations,
            terms.settings.history_bytes,
        );
        Ok(Self {
            topic: declaration.topic.into(),
            store_id: declaration.store_id.into(),
            value: Arc::new(terms.initial.clone()),
            terms: Arc::new(terms),
            edition: 0,
            history: History::new(entry, limits.0, limits.1),
            pending: None,
        })
    }

    /// The store that a journal holds: `entries`, oldest first, the newest one current.
    ///
    /// A newest entry that still waits for its confirmation makes the store pending with a deadline of zero; the caller
    /// commits [`Store::restart_rollback`] before anybody reads. `declaration.at` and `by` are not used.
    ///
    /// Errors: those of [`Store::open`]; `config-state-corrupt` for generations that do not ascend from 1, a missing base,
    /// or a newest value that is not canonical; `config-state-schema` where the value that will be current is not valid
    /// under today's schema.
    pub fn restore(
        declaration: Declaration<'_>,
        entries: Vec<Entry>,
    ) -> Result<Self, DeclareError> {
        let corrupt = |why: &str| DeclareError::new("config-state-corrupt", why);
        let ascending = entries
            .windows(2)
            .all(|pair| pair[0].generation < pair[1].generation);
        if !ascending || entries.first().is_some_and(|entry| entry.generation == 0) {
            return Err(corrupt("the generations do not ascend from 1"));
        }
        let mut store = Self::open(declaration)?;
        let mut entries = entries.into_iter().map(Arc::new);
        let first = entries.next().ok_or_else(|| corrupt("no generation"))?;
        let settings = &store.terms.settings;
        let (generations, bytes) = (settings.history_generations, settings.history_bytes);
        let mut history = History::new(Arc::clone(&first), generations, bytes);
        let mut all = vec![first];
        for entry in entries {
            all.push(Arc::clone(&entry));
            history.push(entry);
        }
        let head = Arc::clone(history.current());
        let waiting = head
            .confirm
            .as_ref()
            .filter(|mark| mark.outcome == Outcome::Pending);
        if let Some(mark) = waiting {
            let base = all
                .iter()
                .find(|entry| entry.generation == mark.base)
                .ok_or_else(|| corrupt("the base of the pending generation is missing"))?;
            store.pending = Some(Pending {
                base: Arc::clone(base),
                deadline: Duration::ZERO,
                since: Duration::ZERO,
                deadline_utc: mark.deadline.clone(),
            });
        }
        let unreadable = |_| corrupt("the newest value, or its base, is not a canonical document");
        let served = store.pending.as_ref().map_or(&head, |p| &p.base);
        store.valid_today(&read(served).map_err(unreadable)?)?;
        store.value = Arc::new(read(&head).map_err(unreadable)?);
        store.history = history;
        Ok(store)
    }

    /// The same topic declared again, by a plugin that was reloaded or restarted: its generations stay, the new schema,
    /// initial value and settings are in force from here. `declaration.store_id`, `at` and `by` are not used.
    ///
    /// Errors: those of [`Store::open`]; `config-state-schema` if the current value, or the base it may go back to, is
    /// not valid under the new schema. Nothing is changed then.
    pub fn redeclare(&mut self, declaration: Declaration<'_>) -> Result<(), DeclareError> {
        let mut next = self.clone();
        next.terms = Arc::new(Terms::check(&declaration)?);
        next.edition += 1;
        next.valid_today(&self.value)?;
        if let Some(pending) = &self.pending {
            next.valid_today(&read_base(&pending.base))?;
        }
        let settings = &next.terms.settings;
        let (generations, bytes) = (settings.history_generations, settings.history_bytes);
        next.history.limit(generations, bytes);
        *self = next;
        Ok(())
    }

    /// Whether the value of `entry` could be current today: canonical, and valid under the schema.
    #[must_use]
    pub fn admits(&self, entry: &Entry) -> bool {
        read(entry).is_ok_and(|value| self.terms.schema.faults(&value).is_empty())
    }

    /// Whether `other` was declared together with this one: what was evaluated on one may be committed to the other.
    #[must_use]
    pub fn same_terms(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.terms, &other.terms)
    }

    /// The oldest generation that has to be kept: of the history, or the base of a pending one.
    #[must_use]
    pub fn oldest_needed(&self) -> u64 {
        let base = self.pending.as_ref().map(|p| p.base.generation);
        base.unwrap_or(u64::MAX).min(self.history.oldest())
    }

    fn valid_today(&self, value: &Value) -> Result<(), DeclareError> {
        match self.terms.schema.faults(value).into_iter().next() {
            None => Ok(()),
            Some(fault) => Err(DeclareError::new(
                "config-state-schema",
                format!(
                    "the current value of {} is not valid under the schema: {} (at \"{}\")",
                    self.topic, fault.detail, fault.pointer
                ),
            )
            .at(fault.pointer)),
        }
    }

    /// The instance's name.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The random id, 8 hex digits.
    #[must_use]
    pub fn store_id(&self) -> &str {
        &self.store_id
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &StoreSettings {
        &self.terms.settings
    }

    /// The schema in force, in canonical form.
    #[must_use]
    pub fn schema(&self) -> &Arc<[u8]> {
        self.terms.schema.text()
    }

    /// The current generation.
    #[must_use]
    pub fn current(&self) -> &Arc<Entry> {
        self.history.current()
    }

    /// The current value.
    #[must_use]
    pub fn value(&self) -> &Arc<Value> {
        &self.value
    }

    /// What waits for confirmation.
    #[must_use]
    pub fn pending(&self) -> Option<&Pending> {
        self.pending.as_ref()
    }

    /// When [`Store::tick`] will have something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.pending.as_ref().map(|pending| pending.deadline)
    }

    /// A page of the history, newest first: at most `limit` entries older than `before`.
    #[must_use]
    pub fn history(&self, before: Option<u64>, limit: usize) -> Page {
        self.history.page(before, limit)
    }

    /// Bytes that the kept history counts for.
    #[must_use]
    pub fn history_bytes(&self) -> usize {
        self.history.bytes()
    }

    /// The entries after `generation`, oldest first, at most `limit`: what a watcher's cursor asks.
    ///
    /// Errors: the cursor cannot go on from there without a gap and must be reset.
    pub fn since(&self, generation: u64, limit: usize) -> Result<Vec<Arc<Entry>>, Missing> {
        self.history.since(generation, limit)
    }

    /// One kept generation; the base of a pending one is always kept.
    pub fn entry(&self, generation: u64) -> Result<&Arc<Entry>, Missing> {
        let base = self.pending.as_ref().map(|pending| &pending.base);
        match base.filter(|base| base.generation == generation) {
            Some(base) => Ok(self.history.entry(generation).unwrap_or(base)),
            None => self.history.entry(generation),
        }
    }

    /// The RFC 6902 patch from one kept generation to another.
    pub fn diff(&self, from: u64, to: u64) -> Result<Value, Missing> {
        let (from, to) = (self.entry(from)?, self.entry(to)?);
        Ok(diff::diff(&read(from)?, &read(to)?))
    }

    /// The way back of a change that was not confirmed in time; `None` while there is still time, or nothing pending.
    #[must_use]
    pub fn tick(&self, now: Duration) -> Option<Candidate> {
        let pending = self.pending.as_ref().filter(|p| now >= p.deadline)?;
        Some(self.return_to(&pending.base, "deadline", Outcome::Expired))
    }

    /// The way back after a restart, whatever the deadline; `None` if nothing is pending.
    #[must_use]
    pub fn restart_rollback(&self) -> Option<Candidate> {
        let pending = self.pending.as_ref()?;
        Some(self.return_to(&pending.base, "restart", Outcome::Restart))
    }

    fn return_to(&self, base: &Entry, reason: &'static str, outcome: Outcome) -> Candidate {
        Candidate {
            on: self.current().generation,
            edition: self.edition,
            kind: CandidateKind::Set(SetCandidate {
                op: Op::AutoRollback,
                by: "host".to_owned(),
                from: None,
                reason: Some(reason),
                value: Arc::new(read_base(base)),
                document: Arc::clone(&base.document),
                touched: None,
                transition: Transition::Return(outcome),
            }),
        }
    }

    /// Whether `candidate` was evaluated on what is current and declared now. An owner that lets go of the store while
    /// checkers think asks this before it commits, and evaluates again if it says no.
    #[must_use]
    pub fn fits(&self, candidate: &Candidate) -> bool {
        (candidate.on, candidate.edition) == (self.current().generation, self.edition)
    }

    /// Makes `candidate` current, or the pending generation stay. `at`: UTC, RFC 3339 with microseconds.
    ///
    /// # Panics
    /// If another candidate was committed since `candidate` was evaluated: see [`Store::fits`].
    pub fn commit(&mut self, candidate: Candidate, at: &str) -> Applied {
        let head = Arc::clone(self.current());
        assert_eq!(
            candidate.on, head.generation,
            "a candidate is committed on the generation it was evaluated on"
        );
        let set = match candidate.kind {
            CandidateKind::Set(set) => set,
            CandidateKind::Confirm => {
                self.mark(&head, Outcome::Confirmed);
                self.pending = None;
                return Applied {
                    changed: false,
                    confirmed: true,
                    ..self.answer(head.op, None)
                };
            }
        };
        let mut confirm = None;
        match set.transition {
            Transition::Stay => {}
            Transition::Return(outcome) => {
                self.mark(&head, outcome);
                self.pending = None;
            }
            Transition::Wait {
                base,
                since,
                deadline,
                left,
            } => {
                self.mark(&head, Outcome::Superseded);
                let deadline_utc = confirm::later(at, left);
                confirm = Some(ConfirmMark {
                    base: base.generation,
                    deadline: deadline_utc.clone(),
                    outcome: Outcome::Pending,
                });
                self.pending = Some(Pending {
                    base,
                    deadline,
                    since,
                    deadline_utc,
                });
            }
        }
        self.history.push(Arc::new(Entry {
            generation: head.generation + 1,
            parent: head.generation,
            op: set.op,
            at: at.to_owned(),
            by: set.by,
            from: set.from,
            reason: set.reason.map(str::to_owned),
            confirm,
            document: set.document,
        }));
        self.value = set.value;
        Applied {
            changed: true,
            ..self.answer(set.op, set.touched)
        }
    }

    /// Writes into the history how the provisional generation `entry` ended; does nothing to any other.
    fn mark(&mut self, entry: &Entry, outcome: Outcome) {
        if self.pending.is_none() {
            return;
        }
        let mut entry = entry.clone();
        if let Some(mark) = &mut entry.confirm {
            mark.outcome = outcome;
            self.history.replace(entry);
        }
    }

    fn answer(&self, op: Op, touched: Option<i64>) -> Applied {
        let current = self.current();
        Applied {
            changed: false,
            confirmed: false,
            generation: current.generation,
            parent: current.parent,
            op,
            confirm: self.pending.as_ref().map(|pending| Confirming {
                base: pending.base.generation,
                deadline: pending.deadline_utc.clone(),
            }),
            document: Arc::clone(&current.document),
            touched,
        }
    }
}

/// The value of an entry. What a journal held is looked at here, when it is asked for, and not at every start.
///
/// Errors: an entry whose document is not canonical is no longer there for anybody.
fn read(entry: &Entry) -> Result<Value, Missing> {
    let value = hotshoe_json::read(&entry.document, DEPTH_MAX).ok();
    value
        .filter(|value| canonical(value) == *entry.document)
        .ok_or(Missing::Gone(entry.generation))
}

fn read_base(base: &Entry) -> Value {
    read(base).expect("a base was current before, or was read when the store was restored")
}
