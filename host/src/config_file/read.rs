//! A reader over the spanned tree that never stops at the first mistake.
//!
//! [`Read`] turns a node into a value or reports why not, and the caller goes on with the default: one pass finds every
//! problem. [`section`] declares a table's keys once, from the fields of its type, so that what is read, what is known
//! and what `hotshoe schema` prints cannot drift apart. What a key means is not decided here.

use std::ops::Range;

use schemars::JsonSchema;
use serde::Serialize;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    echo::{describe, echo, kind},
    report::{Path, Report, Wrong, near_miss},
};
use crate::error::{Place, Problem};

/// A value that remembers where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    #[serde(skip)]
    pub at: Place,
}

impl<T: JsonSchema> JsonSchema for Located<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }
}

/// One value of the tree, on its way into a type.
#[derive(Clone)]
pub(super) struct Node<'a> {
    pub(super) value: &'a Spanned<DeValue<'a>>,
    pub(super) path: Path,
    /// A literal that would have been right: the default, where there is one.
    pub(super) example: String,
}

impl<'a> Node<'a> {
    /// A value with no example to offer.
    pub(super) fn plain(value: &'a Spanned<DeValue<'a>>, path: Path) -> Self {
        Self {
            value,
            path,
            example: String::new(),
        }
    }

    /// The items of an array.
    pub(super) fn items(&self, array: &'a [Spanned<DeValue<'a>>], example: &str) -> Vec<Node<'a>> {
        let node = |(index, value)| Node {
            value,
            path: self.path.item(index),
            example: example.to_owned(),
        };
        array.iter().enumerate().map(node).collect()
    }

    /// The entries of a table whose keys are the operator's own.
    pub(super) fn entries(
        &self,
        table: &'a DeTable<'a>,
        example: &str,
    ) -> Vec<(&'a str, Node<'a>)> {
        let node = |key: &'a str, value| Node {
            value,
            path: self.path.child(key),
            example: example.to_owned(),
        };
        table
            .iter()
            .map(|(key, value)| (key.get_ref().as_ref(), node(key.get_ref(), value)))
            .collect()
    }
}

/// Turns a node into a value. `None` comes after the report was told why.
pub(super) trait Read: Sized {
    /// Completes "is a string, not …".
    fn wanted() -> String;
    /// A TOML literal that this type takes.
    fn example() -> String;
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self>;
}

/// A [`Read`] that needs nothing but the value.
pub(super) trait Scalar: Sized {
    fn wanted() -> String;
    fn example() -> String;
    fn parse(value: &DeValue<'_>) -> Result<Self, Wrong>;
}

impl<T: Scalar> Read for T {
    fn wanted() -> String {
        <T as Scalar>::wanted()
    }
    fn example() -> String {
        <T as Scalar>::example()
    }
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        match T::parse(node.value.get_ref()) {
            Ok(value) => Some(value),
            Err(wrong) => {
                report.wrong(node, <T as Scalar>::wanted(), wrong);
                None
            }
        }
    }
}

impl<T: Read> Read for Option<T> {
    fn wanted() -> String {
        T::wanted()
    }
    fn example() -> String {
        T::example()
    }
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        T::read(node, report).map(Some)
    }
}

impl<T: Read> Read for Located<T> {
    fn wanted() -> String {
        T::wanted()
    }
    fn example() -> String {
        T::example()
    }
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let at = report.place(&node.value.span());
        T::read(node, report).map(|value| Self { value, at })
    }
}

/// A bad item is reported and left out; the others are taken.
impl<T: Read> Read for Vec<T> {
    fn wanted() -> String {
        format!("an array, each item {}", T::wanted())
    }
    fn example() -> String {
        format!("[{}]", T::example())
    }
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let DeValue::Array(array) = node.value.get_ref() else {
            // `after = "a"` is the usual slip.
            let meant = match node.value.get_ref() {
                DeValue::String(text) => Some(format!("[\"{}\"]", echo(text))),
                _ => None,
            };
            report.wrong(node, Self::wanted(), Wrong::Type { meant });
            return None;
        };
        let items = node.items(array, &T::example());
        Some(
            items
                .iter()
                .filter_map(|item| T::read(item, report))
                .collect(),
        )
    }
}

/// A table with keys of its own; [`section`] writes the implementation.
pub(super) trait Section: Read + Default {
    /// The keys, in the order of the type's fields.
    const KEYS: &'static [&'static str];
    /// Takes every key, and reports those that are none.
    fn fill(cursor: Cursor<'_, '_, '_>) -> Self;
}

/// Declares the keys of a table type: the names of its fields, all of them, or it does not compile. `check` is called
/// with the table and its cursor for what one key alone cannot say.
macro_rules! section {
    ($table:ident { $($key:ident),* $(,)? } $(check $check:path)?) => {
        impl $crate::config_file::read::Section for $table {
            const KEYS: &'static [&'static str] = &[$(stringify!($key)),*];
            fn fill(mut cursor: $crate::config_file::read::Cursor<'_, '_, '_>) -> Self {
                let default = Self::default();
                let table = Self { $($key: cursor.take(stringify!($key), default.$key)),* };
                $($check(&table, &mut cursor);)?
                cursor.close();
                table
            }
        }
        impl $crate::config_file::read::Read for $table {
            fn wanted() -> String {
                "a table".to_owned()
            }
            fn example() -> String {
                "{}".to_owned()
            }
            fn read(
                node: &$crate::config_file::read::Node<'_>,
                report: &mut $crate::config_file::report::Report<'_>,
            ) -> Option<Self> {
                use $crate::config_file::read::{Cursor, Section};
                Cursor::open(node, Self::KEYS, report).map(Self::fill)
            }
        }
    };
}
pub(super) use section;

/// A table that is being read.
pub(super) struct Cursor<'a, 'r, 't> {
    table: &'a DeTable<'a>,
    path: Path,
    span: Range<usize>,
    keys: &'static [&'static str],
    report: &'r mut Report<'t>,
}

impl<'a, 'r, 't> Cursor<'a, 'r, 't> {
    /// The top of a file.
    pub(super) fn root(
        table: &'a DeTable<'a>,
        keys: &'static [&'static str],
        report: &'r mut Report<'t>,
    ) -> Self {
        Self {
            table,
            path: Path::default(),
            span: 0..0,
            keys,
            report,
        }
    }

    /// A table below it, or a report that it is none.
    pub(super) fn open(
        node: &Node<'a>,
        keys: &'static [&'static str],
        report: &'r mut Report<'t>,
    ) -> Option<Self> {
        let path = match node.path.owner.as_str() {
            "" => owned(node),
            _ => node.path.clone(),
        };
        match node.value.get_ref() {
            DeValue::Table(table) => Some(Self {
                table,
                path,
                span: node.value.span(),
                keys,
                report,
            }),
            DeValue::Array(_) => {
                let meant = Some(format!("[{}]", node.path.keys));
                wrong_table(node, meant, report);
                None
            }
            _ => {
                wrong_table(node, None, report);
                None
            }
        }
    }

    /// The value of a key; the default where it is absent, or wrong and reported.
    pub(super) fn take<T: Read + Serialize>(&mut self, key: &'static str, default: T) -> T {
        let Some((_, value)) = self.table.get_key_value(key) else {
            return default;
        };
        // JSON writes a number, a word and a list of them as TOML does.
        let example = match serde_json::to_value(&default) {
            Ok(json @ (serde_json::Value::Number(_) | serde_json::Value::String(_))) => {
                json.to_string()
            }
            Ok(json @ serde_json::Value::Bool(_)) => json.to_string(),
            _ => T::example(),
        };
        let node = Node {
            value,
            path: self.path.child(key),
            example,
        };
        T::read(&node, self.report).unwrap_or(default)
    }

    /// Whether the file says anything about a key, rightly or wrongly.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Whether the file gives a key this very string.
    pub(super) fn is_str(&self, key: &str, text: &str) -> bool {
        self.table
            .get(key)
            .and_then(|value| value.get_ref().as_str())
            == Some(text)
    }

    /// An error about a key as a whole; the place is the key's value, or the table where the key is absent.
    pub(super) fn error_at(&self, key: &str, code: &str, sentence: &str) -> Problem {
        let span = match self.table.get_key_value(key) {
            Some((_, value)) => value.span(),
            None => self.span.clone(),
        };
        self.report.error(code, sentence, &span)
    }

    /// A warning, at the same place.
    pub(super) fn warning_at(&self, key: &str, code: &str, sentence: &str) -> Problem {
        let Problem { headline, at, .. } = self.error_at(key, code, sentence);
        Problem {
            at,
            ..Problem::warning(code, headline)
        }
    }

    pub(super) fn add(&mut self, problem: Problem) {
        self.report.add(problem);
    }

    /// "`retries` of [stream]".
    pub(super) fn label(&self, key: &str) -> String {
        self.path.child(key).label()
    }

    /// "[stream]", "`deadlines` of plugin `b`".
    pub(super) fn owner(&self) -> String {
        self.path.label()
    }

    /// The keys that are none of these, and where they stand.
    pub(super) fn keys_but(&self, known: &[&str]) -> Vec<(&'a str, Range<usize>)> {
        let key = |key: &'a Spanned<_>| (AsRef::<str>::as_ref(key.get_ref()), key.span());
        self.table
            .keys()
            .map(key)
            .filter(|(name, _)| !known.contains(name))
            .collect()
    }

    /// An error at a place of the file.
    pub(super) fn error(&self, code: &str, sentence: &str, span: &Range<usize>) -> Problem {
        self.report.error(code, sentence, span)
    }

    /// Reports every key that nobody asks for.
    pub(super) fn close(self) {
        for (name, span) in self.keys_but(self.keys) {
            let whose = match self.path.label() {
                top if top == "the file" => "this file".to_owned(),
                other => other,
            };
            let sentence = format!("`{}` is not a key of {whose}", echo(name));
            let problem = self
                .report
                .error("unknown-key", &sentence, &span)
                .wanted(self.keys.join(", "))
                .found(echo(name))
                .fix(self.unknown_key_fix(name));
            self.report.add(problem);
        }
    }

    fn unknown_key_fix(&self, name: &str) -> String {
        if let Some(key) = near_miss(name, self.keys.iter().copied()) {
            return format!("did you mean `{key}`?");
        }
        if let Some(home) = super::raw::home_of(name) {
            return format!("move it to {home}");
        }
        if self.keys.contains(&"library") {
            return "remove it; what belongs to the plugin itself stands under [plugin.settings]"
                .to_owned();
        }
        "remove it, or write one of the keys above".to_owned()
    }
}

fn wrong_table(node: &Node<'_>, meant: Option<String>, report: &mut Report<'_>) {
    let label = node.path.label();
    let found = kind(node.value.get_ref());
    let fix = match meant {
        Some(header) if node.path.owner.is_empty() => format!("write its header as {header}"),
        _ => format!("write it as in `{}`", node.path.assignment(&node.example)),
    };
    let problem = report
        .error(
            "wrong-type",
            &format!("{label} is {found}, not a table"),
            &node.value.span(),
        )
        .wanted("a table")
        .found(describe(node.value.get_ref()))
        .fix(fix);
    report.add(problem);
}

/// How the things at the top of a file are called: "[host]", "plugin `b`".
fn owned(node: &Node<'_>) -> Path {
    let keys = node.path.keys.as_str();
    let owner = match keys.strip_prefix("plugin") {
        Some("") | None => format!("[{keys}]"),
        Some(_) => match node
            .value
            .get_ref()
            .get("name")
            .and_then(|name| name.get_ref().as_str())
        {
            Some(name) if !name.trim().is_empty() => format!("plugin `{}`", echo(name.trim())),
            _ => "a plugin without a name".to_owned(),
        },
    };
    Path {
        owner,
        keys: String::new(),
    }
}
