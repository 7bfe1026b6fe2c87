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
    access::{Exposed, exposed_folder},
    error::{absolute, argument},
    inspect::Platform,
    machine::Libraries,
    stage::Neighbour,
    verify::{Machine, read, refuse_fault, warn},
};
use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    ffi::OsStr,
    path::{Component, Path, PathBuf},
};

/// Neighbours of one plugin, neighbours' neighbours included. More is a system of its own, not a plugin.
const NEIGHBOURS_MAX: usize = 256;

/// What a library needs.
#[derive(Default)]
pub(super) struct Needs {
    /// What has to be staged beside it.
    pub(super) neighbours: Vec<Neighbour>,
    /// The names of each neighbour, in the same order.
    pub(super) brought: Vec<Brought>,
    /// The names that the machine has a library for, or may have one for, and its file where one was seen.
    pub(super) of_the_machine: Vec<(String, Option<PathBuf>)>,
    /// What an operator should know of its neighbours, one line each.
    pub(super) warnings: Vec<String>,
}

/// The names that the loader knows a neighbour by.
pub(super) struct Brought {
    pub(super) name: String,
    pub(super) soname: Option<String>,
}

/// Finds what `library` needs.
pub(super) fn resolve(
    library: &Path,
    inspection: &Inspection,
    policy: &Policy,
) -> Result<Needs, Refusal> {
    if Platform::host().format != "elf" {
        return Ok(Needs::default());
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
        found: Needs::default(),
        open: VecDeque::from([Open {
            file: library.to_path_buf(),
            place: PathBuf::new(),
            inspection: inspection.clone(),
            inherited: Vec::new(),
        }]),
    };
    search.run()?;
    Ok(search.found)
}

struct Search<'a> {
    library: &'a Path,
    policy: &'a Policy,
    machine: Libraries,
    /// The library's own folder, links followed.
    root: PathBuf,
    /// Names that are settled: the loader takes the first library of a name for all who need it.
    seen: HashSet<String>,
    found: Needs,
    /// Libraries whose needs are still to be looked at, in the loader's order: those of one before those of what it needs.
    open: VecDeque<Open>,
}

/// A library whose needs are still to be looked at.
struct Open {
    /// The file that it was read from.
    file: PathBuf,
    /// Its folder, relative to the plugin's.
    place: PathBuf,
    inspection: Inspection,
    /// The DT_RPATH of what it was loaded for, nearest first.
    inherited: Vec<Folder>,
}

impl Search<'_> {
    fn run(&mut self) -> Result<(), Refusal> {
        let mut absent = BTreeSet::new();
        while let Some(open) = self.open.pop_front() {
            self.judge_folders(&open)?;
            let (own, inherited) = open.folders();
            let Inspection {
                needed, auxiliary, ..
            } = &open.inspection;
            let needed = needed.iter().map(|name| (name, false));
            let auxiliary = auxiliary.iter().map(|name| (name, true));
            for (name, is_auxiliary) in needed.chain(auxiliary) {
                if !is_file_name(name) {
                    return Err(no_name(&open.file, name));
                }
                if self.seen.contains(name) {
                    continue;
                }
                if self.settle(name, &own, &inherited)? {
                    self.seen.insert(name.clone());
                } else if is_auxiliary {
                    // Not settled: another library may need it, and look elsewhere.
                    absent.insert(name.clone());
                } else {
                    return Err(self.missing(name, &own));
                }
            }
        }
        // Verified without them: another plugin's is another library than the machine's, which may come to have one.
        let absent = (absent.into_iter()).filter(|name| !self.seen.contains(name));
        self.found
            .of_the_machine
            .extend(absent.map(|name| (name, None)));
        Ok(())
    }

    /// The folders that a library names, for itself and for what it brings along: nobody else may put a library there.
    fn judge_folders(&self, open: &Open) -> Result<(), Refusal> {
        for list in [&open.inspection.rpath, &open.inspection.runpath] {
            // The loader skips a list without a character in it, and none of its elements.
            if matches!(&list[..], [only] if only.is_empty()) {
                continue;
            }
            for element in list {
                let folder = match Folder::of(element, &open.place) {
                    Some(Folder::Elsewhere(folder)) => folder,
                    Some(Folder::Beside(place)) => match self.outside(&place) {
                        Some(folder) => folder,
                        None => continue,
                    },
                    None => return Err(anywhere(&open.file, element)),
                };
                if let Some(exposed) =
                    exposed_folder(&folder).filter(|_| !self.policy.allow_writable)
                {
                    return Err(open_to_all(&open.file, element, &exposed));
                }
            }
        }
        Ok(())
    }

    /// Where the copy looks instead of beside the library, if that is not in its own folder.
    fn outside(&self, place: &Path) -> Option<PathBuf> {
        let Staging::Directory(parent) = &self.policy.staging else {
            return None;
        };
        let climbs = (place.components()).any(|part| part == Component::ParentDir);
        climbs.then(|| parent.join("stage").join(place))
    }

    /// Whether it is there.
    fn settle(
        &mut self,
        name: &str,
        own: &[Folder],
        inherited: &[Folder],
    ) -> Result<bool, Refusal> {
        for folder in own {
            match folder {
                Folder::Beside(place) => {
                    let file = self.root.join(place).join(name);
                    if file.is_file() {
                        self.take(name, place, &file, inherited)?;
                        return Ok(true);
                    }
                }
                Folder::Elsewhere(folder) => {
                    let file = folder.join(name);
                    if file.exists() {
                        self.found
                            .of_the_machine
                            .push((name.to_owned(), Some(file)));
                        return Ok(true);
                    }
                }
            }
        }
        let file = self.machine.file(name);
        if file.is_none() && !self.machine.names(name) {
            return Ok(false);
        }
        self.found.of_the_machine.push((name.to_owned(), file));
        Ok(true)
    }

    /// A neighbour: comes along, or there is no way to take it along.
    fn take(
        &mut self,
        name: &str,
        place: &Path,
        file: &Path,
        inherited: &[Folder],
    ) -> Result<(), Refusal> {
        let normal = place
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        // Without what says nothing: where it is staged, each part is a name.
        let named = |part: &Component<'_>| matches!(part, Component::Normal(_));
        let place: PathBuf = place.components().filter(named).collect();
        let (Staging::Directory(_), true) = (&self.policy.staging, normal) else {
            return Err(self.out_of_reach(name, file, normal));
        };
        if self.found.neighbours.len() == NEIGHBOURS_MAX {
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
        let mut warnings = reading.warnings;
        warn(&inspection, &mut warnings);
        let shown = printable(name.as_bytes());
        let told = (warnings.into_iter()).map(|it| format!("brings {shown} along, which {it}"));
        self.found.warnings.extend(told);
        self.found.neighbours.push(Neighbour {
            place: place.join(name),
            bytes: reading.bytes,
        });
        self.found.brought.push(Brought {
            name: name.to_owned(),
            soname: inspection.soname.clone(),
        });
        self.open.push_back(Open {
            file: file.to_path_buf(),
            place,
            inspection,
            inherited: inherited.to_vec(),
        });
        Ok(())
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

    fn missing(&self, name: &str, own: &[Folder]) -> Refusal {
        let shown = |folder: &Folder| match folder {
            Folder::Elsewhere(folder) => printable_path(folder),
            Folder::Beside(place) => printable_path(&self.root.join(place)),
        };
        let places: Vec<String> = own.iter().map(shown).collect();
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
        && !name.contains('$')
        && parts.next().is_none()
}

/// The loader follows what holds a separator as a path, after it put in what a variable (`$LIB`) stands for; and no file is
/// called `..`.
fn no_name(file: &Path, name: &str) -> Refusal {
    let shown = printable(name.as_bytes());
    let soname = Path::new(name).file_name().and_then(OsStr::to_str);
    let soname = soname.map_or_else(|| "FILE".to_owned(), |file| printable(file.as_bytes()));
    Refusal::new(
        RefusalCode::MissingDependency,
        file,
        "needs a library by a path instead of a name, and whatever lies there would run",
        "the bare name of a library",
        format!("`{shown}`"),
    )
    .fix(format!(
        "its author links that library with -Wl,-soname,{soname} and the plugin with it anew"
    ))
}

fn anywhere(file: &Path, element: &str) -> Refusal {
    let element = match element.is_empty() {
        true => "an empty element, which is the folder that the host works in".to_owned(),
        false => format!("`{}`", printable(element.as_bytes())),
    };
    Refusal::new(
        RefusalCode::MissingDependency,
        file,
        "looks for libraries in a folder that is another one for each folder that a host is started in",
        "RPATH and RUNPATH with elements that begin with / or $ORIGIN",
        element,
    )
    .fix(format!(
        "patchelf --set-rpath '$ORIGIN' {}, or link it anew with -Wl,-rpath,'$ORIGIN' and no colon at either end",
        argument(file)
    ))
}

fn open_to_all(file: &Path, element: &str, exposed: &Exposed) -> Refusal {
    let Exposed { shown, mode, .. } = exposed;
    let element = printable(element.as_bytes());
    Refusal::new(
        RefusalCode::WritableByOthers,
        file,
        format!("looks for libraries in {element}, where everybody on this machine may put one"),
        "no write permission for others",
        format!("mode {mode:04o} on {shown}"),
    )
    .fix(format!(
        "take that folder out of it: patchelf --set-rpath '$ORIGIN' {}, or set allow_writable = true for this plugin",
        argument(file)
    ))
}

impl Open {
    /// Where its needs are looked for, and what those that are found inherit of that; both in their order.
    fn folders(&self) -> (Vec<Folder>, Vec<Folder>) {
        let of = |list: &[String]| -> Vec<Folder> {
            list.iter()
                .filter_map(|element| Folder::of(element, &self.place))
                .collect()
        };
        let inherited = [of(&self.inspection.rpath), self.inherited.clone()].concat();
        // DT_RPATH counts only where there is no DT_RUNPATH, and is all that is handed down.
        let own = match &self.inspection.runpath[..] {
            [] => inherited.clone(),
            list => of(list),
        };
        (own, inherited)
    }
}

/// Where a library says that its libraries are.
#[derive(Clone)]
enum Folder {
    /// Relative to the plugin's folder.
    Beside(PathBuf),
    Elsewhere(PathBuf),
}

impl Folder {
    /// What a library in this place means by an element. `None`: whatever folder the host works in.
    fn of(element: &str, place: &Path) -> Option<Self> {
        let rest = element
            .strip_prefix("$ORIGIN")
            .or_else(|| element.strip_prefix("${ORIGIN}"));
        match rest {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                Some(Self::Beside(place.join(rest.trim_start_matches('/'))))
            }
            // Other variables ($LIB, $PLATFORM) are the loader's; a folder of that very name is not there.
            _ if element.starts_with('/') => Some(Self::Elsewhere(element.into())),
            _ => None,
        }
    }
}
