//! Memory that a host and its workers share: the cells of metrics, and the word that names the newest config set.
//!
//! Why it exists: the same atomic add counts in both processes, and what was counted survives the death of the one that
//! counted. This is the only place that maps memory. Both kinds are a sealed memfd of one fixed size, so that no access can
//! meet the end of the file (SIGBUS), and both stay mapped for ever: a plugin keeps using its handle whatever becomes of the
//! host, and a library is never unloaded.
//!
//! It refuses to know what stands in a cell, to map what is not of exactly the expected size and sealed, and to map anything
//! that is not made of atomics: the other process may write at any moment.

#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod linux;

#[cfg(not(target_os = "linux"))]
pub use elsewhere::{CellRegion, EpochPage};
#[cfg(target_os = "linux")]
pub use linux::{CellRegion, EpochPage};

/// Cells in one [`CellRegion`], 8 bytes each. One component has at most 1,024 metrics of at most 66 cells; this is the next
/// power of two, so that no component alone can meet the end. The file is sparse: only pages that were written to take memory.
const CELLS_LEN: usize = 128 * 1024;
