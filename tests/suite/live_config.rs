//! What `docs/live-config.md` says is what happens: its commands are run, its files are the ones they run with, its code is
//! code that is compiled, and its table of errors is the server's.

use hotshoe_tests::{
    DefaultPort, Setup, artifacts,
    artifacts::workspace_root,
    tour::{Block, Step, Tour},
};
use rustix::process::Signal;
use std::{env, fs, os::unix::fs::symlink};

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
        Some(("sh", "later")) => {
            let help = setup.hotshoe(&["config", "-h"]).stdout;
            for command in block.text.lines() {
                let name = command.strip_prefix("hotshoe config ").unwrap();
                let name = name.split(' ').next().unwrap();
                assert!(help.contains(&format!("\n  {name} ")), "{command}");
            }
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

#[test]
fn every_command_of_the_guide_does_what_it_shows() {
    let _turn = DefaultPort::take();
    let mut setup = Setup::new();
    install(&mut setup);
    let mut tour = Tour::new(&setup);
    tour.walk(
        &read(GUIDE),
        |command, tour| {
            if !command.starts_with("hotshoe run ") {
                return Step::Run;
            }
            // One host of the name at a time: Ctrl-C, as the guide says.
            for (mut host, _) in tour.started.drain(..) {
                host.signal(Signal::INT);
                host.assert_exit(0);
            }
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
        "--dry-run",
        "--if-match",
        "--token-file",
        "curl",
    ] {
        let shown = tour.commands.iter().any(|line| line.contains(word));
        assert!(shown, "`{word}` is in no block");
    }
    assert_eq!(tour.started.len(), 1);
    let (mut host, _) = tour.started.pop().unwrap();
    host.stop();
}

/// Each slug of the server's one table with its status, and nothing that no server says.
#[test]
fn every_error_has_its_row() {
    let table = read("plugins/dynamic-config/src/error.rs");
    let (_, rows) = table.split_once("\nslugs! {\n").unwrap();
    let (rows, _) = rows.split_once("\n}").unwrap();
    let mut served: Vec<(String, String)> = rows
        .lines()
        .map(|row| {
            let words: Vec<&str> = row.split_whitespace().collect();
            let slug = words[3].trim_matches([',', '"']);
            (slug.to_owned(), words[2].to_owned())
        })
        .collect();
    let guide = read(GUIDE);
    let mut told: Vec<(String, String)> = guide
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
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
    assert!(served.len() >= 49, "{served:?}");
    served.sort();
    told.sort();
    assert_eq!(told, served);
}
