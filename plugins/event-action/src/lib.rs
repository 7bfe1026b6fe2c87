//! An outside event makes the driver act: a connection drops a named cache, on every executor.
//!
//! The action is one step of the instance's own topic, `{"cache":"…","dropped":n}`. Whoever holds that cache reads the
//! topic and drops what it holds when the number has grown, in whatever thread or process it lives; a processor sees the
//! step between two batches, never inside one. The plugin does not hold the cache, and a connection carries no command:
//! what is sent is not looked at.
#![forbid(unsafe_code)]

mod listener;

use hotshoe_plugin_api::{
    Change, Context, DriverPlugin, Error, ExtraConf, Operation, Plugin, Result, export_plugin,
    serde_json, tracing,
};
use listener::Listener;
use serde_json::{Value, json};
use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

/// `[plugin.settings]` of an instance.
#[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where events come from; port 0 takes a free one, which `<run_dir>/<instance>.addr` then names.
    pub listen: SocketAddr,
    /// The cache that is dropped.
    #[serde(default = "default_cache")]
    pub cache: String,
    /// Connections that come together make one action; else each makes its own.
    #[serde(default)]
    pub coalesce: bool,
}

fn default_cache() -> String {
    "default".to_owned()
}

/// The plugin: a driver, nothing else.
#[derive(Debug)]
pub struct EventAction(Settings);

impl Plugin for EventAction {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        Ok(Self(settings))
    }

    fn driver(&mut self) -> Option<Box<dyn DriverPlugin>> {
        Some(Box::new(Driver {
            settings: self.0.clone(),
            running: None,
        }))
    }
}

struct Driver {
    settings: Settings,
    /// There from `init` to `shutdown`.
    running: Option<(Listener, AddressFile)>,
}

impl DriverPlugin for Driver {
    fn init(&mut self, ctx: Context) -> Result<ExtraConf> {
        declare(&ctx, &self.settings.cache)?;
        let socket = bind(self.settings.listen)?;
        let url = format!("tcp://{}", socket.local_addr()?);
        let file = AddressFile::write(ctx.run_dir(), ctx.instance(), &url)?;
        ctx.endpoint(&url)?;
        let acting = Action {
            cache: self.settings.cache.clone(),
            coalesce: self.settings.coalesce,
            ctx: ctx.clone(),
        };
        let listener = Listener::start(&ctx, socket, move |events| acting.act(events))?;
        tracing::info!(
            "a connection to {url} drops cache `{}`",
            self.settings.cache
        );
        self.running = Some((listener, file));
        Ok(ExtraConf::new())
    }

    fn shutdown(&mut self) -> Result<()> {
        match self.running.take() {
            // The address file goes with this tuple's other half, after the port was freed.
            Some((listener, _file)) => listener.stop(),
            None => Ok(()),
        }
    }
}

fn declare(ctx: &Context, cache: &str) -> Result<()> {
    let schema = json!({
        "type": "object",
        "properties": {
            "cache": { "const": cache },
            "dropped": { "type": "integer", "minimum": 0 },
        },
        "required": ["cache", "dropped"],
        "additionalProperties": false,
    });
    let initial = json!({ "cache": cache, "dropped": 0 });
    let settings = json!({ "state": "memory", "touch": { "step": 1, "pointer": "/dropped" } });
    ctx.config().declare(&schema, &initial, &settings)?;
    Ok(())
}

fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| {
        let code = match error.kind() {
            io::ErrorKind::AddrInUse => "event-port-taken",
            _ => "event-cannot-listen",
        };
        Error::from(error)
            .context(format!("cannot listen on {address}"))
            .with_code(code)
            .with_fix("stop whoever listens there, or set `listen` to another port, or to port 0")
    })
}

/// What an event makes the host do.
struct Action {
    cache: String,
    coalesce: bool,
    ctx: Context,
}

impl Action {
    /// Acts for `events` connections that came together; answers what each of them is told, in order.
    fn act(&self, events: usize) -> Vec<String> {
        let steps = if self.coalesce { 1 } else { events };
        let changes = vec![Change::from(Operation::Touch); steps];
        let told = match self.ctx.config().apply(&changes) {
            Ok(answers) => answers
                .into_iter()
                .map(|answer| match answer {
                    Ok(applied) => self.dropped(applied.generation, applied.touched),
                    Err(refused) => self.failed(&refused),
                })
                .collect(),
            Err(error) => vec![self.failed(&error)],
        };
        fit(told, events)
    }

    fn dropped(&self, generation: u64, touched: Option<Value>) -> String {
        let times = touched.unwrap_or_default();
        tracing::info!(generation, "dropped cache `{}`", self.cache);
        format!("dropped {} {times}\n", self.cache)
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> String {
        tracing::error!("could not drop cache `{}`: {error}", self.cache);
        format!("failed {error}\n")
    }
}

/// One answer for each of `events` connections: the last one also speaks for those that were put together with it.
fn fit(mut told: Vec<String>, events: usize) -> Vec<String> {
    let last = told.last().cloned().unwrap_or_default();
    told.resize(events, last);
    told
}

/// `<run_dir>/<instance>.addr`: appears whole, and goes with the listener.
struct AddressFile(PathBuf);

impl AddressFile {
    fn write(run_dir: &Path, instance: &str, url: &str) -> Result<Self> {
        let path = run_dir.join(format!("{instance}.addr"));
        let unfinished = run_dir.join(format!("{instance}.addr.new"));
        fs::write(&unfinished, format!("{url}\n"))?;
        fs::rename(&unfinished, &path)?;
        Ok(Self(path))
    }
}

impl Drop for AddressFile {
    fn drop(&mut self) {
        // Gone already is as good; anything else the host's own removal of its run_dir meets and reports.
        let _ = fs::remove_file(&self.0);
    }
}

export_plugin!(EventAction as "event-action": driver);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_is_answered() {
        let check = |told: &[&str], events: usize, expected: &[&str]| {
            let told = told.iter().map(ToString::to_string).collect();
            assert_eq!(fit(told, events), expected);
        };
        check(&["a 1", "a 2"], 2, &["a 1", "a 2"]);
        check(&["a 1"], 3, &["a 1", "a 1", "a 1"]);
        check(&["failed"], 1, &["failed"]);
    }

    #[test]
    fn the_address_file_goes_with_its_owner() {
        let dir = std::env::temp_dir().join(format!("hotshoe-event-action-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let file = AddressFile::write(&dir, "drops", "tcp://127.0.0.1:1").unwrap();
        let path = dir.join("drops.addr");
        assert_eq!(fs::read_to_string(&path).unwrap(), "tcp://127.0.0.1:1\n");
        drop(file);
        assert!(!path.exists());
        fs::remove_dir(&dir).unwrap();
    }
}
