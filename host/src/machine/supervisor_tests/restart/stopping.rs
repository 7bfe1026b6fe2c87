//! Deaths while the host drains and stops: what was read is waited for, and then nothing comes back.

use super::*;

#[test]
fn a_stop_waits_for_the_call_in_hand_and_begins_nothing_more() {
    for (line, rest) in [
        ("a load", "finish 0"),
        ("a new", "finish 0"),
        ("a init", "a shutdown, finish 0"),
        ("a register_metrics", "a shutdown, finish 0"),
    ] {
        let mut world = begun(driver());
        world.on(line, Stops);
        world.dies("a");
        assert_eq!(world.since(line), rest);
        assert_eq!((world.state("a"), world.timers()), (State::Stopped, 0));
    }
}

#[test]
fn what_fails_then_is_told_and_costs_nothing() {
    let mut world = begun(driver());
    world.on("a init", Hangs).stand_still();
    world.dies("a");
    assert_eq!(world.stop(), "");
    world.on("a init", Fails(ExitCode::Init));
    assert_eq!(world.answer("a init"), "warning 4, finish 0");
}

#[test]
fn a_driver_that_was_initialised_is_shut_down_though_what_came_after_failed() {
    for line in ["a checker init", "a register_metrics"] {
        let mut world = begun(World::of([instance("a", &[D, C]).isolated()]));
        world.on(line, Hangs).stand_still();
        world.dies("a");
        assert_eq!(world.stop(), "");
        world.on(line, Fails(ExitCode::Init));
        assert_eq!(world.answer(line), "warning 4, a shutdown, finish 0");
    }
}

#[test]
fn a_death_in_a_call_after_the_stop_was_asked_is_owed_no_shutdown() {
    for dying in [Dies, DiesFirst, DiesAfterAll] {
        let mut world = begun(driver());
        world.on("a init", Hangs).stand_still();
        world.dies("a");
        world.stop();
        world.on("a init", dying);
        assert_eq!(world.answer("a init"), "warning 4, finish 0");
    }
}

#[test]
fn a_pause_is_not_sat_out() {
    let mut world = begun(driver());
    world.dies("a");
    world.stand_still();
    world.dies("a");
    assert_eq!(world.stop(), "finish 0");
    assert_eq!((world.state("a"), world.timers()), (State::Stopped, 0));
}

#[test]
fn an_executor_that_makes_its_parts_anew_is_stopped_after_that() {
    let mut world = begun(World::of([instance("a", &[X]).isolated()]));
    world.on("executor 0 revives a", Hangs).stand_still();
    world.dies("a");
    world.on("executor 0 stop", Hangs);
    assert_eq!(world.stop(), "executor 0 stop");
    assert_eq!(world.answer("executor 0 revives a"), "");
    assert_eq!(world.answer("executor 0 stop"), "finish 0");
}

#[test]
fn an_executor_that_comes_up_after_the_stop_makes_nothing_anew() {
    let two = [
        instance("a", &[X]).isolated(),
        instance("b", &[D]).isolated(),
    ];
    let mut world = World::of(two);
    world.on("executor 0 start", Hangs).stand_still().start();
    world.on("b load", Hangs).dies("a");
    assert_eq!(world.dies("b"), "warning 1, b load");
    assert_eq!(world.stop(), "");
    assert_eq!(world.answer("executor 0 start"), "");
    assert_eq!(world.answer("b load"), "executor 0 stop, finish 0");
}

#[test]
fn while_tasks_are_drained_it_is_brought_back_for_them() {
    let mut world = begun(processor(1));
    world.on("drain stream", Hangs).stand_still();
    world.stop();
    assert_eq!(
        world.dies("a"),
        "warning 1, a load, a new, executor 0 revives a"
    );
    assert_eq!(world.dies("a"), "warning 1");
    world.on("a load", Hangs);
    world.wait(Duration::from_millis(125));
    // The drain is over: what is in hand is waited for.
    assert_eq!(world.answer("drain stream"), "");
    assert_eq!(world.answer("a load"), "executor 0 stop, finish 0");
}

#[test]
fn a_restart_that_a_stop_finds_goes_on_while_tasks_are_drained() {
    let mut world = begun(processor(1));
    world
        .on("a load", Hangs)
        .on("drain stream", Hangs)
        .stand_still();
    world.dies("a");
    assert_eq!(world.stop(), "drain stream");
    assert_eq!(world.answer("a load"), "a new, executor 0 revives a");
    assert_eq!(world.answer("drain stream"), "executor 0 stop, finish 0");
}

#[test]
fn one_that_is_quarantined_while_tasks_are_drained_ends_the_drain() {
    let a = instance("a", &[P]).isolated().in_stream().forgiven(0);
    let mut world = begun(World::of([a]).stream());
    world.on("drain stream", Hangs).stand_still();
    world.stop();
    assert_eq!(
        world.dies("a"),
        "a retired, error 1, give up stream, executor 0 stop, finish 1"
    );
}

#[test]
fn one_that_is_quarantined_while_running_ends_the_run_at_once() {
    let a = instance("a", &[P]).isolated().in_stream().forgiven(0);
    let mut world = begun(World::of([a]).stream());
    world.on("drain stream", Hangs);
    assert_eq!(
        world.dies("a"),
        "a retired, error 1, drain stream, give up stream, executor 0 stop, finish 1"
    );
}

#[test]
fn once_executors_are_stopped_nothing_comes_back_and_a_driver_without_its_shutdown_is_an_error() {
    let mut world = begun(World::of([instance("a", &[X]).isolated()]));
    world.on("executor 0 stop", Hangs).stand_still();
    world.stop();
    assert_eq!(world.dies("a"), "warning 1");
    assert_eq!(world.answer("executor 0 stop"), "finish 0");

    let mut world = begun(World::of([instance("a", &[D, X]).isolated()]));
    world.on("executor 0 stop", Hangs).stand_still();
    world.stop();
    assert_eq!(world.dies("a"), "error 5");
    assert_eq!(world.answer("executor 0 stop"), "finish 5");
    assert_eq!(world.state("a"), State::Failed);
}

#[test]
fn one_that_is_being_killed_is_not_asked_to_shut_down() {
    let mut world = begun(driver());
    world.on("a killed", Hangs);
    world.overruns("a");
    assert_eq!(world.stop(), "error 5, finish 5");
}

#[test]
fn a_worker_that_ends_after_its_shutdown_is_no_death() {
    let mut world = begun(World::of([
        instance("a", &[D]),
        instance("b", &[D]).isolated(),
    ]));
    world.on("a shutdown", Hangs).stand_still();
    assert_eq!(world.stop(), "b shutdown, a shutdown");
    assert_eq!(world.dies("b"), "");
    assert_eq!(world.state("b"), State::Stopped);
    world.on("b shutdown", DiesFirst);
    assert_eq!(world.answer("a shutdown"), "finish 0");

    for (dying, end) in [
        (DiesAfterAll, "b shutdown, finish 0"),
        (DiesFirst, "b shutdown, error 4, finish 4"),
    ] {
        let mut world = begun(World::of([instance("b", &[D]).isolated()]));
        world.on("b shutdown", dying);
        assert_eq!(world.stop(), end);
    }
}
