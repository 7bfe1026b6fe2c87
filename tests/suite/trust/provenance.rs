//! Lock and signatures through the real binary: what they pin is what runs, what they do not fit runs nothing, and every
//! command of `docs/provenance.md` does what it says there.

use hotshoe_tests::{
    Entry, Finished, Setup, artifacts, assert_snapshot,
    tour::{Step, Tour},
};
use std::{
    ffi::OsString,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A folder with copies of a good library as `plugins/lib<name>.so`.
fn with_libraries(names: &[&str]) -> Setup {
    let setup = Setup::new();
    let bytes = fs::read(artifacts::fixture("driver-only")).unwrap();
    for name in names {
        setup.file(&format!("plugins/lib{name}.so"), &bytes);
    }
    setup
}

fn path_of(setup: &Setup, name: &str) -> PathBuf {
    setup.folder().join(format!("plugins/lib{name}.so"))
}

/// An entry for that copy, written as an operator writes it: relative to the file.
fn entry(setup: &Setup, name: &str) -> Entry {
    let trace = setup.scratch("trace").display().to_string();
    let library = format!("./plugins/lib{name}.so");
    Entry::of(name, Path::new(&library)).set(&format!("trace = {trace:?}"))
}

fn entries(setup: &Setup, trust: &str, names: &[&str]) {
    let entries: Vec<Entry> = names.iter().map(|name| entry(setup, name)).collect();
    setup.entries(trust, &entries);
}

#[track_caller]
fn lock(setup: &Setup) -> String {
    let finished = setup.hotshoe(&["lock", "hotshoe.toml"]);
    finished.assert_code(0);
    assert_eq!(finished.stderr, "");
    fs::read_to_string(lock_path(setup)).unwrap()
}

fn lock_path(setup: &Setup) -> PathBuf {
    setup.folder().join("hotshoe.lock")
}

/// Adds bytes that no loader looks at: the library works as before, and is another file.
fn tamper(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes.extend_from_slice(b"one more thing");
    fs::write(path, bytes).unwrap();
}

/// `check` and `run` both refuse with that code and exit 3, before anything of a plugin ran.
#[track_caller]
fn refused(setup: &Setup, flags: &[&str], code: &str) -> Finished {
    let arguments = |command| {
        [
            &["--log-format", "json", command][..],
            flags,
            &["hotshoe.toml"],
        ]
        .concat()
    };
    let check = setup.hotshoe(&arguments("check"));
    let run = setup.hotshoe(&arguments("run"));
    for finished in [&check, &run] {
        finished.assert_code(3);
        assert_eq!(finished.error_code(), code, "{finished:#?}");
        for problem in finished.problems(code) {
            for detail in ["wanted", "found", "fix"] {
                assert_ne!(problem.text_of(detail), "", "{detail} in {finished:#?}");
            }
        }
    }
    assert_eq!(setup.trace().text(), "");
    run
}

#[track_caller]
fn accepted(setup: &Setup, flags: &[&str]) -> Finished {
    let check = setup.hotshoe(&[&["check"][..], flags, &["hotshoe.toml"]].concat());
    check.assert_code(0);
    check
}

fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().next().unwrap().to_owned()
}

/// The text that is committed: sorted by instance, everything that is pinned, and the same bytes for the same libraries.
#[test]
fn a_lock_is_sorted_whole_and_stable() {
    let setup = with_libraries(&["b", "a"]);
    entries(&setup, "", &["b", "a"]);
    let text = lock(&setup);
    let record = |name: &str| {
        let path = path_of(&setup, name);
        let (size, sha256) = (fs::metadata(&path).unwrap().len(), sha256(&path));
        format!(
            "\n[[library]]\nname = \"{name}\"\nlibrary = \"./plugins/lib{name}.so\"\nversion = \"0.1.0\"\nabi = \"1.0.0\"\nsize = \
             {size}\nsha256 = \"{sha256}\"\n"
        )
    };
    let (_, records) = text.split_once("format = 1\n").unwrap();
    assert_eq!(records, record("a") + &record("b"));

    let inode = fs::metadata(lock_path(&setup)).unwrap().ino();
    assert_eq!(lock(&setup), text);
    assert_eq!(
        fs::metadata(lock_path(&setup)).unwrap().ino(),
        inode,
        "written for nothing"
    );
    // From anywhere, under any name of the same folder.
    let whole = setup.config_path().display().to_string();
    setup.hotshoe(&["lock", "--check", &whole]).assert_code(0);
    // The order of the entries is not the lock's business.
    entries(&setup, "", &["a", "b"]);
    assert_eq!(lock(&setup), text);
    accepted(&setup, &["--locked"]);
}

#[test]
fn a_tampered_library_is_refused_and_runs_nothing() {
    let setup = with_libraries(&["a", "b"]);
    entries(&setup, "", &["a", "b"]);
    lock(&setup);
    tamper(&path_of(&setup, "b"));
    let run = refused(&setup, &[], "hash-mismatch");
    let problem = &run.problems("hash-mismatch")[0];
    assert!(
        run.error().contains("`b`") && run.error().contains("libb.so"),
        "{run:#?}"
    );
    assert!(
        problem
            .text_of("found")
            .contains(&sha256(&path_of(&setup, "b")))
    );
    assert!(
        problem
            .text_of("wanted")
            .contains(&sha256(&path_of(&setup, "a")))
    );
    assert!(problem.text_of("at").contains("hotshoe.toml:"), "{run:#?}");
    // What is meant is locked anew, and passes.
    lock(&setup);
    accepted(&setup, &[]);
}

/// The constructor of a library that lock or signature refuses never runs; that of one they let pass does.
#[test]
fn not_even_a_constructor_of_a_refused_library_runs() {
    let mut setup = Setup::new();
    let marker = setup.scratch("a constructor ran");
    setup.variable("HOTSHOE_CTOR_MARKER", &marker);
    let fixture = artifacts::fixture("ctor-marker");
    let library = artifacts::patched(fixture, &setup.folder(), "\nabi=2.0.0\n", "\nabi=1.0.0\n");
    let entry = Entry::of("marker", &library);
    setup.entries("", std::slice::from_ref(&entry));
    lock(&setup);
    let key = keygen(&setup, "key");
    sign(&setup, "key", &library);
    tamper(&library);
    refused(&setup, &[], "hash-mismatch");
    fs::remove_file(lock_path(&setup)).unwrap();
    refused(&setup, &["--locked"], "not-locked");
    setup.entries(&signed_by(&[&key]), std::slice::from_ref(&entry));
    refused(&setup, &[], "bad-signature");
    assert!(!marker.exists(), "code of a refused library ran");

    sign(&setup, "key", &library);
    setup.hotshoe(&["check", "hotshoe.toml"]).assert_code(3);
    assert!(
        marker.exists(),
        "the fixture has no constructor: this test proves nothing"
    );
}

/// A library whose entry states no name says itself what it is called: another name is no way around the lock.
#[test]
fn a_library_does_not_leave_the_lock_by_renaming_itself() {
    let setup = with_libraries(&["a"]);
    let trace = setup.scratch("trace").display().to_string();
    let unnamed = Entry::unnamed(Path::new("./plugins/liba.so")).set(&format!("trace = {trace:?}"));
    setup.entries("", &[unnamed]);
    assert!(lock(&setup).contains("name = \"driver-only\""));
    let path = path_of(&setup, "a");
    let mut bytes = fs::read(&path).unwrap();
    let (from, to) = (b"\nname=driver-only\n", b"\nname=driver-evil\n");
    let at = bytes
        .windows(from.len())
        .position(|window| window == from)
        .unwrap();
    bytes[at..at + to.len()].copy_from_slice(to);
    fs::write(&path, bytes).unwrap();
    refused(&setup, &[], "hash-mismatch");
}

/// A plugin that finds another library beside itself, and that library.
const BRINGS: &str = r#"
#define MANIFEST "HOTSHOE-MANIFEST 1\nname=brings\nversion=0.1.0\nabi=1.0.0\nsymbol=hotshoe_root_module_brings\n" \
    "components=driver\npanic=unwind\nprofile=debug\ntarget=x86_64-unknown-linux-gnu\nEND\n"
__attribute__((section(".hotshoe"), used)) static const char manifest[sizeof(MANIFEST) - 1] = MANIFEST;
struct { char magic[32]; unsigned version[2]; const char *words[14]; } hotshoe_root_module_brings =
    { "abi stable library for Rust     ", { 0, 11 }, { [0 ... 13] = "x" } };
int beside(void);
int call(void) { return beside(); }
"#;

/// Compiles C in the folder of the config, with the compiler that every Rust program here is linked with.
fn cc(setup: &Setup, library: &str, source: &str, arguments: &[&str]) -> PathBuf {
    setup.file("source.c", source.as_bytes());
    let mut command = Command::new("cc");
    command.args(["-shared", "-fPIC", "-o", library, "source.c"]);
    setup.place(&mut command);
    assert!(command.args(arguments).status().unwrap().success());
    setup.folder().join(library)
}

/// What a library brings along runs as well: the lock pins it, and a signature, which does not cover it, is not enough.
#[test]
fn a_library_s_neighbours_are_pinned_with_it() {
    let setup = Setup::new();
    let beside = cc(
        &setup,
        "libbeside.so",
        "int beside(void) { return 1; }",
        &[],
    );
    let link = ["-L.", "-l:libbeside.so", "-Wl,-rpath,$ORIGIN"];
    let brings = cc(&setup, "libbrings.so", BRINGS, &link);
    let entry = Entry::of("brings", &brings).key("stage = \"directory\"");
    setup.entries("", std::slice::from_ref(&entry));
    let text = lock(&setup);
    let pinned = format!("file = \"libbeside.so\", sha256 = \"{}\"", sha256(&beside));
    assert!(text.contains(&pinned), "{text}");
    setup
        .hotshoe(&["lock", "--check", "hotshoe.toml"])
        .assert_code(0);
    cc(
        &setup,
        "libbeside.so",
        "int beside(void) { return 2; }",
        &[],
    );
    let run = refused(&setup, &[], "hash-mismatch");
    let found = run.problems("hash-mismatch")[0].text_of("found");
    assert!(found.contains(&sha256(&beside)), "{run:#?}");

    fs::remove_file(lock_path(&setup)).unwrap();
    let key = keygen(&setup, "key");
    sign(&setup, "key", &brings);
    setup.entries(&signed_by(&[&key]), &[entry]);
    let run = refused(&setup, &[], "unsigned");
    assert!(
        run.problems("unsigned")[0]
            .text_of("found")
            .contains("libbeside.so"),
        "{run:#?}"
    );
}

/// A copy that is only looked at lies as deep as one that runs: what it would look for above itself is in no folder of everybody's.
#[test]
fn a_library_that_also_looks_above_its_folder_is_checked_and_locked() {
    let mut setup = Setup::new();
    let temporary = setup.folder().join("temporary");
    fs::create_dir(&temporary).unwrap();
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o1777)).unwrap();
    setup.variable("TMPDIR", &temporary);
    cc(
        &setup,
        "libbeside.so",
        "int beside(void) { return 1; }",
        &[],
    );
    let spoils = "__attribute__((constructor)) static void spoil(void) { hotshoe_root_module_brings.magic[0] = 7; }";
    let source = format!("{BRINGS}{spoils}");
    // As far up as a prefix, and as a toolchain seen from a build folder.
    for above in ["../../lib", "../../../../../../toolchain/lib"] {
        let rpath = format!("-Wl,-rpath,$ORIGIN:$ORIGIN/{above}");
        let link = ["-L.", "-l:libbeside.so", &rpath];
        let brings = cc(&setup, "libbrings.so", &source, &link);
        setup.entries(
            "",
            &[Entry::of("brings", &brings).key("stage = \"directory\"")],
        );
        lock(&setup);
        let check = setup.hotshoe(&["--log-format", "json", "check", "hotshoe.toml"]);
        // It comes as far as being opened, which is when its header is spoiled.
        assert_eq!(check.problems("no-entry").len(), 1, "{check:#?}");
        assert_eq!(check.problems("writable-by-others").len(), 0, "{check:#?}");
        fs::remove_file(lock_path(&setup)).unwrap();
    }
    let left: Vec<_> = fs::read_dir(&temporary).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// In one process the loader keeps one library of a name: the other plugin would run with what it was not verified with.
#[test]
fn two_plugins_with_different_libraries_of_one_name_do_not_share_a_process() {
    let setup = Setup::new();
    let bring = |name: &str, answer: u8, soname: &str| {
        fs::create_dir_all(setup.folder().join(name)).unwrap();
        let beside = format!("{name}/libbeside.so");
        cc(
            &setup,
            &beside,
            &format!("int beside(void) {{ return {answer}; }}"),
            &[&format!("-Wl,-soname,{soname}")],
        );
        let (library, folder) = (format!("{name}/libbrings.so"), format!("-L{name}"));
        let link = [&*folder, "-l:libbeside.so", "-Wl,-rpath,$ORIGIN"];
        let brings = cc(&setup, &library, BRINGS, &link);
        if soname != "libbeside.so" {
            fs::rename(
                setup.folder().join(&beside),
                setup.folder().join(name).join(soname),
            )
            .unwrap();
        }
        Entry::of(name, &brings).key("stage = \"directory\"")
    };
    let one = "libbeside.so";
    let (a, b) = (bring("a", 1, one), bring("b", 2, one));
    let refused = |entries: &[Entry]| {
        setup.entries("", entries);
        let lock = setup.hotshoe(&["--log-format", "json", "lock", "hotshoe.toml"]);
        lock.assert_code(3);
        let problems = lock.problems("missing-dependency");
        assert_eq!(problems.len(), 1, "{lock:#?}");
        let found = problems[0].text_of("found").to_owned();
        assert!(problems[0].sentence().contains("plugin `b`"), "{lock:#?}");
        assert!(
            problems[0]
                .text_of("fix")
                .contains("isolation = \"process\""),
            "{lock:#?}"
        );
        found
    };
    let found = refused(&[a.clone(), b.clone()]);
    for name in ["a", "b"] {
        let digest = sha256(&setup.folder().join(name).join(one));
        assert!(found.contains(&digest), "{found}");
    }
    // As the fix says; or where they do not differ.
    setup.entries("", &[a.clone(), b.key("isolation = \"process\"")]);
    lock(&setup);
    setup.entries("", &[a.clone(), bring("b", 1, one)]);
    lock(&setup);
    // One brings what the other has from the machine, by a name that is not its file's.
    let machine = "libhotshoe_machine.so";
    let folder = setup.folder().join("installed");
    fs::create_dir(&folder).unwrap();
    bring("c", 3, machine);
    fs::rename(setup.folder().join("c").join(machine), folder.join(machine)).unwrap();
    let rpath = format!("-Wl,-rpath,{}", folder.display());
    let of_the_machine = format!("installed/{machine}");
    let b = cc(
        &setup,
        "b/libbrings.so",
        BRINGS,
        &[&*of_the_machine, &rpath],
    );
    let b = Entry::of("b", &b).key("stage = \"directory\"");
    let found = refused(&[bring("a", 1, machine), b.clone()]);
    assert!(found.ends_with("`b` the machine's"), "{found}");
    // It brings along that very file, or one like it.
    let a = bring("a", 3, machine);
    setup.entries("", &[a.clone(), b.clone()]);
    lock(&setup);
    let beside = setup.folder().join("a").join(machine);
    fs::remove_file(&beside).unwrap();
    symlink(folder.join(machine), &beside).unwrap();
    setup.entries("", &[b, a]);
    lock(&setup);
}

#[test]
fn a_stale_lock_is_named_difference_by_difference() {
    let setup = with_libraries(&["a", "b", "c", "d", "e"]);
    entries(&setup, "", &["a", "b", "c", "e"]);
    let before = lock(&setup);
    tamper(&path_of(&setup, "b"));
    fs::rename(path_of(&setup, "c"), path_of(&setup, "moved")).unwrap();
    let moved = Entry::of("c", Path::new("./plugins/libmoved.so")).set("trace = \"/dev/null\"");
    let others = ["b", "d", "e"].map(|name| entry(&setup, name));
    setup.entries("", &[&[moved], &others[..]].concat());
    let check = setup.hotshoe(&["--log-format", "json", "lock", "--check", "hotshoe.toml"]);
    check.assert_code(3);
    let sentences: Vec<String> = check
        .logs()
        .iter()
        .map(|line| line.sentence().to_owned())
        .collect();
    assert_eq!(
        sentences,
        [
            "error[hash-mismatch]: the library of plugin `b` is not the file that hotshoe.lock names",
            "error[lock-stale]: hotshoe.lock describes the library of plugin `c` otherwise",
            "error[not-locked]: plugin `d` is not in hotshoe.lock",
            "error[lock-stale]: hotshoe.lock names plugin `a`, which is no instance any more",
        ]
    );
    assert!(
        check.stderr.contains(&sha256(&path_of(&setup, "b"))),
        "{check:#?}"
    );
    assert_eq!(
        fs::read_to_string(lock_path(&setup)).unwrap(),
        before,
        "--check wrote"
    );
    lock(&setup);
    setup
        .hotshoe(&["lock", "--check", "hotshoe.toml"])
        .assert_code(0);
    fs::remove_file(lock_path(&setup)).unwrap();
    let check = setup.hotshoe(&["lock", "--check", "hotshoe.toml"]);
    check.assert_code(3);
    assert_eq!(check.error_code(), "not-locked");
    assert!(!lock_path(&setup).exists(), "--check wrote");
}

/// A lock whose bytes are somewhere else, on a disk that is not there, is not no lock.
#[test]
fn a_lock_that_is_a_link_to_nowhere_is_told() {
    let setup = with_libraries(&["a"]);
    entries(&setup, "", &["a"]);
    lock(&setup);
    let kept = setup.folder().join("kept.lock");
    fs::rename(lock_path(&setup), &kept).unwrap();
    std::os::unix::fs::symlink("kept.lock", lock_path(&setup)).unwrap();
    accepted(&setup, &["--locked"]);
    fs::remove_file(&kept).unwrap();
    for command in [&["check"][..], &["run"], &["lock", "--check"]] {
        let arguments = [&["--log-format", "json"], command, &["hotshoe.toml"]].concat();
        let finished = setup.hotshoe(&arguments);
        finished.assert_code(2);
        let problem = &finished.problems("lock-unreadable")[0];
        assert!(
            problem.text_of("found").contains("kept.lock"),
            "{finished:#?}"
        );
        assert_ne!(problem.text_of("fix"), "", "{finished:#?}");
    }
    assert_eq!(setup.trace().text(), "");
    fs::remove_file(lock_path(&setup)).unwrap();
    lock(&setup);
}

#[test]
fn a_missing_entry_is_a_warning_unless_everything_must_be_locked() {
    let setup = with_libraries(&["a", "b"]);
    entries(&setup, "", &["a"]);
    lock(&setup);
    entries(&setup, "", &["a", "b"]);
    let check = accepted(&setup, &[]);
    assert!(
        check.stderr.starts_with("warning[not-locked]: plugin `b`"),
        "{check:#?}"
    );
    let run = refused(&setup, &["--locked"], "not-locked");
    assert!(
        run.error().contains("`b`") && run.problems("not-locked").len() == 1,
        "{run:#?}"
    );
    entries(&setup, "[trust]\nrequire = \"locked\"\n", &["a", "b"]);
    refused(&setup, &[], "not-locked");
    lock(&setup);
    accepted(&setup, &[]);
    // No lock at all: each library is missing from it.
    fs::remove_file(lock_path(&setup)).unwrap();
    let run = refused(&setup, &[], "not-locked");
    assert_eq!(run.problems("not-locked").len(), 2, "{run:#?}");
    entries(&setup, "", &["a", "b"]);
    refused(&setup, &["--locked"], "not-locked");
    let check = accepted(&setup, &[]);
    assert_eq!(check.stderr, "");
}

/// As every refusal of an optional instance: it is `failed` with its code, never opened, and the others run.
#[test]
fn an_optional_instance_that_is_not_as_locked_is_done_without() {
    let setup = with_libraries(&["a", "b"]);
    let optional = entry(&setup, "b").key("required = false");
    setup.entries("", &[entry(&setup, "a"), optional]);
    lock(&setup);
    tamper(&path_of(&setup, "b"));
    let mut host = setup.start();
    host.wait_ready();
    let status = host.admin("/status").json();
    let states: Vec<&str> = ["/instances/0/state", "/instances/1/state"]
        .iter()
        .map(|pointer| status.pointer(pointer).unwrap().as_str().unwrap())
        .collect();
    assert_eq!(states, ["ready", "failed"], "{status:#}");
    assert!(
        status["instances"][1]["reason"]
            .to_string()
            .contains("not the file that hotshoe.lock names"),
        "{status:#}"
    );
    host.stop();
    // To pin it, it has to be one that would be opened.
    fs::write(path_of(&setup, "b"), "no library").unwrap();
    let finished = setup.hotshoe(&["lock", "hotshoe.toml"]);
    finished.assert_code(3);
    assert_eq!(finished.error_code(), "not-a-library");
}

/// Line and column, exit code 2, and nothing is opened; `hotshoe lock` mends it.
#[test]
fn a_lock_that_is_garbage_is_said_with_its_place() {
    let setup = with_libraries(&["a"]);
    entries(&setup, "", &["a"]);
    let good = lock(&setup);
    let deep = format!("format = 1\nx = {}", "[".repeat(100_000));
    let cases = [
        (good.replace("sha256 = \"", "sha256 = ?"), "10:10"),
        (good.replace("size", "sise"), "9:1"),
        (good.replace("format = 1", "format = 7"), "2:10"),
        ("x = 1\n".to_owned(), "1:1"),
        ("\u{7f}ELF".to_owned(), "1:5"),
        (deep, "2:"),
    ];
    for (text, place) in cases {
        fs::write(lock_path(&setup), &text).unwrap();
        for command in [&["check"][..], &["run"], &["lock", "--check"]] {
            let arguments = [&["--log-format", "json"][..], command, &["hotshoe.toml"]].concat();
            let finished = setup.hotshoe(&arguments);
            finished.assert_code(2);
            assert_eq!(finished.error_code(), "lock-invalid");
            let at = finished.problems("lock-invalid")[0].text_of("at");
            assert!(
                at.contains(&format!("hotshoe.lock:{place}")),
                "{at} for {place}"
            );
        }
    }
    assert_eq!(setup.trace().text(), "");
    assert_eq!(lock(&setup), good);
    fs::remove_file(lock_path(&setup)).unwrap();
    fs::create_dir(lock_path(&setup)).unwrap();
    let check = setup.check();
    check.assert_code(2);
    assert_eq!(check.error_code(), "lock-unreadable");
}

/// A user who may not write the folder changes nothing in it.
#[test]
fn an_unwritable_folder_keeps_the_old_lock() {
    let setup = with_libraries(&["a"]);
    entries(&setup, "", &["a"]);
    let before = lock(&setup);
    tamper(&path_of(&setup, "a"));
    let mode = |folder: &Path, mode| {
        fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap()
    };
    mode(setup.folder().parent().unwrap(), 0o755);
    mode(&setup.folder(), 0o555);
    let mut command = Command::new(artifacts::hotshoe());
    command.args(["lock", "hotshoe.toml"]);
    setup.place(&mut command);
    if rustix::process::geteuid().is_root() {
        // Root may write anywhere; this one may not.
        command.uid(65_534).gid(65_534);
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    mode(&setup.folder(), 0o755);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.contains("error[lock-unwritable]: hotshoe.lock cannot be written"),
        "{stderr}"
    );
    assert_eq!(fs::read_to_string(lock_path(&setup)).unwrap(), before);
    let names = fs::read_dir(setup.folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let left = names
        .filter(|name| name.to_string_lossy().starts_with(".hotshoe-"))
        .count();
    assert_eq!(left, 0);
}

/// Makes a pair; answers the path of the public key.
#[track_caller]
fn keygen(setup: &Setup, name: &str) -> PathBuf {
    let finished = setup.hotshoe(&["keygen", name]);
    finished.assert_code(0);
    setup.folder().join(format!("{name}.pub"))
}

/// A key that could not be written is not there, and not in the way once it can.
#[test]
fn a_key_that_is_not_written_leaves_nothing() {
    let setup = Setup::new();
    // No file may grow, which a full disk is as well.
    let mut command = Command::new("sh");
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" keygen key";
    command.args(["-c", script]).arg(artifacts::hotshoe());
    setup.place(&mut command);
    let output = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("key-unwritable"), "{said}");
    assert!(
        !setup.folder().join("key").exists(),
        "an empty key was left"
    );
    keygen(&setup, "key");
}

/// Whatever a file is called, what is printed of it is one line.
#[test]
fn a_library_s_path_does_not_write_lines_of_its_own() {
    let setup = with_libraries(&["a"]);
    let key = keygen(&setup, "key");
    let path = setup.folder().join("plugins/lib\nall is well.so");
    fs::rename(path_of(&setup, "a"), &path).unwrap();
    let library = path.to_str().unwrap();
    let key = key.to_str().unwrap();
    for arguments in [
        &["sign", "key", library][..],
        &["verify", "--key", key, library],
        &["inspect", library],
    ] {
        let finished = setup.hotshoe(arguments);
        finished.assert_code(0);
        assert!(
            finished.stdout.contains("lib\\nall is well.so"),
            "{finished:#?}"
        );
        assert!(
            !finished
                .stdout
                .lines()
                .any(|line| line.starts_with("all is well")),
            "{finished:#?}"
        );
    }
    // And one that is not there is no mistake of a configuration.
    for arguments in [
        &["sign", "key", "gone.so"][..],
        &["verify", "gone.so"],
        &["inspect", "gone.so"],
    ] {
        let finished = setup.hotshoe(&[&["--log-format", "json"], arguments].concat());
        let problem = &finished.problems("not-found")[0];
        assert_eq!(problem.text_of("fix"), "correct the path", "{finished:#?}");
    }
}

#[track_caller]
fn sign(setup: &Setup, key: &str, library: &Path) {
    let library = library.display().to_string();
    setup.hotshoe(&["sign", key, &library]).assert_code(0);
}

fn signature_of(library: &Path) -> PathBuf {
    let mut path = OsString::from(library);
    path.push(".sig");
    path.into()
}

fn signed_by(keys: &[&Path]) -> String {
    let keys: Vec<String> = keys
        .iter()
        .map(|key| format!("{:?}", key.display().to_string()))
        .collect();
    format!(
        "[trust]\nrequire = \"signed\"\nkeys = [{}]\n",
        keys.join(", ")
    )
}

#[test]
fn signatures_are_asked_for_and_believed_only_of_trusted_keys() {
    let setup = with_libraries(&["a", "b"]);
    let (ours, theirs) = (keygen(&setup, "ours"), keygen(&setup, "theirs"));
    let (a, b) = (path_of(&setup, "a"), path_of(&setup, "b"));
    entries(&setup, &signed_by(&[&ours]), &["a", "b"]);
    let run = refused(&setup, &[], "unsigned");
    assert_eq!(run.problems("unsigned").len(), 2, "{run:#?}");
    sign(&setup, "ours", &a);
    sign(&setup, "theirs", &b);
    let run = refused(&setup, &[], "untrusted-key");
    let problem = &run.problems("untrusted-key")[0];
    let key = |path: &Path| {
        fs::read_to_string(path)
            .unwrap()
            .trim()
            .rsplit('=')
            .next()
            .unwrap()
            .to_owned()
    };
    assert!(problem.text_of("found").contains(&key(&theirs)), "{run:#?}");
    assert!(problem.text_of("wanted").contains(&key(&ours)), "{run:#?}");
    sign(&setup, "ours", &b);
    accepted(&setup, &[]);
    let mut host = setup.start();
    host.wait_ready();
    host.stop();
}

#[test]
fn a_bad_signature_is_refused_in_every_shape() {
    let setup = with_libraries(&["a"]);
    let other = setup.file("other/libother.so", b"");
    fs::copy(artifacts::fixture("executor-only"), &other).unwrap();
    let key = keygen(&setup, "key");
    let a = path_of(&setup, "a");
    entries(&setup, &signed_by(&[&key]), &["a"]);
    sign(&setup, "key", &a);
    sign(&setup, "key", &other);
    accepted(&setup, &[]);
    let good = fs::read(signature_of(&a)).unwrap();
    let of_another_file = fs::read(signature_of(&other)).unwrap();
    let truncated = &good[..good.len() - 30];
    let mut flipped = good.clone();
    let last = flipped.len() - 2;
    flipped[last] = if flipped[last] == b'0' { b'1' } else { b'0' };
    let long = b"x=y\n".repeat(5000);
    let shapes: [(&[u8], &str); 6] = [
        (&of_another_file, "made for other bytes"),
        (truncated, "cannot be read"),
        (&flipped, "did not make"),
        (b"", "cannot be read"),
        (b"untrusted comment: minisign\n", "cannot be read"),
        (&long, "cannot be read"),
    ];
    for (bytes, said) in shapes {
        fs::write(signature_of(&a), bytes).unwrap();
        let run = refused(&setup, &[], "bad-signature");
        assert!(run.error().contains(said), "{said}: {run:#?}");
    }
    fs::write(signature_of(&a), &good).unwrap();
    tamper(&a);
    refused(&setup, &[], "bad-signature");
    // A pipe that nobody writes to does not hold the start up.
    fs::remove_file(signature_of(&a)).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, signature_of(&a), rustix::fs::Mode::RUSR).unwrap();
    refused(&setup, &[], "bad-signature");
}

/// Old and new key side by side, then the old one goes: at no moment is a library refused that was signed in time.
#[test]
fn keys_are_rotated_without_a_gap() {
    let setup = with_libraries(&["a", "b"]);
    let (old, new) = (keygen(&setup, "old"), keygen(&setup, "new"));
    let (a, b) = (path_of(&setup, "a"), path_of(&setup, "b"));
    sign(&setup, "old", &a);
    sign(&setup, "old", &b);
    entries(&setup, &signed_by(&[&old]), &["a", "b"]);
    accepted(&setup, &[]);
    entries(&setup, &signed_by(&[&old, &new]), &["a", "b"]);
    accepted(&setup, &[]);
    sign(&setup, "new", &a);
    accepted(&setup, &[]);
    entries(&setup, &signed_by(&[&new]), &["a", "b"]);
    let run = refused(&setup, &[], "untrusted-key");
    assert!(run.error().contains("`b`"), "{run:#?}");
    sign(&setup, "new", &b);
    accepted(&setup, &[]);
}

/// A signed library may still be another than the one that was locked, and a locked one unsigned.
#[test]
fn lock_and_signature_are_both_asked() {
    let setup = with_libraries(&["a"]);
    let key = keygen(&setup, "key");
    let a = path_of(&setup, "a");
    sign(&setup, "key", &a);
    entries(&setup, &signed_by(&[&key]), &["a"]);
    lock(&setup);
    accepted(&setup, &["--locked"]);
    tamper(&a);
    sign(&setup, "key", &a);
    refused(&setup, &[], "hash-mismatch");
    fs::remove_file(signature_of(&a)).unwrap();
    let finished = setup.hotshoe(&["lock", "hotshoe.toml"]);
    finished.assert_code(3);
    assert_eq!(finished.error_code(), "unsigned");
}

#[test]
fn a_key_file_that_is_none_is_a_mistake_of_the_configuration() {
    let setup = with_libraries(&["a"]);
    let key = keygen(&setup, "key");
    sign(&setup, "key", &path_of(&setup, "a"));
    let wrong = setup.file("wrong.pub", b"hotshoe-public-key 1\nkey=abc\n");
    let check = |keys: &[&Path], code: &str| {
        entries(&setup, &signed_by(keys), &["a"]);
        let finished = setup.check();
        finished.assert_code(2);
        assert_eq!(finished.error_code(), code, "{finished:#?}");
        finished
    };
    let finished = check(&[&key, &wrong], "key-invalid");
    assert!(finished.error().contains("wrong.pub:2"), "{finished:#?}");
    check(&[&setup.folder().join("gone.pub")], "key-unreadable");
    // The secret half in the public one's place: refused, and not shown.
    let secret = setup.folder().join("key");
    let finished = check(&[&secret], "key-invalid");
    assert_keeps_secret(&finished, &secret);
}

#[track_caller]
fn assert_keeps_secret(finished: &Finished, secret: &Path) {
    let text = fs::read_to_string(secret).unwrap();
    let seed = text.trim().rsplit('=').next().unwrap();
    assert_eq!(seed.len(), 64);
    let shown = format!("{}{}", finished.stdout, finished.stderr);
    // Not even a part.
    assert!(!shown.contains(&seed[..12]), "{shown}");
}

#[test]
fn a_secret_key_is_its_owner_s_never_printed_and_never_written_over() {
    let setup = with_libraries(&["a"]);
    let library = path_of(&setup, "a").display().to_string();
    let made = setup.hotshoe(&["keygen", "key"]);
    made.assert_code(0);
    let secret = setup.folder().join("key");
    let before = fs::read(&secret).unwrap();
    assert_eq!(fs::metadata(&secret).unwrap().mode() & 0o777, 0o600);
    let signed = setup.hotshoe(&["sign", "key", &library]);
    signed.assert_code(0);
    let verified = setup.hotshoe(&["verify", &library]);
    verified.assert_code(0);
    let again = setup.hotshoe(&["keygen", "key"]);
    again.assert_code(2);
    assert_eq!(again.error_code(), "key-exists");
    // Neither half may be in the way.
    fs::rename(&secret, setup.scratch("key")).unwrap();
    setup.hotshoe(&["keygen", "key"]).assert_code(2);
    assert!(!secret.exists());
    fs::rename(setup.scratch("key"), &secret).unwrap();
    assert_eq!(fs::read(&secret).unwrap(), before);

    fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).unwrap();
    let exposed = setup.hotshoe(&["sign", "key", &library]);
    exposed.assert_code(2);
    assert_eq!(exposed.error_code(), "key-exposed");
    for finished in [&made, &signed, &verified, &again, &exposed] {
        assert_keeps_secret(finished, &secret);
    }
    // Two keys are two keys.
    setup.hotshoe(&["keygen", "second"]).assert_code(0);
    assert_ne!(fs::read(setup.folder().join("second")).unwrap(), before);
}

#[test]
fn verify_says_who_signed_and_judges_every_library() {
    let setup = with_libraries(&["a", "b", "c"]);
    let (ours, theirs) = (keygen(&setup, "ours"), keygen(&setup, "theirs"));
    let [a, b, c] = ["a", "b", "c"].map(|name| path_of(&setup, name));
    sign(&setup, "ours", &a);
    sign(&setup, "theirs", &b);
    let [ours, theirs, a, b, c] = [ours, theirs, a, b, c].map(|path| path.display().to_string());
    let both = setup.hotshoe(&["verify", "--key", &theirs, "--key", &ours, &a, &b]);
    both.assert_code(0);
    assert!(both.stdout.contains(&format!("({ours})")), "{both:#?}");
    assert!(both.stdout.contains(&format!("({theirs})")), "{both:#?}");
    let one = setup.hotshoe(&["--log-format", "json", "verify", "--key", &ours, &c, &b, &a]);
    one.assert_code(3);
    assert_eq!(
        (
            one.problems("unsigned").len(),
            one.problems("untrusted-key").len()
        ),
        (1, 1)
    );
    assert!(
        one.stdout.contains("driver-only 0.1.0, signed by"),
        "{one:#?}"
    );
    let anybody = setup.hotshoe(&["verify", &a, &b]);
    anybody.assert_code(0);
    assert_eq!(
        anybody.stdout.matches("no --key vouches").count(),
        2,
        "{anybody:#?}"
    );
    let text = setup.hotshoe(&["sign", "ours", "hotshoe.toml"]);
    text.assert_code(3);
}

/// Every refusal of this file, once, as an operator reads it.
#[test]
fn the_texts_are_as_they_were_reviewed() {
    let setup = with_libraries(&["a"]);
    let (key, other) = (keygen(&setup, "key"), keygen(&setup, "other"));
    let a = path_of(&setup, "a");
    let mut text = String::new();
    let mut told = |arguments: &[&str]| {
        let finished = setup.hotshoe(arguments);
        assert!(finished.code > Some(1), "{arguments:?}: {finished:#?}");
        text.push_str(&format!("$ hotshoe {}\n", arguments.join(" ")));
        text.push_str(&without_chance(&finished.stderr, &setup));
    };
    let (check, verify) = (
        &["check", "hotshoe.toml"][..],
        &["verify", "plugins/liba.so"][..],
    );
    entries(&setup, "", &["a"]);
    told(&["check", "--locked", "hotshoe.toml"]);
    lock(&setup);
    entries(&setup, "", &["a", "b"]);
    fs::copy(&a, path_of(&setup, "b")).unwrap();
    told(&["check", "--locked", "hotshoe.toml"]);
    tamper(&a);
    told(check);
    told(&["lock", "--check", "hotshoe.toml"]);
    fs::write(lock_path(&setup), "format = 2\n").unwrap();
    told(check);
    fs::remove_file(lock_path(&setup)).unwrap();
    entries(&setup, &signed_by(&[&key]), &["a"]);
    told(check);
    told(verify);
    sign(&setup, "other", &a);
    told(check);
    fs::write(signature_of(&a), "hotshoe-signature 1\nkey=0\n").unwrap();
    told(verify);
    sign(&setup, "key", &a);
    let theirs = fs::read_to_string(&other)
        .unwrap()
        .trim()
        .rsplit('=')
        .next()
        .unwrap()
        .to_owned();
    let ours = fs::read_to_string(&key)
        .unwrap()
        .trim()
        .rsplit('=')
        .next()
        .unwrap()
        .to_owned();
    let signature = fs::read_to_string(signature_of(&a)).unwrap();
    fs::write(signature_of(&a), signature.replace(&ours, &theirs)).unwrap();
    told(verify);
    fs::write(signature_of(&a), signature).unwrap();
    tamper(&a);
    told(verify);
    told(&["keygen", "key"]);
    told(&["sign", "key.pub", "plugins/liba.so"]);
    fs::write(&key, "hotshoe-public-key 1\nkey=0\n").unwrap();
    told(check);
    entries(&setup, "[trust]\nrequire = \"signed\"\n", &["a"]);
    told(check);
    assert_snapshot("provenance", &text);
}

/// Folders, digests, keys and sizes as words.
fn without_chance(text: &str, setup: &Setup) -> String {
    let text = text.replace(&setup.folder().display().to_string(), "FOLDER");
    let words = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
    words
        .map(|word| {
            let bare = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            let hex = bare.len() == 64 && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
            let size = bare.len() > 5 && bare.bytes().all(|byte| byte.is_ascii_digit());
            match (hex, size) {
                (true, _) => word.replace(bare, "<hex>"),
                (_, true) => word.replace(bare, "<size>"),
                _ => word.to_owned(),
            }
        })
        .collect()
}

/// Each `toml` block is the configuration from there on.
#[test]
fn the_commands_of_the_document_do_what_it_says() {
    let mut setup = with_libraries(&["geoip"]);
    let folder = artifacts::hotshoe().parent().unwrap().to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder).chain(std::env::split_paths(&path));
    setup.variable("PATH", std::env::join_paths(folders).unwrap());
    entries(&setup, "", &["geoip"]);
    let document = artifacts::workspace_root().join("docs/provenance.md");
    let document = fs::read_to_string(document).unwrap();
    let mut tour = Tour::new(&setup);
    tour.walk(
        &document,
        |_, _| Step::Run,
        |block| {
            assert_eq!(block.kind, "toml", "an unknown block: {}", block.text);
            entries(&setup, &block.text, &["geoip"]);
        },
    );
    for command in [
        "lock",
        "lock --check",
        "check --locked",
        "keygen",
        "sign",
        "verify",
    ] {
        let shown = format!("hotshoe {command} ");
        let shown = tour.commands.iter().any(|line| line.contains(&shown));
        assert!(shown, "`hotshoe {command}` is in no block");
    }
}

/// Whoever may write the lock or a key that is trusted decides what runs: then neither is one. A configuration that everybody
/// may change is a warning: an operator may have no say in where it lies.
#[test]
fn what_everybody_may_write_pins_nothing_and_vouches_for_nobody() {
    let setup = with_libraries(&["a"]);
    let key = keygen(&setup, "key");
    sign(&setup, "key", &path_of(&setup, "a"));
    entries(&setup, &signed_by(&[&key]), &["a"]);
    lock(&setup);
    accepted(&setup, &["--locked"]);
    let chmod = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let told = |code: &str, what: &Path| {
        for command in ["check", "run"] {
            let finished = setup.hotshoe(&["--log-format", "json", command, "hotshoe.toml"]);
            finished.assert_code(2);
            assert_eq!(finished.error_code(), code, "{finished:#?}");
            let problem = &finished.problems(code)[0];
            let fix = format!("chmod o-w {}", what.display());
            assert_eq!(problem.text_of("fix"), fix, "{finished:#?}");
            assert_ne!(problem.text_of("wanted"), "", "{finished:#?}");
        }
        assert_eq!(setup.trace().text(), "");
    };
    let lock_file = lock_path(&setup);
    chmod(&lock_file, 0o646);
    told("lock-writable-by-others", &lock_file);
    let compared = setup.hotshoe(&["--log-format", "json", "lock", "--check", "hotshoe.toml"]);
    compared.assert_code(2);
    assert_eq!(compared.error_code(), "lock-writable-by-others");
    chmod(&lock_file, 0o664);
    chmod(&key, 0o664);
    let warned = setup.hotshoe(&["--log-format", "json", "check", "--locked", "hotshoe.toml"]);
    warned.assert_code(0);
    for (code, what) in [("lock", "the lock file"), ("key", "the public key")] {
        let warnings = warned.problems(code);
        assert_eq!(warnings.len(), 1, "{warned:#?}");
        let start = format!("warning[{code}]: {what} ");
        let sentence = warnings[0].sentence();
        assert!(
            sentence.starts_with(&start) && sentence.contains("in group"),
            "{sentence}"
        );
    }
    chmod(&lock_file, 0o644);

    chmod(&key, 0o666);
    told("key-writable-by-others", &key);
    let verified = setup.hotshoe(&[
        "--log-format",
        "json",
        "verify",
        "--key",
        "key.pub",
        "plugins/liba.so",
    ]);
    verified.assert_code(2);
    assert_eq!(verified.error_code(), "key-writable-by-others");
    chmod(&key, 0o644);

    let config = setup.config_path();
    chmod(&config, 0o666);
    let warned = setup.hotshoe(&["--log-format", "json", "check", "hotshoe.toml"]);
    warned.assert_code(0);
    let warnings = warned.problems("config-writable-by-others");
    assert_eq!(warnings.len(), 1, "{warned:#?}");
    assert!(
        warnings[0].sentence().starts_with("warning["),
        "{warned:#?}"
    );
    chmod(&config, 0o644);

    // A folder that everybody may write to is as good as the files in it.
    let folder = setup.folder();
    let mode = fs::metadata(&folder).unwrap().permissions().mode();
    chmod(&folder, 0o777);
    let run = setup.hotshoe(&["--log-format", "json", "run", "hotshoe.toml"]);
    chmod(&folder, mode);
    for code in [
        "lock-writable-by-others",
        "key-writable-by-others",
        "writable-by-others",
    ] {
        assert_eq!(run.problems(code).len(), 1, "{code} in {run:#?}");
    }
}
