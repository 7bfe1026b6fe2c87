//! How often a peer that is not this machine may ask (config-api §12), and how often it may guess a token (§10).
//!
//! Buckets that fill with time, one set a peer. This machine has none: its peers share one key, so a limit there would let
//! any local process lock the operator out.

use crate::{
    error::{Problem, Slug},
    guard::PeerKey,
};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Peers that are told apart. Those that have not asked for a minute are forgotten when there are more.
const PEERS_MAX: usize = 65_536;
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Wrong tokens of one peer, in a row and in a minute.
const FAILURES: Rate = Rate {
    per_s: 10.0 / 60.0,
    burst: 10.0,
};

/// Requests a second of one peer; twice as many may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) changes: u32,
    pub(crate) reads: u32,
}

/// What a request costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cost {
    Change,
    Read,
}

#[derive(Debug, Clone, Copy)]
struct Rate {
    per_s: f64,
    burst: f64,
}

impl Rate {
    fn of(per_s: u32) -> Self {
        Self {
            per_s: f64::from(per_s),
            burst: f64::from(per_s) * 2.0,
        }
    }
}

/// What is left to a peer of one kind.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn new(rate: Rate, now: Instant) -> Self {
        Self {
            left: rate.burst,
            at: now,
        }
    }

    fn fill(&mut self, rate: Rate, now: Instant) {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + since * rate.per_s).min(rate.burst);
        self.at = now;
    }

    /// How long until there is one again, where there is none.
    fn empty_for(&mut self, rate: Rate, now: Instant) -> Option<Duration> {
        self.fill(rate, now);
        (self.left < 1.0).then(|| Duration::from_secs_f64((1.0 - self.left) / rate.per_s))
    }
}

struct Buckets {
    changes: Bucket,
    reads: Bucket,
    failures: Bucket,
}

/// All peers.
pub(crate) struct Rates {
    limit: Limit,
    peers: Mutex<HashMap<PeerKey, Buckets>>,
}

impl Rates {
    pub(crate) fn new(limit: Limit) -> Self {
        Self {
            limit,
            peers: Mutex::default(),
        }
    }

    /// Step 5 of config-api §2.
    pub(crate) fn admit(&self, peer: PeerKey, cost: Cost, now: Instant) -> Result<(), Problem> {
        let rate = match cost {
            Cost::Change => Rate::of(self.limit.changes),
            Cost::Read => Rate::of(self.limit.reads),
        };
        self.with(peer, now, |buckets| {
            let bucket = match cost {
                Cost::Change => &mut buckets.changes,
                Cost::Read => &mut buckets.reads,
            };
            match bucket.empty_for(rate, now) {
                Some(wait) => Err(limited("too many requests of this peer", wait)),
                None => {
                    bucket.left -= 1.0;
                    Ok(())
                }
            }
        })
    }

    /// Before a token is looked at: whether this peer has guessed too often.
    pub(crate) fn may_guess(&self, peer: PeerKey, now: Instant) -> Result<(), Problem> {
        self.with(peer, now, |buckets| {
            match buckets.failures.empty_for(FAILURES, now) {
                Some(wait) => Err(limited("too many wrong tokens of this peer", wait)),
                None => Ok(()),
            }
        })
    }

    /// The token was wrong.
    pub(crate) fn guessed(&self, peer: PeerKey, now: Instant) {
        let counted = self.with(peer, now, |buckets| {
            buckets.failures.left -= 1.0;
            Ok(())
        });
        // Where there is no room to remember the peer it was refused before.
        drop(counted);
    }

    fn with(
        &self,
        peer: PeerKey,
        now: Instant,
        act: impl FnOnce(&mut Buckets) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let mut peers = self.lock();
        if !peers.contains_key(&peer) && peers.len() >= PEERS_MAX {
            let recent = |buckets: &Buckets| {
                let last = buckets
                    .changes
                    .at
                    .max(buckets.reads.at)
                    .max(buckets.failures.at);
                now.saturating_duration_since(last) < FORGOTTEN_AFTER
            };
            peers.retain(|_, buckets| recent(buckets));
            if peers.len() >= PEERS_MAX {
                return Err(limited("too many peers", Duration::from_secs(1)));
            }
        }
        let fresh = || Buckets {
            changes: Bucket::new(Rate::of(self.limit.changes), now),
            reads: Bucket::new(Rate::of(self.limit.reads), now),
            failures: Bucket::new(FAILURES, now),
        };
        act(peers.entry(peer).or_insert_with(fresh))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PeerKey, Buckets>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn limited(detail: &str, wait: Duration) -> Problem {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Problem::new(Slug::RateLimited, detail).retry_after_s(seconds.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit {
        changes: 50,
        reads: 500,
    };

    #[test]
    fn a_burst_is_twice_the_rate_and_comes_back_with_time() {
        let (rates, begun) = (Rates::new(LIMIT), Instant::now());
        let (one, other) = (PeerKey(1), PeerKey(2));
        let admitted = |peer, cost, after: Duration| {
            let now = begun + after;
            (0..2_000)
                .take_while(|_| rates.admit(peer, cost, now).is_ok())
                .count()
        };
        assert_eq!(admitted(one, Cost::Change, Duration::ZERO), 100);
        assert_eq!(admitted(one, Cost::Read, Duration::ZERO), 1_000);
        assert_eq!(admitted(other, Cost::Change, Duration::ZERO), 100);
        assert_eq!(admitted(one, Cost::Change, Duration::from_millis(500)), 25);
        assert_eq!(admitted(one, Cost::Change, Duration::from_secs(60)), 100);
        let problem = rates.admit(one, Cost::Change, begun + Duration::from_secs(60));
        let response = problem.unwrap_err().into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "1");
    }

    #[test]
    fn ten_wrong_tokens_are_enough_for_a_while() {
        let (rates, now) = (Rates::new(LIMIT), Instant::now());
        let peer = PeerKey(1);
        for _ in 0..10 {
            assert!(rates.may_guess(peer, now).is_ok());
            rates.guessed(peer, now);
        }
        let refused = rates.may_guess(peer, now).unwrap_err().into_response();
        assert_eq!(refused.headers()["retry-after"], "6");
        assert!(rates.may_guess(PeerKey(2), now).is_ok());
        assert!(rates.may_guess(peer, now + Duration::from_secs(5)).is_err());
        assert!(rates.may_guess(peer, now + Duration::from_secs(7)).is_ok());
    }

    #[test]
    fn peers_are_forgotten_when_there_are_too_many() {
        let (rates, now) = (Rates::new(LIMIT), Instant::now());
        for peer in 0..PEERS_MAX as u128 {
            rates.admit(PeerKey(peer), Cost::Read, now).unwrap();
        }
        let late = PeerKey(u128::MAX);
        assert!(rates.admit(late, Cost::Read, now).is_err());
        let later = now + FORGOTTEN_AFTER;
        assert!(rates.admit(late, Cost::Read, later).is_ok());
        assert_eq!(rates.lock().len(), 1);
    }
}
