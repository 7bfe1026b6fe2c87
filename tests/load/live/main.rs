//! The numbers of live configuration (config-api §14), each beside its bar, from a release host that this starts and stops:
//! `cargo bench -p hotshoe-tests --bench live -- [N3 N4 …]`, all of them without a name. Every program ends by itself;
//! `HOTSHOE_LOAD_DIVIDE=100` divides the counts of the long ones.
//!
//! What must be zero ends the run where it is not; what is a time only prints, because a busy machine prints worse ones.
//! N1 is `cargo bench -p hotshoe --bench services`, N2 `--bench visible`, N9 `cargo bench -p hotshoe-tests --bench kills`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod client;
mod commit;
mod confirm;
#[path = "../confirming.rs"]
mod confirming;
#[path = "../dying.rs"]
mod dying;
mod history;
mod hostile;
#[path = "../hostility.rs"]
mod hostility;
#[allow(dead_code, unreachable_pub, reason = "shared with the suite")]
#[path = "../killing.rs"]
mod killing;
mod listener;
mod readers;
mod slow;
mod stream;
mod stuck;
mod token;
mod watchers;

use hotshoe_tests::{Entry, artifacts};
use std::{env, time::Duration};

/// A number, and the program that measures it.
const PROGRAMS: [(&str, fn()); 14] = [
    ("N3", commit::one_client),
    ("N4", commit::many_clients),
    ("N5", readers::nothing_is_stale),
    ("N6", watchers::ten_thousand),
    ("N7", slow::heads),
    ("N8", hostile::requests),
    ("N10", commit::compare_and_set),
    ("N11", stream::beside_changes),
    ("N12", history::long_start),
    ("C31", confirm::at_the_deadline),
    ("C36", stuck::one_that_stops_reading),
    ("C38", readers::every_batch),
    ("C50", token::tells_nothing),
    ("C54", listener::dies),
];

fn main() {
    let wanted: Vec<String> = env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let known = |name: &String| PROGRAMS.iter().any(|(known, _)| known == name);
    if let Some(unknown) = wanted.iter().find(|name| !known(name)) {
        let names: Vec<&str> = PROGRAMS.iter().map(|(name, _)| *name).collect();
        panic!("no program `{unknown}`; there are {}", names.join(", "));
    }
    for (name, program) in PROGRAMS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            program();
        }
    }
}

/// The listener with its value in memory, for what asks nothing of a disk.
fn in_memory() -> Entry {
    Entry::of(
        killing::INSTANCE,
        artifacts::library("hotshoe-dynamic-config"),
    )
    .set("listen = [\"127.0.0.1:0\"]")
    .set("touch = { step = 10 }")
    .set("state = \"memory\"")
}

/// A count of a full run, divided as the caller asks.
fn times(full: u64) -> u64 {
    let divide = env::var("HOTSHOE_LOAD_DIVIDE").ok();
    let divide = divide.and_then(|text| text.parse().ok()).unwrap_or(1);
    (full / divide).max(1)
}

/// One line: the number, what was found, its bar.
fn print(name: &str, found: &str, bar: &str) {
    println!("{name:<4} {found}; bar: {bar}");
}

fn ms(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}

/// The value below which the fraction `part` of the sorted samples lies.
fn percentile(samples: &mut [Duration], part: f64) -> Duration {
    samples.sort_unstable();
    samples[((samples.len() - 1) as f64 * part) as usize]
}
