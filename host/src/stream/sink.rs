//! Writes records, one a line, to where the operator reads them.
//!
//! Lines gather in a buffer until it is full or the caller flushes, which it does when nothing more is at hand. A
//! reader who has gone is told apart from a failure: it is a clean end. The sink blocks its thread while its reader is
//! slow, whatever the descriptor's flags say; it never drops, retries or reorders, and dropping it does not flush.

use std::{
    fmt, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{Mode, OFlags, open},
    io::{Errno, retry_on_intr, write},
};

use super::batch::Batch;
use crate::error::{Blame, ExitCode, Problem};

/// What one `write` carries while records keep coming, in bytes: what a pipe takes at once.
const BUFFER_BYTES: usize = 64 << 10;

/// Where records go.
#[derive(Debug)]
pub enum SinkSpec {
    /// The descriptor that was standard output, moved to a private number.
    Stdout(OwnedFd),
    /// A file, which is created, or emptied where it exists.
    File(PathBuf),
}

/// Why records could not be written.
#[derive(Debug)]
pub enum SinkError {
    /// Nobody reads any more. For a host this is a clean end.
    Closed,
    /// The system refused.
    Io {
        /// The sink, as `[stream] sink` spells it.
        sink: String,
        /// What the system said.
        error: io::Error,
    },
}

impl SinkError {
    /// Who must act.
    #[must_use]
    pub fn blame(&self) -> Blame {
        Blame::Environment
    }

    /// The same, as what ends a run; `None` for an end that is clean.
    #[must_use]
    pub fn problem(&self) -> Option<Problem> {
        match self {
            Self::Closed => None,
            Self::Io { error, .. } => {
                let exit = ExitCode::Running;
                let problem = Problem::error(exit, self.blame(), "sink-failed", self.to_string());
                Some(problem.found(error.to_string()))
            }
        }
    }
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => write!(f, "nobody reads the sink any more"),
            Self::Io { sink, error } => write!(f, "the sink {sink} cannot be written: {error}"),
        }
    }
}

impl std::error::Error for SinkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Closed => None,
            Self::Io { error, .. } => Some(error),
        }
    }
}

/// An open sink.
#[derive(Debug)]
pub struct Sink {
    fd: OwnedFd,
    name: String,
    buffer: Vec<u8>,
}

impl Sink {
    /// Opens the sink before there is a record for it.
    ///
    /// # Errors
    /// `sink-unwritable` (exit 1): the file cannot be created, is a folder, or is a FIFO that nobody reads.
    pub fn open(spec: SinkSpec) -> Result<Self, Problem> {
        let (fd, name) = match spec {
            SinkSpec::Stdout(fd) => (fd, "stdout".to_owned()),
            SinkSpec::File(path) => {
                let name = format!("file:{}", path.display());
                let flags = OFlags::CREATE | OFlags::TRUNC;
                let mode = Mode::from_raw_mode(0o666);
                let fd = open_for_writing(&path, flags, mode).map_err(|errno| {
                    let headline = format!("the sink {name} cannot be opened: {}", cause(errno));
                    let exit = ExitCode::Running;
                    Problem::error(exit, Blame::Environment, "sink-unwritable", headline)
                        .wanted("a file that this user may create and write")
                        .found(cause(errno))
                        .fix("correct `[stream] sink`, or the folder's permissions")
                })?;
                (fd, name)
            }
        };
        // A full buffer takes one line more before it is written.
        Ok(Self {
            fd,
            name,
            buffer: Vec::with_capacity(2 * BUFFER_BYTES),
        })
    }

    /// Takes all records of a batch, each with a newline behind it. They are written when the buffer is full or
    /// [`Sink::flush`] is called; blocks while the reader is slow.
    ///
    /// # Errors
    /// As [`Sink::flush`]. How many records of this batch had been written is then unknown.
    pub fn write(&mut self, batch: &Batch) -> Result<(), SinkError> {
        for record in batch.iter() {
            if record.len() >= BUFFER_BYTES {
                // Not copied: it fills a write of its own.
                self.flush()?;
                self.write_through(record)?;
            } else {
                self.buffer.extend_from_slice(record);
            }
            self.buffer.push(b'\n');
            if self.buffer.len() >= BUFFER_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes all that was taken. Blocks while the reader is slow.
    ///
    /// # Errors
    /// [`SinkError::Closed`] where nobody reads any more, [`SinkError::Io`] otherwise. What was not written stays in
    /// the buffer, so a later call goes on where this one failed.
    pub fn flush(&mut self) -> Result<(), SinkError> {
        let (written, outcome) = write_all(self.fd.as_fd(), &self.buffer);
        self.buffer.drain(..written);
        outcome.map_err(|errno| self.fault(errno))
    }

    fn write_through(&self, bytes: &[u8]) -> Result<(), SinkError> {
        write_all(self.fd.as_fd(), bytes)
            .1
            .map_err(|errno| self.fault(errno))
    }

    fn fault(&self, errno: Errno) -> SinkError {
        match errno {
            // A reset is how a socket says it.
            Errno::PIPE | Errno::CONNRESET => SinkError::Closed,
            _ => SinkError::Io {
                sink: self.name.clone(),
                error: errno.into(),
            },
        }
    }
}

/// Opens a file for writing. A FIFO without a reader is an error at once, where a plain open would wait, unstoppable.
pub(super) fn open_for_writing(path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let always = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    retry_on_intr(|| open(path, always | flags, mode))
}

/// The words for an error number; an errno of a FIFO that nobody reads says nothing of that by itself.
pub(super) fn cause(errno: Errno) -> String {
    match errno {
        Errno::NXIO => {
            "it is a FIFO that nobody reads (start its reader first), or no device".to_owned()
        }
        _ => io::Error::from(errno).to_string(),
    }
}

/// Writes all bytes, however little the descriptor takes at a time, and waits where it takes nothing now. Returns how
/// many were written, which is all of them unless there is an error.
pub(super) fn write_all(fd: BorrowedFd<'_>, bytes: &[u8]) -> (usize, Result<(), Errno>) {
    let mut written = 0;
    while written < bytes.len() {
        match write(fd, &bytes[written..]) {
            // No descriptor we know does this; going on would spin.
            Ok(0) => return (written, Err(Errno::IO)),
            Ok(count) => written += count,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
                if let Err(errno) = retry_on_intr(|| poll(&mut fds, None)) {
                    return (written, Err(errno));
                }
            }
            Err(errno) => return (written, Err(errno)),
        }
    }
    (written, Ok(()))
}

#[cfg(test)]
mod tests {
    use std::{io::Read, os::unix::net::UnixStream, sync::mpsc, thread, time::Duration};

    use super::*;

    fn batch(records: &[&[u8]]) -> Batch {
        let mut batch = Batch::new();
        records.iter().for_each(|record| batch.push(record));
        batch
    }

    fn pair() -> (Sink, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Sink::open(SinkSpec::Stdout(ours.into())).unwrap(), theirs)
    }

    #[test]
    fn records_are_lines_and_wait_for_the_flush() {
        let (mut sink, mut reader) = pair();
        sink.write(&batch(&[b"a", b"", b"\xff\r"])).unwrap();
        sink.write(&batch(&[])).unwrap();
        reader.set_nonblocking(true).unwrap();
        let mut early = [0; 16];
        assert_eq!(
            reader.read(&mut early).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        sink.flush().unwrap();
        sink.flush().unwrap();
        drop(sink);
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"a\n\n\xff\r\n");
    }

    #[test]
    fn a_sink_that_takes_little_at_a_time_gets_all_of_it_in_order() {
        for nonblocking in [false, true] {
            let (ours, mut reader) = UnixStream::pair().unwrap();
            ours.set_nonblocking(nonblocking).unwrap();
            let mut sink = Sink::open(SinkSpec::Stdout(ours.into())).unwrap();
            let big = vec![b'x'; 3 << 20];
            let (done, waited) = mpsc::channel();
            let writer = thread::spawn({
                let big = big.clone();
                move || {
                    sink.write(&batch(&[b"first", &big, b"last"])).unwrap();
                    sink.flush().unwrap();
                    let _ = done.send(());
                }
            });
            let mut all = Vec::new();
            reader.read_to_end(&mut all).unwrap();
            waited.recv_timeout(Duration::from_secs(10)).unwrap();
            writer.join().unwrap();
            let expected = [b"first\n", &big[..], b"\nlast\n"].concat();
            // Not assert_eq: a failure would print six megabytes.
            assert!(
                all == expected,
                "nonblocking: {nonblocking}, {} bytes",
                all.len()
            );
        }
    }

    #[test]
    fn a_reader_who_has_gone_is_a_clean_end() {
        let (mut sink, reader) = pair();
        drop(reader);
        sink.write(&batch(&[b"a"])).unwrap();
        let fault = sink.flush().unwrap_err();
        assert!(matches!(fault, SinkError::Closed), "{fault}");
        assert_eq!(fault.problem(), None);
        // A pipe says it by the same number.
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        drop(reader);
        let mut sink = Sink::open(SinkSpec::Stdout(writer)).unwrap();
        let fault = sink
            .write(&batch(&[&vec![b'x'; BUFFER_BYTES]]))
            .unwrap_err();
        assert!(matches!(fault, SinkError::Closed), "{fault}");
    }

    #[test]
    fn a_file_is_emptied_first_and_its_failure_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        std::fs::write(&path, "of an earlier run").unwrap();
        let mut sink = Sink::open(SinkSpec::File(path.clone())).unwrap();
        sink.write(&batch(&[b"new"])).unwrap();
        sink.flush().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new\n");

        let refused = Sink::open(SinkSpec::File(folder.path().to_owned())).unwrap_err();
        assert_eq!(
            (refused.code.as_str(), refused.exit),
            ("sink-unwritable", ExitCode::Running)
        );
        assert!(
            refused
                .headline
                .contains(&format!("file:{}", folder.path().display()))
        );
        assert!(refused.headline.contains("Is a directory"), "{refused}");
        let refused = Sink::open(SinkSpec::File(path.join("below-a-file"))).unwrap_err();
        assert!(refused.headline.contains("Not a directory"), "{refused}");
    }

    #[test]
    fn a_fifo_without_a_reader_is_refused_not_waited_for() {
        use rustix::fs::{CWD, FileType, mknodat};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let refused = Sink::open(SinkSpec::File(path)).unwrap_err();
        assert!(refused.headline.contains("nobody reads"), "{refused}");
    }

    #[test]
    fn a_full_device_is_a_failure_with_path_and_cause() {
        let mut sink = Sink::open(SinkSpec::File("/dev/full".into())).unwrap();
        sink.write(&batch(&[b"a"])).unwrap();
        let problem = sink.flush().unwrap_err().problem().unwrap();
        assert_eq!(
            (problem.code.as_str(), problem.exit),
            ("sink-failed", ExitCode::Running)
        );
        assert!(problem.headline.contains("file:/dev/full"), "{problem}");
        assert!(problem.headline.contains("No space left"), "{problem}");
        assert!(
            sink.flush().is_err(),
            "what was not written is still to be written"
        );
    }
}
