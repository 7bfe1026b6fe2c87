//! Collects what comes out of a pipe, and lets tests wait for what they expect there.

use crate::DEADLINE;
use std::{
    borrow::Cow,
    io::{self, ErrorKind, Read},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// As `read`, and once more where that was interrupted: a socket with a deadline may be, also when nobody handles a signal, where
/// the process or the machine under it stood still for a while.
pub fn read_some(from: &mut impl Read, piece: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(piece) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// What came so far.
#[derive(Debug, Default)]
pub struct Collected {
    bytes: Vec<u8>,
    /// Offsets just behind each line end.
    line_ends: Vec<usize>,
    ended: bool,
}

impl Collected {
    /// Every byte, in order.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The whole lines, without their ends.
    pub fn lines(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let starts = std::iter::once(0).chain(self.line_ends.iter().copied());
        starts
            .zip(&self.line_ends)
            .map(|(start, end)| String::from_utf8_lossy(&self.bytes[start..end - 1]))
    }

    /// The whole lines behind the first `count`, without their ends: what came since somebody last looked.
    pub fn lines_behind(&self, count: usize) -> impl Iterator<Item = Cow<'_, str>> {
        let start = match count {
            0 => 0,
            count => self.line_ends.get(count - 1).copied().unwrap_or_default(),
        };
        let ends = self.line_ends.get(count..).unwrap_or_default();
        let starts = std::iter::once(start).chain(ends.iter().copied());
        starts
            .zip(ends)
            .map(|(start, end)| String::from_utf8_lossy(&self.bytes[start..end - 1]))
    }

    /// How many whole lines there are.
    #[must_use]
    pub fn line_count(&self) -> usize {
        self.line_ends.len()
    }

    /// Nothing more will come.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.ended
    }

    fn take(&mut self, piece: &[u8]) {
        let base = self.bytes.len();
        let ends = piece.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        self.line_ends
            .extend(ends.map(|(index, _)| base + index + 1));
        self.bytes.extend_from_slice(piece);
    }
}

/// Collects one pipe on a thread of its own.
pub struct Collector {
    name: &'static str,
    shared: Arc<(Mutex<Collected>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    /// Reads `pipe` to its end; `name` is what a missed deadline calls it.
    ///
    /// - Panics: no thread can be started.
    pub fn start(name: &'static str, mut pipe: impl Read + Send + 'static) -> Self {
        let shared = Arc::new((Mutex::new(Collected::default()), Condvar::new()));
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let mut piece = vec![0; 64 << 10];
                loop {
                    // A pipe that breaks has ended as well.
                    let len = read_some(&mut pipe, &mut piece).unwrap_or(0);
                    let mut collected = lock(&theirs.0);
                    collected.take(&piece[..len]);
                    collected.ended = len == 0;
                    theirs.1.notify_all();
                    if len == 0 {
                        return;
                    }
                }
            });
        Self {
            name,
            shared,
            thread: Some(thread.expect("a thread for a pipe")),
        }
    }

    /// Waits until `found` finds what it looks for, for [`DEADLINE`] at most.
    ///
    /// - Panics: the deadline passed, or the pipe ended without it; prints all that came.
    #[track_caller]
    pub fn wait<T>(&self, what: &str, found: impl FnMut(&Collected) -> Option<T>) -> T {
        self.wait_within(DEADLINE, what, found)
    }

    /// As [`wait`](Self::wait), under a deadline of the caller's.
    #[track_caller]
    pub fn wait_within<T>(
        &self,
        deadline: Duration,
        what: &str,
        mut found: impl FnMut(&Collected) -> Option<T>,
    ) -> T {
        let until = Instant::now() + deadline;
        let mut collected = lock(&self.shared.0);
        loop {
            if let Some(value) = found(&collected) {
                return value;
            }
            let left = until.saturating_duration_since(Instant::now());
            if collected.ended || left.is_zero() {
                let why = if collected.ended {
                    "it ended"
                } else {
                    "the deadline passed"
                };
                let came = String::from_utf8_lossy(&collected.bytes).into_owned();
                drop(collected);
                panic!("{}: {why} before {what}; what came:\n{came}", self.name);
            }
            collected = self
                .shared
                .1
                .wait_timeout(collected, left)
                .map_or_else(|poisoned| poisoned.into_inner().0, |(guard, _)| guard);
        }
    }

    /// Looks at what came so far.
    pub fn look<T>(&self, look: impl FnOnce(&Collected) -> T) -> T {
        look(&lock(&self.shared.0))
    }

    /// All that came, as text.
    #[must_use]
    pub fn text(&self) -> String {
        self.look(|collected| String::from_utf8_lossy(collected.bytes()).into_owned())
    }

    /// Waits for the pipe's end, and for the thread's.
    #[track_caller]
    pub fn join(&mut self) {
        self.wait("its end", |collected| collected.ended.then_some(()));
        if let Some(thread) = self.thread.take() {
            thread.join().expect("a collector only copies");
        }
    }
}

fn lock(collected: &Mutex<Collected>) -> MutexGuard<'_, Collected> {
    // A test that failed while it looked left nothing half-done in here.
    collected.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn lines_are_whole_ones_and_bytes_are_all() {
        let (reader, mut writer) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut collector = Collector::start("pair", reader);
        writer.write_all(b"one\ntw").unwrap();
        collector.wait("`tw`", |seen| seen.bytes().ends_with(b"tw").then_some(()));
        assert_eq!(
            collector.look(|seen| seen.lines().map(Cow::into_owned).collect::<Vec<_>>()),
            ["one"]
        );
        writer.write_all(b"o\n\n").unwrap();
        drop(writer);
        collector.join();
        let lines: Vec<String> = collector.look(|seen| seen.lines().map(Cow::into_owned).collect());
        assert_eq!(lines, ["one", "two", ""]);
        let behind = |count| collector.look(|seen| seen.lines_behind(count).count());
        assert_eq!([behind(0), behind(1), behind(3), behind(4)], [3, 2, 0, 0]);
        let second = collector.look(|seen| seen.lines_behind(1).next().map(Cow::into_owned));
        assert_eq!(second.as_deref(), Some("two"));
    }

    #[test]
    fn a_missed_event_prints_what_came() {
        let collector = Collector::start("sample", &b"something else\n"[..]);
        let missed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            collector.wait("a miracle", |_| None::<()>);
        }));
        let text = *missed.unwrap_err().downcast::<String>().unwrap();
        assert_eq!(
            text,
            "sample: it ended before a miracle; what came:\nsomething else\n"
        );
    }
}
