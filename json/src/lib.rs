//! JSON as a live configuration is read and written, on both sides of the plugin boundary: the host's store and the listener
//! of `dynamic-config` must agree on every byte, so they share this and nothing else.
//!
//! [`read`] is strict and says where it fails, [`canonical`] is the one form that is stored, compared and sent, [`locate`]
//! finds the bytes behind a pointer. Knows no HTTP, no topic and no host; opens nothing and recurses no deeper than a limit.
#![forbid(unsafe_code)]

mod canonical;
mod read;

pub use canonical::{Num, canonical, sorted, write_canonical};
pub use read::{locate, position, read};

/// Containers around the innermost value that a document may have: `[[1]]` has two.
///
/// Source: config-api §12. It bounds every recursion over a document.
pub const DEPTH_MAX: usize = 64;

/// The same for a schema, whose keywords nest about two levels for each level of the documents it describes.
pub const SCHEMA_DEPTH_MAX: usize = 160;

/// Bytes of what a client sent that an error repeats (config-api §4).
pub const ECHO_BYTES_MAX: usize = 64;

/// Why bytes are not a value that a store can hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// `bad-json`, `duplicate-key`, `number-out-of-range` or `too-deep`.
    pub slug: &'static str,
    /// 0-based offset of the offending byte; the length of the text where it ends too early.
    pub offset: usize,
    /// What is wrong, for people.
    pub detail: String,
}

/// A place in a text, as an editor counts: both from 1, the column in bytes; column 0 is the end of the line before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 1.
    pub line: u64,
    /// In bytes, from 1.
    pub column: u64,
}

/// The fault of a value with more than `limit` containers around its innermost one.
#[must_use]
pub fn too_deep(offset: usize, limit: usize) -> Fault {
    Fault {
        slug: "too-deep",
        offset,
        detail: format!("nested deeper than {limit} levels"),
    }
}

/// The fault of a number that no value holds.
#[must_use]
pub fn out_of_range(offset: usize, literal: &str) -> Fault {
    Fault {
        slug: "number-out-of-range",
        offset,
        detail: format!("{} is outside i64, u64 and the finite reals", echo(literal)),
    }
}

/// The array index that a pointer's segment names: decimal without a leading zero. `01`, `-` and `+1` name none.
#[must_use]
pub fn array_index(segment: &str) -> Option<usize> {
    let canonical = segment == "0" || !segment.starts_with('0');
    if canonical && !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit()) {
        segment.parse().ok()
    } else {
        None
    }
}

/// `text` as an error may show it: at most 64 bytes of it, control characters escaped.
#[must_use]
pub fn echo(text: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_is_short_and_printable() {
        assert_eq!(echo("a\u{1b}[31m\u{85}"), "a\\u001b[31m\\u0085");
        let long = echo(&"é".repeat(100));
        assert_eq!(long, format!("{}…", "é".repeat(32)));
    }

    #[test]
    fn an_index_is_decimal_and_has_no_leading_zero() {
        for (segment, index) in [
            ("0", Some(0)),
            ("10", Some(10)),
            ("01", None),
            ("", None),
            ("-", None),
            ("+1", None),
            ("99999999999999999999999", None),
        ] {
            assert_eq!(array_index(segment), index, "{segment}");
        }
    }
}
