//! What a segment's bytes say: its entries up to the first line that cannot be, and whether that line was torn by a crash or
//! damaged afterwards (config-api §9.1, R4 to R6). Reads no file.

use super::line::{self, Bad, Header, Line, pending};
use crate::machine::store::{Entry, Op, Outcome};

/// A run of NULs that says: blocks of this file were lost.
const LOST_RUN_LEN: usize = 8;
const SECTOR_LEN: usize = 512;

/// A segment as far as it can be read.
#[derive(Debug, Clone, Default)]
pub(super) struct Segment {
    /// The generation in the file's name.
    pub(super) first: u64,
    pub(super) header: Option<Header>,
    /// The first is the base, the initial value or a recovered one; each says how it ended as far as later lines tell.
    pub(super) entries: Vec<Entry>,
    /// The first entry repeats the last of the segment before.
    pub(super) has_base: bool,
    /// Good lines.
    pub(super) lines: usize,
    /// Bytes of the good lines.
    pub(super) good_len: usize,
    /// Where the first entry begins.
    pub(super) entries_at: usize,
    pub(super) fault: Option<Fault>,
    /// The highest generation that anybody may have been told of, good or not.
    pub(super) highest: u64,
}

/// The first line that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// From 1.
    pub(super) line: usize,
    /// Where it begins, from 0.
    pub(super) byte: usize,
    pub(super) kind: FaultKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// It was being written when the machine or the process ended, so nobody was told of it.
    Torn,
    OtherVersion(u64),
    Damage(String),
}

/// Reads all there is.
pub(super) fn read(first: u64, plugin: &str, bytes: &[u8]) -> Segment {
    let mut segment = Segment {
        first,
        highest: first,
        ..Segment::default()
    };
    while segment.good_len < bytes.len() {
        let rest = &bytes[segment.good_len..];
        let kind = match line::read(rest) {
            Ok((line, len)) => match segment.take(line, plugin) {
                Ok(()) => {
                    segment.lines += 1;
                    segment.good_len += len;
                    if segment.lines == 1 {
                        segment.entries_at = len;
                    }
                    continue;
                }
                Err(kind) => kind,
            },
            // A segment appears whole, with its first entry, so one without was not torn.
            Err(bad) if !segment.entries.is_empty() && torn(rest, segment.good_len, bad) => {
                FaultKind::Torn
            }
            Err(Bad::Short) => damage("the file ends within the line"),
            Err(Bad::Damage(why)) => damage(why),
        };
        segment.fail(kind);
        break;
    }
    if segment.fault.is_none() && segment.entries.is_empty() {
        segment.fail(damage("the file ends before its first generation"));
    }
    let last = match segment.entries.last() {
        Some(last) => last.generation,
        // The lines before the first entry are counted below, as if each were one.
        None => first.saturating_sub(2 - segment.lines.min(1) as u64),
    };
    if segment.damaged() {
        segment.highest = first.max(highest(last, &bytes[segment.good_len..]));
    } else {
        segment.highest = last;
    }
    segment
}

pub(super) fn damage(why: impl Into<String>) -> FaultKind {
    FaultKind::Damage(why.into())
}

/// The highest generation that somebody may have been told of: what a line names, wherever one can be read, and one for each
/// line that cannot, since `last`.
fn highest(last: u64, bytes: &[u8]) -> u64 {
    let mut highest = last;
    let mut at = 0;
    for chunk in bytes.split_inclusive(|byte| *byte == b'\n') {
        // Not only at the beginning: the line end before it may be what was damaged.
        let tags = memchr::memmem::find_iter(chunk, line::TAG);
        let read = tags.filter_map(|tag| line::read(&bytes[at + tag..]).ok());
        let generations = read.map(|(line, _)| match line {
            Line::Base(entry) | Line::Set(entry) => entry.generation,
            Line::Confirm { generation, .. } => generation,
            Line::Header(_) | Line::OtherVersion(_) => 0,
        });
        highest = match generations.max() {
            Some(generation) => highest.max(generation),
            None => highest + 1,
        };
        at += chunk.len();
    }
    highest
}

/// Whether what is left of a file is an interrupted write (R6); `at`: where it begins in the file.
fn torn(rest: &[u8], at: usize, bad: Bad) -> bool {
    let interrupted = bad == Bad::Short && !rest.contains(&b'\n');
    interrupted || rest.last() == Some(&0) || lost_blocks(rest, at)
}

fn lost_blocks(rest: &[u8], at: usize) -> bool {
    let mut start = 0;
    while start < rest.len() {
        let run = rest[start..].iter().take_while(|byte| **byte == 0).count();
        let (from, to) = (at + start, at + start + run);
        if run >= LOST_RUN_LEN && from.next_multiple_of(SECTOR_LEN) <= to {
            return true;
        }
        start += run.max(1);
    }
    false
}

impl Segment {
    fn fail(&mut self, kind: FaultKind) {
        self.fault = Some(Fault {
            line: self.lines + 1,
            byte: self.good_len,
            kind,
        });
    }

    /// Whether it was damaged: more than a torn tail.
    pub(super) fn damaged(&self) -> bool {
        let fault = self.fault.as_ref();
        fault.is_some_and(|fault| fault.kind != FaultKind::Torn)
    }

    fn take(&mut self, line: Line, plugin: &str) -> Result<(), FaultKind> {
        match (line, self.header.is_some()) {
            (Line::Header(header), false) if header.plugin == plugin => {
                self.header = Some(header);
                Ok(())
            }
            (Line::Header(header), false) => {
                let text = format!("the header names plugin `{}`", header.plugin);
                Err(damage(text))
            }
            (Line::OtherVersion(version), false) => Err(FaultKind::OtherVersion(version)),
            (_, false) => Err(damage("the first line is no header")),
            (Line::Header(_) | Line::OtherVersion(_), true) => Err(damage("a second header")),
            (Line::Base(entry), true) => self.base(entry),
            (Line::Set(entry), true) => self.set(entry),
            (Line::Confirm { generation, .. }, true) => self.confirm(generation),
        }
    }

    fn base(&mut self, entry: Entry) -> Result<(), FaultKind> {
        if !self.entries.is_empty() || entry.generation != self.first {
            return Err(damage(format!(
                "a base of generation {} does not belong here",
                entry.generation
            )));
        }
        self.has_base = true;
        self.entries.push(entry);
        Ok(())
    }

    fn set(&mut self, entry: Entry) -> Result<(), FaultKind> {
        let generation = entry.generation;
        let Some(last) = self.entries.last_mut() else {
            let begins = match entry.op {
                Op::Initial => (generation, entry.parent) == (1, 0),
                Op::Recover => entry.parent < generation,
                _ => false,
            };
            if !begins || generation != self.first || entry.confirm.is_some() {
                return Err(damage(format!(
                    "generation {generation} cannot begin the file"
                )));
            }
            self.entries.push(entry);
            return Ok(());
        };
        if generation != last.generation + 1 || entry.parent != last.generation {
            let text = format!(
                "generation {generation} on {} follows generation {}",
                entry.parent, last.generation
            );
            return Err(damage(text));
        }
        let (waits_for, last_generation) = (pending(last).map(|mark| mark.base), last.generation);
        let base = entry.confirm.as_ref().map(|mark| mark.base);
        let outcome = match (waits_for, base, entry.op, entry.reason.as_deref()) {
            (_, _, Op::Initial | Op::Recover, _) => {
                return Err(damage(format!("op {} within a file", entry.op)));
            }
            (Some(base), Some(same), ..) if base == same => Some(Outcome::Superseded),
            (Some(_), None, Op::AutoRollback, Some("deadline")) => Some(Outcome::Expired),
            (Some(_), None, Op::AutoRollback, Some("restart")) => Some(Outcome::Restart),
            (Some(_), None, Op::Rollback, None) => Some(Outcome::Cancelled),
            (None, None, op, None) if op != Op::AutoRollback => None,
            (None, Some(base), op, None) if op != Op::AutoRollback && base == last_generation => {
                None
            }
            _ => {
                let text =
                    format!("generation {generation} contradicts what waits for its confirmation");
                return Err(damage(text));
            }
        };
        if let (Some(outcome), Some(mark)) = (outcome, &mut last.confirm) {
            mark.outcome = outcome;
        }
        self.entries.push(entry);
        Ok(())
    }

    fn confirm(&mut self, generation: u64) -> Result<(), FaultKind> {
        let last = self.entries.last_mut();
        let mark = last
            .filter(|last| last.generation == generation)
            .and_then(|last| last.confirm.as_mut())
            .filter(|mark| mark.outcome == Outcome::Pending);
        match mark {
            Some(mark) => {
                mark.outcome = Outcome::Confirmed;
                Ok(())
            }
            None => Err(damage(format!(
                "the confirmation of generation {generation}, which does not wait for one"
            ))),
        }
    }
}
