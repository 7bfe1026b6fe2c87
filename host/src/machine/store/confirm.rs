//! Confirm or go back: the states of config-api §8 as data. Reads no clock and arms no timer; the store's owner does.

use std::{sync::Arc, time::Duration};

use super::change::Entry;

/// The longest time that a chain of provisional changes may stay provisional, from the first of them (config-api §8).
pub const PENDING_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How a provisional generation ended, as history shows it (config-api §3, `GET /v1/history`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It has not ended.
    Pending,
    /// Somebody confirmed it.
    Confirmed,
    /// Its deadline passed; the base is back.
    Expired,
    /// The host ended before it was confirmed; the base is back.
    Restart,
    /// Somebody rolled back to its base.
    Cancelled,
    /// Another provisional change took its place; the base stayed.
    Superseded,
}

impl Outcome {
    /// The word of the contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Confirmed => "confirmed",
            Self::Expired => "expired",
            Self::Restart => "restart",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
        }
    }
}

/// What history and journal keep of a provisional generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfirmMark {
    /// The generation whose value comes back.
    pub base: u64,
    /// UTC, RFC 3339 with microseconds; for display only, the timer runs on [`Pending::deadline`].
    pub deadline: String,
    /// How it ended.
    pub outcome: Outcome,
}

/// The current generation waits for its confirmation.
#[derive(Debug, Clone)]
pub struct Pending {
    /// What comes back; kept whatever retention says.
    pub base: Arc<Entry>,
    /// When it does, on the owner's monotonic clock.
    pub deadline: Duration,
    /// When the first change of the chain was made, on the same clock.
    pub since: Duration,
    /// The deadline for people: UTC, RFC 3339 with microseconds.
    pub deadline_utc: String,
}

/// What an accepted change does to the confirm state.
#[derive(Debug, Clone)]
pub(super) enum Transition {
    /// Stable stays stable.
    Stay,
    /// A provisional change: the first, or one in place of the one that waits.
    Wait {
        base: Arc<Entry>,
        since: Duration,
        deadline: Duration,
        left: Duration,
    },
    /// The base is back, for this reason.
    Return(Outcome),
}

impl Transition {
    /// A change with a confirm time of `wait`, made at `now` on top of `current`.
    pub(super) fn wait(
        pending: Option<&Pending>,
        current: &Arc<Entry>,
        now: Duration,
        wait: Duration,
    ) -> Self {
        let (base, since) = match pending {
            Some(pending) => (Arc::clone(&pending.base), pending.since),
            None => (Arc::clone(current), now),
        };
        let deadline = now.saturating_add(wait).min(since + PENDING_MAX);
        Self::Wait {
            base,
            since,
            deadline,
            left: deadline.saturating_sub(now),
        }
    }
}

/// `at` (RFC 3339, UTC) moved by `by`, with microseconds; `at` itself where it is not such a text.
pub(super) fn later(at: &str, by: Duration) -> String {
    let Some((seconds, micros)) = unix_time(at) else {
        return at.to_owned();
    };
    let micros = u64::from(micros) + u64::from(by.subsec_micros());
    let seconds = seconds + by.as_secs() + micros / 1_000_000;
    rfc3339(seconds, micros % 1_000_000)
}

/// Seconds and microseconds since 1970 of `YYYY-MM-DDTHH:MM:SS[.ffffff]Z`.
fn unix_time(text: &str) -> Option<(u64, u32)> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let numbers = |text: &str, by: char| -> Option<[u64; 3]> {
        let mut parts = text.split(by).map(|part| part.parse::<u64>().ok());
        let found = [parts.next()??, parts.next()??, parts.next()??];
        parts.next().is_none().then_some(found)
    };
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(clock, ':')?;
    let known =
        (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !known || fraction.len() > 6 {
        return None;
    }
    let micros = format!("{fraction:0<6}").parse().ok()?;
    let days = days_since_1970(year, month, day);
    Some((days * 86_400 + hour * 3_600 + minute * 60 + second, micros))
}

/// Days from 1970-01-01, in the proleptic Gregorian calendar; years are counted from March, so leap days come last.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let year = if month > 2 { year } else { year - 1 };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

fn rfc3339(seconds: u64, micros: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // The inverse of `days_since_1970`: 146,097 days make 400 years.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_for_people_is_the_time_of_the_change_and_the_wait() {
        for (at, seconds, expected) in [
            (
                "2026-01-02T03:04:08.000000Z",
                60,
                "2026-01-02T03:05:08.000000Z",
            ),
            (
                "2024-02-28T23:59:59.999999Z",
                1,
                "2024-02-29T00:00:00.999999Z",
            ),
            (
                "2023-12-31T12:00:00Z",
                86_400,
                "2024-01-01T12:00:00.000000Z",
            ),
            (
                "2100-02-28T00:00:00.5Z",
                86_400,
                "2100-03-01T00:00:00.500000Z",
            ),
            (
                "1970-01-01T00:00:00.000000Z",
                0,
                "1970-01-01T00:00:00.000000Z",
            ),
            ("yesterday", 5, "yesterday"),
            ("2026-01-02T03:04:08+01:00", 5, "2026-01-02T03:04:08+01:00"),
        ] {
            assert_eq!(later(at, Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn every_day_of_four_centuries_reads_back() {
        for day in 0..146_097_u64 {
            let text = rfc3339(day * 86_400 + 5, 7);
            assert_eq!(unix_time(&text), Some((day * 86_400 + 5, 7)), "{text}");
        }
    }
}
