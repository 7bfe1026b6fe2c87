//! The binary's subscriber: events to stderr, as text or JSON, filtered by `RUST_LOG`.

use super::report::LogFormat;
use std::io::IsTerminal as _;
use tracing_subscriber::{EnvFilter, fmt};

/// Installs the subscriber. Where one is installed already, that one stays.
pub(crate) fn install(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // A log that nobody reads any more must not take the host with it.
        .log_internal_errors(false);
    let installed = match format {
        LogFormat::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    drop(installed);
}
