//! Real files through `verify` and `load`: one table of file and refusal, and a canary that proves that nothing refused ran.
//!
//! The libraries are made by this machine's C compiler while the test runs; no binary is kept in the tree.
#![cfg(target_os = "linux")]
#![allow(missing_docs, reason = "a test binary")]

mod workshop;

use hotshoe_abi::abi_stable::library::LibHeader;
use hotshoe_loader::{
    InspectFault, Policy, RefusalCode, Staging, Verified, inspect, load, verify, verify_all,
};
use std::{
    fs::{self, File},
    os::{fd::AsRawFd as _, unix::fs::symlink},
    path::{Path, PathBuf},
    process::Command,
};
use workshop::{
    CANARY, HEADER_WORDS, MANIFEST, Workshop, entry_of, patched, replaced, spoiled_entry,
    swapped_segments,
};

fn code(path: &Path) -> RefusalCode {
    match verify(path, &Policy::default()) {
        Ok(verified) => panic!("{} was accepted: {:?}", path.display(), verified.inspection),
        Err(refusal) => {
            for line in [&*refusal.predicate, &*refusal.wanted, &*refusal.found] {
                assert!(!line.is_empty() && !line.contains('\n'), "{refusal:?}");
            }
            assert!(refusal.fix.is_some(), "{refusal:?}");
            refusal.code
        }
    }
}

#[test]
fn every_file_earns_its_refusal_and_none_of_them_ran() {
    use RefusalCode::{
        AbiTooNew, AbiTooOld, GlibcTooNew, ManifestInvalid, MissingDependency, NoEntry, NoManifest,
        NotAFile, NotALibrary, NotFound, PanicAbort, TooLarge, Truncated, Unreadable,
        WrongPlatform,
    };
    let shop = Workshop::new();
    let good = fs::read(shop.spoiled("good.so", MANIFEST)).expect("good.so");
    let mut table: Vec<(PathBuf, RefusalCode)> = Vec::new();
    let mut add = |path: PathBuf, code| table.push((path, code));

    // No files, and files that are something else.
    add(shop.path("absent.so"), NotFound);
    add(shop.write("file", "x").join("below.so"), NotFound);
    fs::create_dir(shop.path("folder.so")).expect("mkdir");
    add(shop.path("folder.so"), NotAFile);
    add(PathBuf::from("/dev/null"), NotAFile);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        shop.path("fifo.so"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .expect("mkfifo");
    add(shop.path("fifo.so"), NotAFile);
    let _socket = std::os::unix::net::UnixListener::bind(shop.path("socket.so")).expect("bind");
    add(shop.path("socket.so"), NotAFile);
    symlink("nowhere", shop.path("dangling.so")).expect("symlink");
    add(shop.path("dangling.so"), NotFound);
    symlink("loop.so", shop.path("loop.so")).expect("symlink");
    add(shop.path("loop.so"), Unreadable);
    add(shop.write("empty.so", ""), NotALibrary);
    add(shop.write("text.so", "hello\n"), NotALibrary);
    add(shop.write("script.so", "#!/bin/sh\nexit 1\n"), NotALibrary);
    add(shop.write("archive.so", "!<arch>\n"), NotALibrary);
    add(shop.write("zeros.so", [0; 5000]), NotALibrary);
    let sparse = File::create(shop.path("sparse.so")).expect("create");
    sparse.set_len(4 << 30).expect("sparse");
    add(shop.path("sparse.so"), TooLarge);

    // ELF files that are no libraries, or for others.
    add(
        shop.cc("object.so", "int f(void) { return 1; }", &["-c"]),
        NotALibrary,
    );
    add(
        shop.cc("program.so", "int main(void) { return 1; }", &["-no-pie"]),
        NotALibrary,
    );
    add(
        shop.cc("pie.so", "int main(void) { return 1; }", &["-fPIE", "-pie"]),
        NotALibrary,
    );
    add(
        shop.write("core.so", patched(&good, 16, &[4, 0])),
        NotALibrary,
    );
    add(
        shop.write("machine.so", patched(&good, 18, &[0xf3, 0])),
        WrongPlatform,
    );
    add(
        shop.write("unheard.so", patched(&good, 18, &[0xff, 0xfe])),
        WrongPlatform,
    );
    add(
        shop.write("freebsd.so", patched(&good, 7, &[9])),
        WrongPlatform,
    );
    add(shop.write("windows.dll", pe_library()), WrongPlatform);
    add(shop.write("macos.dylib", mach_o_library()), WrongPlatform);
    add(shop.write("half.so", &good[..good.len() / 2]), Truncated);
    add(shop.write("nearly.so", &good[..good.len() - 1]), Truncated);
    add(shop.write("start.so", b"\x7fEL"), Truncated);
    add(
        shop.write("segments.so", swapped_segments(&good)),
        NotALibrary,
    );

    // Libraries that are no plugins, or not for this host.
    add(
        shop.cc(
            "c.so",
            &format!("{CANARY}int f(void) {{ return 1; }}"),
            &["-shared", "-fPIC", "-DANSWER=0"],
        ),
        NoManifest,
    );
    add(
        shop.spoiled("format.so", &MANIFEST.replace("MANIFEST 1", "MANIFEST 2")),
        ManifestInvalid,
    );
    add(
        shop.spoiled("double.so", &format!("{MANIFEST}{MANIFEST}")),
        ManifestInvalid,
    );
    add(
        shop.spoiled("newer.so", &MANIFEST.replace("abi=1", "abi=2")),
        AbiTooNew,
    );
    add(
        shop.spoiled("older.so", &MANIFEST.replace("abi=1", "abi=0")),
        AbiTooOld,
    );
    add(
        shop.spoiled("abort.so", &MANIFEST.replace("unwind", "abort")),
        PanicAbort,
    );
    add(
        shop.spoiled("musl.so", &MANIFEST.replace("-gnu", "-musl")),
        WrongPlatform,
    );
    add(shop.plugin("symbol.so", MANIFEST, "", &[]), NoEntry);
    add(
        shop.plugin(
            "static.so",
            MANIFEST,
            &format!("static {}", spoiled_entry()),
            &[],
        ),
        NoEntry,
    );
    add(
        shop.plugin(
            "small.so",
            MANIFEST,
            "char hotshoe_root_module_fixture[8] = {7};",
            &[],
        ),
        NoEntry,
    );
    add(
        shop.plugin(
            "function.so",
            MANIFEST,
            "void hotshoe_root_module_fixture(void) {}",
            &[],
        ),
        NoEntry,
    );
    add(
        shop.plugin("sysv.so", MANIFEST, "", &["-Wl,--hash-style=sysv"]),
        NoEntry,
    );
    let magic = "abi stable library for Rust     ";
    for (name, entry) in [
        (
            "magic.so",
            entry_of("another library for Rust        ", "0, 11", HEADER_WORDS),
        ),
        ("minor.so", entry_of(magic, "0, 10", HEADER_WORDS)),
        ("major.so", entry_of(magic, "1, 11", HEADER_WORDS)),
        // Null where `handshake` follows a pointer.
        ("pointers.so", entry_of(magic, "0, 11", 7)),
        (
            "blank.so",
            "char hotshoe_root_module_fixture[512] = { 0, 1 };".to_owned(),
        ),
    ] {
        add(shop.plugin(name, MANIFEST, &entry, &[]), NoEntry);
    }
    if cfg!(target_env = "gnu") {
        let glibc = good
            .windows(9)
            .any(|window| window == b"GLIBC_2.2")
            .then_some(b"GLIBC_2.2");
        let glibc = glibc.unwrap_or(b"GLIBC_2.1");
        add(
            shop.write("glibc.so", replaced(&good, glibc, b"GLIBC_9.2")),
            GlibcTooNew,
        );
    }

    // Neighbours.
    shop.cc(
        "libhotshoe_gone.so",
        "int gone(void) { return 1; }",
        &["-shared", "-fPIC"],
    );
    let user = format!(
        "int gone(void); int use(void) {{ return gone(); }}\n{}",
        spoiled_entry()
    );
    let link = ["-L.", "-l:libhotshoe_gone.so"];
    add(
        shop.plugin("needs.so", MANIFEST, &user, &link),
        MissingDependency,
    );
    add(
        shop.plugin(
            "origin.so",
            MANIFEST,
            &user,
            &[&link[..], &["-Wl,-rpath,$ORIGIN"]].concat(),
        ),
        MissingDependency,
    );

    for (path, wanted) in &table {
        assert_eq!(code(path), *wanted, "{}", path.display());
    }
    assert!(
        !shop.marker().exists(),
        "the constructor of a refused library ran"
    );
    let distinct: std::collections::HashSet<_> = table.iter().map(|(_, code)| code).collect();
    assert_eq!(
        distinct.len(),
        if cfg!(target_env = "gnu") { 15 } else { 14 }
    );
}

/// The texts of refusals that depend on the file alone; `FOLDER` stands for the folder. Those that depend on what a library
/// says are beside the judgement, in `src/verify/tests.rs`.
#[test]
fn what_is_no_library_is_told_in_these_words() {
    let shop = Workshop::new();
    shop.write("text.so", "hello\n");
    shop.write("broken.so", [b"\x7fELF\x07".as_slice(), &[0; 100]].concat());
    fs::create_dir(shop.path("folder.so")).expect("mkdir");
    symlink("nowhere", shop.path("dangling.so")).expect("symlink");
    symlink("loop.so", shop.path("loop.so")).expect("symlink");
    File::create(shop.path("sparse.so"))
        .and_then(|file| file.set_len(4 << 30))
        .expect("sparse");
    shop.cc(
        "libhotshoe_gone.so",
        "int gone(void) { return 1; }",
        &["-shared", "-fPIC"],
    );
    let user = format!(
        "int gone(void); int use(void) {{ return gone(); }}\n{}",
        spoiled_entry()
    );
    shop.plugin(
        "needs.so",
        MANIFEST,
        &user,
        &["-L.", "-l:libhotshoe_gone.so"],
    );
    shop.plugin(
        "origin.so",
        MANIFEST,
        &user,
        &["-L.", "-l:libhotshoe_gone.so", "-Wl,-rpath,$ORIGIN"],
    );
    for (name, text) in TEXTS {
        let path = shop.path(name);
        let refusal = verify(&path, &Policy::default()).expect_err(name);
        let fix = refusal.fix.as_deref().expect("a fix");
        let told = format!(
            "{}: {refusal}\n{}\n{}\n{fix}",
            refusal.code, refusal.wanted, refusal.found
        );
        let folder = shop.folder();
        assert_eq!(told.replace(folder, "FOLDER"), *text, "{name}");
    }
}

const TEXTS: &[(&str, &str)] = &[
    (
        "absent.so",
        "not-found: FOLDER/absent.so does not exist\n\
         a file at FOLDER/absent.so\n\
         no such file or directory\n\
         correct the path",
    ),
    (
        "text.so",
        "not-a-library: FOLDER/text.so is a text file\n\
         a shared library, as cargo builds it from a crate with crate-type = [\"cdylib\"]\n\
         a text file\n\
         name the plugin's own library in `library`",
    ),
    (
        "broken.so",
        "not-a-library: FOLDER/broken.so has broken headers: word size 7 is neither 1 nor 2\n\
         a shared library as a linker writes it\n\
         word size 7 is neither 1 nor 2\n\
         build or copy it again",
    ),
    (
        "folder.so",
        "not-a-file: FOLDER/folder.so is a folder, not a file\n\
         a library file\n\
         a folder\n\
         name the library file itself in `library`",
    ),
    (
        "dangling.so",
        "not-found: FOLDER/dangling.so is a symbolic link that leads nowhere\n\
         a link to a library\n\
         a link to nowhere, which does not exist\n\
         ln -sf LIBRARY FOLDER/dangling.so",
    ),
    (
        "loop.so",
        "unreadable: FOLDER/loop.so cannot be read: too many levels of symbolic links\n\
         a file that the host's user may read\n\
         too many levels of symbolic links\n\
         ls -l FOLDER/loop.so",
    ),
    (
        "sparse.so",
        "too-large: FOLDER/sparse.so is larger than a plugin may be\n\
         at most 1.0 GiB\n\
         4.0 GiB\n\
         build it in release and strip it: cargo build --release, strip -s",
    ),
    (
        "needs.so",
        "missing-dependency: FOLDER/needs.so needs libhotshoe_gone.so, which this machine does not have\n\
         libhotshoe_gone.so\n\
         neither in the loader's cache nor in its default folders\n\
         install the package that holds libhotshoe_gone.so",
    ),
    (
        "origin.so",
        "missing-dependency: FOLDER/origin.so looks for libhotshoe_gone.so beside itself, which a private copy of it cannot\n\
         libraries that the system's loader finds by itself\n\
         libhotshoe_gone.so found through $ORIGIN, at FOLDER/libhotshoe_gone.so\n\
         set stage = \"directory\" for this plugin",
    ),
];

/// The canary can sing: without this, the test above could not fail.
#[test]
fn an_accepted_library_runs_and_a_header_that_it_spoils_is_refused_then() {
    let shop = Workshop::new();
    let path = shop.spoiled("spoiled.so", MANIFEST);
    let mut places = Vec::new();
    for round in 1..=2 {
        let verified = verify(&path, &Policy::default()).expect("nothing to object to yet");
        assert_eq!(verified.manifest.name, "fixture");
        let refusal = load(verified, "geoip").expect_err("no header");
        assert_eq!(refusal.code, RefusalCode::NoEntry);
        let says =
            "has something else than a plugin's header under the symbol that its manifest names";
        assert_eq!(
            refusal.to_string(),
            format!("plugin `geoip` ({}) {says}", path.display())
        );
        let marks = fs::read_to_string(shop.marker()).expect("the canary sang");
        places = marks.lines().map(str::to_owned).collect();
        assert_eq!(places.len(), round, "{marks}");
    }
    assert_ne!(
        places[0], places[1],
        "two instances of one file share their statics"
    );
}

#[test]
fn a_refusal_leaves_no_folder_behind() {
    let shop = Workshop::new();
    let path = shop.spoiled("spoiled.so", MANIFEST);
    let stage = tempfile::tempdir().expect("tempdir");
    let policy = Policy {
        staging: Staging::Directory(stage.path().to_path_buf()),
        ..Policy::default()
    };
    drop(verify(&path, &policy).expect("accepted"));
    assert_eq!(fs::read_dir(stage.path()).expect("list").count(), 0);
}

#[test]
fn an_inspection_says_what_the_tools_say() {
    let shop = Workshop::new();
    let path = shop.plugin(
        "libfull.so",
        MANIFEST,
        &format!("__thread char local[100] = {{1}};\n{}", spoiled_entry()),
        &[
            "-Wl,-soname,libfull.so.3",
            "-Wl,--build-id=0xdeadbeef",
            "-Wl,-z,execstack",
            "-Wl,-rpath,$ORIGIN:/opt/x",
        ],
    );
    let bytes = fs::read(&path).expect("read");
    let full = inspect(&bytes).expect("a library");
    assert_eq!(full.soname.as_deref(), Some("libfull.so.3"));
    assert_eq!(full.build_id.as_deref(), Some("deadbeef"));
    assert_eq!(full.tls_size_bytes, 100);
    assert!(full.exec_stack && full.uses_origin && !full.stripped && !full.text_relocations);
    assert_eq!(
        full.runpath.iter().chain(&full.rpath).collect::<Vec<_>>(),
        ["$ORIGIN", "/opt/x"]
    );
    assert!(full.constructors >= 1, "{}", full.constructors);
    assert!(
        full.needed.iter().any(|name| name.starts_with("libc.")),
        "{:?}",
        full.needed
    );
    assert!(
        full.compilers
            .iter()
            .any(|text| text.contains("GCC") || text.contains("clang")),
        "{:?}",
        full.compilers
    );
    let entry = full
        .entry
        .expect("the entry is found through the hash table");
    assert_eq!(
        (entry.size_bytes, entry.mapped),
        (size_of::<LibHeader>() as u64, true)
    );
    assert!(full.mapped_bytes > 4096);

    // The manifest and the dynamic symbols outlive strip; another hash table is read as well.
    let strip = Command::new("strip").arg("-s").arg(&path).status();
    assert!(
        strip
            .expect("this test needs `strip` (Debian: apt-get install binutils)")
            .success()
    );
    let stripped = inspect(&fs::read(&path).expect("read")).expect("a library");
    assert!(stripped.stripped && stripped.manifest == full.manifest && stripped.entry.is_some());
    let sysv = shop.plugin(
        "sysv.so",
        MANIFEST,
        &spoiled_entry(),
        &["-Wl,--hash-style=sysv"],
    );
    assert_eq!(
        inspect(&fs::read(sysv).expect("read"))
            .expect("a library")
            .entry
            .map(|entry| entry.mapped),
        Some(true)
    );

    // Structures need not be aligned in memory.
    let shifted = [b"x".as_slice(), &bytes].concat();
    assert!(inspect(&shifted[1..]).expect("a library").entry.is_some());
}

#[test]
fn other_systems_libraries_show_their_manifest() {
    for (bytes, platform) in [
        (pe_library(), "windows x86_64 (pe, 64 bits, little-endian)"),
        (
            mach_o_library(),
            "macos aarch64 (mach-o, 64 bits, little-endian)",
        ),
    ] {
        let inspection = inspect(&bytes).expect(platform);
        assert_eq!(inspection.platform.to_string(), platform);
        assert_eq!(inspection.manifest.expect(platform).name, "fixture");
        for end in 0..bytes.len() {
            let _ = inspect(&bytes[..end]);
        }
    }
}

#[test]
fn no_cut_of_a_library_is_taken_for_a_whole_one() {
    let shop = Workshop::new();
    let bytes = fs::read(shop.spoiled("good.so", MANIFEST)).expect("good.so");
    let mut dice = 0x2545_f491_4f6c_dd1d_u64;
    let offsets = std::iter::repeat_with(|| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        1 + usize::try_from(dice >> 1).expect("64 bits") % (bytes.len() - 1)
    });
    let offsets: Vec<usize> = offsets.take(1_000).collect();
    let boundaries = boundaries(&bytes);
    assert!(boundaries.len() > 30, "{boundaries:?}");
    for end in (1..64)
        .chain(offsets)
        .chain(boundaries)
        .chain(bytes.len() - 70..bytes.len())
    {
        match inspect(&bytes[..end]) {
            Err(InspectFault::Truncated {
                wanted_bytes,
                found_bytes,
            }) => {
                assert!(
                    found_bytes == end as u64 && wanted_bytes > found_bytes,
                    "cut at {end}"
                );
            }
            other => panic!("cut at {end}: {other:?}"),
        }
    }
}

/// Where sections begin and end, out of the section table, but for the file's own end.
fn boundaries(elf: &[u8]) -> Vec<usize> {
    let number = |at: usize, len: usize| {
        let mut word = [0; 8];
        word[..len].copy_from_slice(&elf[at..at + len]);
        usize::try_from(u64::from_le_bytes(word)).expect("64 bits")
    };
    let (table, count) = (number(40, 8), number(60, 2));
    let mut boundaries: Vec<usize> = (0..count)
        .map(|index| table + 64 * index)
        .flat_map(|at| {
            [
                number(at + 24, 8),
                number(at + 24, 8) + number(at + 32, 8),
                at,
            ]
        })
        .filter(|&end| end > 0 && end < elf.len())
        .collect();
    boundaries.sort_unstable();
    boundaries.dedup();
    boundaries
}

#[test]
fn no_damage_makes_the_inspection_panic_or_linger() {
    let shop = Workshop::new();
    let bytes = fs::read(shop.spoiled("good.so", MANIFEST)).expect("good.so");
    // Every byte of the headers, each way; sizes near the limits of their types among them.
    for at in 0..64 + 56 * 12 {
        for with in [0x00, 0x01, 0x7f, 0x80, 0xff, bytes[at] ^ 0x10] {
            let _ = inspect(&patched(&bytes, at, &[with]));
        }
        for wide in [
            &[0xff; 8],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
            &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
        ] {
            let _ = inspect(&patched(&bytes, at, wide));
        }
    }
    // Anything, anywhere. A fixed seed: a failure can be repeated.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..5_000 {
        let mut damaged = bytes.clone();
        for _ in 0..=next() % 8 {
            let at = usize::try_from(next()).expect("64 bits") % damaged.len();
            damaged[at] = next().to_le_bytes()[0];
        }
        let _ = inspect(&damaged);
    }
}

#[test]
fn many_are_verified_side_by_side_and_answered_in_their_order() {
    let shop = Workshop::new();
    let good = shop.spoiled("good.so", MANIFEST);
    let names: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    let answers = verify_all(&names, |name| match name.as_str() {
        "7" | "150" => verify(Path::new(name), &Policy::default()),
        _ => verify(&good, &Policy::default()),
    });
    assert_eq!(answers.len(), names.len());
    for (name, answer) in names.iter().zip(&answers) {
        match answer {
            Ok(_) => assert!(name != "7" && name != "150"),
            Err(refusal) => assert_eq!(refusal.file.as_os_str(), name.as_str(), "{refusal:?}"),
        }
    }
    assert!(verify_all(&[], |path: &PathBuf| verify(path, &Policy::default())).is_empty());
}

/// One thread renames another library over the path as fast as it can: what is staged is one of the two, whole.
#[test]
fn a_swapped_path_never_mixes_libraries() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let shop = Workshop::new();
    let a = fs::read(shop.spoiled("a.so", MANIFEST)).expect("a.so");
    let b = fs::read(shop.spoiled("b.so", &MANIFEST.replace("name=fixture", "name=foreign")))
        .expect("b.so");
    let path = shop.write("swapped.so", &a);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for bytes in [&b, &a] {
                    fs::rename(shop.write("next.so", bytes), &path).expect("rename");
                }
            }
        });
        let mut seen = [0, 0];
        for _ in 0..300 {
            // Between the two looks at a path it may be another file: that is a refusal or the other library, never a mixture.
            match verify(&path, &Policy::default()) {
                Ok(verified) => {
                    let is_b = verified.manifest.name == "foreign";
                    seen[usize::from(is_b)] += 1;
                    let whole = if is_b { &b } else { &a };
                    assert_eq!(verified.staged.len_bytes(), whole.len() as u64);
                    assert!(copy_of(&verified) == *whole, "a mixture");
                    assert_eq!(*verified.staged.sha256(), sha256(whole));
                }
                Err(refusal) => assert_eq!(
                    refusal.code,
                    RefusalCode::ChangedWhileLoading,
                    "{refusal:?}"
                ),
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(seen[0] + seen[1] > 0, "not one load in three hundred");
    });
}

/// The same, written into the file itself, as `cp` does: a mixture of the two is never taken for a library.
#[test]
fn a_rewritten_file_never_mixes_libraries() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let shop = Workshop::new();
    let filled = |name: &str, with: char| {
        let filler =
            format!("const char filler[1 << 20] = {{[0 ... (1 << 20) - 1] = '{with}'}};\n");
        let path = shop.plugin(name, MANIFEST, &format!("{filler}{}", spoiled_entry()), &[]);
        fs::read(path).expect(name)
    };
    let (a, b) = (filled("a.so", 'a'), filled("b.so", 'b'));
    assert!(a.len() == b.len() && a != b);
    let path = shop.write("rewritten.so", &a);
    let (stop, turns) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut outcomes = [0, 0];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for bytes in [&b, &a] {
                    fs::write(&path, bytes).expect("write");
                    turns.store(true, Ordering::Relaxed);
                }
            }
        });
        let _stopped = Stopped(&stop);
        while !turns.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        for _ in 0..100 {
            match verify(&path, &Policy::default()) {
                Ok(verified) => {
                    outcomes[0] += 1;
                    let copy = copy_of(&verified);
                    assert!(copy == a || copy == b, "a mixture");
                    assert_eq!(*verified.staged.sha256(), sha256(&copy));
                }
                Err(refusal) => {
                    outcomes[1] += 1;
                    let code = refusal.code;
                    let half = [
                        RefusalCode::ChangedWhileLoading,
                        RefusalCode::Truncated,
                        // Empty, for a moment.
                        RefusalCode::NotALibrary,
                    ];
                    assert!(half.contains(&code), "{refusal:?}");
                }
            }
        }
    });
    assert!(outcomes[1] > 0, "not one write was noticed");
    // The file is whole again once its writer is done.
    shop.write("rewritten.so", &b);
    verify(&path, &Policy::default()).expect("nobody writes any more");
}

/// Set when it goes out of scope, also by a failed assertion: the thread that waits for it ends either way.
struct Stopped<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// What `dlopen` would map.
fn copy_of(verified: &Verified) -> Vec<u8> {
    let memfd = verified.staged.descriptor().expect("a copy in memory");
    fs::read(format!("/proc/self/fd/{}", memfd.as_raw_fd())).expect("a copy of our own")
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(bytes).into()
}

/// The smallest DLL for x86-64 that carries a manifest.
fn pe_library() -> Vec<u8> {
    let mut bytes = vec![0; 512];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[60] = 64;
    bytes[64..68].copy_from_slice(b"PE\0\0");
    bytes[68..70].copy_from_slice(&0x8664_u16.to_le_bytes());
    bytes[70] = 1;
    bytes[84..86].copy_from_slice(&240_u16.to_le_bytes());
    bytes[86..88].copy_from_slice(&0x2022_u16.to_le_bytes());
    bytes[88..90].copy_from_slice(&0x20b_u16.to_le_bytes());
    bytes[88 + 108] = 16;
    let section = 88 + 240;
    bytes[section..section + 8].copy_from_slice(b".hotshoe");
    for (at, value) in [
        (8, MANIFEST.len()),
        (12, 0x1000),
        (16, MANIFEST.len()),
        (20, 512),
    ] {
        let value = u32::try_from(value).expect("small");
        bytes[section + at..section + at + 4].copy_from_slice(&value.to_le_bytes());
    }
    bytes.extend_from_slice(MANIFEST.as_bytes());
    bytes
}

/// The smallest dylib for Apple's processors that carries a manifest.
fn mach_o_library() -> Vec<u8> {
    let words = |values: &[u32]| {
        values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let long = |value: u64| value.to_le_bytes().to_vec();
    let name = |text: &str| {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(16, 0);
        bytes
    };
    let len = MANIFEST.len() as u64;
    let (command_len, start) = (72 + 80, 32 + 72 + 80);
    [
        words(&[0xfeed_facf, 0x0100_000c, 0, 6, 1, command_len, 0, 0]),
        words(&[0x19, command_len]),
        name("__DATA"),
        [long(0), long(len), long(u64::from(start)), long(len)].concat(),
        words(&[3, 3, 1, 0]),
        name("__hotshoe"),
        name("__DATA"),
        [long(0), long(len)].concat(),
        words(&[start, 0, 0, 0, 0, 0, 0, 0]),
        MANIFEST.as_bytes().to_vec(),
    ]
    .concat()
}
