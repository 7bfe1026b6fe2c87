//! A17 and A18: whose number it is, and when it is there.

use hotshoe_tests::{Setup, TestHost};
use serde_json::Value;
use std::collections::BTreeSet;

/// Spark's own test plugin: a number of the driver's and one of each executor's.
fn start(setup: &Setup, executors: u32) -> TestHost<'_> {
    let entry = setup
        .misbehave("m")
        .act(r#"hook = "register-metrics", crime = "gauge", name = "driverMetric", value = 42.0"#)
        .act(r#"hook = "executor-init", crime = "gauge", name = "executorMetric", value = 84.0"#);
    setup.entries(
        &format!("[executors]\ncount = {executors}\n[stream]\nsource = \"stdin\"\n"),
        &[entry, setup.misbehave("silent")],
    );
    let host = setup.start();
    host.wait_ready();
    host
}

/// (name, component, executor, value) of each metric in the status.
fn status_metrics(status: &Value, instance: &str) -> BTreeSet<String> {
    let instances = status["instances"].as_array().unwrap();
    let of = instances.iter().find(|of| of["name"] == instance).unwrap();
    let metrics = of["metrics"].as_array().unwrap();
    let found: BTreeSet<String> = metrics
        .iter()
        .map(|metric| {
            let text = |key: &str| metric[key].as_str().unwrap().to_owned();
            format!(
                "{} {} {} {}",
                text("name"),
                text("component"),
                text("executor"),
                metric["value"]
            )
        })
        .collect();
    assert_eq!(
        found.len(),
        metrics.len(),
        "one of them twice: {metrics:#?}"
    );
    found
}

#[test]
fn a17_each_number_is_found_once_for_each_part_that_has_it() {
    for executors in [1, 2] {
        let setup = Setup::new();
        let mut host = start(&setup, executors);
        let of = |name: &str, labels: &[(&str, &str)]| {
            let samples = host.samples(name, labels);
            samples
                .into_iter()
                .map(|(_, value)| value)
                .collect::<Vec<f64>>()
        };
        let driver = "hotshoe_plugin_driverMetric";
        let executor = "hotshoe_plugin_executorMetric";
        assert_eq!(of(driver, &[]), [42.0]);
        assert_eq!(
            of(driver, &[("plugin", "m"), ("component", "driver")]),
            [42.0]
        );
        assert_eq!(of(executor, &[]), vec![84.0; executors as usize]);
        for id in 0..executors {
            let labels = [
                ("plugin", "m"),
                ("component", "executor"),
                ("executor", &*id.to_string()),
            ];
            assert_eq!(of(executor, &labels), [84.0]);
        }

        let status = host.admin("/status").json();
        let mut wanted: BTreeSet<String> =
            ["plugin.m.driverMetric driver driver 42.0".to_owned()].into();
        wanted
            .extend((0..executors).map(|id| format!("plugin.m.executorMetric executor {id} 84.0")));
        // Two sources with one executor: the driver's and the executor's.
        assert_eq!(status_metrics(&status, "m"), wanted);
        assert_eq!(wanted.len(), 1 + executors as usize);
        host.close_input();
        host.assert_exit(0);
    }
}

#[test]
fn a18_every_init_precedes_every_register_metrics() {
    let setup = Setup::new();
    let entries = ["a", "b", "c"].map(|name| {
        setup
            .misbehave(name)
            .act(r#"hook = "driver-init", crime = "report""#)
            .act(r#"hook = "checker-init", crime = "report""#)
            .act(r#"hook = "executor-init", crime = "report""#)
            .act(r#"hook = "processor-init", crime = "report""#)
    });
    setup.entries(
        "[executors]\ncount = 2\n[stream]\nsource = \"stdin\"\nprocessors = [\"b\"]\n",
        &entries,
    );
    let run = setup.run();
    run.assert_code(0);
    let lines = setup.trace().lines();
    let of = |component: &str, call: &str| -> Vec<usize> {
        let calls = lines.iter().enumerate();
        let calls = calls.filter(|(_, line)| line.component == component && line.call == call);
        calls.map(|(place, _)| place).collect()
    };
    let (inits, registers) = (of("driver", "init"), of("driver", "register_metrics"));
    assert_eq!((inits.len(), registers.len()), (3, 3), "{lines:#?}");
    assert!(inits.last() < registers.first(), "{lines:#?}");
    let names: Vec<&str> = registers
        .iter()
        .map(|place| &*lines[*place].instance)
        .collect();
    assert_eq!(names, ["a", "b", "c"]);

    // One run, and every part of it knows which. 3 drivers and 3 × 2 executor parts at least.
    let reports: Vec<Value> = lines
        .iter()
        .filter_map(|line| line.rest.strip_prefix("report "))
        .map(|report| serde_json::from_str(report).unwrap())
        .collect();
    assert!(reports.len() >= 9, "{reports:#?}");
    let runs: BTreeSet<&str> = reports
        .iter()
        .map(|report| report["run"].as_str().unwrap())
        .collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    assert!(runs.iter().all(|run| !run.is_empty()), "{runs:?}");
}

#[test]
fn a18_no_metrics_no_source_and_late_ones_are_seen() {
    let setup = Setup::new();
    let late = setup
        .misbehave("late")
        .act(r#"hook = "process", crime = "slow", ms = 1000, word = "now""#)
        .act(r#"hook = "process", crime = "count", name = "lateOnes", value = 3.0, word = "now""#);
    setup.entries(
        "[stream]\nsource = \"stdin\"\nprocessors = [\"late\"]\n",
        &[late, setup.misbehave("silent")],
    );
    let mut host = setup.start();
    host.wait_ready();
    let of_plugins = |host: &TestHost<'_>| {
        let text = host.admin("/metrics").text();
        let lines = text
            .lines()
            .filter(|line| line.starts_with("hotshoe_plugin_"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(of_plugins(&host), [""; 0]);
    host.send_line("now");
    host.wait_stdout(b"now\n");
    let labels = [
        ("plugin", "late"),
        ("component", "executor"),
        ("executor", "0"),
    ];
    let values: Vec<f64> = host
        .samples("hotshoe_plugin_lateOnes_total", &labels)
        .into_iter()
        .map(|(_, value)| value)
        .collect();
    assert_eq!(values, [3.0], "{:?}", of_plugins(&host));
    let status = host.admin("/status").json();
    assert_eq!(status_names(&status, "late"), ["plugin.late.lateOnes"]);
    assert_eq!(status_names(&status, "silent"), [""; 0]);
    assert!(!of_plugins(&host).iter().any(|line| line.contains("silent")));
    host.close_input();
    host.assert_exit(0);
}

fn status_names(status: &Value, instance: &str) -> Vec<String> {
    let instances = status["instances"].as_array().unwrap();
    let of = instances.iter().find(|of| of["name"] == instance).unwrap();
    let metrics = of["metrics"].as_array().unwrap().iter();
    metrics
        .map(|metric| metric["name"].as_str().unwrap().to_owned())
        .collect()
}
