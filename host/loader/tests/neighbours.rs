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
    os::unix::fs::{PermissionsExt as _, symlink},
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

/// A library of the name that everybody links, wherever the host is started: the loader would take it from there.
#[test]
fn what_the_loader_would_look_for_in_the_working_folder_is_refused() {
    let shop = Workshop::new();
    // Without a soname the linker keeps the path that it was given.
    shop.cc("libdep.so", "int dep(void) { return 1; }", &SHARED);
    let stage = shop.path("stage");
    fs::create_dir(&stage).expect("mkdir");
    let check = |name: &str, link: &[&str], found: &str, fix: &str| {
        let path = user(&shop, name, link);
        for policy in [Policy::default(), below(&stage)] {
            let refusal = refused(&path, &policy);
            assert_eq!(refusal.code, RefusalCode::MissingDependency, "{refusal:?}");
            assert_eq!(&*refusal.found, found);
            let said = refusal.fix.expect("a fix");
            assert!(said.contains(fix), "{said}");
        }
    };
    let soname = "-Wl,-soname,libdep.so";
    check("path.so", &["./libdep.so"], "`./libdep.so`", soname);
    // What is loaded before the library's own symbols count, and what a variable of the loader's may make a path of.
    let spared = ["-Wl,--unresolved-symbols=ignore-all"];
    check(
        "filter.so",
        &[spared[0], "-Wl,-F,./libdep.so"],
        "`./libdep.so`",
        soname,
    );
    check(
        "auxiliary.so",
        &[spared[0], "-Wl,-f,./libdep.so"],
        "`./libdep.so`",
        soname,
    );
    check(
        "variable.so",
        &[spared[0], "-Wl,-F,$LIB"],
        "`$LIB`",
        "-Wl,-soname,",
    );

    let beside = ["-L.", "-l:libdep.so"];
    let set = "patchelf --set-rpath '$ORIGIN' ";
    let empty = "an empty element, which is the folder that the host works in";
    for (index, (path, found)) in [
        ("$ORIGIN:", empty),
        (":/usr/lib", empty),
        ("/usr/lib::$ORIGIN", empty),
        ("lib", "`lib`"),
        (".:$ORIGIN", "`.`"),
        ("$ORIGINAL/lib", "`$ORIGINAL/lib`"),
        ("$LIB", "`$LIB`"),
    ]
    .into_iter()
    .enumerate()
    {
        for tags in ["--enable-new-dtags", "--disable-new-dtags"] {
            let rpath = format!("-Wl,{tags},-rpath,{path}");
            let link = [&beside[..], &[&*rpath]].concat();
            check(&format!("relative{index}.so"), &link, found, set);
        }
    }
}

#[test]
fn a_folder_that_everybody_may_put_a_library_in_is_as_open_as_the_plugin_s_own() {
    let shop = Workshop::new();
    shop.cc("libdep.so", "int dep(void) { return 1; }", &SHARED);
    let (open, stage) = (shop.path("open"), shop.path("open/stage"));
    fs::create_dir_all(&stage).expect("mkdir");
    let linked = |name: &str, rpath: &str| {
        let rpath = format!("-Wl,-rpath,{rpath}");
        user(&shop, name, &["-L.", "-l:libdep.so", &rpath])
    };
    let there = linked("there.so", &format!("$ORIGIN:{}", open.display()));
    let gone = linked("gone.so", &format!("$ORIGIN:{}/build/lib", open.display()));
    // From the copy's folder it leads out of the one that copies are made in.
    let climbs = linked("climbs.so", "$ORIGIN:$ORIGIN/../../lib");
    for path in [&there, &gone, &climbs] {
        verify(path, &below(&stage)).expect("nobody else may write there");
    }
    // Sticky: nobody may replace what is there, and everybody may add what is not.
    fs::set_permissions(&open, fs::Permissions::from_mode(0o1777)).expect("chmod");
    for path in [&there, &gone, &climbs] {
        let refusal = refused(path, &below(&stage));
        assert_eq!(refusal.code, RefusalCode::WritableByOthers, "{refusal:?}");
        assert_eq!(&*refusal.found, format!("mode 1777 on {}", open.display()));
        let allowed = Policy {
            allow_writable: true,
            ..below(&stage)
        };
        verify(path, &allowed).expect("the operator says so");
    }
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
