//! Executors, A29 and A30: what a driver tells reaches every one of them, and one that cannot start is not tried for ever.

use hotshoe_tests::{Entry, Gate, Setup, TestHost, TraceLine, artifacts, http};
use std::collections::BTreeSet;

const FOUR: u32 = 4;

/// The quickstart's owner of a configuration, on a port of its own.
fn dynamic_config() -> Entry {
    let library = artifacts::library("hotshoe-dynamic-config");
    Entry::of("dynamic-config", library)
        .set("profile = \"quickstart\"")
        .set("listen = [\"127.0.0.1:0\"]")
}

fn append() -> Entry {
    Entry::of("append", artifacts::library("hotshoe-quickstart"))
        .key("after = [\"dynamic-config\"]")
        .set("topic = \"dynamic-config\"")
}

/// Gives each executor one record, at the same time: each is in the middle of its task until all of them are.
#[track_caller]
fn one_record_each(setup: &Setup, host: &mut TestHost<'_>, gates: &[Gate], expected: &str) {
    let before = setup.trace().count("probe", "processor", "process");
    let printed = host.stdout();
    host.send(&b"x\n".repeat(gates.len()));
    let executors: BTreeSet<String> = setup.trace().wait("a task on each executor", |lines| {
        let calls = lines
            .iter()
            .filter(|line| line.is_call("probe", "processor", "process"));
        let now: Vec<_> = calls.skip(before).collect();
        (now.len() == gates.len()).then(|| now.iter().map(|line| line.executor.clone()).collect())
    });
    assert_eq!(executors.len(), gates.len(), "{executors:?}");
    for gate in gates {
        gate.open();
    }
    let all = [printed, expected.repeat(gates.len()).into_bytes()].concat();
    host.wait_stdout(&all);
}

#[test]
fn a29_after_one_curl_every_executor_appends_the_new_value() {
    let setup = Setup::new();
    let mut gates = Vec::new();
    let mut probe = setup.misbehave("probe");
    for executor in 0..FOUR {
        let gate = setup.gate(&executor.to_string());
        probe = probe.act(&format!(
            "{}, executor = \"{executor}\"",
            gate.act("process")
        ));
        gates.push(gate);
    }
    let tables = "
[executors]
count = 4
[stream]
source = \"stdin\"
processors = [\"append\", \"probe\"]
batch_records = 1
";
    setup.entries(tables, &[dynamic_config(), append(), probe]);
    let mut host = setup.start();
    host.wait_ready();
    let url = setup.addresses("dynamic-config").remove(0);
    let address = url.strip_prefix("http://").unwrap().to_owned();
    one_record_each(&setup, &mut host, &gates, "x10\n");
    let response = http::get(&address, "/");
    assert_eq!(response.text(), "the latest configuration is 20\n");
    one_record_each(&setup, &mut host, &gates, "x20\n");
    host.stop();
}

#[test]
fn a29_a_broadcast_reaches_each_executor_part_once_and_in_order() {
    let setup = Setup::new();
    let mut a = setup
        .misbehave("a")
        .act("hook = \"on-task-start\", crime = \"send\", text = \"go\"");
    for number in 0..50 {
        a = a.act(&format!(
            "hook = \"driver-receive\", crime = \"broadcast\", text = \"message {number}\", word = \"go\""
        ));
    }
    let tables = "
[executors]
count = 4
[stream]
source = \"stdin\"
processors = [\"a\"]
";
    setup.entries(tables, &[a, setup.misbehave("b")]);
    let mut host = setup.start();
    host.wait_ready();
    host.send_line("x");
    let is_receive = |line: &&TraceLine| line.component == "executor" && line.call == "receive";
    setup.trace().wait("the last message everywhere", |lines| {
        let last = lines
            .iter()
            .filter(is_receive)
            .filter(|line| line.rest == "message 49");
        (last.count() == FOUR as usize).then_some(())
    });
    host.stop();
    let lines = setup.trace().lines();
    let expected: Vec<String> = (0..50).map(|number| format!("message {number}")).collect();
    for executor in 0..FOUR {
        let received: Vec<String> = lines
            .iter()
            .filter(is_receive)
            .filter(|line| line.executor == executor.to_string())
            .map(|line| {
                assert_eq!(line.instance, "a", "somebody else's message: {line}");
                line.rest.clone()
            })
            .collect();
        assert_eq!(received, expected, "executor {executor}");
    }
    let reached = lines
        .iter()
        .filter(|line| line.is_call("a", "driver", "note"));
    for note in reached {
        assert_eq!(note.rest, "broadcast ok 4");
    }
}

/// When the executor part of `b` was initialised on that executor, in milliseconds.
fn init_times(lines: &[TraceLine], executor: &str) -> Vec<u64> {
    let of_executor = lines
        .iter()
        .filter(|line| line.is("b", "executor", "init") && line.executor == executor);
    of_executor.map(|line| line.ms.unwrap()).collect()
}

/// Four inits, with the pauses of the back-off between them.
#[track_caller]
fn assert_backed_off(lines: &[TraceLine], executor: &str) {
    let times = init_times(lines, executor);
    let pauses: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses.len(), 3, "executor {executor}: {times:?}");
    for (pause, at_least) in pauses.iter().zip([100, 200, 400]) {
        assert!(*pause >= at_least, "executor {executor}: {pauses:?}");
    }
}

const TWO_EXECUTORS: &str = "
[executors]
count = 2
max_restarts = 3
";

#[test]
fn a30_an_executor_that_never_starts_is_tried_four_times_and_ends_the_host_with_6() {
    let setup = Setup::new();
    let b = setup
        .misbehave("b")
        .set("stamps = true")
        .act("hook = \"executor-init\", crime = \"fail\", text = \"no room on this machine\"");
    setup.entries(TWO_EXECUTORS, &[setup.misbehave("a"), b]);
    let mut host = setup.start();
    host.assert_exit(6);
    let lines = setup.trace().lines();
    for executor in ["0", "1"] {
        assert_backed_off(&lines, executor);
    }
    let count = |instance: &str, component: &str, call: &str| {
        setup.trace().count(instance, component, call)
    };
    assert_eq!(count("b", "executor", "init"), 8);
    assert_eq!(count("b", "executor", "shutdown"), 0);
    // What was up in each attempt went down with it.
    assert_eq!(count("a", "executor", "init"), 8);
    assert_eq!(count("a", "executor", "shutdown"), 8);
    for instance in ["a", "b"] {
        assert_eq!(count(instance, "driver", "init"), 1);
        assert_eq!(count(instance, "driver", "shutdown"), 1);
    }
    let errors = host.errors();
    assert!(
        errors[0].contains("`b`") && errors[0].contains("no room on this machine"),
        "{errors:#?}"
    );
    assert!(!host.stderr().contains("\"ready\""), "{}", host.stderr());
}

#[test]
fn a30_an_optional_one_is_tried_as_often_and_the_host_goes_on_without_it() {
    let setup = Setup::new();
    let b = setup
        .misbehave("b")
        .key("required = false")
        .set("stamps = true")
        .act("hook = \"executor-init\", crime = \"fail\", text = \"no room on this machine\"");
    let tables = format!("{TWO_EXECUTORS}[stream]\nsource = \"stdin\"\nprocessors = [\"a\"]\n");
    setup.entries(&tables, &[setup.misbehave("a"), b]);
    let mut host = setup.start();
    host.wait_ready();
    for executor in ["0", "1"] {
        assert_backed_off(&setup.trace().lines(), executor);
    }
    assert_eq!(setup.trace().count("b", "executor", "init"), 8);
    let b = host.instance("b");
    assert_eq!(b["state"], "failed", "{b:#}");
    assert!(
        b["reason"]
            .as_str()
            .unwrap()
            .contains("no room on this machine"),
        "{b:#}"
    );
    let a = host.instance("a");
    assert_eq!(a["state"], "ready", "{a:#}");
    let executors = host.status()["executors"].clone();
    for executor in executors.as_array().unwrap() {
        assert_eq!(executor["state"], "ready", "{executors:#}");
    }
    host.send_line("x");
    host.wait_stdout(b"x\n");
    host.stop();
    // Nothing of it was called on an executor but those inits; its driver had been up, and is owed its shutdown.
    let count = |component: &str, call: &str| setup.trace().count("b", component, call);
    assert_eq!(count("executor", "init"), 8);
    assert_eq!(count("executor", "on_task_start"), 0);
    assert_eq!(count("executor", "shutdown"), 0);
    assert_eq!(count("driver", "shutdown"), 1);
    assert_eq!(setup.trace().count("a", "executor", "on_task_start"), 1);
}

#[test]
fn a30_one_that_starts_at_the_fourth_attempt_is_as_good_as_any() {
    let setup = Setup::new();
    let b = setup
        .misbehave("b")
        .set("stamps = true")
        .act("hook = \"executor-init\", crime = \"fail\", text = \"not yet\", times = 3");
    let tables =
        "[executors]\nmax_restarts = 3\n[stream]\nsource = \"stdin\"\nprocessors = [\"b\"]\n";
    setup.entries(tables, &[setup.misbehave("a"), b]);
    let mut host = setup.start();
    host.wait_ready();
    assert_backed_off(&setup.trace().lines(), "0");
    host.send_line("x");
    host.wait_stdout(b"x\n");
    host.stop();
    let count = |instance: &str, call: &str| setup.trace().count(instance, "executor", call);
    assert_eq!((count("b", "init"), count("b", "shutdown")), (4, 1));
    assert_eq!((count("a", "init"), count("a", "shutdown")), (4, 4));
}

#[test]
fn a30_without_restarts_one_failure_is_enough() {
    let setup = Setup::new();
    let b = setup
        .misbehave("b")
        .act("hook = \"processor-init\", crime = \"fail\", text = \"not here\"");
    setup.entries("[executors]\nmax_restarts = 0\n", &[b]);
    let mut host = setup.start();
    host.assert_exit(6);
    assert_eq!(setup.trace().count("b", "processor", "init"), 1);
    assert_eq!(setup.trace().count("b", "executor", "shutdown"), 1);
    assert_eq!(setup.trace().count("b", "driver", "shutdown"), 1);
}
