//! `hotshoe inspect`: what a host sees in a plugin file before it runs anything of it.

use super::super::report::{self, LogFormat};
use hotshoe::{Blame, ExitCode, Problem};
use hotshoe_loader::{Inspection, Manifest, Policy, printable_path};
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

pub(super) fn inspect(
    libraries: &[PathBuf],
    as_json: bool,
    schema: bool,
    verbose: bool,
    format: LogFormat,
) -> ExitCode {
    let mut exit = ExitCode::Clean;
    let mut answers = Vec::new();
    for library in libraries {
        match look(library, schema) {
            Ok(seen) => {
                exit = exit.max(seen.exit());
                if let (true, Some(problem)) = (verbose, &seen.refusal) {
                    report::detail(problem, format);
                }
                match as_json {
                    true => answers.push(seen.json()),
                    false => report::out(&seen.text()),
                }
            }
            Err(problem) => {
                exit = exit.max(problem.exit);
                if verbose {
                    report::detail(&problem, format);
                }
                match as_json {
                    true => answers.push(json!({
                        "file": library.display().to_string(),
                        "what": problem.found,
                        "inspection": null,
                        "problem": problem,
                    })),
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

/// A library that no host would load is worth showing all the same, also one that is no plugin; what is no library is only
/// told what it is.
fn refused(library: &Path, refusal: &hotshoe_loader::Refusal) -> Result<Seen, Problem> {
    let problem = hotshoe::refused(refusal);
    // Who may change the file was the refusal, if anything was: it does not matter to a look.
    let policy = Policy {
        allow_writable: true,
        ..Policy::default()
    };
    match hotshoe_loader::look(library, &policy) {
        Err(_) => Err(problem),
        Ok(inspection) => Ok(Seen {
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
            printable_path(&path)
        );
        Problem::error(ExitCode::Refused, Blame::Plugin, "schema-invalid", headline)
    };
    let text = library.module.settings_schema()()
        .into_result()
        .map_err(|failure| broken(failure.message.into()))?;
    serde_json::from_str(&text).map_err(|error| broken(error.to_string()))
}

impl Seen {
    /// Showing a plugin that is meant for another host is no failure; a file that is no plugin is one.
    fn exit(&self) -> ExitCode {
        match &self.refusal {
            Some(problem) if self.inspection.manifest.is_none() => problem.exit,
            _ => ExitCode::Clean,
        }
    }

    fn json(&self) -> Value {
        json!({
            "file": self.file.display().to_string(),
            "what": self.inspection.what(),
            "inspection": self.inspection,
            "problem": self.refusal,
            "warnings": self.warnings,
            "schema": self.schema,
        })
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n", printable_path(&self.file));
        let mut line = |label: &str, value: &str| {
            if !value.is_empty() {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "  {label:<11} {value}");
            }
        };
        match &self.inspection.manifest {
            Some(manifest) => of_manifest(manifest, &mut line),
            None => line("is", &self.inspection.what()),
        }
        of_file(&self.inspection, &mut line);
        for warning in &self.warnings {
            line("warning", warning);
        }
        match &self.refusal {
            None => line("verdict", "a host here would load it"),
            Some(problem) => {
                line("verdict", &problem.to_string());
                for (label, detail) in [
                    ("wanted", &problem.wanted),
                    ("found", &problem.found),
                    ("fix", &problem.fix),
                ] {
                    line(label, detail.as_deref().unwrap_or_default());
                }
            }
        }
        if let Some(schema) = &self.schema {
            let _ = writeln!(text, "{schema:#}");
        }
        text
    }
}

/// What the library says of itself.
fn of_manifest(manifest: &Manifest, line: &mut dyn FnMut(&str, &str)) {
    line("plugin", &format!("{} {}", manifest.name, manifest.version));
    line("abi", &manifest.abi_text());
    line("parts", &manifest.components.to_string());
    let rustc = manifest.rustc.as_deref().unwrap_or("unknown rustc");
    line("built", &format!("{rustc} for {}", manifest.target));
    let profile = format!("{:?}, panic = {:?}", manifest.profile, manifest.panic);
    line("profile", &profile.to_lowercase());
}

/// What its bytes say; nothing is printed for what is not there.
fn of_file(inspection: &Inspection, line: &mut dyn FnMut(&str, &str)) {
    let platform = &inspection.platform;
    line(
        "file",
        &format!(
            "{} {} {}, {} bytes, {} in memory{}",
            platform.format,
            platform.os,
            platform.arch,
            inspection.len_bytes,
            inspection.mapped_bytes,
            if inspection.stripped {
                ", stripped"
            } else {
                ""
            }
        ),
    );
    line("soname", inspection.soname.as_deref().unwrap_or_default());
    line("needs", &inspection.needed.join(", "));
    line("auxiliary", &inspection.auxiliary.join(", "));
    if let Some((major, minor)) = inspection.glibc_needed {
        line("glibc", &format!("{major}.{minor} or newer"));
    }
    line("rpath", &inspection.rpath.join(":"));
    line("runpath", &inspection.runpath.join(":"));
    line(
        "code",
        &format!(
            "{} constructors, {} bytes of TLS{}",
            inspection.constructors,
            inspection.tls_size_bytes,
            if inspection.static_tls {
                " (static)"
            } else {
                ""
            }
        ),
    );
    let traits = [
        (inspection.exec_stack, "executable stack"),
        (inspection.text_relocations, "text relocations"),
    ];
    let odd: Vec<&str> = traits
        .iter()
        .filter_map(|(is, what)| is.then_some(*what))
        .collect();
    line("odd", &odd.join(", "));
    line(
        "build id",
        inspection.build_id.as_deref().unwrap_or_default(),
    );
    for compiler in &inspection.compilers {
        line("compiler", compiler);
    }
}
