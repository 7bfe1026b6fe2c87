//! What a component's Context reaches: log, metrics, messages, live configuration. Once per host, whatever the backend.
//! Services never call a component; they queue, count and look up.

pub(crate) mod alarm;
pub(crate) mod clock;
pub(crate) mod component;
pub(crate) mod config;
pub(crate) mod failure;
pub(crate) mod folder;
pub(crate) mod foreign;
pub(crate) mod log;
pub(crate) mod message;
pub(crate) mod metric;
pub(crate) mod question;
pub(crate) mod then;
pub(crate) mod watch;

use crate::machine::{InstanceId, supervisor::Event};
use component::Kind;
use hotshoe_abi::{Identity, abi_stable::std_types::Tuple2};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
};

/// Name to addresses, of one side of a host.
pub(crate) type Resources = BTreeMap<String, Vec<String>>;

/// What is the same for every component of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) id: String,
    pub(crate) hostname: String,
    pub(crate) run_dir: PathBuf,
    pub(crate) state_dir: PathBuf,
    pub(crate) recover: config::Recover,
    pub(crate) driver_resources: Resources,
    pub(crate) executor_resources: Resources,
}

impl Run {
    /// As every component is told it.
    pub(crate) fn data(&self) -> RunData {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        RunData {
            id: self.id.clone(),
            hostname: self.hostname.clone(),
            run_dir: text(&self.run_dir),
            state_dir: text(&self.state_dir),
            driver_resources: self.driver_resources.clone(),
            executor_resources: self.executor_resources.clone(),
        }
    }
}

/// What every component is told of its run: text, for it crosses to workers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct RunData {
    id: String,
    hostname: String,
    run_dir: String,
    state_dir: String,
    driver_resources: Resources,
    executor_resources: Resources,
}

impl RunData {
    /// Who a component is, as its context says it.
    pub(crate) fn identity(&self, instance: &str, kind: Kind) -> Identity {
        let resources = match kind.executor() {
            Some(_) => &self.executor_resources,
            None => &self.driver_resources,
        };
        let resources = resources.iter().map(|(name, addresses)| {
            let addresses = addresses.iter().map(|address| address.as_str().into());
            Tuple2(name.as_str().into(), addresses.collect())
        });
        Identity {
            instance: instance.into(),
            component: kind.component().into(),
            executor: kind.place().into(),
            run_id: self.id.as_str().into(),
            hostname: self.hostname.as_str().into(),
            run_dir: self.run_dir.as_str().into(),
            state_dir: self.state_dir.as_str().into(),
            resources: resources.collect(),
        }
    }
}

/// Everything that components share.
pub(crate) struct Services {
    pub(crate) run: Run,
    pub(crate) metrics: metric::Registry,
    pub(crate) messages: message::PostOffice,
    pub(crate) config: config::ConfigService,
    pub(crate) watches: watch::Watches,
    /// Deadlines of those who wait and hold no thread.
    pub(crate) alarms: Arc<alarm::Alarms>,
    /// Addresses that plugins serve, by instance and component.
    pub(crate) endpoints: Mutex<BTreeMap<(String, &'static str), Vec<String>>>,
    /// Host options that drivers set: key, value, instance.
    pub(crate) options: Mutex<Vec<(String, String, String)>>,
    events: mpsc::Sender<Event>,
}

impl Services {
    pub(crate) fn new(run: Run, events: mpsc::Sender<Event>) -> Arc<Self> {
        let alarms = Arc::<alarm::Alarms>::default();
        let config =
            config::ConfigService::new(run.state_dir.clone(), run.recover, Arc::clone(&alarms));
        Arc::new(Self {
            metrics: metric::Registry::default(),
            messages: message::PostOffice::default(),
            config,
            watches: watch::Watches::default(),
            alarms,
            endpoints: Mutex::default(),
            options: Mutex::default(),
            run,
            events,
        })
    }

    /// Tells the supervisor. A host that is gone hears nothing, and needs to hear nothing.
    pub(crate) fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }
}

/// What services need to know of an instance.
#[derive(Debug)]
pub(crate) struct InstanceInfo {
    pub(crate) id: InstanceId,
    pub(crate) name: String,
    pub(crate) deadlines: Deadlines,
}

/// How long each kind of call may take.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Deadlines {
    pub(crate) init: std::time::Duration,
    pub(crate) receive: std::time::Duration,
    pub(crate) hook: std::time::Duration,
    pub(crate) process: std::time::Duration,
    pub(crate) check: std::time::Duration,
    pub(crate) shutdown: std::time::Duration,
}
