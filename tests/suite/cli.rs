//! What an operator reads from the command line: help, version, schema, tables.

use hotshoe_tests::{Setup, artifacts, assert_snapshot};
use serde_json::Value;
use std::fs;

/// `name` is the snapshot's; `-` stands between the words of a command.
#[track_caller]
fn prints(name: &str, arguments: &[&str]) {
    let finished = Setup::new().hotshoe(arguments);
    finished.assert_code(0);
    assert_eq!(finished.stderr, "");
    assert_snapshot(name, &finished.stdout);
}

/// The demo's own file, in whatever folder this was cloned into.
fn quickstart() -> String {
    let file = artifacts::workspace_root().join("examples/quickstart/hotshoe.toml");
    file.display().to_string()
}

/// The commands that the help of `arguments` lists.
fn commands(arguments: &[&str]) -> Vec<String> {
    let help = Setup::new().hotshoe(arguments).stdout;
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let commands = commands.lines().take_while(|line| !line.is_empty());
    // A long description goes on in lines that are indented further.
    let mut names: Vec<String> = commands
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect();
    assert_eq!(names.pop().as_deref(), Some("help"));
    names
}

/// Every command that the help lists, with its own help: a new one has no snapshot yet, and fails.
#[test]
fn help_is_as_it_was_reviewed() {
    prints("help", &["--help"]);
    prints("help-short", &["-h"]);
    let names = commands(&["-h"]);
    assert!(names.len() >= 7, "{names:?}");
    for command in &names {
        prints(&format!("help-{command}"), &[command, "--help"]);
    }
    let names = commands(&["config", "-h"]);
    assert_eq!(names.len(), 9, "{names:?}");
    for command in &names {
        let name = format!("help-config-{command}");
        prints(&name, &["config", command, "--help"]);
    }
}

/// The version names the ABI whose plugins this host loads.
#[test]
fn version_is_as_it_was_reviewed() {
    prints("version", &["--version"]);
}

/// A wrong word is answered with the nearest right one, on stderr, and exit code 2.
#[test]
fn a_mistyped_command_is_exit_code_2() {
    for arguments in [&["rnu"][..], &["run", "--fast"], &[]] {
        let finished = Setup::new().hotshoe(arguments);
        finished.assert_code(2);
        assert_eq!(finished.stdout, "", "{arguments:?}");
        assert!(finished.stderr.contains("Usage: hotshoe"), "{finished:#?}");
    }
    let finished = Setup::new().hotshoe(&["chekc"]);
    assert!(finished.stderr.contains("'check'"), "{finished:#?}");
}

/// What is in the schema is what the file may say: the demo fits, a mistake does not.
#[test]
fn the_schema_fits_the_demo_and_refuses_a_mistake() {
    let finished = Setup::new().hotshoe(&["schema"]);
    finished.assert_code(0);
    let schema: Value = serde_json::from_str(&finished.stdout).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let text = fs::read_to_string(quickstart()).unwrap();
    let check = |text: &str, fits: bool| {
        let table: toml::Table = text.parse().unwrap();
        let document = serde_json::to_value(table).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(&document)
            .map(|error| error.to_string())
            .collect();
        assert_eq!(errors.is_empty(), fits, "{errors:?} in {text}");
    };
    check(&text, true);
    let mistakes = [
        ("processors =", "procesors ="),
        ("name = \"append\"", "name = 7"),
        ("source = \"stdin\"", "source = \"stdin:\""),
        ("library = \"hotshoe_quickstart\"", ""),
    ];
    for (right, wrong) in mistakes {
        assert!(text.contains(right), "{right}");
        check(&text.replacen(right, wrong, 1), false);
    }
}

/// Each entry with its parts, its library and the place that it comes from; nothing was started for it.
#[test]
fn check_prints_the_merged_demo() {
    let setup = Setup::new();
    let finished = setup.hotshoe(&["check", &quickstart()]);
    finished.assert_code(0);
    assert_eq!(finished.stderr, "");
    let row = |name: &str, parts: &str, package: &str, place: &str| {
        let library = artifacts::library(package).display();
        format!(
            "{name:14}  {parts}  {library}  ({}:{place})\n",
            quickstart()
        )
    };
    let text = fs::read_to_string(quickstart()).unwrap();
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| *line == "[[plugin]]");
    let places: Vec<String> = lines.map(|(index, _)| format!("{}:1", index + 1)).collect();
    let expected = row(
        "dynamic-config",
        "driver",
        "hotshoe-dynamic-config",
        &places[0],
    ) + &row("append", "processor", "hotshoe-quickstart", &places[1]);
    assert_eq!(finished.stdout, expected);
    assert!(!setup.run_dir().exists());

    let finished = setup.hotshoe(&["check", "--json", &quickstart()]);
    finished.assert_code(0);
    let answer: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(answer["ok"], true);
    assert_eq!(answer["problems"], Value::Array(Vec::new()));
    assert_eq!(
        answer["merged"]["plugins"][1]["settings"]["topic"],
        "dynamic-config"
    );
}

/// One table for people, the whole answer for programs; who it is about may be said or left out.
#[test]
fn status_shows_the_running_host() {
    let setup = Setup::with(&demo("127.0.0.1:0"));
    let mut host = setup.start();
    host.wait_ready();
    host.send_line("hello world");
    host.wait_stdout(b"hello world10\n");
    let finished = setup.hotshoe(&["status"]);
    finished.assert_code(0);
    assert_snapshot("status", &without_chance(&finished.stdout, &setup));
    assert_eq!(setup.hotshoe(&["status", "--host", "demo"]).code, Some(0));

    let finished = setup.hotshoe(&["status", "--json"]);
    let answer: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(answer["pid"], host.pid());
    assert_eq!(answer["stream"]["records_out"], 1);
    host.stop();
}

/// Nobody there, and somebody else there: each says what is there.
#[test]
fn status_without_a_host_says_so() {
    let setup = Setup::with(&demo("127.0.0.1:0"));
    let finished = setup.hotshoe(&["status"]);
    finished.assert_code(2);
    assert_eq!(
        (finished.error_code(), finished.stdout.as_str()),
        ("no-host".to_owned(), "")
    );
    let mut host = setup.start();
    host.wait_ready();
    let finished = setup.hotshoe(&["status", "--host", "other"]);
    finished.assert_code(2);
    assert_eq!(finished.error_code(), "no-such-host");
    assert!(finished.stderr.contains("demo"), "{finished:#?}");
    host.stop();
}

/// The demo's file with another address and whole paths.
fn demo(listen: &str) -> String {
    let mut config: toml::Table = fs::read_to_string(quickstart()).unwrap().parse().unwrap();
    let plugins = config["plugin"].as_array_mut().unwrap();
    let library = |package| artifacts::library(package).display().to_string();
    plugins[0]["library"] = library("hotshoe-dynamic-config").into();
    let settings = plugins[0]["settings"].as_table_mut().unwrap();
    settings.insert("listen".to_owned(), vec![listen].into());
    plugins[1]["library"] = library("hotshoe-quickstart").into();
    config.to_string()
}

/// The text with what differs from run to run written as `<word>`.
fn without_chance(text: &str, setup: &Setup) -> String {
    let mut text = text.to_owned();
    for address in setup.addresses("dynamic-config") {
        text = text.replace(&address, "<address>");
    }
    let chances = [
        ("(pid ", ",", "<pid>"),
        ("up ", " s)", "<n>"),
        ("since ", "  ", "<time>"),
    ];
    for (before, after, word) in chances {
        let mut rest = std::mem::take(&mut text);
        while let Some((head, tail)) = rest.split_once(before) {
            let end = tail.find(after).unwrap();
            text.push_str(head);
            text.push_str(before);
            text.push_str(word);
            rest = tail[end..].to_owned();
        }
        text.push_str(&rest);
    }
    text
}
