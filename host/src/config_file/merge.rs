//! Several files, one list: `hotshoe.d/*.toml` beside the file, and of two entries of one name the first.
//!
//! Names are compared as they are given: an entry without one gets the library's own later, and the same function then
//! judges again.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use super::{model::PluginEntry, parse::UNREADABLE, raw::shown, report::headline};
use crate::error::{Blame, ExitCode, Place, Problem};

/// The folder of the drop-ins, beside the file.
pub(super) const DROP_INS: &str = "hotshoe.d";

/// The drop-ins beside a file, in file-name order; no such folder is no drop-ins.
pub(super) fn drop_ins(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let folder = match folder {
        here if here == Path::new(".") => PathBuf::from(DROP_INS),
        folder => folder.join(DROP_INS),
    };
    let listed = std::fs::read_dir(&folder).and_then(|entries| {
        entries
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<Vec<_>>>()
    });
    let mut names = match listed {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable_folder(&folder, &error)),
    };
    // As a shell's `*.toml` does: what an editor hides is no drop-in.
    names.retain(|name| {
        let hidden = name.as_encoded_bytes().starts_with(b".");
        !hidden
            && Path::new(name)
                .extension()
                .is_some_and(|extension| extension == "toml")
    });
    names.sort();
    Ok(names.iter().map(|name| folder.join(name)).collect())
}

fn unreadable_folder(folder: &Path, error: &io::Error) -> Problem {
    let shown = folder.display();
    let blame = match error.kind() {
        io::ErrorKind::NotADirectory => Blame::Operator,
        _ => Blame::Environment,
    };
    Problem::error(
        ExitCode::Usage,
        blame,
        UNREADABLE,
        format!("the drop-ins in {shown} cannot be listed: {error}"),
    )
    .wanted("a folder that this user may read, or none")
    .found(error.to_string())
    .at(Place {
        file: folder.to_owned(),
        line: 0,
        column: 0,
    })
    .fix(format!(
        "see `ls -ld {shown}`; remove it if no drop-ins are meant"
    ))
}

/// Of two entries of one name the first stays; each that goes is a warning that names both places.
#[must_use]
pub fn merge_duplicates(
    entries: Vec<(String, PluginEntry)>,
) -> (Vec<(String, PluginEntry)>, Vec<Problem>) {
    let mut first: BTreeMap<String, Place> = BTreeMap::new();
    let mut warnings = Vec::new();
    let mut kept = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        match first.get(&name) {
            Some(at) => warnings.push(duplicate(&name, at, &entry.at)),
            None => {
                first.insert(name.clone(), entry.at.clone());
                kept.push((name, entry));
            }
        }
    }
    (kept, warnings)
}

pub(super) fn duplicate(name: &str, first: &Place, again: &Place) -> Problem {
    let sentence = format!(
        "{} is listed twice: the entry at {first} counts, this one does not",
        shown(name)
    );
    Problem::warning("duplicate-plugin", headline(&sentence, again))
        .wanted("one entry of each name")
        .found(format!("{first} and {again}"))
        .at(again.clone())
        .fix("remove one of the two, or give it a `name` of its own to run the library twice")
}
