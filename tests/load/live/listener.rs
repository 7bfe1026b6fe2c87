//! C54 in full: the listener's process is killed under load, again and again.

use crate::{dying, print, times};

/// Two thousand take some ten minutes.
const DEATHS: u64 = 2_000;

pub(crate) fn dies() {
    let deaths = u32::try_from(times(DEATHS)).unwrap();
    let survived = dying::kill_listeners(deaths);
    let found = format!(
        "{deaths} listeners killed in {:.0} s beside {} changes and {} records, {} of these while nobody listened: 0 acknowledged changes lost, 0 records with an older value",
        survived.took.as_secs_f64(),
        survived.changes,
        survived.records,
        survived.alone
    );
    print("C54", &found, "0 and 0");
}
