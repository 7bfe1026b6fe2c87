//! Live configuration: readers that see one generation per batch, and the owner's way to change the value. The store is in
//! the host; nothing here evaluates a change.

use crate::{Context, Error, Result, error::from_abi};
use hotshoe_abi::{
    ChangeText, Declaration, DiffRange, HistoryRange, Nack, Wait, abi_stable::std_types::RResult,
    change_op,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A reader for tasks: every record of a batch sees the value that is pinned to it, whatever changes meanwhile, and a
/// re-run of the batch sees it again. See [`Context::live`] and the example at [`Processor`](crate::Processor).
pub struct Live<T>(pub(crate) Reader<T>);

impl<T> Live<T> {
    /// The value that is pinned to `batch`. Unchanged, it costs one compare of two integers.
    ///
    /// - Errors: [`Kind::Epoch`](crate::Kind::Epoch) where nobody pins that set any more (a batch that was kept past its
    ///   call). A value that does not decode is no error: the last good one stays, and the host is told.
    #[inline]
    pub fn at(&mut self, batch: &crate::Batch<'_>) -> Result<&T> {
        let epoch = batch.epoch();
        if epoch != self.0.epoch {
            self.0.refresh(epoch)?;
        }
        Ok(&self.0.value)
    }

    /// The generation of the value that was read last.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.generation
    }
}

/// A reader for threads outside tasks: always the newest value. See [`Context::latest`].
pub struct Latest<T>(pub(crate) Reader<T>);

impl<T> Latest<T> {
    /// The newest value. Unchanged, it costs one load and a compare. Errors as [`Live::at`]'s decode rule: none for a value
    /// that does not decode; `Closed` after shutdown where there is a newer one.
    #[inline]
    pub fn get(&mut self) -> Result<&T> {
        if self.0.word.load(Ordering::Acquire) > self.0.epoch {
            self.0.refresh(NEWEST)?;
        }
        Ok(&self.0.value)
    }

    /// The generation of the value that was read last.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.generation
    }
}

/// Asks the host for the newest set instead of a pinned one.
const NEWEST: u64 = 0;

type Decode<T> = Box<dyn Fn(&[u8]) -> Result<T> + Send>;

pub(crate) struct Reader<T> {
    context: Context,
    topic: String,
    word: &'static AtomicU64,
    decode: Decode<T>,
    epoch: u64,
    generation: u64,
    value: T,
}

pub(crate) fn decode_json<T: DeserializeOwned>(document: &[u8]) -> Result<T> {
    Ok(serde_json::from_slice(document)?)
}

pub(crate) fn topic_reader<T>(
    context: &Context,
    topic: &str,
    decode: Decode<T>,
) -> Result<Reader<T>> {
    let snapshot = from_abi(context.host().snapshot(topic.into(), NEWEST))?;
    let value = decode(&snapshot.document)
        .map_err(|error| unsuitable(error, topic, snapshot.generation))?;
    Ok(Reader {
        word: context.epoch_word(),
        context: context.clone(),
        topic: topic.to_owned(),
        decode,
        epoch: snapshot.epoch,
        generation: snapshot.generation,
        value,
    })
}

/// A reader that meets at its start what it cannot decode. The value may be what is wrong: it was taken while a reader that had an
/// earlier one went on with that, and it is there again after every restart.
#[cold]
fn unsuitable(error: Error, topic: &str, generation: u64) -> Error {
    let way_back = "start once without this instance and its name in `processors`, in the same file, go back to a value that suits (`hotshoe config history`, \
                    `hotshoe config rollback GENERATION`), then put it back";
    let fix = match (generation, error.fix()) {
        // The initial value: there is nothing to go back to.
        (1, own) => own.to_owned(),
        (_, "") => way_back.to_owned(),
        (_, own) => format!("{own}; or, where the value is what is wrong, {way_back}"),
    };
    error
        .context(format!(
            "generation {generation} of topic `{topic}` does not suit this instance"
        ))
        .with_fix(fix)
}

impl<T> Reader<T> {
    #[cold]
    fn refresh(&mut self, epoch: u64) -> Result<()> {
        let snapshot = from_abi(
            self.context
                .host()
                .snapshot(self.topic.as_str().into(), epoch),
        )?;
        self.epoch = snapshot.epoch;
        if snapshot.generation == self.generation {
            return Ok(());
        }
        self.generation = snapshot.generation;
        match (self.decode)(&snapshot.document) {
            Ok(value) => self.value = value,
            Err(error) => self.report_undecodable(&error),
        }
        Ok(())
    }

    fn report_undecodable(&self, error: &Error) {
        let error = error.to_string();
        self.context.host().nack(Nack {
            topic: self.topic.as_str().into(),
            generation: self.generation,
            error: error.as_str().into(),
        });
    }
}

/// The instance's own topic. See [`Context::config`].
pub struct Config<'a>(pub(crate) &'a Context);

/// What [`Config::declare`] found or made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opened {
    /// The current generation.
    pub generation: u64,
    /// The store was there already: the value is what it was, not the initial one.
    pub recovered: bool,
    /// The value survives the host.
    pub durable: bool,
    /// The store's 8-hex id.
    pub store: String,
}

/// The topic's value at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Its generation.
    pub generation: u64,
    /// Canonical JSON, no newline.
    pub document: Vec<u8>,
}

/// One accepted change.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct HistoryEntry {
    /// Its generation.
    pub generation: u64,
    /// `at`, `by`, `op`, `parent`, … as the history answers them.
    pub item: Value,
    /// The value, canonical JSON.
    pub document: Vec<u8>,
}

/// One change to ask for. The store evaluates it on the value that is current then.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What to do.
    pub operation: Operation,
    /// Generations of which one must be current; empty for no precondition, [`Change::ANY`] alone for "whatever it is".
    pub expect: Vec<u64>,
    /// Validate only.
    pub dry_run: bool,
    /// Rolled back by itself after so long, unless confirmed.
    pub confirm: Option<Duration>,
    /// Who asks: `tcp:<ip>`, `unix:uid=<n>`; empty for the plugin itself.
    pub by: String,
}

impl Change {
    /// In [`expect`](Self::expect): a precondition that every generation meets (`If-Match: *`).
    pub const ANY: u64 = u64::MAX;
}

impl From<Operation> for Change {
    fn from(operation: Operation) -> Self {
        Self {
            operation,
            expect: Vec::new(),
            dry_run: false,
            confirm: None,
            by: String::new(),
        }
    }
}

/// What a [`Change`] does. Pointers are RFC 6901; the empty one is the whole value.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[allow(
    missing_docs,
    reason = "the fields are what the operation's own line names"
)]
pub enum Operation {
    /// Sets the value at the pointer: an object's member, an array's element, `-` appends.
    Set { pointer: String, value: Value },
    /// Removes the member or element.
    Remove { pointer: String },
    /// RFC 6902, all or nothing, on the value at the pointer.
    JsonPatch { pointer: String, operations: Value },
    /// RFC 7396, on the value at the pointer.
    MergePatch { pointer: String, document: Value },
    /// Adds the declared step to the declared number.
    Touch,
    /// Back to the declared initial value.
    Reset,
    /// A new generation with an old value; without `to`, the current one's parent.
    Rollback { to: Option<u64> },
    /// Makes a provisional change stand.
    Confirm { generation: Option<u64> },
}

/// The answer to an accepted [`Change`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Applied {
    /// False for a change whose result equals the current value: same generation, nothing stored.
    pub changed: bool,
    /// It is on stable storage.
    pub durable: bool,
    /// The current generation.
    pub generation: u64,
    /// The generation before it.
    pub parent: u64,
    /// `put`, `touch`, …
    pub op: String,
    /// The value after it, canonical JSON.
    pub document: Vec<u8>,
    /// What a touch made of the number.
    pub touched: Option<Value>,
    /// A dry run's RFC 6902 patch.
    pub patch: Option<Value>,
    /// `{"base":G,"deadline":"…"}` of a provisional change.
    pub confirm: Option<Value>,
}

/// The answer to a refused [`Change`]: nothing was changed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ChangeError {
    /// A stable slug: `generation-mismatch`, `schema-violation`, `plugin-veto`, …
    pub slug: String,
    /// A sentence.
    pub detail: String,
    /// What to do.
    pub hint: Option<String>,
    /// RFC 6901, of the offending value.
    pub pointer: Option<String>,
    /// The current generation.
    pub generation: u64,
    /// 0-based index of the patch operation.
    pub operation: Option<u64>,
    /// `[{"detail":…,"pointer":…},…]` where there is more than one violation.
    pub violations: Option<Value>,
    /// When to come back.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.slug, self.detail)
    }
}

impl std::error::Error for ChangeError {}

impl Config<'_> {
    /// Opens or creates the topic. Once, in init; after a restart it finds the store as it is.
    ///
    /// - `schema`: JSON Schema 2020-12; each object schema says `additionalProperties`, so that no field is ever ignored.
    /// - `settings`: an object, which may be empty: `touch` (`step`, `pointer`), `state` (`"memory"`, the default here, or
    ///   `"dir"`), `state_dir` (an absolute path that the journal's folder goes below; the host's own where absent),
    ///   `history_generations`, `history_bytes`, `value_len_max` (bytes), `require_if_match` (config-api §13).
    /// - Errors: `config-schema-open`, `config-bad-setting`, `config-state-*`; fail your init with it.
    pub fn declare(&self, schema: &Value, initial: &Value, settings: &Value) -> Result<Opened> {
        let (schema, initial, settings) = (
            serde_json::to_vec(schema)?,
            serde_json::to_vec(initial)?,
            serde_json::to_vec(settings)?,
        );
        let declaration = Declaration {
            schema: schema.as_slice().into(),
            initial: initial.as_slice().into(),
            settings: settings.as_slice().into(),
        };
        let opened = from_abi(self.0.host().declare(declaration))?;
        Ok(Opened {
            generation: opened.generation,
            recovered: opened.recovered,
            durable: opened.durable,
            store: opened.store.into_string(),
        })
    }

    /// Replaces the whole value; returns its generation when it is durable and visible.
    ///
    /// - Errors: a refused change, as [`ChangeError`] with its text.
    pub fn publish<T: Serialize>(&self, value: &T) -> Result<u64> {
        let operation = Operation::Set {
            pointer: String::new(),
            value: serde_json::to_value(value)?,
        };
        let mut answers = self.apply(&[operation.into()])?;
        match answers.pop() {
            Some(Ok(applied)) => Ok(applied.generation),
            Some(Err(refused)) => Err(Error::from(refused)),
            None => Err(Error::new("the host answered no change")),
        }
    }

    /// Applies changes one after another, each on top of the one before; a refused one leaves no trace. Blocks until all
    /// that were accepted are durable and visible: not on a runtime's thread.
    ///
    /// - Errors: `NoTopic` before `declare`, `Reentrant` inside `check`, `Closed`.
    pub fn apply(&self, changes: &[Change]) -> Result<Vec<Result<Applied, ChangeError>>> {
        let documents = changes
            .iter()
            .map(|change| change.operation.document())
            .collect::<Result<Vec<_>>>()?;
        let raw: Vec<hotshoe_abi::Change<'_>> = changes
            .iter()
            .zip(&documents)
            .map(|(change, document)| change.to_abi(document))
            .collect();
        let answers = from_abi(
            self.0
                .host()
                .apply(raw.as_slice().into(), Context::caller().into()),
        )?;
        Ok(answers.into_iter().map(answer).collect())
    }

    /// The newest value.
    ///
    /// - Errors: `NoTopic` before `declare`, `Closed`.
    pub fn current(&self) -> Result<Snapshot> {
        let snapshot = from_abi(self.0.host().snapshot(self.0.instance().into(), NEWEST))?;
        Ok(Snapshot {
            generation: snapshot.generation,
            document: snapshot.document.into(),
        })
    }

    /// Accepted changes below the generation `before`, newest first, at most `limit`.
    ///
    /// - Errors: as [`current`](Self::current).
    pub fn history(&self, before: Option<u64>, limit: u32) -> Result<Vec<HistoryEntry>> {
        let range = HistoryRange {
            topic: "".into(),
            before: before.unwrap_or(0),
            limit,
        };
        from_abi(self.0.host().history(range))?
            .into_iter()
            .map(|entry| {
                Ok(HistoryEntry {
                    generation: entry.generation,
                    item: serde_json::from_slice(&entry.item)?,
                    document: entry.document.into(),
                })
            })
            .collect()
    }

    /// The RFC 6902 patch from the kept generation `from` to `to`, or to the current one.
    ///
    /// - Errors: the store's, `generation-not-found` or `generation-gone`, inside; outside as [`current`](Self::current).
    pub fn diff(&self, from: u64, to: Option<u64>) -> Result<Result<Value, ChangeError>> {
        let range = DiffRange {
            topic: "".into(),
            from,
            to: to.unwrap_or(0),
        };
        match self.0.host().diff(range) {
            RResult::ROk(patch) => Ok(Ok(serde_json::from_slice(&patch)?)),
            RResult::RErr(refused) => Ok(Err(change_error(refused))),
        }
    }

    /// The topic's state as the host sees it, an object that only grows: `generation`, `store`, `durable`, `read_only`,
    /// `history` (`newest`, `oldest`, `bytes`), `confirm` (null, or `base`, `deadline`, `generation`, `remaining_s`),
    /// `readers` (`attached`, `min_generation`, `nacked`), `warnings`, `syncs` (how long the journal's syncs took: `bounds_s`,
    /// `counts`, one more than bounds, `sum_s`).
    ///
    /// - Errors: as [`current`](Self::current).
    pub fn status(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&from_abi(
            self.0.host().topic_status("".into()),
        )?)?)
    }

    /// Blocks a thread of the plugin's own until there is a generation newer than `after`; `None` at the timeout.
    ///
    /// - Errors: as [`current`](Self::current); `Closed` when the host stops.
    pub fn wait(&self, after: u64, timeout: Duration) -> Result<Option<u64>> {
        let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        let generation = from_abi(self.0.host().wait(Wait {
            topic: "".into(),
            after,
            timeout_ms,
        }))?;
        Ok((generation != 0).then_some(generation))
    }
}

impl Operation {
    fn document(&self) -> Result<Vec<u8>> {
        Ok(match self {
            Self::Set {
                value: document, ..
            }
            | Self::JsonPatch {
                operations: document,
                ..
            }
            | Self::MergePatch { document, .. } => serde_json::to_vec(document)?,
            Self::Remove { .. }
            | Self::Touch
            | Self::Reset
            | Self::Rollback { .. }
            | Self::Confirm { .. } => Vec::new(),
        })
    }

    /// Number, pointer and generation as they cross.
    fn parts(&self) -> (u8, &str, u64) {
        match self {
            Self::Set { pointer, .. } => (change_op::SET, pointer, 0),
            Self::Remove { pointer } => (change_op::REMOVE, pointer, 0),
            Self::JsonPatch { pointer, .. } => (change_op::JSON_PATCH, pointer, 0),
            Self::MergePatch { pointer, .. } => (change_op::MERGE_PATCH, pointer, 0),
            Self::Touch => (change_op::TOUCH, "", 0),
            Self::Reset => (change_op::RESET, "", 0),
            Self::Rollback { to } => (change_op::ROLLBACK, "", named(*to)),
            Self::Confirm { generation } => (change_op::CONFIRM, "", named(*generation)),
        }
    }
}

/// A generation as it crosses, where the highest number says that none is named. Who names that one means none that there is, and
/// the one below it is as far from being reached.
fn named(generation: Option<u64>) -> u64 {
    generation.map_or(u64::MAX, |named| named.min(u64::MAX - 1))
}

impl Change {
    fn to_abi<'a>(&'a self, document: &'a [u8]) -> hotshoe_abi::Change<'a> {
        let (op, pointer, generation) = self.operation.parts();
        let confirm_s = self.confirm.map_or(0, |after| {
            u32::try_from(after.as_secs()).unwrap_or(u32::MAX).max(1)
        });
        hotshoe_abi::Change {
            op,
            dry_run: self.dry_run,
            generation,
            confirm_s,
            text: ChangeText {
                pointer: pointer.into(),
                by: self.by.as_str().into(),
            },
            document: document.into(),
            expect: self.expect.as_slice().into(),
        }
    }
}

fn answer(
    answer: RResult<hotshoe_abi::Applied, hotshoe_abi::ChangeError>,
) -> Result<Applied, ChangeError> {
    match answer {
        RResult::ROk(applied) => Ok(Applied {
            changed: applied.changed,
            durable: applied.durable,
            generation: applied.generation,
            parent: applied.parent,
            op: applied.op.into_string(),
            touched: json(applied.touched.as_bytes()),
            patch: json(&applied.patch),
            confirm: json(applied.confirm.as_bytes()),
            document: applied.document.into(),
        }),
        RResult::RErr(refused) => Err(change_error(refused)),
    }
}

fn change_error(refused: hotshoe_abi::ChangeError) -> ChangeError {
    ChangeError {
        slug: refused.slug.into_string(),
        detail: refused.detail.into_string(),
        hint: Some(refused.hint.into_string()).filter(|hint| !hint.is_empty()),
        pointer: refused.has_pointer.then(|| refused.pointer.into_string()),
        generation: refused.generation,
        operation: u64::try_from(refused.operation).ok(),
        violations: json(&refused.violations),
        retry_after: (refused.retry_after_s != 0)
            .then(|| Duration::from_secs(u64::from(refused.retry_after_s))),
    }
}

fn json(bytes: &[u8]) -> Option<Value> {
    serde_json::from_slice(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_does_not_suit_says_which_and_how_to_go_back() {
        let error = || Error::new("no such member").with_code("x");
        let found = unsuitable(error().with_fix("set it"), "p", 5);
        assert_eq!(
            found.to_string(),
            "generation 5 of topic `p` does not suit this instance: no such member"
        );
        assert_eq!(found.code(), "x");
        assert!(found.fix().starts_with("set it; or, "), "{}", found.fix());
        let found = unsuitable(error(), "p", 5);
        assert!(found.fix().contains("config rollback"), "{}", found.fix());
        let found = unsuitable(error().with_fix("set it"), "p", 1);
        assert_eq!(found.fix(), "set it");
    }

    #[test]
    fn the_highest_generation_is_one_that_is_named() {
        for (generation, crosses) in [
            (None, u64::MAX),
            (Some(u64::MAX), u64::MAX - 1),
            (Some(0), 0),
            (Some(7), 7),
        ] {
            for operation in [
                Operation::Rollback { to: generation },
                Operation::Confirm { generation },
            ] {
                assert_eq!(operation.parts().2, crosses, "{operation:?}");
            }
        }
    }
}
