//! Deaths that are told twice, late, or of whom nobody has: they change nothing.

use super::*;

#[test]
fn a_death_told_twice_counts_once() {
    let mut world = begun(driver());
    world.on("a load", Hangs).stand_still();
    world.dies("a");
    // While the next worker is opened, and while it is waited for.
    assert_eq!(world.death_is_told("a"), "");
    assert_eq!(world.answer("a load"), "a new, a init, a register_metrics");
    assert_eq!(world.dies("a"), "warning 1");
    assert_eq!(world.death_is_told("a"), "");
    assert_eq!(world.go_on(), format!("(100ms), {AGAIN}"));
    assert_eq!(world.pauses(), ["100ms"]);
}

#[test]
fn one_that_runs_in_this_process_cannot_die_alone() {
    let mut world = begun(World::of([instance("a", &[D])]));
    assert_eq!(world.death_is_told("a"), "");
    assert_eq!(world.poisons("a", 3), "");
    assert_eq!(world.stop(), "a shutdown, finish 0");
}

#[test]
fn one_that_is_out_is_not_brought_back_and_owed_nothing() {
    let mut world = begun(World::of([instance("a", &[D]).isolated().optional()]));
    assert_eq!(world.fault("a"), "warning 1, a retired");
    assert_eq!(world.dies("a"), "");
    assert_eq!(world.state("a"), State::Failed);
    assert_eq!(world.stop(), "finish 0");
}

#[test]
fn a_fault_of_a_life_that_is_over_is_told_and_no_more() {
    let mut world = begun(driver());
    world.on("a load", Hangs).stand_still();
    world.dies("a");
    assert_eq!(world.fault("a"), "warning 1");
    assert_eq!(world.answer("a load"), "a new, a init, a register_metrics");
    // In the new life it counts as ever.
    assert_eq!(world.fault("a"), "error 1, a shutdown, finish 1");
}

#[test]
fn an_executor_s_answer_about_the_old_life_is_not_taken_for_the_new_one_s() {
    let mut world = begun(processor(1));
    world.on("executor 0 revives a", Hangs).stand_still();
    world.dies("a");
    assert_eq!(world.dies("a"), "warning 1");
    world.on("a new", Hangs);
    world.wait(Duration::from_millis(125));
    // It is not ordered a second time while the first is not answered, well or badly.
    assert_eq!(world.answer("a new"), "");
    world.on("executor 0 revives a", Hangs);
    assert_eq!(world.state("a"), State::Initializing);
    let old = Event::Revived(ExecutorId(0), InstanceId(0), Ok(()));
    assert_eq!(world.send(old), "executor 0 revives a");
    assert_eq!(world.state("a"), State::Initializing);
    assert_eq!(world.answer("executor 0 revives a"), "");
    assert_eq!(world.state("a"), State::Ready);
}

#[test]
fn an_answer_between_two_lives_is_dropped() {
    let mut world = begun(processor(1));
    world.on("executor 0 revives a", Hangs).stand_still();
    world.dies("a");
    world.dies("a");
    assert_eq!(world.answer("executor 0 revives a"), "");
    assert_eq!(
        world.go_on(),
        "(100ms), a load, a new, executor 0 revives a"
    );
    assert_eq!(world.state("a"), State::Ready);
}
