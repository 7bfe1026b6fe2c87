//! Edits of one document under its limits: set, take, merge. Every edit is measured before it is made, so that a patch
//! of forty doublings never holds more than one document over the limit in memory. Validates nothing but size and depth.

use serde_json::{Map, Value};

use super::{
    change::ChangeError,
    json::{DEPTH_MAX, canonical_len_bytes, depth, name_len_bytes},
    pointer::{Pointer, find, find_mut, index},
};

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
}

impl EditFault {
    /// The refusal; `missing` is the slug of a place that is not there, which differs between `PUT` and a patch.
    pub(super) fn error(self, missing: &'static str, pointer: &Pointer) -> ChangeError {
        match self {
            Self::Missing => {
                let place = super::json::echo_text(&pointer.to_string());
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
}

impl Edit {
    /// `root` is a document of the store: normal, and within depth and `limit_bytes`; `len_bytes` its canonical length.
    pub(super) fn new(root: Value, len_bytes: usize, limit_bytes: usize) -> Self {
        Self {
            root,
            len_bytes,
            limit_bytes,
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

    /// The canonical length that the document would have with a value of `measure` put at `at`.
    fn plan(&self, at: &Pointer, measure: Measure, put: Put) -> Result<usize, EditFault> {
        let added = measure.len_bytes;
        let len_bytes = match at.0.split_last() {
            None => added,
            Some((last, parent)) => match find(&self.root, parent).ok_or(EditFault::Missing)? {
                Value::Object(map) => match map.get(last) {
                    Some(old) => self.len_bytes - canonical_len_bytes(old) + added,
                    None if put == Put::Replace => return Err(EditFault::Missing),
                    None => {
                        let comma = usize::from(!map.is_empty());
                        self.len_bytes + name_len_bytes(last) + 1 + added + comma
                    }
                },
                Value::Array(items) => match slot(items, last, put)? {
                    Slot::Over(i) => self.len_bytes - canonical_len_bytes(&items[i]) + added,
                    Slot::Before(_) => self.len_bytes + added + usize::from(!items.is_empty()),
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
        Ok(len_bytes)
    }

    /// Puts `value`, normal and at most [`DEPTH_MAX`] deep, at `at`.
    pub(super) fn put(&mut self, at: &Pointer, value: Value, put: Put) -> Result<(), EditFault> {
        let measure = Measure::of(&value);
        self.put_measured(at, value, measure, put)
    }

    fn put_measured(
        &mut self,
        at: &Pointer,
        value: Value,
        measure: Measure,
        put: Put,
    ) -> Result<(), EditFault> {
        let len_bytes = self.plan(at, measure, put)?;
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
        self.len_bytes = len_bytes;
        Ok(())
    }

    /// Takes the member or element at `at` out. The whole document stays: a topic is never without a value.
    pub(super) fn take(&mut self, at: &Pointer) -> Result<Value, EditFault> {
        let (last, parent) = at.0.split_last().ok_or(EditFault::Missing)?;
        let (taken, name_bytes, left) = match find_mut(&mut self.root, parent) {
            Some(Value::Object(map)) => {
                let taken = map.remove(last).ok_or(EditFault::Missing)?;
                (taken, name_len_bytes(last) + 1, map.len())
            }
            Some(Value::Array(items)) => {
                let i = index(last)
                    .filter(|i| *i < items.len())
                    .ok_or(EditFault::Missing)?;
                (items.remove(i), 0, items.len())
            }
            _ => return Err(EditFault::Missing),
        };
        let comma = usize::from(left > 0);
        self.len_bytes -= canonical_len_bytes(&taken) + name_bytes + comma;
        Ok(taken)
    }

    /// Puts a copy of what is at `from` at `to`; measured before anything is copied.
    pub(super) fn copy(&mut self, from: &Pointer, to: &Pointer, put: Put) -> Result<(), EditFault> {
        let source = from.find(&self.root).ok_or(EditFault::Missing)?;
        let measure = Measure::of(source);
        self.plan(to, measure, put)?;
        let copy = source.clone();
        self.put_measured(to, copy, measure, put)
    }
}

enum Slot {
    Over(usize),
    Before(usize),
}

fn slot(items: &[Value], segment: &str, put: Put) -> Result<Slot, EditFault> {
    if segment == "-" && put != Put::Replace {
        return Ok(Slot::Before(items.len()));
    }
    let i = index(segment).ok_or(EditFault::Missing)?;
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
