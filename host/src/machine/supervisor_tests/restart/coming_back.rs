//! How a dead instance comes back: at once, then with pauses that grow, and not for ever.

use super::*;

#[test]
fn the_first_death_is_answered_at_once_with_the_calls_of_a_start() {
    let mut world = begun(driver());
    assert_eq!(world.dies("a"), format!("warning 1, {AGAIN}"));
    assert_eq!((world.state("a"), world.reason("a")), (State::Ready, None));
    assert!(world.supervisor.ready());
    assert_eq!(world.stop(), "a shutdown, finish 0");
}

#[test]
fn every_executor_that_is_up_makes_its_parts_anew_before_it_is_ready() {
    let parts = instance("a", &[D, C, X, P]).isolated();
    let mut world = begun(World::of([parts]).stream().executors(2));
    world.on("executor 1 revives a", Hangs).stand_still();
    let calls = "a load, a new, a init, a checker init, a register_metrics";
    assert_eq!(
        world.dies("a"),
        format!("warning 1, {calls}, executor 0 revives a, executor 1 revives a")
    );
    assert_eq!(world.state("a"), State::Initializing);
    assert_eq!(world.answer("executor 1 revives a"), "");
    assert_eq!(world.state("a"), State::Ready);
}

#[test]
fn without_a_driver_there_is_no_init_and_without_parts_on_executors_no_executor_is_asked() {
    let mut world = begun(processor(1));
    assert_eq!(
        world.dies("a"),
        "warning 1, a load, a new, executor 0 revives a"
    );
    let neighbour = [instance("a", &[D]).isolated(), instance("b", &[X])];
    let mut world = begun(World::of(neighbour));
    assert_eq!(world.dies("a"), format!("warning 1, {AGAIN}"));
    let half = World::of([instance("a", &[D, P]).isolated()]).side(Side::Drivers);
    assert_eq!(begun(half).dies("a"), format!("warning 1, {AGAIN}"));
}

#[test]
fn later_deaths_wait_twice_as_long_each_and_the_one_too_many_quarantines() {
    let mut world = begun(driver());
    for _ in 0..5 {
        world.dies("a");
        assert_eq!(world.state("a"), State::Ready);
    }
    assert_eq!(world.pauses(), ["100ms", "200ms", "400ms", "800ms"]);
    assert_eq!(world.dies("a"), "a retired, error 1, finish 1");
    assert_eq!(world.state("a"), State::Quarantined);
    assert_eq!(
        world.codes().last().map(String::as_str),
        Some("quarantined")
    );
    let said = world.reason("a").expect("it says why");
    assert!(
        said.contains("6 times within 5m") && said.contains("signal 11"),
        "{said}"
    );
}

#[test]
fn while_it_waits_it_backs_off_and_says_why() {
    let mut world = begun(driver());
    world.dies("a");
    world.stand_still();
    assert_eq!(world.dies("a"), "warning 1");
    assert_eq!(world.state("a"), State::BackingOff);
    let reason = "plugin `a`: its worker died: killed by signal 11 (SIGSEGV)";
    assert_eq!(world.reason("a").as_deref(), Some(reason));
}

#[test]
fn a_failure_is_forgotten_after_five_minutes_and_each_on_its_own() {
    let mut world = begun(driver());
    world.dies("a");
    world.wait(Duration::from_secs(200));
    assert_eq!(world.dies("a"), format!("warning 1, (100ms), {AGAIN}"));
    world.wait(Duration::from_secs(101));
    assert_eq!(world.dies("a"), format!("warning 1, (100ms), {AGAIN}"));
    world.wait(Duration::from_secs(300));
    assert_eq!(world.dies("a"), format!("warning 1, {AGAIN}"));
}

#[test]
fn an_optional_one_is_given_up_alone_unless_records_pass_through_it() {
    let a = || instance("a", &[D]).isolated().optional().forgiven(0);
    let mut world = begun(World::of([a(), instance("b", &[D])]));
    assert_eq!(world.dies("a"), "a retired, warning 1");
    assert_eq!(
        (world.state("a"), world.supervisor.ready()),
        (State::Quarantined, true)
    );
    // What is told of it later is told in vain.
    assert_eq!(world.death_is_told("a"), "");
    assert_eq!(world.poisons("a", 3), "");
    assert_eq!(world.stop(), "b shutdown, finish 0");
    assert_eq!(world.state("a"), State::Quarantined);

    let mut world = begun(World::of([a().in_stream()]));
    assert_eq!(world.dies("a"), "a retired, error 1, finish 1");
}

#[test]
fn a_restart_that_fails_is_a_failure_and_its_worker_goes_with_it() {
    let mut world = begun(driver());
    world.on("a init", FailsTimes(1, ExitCode::Init));
    let failed = "a load, a new, a init, warning 4, a killed";
    assert_eq!(
        world.dies("a"),
        format!("warning 1, {failed}, (100ms), {AGAIN}")
    );
    assert_eq!(world.dies("a"), format!("warning 1, (200ms), {AGAIN}"));
}

#[test]
fn a_worker_that_cannot_be_started_is_a_failure_without_anyone_to_kill() {
    let mut world = begun(driver());
    world.on("a load", FailsTimes(1, ExitCode::Init));
    assert_eq!(
        world.dies("a"),
        format!("warning 1, a load, warning 4, (100ms), {AGAIN}")
    );
}

#[test]
fn a_death_in_a_call_of_the_restart_is_one_failure_in_whatever_order_it_is_told() {
    for line in ["a new", "a init", "a register_metrics"] {
        for dying in [DiesFirst, DiesAfterAll, DiesTimes(1)] {
            let mut world = begun(driver());
            world.on(line, dying).stand_still();
            world.dies("a");
            assert_eq!(
                (world.state("a"), world.count("warning")),
                (State::BackingOff, 2)
            );
            world.on(line, FailsTimes(0, ExitCode::Init));
            assert_eq!(world.go_on(), format!("(100ms), {AGAIN}"));
        }
    }
}

#[test]
fn a_death_while_the_worker_is_opened_is_found_by_that_call() {
    let mut world = begun(driver());
    world.on("a load", DiesTimes(1));
    let again = format!("warning 1, a load, warning 4, (100ms), {AGAIN}");
    assert_eq!(world.dies("a"), again);
    let mut world = begun(driver());
    world.on("a load", DiesFirst).stand_still();
    assert_eq!(world.dies("a"), "warning 1, a load, warning 4");
}

#[test]
fn two_that_die_at_once_come_back_beside_each_other() {
    let two = [
        instance("a", &[D]).isolated(),
        instance("b", &[D]).isolated(),
    ];
    let mut world = begun(World::of(two));
    world.on("a load", Hangs).on("b new", Hangs).stand_still();
    assert_eq!(world.dies("a"), "warning 1, a load");
    assert_eq!(world.dies("b"), "warning 1, b load, b new");
    assert_eq!(world.answer("a load"), "a new, a init, a register_metrics");
    assert_eq!(world.answer("b new"), "b init, b register_metrics");
    assert_eq!(world.stop(), "b shutdown, a shutdown, finish 0");
}

#[test]
fn one_that_declines_this_time_is_skipped() {
    let mut world = begun(World::of([instance("a", &[D]).isolated()]));
    world.on("a new", Declines);
    let skipped = "warning 1, a load, a new, a killed, a skipped, a retired";
    assert_eq!(world.dies("a"), skipped);
    assert_eq!(world.state("a"), State::Skipped);
    let mut world = begun(processor(1));
    world.on("a new", Declines);
    assert_eq!(
        world.dies("a"),
        format!("{skipped}, error 2, drain stream, give up stream, executor 0 stop, finish 2")
    );
}

#[test]
fn quarantined_is_a_word() {
    assert_eq!(State::Quarantined.to_string(), "quarantined");
    let json = serde_json::to_string(&State::Quarantined).expect("a word");
    assert_eq!(json, "\"quarantined\"");
}
