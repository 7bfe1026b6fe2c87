//! The program does what it shows, and leaves nothing behind.
#![forbid(unsafe_code)]

use std::{fs, process::Command};

#[test]
fn the_program_publishes_asks_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hotshoe-embedding"));
    // The host's private folder is made here.
    let output = command.env("TMPDIR", folder.path()).output().unwrap();
    let (stdout, stderr) = (output.stdout, output.stderr);
    let expected = "good evening world (generation 2)\ngreeter is ready\nexit code 0\n";
    assert_eq!(String::from_utf8(stdout).unwrap(), expected);
    assert_eq!(String::from_utf8(stderr).unwrap(), "");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
