//! What all requests share: the plan, the store, the queue, the phase of the instance's life.
//!
//! Nothing here answers a request.

use crate::{
    error::{Problem, Slug},
    metrics::Metrics,
    rates::Rates,
    settings::{Plan, Profile},
    slots::Slots,
    store::Store,
    token::Tokens,
    watch::Hub,
    writer::Queue,
};
use axum::body::Bytes;
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};
use tokio::sync::{Notify, Semaphore};

/// Memory of all bodies in flight, in bytes (config-api §12).
const BODIES_BYTES_MAX: usize = 64 << 20;

/// See the module.
pub(crate) struct App {
    pub(crate) plan: Plan,
    pub(crate) facts: Facts,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) queue: Queue,
    pub(crate) tokens: Option<Tokens>,
    pub(crate) slots: Slots,
    pub(crate) rates: Rates,
    pub(crate) hub: Hub,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) phase: Phase,
    /// Bytes of bodies that may still be taken in.
    pub(crate) bodies: Arc<Semaphore>,
    /// As the store said last.
    read_only: AtomicBool,
    warnings: Mutex<BTreeSet<&'static str>>,
}

/// What does not change while the instance runs.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) instance: String,
    /// Of the addresses that were bound.
    pub(crate) urls: Vec<String>,
    /// The schema in force, canonical.
    pub(crate) schema: Bytes,
    /// UTC, RFC 3339 with microseconds.
    pub(crate) started_at: String,
}

impl App {
    pub(crate) fn new(
        plan: Plan,
        facts: Facts,
        store: Arc<dyn Store>,
        queue: Queue,
        tokens: Option<Tokens>,
    ) -> Self {
        let mut warnings = BTreeSet::new();
        let open = plan.profile == Profile::Standard && !plan.listen.is_empty() && tokens.is_none();
        if open {
            warnings.insert("loopback-open");
        }
        Self {
            slots: Slots::new(plan.limits.connections, plan.limits.watchers),
            rates: Rates::new(plan.limits.rate),
            hub: Hub::new(plan.history_generations()),
            metrics: Arc::new(Metrics::new(queue.apply_seconds())),
            plan,
            facts,
            store,
            queue,
            tokens,
            phase: Phase::default(),
            bodies: Arc::new(Semaphore::new(BODIES_BYTES_MAX)),
            read_only: AtomicBool::new(false),
            warnings: Mutex::new(warnings),
        }
    }

    /// The store takes no changes any more, by what was heard of it last.
    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed)
    }

    pub(crate) fn set_read_only(&self, read_only: bool) {
        self.read_only.store(read_only, Ordering::Relaxed);
    }

    /// Sends all watchers away, after everything that is current by now.
    pub(crate) fn say_bye(&self) {
        let newest = self.store.current().map_or(0, |current| current.generation);
        self.hub.say_bye(newest);
    }

    pub(crate) fn warn(&self, warning: &'static str) {
        self.lock_warnings().insert(warning);
    }

    /// Sorted.
    pub(crate) fn warnings(&self) -> Vec<&'static str> {
        self.lock_warnings().iter().copied().collect()
    }

    fn lock_warnings(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far the instance's life has come. It only ever goes on.
#[derive(Default)]
pub(crate) struct Phase {
    word: AtomicU8,
    stopping: Notify,
}

impl Phase {
    const READY: u8 = 1;
    const LEAVING: u8 = 2;
    const STOPPING: u8 = 3;

    /// Init is about to return.
    pub(crate) fn set_ready(&self) {
        self.word.fetch_max(Self::READY, Ordering::Release);
    }

    /// The host is going to stop: readiness says so, everything else goes on.
    pub(crate) fn set_leaving(&self) {
        self.word.fetch_max(Self::LEAVING, Ordering::Release);
    }

    /// No more changes.
    pub(crate) fn set_stopping(&self) {
        self.word.fetch_max(Self::STOPPING, Ordering::Release);
        self.stopping.notify_waiters();
    }

    /// Waits until no more changes are taken.
    pub(crate) async fn stopping(&self) {
        let woken = self.stopping.notified();
        if self.get() < Self::STOPPING {
            woken.await;
        }
    }

    fn get(&self) -> u8 {
        self.word.load(Ordering::Acquire)
    }

    /// Why the instance is not ready; empty where it is.
    pub(crate) fn reasons(&self) -> &'static [&'static str] {
        match self.get() {
            Self::READY => &[],
            0 => &["starting"],
            _ => &["stopping"],
        }
    }

    /// Step 9 of config-api §2: reads are served as long as there is a connection to serve them on.
    pub(crate) fn admits(&self, changes: bool) -> Result<(), Problem> {
        match self.get() {
            0 => Err(Problem::new(Slug::NotReady, "the instance is starting")),
            Self::STOPPING if changes => Err(stopping()),
            _ => Ok(()),
        }
    }
}

/// What a change meets that comes too late.
pub(crate) fn stopping() -> Problem {
    Problem::new(Slug::ShuttingDown, "the instance is stopping")
}
