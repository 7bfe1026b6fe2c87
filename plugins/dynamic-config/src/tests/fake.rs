//! A store in memory: enough of the host's to serve requests. It knows one schema, `{"value": <i64>}`, unless told that
//! anything goes.

use crate::{
    error::Slug,
    settings::Touch,
    store::{Applied, Entry, Refused, Snapshot, Store},
};
use hotshoe_json::canonical;
use hotshoe_plugin_api::{Change, Operation, Result};
use serde_json::{Map, Value, json};
use std::{
    sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

pub(super) struct Fake {
    held: Mutex<Vec<(String, String, Value)>>,
    /// Base and generation of a change that waits for its confirmation.
    pending: Mutex<Option<(u64, u64)>>,
    /// The generation that was confirmed last.
    confirmed: AtomicU64,
    /// What the last `status` adds to or replaces in the store's own words.
    pub(super) told: Mutex<Map<String, Value>>,
    /// Generations below it are no longer kept.
    pub(super) oldest: AtomicU64,
    pub(super) changed: Condvar,
    touch: Option<Touch>,
    /// Any document is valid.
    pub(super) open: AtomicBool,
    /// A handler that asks for the current value panics.
    pub(super) panics: AtomicBool,
    /// Held while it is set: `apply` waits.
    gate: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

/// Keeps the next `apply` waiting until it is dropped.
pub(super) struct Gate {
    entered: Receiver<()>,
    _open: Sender<()>,
}

impl Gate {
    /// Waits until a change stands before it.
    pub(super) fn entered(&self) {
        self.entered.recv_timeout(Duration::from_secs(20)).unwrap();
    }
}

impl Fake {
    pub(super) fn new(initial: Value, touch: Option<Touch>) -> Self {
        Self {
            held: Mutex::new(vec![("initial".to_owned(), "host".to_owned(), initial)]),
            pending: Mutex::new(None),
            confirmed: AtomicU64::new(0),
            told: Mutex::default(),
            oldest: AtomicU64::new(1),
            changed: Condvar::new(),
            touch,
            open: AtomicBool::new(false),
            panics: AtomicBool::new(false),
            gate: Mutex::new(None),
        }
    }

    pub(super) fn close_gate(&self) -> Gate {
        let (entering, entered) = channel();
        let (open, opened) = channel();
        *self.gate.lock().unwrap() = Some((entering, opened));
        Gate {
            entered,
            _open: open,
        }
    }

    fn held(&self) -> MutexGuard<'_, Vec<(String, String, Value)>> {
        self.held.lock().unwrap()
    }

    pub(super) fn state(&self) -> (u64, String) {
        let held = self.held();
        let document = canonical(&held[held.len() - 1].2);
        (held.len() as u64, String::from_utf8(document).unwrap())
    }

    pub(super) fn last_by(&self) -> String {
        self.held().last().unwrap().1.clone()
    }

    fn evaluate(&self, change: &Change) -> Result<Applied, Refused> {
        let mut held = self.held();
        let generation = held.len() as u64;
        let any = change.expect == [Change::ANY];
        if !change.expect.is_empty() && !any && !change.expect.contains(&generation) {
            let mut refused = Refused::new(Slug::GenerationMismatch, "under the lock");
            refused.generation = generation;
            return Err(refused);
        }
        let current = held[held.len() - 1].2.clone();
        let mut pending = self.pending.lock().unwrap();
        if let Operation::Confirm { .. } = change.operation {
            let applied = Applied {
                generation,
                ..Applied::default()
            };
            let refused = Refused::new(Slug::NothingToConfirm, "no change waits");
            let (_, waits) = pending.take().ok_or(refused)?;
            self.confirmed.store(waits, Ordering::Relaxed);
            return Ok(applied);
        }
        if pending.is_some() && !matches!(change.operation, Operation::Rollback { .. }) {
            let mut refused = Refused::new(Slug::ConfirmPending, "one waits");
            refused.generation = generation;
            refused.retry_after = Some(Duration::from_secs(42));
            return Err(refused);
        }
        let (op, value, touched) = match &change.operation {
            Operation::Touch => {
                let touch = self.touch.as_ref().unwrap();
                let old = current["value"].as_i64().unwrap();
                let Some(new) = old.checked_add(touch.step) else {
                    return Err(Refused::new(Slug::TouchOverflow, "outside i64"));
                };
                ("touch", json!({"value": new}), Some(new))
            }
            Operation::Set { pointer, value } => {
                let mut next = current.clone();
                match next.pointer_mut(pointer) {
                    Some(place) => *place = value.clone(),
                    None => return Err(Refused::new(Slug::PointerNotFound, "nothing there")),
                }
                ("put", next, None)
            }
            Operation::MergePatch { document, .. } => ("merge-patch", document.clone(), None),
            Operation::Reset => ("reset", held[0].2.clone(), None),
            Operation::Rollback { to } => {
                let to = to.unwrap_or(generation - 1);
                let entry = usize::try_from(to)
                    .unwrap()
                    .checked_sub(1)
                    .and_then(|i| held.get(i));
                let Some((_, _, value)) = entry else {
                    return Err(Refused::new(Slug::GenerationNotFound, "not reached"));
                };
                ("rollback", value.clone(), None)
            }
            other => panic!("not in this store: {other:?}"),
        };
        if !self.open.load(Ordering::Relaxed) {
            valid(&value)?;
        }
        let changed = canonical(&value) != canonical(&current);
        let applied = Applied {
            changed,
            generation: generation + u64::from(changed && !change.dry_run),
            parent: generation - u64::from(!changed),
            op: op.to_owned(),
            touched: touched.map(Value::from),
            patch: change.dry_run.then(|| json!([])),
            confirm: change
                .confirm
                .map(|_| json!({"base": generation, "deadline": "2026-01-02T03:05:08.000000Z"})),
            ..Applied::default()
        };
        *pending = change.confirm.map(|_| (generation, applied.generation));
        if changed && !change.dry_run {
            self.changed.notify_all();
            held.push((op.to_owned(), change.by.clone(), value));
        }
        Ok(applied)
    }
}

fn valid(value: &Value) -> Result<(), Refused> {
    let refuse = |pointer: &str, detail: String| {
        let mut refused = Refused::new(Slug::SchemaViolation, detail);
        refused.pointer = Some(pointer.to_owned());
        Err(refused)
    };
    let Some(members) = value.as_object() else {
        return refuse("", format!("{value} is not of type \"object\""));
    };
    if let Some(name) = members.keys().find(|name| *name != "value") {
        return refuse(&format!("/{name}"), format!("unknown member \"{name}\""));
    }
    match members.get("value") {
        None => refuse("", "\"value\" is a required member".to_owned()),
        Some(value) if value.as_i64().is_none() => {
            refuse("/value", format!("{value} is not of type \"integer\""))
        }
        Some(_) => Ok(()),
    }
}

impl Store for Fake {
    fn apply(&self, changes: &[Change]) -> Result<Vec<Result<Applied, Refused>>> {
        let gate = self.gate.lock().unwrap().take();
        if let Some((entering, opened)) = gate {
            entering.send(()).unwrap();
            // An error is what it waits for: the gate was dropped.
            let _ = opened.recv();
        }
        Ok(changes.iter().map(|change| self.evaluate(change)).collect())
    }

    fn current(&self) -> Result<Snapshot> {
        assert!(!self.panics.load(Ordering::Relaxed), "told to");
        let (generation, document) = self.state();
        Ok(Snapshot {
            generation,
            document: document.into(),
        })
    }

    fn history(&self, before: Option<u64>, limit: u32) -> Result<Vec<Entry>> {
        let held = self.held();
        let end = before.map_or(held.len(), |before| {
            usize::try_from(before)
                .unwrap()
                .saturating_sub(1)
                .min(held.len())
        });
        let oldest = usize::try_from(self.oldest.load(Ordering::Relaxed)).unwrap();
        let pending = *self.pending.lock().unwrap();
        let confirm = |generation: u64| match pending {
            Some((_, waits)) if waits == generation => Some("pending"),
            _ if self.confirmed.load(Ordering::Relaxed) == generation => Some("confirmed"),
            _ => None,
        };
        let entry = |(i, (op, by, value)): (usize, &(String, String, Value))| Entry {
            generation: i as u64 + 1,
            item: json!({"at": "t", "by": by, "confirm": confirm(i as u64 + 1), "generation": i + 1, "op": op, "parent": i}),
            document: canonical(value),
        };
        let kept = held.iter().enumerate().take(end).skip(oldest - 1).rev();
        Ok(kept.take(limit as usize).map(entry).collect())
    }
    fn diff(&self, from: u64, to: u64) -> Result<Result<Value, Refused>> {
        let held = self.held();
        let oldest = self.oldest.load(Ordering::Relaxed);
        if from < oldest || to < oldest {
            return Ok(Err(Refused::new(Slug::GenerationGone, "no longer kept")));
        }
        let at = |generation: u64| held[usize::try_from(generation).unwrap() - 1].2.clone();
        Ok(Ok(match at(from) == at(to) {
            true => json!([]),
            false => json!([{"op": "replace", "path": "", "value": at(to)}]),
        }))
    }

    fn status(&self) -> Result<Value> {
        let newest = self.held().len();
        let oldest = self.oldest.load(Ordering::Relaxed);
        let mut status = json!({
            "confirm": null,
            "durable": false,
            "generation": newest,
            "history": {"bytes": 100 * newest, "newest": newest, "oldest": oldest},
            "read_only": false,
            "readers": {"attached": 1, "min_generation": newest, "nacked": []},
            "store": "7f3a9c21",
            "warnings": [],
        });
        let told = self.told.lock().unwrap().clone();
        status.as_object_mut().unwrap().extend(told);
        Ok(status)
    }

    fn wait(&self, after: u64, timeout: Duration) -> Result<Option<u64>> {
        let held = self.held();
        let old = |held: &mut Vec<_>| held.len() as u64 <= after;
        let (held, _) = self.changed.wait_timeout_while(held, timeout, old).unwrap();
        Ok(Some(held.len() as u64).filter(|newest| *newest > after))
    }
}
