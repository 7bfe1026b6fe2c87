//! What a component reaches in the host. One object per component, so that `closed` and the executor id are its own.

use crate::{
    Applied, Change, ChangeError, Declaration, DiffRange, Failure, HistoryEntry, HistoryRange,
    LogRecord, MetricSpec, Nack, Opened, Pairs, Question, Snapshot, Telling, Wait,
};
use abi_stable::{
    StableAbi, sabi_trait,
    std_types::{RBox, RResult, RSlice, RStr, RString, RVec, Tuple2},
};
use core::sync::atomic::AtomicU64;

/// Who a component is and where it runs.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct Identity {
    /// The instance's name.
    pub instance: RString,
    /// `driver`, `checker`, `executor`, `processor`, or empty for the instance itself.
    pub component: RString,
    /// `driver`, or the executor's number.
    pub executor: RString,
    /// The same for every component of one run; never empty.
    pub run_id: RString,
    /// The machine's name, or what the config says.
    pub hostname: RString,
    /// A private folder that ends with the run.
    pub run_dir: RString,
    /// A private folder that stays.
    pub state_dir: RString,
    /// Resources of this side: name to addresses.
    pub resources: RVec<Tuple2<RString, RVec<RString>>>,
}

/// A host option that a driver's init may set.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct OptionSetting<'a> {
    /// Only `executors.count` as of ABI 1.0.
    pub key: RStr<'a>,
    /// As it would stand in the config file.
    pub value: RStr<'a>,
}

/// The host's services. Callable from every thread, at every time: after the component's shutdown each answers `closed`.
#[sabi_trait]
pub trait Host: Send + Sync {
    /// Who the component is.
    fn identity(&self) -> Identity;
    /// Hands one event to the host's log. Never fails.
    fn log(&self, record: LogRecord<'_>);
    /// The most verbose level that the host listens to, one of [`crate::log_level`].
    fn log_level(&self) -> u32;
    /// The newest epoch.
    fn epoch_word(&self) -> &'static AtomicU64;
    /// One topic of the config set with that epoch; epoch 0 is the newest set.
    fn snapshot(&self, topic: RStr<'_>, epoch: u64) -> RResult<Snapshot, Failure>;
    /// Opens the instance's own topic.
    fn declare(&self, declaration: Declaration<'_>) -> RResult<Opened, Failure>;
    /// Applies changes one after another; blocks until each is durable and visible. `caller` as in [`Question`].
    #[allow(clippy::type_complexity)]
    fn apply(
        &self,
        changes: RSlice<'_, Change<'_>>,
        caller: RStr<'_>,
    ) -> RResult<RVec<RResult<Applied, ChangeError>>, Failure>;
    /// Accepted changes, newest first.
    fn history(&self, range: HistoryRange<'_>) -> RResult<RVec<HistoryEntry>, Failure>;
    /// The RFC 6902 patch from one kept generation to another.
    fn diff(&self, range: DiffRange<'_>) -> RResult<RVec<u8>, ChangeError>;
    /// A topic's state, a JSON object that only grows: `generation`, `store`, `durable`, `read_only`, `history`, `confirm`,
    /// `readers`, `warnings`, `syncs`. An empty topic is the calling instance's.
    fn topic_status(&self, topic: RStr<'_>) -> RResult<RVec<u8>, Failure>;
    /// Says that a value does not decode here.
    fn nack(&self, nack: Nack<'_>);
    /// Blocks until a newer generation or the timeout (then 0), or answers `closed` at shutdown.
    fn wait(&self, wait: Wait<'_>) -> RResult<u64, Failure>;
    /// The cells of a metric; they live as long as the process.
    fn metric(&self, spec: MetricSpec<'_>) -> RResult<RSlice<'static, AtomicU64>, Failure>;
    /// Sends one way; returns when it is queued.
    fn tell(&self, telling: Telling<'_>) -> RResult<(), Failure>;
    /// From a driver to its own executor parts; answers how many.
    fn broadcast(&self, message: RSlice<'_, u8>) -> RResult<u32, Failure>;
    /// Sends and waits for the answer.
    fn ask(&self, question: Question<'_>) -> RResult<RVec<u8>, Failure>;
    /// Sets a host option; only in a driver's init.
    fn set_option(&self, setting: OptionSetting<'_>) -> RResult<(), Failure>;
    /// Names an address that the plugin serves; shown in status. An empty one takes all back.
    fn endpoint(&self, url: RStr<'_>) -> RResult<(), Failure>;
    /// Milliseconds left of the component's call in hand; `u64::MAX` where none is.
    fn deadline_ms(&self) -> u64;
    /// The extra conf of the instance, once its driver's init has returned.
    fn extra_conf(&self) -> Pairs;
    /// The minor of the ABI that the host was built with: what [`Capability`](crate::Capability) is compared with. Nobody
    /// writes another body.
    #[sabi(last_prefix_field)]
    fn abi_minor(&self) -> u32 {
        crate::ABI_MINOR
    }
}

/// An owned host object.
pub type HostBox = Host_TO<'static, RBox<()>>;
