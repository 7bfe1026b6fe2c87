//! Puts a [`Host`] together: what the program says, what the files hold, and what runs it. Runs no plugin's code.

use super::{About, Host, Side};
use crate::{
    backend::{
        Backend,
        code::Code as PluginCode,
        in_process::{InProcess, Origin},
        instance::{Instance, Settings},
        isolated::{
            Isolated, Launch, Program, Spawner, refusal,
            worker::{self, Workers},
        },
    },
    config_file::{self, Config, PluginEntry},
    error::{Blame, ExitCode, Problem, Severity},
    half::{self, DriversElsewhere},
    machine::{
        InstanceId,
        retry::RestartPolicy,
        supervisor::{self, Supervisor},
    },
    provenance::Lockfile,
    runtime::{
        event_loop::{EventLoop, Observer, Progress, Snapshot},
        loading::{self, Code, Linked, Prepared},
    },
    services::{Deadlines, InstanceInfo, Run, Services, clock, config::Recover, failure::failure},
    stream::{self, Standard},
};
use hotshoe_abi::{Entry, failure_kind};
use hotshoe_loader::CellRegion;
use parking_lot::{Mutex, RwLock};
use std::{
    collections::BTreeMap,
    fmt,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64, mpsc},
};
use tokio::sync::watch;

/// Puts a [`Host`] together. See [`Host::builder`].
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    config: Config,
    linked: Vec<Linked>,
    run_dir: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    recover: Recover,
    standard: Standard,
    observer: Option<Observer>,
    side: Side,
    drivers: Option<Arc<dyn DriversElsewhere>>,
    extra: Vec<(String, BTreeMap<String, String>)>,
    problems: Vec<Problem>,
    lockfile: Lockfile,
    workers: Option<Workers>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            config: Config::empty("hotshoe"),
            linked: Vec::new(),
            run_dir: None,
            state_dir: None,
            recover: Recover::No,
            standard: Standard::default(),
            observer: None,
            side: Side::Both,
            drivers: None,
            extra: Vec::new(),
            problems: Vec::new(),
            lockfile: Lockfile::Used,
            workers: None,
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

    /// What `source = "stdin"` reads. Without it that is descriptor 0 as it is when the stream is opened, which every plugin in
    /// this process can read, close or cover: a program whose own it is moves it away first, as `hotshoe run` does, and puts
    /// the null device in its place.
    pub fn stdin(mut self, stdin: OwnedFd) -> Self {
        self.standard.input = Some(stdin);
        self
    }

    /// Where `sink = "stdout"` writes. The host touches none of the descriptors 0 to 2 by itself.
    pub fn stdout(mut self, stdout: OwnedFd) -> Self {
        self.standard.output = Some(stdout);
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

    /// Where plugins with `isolation = "process"` run: what [`crate::worker::take_over`] answered first thing in `main`.
    pub fn workers(mut self, workers: Workers) -> Self {
        self.workers = Some(workers);
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
                let (private, run_dir) = loading::run_folder().map_err(no_run_dir)?;
                (run_dir, Some(private))
            }
        };
        let linked = std::mem::take(&mut self.linked);
        let mut plan = loading::prepare(&self.config, linked, &run_dir, self.lockfile);
        plan.problems.append(&mut self.problems);
        plan.problems
            .extend(unisolated(&plan, self.workers.as_ref()));
        let state_dir = self.state_dir.take();
        let state_dir = state_dir.unwrap_or_else(|| run_dir.join("state"));
        let own = [run_dir.clone(), state_dir.clone()];
        let absent = std::mem::take(&mut self.config.absent).into_iter();
        let absent = absent.filter(|absent| !absent.is_among(&own));
        plan.problems.extend(absent.map(|absent| absent.problem));
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
            state_dir,
            recover: self.recover,
            run_dir,
            driver_resources: self.config.host.resources.clone(),
            executor_resources: self.config.executors.resources.clone(),
        };
        let spawner = match plan.instances.iter().any(is_isolated) {
            true => Some(Arc::new(Spawner::new().map_err(no_spawner)?)),
            false => None,
        };
        assemble(self, plan, run, observer, owned_dir, spawner.as_ref())
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

impl From<Problem> for BuildError {
    fn from(problem: Problem) -> Self {
        Self {
            problems: vec![problem],
        }
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

fn is_isolated(prepared: &Prepared) -> bool {
    prepared.entry.isolation == config_file::Isolation::Process
}

/// Why plugins that are to run in a process of their own cannot.
fn unisolated(plan: &loading::Plan, workers: Option<&Workers>) -> Vec<Problem> {
    let mut problems = Vec::new();
    if worker::is_worker() {
        let headline = "this process was started as a worker, and runs a host instead";
        problems.push(
            Problem::usage("worker-forgotten", headline)
                .wanted("hotshoe::worker::take_over() before everything else")
                .fix("call hotshoe::worker::take_over() first thing in the program's main"),
        );
    }
    for prepared in plan
        .instances
        .iter()
        .filter(|prepared| is_isolated(prepared))
    {
        let name = &prepared.name;
        let problem = if matches!(prepared.code, Code::Linked(..)) {
            let headline = format!(
                "plugin `{name}` is linked into the program and cannot run in a process of its own"
            );
            Problem::usage("cannot-isolate", headline)
                .wanted("isolation = \"in-process\", or a library")
                .fix("build the plugin as a library and name that")
        } else if workers.is_none() {
            let headline = format!(
                "plugin `{name}` is to run in a process of its own, and this program has not said that it can be one"
            );
            Problem::usage("no-worker", headline)
                .wanted("Builder::workers(hotshoe::worker::take_over())")
                .fix("call hotshoe::worker::take_over() first thing in main, and hand its answer to Builder::workers")
        } else if let Some((executable, why)) = workers.and_then(Workers::unusable) {
            let headline = format!(
                "plugin `{name}` is to run in a process of {}, and that cannot be run: {why}",
                executable.display()
            );
            Problem::usage("no-worker", headline)
                .wanted("a program that calls hotshoe::worker::take_over() first thing in main")
                .found(why)
                .fix("name one that is there and may be run in Workers::executable")
        } else {
            continue;
        };
        problems.push(problem.in_file(prepared.entry.at.clone()));
    }
    problems
}

fn no_spawner(error: std::io::Error) -> BuildError {
    let headline = format!("the operating system refuses a thread that starts workers: {error}");
    environment("no-thread", headline)
        .fix(refusal(&error))
        .into()
}

fn no_region(name: &str, error: std::io::Error) -> BuildError {
    let headline =
        format!("plugin `{name}`: no memory for its metrics can be shared with a worker: {error}");
    environment("worker-not-started", headline)
        .wanted("a file in memory")
        .fix(refusal(&error))
        .into()
}

fn no_run_dir(error: std::io::Error) -> BuildError {
    let headline = format!("cannot make a private folder for the run: {error}");
    environment("no-run-dir", headline)
        .fix("make the temporary folder writable, or call Builder::run_dir")
        .into()
}

fn environment(code: &str, headline: String) -> Problem {
    Problem::error(ExitCode::Init, Blame::Environment, code, headline)
}

fn log_problem(problem: &Problem) {
    match problem.severity {
        Severity::Error => tracing::error!(code = problem.code, "{}", problem.headline),
        Severity::Warning => tracing::warn!(code = problem.code, "{}", problem.headline),
    }
}

fn run_id() -> String {
    format!("{:016x}", seed())
}

fn hostname() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// Makes the host that a checked plan describes.
fn assemble(
    builder: Builder,
    plan: loading::Plan,
    run: Run,
    observer: Observer,
    owned_dir: Option<tempfile::TempDir>,
    spawner: Option<&Arc<Spawner>>,
) -> Result<Host, BuildError> {
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
        let launch = spawner
            .filter(|_| is_isolated(&prepared))
            .map(|spawner| Launch {
                spawner: Arc::clone(spawner),
                program: Program {
                    executable: builder
                        .workers
                        .as_ref()
                        .and_then(|workers| workers.executable.clone()),
                    instance: info.name.clone(),
                    environment: (&prepared.entry.sandbox).into(),
                },
                sandbox: (&prepared.entry.sandbox).into(),
                limits: (&prepared.entry.limits).into(),
            });
        backends.push(backend(
            prepared,
            info,
            &services,
            &about.hook_errors,
            link,
            extra.map(|(_, extra)| extra),
            launch,
        )?);
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
        standard: Mutex::new(builder.standard),
        counts,
        events: received,
        snapshot: Arc::clone(&snapshot),
        progress,
        observer,
    };
    Ok(Host {
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
    })
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
            isolation: match prepared.entry.isolation {
                config_file::Isolation::InProcess => "in-process",
                config_file::Isolation::Process => "process",
            },
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

/// Another one in every run.
fn seed() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(clock::monotonic())
}

fn restart_policy(entry: &PluginEntry) -> RestartPolicy {
    let config_file::Restart {
        attempts,
        within,
        backoff,
        backoff_max,
    } = entry.restart;
    RestartPolicy {
        attempts,
        within,
        backoff,
        backoff_max,
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
            isolated: is_isolated(prepared),
            restart: restart_policy(&prepared.entry),
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
        jitter_seed: seed(),
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
    launch: Option<Launch>,
) -> Result<Arc<dyn Backend>, BuildError> {
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
    let name = info.name.clone();
    let code: Box<dyn PluginCode> = match launch {
        Some(launch) => {
            let region = CellRegion::create(&name).map_err(|error| no_region(&name, error))?;
            let region = Arc::new(region);
            services.metrics.in_region(&name, Arc::clone(&region));
            let library = match prepared.code {
                Code::Library(verified) => Ok(verified),
                Code::Refused(problem) => Err(problem),
                Code::Linked(..) => unreachable!("the plan was refused"),
            };
            Box::new(Isolated::new(&info, services, library, region, launch))
        }
        None => Box::new(InProcess::new(
            &name,
            match prepared.code {
                Code::Library(verified) => Origin::Library(verified),
                Code::Linked(entry, _) => Origin::Entry(entry),
                Code::Refused(problem) => Origin::Refused(problem),
            },
        )),
    };
    let backend = Arc::new(Instance::new(
        info,
        Arc::clone(services),
        parts,
        code,
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
    Ok(backend)
}
