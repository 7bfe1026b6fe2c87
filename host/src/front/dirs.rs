//! The folders of a run: where they are, that they are private, that no other host of the name uses them, and that nothing
//! in them tells of one that is gone.

use hotshoe::{Blame, ExitCode, Problem};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
    process::{Pid, geteuid, test_kill_process},
};
use std::{
    env, fs,
    fs::File,
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// The admin socket's file name in a run folder.
pub(crate) const ADMIN_SOCKET: &str = "admin.sock";
/// How the name of a file ends that says where a plugin listens (config-api §11).
pub(crate) const ADDRESS_FILE: &str = ".addr";
/// And that of one that was being written when its host was killed.
const ADDRESS_FILE_UNFINISHED: &str = ".addr.tmp";
/// The lock's file name in a run folder.
const LOCK: &str = "lock";
/// How long a start waits for commands that look whether the lock is held. One holds it for microseconds; it may be stopped
/// right there.
const LOOK_PATIENCE: Duration = Duration::from_secs(5);

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

/// The folders that the host `name` makes itself.
pub(crate) fn own(name: &str) -> Vec<PathBuf> {
    vec![run_dir(name), state_dir(name)]
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

/// Makes the folders, takes the lock, and removes what a host that was killed left in the run folder: an address in there would
/// send a command, and the token it brings, to whoever has the port now.
///
/// # Errors
/// `run-dir` where a folder cannot be made or is somebody else's; `already-running` where another host holds the lock.
pub(crate) fn open(name: &str) -> Result<Dirs, Problem> {
    let run = run_dir(name);
    if let Some(parent) = run.parent().filter(|parent| *parent == run_parent()) {
        private(parent)?;
    }
    private(&run)?;
    let path = run.join(LOCK);
    let lock = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| refused(&path, &error.to_string()))?;
    if !take(&lock) {
        let headline = format!("another host named `{name}` is running");
        return Err(Problem::error(ExitCode::Init, Blame::Operator, "already-running", headline)
            .wanted(format!("the lock {}", path.display()))
            .found("it is held by a running process")
            .fix(format!("stop it (`hotshoe status --host {name}` shows it), or give this one another [host] name")));
    }
    sweep(&run);
    remove_stages(&run);
    Ok(Dirs {
        run,
        state: state_dir(name),
        _lock: lock,
    })
}

/// Whether a host holds the lock of that run folder. Asked with a shared lock, given back at once: a host that starts at the
/// same moment waits for it.
pub(crate) fn is_locked(run: &Path) -> bool {
    let Ok(lock) = File::open(run.join(LOCK)) else {
        return false;
    };
    let asked = flock(&lock, FlockOperation::NonBlockingLockShared);
    let _ = flock(&lock, FlockOperation::Unlock);
    asked == Err(Errno::WOULDBLOCK)
}

/// Takes the lock, unless another host has it.
fn take(lock: &File) -> bool {
    let begun = Instant::now();
    while flock(lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        // Beside a host not even a shared lock is to be had; beside those who only look it is.
        if flock(lock, FlockOperation::NonBlockingLockShared).is_err()
            || begun.elapsed() > LOOK_PATIENCE
        {
            return false;
        }
        let _ = flock(lock, FlockOperation::Unlock);
        thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Removes the addresses of a host that is gone. Called by the holder of the lock.
fn sweep(run: &Path) {
    for file in fs::read_dir(run).into_iter().flatten().flatten() {
        let name = file.file_name();
        let name = name.to_string_lossy();
        if name == ADMIN_SOCKET
            || name.ends_with(ADDRESS_FILE)
            || name.ends_with(ADDRESS_FILE_UNFINISHED)
        {
            // One that stays does no harm while the admin socket can be asked.
            let _ = fs::remove_file(file.path());
        }
    }
}

/// Removes the private copies of libraries (`stage = "directory"`) that a killed host left in the folder, which is in memory as
/// a rule. The lock is held, so whoever made one of our own number was another, in another container.
fn remove_stages(run: &Path) {
    let Ok(entries) = fs::read_dir(run) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(owner) = name.to_str().and_then(owner_of_stage) else {
            continue;
        };
        let lives = owner != std::process::id() && lives(owner);
        // Of the entry itself, where it is a link.
        let ours = entry
            .metadata()
            .is_ok_and(|found| found.is_dir() && found.uid() == geteuid().as_raw());
        if ours && !lives {
            // Whatever cannot be removed is in nobody's way.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The process that made `stage-<pid>-<number>`.
fn owner_of_stage(name: &str) -> Option<u32> {
    let (owner, number) = name.strip_prefix("stage-")?.split_once('-')?;
    number.parse::<u32>().ok()?;
    owner.parse().ok()
}

fn lives(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // One that may not be asked lives.
    pid.is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_host_left_is_swept_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["p.addr", "q.addr.tmp", ADMIN_SOCKET, LOCK, "addr", "p.sock"];
        for name in names {
            fs::write(folder.path().join(name), "").unwrap();
        }
        sweep(folder.path());
        let left = names.map(|name| folder.path().join(name).exists());
        assert_eq!(left, [false, false, false, true, true, true]);
    }

    /// Those who only look are waited out, however many; a host is not.
    #[test]
    fn who_looks_at_the_lock_keeps_nobody_from_it() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_locked(folder.path()), "no file, no host");
        let open = || {
            let mut options = File::options();
            let options = options.create(true).truncate(false).write(true);
            options.open(folder.path().join(LOCK)).unwrap()
        };
        let looks = open();
        flock(&looks, FlockOperation::NonBlockingLockShared).unwrap();
        assert!(!is_locked(folder.path()));
        let host = open();
        thread::scope(|scope| {
            let starts = scope.spawn(|| take(&host));
            flock(&looks, FlockOperation::Unlock).unwrap();
            assert!(starts.join().unwrap());
        });
        assert!(is_locked(folder.path()));
        assert!(!take(&open()));
        flock(&host, FlockOperation::Unlock).unwrap();
        assert!(!is_locked(folder.path()));
    }
}
