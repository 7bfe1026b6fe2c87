//! What a host keeps of its workers' deaths, and what it holds against whom: records that kill among many under way, and the
//! folder in which deaths are written down.

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
const SOON: &str = "backoff = \"1ms\", backoff_max = \"1ms\"";

fn isolated(setup: &Setup) -> Entry {
    setup.misbehave("bad").key("isolation = \"process\"")
}

/// Kills its worker and waits until the next one is in service, the `nth` time.
fn kill(host: &TestHost<'_>, nth: usize) {
    let worker = host.worker("bad").expect("a worker in service");
    kill_process(worker, Signal::KILL).unwrap();
    host.wait_message_again("bad", "in service again", nth);
}

/// It has no executor part, so that many of its tasks are under way: the death that a record causes first has company, and is
/// taken back like those by which the record is found.
#[test]
fn bad_records_among_many_under_way_stop_no_stream() {
    const EVERY: usize = 400;
    let few = format!("attempts = 1, {SOON}");
    for (executors, bad, restart) in [(1, 8, SOON), (1, 2, &few), (4, 4, SOON)] {
        let setup = Setup::new();
        let entry = setup
            .fixture("bad", "misbehave-lean")
            .key("isolation = \"process\"")
            .key(&format!("restart = {{ {restart} }}"))
            .act("hook = \"record\", crime = \"segfault\", word = \"poison\"");
        let dead = setup.scratch("dead");
        let stream = format!(
            "[executors]\ncount = {executors}\n{STREAM}batch_records = 8\non_error = \"dead-letter\"\ndead_letter = {:?}\n",
            dead.display().to_string()
        );
        setup.entries(&stream, &[entry]);
        let mut host = setup.start();
        let is_poison = |number: &usize| number % EVERY == EVERY / 2;
        let line = |number: usize| match is_poison(&number) {
            true => format!("{number} poison\n"),
            false => format!("{number}\n"),
        };
        let numbers = 0..bad * EVERY;
        let records: String = numbers.clone().map(line).collect();
        host.send(records.as_bytes());
        host.close_input();
        host.assert_exit(0);
        let good = numbers.filter(|number| !is_poison(number));
        let expected: String = good.map(line).collect();
        assert_eq!(String::from_utf8_lossy(&host.stdout()), expected);
        let letters = fs::read_to_string(&dead).expect("the file of the dead letters");
        assert_eq!(letters.lines().count(), bad, "{letters}");
    }
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

/// A death that cannot be written down is shown all the same, and whoever reads the log is told which folder it is about.
#[test]
fn a_death_is_known_though_its_record_cannot_be_written() {
    let setup = Setup::new();
    setup.entries(STREAM, &[isolated(&setup)]);
    let folder = setup.state_dir().join("crashes");
    fs::create_dir_all(setup.state_dir()).unwrap();
    fs::write(&folder, "no folder").unwrap();
    let mut host = setup.start();
    host.wait_ready();
    kill(&host, 1);
    let told = host.wait_log("that it cannot be written", |line| {
        line.message().contains("cannot be written to")
    });
    let path = folder.join("bad").display().to_string();
    assert!(told.is_of("bad") && told.message().contains(&path));
    let crashes = host.instance("bad")["worker"]["crashes"].clone();
    assert_eq!(crashes.as_array().map(Vec::len), Some(1), "{crashes}");
    assert_eq!(crashes[0]["how"], "killed by signal 9 (SIGKILL)");
    host.close_input();
    host.assert_exit(0);
}

/// `top`, `ps` and the kernel's log show fifteen bytes of a name.
#[test]
fn a_worker_is_called_as_its_instance_is() {
    let setup = Setup::new();
    let name = "a-name.of_eighteen";
    let long = setup.misbehave(name).key("isolation = \"process\"");
    setup.entries("", &[long]);
    let mut host = setup.start();
    host.wait_ready();
    let pid = host.worker(name).expect("a worker").as_raw_nonzero();
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    assert_eq!(comm.trim_end(), &name[..15]);
    let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(String::from_utf8_lossy(&title).contains(&format!("__worker\0{name}\0")));
    host.stop();
}

/// What a host that was killed left in memory goes with the next start; what is another's, or no such folder, stays.
#[test]
fn copies_that_a_killed_host_left_are_removed() {
    let setup = Setup::new();
    let staged = setup.misbehave("bad").key("stage = \"directory\"");
    setup.entries("", &[staged]);
    let stages = || -> Vec<String> {
        let entries = fs::read_dir(setup.run_dir()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("stage-")).collect()
    };
    let mut host = setup.start();
    host.wait_ready();
    host.signal(Signal::KILL);
    host.wait_exit();
    let left = stages();
    assert_eq!(left.len(), 1, "{left:?}");
    let kept = setup.scratch("kept");
    fs::create_dir(&kept).unwrap();
    fs::write(kept.join("file"), "kept").unwrap();
    let gone = left[0].split('-').nth(1).unwrap().to_owned();
    let own = std::process::id();
    let within = |name: &str| setup.run_dir().join(name);
    std::os::unix::fs::symlink(&kept, within(&format!("stage-{gone}-77"))).unwrap();
    for other in [
        format!("stage-{own}-0"),
        "stage-x-0".to_owned(),
        format!("stage-{gone}-"),
    ] {
        fs::create_dir(within(&other)).unwrap();
    }
    let mut host = setup.start();
    host.wait_ready();
    let now = stages();
    assert!(!now.contains(&left[0]), "{now:?}");
    // A link, one of a process that lives, two that are none, and the host's own.
    assert_eq!(now.len(), 5, "{now:?}");
    assert_eq!(fs::read(kept.join("file")).unwrap(), b"kept");
    host.stop();
}
