//! Where the system has no sealed memory files: cells and the word are this process's own, and no worker can map them.

use super::CELLS_LEN;
use std::{io, sync::atomic::AtomicU64};

/// Cells of one instance's metrics, of this process alone.
#[derive(Debug)]
pub struct CellRegion {
    cells: &'static [AtomicU64],
}

impl CellRegion {
    /// New cells, all 0.
    ///
    /// # Errors
    /// None here.
    pub fn create(_name: &str) -> io::Result<Self> {
        let cells = (0..CELLS_LEN).map(|_| AtomicU64::new(0)).collect();
        Ok(Self {
            cells: Box::leak(cells),
        })
    }

    /// `len` cells from `first` on; `None` where the region has not so many.
    #[must_use]
    pub fn cells(&self, first: usize, len: usize) -> Option<&'static [AtomicU64]> {
        self.cells.get(first..first.checked_add(len)?)
    }

    /// Cells in the region.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether it has none; it always has.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }
}

/// The word that names the newest config set, of this process alone.
#[derive(Debug)]
pub struct EpochPage {
    word: &'static AtomicU64,
}

impl EpochPage {
    /// A new word, 0.
    ///
    /// # Errors
    /// None here.
    pub fn create() -> io::Result<Self> {
        Ok(Self {
            word: Box::leak(Box::new(AtomicU64::new(0))),
        })
    }

    /// The word.
    #[must_use]
    pub const fn word(&self) -> &'static AtomicU64 {
        self.word
    }
}
