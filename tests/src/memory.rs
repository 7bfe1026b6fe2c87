//! How much memory a process has, as the system counts it.

use std::fs;

/// What is resident now, in bytes; `None` where the process is gone.
#[must_use]
pub fn resident_bytes(pid: u32) -> Option<u64> {
    bytes(pid, "VmRSS:")
}

/// The most that was resident at once, in bytes; `None` where the process is gone.
#[must_use]
pub fn peak_bytes(pid: u32) -> Option<u64> {
    bytes(pid, "VmHWM:")
}

fn bytes(pid: u32, key: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let rest = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = rest.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_resident_is_read_of_whoever_runs_and_of_nobody_else() {
        let here = std::process::id();
        let (resident, peak) = (resident_bytes(here).unwrap(), peak_bytes(here).unwrap());
        assert!(resident > 0 && peak % 1024 == 0, "{resident} of {peak}");
        assert_eq!(resident_bytes(u32::MAX), None);
    }
}
