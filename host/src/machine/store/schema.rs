//! The schema of a topic, compiled, and its refusals in the words of config-api §4. Fetches nothing; patterns run on an
//! engine of linear time; which schemas are taken at all is `openness.rs`.

use std::{cmp::Ordering, fmt, sync::Arc};

use hotshoe_json::{SCHEMA_DEPTH_MAX, array_index, canonical, echo, read};
use jsonschema::{
    Draft, Keyword, PatternOptions, ValidationError, Validator,
    error::{TypeKind, ValidationErrorKind},
    paths::Location,
};
use serde_json::{Map, Value, json};

use super::{
    change::{DeclareError, Violation},
    json::{echo_value, integer},
    openness,
    pointer::{Pointer, escape},
};

/// Faults that one answer lists (config-api §4).
pub const VIOLATIONS_MAX: usize = 20;

/// Bytes of a schema's own words (a pattern, a list of choices) that one detail repeats.
const DETAIL_BYTES_MAX: usize = 512;

/// The schema of `schema = "builtin"`: `{"value": <i64>}` and nothing else.
#[must_use]
pub fn builtin_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "value": {"type": "integer", "format": "int64", "minimum": i64::MIN, "maximum": i64::MAX},
        },
        "required": ["value"],
        "additionalProperties": false,
    })
}

/// A compiled schema.
pub(super) struct Schema {
    validator: Validator,
    text: Arc<[u8]>,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({})", String::from_utf8_lossy(&self.text))
    }
}

impl Schema {
    /// Errors: `config-schema-open` for an open object, else `config-bad-setting`.
    pub(super) fn compile(text: &[u8]) -> Result<Self, DeclareError> {
        const ALLOWED: &str = "a JSON Schema 2020-12";
        let value = read(text, SCHEMA_DEPTH_MAX).map_err(|fault| {
            let why = format!("byte {}: {}", fault.offset, fault.detail);
            DeclareError::setting("schema", why, ALLOWED)
        })?;
        if !matches!(value, Value::Object(_) | Value::Bool(_)) {
            let why = "it is neither an object nor a boolean";
            return Err(DeclareError::setting("schema", why, ALLOWED));
        }
        openness::check(&value)?;
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .offline()
            .with_pattern_options(PatternOptions::regex())
            .with_keyword("format", integer_format)
            .build(&value)
            .map_err(|e| {
                let why = clip(&e.to_string());
                DeclareError::setting("schema", why, ALLOWED).at(e.instance_path().as_str())
            })?;
        Ok(Self {
            validator,
            text: canonical(&value).into(),
        })
    }

    /// The schema in canonical form.
    pub(super) fn text(&self) -> &Arc<[u8]> {
        &self.text
    }

    /// The first faults of `document` in document order; empty for a valid one. `document` is at most
    /// [`super::json::DEPTH_MAX`] deep.
    pub(super) fn faults(&self, document: &Value) -> Vec<Violation> {
        if self.validator.is_valid(document) {
            return Vec::new();
        }
        let mut found = Faults {
            document,
            first: Vec::new(),
        };
        for error in self.validator.iter_errors(document) {
            found.add(&error);
        }
        // A range and a format say the same of one number: the range, which is the schema's own word, stays.
        let ranged: Vec<Pointer> = found
            .first
            .iter()
            .filter(|fault| !fault.by_format)
            .map(|fault| fault.pointer.clone())
            .collect();
        found
            .first
            .retain(|fault| !fault.by_format || !ranged.contains(&fault.pointer));
        let violations = found.first.into_iter().map(|fault| Violation {
            pointer: fault.pointer.to_string(),
            detail: fault.detail,
        });
        violations.collect()
    }
}

struct Fault {
    pointer: Pointer,
    detail: String,
    by_format: bool,
}

/// Keeps the first faults only: a mebibyte of wrong elements is not a mebibyte of sentences.
struct Faults<'d> {
    document: &'d Value,
    first: Vec<Fault>,
}

impl Faults<'_> {
    fn add(&mut self, error: &ValidationError<'_>) {
        let place = error.instance_path().as_str();
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected }
            | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
                for name in unexpected {
                    let pointer = format!("{place}/{}", escape(name));
                    self.keep(&pointer, false, || {
                        format!("unknown member \"{}\"", echo(name))
                    });
                }
            }
            ValidationErrorKind::PropertyNames { error: inner } => {
                let name = inner.instance().as_str().unwrap_or_default();
                let pointer = format!("{place}/{}", escape(name));
                self.keep(&pointer, false, || detail(inner));
            }
            ValidationErrorKind::AdditionalItems { limit } => {
                let pointer = format!("{place}/{limit}");
                self.keep(&pointer, false, || {
                    format!("more than {limit} elements are not allowed")
                });
            }
            ValidationErrorKind::Custom { .. } => self.keep(place, true, || detail(error)),
            _ => self.keep(place, false, || detail(error)),
        }
    }

    fn keep(&mut self, pointer: &str, by_format: bool, detail: impl FnOnce() -> String) {
        // A pointer of the validator is well-formed; should one not be, the root is blamed.
        let pointer = Pointer::parse(pointer).unwrap_or_default();
        let at = self.first.partition_point(|fault| {
            document_order(self.document, &fault.pointer, &pointer) != Ordering::Greater
        });
        if at < VIOLATIONS_MAX {
            let fault = Fault {
                detail: detail(),
                pointer,
                by_format,
            };
            self.first.insert(at, fault);
            self.first.truncate(VIOLATIONS_MAX);
        }
    }
}

/// Which of two places comes first in the canonical form of `document`; a container comes before what is in it.
fn document_order(document: &Value, a: &Pointer, b: &Pointer) -> Ordering {
    let mut at = Some(document);
    for (a, b) in a.0.iter().zip(&b.0) {
        if a == b {
            at = at.and_then(|value| match value {
                Value::Object(map) => map.get(a),
                Value::Array(items) => items.get(array_index(a)?),
                _ => None,
            });
        } else if matches!(at, Some(Value::Array(_))) {
            return array_index(a).cmp(&array_index(b));
        } else {
            return a.as_bytes().cmp(b.as_bytes());
        }
    }
    a.0.len().cmp(&b.0.len())
}

fn detail(error: &ValidationError<'_>) -> String {
    let shown = echo_value(error.instance());
    let text = match error.kind() {
        ValidationErrorKind::Type {
            kind: TypeKind::Single(wanted),
        } => format!("{shown} is not of type \"{wanted}\""),
        ValidationErrorKind::Required { property } => {
            format!("{} is a required member", echo_value(property))
        }
        ValidationErrorKind::UnevaluatedItems { unexpected } => {
            format!("{} elements are not allowed", unexpected.len())
        }
        ValidationErrorKind::Custom { message, .. } => format!("{shown} {message}"),
        _ => error.masked_with(shown).to_string(),
    };
    clip(&text)
}

fn clip(text: &str) -> String {
    let mut end = text.len().min(DETAIL_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let more = if end < text.len() { "…" } else { "" };
    format!("{}{more}", &text[..end])
}

/// The formats by which schemars marks Rust's integers, with their ranges. Such a number must be *written* as an
/// integer: `10.0`, which JSON Schema takes for one, does not decode into an i64 (config-api §5.5).
const INTEGER_FORMATS: [(&str, i128, i128); 12] = [
    ("int8", i8::MIN as i128, i8::MAX as i128),
    ("int16", i16::MIN as i128, i16::MAX as i128),
    ("int32", i32::MIN as i128, i32::MAX as i128),
    ("int64", i64::MIN as i128, i64::MAX as i128),
    ("int", i64::MIN as i128, i64::MAX as i128),
    ("int128", i64::MIN as i128, u64::MAX as i128),
    ("uint8", 0, u8::MAX as i128),
    ("uint16", 0, u16::MAX as i128),
    ("uint32", 0, u32::MAX as i128),
    ("uint64", 0, u64::MAX as i128),
    ("uint", 0, u64::MAX as i128),
    ("uint128", 0, u64::MAX as i128),
];

/// `format`: one of the above; any other stays the annotation that 2020-12 makes of it.
struct Format(Option<(&'static str, i128, i128)>);

impl<'i> Keyword<'i> for Format {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        match self.0 {
            Some((name, ..)) if !self.is_valid(instance) => Err(ValidationError::custom(format!(
                "does not decode into {name}"
            ))),
            _ => Ok(()),
        }
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        match (self.0, instance) {
            (Some((_, min, max)), Value::Number(number)) => {
                integer(number).is_some_and(|int| (min..=max).contains(&int))
            }
            _ => true,
        }
    }
}

fn integer_format<'a>(
    _parent: &'a Map<String, Value>,
    value: &'a Value,
    _path: Location,
) -> Result<Box<dyn for<'i> Keyword<'i>>, ValidationError<'a>> {
    let known = INTEGER_FORMATS
        .into_iter()
        .find(|(name, ..)| Some(*name) == value.as_str());
    Ok(Box::new(Format(known)))
}
