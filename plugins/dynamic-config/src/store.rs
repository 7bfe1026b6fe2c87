//! The host's store as the listener sees it: changes in, answers out. Real is [`HostStore`]; the crate's tests put a small
//! one in memory in its place.
//!
//! Nothing here evaluates a change.

use crate::error::Slug;
use axum::body::Bytes;
use hotshoe_plugin_api::{Change, ChangeError, Context, Kind, Result};
use serde_json::Value;
use std::time::Duration;

/// A topic's store. Every call may block for a moment but [`Store::current`].
pub(crate) trait Store: Send + Sync + 'static {
    /// Applies changes one after another; one answer for each.
    fn apply(&self, changes: &[Change]) -> Result<Vec<Result<Applied, Refused>>>;
    /// The newest value. Waits for nobody.
    fn current(&self) -> Result<Snapshot>;
    /// Kept entries below `before`, newest first, at most `limit`.
    fn history(&self, before: Option<u64>, limit: u32) -> Result<Vec<Entry>>;
    /// The RFC 6902 patch from one kept generation to another.
    fn diff(&self, from: u64, to: u64) -> Result<Result<Value, Refused>>;
    /// What the store says of itself: `confirm`, `readers`, `history`, `read_only`, `warnings`, …
    fn status(&self) -> Result<Value>;
    /// Waits for a generation newer than `after`; `None` at the timeout.
    fn wait(&self, after: u64, timeout: Duration) -> Result<Option<u64>>;
}

/// The value at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) generation: u64,
    /// Canonical, no line end.
    pub(crate) document: Bytes,
}

/// An accepted change.
#[derive(Debug, Clone, Default)]
pub(crate) struct Applied {
    pub(crate) changed: bool,
    pub(crate) durable: bool,
    pub(crate) generation: u64,
    pub(crate) parent: u64,
    pub(crate) op: String,
    pub(crate) touched: Option<Value>,
    /// Of a dry run alone.
    pub(crate) patch: Option<Value>,
    pub(crate) confirm: Option<Value>,
}

/// A refused change.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    pub(crate) slug: Slug,
    pub(crate) detail: String,
    pub(crate) hint: Option<String>,
    pub(crate) pointer: Option<String>,
    pub(crate) generation: u64,
    pub(crate) operation: Option<u64>,
    /// Pointer and detail of each fault, where there is more than one.
    pub(crate) violations: Vec<(String, String)>,
    /// When to come back.
    pub(crate) retry_after: Option<Duration>,
}

impl Refused {
    pub(crate) fn new(slug: Slug, detail: impl Into<String>) -> Self {
        Self {
            slug,
            detail: detail.into(),
            hint: None,
            pointer: None,
            generation: 0,
            operation: None,
            violations: Vec::new(),
            retry_after: None,
        }
    }
}

/// One generation.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) generation: u64,
    /// `at`, `by`, `op`, `parent`, …
    pub(crate) item: Value,
    /// Canonical, no line end.
    pub(crate) document: Vec<u8>,
}

/// The store of the instance's own topic, in the host.
pub(crate) struct HostStore(pub(crate) Context);

impl Store for HostStore {
    fn apply(&self, changes: &[Change]) -> Result<Vec<Result<Applied, Refused>>> {
        let answers = self.0.config().apply(changes)?;
        let convert = |answer: Result<hotshoe_plugin_api::Applied, ChangeError>| match answer {
            Ok(applied) => Ok(Applied {
                changed: applied.changed,
                durable: applied.durable,
                generation: applied.generation,
                parent: applied.parent,
                op: applied.op,
                touched: applied.touched,
                patch: applied.patch,
                confirm: applied.confirm,
            }),
            Err(refused) => Err(refusal(refused)),
        };
        Ok(answers.into_iter().map(convert).collect())
    }

    fn current(&self) -> Result<Snapshot> {
        let snapshot = self.0.config().current()?;
        Ok(Snapshot {
            generation: snapshot.generation,
            document: snapshot.document.into(),
        })
    }

    fn history(&self, before: Option<u64>, limit: u32) -> Result<Vec<Entry>> {
        let entries = self.0.config().history(before, limit)?;
        let convert = |entry: hotshoe_plugin_api::HistoryEntry| Entry {
            generation: entry.generation,
            item: entry.item,
            document: entry.document,
        };
        Ok(entries.into_iter().map(convert).collect())
    }

    fn diff(&self, from: u64, to: u64) -> Result<Result<Value, Refused>> {
        Ok(self.0.config().diff(from, Some(to))?.map_err(refusal))
    }

    fn status(&self) -> Result<Value> {
        self.0.config().status()
    }

    fn wait(&self, after: u64, timeout: Duration) -> Result<Option<u64>> {
        self.0.config().wait(after, timeout)
    }
}

fn refusal(error: ChangeError) -> Refused {
    let Some(slug) = Slug::from_word(&error.slug) else {
        tracing::error!(slug = error.slug, "the store answered an unknown slug");
        return Refused::new(Slug::Internal, error.detail);
    };
    Refused {
        slug,
        detail: error.detail,
        hint: error.hint,
        pointer: error.pointer,
        generation: error.generation,
        operation: error.operation,
        violations: error
            .violations
            .as_ref()
            .map(violations)
            .unwrap_or_default(),
        retry_after: error.retry_after,
    }
}

fn violations(list: &Value) -> Vec<(String, String)> {
    let text =
        |violation: &Value, name: &str| violation[name].as_str().unwrap_or_default().to_owned();
    let each = list.as_array().into_iter().flatten();
    each.map(|violation| (text(violation, "pointer"), text(violation, "detail")))
        .collect()
}

/// What a client is told when the host answers none of its changes.
pub(crate) fn host_refusal(error: &hotshoe_plugin_api::Error) -> Refused {
    match error.kind() {
        Kind::Closed => Refused::new(Slug::ShuttingDown, "the host is stopping"),
        _ => {
            tracing::error!("the host's store failed: {error}");
            Refused::new(Slug::Internal, "the store could not be asked")
        }
    }
}
