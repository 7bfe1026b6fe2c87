//! What a run must have left behind: output, dead letters, lives, hooks, files, processes. Each check says in a sentence what it
//! found; what it promises stands in DESIGN §5 to §8 and in the guides. Looks only, and changes nothing.

use super::{
    plan::{End, Library, Who, Word},
    run::{FIRST_VALUE, MARK, Run, Written, name},
};
use hotshoe_tests::{LogLine, Setup, TraceLine};
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};

/// Crash records that are kept of one instance.
const CRASHES_MAX: usize = 10;

/// Fails with a sentence.
macro_rules! ensure {
    ($fact:expr, $($sentence:tt)+) => {
        if !$fact {
            return Err(format!($($sentence)+));
        }
    };
}

/// Every process that was started in this setup, with its command line.
pub(super) fn processes(setup: &Setup) -> Vec<(u64, String)> {
    let mark = setup.scratch("run").into_os_string().into_encoded_bytes();
    let folders = fs::read_dir("/proc").into_iter().flatten().flatten();
    let of_run = folders.filter_map(|folder| {
        let pid: u64 = folder.file_name().to_str()?.parse().ok()?;
        let environment = fs::read(folder.path().join("environ")).ok()?;
        let is_ours = environment
            .split(|byte| *byte == 0)
            .any(|variable| variable.ends_with(&mark));
        let title = fs::read(folder.path().join("cmdline")).unwrap_or_default();
        is_ours.then(|| (pid, String::from_utf8_lossy(&title).replace('\0', " ")))
    });
    of_run.collect()
}

/// What a host at rest says of itself.
pub(super) fn status(run: &Run<'_>, status: &Value) -> Result<(), String> {
    let deaths = deaths_in(&run.host.logs());
    for who in 0..=run.plan.chain.len() {
        let name = name(who);
        let instances = status["instances"].as_array();
        let mut instances = instances.into_iter().flatten();
        let instance = instances.find(|instance| instance["name"] == name.as_str());
        let instance = instance.ok_or(format!("status has no `{name}`"))?;
        ensure!(
            instance["state"] == "ready",
            "`{name}` is {} at rest: {}",
            instance["state"],
            instance["reason"]
        );
        let worker = &instance["worker"];
        if !run.plan.isolated(who) {
            ensure!(
                worker.is_null(),
                "`{name}` runs in the host and has a worker"
            );
            continue;
        }
        let lives = worker["lives"].as_u64().unwrap_or_default();
        let died = deaths.get(&name).copied().unwrap_or_default();
        let kills = run.kills_of[who];
        ensure!(
            run.deadly || died == kills,
            "`{name}` was killed {kills} times, and the log tells of {died} deaths"
        );
        ensure!(
            lives == died + 1,
            "`{name}` died {died} times and is in life {lives}"
        );
        let crashes = worker["crashes"].as_array().map_or(0, Vec::len);
        let kept = CRASHES_MAX.min(usize::try_from(died).unwrap_or(CRASHES_MAX));
        ensure!(
            crashes == kept,
            "`{name}` died {died} times, and status shows {crashes} crash records"
        );
    }
    let stream = &status["stream"];
    let (records_in, all) = (stream["records_in"].as_u64(), run.written.len() as u64);
    ensure!(
        records_in == Some(all),
        "{all} records were written, and status counts {records_in:?}"
    );
    let through = [&stream["records_out"], &stream["dead_letters"]];
    let through: u64 = through.into_iter().filter_map(Value::as_u64).sum();
    ensure!(
        through == all,
        "{all} records were written, and at rest {stream} went through"
    );
    Ok(())
}

/// How often each instance's worker died, by the log.
fn deaths_in(log: &[LogLine]) -> BTreeMap<String, u64> {
    let mut deaths = BTreeMap::new();
    for line in log.iter().filter(|line| died(line)) {
        let sentence = line.sentence();
        let name = sentence.split('`').nth(1).unwrap_or_default();
        *deaths.entry(name.to_owned()).or_default() += 1;
    }
    deaths
}

/// A problem that tells of a death, in service or in an init; what its neighbours noticed of it is none.
fn died(line: &LogLine) -> bool {
    let sentence = line.sentence();
    let problem = sentence.starts_with("warning[") || sentence.starts_with("error[");
    problem && sentence.contains(" died: ")
}

/// All that is left when the host has ended.
pub(super) fn all(run: &mut Run<'_>, code: Option<i32>) -> Result<(), String> {
    let log = run.host.logs();
    run.figures.deaths = deaths_in(&log).values().sum();
    exit_code(run, code, &log)?;
    no_panic(&log)?;
    let letters = letters(&run.setup.folder().join("dead.jsonl"))?;
    let stdout = run.host.stdout();
    let output = String::from_utf8(stdout).map_err(|_| "the output is no text")?;
    records(run, &output, &letters)?;
    run.figures.dead_letters = letters.len() as u64;
    let trace = run.setup.trace().lines();
    for who in 1..=run.plan.chain.len() {
        if run.plan.chain[who - 1].library.acts() {
            lives(run, who, &trace).map_err(|reason| format!("`{}`: {reason}", name(who)))?;
        }
    }
    files(run)
}

/// 0, or what the plan earns.
fn exit_code(run: &Run<'_>, code: Option<i32>, log: &[LogLine]) -> Result<(), String> {
    let plan = run.plan;
    if let End::BadRecord(..) = plan.end {
        let named = log
            .iter()
            .any(|line| line.sentence().starts_with("error[record-failed]: "));
        ensure!(
            code == Some(1) && named,
            "a bad record ended the run with {code:?}, named: {named}"
        );
        return Ok(());
    }
    // Who was killed before it was shut down, or while it was, has had no shutdown.
    let unshut = |who: Who| {
        log.iter().any(|line| {
            let sentence = line.sentence();
            sentence.starts_with("error[") && sentence.contains(&format!("`{}`", name(who)))
        })
    };
    let fives: Vec<bool> = [plan.kill_before_end, plan.kill_in_shutdown]
        .into_iter()
        .flatten()
        .map(unshut)
        .collect();
    let expected = if fives.contains(&true) { 5 } else { 0 };
    ensure!(
        code == Some(expected),
        "exit code {code:?}, where the log makes it {expected}"
    );
    if let Some(who) = plan.kill_in_shutdown {
        let trace = run.setup.trace().lines();
        let done = trace
            .iter()
            .any(|line| line.is_call(&name(who), "driver", "shutdown") && line.rest == "ok");
        ensure!(
            done || expected == 5,
            "`{}` was killed in its shutdown, and the run ended with {code:?}",
            name(who)
        );
    }
    Ok(())
}

/// Nothing of the host's own panicked, and it found no bug of its own.
fn no_panic(log: &[LogLine]) -> Result<(), String> {
    let own = log.iter().find(|line| {
        let text = line.text();
        let plain = line.sentence() == text && !text.trim().is_empty();
        plain || line.text_of("blame") == "host"
    });
    match own {
        Some(line) => Err(format!(
            "the log has a line of the host's own: {}",
            line.text()
        )),
        None => Ok(()),
    }
}

/// A dead letter: record, offset, reason.
type Letter = (String, u64, String);

fn letters(path: &Path) -> Result<Vec<Letter>, String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let letters = text.lines().map(|line| {
        let letter: Value =
            serde_json::from_str(line).map_err(|error| format!("dead letter {line:?}: {error}"))?;
        let text = |key: &str| letter[key].as_str().unwrap_or_default().to_owned();
        let offset = letter["offset"].as_u64().unwrap_or(u64::MAX);
        Ok((text("record"), offset, text("reason")))
    });
    letters.collect()
}

/// Output and dead letters together are the input, each record once and in order, and each with a value of the configuration
/// that was current when it was under way.
fn records(run: &mut Run<'_>, output: &str, letters: &[Letter]) -> Result<(), String> {
    let links = run.plan.chain.len();
    let (mut lines, mut kept) = (output.lines().peekable(), letters.iter().peekable());
    let mut value = FIRST_VALUE;
    let (mut innocents, mut lost) = (0, None);
    for (place, written) in run.written.iter().enumerate() {
        let text = written.text.as_str();
        if let Some(line) = lines.peek().copied().filter(|line| line.starts_with(text)) {
            lines.next();
            ensure!(
                lost.is_none(),
                "record {lost:?} is lost, and {line:?} came after it"
            );
            ensure!(!written.bad, "the bad record {text:?} came out as {line:?}");
            value = judged_value(written, &line[text.len()..], links, value)
                .map_err(|reason| format!("record {place} came out as {line:?}: {reason}"))?;
        } else if let Some((_, offset, reason)) = kept.peek().filter(|(record, ..)| record == text)
        {
            kept.next();
            ensure!(
                lost.is_none(),
                "record {lost:?} is lost, and {text:?} was kept after it"
            );
            ensure!(
                *offset == written.offset,
                "the dead letter {text:?} says byte {offset}, and it was at {}",
                written.offset
            );
            if !written.bad {
                ensure!(
                    written.may_be_blamed && reason.contains("killed the worker of plugin"),
                    "the good record {text:?} is among the dead letters: {reason}"
                );
                innocents += 1;
            }
        } else if !(written.bad && lost.is_none() && !run.plan.dead_letters) {
            lost = lost.or(Some(place));
        }
        // Where nothing is kept, the bad record ends the run; what was in its batch comes out all the same.
    }
    let rest = lines.next();
    ensure!(
        rest.is_none(),
        "nobody wrote what came out as {rest:?}, or it came twice or late"
    );
    let rest = kept.next();
    ensure!(
        rest.is_none(),
        "nobody wrote what was kept as {rest:?}, or it was kept twice or late"
    );
    run.figures.innocents = innocents;
    may_be_lost(run, lost)
}

/// Behind a record stands the value of the configuration, once for each link: one and the same, never older than one before it.
fn judged_value(written: &Written, behind: &str, links: usize, before: u64) -> Result<u64, String> {
    let width = FIRST_VALUE.to_string().len();
    let first = behind.get(..width).unwrap_or_default();
    ensure!(
        behind == first.repeat(links),
        "the links of the chain saw different generations"
    );
    let value: u64 = first
        .parse()
        .map_err(|error| format!("{first:?}: {error}"))?;
    ensure!(value >= before, "a record before it had {before} already");
    ensure!(
        value >= written.least,
        "{} was acknowledged before it was written",
        written.least
    );
    ensure!(
        value <= written.most,
        "nobody had asked for more than {} by then",
        written.most
    );
    Ok(value)
}

/// What is missing at the end of the output.
fn may_be_lost(run: &Run<'_>, lost: Option<usize>) -> Result<(), String> {
    let Some(lost) = lost else {
        return Ok(());
    };
    match run.plan.end {
        End::Input => Err(format!("record {lost} and what follows it never came out")),
        // What was not read yet is nobody's loss; but all before the last rest had been.
        End::Signal => {
            let mark = run.written.iter().rposition(|w| w.text.starts_with(MARK));
            ensure!(
                mark.is_none_or(|mark| lost > mark),
                "record {lost} never came out, though later ones had"
            );
            Ok(())
        }
        End::BadRecord(..) => {
            let bad = run.written.iter().position(|written| written.bad);
            ensure!(
                bad.is_some_and(|bad| lost > bad),
                "record {lost} is the first that never came out, and the bad one is {bad:?}"
            );
            Ok(())
        }
    }
}

/// One life of an instance, as far as the trace has come.
#[derive(Default)]
struct Life {
    driver_inits: u32,
    driver_shutdowns: u32,
    executors: BTreeMap<String, Place>,
}

/// Its parts on one executor.
#[derive(Default)]
struct Place {
    executor_inits: u32,
    executor_shutdowns: u32,
    processor_inits: u32,
    panics: u32,
    task: Option<String>,
}

/// Lives of an instance: one init and at most one shutdown each, hooks in pairs, and only the last one ends in order.
fn lives(run: &Run<'_>, who: Who, trace: &[TraceLine]) -> Result<(), String> {
    let own = name(who);
    let has_hooks = run.plan.chain[who - 1].library == Library::Misbehave;
    let mut lives: Vec<Life> = Vec::new();
    for line in trace.iter().filter(|line| line.instance == own) {
        if line.component == "plugin" && line.call == "create" && line.rest.is_empty() {
            lives.push(Life::default());
            continue;
        }
        let number = lives.len();
        let life = lives.last_mut().ok_or(format!("{line} before any life"))?;
        step(life, line, has_hooks).map_err(|reason| format!("life {number}, {line}: {reason}"))?;
    }
    let isolated = run.plan.isolated(who);
    ensure!(
        isolated || lives.len() == 1,
        "{} lives in the host",
        lives.len()
    );
    // Killed at the end, or by the record that ended the run, it is owed nothing.
    let killed = [run.plan.kill_before_end, run.plan.kill_in_shutdown].contains(&Some(who));
    if killed || run.plan.end == End::BadRecord(who, Word::Die) {
        return Ok(());
    }
    let last = lives.last().ok_or("no life")?;
    ensure!(
        (last.driver_inits, last.driver_shutdowns) == (1, 1),
        "its last life has {} inits and {} shutdowns of the driver",
        last.driver_inits,
        last.driver_shutdowns
    );
    for (executor, place) in &last.executors {
        ensure!(
            place.executor_inits == place.executor_shutdowns,
            "its last life has {} inits and {} shutdowns on executor {executor}",
            place.executor_inits,
            place.executor_shutdowns
        );
        ensure!(
            place.task.is_none(),
            "{:?} began on executor {executor} and never ended",
            place.task
        );
    }
    Ok(())
}

fn step(life: &mut Life, line: &TraceLine, has_hooks: bool) -> Result<(), String> {
    let begins = !matches!(line.rest.as_str(), "ok" | "error" | "panic");
    if line.component == "driver" {
        if !begins {
            return Ok(());
        }
        match line.call.as_str() {
            "init" => life.driver_inits += 1,
            "shutdown" => life.driver_shutdowns += 1,
            _ => {}
        }
        let after = life.driver_shutdowns > 0
            && !matches!(line.call.as_str(), "shutdown" | "drop" | "note");
        ensure!(!after, "called after its shutdown");
        let due = life.driver_inits == 1 && life.driver_shutdowns <= 1;
        return match due {
            true => Ok(()),
            false => Err(format!(
                "{} inits, {} shutdowns",
                life.driver_inits, life.driver_shutdowns
            )),
        };
    }
    let place = life.executors.entry(line.executor.clone()).or_default();
    match (line.component.as_str(), line.call.as_str()) {
        ("executor", "init") if begins => place.executor_inits += 1,
        ("executor", "shutdown") if begins => place.executor_shutdowns += 1,
        ("executor", "on_task_start") if begins => {
            let task = line.value("task").map(str::to_owned);
            ensure!(place.task.is_none(), "{:?} had not ended", place.task);
            place.task = task;
        }
        ("executor", "on_task_succeeded" | "on_task_failed") if begins => {
            let begun = place.task.take();
            ensure!(
                begun.as_deref() == line.value("task"),
                "what had begun is {begun:?}"
            );
        }
        ("processor", "init") if begins => place.processor_inits += 1,
        ("processor", "process") if line.rest == "panic" => place.panics += 1,
        ("processor", "process") if begins => {
            ensure!(
                !has_hooks || place.task.as_deref() == line.value("task"),
                "what had begun is {:?}",
                place.task
            );
        }
        _ => {}
    }
    ensure!(
        place.executor_inits <= 1 && place.executor_shutdowns <= place.executor_inits,
        "{} inits, {} shutdowns",
        place.executor_inits,
        place.executor_shutdowns
    );
    // A panic costs a processor, and the next attempt makes another.
    ensure!(
        place.processor_inits <= 1 + place.panics,
        "{} inits, {} panics",
        place.processor_inits,
        place.panics
    );
    Ok(())
}

/// Nothing is left in the run's folders but what is meant to be kept.
fn files(run: &Run<'_>) -> Result<(), String> {
    let left = fs::read_dir(run.setup.run_dir()).into_iter().flatten();
    let left: Vec<_> = left
        .flatten()
        .map(|entry| entry.file_name())
        .filter(|name| name != "lock")
        .collect();
    ensure!(left.is_empty(), "run_dir still holds {left:?}");
    for who in 0..=run.plan.chain.len() {
        let crashes = run.setup.state_dir().join("crashes").join(name(who));
        let crashes = fs::read_dir(crashes).into_iter().flatten().count();
        ensure!(
            crashes <= CRASHES_MAX,
            "{crashes} crash records are kept of `{}`",
            name(who)
        );
    }
    Ok(())
}
