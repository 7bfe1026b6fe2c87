//! What `docs/live-config.md` says is what happens: its commands are run, its files are the ones they run with, its code is
//! code that is compiled, and its table of errors is the server's.

use hotshoe_tests::{
    DefaultPort, Setup, TestHost, artifacts,
    artifacts::workspace_root,
    tour::{Block, Step, Tour},
};
use rustix::process::Signal;
use std::{collections::BTreeSet, env, fs, os::unix::fs::symlink, path::Path};

const GUIDE: &str = "docs/live-config.md";

fn read(path: &str) -> String {
    fs::read_to_string(workspace_root().join(path)).unwrap()
}

/// `hotshoe` on the search path, as an operator has it.
fn install(setup: &mut Setup) {
    let bin = setup.scratch("bin");
    fs::create_dir(&bin).unwrap();
    symlink(artifacts::hotshoe(), bin.join("hotshoe")).unwrap();
    // A bare name is looked for beside the executable that the link leads to.
    let _library = artifacts::library("hotshoe-dynamic-config");
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([bin].into_iter().chain(env::split_paths(&path))).unwrap();
    setup.variable("PATH", path);
    // Its output is no terminal here; on one it shows no progress.
    fs::write(setup.scratch(".curlrc"), "silent\n").unwrap();
}

/// A block that is no command: a file to write, or code that stands elsewhere.
fn take(setup: &Setup, block: &Block) {
    match block.kind.split_once(' ') {
        Some(("rust", path)) => {
            let shown = unindented(&block.text);
            let source = unindented(&read(path));
            assert!(source.contains(&shown), "{path} does not hold\n{shown}");
        }
        Some((_, name)) => {
            setup.file(name, block.text.as_bytes());
        }
        None => panic!("what is a block of `{}`?", block.kind),
    }
}

/// Code without what stands before it in a line: blanks, or the marks of a doc comment.
fn unindented(code: &str) -> String {
    let plain = code.lines().map(|line| {
        let line = line.trim_start();
        line.strip_prefix("///").unwrap_or(line).trim_start()
    });
    plain.map(|line| format!("{line}\n")).collect()
}

/// Ctrl-C for the host, as the guide says; whoever watches it ends with it.
fn stop(started: &mut Vec<(TestHost<'_>, String)>) {
    for (index, (mut started, printed)) in started.drain(..).enumerate() {
        if index == 0 {
            started.signal(Signal::INT);
        }
        started.assert_exit(0);
        let stdout = String::from_utf8(started.stdout()).unwrap();
        let rest = stdout.strip_prefix(&printed).unwrap();
        let goodbye = ["", "the host says goodbye: stopping\n"];
        assert_eq!(rest, goodbye[index]);
    }
}

#[test]
fn every_command_of_the_guide_does_what_it_shows() {
    let _turn = DefaultPort::take();
    let mut setup = Setup::new();
    install(&mut setup);
    let mut tour = Tour::new(&setup);
    tour.walk(
        &read(GUIDE),
        |command, tour| {
            if command.starts_with("hotshoe config watch") {
                return Step::Start(command.to_owned(), None);
            }
            if !command.starts_with("hotshoe run ") {
                return Step::Run;
            }
            stop(&mut tour.started);
            Step::Start(command.to_owned(), Some(" ready instances=1 "))
        },
        |block| take(&setup, block),
    );
    for word in [
        "get",
        "set",
        "patch",
        "history",
        "rollback",
        "confirm",
        "diff",
        "watch",
        "--dry-run",
        "--if-match",
        "--token-file",
        "curl",
    ] {
        let shown = tour.commands.iter().any(|line| line.contains(word));
        assert!(shown, "`{word}` is in no block");
    }
    assert_eq!(tour.started.len(), 1);
    stop(&mut tour.started);
}

/// The rows of the table with that head, without the mark that opens each.
fn rows<'a>(guide: &'a str, head: &str) -> impl Iterator<Item = &'a str> {
    let (_, table) = guide.split_once(head).unwrap();
    let lines = table.lines().skip(2);
    lines.map_while(|line| line.strip_prefix("| `"))
}

/// Every Rust file below a folder, tests apart.
fn sources(folder: &Path, texts: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_test = path.file_stem().is_some_and(|name| name == "tests");
        if path.is_dir() && !is_test {
            sources(&path, texts);
        } else if path.extension().is_some_and(|end| end == "rs") && !is_test {
            texts.push(fs::read_to_string(&path).unwrap());
        }
    }
}

/// Each code that plugin or store say at start or stop, and none that they do not say.
#[test]
fn every_code_of_a_start_has_its_row() {
    let mut texts = Vec::new();
    for folder in [
        "plugins/dynamic-config/src",
        "host/src/services/config",
        "host/src/machine/store",
    ] {
        sources(&workspace_root().join(folder), &mut texts);
    }
    let mut said = BTreeSet::new();
    for text in &texts {
        for quoted in text.split("\"config-").skip(1) {
            let (code, _) = quoted.split_once('"').unwrap();
            let is_code = |c: char| c.is_ascii_lowercase() || c == '-';
            if code.chars().all(is_code) && !code.ends_with('-') {
                said.insert(format!("config-{code}"));
            }
        }
    }
    let guide = read(GUIDE);
    let told: BTreeSet<String> = rows(&guide, "| Code | What to do |")
        .map(|row| row.split('`').next().unwrap().to_owned())
        .collect();
    assert_eq!(told, said);
}

/// Each slug of the server's one table, with its status.
pub(crate) fn slugs() -> Vec<(String, String)> {
    let table = read("plugins/dynamic-config/src/error.rs");
    let (_, slugs) = table.split_once("\nslugs! {\n").unwrap();
    let (slugs, _) = slugs.split_once("\n}").unwrap();
    let rows = slugs.lines().map(|row| {
        let words: Vec<&str> = row.split_whitespace().collect();
        let slug = words[3].trim_matches([',', '"']);
        (slug.to_owned(), words[2].to_owned())
    });
    let rows: Vec<_> = rows.collect();
    assert!(rows.len() >= 49, "{rows:?}");
    rows
}

/// Each slug of the server's one table with its status, and nothing that no server says.
#[test]
fn every_error_has_its_row() {
    let mut served = slugs();
    let guide = read(GUIDE);
    let mut told: Vec<(String, String)> = rows(&guide, "| Error | Status |")
        .map(|row| {
            let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").collect();
            assert_eq!(cells.len(), 3, "{row}");
            assert!(cells[2].ends_with('.'), "a sentence of what to do: {row}");
            (
                cells[0].trim_end_matches('`').to_owned(),
                cells[1].to_owned(),
            )
        })
        .collect();
    served.sort();
    told.sort();
    assert_eq!(told, served);
}
