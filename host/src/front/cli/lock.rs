//! `hotshoe lock`: writes down which bytes a configuration means, and compares.

use super::{
    super::{
        replace::replace,
        report::{self, LogFormat},
    },
    print,
};
use hotshoe::{Blame, ExitCode, Problem, config_file, provenance};
use hotshoe_loader::{Difference, LOCK_FILE, Lock, RefusalCode, argument, printable_path};
use std::path::Path;

/// Writes the lock, unless it says so already.
pub(super) fn write(file: &Path, format: LogFormat) -> ExitCode {
    let now = match now(file, format) {
        Ok(now) => now,
        Err(exit) => return exit,
    };
    let path = provenance::lock_path(file);
    let count = match now.records().len() {
        1 => "1 library".to_owned(),
        count => format!("{count} libraries"),
    };
    // A lock that cannot be read is what this command mends.
    if matches!(provenance::read_lock(&path), Ok(Some(lock)) if lock == now) {
        report::out(&format!("{}: unchanged, {count}\n", printable_path(&path)));
        return ExitCode::Clean;
    }
    match replace(&path, &now.text()) {
        Ok(()) => {
            report::out(&format!("{}: written, {count}\n", printable_path(&path)));
            ExitCode::Clean
        }
        Err(error) => {
            let headline = format!("{} cannot be written: {error}", printable_path(&path));
            let blame = Blame::Environment;
            let problem = Problem::error(ExitCode::Usage, blame, "lock-unwritable", headline)
                .wanted("a folder that this user may write to")
                .found(error.to_string())
                .fix(format!(
                    "make the folder of {} writable; the old lock is as it was",
                    printable_path(file)
                ));
            print(&[problem], format).unwrap_or(ExitCode::Bug)
        }
    }
}

/// Compares the lock with what there is, and writes nothing.
pub(super) fn check(file: &Path, format: LogFormat) -> ExitCode {
    let path = provenance::lock_path(file);
    let lock = match provenance::read_lock(&path) {
        Ok(lock) => lock,
        Err(problem) => return print(&[problem], format).unwrap_or(ExitCode::Bug),
    };
    let now = match now(file, format) {
        Ok(now) => now,
        Err(exit) => return exit,
    };
    let fix = format!("hotshoe lock {}", argument(file));
    let Some(lock) = lock else {
        let code = RefusalCode::NotLocked.as_str();
        let headline = format!("there is no {}", printable_path(&path));
        let problem = Problem::error(ExitCode::Refused, Blame::Operator, code, headline)
            .wanted(format!("a lock of {} instances", now.records().len()))
            .found("no such file")
            .fix(fix);
        return print(&[problem], format).unwrap_or(ExitCode::Bug);
    };
    let differences = lock.differences(&now);
    let problems: Vec<Problem> = differences
        .iter()
        .map(|difference| differs(difference, &fix))
        .collect();
    if let Some(exit) = print(&problems, format) {
        return exit;
    }
    let count = now.records().len();
    report::out(&format!(
        "{}: {count} of {count} as locked\n",
        printable_path(&path)
    ));
    ExitCode::Clean
}

/// The lock that would be written; what is in its way is printed.
fn now(file: &Path, format: LogFormat) -> Result<Lock, ExitCode> {
    let loaded = config_file::load(file);
    let refused = print(&loaded.problems, format);
    let config = loaded.config.ok_or(refused.unwrap_or(ExitCode::Usage))?;
    match provenance::lock_of(&config) {
        Ok((lock, warnings)) => {
            print(&warnings, format);
            Ok(lock)
        }
        Err(error) => Err(print(&error.problems, format).unwrap_or(ExitCode::Bug)),
    }
}

fn differs(difference: &Difference, fix: &str) -> Problem {
    let (name, wanted, found) = difference.words();
    let (code, sentence) = match difference {
        Difference::Missing(_) => (
            RefusalCode::NotLocked.as_str(),
            format!("plugin `{name}` is not in {LOCK_FILE}"),
        ),
        Difference::Stale(_) => (
            "lock-stale",
            format!("{LOCK_FILE} names plugin `{name}`, which is no instance any more"),
        ),
        Difference::Bytes { .. } => (
            RefusalCode::HashMismatch.as_str(),
            format!("the library of plugin `{name}` is not the file that {LOCK_FILE} names"),
        ),
        Difference::Description { .. } => (
            "lock-stale",
            format!("{LOCK_FILE} describes the library of plugin `{name}` otherwise"),
        ),
    };
    Problem::error(ExitCode::Refused, Blame::Operator, code, sentence)
        .wanted(wanted)
        .found(found)
        .fix(fix)
}
