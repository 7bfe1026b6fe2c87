//! Numbers, durations and sizes, as an operator writes them.
//!
//! A unit is part of the value ("5s", "64KiB"), so that nobody has to guess it; a fraction or an unknown unit is refused,
//! with the spelling that was probably meant.

use std::{borrow::Cow, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use toml::de::DeValue;

use super::{
    read::Scalar,
    report::{Bound, Wrong},
};

/// Thirty days. Nothing here is waited for longer, and a point in time plus this never overflows a clock.
const DURATION_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

const DURATION_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SIZE_UNITS: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// Digits and what follows them.
fn split(text: &str) -> (&str, &str) {
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (digits, unit) = split(text);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

/// In the largest unit that divides it: "2m", "90s", "0ms".
fn display(amount: u64, units: &[(&str, u64)]) -> String {
    let fits = |(_, factor): &&(&str, u64)| amount >= *factor && amount % factor == 0;
    match units.iter().find(fits) {
        Some((unit, factor)) => format!("{}{unit}", amount / factor),
        None => format!("{amount}{}", units[units.len() - 1].0),
    }
}

/// A duration from `MIN_MS` milliseconds on: "500ms", "5s", "2m", "1h".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span<const MIN_MS: u64>(pub(super) Duration);

/// A wait that must be one.
pub(super) type Deadline = Span<1>;

impl<const MIN_MS: u64> Span<MIN_MS> {
    pub(super) const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    pub(super) const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    fn from_text(text: &str) -> Option<Self> {
        let duration = Duration::from_millis(parse(text, &DURATION_UNITS)?);
        let fits = Duration::from_millis(MIN_MS) <= duration && duration <= DURATION_MAX;
        fits.then_some(Self(duration))
    }

    /// The spelling that a wrong one stands for.
    fn meant(text: &str) -> Option<String> {
        let plain: String = text
            .split_whitespace()
            .collect::<String>()
            .to_ascii_lowercase();
        let (digits, unit) = split(&plain);
        let unit = match unit {
            "" | "s" | "sec" | "secs" | "second" | "seconds" => "s",
            "ms" | "msec" | "msecs" | "millis" | "milliseconds" => "ms",
            "m" | "min" | "mins" | "minute" | "minutes" => "m",
            "h" | "hr" | "hrs" | "hour" | "hours" => "h",
            _ => return None,
        };
        let meant = format!("{digits}{unit}");
        Self::from_text(&meant).map(|_| format!("\"{meant}\""))
    }

    fn shown(duration: Duration) -> String {
        display(
            u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            &DURATION_UNITS,
        )
    }
}

impl<const MIN_MS: u64> Scalar for Span<MIN_MS> {
    fn wanted() -> String {
        let (least, most) = (
            Self::shown(Duration::from_millis(MIN_MS)),
            Self::shown(DURATION_MAX),
        );
        format!("a duration: a whole number and ms, s, m or h; from \"{least}\" to \"{most}\"")
    }
    fn example() -> String {
        "\"5s\"".to_owned()
    }
    fn parse(value: &DeValue<'_>) -> Result<Self, Wrong> {
        match value {
            DeValue::String(text) => Self::from_text(text).ok_or_else(|| Wrong::Value {
                meant: Self::meant(text),
            }),
            DeValue::Integer(number) => Err(Wrong::Type {
                meant: Self::meant(&number.to_string()),
            }),
            _ => Err(Wrong::TYPE),
        }
    }
}

impl<const MIN_MS: u64> Serialize for Span<MIN_MS> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Self::shown(self.0))
    }
}

impl<const MIN_MS: u64> JsonSchema for Span<MIN_MS> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Duration{MIN_MS}").into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // Leading zeros are let pass by both; "0" alone is what a deadline refuses, and what is less than a second a time
        // that the system counts in seconds.
        let pattern = match MIN_MS {
            0 => "^[0-9]+(ms|s|m|h)$",
            1_000 => "^(0*[1-9][0-9]*(s|m|h)|0*[1-9][0-9]{3,}ms)$",
            _ => "^0*[1-9][0-9]*(ms|s|m|h)$",
        };
        json_schema!({ "type": "string", "pattern": pattern })
    }
}

/// An amount of bytes: "100B", "64KiB", "16MiB", "1GiB", or a plain number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size<const MIN: u64, const MAX: u64>(pub(super) u64);

impl<const MIN: u64, const MAX: u64> Size<MIN, MAX> {
    fn within(bytes: u64) -> Option<Self> {
        (MIN..=MAX).contains(&bytes).then_some(Self(bytes))
    }

    fn bounded(bytes: u64) -> Result<Self, Wrong> {
        let shown = |bytes| format!("\"{}\"", display(bytes, &SIZE_UNITS));
        Self::within(bytes).ok_or_else(|| {
            Wrong::Bound(match bytes < MIN {
                true => Bound::Least(shown(MIN)),
                false => Bound::Most(shown(MAX)),
            })
        })
    }

    fn meant(text: &str) -> Option<String> {
        let plain: String = text
            .split_whitespace()
            .collect::<String>()
            .to_ascii_lowercase();
        let (digits, unit) = split(&plain);
        let unit = match unit {
            "" | "b" | "byte" | "bytes" => "B",
            "k" | "kb" | "kib" => "KiB",
            "m" | "mb" | "mib" => "MiB",
            "g" | "gb" | "gib" => "GiB",
            _ => return None,
        };
        let meant = format!("{digits}{unit}");
        parse(&meant, &SIZE_UNITS)
            .and_then(Self::within)
            .map(|_| format!("\"{meant}\""))
    }
}

impl<const MIN: u64, const MAX: u64> Scalar for Size<MIN, MAX> {
    fn wanted() -> String {
        let (least, most) = (display(MIN, &SIZE_UNITS), display(MAX, &SIZE_UNITS));
        format!("a size: a whole number and B, KiB, MiB or GiB; from \"{least}\" to \"{most}\"")
    }
    fn example() -> String {
        format!("\"{}\"", display(MIN.max(1 << 20).min(MAX), &SIZE_UNITS))
    }
    fn parse(value: &DeValue<'_>) -> Result<Self, Wrong> {
        match value {
            DeValue::String(text) => match parse(text, &SIZE_UNITS) {
                Some(bytes) => Self::bounded(bytes),
                None => Err(Wrong::Value {
                    meant: Self::meant(text),
                }),
            },
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix())
                .map_err(|_| Wrong::VALUE)
                .and_then(Self::bounded),
            _ => Err(Wrong::TYPE),
        }
    }
}

impl<const MIN: u64, const MAX: u64> Serialize for Size<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&display(self.0, &SIZE_UNITS))
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Size<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Size{MIN}To{MAX}").into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$" },
                { "type": "integer", "minimum": MIN, "maximum": MAX },
            ],
        })
    }
}

/// A whole number within bounds, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Int<const MIN: u32, const MAX: u32>(pub(super) u32);

impl<const MIN: u32, const MAX: u32> Scalar for Int<MIN, MAX> {
    fn wanted() -> String {
        format!("a whole number from {MIN} to {MAX}")
    }
    fn example() -> String {
        MIN.to_string()
    }
    fn parse(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let within = |number: &u32| (MIN..=MAX).contains(number);
        match value {
            DeValue::Integer(number) => {
                let number = i128::from_str_radix(number.as_str(), number.radix());
                match number.map_err(|_| Wrong::VALUE)? {
                    less if less < MIN.into() => Err(Wrong::Bound(Bound::Least(MIN.to_string()))),
                    number => u32::try_from(number)
                        .ok()
                        .filter(within)
                        .map(Self)
                        .ok_or_else(|| Wrong::Bound(Bound::Most(MAX.to_string()))),
                }
            }
            // "3" is meant for 3.
            DeValue::String(text) => {
                let meant = text.trim().parse().ok().filter(within);
                Err(Wrong::Type {
                    meant: meant.map(|number| number.to_string()),
                })
            }
            _ => Err(Wrong::TYPE),
        }
    }
}

impl<const MIN: u32, const MAX: u32> JsonSchema for Int<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Int{MIN}To{MAX}").into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

impl Scalar for bool {
    fn wanted() -> String {
        "true or false".to_owned()
    }
    fn example() -> String {
        "true".to_owned()
    }
    fn parse(value: &DeValue<'_>) -> Result<Self, Wrong> {
        match value {
            DeValue::Boolean(yes) => Ok(*yes),
            DeValue::String(text) => {
                let meant = ["true", "false"]
                    .into_iter()
                    .find(|word| text.trim().eq_ignore_ascii_case(word));
                Err(Wrong::Type {
                    meant: meant.map(str::to_owned),
                })
            }
            _ => Err(Wrong::TYPE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_carry_their_unit() {
        let check = |text: &str, millis: Option<u64>| {
            let found = Span::<0>::from_text(text).map(|span| span.0);
            assert_eq!(found, millis.map(Duration::from_millis), "{text}");
        };
        check("500ms", Some(500));
        check("5s", Some(5_000));
        check("2m", Some(120_000));
        check("1h", Some(3_600_000));
        check("0s", Some(0));
        check("720h", Some(2_592_000_000));
        for wrong in [
            "721h",
            "5",
            "s",
            "",
            "-5s",
            "+5s",
            "5 s",
            "1.5s",
            "5S",
            "99999999999999999999s",
            "9223372036854775807h",
            "٣s",
        ] {
            check(wrong, None);
        }
        assert_eq!(Span::<1>::from_text("0ms"), None);
    }

    #[test]
    fn sizes_count_in_powers_of_two() {
        let check =
            |text: &str, bytes: Option<u64>| assert_eq!(parse(text, &SIZE_UNITS), bytes, "{text}");
        check("100B", Some(100));
        check("64KiB", Some(65_536));
        check("16MiB", Some(16_777_216));
        check("1GiB", Some(1_073_741_824));
        for wrong in [
            "64KB",
            "64",
            "KiB",
            "64 KiB",
            "64kib",
            "18446744073709551615GiB",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn what_was_probably_meant_is_offered_only_where_it_is_right() {
        let duration = |text: &str| Span::<1>::meant(text);
        assert_eq!(duration("5 s").as_deref(), Some("\"5s\""));
        assert_eq!(duration("5 Minutes").as_deref(), Some("\"5m\""));
        assert_eq!(duration("5").as_deref(), Some("\"5s\""));
        assert_eq!(duration("0s"), None);
        assert_eq!(duration("5d"), None);
        let size = |text: &str| Size::<1024, 65_536>::meant(text);
        assert_eq!(size("64 kb").as_deref(), Some("\"64KiB\""));
        assert_eq!(size("65KB"), None);
    }

    #[test]
    fn what_is_displayed_is_read_back() {
        for millis in [
            0, 1, 500, 1_000, 60_000, 120_000, 300_000, 3_600_000, 7_200_000, 90_061_001,
        ] {
            let shown = Span::<0>::shown(Duration::from_millis(millis));
            assert_eq!(
                Span::<0>::from_text(&shown).map(|span| span.0),
                Some(Duration::from_millis(millis)),
                "{shown}"
            );
        }
        assert_eq!(Span::<0>::shown(Duration::from_secs(60)), "1m");
        assert_eq!(display(65_536, &SIZE_UNITS), "64KiB");
        assert_eq!(display(1 << 30, &SIZE_UNITS), "1GiB");
    }
}
