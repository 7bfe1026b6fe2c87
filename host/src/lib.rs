//! Hotshoe: a host for plugins that strangers compiled.
//!
//! It loads the plugins that a `hotshoe.toml` lists, runs their lifecycle, streams records through them, and changes their
//! configuration while they run. The `hotshoe` binary is a front of this library; a program of your own is another:
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use hotshoe::{Host, config_file};
//!
//! let loaded = config_file::load("hotshoe.toml".as_ref());
//! let config = loaded.config.ok_or("the configuration is refused")?;
//! let host = Host::builder().config(config).build()?;
//! host.start().await?;
//! let outcome = host.run_until(std::future::pending()).await;
//! println!("exit code {}", outcome.exit as u8);
//! # Ok(())
//! # }
//! ```
//!
//! It owns nothing of the program it runs in: it touches no descriptor 0 to 2, no signal and no global, installs no
//! subscriber, and needs no particular runtime. Two hosts in one process work.
#![forbid(unsafe_code)]

mod backend;
pub mod config_file;
pub mod error;
mod half;
mod host;
#[allow(
    unreachable_pub,
    reason = "what a pure machine offers is its own surface, whoever may see it"
)]
mod machine;
pub mod provenance;
mod runtime;
mod services;
pub mod status;
#[allow(
    unreachable_pub,
    reason = "leaves with a surface of their own, whoever may see it"
)]
mod stream;

/// Plugins in processes of their own: what a program does to be able to be one.
pub mod worker {
    pub use crate::backend::isolated::worker::{Workers, take_over};
}

/// Insides, for the fuzzer (`fuzz/`): no part of the library.
#[cfg(fuzzing)]
#[doc(hidden)]
#[allow(missing_docs, reason = "no part of the library")]
pub mod fuzz {
    pub use crate::{machine::store, services::config::fuzz_journal as journal};
}

pub use error::{Blame, ExitCode, Place, Problem, Severity};
pub use half::{DriversElsewhere, ExecutorSlot, Pin, TaskOutcome};
pub use host::{BuildError, Builder, CallError, EntryOf, Host, Side};
pub use machine::supervisor::State;
pub use services::config::Recover;
pub use services::metric::MetricValue;

use runtime::event_loop::Progress;
use std::fmt;

/// How a host ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What a process that did nothing else would exit with: the first failure decides.
    pub exit: ExitCode,
    /// Everything that was reported, in order, warnings included.
    pub problems: Vec<Problem>,
}

impl Outcome {
    fn of(progress: Progress) -> Self {
        match progress {
            Progress::Finished(outcome) => outcome,
            Progress::Starting | Progress::Ready => Self::bug(),
        }
    }

    fn bug() -> Self {
        let headline = "the host's event loop ended without a word; this is a bug of hotshoe's";
        let problem = Problem::error(ExitCode::Bug, Blame::Host, "internal", headline);
        Self {
            exit: ExitCode::Bug,
            problems: vec![problem],
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self
            .problems
            .iter()
            .find(|problem| problem.severity == Severity::Error)
        {
            Some(problem) => write!(f, "{problem}"),
            None => write!(f, "exit code {}", self.exit as u8),
        }
    }
}

impl std::error::Error for Outcome {}

/// A loader's refusal in the host's words.
#[must_use]
pub fn refused(refusal: &hotshoe_loader::Refusal) -> Problem {
    backend::refused(refusal, None)
}

/// What has not stopped yet.
#[derive(Debug, Clone)]
pub struct Stopping {
    /// Instances, by name.
    pub instances: Vec<String>,
}
