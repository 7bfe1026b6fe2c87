//! The fixtures are what they claim to be: a crime that was never committed would let every test of it pass.

use hotshoe_tests::{Setup, artifacts};
use std::{fs, process::Command};

fn holds(file: &std::path::Path, text: &str) -> bool {
    let bytes = fs::read(file).unwrap();
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

#[test]
fn the_constructor_leaves_its_mark_when_anybody_opens_the_library() {
    let setup = Setup::new();
    let marker = setup.scratch("marker");
    // The control run: the loader opens it, nobody asks what it is.
    let status = Command::new("true")
        .env("LD_PRELOAD", artifacts::fixture("ctor-marker"))
        .env("HOTSHOE_CTOR_MARKER", &marker)
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(fs::read_to_string(marker).unwrap(), "a constructor ran\n");
}

#[test]
fn the_crimes_that_are_files_stand_in_the_files() {
    assert!(!holds(artifacts::fixture("no-symbol"), "HOTSHOE-MANIFEST"));
    assert!(holds(
        artifacts::fixture("ctor-marker"),
        "HOTSHOE-MANIFEST 1\nname=ctor-marker\n"
    ));
    assert!(holds(artifacts::fixture("misbehave"), "\npanic=unwind\n"));
    assert!(holds(artifacts::panic_abort(), "\npanic=abort\n"));
    assert!(holds(artifacts::fixture("empty"), "\ncomponents=\n"));
}

#[test]
fn a_patched_copy_differs_where_it_was_patched_alone() {
    let setup = Setup::new();
    let good = artifacts::fixture("driver-only");
    let bad = artifacts::patched(good, &setup.folder(), "\nabi=1.0.0\n", "\nabi=2.0.0\n");
    let (good, bad) = (fs::read(good).unwrap(), fs::read(bad).unwrap());
    let differing = good.iter().zip(&bad).filter(|(a, b)| a != b).count();
    assert_eq!((good.len(), differing), (bad.len(), 1));
}
