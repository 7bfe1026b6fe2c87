//! The parser of everything that enters a store as text. Strict (config-api §5.1), and bounded: it recurses once a level,
//! up to a limit that it checks first. serde_json's own parser is not used, because without its `float_roundtrip` it reads
//! some reals as their neighbours, and because it lets the last of two equal names win.

use serde_json::{Map, Number, Value};

use super::json::{JsonFault, Num, echo_text, out_of_range, too_deep};

/// Reads one JSON text (RFC 8259) of at most `depth_max` levels: UTF-8 without a BOM, nothing behind it, no member named
/// twice, integers within i64 ∪ u64, reals finite and rounded correctly.
///
/// Errors: [`JsonFault`], with the offset of the offending byte.
pub fn parse(bytes: &[u8], depth_max: usize) -> Result<Value, JsonFault> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| bad(e.valid_up_to(), "the text is not valid UTF-8"))?;
    let mut reader = Reader {
        text,
        bytes,
        at: 0,
        depth_max,
    };
    let value = reader.value(0)?;
    reader.blank();
    if reader.at < bytes.len() {
        return Err(bad(reader.at, "unexpected text after the value"));
    }
    Ok(value)
}

fn bad(offset: usize, detail: &str) -> JsonFault {
    JsonFault {
        slug: "bad-json",
        offset,
        detail: detail.to_owned(),
    }
}

struct Reader<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    depth_max: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn bad<T>(&self, detail: &str) -> Result<T, JsonFault> {
        Err(bad(self.at, detail))
    }

    /// Recurses once a level; `around` is checked against the limit before it does.
    fn value(&mut self, around: usize) -> Result<Value, JsonFault> {
        self.blank();
        match self.peek() {
            Some(b'{' | b'[') if around >= self.depth_max => Err(too_deep(self.at, self.depth_max)),
            Some(b'{') => self.object(around + 1),
            Some(b'[') => self.array(around + 1),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => self.bad("expected a value"),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, JsonFault> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(value)
        } else {
            self.bad("expected a value")
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, JsonFault> {
        self.at += 1;
        let mut items = Vec::new();
        self.blank();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            self.blank();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::Array(items));
                }
                _ => return self.bad("expected `,` or `]`"),
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, JsonFault> {
        self.at += 1;
        let mut map = Map::new();
        self.blank();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(map));
        }
        loop {
            self.blank();
            let start = self.at;
            if self.peek() != Some(b'"') {
                return self.bad("expected a member name");
            }
            let name = self.string()?;
            if map.contains_key(&name) {
                return Err(JsonFault {
                    slug: "duplicate-key",
                    offset: start,
                    detail: format!("member \"{}\" appears twice", echo_text(&name)),
                });
            }
            self.blank();
            if self.peek() != Some(b':') {
                return self.bad("expected `:`");
            }
            self.at += 1;
            let member = self.value(depth)?;
            map.insert(name, member);
            self.blank();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Object(map));
                }
                _ => return self.bad("expected `,` or `}`"),
            }
        }
    }

    fn digits(&mut self) -> Result<(), JsonFault> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return self.bad("expected a digit");
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Value, JsonFault> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
            if matches!(self.peek(), Some(b'0'..=b'9')) {
                return self.bad("a number has no leading zero");
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
        // "-0" is a real to serde_json, which readers decode with, so it is one here.
        let number = if real || literal == "-0" {
            literal.parse().ok().and_then(Number::from_f64)
        } else {
            literal.parse().ok().and_then(|int| Num::Int(int).number())
        };
        number
            .map(Value::Number)
            .ok_or_else(|| out_of_range(start, literal))
    }

    fn string(&mut self) -> Result<String, JsonFault> {
        self.at += 1;
        let mut out = String::new();
        let mut plain = self.at;
        loop {
            match self.peek() {
                None => return self.bad("the string does not end"),
                Some(b'"') => {
                    out.push_str(&self.text[plain..self.at]);
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    out.push_str(&self.text[plain..self.at]);
                    out.push(self.escape()?);
                    plain = self.at;
                }
                Some(0..=0x1f) => return self.bad("a control character must be escaped"),
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonFault> {
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
            _ => return self.bad("not an escape"),
        };
        self.at += 1;
        Ok(plain)
    }

    fn code_point(&mut self, start: usize) -> Result<char, JsonFault> {
        let first = self.four_hex_digits()?;
        let lone = || bad(start, "a lone surrogate");
        let code = match first {
            0xd800..=0xdbff => {
                if !self.bytes[self.at..].starts_with(b"\\u") {
                    return Err(lone());
                }
                self.at += 2;
                let second = self.four_hex_digits()?;
                if !(0xdc00..=0xdfff).contains(&second) {
                    return Err(lone());
                }
                0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            code => code,
        };
        char::from_u32(code).ok_or_else(lone)
    }

    fn four_hex_digits(&mut self) -> Result<u32, JsonFault> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            match digit {
                Some(digit) => code = code * 16 + digit,
                None => return self.bad("expected four hex digits"),
            }
            self.at += 1;
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::json::{DEPTH_MAX, depth},
        *,
    };

    #[test]
    fn what_is_not_json_is_refused_at_its_byte() {
        let deep = "[".repeat(65);
        let deeper = "[".repeat(1_000_000);
        for (text, slug, offset) in [
            ("", "bad-json", 0),
            ("{", "bad-json", 1),
            ("{\"value\": }", "bad-json", 10),
            ("{\"value\":1}x", "bad-json", 11),
            ("\u{feff}1", "bad-json", 0),
            ("\"\\ud800\"", "bad-json", 1),
            ("\"\\udc00\"", "bad-json", 1),
            ("\"\\ud800\\u0041\"", "bad-json", 1),
            ("\"\\x\"", "bad-json", 2),
            ("\"\n\"", "bad-json", 1),
            ("\"a", "bad-json", 2),
            ("01", "bad-json", 1),
            ("1.", "bad-json", 2),
            ("-", "bad-json", 1),
            ("[1,]", "bad-json", 3),
            ("{\"a\":1,}", "bad-json", 7),
            ("nul", "bad-json", 0),
            ("NaN", "bad-json", 0),
            ("{\"value\":10,\"value\":11}", "duplicate-key", 12),
            ("{\"value\":10,\"valu\\u0065\":11}", "duplicate-key", 12),
            ("{\"value\":18446744073709551616}", "number-out-of-range", 9),
            ("-9223372036854775809", "number-out-of-range", 0),
            ("[1e999]", "number-out-of-range", 1),
            (&deep, "too-deep", 64),
            (&deeper, "too-deep", 64),
        ] {
            let fault = parse(text.as_bytes(), DEPTH_MAX).unwrap_err();
            assert_eq!(
                (fault.slug, fault.offset),
                (slug, offset),
                "{}",
                echo_text(text)
            );
        }
        assert_eq!(parse(b"\"\xff\"", DEPTH_MAX).unwrap_err().offset, 1);
        let at_the_limit = format!("{}{}", "[".repeat(64), "]".repeat(64));
        let value = parse(at_the_limit.as_bytes(), DEPTH_MAX).unwrap();
        assert_eq!(depth(&value, DEPTH_MAX), 64);
    }
}
