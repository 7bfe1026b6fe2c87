//! The reader: one text to one value, or the first fault and its byte; and the finder of the bytes behind a pointer.
//!
//! Never recurses, and trusts no feature of serde_json's own parser, which rounds some reals by one unit unless
//! `float_roundtrip` is on and lets the last of two equal names win. Writes nothing.

use crate::{Fault, Position, array_index, echo, out_of_range, too_deep};
use serde_json::{Map, Number, Value};
use std::{borrow::Cow, ops::Range};

/// Where `offset` is in `body`; the last byte received where it is the end.
#[must_use]
pub fn position(body: &[u8], offset: usize) -> Position {
    let before = &body[..offset.min(body.len())];
    let line_start = before
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |lf| lf + 1);
    let lines = before.iter().filter(|byte| **byte == b'\n').count();
    let column = before.len() - line_start + usize::from(offset < body.len());
    Position {
        line: lines as u64 + 1,
        column: column as u64,
    }
}

/// Reads one JSON text (RFC 8259) of at most `depth_max` levels: UTF-8 without a BOM, nothing behind it, no member named
/// twice, integers within i64 ∪ u64, reals finite and rounded correctly.
///
/// Errors: the first [`Fault`] from the left.
pub fn read(body: &[u8], depth_max: usize) -> Result<Value, Fault> {
    let (text, whole) = match std::str::from_utf8(body) {
        Ok(text) => (text, true),
        // What comes before the first bad byte is read all the same: the first fault is the one that counts.
        Err(error) => (valid_prefix(body, error.valid_up_to()), false),
    };
    if text.starts_with('\u{feff}') {
        return Err(bad(0, "a byte order mark is not allowed"));
    }
    let mut scanner = Scanner::new(text);
    match scanner.document(depth_max) {
        Ok(value) if whole => Ok(value),
        Err(fault) if whole || fault.offset < text.len() => Err(fault),
        _ => Err(bad(text.len(), "not valid UTF-8")),
    }
}

fn valid_prefix(body: &[u8], len: usize) -> &str {
    std::str::from_utf8(&body[..len]).expect("checked up to here")
}

/// The bytes of the value that `segments` name in `text`, which [`read`] takes or a store wrote. In any other text it finds
/// something or nothing.
pub fn locate<'s>(text: &str, segments: impl IntoIterator<Item = &'s str>) -> Option<Range<usize>> {
    let mut scanner = Scanner::new(text);
    scanner.blank();
    for segment in segments {
        scanner.enter(segment)?;
    }
    let start = scanner.at;
    scanner.skip()?;
    Some(start..scanner.at)
}

fn bad(offset: usize, detail: &str) -> Fault {
    Fault {
        slug: "bad-json",
        detail: detail.to_owned(),
        offset,
    }
}

/// A container that is not closed yet.
enum Open {
    Array(Vec<Value>),
    Object {
        map: Map<String, Value>,
        name: String,
    },
}

struct Scanner<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
}

impl<'t> Scanner<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            at: 0,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// A fault at the byte in hand, or the text's early end.
    fn fail<T>(&self, detail: &str) -> Result<T, Fault> {
        Err(bad(self.at, detail))
    }

    fn document(&mut self, depth_max: usize) -> Result<Value, Fault> {
        let mut open: Vec<Open> = Vec::new();
        loop {
            self.blank();
            let Some(mut done) = self.begin(&mut open, depth_max)? else {
                continue;
            };
            // A finished value goes into its container, which may be finished by that, and so on outwards.
            loop {
                match open.pop() {
                    None => return self.end(done),
                    Some(container) => match self.put(container, done)? {
                        Put::Finished(value) => done = value,
                        Put::Unfinished(container) => {
                            open.push(container);
                            break;
                        }
                    },
                }
            }
        }
    }

    /// A value that is whole at once, or `None` where a container was opened and its first value is due.
    fn begin(&mut self, open: &mut Vec<Open>, depth_max: usize) -> Result<Option<Value>, Fault> {
        let value = match self.peek() {
            Some(b'{' | b'[') if open.len() >= depth_max => {
                return Err(too_deep(self.at, depth_max));
            }
            Some(b'{') => {
                self.at += 1;
                self.blank();
                if self.peek() == Some(b'}') {
                    self.at += 1;
                    return Ok(Some(Value::Object(Map::new())));
                }
                let map = Map::new();
                let name = self.name(&map)?;
                open.push(Open::Object { map, name });
                return Ok(None);
            }
            Some(b'[') => {
                self.at += 1;
                self.blank();
                if self.peek() == Some(b']') {
                    self.at += 1;
                    return Ok(Some(Value::Array(Vec::new())));
                }
                open.push(Open::Array(Vec::new()));
                return Ok(None);
            }
            Some(b'"') => Value::String(self.string()?.into_owned()),
            Some(b'-' | b'0'..=b'9') => Value::Number(self.number()?),
            Some(b't') => self.word("true", Value::Bool(true))?,
            Some(b'f') => self.word("false", Value::Bool(false))?,
            Some(b'n') => self.word("null", Value::Null)?,
            _ => return self.fail("expected a value"),
        };
        Ok(Some(value))
    }

    fn put(&mut self, container: Open, value: Value) -> Result<Put, Fault> {
        self.blank();
        let next = self.peek();
        match container {
            Open::Array(mut items) => {
                items.push(value);
                match next {
                    Some(b',') => {
                        self.at += 1;
                        Ok(Put::Unfinished(Open::Array(items)))
                    }
                    Some(b']') => {
                        self.at += 1;
                        Ok(Put::Finished(Value::Array(items)))
                    }
                    _ => self.fail("expected `,` or `]`"),
                }
            }
            Open::Object { mut map, name } => {
                map.insert(name, value);
                match next {
                    Some(b',') => {
                        self.at += 1;
                        self.blank();
                        let name = self.name(&map)?;
                        Ok(Put::Unfinished(Open::Object { map, name }))
                    }
                    Some(b'}') => {
                        self.at += 1;
                        Ok(Put::Finished(Value::Object(map)))
                    }
                    _ => self.fail("expected `,` or `}`"),
                }
            }
        }
    }

    fn end(&mut self, value: Value) -> Result<Value, Fault> {
        self.blank();
        if self.at < self.bytes.len() {
            return self.fail("unexpected text after the value");
        }
        Ok(value)
    }

    /// A member's name and its colon.
    fn name(&mut self, seen: &Map<String, Value>) -> Result<String, Fault> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return self.fail("expected a member name");
        }
        let name = self.string()?.into_owned();
        if seen.contains_key(&name) {
            return Err(Fault {
                slug: "duplicate-key",
                detail: format!("member \"{}\" appears twice", echo(&name)),
                offset: start,
            });
        }
        self.colon()?;
        Ok(name)
    }

    fn colon(&mut self) -> Result<(), Fault> {
        self.blank();
        if self.peek() != Some(b':') {
            return self.fail("expected `:`");
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Fault> {
        for byte in word.bytes() {
            if self.peek() != Some(byte) {
                return self.fail("expected a value");
            }
            self.at += 1;
        }
        Ok(value)
    }

    fn digits(&mut self) -> Result<(), Fault> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return self.fail("expected a digit");
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Number, Fault> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
            if matches!(self.peek(), Some(b'0'..=b'9')) {
                return self.fail("a number has no leading zero");
            }
        } else {
            self.digits()?;
        }
        let mut real = false;
        if self.peek() == Some(b'.') {
            real = true;
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            real = true;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let literal = &self.text[start..self.at];
        // "-0" is a real to every serde_json reader, so it is one here.
        let number = if real || literal == "-0" {
            literal.parse().ok().and_then(Number::from_f64)
        } else {
            let signed = literal.parse::<i64>().map(Number::from);
            signed
                .or_else(|_| literal.parse::<u64>().map(Number::from))
                .ok()
        };
        number.ok_or_else(|| out_of_range(start, literal))
    }

    /// A string's text; borrowed where it has no escape.
    fn string(&mut self) -> Result<Cow<'t, str>, Fault> {
        self.at += 1;
        let mut plain = self.at;
        let mut unescaped = String::new();
        loop {
            match self.peek() {
                Some(b'"') => {
                    let rest = &self.text[plain..self.at];
                    self.at += 1;
                    if unescaped.is_empty() {
                        return Ok(Cow::Borrowed(rest));
                    }
                    unescaped.push_str(rest);
                    return Ok(Cow::Owned(unescaped));
                }
                Some(b'\\') => {
                    unescaped.push_str(&self.text[plain..self.at]);
                    unescaped.push(self.escape()?);
                    plain = self.at;
                }
                None => return self.fail("the string does not end"),
                Some(0..=0x1f) => return self.fail("a control character must be escaped"),
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let start = self.at;
        self.at += 1;
        let plain = match self.peek() {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.code_point(start);
            }
            _ => return self.fail("not an escape"),
        };
        self.at += 1;
        Ok(plain)
    }

    fn code_point(&mut self, start: usize) -> Result<char, Fault> {
        let lone = || bad(start, "a lone surrogate");
        let first = self.four_hex_digits()?;
        if !(0xd800..=0xdbff).contains(&first) {
            return char::from_u32(first).ok_or_else(lone);
        }
        for byte in *b"\\u" {
            match self.peek() {
                Some(found) if found == byte => self.at += 1,
                None => return self.fail("the string does not end"),
                Some(_) => return Err(lone()),
            }
        }
        let second = self.four_hex_digits()?;
        if !(0xdc00..=0xdfff).contains(&second) {
            return Err(lone());
        }
        let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        char::from_u32(code).ok_or_else(lone)
    }

    fn four_hex_digits(&mut self) -> Result<u32, Fault> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            match digit {
                Some(digit) => code = code * 16 + digit,
                None => return self.fail("expected four hex digits"),
            }
            self.at += 1;
        }
        Ok(code)
    }

    /// Goes to the value of the member or element `segment`, from the first byte of its container.
    fn enter(&mut self, segment: &str) -> Option<()> {
        let container = self.peek()?;
        self.at += 1;
        match container {
            b'{' => loop {
                self.blank();
                if self.peek()? != b'"' {
                    return None;
                }
                let name = self.string().ok()?;
                self.colon().ok()?;
                self.blank();
                if name == segment {
                    return Some(());
                }
                self.next_sibling()?;
            },
            b'[' => {
                let index = array_index(segment)?;
                self.blank();
                if self.peek()? == b']' {
                    return None;
                }
                for _ in 0..index {
                    self.next_sibling()?;
                    self.blank();
                }
                Some(())
            }
            _ => None,
        }
    }

    fn next_sibling(&mut self) -> Option<()> {
        self.skip()?;
        self.blank();
        if self.peek()? != b',' {
            return None;
        }
        self.at += 1;
        Some(())
    }

    /// Goes behind the value that starts here.
    fn skip(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => drop(self.string().ok()?),
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                _ => self.scalar(),
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    fn scalar(&mut self) {
        let end = |byte: u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r');
        while self.peek().is_some_and(|byte| !end(byte)) {
            self.at += 1;
        }
    }
}

/// What became of a container when a value was put in.
enum Put {
    Finished(Value),
    Unfinished(Open),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DEPTH_MAX;

    fn fault(body: &[u8]) -> (&'static str, u64, u64) {
        let fault = read(body, DEPTH_MAX).unwrap_err();
        let place = position(body, fault.offset);
        (fault.slug, place.line, place.column)
    }

    #[test]
    fn c13_what_is_not_json_has_a_place() {
        let cases: &[(&[u8], u64, u64)] = &[
            (b"", 1, 0),
            (b"\n", 2, 0),
            (b"{", 1, 1),
            (b"{\n", 2, 0),
            (b"{\"value\": }", 1, 11),
            (b"{\"value\":1}x", 1, 12),
            (b"\xef\xbb\xbf{}", 1, 1),
            (b"{\"value\":\"\xff\"}", 1, 11),
            (b"[1,\n 2,\n x\xff]", 3, 2),
            (b"{}\xff", 1, 3),
            (b"{\"value\":\"\\ud800\"}", 1, 11),
            (b"\"\\udc00\"", 1, 2),
            (b"\"\\ud800\\u0041\"", 1, 2),
            (b"\"\\ud800", 1, 7),
            (b"\"\\x\"", 1, 3),
            (b"\"\n\"", 1, 2),
            (b"\"a", 1, 2),
            (b"01", 1, 2),
            (b"1.", 1, 2),
            (b"+1", 1, 1),
            (b"[1,]", 1, 4),
            (b"{\"a\":1,}", 1, 8),
            (b"nul", 1, 3),
            (b"nulx", 1, 4),
            (b"NaN", 1, 1),
        ];
        for (body, line, column) in cases {
            let shown = String::from_utf8_lossy(body);
            assert_eq!(fault(body), ("bad-json", *line, *column), "{shown}");
        }
    }

    #[test]
    fn c14_the_second_name_is_at_fault() {
        let body = b"{\"value\":10,\"value\":11}";
        assert_eq!(fault(body), ("duplicate-key", 1, 13));
        let escaped = b"{\"value\":10,\n\"valu\\u0065\":11}";
        assert_eq!(fault(escaped), ("duplicate-key", 2, 1));
    }

    #[test]
    fn c15_numbers_and_depth_have_limits() {
        let out_of_range = "number-out-of-range";
        assert_eq!(
            fault(b"{\"value\":18446744073709551616}"),
            (out_of_range, 1, 10)
        );
        assert_eq!(fault(b"{\"value\":1e999}"), (out_of_range, 1, 10));
        assert_eq!(fault(b"-9223372036854775809"), (out_of_range, 1, 1));
        for levels in [65, 1_000_000] {
            assert_eq!(fault("[".repeat(levels).as_bytes()), ("too-deep", 1, 65));
        }
        let at_the_limit = format!("{}{}", "[".repeat(64), "]".repeat(64));
        assert!(read(at_the_limit.as_bytes(), DEPTH_MAX).is_ok());
    }

    #[test]
    fn a_pointer_finds_the_bytes_of_its_value() {
        let body = r#" {"value" : 1, "l":[ [] ,{"a":"]}\""}, -2.5e1 ], "valu\u0065s":{"":true} ,"valeu":2}"#;
        let find =
            |segments: &[&str]| locate(body, segments.iter().copied()).map(|range| &body[range]);
        for (segments, expected) in [
            (&["value"][..], Some("1")),
            (&["values"], Some(r#"{"":true}"#)),
            (&["values", ""], Some("true")),
            (&["valeu"], Some("2")),
            (&["l"], Some(r#"[ [] ,{"a":"]}\""}, -2.5e1 ]"#)),
            (&["l", "0"], Some("[]")),
            (&["l", "1", "a"], Some(r#""]}\"""#)),
            (&["l", "2"], Some("-2.5e1")),
            (&["l", "3"], None),
            (&["l", "01"], None),
            (&["l", "0", "0"], None),
            (&["l", "-"], None),
            (&["value", "x"], None),
            (&["none"], None),
            (&[], Some(body.trim())),
        ] {
            assert_eq!(find(segments), expected, "{segments:?}");
        }
        let range = locate(r#"{"value":1,"valeu":2}"#, ["valeu"]).unwrap();
        assert_eq!(range.start + 1, 20);
    }
}
