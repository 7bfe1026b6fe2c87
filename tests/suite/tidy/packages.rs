//! What is decided once and inherited, and where dependencies come from.

use super::Finding;
use hotshoe_tests::artifacts::{metadata, workspace_root};
use serde_json::Value;
use std::fs;
use toml::{Table, Value as Toml};

/// Licence expressions that a dependency may have: all of them let Hotshoe be used under its own.
const LICENSES: [&str; 20] = [
    "MIT OR Apache-2.0",
    "Apache-2.0 OR MIT",
    "MIT/Apache-2.0",
    "Apache-2.0/MIT",
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
    "ISC",
    "Zlib",
    "BSD-3-Clause",
    "MIT OR Apache-2.0 OR BSD-1-Clause",
    "MIT AND BSD-3-Clause",
    "Unlicense OR MIT",
    "Zlib OR Apache-2.0 OR MIT",
    "Apache-2.0 OR BSD-3-Clause",
    "Unlicense/MIT",
    "BSD-2-Clause OR Apache-2.0 OR MIT",
    "MIT OR Apache-2.0 OR LGPL-2.1-or-later",
    "(MIT OR Apache-2.0) AND Unicode-3.0",
];

/// Packages that may stay under a licence that is not for all.
const EXCEPTIONS: [(&str, &str); 1] = [
    // abi_stable needs it. Copyleft file by file: used unchanged, it asks for nothing.
    ("generational-arena", "MPL-2.0"),
];

/// What each member takes from `[workspace.package]`.
const INHERITED_KEYS: [&str; 6] = [
    "version",
    "edition",
    "rust-version",
    "license",
    "authors",
    "publish",
];

fn finding(rule: &'static str, file: &str, what: String, fix: &'static str) -> Finding {
    Finding {
        rule,
        file: file.to_owned(),
        line: 1,
        what,
        fix,
    }
}

fn read_toml(path: &str) -> Table {
    let text =
        fs::read_to_string(workspace_root().join(path)).expect("a manifest of the workspace");
    text.parse().expect("cargo reads it as well")
}

/// R27: versions, edition and lints are decided in the root alone.
pub(super) fn inheritance() -> Vec<Finding> {
    let root = read_toml("Cargo.toml");
    let members = root["workspace"]["members"]
        .as_array()
        .expect("a workspace has members");
    let mut findings = Vec::new();
    for member in members.iter().filter_map(Toml::as_str) {
        let path = format!("{member}/Cargo.toml");
        findings.extend(member_findings(&path, &read_toml(&path)));
    }
    findings
}

fn is_inherited(value: Option<&Toml>) -> bool {
    value
        .and_then(|value| value.get("workspace"))
        .and_then(Toml::as_bool)
        == Some(true)
}

fn member_findings(path: &str, manifest: &Table) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !is_inherited(manifest.get("lints")) {
        let fix = "write `[lints]` and `workspace = true`";
        findings.push(finding("R27", path, "lints of its own".to_owned(), fix));
    }
    for key in INHERITED_KEYS {
        // The ABI's version is its crate's, and nobody else's.
        let own = path == "plugin-api/abi/Cargo.toml" && key == "version";
        if !own && !is_inherited(manifest["package"].get(key)) {
            let fix = "write `<key>.workspace = true`";
            findings.push(finding("R27", path, format!("a `{key}` of its own"), fix));
        }
    }
    for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let dependencies = manifest
            .get(table)
            .and_then(Toml::as_table)
            .into_iter()
            .flatten();
        for (name, value) in dependencies.filter(|(_, value)| !is_inherited(Some(*value))) {
            let fix = "name its version in the root's table, and write `<name>.workspace = true`";
            findings.push(finding("R27", path, format!("`{name} = {value}`"), fix));
        }
    }
    findings
}

/// Every package of the three workspaces has a licence from the list and does not come from git.
pub(super) fn origins() -> Vec<Finding> {
    let mut findings = Vec::new();
    for manifest in [
        "Cargo.toml",
        "tests/fixtures/Cargo.toml",
        "examples/third-party/Cargo.toml",
        "tests/corpus/src-1.0/Cargo.toml",
    ] {
        let metadata = metadata(&workspace_root().join(manifest));
        let packages = metadata["packages"]
            .as_array()
            .expect("metadata has packages");
        assert!(
            packages.len() > 10,
            "{manifest} has only {} packages",
            packages.len()
        );
        findings.extend(
            packages
                .iter()
                .flat_map(|package| origin_findings(manifest, package)),
        );
    }
    findings
}

fn origin_findings(manifest: &str, package: &Value) -> Vec<Finding> {
    let name = format!("{} {}", text(&package["name"]), text(&package["version"]));
    let license = text(&package["license"]);
    let mut findings = Vec::new();
    let is_excepted = EXCEPTIONS.contains(&(text(&package["name"]), license));
    if !LICENSES.contains(&license) && !is_excepted {
        let fix = "do without it, or add the expression to the list in tests/suite/tidy/packages.rs with a second reader";
        findings.push(finding(
            "licence",
            manifest,
            format!("{name} is under `{license}`"),
            fix,
        ));
    }
    if text(&package["source"]).starts_with("git+") {
        let fix = "take it from the registry";
        findings.push(finding(
            "source",
            manifest,
            format!("{name} comes from git"),
            fix,
        ));
    }
    findings
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn a_member_that_decides_for_itself_is_found() {
    let good = "[package]\nversion.workspace = true\nedition.workspace = true\nrust-version.workspace = true\n\
        license.workspace = true\nauthors.workspace = true\npublish.workspace = true\n\
        [dependencies]\nserde.workspace = true\n[lints]\nworkspace = true\n";
    let check = |text: &str, expected: usize| {
        let found = member_findings("a/Cargo.toml", &text.parse().unwrap());
        assert_eq!(found.len(), expected, "{text}: {found:?}");
    };
    check(good, 0);
    check(
        &good.replace("edition.workspace = true", "edition = \"2021\""),
        1,
    );
    check(&good.replace("serde.workspace = true", "serde = \"1\""), 1);
    check(&good.replace("[lints]\nworkspace = true\n", ""), 1);
}

#[test]
fn a_strange_origin_is_found() {
    let package = serde_json::json!({
        "name": "a", "version": "1.0.0", "license": "SSPL-1.0", "source": "git+https://example.org/a#1",
    });
    let found = origin_findings("Cargo.toml", &package);
    let rules: Vec<&str> = found.iter().map(|finding| finding.rule).collect();
    assert_eq!(rules, ["licence", "source"]);
}
