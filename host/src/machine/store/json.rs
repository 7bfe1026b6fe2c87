//! JSON values as the store measures and compares them: length and depth without writing, equality exact and by value,
//! echoes. How they are read and written is the crate `hotshoe-json`, which the listener shares.
//!
//! Nothing here recurses deeper than a limit that was checked before.

use hotshoe_json::{Num, canonical, echo, out_of_range, too_deep, write_canonical};
use std::io::{self, Write};

use serde_json::{Number, Value};

pub(super) use hotshoe_json::{DEPTH_MAX, ECHO_BYTES_MAX, Fault};

/// The integer that `number` is written as; `None` for reals, `10.0` included.
pub(super) fn integer(number: &Number) -> Option<i128> {
    match Num::of(number)? {
        Num::Int(int) => Some(int),
        Num::Real(_) => None,
    }
}

/// The length in bytes of the canonical form, without making it: no sorting, no digits.
pub(super) fn canonical_len_bytes(value: &Value) -> usize {
    // The brackets and the commas between `count` things.
    let around = |count: usize| 2 + count.saturating_sub(1);
    match value {
        Value::Null | Value::Bool(true) => 4,
        Value::Bool(false) => 5,
        Value::Number(number) => match Num::of(number) {
            Some(Num::Int(int)) => {
                // An i64 or a u64; 128-bit logarithms are slow.
                let size = u64::try_from(int.unsigned_abs()).unwrap_or(u64::MAX);
                let digits = size.checked_ilog10().unwrap_or(0) as usize + 1;
                digits + usize::from(int < 0)
            }
            Some(Num::Real(_)) | None => canonical(value).len(),
        },
        Value::String(text) => name_len_bytes(text),
        Value::Array(items) => {
            around(items.len()) + items.iter().map(canonical_len_bytes).sum::<usize>()
        }
        Value::Object(map) => {
            let members = map
                .iter()
                .map(|(name, value)| name_len_bytes(name) + 1 + canonical_len_bytes(value));
            around(map.len()) + members.sum::<usize>()
        }
    }
}

/// The same for a string or a member's name, quotes included.
pub(super) fn name_len_bytes(name: &str) -> usize {
    let byte = |byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..=0x1f => 6,
        _ => 1,
    };
    2 + name.bytes().map(byte).sum::<usize>()
}

/// Keeps the first bytes of what is written to it and fails beyond, so that nobody formats a mebibyte to show a line.
struct Clip(Vec<u8>);

impl Write for Clip {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        if self.0.len() > ECHO_BYTES_MAX {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `value` as an error may show it: canonical, at most 64 bytes of it, control characters escaped.
pub(super) fn echo_value(value: &Value) -> String {
    let mut clip = Clip(Vec::new());
    // It fails exactly where the text is longer than what is shown.
    let _ = write_canonical(&mut clip, value);
    echo(&String::from_utf8_lossy(&clip.0))
}

/// How many containers are around the innermost value. Walks, never recurses, and stops counting at `limit` + 1.
pub(super) fn depth(value: &Value, limit: usize) -> usize {
    let mut deepest = 0;
    // Only containers go onto the list: most values are not one.
    let container = |value: &&Value| matches!(value, Value::Array(_) | Value::Object(_));
    let mut open: Vec<(&Value, usize)> = Vec::new();
    open.extend(container(&value).then_some((value, 1)));
    while let Some((value, depth)) = open.pop() {
        deepest = deepest.max(depth);
        if depth > limit {
            break;
        }
        match value {
            Value::Array(items) => {
                let inner = items.iter().filter(container);
                open.extend(inner.map(|item| (item, depth + 1)));
            }
            Value::Object(map) => {
                let inner = map.values().filter(container);
                open.extend(inner.map(|member| (member, depth + 1)));
            }
            _ => {}
        }
    }
    deepest
}

/// `value` with every number in the form that [`hotshoe_json::read`] gives it.
///
/// Errors: `too-deep` beyond [`DEPTH_MAX`]; `number-out-of-range`. The offset means nothing here and is 0.
pub(super) fn normal(value: &Value) -> Result<Value, Fault> {
    if depth(value, DEPTH_MAX) > DEPTH_MAX {
        return Err(too_deep(0, DEPTH_MAX));
    }
    let mut value = value.clone();
    normalise(&mut value)?;
    Ok(value)
}

fn normalise(value: &mut Value) -> Result<(), Fault> {
    match value {
        Value::Number(number) => match Num::of(number).and_then(Num::number) {
            Some(normal) => *number = normal,
            None => return Err(out_of_range(0, &number.to_string())),
        },
        Value::Array(items) => items.iter_mut().try_for_each(normalise)?,
        Value::Object(map) => map.values_mut().try_for_each(normalise)?,
        _ => {}
    }
    Ok(())
}

/// Whether two values have the same canonical form.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    compare(a, b, same_number)
}

/// Whether two values are equal as RFC 6902 `test` asks: numbers by value, so 20 equals 20.0.
pub(super) fn equal_by_value(a: &Value, b: &Value) -> bool {
    compare(a, b, equal_number)
}

fn same_number(a: Num, b: Num) -> bool {
    match (a, b) {
        (Num::Int(a), Num::Int(b)) => a == b,
        (Num::Real(a), Num::Real(b)) => a.to_bits() == b.to_bits(),
        _ => false,
    }
}

fn equal_number(a: Num, b: Num) -> bool {
    match (a, b) {
        (Num::Int(a), Num::Int(b)) => a == b,
        (Num::Real(a), Num::Real(b)) => a == b,
        (Num::Int(int), Num::Real(real)) | (Num::Real(real), Num::Int(int)) => {
            // Beyond ±2^65 no integer of the store is equal, and below the cast is exact.
            real.fract() == 0.0 && real.abs() < 3.0e19 && real as i128 == int
        }
    }
}

fn compare(a: &Value, b: &Value, numbers: fn(Num, Num) -> bool) -> bool {
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::String(a), Value::String(b)) => a == b,
        (Value::Number(a), Value::Number(b)) => match (Num::of(a), Num::of(b)) {
            (Some(a), Some(b)) => numbers(a, b),
            _ => false,
        },
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| compare(a, b, numbers))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(name, a)| b.get(name).is_some_and(|b| compare(a, b, numbers)))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotshoe_json::read;

    #[test]
    fn the_length_of_the_canonical_form_needs_no_writing() {
        for text in [
            "[0,-1,9,10,-10,null,true,false,1e2,-0,18446744073709551615,-9223372036854775808]",
            "{\"\":3,\"Z\":[],\"z\":{},\"é\":{\"a\":[1,2]}}",
            r#""\u0041\/\u00e9\n\u0007\ud83d\ude00\u0008\u000c\u000b\t\r\\\u007f""#,
        ] {
            let value = read(text.as_bytes(), DEPTH_MAX).unwrap();
            assert_eq!(
                canonical_len_bytes(&value),
                canonical(&value).len(),
                "{text}"
            );
        }
    }

    #[test]
    fn numbers_compare_exactly_or_by_value() {
        let value = |text: &str| read(text.as_bytes(), DEPTH_MAX).unwrap();
        for (a, b, exact, by_value) in [
            ("20", "20.0", false, true),
            ("20", "21", false, false),
            ("0.0", "-0.0", false, true),
            ("9007199254740993", "9007199254740992.0", false, false),
            (
                "18446744073709551615",
                "18446744073709551616.0",
                false,
                false,
            ),
            ("{\"a\":[1]}", "{\"a\":[1.0]}", false, true),
            ("{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}", true, true),
            ("[1,2]", "[2,1]", false, false),
            ("1", "\"1\"", false, false),
        ] {
            let (a, b) = (value(a), value(b));
            assert_eq!(same(&a, &b), exact, "{a} {b}");
            assert_eq!(equal_by_value(&a, &b), by_value, "{a} {b}");
        }
    }

    #[test]
    fn an_echo_is_short_and_printable() {
        let shown = echo_value(&Value::from("\u{7f}".repeat(1 << 20)));
        assert!(
            shown.starts_with("\"\\u007f") && shown.len() < 500,
            "{shown}"
        );
        assert_eq!(echo_value(&Value::from("x")), "\"x\"");
    }
}
