//! Hostile files, made while a test runs: by this machine's C compiler, and by changing bytes of what it made.
//!
//! Every library in here carries a canary: a constructor that leaves a mark when anybody opens it. Nothing here judges.

use std::{fs, path::PathBuf, process::Command};

/// The manifest of a plugin that a host takes.
pub(crate) const MANIFEST: &str = "HOTSHOE-MANIFEST 1\nname=hostile\nversion=1.0.0\nabi=1.0.0\n\
    symbol=hotshoe_root_module_hostile\ncomponents=driver\npanic=unwind\nprofile=debug\n\
    target=x86_64-unknown-linux-gnu\nEND\n";

/// A variable as long as the header that belongs there, full of garbage.
pub(crate) const GARBAGE: &str = "char hotshoe_root_module_hostile[512] = \"garbage\";\n";

/// A header that is right to look at, and that a constructor spoils: nothing but opening it shows.
pub(crate) const SPOILED: &str = "struct { char magic[32]; unsigned version[2]; const char *words[14]; } \
    hotshoe_root_module_hostile = { \"abi stable library for Rust     \", { 0, 11 }, { [0 ... 13] = \"x\" } };\n\
    __attribute__((constructor)) static void spoil(void) { hotshoe_root_module_hostile.magic[0] = 7; }\n";

const CANARY: &str = "#include <fcntl.h>\n#include <unistd.h>\n\
    __attribute__((constructor)) static void sing(void) {\n\
    int mark = open(MARKER, O_CREAT | O_WRONLY, 0600); write(mark, \"sang\", 4); close(mark); }\n";

/// Where the fixtures are made.
pub(crate) struct Corpus {
    folder: PathBuf,
}

impl Corpus {
    pub(crate) fn new(folder: PathBuf) -> Self {
        fs::create_dir(&folder).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// There once a constructor ran.
    pub(crate) fn marker(&self) -> PathBuf {
        self.path("a constructor ran")
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    /// A shared library of a canary and that source.
    pub(crate) fn library(&self, name: &str, source: &str) -> PathBuf {
        self.compile(name, source, &[])
    }

    fn compile(&self, name: &str, source: &str, more: &[&str]) -> PathBuf {
        let (c, out) = (
            self.write(&format!("{name}.c"), format!("{CANARY}{source}")),
            self.path(name),
        );
        let run = Command::new("cc")
            .args(["-w", "-shared", "-fPIC", "-O1", "-o"])
            .arg(&out)
            .arg(&c)
            .arg(format!("-DMARKER=\"{}\"", self.marker().display()))
            .args(more)
            .output()
            .expect("a C compiler called `cc`, which rustc links with as well");
        assert!(
            run.status.success(),
            "{}",
            String::from_utf8_lossy(&run.stderr)
        );
        out
    }

    /// The same, with a manifest.
    pub(crate) fn plugin(&self, name: &str, manifest: &str, source: &str) -> PathBuf {
        self.library(name, &format!("{}{source}", stamp(manifest)))
    }

    /// Small plugins that are built differently, as bytes: what a parser is fed with.
    pub(crate) fn assortment(&self) -> Vec<Vec<u8>> {
        let source = format!("{}{SPOILED}__thread char local[9];\n", stamp(MANIFEST));
        let built: [(&str, &[&str]); 4] = [
            ("gnu.so", &["-Wl,--hash-style=gnu"]),
            (
                "sysv.so",
                &["-Wl,--hash-style=sysv", "-Wl,-rpath,$ORIGIN:/x"],
            ),
            ("stripped.so", &["-s", "-Wl,-soname,libx.so.1"]),
            ("packed.so", &["-s", "-Wl,-z,noseparate-code"]),
        ];
        built
            .iter()
            .map(|(name, args)| fs::read(self.compile(name, &source, args)).unwrap())
            .collect()
    }
}

/// The manifest, as C.
fn stamp(manifest: &str) -> String {
    let text = manifest.replace('\n', "\\n");
    let section = "__attribute__((section(\".hotshoe\"), used))";
    format!("{section} static const char manifest[] = \"{text}\";\n")
}

/// A section of an ELF file for 64-bit little-endian machines.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) name: String,
    /// Where its header stands.
    pub(crate) header: usize,
    pub(crate) offset: usize,
    pub(crate) len: usize,
    /// It takes no bytes of the file (.bss).
    pub(crate) empty: bool,
}

pub(crate) fn number(bytes: &[u8], at: usize, len: usize) -> usize {
    let mut wide = [0; 8];
    wide[..len].copy_from_slice(&bytes[at..at + len]);
    usize::try_from(u64::from_le_bytes(wide)).unwrap()
}

/// The sections, as the table at the end of the file lists them.
pub(crate) fn sections(elf: &[u8]) -> Vec<Section> {
    let (table, count) = (number(elf, 40, 8), number(elf, 60, 2));
    let strings = number(elf, table + 64 * number(elf, 62, 2) + 24, 8);
    let read = |index: usize| {
        let header = table + 64 * index;
        let name = &elf[strings + number(elf, header, 4)..];
        let name = &name[..name.iter().position(|&b| b == 0).unwrap()];
        Section {
            name: String::from_utf8(name.to_vec()).unwrap(),
            header,
            offset: number(elf, header + 24, 8),
            len: number(elf, header + 32, 8),
            empty: number(elf, header + 4, 4) == 8,
        }
    };
    (0..count).map(read).collect()
}

/// Where the program header of that type stands: the nth of them.
pub(crate) fn segment(elf: &[u8], kind: usize, nth: usize) -> usize {
    let (table, count) = (number(elf, 32, 8), number(elf, 56, 2));
    let mut headers = (0..count).map(|index| table + 56 * index);
    headers
        .by_ref()
        .filter(|&header| number(elf, header, 4) == kind)
        .nth(nth)
        .unwrap()
}

/// A copy with other bytes from `at` on.
pub(crate) fn patched(bytes: &[u8], at: usize, with: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}

/// What the kernel writes when a process dies, as far as its first header says: ET_CORE for x86-64, one PT_NOTE.
pub(crate) fn core_file() -> Vec<u8> {
    let mut core = vec![0; 64 + 56];
    core[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    for (at, value) in [
        (16, 4),
        (18, 62),
        (20, 1),
        (32, 64),
        (52, 64),
        (54, 56),
        (56, 1),
        (64, 4),
    ] {
        core[at] = value;
    }
    core
}

/// Numbers that look like nothing and are the same in every run (xorshift64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 1).unwrap() % limit
    }
}
