//! The way to stderr, which logs and problems share.
//!
//! For a command that ends by itself it is a plain write. For a run it waits at most [`PATIENCE`] for a reader that stands
//! still, and then not at all until that one reads again: lines are lost and counted, and neither the host nor its end waits
//! for whoever reads its log.

use super::report::LogFormat;
use parking_lot::Mutex;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FileType, Mode, OFlags, fstat, open},
    io::{Errno, retry_on_intr},
};
use std::{
    io::{self, IsTerminal as _, Write},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::OnceLock,
    time::Duration,
};
use tracing_subscriber::fmt::{
    format::Writer,
    time::{FormatTime as _, SystemTime},
};

/// A log's reader that is alive reads within this; the one that waits is whoever has something to say.
const PATIENCE: Duration = Duration::from_secs(1);

/// A write of this length to a pipe does not wait where a poll has said that there is room: PIPE_BUF.
const PIECE: usize = 4096;

static RUN: OnceLock<Mutex<Way>> = OnceLock::new();

/// From now on no line waits for a reader that stands still.
pub(super) fn never_wait(format: LogFormat) {
    let _ = RUN.set(Mutex::new(Way {
        format,
        to: opened_anew(),
        rest: Vec::new(),
        dropped: 0,
        stands_still: false,
    }));
}

/// Writes one line, its end included. Never fails: nobody may be reading.
pub(super) fn write(line: &[u8]) {
    match RUN.get() {
        Some(way) => way.lock().push(line),
        None => drop(io::stderr().write_all(line)),
    }
}

/// As [`write`], for who wants a writer.
pub(super) struct Line;

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        write(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Terminals and pipes once more, in a description of our own that never waits: a terminal has room for a part of a line where
/// a poll says so, and whoever else writes to a pipe may have been faster. What others share stays as it is.
fn opened_anew() -> Option<OwnedFd> {
    let stderr = rustix::stdio::stderr();
    let kind = FileType::from_raw_mode(fstat(stderr).ok()?.st_mode);
    if kind != FileType::Fifo && !io::stderr().is_terminal() {
        return None;
    }
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    // Another user's, as after `su`, cannot be opened; then it is written to as it is.
    open("/proc/self/fd/2", flags, Mode::empty()).ok()
}

struct Way {
    format: LogFormat,
    /// Where descriptor 2 leads to; itself where there is none.
    to: Option<OwnedFd>,
    /// What is left of a line that was begun.
    rest: Vec<u8>,
    /// Lines that were lost since the last that was written.
    dropped: u64,
    stands_still: bool,
}

impl Way {
    fn push(&mut self, line: &[u8]) {
        let rest = std::mem::take(&mut self.rest);
        if !self.put(&rest) {
            self.rest = rest;
            self.dropped += 1;
            return;
        }
        if self.dropped > 0 && self.rest.is_empty() {
            let note = self.note();
            if self.put(note.as_bytes()) {
                self.dropped = 0;
            }
        }
        if self.dropped > 0 || !self.rest.is_empty() || !self.put(line) {
            self.dropped += 1;
        }
    }

    /// Whether any of it went, or will go as the rest; or there is nobody to whom it could.
    fn put(&mut self, bytes: &[u8]) -> bool {
        let mut left = bytes;
        while !left.is_empty() {
            let piece = &left[..left.len().min(PIECE)];
            let written = match self.has_room() {
                true => retry_on_intr(|| rustix::io::write(self.to(), piece)),
                false => Err(Errno::AGAIN),
            };
            match written {
                Ok(count) => left = &left[count..],
                // A line that was begun is ended, or two would stand in one.
                Err(Errno::AGAIN) if left.len() < bytes.len() => {
                    self.rest = left.to_vec();
                    return true;
                }
                Err(Errno::AGAIN) => return false,
                Err(_) => return true,
            }
        }
        true
    }

    fn to(&self) -> BorrowedFd<'_> {
        match &self.to {
            Some(own) => own.as_fd(),
            None => rustix::stdio::stderr(),
        }
    }

    fn has_room(&mut self) -> bool {
        let patience = match self.stands_still {
            true => Duration::ZERO,
            false => PATIENCE,
        };
        let to = self.to();
        let mut asked = [PollFd::new(&to, PollFlags::OUT)];
        let patience = Timespec::try_from(patience).ok();
        // An error is the write's to tell.
        let has_room = retry_on_intr(|| poll(&mut asked, patience.as_ref())) != Ok(0);
        self.stands_still = !has_room;
        has_room
    }

    fn note(&self) -> String {
        let text = format!(
            "{} lines of the log are lost: whoever reads it had stopped reading",
            self.dropped
        );
        let mut now = String::new();
        // Writing to a String cannot fail.
        let _ = SystemTime.format_time(&mut Writer::new(&mut now));
        match self.format {
            LogFormat::Text => format!("{now}  WARN {}: {text}\n", module_path!()),
            LogFormat::Json => {
                let event = serde_json::json!({
                    "timestamp": now, "level": "WARN", "message": text, "lost": self.dropped,
                    "target": module_path!(),
                });
                format!("{event}\n")
            }
        }
    }
}
