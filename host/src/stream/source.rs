//! Reads bytes and cuts them into records and batches, as soon as they are at hand and never later.
//!
//! A record is a line without its newline and without one carriage return before that; its bytes are otherwise passed
//! as they came, UTF-8 or not. Whatever was read comes out: lines, the unterminated rest at an end or a stop, or a
//! fault that says how much was left out. [`Source::next`] blocks, so it lives on a thread of its own; it decides
//! nothing about faults, starts no thread, logs nothing and retries nothing.

mod holder;
mod open;
mod stop;

use std::{
    fmt, io, mem,
    net::{SocketAddr, TcpListener},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use memchr::{memchr, memchr_iter};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, read},
};

pub use self::{open::Endpoint, stop::StopHandle};
use self::{open::Input, stop::Stop};
use super::batch::{Batch, LineEnd};
use crate::error::{Blame, ExitCode, Problem};

/// What one `read` asks for, in bytes. A pipe gives 64 KiB at most; larger reads of a file gained nothing measurable.
const CHUNK_BYTES: usize = 128 << 10;

/// How much is kept of a record that is too long, in bytes: enough to recognise it by.
pub const KEPT_BYTES_MAX: usize = 64 << 10;

/// What a record or a batch may be limited to, in bytes. A batch's offsets are u32, and a batch is at most one record
/// over its limit.
pub const LIMIT_BYTES_MAX: usize = 1 << 30;

/// How much of a stream is read after a stop, byte by byte, to end the line in hand. Enough for any line a person or a
/// log writes, and 40 ms of system calls at worst.
const FINISH_BYTES_MAX: usize = 64 << 10;

/// Where batches and records end. Values outside 1 to [`LIMIT_BYTES_MAX`] count as the nearest inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Records of a batch, at most.
    pub batch_records: usize,
    /// Bytes of a batch, at most, line ends not counted; a larger record is a batch of its own.
    pub batch_bytes: usize,
    /// Bytes of a record, at most; a longer line is a [`SourceError::TooLong`].
    pub record_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch_records: 1024,
            batch_bytes: 64 << 10,
            record_max: 16 << 20,
        }
    }
}

impl Limits {
    fn within_bounds(self) -> Self {
        let bound = |limit: usize| limit.clamp(1, LIMIT_BYTES_MAX);
        Self {
            batch_records: bound(self.batch_records),
            batch_bytes: bound(self.batch_bytes),
            record_max: bound(self.record_max),
        }
    }
}

/// What [`Source::next`] came back with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// At least one record is in the batch.
    Batch,
    /// The source has ended and all of it was delivered. Said again by each further call.
    End,
    /// The source was stopped, and all that had been read was delivered. Said again by each further call.
    Stopped,
}

/// Why there is no batch. The batches before it were delivered; what follows comes with the next call.
#[derive(Debug)]
pub enum SourceError {
    /// A line was longer than [`Limits::record_max`]. It was skipped up to its newline without being kept.
    TooLong {
        /// The source, as [`Endpoint`] spells it.
        source: String,
        /// Where the line begins, in bytes from the start of the source.
        offset: u64,
        /// Its length in bytes without its line end; at an end or a stop, as much as had come.
        len: u64,
        /// The limit it broke, in bytes.
        record_max: usize,
        /// Its first bytes, [`KEPT_BYTES_MAX`] at most.
        kept: Vec<u8>,
    },
    /// The source could not be read on. Further calls say [`Cut::End`].
    Io {
        /// The source, as [`Endpoint`] spells it.
        source: String,
        /// Up to where it was read, in bytes from its start.
        offset: u64,
        /// What the system said.
        error: io::Error,
    },
}

impl SourceError {
    /// Who must act.
    #[must_use]
    pub fn blame(&self) -> Blame {
        Blame::Environment
    }

    /// The same, as what ends a run.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let code = match self {
            Self::TooLong { .. } => "record-too-long",
            Self::Io { .. } => "source-failed",
        };
        let problem = Problem::error(ExitCode::Running, self.blame(), code, self.to_string());
        match self {
            Self::TooLong {
                len, record_max, ..
            } => problem
                .wanted(format!(
                    "records of at most {record_max} bytes (`[stream] record_max`)"
                ))
                .found(format!("{len} bytes without a line end"))
                .fix("raise `record_max`, or keep such records with `on_error = \"dead-letter\"`"),
            Self::Io { error, .. } => problem.found(error.to_string()),
        }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong {
                source,
                offset,
                len,
                record_max,
                ..
            } => write!(
                f,
                "the record at byte {offset} of the source {source} is {len} bytes long, over the limit of {record_max}"
            ),
            Self::Io {
                source,
                offset,
                error,
            } => {
                write!(f, "the source {source} failed at byte {offset}: {error}")
            }
        }
    }
}

impl std::error::Error for SourceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::TooLong { .. } => None,
            Self::Io { error, .. } => Some(error),
        }
    }
}

/// An open source. Dropping it closes its descriptors.
#[derive(Debug)]
pub struct Source {
    name: String,
    input: Input,
    stop: Stop,
    limits: Limits,
    window: Window,
    /// The overlong line that is being skipped.
    skip: Option<Skip>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Reading,
    /// Nothing more is read; what the window holds goes out before the ending is told.
    Draining(Ending),
}

#[derive(Debug)]
enum Ending {
    End,
    Stopped,
    /// A listener's peer has gone; the next one may come.
    PeerClosed,
    Failed(io::Error),
}

/// What has been read and not yet been delivered.
#[derive(Debug)]
struct Window {
    /// All of it initialised; grows with the line that does not fit, up to the record limit and one chunk.
    buffer: Vec<u8>,
    /// The first byte not yet delivered: the beginning of a line.
    start: usize,
    /// Up to here no newline stands after `start`.
    scanned: usize,
    /// The end of what was read.
    end: usize,
    /// Byte offset of `buffer[0]` in the source.
    base: u64,
}

/// A line that is not kept.
#[derive(Debug)]
struct Skip {
    offset: u64,
    len: u64,
    kept: Vec<u8>,
    /// Whether the last byte so far may turn out to belong to the line end.
    ends_with_return: bool,
}

/// Why cutting paused.
enum Lines {
    /// The batch has reached a limit, or the next line does not fit into it.
    Full,
    /// The next line is over the record limit.
    TooLong,
    /// No complete line is left.
    Dry,
}

/// Whether a wait may last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Until there is something.
    Wait,
    /// A batch is in hand: only what is there already.
    Look,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filled {
    /// Something changed: look again.
    Changed,
    /// Nothing is at hand.
    Nothing,
}

enum Ready {
    Input,
    Stop,
    Neither,
}

impl Source {
    /// Opens a source. Nothing is read yet.
    ///
    /// # Errors
    /// `source-missing`, `source-unreadable`, `source-refused` (all exit 1), `source-port-taken` and
    /// `source-unlistenable` (exit 4).
    pub fn open(endpoint: &Endpoint, limits: Limits) -> Result<Self, Problem> {
        Self::new(open::open(endpoint)?, endpoint.to_string(), limits)
    }

    /// Takes a descriptor that is open already; `name` is what errors call it.
    ///
    /// # Errors
    /// `source-unreadable` where it is a folder.
    pub(crate) fn from_fd(fd: OwnedFd, name: &str, limits: Limits) -> Result<Self, Problem> {
        Self::new(open::from_fd(fd, name)?, name.to_owned(), limits)
    }

    fn new(input: Input, name: String, limits: Limits) -> Result<Self, Problem> {
        let stop = Stop::new().map_err(|error| open::unstoppable(&name, &error))?;
        Ok(Self {
            name,
            input,
            stop,
            limits: limits.within_bounds(),
            window: Window::new(),
            skip: None,
            phase: Phase::Reading,
        })
    }

    /// The source, as [`Endpoint`] spells it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What stops it, from any thread.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.handle()
    }

    /// Where a `tcp-listen` source listens.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.input {
            Input::Listener { listener, .. } => listener.local_addr().ok(),
            Input::Regular(_) | Input::Stream(_) => None,
        }
    }

    /// Waits for records and puts them into `batch`, whose former contents are cleared. A batch ends at its limits, or
    /// where the source has nothing more at hand. After an error the next call goes on behind it.
    ///
    /// # Errors
    /// [`SourceError::TooLong`] instead of the line concerned, [`SourceError::Io`] at most once. The batch is then
    /// empty.
    pub fn next(&mut self, batch: &mut Batch) -> Result<Cut, SourceError> {
        batch.clear();
        loop {
            if self.skip.is_some() {
                if let Some(fault) = self.skip_line() {
                    return Err(fault);
                }
            } else {
                match self.cut_lines(batch) {
                    Lines::Full => return Ok(Cut::Batch),
                    // What came before it is delivered before it.
                    Lines::TooLong if !batch.is_empty() => return Ok(Cut::Batch),
                    Lines::TooLong => {
                        self.skip = Some(Skip::at(self.window.offset()));
                        continue;
                    }
                    Lines::Dry => {}
                }
            }
            if matches!(self.phase, Phase::Draining(_)) {
                if !batch.is_empty() {
                    return Ok(Cut::Batch);
                }
                match self.ending() {
                    Some(ending) => return ending,
                    None => continue,
                }
            }
            let patience = if batch.is_empty() {
                Patience::Wait
            } else {
                Patience::Look
            };
            if self.fill(patience) == Filled::Nothing && patience == Patience::Look {
                return Ok(Cut::Batch);
            }
        }
    }

    /// Moves lines from the window into the batch.
    fn cut_lines(&mut self, batch: &mut Batch) -> Lines {
        let Limits {
            batch_records,
            batch_bytes,
            record_max,
        } = self.limits;
        let window = &mut self.window;
        let bytes = &window.buffer[..window.end];
        let (mut start, scanned) = (window.start, window.scanned);
        let mut outcome = Lines::Dry;
        for newline in memchr_iter(b'\n', &bytes[scanned..]) {
            let line = &bytes[start..scanned + newline];
            let (record, line_end) = match line.split_last() {
                Some((b'\r', record)) => (record, LineEnd::ReturnNewline),
                _ => (line, LineEnd::Newline),
            };
            if record.len() > record_max {
                outcome = Lines::TooLong;
                break;
            }
            if !batch.is_empty() && batch.bytes().len() + record.len() > batch_bytes {
                outcome = Lines::Full;
                break;
            }
            batch.push_line(record, window.base + start as u64, line_end);
            start = scanned + newline + 1;
            if batch.len() >= batch_records || batch.bytes().len() >= batch_bytes {
                outcome = Lines::Full;
                break;
            }
        }
        window.start = start;
        window.scanned = if matches!(outcome, Lines::Dry) {
            window.end
        } else {
            start
        };
        match outcome {
            Lines::Dry => self.cut_rest(batch),
            paused => paused,
        }
    }

    /// What stands behind the last newline: a line that is not complete, and never will be once nothing more is read.
    fn cut_rest(&mut self, batch: &mut Batch) -> Lines {
        let rest = self.window.rest();
        match self.phase {
            // One byte more could still be the carriage return of a line that is just short enough.
            Phase::Reading if rest.len() > self.limits.record_max + 1 => Lines::TooLong,
            Phase::Reading => Lines::Dry,
            Phase::Draining(_) if rest.is_empty() => Lines::Dry,
            Phase::Draining(_) if rest.len() > self.limits.record_max => Lines::TooLong,
            Phase::Draining(_) => {
                let full = batch.bytes().len() + rest.len() > self.limits.batch_bytes;
                if full && !batch.is_empty() {
                    return Lines::Full;
                }
                batch.push_line(rest, self.window.offset(), LineEnd::Newline);
                self.window.consume(rest.len());
                Lines::Full
            }
        }
    }

    /// Passes over the overlong line as far as it was read. It is reported when its end, or the source's, is known.
    fn skip_line(&mut self) -> Option<SourceError> {
        let skip = self.skip.as_mut()?;
        let rest = self.window.rest();
        let ended = match memchr(b'\n', rest) {
            Some(newline) => {
                skip.absorb(&rest[..newline]);
                skip.drop_return();
                self.window.consume(newline + 1);
                true
            }
            None => {
                skip.absorb(rest);
                self.window.consume(rest.len());
                matches!(self.phase, Phase::Draining(_))
            }
        };
        if !ended {
            return None;
        }
        self.skip.take().map(|skip| SourceError::TooLong {
            source: self.name.clone(),
            offset: skip.offset,
            len: skip.len,
            record_max: self.limits.record_max,
            kept: skip.kept,
        })
    }

    /// Everything was delivered: what to say now, or `None` where another peer may come.
    fn ending(&mut self) -> Option<Result<Cut, SourceError>> {
        match mem::replace(&mut self.phase, Phase::Draining(Ending::End)) {
            Phase::Draining(Ending::End) => Some(Ok(Cut::End)),
            Phase::Draining(Ending::Stopped) => {
                self.phase = Phase::Draining(Ending::Stopped);
                Some(Ok(Cut::Stopped))
            }
            Phase::Draining(Ending::Failed(error)) => Some(Err(SourceError::Io {
                source: self.name.clone(),
                offset: self.window.offset(),
                error,
            })),
            Phase::Draining(Ending::PeerClosed) | Phase::Reading => {
                if let Input::Listener { peer, .. } = &mut self.input {
                    *peer = None;
                }
                self.phase = Phase::Reading;
                None
            }
        }
    }

    /// One step of getting more: a peer, some bytes, or an ending.
    fn fill(&mut self, patience: Patience) -> Filled {
        self.window.settle();
        if self.stop.is_raised() {
            return self.stop_here();
        }
        if !matches!(self.input, Input::Regular(_)) {
            match self.wait(patience) {
                Ok(Ready::Input) => {}
                Ok(Ready::Stop) => return self.stop_here(),
                Ok(Ready::Neither) => return Filled::Nothing,
                Err(errno) => return self.end(Ending::Failed(errno.into())),
            }
        }
        if let Input::Listener {
            listener,
            peer: peer @ None,
        } = &mut self.input
        {
            match accept(listener) {
                Ok(accepted) => *peer = accepted,
                Err(error) => return self.end(Ending::Failed(error)),
            }
            return Filled::Changed;
        }
        let room = self.window.room(self.limits.record_max);
        match read(input_fd(&self.input), room) {
            Ok(0) if matches!(self.input, Input::Listener { .. }) => self.end(Ending::PeerClosed),
            Ok(0) => self.end(Ending::End),
            Ok(count) => {
                self.window.end += count;
                Filled::Changed
            }
            // Another reader of the same pipe was faster, or a signal came.
            Err(Errno::AGAIN | Errno::INTR) => Filled::Nothing,
            // A listener outlives its peers, however they leave.
            Err(_) if matches!(self.input, Input::Listener { .. }) => self.end(Ending::PeerClosed),
            Err(errno) => self.end(Ending::Failed(errno.into())),
        }
    }

    fn end(&mut self, ending: Ending) -> Filled {
        self.phase = Phase::Draining(ending);
        Filled::Changed
    }

    fn stop_here(&mut self) -> Filled {
        self.finish_line();
        self.end(Ending::Stopped)
    }

    /// Reads the rest of the line in hand, and nothing beyond it, as far as it is there already.
    ///
    /// Where a read ended in the middle of a line, delivering that half would invent a record which nobody wrote. From
    /// a stream it is read byte by byte, so that what follows stays for whoever reads next; a file still has what was
    /// read too much.
    fn finish_line(&mut self) {
        if self.window.rest().is_empty() || self.skip.is_some() {
            return;
        }
        let regular = matches!(self.input, Input::Regular(_));
        let (step, budget) = match regular {
            true => (CHUNK_BYTES, usize::MAX),
            false => (1, FINISH_BYTES_MAX),
        };
        let mut added = 0;
        while added < budget && (regular || self.has_input_now()) {
            let from = self.window.rest().len();
            if from > self.limits.record_max + 1 {
                return;
            }
            let room = self.window.room(self.limits.record_max);
            let step = step.min(room.len());
            let Ok(count @ 1..) = read(input_fd(&self.input), &mut room[..step]) else {
                return;
            };
            self.window.end += count;
            added += count;
            if let Some(newline) = memchr(b'\n', &self.window.rest()[from..]) {
                self.window.end = self.window.start + from + newline + 1;
                return;
            }
        }
    }

    fn has_input_now(&self) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(
            input_fd(&self.input),
            PollFlags::IN,
        )];
        poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// Waits for the input or for a stop, whichever is first; where both are there, the stop.
    fn wait(&self, patience: Patience) -> Result<Ready, Errno> {
        let at_once = Timespec::default();
        let timeout = (patience == Patience::Look).then_some(&at_once);
        let mut fds = [
            PollFd::from_borrowed_fd(input_fd(&self.input), PollFlags::IN),
            PollFd::new(&self.stop, PollFlags::IN),
        ];
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::INTR) if self.stop.is_raised() => Ok(Ready::Stop),
            Err(Errno::INTR) => Ok(Ready::Neither),
            Err(errno) => Err(errno),
            // An error or a hang-up is for the read to tell.
            Ok(_) if !fds[0].revents().is_empty() => Ok(Ready::Input),
            Ok(_) => Ok(Ready::Neither),
        }
    }
}

/// What to wait for and to read from now: of a listener its peer, where it has one.
fn input_fd(input: &Input) -> BorrowedFd<'_> {
    match input {
        Input::Regular(fd) | Input::Stream(fd) => fd.as_fd(),
        Input::Listener {
            peer: Some(peer), ..
        } => peer.as_fd(),
        Input::Listener {
            listener,
            peer: None,
        } => listener.as_fd(),
    }
}

/// The next peer, or `None` where it has gone again already.
fn accept(listener: &TcpListener) -> io::Result<Option<std::net::TcpStream>> {
    let accepted = listener
        .accept()
        .and_then(|(peer, _)| open::never_blocking(peer));
    match accepted {
        Ok(peer) => Ok(Some(peer)),
        Err(error) => match Errno::from_io_error(&error) {
            // accept(2): these are failures of the connection or of the network below it, not of the listener.
            Some(
                Errno::AGAIN
                | Errno::INTR
                | Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP,
            ) => Ok(None),
            _ => Err(error),
        },
    }
}

impl Window {
    fn new() -> Self {
        Self {
            buffer: vec![0; CHUNK_BYTES],
            start: 0,
            scanned: 0,
            end: 0,
            base: 0,
        }
    }

    /// What was read and not delivered.
    fn rest(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Byte offset of the rest in the source.
    fn offset(&self) -> u64 {
        self.base + self.start as u64
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
        self.scanned = self.scanned.max(self.start);
    }

    /// Moves the rest to the front, and gives back the memory of a long line that is gone.
    fn settle(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.base += self.start as u64;
            self.end -= self.start;
            self.scanned -= self.start;
            self.start = 0;
        }
        if self.buffer.len() > CHUNK_BYTES && self.end < CHUNK_BYTES / 2 {
            self.buffer.truncate(CHUNK_BYTES);
            self.buffer.shrink_to_fit();
        }
    }

    /// Room for the next read, one chunk at most. A line longer than the buffer doubles it, up to what may still
    /// become a record.
    fn room(&mut self, record_max: usize) -> &mut [u8] {
        const READ_BYTES_MIN: usize = CHUNK_BYTES / 2;
        if self.buffer.len() - self.end < READ_BYTES_MIN {
            let most = record_max + CHUNK_BYTES;
            let grown = (self.buffer.len() * 2).min(most);
            self.buffer.resize(grown.max(self.end + READ_BYTES_MIN), 0);
        }
        let most = self.buffer.len().min(self.end + CHUNK_BYTES);
        &mut self.buffer[self.end..most]
    }
}

impl Skip {
    fn at(offset: u64) -> Self {
        Self {
            offset,
            len: 0,
            kept: Vec::new(),
            ends_with_return: false,
        }
    }

    fn absorb(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(KEPT_BYTES_MAX - self.kept.len());
        self.kept.extend_from_slice(&bytes[..kept]);
        self.len += bytes.len() as u64;
        if let Some(last) = bytes.last() {
            self.ends_with_return = *last == b'\r';
        }
    }

    /// A newline has come: a carriage return before it was no part of the record.
    fn drop_return(&mut self) {
        if self.ends_with_return {
            self.len -= 1;
            self.kept
                .truncate(usize::try_from(self.len).unwrap_or(usize::MAX));
        }
    }
}

#[cfg(test)]
mod tests;
