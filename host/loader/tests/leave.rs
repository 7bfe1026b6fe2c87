//! Leaving skips what a plugin may have left behind for the end of the process: shown in a process of its own.
#![cfg(unix)]
#![allow(missing_docs, reason = "a test binary")]

use std::{
    process::{Command, Stdio},
    time::Duration,
};

/// Set in the process that leaves.
const LEAVES: &str = "HOTSHOE_TEST_LEAVES";

/// A destructor that would change how the process ends, as a plugin's may.
struct Spoiler;

impl Drop for Spoiler {
    fn drop(&mut self) {
        std::process::abort();
    }
}

thread_local! {
    static SPOILER: Spoiler = const { Spoiler };
}

#[test]
fn leaving_runs_no_destructor_and_keeps_its_code() {
    if std::env::var_os(LEAVES).is_some() {
        SPOILER.with(|_| ());
        // A thread that never ends does not keep the process either.
        std::thread::spawn(|| std::thread::park_timeout(Duration::from_secs(3600)));
        hotshoe_loader::leave(70);
    }
    let status = Command::new(std::env::current_exe().expect("this program"))
        .args([
            "leaving_runs_no_destructor_and_keeps_its_code",
            "--exact",
            "--nocapture",
        ])
        .env(LEAVES, "1")
        .stdout(Stdio::null())
        .status()
        .expect("this program runs");
    assert_eq!(status.code(), Some(70));
}
