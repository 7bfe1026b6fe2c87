//! Old with new and new with old, for real: ABI 1.1 is made from today's sources by appending to everything that may grow,
//! and its plugin meets today's host, today's plugin its host. What is missing answers by its default.
//!
//! It is made from sources because `#[sabi_trait]` does not honour a `#[cfg]` on a method (PITFALLS).

use super::{corpus, workshop::Workshop};
use hotshoe_tests::{
    Entry, Setup,
    artifacts::{self, Profile, stranger, stranger_executable, workspace_root},
};
use std::{fs, path::Path, process::Command, sync::OnceLock};
use toml::Table;

/// What is inserted where: file, the text behind which (or in front of which) it goes, and what.
const GROWTH: [(&str, Place, &str); 10] = [
    (
        "plugin-api/abi/src/lib.rs",
        Place::Instead("ABI_MINOR: u32 = 0;"),
        "ABI_MINOR: u32 = 1;",
    ),
    (
        "plugin-api/abi/src/lib.rs",
        Place::Before("pub use host::"),
        "mod later;\npub use later::{Later, unsupported};\n",
    ),
    (
        "plugin-api/abi/src/capability.rs",
        Place::Behind("pub const BASE: "),
        "\n/// New.\npub const HOST_LATER: Capability = Capability { since_minor: 1 };\n/// New.\n\
         pub const PROCESSOR_FLUSH: Capability = Capability { since_minor: 1 };",
    ),
    (
        "plugin-api/abi/src/host.rs",
        Place::End("pub trait Host:"),
        "    /// New.\n    \
         fn later(&self, later: crate::Later) -> RResult<u64, Failure> {\n        let _ = later;\n        \
         RResult::RErr(crate::unsupported())\n    }\n",
    ),
    (
        "plugin-api/abi/src/executor.rs",
        Place::End("pub trait Processor:"),
        "    /// New.\n    fn flush(&mut self, out: &mut OutBatch) -> RResult<u32, Failure> {\n        let _ = out;\n        \
         RResult::RErr(crate::unsupported())\n    }\n",
    ),
    (
        "plugin-api/abi/src/lifecycle.rs",
        Place::End("pub struct PluginModule "),
        "    /// New.\n    pub describe: extern \"C\" fn() -> RString,\n",
    ),
    (
        "plugin-api/src/entry.rs",
        Place::Behind("create: create::<P>,"),
        "\n        describe,",
    ),
    (
        "plugin-api/src/entry.rs",
        Place::Before("extern \"C\" fn create<P"),
        "extern \"C\" fn describe() -> RString {\n    \"a newcomer\".into()\n}\n\n",
    ),
    (
        "plugin-api/src/context.rs",
        Place::Before("impl Context {"),
        "impl Context {\n    /// New.\n    pub fn later(&self, value: u64) -> Result<u64> {\n        \
         from_abi(self.0.host.later(hotshoe_abi::Later { value }))\n    }\n}\n\n",
    ),
    (
        "plugin-api/src/executor.rs",
        Place::Behind("Processor for ProcessorGlue {"),
        "\n    fn flush(&mut self, _: &mut OutBatch) -> RResult<u32, Failure> {\n        RResult::ROk(4)\n    }\n",
    ),
];

/// Where text goes: each is there once.
enum Place {
    Instead(&'static str),
    /// Behind the line that holds it.
    Behind(&'static str),
    Before(&'static str),
    /// At the end of the item that begins so.
    End(&'static str),
}

impl Place {
    fn insert(&self, text: &str, what: &str) -> String {
        let (Self::Instead(mark) | Self::Behind(mark) | Self::Before(mark) | Self::End(mark)) =
            self;
        assert_eq!(text.matches(mark).count(), 1, "`{mark}`: {text}");
        let at = text.find(mark).unwrap();
        let (from, to) = match self {
            Self::Instead(_) => (at, at + mark.len()),
            Self::Before(_) => (at, at),
            Self::Behind(_) => {
                let end = at + text[at..].find('\n').unwrap();
                (end, end)
            }
            Self::End(_) => {
                let end = at + text[at..].find("\n}\n").unwrap() + 1;
                (end, end)
            }
        };
        format!("{}{what}{}", &text[..from], &text[to..])
    }
}

/// The workspace of the next ABI: api, abi and loader, a plugin, and a little host.
fn next() -> &'static Workshop {
    static NEXT: OnceLock<Workshop> = OnceLock::new();
    NEXT.get_or_init(|| {
        let next = Workshop::open("next");
        let grow = |name: &str, mut text: String| {
            for (_, place, what) in GROWTH.iter().filter(|(file, ..)| *file == name) {
                text = place.insert(&text, what);
            }
            text
        };
        for package in ["plugin-api/src", "plugin-api/abi/src", "host/loader/src"] {
            next.copy(package, &grow);
        }
        let root = workspace_root();
        let build = fs::read_to_string(root.join("plugin-api/build.rs")).unwrap();
        next.write("plugin-api/build.rs", &build);
        next.write("plugin-api/abi/src/later.rs", include_str!("next/later.rs"));
        next.write("plugin/src/lib.rs", include_str!("next/plugin.rs"));
        next.write("host/next/src/main.rs", include_str!("next/host.rs"));
        let bare = fs::read_to_string(root.join("tests/src/bare.rs")).unwrap();
        let bare = Place::Behind("impl Host for Bare {").insert(
            &bare,
            "\n    fn later(&self, later: hotshoe_abi::Later) -> RResult<u64, Failure> {\n        \
             RResult::ROk(later.value * 2)\n    }",
        );
        next.write("host/next/src/bare.rs", &bare);
        write_manifests(&next);
        next
    })
}

fn write_manifests(next: &Workshop) {
    let read = |name: &str| -> Table {
        let text = fs::read_to_string(workspace_root().join(name)).unwrap();
        text.parse().unwrap()
    };
    let mut workspace = read("Cargo.toml");
    // Compiled as strangers' plugins are, so that what all depend on is compiled once.
    workspace.remove("profile");
    let table = workspace["workspace"].as_table_mut().unwrap();
    let members = [
        "plugin-api",
        "plugin-api/abi",
        "host/loader",
        "host/next",
        "plugin",
    ];
    table.insert("members".to_owned(), members.to_vec().into());
    table.remove("exclude");
    next.write("Cargo.toml", &workspace.to_string());
    for package in ["plugin-api", "plugin-api/abi", "host/loader"] {
        let mut manifest = read(&format!("{package}/Cargo.toml"));
        for table in ["dev-dependencies", "test", "bench"] {
            manifest.remove(table);
        }
        if package == "plugin-api/abi" {
            manifest["package"]["version"] = "1.1.0".into();
        }
        next.write(&format!("{package}/Cargo.toml"), &manifest.to_string());
    }
    let package = |name: &str| {
        format!("[package]\nname = {name:?}\nversion = \"1.0.0\"\nedition = \"2024\"\n")
    };
    next.write(
        "plugin/Cargo.toml",
        &(package("newcomer") + "[lib]\ncrate-type = [\"cdylib\"]\n[dependencies]\nhotshoe-plugin-api.workspace = true\n"),
    );
    next.write(
        "host/next/Cargo.toml",
        &(package("next-host")
            + "[dependencies]\nhotshoe-abi.workspace = true\nhotshoe-loader.workspace = true\n"),
    );
}

fn next_plugin() -> std::path::PathBuf {
    stranger(&next().path("Cargo.toml"), "newcomer", Profile::Debug)
}

/// What the next host says of a library.
fn in_next_host(library: &Path, settings: &str) -> String {
    let host = stranger_executable(&next().path("Cargo.toml"), "next_host", Profile::Debug);
    let output = Command::new(host)
        .arg(library)
        .arg(settings)
        .output()
        .unwrap();
    let (said, log) = (
        output.stdout,
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert!(output.status.success(), "{log}");
    String::from_utf8(said).unwrap()
}

#[test]
fn a_plugin_of_the_next_abi_runs_here_and_uses_defaults() {
    let setup = Setup::new();
    setup.entries(
        "[stream]\nprocessors = [\"new\"]",
        &[Entry::of("new", &next_plugin())],
    );
    let mut host = setup.start();
    host.wait_ready();
    host.send_line("one");
    host.close_input();
    host.assert_exit(0);
    let out = String::from_utf8(host.stdout()).unwrap();
    assert_eq!(
        out,
        "one host has later: false (minor 0), later unsupported\n"
    );
}

#[test]
fn a_plugin_of_today_runs_in_the_next_host_and_lacks_what_is_new() {
    let said = in_next_host(
        artifacts::library("hotshoe-quickstart"),
        r#"{"topic":"bare"}"#,
    );
    assert_eq!(
        said,
        "abi 1.0.0, has flush: false\ndescribe is missing\nprocess one10\nflush fails with kind 12\n"
    );
}

#[test]
#[cfg_attr(
    not(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")),
    ignore = "the corpus is for Linux on x86-64"
)]
fn a_frozen_plugin_runs_in_the_next_host_too() {
    let said = in_next_host(&corpus::library(), r#"{"topic":"bare"}"#);
    assert_eq!(
        said,
        "abi 1.0.0, has flush: false\ndescribe is missing\nprocess one 10\nflush fails with kind 12\n"
    );
}

/// The control: what was missing above is there when both sides have it.
#[test]
fn new_with_new_has_all_of_it() {
    let said = in_next_host(&next_plugin(), "{}");
    assert_eq!(
        said,
        "abi 1.1.0, has flush: true\ndescribe a newcomer\nprocess one host has later: true (minor 1), later 42\nflush 4\n"
    );
}
