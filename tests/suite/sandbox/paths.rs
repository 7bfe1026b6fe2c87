//! What walls are made of, when it is not there, or is less than was asked for.

use hotshoe_tests::{Setup, TestHost, artifacts};
use rustix::process::{Signal, kill_process};
use std::{fs, process::Command};

/// The restart that fails says whose it is, which list names the path, and what to do about it.
#[test]
fn a_path_that_is_gone_when_a_worker_starts_again_is_named_and_may_come_back() {
    let setup = Setup::new();
    let folder = setup.scratch("d");
    fs::create_dir(&folder).unwrap();
    let walled = setup
        .misbehave("walled")
        .key("isolation = \"process\"")
        .key("restart = { attempts = 1000, backoff = \"1ms\", backoff_max = \"1ms\" }")
        .key(&format!(
            "sandbox = {{ write = [{:?}, {folder:?}] }}",
            setup.trace().path()
        ));
    setup.entries("", &[walled]);
    let mut host = setup.start();
    host.wait_ready();
    fs::remove_dir(&folder).unwrap();
    kill_process(host.worker("walled").expect("a worker"), Signal::KILL).unwrap();
    let told = host.wait_log("why it does not start", |line| {
        line.sentence().starts_with("warning[sandbox-failed]")
    });
    let sentence = told.sentence();
    for part in [
        "plugin `walled`: ",
        "`sandbox.write` names",
        &folder.display().to_string(),
    ] {
        assert!(sentence.contains(part), "no {part}: {sentence}");
    }
    assert!(
        told.text_of("fix").contains("correct `sandbox.write`"),
        "{told:?}"
    );
    fs::create_dir(&folder).unwrap();
    host.wait_message("walled", "in service again");
    host.stop();
}

/// A host that has fewer descriptors itself: status names what is in force.
#[test]
fn a_limit_above_the_hosts_own_is_shown_as_what_is_in_force() {
    let setup = Setup::new();
    let entry = setup
        .misbehave("x")
        .key("isolation = \"process\"")
        .key("limits = { files = 1048576 }");
    setup.entries("", &[entry]);
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "ulimit -n 150; exec \"$0\" --log-format json run \"$1\"",
        ])
        .arg(artifacts::hotshoe())
        .arg(setup.config_path());
    let mut host: TestHost<'_> = setup.start_command(command);
    host.wait_ready();
    let enforced = host.instance("x")["worker"]["enforced"].clone();
    let whats: Vec<&str> = enforced
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|part| part["what"].as_str())
        .collect();
    assert!(whats.contains(&"files 150, as the host's"), "{enforced}");
    host.stop();
}
