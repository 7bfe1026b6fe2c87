//! The attempts through a host: the plugin in workers of its own, walled in by its configuration, and a host that notices
//! nothing.
//!
//! Each attempt must be stopped just as it is behind the walls alone, by the same word of the system's: so that none is
//! stopped by an accident of the worker's.

use super::{BEGIN, Came, END, World, list};
use hotshoe_tests::{
    Entry, Setup, TestHost,
    artifacts::{self, workspace_root},
};
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path, process::Command};

/// The walls, as attempts and instances are called by them.
const WALLS: [&str; 4] = ["standard", "folders", "network", "limits"];

/// What the walls end a process for, instead of refusing it. The second is [`super::limits`]'s to look at: it takes its time.
const DEADLY: [&str; 2] = ["calls-of-32-bits", "processor-time"];

/// What the constructor is told its scene by.
const AT_LOAD: &str = "HOTSHOE_ESCAPE_AT_LOAD";

/// The plugin in a process of its own, without walls.
pub(super) fn escape(name: &str, scene: &Value) -> Entry {
    escape_of(artifacts::fixture("escape"), name, scene)
}

/// The same from a copy of the library.
pub(super) fn escape_of(library: &Path, name: &str, scene: &Value) -> Entry {
    let scene = toml::Value::try_from(scene).unwrap();
    Entry::of(name, library)
        .key("isolation = \"process\"")
        .set(&format!("scene = {scene}"))
}

/// An instance for each of [`WALLS`], each in the others' stream.
fn configure(setup: &Setup, world: &World, scene: &Value, env: &[&str]) {
    let path = |name: &str| world.folder.path().join(name);
    let port = &scene["listed_port"];
    let folders = format!(
        "read = [{:?}], write = [{:?}]",
        path("readable"),
        path("inside")
    );
    let network = format!("net = {{ bind = [{port}], connect = [{port}] }}");
    let entry = |name: &&str| {
        let inside = match *name {
            "folders" => &folders,
            "network" => &network,
            _ => "",
        };
        let sandbox = match (inside, env) {
            ("", []) => "\"standard\"".to_owned(),
            ("", env) => format!("{{ env = {env:?} }}"),
            (inside, env) => format!("{{ {inside}, env = {env:?} }}"),
        };
        let entry = escape(name, scene).key(&format!("sandbox = {sandbox}"));
        match *name {
            "limits" => entry.key(
                "limits = { memory = \"64MiB\", cpu_time = \"1s\", files = 64, processes = 32 }",
            ),
            _ => entry,
        }
    };
    let entries: Vec<Entry> = WALLS.iter().map(entry).collect();
    setup.entries(&format!("[stream]\nprocessors = {WALLS:?}"), &entries);
}

/// Asks for each and answers what came of it, in order.
pub(super) fn ask(host: &mut TestHost<'_>, records: &[String]) -> Vec<String> {
    host.send(format!("{}\n", records.join("\n")).as_bytes());
    let lines = host.wait_stdout_lines(records.len());
    let answer = |(record, line): (&String, &String)| {
        let answer = line.strip_prefix(&format!("{record} "));
        answer
            .unwrap_or_else(|| panic!("`{record}` came out as `{line}`"))
            .to_owned()
    };
    records.iter().zip(&lines).map(answer).collect()
}

/// Everything that does not end its process, in that way; none gets out, and each is stopped as behind the walls alone.
fn nothing_gets_out(how: &str) {
    let world = World::new();
    let expected: Vec<(String, String, Came)> = list("list")
        .into_iter()
        .filter(|(name, _)| !DEADLY.contains(&name.as_str()))
        .map(|(name, walls)| {
            let alone = world.attempt(&name, "all");
            (name, walls.to_lowercase(), alone)
        })
        .collect();
    assert!(expected.len() >= 100, "{}", expected.len());
    let mut setup = Setup::new();
    let scene = world.scene_of(0);
    let env: &[&str] = if how == "load" {
        setup.variable(AT_LOAD, scene.to_string());
        &[AT_LOAD]
    } else {
        &[]
    };
    configure(&setup, &world, &scene, env);
    let mut host = setup.start();
    let records: Vec<String> = expected
        .iter()
        .map(|(name, walls, _)| format!("{walls} {how} {name}"))
        .collect();
    let answers = ask(&mut host, &records);
    let mut wrong = Vec::new();
    for ((name, _, alone), answer) in expected.iter().zip(answers) {
        match alone {
            Came::Stopped(why) if answer == format!("stopped: {why}") => {}
            alone => wrong.push(format!(
                "{name}: {answer}, and behind the walls alone {alone:?}"
            )),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    host.wait_ready();
    unharmed(&host);
    layers_are_named(&host);
    host.close_input();
    host.assert_exit(0);
}

/// No worker died, and everybody is well.
#[track_caller]
fn unharmed(host: &TestHost<'_>) {
    assert_eq!(host.status()["state"], "ready");
    for name in WALLS {
        let instance = host.instance(name);
        assert_eq!(instance["state"], "ready", "{instance}");
        let worker = &instance["worker"];
        assert_eq!(worker["lives"], 1, "{instance}");
        assert_eq!(
            worker["crashes"].as_array().map(Vec::len),
            Some(0),
            "{instance}"
        );
    }
}

/// The layers that the docs say stop an attempt are layers that the worker says are on.
#[track_caller]
fn layers_are_named(host: &TestHost<'_>) {
    let on: BTreeMap<&str, String> = WALLS
        .into_iter()
        .map(|name| (name, host.instance(name)["worker"]["enforced"].to_string()))
        .collect();
    let docs = fs::read_to_string(workspace_root().join("docs/sandbox.md")).unwrap();
    let (_, table) = docs.split_once(BEGIN).unwrap();
    let (table, _) = table.split_once(END).unwrap();
    let mut seen = 0;
    for row in table.lines().skip(2) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [attempt, walls, layers] = cells.as_slice() else {
            panic!("{row}");
        };
        if layers.starts_with("no such call") {
            continue;
        }
        seen += 1;
        for layer in layers.split(", ") {
            assert!(
                on[walls].contains(layer),
                "{attempt}: {layer} is not on: {}",
                on[walls]
            );
        }
    }
    assert!(seen >= 100, "{seen}");
}

#[test]
fn nothing_gets_out_of_a_worker_by_a_call() {
    nothing_gets_out("call");
}

#[test]
fn nothing_gets_out_of_a_worker_by_a_thread_of_its_own() {
    nothing_gets_out("thread");
}

/// The walls stand before the library is opened.
#[test]
fn nothing_gets_out_of_a_worker_while_its_library_is_opened() {
    nothing_gets_out("load");
}

/// What proves the others: without walls the same plugin in the same worker gets where it wants.
#[test]
fn without_walls_a_worker_gets_out() {
    let world = World::new();
    let setup = Setup::new();
    let scene = world.scene_of(0);
    setup.entries(
        "[stream]\nprocessors = [\"free\"]",
        &[escape("free", &scene)],
    );
    let mut host = setup.start();
    let records: Vec<String> = [
        "read-passwd",
        "read-outside",
        "create-outside",
        "read-parent-environment",
        "signal-parent",
        "fork",
        "tcp-connect",
        "unix-connect",
        "udp-send",
    ]
    .iter()
    .flat_map(|name| ["call", "thread"].map(|how| format!("free {how} {name}")))
    .collect();
    for (record, answer) in records.iter().zip(ask(&mut host, &records)) {
        // Made twice: the second time the file is there.
        let made =
            answer == "stopped: File exists (os error 17)" && record.ends_with("create-outside");
        assert!(answer == "escaped" || made, "{record}: {answer}");
    }
    host.wait_ready();
    assert_eq!(
        host.instance("free")["worker"]["enforced"],
        serde_json::json!([])
    );
    host.close_input();
    host.assert_exit(0);
}

/// The word that names the newest configuration is the host's to write, walls or none.
#[test]
fn a_worker_can_only_read_the_epoch() {
    let setup = Setup::new();
    let free = escape("free", &World::new().scene_of(0));
    setup.entries("[stream]\nprocessors = [\"free\"]", &[free]);
    let mut host = setup.start();
    let answers = ask(&mut host, &["free call epoch-page".to_owned()]);
    assert_eq!(answers, ["stopped: Permission denied (os error 13)"]);
    host.close_input();
    host.assert_exit(0);
}

/// What may be done works, in the worker as well.
#[test]
fn what_a_walled_plugin_may_do_works_in_a_worker() {
    let world = World::new();
    let setup = Setup::new();
    let scene = world.scene_of(0);
    configure(&setup, &world, &scene, &[]);
    let mut host = setup.start();
    let records: Vec<String> = list("list-harmless")
        .into_iter()
        .map(|(name, walls)| format!("{} call {name}", walls.to_lowercase()))
        .collect();
    for (record, answer) in records.iter().zip(ask(&mut host, &records)) {
        assert_eq!(answer, "escaped", "{record}");
    }
    host.wait_ready();
    unharmed(&host);
    host.close_input();
    host.assert_exit(0);
}

/// What ends the process ends that alone; the record is found and kept apart, and whoever looks is told what it died of.
#[cfg(target_arch = "x86_64")]
#[test]
fn what_the_walls_kill_for_is_named_and_the_host_goes_on() {
    let world = World::new();
    let setup = Setup::new();
    let scene = world.scene_of(0);
    configure(&setup, &world, &scene, &[]);
    let config = fs::read_to_string(setup.config_path()).unwrap();
    let more = "[stream]\non_error = \"dead-letter\"\ndead_letter = \"dead.jsonl\"\n";
    setup.config(&config.replacen("[stream]\n", more, 1));
    let mut host = setup.start();
    host.wait_ready();
    host.send(b"before\nstandard call calls-of-32-bits\nafter\n");
    host.wait_stdout(b"before\nafter\n");
    for name in ["folders", "network", "limits"] {
        assert_eq!(host.instance(name)["worker"]["lives"], 1, "{name}");
    }
    let crashes = host.instance("standard")["worker"]["crashes"].clone();
    let crashes = crashes.as_array().unwrap();
    assert!(!crashes.is_empty());
    for crash in crashes {
        assert_eq!(crash["how"], "killed by signal 31 (SIGSYS)");
    }
    host.close_input();
    host.assert_exit(0);
    let kept = fs::read_to_string(setup.folder().join("dead.jsonl")).unwrap();
    assert_eq!(kept.lines().count(), 1, "{kept}");
    assert!(kept.contains("SIGSYS"), "{kept}");
}

/// Of the host's environment a walled worker gets what speaks the operator's language, and what the table names.
#[test]
fn a_walled_worker_gets_the_variables_that_are_listed() {
    let world = World::new();
    let mut setup = Setup::new();
    for variable in [
        "SECRET_TOKEN",
        "LANG",
        "LC_TIME",
        "TZ",
        "WANTED",
        "LD_LIBRARY_PATH",
    ] {
        setup.variable(variable, "x");
    }
    let scene = world.scene_of(0);
    let free = escape("free", &scene);
    let standard = escape("standard", &scene).key("sandbox = \"standard\"");
    let listed = escape("listed", &scene).key("sandbox = { env = [\"WANTED\", \"ABSENT\"] }");
    setup.entries(
        "[stream]\nprocessors = [\"free\", \"standard\", \"listed\"]",
        &[free, standard, listed],
    );
    let mut host = setup.start();
    let records = ["free", "standard", "listed"].map(|name| format!("{name} call environment"));
    let answers = ask(&mut host, &records);
    assert_eq!(answers[1], "HOTSHOE_WORKER,LANG,LC_TIME,PATH,TZ");
    assert_eq!(answers[2], "HOTSHOE_WORKER,LANG,LC_TIME,PATH,TZ,WANTED");
    let all = [
        "HOME",
        "HOTSHOE_WORKER",
        "LANG",
        "LC_TIME",
        "LD_LIBRARY_PATH",
        "PATH",
        "SECRET_TOKEN",
    ];
    for variable in all {
        assert!(
            answers[0].split(',').any(|name| name == variable),
            "{}",
            answers[0]
        );
    }
    host.close_input();
    host.assert_exit(0);
}

/// What the host has open, and what whoever started it left open, stays out of the worker.
#[test]
fn a_worker_has_its_own_descriptors_and_no_others() {
    let world = World::new();
    let setup = Setup::new();
    let scene = world.scene_of(0);
    configure(&setup, &world, &scene, &[]);
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "exec 7<\"$1\" 8<. 9>\"$2\"; exec \"$3\" --log-format json run \"$4\"",
            "sh",
        ])
        .args([
            world.folder.path().join("outside/secret"),
            setup.scratch("written"),
        ])
        .args([artifacts::hotshoe(), &setup.config_path()]);
    let mut host = setup.start_command(command);
    let records: Vec<String> = WALLS
        .iter()
        .flat_map(|name| {
            ["descriptors", "standard-input"].map(|what| format!("{name} call {what}"))
        })
        .collect();
    for (record, answer) in records.iter().zip(ask(&mut host, &records)) {
        match record.rsplit(' ').next().unwrap() {
            "standard-input" => assert_eq!(answer, "nothing", "{record}"),
            _ => {
                let kinds: Vec<&str> = answer.split(',').collect();
                assert_eq!(
                    kinds[..3],
                    ["0:device", "1:pipe", "2:pipe"],
                    "{record}: {answer}"
                );
                for kind in &kinds[3..] {
                    // Control and data; cells, epoch page and library.
                    assert!(
                        kind.ends_with(":socket") || kind.ends_with(":memory"),
                        "{record}: {answer}"
                    );
                }
                assert!(kinds.len() <= 8, "{record}: {answer}");
            }
        }
    }
    host.close_input();
    host.assert_exit(0);
}

/// With `stage = "directory"` a library is opened from a private folder, which the worker may read and nobody else named.
#[test]
fn a_walled_worker_opens_its_library_from_a_private_folder() {
    let world = World::new();
    let setup = Setup::new();
    let entry = escape("standard", &world.scene_of(0))
        .key("sandbox = \"standard\"")
        .key("stage = \"directory\"");
    setup.entries("[stream]\nprocessors = [\"standard\"]", &[entry]);
    let mut host = setup.start();
    let records = ["read-outside", "read-passwd", "create-outside"]
        .map(|name| format!("standard call {name}"));
    for answer in ask(&mut host, &records) {
        assert_eq!(answer, "stopped: Permission denied (os error 13)");
    }
    host.close_input();
    host.assert_exit(0);
}
