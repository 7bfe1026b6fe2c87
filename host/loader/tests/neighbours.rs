//! Libraries that a library needs: what is found beside it comes along, verified, into the folder that it is staged in and
//! nowhere else; what the system's loader would look for where an attacker may put it is refused.
//!
//! The libraries are made by this machine's C compiler while the test runs; no binary is kept in the tree.
#![cfg(target_os = "linux")]
#![allow(missing_docs, reason = "a test binary")]

mod workshop;

use hotshoe_loader::{Policy, Refusal, RefusalCode, Staging, load, verify};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};
use workshop::{MANIFEST, Workshop, spoiled_entry};

const SHARED: [&str; 2] = ["-shared", "-fPIC"];

/// Copies into a folder below this one.
fn below(folder: &Path) -> Policy {
    Policy {
        staging: Staging::Directory(folder.to_path_buf()),
        ..Policy::default()
    }
}

/// A plugin that calls `dep()` of a library, linked with these arguments.
fn user(shop: &Workshop, name: &str, link: &[&str]) -> PathBuf {
    let source = format!(
        "int dep(void); int use(void) {{ return dep(); }}\n{}",
        spoiled_entry()
    );
    shop.plugin(name, MANIFEST, &source, link)
}

fn refused(path: &Path, policy: &Policy) -> Refusal {
    let refusal = verify(path, policy).expect_err("refused");
    for line in [&*refusal.predicate, &*refusal.wanted, &*refusal.found] {
        assert!(!line.is_empty() && !line.contains('\n'), "{refusal:?}");
    }
    assert!(refusal.fix.is_some(), "{refusal:?}");
    refusal
}

#[test]
fn neighbours_come_along_into_a_private_folder() {
    let shop = Workshop::new();
    fs::create_dir(shop.path("deps")).expect("mkdir");
    // A neighbour below, which has a neighbour of its own beside it.
    let inner = shop.cc(
        "libhotshoe_inner.so",
        "int inner(void) { return 40; }",
        &["-shared", "-fPIC"],
    );
    let outer = shop.cc(
        "libhotshoe_outer.so",
        "int inner(void); int outer(void) { return inner() + 2; }",
        &[
            "-shared",
            "-fPIC",
            "-L.",
            "-l:libhotshoe_inner.so",
            "-Wl,-rpath,$ORIGIN",
        ],
    );
    let args = [
        "-DANSWER=outer()",
        "-L.",
        "-l:libhotshoe_outer.so",
        "-Wl,-rpath-link,.",
        "-Wl,-rpath,$ORIGIN/deps",
    ];
    let path = shop.plugin("libuser.so", MANIFEST, &spoiled_entry(), &args);
    for file in [inner, outer] {
        fs::rename(
            &file,
            shop.path("deps").join(file.file_name().expect("a name")),
        )
        .expect("move");
    }

    let refusal =
        verify(&path, &Policy::default()).expect_err("a copy in memory has no neighbours");
    assert_eq!(refusal.code, RefusalCode::MissingDependency);
    assert_eq!(
        refusal.fix.as_deref(),
        Some("set stage = \"directory\" for this plugin")
    );

    let stage = tempfile::tempdir().expect("tempdir");
    let policy = Policy {
        staging: Staging::Directory(stage.path().to_path_buf()),
        ..Policy::default()
    };
    let verified = verify(&path, &policy).expect("neighbours come along");
    // What is opened is the copy: the originals may go.
    fs::remove_dir_all(shop.path("deps")).expect("remove");
    fs::remove_file(&path).expect("remove");
    assert_eq!(
        load(verified, "user").expect_err("no header").code,
        RefusalCode::NoEntry
    );
    let marks = fs::read_to_string(shop.marker()).expect("it ran");
    assert!(marks.ends_with(" 42\n"), "{marks}");
}

/// A needed library may be named by a path: followed through a link, it would be copied to wherever that leads from the folder
/// that the plugin is staged in.
#[test]
fn a_neighbour_s_name_leads_to_no_place_outside_of_the_stage() {
    let shop = Workshop::new();
    let stage = shop.path("run/stage");
    fs::create_dir_all(&stage).expect("mkdir");
    fs::create_dir_all(shop.path("plugins/a/b/c")).expect("mkdir");
    fs::create_dir(shop.path("plugins/evil")).expect("mkdir");
    symlink("a/b/c", shop.path("plugins/s")).expect("symlink");
    // From plugins/s, which is plugins/a/b/c, to plugins/evil; from the stage's `s`, which is none, to the folder above it.
    let named = "s/../../../evil/libdep.so";
    let soname = format!("-Wl,-soname,{named}");
    let dep = shop.cc(
        "plugins/evil/libdep.so",
        "int dep(void) { return 1; }",
        &[&SHARED[..], &[&*soname]].concat(),
    );
    let dep = dep.to_str().expect("UTF-8");
    let path = user(&shop, "plugins/libuser.so", &[dep, "-Wl,-rpath,$ORIGIN"]);
    assert!(
        shop.path("plugins").join(named).exists(),
        "the name leads to a library"
    );

    let before = listing(&shop.path("run"));
    let refusal = refused(&path, &below(&stage));
    assert_eq!(refusal.code, RefusalCode::MissingDependency);
    assert_eq!(&*refusal.found, format!("`{named}`"));
    assert_eq!(
        refusal.fix.as_deref(),
        Some(
            "its author links that library with -Wl,-soname,libdep.so and the plugin with it anew"
        )
    );
    assert_eq!(
        listing(&shop.path("run")),
        before,
        "a refused library wrote a file"
    );
}

/// Every path below a folder.
fn listing(folder: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).expect("list") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            paths.extend(listing(&path));
        }
        paths.push(path);
    }
    paths.sort();
    paths
}
