//! The promises of hotshoe.toml, through `load` as everybody calls it: what is taken, what is refused, and where each
//! problem is said to stand.

mod defaults;
mod files;
mod mistakes;
mod references;
mod schema;
mod settings;

use std::{collections::BTreeMap, ffi::OsString, fs, path::PathBuf, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{raw::FileTable, *};
use crate::error::{Blame, ExitCode, Place};

/// A folder with a configuration in it.
struct Folder {
    dir: TempDir,
    env: BTreeMap<&'static str, OsString>,
}

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self {
            dir: TempDir::new().unwrap(),
            env: BTreeMap::new(),
        };
        for (name, text) in files {
            folder.write(name, text.as_bytes());
        }
        folder
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn load(&self) -> Loaded {
        load_with(&self.path("hotshoe.toml"), &|name| {
            self.env.get(name).cloned()
        })
    }

    /// Each problem as "code file:line:column", the file seen from the folder.
    fn seen(&self, problems: &[Problem]) -> Vec<String> {
        let seen = |problem: &Problem| {
            let at = problem.at.as_ref().expect("every problem has a place");
            let file = at.file.strip_prefix(self.dir.path()).unwrap_or(&at.file);
            let at = Place {
                file: file.to_owned(),
                ..at.clone()
            };
            format!("{} {at}", problem.code)
        };
        problems.iter().map(seen).collect()
    }
}

fn load_text(text: &str) -> Loaded {
    Folder::new(&[("hotshoe.toml", text)]).load()
}

fn config(text: &str) -> Config {
    let loaded = load_text(text);
    let shown: Vec<String> = loaded
        .problems
        .iter()
        .map(|problem| format!("{problem:#}"))
        .collect();
    loaded
        .config
        .unwrap_or_else(|| panic!("{text}\n{}", shown.join("\n")))
}

/// `expected`: "code line:column", and after " | " a part of the fix, in the order of the problems.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let loaded = load_text(text);
    let shown: Vec<String> = loaded
        .problems
        .iter()
        .map(|problem| format!("{problem:#}"))
        .collect();
    assert_eq!(
        loaded.problems.len(),
        expected.len(),
        "{text}\n{}",
        shown.join("\n")
    );
    for (problem, expected) in loaded.problems.iter().zip(expected) {
        let (place, fix) = expected.split_once(" | ").unwrap_or((expected, ""));
        let at = problem.at.as_ref().expect("every problem has a place");
        assert_eq!(
            format!("{} {}:{}", problem.code, at.line, at.column),
            place,
            "{text}\n{problem:#}"
        );
        let given = problem.fix.as_deref().expect("every problem has a fix");
        assert!(given.contains(fix), "{text}\n{problem:#}");
        assert!(
            problem.wanted.is_some() && problem.found.is_some(),
            "{problem:#}"
        );
        assert!(
            problem.headline.contains("hotshoe.toml"),
            "a headline stands alone: {problem}"
        );
    }
    let refused = loaded
        .problems
        .iter()
        .any(|problem| problem.severity == Severity::Error);
    assert_eq!(loaded.config.is_none(), refused, "{text}");
}

const PLUGIN: &str = "[[plugin]]\nlibrary = \"x\"\n";

/// The listing of DESIGN §11, its placeholders filled in: it must load without a word.
const DESIGN: &str = r#"[host]
name = "hotshoe"
plugin_path = []
admin = "unix"
hostname = "box"
resources = {}

[executors]
count = 1
max_restarts = 3
drain = "5s"
resources = {}

[stream]
source = "stdin"
on_source_end = "stop"
processors = ["append"]
batch_records = 1024
batch_bytes = "64KiB"
record_max = "16MiB"
retries = 3
on_error = "stop"
sink = "stdout"

[trust]
keys = []
require = "none"

[[plugin]]
name = "append"
library = "hotshoe_quickstart"
required = true
after = []
init_attempts = 1
checks = []
deadlines = { load = "10s", init = "10s", receive = "10s", hook = "1s", process = "30s", check = "1s", shutdown = "5s" }
isolation = "in-process"
restart = { attempts = 5, within = "5m", backoff = "100ms", backoff_max = "60s" }
sandbox = "none"
limits = {}
stage = "memfd"
allow_writable = false
[plugin.settings]
topic = "dynamic-config"
"#;

fn entries(text: &str) -> Vec<(String, PluginEntry)> {
    let name = |entry: PluginEntry| {
        (
            entry.name.clone().expect("the test names every entry"),
            entry,
        )
    };
    config(text).plugins.into_iter().map(name).collect()
}
