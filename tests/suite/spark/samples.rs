//! The pass marks of the sample plugins (spark-cases, part 3). Those of `dynamic-config` are A29 and A34 to A37.

use hotshoe_tests::{DEADLINE, Entry, Setup, TestHost, artifacts, freeze};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use std::{
    io::{ErrorKind, Read as _},
    net::{TcpListener, TcpStream},
    time::Instant,
};

/// An instance that is shut down last, and waits there: until then the host can be asked what became of the others.
fn holder(setup: &Setup, gate: &hotshoe_tests::Gate) -> Entry {
    setup.misbehave("holder").act(&gate.act("driver-shutdown"))
}

fn task_times() -> Entry {
    Entry::of("task-times", artifacts::fixture("task-times"))
}

/// The instance's metrics of that name, as `/status` lists them.
fn metrics(host: &TestHost<'_>, instance: &str, name: &str) -> Vec<Value> {
    let full = format!("plugin.{instance}.{name}");
    let status = host.instance(instance);
    let all = status["metrics"].as_array().unwrap();
    all.iter()
        .filter(|metric| metric["name"] == full.as_str())
        .cloned()
        .collect()
}

/// Their counts together.
fn total(host: &TestHost<'_>, instance: &str, name: &str) -> u64 {
    let metrics = metrics(host, instance, name);
    metrics
        .iter()
        .map(|metric| metric["count"].as_u64().unwrap())
        .sum()
}

/// Started, succeeded, failed, and how many durations were taken.
fn hooks(host: &TestHost<'_>) -> [u64; 4] {
    ["started", "succeeded", "failed", "seconds"].map(|name| total(host, "task-times", name))
}

#[track_caller]
fn check_custom_metrics(executors: u32) {
    let setup = Setup::new();
    let gate = setup.gate("shutdown");
    let numbers: String = (0..5_000).map(|number| format!("{number}\n")).collect();
    setup.file("numbers", numbers.as_bytes());
    let tables = format!(
        "
[executors]
count = {executors}
[stream]
source = \"file:numbers\"
processors = [\"custom-metrics\"]
batch_records = 1000
"
    );
    let library = artifacts::library("hotshoe-custom-metrics");
    let custom = Entry::of("custom-metrics", library);
    setup.entries(&tables, &[holder(&setup, &gate), custom, task_times()]);
    let mut host = setup.start();
    setup.trace().wait_call("holder", "driver", "shutdown");

    let even = metrics(&host, "custom-metrics", "evenMetrics");
    assert_eq!(even.len(), executors as usize, "{even:#?}");
    for (executor, metric) in even.iter().enumerate() {
        assert_eq!(metric["executor"], executor.to_string(), "{even:#?}");
        assert_eq!(metric["component"], "executor", "{even:#?}");
        // Each task has 500 of them, and is one executor's.
        assert_eq!(metric["count"].as_u64().unwrap() % 500, 0, "{even:#?}");
    }
    assert_eq!(total(&host, "custom-metrics", "evenMetrics"), 2_500);
    assert_eq!(hooks(&host), [5, 5, 0, 5]);
    gate.open();
    host.assert_exit(0);
    let expected: String = (1..=5_000).map(|number| format!("{number}\n")).collect();
    assert!(host.stdout() == expected.as_bytes(), "5,000 results");
}

#[test]
fn custom_metrics_counts_2500_on_one_executor() {
    check_custom_metrics(1);
}

#[test]
fn custom_metrics_counts_2500_over_two_executors() {
    check_custom_metrics(2);
}

#[test]
fn custom_metrics_counts_2500_over_four_executors() {
    check_custom_metrics(4);
}

#[test]
fn message_config_says_what_its_settings_say() {
    let setup = Setup::new();
    let library = artifacts::library("hotshoe-message-config");
    let entry = Entry::of("numbers", library)
        .set("initial = 7")
        .set("changed = -8");
    setup.entries("[executors]\ncount = 2\n", &[entry]);
    let mut host = setup.start();
    host.wait_ready();
    host.stop();
    let logs = host.logs();
    let said: Vec<(&str, String)> = logs
        .iter()
        .filter(|line| line.is_of("numbers"))
        .map(|line| (line.message(), line.text_of("component")))
        .collect();
    let initial = ("the initial configuration is 7", "executor".to_owned());
    let last = ("the final value is -8", "driver".to_owned());
    assert_eq!(said, [initial.clone(), initial, last.clone(), last]);
}

/// A stream that appends how often `drops` was made to act.
fn event_action(coalesce: bool) -> Setup {
    let setup = Setup::new();
    let drops = Entry::of("drops", artifacts::library("hotshoe-event-action"))
        .set("listen = \"127.0.0.1:0\"")
        .set("cache = \"test\"")
        .set(&format!("coalesce = {coalesce}"));
    let append = Entry::of("append", artifacts::library("hotshoe-quickstart"))
        .set("topic = \"drops\"")
        .set("pointer = \"/dropped\"");
    let tables = "[stream]\nsource = \"stdin\"\nprocessors = [\"append\"]\n";
    setup.entries(tables, &[drops, append]);
    setup
}

fn event_address(setup: &Setup) -> String {
    let url = setup.addresses("drops").remove(0);
    url.strip_prefix("tcp://").unwrap().to_owned()
}

/// What the listener told whoever connected: the number of the action.
#[track_caller]
fn told(event: &mut TcpStream) -> u64 {
    event
        .set_read_timeout(Some(hotshoe_tests::DEADLINE))
        .unwrap();
    let mut text = String::new();
    event.read_to_string(&mut text).unwrap();
    text.strip_prefix("dropped test ")
        .and_then(|rest| rest.strip_suffix('\n')?.parse().ok())
        .unwrap_or_else(|| panic!("{text:?}"))
}

fn generation(host: &TestHost<'_>) -> u64 {
    host.status()["topics"]["drops"].as_u64().unwrap()
}

#[test]
fn event_action_acts_once_for_one_connection_and_frees_its_port() {
    let setup = event_action(false);
    let mut host = setup.start();
    host.wait_ready();
    let address = event_address(&setup);
    host.send_line("x");
    host.wait_stdout(b"x0\n");
    let before = generation(&host);
    let asked = Instant::now();
    assert_eq!(told(&mut TcpStream::connect(&address).unwrap()), 1);
    assert!(asked.elapsed() < DEADLINE);
    assert_eq!(generation(&host), before + 1);
    host.send_line("x");
    host.wait_stdout(b"x0\nx1\n");
    host.stop();
    let logs = host.logs();
    let acted = logs
        .iter()
        .filter(|line| line.is_of("drops") && line.message() == "dropped cache `test`");
    assert_eq!(acted.count(), 1);
    let error = TcpStream::connect(&address).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    TcpListener::bind(&address).expect("the port is free");
    let addresses = setup.run_dir().join("drops.addr");
    assert!(!addresses.exists());
}

/// Fifty connections that the plugin finds all at once; answers what each of them was told.
fn fifty_at_once(host: &TestHost<'_>, address: &str) -> Vec<u64> {
    let pid = Pid::from_raw(host.pid().try_into().unwrap());
    assert!(freeze(pid.unwrap()));
    // The kernel takes them meanwhile.
    let mut events: Vec<TcpStream> = (0..50)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    host.signal(Signal::CONT);
    let mut told: Vec<u64> = events.iter_mut().map(told).collect();
    told.sort_unstable();
    told
}

#[test]
fn event_action_acts_fifty_times_for_fifty_connections() {
    let setup = event_action(false);
    let mut host = setup.start();
    host.wait_ready();
    let before = generation(&host);
    let told = fifty_at_once(&host, &event_address(&setup));
    assert_eq!(told, (1..=50).collect::<Vec<_>>());
    assert_eq!(generation(&host), before + 50);
    host.send_line("x");
    host.wait_stdout(b"x50\n");
    host.stop();
}

#[test]
fn event_action_acts_once_for_fifty_where_it_coalesces() {
    let setup = event_action(true);
    let mut host = setup.start();
    host.wait_ready();
    let before = generation(&host);
    let address = event_address(&setup);
    assert_eq!(fifty_at_once(&host, &address), [1; 50]);
    assert_eq!(generation(&host), before + 1);
    // What does not come together is not put together.
    for expected in 2..5 {
        assert_eq!(told(&mut TcpStream::connect(&address).unwrap()), expected);
    }
    host.send_line("x");
    host.wait_stdout(b"x4\n");
    host.stop();
}

#[track_caller]
fn check_task_times(stream: &str, probe: impl FnOnce(Entry) -> Entry, expected: [u64; 4]) {
    let setup = Setup::new();
    let gate = setup.gate("shutdown");
    let tables = format!(
        "[executors]\ncount = 2\n[stream]\nsource = \"stdin\"\nprocessors = [\"probe\"]\nbatch_records = 5\n{stream}"
    );
    let entries = [
        holder(&setup, &gate),
        probe(setup.misbehave("probe")),
        task_times(),
    ];
    setup.entries(&tables, &entries);
    let mut host = setup.start();
    host.wait_ready();
    host.send(b"0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    host.close_input();
    setup.trace().wait_call("holder", "driver", "shutdown");
    assert_eq!(hooks(&host), expected);
    let [started, ..] = expected;
    let name = "hotshoe_plugin_seconds_count";
    let counts = host.samples(name, &[("plugin", "task-times"), ("component", "executor")]);
    assert_eq!(counts.len(), 2, "one for each executor: {counts:?}");
    let scraped: f64 = counts.iter().map(|(_, value)| value).sum();
    assert_eq!(scraped as u64, started);
    let buckets = host.samples("hotshoe_plugin_seconds_bucket", &[("le", "+Inf")]);
    let scraped: f64 = buckets.iter().map(|(_, value)| value).sum();
    assert_eq!(scraped as u64, started);
    assert_eq!(host.instance("task-times")["hook_errors"], 0);
    gate.open();
    host.assert_exit(0);
}

#[test]
fn task_times_sees_two_tasks_succeed() {
    check_task_times("", |probe| probe, [2, 2, 0, 2]);
}

#[test]
fn task_times_sees_two_tasks_fail() {
    check_task_times(
        "retries = 0\non_error = \"dead-letter\"\ndead_letter = \"dead.jsonl\"\n",
        |probe| probe.act("hook = \"process\", crime = \"fail\", text = \"no\""),
        [2, 0, 2, 2],
    );
}

#[test]
fn task_times_sees_every_attempt() {
    check_task_times(
        "retries = 3\n",
        |probe| probe.act("hook = \"process\", crime = \"fail\", text = \"no\", times = 1"),
        [3, 2, 1, 3],
    );
}
