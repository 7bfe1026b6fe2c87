//! A store in memory: enough of the host's to serve requests. It knows one schema, `{"value": <i64>}`, unless told that
//! anything goes.

use crate::{
    error::Slug,
    json::canonical,
    settings::Touch,
    store::{Applied, Entry, Refused, Snapshot, Store},
};
use hotshoe_plugin_api::{Change, Operation, Result};
use serde_json::{Value, json};
use std::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

pub(super) struct Fake {
    held: Mutex<Vec<(String, String, Value)>>,
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
        if !change.expect.is_empty() && !change.expect.contains(&generation) {
            let mut refused = Refused::new(Slug::GenerationMismatch, "under the lock");
            refused.generation = generation;
            return Err(refused);
        }
        let current = held[held.len() - 1].2.clone();
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
            ..Applied::default()
        };
        if changed && !change.dry_run {
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
        let entry = |(i, (op, by, value)): (usize, &(String, String, Value))| Entry {
            generation: i as u64 + 1,
            item: json!({"at": "t", "by": by, "confirm": null, "generation": i + 1, "op": op, "parent": i}),
            document: canonical(value),
        };
        let kept = held.iter().enumerate().take(end).rev();
        Ok(kept.take(limit as usize).map(entry).collect())
    }
}
