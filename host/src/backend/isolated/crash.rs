//! What is kept of a worker's death for whoever asks later: how, at which task, and its last words. One JSON file each in the
//! state folder, the newest ten of an instance, for this user alone: a plugin's log may hold what nobody else is to read. A
//! record that cannot be written is known until the host ends.

use crate::{services::folder::make_private, status::Crash};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// Records kept of one instance.
const CRASHES_MAX: usize = 10;

/// The largest record that is read back: a hundred lines of the longest kind.
const RECORD_LEN_MAX: u64 = 2 << 20;

/// `crashes/<instance>` in the state folder.
fn folder(state_dir: &Path, instance: &str) -> PathBuf {
    state_dir.join("crashes").join(instance)
}

/// Writes a record. There are never more of them than the limit, at whatever moment the host leaves.
fn write(folder: &Path, crash: &Crash) -> io::Result<()> {
    make_private(folder)?;
    let bytes = serde_json::to_vec_pretty(crash).map_err(io::Error::other)?;
    let half = folder.join(".new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(&half)?.write_all(&bytes)?;
    // Renamed into place: whoever reads finds it whole.
    fs::rename(&half, make_room(folder)?)
}

/// Removes the oldest records until there is room for one more; answers where it goes.
fn make_room(folder: &Path) -> io::Result<PathBuf> {
    let names = names(folder)?;
    for old in names.iter().rev().skip(CRASHES_MAX - 1) {
        fs::remove_file(folder.join(old))?;
    }
    let newest = names.last().and_then(|name| number(name)).unwrap_or(0);
    Ok(folder.join(format!("{:08}.json", newest.saturating_add(1))))
}

/// What is known of an instance's deaths.
pub(crate) struct Crashes {
    folder: PathBuf,
    /// Those of this run, the newest: whether they can be written down or not, whoever asks is told of them.
    newest: Mutex<VecDeque<Crash>>,
}

impl Crashes {
    pub(crate) fn of(state_dir: &Path, instance: &str) -> Self {
        Self {
            folder: folder(state_dir, instance),
            newest: Mutex::default(),
        }
    }

    /// Takes note of a death; answers what to tell where it cannot be written down.
    pub(crate) fn note(&self, crash: Crash) -> Result<(), String> {
        let written = write(&self.folder, &crash);
        let mut newest = self.newest.lock();
        newest.push_back(crash);
        if newest.len() > CRASHES_MAX {
            newest.pop_front();
        }
        written.map_err(|error| {
            let folder = self.folder.display();
            let fix = hotshoe_loader::remedy(
                &error,
                format!("make {folder} a folder that the host may write to"),
            );
            format!("the record of a worker's death cannot be written to {folder}: {error}; `hotshoe status` shows it as long as this host runs; {fix}")
        })
    }

    /// The newest of all, oldest first.
    pub(crate) fn read(&self) -> Vec<Crash> {
        let mut all = read(&self.folder);
        let newest = self.newest.lock();
        let unwritten = newest.iter().filter(|crash| !all.contains(crash));
        let unwritten: Vec<Crash> = unwritten.cloned().collect();
        all.extend(unwritten);
        // Text that sorts as the times do.
        all.sort_by(|a, b| a.at.cmp(&b.at));
        all.split_off(all.len().saturating_sub(CRASHES_MAX))
    }
}

/// The records that are kept, oldest first. What cannot be read is left out.
fn read(folder: &Path) -> Vec<Crash> {
    let names = names(folder).unwrap_or_default();
    let records = names.iter().filter_map(|name| {
        let path = folder.join(name);
        let short = fs::metadata(&path).is_ok_and(|file| file.len() <= RECORD_LEN_MAX);
        let bytes = short.then(|| fs::read(&path).ok()).flatten()?;
        serde_json::from_slice(&bytes).ok()
    });
    records.collect()
}

fn number(name: &str) -> Option<u64> {
    name.strip_suffix(".json")?.parse().ok()
}

/// The records' names, oldest first.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| number(name).is_some())
        .collect();
    names.sort_by_key(|name| number(name));
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_ten_are_kept_and_read_back() {
        let state = tempfile::tempdir().expect("a folder");
        let folder = folder(state.path(), "x");
        assert!(read(&folder).is_empty());
        for number in 0..13 {
            let crash = Crash {
                at: "2026-11-25T00:00:00.000Z".to_owned(),
                how: format!("died {number}"),
                task: Some(number),
                log: vec!["a line".to_owned()],
            };
            write(&folder, &crash).expect("written");
        }
        fs::write(folder.join("99999999.json"), "no record").expect("written");
        let kept = read(&folder);
        let how: Vec<&str> = kept.iter().map(|crash| crash.how.as_str()).collect();
        assert_eq!((how.len(), how[0], how[9]), (10, "died 3", "died 12"));
        assert_eq!(kept[9].log, ["a line"]);
    }

    #[test]
    fn a_record_is_its_users_alone_and_so_is_every_folder_that_is_made_for_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let above = tempfile::tempdir().expect("a folder");
        let state = above.path().join("state");
        let folder = folder(&state, "x");
        let crash = Crash {
            at: "2026-11-25T00:00:00.000Z".to_owned(),
            how: "died".to_owned(),
            task: None,
            log: vec!["a secret".to_owned()],
        };
        write(&folder, &crash).expect("written");
        let mode = |path: &Path| fs::metadata(path).expect("made").permissions().mode() & 0o777;
        let folders = [&state, &state.join("crashes"), &folder];
        assert_eq!(folders.map(|path| mode(path)), [0o700; 3]);
        assert_eq!(mode(&folder.join("00000001.json")), 0o600);
    }

    #[test]
    fn what_cannot_be_written_is_known_all_the_same_and_nothing_is_told_twice() {
        let state = tempfile::tempdir().expect("a folder");
        let crashes = Crashes::of(state.path(), "x");
        let note = |number: usize| {
            crashes.note(Crash {
                at: format!("2026-11-25T00:00:{number:02}.000000Z"),
                how: format!("died {number}"),
                task: None,
                log: Vec::new(),
            })
        };
        let known = || -> Vec<String> {
            let all = crashes.read().into_iter();
            all.map(|crash| crash.how.replace("died ", "")).collect()
        };
        note(1).expect("written");
        fs::rename(state.path().join("crashes"), state.path().join("before")).expect("renamed");
        fs::write(state.path().join("crashes"), "no folder").expect("written");
        let told = note(2).expect_err("no folder");
        let folder = state.path().join("crashes/x").display().to_string();
        assert!(told.contains(&folder), "{told}");
        assert_eq!(known(), ["1", "2"]);
        fs::remove_file(state.path().join("crashes")).expect("removed");
        fs::rename(state.path().join("before"), state.path().join("crashes")).expect("renamed");
        for number in 3..=12 {
            note(number).expect("written");
        }
        let expected: Vec<String> = (3..=12).map(|number| number.to_string()).collect();
        assert_eq!(known(), expected);
    }

    #[test]
    fn whoever_leaves_before_the_newest_is_there_leaves_no_more_than_ten() {
        let state = tempfile::tempdir().expect("a folder");
        for number in 1..=10 {
            fs::write(state.path().join(format!("{number:08}.json")), "").expect("written");
        }
        let next = make_room(state.path()).expect("room");
        assert_eq!(next, state.path().join("00000011.json"));
        assert_eq!(names(state.path()).expect("names").len(), 9);
    }
}
