//! The trace that fixtures write: a FIFO, so that a line in it is an event to wait for.

use crate::Collector;
use rustix::fs::{CWD, Mode, mkfifoat};
use std::{
    fmt,
    fs::{File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

/// What a line begins with that the harness itself wrote, to know that it has read everything before it.
const MARK: &str = "harness mark ";

/// One traced call: `<instance> <component> <executor> <call>[ <rest>]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceLine {
    /// Milliseconds since 1970, where the settings say `stamps = true`.
    pub ms: Option<u64>,
    /// The instance's name, or its label before it knows it.
    pub instance: String,
    /// `plugin`, `driver`, `checker`, `executor`, `processor`.
    pub component: String,
    /// `driver`, `0`, `1`, …; `-` where no context was there.
    pub executor: String,
    /// `create`, `init`, `note`, …
    pub call: String,
    /// What follows.
    pub rest: String,
}

impl TraceLine {
    fn parse(line: &str) -> Self {
        let ms = line
            .split_once(' ')
            .and_then(|(first, _)| first.parse::<u64>().ok());
        let line = if ms.is_some() {
            line.split_once(' ').unwrap_or_default().1
        } else {
            line
        };
        let mut words = line.splitn(5, ' ').map(str::to_owned);
        let mut word = || words.next().unwrap_or_default();
        Self {
            ms,
            instance: word(),
            component: word(),
            executor: word(),
            call: word(),
            rest: word(),
        }
    }

    /// Whether it is this call of that instance's component, on whatever executor, with nothing behind it.
    #[must_use]
    pub fn is(&self, instance: &str, component: &str, call: &str) -> bool {
        self.is_call(instance, component, call) && self.rest.is_empty()
    }

    /// The same, whatever stands behind it.
    #[must_use]
    pub fn is_call(&self, instance: &str, component: &str, call: &str) -> bool {
        self.instance == instance && self.component == component && self.call == call
    }

    /// The value behind `<key>=` in the rest.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        let mut pairs = self.rest.split(' ').filter_map(|word| word.split_once('='));
        pairs.find(|(name, _)| *name == key).map(|(_, value)| value)
    }
}

impl fmt::Display for TraceLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            instance,
            component,
            executor,
            call,
            rest,
            ..
        } = self;
        let line = format!("{instance} {component} {executor} {call} {rest}");
        f.write_str(line.trim_end())
    }
}

/// The FIFO and what came through it.
pub struct Trace {
    path: PathBuf,
    collector: Collector,
    /// Kept open, so that the reader sees no end between two hosts; and the way for marks.
    own_end: File,
    marks: AtomicU32,
}

impl Trace {
    /// Makes the FIFO at `path` and reads it from now on.
    pub(crate) fn start(path: PathBuf) -> Self {
        mkfifoat(CWD, &path, Mode::from_raw_mode(0o600)).expect("a FIFO in the test's own folder");
        // Opened for both, no open of a FIFO waits for the other side.
        let both = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .expect("the FIFO");
        let reader = File::open(&path).expect("the FIFO's reading end");
        let own_end = OpenOptions::new()
            .append(true)
            .open(&path)
            .expect("the FIFO's writing end");
        drop(both);
        Self {
            path,
            collector: Collector::start("trace", reader),
            own_end,
            marks: AtomicU32::new(0),
        }
    }

    /// For a plugin's `trace` setting.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Everything that was written before this call.
    #[track_caller]
    pub fn lines(&self) -> Vec<TraceLine> {
        let mark = format!("{MARK}{}", self.marks.fetch_add(1, Ordering::Relaxed));
        let mut own_end = &self.own_end;
        own_end
            .write_all(format!("{mark}\n").as_bytes())
            .expect("the FIFO's reader is here");
        self.collector.wait("the harness's own mark", |seen| {
            seen.lines().any(|line| line == mark).then(|| parsed(seen))
        })
    }

    /// Waits until `found` finds what it looks for.
    ///
    /// - Panics: the deadline passed; prints all that was traced.
    #[track_caller]
    pub fn wait<T>(&self, what: &str, mut found: impl FnMut(&[TraceLine]) -> Option<T>) -> T {
        self.collector.wait(what, |seen| found(&parsed(seen)))
    }

    /// How many lines there are by now, marks included: from where [`wait_behind`](Self::wait_behind) is to look.
    #[must_use]
    pub fn len(&self) -> usize {
        self.collector.look(crate::Collected::line_count)
    }

    /// Nothing was traced.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits for a line behind the first `count`: for long traces, of which [`wait`](Self::wait) would read all each time.
    ///
    /// - Panics: the deadline passed.
    #[track_caller]
    pub fn wait_behind(&self, count: usize, what: &str, mut is_it: impl FnMut(&TraceLine) -> bool) {
        self.collector.wait(what, |seen| {
            let mut lines = seen.lines_behind(count);
            lines
                .any(|line| is_it(&TraceLine::parse(&line)))
                .then_some(())
        });
    }

    /// Waits for the first such call, ended or not.
    #[track_caller]
    pub fn wait_call(&self, instance: &str, component: &str, call: &str) -> TraceLine {
        self.wait(&format!("`{instance} {component} {call}`"), |lines| {
            lines
                .iter()
                .find(|line| line.is_call(instance, component, call))
                .cloned()
        })
    }

    /// How many such calls there were: lines with an outcome behind them are ends, and are not counted.
    #[track_caller]
    pub fn count(&self, instance: &str, component: &str, call: &str) -> usize {
        let begun = |line: &&TraceLine| {
            line.is_call(instance, component, call)
                && !matches!(line.rest.as_str(), "ok" | "error" | "panic")
        };
        self.lines().iter().filter(begun).count()
    }

    /// What was traced, as text without stamps.
    #[track_caller]
    pub fn text(&self) -> String {
        self.lines()
            .iter()
            .map(|line| format!("{line}\n"))
            .collect()
    }
}

fn parsed(seen: &crate::Collected) -> Vec<TraceLine> {
    let lines = seen.lines().filter(|line| !line.starts_with(MARK));
    lines.map(|line| TraceLine::parse(&line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_and_without_its_stamp() {
        let line = TraceLine::parse("1700000000123 a executor 0 on_task_start task=1 attempt=2");
        assert_eq!(line.ms, Some(1_700_000_000_123));
        assert_eq!(
            line.to_string(),
            "a executor 0 on_task_start task=1 attempt=2"
        );
        assert_eq!((line.value("attempt"), line.value("x")), (Some("2"), None));
        let line = TraceLine::parse("a driver driver init");
        assert!(line.is("a", "driver", "init") && line.ms.is_none());
        assert!(!TraceLine::parse("a driver driver init error").is("a", "driver", "init"));
    }
}
