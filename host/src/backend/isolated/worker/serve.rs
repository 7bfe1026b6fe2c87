//! From a fresh process to an open library, and the threads that serve it. What comes first is what makes the process its own:
//! nothing inherited, no signal blocked, no way to outlive the host.

use super::{
    super::{
        frames::Inbox,
        sandbox,
        wire::{self, Call, Proposed, Returned, Start, ToHost, ToWorker, WireProblem},
    },
    executor::Executor,
    host::{Home, WorkerHost},
    link::Link,
    say,
};
use crate::{
    backend::{in_process::handed_out, refused},
    machine::InstanceId,
    services::{
        InstanceInfo,
        component::Kind,
        failure::closed,
        foreign::{self, taken},
        message::bounded_reply,
        watch::{Method, Watch, Watches},
    },
};
use hotshoe_abi::{
    CheckerBox, Created, DriverBox, Failure, InstanceBox, PluginModuleRef, Proposal, SignalsBox,
    signal_kind,
};
use hotshoe_loader::{CellRegion, EpochPage};
use parking_lot::Mutex;
use rustix::process::{Signal, set_parent_process_death_signal};
use std::{
    ffi::CString,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

/// What the worker's threads share.
pub(super) struct Worker {
    pub(super) home: Arc<Home>,
    pub(super) info: Arc<InstanceInfo>,
    pub(super) watches: Watches,
    module: Mutex<Option<PluginModuleRef>>,
    /// Factories are called one at a time, whichever thread asks.
    instance: Mutex<Option<InstanceBox>>,
    signals: Mutex<Option<SignalsBox>>,
}

type Orders = mpsc::Sender<(u64, Call)>;

/// Serves until the host closes the control socket.
pub(super) fn serve() -> Result<(), String> {
    let control = settle_in().map_err(|error| format!("cannot take over its process: {error}"))?;
    let mut inbox = Inbox::default();
    let Some(start) = first_message(&control, &mut inbox)? else {
        return Ok(());
    };
    let (worker, library) = prepare(control, &start, &mut inbox)?;
    let worker = Arc::new(worker);
    let _ = worker.home.link.send(&ToHost::Here);
    // While there is one thread, and none of the plugin's code is in the process.
    let walled = sandbox::apply(&start.sandbox, &start.limits)
        .map_err(|unwalled| no_sandbox(&start.instance, unwalled));
    let opened = walled.and_then(|enforced| {
        open(&worker, &start, library)?;
        Ok(enforced)
    });
    let failed = opened.is_err();
    let opened = ToHost::Opened(opened.map_err(Box::new));
    worker
        .home
        .link
        .send(&opened)
        .map_err(|_| "a refusal too long to be told".to_owned())?;
    if failed {
        // The host has heard why, and hangs up.
        return route_until_end(&worker, &mut inbox);
    }
    route(&worker, &mut inbox)
}

/// What `top`, `ps` and the kernel's log call the process: the name of its file would be `exe`. They show 15 bytes.
fn take_name() {
    let name = std::env::args_os().nth(2).unwrap_or_default();
    let mut bytes = name.into_encoded_bytes();
    bytes.truncate(15);
    // A name is a courtesy.
    let _ = CString::new(bytes).map(|name| rustix::thread::set_name(&name));
}

/// Makes the process the worker's own; answers the control socket.
fn settle_in() -> std::io::Result<OwnedFd> {
    take_name();
    hotshoe_loader::close_from(3)?;
    hotshoe_loader::leave_stops_to_the_host()?;
    hotshoe_loader::reset_signals()?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // Off descriptor 0: a plugin that reads its standard input finds nothing there, and not what the host says.
    let control = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let nothing = std::fs::OpenOptions::new().read(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    Ok(control)
}

fn first_message(control: &OwnedFd, inbox: &mut Inbox) -> Result<Option<Start>, String> {
    loop {
        if let Some(body) = inbox.next()? {
            return match wire::decode(body)? {
                ToWorker::Start(start) => Ok(Some(*start)),
                _ => Err("the host does not begin with the start".to_owned()),
            };
        }
        match inbox.read_with_descriptors(control.as_fd()) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) => return Err(format!("the control socket fails: {error}")),
        }
    }
}

/// Everything before the library: none of the plugin's code is in the process yet, and no thread but this one.
fn prepare(
    control: OwnedFd,
    start: &Start,
    inbox: &mut Inbox,
) -> Result<(Worker, Option<OwnedFd>), String> {
    let mut descriptor = |what: &str| {
        let next = inbox.descriptors.pop_front();
        next.ok_or_else(|| format!("the host sent no {what}"))
    };
    let cells = descriptor("metric cells")?;
    let page = descriptor("epoch page")?;
    let library = match &start.library.copy {
        None => Some(descriptor("library")?),
        Some(_) => None,
    };
    let map = |what: &str, error: std::io::Error| format!("cannot map the {what}: {error}");
    let region = CellRegion::open(cells).map_err(|error| map("metric cells", error))?;
    let word = EpochPage::open(page).map_err(|error| map("epoch page", error))?;
    let info = InstanceInfo {
        id: InstanceId(0),
        name: start.instance.clone(),
        deadlines: start.deadlines,
    };
    let home = Home {
        link: Link::new(control, start.log_level),
        instance: start.instance.clone(),
        run: start.run.clone(),
        region,
        word,
        extra: Mutex::default(),
    };
    let worker = Worker {
        home: Arc::new(home),
        info: Arc::new(info),
        watches: Watches::default(),
        module: Mutex::new(None),
        instance: Mutex::new(None),
        signals: Mutex::new(None),
    };
    Ok((worker, library))
}

fn open(worker: &Worker, start: &Start, library: Option<OwnedFd>) -> Result<(), WireProblem> {
    let data = &start.library;
    let copy = match (library, &data.copy) {
        (Some(memfd), _) => hotshoe_loader::Copy::Memory(memfd),
        (None, Some(file)) => hotshoe_loader::Copy::File(file.into()),
        (None, None) => unreachable!("prepare has asked for one of the two"),
    };
    let module = hotshoe_loader::load_copy(
        copy,
        Path::new(&data.path),
        &data.symbol,
        &data.abi,
        &start.instance,
    );
    let module = module.map_err(|refusal| WireProblem::of(refused(&refusal, None)))?;
    *worker.module.lock() = Some(module);
    Ok(())
}

fn no_sandbox(instance: &str, unwalled: sandbox::Unwalled) -> WireProblem {
    let sandbox::Unwalled { words, list } = unwalled;
    let fix = match list {
        Some(list) => format!("make it as it was when the host started, or correct `{list}`"),
        None => "see docs/sandbox.md; `sandbox = \"none\"` runs the plugin without".to_owned(),
    };
    WireProblem {
        code: "sandbox-failed".to_owned(),
        headline: format!("plugin `{instance}`: the sandbox cannot be put on: {words}"),
        wanted: Some("a process that is walled in as the configuration says".to_owned()),
        found: Some(words),
        fix: Some(fix),
        detail: None,
    }
}

fn route_until_end(worker: &Worker, inbox: &mut Inbox) -> Result<(), String> {
    while matches!(
        inbox.read_with_descriptors(worker.home.link.socket().as_fd()),
        Ok(true)
    ) {
        while inbox.next()?.is_some() {}
    }
    Ok(())
}

/// Hands what comes to whom it is for; waits for nobody but the host.
fn route(worker: &Arc<Worker>, inbox: &mut Inbox) -> Result<(), String> {
    let load = thread_for(worker, "load", load)?;
    let mut driver = Driver::default();
    let drivers = thread_for(worker, "driver", move |worker, call| {
        driver.call(worker, call)
    })?;
    let mut checker = None;
    let checkers = thread_for(worker, "checker", move |worker, call| {
        check(worker, &mut checker, call)
    })?;
    loop {
        while let Some(body) = inbox.next()? {
            match wire::decode(body)? {
                ToWorker::Start(_) => return Err("the host starts twice".to_owned()),
                ToWorker::Call(id, call) => {
                    let to = match call {
                        Call::SettingsSchema | Call::Create(_) => &load,
                        Call::InitChecker | Call::Check(_) => &checkers,
                        Call::InitDriver
                        | Call::RegisterMetrics
                        | Call::Receive(_)
                        | Call::ShutdownDriver => &drivers,
                    };
                    // A thread of ours ends with the process.
                    let _ = to.send((id, call));
                }
                ToWorker::Executor(id) => {
                    let socket = inbox.descriptors.pop_front();
                    let socket = socket.ok_or("an executor without its socket")?;
                    start_executor(worker, id, socket)?;
                }
                ToWorker::Served(id, outcome) => worker.home.link.served(id, outcome),
                ToWorker::Signal(kind, value) => worker.signal(kind, value),
            }
        }
        match inbox.read_with_descriptors(worker.home.link.socket().as_fd()) {
            Ok(true) => {}
            // The host is gone, or wants this process to be.
            Ok(false) | Err(_) => return Ok(()),
        }
    }
}

fn thread_for(
    worker: &Arc<Worker>,
    name: &str,
    mut call: impl FnMut(&Arc<Worker>, Call) -> Result<Returned, Failure> + Send + 'static,
) -> Result<Orders, String> {
    let (orders, received) = mpsc::channel::<(u64, Call)>();
    let worker = Arc::clone(worker);
    let serve = move || {
        for (id, order) in received {
            let outcome = call(&worker, order).map_err(Into::into);
            if worker
                .home
                .link
                .send(&ToHost::Returned(id, outcome))
                .is_err()
            {
                let kind = hotshoe_abi::failure_kind::TOO_LARGE;
                let failure = crate::services::failure::failure(kind, "the answer is too long");
                let _ = worker
                    .home
                    .link
                    .send(&ToHost::Returned(id, Err(failure.into())));
            }
        }
    };
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(serve)
        .map_err(|error| format!("the system refuses a thread ({name}): {error}"))?;
    Ok(orders)
}

fn start_executor(worker: &Arc<Worker>, id: u32, socket: OwnedFd) -> Result<(), String> {
    let executor = Executor::new(worker, id, socket);
    thread::Builder::new()
        .name(format!("executor {id}"))
        .spawn(move || {
            if let Err(words) = executor.run() {
                say(&words);
                super::leave(65);
            }
        })
        .map(drop)
        .map_err(|error| format!("the system refuses a thread for executor {id}: {error}"))
}

impl Worker {
    /// Asks the instance for one of its parts.
    pub(super) fn part<T>(
        &self,
        factory: impl FnOnce(&mut InstanceBox) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        match self.instance.lock().as_mut() {
            Some(instance) => factory(instance),
            None => Err(closed(&format!("plugin `{}`", self.home.instance))),
        }
    }

    fn signal(&self, kind: u32, value: u64) {
        if kind == signal_kind::LOG_LEVEL {
            let level = u32::try_from(value).unwrap_or(u32::MAX);
            self.home.link.level.store(level, Ordering::Relaxed);
        }
        if let Some(signals) = self.signals.lock().as_ref() {
            signals.signal(kind, value);
        }
    }

    fn host(&self, kind: Kind, watch: Option<&Arc<Watch>>, closed: &Arc<AtomicBool>) -> WorkerHost {
        WorkerHost {
            home: Arc::clone(&self.home),
            kind,
            watch: watch.cloned(),
            closed: Arc::clone(closed),
            sets: None,
        }
    }

    fn watch(&self, component: &'static str) -> Arc<Watch> {
        self.watches.add(&self.info, component, None)
    }
}

fn load(worker: &Arc<Worker>, call: Call) -> Result<Returned, Failure> {
    let Some(module) = *worker.module.lock() else {
        return Err(closed("the library"));
    };
    match call {
        Call::SettingsSchema => {
            let schema = taken(module.settings_schema()())?;
            Ok(Returned::Text(foreign::owned(&schema)))
        }
        Call::Create(settings) => {
            let host = worker.host(Kind::Instance, None, &Arc::default()).boxed();
            let created = taken(module.create()(settings.as_str().into(), host))?;
            let Created { instance, signals } = created;
            *worker.instance.lock() = Some(instance);
            *worker.signals.lock() = Some(signals);
            Ok(Returned::Nothing)
        }
        _ => Err(closed("the call")),
    }
}

#[derive(Default)]
struct Driver(Option<DriverInCall>);

struct DriverInCall {
    driver: DriverBox,
    watch: Arc<Watch>,
    closed: Arc<AtomicBool>,
}

impl Driver {
    fn call(&mut self, worker: &Arc<Worker>, call: Call) -> Result<Returned, Failure> {
        match call {
            Call::InitDriver => self.init(worker),
            Call::RegisterMetrics => self
                .during(Method::RegisterMetrics, |driver| {
                    taken(driver.register_metrics())
                })
                .map(|()| Returned::Nothing),
            Call::Receive(message) => self
                .during(Method::Receive, |driver| {
                    taken(driver.receive(message.as_slice().into()))
                })
                // Here as well as in the host: a frame has its bounds.
                .and_then(|reply| bounded_reply(&worker.home.instance, reply.into()))
                .map(Returned::Bytes),
            Call::ShutdownDriver => {
                let outcome = self.during(Method::Shutdown, |driver| taken(driver.shutdown()));
                if let Some(driver) = self.0.take() {
                    // Before its drop, as in the host: what it kept of its context is of no use there.
                    driver.closed.store(true, Ordering::Release);
                }
                outcome.map(|()| Returned::Nothing)
            }
            _ => Err(closed("the call")),
        }
    }

    fn init(&mut self, worker: &Arc<Worker>) -> Result<Returned, Failure> {
        self.0 = None;
        let watch = worker.watch("driver");
        let closed = Arc::new(AtomicBool::new(false));
        let host = worker.host(Kind::Driver, Some(&watch), &closed).boxed();
        let mut driver = worker.part(|instance| handed_out("driver", instance.driver()))?;
        let (extra, _) = watch.during(Method::Init, || taken(driver.init(host)));
        let extra: Vec<(String, String)> = extra?
            .into_iter()
            .map(|pair| (foreign::owned(&pair.0), foreign::owned(&pair.1)))
            .collect();
        worker.home.extra.lock().clone_from(&extra);
        self.0 = Some(DriverInCall {
            driver,
            watch,
            closed,
        });
        Ok(Returned::Pairs(extra))
    }

    fn during<T>(
        &mut self,
        method: Method,
        call: impl FnOnce(&mut DriverBox) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        match &mut self.0 {
            Some(DriverInCall { driver, watch, .. }) => watch.during(method, || call(driver)).0,
            None => Err(closed("the driver")),
        }
    }
}

fn check(
    worker: &Arc<Worker>,
    checker: &mut Option<(CheckerBox, Arc<Watch>)>,
    call: Call,
) -> Result<Returned, Failure> {
    match call {
        Call::InitChecker => {
            *checker = None;
            let watch = worker.watch("checker");
            let host = worker
                .host(Kind::Checker, Some(&watch), &Arc::default())
                .boxed();
            let mut made = worker.part(|instance| handed_out("checker", instance.checker()))?;
            let (outcome, _) = watch.during(Method::Init, || taken(made.init(host)));
            outcome?;
            *checker = Some((made, watch));
            Ok(Returned::Nothing)
        }
        Call::Check(proposed) => {
            let Some((checker, watch)) = checker else {
                return Err(closed("the checker"));
            };
            let Proposed {
                topic,
                candidate,
                current,
                dry_run,
            } = &proposed;
            let proposal = Proposal {
                topic: topic.as_str().into(),
                candidate: candidate.as_slice().into(),
                current: current.as_slice().into(),
                dry_run: *dry_run,
            };
            let (verdict, _) = watch.during(Method::Check, || taken(checker.check(proposal)));
            Ok(match verdict?.into_option() {
                Some(veto) => foreign::veto(veto).into(),
                None => Returned::Verdict(None),
            })
        }
        _ => Err(closed("the call")),
    }
}
