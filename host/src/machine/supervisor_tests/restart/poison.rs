//! Deaths that a record caused are taken back from the instance, within bounds.

use super::*;

#[test]
fn the_deaths_that_a_record_caused_are_taken_back() {
    let mut world = begun(driver());
    for _ in 0..3 {
        world.dies("a");
    }
    assert_eq!(world.poisons("a", 3), "");
    assert_eq!(world.timers(), 1);
    assert_eq!(world.dies("a"), format!("warning 1, {AGAIN}"));
    assert_eq!(world.dies("a"), format!("warning 1, (100ms), {AGAIN}"));
}

#[test]
fn only_so_many_and_no_failed_starts() {
    let mut world = begun(driver());
    world.on("a init", FailsTimes(1, ExitCode::Init));
    world.dies("a");
    world.dies("a");
    // Two deaths and a failed start; one death and the start are left.
    world.poisons("a", 1);
    assert_eq!(world.dies("a"), format!("warning 1, (200ms), {AGAIN}"));
    world.poisons("a", 9);
    assert_eq!(world.dies("a"), format!("warning 1, {AGAIN}"));
    assert_eq!(world.dies("a"), format!("warning 1, (100ms), {AGAIN}"));
}

#[test]
fn told_before_the_last_death_it_takes_that_back_too_and_no_other() {
    let mut world = begun(driver());
    world.dies("a");
    world.dies("a");
    world.poisons("a", 3);
    assert_eq!(world.dies("a"), format!("warning 1, {AGAIN}"));
    let said = world
        .headlines()
        .pop()
        .map(str::to_owned)
        .unwrap_or_default();
    assert!(said.contains("a record's fault"), "{said}");
    assert_eq!(world.dies("a"), format!("warning 1, {AGAIN}"));
    assert_eq!(world.dies("a"), format!("warning 1, (100ms), {AGAIN}"));
}

#[test]
fn more_than_ten_a_minute_are_charged() {
    let mut world = begun(World::of([instance("a", &[D]).isolated().forgiven(2)]));
    for _ in 0..10 {
        assert_eq!(world.dies("a"), format!("warning 1, {AGAIN}"));
        world.poisons("a", 1);
    }
    for _ in 0..2 {
        world.dies("a");
        world.poisons("a", 1);
    }
    assert_eq!(world.pauses(), ["100ms"]);
    assert_eq!(world.dies("a"), "a retired, error 1, finish 1");
}

#[test]
fn a_minute_later_they_are_taken_back_again() {
    let mut world = begun(driver());
    for _ in 0..11 {
        world.dies("a");
        world.poisons("a", 1);
    }
    world.wait(Duration::from_secs(301));
    world.dies("a");
    world.poisons("a", 1);
    assert_eq!(world.dies("a"), format!("warning 1, {AGAIN}"));
}
