//! What one Rust file must hold to: its header, its unsafe code, its prints, and what a test must not do.

use super::{
    Finding,
    lexer::{Line, lines},
};

/// The only places where `unsafe` may stand (DESIGN §2, ▲).
const UNSAFE_PLACES: [&str; 4] = [
    "plugin-api/abi/",
    "plugin-api/src/entry.rs",
    "host/loader/",
    "tests/fixtures/",
];

/// Crates that hold such a place, so that their root cannot forbid it.
const UNSAFE_CRATES: [&str; 3] = ["plugin-api/", "plugin-api/abi/", "host/loader/"];

/// Up to so many lines a file needs no header.
const HEADERLESS_LINES_MAX: usize = 30;

/// Whether the line says itself why it breaks the rule.
pub(super) fn is_excused(line: &str, rule: &str) -> bool {
    let marker = format!("STYLE {rule}: ");
    line.rfind(&marker)
        .is_some_and(|at| !line[at + marker.len()..].trim().is_empty())
}

/// Everything that is wrong with the file at `path`.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let file = File {
        path,
        text,
        lines: lines(text),
    };
    let mut findings = Vec::new();
    file.header(&mut findings);
    file.unsafe_code(&mut findings);
    file.forbids(&mut findings);
    file.prints(&mut findings);
    file.tests(&mut findings);
    file.verdict(&mut findings);
    let raw: Vec<&str> = text.lines().collect();
    findings.retain(|finding| {
        let line = raw.get(finding.line - 1).copied().unwrap_or_default();
        !is_excused(line, finding.rule)
    });
    findings
}

struct File<'a> {
    path: &'a str,
    text: &'a str,
    lines: Vec<Line>,
}

impl File<'_> {
    fn finding(
        &self,
        rule: &'static str,
        line: usize,
        what: impl Into<String>,
        fix: &'static str,
    ) -> Finding {
        Finding {
            rule,
            file: self.path.to_owned(),
            line,
            what: what.into(),
            fix,
        }
    }

    fn header(&self, findings: &mut Vec<Finding>) {
        let long = self.text.lines().count() > HEADERLESS_LINES_MAX;
        if long && !self.text.starts_with("//!") {
            let fix = "open it with `//!`: why it exists, and what it refuses to do";
            findings.push(self.finding(
                "R13",
                1,
                "a file of more than 30 lines without a header",
                fix,
            ));
        }
    }

    fn unsafe_code(&self, findings: &mut Vec<Finding>) {
        let allowed = UNSAFE_PLACES
            .iter()
            .any(|place| self.path.starts_with(place));
        for (index, line) in self.lines.iter().enumerate() {
            if !line.has_word("unsafe") {
                continue;
            }
            if !allowed {
                let fix = "move it to one of the places that DESIGN §2 marks with ▲, behind a safe function";
                findings.push(self.finding(
                    "R1",
                    index + 1,
                    "unsafe code outside the named places",
                    fix,
                ));
            } else if opens_unsafe(&line.code) && !self.has_safety(index) {
                let fix = "say above it `// SAFETY:` which fact holds, and who guarantees it";
                findings.push(self.finding(
                    "R2",
                    index + 1,
                    "unsafe code without a SAFETY comment",
                    fix,
                ));
            }
        }
    }

    /// Whether the line itself, or the comments and attributes right above it, say SAFETY.
    fn has_safety(&self, index: usize) -> bool {
        let says = |line: &Line| line.comment.contains("SAFETY:");
        let above = self.lines[..index].iter().rev().take_while(|line| {
            let code = line.code.trim();
            code.is_empty() && !line.comment.is_empty()
                || code.starts_with("#[")
                || !code.ends_with([';', '}', '{'])
        });
        says(&self.lines[index]) || above.into_iter().take(30).any(says)
    }

    fn forbids(&self, findings: &mut Vec<Finding>) {
        let is_root = ["src/lib.rs", "src/main.rs"]
            .iter()
            .any(|root| self.path.ends_with(root));
        let is_excepted = UNSAFE_CRATES.iter().any(|krate| {
            self.path
                .strip_prefix(krate)
                .is_some_and(|rest| rest.starts_with("src/"))
        }) || self.path.starts_with("tests/fixtures/");
        let forbids = self
            .lines
            .iter()
            .any(|line| line.code.contains("#![forbid(unsafe_code)]"));
        if is_root && !is_excepted && !forbids {
            let fix = "write `#![forbid(unsafe_code)]` below its header";
            findings.push(self.finding(
                "R1",
                1,
                "a crate root that does not forbid unsafe code",
                fix,
            ));
        }
    }

    fn prints(&self, findings: &mut Vec<Finding>) {
        let of_a_library = self.path.starts_with("host/src/")
            && !self.path.starts_with("host/src/front/")
            && self.path != "host/src/main.rs";
        if !of_a_library && !self.path.starts_with("plugins/") {
            return;
        }
        for (index, line) in self.lines[..self.first_test_line()].iter().enumerate() {
            for name in ["println", "eprintln", "print", "eprint", "dbg"] {
                if line.has_word(name) && line.code.contains(&format!("{name}!")) {
                    let fix = "log it, or return it to the front; a print panics when nobody reads any more";
                    findings.push(self.finding(
                        "DESIGN §5",
                        index + 1,
                        format!("`{name}!` in a library"),
                        fix,
                    ));
                }
            }
        }
    }

    /// Where the file's tests begin; 0 where all of it is tests, its length where none is.
    fn first_test_line(&self) -> usize {
        let is_test =
            |part: &str| self.path.starts_with(part) || self.path.contains(&format!("/{part}"));
        if is_test("tests/") || self.path.ends_with("/tests.rs") {
            return 0;
        }
        let marker =
            |line: &Line| line.code.contains("#[cfg(test)]") || line.code.contains("#[test]");
        self.lines
            .iter()
            .position(marker)
            .unwrap_or(self.lines.len())
    }

    fn tests(&self, findings: &mut Vec<Finding>) {
        let first = self.first_test_line();
        for (index, line) in self.lines.iter().enumerate().skip(first) {
            if line.has_word("sleep") {
                let fix = "wait for an event under a deadline, or move a ManualClock";
                findings.push(self.finding("R26", index + 1, "a test that sleeps", fix));
            }
            for attribute in ["ignore", "should_panic"] {
                if line.code.contains(&format!("#[{attribute}")) {
                    let what = format!("`#[{attribute}]` on a test");
                    let fix = "run it, and assert what happens";
                    findings.push(self.finding("R22", index + 1, what, fix));
                }
            }
        }
    }

    /// A crime says what a host makes of it.
    fn verdict(&self, findings: &mut Vec<Finding>) {
        let crimes = "tests/fixtures/misbehave/src/crimes/";
        let is_crime = self
            .path
            .strip_prefix(crimes)
            .is_some_and(|name| name != "mod.rs");
        if is_crime
            && !self
                .text
                .lines()
                .any(|line| line.starts_with("//! In-process: "))
        {
            let fix = "say in its header `//! In-process: …`, what a host makes of it";
            findings.push(self.finding("R24", 1, "a crime without a verdict", fix));
        }
    }
}

/// Whether the line opens an unsafe block or impl; an unsafe fn's promise is its doc's, an unsafe attribute has none.
fn opens_unsafe(code: &str) -> bool {
    code.match_indices("unsafe").any(|(at, word)| {
        let rest = code[at + word.len()..].trim_start();
        rest.starts_with('{') || rest.starts_with("impl")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_rules(path: &str, text: &str, expected: &[(&str, usize)]) {
        let found = check(path, text);
        let found: Vec<(&str, usize)> = found
            .iter()
            .map(|finding| (finding.rule, finding.line))
            .collect();
        assert_eq!(found, expected, "{path}: {text}");
    }

    #[test]
    fn a_long_file_needs_a_header() {
        check_rules("host/src/a.rs", &"\n".repeat(31), &[("R13", 1)]);
        check_rules(
            "host/src/a.rs",
            &format!("//! Why.\n{}", "\n".repeat(31)),
            &[],
        );
        check_rules("host/src/a.rs", &"\n".repeat(30), &[]);
    }

    #[test]
    fn unsafe_code_has_places_and_reasons() {
        let block = "fn f() {\n    unsafe { g() }\n}\n";
        check_rules("host/src/a.rs", block, &[("R1", 2)]);
        check_rules("host/loader/src/a.rs", block, &[("R2", 2)]);
        check_rules(
            "host/loader/src/a.rs",
            "// SAFETY: g has no rules.\nunsafe { g() }\n",
            &[],
        );
        check_rules(
            "host/loader/src/a.rs",
            "// SAFETY: g has none.\nlet x =\n    unsafe { g() };\n",
            &[],
        );
        check_rules(
            "host/loader/src/a.rs",
            "// SAFETY: of another one.\nf();\nunsafe { g() }\n",
            &[("R2", 3)],
        );
        check_rules("host/src/a.rs", "// unsafe { }\nlet a = \"unsafe\";\n", &[]);
        check_rules(
            "host/src/a.rs",
            "unsafe { g() } // STYLE R1: there is no other way\n",
            &[],
        );
        check_rules(
            "host/src/a.rs",
            "unsafe { g() } // STYLE R1: \n",
            &[("R1", 1)],
        );
    }

    #[test]
    fn a_crate_root_forbids_unsafe_code() {
        check_rules("host/src/lib.rs", "mod a;\n", &[("R1", 1)]);
        check_rules("host/src/lib.rs", "#![forbid(unsafe_code)]\n", &[]);
        check_rules("host/loader/src/lib.rs", "mod a;\n", &[]);
        check_rules("plugin-api/src/lib.rs", "mod a;\n", &[]);
    }

    #[test]
    fn a_library_does_not_print() {
        check_rules("host/src/a.rs", "println!(\"a\");\n", &[("DESIGN §5", 1)]);
        check_rules(
            "plugins/a/src/a.rs",
            "std::eprint!(\"a\");\n",
            &[("DESIGN §5", 1)],
        );
        check_rules("host/src/front/a.rs", "println!(\"a\");\n", &[]);
        check_rules(
            "host/src/a.rs",
            "#[cfg(test)]\nmod tests { fn f() { println!() } }\n",
            &[],
        );
        check_rules("host/src/a.rs", "// println!\n", &[]);
    }

    #[test]
    fn a_test_does_not_sleep_and_is_not_skipped() {
        check_rules("tests/suite/a.rs", "thread::sleep(x);\n", &[("R26", 1)]);
        check_rules(
            "host/src/a.rs",
            "tokio::time::sleep(x);\n#[cfg(test)]\nsleep(x);\n",
            &[("R26", 3)],
        );
        check_rules(
            "host/src/a/tests.rs",
            "#[ignore = \"slow\"]\n#[should_panic]\n",
            &[("R22", 1), ("R22", 2)],
        );
    }

    #[test]
    fn a_crime_has_a_verdict() {
        check_rules(
            "tests/fixtures/misbehave/src/crimes/a.rs",
            "//! Fails.\n",
            &[("R24", 1)],
        );
        check_rules(
            "tests/fixtures/misbehave/src/crimes/a.rs",
            "//! Fails.\n//! In-process: so what.\n",
            &[],
        );
    }
}
