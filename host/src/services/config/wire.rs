//! A topic's changes, answers and settings as they cross the boundary, and as the store has them. Translates; decides nothing.

use super::journal::Trouble;
use crate::{
    machine::store::{
        self, ChangeError as Refused, DeclareError, Expect, Operation, Store, StoreSettings,
    },
    services::failure::failure,
};
use hotshoe_abi::{
    Applied, Change, ChangeError, Failure, HistoryEntry, Opened, change_op, failure_kind,
};
use serde_json::{Value, json};
use std::{path::PathBuf, sync::Arc, time::Duration};

pub(super) fn opened(store: &Store, recovered: bool, durable: bool) -> Opened {
    Opened {
        generation: store.current().generation,
        recovered,
        durable,
        store: store.store_id().into(),
    }
}

pub(super) fn bad_declaration(error: DeclareError) -> Failure {
    Failure {
        code: error.code.into(),
        ..failure(failure_kind::ERROR, error.message)
    }
}
pub(super) fn dry_run_answer(dry_run: &store::DryRun, current: &Arc<[u8]>) -> Applied {
    Applied {
        changed: dry_run.changed,
        durable: false,
        generation: dry_run.generation,
        parent: dry_run.generation.saturating_sub(1),
        op: "dry-run".into(),
        document: current.to_vec().into(),
        touched: "".into(),
        patch: hotshoe_json::canonical(&dry_run.patch).into(),
        confirm: "".into(),
    }
}

pub(super) fn bad_journal(trouble: Trouble) -> Failure {
    Failure {
        code: trouble.code.into(),
        fix: trouble.fix.into(),
        ..failure(failure_kind::ERROR, trouble.message)
    }
}

/// Where a topic keeps its generations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Memory,
    /// In a journal, in this state folder or else the host's.
    Dir(Option<PathBuf>),
}

/// The store's settings as they cross (see `hotshoe_abi::Declaration::settings`).
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawSettings {
    touch: Option<RawTouch>,
    state: String,
    state_dir: Option<PathBuf>,
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
            state_dir: None,
            history_generations: default.history_generations,
            history_bytes: default.history_bytes,
            value_len_max: default.value_len_max,
            require_if_match: default.require_if_match,
        }
    }
}

pub(super) fn read_settings(bytes: &[u8]) -> Result<(StoreSettings, State), Failure> {
    let bad = |text: String| Failure {
        code: "config-bad-setting".into(),
        ..failure(failure_kind::ERROR, text)
    };
    let raw: RawSettings =
        serde_json::from_slice(bytes).map_err(|error| bad(format!("store settings: {error}")))?;
    let state = match (raw.state.as_str(), raw.state_dir) {
        ("memory", _) => State::Memory,
        ("dir", Some(folder)) if !folder.is_absolute() => {
            let shown = hotshoe_json::echo(&folder.to_string_lossy());
            return Err(bad(format!(
                "state_dir = \"{shown}\": it depends on where the host was started; allowed: an absolute path"
            )));
        }
        ("dir", folder) => State::Dir(folder),
        (other, _) => {
            let shown = hotshoe_json::echo(other);
            return Err(bad(format!(
                "state = \"{shown}\": no such place; allowed: \"dir\", \"memory\""
            )));
        }
    };
    let settings = StoreSettings {
        touch: raw.touch.map(|touch| store::Touch {
            pointer: touch.pointer,
            step: touch.step,
        }),
        value_len_max: raw.value_len_max,
        history_generations: raw.history_generations,
        history_bytes: raw.history_bytes,
        require_if_match: raw.require_if_match,
    };
    Ok((settings, state))
}

pub(super) fn read_change(change: &Change<'_>, by: &str) -> Result<store::Change, Failure> {
    let document = || -> Result<Value, Failure> {
        // The store's own reader: it keeps every digit and takes no member twice.
        hotshoe_json::read(change.document.as_slice(), hotshoe_json::DEPTH_MAX).map_err(|fault| {
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

pub(super) fn answer(applied: store::Applied, durable: bool) -> Applied {
    let confirm = applied
        .confirm
        .map(|confirm| json!({"base": confirm.base, "deadline": confirm.deadline}));
    Applied {
        changed: applied.changed,
        durable,
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

pub(super) fn refusal(refused: Refused) -> ChangeError {
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
            false => hotshoe_json::canonical(&Value::Array(violations)).into(),
        },
    }
}

pub(super) fn history_entry(entry: &store::Entry) -> HistoryEntry {
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
        item: hotshoe_json::canonical(&item).into(),
        document: entry.document.to_vec().into(),
    }
}
