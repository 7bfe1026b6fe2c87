//! Decides whether a library may be opened, and holds on to the bytes it decided about.
//!
//! A file is opened once and read once; what was read is inspected, judged and staged. Nothing here trusts the path twice,
//! nothing runs the library, and a file that is no library is not read to its end. The judgement itself is a pure function
//! of the inspection, the policy and the machine.

mod names;
mod needs;
mod read;
#[cfg(target_os = "linux")]
mod writers;

use crate::{
    describe::describe,
    error::{Refusal, RefusalCode, list, printable, printable_path},
    inspect::{EntrySymbol, InspectFault, Inspection, Platform, SymbolKind, inspect},
    machine::glibc_version,
    manifest::{Manifest, Panic},
    signature::Subject,
    stage::{Staged, Staging, stage},
};
use hotshoe_abi::{
    ABI_MAJOR, ABI_VERSION,
    abi_stable::library::{AbiHeader, LibHeader},
};
pub use names::Clash;
use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

/// What a library is measured by, beside the contract.
#[derive(Debug, Clone)]
pub struct Policy {
    /// It is to run in this process: then a panic of it must unwind.
    pub in_process: bool,
    /// A file or folder that everybody may change is taken all the same.
    pub allow_writable: bool,
    /// Larger files are refused unread.
    pub len_bytes_max: u64,
    /// Where the copy is made that will run.
    pub staging: Staging,
}

impl Default for Policy {
    /// In-process, nothing writable by others, 1 GiB, in memory.
    fn default() -> Self {
        Self {
            in_process: true,
            allow_writable: false,
            len_bytes_max: 1 << 30,
            staging: Staging::Memfd,
        }
    }
}

/// A library that may be opened. Not one instruction of it has run.
#[derive(Debug)]
pub struct Verified {
    /// The path it was read from.
    pub path: PathBuf,
    /// What it says about itself.
    pub manifest: Manifest,
    /// What its bytes say.
    pub inspection: Inspection,
    /// What an operator should know though nothing is refused for it; one line each.
    pub warnings: Vec<String>,
    /// The copy that will be opened.
    pub staged: Staged,
    /// What the system's loader joins by name.
    pub(crate) names: names::Names,
}

impl Verified {
    /// The plugin declares the component that the configuration needs.
    ///
    /// # Errors
    /// [`RefusalCode::MissingComponent`].
    pub fn require(&self, component: &str) -> Result<(), Refusal> {
        let declared = &self.manifest.components;
        if declared.has(component) {
            return Ok(());
        }
        Err(Refusal::new(
            RefusalCode::MissingComponent,
            &self.path,
            format!("has no {component}"),
            format!("a plugin that declares a {component}"),
            format!(
                "{} {} declares {declared}",
                self.manifest.name, self.manifest.version
            ),
        )
        .fix(format!(
            "name another plugin, or declare it: export_plugin!(…: {component})"
        )))
    }
}

/// Reads and inspects a file, as [`verify`] does, without judging it: what a library says that a host would refuse.
///
/// # Errors
/// The file cannot be read, or is no library, or not all of one. Who may write to it is asked as by [`verify`].
pub fn look(path: &Path, policy: &Policy) -> Result<Inspection, Refusal> {
    let bytes = read::read(path, policy)?.bytes;
    inspect(&bytes).map_err(|fault| refuse_fault(path, fault))
}

/// Reads, inspects, judges and stages a library.
///
/// # Errors
/// The first reason not to load it.
pub fn verify(path: &Path, policy: &Policy) -> Result<Verified, Refusal> {
    let read::Reading {
        bytes,
        mut warnings,
    } = read::read(path, policy)?;
    let inspection = inspect(&bytes).map_err(|fault| refuse_fault(path, fault))?;
    judge(path, &inspection, policy, &Machine::this())?;
    let needs = needs::resolve(path, &inspection, policy)?;
    warn(&inspection, &mut warnings);
    warnings.extend(needs.warnings.iter().cloned());
    let staged = stage(path, &bytes, &needs.neighbours, &policy.staging)?;
    let names = names::Names::of(&inspection, &needs, &staged);
    let manifest = inspection
        .manifest
        .clone()
        .expect("judge refuses what has no manifest");
    Ok(Verified {
        path: path.to_path_buf(),
        manifest,
        inspection,
        warnings,
        staged,
        names,
    })
}

/// Verifies several libraries at once: reading, digesting and copying is work for every core. Answers in the order asked.
///
/// - `verify`: finds and verifies one; called once for each, by any of several threads.
pub fn verify_all<T: Sync>(
    wanted: &[T],
    verify: impl Fn(&T) -> Result<Verified, Refusal> + Sync,
) -> Vec<Result<Verified, Refusal>> {
    /// Each holds a library in memory, and disks get no faster by more.
    const THREADS_MAX: usize = 8;
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut answers = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            match wanted.get(index) {
                Some(one) => answers.push((index, verify(one))),
                None => return answers,
            }
        }
    };
    let mut answers = thread::scope(|scope| {
        let helpers: Vec<_> = (1..cores.min(THREADS_MAX).min(wanted.len()))
            // Where no more threads are to be had, those that there are do all of it.
            .filter_map(|_| thread::Builder::new().spawn_scoped(scope, work).ok())
            .collect();
        let mut answers = work();
        for helper in helpers {
            match helper.join() {
                Ok(more) => answers.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        answers
    });
    answers.sort_unstable_by_key(|(index, _)| *index);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// What a signature of this file is about. The file is read and inspected, not judged: it may be for another machine.
///
/// # Errors
/// It cannot be read, or is no plugin.
pub fn subject(path: &Path) -> Result<Subject, Refusal> {
    let policy = Policy {
        allow_writable: true,
        ..Policy::default()
    };
    let bytes = read::read(path, &policy)?.bytes;
    let inspection = inspect(&bytes).map_err(|fault| refuse_fault(path, fault))?;
    let manifest = judge_manifest(path, &inspection)?;
    Ok(Subject::of_bytes(&bytes, manifest))
}

/// What the judgement needs to know of the machine.
struct Machine {
    platform: Platform,
    libc: &'static str,
    glibc: Option<(u32, u32)>,
}

impl Machine {
    fn this() -> Self {
        let libc = if cfg!(target_os = "android") {
            "android"
        } else if cfg!(target_env = "gnu") {
            "gnu"
        } else if cfg!(target_env = "musl") {
            "musl"
        } else {
            ""
        };
        Self {
            platform: Platform::host(),
            libc,
            glibc: glibc_version(),
        }
    }
}

fn refuse_fault(path: &Path, fault: InspectFault) -> Refusal {
    let predicate = fault.to_string();
    match fault {
        InspectFault::NotALibrary { what } => not_a_library(path, &what),
        InspectFault::Truncated {
            wanted_bytes,
            found_bytes,
        } => Refusal::new(
            RefusalCode::Truncated,
            path,
            "is cut off: it ends before what its own headers promise",
            format!("{wanted_bytes} bytes"),
            format!("{found_bytes} bytes"),
        )
        .fix("copy it again, to another name, and rename it when the copy is complete"),
        InspectFault::Malformed { what } => Refusal::new(
            RefusalCode::NotALibrary,
            path,
            predicate,
            "a shared library as a linker writes it",
            what,
        )
        .fix("build or copy it again"),
    }
}

fn not_a_library(path: &Path, what: &str) -> Refusal {
    Refusal::new(
        RefusalCode::NotALibrary,
        path,
        format!("is {what}"),
        "a shared library, as cargo builds it from a crate with crate-type = [\"cdylib\"]",
        what,
    )
    .fix("name the plugin's own library in `library`")
}

/// Judges what the file's bytes say. Pure.
fn judge(
    path: &Path,
    inspection: &Inspection,
    policy: &Policy,
    machine: &Machine,
) -> Result<(), Refusal> {
    judge_platform(path, &inspection.platform, machine)?;
    let manifest = judge_manifest(path, inspection)?;
    judge_target(path, manifest, machine)?;
    judge_abi(path, manifest)?;
    if policy.in_process && manifest.panic == Panic::Abort {
        return Err(Refusal::new(
            RefusalCode::PanicAbort,
            path,
            "was built with panic = \"abort\": one panic in it would end the host",
            "panic = \"unwind\"",
            "panic = \"abort\"",
        )
        .fix("build it with panic = \"unwind\", or set isolation = \"process\""));
    }
    judge_glibc(path, inspection, machine)?;
    judge_entry(path, manifest, inspection.entry.as_ref())
}

fn judge_platform(path: &Path, platform: &Platform, machine: &Machine) -> Result<(), Refusal> {
    if platform.runs_on(&machine.platform) {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalCode::WrongPlatform,
        path,
        "was built for another platform than this host's",
        machine.platform.to_string(),
        platform.to_string(),
    )
    .fix("build the plugin for the platform of this machine"))
}

fn judge_manifest<'a>(path: &Path, inspection: &'a Inspection) -> Result<&'a Manifest, Refusal> {
    if let Some(manifest) = &inspection.manifest {
        return Ok(manifest);
    }
    if let Some(fault) = &inspection.manifest_fault {
        return Err(Refusal::new(
            RefusalCode::ManifestInvalid,
            path,
            "has a manifest that this host cannot read",
            &*fault.wanted,
            &*fault.found,
        )
        .fix("build the plugin again with an unmodified hotshoe-plugin-api"));
    }
    Err(Refusal::new(
        RefusalCode::NoManifest,
        path,
        "is a shared library, but no Hotshoe plugin",
        format!("a manifest in the section {}, as export_plugin! writes it", hotshoe_abi::manifest::SECTION),
        inspection.what(),
    )
    .fix("name the plugin's own library; its author needs export_plugin! in the crate that is the cdylib"))
}

/// The same processor and system may still have another C library.
fn judge_target(path: &Path, manifest: &Manifest, machine: &Machine) -> Result<(), Refusal> {
    const LIBCS: [&str; 5] = ["gnu", "musl", "android", "ohos", "uclibc"];
    let environment = manifest.target.rsplit('-').next().unwrap_or_default();
    let theirs = LIBCS.into_iter().find(|libc| environment.starts_with(libc));
    match theirs {
        Some(theirs) if !machine.libc.is_empty() && theirs != machine.libc => Err(Refusal::new(
            RefusalCode::WrongPlatform,
            path,
            "was built for another C library than this host's",
            format!("a target that ends in -{}", machine.libc),
            &*manifest.target,
        )
        .fix("build the plugin for the target of this host")),
        _ => Ok(()),
    }
}

fn judge_abi(path: &Path, manifest: &Manifest) -> Result<(), Refusal> {
    let major = manifest.abi.0;
    if major == ABI_MAJOR {
        return Ok(());
    }
    let (code, predicate, fix) = if major > ABI_MAJOR {
        (
            RefusalCode::AbiTooNew,
            "was built for a newer ABI than this host speaks",
            format!(
                "install a build of `{}` for hotshoe-abi {ABI_MAJOR}.x, or upgrade hotshoe",
                manifest.name
            ),
        )
    } else {
        (
            RefusalCode::AbiTooOld,
            "was built for an older ABI than this host speaks",
            format!(
                "build {} again with hotshoe-abi {ABI_MAJOR}.x",
                manifest.name
            ),
        )
    };
    Err(Refusal::new(
        code,
        path,
        predicate,
        format!("ABI {ABI_MAJOR}, any minor (this host is built with {ABI_VERSION})"),
        format!("ABI {}", manifest.abi_text()),
    )
    .fix(fix))
}

fn judge_glibc(path: &Path, inspection: &Inspection, machine: &Machine) -> Result<(), Refusal> {
    match (inspection.glibc_needed, machine.glibc) {
        (Some(needed), Some(here)) if needed > here => Err(Refusal::new(
            RefusalCode::GlibcTooNew,
            path,
            "needs a newer glibc than this machine has",
            format!("glibc {}.{} or older", here.0, here.1),
            format!("glibc {}.{}", needed.0, needed.1),
        )
        .fix(format!(
            "build it on a system with glibc {}.{} or older, or upgrade this one",
            here.0, here.1
        ))),
        _ => Ok(()),
    }
}

/// The header is read right after `dlopen`: it must be there, be data, and be all there.
fn judge_entry(
    path: &Path,
    manifest: &Manifest,
    entry: Option<&EntrySymbol>,
) -> Result<(), Refusal> {
    // Only ELF symbols are read; another format's loader answers for them.
    if cfg!(not(target_os = "linux")) && entry.is_none() {
        return Ok(());
    }
    let header_len = size_of::<LibHeader>() as u64;
    let found = match entry {
        None => "no such symbol".to_owned(),
        Some(entry) if entry.kind != SymbolKind::Data => entry.kind.to_string(),
        Some(entry) if entry.size_bytes < header_len => {
            format!("a variable of {} bytes", entry.size_bytes)
        }
        Some(entry) if !entry.mapped => "a variable outside of what is loaded".to_owned(),
        Some(entry) => return judge_header(path, entry),
    };
    Err(Refusal::new(
        RefusalCode::NoEntry,
        path,
        "has no usable entry under the symbol that its manifest names",
        format!("a header of {header_len} bytes under {}", manifest.symbol),
        found,
    )
    .fix("build the plugin again with an unmodified hotshoe-plugin-api, and keep its dynamic symbols when stripping"))
}

/// What `handshake` asks of the header's first bytes, and that the rest of it can be pointers: it follows them.
fn judge_header(path: &Path, entry: &EntrySymbol) -> Result<(), Refusal> {
    let refuse = |wanted: String, found: String| {
        Err(Refusal::new(
            RefusalCode::NoEntry,
            path,
            "has something else than a plugin's header under the symbol that its manifest names",
            wanted,
            found,
        )
        .fix("build the plugin again with an unmodified hotshoe-plugin-api"))
    };
    let ours = AbiHeader::VALUE;
    let number = |at: usize| {
        let bytes = entry.head.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_ne_bytes(bytes))
    };
    let magic_len = ours.magic_string.len();
    let magic = entry.head.get(..magic_len).unwrap_or_default();
    let version = (number(magic_len), number(magic_len + 4));
    // Before 1.0 a minor is as good as a major.
    let minor = (ours.abi_major == 0).then_some(ours.abi_minor);
    let fits = version.0 == Some(ours.abi_major) && minor.is_none_or(|it| version.1 == Some(it));
    if magic != ours.magic_string || !fits {
        let words = magic.split(|&byte| byte == 0).next().unwrap_or_default();
        let (major, minor) = (version.0.unwrap_or_default(), version.1.unwrap_or_default());
        return refuse(
            format!(
                "the header of abi_stable {}.{}",
                ours.abi_major, ours.abi_minor
            ),
            format!("`{}` {major}.{minor}", printable(words)),
        );
    }
    match entry.addresses {
        Some(found) if found < HEADER_ADDRESSES => refuse(
            format!("a header with {HEADER_ADDRESSES} addresses in it"),
            format!("one with {found}"),
        ),
        _ => Ok(()),
    }
}

/// Pointers in a header of abi_stable 0.11, none of them null: texts, the layout, functions.
const HEADER_ADDRESSES: u64 = 8;

fn warn(inspection: &Inspection, warnings: &mut Vec<String>) {
    if inspection.exec_stack {
        warnings.push("asks for an executable stack".to_owned());
    }
    if inspection.text_relocations {
        warnings.push("writes to its own code while it is loaded (text relocations)".to_owned());
    }
    if inspection.static_tls && inspection.tls_size_bytes > 0 {
        warnings.push(format!(
            "takes {} bytes of the thread-local storage that a process sets aside at its start",
            inspection.tls_size_bytes
        ));
    }
}

#[cfg(test)]
mod tests;
