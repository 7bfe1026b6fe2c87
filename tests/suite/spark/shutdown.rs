//! Stopping, A25 to A28: executors before drivers, the reverse of the start, each part once, whatever fails or hangs.

use hotshoe_tests::{DEADLINE, Entry, Setup, TestHost, TraceLine, artifacts, http};
use rustix::process::Signal;
use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    os::unix::net::UnixDatagram,
    thread,
    time::{Duration, Instant},
};

const TWO_EXECUTORS: &str = "
[executors]
count = 2
[stream]
source = \"stdin\"
processors = [\"a\", \"b\"]
";

/// The shutdowns of one place, in order: `b`, `a`.
fn shutdowns(lines: &[TraceLine], component: &str, executor: &str) -> Vec<String> {
    lines
        .iter()
        .filter(|line| line.component == component && line.executor == executor)
        .filter(|line| line.call == "shutdown" && line.rest.is_empty())
        .map(|line| line.instance.clone())
        .collect()
}

/// Everything of `a` and `b` on two executors was shut down, once, in the one order.
#[track_caller]
fn assert_stopped_in_order(setup: &Setup) {
    let lines = setup.trace().lines();
    for executor in ["0", "1"] {
        assert_eq!(shutdowns(&lines, "executor", executor), ["b", "a"]);
    }
    assert_eq!(shutdowns(&lines, "driver", "driver"), ["b", "a"]);
    let is_shutdown =
        |line: &TraceLine, component: &str| line.call == "shutdown" && line.component == component;
    let last_executor = lines.iter().rposition(|line| is_shutdown(line, "executor"));
    let first_driver = lines.iter().position(|line| is_shutdown(line, "driver"));
    assert!(last_executor < first_driver, "{}", setup.trace().text());
    assert_no_call_after_shutdown(&lines);
}

/// No part is called again once its shutdown has begun; its drop is no call of its life.
#[track_caller]
fn assert_no_call_after_shutdown(lines: &[TraceLine]) {
    let mut stopped = BTreeMap::new();
    for line in lines {
        let part = (&line.instance, &line.component, &line.executor);
        let began = line.call == "shutdown" && line.rest.is_empty();
        let ended = line.call == "shutdown" && !line.rest.is_empty();
        let late = stopped.contains_key(&part) && !ended;
        assert!(
            !late || ["drop", "note"].contains(&line.call.as_str()),
            "`{line}` after the shutdown of {part:?}"
        );
        if began {
            stopped.insert(part, ());
        }
    }
}

/// A service manager's socket: what the host says of itself, as events to wait for.
struct Notified(UnixDatagram);

impl Notified {
    fn by(setup: &mut Setup) -> Self {
        let path = setup.scratch("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        setup.variable("NOTIFY_SOCKET", path);
        Self(socket)
    }

    #[track_caller]
    fn wait(&self, state: &str) {
        let mut said = [0; 64];
        loop {
            let len = self.0.recv(&mut said).expect("the host tells its state");
            if &said[..len] == state.as_bytes() {
                return;
            }
        }
    }
}

/// The number of the port that `a` holds.
fn held_port(setup: &Setup) -> u16 {
    setup.trace().wait("the port that is held", |lines| {
        let mut notes = lines.iter().filter(|line| line.call == "note");
        notes.find_map(|line| line.rest.strip_prefix("port ")?.parse().ok())
    })
}

/// Starts `a`, which holds a port, and `b`, on two executors; asks for the end in some way; everything is as A25 says.
#[track_caller]
fn check_clean_stop(ask: impl FnOnce(&mut TestHost<'_>)) {
    let setup = Setup::new();
    let a = setup
        .misbehave("a")
        .act("hook = \"driver-init\", crime = \"hold-port\"");
    setup.entries(TWO_EXECUTORS, &[a, setup.misbehave("b")]);
    let mut host = setup.start();
    host.wait_ready();
    let port = held_port(&setup);
    let asked = Instant::now();
    ask(&mut host);
    host.assert_exit(0);
    assert!(asked.elapsed() < Duration::from_secs(10));
    assert_stopped_in_order(&setup);
    TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    assert!(!setup.admin_socket().exists());
}

#[test]
fn a25_sigterm_stops_everything_once_in_reverse() {
    check_clean_stop(|host| host.signal(Signal::TERM));
}

#[test]
fn a25_sigint_does_the_same() {
    check_clean_stop(|host| host.signal(Signal::INT));
}

#[test]
fn a25_so_does_the_end_of_the_input() {
    check_clean_stop(|host| host.close_input());
}

#[test]
fn a25_a_task_in_hand_is_drained_before_anything_is_shut_down() {
    let mut setup = Setup::new();
    let notified = Notified::by(&mut setup);
    let gate = setup.gate("process");
    let a = setup.misbehave("a").act(&gate.act("process"));
    setup.entries(TWO_EXECUTORS, &[a, setup.misbehave("b")]);
    let mut host = setup.start();
    host.wait_ready();
    host.send_line("x");
    setup.trace().wait_call("a", "processor", "process");
    host.signal(Signal::TERM);
    notified.wait("STOPPING=1");
    assert_eq!(setup.trace().count("b", "executor", "shutdown"), 0);
    gate.open();
    host.assert_exit(0);
    assert_eq!(host.stdout(), b"x\n");
    let lines = setup.trace().lines();
    let at = |call: &str| lines.iter().position(|line| line.call == call);
    assert!(at("on_task_succeeded").is_some());
    assert!(at("on_task_succeeded") < at("shutdown"));
    assert_stopped_in_order(&setup);
}

#[test]
fn a25_a_second_signal_at_once_is_the_same_request() {
    // Where the machine takes its time between the signals they are two requests, and nothing is shown.
    assert!((0..20).any(|_| signals_at_once()), "never at once");
}

/// Whether they were less than a second apart.
fn signals_at_once() -> bool {
    let mut setup = Setup::new();
    let notified = Notified::by(&mut setup);
    let gate = setup.gate("shutdown");
    let b = setup.misbehave("b").act(&gate.act("driver-shutdown"));
    setup.entries(TWO_EXECUTORS, &[setup.misbehave("a"), b]);
    let mut host = setup.start();
    host.wait_ready();
    let first = Instant::now();
    host.signal(Signal::TERM);
    notified.wait("STOPPING=1");
    // In the middle of the stop: the gate is closed.
    host.signal(Signal::TERM);
    host.signal(Signal::INT);
    // By then it has taken them: it answers on the thread that does.
    let _ = host.status();
    if first.elapsed() > Duration::from_millis(900) {
        return false;
    }
    setup.trace().wait_call("b", "driver", "shutdown");
    gate.open();
    host.assert_exit(0);
    assert_stopped_in_order(&setup);
    true
}

#[test]
fn a25_a_second_signal_later_ends_at_once_with_5_and_names_what_hung() {
    let setup = Setup::new();
    let b = setup
        .misbehave("b")
        .key("deadlines = { shutdown = \"60s\" }")
        // The line is there more than a second after the first signal, whatever else is slow.
        .act("hook = \"driver-shutdown\", crime = \"slow\", ms = 2000")
        .act("hook = \"driver-shutdown\", crime = \"log\", text = \"hanging from here on\"")
        .act("hook = \"driver-shutdown\", crime = \"hang\"");
    setup.entries(TWO_EXECUTORS, &[setup.misbehave("a"), b]);
    let mut host = setup.start();
    host.wait_ready();
    host.signal(Signal::TERM);
    host.wait_message("b", "hanging from here on");
    host.signal(Signal::TERM);
    host.wait_exit_within(Duration::from_secs(10));
    host.assert_exit(5);
    let errors = host.errors();
    let forced = errors
        .iter()
        .find(|error| error.starts_with("error[stop-forced]: "));
    assert!(
        forced.is_some_and(|error| error.contains(" b")),
        "{errors:#?}\n{}",
        host.stderr()
    );
    let lines = setup.trace().lines();
    assert_eq!(shutdowns(&lines, "driver", "driver"), ["b"]);
}

#[test]
fn a26_late_messages_are_refused_and_the_counts_add_up() {
    let setup = Setup::new();
    let gate = setup.gate("shutdown");
    // `a` is shut down last: while it waits, everything of `b` has ended and the host can still be asked.
    let a = setup
        .misbehave("a")
        .act("hook = \"register-metrics\", crime = \"flood\", to = \"b\", text = \"oneway\", thread = true")
        .act(&gate.act("driver-shutdown"));
    let b = setup.misbehave("b").act(
        "hook = \"executor-init\", crime = \"flood\", to = \"b\", text = \"oneway\", thread = true",
    );
    setup.entries("[executors]\ncount = 2\n", &[a, b]);
    let mut host = setup.start();
    host.wait_ready();
    // All three are at it.
    setup.trace().wait("many messages", |lines| {
        (lines.iter().filter(|line| line.call == "receive").count() > 100).then_some(())
    });
    host.signal(Signal::TERM);
    // Two executor parts of `b`, closed with their contexts, and a thread of `a`, whose target is closed.
    let closed: Vec<TraceLine> = setup.trace().wait("three closed floods", |lines| {
        let notes = lines.iter().filter(|line| line.call == "note");
        let closed: Vec<_> = notes
            .filter(|line| line.rest.starts_with("flood closed "))
            .cloned()
            .collect();
        (closed.len() == 3).then_some(closed)
    });
    setup.trace().wait_call("a", "driver", "shutdown");
    let number = |line: &TraceLine, key: &str| line.value(key).unwrap().parse::<u64>().unwrap();
    let sent: u64 = closed.iter().map(|line| number(line, "sent")).sum();
    let status = host.instance("b");
    let count = |name: &str| status["messages"][name].as_u64().unwrap();
    assert_eq!(count("sent"), sent, "{status:#}");
    assert_eq!(
        count("delivered") + count("dropped"),
        count("sent"),
        "{status:#}"
    );
    let handled = setup.trace().count("b", "driver", "receive");
    assert_eq!(handled as u64, count("delivered"), "{status:#}");
    gate.open();
    host.assert_exit(0);
    let lines = setup.trace().lines();
    assert_no_call_after_shutdown(&lines);
    assert_eq!(setup.trace().count("b", "driver", "receive"), handled);
    assert_eq!(shutdowns(&lines, "driver", "driver"), ["b", "a"]);
}

#[track_caller]
fn check_failing_shutdown(hook: &str, crime: &str) {
    let setup = Setup::new();
    let gate = setup.gate("shutdown");
    let a = setup
        .misbehave("a")
        .act("hook = \"driver-shutdown\", crime = \"count\", name = \"wayOut\", value = 3.0")
        .act("hook = \"driver-shutdown\", crime = \"log\", text = \"a word on the way out\"")
        .act(&gate.act("driver-shutdown"));
    let b = setup.misbehave("b").act(&format!(
        "hook = {hook:?}, crime = {crime:?}, text = \"cannot let go\""
    ));
    setup.entries("", &[a, b, setup.misbehave("c")]);
    let mut host = setup.start();
    host.wait_ready();
    host.signal(Signal::TERM);
    // From inside the shutdown of `a`, while it lasts.
    host.wait_message("a", "a word on the way out");
    let counted = host.samples("hotshoe_plugin_wayOut_total", &[("plugin", "a")]);
    let values: Vec<f64> = counted.iter().map(|(_, value)| *value).collect();
    assert_eq!(values, [3.0]);
    gate.open();
    host.assert_exit(5);
    let errors = host.errors();
    assert!(
        errors[0].contains("`b`") && errors[0].contains("cannot let go"),
        "{errors:#?}"
    );
    assert_eq!(errors.len(), 1, "{errors:#?}");
    let lines = setup.trace().lines();
    assert_eq!(shutdowns(&lines, "executor", "0"), ["c", "b", "a"]);
    assert_eq!(shutdowns(&lines, "driver", "driver"), ["c", "b", "a"]);
}

#[test]
fn a27_a_failing_driver_shutdown_stops_no_other_and_exits_with_5() {
    check_failing_shutdown("driver-shutdown", "fail");
}

#[test]
fn a27_a_failing_executor_shutdown_stops_no_other_and_exits_with_5() {
    check_failing_shutdown("executor-shutdown", "fail");
}

#[test]
fn a27_a_panicking_shutdown_is_a_failing_one() {
    check_failing_shutdown("driver-shutdown", "panic");
}

#[track_caller]
fn check_hanging_shutdown(hook: &str) -> (Setup, Vec<TraceLine>) {
    let setup = Setup::new();
    let b = setup
        .misbehave("b")
        .key("deadlines = { shutdown = \"500ms\" }")
        .act(&format!("hook = {hook:?}, crime = \"hang\""));
    setup.entries("", &[setup.misbehave("a"), b, setup.misbehave("c")]);
    let mut host = setup.start();
    host.wait_ready();
    let asked = Instant::now();
    host.signal(Signal::TERM);
    host.wait_exit_within(Duration::from_secs(15));
    // Its own deadline, not the five seconds that are the default.
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
    host.assert_exit(5);
    let errors = host.errors();
    assert!(
        errors[0].contains("`b`") && errors[0].contains("500ms"),
        "{errors:#?}"
    );
    drop(host);
    let lines = setup.trace().lines();
    (setup, lines)
}

#[test]
fn a28_a_driver_shutdown_that_hangs_is_left_behind_and_named() {
    let (_setup, lines) = check_hanging_shutdown("driver-shutdown");
    assert_eq!(shutdowns(&lines, "executor", "0"), ["c", "b", "a"]);
    assert_eq!(shutdowns(&lines, "driver", "driver"), ["c", "b", "a"]);
}

#[test]
fn a28_so_is_an_executor_shutdown_and_every_driver_is_shut_down() {
    let (_setup, lines) = check_hanging_shutdown("executor-shutdown");
    // The thread that would shut the executor part of `a` down is the one that hangs.
    assert_eq!(shutdowns(&lines, "executor", "0"), ["c", "b"]);
    assert_eq!(shutdowns(&lines, "driver", "driver"), ["c", "b", "a"]);
}

/// The names of the process's threads that begin with `cfg-`.
fn listener_threads(pid: u32) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    // A thread may end while it is looked at.
    let names =
        threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("comm")).ok());
    let mut names: Vec<String> = names.map(|name| name.trim().to_owned()).collect();
    names.retain(|name| name.starts_with("cfg-"));
    names.sort();
    names
}

/// Waits until those are its threads. A thread that one of them has started bears its name for a moment, a joined one leaves
/// /proc a moment after its join, and nothing announces either.
#[track_caller]
fn wait_listener_threads(pid: u32, names: &[&str]) {
    let until = Instant::now() + DEADLINE;
    loop {
        let found = listener_threads(pid);
        if found == names {
            return;
        }
        assert!(Instant::now() < until, "{found:?}, not {names:?}");
        thread::yield_now();
    }
}

#[test]
fn a28_no_thread_of_the_seeds_plugin_outlives_its_shutdown() {
    let setup = Setup::new();
    let gate = setup.gate("shutdown");
    let seed = Entry::of(
        "dynamic-config",
        artifacts::library("hotshoe-dynamic-config"),
    )
    .set("profile = \"quickstart\"")
    .set("listen = [\"127.0.0.1:0\"]");
    // Shut down after it, so that there is a host to look into when it is gone.
    let a = setup.misbehave("a").act(&gate.act("driver-shutdown"));
    setup.entries("", &[a, seed]);
    let mut host = setup.start();
    host.wait_ready();
    let url = setup.addresses("dynamic-config").remove(0);
    let address = url.strip_prefix("http://").unwrap().to_owned();
    wait_listener_threads(
        host.pid(),
        &["cfg-http", "cfg-read", "cfg-watch", "cfg-write"],
    );
    // A client that keeps its connection holds nothing up.
    let mut kept = http::connect(&address);
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let response = http::exchange(&mut kept, request.as_bytes());
    assert_eq!(response.text(), "the latest configuration is 20\n");
    host.signal(Signal::TERM);
    setup.trace().wait_call("a", "driver", "shutdown");
    wait_listener_threads(host.pid(), &[]);
    TcpListener::bind(&address).expect("the port is free");
    gate.open();
    host.assert_exit(0);
}
