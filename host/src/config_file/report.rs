//! What is wrong with one file, collected: each problem with its place, in sentences an operator would say.
//!
//! It judges nothing; the readers do.

use std::{ffi::OsString, ops::Range};

use super::{
    echo::{describe, echo, kind},
    model::Absent,
    parse::Text,
    read::Node,
};
use crate::error::{Place, Problem, near_misses};

pub(super) use crate::error::located as headline;

/// Where `${env:NAME}` is looked up; a test brings its own.
pub(super) type Env<'e> = dyn Fn(&str) -> Option<OsString> + Sync + 'e;

/// A longer key is no slip of the finger, and comparing it would cost more than it tells.
const NEAR_MISS_BYTES_MAX: usize = 64;

/// Collects what is wrong with one file.
pub(super) struct Report<'a> {
    pub(super) text: &'a Text,
    pub(super) env: &'a Env<'a>,
    problems: Vec<Problem>,
    absent: Vec<Absent>,
}

impl<'a> Report<'a> {
    pub(super) fn new(text: &'a Text, env: &'a Env<'a>) -> Self {
        Self {
            text,
            env,
            problems: Vec::new(),
            absent: Vec::new(),
        }
    }

    pub(super) fn place(&self, span: &Range<usize>) -> Place {
        self.text.place(span.start)
    }

    /// An error at a place; the sentence gets file and line, so that it stands alone in a log.
    pub(super) fn error(&self, code: &str, sentence: &str, span: &Range<usize>) -> Problem {
        let at = self.place(span);
        Problem::usage(code, headline(sentence, &at)).at(at)
    }

    pub(super) fn add(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    pub(super) fn add_absent(&mut self, absent: Absent) {
        self.absent.push(absent);
    }

    /// The paths that are not there; to be judged by whoever knows what the host makes.
    pub(super) fn take_absent(&mut self) -> Vec<Absent> {
        std::mem::take(&mut self.absent)
    }

    /// Everything else that was reported, in the order of the file.
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by(|a, b| a.at.cmp(&b.at));
        self.problems
    }

    /// A value that its type does not take.
    pub(super) fn wrong(&mut self, node: &Node<'_>, wanted: String, wrong: Wrong) {
        let value = node.value.get_ref();
        let label = node.path.label();
        let (code, found) = match &wrong {
            Wrong::Type { .. } => ("wrong-type", kind(value).to_owned()),
            Wrong::Value { .. } | Wrong::Bound(_) => ("bad-value", describe(value)),
        };
        let sentence = format!("{label} cannot be {found}");
        let assign = |literal: &str| node.path.assignment(literal);
        let fix = match &wrong {
            Wrong::Type { meant: Some(meant) } | Wrong::Value { meant: Some(meant) } => {
                format!("did you mean `{}`?", assign(meant))
            }
            Wrong::Bound(Bound::Least(least)) => format!("the least is `{}`", assign(least)),
            Wrong::Bound(Bound::Most(most)) => format!("the most is `{}`", assign(most)),
            Wrong::Type { .. } | Wrong::Value { .. } => {
                format!("write it as in `{}`", assign(&node.example))
            }
        };
        let problem = self.error(code, &sentence, &node.value.span());
        self.add(problem.wanted(wanted).found(describe(value)).fix(fix));
    }
}

/// How an operator would point at a value: "`deadlines.init` of plugin `b`".
#[derive(Debug, Clone, Default)]
pub(super) struct Path {
    /// "[host]", "plugin `b`"; empty at the top of the file.
    pub(super) owner: String,
    /// "deadlines.init", "after[1]"; echoed already.
    pub(super) keys: String,
}

impl Path {
    pub(super) fn child(&self, key: &str) -> Self {
        let dot = if self.keys.is_empty() { "" } else { "." };
        Self {
            owner: self.owner.clone(),
            keys: format!("{}{dot}{}", self.keys, echo(key)),
        }
    }

    pub(super) fn item(&self, index: usize) -> Self {
        Self {
            owner: self.owner.clone(),
            keys: format!("{}[{index}]", self.keys),
        }
    }

    pub(super) fn label(&self) -> String {
        match (self.keys.as_str(), self.owner.as_str()) {
            ("", "") => "the file".to_owned(),
            ("", owner) => owner.to_owned(),
            (keys, "") => format!("`{keys}`"),
            (keys, owner) => format!("`{keys}` of {owner}"),
        }
    }

    /// `key = literal`, or the literal alone inside an array.
    pub(super) fn assignment(&self, literal: &str) -> String {
        match self.keys.rsplit('.').next() {
            Some(key) if !key.is_empty() && !key.ends_with(']') => format!("{key} = {literal}"),
            _ => literal.to_owned(),
        }
    }
}

/// Why a value was not taken.
pub(super) enum Wrong {
    /// Another sort of value; `meant` is a literal that says the same thing rightly.
    Type { meant: Option<String> },
    /// The right sort, but out of range or not among the words.
    Value { meant: Option<String> },
    /// A number beyond the bounds; the one that it missed is offered.
    Bound(Bound),
}

/// The end of a range, as a literal.
pub(super) enum Bound {
    Least(String),
    Most(String),
}

impl Wrong {
    pub(super) const TYPE: Self = Self::Type { meant: None };
    pub(super) const VALUE: Self = Self::Value { meant: None };
}

/// The known name that `given` is a slip of.
pub(super) fn near_miss<'a>(
    given: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    if given.len() > NEAR_MISS_BYTES_MAX {
        return None;
    }
    near_misses(given, known).first().copied()
}

/// The same as an advice, or another one.
pub(super) fn did_you_mean<'a>(
    given: &str,
    known: impl IntoIterator<Item = &'a str>,
    otherwise: &str,
) -> String {
    match near_miss(given, known) {
        Some(name) => format!("did you mean `{name}`?"),
        None => otherwise.to_owned(),
    }
}
