//! One line of a journal, as bytes and as what it says (config-api §9): `HSJ1 <crc32c> <len> <payload>` LF.
//!
//! A payload is canonical JSON, so its members come in one order and this reads them in that order: an unknown member, a
//! missing one and one out of place are the same fault. Nothing here knows of files, or of other lines.

use crate::machine::store::{ConfirmMark, Entry, Op, Outcome};
use hotshoe_json::canonical;
use serde_json::{Value, json};

/// The format that this host writes, and the only one that it reads.
pub(super) const VERSION: u64 = 1;

pub(super) const TAG: &[u8] = b"HSJ1 ";
/// Hex digits of a checksum.
const CRC_LEN: usize = 8;
/// Digits of a payload's length; a value of 16 MiB needs eight.
const LEN_DIGITS_MAX: usize = 9;

/// The first line of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) plugin: String,
    /// From 1.
    pub(super) segment: u64,
    pub(super) store: String,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    Header(Header),
    /// A header of a format that this host does not know.
    OtherVersion(u64),
    /// The entry that was current when the segment was begun.
    Base(Entry),
    Set(Entry),
    Confirm {
        at: String,
        by: String,
        generation: u64,
    },
}

/// Why bytes are no line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    /// They begin as a line does, and end before it does.
    Short,
    Damage(&'static str),
}

pub(super) fn header(header: &Header) -> Vec<u8> {
    frame(&canonical(&json!({
        "kind": "header",
        "plugin": header.plugin,
        "segment": header.segment,
        "store": header.store,
        "v": VERSION,
    })))
}

pub(super) fn base(entry: &Entry) -> Vec<u8> {
    frame(&entry_payload("base", entry))
}

pub(super) fn set(entry: &Entry) -> Vec<u8> {
    frame(&entry_payload("set", entry))
}

pub(super) fn confirm(at: &str, by: &str, generation: u64) -> Vec<u8> {
    frame(&canonical(
        &json!({"at": at, "by": by, "gen": generation, "kind": "confirm"}),
    ))
}

/// Members in byte order of their names, as canonical JSON has them; the document goes in as it is.
fn entry_payload(kind: &str, entry: &Entry) -> Vec<u8> {
    let mut payload = Vec::with_capacity(entry.document.len() + 256);
    let mut member = |separator: &str, name: &str, value: Value| {
        payload.extend_from_slice(separator.as_bytes());
        payload.push(b'"');
        payload.extend_from_slice(name.as_bytes());
        payload.extend_from_slice(b"\":");
        payload.extend_from_slice(&canonical(&value));
    };
    member("{", "at", entry.at.as_str().into());
    member(",", "by", entry.by.as_str().into());
    if let Some(mark) = pending(entry) {
        let value = json!({"base": mark.base, "deadline": mark.deadline});
        member(",", "confirm", value);
    }
    if let Some(from) = entry.from {
        member(",", "from", from.into());
    }
    member(",", "gen", entry.generation.into());
    member(",", "kind", kind.into());
    member(",", "op", entry.op.as_str().into());
    member(",", "parent", entry.parent.into());
    if let Some(reason) = &entry.reason {
        member(",", "reason", reason.as_str().into());
    }
    payload.extend_from_slice(b",\"value\":");
    payload.extend_from_slice(&entry.document);
    payload.push(b'}');
    payload
}

/// How a provisional change ended is said by the lines after it, so a line says only that it was open.
pub(super) fn pending(entry: &Entry) -> Option<&ConfirmMark> {
    let mark = entry.confirm.as_ref();
    mark.filter(|mark| mark.outcome == Outcome::Pending)
}

pub(super) fn frame(payload: &[u8]) -> Vec<u8> {
    let len = format!("{} ", payload.len());
    let crc = crc32c::crc32c_append(crc32c::crc32c(len.as_bytes()), payload);
    let mut line = Vec::with_capacity(payload.len() + 32);
    line.extend_from_slice(TAG);
    line.extend_from_slice(format!("{crc:08x} {len}").as_bytes());
    line.extend_from_slice(payload);
    line.push(b'\n');
    line
}

/// The line that `bytes` begin with, and its length.
pub(super) fn read(bytes: &[u8]) -> Result<(Line, usize), Bad> {
    let tag_len = bytes.len().min(TAG.len());
    if bytes[..tag_len] != TAG[..tag_len] {
        return Err(Bad::Damage("this is no line of a journal"));
    }
    let after_tag = &bytes[tag_len..];
    let crc_len = after_tag.len().min(CRC_LEN);
    let lower_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if !after_tag[..crc_len].iter().all(lower_hex) {
        return Err(Bad::Damage("the checksum is not written as one"));
    }
    let covered = match after_tag.get(CRC_LEN) {
        None => return Err(Bad::Short),
        Some(b' ') => &after_tag[CRC_LEN + 1..],
        Some(_) => return Err(Bad::Damage("the checksum is not written as one")),
    };
    let digits = covered.iter().take_while(|b| b.is_ascii_digit()).count();
    if digits > LEN_DIGITS_MAX || (digits > 0 && covered[0] == b'0') {
        return Err(Bad::Damage("the length is not written as one"));
    }
    match covered.get(digits) {
        None => return Err(Bad::Short),
        Some(b' ') if digits > 0 => {}
        Some(_) => return Err(Bad::Damage("the length is not written as one")),
    }
    let len: usize = std::str::from_utf8(&covered[..digits])
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(Bad::Damage("the length is not written as one"))?;
    let end = digits + 1 + len;
    match covered.get(end) {
        None => return Err(Bad::Short),
        Some(b'\n') => {}
        Some(_) => return Err(Bad::Damage("the line does not end where its length says")),
    }
    let crc = std::str::from_utf8(&after_tag[..CRC_LEN])
        .ok()
        .and_then(|text| u32::from_str_radix(text, 16).ok());
    if crc != Some(crc32c::crc32c(&covered[..end])) {
        return Err(Bad::Damage("checksum mismatch"));
    }
    let line = payload(&covered[digits + 1..end])?;
    Ok((line, TAG.len() + CRC_LEN + 1 + end + 1))
}

fn payload(bytes: &[u8]) -> Result<Line, Bad> {
    let read = match bytes.starts_with(b"{\"kind\":\"header\"") {
        true => header_payload(bytes),
        false => entry_of(Cursor(bytes)),
    };
    read.ok_or(Bad::Damage("this is no line that this format knows"))
}

/// The version is looked at before all else: what a later format says beside it is not ours to judge.
fn header_payload(bytes: &[u8]) -> Option<Line> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let version = value.get("v")?.as_u64()?;
    if version != VERSION {
        return Some(Line::OtherVersion(version));
    }
    let text = |name| Some(value.get(name)?.as_str()?.to_owned());
    let read = Header {
        plugin: text("plugin")?,
        segment: value.get("segment")?.as_u64().filter(|n| *n > 0)?,
        store: text("store")?,
    };
    let written = header(&read);
    let same = written.strip_suffix(b"\n")?.ends_with(bytes) && value.as_object()?.len() == 5;
    same.then_some(Line::Header(read))
}

fn entry_of(mut cursor: Cursor<'_>) -> Option<Line> {
    cursor.literal("{\"at\":")?;
    let at = cursor.string()?;
    cursor.literal(",\"by\":")?;
    let by = cursor.string()?;
    let mut confirm = None;
    if cursor.literal(",\"confirm\":{\"base\":").is_some() {
        let base = cursor.number()?;
        cursor.literal(",\"deadline\":")?;
        let deadline = cursor.string()?;
        cursor.literal("}")?;
        let outcome = Outcome::Pending;
        confirm = Some(ConfirmMark {
            base,
            deadline,
            outcome,
        });
    }
    let from = match cursor.literal(",\"from\":") {
        Some(()) => Some(cursor.number()?),
        None => None,
    };
    cursor.literal(",\"gen\":")?;
    let generation = cursor.number()?;
    cursor.literal(",\"kind\":")?;
    let kind = cursor.string()?;
    if kind == "confirm" {
        let plain = confirm.is_none() && from.is_none() && cursor.0 == b"}";
        return plain.then_some(Line::Confirm { at, by, generation });
    }
    cursor.literal(",\"op\":")?;
    let op = Op::from_word(&cursor.string()?)?;
    cursor.literal(",\"parent\":")?;
    let parent = cursor.number()?;
    let reason = match cursor.literal(",\"reason\":") {
        Some(()) => Some(cursor.string()?),
        None => None,
    };
    cursor.literal(",\"value\":")?;
    let document = cursor.0.strip_suffix(b"}")?;
    serde_json::from_slice::<serde::de::IgnoredAny>(document).ok()?;
    let entry = Entry {
        generation,
        parent,
        op,
        at,
        by,
        from,
        reason,
        confirm,
        document: document.into(),
    };
    match kind.as_str() {
        "set" => Some(Line::Set(entry)),
        "base" => Some(Line::Base(entry)),
        _ => None,
    }
}

/// What is left of a payload.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn literal(&mut self, text: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(text.as_bytes())?;
        Some(())
    }

    fn string(&mut self) -> Option<String> {
        let inner = self.0.strip_prefix(b"\"")?;
        let mut escaped = false;
        let close = inner.iter().position(|byte| {
            let closes = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            closes
        })?;
        let (text, rest) = self.0.split_at(close + 2);
        self.0 = rest;
        serde_json::from_slice(text).ok()
    }

    fn number(&mut self) -> Option<u64> {
        let digits = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
        let (text, rest) = self.0.split_at(digits);
        if digits > 1 && text[0] == b'0' {
            return None;
        }
        self.0 = rest;
        std::str::from_utf8(text).ok()?.parse().ok()
    }
}
