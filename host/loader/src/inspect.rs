//! Reads a library's bytes without running anything: what it is, what it says about itself, what it needs.
//!
//! The bytes are hostile until proven otherwise. Every offset is checked, every count has a limit, nothing is recursive, and
//! work grows at most linearly with the file. Where the loader of the system and a section table could disagree, this
//! reads what the loader reads: program headers and the dynamic segment. It judges nothing; `verify` does.

mod elf;
mod foreign;

use crate::{
    describe::describe,
    error::{RefusalCode, printable},
    manifest::{Manifest, ManifestFault},
};
use serde::Serialize;
use std::fmt;

pub(crate) use elf::glibc_version_of;

/// What a machine must be to run a library, as far as the file's headers say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Platform {
    /// `elf`, `pe` or `mach-o`.
    pub format: &'static str,
    /// `linux`, `windows`, `macos`, …; `unix` where an ELF file does not say which.
    pub os: &'static str,
    /// The processor under Rust's name for it, or `machine 0x…`.
    pub arch: String,
    /// 32 or 64.
    pub bits: u8,
    /// `little` or `big`.
    pub endian: &'static str,
}

impl Platform {
    /// The platform of the running program.
    #[must_use]
    pub fn host() -> Self {
        Self {
            format: if cfg!(windows) {
                "pe"
            } else if cfg!(target_vendor = "apple") {
                "mach-o"
            } else {
                "elf"
            },
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH.to_owned(),
            bits: if cfg!(target_pointer_width = "64") {
                64
            } else {
                32
            },
            endian: if cfg!(target_endian = "little") {
                "little"
            } else {
                "big"
            },
        }
    }

    /// Whether a library of this platform can run on `host`. An ELF file that names no system fits every ELF system.
    #[must_use]
    pub fn runs_on(&self, host: &Self) -> bool {
        let os = self.os == host.os || (self.os == "unix" && host.format == "elf");
        os && (self.format, &self.arch, self.bits, self.endian)
            == (host.format, &host.arch, host.bits, host.endian)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            format,
            os,
            arch,
            bits,
            endian,
        } = self;
        write!(out, "{os} {arch} ({format}, {bits} bits, {endian}-endian)")
    }
}

/// What a library's bytes say. Serializable for `hotshoe inspect --json`; fields are only ever added.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// Bytes in the file.
    pub len_bytes: u64,
    /// Where it can run.
    pub platform: Platform,
    /// What it says about itself; `None` also where [`Inspection::manifest_fault`] says why.
    pub manifest: Option<Manifest>,
    /// A manifest is there and cannot be read.
    pub manifest_fault: Option<ManifestFault>,
    /// What stands under the symbol that the manifest names.
    pub entry: Option<EntrySymbol>,
    /// The name that the library gives itself (DT_SONAME).
    pub soname: Option<String>,
    /// The libraries it names (DT_NEEDED, DT_FILTER), in order.
    pub needed: Vec<String>,
    /// Those that it takes where they are there, and does without where they are not (DT_AUXILIARY).
    pub auxiliary: Vec<String>,
    /// The newest glibc version that it names.
    pub glibc_needed: Option<(u32, u32)>,
    /// Where it wants its libraries looked for first (DT_RPATH), as written.
    pub rpath: Vec<String>,
    /// The same, after LD_LIBRARY_PATH (DT_RUNPATH).
    pub runpath: Vec<String>,
    /// One of them begins at the library's own folder.
    pub uses_origin: bool,
    /// Thread-local storage, bytes per thread.
    pub tls_size_bytes: u64,
    /// It wants that storage in the block that a process sets aside at its start (DF_STATIC_TLS).
    pub static_tls: bool,
    /// It wants an executable stack.
    pub exec_stack: bool,
    /// Loading it writes to its code (DT_TEXTREL).
    pub text_relocations: bool,
    /// Functions that run inside `dlopen`.
    pub constructors: u64,
    /// Bytes of address space.
    pub mapped_bytes: u64,
    /// The linker's build id, hexadecimal.
    pub build_id: Option<String>,
    /// What compilers wrote into `.comment`, at most eight.
    pub compilers: Vec<String>,
    /// The full symbol table is gone.
    pub stripped: bool,
}

/// A symbol as the system's loader would find it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EntrySymbol {
    /// What it is.
    pub kind: SymbolKind,
    /// Bytes it covers.
    pub size_bytes: u64,
    /// All of it lies in bytes of the file that are mapped.
    pub mapped: bool,
    /// How many of its words become addresses of the library itself when it is loaded; `None` where that is not known.
    pub addresses: Option<u64>,
    /// Its first bytes as they stand in the file, at most 64.
    #[serde(skip)]
    pub head: Vec<u8>,
}

/// What a symbol is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SymbolKind {
    /// A variable.
    Data,
    /// A function.
    Function,
    /// A thread-local variable.
    ThreadLocal,
    /// Something else.
    Other,
}

impl fmt::Display for SymbolKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Data => "a variable",
            Self::Function => "a function",
            Self::ThreadLocal => "a thread-local variable",
            Self::Other => "no variable",
        })
    }
}

/// Why bytes cannot be read as a library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InspectFault {
    /// They are something else.
    NotALibrary {
        /// What they are instead: `a script (#!/bin/sh)`.
        what: String,
    },
    /// They end too early.
    Truncated {
        /// Bytes that the headers promise.
        wanted_bytes: u64,
        /// Bytes that are there.
        found_bytes: u64,
    },
    /// The headers contradict themselves.
    Malformed {
        /// How.
        what: String,
    },
}

impl InspectFault {
    /// The refusal's code.
    #[must_use]
    pub const fn code(&self) -> RefusalCode {
        match self {
            Self::NotALibrary { .. } | Self::Malformed { .. } => RefusalCode::NotALibrary,
            Self::Truncated { .. } => RefusalCode::Truncated,
        }
    }
}

impl fmt::Display for InspectFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotALibrary { what } => write!(out, "is {what}"),
            Self::Truncated {
                wanted_bytes,
                found_bytes,
            } => {
                write!(out, "ends after {found_bytes} of {wanted_bytes} bytes")
            }
            Self::Malformed { what } => write!(out, "has broken headers: {what}"),
        }
    }
}

impl std::error::Error for InspectFault {}

/// Reads a library. Pure: it opens nothing, runs nothing, and never panics, whatever the bytes are.
///
/// An ELF library is read in full; of a PE or Mach-O library only platform and manifest.
///
/// # Errors
/// The bytes are no shared library, or not all of one.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, InspectFault> {
    const ELF: &[u8] = b"\x7fELF";
    if bytes.starts_with(ELF) {
        return elf::inspect(bytes);
    }
    if !bytes.is_empty() && ELF.starts_with(bytes) {
        return Err(InspectFault::Truncated {
            wanted_bytes: 64,
            found_bytes: bytes.len() as u64,
        });
    }
    match foreign::inspect(bytes) {
        Some(inspection) => Ok(inspection),
        None => Err(InspectFault::NotALibrary {
            what: describe(bytes),
        }),
    }
}

impl Inspection {
    /// An inspection that says nothing yet but what kind of file it is.
    fn new(len_bytes: u64, platform: Platform) -> Self {
        Self {
            len_bytes,
            platform,
            manifest: None,
            manifest_fault: None,
            entry: None,
            soname: None,
            needed: Vec::new(),
            auxiliary: Vec::new(),
            glibc_needed: None,
            rpath: Vec::new(),
            runpath: Vec::new(),
            uses_origin: false,
            tls_size_bytes: 0,
            static_tls: false,
            exec_stack: false,
            text_relocations: false,
            constructors: 0,
            mapped_bytes: 0,
            build_id: None,
            compilers: Vec::new(),
            stripped: false,
        }
    }

    /// What the library is, to follow "is".
    #[must_use]
    pub fn what(&self) -> String {
        match (&self.manifest, &self.manifest_fault, &self.soname) {
            (Some(manifest), _, _) => {
                let Manifest {
                    name,
                    version,
                    components,
                    ..
                } = manifest;
                format!(
                    "the Hotshoe plugin {name} {version} ({components}), built for ABI {}",
                    manifest.abi_text()
                )
            }
            (None, Some(_), _) => "a Hotshoe plugin whose manifest cannot be read".to_owned(),
            (None, None, Some(soname)) => {
                format!("a library that calls itself {soname}, without manifest")
            }
            (None, None, None) => "a library without manifest".to_owned(),
        }
    }

    /// Takes in the manifest's section.
    fn read_manifest(&mut self, section: &[u8]) {
        // Far more than a manifest, so that a second one in the same section is seen; still bounded.
        const SECTION_BYTES_MAX: usize = 64 * 1024;
        match crate::manifest::parse_manifest(&section[..section.len().min(SECTION_BYTES_MAX)]) {
            Ok(manifest) => self.manifest = Some(manifest),
            Err(fault) => self.manifest_fault = Some(fault),
        }
    }
}

/// A NUL-terminated text at `offset`, as a string for people. Longer than a path can be is no name.
fn text_at(table: &[u8], offset: u64) -> Option<String> {
    const TEXT_BYTES_MAX: usize = 4096;
    let rest = table.get(usize::try_from(offset).ok()?..)?;
    let head = &rest[..rest.len().min(TEXT_BYTES_MAX)];
    let end = head.iter().position(|&b| b == 0)?;
    match std::str::from_utf8(&head[..end]) {
        Ok(text) if !text.chars().any(char::is_control) => Some(text.to_owned()),
        _ => Some(printable(&head[..end])),
    }
}
