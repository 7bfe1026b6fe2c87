//! Keeps the records that could not be processed, in a JSON Lines file, so that none is dropped silently.
//!
//! One letter is one `write` to a file opened for appending: two hosts may share it, and a crash tears one line at
//! most. What cannot be written is an error, every time. It never reads the file back, rotates it or makes it smaller.

use std::{
    fmt,
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::{Path, PathBuf},
    time::SystemTime,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rustix::{
    fs::{FileType, Mode, OFlags, fstat},
    io::Errno,
};
use serde::Serialize;
use time::OffsetDateTime;

use super::sink::{cause, open_for_writing, write_all};
use crate::{
    error::{Blame, ExitCode, Problem},
    services::clock,
};

/// How much of a record is kept, in bytes; `len` tells its true length.
pub const RECORD_BYTES_MAX: usize = 64 << 10;

/// How much of a reason is kept, in bytes. It comes from a plugin, and would otherwise be as long as that likes.
const REASON_BYTES_MAX: usize = 4 << 10;

/// One record that was at fault.
#[derive(Debug, Clone, Copy)]
pub struct Letter<'a> {
    /// When it was given up.
    pub at: SystemTime,
    /// The source, as `[stream] source` spells it.
    pub source: &'a str,
    /// Where the record began, in bytes from the start of the source.
    pub offset: u64,
    /// Its length in bytes, more than `record` holds where that was cut before.
    pub len: u64,
    /// Why it could not be processed.
    pub reason: &'a str,
    /// Its bytes, or the first of them.
    pub record: &'a [u8],
}

/// A letter as it stands in the file.
#[derive(Serialize)]
struct Line<'a> {
    at: String,
    source: &'a str,
    offset: u64,
    len: u64,
    reason: &'a str,
    record: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
}

/// A letter that was not kept.
#[derive(Debug)]
pub struct DeadLetterError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub error: io::Error,
}

impl DeadLetterError {
    /// Who must act.
    #[must_use]
    pub fn blame(&self) -> Blame {
        Blame::Environment
    }

    /// The same, as what ends a run.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let exit = ExitCode::Running;
        Problem::error(exit, self.blame(), "dead-letter-failed", self.to_string())
            .found(self.error.to_string())
            .fix("make room for the file, or name another in `[stream] dead_letter`")
    }
}

impl fmt::Display for DeadLetterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a record could not be kept in {}: {}",
            self.path.display(),
            self.error
        )
    }
}

impl std::error::Error for DeadLetterError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// The open file.
#[derive(Debug)]
pub struct DeadLetters {
    fd: OwnedFd,
    path: PathBuf,
    /// The file ends in the middle of a line.
    torn: bool,
}

impl DeadLetters {
    /// Opens the file, or creates it for this user alone (0600): records may be secrets.
    ///
    /// # Errors
    /// `dead-letter-unwritable` (exit 1) where it cannot be created or written, or is a folder, FIFO or socket.
    pub fn open(path: &Path) -> Result<Self, Problem> {
        let refused = |why: String| {
            let headline = format!(
                "the dead-letter file {} cannot be opened: {why}",
                path.display()
            );
            Problem::error(
                ExitCode::Running,
                Blame::Environment,
                "dead-letter-unwritable",
                headline,
            )
            .wanted("a file that this user may create and write")
            .found(why)
            .fix("correct `[stream] dead_letter`, or the folder's permissions")
        };
        let flags = OFlags::CREATE | OFlags::APPEND;
        let fd = open_for_writing(path, flags, Mode::from_raw_mode(0o600))
            .map_err(|errno| refused(cause(errno)))?;
        let stat = fstat(&fd).map_err(|errno| refused(cause(errno)))?;
        let torn = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => ends_torn(path, u64::try_from(stat.st_size).unwrap_or(0)),
            // Such as /dev/stderr at a terminal, or /dev/null.
            FileType::CharacterDevice => false,
            _ => return Err(refused("it is no regular file".to_owned())),
        };
        Ok(Self {
            fd,
            path: path.to_owned(),
            torn,
        })
    }

    /// Appends one letter. It is in the system's hands when this returns.
    ///
    /// # Errors
    /// The letter was not, or not wholly, written. The next one begins a line of its own all the same.
    pub fn append(&mut self, letter: &Letter<'_>) -> Result<(), DeadLetterError> {
        let fault = |error| DeadLetterError {
            path: self.path.clone(),
            error,
        };
        let mut line = Vec::with_capacity(512);
        if self.torn {
            line.push(b'\n');
        }
        line_of(letter, &mut line).map_err(fault)?;
        let (written, outcome) = write_all(self.fd.as_fd(), &line);
        match outcome {
            Ok(()) => self.torn = false,
            // The newline that mends a torn line may be all that was written.
            Err(_) if written > 0 => self.torn = !(self.torn && written == 1),
            Err(_) => {}
        }
        outcome.map_err(|errno: Errno| fault(errno.into()))
    }
}

/// Whether an earlier run left half a line. A file that may be written but not read is taken to be whole.
fn ends_torn(path: &Path, len: u64) -> bool {
    let mut last = [b'\n'];
    let Some(at) = len.checked_sub(1) else {
        return false;
    };
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut last, at));
    read.is_ok() && last != *b"\n"
}

fn line_of(letter: &Letter<'_>, line: &mut Vec<u8>) -> io::Result<()> {
    let kept = &letter.record[..letter.record.len().min(RECORD_BYTES_MAX)];
    let cut = letter.len > kept.len() as u64;
    let encoded;
    let (record, encoding) = match as_text(kept, cut) {
        Some(text) => (text, None),
        None => {
            encoded = STANDARD.encode(kept);
            (encoded.as_str(), Some("base64"))
        }
    };
    let at = clock::rfc_3339_micros(OffsetDateTime::from(letter.at));
    let reason = match letter.reason.len() > REASON_BYTES_MAX {
        // Where a limit falls into a character, that character is left out.
        true => as_text(&letter.reason.as_bytes()[..REASON_BYTES_MAX], true).unwrap_or_default(),
        false => letter.reason,
    };
    let Letter {
        source,
        offset,
        len,
        ..
    } = *letter;
    let shown = Line {
        at,
        source,
        offset,
        len,
        reason,
        record,
        encoding,
    };
    serde_json::to_writer(&mut *line, &shown)?;
    line.push(b'\n');
    Ok(())
}

/// The bytes as text, if they are. Of bytes that were `cut`, an incomplete last character is left out.
fn as_text(bytes: &[u8], cut: bool) -> Option<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) if cut && error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

    use serde_json::{Value, json};

    use super::*;

    fn letter<'a>(reason: &'a str, record: &'a [u8]) -> Letter<'a> {
        let at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_120);
        Letter {
            at,
            source: "stdin",
            offset: 42,
            len: record.len() as u64,
            reason,
            record,
        }
    }

    fn lines(path: &Path) -> Vec<Value> {
        let text = fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn a_letter_is_one_line_of_json() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dead.jsonl");
        let mut letters = DeadLetters::open(&path).unwrap();
        letters
            .append(&letter("no \"number\"\nat all", b"a\tb"))
            .unwrap();
        drop(letters);
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "{\"at\":\"2023-11-14T22:13:20.000120Z\",\"source\":\"stdin\",\"offset\":42,\"len\":3,\
             \"reason\":\"no \\\"number\\\"\\nat all\",\"record\":\"a\\tb\"}\n"
        );
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let mut letters = DeadLetters::open(&path).unwrap();
        letters.append(&letter("r", b"")).unwrap();
        assert_eq!(lines(&path).len(), 2);
    }

    #[test]
    fn the_record_is_text_or_base64_and_is_cut_between_characters() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let mut letters = DeadLetters::open(&path).unwrap();
        let mut check = |record: &[u8], len: u64, expected: Value| {
            letters
                .append(&Letter {
                    len,
                    ..letter("r", record)
                })
                .unwrap();
            let found = lines(&path).pop().unwrap();
            let found = json!([found["record"], found["encoding"], found["len"]]);
            assert_eq!(found, expected);
        };
        check("grün".as_bytes(), 5, json!(["grün", null, 5]));
        check(b"\xff\n", 2, json!(["/wo=", "base64", 2]));
        // Half a character at the end of a whole record is not text; at a cut it is.
        check(b"a\xc3", 2, json!(["YcM=", "base64", 2]));
        check(b"a\xc3", 9, json!(["a", null, 9]));
        let long = "a".repeat(RECORD_BYTES_MAX - 1);
        let shown = format!("{long}ü");
        check(
            shown.as_bytes(),
            1 + RECORD_BYTES_MAX as u64,
            json!([long, null, 1 + RECORD_BYTES_MAX]),
        );
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let mut letters = DeadLetters::open(&path).unwrap();
        let reason = format!("a{}", "ü".repeat(REASON_BYTES_MAX));
        letters.append(&letter(&reason, b"")).unwrap();
        let found = lines(&path).pop().unwrap();
        assert_eq!(
            found["reason"].as_str().map(str::len),
            Some(REASON_BYTES_MAX - 1)
        );
    }

    #[test]
    fn half_a_line_of_an_earlier_run_spoils_no_letter() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        fs::write(&path, "{\"at\":\"20").unwrap();
        let mut letters = DeadLetters::open(&path).unwrap();
        letters.append(&letter("r", b"one")).unwrap();
        letters.append(&letter("r", b"two")).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let whole: Vec<Value> = text
            .lines()
            .skip(1)
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(
            (whole.len(), &whole[0]["record"], &whole[1]["record"]),
            (2, &json!("one"), &json!("two"))
        );
    }

    #[test]
    fn an_unwritable_path_is_refused_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        for path in [
            folder.path().to_owned(),
            folder.path().join("missing/dead.jsonl"),
        ] {
            let refused = DeadLetters::open(&path).unwrap_err();
            assert_eq!(refused.code, "dead-letter-unwritable");
            assert!(
                refused.headline.contains(&path.display().to_string()),
                "{refused}"
            );
        }
    }

    #[test]
    fn a_letter_that_cannot_be_written_is_an_error() {
        let mut letters = DeadLetters::open(Path::new("/dev/full")).unwrap();
        let fault = letters.append(&letter("r", b"a")).unwrap_err();
        assert!(
            fault.to_string().contains("/dev/full: No space left"),
            "{fault}"
        );
        assert_eq!(fault.problem().exit, ExitCode::Running);
    }
}
