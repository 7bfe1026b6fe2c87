//! Lets one instance commit its crime beside a well-behaved neighbour, and judges the host: how it ends, what it says, what
//! came out, and that the neighbour noticed nothing.

use hotshoe_tests::{Entry, LogLine, Setup, TestHost, TraceLine, code_of};

/// What goes in: one write, so one batch.
const RECORDS: &[u8] = b"one\ntwo\nthree\n";

/// What the criminal says, where it says anything.
const TEXT: &str = "the crime";

/// Stands in an act for the file that says that it was done.
const ONCE: &str = "<once>";

/// How many of its lives end by a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lives {
    None,
    Exactly(usize),
}

/// Which backend runs the criminal.
#[derive(Debug, Clone, Copy)]
pub(super) enum Backend {
    InProcess,
    Isolated,
}

/// Which records come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Records {
    All,
    None,
}

/// How a host ends that met a crime.
#[derive(Debug, Clone)]
struct Verdict {
    exit: i32,
    error: Option<&'static str>,
    warning: Option<&'static str>,
    records: Records,
}

/// One crime in one call.
#[derive(Debug, Clone)]
pub(super) struct Crime {
    hook: &'static str,
    crime: &'static str,
    with: Vec<&'static str>,
    acts: Vec<String>,
    keys: Vec<&'static str>,
    deadlines: Vec<(&'static str, &'static str)>,
    in_stream: bool,
    executors: usize,
    stuck: usize,
    uncertain: bool,
    killed: Lives,
    required: Verdict,
    optional: Option<Verdict>,
    notes: Option<&'static str>,
    logs: Option<&'static str>,
    inits: Option<(&'static str, usize)>,
    /// What another backend makes of it, where that is something else.
    isolated: Option<Box<Crime>>,
    pub(super) verdict: &'static str,
}

/// A crime in that call of the fixture's.
pub(super) fn on(hook: &'static str, crime: &'static str) -> Crime {
    let clean = Verdict {
        exit: 0,
        error: None,
        warning: None,
        records: Records::All,
    };
    Crime {
        hook,
        crime,
        with: Vec::new(),
        acts: Vec::new(),
        keys: Vec::new(),
        deadlines: Vec::new(),
        in_stream: false,
        executors: 1,
        stuck: 0,
        uncertain: false,
        killed: Lives::None,
        required: clean,
        optional: None,
        notes: None,
        logs: None,
        inits: None,
        isolated: None,
        verdict: "",
    }
}

impl Crime {
    /// More about the act.
    pub(super) fn with(mut self, more: &'static str) -> Self {
        self.with.push(more);
        self
    }

    /// It is committed once in the whole run, whatever becomes of its process.
    pub(super) fn once(self) -> Self {
        self.with(ONCE)
    }

    pub(super) fn deadline(mut self, key: &'static str, within: &'static str) -> Self {
        self.deadlines.push((key, within));
        self
    }

    /// The criminal is named in `[stream]`, behind its neighbour.
    pub(super) fn in_stream(mut self) -> Self {
        self.in_stream = true;
        self
    }

    pub(super) fn executors(mut self, count: usize) -> Self {
        self.executors = count;
        self
    }

    /// So many executors are left behind, with what of the neighbour lives on them.
    pub(super) fn stuck(mut self, executors: usize) -> Self {
        self.stuck = executors;
        self
    }

    /// The host may have left before the call came.
    pub(super) fn uncertain(mut self) -> Self {
        self.uncertain = true;
        self
    }

    /// The criminal's own executor part asks its driver, in its first task.
    pub(super) fn poked(self) -> Self {
        self.poked_for("10000")
    }

    pub(super) fn poked_for(mut self, ms: &str) -> Self {
        let poke = "hook = \"on-task-start\", crime = \"ask\", to = \"bad\", text = \"poke\"";
        self.acts.push(format!("{poke}, {ONCE}, ms = {ms}"));
        if self.hook == "driver-receive" {
            self = self.with("word = \"poke\"");
        }
        // The hook lasts as long as the asking.
        self.deadline("hook", "20s")
    }

    /// Its driver publishes a change, which its checker is asked about.
    pub(super) fn checks(mut self) -> Self {
        self.keys.push("checks = [\"bad\"]");
        self.acts
            .push("hook = \"driver-init\", crime = \"declare\", value = 10".to_owned());
        let publish = "hook = \"driver-receive\", crime = \"publish\", value = 20, word = \"poke\"";
        self.acts.push(publish.to_owned());
        self.poked()
    }

    /// Its driver broadcasts to its executor parts.
    pub(super) fn broadcasts(mut self) -> Self {
        let broadcast =
            "hook = \"driver-receive\", crime = \"broadcast\", text = \"boom\", word = \"poke\"";
        self.acts.push(broadcast.to_owned());
        self.poked()
    }

    /// The first attempt at its task fails, in its own processor.
    pub(super) fn fails_once(mut self) -> Self {
        let fail = "hook = \"process\", crime = \"fail\", text = \"not yet\"";
        self.acts.push(format!("{fail}, {ONCE}"));
        self.in_stream()
    }

    /// The host ends with that code, and that error comes first; nothing is delivered.
    pub(super) fn ends(mut self, exit: i32, error: &'static str) -> Self {
        self.required = Verdict {
            exit,
            error: Some(error),
            records: Records::None,
            ..self.required
        };
        self
    }

    /// An error is not the first to be told.
    pub(super) fn warns(mut self, warning: &'static str) -> Self {
        self.required.warning = Some(warning);
        self
    }

    /// Every record comes out all the same.
    pub(super) fn delivers_all(mut self) -> Self {
        self.required.records = Records::All;
        self
    }

    /// The run goes on, with at most that warning.
    pub(super) fn goes_on(mut self, warning: Option<&'static str>) -> Self {
        self.required.warning = warning;
        self
    }

    /// An optional instance with the same fault is left out, with a warning, and the run goes on.
    pub(super) fn or_does_without(mut self) -> Self {
        self.optional = Some(Verdict {
            exit: 0,
            error: None,
            warning: self.required.error,
            records: Records::All,
        });
        self
    }

    /// Nothing ends by it, with at most that warning, and every record comes out.
    pub(super) fn runs_on(mut self, warning: Option<&'static str>) -> Self {
        self.required = Verdict {
            exit: 0,
            error: None,
            warning,
            records: Records::All,
        };
        self
    }

    /// As [`or_does_without`](Self::or_does_without), but something is left for the end.
    pub(super) fn or_ends(self, exit: i32, error: &'static str) -> Self {
        let mut crime = self.or_does_without();
        if let Some(optional) = &mut crime.optional {
            (optional.exit, optional.error) = (exit, Some(error));
        }
        crime
    }

    /// Its process is killed in such a call, so many times: what lived in it is owed nothing, and no executor is left behind.
    pub(super) fn killed(mut self, lives: usize) -> Self {
        (self.killed, self.stuck) = (Lives::Exactly(lives), 0);
        self
    }

    /// It is killed until it is given up; `attempts = 1` is the second time.
    pub(super) fn killed_for_good(mut self) -> Self {
        self.keys
            .push("restart = { attempts = 1, backoff = \"10ms\" }");
        self.killed(2)
    }

    /// The criminal asked, and is gone before the answer.
    pub(super) fn untold(mut self) -> Self {
        self.notes = None;
        self
    }

    /// The criminal itself is told that.
    pub(super) fn notes(mut self, text: &'static str) -> Self {
        self.notes = Some(text);
        self
    }

    /// The log says so, of the criminal.
    pub(super) fn logs(mut self, text: &'static str) -> Self {
        self.logs = Some(text);
        self
    }

    /// So many inits of that part of it.
    pub(super) fn inits(mut self, component: &'static str, count: usize) -> Self {
        self.inits = Some((component, count));
        self
    }

    /// An instance in a process of its own has another verdict.
    pub(super) fn when_isolated(mut self, verdict: impl FnOnce(Self) -> Self) -> Self {
        self.isolated = Some(Box::new(verdict(self.clone())));
        self
    }

    /// The verdict in words.
    pub(super) fn says(mut self, verdict: &'static str) -> Self {
        self.verdict = verdict;
        self
    }

    /// The part that the crime is committed in, and what its call is called in the trace; factories are not traced.
    fn traced(&self) -> Option<(&'static str, &'static str)> {
        Some(match self.hook {
            "new" => ("plugin", "create"),
            "driver-init" => ("driver", "init"),
            "register-metrics" => ("driver", "register_metrics"),
            "driver-receive" => ("driver", "receive"),
            "driver-shutdown" => ("driver", "shutdown"),
            "driver-drop" => ("driver", "drop"),
            "checker-init" => ("checker", "init"),
            "check" => ("checker", "check"),
            "executor-init" => ("executor", "init"),
            "on-task-start" => ("executor", "on_task_start"),
            "on-task-succeeded" => ("executor", "on_task_succeeded"),
            "on-task-failed" => ("executor", "on_task_failed"),
            "executor-receive" => ("executor", "receive"),
            "executor-shutdown" => ("executor", "shutdown"),
            "executor-drop" => ("executor", "drop"),
            "processor-init" => ("processor", "init"),
            "process" => ("processor", "process"),
            "finish" => ("processor", "finish"),
            "processor-drop" => ("processor", "drop"),
            _ => return None,
        })
    }

    /// Its driver is inside a call for ever: what it is owed cannot reach it.
    fn keeps_its_driver(&self) -> bool {
        self.crime == "hang" && matches!(self.hook, "driver-receive" | "register-metrics")
    }

    fn entry(&self, setup: &Setup, required: bool) -> Entry {
        let mut entry = setup.misbehave("bad").set("ends = true");
        if !required {
            entry = entry.key("required = false");
        }
        for key in &self.keys {
            entry = entry.key(key);
        }
        let deadlines: Vec<String> = self
            .deadlines
            .iter()
            .map(|(key, within)| format!("{key} = {within:?}"))
            .collect();
        if !deadlines.is_empty() {
            entry = entry.key(&format!("deadlines = {{ {} }}", deadlines.join(", ")));
        }
        let with: String = self.with.iter().map(|more| format!(", {more}")).collect();
        let crime = format!(
            "hook = {:?}, crime = {:?}, text = {TEXT:?}{with}",
            self.hook, self.crime
        );
        for (place, act) in self.acts.iter().chain([&crime]).enumerate() {
            let done = setup.scratch(&format!("done-{place}"));
            let once = format!("once = {:?}", done.display().to_string());
            entry = entry.act(&act.replace(ONCE, &once));
        }
        entry
    }
}

/// Commits the crime with the instance required, and optional where that makes a difference.
#[track_caller]
pub(super) fn commit(crime: &Crime, backend: Backend) {
    let crime = match (backend, &crime.isolated) {
        (Backend::Isolated, Some(isolated)) => isolated,
        _ => crime,
    };
    judge(crime, backend, true, &crime.required);
    if let Some(verdict) = &crime.optional {
        judge(crime, backend, false, verdict);
    }
}

#[track_caller]
fn judge(crime: &Crime, backend: Backend, required: bool, verdict: &Verdict) {
    let setup = Setup::new();
    let processors = if crime.in_stream {
        "\"good\", \"bad\""
    } else {
        "\"good\""
    };
    let tables = format!(
        "[executors]\ncount = {}\nmax_restarts = 1\n[stream]\nsource = \"stdin\"\nprocessors = [{processors}]\n",
        crime.executors
    );
    // It asks its own driver in each task, and whatever happens next to it, it is answered.
    let good = setup
        .misbehave("good")
        .set("ends = true")
        .key("deadlines = { hook = \"20s\" }")
        .act("hook = \"on-task-start\", crime = \"ask\", text = \"ask\"");
    let bad = crime.entry(&setup, required);
    let bad = match backend {
        Backend::InProcess => bad.key("isolation = \"in-process\""),
        Backend::Isolated => bad.key("isolation = \"process\""),
    };
    setup.entries(&tables, &[good, bad]);
    let mut host = setup.start();
    host.send(RECORDS);
    if let Some(warning) = verdict.warning {
        // Not before it was noticed: a stop looks at the same crime with other eyes.
        host.wait_log(warning, |line| line.warns(warning));
        if crime.killed != Lives::None && verdict.error.is_none() && warning != "init-timeout" {
            // Nor before it is dead: until then it is owed a shutdown.
            host.wait_log("died", |line| {
                line.warns("died") || line.warns("quarantined")
            });
        }
    }
    host.close_input();

    host.assert_exit(verdict.exit);

    let records = String::from_utf8_lossy(&host.stdout()).into_owned();
    let expected = if verdict.records == Records::All {
        RECORDS
    } else {
        b""
    };
    assert_eq!(
        records.as_bytes(),
        expected,
        "records that came out, required = {required}"
    );
    heard(crime, &host, verdict);
    was_committed(crime, &setup);
    owed_and_paid(crime, &setup);
    noticed_nothing(crime, &setup, verdict);
}

/// What the host says names the criminal, its words and the place.
#[track_caller]
fn heard(crime: &Crime, host: &TestHost<'_>, verdict: &Verdict) {
    let errors = host.errors();
    let first = errors.first().map(String::as_str);
    match verdict.error {
        Some("") => assert!(first.is_some(), "no error was told"),
        wanted => assert_eq!(
            first.map(code_of),
            wanted,
            "the first error; all: {errors:#?}"
        ),
    }
    let logs = host.logs();
    let warning = logs
        .iter()
        .find(|line| verdict.warning.is_some_and(|code| line.warns(code)));
    for sentence in warning.map(LogLine::sentence).into_iter().chain(first) {
        assert!(sentence.contains("`bad`"), "whose fault? {sentence}");
    }
    let about = |line: &&LogLine| line.is_of("bad") || line.text().contains("`bad`");
    if let Some(text) = crime.logs {
        assert!(
            logs.iter()
                .filter(about)
                .any(|line| line.text().contains(text)),
            "no `{text}`"
        );
    }
    if crime.uncertain || crime.hook == "driver-receive" && crime.crime == "fail" {
        // The asker was told, and nobody else.
        return;
    }
    let said = |line: &&LogLine| line.text().contains(TEXT);
    let is_place = |line: &LogLine| line.text().contains("crimes/panic.rs:");
    match crime.crime {
        "panic" => {
            let place = logs.iter().filter(about).filter(said).any(is_place);
            assert!(
                place,
                "no payload and place of the panic, with the instance's name"
            );
        }
        "fail" if crime.hook != "check" => {
            assert!(
                logs.iter().filter(about).any(|line| said(&line)),
                "no text of the error"
            );
        }
        _ => {}
    }
}

/// A crime that was never committed would let every check pass.
#[track_caller]
fn was_committed(crime: &Crime, setup: &Setup) {
    let lines = setup.trace().lines();
    let Some((component, call)) = crime.traced().filter(|_| !crime.uncertain) else {
        return;
    };
    let of_call: Vec<&TraceLine> = lines
        .iter()
        .filter(|line| line.is_call("bad", component, call))
        .collect();
    let ended = |outcome: &str| of_call.iter().filter(|line| line.rest == outcome).count();
    let ends = ended("ok") + ended("error") + ended("panic");
    let committed = match crime.crime {
        "fail" => ended("error") > 0,
        "panic" => ended("panic") > 0,
        "hang" => of_call.len() > 2 * ends,
        _ => !of_call.is_empty(),
    };
    assert!(committed, "it never happened\n{}", setup.trace().text());
    if let Some(text) = crime.notes {
        let told = lines.iter().any(|line| {
            line.is_call("bad", "executor", "note") && told(line, text)
                || line.is_call("bad", "driver", "note") && told(line, text)
        });
        assert!(
            told,
            "the criminal was not told `{text}`\n{}",
            setup.trace().text()
        );
    }
    if let Some((component, count)) = crime.inits {
        assert_eq!(setup.trace().count("bad", component, "init"), count);
    }
}

/// `ask ms=12 Timeout …` is told `ask Timeout`.
fn told(line: &TraceLine, text: &str) -> bool {
    let words: Vec<&str> = line
        .rest
        .split(' ')
        .filter(|word| !word.starts_with("ms="))
        .collect();
    words.join(" ").contains(text)
}

/// The criminal gets its due: one shutdown for each init that returned well, and none else.
#[track_caller]
fn owed_and_paid(crime: &Crime, setup: &Setup) {
    let lines = setup.trace().lines();
    let initialised = ended(&lines, "bad", "driver", "init", "ok");
    let shutdowns = setup.trace().count("bad", "driver", "shutdown");
    let owed = match crime.killed {
        Lives::Exactly(lives) => initialised - lives,
        Lives::None if crime.keeps_its_driver() => 0,
        Lives::None => initialised,
    };
    assert_eq!(
        shutdowns,
        owed,
        "the criminal's shutdowns\n{}",
        setup.trace().text()
    );
}

fn ended(lines: &[TraceLine], instance: &str, component: &str, call: &str, outcome: &str) -> usize {
    let of_call = lines
        .iter()
        .filter(|line| line.is_call(instance, component, call));
    of_call.filter(|line| line.rest == outcome).count()
}

/// The neighbour's own life: every call of it returned well, each init has its one shutdown, each task its start and its
/// end, and each question its answer.
#[track_caller]
fn noticed_nothing(crime: &Crime, setup: &Setup, verdict: &Verdict) {
    let (lines, text) = (setup.trace().lines(), setup.trace().text());
    let count = |component: &str, call: &str| setup.trace().count("good", component, call);
    let faults = lines.iter().filter(|line| line.instance == "good");
    let faults: Vec<&TraceLine> = faults
        .filter(|line| matches!(line.rest.as_str(), "error" | "panic"))
        .collect();
    assert!(faults.is_empty(), "{faults:?}\n{text}");
    for (component, call) in [
        ("plugin", "create"),
        ("driver", "init"),
        ("checker", "init"),
        ("driver", "shutdown"),
    ] {
        let ended = ended(&lines, "good", component, call, "ok");
        assert_eq!(count(component, call), ended, "{component} {call}\n{text}");
    }
    assert_eq!(count("plugin", "create"), 1, "{text}");
    let before_any_init = crime.hook == "new" && verdict.exit != 0;
    let lives = usize::from(!before_any_init);
    assert_eq!(
        (count("driver", "init"), count("driver", "shutdown")),
        (lives, lives),
        "{text}"
    );
    // On a thread that is left behind its parts are left behind as well.
    let parts = count("executor", "init") - count("executor", "shutdown");
    assert!(
        parts <= crime.stuck,
        "{parts} executor parts without a shutdown\n{text}"
    );
    let starts = count("executor", "on_task_start");
    let ends = count("executor", "on_task_succeeded") + count("executor", "on_task_failed");
    assert!(
        starts - ends <= crime.stuck,
        "{starts} starts, {ends} ends\n{text}"
    );
    if verdict.records == Records::All {
        assert!(starts > 0, "{text}");
    }
    let answered = lines
        .iter()
        .filter(|line| line.is_call("good", "executor", "note") && told(line, "ask ok reply"));
    assert_eq!(answered.count(), starts, "its questions\n{text}");
}
