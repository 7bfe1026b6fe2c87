//! Opens a file once, without ever hanging on it, and reads it whole.
//!
//! What a path names may be a pipe, a device or a gigabyte of zeros, and may change at any moment: it is asked what it is
//! before it is opened and again through the open descriptor, and once more when it was read.

use super::{Policy, not_a_library};
#[cfg(unix)]
use crate::access::{Exposed, doubts_about, exposed};
use crate::{
    error::{Refusal, RefusalCode, absolute, argument, printable_path, size},
    find::{reason, remedy},
};
use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    path::Path,
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
    judge_access(path, &before, policy, &mut warnings)?;
    wait_for_writers(path, &file)?;
    // Anew: one that was waited for has changed it since.
    let before = file.metadata().map_err(|error| cannot_open(path, &error))?;
    judge_size(path, &before, policy)?;
    settle(path, &file, &before)?;
    let bytes = read_whole(path, &mut file, &before)?;
    Ok(Reading { bytes, warnings })
}

/// Waits a moment for whoever has the file open for writing: most have just finished, and a child that a program is about to
/// start holds its parent's files for a millisecond.
#[cfg(target_os = "linux")]
fn wait_for_writers(path: &Path, file: &File) -> Result<(), Refusal> {
    use super::writers::{Writers, writers};
    use std::time::Duration;
    const LOOKS_MAX: u32 = 20;
    const BETWEEN: Duration = Duration::from_millis(5);
    for _ in 1..LOOKS_MAX {
        if writers(file) != Writers::Some {
            return Ok(());
        }
        std::thread::sleep(BETWEEN);
    }
    refuse_writers(path, file)
}

/// Refuses a file that somebody has open for writing by now.
#[cfg(target_os = "linux")]
fn refuse_writers(path: &Path, file: &File) -> Result<(), Refusal> {
    use super::writers::{Writers, writers};
    if writers(file) != Writers::Some {
        return Ok(());
    }
    Err(changed_to(
        path,
        "is open for writing while it is read",
        "somebody has it open for writing".to_owned(),
    ))
}

#[cfg(not(target_os = "linux"))]
fn wait_for_writers(_: &Path, _: &File) -> Result<(), Refusal> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn refuse_writers(_: &Path, _: &File) -> Result<(), Refusal> {
    Ok(())
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
    let (absolute, argument) = (absolute(path), argument(&absolute(path)));
    let absolute = printable_path(&absolute);
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
        .fix(format!("ln -sf LIBRARY {argument}")),
        (io::ErrorKind::NotFound | io::ErrorKind::NotADirectory, _) => Refusal::new(
            RefusalCode::NotFound,
            path,
            "does not exist",
            format!("a file at {absolute}"),
            reason(error),
        )
        // Not of `library`: what an entry names was found before it is read, and commands take a path as it is.
        .fix("correct the path"),
        (kind, _) => Refusal::new(
            RefusalCode::Unreadable,
            path,
            format!("cannot be read: {}", reason(error)),
            "a file that the host's user may read",
            reason(error),
        )
        .fix(match kind {
            io::ErrorKind::PermissionDenied => {
                format!("let the host's user read it: chmod a+r {argument}, and a+x its folders")
            }
            _ => remedy(error, format!("ls -l {argument}")),
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
/// Many file systems stamp a file with the time of the kernel's last tick: a write that follows another within one tick leaves
/// the same stamp, and half of each could be read. So a file that was changed within the last ticks is waited for, once, and
/// refused if it was changed again meanwhile; any other costs nothing. Since Linux 6.13 ext4, xfs, btrfs and tmpfs tell two
/// such writes apart where somebody looked in between; no older kernel does, and others (ramfs, FUSE, NFS, vfat) still do not:
/// the tests show it. What no time shows is a writer that rests half-way in a file which it did not cut first: where the kernel
/// gives leases it is seen by them, elsewhere by a lock file or a signature.
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
    // Whoever opened it since the first look and rests half-way in it changed nothing that a time shows.
    refuse_writers(path, file)?;
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
    changed_to(path, "was changed while it was read", found)
}

fn changed_to(path: &Path, predicate: &str, found: String) -> Refusal {
    Refusal::new(
        RefusalCode::ChangedWhileLoading,
        path,
        predicate,
        "a file that stays as it is",
        found,
    )
    .fix("wait until its copy is complete; replace a library by renaming another over it")
}

/// Who may change the file, and which of its folders.
#[cfg(unix)]
fn judge_access(
    path: &Path,
    meta: &Metadata,
    policy: &Policy,
    warnings: &mut Vec<String>,
) -> Result<(), Refusal> {
    if let Some(exposed) = exposed(path).filter(|_| !policy.allow_writable) {
        return Err(writable(path, &exposed));
    }
    warnings.extend(doubts_about(meta));
    Ok(())
}

#[cfg(unix)]
fn writable(path: &Path, exposed: &Exposed) -> Refusal {
    let Exposed {
        shown,
        is_folder,
        mode,
    } = exposed;
    let cure = exposed.cure();
    let predicate = match is_folder {
        false => "may be changed by everybody on this machine".to_owned(),
        true => format!("lies in a folder that everybody on this machine may change: {shown}"),
    };
    Refusal::new(
        RefusalCode::WritableByOthers,
        path,
        predicate,
        "no write permission for others",
        format!("mode {mode:04o} on {shown}"),
    )
    .fix(format!(
        "{cure}, or set allow_writable = true for this plugin"
    ))
}

#[cfg(all(test, unix))]
mod tests;
