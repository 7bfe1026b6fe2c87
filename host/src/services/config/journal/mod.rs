//! The journal of one topic (config-api §9): what makes a change durable before anybody is told of it, and what a start
//! finds again.
//!
//! `line` says how a line is written, `segment` what a file of them says, `recovery` what to do about it: these three touch
//! no disk. `disk` makes the calls; this file and `open` put both together. It decides nothing about changes: the store does.
//!
//! Invariant: bytes before `len` are on stable storage; nothing after it was ever acknowledged.

mod disk;
#[cfg(fuzzing)]
pub mod fuzz;
mod line;
mod open;
mod recovery;
mod segment;
mod syncs;
#[cfg(test)]
mod tests;

use crate::{machine::store::Entry, services::clock};
use disk::{Folder, is_full, is_unsupported};
use line::Header;
use std::{fs::File, io, sync::Arc};

pub(crate) use disk::{Disk, RealDisk};
pub use open::Recover;
pub(crate) use open::{Opened, Opening, Trouble, open};
pub(crate) use syncs::Syncs;

/// A segment this long is followed by another.
const SEGMENT_LEN_MAX: u64 = 4 << 20;
const SEGMENT_LINES_MAX: usize = 1_000;

/// The most that a line holds beside its value, in bytes: names, times, `by`.
const LINE_OVERHEAD: u64 = 1_024;

/// Why lines were not appended.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// There is no room. Nothing was written; it may be tried again.
    Full(String),
    /// A write or a sync failed: from here nothing more is written. What was asked for may yet be found at the next start.
    Failed(String),
}

/// Lines of one commit.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    bytes: Vec<u8>,
    count: usize,
}

impl Lines {
    pub(crate) fn set(&mut self, entry: &Entry) {
        self.push(line::set(entry));
    }

    pub(crate) fn confirm(&mut self, at: &str, by: &str, generation: u64) {
        self.push(line::confirm(at, by, generation));
    }

    fn push(&mut self, mut line: Vec<u8>) {
        self.bytes.append(&mut line);
        self.count += 1;
    }
}

/// Whether an append leaves room for the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// It secures what a later auto-rollback needs.
    KeepReserve,
    /// It is what the room was kept for.
    UseReserve,
}

/// An open journal.
pub(crate) struct Journal {
    disk: Arc<dyn Disk>,
    folder: Folder,
    header: Header,
    active: File,
    /// The generation in the active segment's name.
    first: u64,
    len: u64,
    lines: usize,
    /// First generation and length of each older segment, oldest first.
    sealed: Vec<(u64, u64)>,
    /// Room for one largest line.
    reserve: u64,
    failed: Option<String>,
    syncs: Syncs,
}

impl Journal {
    /// Why nothing is written any more.
    pub(crate) fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// How long the syncs of commits took since the journal was opened.
    pub(crate) fn syncs(&self) -> &Syncs {
        &self.syncs
    }

    /// Bytes of all segments.
    pub(crate) fn len_bytes(&self) -> u64 {
        self.sealed.iter().map(|(_, len)| len).sum::<u64>() + self.len
    }

    /// How large a value may be from now on.
    pub(crate) fn value_len_max(&mut self, bytes: usize) {
        self.reserve = bytes as u64 + LINE_OVERHEAD;
    }

    /// One write and one sync. After an `Ok` the lines are durable.
    pub(crate) fn append(&mut self, lines: &Lines, room: Room) -> Result<(), AppendError> {
        if let Some(failed) = &self.failed {
            return Err(AppendError::Failed(failed.clone()));
        }
        let len = lines.bytes.len() as u64;
        let wanted = match room {
            Room::KeepReserve => len + self.reserve,
            Room::UseReserve => len,
        };
        match self.disk.reserve(&self.active, self.len, wanted) {
            Ok(()) => {}
            Err(error) if is_unsupported(&error) => {}
            // The file system may count what it holds in reserve otherwise than expected: the write itself decides.
            Err(error) if is_full(&error) && room == Room::UseReserve => {}
            Err(error) if is_full(&error) => return Err(AppendError::Full(error.to_string())),
            Err(error) => return Err(self.fail("securing space", &error)),
        }
        match self.disk.write(&self.active, &lines.bytes, self.len) {
            Ok(()) => {}
            Err(error) if is_full(&error) => {
                return match self.disk.truncate(&self.active, self.len) {
                    Ok(()) => Err(AppendError::Full(error.to_string())),
                    Err(error) => Err(self.fail("cutting back a line", &error)),
                };
            }
            Err(error) => return Err(self.fail("writing", &error)),
        }
        let begun = clock::monotonic();
        let synced = self.disk.sync(&self.active);
        self.syncs.observe(clock::monotonic() - begun);
        match synced {
            Ok(()) => {}
            // Never asked again: the kernel reports a lost write once, and then forgets it.
            Err(error) => return Err(self.fail("syncing", &error)),
        }
        self.len += len;
        self.lines += lines.count;
        Ok(())
    }

    fn fail(&mut self, doing: &str, error: &io::Error) -> AppendError {
        let text = format!("{doing} {} failed: {error}", self.active_name());
        tracing::error!(
            topic = self.header.plugin,
            "{text}; the topic is read-only until the host is started again"
        );
        // What is behind the last good line was not acknowledged. If this fails too, recovery judges what is there.
        let _ = self.disk.truncate(&self.active, self.len);
        self.failed = Some(text.clone());
        AppendError::Failed(text)
    }

    fn active_name(&self) -> String {
        segment_name(self.first)
    }

    /// Begins another segment where the active one is long enough; `head` is current.
    ///
    /// Without room for it the active one grows on, and whether the change has room is seen there.
    pub(crate) fn rotate_if_due(&mut self, head: &Entry) -> Result<(), AppendError> {
        let long = self.len >= SEGMENT_LEN_MAX || self.lines >= SEGMENT_LINES_MAX;
        // A name is a generation: there is none for a second segment that begins with the same.
        if !long || self.failed.is_some() || head.generation <= self.first {
            return Ok(());
        }
        let header = Header {
            segment: self.header.segment + 1,
            ..self.header.clone()
        };
        let lines = [line::header(&header), line::base(head)].concat();
        match begin(
            &*self.disk,
            &self.folder,
            head.generation,
            &lines,
            self.reserve,
        ) {
            Ok(file) => {
                // The old one needs no reserve any more. If it keeps it, only space is lost.
                let _ = self.disk.truncate(&self.active, self.len);
                self.sealed.push((self.first, self.len));
                (self.active, self.header, self.first) = (file, header, head.generation);
                (self.len, self.lines) = (lines.len() as u64, 2);
                Ok(())
            }
            Err(error) if is_full(&error) => Ok(()),
            Err(error) => Err(self.fail("beginning the segment after", &error)),
        }
    }

    /// Deletes the oldest segments as long as all they hold is older than `oldest`, the oldest generation that is needed.
    pub(crate) fn retain(&mut self, oldest: u64) {
        while let Some((first, _)) = self.sealed.first().copied() {
            // Its last generation is the next one's base, or older.
            let next = self.sealed.get(1).map_or(self.first, |(next, _)| *next);
            if next > oldest {
                return;
            }
            if let Err(error) = self.folder.remove(&segment_name(first)) {
                // Another try at the next rotation; nothing depends on it.
                tracing::debug!(topic = self.header.plugin, %error, "an old segment stays");
                if error.kind() != io::ErrorKind::NotFound {
                    return;
                }
            }
            self.sealed.remove(0);
        }
    }
}

fn segment_name(first: u64) -> String {
    format!("{first:020}.hsj")
}

/// A segment that appears whole or not at all.
fn begin(
    disk: &dyn Disk,
    folder: &Folder,
    first: u64,
    lines: &[u8],
    reserve: u64,
) -> io::Result<File> {
    let name = segment_name(first);
    let temporary = format!("{name}.tmp");
    let written = folder.create(&temporary).and_then(|file| {
        match disk.reserve(&file, 0, lines.len() as u64 + reserve) {
            Err(error) if !is_unsupported(&error) => return Err(error),
            _ => {}
        }
        disk.write(&file, lines, 0)?;
        disk.sync(&file)?;
        folder.rename(&temporary, &name)?;
        Ok(file)
    });
    let file = written.inspect_err(|_| {
        // A leftover is deleted at the next start.
        let _ = folder.remove(&temporary);
    })?;
    folder.sync()?;
    Ok(file)
}
