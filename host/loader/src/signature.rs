//! Who vouches for a library: ed25519 keys, and signatures over a file's digest and what its manifest says.
//!
//! A signature names an author. It says nothing about what the library does, and whoever holds the key can sign anything;
//! which keys count is the caller's policy. The texts are hostile until parsed: short, line by line, nothing repeated.
//! Nothing here reads a file or prints, and no error and no `Debug` holds a secret.
//!
//! ```text
//! hotshoe-signature 1
//! sha256=<of the whole file, its manifest included>
//! size=<bytes>
//! name=<the manifest's>
//! version=<the manifest's>
//! abi=<the manifest's>
//! key=<the public key>
//! signature=<over every byte above this line>
//! ```

use crate::{
    error::{Refusal, RefusalCode, printable, printable_path},
    manifest::Manifest,
    small::{Misread, hex, unhex},
    verify::Verified,
};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

/// A key or a signature is some hundred bytes; a longer file is none.
pub const SIGNATURE_BYTES_MAX: u64 = 4096;

const SIGNATURE: &str = "hotshoe-signature 1";
const PUBLIC_KEY: &str = "hotshoe-public-key 1";
const SECRET_KEY: &str = "hotshoe-secret-key 1";

/// Where the signature of a library lies: `LIB.sig`.
#[must_use]
pub fn signature_path(library: &Path) -> PathBuf {
    let mut path = OsString::from(library);
    path.push(".sig");
    PathBuf::from(path)
}

/// A key whose signatures can be checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads the text of a public key file.
    ///
    /// # Errors
    /// Another text, or 32 bytes that are no key or one that anybody can sign for.
    pub fn parse(text: &[u8]) -> Result<Self, Misread> {
        let fields = Fields::read(text, PUBLIC_KEY)?;
        let (line, bytes) = fields.bytes::<32>("key")?;
        Self::from_bytes(&bytes).ok_or_else(|| no_key(line))
    }

    /// The text of its file.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{PUBLIC_KEY}\nkey={self}\n")
    }

    fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let key = VerifyingKey::from_bytes(bytes).ok()?;
        // For a weak key there are signatures that fit many messages.
        (!key.is_weak()).then_some(Self(key))
    }
}

fn no_key(line: usize) -> Misread {
    Misread {
        line,
        column: 0,
        wanted: "an ed25519 public key".to_owned(),
        found: "32 bytes that are none".to_owned(),
    }
}

/// 64 hexadecimal digits.
impl fmt::Display for PublicKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&hex(self.0.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "PublicKey({self})")
    }
}

/// A key to sign with. Wiped from memory when it is dropped; its `Debug` shows the public half.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key that grows from 32 random bytes.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Reads the text of a secret key file.
    ///
    /// # Errors
    /// Another text; the error holds nothing of it.
    pub fn parse(text: &[u8]) -> Result<Self, Misread> {
        let fields = Fields::read(text, SECRET_KEY)?;
        let (_, seed) = fields.bytes::<32>("seed")?;
        Ok(Self::from_seed(&seed))
    }

    /// The text of its file: a secret, for a file that nobody else may read.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{SECRET_KEY}\nseed={}\n", hex(self.0.as_bytes()))
    }

    /// The half to give away.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// The text of `LIB.sig`.
    #[must_use]
    pub fn sign(&self, subject: &Subject) -> String {
        let Subject {
            sha256,
            len_bytes,
            name,
            version,
            abi,
        } = subject;
        let statement = format!(
            "{SIGNATURE}\nsha256={}\nsize={len_bytes}\nname={name}\nversion={version}\nabi={abi}\nkey={}\n",
            hex(sha256),
            self.public()
        );
        let signature = self.0.sign(statement.as_bytes());
        format!("{statement}signature={}\n", hex(&signature.to_bytes()))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SecretKey(of {})", self.public())
    }
}

/// What a signature is about: the bytes that will run, and what they say of themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Digest of the whole file.
    pub sha256: [u8; 32],
    /// Bytes in the file.
    pub len_bytes: u64,
    /// The manifest's name.
    pub name: String,
    /// The manifest's version.
    pub version: String,
    /// The manifest's ABI version.
    pub abi: String,
}

impl Subject {
    /// That of a file's bytes.
    #[must_use]
    pub fn of_bytes(bytes: &[u8], manifest: &Manifest) -> Self {
        use sha2::Digest as _;
        let sha256 = sha2::Sha256::digest(bytes).into();
        Self::with_digest(sha256, bytes.len() as u64, manifest)
    }

    /// That of the staged copy: of what runs, whatever the path holds by now.
    #[must_use]
    pub fn of(verified: &Verified) -> Self {
        let staged = &verified.staged;
        Self::with_digest(*staged.sha256(), staged.len_bytes(), &verified.manifest)
    }

    fn with_digest(sha256: [u8; 32], len_bytes: u64, manifest: &Manifest) -> Self {
        Self {
            sha256,
            len_bytes,
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            abi: manifest.abi_text(),
        }
    }

    /// What of a signature differs from this, in words; `None` where all agrees.
    fn difference(&self, fields: &Fields<'_>) -> Option<(&'static str, String, String)> {
        let pairs = [
            ("sha256", hex(&self.sha256)),
            ("size", self.len_bytes.to_string()),
            ("name", self.name.clone()),
            ("version", self.version.clone()),
            ("abi", self.abi.clone()),
        ];
        pairs.into_iter().find_map(|(key, wanted)| {
            let found = fields.get(key).map_or("", |(_, value)| value);
            (found != wanted).then(|| (key, wanted, found.to_owned()))
        })
    }
}

/// Judges what lies at [`signature_path`] of a library.
///
/// - `found`: its bytes; `None` where there is no such file.
/// - `keys`: whose signatures count; `None`: everybody's, for who asks who signed.
///
/// # Errors
/// [`RefusalCode::Unsigned`], [`RefusalCode::BadSignature`] or [`RefusalCode::UntrustedKey`].
pub fn judge_signature(
    library: &Path,
    subject: &Subject,
    found: Option<&[u8]>,
    keys: Option<&[PublicKey]>,
) -> Result<PublicKey, Refusal> {
    let path = signature_path(library);
    let beside = printable_path(&path);
    let Some(text) = found else {
        return Err(Refusal::new(
            RefusalCode::Unsigned,
            library,
            "has no signature",
            format!("a signature in {beside}"),
            "no such file",
        )
        .fix(format!(
            "fetch the signature from its author, or, with a key of your own: hotshoe sign KEY {}",
            printable_path(library)
        )));
    };
    let fields =
        Fields::read(text, SIGNATURE).map_err(|fault| misread(library, &beside, &fault))?;
    let key = fields
        .signer()
        .map_err(|fault| misread(library, &beside, &fault))?;
    if let Some((what, here, signed)) = subject.difference(&fields) {
        return Err(Refusal::new(
            RefusalCode::BadSignature,
            library,
            "has a signature that was made for other bytes",
            format!("a signature of {what} {here}"),
            match signed.as_str() {
                "" => format!("one that names no {what}"),
                signed => format!("one of {what} {}", printable(signed.as_bytes())),
            },
        )
        .fix("fetch library and signature again, from the same place"));
    }
    if !fields.holds(text, &key) {
        return Err(Refusal::new(
            RefusalCode::BadSignature,
            library,
            "has a signature that the key it names did not make",
            format!("a signature in {beside} by {key}"),
            "another text than was signed, or a signature by another key",
        )
        .fix("fetch library and signature again, from the same place"));
    }
    match keys {
        Some(keys) if !keys.contains(&key) => Err(untrusted(library, &key, keys)),
        _ => Ok(key),
    }
}

fn misread(library: &Path, beside: &str, fault: &Misread) -> Refusal {
    Refusal::new(
        RefusalCode::BadSignature,
        library,
        format!(
            "has a signature that cannot be read ({beside}:{})",
            fault.line
        ),
        &*fault.wanted,
        &*fault.found,
    )
    .fix("fetch the signature again, whole, from the author")
}

fn untrusted(library: &Path, key: &PublicKey, keys: &[PublicKey]) -> Refusal {
    let trusted: Vec<String> = keys.iter().map(ToString::to_string).collect();
    Refusal::new(
        RefusalCode::UntrustedKey,
        library,
        "is signed by a key that is not trusted here",
        format!(
            "a signature by {}",
            match trusted.as_slice() {
                [] => "a trusted key; there is none".to_owned(),
                trusted => crate::error::list(trusted, "or"),
            }
        ),
        format!("one by {key}"),
    )
    .fix("add the file of that key to [trust] keys, if you trust its author")
}

/// A text of `key=value` lines below a first line that says what it is. Keys that are not known are skipped: a newer
/// hotshoe may say more, and what it says is signed as well.
struct Fields<'a> {
    lines: Vec<(usize, &'a str, &'a str)>,
    /// Where the last line begins.
    last_at: usize,
}

impl<'a> Fields<'a> {
    fn read(text: &'a [u8], magic: &'static str) -> Result<Self, Misread> {
        let fault = |line: usize, wanted: String, found: &str| Misread {
            line,
            column: 0,
            wanted,
            found: found.to_owned(),
        };
        if text.len() as u64 > SIGNATURE_BYTES_MAX {
            let wanted = format!("at most {SIGNATURE_BYTES_MAX} bytes");
            return Err(fault(1, wanted, "more"));
        }
        let first = || format!("`{magic}`");
        let text =
            std::str::from_utf8(text).map_err(|_| fault(1, first(), "bytes that are no text"))?;
        let Some(body) = text.strip_suffix('\n') else {
            let found = if text.is_empty() {
                "an empty file"
            } else {
                "a text that is cut off"
            };
            let line = text.lines().count().max(1);
            return Err(fault(line, "a whole line at the end".to_owned(), found));
        };
        let mut rows = body.split('\n').enumerate();
        if rows.next().is_none_or(|(_, row)| row != magic) {
            return Err(fault(1, first(), "another first line"));
        }
        let mut lines: Vec<(usize, &str, &str)> = Vec::new();
        for (index, row) in rows {
            let Some((key, value)) = row.split_once('=') else {
                return Err(fault(index + 1, "`key=value`".to_owned(), "another line"));
            };
            if lines.iter().any(|(_, other, _)| *other == key) {
                let wanted = "each key once".to_owned();
                return Err(fault(index + 1, wanted, "a key for the second time"));
            }
            lines.push((index + 1, key, value));
        }
        let last_at = body.rfind('\n').map_or(0, |at| at + 1);
        Ok(Self { lines, last_at })
    }

    fn get(&self, key: &str) -> Option<(usize, &'a str)> {
        let found = self.lines.iter().find(|(_, other, _)| *other == key);
        found.map(|(line, _, value)| (*line, *value))
    }

    fn bytes<const N: usize>(&self, key: &str) -> Result<(usize, [u8; N]), Misread> {
        let wanted = format!("`{key}=` and {} hexadecimal digits", 2 * N);
        let Some((line, value)) = self.get(key) else {
            return Err(Misread {
                line: self.lines.len() + 1,
                column: 0,
                wanted,
                found: format!("no `{key}=`"),
            });
        };
        let bytes = unhex(value).ok_or_else(|| Misread {
            line,
            column: key.len() + 2,
            wanted,
            found: format!("a value of {} bytes that is none", value.len()),
        })?;
        Ok((line, bytes))
    }

    /// The key that a signature names; its last line is a signature.
    fn signer(&self) -> Result<PublicKey, Misread> {
        let (line, bytes) = self.bytes::<32>("key")?;
        let (signature_line, _) = self.bytes::<64>("signature")?;
        // What stood below it would look signed and is not.
        if let Some((line, ..)) = self
            .lines
            .last()
            .filter(|(line, ..)| *line > signature_line)
        {
            return Err(Misread {
                line: *line,
                column: 0,
                wanted: "nothing below the signature".to_owned(),
                found: "another line".to_owned(),
            });
        }
        PublicKey::from_bytes(&bytes).ok_or_else(|| no_key(line))
    }

    fn holds(&self, text: &[u8], key: &PublicKey) -> bool {
        let Ok((_, signature)) = self.bytes::<64>("signature") else {
            return false;
        };
        let signature = ed25519_dalek::Signature::from_bytes(&signature);
        key.0
            .verify_strict(&text[..self.last_at], &signature)
            .is_ok()
    }
}

#[cfg(test)]
mod tests;
