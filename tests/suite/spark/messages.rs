//! Messages, A22 to A24: who answers, what is refused at once and under which name, and whom a slow handler delays.

use hotshoe_tests::{Entry, Setup, TraceLine, artifacts};
use serde_json::json;

const MIB: usize = 1 << 20;

/// Ten times what the case allows would be less than a busy machine may need.
const AT_ONCE: u64 = 3_000;

/// What one act of `instance`'s `component` came to: the note's text behind `<what> `.
fn notes(lines: &[TraceLine], instance: &str, component: &str, what: &str) -> Vec<String> {
    let notes = lines
        .iter()
        .filter(|line| line.is_call(instance, component, "note"));
    notes
        .filter_map(|line| line.rest.strip_prefix(what)?.strip_prefix(' '))
        .map(|outcome| outcome.trim_end().to_owned())
        .collect()
}

/// How long an ask took, in milliseconds, and what came of it.
fn asked(note: &str) -> (u64, &str) {
    let rest = note.strip_prefix("ms=").unwrap();
    let (ms, outcome) = rest.split_once(' ').unwrap();
    (ms.parse().unwrap(), outcome)
}

/// Waits for so many notes of that kind.
#[track_caller]
fn wait_notes(
    setup: &Setup,
    instance: &str,
    component: &str,
    what: &str,
    count: usize,
) -> Vec<String> {
    let waited = format!("{count} notes `{what}` of {instance}'s {component}");
    setup.trace().wait(&waited, |lines| {
        let found = notes(lines, instance, component, what);
        (found.len() >= count).then_some(found)
    })
}

fn in_executor(act: &str) -> String {
    format!("hook = \"executor-init\", {act}")
}

#[test]
fn a22_a_one_way_message_is_handled_once() {
    let setup = Setup::new();
    let a = setup
        .misbehave("a")
        .act(&in_executor("crime = \"send\", text = \"oneway\""));
    setup.entries("", &[a]);
    let mut host = setup.start();
    host.wait_ready();
    assert!(
        setup
            .trace()
            .wait_call("a", "driver", "receive")
            .is_call("a", "driver", "receive")
    );
    assert_eq!(
        notes(&setup.trace().lines(), "a", "executor", "send"),
        ["ok"]
    );
    host.stop();
    let lines = setup.trace().lines();
    let handled: Vec<String> = lines
        .iter()
        .filter(|line| line.call == "receive")
        .map(ToString::to_string)
        .collect();
    assert_eq!(handled, ["a driver driver receive oneway"]);
}

#[test]
fn a22_asks_are_answered_refused_and_failed_by_name() {
    let setup = Setup::new();
    let ask = |text: &str, to: &str| {
        in_executor(&format!("crime = \"ask\", text = {text:?}, to = {to:?}"))
    };
    let a = setup
        .misbehave("a")
        .act(&ask("ask", ""))
        .act(&ask("ask", "a"))
        .act(&ask("unknown message", "a"))
        .act(&ask("ask", "nope"))
        .act(&ask("ask", "deaf"))
        .act(&ask("ask", "halfless"))
        // From the driver's own thread, and from one that it started.
        .act("hook = \"register-metrics\", crime = \"ask\", text = \"ask\"")
        .act("hook = \"register-metrics\", crime = \"ask\", text = \"ask\", thread = true");
    let others = [
        a,
        setup.fixture("deaf", "driver-only"),
        setup.fixture("halfless", "executor-only"),
    ];
    setup.entries("", &others);
    let mut host = setup.start();
    host.wait_ready();

    let from_executor = wait_notes(&setup, "a", "executor", "ask", 6);
    let outcomes: Vec<&str> = from_executor.iter().map(|note| asked(note).1).collect();
    assert_eq!(&outcomes[..2], ["ok reply", "ok reply"]);
    assert!(
        outcomes[2].starts_with("Error ") && outcomes[2].contains("unknown message"),
        "{outcomes:#?}"
    );
    assert!(
        outcomes[3].starts_with("Unknown unknown plugin `nope`"),
        "{outcomes:#?}"
    );
    // A driver without a handler, and an instance without a driver.
    assert!(outcomes[4].starts_with("Unsupported "), "{outcomes:#?}");
    assert!(outcomes[5].starts_with("Unsupported "), "{outcomes:#?}");

    let from_driver = wait_notes(&setup, "a", "driver", "ask", 2);
    let answered = from_driver
        .iter()
        .filter(|note| asked(note).1 == "ok reply");
    assert_eq!(answered.count(), 1, "{from_driver:#?}");
    let is_reentrant = |note: &&String| asked(note).1.starts_with("Reentrant ");
    let reentrant: Vec<_> = from_driver.iter().filter(is_reentrant).collect();
    assert_eq!(reentrant.len(), 1, "{from_driver:#?}");
    assert!(asked(reentrant[0]).0 < AT_ONCE, "{from_driver:#?}");
    host.stop();
    // No refused message reached a handler.
    assert_eq!(setup.trace().count("a", "driver", "receive"), 4);
}

#[test]
fn a22_a_one_way_message_that_fails_is_counted_and_logged() {
    let setup = Setup::new();
    let a = setup
        .misbehave("a")
        .act(&in_executor("crime = \"send\", text = \"boom\""))
        .act(&in_executor("crime = \"send\", text = \"oneway\""))
        .act(&in_executor(
            "crime = \"send\", text = \"oneway\", to = \"nope\"",
        ))
        .act(
            "hook = \"driver-receive\", crime = \"fail\", text = \"no boom here\", word = \"boom\"",
        );
    let stream = "[stream]\nsource = \"stdin\"\nprocessors = [\"a\"]\n";
    setup.entries(stream, &[a]);
    let mut host = setup.start();
    host.wait_ready();
    // In order: when the second is handled, the first has failed.
    setup.trace().wait("the second message", |lines| {
        let mut calls = lines.iter().map(ToString::to_string);
        calls.find(|line| line == "a driver driver receive oneway")
    });
    host.wait_log("the handler's error", |line| {
        line.is_of("a") && line.text().contains("no boom here")
    });
    let messages = &host.instance("a")["messages"];
    let expected = json!({ "sent": 2, "delivered": 2, "failed": 1, "dropped": 0, "refused": 0 });
    assert_eq!(messages, &expected);
    let sends = notes(&setup.trace().lines(), "a", "executor", "send");
    assert_eq!(&sends[..2], ["ok", "ok"]);
    assert!(
        sends[2].starts_with("Unknown unknown plugin `nope`"),
        "{sends:#?}"
    );
    // The host lives, and so does the driver.
    assert_eq!(host.instance("a")["state"], "ready");
    host.send_line("x");
    host.wait_stdout(b"x\n");
    host.stop();
    assert_eq!(setup.trace().count("a", "driver", "shutdown"), 1);
}

#[test]
fn a22_a_mebibyte_passes_and_one_byte_more_is_too_large_whatever_the_way() {
    let setup = Setup::new();
    let too_large = MIB + 1;
    let a = setup
        .misbehave("a")
        .act("hook = \"driver-receive\", crime = \"nothing\", word = \"xxxx\"")
        .act(&in_executor(&format!("crime = \"ask\", bytes = {MIB}")))
        .act(&in_executor(&format!("crime = \"send\", bytes = {MIB}")))
        .act(&in_executor(&format!("crime = \"ask\", bytes = {too_large}")))
        .act(&in_executor(&format!("crime = \"send\", bytes = {too_large}")))
        .act(&format!(
            "hook = \"register-metrics\", crime = \"send\", bytes = {too_large}"
        ))
        .act(&format!(
            "hook = \"driver-receive\", crime = \"broadcast\", bytes = {too_large}, word = \"oneway\""
        ))
        .act(&format!(
            "hook = \"driver-receive\", crime = \"broadcast\", bytes = {MIB}, word = \"oneway\""
        ))
        .act(&in_executor("crime = \"send\", text = \"oneway\""));
    setup.entries("", &[a]);
    let mut host = setup.start();
    host.wait_ready();
    let broadcasts = wait_notes(&setup, "a", "driver", "broadcast", 2);
    assert!(broadcasts[0].starts_with("TooLarge "), "{broadcasts:#?}");
    assert_eq!(broadcasts[1], "ok 1");
    setup.trace().wait_call("a", "executor", "receive");
    let lines = setup.trace().lines();
    let asks = notes(&lines, "a", "executor", "ask");
    assert_eq!(asked(&asks[0]).1, "ok");
    let refused = asked(&asks[1]).1;
    assert!(
        refused.starts_with("TooLarge ") && refused.contains("too large"),
        "{asks:#?}"
    );
    let sends = notes(&lines, "a", "executor", "send");
    assert_eq!(sends[0], "ok");
    assert!(sends[1].starts_with("TooLarge "), "{sends:#?}");
    let sends = notes(&lines, "a", "driver", "send");
    assert!(sends[0].starts_with("TooLarge "), "{sends:#?}");
    host.stop();
    // Two of a mebibyte and the small one.
    assert_eq!(setup.trace().count("a", "driver", "receive"), 3);
    assert_eq!(setup.trace().count("a", "executor", "receive"), 1);
}

#[test]
fn a23_a_slow_handler_delays_nobody_else_and_its_own_asker_until_the_deadline() {
    let setup = Setup::new();
    let gate = setup.gate("handler");
    let slow = setup
        .misbehave("slow")
        .key("deadlines = { receive = \"60s\", shutdown = \"60s\" }")
        .act(&format!("{}, word = \"ask\"", gate.act("driver-receive")));
    let asker = setup
        .misbehave("asker")
        .act("hook = \"register-metrics\", crime = \"ask\", text = \"ask\", to = \"slow\", ms = 200, thread = true")
        .act("hook = \"register-metrics\", crime = \"ask\", text = \"ask\", to = \"fast\", thread = true");
    setup.entries("", &[slow, setup.misbehave("fast"), asker]);
    let mut host = setup.start();
    host.wait_ready();
    let outcomes = wait_notes(&setup, "asker", "driver", "ask", 2);
    let outcomes: Vec<(u64, &str)> = outcomes.iter().map(|note| asked(note)).collect();
    let fast = outcomes.iter().find(|(_, outcome)| *outcome == "ok reply");
    assert!(fast.unwrap().0 < AT_ONCE, "{outcomes:?}");
    let slow = outcomes
        .iter()
        .find(|(_, outcome)| outcome.starts_with("Timeout "));
    let took = slow.unwrap().0;
    assert!((200..200 + AT_ONCE).contains(&took), "{outcomes:?}");
    // The slow one is in the middle of it all the while, and nobody thinks it broken.
    assert_eq!(host.instance("slow")["state"], "ready");
    gate.open();
    host.stop();
    assert_eq!(setup.trace().count("slow", "driver", "shutdown"), 1);
}

#[test]
fn a23_an_ask_in_ones_own_init_is_not_ready_and_the_same_context_works_later() {
    let setup = Setup::new();
    let a = setup
        .misbehave("a")
        .act("hook = \"driver-init\", crime = \"ask\", text = \"ask\"")
        .act("hook = \"driver-init\", crime = \"ask\", text = \"ask\", to = \"later\"")
        .act("hook = \"on-task-start\", crime = \"send\", text = \"again\"")
        .act("hook = \"driver-receive\", crime = \"ask\", text = \"ask\", word = \"again\", thread = true")
        .act("hook = \"driver-receive\", crime = \"ask\", text = \"ask\", to = \"later\", word = \"again\", thread = true");
    let stream = "[stream]\nsource = \"stdin\"\nprocessors = [\"a\"]\n";
    setup.entries(stream, &[a, setup.misbehave("later")]);
    let mut host = setup.start();
    host.wait_ready();
    let early = notes(&setup.trace().lines(), "a", "driver", "ask");
    assert_eq!(early.len(), 2, "{early:#?}");
    for note in &early {
        let (ms, outcome) = asked(note);
        assert!(
            outcome.starts_with("NotReady ") && ms < AT_ONCE,
            "{early:#?}"
        );
    }
    host.send_line("x");
    let all = wait_notes(&setup, "a", "driver", "ask", 4);
    let late: Vec<&str> = all[2..].iter().map(|note| asked(note).1).collect();
    assert_eq!(late, ["ok reply", "ok reply"]);
    host.stop();
}

/// What the host's log has from `message-config`, in order, for a run that was asked to stop when it was ready.
fn message_config_log(executors: u32) -> Vec<String> {
    let setup = Setup::new();
    let library = artifacts::library("hotshoe-message-config");
    let tables = format!("[executors]\ncount = {executors}\n");
    setup.entries(&tables, &[Entry::of("message-config", library)]);
    let mut host = setup.start();
    host.wait_ready();
    host.stop();
    let logs = host.logs();
    logs.iter()
        .filter(|line| line.is_of("message-config"))
        .map(|line| line.message().to_owned())
        .collect()
}

#[test]
fn a24_the_initial_configuration_is_asked_for_and_the_final_one_sent() {
    assert_eq!(
        message_config_log(1),
        ["the initial configuration is 10", "the final value is 100"]
    );
}

#[test]
fn a24_with_three_executors_three_of_each() {
    let initial = ["the initial configuration is 10"; 3];
    let last = ["the final value is 100"; 3];
    assert_eq!(message_config_log(3), [initial, last].concat());
}

#[test]
fn a24_what_an_executor_sends_in_its_shutdown_is_handled_before_the_drivers_own() {
    let setup = Setup::new();
    let a = setup
        .misbehave("a")
        .act("hook = \"executor-shutdown\", crime = \"send\", text = \"oneway\"");
    setup.entries("[executors]\ncount = 3\n", &[a]);
    let mut host = setup.start();
    host.wait_ready();
    host.stop();
    let lines = setup.trace().lines();
    let driver: Vec<&str> = lines
        .iter()
        .filter(|line| line.component == "driver")
        .filter(|line| ["receive", "shutdown"].contains(&line.call.as_str()))
        .map(|line| line.call.as_str())
        .collect();
    assert_eq!(driver, ["receive", "receive", "receive", "shutdown"]);
    assert_eq!(
        notes(&lines, "a", "executor", "send"),
        ["ok", "ok", "ok"],
        "{}",
        setup.trace().text()
    );
}
