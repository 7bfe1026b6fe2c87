//! What a worker may use, and what it needs before its plugin does anything: the least values of the configuration are enough
//! for both profiles, more is refused by name, and whoever looks sees what holds what.

use super::{World, worker::escape};
use hotshoe_tests::{LogLine, Setup, TestHost, artifacts};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;

/// The standard walls, and what the fixture traces to.
fn walled(setup: &Setup) -> String {
    format!("sandbox = {{ write = [{:?}] }}", setup.trace().path())
}

/// What the configuration's least values are, with so many executors.
fn least(executors: u64) -> String {
    let (memory, room) = (32 + 3 * (executors - 1), 16 + (executors - 1));
    format!(
        "limits = {{ memory = \"{memory}MiB\", cpu_time = \"1s\", files = {room}, processes = {room} }}"
    )
}

fn stream(executors: u64, processors: &[&str]) -> String {
    format!("[executors]\ncount = {executors}\n[stream]\nprocessors = {processors:?}")
}

/// Every part, on as many executors, with a record for each, within the least that may be written.
#[test]
fn the_least_limits_are_enough_for_a_worker() {
    for executors in [1, 4, 16] {
        let setup = Setup::new();
        let entry = setup
            .misbehave("apart")
            .key("isolation = \"process\"")
            .key(&walled(&setup))
            .key(&least(executors));
        setup.entries(&stream(executors, &["apart"]), &[entry]);
        let mut host = setup.start();
        host.wait_ready();
        host.send(b"a\n");
        host.wait_stdout(b"a\n");
        let worker = host.instance("apart")["worker"].clone();
        let pid = worker["pid"].as_u64().unwrap();
        let count = |folder: &str| {
            fs::read_dir(format!("/proc/{pid}/{folder}"))
                .unwrap()
                .count()
        };
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let data = status
            .lines()
            .find(|line| line.starts_with("VmData"))
            .unwrap();
        println!(
            "{executors} executors: {} threads, {} descriptors, {data}",
            count("task"),
            count("fd")
        );
        assert_eq!(worker["lives"], 1, "{worker}");
        host.close_input();
        host.assert_exit(0);
    }
}

/// What [`status`] shows of each limit: who holds it, or that nobody does, and why.
const LIMITED: &str =
    "limits = { memory = \"64MiB\", cpu_time = \"2m\", files = 64, processes = 32 }";

#[track_caller]
fn held(instance: &Value, what: &str) -> String {
    let parts = instance["worker"]["enforced"].as_array().unwrap();
    let part = parts.iter().find(|part| part["what"] == what);
    let part = part.unwrap_or_else(|| panic!("nothing holds `{what}`: {instance:#}"));
    part["layer"].as_str().unwrap().to_owned()
}

/// Of the lines that say what this machine cannot do.
fn gaps(host: &TestHost<'_>) -> Vec<LogLine> {
    let mut lines = host.logs();
    lines.retain(|line| line.message().contains("this machine cannot enforce"));
    lines
}

/// In JSON, in the table, and once in the log: also where the worker is the second one.
#[test]
fn status_and_log_say_what_holds_each_limit() {
    let setup = Setup::new();
    let entry = setup
        .misbehave("apart")
        .key("isolation = \"process\"")
        .key(&walled(&setup))
        .key(LIMITED);
    setup.entries("[stream]\nprocessors = [\"apart\"]", &[entry]);
    let mut host = setup.start();
    host.wait_ready();
    let instance = host.instance("apart");
    assert_eq!(held(&instance, "cpu_time 120 s"), "rlimit");
    assert_eq!(held(&instance, "files 64"), "rlimit");
    assert_eq!(held(&instance, "rights of root"), "capabilities");
    assert!(held(&instance, "new processes").contains("seccomp"));
    let memory = held(&instance, "memory 67108864 bytes");
    let processes = held(&instance, "processes 32");
    let in_group = memory == "cgroup";
    if !in_group {
        assert!(memory.starts_with("rlimit (no control group"), "{memory}");
        assert!(
            processes.starts_with("not enforced: no control group"),
            "{processes}"
        );
    }

    let table = setup.hotshoe(&["status"]);
    table.assert_code(0);
    for line in [
        format!("held    memory 67108864 bytes: {memory}"),
        format!("held    processes 32: {processes}"),
        "held    files 64: rlimit".to_owned(),
    ] {
        assert!(table.stdout.contains(&line), "{line}\n{}", table.stdout);
    }
    let json = setup.hotshoe(&["status", "--json"]);
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        json["instances"][0]["worker"]["enforced"],
        instance["worker"]["enforced"]
    );

    let said = gaps(&host);
    if !in_group {
        assert_eq!(said.len(), 2, "{said:#?}");
        assert!(
            said.iter()
                .all(|line| line.level() == "WARN" && line.is_of("apart"))
        );
    }
    let pid = i32::try_from(instance["worker"]["pid"].as_u64().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    host.wait_message("apart", "in service again");
    let again = host.instance("apart");
    assert_eq!(again["worker"]["lives"], 2);
    assert_eq!(again["worker"]["enforced"], instance["worker"]["enforced"]);
    assert_eq!(gaps(&host).len(), said.len(), "it is said once");
    host.close_input();
    host.assert_exit(0);
}

/// A plugin that has no answer to memory that it does not get ends with its worker: the host tells of what, and goes on.
#[test]
fn a_worker_beyond_its_memory_dies_alone_and_is_told_by_name() {
    let setup = Setup::new();
    let bad = setup
        .misbehave("bad")
        .key("isolation = \"process\"")
        .key("limits = { memory = \"64MiB\" }")
        .act("hook = \"process\", crime = \"exhaust-memory\", word = \"eat\"");
    let good = setup.misbehave("good").key("isolation = \"process\"");
    let stream = "[stream]\nprocessors = [\"good\", \"bad\"]\non_error = \"dead-letter\"\ndead_letter = \"dead.jsonl\"";
    setup.entries(stream, &[good, bad]);
    let mut host = setup.start();
    host.wait_ready();
    host.send(b"before\neat\nafter\n");
    host.wait_stdout(b"before\nafter\n");
    host.wait_log("what was refused", |line| {
        line.is_of("bad") && line.message().contains("memory allocation of")
    });
    assert_eq!(host.instance("good")["worker"]["lives"], 1);
    let crashes = host.instance("bad")["worker"]["crashes"].clone();
    let mut last_words = String::new();
    for crash in crashes.as_array().unwrap() {
        assert_eq!(crash["how"], "killed by signal 6 (SIGABRT)");
        last_words.push_str(&crash["log"].to_string());
    }
    // A busy machine may need longer to forward them than a death is kept waiting; not every time.
    assert!(
        last_words.contains("memory allocation of 268435456 bytes failed"),
        "{last_words}"
    );
    host.close_input();
    host.assert_exit(0);
    let dead = fs::read_to_string(setup.folder().join("dead.jsonl")).unwrap();
    assert!(
        dead.contains("SIGABRT") && dead.lines().count() == 1,
        "{dead}"
    );
}

/// Descriptors that it may not have are refused to it, and nobody else.
#[test]
fn a_worker_beyond_its_files_is_refused_and_lives() {
    let setup = Setup::new();
    let bad = setup
        .misbehave("bad")
        .set("ends = true")
        .key("isolation = \"process\"")
        .key("limits = { files = 32 }")
        .act("hook = \"process\", crime = \"exhaust-descriptors\", word = \"eat\"");
    setup.entries("[stream]\nprocessors = [\"bad\"]", &[bad]);
    let mut host = setup.start();
    host.wait_ready();
    host.send(b"eat\nafter\n");
    host.wait_stdout(b"eat\nafter\n");
    setup.trace().wait("the crime", |lines| {
        lines
            .iter()
            .any(|line| line.to_string().contains("descriptors true"))
            .then_some(())
    });
    let worker = host.instance("bad")["worker"].clone();
    assert_eq!(worker["lives"], 1, "{worker}");
    let open = fs::read_dir(format!("/proc/{}/fd", worker["pid"]))
        .unwrap()
        .count();
    assert_eq!(open, 32);
    host.close_input();
    host.assert_exit(0);
}

/// A limit below what the host itself may have is the worker's; one above changes nothing that is held.
#[test]
fn a_worker_may_never_have_more_than_its_host() {
    let setup = Setup::new();
    let world = World::new();
    let entry = escape("apart", &world.scene_of(0)).key("limits = { files = 100_000 }");
    setup.entries("[stream]\nprocessors = [\"apart\"]", &[entry]);
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", "ulimit -n 200; exec \"$@\"", "sh"])
        .arg(artifacts::hotshoe())
        .args(["--log-format", "json", "run"])
        .arg(setup.config_path());
    let mut host = setup.start_command(command);
    host.wait_ready();
    host.send(b"apart call files\napart call some-memory\n");
    host.wait_stdout(
        b"apart call files stopped: Too many open files (os error 24)\napart call some-memory escaped\n",
    );
    host.close_input();
    host.assert_exit(0);
}

/// Time that is used up ends the worker, by a signal that names it; the next one has its own.
#[test]
fn a_worker_beyond_its_processor_time_dies_by_the_signal_of_that_name() {
    let setup = Setup::new();
    let once = setup.scratch("once");
    let bad = setup
        .misbehave("bad")
        .key("isolation = \"process\"")
        .key("limits = { cpu_time = \"1s\" }")
        .key("deadlines = { process = \"1m\" }")
        .act(&format!(
            "hook = \"process\", crime = \"spin\", once = {once:?}"
        ));
    setup.entries("[stream]\nprocessors = [\"bad\"]", &[bad]);
    let mut host = setup.start();
    host.wait_ready();
    host.send(b"one\n");
    host.wait_stdout(b"one\n");
    let worker = host.instance("bad")["worker"].clone();
    assert_eq!(worker["lives"], 2, "{worker}");
    assert_eq!(worker["crashes"][0]["how"], "killed by signal 24 (SIGXCPU)");
    host.close_input();
    host.assert_exit(0);
}
