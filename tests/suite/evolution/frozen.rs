//! The text of every released ABI is kept, and today's sources must still say it: what stands there stays, word by word, and
//! what is new stands behind it, under a new minor.

use super::listing::{self, Group};
use hotshoe_abi::{ABI_MAJOR, ABI_MINOR, ABI_VERSION};
use hotshoe_tests::artifacts::workspace_root;
use std::{collections::BTreeSet, env, fs, path::PathBuf};
use toml::Table;

/// Stands in the first line of a text that no release holds yet: until then it may be written anew.
const DRAFT: &str = "# draft";

const INSTEAD: &str = "\nA plugin in the field was compiled with what stood there, so it stays. Instead:\n\
    - a method or a root field: append it at the end; give the method a default body that answers `unsupported`;\n\
    - a struct or enum by value: never touch it; add a new one, and a new method that takes it;\n\
    - a constant: add a new one; what a value means stays;\n\
    - then let both sides ask for it: a constant in plugin-api/abi/src/capability.rs, whose header says how;\n\
    - then bump the minor (`version` in plugin-api/abi/Cargo.toml, `ABI_MINOR` in its lib.rs), say so in CHANGELOG.md, and\n  \
    write the new text: HOTSHOE_UPDATE_SNAPSHOTS=1 cargo test -p hotshoe-tests frozen\n\
    Only while the text is a draft (before its release) the last command alone will do.\n";

fn today() -> Vec<Group> {
    let root = workspace_root();
    let mut groups = listing::of_crate(&root.join("plugin-api/abi"));
    let manifest: Table = fs::read_to_string(root.join("Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let pinned = manifest["workspace"]["dependencies"]["abi_stable"]["version"]
        .as_str()
        .unwrap();
    // Its own types cross as well: RString, RVec, RResult.
    let head = format!("dependency abi_stable {pinned}");
    groups.push(Group {
        head,
        members: Vec::new(),
    });
    groups
}

fn file_of(minor: u32) -> PathBuf {
    workspace_root().join(format!("tests/snapshots/abi-{ABI_MAJOR}.{minor}.txt"))
}

/// How `found` breaks those who were compiled with `frozen`, and what it adds.
fn compare(frozen: &[Group], found: &[Group]) -> (Vec<String>, Vec<String>) {
    let (mut broken, mut added) = (Vec::new(), Vec::new());
    for old in frozen {
        let Some(new) = found.iter().find(|new| new.name() == old.name()) else {
            broken.push(format!("`{}` is gone", old.head));
            continue;
        };
        let is_minor = old.name() == "const ABI_MINOR";
        if new.head != old.head && !is_minor {
            broken.push(format!("`{}` became `{}`", old.head, new.head));
        }
        for (index, line) in old.members.iter().enumerate() {
            match new.members.get(index) {
                Some(now) if now == line => {}
                Some(now) => broken.push(format!("{}: `{line}` became `{now}`", old.name())),
                None => broken.push(format!("{}: `{line}` is gone", old.name())),
            }
        }
        for line in new.members.iter().skip(old.members.len()) {
            let what = format!("{}: `{line}`", old.name());
            let is_trait = old.head.starts_with("trait ");
            match (is_trait, old.head.contains("Prefix(")) {
                (true, _) if !line.ends_with(" = default") => {
                    broken.push(format!("{what} has no default body for those who lack it"));
                }
                (true, _) | (_, true) => added.push(what),
                (false, false) => broken.push(format!("{what} makes it longer")),
            }
        }
    }
    let names: BTreeSet<&str> = frozen.iter().map(Group::name).collect();
    let new = found.iter().filter(|group| !names.contains(group.name()));
    added.extend(new.map(|group| format!("`{}`", group.head)));
    (broken, added)
}

#[test]
fn the_frozen_abi_is_still_there_word_by_word() {
    let found = today();
    assert!(
        found.len() > 50,
        "the listing found only {} items",
        found.len()
    );
    write_where_allowed(&found);
    for minor in 0..=ABI_MINOR {
        let file = file_of(minor);
        let kept = fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("{}: {error}{INSTEAD}", file.display()));
        let (broken, added) = compare(&listing::parse(&kept), &found);
        assert!(
            broken.is_empty(),
            "ABI 1.{minor} is no longer there:\n{}\n{INSTEAD}",
            broken.join("\n")
        );
        assert!(
            minor != ABI_MINOR || added.is_empty(),
            "ABI 1.{minor} has grown under its old number:\n{}\n{INSTEAD}",
            added.join("\n")
        );
    }
}

/// `HOTSHOE_UPDATE_SNAPSHOTS=1` writes the text of this minor, where there is none or one that is a draft.
fn write_where_allowed(found: &[Group]) {
    if env::var_os("HOTSHOE_UPDATE_SNAPSHOTS").is_none_or(|value| value != "1") {
        return;
    }
    let file = file_of(ABI_MINOR);
    let kept = fs::read_to_string(&file).unwrap_or_else(|_| DRAFT.to_owned());
    if kept.starts_with(DRAFT) {
        let head = format!(
            "{DRAFT}: ABI {ABI_MAJOR}.{ABI_MINOR}. Delete this line when it is released: then it never changes again.\n"
        );
        fs::write(file, head + &listing::print(found)).unwrap();
    }
}

#[test]
fn the_version_is_said_once_in_three_places() {
    assert_eq!(ABI_MAJOR, 1);
    assert!(
        ABI_VERSION.starts_with(&format!("{ABI_MAJOR}.{ABI_MINOR}.")),
        "{ABI_VERSION}"
    );
    let changelog = fs::read_to_string(workspace_root().join("CHANGELOG.md")).unwrap();
    assert!(
        changelog.contains(&format!("ABI {ABI_MAJOR}.{ABI_MINOR}.0")),
        "CHANGELOG.md names no ABI {ABI_VERSION}"
    );
}

/// The layout check cannot tell them apart (DESIGN §3): such arguments are fields of a named struct.
#[test]
fn no_method_takes_two_arguments_of_one_type() {
    for group in today()
        .iter()
        .filter(|group| group.head.starts_with("trait "))
    {
        for method in &group.members {
            let types = argument_types(method);
            let distinct: BTreeSet<&String> = types.iter().collect();
            assert_eq!(distinct.len(), types.len(), "{}: {method}", group.head);
        }
    }
}

fn argument_types(method: &str) -> Vec<String> {
    let signature = method.split(" = default").next().unwrap();
    let signature = signature.split(" #[").next().unwrap();
    let signature: syn::Signature = syn::parse_str(signature).unwrap();
    let typed = signature.inputs.iter().filter_map(|input| match input {
        syn::FnArg::Typed(argument) => {
            Some(quote::ToTokens::to_token_stream(&argument.ty).to_string())
        }
        syn::FnArg::Receiver(_) => None,
    });
    typed.collect()
}

/// A small ABI, a change to it, and whether that is broken, added, or neither.
#[test]
fn what_breaks_is_told_from_what_adds() {
    const ABI: &str = "
        pub const ABI_MINOR: u32 = 0;
        /// A doc.
        #[repr(C)] #[derive(StableAbi)] pub struct Task<'a> { pub id: u64, pub name: RStr<'a> }
        #[sabi_trait] pub trait Host: Send + Sync {
            fn log(&self, level: u32, text: RStr<'_>);
            #[sabi(last_prefix_field)] fn ask(&self, to: RStr<'_>, from: RStr<'_>) -> RResult<u32, Failure>;
        }
        #[repr(C)] #[sabi(kind(Prefix(prefix_ref = RootRef)))] pub struct Root {
            #[sabi(last_prefix_field)] pub create: extern \"C\" fn(settings: RStr<'_>) -> u32,
        }
        #[repr(u8)] pub enum Level { Low = 1, High = 2 }
        pub mod kind { pub const A: u8 = 1; pub const B: u8 = 2; }
    ";
    let frozen = listing::of_text(ABI);
    assert_eq!(
        frozen,
        listing::parse(&listing::print(&frozen)),
        "what is kept is what was found"
    );
    let check = |from: &str, to: &str, expected: (usize, usize)| {
        assert!(ABI.contains(from), "{from}");
        let (broken, added) = compare(&frozen, &listing::of_text(&ABI.replace(from, to)));
        assert_eq!(
            (broken.len(), added.len()),
            expected,
            "{from} -> {to}: {broken:?} {added:?}"
        );
    };
    check("A doc.", "Another doc.", (0, 0));
    check("u32 = 0", "u32 = 1", (0, 0));
    // Seen by no layout check.
    check("A: u8 = 1", "A: u8 = 2", (1, 0));
    check(
        "to: RStr<'_>, from: RStr<'_>",
        "from: RStr<'_>, to: RStr<'_>",
        (1, 0),
    );
    check("Send + Sync", "Send + Sync + Debug", (1, 0));
    // Changed, gone, in between, longer.
    check("id: u64", "id: i64", (1, 0));
    check("pub id: u64, ", "", (2, 0));
    check("'a> }", "'a>, pub more: u8 }", (1, 0));
    check("fn log", "fn tell", (1, 0));
    check("&self, level", "&mut self, level", (1, 0));
    check(
        "level: u32, text: RStr<'_>",
        "text: RStr<'_>, level: u32",
        (1, 0),
    );
    check(
        "pub mod kind { pub const A: u8 = 1;",
        "pub mod kind {",
        (1, 0),
    );
    check("High = 2", "High = 3", (1, 0));
    check("High = 2", "High = 2, Most = 3", (1, 0));
    check("repr(u8)", "repr(u16)", (1, 0));
    check("#[sabi(last_prefix_field)] fn", "fn", (1, 0));
    check("Failure>;", "Failure>; fn more(&self);", (1, 0));
    // Appended.
    check("Failure>;", "Failure>; fn more(&self) { }", (0, 1));
    check("-> u32,\n", "-> u32, pub more: u64,\n", (0, 1));
    check("B: u8 = 2;", "B: u8 = 2; pub const C: u8 = 3;", (0, 1));
    check(
        "pub mod kind",
        "#[repr(C)] pub struct More { pub a: u8 } pub mod kind",
        (0, 1),
    );
}
