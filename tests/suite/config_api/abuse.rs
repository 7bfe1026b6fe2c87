//! N8 in short: hostile requests, and a host that is the same afterwards. What is a time or a size is left to the long run.

#[path = "../../load/hostility.rs"]
mod hostility;
use super::killing;

#[test]
fn hostile_requests_change_nothing_and_leave_nothing_behind() {
    let abused = hostility::abuse(5_000);
    let (before, after) = abused.resident;
    // Ten times what a full run may grow by.
    assert!(
        after < before + before / 2,
        "{before} bytes, then {after}, in {:?}",
        abused.took
    );
}
