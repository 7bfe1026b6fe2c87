//! C40 in full: kill -9 at 10,000 random times under load (N9). Prints its figure beside its bar and stops by itself.
//!
//! `cargo bench -p hotshoe-tests --bench kills -- [KILLS]`

#[allow(dead_code, unreachable_pub, reason = "shared with the suite")]
mod killing;

use std::{
    env,
    io::{Write as _, stdout},
    time::Instant,
};

/// What a full run does.
const KILLS: u32 = 10_000;

fn main() -> std::io::Result<()> {
    let kills = env::args().find_map(|argument| argument.parse().ok());
    let kills = kills.unwrap_or(KILLS);
    let begun = Instant::now();
    // Panics at the first generation that was acknowledged and is lost, and at the first torn line.
    let acknowledged = killing::kill_many(kills);
    writeln!(
        stdout(),
        "N9: {kills} kills in {:?}, {acknowledged} changes acknowledged: 0 lost, 0 lines torn (bar: 0 and 0)",
        begun.elapsed()
    )
}
