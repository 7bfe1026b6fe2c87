//! Chaos at length: workers are killed, frozen and made to die under a stream, seed after seed, until there were so many kills:
//! `cargo test --release -p hotshoe-tests --test chaos -- [KILLS] [--from SEED] [--jobs N] [--periods N] [--keep-going]
//! [--reproduce SEED]`.
//!
//! Prints what it did; the first violation ends it with 1, naming the seed, its schedule, how to do it again, and where the
//! logs are. One seed is one schedule, whatever the machine.

#[allow(dead_code, unreachable_pub, reason = "shared with the suite")]
mod havoc;

use havoc::{Figures, Plan};
use hotshoe_tests::artifacts;
use std::{
    env,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

/// A full run.
const KILLS: u64 = 10_000;

/// How often all comes to rest in one seed's run: about two kills each.
const PERIODS: u32 = 40;

struct Options {
    kills: u64,
    from: u64,
    jobs: usize,
    periods: u32,
    reproduce: Option<u64>,
    /// Goes on after a violation, to find more.
    keep_going: bool,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        kills: KILLS,
        from: 1,
        jobs: thread::available_parallelism().map_or(1, usize::from),
        periods: PERIODS,
        reproduce: None,
        keep_going: false,
    };
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        let number = |text: Option<String>| {
            let text = text.unwrap_or_default();
            let number = text.replace('_', "").parse::<u64>();
            number.map_err(|_| format!("`{word}` wants a number, and not {text:?}"))
        };
        match word.as_str() {
            "--reproduce" => options.reproduce = Some(number(words.next())?),
            "--from" => options.from = number(words.next())?,
            "--jobs" => options.jobs = number(words.next())?.clamp(1, 64) as usize,
            "--periods" => options.periods = number(words.next())?.clamp(1, 100_000) as u32,
            "--keep-going" => options.keep_going = true,
            _ => options.kills = number(Some(word.clone()))?,
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(reason) => {
            println!("{reason}");
            return ExitCode::from(2);
        }
    };
    if let Some(seed) = options.reproduce {
        println!("{}", Plan::of(seed, options.periods));
        return match one(seed, options.periods) {
            Some(figures) => {
                println!("{figures:?}");
                ExitCode::SUCCESS
            }
            None => ExitCode::FAILURE,
        };
    }
    many(&options)
}

/// Runs one seed; a violation is printed.
fn one(seed: u64, periods: u32) -> Option<Figures> {
    let plan = Plan::of(seed, periods);
    let kept = kept(seed);
    match havoc::run(&plan, &kept) {
        Ok(figures) => Some(figures),
        Err(reason) => {
            println!("{plan}");
            println!("VIOLATION in seed {seed}: {reason}");
            println!(
                "again: cargo test --release -p hotshoe-tests --test chaos -- --reproduce {seed} --periods {periods}"
            );
            println!("logs: {}", kept.display());
            None
        }
    }
}

fn kept(seed: u64) -> PathBuf {
    artifacts::target_folder()
        .join("chaos")
        .join(seed.to_string())
}

fn many(options: &Options) -> ExitCode {
    let begun = Instant::now();
    let (next, kills) = (AtomicU64::new(options.from), AtomicU64::new(0));
    let (stop, seeds, violations) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let total = Mutex::new((Figures::default(), 0_i64));
    thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| {
                while !stop.load(Ordering::Acquire) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let Some(figures) = one(seed, options.periods) else {
                        violations.fetch_add(1, Ordering::Relaxed);
                        stop.fetch_or(!options.keep_going, Ordering::Release);
                        continue;
                    };
                    seeds.fetch_add(1, Ordering::Relaxed);
                    add(&total, &figures);
                    let so_far = kills.fetch_add(figures.kills, Ordering::AcqRel) + figures.kills;
                    println!("seed {seed}: {figures:?}; {so_far} kills so far");
                    stop.fetch_or(so_far >= options.kills, Ordering::Release);
                }
            });
        }
    });
    let (figures, grown) = *total.lock().unwrap_or_else(PoisonError::into_inner);
    let (seeds, violations) = (
        seeds.load(Ordering::Acquire),
        violations.load(Ordering::Acquire),
    );
    println!(
        "{seeds} seeds from {}, {} kills, {} deaths in {:.0?}: {} records, {} dead letters ({} of them in a killed worker's \
         hand too often), {} changes; memory grew by {grown} KiB at most; {violations} violations",
        options.from,
        figures.kills,
        figures.deaths,
        begun.elapsed(),
        figures.records,
        figures.dead_letters,
        figures.innocents,
        figures.changes
    );
    match violations {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn add(total: &Mutex<(Figures, i64)>, figures: &Figures) {
    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
    let sum = &mut total.0;
    sum.kills += figures.kills;
    sum.deaths += figures.deaths;
    sum.records += figures.records;
    sum.dead_letters += figures.dead_letters;
    sum.innocents += figures.innocents;
    sum.changes += figures.changes;
    total.1 = total.1.max(figures.grown_kib);
}
