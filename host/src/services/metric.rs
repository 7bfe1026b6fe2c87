//! Metrics: cells that the host owns and plugins add to. What is read here is data, never an index.
//!
//! The cells of an isolated instance are in its [`CellRegion`], which its worker maps too: the registry chooses the place, so
//! what was counted survives the worker, and the next one counts on from there.

use super::failure::failure;
use hotshoe_abi::{Failure, failure_kind, metric_kind};
use hotshoe_loader::CellRegion;
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
/// The first cells of a region are no metrics: there a worker says, per executor, which batch it is at.
pub(crate) const AT_CELLS_LEN: usize = super::component::EXECUTORS_MAX as usize;
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

#[derive(Debug)]
struct Metric {
    kind: u8,
    bounds: Vec<f64>,
    /// Where its cells begin in its instance's region; 0 where it has none.
    first: usize,
    /// Leaked: a plugin keeps using its handle whatever becomes of the host, and a library is never unloaded. Bounded by
    /// [`METRICS_PER_COMPONENT_MAX`].
    cells: &'static [AtomicU64],
}

/// Every metric of a host.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    owners: BTreeMap<Owner, BTreeMap<String, Metric>>,
    /// By instance.
    regions: BTreeMap<String, Region>,
}

/// The cells of one instance, given out one after the other.
#[derive(Debug)]
struct Region {
    cells: Arc<CellRegion>,
    used: usize,
    /// What was forgotten keeps its place: an init that fails for ever does not use up the region.
    forgotten: BTreeMap<(Owner, String), Metric>,
}

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
    /// From now on the cells of this instance are in `region`. The first one stays: counts survive every worker.
    pub(crate) fn in_region(&self, instance: &str, region: Arc<CellRegion>) {
        let mut inner = self.0.lock();
        inner
            .regions
            .entry(instance.to_owned())
            .or_insert_with(|| Region {
                cells: region,
                used: AT_CELLS_LEN,
                forgotten: BTreeMap::new(),
            });
    }

    /// The cells of a metric: new ones, or those that the same name has already.
    ///
    /// Errors: `error` for a name or bounds that no metric has, or that exist otherwise; `full` where the component has as many
    /// metrics as it may, or its instance's region has no room.
    pub(crate) fn cells(
        &self,
        owner: &Owner,
        kind: u8,
        name: &str,
        bounds: &[f64],
    ) -> Result<&'static [AtomicU64], Failure> {
        let found = self.find(owner, kind, name, bounds);
        found.map(|(_, cells)| cells)
    }

    /// Where [`Self::cells`] are in the region of the owner's instance: the first, and how many.
    ///
    /// Errors: as there; `unsupported` where the instance has no region.
    pub(crate) fn place_of(
        &self,
        owner: &Owner,
        kind: u8,
        name: &str,
        bounds: &[f64],
    ) -> Result<(usize, usize), Failure> {
        if !self.0.lock().regions.contains_key(&owner.instance) {
            let text = format!("plugin `{}` shares no cells with a worker", owner.instance);
            return Err(failure(failure_kind::UNSUPPORTED, text));
        }
        let found = self.find(owner, kind, name, bounds);
        found.map(|(first, cells)| (first, cells.len()))
    }

    fn find(
        &self,
        owner: &Owner,
        kind: u8,
        name: &str,
        bounds: &[f64],
    ) -> Result<(usize, &'static [AtomicU64]), Failure> {
        check(kind, name, bounds).map_err(|text| failure(failure_kind::ERROR, text))?;
        let mut inner = self.0.lock();
        let Inner { owners, regions } = &mut *inner;
        let metrics = owners.entry(owner.clone()).or_default();
        if let Some(metric) = metrics.get(name) {
            if metric.is(kind, bounds) {
                return Ok((metric.first, metric.cells));
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
        let metric = match regions.get_mut(&owner.instance) {
            Some(region) => region.metric(owner, kind, name, bounds)?,
            None => {
                let cells = (0..cells_len(kind, bounds)).map(|_| AtomicU64::new(0));
                Metric::new(kind, bounds, 0, Box::leak(cells.collect()))
            }
        };
        let found = (metric.first, metric.cells);
        metrics.insert(name.to_owned(), metric);
        Ok(found)
    }

    /// Shows nothing of an instance any more. Its handles still work; nobody reads them.
    pub(crate) fn forget(&self, instance: &str) {
        let mut inner = self.0.lock();
        let Inner { owners, regions } = &mut *inner;
        let Some(region) = regions.get_mut(instance) else {
            owners.retain(|owner, _| owner.instance != instance);
            return;
        };
        for (owner, metrics) in owners {
            if owner.instance == instance {
                let metrics = std::mem::take(metrics).into_iter();
                let forgotten = metrics.map(|(name, metric)| ((owner.clone(), name), metric));
                region.forgotten.extend(forgotten);
            }
        }
    }

    /// Every metric with its owner, in order.
    pub(crate) fn read(&self) -> Vec<Reading> {
        let inner = self.0.lock();
        let all = inner.owners.iter().flat_map(|(owner, metrics)| {
            metrics
                .iter()
                .map(move |(name, metric)| (owner.clone(), name.clone(), metric.read()))
        });
        all.collect()
    }
}

impl Region {
    /// A metric of this instance's, from 0. One that was forgotten gets its place again.
    fn metric(
        &mut self,
        owner: &Owner,
        kind: u8,
        name: &str,
        bounds: &[f64],
    ) -> Result<Metric, Failure> {
        let key = (owner.clone(), name.to_owned());
        if let Some(metric) = self.forgotten.get(&key).filter(|m| m.is(kind, bounds)) {
            for cell in metric.cells {
                cell.store(0, Ordering::Relaxed);
            }
            let again = Metric::new(kind, bounds, metric.first, metric.cells);
            self.forgotten.remove(&key);
            return Ok(again);
        }
        let len = cells_len(kind, bounds);
        let Some(cells) = self.cells.cells(self.used, len) else {
            let text = format!(
                "the {} cells of plugin `{}` are used up, `{name}` wants {len}",
                self.cells.len(),
                owner.instance
            );
            return Err(failure(failure_kind::FULL, text));
        };
        let metric = Metric::new(kind, bounds, self.used, cells);
        self.used += len;
        Ok(metric)
    }
}

/// A histogram has a cell for each bucket, one more for the last, and their sum.
fn cells_len(kind: u8, bounds: &[f64]) -> usize {
    match kind {
        metric_kind::HISTOGRAM => bounds.len() + 2,
        _ => 1,
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
    fn new(kind: u8, bounds: &[f64], first: usize, cells: &'static [AtomicU64]) -> Self {
        Self {
            kind,
            bounds: bounds.to_vec(),
            first,
            cells,
        }
    }

    fn is(&self, kind: u8, bounds: &[f64]) -> bool {
        self.kind == kind && self.bounds == bounds
    }

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
                // A worker that makes its numbers up must not make ours overflow, here or where buckets are cumulated.
                let mut count = 0u64;
                let buckets = bounds.enumerate().map(|(index, bound)| {
                    let bucket = cell(index).min(u64::MAX - count);
                    count += bucket;
                    (bound, bucket)
                });
                let buckets = buckets.collect();
                MetricValue::Histogram {
                    count,
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

    fn region() -> (Registry, Arc<CellRegion>) {
        let registry = Registry::default();
        let region = Arc::new(CellRegion::create("a").unwrap());
        registry.in_region("a", Arc::clone(&region));
        (registry, region)
    }

    #[test]
    fn a_worker_finds_the_same_cells_by_their_place() {
        let (registry, region) = region();
        let place = |owner: &Owner, kind, name: &str, bounds: &[f64]| {
            registry.place_of(owner, kind, name, bounds).unwrap()
        };
        let a = owner("a");
        let (base, len) = place(&a, metric_kind::COUNTER, "hits", &[]);
        assert_eq!(len, 1);
        let lat = place(&a, metric_kind::HISTOGRAM, "lat", &[1.0, 2.0]);
        assert_eq!(lat, (base + 1, 4));
        assert_eq!(place(&a, metric_kind::GAUGE, "depth", &[]), (base + 5, 1));
        assert_eq!(place(&a, metric_kind::HISTOGRAM, "lat", &[1.0, 2.0]), lat);
        let executor = Owner {
            component: "executor",
            executor: "0".into(),
            ..owner("a")
        };
        assert_eq!(
            place(&executor, metric_kind::COUNTER, "hits", &[]),
            (base + 6, 1)
        );

        // What a worker adds is read here, and what a worker scribbles is a number.
        region.cells(base, 1).unwrap()[0].fetch_add(3, Ordering::Relaxed);
        for cell in region.cells(base + 1, 5).unwrap() {
            cell.store(u64::MAX >> 3, Ordering::Relaxed);
        }
        let readings = registry.read();
        assert_eq!(readings.len(), 4);
        let (_, name, value) = &readings[1];
        assert_eq!(name, "hits");
        assert_eq!(*value, MetricValue::Counter { count: 3 });

        // Another region for the same instance changes nothing, and an instance without one has no place.
        registry.in_region("a", Arc::new(CellRegion::create("a").unwrap()));
        let again = registry
            .cells(&a, metric_kind::COUNTER, "hits", &[])
            .unwrap();
        assert_eq!(again[0].load(Ordering::Relaxed), 3);
        let none = registry.place_of(&owner("b"), metric_kind::COUNTER, "hits", &[]);
        assert_eq!(none.unwrap_err().kind, failure_kind::UNSUPPORTED);
        let refused = registry.place_of(&a, metric_kind::GAUGE, "hits", &[]);
        assert_eq!(refused.unwrap_err().kind, failure_kind::ERROR);
    }

    #[test]
    fn numbers_that_a_worker_made_up_are_rendered_all_the_same() {
        let (registry, region) = region();
        let (first, len) = registry
            .place_of(&owner("a"), metric_kind::HISTOGRAM, "lat", &[1.0])
            .unwrap();
        for cell in region.cells(first, len).unwrap() {
            cell.store(u64::MAX, Ordering::Relaxed);
        }
        assert!(render(&registry, Vec::new()).ends_with("# EOF\n"));
    }

    #[test]
    fn a_region_that_is_full_says_so_and_a_failed_init_does_not_fill_it() {
        let (registry, region) = region();
        let bounds: Vec<f64> = (0..BOUNDS_MAX).map(|bound| bound as f64).collect();
        let fill = |component: &'static str| -> Result<usize, Failure> {
            let owner = Owner {
                component,
                ..owner("a")
            };
            for index in 0..METRICS_PER_COMPONENT_MAX {
                let name = format!("m{index}");
                registry.place_of(&owner, metric_kind::HISTOGRAM, &name, &bounds)?;
            }
            let last = format!("m{}", METRICS_PER_COMPONENT_MAX - 1);
            let place = registry.place_of(&owner, metric_kind::HISTOGRAM, &last, &bounds)?;
            Ok(place.0)
        };
        // One component with all that it may have always fits, however often its init fails.
        let first = fill("driver").unwrap();
        region.cells(first, 1).unwrap()[0].store(7, Ordering::Relaxed);
        for _ in 0..3 {
            registry.forget("a");
            assert!(registry.read().is_empty());
            assert_eq!(fill("driver").unwrap(), first);
        }
        assert_eq!(
            region.cells(first, 1).unwrap()[0].load(Ordering::Relaxed),
            0
        );
        let full = fill("executor").unwrap_err();
        assert_eq!(full.kind, failure_kind::FULL, "{}", full.message);
        // A smaller one still has room, and another instance is not concerned.
        let other = owner("b");
        assert!(
            registry
                .cells(&other, metric_kind::HISTOGRAM, "h", &bounds)
                .is_ok()
        );
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
