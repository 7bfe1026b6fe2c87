//! A plugin of ABI 1.0 with every part, for the host of every later version: what it does is chosen by its settings, and all
//! of it reaches the log or the records, so that a test sees whether it still works.
#![forbid(unsafe_code)]

mod checker;
mod driver;
mod executor;
mod processor;

use hotshoe_plugin_api::{
    CheckerPart, DriverPlugin, ExecutorPlugin, Plugin, Processor, Result, export_plugin, schemars,
    serde,
};

#[derive(Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(crate = "hotshoe_plugin_api::serde", deny_unknown_fields)]
#[schemars(crate = "hotshoe_plugin_api::schemars")]
struct Settings {
    /// The first value of a topic of its own.
    initial: Option<i64>,
    /// What its topic is set to, task by task.
    #[serde(default)]
    then: Vec<i64>,
    /// The instance whose value is stamped on records.
    topic: Option<String>,
    /// The value that its checker refuses.
    never: Option<i64>,
}

struct Everything(Settings);

impl Plugin for Everything {
    type Settings = Settings;
    fn new(settings: Settings) -> Result<Self> {
        Ok(Self(settings))
    }
    fn driver(&mut self) -> Option<Box<dyn DriverPlugin>> {
        Some(Box::new(driver::Driver {
            initial: self.0.initial,
            started: None,
        }))
    }
    fn executor(&mut self) -> Option<Box<dyn ExecutorPlugin>> {
        Some(Box::new(executor::Executor {
            then: self.0.then.clone(),
            ctx: None,
        }))
    }
    fn processor(&mut self) -> Option<Box<dyn Processor>> {
        Some(Box::new(processor::Stamper {
            topic: self.0.topic.clone(),
            live: None,
            count: 0,
        }))
    }
    fn checker(&mut self) -> Option<Box<dyn CheckerPart>> {
        Some(Box::new(checker::Checker(self.0.never)))
    }
}

export_plugin!(Everything: driver, checker, executor, processor);
