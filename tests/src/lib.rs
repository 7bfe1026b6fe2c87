//! What the suite stands on: it builds what it drives, runs the real binary in a folder of its own, and waits for events.
//!
//! Nothing in here sleeps or polls a clock: every wait is for a line, a byte, a trace or an exit, under a deadline, and a
//! missed deadline prints everything that did arrive (STYLE R26). It uses nothing of the host but its binary and its files.
#![forbid(unsafe_code)]

pub mod artifacts;
pub mod bare;
mod collect;
mod entry;
mod freeze;
mod gate;
mod host;
pub mod http;
mod log;
pub mod memory;
mod port;
mod setup;
mod snapshot;
pub mod tour;
mod trace;

pub use collect::{Collected, Collector, read_some};
pub use entry::Entry;
pub use freeze::freeze;
pub use gate::Gate;
pub use host::{Exit, TestHost};
pub use log::{LogLine, code_of};
pub use port::DefaultPort;
pub use setup::{Finished, Setup};
pub use snapshot::{assert_snapshot, difference};
pub use trace::{Trace, TraceLine};

use std::time::Duration;

/// How long any wait lasts at most: for what takes milliseconds on an idle machine, on one that is anything but idle.
pub const DEADLINE: Duration = Duration::from_secs(20);
