//! A task's hooks pair: whatever becomes of the instance meanwhile, what was told the start is told the end.

use hotshoe_tests::Setup;

#[test]
fn a_task_in_hand_has_its_end_though_its_instance_has_failed_meanwhile() {
    let setup = Setup::new();
    let gate = setup.gate("process");
    let good = setup.misbehave("good").act(&gate.act("process"));
    // Its own driver panics while its executor part has the task in hand.
    let bad = setup
        .misbehave("bad")
        .key("required = false")
        .act("hook = \"on-task-start\", crime = \"ask\", text = \"poke\"")
        .act("hook = \"driver-receive\", crime = \"panic\", text = \"no\", word = \"poke\"");
    let stream = "[stream]\nsource = \"stdin\"\nprocessors = [\"good\"]\n";
    setup.entries(stream, &[good, bad]);
    let mut host = setup.start();
    host.send_line("one");
    host.wait_log("the fault", |line| {
        line.sentence().starts_with("warning[receive-panicked]")
    });
    gate.open();
    host.wait_stdout(b"one\n");
    let hooks = |call| setup.trace().count("bad", "executor", call);
    let ends = (hooks("on_task_start"), hooks("on_task_succeeded"));
    assert_eq!(ends, (1, 1), "{}", setup.trace().text());
    host.close_input();
    host.assert_exit(0);
}

#[test]
fn an_instance_that_has_failed_is_told_of_no_later_task() {
    let setup = Setup::new();
    let bad = setup
        .misbehave("bad")
        .key("required = false")
        .act("hook = \"on-task-start\", crime = \"ask\", text = \"poke\"")
        .act("hook = \"driver-receive\", crime = \"panic\", text = \"no\", word = \"poke\"");
    let stream = "[stream]\nsource = \"stdin\"\nprocessors = [\"good\"]\n";
    setup.entries(stream, &[setup.misbehave("good"), bad]);
    let mut host = setup.start();
    host.send_line("one");
    host.wait_log("the fault", |line| {
        line.sentence().starts_with("warning[receive-panicked]")
    });
    host.wait_stdout(b"one\n");
    // By then the host has made it failed.
    host.send_line("two");
    host.wait_stdout(b"one\ntwo\n");
    host.close_input();
    host.assert_exit(0);
    let trace = setup.trace();
    assert_eq!(
        trace.count("bad", "executor", "on_task_start"),
        1,
        "{}",
        trace.text()
    );
    assert_eq!(trace.count("good", "executor", "on_task_start"), 2);
    // It was initialised, so it is owed its shutdowns.
    let shutdowns = (
        trace.count("bad", "executor", "shutdown"),
        trace.count("bad", "driver", "shutdown"),
    );
    assert_eq!(shutdowns, (1, 1), "{}", trace.text());
}

/// What the drain leaves is counted, also where its task never comes back.
#[test]
fn a_task_that_never_returns_is_left_behind_at_the_stop_and_its_records_are_counted() {
    let setup = Setup::new();
    let a = setup
        .misbehave("a")
        .key("deadlines = { shutdown = \"300ms\" }")
        .act("hook = \"process\", crime = \"hang\"");
    let tables =
        "[executors]\ndrain = \"300ms\"\n[stream]\nsource = \"stdin\"\nprocessors = [\"a\"]\n";
    setup.entries(tables, &[a]);
    let mut host = setup.start();
    host.send(b"one\ntwo\n");
    setup.trace().wait_call("a", "processor", "process");
    let exit = host.terminate();
    assert_eq!(exit.code, Some(5), "{}", host.stderr());
    assert_eq!(host.stdout(), b"");
    assert!(
        host.errors()[0].starts_with("error[drain-overran]"),
        "{:#?}",
        host.errors()
    );
    let counted = host
        .logs()
        .iter()
        .any(|line| line.text_of("undelivered") == "2");
    assert!(counted, "{}", host.stderr());
    assert_eq!(setup.trace().count("a", "driver", "shutdown"), 1);
}
