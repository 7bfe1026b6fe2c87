//! A32 and A33: what a part is told about where it is, and settings that are judged before any of it runs.

use hotshoe_tests::{Entry, Setup};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What each part of `m` was told, by `<component> <executor>`.
fn reports(tables: &str) -> BTreeMap<String, Value> {
    let setup = Setup::new();
    let entry = setup
        .misbehave("m")
        .act(r#"hook = "driver-init", crime = "report""#)
        .act(r#"hook = "executor-init", crime = "report""#)
        .act(r#"hook = "processor-init", crime = "report""#);
    let stream = "[stream]\nsource = \"stdin\"\nprocessors = [\"m\"]\n";
    setup.entries(&format!("{tables}\n{stream}"), &[entry]);
    setup.run().assert_code(0);
    let lines = setup.trace().lines();
    let reports: BTreeMap<String, Value> = lines
        .iter()
        .filter_map(|line| {
            let report = serde_json::from_str(line.rest.strip_prefix("report ")?).unwrap();
            Some((format!("{} {}", line.component, line.executor), report))
        })
        .collect();
    let parts: Vec<&str> = reports.keys().map(String::as_str).collect();
    assert_eq!(parts, ["driver driver", "executor 0", "processor 0"]);
    reports
}

#[test]
fn a32_a_part_is_told_who_and_where_it_is() {
    let reports = reports(
        "[host]\nhostname = \"::1\"\nresources = { gpu = [\"5\", \"6\"] }\n\
         [executors]\ncount = 1\nresources = { gpu = [\"3\", \"4\"] }",
    );
    for (part, executor, resources) in [
        ("driver driver", "driver", json!({ "gpu": ["5", "6"] })),
        ("executor 0", "0", json!({ "gpu": ["3", "4"] })),
        ("processor 0", "0", json!({ "gpu": ["3", "4"] })),
    ] {
        let report = &reports[part];
        assert_eq!(report["instance"], "m", "{part}");
        assert_eq!(report["executor"], executor, "{part}");
        assert_eq!(report["hostname"], "::1", "{part}");
        assert_eq!(report["resources"], resources, "{part}");
    }
}

#[test]
fn a32_without_resources_the_map_is_empty() {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for report in reports("").into_values() {
        assert_eq!(report["resources"], json!({}));
        assert_eq!(report["hostname"], machine.trim());
    }
    // One side's are not the other's.
    let reports = reports("[executors]\nresources = { gpu = [\"3\"] }");
    assert_eq!(reports["driver driver"]["resources"], json!({}));
    assert_eq!(reports["executor 0"]["resources"], json!({ "gpu": ["3"] }));
}

fn port(setup: &Setup, line: &str) -> Entry {
    let entry = setup.fixture("p", "schema-port");
    if line.is_empty() {
        entry
    } else {
        entry.set(line)
    }
}

#[test]
fn a33_settings_are_judged_by_the_schema_before_any_init() {
    for (line, key) in [
        ("port = \"x\"", "port"),
        ("port = 0", "port"),
        ("port = 65536", "port"),
        ("prot = 1", "prot"),
    ] {
        let setup = Setup::new();
        setup.entries("", &[setup.misbehave("good"), port(&setup, line)]);
        let text = std::fs::read_to_string(setup.config_path()).unwrap();
        let number = text.lines().position(|found| found == line).unwrap() + 1;
        // The key's.
        let place = format!("{}:{number}:1", setup.config_path().display());
        let refused = setup.run();
        refused.assert_code(2);
        assert_eq!(refused.error_code(), "settings-invalid", "{line}");
        assert!(refused.error().contains(key), "{refused:#?}");
        let problems = refused.problems("settings-invalid");
        assert_eq!(problems.len(), 1, "{refused:#?}");
        assert_eq!(problems[0].text_of("at"), place, "{refused:#?}");
        // The headline stands alone: it names the file and line.
        assert!(
            refused.error().contains(&format!("hotshoe.toml:{number}")),
            "{}",
            refused.error()
        );
        let inits = setup
            .trace()
            .lines()
            .into_iter()
            .filter(|line| line.call == "init");
        assert_eq!(inits.count(), 0, "{}", setup.trace().text());

        let (checked, answer) = setup.check_json();
        checked.assert_code(2);
        assert_eq!(
            answer["problems"][0]["code"], "settings-invalid",
            "{answer:#}"
        );
    }
}

#[test]
fn a33_a_missing_key_has_its_default() {
    let setup = Setup::new();
    setup.entries("[stream]\nsource = \"stdin\"\n", &[port(&setup, "")]);
    setup.run().assert_code(0);
    assert_eq!(setup.trace().text(), "p driver driver init port=9999\n");
}
