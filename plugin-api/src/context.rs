//! What a component is given at init, and may keep: its way to the host. After the component's shutdown every service
//! answers `closed`; nothing ever dangles.

use crate::{
    Capability, Config, Error, Latest, Live, Metrics, Result, Shutdown,
    config::{decode_json, topic_reader},
    entry::{Site, current_component},
    error::from_abi,
    lifecycle::Home,
};
use hotshoe_abi::{HostBox, Identity, LogRecord, OptionSetting, log_level};
use serde::de::DeserializeOwned;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, atomic::AtomicU64},
    thread::JoinHandle,
    time::Duration,
};

/// A private map from an instance's driver to its executor parts.
pub type ExtraConf = BTreeMap<String, String>;

/// A component's way to the host. Cheap to clone, usable from every thread, at every time.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    host: HostBox,
    epoch: &'static AtomicU64,
    host_abi_minor: u32,
    identity: Identity,
    resources: BTreeMap<String, Vec<String>>,
    home: Arc<Home>,
}

impl Context {
    pub(crate) fn new(host: HostBox, home: Arc<Home>) -> Self {
        let identity = host.identity();
        let resources = identity
            .resources
            .iter()
            .map(|pair| {
                (
                    pair.0.to_string(),
                    pair.1.iter().map(ToString::to_string).collect(),
                )
            })
            .collect();
        Self(Arc::new(Inner {
            epoch: host.epoch_word(),
            host_abi_minor: host.abi_minor(),
            identity,
            resources,
            host,
            home,
        }))
    }

    pub(crate) fn host(&self) -> &HostBox {
        &self.0.host
    }

    pub(crate) fn epoch_word(&self) -> &'static AtomicU64 {
        self.0.epoch
    }

    /// The instance's name, as the config says.
    #[must_use]
    pub fn instance(&self) -> &str {
        self.0.identity.instance.as_str()
    }

    /// `driver`, or the executor's number: `0`, `1`, …
    #[must_use]
    pub fn executor_id(&self) -> &str {
        self.0.identity.executor.as_str()
    }

    /// The same for every component of one run of the host; never empty.
    #[must_use]
    pub fn run_id(&self) -> &str {
        self.0.identity.run_id.as_str()
    }

    /// The machine's name, or what `[host] hostname` says.
    #[must_use]
    pub fn hostname(&self) -> &str {
        self.0.identity.hostname.as_str()
    }

    /// This side's resources: name to addresses.
    #[must_use]
    pub fn resources(&self) -> &BTreeMap<String, Vec<String>> {
        &self.0.resources
    }

    /// A private folder (0700) that ends with the run.
    #[must_use]
    pub fn run_dir(&self) -> &Path {
        Path::new(self.0.identity.run_dir.as_str())
    }

    /// A private folder that stays; made by whoever first writes there.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        Path::new(self.0.identity.state_dir.as_str())
    }

    /// What this instance's driver answered as extra conf, for the parts that are not handed it: a processor, above all. Empty
    /// until the driver's init has returned, and where there is no driver.
    #[must_use]
    pub fn extra_conf(&self) -> ExtraConf {
        let pairs = self.0.host.extra_conf().into_iter();
        pairs
            .map(|pair| (pair.0.into_string(), pair.1.into_string()))
            .collect()
    }

    /// Whether the host has what a later ABI appended; [`capability`](crate::capability) lists it. Costs a comparison. Without
    /// asking, too, nothing breaks: a method that the host lacks answers [`Kind::Unsupported`](crate::Kind::Unsupported).
    #[inline]
    #[must_use]
    pub fn host_has(&self, capability: Capability) -> bool {
        capability.since_minor <= self.0.host_abi_minor
    }

    /// The minor of the ABI that the host was built with. The major is the plugin's own, or it would not have been opened.
    #[must_use]
    pub fn host_abi_minor(&self) -> u32 {
        self.0.host_abi_minor
    }

    /// Names an address that the plugin serves; `hotshoe status` shows it.
    pub fn endpoint(&self, url: &str) -> Result<()> {
        from_abi(self.0.host.endpoint(url.into()))
    }

    /// Takes every [`endpoint`](Self::endpoint) of this component back.
    pub fn clear_endpoints(&self) -> Result<()> {
        self.endpoint("")
    }

    /// The host's registry: counters, gauges, histograms.
    #[must_use]
    pub fn metrics(&self) -> Metrics<'_> {
        Metrics(self)
    }

    /// The instance's own topic: declare, change, look back.
    #[must_use]
    pub fn config(&self) -> Config<'_> {
        Config(self)
    }

    /// A reader of `topic` for tasks: [`Live::at`] answers the value that is pinned to a batch.
    ///
    /// - Errors: [`Kind::NoTopic`](crate::Kind::NoTopic) where no instance has declared it yet (executors and processors
    ///   start after every driver; a driver names the owner in its `after`); a value that does not decode as `T`.
    pub fn live<T: DeserializeOwned + 'static>(&self, topic: &str) -> Result<Live<T>> {
        self.live_with(topic, decode_json)
    }

    /// As [`live`](Self::live), with a decoder of your own: it is called once per change, with canonical JSON.
    pub fn live_with<T: 'static>(
        &self,
        topic: &str,
        decode: impl Fn(&[u8]) -> Result<T> + Send + 'static,
    ) -> Result<Live<T>> {
        Ok(Live(topic_reader(self, topic, Box::new(decode))?))
    }

    /// A reader of `topic` for threads outside tasks: [`Latest::get`] answers the newest value.
    ///
    /// - Errors: as [`live`](Self::live).
    pub fn latest<T: DeserializeOwned + 'static>(&self, topic: &str) -> Result<Latest<T>> {
        Ok(Latest(topic_reader(self, topic, Box::new(decode_json))?))
    }

    /// Sets a host option: only `executors.count`, only in a driver's init. Later starters see it.
    pub fn set_option(&self, key: &str, value: &str) -> Result<()> {
        from_abi(self.0.host.set_option(OptionSetting {
            key: key.into(),
            value: value.into(),
        }))
    }

    /// How much of the deadline of this component's call in hand is left; `None` where no call is.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        match self.0.host.deadline_ms() {
            u64::MAX => None,
            left_ms => Some(Duration::from_millis(left_ms)),
        }
    }

    /// Fires when the host wants the instance to stop.
    #[must_use]
    pub fn shutdown_token(&self) -> Shutdown {
        self.0.home.shutdown.clone()
    }

    /// Starts a thread of the plugin's own whose log events carry this component's name.
    ///
    /// - Errors: the operating system refuses a thread.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>> {
        // The thread belongs to no component's call, so its asks are not reentrant.
        let site = Site {
            component: "",
            context: self.clone(),
        };
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread
            .spawn(move || site.enter(work))
            .map_err(|error| Error::from(error).context(format!("starting thread `{name}`")))
    }

    pub(crate) fn caller() -> &'static str {
        current_component()
    }

    pub(crate) fn log(&self, record: LogRecord<'_>) {
        self.0.host.log(record);
    }

    pub(crate) fn log_error(&self, target: &str, message: &str) {
        let record = LogRecord {
            level: log_level::ERROR,
            target: target.into(),
            message: message.into(),
            fields: "".into(),
        };
        self.log(record);
    }
}
