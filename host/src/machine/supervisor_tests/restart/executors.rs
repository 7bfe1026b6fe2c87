//! Parts that executors make anew, late or not at all.

use super::*;

#[test]
fn a_part_that_cannot_be_made_anew_is_a_failed_restart() {
    let mut world = begun(processor(2));
    world.on("executor 0 revives a", FailsTimes(1, ExitCode::Init));
    let again = "a load, a new, executor 0 revives a, executor 1 revives a";
    assert_eq!(
        world.dies("a"),
        format!("warning 1, {again}, warning 4, a killed, (100ms), {again}")
    );
    assert_eq!(world.state("a"), State::Ready);
}

#[test]
fn one_that_is_busy_elsewhere_is_not_waited_for_for_ever() {
    let mut world = begun(processor(2));
    world.on("executor 1 revives a", Hangs);
    // One part's init, and a second.
    assert_eq!(
        world.dies("a"),
        "warning 1, a load, a new, executor 0 revives a, executor 1 revives a, (11s), warning 2"
    );
    assert_eq!(world.state("a"), State::Ready);
    // It answers at last: well, or badly.
    assert_eq!(world.answer("executor 1 revives a"), "");
    let mut world = begun(processor(2));
    world.on("executor 1 revives a", Hangs);
    world.dies("a");
    world.on("executor 1 revives a", FailsTimes(1, ExitCode::Init));
    world.stand_still();
    assert_eq!(world.answer("executor 1 revives a"), "warning 4, a killed");
    assert_eq!(world.state("a"), State::BackingOff);
}

#[test]
fn one_that_is_given_up_is_not_waited_for() {
    let neighbour = [
        instance("a", &[P]).isolated().in_stream(),
        instance("b", &[P]),
    ];
    let mut world = begun(World::of(neighbour).stream().executors(2));
    world.on("executor 1 revives a", Hangs).stand_still();
    world.dies("a");
    assert_eq!(world.state("a"), State::Initializing);
    assert_eq!(world.hangs(1, "b"), "warning 1");
    assert_eq!(world.state("a"), State::Ready);
    assert_eq!(world.words(), ["ready", "hung"]);
}
