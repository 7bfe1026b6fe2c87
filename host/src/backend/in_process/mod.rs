//! The plugin's code in the host's own process, on threads of its own. Errors, panics, slow calls and message storms are
//! contained here; a segfault, `abort` or `exit` is not, and cannot be.

mod checker;
mod driver;
mod executor;
mod settings;

pub(crate) use self::settings::Settings;
use self::{
    checker::CheckerThread, driver::DriverThread, executor::Parts, settings::check_settings,
};
use super::{Backend, Done, ExecutorParts, refused};
use crate::{
    error::{Blame, ExitCode, Problem},
    machine::{ExecutorId, Parts as Declared, supervisor::Answer},
    services::{
        InstanceInfo, Services,
        component::{Component, ExtraConf, Kind},
        config::{Proposal, VerdictTo},
        failure::problem,
        message::{Counts, Mail},
        watch::Watch,
    },
};
use hotshoe_abi::{
    Created, Entry, Failure, InstanceBox, PluginModuleRef, SignalsBox,
    abi_stable::std_types::RResult, failure_kind, signal_kind,
};
use hotshoe_loader::Verified;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

/// Where the code comes from.
pub(crate) enum Origin {
    /// A library that was verified and not opened.
    Library(Box<Verified>),
    /// Linked into the program.
    Entry(Entry),
    /// Its library was refused: opening it says so again.
    Refused(Problem),
}

/// What all of an instance's threads share.
struct Shared {
    info: Arc<InstanceInfo>,
    services: Arc<Services>,
    declared: Declared,
    settings: Settings,
    origin: Mutex<Option<Origin>>,
    module: Mutex<Option<PluginModuleRef>>,
    /// The host serialises the factories: an author's `&mut self` needs no lock of its own.
    instance: Mutex<Option<InstanceBox>>,
    signals: Mutex<Option<SignalsBox>>,
    extra: ExtraConf,
    counts: Mutex<Option<Arc<Counts>>>,
    hook_errors: Arc<AtomicU64>,
    retired: AtomicBool,
    /// A private copy of the library and its neighbours; removed at the end.
    folder: Mutex<Option<PathBuf>>,
    initializing: Arc<AtomicBool>,
}

/// See the file.
pub(crate) struct InProcess {
    shared: Arc<Shared>,
    driver: DriverThread,
    checker: CheckerThread,
}

impl InProcess {
    pub(crate) fn new(
        info: Arc<InstanceInfo>,
        services: Arc<Services>,
        declared: Declared,
        origin: Origin,
        settings: Settings,
        hook_errors: Arc<AtomicU64>,
    ) -> Self {
        let shared = Arc::new(Shared {
            info,
            services,
            declared,
            settings,
            origin: Mutex::new(Some(origin)),
            module: Mutex::new(None),
            instance: Mutex::new(None),
            signals: Mutex::new(None),
            extra: ExtraConf::default(),
            counts: Mutex::new(None),
            hook_errors,
            retired: AtomicBool::new(false),
            folder: Mutex::new(None),
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
        executor: &str,
        closed: &Arc<AtomicBool>,
        watch: Option<&Arc<Watch>>,
    ) -> Component {
        Component {
            services: Arc::clone(&self.services),
            instance: Arc::clone(&self.info),
            kind,
            executor: executor.to_owned(),
            closed: Arc::clone(closed),
            watch: watch.cloned(),
            initializing: Arc::clone(&self.initializing),
            extra: Arc::clone(&self.extra),
        }
    }

    fn module(&self) -> Result<PluginModuleRef, Problem> {
        let module = *self.module.lock();
        module.ok_or_else(|| self.bug("its code is asked for before it was opened"))
    }

    fn bug(&self, what: &str) -> Problem {
        let headline = format!(
            "plugin `{}`: {what}; this is a bug of hotshoe's",
            self.info.name
        );
        Problem::error(ExitCode::Bug, Blame::Host, "internal", headline)
    }

    fn problem(&self, method: &str, exit: ExitCode, failure: &Failure) -> Problem {
        problem(&self.info.name, method, exit, failure)
    }

    /// Asks for a part that the manifest declares.
    fn part<T>(
        &self,
        component: &str,
        factory: impl FnOnce(
            &mut InstanceBox,
        )
            -> RResult<hotshoe_abi::abi_stable::std_types::ROption<T>, Failure>,
    ) -> Result<T, Failure> {
        let mut guard = self.instance.lock();
        let Some(instance) = guard.as_mut() else {
            return Err(crate::services::failure::closed(&format!(
                "plugin `{}`",
                self.info.name
            )));
        };
        let part = factory(instance).into_result()?.into_option();
        part.ok_or_else(|| {
            let text =
                format!("the manifest declares a {component} part, and the plugin hands none out");
            Failure {
                code: "part-missing".into(),
                ..crate::services::failure::failure(failure_kind::ERROR, text)
            }
        })
    }

    fn open(&self) -> Result<Answer, Problem> {
        let Some(origin) = self.origin.lock().take() else {
            return Err(self.bug("it is opened twice"));
        };
        let module = match origin {
            Origin::Entry(entry) => (entry.module)(),
            Origin::Refused(problem) => return Err(problem),
            Origin::Library(verified) => {
                let library = hotshoe_loader::load(*verified, &self.info.name)
                    .map_err(|refusal| refused(&refusal, None))?;
                *self.folder.lock() = library.folder;
                library.module
            }
        };
        *self.module.lock() = Some(module);
        self.check_settings()?;
        Ok(Answer::Done)
    }

    fn schema(&self) -> Result<String, Problem> {
        let schema = self.module()?.settings_schema()();
        let schema = schema
            .into_result()
            .map_err(|failure| self.problem("settings schema", ExitCode::Init, &failure))?;
        Ok(schema.into_string())
    }

    fn check_settings(&self) -> Result<(), Problem> {
        let schema = self.schema()?;
        check_settings(&self.info.name, &schema, &self.settings)
    }

    fn create(&self) -> Result<Answer, Problem> {
        let closed = Arc::new(AtomicBool::new(false));
        let host = self
            .component(Kind::Instance, "driver", &closed, None)
            .boxed();
        let settings = self.settings.value.to_string();
        let created = self.module()?.create()(settings.as_str().into(), host);
        match created {
            RResult::ROk(Created { instance, signals }) => {
                *self.instance.lock() = Some(instance);
                *self.signals.lock() = Some(signals);
                Ok(Answer::Done)
            }
            RResult::RErr(failure) if failure.kind == failure_kind::DECLINED => {
                Ok(Answer::Declined(failure.message.into_string()))
            }
            RResult::RErr(failure) => Err(self.problem("new", ExitCode::Init, &failure)),
        }
    }

    fn signal(&self, kind: u32, value: u64) {
        if let Some(signals) = self.signals.lock().as_ref() {
            signals.signal(kind, value);
        }
    }

    fn counted(&self, counter: impl FnOnce(&Counts) -> &AtomicU64) {
        if let Some(counts) = self.counts.lock().as_ref() {
            Counts::add(counter(counts));
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(folder) = self.folder.get_mut().take() {
            // What is mapped stays mapped; a folder that cannot be removed is left in the run folder.
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

impl Backend for InProcess {
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
        self.shared.signal(signal_kind::SHUTDOWN, deadline_ms);
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
        self.shared.signal(kind, value);
    }

    fn close(&self) {
        self.shared.signal(signal_kind::SHUTDOWN, 0);
        self.checker.close();
    }

    fn retire(&self) {
        self.shared.retired.store(true, Ordering::Release);
        self.driver.retire();
    }

    fn settings_schema(&self) -> Result<String, Problem> {
        self.shared.schema()
    }
}
