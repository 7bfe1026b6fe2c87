//! Tidiness is a test (STYLE R29): what the style guide says and a machine can see, over every file of the workspace.
//!
//! Each finding names rule, place and fix. A line that ends in a comment `STYLE Rn: reason` is accepted for that rule. This
//! reads files and `cargo metadata`; it compiles nothing, and it judges nothing that clippy judges already.

mod arrows;
mod files;
mod lexer;
mod packages;
mod rules;

use std::fmt;

/// One thing that is not as the guide says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    /// `R13`, or a word where the guide has no number for it.
    rule: &'static str,
    /// Relative to the workspace.
    file: String,
    /// 1-based.
    line: usize,
    what: String,
    fix: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rule,
            file,
            line,
            what,
            fix,
        } = self;
        write!(f, "{rule} {file}:{line}: {what}\n    fix: {fix}")
    }
}

#[track_caller]
fn assert_none(findings: &[Finding]) {
    let text: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(
        findings.is_empty(),
        "{} findings:\n{}",
        findings.len(),
        text.join("\n")
    );
}

#[test]
fn every_source_file_is_tidy() {
    let sources = files::sources();
    // A walk that finds nothing would pass anything.
    assert!(
        sources.len() > 50,
        "only {} source files found",
        sources.len()
    );
    let findings = sources
        .iter()
        .flat_map(|file| rules::check(&file.path, &file.text));
    assert_none(&findings.collect::<Vec<_>>());
}

#[test]
fn every_import_follows_the_arrows() {
    let sources = files::sources();
    let findings = sources
        .iter()
        .flat_map(|file| arrows::check(&file.path, &file.text));
    assert_none(&findings.collect::<Vec<_>>());
}

#[test]
fn no_file_names_a_place_of_one_machine() {
    let findings = files::texts()
        .into_iter()
        .flat_map(|file| files::machine_paths(&file));
    assert_none(&findings.collect::<Vec<_>>());
}

#[test]
fn every_member_inherits_what_is_decided_once() {
    assert_none(&packages::inheritance());
}

#[test]
fn every_dependency_is_licensed_and_comes_from_a_registry() {
    assert_none(&packages::origins());
}
