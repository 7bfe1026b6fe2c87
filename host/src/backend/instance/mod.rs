//! The host's side of one instance: its driver's and checker's thread with their mailboxes, its parts on executors, the watch
//! over each call. Errors, panics, slow calls and message storms are dealt with here, wherever the code runs; it refuses to
//! know where that is ([`Code`]).

mod checker;
mod driver;
mod executor;
mod part_thread;
mod settings;

pub(crate) use self::settings::Settings;
use self::{
    checker::CheckerThread, driver::DriverThread, executor::Parts, settings::check_settings,
};
use super::{Backend, Done, ExecutorParts, code::Code};
use crate::{
    error::{ExitCode, Problem},
    machine::{ExecutorId, Parts as Declared, supervisor::Answer},
    services::{
        InstanceInfo, Services,
        component::{Component, ExtraConf, Kind},
        config::{Proposal, VerdictTo},
        failure::problem,
        message::{Counts, Mail},
        watch::Watch,
    },
    status::WorkerStatus,
};
use hotshoe_abi::{Failure, failure_kind, signal_kind};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

/// What all of an instance's threads share.
struct Shared {
    info: Arc<InstanceInfo>,
    services: Arc<Services>,
    declared: Declared,
    settings: Settings,
    code: Box<dyn Code>,
    extra: ExtraConf,
    counts: Mutex<Option<Arc<Counts>>>,
    hook_errors: Arc<AtomicU64>,
    retired: AtomicBool,
    initializing: Arc<AtomicBool>,
}

/// See the file.
pub(crate) struct Instance {
    shared: Arc<Shared>,
    driver: DriverThread,
    checker: CheckerThread,
}

impl Instance {
    pub(crate) fn new(
        info: Arc<InstanceInfo>,
        services: Arc<Services>,
        declared: Declared,
        code: Box<dyn Code>,
        settings: Settings,
        hook_errors: Arc<AtomicU64>,
    ) -> Self {
        let shared = Arc::new(Shared {
            info,
            services,
            declared,
            settings,
            code,
            extra: ExtraConf::default(),
            counts: Mutex::new(None),
            hook_errors,
            retired: AtomicBool::new(false),
            initializing: Arc::default(),
        });
        Self {
            driver: DriverThread::new(&shared),
            checker: CheckerThread::new(&shared),
            shared,
        }
    }

    /// Where the counts of its messages go.
    pub(crate) fn count_messages(&self, counts: Arc<Counts>) {
        *self.shared.counts.lock() = Some(counts);
    }

    /// Runs `work` on a thread that may be left behind.
    fn on_loading_thread(
        &self,
        done: Done<Answer>,
        work: impl FnOnce(&Shared) -> Result<Answer, Problem> + Send + 'static,
    ) {
        let shared = Arc::clone(&self.shared);
        spawn(&self.shared.info.name, "load", move || done(work(&shared)));
    }
}

/// Starts a thread of an instance. A machine that has no thread left has no host left either.
fn spawn(instance: &str, what: &str, work: impl FnOnce() + Send + 'static) {
    let name = format!("{what} {instance}");
    if let Err(error) = thread::Builder::new().name(name).spawn(work) {
        tracing::error!(plugin = instance, %error, "the operating system refuses a thread ({what})");
    }
}

impl Shared {
    fn component(
        &self,
        kind: Kind,
        closed: &Arc<AtomicBool>,
        watch: Option<&Arc<Watch>>,
    ) -> Component {
        Component {
            services: Arc::clone(&self.services),
            instance: Arc::clone(&self.info),
            kind,
            executor: kind.place(),
            closed: Arc::clone(closed),
            watch: watch.cloned(),
            initializing: Arc::clone(&self.initializing),
            extra: Arc::clone(&self.extra),
        }
    }

    fn problem(&self, method: &str, exit: ExitCode, failure: &Failure) -> Problem {
        problem(&self.info.name, method, exit, failure)
    }

    fn open(&self) -> Result<Answer, Problem> {
        let opened = self.code.open().and_then(|()| {
            let schema = self.code.settings_schema()?;
            check_settings(&self.info.name, &schema, &self.settings)?;
            self.code.serve()
        });
        if opened.is_err() {
            self.code.close();
        }
        opened.map(|()| Answer::Done)
    }

    fn create(&self) -> Result<Answer, Problem> {
        let closed = Arc::new(AtomicBool::new(false));
        let host = self.component(Kind::Instance, &closed, None);
        match self.code.create(&self.settings.value.to_string(), host) {
            Ok(()) => Ok(Answer::Done),
            Err(failure) if failure.kind == failure_kind::DECLINED => {
                Ok(Answer::Declined(failure.message.into_string()))
            }
            Err(failure) => Err(self.problem("new", ExitCode::Init, &failure)),
        }
    }

    fn counted(&self, counter: impl FnOnce(&Counts) -> &AtomicU64) {
        if let Some(counts) = self.counts.lock().as_ref() {
            Counts::add(counter(counts));
        }
    }
}

impl Backend for Instance {
    fn open(&self, done: Done<Answer>) {
        self.on_loading_thread(done, Shared::open);
    }

    fn create(&self, done: Done<Answer>) {
        self.on_loading_thread(done, Shared::create);
    }

    fn init_driver(&self, done: Done<Answer>) {
        self.driver.init(done);
    }

    fn init_checker(&self, done: Done<Answer>) {
        self.checker.init(done);
    }

    fn register_metrics(&self, done: Done<Answer>) {
        self.driver.register_metrics(done);
    }

    fn shutdown(&self, done: Done<Answer>) {
        let deadline_ms =
            u64::try_from(self.shared.info.deadlines.shutdown.as_millis()).unwrap_or(u64::MAX);
        self.shared.code.signal(signal_kind::SHUTDOWN, deadline_ms);
        self.shared
            .services
            .config
            .end_waits(&self.shared.info.name);
        self.checker.close();
        self.driver.shutdown(done);
    }

    fn extra_conf(&self) -> BTreeMap<String, String> {
        self.shared.extra.lock().iter().cloned().collect()
    }

    fn set_extra_conf(&self, extra: BTreeMap<String, String>) {
        *self.shared.extra.lock() = extra.into_iter().collect();
    }

    fn deliver(&self, mail: Mail) -> Result<(), Failure> {
        self.driver.deliver(mail)
    }

    fn check(&self, proposal: Proposal, verdict_to: VerdictTo) {
        self.checker.check(proposal, verdict_to);
    }

    fn parts(&self, executor: ExecutorId) -> Box<dyn ExecutorParts> {
        Box::new(Parts::new(&self.shared, executor))
    }

    fn signal(&self, kind: u32, value: u64) {
        self.shared.code.signal(kind, value);
    }

    fn close(&self) {
        self.shared.code.signal(signal_kind::SHUTDOWN, 0);
        self.checker.close();
        self.shared.code.close();
    }

    fn died(&self, how: &str) {
        self.driver.died(how);
        let config = &self.shared.services.config;
        config.forget_waits(&self.shared.info.name);
        config.forget_changes(&self.shared.info.name);
    }

    fn worker(&self) -> Option<WorkerStatus> {
        self.shared.code.worker()
    }

    fn kill(&self, why: &str) -> bool {
        self.shared.code.kill(why)
    }

    fn retire(&self) {
        self.shared.retired.store(true, Ordering::Release);
        self.driver.retire();
    }

    fn settings_schema(&self) -> Result<String, Problem> {
        self.shared.code.settings_schema()
    }
}
