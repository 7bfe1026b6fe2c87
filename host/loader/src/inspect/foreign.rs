//! PE and Mach-O: platform and manifest, so that `wrong-platform` can say which. Nothing else of them is read.

use super::{Inspection, Platform};
use object::{
    Architecture, BinaryFormat, Object as _, ObjectKind, ObjectSection as _,
    read::{File, FileKind},
};

/// An inspection, if the bytes are a library of another system.
pub(super) fn inspect(bytes: &[u8]) -> Option<Inspection> {
    match FileKind::parse(bytes).ok()? {
        FileKind::Pe32 | FileKind::Pe64 | FileKind::MachO32 | FileKind::MachO64 => library(bytes),
        FileKind::MachOFat32 | FileKind::MachOFat64 => {
            let platform = Platform {
                format: "mach-o",
                os: "macos",
                arch: "several architectures".to_owned(),
                bits: 64,
                endian: "little",
            };
            Some(Inspection::new(bytes.len() as u64, platform))
        }
        _ => None,
    }
}

fn library(bytes: &[u8]) -> Option<Inspection> {
    let file = File::parse(bytes).ok()?;
    if file.kind() != ObjectKind::Dynamic {
        return None;
    }
    let (format, os, section) = match file.format() {
        BinaryFormat::Pe => ("pe", "windows", hotshoe_abi::manifest::SECTION),
        BinaryFormat::MachO => ("mach-o", "macos", "__hotshoe"),
        _ => return None,
    };
    let arch = match file.architecture() {
        Architecture::X86_64 => "x86_64",
        Architecture::I386 => "x86",
        Architecture::Aarch64 => "aarch64",
        Architecture::Arm => "arm",
        _ => "another processor",
    };
    let platform = Platform {
        format,
        os,
        arch: arch.to_owned(),
        bits: if file.is_64() { 64 } else { 32 },
        endian: if file.is_little_endian() {
            "little"
        } else {
            "big"
        },
    };
    let mut inspection = Inspection::new(bytes.len() as u64, platform);
    // A loop of our own: `section_by_name` of a hostile file would compare names of any length.
    const SECTIONS_MAX: usize = 4096;
    for found in file.sections().take(SECTIONS_MAX) {
        if found
            .name_bytes()
            .is_ok_and(|name| name == section.as_bytes())
        {
            inspection.read_manifest(found.data().unwrap_or_default());
            break;
        }
    }
    Some(inspection)
}
