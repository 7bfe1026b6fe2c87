//! Text that users read, kept in `tests/snapshots/` (STYLE R25): changing a word means reviewing the diff.
//!
//! `HOTSHOE_UPDATE_SNAPSHOTS=1 cargo test -p hotshoe-tests` writes what it finds; without it nothing is ever written.

use crate::artifacts::workspace_root;
use std::{env, fmt::Write as _, fs};

/// Asserts that `found` is what `tests/snapshots/<name>.txt` holds.
///
/// - Panics: it is not; prints both, line by line, from the first difference on.
#[track_caller]
pub fn assert_snapshot(name: &str, found: &str) {
    let path = workspace_root().join(format!("tests/snapshots/{name}.txt"));
    if env::var_os("HOTSHOE_UPDATE_SNAPSHOTS").is_some_and(|value| value == "1") {
        fs::write(&path, found).expect("the folder of the snapshots");
        return;
    }
    let wanted = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        wanted == found,
        "tests/snapshots/{name}.txt differs (`-` is kept, `+` is found):\n{}\nIf that is meant: \
         HOTSHOE_UPDATE_SNAPSHOTS=1 cargo test -p hotshoe-tests",
        difference(&wanted, found)
    );
}

/// What the texts do not have in common: everything between their common beginning and their common end.
#[must_use]
pub fn difference(wanted: &str, found: &str) -> String {
    let (wanted, found): (Vec<&str>, Vec<&str>) =
        (wanted.lines().collect(), found.lines().collect());
    let same = |(a, b): &(&&str, &&str)| a == b;
    let head = wanted.iter().zip(&found).take_while(same).count();
    let (wanted, found) = (&wanted[head..], &found[head..]);
    let tail = wanted.iter().rev().zip(found.iter().rev());
    let tail = tail.take_while(same).count();
    let mut text = format!("@@ line {}\n", head + 1);
    for (mark, lines) in [('-', wanted), ('+', found)] {
        for line in &lines[..lines.len() - tail] {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{mark}{line}");
        }
    }
    text
}

#[test]
fn a_difference_shows_what_differs_alone() {
    let check = |wanted: &str, found: &str, expected: &str| {
        assert_eq!(difference(wanted, found), expected);
    };
    check("a\nb\nc\n", "a\nx\ny\nc\n", "@@ line 2\n-b\n+x\n+y\n");
    check("", "a\n", "@@ line 1\n+a\n");
    check("a\na\n", "a\n", "@@ line 2\n-a\n");
}
