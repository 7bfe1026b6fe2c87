//! Log events on their way from a plugin to the host's log.

use abi_stable::{StableAbi, std_types::RStr};

/// One event.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct LogRecord<'a> {
    /// One of [`log_level`].
    pub level: u32,
    /// Usually a module path.
    pub target: RStr<'a>,
    /// The message alone.
    pub message: RStr<'a>,
    /// `key=value` pairs separated by spaces, or empty.
    pub fields: RStr<'a>,
}

/// Levels, most important first. Append-only.
pub mod log_level {
    /// Nothing is logged.
    pub const OFF: u32 = 0;
    /// See `tracing::Level::ERROR`.
    pub const ERROR: u32 = 1;
    /// See `tracing::Level::WARN`.
    pub const WARN: u32 = 2;
    /// See `tracing::Level::INFO`.
    pub const INFO: u32 = 3;
    /// See `tracing::Level::DEBUG`.
    pub const DEBUG: u32 = 4;
    /// See `tracing::Level::TRACE`.
    pub const TRACE: u32 = 5;
}
