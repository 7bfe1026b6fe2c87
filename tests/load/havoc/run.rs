//! Does what a plan says to a real host: writes records, changes the configuration, and kills.
//!
//! Judges only what can be seen while the host runs (a worker that does not come back, a change that is not acknowledged, what
//! is held at rest); the rest is `judge.rs`. Every wait is for an event, under the harness's deadline.

use super::{
    Figures, judge,
    plan::{End, Library, Link, Plan, Step, Who, Word},
};
use hotshoe_tests::{DEADLINE, Entry, Setup, TestHost, artifacts, http};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// The first value of the configuration: as long as every later one.
pub(super) const FIRST_VALUE: u64 = 10_000;

/// What the record begins with by which the run knows that all before it are through.
pub(super) const MARK: &str = "=";

/// How long a slow record takes, and a slow shutdown: long enough for a kill to be in time, on most days.
const SLOW_MS: u64 = 15;
const SHUTDOWN_MS: u64 = 400;
const FIRST_INIT_MS: u64 = 1000;

/// The deadline of `process` and of hooks where a stalled worker is waited for: longer than a busy machine makes anybody wait.
const STALL: &str = "3s";

/// What the host's memory may grow by after the first deaths, and by each: buffers of executors that had been idle, arenas of
/// threads that came and went. Measured: 2 to 5 MiB, whether there were 50 deaths or 2,000.
const GROWTH_KIB: i64 = 24 << 10;

/// Between two looks at what the kernel counts: it tells nobody when a number changes.
const GLANCE: Duration = Duration::from_millis(2);

/// A record that was written.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) text: String,
    /// Where it begins in the input.
    pub(super) offset: u64,
    pub(super) bad: bool,
    /// The newest value that was acknowledged before it was written.
    pub(super) least: u64,
    /// The newest value that anybody had asked for when it was known to be through.
    pub(super) most: u64,
    /// It was under way together with enough kills for one that does nothing to be taken for poison.
    pub(super) may_be_blamed: bool,
}

/// A run and what is known of it.
pub(super) struct Run<'a> {
    pub(super) plan: &'a Plan,
    pub(super) setup: &'a Setup,
    pub(super) host: TestHost<'a>,
    input: Option<mpsc::Sender<Vec<u8>>>,
    writer: Option<JoinHandle<()>>,
    pub(super) written: Vec<Written>,
    input_len: u64,
    /// Where the records begin that may still be under way.
    unsettled: usize,
    /// Kills of the chain's instances since then, and records that kill.
    kills_under_way: u32,
    deadly_under_way: u32,
    marks: u32,
    value_asked: u64,
    value_acknowledged: u64,
    generation: u64,
    config_killed: bool,
    /// The worker that was killed last, of each instance.
    killed: Vec<Option<u64>>,
    pub(super) kills_of: Vec<u64>,
    /// A record of the plan kills workers: how often is the host's affair.
    pub(super) deadly: bool,
    baseline: Option<Held>,
    pub(super) figures: Figures,
}

/// What the host holds when all is at rest.
#[derive(Debug, Clone)]
struct Held {
    descriptors: BTreeMap<u32, String>,
    threads: Vec<String>,
    resident_kib: i64,
}

impl Held {
    fn is_no_more_than(&self, other: &Self) -> bool {
        self.descriptors.len() <= other.descriptors.len()
            && self.threads.len() <= other.threads.len()
    }
}

pub(super) fn name(who: Who) -> String {
    match who {
        0 => "cfg".to_owned(),
        who => format!("p{who}"),
    }
}

impl<'a> Run<'a> {
    pub(super) fn start(plan: &'a Plan, setup: &'a Setup) -> Self {
        configure(plan, setup);
        // Those that abort leave no core files behind.
        let mut command = Command::new("sh");
        command
            .args(["-c", "ulimit -c 0; exec \"$@\"", "sh"])
            .arg(artifacts::hotshoe())
            .args(["--log-format", "json", "run"])
            .arg(setup.config_path());
        let mut host = setup.start_command(command);
        let mut stdin = host.take_input();
        let (input, pieces) = mpsc::channel::<Vec<u8>>();
        // A stream that stands still must not keep the run from ending that.
        let writer = thread::spawn(move || {
            for piece in pieces {
                if stdin.write_all(&piece).is_err() {
                    return;
                }
            }
        });
        let instances = plan.chain.len() + 1;
        Self {
            plan,
            setup,
            host,
            input: Some(input),
            writer: Some(writer),
            written: Vec::new(),
            input_len: 0,
            unsettled: 0,
            kills_under_way: 0,
            deadly_under_way: 0,
            marks: 0,
            value_asked: FIRST_VALUE,
            value_acknowledged: FIRST_VALUE,
            generation: 0,
            config_killed: false,
            killed: vec![None; instances],
            kills_of: vec![0; instances],
            deadly: false,
            baseline: None,
            figures: Figures::default(),
        }
    }

    pub(super) fn go(&mut self) -> Result<Figures, String> {
        let plan = self.plan;
        if let Some(who) = plan.kill_in_first_init {
            let trace = self.setup.trace();
            trace.wait_behind(0, "its first init", |line| {
                line.is(&name(who), "driver", "init")
            });
            // Its process is not told anywhere before the host is ready; it is the host's only child in its title.
            if let Some(pid) = self.worker_by_title(who) {
                self.kill_pid(who, pid);
            }
        }
        self.host.wait_ready();
        for (number, step) in plan.steps.iter().enumerate() {
            self.step(step)
                .map_err(|reason| format!("step {number}, {step:?}: {reason}"))?;
            if *step == Step::Settle && self.baseline.is_none() && self.all_killed_once() {
                self.baseline = Some(self.held());
            }
        }
        self.judge_at_rest()?;
        self.end()
    }

    fn all_killed_once(&self) -> bool {
        (0..self.kills_of.len()).all(|who| !self.plan.isolated(who) || self.kills_of[who] > 0)
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Burst(records, words) => self.burst(*records, words),
            Step::Trickle(records) => {
                for _ in 0..*records {
                    self.burst(1, &[]);
                    self.wait_out(self.written.len() - 1);
                }
            }
            Step::Half(records) => {
                let first = self.written.len();
                self.burst(*records, &[]);
                self.wait_out(first + *records as usize / 2);
            }
            Step::Change => self.change()?,
            Step::Kill(who) => self.kill(*who),
            Step::KillBoth(one, other) => {
                let pids = [*one, *other].map(|who| (who, self.wait_service(who)));
                for (who, pid) in pids {
                    if self.killed[who] != Some(pid) {
                        self.kill_pid(who, pid);
                    }
                }
            }
            Step::KillInTask(who) => {
                let pid = self.wait_service(*who);
                let before = self.setup.trace().len();
                self.burst(1, &[(0, Word::Slow, *who)]);
                self.setup
                    .trace()
                    .wait_behind(before, "its process", |line| {
                        line.is_call(&name(*who), "processor", "process")
                    });
                self.kill_pid(*who, pid);
            }
            Step::KillInInit(who) => {
                let pid = self.wait_service(*who);
                let before = self.setup.trace().len();
                self.kill_pid(*who, pid);
                self.setup.trace().wait_behind(before, "its init", |line| {
                    line.is(&name(*who), "driver", "init")
                });
                let next = self.instance(*who)["worker"]["pid"].as_u64();
                if let Some(next) = next.filter(|next| *next != pid) {
                    self.kill_pid(*who, next);
                }
            }
            Step::Freeze(who, records) => {
                let pid = self.wait_service(*who);
                freeze(pid);
                self.burst(*records, &[]);
                let changed = match who {
                    0 => Ok(()),
                    _ => self.change(),
                };
                signal(pid, Signal::CONT);
                changed?;
            }
            Step::Stall(who) => {
                let pid = self.wait_service(*who);
                freeze(pid);
                self.burst(1, &[]);
                // The host sends the signal; to the run it is a kill like any other.
                self.figures.kills += 1;
                self.kills_of[*who] += 1;
                self.kills_under_way += 1;
                self.killed[*who] = Some(pid);
                self.wait_service(*who);
            }
            Step::Settle => self.settle()?,
        }
        Ok(())
    }

    /// Writes records in one piece.
    fn burst(&mut self, records: u32, words: &[(u32, Word, Who)]) {
        let mut piece = String::new();
        for place in 0..records {
            let here = words.iter().find(|(at, ..)| *at == place);
            let (word, bad) = here.map_or((String::new(), false), |(_, word, who)| {
                if *word == Word::Die {
                    self.deadly = true;
                    self.deadly_under_way += 1;
                }
                (word.text(*who), word.is_bad())
            });
            let text = format!("r{:07}{word};", self.written.len());
            self.note(&mut piece, text, bad);
        }
        self.send(piece);
    }

    fn note(&mut self, piece: &mut String, text: String, bad: bool) {
        let offset = self.input_len;
        self.input_len += text.len() as u64 + 1;
        // A string takes what is written.
        let _ = writeln!(piece, "{text}");
        self.written.push(Written {
            text,
            offset,
            bad,
            least: self.value_acknowledged,
            most: u64::MAX,
            may_be_blamed: false,
        });
    }

    fn send(&mut self, piece: String) {
        let input = self.input.as_ref().expect("the input is open to the end");
        input
            .send(piece.into_bytes())
            .expect("the host reads its input");
    }

    /// Waits until a record, or one after it, has come out.
    fn wait_out(&self, place: usize) {
        let what = format!("record {place} on stdout");
        self.host.wait_stdout_reached(&what, |line| {
            line.starts_with(MARK) || number(line) >= Some(place)
        });
    }

    /// Waits until the instance is in service, in a life that nobody killed yet; answers its process.
    fn wait_service(&self, who: Who) -> u64 {
        loop {
            let seen = self.host.log_count();
            let instance = self.instance(who);
            let pid = instance["worker"]["pid"].as_u64();
            if let Some(pid) = pid.filter(|pid| Some(*pid) != self.killed[who]) {
                if instance["state"] == "ready" {
                    return pid;
                }
            }
            // When it is back the log says so.
            self.host
                .wait_log_behind(seen, &format!("`{}` in service again", name(who)));
        }
    }

    fn instance(&self, who: Who) -> Value {
        self.host.instance(&name(who))
    }

    fn kill(&mut self, who: Who) {
        let pid = self.wait_service(who);
        self.kill_pid(who, pid);
    }

    fn kill_pid(&mut self, who: Who, pid: u64) {
        if signal(pid, Signal::KILL) {
            self.figures.kills += 1;
            self.kills_of[who] += 1;
        }
        self.killed[who] = Some(pid);
        match who {
            0 => self.config_killed = true,
            _ => self.kills_under_way += 1,
        }
    }

    /// The process of a worker that no status names yet.
    fn worker_by_title(&self, who: Who) -> Option<u64> {
        let host = u64::from(self.host.pid());
        judge::processes(self.setup)
            .into_iter()
            .filter(|(pid, _)| *pid != host)
            .find(|(_, title)| title.contains(&name(who)))
            .map(|(pid, _)| pid)
    }

    /// Changes the configuration. Only a worker that was killed may leave that without an answer.
    fn change(&mut self) -> Result<(), String> {
        self.value_asked += 1;
        let addresses = self.setup.run_dir().join("cfg.addr");
        let address = fs::read_to_string(addresses).unwrap_or_default();
        let address = address.lines().next().unwrap_or_default();
        let generation = put(address.trim_start_matches("http://"), self.value_asked)?;
        match generation {
            Some(generation) if generation <= self.generation => Err(format!(
                "generation {generation} was given after {}",
                self.generation
            )),
            Some(generation) => {
                self.generation = generation;
                self.value_acknowledged = self.value_asked;
                self.figures.changes += 1;
                Ok(())
            }
            None if self.config_killed => Ok(()),
            None => Err(format!("nobody answered the change at {address:?}")),
        }
    }

    /// Waits until every instance is in service and every record is through.
    fn settle(&mut self) -> Result<(), String> {
        self.wait_all_in_service();
        self.marks += 1;
        let text = format!("{MARK}{:07};", self.marks);
        let mut piece = String::new();
        self.note(&mut piece, text.clone(), false);
        self.send(piece);
        let what = format!("the mark {text} on stdout");
        self.host
            .wait_stdout_reached(&what, |line| line.starts_with(&text));
        // A record may have killed one meanwhile.
        self.wait_all_in_service();
        let blamed = self.blame_is_possible();
        for written in &mut self.written[self.unsettled..] {
            written.most = self.value_asked;
            written.may_be_blamed = blamed;
        }
        self.unsettled = self.written.len();
        self.kills_under_way = 0;
        self.deadly_under_way = 0;
        self.config_killed = false;
        Ok(())
    }

    /// Three deaths prove a record guilty, and each death in the same batch proves another one so.
    fn blame_is_possible(&self) -> bool {
        self.kills_under_way >= 3 || (self.kills_under_way > 0 && self.deadly_under_way > 0)
    }

    fn wait_all_in_service(&self) {
        for who in 0..=self.plan.chain.len() {
            if self.plan.isolated(who) {
                self.wait_service(who);
            }
        }
    }

    fn held(&self) -> Held {
        let resident = hotshoe_tests::memory::resident_bytes(self.host.pid());
        Held {
            descriptors: self.host.descriptors(),
            threads: self.host.thread_names(),
            resident_kib: (resident.unwrap_or_default() >> 10) as i64,
        }
    }

    /// What a host at rest holds, and what it says of itself.
    fn judge_at_rest(&mut self) -> Result<(), String> {
        let Some(before) = self.baseline.clone() else {
            return Err("the plan killed nobody".to_owned());
        };
        let until = Instant::now() + DEADLINE;
        let after = loop {
            let after = self.held();
            if after.is_no_more_than(&before) || Instant::now() > until {
                break after;
            }
            thread::park_timeout(GLANCE);
        };
        if !after.is_no_more_than(&before) {
            return Err(format!(
                "the host held {before:#?} after the first deaths, and {after:#?} at the end"
            ));
        }
        self.figures.grown_kib = after.resident_kib - before.resident_kib;
        if self.figures.grown_kib > GROWTH_KIB {
            return Err(format!(
                "the host held {before:?} after the first deaths, and {after:?} at the end"
            ));
        }
        let status = self.host.status();
        judge::status(self, &status)
    }

    /// Ends the run as the plan says, and judges all that is left.
    fn end(&mut self) -> Result<Figures, String> {
        let plan = self.plan;
        if plan.last_records > 0 {
            self.burst(plan.last_records, &[]);
        }
        if let Some(who) = plan.kill_before_end {
            self.kill(who);
        }
        let pid = plan.kill_in_shutdown.map(|who| self.wait_service(who));
        let before = self.setup.trace().len();
        match plan.end {
            End::Input => self.input = None,
            End::Signal => self.host.signal(Signal::TERM),
            End::BadRecord(who, word) => {
                self.burst(3, &[(1, word, who)]);
            }
        }
        if let (Some(who), Some(pid)) = (plan.kill_in_shutdown, pid) {
            self.setup
                .trace()
                .wait_behind(before, "its shutdown", |line| {
                    line.is(&name(who), "driver", "shutdown")
                });
            self.kill_pid(who, pid);
        }
        let blamed = self.blame_is_possible();
        for written in &mut self.written[self.unsettled..] {
            written.most = self.value_asked;
            written.may_be_blamed = blamed;
        }
        let exit = self.host.wait_process();
        // Each was told to end; the kernel may need a moment for one that was frozen or large.
        let until = Instant::now() + DEADLINE;
        loop {
            let left = judge::processes(self.setup);
            if left.is_empty() {
                break;
            }
            if Instant::now() > until {
                return Err(format!("processes were left: {left:?}"));
            }
            thread::park_timeout(GLANCE);
        }
        self.input = None;
        self.host.wait_exit();
        if let Some(writer) = self.writer.take() {
            writer.join().map_err(|_| "the writer panicked")?;
        }
        judge::all(self, exit.code)?;
        self.figures.records = self.written.len() as u64;
        Ok(self.figures)
    }

    /// Copies what the run left to a folder.
    pub(super) fn keep(&self, folder: &Path) -> std::io::Result<()> {
        fs::write(folder.join("stderr"), self.host.stderr())?;
        fs::write(folder.join("stdout"), self.host.stdout())?;
        let input: String = self
            .written
            .iter()
            .map(|w| format!("{}\n", w.text))
            .collect();
        fs::write(folder.join("input"), input)?;
        fs::write(folder.join("trace"), self.setup.trace().text())?;
        fs::copy(self.setup.config_path(), folder.join("hotshoe.toml"))?;
        let letters = self.setup.folder().join("dead.jsonl");
        fs::write(
            folder.join("dead.jsonl"),
            fs::read(letters).unwrap_or_default(),
        )
    }
}

/// The record's number, where it is none of the run's marks.
fn number(line: &str) -> Option<usize> {
    line.get(1..8)?.parse().ok()
}

/// Answers whether there was such a process.
fn signal(pid: u64, signal: Signal) -> bool {
    process(pid).is_some_and(|pid| kill_process(pid, signal).is_ok())
}

/// A worker that is stopped would still serve what comes at once.
fn freeze(pid: u64) -> bool {
    process(pid).is_some_and(hotshoe_tests::freeze)
}

fn process(pid: u64) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// Asks for a value; the generation, where it was acknowledged, and nothing where nobody answered.
fn put(address: &str, value: u64) -> Result<Option<u64>, String> {
    let body = format!("{{\"value\":{value}}}");
    let headers = [("Content-Type", "application/json")];
    let request = http::request("PUT", "/v1/config", address, &headers, body.as_bytes());
    let Ok(mut stream) = TcpStream::connect(address) else {
        return Ok(None);
    };
    let mut answer = Vec::new();
    let asked = stream
        .set_read_timeout(Some(DEADLINE))
        .and_then(|()| stream.write_all(&request))
        .and_then(|()| stream.read_to_end(&mut answer));
    let text = String::from_utf8_lossy(&answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Ok(None);
    };
    if asked.is_err() && body.is_empty() {
        return Ok(None);
    }
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(format!("the change was answered with {text}"));
    }
    let json: Option<Value> = serde_json::from_str(body).ok();
    Ok(json.and_then(|json| json["generation"].as_u64()))
}

fn configure(plan: &Plan, setup: &Setup) {
    let chain: Vec<String> = (1..=plan.chain.len()).map(name).collect();
    let on_error = match plan.dead_letters {
        true => "on_error = \"dead-letter\"\ndead_letter = \"dead.jsonl\"",
        false => "on_error = \"stop\"",
    };
    let tables = format!(
        "[executors]\ncount = {}\ndrain = \"60s\"\n[stream]\nprocessors = {chain:?}\nbatch_records = {}\nretries = 8\n{on_error}\n",
        plan.executors, plan.batch_records
    );
    let cfg = Entry::of("cfg", artifacts::library("hotshoe-dynamic-config"))
        .set("listen = [\"127.0.0.1:0\"]")
        .set(&format!("initial = {{ value = {FIRST_VALUE} }}"))
        .set("state = \"memory\"");
    let mut entries = vec![kept_alive(cfg, plan.config_isolated, 1, false)];
    for (place, link) in plan.chain.iter().enumerate() {
        entries.push(entry(plan, setup, place + 1, link));
    }
    setup.entries(&tables, &entries);
}

/// Deaths are forgiven as fast as they come, and no deadline is one that a busy machine misses.
fn kept_alive(entry: Entry, isolated: bool, init_attempts: u32, stalls: bool) -> Entry {
    // `receive` as well: a neighbour that asks the stalled one in its hook keeps every record from it meanwhile.
    let short = if stalls && isolated { STALL } else { "60s" };
    let entry = entry.key(&format!(
        "deadlines = {{ init = \"60s\", receive = {short:?}, hook = {short:?}, process = {short:?}, check = \"60s\", shutdown = \"60s\" }}",
    ));
    if !isolated {
        return entry;
    }
    entry
        .key("isolation = \"process\"")
        .key(&format!("init_attempts = {init_attempts}"))
        .key("restart = { attempts = 1000, within = \"10ms\", backoff = \"1ms\", backoff_max = \"5ms\" }")
}

fn entry(plan: &Plan, setup: &Setup, who: Who, link: &Link) -> Entry {
    let name = name(who);
    let attempts = match plan.kill_in_first_init {
        Some(killed) if killed == who => 5,
        _ => 1,
    };
    let entry = match link.library {
        Library::Append => Entry::of(&name, artifacts::library("hotshoe-quickstart")),
        Library::Misbehave => setup.misbehave(&name),
        Library::Lean => setup
            .fixture(&name, "misbehave-lean")
            .set(&format!("label = {name:?}")),
    };
    let mut entry = kept_alive(entry, link.isolated, attempts, plan.stalls)
        .key("after = [\"cfg\"]")
        .set("topic = \"cfg\"");
    if !link.library.acts() {
        return entry;
    }
    entry = entry.set("ends = true").set("process = \"live\"");
    let mut act = |what: String| {
        entry = entry.clone().act(&what);
    };
    let mut on_record = |word: Word, crime: &str| {
        act(format!(
            "hook = \"record\", word = {:?}, {crime}",
            word.text(who)
        ));
    };
    on_record(Word::Slow, &format!("crime = \"slow\", ms = {SLOW_MS}"));
    on_record(
        Word::Once,
        "crime = \"fail\", text = \"only now\", times = 1",
    );
    on_record(Word::Fault, "crime = \"fail\", text = \"a bad record\"");
    on_record(Word::Panic, "crime = \"panic\", text = \"a bad record\"");
    if link.isolated {
        on_record(Word::Die, &format!("crime = {:?}, value = 7", link.death));
    }
    if plan.init_ms > 0 {
        let ms = plan.init_ms;
        act(format!(
            "hook = \"driver-init\", crime = \"slow\", ms = {ms}"
        ));
    }
    if plan.kill_in_first_init == Some(who) {
        let done = setup.scratch("first-init").display().to_string();
        act(format!(
            "hook = \"driver-init\", crime = \"slow\", ms = {FIRST_INIT_MS}, once = {done:?}"
        ));
    }
    if plan.kill_in_shutdown == Some(who) {
        act(format!(
            "hook = \"driver-shutdown\", crime = \"slow\", ms = {SHUTDOWN_MS}"
        ));
    }
    if link.library == Library::Misbehave {
        if link.asks {
            let to = format!("p{}", who % plan.chain.len() + 1);
            act(format!(
                "hook = \"on-task-start\", crime = \"ask\", text = \"ask\", to = {to:?}, ms = 30000"
            ));
        }
        if link.hook_panics {
            act(
                "hook = \"on-task-succeeded\", crime = \"panic\", text = \"a hook\", times = 1"
                    .to_owned(),
            );
        }
    }
    entry
}
