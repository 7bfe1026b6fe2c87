//! Live configuration. Operations cross, not results: the store in the host evaluates them under its own order.

use abi_stable::{
    StableAbi,
    std_types::{RSlice, RStr, RString, RVec},
};

/// One topic at one moment.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct Snapshot {
    /// The epoch of the config set it was taken from, not the one asked for.
    pub epoch: u64,
    /// The topic's generation.
    pub generation: u64,
    /// Canonical JSON, no newline.
    pub document: RVec<u8>,
}

/// Opens the calling instance's topic.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct Declaration<'a> {
    /// A JSON Schema 2020-12.
    pub schema: RSlice<'a, u8>,
    /// The first value, JSON.
    pub initial: RSlice<'a, u8>,
    /// The store's settings (config-api §13), a JSON object: `touch`, `state`, `state_dir` (an absolute path; the host's where
    /// absent), `history_generations`, `history_bytes`, `value_len_max`, `require_if_match`. Unknown members are refused.
    pub settings: RSlice<'a, u8>,
}

/// What [`Declaration`] found or made.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct Opened {
    /// The current generation.
    pub generation: u64,
    /// The store was there already: the value is what it was, not `initial`.
    pub recovered: bool,
    /// The value survives the host.
    pub durable: bool,
    /// The store's 8-hex id.
    pub store: RString,
}

/// One change to the calling instance's topic.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct Change<'a> {
    /// One of [`change_op`].
    pub op: u8,
    /// Validate only.
    pub dry_run: bool,
    /// [`change_op::ROLLBACK`]'s target or [`change_op::CONFIRM`]'s generation; `u64::MAX` for the default.
    pub generation: u64,
    /// Seconds until an automatic rollback; 0 for a change that stands.
    pub confirm_s: u32,
    /// Where it applies and who asks.
    pub text: ChangeText<'a>,
    /// The value, patch or document, JSON; empty where the operation has none.
    pub document: RSlice<'a, u8>,
    /// Generations of which one must be current; empty for no precondition, `u64::MAX` alone for any.
    pub expect: RSlice<'a, u64>,
}

/// The texts of a [`Change`].
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct ChangeText<'a> {
    /// RFC 6901; empty for the whole value.
    pub pointer: RStr<'a>,
    /// `tcp:<ip>`, `unix:uid=<n>`, or empty: then the host writes `plugin:<name>`.
    pub by: RStr<'a>,
}

/// The operations of [`Change`]. Append-only.
pub mod change_op {
    /// Sets the value at the pointer.
    pub const SET: u8 = 1;
    /// Removes what the pointer names.
    pub const REMOVE: u8 = 2;
    /// RFC 6902.
    pub const JSON_PATCH: u8 = 3;
    /// RFC 7396.
    pub const MERGE_PATCH: u8 = 4;
    /// Adds the declared step.
    pub const TOUCH: u8 = 5;
    /// Back to the declared initial value.
    pub const RESET: u8 = 6;
    /// A new generation with an old value.
    pub const ROLLBACK: u8 = 7;
    /// Makes a provisional change stand.
    pub const CONFIRM: u8 = 8;
}

/// The answer to an accepted [`Change`].
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct Applied {
    /// A no-op answers false, with the unchanged generation.
    pub changed: bool,
    /// It is on stable storage.
    pub durable: bool,
    /// The current generation.
    pub generation: u64,
    /// The generation before it.
    pub parent: u64,
    /// `put`, `touch`, … (config-api §3.1).
    pub op: RString,
    /// The value after it, canonical JSON.
    pub document: RVec<u8>,
    /// What a touch made of the number, JSON; else empty.
    pub touched: RString,
    /// A dry run's RFC 6902 patch; else empty.
    pub patch: RVec<u8>,
    /// `{"base":G,"deadline":"…"}` of a provisional change; else empty.
    pub confirm: RString,
}

/// The answer to a refused [`Change`]: nothing was changed.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct ChangeError {
    /// A slug of config-api §4.
    pub slug: RString,
    /// A sentence.
    pub detail: RString,
    /// What to do, or empty.
    pub hint: RString,
    /// There is a `pointer`.
    pub has_pointer: bool,
    /// RFC 6901, of the offending value.
    pub pointer: RString,
    /// The current generation; 0 where there is no store.
    pub generation: u64,
    /// 0-based index of the patch operation; -1 for none.
    pub operation: i64,
    /// `[{"detail":…,"pointer":…},…]` where there is more than one violation; else empty.
    pub violations: RVec<u8>,
    /// When to come back, in seconds; 0 where that is not known.
    pub retry_after_s: u32,
}

/// What [`HistoryEntry`]s are wanted, newest first.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct HistoryRange<'a> {
    /// A topic; empty for the calling instance's.
    pub topic: RStr<'a>,
    /// Only generations below this one; 0 for all.
    pub before: u64,
    /// At most so many.
    pub limit: u32,
}

/// One accepted change.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct HistoryEntry {
    /// Its generation.
    pub generation: u64,
    /// The members of config-api §3's history item, a JSON object.
    pub item: RVec<u8>,
    /// The value, canonical JSON.
    pub document: RVec<u8>,
}

/// What a blocking wait waits for.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct Wait<'a> {
    /// A topic; empty for the calling instance's.
    pub topic: RStr<'a>,
    /// A generation newer than this one.
    pub after: u64,
    /// In milliseconds.
    pub timeout_ms: u32,
}

/// Two kept generations of a topic.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct DiffRange<'a> {
    /// A topic; empty for the calling instance's.
    pub topic: RStr<'a>,
    /// The generation that the patch applies to.
    pub from: u64,
    /// The generation that it makes; 0 for the current one.
    pub to: u64,
}

/// A reader could not decode a value and keeps its last good one.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct Nack<'a> {
    /// The topic.
    pub topic: RStr<'a>,
    /// The generation that does not decode.
    pub generation: u64,
    /// Why.
    pub error: RStr<'a>,
}
