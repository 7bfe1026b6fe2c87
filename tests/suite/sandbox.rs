//! The walls around an isolated plugin, by themselves: nothing gets out, and `docs/sandbox.md` says what stops it.
//!
//! Each attempt of `tests/fixtures/escape` is made in a process of its own: without walls, where it has to succeed, or the
//! attempt proves nothing; within all walls, where it must not; and within each layer alone, which shows the layers that
//! stop it. What a walled plugin may do must work. The same through a host and its workers is [`worker`]; what a process may
//! use is [`limits`]; a host that is not root's is [`user`].

mod limits;
mod paths;
mod user;
mod worker;

use hotshoe_tests::{
    artifacts::{fixture_executable, workspace_root},
    difference,
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    env, fs,
    net::{Ipv4Addr, TcpListener},
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            fs::symlink,
            net::{SocketAddr, UnixListener},
            process::ExitStatusExt as _,
        },
    },
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;

/// The layers, as `escape-direct` and the table call them.
const LAYERS: [&str; 4] = ["landlock", "seccomp", "capabilities", "rlimit"];

/// Somebody to reach, and files to reach for; the files are made anew for each attempt.
struct World {
    folder: TempDir,
    tcp: TcpListener,
    listed: TcpListener,
    _unix: UnixListener,
    _abstract: UnixListener,
    abstract_name: String,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tcp = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        // The folder's name is nobody else's.
        let abstract_name = folder.path().display().to_string();
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        Self {
            tcp: tcp(),
            listed: tcp(),
            _unix: UnixListener::bind(folder.path().join("socket")).unwrap(),
            _abstract: UnixListener::bind_addr(&address).unwrap(),
            abstract_name,
            folder,
        }
    }

    /// The scene of one attempt, as `escape-direct` takes it.
    fn scene(&self) -> String {
        self.scene_of(std::process::id()).to_string()
    }

    /// The same, with somebody else to watch.
    fn scene_of(&self, parent: u32) -> Value {
        let path = |name: &str| self.folder.path().join(name);
        for folder in ["outside", "readable", "inside"] {
            // Absent the first time.
            let _ = fs::remove_dir_all(path(folder));
            fs::create_dir(path(folder)).unwrap();
        }
        fs::create_dir(path("outside/folder")).unwrap();
        for file in [
            "outside/secret",
            "outside/victim",
            "readable/note",
            "inside/note",
        ] {
            fs::write(path(file), file).unwrap();
        }
        symlink(path("outside/secret"), path("inside/planted")).unwrap();
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        serde_json::json!({
            "outside": path("outside"),
            "readable": path("readable"),
            "inside": path("inside"),
            "parent": parent,
            "port": port(&self.tcp),
            "listed_port": port(&self.listed),
            "socket": path("socket"),
            "abstract_name": self.abstract_name,
        })
    }

    fn attempt(&self, name: &str, walls: &str) -> Came {
        Came::of(&run(&["try", name, walls, &self.scene()]))
    }
}

fn run(arguments: &[&str]) -> Output {
    Command::new(fixture_executable("escape-direct"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Name and walls of each line of a list.
fn list(which: &str) -> Vec<(String, String)> {
    let output = run(&[which]);
    let text = String::from_utf8(output.stdout).unwrap();
    let pair = |line: &str| {
        let (name, inside) = line.split_once(' ').unwrap();
        (name.to_owned(), inside.to_owned())
    };
    text.lines().map(pair).collect()
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Came {
    Escaped,
    Stopped(String),
    /// The process was ended in the act.
    Killed(i32),
}

impl Came {
    #[track_caller]
    fn of(output: &Output) -> Self {
        if let Some(signal) = output.status.signal() {
            return Self::Killed(signal);
        }
        let text = String::from_utf8_lossy(&output.stdout);
        match (text.trim_end(), text.trim_end().strip_prefix("stopped: ")) {
            ("escaped", _) => Self::Escaped,
            (_, Some(why)) => Self::Stopped(why.to_owned()),
            _ => panic!("it could not try: {output:?}"),
        }
    }

    /// Without walls: the kernel has nothing of the kind.
    fn is_absent(&self) -> bool {
        matches!(self, Self::Stopped(why) if why.contains("(os error 38)"))
    }
}

/// What the table says of an attempt.
fn row(world: &World, name: &str, inside: &str, wrong: &mut Vec<String>) -> String {
    let walled = world.attempt(name, "all");
    if walled == Came::Escaped {
        wrong.push(format!("{name} got out"));
    }
    let free = world.attempt(name, "none");
    let by: BTreeSet<&str> = LAYERS
        .into_iter()
        .filter(|layer| match *layer {
            "rlimit" => inside == "Limits",
            // How much is used is not theirs to know, and to use it up takes time.
            "landlock" | "capabilities" => inside != "Limits",
            _ => true,
        })
        .filter(|layer| world.attempt(name, layer) != Came::Escaped)
        .collect();
    let by = match &free {
        free if free.is_absent() => "no such call on this kernel".to_owned(),
        Came::Escaped if by.is_empty() => {
            wrong.push(format!(
                "{name} is stopped, and by no layer alone: {walled:?}"
            ));
            String::new()
        }
        Came::Escaped => by.into_iter().collect::<Vec<_>>().join(", "),
        other => {
            wrong.push(format!(
                "{name} fails without walls too, and proves nothing: {other:?}"
            ));
            String::new()
        }
    };
    format!("| `{name}` | {} | {by} |", inside.to_lowercase())
}

const BEGIN: &str = "<!-- the attempts, written by tests/suite/sandbox.rs -->\n";
const END: &str = "<!-- end of the attempts -->\n";

#[test]
fn nothing_gets_out_and_the_docs_say_what_stops_it() {
    let world = World::new();
    let attempts = list("list");
    assert!(attempts.len() >= 100, "{}", attempts.len());
    let mut wrong = Vec::new();
    let rows: Vec<String> = attempts
        .iter()
        .map(|(name, inside)| row(&world, name, inside, &mut wrong))
        .collect();
    if !rustix::process::geteuid().is_root() {
        // What only root may does not succeed without walls either.
        wrong.retain(|sentence| sentence.contains(" got out"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    if rustix::process::geteuid().is_root() {
        documented(&rows);
    }
}

/// The table in the docs is what was just seen. A call that one of two kernels lacks is no difference.
fn documented(rows: &[String]) {
    let path = workspace_root().join("docs/sandbox.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the docs have a table");
    let (kept, after) = rest.split_once(END).expect("the table has an end");
    let head = "| attempt | walls | stopped by |\n|---|---|---|\n";
    let lacking = |row: &str| row.ends_with("no such call on this kernel |");
    let kept_rows: Vec<&str> = kept.lines().skip(2).collect();
    let rows: Vec<&str> = rows
        .iter()
        .enumerate()
        .map(|(index, row)| match kept_rows.get(index) {
            Some(kept) if same_attempt(kept, row) && (lacking(kept) || lacking(row)) => *kept,
            _ => row.as_str(),
        })
        .collect();
    let found = format!("{head}{}\n", rows.join("\n"));
    if env::var_os("HOTSHOE_UPDATE_SNAPSHOTS").is_some_and(|value| value == "1") {
        fs::write(path, format!("{before}{BEGIN}{found}{END}{after}")).unwrap();
        return;
    }
    assert!(
        kept == found,
        "docs/sandbox.md says something else:\n{}\nIf that is meant: HOTSHOE_UPDATE_SNAPSHOTS=1",
        difference(kept, &found)
    );
}

fn same_attempt(a: &str, b: &str) -> bool {
    a.split('|').nth(1) == b.split('|').nth(1)
}

#[test]
fn what_a_walled_plugin_may_do_works() {
    let world = World::new();
    let deeds = list("list-harmless");
    assert!(deeds.len() > 10);
    for (name, _) in deeds {
        assert_eq!(world.attempt(&name, "all"), Came::Escaped, "{name}");
    }
}

#[test]
fn the_layers_that_hold_are_named() {
    let world = World::new();
    let report = |inside: &str| {
        let output = run(&["report", inside, &world.scene()]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let limits = report("Limits");
    for line in [
        "memory 67108864 bytes: rlimit (no control group is delegated",
        "cpu_time 1 s: rlimit",
        "files 64: rlimit",
        "files: landlock",
        "network: landlock + seccomp",
        "new processes: landlock + seccomp",
        "rights of root: capabilities",
    ] {
        assert!(limits.contains(line), "{line}\n{limits}");
    }
}

#[test]
fn a_path_that_went_away_keeps_the_plugin_from_starting() {
    let world = World::new();
    let scene = world.scene();
    fs::remove_dir_all(world.folder.path().join("readable")).unwrap();
    let output = run(&["report", "Folders", &scene]);
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("readable"), "{text}");
}
