//! C31: a hundred confirmations within 5 ms of their deadlines.

use crate::{confirming::races, print, times};

/// Stores of one host, whose races run side by side.
const STORES: u32 = 20;

pub(crate) fn at_the_deadline() {
    let hosts = times(5);
    let confirmed: usize = (0..hosts).map(|_| races(STORES)).sum();
    let all = usize::try_from(hosts).unwrap() * STORES as usize;
    let found = format!(
        "{all} confirmations within 5 ms of the deadline: {confirmed} confirmed, {} rolled back, 0 both",
        all - confirmed
    );
    print("C31", &found, "0 in 100");
}
