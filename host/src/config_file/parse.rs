//! One file, from disk to a TOML tree in which every key and value knows where it stands.
//!
//! It knows nothing about hotshoe's keys. It never blocks on a pipe, never reads past a limit, and never quotes a line
//! of the file back: a line may hold a secret.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use toml::{Spanned, de::DeTable};

use super::echo::echo;
use crate::error::{Blame, ExitCode, Place, Problem};

/// A configuration is written by hand; a hundred entries fill some ten KiB. More than this is the wrong file.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 20;

/// The codes of a file that was not read.
const NO_CONFIG: &str = "no-config";
const NOT_A_FILE: &str = "config-not-a-file";
const TOO_LARGE: &str = "config-too-large";
/// That of a folder, too.
pub(super) const UNREADABLE: &str = "config-unreadable";

/// Why a regular file could not be read whole.
#[derive(Debug)]
pub(super) enum Unread {
    /// It does not exist.
    Missing,
    /// It is a folder, a pipe, a socket or a device.
    NotAFile(&'static str),
    /// It holds more bytes than the limit.
    TooLarge,
    /// The system said no.
    Io(io::Error),
}

/// Reads a regular file of at most `bytes_max` bytes; follows links, opens neither pipe nor device.
pub(super) fn read_regular(file: &Path, bytes_max: u64) -> Result<Vec<u8>, Unread> {
    let refuse = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Unread::Missing,
        _ => Unread::Io(error),
    };
    let kind = std::fs::metadata(file).map_err(refuse)?;
    // Looked at before it is opened: opening a pipe waits for its writer.
    if kind.is_dir() {
        return Err(Unread::NotAFile("a folder"));
    }
    if !kind.is_file() {
        return Err(Unread::NotAFile("a pipe, socket or device"));
    }
    let mut bytes = Vec::new();
    let opened = File::open(file).map_err(refuse)?;
    opened
        .take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(refuse)?;
    // A limit of the size of `usize` would be one that no file reaches.
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > bytes_max {
        return Err(Unread::TooLarge);
    }
    Ok(bytes)
}

/// The text of one file, and where its lines begin.
#[derive(Debug)]
pub(super) struct Text {
    file: PathBuf,
    text: String,
    line_starts: Vec<usize>,
}

impl Text {
    /// Reads the file that the operator named.
    pub(super) fn read(file: &Path) -> Result<Self, Problem> {
        let bytes = read_regular(file, FILE_BYTES_MAX).map_err(|why| unread_config(file, &why))?;
        Self::from_bytes(file, bytes)
    }

    /// Whether a problem of [`Text::read`] says that there was nothing to read, rather than what was read.
    pub(super) fn is_unread(problem: &Problem) -> bool {
        [NO_CONFIG, NOT_A_FILE, TOO_LARGE, UNREADABLE].contains(&problem.code.as_str())
    }

    /// Takes bytes for the text of `file`.
    pub(super) fn from_bytes(file: &Path, bytes: Vec<u8>) -> Result<Self, Problem> {
        let mut text = String::from_utf8(bytes).map_err(|error| not_utf8(file, &error))?;
        // A byte order mark is no part of the first line's columns: no editor shows it.
        if text.starts_with('\u{feff}') {
            text.drain(..'\u{feff}'.len_utf8());
        }
        let line_starts = line_starts(text.as_bytes());
        Ok(Self {
            file: file.to_owned(),
            text,
            line_starts,
        })
    }

    /// The file, as the operator named it.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Line and column of a byte of the text.
    pub(super) fn place(&self, offset: usize) -> Place {
        place_in(&self.file, &self.line_starts, offset)
    }

    /// The tree, or the mistake in the syntax that stands first: what follows one is guesswork.
    pub(super) fn tree(&self) -> Result<Spanned<DeTable<'_>>, Problem> {
        let (tree, errors) = DeTable::parse_recoverable(&self.text);
        // The parser tells them in the order of its passes.
        match errors
            .iter()
            .min_by_key(|error| error.span().map(|span| span.start))
        {
            Some(error) => Err(self.bad_toml(error)),
            None => Ok(tree),
        }
    }

    fn bad_toml(&self, error: &toml::de::Error) -> Problem {
        let at = match error.span() {
            Some(span) => self.place(span.start),
            None => Place {
                file: self.file.clone(),
                line: 0,
                column: 0,
            },
        };
        let file = self.file.display();
        if error.message() == "duplicate key" {
            let key = error
                .span()
                .and_then(|span| self.text.get(span))
                .unwrap_or("a key");
            let key = echo(key);
            return Problem::usage(
                "bad-toml",
                format!("`{key}` is set twice ({file}:{})", at.line),
            )
            .wanted("every key and every [table] at most once")
            .found(format!("a second `{key}`"))
            .at(at)
            .fix("remove one of the two");
        }
        let headline = format!(
            "{file} is not valid TOML at line {}: {}",
            at.line,
            error.message()
        );
        Problem::usage("bad-toml", headline)
            .wanted("TOML 1.0")
            .found(error.message())
            .at(at)
            .fix("correct that line; strings stand in double quotes, each key on a line of its own")
    }
}

fn line_starts(bytes: &[u8]) -> Vec<usize> {
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    std::iter::once(0)
        .chain(ends.map(|(at, _)| at + 1))
        .collect()
}

fn place_in(file: &Path, line_starts: &[usize], offset: usize) -> Place {
    let line = line_starts.partition_point(|start| *start <= offset);
    Place {
        file: file.to_owned(),
        line,
        column: offset - line_starts[line - 1] + 1,
    }
}

fn not_utf8(file: &Path, error: &std::string::FromUtf8Error) -> Problem {
    let bytes = error.as_bytes();
    let offset = error.utf8_error().valid_up_to();
    let at = place_in(file, &line_starts(&bytes[..offset]), offset);
    let headline = format!("{} is not UTF-8 at line {}", file.display(), at.line);
    Problem::usage("not-utf8", headline)
        .wanted("UTF-8 text")
        .found(match bytes.get(offset) {
            Some(byte) => format!("the byte 0x{byte:02x}"),
            None => "an unfinished character".to_owned(),
        })
        .at(at)
        .fix(format!(
            "save the file as UTF-8, for instance: iconv -f latin1 -t utf-8 {}",
            file.display()
        ))
}

fn unread_config(file: &Path, why: &Unread) -> Problem {
    let shown = file.display();
    let whole = Place {
        file: file.to_owned(),
        line: 0,
        column: 0,
    };
    let problem = match why {
        Unread::Missing => {
            Problem::usage(NO_CONFIG, format!("there is no configuration file {shown}"))
                .wanted("a TOML file")
                .found("nothing of that name")
                .fix(
                    "name the file (`hotshoe run FILE`), or create ./hotshoe.toml; `hotshoe schema` shows what it may \
                     hold",
                )
        }
        Unread::NotAFile(kind) => {
            Problem::usage(NOT_A_FILE, format!("{shown} is {kind}, not a configuration file"))
                .wanted("a regular file")
                .found(*kind)
                .fix(match *kind {
                    "a folder" => format!("name a file in it: {}", file.join("hotshoe.toml").display()),
                    _ => "save the configuration to a file, and name that".to_owned(),
                })
        }
        Unread::TooLarge => {
            let headline = format!("{shown} is larger than a configuration may be");
            Problem::usage(TOO_LARGE, headline)
                .wanted(format!("at most {FILE_BYTES_MAX} bytes"))
                .found("more than that")
                .fix("name the configuration, not the data; large settings can stand in a file of their own")
        }
        Unread::Io(error) => Problem::error(
            ExitCode::Usage,
            Blame::Environment,
            UNREADABLE,
            format!("{shown} cannot be read: {error}"),
        )
        .wanted("a file that this user may read")
        .found(error.to_string())
        .fix(format!("see `ls -l {shown}` and run as a user who may read it, or change its mode")),
    };
    problem.at(whole)
}
