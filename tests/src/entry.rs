//! A `[[plugin]]` entry, written down the way an operator would, with less to type.

use crate::artifacts;
use std::{fmt, path::Path};

/// One `[[plugin]]` entry.
#[derive(Debug, Clone)]
pub struct Entry {
    keys: Vec<String>,
    settings: Vec<String>,
    acts: Vec<String>,
}

impl Entry {
    /// The library at `library`, as `name`.
    #[must_use]
    pub fn of(name: &str, library: &Path) -> Self {
        Self {
            keys: vec![
                format!("name = {name:?}"),
                format!("library = {:?}", library.display().to_string()),
            ],
            settings: Vec::new(),
            acts: Vec::new(),
        }
    }

    /// The library at `library`, under the name that it has itself.
    #[must_use]
    pub fn unnamed(library: &Path) -> Self {
        let mut entry = Self::of("", library);
        entry.keys.remove(0);
        entry
    }

    /// The hostile fixture, well-behaved until told otherwise; it traces to `trace`.
    #[must_use]
    pub fn misbehave(name: &str, trace: &Path) -> Self {
        Self::of(name, artifacts::fixture("misbehave"))
            .set(&format!("label = {:?}", name.trim()))
            .set(&format!("trace = {:?}", trace.display().to_string()))
    }

    /// A line of the entry itself: `required = false`.
    #[must_use]
    pub fn key(mut self, line: &str) -> Self {
        self.keys.push(line.to_owned());
        self
    }

    /// A line of its settings: `topic = "a"`.
    #[must_use]
    pub fn set(mut self, line: &str) -> Self {
        self.settings.push(line.to_owned());
        self
    }

    /// One thing that the hostile fixture does: `hook = "driver-init", crime = "fail"`.
    #[must_use]
    pub fn act(mut self, act: &str) -> Self {
        self.acts.push(format!("{{ {act} }}"));
        self
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[[plugin]]")?;
        for line in &self.keys {
            writeln!(f, "{line}")?;
        }
        if self.settings.is_empty() && self.acts.is_empty() {
            return Ok(());
        }
        writeln!(f, "[plugin.settings]")?;
        for line in &self.settings {
            writeln!(f, "{line}")?;
        }
        if !self.acts.is_empty() {
            writeln!(f, "acts = [{}]", self.acts.join(", "))?;
        }
        Ok(())
    }
}
