//! A worker's first acts, each in a process of its own: this program, started again by a shell that leaves it a mess.
#![cfg(target_os = "linux")]
#![allow(missing_docs, reason = "a test binary")]
#![expect(
    unsafe_code,
    reason = "a disposition is set behind the C library's back"
)]

use nix::sys::signal::{SigSet, Signal};
use std::{
    fs::{self, File},
    io::Write as _,
    os::fd::{AsFd as _, AsRawFd as _},
    process::{Command, Stdio},
};

/// Set in the process that cleans up after itself.
const CHILD: &str = "HOTSHOE_TEST_CHILD";

/// A signal above the classic ones that the C library keeps nothing of.
const REALTIME: i32 = 40;

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Runs one test of this program again as the shell's successor, after the shell did `first`. It must end well.
fn again(test: &str, first: &str) {
    let output = Command::new("sh")
        .args(["-c", &format!("{first}\nexec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().expect("this program"))
        // One thread for tests means the main one: what is reset is the whole process's.
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .stdin(Stdio::null())
        .output()
        .expect("a shell");
    let told = String::from_utf8_lossy(&output.stderr);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {said}{told}", output.status);
    assert!(said.contains("1 passed"), "{said}");
}

/// The open descriptors from 3 on, without the one that lists them.
fn open_from_3() -> Vec<i32> {
    let names = fs::read_dir("/proc/self/fd").expect("/proc");
    let numbers = names.map(|entry| {
        let name = entry.expect("an entry").file_name();
        name.to_str().and_then(|name| name.parse().ok())
    });
    let open: Vec<i32> = numbers.map(|number| number.expect("a number")).collect();
    let is_open = |number: &i32| fs::read_link(format!("/proc/self/fd/{number}")).is_ok();
    open.into_iter()
        .filter(|number| *number >= 3)
        .filter(is_open)
        .collect()
}

#[test]
fn every_descriptor_from_3_on_is_closed_and_the_three_stay() {
    if !is_child() {
        let mess = "exec 3</dev/null 4>&1 7</dev/null 9</dev/zero";
        return again(
            "every_descriptor_from_3_on_is_closed_and_the_three_stay",
            mess,
        );
    }
    // Far away and close-on-exec, as a library's would be.
    let file = File::open("/dev/null").expect("the null device");
    let far = rustix::io::fcntl_dupfd_cloexec(file.as_fd(), 900).expect("a descriptor");
    assert_eq!(far.as_raw_fd(), 900);
    std::mem::forget((file, far));
    let before = open_from_3();
    for number in [3, 4, 7, 9, 900] {
        assert!(before.contains(&number), "{number} of {before:?}");
    }
    hotshoe_loader::close_from(3).expect("closed");
    assert_eq!(open_from_3(), [0; 0]);
    std::io::stdout().write_all(b"\n").expect("stdout is open");
    std::io::stderr().write_all(b"\n").expect("stderr is open");
    // The first number that is free is the first that was asked for.
    let next = File::open("/dev/null").expect("the null device");
    assert_eq!(next.as_raw_fd(), 3);
}

#[test]
fn what_is_below_the_first_stays_open() {
    if !is_child() {
        return again(
            "what_is_below_the_first_stays_open",
            "exec 3</dev/null 8</dev/null",
        );
    }
    hotshoe_loader::close_from(4).expect("closed");
    assert_eq!(open_from_3(), [3]);
}

/// One of the masks that the kernel tells of this thread: bit n - 1 is signal n.
fn mask(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").expect("/proc");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    u64::from_str_radix(line.expect(key).trim(), 16).expect("hexadecimal")
}

/// The signals that are ignored, without the two that the C library keeps to itself: posix_spawn leaves them ignored.
fn ignored() -> u64 {
    mask("SigIgn") & !(bit(32) | bit(33))
}

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

#[test]
fn ignored_and_blocked_signals_are_as_new_but_for_sigpipe() {
    if !is_child() {
        return again(
            "ignored_and_blocked_signals_are_as_new_but_for_sigpipe",
            "trap '' HUP INT TERM USR1 QUIT PIPE",
        );
    }
    let blocked = [Signal::SIGTERM, Signal::SIGUSR2];
    SigSet::from_iter(blocked).thread_block().expect("blocked");
    // SAFETY: ignoring runs no code; a shell knows no realtime signals, so this stands for a parent that ignores one.
    unsafe { nix::libc::signal(REALTIME, nix::libc::SIG_IGN) };
    for signal in [
        Signal::SIGHUP,
        Signal::SIGTERM,
        Signal::SIGUSR1,
        Signal::SIGQUIT,
    ] {
        assert_ne!(
            mask("SigIgn") & bit(signal as i32),
            0,
            "{signal} is not ignored"
        );
    }
    assert_ne!(
        mask("SigIgn") & bit(REALTIME),
        0,
        "a realtime signal is not ignored"
    );
    assert_ne!(mask("SigBlk"), 0);
    // std's own, for stacks that overflow.
    let caught = mask("SigCgt");
    assert_ne!(caught & bit(Signal::SIGSEGV as i32), 0);

    hotshoe_loader::reset_signals().expect("reset");
    assert_eq!(mask("SigBlk"), 0);
    assert_eq!(ignored(), bit(Signal::SIGPIPE as i32));
    assert_eq!(mask("SigCgt"), caught);
    // Again is no change.
    hotshoe_loader::reset_signals().expect("reset");
    assert_eq!(ignored(), bit(Signal::SIGPIPE as i32));
}

#[test]
fn a_pending_signal_acts_as_by_default_once_it_is_let_through() {
    if !is_child() {
        let output = Command::new(std::env::current_exe().expect("this program"))
            .args([
                "a_pending_signal_acts_as_by_default_once_it_is_let_through",
                "--exact",
                "--test-threads=1",
            ])
            .env(CHILD, "1")
            .output()
            .expect("this program runs");
        use std::os::unix::process::ExitStatusExt as _;
        assert_eq!(output.status.signal(), Some(Signal::SIGTERM as i32));
        return;
    }
    let term = SigSet::from(Signal::SIGTERM);
    term.thread_block().expect("blocked");
    nix::sys::signal::raise(Signal::SIGTERM).expect("sent");
    hotshoe_loader::reset_signals().expect("reset");
    unreachable!("the signal was pending, and ends this process");
}

/// Nothing happens at them, and what a plugin starts has the defaults again.
#[test]
fn requests_to_stop_do_nothing_and_are_not_inherited() {
    if !is_child() {
        return again("requests_to_stop_do_nothing_and_are_not_inherited", "true");
    }
    let stops = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
    let send_all = || {
        for signal in stops {
            nix::sys::signal::raise(signal).expect("sent");
        }
    };
    // Before there is anybody to answer, and after.
    hotshoe_loader::hold_stops_back().expect("blocked");
    send_all();
    hotshoe_loader::leave_stops_to_the_host().expect("handled");
    hotshoe_loader::reset_signals().expect("reset");
    send_all();
    let status = Command::new("sh").args(["-c", "kill -TERM $$"]).status();
    use std::os::unix::process::ExitStatusExt as _;
    let status = status.expect("a shell");
    assert_eq!(status.signal(), Some(Signal::SIGTERM as i32));
}
