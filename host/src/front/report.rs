//! Prints problems: on a terminal with their details below, elsewhere in one line each. Never fails: nobody may be reading.

use hotshoe::{Problem, Severity};
use std::{
    fmt::Write as _,
    io::{IsTerminal as _, Write as _},
};

/// How logs and problems are written to stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Writes one problem to stderr, in the format of the log around it.
pub(crate) fn problem(problem: &Problem, format: LogFormat) {
    match format {
        LogFormat::Json => event(problem),
        LogFormat::Text if std::io::stderr().is_terminal() => line(&format!("{problem:#}")),
        LogFormat::Text => line(&in_one_line(problem)),
    }
}

/// Writes the long story of a problem to stderr, where it has one.
pub(crate) fn detail(problem: &Problem, format: LogFormat) {
    match (problem.detail.as_deref(), format) {
        (None, _) => {}
        (Some(detail), LogFormat::Json) => {
            tracing::info!(code = problem.code, detail, "the whole story");
        }
        (Some(detail), LogFormat::Text) => line(detail),
    }
}

/// Writes one line to stderr.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Writes to stdout; a reader that went away is no failure of ours.
pub(crate) fn out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}

/// The headline, which stands alone, and the details behind it.
fn in_one_line(problem: &Problem) -> String {
    let mut text = problem.to_string();
    let at = problem.at.as_ref().map(ToString::to_string);
    for (label, detail) in [
        ("wanted", &problem.wanted),
        ("found", &problem.found),
        ("at", &at),
        ("fix", &problem.fix),
    ] {
        if let Some(detail) = detail {
            // Writing to a String cannot fail.
            let _ = write!(text, "; {label}: {detail}");
        }
    }
    text
}

fn event(problem: &Problem) {
    let (code, blame) = (&problem.code, format!("{:?}", problem.blame).to_lowercase());
    let (wanted, found, fix) = (
        problem.wanted.as_deref(),
        problem.found.as_deref(),
        problem.fix.as_deref(),
    );
    let at = problem.at.as_ref().map(ToString::to_string);
    match problem.severity {
        Severity::Error => tracing::error!(code, blame, wanted, found, at, fix, "{problem}"),
        Severity::Warning => tracing::warn!(code, blame, wanted, found, at, fix, "{problem}"),
    }
}
