//! What belongs to the process and not to the library: the lock of the run folder, and where its answers go.

use hotshoe_tests::{Setup, artifacts};
use std::{
    fs::File,
    process::{Command, Stdio},
};

/// A second host of one name would share sockets, addresses and state with the first.
#[test]
fn a_second_host_of_the_same_name_is_refused() {
    let setup = Setup::new();
    setup.entries("", &[setup.misbehave("a")]);
    let mut first = setup.start();
    first.wait_ready();
    let second = setup.run();
    second.assert_code(4);
    assert_eq!(second.error_code(), "already-running");
    assert_eq!(setup.trace().count("a", "driver", "init"), 1);
    first.terminate();
    let mut third = setup.start();
    third.wait_ready();
    third.terminate();
}

/// An answer that is lost is no success: `> backup.json` on a full disk. A reader that has what it wants is none of ours.
#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let full = File::options().write(true).open("/dev/full").expect("it");
    let (reader, unread) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    drop(reader);
    for (stdout, exit, code) in [
        (Stdio::from(full), 1, "error[output-lost]"),
        (Stdio::from(unread), 0, ""),
    ] {
        let mut schema = Command::new(artifacts::hotshoe());
        let output = schema.arg("schema").stdout(stdout).stdin(Stdio::null());
        let output = output.stderr(Stdio::piped()).output().expect("it runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(exit), "{stderr}");
        assert!(stderr.starts_with(code), "{stderr}");
        assert_eq!(stderr.is_empty(), code.is_empty(), "{stderr}");
    }
}
