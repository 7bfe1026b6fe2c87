//! `hotshoe check`: everything that a start does before the first init, and the merged result.

use super::{
    super::{
        dirs,
        report::{self, LogFormat},
    },
    print,
};
use hotshoe::{
    ExitCode, Host, Problem, Severity,
    config_file::{self, Config},
    worker::Workers,
};
use serde_json::{Value, json};
use std::{fmt::Write as _, path::Path, sync::Arc};

pub(super) fn check(
    file: &Path,
    as_json: bool,
    locked: bool,
    verbose: bool,
    workers: &Workers,
    format: LogFormat,
) -> ExitCode {
    let loaded = config_file::load(file);
    let mut problems = loaded.problems;
    let merged = loaded
        .config
        .map(|config| loadable(config, locked, workers, &mut problems));
    let first = problems
        .iter()
        .find(|problem| problem.severity == Severity::Error);
    let exit = first.map_or(ExitCode::Clean, |problem| problem.exit);
    if as_json {
        let answer = json!({
            "file": file.display().to_string(),
            "ok": exit == ExitCode::Clean,
            "problems": problems.iter().map(|problem| in_json(problem, verbose)).collect::<Vec<_>>(),
            "merged": merged.as_ref().map(Merged::json),
        });
        report::out(&format!("{answer:#}\n"));
        return exit;
    }
    print(&problems, format);
    if verbose {
        problems
            .iter()
            .for_each(|problem| report::detail(problem, format));
    }
    if let Some(merged) = &merged {
        report::out(&merged.table());
    }
    exit
}

/// A problem as a script reads it; the long story only where it was asked for.
fn in_json(problem: &Problem, verbose: bool) -> Value {
    let mut told = json!(problem);
    if let Some(detail) = problem.detail.as_ref().filter(|_| verbose) {
        told["detail"] = detail.as_str().into();
    }
    told
}

/// Loads every plugin as far as a start does before the first init.
fn loadable(
    mut config: Config,
    locked: bool,
    workers: &Workers,
    problems: &mut Vec<Problem>,
) -> Merged {
    let mut merged = Merged::of(&config);
    config.leave_out_own(&dirs::own(&config.host.name));
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    let mut builder = Host::builder().config(config).workers(workers.clone());
    if locked {
        builder = builder.locked();
    }
    let builder = builder.on_problem(move |problem| {
        if let Ok(mut told) = told.lock() {
            told.push(problem.clone());
        }
    });
    match builder.build() {
        Err(error) => problems.extend(error.problems),
        Ok(host) => {
            merged.name_from(&host);
            host.load();
            if let Ok(mut seen) = seen.lock() {
                problems.append(&mut seen);
            }
        }
    }
    merged
}

/// The merged configuration as it is printed: instances in order, with where each comes from.
struct Merged {
    host: String,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    library: String,
    parts: Vec<String>,
    at: String,
    settings: Value,
}

impl Merged {
    fn of(config: &Config) -> Self {
        let rows = config.plugins.iter().map(|entry| Row {
            name: entry
                .name
                .clone()
                .unwrap_or_else(|| entry.library.to_string()),
            library: entry.library.to_string(),
            parts: Vec::new(),
            at: entry.at.to_string(),
            settings: entry.settings.printable(),
        });
        Self {
            host: config.host.name.clone(),
            rows: rows.collect(),
        }
    }

    /// Takes over what the libraries say of themselves, and drops entries that turned out to be duplicates.
    fn name_from(&mut self, host: &Host) {
        let entries = host.entries();
        self.rows.retain_mut(|row| {
            let Some(entry) = entries.iter().find(|entry| entry.at == row.at) else {
                return false;
            };
            row.name.clone_from(&entry.name);
            row.library = entry.library.clone().unwrap_or_else(|| row.library.clone());
            row.parts = entry.parts.iter().map(|part| (*part).to_owned()).collect();
            true
        });
    }

    fn json(&self) -> Value {
        let plugins: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "name": row.name,
                    "library": row.library,
                    "parts": row.parts,
                    "at": row.at,
                    "settings": row.settings,
                })
            })
            .collect();
        json!({ "host": self.host, "plugins": plugins })
    }

    fn table(&self) -> String {
        let width = self
            .rows
            .iter()
            .map(|row| row.name.len())
            .max()
            .unwrap_or(0);
        let mut text = String::new();
        for row in &self.rows {
            let parts = if row.parts.is_empty() {
                "-".to_owned()
            } else {
                row.parts.join(",")
            };
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{:width$}  {parts}  {}  ({})",
                row.name, row.library, row.at
            );
        }
        if self.rows.is_empty() {
            text.push_str("no plugins\n");
        }
        text
    }
}
