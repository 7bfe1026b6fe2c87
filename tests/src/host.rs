//! The real binary, running: what goes in, what comes out, and how it ends. A host that a test forgets is killed.

use crate::{Collector, DEADLINE, LogLine, Setup, http};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, pidfd_open, waitid},
};
use serde_json::Value;
use std::{
    fs,
    io::{ErrorKind, Write as _},
    os::unix::process::ExitStatusExt as _,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// A running `hotshoe run`.
pub struct TestHost<'a> {
    setup: &'a Setup,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Collector,
    stderr: Collector,
    begun: Instant,
    ended: Option<Exit>,
    joined: bool,
}

/// How a host ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// `None` where a signal ended it.
    pub code: Option<i32>,
    /// The signal, where one did.
    pub signal: Option<i32>,
    /// From the start of the wait to the end of the process.
    pub after: Duration,
}

impl<'a> TestHost<'a> {
    #[track_caller]
    pub(crate) fn start(setup: &'a Setup, mut command: Command) -> Self {
        command.stderr(Stdio::piped());
        Self::start_as_told(setup, command)
    }

    /// The command says where its stderr goes; what does not come here is not seen.
    #[track_caller]
    pub(crate) fn start_as_told(setup: &'a Setup, mut command: Command) -> Self {
        let begun = Instant::now();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary that cargo just built");
        let stdout = child.stdout.take().expect("it is piped");
        let stderr: Box<dyn std::io::Read + Send> = match child.stderr.take() {
            Some(stderr) => Box::new(stderr),
            None => Box::new(std::io::empty()),
        };
        Self {
            setup,
            stdin: child.stdin.take(),
            stdout: Collector::start("stdout", stdout),
            stderr: Collector::start("stderr", stderr),
            child,
            begun,
            ended: None,
            joined: false,
        }
    }

    /// When the process was started.
    #[must_use]
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the line that says that every instance and executor is up.
    ///
    /// - Panics: the host ended or the deadline passed before; prints what it logged.
    #[track_caller]
    pub fn wait_ready(&self) -> LogLine {
        self.wait_log("the ready line", |line| {
            line.message() == "ready" || line.message().starts_with("ready ")
        })
    }

    /// Waits for a log line, one that has come already included.
    #[track_caller]
    pub fn wait_log(&self, what: &str, mut is_it: impl FnMut(&LogLine) -> bool) -> LogLine {
        self.stderr.wait(what, |seen| {
            let mut lines = seen.lines().map(|line| LogLine::parse(&line));
            lines.find(&mut is_it)
        })
    }

    /// Waits for a log line of an instance whose message is exactly that.
    #[track_caller]
    pub fn wait_message(&self, plugin: &str, message: &str) -> LogLine {
        self.wait_message_again(plugin, message, 1)
    }

    /// The same for the `nth` such line.
    #[track_caller]
    pub fn wait_message_again(&self, plugin: &str, message: &str, nth: usize) -> LogLine {
        let what = format!("`{message}` of `{plugin}`, {nth} times");
        self.stderr.wait(&what, |seen| {
            let lines = seen.lines().map(|line| LogLine::parse(&line));
            let mut such = lines.filter(|line| line.is_of(plugin) && line.message() == message);
            such.nth(nth - 1)
        })
    }

    /// How many lines the log has by now.
    #[must_use]
    pub fn log_count(&self) -> usize {
        self.stderr.look(crate::Collected::line_count)
    }

    /// Waits for a log line behind the first `count`, whatever it says.
    ///
    /// - Panics: the deadline passed, or the host ended.
    #[track_caller]
    pub fn wait_log_behind(&self, count: usize, what: &str) {
        self.stderr
            .wait(what, |seen| (seen.line_count() > count).then_some(()));
    }

    /// The log so far; all of it once the host has ended.
    #[must_use]
    pub fn logs(&self) -> Vec<LogLine> {
        self.stderr
            .look(|seen| seen.lines().map(|line| LogLine::parse(&line)).collect())
    }

    /// Stderr so far, as text.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Writes bytes to the host's stdin; one that has ended by itself reads none of them.
    ///
    /// - Panics: its input was closed.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("the input is still open");
        match stdin.write_all(bytes).and_then(|()| stdin.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            written => written.expect("the host reads its input"),
        }
    }

    /// Writes one line to the host's stdin.
    #[track_caller]
    pub fn send_line(&mut self, line: &str) {
        self.send(format!("{line}\n").as_bytes());
    }

    /// Closes the host's stdin: the end of a `stdin` source.
    pub fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Takes the stdin away, to be written by a thread.
    ///
    /// - Panics: its input was closed.
    #[must_use]
    pub fn take_input(&mut self) -> ChildStdin {
        self.stdin.take().expect("the input is still open")
    }

    /// Waits until stdout in all is as long as `expected`, and asserts that it is that.
    #[track_caller]
    pub fn wait_stdout(&self, expected: &[u8]) {
        let what = format!(
            "{} bytes: {:?}",
            expected.len(),
            String::from_utf8_lossy(expected)
        );
        let found = self.stdout.wait(&what, |seen| {
            (seen.bytes().len() >= expected.len()).then(|| seen.bytes().to_vec())
        });
        assert_eq!(
            String::from_utf8_lossy(&found),
            String::from_utf8_lossy(expected)
        );
    }

    /// Waits until stdout has that many lines; answers all there are.
    #[track_caller]
    pub fn wait_stdout_lines(&self, count: usize) -> Vec<String> {
        self.stdout.wait(&format!("{count} lines"), |seen| {
            let lines: Vec<String> = seen.lines().map(|line| line.into_owned()).collect();
            (lines.len() >= count).then_some(lines)
        })
    }

    /// Waits until stdout has that many lines, without looking at them: for long streams.
    #[track_caller]
    pub fn wait_stdout_count(&self, count: usize) {
        self.stdout.wait(&format!("{count} lines"), |seen| {
            (seen.line_count() >= count).then_some(())
        });
    }

    /// Waits until the last line of stdout is the one that is looked for, or one after it: for long streams.
    ///
    /// - Panics: the deadline passed, or the host ended.
    #[track_caller]
    pub fn wait_stdout_reached(&self, what: &str, mut reached: impl FnMut(&str) -> bool) {
        self.stdout.wait(what, |seen| {
            let last = seen.lines_behind(seen.line_count().saturating_sub(1));
            last.last().is_some_and(|line| reached(&line)).then_some(())
        });
    }

    /// Stdout so far; all of it once the host has ended.
    #[must_use]
    pub fn stdout(&self) -> Vec<u8> {
        self.stdout.look(|seen| seen.bytes().to_vec())
    }

    /// Sends a signal.
    ///
    /// - Panics: the process is gone already.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the host is running");
    }

    /// SIGTERM, then the end.
    #[track_caller]
    pub fn terminate(&mut self) -> Exit {
        self.signal(Signal::TERM);
        self.wait_exit()
    }

    /// Waits for the end of the process and of its pipes.
    ///
    /// - Panics: the deadline passed; prints everything.
    #[track_caller]
    pub fn wait_exit(&mut self) -> Exit {
        self.wait_exit_within(DEADLINE)
    }

    /// As [`wait_exit`](Self::wait_exit), under a deadline of the caller's.
    #[track_caller]
    pub fn wait_exit_within(&mut self, deadline: Duration) -> Exit {
        let exit = self.wait_process_within(deadline);
        if !self.joined {
            self.joined = true;
            self.stdin = None;
            self.stdout.join();
            self.stderr.join();
        }
        exit
    }

    /// Waits for the end of the process alone: another one may hold its pipes still.
    ///
    /// - Panics: the deadline passed; prints everything.
    #[track_caller]
    pub fn wait_process(&mut self) -> Exit {
        self.wait_process_within(DEADLINE)
    }

    #[track_caller]
    fn wait_process_within(&mut self, deadline: Duration) -> Exit {
        if let Some(exit) = self.ended {
            return exit;
        }
        let begun = Instant::now();
        let Some(status) = self.wait_status(deadline) else {
            panic!(
                "the host did not end within {deadline:?}\n{}",
                self.everything()
            );
        };
        let exit = Exit {
            code: status.code(),
            signal: status.signal(),
            after: begun.elapsed(),
        };
        self.ended = Some(exit);
        exit
    }

    /// Waits until the process was stopped (SIGSTOP), or has ended.
    ///
    /// - Panics: the deadline passed.
    #[track_caller]
    pub fn wait_stopped(&self) {
        let pid = Pid::from_child(&self.child);
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let kinds = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            // Nobody receives it where the deadline has passed.
            let _ = sender.send(waitid(WaitId::Pid(pid), kinds).is_ok());
        });
        let stopped = receiver.recv_timeout(DEADLINE);
        assert!(
            matches!(stopped, Ok(true)),
            "the host was not stopped\n{}",
            self.everything()
        );
    }

    /// Waits for the end and asserts the exit code; a failure prints everything.
    #[track_caller]
    pub fn assert_exit(&mut self, code: i32) -> Exit {
        let exit = self.wait_exit();
        assert_eq!(exit.code, Some(code), "{exit:?}\n{}", self.everything());
        exit
    }

    /// SIGTERM; asserts a clean end.
    #[track_caller]
    pub fn stop(&mut self) -> Exit {
        self.signal(Signal::TERM);
        self.assert_exit(0)
    }

    fn wait_status(&mut self, deadline: Duration) -> Option<ExitStatus> {
        let pidfd = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty())
            .expect("a descriptor for a child that nobody reaped");
        let until = Instant::now() + deadline;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).expect("a deadline of seconds");
            let mut ended = [PollFd::new(&pidfd, PollFlags::IN)];
            match poll(&mut ended, Some(&timeout)) {
                Ok(0) => return None,
                Ok(_) => return Some(self.child.wait().expect("our own child")),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("cannot wait for a child: {error}"),
            }
        }
    }

    fn everything(&self) -> String {
        let stdout = self.stdout.text();
        let stdout = stdout.get(..4000).unwrap_or(&stdout);
        format!(
            "--- stdout\n{stdout}\n--- stderr\n{}\n--- trace\n{}",
            self.stderr.text(),
            self.setup.trace().text()
        )
    }

    /// `GET path` from the admin socket.
    #[must_use]
    #[track_caller]
    pub fn admin(&self, path: &str) -> http::Response {
        http::get_unix(&self.setup.admin_socket(), path)
    }

    /// `GET /status`.
    #[must_use]
    #[track_caller]
    pub fn status(&self) -> Value {
        self.admin("/status").json()
    }

    /// What `GET /status` says of that instance.
    ///
    /// - Panics: there is none of that name.
    #[must_use]
    #[track_caller]
    pub fn instance(&self, name: &str) -> Value {
        let status = self.status();
        let instances = status["instances"].as_array();
        let mut named = instances.into_iter().flatten();
        named
            .find(|instance| instance["name"] == name)
            .unwrap_or_else(|| panic!("no instance `{name}` in {status}"))
            .clone()
    }

    /// The process that an isolated instance runs in; none between two lives.
    ///
    /// - Panics: as [`instance`](Self::instance).
    #[must_use]
    #[track_caller]
    pub fn worker(&self, name: &str) -> Option<Pid> {
        let pid = self.instance(name)["worker"]["pid"].as_i64();
        pid.and_then(|pid| i32::try_from(pid).ok())
            .and_then(Pid::from_raw)
    }

    /// The problems so far that are errors, as sentences: `error[code]: …`. All of them once the host has ended.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        let sentences = self.logs();
        sentences
            .iter()
            .map(LogLine::sentence)
            .filter(|line| line.starts_with("error["))
            .map(str::to_owned)
            .collect()
    }

    /// `GET /metrics`: the samples of that name with all those labels, as (labels, value).
    #[must_use]
    #[track_caller]
    pub fn samples(&self, name: &str, labels: &[(&str, &str)]) -> Vec<(String, f64)> {
        let text = self.admin("/metrics").text();
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, inside) = series.split_once('{').unwrap_or((series, "}"));
            let wanted = labels.iter().map(|(key, value)| format!("{key}={value:?}"));
            let fits = found == name && wanted.into_iter().all(|label| inside.contains(&label));
            let value = value.parse().ok()?;
            fits.then(|| (inside.trim_end_matches('}').to_owned(), value))
        };
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(sample)
            .collect()
    }

    /// How many threads the process has.
    #[must_use]
    pub fn thread_count(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.pid())).map_or(0, Iterator::count)
    }

    /// The names of the process's threads, sorted.
    #[must_use]
    pub fn thread_names(&self) -> Vec<String> {
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.pid())) else {
            return Vec::new();
        };
        let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
        let mut names: Vec<String> = tasks.flatten().filter_map(name).collect();
        for name in &mut names {
            name.truncate(name.trim_end().len());
        }
        names.sort_unstable();
        names
    }

    /// What the process's descriptors lead to, by their numbers.
    #[must_use]
    pub fn descriptors(&self) -> std::collections::BTreeMap<u32, String> {
        let Ok(entries) = fs::read_dir(format!("/proc/{}/fd", self.pid())) else {
            return std::collections::BTreeMap::new();
        };
        let of = |entry: std::io::Result<fs::DirEntry>| {
            let path = entry.ok()?.path();
            let number = path.file_name()?.to_str()?.parse().ok()?;
            Some((number, fs::read_link(path).ok()?.display().to_string()))
        };
        entries.filter_map(of).collect()
    }

    /// How many descriptors the process holds.
    #[must_use]
    pub fn descriptor_count(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or(0, Iterator::count)
    }
}

impl Drop for TestHost<'_> {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // It may have ended by itself meanwhile; either way it is reaped.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.everything());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// No host: a shell that does what one would.
    fn stand_in<'a>(setup: &'a Setup, script: &str) -> TestHost<'a> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        TestHost::start(setup, command)
    }

    #[test]
    fn what_goes_in_and_out_is_seen() {
        let setup = Setup::new();
        let ready = r#"{"level":"INFO","fields":{"message":"ready","executors":2},"plugin":"a"}"#;
        let script = format!("echo '{ready}' >&2; echo a driver driver init >> ../trace; exec cat");
        let mut host = stand_in(
            &setup,
            &format!("cd '{}'; {script}", setup.folder().display()),
        );
        let line = host.wait_ready();
        assert_eq!(
            (line.text_of("executors"), line.is_of("a")),
            ("2".to_owned(), true)
        );
        setup.trace().wait_call("a", "driver", "init");
        assert_eq!(setup.trace().text(), "a driver driver init\n");
        host.send_line("hello");
        host.wait_stdout(b"hello\n");
        assert_eq!(host.terminate().signal, Some(Signal::TERM.as_raw()));
    }

    #[test]
    fn a_host_that_does_not_end_is_a_failure_that_shows_what_came() {
        let setup = Setup::new();
        let mut host = stand_in(&setup, "echo started; read line; exit 7");
        host.wait_stdout(b"started\n");
        let waiting = catch_unwind(AssertUnwindSafe(|| {
            host.wait_exit_within(Duration::from_millis(50));
        }));
        let text = *waiting.unwrap_err().downcast::<String>().unwrap();
        assert!(
            text.contains("did not end") && text.contains("started"),
            "{text}"
        );
        host.close_input();
        host.assert_exit(7);
    }
}
