//! A program of its own that mounts a plugin and runs a host: no library file, no config file.
//!
//! The host owns nothing of the program: runtime, signals, stdout and the end of the process stay the program's.
#![forbid(unsafe_code)]

use hotshoe::{Host, worker::Workers};
use hotshoe_plugin_api::{serde_json::json, *};
use std::{process::ExitCode, time::Duration};

/// Greets whoever asks, with the newest word of its live configuration.
#[derive(Default)]
struct Greeter(Option<Latest<String>>);

impl Plugin for Greeter {
    type Settings = NoSettings;
    fn new(_: NoSettings) -> Result<Self> {
        Ok(Self::default())
    }
    fn driver(&mut self) -> Option<Box<dyn DriverPlugin>> {
        Some(Box::new(Self::default()))
    }
}

impl DriverPlugin for Greeter {
    fn init(&mut self, ctx: Context) -> Result<ExtraConf> {
        let schema = json!({"type": "string"});
        ctx.config().declare(&schema, &json!("hello"), &json!({}))?;
        self.0 = Some(ctx.latest(ctx.instance())?);
        Ok(ExtraConf::new())
    }
    fn receive(&mut self, name: &[u8]) -> Result<Vec<u8>> {
        let latest = self.0.as_mut().ok_or_else(|| Error::new("no init"))?;
        Ok([latest.get()?.as_bytes(), b" ", name].concat())
    }
}

export_plugin!(Greeter as "greeter": driver);

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    // Before everything else: a plugin with `isolation = "process"` would run in this program, started once more.
    let workers = hotshoe::worker::take_over();
    run(workers)
}

#[tokio::main(flavor = "current_thread")]
async fn run(workers: Workers) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let host = Host::builder()
        .workers(workers)
        .plugin("greeter", entry!(Greeter), ())
        .build()?;
    host.start().await?;
    let generation = host.publish("greeter", &json!("good evening")).await?;
    let answer = host
        .ask("greeter", b"world", Duration::from_secs(1))
        .await?;
    println!("{} (generation {generation})", String::from_utf8(answer)?);
    let instance = &host.status().instances[0];
    println!("{} is {}", instance.name, instance.state);
    let outcome = host.shutdown().await;
    println!("exit code {}", outcome.exit as u8);
    Ok(outcome.exit.into())
}
