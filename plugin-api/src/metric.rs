//! Metrics: handles to cells that the host owns. Adding is one atomic instruction; nothing is flushed.

use crate::{Context, Result, error::from_abi};
use hotshoe_abi::{MetricSpec, metric_kind};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A component's registry. The same name gives the same cells; each executor's are its own.
pub struct Metrics<'a>(pub(crate) &'a Context);

impl Metrics<'_> {
    /// A number that only grows.
    ///
    /// - `name`: `[A-Za-z_][A-Za-z0-9_.]*`, at most 128 bytes; shown as `plugin.<instance>.<name>`.
    /// - Errors: a bad name, the name of a metric of another kind, more than 1,024 metrics, `Closed`.
    pub fn counter(&self, name: &str) -> Result<Counter> {
        Ok(Counter(&self.cells(metric_kind::COUNTER, name, &[])?[0]))
    }

    /// A number that goes up and down. Errors as [`counter`](Self::counter).
    pub fn gauge(&self, name: &str) -> Result<Gauge> {
        Ok(Gauge(&self.cells(metric_kind::GAUGE, name, &[])?[0]))
    }

    /// Counts of observations by size.
    ///
    /// - `bounds`: upper bounds of the buckets, rising, 1 to 64 of them; what is above the last is counted too.
    /// - Errors: as [`counter`](Self::counter); bounds that do not rise, or differ from the first registration's.
    pub fn histogram(&self, name: &str, bounds: &[f64]) -> Result<Histogram> {
        let cells = self.cells(metric_kind::HISTOGRAM, name, bounds)?;
        Ok(Histogram {
            bounds: bounds.into(),
            cells,
        })
    }

    fn cells(&self, kind: u8, name: &str, bounds: &[f64]) -> Result<&'static [AtomicU64]> {
        let spec = MetricSpec {
            kind,
            name: name.into(),
            help: "".into(),
            bounds: bounds.into(),
        };
        from_abi(self.0.host().metric(spec)).map(|cells| cells.as_slice())
    }
}

/// See [`Metrics::counter`].
#[derive(Clone, Copy)]
pub struct Counter(&'static AtomicU64);

impl Counter {
    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// What it is now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// See [`Metrics::gauge`].
#[derive(Clone, Copy)]
pub struct Gauge(&'static AtomicU64);

impl Gauge {
    /// Sets it.
    #[inline]
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// Adds `delta`, which may be negative.
    pub fn add(&self, delta: f64) {
        add_f64(self.0, delta);
    }

    /// What it is now.
    #[must_use]
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// See [`Metrics::histogram`].
#[derive(Clone)]
pub struct Histogram {
    bounds: Arc<[f64]>,
    cells: &'static [AtomicU64],
}

impl Histogram {
    /// Counts one observation.
    #[inline]
    pub fn observe(&self, value: f64) {
        // Linear: six bounds are two cache lines, and a branch predictor beats a binary search there.
        let bucket = self
            .bounds
            .iter()
            .take_while(|bound| value > **bound)
            .count();
        self.cells[bucket].fetch_add(1, Ordering::Relaxed);
        add_f64(&self.cells[self.bounds.len() + 1], value);
    }
}

fn add_f64(cell: &AtomicU64, delta: f64) {
    let mut bits = cell.load(Ordering::Relaxed);
    loop {
        let sum = (f64::from_bits(bits) + delta).to_bits();
        match cell.compare_exchange_weak(bits, sum, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => bits = now,
        }
    }
}
