//! Executors that ask their driver for a configuration when they start, and send the changed one back when they stop.
//!
//! The driver is there before any executor starts and after the last one stopped, so both messages always find it. This
//! is about messages alone: a configuration that many read while it changes is a topic (see `dynamic-config`).
#![forbid(unsafe_code)]

use hotshoe_plugin_api::{
    Context, DriverPlugin, Error, ExecutorPlugin, ExtraConf, Plugin, Result, export_plugin,
    serde_json, tracing,
};
use std::time::Duration;

/// How long an executor's start waits for the driver's answer. It takes microseconds; a second is a fault.
const ANSWER_DEADLINE: Duration = Duration::from_secs(1);

/// `[plugin.settings]` of an instance.
#[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What the driver answers to executors that start.
    #[serde(default = "default_initial")]
    pub initial: i64,
    /// What an executor makes of it while it runs.
    #[serde(default = "default_changed")]
    pub changed: i64,
}

fn default_initial() -> i64 {
    10
}

fn default_changed() -> i64 {
    100
}

/// What an executor part says to its driver. Messages are bytes; these are JSON.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Message {
    /// Asks for the configuration; the answer is a number.
    Initial,
    /// Tells what it has become; one way.
    Final(i64),
}

/// The plugin: a driver, and an executor part on each executor.
#[derive(Debug)]
pub struct MessageConfig(Settings);

impl Plugin for MessageConfig {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        Ok(Self(settings))
    }

    fn driver(&mut self) -> Option<Box<dyn DriverPlugin>> {
        Some(Box::new(Keeper {
            initial: self.0.initial,
        }))
    }

    fn executor(&mut self) -> Option<Box<dyn ExecutorPlugin>> {
        Some(Box::new(User {
            changed: self.0.changed,
            ctx: None,
        }))
    }
}

struct Keeper {
    initial: i64,
}

impl DriverPlugin for Keeper {
    fn receive(&mut self, message: &[u8]) -> Result<Vec<u8>> {
        match serde_json::from_slice(message)? {
            Message::Initial => Ok(serde_json::to_vec(&self.initial)?),
            Message::Final(value) => {
                tracing::info!("the final value is {value}");
                Ok(Vec::new())
            }
        }
    }
}

struct User {
    changed: i64,
    /// There from `init` on.
    ctx: Option<Context>,
}

impl ExecutorPlugin for User {
    fn init(&mut self, ctx: Context, _extra: ExtraConf) -> Result<()> {
        let question = serde_json::to_vec(&Message::Initial)?;
        // The instance's own name reaches its own driver.
        let answer = ctx.ask(ctx.instance(), &question, ANSWER_DEADLINE)?;
        let value: i64 = serde_json::from_slice(&answer)?;
        tracing::info!("the initial configuration is {value}");
        self.ctx = Some(ctx);
        Ok(())
    }

    fn shutdown(&mut self) -> Result<()> {
        let ctx = self
            .ctx
            .take()
            .ok_or_else(|| Error::new("init was not called"))?;
        // One way: handled before the driver's own shutdown, whoever stops first here.
        ctx.send(
            ctx.instance(),
            &serde_json::to_vec(&Message::Final(self.changed))?,
        )
    }
}

export_plugin!(MessageConfig as "message-config": driver, executor);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_answers_what_it_was_given_and_takes_what_became_of_it() {
        let mut driver = Keeper { initial: 10 };
        assert_eq!(driver.receive(br#""initial""#).unwrap(), b"10");
        assert_eq!(driver.receive(br#"{"final":100}"#).unwrap(), b"");
        let error = driver.receive(br#""middle""#).unwrap_err();
        assert!(error.to_string().contains("middle"), "{error}");
    }
}
