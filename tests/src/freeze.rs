//! A process that is stopped from outside, as a debugger or a careless operator does. Not for the caller's children alone.

use crate::DEADLINE;
use rustix::process::{Pid, Signal, kill_process};
use std::{fs, thread, time::Instant};

/// Sends SIGSTOP, and waits until none of the process's threads runs any more: the signal is there at once, but on a busy
/// machine a thread that has the processor goes on for a while. Answers false where there is no such process.
///
/// - Panics: the deadline passed.
#[track_caller]
pub fn freeze(pid: Pid) -> bool {
    if kill_process(pid, Signal::STOP).is_err() {
        return false;
    }
    let until = Instant::now() + DEADLINE;
    loop {
        let states = states(pid);
        if states.iter().all(|state| "ZX".contains(*state)) {
            return false;
        }
        if states.iter().all(|state| *state == 'T') {
            return true;
        }
        assert!(Instant::now() < until, "its threads are in {states:?}");
        // Only a parent is told of it.
        thread::yield_now();
    }
}

/// Of each thread, as proc(5) has it: `R` runs, `T` is stopped, `Z` is dead.
fn states(pid: Pid) -> Vec<char> {
    let threads = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()));
    let stats = threads.into_iter().flatten().filter_map(|thread| {
        // A thread may end while it is looked at.
        fs::read_to_string(thread.ok()?.path().join("stat")).ok()
    });
    // Behind the name, which may hold anything.
    let state = |stat: String| stat.rsplit(')').next()?.trim_start().chars().next();
    stats.filter_map(state).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_frozen_process_stands_still_and_a_dead_one_is_none() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = Pid::from_child(&child);
        assert!(freeze(pid));
        assert_eq!(states(pid), ['T']);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!freeze(pid));
    }
}
