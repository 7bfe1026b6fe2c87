//! Why a library is not loaded: a stable code, what was wanted, what was found, what to do.
//!
//! A refusal is a value for the host to print, to log or to put into a report; nothing here prints. The codes are
//! append-only: operators grep for them and scripts compare them.

use serde::Serialize;
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Who has to act on a refusal (STYLE R18).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blame {
    /// Asked for what cannot be: a wrong name, the wrong file.
    Operator,
    /// The library breaks the contract: its author has to act.
    Plugin,
    /// The machine: permission, a missing package, memory.
    Environment,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, $blame:ident;)+) => {
        /// The stable name of a reason not to load a library. Append-only.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum RefusalCode {
            $($(#[doc = $doc])+ $name,)+
        }

        impl RefusalCode {
            /// Every code, in the order of the checks.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The code as it is printed: kebab-case, stable.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }

            /// What it means, an empty line, and what to do: the text that `docs/refusals.md` is made from.
            #[must_use]
            pub const fn docs(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc, "\n"),+),)+
                }
            }

            /// Who usually has to act.
            #[must_use]
            pub const fn blame(self) -> Blame {
                match self {
                    $(Self::$name => Blame::$blame,)+
                }
            }
        }
    };
}

codes! {
    /// No such file, or a name that stands for none in any of the folders searched.
    ///
    /// Correct `library`, or add the folder to `[host] plugin_path`; the message lists every place tried and names that
    /// come close.
    NotFound = "not-found", Operator;
    /// The file is there and cannot be read: permission, a loop of symbolic links, a failing disk; or the copy of it that would
    /// run cannot be made, or lies in a folder that is mounted noexec.
    ///
    /// Make it readable for the user that runs the host; give the host a `run_dir` that it may write to and run code from.
    Unreadable = "unreadable", Environment;
    /// A folder, a pipe, a socket or a device where a file was wanted.
    ///
    /// Name the library file itself.
    NotAFile = "not-a-file", Operator;
    /// The file is something else than a shared library: text, an archive, a program, a core file.
    ///
    /// Name the `.so` that `cargo build` made from a crate with `crate-type = ["cdylib"]`.
    NotALibrary = "not-a-library", Operator;
    /// A shared library for another operating system, processor or C library.
    ///
    /// Build the plugin for this machine's target.
    WrongPlatform = "wrong-platform", Operator;
    /// More bytes, or more thread-local storage, than the host takes.
    ///
    /// Build in release and strip the file.
    TooLarge = "too-large", Operator;
    /// The file ends before what its own headers promise: a copy that was interrupted.
    ///
    /// Copy it again.
    Truncated = "truncated", Operator;
    /// A shared library without Hotshoe's manifest: not a plugin, or one without `export_plugin!`.
    ///
    /// Name the plugin's own library; its author needs `export_plugin!` in the crate that is the `cdylib`.
    NoManifest = "no-manifest", Operator;
    /// The manifest is there and cannot be read.
    ///
    /// Build the plugin again with an unmodified `hotshoe-plugin-api`.
    ManifestInvalid = "manifest-invalid", Plugin;
    /// Built for an ABI major that came before this host's.
    ///
    /// Build the plugin again with the host's `hotshoe-plugin-api`.
    AbiTooOld = "abi-too-old", Plugin;
    /// Built for an ABI major that this host does not know.
    ///
    /// Upgrade the host, or install an older build of the plugin.
    AbiTooNew = "abi-too-new", Plugin;
    /// The configuration needs a component that the plugin does not declare.
    ///
    /// Name another plugin, or declare the component in `export_plugin!`.
    MissingComponent = "missing-component", Operator;
    /// Built with `panic = "abort"`: one panic of it would end the whole host.
    ///
    /// Build it with `panic = "unwind"`, or run it with `isolation = "process"`.
    PanicAbort = "panic-abort", Plugin;
    /// Built against a newer glibc than this machine has.
    ///
    /// Build it on the oldest system it shall run on, or upgrade.
    GlibcTooNew = "glibc-too-new", Environment;
    /// It needs another library, or a symbol of one, that this machine does not have; or it looks for neighbours through
    /// `$ORIGIN`, which a copy in memory has not; or it names what it needs by a path instead of a name; or
    /// it looks for it (RPATH, RUNPATH) in whatever folder the host works in; or it and another plugin of the
    /// same process need different libraries of one name, and one of the two brings its own along.
    ///
    /// Install the library, or say `stage = "directory"`; how it was linked is for its author to mend. Of two plugins that do
    /// not fit into one process one needs `isolation = "process"`.
    MissingDependency = "missing-dependency", Environment;
    /// Everybody on this machine may change the file, or a folder on its path, or one that it looks for libraries in: whoever
    /// does runs code as the host.
    ///
    /// Take the right away with `chmod o-w`, or say `allow_writable = true`.
    WritableByOthers = "writable-by-others", Environment;
    /// Not the bytes that the lock file names.
    ///
    /// Restore the file, or write the lock file again.
    HashMismatch = "hash-mismatch", Operator;
    /// The policy asks for a lock file that names this library, and none does.
    ///
    /// Run `hotshoe lock`.
    NotLocked = "not-locked", Operator;
    /// The policy asks for a signature beside the library, and there is none.
    ///
    /// Have the plugin signed by its author.
    Unsigned = "unsigned", Operator;
    /// The signature is not one of these bytes.
    ///
    /// Fetch library and signature again, from their author.
    BadSignature = "bad-signature", Operator;
    /// Signed, by a key that the configuration does not trust.
    ///
    /// Add the key to `[trust] keys` if you do.
    UntrustedKey = "untrusted-key", Operator;
    /// The file was written to while it was read, or somebody has it open for writing.
    ///
    /// Wait until its copy is complete; replace libraries by renaming.
    ChangedWhileLoading = "changed-while-loading", Environment;
    /// The symbol that the manifest names is missing, or is no header.
    ///
    /// Build the plugin again.
    NoEntry = "no-entry", Plugin;
    /// The types on both sides of the ABI differ although its version agrees.
    ///
    /// Build the plugin again with an unmodified `hotshoe-abi`; `--verbose` prints the whole comparison.
    LayoutMismatch = "layout-mismatch", Plugin;
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A library that is not loaded, and why.
///
/// Texts are boxed strings because a refusal travels in the `Err` of every step: it stays under 128 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The stable reason.
    pub code: RefusalCode,
    /// Who has to act.
    pub blame: Blame,
    /// The instance it was meant for, where one is known; set by [`Refusal::for_instance`].
    pub instance: Option<Box<str>>,
    /// The file, or the bare name where no file was found.
    #[serde(serialize_with = "lossy")]
    pub file: Box<Path>,
    /// What is the matter, to follow the file's name: `is a folder`. One line.
    pub predicate: Box<str>,
    /// What would have been accepted. One line.
    pub wanted: Box<str>,
    /// What is there instead. One line.
    pub found: Box<str>,
    /// A command or an edit. One line.
    pub fix: Option<Box<str>>,
    /// The long story, for `--verbose`; several lines.
    pub detail: Option<Box<str>>,
}

impl Refusal {
    /// A refusal without instance and detail.
    #[must_use]
    pub fn new(
        code: RefusalCode,
        file: &Path,
        predicate: impl Into<String>,
        wanted: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self {
            code,
            blame: code.blame(),
            instance: None,
            file: file.into(),
            predicate: predicate.into().into(),
            wanted: wanted.into().into(),
            found: found.into().into(),
            fix: None,
            detail: None,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into().into());
        self
    }

    /// Adds the long story.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into().into());
        self
    }

    /// Adds whom it was meant for.
    #[must_use]
    pub fn for_instance(mut self, instance: &str) -> Self {
        self.instance = Some(instance.into());
        self
    }

    /// The sentence that stands alone in a log: names the instance, the file and the matter.
    #[must_use]
    pub fn headline(&self) -> String {
        let file = printable_path(&self.file);
        match &self.instance {
            Some(instance) => format!("plugin `{instance}` ({file}) {}", self.predicate),
            None => format!("{file} {}", self.predicate),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.headline())
    }
}

impl std::error::Error for Refusal {}

/// A path for people: one line whatever the name holds.
#[must_use]
pub fn printable_path(path: &Path) -> String {
    escape(&path.to_string_lossy(), usize::MAX)
}

/// A path as an argument of a shell's command: quoted where it holds more than a shell leaves as it is.
#[must_use]
pub fn argument(path: &Path) -> String {
    let text = printable_path(path);
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:@%=".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// A path need not be UTF-8; a report that fails for it would hide the refusal.
fn lossy<S: serde::Serializer>(path: &Path, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(&path.to_string_lossy())
}

/// Text out of a file that nobody vouches for: one line, no control characters, at most 120 characters.
pub(crate) fn printable(text: &[u8]) -> String {
    // What is cut off later need not be decoded now: the text may be a gigabyte.
    let head = &text[..text.len().min(1024)];
    escape(&String::from_utf8_lossy(head), 120)
}

fn escape(text: &str, chars_max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(256));
    for (i, c) in text.chars().enumerate() {
        if i == chars_max {
            out.push('…');
            break;
        }
        // The bidirectional controls can make a line read as another one.
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// `3.2 MiB` for people; exact below 1 KiB.
pub(crate) fn size(len_bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if len_bytes < 1024 {
        return format!("{len_bytes} bytes");
    }
    let mut tenths = len_bytes / 1024 * 10 + len_bytes % 1024 * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10 * 1024 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// `a, b or c`, at most eight of them.
pub(crate) fn list(items: &[String], last: &str) -> String {
    const ITEMS_MAX: usize = 8;
    let Some((tail, head)) = items.split_last() else {
        return "none".to_owned();
    };
    if items.len() > ITEMS_MAX {
        return format!(
            "{}, … ({} in all)",
            items[..ITEMS_MAX].join(", "),
            items.len()
        );
    }
    if head.is_empty() {
        return tail.clone();
    }
    format!("{} {last} {tail}", head.join(", "))
}

/// An absolute path where one can be had without touching the file.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_stays_small_and_reads_as_one_line() {
        assert!(size_of::<Refusal>() <= 128, "{}", size_of::<Refusal>());
        let refusal = Refusal::new(
            RefusalCode::NotAFile,
            Path::new("plugins/evil\nname.so"),
            "is a folder",
            "a file",
            "a folder",
        );
        assert_eq!(refusal.to_string(), "plugins/evil\\nname.so is a folder");
        assert_eq!(
            refusal.for_instance("geoip").to_string(),
            "plugin `geoip` (plugins/evil\\nname.so) is a folder"
        );
    }

    #[test]
    fn every_code_is_unique_kebab_case_and_documented() {
        let mut seen = std::collections::HashSet::new();
        for code in RefusalCode::ALL {
            assert!(seen.insert(code.as_str()), "{code} twice");
            assert!(
                code.as_str()
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'-'),
                "{code}"
            );
            assert!(code.docs().len() > 60, "{code} says too little");
        }
        assert_eq!(seen.len(), 24);
    }

    #[test]
    fn an_argument_is_quoted_where_a_shell_would_take_it_apart() {
        for (path, text) in [
            ("/opt/lib_a-1.0.so", "/opt/lib_a-1.0.so"),
            ("/my plugins/a.so", "'/my plugins/a.so'"),
            ("it's $HOME", "'it'\\''s $HOME'"),
            ("", "''"),
        ] {
            assert_eq!(argument(Path::new(path)), text);
        }
    }

    #[test]
    fn sizes_and_lists_read_well() {
        for (len, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (3 * 1024 * 1024 / 2, "1.5 MiB"),
            (1 << 32, "4.0 GiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(size(len), text);
        }
        let items = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(list(&items, "or"), "a, b or c");
        assert_eq!(list(&items[..1], "or"), "a");
        assert_eq!(list(&[], "or"), "none");
        assert_eq!(
            list(&vec!["x".to_owned(); 9], "or"),
            "x, x, x, x, x, x, x, x, … (9 in all)"
        );
    }
}
