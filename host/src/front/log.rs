//! The binary's subscriber: events to stderr, as text or JSON, filtered by `RUST_LOG`.

use super::{
    report::{LogFormat, printable},
    stderr,
};
use std::{fmt::Debug, io::IsTerminal as _};
use tracing::field::Field;
use tracing_subscriber::{
    EnvFilter,
    field::MakeExt as _,
    fmt,
    fmt::format::{Writer, debug_fn},
};

/// Installs the subscriber. Where one is installed already, that one stays.
pub(crate) fn install(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = fmt()
        .with_env_filter(filter)
        .with_writer(|| stderr::Line)
        // A log that nobody reads any more must not take the host with it.
        .log_internal_errors(false);
    let installed = match format {
        LogFormat::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .fmt_fields(debug_fn(field).delimited(" "))
            .try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    drop(installed);
}

/// One field of an event, for people: `message` alone, any other as `name=value`. An event is one line, whatever a plugin
/// has written into it.
fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> std::fmt::Result {
    let value = format!("{value:?}");
    let value = printable(&value);
    match field.name() {
        "message" => writer.write_str(&value),
        name => write!(writer, "{name}={value}"),
    }
}
