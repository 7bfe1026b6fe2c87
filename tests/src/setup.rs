//! A folder of its own for every host that a test starts: config, run_dir, state_dir and trace, all gone with the test.

use crate::{Entry, LogLine, TestHost, Trace, artifacts};
use rustix::{
    fs::{Mode, OFlags},
    pipe::{PipeFlags, pipe_with},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};
use serde_json::Value;
use std::{
    ffi::OsString,
    fmt::Display,
    fs::{self, File},
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The folder that holds `hotshoe.toml`: by DESIGN §11 the host is called so.
const HOST_NAME: &str = "demo";

/// A place to run hosts in.
pub struct Setup {
    // Before the folder it lies in, so that its reader ends first.
    trace: Trace,
    root: TempDir,
    variables: Vec<(OsString, OsString)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

impl Setup {
    /// A new folder, without a config.
    ///
    /// - Panics: the machine has no room for a temporary folder.
    #[must_use]
    pub fn new() -> Self {
        let root = TempDir::with_prefix("hotshoe-").expect("a temporary folder");
        for folder in [HOST_NAME, "run", "state"] {
            let folder = root.path().join(folder);
            fs::create_dir(&folder).expect("a folder in it");
            // Whatever the test's umask is: a host refuses a run_dir that others may enter.
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))
                .expect("our own folder");
        }
        Self {
            trace: Trace::start(root.path().join("trace")),
            root,
            variables: Vec::new(),
        }
    }

    /// A new folder with that config.
    #[must_use]
    pub fn with(config: &str) -> Self {
        let setup = Self::new();
        setup.config(config);
        setup
    }

    /// The folder of the config.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.root.path().join(HOST_NAME)
    }

    /// `hotshoe.toml`.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.folder().join("hotshoe.toml")
    }

    /// The host's run_dir, whether it is there yet or not.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        self.root.path().join("run/hotshoe").join(HOST_NAME)
    }

    /// The host's state_dir, whether it is there yet or not.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.root.path().join("state/hotshoe").join(HOST_NAME)
    }

    /// A path that nothing else uses, outside the folder of the config.
    #[must_use]
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Writes `hotshoe.toml`.
    pub fn config(&self, text: &str) {
        self.file("hotshoe.toml", text.as_bytes());
    }

    /// Writes `hotshoe.toml`: first what is no entry (`[host]`, `[stream]`, …), then the entries.
    pub fn entries(&self, tables: &str, entries: &[Entry]) {
        self.config(&join(tables, entries));
    }

    /// Writes a file beside `hotshoe.toml`, with the folders it needs.
    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder().join(name);
        let folder = path.parent().expect("a file lies in a folder");
        fs::create_dir_all(folder).expect("our own folder");
        fs::write(&path, bytes).expect("our own folder");
        path
    }

    /// The hostile fixture as an entry that traces here.
    #[must_use]
    pub fn misbehave(&self, name: &str) -> Entry {
        Entry::misbehave(name, self.trace.path())
    }

    /// A fixture with a `trace` setting, as an entry that traces here.
    #[must_use]
    pub fn fixture(&self, name: &str, package: &str) -> Entry {
        let trace = self.trace.path().display().to_string();
        Entry::of(name, artifacts::fixture(package)).set(&format!("trace = {trace:?}"))
    }

    /// What the fixtures traced.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Another variable in the environment of the hosts started from now on.
    pub fn variable(&mut self, name: &str, value: impl Into<OsString>) {
        self.variables.push((name.into(), value.into()));
    }

    /// Starts `hotshoe run` on the config.
    ///
    /// - Panics: the binary cannot be started.
    #[must_use]
    #[track_caller]
    pub fn start(&self) -> TestHost<'_> {
        self.start_file(&self.config_path())
    }

    /// Starts `hotshoe run` on a config that lies elsewhere; its run_dir is named after it.
    ///
    /// - Panics: the binary cannot be started.
    #[must_use]
    #[track_caller]
    pub fn start_file(&self, config: &Path) -> TestHost<'_> {
        let mut command = self.command(&["--log-format", "json", "run"]);
        command.arg(config);
        TestHost::start(self, command)
    }

    /// Starts a command of the test's own, as a host is started: piped, and in the environment of one.
    ///
    /// - Panics: it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn start_command(&self, mut command: Command) -> TestHost<'_> {
        self.place(&mut command);
        TestHost::start(self, command)
    }

    /// As [`start`](Self::start), with a log that nobody reads: every write to it fails.
    ///
    /// - Panics: the binary cannot be started.
    #[must_use]
    #[track_caller]
    pub fn start_unheard(&self) -> TestHost<'_> {
        let (host, reader) = self.start_unread();
        drop(reader);
        host
    }

    /// As [`start`](Self::start), with a log that nobody reads but whoever holds the pipe that is answered.
    ///
    /// - Panics: the binary cannot be started.
    #[must_use]
    #[track_caller]
    pub fn start_unread(&self) -> (TestHost<'_>, File) {
        // No other test's host inherits it.
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        (self.start_logging_to(writer), reader.into())
    }

    /// As [`start_unread`](Self::start_unread), on a terminal.
    ///
    /// - Panics: the system has no more of them, or the binary cannot be started.
    #[must_use]
    #[track_caller]
    pub fn start_unread_on_terminal(&self) -> (TestHost<'_>, File) {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let screen = openpt(flags).expect("a terminal");
        grantpt(&screen)
            .and_then(|()| unlockpt(&screen))
            .expect("it is ours");
        let name = ptsname(&screen, Vec::new()).expect("its name");
        // Not this process's own, where it has none yet.
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = rustix::fs::open(name, flags, Mode::empty()).expect("it is there");
        (self.start_logging_to(terminal), screen.into())
    }

    #[track_caller]
    fn start_logging_to(&self, stderr: OwnedFd) -> TestHost<'_> {
        let mut command = self.command(&["--log-format", "json", "run"]);
        command.arg(self.config_path()).stderr(stderr);
        TestHost::start_as_told(self, command)
    }

    /// Runs another subcommand to its end; the config's path is not added.
    ///
    /// - Panics: the binary cannot be started.
    #[must_use]
    #[track_caller]
    pub fn hotshoe(&self, arguments: &[&str]) -> Finished {
        let begun = Instant::now();
        let mut command = self.command(arguments);
        let output = command
            .stdin(Stdio::null())
            .output()
            .expect("the binary that cargo just built");
        Finished {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            took: begun.elapsed(),
        }
    }

    /// `hotshoe check hotshoe.toml`.
    #[must_use]
    #[track_caller]
    pub fn check(&self) -> Finished {
        let config = self.config_path();
        self.hotshoe(&["check", &config.display().to_string()])
    }

    /// `hotshoe check hotshoe.toml --json`: how it ended, and the answer.
    ///
    /// - Panics: the answer is no JSON.
    #[must_use]
    #[track_caller]
    pub fn check_json(&self) -> (Finished, Value) {
        let config = self.config_path();
        let finished = self.hotshoe(&["check", &config.display().to_string(), "--json"]);
        let answer = serde_json::from_str(&finished.stdout)
            .unwrap_or_else(|error| panic!("{error}: {finished:#?}"));
        (finished, answer)
    }

    /// Runs `hotshoe run` on the config without input, to its end.
    #[must_use]
    #[track_caller]
    pub fn run(&self) -> Finished {
        let mut host = self.start();
        host.close_input();
        let exit = host.wait_exit();
        Finished {
            code: exit.code,
            stdout: String::from_utf8_lossy(&host.stdout()).into_owned(),
            stderr: host.stderr(),
            took: exit.after,
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(artifacts::hotshoe());
        command.args(arguments);
        self.place(&mut command);
        command
    }

    /// Only what a host needs: nothing of the tester's own environment decides a test.
    pub fn place(&self, command: &mut Command) {
        command
            .current_dir(self.folder())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.root.path())
            .env("XDG_RUNTIME_DIR", self.root.path().join("run"))
            .env("XDG_STATE_HOME", self.root.path().join("state"))
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
    }

    /// The host's admin socket.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.run_dir().join("admin.sock")
    }

    /// The URLs in `<run_dir>/<instance>.addr`.
    ///
    /// - Panics: there is no such file (it is there when the host is ready).
    #[must_use]
    #[track_caller]
    pub fn addresses(&self, instance: &str) -> Vec<String> {
        let path = self.run_dir().join(format!("{instance}.addr"));
        let text = read(&path);
        text.lines().map(str::to_owned).collect()
    }
}

/// What a host that ran to its end left.
#[derive(Debug)]
pub struct Finished {
    /// `None` where a signal ended it.
    pub code: Option<i32>,
    /// All of it.
    pub stdout: String,
    /// All of it.
    pub stderr: String,
    /// From the exec to the end.
    pub took: Duration,
}

impl Finished {
    /// The first problem that is an error, as a sentence: `error[code]: …`, whichever format the log has.
    ///
    /// - Panics: there is none; prints what there is.
    #[must_use]
    #[track_caller]
    pub fn error(&self) -> String {
        let lines = self.logs();
        let mut sentences = lines.iter().map(LogLine::sentence);
        sentences
            .find(|line| line.starts_with("error["))
            .unwrap_or_else(|| panic!("no error in {self:#?}"))
            .to_owned()
    }

    /// The code between the brackets of [`error`](Self::error).
    #[must_use]
    #[track_caller]
    pub fn error_code(&self) -> String {
        let error = self.error();
        let rest = &error["error[".len()..];
        let (code, _) = rest.split_once(']').expect("a code is closed by a bracket");
        code.to_owned()
    }

    /// The problems with that code, errors and warnings, in order.
    #[must_use]
    pub fn problems(&self, code: &str) -> Vec<LogLine> {
        let marks = [format!("error[{code}]: "), format!("warning[{code}]: ")];
        let mut lines = self.logs();
        lines.retain(|line| marks.iter().any(|mark| line.sentence().starts_with(mark)));
        lines
    }

    /// The log, line by line.
    #[must_use]
    pub fn logs(&self) -> Vec<LogLine> {
        self.stderr.lines().map(LogLine::parse).collect()
    }

    /// Asserts the exit code; a failure prints everything.
    #[track_caller]
    pub fn assert_code(&self, code: i32) {
        assert_eq!(self.code, Some(code), "{self:#?}");
    }
}

fn join(tables: &str, entries: &[impl Display]) -> String {
    let entries: Vec<String> = entries.iter().map(ToString::to_string).collect();
    format!("{tables}\n{}", entries.join("\n"))
}

#[track_caller]
fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
