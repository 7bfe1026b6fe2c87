//! From an opened library to its root module: the header, the layout of every type on both sides, the module.
//!
//! abi_stable's own entry points are singletons per type and compare layouts in one direction only; this does the same steps
//! once per copy, in both directions. It calls two functions of the library: the header's constants and its constructor of
//! the module. It never calls `create`.
#![expect(
    unsafe_code,
    reason = "the module is initialised after a layout check of our own, in both directions"
)]

use crate::{
    error::{Refusal, RefusalCode, printable, printable_path},
    inspect::Inspection,
    manifest::Manifest,
    open::{OpenFault, open},
    verify::Verified,
};
use hotshoe_abi::{
    ABI_VERSION, Capability, PluginModuleRef,
    abi_stable::{
        StableAbi,
        abi_stability::abi_checking::{
            AbiInstability, AbiInstabilityErrors, ExpectedFound, check_layout_compatibility,
        },
        library::{AbiHeaderRef, LibHeader, LibraryError},
        type_layout::{TLFieldOrFunction, TypeLayout},
    },
};
use std::path::{Path, PathBuf};

/// An opened library. It stays in the process for ever, dropped or not.
#[derive(Clone)]
pub struct Library {
    /// What it exports.
    pub module: PluginModuleRef,
    /// What it says about itself.
    pub manifest: Manifest,
    /// What its bytes say.
    pub inspection: Inspection,
    /// Where its bytes came from; the file there may be another by now.
    pub path: PathBuf,
    /// What an operator should know; one line each.
    pub warnings: Vec<String>,
    /// The private folder that holds the copy, where it is not in memory: to be removed when the process ends.
    pub folder: Option<PathBuf>,
}

impl Library {
    /// Whether the library has what a later ABI appended: a comparison with the minor that its manifest states, which the
    /// handshake found in its header as well. Without asking, a method that it lacks answers `unsupported`.
    #[inline]
    #[must_use]
    pub const fn has(&self, capability: Capability) -> bool {
        capability.since_minor <= self.manifest.abi.1
    }
}

impl std::fmt::Debug for Library {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { manifest, path, .. } = self;
        out.debug_struct("Library")
            .field("manifest", manifest)
            .field("path", path)
            .finish_non_exhaustive()
    }
}

/// Opens a verified library for an instance and shakes hands. Its constructors run here, on this thread; one that never
/// returns keeps the caller, so a caller with a deadline calls it from a thread that it can do without.
///
/// # Errors
/// The system's loader refuses it, or the types on both sides of the ABI differ. What was opened then stays opened, unused.
pub fn load(verified: Verified, instance: &str) -> Result<Library, Refusal> {
    let Verified {
        path,
        manifest,
        inspection,
        warnings,
        staged,
        names: _,
    } = verified;
    let staged_path = staged.path();
    let header = match open(&staged_path, &manifest.symbol) {
        Ok(header) => header,
        Err(OpenFault::NotOpened(words)) => {
            return Err(not_opened(&path, &staged_path, &words).for_instance(instance));
        }
        Err(OpenFault::NoSymbol(words)) => {
            staged.keep();
            return Err(no_symbol(&path, &manifest.symbol, &words).for_instance(instance));
        }
    };
    // Kept before the handshake: also a library that is refused from here on stays mapped.
    let folder = staged.keep();
    let module = shake(&path, header, &manifest.abi_text())
        .map_err(|refusal| refusal.for_instance(instance))?;
    Ok(Library {
        module,
        manifest,
        inspection,
        path,
        warnings,
        folder,
    })
}

/// A copy that another process has verified, as it reaches this one.
#[derive(Debug)]
pub enum Copy {
    /// A sealed memfd. Its descriptor is kept for ever, as [`load`] keeps its own.
    #[cfg(unix)]
    Memory(std::os::fd::OwnedFd),
    /// A file in a private folder, which whoever made it removes.
    File(PathBuf),
}

/// Opens a copy that was verified elsewhere and shakes hands: what a process does that holds one plugin for another.
///
/// - `path`: the file that the operator named, for messages.
/// - `symbol`, `abi`: what the manifest says, as it was verified.
///
/// # Errors
/// As [`load`]'s.
pub fn load_copy(
    copy: Copy,
    path: &Path,
    symbol: &str,
    abi: &str,
    instance: &str,
) -> Result<PluginModuleRef, Refusal> {
    let copy = match copy {
        #[cfg(unix)]
        Copy::Memory(memfd) => {
            use std::os::fd::IntoRawFd as _;
            PathBuf::from(format!("/proc/self/fd/{}", memfd.into_raw_fd()))
        }
        Copy::File(file) => file,
    };
    let opened = open(&copy, symbol).map_err(|fault| match fault {
        OpenFault::NotOpened(words) => not_opened(path, &copy, &words),
        OpenFault::NoSymbol(words) => no_symbol(path, symbol, &words),
    });
    opened
        .and_then(|header| shake(path, header, abi))
        .map_err(|refusal| refusal.for_instance(instance))
}

/// The loader's prose, turned into what an operator can act on.
fn not_opened(path: &Path, staged_path: &Path, words: &str) -> Refusal {
    let words = printable(
        words
            .replace(&*staged_path.to_string_lossy(), &path.to_string_lossy())
            .as_bytes(),
    );
    let refuse = |code, predicate: &str, wanted: &str| {
        Refusal::new(code, path, predicate, wanted, &*words).detail(&*words)
    };
    if words.contains("static TLS") {
        return refuse(
            RefusalCode::TooLarge,
            "needs more of the process's thread-local storage than is left",
            "a library without static TLS, or fewer of them",
        )
        .fix("build it without -ftls-model=initial-exec, or run it with isolation = \"process\"");
    }
    if words.contains("version `GLIBC_") {
        return refuse(
            RefusalCode::GlibcTooNew,
            "needs a newer glibc than this machine has",
            "this machine's glibc",
        )
        .fix("build it on the oldest system it shall run on");
    }
    if words.contains("undefined symbol")
        || words.contains("cannot open shared object")
        || words.contains("version `")
    {
        return refuse(
            RefusalCode::MissingDependency,
            "needs a library or a symbol that this machine does not have",
            "every library and symbol that it names",
        )
        .fix("install the library, in the version that the plugin was built with");
    }
    if words.contains("failed to map segment") && forbids_execution(staged_path) {
        let folder = staged_path.parent().unwrap_or(staged_path);
        return refuse(
            RefusalCode::Unreadable,
            "cannot run from the folder that its copy lies in, which is mounted noexec",
            &format!("a folder to run code from, not {}", printable_path(folder)),
        )
        .fix(
            "name another folder for the host's run_dir (RUNTIME_DIRECTORY, XDG_RUNTIME_DIR), or set stage = \"memfd\" for this plugin",
        );
    }
    refuse(
        RefusalCode::NotALibrary,
        "was refused by the system's loader",
        "a library that the system can open",
    )
    .fix("build or copy it again")
}

/// Whether nothing of the file's file system may be run, as far as can be told.
fn forbids_execution(file: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{StatVfsMountFlags, statvfs};
        statvfs(file).is_ok_and(|about| about.f_flag.contains(StatVfsMountFlags::NOEXEC))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        false
    }
}

fn no_symbol(path: &Path, symbol: &str, words: &str) -> Refusal {
    Refusal::new(
        RefusalCode::NoEntry,
        path,
        "has no usable entry under the symbol that its manifest names",
        format!("a header under {symbol}"),
        printable(words.as_bytes()),
    )
    .fix("build the plugin again with an unmodified hotshoe-plugin-api")
}

fn shake(path: &Path, header: AbiHeaderRef, abi: &str) -> Result<PluginModuleRef, Refusal> {
    if !header.is_valid() {
        return Err(Refusal::new(
            RefusalCode::NoEntry,
            path,
            "has something else than a plugin's header under the symbol that its manifest names",
            "the header of abi_stable 0.11",
            format!(
                "`{}` {}.{}",
                printable(
                    header
                        .magic_string
                        .split(|&b| b == 0)
                        .next()
                        .unwrap_or_default()
                ),
                header.abi_major,
                header.abi_minor
            ),
        )
        .fix("build the plugin again with an unmodified hotshoe-plugin-api"));
    }
    let header = header.upgrade().map_err(|error| broken(path, &error))?;
    let theirs = header.version_strings().version.as_str();
    // The numbers alone: a pre-release's name is not the ABI's.
    if theirs.split(['-', '+']).next() != Some(abi) {
        return Err(Refusal::new(
            RefusalCode::ManifestInvalid,
            path,
            "says one ABI version in its manifest and another in its header",
            format!("ABI {abi} twice"),
            format!("ABI {} in the header", printable(theirs.as_bytes())),
        )
        .fix("build the plugin again with an unmodified hotshoe-plugin-api"));
    }
    compare(path, header)?;
    // SAFETY: the layouts were compared just above and one direction holds: the older side's types are a prefix of the
    // newer's, method by method and field by field, and what is missing is asked for as an option.
    let module = unsafe { header.init_root_module_with_unchecked_layout::<PluginModuleRef>() };
    module.map_err(|error| broken(path, &error))
}

/// Compares the types in both directions: a newer host accepts an older library by the one, an older host a newer library by
/// the other (PITFALLS, tried).
fn compare(path: &Path, header: &'static LibHeader) -> Result<(), Refusal> {
    let Some(theirs) = header.layout() else {
        return Err(mismatch(
            path,
            "the layout of its types",
            "none: it was left out when the library was built".to_owned(),
        ));
    };
    let package = <hotshoe_abi::Task as StableAbi>::LAYOUT.package();
    compare_layouts(
        path,
        package.as_str(),
        <PluginModuleRef as StableAbi>::LAYOUT,
        theirs,
    )
}

/// What [`load`] does with the types of both sides, reachable for tests that have changed ones: 0.1 ms where they fit.
/// `package` is the crate whose types are named to whoever reads the refusal; what others define is plumbing.
///
/// # Errors
/// No direction holds: the first difference, as one line that names type and member; `detail` is the whole comparison.
#[doc(hidden)]
pub fn compare_layouts(
    path: &Path,
    package: &str,
    ours: &'static TypeLayout,
    theirs: &'static TypeLayout,
) -> Result<(), Refusal> {
    let Err(forward) = check_layout_compatibility(ours, theirs) else {
        return Ok(());
    };
    let Err(backward) = check_layout_compatibility(theirs, ours) else {
        return Ok(());
    };
    Err(mismatch(
        path,
        &format!("the types of hotshoe-abi {ABI_VERSION}"),
        first_difference(package, &forward),
    )
    .detail(format!(
        "as this host sees it:\n{forward}\n\nas the library sees it:\n{backward}"
    )))
}

fn mismatch(path: &Path, wanted: &str, found: String) -> Refusal {
    Refusal::new(
        RefusalCode::LayoutMismatch,
        path,
        "was built with types that do not fit this host's",
        wanted,
        found,
    )
    .fix("build the plugin again with an unmodified hotshoe-abi; --verbose prints the whole comparison")
}

fn broken(path: &Path, error: &LibraryError) -> Refusal {
    let text = error.to_string();
    let first = text
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("no reason given")
        .trim();
    Refusal::new(
        RefusalCode::LayoutMismatch,
        path,
        "failed the handshake",
        "a root module",
        printable(first.as_bytes()),
    )
    .fix("build the plugin again with an unmodified hotshoe-plugin-api")
    .detail(text)
}

/// Type, field and difference in one line, out of abi_stable's up to two thousand.
fn first_difference(package: &str, errors: &AbiInstabilityErrors) -> String {
    // A size says least, and follows from the others.
    let says_more = |error: &&AbiInstability| {
        !matches!(
            error,
            AbiInstability::Size(_) | AbiInstability::Alignment(_)
        )
    };
    let listed = &errors.errors;
    // The innermost difference is found first; what encloses it differs only because of it.
    let telling = listed
        .iter()
        .find_map(|error| Some((error, error.errs.iter().find(says_more)?)));
    let any = || {
        listed
            .iter()
            .find_map(|error| Some((error, error.errs.first()?)))
    };
    let Some((error, telling)) = telling.or_else(any) else {
        return "a difference that the comparison does not name".to_owned();
    };
    let place = place(package, errors.interface, &error.stack_trace);
    printable(format!("{place}: {}", difference(telling)).as_bytes())
}

/// `Proposal (in Checker.check)` or `Task.epoch`, out of the way that the comparison went: through vtables, function pointers
/// and answers, which are nobody's business here.
fn place(
    package: &str,
    root: &'static TypeLayout,
    way: &[ExpectedFound<TLFieldOrFunction>],
) -> String {
    let plumbing = |name: &str| {
        let generated = ["field_", "param_", "_"];
        let generated = generated.iter().any(|prefix| name.starts_with(prefix));
        generated || name.contains(',') || name.bytes().all(|b| b.is_ascii_digit())
    };
    let is_ours = |layout: &TypeLayout| layout.package().as_str() == package;
    let (mut holder, mut owner, mut member) = (String::new(), root.name().to_owned(), None);
    let mut inside_ours = is_ours(root);
    for step in way {
        let field = match &step.expected {
            TLFieldOrFunction::Function(function) => {
                member = Some(function.name.as_str());
                continue;
            }
            TLFieldOrFunction::Field(field) => field,
        };
        // What the parts of a vector or an option are called is nobody's business either.
        if inside_ours && !plumbing(field.name()) && field.name() != "obj" {
            member = Some(field.name());
        }
        let layout = field.layout();
        inside_ours = is_ours(layout);
        if inside_ours && layout.name() != "VTable" {
            holder = member.map_or_else(String::new, |member| format!(" (in {owner}.{member})"));
            // A trait's object is the trait, to whoever wrote it.
            owner = layout.name().trim_end_matches("_TO").to_owned();
            member = None;
        }
    }
    match member {
        Some(member) => format!("{owner}.{member}"),
        None => format!("{owner}{holder}"),
    }
}

fn difference(error: &AbiInstability) -> String {
    use AbiInstability as Is;
    match error {
        Is::Name(names) => format!(
            "type {} instead of {}",
            type_name(&names.found.to_string()),
            type_name(&names.expected.to_string())
        ),
        Is::Package(packages) => format!(
            "defined in crate {} instead of {}",
            packages.found, packages.expected
        ),
        Is::PackageVersion(versions) => {
            format!(
                "defined in version {} instead of {}",
                versions.found, versions.expected
            )
        }
        Is::Size(sizes) => format!("{} bytes instead of {}", sizes.found, sizes.expected),
        Is::Alignment(sizes) => format!("aligned to {} instead of {}", sizes.found, sizes.expected),
        Is::FieldCountMismatch(counts) => {
            format!("{} fields instead of {}", counts.found, counts.expected)
        }
        Is::TooManyVariants(counts) => {
            format!("{} variants instead of {}", counts.found, counts.expected)
        }
        Is::UnexpectedField(fields) => format!(
            "field {} instead of {}",
            fields.found.name(),
            fields.expected.name()
        ),
        Is::UnexpectedVariant(names) => {
            format!("variant {} instead of {}", names.found, names.expected)
        }
        Is::MismatchedPrefixSize(sizes) => {
            format!(
                "{} members in its first version instead of {}",
                sizes.found, sizes.expected
            )
        }
        Is::FieldLifetimeMismatch(fields) => format!(
            "field {} borrows what it did not, or the reverse",
            fields.expected.name()
        ),
        Is::FnLifetimeMismatch(_) => {
            "borrows an argument that was given, or the reverse".to_owned()
        }
        Is::ExtraCheckError(error) => {
            let text = error.err.to_string();
            let mut lines = text.lines().map(str::trim);
            let first = lines.find(|line| !line.is_empty());
            first.unwrap_or("differs").trim_end_matches(':').to_owned()
        }
        other => {
            // The variant's name alone: what follows it may be thousands of lines.
            let text = format!("{other:?}");
            text.split(['(', '{', ' '])
                .next()
                .unwrap_or_default()
                .to_owned()
        }
    }
}

/// A trait's object is the trait, to whoever wrote it.
fn type_name(name: &str) -> String {
    name.replace("_TO<'lt>", "").trim().to_owned()
}

#[cfg(test)]
mod tests;
