//! Files that an attacker, an interrupted copy or a typing error leaves in the plugin folder: each earns exactly its code,
//! nothing panics, nothing hangs, and a canary in every library proves that not one instruction of it ran.
//!
//! All of them go through the real binary at once, as the entries of one configuration: `check` tells all refusals in one pass.

use super::corpus::{
    Corpus, Dice, GARBAGE, MANIFEST, SPOILED, core_file, number, patched, sections, segment,
};
use hotshoe_tests::{Entry, Setup, artifacts};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::{fs::symlink, net::UnixListener},
    path::{Path, PathBuf},
    time::Duration,
};

/// No pass over all files may take longer: one that waits for a pipe's writer would wait for ever.
const PASS_MAX: Duration = Duration::from_secs(60);

const STREAM: &str = "[stream]\nsource = \"stdin\"\n";

/// Files, and the code that each earns.
#[derive(Default)]
struct Table(BTreeMap<String, (PathBuf, &'static str)>);

impl Table {
    fn add(&mut self, path: PathBuf, code: &'static str) {
        let name = format!("n{:04}", self.0.len());
        self.0.insert(name, (path, code));
    }

    /// Writes one configuration with all of them, and returns how each entry is refused by `check`.
    fn judge(&self, setup: &Setup, corpus: &Corpus) {
        let entries: Vec<Entry> = self
            .0
            .iter()
            .map(|(name, (path, _))| Entry::of(name, path))
            .collect();
        setup.entries(STREAM, &entries);
        let (checked, answer) = setup.check_json();
        assert_eq!(checked.code, Some(3), "{checked:#?}");
        assert!(checked.took < PASS_MAX, "{:?}", checked.took);
        assert!(!checked.stderr.contains("panicked"), "{checked:#?}");
        let mut told: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for problem in answer["problems"].as_array().unwrap() {
            let headline = problem["headline"].as_str().unwrap();
            let name = headline.split('`').nth(1).unwrap_or_default();
            if problem["severity"] == "error" {
                assert!(
                    problem["wanted"].is_string() && problem["fix"].is_string(),
                    "{problem}"
                );
                let code = problem["code"].as_str().unwrap().to_owned();
                told.entry(name.to_owned())
                    .or_default()
                    .push((code, problem["found"].to_string()));
            }
        }
        let mut wrong = Vec::new();
        for (name, (path, code)) in &self.0 {
            let told = told.remove(name).unwrap_or_default();
            if told.len() != 1 || told[0].0 != *code {
                wrong.push(format!("{}: wanted {code}, told {told:?}", path.display()));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(told.is_empty(), "told of what is no entry: {told:?}");
        assert!(!corpus.marker().exists(), "a canary sang");

        // A start tells the same of each, and ends before anything ran.
        let run = setup.run();
        run.assert_code(3);
        assert!(!run.stderr.contains("panicked"), "{run:#?}");
        assert!(!corpus.marker().exists(), "a canary sang");
        let mut counted: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, code) in self.0.values() {
            *counted.entry(code).or_default() += 1;
        }
        for (code, count) in counted {
            assert_eq!(run.problems(code).len(), count, "{code}");
        }
    }
}

fn place() -> (Setup, Corpus) {
    // Built before anything is timed.
    let _ = artifacts::hotshoe();
    let setup = Setup::new();
    let corpus = Corpus::new(setup.scratch("corpus"));
    (setup, corpus)
}

/// A plugin to look at, in bytes and as a file; its canary is silent as long as nobody opens it.
fn sound(corpus: &Corpus) -> (PathBuf, Vec<u8>) {
    let path = corpus.plugin("libsound.so", MANIFEST, SPOILED);
    let bytes = fs::read(&path).unwrap();
    (path, bytes)
}

#[test]
fn what_is_no_library_earns_its_code() {
    let (setup, corpus) = place();
    let (_, good) = sound(&corpus);
    let mut table = Table::default();
    let mut add = |path: PathBuf, code| table.add(path, code);

    add(corpus.path("absent.so"), "not-found");
    add(corpus.write("file.so", "x").join("below.so"), "not-found");
    symlink("nowhere.so", corpus.path("dangling.so")).unwrap();
    add(corpus.path("dangling.so"), "not-found");
    symlink("loop.so", corpus.path("loop.so")).unwrap();
    add(corpus.path("loop.so"), "unreadable");
    symlink("ring2.so", corpus.path("ring1.so")).unwrap();
    symlink("ring1.so", corpus.path("ring2.so")).unwrap();
    add(corpus.path("ring1.so"), "unreadable");

    fs::create_dir(corpus.path("folder.so")).unwrap();
    add(corpus.path("folder.so"), "not-a-file");
    fifo(&corpus.path("fifo.so"));
    add(corpus.path("fifo.so"), "not-a-file");
    symlink("fifo.so", corpus.path("to-fifo.so")).unwrap();
    add(corpus.path("to-fifo.so"), "not-a-file");
    let _socket = UnixListener::bind(corpus.path("socket.so")).unwrap();
    add(corpus.path("socket.so"), "not-a-file");
    add("/dev/null".into(), "not-a-file");
    add("/dev/zero".into(), "not-a-file");
    symlink("/dev/full", corpus.path("device.so")).unwrap();
    add(corpus.path("device.so"), "not-a-file");

    add(corpus.write("empty.so", ""), "not-a-library");
    add(
        corpus.write("text.so", "Not a library, only called one.\n"),
        "not-a-library",
    );
    add(
        corpus.write("script.so", "#!/bin/sh\ntouch \"$0.ran\"\n"),
        "not-a-library",
    );
    add(corpus.write("core.so", core_file()), "not-a-library");
    add(corpus.write("archive.so", "!<arch>\n"), "not-a-library");
    add(corpus.write("zeros.so", vec![0; 1 << 20]), "not-a-library");
    add(corpus.write("noise.so", noise(1 << 16)), "not-a-library");
    add(corpus.write("header-alone.so", &good[..64]), "truncated");
    let sparse = File::create(corpus.path("sparse.so")).unwrap();
    sparse.set_len(4 << 30).unwrap();
    add(corpus.path("sparse.so"), "too-large");
    // It begins like a good one, and is as large as a file may be and a byte.
    let sparse = corpus.write("sparse-library.so", &good);
    let file = File::options().write(true).open(&sparse).unwrap();
    file.set_len((1 << 30) + 1).unwrap();
    add(sparse, "too-large");
    table.judge(&setup, &corpus);
    assert!(!corpus.path("script.so.ran").exists());
}

fn fifo(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

fn noise(len: usize) -> Vec<u8> {
    let mut dice = Dice(0x5eed);
    (0..len)
        .map(|_| u8::try_from(dice.below(256)).unwrap())
        .collect()
}

#[test]
fn libraries_that_are_no_plugin_for_this_host_earn_their_code() {
    let (setup, corpus) = place();
    let (_, good) = sound(&corpus);
    let mut table = Table::default();
    let mut add = |path: PathBuf, code| table.add(path, code);

    for (name, machine) in [("aarch64", 183), ("riscv", 243), ("unheard-of", 0xfe)] {
        let name = format!("{name}.so");
        add(
            corpus.write(&name, patched(&good, 18, &[machine, 0])),
            "wrong-platform",
        );
    }
    add(
        corpus.write("freebsd.so", patched(&good, 7, &[9])),
        "wrong-platform",
    );
    add(
        corpus.plugin("musl.so", &MANIFEST.replace("-gnu", "-musl"), GARBAGE),
        "wrong-platform",
    );
    add(corpus.library("plain.so", ""), "no-manifest");
    let change = |from: &str, to: &str| MANIFEST.replace(from, to);
    for (name, manifest, code) in [
        (
            "format",
            change("MANIFEST 1", "MANIFEST 2"),
            "manifest-invalid",
        ),
        ("cut", change("END\n", ""), "manifest-invalid"),
        ("twice", format!("{MANIFEST}{MANIFEST}"), "manifest-invalid"),
        ("newer", change("abi=1", "abi=2"), "abi-too-new"),
        ("older", change("abi=1", "abi=0"), "abi-too-old"),
        ("abort", change("unwind", "abort"), "panic-abort"),
    ] {
        let path = corpus.plugin(&format!("{name}.so"), &manifest, GARBAGE);
        add(path, code);
    }

    // What stands under the symbol.
    for (name, source) in [
        ("no-symbol", ""),
        ("hidden", &*format!("static {GARBAGE}")),
        ("function", "void hotshoe_root_module_hostile(void) {}"),
        ("thread-local", &*format!("__thread {GARBAGE}")),
        ("small", "char hotshoe_root_module_hostile[39] = {1};"),
        (
            "elsewhere",
            "extern char hotshoe_root_module_hostile[512]; char *at = hotshoe_root_module_hostile;",
        ),
        ("bss", "char hotshoe_root_module_hostile[1 << 20];"),
        ("garbage", GARBAGE),
        ("zeros", &*GARBAGE.replace("\"garbage\"", "{0, 1}")),
        (
            "ones",
            &*GARBAGE.replace("\"garbage\"", "{[0 ... 511] = -1}"),
        ),
        // The right first words, of a format that does not exist; and pointers that lead nowhere.
        ("unheard", &*SPOILED.replace("{ 0, 11 }", "{ 0, 12 }")),
        (
            "nowhere",
            &*SPOILED.replace("= \"x\"", "= (const char *)0x10"),
        ),
    ] {
        add(
            corpus.plugin(&format!("{name}.so"), MANIFEST, source),
            "no-entry",
        );
    }
    table.judge(&setup, &corpus);
}

#[test]
fn a_library_that_was_cut_off_is_truncated_wherever_it_was() {
    let (setup, corpus) = place();
    let (_, good) = sound(&corpus);
    let mut cuts: Vec<usize> = Vec::new();
    for section in sections(&good) {
        cuts.extend([section.offset, section.offset + section.len, section.header]);
    }
    cuts.retain(|&cut| cut > 0 && cut < good.len());
    let mut dice = Dice(0x1234_5678_9abc);
    cuts.extend((0..24).map(|_| 1 + dice.below(good.len() - 1)));
    cuts.extend([1, 3, 4, 5, 16, 63, 64, 65, good.len() - 1]);
    cuts.sort_unstable();
    cuts.dedup();
    assert!(cuts.len() > 60, "{cuts:?}");
    let mut table = Table::default();
    for cut in cuts {
        let path = corpus.write(&format!("cut-{cut}.so"), &good[..cut]);
        table.add(path, "truncated");
    }
    table.judge(&setup, &corpus);
}

/// What a flipped byte of the ELF header earns: by its place, and the byte that is flipped there.
fn of_header_byte(at: usize) -> Option<&'static str> {
    Some(match at {
        // Magic, word size, byte order, version: no library of any machine.
        0..=6 => "not-a-library",
        7 => "wrong-platform",
        // What kind of file, of what processor.
        16 | 17 => "not-a-library",
        18 | 19 => "wrong-platform",
        // Where the tables are, and how long: outside, or of another shape.
        54 => "not-a-library",
        32..=47 | 55..=61 => "truncated",
        // The names of the sections are another section now: none of them is called `.hotshoe`.
        62 | 63 => "no-manifest",
        _ => return None,
    })
}

#[test]
fn every_flipped_byte_of_the_header_earns_its_code() {
    let (setup, corpus) = place();
    let (_, good) = sound(&corpus);
    let mut table = Table::default();
    let mut harmless = Vec::new();
    for at in 0..64 {
        let flipped = patched(&good, at, &[!good[at]]);
        let path = corpus.write(&format!("flipped-{at}.so"), flipped);
        match of_header_byte(at) {
            Some(code) => table.add(path, code),
            None => harmless.push((at, path)),
        }
    }
    table.judge(&setup, &corpus);

    // The rest is nobody's business here: the system's loader refuses some, without running anything, and ignores others; then
    // the header that a constructor spoiled is what the file is refused for.
    for (at, path) in harmless {
        setup.entries(STREAM, &[Entry::of("bad", &path)]);
        let run = setup.run();
        run.assert_code(3);
        let opened = corpus.marker().exists();
        let code = if opened { "no-entry" } else { "not-a-library" };
        assert_eq!(run.error_code(), code, "byte {at}: {run:#?}");
        if opened {
            fs::remove_file(corpus.marker()).unwrap();
        }
    }
}

#[test]
fn sections_and_segments_that_lie_earn_their_code() {
    let (setup, corpus) = place();
    let (_, good) = sound(&corpus);
    let mut table = Table::default();
    let all = sections(&good);
    let of = |name: &str| all.iter().find(|section| section.name == name).unwrap();
    let manifest = of(".hotshoe");
    let mut add = |name: String, at: usize, value: u64, code| {
        let path = corpus.write(&name, patched(&good, at, &value.to_le_bytes()));
        table.add(path, code);
    };
    let huge: [u64; 8] = [
        (1 << 32) - 1,
        1 << 32,
        (1 << 32) + 1,
        (1 << 63) - 1,
        1 << 63,
        (1 << 63) + 1,
        u64::MAX - 1,
        u64::MAX,
    ];
    // Sections outside of the file, and longer than it.
    for value in huge {
        for section in all
            .iter()
            .filter(|section| section.len > 0 && !section.empty)
        {
            let name = format!("offset-{}-{value:x}.so", section.name);
            add(name, section.header + 24, value, "truncated");
            let name = format!("len-{}-{value:x}.so", section.name);
            add(name, section.header + 32, value, "truncated");
        }
    }
    // Overlapping ones: what the section holds now is no manifest.
    for section in [".dynsym", ".dynstr", ".text"] {
        let other = of(section).offset as u64;
        add(
            format!("over{section}.so"),
            manifest.header + 24,
            other,
            "manifest-invalid",
        );
    }
    add(
        "empty-manifest.so".to_owned(),
        manifest.header + 32,
        0,
        "manifest-invalid",
    );
    add(
        "half-manifest.so".to_owned(),
        manifest.header + 32,
        64,
        "manifest-invalid",
    );

    // Segments.
    let (first, last) = (segment(&good, 1, 0), segment(&good, 1, loads(&good) - 1));
    for value in huge {
        for (name, header) in [("first", first), ("last", last)] {
            let whole = if value >> 62 == 0 { "" } else { "-far" };
            add(
                format!("{name}-offset{whole}-{value:x}.so"),
                header + 8,
                value,
                "truncated",
            );
            add(
                format!("{name}-file-len-{value:x}.so"),
                header + 32,
                value,
                "truncated",
            );
        }
        // Longer in memory than there is room for before the next one.
        add(
            format!("first-memory-{value:x}.so"),
            first + 40,
            value,
            "not-a-library",
        );
    }
    for value in [1 << 63, (1 << 63) - 1, u64::MAX, u64::MAX - 0xfff] {
        add(
            format!("last-memory-{value:x}.so"),
            last + 40,
            value,
            "not-a-library",
        );
        add(
            format!("last-address-{value:x}.so"),
            last + 16,
            value,
            "not-a-library",
        );
    }
    // The first segment is a note now: what it held is not loaded, the symbol table included.
    add("unmapped.so".to_owned(), first, 4, "no-entry");
    table.judge(&setup, &corpus);
}

fn loads(elf: &[u8]) -> usize {
    let (table, count) = (number(elf, 32, 8), number(elf, 56, 2));
    (0..count)
        .filter(|index| number(elf, table + 56 * index, 4) == 1)
        .count()
}

/// Nothing in the bytes of this one is wrong: only the open library shows it. It was opened, so its canary sings: the proof
/// that the canary of all the others could have.
#[test]
fn a_header_that_is_spoiled_while_it_opens_is_refused_then() {
    let (setup, corpus) = place();
    let (path, _) = sound(&corpus);
    setup.entries(STREAM, &[setup.misbehave("good"), Entry::of("bad", &path)]);
    let run = setup.run();
    run.assert_code(3);
    assert_eq!(run.error_code(), "no-entry", "{run:#?}");
    let error = run.error();
    assert!(
        error.contains("`bad`") && error.contains(&path.display().to_string()),
        "{error}"
    );
    assert!(!run.stderr.contains("panicked"), "{run:#?}");
    assert!(corpus.marker().exists(), "it was not opened");
    // Nobody's init ran.
    let lines = setup.trace().lines();
    assert!(!lines.iter().any(|line| line.call == "init"), "{lines:?}");
}
