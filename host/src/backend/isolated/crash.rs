//! What is kept of a worker's death for whoever asks later: how, at which task, and its last words. One JSON file each in the
//! state folder, the newest ten of an instance, for this user alone: a plugin's log may hold what nobody else is to read. A record that cannot be written is logged, and nothing else suffers.

use crate::{services::folder::make_private, status::Crash};
use std::{
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
pub(crate) fn folder(state_dir: &Path, instance: &str) -> PathBuf {
    state_dir.join("crashes").join(instance)
}

/// Writes a record. There are never more of them than the limit, at whatever moment the host leaves.
pub(crate) fn write(folder: &Path, crash: &Crash) -> io::Result<()> {
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

/// The records that are kept, oldest first. What cannot be read is left out.
pub(crate) fn read(folder: &Path) -> Vec<Crash> {
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
