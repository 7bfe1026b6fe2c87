//! JSON as the store holds it: the canonical form, exact and by-value comparison, depth, echoes. Its parser is `parse.rs`.
//!
//! The canonical form is stored, compared, journaled and sent: members sorted by their UTF-8 bytes, no white space, the
//! shortest escapes, integers exact over i64 ∪ u64, reals in the shortest form that reads back as the same number
//! (config-api §5.3). Nothing here relies on a feature of serde_json: `preserve_order` and `arbitrary_precision` may be
//! switched on by any crate of the build, and its parser rounds some reals by one unit unless `float_roundtrip` is on.
//! Nothing here recurses deeper than a limit that was checked before.

use std::io::{self, Write};

use serde_json::{Map, Number, Value};

/// Containers around the innermost value that a document may have: `[[1]]` has two.
///
/// Source: config-api §12. It bounds every recursion of this module tree.
pub const DEPTH_MAX: usize = 64;

/// The same for a schema, whose keywords nest about two levels for each level of the documents it describes.
pub const SCHEMA_DEPTH_MAX: usize = 160;

/// Bytes of what a client sent that an error repeats (config-api §4).
const ECHO_BYTES_MAX: usize = 64;

/// Why bytes are not a value that the store can hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonFault {
    /// `bad-json`, `duplicate-key`, `number-out-of-range` or `too-deep`.
    pub slug: &'static str,
    /// 0-based offset of the offending byte; the length of the text where it ends too early.
    pub offset: usize,
    /// What is wrong, for people.
    pub detail: String,
}

/// A number as the canonical form knows it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Num {
    /// Within i64 ∪ u64.
    Int(i128),
    /// Finite.
    Real(f64),
}

impl Num {
    /// `None` for what no f64 holds, which only `arbitrary_precision` can bring here.
    fn of(number: &Number) -> Option<Self> {
        if let Some(int) = number.as_i64() {
            // With `arbitrary_precision` the text is kept: "-0" is a real, as it is without.
            let negative_zero = int == 0 && number.to_string().starts_with('-');
            return Some(if negative_zero {
                Self::Real(-0.0)
            } else {
                Self::Int(int.into())
            });
        }
        if let Some(int) = number.as_u64() {
            return Some(Self::Int(int.into()));
        }
        number
            .as_f64()
            .filter(|real| real.is_finite())
            .map(Self::Real)
    }

    pub(super) fn number(self) -> Option<Number> {
        match self {
            Self::Int(int) => i64::try_from(int)
                .map(Number::from)
                .or_else(|_| u64::try_from(int).map(Number::from))
                .ok(),
            Self::Real(real) => Number::from_f64(real),
        }
    }

    fn same(self, other: Self) -> bool {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Real(a), Self::Real(b)) => a.to_bits() == b.to_bits(),
            _ => false,
        }
    }

    fn equal_by_value(self, other: Self) -> bool {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Real(a), Self::Real(b)) => a == b,
            (Self::Int(int), Self::Real(real)) | (Self::Real(real), Self::Int(int)) => {
                // Beyond ±2^65 no integer of the store is equal, and below the cast is exact.
                real.fract() == 0.0 && real.abs() < 3.0e19 && real as i128 == int
            }
        }
    }
}

/// The integer that `number` is written as; `None` for reals, `10.0` included.
pub(super) fn integer(number: &Number) -> Option<i128> {
    match Num::of(number)? {
        Num::Int(int) => Some(int),
        Num::Real(_) => None,
    }
}

/// The members of `map` in the order of their names' bytes, whatever order the map keeps.
pub(super) fn sorted(map: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut members: Vec<_> = map.iter().collect();
    members.sort_unstable_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
    members
}

/// The canonical form of `value`, without a line end.
///
/// Shape: at most [`DEPTH_MAX`] deep; numbers as [`super::parse`] makes them (others are written as `null`, which the store
/// rules out where values enter).
#[must_use]
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out, value).expect("writing to memory cannot fail");
    out
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

fn write<W: Write>(out: &mut W, value: &Value) -> io::Result<()> {
    match value {
        Value::Null => out.write_all(b"null"),
        Value::Bool(true) => out.write_all(b"true"),
        Value::Bool(false) => out.write_all(b"false"),
        Value::Number(number) => match Num::of(number) {
            Some(Num::Int(int)) => write!(out, "{int}"),
            Some(Num::Real(real)) => match Number::from_f64(real) {
                Some(number) => write!(out, "{number}"),
                None => out.write_all(b"null"),
            },
            None => out.write_all(b"null"),
        },
        Value::String(text) => write_string(out, text),
        Value::Array(items) => {
            out.write_all(b"[")?;
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.write_all(b",")?;
                }
                write(out, item)?;
            }
            out.write_all(b"]")
        }
        Value::Object(map) => {
            out.write_all(b"{")?;
            for (i, (name, member)) in sorted(map).into_iter().enumerate() {
                if i > 0 {
                    out.write_all(b",")?;
                }
                write_string(out, name)?;
                out.write_all(b":")?;
                write(out, member)?;
            }
            out.write_all(b"}")
        }
    }
}

fn write_string<W: Write>(out: &mut W, text: &str) -> io::Result<()> {
    serde_json::to_writer(out, text).map_err(io::Error::from)
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
    let _ = write(&mut clip, value);
    echo_text(&String::from_utf8_lossy(&clip.0))
}

/// `text` as an error may show it: at most 64 bytes of it, control characters escaped.
#[must_use]
pub fn echo_text(text: &str) -> String {
    let mut end = text.len().min(ECHO_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut shown = String::with_capacity(end);
    for c in text[..end].chars() {
        if c.is_control() {
            shown.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            shown.push(c);
        }
    }
    if end < text.len() {
        shown.push('…');
    }
    shown
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

/// `value` with every number in the form that [`super::parse`] gives it.
///
/// Errors: `too-deep` beyond [`DEPTH_MAX`]; `number-out-of-range`. The offset means nothing here and is 0.
pub(super) fn normal(value: &Value) -> Result<Value, JsonFault> {
    if depth(value, DEPTH_MAX) > DEPTH_MAX {
        return Err(too_deep(0, DEPTH_MAX));
    }
    let mut value = value.clone();
    normalise(&mut value)?;
    Ok(value)
}

fn normalise(value: &mut Value) -> Result<(), JsonFault> {
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
    compare(a, b, Num::same)
}

/// Whether two values are equal as RFC 6902 `test` asks: numbers by value, so 20 equals 20.0.
pub(super) fn equal_by_value(a: &Value, b: &Value) -> bool {
    compare(a, b, Num::equal_by_value)
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

pub(super) fn too_deep(offset: usize, limit: usize) -> JsonFault {
    JsonFault {
        slug: "too-deep",
        offset,
        detail: format!("nested deeper than {limit} levels"),
    }
}

pub(super) fn out_of_range(offset: usize, literal: &str) -> JsonFault {
    JsonFault {
        slug: "number-out-of-range",
        offset,
        detail: format!(
            "{} is outside i64, u64 and the finite reals",
            echo_text(literal)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::parse::parse, *};

    fn form(text: &str) -> String {
        String::from_utf8(canonical(&parse(text.as_bytes(), DEPTH_MAX).unwrap())).unwrap()
    }

    #[test]
    fn the_canonical_form_is_sorted_tight_and_exact() {
        for (text, expected) in [
            (" { \"b\" : 1 , \"a\" : [ ] } ", r#"{"a":[],"b":1}"#),
            (
                "{\"é\":1,\"z\":2,\"\":3,\"Z\":4}",
                "{\"\":3,\"Z\":4,\"z\":2,\"é\":1}",
            ),
            ("18446744073709551615", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808"),
            (
                "[0,-1,9,10,-10,null,true,false]",
                "[0,-1,9,10,-10,null,true,false]",
            ),
            (
                "\"\\u0008\\u000c\\u000b\\t\\r\\\\\\u007f\"",
                "\"\\b\\f\\u000b\\t\\r\\\\\u{7f}\"",
            ),
            ("1.0", "1.0"),
            ("1e2", "100.0"),
            ("-0", "-0.0"),
            ("0.1e1", "1.0"),
            ("9007199254740993.0", "9007199254740992.0"),
            ("5e-324", "5e-324"),
            (
                r#""\u0041\/\u00e9\n\u0007\ud83d\ude00""#,
                "\"A/é\\n\\u0007😀\"",
            ),
        ] {
            assert_eq!(form(text), expected, "{text}");
            assert_eq!(form(expected), expected, "{text}");
            let value = parse(text.as_bytes(), DEPTH_MAX).unwrap();
            assert_eq!(canonical_len_bytes(&value), expected.len());
        }
    }

    #[test]
    fn the_canonical_form_does_not_depend_on_how_a_map_is_ordered() {
        let mut one = Map::new();
        let mut two = Map::new();
        for i in 0..50 {
            one.insert(format!("k{i}"), Value::from(i));
        }
        for i in (0..50).rev() {
            two.insert(format!("k{i}"), Value::from(i));
        }
        two.remove("k7");
        two.insert("k7".into(), Value::from(7));
        assert_eq!(canonical(&one.into()), canonical(&two.into()));
    }

    #[test]
    fn numbers_compare_exactly_or_by_value() {
        let read = |text: &str| parse(text.as_bytes(), DEPTH_MAX).unwrap();
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
            let (a, b) = (read(a), read(b));
            assert_eq!(same(&a, &b), exact, "{a} {b}");
            assert_eq!(equal_by_value(&a, &b), by_value, "{a} {b}");
        }
    }

    #[test]
    fn an_echo_is_short_and_printable() {
        assert_eq!(echo_text("a\u{1b}[31m\u{85}"), "a\\u001b[31m\\u0085");
        let long = echo_text(&"é".repeat(100));
        assert_eq!(long, format!("{}…", "é".repeat(32)));
        let shown = echo_value(&Value::from("\u{7f}".repeat(1 << 20)));
        assert!(
            shown.starts_with("\"\\u007f") && shown.len() < 500,
            "{shown}"
        );
        assert_eq!(echo_value(&Value::from("x")), "\"x\"");
    }
}
