//! What a process of its own adds to the promises: it is killed, stopped, starved and refused from outside, and comes back, is
//! given up, or is told of; nothing of a dead one stays in the host. What plugins do to themselves in there is the zoo's.

use hotshoe_tests::{DEADLINE, Entry, LogLine, Setup, TestHost, artifacts, freeze};
use rustix::process::{Pid, Signal, kill_process};
use std::{fs, process::Command, time::Instant};

const STREAM: &str = "[stream]\nsource = \"stdin\"\nprocessors = [\"bad\"]\n";

fn isolated(setup: &Setup) -> Entry {
    setup.misbehave("bad").key("isolation = \"process\"")
}

fn worker(host: &TestHost<'_>) -> Pid {
    host.worker("bad").expect("a worker in service")
}

/// Waits until it serves again for the `nth` time.
fn wait_back(host: &TestHost<'_>, nth: usize) {
    host.wait_message_again("bad", "in service again", nth);
}

/// A service manager that stops a unit asks all of its processes at once: the host stops its workers in order all the same.
#[test]
fn a_stop_that_workers_are_asked_for_too_is_in_order() {
    for (signal, worker_first) in [
        (Signal::TERM, true),
        (Signal::TERM, false),
        (Signal::INT, true),
    ] {
        let setup = Setup::new();
        setup.entries("", &[isolated(&setup)]);
        let mut host = setup.start();
        host.wait_ready();
        let worker = worker(&host);
        if worker_first {
            kill_process(worker, signal).unwrap();
            host.signal(signal);
        } else {
            host.signal(signal);
            // It may have stopped already.
            let _ = kill_process(worker, signal);
        }
        host.assert_exit(0);
        assert_eq!(setup.trace().count("bad", "driver", "shutdown"), 1);
    }
}

/// Nor does it matter when: a worker that has just been started, and has had no time for anything, is no exception.
#[test]
fn a_stop_while_a_worker_starts_is_in_order() {
    for _ in 0..12 {
        let setup = Setup::new();
        setup.entries("", &[isolated(&setup)]);
        let mut host = setup.start();
        let worker = first_child(&host);
        kill_process(worker, Signal::TERM).unwrap();
        host.signal(Signal::TERM);
        host.assert_exit(0);
    }
}

/// The first process that the host starts, as soon as it is there.
fn first_child(host: &TestHost<'_>) -> Pid {
    let begun = Instant::now();
    loop {
        let tasks = fs::read_dir(format!("/proc/{}/task", host.pid())).unwrap();
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let child = children.split_whitespace().next();
            if let Some(child) = child.and_then(|child| child.parse().ok()) {
                return Pid::from_raw(child).unwrap();
            }
        }
        assert!(begun.elapsed() < DEADLINE, "{}", host.stderr());
    }
}

/// What a life needs of its host goes with it: after many deaths it holds no more than after one.
#[test]
fn a_worker_that_is_killed_from_outside_comes_back_and_leaves_nothing() {
    const KILLS: usize = 12;
    let setup = Setup::new();
    let bad = isolated(&setup)
        .key("restart = { attempts = 1000, backoff = \"1ms\", backoff_max = \"1ms\" }");
    setup.entries(STREAM, &[bad]);
    let mut host = setup.start();
    host.wait_ready();
    let mut expected = String::new();
    let mut held = (0, 0);
    for kill in 1..=KILLS {
        kill_process(worker(&host), Signal::KILL).unwrap();
        wait_back(&host, kill);
        host.send_line(&format!("{kill}"));
        expected.push_str(&format!("{kill}\n"));
        host.wait_stdout(expected.as_bytes());
        if kill == 1 {
            held = (host.descriptor_count(), host.thread_count());
        }
    }
    let begun = Instant::now();
    // The last life's threads are on their way out when the next one serves already.
    while host.descriptor_count() > held.0 || host.thread_count() > held.1 {
        let now = (host.descriptor_count(), host.thread_count());
        assert!(
            begun.elapsed() < DEADLINE,
            "descriptors, threads: {held:?}, then {now:?}"
        );
        let _ = host.status();
    }
    let worker = &host.instance("bad")["worker"];
    assert_eq!(worker["lives"], KILLS + 1, "{worker}");
    let crashes = worker["crashes"].as_array().expect("records of its deaths");
    assert_eq!(crashes.len(), 10, "{crashes:?}");
    assert_eq!(crashes[9]["how"], "killed by signal 9 (SIGKILL)");
    host.close_input();
    host.assert_exit(0);
    let shutdowns = setup.trace().count("bad", "driver", "shutdown");
    assert_eq!(shutdowns, 1, "{}", setup.trace().text());
}

/// It owes an answer, and cannot give it: as a call that hangs.
#[test]
fn a_worker_that_is_stopped_from_outside_is_killed_when_it_is_asked_for_something() {
    let setup = Setup::new();
    let bad = isolated(&setup).key("deadlines = { hook = \"300ms\" }");
    setup.entries(STREAM, &[bad]);
    let mut host = setup.start();
    host.wait_ready();
    assert!(freeze(worker(&host)));
    host.send_line("one");
    host.wait_stdout(b"one\n");
    host.close_input();
    host.assert_exit(0);
    let warned = host.logs().iter().any(|line| {
        line.sentence().starts_with("warning[hook-timeout]") && line.sentence().contains("`bad`")
    });
    assert!(warned, "{}", host.stderr());
}

#[test]
fn a_worker_that_is_stopped_does_not_keep_the_host_from_leaving() {
    let setup = Setup::new();
    let bad = isolated(&setup).key("deadlines = { shutdown = \"300ms\" }");
    setup.entries("", &[bad, setup.misbehave("good")]);
    let mut host = setup.start();
    host.wait_ready();
    assert!(freeze(worker(&host)));
    let exit = host.terminate();
    assert_eq!(exit.code, Some(5), "{}", host.stderr());
    let error = &host.errors()[0];
    assert!(
        error.starts_with("error[shutdown-timeout]") && error.contains("`bad`"),
        "{error}"
    );
    assert_eq!(setup.trace().count("good", "driver", "shutdown"), 1);
}

/// Until it is ready a death is a failed init, in whichever call of its start: what had gone well went with the worker.
#[test]
fn a_worker_that_dies_in_a_call_after_its_init_is_started_again_as_often_as_inits_are_tried() {
    for hook in ["register-metrics", "checker-init"] {
        for (attempts, times) in [(2, 1), (2, 2)] {
            let setup = Setup::new();
            let mut bad = isolated(&setup)
                .set("ends = true")
                .key(&format!("init_attempts = {attempts}"));
            for time in 0..times {
                let once = setup.scratch(&format!("death-{time}"));
                let once = once.display().to_string();
                bad = bad.act(&format!(
                    "hook = {hook:?}, crime = \"abort\", once = {once:?}"
                ));
            }
            setup.entries(STREAM, &[setup.misbehave("good"), bad]);
            let mut host = setup.start();
            if times < attempts {
                host.wait_ready();
                host.send_line("one");
                host.wait_stdout(b"one\n");
                host.close_input();
                host.assert_exit(0);
                assert_eq!(setup.trace().count("bad", "driver", "shutdown"), 1);
            } else {
                host.assert_exit(4);
                let error = &host.errors()[0];
                assert!(
                    error.starts_with("error[gone]") && error.contains("`bad`"),
                    "{error}"
                );
                assert!(error.contains("signal 6 (SIGABRT)"), "{error}");
            }
            let trace = setup.trace();
            let inits = |name| trace.count(name, "driver", "init");
            assert_eq!((inits("bad"), inits("good")), (attempts, 1), "{hook}");
            assert_eq!(trace.count("good", "driver", "shutdown"), 1);
        }
    }
}

/// Deaths beyond what is forgiven: a required instance ends the run in order, an optional one is left out of it.
#[test]
fn a_worker_that_keeps_dying_is_quarantined() {
    for required in [true, false] {
        let setup = Setup::new();
        let bad = isolated(&setup)
            .key("restart = { attempts = 1, backoff = \"1ms\" }")
            .key(&format!("required = {required}"))
            .act("hook = \"on-task-start\", crime = \"abort\"");
        let stream = "[stream]\nsource = \"stdin\"\nprocessors = [\"good\"]\n";
        setup.entries(stream, &[setup.misbehave("good"), bad]);
        let mut host = setup.start();
        host.send_line("one");
        host.wait_log("the first death", |line| {
            line.sentence().starts_with("warning[died]")
        });
        wait_back(&host, 1);
        host.wait_stdout(b"one\n");
        host.send_line("two");
        let severity = if required { "error" } else { "warning" };
        let given_up = host.wait_log("the quarantine", |line| {
            line.sentence()
                .starts_with(&format!("{severity}[quarantined]"))
        });
        let sentence = given_up.sentence();
        assert!(
            sentence.contains("`bad`") && sentence.contains("signal 6 (SIGABRT)"),
            "{sentence}"
        );
        if !required {
            host.send_line("three");
            host.wait_stdout(b"one\ntwo\nthree\n");
            assert_eq!(host.instance("bad")["state"], "quarantined");
            host.close_input();
        }
        host.assert_exit(i32::from(required));
        assert_eq!(setup.trace().count("good", "driver", "shutdown"), 1);
    }
}

/// Three deaths find the record. With `stop` the run ends and names it; the others of its batch come out.
#[test]
fn a_record_that_kills_ends_the_run_by_name_where_that_is_asked_for() {
    let setup = Setup::new();
    let bad = isolated(&setup).act("hook = \"record\", crime = \"segfault\", word = \"two\"");
    setup.entries(&format!("{STREAM}on_error = \"stop\"\n"), &[bad]);
    let mut host = setup.start();
    host.send(b"one\ntwo\nthree\n");
    host.assert_exit(1);
    assert_eq!(String::from_utf8_lossy(&host.stdout()), "one\nthree\n");
    let error = &host.errors()[0];
    for part in [
        "error[record-failed]",
        "byte 4",
        "`bad`",
        "3 times",
        "SIGSEGV",
    ] {
        assert!(error.contains(part), "no {part}: {error}");
    }
}

/// The hunt for a record needs three deaths, and a worker that is forgiven one or two is not given up before it is over.
#[test]
fn a_single_record_that_kills_stops_no_stream_however_little_is_forgiven() {
    for attempts in [1, 2] {
        let setup = Setup::new();
        let bad = isolated(&setup)
            .key(&format!(
                "restart = {{ attempts = {attempts}, backoff = \"1ms\", backoff_max = \"1ms\" }}"
            ))
            .act("hook = \"record\", crime = \"segfault\", word = \"poison\"");
        let dead = setup.scratch("dead");
        let stream = format!(
            "{STREAM}batch_records = 4\non_error = \"dead-letter\"\ndead_letter = {:?}\n",
            dead.display().to_string()
        );
        setup.entries(&stream, &[bad]);
        let mut host = setup.start();
        // Many batches, so that the first death has others under way.
        let line = |number: usize| match number {
            102 => format!("{number} poison\n"),
            _ => format!("{number}\n"),
        };
        let records: String = (0..400).map(line).collect();
        host.send(records.as_bytes());
        host.close_input();
        host.assert_exit(0);
        let expected: String = (0..400).filter(|number| *number != 102).map(line).collect();
        assert_eq!(String::from_utf8_lossy(&host.stdout()), expected);
        let letters = std::fs::read_to_string(&dead).expect("the file of the dead letters");
        assert!(letters.contains("102 poison") && letters.lines().count() == 1);
    }
}

/// Ten records a minute are excused; one that dies of every record is given up, and names what it died of.
#[test]
fn a_worker_that_dies_of_every_record_is_quarantined_all_the_same() {
    let setup = Setup::new();
    let bad = isolated(&setup)
        .key("restart = { attempts = 1, backoff = \"1ms\", backoff_max = \"1ms\" }")
        .act("hook = \"record\", crime = \"segfault\"");
    let dead = setup.scratch("dead");
    let stream = format!(
        "{STREAM}on_error = \"dead-letter\"\ndead_letter = {:?}\n",
        dead.display().to_string()
    );
    setup.entries(&stream, &[bad]);
    let mut host = setup.start();
    let records: String = (0..100).map(|number| format!("{number}\n")).collect();
    host.send(records.as_bytes());
    host.close_input();
    host.assert_exit(1);
    let errors = host.errors();
    let error = &errors[0];
    assert!(
        error.starts_with("error[quarantined]") && error.contains("SIGSEGV"),
        "{error}"
    );
    // What was read is counted; no drain overran, and a longer one would not have helped.
    assert_eq!(errors.len(), 1, "{errors:#?}");
    let counted = |line: &LogLine| line.text_of("undelivered").parse::<u64>().is_ok();
    assert!(host.logs().iter().any(counted), "{}", host.stderr());
}

/// One bad record in each of many batches that are under way at once: each is found, and the others keep their order.
#[test]
fn records_that_kill_become_dead_letters_and_all_others_come_out_in_order() {
    const RECORDS: usize = 400;
    let setup = Setup::new();
    let bad = isolated(&setup)
        .key("restart = { attempts = 100, backoff = \"1ms\", backoff_max = \"1ms\" }")
        .act("hook = \"record\", crime = \"segfault\", word = \"poison\"");
    let dead = setup.scratch("dead");
    let stream = format!(
        "[executors]\ncount = 2\n{STREAM}batch_records = 16\non_error = \"dead-letter\"\ndead_letter = {:?}\n",
        dead.display().to_string()
    );
    setup.entries(&stream, &[bad]);
    let mut host = setup.start();
    let is_poison = |number: usize| number % 100 == 57;
    let line = |number: usize| match is_poison(number) {
        true => format!("{number} poison\n"),
        false => format!("{number}\n"),
    };
    let records: String = (0..RECORDS).map(line).collect();
    host.send(records.as_bytes());
    host.close_input();
    host.assert_exit(0);
    let expected: String = (0..RECORDS).filter(|n| !is_poison(*n)).map(line).collect();
    assert_eq!(String::from_utf8_lossy(&host.stdout()), expected);
    let letters = std::fs::read_to_string(&dead).expect("the file of the dead letters");
    let letters = letters
        .lines()
        .filter(|letter| letter.contains("poison"))
        .count();
    assert_eq!(letters, 4);
}

/// What is limited is the worker's, and a limit that is reached costs the worker.
#[test]
fn limits_are_the_workers_own() {
    let cases = [
        (
            "limits = { memory = \"256MiB\" }",
            "hook = \"process\", crime = \"exhaust-memory\"",
            "died",
        ),
        (
            "limits = { cpu_time = \"1s\" }",
            "hook = \"process\", crime = \"spin\"",
            "died",
        ),
        (
            "limits = { files = 64 }",
            "hook = \"process\", crime = \"exhaust-descriptors\"",
            "",
        ),
    ];
    for (limits, act, warning) in cases {
        let setup = Setup::new();
        let once = setup.scratch("done").display().to_string();
        let bad = isolated(&setup)
            .key(limits)
            .act(&format!("{act}, once = {once:?}"));
        setup.entries(STREAM, &[bad]);
        let mut host = setup.start();
        host.send_line("one");
        host.wait_stdout(b"one\n");
        host.send_line("two");
        host.wait_stdout(b"one\ntwo\n");
        host.close_input();
        host.assert_exit(0);
        assert!(setup.scratch("done").exists(), "{act}");
        let prefix = format!("warning[{warning}]");
        let warned = host
            .logs()
            .iter()
            .any(|line| line.sentence().starts_with(&prefix));
        assert_eq!(warned, !warning.is_empty(), "{act}: {}", host.stderr());
    }
}

/// Too few descriptors for a start are an error that says so, whatever it was that there was none left for. From some number
/// on, which depends on what the host inherits, it starts, streams and ends.
#[test]
fn a_host_without_descriptors_left_says_so_and_leaves() {
    let enough = (5..=64).find(|&limit| runs_within(limit, "stdin"));
    let enough = enough.expect("64 descriptors are enough");
    assert!(enough > 5, "no limit was low enough");
    // A file takes as many as stdin does, one more or less: there the last one is taken by the source itself.
    for limit in enough - 2..enough {
        runs_within(limit, "file:/dev/null");
    }
}

/// Whether a host with three workers runs with `limit` descriptors; where it does not, it has said what to do.
fn runs_within(limit: u32, source: &str) -> bool {
    let setup = Setup::new();
    let workers = ["a", "b", "c"].map(|name| setup.misbehave(name).key("isolation = \"process\""));
    let stream = format!("[stream]\nsource = {source:?}\nprocessors = [\"a\"]\n");
    setup.entries(&stream, &workers);
    let mut command = Command::new("sh");
    // What the test inherited and hands on would count.
    let inherited = "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&-";
    command
        .args([
            "-c",
            &format!("{inherited}; ulimit -n {limit}; exec \"$@\""),
            "sh",
        ])
        .arg(artifacts::hotshoe())
        .args(["--log-format", "json", "run"])
        .arg(setup.config_path());
    let mut host = setup.start_command(command);
    host.close_input();
    let exit = host.wait_exit();
    if exit.code == Some(0) {
        return true;
    }
    let errors = host.errors();
    let first = errors.first().expect("an error");
    assert!(
        first.to_lowercase().contains("open files"),
        "{limit}: {first}"
    );
    // And what to do about it is no other thing.
    let logs = host.logs();
    let line = logs.iter().find(|line| line.sentence() == first);
    let fix = line.map_or_else(String::new, |line| line.text_of("fix"));
    assert!(fix.contains("ulimit -n"), "{limit}: {first}; fix: {fix}");
    assert_ne!(exit.code, Some(70), "{limit}: {first}");
    false
}
