//! From a configuration to instances that may be opened: finds and verifies every library, names every instance, and tells
//! everything that is wrong at once. None of a plugin's code runs here, but for the pure schema check after it was opened.

use crate::{
    backend::refused,
    config_file::{self, Config, Library, PluginEntry, Stage},
    error::{self, ExitCode, Place, Problem},
    machine::Parts,
    provenance::{self, Lockfile, Trust},
};
use hotshoe_loader::{
    Clash, LibraryName, Manifest, Policy, Refusal, RefusalCode, Staging, Verified, hex,
};
use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// An instance that is to be run.
pub(crate) struct Prepared {
    pub(crate) name: String,
    pub(crate) entry: PluginEntry,
    pub(crate) code: Code,
}

/// Where an instance's code comes from.
pub(crate) enum Code {
    Library(Box<Verified>),
    Linked(hotshoe_abi::Entry, Box<Manifest>),
    /// An optional instance whose library was refused.
    Refused(Problem),
}

impl Code {
    pub(crate) fn manifest(&self) -> Option<&Manifest> {
        match self {
            Self::Library(verified) => Some(&verified.manifest),
            Self::Linked(_, manifest) => Some(manifest),
            Self::Refused(_) => None,
        }
    }

    pub(crate) fn parts(&self) -> Parts {
        self.manifest()
            .map_or_else(Parts::default, |manifest| Parts {
                driver: manifest.components.driver,
                checker: manifest.components.checker,
                executor: manifest.components.executor,
                processor: manifest.components.processor,
            })
    }

    /// The library's path, where there is one.
    pub(crate) fn path(&self) -> Option<&PathBuf> {
        match self {
            Self::Library(verified) => Some(&verified.path),
            Self::Linked(..) | Self::Refused(_) => None,
        }
    }
}

/// A plugin that the program itself brings.
pub(crate) struct Linked {
    pub(crate) entry: PluginEntry,
    pub(crate) name: String,
    pub(crate) code: hotshoe_abi::Entry,
}

/// Everything that [`prepare`] found: instances in the merged order, their init order, and what is to be said.
pub(crate) struct Plan {
    pub(crate) instances: Vec<Prepared>,
    pub(crate) order: Vec<usize>,
    pub(crate) problems: Vec<Problem>,
}

impl Plan {
    pub(crate) fn refused(&self) -> bool {
        self.problems
            .iter()
            .any(|problem| problem.severity == error::Severity::Error)
    }
}

/// A run folder where nobody named one: only this user enters it, and it is gone with the first of the two.
///
/// A library may look above its copy (`$ORIGIN/../../lib`, as conda, CMake and rustc link). Above `/run/user/1000/hotshoe/NAME`
/// that is nobody else's either; right below the temporary folder it would be in that one, where everybody puts files.
pub(crate) fn run_folder() -> io::Result<(TempDir, PathBuf)> {
    /// Deeper than a run folder is; its path is to leave room for the name of a socket, which has some 100 bytes for both.
    const LEVELS: usize = 8;
    let private = tempfile::Builder::new()
        .prefix("hotshoe-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir()?;
    let mut folder = private.path().to_owned();
    folder.extend(["r"; LEVELS]);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)?;
    Ok((private, folder))
}

/// Finds, verifies and names every instance.
///
/// - `run_dir`: private copies of libraries with `stage = "directory"` go below it.
/// - `lockfile`: what the lock beside the configuration is to this run.
pub(crate) fn prepare(
    config: &Config,
    linked: Vec<Linked>,
    run_dir: &Path,
    lockfile: Lockfile,
) -> Plan {
    let search = hotshoe_loader::search_folders(&config.host.plugin_path, &config.folder);
    let mut problems = provenance::exposed_configuration(config);
    let mut found: Vec<(String, PluginEntry, Option<Code>)> = Vec::new();
    let verified =
        hotshoe_loader::verify_all(&config.plugins, |entry| verify(entry, &search, run_dir));
    for (entry, verified) in config.plugins.iter().zip(verified) {
        let shown = entry
            .name
            .clone()
            .unwrap_or_else(|| entry.library.to_string());
        match verified {
            Ok(verified) => {
                let name = entry
                    .name
                    .clone()
                    .unwrap_or_else(|| verified.manifest.name.clone());
                for warning in &verified.warnings {
                    problems.push(
                        Problem::warning("library", format!("plugin `{name}`: {warning}"))
                            .at(entry.at.clone()),
                    );
                }
                found.push((name, entry.clone(), Some(Code::Library(Box::new(verified)))));
            }
            Err(refusal) => {
                let problem = refused(
                    &refusal.for_instance(&shown),
                    Some(entry.library_at.clone()),
                );
                if entry.required {
                    problems.push(problem);
                    found.push((shown, entry.clone(), None));
                } else {
                    found.push((shown, entry.clone(), Some(Code::Refused(problem))));
                }
            }
        }
    }
    for plugin in linked {
        match hotshoe_loader::parse_manifest(plugin.code.manifest) {
            Ok(manifest) => {
                found.push((
                    plugin.name,
                    plugin.entry,
                    Some(Code::Linked(plugin.code, Box::new(manifest))),
                ));
            }
            Err(fault) => problems.push(
                Problem::error(
                    ExitCode::Refused,
                    error::Blame::Plugin,
                    RefusalCode::ManifestInvalid.as_str(),
                    format!("plugin `{}`: its manifest is broken", plugin.name),
                )
                .wanted(fault.wanted)
                .found(fault.found),
            ),
        }
    }
    let trust = Trust::read(config, lockfile);
    name_and_order(config, &trust, found, problems)
}

/// Drops duplicates, checks references, and orders what is left.
fn name_and_order(
    config: &Config,
    trust: &Result<Trust, Vec<Problem>>,
    found: Vec<(String, PluginEntry, Option<Code>)>,
    mut problems: Vec<Problem>,
) -> Plan {
    let mut codes: Vec<(Place, Option<Code>)> = Vec::new();
    let mut named = Vec::new();
    for (name, entry, code) in found {
        codes.push((entry.at.clone(), code));
        named.push((name, entry));
    }
    let (kept, duplicates) = config_file::merge_duplicates(named);
    problems.extend(duplicates);
    let mut instances = Vec::new();
    for (name, entry) in kept {
        let place = codes.iter().position(|(at, _)| *at == entry.at);
        let code = place.and_then(|place| codes.remove(place).1);
        instances.push((name, entry, code));
    }
    match trust {
        Ok(trust) => {
            problems.extend(trust.warnings.iter().cloned());
            for (name, entry, code) in &mut instances {
                judge_provenance(trust, name, entry, code, &mut problems);
            }
        }
        Err(unread) => problems.extend(unread.iter().cloned()),
    }
    refuse_clashes(&mut instances, &mut problems);
    let listed: Vec<(String, &PluginEntry)> = instances
        .iter()
        .map(|(name, entry, _)| (name.clone(), entry))
        .collect();
    let references = config_file::check_references(&listed, config.stream.as_ref());
    let references_hold = references.is_empty();
    problems.extend(references);
    let order = match config_file::order(&listed) {
        Ok(order) => order,
        Err(cycle) => {
            // check_references has named it already where it looks for cycles.
            if references_hold {
                problems.push(cycle);
            }
            Vec::new()
        }
    };
    for (name, entry, code) in &instances {
        problems.extend(check_parts(name, entry, code.as_ref(), config));
    }
    let instances = instances
        .into_iter()
        .filter_map(|(name, entry, code)| code.map(|code| Prepared { name, entry, code }))
        .collect();
    Plan {
        instances,
        order,
        problems,
    }
}

/// Asks lock and signature about an instance's library, once it is known what the instance is called.
fn judge_provenance(
    trust: &Trust,
    name: &str,
    entry: &PluginEntry,
    code: &mut Option<Code>,
    problems: &mut Vec<Problem>,
) {
    let Some(Code::Library(verified)) = code else {
        return;
    };
    match trust.judge(name, entry, verified) {
        Ok(warning) => problems.extend(warning),
        Err(refusal) => refuse(&refusal, name, entry, code, problems),
    }
}

/// Refuses an instance that is verified already.
fn refuse(
    refusal: &Refusal,
    name: &str,
    entry: &PluginEntry,
    code: &mut Option<Code>,
    problems: &mut Vec<Problem>,
) {
    let refusal = refusal.clone().for_instance(name);
    let problem = refused(&refusal, Some(entry.library_at.clone()));
    if entry.required {
        problems.push(problem);
        *code = None;
    } else {
        *code = Some(Code::Refused(problem));
    }
}

/// Of two instances in this process the later one, where one of them would run with a library of the other's.
fn refuse_clashes(
    instances: &mut [(String, PluginEntry, Option<Code>)],
    problems: &mut Vec<Problem>,
) {
    fn here(
        (name, entry, code): &(String, PluginEntry, Option<Code>),
    ) -> Option<(&str, &Verified)> {
        match code {
            Some(Code::Library(verified))
                if entry.isolation == config_file::Isolation::InProcess =>
            {
                Some((name, verified))
            }
            _ => None,
        }
    }
    for index in 1..instances.len() {
        let (before, rest) = instances.split_at_mut(index);
        let Some(instance) = rest.first_mut() else {
            break;
        };
        let refusal = here(instance).and_then(|(name, verified)| {
            let mut others = before.iter().filter_map(here);
            others.find_map(|(other, first)| {
                let clash = first.clash(verified)?;
                Some(clashing(&clash, &verified.path, other, name))
            })
        });
        if let Some(refusal) = refusal {
            let (name, entry, code) = instance;
            refuse(&refusal, name, entry, code, problems);
        }
    }
}

fn clashing(clash: &Clash, path: &Path, first: &str, second: &str) -> Refusal {
    let Clash {
        name,
        first_sha256,
        second_sha256,
    } = clash;
    let which = |sha256: &Option<[u8; 32]>| match sha256 {
        Some(sha256) => format!("one of SHA-256 {}", hex(sha256)),
        None => "the machine's".to_owned(),
    };
    Refusal::new(
        RefusalCode::MissingDependency,
        path,
        format!("does not fit into one process with plugin `{first}`: each has another library named {name}, and the system's loader keeps one"),
        format!("one {name} for both"),
        format!("`{first}` has {}, `{second}` {}", which(first_sha256), which(second_sha256)),
    )
    .fix("set isolation = \"process\" for one of the two")
}

/// What the config wants of an instance that its library does not have.
fn check_parts(
    name: &str,
    entry: &PluginEntry,
    code: Option<&Code>,
    config: &Config,
) -> Vec<Problem> {
    let Some(code) = code.filter(|code| code.manifest().is_some()) else {
        return Vec::new();
    };
    let parts = code.parts();
    let mut problems = Vec::new();
    let missing = |what: &str, wanted_by: &str, at: &Place| {
        Problem::usage(
            RefusalCode::MissingComponent.as_str(),
            format!("plugin `{name}` has no {what} part, and {wanted_by} wants one"),
        )
        .wanted(format!("a library whose manifest declares `{what}`"))
        .found(match parts.names().as_slice() {
            [] => "no parts".to_owned(),
            names => names.join(", "),
        })
        .in_file(at.clone())
        .fix(format!("name another instance, or add the part and `{what}` to the plugin's export_plugin! line"))
    };
    if let Some(stream) = &config.stream {
        let wanting = stream
            .processors
            .iter()
            .find(|processor| processor.value == name);
        if let Some(processor) = wanting.filter(|_| !parts.processor) {
            problems.push(missing("processor", "[stream] processors", &processor.at));
        }
    }
    if let Some(topic) = entry.checks.first().filter(|_| !parts.checker) {
        problems.push(missing("checker", "checks", &topic.at));
    }
    if parts.is_empty() {
        let headline = format!("plugin `{name}` has no parts; it is loaded and does nothing");
        problems.push(Problem::warning("no-parts", headline).in_file(entry.at.clone()));
    }
    problems
}

fn verify(entry: &PluginEntry, search: &[PathBuf], run_dir: &Path) -> Result<Verified, Refusal> {
    let library = match &entry.library {
        Library::Named(name) => LibraryName::Bare(name.clone()),
        Library::Path(path) => LibraryName::Path(path.clone()),
    };
    let file = hotshoe_loader::find(&library, search)?;
    let policy = Policy {
        in_process: entry.isolation == config_file::Isolation::InProcess,
        allow_writable: entry.allow_writable,
        staging: match entry.stage {
            Stage::Memfd => Staging::Memfd,
            Stage::Directory => Staging::Directory(run_dir.to_owned()),
        },
        ..Policy::default()
    };
    hotshoe_loader::verify(&file, &policy)
}
