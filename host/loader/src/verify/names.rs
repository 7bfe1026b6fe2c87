//! What the system's loader joins by name: it keeps one library of a name in a process, whoever brought it, and gives it to all
//! who need one of that name; `RTLD_LOCAL` hides symbols, not libraries. So of two plugins, each verified with a library of its own,
//! one would run with that of the other. This compares only what one of them brings along: of the machine's libraries of one
//! name, which two plugins may find in different folders, none was verified for either.

use super::{
    Verified,
    needs::{Brought, Needs},
    printable,
};
use crate::{inspect::Inspection, machine::in_this_process, stage::Staged};
use sha2::{Digest as _, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
};

type Digest = [u8; 32];

/// The names that a library was verified with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    /// What each needed name stands for.
    asked: Vec<(String, Library)>,
    /// What it brings into a process, by each name that the loader knows it by.
    brought: Vec<(String, Digest)>,
}

/// What a name stands for.
#[derive(Debug, Clone)]
enum Library {
    Neighbour(Digest),
    /// The machine's, and its file where one was seen.
    Machine(Option<PathBuf>),
}

impl Library {
    fn sha256(&self) -> Option<Digest> {
        match self {
            Self::Neighbour(digest) => Some(*digest),
            Self::Machine(_) => None,
        }
    }

    /// Whether these are its bytes. Reads the machine's: ask only where it decides.
    fn is(&self, digest: Digest) -> bool {
        let bytes_are = |file: &Path| {
            let bytes = fs::read(file).unwrap_or_default();
            Digest::from(Sha256::digest(&bytes)) == digest
        };
        match self {
            Self::Neighbour(own) => *own == digest,
            // What is no file might never end.
            Self::Machine(Some(file)) => file.is_file() && bytes_are(file),
            Self::Machine(None) => false,
        }
    }
}

impl Names {
    pub(super) fn of(inspection: &Inspection, needs: &Needs, staged: &Staged) -> Self {
        let mut names = Self::default();
        let digests = staged.neighbours_sha256().iter().map(|(_, digest)| *digest);
        for (Brought { name, soname }, digest) in needs.brought.iter().zip(digests) {
            names.asked.push((name.clone(), Library::Neighbour(digest)));
            let known_by = [Some(name), soname.as_ref()];
            let known_by = known_by.into_iter().flatten();
            names
                .brought
                .extend(known_by.map(|name| (name.clone(), digest)));
        }
        let machine = needs.of_the_machine.iter().cloned();
        let machine = machine.map(|(name, file)| (name, Library::Machine(file)));
        names.asked.extend(machine);
        let own = inspection.soname.iter();
        names
            .brought
            .extend(own.map(|soname| (soname.clone(), *staged.sha256())));
        names
    }

    /// A name that this asks for, and the other brings another library by.
    fn taken_from(&self, other: &Self) -> Option<(&str, Option<Digest>, Digest)> {
        let clashes = self.asked.iter().flat_map(|(name, ours)| {
            let of_that_name = other
                .brought
                .iter()
                .filter(move |(theirs, _)| theirs == name);
            of_that_name.map(move |(_, theirs)| (name.as_str(), ours, *theirs))
        });
        clashes
            .filter(|(_, ours, theirs)| !ours.is(*theirs))
            // What the host itself was linked with is everybody's, whatever anybody brings.
            .find(|(name, ..)| !in_this_process(name))
            .map(|(name, ours, theirs)| (name, ours.sha256(), theirs))
    }
}

/// A name that stands for one library to one plugin and for another to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clash {
    /// The name; one line.
    pub name: String,
    /// Digest of the first plugin's; `None` for the machine's.
    pub first_sha256: Option<[u8; 32]>,
    /// Digest of the second plugin's; `None` for the machine's.
    pub second_sha256: Option<[u8; 32]>,
}

impl Verified {
    /// Whether the system's loader would give one of the two, in one process, a library that the other brings along and that it
    /// was not verified with.
    #[must_use]
    pub fn clash(&self, second: &Self) -> Option<Clash> {
        let clash = |name: &str, first_sha256, second_sha256| Clash {
            name: printable(name.as_bytes()),
            first_sha256,
            second_sha256,
        };
        let (ours, theirs) = (&self.names, &second.names);
        let asked = ours.taken_from(theirs);
        asked
            .map(|(name, first, second)| clash(name, first, Some(second)))
            .or_else(|| {
                let (name, second, first) = theirs.taken_from(ours)?;
                Some(clash(name, Some(first), second))
            })
    }
}
