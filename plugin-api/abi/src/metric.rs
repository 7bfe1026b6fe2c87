//! Metrics: the host owns the cells, the plugin adds to them with plain atomics.

use abi_stable::{
    StableAbi,
    std_types::{RSlice, RStr},
};

/// What a plugin asks cells for. The same name and kind gives the same cells again.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct MetricSpec<'a> {
    /// One of [`metric_kind`].
    pub kind: u8,
    /// `[A-Za-z_][A-Za-z0-9_.]*`, at most 128 bytes.
    pub name: RStr<'a>,
    /// One line for people, or empty.
    pub help: RStr<'a>,
    /// Upper bounds of a histogram's buckets, rising; empty for other kinds.
    pub bounds: RSlice<'a, f64>,
}

/// The kinds of [`MetricSpec`], and the cells of each. Append-only.
pub mod metric_kind {
    /// One cell: a u64 that only grows.
    pub const COUNTER: u8 = 1;
    /// One cell: the bits of an f64.
    pub const GAUGE: u8 = 2;
    /// One cell per bound, one for what is above the last, and one with the bits of the f64 sum.
    pub const HISTOGRAM: u8 = 3;
}
