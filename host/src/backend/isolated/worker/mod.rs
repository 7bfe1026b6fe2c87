//! The worker: what `hotshoe __worker` is. It holds one instance of one plugin, calls it when the host says so, and hands what
//! the plugin asks of its host back over the control socket. It decides nothing and keeps nothing: whatever must outlive it
//! is the host's.
//!
//! The thread that reads the control socket routes and does nothing else; each component has a thread of its own, as in the
//! host. It ends when the control socket does.

mod executor;
mod host;
mod link;
mod serve;

use super::process::{WORKER, WORKER_ENV, fingerprint};
use std::path::{Path, PathBuf};

/// The right to start workers: that this program becomes one when it is started as one. See [`take_over`].
#[derive(Debug, Clone)]
#[must_use = "hand it to `Builder::workers`"]
pub struct Workers {
    pub(crate) executable: Option<PathBuf>,
}

impl Workers {
    /// Starts workers from another program than this one, for a process whose own cannot be one (a JVM, say). That program
    /// calls [`take_over`] first thing in its `main`, and is built from the same sources.
    pub fn executable(path: impl Into<PathBuf>) -> Self {
        Self {
            executable: Some(path.into()),
        }
    }

    /// The program that was named, and why it can be none's worker, where that shows without running it.
    pub(crate) fn unusable(&self) -> Option<(&Path, String)> {
        let executable = self.executable.as_deref()?;
        let may_run = || {
            if !std::fs::metadata(executable)?.is_file() {
                return Err(std::io::Error::other("it is no file"));
            }
            rustix::fs::access(executable, rustix::fs::Access::EXEC_OK)?;
            Ok(())
        };
        let why = may_run().err()?;
        Some((executable, why.to_string()))
    }
}

/// Becomes a worker, if this process was started as one, and never returns then. Otherwise answers the token that
/// [`crate::Builder::workers`] wants for plugins with `isolation = "process"`.
///
/// First thing in `main`, before a thread is started or a descriptor opened that matters: the worker closes what it did not
/// open itself.
///
/// ```no_run
/// let workers = hotshoe::worker::take_over();
/// # let _ =
/// hotshoe::Host::builder().workers(workers);
/// ```
pub fn take_over() -> Workers {
    if !is_worker() {
        return Workers { executable: None };
    }
    let wanted = std::env::var(WORKER_ENV).unwrap_or_default();
    if wanted != fingerprint() {
        say(&format!(
            "this worker is {}, and the host wants {wanted}",
            fingerprint()
        ));
        leave(super::EXIT_OTHER_BUILD);
    }
    match serve::serve() {
        Ok(()) => leave(0),
        Err(words) => {
            say(&words);
            leave(65);
        }
    }
}

/// This process was started as a worker.
pub(crate) fn is_worker() -> bool {
    std::env::var_os(WORKER_ENV).is_some()
        && std::env::args_os()
            .nth(1)
            .is_some_and(|word| word == WORKER)
}

/// Ends the process without the plugin's destructors: they may hang, and nobody waits for them.
fn leave(code: i32) -> ! {
    hotshoe_loader::leave(u8::try_from(code).unwrap_or(1))
}

/// One line for the host, which logs it as the plugin's.
fn say(words: &str) {
    let line = format!("hotshoe worker: {words}\n");
    // A host that does not read it is gone.
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
}
