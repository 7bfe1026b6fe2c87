//! The libraries that a library needs: certainly missing ones are refused, neighbours are taken along.
//!
//! A copy in memory has no folder: `$ORIGIN` leads nowhere for it, or worse, to another library of the same name. So what
//! is found through it either comes along into a private folder, verified as well, or the library is refused. Nothing here
//! guesses the system loader's order of search.

use super::{
    Inspection, Policy, Refusal, RefusalCode, Staging, inspect, judge_platform, list, printable,
    printable_path,
};
use crate::{
    error::absolute,
    inspect::Platform,
    machine::Libraries,
    stage::Neighbour,
    verify::{Machine, read, refuse_fault},
};
use std::{
    collections::HashSet,
    ffi::OsStr,
    path::{Component, Path, PathBuf},
};

/// Neighbours of one plugin, neighbours' neighbours included. More is a system of its own, not a plugin.
const NEIGHBOURS_MAX: usize = 256;

/// Finds what `library` needs. Answers what has to be staged beside it.
pub(super) fn resolve(
    library: &Path,
    inspection: &Inspection,
    policy: &Policy,
) -> Result<Vec<Neighbour>, Refusal> {
    if Platform::host().format != "elf" || inspection.needed.is_empty() {
        return Ok(Vec::new());
    }
    let machine = Libraries::of_this_machine();
    let real = library.canonicalize().unwrap_or_else(|_| absolute(library));
    let folder = real.parent().unwrap_or(Path::new("/"));
    let mut search = Search {
        library,
        policy,
        machine,
        root: folder.to_path_buf(),
        seen: HashSet::new(),
        neighbours: Vec::new(),
        open: vec![(PathBuf::new(), inspection.clone())],
    };
    search.run()?;
    Ok(search.neighbours)
}

struct Search<'a> {
    library: &'a Path,
    policy: &'a Policy,
    machine: Libraries,
    /// The library's own folder, links followed.
    root: PathBuf,
    /// Names that are settled: the loader takes the first library of a name for all who need it.
    seen: HashSet<String>,
    neighbours: Vec<Neighbour>,
    /// Libraries whose needs are still to be looked at, each with its folder relative to `root`.
    open: Vec<(PathBuf, Inspection)>,
}

impl Search<'_> {
    fn run(&mut self) -> Result<(), Refusal> {
        while let Some((place, inspection)) = self.open.pop() {
            for name in &inspection.needed {
                if self.seen.insert(name.clone()) {
                    self.settle(name, &place, &inspection)?;
                }
            }
        }
        Ok(())
    }

    fn settle(&mut self, name: &str, place: &Path, inspection: &Inspection) -> Result<(), Refusal> {
        if !is_file_name(name) {
            return Err(self.no_name(name));
        }
        let own = Folders::of(inspection);
        for relative in &own.beside {
            let folder = self.root.join(place).join(relative);
            let file = folder.join(name);
            if file.is_file() {
                return self.take(name, &place.join(relative), &file);
            }
        }
        if self.machine.has(name, &own.elsewhere) {
            return Ok(());
        }
        Err(self.missing(name, &own, place))
    }

    /// A neighbour: comes along, or there is no way to take it along.
    fn take(&mut self, name: &str, place: &Path, file: &Path) -> Result<(), Refusal> {
        let normal = place
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        // Without what says nothing: where it is staged, each part is a name.
        let named = |part: &Component<'_>| matches!(part, Component::Normal(_));
        let place: PathBuf = place.components().filter(named).collect();
        let (Staging::Directory(_), true) = (&self.policy.staging, normal) else {
            return Err(self.out_of_reach(name, file, normal));
        };
        if self.neighbours.len() == NEIGHBOURS_MAX {
            return Err(Refusal::new(
                RefusalCode::TooLarge,
                self.library,
                "has too many neighbours to copy them along",
                format!("at most {NEIGHBOURS_MAX}"),
                format!("more than {NEIGHBOURS_MAX}"),
            ));
        }
        let reading = read::read(file, self.policy)?;
        let inspection = inspect(&reading.bytes).map_err(|fault| refuse_fault(file, fault))?;
        judge_platform(file, &inspection.platform, &Machine::this())?;
        self.neighbours.push(Neighbour {
            place: place.join(name),
            bytes: reading.bytes,
        });
        self.open.push((place, inspection));
        Ok(())
    }

    /// The loader follows what holds a separator as a path, and no file is called `..`.
    fn no_name(&self, name: &str) -> Refusal {
        let shown = printable(name.as_bytes());
        let file = Path::new(name).file_name().and_then(OsStr::to_str);
        let soname = file.map_or_else(|| "FILE".to_owned(), |file| printable(file.as_bytes()));
        Refusal::new(
            RefusalCode::MissingDependency,
            self.library,
            "names a library that it needs by a path, which leads elsewhere from each folder that a host is started in",
            "the bare name of a library",
            format!("`{shown}`"),
        )
        .fix(format!(
            "its author links that library with -Wl,-soname,{soname} and the plugin with it anew"
        ))
    }

    fn out_of_reach(&self, name: &str, file: &Path, normal: bool) -> Refusal {
        let file = printable_path(file);
        let refusal = Refusal::new(
            RefusalCode::MissingDependency,
            self.library,
            format!("looks for {name} beside itself, which a private copy of it cannot"),
            "libraries that the system's loader finds by itself",
            format!("{name} found through $ORIGIN, at {file}"),
        );
        if normal {
            refusal.fix("set stage = \"directory\" for this plugin")
        } else {
            refusal.fix(format!(
                "put {name} into the plugin's own folder, or where the system looks"
            ))
        }
    }

    fn missing(&self, name: &str, own: &Folders, place: &Path) -> Refusal {
        let mut places: Vec<String> = own
            .elsewhere
            .iter()
            .map(|folder| printable_path(folder))
            .collect();
        places.extend(
            own.beside
                .iter()
                .map(|relative| printable_path(&self.root.join(place).join(relative))),
        );
        let found = if places.is_empty() {
            "neither in the loader's cache nor in its default folders".to_owned()
        } else {
            format!(
                "neither in {} nor in the loader's cache and default folders",
                list(&places, "nor in")
            )
        };
        Refusal::new(
            RefusalCode::MissingDependency,
            self.library,
            format!("needs {name}, which this machine does not have"),
            name,
            found,
        )
        .fix(format!("install the package that holds {name}"))
    }
}

/// Whether it names a file of a folder, and nothing above or below it.
fn is_file_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!(parts.next(), Some(Component::Normal(part)) if part == OsStr::new(name))
        && parts.next().is_none()
}

/// Where a library says that its libraries are.
struct Folders {
    /// Relative to its own folder.
    beside: Vec<PathBuf>,
    elsewhere: Vec<PathBuf>,
}

impl Folders {
    fn of(inspection: &Inspection) -> Self {
        // DT_RPATH counts only where there is no DT_RUNPATH.
        let paths = if inspection.runpath.is_empty() {
            &inspection.rpath
        } else {
            &inspection.runpath
        };
        let mut folders = Self {
            beside: Vec::new(),
            elsewhere: Vec::new(),
        };
        for path in paths {
            let rest = path
                .strip_prefix("$ORIGIN")
                .or_else(|| path.strip_prefix("${ORIGIN}"));
            match rest {
                Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                    folders.beside.push(rest.trim_start_matches('/').into());
                }
                // Other variables ($LIB, $PLATFORM) are the loader's; a folder of that very name is not there.
                _ if path.starts_with('/') => folders.elsewhere.push(path.into()),
                _ => {}
            }
        }
        folders
    }
}
