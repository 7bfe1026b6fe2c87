//! A plugin's own settings: free in shape, with the place of every value, and with secrets that are never shown.
//!
//! What the plugin's schema says of them is judged elsewhere, later; [`Settings::place`] then finds the line.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use super::{
    echo::{echo, kind},
    parse::{Unread, read_regular},
    read::{Node, Read},
    report::{Env, Path, Report},
};
use crate::error::Place;

/// A secret is a token, a key, perhaps a chain of certificates.
const SECRET_BYTES_MAX: u64 = 1 << 20;

/// Deeper settings are a program's, not a person's; the parser's own limit bounds each key alone, not their product.
const DEPTH_MAX: usize = 64;

/// What is shown in place of a secret.
const HIDDEN: &str = "***";

/// A plugin's own settings.
#[derive(Clone, Default, PartialEq)]
pub struct Settings {
    values: Map<String, Value>,
    at: Option<Place>,
    /// By JSON pointer: where the key stands and where its value does.
    spots: BTreeMap<String, Spot>,
    secrets: BTreeSet<String>,
}

/// Line and column of a key, and of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spot {
    key: (usize, usize),
    value: (usize, usize),
}

impl Settings {
    /// Settings that stand in no file, as an embedder gives them.
    #[must_use]
    pub fn from_values(values: Map<String, Value>) -> Self {
        Self {
            values,
            ..Self::default()
        }
    }

    /// The settings as a JSON object, secrets in clear: for the plugin, never for a log.
    #[must_use]
    pub fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// The same as one JSON value.
    #[must_use]
    pub fn to_value(&self) -> Value {
        Value::Object(self.values.clone())
    }

    /// Where the value at a JSON pointer stands; of a value that is absent, where the nearest value around it does.
    ///
    /// `None`: the settings stand in no file.
    #[must_use]
    pub fn place(&self, pointer: &str) -> Option<Place> {
        self.nearest(pointer, |spot| spot.value)
    }

    /// The same for the key: what an unknown key is reported at.
    #[must_use]
    pub fn key_place(&self, pointer: &str) -> Option<Place> {
        self.nearest(pointer, |spot| spot.key)
    }

    /// JSON pointers of the values that came from a file or the environment.
    #[must_use]
    pub fn secrets(&self) -> &BTreeSet<String> {
        &self.secrets
    }

    /// Whether the value at a JSON pointer is a secret, stands in one or holds one: it must not be quoted.
    #[must_use]
    pub fn hides(&self, pointer: &str) -> bool {
        let within = |inner: &str, outer: &str| {
            inner
                .strip_prefix(outer)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.secrets
            .iter()
            .any(|secret| within(secret, pointer) || within(pointer, secret))
    }

    /// The settings with `***` for every secret.
    #[must_use]
    pub fn printable(&self) -> Value {
        let mut shown = self.to_value();
        for pointer in &self.secrets {
            if let Some(value) = shown.pointer_mut(pointer) {
                *value = Value::String(HIDDEN.to_owned());
            }
        }
        shown
    }

    /// Says where settings would stand that are absent: at their entry.
    pub(super) fn or_at(mut self, at: &Place) -> Self {
        self.at.get_or_insert_with(|| at.clone());
        self
    }

    fn nearest(&self, pointer: &str, which: impl Fn(&Spot) -> (usize, usize)) -> Option<Place> {
        let whole = self.at.as_ref()?;
        let mut pointer = pointer;
        loop {
            if let Some(spot) = self.spots.get(pointer) {
                let (line, column) = which(spot);
                return Some(Place {
                    file: whole.file.clone(),
                    line,
                    column,
                });
            }
            match pointer.rfind('/') {
                Some(slash) => pointer = &pointer[..slash],
                None => return Some(whole.clone()),
            }
        }
    }
}

/// A log must be able to hold settings.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Settings({})", self.printable())
    }
}

/// As shown, not as they are: whoever wants the secrets asks for them.
impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.printable().serialize(serializer)
    }
}

impl JsonSchema for Settings {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Settings".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": true })
    }
}

impl Read for Settings {
    fn wanted() -> String {
        "a table".to_owned()
    }
    fn example() -> String {
        "{ topic = \"dynamic-config\" }".to_owned()
    }
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let span = node.value.span();
        let DeValue::Table(table) = node.value.get_ref() else {
            let label = node.path.label();
            let problem = report
                .error(
                    "wrong-type",
                    &format!("{label} is {}, not a table", kind(node.value.get_ref())),
                    &span,
                )
                .wanted("a table")
                // Not the value: it may be a secret that slipped up a line.
                .found(kind(node.value.get_ref()))
                .fix("write [plugin.settings] and the settings below it");
            report.add(problem);
            return None;
        };
        let mut settings = Self {
            at: Some(report.place(&span)),
            ..Self::default()
        };
        let mut walk = Walk {
            settings: &mut settings,
            report,
        };
        let values = walk.table(table, "", &node.path, 0);
        settings.values = values;
        Some(settings)
    }
}

/// One pass over the settings of one entry.
struct Walk<'w, 'r, 't> {
    settings: &'w mut Settings,
    report: &'r mut Report<'t>,
}

impl Walk<'_, '_, '_> {
    fn table(
        &mut self,
        table: &DeTable<'_>,
        pointer: &str,
        path: &Path,
        depth: usize,
    ) -> Map<String, Value> {
        let mut values = Map::new();
        for (key, value) in table {
            let name: &str = key.get_ref();
            let pointer = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
            let node = Node::plain(value, path.child(name));
            let spot = Spot {
                key: self.line_column(key.span().start),
                value: self.line_column(value.span().start),
            };
            self.settings.spots.insert(pointer.clone(), spot);
            values.insert(name.to_owned(), self.value(&node, &pointer, depth + 1));
        }
        values
    }

    fn line_column(&self, offset: usize) -> (usize, usize) {
        let Place { line, column, .. } = self.report.text.place(offset);
        (line, column)
    }

    /// The value; null in place of one that was refused, which nobody sees: its report stops the start.
    fn value(&mut self, node: &Node<'_>, pointer: &str, depth: usize) -> Value {
        if depth > DEPTH_MAX {
            return self.refuse(
                node,
                "bad-value",
                "is nested too deeply",
                Refusal {
                    wanted: format!("at most {DEPTH_MAX} levels"),
                    found: "more".to_owned(),
                    fix: "flatten the settings".to_owned(),
                },
            );
        }
        match node.value.get_ref() {
            DeValue::String(text) => self.string(node, text, pointer),
            DeValue::Boolean(yes) => Value::Bool(*yes),
            DeValue::Datetime(date) => Value::String(date.to_string()),
            DeValue::Integer(number) => {
                let (digits, radix) = (number.as_str(), number.radix());
                let signed = i64::from_str_radix(digits, radix).map(Value::from);
                match signed.or_else(|_| u64::from_str_radix(digits, radix).map(Value::from)) {
                    Ok(value) => value,
                    Err(_) => self.refuse(
                        node,
                        "bad-value",
                        "does not fit 64 bits",
                        Refusal {
                            wanted: "a whole number of at most 64 bits".to_owned(),
                            found: "a larger one".to_owned(),
                            fix: "write it as a string, if the plugin takes one".to_owned(),
                        },
                    ),
                }
            }
            DeValue::Float(number) => {
                match number
                    .as_str()
                    .parse::<f64>()
                    .ok()
                    .and_then(serde_json::Number::from_f64)
                {
                    Some(number) => Value::Number(number),
                    None => self.refuse(
                        node,
                        "bad-value",
                        "is not a finite number",
                        Refusal {
                            wanted: "a finite number".to_owned(),
                            found: "inf, nan, or a number too large".to_owned(),
                            fix: "write a number; JSON, which plugins read, has no inf and no nan"
                                .to_owned(),
                        },
                    ),
                }
            }
            DeValue::Array(array) => {
                let mut values = Vec::with_capacity(array.len());
                for (index, item) in node.items(array, "").into_iter().enumerate() {
                    let pointer = format!("{pointer}/{index}");
                    let at = self.line_column(item.value.span().start);
                    self.settings
                        .spots
                        .insert(pointer.clone(), Spot { key: at, value: at });
                    values.push(self.value(&item, &pointer, depth + 1));
                }
                Value::Array(values)
            }
            DeValue::Table(table) => match only_file(table) {
                Some(file) => self.file(node, file, pointer),
                None => Value::Object(self.table(table, pointer, &node.path, depth)),
            },
        }
    }

    fn string(&mut self, node: &Node<'_>, text: &str, pointer: &str) -> Value {
        match expand(text, self.report.env) {
            Ok(None) => Value::String(text.to_owned()),
            Ok(Some(secret)) => {
                self.settings.secrets.insert(pointer.to_owned());
                Value::String(secret)
            }
            Err(why) => self.refuse_variable(node, why),
        }
    }

    fn file(&mut self, node: &Node<'_>, written: &str, pointer: &str) -> Value {
        self.settings.secrets.insert(pointer.to_owned());
        let path = match expand(written, self.report.env) {
            Ok(expanded) => PathBuf::from(expanded.unwrap_or_else(|| written.to_owned())),
            Err(why) => return self.refuse_variable(node, why),
        };
        // A relative path means the folder of the file that names it.
        let path = match self.report.text.file().parent() {
            Some(folder) => folder.join(path),
            None => path,
        };
        let why = match read_regular(&path, SECRET_BYTES_MAX) {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => return Value::String(without_newline(text)),
                Err(_) => "it is not UTF-8 text".to_owned(),
            },
            Err(Unread::Missing) => "there is no such file".to_owned(),
            Err(Unread::NotAFile(kind)) => format!("it is {kind}"),
            Err(Unread::TooLarge) => format!("it is larger than {SECRET_BYTES_MAX} bytes"),
            Err(Unread::Io(error)) => error.to_string(),
        };
        // The path as it was written: a variable in it may be a secret of its own.
        let shown = echo(written);
        self.refuse(
            node,
            "unreadable-value",
            &format!("cannot be read from \"{shown}\": {why}"),
            Refusal {
                wanted: format!(
                    "a text file of at most {SECRET_BYTES_MAX} bytes that this user may read"
                ),
                found: why,
                fix: "correct the path, which is relative to the folder of this file, or the file"
                    .to_owned(),
            },
        )
    }

    fn refuse_variable(&mut self, node: &Node<'_>, why: BadVariable) -> Value {
        let name = echo(&why.name);
        let (code, sentence, refusal) = match why.fault {
            Fault::Unset => (
                "unset-variable",
                format!("needs the variable {name}, which is not set"),
                Refusal {
                    wanted: format!("{name} in the host's environment"),
                    found: "no such variable".to_owned(),
                    fix: format!("set it: {name}=… hotshoe run"),
                },
            ),
            Fault::NotUnicode => (
                "unset-variable",
                format!("needs the variable {name}, which is not UTF-8"),
                Refusal {
                    wanted: format!("UTF-8 text in {name}"),
                    found: "other bytes".to_owned(),
                    fix: "set it to text, or name a file: { file = \"PATH\" }".to_owned(),
                },
            ),
            Fault::Unclosed => (
                "bad-value",
                "holds `${env:` without its closing brace".to_owned(),
                Refusal {
                    wanted: "${env:NAME}".to_owned(),
                    found: "no `}` after `${env:`".to_owned(),
                    fix: "close it: ${env:NAME}".to_owned(),
                },
            ),
            Fault::BadName => (
                "bad-value",
                format!("asks for the variable `{name}`, which no variable is called"),
                Refusal {
                    wanted: "a name of letters, digits and `_`, not beginning with a digit"
                        .to_owned(),
                    found: name,
                    fix: "correct the name".to_owned(),
                },
            ),
        };
        self.refuse(node, code, &sentence, refusal)
    }

    fn refuse(&mut self, node: &Node<'_>, code: &str, sentence: &str, refusal: Refusal) -> Value {
        let sentence = format!("{} {sentence}", node.path.label());
        let problem = self.report.error(code, &sentence, &node.value.span());
        self.report.add(
            problem
                .wanted(refusal.wanted)
                .found(refusal.found)
                .fix(refusal.fix),
        );
        Value::Null
    }
}

/// The details of a refused value.
struct Refusal {
    wanted: String,
    found: String,
    fix: String,
}

/// The path of `{ file = "PATH" }`.
fn only_file<'a>(table: &'a DeTable<'_>) -> Option<&'a str> {
    let file = table.get("file")?.get_ref().as_str()?;
    (table.len() == 1).then_some(file)
}

/// An editor ends a file with a newline; the secret has none.
fn without_newline(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

struct BadVariable {
    name: String,
    fault: Fault,
}

enum Fault {
    Unset,
    NotUnicode,
    Unclosed,
    BadName,
}

/// Replaces each `${env:NAME}`; `None` where there is none. What a variable holds is not looked through again.
fn expand(text: &str, env: &Env<'_>) -> Result<Option<String>, BadVariable> {
    const OPEN: &str = "${env:";
    if !text.contains(OPEN) {
        return Ok(None);
    }
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(OPEN) {
        expanded.push_str(&rest[..start]);
        rest = &rest[start + OPEN.len()..];
        let Some(end) = rest.find('}') else {
            return Err(BadVariable {
                name: String::new(),
                fault: Fault::Unclosed,
            });
        };
        let name = &rest[..end];
        let fault = |fault| BadVariable {
            name: name.to_owned(),
            fault,
        };
        let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
        let right = name.bytes().next().is_some_and(letter)
            && name
                .bytes()
                .all(|byte| letter(byte) || byte.is_ascii_digit());
        if !right {
            return Err(fault(Fault::BadName));
        }
        let value = env(name).ok_or_else(|| fault(Fault::Unset))?;
        expanded.push_str(value.to_str().ok_or_else(|| fault(Fault::NotUnicode))?);
        rest = &rest[end + 1..];
    }
    expanded.push_str(rest);
    Ok(Some(expanded))
}
