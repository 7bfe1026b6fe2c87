//! A plugin's life: made from its settings, asked for its components, told to stop. It starts nothing by itself.

use crate::{
    CheckerPart, DriverPlugin, ExecutorPlugin, Processor, Result,
    checker::CheckerGlue,
    driver::DriverGlue,
    entry::Site,
    executor::{ExecutorGlue, ProcessorGlue},
    log,
};
use hotshoe_abi::{
    CheckerBox, Created, DriverBox, ExecutorBox, Failure, HostBox, Instance, Instance_TO,
    ProcessorBox, Signals, Signals_TO,
    abi_stable::{
        sabi_trait::TD_Opaque,
        std_types::{ROption, RResult},
    },
    signal_kind,
};
use serde::de::DeserializeOwned;
use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What an author implements: one value per `[[plugin]]` entry, made before any init of any plugin.
///
/// Everything is called by one host thread at a time, so `&mut self` needs no lock; the value is `Send`, nothing of it
/// needs to be `Sync`. Parts may share what they like (an `Arc`, a channel): they always live in one process.
///
/// | method | thread | called | deadline | retry |
/// |---|---|---|---|---|
/// | [`new`](Self::new) | a loading thread | once | `load`, 10 s | never |
/// | factories | the part's own | for declared parts, again after a panic in `process` or `check` | `load`, 10 s | never |
pub trait Plugin: Sized + Send + 'static {
    /// The plugin's settings, `[plugin.settings]` in the config. The host checks them against the schema, with file and
    /// line, before anything runs; say `#[serde(deny_unknown_fields)]` so that a mistyped key is refused.
    type Settings: DeserializeOwned + schemars::JsonSchema;

    /// Makes the instance. Open nothing yet: another plugin may still be refused, and then nothing may have happened.
    ///
    /// - Errors: [`Error::declined`](crate::Error::declined) skips the instance on this host; any other fails it.
    /// - Called: [loading thread & before every init]; deadline `load`; never again.
    fn new(settings: Self::Settings) -> Result<Self>;

    /// The coordinating part. Called on the driver's own thread, once per life; `None` fails a declared part.
    fn driver(&mut self) -> Option<Box<dyn DriverPlugin>> {
        None
    }

    /// The part that sees tasks, once per executor, on its thread.
    fn executor(&mut self) -> Option<Box<dyn ExecutorPlugin>> {
        None
    }

    /// The part that processes records, once per executor, on its thread, and again after a panic in `process`.
    fn processor(&mut self) -> Option<Box<dyn Processor>> {
        None
    }

    /// The part that may veto changes of topics, on a thread of its own, and again after a panic in `check`.
    fn checker(&mut self) -> Option<Box<dyn CheckerPart>> {
        None
    }
}

/// For plugins without settings: an empty table, and nothing else.
#[derive(Debug, Clone, Copy, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

/// Tells when the host wants an instance to stop. Clones are the same token; it never goes back.
///
/// It fires before the driver's `shutdown` is called, so that threads of the plugin's own can begin to end.
///
/// ```
/// let shutdown = hotshoe_plugin_api::Shutdown::default();
/// let (sender, receiver) = std::sync::mpsc::channel();
/// shutdown.on_request(move || sender.send(()).unwrap());
/// assert!(!shutdown.is_requested());
/// # shutdown.request();
/// receiver.recv().unwrap();
/// ```
#[derive(Clone, Default)]
pub struct Shutdown(Arc<ShutdownState>);

#[derive(Default)]
struct ShutdownState {
    inner: Mutex<ShutdownInner>,
    requested: Condvar,
}

#[derive(Default)]
struct ShutdownInner {
    requested: bool,
    callbacks: Vec<Box<dyn FnOnce() + Send>>,
}

impl Shutdown {
    /// Whether the host wants the instance to stop.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.lock().requested
    }

    /// Blocks until the host wants the instance to stop. Only on threads of the plugin's own.
    pub fn wait(&self) {
        let guard = self.lock();
        drop(self.0.requested.wait_while(guard, |inner| !inner.requested));
    }

    /// As [`wait`](Self::wait), but no longer than `timeout`; answers whether it fired.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut guard = self.lock();
        while !guard.requested {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            guard = self
                .0
                .requested
                .wait_timeout(guard, left)
                .map_or_else(|poisoned| poisoned.into_inner().0, |(guard, _)| guard);
        }
        true
    }

    /// Calls `callback` once when it fires, or now if it has. It must return at once: wake something.
    pub fn on_request(&self, callback: impl FnOnce() + Send + 'static) {
        let mut guard = self.lock();
        if guard.requested {
            drop(guard);
            callback();
        } else {
            guard.callbacks.push(Box::new(callback));
        }
    }

    /// Fires it. The host does; a test may.
    #[doc(hidden)]
    pub fn request(&self) {
        let callbacks = {
            let mut guard = self.lock();
            guard.requested = true;
            std::mem::take(&mut guard.callbacks)
        };
        self.0.requested.notify_all();
        for callback in callbacks {
            callback();
        }
    }

    fn lock(&self) -> MutexGuard<'_, ShutdownInner> {
        // A callback that panicked left nothing half-done in here.
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all parts of an instance share on the glue's side.
#[derive(Default)]
pub(crate) struct Home {
    pub(crate) shutdown: Shutdown,
}

impl Home {
    pub(crate) fn created<P: Plugin>(self: Arc<Self>, plugin: P, site: Site) -> Created {
        let signals = SignalsGlue {
            home: Arc::clone(&self),
        };
        let instance = InstanceGlue {
            plugin: Some(plugin),
            home: self,
            site,
        };
        Created {
            instance: Instance_TO::from_value(instance, TD_Opaque),
            signals: Signals_TO::from_value(signals, TD_Opaque),
        }
    }
}

struct SignalsGlue {
    home: Arc<Home>,
}

impl Signals for SignalsGlue {
    fn signal(&self, kind: u32, value: u64) {
        match kind {
            signal_kind::SHUTDOWN => self.home.shutdown.request(),
            signal_kind::LOG_LEVEL => log::set_level(value),
            // Readers look at the epoch word; newer kinds are not for this glue.
            _ => {}
        }
    }
}

struct InstanceGlue<P> {
    plugin: Option<P>,
    home: Arc<Home>,
    site: Site,
}

impl<P: Plugin> InstanceGlue<P> {
    /// Asks the author for a part, behind the barrier.
    fn part<T>(&mut self, make: impl FnOnce(&mut P) -> Option<T>) -> RResult<Option<T>, Failure> {
        let Self { plugin, site, .. } = self;
        site.call(|| Ok(plugin.as_mut().and_then(make)))
    }
}

impl<P: Plugin> Instance for InstanceGlue<P> {
    fn driver(&mut self) -> RResult<ROption<DriverBox>, Failure> {
        let home = Arc::clone(&self.home);
        self.part(P::driver)
            .map(|part| part.map(|part| DriverGlue::boxed(part, home)).into())
    }

    fn executor(&mut self) -> RResult<ROption<ExecutorBox>, Failure> {
        let home = Arc::clone(&self.home);
        self.part(P::executor)
            .map(|part| part.map(|part| ExecutorGlue::boxed(part, home)).into())
    }

    fn processor(&mut self) -> RResult<ROption<ProcessorBox>, Failure> {
        let home = Arc::clone(&self.home);
        self.part(P::processor)
            .map(|part| part.map(|part| ProcessorGlue::boxed(part, home)).into())
    }

    fn checker(&mut self) -> RResult<ROption<CheckerBox>, Failure> {
        let home = Arc::clone(&self.home);
        self.part(P::checker)
            .map(|part| part.map(|part| CheckerGlue::boxed(part, home)).into())
    }
}

impl<P> Drop for InstanceGlue<P> {
    fn drop(&mut self) {
        self.site.discard(self.plugin.take());
    }
}

/// A component on the glue's side: the author's part, and the site that its calls work for once `init` was called.
pub(crate) struct Part<T> {
    author: Option<T>,
    home: Arc<Home>,
    component: &'static str,
    site: Option<Arc<Site>>,
}

impl<T> Part<T> {
    pub(crate) fn new(component: &'static str, author: T, home: Arc<Home>) -> Self {
        Self {
            author: Some(author),
            home,
            component,
            site: None,
        }
    }

    /// Calls the author's `init` with a context of the component's own.
    pub(crate) fn init<R>(
        &mut self,
        host: HostBox,
        init: impl FnOnce(&mut T, crate::Context) -> Result<R>,
    ) -> RResult<R, Failure> {
        let site = self
            .site
            .insert(Arc::new(Site::new(self.component, host, &self.home)));
        match self.author.as_mut() {
            Some(author) => site.call(|| init(author, site.context.clone())),
            None => RResult::RErr(gone()),
        }
    }

    /// Calls the author's part. Before `init` there is nobody to call.
    #[inline]
    pub(crate) fn call<R>(
        &mut self,
        call: impl FnOnce(&mut T, &Site) -> Result<R>,
    ) -> RResult<R, Failure> {
        match (self.author.as_mut(), self.site.as_ref()) {
            (Some(author), Some(site)) => site.call(|| call(author, site)),
            _ => RResult::RErr(gone()),
        }
    }
}

#[cold]
fn gone() -> Failure {
    crate::Error::of_kind(
        crate::Kind::NotReady,
        "the component has not been initialised".to_owned(),
    )
    .into_failure(hotshoe_abi::failure_kind::NOT_READY)
}

impl<T> Drop for Part<T> {
    fn drop(&mut self) {
        let author = self.author.take();
        match self.site.as_ref() {
            Some(site) => site.discard(author),
            // Never initialised, so without a log of its own; still nothing may unwind from here.
            None => drop(crate::entry::barrier(|| {
                drop(author);
                Ok(())
            })),
        }
    }
}
