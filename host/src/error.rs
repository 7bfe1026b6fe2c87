//! What goes wrong, in the words of whoever must act on it, and the exit code each phase ends with.
//!
//! One shape serves every front: [`Problem`] is a headline that stands alone in a log, then what was wanted, what was
//! found, where, and what to do. This file formats; it prints nothing.

use std::{fmt, io, path::PathBuf};

/// Who must act (STYLE R18). Decides what the host does next; shown in JSON, never as a printed line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blame {
    /// Asked for what cannot be: a bad flag, key or name. Nothing is changed.
    Operator,
    /// Broke the contract: ABI, deadline, fault, bad record.
    Plugin,
    /// Disk, permission, port, memory, a child that the OS killed.
    Environment,
    /// An invariant of ours failed.
    Host,
}

/// How the process ends. The first failure in time decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[repr(u8)]
pub enum ExitCode {
    /// SIGTERM, SIGINT, end of input, closed sink.
    Clean = 0,
    /// The stream or a required instance failed while running, or the source is missing.
    Running = 1,
    /// Command line or configuration.
    Usage = 2,
    /// A library was refused.
    Refused = 3,
    /// `new` or `init` failed, a port is taken.
    Init = 4,
    /// A shutdown failed or overran.
    Shutdown = 5,
    /// Executors failed more often than allowed.
    Executors = 6,
    /// A bug of ours.
    Bug = 70,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(exit: ExitCode) -> Self {
        Self::from(exit as u8)
    }
}

/// Whether a problem stops what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It does.
    Error,
    /// It does not; it is reported all the same.
    Warning,
}

/// A place in a text file: 1-based line and column; the column counts bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Place {
    /// The file, as the operator named it.
    pub file: PathBuf,
    /// 1-based line; 0 where the whole file is meant.
    pub line: usize,
    /// 1-based column in bytes; 0 where the whole file is meant.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (0, _) => write!(f, "{}", self.file.display()),
            (line, 0) => write!(f, "{}:{line}", self.file.display()),
            (line, column) => write!(f, "{}:{line}:{column}", self.file.display()),
        }
    }
}

/// `sentence (file:line)`: a sentence that stands alone in a log.
#[must_use]
pub fn located(sentence: &str, at: &Place) -> String {
    match at.line {
        0 => format!("{sentence} ({})", at.file.display()),
        line => format!("{sentence} ({}:{line})", at.file.display()),
    }
}

/// One thing that is wrong. `{}` is the headline, which stands alone; `{:#}` adds the details, a line each.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// A stable code: kebab-case, a contract once published.
    pub code: String,
    /// Whether it stops what was asked.
    pub severity: Severity,
    /// A sentence that an operator would say, naming instance and file.
    pub headline: String,
    /// What would have been right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
    /// What was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Place>,
    /// A command or an edit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// The long story, several lines, for `--verbose`. In no log and no status.
    #[serde(skip_serializing)]
    pub detail: Option<String>,
    /// Who must act.
    pub blame: Blame,
    /// How a run that this stops ends.
    pub exit: ExitCode,
}

impl Problem {
    /// An error; the details are added with the methods below.
    #[must_use]
    pub fn error(
        exit: ExitCode,
        blame: Blame,
        code: impl Into<String>,
        headline: impl Into<String>,
    ) -> Self {
        Self {
            code: code.into(),
            severity: Severity::Error,
            headline: headline.into(),
            wanted: None,
            found: None,
            at: None,
            fix: None,
            detail: None,
            blame,
            exit,
        }
    }

    /// A mistake in the command line or the configuration: exit code 2.
    #[must_use]
    pub fn usage(code: impl Into<String>, headline: impl Into<String>) -> Self {
        Self::error(ExitCode::Usage, Blame::Operator, code, headline)
    }

    /// The same, as a warning.
    #[must_use]
    pub fn warning(code: impl Into<String>, headline: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::usage(code, headline)
        }
    }

    /// What would have been right.
    #[must_use]
    pub fn wanted(mut self, wanted: impl Into<String>) -> Self {
        self.wanted = Some(wanted.into());
        self
    }

    /// What was there.
    #[must_use]
    pub fn found(mut self, found: impl Into<String>) -> Self {
        self.found = Some(found.into());
        self
    }

    /// Where it stands.
    #[must_use]
    pub fn at(mut self, at: Place) -> Self {
        self.at = Some(at);
        self
    }

    /// Where it stands in a text file; the headline gets file and line too, so that it stands alone in a log.
    #[must_use]
    pub fn in_file(mut self, at: Place) -> Self {
        self.headline = located(&self.headline, &at);
        self.at = Some(at);
        self
    }

    /// A command or an edit.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// What to do about a failure of the system's; `otherwise` where it is not that the process may open no more files.
    #[must_use]
    pub fn remedy(self, error: &io::Error, otherwise: impl Into<String>) -> Self {
        self.fix(hotshoe_loader::remedy(error, otherwise))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{word}[{}]: {}", self.code, self.headline)?;
        if !f.alternate() {
            return Ok(());
        }
        let details = [
            ("wanted:", self.wanted.clone()),
            ("found: ", self.found.clone()),
            ("at:    ", self.at.as_ref().map(Place::to_string)),
            ("fix:   ", self.fix.clone()),
        ];
        for (label, text) in details {
            if let Some(text) = text {
                write!(f, "\n  {label} {text}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

/// Appends " [did you mean …]" material: the known names within a small edit distance of `given`, nearest first.
#[must_use]
pub fn near_misses<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    // A third of the name, at least one letter: "prot" finds "port", "x" does not find "y".
    let limit = (given.chars().count() / 3).max(1);
    let mut found: Vec<(usize, &str)> = known
        .into_iter()
        .map(|name| (edit_distance(given, name), name))
        .filter(|(distance, name)| *distance <= limit && *distance < name.chars().count())
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, name)| name).collect()
}

/// Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0_usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let substitution = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substitution.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headline_stands_alone_and_details_follow_on_request() {
        let problem = Problem::usage("unknown-key", "`prot` is not a key of [host]")
            .wanted("name, admin")
            .found("prot")
            .at(Place {
                file: "hotshoe.toml".into(),
                line: 3,
                column: 1,
            })
            .fix("remove the line");
        assert_eq!(
            problem.to_string(),
            "error[unknown-key]: `prot` is not a key of [host]"
        );
        assert_eq!(
            format!("{problem:#}"),
            "error[unknown-key]: `prot` is not a key of [host]\n  wanted: name, admin\n  found:  prot\n  at:     \
             hotshoe.toml:3:1\n  fix:    remove the line"
        );
    }

    #[test]
    fn near_misses_find_swaps_and_reject_strangers() {
        assert_eq!(near_misses("prot", ["port", "host", "name"]), ["port"]);
        assert_eq!(near_misses("x", ["y"]), [""; 0]);
        assert_eq!(
            near_misses("dynamic_config", ["dynamic-config"]),
            ["dynamic-config"]
        );
    }
}
