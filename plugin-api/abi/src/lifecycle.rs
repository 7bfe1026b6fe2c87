//! The root module of a library, and what it makes.

use crate::{CheckerBox, DriverBox, ExecutorBox, Failure, HostBox, ProcessorBox};
use abi_stable::{
    StableAbi,
    library::RootModule,
    package_version_strings, sabi_trait,
    sabi_types::VersionStrings,
    std_types::{RBox, ROption, RResult, RStr, RString},
};

/// What a library exports. Grows at the end; what an older library lacks reads as `None`.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModuleRef)))]
#[sabi(missing_field(option))]
pub struct PluginModule {
    /// The JSON Schema of the plugin's settings. Pure.
    pub settings_schema: extern "C" fn() -> RResult<RString, Failure>,
    /// Makes an instance from its settings, a JSON object. `host` is the instance's own object: it lives as long as the
    /// instance and is where log events of threads without a component go.
    #[sabi(last_prefix_field)]
    pub create: extern "C" fn(settings: RStr<'_>, host: HostBox) -> RResult<Created, Failure>,
}

impl RootModule for PluginModuleRef {
    abi_stable::declare_root_module_statics! {PluginModuleRef}
    const BASE_NAME: &'static str = "hotshoe";
    const NAME: &'static str = "hotshoe";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

/// A new instance.
#[repr(C)]
#[derive(StableAbi)]
pub struct Created {
    /// Hands out the components.
    pub instance: InstanceBox,
    /// Reaches the glue beside a running call.
    pub signals: SignalsBox,
}

/// Hands out an instance's components. The host serialises the calls, asks only for parts that the manifest declares, and
/// may ask for one again.
#[sabi_trait]
pub trait Instance: Send {
    /// The driver part.
    fn driver(&mut self) -> RResult<ROption<DriverBox>, Failure>;
    /// An executor part, once per executor.
    fn executor(&mut self) -> RResult<ROption<ExecutorBox>, Failure>;
    /// A processor part, once per executor.
    fn processor(&mut self) -> RResult<ROption<ProcessorBox>, Failure>;
    /// The checker part.
    #[sabi(last_prefix_field)]
    fn checker(&mut self) -> RResult<ROption<CheckerBox>, Failure>;
}

/// An owned instance.
pub type InstanceBox = Instance_TO<'static, RBox<()>>;

/// From the host to the glue, beside a running call. Runs no author code and returns at once.
#[sabi_trait]
pub trait Signals: Send + Sync {
    /// `kind` is one of [`signal_kind`].
    #[sabi(last_prefix_field)]
    fn signal(&self, kind: u32, value: u64);
}

/// An owned signals object.
pub type SignalsBox = Signals_TO<'static, RBox<()>>;

/// The kinds of signals. Append-only; the glue ignores what it does not know.
pub mod signal_kind {
    /// The instance is to stop; the value is the milliseconds it has.
    pub const SHUTDOWN: u32 = 1;
    /// The host listens to another level, one of [`crate::log_level`].
    pub const LOG_LEVEL: u32 = 2;
    /// A new epoch.
    pub const EPOCH: u32 = 3;
}
