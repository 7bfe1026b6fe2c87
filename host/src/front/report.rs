//! Prints problems: on a terminal with their details below, elsewhere in one line each. Never fails: nobody may be reading.

use super::stderr;
use hotshoe::{Blame, ExitCode, Problem, Severity};
use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, ErrorKind, IsTerminal as _, Write as _},
    sync::OnceLock,
};

static LOST_OUTPUT: OnceLock<String> = OnceLock::new();

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
        LogFormat::Text if std::io::stderr().is_terminal() => line(&in_lines(problem)),
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
    stderr::write(format!("{text}\n").as_bytes());
}

/// Writes to stdout. What cannot be written is [`lost_output`] when the command ends.
pub(crate) fn out(text: &str) {
    // Told at the end.
    let _ = try_out(text);
}

/// As [`out`], for who has no more to say once it has failed.
pub(crate) fn try_out(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    written.inspect_err(|error| {
        // A reader that went away is no failure of ours. The first one is told.
        if error.kind() != ErrorKind::BrokenPipe {
            let _ = LOST_OUTPUT.set(error.to_string());
        }
    })
}

/// Why the command's answer did not reach its reader, where it did not.
pub(crate) fn lost_output() -> Option<Problem> {
    let error = LOST_OUTPUT.get()?;
    let headline = format!("the output cannot be written: {error}");
    let problem = Problem::error(
        ExitCode::Running,
        Blame::Environment,
        "output-lost",
        headline,
    );
    Some(problem.fix("make room where stdout leads to, or send it elsewhere; then ask again"))
}

/// A text without control characters, which may be a plugin's: one that clears the screen, or ends the line and begins
/// another that looks like the host's, is shown as what it is. Tabs stay.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let is_harmless = |char: char| char == '\t' || !char.is_control();
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        if is_harmless(char) {
            shown.push(char);
        } else {
            shown.extend(char.escape_debug());
        }
    }
    Cow::Owned(shown)
}

/// The headline on a line of its own, and the details below it; no line of theirs begins where a headline would.
fn in_lines(problem: &Problem) -> String {
    let text = format!("{problem:#}");
    let headline = problem.to_string();
    let details = text.strip_prefix(&headline).unwrap_or_default();
    let mut shown = printable(&headline).into_owned();
    for line in details.split('\n').skip(1) {
        shown.push('\n');
        if !line.starts_with("  ") {
            shown.push_str("    ");
        }
        shown.push_str(&printable(line));
    }
    shown
}

/// The headline, which stands alone, and the details behind it.
fn in_one_line(problem: &Problem) -> String {
    let mut text = printable(&problem.to_string()).into_owned();
    let at = problem.at.as_ref().map(ToString::to_string);
    for (label, detail) in [
        ("wanted", &problem.wanted),
        ("found", &problem.found),
        ("at", &at),
        ("fix", &problem.fix),
    ] {
        if let Some(detail) = detail {
            // Writing to a String cannot fail.
            let _ = write!(text, "; {label}: {}", printable(detail));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A plugin's words, as an instance's error carries them.
    fn problem() -> Problem {
        let headline = "plugin `a`: init failed: a\0b\u{1b}[2J\nerror[x]: forged";
        Problem::error(ExitCode::Init, Blame::Plugin, "init-failed", headline)
            .fix("this\nerror[y]: or that\u{7}")
    }

    #[test]
    fn a_plugin_s_words_stay_on_the_line_that_quotes_them() {
        assert_eq!(
            in_one_line(&problem()),
            "error[init-failed]: plugin `a`: init failed: a\\0b\\u{1b}[2J\\nerror[x]: forged; fix: this\\nerror[y]: or that\\u{7}"
        );
    }

    #[test]
    fn on_a_terminal_no_detail_looks_like_a_headline() {
        assert_eq!(
            in_lines(&problem()),
            "error[init-failed]: plugin `a`: init failed: a\\0b\\u{1b}[2J\\nerror[x]: forged\n  fix:    this\n    error[y]: or that\\u{7}"
        );
    }
}
