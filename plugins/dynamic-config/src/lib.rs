//! The `dynamic-config` plugin: a live configuration behind a socket of its own.
//!
//! A driver whose `init` declares the instance's topic in the host's store and starts a listener for it; whatever changes
//! the value goes through that store, so every processor sees it. The contract is `config-api.md`.
//!
//! It uses no runtime of the host's, changes nothing by itself, and never ends the process.
#![forbid(unsafe_code)]

mod answer;
mod app;
mod change;
mod connection;
mod contract;
mod error;
mod guard;
mod history;
mod listener;
mod metrics;
mod openapi;
mod pointer;
mod port;
mod rates;
mod read;
mod request;
mod router;
mod running;
mod settings;
mod slots;
mod socket;
mod status;
mod store;
#[cfg(test)]
mod tests;
mod threads;
mod token;
mod watch;
mod writer;

use hotshoe_plugin_api::{Context, DriverPlugin, ExtraConf, Plugin, Result, export_plugin};
use running::Running;
use settings::Plan;

pub use settings::{Profile, Rate, Settings, Size, Span, Touch};

/// The plugin, one for each `[[plugin]]` entry.
pub struct DynamicConfig {
    plan: Plan,
}

impl Plugin for DynamicConfig {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        Ok(Self {
            plan: Plan::check(settings)?,
        })
    }

    fn driver(&mut self) -> Option<Box<dyn DriverPlugin>> {
        Some(Box::new(Driver {
            plan: self.plan.clone(),
            running: None,
        }))
    }
}

struct Driver {
    plan: Plan,
    running: Option<Running>,
}

impl DriverPlugin for Driver {
    fn init(&mut self, ctx: Context) -> Result<ExtraConf> {
        self.running = Some(Running::start(self.plan.clone(), &ctx)?);
        Ok(ExtraConf::new())
    }

    fn shutdown(&mut self) -> Result<()> {
        match self.running.take() {
            Some(running) => running.stop(),
            None => Ok(()),
        }
    }
}

/// Insides, for the fuzzer (`fuzz/`): no part of the plugin.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz {
    /// The text of the pointer that a raw path names below `/v1/config`, where it names one.
    pub fn path_pointer(path: &str) -> Option<String> {
        crate::pointer::Pointer::from_path(path)
            .ok()
            .map(|pointer| pointer.text())
    }
}

export_plugin!(DynamicConfig as "dynamic-config": driver);
