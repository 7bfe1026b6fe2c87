//! Makes the libraries that the tests of the loader read: by this machine's C compiler, while a test runs.
//!
//! No binary is kept in the tree, and nothing here judges what it makes.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use hotshoe_abi::abi_stable::library::LibHeader;
use std::{fs, path::PathBuf, process::Command};
use tempfile::TempDir;

pub(crate) const MANIFEST: &str = "HOTSHOE-MANIFEST 1\nname=fixture\nversion=1.0.0\nabi=1.0.0\n\
    symbol=hotshoe_root_module_fixture\ncomponents=processor\npanic=unwind\nprofile=debug\n\
    target=x86_64-unknown-linux-gnu\nEND\n";

/// Appends a line with the address of a static to `MARKER`, inside `dlopen`.
pub(crate) const CANARY: &str = "#include <stdio.h>\nstatic int here;\n\
    __attribute__((constructor)) static void mark(void) {\n\
    FILE *f = fopen(MARKER, \"a\"); fprintf(f, \"%p %d\\n\", (void *)&here, ANSWER); fclose(f); }\n";

/// A temporary folder that fixtures are made in.
pub(crate) struct Workshop(TempDir);

impl Workshop {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn folder(&self) -> &str {
        self.0.path().to_str().expect("a temporary folder in UTF-8")
    }

    pub(crate) fn marker(&self) -> PathBuf {
        self.path("marker")
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), bytes).expect("write a fixture");
        self.path(name)
    }

    /// Compiles C to a file.
    pub(crate) fn cc(&self, name: &str, source: &str, args: &[&str]) -> PathBuf {
        let (c, out) = (self.write(&format!("{name}.c"), source), self.path(name));
        let run = Command::new("cc")
            .current_dir(self.0.path())
            .args(["-w", "-o"])
            .arg(&out)
            .arg(&c)
            .arg(format!("-DMARKER=\"{}\"", self.marker().display()))
            .args(args)
            .output()
            .expect(
                "this test needs a C compiler named `cc` (Debian: apt-get install gcc libc6-dev)",
            );
        assert!(
            run.status.success(),
            "cc {name}: {}",
            String::from_utf8_lossy(&run.stderr)
        );
        out
    }

    /// A library with a canary, a manifest, and a header as [`spoiled_entry`] makes it.
    pub(crate) fn plugin(&self, name: &str, manifest: &str, entry: &str, args: &[&str]) -> PathBuf {
        let text = manifest.replace('\n', "\\n");
        let manifest = format!(
            "__attribute__((section(\".hotshoe\"), used)) static const char manifest[] = \"{text}\";\n"
        );
        let base = ["-shared", "-fPIC", "-DANSWER=0"];
        let base = if args.iter().any(|arg| arg.starts_with("-DANSWER")) {
            &base[..2]
        } else {
            &base[..]
        };
        self.cc(
            name,
            &format!("{CANARY}{manifest}{entry}"),
            &[base, args].concat(),
        )
    }

    /// Right to look at, refused at the handshake, not before.
    pub(crate) fn spoiled(&self, name: &str, manifest: &str) -> PathBuf {
        self.plugin(name, manifest, &spoiled_entry(), &[])
    }
}

/// A header whose first bytes and addresses are in order in the file, and that a constructor spoils.
pub(crate) fn spoiled_entry() -> String {
    format!(
        "{}__attribute__((constructor)) static void spoil(void) {{ hotshoe_root_module_fixture.magic[0] = 7; }}\n",
        entry_of("abi stable library for Rust     ", "0, 11", HEADER_WORDS)
    )
}

/// What follows the magic and the two numbers of a header.
pub(crate) const HEADER_WORDS: usize = (size_of::<LibHeader>() - 40) / size_of::<usize>();

/// A variable as long as a header, with so many addresses in it.
pub(crate) fn entry_of(magic: &str, version: &str, addresses: usize) -> String {
    let texts = vec!["\"x\""; addresses].join(", ");
    format!(
        "struct {{ char magic[32]; unsigned version[2]; const char *words[{HEADER_WORDS}]; }} \
         hotshoe_root_module_fixture = {{ \"{magic}\", {{ {version} }}, {{ {texts} }} }};\n"
    )
}

pub(crate) fn patched(bytes: &[u8], at: usize, with: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}

pub(crate) fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = bytes
        .windows(from.len())
        .position(|window| window == from)
        .expect("what is replaced is there");
    patched(bytes, at, to)
}

/// Exchanges the first two PT_LOADs.
pub(crate) fn swapped_segments(bytes: &[u8]) -> Vec<u8> {
    let start = 64;
    let mut bytes = bytes.to_vec();
    let (first, second) = bytes[start..start + 112].split_at_mut(56);
    assert!(
        first[0] == 1 && second[0] == 1,
        "a linker that starts with two PT_LOADs"
    );
    first.swap_with_slice(second);
    bytes
}
