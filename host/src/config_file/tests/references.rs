//! What instances say of each other: `after`, circles, `processors`, and the order of init.

use super::*;

/// Instances as "name: after after".
fn graph(lines: &[&str]) -> String {
    let entry = |line: &&str| {
        let (name, after) = line.split_once(':').unwrap_or((line, ""));
        let after: Vec<String> = after
            .split_whitespace()
            .map(|name| format!("\"{name}\""))
            .collect();
        format!(
            "[[plugin]]\nname = \"{name}\"\nlibrary = \"x\"\nafter = [{}]\n",
            after.join(", ")
        )
    };
    lines.iter().map(entry).collect()
}

fn borrowed(entries: &[(String, PluginEntry)]) -> Vec<(String, &PluginEntry)> {
    entries
        .iter()
        .map(|(name, entry)| (name.clone(), entry))
        .collect()
}

#[test]
fn after_comes_first_and_then_the_order_of_the_file() {
    let check = |lines: &[&str], expected: &[&str]| {
        let entries = entries(&graph(lines));
        let order = order(&borrowed(&entries)).unwrap();
        let names: Vec<&str> = order
            .iter()
            .map(|index| entries[*index].0.as_str())
            .collect();
        assert_eq!(names, expected, "{lines:?}");
        assert_eq!(check_references(&borrowed(&entries), None), []);
    };
    check(&[], &[]);
    check(&["c", "a", "b"], &["c", "a", "b"]);
    check(&["a: b", "b", "c"], &["b", "a", "c"]);
    check(&["a: c", "b", "c"], &["b", "c", "a"]);
    check(&["a: b c b", "b: c", "c", "d: a"], &["c", "b", "a", "d"]);
}

#[test]
fn a_circle_is_printed() {
    let check = |lines: &[&str], circles: &[&str]| {
        let entries = entries(&graph(lines));
        let problems = check_references(&borrowed(&entries), None);
        let found: Vec<&str> = problems
            .iter()
            .filter_map(|problem| problem.found.as_deref())
            .collect();
        assert_eq!(found, circles, "{lines:?}");
        assert!(problems.iter().all(|problem| problem.code == "after-cycle"));
        let problem = order(&borrowed(&entries)).unwrap_err();
        assert_eq!(problem, problems[0]);
        assert!(problem.headline.contains(circles[0]), "{problem}");
    };
    check(&["a: a"], &["a → a"]);
    check(&["a: b", "b: a"], &["a → b → a"]);
    check(&["x: a", "a: b", "b: c", "c: a"], &["a → b → c → a"]);
    check(
        &["a: b", "b: a", "c: d", "d: c"],
        &["a → b → a", "c → d → c"],
    );
    let problem = load_text(&(graph(&["a: b", "b: a"]) + "prot = 1"))
        .problems
        .remove(0);
    let at = problem.at.unwrap();
    assert_eq!(
        (problem.code.as_str(), at.line, at.column),
        ("after-cycle", 4, 10)
    );
}

#[test]
fn a_long_chain_needs_no_deep_stack() {
    let mut lines: Vec<String> = (0..5_000)
        .map(|index| format!("p{index}: p{}", index + 1))
        .collect();
    lines.push("p5000: p0".to_owned());
    let entries = entries(&graph(
        &lines.iter().map(String::as_str).collect::<Vec<_>>(),
    ));
    assert_eq!(check_references(&borrowed(&entries), None).len(), 1);
    assert!(order(&borrowed(&entries)).is_err());
}

#[test]
fn references_to_nobody_are_reported() {
    let text = format!(
        "[stream]\nprocessors = [\"apend\", \"opt\", \"append\", \"append\", \"zzz\"]\n{}[[plugin]]\nname = \
         \"opt\"\nlibrary = \"x\"\nrequired = false\n",
        graph(&["append: appendd zzz"])
    );
    let config = config(&text);
    let entries = entries(&text);
    let problems = check_references(&borrowed(&entries), config.stream.as_ref());
    let seen: Vec<_> = problems
        .iter()
        .map(|problem| {
            (
                problem.code.as_str(),
                problem.at.as_ref().map(|at| (at.line, at.column)).unwrap(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("unknown-after", (6, 10)),
            ("unknown-after", (6, 21)),
            ("unknown-processor", (2, 15)),
            ("optional-processor", (2, 24)),
            ("duplicate-processor", (2, 41)),
            ("unknown-processor", (2, 51)),
        ]
    );
    assert_eq!(problems[2].fix.as_deref(), Some("did you mean `append`?"));
    assert!(
        problems
            .iter()
            .all(|problem| problem.exit == ExitCode::Usage && problem.blame == Blame::Operator)
    );
    // A refused configuration shows them in the same run, in the order of the file; a sound one leaves them for later.
    let loaded = load_text(&(text.clone() + "prot = 1"));
    let codes: Vec<&str> = loaded
        .problems
        .iter()
        .map(|problem| problem.code.as_str())
        .collect();
    assert_eq!(
        codes,
        [
            "unknown-processor",
            "optional-processor",
            "duplicate-processor",
            "unknown-processor",
            "unknown-after",
            "unknown-after",
            "unknown-key"
        ]
    );
    // Where a name is still unknown, "names no instance" would be a guess.
    let loaded = load_text(&(text + "prot = 1\n[[plugin]]\nlibrary = \"zzz\""));
    assert_eq!(loaded.problems.len(), 1);
}
