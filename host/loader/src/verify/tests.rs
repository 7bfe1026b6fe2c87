//! Every refusal that the judgement can give, with its text: a change of a word is a change of this table.

use super::*;

const MANIFEST: &str = "HOTSHOE-MANIFEST 1\nname=geoip\nversion=0.3.1\nabi=1.0.0\nsymbol=hotshoe_root_module_geoip\n\
    components=driver\npanic=unwind\nprofile=release\ntarget=x86_64-unknown-linux-gnu\nEND\n";

fn machine() -> Machine {
    let platform = Platform {
        format: "elf",
        os: "linux",
        arch: "x86_64".into(),
        bits: 64,
        endian: "little",
    };
    Machine {
        platform,
        libc: "gnu",
        glibc: Some((2, 36)),
    }
}

/// What a good plugin's inspection says.
fn good() -> Inspection {
    let mut inspection = inspection_of(MANIFEST);
    let size_bytes = size_of::<LibHeader>() as u64;
    inspection.entry = Some(entry(SymbolKind::Data, size_bytes));
    inspection.glibc_needed = Some((2, 34));
    inspection
}

/// A variable that begins like a header.
fn entry(kind: SymbolKind, size_bytes: u64) -> EntrySymbol {
    let header = AbiHeader::VALUE;
    let numbers = [header.abi_major, header.abi_minor].map(u32::to_ne_bytes);
    EntrySymbol {
        kind,
        size_bytes,
        mapped: true,
        addresses: Some(HEADER_ADDRESSES),
        head: [&header.magic_string[..], &numbers[0], &numbers[1]].concat(),
    }
}

fn inspection_of(manifest: &str) -> Inspection {
    let (mut platform, none) = (machine().platform, || None);
    platform.os = "unix";
    Inspection {
        len_bytes: 1000,
        platform,
        manifest: crate::parse_manifest(manifest.as_bytes()).ok(),
        manifest_fault: crate::parse_manifest(manifest.as_bytes()).err(),
        entry: None,
        soname: none(),
        needed: vec!["libc.so.6".to_owned()],
        auxiliary: Vec::new(),
        glibc_needed: None,
        rpath: Vec::new(),
        runpath: Vec::new(),
        uses_origin: false,
        tls_size_bytes: 0,
        static_tls: false,
        exec_stack: false,
        text_relocations: false,
        constructors: 1,
        mapped_bytes: 8192,
        build_id: None,
        compilers: Vec::new(),
        stripped: true,
    }
}

fn judged(inspection: &Inspection, policy: &Policy) -> Result<(), Refusal> {
    judge(
        Path::new("plugins/libgeoip.so"),
        inspection,
        policy,
        &machine(),
    )
}

fn told(refusal: &Refusal) -> String {
    let fix = refusal.fix.as_deref().unwrap_or("-");
    format!(
        "{}: {}\n{}\n{}\n{fix}",
        refusal.code,
        refusal.headline(),
        refusal.wanted,
        refusal.found
    )
}

#[test]
fn a_good_plugin_is_accepted() {
    judged(&good(), &Policy::default()).expect("accepted");
    let mut newer = good();
    let manifest = newer.manifest.as_mut().expect("a manifest");
    manifest.abi = (1, 7, 0);
    judged(&newer, &Policy::default()).expect("a newer minor only appended");
}

type Change = fn(&mut Inspection);

/// What is changed in a good plugin, and what is said about it: code and headline, wanted, found, fix.
const TABLE: &[(Change, &str)] = &[
    (
        |it| it.platform.arch = "aarch64".to_owned(),
        "wrong-platform: plugins/libgeoip.so was built for another platform than this host's\n\
         linux x86_64 (elf, 64 bits, little-endian)\n\
         unix aarch64 (elf, 64 bits, little-endian)\n\
         build the plugin for the platform of this machine",
    ),
    (
        |it| it.platform.os = "freebsd",
        "wrong-platform: plugins/libgeoip.so was built for another platform than this host's\n\
         linux x86_64 (elf, 64 bits, little-endian)\n\
         freebsd x86_64 (elf, 64 bits, little-endian)\n\
         build the plugin for the platform of this machine",
    ),
    (
        |it| *it = inspection_of(&MANIFEST.replace("-gnu", "-musl")),
        "wrong-platform: plugins/libgeoip.so was built for another C library than this host's\n\
         a target that ends in -gnu\n\
         x86_64-unknown-linux-musl\n\
         build the plugin for the target of this host",
    ),
    (
        |it| {
            it.manifest = None;
            it.soname = Some("libz.so.1".to_owned());
        },
        "no-manifest: plugins/libgeoip.so is a shared library, but no Hotshoe plugin\n\
         a manifest in the section .hotshoe, as export_plugin! writes it\n\
         a library that calls itself libz.so.1, without manifest\n\
         name the plugin's own library; its author needs export_plugin! in the crate that is the cdylib",
    ),
    (
        |it| *it = inspection_of(&MANIFEST.replace("MANIFEST 1", "MANIFEST 2")),
        "manifest-invalid: plugins/libgeoip.so has a manifest that this host cannot read\n\
         `HOTSHOE-MANIFEST 1` in the first line\n\
         format `2`\n\
         build the plugin again with an unmodified hotshoe-plugin-api",
    ),
    (
        |it| *it = inspection_of(&MANIFEST.replace("abi=1.0.0", "abi=2.0.0")),
        "abi-too-new: plugins/libgeoip.so was built for a newer ABI than this host speaks\n\
         ABI 1, any minor (this host is built with 1.0.0)\n\
         ABI 2.0.0\n\
         install a build of `geoip` for hotshoe-abi 1.x, or upgrade hotshoe",
    ),
    (
        |it| *it = inspection_of(&MANIFEST.replace("abi=1.0.0", "abi=0.9.1")),
        "abi-too-old: plugins/libgeoip.so was built for an older ABI than this host speaks\n\
         ABI 1, any minor (this host is built with 1.0.0)\n\
         ABI 0.9.1\n\
         build geoip again with hotshoe-abi 1.x",
    ),
    (
        |it| *it = inspection_of(&MANIFEST.replace("panic=unwind", "panic=abort")),
        "panic-abort: plugins/libgeoip.so was built with panic = \"abort\": one panic in it would end the host\n\
         panic = \"unwind\"\n\
         panic = \"abort\"\n\
         build it with panic = \"unwind\", or set isolation = \"process\"",
    ),
    (
        |it| it.glibc_needed = Some((2, 41)),
        "glibc-too-new: plugins/libgeoip.so needs a newer glibc than this machine has\n\
         glibc 2.36 or older\n\
         glibc 2.41\n\
         build it on a system with glibc 2.36 or older, or upgrade this one",
    ),
    (
        |it| it.entry = None,
        "no-entry: plugins/libgeoip.so has no usable entry under the symbol that its manifest names\n\
         a header of 152 bytes under hotshoe_root_module_geoip\n\
         no such symbol\n\
         build the plugin again with an unmodified hotshoe-plugin-api, and keep its dynamic symbols when stripping",
    ),
];

#[test]
fn every_judgement_has_its_text() {
    for (change, text) in TABLE {
        let mut inspection = good();
        change(&mut inspection);
        let refusal = judged(&inspection, &Policy::default()).expect_err(text);
        // The header's length is abi_stable's, on this machine.
        let text = text.replace("152", &size_of::<LibHeader>().to_string());
        assert_eq!(told(&refusal), text);
    }
}

#[test]
fn an_entry_must_be_a_variable_that_is_all_there() {
    let size_bytes = size_of::<LibHeader>() as u64;
    let data = || entry(SymbolKind::Data, size_bytes);
    let mut cases = vec![
        (entry(SymbolKind::Function, size_bytes), "a function"),
        (
            entry(SymbolKind::ThreadLocal, size_bytes),
            "a thread-local variable",
        ),
        (entry(SymbolKind::Data, 8), "a variable of 8 bytes"),
    ];
    let mut add = |change: fn(&mut EntrySymbol), found| {
        let mut entry = data();
        change(&mut entry);
        cases.push((entry, found));
    };
    add(
        |it| it.mapped = false,
        "a variable outside of what is loaded",
    );
    add(
        |it| it.head[..3].copy_from_slice(b"AB\n"),
        "`AB\\n stable library for Rust     ` 0.11",
    );
    add(|it| it.head = vec![0; 40], "`` 0.0");
    add(
        |it| it.head[36] = 12,
        "`abi stable library for Rust     ` 0.12",
    );
    add(
        |it| it.head[32] = 1,
        "`abi stable library for Rust     ` 1.11",
    );
    // Shorter than any header: the file ends in it.
    add(
        |it| it.head.truncate(35),
        "`abi stable library for Rust     ` 0.0",
    );
    add(|it| it.addresses = Some(7), "one with 7");
    for (entry, found) in cases {
        let mut inspection = good();
        inspection.entry = Some(entry);
        let refusal = judged(&inspection, &Policy::default()).expect_err(found);
        assert_eq!(
            (refusal.code, &*refusal.found),
            (RefusalCode::NoEntry, found)
        );
    }
    // Relocations of a kind that is not read are left to the system's loader.
    let mut inspection = good();
    let mut entry = data();
    entry.addresses = None;
    inspection.entry = Some(entry);
    judged(&inspection, &Policy::default()).expect("accepted");
}

#[test]
fn an_aborting_plugin_is_welcome_in_a_process_of_its_own() {
    let mut inspection = good();
    inspection.manifest.as_mut().expect("a manifest").panic = Panic::Abort;
    judged(
        &inspection,
        &Policy {
            in_process: false,
            ..Policy::default()
        },
    )
    .expect("accepted");
}

#[test]
fn an_unknown_glibc_is_left_to_the_loader() {
    let mut inspection = good();
    inspection.glibc_needed = Some((9, 9));
    let unknown = Machine {
        glibc: None,
        ..machine()
    };
    judge(Path::new("x.so"), &inspection, &Policy::default(), &unknown).expect("not judged");
}

#[test]
fn what_is_odd_but_no_reason_to_refuse_is_a_warning() {
    let mut inspection = good();
    let mut warnings = Vec::new();
    warn(&inspection, &mut warnings);
    assert!(warnings.is_empty(), "{warnings:?}");
    inspection.exec_stack = true;
    inspection.text_relocations = true;
    (inspection.static_tls, inspection.tls_size_bytes) = (true, 4096);
    warn(&inspection, &mut warnings);
    assert_eq!(warnings.len(), 3, "{warnings:?}");
}
