//! A plugin's code in the host's own process: parts are the library's own objects, and a call is a call. A segfault, `abort`
//! or `exit` in here is the host's, and cannot be kept from it.

use super::{
    code::{CheckerPart, Code, DriverPart, ExecutorPart, ProcessorPart},
    refused,
};
use crate::{
    error::{Blame, ExitCode, Problem},
    machine::ExecutorId,
    services::{
        component::Component,
        config::Proposal,
        failure::{closed, failure, problem},
        foreign::{self, taken},
    },
};
use hotshoe_abi::{
    BatchRef, CheckerBox, Created, DriverBox, Entry, ExecutorBox, Failure, InstanceBox, OutBatch,
    Pairs, PluginModuleRef, ProcessorBox, SignalsBox, Task, Veto,
    abi_stable::std_types::{ROption, RResult},
    failure_kind,
};
use hotshoe_loader::Verified;
use parking_lot::Mutex;
use std::{path::PathBuf, sync::mpsc, thread, time::Duration};

/// Where the code comes from.
pub(crate) enum Origin {
    /// A library that was verified and not opened.
    Library(Box<Verified>),
    /// Linked into the program.
    Entry(Entry),
    /// Its library was refused: opening it says so again.
    Refused(Problem),
}

/// See the file.
pub(crate) struct InProcess {
    name: String,
    origin: Mutex<Option<Origin>>,
    module: Mutex<Option<PluginModuleRef>>,
    /// The host serialises the factories: an author's `&mut self` needs no lock of its own.
    instance: Mutex<Option<InstanceBox>>,
    signals: Mutex<Option<SignalsBox>>,
    /// A private copy of the library and its neighbours; removed at the end.
    folder: Mutex<Option<PathBuf>>,
}

impl InProcess {
    pub(crate) fn new(name: &str, origin: Origin) -> Self {
        Self {
            name: name.to_owned(),
            origin: Mutex::new(Some(origin)),
            module: Mutex::new(None),
            instance: Mutex::new(None),
            signals: Mutex::new(None),
            folder: Mutex::new(None),
        }
    }

    fn module(&self) -> Result<PluginModuleRef, Problem> {
        let module = *self.module.lock();
        module.ok_or_else(|| self.bug("its code is asked for before it was opened"))
    }

    fn bug(&self, what: &str) -> Problem {
        let headline = format!("plugin `{}`: {what}; this is a bug of hotshoe's", self.name);
        Problem::error(ExitCode::Bug, Blame::Host, "internal", headline)
    }

    /// Asks for a part that the manifest declares.
    fn part<T>(
        &self,
        component: &str,
        factory: impl FnOnce(&mut InstanceBox) -> RResult<ROption<T>, Failure>,
    ) -> Result<T, Failure> {
        let mut guard = self.instance.lock();
        let Some(instance) = guard.as_mut() else {
            return Err(closed(&format!("plugin `{}`", self.name)));
        };
        handed_out(component, factory(instance))
    }
}

/// The part that a factory hands out; one that is declared and not handed out is a failure.
pub(crate) fn handed_out<T>(
    component: &str,
    made: RResult<ROption<T>, Failure>,
) -> Result<T, Failure> {
    taken(made)?.into_option().ok_or_else(|| {
        let text =
            format!("the manifest declares a {component} part, and the plugin hands none out");
        Failure {
            code: "part-missing".into(),
            ..failure(failure_kind::ERROR, text)
        }
    })
}

/// How long the drop of a plugin's own value may take. It belongs to no call with a deadline of its own, and whoever lets go
/// of the host last, an embedder's `main` say, waits for it.
const DROP_WAIT: Duration = Duration::from_secs(1);

/// Drops the value on a thread that can be left behind.
fn drop_instance(name: &str, instance: InstanceBox) {
    let (sender, dropped) = mpsc::channel();
    let thread = thread::Builder::new().name(format!("{name}-drop"));
    let spawned = thread.spawn(move || {
        drop(instance);
        // Nobody receives it where the time is up.
        let _ = sender.send(());
    });
    // Without a thread the closure, and the value in it, was dropped on this one.
    if spawned.is_ok() && dropped.recv_timeout(DROP_WAIT) == Err(mpsc::RecvTimeoutError::Timeout) {
        tracing::warn!(
            plugin = name,
            "plugin `{name}` did not return from its drop within {} ms; it is left behind",
            DROP_WAIT.as_millis()
        );
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        if let Some(instance) = self.instance.get_mut().take() {
            drop_instance(&self.name, instance);
        }
        if let Some(folder) = self.folder.get_mut().take() {
            // What is mapped stays mapped; a folder that cannot be removed is left in the run folder.
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

impl Code for InProcess {
    fn open(&self) -> Result<(), Problem> {
        let Some(origin) = self.origin.lock().take() else {
            return Err(self.bug("it is opened twice"));
        };
        let module = match origin {
            Origin::Entry(entry) => (entry.module)(),
            Origin::Refused(problem) => return Err(problem),
            Origin::Library(verified) => {
                let library = hotshoe_loader::load(*verified, &self.name)
                    .map_err(|refusal| refused(&refusal, None))?;
                *self.folder.lock() = library.folder;
                library.module
            }
        };
        *self.module.lock() = Some(module);
        Ok(())
    }

    fn settings_schema(&self) -> Result<String, Problem> {
        let schema = taken(self.module()?.settings_schema()());
        let failed = |failure| problem(&self.name, "settings schema", ExitCode::Init, &failure);
        Ok(schema.map_err(failed)?.into_string())
    }

    fn create(&self, settings: &str, host: Component) -> Result<(), Failure> {
        let module = *self.module.lock();
        let Some(module) = module else {
            return Err(closed(&format!("plugin `{}`", self.name)));
        };
        let Created { instance, signals } = taken(module.create()(settings.into(), host.boxed()))?;
        *self.instance.lock() = Some(instance);
        *self.signals.lock() = Some(signals);
        Ok(())
    }

    fn driver(&self) -> Result<Box<dyn DriverPart>, Failure> {
        let driver = self.part("driver", |instance| instance.driver())?;
        Ok(Box::new(driver))
    }

    fn checker(&self) -> Result<Box<dyn CheckerPart>, Failure> {
        let checker = self.part("checker", |instance| instance.checker())?;
        Ok(Box::new(checker))
    }

    fn executor(&self, _: ExecutorId) -> Result<Box<dyn ExecutorPart>, Failure> {
        let executor = self.part("executor", |instance| instance.executor())?;
        Ok(Box::new(executor))
    }

    fn processor(&self, _: ExecutorId) -> Result<Box<dyn ProcessorPart>, Failure> {
        let processor = self.part("processor", |instance| instance.processor())?;
        Ok(Box::new(processor))
    }

    fn signal(&self, kind: u32, value: u64) {
        if let Some(signals) = self.signals.lock().as_ref() {
            signals.signal(kind, value);
        }
    }
}

impl DriverPart for DriverBox {
    fn init(&mut self, host: Component) -> Result<Pairs, Failure> {
        taken(hotshoe_abi::Driver_TO::init(self, host.boxed()))
    }

    fn register_metrics(&mut self) -> Result<(), Failure> {
        taken(hotshoe_abi::Driver_TO::register_metrics(self))
    }

    fn receive(&mut self, message: &[u8]) -> Result<Vec<u8>, Failure> {
        let reply = taken(hotshoe_abi::Driver_TO::receive(self, message.into()))?;
        Ok(reply.into())
    }

    fn shutdown(&mut self) -> Result<(), Failure> {
        taken(hotshoe_abi::Driver_TO::shutdown(self))
    }
}

impl CheckerPart for CheckerBox {
    fn init(&mut self, host: Component) -> Result<(), Failure> {
        taken(hotshoe_abi::Checker_TO::init(self, host.boxed()))
    }

    fn check(&mut self, proposal: &Proposal) -> Result<Option<Veto>, Failure> {
        let asked = hotshoe_abi::Proposal {
            topic: (&*proposal.topic).into(),
            candidate: (&*proposal.candidate).into(),
            current: (&*proposal.current).into(),
            dry_run: proposal.dry_run,
        };
        let verdict = taken(hotshoe_abi::Checker_TO::check(self, asked))?;
        Ok(verdict.into_option().map(foreign::veto))
    }
}

impl ExecutorPart for ExecutorBox {
    fn init(&mut self, host: Component, extra: Pairs) -> Result<(), Failure> {
        taken(hotshoe_abi::Executor_TO::init(self, host.boxed(), extra))
    }

    fn on_task_start(&mut self, task: Task) -> Result<(), Failure> {
        taken(hotshoe_abi::Executor_TO::on_task_start(self, task))
    }

    fn on_task_succeeded(&mut self, task: Task) -> Result<(), Failure> {
        taken(hotshoe_abi::Executor_TO::on_task_succeeded(self, task))
    }

    fn on_task_failed(&mut self, task: Task, reason: &str) -> Result<(), Failure> {
        taken(hotshoe_abi::Executor_TO::on_task_failed(
            self,
            task,
            reason.into(),
        ))
    }

    fn receive(&mut self, message: &[u8]) -> Result<(), Failure> {
        taken(hotshoe_abi::Executor_TO::receive(self, message.into())).map(drop)
    }

    fn shutdown(&mut self) -> Result<(), Failure> {
        taken(hotshoe_abi::Executor_TO::shutdown(self))
    }
}

impl ProcessorPart for ProcessorBox {
    fn init(&mut self, host: Component) -> Result<(), Failure> {
        taken(hotshoe_abi::Processor_TO::init(self, host.boxed()))
    }

    fn process(&mut self, batch: BatchRef<'_>, out: &mut OutBatch) -> Result<(), Failure> {
        taken(hotshoe_abi::Processor_TO::process(self, batch, out))
    }

    fn finish(&mut self, out: &mut OutBatch) -> Result<(), Failure> {
        taken(hotshoe_abi::Processor_TO::finish(self, out))
    }
}
