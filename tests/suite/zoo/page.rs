//! `docs/containment.md`, written from the table. Without `HOTSHOE_UPDATE_SNAPSHOTS=1` nothing is ever written; then the
//! test only says whether the page is up to date.

use super::{
    expect::{Backend, Cell, Row},
    table::{MOUNTED, sections},
};
use hotshoe_tests::{artifacts::workspace_root, difference};
use std::{collections::BTreeSet, env, fmt::Write as _, fs};

const HEAD: &str = "\
<!-- Generated from tests/suite/zoo/table.rs. To write it anew: HOTSHOE_UPDATE_SNAPSHOTS=1 cargo test -p hotshoe-tests --test suite zoo -->

# What a plugin can do to its host

Every line is a crime that a test commits, against the real binary, in every call that the line names, beside a well-behaved neighbour. *Contained* means: the neighbour and the stream go on, or the run ends in order with the exit code and the error that the line names; no record is lost, the log says whose fault it was, and nothing is left behind. **Not contained** means what it says: where a plugin runs in the host's own process (`isolation = \"in-process\"`, the default), it shares its memory, its descriptors and its fate. One word in its entry, `isolation = \"process\"`, gives it a process of its own.

What an error, a panic or a hang in each single call costs is the table in `tests/suite/conformance/crimes.rs`.
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    if !MOUNTED.contains(&Backend::Isolated) {
        page.push_str("\nThe last column is what isolation will have to keep; this version does not have it yet.\n");
    }
    for (section, rows) in sections() {
        // Writing to a String cannot fail.
        let _ = write!(
            page,
            "\n## {section}\n\n| Crime | In | In the host's process | In a process of its own |\n|---|---|---|---|\n"
        );
        for (_, row) in rows {
            let _ = writeln!(
                page,
                "| {} | {} | {} | {} |",
                row.what,
                calls(&row),
                words(&row.in_process),
                words(&row.isolated)
            );
        }
    }
    page
}

fn calls(row: &Row) -> String {
    let calls: Vec<String> = row.hooks.iter().map(|hook| format!("`{hook}`")).collect();
    calls.join(", ")
}

fn words(cell: &Cell) -> String {
    let promise = if cell.contained {
        "Contained"
    } else {
        "**Not contained**"
    };
    let end = match (cell.end, cell.error) {
        _ if cell.course == super::expect::Course::Lost => String::new(),
        (super::expect::End::Signal(signal), _) => format!(", signal {signal}"),
        (super::expect::End::Exit(code), Some(error)) if !error.is_empty() => {
            format!(", exit {code}, `{error}`")
        }
        (super::expect::End::Exit(0), _) if cell.course == super::expect::Course::GoesOn => {
            String::new()
        }
        (super::expect::End::Exit(code), _) => format!(", exit {code}"),
    };
    let warning = cell
        .warning
        .map_or_else(String::new, |code| format!(", `{code}`"));
    format!("{promise}{end}{warning}. {}", cell.verdict)
        .trim_end()
        .to_owned()
}

#[test]
fn docs_containment_md_is_up_to_date() {
    let (path, page) = (workspace_root().join("docs/containment.md"), page());
    if env::var_os("HOTSHOE_UPDATE_SNAPSHOTS").is_some_and(|value| value == "1") {
        fs::write(&path, page).expect("the folder of the docs");
        return;
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == page,
        "docs/containment.md differs (`-` is kept, `+` is found):\n{}\nIf that is meant: HOTSHOE_UPDATE_SNAPSHOTS=1 cargo \
         test -p hotshoe-tests --test suite zoo",
        difference(&kept, &page)
    );
}

/// At least sixty crimes, each with a sentence of its own, and with words in both columns.
#[test]
fn every_crime_has_its_verdicts() {
    let rows: Vec<(&str, Row)> = sections().into_iter().flat_map(|(_, rows)| rows).collect();
    assert!(rows.len() >= 60, "{} crimes", rows.len());
    let sentences: BTreeSet<&str> = rows.iter().map(|(_, row)| row.what).collect();
    assert_eq!(sentences.len(), rows.len(), "two crimes in the same words");
    for (name, row) in &rows {
        for text in [row.what, row.in_process.verdict, row.isolated.verdict] {
            assert!(text.ends_with('.'), "{name} lacks words: {text:?}");
        }
        assert!(
            row.isolated.contained || !row.in_process.contained,
            "{name} is contained in-process only"
        );
    }
}
