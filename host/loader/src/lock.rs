//! `hotshoe.lock`: which bytes each instance's library was when somebody last looked.
//!
//! The text is TOML, sorted by instance, one key a line, so that a diff shows what changed and nothing else. It is read
//! back strictly: what a newer hotshoe wrote, or a hand broke, is refused with its place rather than half believed.
//! Pure: it reads no file, and what a missing record means is the caller's policy.

use crate::{
    error::{Refusal, RefusalCode, printable},
    signature::Subject,
    small::{Misread, hex, unhex},
    stage::Staged,
};
use serde::Deserialize;
use std::{fmt::Write as _, path::Path};

/// What the lock beside a configuration is called.
pub const LOCK_FILE: &str = "hotshoe.lock";

/// A record is some 250 bytes: this is room for four thousand instances. A longer file is none.
pub const LOCK_BYTES_MAX: u64 = 1 << 20;

/// The format that is written and read.
const FORMAT: u32 = 1;

const HEAD: &str =
    "# Written by `hotshoe lock`; keep it beside the configuration, and under version control.\n";

/// The records, by instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    records: Vec<LockedLibrary>,
}

/// One instance's library.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedLibrary {
    /// The instance.
    pub name: String,
    /// The library, as the configuration names it.
    pub library: String,
    /// The version that its manifest states.
    pub version: String,
    /// The ABI version that its manifest states.
    pub abi: String,
    /// Bytes in the file.
    pub size: u64,
    /// Digest of the file, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Libraries that it brings along from its own folder (`stage = "directory"`).
    #[serde(default)]
    pub neighbours: Vec<LockedNeighbour>,
}

/// A library beside a library.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedNeighbour {
    /// Relative to the library's folder.
    pub file: String,
    /// Digest of the file.
    pub sha256: String,
}

impl LockedLibrary {
    /// The record of a staged library, its neighbours in the order of their names, as a lock holds them.
    #[must_use]
    pub fn of(name: &str, library: &str, subject: &Subject, staged: &Staged) -> Self {
        let neighbours = staged.neighbours_sha256().iter();
        let neighbours = neighbours.map(|(place, sha256)| LockedNeighbour {
            file: place.to_string_lossy().into_owned(),
            sha256: hex(sha256),
        });
        let mut neighbours: Vec<LockedNeighbour> = neighbours.collect();
        neighbours.sort();
        Self {
            name: name.to_owned(),
            library: library.to_owned(),
            version: subject.version.clone(),
            abi: subject.abi.clone(),
            size: subject.len_bytes,
            sha256: hex(&subject.sha256),
            neighbours,
        }
    }

    /// Whether both name the same bytes.
    fn same_bytes(&self, other: &Self) -> bool {
        (&self.sha256, self.size, &self.neighbours)
            == (&other.sha256, other.size, &other.neighbours)
    }

    /// The bytes, in one line.
    fn bytes_text(&self) -> String {
        let mut text = format!(
            "SHA-256 {}, {} bytes, version {}, ABI {}",
            self.sha256,
            self.size,
            printable(self.version.as_bytes()),
            printable(self.abi.as_bytes()),
        );
        for neighbour in &self.neighbours {
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                ", with {} of SHA-256 {}",
                printable(neighbour.file.as_bytes()),
                neighbour.sha256
            );
        }
        text
    }
}

/// How two locks differ, by instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// The lock does not name an instance that there is.
    Missing(LockedLibrary),
    /// The lock names an instance that there is not.
    Stale(LockedLibrary),
    /// Other bytes.
    Bytes {
        /// What the lock says.
        locked: LockedLibrary,
        /// What there is.
        found: LockedLibrary,
    },
    /// The same bytes, otherwise described: another path, or an edited line.
    Description {
        /// What the lock says.
        locked: LockedLibrary,
        /// What there is.
        found: LockedLibrary,
    },
}

impl Lock {
    /// The lock of these records; of two for one instance the first counts.
    #[must_use]
    pub fn new(mut records: Vec<LockedLibrary>) -> Self {
        for record in &mut records {
            record.neighbours.sort();
        }
        records.sort_by(|a, b| a.name.cmp(&b.name));
        records.dedup_by(|later, first| later.name == first.name);
        Self { records }
    }

    /// The records, sorted by instance.
    #[must_use]
    pub fn records(&self) -> &[LockedLibrary] {
        &self.records
    }

    /// The record of an instance.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&LockedLibrary> {
        self.records.iter().find(|record| record.name == name)
    }

    /// Reads the text of a lock.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn parse(text: &[u8]) -> Result<Self, Misread> {
        let whole = |wanted: &str, found: String| Misread {
            line: 0,
            column: 0,
            wanted: wanted.to_owned(),
            found,
        };
        if text.len() as u64 > LOCK_BYTES_MAX {
            let wanted = format!("at most {LOCK_BYTES_MAX} bytes");
            return Err(whole(&wanted, format!("{} bytes", text.len())));
        }
        let text = std::str::from_utf8(text)
            .map_err(|error| at(text, error.valid_up_to(), "UTF-8 text", "another byte"))?;
        flat(text)?;
        let misread = |error: toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start);
            let found = printable(error.message().as_bytes());
            at(
                text.as_bytes(),
                start,
                "a lock as `hotshoe lock` writes it",
                &found,
            )
        };
        // First, because what a newer format holds is none of this one's.
        let Format { format } = toml::from_str(text).map_err(misread)?;
        if *format.get_ref() != FORMAT {
            let start = format.span().start;
            let found = format!("format = {}", format.get_ref());
            return Err(at(
                text.as_bytes(),
                start,
                &format!("format = {FORMAT}"),
                &found,
            ));
        }
        let file: File = toml::from_str(text).map_err(misread)?;
        let mut records = Vec::with_capacity(file.library.len());
        for located in file.library {
            let start = located.span().start;
            let record: LockedLibrary = located.into_inner();
            let digests = record.neighbours.iter().map(|neighbour| &neighbour.sha256);
            let all_digests = digests.chain([&record.sha256]);
            if all_digests
                .into_iter()
                .any(|text| unhex::<32>(text).is_none())
            {
                let wanted = "sha256 with 64 lower-case hexadecimal digits";
                return Err(at(text.as_bytes(), start, wanted, "another value"));
            }
            if records
                .iter()
                .any(|other: &LockedLibrary| other.name == record.name)
            {
                let found = format!("`{}` twice", printable(record.name.as_bytes()));
                return Err(at(text.as_bytes(), start, "each instance once", &found));
            }
            records.push(record);
        }
        Ok(Self::new(records))
    }

    /// The text of its file.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{HEAD}format = {FORMAT}\n");
        for record in &self.records {
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "\n[[library]]\nname = {}\nlibrary = {}\nversion = {}\nabi = {}\nsize = {}\nsha256 = {}\n",
                quoted(&record.name),
                quoted(&record.library),
                quoted(&record.version),
                quoted(&record.abi),
                record.size,
                quoted(&record.sha256),
            );
            if record.neighbours.is_empty() {
                continue;
            }
            text.push_str("neighbours = [\n");
            for neighbour in &record.neighbours {
                let (file, sha256) = (quoted(&neighbour.file), quoted(&neighbour.sha256));
                let _ = writeln!(text, "    {{ file = {file}, sha256 = {sha256} }},");
            }
            text.push_str("]\n");
        }
        text
    }

    /// Judges a library that is to be opened for an instance.
    ///
    /// - `named`: the configuration gives the instance its name. Where it does not, the name is the library's own word:
    ///   then the bytes must be some that the lock has for `found.library`, whatever they call themselves.
    /// - Answers whether the lock names the instance.
    ///
    /// # Errors
    /// [`RefusalCode::HashMismatch`].
    pub fn judge(&self, path: &Path, found: &LockedLibrary, named: Named) -> Result<bool, Refusal> {
        let record = self.get(&found.name);
        if let Some(record) = record {
            if !record.same_bytes(found) {
                return Err(mismatch(path, record, found));
            }
        }
        if named == Named::ByItself {
            let mut same_library = self
                .records
                .iter()
                .filter(|record| record.library == found.library)
                .peekable();
            if let Some(first) = same_library.peek().copied() {
                if !same_library.any(|record| record.same_bytes(found)) {
                    return Err(mismatch(path, first, found));
                }
            }
        }
        Ok(record.is_some())
    }

    /// What differs between this lock and what there is, by instance.
    #[must_use]
    pub fn differences(&self, now: &Self) -> Vec<Difference> {
        let mut differences = Vec::new();
        for found in &now.records {
            match self.get(&found.name) {
                None => differences.push(Difference::Missing(found.clone())),
                Some(locked) if locked == found => {}
                Some(locked) => {
                    let (locked, found) = (locked.clone(), found.clone());
                    differences.push(match locked.same_bytes(&found) {
                        true => Difference::Description { locked, found },
                        false => Difference::Bytes { locked, found },
                    });
                }
            }
        }
        let gone = self
            .records
            .iter()
            .filter(|record| now.get(&record.name).is_none());
        differences.extend(gone.cloned().map(Difference::Stale));
        differences
    }
}

/// Where an instance's name comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// The configuration.
    ByTheConfiguration,
    /// The library's manifest.
    ByItself,
}

impl Difference {
    /// The instance, what would have been right, and what there is.
    #[must_use]
    pub fn words(&self) -> (&str, String, String) {
        let described = |record: &LockedLibrary| {
            let library = printable(record.library.as_bytes());
            format!("library {library}, {}", record.bytes_text())
        };
        match self {
            Self::Missing(found) => (
                &found.name,
                format!("a record of {}", described(found)),
                "none of that name".to_owned(),
            ),
            Self::Stale(locked) => (
                &locked.name,
                "an instance of that name".to_owned(),
                format!("only a record of {}", described(locked)),
            ),
            Self::Bytes { locked, found } => {
                (&locked.name, locked.bytes_text(), found.bytes_text())
            }
            Self::Description { locked, found } => {
                (&locked.name, described(locked), described(found))
            }
        }
    }
}

fn mismatch(path: &Path, locked: &LockedLibrary, found: &LockedLibrary) -> Refusal {
    Refusal::new(
        RefusalCode::HashMismatch,
        path,
        format!("is not the file that {LOCK_FILE} names"),
        locked.bytes_text(),
        found.bytes_text(),
    )
    .fix("restore the file; or, where the change is meant: hotshoe lock FILE, and review the difference")
}

#[derive(Deserialize)]
struct Format {
    format: toml::Spanned<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[allow(dead_code, reason = "read before; here it is a key that is known")]
    format: u32,
    #[serde(default)]
    library: Vec<toml::Spanned<LockedLibrary>>,
}

/// A string of one line, whatever it holds: `flat` refuses the others.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            // Also what an editor may take for the end of the line, or would not show.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A parser bounds tables within tables, and the parts of a dotted key, each alone; together they build a tree that overflows
/// a thread's stack when it is dropped. A lock has no use for dots and none for strings of several lines.
fn flat(text: &str) -> Result<(), Misread> {
    let bytes = text.as_bytes();
    let refuse = |offset, found| {
        Err(at(
            bytes,
            offset,
            "a lock as `hotshoe lock` writes it",
            found,
        ))
    };
    let mut offset = 0;
    while let Some(byte) = bytes.get(offset).copied() {
        let rest = &bytes[offset..];
        let line_len = || {
            rest.iter()
                .position(|byte| *byte == b'\n')
                .unwrap_or(rest.len())
        };
        offset += match byte {
            b'.' => return refuse(offset, "a dotted key"),
            b'#' => line_len(),
            b'"' | b'\'' if rest.starts_with(&[byte; 3]) => {
                return refuse(offset, "a string of several lines");
            }
            b'"' | b'\'' => string_len(&rest[..line_len()], byte),
            _ => 1,
        };
    }
    Ok(())
}

/// Bytes of the string that a line begins with, its quotes included; the whole line where it is not closed.
fn string_len(line: &[u8], quote: u8) -> usize {
    let mut escaped = false;
    for (index, byte) in line.iter().enumerate().skip(1) {
        match *byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quote == b'"',
            byte if byte == quote => return index + 1,
            _ => {}
        }
    }
    line.len()
}

/// A fault at a byte of the text.
fn at(text: &[u8], offset: usize, wanted: &str, found: &str) -> Misread {
    let before = &text[..offset.min(text.len())];
    let line_start = before
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    Misread {
        line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
        column: before.len() - line_start + 1,
        wanted: wanted.to_owned(),
        found: found.to_owned(),
    }
}

#[cfg(test)]
mod tests;
