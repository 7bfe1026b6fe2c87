//! JSON Pointers (RFC 6901), as a request's path and as the store's text. Knows no document.

use crate::error::{Problem, Slug};
use hotshoe_json::{array_index, echo};

/// Segments that a pointer may have (config-api §12).
const SEGMENTS_MAX: usize = 64;

/// A pointer's segments, unescaped. The empty one is the whole value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pointer(Vec<String>);

impl Pointer {
    /// Reads what follows `/v1/config` in a raw path: each segment is percent-decoded once, then unescaped.
    pub(crate) fn from_path(path: &str) -> Result<Self, Problem> {
        let refuse =
            |why: &str| Problem::new(Slug::BadPointer, format!("\"{}\": {why}", echo(path)));
        let Some(rest) = path.strip_prefix('/') else {
            return Ok(Self::default());
        };
        let mut segments = Vec::new();
        for raw in rest.split('/') {
            if segments.len() == SEGMENTS_MAX {
                return Err(refuse("a pointer has at most 64 segments"));
            }
            let decoded = percent_decoded(raw).ok_or_else(|| refuse("a bad percent-encoding"))?;
            let text = String::from_utf8(decoded).map_err(|_| refuse("not valid UTF-8"))?;
            let segment = unescape(&text).ok_or_else(|| refuse("`~` is followed by 0 or 1"))?;
            segments.push(segment);
        }
        Ok(Self(segments))
    }

    /// Reads a store's text; one that is no pointer names the whole value.
    pub(crate) fn from_text(text: &str) -> Self {
        let segments = text.strip_prefix('/').map(|rest| {
            let each = rest.split('/').map(unescape);
            each.collect::<Option<Vec<_>>>().unwrap_or_default()
        });
        Self(segments.unwrap_or_default())
    }

    /// The text of RFC 6901.
    pub(crate) fn text(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, segment| {
            text.push('/');
            text.push_str(&segment.replace('~', "~0").replace('/', "~1"));
            text
        })
    }

    pub(crate) fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// What is left of `self` below `base`; `None` where it is elsewhere. `-` in `base` is any element: the one appended.
    pub(crate) fn below(&self, base: &Self) -> Option<&[String]> {
        let fits = |(own, base): (&String, &String)| {
            own == base || (base == "-" && array_index(own).is_some())
        };
        if self.0.len() < base.0.len() || !self.0.iter().zip(&base.0).all(fits) {
            return None;
        }
        Some(&self.0[base.0.len()..])
    }
}

fn percent_decoded(raw: &str) -> Option<Vec<u8>> {
    let mut bytes = raw.bytes();
    let mut decoded = Vec::with_capacity(raw.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
        let (high, low) = (digit()?, digit()?);
        decoded.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(decoded)
}

fn unescape(segment: &str) -> Option<String> {
    let mut out = String::with_capacity(segment.len());
    let mut chars = segment.chars();
    while let Some(c) = chars.next() {
        let plain = match c {
            '~' => match chars.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            c => c,
        };
        out.push(plain);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c18_a_path_names_a_value() {
        for (path, expected) in [
            ("", ""),
            ("/", "/"),
            ("/value", "/value"),
            ("/a%2Fb", "/a~1b"),
            ("/a~1b", "/a~1b"),
            ("/m~0n", "/m~0n"),
            ("/m%7En", "?"),
            ("/a//b", "/a//b"),
            ("/%C3%BC", "/ü"),
            ("/a%25", "/a%"),
            ("/~2", "?"),
            ("/~", "?"),
            ("/%zz", "?"),
            ("/%c", "?"),
            ("/%ff", "?"),
            (&"/a".repeat(65), "?"),
        ] {
            let found = Pointer::from_path(path).map_or("?".to_owned(), |pointer| pointer.text());
            assert_eq!(found, expected, "{path}");
        }
        assert_eq!(Pointer::from_path(&"/a".repeat(64)).unwrap().0.len(), 64);
    }

    #[test]
    fn a_pointer_below_another_is_what_is_left() {
        let below = |own: &str, base: &str| {
            let (own, base) = (Pointer::from_text(own), Pointer::from_text(base));
            own.below(&base).map(|rest| rest.join("|"))
        };
        assert_eq!(below("/a/b~1c", "/a").as_deref(), Some("b/c"));
        assert_eq!(below("/a", "/a").as_deref(), Some(""));
        assert_eq!(below("", ""), Some(String::new()));
        assert_eq!(below("/l/7/x", "/l/-").as_deref(), Some("x"));
        assert_eq!(below("/l", "/l/-"), None);
        assert_eq!(below("/b", "/a"), None);
    }
}
