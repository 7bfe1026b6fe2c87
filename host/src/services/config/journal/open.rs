//! From a folder to an open journal and the store that it holds: recovery rules R1 to R9 in order (config-api §9.1), and the
//! texts of their refusals. Repairs nothing that was not asked for, but for a tail that nobody was told of.

use super::{
    AppendError, Disk, Journal, LINE_OVERHEAD, Lines, Room, Syncs, begin,
    disk::{Folder, FolderError},
    line::{self, Header},
    recovery::{self, Broken},
    segment::{self, FaultKind, Segment},
    segment_name,
};
use crate::{
    machine::store::{Declaration, DeclareError, Entry, Op, Store},
    services::clock,
};
use std::{fs::File, io, path::Path, sync::Arc};

/// Why a journal cannot be opened: init fails with it.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) fix: String,
}

impl From<DeclareError> for Trouble {
    fn from(error: DeclareError) -> Self {
        let fix = match error.code {
            // Of a topic that is open, which no recovery concerns.
            "config-state-schema" => "start the version of the plugin whose schema admits it",
            _ => "",
        };
        Self {
            code: error.code,
            message: error.message,
            fix: fix.to_owned(),
        }
    }
}

impl From<FolderError> for Trouble {
    fn from(error: FolderError) -> Self {
        match error {
            FolderError::Permissions { path, why } => Self {
                code: "config-state-permissions",
                message: format!("{}: {why}", path.display()),
                fix: "make it belong to the host's user, folders with mode 0700 and files with mode 0600, no links".to_owned(),
            },
            FolderError::Locked { path, pid } => {
                let holder = pid.map_or_else(|| "another process".to_owned(), |pid| format!("pid {pid}"));
                Self {
                    code: "config-state-locked",
                    message: format!("{}: held by {holder}", path.display()),
                    fix: "stop that host, or give this one another state folder".to_owned(),
                }
            }
            FolderError::Io { path, error } => unwritable(&path, &error),
        }
    }
}

fn unwritable(path: &Path, why: &dyn std::fmt::Display) -> Trouble {
    Trouble {
        code: "config-state-unwritable",
        message: format!("{}: {why}", path.display()),
        fix: "make room there, or make it writable for the host's user".to_owned(),
    }
}

/// What a start does with a journal that it cannot read (`hotshoe run --recover`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recover {
    /// Nothing: it refuses to start.
    #[default]
    No,
    /// It continues from the newest good generation, and refuses to start where there is none.
    Newest,
    /// The same, and where there is none, it begins again with the initial value.
    Initial,
}

/// What opening needs to know.
pub(crate) struct Opening<'a> {
    pub(crate) state_dir: &'a Path,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) recover: Recover,
    pub(crate) declaration: Declaration<'a>,
}

/// A topic's store and journal.
pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) journal: Journal,
    /// It was there before.
    pub(crate) recovered: bool,
    pub(crate) history_damaged: bool,
}

/// The segments of a folder.
struct Found {
    files: Vec<File>,
    segments: Vec<Segment>,
    lens: Vec<u64>,
}

/// Opens what is there, or creates it.
pub(crate) fn open(opening: Opening<'_>) -> Result<Opened, Trouble> {
    // What is wrong with the declaration alone is said before anything is touched.
    let fresh = Store::open(opening.declaration.clone())?;
    let folder = Folder::open(opening.state_dir, opening.declaration.topic)?;
    let found = find(&folder, opening.declaration.topic)?;
    if found.segments.is_empty() {
        let header = Header {
            plugin: opening.declaration.topic.to_owned(),
            segment: 1,
            store: fresh.store_id().to_owned(),
        };
        let journal = create(&opening, folder, header, fresh.current())?;
        return Ok(Opened {
            store: fresh,
            journal,
            recovered: false,
            history_damaged: false,
        });
    }
    match recovery::judge(&found.segments) {
        Ok(healthy) => {
            let declaration = Declaration {
                store_id: healthy.store,
                ..opening.declaration.clone()
            };
            match Store::restore(declaration, healthy.entries) {
                Ok(store) => {
                    let mut opened = resume(&opening, folder, found, store)?;
                    opened.history_damaged = healthy.history_damaged;
                    roll_back(&mut opened)?;
                    Ok(opened)
                }
                Err(error)
                    if opening.recover != Recover::No
                        && error.code.starts_with("config-state-") =>
                {
                    salvage(&opening, folder, &found, None, &fresh, error.into())
                }
                Err(error) => {
                    let from = recovery::salvage(&found.segments, None, &|e| fresh.admits(e)).from;
                    let fix = ways_on(error.code, from.as_ref());
                    let mut trouble = Trouble::from(error);
                    let path = folder.path.display();
                    trouble.message = format!("{path}: {}", trouble.message);
                    trouble.fix = fix.unwrap_or(trouble.fix);
                    Err(trouble)
                }
            }
        }
        Err(broken) => {
            let trouble = refusal(&folder, &found, &broken, &fresh);
            if opening.recover == Recover::No || broken.version().is_some() {
                return Err(trouble);
            }
            salvage(&opening, folder, &found, Some(&broken), &fresh, trouble)
        }
    }
}

/// R2, R3: reads every segment; what was never committed goes.
fn find(folder: &Folder, topic: &str) -> Result<Found, Trouble> {
    let names = folder
        .names()
        .map_err(|error| unwritable(&folder.path, &error))?;
    let mut firsts = Vec::new();
    for name in &names {
        if name.ends_with(".hsj.tmp") {
            folder
                .remove(name)
                .map_err(|error| unwritable(&folder.path.join(name), &error))?;
        }
        let first = name
            .strip_suffix(".hsj")
            .and_then(|digits| digits.parse().ok());
        firsts.extend(first.filter(|first| segment_name(*first) == *name));
    }
    firsts.sort_unstable();
    let mut found = Found {
        files: Vec::new(),
        segments: Vec::new(),
        lens: Vec::new(),
    };
    for first in firsts {
        let (file, bytes) = folder.read(&segment_name(first))?;
        found.segments.push(segment::read(first, topic, &bytes));
        found.lens.push(bytes.len() as u64);
        found.files.push(file);
    }
    Ok(found)
}

fn create(
    opening: &Opening<'_>,
    folder: Folder,
    header: Header,
    entry: &Entry,
) -> Result<Journal, Trouble> {
    let lines = [line::header(&header), line::set(entry)].concat();
    let reserve = opening.declaration.settings.value_len_max as u64 + LINE_OVERHEAD;
    let active = begin(&*opening.disk, &folder, entry.generation, &lines, reserve)
        .map_err(|error| unwritable(&folder.path, &error))?;
    Ok(Journal {
        disk: Arc::clone(&opening.disk),
        folder,
        header,
        active,
        first: entry.generation,
        len: lines.len() as u64,
        lines: 2,
        sealed: Vec::new(),
        reserve,
        failed: None,
        syncs: Syncs::default(),
    })
}

/// R6, and the newest segment goes on.
fn resume(
    opening: &Opening<'_>,
    folder: Folder,
    mut found: Found,
    store: Store,
) -> Result<Opened, Trouble> {
    drop_tail(&*opening.disk, &folder, &mut found)?;
    let newest = found
        .segments
        .last()
        .expect("a healthy journal has a segment");
    let mut sealed: Vec<(u64, u64)> = Vec::new();
    for (segment, len) in found.segments.iter().zip(&found.lens) {
        sealed.push((segment.first, *len));
    }
    let (first, len) = sealed.pop().expect("a healthy journal has a segment");
    let journal = Journal {
        disk: Arc::clone(&opening.disk),
        folder,
        header: newest
            .header
            .clone()
            .expect("a healthy segment has a header"),
        active: found.files.pop().expect("a file for each segment"),
        first,
        len,
        lines: newest.lines,
        sealed,
        reserve: opening.declaration.settings.value_len_max as u64 + LINE_OVERHEAD,
        failed: None,
        syncs: Syncs::default(),
    };
    Ok(Opened {
        store,
        journal,
        recovered: true,
        history_damaged: false,
    })
}

/// Cuts the newest segment behind its last good line, if it was torn.
fn drop_tail(disk: &dyn Disk, folder: &Folder, found: &mut Found) -> Result<(), Trouble> {
    let (Some(newest), Some(file), Some(len)) = (
        found.segments.last(),
        found.files.last(),
        found.lens.last_mut(),
    ) else {
        return Ok(());
    };
    let torn = newest
        .fault
        .as_ref()
        .is_some_and(|f| f.kind == FaultKind::Torn);
    if !torn {
        return Ok(());
    }
    let good = newest.good_len as u64;
    let path = folder.path.join(segment_name(newest.first));
    disk.truncate(file, good)
        .and_then(|()| disk.sync(file))
        .map_err(|error| unwritable(&path, &error))?;
    let bytes = *len - good;
    tracing::warn!(
        code = "config-journal-tail-dropped",
        bytes,
        file = %path.display(),
        "config-journal-tail-dropped bytes={bytes}: the last write was interrupted, and nobody was told that it was done"
    );
    *len = good;
    Ok(())
}

/// R9: what waited for its confirmation when the host ended goes back before anybody reads.
fn roll_back(opened: &mut Opened) -> Result<(), Trouble> {
    let Some(candidate) = opened.store.restart_rollback() else {
        return Ok(());
    };
    opened.store.commit(candidate, &clock::utc_now());
    let mut lines = Lines::default();
    lines.set(opened.store.current());
    let appended = opened.journal.append(&lines, Room::UseReserve);
    appended.map_err(|error| match error {
        AppendError::Full(why) | AppendError::Failed(why) => {
            unwritable(&opened.journal.folder.path, &why)
        }
    })
}

/// What to do where every line is good and the store still cannot be opened; `from`: what a recovery would continue from.
fn ways_on(code: &str, from: Option<&Entry>) -> Option<String> {
    let recover = match from {
        Some(entry) => format!(
            "start once with --recover to continue from generation {}",
            entry.generation
        ),
        None => {
            "start once with --recover=initial to begin again with the initial value".to_owned()
        }
    };
    match code {
        "config-state-schema" => Some(format!(
            "{recover}, or start the version of the plugin whose schema admits this one"
        )),
        "config-state-corrupt" => Some(format!("{recover}, or restore the folder from a backup")),
        _ => None,
    }
}

fn refusal(folder: &Folder, found: &Found, broken: &Broken, fresh: &Store) -> Trouble {
    let file = folder
        .path
        .join(segment_name(found.segments[broken.segment].first));
    let file = file.display();
    if let Some(version) = broken.version() {
        return Trouble {
            code: "config-state-version",
            message: format!(
                "{file}: format version {version}; this host knows version {}",
                line::VERSION
            ),
            fix: "start the version of hotshoe that wrote it; this one leaves it as it is"
                .to_owned(),
        };
    }
    let (line, byte, why) = (broken.fault.line, broken.fault.byte, broken.why());
    let good = match broken.last_good {
        0 => "there is no good generation before it".to_owned(),
        generation => format!("last good generation is {generation}"),
    };
    let message = format!("{file}: line {line}, byte {byte}: {why}; {good}");
    let from = recovery::salvage(&found.segments, Some(broken), &|entry| fresh.admits(entry)).from;
    let fix = match from {
        Some(entry) => format!(
            "start once with --recover to continue from generation {} (the damaged file is kept as \
             {file}.corrupt-<utc>), or restore the file from a backup",
            entry.generation
        ),
        None => format!(
            "restore the file from a backup, or start once with --recover=initial to begin again with the initial value \
             (the damaged file is kept as {file}.corrupt-<utc>)"
        ),
    };
    Trouble {
        code: "config-state-corrupt",
        message,
        fix,
    }
}

/// Continues from the newest good generation: first the new segment, then the damaged ones are put aside, so that a crash in
/// between leaves a journal that can be read.
fn salvage(
    opening: &Opening<'_>,
    folder: Folder,
    found: &Found,
    broken: Option<&Broken>,
    fresh: &Store,
    trouble: Trouble,
) -> Result<Opened, Trouble> {
    let salvage = recovery::salvage(&found.segments, broken, &|entry| fresh.admits(entry));
    let (parent, document) = match (&salvage.from, opening.recover) {
        (Some(entry), _) => (entry.generation, Arc::clone(&entry.document)),
        (None, Recover::Initial) => (0, Arc::clone(&fresh.current().document)),
        (None, _) => return Err(trouble),
    };
    let entry = Entry {
        generation: salvage.highest + 1,
        parent,
        op: Op::Recover,
        at: opening.declaration.at.clone(),
        by: opening.declaration.by.clone(),
        from: None,
        reason: None,
        confirm: None,
        document,
    };
    let store_id = salvage.store.unwrap_or_else(|| fresh.store_id().to_owned());
    let declaration = Declaration {
        store_id: store_id.clone(),
        ..opening.declaration.clone()
    };
    let mut entries = salvage.kept;
    entries.retain(|kept| kept.generation < entry.generation);
    entries.push(entry.clone());
    recovery::end_passed_over(&mut entries);
    let store = Store::restore(declaration, entries)?;
    let header = Header {
        plugin: opening.declaration.topic.to_owned(),
        segment: salvage.segment,
        store: store_id,
    };
    let mut journal = create(opening, folder, header, &entry)?;
    let stamp: String = entry
        .at
        .chars()
        .filter(|c| !matches!(c, '-' | ':'))
        .collect();
    let names = found
        .segments
        .iter()
        .map(|segment| segment_name(segment.first));
    for (index, name) in names.enumerate() {
        if !salvage.damaged[index] {
            let segment = &found.segments[index];
            let len = match segment.fault {
                Some(_) => segment.good_len as u64,
                None => found.lens[index],
            };
            journal.sealed.push((segment.first, len));
            // Only the newest is ever torn and not damaged; it is no longer the newest, so nothing may be left of that.
            if segment.fault.is_some() {
                cut(&*opening.disk, &found.files[index], segment.good_len)
                    .map_err(|error| unwritable(&journal.folder.path.join(&name), &error))?;
            }
            continue;
        }
        let aside = format!("{name}.corrupt-{stamp}");
        journal
            .folder
            .rename(&name, &aside)
            .map_err(|error| unwritable(&journal.folder.path.join(&name), &error))?;
        tracing::warn!(
            topic = opening.declaration.topic,
            "{name} was damaged and is kept as {}",
            journal.folder.path.join(&aside).display()
        );
    }
    journal
        .folder
        .sync()
        .map_err(|error| unwritable(&journal.folder.path, &error))?;
    tracing::warn!(
        code = "config-state-recovered",
        topic = opening.declaration.topic,
        "recovered: {}; generation {} continues from {}, what came between is skipped",
        trouble.message,
        entry.generation,
        match parent {
            0 => "the initial value".to_owned(),
            parent => format!("generation {parent}"),
        },
    );
    Ok(Opened {
        store,
        journal,
        recovered: true,
        history_damaged: false,
    })
}

fn cut(disk: &dyn Disk, file: &File, len: usize) -> io::Result<()> {
    disk.truncate(file, len as u64)?;
    disk.sync(file)
}
