//! Plugins of ABI 1.0 that were compiled long ago run in today's host: see tests/corpus/README.md.

use hotshoe_tests::{
    Entry, Setup,
    artifacts::{patched, workspace_root},
};
use serde_json::Value;
use std::{fs, path::PathBuf};

pub(super) fn library() -> PathBuf {
    workspace_root().join("tests/corpus/abi-1.0/libeverything.so")
}

/// Every part of it, and most services of the host: a topic that is declared, changed, refused by a checker and read while it
/// changes, an endpoint, a metric, a host option, an extra conf, messages, logs and task hooks.
#[test]
#[cfg_attr(
    not(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")),
    ignore = "the corpus is for Linux on x86-64"
)]
fn a_frozen_plugin_does_all_it_ever_did() {
    let setup = Setup::new();
    let owner = Entry::of("owner", &library())
        .set("initial = 10")
        .set("then = [13, 20]");
    let reader = Entry::of("reader", &library())
        .key("after = [\"owner\"]")
        .key("checks = [\"owner\"]")
        .set("topic = \"owner\"")
        .set("never = 13");
    setup.entries("[stream]\nprocessors = [\"reader\"]", &[owner, reader]);
    let mut host = setup.start();
    assert_eq!(host.wait_ready().text_of("executors"), "1");
    let status = host.status().to_string();
    assert!(status.contains("http://127.0.0.1:1/corpus"), "{status}");
    host.wait_log("the extra conf", |line| {
        line.is_of("owner") && line.message() == r#"executor init with {"colour": "red"}"#
    });
    host.wait_log("a processor's extra conf", |line| {
        line.is_of("reader")
            && line.message() == r#"processor init with {"colour": "grey"}, all of 1.0: true"#
    });
    host.send_line("one");
    host.wait_message("owner", "task 1 starts with 1 records");
    host.wait_log("the veto", |line| {
        line.message().starts_with("answered: 13 is refused: ")
            && line
                .message()
                .contains("owner stays at 10, for 13 is barred")
    });
    host.send_line("two");
    host.wait_message("owner", "answered: 20 is generation 2");
    host.send_line("three");
    host.wait_stdout(b"one 10\ntwo 10\nthree 20\n");
    let asked = host.admin("/metrics").text();
    assert!(asked.contains("corpus_asked"), "{asked}");
    host.close_input();
    host.assert_exit(0);
    assert_eq!(host.stdout(), b"one 10\ntwo 10\nthree 20\n3 stamped\n");
    host.wait_message("owner", "executor shutdown");
    host.wait_message("owner", "driver shutdown after 2 at 2");
}

/// Whatever was built on a machine says nothing about it.
#[test]
fn a_frozen_plugin_holds_no_path_of_a_machine() {
    let bytes = fs::read(library()).unwrap();
    assert!(
        bytes.len() < 900 * 1024,
        "the corpus stays small: {} bytes",
        bytes.len()
    );
    let homes = [
        ["/wor", "k/"],
        ["/hom", "e/"],
        ["/roo", "t/"],
        ["/User", "s/"],
        ["/tm", "p/"],
    ];
    for home in homes.map(|halves| halves.concat()) {
        let found = bytes
            .windows(home.len())
            .position(|window| window == home.as_bytes());
        // A path of the library's own machine follows a quote, a zero or another string, never a name.
        assert_eq!(found, None, "{home}");
    }
}

/// A library whose types are described otherwise: one line of it names type and member, `--verbose` prints the comparison.
#[test]
#[cfg_attr(
    not(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")),
    ignore = "the corpus is for Linux on x86-64"
)]
fn another_layout_is_refused_in_one_line_or_with_the_whole_story() {
    let setup = Setup::new();
    let altered = patched(
        &library(),
        &setup.folder(),
        "register_metrics",
        "register_metricz",
    );
    setup.entries("", &[Entry::of("other", &altered).set("initial = 1")]);
    let short = setup.check();
    short.assert_code(3);
    assert_eq!(short.error_code(), "layout-mismatch");
    let wanted = "Driver (in Instance.driver): field register_metricz instead of register_metrics";
    assert_eq!(short.error().lines().count(), 1);
    assert!(short.error().contains(wanted), "{}", short.error());
    assert!(short.stderr.lines().count() < 5, "{}", short.stderr);

    let config = setup.config_path().display().to_string();
    let long = setup.hotshoe(&["check", &config, "--verbose"]);
    long.assert_code(3);
    assert!(long.error().contains(wanted));
    assert!(long.stderr.lines().count() > 100, "{}", long.stderr);
    assert!(long.stderr.contains("as the library sees it:"));

    let long = setup.hotshoe(&["check", &config, "--verbose", "--json"]);
    let answer: Value = serde_json::from_str(&long.stdout).unwrap();
    assert_eq!(
        answer["problems"][0]["code"], "layout-mismatch",
        "{answer:#}"
    );
    let detail = answer["problems"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("as the library sees it:"), "{detail}");
    let (_, answer) = setup.check_json();
    assert_eq!(answer["problems"][0]["detail"], Value::Null);

    let file = altered.display().to_string();
    let inspected = setup.hotshoe(&["inspect", "--schema", "--verbose", &file]);
    inspected.assert_code(3);
    assert!(
        inspected.stderr.contains("as the library sees it:"),
        "{}",
        inspected.stderr
    );
}
