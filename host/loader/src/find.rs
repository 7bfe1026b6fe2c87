//! From the `library` of a config entry to a file (DESIGN §11): a path as it stands, or a bare name looked for in folders.
//!
//! It looks only where it was told to, in that order, takes the first name that is there whatever it is, and never falls
//! back to the system's library search. Whether the file is a plugin is `verify`'s question.

use crate::error::{Refusal, RefusalCode, absolute, list, printable_path};
use std::{
    env::consts::{DLL_PREFIX, DLL_SUFFIX},
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf, is_separator},
};

/// What a config entry calls its library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LibraryName {
    /// A name to look for.
    Bare(String),
    /// A file.
    Path(PathBuf),
}

impl LibraryName {
    /// A text with a separator is a path relative to `folder` (the config file's); any other is a bare name.
    #[must_use]
    pub fn new(text: &str, folder: &Path) -> Self {
        if text.contains(is_separator) {
            Self::Path(folder.join(text))
        } else {
            Self::Bare(text.to_owned())
        }
    }
}

/// The folders for bare names: `plugin_path` (relative ones from the config file's folder), then that folder, then the
/// executable's. Doubles are left out.
#[must_use]
pub fn search_folders(plugin_path: &[PathBuf], config_folder: &Path) -> Vec<PathBuf> {
    let executable = std::env::current_exe().ok();
    let executable_folder = executable
        .as_deref()
        .and_then(Path::parent)
        .map(Path::to_path_buf);
    let mut folders: Vec<PathBuf> = Vec::new();
    let named = plugin_path.iter().map(|folder| config_folder.join(folder));
    for folder in named
        .chain([config_folder.to_path_buf()])
        .chain(executable_folder)
    {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}

/// Finds the file. `library` is a path, or a bare name `foo-bar` that stands for `libfoo_bar.so` (as cargo names it),
/// `libfoo-bar.so`, `foo_bar.so`, `foo-bar.so` or, where it has the suffix already, for itself, in the first folder that
/// has one of them.
///
/// # Errors
/// [`RefusalCode::NotFound`], with every place tried and near misses among the libraries there.
pub fn find(library: &LibraryName, search: &[PathBuf]) -> Result<PathBuf, Refusal> {
    match library {
        LibraryName::Path(path) if present(path) => Ok(path.clone()),
        LibraryName::Path(path) => Err(no_such_file(path)),
        LibraryName::Bare(name) => find_bare(name, search),
    }
}

fn find_bare(name: &str, search: &[PathBuf]) -> Result<PathBuf, Refusal> {
    if name.is_empty() {
        return Err(Refusal::new(
            RefusalCode::NotFound,
            Path::new(name),
            "`library` is empty",
            "a name or a path",
            "an empty text",
        )
        .fix("write library = \"NAME\" or library = \"./FILE\""));
    }
    let names = candidates(name);
    let mut tried = Vec::new();
    for folder in search {
        for file_name in &names {
            let path = folder.join(file_name);
            if present(&path) {
                return Ok(path);
            }
            tried.push(path);
        }
    }
    Err(no_such_name(name, &names, search, &tried))
}

/// The file names that a bare name stands for, cargo's own first.
fn candidates(name: &str) -> Vec<String> {
    let underscored = name.replace('-', "_");
    let mut names: Vec<String> = Vec::new();
    let mut add = |name: String| {
        if !names.contains(&name) {
            names.push(name);
        }
    };
    if name.ends_with(DLL_SUFFIX) {
        add(name.to_owned());
        add(underscored);
    } else {
        add(format!("{DLL_PREFIX}{underscored}{DLL_SUFFIX}"));
        add(format!("{DLL_PREFIX}{name}{DLL_SUFFIX}"));
        add(format!("{underscored}{DLL_SUFFIX}"));
        add(format!("{name}{DLL_SUFFIX}"));
    }
    names
}

/// A dangling link is there: `verify` says where it leads, which is more than "not found".
fn present(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn no_such_file(path: &Path) -> Refusal {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let wanted = path.file_name().unwrap_or_default();
    let near = near_misses(&stem(wanted), &[folder.to_path_buf()]);
    let found = match fs::metadata(folder) {
        Err(error) => format!("no folder {}: {}", printable_path(folder), reason(&error)),
        Ok(meta) if !meta.is_dir() => format!("{} is not a folder", printable_path(folder)),
        Ok(_) => "no such file".to_owned(),
    };
    let refusal = Refusal::new(
        RefusalCode::NotFound,
        path,
        "does not exist",
        format!("a file at {}", printable_path(&absolute(path))),
        with_near(found, &near),
    );
    refusal.fix(match near.first() {
        Some(path) => format!("did you mean {}?", printable_path(path)),
        None => "correct `library`; a relative path starts at the config file's folder".to_owned(),
    })
}

fn no_such_name(name: &str, names: &[String], search: &[PathBuf], tried: &[PathBuf]) -> Refusal {
    let folders: Vec<String> = search.iter().map(|folder| folder_state(folder)).collect();
    let near = near_misses(&stem(OsStr::new(name)), search);
    let lines: Vec<String> = tried.iter().map(|path| printable_path(path)).collect();
    Refusal::new(
        RefusalCode::NotFound,
        Path::new(name),
        format!(
            "is no library in any of the {} folders searched",
            search.len()
        ),
        format!("{} in {}", list(names, "or"), list(&folders, "or")),
        with_near("no such file".to_owned(), &near),
    )
    .fix(match near.first() {
        Some(path) => format!(
            "did you mean library = \"{}\"?",
            printable_path(Path::new(&stem(path.as_os_str())))
        ),
        None => "correct `library`, or add the folder to [host] plugin_path".to_owned(),
    })
    .detail(format!("tried:\n  {}", lines.join("\n  ")))
}

fn folder_state(folder: &Path) -> String {
    let name = printable_path(&absolute(folder));
    match fs::read_dir(folder) {
        Ok(_) => name,
        Err(error) => format!("{name} ({})", reason(&error)),
    }
}

/// The system's reason without its number.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((reason, _)) => reason.to_lowercase(),
        None => text,
    }
}

/// What to do about a failure of the system's; `otherwise` where it is not that the process may open no more files.
#[must_use]
pub fn remedy(error: &io::Error, otherwise: impl Into<String>) -> String {
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        if let Some(Errno::MFILE | Errno::NFILE) = Errno::from_io_error(error) {
            return "raise the limit of open files (`ulimit -n`), or look for a plugin that uses them up".to_owned();
        }
    }
    let _ = error;
    otherwise.into()
}

fn with_near(found: String, near: &[PathBuf]) -> String {
    if near.is_empty() {
        return found;
    }
    let names: Vec<String> = near.iter().map(|path| printable_path(path)).collect();
    format!("{found}; near: {}", list(&names, "and"))
}

/// A library's name without what the system adds to it: `libfoo_bar.so` is `foo_bar`.
fn stem(name: &OsStr) -> String {
    let name = Path::new(name)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let name = name.strip_suffix(DLL_SUFFIX).unwrap_or(&name);
    let name = name.strip_prefix(DLL_PREFIX).unwrap_or(name);
    name.replace('-', "_")
}

/// At most three libraries whose names come close, closest first.
fn near_misses(wanted: &str, folders: &[PathBuf]) -> Vec<PathBuf> {
    /// A folder with more is not a plugin folder; reading on would only be slow.
    const ENTRIES_MAX: usize = 10_000;
    let wanted = wanted.to_lowercase();
    let mut near: Vec<(usize, PathBuf)> = Vec::new();
    for folder in folders {
        let Ok(entries) = fs::read_dir(folder) else {
            continue;
        };
        for entry in entries.take(ENTRIES_MAX).flatten() {
            let name = entry.file_name();
            if !name.to_string_lossy().ends_with(DLL_SUFFIX) {
                continue;
            }
            if let Some(distance) = closeness(&wanted, &stem(&name).to_lowercase()) {
                // Absolute: what is relative here starts elsewhere than what an entry says.
                near.push((distance, absolute(&entry.path())));
            }
        }
    }
    near.sort();
    near.truncate(3);
    near.into_iter().map(|(_, path)| path).collect()
}

/// How many edits apart, if that is close: a third of the letters, or one name holding the other.
fn closeness(wanted: &str, there: &str) -> Option<usize> {
    const NAME_LEN_MAX: usize = 128;
    if wanted.is_empty() || wanted.len() > NAME_LEN_MAX || there.len() > NAME_LEN_MAX {
        return None;
    }
    let distance = edits(wanted, there);
    let close = distance <= (wanted.chars().count() / 3).max(1);
    let holds = wanted.len() >= 3
        && (there.contains(wanted) || (there.len() >= 3 && wanted.contains(there)));
    (close || holds).then_some(distance)
}

/// Levenshtein's distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let changed = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("tempdir");
        for file in files {
            fs::write(folder.path().join(file), b"x").expect("write");
        }
        folder
    }

    fn bare(name: &str) -> LibraryName {
        LibraryName::new(name, Path::new("/config"))
    }

    #[test]
    fn a_name_with_a_separator_is_a_path_from_the_config_file() {
        assert_eq!(bare("./x.so"), LibraryName::Path("/config/./x.so".into()));
        assert_eq!(bare("/abs/x.so"), LibraryName::Path("/abs/x.so".into()));
        assert_eq!(bare("x.so"), LibraryName::Bare("x.so".into()));
    }

    #[test]
    fn a_bare_name_stands_for_what_cargo_makes_of_it() {
        let first = folder(&["libother.so"]);
        let second = folder(&["libhotshoe_quickstart.so", "plain.so", "lib-dashed.so"]);
        let search = [first.path().to_path_buf(), second.path().to_path_buf()];
        for (name, file) in [
            ("hotshoe_quickstart", "libhotshoe_quickstart.so"),
            ("hotshoe-quickstart", "libhotshoe_quickstart.so"),
            ("libhotshoe_quickstart.so", "libhotshoe_quickstart.so"),
            ("plain", "plain.so"),
            ("plain.so", "plain.so"),
            ("-dashed", "lib-dashed.so"),
        ] {
            assert_eq!(
                find(&bare(name), &search).expect(name),
                second.path().join(file)
            );
        }
    }

    #[test]
    fn the_first_folder_wins_and_a_dangling_link_counts() {
        let first = folder(&[]);
        let second = folder(&["libx.so"]);
        std::os::unix::fs::symlink("nowhere", first.path().join("libx.so")).expect("symlink");
        let search = [first.path().to_path_buf(), second.path().to_path_buf()];
        assert_eq!(
            find(&bare("x"), &search).expect("found"),
            first.path().join("libx.so")
        );
    }

    #[test]
    fn what_is_missing_is_named_with_every_place_and_near_misses() {
        let here = folder(&[
            "libhotshoe_quickstart.so",
            "libunrelated.so",
            "hotshoe_quickstart.txt",
        ]);
        let gone = here.path().join("gone");
        let search = [here.path().to_path_buf(), gone.clone()];
        let refusal = find(&bare("hotshoe_quikstart"), &search).expect_err("misspelt");
        assert_eq!(refusal.code, RefusalCode::NotFound);
        let shown = here.path().display();
        assert_eq!(
            refusal.to_string(),
            "hotshoe_quikstart is no library in any of the 2 folders searched"
        );
        assert_eq!(
            &*refusal.wanted,
            format!(
                "libhotshoe_quikstart.so or hotshoe_quikstart.so in {shown} or {} (no such file or directory)",
                gone.display()
            )
        );
        assert_eq!(
            &*refusal.found,
            format!("no such file; near: {shown}/libhotshoe_quickstart.so")
        );
        assert_eq!(
            refusal.fix.as_deref(),
            Some("did you mean library = \"hotshoe_quickstart\"?")
        );
        let detail = refusal.detail.expect("places");
        assert_eq!(detail.lines().count(), 5, "{detail}");

        let path = here.path().join("libhotshoe-quickstart.so");
        let refusal = find(&LibraryName::Path(path.clone()), &[]).expect_err("misspelt");
        assert_eq!(
            refusal.to_string(),
            format!("{} does not exist", path.display())
        );
        assert_eq!(
            refusal.fix.as_deref(),
            Some(&*format!("did you mean {shown}/libhotshoe_quickstart.so?"))
        );
        let refusal = find(&LibraryName::Path(gone.join("x.so")), &[]).expect_err("no folder");
        assert!(refusal.found.starts_with("no folder "), "{}", refusal.found);
        assert!(find(&bare(""), &search).is_err());
        assert!(find(&bare("nul\0byte"), &search).is_err());
    }

    /// A folder that is relative to where the host was started is not what `library` is relative to.
    #[test]
    fn a_near_miss_can_be_written_into_the_configuration_as_it_is_told() {
        let here = std::env::current_dir().expect("a working folder");
        let folder = tempfile::tempdir_in(&here).expect("tempdir");
        let relative = folder.path().strip_prefix(&here).expect("below");
        fs::write(relative.join("libplugin.so"), b"x").expect("write");
        let name = LibraryName::new("./libplugni.so", relative);
        let refusal = find(&name, &[]).expect_err("misspelt");
        let there = folder.path().join("libplugin.so");
        let fix = format!("did you mean {}?", there.display());
        assert_eq!(refusal.fix.as_deref(), Some(&*fix));
        let corrected = LibraryName::new(there.to_str().expect("UTF-8"), relative);
        find(&corrected, &[]).expect("what was told is there");
    }

    #[test]
    fn the_search_goes_plugin_path_config_executable() {
        let folders = search_folders(
            &["plugins".into(), "/opt/plugins".into(), ".".into()],
            Path::new("/etc/hs"),
        );
        assert_eq!(folders[0], Path::new("/etc/hs/plugins"));
        assert_eq!(folders[1], Path::new("/opt/plugins"));
        // Path equality ignores the `.`: the config file's folder is not searched twice.
        assert_eq!(folders.len(), 4);
        assert_eq!(
            folders[3],
            std::env::current_exe()
                .expect("exe")
                .parent()
                .expect("folder")
        );
    }

    #[test]
    fn edits_are_counted() {
        for (a, b, distance) in [
            ("", "", 0),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("flaw", "lawn", 2),
        ] {
            assert_eq!(edits(a, b), distance, "{a} {b}");
        }
    }
}
