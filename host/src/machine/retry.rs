//! How long to wait before trying again.

use std::time::Duration;

/// The first pause. Short, because most first failures are races at start-up; it doubles from there.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The pause after the `failures`th failure in a row, counted from 1: 100, 200, 400 ms … 60 s.
pub(crate) fn pause(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    (FIRST_PAUSE * (1 << doublings)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let pauses: Vec<u128> = (1..=4).map(|n| pause(n).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800]);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
