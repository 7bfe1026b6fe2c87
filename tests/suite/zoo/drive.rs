//! Commits one row's crime in a host of its own, beside a well-behaved neighbour, and holds the host to what the table says:
//! how it ends, what it tells, what comes out, what the neighbour noticed, and what is left when all is over.

use super::expect::{Backend, Cell, Course, End, Probe, Records, Row};
use hotshoe_tests::{Entry, Exit, LogLine, Setup, TestHost, TraceLine, artifacts, code_of};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{CWD, Mode, mkfifoat},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};
use std::{
    fs::{self, OpenOptions},
    path::Path,
    process::Command,
    time::Duration,
};

/// What goes in first, in one write, so in one batch; and what goes in when the crime has been committed.
const RECORDS: &str = "one\ntwo\nthree\n";
const ONE_MORE: &str = "four\n";

/// What the criminal says, where it says anything and the row does not say what.
const TEXT: &str = "the crime";

/// How long a process that nobody waits for may take to end.
const GRACE: Duration = Duration::from_secs(5);

/// No line of the log is longer, whatever a plugin has to say.
const LOG_LINE_BYTES_MAX: usize = 128 << 10;

/// Commits the row's crime in each of its calls.
#[track_caller]
pub(super) fn commit(row: &Row, backend: Backend) {
    let cell = match backend {
        Backend::InProcess => &row.in_process,
        Backend::Isolated => &row.isolated,
    };
    for hook in row.hooks {
        Case {
            row,
            cell,
            hook,
            backend,
        }
        .judge();
    }
}

struct Case<'a> {
    row: &'a Row,
    cell: &'a Cell,
    hook: &'a str,
    backend: Backend,
}

impl Case<'_> {
    #[track_caller]
    fn judge(&self) {
        let setup = Setup::new();
        let fifo = setup.scratch("fifo");
        if self.row.fifo {
            mkfifoat(CWD, &fifo, Mode::from_raw_mode(0o600)).expect("the test's own folder");
        }
        self.configure(&setup);
        let mut host = setup.start_command(self.command(&setup));
        host.send(RECORDS.as_bytes());
        self.go_through(&setup, &mut host);
        let exit = host.wait_process();
        self.nothing_stays(&setup, &fifo);
        host.wait_exit();

        self.ended(exit, &host);
        self.delivered(&host);
        self.heard(&host);
        self.was_committed(&setup, &host);
        if self.cell.contained {
            self.neighbour_noticed_nothing(&setup);
        }
    }

    fn configure(&self, setup: &Setup) {
        let row = self.row;
        let tables = format!(
            "[executors]\ncount = {}\nmax_restarts = 1\n[stream]\nsource = \"stdin\"\nprocessors = [\"good\", \"bad\"]\n{}\n",
            row.executors,
            row.stream.join("\n")
        );
        let mut good = setup
            .misbehave("good")
            .set("ends = true")
            .key(&format!("deadlines = {{ {} }}", row.neighbour_deadlines))
            .act("hook = \"on-task-start\", crime = \"ask\", text = \"ask\"");
        let fifo = setup.scratch("fifo").display().to_string();
        for act in &row.neighbour {
            good = good.act(&act.replace("<fifo>", &fifo));
        }
        setup.entries(&tables, &[good, self.criminal(setup)]);
    }

    fn criminal(&self, setup: &Setup) -> Entry {
        let row = self.row;
        let mut bad = if row.library == "misbehave" {
            setup.misbehave("bad").set("ends = true")
        } else {
            setup.fixture("bad", row.library)
        };
        if self.backend == Backend::Isolated {
            // A life that ends before it has begun is one attempt.
            bad = bad.key("isolation = \"process\"").key("init_attempts = 2");
        }
        for key in &row.keys {
            bad = bad.key(key);
        }
        for line in &row.settings {
            bad = bad.set(line);
        }
        for act in &row.acts {
            let second = setup.scratch("second").display().to_string();
            bad = bad.act(&act.replace("<second>", &second));
        }
        if row.crime.is_empty() {
            return bad;
        }
        let mut act = format!("hook = {:?}, crime = {:?}", self.hook, row.crime);
        if row.once {
            act.push_str(&format!(
                ", once = {:?}",
                setup.scratch("done").display().to_string()
            ));
        }
        if row.fifo {
            act.push_str(&format!(
                ", path = {:?}",
                setup.scratch("fifo").display().to_string()
            ));
        }
        if !row.with.iter().any(|more| more.starts_with("text = ")) {
            act.push_str(&format!(", text = {TEXT:?}"));
        }
        for more in &row.with {
            act.push_str(&format!(", {more}"));
        }
        bad.act(&act)
    }

    /// Without core files, and within the row's limit.
    fn command(&self, setup: &Setup) -> Command {
        let mut command = Command::new("sh");
        let script = format!(
            "ulimit -c 0; {} exec \"$@\"",
            match self.row.limit {
                "" => String::new(),
                limit => format!("ulimit {limit};"),
            }
        );
        command
            .args(["-c", &script, "sh"])
            .arg(artifacts::hotshoe())
            .args(["--log-format", self.row.log_format, "run"])
            .arg(setup.config_path());
        command
    }

    #[track_caller]
    fn go_through(&self, setup: &Setup, host: &mut TestHost<'_>) {
        let cell = self.cell;
        if cell.probe == Probe::StandsStill {
            host.wait_stopped();
            host.signal(Signal::CONT);
        }
        if cell.course == Course::Dies {
            return;
        }
        if cell.course == Course::Lost {
            self.wait_notes(setup);
            host.signal(Signal::KILL);
            return;
        }
        if let Some(code) = cell.warning {
            // Not before it was noticed: a stop looks at the same crime with other eyes.
            host.wait_log(code, |line| line.warns(code));
        }
        if cell.course == Course::GoesOn {
            self.goes_on(setup, host);
        }
        if cell.probe == Probe::Stops {
            host.signal(Signal::TERM);
        } else {
            host.close_input();
        }
    }

    /// The stream goes on, and the host answers.
    #[track_caller]
    fn goes_on(&self, setup: &Setup, host: &mut TestHost<'_>) {
        let first = match self.cell.records {
            Records::All => RECORDS.to_owned(),
            Records::Exactly(records) => records.replace(ONE_MORE, ""),
            Records::None | Records::Some => String::new(),
        };
        host.wait_stdout(first.as_bytes());
        self.wait_notes(setup);
        if self.cell.probe == Probe::IsDeaf {
            host.signal(Signal::TERM);
        }
        host.send(ONE_MORE.as_bytes());
        if !matches!(self.cell.records, Records::None | Records::Some) {
            host.wait_stdout(format!("{first}{ONE_MORE}").as_bytes());
        }
        if self.cell.status {
            host.wait_ready();
            let good = host.instance("good");
            assert_eq!(good["state"], "ready", "the neighbour: {good}");
        }
        self.shows(host.pid());
        let used = hotshoe_tests::memory::peak_bytes(host.pid())
            .expect("a running process has memory")
            >> 20;
        let most = self.row.memory_mib;
        assert!(used <= most, "the host used {used} MiB, more than {most}");
    }

    #[track_caller]
    fn wait_notes(&self, setup: &Setup) {
        for note in &self.cell.notes {
            setup.trace().wait(note, |lines| {
                lines.iter().any(|line| is_told(line, note)).then_some(())
            });
        }
    }

    fn shows(&self, pid: u32) {
        let (file, text, shown) = match self.cell.probe {
            Probe::Shows(file, text) => (file, text, true),
            Probe::ShowsNot(file, text) => (file, text, false),
            _ => return,
        };
        let path = format!("/proc/{pid}/{file}");
        let found = match fs::read_link(&path) {
            Ok(target) => target.display().to_string(),
            Err(_) => fs::read_to_string(&path).unwrap(),
        };
        let shows = found.lines().any(|line| line.trim() == text);
        assert_eq!(shows, shown, "`{text}` in {path}:\n{found}");
    }

    /// No process but those that the table names; those are ended here.
    #[track_caller]
    fn nothing_stays(&self, setup: &Setup, fifo: &Path) {
        let root = setup.scratch("");
        let mut left = processes_of(&root);
        if !self.cell.leaves {
            // Whoever is about to end is given the time for it.
            left.retain(|pid| !ends_within(*pid, GRACE));
        }
        if self.row.fifo && !left.is_empty() {
            // They wait for it; without a reader there is nobody to wait for.
            drop(OpenOptions::new().write(true).open(fifo).expect("the FIFO"));
        } else {
            for pid in &left {
                // It may have ended meanwhile.
                let _ = kill_process(*pid, Signal::KILL);
            }
        }
        assert_eq!(
            !left.is_empty(),
            self.cell.leaves,
            "processes left behind: {left:?}"
        );
    }

    #[track_caller]
    fn ended(&self, exit: Exit, host: &TestHost<'_>) {
        let end = match (exit.code, exit.signal) {
            (Some(code), _) => End::Exit(code),
            (None, signal) => End::Signal(signal.unwrap_or_default()),
        };
        if self.cell.course == Course::Lost {
            // By itself, or because it was ended: which of the two is a race.
            return;
        }
        assert_eq!(end, self.cell.end, "in {}; {:#?}", self.hook, host.errors());
    }

    #[track_caller]
    fn delivered(&self, host: &TestHost<'_>) {
        let one_more = if self.cell.course == Course::GoesOn {
            ONE_MORE
        } else {
            ""
        };
        let wanted = match self.cell.records {
            Records::All => format!("{RECORDS}{one_more}"),
            Records::Exactly(records) => records.to_owned(),
            Records::None => String::new(),
            Records::Some => return,
        };
        assert_eq!(
            String::from_utf8_lossy(&host.stdout()),
            wanted,
            "in {}",
            self.hook
        );
    }

    /// What the host says names the criminal, and is text that a terminal survives.
    #[track_caller]
    fn heard(&self, host: &TestHost<'_>) {
        let cell = self.cell;
        if !cell.contained {
            return;
        }
        let (logs, errors) = (host.logs(), host.errors());
        let first = errors.first();
        match cell.error {
            Some("") => assert!(first.is_some(), "no error was told"),
            wanted => assert_eq!(
                first.map(|error| code_of(error)),
                wanted,
                "all errors: {errors:#?}"
            ),
        }
        let warning = cell
            .warning
            .and_then(|code| logs.iter().find(|line| line.warns(code)));
        let sentences = warning.map(LogLine::sentence).into_iter();
        for sentence in sentences.chain(first.map(String::as_str)) {
            assert!(sentence.contains("`bad`"), "whose fault? {sentence}");
        }
        for text in &cell.logs {
            let about = |line: &&LogLine| line.is_of("bad") || line.text().contains("`bad`");
            let said = logs
                .iter()
                .filter(about)
                .any(|line| line.text().contains(text));
            assert!(said, "no `{text}` of `bad` in the log");
        }
        for line in host.stderr().split('\n') {
            let control = line.chars().find(|char| char.is_control());
            assert_eq!(control, None, "a control character in the log");
            let len = line.len();
            assert!(
                len <= LOG_LINE_BYTES_MAX,
                "a line of {len} bytes in the log: {}",
                &line[..100]
            );
        }
        assert!(
            !host.stderr().contains('\u{FFFD}')
                || cell.logs.iter().any(|text| text.contains('\u{FFFD}')),
            "no UTF-8 in the log"
        );
    }

    /// A crime that was never committed would let every check pass.
    #[track_caller]
    fn was_committed(&self, setup: &Setup, host: &TestHost<'_>) {
        if self.row.once && !self.row.crime.is_empty() {
            assert!(
                setup.scratch("done").exists(),
                "it never happened; {:#?}",
                host.errors()
            );
        }
        if self.cell.course == Course::Dies {
            return;
        }
        let lines = setup.trace().lines();
        for note in &self.cell.notes {
            let told = lines.iter().any(|line| is_told(line, note));
            assert!(
                told,
                "the criminal was not told `{note}`\n{}",
                setup.trace().text()
            );
        }
    }

    /// The neighbour's own life: every call of it returned well, its init has its one shutdown, each task its start and its
    /// end, and each question its answer.
    #[track_caller]
    fn neighbour_noticed_nothing(&self, setup: &Setup) {
        let (lines, text) = (setup.trace().lines(), setup.trace().text());
        let good: Vec<&TraceLine> = lines
            .iter()
            .filter(|line| line.instance == "good")
            .collect();
        let faults: Vec<&&TraceLine> = good
            .iter()
            .filter(|line| matches!(line.rest.as_str(), "error" | "panic"))
            .collect();
        assert!(faults.is_empty(), "{faults:?}\n{text}");
        let count = |component: &str, call: &str| setup.trace().count("good", component, call);
        assert_eq!(count("plugin", "create"), 1, "{text}");
        assert_eq!(
            (count("driver", "init"), count("driver", "shutdown")),
            (1, 1),
            "{text}"
        );
        let starts = count("executor", "on_task_start");
        let ends = count("executor", "on_task_succeeded") + count("executor", "on_task_failed");
        assert!(
            starts - ends <= self.cell.stuck,
            "{starts} starts, {ends} ends\n{text}"
        );
        let is_answered = |line: &TraceLine| {
            // Its own mailbox may be full of what others sent; it learns so at once.
            line.component == "executor" && is_told(line, "ask ok reply")
                || is_told(line, "ask Full")
        };
        let answered = good.iter().filter(|line| is_answered(line));
        assert_eq!(answered.count(), starts, "its questions\n{text}");
    }
}

/// `ask ms=12 Timeout …` is told `ask Timeout`.
fn is_told(line: &TraceLine, text: &str) -> bool {
    let words: Vec<&str> = line
        .rest
        .split(' ')
        .filter(|word| !word.starts_with("ms="))
        .collect();
    line.call == "note" && words.join(" ").contains(text)
}

/// Whether that process, whosever child it is, has ended by then.
fn ends_within(pid: Pid, grace: Duration) -> bool {
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
        return true;
    };
    let timeout = Timespec::try_from(grace).expect("a few seconds");
    poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&timeout)).is_ok_and(|ended| ended == 1)
}

/// Whoever was started with the test's own folder in its environment, and is still there.
fn processes_of(root: &Path) -> Vec<Pid> {
    let root = root.display().to_string();
    let entries = fs::read_dir("/proc").expect("/proc is there");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .windows(root.len())
            .any(|window| window == root.as_bytes())
    })
    .filter_map(Pid::from_raw)
    .collect()
}
