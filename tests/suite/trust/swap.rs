//! What was verified is what runs, whatever happens to the path meanwhile: through the real binary, process by process. The
//! long run is `tests/load/swap_race.rs`.

use super::swapping::{Stopped, Swaps, images, swap};
use hotshoe_tests::{Setup, artifacts};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    sync::atomic::{AtomicBool, Ordering},
};

const LOADS: usize = 100;

#[test]
fn a_hundred_loads_of_a_swapped_path_run_the_verified_bytes_or_none() {
    let mut setup = Setup::new();
    let marker = setup.scratch("a constructor ran");
    setup.variable("HOTSHOE_CTOR_MARKER", &marker);
    let folder = setup.scratch("swapped");
    fs::create_dir(&folder).unwrap();
    let plugins = ["driver-only", "schema-port"].map(artifacts::fixture);
    let (images, files) = images(&folder, plugins, artifacts::fixture("ctor-marker"));

    // Plugin and schema of a file, as the binary tells them after it ran the plugin's code.
    let look = |path: &std::path::Path| {
        let path = path.display().to_string();
        let finished = setup.hotshoe(&["inspect", "--schema", "--json", &path]);
        let code = finished.code;
        assert!(code == Some(0) || code == Some(3), "{finished:#?}");
        let answer: Value = serde_json::from_str(&finished.stdout).unwrap();
        answer[0].clone()
    };
    let schemas: BTreeMap<String, Value> = files[..2]
        .iter()
        .map(|path| {
            let answer = look(path);
            let name = answer["inspection"]["manifest"]["name"].as_str().unwrap();
            (name.to_owned(), answer["schema"].clone())
        })
        .collect();
    assert_eq!(schemas.len(), 2);
    assert!(schemas.values().all(Value::is_object), "{schemas:?}");

    let path = folder.join("swapped.so");
    fs::write(&path, &images[0]).unwrap();
    let (stop, swaps) = (AtomicBool::new(false), Swaps::default());
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    std::thread::scope(|scope| {
        scope.spawn(|| swap(&path, &images, &files, &stop, &swaps));
        let _stopped = Stopped(&stop);
        for _ in 0..LOADS {
            let answer = look(&path);
            let outcome = match answer["problem"]["code"].as_str() {
                Some(code) => format!("refused {code}"),
                None => {
                    let name = answer["inspection"]["manifest"]["name"].as_str().unwrap();
                    assert_eq!(schemas.get(name), Some(&answer["schema"]), "{answer:#}");
                    "ran".to_owned()
                }
            };
            *seen.entry(outcome).or_default() += 1;
        }
    });
    assert!(!marker.exists(), "code of a file that no host takes ran");
    assert!(seen.get("ran").is_some_and(|count| *count > 0), "{seen:?}");
    assert!(
        swaps.renamed.load(Ordering::Relaxed) > LOADS as u64,
        "{swaps:?}"
    );
    // Only these: anything else would be bytes that were nobody's. A file that is being rewritten is short, or empty.
    let expected = [
        "ran",
        "refused abi-too-new",
        "refused changed-while-loading",
        "refused truncated",
        "refused not-a-library",
    ];
    let odd: Vec<_> = seen
        .keys()
        .filter(|outcome| !expected.contains(&outcome.as_str()))
        .collect();
    assert!(odd.is_empty(), "{seen:?}");
}
