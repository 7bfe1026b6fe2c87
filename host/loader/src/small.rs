//! Reads the small files that stand beside a library: signatures, keys, the lock. Each may be anything by the time it is
//! opened, so it is opened without waiting, asked what it is, and read to a limit. It gives no file a meaning.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

/// Reads a regular file of at most `bytes_max` bytes.
///
/// # Errors
/// The system's, and [`io::ErrorKind::InvalidData`] for what is no regular file or is longer.
pub fn read_small(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let file = open(path)?;
    let kind = file.metadata()?;
    if !kind.is_file() {
        let what = if kind.is_dir() {
            "it is a folder"
        } else {
            "it is no regular file"
        };
        return Err(wrong(what.to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(wrong(format!("it holds more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    // Non-blocking: a pipe would wait for its writer for ever. Regular files do not notice.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Why a text file that this crate writes cannot be read back. Values are never quoted: one may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misread {
    /// 1-based; 0 where the whole file is meant.
    pub line: usize,
    /// 1-based, in bytes; 0 where the whole line is meant.
    pub column: usize,
    /// What would have been right. One line.
    pub wanted: String,
    /// What is there. One line.
    pub found: String,
}

impl std::fmt::Display for Misread {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            line,
            wanted,
            found,
            ..
        } = self;
        write!(out, "line {line}: wanted {wanted}, found {found}")
    }
}

impl std::error::Error for Misread {}

/// Bytes as lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The bytes of exactly `2 * N` lower-case hexadecimal digits.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_there_and_back_and_nothing_else() {
        let bytes = [0, 1, 0x7f, 0xff];
        assert_eq!(hex(&bytes), "00017fff");
        assert_eq!(unhex("00017fff"), Some(bytes));
        for wrong in [
            "",
            "00017ff",
            "00017fff0",
            "00017FFF",
            "0001 fff",
            "+0017fff",
            "ü0017ff",
        ] {
            assert_eq!(unhex::<4>(wrong), None, "{wrong}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_small_file_is_refused_and_nothing_hangs() {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("four"), b"abcd").expect("write");
        assert_eq!(read_small(&path("four"), 4).expect("read"), b"abcd");
        let check = |name: &str, bytes_max: u64, kind: io::ErrorKind| {
            let error = read_small(&path(name), bytes_max).expect_err(name);
            assert_eq!(error.kind(), kind, "{name}: {error}");
        };
        check("four", 3, io::ErrorKind::InvalidData);
        check("", 3, io::ErrorKind::InvalidData);
        check("none", 3, io::ErrorKind::NotFound);
        let (mode, dir) = (rustix::fs::Mode::RUSR, rustix::fs::CWD);
        rustix::fs::mkfifoat(dir, path("pipe"), mode).expect("a pipe");
        check("pipe", 3, io::ErrorKind::InvalidData);
    }
}
