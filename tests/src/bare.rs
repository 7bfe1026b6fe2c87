//! Just enough host for a component that is called without one: one topic, no messages, no metrics, a log that is kept.

use hotshoe_abi::{
    Applied, Change, ChangeError, Declaration, DiffRange, Failure, HistoryEntry, HistoryRange,
    Host, Host_TO, HostBox, Identity, LogRecord, MetricSpec, Nack, Opened, OptionSetting, Pairs,
    Question, Snapshot, Telling, Wait,
    abi_stable::{
        sabi_trait::TD_Opaque,
        std_types::{RResult, RSlice, RStr, RVec, Tuple2},
    },
    failure_kind,
};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

/// The epoch that every bare host shows; advance it for a new generation.
pub static EPOCH: AtomicU64 = AtomicU64::new(1);

/// What was logged: `<component>: <message>`.
pub type Log = Arc<Mutex<Vec<String>>>;

struct Bare {
    component: &'static str,
    log: Log,
}

/// A host object for one component.
#[must_use]
pub fn host(component: &'static str, log: &Log) -> HostBox {
    Host_TO::from_value(
        Bare {
            component,
            log: Arc::clone(log),
        },
        TD_Opaque,
    )
}

fn nothing<T>() -> RResult<T, Failure> {
    RResult::RErr(Failure {
        kind: failure_kind::UNSUPPORTED,
        code: "".into(),
        message: "a bare host has no such service".into(),
        fix: "".into(),
    })
}

impl Host for Bare {
    fn identity(&self) -> Identity {
        Identity {
            instance: "bare".into(),
            component: self.component.into(),
            executor: "0".into(),
            run_id: "bare".into(),
            hostname: "bare".into(),
            run_dir: "".into(),
            state_dir: "".into(),
            resources: RVec::new(),
        }
    }
    fn log(&self, record: LogRecord<'_>) {
        if let Ok(mut log) = self.log.lock() {
            log.push(format!("{}: {}", self.component, record.message));
        }
    }
    fn log_level(&self) -> u32 {
        hotshoe_abi::log_level::INFO
    }
    fn epoch_word(&self) -> &'static AtomicU64 {
        &EPOCH
    }
    fn snapshot(&self, _: RStr<'_>, epoch: u64) -> RResult<Snapshot, Failure> {
        let epoch = if epoch == 0 {
            EPOCH.load(Ordering::Acquire)
        } else {
            epoch
        };
        RResult::ROk(Snapshot {
            epoch,
            generation: epoch,
            document: format!("{{\"value\":{}}}", epoch * 10).into_bytes().into(),
        })
    }
    fn declare(&self, _: Declaration<'_>) -> RResult<Opened, Failure> {
        nothing()
    }
    fn apply(
        &self,
        _: RSlice<'_, Change<'_>>,
        _: RStr<'_>,
    ) -> RResult<RVec<RResult<Applied, ChangeError>>, Failure> {
        nothing()
    }
    fn history(&self, _: HistoryRange<'_>) -> RResult<RVec<HistoryEntry>, Failure> {
        nothing()
    }
    fn diff(&self, _: DiffRange<'_>) -> RResult<RVec<u8>, ChangeError> {
        RResult::ROk(b"[]".to_vec().into())
    }
    fn topic_status(&self, _: RStr<'_>) -> RResult<RVec<u8>, Failure> {
        nothing()
    }
    fn nack(&self, nack: Nack<'_>) {
        if let Ok(mut log) = self.log.lock() {
            log.push(format!("{}: nack {}", self.component, nack.generation));
        }
    }
    fn wait(&self, _: Wait<'_>) -> RResult<u64, Failure> {
        nothing()
    }
    fn metric(&self, _: MetricSpec<'_>) -> RResult<RSlice<'static, AtomicU64>, Failure> {
        nothing()
    }
    fn tell(&self, _: Telling<'_>) -> RResult<(), Failure> {
        nothing()
    }
    fn broadcast(&self, _: RSlice<'_, u8>) -> RResult<u32, Failure> {
        nothing()
    }
    fn ask(&self, question: Question<'_>) -> RResult<RVec<u8>, Failure> {
        // Whose thread asks: what a host decides `reentrant` by.
        RResult::ROk(question.caller.as_str().as_bytes().to_vec().into())
    }
    fn set_option(&self, _: OptionSetting<'_>) -> RResult<(), Failure> {
        nothing()
    }
    fn endpoint(&self, _: RStr<'_>) -> RResult<(), Failure> {
        nothing()
    }
    fn deadline_ms(&self) -> u64 {
        u64::MAX
    }
    fn extra_conf(&self) -> Pairs {
        // Whose it is: a component asks its own host object, not its neighbour's.
        let pair = Tuple2("of".into(), self.component.into());
        [pair].into_iter().collect()
    }
}
