//! The coordinating component: one per instance.

use crate::{Failure, HostBox};
use abi_stable::{
    sabi_trait,
    std_types::{RBox, RResult, RSlice, RString, RVec, Tuple2},
};

/// A private map from an instance's driver to its executor parts.
pub type Pairs = RVec<Tuple2<RString, RString>>;

/// A driver part, called on a thread of its own.
#[sabi_trait]
pub trait Driver: Send {
    /// Called once per life, before any executor starts; answers the extra conf.
    fn init(&mut self, host: HostBox) -> RResult<Pairs, Failure>;
    /// Called after every driver's init.
    fn register_metrics(&mut self) -> RResult<(), Failure>;
    /// Handles one message.
    fn receive(&mut self, message: RSlice<'_, u8>) -> RResult<RVec<u8>, Failure>;
    /// Called once, after every executor has stopped.
    #[sabi(last_prefix_field)]
    fn shutdown(&mut self) -> RResult<(), Failure>;
}

/// An owned driver.
pub type DriverBox = Driver_TO<'static, RBox<()>>;
