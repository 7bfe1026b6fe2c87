//! A gate: a FIFO at which a fixture's call waits until the test lets it go on, however long that takes.
//!
//! It replaces every "sleep long enough": what a test does before [`Gate::open`] happens while the call lasts.

use crate::{DEADLINE, Setup};
use rustix::fs::{CWD, Mode, mkfifoat};
use std::{
    fs::OpenOptions,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};

/// See the file.
pub struct Gate(PathBuf);

impl Setup {
    /// A closed gate of that name.
    #[must_use]
    pub fn gate(&self, name: &str) -> Gate {
        let path = self.scratch(&format!("gate-{name}"));
        mkfifoat(CWD, &path, Mode::from_raw_mode(0o600)).expect("a FIFO in the test's own folder");
        Gate(path)
    }
}

impl Gate {
    /// The FIFO.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The hostile fixture's act that waits here in that call.
    #[must_use]
    pub fn act(&self, hook: &str) -> String {
        let path = self.0.display().to_string();
        format!("hook = {hook:?}, crime = \"hang\", path = {path:?}")
    }

    /// Lets the call that waits here go on; waits for one that has not arrived yet.
    ///
    /// - Panics: none arrived within [`DEADLINE`].
    #[track_caller]
    pub fn open(&self) {
        let (path, (opened, is_open)) = (self.0.clone(), mpsc::channel());
        // Opening waits for a reader, and only a thread of its own can be given up on.
        thread::spawn(move || {
            let _ = opened.send(OpenOptions::new().write(true).open(path).map(drop));
        });
        let outcome = is_open
            .recv_timeout(DEADLINE)
            .unwrap_or_else(|_| panic!("nobody came to the gate {}", self.0.display()));
        outcome.expect("the FIFO");
    }
}
