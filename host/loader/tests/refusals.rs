//! Every code of a refusal: the page that explains it, the file that earns it, and the words that it is told in.
//!
//! `docs/refusals.md` and `tests/refusals.txt` are generated. Without `HOTSHOE_UPDATE_SNAPSHOTS=1` nothing is ever written;
//! a difference is printed with the command that accepts it.
#![cfg(target_os = "linux")]
#![allow(missing_docs, reason = "a test binary")]

mod workshop;

use hotshoe_loader::{Blame, Policy, Refusal, RefusalCode, glibc_version, verify};
use std::{
    collections::BTreeSet,
    env,
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    os::unix::fs::{FileExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};
use workshop::{CANARY, MANIFEST, Workshop, patched, replaced, spoiled_entry};

const COMMAND: &str = "HOTSHOE_UPDATE_SNAPSHOTS=1 cargo test -p hotshoe-loader --test refusals";

/// Codes that no file alone earns here, and the file of the test that does: it must name the code.
const ELSEWHERE: &[(RefusalCode, &str)] = &[
    (
        RefusalCode::LayoutMismatch,
        "host/loader/src/handshake/tests.rs",
    ),
    (RefusalCode::HashMismatch, "host/loader/src/lock/tests.rs"),
    (RefusalCode::Unsigned, "host/loader/src/signature/tests.rs"),
    (
        RefusalCode::BadSignature,
        "host/loader/src/signature/tests.rs",
    ),
    (
        RefusalCode::UntrustedKey,
        "host/loader/src/signature/tests.rs",
    ),
    (RefusalCode::NotLocked, "tests/suite/trust/provenance.rs"),
];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Asserts that the file holds the text, or writes it when asked to.
#[track_caller]
fn assert_generated(file: &Path, text: &str) {
    if env::var_os("HOTSHOE_UPDATE_SNAPSHOTS").is_some_and(|value| value == "1") {
        fs::create_dir_all(file.parent().expect("a file lies in a folder")).expect("a folder");
        fs::write(file, text).expect("a file of the workspace");
        return;
    }
    let kept = fs::read_to_string(file).unwrap_or_default();
    let line = kept
        .lines()
        .zip(text.lines())
        .position(|(kept, found)| kept != found);
    let line = line.unwrap_or_else(|| kept.lines().count().min(text.lines().count()));
    assert!(
        kept == text,
        "{}:{} differs:\n-{}\n+{}\nIf that is meant: {COMMAND}",
        file.display(),
        line + 1,
        kept.lines().nth(line).unwrap_or("(the end)"),
        text.lines().nth(line).unwrap_or("(the end)"),
    );
}

#[test]
fn the_page_about_refusals_is_generated_from_the_codes() {
    let mut page = format!(
        "<!-- Generated from `RefusalCode` in host/loader/src/error.rs. To write it anew: {COMMAND} -->\n\n\
         # Refusals\n\n\
         A library that a host does not load is told in one line, `error[CODE]: …`, with what was wanted, what was found and \
         what to do. What the bytes of a file can \
         show is decided before it is opened for running: not one instruction of it has run then, its constructors included. \
         Only what no byte shows is found later, when the library is opened or open: a symbol that no library there has \
         (`missing-dependency`, `glibc-too-new`), thread-local storage that is used up (`too-large`), a file that the system's \
         loader refuses (`not-a-library`), a copy in a folder that is mounted noexec (`unreadable`), a header that is none \
         (`no-entry`) or that contradicts the manifest (`manifest-invalid`), `layout-mismatch`, and `settings-invalid`.\n\n\
         The codes are stable: they are only ever added to. A host that stops for one ends with exit code 3; for \
         `missing-component` and `settings-invalid`, which are faults of the configuration, with 2. `hotshoe check FILE` \
         tells all refusals of all entries in one pass, those that need an open library (`settings-invalid` among them) once \
         nothing else is refused.\n\n\
         | Code | What it means | What to do | Who acts |\n|---|---|---|---|\n"
    );
    for code in RefusalCode::ALL {
        let (means, todo) = explained(code.docs());
        let who = match code.blame() {
            Blame::Operator => "operator",
            Blame::Plugin => "plugin author",
            Blame::Environment => "whoever runs the machine",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| `{code}` | {means} | {todo} | {who} |");
    }
    page += "| `settings-invalid` | The settings of an entry do not fit the plugin's own schema; told after the library was \
             opened, because the schema is code. | Change the key that the line names; `hotshoe inspect --schema LIBRARY` \
             shows what may stand there. | operator |\n";
    assert_generated(&workspace().join("docs/refusals.md"), &page);
}

/// The two paragraphs of a code's documentation, a line each.
fn explained(docs: &str) -> (String, String) {
    let (means, todo) = docs
        .split_once("\n\n")
        .unwrap_or_else(|| panic!("no empty line before what to do: {docs}"));
    let line = |text: &str| {
        let words: Vec<&str> = text.split_whitespace().collect();
        words.join(" ").replace('|', "\\|")
    };
    let (means, todo) = (line(means), line(todo));
    for text in [&means, &todo] {
        assert!(text.len() > 10 && text.ends_with('.'), "{text}");
    }
    (means, todo)
}

/// A file for every code that a file can earn, and what is said about it.
fn earned(shop: &Workshop) -> Vec<(&'static str, Refusal)> {
    let mut earned = Vec::new();
    let mut add = |name: &'static str, policy: &Policy| {
        let refusal = verify(&shop.path(name), policy).expect_err(name);
        earned.push((name, refusal));
    };
    let strict = Policy::default();
    let good = fs::read(shop.spoiled("libgood.so", MANIFEST)).expect("libgood.so");

    add("absent.so", &strict);
    symlink("nowhere", shop.path("dangling.so")).expect("symlink");
    add("dangling.so", &strict);
    symlink("loop.so", shop.path("loop.so")).expect("symlink");
    add("loop.so", &strict);
    fs::create_dir(shop.path("folder.so")).expect("mkdir");
    add("folder.so", &strict);
    shop.write("script.so", "#!/bin/sh\nexit 1\n");
    add("script.so", &strict);
    shop.write("broken.so", [b"\x7fELF\x07".as_slice(), &[0; 100]].concat());
    add("broken.so", &strict);
    shop.write("core.so", patched(&good, 16, &[4, 0]));
    add("core.so", &strict);
    shop.write("riscv.so", patched(&good, 18, &[0xf3, 0]));
    add("riscv.so", &strict);
    shop.spoiled("musl.so", &MANIFEST.replace("-gnu", "-musl"));
    add("musl.so", &strict);
    File::create(shop.path("sparse.so"))
        .and_then(|file| file.set_len(4 << 30))
        .expect("sparse");
    add("sparse.so", &strict);
    shop.write("half.so", &good[..good.len() / 2]);
    add("half.so", &strict);
    shop.cc(
        "libplain.so",
        &format!("{CANARY}int f(void) {{ return 1; }}"),
        &[
            "-shared",
            "-fPIC",
            "-DANSWER=0",
            "-Wl,-soname,libplain.so.1",
        ],
    );
    add("libplain.so", &strict);
    shop.spoiled("format.so", &MANIFEST.replace("MANIFEST 1", "MANIFEST 2"));
    add("format.so", &strict);
    shop.spoiled("older.so", &MANIFEST.replace("abi=1", "abi=0"));
    add("older.so", &strict);
    shop.spoiled("newer.so", &MANIFEST.replace("abi=1", "abi=9"));
    add("newer.so", &strict);
    shop.spoiled("abort.so", &MANIFEST.replace("unwind", "abort"));
    add("abort.so", &strict);
    let glibc: &[u8] = match good.windows(9).any(|window| window == b"GLIBC_2.2") {
        true => b"GLIBC_2.2",
        false => b"GLIBC_2.1",
    };
    // The whole name, because what follows the patch depends on the compiler's choice.
    let at = good.windows(9).position(|window| window == glibc);
    let at = at.expect("a library of glibc");
    let end = at + good[at..].iter().position(|&b| b == 0).expect("an end");
    let digits = "GLIBC_9.".len();
    let name = [b"GLIBC_9.", "9".repeat(end - at - digits).as_bytes()].concat();
    shop.write("glibc.so", replaced(&good, &good[at..end], &name));
    add("glibc.so", &strict);
    dependents(shop);
    add("needs.so", &strict);
    add("origin.so", &strict);
    shop.write("writable.so", &good);
    fs::set_permissions(shop.path("writable.so"), fs::Permissions::from_mode(0o666))
        .expect("chmod");
    add("writable.so", &strict);
    shop.plugin(
        "function.so",
        MANIFEST,
        "void hotshoe_root_module_fixture(void) {}",
        &[],
    );
    add("function.so", &strict);

    let verified = verify(&shop.path("libgood.so"), &strict).expect("accepted so far");
    let refusal = verified.require("driver").expect_err("a processor alone");
    earned.push(("libgood.so", refusal));
    earned.push(("changing.so", changing(shop, &good)));
    earned
}

fn dependents(shop: &Workshop) {
    let shared = ["-shared", "-fPIC"];
    shop.cc(
        "libhotshoe_gone.so",
        "int gone(void) { return 1; }",
        &shared,
    );
    let user = format!(
        "int gone(void); int use(void) {{ return gone(); }}\n{}",
        spoiled_entry()
    );
    let link = ["-L.", "-l:libhotshoe_gone.so"];
    shop.plugin("needs.so", MANIFEST, &user, &link);
    let origin = [&link[..], &["-Wl,-rpath,$ORIGIN"]].concat();
    shop.plugin("origin.so", MANIFEST, &user, &origin);
}

/// A file that somebody writes to, without changing its length, for as long as it takes a read to notice.
fn changing(shop: &Workshop, good: &[u8]) -> Refusal {
    // Long enough for a write to come between its two ends.
    let long = [good, &[0; 4 << 20]].concat();
    let path = shop.write("changing.so", &long);
    let stop = AtomicBool::new(false);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // Closed again each time: one that keeps it open is noticed by that.
                let file = OpenOptions::new().write(true).open(&path).expect("open");
                file.write_all_at(&[0], long.len() as u64 - 1)
                    .expect("write");
            }
        });
        let refusal = std::iter::repeat_with(|| verify(&path, &Policy::default()).err())
            .take_while(|_| begun.elapsed() < Duration::from_secs(60))
            .flatten()
            .find(|refusal| refusal.predicate.contains("was changed"));
        stop.store(true, Ordering::Relaxed);
        refusal.expect("a change was noticed within a minute")
    })
}

#[test]
#[cfg(all(target_env = "gnu", target_arch = "x86_64"))]
fn every_code_is_earned_and_told_in_these_words() {
    let shop = Workshop::new();
    let earned = earned(&shop);
    assert!(!shop.marker().exists(), "code of a refused library ran");

    let mut text = String::new();
    for (name, refusal) in &earned {
        let fix = refusal.fix.as_deref();
        let fix = fix.unwrap_or_else(|| panic!("{name}: {refusal} says not what to do"));
        for line in [&*refusal.predicate, &*refusal.wanted, &*refusal.found, fix] {
            assert!(!line.is_empty() && !line.contains('\n'), "{refusal:?}");
        }
        let _ = writeln!(
            text,
            "{name}\n  error[{}]: {refusal}\n  wanted: {}\n  found:  {}\n  fix:    {fix}\n",
            refusal.code, refusal.wanted, refusal.found
        );
    }
    let text = without_this_machine(&text.replace(shop.folder(), "FOLDER"));
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/refusals.txt");
    assert_generated(&kept, &text);

    let mut left: BTreeSet<RefusalCode> = RefusalCode::ALL.iter().copied().collect();
    for (_, refusal) in &earned {
        left.remove(&refusal.code);
    }
    for (code, file) in ELSEWHERE {
        assert!(left.remove(code), "{code} is earned twice");
        let source = fs::read_to_string(workspace().join(file)).expect(file);
        let names = [format!("RefusalCode::{code:?}"), format!("\"{code}\"")];
        assert!(
            names.iter().any(|name| source.contains(name)),
            "{file} earns no {code}"
        );
    }
    assert!(left.is_empty(), "no file earns {left:?}");
}

/// Lengths that a compiler decides, and versions that a machine has.
fn without_this_machine(text: &str) -> String {
    let (major, minor) = glibc_version().expect("a machine with glibc");
    let text = text
        .replace(&format!("glibc {major}.{minor}"), "glibc HERE")
        .replace(
            &format!("built with {}", hotshoe_abi::ABI_VERSION),
            "built with ABI_VERSION",
        );
    let words: Vec<&str> = text.split(' ').collect();
    let mut out = String::new();
    for (i, word) in words.iter().enumerate() {
        let counts = words
            .get(i + 1)
            .is_some_and(|next| next.starts_with("bytes"));
        let number = word.bytes().all(|b| b.is_ascii_digit()) && !word.is_empty();
        out += if i > 0 { " " } else { "" };
        out += if counts && number { "N" } else { word };
    }
    out
}
