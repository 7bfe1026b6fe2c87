//! The two clocks: one that only goes forward, for deadlines; one for people, for display.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

/// Time since the first call in this process, on the monotonic clock.
pub(crate) fn monotonic() -> Duration {
    static ANCHOR: OnceLock<Instant> = OnceLock::new();
    ANCHOR.get_or_init(Instant::now).elapsed()
}

const RFC_3339_MICROS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// Now, UTC, RFC 3339 with microseconds.
pub(crate) fn utc_now() -> String {
    rfc_3339_micros(OffsetDateTime::now_utc())
}

/// A moment, UTC, RFC 3339, always with microseconds, so that lines sort as text.
pub(crate) fn rfc_3339_micros(at: OffsetDateTime) -> String {
    at.format(RFC_3339_MICROS)
        .expect("the format has no parts that a date can lack")
}

const RFC_3339_MILLIS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// A moment, UTC, RFC 3339 with milliseconds.
pub(crate) fn rfc_3339_millis(at: OffsetDateTime) -> String {
    at.format(RFC_3339_MILLIS)
        .expect("the format has no parts that a date can lack")
}
