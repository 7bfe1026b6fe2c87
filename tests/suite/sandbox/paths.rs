//! What walls are made of, when it is not there, or is less than was asked for.

use hotshoe_tests::{Entry, Setup, TestHost, artifacts, tour::blocks};
use rustix::process::{Signal, kill_process};
use std::{fs, net::TcpListener, process::Command};

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

/// A sandbox names ports, so the machine cannot choose one when the listener asks.
fn free_port() -> u16 {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    held.local_addr().unwrap().port()
}

/// The listener that comes with Hotshoe, as `docs/sandbox.md` shows it: its folders are the host's to make, at the first start,
/// and a check neither misses nor makes them.
#[test]
fn the_walled_listener_of_the_guide_serves_at_the_first_start() {
    let shown = fs::read_to_string(artifacts::workspace_root().join("docs/sandbox.md")).unwrap();
    let shown = blocks(&shown).into_iter();
    let entry = shown
        .filter(|block| block.kind == "toml")
        .find(|block| block.text.contains("hotshoe_dynamic_config"))
        .expect("the guide shows a walled listener");
    // A bare name is looked for beside the executable.
    let _library = artifacts::library("hotshoe-dynamic-config");
    let mut setup = Setup::new();
    let run_dir = setup.scratch("run/of-the-service");
    setup.variable("RUNTIME_DIRECTORY", &run_dir);
    let port = free_port();
    let mut text = entry.text.clone();
    for (shown, here) in [
        ("/run/hotshoe", run_dir.display().to_string()),
        ("9999", port.to_string()),
    ] {
        assert!(text.contains(shown), "no {shown}: {text}");
        text = text.replace(shown, &here);
    }
    setup.config(&format!(
        "{text}settings = {{ listen = [\"127.0.0.1:{port}\"] }}\n"
    ));
    setup.check().assert_code(0);
    assert!(!run_dir.exists());
    let mut host = setup.start();
    host.wait_ready();
    let urls = fs::read_to_string(run_dir.join("cfg.addr")).unwrap();
    assert_eq!(urls, format!("http://127.0.0.1:{port}\n"));
    let set = setup.hotshoe(&["config", "set", "{\"value\": 5}"]);
    assert_eq!(set.code, Some(0), "{set:#?}");
    host.stop();
}

/// Without them it says what it lacks, and where that is to be written.
#[test]
fn a_walled_listener_says_what_its_sandbox_lacks() {
    let setup = Setup::new();
    let (port, run_dir) = (free_port(), setup.run_dir());
    let entry = |sandbox: &str| {
        Entry::of("cfg", artifacts::library("hotshoe-dynamic-config"))
            .key("isolation = \"process\"")
            .key(&format!("sandbox = {sandbox}"))
            .set(&format!("listen = [\"127.0.0.1:{port}\"]"))
            .set("state = \"memory\"")
    };
    let listens = format!("{{ net = {{ bind = [{port}] }} }}");
    for (sandbox, code, fix) in [
        ("{ env = [] }", "config-cannot-listen", listens.as_str()),
        (&listens, "config-bad-setting", "list it in its write"),
    ] {
        setup.entries("", &[entry(sandbox)]);
        let refused = setup.run();
        refused.assert_code(4);
        let problem = &refused.problems(code)[0];
        assert!(problem.text_of("fix").contains(fix), "{refused:#?}");
    }
    // What is below the folder may be a file of the host's, or lie behind a link: nobody makes it.
    for elsewhere in [run_dir.join("../elsewhere"), run_dir.join("cfg.addr")] {
        setup.entries("", &[entry(&format!("{{ write = [{elsewhere:?}] }}"))]);
        let refused = setup.run();
        assert_eq!(refused.error_code(), "no-such-path");
        refused.assert_code(2);
        assert!(!elsewhere.exists());
    }
    // And it is told beside whatever else is wrong.
    let gone = setup.scratch("gone");
    let more = "[executors]\ncuont = 3\n";
    setup.entries(more, &[entry(&format!("{{ write = [{gone:?}] }}"))]);
    let refused = setup.run();
    refused.assert_code(2);
    for code in ["unknown-key", "no-such-path"] {
        assert_eq!(refused.problems(code).len(), 1, "{refused:#?}");
    }
}
