//! `hotshoe inspect`: what a host sees in a plugin file before it runs anything of it.

use super::super::report::{self, LogFormat};
use hotshoe::{Blame, ExitCode, Problem};
use hotshoe_loader::{Inspection, Policy};
use serde_json::{Value, json};
use std::{fmt::Write as _, path::Path, path::PathBuf};

pub(super) fn inspect(
    libraries: &[PathBuf],
    as_json: bool,
    schema: bool,
    format: LogFormat,
) -> ExitCode {
    let mut exit = ExitCode::Clean;
    let mut answers = Vec::new();
    for library in libraries {
        match look(library, schema) {
            Ok(seen) if as_json => answers.push(seen.json()),
            Ok(seen) => report::out(&seen.text()),
            Err(problem) => {
                exit = exit.max(problem.exit);
                match as_json {
                    true => answers
                        .push(json!({ "file": library.display().to_string(), "problem": problem })),
                    false => report::problem(&problem, format),
                }
            }
        }
    }
    if as_json {
        report::out(&format!("{:#}\n", Value::Array(answers)));
    }
    exit
}

struct Seen {
    file: PathBuf,
    inspection: Inspection,
    /// What a host would refuse it for.
    refusal: Option<Problem>,
    warnings: Vec<String>,
    schema: Option<Value>,
}

fn look(library: &Path, schema: bool) -> Result<Seen, Problem> {
    let verified = hotshoe_loader::verify(library, &Policy::default());
    let verified = match verified {
        Ok(verified) => verified,
        Err(refusal) => return refused(library, &refusal),
    };
    let inspection = verified.inspection.clone();
    let warnings = verified.warnings.clone();
    let schema = match schema {
        true => Some(settings_schema(verified)?),
        false => None,
    };
    Ok(Seen {
        file: library.to_owned(),
        inspection,
        refusal: None,
        warnings,
        schema,
    })
}

/// A file that no host would load may still be worth showing.
fn refused(library: &Path, refusal: &hotshoe_loader::Refusal) -> Result<Seen, Problem> {
    let problem = hotshoe::refused(refusal);
    let bytes = std::fs::metadata(library)
        .ok()
        .filter(|metadata| metadata.is_file() && metadata.len() <= Policy::default().len_bytes_max)
        .and_then(|_| std::fs::read(library).ok());
    let inspection = bytes
        .as_deref()
        .and_then(|bytes| hotshoe_loader::inspect(bytes).ok());
    match inspection.filter(|inspection| inspection.manifest.is_some()) {
        None => Err(problem),
        Some(inspection) => Ok(Seen {
            file: library.to_owned(),
            inspection,
            refusal: Some(problem),
            warnings: Vec::new(),
            schema: None,
        }),
    }
}

fn settings_schema(verified: hotshoe_loader::Verified) -> Result<Value, Problem> {
    let path = verified.path.clone();
    let library =
        hotshoe_loader::load(verified, "inspect").map_err(|refusal| hotshoe::refused(&refusal))?;
    let broken = |why: String| {
        let headline = format!(
            "{}: the schema of its settings is broken: {why}",
            path.display()
        );
        Problem::error(ExitCode::Refused, Blame::Plugin, "schema-invalid", headline)
    };
    let text = library.module.settings_schema()()
        .into_result()
        .map_err(|failure| broken(failure.message.into()))?;
    serde_json::from_str(&text).map_err(|error| broken(error.to_string()))
}

impl Seen {
    fn json(&self) -> Value {
        json!({
            "file": self.file.display().to_string(),
            "inspection": self.inspection,
            "problem": self.refusal,
            "warnings": self.warnings,
            "schema": self.schema,
        })
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n", self.file.display());
        let inspection = &self.inspection;
        let mut line = |label: &str, value: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {label:<11} {value}");
        };
        if let Some(manifest) = &inspection.manifest {
            let parts: Vec<&str> = manifest.components.names().collect();
            line("plugin", format!("{} {}", manifest.name, manifest.version));
            line("abi", manifest.abi_text());
            line(
                "parts",
                if parts.is_empty() {
                    "none".to_owned()
                } else {
                    parts.join(", ")
                },
            );
            line(
                "built",
                format!(
                    "{} for {}",
                    manifest.rustc.as_deref().unwrap_or("unknown rustc"),
                    manifest.target
                ),
            );
            line(
                "profile",
                format!("{:?}, panic = {:?}", manifest.profile, manifest.panic).to_lowercase(),
            );
        }
        let platform = &inspection.platform;
        line(
            "file",
            format!(
                "{} {} {}, {} bytes",
                platform.format, platform.os, platform.arch, inspection.len_bytes
            ),
        );
        line("needs", inspection.needed.join(", "));
        if let Some((major, minor)) = inspection.glibc_needed {
            line("glibc", format!("{major}.{minor} or newer"));
        }
        line(
            "code",
            format!(
                "{} constructors, {} bytes of TLS",
                inspection.constructors, inspection.tls_size_bytes
            ),
        );
        for warning in &self.warnings {
            line("warning", warning.clone());
        }
        line(
            "verdict",
            match &self.refusal {
                None => "a host here would load it".to_owned(),
                Some(problem) => problem.to_string(),
            },
        );
        if let Some(schema) = &self.schema {
            let _ = writeln!(text, "{schema:#}");
        }
        text
    }
}
