//! A plugin's code in a process of its own: the same library, the same calls, and a segfault is the worker's. What the host's
//! side of an instance asks for becomes messages here; which services a plugin may ask for, and in whose name, stays the
//! host's. It refuses to restart anything: that is the supervisor's.

mod channel;
mod connection;
mod crash;
mod data;
mod frames;
mod look;
mod outbox;
mod output;
mod parts;
mod process;
pub(crate) mod sandbox;
mod services;
mod walls;
mod wire;
pub(crate) mod worker;

pub(crate) use self::process::{Program, Spawner, refusal};
use self::{
    channel::Channel,
    connection::{Connection, Death, Unopened},
    crash::Crashes,
    parts::Shared,
    sandbox::{Enforced, LimitsSpec, SandboxSpec, cgroup::Cage},
    wire::{Call, LibraryData, Returned, Start, WireProblem},
};
use super::code::{CheckerPart, Code, DriverPart, ExecutorPart, ProcessorPart};
use crate::{
    config_file::is_spelled,
    error::{Blame, ExitCode, Problem},
    machine::{
        ExecutorId,
        supervisor::{self, Event},
    },
    services::{
        InstanceInfo, Services, clock,
        component::Component,
        failure::{failure, problem},
        folder, foreign,
    },
    status::{Crash, EnforcedStatus, WorkerStatus},
};
use hotshoe_abi::{Failure, failure_kind};
use hotshoe_loader::{CellRegion, Verified};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    path::Path,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

/// What a worker of another build ends with, before it reads a word.
pub(crate) const EXIT_OTHER_BUILD: i32 = 64;

/// Everything that starting one's worker needs.
pub(crate) struct Launch {
    pub(crate) spawner: Arc<Spawner>,
    pub(crate) program: Program,
    pub(crate) sandbox: SandboxSpec,
    pub(crate) limits: LimitsSpec,
}

/// See the file.
pub(crate) struct Isolated {
    info: Arc<InstanceInfo>,
    services: Arc<Services>,
    launch: Launch,
    /// The verified copy, or why there is none.
    library: Result<Box<Verified>, Problem>,
    /// Metric cells, shared with every life of the worker.
    region: Arc<CellRegion>,
    life: Mutex<Option<Arc<Connection>>>,
    channels: Mutex<BTreeMap<u32, Weak<Mutex<Channel>>>>,
    lives: AtomicU64,
    /// What the worker in service says of its sandbox and limits.
    enforced: Mutex<Vec<EnforcedStatus>>,
    /// How its workers died.
    crashes: Arc<Crashes>,
}

impl Isolated {
    pub(crate) fn new(
        info: &Arc<InstanceInfo>,
        services: &Arc<Services>,
        library: Result<Box<Verified>, Problem>,
        region: Arc<CellRegion>,
        launch: Launch,
    ) -> Self {
        Self {
            info: Arc::clone(info),
            services: Arc::clone(services),
            launch,
            library,
            region,
            life: Mutex::new(None),
            channels: Mutex::default(),
            lives: AtomicU64::new(0),
            enforced: Mutex::default(),
            crashes: Arc::new(Crashes::of(&services.run.state_dir, &info.name)),
        }
    }

    fn life(&self) -> Result<Arc<Connection>, Failure> {
        self.life.lock().clone().ok_or_else(|| {
            let text = format!("the worker of plugin `{}` was not started", self.info.name);
            failure(failure_kind::GONE, text)
        })
    }

    /// The executor's way into the worker; one for its executor part and its processor.
    fn channel(&self, id: ExecutorId) -> Result<Shared, Failure> {
        let connection = self.life()?;
        if !connection.is_serving() {
            // Its start comes first. Whoever asks now has parts of the life before, and waits to be revived.
            let text = format!(
                "the worker of plugin `{}` is not in service",
                self.info.name
            );
            return Err(failure(failure_kind::GONE, text));
        }
        let mut channels = self.channels.lock();
        if let Some(channel) = channels.get(&id.0).and_then(Weak::upgrade) {
            if Arc::ptr_eq(channel.lock().connection(), &connection) {
                return Ok(channel);
            }
        }
        let socket = connection.channel(id.0)?;
        let channel = Arc::new(Mutex::new(Channel::new(&connection, id.0, socket)));
        channels.insert(id.0, Arc::downgrade(&channel));
        Ok(channel)
    }

    fn start(&self, verified: &Verified, limits: LimitsSpec) -> Start {
        let mut sandbox = self.launch.sandbox.clone();
        if let (SandboxSpec::Walled(walls), Some(folder)) =
            (&mut sandbox, verified.staged.file().and_then(Path::parent))
        {
            // Its own private copy, and the neighbours beside it.
            walls.read.push(folder.into());
        }
        Start {
            instance: self.info.name.clone(),
            run: self.services.run.data(),
            deadlines: self.info.deadlines,
            library: LibraryData {
                path: verified.path.to_string_lossy().into_owned(),
                copy: verified
                    .staged
                    .file()
                    .map(|file| file.to_string_lossy().into_owned()),
                symbol: verified.manifest.symbol.clone(),
                abi: verified.manifest.abi_text(),
            },
            log_level: crate::services::log::level(),
            sandbox,
            limits,
        }
    }

    /// Folders of this run that its sandbox names: they are the host's to make, and must be there to be named to the kernel.
    fn make_own_folders(&self) {
        let SandboxSpec::Walled(walls) = &self.launch.sandbox else {
            return;
        };
        let run = &self.services.run;
        for path in walls.read.iter().chain(&walls.write).map(Path::new) {
            let own = [&run.run_dir, &run.state_dir].map(|own| is_spelled(path, own));
            if own.contains(&true) && !path.exists() {
                // One that cannot be made is named by the worker, which does not find it.
                let _ = folder::make_private(path);
            }
        }
    }

    /// What comes along with the start: the cells, the epoch page, and the library where it is in memory.
    fn descriptors(&self, verified: &Verified) -> std::io::Result<Vec<OwnedFd>> {
        let page = self.services.config.epoch_page();
        let page = page.map_err(|failure| std::io::Error::other(failure.message.into_string()))?;
        let mut descriptors = vec![
            self.region.descriptor().try_clone_to_owned()?,
            page.try_clone_to_owned()?,
        ];
        if let Some(memfd) = verified.staged.descriptor() {
            descriptors.push(memfd.try_clone_to_owned()?);
        }
        Ok(descriptors)
    }

    /// Starts a worker; answers it with the limits that it sets on itself.
    fn spawn(&self) -> Result<(Arc<Connection>, LimitsSpec), Problem> {
        let mut cage = Cage::prepare(&self.info.name, &self.launch.limits);
        let mut process = self
            .launch
            .spawner
            .spawn(self.launch.program.clone())
            .map_err(|error| self.not_started(&error))?;
        let limits = cage.attach(process.id());
        process.keep(cage);
        // Counted before anybody can reach it.
        let life = self.lives.fetch_add(1, Ordering::AcqRel) + 1;
        let (connection, jobs) = Connection::new(&self.info, &self.services, &self.region, process);
        let (services, id) = (Arc::clone(&self.services), self.info.id);
        let (crashes, name) = (Arc::clone(&self.crashes), self.info.name.clone());
        let died = move |connection: &Arc<Connection>, death: &Death| {
            if death.asked {
                return;
            }
            let (how, in_hand) = (death.how.clone(), connection.at_its_only_batch());
            // Looked up before the next life begins, which says in the same cells what it is at.
            let crash = Crash {
                at: clock::utc_now(),
                how: how.clone(),
                task: connection.task_in_hand(),
                log: connection.last_lines(),
            };
            if death.served {
                // Told first: a disk takes its time.
                services.tell(Event::Died(id, supervisor::Death { how, in_hand, life }));
            }
            if let Err(words) = crashes.note(crash) {
                tracing::warn!(plugin = name, "{words}");
            }
        };
        connection
            .start(jobs, died)
            .map_err(|error| self.not_started(&error))?;
        Ok((connection, limits))
    }

    /// Keeps what the worker says of its walls, and says once what this kernel cannot do.
    fn note(&self, enforced: &Enforced) {
        let plugin = &self.info.name;
        if self.lives.load(Ordering::Relaxed) <= 1 {
            for gap in enforced.gaps() {
                tracing::warn!(
                    plugin,
                    "of its sandbox or limits this machine cannot enforce all: {gap}"
                );
            }
        }
        *self.enforced.lock() = enforced.parts.iter().map(EnforcedStatus::from).collect();
    }

    /// What its processes run, for a sentence.
    fn program(&self) -> String {
        match &self.launch.program.executable {
            Some(executable) => executable.display().to_string(),
            None => "this program".to_owned(),
        }
    }

    fn not_started(&self, error: &std::io::Error) -> Problem {
        let name = &self.info.name;
        let headline = format!("plugin `{name}`: its worker cannot be started: {error}");
        Problem::error(
            ExitCode::Init,
            Blame::Environment,
            "worker-not-started",
            headline,
        )
        .wanted(format!("a process of {}", self.program()))
        .found(error.to_string())
        .fix(process::refusal(error))
    }

    /// Why the library is not open in there: its own refusal, or the worker's end.
    fn not_opened(&self, why: Unopened, connection: &Connection) -> Problem {
        let name = &self.info.name;
        let operators = |code: &'static str, headline: String| {
            Problem::error(ExitCode::Init, Blame::Operator, code, headline)
        };
        if connection.ended_with(EXIT_OTHER_BUILD) {
            let headline =
                format!("plugin `{name}`: its worker is of another build than this program");
            return operators("worker-mismatch", headline)
                .wanted(format!("a worker of {}", process::fingerprint()))
                .fix(
                    "build host and worker from the same sources, or leave the worker to this program",
                );
        }
        match why {
            Unopened::Refused(refused) => refused.into_problem(),
            Unopened::Gone(gone) => problem(name, "load", ExitCode::Init, &gone),
            Unopened::NoWorker(ending) => {
                let program = self.program();
                let headline = format!("plugin `{name}`: {program} does not become a worker");
                operators("not-a-worker", headline)
                    .wanted("a program that calls hotshoe::worker::take_over() first thing in main")
                    .found(format!("it was started as one, and {ending}"))
                    .fix("see what it does before that call; what it printed is in the log")
            }
        }
    }
}

impl Code for Isolated {
    fn open(&self) -> Result<(), Problem> {
        let verified = match &self.library {
            Ok(verified) => verified,
            Err(problem) => return Err(problem.clone()),
        };
        let descriptors = self
            .descriptors(verified)
            .map_err(|error| self.not_started(&error))?;
        self.make_own_folders();
        let (connection, limits) = self.spawn()?;
        // Before it answers: whoever kills it while it loads must find it.
        let before = self.life.lock().replace(Arc::clone(&connection));
        if let Some(before) = before {
            // As a rule it is over; one that was killed and does not end is left to the system.
            before.end();
        }
        let enforced = connection
            .open(self.start(verified, limits), descriptors)
            .map_err(|why| self.not_opened(why, &connection))?;
        self.note(&enforced);
        Ok(())
    }

    fn serve(&self) -> Result<(), Problem> {
        let served = self.life().and_then(|connection| connection.serve());
        served.map_err(|gone| problem(&self.info.name, "load", ExitCode::Init, &gone))
    }

    fn settings_schema(&self) -> Result<String, Problem> {
        let asked = self
            .life()
            .and_then(|connection| connection.call(Call::SettingsSchema));
        match asked {
            Ok(Returned::Text(schema)) => Ok(schema),
            Ok(_) => Err(self.odd()),
            Err(failure) => Err(problem(
                &self.info.name,
                "settings schema",
                ExitCode::Init,
                &failure,
            )),
        }
    }

    fn create(&self, settings: &str, host: Component) -> Result<(), Failure> {
        let connection = self.life()?;
        connection.enter(host);
        connection.call(Call::Create(settings.to_owned())).map(drop)
    }

    fn driver(&self) -> Result<Box<dyn DriverPart>, Failure> {
        Ok(Box::new(parts::Driver(self.life()?)))
    }

    fn checker(&self) -> Result<Box<dyn CheckerPart>, Failure> {
        Ok(Box::new(parts::Checker(self.life()?)))
    }

    fn executor(&self, id: ExecutorId) -> Result<Box<dyn ExecutorPart>, Failure> {
        Ok(Box::new(parts::Executor(self.channel(id)?)))
    }

    fn life(&self) -> u64 {
        // Counted before the new one can be reached.
        self.lives.load(Ordering::Acquire)
    }

    fn processor(&self, id: ExecutorId) -> Result<Box<dyn ProcessorPart>, Failure> {
        Ok(Box::new(parts::Processor(self.channel(id)?)))
    }

    fn signal(&self, kind: u32, value: u64) {
        // One that is not started yet is told in its start.
        if let Some(connection) = self.life().ok().filter(|life| life.is_started()) {
            // A worker that is gone, or does not read, is told by other means.
            let _ = connection.send(&wire::ToWorker::Signal(kind, value), Vec::new());
        }
    }

    fn kill(&self, why: &str) -> bool {
        if let Ok(connection) = self.life() {
            connection.kill(why);
        }
        true
    }

    fn worker(&self) -> Option<WorkerStatus> {
        let life = self.life().ok().filter(|connection| !connection.is_over());
        Some(WorkerStatus {
            pid: life.map(|connection| connection.pid()),
            lives: self.lives.load(Ordering::Relaxed),
            enforced: self.enforced.lock().clone(),
            crashes: self.crashes.read(),
        })
    }

    fn close(&self) {
        if let Ok(connection) = self.life() {
            connection.end();
        }
    }
}

impl Isolated {
    fn odd(&self) -> Problem {
        let headline = format!(
            "plugin `{}`: its worker answered something else than it was asked; this is a bug of hotshoe's",
            self.info.name
        );
        Problem::error(ExitCode::Bug, Blame::Host, "internal", headline)
    }
}

impl Drop for Isolated {
    fn drop(&mut self) {
        self.close();
    }
}

impl WireProblem {
    fn into_problem(self) -> Problem {
        let (exit, blame) = match self.code.as_str() {
            "sandbox-failed" => (ExitCode::Init, Blame::Environment),
            _ => (ExitCode::Refused, Blame::Plugin),
        };
        // A library's constructors may speak before the worker does.
        let bounded = |said: String| foreign::text(&said, foreign::MESSAGE_BYTES_MAX).into_owned();
        let mut problem = Problem::error(exit, blame, bounded(self.code), bounded(self.headline));
        problem.wanted = self.wanted.map(bounded);
        problem.found = self.found.map(bounded);
        problem.fix = self.fix.map(bounded);
        problem.detail = self.detail.map(bounded);
        problem
    }

    fn of(problem: Problem) -> Self {
        Self {
            code: problem.code,
            headline: problem.headline,
            wanted: problem.wanted,
            found: problem.found,
            fix: problem.fix,
            detail: problem.detail,
        }
    }
}
