//! The stable ABI between the Hotshoe host and its plugins.
//!
//! Why it exists: what crosses between a host and a plugin that were compiled apart must have one layout for ever. This
//! crate holds those types and nothing else; its version *is* the ABI version. It refuses to have behaviour: the safe side
//! for authors is `hotshoe-plugin-api`, the host's side is `hotshoe`.
//!
//! Rules (DESIGN §3, STYLE R4): fields and methods are appended, never changed; a struct passed by value never grows, a new
//! one is added; methods added later have a default body; constants are append-only; arguments of one method that share a
//! type are fields of a named struct, because abi_stable's layout check cannot tell two of them apart.
#![expect(
    unsafe_code,
    reason = "#[derive(StableAbi)] and #[sabi_trait] expand to unsafe impls; nothing here is unsafe by hand"
)]
// The expansions of #[sabi_trait] define impls in const blocks, hide generated items without docs, and build several
// pointers per block; none of that is ours to change.
#![allow(
    non_local_definitions,
    missing_docs,
    unreachable_pub,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    clippy::cast_ptr_alignment
)]

pub mod capability;
mod checker;
mod config;
mod driver;
mod entry;
mod executor;
mod failure;
mod host;
mod lifecycle;
mod log;
pub mod manifest;
mod message;
mod metric;
mod record;
mod task;

pub use abi_stable;
pub use capability::Capability;
pub use checker::{Checker, Checker_TO, CheckerBox, Proposal, Veto};
pub use config::{
    Applied, Change, ChangeError, ChangeText, Declaration, DiffRange, HistoryEntry, HistoryRange,
    Nack, Opened, Snapshot, Wait, change_op,
};
pub use driver::{Driver, Driver_TO, DriverBox, Pairs};
pub use entry::Entry;
pub use executor::{Executor, Executor_TO, ExecutorBox, Processor, Processor_TO, ProcessorBox};
pub use failure::{Failure, failure_kind};
pub use host::{Host, Host_TO, HostBox, Identity, OptionSetting};
pub use lifecycle::{
    Created, Instance, Instance_TO, InstanceBox, PluginModule, PluginModuleRef, Signals,
    Signals_TO, SignalsBox, signal_kind,
};
pub use log::{LogRecord, log_level};
pub use message::{Question, Telling};
pub use metric::{MetricSpec, metric_kind};
pub use record::{BatchRef, OutBatch};
pub use task::Task;

/// The ABI version: this crate's version.
pub const ABI_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Major and minor of [`ABI_VERSION`]. A host takes every plugin of its own major: older minors by defaults for what they
/// lack, newer ones because they only appended.
pub const ABI_MAJOR: u32 = 1;
/// See [`ABI_MAJOR`].
pub const ABI_MINOR: u32 = 0;
