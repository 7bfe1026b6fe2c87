//! `GET /metrics` (config-api §3.2): counts that are kept here, and what the store and the places say at that moment.
//!
//! Label values come from closed sets, never from what a client sent.

use crate::{
    answer::reply,
    contract::METRICS_TEXT,
    error::{Problem, Slug},
    history::answered,
    router::Ask,
    store::{Applied, Refused},
};
use axum::{
    http::{HeaderValue, StatusCode},
    response::Response,
};
use hotshoe_plugin_api::Operation;
use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet, text::encode},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use serde_json::Value;
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

type Label = (&'static str, &'static str);

/// Everything that is counted.
pub(crate) struct Metrics {
    registry: Registry,
    changes: Family<Vec<Label>, Counter>,
    errors: Family<Vec<Label>, Counter>,
    closed: Family<Vec<Label>, Counter>,
    generation: Gauge,
    watchers: Gauge,
    connections: Gauge,
    confirm_pending: Gauge,
    reader_min_generation: Gauge,
    readers_nacked: Gauge,
    journal_bytes: Gauge,
    syncs: Syncs,
}

/// Why a connection was ended by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// It made room for another one.
    Evicted,
    LateHead,
    /// It took no byte for too long.
    Stalled,
    TooMany,
    TooManyOfPeer,
    Stopping,
}

impl Closed {
    const fn word(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::LateHead => "head-timeout",
            Self::Stalled => "no-progress",
            Self::TooMany => "too-many-connections",
            Self::TooManyOfPeer => "too-many-of-peer",
            Self::Stopping => "stopping",
        }
    }
}

/// How long the journal's syncs took, as the store counts them: only that has the disk's time apart from everything else's.
#[derive(Debug, Clone, Default)]
struct Syncs(Arc<Mutex<Synced>>);

#[derive(Debug, Default)]
struct Synced {
    sum_s: f64,
    /// Upper bound in seconds, and how many took no longer than that and longer than the bound before; the last has none.
    buckets: Vec<(f64, u64)>,
}

impl Syncs {
    /// Takes over the member `syncs` of the store's status; from a host that tells of none nothing is taken over.
    fn look(&self, told: &Value) {
        let numbers = |name: &str| told[name].as_array().map(Vec::as_slice).unwrap_or_default();
        let bounds = numbers("bounds_s").iter().filter_map(Value::as_f64);
        let counts = numbers("counts").iter().filter_map(Value::as_u64);
        let synced = Synced {
            sum_s: told["sum_s"].as_f64().unwrap_or_default(),
            buckets: bounds.chain([f64::INFINITY]).zip(counts).collect(),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = synced;
    }
}

impl EncodeMetric for Syncs {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let synced = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = synced.buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(synced.sum_s, count, &synced.buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// 10 µs to about 10 s.
pub(crate) fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_01, 2.0, 21))
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

fn family(registry: &mut Registry, name: &str, help: &str) -> Family<Vec<Label>, Counter> {
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
}

impl Metrics {
    /// `apply` is observed by the writing thread.
    pub(crate) fn new(apply: Histogram) -> Self {
        let mut registry = Registry::with_prefix("hotshoe_config");
        let own = &mut registry;
        own.register(
            "apply_seconds",
            "Time of a group of changes in the store",
            apply,
        );
        let syncs = Syncs::default();
        own.register(
            "fsync_seconds",
            "Time of a sync of the journal",
            syncs.clone(),
        );
        Self {
            changes: family(own, "changes", "Changes by op and result"),
            errors: family(own, "errors", "Refused requests by type"),
            closed: family(own, "closed", "Connections that were ended, by reason"),
            generation: gauge(own, "generation", "The current generation"),
            watchers: gauge(own, "watchers", "Open watchers"),
            connections: gauge(own, "connections", "Open connections that do not watch"),
            confirm_pending: gauge(own, "confirm_pending", "A change waits for confirmation"),
            reader_min_generation: gauge(
                own,
                "reader_min_generation",
                "What the slowest reader has read",
            ),
            readers_nacked: gauge(
                own,
                "readers_nacked",
                "Readers that cannot decode what they read",
            ),
            journal_bytes: gauge(own, "journal_bytes", "Bytes of the journal"),
            syncs,
            registry,
        }
    }

    pub(crate) fn refused(&self, slug: Slug) {
        self.errors
            .get_or_create(&vec![("type", slug.word())])
            .inc();
    }

    pub(crate) fn closed(&self, reason: Closed) {
        self.closed
            .get_or_create(&vec![("reason", reason.word())])
            .inc();
    }

    /// What a change that was asked for came to; a confirmation is none.
    pub(crate) fn changed(
        &self,
        op: Option<&'static str>,
        dry_run: bool,
        outcome: &Result<Applied, Refused>,
    ) {
        let result = match outcome {
            _ if dry_run => "dry-run",
            Ok(applied) if applied.changed => "changed",
            Ok(_) => "unchanged",
            Err(_) => "refused",
        };
        if let Some(op) = op {
            self.count(op, result);
        }
    }

    fn count(&self, op: &'static str, result: &'static str) {
        self.changes
            .get_or_create(&vec![("op", op), ("result", result)])
            .inc();
    }

    /// Generations that were seen to come, by their ops.
    pub(crate) fn came(&self, ops: &[String]) {
        for _ in ops.iter().filter(|op| *op == "auto-rollback") {
            self.count("auto-rollback", "changed");
        }
    }

    fn look(&self, told: &Value) {
        let number = |value: &Value| value.as_i64().unwrap_or_default();
        self.generation.set(number(&told["generation"]));
        self.confirm_pending
            .set(i64::from(!told["confirm"].is_null()));
        let readers = &told["readers"];
        self.reader_min_generation
            .set(number(&readers["min_generation"]));
        let nacked = readers["nacked"].as_array().map_or(0, Vec::len);
        self.readers_nacked.set(nacked as i64);
        let journal = match told["durable"] == true {
            true => number(&told["history"]["bytes"]),
            false => 0,
        };
        self.journal_bytes.set(journal);
        self.syncs.look(&told["syncs"]);
    }

    fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        plain(&text)
    }
}

/// The op that an operation will be, as config-api §3.1 names them.
pub(crate) fn op(operation: &Operation) -> Option<&'static str> {
    match operation {
        Operation::Set { .. } => Some("put"),
        Operation::Remove { .. } => Some("delete"),
        Operation::JsonPatch { .. } => Some("json-patch"),
        Operation::MergePatch { .. } => Some("merge-patch"),
        Operation::Touch => Some("touch"),
        Operation::Reset => Some("reset"),
        Operation::Rollback { .. } => Some("rollback"),
        _ => None,
    }
}

/// The text format 0.0.4 of what was written as OpenMetrics: there, a counter's own lines name it without `_total`.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut counter = "";
    let lines: Vec<&str> = text.lines().collect();
    for (i, line) in lines.iter().enumerate() {
        let described = line
            .strip_prefix("# HELP ")
            .or(line.strip_prefix("# TYPE "));
        let Some(described) = described else {
            if *line != "# EOF" {
                plain.push_str(line);
                plain.push('\n');
            }
            continue;
        };
        let name = described.split(' ').next().unwrap_or_default();
        let typed = format!("# TYPE {name} counter");
        if line == &typed || lines.get(i + 1).is_some_and(|next| *next == typed) {
            counter = name;
        }
        let suffix = if name == counter { "_total" } else { "" };
        let (mark, rest) = line.split_at("# HELP ".len());
        plain.push_str(&format!("{mark}{name}{suffix}{}\n", &rest[name.len()..]));
    }
    plain
}

/// The route.
pub(crate) async fn metrics(ask: Ask) -> Result<Response, Problem> {
    ask.query()?;
    let app = &ask.app;
    let told = answered(app.queue.look(|store| store.status()).await)?;
    app.metrics.look(&told);
    app.metrics.watchers.set(app.slots.watchers() as i64);
    app.metrics.connections.set(app.slots.count() as i64);
    let content_type = HeaderValue::from_static(METRICS_TEXT);
    Ok(reply(StatusCode::OK, content_type, app.metrics.text()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stores_syncs_are_shown_as_they_are_told() {
        let metrics = Metrics::new(seconds());
        let told = serde_json::json!({"syncs": {"bounds_s": [0.001, 0.002], "counts": [1, 2, 3], "sum_s": 1.5}});
        // Looked at twice: they are told in all, not since the last look.
        metrics.look(&told);
        metrics.look(&told);
        let text = metrics.text();
        for line in [
            "# TYPE hotshoe_config_fsync_seconds histogram",
            "hotshoe_config_fsync_seconds_bucket{le=\"0.001\"} 1",
            "hotshoe_config_fsync_seconds_bucket{le=\"0.002\"} 3",
            "hotshoe_config_fsync_seconds_bucket{le=\"+Inf\"} 6",
            "hotshoe_config_fsync_seconds_count 6",
            "hotshoe_config_fsync_seconds_sum 1.5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        // In memory there is nothing to sync, and an older host does not say.
        metrics.look(&serde_json::json!({}));
        let text = metrics.text();
        assert!(
            text.contains("hotshoe_config_fsync_seconds_count 0\n"),
            "{text}"
        );
    }

    #[test]
    fn counters_are_called_what_their_samples_are() {
        let metrics = Metrics::new(seconds());
        metrics.count("put", "changed");
        metrics.refused(Slug::BadJson);
        metrics.closed(Closed::Evicted);
        let text = metrics.text();
        for line in [
            "# TYPE hotshoe_config_changes_total counter",
            "hotshoe_config_changes_total{op=\"put\",result=\"changed\"} 1",
            "hotshoe_config_errors_total{type=\"bad-json\"} 1",
            "hotshoe_config_closed_total{reason=\"evicted\"} 1",
            "# TYPE hotshoe_config_generation gauge",
            "hotshoe_config_apply_seconds_count 0",
            "hotshoe_config_journal_bytes 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert!(!text.contains("EOF"));
        for line in text.lines().filter(|line| line.starts_with("# TYPE")) {
            let mut words = line.split(' ').skip(2);
            let (name, kind) = (words.next().unwrap(), words.next().unwrap());
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
        }
    }
}
