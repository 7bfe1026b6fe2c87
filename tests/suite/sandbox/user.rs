//! A host of an ordinary user: what root would be allowed to do helps nobody, and walls and limits stand all the same.

use super::{
    World,
    worker::{ask, escape_of},
};
use hotshoe_tests::{Setup, artifacts};
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown, lchown},
    path::{Path, PathBuf},
    process::Command,
};

/// Nobody: a user that owns no file of this machine.
const USER: u32 = 65534;

/// Not started: without root nobody can become somebody else, and without the program nobody does.
fn lacking() -> Option<&'static str> {
    let there = |folder: &Path| folder.join("setpriv").is_file();
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !rustix::process::geteuid().is_root() {
        Some("only root can start a host as another user")
    } else if !std::env::split_paths(&path).any(|folder| there(&folder)) {
        Some("there is no setpriv here (util-linux)")
    } else {
        None
    }
}

/// A copy that the user may read and run: the build's own folders may be closed to him.
fn copy(setup: &Setup, from: &Path) -> PathBuf {
    let to = setup.scratch(from.file_name().unwrap().to_str().unwrap());
    fs::copy(from, &to).unwrap();
    fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).unwrap();
    to
}

/// Gives the user the folder and everything in it.
fn give(path: &Path) {
    if path.is_symlink() {
        return lchown(path, Some(USER), Some(USER)).unwrap();
    }
    chown(path, Some(USER), Some(USER)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path());
        }
    }
}

/// The user that the kernel says a process runs as: real, effective, saved and for files.
fn users_of(pid: &Value) -> Vec<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let words = line.unwrap().split_whitespace();
    words.map(|word| word.parse().unwrap()).collect()
}

#[test]
fn a_host_of_an_ordinary_user_walls_its_workers_in_and_says_how() {
    if let Some(why) = lacking() {
        eprintln!("skipped: {why}");
        return;
    }
    let world = World::new();
    let setup = Setup::new();
    let scene = world.scene_of(0);
    let library = copy(&setup, artifacts::fixture("escape"));
    let host = copy(&setup, artifacts::hotshoe());
    let entry = |name| escape_of(&library, name, &scene);
    let standard = entry("standard")
        .key("sandbox = \"standard\"")
        .key("limits = { memory = \"64MiB\", cpu_time = \"2m\", files = 64, processes = 32 }");
    setup.entries(
        "[stream]\nprocessors = [\"free\", \"standard\"]",
        &[entry("free"), standard],
    );
    give(setup.scratch("").as_path());

    let mut command = Command::new("setpriv");
    command
        .args([format!("--reuid={USER}"), format!("--regid={USER}")])
        .arg("--clear-groups")
        .arg(host)
        .args(["--log-format", "json", "run"])
        .arg(setup.config_path());
    let mut host = setup.start_command(command);
    host.wait_ready();
    assert_eq!(users_of(&host.pid().into()), [USER; 4]);

    // The same attempts beside each other: none fails because this user may not do it anyway.
    let attempts = [
        "read-passwd",
        "fork",
        "tcp-connect",
        "udp-send",
        "signal-parent",
    ];
    let both = |name| ["free", "standard"].map(|instance| format!("{instance} call {name}"));
    let records: Vec<String> = attempts.into_iter().flat_map(both).collect();
    let answers = ask(&mut host, &records);
    for (name, answers) in attempts.iter().zip(answers.chunks(2)) {
        assert_eq!(answers[0], "escaped", "{name} without walls");
        assert!(answers[1].starts_with("stopped: "), "{name}: {answers:?}");
    }

    let free = host.instance("free");
    assert_eq!(free["worker"]["enforced"], serde_json::json!([]), "{free}");
    let standard = host.instance("standard");
    let worker = &standard["worker"];
    assert_eq!(users_of(&worker["pid"]), [USER; 4]);
    assert_eq!(
        (&standard["state"], &worker["lives"]),
        (&"ready".into(), &1.into())
    );
    let held: Vec<(&str, &str)> = worker["enforced"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| {
            (
                part["what"].as_str().unwrap(),
                part["layer"].as_str().unwrap(),
            )
        })
        .collect();
    for (what, layer) in [
        ("files", "landlock"),
        ("network", "landlock + seccomp"),
        ("new processes", "landlock + seccomp"),
        ("rights of root", "capabilities"),
        ("cpu_time 120 s", "rlimit"),
        ("files 64", "rlimit"),
    ] {
        assert!(held.contains(&(what, layer)), "{what}: {held:#?}");
    }
    // Where nobody delegated a control group to this user, status says who counts instead, and who does not.
    for (what, without) in [
        ("memory 67108864 bytes", "rlimit (no control group"),
        ("processes 32", "not enforced: no control group"),
    ] {
        let layer = held.iter().find(|(held, _)| *held == what);
        let layer = layer.unwrap_or_else(|| panic!("{what}: {held:#?}")).1;
        assert!(layer == "cgroup" || layer.starts_with(without), "{layer}");
    }
    host.close_input();
    host.assert_exit(0);
}
