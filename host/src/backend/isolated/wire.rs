//! What a host and a worker say to each other over the control socket, and how a frame is bounded. Data only: it knows neither
//! the instance nor the plugin. Both ends are one build ([`FINGERPRINT`]), so the types may change with every commit; what
//! is read is an allegation all the same, and bounded before it is believed.

use super::sandbox::{Enforced, LimitsSpec, SandboxSpec};
use crate::services::foreign;
use crate::services::{Deadlines, RunData, component::Kind};
use hotshoe_abi::{
    Applied, ChangeError, Failure, HistoryEntry, Opened, Snapshot, Veto,
    abi_stable::std_types::RResult,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What both ends must have in common: the version, and a digest of the source of everything that travels.
pub(crate) const FINGERPRINT: &str = env!("CARGO_PKG_VERSION");

/// FNV-1a over the sources of the types that travel: two builds of one version that disagree about them do not talk.
pub(crate) const WIRE: u64 = {
    let hash = fnv(0xcbf2_9ce4_8422_2325, include_bytes!("wire.rs"));
    let hash = fnv(hash, include_bytes!("sandbox/mod.rs"));
    let hash = fnv(hash, include_bytes!("../../services/mod.rs"));
    let hash = fnv(hash, include_bytes!("../../services/component.rs"));
    fnv(hash, include_bytes!("data.rs"))
};

const fn fnv(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut index = 0;
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        index += 1;
    }
    hash
}

/// The longest frame. A declaration with its schema, or 64 values of the largest kind, fit; more is somebody's game.
pub(crate) const FRAME_LEN_MAX: usize = 80 << 20;

/// Everything that a worker needs to know before it opens its library. Descriptors come with it: the cells, the epoch page,
/// and the library's copy where it is in memory.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) instance: String,
    pub(crate) run: RunData,
    pub(crate) deadlines: Deadlines,
    pub(crate) library: LibraryData,
    pub(crate) log_level: u32,
    pub(crate) sandbox: SandboxSpec,
    pub(crate) limits: LimitsSpec,
}

/// The copy to open, and what was verified of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LibraryData {
    /// The file that the operator named, for messages.
    pub(crate) path: String,
    /// Where the copy is; `None` for the descriptor that comes along.
    pub(crate) copy: Option<String>,
    pub(crate) symbol: String,
    pub(crate) abi: String,
}

/// From the host.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToWorker {
    Start(Box<Start>),
    /// Is answered by [`ToHost::Returned`].
    Call(u64, Call),
    /// A new executor, whose data socket comes along.
    Executor(u32),
    Served(u64, Result<Served, Refused>),
    Signal(u32, u64),
}

/// A call of the plugin's that the host orders over the control socket; the others go over an executor's data socket.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Call {
    SettingsSchema,
    Create(String),
    InitDriver,
    RegisterMetrics,
    Receive(#[serde(with = "serde_bytes")] Vec<u8>),
    ShutdownDriver,
    InitChecker,
    Check(Proposed),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Proposed {
    pub(crate) topic: String,
    #[serde(with = "serde_bytes")]
    pub(crate) candidate: Vec<u8>,
    #[serde(with = "serde_bytes")]
    pub(crate) current: Vec<u8>,
    pub(crate) dry_run: bool,
}

/// From the worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToHost {
    /// This process is a worker. First of all: what never says so is some other program.
    Here,
    /// The worker is walled in and the library is open, or why not.
    Opened(Result<Enforced, Box<WireProblem>>),
    Returned(u64, Result<Returned, WireFailure>),
    /// Is answered by [`ToWorker::Served`].
    Ask(u64, Kind, Service),
    /// Is not answered.
    Tell(Kind, Told),
}

/// What a call came to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Returned {
    Nothing,
    Text(String),
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    Pairs(Vec<(String, String)>),
    Verdict(Option<(String, String)>),
}

/// A service that the worker waits for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Service {
    Snapshot {
        topic: String,
        epoch: u64,
    },
    Declare {
        #[serde(with = "serde_bytes")]
        schema: Vec<u8>,
        #[serde(with = "serde_bytes")]
        initial: Vec<u8>,
        #[serde(with = "serde_bytes")]
        settings: Vec<u8>,
    },
    Apply {
        changes: Vec<WireChange>,
        caller: String,
    },
    History {
        topic: String,
        before: u64,
        limit: u32,
    },
    Diff {
        topic: String,
        from: u64,
        to: u64,
    },
    TopicStatus(String),
    Wait {
        topic: String,
        after: u64,
        timeout_ms: u32,
    },
    Metric {
        kind: u8,
        name: String,
        bounds: Vec<f64>,
    },
    Send {
        to: String,
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    Broadcast(#[serde(with = "serde_bytes")] Vec<u8>),
    Ask {
        to: String,
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
        deadline_ms: u64,
        caller: String,
    },
    SetOption {
        key: String,
        value: String,
    },
    Endpoint(String),
}

/// What nobody waits for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Told {
    Log {
        level: u32,
        target: String,
        message: String,
        fields: String,
    },
    Nack {
        topic: String,
        generation: u64,
        error: String,
    },
    /// A component has read a topic that came along with a batch.
    Read { topic: String, generation: u64 },
}

/// A service's answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Served {
    Nothing,
    Number(u64),
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    Snapshot(WireSnapshot),
    Opened {
        generation: u64,
        recovered: bool,
        durable: bool,
        store: String,
    },
    Applied(Vec<Result<WireApplied, WireChangeError>>),
    History(Vec<WireHistory>),
    /// The cells' place in the instance's region.
    Cells {
        first: u32,
        len: u32,
    },
}

/// A service's refusal.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Refused {
    Failure(WireFailure),
    Change(Box<WireChangeError>),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WireFailure {
    kind: u8,
    code: String,
    message: String,
    fix: String,
}

/// A [`crate::Problem`] of the worker's: it opens the library.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireProblem {
    pub(crate) code: String,
    pub(crate) headline: String,
    pub(crate) wanted: Option<String>,
    pub(crate) found: Option<String>,
    pub(crate) fix: Option<String>,
    pub(crate) detail: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireSnapshot {
    pub(crate) epoch: u64,
    pub(crate) generation: u64,
    #[serde(with = "serde_bytes")]
    pub(crate) document: Vec<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireHistory {
    generation: u64,
    #[serde(with = "serde_bytes")]
    item: Vec<u8>,
    #[serde(with = "serde_bytes")]
    document: Vec<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireChange {
    pub(crate) op: u8,
    pub(crate) dry_run: bool,
    pub(crate) generation: u64,
    pub(crate) confirm_s: u32,
    pub(crate) pointer: String,
    pub(crate) by: String,
    #[serde(with = "serde_bytes")]
    pub(crate) document: Vec<u8>,
    pub(crate) expect: Vec<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireApplied {
    changed: bool,
    durable: bool,
    generation: u64,
    parent: u64,
    op: String,
    #[serde(with = "serde_bytes")]
    document: Vec<u8>,
    touched: String,
    #[serde(with = "serde_bytes")]
    patch: Vec<u8>,
    confirm: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireChangeError {
    slug: String,
    detail: String,
    hint: String,
    pointer: Option<String>,
    generation: u64,
    operation: i64,
    #[serde(with = "serde_bytes")]
    violations: Vec<u8>,
    retry_after_s: u32,
}

/// A frame: its length in four bytes, little-endian, then the value.
pub(crate) fn encode(value: &impl Serialize) -> Result<Vec<u8>, TooLong> {
    let frame = postcard::to_extend(value, vec![0; 4]);
    // Only a type that postcard has no form for fails, and ours all have one.
    let mut frame = frame.map_err(|_| TooLong { len: 0 })?;
    let len = frame.len() - 4;
    if len > FRAME_LEN_MAX {
        return Err(TooLong { len });
    }
    let prefix = u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
    frame[..4].copy_from_slice(&prefix);
    Ok(frame)
}

/// A value as bytes, without a length of its own.
pub(crate) fn body(value: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).unwrap_or_default()
}

/// The value of a frame's body.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    postcard::from_bytes(body).map_err(|error| format!("a frame that cannot be read: {error}"))
}

/// A frame that would be over [`FRAME_LEN_MAX`].
#[derive(Debug)]
pub(crate) struct TooLong {
    pub(crate) len: usize,
}

impl WireFailure {
    /// As a plugin's word, whatever its worker says: bounded, and no claim of the host's own.
    pub(crate) fn of_plugin(self) -> Failure {
        match foreign::taken::<()>(RResult::RErr(self.into())) {
            Err(failure) => failure,
            Ok(()) => unreachable!("a failure stays one"),
        }
    }
}

/// A type of the ABI's and the one that travels for it, member for member, both ways.
macro_rules! mirror {
    ($($abi:ident = $wire:ident { $($member:ident),* };)*) => {$(
        impl From<$abi> for $wire {
            fn from(value: $abi) -> Self {
                Self { $($member: value.$member.into()),* }
            }
        }

        impl From<$wire> for $abi {
            fn from(value: $wire) -> Self {
                Self { $($member: value.$member.into()),* }
            }
        }
    )*};
}

mirror! {
    Failure = WireFailure { kind, code, message, fix };
    Snapshot = WireSnapshot { epoch, generation, document };
    HistoryEntry = WireHistory { generation, item, document };
    Applied = WireApplied { changed, durable, generation, parent, op, document, touched, patch, confirm };
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure.into())
    }
}

impl From<Opened> for Served {
    fn from(opened: Opened) -> Self {
        Self::Opened {
            generation: opened.generation,
            recovered: opened.recovered,
            durable: opened.durable,
            store: opened.store.into(),
        }
    }
}

impl From<ChangeError> for WireChangeError {
    fn from(error: ChangeError) -> Self {
        Self {
            slug: error.slug.into(),
            detail: error.detail.into(),
            hint: error.hint.into(),
            pointer: error.has_pointer.then(|| error.pointer.into()),
            generation: error.generation,
            operation: error.operation,
            violations: error.violations.into(),
            retry_after_s: error.retry_after_s,
        }
    }
}

impl From<WireChangeError> for ChangeError {
    fn from(error: WireChangeError) -> Self {
        Self {
            slug: error.slug.into(),
            detail: error.detail.into(),
            hint: error.hint.into(),
            has_pointer: error.pointer.is_some(),
            pointer: error.pointer.unwrap_or_default().into(),
            generation: error.generation,
            operation: error.operation,
            violations: error.violations.into(),
            retry_after_s: error.retry_after_s,
        }
    }
}

impl From<Veto> for Returned {
    fn from(veto: Veto) -> Self {
        Self::Verdict(Some((veto.pointer.into(), veto.reason.into())))
    }
}
