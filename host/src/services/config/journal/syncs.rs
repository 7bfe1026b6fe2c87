//! How long the syncs of a journal took: the part of a change's time that is the disk's. Counts, and keeps no single value.

use serde_json::{Value, json};
use std::time::Duration;

/// Bounds, the first of 10 µs and each twice the one before, so that the last is about ten seconds.
const BOUNDS: usize = 21;
const FIRST_BOUND: Duration = Duration::from_micros(10);

/// A histogram of durations.
#[derive(Debug, Clone, Default)]
pub(crate) struct Syncs {
    /// How many took no longer than each bound and longer than the one before; last, those beyond all bounds.
    counts: [u64; BOUNDS + 1],
    sum: Duration,
}

fn bound(i: usize) -> Duration {
    FIRST_BOUND * (1 << i)
}

impl Syncs {
    pub(crate) fn observe(&mut self, took: Duration) {
        let slot = (0..BOUNDS).find(|i| took <= bound(*i)).unwrap_or(BOUNDS);
        self.counts[slot] += 1;
        self.sum += took;
    }

    /// `bounds_s`, in seconds; `counts`, one more than bounds; `sum_s`.
    pub(crate) fn to_json(&self) -> Value {
        let bounds: Vec<f64> = (0..BOUNDS).map(|i| bound(i).as_secs_f64()).collect();
        json!({"bounds_s": bounds, "counts": self.counts, "sum_s": self.sum.as_secs_f64()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_below_its_bound_and_the_longest_beyond_all() {
        let mut syncs = Syncs::default();
        for micros in [0, 10, 11, 4_000, 60_000_000] {
            syncs.observe(Duration::from_micros(micros));
        }
        let told = syncs.to_json();
        let counts: Vec<u64> = serde_json::from_value(told["counts"].clone()).unwrap();
        let of_4_ms = 9;
        assert_eq!(bound(of_4_ms), Duration::from_micros(5_120));
        assert_eq!(
            [counts[0], counts[1], counts[of_4_ms], counts[BOUNDS]],
            [2, 1, 1, 1]
        );
        assert_eq!(counts.iter().sum::<u64>(), 5);
        assert_eq!(told["bounds_s"].as_array().unwrap().len(), BOUNDS);
        assert_eq!(told["sum_s"], 60.004021);
    }
}
