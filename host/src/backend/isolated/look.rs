//! Looking for the next message on a data socket before the thread sleeps: to be woken on another core costs ten times what a
//! small batch takes. It pays only while a core is free for the other side. Where none is, the one who looks keeps the other from
//! answering, so a look in vain is followed by waits without one, each time twice as many.

use std::time::{Duration, Instant};

/// How long a look lasts (DESIGN §9): a batch of some hundred records is there and back meanwhile.
const LOOK: Duration = Duration::from_micros(50);

/// After so many looks in vain, 63 waits go by without one: what they cost is then less than a microsecond a wait, and a core
/// that is free again is noticed within a millisecond or two.
const VAIN_MAX: u32 = 6;

/// One side's habit. Told of each wait: how it goes on while nothing has come, and its end.
#[derive(Debug)]
pub(super) struct Look {
    /// There is more than one core.
    pays: bool,
    /// Looks in vain, one after another.
    vain: u32,
    /// Waits that go by without a look.
    skips: u32,
    wait: Wait,
}

/// Where the wait in hand is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// Nothing was missing yet.
    None,
    LooksSince(Instant),
    Sleeps,
}

impl Look {
    pub(super) fn new() -> Self {
        let cores = std::thread::available_parallelism();
        Self::on(cores.map_or(2, std::num::NonZero::get))
    }

    fn on(cores: usize) -> Self {
        Self {
            pays: cores > 1,
            vain: 0,
            skips: 0,
            wait: Wait::None,
        }
    }

    /// Nothing has come. Whether to look again, at once; otherwise to sleep until something does.
    pub(super) fn goes_on(&mut self) -> bool {
        self.goes_on_at(Instant::now)
    }

    fn goes_on_at(&mut self, now: impl FnOnce() -> Instant) -> bool {
        match self.wait {
            Wait::Sleeps => false,
            Wait::None if !self.pays || self.skips > 0 => {
                self.skips = self.skips.saturating_sub(1);
                self.wait = Wait::Sleeps;
                false
            }
            Wait::None => {
                self.wait = Wait::LooksSince(now());
                true
            }
            Wait::LooksSince(begun) if now().duration_since(begun) < LOOK => true,
            Wait::LooksSince(_) => {
                self.vain = (self.vain + 1).min(VAIN_MAX);
                self.skips = (1 << self.vain) - 1;
                self.wait = Wait::Sleeps;
                false
            }
        }
    }

    /// What was waited for is there.
    pub(super) fn found(&mut self) {
        if matches!(self.wait, Wait::LooksSince(_)) {
            self.vain = 0;
        }
        self.wait = Wait::None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A wait: how often it looked before it slept or, within the time that a look lasts, found something.
    fn wait(look: &mut Look, comes_after: Duration) -> (u32, bool) {
        let begun = Instant::now();
        let mut looks = 0;
        let mut now = begun;
        while look.goes_on_at(|| now) {
            looks += 1;
            if now.duration_since(begun) >= comes_after {
                look.found();
                return (looks, false);
            }
            now += LOOK / 10;
        }
        look.found();
        (looks, true)
    }

    const SOON: Duration = Duration::from_micros(10);
    const LATE: Duration = Duration::from_secs(1);

    #[test]
    fn as_long_as_looking_pays_it_goes_on() {
        let mut look = Look::on(2);
        for _ in 0..1000 {
            let (looks, slept) = wait(&mut look, SOON);
            assert!(looks > 1 && !slept);
        }
    }

    #[test]
    fn looks_in_vain_become_rare_and_one_that_pays_brings_them_back() {
        let mut look = Look::on(2);
        let looked: Vec<usize> = (0..1000).filter(|_| wait(&mut look, LATE).0 > 0).collect();
        assert_eq!(looked[..8], [0, 2, 6, 14, 30, 62, 126, 190]);
        let mut waits = 0;
        while wait(&mut look, SOON).1 {
            waits += 1;
            assert!(waits < 64, "it looks again before that");
        }
        for _ in 0..100 {
            assert!(!wait(&mut look, SOON).1);
        }
    }

    #[test]
    fn on_one_core_nobody_looks() {
        let mut look = Look::on(1);
        for _ in 0..1000 {
            assert_eq!(wait(&mut look, SOON), (0, true));
        }
    }
}
