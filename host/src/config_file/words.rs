//! Names, paths, libraries and the keys that take one of a few words.
//!
//! Only the spelling is judged here: whether a file exists, a port is free or a name is known is another's question. The
//! paths of a sandbox alone are looked up, because walls are built before anybody could be told.

use std::{
    borrow::Cow,
    fmt, io,
    path::{Path, PathBuf, is_separator},
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};
use toml::de::DeValue;

use super::{
    echo::echo,
    model::{Absent, folder_of},
    read::{Node, Read, Scalar},
    report::{Report, Wrong, near_miss},
};

/// A name's longest form. Names become file names, metric labels and socket paths; the last of these is short.
const NAME_BYTES_MAX: usize = 64;

/// A path that the system could not hold anyway.
const PATH_BYTES_MAX: usize = 4096;

/// `[a-z0-9][a-z0-9._-]{0,63}`: what a host, an instance and a topic may be called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub(super) struct Name(pub(super) String);

impl Name {
    /// The name that `text` is, blanks around it aside.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let name = text.trim();
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let first = name.bytes().next().is_some_and(inner);
        let rest = name
            .bytes()
            .all(|byte| inner(byte) || b"._-".contains(&byte));
        (first && rest && name.len() <= NAME_BYTES_MAX).then(|| Self(name.to_owned()))
    }

    /// A name made from any text: lower case, `-` for what no name may hold.
    pub(super) fn derived(text: &str) -> Option<Self> {
        let keep = |character: char| match character.to_ascii_lowercase() {
            plain @ ('a'..='z' | '0'..='9' | '.' | '_' | '-') => plain,
            _ => '-',
        };
        let name: String = text.chars().map(keep).collect();
        let name = name.trim_start_matches(['.', '_', '-']);
        let name = name
            .get(..NAME_BYTES_MAX)
            .unwrap_or(name)
            .trim_end_matches(['.', '_', '-']);
        Self::from_text(name)
    }
}

impl Scalar for Name {
    fn wanted() -> String {
        "a name: a-z, 0-9, `.`, `_`, `-`, beginning with a letter or digit, at most 64 bytes"
            .to_owned()
    }
    fn example() -> String {
        "\"append\"".to_owned()
    }
    fn parse(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let DeValue::String(text) = value else {
            return Err(Wrong::TYPE);
        };
        Self::from_text(text).ok_or_else(|| Wrong::Value {
            // A long name cut short may be another's name.
            meant: Some(text.trim())
                .filter(|name| name.len() <= NAME_BYTES_MAX)
                .and_then(Self::derived)
                .map(|name| format!("\"{}\"", name.0)),
        })
    }
}

impl JsonSchema for Name {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^\\s*[a-z0-9][a-z0-9._-]{0,63}\\s*$" })
    }
}

/// Text of at least one visible character and no control characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct Line(pub(super) String);

impl Scalar for Line {
    fn wanted() -> String {
        "a string of at least one character".to_owned()
    }
    fn example() -> String {
        "\"a\"".to_owned()
    }
    fn parse(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let DeValue::String(text) = value else {
            return Err(Wrong::Type {
                meant: quoted(value),
            });
        };
        let right = !text.trim().is_empty() && !text.contains(char::is_control);
        if right {
            Ok(Self(text.trim().to_owned()))
        } else {
            Err(Wrong::VALUE)
        }
    }
}

/// The string that a bare number is meant for: `gpu = [5]` for `gpu = ["5"]`.
fn quoted(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::Integer(number) => Some(format!("\"{}\"", echo(&number.to_string()))),
        _ => None,
    }
}

impl JsonSchema for Line {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Line".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "\\S" })
    }
}

/// A path as it was written: relative to the folder of the file it stands in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct PathText(pub(super) PathBuf);

impl PathText {
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let right = !text.trim().is_empty() && !text.contains('\0') && text.len() <= PATH_BYTES_MAX;
        right.then(|| Self(PathBuf::from(text)))
    }

    /// Where it leads from the folder of its file.
    pub(super) fn seen_from(&self, folder: &Path) -> PathBuf {
        resolve(folder, &self.0)
    }
}

/// `path` as seen from `folder`; "./" is not put before what needs none.
pub(super) fn resolve(folder: &Path, path: &Path) -> PathBuf {
    if folder == Path::new(".") {
        path.to_owned()
    } else {
        folder.join(path)
    }
}

impl Scalar for PathText {
    fn wanted() -> String {
        "a path".to_owned()
    }
    fn example() -> String {
        "\"folder/file\"".to_owned()
    }
    fn parse(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let DeValue::String(text) = value else {
            return Err(Wrong::TYPE);
        };
        Self::from_text(text).ok_or(Wrong::VALUE)
    }
}

impl JsonSchema for PathText {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Path".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "\\S" })
    }
}

/// A path of a sandbox: what may be opened must be there to be named to the kernel, or be the host's to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct ExistingPath(pub(super) PathText);

impl Read for ExistingPath {
    fn wanted() -> String {
        <PathText as Scalar>::wanted()
    }
    fn example() -> String {
        <PathText as Scalar>::example()
    }
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let text = PathText::read(node, report)?;
        let path = text.seen_from(&folder_of(report.text.file()));
        let error = match path.metadata() {
            Ok(_) => return Some(Self(text)),
            Err(error) => error,
        };
        let label = node.path.label();
        let shown = echo(&path.display().to_string());
        let sentence = match error.kind() {
            io::ErrorKind::NotFound => format!("{label} names `{shown}`, which is not there"),
            _ => format!("{label} names `{shown}`, which cannot be looked at: {error}"),
        };
        let problem = report
            .error("no-such-path", &sentence, &node.value.span())
            .wanted("a file or folder that exists; a relative path begins at this file's folder")
            .found(shown)
            .fix("make it before the host starts, correct the path, or take it out of the sandbox");
        if error.kind() != io::ErrorKind::NotFound {
            report.add(problem);
            return None;
        }
        report.add_absent(Absent { path, problem });
        Some(Self(text))
    }
}

impl JsonSchema for ExistingPath {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        PathText::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        PathText::json_schema(generator)
    }
}

/// The name of an environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct VariableName(pub(super) String);

impl Scalar for VariableName {
    fn wanted() -> String {
        "the name of a variable: A-Z, a-z, 0-9 and `_`, not beginning with a digit".to_owned()
    }
    fn example() -> String {
        "\"HOME\"".to_owned()
    }
    fn parse(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let DeValue::String(text) = value else {
            return Err(Wrong::TYPE);
        };
        let is_name = |text: &str| {
            let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            text.bytes().all(inner)
                && text
                    .bytes()
                    .next()
                    .is_some_and(|byte| !byte.is_ascii_digit())
        };
        if is_name(text) {
            return Ok(Self(text.to_string()));
        }
        // "$HOME" and "HOME=/root" are the usual slips.
        let bare = text.trim().trim_start_matches('$');
        let bare = bare
            .split('=')
            .next()
            .unwrap_or(bare)
            .trim_matches(['{', '}']);
        Err(Wrong::Value {
            meant: is_name(bare).then(|| format!("\"{bare}\"")),
        })
    }
}

impl JsonSchema for VariableName {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "VariableName".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" })
    }
}

/// Which library an entry means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Library {
    /// A bare name, looked for in `plugin_path`, beside the file and beside the executable.
    Named(String),
    /// A path, resolved against the folder of the file that the entry stands in.
    Path(PathBuf),
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Library {
    /// The same library, a relative path seen from `folder`.
    pub(super) fn seen_from(&self, folder: &Path) -> Self {
        match self {
            Self::Named(name) => Self::Named(name.clone()),
            Self::Path(path) => Self::Path(resolve(folder, path)),
        }
    }
}

impl Scalar for Library {
    fn wanted() -> String {
        "the name of a library, or a path with a separator in it".to_owned()
    }
    fn example() -> String {
        "\"hotshoe_quickstart\"".to_owned()
    }
    fn parse(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let DeValue::String(text) = value else {
            return Err(Wrong::TYPE);
        };
        let text: &str = text;
        let Some(path) = PathText::from_text(text) else {
            return Err(Wrong::VALUE);
        };
        match text {
            "." | ".." => Err(Wrong::VALUE),
            _ if text.contains(is_separator) => Ok(Self::Path(path.0)),
            name => Ok(Self::Named(name.trim().to_owned())),
        }
    }
}

impl Serialize for Library {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Library {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Library".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "\\S" })
    }
}

/// Makes an enum of plain words readable. serde's own names are the words.
macro_rules! words {
    ($name:ident: $($variant:ident),+) => {
        impl $name {
            const ALL: &'static [Self] = &[$(Self::$variant),+];
        }
        impl Scalar for $name {
            fn wanted() -> String {
                one_of(&words_of(Self::ALL))
            }
            fn example() -> String {
                format!("\"{}\"", words_of(Self::ALL)[0])
            }
            fn parse(value: &DeValue<'_>) -> Result<Self, Wrong> {
                parse_word(value, &words_of(Self::ALL))
            }
        }
    };
}

fn words_of<T: Serialize>(all: &[T]) -> Vec<String> {
    let word = |value: &T| match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Some(word),
        _ => None,
    };
    all.iter().filter_map(word).collect()
}

fn one_of(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.as_slice() {
        [only] => only.clone(),
        several => format!("one of {}", several.join(", ")),
    }
}

fn parse_word<T: for<'de> Deserialize<'de>>(
    value: &DeValue<'_>,
    words: &[String],
) -> Result<T, Wrong> {
    use serde::de::value::{Error, StrDeserializer};
    let DeValue::String(text) = value else {
        return Err(Wrong::TYPE);
    };
    let text: &str = text;
    T::deserialize(StrDeserializer::<Error>::new(text)).map_err(|_| {
        let given = text.trim().to_ascii_lowercase().replace('_', "-");
        Wrong::Value {
            meant: near(&given, words.iter().map(String::as_str)),
        }
    })
}

/// The nearest of the words, as a literal.
pub(super) fn near<'a>(given: &str, words: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let words: Vec<&str> = words.into_iter().collect();
    let same = words.iter().find(|word| **word == given).copied();
    same.or_else(|| near_miss(given, words))
        .map(|word| format!("\"{word}\""))
}

/// Where a plugin's code runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// In the host.
    InProcess,
    /// In a child of its own.
    Process,
}
words!(Isolation: InProcess, Process);

/// What the library is opened from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// A sealed copy in memory.
    Memfd,
    /// A private folder that holds copies of the library and its neighbours.
    Directory,
}
words!(Stage: Memfd, Directory);

/// What the end of the source means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnSourceEnd {
    /// What was read is drained, then the host stops.
    Stop,
}
words!(OnSourceEnd: Stop);

/// What becomes of records that fail in every attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OnErrorWord {
    /// The stream fails.
    Stop,
    /// The records at fault are kept in the file `dead_letter`, the others go on.
    DeadLetter,
}
words!(OnErrorWord: Stop, DeadLetter);

/// What a library must show before it is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Require {
    /// Nothing beyond what every library must.
    None,
    /// Its digest stands in the lock file.
    Locked,
    /// A signature by one of the keys.
    Signed,
}
words!(Require: None, Locked, Signed);

/// A sandbox that is one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SandboxWord {
    /// No sandbox.
    None,
    /// What most plugins need.
    Standard,
}
words!(SandboxWord: None, Standard);
