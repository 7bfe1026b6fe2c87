//! The folders of a run: where they are, that they are private, and that no other host of the name uses them.

use hotshoe::{Blame, ExitCode, Problem};
use rustix::{
    fs::{FlockOperation, flock},
    process::geteuid,
};
use std::{
    env, fs,
    fs::File,
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// The admin socket's file name in a run folder.
pub(crate) const ADMIN_SOCKET: &str = "admin.sock";

/// A host's folders, held as long as this value lives.
pub(crate) struct Dirs {
    pub(crate) run: PathBuf,
    pub(crate) state: PathBuf,
    _lock: File,
}

/// The folder that holds a run folder per host: `$XDG_RUNTIME_DIR/hotshoe`, else `<tmp>/hotshoe-<uid>`.
pub(crate) fn run_parent() -> PathBuf {
    match absolute("XDG_RUNTIME_DIR") {
        Some(folder) => folder.join("hotshoe"),
        None => env::temp_dir().join(format!("hotshoe-{}", geteuid().as_raw())),
    }
}

/// A service manager's `$RUNTIME_DIRECTORY`: the run folder itself, of the one host that is started with it. A command that is
/// to find that host is given the same.
pub(crate) fn run_dir_of_service() -> Option<PathBuf> {
    of_service("RUNTIME_DIRECTORY")
}

/// The run folder of the host `name`.
fn run_dir(name: &str) -> PathBuf {
    run_dir_of_service().unwrap_or_else(|| run_parent().join(name))
}

fn state_dir(name: &str) -> PathBuf {
    if let Some(folder) = of_service("STATE_DIRECTORY") {
        return folder;
    }
    let home = || absolute("HOME").map(|home| home.join(".local/state"));
    let parent = absolute("XDG_STATE_HOME")
        .or_else(home)
        .unwrap_or_else(run_parent);
    parent.join("hotshoe").join(name)
}

fn absolute(variable: &str) -> Option<PathBuf> {
    env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}

/// The folder in a service manager's variable; of several, which it puts one behind the other with colons, the first.
fn of_service(variable: &str) -> Option<PathBuf> {
    let value = env::var_os(variable)?;
    env::split_paths(&value)
        .next()
        .filter(|path| path.is_absolute())
}

/// Makes the folders and takes the lock.
///
/// # Errors
/// `run-dir` where a folder cannot be made or is somebody else's; `already-running` where another host holds the lock.
pub(crate) fn open(name: &str) -> Result<Dirs, Problem> {
    let run = run_dir(name);
    if let Some(parent) = run.parent().filter(|parent| *parent == run_parent()) {
        private(parent)?;
    }
    private(&run)?;
    let path = run.join("lock");
    let lock = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| refused(&path, &error.to_string()))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        let headline = format!("another host named `{name}` is running");
        return Err(Problem::error(ExitCode::Init, Blame::Operator, "already-running", headline)
            .wanted(format!("the lock {}", path.display()))
            .found("it is held by a running process")
            .fix(format!("stop it (`hotshoe status --host {name}` shows it), or give this one another [host] name")));
    }
    Ok(Dirs {
        run,
        state: state_dir(name),
        _lock: lock,
    })
}

/// Makes a folder that only this user can enter, or makes sure of one that is there.
fn private(path: &Path) -> Result<(), Problem> {
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(path);
    made.map_err(|error| refused(path, &error.to_string()))?;
    let found =
        fs::symlink_metadata(path).map_err(|error: io::Error| refused(path, &error.to_string()))?;
    if !found.is_dir() {
        return Err(refused(path, "it is no folder"));
    }
    if found.uid() != geteuid().as_raw() {
        return Err(refused(
            path,
            &format!("it belongs to user {}", found.uid()),
        ));
    }
    if found.mode() & 0o022 != 0 {
        return Err(refused(
            path,
            &format!("others may write to it (mode {:o})", found.mode() & 0o777),
        ));
    }
    Ok(())
}

fn refused(path: &Path, why: &str) -> Problem {
    let headline = format!("the run folder {} cannot be used: {why}", path.display());
    Problem::error(ExitCode::Init, Blame::Environment, "run-dir", headline)
        .wanted("a folder of this user's that nobody else may write to")
        .fix("remove it, or set XDG_RUNTIME_DIR to a private folder")
}
