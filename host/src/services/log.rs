//! Plugins' log events on their way into the host's `tracing`. Nothing is written here, so nothing can fail.

use super::foreign;
use hotshoe_abi::{LogRecord, log_level};
use tracing::level_filters::LevelFilter;

/// The most of an event's target, and of its fields.
const TARGET_BYTES_MAX: usize = 256;
const FIELDS_BYTES_MAX: usize = 16 << 10;

/// The most verbose level that anyone in this program listens to.
pub(crate) fn level() -> u32 {
    match LevelFilter::current() {
        LevelFilter::OFF => log_level::OFF,
        LevelFilter::ERROR => log_level::ERROR,
        LevelFilter::WARN => log_level::WARN,
        LevelFilter::INFO => log_level::INFO,
        LevelFilter::DEBUG => log_level::DEBUG,
        _ => log_level::TRACE,
    }
}

/// Emits one event, with the instance, component and executor it came from.
pub(crate) fn emit(plugin: &str, component: &str, executor: &str, record: &LogRecord<'_>) {
    let from = foreign::text(record.target.as_str(), TARGET_BYTES_MAX);
    let message = foreign::text(record.message.as_str(), foreign::LOG_BYTES_MAX);
    let fields = foreign::text(record.fields.as_str(), FIELDS_BYTES_MAX);
    let (from, fields) = (&*from, Some(&*fields).filter(|fields| !fields.is_empty()));
    // A level is part of a call site, so there is one for each.
    macro_rules! emit_at {
        ($level:ident) => {
            tracing::event!(
                target: "hotshoe::plugin",
                tracing::Level::$level,
                plugin,
                component,
                executor,
                from,
                fields,
                "{message}"
            )
        };
    }
    match record.level {
        log_level::OFF => {}
        log_level::ERROR => emit_at!(ERROR),
        log_level::WARN => emit_at!(WARN),
        log_level::INFO => emit_at!(INFO),
        log_level::DEBUG => emit_at!(DEBUG),
        _ => emit_at!(TRACE),
    }
}
