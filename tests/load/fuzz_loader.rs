//! Reads a million damaged files, or as many as it is told: `cargo test -p hotshoe-tests --test fuzz_loader -- [INPUTS [SEED]]`.
//!
//! Built as a test is, with overflow checks, the dependencies included; it refuses to run without. Prints what became of the
//! inputs, and ends with 1 if one panicked or lingered; the number that it prints for it, given as third argument with
//! INPUTS = 1, runs that input alone.

#[allow(dead_code, unreachable_pub, reason = "shared with the suite")]
mod mutation;

#[path = "../suite/trust/corpus.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "shared with the suite")]
mod corpus;

use std::{process::ExitCode, time::Instant};

fn main() -> ExitCode {
    let mut numbers = std::env::args()
        .skip(1)
        .filter_map(|word| word.parse().ok());
    let inputs = numbers.next().unwrap_or(1_000_000);
    let seed = numbers.next().unwrap_or(1);
    let first = numbers.next().unwrap_or(0);
    if !overflow_panics() {
        eprintln!("fuzz_loader wants overflow checks: run it without --release");
        return ExitCode::FAILURE;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let libraries = corpus::Corpus::new(folder.path().join("corpus")).assortment();
    let begun = Instant::now();
    let counts = mutation::run(&libraries, seed, first, inputs);
    println!(
        "{inputs} inputs, seed {seed}, {:.1} s: {counts}",
        begun.elapsed().as_secs_f64()
    );
    match counts.is_clean() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Tried, not asked of a flag: there is none that stable Rust shows.
fn overflow_panics() -> bool {
    let last = std::hint::black_box(u8::MAX);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let panics = std::panic::catch_unwind(|| std::hint::black_box(last + 1)).is_err();
    std::panic::set_hook(hook);
    panics
}
