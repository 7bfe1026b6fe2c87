//! Tasks and their hooks, A19 to A21: every start has one end, on the task's own thread, whatever a hook does.

use hotshoe_tests::{Setup, TraceLine};
use std::fs;

/// Ten records, handed over in one write: two tasks of five.
const TEN_LINES: &[u8] = b"0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n";

const STREAM: &str = "
[stream]
source = \"stdin\"
processors = [\"a\"]
batch_records = 5
";

/// What `instance`'s executor parts were called for: started, succeeded, failed.
fn hooks(setup: &Setup, instance: &str) -> (usize, usize, usize) {
    let trace = setup.trace();
    (
        trace.count(instance, "executor", "on_task_start"),
        trace.count(instance, "executor", "on_task_succeeded"),
        trace.count(instance, "executor", "on_task_failed"),
    )
}

/// The calls of `instance` for that task, whatever part they reached, in order.
fn calls_of_task(lines: &[TraceLine], instance: &str, task: &str) -> Vec<TraceLine> {
    let of_task = |line: &&TraceLine| line.instance == instance && line.value("task") == Some(task);
    lines.iter().filter(of_task).cloned().collect()
}

/// One task is one executor's, one thread's, one attempt's: from its first call to its last.
#[track_caller]
fn assert_one_thread(lines: &[TraceLine], task: &str, calls: &[&str]) {
    let of_task = calls_of_task(lines, "a", task);
    let found: Vec<&str> = of_task.iter().map(|line| line.call.as_str()).collect();
    assert_eq!(found, calls, "task {task}: {of_task:#?}");
    let first = &of_task[0];
    let thread = first.value("tid").unwrap();
    assert!(thread.parse::<u32>().is_ok(), "{first}");
    for line in &of_task {
        assert_eq!(line.value("tid"), Some(thread), "{of_task:#?}");
        assert_eq!(line.executor, first.executor, "{of_task:#?}");
        assert_eq!(line.value("attempt"), Some("1"), "{of_task:#?}");
        assert_eq!(line.value("records"), Some("5"), "{of_task:#?}");
        assert_eq!(line.value("epoch"), first.value("epoch"), "{of_task:#?}");
    }
}

#[test]
fn a19_two_tasks_start_twice_and_succeed_twice() {
    let setup = Setup::new();
    setup.entries(STREAM, &[setup.misbehave("a")]);
    let mut host = setup.start();
    host.wait_ready();
    host.send(TEN_LINES);
    host.wait_stdout(TEN_LINES);
    // The hooks come before the result: what is printed was told.
    assert_eq!(hooks(&setup, "a"), (2, 2, 0));
    let lines = setup.trace().lines();
    for task in ["1", "2"] {
        let calls = ["on_task_start", "process", "on_task_succeeded"];
        assert_one_thread(&lines, task, &calls);
    }
    host.close_input();
    host.assert_exit(0);
    assert_eq!(hooks(&setup, "a"), (2, 2, 0));
}

#[test]
fn a19_no_task_starts_before_the_init_of_every_part_of_its_executor_has_returned() {
    let setup = Setup::new();
    let entry = |name: &str| setup.misbehave(name).set("ends = true");
    let slow = entry("b").act("hook = \"executor-init\", crime = \"slow\", ms = 200");
    setup.entries(STREAM, &[entry("a"), slow]);
    let mut host = setup.start();
    host.send(TEN_LINES);
    host.close_input();
    host.assert_exit(0);
    let lines = setup.trace().lines();
    let at = |wanted: &str| lines.iter().position(|line| line.to_string() == wanted);
    let first_task = lines.iter().position(|line| line.call == "on_task_start");
    for end in ["a executor 0 init ok", "b executor 0 init ok"] {
        let ended = at(end).unwrap_or_else(|| panic!("no `{end}`\n{}", setup.trace().text()));
        assert!(Some(ended) < first_task, "{}", setup.trace().text());
    }
}

#[test]
fn a20_two_tasks_that_fail_start_twice_and_fail_twice() {
    let setup = Setup::new();
    let dead = setup.scratch("dead.jsonl");
    let stream = format!(
        "[executors]\ncount = 2\n{STREAM}retries = 0\non_error = \"dead-letter\"\ndead_letter = {:?}\n",
        dead.display().to_string()
    );
    let a = setup
        .misbehave("a")
        .act("hook = \"process\", crime = \"fail\", text = \"the disk of the test is full\"");
    setup.entries(&stream, &[a, setup.misbehave("b")]);
    let mut host = setup.start();
    host.wait_ready();
    host.send(TEN_LINES);
    host.close_input();
    host.assert_exit(0);
    assert_eq!(hooks(&setup, "a"), (2, 0, 2));
    assert_eq!(hooks(&setup, "b"), (2, 0, 2));
    let lines = setup.trace().lines();
    for task in ["1", "2"] {
        let calls = ["on_task_start", "process", "on_task_failed"];
        assert_one_thread(&lines, task, &calls);
        let reason = &calls_of_task(&lines, "a", task)[2].rest;
        assert!(reason.contains("the disk of the test is full"), "{reason}");
    }
    // Nothing was printed, and nothing was lost.
    assert_eq!(host.stdout(), b"");
    let dead = fs::read_to_string(dead).unwrap();
    assert_eq!(dead.lines().count(), 10, "{dead}");
    assert!(
        dead.lines()
            .all(|line| line.contains("the disk of the test is full")),
        "{dead}"
    );
}

#[test]
fn a20_a_task_in_hand_when_the_drain_ends_fails_as_cancelled() {
    let setup = Setup::new();
    let stream = format!("[executors]\ndrain = \"100ms\"\n{STREAM}");
    // Far longer than the drain, far shorter than what a cancelled call may still take.
    let a = setup
        .misbehave("a")
        .act("hook = \"process\", crime = \"slow\", ms = 2000");
    setup.entries(&stream, &[a]);
    let mut host = setup.start();
    host.wait_ready();
    host.send(b"0\n1\n2\n");
    setup.trace().wait_call("a", "processor", "process");
    host.terminate();
    host.assert_exit(5);
    assert_eq!(hooks(&setup, "a"), (1, 0, 1));
    let lines = setup.trace().lines();
    let failed = lines.iter().find(|line| line.call == "on_task_failed");
    let failed = failed.unwrap().to_string();
    assert!(failed.ends_with("reason=cancelled"), "{failed}");
    // Its output is discarded, and the log says how much that was.
    assert_eq!(host.stdout(), b"");
    let errors = host.errors();
    assert!(
        errors
            .iter()
            .any(|error| error.contains("3 records read and not delivered")),
        "{errors:#?}"
    );
    // The hook was the last one: the executor's shutdown comes after it.
    let at = |call: &str| {
        lines
            .iter()
            .position(|line| line.component == "executor" && line.call == call)
    };
    assert!(
        at("on_task_failed") < at("shutdown"),
        "{}",
        setup.trace().text()
    );
    assert_eq!(setup.trace().count("a", "executor", "shutdown"), 1);
}

#[test]
fn a20_every_attempt_has_one_start_and_one_end() {
    let setup = Setup::new();
    let stream = format!("{STREAM}retries = 3\n");
    // Two failed attempts at the first task, the third is good; the second task never fails.
    let a = setup
        .misbehave("a")
        .act("hook = \"process\", crime = \"fail\", text = \"once more\", times = 2");
    setup.entries(&stream, &[a]);
    let mut host = setup.start();
    host.wait_ready();
    host.send(TEN_LINES);
    host.wait_stdout(TEN_LINES);
    assert_eq!(hooks(&setup, "a"), (4, 2, 2));
    let attempts: Vec<String> = calls_of_task(&setup.trace().lines(), "a", "1")
        .iter()
        .filter(|line| line.component == "executor")
        .map(|line| format!("{} {}", line.call, line.value("attempt").unwrap_or("-")))
        .collect();
    let expected = [
        "on_task_start 1",
        "on_task_failed 1",
        "on_task_start 2",
        "on_task_failed 2",
        "on_task_start 3",
        "on_task_succeeded 3",
    ];
    assert_eq!(attempts, expected);
    host.stop();
}

#[test]
fn a21_a_start_hook_that_fails_and_panics_costs_nobody_anything() {
    let setup = Setup::new();
    let bad = setup
        .misbehave("bad")
        .act("hook = \"on-task-start\", crime = \"fail\", text = \"not today\", times = 1")
        .act("hook = \"on-task-start\", crime = \"panic\", text = \"over the edge\", times = 1");
    setup.entries(STREAM, &[bad, setup.misbehave("a")]);
    let mut host = setup.start();
    host.wait_ready();
    host.send(TEN_LINES);
    host.wait_stdout(TEN_LINES);
    assert_eq!(hooks(&setup, "a"), (2, 2, 0));
    assert_eq!(hooks(&setup, "bad"), (2, 2, 0));
    let trace = setup.trace().text();
    for outcome in [
        "bad executor 0 on_task_start error\n",
        "bad executor 0 on_task_start panic\n",
    ] {
        assert_eq!(trace.matches(outcome).count(), 1, "{trace}");
    }
    let counted = |name: &str| host.instance(name)["hook_errors"].as_u64();
    assert_eq!((counted("bad"), counted("a")), (Some(2), Some(0)));
    let scraped = host.samples("hotshoe_hook_errors_total", &[("plugin", "bad")]);
    assert_eq!(
        scraped.iter().map(|(_, value)| *value).collect::<Vec<_>>(),
        [2.0]
    );
    assert_eq!(host.instance("bad")["state"], "ready");
    // Both faults are in the log, under the name of whoever made them.
    for text in ["not today", "over the edge"] {
        host.wait_log(text, |line| line.is_of("bad") && line.text().contains(text));
    }
    // It goes on with the next tasks as if nothing had been.
    host.send(TEN_LINES);
    host.wait_stdout(&[TEN_LINES, TEN_LINES].concat());
    assert_eq!(hooks(&setup, "bad"), (4, 4, 0));
    host.stop();
    assert_eq!(setup.trace().count("bad", "executor", "shutdown"), 1);
}

#[test]
fn a21_end_hooks_that_fail_are_counted_and_nothing_else() {
    let setup = Setup::new();
    let bad = setup
        .misbehave("bad")
        .act("hook = \"on-task-succeeded\", crime = \"panic\", text = \"late\", times = 1")
        .act("hook = \"on-task-succeeded\", crime = \"fail\", text = \"late\", times = 1");
    setup.entries(STREAM, &[bad, setup.misbehave("a")]);
    let mut host = setup.start();
    host.wait_ready();
    host.send(TEN_LINES);
    host.wait_stdout(TEN_LINES);
    assert_eq!(hooks(&setup, "a"), (2, 2, 0));
    assert_eq!(hooks(&setup, "bad"), (2, 2, 0));
    assert_eq!(host.instance("bad")["hook_errors"], 2);
    host.stop();
}
