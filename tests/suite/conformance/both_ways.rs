//! Calls that go both ways at once, with nobody waiting for anybody for ever, wherever the two plugins run: executors ask a
//! peer for each record, the peer changes its configuration before it answers, each change is checked by the asker's own
//! checker, and broadcast; both log all the while, and the asker reads the configuration that changes.

use hotshoe_tests::{Setup, TraceLine};
use std::time::Duration;

/// Each is one question, two changes and two checks.
const RECORDS: usize = 120;

/// Of one record: a batch of them is more than a socket takes at once.
const RECORD_LEN: usize = 16 << 10;

/// Ten times what it takes on a machine with as much else to do as records.
const WITHIN: Duration = Duration::from_secs(180);

#[track_caller]
fn both_ways(asker: &str, peer: &str) {
    let setup = Setup::new();
    let asker = setup
        .misbehave("asker")
        .set("ends = true")
        .set("process = \"live\"")
        .set("topic = \"peer\"")
        .key(&format!("isolation = {asker:?}"))
        .key("after = [\"peer\"]")
        .key("checks = [\"peer\"]")
        .key("deadlines = { process = \"170s\", hook = \"20s\", check = \"20s\" }")
        .act("hook = \"record\", crime = \"ask\", to = \"peer\", text = \"poke\", ms = 60000")
        .act("hook = \"record\", crime = \"log\", text = \"a record\"")
        .act("hook = \"on-task-start\", crime = \"log\", bytes = 20000")
        .act("hook = \"check\", crime = \"log\", text = \"a check\"");
    let peer = setup
        .misbehave("peer")
        .set("ends = true")
        .key(&format!("isolation = {peer:?}"))
        .key("deadlines = { receive = \"60s\" }")
        .act("hook = \"driver-init\", crime = \"declare\", value = 1")
        .act("hook = \"driver-receive\", crime = \"publish\", value = 2, word = \"poke\"")
        .act("hook = \"driver-receive\", crime = \"broadcast\", text = \"boom\", word = \"poke\"")
        .act("hook = \"driver-receive\", crime = \"publish\", value = 3, word = \"poke\"")
        .act("hook = \"driver-receive\", crime = \"log\", text = \"an answer\", word = \"poke\"")
        .act("hook = \"executor-receive\", crime = \"log\", text = \"a broadcast\"");
    let tables = "[executors]\ncount = 4\n[stream]\nsource = \"stdin\"\nprocessors = [\"asker\"]\nbatch_records = 10\nbatch_bytes = \"1MiB\"\n";
    setup.entries(tables, &[peer, asker]);
    let mut host = setup.start();
    let record = |number: usize| format!("{number} {};", "x".repeat(RECORD_LEN));
    let records: String = (0..RECORDS).map(|number| record(number) + "\n").collect();
    host.send(records.as_bytes());
    host.close_input();
    let exit = host.wait_exit_within(WITHIN);
    assert_eq!(exit.code, Some(0), "{:#?}", host.errors());

    let out = host.stdout();
    let lines: Vec<&str> = std::str::from_utf8(&out).unwrap().lines().collect();
    assert_eq!(lines.len(), RECORDS);
    for (number, line) in lines.iter().enumerate() {
        let value = line.strip_prefix(&record(number));
        let value = value.unwrap_or_else(|| panic!("line {number} is {:?}", &line[..20]));
        assert!(matches!(value, "1" | "2" | "3"), "{value}");
    }
    let trace = setup.trace().lines();
    let count =
        |is_it: &dyn Fn(&TraceLine) -> bool| trace.iter().filter(|line| is_it(line)).count();
    let told = |what: &str| {
        count(&|line: &TraceLine| {
            line.call == "note" && line.rest.starts_with(what) && !line.rest.contains(" ok")
        })
    };
    let answered = count(&|line| {
        line.call == "note" && line.rest.starts_with("ask ") && line.rest.contains(" ok")
    });
    assert_eq!((answered, told("ask ")), (RECORDS, 0));
    let receives = |outcome: &str| {
        count(&|line| {
            line.is("peer", "driver", "receive")
                || line.is_call("peer", "driver", "receive") && line.rest == outcome
        })
    };
    assert_eq!(receives("ok"), RECORDS);
    let checks = count(&|line| line.is_call("asker", "checker", "check") && line.rest == "ok");
    assert!(checks >= RECORDS, "{checks} checks");
    let faults = count(&|line| matches!(line.rest.as_str(), "error" | "panic"));
    assert_eq!(faults, 0, "{}", setup.trace().text());
    for (instance, answers) in [("peer", "an answer"), ("asker", "a record")] {
        let said = host
            .logs()
            .iter()
            .filter(|line| line.is_of(instance) && line.message() == answers)
            .count();
        assert!(said >= RECORDS, "{said} lines of {instance}");
    }
}

#[test]
fn between_two_in_process() {
    both_ways("in-process", "in-process");
}

#[test]
fn from_a_process_to_the_host() {
    both_ways("process", "in-process");
}

#[test]
fn from_the_host_to_a_process() {
    both_ways("in-process", "process");
}

#[test]
fn between_two_processes() {
    both_ways("process", "process");
}
