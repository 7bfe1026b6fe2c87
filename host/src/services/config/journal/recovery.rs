//! What a start makes of the segments it found (config-api §9.1): go on, refuse, or, when the operator asks for it, continue
//! from the newest good generation. Decides only; reads no file and writes none.

use super::{
    line::pending,
    segment::{Fault, FaultKind, Segment, damage},
};
use crate::machine::store::{Entry, Op, Outcome};

/// A journal that can be continued.
#[derive(Debug)]
pub(super) struct Healthy {
    pub(super) store: String,
    /// Oldest first; the newest is current.
    pub(super) entries: Vec<Entry>,
    /// Older segments cannot be read: their generations are gone (R7).
    pub(super) history_damaged: bool,
}

/// A journal that cannot be continued as it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// Index of the segment.
    pub(super) segment: usize,
    pub(super) fault: Fault,
    /// The newest generation before the fault; 0 where there is none.
    pub(super) last_good: u64,
}

/// Rules R4 to R7 over all segments, oldest first; there is at least one.
pub(super) fn judge(segments: &[Segment]) -> Result<Healthy, Broken> {
    let (newest, older) = segments.split_last().expect("there is a segment");
    let mut bad = damaged(segments);
    let broken = |fault: Fault| Broken {
        segment: older.len(),
        last_good: last_good(segments),
        fault,
    };
    if let Some(fault) = newest.fault.as_ref().filter(|_| newest.damaged()) {
        return Err(broken(fault.clone()));
    }
    if let (Some(before), Some(false)) = (older.last(), bad.iter().rev().nth(1)) {
        if !continues(before, newest) {
            let text = format!(
                "the file does not continue its predecessor, which ends with generation {}",
                before.entries.last().map_or(0, |entry| entry.generation)
            );
            return Err(Broken {
                last_good: before.entries.last().map_or(0, |entry| entry.generation),
                segment: older.len(),
                // The second line is the base; the header is good, or this would not be reached.
                fault: Fault {
                    line: 2,
                    byte: newest.entries_at,
                    kind: damage(text),
                },
            });
        }
    }
    let store = newest.header.as_ref().map(|header| header.store.clone());
    // The newest is not bad here.
    bad.pop();
    let history_damaged = bad.contains(&true);
    bad.push(false);
    let mut entries = merge(segments, &bad);
    end_passed_over(&mut entries);
    Ok(Healthy {
        store: store.unwrap_or_default(),
        entries,
        history_damaged,
    })
}

/// Which segments are not what a journal of the newest one's store would have there.
pub(super) fn damaged(segments: &[Segment]) -> Vec<bool> {
    let store = |segment: &Segment| segment.header.as_ref().map(|header| header.store.clone());
    let newest = segments.last().and_then(store);
    let last = segments.len().saturating_sub(1);
    segments
        .iter()
        .enumerate()
        .map(|(index, segment)| {
            // Only the newest is ever written to, so only there a torn tail is a crash's.
            let fault = segment.damaged() || (index < last && segment.fault.is_some());
            let strange = newest.is_some() && store(segment) != newest;
            let follows = match segments.get(index + 1) {
                Some(next) if index + 1 < last && !next.entries.is_empty() => {
                    continues(segment, next)
                }
                _ => true,
            };
            fault || strange || !follows
        })
        .collect()
}

fn continues(before: &Segment, next: &Segment) -> bool {
    let (Some(last), Some(first)) = (before.entries.last(), next.entries.first()) else {
        return false;
    };
    match next.has_base {
        true => unended(last) == unended_base(first),
        false => last.generation < first.generation,
    }
}

/// An entry as a base line repeats it: with its confirmation only while that is open.
fn unended(entry: &Entry) -> Entry {
    Entry {
        confirm: pending(entry).cloned(),
        ..entry.clone()
    }
}

/// A base as its line was, whatever later lines made of its confirmation.
fn unended_base(entry: &Entry) -> Entry {
    let mut entry = entry.clone();
    if let Some(mark) = &mut entry.confirm {
        mark.outcome = Outcome::Pending;
    }
    entry
}

/// All entries of the segments that are not bad.
fn merge(segments: &[Segment], bad: &[bool]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let good = segments.iter().zip(bad).filter(|(_, bad)| !**bad);
    for (segment, _) in good {
        for entry in &segment.entries {
            match entries.last_mut() {
                Some(last) if last.generation == entry.generation => {
                    // The repeated one knows how its confirmation ended; a plain one knows less than what it repeats.
                    if entry.confirm.is_some() {
                        *last = entry.clone();
                    }
                }
                Some(last) if last.generation > entry.generation => {}
                _ => entries.push(entry.clone()),
            }
        }
    }
    entries
}

/// Marks what waited for its confirmation when a recovery continued from before it: no line says so, and nothing waits there
/// any more.
pub(super) fn end_passed_over(entries: &mut [Entry]) {
    for at in 1..entries.len() {
        if entries[at].op == Op::Recover && pending(&entries[at - 1]).is_some() {
            if let Some(mark) = &mut entries[at - 1].confirm {
                mark.outcome = Outcome::Restart;
            }
        }
    }
}

/// Whether it was ever more than a trial: a plain change, or one that was confirmed.
fn stood(entry: &Entry) -> bool {
    let mark = entry.confirm.as_ref();
    mark.is_none_or(|mark| mark.outcome == Outcome::Confirmed)
}

fn last_good(segments: &[Segment]) -> u64 {
    let generations = segments
        .iter()
        .filter_map(|segment| segment.entries.last())
        .map(|entry| entry.generation);
    generations.max().unwrap_or(0)
}

/// How a damaged journal is continued.
#[derive(Debug)]
pub(super) struct Salvage {
    /// Entries of the segments that stay.
    pub(super) kept: Vec<Entry>,
    /// The newest good one; `None`: there is none.
    pub(super) from: Option<Entry>,
    /// The highest generation that was ever named.
    pub(super) highest: u64,
    /// The store's id, where a header tells.
    pub(super) store: Option<String>,
    /// The number of the next segment.
    pub(super) segment: u64,
    /// Segments that are put aside.
    pub(super) damaged: Vec<bool>,
}

/// Takes the newest generation before any damage that `admits` lets pass. A trial is passed over that was never confirmed, whether
/// it still waits or was taken back: neither a damaged file nor another schema confirms anything.
pub(super) fn salvage(
    segments: &[Segment],
    broken: Option<&Broken>,
    admits: &dyn Fn(&Entry) -> bool,
) -> Salvage {
    let mut damaged = damaged(segments);
    let mut strange = None;
    if let Some(broken) = broken {
        damaged[broken.segment] = true;
        // Read without a fault of its own, and yet not this journal's: none of its generations counts as good.
        strange = Some(broken.segment).filter(|index| segments[*index].fault.is_none());
    }
    let candidates = segments
        .iter()
        .enumerate()
        .filter(|(i, _)| Some(*i) != strange);
    let candidates = candidates.flat_map(|(_, segment)| &segment.entries);
    let mut candidates: Vec<&Entry> = candidates.filter(|e| stood(e)).collect();
    candidates.sort_by_key(|entry| std::cmp::Reverse(entry.generation));
    let from = candidates.into_iter().find(|entry| admits(entry)).cloned();
    let headers = || segments.iter().rev().filter_map(|s| s.header.as_ref());
    Salvage {
        kept: merge(segments, &damaged),
        from,
        highest: segments.iter().map(|s| s.highest).max().unwrap_or(0),
        store: headers().next().map(|header| header.store.clone()),
        segment: headers().map(|header| header.segment).max().unwrap_or(0) + 1,
        damaged,
    }
}

impl Broken {
    /// The version of a format that this host does not know.
    pub(super) fn version(&self) -> Option<u64> {
        match self.fault.kind {
            FaultKind::OtherVersion(version) => Some(version),
            _ => None,
        }
    }

    pub(super) fn why(&self) -> String {
        match &self.fault.kind {
            FaultKind::Torn => "the line is not complete".to_owned(),
            FaultKind::OtherVersion(version) => format!("format version {version}"),
            FaultKind::Damage(why) => why.clone(),
        }
    }
}
