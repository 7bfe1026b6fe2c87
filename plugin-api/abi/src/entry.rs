//! A plugin as a value, for mounting it without a library.

use crate::PluginModuleRef;

/// A plugin that is linked into the program. Made by `hotshoe_plugin_api::entry!`.
#[derive(Clone, Copy)]
pub struct Entry {
    /// The plugin's manifest, as it would stand in its library.
    pub manifest: &'static [u8],
    /// Its root module.
    pub module: fn() -> PluginModuleRef,
}
