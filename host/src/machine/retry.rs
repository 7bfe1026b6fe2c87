//! How long to wait before trying again, and how often at all. Arithmetic only: whoever asks counts, and keeps the time.

use std::time::Duration;

/// The first pause. Short, because most first failures are races at start-up; it doubles from there.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The pause after the `failures`th failure in a row, counted from 1: 100, 200, 400 ms … 60 s.
pub(crate) fn pause(failures: u32) -> Duration {
    doubled(FIRST_PAUSE, failures, LONGEST_PAUSE)
}

/// `first` for the first failure, twice that for the second and so on, up to `longest`.
fn doubled(first: Duration, failures: u32, longest: Duration) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    first.saturating_mul(1 << doublings).min(longest)
}

/// `restart` of an entry: how an isolated instance comes back after its worker died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RestartPolicy {
    /// Failures that are forgiven; the one after that, within `within`, quarantines.
    pub(crate) attempts: u32,
    /// How long a failure counts. So this much health forgets them all.
    pub(crate) within: Duration,
    /// The first pause that is not nothing.
    pub(crate) backoff: Duration,
    /// The longest pause, but for what jitter adds.
    pub(crate) backoff_max: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            attempts: 5,
            within: Duration::from_secs(5 * 60),
            backoff: FIRST_PAUSE,
            backoff_max: LONGEST_PAUSE,
        }
    }
}

impl RestartPolicy {
    /// The pause after the death of an instance that had been ready, as the `failures`th that counts: none, then 100, 200,
    /// 400 ms … 60 s.
    pub(crate) fn pause(&self, failures: u32) -> Duration {
        match failures {
            0 | 1 => Duration::ZERO,
            more => doubled(self.backoff, more - 1, self.backoff_max),
        }
    }

    /// The pause after a restart that failed before the instance was ready: never none, for nothing says that the next one
    /// goes better.
    pub(crate) fn pause_after_failed_start(&self, failures: u32) -> Duration {
        self.pause(failures).max(self.backoff.min(self.backoff_max))
    }
}

/// Spreads pauses, so that what died together does not come back together. The same seed gives the same pauses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The pause, and up to a quarter more. None stays none.
    pub(crate) fn spread(&mut self, pause: Duration) -> Duration {
        let quarter = u64::try_from((pause / 4).as_nanos()).unwrap_or(u64::MAX);
        let more = match quarter {
            0 => 0,
            quarter => self.next() % quarter,
        };
        pause.saturating_add(Duration::from_nanos(more))
    }

    /// SplitMix64: two multiplications, and every seed is a good one.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(pauses: impl Iterator<Item = Duration>) -> Vec<u128> {
        pauses.map(|pause| pause.as_millis()).collect()
    }

    #[test]
    fn pauses_double_up_to_a_minute() {
        assert_eq!(ms((1..=4).map(pause)), [100, 200, 400, 800]);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }

    #[test]
    fn a_worker_that_died_is_back_at_once_the_first_time() {
        let policy = RestartPolicy::default();
        let deaths = ms((0..=5).map(|failures| policy.pause(failures)));
        assert_eq!(deaths, [0, 0, 100, 200, 400, 800]);
        let starts = ms((0..=3).map(|failures| policy.pause_after_failed_start(failures)));
        assert_eq!(starts, [100, 100, 100, 200]);
        assert_eq!(policy.pause(u32::MAX), LONGEST_PAUSE);
    }

    #[test]
    fn no_policy_overflows() {
        let policy = RestartPolicy {
            backoff: Duration::MAX,
            backoff_max: Duration::MAX,
            ..RestartPolicy::default()
        };
        assert_eq!(policy.pause(9), Duration::MAX);
        assert_eq!(Jitter::new(0).spread(Duration::MAX), Duration::MAX);
    }

    #[test]
    fn jitter_only_adds_at_most_a_quarter_and_repeats_by_its_seed() {
        let spread = |seed| -> Vec<Duration> {
            let mut jitter = Jitter::new(seed);
            (0..100).map(|_| jitter.spread(FIRST_PAUSE)).collect()
        };
        let (one, another) = (spread(1), spread(2));
        assert!(
            one.iter()
                .all(|pause| (FIRST_PAUSE..FIRST_PAUSE * 5 / 4).contains(pause))
        );
        assert_ne!(one, another);
        assert_eq!(one, spread(1));
        assert_eq!(Jitter::new(1).spread(Duration::ZERO), Duration::ZERO);
    }
}
