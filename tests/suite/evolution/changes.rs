//! Every kind of incompatible change is refused in one line that names type and member, in both directions; every compatible
//! one is accepted in one of them, which is what the host asks for.
//!
//! Fifty plugins would take minutes to build. The comparison is between two descriptions of types, so one program holds a
//! small ABI and a copy of it for every change, and asks the loader's own comparison.

mod table;

use super::workshop::Workshop;
use hotshoe_tests::artifacts::{Profile, stranger_executable, workspace_root};
use std::{
    collections::BTreeMap, fmt::Write as _, path::PathBuf, process::Command, sync::OnceLock,
};
use table::{COMPATIBLE, Change, INCOMPATIBLE, UNSEEN};

const SLICE: &str = include_str!("changes/slice.rs");

/// Over how many programs the copies are spread.
const PROGRAMS: usize = 2;

/// How the loader judged a change in one direction.
#[derive(Debug)]
struct Verdict {
    direction: String,
    /// `accepted`, or the code.
    word: String,
    /// The one line.
    line: String,
    /// How many lines the whole story has.
    story_lines: usize,
}

fn all() -> impl Iterator<Item = &'static Change> {
    COMPATIBLE.iter().chain(UNSEEN).chain(INCOMPATIBLE)
}

/// The slice with a change made to it; each edit must find its text.
fn changed(change: &Change) -> String {
    let mut text = SLICE.to_owned();
    for (from, to) in change.edits {
        assert!(
            text.contains(from),
            "{}: `{from}` is not there",
            change.name
        );
        text = text.replace(from, to);
    }
    text
}

/// All verdicts, by the change's number in [`all`].
fn verdicts() -> &'static BTreeMap<usize, Vec<Verdict>> {
    static VERDICTS: OnceLock<BTreeMap<usize, Vec<Verdict>>> = OnceLock::new();
    VERDICTS.get_or_init(|| {
        let mut verdicts = BTreeMap::<usize, Vec<Verdict>>::new();
        for program in programs() {
            let output = Command::new(program).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success(), "{text}");
            for row in text.lines() {
                let mut cells = row.split('\t').map(str::to_owned);
                let index = cells.next().unwrap().parse().unwrap();
                verdicts.entry(index).or_default().push(Verdict {
                    direction: cells.next().unwrap(),
                    word: cells.next().unwrap(),
                    line: cells.next().unwrap_or_default(),
                    story_lines: cells.next().map_or(0, |lines| lines.parse().unwrap()),
                });
            }
        }
        assert_eq!(verdicts.len(), all().count());
        verdicts
    })
}

/// Builds the programs that compare: several, each with its own original, so that a machine's cores share the work.
fn programs() -> Vec<PathBuf> {
    let workshop = Workshop::open("changes");
    let members: Vec<String> = (0..PROGRAMS).map(|n| format!("copies{n}")).collect();
    let mut workspace = format!("[workspace]\nresolver = \"3\"\nmembers = {members:?}\n");
    for member in &members {
        let _ = writeln!(workspace, "[profile.dev.package.{member}]\ndebug = false");
    }
    workshop.write("Cargo.toml", &workspace);
    let changes: Vec<&Change> = all().collect();
    let share = changes.len().div_ceil(PROGRAMS);
    for (member, (nth, changes)) in members.iter().zip(changes.chunks(share).enumerate()) {
        write_program(&workshop, member, nth * share, changes);
    }
    let manifest = workshop.path("Cargo.toml");
    let program = |member: &String| stranger_executable(&manifest, member, Profile::Debug);
    members.iter().map(program).collect()
}

fn write_program(workshop: &Workshop, member: &str, first: usize, changes: &[&Change]) {
    let root = workspace_root().display();
    workshop.write(
        &format!("{member}/Cargo.toml"),
        &format!(
            "[package]\nname = {member:?}\nversion = \"1.0.0\"\nedition = \"2024\"\n[lib]\nname = \"copies\"\n\
             path = \"src/copies.rs\"\n[dependencies]\n\
             abi_stable = {{ version = \"=0.11.3\", default-features = false }}\n\
             hotshoe-loader = {{ path = \"{root}/host/loader\" }}\n"
        ),
    );
    let write = |name: &str, text: &str| workshop.write(&format!("{member}/src/{name}.rs"), text);
    write("main", include_str!("changes/main.rs"));
    write("original", SLICE);
    let (mut mods, mut list) = (String::new(), String::new());
    for (index, change) in changes.iter().enumerate() {
        write(&format!("c{index}"), &changed(change));
        let _ = writeln!(mods, "pub mod c{index};");
        let _ = writeln!(
            list,
            "    <c{index}::RootRef as abi_stable::StableAbi>::LAYOUT,"
        );
    }
    let lib = format!(
        "//! Generated.\n#![allow(warnings)]\npub mod original;\n{mods}\npub const FIRST: usize = {first};\n\
         pub static ALL: &[&'static abi_stable::type_layout::TypeLayout] = &[\n{list}];\n"
    );
    write("copies", &lib);
}

#[test]
fn every_incompatible_change_is_refused_by_the_name_of_type_and_member() {
    assert!(INCOMPATIBLE.len() >= 50);
    let first = COMPATIBLE.len() + UNSEEN.len();
    let mut wrong = String::new();
    for (index, change) in INCOMPATIBLE.iter().enumerate() {
        for verdict in &verdicts()[&(first + index)] {
            let line = &verdict.line;
            let begins = line.strip_prefix(change.place);
            let named = begins.is_some_and(|rest| rest.starts_with([':', '.', ' ']))
                || line.contains(&format!("(in {})", change.place));
            let told = line.contains(": ") && line.len() < 200;
            if verdict.word != "layout-mismatch" || !named || !told || verdict.story_lines < 10 {
                let direction = &verdict.direction;
                let _ = writeln!(
                    wrong,
                    "{} (at {}), {direction}: {verdict:?}",
                    change.name, change.place
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_only_appends_is_accepted_by_both() {
    for (index, change) in COMPATIBLE.iter().enumerate() {
        for verdict in &verdicts()[&index] {
            assert_eq!(verdict.word, "accepted", "{}: {verdict:?}", change.name);
        }
    }
}

/// When this fails, abi_stable has learned something: move the change to the others.
#[test]
fn what_the_layout_check_cannot_see_is_known() {
    for (index, change) in UNSEEN.iter().enumerate() {
        for verdict in &verdicts()[&(COMPATIBLE.len() + index)] {
            assert_eq!(verdict.word, "accepted", "{}: {verdict:?}", change.name);
        }
    }
}
