//! Who may name whom (DESIGN §2, STYLE R6): between crates, and between the parts of the host.
//!
//! What is looked for is a name in code, wherever it stands: a path in an expression is an import as well.

use super::{
    Finding,
    lexer::{Line, lines},
    rules::is_excused,
};

/// A place, and the crates that nothing below it may name.
const CRATES: [(&str, &[&str]); 9] = [
    (
        "json/",
        &[
            "hotshoe",
            "hotshoe_abi",
            "hotshoe_loader",
            "hotshoe_plugin_api",
            "abi_stable",
        ],
    ),
    (
        "plugin-api/abi/",
        &["hotshoe", "hotshoe_loader", "hotshoe_plugin_api"],
    ),
    ("plugin-api/", &["hotshoe", "hotshoe_loader"]),
    ("host/loader/", &["hotshoe", "hotshoe_plugin_api"]),
    ("host/src/", &["hotshoe_plugin_api"]),
    (
        "plugins/",
        &["hotshoe", "hotshoe_abi", "hotshoe_loader", "abi_stable"],
    ),
    (
        "examples/quickstart/",
        &["hotshoe", "hotshoe_abi", "hotshoe_loader", "abi_stable"],
    ),
    (
        "examples/third-party/",
        &["hotshoe", "hotshoe_abi", "hotshoe_loader", "abi_stable"],
    ),
    (
        "tests/fixtures/",
        &["hotshoe", "hotshoe_abi", "hotshoe_loader", "abi_stable"],
    ),
];

/// A part of the host, the parts of it that it may not name, and the crates.
const PARTS: [(&str, &[&str], &[&str]); 6] = [
    (
        "host/src/machine/",
        &["backend", "services", "stream", "runtime", "front"],
        &["hotshoe_abi", "hotshoe_loader"],
    ),
    (
        "host/src/services/",
        &["backend", "stream", "runtime", "front"],
        // The memory that cells and the epoch word stand in is mapped there, and nowhere else.
        &[],
    ),
    ("host/src/backend/", &["stream", "runtime", "front"], &[]),
    (
        "host/src/stream/",
        &["runtime", "front"],
        &["hotshoe_loader"],
    ),
    ("host/src/runtime/", &["front"], &[]),
    ("host/src/front/", &["runtime"], &[]),
];

const FIX: &str = "a type lives one layer too high: move it to where both may see it";

/// Every import of the file at `path` that points against an arrow.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let lines = lines(text);
    let mut findings = Vec::new();
    let mut report = |line: usize, name: &str, rule_of: &str| {
        findings.push(Finding {
            rule: "R6",
            file: path.to_owned(),
            line,
            what: format!("`{name}` is named below {rule_of}"),
            fix: FIX,
        });
    };
    // The most exact place decides: plugin-api/abi/ lies below plugin-api/.
    let place = CRATES.iter().find(|(place, _)| path.starts_with(place));
    let part = PARTS.iter().find(|(place, _, _)| path.starts_with(place));
    for (index, line) in lines.iter().enumerate() {
        if let Some((place, crates)) = place {
            names_crate(line, crates, |name| report(index + 1, name, place));
        }
        if let Some((place, parts, crates)) = part {
            names_crate(line, crates, |name| report(index + 1, name, place));
            names_part(&lines, index, parts, |name| report(index + 1, name, place));
        }
    }
    let raw: Vec<&str> = text.lines().collect();
    findings.retain(|finding| !is_excused(raw[finding.line - 1], finding.rule));
    findings
}

/// A crate is named where a path begins with it.
fn names_crate(line: &Line, crates: &[&'static str], mut report: impl FnMut(&'static str)) {
    for name in crates {
        let begins = [format!("use {name}"), format!("{name}::")];
        if line.has_word(name) && begins.iter().any(|path| line.code.contains(path.as_str())) {
            report(name);
        }
    }
}

/// A part is named by `crate::part`, or first in a branch of `crate::{…}`.
fn names_part(
    lines: &[Line],
    index: usize,
    parts: &[&'static str],
    mut report: impl FnMut(&'static str),
) {
    for (at, root) in lines[index].code.match_indices("crate::") {
        if lines[index].code[..at].ends_with('$') {
            continue;
        }
        let mut rest = lines[index].code[at + root.len()..].to_owned();
        if rest.starts_with('{') {
            // A use over several lines is put together to its closing semicolon.
            for line in &lines[index + 1..] {
                if rest.contains(';') {
                    break;
                }
                rest.push_str(&line.code);
            }
        }
        for branch in branches(&rest) {
            if let Some(part) = parts.iter().find(|part| **part == branch) {
                report(part);
            }
        }
    }
}

/// The first names behind `crate::`: one, or those of the outermost braces.
fn branches(rest: &str) -> Vec<&str> {
    let name = |text: &'_ str| -> usize {
        text.find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(text.len())
    };
    let Some(inside) = rest.strip_prefix('{') else {
        return vec![&rest[..name(rest)]];
    };
    let mut found = Vec::new();
    let (mut depth, mut start) = (0, Some(0));
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => start = Some(at + 1),
            c if c.is_whitespace() && start == Some(at) => start = Some(at + c.len_utf8()),
            _ if start == Some(at) => {
                found.push(&inside[at..at + name(&inside[at..])]);
                start = None;
            }
            _ => {}
        }
    }
    found
}

#[test]
fn an_import_against_an_arrow_is_found() {
    let check = |path: &str, text: &str, expected: &[usize]| {
        let found: Vec<usize> = check(path, text)
            .iter()
            .map(|finding| finding.line)
            .collect();
        assert_eq!(found, expected, "{path}: {text}");
    };
    check("host/src/a.rs", "use hotshoe_plugin_api::Task;\n", &[1]);
    check("host/src/a.rs", "// use hotshoe_plugin_api::Task;\n", &[]);
    check("plugins/a/src/lib.rs", "fn f() { hotshoe::run() }\n", &[1]);
    check("plugins/a/src/lib.rs", "use hotshoe_json::read;\n", &[]);
    check("json/src/a.rs", "use hotshoe_abi::Change;\n", &[1]);
    check(
        "plugins/a/src/lib.rs",
        "use hotshoe_plugin_api::Task;\n",
        &[],
    );
    check("host/src/machine/a.rs", "use crate::backend::A;\n", &[1]);
    check(
        "host/src/machine/a.rs",
        "use crate::{error::A, services::{B, C}};\n",
        &[1],
    );
    check(
        "host/src/machine/a.rs",
        "use crate::{\n    error::{front, A},\n    front,\n};\n",
        &[1],
    );
    check(
        "host/src/machine/a.rs",
        "use crate::{\n    error::{front, A},\n    config_file,\n};\n",
        &[],
    );
    check(
        "host/src/front/a.rs",
        "crate::runtime::go(); // STYLE R6: main is not built yet\n",
        &[],
    );
    check(
        "plugin-api/abi/src/a.rs",
        "use hotshoe_plugin_api::A;\n",
        &[1],
    );
}
