//! JSON Pointers (RFC 6901) into a document. Reads and writes them; changes nothing.

use std::fmt;

use hotshoe_json::array_index;
use serde_json::Value;

/// Segments that a pointer may have (config-api §12); a document is no deeper.
pub const SEGMENTS_MAX: usize = 64;

/// A parsed pointer: its segments, unescaped. The empty one is the whole document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pointer(pub(super) Vec<String>);

impl Pointer {
    /// Errors: what is wrong with `text`, for people.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let Some(rest) = text.strip_prefix('/') else {
            return Err("a pointer is empty or starts with `/`".to_owned());
        };
        let segments: Vec<String> = rest.split('/').map(unescape).collect::<Result<_, _>>()?;
        if segments.len() > SEGMENTS_MAX {
            return Err(format!("a pointer has at most {SEGMENTS_MAX} segments"));
        }
        Ok(Self(segments))
    }

    /// This pointer, then `more`.
    pub(super) fn join(&self, more: &Self) -> Self {
        Self(self.0.iter().chain(&more.0).cloned().collect())
    }

    /// Whether `other` is at or below this one.
    pub(super) fn covers(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }

    /// What it names in `root`.
    pub(super) fn find<'v>(&self, root: &'v Value) -> Option<&'v Value> {
        find(root, &self.0)
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.0 {
            write!(f, "/{}", escape(segment))?;
        }
        Ok(())
    }
}

/// What `segments` name in `root`.
pub(super) fn find<'v>(root: &'v Value, segments: &[String]) -> Option<&'v Value> {
    segments
        .iter()
        .try_fold(root, |value, segment| match value {
            Value::Object(map) => map.get(segment),
            Value::Array(items) => items.get(array_index(segment)?),
            _ => None,
        })
}

/// The same, to change it.
pub(super) fn find_mut<'v>(root: &'v mut Value, segments: &[String]) -> Option<&'v mut Value> {
    segments
        .iter()
        .try_fold(root, |value, segment| match value {
            Value::Object(map) => map.get_mut(segment),
            Value::Array(items) => items.get_mut(array_index(segment)?),
            _ => None,
        })
}

/// A name as a segment of a pointer.
pub(super) fn escape(segment: &str) -> String {
    segment.replace('~', "~0").replace('/', "~1")
}

fn unescape(segment: &str) -> Result<String, String> {
    let mut out = String::with_capacity(segment.len());
    let mut chars = segment.chars();
    while let Some(c) = chars.next() {
        match c {
            '~' => match chars.next() {
                Some('0') => out.push('~'),
                Some('1') => out.push('/'),
                _ => return Err("`~` is followed by 0 or 1".to_owned()),
            },
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pointers_read_back_as_they_were_written() {
        for text in [
            "", "/", "/a", "/a/b", "/a~1b", "/m~0n", "/~01", "//", "/ü/0/-",
        ] {
            assert_eq!(Pointer::parse(text).unwrap().to_string(), text);
        }
        for text in ["a", "~", "/~", "/~2", "/a~", &"/a".repeat(65)] {
            assert!(Pointer::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pointers_find_what_rfc_6901_says() {
        let doc = json!({"": 0, "a/b": 1, "m~n": 2, "ü": 3, "l": ["x", ["y"]], "01": 4});
        for (text, expected) in [
            ("/", Some(json!(0))),
            ("/a~1b", Some(json!(1))),
            ("/m~0n", Some(json!(2))),
            ("/ü", Some(json!(3))),
            ("/01", Some(json!(4))),
            ("/l/1/0", Some(json!("y"))),
            ("/l/01", None),
            ("/l/+1", None),
            ("/l/-", None),
            ("/l/2", None),
            ("/l/99999999999999999999", None),
            ("/ü/0", None),
        ] {
            let found = Pointer::parse(text).unwrap().find(&doc).cloned();
            assert_eq!(found, expected, "{text}");
        }
    }
}
