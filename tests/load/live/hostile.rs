//! N8: damaged and hostile requests by the million.

use crate::{
    hostility::{Abused, abuse},
    print, times,
};

pub(crate) fn requests() {
    let count = times(10_000_000);
    let Abused {
        took,
        resident: (before, after),
    } = abuse(count);
    let found = format!(
        "{count} hostile requests ({:.0} a second): 0 panics, 0 changes, 0 descriptors more, memory {:.1} MiB, {:+.1} %",
        count as f64 / took.as_secs_f64(),
        after as f64 / f64::from(1 << 20),
        100.0 * (after as f64 / before as f64 - 1.0)
    );
    print("N8", &found, "0, 0, 0, within 5 %");
}
