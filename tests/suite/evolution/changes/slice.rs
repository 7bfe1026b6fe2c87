//! A small ABI with one of everything that hotshoe-abi is made of. `changes.rs` writes it out once as it is and once per
//! change; nothing ever calls it.

use abi_stable::{
    StableAbi, sabi_trait,
    std_types::{RBox, ROption, RResult, RSlice, RStr, RString, RVec, Tuple2},
};
use core::sync::atomic::{AtomicU32, AtomicU64};

#[repr(u8)]
#[derive(StableAbi, Clone, Copy)]
pub enum Level {
    Error = 1,
    Warn = 2,
    Info = 3,
}

#[repr(C)]
#[derive(StableAbi)]
pub enum Answer {
    Done(u32),
    Later { at: u64, why: RString },
    Never,
}

#[repr(C)]
#[derive(StableAbi)]
pub struct Task {
    pub id: u64,
    pub attempt: u32,
    pub records: u32,
    pub epoch: u64,
}

#[repr(C)]
#[derive(StableAbi)]
pub struct Batch<'a> {
    pub epoch: u64,
    pub offsets: RSlice<'a, u32>,
    pub bytes: RSlice<'a, u8>,
}

#[repr(C)]
#[derive(StableAbi)]
pub struct Out {
    pub offsets: RVec<u32>,
    pub bytes: RVec<u8>,
}

#[repr(C)]
#[derive(StableAbi)]
pub struct Failure {
    pub kind: u8,
    pub message: RString,
}

#[sabi_trait]
pub trait Host: Send + Sync {
    fn log(&self, level: Level, message: RStr<'_>);
    fn epoch_word(&self) -> &'static AtomicU64;
    fn count(&self) -> u32;
    #[sabi(last_prefix_field)]
    fn ask(&self, to: RStr<'_>, deadline_ms: u64, caller: RStr<'_>) -> RResult<RVec<u8>, Failure>;
}

pub type HostBox = Host_TO<'static, RBox<()>>;

#[sabi_trait]
pub trait Part: Send {
    fn init(&mut self, host: HostBox, extra: RVec<Tuple2<RString, RString>>) -> RResult<(), Failure>;
    fn process(&mut self, batch: Batch<'_>, out: &mut Out) -> RResult<(), Failure>;
    fn on_task(&mut self, task: Task) -> RResult<Answer, Failure>;
    #[sabi(last_prefix_field)]
    fn shutdown(&mut self) -> RResult<(), Failure>;
}

pub type PartBox = Part_TO<'static, RBox<()>>;

#[repr(C)]
#[derive(StableAbi)]
pub struct Created {
    pub part: PartBox,
    pub name: RString,
}

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = RootRef)))]
#[sabi(missing_field(option))]
pub struct Root {
    pub schema: extern "C" fn() -> RResult<RString, Failure>,
    pub limit: u64,
    #[sabi(last_prefix_field)]
    pub create: extern "C" fn(settings: RStr<'_>, host: HostBox) -> RResult<Created, Failure>,
}
