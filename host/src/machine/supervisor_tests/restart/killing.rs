//! What overruns in a worker ends that worker, once.

use super::*;

#[test]
fn a_call_that_nobody_ordered_and_that_overruns_ends_its_worker() {
    let mut world = begun(driver());
    assert_eq!(
        world.overruns("a"),
        format!("warning 1, a killed, warning 1, {AGAIN}")
    );
    // The call returns with its worker, before or after.
    world.send(Event::Recovered(InstanceId(0)));
    assert_eq!(world.state("a"), State::Ready);
}

#[test]
fn one_that_is_being_killed_is_killed_once_and_does_not_serve_again() {
    let mut world = begun(driver());
    world.on("a killed", Hangs);
    assert_eq!(world.overruns("a"), "warning 1, a killed");
    assert_eq!(world.overruns("a"), "warning 1");
    for _ in 0..2 {
        world.send(Event::Recovered(InstanceId(0)));
    }
    assert_eq!(world.state("a"), State::Hung);
    assert_eq!(world.dies("a"), format!("warning 1, {AGAIN}"));
}

#[test]
fn an_executor_that_hangs_in_it_is_not_given_up() {
    let mut world = begun(processor(1));
    assert_eq!(
        world.hangs(0, "a"),
        "warning 1, a killed, warning 1, a load, a new, executor 0 revives a"
    );
    assert_eq!(
        (world.words(), world.state("a")),
        (vec!["ready"], State::Ready)
    );
}

#[test]
fn one_that_hangs_in_its_shutdown_ends_with_its_worker() {
    let mut world = begun(World::of([instance("a", &[X]).isolated()]));
    world.on("executor 0 stop", Hangs).stand_still();
    world.stop();
    assert_eq!(world.hangs(0, "a"), "error 5, a killed, warning 1");
    assert_eq!(world.answer("executor 0 stop"), "finish 5");
}

#[test]
fn an_ordered_call_that_overruns_is_killed_and_fails() {
    let mut world = begun(driver());
    world.on("a init", Hangs);
    let killed = "a load, a new, a init, (10s), a killed, warning 4";
    let ended = world.dies("a");
    assert!(
        ended.starts_with(&format!("warning 1, {killed}, (100ms), {killed}, (200ms)")),
        "{ended}"
    );
    // One death and five of these.
    assert_eq!(world.count("a init"), 1 + 5);
    assert_eq!(
        (world.state("a"), world.last().as_str()),
        (State::Quarantined, "finish 1")
    );
}

#[test]
fn a_call_that_returns_well_after_all_does_not_save_it() {
    let mut world = begun(driver());
    world.on("a new", Hangs).on("a killed", Hangs).stand_still();
    world.dies("a");
    assert_eq!(world.wait(Duration::from_secs(1)), "a killed");
    assert_eq!(world.answer("a new"), "warning 4");
    assert_eq!(world.state("a"), State::BackingOff);
}

#[test]
fn a_call_that_not_even_that_ends_is_left_behind() {
    let mut world = begun(driver());
    world.on("a init", Hangs).on("a killed", Hangs);
    assert_eq!(
        world.dies("a"),
        "warning 1, a load, a new, a init, (10s), a killed, (5s), error 4, finish 4"
    );
    assert_eq!(world.state("a"), State::Hung);
}

#[test]
fn a_killed_worker_s_end_is_waited_for_but_not_for_ever() {
    let mut world = begun(driver());
    world
        .on("a init", FailsTimes(1, ExitCode::Init))
        .on("a killed", Hangs)
        .stand_still();
    world.dies("a");
    assert_eq!(world.wait(Duration::from_secs(1)), "");
    // It ends before that.
    assert_eq!(world.death_is_told("a"), AGAIN);

    let mut world = begun(driver());
    world
        .on("a init", FailsTimes(1, ExitCode::Init))
        .on("a killed", Hangs);
    let failed = "a load, a new, a init, warning 4, a killed";
    assert_eq!(
        world.dies("a"),
        format!("warning 1, {failed}, (100ms), (5s), {AGAIN}")
    );
}

#[test]
fn a_shutdown_that_overruns_is_ended() {
    let mut world = begun(World::of([
        instance("a", &[D]),
        instance("b", &[D]).isolated(),
    ]));
    world.on("b shutdown", Hangs);
    assert_eq!(
        world.stop(),
        "b shutdown, (5s), b killed, error 5, a shutdown, finish 5"
    );
    let mut world = begun(driver());
    world.on("a shutdown", Hangs).on("a killed", Hangs);
    assert_eq!(
        world.stop(),
        "a shutdown, (5s), a killed, (5s), error 5, finish 5"
    );
    assert_eq!(world.state("a"), State::Hung);
}
