//! Which files are the workspace's own, and what none of them may hold.

use super::{Finding, rules::is_excused};
use hotshoe_tests::artifacts::workspace_root;
use std::{fs, path::Path};

/// A text file, its path relative to the workspace with `/` between its parts.
pub(super) struct Source {
    pub(super) path: String,
    pub(super) text: String,
}

/// Every Rust file.
pub(super) fn sources() -> Vec<Source> {
    let mut texts = texts();
    texts.retain(|file| file.path.ends_with(".rs"));
    texts
}

/// Every text file but lock files, which cargo writes.
pub(super) fn texts() -> Vec<Source> {
    let mut found = Vec::new();
    walk(workspace_root(), "", &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn walk(root: &Path, folder: &str, found: &mut Vec<Source>) {
    let entries = fs::read_dir(root.join(folder)).expect("a folder of the workspace");
    for entry in entries {
        let entry = entry.expect("a folder of the workspace");
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if folder.is_empty() {
            name.clone()
        } else {
            format!("{folder}/{name}")
        };
        let kind = entry.file_type().expect("a file of the workspace");
        if kind.is_dir() {
            // Built, or git's own.
            if name != "target" && name != ".git" {
                walk(root, &path, found);
            }
        } else if kind.is_file() && name != "Cargo.lock" {
            // What is no UTF-8 is no text; a file that another process just removed is none of ours.
            if let Ok(text) = fs::read_to_string(root.join(&path)) {
                found.push(Source { path, text });
            }
        }
    }
}

/// Absolute paths that exist on somebody's machine alone. Written in halves, so that this file holds none.
const MACHINE_PATHS: [[&str; 2]; 5] = [
    ["/wor", "k/"],
    ["/hom", "e/"],
    ["/roo", "t/"],
    ["/User", "s/"],
    ["C:\\\\User", "s\\"],
];

pub(super) fn machine_paths(file: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let found = MACHINE_PATHS
            .iter()
            .map(|halves| halves.concat())
            .find(|path| holds(line, path));
        if let Some(path) = found.filter(|_| !is_excused(line, "paths")) {
            findings.push(Finding {
                rule: "paths",
                file: file.path.clone(),
                line: index + 1,
                what: format!("an absolute path below `{path}`"),
                fix: "write it relative, or take it from the environment",
            });
        }
    }
    findings
}

/// A path begins where no name goes on: `a/work/b` is a relative one.
fn holds(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-~}>$".contains(c))
    })
}

#[test]
fn a_machine_path_is_found_and_a_relative_one_is_not() {
    let check = |line: &str, expected: usize| {
        let file = Source {
            path: "a.md".into(),
            text: line.into(),
        };
        assert_eq!(machine_paths(&file).len(), expected, "{line}");
    };
    let absolute = MACHINE_PATHS[0].concat();
    check(&format!("see {absolute}main"), 1);
    check(&format!("\"{absolute}main\""), 1);
    check(&format!("sub{absolute}main"), 0);
    check(
        &format!("see {absolute}main // STYLE paths: a documented place"),
        0,
    );
}
