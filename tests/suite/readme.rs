//! What the README says is what happens: every command in it is run, and what it shows is compared with what comes.
//!
//! The commands run in a folder that looks like the clone, as `hotshoe_tests::tour` says. The debug binary stands in for the
//! release one.

use hotshoe_tests::{
    DefaultPort, Setup, artifacts,
    artifacts::{Profile, workspace_root},
    tour::{Block, Step, Tour, blocks},
};
use rustix::process::Signal;
use std::{fs, os::unix::fs::symlink, path::Path};
use toml::Table;

/// Run by this test's surroundings: it is a part of it.
const THE_TESTS: &str = "cargo test";
const BUILD: &str = "cargo build --release && ";
const BUILD_STRANGER: &str =
    "cargo build --release --manifest-path examples/third-party/Cargo.toml";
const STRANGER: &str = "examples/third-party/target/release/libshout.so";

fn read(path: &str) -> String {
    fs::read_to_string(workspace_root().join(path)).unwrap()
}

/// A folder that looks like the clone after the README's first command.
fn clone(setup: &Setup) {
    let built = setup.folder().join("target/release");
    fs::create_dir_all(&built).unwrap();
    symlink(artifacts::hotshoe(), built.join("hotshoe")).unwrap();
    symlink(
        artifacts::executable("hotshoe-embedding"),
        built.join("hotshoe-embedding"),
    )
    .unwrap();
    // Its output is no terminal here; on one it shows no progress.
    fs::write(setup.scratch(".curlrc"), "silent\n").unwrap();
    for file in ["quickstart/hotshoe.toml", "third-party/hotshoe.toml"] {
        let file = format!("examples/{file}");
        setup.file(&file, read(&file).as_bytes());
    }
}

fn build_stranger(setup: &Setup) {
    let manifest = workspace_root().join("examples/third-party/Cargo.toml");
    let library = artifacts::stranger(&manifest, "shout", Profile::Release);
    let place = setup.folder().join(STRANGER);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::copy(library, place).unwrap();
}

#[test]
fn every_command_of_the_readme_does_what_it_shows() {
    let _turn = DefaultPort::take();
    let setup = Setup::new();
    clone(&setup);
    let mut tour = Tour::new(&setup);
    tour.walk(
        &read("README.md"),
        |command, _| match command.strip_prefix(BUILD) {
            Some(rest) => Step::Start(rest.to_owned(), Some(" ready instances=2 ")),
            None if command == THE_TESTS => Step::Done,
            None if command == BUILD_STRANGER => {
                build_stranger(&setup);
                Step::Done
            }
            None => Step::Run,
        },
        |block| {
            if block.kind == "toml" {
                assert_eq!(block.text, authors_snippet());
            }
        },
    );
    // The two, word for word.
    assert_eq!(
        tour.commands[..2],
        [
            "cargo build --release && ./target/release/hotshoe run examples/quickstart/hotshoe.toml",
            "cargo test",
        ]
    );
    for command in [
        "curl http://localhost:9999",
        "hotshoe status",
        "hotshoe check",
        "hotshoe inspect",
    ] {
        let shown = tour.commands.iter().any(|line| line.contains(command));
        assert!(shown, "`{command}` is in no block");
    }
    let (mut host, printed) = tour.started.pop().unwrap();
    host.signal(Signal::INT);
    host.assert_exit(0);
    assert_eq!(String::from_utf8(host.stdout()).unwrap(), printed);
}

/// The `Cargo.toml` that the author's guide shows.
fn authors_snippet() -> String {
    let guide = read("plugin-api/src/lib.rs");
    let lines = guide.lines().filter_map(|line| line.strip_prefix("//!"));
    let lines: Vec<&str> = lines
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    let blocks = blocks(&lines.join("\n"));
    let is_snippet = |block: &&Block| block.kind == "toml" && block.text.contains("[dependencies]");
    blocks
        .iter()
        .find(is_snippet)
        .expect("the guide shows a Cargo.toml")
        .text
        .clone()
}

/// A stranger who copies the guide's lines has what the third-party example has; cargo holds the version to the crate's own
/// where that is built.
#[test]
fn the_guides_cargo_toml_is_the_strangers() {
    let guide: Table = authors_snippet().parse().unwrap();
    let mut stranger: Table = read("examples/third-party/Cargo.toml").parse().unwrap();
    let api = stranger["dependencies"]["hotshoe-plugin-api"]
        .as_table_mut()
        .unwrap();
    assert!(api.remove("path").is_some());
    let version = api.remove("version").unwrap();
    assert!(api.is_empty(), "{api}");
    stranger["dependencies"]["hotshoe-plugin-api"] = version;
    assert_eq!(guide.keys().collect::<Vec<_>>(), ["dependencies", "lib"]);
    for table in ["lib", "dependencies"] {
        assert_eq!(guide[table], stranger[table], "[{table}]");
    }
}

/// An invariant without its guard is a wish (STYLE R28).
#[test]
fn every_guard_that_the_architecture_names_is_there() {
    let text = read("ARCHITECTURE.md");
    let invariants = text.lines().filter(|line| line.starts_with("- **")).count();
    let mut guards = 0;
    for named in text.split("(guarded by").skip(1) {
        let (named, _) = named.split_once(')').expect("a closed bracket");
        for guard in named.split('`').skip(1).step_by(2) {
            let (file, test) = guard.split_once("::").unwrap_or((guard, ""));
            let source = fs::read_to_string(workspace_root().join(file));
            let source = source.unwrap_or_else(|error| panic!("{file}: {error}"));
            let there = test.is_empty() || source.contains(&format!("fn {test}("));
            assert!(there, "{file} has no test `{test}`");
        }
        guards += 1;
    }
    assert!(
        guards >= 10,
        "only {guards} guards of {invariants} invariants were found"
    );
}

/// What `docs/isolation.md` shows: its entry is accepted, its `restart` is the default, its code is the example's.
#[test]
fn the_guide_of_isolation_shows_what_is_there() {
    let shown = blocks(&read("docs/isolation.md"));
    let of_kind = |kind: &str| -> Vec<&Block> {
        let of_kind = shown.iter().filter(|block| block.kind.starts_with(kind));
        of_kind.collect()
    };
    let [entry, restart] = of_kind("toml")[..] else {
        panic!("an entry and its restart, and {shown:#?}");
    };
    let setup = Setup::new();
    let text = format!(
        "{}{}settings = {{ topic = \"demo\" }}\n",
        entry.text, restart.text
    );
    // A bare name is looked for beside the executable.
    let _library = artifacts::library("hotshoe-quickstart");
    setup.config(&text);
    setup.check().assert_code(0);

    let schema = setup.hotshoe(&["schema"]).stdout;
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    let default = &schema["$defs"]["PluginTable"]["properties"]["restart"]["default"];
    let restart: Table = restart.text.parse().unwrap();
    assert_eq!(serde_json::to_value(&restart["restart"]).unwrap(), *default);

    let [code] = of_kind("rust")[..] else {
        panic!("one piece of code, and {shown:#?}");
    };
    let (_, path) = code.kind.split_once(' ').expect("whose code it is");
    assert!(read(path).contains(&code.text), "{path} does not hold it");
}

/// No link of the documents leads nowhere.
#[test]
fn every_relative_link_leads_somewhere() {
    for document in [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "STYLE.md",
        "docs/containment.md",
        "docs/isolation.md",
        "docs/live-config.md",
        "docs/provenance.md",
        "docs/refusals.md",
        "docs/sandbox.md",
        "fuzz/README.md",
        "examples/third-party/README.md",
    ] {
        let text = read(document);
        let folder = workspace_root().join(document);
        let folder = folder.parent().unwrap_or(Path::new("."));
        for link in text.split("](").skip(1) {
            let (target, _) = link.split_once(')').expect("a closed link");
            let leads =
                target.contains("://") || target.starts_with('#') || folder.join(target).exists();
            assert!(leads, "{document} links to {target}");
        }
    }
}
