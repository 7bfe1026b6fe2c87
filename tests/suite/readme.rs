//! What the README says is what happens: every command in it is run, and what it shows is compared with what comes.
//!
//! `sh` blocks are commands, run by a shell in a folder that looks like the clone; `text` blocks are what they print, and
//! `text typed` blocks are lines typed into the demo, each with its answer below. A `…` stands for anything within a line, a
//! line of it alone for any lines. The debug binary stands in for the release one.

use hotshoe_tests::{
    DefaultPort, Setup, TestHost, artifacts,
    artifacts::{Profile, workspace_root},
};
use rustix::process::Signal;
use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};
use toml::Table;

/// Run by this test's surroundings: it is a part of it.
const THE_TESTS: &str = "cargo test";
const BUILD: &str = "cargo build --release && ";
const BUILD_STRANGER: &str =
    "cargo build --release --manifest-path examples/third-party/Cargo.toml";
const STRANGER: &str = "examples/third-party/target/release/libshout.so";

/// A fenced block.
#[derive(Debug)]
struct Block {
    /// What stands behind the fence: `sh`, `text`, `text typed`, `toml`.
    kind: String,
    text: String,
}

fn blocks(markdown: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else {
            continue;
        };
        let inside = lines.by_ref().take_while(|line| *line != "```");
        let text = inside.map(|line| format!("{line}\n")).collect();
        found.push(Block {
            kind: kind.to_owned(),
            text,
        });
    }
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(workspace_root().join(path)).unwrap()
}

/// Whether `text` is what `shown` says it is.
fn fits(shown: &str, text: &str) -> bool {
    lines_fit(
        &shown.lines().collect::<Vec<_>>(),
        &text.lines().collect::<Vec<_>>(),
    )
}

fn lines_fit(shown: &[&str], text: &[&str]) -> bool {
    match (shown.split_first(), text.split_first()) {
        (Some((&"…", rest)), _) => {
            (0..=text.len()).any(|skipped| lines_fit(rest, &text[skipped..]))
        }
        (Some((shown, more)), Some((line, rest))) => {
            line_fits(shown, line) && lines_fit(more, rest)
        }
        (None, None) => true,
        _ => false,
    }
}

fn line_fits(shown: &str, line: &str) -> bool {
    let Some((head, tail)) = shown.split_once('…') else {
        return shown == line;
    };
    let Some(rest) = line.strip_prefix(head) else {
        return false;
    };
    let ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
    ends.into_iter().any(|at| line_fits(tail, &rest[at..]))
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

/// The tour, step by step.
struct Tour<'a> {
    setup: &'a Setup,
    /// The demo, once it runs, and everything that it has printed.
    demo: Option<(TestHost<'a>, String)>,
    commands: Vec<String>,
}

impl<'a> Tour<'a> {
    fn take(&mut self, block: &Block, shown: Option<&str>) {
        match block.kind.as_str() {
            "sh" => self.run(&block.text, shown),
            "text typed" => self.type_lines(&block.text),
            "toml" => assert_eq!(block.text, authors_snippet()),
            _ => {}
        }
    }

    /// Runs a block's commands; what they print altogether is what is shown.
    fn run(&mut self, script: &str, shown: Option<&str>) {
        let mut printed = String::new();
        for command in script.lines() {
            self.commands.push(command.to_owned());
            match command.strip_prefix(BUILD) {
                Some(rest) => self.start_demo(rest),
                None if command == THE_TESTS => {}
                None if command == BUILD_STRANGER => build_stranger(self.setup),
                None => printed.push_str(&self.shell(command)),
            }
        }
        let Some(shown) = shown else { return };
        assert!(
            fits(shown, &printed),
            "the README shows, behind\n{script}\n{shown}\nand what is printed is\n{printed}"
        );
    }

    fn start_demo(&mut self, command: &str) {
        let mut shell = Command::new("sh");
        // Ctrl-C reaches the host itself.
        shell.arg("-c").arg(format!("exec {command}"));
        let host = self.setup.start_command(shell);
        host.wait_log("the ready line", |line| {
            line.text().contains(" ready instances=2 ")
        });
        self.demo = Some((host, String::new()));
    }

    /// Lines to type, each with the line that answers it.
    fn type_lines(&mut self, session: &str) {
        let (host, printed) = self
            .demo
            .as_mut()
            .expect("the demo runs before anything is typed");
        let lines: Vec<&str> = session.lines().collect();
        for pair in lines.chunks(2) {
            host.send_line(pair[0]);
            printed.push_str(pair[1]);
            printed.push('\n');
            host.wait_stdout(printed.as_bytes());
        }
    }

    /// Runs one command to its end. Only one whose output has an error in it may fail.
    fn shell(&self, command: &str) -> String {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("({command}) 2>&1"));
        self.setup.place(&mut shell);
        let output = shell.stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let has_error = text.contains("error[");
        assert_eq!(output.status.success(), !has_error, "{command}: {text}");
        text
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
    let mut tour = Tour {
        setup: &setup,
        demo: None,
        commands: Vec::new(),
    };
    let blocks = blocks(&read("README.md"));
    for (place, block) in blocks.iter().enumerate() {
        let next = blocks.get(place + 1).filter(|next| next.kind == "text");
        tour.take(block, next.map(|next| next.text.as_str()));
    }
    // The issue's two, word for word.
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
    let (mut host, printed) = tour.demo.unwrap();
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

/// No link of the documents leads nowhere.
#[test]
fn every_relative_link_leads_somewhere() {
    for document in [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "STYLE.md",
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

#[test]
fn what_is_shown_fits_what_is_printed_or_not() {
    let check = |shown: &str, text: &str, expected: bool| {
        assert_eq!(fits(shown, text), expected, "{shown:?} {text:?}");
    };
    check("a\nb", "a\nb", true);
    check("a", "a\nb", false);
    check("a\nb", "a", false);
    check("pid …, up … s", "pid 12, up 3 s", true);
    check("pid …, up … s", "pid 12, down 3 s", false);
    check("…\nb\n…", "b", true);
    check("…\nb\n…", "a\na\nb\nc", true);
    check("…\nb\n…", "a\nc", false);
    let found = blocks("x\n```sh\na\nb\n```\n\n```text typed\nc\n```\n");
    assert_eq!(found.len(), 2);
    assert_eq!(
        (found[0].kind.as_str(), found[0].text.as_str()),
        ("sh", "a\nb\n")
    );
    assert_eq!(found[1].kind, "text typed");
}
