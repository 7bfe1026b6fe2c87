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
    process::Command,
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

/// Copies a file of the workshop to another place in it.
fn moved(shop: &Workshop, from: &str, to: &str) {
    fs::rename(shop.path(from), shop.path(to)).expect("move");
}

/// The places that neighbours are staged in, in the order that they were found.
fn places(path: &Path, stage: &Path) -> Vec<String> {
    let verified = verify(path, &below(stage)).expect("neighbours come along");
    let neighbours = verified.staged.neighbours_sha256().iter();
    neighbours
        .map(|(place, _)| place.display().to_string())
        .collect()
}

/// Of two libraries of one name the loader takes that which is needed nearest to the plugin.
#[test]
fn neighbours_are_looked_for_in_the_loader_s_order() {
    let shop = Workshop::new();
    for folder in ["deep", "near", "stage"] {
        fs::create_dir(shop.path(folder)).expect("mkdir");
    }
    // The plugin needs `first` and `last`; `dep` is needed by what `last` needs, and by `first`, each with a folder of its own.
    shop.cc("libdep.so", "int dep(void) { return 1; }", &SHARED);
    let link = |name: &str, source: &str, needs: &[&str], rpath: &str| {
        let rpath = format!("-Wl,-rpath,{rpath}");
        let needs: Vec<String> = needs.iter().map(|name| format!("-l:{name}")).collect();
        let mut args = vec![
            "-shared",
            "-fPIC",
            "-Wl,--no-as-needed",
            "-L.",
            "-Wl,-rpath-link,.",
            &*rpath,
        ];
        args.extend(needs.iter().map(String::as_str));
        shop.cc(name, source, &args);
    };
    link("libinner.so", "int inner;", &["libdep.so"], "$ORIGIN/deep");
    link("liblast.so", "int last;", &["libinner.so"], "$ORIGIN");
    link("libfirst.so", "int first;", &["libdep.so"], "$ORIGIN/near");
    let args = [
        "-Wl,--no-as-needed",
        "-L.",
        "-Wl,-rpath-link,.",
        "-Wl,-rpath,$ORIGIN",
        "-l:libfirst.so",
        "-l:liblast.so",
    ];
    let path = shop.plugin("libuser.so", MANIFEST, &spoiled_entry(), &args);
    fs::copy(shop.path("libdep.so"), shop.path("deep/libdep.so")).expect("copy");
    moved(&shop, "libdep.so", "near/libdep.so");
    assert_eq!(
        places(&path, &shop.path("stage")),
        ["libfirst.so", "liblast.so", "near/libdep.so", "libinner.so"]
    );
}

/// The copy cannot run where nothing may. Runs itself again in a mount namespace; says so where this machine gives none.
#[test]
fn a_copy_in_a_folder_that_is_mounted_noexec_is_told_for_what_it_is() {
    const NAME: &str = "a_copy_in_a_folder_that_is_mounted_noexec_is_told_for_what_it_is";
    const INSIDE: &str = "HOTSHOE_TEST_NOEXEC";
    if let Some(folder) = std::env::var_os(INSIDE) {
        let folder = Path::new(&folder);
        let verified = verify(&folder.join("libuser.so"), &below(&folder.join("stage")));
        let refusal = load(verified.expect("verified"), "user").expect_err("noexec");
        assert_eq!(refusal.code, RefusalCode::Unreadable, "{refusal:?}");
        assert!(refusal.predicate.contains("noexec"), "{refusal:?}");
        let fix = refusal.fix.expect("a fix");
        assert!(
            fix.contains("XDG_RUNTIME_DIR") && fix.contains("memfd"),
            "{fix}"
        );
        // As the fix says.
        let verified = verify(&folder.join("libuser.so"), &Policy::default()).expect("verified");
        let refusal = load(verified, "user").expect_err("no header");
        assert_eq!(refusal.code, RefusalCode::NoEntry, "{refusal:?}");
        return;
    }
    let shop = Workshop::new();
    shop.spoiled("libuser.so", MANIFEST);
    let stage = shop.path("stage");
    fs::create_dir(&stage).expect("mkdir");
    let mount = "mount -t tmpfs -o noexec,mode=0755 tmpfs \"$0\"";
    let unshared = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-Urm", "sh", "-c", script]).arg(&stage);
        command
    };
    let there = unshared(mount).output();
    if !there.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this machine gives no mount namespace");
        return;
    }
    let output = unshared(&format!("{mount} && exec \"$@\""))
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", NAME])
        .env(INSIDE, shop.folder())
        .output()
        .expect("unshare");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

/// What an operator is told of a library is told of what it brings along.
#[test]
fn a_neighbour_s_warnings_are_the_plugin_s() {
    let shop = Workshop::new();
    fs::create_dir(shop.path("stage")).expect("mkdir");
    let stack = [&SHARED[..], &["-Wl,-z,execstack"]].concat();
    let dep = shop.cc("libdep.so", "int dep(void) { return 1; }", &stack);
    let path = user(
        &shop,
        "libuser.so",
        &[
            "-L.",
            "-l:libdep.so",
            "-Wl,-rpath,$ORIGIN",
            "-Wl,-z,noexecstack",
        ],
    );
    for file in [&dep, &path] {
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    fs::set_permissions(&dep, fs::Permissions::from_mode(0o775)).expect("chmod");
    let verified = verify(&path, &below(&shop.path("stage"))).expect("neighbours come along");
    let warnings = verified.warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    for (line, about) in warnings.iter().zip(["in group", "executable stack"]) {
        assert!(line.starts_with("brings libdep.so along, which "), "{line}");
        assert!(line.contains(about), "{line}");
    }
}

#[test]
fn a_neighbour_inherits_the_folders_of_what_it_was_loaded_for() {
    let shop = Workshop::new();
    for folder in ["deps", "stage"] {
        fs::create_dir(shop.path(folder)).expect("mkdir");
    }
    shop.cc("libinner.so", "int inner(void) { return 40; }", &SHARED);
    let link = |tags: &[&str]| {
        let source = "int inner(void); int dep(void) { return inner() + 2; }";
        let args = [&SHARED[..], &["-L.", "-l:libinner.so"], tags].concat();
        shop.cc("deps/libdep.so", source, &args);
    };
    let rpath = "-Wl,--disable-new-dtags,-rpath,$ORIGIN/deps";
    let args = [
        "-DANSWER=dep()",
        "-Ldeps",
        "-l:libdep.so",
        "-Wl,-rpath-link,.",
        rpath,
    ];
    link(&["-Wl,--enable-new-dtags,-rpath,$ORIGIN/none"]);
    let path = shop.plugin(
        "libuser.so",
        MANIFEST,
        &format!("int dep(void);{}", spoiled_entry()),
        &args,
    );
    moved(&shop, "libinner.so", "deps/libinner.so");
    let stage = shop.path("stage");
    // One that has folders of its own, in the newer tag, inherits none.
    let refusal = refused(&path, &below(&stage));
    assert_eq!(refusal.code, RefusalCode::MissingDependency, "{refusal:?}");

    moved(&shop, "deps/libinner.so", "libinner.so");
    link(&[]);
    moved(&shop, "libinner.so", "deps/libinner.so");
    assert_eq!(
        places(&path, &stage),
        ["deps/libdep.so", "deps/libinner.so"]
    );
    // The loader finds it as well.
    let verified = verify(&path, &below(&stage)).expect("neighbours come along");
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

/// What an operator is told to change is the file that is at fault.
#[test]
fn a_neighbour_that_looks_in_the_working_folder_is_named_itself() {
    let shop = Workshop::new();
    let stage = shop.path("stage");
    fs::create_dir(&stage).expect("mkdir");
    let relative = [&SHARED[..], &["-Wl,-rpath,lib"]].concat();
    let dep = shop.cc("libdep.so", "int dep(void) { return 1; }", &relative);
    let path = user(
        &shop,
        "libuser.so",
        &["-L.", "-l:libdep.so", "-Wl,-rpath,$ORIGIN"],
    );
    let refusal = refused(&path, &below(&stage));
    assert_eq!(
        (refusal.code, &*refusal.file),
        (RefusalCode::MissingDependency, &*dep)
    );
    let fix = format!("patchelf --set-rpath '$ORIGIN' {},", dep.display());
    assert!(refusal.fix.expect("a fix").starts_with(&fix));
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

/// The loader takes an auxiliary where it is there, and does without it where it is not.
#[test]
fn an_auxiliary_may_be_missing_and_comes_along_where_it_is_there() {
    let shop = Workshop::new();
    fs::create_dir(shop.path("stage")).expect("mkdir");
    let args = ["-Wl,-f,libhotshoe_extra.so", "-Wl,-rpath,$ORIGIN"];
    let path = shop.plugin("libuser.so", MANIFEST, &spoiled_entry(), &args);
    assert!(places(&path, &shop.path("stage")).is_empty());

    // A library that really needs one of that name has no other to take.
    let needs = [
        args[0],
        args[1],
        "-Wl,--no-as-needed",
        "-L.",
        "-l:libhotshoe_extra.so",
    ];
    shop.cc("libhotshoe_extra.so", "int extra;", &SHARED);
    let needs = shop.plugin("libneeds.so", MANIFEST, &spoiled_entry(), &needs);
    assert_eq!(places(&path, &shop.path("stage")), ["libhotshoe_extra.so"]);
    fs::remove_file(shop.path("libhotshoe_extra.so")).expect("remove");
    let refusal = refused(&needs, &below(&shop.path("stage")));
    assert_eq!(refusal.code, RefusalCode::MissingDependency);
}

/// As Fedora has libgcc_s: the name that is asked for is a link to a file of another name, and what the host itself was linked with.
#[test]
fn what_is_loaded_already_is_everybody_s_by_the_name_that_it_calls_itself() {
    let shop = Workshop::new();
    let stage = tempfile::tempdir().expect("tempdir");
    let name = "libhotshoe_linked.so.1";
    let soname = format!("-Wl,-soname,{name}");
    let brings = |folder: &str, answer: u32| {
        fs::create_dir(shop.path(folder)).expect("mkdir");
        let source = format!("int dep(void) {{ return {answer}; }}");
        let dep = format!("{folder}/{name}");
        shop.cc(&dep, &source, &["-shared", "-fPIC", &soname]);
        let path = user(
            &shop,
            &format!("{folder}/user.so"),
            &[&dep, "-Wl,-rpath,$ORIGIN"],
        );
        verify(&path, &below(stage.path())).expect("verified")
    };
    let (first, second) = (brings("first", 1), brings("second", 2));
    let clash = first.clash(&second).expect("they differ");
    assert_eq!(clash.name, name);

    let linked = shop.plugin(
        "libhotshoe_linked-14.so.1",
        MANIFEST,
        &spoiled_entry(),
        &[&soname],
    );
    let linked = verify(&linked, &below(stage.path())).expect("verified");
    load(linked, "linked").expect_err("a spoiled header, of a library that stays");
    assert_eq!(first.clash(&second), None);
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
