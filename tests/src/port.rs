//! The one port that is written down: 9999, which the demo uses when nobody names another.

use rustix::fs::{FlockOperation, flock};
use std::{env, fs::File};

/// For as long as it lives, no other test of this machine uses the default port.
#[derive(Debug)]
pub struct DefaultPort(#[allow(dead_code, reason = "its lock is what it is for")] File);

impl DefaultPort {
    /// 9999 (config-api §13).
    pub const NUMBER: u16 = 9999;

    /// Waits for its turn. The turn ends with the process at the latest.
    ///
    /// - Panics: there is no temporary folder.
    #[must_use]
    pub fn take() -> Self {
        let path = env::temp_dir().join("hotshoe-tests-default-port.lock");
        let file = File::create(path).expect("a file in the temporary folder");
        flock(&file, FlockOperation::LockExclusive).expect("a lock on our own file");
        Self(file)
    }
}
