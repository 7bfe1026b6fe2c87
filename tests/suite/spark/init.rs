//! A10 to A16: the order of inits, what ends them, and what is undone when one fails.

use hotshoe_tests::{DEADLINE, Entry, Finished, Setup, TraceLine};
use rustix::fs::{CWD, Mode, mkfifoat};
use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::ErrorKind,
    net::TcpListener,
    path::Path,
    time::Duration,
};

/// Records go through untouched, from stdin.
const STREAM: &str = "[stream]\nsource = \"stdin\"\n";

/// What the drivers did, as `<instance> <call>[ <outcome>]`, without what an act noted and without drops.
fn drivers(setup: &Setup) -> Vec<String> {
    let lines = setup.trace().lines().into_iter().filter(|line| {
        line.component == "driver" && !["note", "drop"].contains(&line.call.as_str())
    });
    let text = |line: TraceLine| format!("{} {} {}", line.instance, line.call, line.rest);
    lines.map(|line| text(line).trim_end().to_owned()).collect()
}

fn instance(host: &hotshoe_tests::TestHost<'_>, name: &str) -> serde_json::Value {
    let status = host.admin("/status").json();
    let mut instances = status["instances"].as_array().unwrap().iter();
    let found = instances.find(|of| of["name"] == name);
    found
        .unwrap_or_else(|| panic!("no {name} in {status:#}"))
        .clone()
}

#[test]
fn a10_inits_come_in_order_and_hold_up_everything_else() {
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    peer.set_nonblocking(true).unwrap();
    let setup = Setup::new();
    let gate = setup.scratch("gate");
    mkfifoat(CWD, &gate, Mode::from_raw_mode(0o600)).unwrap();
    let a = setup
        .misbehave("a")
        .set("stamps = true\nends = true")
        .act(r#"hook = "driver-init", crime = "slow", ms = 300"#);
    let b = setup
        .misbehave("b")
        .set("stamps = true\nends = true")
        .act(&format!(
            r#"hook = "driver-init", crime = "hang", path = {:?}"#,
            gate.display().to_string()
        ));
    let stream = format!(
        "[stream]\nsource = \"tcp-connect:{}\"\n",
        peer.local_addr().unwrap()
    );
    setup.entries(&stream, &[a, b]);
    let mut host = setup.start();

    // Within b's init: no executor part was made, no source was opened, nobody said ready.
    let b_init = setup.trace().wait_call("b", "driver", "init");
    let a_init = setup.trace().wait_call("a", "driver", "init");
    assert!(
        b_init.ms.unwrap() - a_init.ms.unwrap() >= 300,
        "{a_init:?} {b_init:?}"
    );
    let refused = peer.accept().map(|_| ()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::WouldBlock);
    let ready = |line: &hotshoe_tests::LogLine| line.message() == "ready";
    assert!(!host.logs().iter().any(ready), "{}", host.stderr());
    let on_executors =
        |line: &TraceLine| ["executor", "processor"].contains(&line.component.as_str());
    assert!(
        !setup.trace().lines().iter().any(on_executors),
        "{}",
        setup.trace().text()
    );

    // Opened for writing and closed again: the init returns.
    drop(OpenOptions::new().write(true).open(&gate).unwrap());
    host.wait_ready();
    let at_ready = setup.trace().lines();
    peer.set_nonblocking(false).unwrap();
    drop(peer.accept().unwrap());
    host.assert_exit(0);

    let place = |wanted: &str| {
        let mut lines = at_ready.iter().map(ToString::to_string);
        lines
            .position(|line| line == wanted)
            .unwrap_or_else(|| panic!("no {wanted}: {at_ready:#?}"))
    };
    let b_ended = place("b driver driver init ok");
    assert!(place("a driver driver init ok") < place("b driver driver init"));
    for name in ["a", "b"] {
        assert!(place(&format!("{name} executor 0 init")) > b_ended);
        // Over before the ready line came.
        place(&format!("{name} executor 0 init ok"));
    }
    let all = setup.trace().lines();
    let later = all[at_ready.len()..]
        .iter()
        .filter(|line| line.call == "init");
    assert_eq!(later.count(), 0, "an init after the ready line: {all:#?}");
    let logs = host.logs();
    let starting = logs.iter().position(ready).unwrap();
    assert!(
        logs[..starting].iter().all(|line| line.level() != "ERROR"),
        "{}",
        host.stderr()
    );
}

#[test]
fn a11_an_init_that_never_returns_is_cut_off() {
    let setup = Setup::new();
    let b = setup
        .misbehave("b")
        .key(r#"deadlines = { init = "1s" }"#)
        .set("stamps = true")
        .act(r#"hook = "driver-init", crime = "hang""#);
    setup.entries(STREAM, &[setup.misbehave("a"), b]);
    let mut host = setup.start();
    let begun = host.begun();
    setup.trace().wait_call("b", "driver", "init");
    let seen = std::time::Instant::now();
    let exit = host.wait_exit_within(DEADLINE);
    assert_eq!(exit.code, Some(4), "{}", host.stderr());
    assert!(
        begun.elapsed() >= Duration::from_secs(1),
        "it did not wait for the deadline"
    );
    assert!(seen.elapsed() < DEADLINE);
    let timeouts: Vec<_> = host
        .logs()
        .into_iter()
        .filter(|line| line.sentence().starts_with("error["))
        .collect();
    assert_eq!(timeouts.len(), 1, "{timeouts:#?}");
    let sentence = timeouts[0].sentence();
    assert!(
        sentence.contains("`b`") && sentence.contains("1s"),
        "{sentence}"
    );
    assert_eq!(drivers(&setup), ["a init", "b init", "a shutdown"]);
}

#[test]
fn a12_extra_conf_goes_to_its_own_executors_and_to_no_one_else() {
    let mut setup = Setup::new();
    setup.variable("RUST_LOG", "trace");
    let a = setup
        .misbehave("a")
        .set(r#"extra = { foo = "bar", bar = "baz" }"#);
    let ab = setup.misbehave("a.b").set(r#"extra = { k = "v-of-a-b" }"#);
    setup.entries(
        &format!("[executors]\ncount = 2\n{STREAM}"),
        &[a, ab, setup.misbehave("c")],
    );
    let mut host = setup.start();
    host.wait_ready();
    let pages = [host.admin("/status").text(), host.admin("/metrics").text()];
    let text = hotshoe_status(&setup);
    host.close_input();
    host.assert_exit(0);

    let extras: BTreeSet<String> = setup
        .trace()
        .lines()
        .iter()
        .filter(|line| line.rest.starts_with("extra"))
        .map(ToString::to_string)
        .collect();
    let wanted = ["0", "1"].into_iter().flat_map(|id| {
        [
            format!("a executor {id} note extra bar=baz,foo=bar"),
            // A processor is not handed it, and asks; that of `c` finds none.
            format!("a processor {id} note extra bar=baz,foo=bar"),
            format!("a.b executor {id} note extra k=v-of-a-b"),
            format!("a.b processor {id} note extra k=v-of-a-b"),
            format!("c executor {id} note extra"),
        ]
    });
    assert_eq!(extras, wanted.collect());

    // The test's own folder has a name out of a hat.
    let root = setup.scratch("").display().to_string();
    for text in pages
        .iter()
        .chain([&text.stdout, &text.stderr, &host.stderr()])
    {
        let text = text.replace(root.trim_end_matches('/'), "");
        for secret in ["foo", "baz", "v-of-a-b"] {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret} is shown");
        }
    }
}

/// What `hotshoe status` says of the host that runs.
fn hotshoe_status(setup: &Setup) -> Finished {
    let status = setup.hotshoe(&["status", "--json", "--host", "demo"]);
    status.assert_code(0);
    status
}

fn markers(folder: &Path) -> BTreeSet<String> {
    let files = fs::read_dir(folder).unwrap();
    files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn marking(setup: &Setup, name: &str, folder: &Path) -> Entry {
    let path = folder.display().to_string();
    setup
        .misbehave(name)
        .act(&format!(
            r#"hook = "driver-init", crime = "marker", path = {path:?}"#
        ))
        .act(&format!(
            r#"hook = "executor-init", crime = "marker", path = {path:?}"#
        ))
}

#[test]
fn a13_a_driver_sets_the_number_of_executors_before_they_start() {
    let setup = Setup::new();
    let folder = setup.scratch("markers");
    fs::create_dir(&folder).unwrap();
    let entry = marking(&setup, "m", &folder)
        .act(r#"hook = "driver-init", crime = "set-option", name = "executors.count", text = "3""#);
    setup.entries(&format!("[executors]\ncount = 1\n{STREAM}"), &[entry]);
    let mut host = setup.start();
    let ready = host.wait_ready();
    assert_eq!(ready.text_of("executors"), "3");
    let status = host.admin("/status").json();
    assert_eq!(
        status["executors"].as_array().unwrap().len(),
        3,
        "{status:#}"
    );
    let options = serde_json::json!([{ "key": "executors.count", "value": "3", "plugin": "m" }]);
    assert_eq!(status["options"], options, "{status:#}");
    host.close_input();
    host.assert_exit(0);
    let wanted = [
        "DRIVER_FILE_driver",
        "EXECUTOR_FILE_0",
        "EXECUTOR_FILE_1",
        "EXECUTOR_FILE_2",
    ];
    assert_eq!(markers(&folder), wanted.map(str::to_owned).into());
}

#[test]
fn a13_any_other_option_is_refused_and_changes_nothing() {
    for (name, text, hook) in [
        ("executors.drain", "1s", "driver-init"),
        ("stream.batch_records", "1", "driver-init"),
        ("executors.count", "many", "driver-init"),
        ("executors.count", "0", "driver-init"),
        // The right option, too late.
        ("executors.count", "3", "register-metrics"),
        ("executors.count", "3", "executor-init"),
    ] {
        let setup = Setup::new();
        let entry = setup.misbehave("m").act(&format!(
            "hook = {hook:?}, crime = \"set-option\", name = {name:?}, text = {text:?}"
        ));
        setup.entries(STREAM, &[entry]);
        let mut host = setup.start();
        assert_eq!(host.wait_ready().text_of("executors"), "1", "{name}");
        let status = host.admin("/status").json();
        assert_eq!(status["options"], serde_json::json!([]), "{status:#}");
        assert_eq!(
            status["executors"].as_array().unwrap().len(),
            1,
            "{status:#}"
        );
        host.close_input();
        host.assert_exit(0);
        let lines = setup.trace().lines();
        let told: Vec<_> = lines
            .iter()
            .filter(|line| line.rest.starts_with("set-option"))
            .collect();
        assert_eq!(told.len(), 1, "{lines:#?}");
        assert!(told[0].rest.starts_with("set-option Error "), "{told:?}");
    }
}

/// A14's three: `a` holds a port, and `c` fails.
fn three(setup: &Setup, change: impl Fn(Entry) -> Entry) -> [Entry; 3] {
    let port = setup.scratch("port").display().to_string();
    let a = setup.misbehave("a").act(&format!(
        r#"hook = "driver-init", crime = "hold-port", path = {port:?}"#
    ));
    let c = setup
        .misbehave("c")
        .act(r#"hook = "driver-init", crime = "fail", text = "no card in the slot""#);
    [a, setup.misbehave("b"), c].map(change)
}

fn port_is_free(setup: &Setup) {
    let port: u16 = fs::read_to_string(setup.scratch("port"))
        .unwrap()
        .parse()
        .unwrap();
    TcpListener::bind(("127.0.0.1", port)).unwrap();
}

#[test]
fn a14_a_failed_init_undoes_what_was_done() {
    let setup = Setup::new();
    setup.entries(STREAM, &three(&setup, |entry| entry));
    let mut host = setup.start();
    // No end of input: what ends this host is the failure alone.
    let exit = host.assert_exit(4);
    port_is_free(&setup);
    // A second, ten times.
    assert!(exit.after < Duration::from_secs(10), "{exit:?}");
    assert_eq!(
        drivers(&setup),
        [
            "a init",
            "b init",
            "c init",
            "c init error",
            "b shutdown",
            "a shutdown"
        ]
    );
    let text = setup.trace().text();
    assert!(
        !text.contains(" executor ") && !text.contains(" processor "),
        "{text}"
    );
    let errors: Vec<_> = host
        .logs()
        .into_iter()
        .filter(|line| line.level() == "ERROR")
        .collect();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    let sentence = errors[0].sentence();
    assert!(
        sentence.contains("`c`") && sentence.contains("no card in the slot"),
        "{sentence}"
    );
}

#[test]
fn a15_a_rollback_that_fails_goes_on() {
    let setup = Setup::new();
    let [a, b, c] = three(&setup, |entry| entry);
    let b = b.act(r#"hook = "driver-shutdown", crime = "fail", text = "the lid is stuck""#);
    setup.entries(STREAM, &[a, b, c]);
    let run = setup.run();
    run.assert_code(4);
    port_is_free(&setup);
    assert_eq!(
        drivers(&setup),
        [
            "a init",
            "b init",
            "c init",
            "c init error",
            "b shutdown",
            "b shutdown error",
            "a shutdown"
        ]
    );
    let errors: Vec<String> = run
        .logs()
        .iter()
        .filter(|line| line.level() == "ERROR")
        .map(|line| line.sentence().to_owned())
        .collect();
    assert_eq!(errors.len(), 2, "{errors:#?}");
    assert!(
        errors[0].contains("`c`") && errors[0].contains("no card in the slot"),
        "{errors:#?}"
    );
    assert!(
        errors[1].contains("`b`") && errors[1].contains("the lid is stuck"),
        "{errors:#?}"
    );
}

#[test]
fn a16_an_optional_plugin_that_fails_is_done_without() {
    let setup = Setup::new();
    let a = setup
        .misbehave("a")
        .act(r#"hook = "executor-init", crime = "send", to = "c", text = "oneway""#)
        .act(r#"hook = "executor-init", crime = "ask", to = "c", text = "ask", ms = 5000"#);
    let c = setup
        .misbehave("c")
        .key("required = false")
        .act(r#"hook = "driver-init", crime = "gauge", name = "size", value = 1.0"#)
        .act(r#"hook = "driver-init", crime = "fail", text = "no card in the slot""#);
    setup.entries(STREAM, &[a, setup.misbehave("b"), c]);
    let mut host = setup.start();
    host.wait_ready();
    let c = instance(&host, "c");
    assert_eq!(c["state"], "failed", "{c:#}");
    assert!(
        c["reason"]
            .as_str()
            .unwrap()
            .contains("no card in the slot"),
        "{c:#}"
    );
    for name in ["a", "b"] {
        assert_eq!(instance(&host, name)["state"], "ready");
    }
    let metrics = host.admin("/metrics").text();
    host.send_line("through");
    host.wait_stdout(b"through\n");
    host.close_input();
    host.assert_exit(0);

    let calls = drivers(&setup);
    let of_c: Vec<&String> = calls.iter().filter(|call| call.starts_with("c ")).collect();
    assert_eq!(of_c, ["c init", "c init error"]);
    let text = setup.trace().text();
    assert!(
        !text.contains("c executor") && !text.contains("c processor"),
        "{text}"
    );
    // The senders are told, each at once.
    let lines = setup.trace().lines();
    for what in ["send", "ask"] {
        let told: Vec<_> = lines
            .iter()
            .filter(|line| line.rest.starts_with(what))
            .collect();
        assert_eq!(told.len(), 1, "{lines:#?}");
        assert!(!told[0].rest.contains(" ok "), "{told:?}");
        // At once, not when a deadline has passed.
        assert!(!told[0].rest.contains("Timeout"), "{told:?}");
    }
    // What it registered before it failed is gone with it.
    assert_eq!(c["metrics"], serde_json::json!([]), "{c:#}");
    let of_c = |line: &&str| line.starts_with("hotshoe_plugin_") && line.contains("plugin=\"c\"");
    assert_eq!(metrics.lines().find(of_c), None);
}

#[test]
fn a16_the_third_attempt_may_work() {
    let setup = Setup::new();
    let c = setup
        .misbehave("c")
        .key("init_attempts = 3")
        .set("ends = true\nstamps = true")
        .act(r#"hook = "driver-init", crime = "fail", text = "not yet", times = 2"#);
    setup.entries(STREAM, &[setup.misbehave("a"), c]);
    let run = setup.run();
    run.assert_code(0);
    let calls = drivers(&setup);
    let inits: Vec<&String> = calls
        .iter()
        .filter(|call| call.starts_with("c init"))
        .collect();
    assert_eq!(
        inits,
        [
            "c init",
            "c init error",
            "c init",
            "c init error",
            "c init",
            "c init ok"
        ]
    );
    assert_eq!(setup.trace().count("a", "driver", "init"), 1);
    // Between attempts there is a pause, and it grows.
    let begun: Vec<u64> = setup
        .trace()
        .lines()
        .iter()
        .filter(|line| line.is("c", "driver", "init"))
        .map(|line| line.ms.unwrap())
        .collect();
    assert!(
        begun[1] - begun[0] >= 100 && begun[2] - begun[1] >= 200,
        "{begun:?}"
    );
}

#[test]
fn a16_three_attempts_that_fail_end_the_start() {
    let setup = Setup::new();
    let c = setup
        .misbehave("c")
        .key("init_attempts = 3")
        .act(r#"hook = "driver-init", crime = "fail", text = "never""#);
    setup.entries(STREAM, &[setup.misbehave("a"), c]);
    let run = setup.run();
    run.assert_code(4);
    assert!(run.error().contains("`c`"), "{run:#?}");
    assert_eq!(
        drivers(&setup),
        [
            "a init",
            "c init",
            "c init error",
            "c init",
            "c init error",
            "c init",
            "c init error",
            "a shutdown"
        ]
    );
}
