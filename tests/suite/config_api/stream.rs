//! What records see of a change: C2, C38 and C39.

use super::{dying::StopsOnDrop, *};
use std::{
    collections::BTreeSet,
    io::Write as _,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

/// C2.
#[test]
fn c02_later_batches_print_the_newer_value() {
    let setup = Setup::new();
    let stream = "[stream]\nsource = \"stdin\"\nprocessors = [\"append\"]\n";
    setup.entries(stream, &[quickstart(), append()]);
    let mut served = Served::start(&setup);
    let mut expected = String::new();
    for value in [10, 20, 30] {
        for _ in 0..3 {
            served.host.send_line("hello world ");
            expected += &format!("hello world {value}\n");
            served.host.wait_stdout(expected.as_bytes());
        }
        let text = curl_text(&[&format!("http://{}", served.localhost())]);
        assert_eq!(
            text,
            format!("the latest configuration is {}\n", value + 10)
        );
    }
    served.host.close_input();
    served.host.assert_exit(0);
    assert_eq!(String::from_utf8_lossy(&served.host.stdout()), expected);
}

/// C38: a stream of changes, and beside it 10⁵ records in thousands of batches over three executors. Each record carries
/// the newest value whose 200 was there before the record was written, so before its batch can have been cut.
#[test]
fn c38_what_was_acknowledged_is_seen_by_every_later_batch() {
    for isolation in backends() {
        seen_by_every_later_batch(isolation);
    }
}

/// With the plugin and with the processors in processes of their own, where `isolation` says so.
fn seen_by_every_later_batch(isolation: &str) {
    const PIECES: usize = 4_000;
    const RECORDS: usize = 25;
    /// Pieces on their way at one time, so that more than one executor may be busy. They come back before the next ones
    /// go: no two such groups share a batch.
    const GROUP: usize = 2;
    let setup = Setup::new();
    let tables = "[executors]\ncount = 3\n[stream]\nsource = \"stdin\"\nprocessors = [\"probe\", \"append\"]\n";
    let probe = setup.misbehave("probe");
    // In memory, so that changes come as fast as they can.
    let config = standard().set("state = \"memory\"");
    let entries = [config, probe, append()];
    setup.entries(tables, &entries.map(|entry| entry.key(isolation)));
    let mut served = Served::start(&setup);
    let mut input = served.host.take_input();
    let (acknowledged, done) = (AtomicU64::new(10), AtomicBool::new(false));
    thread::scope(|scope| {
        let changes = scope.spawn(|| {
            let stopped = StopsOnDrop(&done);
            keep_touching(&served, &acknowledged, &done);
            drop(stopped);
        });
        let stopped = StopsOnDrop(&done);
        for piece in 0..PIECES {
            if piece % GROUP == 0 {
                served.host.wait_stdout_count(piece * RECORDS);
            }
            let floor = acknowledged.load(Ordering::Acquire);
            let records = format!("{floor} \n").repeat(RECORDS);
            input.write_all(records.as_bytes()).unwrap();
        }
        drop(stopped);
        changes.join().unwrap();
    });
    drop(input);
    served.host.assert_exit(0);

    let text = String::from_utf8(served.host.stdout()).unwrap();
    let values = dying::judge_records(&text);
    assert_eq!(values.len(), PIECES * RECORDS);
    let values: BTreeSet<u64> = values.into_iter().collect();
    assert!(values.len() > 100, "only {} values", values.len());
    let lines = setup.trace().lines();
    let calls = lines
        .iter()
        .filter(|line| line.is_call("probe", "processor", "process"));
    let executors: Vec<&str> = calls.map(|line| line.executor.as_str()).collect();
    assert!(
        executors.len() >= PIECES / GROUP,
        "{} batches",
        executors.len()
    );
    let executors: BTreeSet<&str> = executors.into_iter().collect();
    assert_eq!(executors, BTreeSet::from(["0", "1", "2"]));
}

/// Touches on one connection, and reads back now and then: a read after a 200 is never older either.
fn keep_touching(served: &Served<'_>, acknowledged: &AtomicU64, done: &AtomicBool) {
    let mut connection = http::connect(&served.address());
    let host = served.localhost();
    let touch = format!("POST /v1/touch HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let read = format!("GET /v1/config/value HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut last = 10;
    while !done.load(Ordering::Acquire) {
        let response = http::exchange(&mut connection, touch.as_bytes());
        assert_eq!(response.status, 200, "{}", response.text());
        let value = response.json()["value"].as_u64().unwrap();
        assert_eq!(value, last + 10, "nobody else touches");
        last = value;
        acknowledged.store(value, Ordering::Release);
        let response = http::exchange(&mut connection, read.as_bytes());
        assert_eq!(response.text(), format!("{value}\n"));
    }
}

/// C39: the batch is held between its first and its second record; the change is acknowledged meanwhile.
#[test]
fn c39_a_batch_keeps_its_generation_whatever_changes_meanwhile() {
    for isolation in backends() {
        keeps_its_generation(isolation);
    }
}

fn keeps_its_generation(isolation: &str) {
    let setup = Setup::new();
    let gate = setup.gate("mid-batch");
    let probe = setup
        .misbehave("probe")
        .key("after = [\"dynamic-config\"]")
        .set("process = \"live\"\ntopic = \"dynamic-config\"")
        .act(&format!("{}, word = \"two\"", gate.act("record")));
    let stream = "[stream]\nsource = \"stdin\"\nprocessors = [\"probe\", \"append\"]\n";
    let entries = [standard(), probe, append()];
    setup.entries(stream, &entries.map(|entry| entry.key(isolation)));
    let mut served = Served::start(&setup);
    served.host.send(b"one \ntwo \nthree \n");
    let call = setup.trace().wait_call("probe", "processor", "process");
    assert_eq!(call.value("records"), Some("3"), "one batch: {call}");
    changed(&served.put(r#"{"value":77}"#), "put", 2);
    assert_eq!(served.value(), r#"{"value":77}"#);
    served.host.send_line("four ");
    assert_eq!(served.host.stdout(), b"", "the batch is still held");
    gate.open();
    // Each processor of the chain saw the old value for every record, and the next batch the new one.
    served
        .host
        .wait_stdout(b"one 1010\ntwo 1010\nthree 1010\nfour 7777\n");
    served.host.close_input();
    served.host.assert_exit(0);
}

const IN_PROCESS: &str = "isolation = \"in-process\"";
pub(super) const ISOLATED: &str = "isolation = \"process\"";

/// How instances can run, as a line of their entries: isolated ones join as soon as the host takes them.
pub(super) fn backends() -> Vec<&'static str> {
    let taken = alone(standard().key(ISOLATED)).check();
    match taken.code {
        Some(0) => vec![IN_PROCESS, ISOLATED],
        _ => {
            assert!(taken.stderr.contains("isolation"), "{taken:#?}");
            vec![IN_PROCESS]
        }
    }
}

/// C54, for every backend whose instances are processes of their own: until there is one, what is asked for is refused.
#[test]
fn c54_the_death_of_the_listener_is_nothing_to_records_and_values() {
    if !backends().contains(&ISOLATED) {
        return;
    }
    let setup = Setup::new();
    let stream = "[stream]\nsource = \"stdin\"\nprocessors = [\"append\"]\n";
    setup.entries(stream, &[standard().key(ISOLATED), append()]);
    let mut served = Served::start(&setup);
    changed(&served.put(r#"{"value":77}"#), "put", 2);
    let before = served.get("/v1/status").json();
    let worker = served.host.worker(INSTANCE).unwrap();
    rustix::process::kill_process(worker, rustix::process::Signal::KILL).unwrap();
    served.host.send_line("one ");
    served.host.wait_stdout(b"one 77\n");
    // It comes back on a port of its own choice, and writes that down.
    let begun = std::time::Instant::now();
    let after = loop {
        assert!(
            begun.elapsed() < hotshoe_tests::DEADLINE,
            "it did not come back"
        );
        let urls = setup.addresses(INSTANCE);
        let address = urls[0].trim_start_matches("http://");
        if served
            .host
            .worker(INSTANCE)
            .is_some_and(|now| now != worker)
            && std::net::TcpStream::connect(address).is_ok()
        {
            break http::get(address, "/v1/status").json();
        }
        thread::yield_now();
    };
    for member in ["generation", "store"] {
        assert_eq!(after[member], before[member], "{after}");
    }
    served.host.send_line("two ");
    served.host.wait_stdout(b"one 77\ntwo 77\n");
    served.host.close_input();
    served.host.assert_exit(0);
}

/// C54 under load, with the processors in processes of their own too; `tests/load/live` kills more of them.
#[test]
fn c54_a_listener_that_dies_under_load_loses_nothing() {
    let survived = dying::kill_listeners(5);
    assert!(survived.changes >= 5 * dying::CHANGES_MIN);
}
