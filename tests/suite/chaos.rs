//! A short turn of the long run `load/chaos.rs`: a few seeds, a few kills each, the same judge. What a seed stands for is
//! written in `load/havoc/plan.rs`.

#[allow(dead_code, unreachable_pub, reason = "shared with the long run")]
#[path = "../load/havoc/mod.rs"]
mod havoc;

use havoc::Plan;
use hotshoe_tests::artifacts;

/// How often all comes to rest: about two kills each.
const PERIODS: u32 = 3;

#[track_caller]
fn check(seed: u64) {
    let plan = Plan::of(seed, PERIODS);
    let kept = artifacts::target_folder()
        .join("chaos/suite")
        .join(seed.to_string());
    if let Err(reason) = havoc::run(&plan, &kept) {
        panic!("{plan}\n{reason}\nlogs: {}", kept.display());
    }
}

#[test]
fn no_record_is_lost_whatever_is_killed_one() {
    check(1);
}

#[test]
fn no_record_is_lost_whatever_is_killed_two() {
    check(2);
}

#[test]
fn no_record_is_lost_whatever_is_killed_three() {
    check(3);
}

#[test]
fn a_seed_is_one_schedule() {
    for seed in 0..200 {
        let (one, two) = (Plan::of(seed, 20), Plan::of(seed, 20));
        assert_eq!(one.to_string(), two.to_string());
        assert!(one.chain.iter().any(|link| link.isolated), "{one}");
    }
    assert_ne!(Plan::of(1, 20).to_string(), Plan::of(2, 20).to_string());
}
