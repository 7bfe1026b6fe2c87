//! What is asked of a store and what it answers, as plain values: operations, entries, answers, refusals.
//!
//! Slugs and the words of `op` are contract (config-api §3.1, §4); details and hints are for people and may change.
//! Nothing here decides anything.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;

use super::{
    confirm::{ConfirmMark, Transition},
    json::Fault,
};

/// What a change does. Pointers are RFC 6901 texts; values may come as any JSON parser made them.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// The whole document; a member (its parent exists); an array element, `-` for one more.
    Set {
        /// Where.
        pointer: String,
        /// What is there afterwards.
        value: Value,
    },
    /// A member or an element goes away; at the whole document it is [`Operation::Reset`].
    Remove {
        /// Which.
        pointer: String,
    },
    /// RFC 6902 operations on the addressed value, all or none.
    JsonPatch {
        /// The addressed value.
        pointer: String,
        /// The array of operations.
        ops: Value,
    },
    /// An RFC 7396 document, merged into the addressed value.
    MergePatch {
        /// The addressed value.
        pointer: String,
        /// The patch.
        document: Value,
    },
    /// The step of the touch setting is added to the integer that it names.
    Touch,
    /// The declared initial value again.
    Reset,
    /// An earlier value again.
    Rollback {
        /// Which generation; `None`: the base while a change waits for confirmation, else the current one's parent.
        to: Option<u64>,
    },
    /// The provisional generation stays.
    Confirm {
        /// Which one the caller means, if it says so.
        generation: Option<u64>,
    },
}

/// The precondition of a change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Expect {
    /// No `If-Match`.
    #[default]
    Absent,
    /// `If-Match: *`.
    Any,
    /// The strong tags of an `If-Match`; empty (weak tags alone) matches nothing.
    OneOf(Vec<u64>),
}

/// One change, as asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What to do.
    pub operation: Operation,
    /// On which generation.
    pub expect: Expect,
    /// Only say what would happen. [`Change::confirm`] is then without effect.
    pub dry_run: bool,
    /// Go back unless confirmed within this time.
    pub confirm: Option<Duration>,
    /// Who asks: `tcp:<ip>`, `unix:uid=<n>`, `plugin:<name>` or `host`.
    pub by: String,
}

/// How an entry came to be: `op` of config-api §3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// The declared value, generation 1.
    Initial,
    /// [`Operation::Set`].
    Put,
    /// [`Operation::Remove`] below the whole document.
    Delete,
    /// [`Operation::Reset`].
    Reset,
    /// [`Operation::JsonPatch`].
    JsonPatch,
    /// [`Operation::MergePatch`].
    MergePatch,
    /// [`Operation::Touch`].
    Touch,
    /// [`Operation::Rollback`].
    Rollback,
    /// A provisional change was not confirmed.
    AutoRollback,
    /// `--recover` continued from an earlier generation.
    Recover,
}

impl Op {
    const ALL: [Self; 10] = [
        Self::Initial,
        Self::Put,
        Self::Delete,
        Self::Reset,
        Self::JsonPatch,
        Self::MergePatch,
        Self::Touch,
        Self::Rollback,
        Self::AutoRollback,
        Self::Recover,
    ];

    /// The word of the contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Put => "put",
            Self::Delete => "delete",
            Self::Reset => "reset",
            Self::JsonPatch => "json-patch",
            Self::MergePatch => "merge-patch",
            Self::Touch => "touch",
            Self::Rollback => "rollback",
            Self::AutoRollback => "auto-rollback",
            Self::Recover => "recover",
        }
    }

    /// The op that a journal's word names.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.as_str() == word)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One generation: a line of the history and of the journal, and the snapshot that readers decode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// From 1, never reused.
    pub generation: u64,
    /// The generation it follows; 0 for the first.
    pub parent: u64,
    /// How it came to be.
    pub op: Op,
    /// When: UTC, RFC 3339 with microseconds.
    pub at: String,
    /// Who: see [`Change::by`].
    pub by: String,
    /// The generation whose value came back, with op `rollback`.
    pub from: Option<u64>,
    /// `deadline` or `restart`, with op `auto-rollback`.
    pub reason: Option<String>,
    /// Whether it had to be confirmed, and how that ended.
    pub confirm: Option<ConfirmMark>,
    /// The canonical document, without a line end.
    pub document: Arc<[u8]>,
}

/// The `confirm` member of a change answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirming {
    /// The generation whose value comes back.
    pub base: u64,
    /// When: UTC, RFC 3339 with microseconds.
    pub deadline: String,
}

/// A change answer (config-api §3.1). Whether it is durable is the caller's to add: the store writes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Whether there is a new generation.
    pub changed: bool,
    /// Whether this was a confirmation: the answer is then `{"confirmed":true,"generation":G}`.
    pub confirmed: bool,
    /// The current generation now.
    pub generation: u64,
    /// Its parent.
    pub parent: u64,
    /// What was done; for a no-op, what was asked; for a confirmation, how the confirmed generation came to be.
    pub op: Op,
    /// Whether the current generation waits for confirmation.
    pub confirm: Option<Confirming>,
    /// The current canonical document.
    pub document: Arc<[u8]>,
    /// The number after a touch.
    pub touched: Option<i64>,
}

/// What a change would do, as [`super::Store::evaluate`] found it.
#[derive(Debug, Clone)]
pub enum Evaluated {
    /// Its result is the current document: nothing to write, nothing to publish.
    NoOp(Applied),
    /// The answer of a dry run.
    DryRun(DryRun),
    /// To be vetoed, journaled and committed, in this order, or dropped.
    Candidate(Candidate),
}

/// The answer of a dry run.
#[derive(Debug, Clone, PartialEq)]
pub struct DryRun {
    /// Whether the change would make a generation.
    pub changed: bool,
    /// The current generation, which stays it.
    pub generation: u64,
    /// From the current document to the candidate, an RFC 6902 array.
    pub patch: Value,
    /// The candidate, canonical: what checkers are asked about, for a dry run stops after the veto (config-api §2).
    pub document: Arc<[u8]>,
    /// Whether they are asked: see [`Candidate::asks_checkers`]. Not for a change that changes nothing.
    pub asks_checkers: bool,
}

/// An accepted change that is not committed yet.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub(super) on: u64,
    pub(super) edition: u64,
    pub(super) kind: CandidateKind,
}

#[derive(Debug, Clone)]
pub(super) enum CandidateKind {
    Set(SetCandidate),
    Confirm,
}

#[derive(Debug, Clone)]
pub(super) struct SetCandidate {
    pub(super) op: Op,
    pub(super) by: String,
    pub(super) from: Option<u64>,
    pub(super) reason: Option<&'static str>,
    pub(super) value: Arc<Value>,
    pub(super) document: Arc<[u8]>,
    pub(super) touched: Option<i64>,
    pub(super) transition: Transition,
}

impl Candidate {
    /// The generation it was evaluated on, and must be committed on.
    #[must_use]
    pub const fn on(&self) -> u64 {
        self.on
    }

    /// The canonical document that would be current; `None` for a confirmation, which changes none.
    #[must_use]
    pub fn document(&self) -> Option<&Arc<[u8]>> {
        match &self.kind {
            CandidateKind::Set(set) => Some(&set.document),
            CandidateKind::Confirm => None,
        }
    }

    /// Whether checkers are asked. A confirmation and the way back to a base are not theirs to stop (config-api §8).
    #[must_use]
    pub fn asks_checkers(&self) -> bool {
        match &self.kind {
            CandidateKind::Set(set) => !matches!(set.transition, Transition::Return(_)),
            CandidateKind::Confirm => false,
        }
    }
}

/// One fault in the resulting document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The offending value: for an unknown member that member, for a missing one the object that lacks it.
    pub pointer: String,
    /// What is wrong with it.
    pub detail: String,
}

/// A refused change: nothing was changed. Its fields are those of the [`Refusal`] that it holds (in a box, so that the
/// results which carry it stay small).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeError(Box<Refusal>);

/// One row of config-api §4, filled in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refusal {
    /// The row.
    pub slug: &'static str,
    /// For people; echoes at most 64 bytes of what was sent, control characters escaped.
    pub detail: String,
    /// The offending value, from the root of the document.
    pub pointer: Option<String>,
    /// The current generation, where the answer's body names it.
    pub generation: Option<u64>,
    /// The 0-based index of the JSON Patch operation.
    pub operation: Option<usize>,
    /// What to do.
    pub hint: Option<String>,
    /// When to come back, with `confirm-pending`.
    pub retry_after: Option<Duration>,
    /// All faults, at most 20, in document order; empty unless there is more than one. The first is `detail` too.
    pub violations: Vec<Violation>,
}

impl ChangeError {
    /// A refusal; the rest is added with the methods below. The service uses it for its own rows (veto, storage) too.
    #[must_use]
    pub fn new(slug: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Refusal {
            slug,
            detail: detail.into(),
            ..Refusal::default()
        }))
    }

    /// The fields, to move them out.
    #[must_use]
    pub fn into_refusal(self) -> Refusal {
        *self.0
    }

    /// The offending value.
    #[must_use]
    pub fn at(mut self, pointer: impl fmt::Display) -> Self {
        self.pointer = Some(pointer.to_string());
        self
    }

    /// The current generation.
    #[must_use]
    pub fn on(mut self, generation: u64) -> Self {
        self.generation = Some(generation);
        self
    }

    /// What to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The JSON Patch operation.
    #[must_use]
    pub fn operation(mut self, index: usize) -> Self {
        self.operation = Some(index);
        self
    }
}

impl Deref for ChangeError {
    type Target = Refusal;

    fn deref(&self) -> &Refusal {
        &self.0
    }
}

impl DerefMut for ChangeError {
    fn deref_mut(&mut self) -> &mut Refusal {
        &mut self.0
    }
}

impl From<Fault> for ChangeError {
    fn from(fault: Fault) -> Self {
        Self::new(fault.slug, fault.detail)
    }
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.slug, self.detail)
    }
}

impl std::error::Error for ChangeError {}

/// Why there is no entry of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// 0, or not reached yet.
    NotFound(u64),
    /// Older than the kept history.
    Gone(u64),
}

impl From<Missing> for ChangeError {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::NotFound(0) => Self::new("generation-not-found", "generations start at 1"),
            Missing::NotFound(generation) => Self::new(
                "generation-not-found",
                format!("generation {generation} is not reached yet"),
            ),
            Missing::Gone(generation) => Self::new(
                "generation-gone",
                format!("generation {generation} is no longer kept"),
            ),
        }
    }
}

/// Why a topic cannot be declared: init fails with this code (config-api §11, §13).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclareError {
    /// `config-bad-setting`, `config-schema-open`, `config-state-schema` or `config-state-corrupt`.
    pub code: &'static str,
    /// `<key> = <value>: <why>; allowed: <what>`, or the same without a value.
    pub message: String,
    /// The offending place, in the schema or in the value that the message is about.
    pub pointer: Option<String>,
}

impl DeclareError {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            pointer: None,
        }
    }

    pub(super) fn setting(key: &str, why: impl fmt::Display, allowed: &str) -> Self {
        Self::new(
            "config-bad-setting",
            format!("{key}: {why}; allowed: {allowed}"),
        )
    }

    pub(super) fn at(mut self, pointer: impl fmt::Display) -> Self {
        self.pointer = Some(pointer.to_string());
        self
    }
}

impl fmt::Display for DeclareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DeclareError {}
