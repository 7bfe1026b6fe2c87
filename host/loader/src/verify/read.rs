//! Opens a file once, without ever hanging on it, and reads it whole.
//!
//! What a path names may be a pipe, a device or a gigabyte of zeros, and may change at any moment: it is asked what it is
//! before it is opened and again through the open descriptor, and once more when it was read.

use super::{Policy, not_a_library};
use crate::{
    error::{Refusal, RefusalCode, absolute, printable_path, size},
    find::reason,
};
use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// What was read.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) bytes: Vec<u8>,
    pub(super) warnings: Vec<String>,
}

pub(super) fn read(path: &Path, policy: &Policy) -> Result<Reading, Refusal> {
    // Before the open, because opening a device may already do something.
    judge_kind(
        path,
        &fs::metadata(path).map_err(|error| cannot_open(path, &error))?,
    )?;
    let mut file = open(path).map_err(|error| cannot_open(path, &error))?;
    let before = file.metadata().map_err(|error| cannot_open(path, &error))?;
    judge_kind(path, &before)?;
    judge_size(path, &before, policy)?;
    let mut warnings = Vec::new();
    #[cfg(unix)]
    access::judge(path, &before, policy, &mut warnings)?;
    settle(path, &file, &before)?;
    let bytes = read_whole(path, &mut file, &before)?;
    Ok(Reading { bytes, warnings })
}

#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    // Non-blocking: a pipe that was put there since would wait for its writer for ever. Regular files do not notice.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

fn cannot_open(path: &Path, error: &io::Error) -> Refusal {
    let absolute = printable_path(&absolute(path));
    let leads = fs::read_link(path).ok();
    match (error.kind(), leads) {
        (io::ErrorKind::NotFound, Some(target)) => Refusal::new(
            RefusalCode::NotFound,
            path,
            "is a symbolic link that leads nowhere",
            "a link to a library",
            format!(
                "a link to {}, which does not exist",
                printable_path(&target)
            ),
        )
        .fix(format!("ln -sf LIBRARY {absolute}")),
        (io::ErrorKind::NotFound | io::ErrorKind::NotADirectory, _) => Refusal::new(
            RefusalCode::NotFound,
            path,
            "does not exist",
            format!("a file at {absolute}"),
            reason(error),
        )
        .fix("correct `library`; a relative path starts at the config file's folder"),
        (kind, _) => Refusal::new(
            RefusalCode::Unreadable,
            path,
            format!("cannot be read: {}", reason(error)),
            "a file that the host's user may read",
            reason(error),
        )
        .fix(match kind {
            io::ErrorKind::PermissionDenied => {
                format!("let the host's user read it: chmod a+r {absolute}, and a+x its folders")
            }
            _ => format!("ls -l {absolute}"),
        }),
    }
}

fn judge_kind(path: &Path, meta: &Metadata) -> Result<(), Refusal> {
    let what = kind(meta);
    if what.is_empty() {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalCode::NotAFile,
        path,
        format!("is {what}, not a file"),
        "a library file",
        what,
    )
    .fix("name the library file itself in `library`"))
}

/// What it is instead of a regular file; empty for one.
fn kind(meta: &Metadata) -> &'static str {
    if meta.is_file() {
        return "";
    }
    if meta.is_dir() {
        return "a folder";
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        let kind = meta.file_type();
        if kind.is_fifo() {
            return "a named pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
    }
    "no regular file"
}

fn judge_size(path: &Path, meta: &Metadata, policy: &Policy) -> Result<(), Refusal> {
    if meta.len() <= policy.len_bytes_max {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalCode::TooLarge,
        path,
        "is larger than a plugin may be",
        format!("at most {}", size(policy.len_bytes_max)),
        size(meta.len()),
    )
    .fix("build it in release and strip it: cargo build --release, strip -s"))
}

/// Waits until a write from now on would show in the file's times.
///
/// Before Linux 6.13 the kernel stamps a file with the time of its last tick: a write that follows another within one tick leaves the same
/// stamp, and half of each could be read. So a file that was changed within the last ticks is waited for, once, and refused
/// if it was changed again meanwhile; any other costs nothing. What no time shows is a writer that rests half-way in a file
/// which it did not cut first: a lock file or a signature sees that.
#[cfg(unix)]
fn settle(path: &Path, file: &File, before: &Metadata) -> Result<(), Refusal> {
    use std::{
        os::unix::fs::MetadataExt as _,
        time::{Duration, SystemTime},
    };
    /// Two ticks of the slowest clock that Linux is built with (HZ=100).
    const TICKS: Duration = Duration::from_millis(20);
    let (Ok(s), Ok(ns)) = (
        u64::try_from(before.ctime()),
        u64::try_from(before.ctime_nsec()),
    ) else {
        return Ok(());
    };
    let changed_at = Duration::from_secs(s) + Duration::from_nanos(ns);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    // A time to come is another machine's: no write of now is stamped with it.
    let Some(age) = now.checked_sub(changed_at) else {
        return Ok(());
    };
    if age >= TICKS {
        return Ok(());
    }
    std::thread::sleep(TICKS - age);
    let after = file.metadata().map_err(|error| cannot_open(path, &error))?;
    if stamp(&after) == stamp(before) {
        Ok(())
    } else {
        Err(changed(path, before, &after, before.len()))
    }
}

#[cfg(not(unix))]
fn settle(_: &Path, _: &File, _: &Metadata) -> Result<(), Refusal> {
    Ok(())
}

/// Reads what the metadata promised, and not a byte of a file that does not begin like a library more than it takes to say so.
fn read_whole(path: &Path, file: &mut File, before: &Metadata) -> Result<Vec<u8>, Refusal> {
    const HEAD_BYTES: u64 = 4096;
    let failed = |error: io::Error| cannot_open(path, &error);
    let mut bytes = Vec::new();
    file.by_ref()
        .take(HEAD_BYTES)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if !begins_like_a_library(&bytes) {
        return Err(not_a_library(path, &super::describe(&bytes)));
    }
    let rest =
        usize::try_from(before.len().saturating_sub(bytes.len() as u64)).unwrap_or(usize::MAX);
    if bytes.try_reserve_exact(rest).is_err() {
        return Err(cannot_open(path, &io::ErrorKind::OutOfMemory.into()));
    }
    // One byte more than promised: a file that grows is seen, and never followed.
    let promised_and_one = (rest as u64).saturating_add(1);
    file.by_ref()
        .take(promised_and_one)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    let after = file.metadata().map_err(failed)?;
    if bytes.len() as u64 != before.len() || stamp(&after) != stamp(before) {
        return Err(changed(path, before, &after, bytes.len() as u64));
    }
    Ok(bytes)
}

fn begins_like_a_library(head: &[u8]) -> bool {
    const ELF: &[u8] = b"\x7fELF";
    let elf = head.starts_with(ELF) || (!head.is_empty() && ELF.starts_with(head));
    let pe = head.starts_with(b"MZ");
    let mach_o = [
        [0xcf, 0xfa, 0xed, 0xfe],
        [0xce, 0xfa, 0xed, 0xfe],
        [0xca, 0xfe, 0xba, 0xbe],
        [0xfe, 0xed, 0xfa, 0xcf],
    ]
    .iter()
    .any(|magic| head.starts_with(magic));
    elf || pe || mach_o
}

/// What changes when a file is written to.
fn stamp(meta: &Metadata) -> (u64, Option<std::time::SystemTime>, i64, i64) {
    #[cfg(unix)]
    let (changed_s, changed_ns) = {
        use std::os::unix::fs::MetadataExt as _;
        // Unlike the modification time, this one cannot be set back.
        (meta.ctime(), meta.ctime_nsec())
    };
    #[cfg(not(unix))]
    let (changed_s, changed_ns) = (0, 0);
    (meta.len(), meta.modified().ok(), changed_s, changed_ns)
}

fn changed(path: &Path, before: &Metadata, after: &Metadata, read_bytes: u64) -> Refusal {
    let found = if after.len() == before.len() && read_bytes == before.len() {
        "its contents or its attributes changed meanwhile".to_owned()
    } else {
        format!(
            "{} bytes at first, {} then",
            before.len(),
            after.len().max(read_bytes)
        )
    };
    Refusal::new(
        RefusalCode::ChangedWhileLoading,
        path,
        "was changed while it was read",
        "a file that stays as it is",
        found,
    )
    .fix("wait until its copy is complete; replace a library by renaming another over it")
}

/// Who may change the file, and which of its folders.
#[cfg(unix)]
mod access {
    use super::{
        Metadata, Path, PathBuf, Policy, Refusal, RefusalCode, absolute, fs, printable_path,
    };
    use std::os::unix::fs::MetadataExt as _;

    const OTHERS_WRITE: u32 = 0o002;
    const GROUP_WRITES: u32 = 0o020;
    /// In a sticky folder (`/tmp`) only a file's owner may replace it.
    const STICKY: u32 = 0o1000;

    pub(super) fn judge(
        path: &Path,
        meta: &Metadata,
        policy: &Policy,
        warnings: &mut Vec<String>,
    ) -> Result<(), Refusal> {
        if !policy.allow_writable {
            if meta.mode() & OTHERS_WRITE != 0 {
                return Err(writable(path, path, meta.mode()));
            }
            for folder in folders(path) {
                let Ok(meta) = fs::metadata(&folder) else {
                    continue;
                };
                if meta.mode() & OTHERS_WRITE != 0 && meta.mode() & STICKY == 0 {
                    return Err(writable(path, &folder, meta.mode()));
                }
            }
        }
        if meta.mode() & GROUP_WRITES != 0 {
            warnings.push(format!(
                "may be changed by everybody in group {}",
                meta.gid()
            ));
        }
        let me = rustix::process::geteuid().as_raw();
        if meta.uid() != 0 && meta.uid() != me {
            warnings.push(format!(
                "belongs to user {}, neither root nor the host's user {me}",
                meta.uid()
            ));
        }
        Ok(())
    }

    /// Every folder on the way to the file: as the path says, and as it is once links are followed.
    fn folders(path: &Path) -> Vec<PathBuf> {
        let mut folders: Vec<PathBuf> = Vec::new();
        for way in [Some(absolute(path)), path.canonicalize().ok()]
            .into_iter()
            .flatten()
        {
            for folder in way.ancestors().skip(1) {
                if !folders.iter().any(|known| known == folder) {
                    folders.push(folder.to_path_buf());
                }
            }
        }
        folders
    }

    fn writable(path: &Path, what: &Path, mode: u32) -> Refusal {
        let shown = printable_path(&absolute(what));
        let predicate = if what == path {
            "may be changed by everybody on this machine".to_owned()
        } else {
            format!("lies in a folder that everybody on this machine may change: {shown}")
        };
        Refusal::new(
            RefusalCode::WritableByOthers,
            path,
            predicate,
            "no write permission for others",
            format!("mode {:04o} on {shown}", mode & 0o7777),
        )
        .fix(format!(
            "chmod o-w {shown}, or set allow_writable = true for this plugin"
        ))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::{io::Write as _, os::unix::fs::PermissionsExt as _};

    #[test]
    fn a_file_that_changes_under_the_read_is_refused() {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join("libx.so");
        let contents = [b"\x7fELF".as_slice(), &[7; 10_000]].concat();
        for change in ["append", "cut", "rewrite", "nothing"] {
            fs::write(&path, &contents).expect("write");
            let mut file = open(&path).expect("open");
            let before = file.metadata().expect("metadata");
            match change {
                "append" => {
                    let mut other = fs::OpenOptions::new()
                        .append(true)
                        .open(&path)
                        .expect("open");
                    other.write_all(b"more").expect("append");
                }
                "cut" => {
                    let other = fs::OpenOptions::new()
                        .write(true)
                        .open(&path)
                        .expect("open");
                    other.set_len(5000).expect("cut");
                }
                // The length stays; a time set by hand stands for a write that came a moment later.
                "rewrite" => {
                    let other = fs::OpenOptions::new()
                        .write(true)
                        .open(&path)
                        .expect("open");
                    other.set_modified(std::time::UNIX_EPOCH).expect("touch");
                }
                _ => {}
            }
            let outcome = read_whole(&path, &mut file, &before);
            match change {
                "nothing" => assert_eq!(outcome.expect("unchanged"), contents),
                _ => assert_eq!(
                    outcome.expect_err(change).code,
                    RefusalCode::ChangedWhileLoading,
                    "{change}"
                ),
            }
        }
    }

    /// Where the clock of a file's times stands still for milliseconds (before Linux 6.13) this fails without the wait.
    #[test]
    fn a_write_after_the_wait_shows() {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join("libx.so");
        for round in 0..20 {
            fs::write(&path, b"one way").expect("write");
            let file = open(&path).expect("open");
            let before = file.metadata().expect("metadata");
            settle(&path, &file, &before).expect("nobody else writes");
            let settled = stamp(&file.metadata().expect("metadata"));
            fs::write(&path, b"another").expect("write");
            let after = stamp(&file.metadata().expect("metadata"));
            assert_ne!(settled, after, "round {round}");
        }
    }

    #[test]
    fn who_may_write_decides() {
        let folder = tempfile::tempdir().expect("tempdir");
        let below = folder.path().join("plugins");
        fs::create_dir(&below).expect("mkdir");
        let path = below.join("libx.so");
        fs::write(&path, b"\x7fELF").expect("write");
        let chmod = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod")
        };
        let code = |policy: &Policy| read(&path, policy).map_err(|refusal| refusal.code);
        let strict = Policy::default();
        let lenient = Policy {
            allow_writable: true,
            ..Policy::default()
        };
        for (file_mode, folder_mode, refused) in [
            (0o644, 0o755, false),
            (0o646, 0o755, true),
            (0o644, 0o777, true),
            (0o644, 0o1777, false),
            (0o664, 0o775, false),
        ] {
            chmod(&path, file_mode);
            chmod(&below, folder_mode);
            let found = code(&strict).err();
            let wanted = refused.then_some(RefusalCode::WritableByOthers);
            assert_eq!(found, wanted, "{file_mode:o} in {folder_mode:o}");
            assert!(code(&lenient).is_ok());
        }
        let warnings = read(&path, &strict).expect("readable").warnings;
        assert!(
            warnings.iter().any(|line| line.contains("group")),
            "{warnings:?}"
        );

        // A link in a good folder to a file in a bad one.
        chmod(&below, 0o777);
        let link = folder.path().join("libx.so");
        std::os::unix::fs::symlink(&path, &link).expect("symlink");
        let refusal = read(&link, &strict).expect_err("the target's folder counts");
        assert_eq!(refusal.code, RefusalCode::WritableByOthers);
        chmod(&below, 0o755);
    }

    #[test]
    fn a_missing_permission_is_named_with_its_cure() {
        let refusal = cannot_open(
            Path::new("/x/liby.so"),
            &io::ErrorKind::PermissionDenied.into(),
        );
        assert_eq!(refusal.code, RefusalCode::Unreadable);
        assert_eq!(
            refusal.fix.as_deref(),
            Some("let the host's user read it: chmod a+r /x/liby.so, and a+x its folders")
        );
    }

    #[test]
    fn what_is_no_library_is_not_read_to_its_end() {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join("zeros");
        let file = File::create(&path).expect("create");
        file.set_len(1 << 30).expect("sparse");
        let refusal = read(&path, &Policy::default()).expect_err("zeros");
        assert_eq!(
            (refusal.code, &*refusal.found),
            (RefusalCode::NotALibrary, "nothing but zeros")
        );
        file.set_len((1 << 30) + 1).expect("sparse");
        let refusal = read(&path, &Policy::default()).expect_err("large");
        assert_eq!(
            (refusal.code, &*refusal.wanted),
            (RefusalCode::TooLarge, "at most 1.0 GiB")
        );
    }
}
