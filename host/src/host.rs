//! [`Host`]: a configuration, or plugins of the program's own, run as one.

mod builder;
mod call;
mod report;

pub use builder::{BuildError, Builder};
pub use call::CallError;

use crate::{
    Outcome, Stopping,
    backend::Backend,
    error::{Blame, ExitCode, Problem},
    half::{self, ExecutorSlot, Pin},
    machine::{
        ExecutorId, InstanceId,
        supervisor::{self, Event},
    },
    runtime::event_loop::{EventLoop, Progress, Snapshot},
    services::{Services, config::Answers, failure::failure},
    stream,
};
use hotshoe_abi::failure_kind;
use parking_lot::{Mutex, RwLock};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, atomic::AtomicU64, mpsc},
    thread,
    time::{Duration, Instant},
};
use tokio::sync::{oneshot, watch};

pub use crate::machine::supervisor::Side;

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
    isolation: &'static str,
    hook_errors: Arc<AtomicU64>,
}

impl Host {
    /// A host without plugins, to be filled in.
    pub fn builder() -> Builder {
        Builder::new()
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
                    None | Some(
                        State::Stopped
                            | State::Skipped
                            | State::Failed
                            | State::Quarantined
                            | State::Verified
                    )
                )
            });
        Stopping {
            instances: running.map(|(_, about)| about.name.clone()).collect(),
        }
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
