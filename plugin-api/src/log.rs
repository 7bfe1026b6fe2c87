//! Forwards `tracing` and `log` events of this library's copy to the host, under the instance's name.
//!
//! Both crates are silent in a shared library, whose globals are its own; so the glue installs these, once per loaded copy.
//! Where a plugin is linked into a program, nothing is installed: the program's own subscriber is there already.

use crate::{Context, entry::with_current};
use hotshoe_abi::{LogRecord, log_level};
use std::{
    fmt::{self, Write as _},
    sync::{
        OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
    subscriber::Interest,
};

/// The most verbose level that the host listens to.
static LEVEL: AtomicU32 = AtomicU32::new(log_level::OFF);

/// The instance that this copy belongs to: for events of threads that work for no component.
static INSTANCE: OnceLock<Context> = OnceLock::new();

/// Installs the forwarders for the instance behind `context`.
pub(crate) fn install(context: &Context) {
    // Each copy makes one instance; a second one would find its events under the first one's name.
    if INSTANCE.set(context.clone()).is_err() {
        return;
    }
    LEVEL.store(context.host().log_level(), Ordering::Relaxed);
    // An author's library that installed its own earlier keeps it: then events go where it sends them.
    let _ = tracing::subscriber::set_global_default(Forward);
    let _ = log::set_logger(&Forward);
    log::set_max_level(log_filter());
}

/// The host listens to another level.
pub(crate) fn set_level(level: u64) {
    let level = u32::try_from(level).unwrap_or(log_level::TRACE);
    LEVEL.store(level, Ordering::Relaxed);
    if INSTANCE.get().is_some() {
        log::set_max_level(log_filter());
        tracing::callsite::rebuild_interest_cache();
    }
}

/// A panic on a thread that no call of the host's waits for.
pub(crate) fn forward_bare_panic(text: &str) {
    send(log_level::ERROR, "panic", text, "");
}

fn send(level: u32, target: &str, message: &str, fields: &str) {
    let record = LogRecord {
        level,
        target: target.into(),
        message: message.into(),
        fields: fields.into(),
    };
    with_current(|site| {
        if let Some(context) = site.map(|site| &site.context).or_else(|| INSTANCE.get()) {
            context.log(record);
        }
    });
}

fn number(level: Level) -> u32 {
    match level {
        Level::ERROR => log_level::ERROR,
        Level::WARN => log_level::WARN,
        Level::INFO => log_level::INFO,
        Level::DEBUG => log_level::DEBUG,
        Level::TRACE => log_level::TRACE,
    }
}

fn tracing_filter() -> LevelFilter {
    match LEVEL.load(Ordering::Relaxed) {
        log_level::OFF => LevelFilter::OFF,
        log_level::ERROR => LevelFilter::ERROR,
        log_level::WARN => LevelFilter::WARN,
        log_level::INFO => LevelFilter::INFO,
        log_level::DEBUG => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

fn log_filter() -> log::LevelFilter {
    match LEVEL.load(Ordering::Relaxed) {
        log_level::OFF => log::LevelFilter::Off,
        log_level::ERROR => log::LevelFilter::Error,
        log_level::WARN => log::LevelFilter::Warn,
        log_level::INFO => log::LevelFilter::Info,
        log_level::DEBUG => log::LevelFilter::Debug,
        _ => log::LevelFilter::Trace,
    }
}

struct Forward;

impl Subscriber for Forward {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Decided once per call site and level: an event that nobody hears costs nothing.
        if Subscriber::enabled(self, metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= tracing_filter()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(tracing_filter())
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        // Spans are never enabled, so none is ever made; an id is owed all the same.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        span::Id::from_u64(NEXT.fetch_add(1, Ordering::Relaxed).max(1))
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let metadata = event.metadata();
        send(
            number(*metadata.level()),
            metadata.target(),
            &text.message,
            &text.fields,
        );
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

impl log::Log for Forward {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log_filter()
    }

    fn log(&self, record: &log::Record<'_>) {
        if log::Log::enabled(self, record.metadata()) {
            let level = match record.level() {
                log::Level::Error => log_level::ERROR,
                log::Level::Warn => log_level::WARN,
                log::Level::Info => log_level::INFO,
                log::Level::Debug => log_level::DEBUG,
                log::Level::Trace => log_level::TRACE,
            };
            send(level, record.target(), &record.args().to_string(), "");
        }
    }

    fn flush(&self) {}
}

/// An event as text: the message, and `key=value` pairs.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn field(&mut self, name: &str, value: fmt::Arguments<'_>) {
        if name == "message" {
            // Writing to a String cannot fail; a Debug impl that says so is the author's own loss.
            let _ = self.message.write_fmt(value);
            return;
        }
        if !self.fields.is_empty() {
            self.fields.push(' ');
        }
        let _ = write!(self.fields, "{name}={value}");
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.field(field.name(), format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.field("message", format_args!("{value}"));
        } else {
            self.field(field.name(), format_args!("{value:?}"));
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.field(field.name(), format_args!("{:?}", value.to_string()));
    }
}
