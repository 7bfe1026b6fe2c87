//! Ten thousand loads of a path that another thread swaps as fast as it can, or as many as it is told:
//! `cargo test -p hotshoe-tests --test swap_race -- [LOADS [FOLDER]]`. With FOLDER copies are staged below it, not in memory.
//!
//! Prints what became of the loads; ends with 1 if a single one ran or verified foreign bytes, or if none ran at all. The
//! loads happen in children, because what was opened once stays in its process.

#[allow(dead_code, unreachable_pub, reason = "shared with the suite")]
mod swapping;

use hotshoe_loader::Staging;
use hotshoe_tests::artifacts;
use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};
use swapping::{Outcomes, Stopped, Swaps};

/// Loads in one child: each leaves a descriptor and a few mappings behind.
const LOADS_OF_A_CHILD: u64 = 200;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "child") {
        return child(&words[1..]);
    }
    let loads: u64 = words
        .first()
        .and_then(|word| word.parse().ok())
        .unwrap_or(10_000);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let marker = folder.path().join("a constructor ran");
    let plugins = ["driver-only", "schema-port"].map(artifacts::fixture);
    let hostile = artifacts::fixture("ctor-marker");
    let (images, files) = swapping::images(folder.path(), plugins, hostile);
    let path = folder.path().join("swapped.so");
    std::fs::write(&path, &images[0]).expect("a file of our own");

    let (stop, swaps, begun) = (AtomicBool::new(false), Swaps::default(), Instant::now());
    let mut outcomes = Outcomes::new();
    std::thread::scope(|scope| {
        scope.spawn(|| swapping::swap(&path, &images, &files, &stop, &swaps));
        let _stopped = Stopped(&stop);
        let mut left = loads;
        while left > 0 {
            let some = left.min(LOADS_OF_A_CHILD);
            let told = ask_child(&path, &files[..2], some, words.get(1), &marker);
            for (outcome, count) in told {
                *outcomes.entry(outcome).or_default() += count;
            }
            left -= some;
        }
    });
    let ran: u64 = sum(&outcomes, "ran");
    let foreign = sum(&outcomes, "FOREIGN") + u64::from(marker.exists());
    println!(
        "{loads} loads in {:.1} s, {} renames, {} rewrites: {ran} ran the verified bytes, {} refused, {foreign} foreign",
        begun.elapsed().as_secs_f64(),
        swaps.renamed.load(Ordering::Relaxed),
        swaps.rewritten.load(Ordering::Relaxed),
        sum(&outcomes, "refused"),
    );
    for (outcome, count) in &outcomes {
        println!("  {count:>7} {outcome}");
    }
    let answered: u64 = outcomes.values().sum();
    match foreign == 0 && ran > 0 && answered == loads {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn sum(outcomes: &Outcomes, word: &str) -> u64 {
    let of_word = outcomes.iter().filter(|(text, _)| text.starts_with(word));
    of_word.map(|(_, count)| count).sum()
}

fn ask_child(
    path: &Path,
    known: &[PathBuf],
    loads: u64,
    folder: Option<&String>,
    marker: &Path,
) -> Outcomes {
    let mut command = Command::new(env::current_exe().expect("this program"));
    command
        .args(["child".as_ref(), path.as_os_str()])
        .args(known)
        .arg(loads.to_string())
        .args(folder)
        .env("HOTSHOE_CTOR_MARKER", marker);
    let output = command.output().expect("this program");
    let mut outcomes = Outcomes::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some((count, outcome)) = line.split_once(' ') {
            outcomes.insert(outcome.to_owned(), count.parse().unwrap_or_default());
        }
    }
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        let outcome = format!("FOREIGN end of a child: {}: {words}", output.status);
        outcomes.insert(outcome, 1);
    }
    outcomes
}

/// `child PATH KNOWN KNOWN LOADS [FOLDER]`
fn child(words: &[String]) -> ExitCode {
    let [path, a, b, loads, rest @ ..] = words else {
        return ExitCode::from(2);
    };
    let staging = rest
        .first()
        .map_or(Staging::Memfd, |folder| Staging::Directory(folder.into()));
    let known = [a, b].map(|path| swapping::known(Path::new(path)));
    let loads = loads.parse().unwrap_or_default();
    for (outcome, count) in swapping::load_all(Path::new(path), &known, loads, &staging) {
        println!("{count} {outcome}");
    }
    ExitCode::SUCCESS
}
