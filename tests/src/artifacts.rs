//! Builds what the tests drive, once per test process, and knows where it lies.
//!
//! `cargo test` builds neither another package's binary nor a library that only exists to be loaded, so this asks cargo, at
//! run time, and takes every path from its answer; never from a guessed folder, and never from a build script, where a
//! nested cargo would wait for the folder's lock for ever.

use serde_json::Value;
use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// Set by `cargo test` for the test's own package. A nested build must not see them: build scripts watch some.
const FOREIGN_VARIABLES: [&str; 8] = [
    "CARGO_PKG_",
    "CARGO_MANIFEST_",
    "CARGO_BIN_",
    "CARGO_CRATE_NAME",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_TARGET_TMPDIR",
    "CARGO_MAKEFLAGS",
    "OUT_DIR",
];

/// What one cargo call made: paths by the target's name, with `-` as `_`.
#[derive(Debug, Default)]
struct Built {
    executables: BTreeMap<String, PathBuf>,
    libraries: BTreeMap<String, PathBuf>,
}

/// How something is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// `cargo build`
    Debug,
    /// `cargo build --release`
    Release,
}

impl Profile {
    /// As the tests themselves were compiled, and with them everything that they drive.
    #[must_use]
    pub const fn of_tests() -> Self {
        if cfg!(debug_assertions) {
            Self::Debug
        } else {
            Self::Release
        }
    }

    /// The one that the tests were not compiled in.
    #[must_use]
    pub const fn other() -> Self {
        match Self::of_tests() {
            Self::Debug => Self::Release,
            Self::Release => Self::Debug,
        }
    }
}

/// The root of the workspace that is tested.
#[must_use]
pub fn workspace_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the workspace")
}

/// The `hotshoe` binary.
///
/// - Panics: the workspace does not build.
#[must_use]
pub fn hotshoe() -> &'static Path {
    workspace()
        .executables
        .get("hotshoe")
        .expect("host/ has a binary called hotshoe")
}

/// A plugin library of the workspace, by its crate's name: `hotshoe-quickstart`.
///
/// - Panics: there is none of that name, or the workspace does not build.
#[must_use]
pub fn library(package: &str) -> &'static Path {
    named(workspace(), package)
}

/// A library of the fixtures' workspace, by its crate's name: `misbehave`.
///
/// - Panics: there is none of that name, or the fixtures do not build.
#[must_use]
pub fn fixture(package: &str) -> &'static Path {
    named(fixtures(), package)
}

/// An executable of the fixtures' workspace, by its target's name: `escape-direct`.
///
/// - Panics: there is none of that name, or the fixtures do not build.
#[must_use]
pub fn fixture_executable(target: &str) -> &'static Path {
    let name = target.replace('-', "_");
    let executable = fixtures().executables.get(&name);
    executable.unwrap_or_else(|| panic!("cargo built no executable `{name}`"))
}

fn fixtures() -> &'static Built {
    static FIXTURES: OnceLock<Built> = OnceLock::new();
    FIXTURES.get_or_init(|| build(fixtures_command("build")))
}

/// The fixture whose panics abort. Built by itself: the flag is for the last crate alone, so nothing else is compiled anew.
#[must_use]
pub fn panic_abort() -> &'static Path {
    static PANIC_ABORT: OnceLock<Built> = OnceLock::new();
    let built = PANIC_ABORT.get_or_init(|| {
        let mut command = fixtures_command("rustc");
        command.args(["--package", "panic-abort", "--", "-C", "panic=abort"]);
        build(command)
    });
    named(built, "panic-abort")
}

/// An executable of the workspace, by its crate's name: `hotshoe-embedding`.
///
/// - Panics: there is none of that name, or the workspace does not build.
#[must_use]
pub fn executable(package: &str) -> &'static Path {
    let name = package.replace('-', "_");
    let executable = workspace().executables.get(&name);
    executable.unwrap_or_else(|| panic!("cargo built no executable `{name}`"))
}

/// The library `name` of a workspace that is a stranger's: what `cargo build --manifest-path MANIFEST` makes there. Its
/// target folder lies below the main one, shared by all strangers, so that what they depend on is compiled once.
///
/// - Panics: it does not build, or there is no such library.
#[must_use]
pub fn stranger(manifest: &Path, name: &str, profile: Profile) -> PathBuf {
    let built = build_stranger(manifest, profile, "third-party", &[]);
    let library = built.libraries.get(name);
    let library = library.unwrap_or_else(|| panic!("cargo built no library `{name}`: {built:?}"));
    library.clone()
}

/// As [`stranger`], for an executable.
///
/// - Panics: it does not build, or there is no such executable.
#[must_use]
pub fn stranger_executable(manifest: &Path, name: &str, profile: Profile) -> PathBuf {
    let built = build_stranger(manifest, profile, "third-party", &[]);
    let executable = built.executables.get(name);
    let executable =
        executable.unwrap_or_else(|| panic!("cargo built no executable `{name}`: {built:?}"));
    executable.clone()
}

/// As [`stranger`], in a debug build with more variables (`RUSTC`), and so in `folder` below the main target folder, which
/// what was built without them does not share.
///
/// - Panics: it does not build, or there is no such library.
#[must_use]
pub fn stranger_with(
    manifest: &Path,
    name: &str,
    folder: &str,
    variables: &[(&str, &Path)],
) -> PathBuf {
    let built = build_stranger(manifest, Profile::Debug, folder, variables);
    let library = built.libraries.get(name);
    let library = library.unwrap_or_else(|| panic!("cargo built no library `{name}`: {built:?}"));
    library.clone()
}

fn build_stranger(
    manifest: &Path,
    profile: Profile,
    folder: &str,
    variables: &[(&str, &Path)],
) -> Built {
    let mut command = build_command("build", manifest, profile);
    command
        .arg("--target-dir")
        .arg(target_folder().join(folder))
        .envs(variables.iter().copied());
    build(command)
}

/// The folder that cargo builds this workspace in.
///
/// - Panics: cargo does not say.
#[must_use]
pub fn target_folder() -> &'static Path {
    static TARGET: OnceLock<PathBuf> = OnceLock::new();
    TARGET.get_or_init(|| {
        let mut metadata = cargo("metadata", &workspace_root().join("Cargo.toml"));
        metadata.args(["--no-deps", "--format-version", "1"]);
        let metadata = json(&output_of(metadata));
        let target = metadata["target_directory"].as_str();
        target.expect("cargo has a target folder").into()
    })
}

/// A copy of `library` in `folder` with the first `from` replaced by `to`, which is as long: a crime that needs a file of
/// its own, without a crate of its own.
///
/// - Panics: the library holds no `from`, or the lengths differ.
#[must_use]
pub fn patched(library: &Path, folder: &Path, from: &str, to: &str) -> PathBuf {
    assert_eq!(
        from.len(),
        to.len(),
        "a patch keeps every offset in the file"
    );
    let mut bytes = fs::read(library).expect("a library that cargo just built");
    let at = bytes
        .windows(from.len())
        .position(|window| window == from.as_bytes())
        .unwrap_or_else(|| panic!("{} holds no `{from}`", library.display()));
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    let copy = folder.join(library.file_name().expect("a library has a file name"));
    fs::write(&copy, bytes).expect("the test's own folder takes a file");
    copy
}

/// What `cargo metadata --locked` says of the workspace at `manifest`.
#[must_use]
pub fn metadata(manifest: &Path) -> Value {
    let mut command = cargo("metadata", manifest);
    command.args(["--locked", "--format-version", "1"]);
    json(&output_of(command))
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("cargo metadata answers JSON")
}

fn workspace() -> &'static Built {
    static WORKSPACE: OnceLock<Built> = OnceLock::new();
    WORKSPACE.get_or_init(|| {
        let mut command = build_command(
            "build",
            &workspace_root().join("Cargo.toml"),
            Profile::of_tests(),
        );
        command.arg("--workspace");
        build(command)
    })
}

/// Fixtures are built below the main target folder, in one of their own: there their lock is nobody else's.
fn fixtures_command(subcommand: &str) -> Command {
    let manifest = workspace_root().join("tests/fixtures/Cargo.toml");
    let mut command = build_command(subcommand, &manifest, Profile::of_tests());
    command
        .arg("--target-dir")
        .arg(target_folder().join("fixtures"));
    command
}

fn build_command(subcommand: &str, manifest: &Path, profile: Profile) -> Command {
    let mut command = cargo(subcommand, manifest);
    command.arg("--message-format=json-render-diagnostics");
    if profile == Profile::Release {
        command.arg("--release");
    }
    command
}

fn cargo(subcommand: &str, manifest: &Path) -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.arg(subcommand).arg("--manifest-path").arg(manifest);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if FOREIGN_VARIABLES
            .iter()
            .any(|foreign| text.starts_with(foreign))
        {
            command.env_remove(&name);
        }
    }
    command
}

fn output_of(mut command: Command) -> Vec<u8> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .expect("cargo is there: it runs this test");
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn build(command: Command) -> Built {
    let mut built = Built::default();
    for line in output_of(command).split(|byte| *byte == b'\n') {
        // Cargo's own lines are JSON; whatever else stands there is a build script's or a compiler's.
        let Ok(message) = serde_json::from_slice::<Value>(line) else {
            continue;
        };
        if message["reason"] == "compiler-artifact" {
            note(&mut built, &message);
        }
    }
    built
}

fn note(built: &mut Built, artifact: &Value) {
    let target = &artifact["target"];
    let name = target["name"]
        .as_str()
        .unwrap_or_default()
        .replace('-', "_");
    if let Some(executable) = artifact["executable"].as_str() {
        built.executables.insert(name, executable.into());
        return;
    }
    let files = artifact["filenames"].as_array().into_iter().flatten();
    let suffix = format!(".{}", env::consts::DLL_EXTENSION);
    let library = files
        .filter_map(Value::as_str)
        .find(|file| file.ends_with(&suffix));
    let kinds = target["kind"].as_array().into_iter().flatten();
    // A procedural macro is a shared library as well, but nobody's plugin.
    if let (Some(library), true) = (library, kinds.into_iter().any(|kind| kind == "cdylib")) {
        built.libraries.insert(name, library.into());
    }
}

fn named(built: &'static Built, package: &str) -> &'static Path {
    let name = package.replace('-', "_");
    built.libraries.get(&name).unwrap_or_else(|| {
        panic!(
            "cargo built no library `{name}`, only {:?}",
            built.libraries.keys()
        )
    })
}
