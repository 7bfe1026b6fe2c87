//! [`Host`] and its [`Builder`]: a configuration, or plugins of the program's own, run as one.

use crate::{
    Outcome, Stopping,
    backend::{
        Backend,
        in_process::{InProcess, Origin, Settings},
    },
    config_file::{self, Config, PluginEntry},
    error::{Blame, ExitCode, Problem, Severity},
    half::{self, DriversElsewhere, ExecutorSlot, Pin},
    machine::{
        ExecutorId, InstanceId,
        supervisor::{self, Event, Supervisor},
    },
    provenance::Lockfile,
    runtime::{
        event_loop::{EventLoop, Observer, Progress, Snapshot},
        loading::{self, Code, Linked, Prepared},
    },
    services::{
        Deadlines, InstanceInfo, Run, Services, clock,
        config::{Answers, Recover},
        failure::{failure, kind_name},
        metric::{self, HostMetric},
    },
    status::{
        ExecutorStatus, InstanceStatus, MessageStatus, MetricStatus, OptionStatus, Status,
        StreamStatus,
    },
    stream,
};
use hotshoe_abi::{ABI_VERSION, Entry, Failure, failure_kind};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::BTreeMap,
    fmt,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant, SystemTime},
};
use time::OffsetDateTime;
use tokio::sync::{oneshot, watch};

pub use crate::machine::supervisor::Side;

/// Why a call of [`Host`]'s failed: `unknown plugin`, `timeout`, the handler's own error, ….
#[derive(Debug, Clone)]
pub struct CallError {
    kind: u8,
    message: String,
}

impl CallError {
    /// A stable word: `error`, `panic`, `closed`, `timeout`, `unknown`, `full`, `not-ready`, `too-large`, ….
    #[must_use]
    pub fn kind(&self) -> &'static str {
        kind_name(self.kind)
    }
}

impl CallError {
    /// A failure of a [`crate::DriversElsewhere`]'s own.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            kind: failure_kind::ERROR,
            message: message.into(),
        }
    }

    /// The other half cannot be reached.
    pub fn gone(message: impl Into<String>) -> Self {
        Self {
            kind: failure_kind::GONE,
            message: message.into(),
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        failure(error.kind, error.message)
    }
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        Self {
            kind: failure.kind,
            message: failure.message.into_string(),
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CallError {}

/// Puts a [`Host`] together. See [`Host::builder`].
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    config: Config,
    linked: Vec<Linked>,
    run_dir: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    recover: Recover,
    stdout: Option<OwnedFd>,
    observer: Option<Observer>,
    side: Side,
    drivers: Option<Arc<dyn DriversElsewhere>>,
    extra: Vec<(String, BTreeMap<String, String>)>,
    problems: Vec<Problem>,
    lockfile: Lockfile,
}

impl Builder {
    fn new() -> Self {
        Self {
            config: Config::empty("hotshoe"),
            linked: Vec::new(),
            run_dir: None,
            state_dir: None,
            recover: Recover::No,
            stdout: None,
            observer: None,
            side: Side::Both,
            drivers: None,
            extra: Vec::new(),
            problems: Vec::new(),
            lockfile: Lockfile::Used,
        }
    }

    /// Everything that a config file says. Plugins that the program mounts come after the file's.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Mounts a plugin that is linked into the program: `entry!(MyPlugin)` of `hotshoe-plugin-api`, and its settings.
    pub fn plugin(mut self, name: &str, entry: Entry, settings: impl serde::Serialize) -> Self {
        let settings = match serde_json::to_value(settings) {
            Ok(serde_json::Value::Object(settings)) => settings,
            // A unit is what a plugin without settings is given.
            Ok(serde_json::Value::Null) => serde_json::Map::new(),
            other => {
                let found = other.map_or_else(|error| error.to_string(), |value| value.to_string());
                let headline = format!("plugin `{name}`: its settings must be an object");
                self.problems
                    .push(Problem::usage("settings-invalid", headline).found(found));
                return self;
            }
        };
        let Some(entry_of) = PluginEntry::mounted(name, self.linked.len() + 1, settings) else {
            let name = name.escape_debug().take(64).collect::<String>();
            let problem = Problem::usage("bad-value", format!("`{name}` is no name for a plugin"))
                .wanted("[a-z0-9][a-z0-9._-]{0,63}");
            self.problems.push(problem);
            return self;
        };
        let name = entry_of.name.clone().unwrap_or_default();
        self.linked.push(Linked {
            name,
            entry: entry_of,
            code: entry,
        });
        self
    }

    /// Changes the entry of the plugin that was mounted last: `after`, `required`, `deadlines`, `checks`, ….
    pub fn entry(mut self, change: impl FnOnce(&mut PluginEntry)) -> Self {
        if let Some(linked) = self.linked.last_mut() {
            change(&mut linked.entry);
        }
        self
    }

    /// How many executors; 1 unless it is said.
    pub fn executors(mut self, count: u32) -> Self {
        self.config.executors.count = count.clamp(1, crate::services::component::EXECUTORS_MAX);
        self
    }

    /// The records' way: source, processors, sink.
    pub fn stream(mut self, stream: config_file::StreamConfig) -> Self {
        self.config.stream = Some(stream);
        self
    }

    /// Where `sink = "stdout"` writes. The host touches none of the descriptors 0 to 2 by itself.
    pub fn stdout(mut self, stdout: OwnedFd) -> Self {
        self.stdout = Some(stdout);
        self
    }

    /// Where plugins put sockets and addresses. A private temporary folder unless it is said.
    pub fn run_dir(mut self, run_dir: impl Into<PathBuf>) -> Self {
        self.run_dir = Some(run_dir.into());
        self
    }

    /// Where plugins keep what stays. Within `run_dir` unless it is said.
    pub fn state_dir(mut self, state_dir: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(state_dir.into());
        self
    }

    /// What a start does with a topic whose journal cannot be read.
    pub fn recover(mut self, recover: Recover) -> Self {
        self.recover = recover;
        self
    }

    /// Called with each problem when it happens, on the host's own thread: it must return at once. Without it each is one
    /// `tracing` event.
    pub fn on_problem(mut self, observer: impl Fn(&Problem) + Send + Sync + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Runs one half only: the drivers and checkers, or the executors.
    pub fn side(mut self, side: Side) -> Self {
        self.side = side;
        self
    }

    /// An executors' half: messages to drivers go through `link`, executors are [`Host::slot`]s.
    pub fn drivers_elsewhere(mut self, link: Arc<dyn DriversElsewhere>) -> Self {
        self.side = Side::Executors;
        self.drivers = Some(link);
        self
    }

    /// What an instance's driver answered as extra conf, where that driver is elsewhere ([`Host::extra_conf`]).
    pub fn extra_conf(mut self, instance: &str, extra: BTreeMap<String, String>) -> Self {
        self.extra.push((instance.to_owned(), extra));
        self
    }

    /// Refuses every library that `hotshoe.lock` beside the configuration does not name, as `require = "locked"` does.
    pub fn locked(mut self) -> Self {
        self.lockfile = Lockfile::Wanted;
        self
    }

    /// Finds, reads and checks every library and every name; runs none of their code.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn build(mut self) -> Result<Host, BuildError> {
        let (run_dir, owned_dir) = match self.run_dir.take() {
            Some(run_dir) => (run_dir, None),
            None => {
                let made = tempfile::Builder::new()
                    .prefix("hotshoe-")
                    .tempdir()
                    .map_err(no_run_dir)?;
                (made.path().to_owned(), Some(made))
            }
        };
        let linked = std::mem::take(&mut self.linked);
        let mut plan = loading::prepare(&self.config, linked, &run_dir, self.lockfile);
        plan.problems.append(&mut self.problems);
        if plan.refused() {
            return Err(BuildError {
                problems: plan.problems,
            });
        }
        let observer = self
            .observer
            .take()
            .unwrap_or_else(|| Box::new(log_problem));
        for warning in &plan.problems {
            observer(warning);
        }
        let run = Run {
            id: run_id(),
            hostname: self.config.host.hostname.clone().unwrap_or_else(hostname),
            state_dir: self
                .state_dir
                .take()
                .unwrap_or_else(|| run_dir.join("state")),
            recover: self.recover,
            run_dir,
            driver_resources: self.config.host.resources.clone(),
            executor_resources: self.config.executors.resources.clone(),
        };
        Ok(Host::assemble(self, plan, run, observer, owned_dir))
    }
}

/// Everything that is wrong with what a [`Builder`] was given.
#[derive(Debug, Clone)]
pub struct BuildError {
    /// Errors and warnings, in order.
    pub problems: Vec<Problem>,
}

impl BuildError {
    /// How a process that can do nothing else ends: the first error's.
    #[must_use]
    pub fn exit(&self) -> ExitCode {
        let first = self
            .problems
            .iter()
            .find(|problem| problem.severity == Severity::Error);
        first.map_or(ExitCode::Bug, |problem| problem.exit)
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem:#}")?;
        }
        Ok(())
    }
}

impl std::error::Error for BuildError {}

fn no_run_dir(error: std::io::Error) -> BuildError {
    let headline = format!("cannot make a private folder for the run: {error}");
    let problem = Problem::error(ExitCode::Init, Blame::Environment, "no-run-dir", headline)
        .fix("make the temporary folder writable, or call Builder::run_dir");
    BuildError {
        problems: vec![problem],
    }
}

fn log_problem(problem: &Problem) {
    match problem.severity {
        Severity::Error => tracing::error!(code = problem.code, "{}", problem.headline),
        Severity::Warning => tracing::warn!(code = problem.code, "{}", problem.headline),
    }
}

fn run_id() -> String {
    use std::hash::{BuildHasher as _, RandomState};
    format!("{:016x}", RandomState::new().hash_one(clock::monotonic()))
}

fn hostname() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// Plugins that run together. Owns nothing of the program it runs in: no descriptor 0 to 2, no signal, no global.
///
/// Dropped without [`shutdown`](Self::shutdown), it says so in the log and stops within the deadlines.
pub struct Host {
    name: String,
    services: Arc<Services>,
    instances: Vec<About>,
    snapshot: Arc<RwLock<Snapshot>>,
    counts: Option<Arc<stream::Counts>>,
    progress: watch::Receiver<Progress>,
    events: mpsc::Sender<Event>,
    event_loop: Mutex<Option<EventLoop>>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
    started: Mutex<Option<Instant>>,
    backends: Arc<[Arc<dyn Backend>]>,
    chain: Arc<[InstanceId]>,
    /// Removed with the host.
    _run_dir: Option<tempfile::TempDir>,
}

/// An instance and where it comes from.
#[derive(Debug, Clone)]
pub struct EntryOf {
    /// Its name.
    pub name: String,
    /// Its library's path, where it has one.
    pub library: Option<String>,
    /// The declared parts.
    pub parts: Vec<&'static str>,
    /// `FILE:LINE:COLUMN` of its entry.
    pub at: String,
}

/// What never changes about an instance.
struct About {
    name: String,
    at: String,
    plugin: String,
    library: Option<String>,
    parts: Vec<&'static str>,
    required: bool,
    hook_errors: Arc<AtomicU64>,
}

impl Host {
    /// A host without plugins, to be filled in.
    pub fn builder() -> Builder {
        Builder::new()
    }

    fn assemble(
        builder: Builder,
        plan: loading::Plan,
        run: Run,
        observer: Observer,
        owned_dir: Option<tempfile::TempDir>,
    ) -> Self {
        let (events, received) = mpsc::channel();
        let services = Services::new(run, events.clone());
        let config = builder.config;
        let supervisor = Supervisor::new(supervisor_plan(&plan, &config, builder.side));
        let chain: Arc<[InstanceId]> = chain(&plan, &config).into();
        let kept_chain = Arc::clone(&chain);
        let (mut infos, mut backends, mut abouts, mut checks) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (number, prepared) in plan.instances.into_iter().enumerate() {
            let about = About::of(&prepared);
            checks.push(
                prepared
                    .entry
                    .checks
                    .iter()
                    .map(|topic| topic.value.clone())
                    .collect(),
            );
            let info = Arc::new(InstanceInfo {
                id: InstanceId(number),
                name: prepared.name.clone(),
                deadlines: deadlines(&prepared.entry),
            });
            infos.push(Arc::clone(&info));
            let extra = builder.extra.iter().find(|(name, _)| *name == about.name);
            let link = builder.drivers.as_ref();
            backends.push(backend(
                prepared,
                info,
                &services,
                &about.hook_errors,
                link,
                extra.map(|(_, extra)| extra),
            ));
            abouts.push(about);
        }
        let backends: Arc<[Arc<dyn Backend>]> = backends.into();
        let snapshot = Arc::new(RwLock::new(Snapshot::default()));
        let (progress, progress_seen) = watch::channel(Progress::Starting);
        let counts = Arc::<stream::Counts>::default();
        let counted = config.stream.as_ref().map(|_| Arc::clone(&counts));
        let event_loop = EventLoop {
            supervisor,
            infos,
            backends: Arc::clone(&backends),
            checks,
            chain,
            services: Arc::clone(&services),
            stream: config.stream,
            stdout: Mutex::new(builder.stdout),
            counts,
            events: received,
            snapshot: Arc::clone(&snapshot),
            progress,
            observer,
        };
        Self {
            name: config.host.name,
            services,
            instances: abouts,
            snapshot,
            counts: counted,
            progress: progress_seen,
            events,
            event_loop: Mutex::new(Some(event_loop)),
            thread: Mutex::new(None),
            started: Mutex::new(None),
            backends,
            chain: kept_chain,
            _run_dir: owned_dir,
        }
    }

    /// Opens every library, makes every instance, runs every init, and opens the stream; returns when all is ready.
    ///
    /// # Errors
    /// How the start ended instead. By then everything that had been initialised is shut down again.
    pub async fn start(&self) -> Result<(), Outcome> {
        if let Some(event_loop) = self.event_loop.lock().take() {
            let started = Instant::now();
            *self.started.lock() = Some(started);
            let spawned = thread::Builder::new()
                .name("hotshoe".to_owned())
                .spawn(move || event_loop.run(started));
            match spawned {
                Ok(thread) => *self.thread.lock() = Some(thread),
                Err(error) => {
                    let headline =
                        format!("the operating system refuses the host a thread: {error}");
                    let problem =
                        Problem::error(ExitCode::Init, Blame::Environment, "no-thread", headline);
                    return Err(Outcome {
                        exit: ExitCode::Init,
                        problems: vec![problem],
                    });
                }
            }
            self.services.tell(Event::Begin);
        }
        match self
            .wait_for(|progress| !matches!(progress, Progress::Starting))
            .await
        {
            Progress::Finished(outcome) if outcome.exit != ExitCode::Clean => Err(outcome),
            _ => Ok(()),
        }
    }

    async fn wait_for(&self, wanted: impl FnMut(&Progress) -> bool) -> Progress {
        let mut progress = self.progress.clone();
        let seen = progress
            .wait_for(wanted)
            .await
            .map(|progress| progress.clone());
        // A loop that is gone without a word has panicked: an invariant of ours failed.
        seen.unwrap_or_else(|_| Progress::Finished(Outcome::bug()))
    }

    /// Runs until `signal` is there, the stream has ended, or something required has failed; then stops in order.
    pub async fn run_until(&self, signal: impl Future<Output = ()>) -> Outcome {
        let ended = self.wait_for(|progress| matches!(progress, Progress::Finished(_)));
        tokio::pin!(ended);
        tokio::select! {
            biased;
            progress = &mut ended => return Outcome::of(progress),
            () = signal => self.stop(),
        }
        Outcome::of(ended.await)
    }

    /// Asks for the orderly stop and returns at once.
    pub fn stop(&self) {
        self.services.tell(Event::StopAsked);
    }

    /// Stops in order and says how it ended. A host that was never started has nothing to stop.
    pub async fn shutdown(self) -> Outcome {
        if self.thread.lock().is_none() {
            return Outcome {
                exit: ExitCode::Clean,
                problems: Vec::new(),
            };
        }
        self.stop();
        Outcome::of(
            self.wait_for(|progress| matches!(progress, Progress::Finished(_)))
                .await,
        )
    }

    /// Asks the driver of an instance and waits for its answer, at most `deadline`.
    ///
    /// # Errors
    /// `unknown`, `not-ready`, `full`, `too-large`, `closed`, `unsupported` at once; `timeout`; the handler's own.
    pub async fn ask(
        &self,
        instance: &str,
        message: &[u8],
        deadline: Duration,
    ) -> Result<Vec<u8>, CallError> {
        let (sender, receiver) = oneshot::channel();
        let reply = Box::new(move |answer| {
            // The asker may have stopped waiting.
            let _ = sender.send(answer);
        });
        self.services
            .messages
            .ask_with(instance, message, deadline, reply)?;
        let answer = tokio::time::timeout(deadline, receiver).await;
        match answer {
            Ok(Ok(answer)) => Ok(answer?),
            Ok(Err(_)) => Err(failure(
                failure_kind::CLOSED,
                format!("plugin `{instance}` is closed"),
            )
            .into()),
            Err(_) => {
                let text = format!(
                    "plugin `{instance}` did not answer within {} ms",
                    deadline.as_millis()
                );
                Err(failure(failure_kind::TIMEOUT, text).into())
            }
        }
    }

    /// Replaces the value of a topic; returns its generation when every later batch sees it.
    ///
    /// # Errors
    /// `no-topic`; a change that the schema or a checker refuses.
    pub async fn publish(&self, topic: &str, value: &serde_json::Value) -> Result<u64, CallError> {
        let change = crate::machine::store::Change {
            operation: crate::machine::store::Operation::Set {
                pointer: String::new(),
                value: value.clone(),
            },
            expect: crate::machine::store::Expect::Any,
            dry_run: false,
            confirm: None,
            by: "host".to_owned(),
        };
        let (sender, receiver) = oneshot::channel();
        let answer = Box::new(move |answers: Answers| {
            let _ = sender.send(answers);
        });
        self.services.config.enqueue(topic, vec![change], answer)?;
        let gone = || failure(failure_kind::CLOSED, format!("topic `{topic}` is closed"));
        match receiver.await.map_err(|_| gone())?.pop() {
            Some(Ok(applied)) => Ok(applied.generation),
            Some(Err(refused)) => Err(failure(
                failure_kind::ERROR,
                format!("{}: {}", refused.slug, refused.detail),
            )
            .into()),
            None => Err(gone().into()),
        }
    }

    /// The newest value of a topic, canonical JSON, and its generation.
    ///
    /// # Errors
    /// `no-topic`.
    pub fn current(&self, topic: &str) -> Result<(u64, Vec<u8>), CallError> {
        let snapshot = self.services.config.snapshot(topic, 0)?;
        Ok((snapshot.generation, snapshot.document.into()))
    }

    /// Pins the newest config set.
    #[must_use]
    pub fn pin(&self) -> Pin {
        Pin(self.services.config.pin())
    }

    /// Pins by a key of the program's own: the first asker pins the newest set, later ones get the same for as long as
    /// anybody keeps it.
    #[must_use]
    pub fn pin_by(&self, key: &str) -> Pin {
        Pin(self.services.config.pin_by(key))
    }

    /// Takes in a config set of the half that owns the stores ([`Pin::encode`]); the newest becomes current here.
    ///
    /// # Errors
    /// The bytes are no encoded set.
    pub fn install(&self, set: &[u8]) -> Result<Pin, CallError> {
        half::install(&self.services, set)
    }

    /// An executor of an executors' half, not started yet. Its chain is `[stream] processors`, or every instance with a
    /// processor, in init order, where there is no `[stream]`. After the host was started.
    #[must_use]
    pub fn slot(&self, id: u32) -> ExecutorSlot {
        let all = (0..self.backends.len()).map(InstanceId);
        let on_executors = |about: &About| {
            about
                .parts
                .iter()
                .any(|part| matches!(*part, "executor" | "processor"))
        };
        let instances: Vec<_> = all
            .filter(|place| self.instances.get(place.0).is_some_and(on_executors))
            .map(|place| (place, Arc::clone(&self.backends[place.0])))
            .collect();
        let processes = |place: &InstanceId| self.instances[place.0].parts.contains(&"processor");
        let chain = match self.chain.is_empty() {
            false => self.chain.to_vec(),
            true => instances
                .iter()
                .map(|(place, _)| *place)
                .filter(processes)
                .collect(),
        };
        let names = instances
            .iter()
            .map(|(place, _)| (self.instances[place.0].name.clone(), *place))
            .collect();
        ExecutorSlot::new(ExecutorId(id), instances, names, chain)
    }

    /// What an instance's driver answered in init, for the executors' half.
    #[must_use]
    pub fn extra_conf(&self, instance: &str) -> BTreeMap<String, String> {
        let place = self
            .instances
            .iter()
            .position(|about| about.name == instance);
        place
            .and_then(|place| self.backends.get(place))
            .map(|backend| backend.extra_conf())
            .unwrap_or_default()
    }

    /// Where what drivers broadcast goes, in a drivers' half: called with the instance's name, on the driver's thread.
    pub fn on_broadcast(
        &self,
        deliver: impl Fn(&str, &[u8]) -> Result<(), CallError> + Send + Sync + 'static,
    ) {
        let names: Vec<String> = self
            .instances
            .iter()
            .map(|about| about.name.clone())
            .collect();
        self.services
            .messages
            .enter_executor(Arc::new(move |instance, message| {
                let name = names.get(instance.0).map_or("", String::as_str);
                deliver(name, message).map_err(Into::into)
            }));
    }

    /// The JSON Schema of an instance's settings; after the host was started.
    ///
    /// # Errors
    /// The instance is unknown or its library not open.
    pub fn settings_schema(&self, instance: &str) -> Result<String, Problem> {
        let place = self
            .instances
            .iter()
            .position(|about| about.name == instance);
        let Some(backend) = place.and_then(|place| self.backends.get(place)) else {
            return Err(Problem::usage(
                "unknown-plugin",
                format!("no instance is named `{instance}`"),
            ));
        };
        backend.settings_schema()
    }

    /// Does what a start does before the first init: opens every library, checks settings, makes the instances. Problems go
    /// where [`Builder::on_problem`] says. The host cannot be started afterwards.
    pub fn load(&self) {
        if let Some(event_loop) = self.event_loop.lock().take() {
            event_loop.load();
        }
    }

    /// The instances, in the merged configuration's order.
    #[must_use]
    pub fn entries(&self) -> Vec<EntryOf> {
        let entries = self.instances.iter().map(|about| EntryOf {
            name: about.name.clone(),
            library: about.library.clone(),
            parts: about.parts.clone(),
            at: about.at.clone(),
        });
        entries.collect()
    }

    /// The folder for sockets and addresses of this run.
    #[must_use]
    pub fn run_dir(&self) -> &Path {
        &self.services.run.run_dir
    }

    /// What has not stopped yet, for whoever cannot wait any longer.
    #[must_use]
    pub fn stopping(&self) -> Stopping {
        let snapshot = self.snapshot.read();
        let running = snapshot
            .instances
            .iter()
            .zip(&self.instances)
            .filter(|((state, ..), _)| {
                use supervisor::State;
                !matches!(
                    state,
                    None | Some(State::Stopped | State::Skipped | State::Failed | State::Verified)
                )
            });
        Stopping {
            instances: running.map(|(_, about)| about.name.clone()).collect(),
        }
    }

    /// The host at this moment.
    #[must_use]
    pub fn status(&self) -> Status {
        let snapshot = self.snapshot.read();
        let metrics = self.services.metrics.read();
        let instances = self.instances.iter().enumerate().map(|(place, about)| {
            let (state, reason, since) = snapshot.instances.get(place).cloned().unwrap_or_default();
            let of_instance = metrics
                .iter()
                .filter(|(owner, ..)| owner.instance == about.name);
            InstanceStatus {
                name: about.name.clone(),
                plugin: about.plugin.clone(),
                library: about.library.clone(),
                parts: about.parts.clone(),
                required: about.required,
                isolation: "in-process",
                state: state.unwrap_or(supervisor::State::Verified),
                reason,
                since: rfc_3339(since.unwrap_or_else(SystemTime::now)),
                endpoints: self.endpoints(&about.name),
                messages: self.messages(&about.name),
                hook_errors: about.hook_errors.load(Ordering::Relaxed),
                metrics: of_instance
                    .map(|(owner, name, value)| MetricStatus {
                        name: format!("plugin.{}.{name}", about.name),
                        component: owner.component,
                        executor: owner.executor.clone(),
                        value: value.clone(),
                    })
                    .collect(),
            }
        });
        Status {
            host: self.name.clone(),
            state: if snapshot.phase.is_empty() {
                "loading"
            } else {
                snapshot.phase
            },
            run_id: self.services.run.id.clone(),
            version: env!("CARGO_PKG_VERSION"),
            abi: ABI_VERSION,
            pid: std::process::id(),
            uptime_ms: self.started.lock().map_or(0, |started| {
                u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
            }),
            epoch: self.services.config.pin().epoch(),
            instances: instances.collect(),
            executors: snapshot
                .executors
                .iter()
                .map(|(id, state)| ExecutorStatus { id: *id, state })
                .collect(),
            topics: self.services.config.generations().into_iter().collect(),
            stream: self.counts.as_ref().map(|counts| stream_status(counts)),
            options: self.options(),
        }
    }

    /// Whether everything is ready and nothing stops.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.snapshot.read().ready
    }

    fn options(&self) -> Vec<OptionStatus> {
        let options = self.services.options.lock();
        let named = options.iter().map(|(key, value, plugin)| OptionStatus {
            key: key.clone(),
            value: value.clone(),
            plugin: plugin.clone(),
        });
        named.collect()
    }

    fn endpoints(&self, instance: &str) -> Vec<String> {
        let endpoints = self.services.endpoints.lock();
        endpoints
            .iter()
            .filter(|((name, _), _)| name == instance)
            .flat_map(|(_, urls)| urls.clone())
            .collect()
    }

    fn messages(&self, instance: &str) -> MessageStatus {
        let Some(counts) = self.services.messages.counts(instance) else {
            return MessageStatus::default();
        };
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MessageStatus {
            sent: read(&counts.sent),
            delivered: read(&counts.delivered),
            failed: read(&counts.failed),
            dropped: read(&counts.dropped),
            refused: read(&counts.refused),
        }
    }

    /// Every metric, the plugins' and the host's own, in Prometheus' text format.
    #[must_use]
    pub fn metrics(&self) -> String {
        metric::render(&self.services.metrics, self.host_metrics())
    }

    fn host_metrics(&self) -> Vec<HostMetric> {
        let status = self.status();
        let of_instances = |name, help, read: &dyn Fn(&InstanceStatus) -> u64| HostMetric {
            name,
            help,
            counter: true,
            values: status
                .instances
                .iter()
                .map(|instance| (vec![("plugin", instance.name.clone())], read(instance)))
                .collect(),
        };
        let mut metrics = vec![
            HostMetric {
                name: "ready",
                help: "1 while everything is ready",
                counter: false,
                values: vec![(Vec::new(), u64::from(self.is_ready()))],
            },
            HostMetric {
                name: "config_epoch",
                help: "Number of the newest config set",
                counter: false,
                values: vec![(Vec::new(), status.epoch)],
            },
        ];
        if !status.instances.is_empty() {
            metrics.extend([
                of_instances("hook_errors", "Task hooks that failed", &|instance| {
                    instance.hook_errors
                }),
                of_instances(
                    "messages_sent",
                    "Messages accepted for the instance",
                    &|instance| instance.messages.sent,
                ),
                of_instances(
                    "messages_delivered",
                    "Messages handed to a handler",
                    &|instance| instance.messages.delivered,
                ),
                of_instances(
                    "messages_failed",
                    "Messages whose handler failed",
                    &|instance| instance.messages.failed,
                ),
                of_instances(
                    "messages_dropped",
                    "Messages that no handler was given",
                    &|instance| instance.messages.dropped,
                ),
            ]);
        }
        if let Some(stream) = status.stream {
            let one = |name, help, value| HostMetric {
                name,
                help,
                counter: true,
                values: vec![(Vec::new(), value)],
            };
            metrics.extend([
                one("records_in", "Records read", stream.records_in),
                one("records_out", "Records written", stream.records_out),
                one("tasks_started", "Attempts at tasks", stream.tasks_started),
                one(
                    "tasks_succeeded",
                    "Attempts that succeeded",
                    stream.tasks_succeeded,
                ),
                one("tasks_failed", "Attempts that failed", stream.tasks_failed),
                one(
                    "dead_letters",
                    "Records that were kept apart",
                    stream.dead_letters,
                ),
            ]);
        }
        metrics
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let Some(thread) = self.thread.lock().take() else {
            return;
        };
        if !matches!(&*self.progress.borrow(), Progress::Finished(_)) {
            tracing::warn!(
                host = self.name,
                "the host was dropped without a shutdown; it stops now"
            );
        }
        let _ = self.events.send(Event::StopAsked);
        // Bounded: every call that the stop makes has a deadline. A loop that panicked has said so itself.
        let _ = thread.join();
    }
}

impl About {
    fn of(prepared: &Prepared) -> Self {
        let manifest = prepared.code.manifest();
        Self {
            name: prepared.name.clone(),
            at: prepared.entry.at.to_string(),
            plugin: manifest.map_or_else(String::new, |manifest| {
                format!("{} {}", manifest.name, manifest.version)
            }),
            library: prepared.code.path().map(|path| path.display().to_string()),
            parts: prepared.code.parts().names(),
            required: prepared.entry.required,
            hook_errors: Arc::default(),
        }
    }
}

fn deadlines(entry: &PluginEntry) -> Deadlines {
    let deadlines = &entry.deadlines;
    Deadlines {
        init: deadlines.init,
        receive: deadlines.receive,
        hook: deadlines.hook,
        process: deadlines.process,
        check: deadlines.check,
        shutdown: deadlines.shutdown,
    }
}

fn supervisor_plan(plan: &loading::Plan, config: &Config, side: Side) -> supervisor::Plan {
    let in_stream = |name: &str| {
        let stream = config.stream.iter();
        stream
            .flat_map(|stream| &stream.processors)
            .any(|processor| processor.value == name)
    };
    let instances = plan
        .instances
        .iter()
        .map(|prepared| supervisor::InstancePlan {
            name: prepared.name.clone(),
            required: prepared.entry.required,
            init_attempts: prepared.entry.init_attempts,
            in_stream: in_stream(&prepared.name),
            parts: prepared.code.parts(),
            load: prepared.entry.deadlines.load,
            init: prepared.entry.deadlines.init,
            shutdown: prepared.entry.deadlines.shutdown,
        });
    supervisor::Plan {
        instances: instances.collect(),
        order: plan.order.iter().copied().map(InstanceId).collect(),
        // In an executors' half the program calls them itself: they are slots, without threads of the host's.
        executors: if side == Side::Executors {
            0
        } else {
            config.executors.count
        },
        executor_restarts_max: config.executors.max_restarts,
        drain: config.executors.drain,
        stream: config.stream.is_some(),
        side,
    }
}

/// The instances of `[stream] processors`; that each is there was checked with the plan.
fn chain(plan: &loading::Plan, config: &Config) -> Vec<InstanceId> {
    let names = config.stream.iter().flat_map(|stream| &stream.processors);
    let place = |name: &str| {
        plan.instances
            .iter()
            .position(|prepared| prepared.name == name)
    };
    names
        .filter_map(|name| place(&name.value))
        .map(InstanceId)
        .collect()
}

fn backend(
    prepared: Prepared,
    info: Arc<InstanceInfo>,
    services: &Arc<Services>,
    hook_errors: &Arc<AtomicU64>,
    link: Option<&Arc<dyn DriversElsewhere>>,
    extra: Option<&BTreeMap<String, String>>,
) -> Arc<dyn Backend> {
    let parts = prepared.code.parts();
    let (place, hidden) = (
        prepared.entry.settings.clone(),
        prepared.entry.settings.clone(),
    );
    let settings = Settings {
        value: prepared.entry.settings.to_value(),
        place: Box::new(move |pointer| place.key_place(pointer).or_else(|| place.place(pointer))),
        hidden: Box::new(move |pointer| hidden.hides(pointer)),
    };
    let origin = match prepared.code {
        Code::Library(verified) => Origin::Library(verified),
        Code::Linked(entry, _) => Origin::Entry(entry),
        Code::Refused(problem) => Origin::Refused(problem),
    };
    let name = info.name.clone();
    let backend = Arc::new(InProcess::new(
        info,
        Arc::clone(services),
        parts,
        origin,
        settings,
        Arc::clone(hook_errors),
    ));
    if let Some(extra) = extra {
        backend.set_extra_conf(extra.clone());
    }
    let driver = Arc::downgrade(&backend);
    let to_driver = parts.driver.then(|| match link {
        Some(link) => half::to_driver(link, &name),
        None => Arc::new(move |mail| match driver.upgrade() {
            Some(driver) => driver.deliver(mail),
            None => Err(failure(failure_kind::CLOSED, "the host is gone")),
        }),
    });
    backend.count_messages(services.messages.enter(&name, to_driver));
    backend
}

fn stream_status(counts: &stream::Counts) -> StreamStatus {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    StreamStatus {
        records_in: read(&counts.records_in),
        records_out: read(&counts.records_out),
        tasks_started: read(&counts.tasks_started),
        tasks_succeeded: read(&counts.tasks_succeeded),
        tasks_failed: read(&counts.tasks_failed),
        dead_letters: read(&counts.dead_letters),
    }
}

fn rfc_3339(at: SystemTime) -> String {
    clock::rfc_3339_millis(OffsetDateTime::from(at))
}
