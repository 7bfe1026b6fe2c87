//! Edits of one document under its limits: set, take, merge. Every edit is measured before it is made, so that a patch
//! of forty doublings never holds more than one document over the limit in memory; and all edits of one change together do a
//! bounded amount of work, so that a thousand copies that are removed again end early. Validates nothing but that.

use hotshoe_json::{DEPTH_MAX, array_index};
use serde_json::{Map, Value};

use super::{
    change::ChangeError,
    json::{canonical_len_bytes, depth, name_len_bytes},
    pointer::{Pointer, find, find_mut},
};

/// What the edits of one change may measure, copy and shift in all, in documents of the largest size. A body brings each of
/// its values once and replaces what is there, which is two or three; sixteen take a tenth of a second, and a patch of a
/// thousand copies of half a document would otherwise hold up every other change of the topic for eight.
const EFFORT_DOCUMENTS: usize = 16;

/// What counts as a document where the limit is lower: small ones cost nothing worth counting.
const EFFORT_DOCUMENT_BYTES_MIN: usize = 1 << 20;

/// Elements that move up or down in the time that one byte of a value is measured in.
const SHIFTED_PER_BYTE: usize = 8;

/// How a value is put in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    /// A member, new or not; an element that exists; one more at `-`. The rule of `PUT`.
    Set,
    /// A member, new or not; an element moves the ones behind it. RFC 6902 `add`.
    Add,
    /// What exists. RFC 6902 `replace`.
    Replace,
}

/// Why an edit is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EditFault {
    /// Nothing is there, or nothing that could hold it.
    Missing,
    /// The document would exceed its limit.
    TooLarge {
        /// In bytes.
        limit: usize,
    },
    /// The document would be deeper than [`DEPTH_MAX`].
    TooDeep,
    /// The edits together are more than one change may do.
    TooMuch {
        /// In bytes that are measured, copied or moved.
        limit: usize,
    },
}

impl EditFault {
    /// The refusal; `missing` is the slug of a place that is not there, which differs between `PUT` and a patch.
    pub(super) fn error(self, missing: &'static str, pointer: &Pointer) -> ChangeError {
        match self {
            Self::Missing => {
                let place = hotshoe_json::echo(&pointer.to_string());
                ChangeError::new(missing, format!("nothing is at \"{place}\"")).at(pointer)
            }
            Self::TooLarge { limit } => ChangeError::new(
                "document-too-large",
                format!("the document would exceed {limit} bytes"),
            ),
            Self::TooDeep => ChangeError::new(
                "too-deep",
                format!("the document would be nested deeper than {DEPTH_MAX} levels"),
            )
            .at(pointer),
            Self::TooMuch { limit } => ChangeError::new(
                "document-too-large",
                format!("the operations together copy and move more than {limit} bytes"),
            )
            .hint("PUT the value that they would make"),
        }
    }
}

/// What a value adds to a document.
#[derive(Debug, Clone, Copy)]
struct Measure {
    len_bytes: usize,
    depth: usize,
}

impl Measure {
    fn of(value: &Value) -> Self {
        Self {
            len_bytes: canonical_len_bytes(value),
            depth: depth(value, DEPTH_MAX),
        }
    }
}

/// A document being changed; dropped when anything is refused.
#[derive(Debug)]
pub(super) struct Edit {
    root: Value,
    len_bytes: usize,
    limit_bytes: usize,
    effort_bytes: usize,
}

impl Edit {
    /// `root` is a document of the store: normal, and within depth and `limit_bytes`; `len_bytes` its canonical length.
    pub(super) fn new(root: Value, len_bytes: usize, limit_bytes: usize) -> Self {
        Self {
            root,
            len_bytes,
            limit_bytes,
            effort_bytes: 0,
        }
    }

    /// Counts what an edit does, or refuses to do it.
    fn charge(&mut self, bytes: usize) -> Result<(), EditFault> {
        let document = self.limit_bytes.max(EFFORT_DOCUMENT_BYTES_MIN);
        let limit = document.saturating_mul(EFFORT_DOCUMENTS);
        self.effort_bytes = self.effort_bytes.saturating_add(bytes);
        match self.effort_bytes > limit {
            true => Err(EditFault::TooMuch { limit }),
            false => Ok(()),
        }
    }

    pub(super) fn root(&self) -> &Value {
        &self.root
    }

    pub(super) fn into_root(self) -> Value {
        debug_assert_eq!(
            self.len_bytes,
            canonical_len_bytes(&self.root),
            "every edit keeps count of the canonical length"
        );
        self.root
    }

    /// The canonical length that the document would have with a value of `measure` put at `at`, and what it takes.
    fn plan(&self, at: &Pointer, measure: Measure, put: Put) -> Result<Plan, EditFault> {
        let added = measure.len_bytes;
        let mut effort_bytes = added;
        let len_bytes = match at.0.split_last() {
            None => added,
            Some((last, parent)) => match find(&self.root, parent).ok_or(EditFault::Missing)? {
                Value::Object(map) => match map.get(last) {
                    Some(old) => {
                        let old = canonical_len_bytes(old);
                        effort_bytes += old;
                        self.len_bytes - old + added
                    }
                    None if put == Put::Replace => return Err(EditFault::Missing),
                    None => {
                        let comma = usize::from(!map.is_empty());
                        self.len_bytes + name_len_bytes(last) + 1 + added + comma
                    }
                },
                Value::Array(items) => match slot(items, last, put)? {
                    Slot::Over(i) => {
                        let old = canonical_len_bytes(&items[i]);
                        effort_bytes += old;
                        self.len_bytes - old + added
                    }
                    Slot::Before(i) => {
                        effort_bytes += (items.len() - i) / SHIFTED_PER_BYTE;
                        self.len_bytes + added + usize::from(!items.is_empty())
                    }
                },
                _ => return Err(EditFault::Missing),
            },
        };
        if at.0.len() + measure.depth > DEPTH_MAX {
            return Err(EditFault::TooDeep);
        }
        if len_bytes > self.limit_bytes {
            return Err(EditFault::TooLarge {
                limit: self.limit_bytes,
            });
        }
        Ok(Plan {
            len_bytes,
            effort_bytes,
        })
    }

    /// Puts `value`, normal and at most [`DEPTH_MAX`] deep, at `at`.
    pub(super) fn put(&mut self, at: &Pointer, value: Value, put: Put) -> Result<(), EditFault> {
        let plan = self.plan(at, Measure::of(&value), put)?;
        self.charge(plan.effort_bytes)?;
        self.place(at, value, put, plan)
    }

    fn place(&mut self, at: &Pointer, value: Value, put: Put, plan: Plan) -> Result<(), EditFault> {
        match at.0.split_last() {
            None => self.root = value,
            Some((last, parent)) => match find_mut(&mut self.root, parent) {
                Some(Value::Object(map)) => {
                    map.insert(last.clone(), value);
                }
                Some(Value::Array(items)) => match slot(items, last, put)? {
                    Slot::Over(i) => items[i] = value,
                    Slot::Before(i) => items.insert(i, value),
                },
                _ => return Err(EditFault::Missing),
            },
        }
        self.len_bytes = plan.len_bytes;
        Ok(())
    }

    /// Takes the member or element at `at` out. The whole document stays: a topic is never without a value.
    pub(super) fn take(&mut self, at: &Pointer) -> Result<Value, EditFault> {
        let (last, parent) = at.0.split_last().ok_or(EditFault::Missing)?;
        let (taken, name_bytes, left, shifted) = match find_mut(&mut self.root, parent) {
            Some(Value::Object(map)) => {
                let taken = map.remove(last).ok_or(EditFault::Missing)?;
                (taken, name_len_bytes(last) + 1, map.len(), 0)
            }
            Some(Value::Array(items)) => {
                let i = array_index(last)
                    .filter(|i| *i < items.len())
                    .ok_or(EditFault::Missing)?;
                let shifted = items.len() - i;
                (items.remove(i), 0, items.len(), shifted)
            }
            _ => return Err(EditFault::Missing),
        };
        let comma = usize::from(left > 0);
        let taken_bytes = canonical_len_bytes(&taken);
        self.len_bytes -= taken_bytes + name_bytes + comma;
        self.charge(taken_bytes + shifted / SHIFTED_PER_BYTE)?;
        Ok(taken)
    }

    /// Puts a copy of what is at `from` at `to`; measured before anything is copied.
    pub(super) fn copy(&mut self, from: &Pointer, to: &Pointer, put: Put) -> Result<(), EditFault> {
        let source = from.find(&self.root).ok_or(EditFault::Missing)?;
        let measure = Measure::of(source);
        let plan = self.plan(to, measure, put)?;
        // Measured, and then copied.
        self.charge(plan.effort_bytes + measure.len_bytes)?;
        let copy = from.find(&self.root).ok_or(EditFault::Missing)?.clone();
        self.place(to, copy, put, plan)
    }
}

/// What putting a value somewhere comes to.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Of the document afterwards.
    len_bytes: usize,
    effort_bytes: usize,
}

enum Slot {
    Over(usize),
    Before(usize),
}

fn slot(items: &[Value], segment: &str, put: Put) -> Result<Slot, EditFault> {
    if segment == "-" && put != Put::Replace {
        return Ok(Slot::Before(items.len()));
    }
    let i = array_index(segment).ok_or(EditFault::Missing)?;
    match put {
        Put::Add if i <= items.len() => Ok(Slot::Before(i)),
        Put::Set | Put::Replace if i < items.len() => Ok(Slot::Over(i)),
        _ => Err(EditFault::Missing),
    }
}

/// RFC 7396: `patch` merged into `target`. Recurses as deep as `patch`, which is at most [`DEPTH_MAX`].
pub(super) fn merge(target: Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else {
        return patch.clone();
    };
    let mut merged = match target {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    for (name, member) in patch {
        if member.is_null() {
            merged.remove(name);
        } else {
            let old = merged.remove(name).unwrap_or(Value::Null);
            merged.insert(name.clone(), merge(old, member));
        }
    }
    Value::Object(merged)
}
