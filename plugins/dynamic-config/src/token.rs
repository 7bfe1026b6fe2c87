//! Bearer tokens: read from a file that only its owner may read, kept as digests, compared in constant time.
//!
//! No token is ever kept, formatted or logged; a file that went bad leaves the old tokens in force.

use crate::settings::bad_file;
use hotshoe_plugin_api::Result;
use rustix::process::geteuid;
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    hint::black_box,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use subtle::{Choice, ConstantTimeEq};

/// How often the file is looked at: a change is seen within a second (config-api §10).
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Bytes of one token.
const TOKEN_LEN: std::ops::RangeInclusive<usize> = 32..=256;
/// Two tokens with their line ends.
const FILE_BYTES_MAX: u64 = 2 * (256 + 2);

const ALLOWED: &str = "a file of yours with mode 0600 or 0400 that holds 1 or 2 lines of 32 to 256 bytes of A-Z a-z 0-9 - . _ ~ + / =";

type Sha = [u8; 32];

/// The tokens in force, and the file they came from.
pub(crate) struct Tokens {
    path: PathBuf,
    held: Mutex<Held>,
}

struct Held {
    seen: Option<Seen>,
    digests: Vec<Sha>,
}

/// What tells one state of a file from another, without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    inode: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
    len: u64,
}

impl Tokens {
    /// Errors: `config-bad-setting`.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let (seen, digests) =
            read(path).map_err(|why| bad_file("token_file", path, why, ALLOWED))?;
        Ok(Self {
            path: path.to_owned(),
            held: Mutex::new(Held {
                seen: Some(seen),
                digests,
            }),
        })
    }

    /// Whether `token` is one of them. The time taken tells nothing about how much of it is right.
    pub(crate) fn accepts(&self, token: &[u8]) -> bool {
        let offered: Sha = Sha256::digest(token).into();
        let held = self.held();
        let hits = held.digests.iter().fold(Choice::from(0), |hit, digest| {
            hit | digest.as_slice().ct_eq(offered.as_slice())
        });
        hits.into()
    }

    /// Reads the file again if it changed. One that is unreadable or invalid is logged once, and nothing changes.
    pub(crate) fn refresh(&self) {
        let found = std::fs::metadata(&self.path)
            .map(|meta| Seen::of(&meta))
            .ok();
        if self.held().seen == found {
            return;
        }
        match read(&self.path) {
            Ok((seen, digests)) => {
                *self.held() = Held {
                    seen: Some(seen),
                    digests,
                };
                tracing::info!(file = %self.path.display(), "the tokens were read again");
            }
            Err(why) => {
                self.held().seen = found;
                tracing::error!(file = %self.path.display(), "the old tokens stay in force: {why}");
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn of(meta: &std::fs::Metadata) -> Self {
        Self {
            inode: meta.ino(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            ctime: (meta.ctime(), meta.ctime_nsec()),
            len: meta.len(),
        }
    }
}

fn read(path: &Path) -> Result<(Seen, Vec<Sha>), String> {
    let mut file = open(path).map_err(|error| error.to_string())?;
    let meta = file.metadata().map_err(|error| error.to_string())?;
    if !meta.is_file() {
        return Err("it is no regular file".to_owned());
    }
    if meta.uid() != geteuid().as_raw() {
        return Err(format!("it belongs to user {}", meta.uid()));
    }
    let mode = meta.mode() & 0o7777;
    if mode != 0o600 && mode != 0o400 {
        return Err(format!("its mode is {mode:04o}"));
    }
    if meta.len() > FILE_BYTES_MAX {
        return Err(format!("it is {} bytes long", meta.len()));
    }
    let mut text = Vec::new();
    let outcome = Read::by_ref(&mut file)
        .take(FILE_BYTES_MAX)
        .read_to_end(&mut text)
        .map_err(|error| error.to_string())
        .and_then(|_| digests(&text));
    text.fill(0);
    black_box(&text);
    Ok((Seen::of(&meta), outcome?))
}

/// A FIFO must not block init.
fn open(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let descriptor = rustix::fs::open(path, flags, Mode::empty())?;
    Ok(File::from(descriptor))
}

fn digests(text: &[u8]) -> Result<Vec<Sha>, String> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    if lines.len() > 2 {
        return Err(format!("it has {} lines", lines.len()));
    }
    let digest = |(i, line): (usize, &[u8])| {
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
        if !TOKEN_LEN.contains(&line.len()) {
            return Err(format!("line {} has {} bytes", i + 1, line.len()));
        }
        if !line.iter().all(fits) {
            return Err(format!("line {} holds another character", i + 1));
        }
        Ok(Sha256::digest(line).into())
    };
    lines.into_iter().enumerate().map(digest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    fn write(path: &Path, text: &str, mode: u32) {
        let _ = fs::remove_file(path);
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_token_file_is_private_short_and_plain() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let good = "a".repeat(32);
        for (text, mode, expected) in [
            (format!("{good}\n"), 0o644, "its mode is 0644"),
            (good.clone(), 0o640, "its mode is 0640"),
            ("short\n".to_owned(), 0o600, "line 1 has 5 bytes"),
            (format!("{good}\n\n"), 0o600, "line 2 has 0 bytes"),
            (format!("{good}\n{good}\n{good}\n"), 0o600, "it has 3 lines"),
            (
                format!("{good} x\n"),
                0o600,
                "line 1 holds another character",
            ),
            (
                format!("{good}\r\n"),
                0o600,
                "line 1 holds another character",
            ),
            (String::new(), 0o600, "line 1 has 0 bytes"),
            ("a".repeat(600), 0o600, "it is 600 bytes long"),
        ] {
            write(&path, &text, mode);
            let error = Tokens::load(&path).map(drop).unwrap_err();
            assert_eq!(error.code(), "config-bad-setting");
            assert!(error.to_string().contains(expected), "{error}");
            assert!(!error.to_string().contains(&good));
        }
        let missing = Tokens::load(&dir.path().join("none"))
            .map(drop)
            .unwrap_err();
        assert!(missing.to_string().contains("does not exist"), "{missing}");
        let folder = Tokens::load(dir.path()).map(drop).unwrap_err();
        assert!(folder.to_string().contains("no regular file"), "{folder}");
    }

    #[test]
    fn either_of_two_tokens_is_taken_and_a_change_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let (old, new) = ("o".repeat(32), "n".repeat(40));
        write(&path, &format!("{old}\n{new}\n"), 0o400);
        let tokens = Tokens::load(&path).unwrap();
        assert!(tokens.accepts(old.as_bytes()) && tokens.accepts(new.as_bytes()));
        assert!(!tokens.accepts(&old.as_bytes()[1..]) && !tokens.accepts(b""));

        write(&path, &new, 0o600);
        tokens.refresh();
        assert!(!tokens.accepts(old.as_bytes()) && tokens.accepts(new.as_bytes()));

        write(&path, "broken", 0o600);
        tokens.refresh();
        assert!(tokens.accepts(new.as_bytes()));
        fs::remove_file(&path).unwrap();
        tokens.refresh();
        assert!(tokens.accepts(new.as_bytes()));
    }
}
