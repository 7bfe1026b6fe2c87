//! What a plugin says, wanted or not: panics, prints and events reach the log under its name, never the data, and a log that
//! nobody reads holds nothing up.

use hotshoe_tests::{Collector, DEADLINE, Setup};
use rustix::process::Signal;
use std::{thread, time::Instant};

const STREAM: &str = "[stream]\nsource = \"stdin\"\nprocessors = [\"a\"]\n";

/// A panic on a thread that the plugin started itself is nobody's failure, and is told all the same.
#[test]
fn a_panic_on_a_plugin_s_own_thread_reaches_the_log_under_its_name() {
    let setup = Setup::new();
    let act = "hook = \"driver-init\", crime = \"panic\", text = \"out of bread\", thread = true";
    setup.entries(STREAM, &[setup.misbehave("a").act(act)]);
    let mut host = setup.start();
    let line = host.wait_log("the panic", |line| line.text().contains("out of bread"));
    assert!(line.is_of("a"), "{}", line.text());
    assert!(line.text().contains("crimes/panic.rs:"), "{}", line.text());
    host.send_line("one");
    host.wait_stdout(b"one\n");
    host.stop();
}

/// A payload whose own drop panics is one panic more, and no more than that.
#[test]
fn a_payload_that_panics_again_is_contained() {
    for hook in ["process", "on-task-start", "driver-receive"] {
        let setup = Setup::new();
        let ask = "hook = \"on-task-start\", crime = \"ask\", to = \"a\", text = \"ask\"";
        let act = format!("hook = {hook:?}, crime = \"panic-payload\", times = 1");
        let a = setup
            .misbehave("a")
            .key("required = true")
            .act(ask)
            .act(&act);
        setup.entries(STREAM, &[a]);
        let mut host = setup.start();
        host.send_line("one");
        host.close_input();
        // A panic in `receive` fails the instance; in the others it costs nothing.
        host.assert_exit(if hook == "driver-receive" { 1 } else { 0 });
        assert_eq!(host.stdout(), b"one\n", "{hook}");
    }
}

#[test]
fn what_a_plugin_prints_lands_among_the_logs() {
    let setup = Setup::new();
    let mut a = setup.misbehave("a");
    let hooks = [
        "new",
        "driver-init",
        "executor-init",
        "processor-init",
        "process",
        "finish",
        "executor-shutdown",
        "driver-shutdown",
    ];
    for hook in hooks {
        a = a.act(&format!(
            "hook = {hook:?}, crime = \"print\", text = \"stray {hook} print\""
        ));
    }
    setup.entries(STREAM, &[a]);
    let mut host = setup.start();
    host.send(b"one\ntwo\n");
    host.close_input();
    host.assert_exit(0);
    assert_eq!(String::from_utf8_lossy(&host.stdout()), "one\ntwo\n");
    let stderr = host.stderr();
    for hook in hooks {
        let print = format!("stray {hook} print");
        assert!(
            stderr.lines().any(|line| line == print),
            "{print}\n{stderr}"
        );
    }
}

/// Nobody reads the log: the run goes on, and the stop is the same, whatever plugins and host have to say in it.
#[test]
fn a_log_that_nobody_reads_holds_nothing_up() {
    let setup = Setup::new();
    let mut a = setup.misbehave("a").set("ends = true");
    for hook in [
        "driver-init",
        "executor-init",
        "process",
        "executor-shutdown",
        "driver-shutdown",
    ] {
        a = a.act(&format!(
            "hook = {hook:?}, crime = \"log\", text = \"said in {hook}\""
        ));
    }
    setup.entries(STREAM, &[a]);
    let mut host = setup.start_unheard();
    host.send_line("one");
    host.wait_stdout(b"one\n");
    host.stop();
    for (component, call) in [("executor", "shutdown"), ("driver", "shutdown")] {
        assert_eq!(
            setup.trace().count("a", component, call),
            1,
            "{}",
            setup.trace().text()
        );
    }
}

/// A log's reader that stands still (a pager, a stopped `tee`) stops nobody: neither the plugin that has much to say, nor its
/// neighbours, nor the stop. Once it reads again it is told how much it has missed.
#[test]
fn a_log_whose_reader_stands_still_holds_nothing_up() {
    for isolation in ["in-process", "process"] {
        let setup = Setup::new();
        let a = setup
            .misbehave("a")
            .key(&format!("isolation = {isolation:?}"))
            .act("hook = \"record\", crime = \"log\", bytes = 4000");
        let b = setup.misbehave("b").key("isolation = \"process\"");
        setup.entries(STREAM, &[a, b]);
        let (mut host, log) = setup.start_unread();
        let lines = "one\n".repeat(100);
        host.send(lines.as_bytes());
        host.wait_stdout(lines.as_bytes());
        let first = host.worker("b").expect("a worker in service");
        rustix::process::kill_process(first, Signal::KILL).expect("it runs");
        let until = Instant::now() + DEADLINE;
        while host.worker("b").is_none_or(|worker| worker == first) {
            assert!(Instant::now() < until, "{isolation}: no other worker");
            thread::yield_now();
        }

        let log = Collector::start("the log", log);
        let is_told = || log.text().contains("lines of the log are lost");
        for count in 101.. {
            host.send_line("two");
            host.wait_stdout_lines(count);
            if is_told() {
                break;
            }
            assert!(Instant::now() < until + DEADLINE, "{isolation}: not told");
        }
        host.stop();
    }
}

/// Nor does it hold up a stop that is asked for while it stands still; on a terminal, which has room for a part of a line, as
/// little as in a pipe.
#[test]
fn a_stop_does_not_wait_for_the_reader_of_a_log() {
    for isolation in ["in-process", "process"] {
        for on_terminal in [false, true] {
            let setup = Setup::new();
            let a = setup
                .misbehave("a")
                .key(&format!("isolation = {isolation:?}"))
                .act("hook = \"record\", crime = \"log\", bytes = 4000");
            setup.entries(STREAM, &[a]);
            let (mut host, log) = match on_terminal {
                true => setup.start_unread_on_terminal(),
                false => setup.start_unread(),
            };
            let lines = "one\n".repeat(100);
            host.send(lines.as_bytes());
            host.wait_stdout(lines.as_bytes());
            host.stop();
            drop(log);
        }
    }
}

/// The same where there is something wrong to tell: the exit code says it.
#[test]
fn a_problem_that_nobody_reads_is_still_an_exit_code() {
    let setup = Setup::new();
    let a = setup
        .misbehave("a")
        .act("hook = \"driver-shutdown\", crime = \"fail\", text = \"no\"");
    setup.entries(STREAM, &[a, setup.misbehave("b")]);
    let mut host = setup.start_unheard();
    host.close_input();
    host.assert_exit(5);
    assert_eq!(setup.trace().count("b", "driver", "shutdown"), 1);

    let setup = Setup::new();
    setup.entries(STREAM, &[setup.misbehave("a").set("unknown = 1")]);
    setup.start_unheard().assert_exit(2);
}
