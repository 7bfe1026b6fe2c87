//! What the journal asks of the operating system: the calls of the commit path, which a test replaces to make them fail, and
//! a folder that is opened without following links. Interprets nothing that it reads.

use crate::services::folder;
use rustix::{
    fd::OwnedFd,
    fs::{self, AtFlags, CWD, Dir, FallocateFlags, FileType, FlockOperation, Mode, OFlags, Stat},
    io::Errno,
    process::geteuid,
};
use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

/// The calls between a change and its answer. The default of each is the real one.
pub(crate) trait Disk: Send + Sync {
    /// Secures space behind `at` without making the file longer.
    fn reserve(&self, file: &File, at: u64, len: u64) -> io::Result<()> {
        Ok(fs::fallocate(file, FallocateFlags::KEEP_SIZE, at, len)?)
    }

    /// Writes all of it there.
    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }

    /// The commit point.
    fn sync(&self, file: &File) -> io::Result<()> {
        Ok(fs::fdatasync(file)?)
    }

    /// Cuts the file, and gives back the space that was secured behind the cut.
    fn truncate(&self, file: &File, len: u64) -> io::Result<()> {
        Ok(fs::ftruncate(file, len)?)
    }
}

/// The machine's.
pub(crate) struct RealDisk;

impl Disk for RealDisk {}

/// There is no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOSPC | Errno::DQUOT)
    )
}

/// This file system cannot secure space.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::OPNOTSUPP | Errno::NOSYS)
    )
}

/// Why a folder cannot be used.
#[derive(Debug)]
pub(super) enum FolderError {
    /// It, or a file in it, is not ours alone.
    Permissions {
        path: PathBuf,
        why: String,
    },
    /// Another host holds it; its process id where the lock file says it.
    Locked {
        path: PathBuf,
        pid: Option<u32>,
    },
    Io {
        path: PathBuf,
        error: io::Error,
    },
}

/// A topic's folder, locked.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    folder: OwnedFd,
    /// Held, not used: the lock goes with it.
    _lock: File,
}

impl Folder {
    /// `<state_dir>/config/<topic>`, made where it is missing, and its lock.
    pub(super) fn open(state_dir: &Path, topic: &str) -> Result<Self, FolderError> {
        let failed = |path: &Path, error: io::Error| FolderError::Io {
            path: path.to_owned(),
            error,
        };
        folder::make_private(state_dir).map_err(|error| failed(state_dir, error))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut folder = fs::openat(CWD, state_dir, flags, Mode::empty())
            .map_err(|error| failed(state_dir, error.into()))?;
        ours(&folder, state_dir, 0o022)?;
        let mut path = state_dir.to_owned();
        for name in ["config", topic] {
            path.push(name);
            match fs::mkdirat(&folder, name, Mode::RWXU) {
                Ok(()) => fs::fsync(&folder).map_err(|error| failed(&path, error.into()))?,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(failed(&path, error.into())),
            }
            folder = fs::openat(&folder, name, flags | OFlags::NOFOLLOW, Mode::empty())
                .map_err(|error| opened(&path, error))?;
            ours(&folder, &path, 0o077)?;
        }
        let lock = lock(&folder, &path.join("LOCK"))?;
        Ok(Self {
            path,
            folder,
            _lock: lock,
        })
    }

    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let entries = Dir::read_from(&self.folder)?;
        entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    /// An existing file, for reading and writing, and what it holds.
    pub(super) fn read(&self, name: &str) -> Result<(File, Vec<u8>), FolderError> {
        let path = self.path.join(name);
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = fs::openat(&self.folder, name, flags, Mode::empty())
            .map_err(|error| opened(&path, error))?;
        file_of_ours(&file, &path)?;
        let mut file = File::from(file);
        let mut bytes = Vec::new();
        match file.read_to_end(&mut bytes) {
            Ok(_) => Ok((file, bytes)),
            Err(error) => Err(FolderError::Io { path, error }),
        }
    }

    /// A new file of which nobody can tell whether it is there, until [`Folder::publish`].
    pub(super) fn create(&self, name: &str) -> io::Result<File> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(&self.folder, name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(file.into())
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(fs::renameat(&self.folder, from, &self.folder, to)?)
    }

    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(fs::unlinkat(&self.folder, name, AtFlags::empty())?)
    }

    /// Makes names durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(fs::fsync(&self.folder)?)
    }
}

/// A link where a file or folder is expected fails the open with one of these.
fn opened(path: &Path, error: Errno) -> FolderError {
    let path = path.to_owned();
    match error {
        Errno::LOOP | Errno::MLINK | Errno::NOTDIR => FolderError::Permissions {
            path,
            why: "it is a link, or not what it should be".to_owned(),
        },
        Errno::ACCESS | Errno::PERM => FolderError::Permissions {
            path,
            why: "this user may not open it".to_owned(),
        },
        error => FolderError::Io {
            path,
            error: error.into(),
        },
    }
}

/// Owner and mode; answers what else the file system says.
fn ours(file: &OwnedFd, path: &Path, forbidden: u32) -> Result<Stat, FolderError> {
    let refuse = |why: String| FolderError::Permissions {
        path: path.to_owned(),
        why,
    };
    let stat = fs::fstat(file).map_err(|error| FolderError::Io {
        path: path.to_owned(),
        error: error.into(),
    })?;
    let user = geteuid().as_raw();
    if stat.st_uid != user {
        let why = format!("it belongs to user {}, not {user}", stat.st_uid);
        return Err(refuse(why));
    }
    let mode = stat.st_mode & 0o777;
    if mode & forbidden != 0 {
        let wanted = mode & !forbidden;
        return Err(refuse(format!(
            "its mode is {mode:04o}, wanted {wanted:04o}"
        )));
    }
    Ok(stat)
}

fn file_of_ours(file: &OwnedFd, path: &Path) -> Result<(), FolderError> {
    let stat = ours(file, path, 0o077)?;
    let why = match (FileType::from_raw_mode(stat.st_mode), stat.st_nlink) {
        (FileType::RegularFile, 1) => return Ok(()),
        (FileType::RegularFile, links) => format!("it has {links} names"),
        _ => "it is no plain file".to_owned(),
    };
    Err(FolderError::Permissions {
        path: path.to_owned(),
        why,
    })
}

fn lock(folder: &OwnedFd, path: &Path) -> Result<File, FolderError> {
    let io = |error: io::Error| FolderError::Io {
        path: path.to_owned(),
        error,
    };
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = fs::openat(folder, "LOCK", flags, Mode::RUSR | Mode::WUSR)
        .map_err(|error| opened(path, error))?;
    file_of_ours(&lock, path)?;
    let mut lock = File::from(lock);
    match fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut text = String::new();
            // Who holds it is a courtesy; that somebody does is what matters.
            let _ = lock.read_to_string(&mut text);
            return Err(FolderError::Locked {
                path: path.to_owned(),
                pid: text.trim().parse().ok(),
            });
        }
        Err(error) => return Err(io(error.into())),
    }
    let pid = format!("{}\n", std::process::id());
    // For whoever finds it locked. A disk without room for it still takes the lock.
    let _ = lock
        .set_len(0)
        .and_then(|()| lock.write_all(pid.as_bytes()));
    Ok(lock)
}
