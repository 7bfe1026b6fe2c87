//! C40 in full: kill -9 at 10,000 random times under load (N9). Prints its figure beside its bar and stops by itself.
//!
//! `cargo bench -p hotshoe-tests --bench kills -- [KILLS [MINUTES]]`; whichever is over first ends it.

#[allow(dead_code, unreachable_pub, reason = "shared with the suite")]
mod killing;

use std::{
    env,
    io::{Write as _, stdout},
    time::{Duration, Instant},
};

/// What a full run does.
const KILLS: u32 = 10_000;

/// A full run on two cores that it has for itself takes about an hour.
const MINUTES: u32 = 120;

fn main() -> std::io::Result<()> {
    let mut numbers = env::args().filter_map(|argument| argument.parse::<u32>().ok());
    let kills = numbers.next().unwrap_or(KILLS);
    let minutes = numbers.next().unwrap_or(MINUTES);
    let begun = Instant::now();
    // Panics at the first generation that was acknowledged and is lost, and at the first torn line.
    let killing::Killed {
        kills,
        acknowledged,
    } = killing::kill_many(kills, Duration::from_secs(u64::from(minutes) * 60));
    writeln!(
        stdout(),
        "N9: {kills} kills in {:?}, {acknowledged} changes acknowledged: 0 lost, 0 lines torn (bar: 0 and 0)",
        begun.elapsed()
    )
}
