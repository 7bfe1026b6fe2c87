//! What a host keeps of its workers' deaths: the folder in which they are written down.

use hotshoe_tests::{DEADLINE, Entry, Setup, TestHost, artifacts};
use rustix::process::{Signal, kill_process};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

const STREAM: &str = "[stream]\nsource = \"stdin\"\nprocessors = [\"bad\"]\n";

fn isolated(setup: &Setup) -> Entry {
    setup.misbehave("bad").key("isolation = \"process\"")
}

/// Kills its worker and waits until the next one is in service, the `nth` time.
fn kill(host: &TestHost<'_>, nth: usize) {
    let worker = host.worker("bad").expect("a worker in service");
    kill_process(worker, Signal::KILL).unwrap();
    host.wait_message_again("bad", "in service again", nth);
}

fn mode(path: &Path) -> u32 {
    let found = fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    found.permissions().mode() & 0o777
}

/// `hotshoe run` by a user whose files a group may write to.
fn start_open(setup: &Setup) -> TestHost<'_> {
    let mut command = Command::new("sh");
    command
        .args(["-c", "umask 002; exec \"$0\" --log-format json run \"$1\""])
        .arg(artifacts::hotshoe())
        .arg(setup.config_path());
    setup.start_command(command)
}

/// The first thing that the state folder is made for, a journal later finds fit for itself.
#[test]
fn what_is_kept_of_a_death_is_its_users_alone_whatever_the_umask() {
    let setup = Setup::new();
    setup.entries(STREAM, &[isolated(&setup)]);
    let mut host = start_open(&setup);
    host.wait_ready();
    kill(&host, 1);
    let folder = setup.state_dir().join("crashes/bad");
    let record = folder.join("00000001.json");
    let begun = Instant::now();
    while !record.exists() {
        assert!(begun.elapsed() < DEADLINE, "no record of its death");
        let _ = host.status();
    }
    host.close_input();
    host.assert_exit(0);
    assert_eq!(mode(&record), 0o600);
    let state = setup.state_dir();
    let folders: [&Path; 4] = [
        &folder,
        &state.join("crashes"),
        &state,
        &PathBuf::from(state.parent().expect("it is below one")),
    ];
    assert_eq!(folders.map(mode), [0o700; 4]);

    let settings = "listen = [\"127.0.0.1:0\"]\nstate = \"dir\"";
    let keeper = Entry::of("keeper", artifacts::library("hotshoe-dynamic-config")).set(settings);
    setup.entries("", &[keeper]);
    let mut host = start_open(&setup);
    host.wait_ready();
    host.stop();
}
