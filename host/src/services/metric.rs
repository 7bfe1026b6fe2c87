//! Metrics: cells that the host owns and plugins add to. What is read here is data, never an index.

use super::failure::failure;
use hotshoe_abi::{Failure, failure_kind, metric_kind};
use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry as PrometheusRegistry,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Metrics of one component. A plugin that makes names from data would grow the host without end.
const METRICS_PER_COMPONENT_MAX: usize = 1024;
const NAME_LEN_BYTES_MAX: usize = 128;
const BOUNDS_MAX: usize = 64;

/// Whose metric it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner {
    pub(crate) instance: String,
    /// `driver`, `checker` or `executor`; a processor's are its executor's.
    pub(crate) component: &'static str,
    /// `driver`, or the executor's number.
    pub(crate) executor: String,
}

#[derive(Debug, Clone)]
struct Metric {
    kind: u8,
    bounds: Vec<f64>,
    /// Leaked: a plugin keeps using its handle whatever becomes of the host, and a library is never unloaded. Bounded by
    /// [`METRICS_PER_COMPONENT_MAX`].
    cells: &'static [AtomicU64],
}

/// Every metric of a host.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry(Arc<Mutex<BTreeMap<Owner, BTreeMap<String, Metric>>>>);

/// A metric's value at one moment.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(untagged)]
pub enum MetricValue {
    /// Only grows.
    Counter {
        /// How often.
        count: u64,
    },
    /// Goes up and down.
    Gauge {
        /// What it is.
        value: f64,
    },
    /// Observations by size.
    Histogram {
        /// How many.
        count: u64,
        /// Their sum.
        sum: f64,
        /// Upper bound and count of each bucket, not cumulated; the last bound is `null`.
        buckets: Vec<(Option<f64>, u64)>,
    },
}

/// Whose, which, and what it is now.
pub(crate) type Reading = (Owner, String, MetricValue);

impl Registry {
    /// The cells of a metric: new ones, or those that the same name has already.
    pub(crate) fn cells(
        &self,
        owner: &Owner,
        kind: u8,
        name: &str,
        bounds: &[f64],
    ) -> Result<&'static [AtomicU64], Failure> {
        check(kind, name, bounds).map_err(|text| failure(failure_kind::ERROR, text))?;
        let mut owners = self.0.lock();
        let metrics = owners.entry(owner.clone()).or_default();
        if let Some(metric) = metrics.get(name) {
            if metric.kind == kind && metric.bounds == bounds {
                return Ok(metric.cells);
            }
            let text = format!("metric `{name}` exists already, with another kind or other bounds");
            return Err(failure(failure_kind::ERROR, text));
        }
        if metrics.len() >= METRICS_PER_COMPONENT_MAX {
            let text = format!(
                "a component may have {METRICS_PER_COMPONENT_MAX} metrics, `{name}` is one more"
            );
            return Err(failure(failure_kind::FULL, text));
        }
        let len = if kind == metric_kind::HISTOGRAM {
            bounds.len() + 2
        } else {
            1
        };
        let cells: &'static [AtomicU64] = Box::leak((0..len).map(|_| AtomicU64::new(0)).collect());
        metrics.insert(
            name.to_owned(),
            Metric {
                kind,
                bounds: bounds.to_vec(),
                cells,
            },
        );
        Ok(cells)
    }

    /// Shows nothing of an instance any more. Its handles still work; nobody reads them.
    pub(crate) fn forget(&self, instance: &str) {
        self.0.lock().retain(|owner, _| owner.instance != instance);
    }

    /// Every metric with its owner, in order.
    pub(crate) fn read(&self) -> Vec<Reading> {
        let owners = self.0.lock();
        let all = owners.iter().flat_map(|(owner, metrics)| {
            metrics
                .iter()
                .map(move |(name, metric)| (owner.clone(), name.clone(), metric.read()))
        });
        all.collect()
    }
}

fn check(kind: u8, name: &str, bounds: &[f64]) -> Result<(), String> {
    let mut bytes = name.bytes();
    let head = bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_');
    let tail = bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.');
    if !head || !tail || name.len() > NAME_LEN_BYTES_MAX {
        return Err(format!(
            "`{}` is no metric name; wanted [A-Za-z_][A-Za-z0-9_.]*, at most {NAME_LEN_BYTES_MAX} bytes",
            name.escape_debug().take(64).collect::<String>()
        ));
    }
    match kind {
        metric_kind::COUNTER | metric_kind::GAUGE => Ok(()),
        metric_kind::HISTOGRAM => {
            let rising = bounds.windows(2).all(|pair| pair[0] < pair[1])
                && bounds.iter().all(|bound| bound.is_finite());
            match rising && (1..=BOUNDS_MAX).contains(&bounds.len()) {
                true => Ok(()),
                false => Err(format!(
                    "histogram `{name}` wants 1 to {BOUNDS_MAX} rising, finite bounds"
                )),
            }
        }
        other => Err(format!("this host knows no metric kind {other}")),
    }
}

impl Metric {
    fn read(&self) -> MetricValue {
        let cell = |index: usize| {
            self.cells
                .get(index)
                .map_or(0, |cell| cell.load(Ordering::Relaxed))
        };
        match self.kind {
            metric_kind::COUNTER => MetricValue::Counter { count: cell(0) },
            metric_kind::GAUGE => MetricValue::Gauge {
                value: f64::from_bits(cell(0)),
            },
            _ => {
                let bounds = self.bounds.iter().copied().map(Some).chain([None]);
                let buckets: Vec<_> = bounds
                    .enumerate()
                    .map(|(index, bound)| (bound, cell(index)))
                    .collect();
                MetricValue::Histogram {
                    count: buckets.iter().map(|(_, count)| count).sum(),
                    sum: f64::from_bits(cell(self.bounds.len() + 1)),
                    buckets,
                }
            }
        }
    }
}

/// A number of the host's own, for the scrape.
#[derive(Debug, Clone)]
pub(crate) struct HostMetric {
    /// Without the `hotshoe_` prefix.
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) counter: bool,
    pub(crate) values: Vec<(Vec<(&'static str, String)>, u64)>,
}

#[derive(Debug)]
struct Scrape {
    plugins: Vec<Reading>,
    host: Vec<HostMetric>,
}

/// Everything in Prometheus' text format.
pub(crate) fn render(registry: &Registry, host: Vec<HostMetric>) -> String {
    let mut prometheus = PrometheusRegistry::with_prefix("hotshoe");
    prometheus.register_collector(Box::new(Scrape {
        plugins: registry.read(),
        host,
    }));
    let mut text = String::new();
    // Writing to a String fails only where a metric's own encoding does; what came before it is still worth having.
    let _ = encode(&mut text, &prometheus);
    text
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for metric in &self.host {
            let kind = if metric.counter {
                MetricType::Counter
            } else {
                MetricType::Gauge
            };
            let mut family = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
            for (labels, value) in &metric.values {
                let encoder = family.encode_family(labels)?;
                match metric.counter {
                    true => ConstCounter::new(*value).encode(encoder)?,
                    false => ConstGauge::new(i64::try_from(*value).unwrap_or(i64::MAX))
                        .encode(encoder)?,
                }
            }
        }
        // One family per name and kind: two plugins may use one name for different things.
        let mut families: BTreeMap<(String, &'static str), Vec<&Reading>> = BTreeMap::new();
        for metric in &self.plugins {
            let kind = match metric.2 {
                MetricValue::Counter { .. } => "counter",
                MetricValue::Gauge { .. } => "gauge",
                MetricValue::Histogram { .. } => "histogram",
            };
            families
                .entry((format!("plugin_{}", metric.1.replace('.', "_")), kind))
                .or_default()
                .push(metric);
        }
        let clashes = |name: &str| families.keys().filter(|(other, _)| other == name).count() > 1;
        for ((name, kind), metrics) in &families {
            let name = if clashes(name) {
                format!("{name}_{kind}")
            } else {
                name.clone()
            };
            encode_family(&mut encoder, &name, metrics)?;
        }
        Ok(())
    }
}

fn encode_family(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    metrics: &[&Reading],
) -> Result<(), std::fmt::Error> {
    let kind = match metrics.first().map(|metric| &metric.2) {
        Some(MetricValue::Counter { .. }) => MetricType::Counter,
        Some(MetricValue::Gauge { .. }) => MetricType::Gauge,
        _ => MetricType::Histogram,
    };
    let mut family = encoder.encode_descriptor(name, "A metric of a plugin's", None, kind)?;
    for (owner, _, value) in metrics {
        let mut labels = vec![
            ("plugin", owner.instance.clone()),
            ("component", owner.component.to_owned()),
        ];
        if owner.component == "executor" {
            labels.push(("executor", owner.executor.clone()));
        }
        let mut encoder = family.encode_family(&labels)?;
        match value {
            MetricValue::Counter { count } => ConstCounter::new(*count).encode(encoder)?,
            MetricValue::Gauge { value } => ConstGauge::new(*value).encode(encoder)?,
            MetricValue::Histogram {
                count,
                sum,
                buckets,
            } => {
                let buckets: Vec<(f64, u64)> = buckets
                    .iter()
                    .map(|(bound, count)| (bound.unwrap_or(f64::INFINITY), *count))
                    .collect();
                encoder.encode_histogram::<prometheus_client::encoding::NoLabelSet>(
                    *sum, *count, &buckets, None,
                )?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(instance: &str) -> Owner {
        Owner {
            instance: instance.into(),
            component: "driver",
            executor: "driver".into(),
        }
    }

    #[test]
    fn the_same_name_gives_the_same_cells_and_another_kind_is_refused() {
        let registry = Registry::default();
        let first = registry
            .cells(&owner("a"), metric_kind::COUNTER, "hits", &[])
            .unwrap();
        first[0].store(3, Ordering::Relaxed);
        let again = registry
            .cells(&owner("a"), metric_kind::COUNTER, "hits", &[])
            .unwrap();
        assert_eq!(again[0].load(Ordering::Relaxed), 3);
        assert!(
            registry
                .cells(&owner("a"), metric_kind::GAUGE, "hits", &[])
                .is_err()
        );
        let other = registry
            .cells(&owner("b"), metric_kind::COUNTER, "hits", &[])
            .unwrap();
        assert_eq!(other[0].load(Ordering::Relaxed), 0);
    }

    #[test]
    fn names_and_bounds_are_checked() {
        for (kind, name, bounds) in [
            (metric_kind::COUNTER, "", &[][..]),
            (metric_kind::COUNTER, "9a", &[]),
            (metric_kind::COUNTER, "a b", &[]),
            (metric_kind::HISTOGRAM, "h", &[]),
            (metric_kind::HISTOGRAM, "h", &[2.0, 1.0]),
            (metric_kind::HISTOGRAM, "h", &[f64::NAN]),
            (77, "a", &[]),
        ] {
            assert!(
                check(kind, name, bounds).is_err(),
                "{kind} {name} {bounds:?}"
            );
        }
    }

    #[test]
    fn the_scrape_carries_values_and_labels() {
        let registry = Registry::default();
        registry
            .cells(&owner("a"), metric_kind::GAUGE, "driverMetric", &[])
            .unwrap()[0]
            .store(42.0_f64.to_bits(), Ordering::Relaxed);
        let histogram = registry
            .cells(&owner("a"), metric_kind::HISTOGRAM, "lat.ms", &[1.0, 2.0])
            .unwrap();
        histogram[2].store(5, Ordering::Relaxed);
        histogram[3].store(50.0_f64.to_bits(), Ordering::Relaxed);
        let text = render(&registry, Vec::new());
        assert!(
            text.contains("hotshoe_plugin_driverMetric{plugin=\"a\",component=\"driver\"} 42.0\n"),
            "{text}"
        );
        assert!(
            text.contains(
                "hotshoe_plugin_lat_ms_bucket{le=\"+Inf\",plugin=\"a\",component=\"driver\"} 5\n"
            ),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
