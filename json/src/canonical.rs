//! The canonical form (config-api §5.3): what is stored, compared, journaled and sent. Members sorted by their UTF-8 bytes, no
//! white space, the shortest escapes, integers exact over i64 ∪ u64, reals in the shortest form that reads back as the same
//! number. Does not rely on a feature of serde_json: any crate of the build may switch on `preserve_order` or
//! `arbitrary_precision`. Reads nothing.

use serde_json::{Map, Number, Value};
use std::io::{self, Write};

/// A number as the canonical form knows it.
#[derive(Debug, Clone, Copy)]
pub enum Num {
    /// Within i64 ∪ u64.
    Int(i128),
    /// Finite.
    Real(f64),
}

impl Num {
    /// `None` for what no f64 holds, which only `arbitrary_precision` can bring here.
    #[must_use]
    pub fn of(number: &Number) -> Option<Self> {
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

    /// As serde_json holds it; `None` for what is outside its variant's range.
    #[must_use]
    pub fn number(self) -> Option<Number> {
        match self {
            Self::Int(int) => i64::try_from(int)
                .map(Number::from)
                .or_else(|_| u64::try_from(int).map(Number::from))
                .ok(),
            Self::Real(real) => Number::from_f64(real),
        }
    }
}

/// The members of `map` in the order of their names' bytes, whatever order the map keeps.
#[must_use]
pub fn sorted(map: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut members: Vec<_> = map.iter().collect();
    members.sort_unstable_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
    members
}

/// The canonical form of `value`, without a line end. Numbers that [`crate::read`] would not make are written as `null`.
///
/// Shape: recurses as deep as `value`, so that is at most [`crate::SCHEMA_DEPTH_MAX`] deep.
#[must_use]
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write_canonical(&mut out, value).expect("writing to memory cannot fail");
    out
}

/// The same, into `out`.
///
/// Errors: those of `out`.
pub fn write_canonical<W: Write>(out: &mut W, value: &Value) -> io::Result<()> {
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
                write_canonical(out, item)?;
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
                write_canonical(out, member)?;
            }
            out.write_all(b"}")
        }
    }
}

fn write_string<W: Write>(out: &mut W, text: &str) -> io::Result<()> {
    serde_json::to_writer(out, text).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DEPTH_MAX, read};

    fn form(text: &str) -> String {
        String::from_utf8(canonical(&read(text.as_bytes(), DEPTH_MAX).unwrap())).unwrap()
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
            ("2.2250738585072011e-308", "2.225073858507201e-308"),
            (
                r#""\u0041\/\u00e9\n\u0007\ud83d\ude00""#,
                "\"A/é\\n\\u0007😀\"",
            ),
        ] {
            assert_eq!(form(text), expected, "{text}");
            assert_eq!(form(expected), expected, "{text}");
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
}
