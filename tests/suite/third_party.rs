//! A stranger's plugin, built in a workspace of its own, runs in the real host: whatever profile, release of the api crate or
//! `strip` it went through on the way.

use hotshoe_tests::{
    Entry, Setup,
    artifacts::{self, Profile, workspace_root},
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use toml::Table;

/// What is copied to build against another release of the api crate.
const COPIED: [&str; 2] = ["plugin-api", "examples/third-party"];

fn shout(profile: Profile) -> PathBuf {
    let manifest = workspace_root().join("examples/third-party/Cargo.toml");
    artifacts::stranger(&manifest, "shout", profile)
}

/// What `hotshoe inspect` says of a library, JSON.
fn inspected(library: &Path) -> Value {
    let path = library.display().to_string();
    let finished = Setup::new().hotshoe(&["inspect", "--json", &path]);
    finished.assert_code(0);
    let answer: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert!(answer[0]["problem"].is_null(), "{answer:#}");
    answer[0]["inspection"]["manifest"].clone()
}

/// Streams two records through the library in the real host.
#[track_caller]
fn shouts(library: &Path) {
    let setup = Setup::new();
    let entry = Entry::of("loud", library).set("mark = \"!\"");
    setup.entries("[stream]\nprocessors = [\"loud\"]", &[entry]);
    let mut host = setup.start();
    host.wait_ready();
    host.send(b"hello\nGr\xc3\xbc\xc3\x9fe \xff");
    host.close_input();
    host.assert_exit(0);
    assert_eq!(host.stdout(), b"HELLO!\nGR\xc3\xbc\xc3\x9fE \xff!\n");
}

/// README and CI build it so; nothing but its three dependencies reaches it.
#[test]
fn a_strangers_plugin_runs() {
    let library = shout(Profile::of_tests());
    shouts(&library);
    let manifest = inspected(&library);
    assert_eq!(manifest["name"], "shout");
    assert_eq!(manifest["version"], "2.3.4");
}

/// A release plugin in the debug host, or, under `cargo test --release`, the reverse.
#[test]
fn a_plugin_of_the_other_profile_runs() {
    let library = shout(Profile::other());
    shouts(&library);
    let profile = |profile| inspected(&shout(profile))["profile"].clone();
    assert_ne!(profile(Profile::of_tests()), profile(Profile::other()));
}

/// `strip -s` takes every symbol that is not needed to load; what the host looks for is not among them.
#[test]
fn a_stripped_plugin_runs() {
    let setup = Setup::new();
    let library = shout(Profile::of_tests());
    let stripped = setup.scratch("libstripped.so");
    let mut strip = Command::new("strip");
    strip.arg("-s").arg("-o").arg(&stripped).arg(&library);
    assert!(strip.status().unwrap().success(), "{strip:?}");
    let symbols = |file: &Path| {
        let bytes = fs::read(file).unwrap();
        bytes.windows(8).any(|window| window == b".symtab\0")
    };
    assert!(symbols(&library) && !symbols(&stripped));
    assert_eq!(inspected(&stripped), inspected(&library));
    shouts(&stripped);
}

/// The layout check compares the name and version of the crate that defines a type, and that is the abi's: the crate that
/// authors name may go through any number of major releases.
#[test]
fn a_plugin_built_against_another_major_of_the_api_runs() {
    let folder = artifacts::target_folder().join("api-of-another-major");
    copy_api(&folder);
    let manifest = folder.join("examples/third-party/Cargo.toml");
    let library = artifacts::stranger(&manifest, "shout", Profile::of_tests());
    let lock = fs::read_to_string(folder.join("Cargo.lock")).unwrap();
    let locked = |name, version| lock.contains(&format!("name = {name:?}\nversion = {version:?}"));
    assert!(locked("hotshoe-plugin-api", "7.0.0"), "{lock}");
    assert!(locked("hotshoe-abi", "1.0.0"), "{lock}");
    assert_eq!(
        inspected(&library)["abi"],
        inspected(&shout(Profile::of_tests()))["abi"]
    );
    shouts(&library);
}

/// Makes a workspace of the api, its abi and the stranger's plugin, with the api's version changed. A folder that stays, and
/// files that are written only when they differ: cargo compiles it once.
fn copy_api(folder: &Path) {
    let root = workspace_root();
    for copied in COPIED {
        copy(&root.join(copied), &folder.join(copied));
    }
    let mut workspace = read(&root.join("Cargo.toml"));
    let table = workspace["workspace"].as_table_mut().unwrap();
    let members = ["plugin-api", "plugin-api/abi", "examples/third-party"];
    table.insert("members".to_owned(), members.to_vec().into());
    table.remove("exclude");
    let dependencies = table["dependencies"].as_table_mut().unwrap();
    dependencies["hotshoe-plugin-api"]["version"] = "7.0.0".into();
    write(&folder.join("Cargo.toml"), &workspace.to_string());

    for (manifest, version) in [
        ("plugin-api/Cargo.toml", Some("7.0.0")),
        ("plugin-api/abi/Cargo.toml", None),
    ] {
        let mut package = read(&root.join(manifest));
        if let Some(version) = version {
            package["package"]["version"] = version.into();
        }
        // What a stranger's registry would hand out: nothing but the library.
        for table in ["dev-dependencies", "test", "bench"] {
            package.remove(table);
        }
        write(&folder.join(manifest), &package.to_string());
    }

    let mut stranger = read(&root.join("examples/third-party/Cargo.toml"));
    stranger.remove("workspace");
    stranger["dependencies"]["hotshoe-plugin-api"]["version"] = "7".into();
    write(
        &folder.join("examples/third-party/Cargo.toml"),
        &stranger.to_string(),
    );

    // The same versions of all else, so that it is not compiled again.
    if !folder.join("Cargo.lock").exists() {
        fs::copy(
            root.join("examples/third-party/Cargo.lock"),
            folder.join("Cargo.lock"),
        )
        .unwrap();
    }
}

fn read(manifest: &Path) -> Table {
    fs::read_to_string(manifest).unwrap().parse().unwrap()
}

/// Sources only: manifests are written by [`copy_api`], and what was built stays where it is.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = entry
            .map(|entry| (entry.path(), entry.file_name()))
            .unwrap();
        if path.is_dir() && name != "target" {
            copy(&path, &to.join(name));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            write(&to.join(name), &fs::read_to_string(path).unwrap());
        }
    }
}

fn write(file: &Path, text: &str) {
    if !fs::read_to_string(file).is_ok_and(|found| found == text) {
        fs::write(file, text).unwrap();
    }
}
