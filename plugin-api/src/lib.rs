//! The one crate that a Hotshoe plugin's author names.
//!
//! A plugin is a shared library that the `hotshoe` host loads at start-up. This is a whole one: it appends the newest value
//! of another plugin's live configuration to each record.
//!
//! ```
//! # #![forbid(unsafe_code)]
//! use hotshoe_plugin_api::*;
//!
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Settings {
//!     /// The instance whose configuration is appended.
//!     topic: String,
//! }
//!
//! struct Append(Settings);
//!
//! impl Plugin for Append {
//!     type Settings = Settings;
//!     fn new(settings: Settings) -> Result<Self> {
//!         Ok(Self(settings))
//!     }
//!     fn processor(&mut self) -> Option<Box<dyn Processor>> {
//!         Some(Box::new(Appender { topic: self.0.topic.clone(), live: None }))
//!     }
//! }
//!
//! struct Appender {
//!     topic: String,
//!     live: Option<Live<serde_json::Value>>,
//! }
//!
//! impl Processor for Appender {
//!     fn init(&mut self, ctx: Context) -> Result<()> {
//!         self.live = Some(ctx.live(&self.topic)?);
//!         Ok(())
//!     }
//!     fn process(&mut self, batch: &Batch<'_>, out: &mut Output<'_>) -> Result<()> {
//!         let live = self.live.as_mut().ok_or_else(|| Error::new("not initialised"))?;
//!         let suffix = live.at(batch)?["value"].to_string();
//!         for record in batch {
//!             out.push_parts(&[record, suffix.as_bytes()]);
//!         }
//!         Ok(())
//!     }
//! }
//!
//! export_plugin!(Append: processor);
//! # fn main() {}
//! ```
//!
//! # The author's guide
//!
//! **`Cargo.toml`.** Three dependency lines, and the crate type:
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib", "rlib"]
//!
//! [dependencies]
//! hotshoe-plugin-api = "0.1"
//! serde = { version = "1", features = ["derive"] }
//! schemars = "1"
//! ```
//!
//! `cargo build --release`, then name the file in the operator's `hotshoe.toml`:
//!
//! ```toml
//! [[plugin]]
//! name = "append"
//! library = "target/release/libappend.so"
//! [plugin.settings]
//! topic = "dynamic-config"
//! ```
//!
//! `hotshoe inspect target/release/libappend.so` shows what a host will see, and `hotshoe check hotshoe.toml` what it would
//! refuse, both without running an `init`.
//!
//! **A plugin's life.** The host reads the file and its manifest, refuses what does not fit, loads it, and calls
//! [`Plugin::new`] of every instance before the first `init`. Then [`DriverPlugin::init`] in the config's order,
//! [`DriverPlugin::register_metrics`], the inits of executor parts, of processors, and the first record. At the end executors
//! stop first, then drivers, in reverse order; each `shutdown` is called exactly once.
//!
//! **Parts.** Any subset of: a *driver* (one, on its own thread: sockets, timers, the owner of a topic), a *checker* (one:
//! vetoes changes), an *executor* part (one per executor: task hooks), a *processor* (one per executor: records). The
//! [`export_plugin!`] line names those that the plugin has.
//!
//! **State and threads.** One thread at a time calls a part, so `&mut self` is enough. [`Context`] may be cloned into threads
//! of your own; after the part's shutdown it answers [`Kind::Closed`]. Never use a runtime of the host's: there is none to
//! be seen; start your own on your own thread ([`Context::spawn`]).
//!
//! **Errors and panics.** Everything returns [`Result`]; `?` works on every `std::error::Error`. Panics are caught at each
//! entry and reported with place and text. Crates must not be built with `panic = "abort"`: such a library is refused
//! in-process.
//!
//! **Logging.** `tracing` and `log` macros reach the host's log under the instance's name, filtered at the host's level.
//!
//! **Without a host.** [`entry!`] is the plugin as a value: a program mounts it with `Host::builder().plugin(…)`, and a unit
//! test calls its parts like any Rust value.
#![deny(unsafe_op_in_unsafe_fn)]

mod checker;
mod config;
mod context;
mod driver;
mod entry;
mod error;
mod executor;
mod lifecycle;
mod log;
mod manifest;
mod message;
mod metric;
mod record;
mod task;

pub use checker::{CheckerPart, Verdict};
pub use config::{
    Applied, Change, ChangeError, Config, HistoryEntry, Latest, Live, Opened, Operation, Snapshot,
};
pub use context::{Context, ExtraConf};
pub use driver::DriverPlugin;
pub use entry::{Exported, PluginEntry};
pub use error::{Error, Kind, Result};
pub use executor::{ExecutorPlugin, Processor};
pub use lifecycle::{NoSettings, Plugin, Shutdown};
pub use message::MESSAGE_BYTES_MAX;
pub use metric::{Counter, Gauge, Histogram, Metrics};
pub use record::{Batch, OUTPUT_BYTES_MAX, Output, Records};
pub use task::Task;

/// What not every host has: see [`Context::host_has`].
pub use hotshoe_abi::{Capability, capability};

/// Re-exported so that versions agree: the settings' schema is made with this one.
pub use schemars;
/// Re-exported so that versions agree.
pub use serde;
/// Re-exported so that versions agree.
pub use serde_json;
/// Re-exported so that versions agree: events reach the host only through this one.
pub use tracing;

/// What the macros expand to. Not an API.
#[doc(hidden)]
pub mod __private {
    pub use crate::{
        entry::{entry_of, header},
        manifest::Manifest,
    };
    pub use hotshoe_abi::abi_stable::library::LibHeader;
}
