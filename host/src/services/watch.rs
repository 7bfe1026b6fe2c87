//! Which call each component is inside, and since when: three words per thread that the watchdog reads. The call path
//! writes them and never waits.

use super::{InstanceInfo, clock};
use crate::machine::ExecutorId;
use parking_lot::Mutex;
use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

/// The methods a component can be inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Method {
    Init,
    RegisterMetrics,
    Receive,
    Shutdown,
    OnTaskStart,
    OnTaskSucceeded,
    OnTaskFailed,
    Process,
    Finish,
    Check,
}

impl Method {
    const ALL: [Self; 10] = [
        Self::Init,
        Self::RegisterMetrics,
        Self::Receive,
        Self::Shutdown,
        Self::OnTaskStart,
        Self::OnTaskSucceeded,
        Self::OnTaskFailed,
        Self::Process,
        Self::Finish,
        Self::Check,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::RegisterMetrics => "register_metrics",
            Self::Receive => "receive",
            Self::Shutdown => "shutdown",
            Self::OnTaskStart => "on_task_start",
            Self::OnTaskSucceeded => "on_task_succeeded",
            Self::OnTaskFailed => "on_task_failed",
            Self::Process => "process",
            Self::Finish => "finish",
            Self::Check => "check",
        }
    }

    /// Its deadline's key in the config.
    pub(crate) fn deadline_key(self) -> &'static str {
        match self {
            Self::Init | Self::RegisterMetrics => "init",
            Self::Receive => "receive",
            Self::Shutdown => "shutdown",
            Self::OnTaskStart | Self::OnTaskSucceeded | Self::OnTaskFailed => "hook",
            Self::Process | Self::Finish => "process",
            Self::Check => "check",
        }
    }

    pub(crate) fn deadline(self, instance: &InstanceInfo) -> Duration {
        let deadlines = &instance.deadlines;
        match self {
            Self::Init | Self::RegisterMetrics => deadlines.init,
            Self::Receive => deadlines.receive,
            Self::Shutdown => deadlines.shutdown,
            Self::OnTaskStart | Self::OnTaskSucceeded | Self::OnTaskFailed => deadlines.hook,
            Self::Process | Self::Finish => deadlines.process,
            Self::Check => deadlines.check,
        }
    }
}

/// The call that one component is inside.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) instance: Arc<InstanceInfo>,
    pub(crate) component: &'static str,
    pub(crate) executor: Option<ExecutorId>,
    /// Microseconds on the monotonic clock, plus one; 0 where no call is.
    since_us: AtomicU64,
    method: AtomicU8,
    overran: AtomicBool,
}

/// A call that has overrun.
#[derive(Debug)]
pub(crate) struct Overrun {
    pub(crate) watch: Arc<Watch>,
    pub(crate) method: Method,
    pub(crate) elapsed: Duration,
}

fn now_us() -> u64 {
    u64::try_from(clock::monotonic().as_micros()).unwrap_or(u64::MAX - 1)
}

impl Watch {
    /// Runs `call` as `method`. Answers what it returned, and whether it had been reported as overrun.
    pub(crate) fn during<T>(&self, method: Method, call: impl FnOnce() -> T) -> (T, bool) {
        self.method.store(method as u8, Ordering::Relaxed);
        self.since_us.store(now_us() + 1, Ordering::Release);
        let answer = call();
        self.since_us.store(0, Ordering::Release);
        (
            answer,
            self.overran.load(Ordering::Relaxed) && self.overran.swap(false, Ordering::AcqRel),
        )
    }

    fn in_call(&self) -> Option<(Method, Duration)> {
        let since = self.since_us.load(Ordering::Acquire).checked_sub(1)?;
        let method = *Method::ALL.get(usize::from(self.method.load(Ordering::Relaxed)))?;
        Some((
            method,
            Duration::from_micros(now_us().saturating_sub(since)),
        ))
    }

    /// What is left of the deadline of the call in hand.
    pub(crate) fn left(&self) -> Option<Duration> {
        let (method, elapsed) = self.in_call()?;
        Some(method.deadline(&self.instance).saturating_sub(elapsed))
    }

    /// The call in hand, if it has overrun and was not reported yet.
    fn overrun(self: &Arc<Self>) -> Option<Overrun> {
        let (method, elapsed) = self.in_call()?;
        // The supervisor keeps timers of its own for what it orders on a driver's or checker's thread.
        let ordered = matches!(
            method,
            Method::Init | Method::RegisterMetrics | Method::Shutdown
        );
        if ordered && self.executor.is_none() {
            return None;
        }
        let late = elapsed >= method.deadline(&self.instance);
        (late && !self.overran.swap(true, Ordering::AcqRel)).then(|| Overrun {
            watch: Arc::clone(self),
            method,
            elapsed,
        })
    }
}

/// Every watch of a host.
#[derive(Default)]
pub(crate) struct Watches(Mutex<Vec<Weak<Watch>>>);

impl Watches {
    pub(crate) fn add(
        &self,
        instance: &Arc<InstanceInfo>,
        component: &'static str,
        executor: Option<ExecutorId>,
    ) -> Arc<Watch> {
        let watch = Arc::new(Watch {
            instance: Arc::clone(instance),
            component,
            executor,
            since_us: AtomicU64::new(0),
            method: AtomicU8::new(0),
            overran: AtomicBool::new(false),
        });
        let mut watches = self.0.lock();
        watches.retain(|watch| watch.strong_count() > 0);
        watches.push(Arc::downgrade(&watch));
        watch
    }

    /// The calls that have overrun since the last time.
    pub(crate) fn overruns(&self) -> Vec<Overrun> {
        self.0
            .lock()
            .iter()
            .filter_map(Weak::upgrade)
            .filter_map(|watch| watch.overrun())
            .collect()
    }

    /// How often to look, so that the shortest deadline is noticed within a tenth of itself; `None` where nothing is
    /// watched.
    pub(crate) fn interval(&self) -> Option<Duration> {
        let watches = self.0.lock();
        let deadlines = watches.iter().filter_map(Weak::upgrade).map(|watch| {
            Method::ALL
                .iter()
                .map(|method| method.deadline(&watch.instance))
                .min()
                .unwrap_or(Duration::from_secs(1))
        });
        deadlines.min().map(|shortest| {
            (shortest / 10).clamp(Duration::from_millis(10), Duration::from_millis(100))
        })
    }
}
