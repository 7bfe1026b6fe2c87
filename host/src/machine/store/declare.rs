//! What a plugin declares of its topic, and what makes a declaration good: limits, schema, first value, touch. Refuses with
//! the key at fault and what is allowed; opens no store.

use hotshoe_json::{DEPTH_MAX, echo, read};
use serde_json::Value;

use super::{
    change::DeclareError,
    edit::{Edit, Put},
    json::{self, canonical_len_bytes},
    pointer::Pointer,
    schema::Schema,
};

/// The largest `value_len_max` (config-api §12: `max_body`).
pub const VALUE_LEN_LIMIT_BYTES: usize = 16 << 20;
/// The smallest `history_generations`: the current one and its parent (config-api §13).
pub const HISTORY_GENERATIONS_MIN: usize = 2;
/// The smallest `history_bytes` (config-api §13).
pub const HISTORY_BYTES_MIN: usize = 8 << 20;

/// What one touch does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    /// The integer that it changes, an RFC 6901 pointer.
    pub pointer: String,
    /// What is added to it; not 0.
    pub step: i64,
}

/// The settings of a topic that are the store's. The default is that of config-api §13.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// None: every touch is `touch-disabled`.
    pub touch: Option<Touch>,
    /// The largest canonical document, in bytes: 1 to [`VALUE_LEN_LIMIT_BYTES`].
    pub value_len_max: usize,
    /// Generations kept, at least [`HISTORY_GENERATIONS_MIN`].
    pub history_generations: usize,
    /// Bytes kept behind the oldest kept generation, at least [`HISTORY_BYTES_MIN`].
    pub history_bytes: usize,
    /// Whether a change without a precondition is refused; touch and confirm are exempt.
    pub require_if_match: bool,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            touch: None,
            value_len_max: 1 << 20,
            history_generations: 1_000,
            history_bytes: 64 << 20,
            require_if_match: false,
        }
    }
}

/// What a plugin declares, and what its owner adds.
#[derive(Debug, Clone)]
pub struct Declaration<'a> {
    /// The instance's name.
    pub topic: &'a str,
    /// A random id of the store, 8 lower-case hex digits.
    pub store_id: String,
    /// A JSON Schema 2020-12, as text.
    pub schema: &'a [u8],
    /// The first value, and what a reset brings back, as text.
    pub initial: &'a [u8],
    /// Limits, touch, preconditions.
    pub settings: StoreSettings,
    /// When: UTC, RFC 3339 with microseconds.
    pub at: String,
    /// Who; `host` in the examples of the contract.
    pub by: String,
}

/// What a declaration says of every generation, checked.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) schema: Schema,
    pub(super) initial: Value,
    pub(super) settings: StoreSettings,
    pub(super) touch: Option<(Pointer, i64)>,
}

impl Terms {
    pub(super) fn check(declaration: &Declaration<'_>) -> Result<Self, DeclareError> {
        let settings = declaration.settings.clone();
        let at_least = |key, found: usize, min: usize| {
            let why = || DeclareError::setting(key, found, &format!("at least {min}"));
            if found < min { Err(why()) } else { Ok(()) }
        };
        at_least("max_body", settings.value_len_max, 1)?;
        if settings.value_len_max > VALUE_LEN_LIMIT_BYTES {
            let allowed = format!("at most {VALUE_LEN_LIMIT_BYTES}");
            let found = settings.value_len_max;
            return Err(DeclareError::setting("max_body", found, &allowed));
        }
        at_least(
            "history_generations",
            settings.history_generations,
            HISTORY_GENERATIONS_MIN,
        )?;
        at_least("history_bytes", settings.history_bytes, HISTORY_BYTES_MIN)?;
        let schema = Schema::compile(declaration.schema)?;
        let initial = read_initial(declaration.initial, settings.value_len_max)?;
        if let Some(fault) = schema.faults(&initial).into_iter().next() {
            let why = format!("{} (at \"{}\")", fault.detail, fault.pointer);
            let allowed = "a value that is valid under the schema";
            return Err(DeclareError::setting("initial", why, allowed).at(fault.pointer));
        }
        let touch = match &settings.touch {
            Some(touch) => Some(read_touch(touch, &schema, &initial)?),
            None => None,
        };
        Ok(Self {
            schema,
            initial,
            settings,
            touch,
        })
    }
}

fn read_initial(text: &[u8], len_max: usize) -> Result<Value, DeclareError> {
    const ALLOWED: &str = "one JSON value";
    let value = read(text, DEPTH_MAX).map_err(|fault| {
        let why = format!("byte {}: {}", fault.offset, fault.detail);
        DeclareError::setting("initial", why, ALLOWED)
    })?;
    let len = canonical_len_bytes(&value);
    if len > len_max {
        let allowed = format!("at most {len_max} bytes");
        return Err(DeclareError::setting(
            "initial",
            format!("{len} bytes"),
            &allowed,
        ));
    }
    Ok(value)
}

/// The touched place must hold an integer now, and the schema must not admit anything else there.
fn read_touch(
    touch: &Touch,
    schema: &Schema,
    initial: &Value,
) -> Result<(Pointer, i64), DeclareError> {
    if touch.step == 0 {
        let why = "0 would change nothing";
        return Err(DeclareError::setting(
            "touch.step",
            why,
            "an i64 other than 0",
        ));
    }
    let wrong = |why: String| {
        let shown = echo(&touch.pointer);
        let allowed = "the pointer of an integer in the schema";
        DeclareError::setting("touch.pointer", format!("\"{shown}\" {why}"), allowed)
    };
    let pointer = Pointer::parse(&touch.pointer).map_err(|why| wrong(format!("({why})")))?;
    let holds_integer = match pointer.find(initial) {
        Some(Value::Number(number)) => json::integer(number).is_some(),
        _ => false,
    };
    if !holds_integer {
        return Err(wrong("names no integer of the initial value".to_owned()));
    }
    let len_bytes = canonical_len_bytes(initial);
    let mut edit = Edit::new(initial.clone(), len_bytes, usize::MAX);
    let fraction = Value::from(0.5);
    let put = edit.put(&pointer, fraction, Put::Set);
    if put.is_ok() && schema.faults(edit.root()).is_empty() {
        return Err(wrong("may hold other things than an integer".to_owned()));
    }
    Ok((pointer, touch.step))
}
