//! A1 to A9: which instances a configuration makes, and what is found out before the first init.

use hotshoe_tests::{DEADLINE, Entry, Setup, TestHost, artifacts};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::symlink,
    thread,
    time::Instant,
};

/// Records go through untouched, from stdin.
const STREAM: &str = "[stream]\nsource = \"stdin\"\n";

/// How many of the traced calls are inits, of whatever part.
fn inits(setup: &Setup) -> usize {
    let lines = setup.trace().lines();
    lines.iter().filter(|line| line.call == "init").count()
}

#[test]
fn a01_lists_are_merged_and_the_first_of_a_name_wins() {
    let setup = Setup::new();
    let site = format!("{}\n{}", setup.misbehave(" a "), setup.misbehave("b"));
    setup.file("hotshoe.d/10-site.toml", site.as_bytes());
    let own = ["b", "c", " a"].map(|name| setup.misbehave(name));
    setup.entries("", &own);

    let checked = setup.check();
    checked.assert_code(0);
    let names: Vec<&str> = checked
        .stdout
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(names, ["a", "b", "c"], "{checked:#?}");

    // Where the nth entry of a file stands.
    let place = |file: &str, nth: usize| {
        let path = setup.folder().join(file);
        let text = fs::read_to_string(&path).unwrap();
        let line = text
            .lines()
            .enumerate()
            .filter(|(_, line)| *line == "[[plugin]]")
            .nth(nth)
            .unwrap()
            .0
            + 1;
        format!("{}:{line}:1", path.display())
    };
    let reports = checked.problems("duplicate-plugin");
    assert_eq!(reports.len(), 2, "{checked:#?}");
    for (report, name, first, again) in [
        (
            &reports[0],
            "`b`",
            ("hotshoe.d/10-site.toml", 1),
            ("hotshoe.toml", 0),
        ),
        (
            &reports[1],
            "`a`",
            ("hotshoe.d/10-site.toml", 0),
            ("hotshoe.toml", 2),
        ),
    ] {
        let text = report.sentence();
        for part in [name, &place(first.0, first.1), &place(again.0, again.1)] {
            assert!(text.contains(part), "no {part} in {text}");
        }
    }
    assert_eq!(inits(&setup), 0, "{}", setup.trace().text());
}

#[test]
fn a02_two_paths_to_one_file_are_one_plugin() {
    let setup = Setup::new();
    let (x, y) = (setup.folder().join("x.so"), setup.folder().join("y.so"));
    fs::copy(artifacts::fixture("misbehave"), &x).unwrap();
    symlink(&x, &y).unwrap();
    let trace = format!("trace = {:?}", setup.trace().path().display().to_string());
    let entries = [&x, &y].map(|path| Entry::unnamed(path).set(&trace));
    setup.entries(STREAM, &entries);

    let run = setup.run();
    run.assert_code(0);
    assert_eq!(run.problems("duplicate-plugin").len(), 1, "{run:#?}");
    assert_eq!(setup.trace().count("misbehave", "driver", "init"), 1);
    assert_eq!(inits_of_drivers(&setup), ["misbehave"]);
}

#[test]
fn a02_one_file_under_two_names_is_two_instances_that_share_nothing() {
    let setup = Setup::new();
    let entry = |name: &str, value: u32| {
        setup
            .misbehave(name)
            .set(&format!("extra = {{ of = \"{name}\" }}"))
            .act(r#"hook = "driver-init", crime = "report""#)
            .act(&format!(
                r#"hook = "register-metrics", crime = "gauge", name = "size", value = {value}.0"#
            ))
            // Each tells itself, under its own name, and nobody else hears it.
            .act(r#"hook = "executor-init", crime = "send", text = "oneway""#)
    };
    setup.entries(STREAM, &[entry("x1", 1), entry("x2", 2)]);

    let mut host = setup.start();
    host.wait_ready();
    for name in ["x1", "x2"] {
        setup.trace().wait_call(name, "driver", "receive");
        let size = host.samples("hotshoe_plugin_size", &[("plugin", name)]);
        let values: Vec<f64> = size.iter().map(|(_, value)| *value).collect();
        let wanted = if name == "x1" { 1.0 } else { 2.0 };
        assert_eq!(values, [wanted], "{size:?}");
    }
    host.close_input();
    host.assert_exit(0);

    let text = setup.trace().text();
    for name in ["x1", "x2"] {
        assert_eq!(setup.trace().count(name, "driver", "init"), 1, "{text}");
        assert_eq!(setup.trace().count(name, "driver", "receive"), 1, "{text}");
        let extra = format!("{name} executor 0 note extra of={name}\n");
        assert!(text.contains(&extra), "no {extra} in {text}");
        // Statics are state as well: each instance is the first that its copy of the library made.
        let report = report_of(&setup, name, "driver", "driver");
        assert_eq!(report["copy"], 1, "{report}");
    }
}

fn inits_of_drivers(setup: &Setup) -> Vec<String> {
    let lines = setup.trace().lines();
    let inits = lines
        .into_iter()
        .filter(|line| line.component == "driver" && line.call == "init");
    inits.map(|line| line.instance).collect()
}

/// What a `report` act of that part traced.
fn report_of(setup: &Setup, instance: &str, component: &str, executor: &str) -> serde_json::Value {
    let lines = setup.trace().lines();
    let mut reports = lines.iter().filter(|line| {
        line.is_call(instance, component, "note")
            && line.executor == executor
            && line.rest.starts_with("report ")
    });
    let report = reports
        .next()
        .unwrap_or_else(|| panic!("no report of {instance} {component} {executor}: {lines:#?}"));
    serde_json::from_str(&report.rest["report ".len()..]).unwrap()
}

/// What a running host holds: its threads' names, and what its descriptors are.
fn holdings(host: &TestHost<'_>) -> (BTreeMap<String, usize>, BTreeMap<String, usize>) {
    let mut threads = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{}/task", host.pid())).unwrap() {
        // One that has ended meanwhile has no name any more.
        let Ok(name) = fs::read_to_string(task.unwrap().path().join("comm")) else {
            continue;
        };
        *threads.entry(name.trim().to_owned()).or_default() += 1;
    }
    let mut descriptors = BTreeMap::new();
    for descriptor in fs::read_dir(format!("/proc/{}/fd", host.pid())).unwrap() {
        let Ok(target) = fs::read_link(descriptor.unwrap().path()) else {
            continue;
        };
        let target = target.display().to_string();
        // "pipe:[123]", "anon_inode:[eventpoll]", a path: without its number, and without this test's own folder.
        let kind = match target.split_once(":[") {
            Some((kind, rest)) if rest.starts_with(|c: char| c.is_ascii_digit()) => kind.to_owned(),
            _ => target.rsplit('/').next().unwrap_or_default().to_owned(),
        };
        *descriptors.entry(kind).or_default() += 1;
    }
    (threads, descriptors)
}

#[test]
fn a03_no_plugins_cost_nothing() {
    // The bare host has no word about plugins; the others say "none" in every way there is.
    let bare = Setup::with(STREAM);
    let empty_list = Setup::with(&format!("plugin = []\n{STREAM}"));
    let drop_ins = Setup::with(STREAM);
    drop_ins.file("hotshoe.d/10-none.toml", b"# nothing\n");
    let with_one = Setup::new();
    with_one.entries(STREAM, &[with_one.fixture("one", "driver-only")]);

    let mut held = Vec::new();
    for setup in [&bare, &empty_list, &drop_ins, &with_one] {
        let mut host = setup.start();
        host.wait_ready();
        host.send(b"one\ntwo\nthree\n");
        host.wait_stdout(b"one\ntwo\nthree\n");
        // What only opens the stream may be on its way out still.
        let until = Instant::now() + DEADLINE;
        while host.thread_names().iter().any(|name| name == "stream open") {
            assert!(Instant::now() < until, "{:?}", host.thread_names());
            thread::yield_now();
        }
        held.push((
            host.thread_count(),
            host.descriptor_count(),
            holdings(&host),
        ));
        let metrics = host.admin("/metrics").text();
        let status = host.admin("/status").text();
        for text in [&metrics, &status] {
            let named =
                text.contains("plugin.") || text.contains("plugin_") || text.contains("plugin=");
            assert!(!named || std::ptr::eq(setup, &with_one), "{text}");
        }
        host.close_input();
        host.assert_exit(0);
    }
    assert_eq!(held[1], held[0]);
    assert_eq!(held[2], held[0]);
    // The measure would see what a plugin costs.
    assert!(held[3].0 > held[0].0, "{held:#?}");
    let (_, _, (_, descriptors)) = &held[0];
    // No copy of a library, no cells; the page of the epoch word is the host's own.
    let mut kinds = descriptors.keys();
    assert!(
        !kinds.any(|kind| kind.contains("memfd") && !kind.contains("hotshoe-epoch")),
        "{descriptors:?}"
    );
}

#[test]
fn a04_all_are_created_before_the_first_init() {
    let setup = Setup::new();
    setup.entries(STREAM, &["a", "b", "c"].map(|name| setup.misbehave(name)));
    setup.run().assert_code(0);
    let lines = setup.trace().lines();
    let created: Vec<String> = lines.iter().take(3).map(ToString::to_string).collect();
    assert_eq!(
        created,
        [
            "a plugin - create",
            "b plugin - create",
            "c plugin - create"
        ]
    );
    assert_eq!(inits_of_drivers(&setup), ["a", "b", "c"]);
    // What follows is inits at once, and the drivers' before the executors'.
    let next: Vec<String> = lines[3..].iter().take(6).map(ToString::to_string).collect();
    assert!(next.iter().all(|line| line.ends_with(" init")), "{next:?}");
    assert_eq!(
        next.first().map(String::as_str),
        Some("a driver driver init")
    );
}

#[test]
fn a05_a_late_fault_stops_the_start_before_any_init() {
    let setup = Setup::new();
    let missing = setup.folder().join("libgone.so");
    let entries = [
        setup.misbehave("a"),
        setup.misbehave("b"),
        Entry::of("c", &missing),
    ];
    setup.entries(STREAM, &entries);
    let run = setup.run();
    run.assert_code(3);
    let error = run.error();
    assert!(error.contains("`c`"), "{error}");
    assert!(error.contains(&missing.display().to_string()), "{error}");
    assert_eq!(inits(&setup), 0);
    // A file that is not there is known before any library is opened.
    assert_eq!(setup.trace().text(), "");
}

#[test]
fn a06_four_faults_are_four_different_errors() {
    let setup = Setup::new();
    let marker = setup.scratch("a constructor ran");
    let good = artifacts::fixture("driver-only");
    let text = setup.file(
        "libtext.so",
        b"This is no library at all, only some text with this name.\n",
    );
    // The manifest names the symbol; the symbol table has another one.
    let symbol = setup.file("patched/keep", b"").parent().unwrap().to_owned();
    let no_entry = artifacts::patched(
        good,
        &symbol,
        "\nsymbol=hotshoe_root_module_driver-only",
        "\nsymbol=hotshoe_root_module_driver-0nly",
    );
    let newer = artifacts::patched(good, &setup.folder(), "\nabi=1.0.0\n", "\nabi=2.0.0\n");
    let faults = [
        (setup.folder().join("libgone.so"), "not-found"),
        (text, "not-a-library"),
        (artifacts::fixture("no-symbol").to_owned(), "no-manifest"),
        (no_entry, "no-entry"),
        (newer, "abi-too-new"),
        (artifacts::fixture("ctor-marker").to_owned(), "abi-too-new"),
    ];
    let mut setup = setup;
    setup.variable("HOTSHOE_CTOR_MARKER", &marker);
    let mut sentences = BTreeSet::new();
    for (library, code) in &faults {
        setup.entries(
            STREAM,
            &[setup.misbehave("good"), Entry::of("bad", library)],
        );
        let run = setup.run();
        run.assert_code(3);
        assert_eq!(run.error_code(), *code, "{run:#?}");
        let error = run.error();
        assert!(
            error.contains("`bad`") && error.contains(&library.display().to_string()),
            "{error}"
        );
        assert!(
            sentences.insert(error.replace(&library.display().to_string(), "FILE"))
                || *code == "abi-too-new"
        );
        if *code == "abi-too-new" {
            let problem = &run.problems(code)[0];
            assert!(problem.text_of("wanted").contains("1.0"), "{run:#?}");
            assert!(problem.text_of("found").contains("2.0"), "{run:#?}");
        }
        assert_eq!(inits(&setup), 0, "{library:?}");
    }
    assert!(!marker.exists(), "code of a refused library ran");
}

/// Without it the records would pass unprocessed, and nobody would know.
#[test]
fn a07_a_processor_of_the_stream_cannot_decline() {
    let setup = Setup::new();
    let declining = setup
        .misbehave("b")
        .act(r#"hook = "new", crime = "decline", text = "no such card here""#);
    setup.entries("[stream]\nprocessors = [\"b\"]\n", &[declining]);
    let finished = setup.run();
    finished.assert_code(2);
    assert_eq!(finished.error_code(), "unknown-processor");
    assert!(
        finished.error().contains("no such card here"),
        "{}",
        finished.error()
    );
    assert_eq!(setup.trace().count("b", "driver", "init"), 0);
}

#[test]
fn a07_declined_is_skipped() {
    let setup = Setup::new();
    let declining = setup
        .misbehave("b")
        .act(r#"hook = "new", crime = "decline", text = "no such card here""#);
    setup.entries(
        STREAM,
        &[setup.misbehave("a"), declining, setup.misbehave("c")],
    );
    let mut host = setup.start();
    host.wait_ready();
    let status = host.admin("/status").json();
    let states: Vec<(&str, &str)> = status["instances"]
        .as_array()
        .unwrap()
        .iter()
        .map(|of| (of["name"].as_str().unwrap(), of["state"].as_str().unwrap()))
        .collect();
    assert_eq!(states, [("a", "ready"), ("b", "skipped"), ("c", "ready")]);
    host.send_line("through");
    host.wait_stdout(b"through\n");
    host.close_input();
    host.assert_exit(0);

    let about_b: Vec<_> = host
        .logs()
        .into_iter()
        .filter(|line| line.is_of("b"))
        .collect();
    assert_eq!(about_b.len(), 1, "{about_b:#?}");
    assert_eq!(about_b[0].level(), "INFO");
    assert!(
        about_b[0].message().contains("no such card here"),
        "{about_b:?}"
    );
    assert!(
        host.logs().iter().all(|line| line.level() != "ERROR"),
        "{}",
        host.stderr()
    );
    assert_eq!(inits_of_drivers(&setup), ["a", "c"]);
    let of_b = setup
        .trace()
        .lines()
        .into_iter()
        .filter(|line| line.instance == "b");
    let of_b: Vec<String> = of_b.map(|line| line.to_string()).collect();
    assert_eq!(of_b, ["b plugin - create", "b plugin - create error"]);
}

#[test]
fn a08_either_half_may_be_absent() {
    let setup = Setup::new();
    let entries = [
        setup.fixture("d", "driver-only"),
        setup.fixture("e", "executor-only"),
        setup.fixture("n", "empty"),
    ];
    setup.entries(STREAM, &entries);
    let run = setup.run();
    run.assert_code(0);
    let text = setup.trace().text();
    let of = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!(
        (of("d driver driver init"), of("d executor")),
        (1, 0),
        "{text}"
    );
    assert_eq!((of("e executor 0 init"), of("e driver")), (1, 0), "{text}");
    assert_eq!(
        text.lines().filter(|line| line.ends_with(" init")).count(),
        2,
        "{text}"
    );
    let warnings: Vec<_> = run
        .logs()
        .into_iter()
        .filter(|line| line.level() == "WARN")
        .collect();
    assert_eq!(warnings.len(), 1, "{run:#?}");
    assert!(warnings[0].message().contains("`n`"), "{warnings:?}");
}

#[test]
fn a09_n_executors_leave_n_and_one_markers() {
    for count in [1, 2, 8] {
        let setup = Setup::new();
        let folder = setup.scratch("markers");
        fs::create_dir(&folder).unwrap();
        let act = |hook: &str| {
            format!(
                "hook = {hook:?}, crime = \"marker\", path = {:?}",
                folder.display().to_string()
            )
        };
        let entry = setup
            .misbehave("m")
            .act(&act("driver-init"))
            .act(&act("executor-init"));
        setup.entries(&format!("[executors]\ncount = {count}\n{STREAM}"), &[entry]);
        let mut host = setup.start();
        host.close_input();
        host.assert_exit(0);
        let found: BTreeSet<String> = fs::read_dir(&folder)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        let wanted: BTreeSet<String> = (0..count)
            .map(|id| format!("EXECUTOR_FILE_{id}"))
            .chain(["DRIVER_FILE_driver".to_owned()])
            .collect();
        assert_eq!(found, wanted);
    }
}
