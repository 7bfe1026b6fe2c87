//! What config-api §9 promises, through the real binary: C40 to C43. What is written before an answer is there after a
//! kill, and damage is named and never overwritten.

use super::{
    faults::in_stream,
    killing::{
        Acknowledged, Served, accepted, entry, journal, kill_many, line, put_or_die, segments,
        setup,
    },
};
use hotshoe_tests::{Finished, Setup, TestHost, artifacts, http};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

#[track_caller]
pub(super) fn refused(response: &http::Response, status: u16, slug: &str) {
    let expected = (status, format!("urn:hotshoe:config:{slug}").into());
    let json = response.json();
    assert_eq!((response.status, json["type"].clone()), expected, "{json}");
}

/// C30: what was pending at a kill is back at its base before the first batch, and the history has both.
#[test]
fn c30_a_pending_change_does_not_survive_a_kill() {
    let setup = in_stream();
    {
        let mut served = Served::start(&setup);
        served.put_ok(42);
        let pending = served.ask("PUT", "/v1/config?confirm=1h", "{\"value\":7}");
        assert_eq!(accepted(&pending), 3);
        served.host.send_line("x");
        served.host.wait_stdout(b"x7\n");
        served.host.signal(Signal::KILL);
        served.host.wait_exit();
    }
    let mut host = setup.start();
    // In the pipe before anything is ready: the first batch there is.
    host.send_line("x");
    let served = Served::of(&setup, host);
    served.host.wait_stdout(b"x42\n");
    let ends: Vec<(u64, String, Value)> = served
        .history()
        .iter()
        .take(2)
        .map(|item| {
            let op = item["op"].as_str().unwrap().to_owned();
            (
                item["generation"].as_u64().unwrap(),
                op,
                item["confirm"].clone(),
            )
        })
        .collect();
    let (back, gone) = (
        (4, "auto-rollback".to_owned(), Value::Null),
        (3, "put".to_owned(), "restart".into()),
    );
    assert_eq!(ends, [back, gone]);
}

/// What the disk takes is told apart from what everything else takes.
#[test]
fn each_commit_is_a_sync_that_the_metrics_count() {
    let setup = super::killing::setup();
    let served = Served::start(&setup);
    for value in 1..=3 {
        served.put_ok(value);
    }
    let text = served.ask("GET", "/metrics", "").text();
    let figure = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(name));
        lines.next().unwrap().trim().parse::<f64>().unwrap()
    };
    assert_eq!(figure("hotshoe_config_fsync_seconds_count"), 3.0, "{text}");
    assert!(figure("hotshoe_config_fsync_seconds_sum") > 0.0, "{text}");
    let beyond = figure("hotshoe_config_fsync_seconds_bucket{le=\"+Inf\"}");
    assert_eq!(beyond, 3.0, "{text}");
}

/// C40: killed 50 times at any time under load, and nothing that was answered is lost.
#[test]
fn c40_what_was_acknowledged_survives_a_kill_at_any_time() {
    let killed = kill_many(50, Duration::MAX);
    // On a slow disk many a host is killed before it has answered once.
    assert!(killed.acknowledged > 0, "nothing was acknowledged");
}

/// C40: killed when it enters each call of the commit path, where the machine has an strace that may trace.
#[test]
fn c40_what_was_acknowledged_survives_a_kill_at_each_call() {
    if !can_trace() {
        eprintln!("not run: there is no strace here that may trace");
        return;
    }
    for call in ["fallocate", "pwrite64", "fdatasync"] {
        let setup = setup();
        let mut acknowledged = Acknowledged::default();
        {
            let mut served = Served::start(&setup);
            acknowledged
                .0
                .get_mut()
                .unwrap()
                .insert(served.put_ok(1_001), 1_001);
            served.host.stop();
        }
        for when in 1..=3 {
            let inject = format!("inject={call}:signal=KILL:when={when}");
            let mut served = Served::of(&setup, traced(&setup, &inject));
            acknowledged.assert_kept(&setup, &served);
            let mut last = None;
            for value in 2_000..2_003 {
                match put_or_die(&served.address, value + when * 10) {
                    Some(generation) => {
                        acknowledged
                            .0
                            .lock()
                            .unwrap()
                            .insert(generation, value + when * 10);
                        last = Some(value);
                    }
                    None => break,
                }
            }
            assert_ne!(last, Some(2_002), "{inject} killed nobody");
            served.host.wait_exit();
        }
        let served = Served::start(&setup);
        acknowledged.assert_kept(&setup, &served);
    }
}

pub(super) fn can_trace() -> bool {
    let mut probe = Command::new("strace");
    probe.args([
        "-f",
        "-o",
        "/dev/null",
        "-e",
        "inject=fdatasync:error=EIO",
        "true",
    ]);
    probe.output().is_ok_and(|output| output.status.success())
}

/// A host whose calls fail as `inject` says. Counts are each thread's own, and the topic's writer is the one that commits.
pub(super) fn traced<'a>(setup: &'a Setup, inject: &str) -> TestHost<'a> {
    let call = inject
        .trim_start_matches("inject=")
        .split(':')
        .next()
        .unwrap();
    let mut command = Command::new("strace");
    command
        // -D: the host is the child, so that it ends with the test and not with strace alone, which would leave it behind.
        .args(["-D", "-f", "-qq", "-o"])
        .arg(setup.scratch("strace.log"))
        .args(["-e", &format!("trace={call}"), "-e", inject])
        .arg(artifacts::hotshoe())
        .args(["--log-format", "json", "run"])
        .arg(setup.config_path());
    setup.start_command(command)
}

/// A journal of generations 1 to 4 (10, 20, 30, 40), stopped.
fn written(setup: &Setup) -> (PathBuf, Vec<u8>) {
    let mut served = Served::start(setup);
    for value in [20, 30, 40] {
        served.put_ok(value);
    }
    served.host.stop();
    let mut found = segments(&journal(setup));
    assert_eq!(found.len(), 1);
    let (name, bytes) = found.pop_first().unwrap();
    (journal(setup).join(name), bytes)
}

/// Where each line begins.
fn starts(bytes: &[u8]) -> Vec<usize> {
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let mut starts: Vec<usize> = ends.map(|(at, _)| at + 1).collect();
    starts.pop();
    starts.insert(0, 0);
    starts
}

/// C41; every byte is cut in a test of the host's own, here the ends of what a cut can be.
#[test]
fn c41_a_torn_tail_is_dropped_and_said() {
    let setup = setup();
    let (file, bytes) = written(&setup);
    let last = *starts(&bytes).last().unwrap();
    let middle = usize::midpoint(last, bytes.len());
    for len in [last + 1, last + 10, middle, bytes.len() - 1] {
        fs::write(&file, &bytes[..len]).unwrap();
        let mut served = Served::start(&setup);
        assert_eq!((served.generation(), served.value()), (3, 30));
        let dropped = format!("config-journal-tail-dropped bytes={}", len - last);
        served
            .host
            .wait_log(&dropped, |line| line.message().contains(&dropped));
        served.host.stop();
        assert_eq!(fs::read(&file).unwrap(), bytes[..last]);
    }
}

#[track_caller]
fn assert_refused(finished: &Finished, code: &str) {
    finished.assert_code(4);
    assert_eq!(finished.error_code(), code);
}

/// `hotshoe run` with `--recover`, by whatever form.
fn recovering<'a>(setup: &'a Setup, flag: &str) -> TestHost<'a> {
    let mut command = Command::new(artifacts::hotshoe());
    command
        .args(["--log-format", "json", "run", flag])
        .arg(setup.config_path());
    setup.start_command(command)
}

/// C42; every bit is flipped in a test of the host's own, here one in each line.
#[test]
fn c42_damage_is_named_left_alone_and_recovered_on_request() {
    let pristine = setup();
    let (file, bytes) = written(&pristine);
    let name = file.file_name().unwrap();
    for (index, start) in starts(&bytes).into_iter().enumerate() {
        let setup = setup();
        fs::create_dir_all(journal(&setup)).unwrap();
        restrict(&setup);
        let mut damaged = bytes.clone();
        damaged[start + 30] ^= 4;
        let file = journal(&setup).join(name);
        fs::write(&file, &damaged).unwrap();
        restrict(&setup);

        let finished = setup.run();
        assert_refused(&finished, "config-state-corrupt");
        let error = finished.error();
        let place = format!("{}: line {}, byte {start}: ", file.display(), index + 1);
        assert!(error.contains(&place), "{error}");
        if index >= 2 {
            let good = format!("last good generation is {}", index - 1);
            assert!(error.contains(&good), "{error}");
        }
        assert_eq!(fs::read(&file).unwrap(), damaged);

        // Before line 3 there is no generation, so there is nothing to go on from but the initial value.
        let flag = if index < 2 {
            "--recover=initial"
        } else {
            "--recover"
        };
        let mut served = Served::of(&setup, recovering(&setup, flag));
        // Somebody was told of generation 4, whether its line can still be read or not.
        assert_eq!(served.generation(), 5, "line {}", index + 1);
        let value = [10, 10, 10, 20, 30][index];
        assert_eq!(served.value(), value);
        assert_eq!(served.history()[0]["op"], "recover");
        served.put_ok(77);
        served.host.stop();
        let kept = fs::read_dir(journal(&setup)).unwrap().find_map(|entry| {
            let path = entry.unwrap().path();
            path.to_str()
                .unwrap()
                .contains(".hsj.corrupt-")
                .then_some(path)
        });
        assert_eq!(fs::read(kept.unwrap()).unwrap(), damaged);
        let served = Served::start(&setup);
        assert_eq!((served.generation(), served.value()), (6, 77));
    }
}

/// Modes that a host accepts, whatever the umask.
fn restrict(setup: &Setup) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    let folder = journal(setup);
    for folder in folder.ancestors().take(4) {
        mode(folder, 0o700).unwrap();
    }
    for entry in fs::read_dir(&folder).unwrap() {
        mode(&entry.unwrap().path(), 0o600).unwrap();
    }
}

/// C42: without a good generation `--recover` alone refuses, and on a healthy journal it changes nothing.
#[test]
fn c42_recover_does_only_what_is_asked() {
    let setup = setup();
    let (file, bytes) = written(&setup);
    let mut served = Served::of(&setup, recovering(&setup, "--recover"));
    assert_eq!(served.generation(), 4);
    served.host.stop();
    assert_eq!(fs::read(&file).unwrap(), bytes);
    let mut damaged = bytes;
    damaged[3] ^= 1;
    fs::write(&file, &damaged).unwrap();
    let mut host = recovering(&setup, "--recover");
    host.assert_exit(4);
    assert!(
        host.stderr().contains("--recover=initial"),
        "{}",
        host.stderr()
    );
    assert_eq!(fs::read(&file).unwrap(), damaged);
}

/// C43.
#[test]
fn c43_another_format_and_another_schema_are_refused() {
    let setup = setup();
    let (file, bytes) = written(&setup);
    let second = starts(&bytes)[1];
    let header = std::str::from_utf8(&bytes[..second - 1]).unwrap();
    let payload = header.splitn(4, ' ').nth(3).unwrap();
    let newer = line(&payload.replace("\"v\":1", "\"v\":2"));
    let newer = [newer.as_bytes(), &bytes[second..]].concat();
    fs::write(&file, &newer).unwrap();
    assert_refused(&setup.run(), "config-state-version");
    recovering(&setup, "--recover=initial").assert_exit(4);
    assert_eq!(fs::read(&file).unwrap(), newer);

    fs::write(&file, &bytes).unwrap();
    let schema = r#"{"type":"object","additionalProperties":false,"required":["value"],"properties":{"value":{"type":"integer","maximum":25}}}"#;
    let schema = setup.file("schema.json", schema.as_bytes());
    let narrow = entry().set(&format!("schema = {:?}", schema.display().to_string()));
    setup.entries("", &[narrow]);
    let finished = setup.run();
    assert_refused(&finished, "config-state-schema");
    assert!(finished.error().contains("/value"), "{}", finished.error());
    assert!(recover_hint(&finished).contains("generation 2"));
    assert_eq!(fs::read(&file).unwrap(), bytes);
    let served = Served::of(&setup, recovering(&setup, "--recover"));
    assert_eq!((served.generation(), served.value()), (5, 20));
}

/// The fix of the refusal.
#[track_caller]
fn recover_hint(finished: &Finished) -> String {
    let problems = finished.problems("config-state-schema");
    problems[0].text_of("fix").to_owned()
}

/// A trial that went back by itself was never meant to stay: a recovery goes on from what stood before it.
#[test]
fn recover_never_continues_from_a_trial_that_was_not_confirmed() {
    let setup = setup();
    {
        let mut served = Served::start(&setup);
        served.put_ok(20);
        let trial = served.ask("PUT", "/v1/config?confirm=1h", "{\"value\":21}");
        assert_eq!(accepted(&trial), 3);
        let back = served.ask("POST", "/v1/rollback", "");
        assert_eq!(accepted(&back), 4);
        served.put_ok(40);
        let trial = served.ask("PUT", "/v1/config?confirm=1h", "{\"value\":22}");
        assert_eq!(accepted(&trial), 6);
        // What waits now waits in the file, too.
        served.host.signal(Signal::KILL);
        served.host.wait_exit();
    }
    let schema = r#"{"type":"object","additionalProperties":false,"required":["value"],"properties":{"value":{"type":"integer","minimum":10,"maximum":25,"not":{"const":20}}}}"#;
    let schema = setup.file("schema.json", schema.as_bytes());
    let narrow = entry().set(&format!("schema = {:?}", schema.display().to_string()));
    setup.entries("", &[narrow]);
    let finished = setup.run();
    assert_refused(&finished, "config-state-schema");
    let hint = recover_hint(&finished);
    assert!(hint.contains("from generation 1,"), "{hint}");
    let confirms = |served: &Served<'_>| {
        let items = served.history();
        let trials = items.iter().filter(|item| !item["confirm"].is_null());
        let ends = trials.map(|item| (item["generation"].clone(), item["confirm"].clone()));
        ends.collect::<Vec<_>>()
    };
    let ends = [
        (6.into(), Value::from("restart")),
        (3.into(), "cancelled".into()),
    ];
    let mut served = Served::of(&setup, recovering(&setup, "--recover"));
    assert_eq!((served.generation(), served.value()), (7, 10));
    assert_eq!(confirms(&served), ends);
    served.host.stop();
    let served = Served::start(&setup);
    assert_eq!((served.generation(), served.value()), (7, 10));
    assert_eq!(confirms(&served), ends);
}
