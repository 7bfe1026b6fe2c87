//! The faults that a listener and its store survive (config-api §11), through the real binary: a full disk (C44, C45), a disk
//! that fails (C46), a folder that is gone, no descriptor left, the death of a process. What is killed is in `durable.rs`,
//! which test shows which row in `rows.rs`.

use super::{
    State, append,
    durable::{can_trace, refused, traced},
    killing::{
        DEADLINE, INSTANCE, Served, accepted, entry, journal, payloads, request, segments, setup,
    },
    stream::ISOLATED,
    unchanged,
    watch::Watcher,
};
use hotshoe_tests::{Entry, Gate, Setup, artifacts, http};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use serde_json::json;
use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// Records that are printed with the value behind them.
pub(super) fn in_stream() -> Setup {
    let setup = Setup::new();
    let stream = "[stream]\nprocessors = [\"append\"]\n";
    setup.entries(stream, &[entry(), append()]);
    setup
}

/// A host whose state folder is a file system of 4 MiB, in a mount namespace of its own; `None`: this machine gives none.
fn on_small_disk(setup: &Setup) -> Option<Served<'_>> {
    const MOUNT: &str = "mount -t tmpfs -o size=4m,mode=0700 tmpfs \"$0\"";
    let state = setup.scratch("state");
    let unshared = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-Urm", "sh", "-c", script]).arg(&state);
        command
    };
    let possible = unshared(MOUNT).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let mut command = unshared(&format!("{MOUNT} && exec \"$@\""));
    command
        .arg(artifacts::hotshoe())
        .args(["--log-format", "json", "run"])
        .arg(setup.config_path());
    Some(Served::of(setup, setup.start_command(command)))
}

/// The host's own view of a path.
fn seen_by(served: &Served<'_>, path: &Path) -> PathBuf {
    let root = PathBuf::from(format!("/proc/{}/root", served.host.pid()));
    root.join(path.strip_prefix("/").unwrap())
}

/// Takes all the room that is left, to the last page.
fn fill(served: &Served<'_>, setup: &Setup) -> PathBuf {
    let path = seen_by(served, &setup.scratch("state").join("filler"));
    let mut file = fs::File::create(&path).unwrap();
    let page = [0; 4096];
    while file.write_all(&page).is_ok() {}
    path
}

/// C44.
#[test]
fn c44_a_full_disk_changes_nothing_and_room_is_enough_to_go_on() {
    let setup = setup();
    let Some(served) = on_small_disk(&setup) else {
        eprintln!("not run: this machine mounts no file system for a user");
        return;
    };
    assert_eq!(served.put_ok(20), 2);
    let filler = fill(&served, &setup);
    // Space is had by the page: a few more lines may still have theirs.
    let taken = (30..70).take_while(|value| served.put(*value).status == 200);
    let generation = 2 + taken.count() as u64;
    assert!(
        generation < 40,
        "a page holds no more than some thirty lines"
    );
    assert_eq!(served.generation(), generation);
    unchanged(&served.address, &served.host, &setup, || {
        refused(&served.put(99), 507, "disk-full");
        refused(&served.ask("POST", "/v1/touch", ""), 507, "disk-full");
    });
    fs::remove_file(filler).unwrap();
    assert_eq!(served.put_ok(99), generation + 1);
}

/// C45.
#[test]
fn c45_the_way_back_fits_on_a_full_disk() {
    let setup = setup();
    let Some(served) = on_small_disk(&setup) else {
        eprintln!("not run: this machine mounts no file system for a user");
        return;
    };
    assert_eq!(served.put_ok(20), 2);
    let response = served.ask("PUT", "/v1/config?confirm=5s", "{\"value\":30}");
    assert_eq!(accepted(&response), 3);
    fill(&served, &setup);
    let until = Instant::now() + 2 * DEADLINE;
    while served.generation() == 3 {
        assert!(Instant::now() < until);
    }
    assert_eq!((served.generation(), served.value()), (4, 20));
    let newest = &served.history()[0];
    assert_eq!(
        (&newest["op"], &newest["reason"]),
        (&"auto-rollback".into(), &"deadline".into())
    );
    let (_, bytes) = segments(&seen_by(&served, &journal(&setup)))
        .pop_last()
        .unwrap();
    let last = payloads(&bytes).pop().unwrap();
    assert_eq!(
        (&last["gen"], &last["op"]),
        (&4.into(), &"auto-rollback".into())
    );
    let status = served.ask("GET", "/v1/status", "").json();
    assert!(
        !status["warnings"]
            .to_string()
            .contains("rollback-not-durable"),
        "{status}"
    );
}

#[track_caller]
fn assert_read_only(served: &Served<'_>) {
    refused(&served.put(30), 503, "store-readonly");
    assert_eq!((served.value(), served.generation()), (10, 1));
    let readiness = served.ask("GET", "/readyz", "");
    refused(&readiness, 503, "not-ready");
    assert_eq!(readiness.json()["reasons"], json!(["store-readonly"]));
    assert_eq!(
        served.ask("GET", "/v1/status", "").json()["state"],
        "read-only"
    );
}

/// C46, with a write that fails: a journal that has reached the process's limit of file sizes.
#[test]
fn c46_a_failed_write_ends_in_read_only() {
    let setup = in_stream();
    let mut served = Served::start(&setup);
    let written = segments(&journal(&setup));
    let len = written.values().next().unwrap().len() as u64;
    let pid = Pid::from_raw(i32::try_from(served.host.pid()).unwrap());
    let limit = |current| {
        let limit = Rlimit {
            current,
            maximum: None,
        };
        prlimit(pid, Resource::Fsize, limit).unwrap();
    };
    unchanged(&served.address, &served.host, &setup, || {
        limit(Some(len + 40));
        refused(&served.put(20), 500, "storage-failed");
        limit(None);
        assert_read_only(&served);
    });
    // Everything else goes on.
    Watcher::open_at(&served.address, "", &[]).config(1, "initial");
    served.host.send_line("x");
    served.host.wait_stdout(b"x10\n");
    served.host.stop();
    // A start looks at the disk anew.
    let served = Served::start(&setup);
    assert_eq!(served.put_ok(20), 2);
}

/// C46, with the sync itself, where the machine has an strace that may trace.
#[test]
fn c46_a_failed_sync_ends_in_read_only() {
    if !can_trace() {
        eprintln!("not run: there is no strace here that may trace");
        return;
    }
    let setup = setup();
    written_once(&setup);
    let served = Served::of(&setup, traced(&setup, "inject=fdatasync:error=EIO:when=1"));
    unchanged(&served.address, &served.host, &setup, || {
        refused(&served.put(20), 500, "storage-failed");
        assert_read_only(&served);
    });
}

/// A journal of one generation: a start that creates it would meet the injected failure itself.
fn written_once(setup: &Setup) {
    let mut served = Served::start(setup);
    served.host.stop();
}

/// The open segment stays valid; the next one cannot be made.
#[test]
fn a_folder_that_is_deleted_ends_in_read_only_at_the_next_segment() {
    const TEXT_BYTES: usize = 800 << 10;
    let schema = json!({
        "type": "object",
        "properties": {"value": {"type": "integer"}, "text": {"type": "string"}},
        "required": ["value"],
        "additionalProperties": false,
    });
    let setup = Setup::new();
    let path = setup.file("schema.json", schema.to_string().as_bytes());
    let path = format!("schema = {:?}", path.display().to_string());
    setup.entries("", &[entry().set(&path)]);
    let served = Served::start(&setup);
    fs::remove_dir_all(journal(&setup)).unwrap();
    let text = "x".repeat(TEXT_BYTES);
    let state = || State::of(&served.address, &served.host, &setup);
    // A segment ends at 4 MiB.
    let mut before = state();
    let response = loop {
        assert!(before.generation < 10, "it never ends");
        let body = format!("{{\"value\":{},\"text\":\"{text}\"}}", before.generation);
        let response = served.ask("PUT", "/v1/config", &body);
        if response.status != 200 {
            break response;
        }
        let next = before.generation + 1;
        assert_eq!(accepted(&response), next);
        before = state();
    };
    refused(&response, 500, "storage-failed");
    assert!(before.generation > 5, "{}", before.generation);
    assert_eq!(state(), before);
    unchanged(&served.address, &served.host, &setup, || {
        refused(&served.put(30), 503, "store-readonly");
    });
    let status = served.ask("GET", "/v1/status", "").json();
    assert_eq!(status["state"], "read-only");
    let warnings = status["warnings"].to_string();
    assert!(warnings.contains("\"store-readonly\""), "{status}");
}

/// Whoever has a connection is served; whoever comes waits until there are descriptors again.
#[test]
fn without_descriptors_nobody_new_is_accepted_and_the_others_are_served() {
    let setup = setup();
    let served = Served::start(&setup);
    let get = format!(
        "GET /v1/config HTTP/1.1\r\nHost: {}\r\n\r\n",
        served.address
    );
    let put = request(&served.address, "PUT", "/v1/config", "{\"value\":20}");
    let mut open = http::connect(&served.address);
    assert_eq!(http::exchange(&mut open, get.as_bytes()).status, 200);
    let limit = |current| {
        let pid = Pid::from_raw(i32::try_from(served.host.pid()).unwrap());
        // A host has the limit of whoever starts it; only the lower one is its own.
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        let limit = Rlimit { current, maximum };
        prlimit(pid, Resource::Nofile, limit).unwrap()
    };
    // Below the first free number, so that what is open stays open and nothing is opened.
    let descriptors = fs::read_dir(format!("/proc/{}/fd", served.host.pid())).unwrap();
    let taken: Vec<u64> = descriptors
        .map(|entry| {
            entry
                .unwrap()
                .file_name()
                .to_str()
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect();
    let free = (0..).find(|number| !taken.contains(number));
    let before = limit(free);
    let mut late = http::connect(&served.address);
    late.write_all(get.as_bytes()).unwrap();
    served.host.wait_log("the pause", |line| {
        line.message()
            .starts_with("no connection is accepted for 100 ms")
    });
    assert_eq!(accepted(&http::exchange(&mut open, &put)), 2);
    limit(before.current);
    let response = http::read(&mut late);
    assert_eq!(
        (response.status, response.text().as_str()),
        (200, "{\"value\":20}\n")
    );
}

/// The time of day jumps a day ahead and two days back, and what waits for its confirmation goes back when it should.
#[test]
fn a_clock_that_jumps_moves_no_deadline_and_no_generation() {
    const DAY_S: i64 = 86_400;
    let mut setup = setup();
    let shift = setup.scratch("shift");
    setup.variable("LD_PRELOAD", artifacts::fixture("shifted-clock"));
    setup.variable("HOTSHOE_CLOCK_SHIFT", &shift);
    let jump = |seconds: i64| {
        // Renamed, so that nobody reads half of it.
        let next = shift.with_extension("next");
        fs::write(&next, seconds.to_string()).unwrap();
        fs::rename(next, &shift).unwrap();
    };
    let mut served = Served::start(&setup);
    let mut watcher = Watcher::open_at(&served.address, "", &[("Last-Event-ID", "1")]);
    let begun = Instant::now();
    let response = served.ask("PUT", "/v1/config?confirm=5s", "{\"value\":20}");
    assert_eq!(accepted(&response), 2);
    let pending = watcher.config(2, "put");
    jump(DAY_S);
    assert_eq!((served.generation(), served.value()), (2, 20));
    jump(-DAY_S);
    let back = watcher.config(3, "auto-rollback");
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(5), "{took:?}");
    // RFC 3339 in UTC sorts as text.
    let at = |entry: &serde_json::Value| entry["at"].as_str().unwrap().to_owned();
    assert!(at(&back) < at(&pending), "{back} behind {pending}");
    assert_eq!(served.put_ok(30), 4);
    served.host.stop();
    let served = Served::start(&setup);
    assert_eq!((served.generation(), served.value()), (4, 30));
}

/// A checker that thinks about 77 until the gate opens.
fn thinking_about_77(thinking: &Gate, checker: Entry) -> Entry {
    checker
        .key("checks = [\"dynamic-config\"]")
        .key("deadlines = { check = \"60s\" }")
        .act(&format!("{}, word = \":77}}\"", thinking.act("check")))
}

/// A change that its client has sent, and that the checker now thinks about.
#[track_caller]
fn sent_77(setup: &Setup, served: &Served<'_>) -> TcpStream {
    let mut client = http::connect(&served.address);
    let put = request(&served.address, "PUT", "/v1/config", "{\"value\":77}");
    client.write_all(&put).unwrap();
    setup.trace().wait_call("checker", "checker", "check");
    client
}

/// The listener's process dies while a change of its own waits for a checker, which then has nothing against it.
#[test]
fn a_change_is_refused_when_who_asked_for_it_dies() {
    let setup = Setup::new();
    let gate = setup.gate("check");
    let checker = thinking_about_77(&gate, setup.misbehave("checker"));
    setup.entries("", &[checker, entry().key(ISOLATED)]);
    let mut served = Served::start(&setup);
    let before = State::of(&served.address, &served.host, &setup);
    let _client = sent_77(&setup, &served);
    kill_process(served.host.worker(INSTANCE).unwrap(), Signal::KILL).unwrap();
    served.host.wait_log("its end", |line| line.warns("died"));
    gate.open();
    served
        .host
        .wait_log("its next life", |line| line.message() == "in service again");
    let urls = setup.addresses(INSTANCE);
    urls[0]
        .trim_start_matches("http://")
        .clone_into(&mut served.address);
    // Behind the dead one's, in the one queue there is.
    refused(
        &served.ask("PUT", "/v1/config/value", "\"x\""),
        422,
        "schema-violation",
    );
    assert_eq!(State::of(&served.address, &served.host, &setup), before);
}

/// The same at its unload: the listener did not wait for the checker, and another instance keeps the process.
#[test]
fn a_change_is_refused_when_who_asked_for_it_is_unloaded() {
    let setup = Setup::new();
    let (gate, leaving) = (setup.gate("check"), setup.gate("shutdown"));
    let last = setup.misbehave("last").act(&leaving.act("driver-shutdown"));
    let checker = setup.misbehave("checker").set("ends = true");
    let checker = thinking_about_77(&gate, checker);
    let config = entry().key("deadlines = { shutdown = \"1s\" }");
    setup.entries("", &[last, checker, config]);
    let mut served = Served::start(&setup);
    let journal_before = segments(&journal(&setup));
    let mut client = sent_77(&setup, &served);
    served.host.signal(Signal::TERM);
    assert_eq!(
        client.read(&mut [0]).unwrap_or(0),
        0,
        "dropped without an answer"
    );
    setup.trace().wait_call("last", "driver", "shutdown");
    gate.open();
    setup.trace().wait("the verdict", |lines| {
        let mut lines = lines.iter();
        lines.find_map(|line| {
            (line.is_call("checker", "checker", "check") && line.rest == "ok").then_some(())
        })
    });
    leaving.open();
    served.host.wait_exit();
    assert_eq!(segments(&journal(&setup)), journal_before);
}

/// A change that waits for a checker is refused when the checker's process dies, and others are taken when it is back.
#[test]
fn a_change_is_refused_when_its_checker_dies() {
    let setup = Setup::new();
    let gate = setup.gate("check");
    let checker = setup.misbehave("checker").key(ISOLATED);
    let checker = thinking_about_77(&gate, checker);
    setup.entries("", &[checker, entry()]);
    let served = Served::start(&setup);
    unchanged(&served.address, &served.host, &setup, || {
        thread::scope(|scope| {
            let changing = scope.spawn(|| served.put(77));
            setup.trace().wait_call("checker", "checker", "check");
            kill_process(served.host.worker("checker").unwrap(), Signal::KILL).unwrap();
            refused(&changing.join().unwrap(), 503, "veto-timeout");
        });
    });
    let begun = Instant::now();
    let taken = loop {
        let response = served.put(78);
        if response.status == 200 {
            break response;
        }
        refused(&response, 503, "veto-timeout");
        assert!(begun.elapsed() < DEADLINE, "the checker does not come back");
    };
    assert_eq!(accepted(&taken), 2);
}
