//! Deaths before an instance was ever ready: each is a failed call of its start.

use super::*;

#[test]
fn a_death_in_an_init_is_a_failed_init() {
    for dying in [Dies, DiesFirst, DiesAfterAll] {
        let mut world = driver();
        world.on("a init", dying);
        let started = world.start();
        assert!(started.starts_with("a load, a new, a init, error 4"));
        assert!(started.ends_with("finish 4"), "{started}");
        assert_eq!(world.count("a shutdown"), 0);
    }
}

#[test]
fn another_attempt_after_a_death_is_made_in_a_new_worker() {
    for dying in [DiesTimes(1), DiesFirst, DiesAfterAll] {
        let mut world = World::of([instance("a", &[D]).isolated().attempts(2)]);
        world.on("a init", dying).stand_still();
        assert_eq!(world.start(), "a load, a new, a init, warning 4");
        world.on("a init", FailsTimes(0, ExitCode::Init));
        assert_eq!(world.go_on(), format!("(100ms), {AGAIN}, ready"));
    }
}

#[test]
fn another_attempt_after_an_error_is_made_in_the_same_one() {
    let mut world = World::of([instance("a", &[D]).isolated().attempts(2)]);
    world.on("a init", FailsTimes(1, ExitCode::Init));
    assert_eq!(
        world.start(),
        "a load, a new, a init, warning 4, (100ms), a init, a register_metrics, ready"
    );
}

#[test]
fn an_init_that_overruns_is_killed_and_tried_again() {
    let mut world = World::of([instance("a", &[D]).isolated().attempts(2)]);
    world.on("a init", Hangs);
    let killed = "a load, a new, a init, (10s), a killed";
    assert_eq!(
        world.start(),
        format!("{killed}, warning 4, (100ms), {killed}, error 4, finish 4")
    );
    assert_eq!(
        world.headlines(),
        ["plugin `a`: init did not return within 10s"; 2]
    );
}

#[test]
fn an_attempt_that_does_not_come_to_its_init_is_one_too() {
    for (line, killed) in [("a load", ""), ("a new", "a new, ")] {
        let mut world = World::of([instance("a", &[D]).isolated().attempts(3)]);
        world.on("a init", DiesTimes(1)).stand_still();
        world.start();
        world.on(line, FailsTimes(1, ExitCode::Init));
        let kill = if killed.is_empty() { "" } else { "a killed, " };
        assert_eq!(
            world.go_on(),
            format!("(100ms), a load, {killed}{kill}warning 4, (200ms), {AGAIN}, ready")
        );
    }
}

#[test]
fn a_death_between_two_calls_is_found_at_its_turn() {
    let two = |attempts| {
        let b = instance("b", &[D]).isolated().attempts(attempts);
        World::of([instance("a", &[D]), b, instance("c", &[D])])
    };
    let mut world = two(2);
    world.on("c load", Hangs).stand_still().start();
    assert_eq!(world.dies("b"), "");
    assert_eq!(world.answer("c load"), "a new, error 4, finish 4");

    let mut world = two(2);
    world.on("a init", Hangs).stand_still().start();
    assert_eq!(world.dies("b"), "");
    assert_eq!(world.answer("a init"), "warning 4");
    assert!(
        world
            .go_on()
            .starts_with("(100ms), b load, b new, b init, c init"),
        "{}",
        world.log()
    );
    assert!(world.supervisor.ready());

    let mut world = two(1);
    world.on("a init", Hangs).stand_still().start();
    world.dies("b");
    assert_eq!(world.answer("a init"), "error 4, a shutdown, finish 4");
}

#[test]
fn a_death_in_the_checkers_init_or_in_register_metrics_is_a_failed_init_too() {
    let calls = "a load, a new, a init, a checker init, a register_metrics";
    let shown =
        |line: &str| calls[..calls.find(line).expect("one of them") + line.len()].to_owned();
    for line in ["a checker init", "a register_metrics"] {
        for dying in [DiesTimes(1), DiesFirst, DiesAfterAll] {
            let a = instance("a", &[D, C]).isolated().attempts(2);
            let mut world = World::of([a, instance("b", &[D])]);
            world.on(line, dying).stand_still().start();
            world.on(line, FailsTimes(0, ExitCode::Init));
            let begun = world.log().replace("a killed, ", "");
            let begun = begun.replace("b load, ", "").replace("b new, ", "");
            let begun = begun.replace("b init, ", "");
            assert_eq!(begun, format!("{}, warning 4", shown(line)));
            assert_eq!(world.state("a"), State::BackingOff);
            let (again, last) = calls.split_at(calls.rfind(", ").expect("a list"));
            let b = match line {
                "a checker init" => ", b init",
                _ => "",
            };
            assert_eq!(
                world.go_on(),
                format!("(100ms), {again}{b}{last}, b register_metrics, ready")
            );
            assert_eq!((world.count("b init"), world.count("b shutdown")), (1, 0));
            assert_eq!(world.state("a"), State::Ready);
        }
    }
}

#[test]
fn attempts_that_all_die_after_their_init_end_the_start_and_nobody_is_owed_a_shutdown() {
    for line in ["a checker init", "a register_metrics"] {
        for dying in [Dies, DiesFirst, DiesAfterAll] {
            let mut world = World::of([instance("a", &[D, C]).isolated().attempts(3)]);
            world.on(line, dying);
            let started = world.start();
            assert!(started.ends_with("error 4, finish 4"), "{started}");
            assert_eq!(world.count("a init"), 3);
            assert_eq!(world.pauses(), ["100ms", "200ms"]);
            assert_eq!(world.count("a shutdown"), 0);

            let optional = instance("a", &[D, C]).isolated().optional();
            let mut world = World::of([optional, instance("b", &[D])]);
            world.on(line, dying);
            assert!(world.start().ends_with("b register_metrics, ready"));
            assert_eq!(
                (world.state("a"), world.count("b init")),
                (State::Failed, 1)
            );
        }
    }
}

#[test]
fn metrics_that_overrun_in_a_worker_are_killed_and_tried_again_and_an_error_is_not() {
    let a = || instance("a", &[D]).isolated().attempts(2);
    let mut world = World::of([a()]);
    world.on("a register_metrics", Hangs).stand_still().start();
    world.go_on();
    assert_eq!(
        world.log(),
        format!(
            "{AGAIN}, (10s), a killed, warning 4, (100ms), {AGAIN}, (10s), a killed, error 4, finish 4"
        )
    );

    let mut world = World::of([a()]);
    world.on("a register_metrics", Fails(ExitCode::Init));
    assert_eq!(
        world.start(),
        format!("{AGAIN}, error 4, a shutdown, finish 4")
    );
}

#[test]
fn one_that_was_initialised_comes_back_while_the_others_start() {
    let two = || World::of([instance("a", &[D]).isolated(), instance("b", &[D])]);
    let mut world = two();
    world.on("b init", Hangs).stand_still().start();
    assert_eq!(world.dies("a"), format!("warning 1, {AGAIN}"));
    // Registered already.
    assert_eq!(world.answer("b init"), "b register_metrics, ready");

    let mut world = two();
    world.on("b init", Hangs).stand_still().start();
    world.dies("a");
    world.dies("a");
    // The start stands still until it is back: what comes later may need it.
    assert_eq!(world.answer("b init"), "");
    assert_eq!(
        world.go_on(),
        format!("(100ms), {AGAIN}, b register_metrics, ready")
    );
}

#[test]
fn an_executor_that_failed_because_of_the_old_life_is_started_again_and_not_charged() {
    let mut world = processor(1);
    world.on("executor 0 start", Hangs).stand_still().start();
    assert_eq!(world.dies("a"), "warning 1, a load, a new");
    assert_eq!(world.state("a"), State::Initializing);
    world.on("executor 0 start", FailsFor("a", 1));
    let rest = "executor 0 start a, open stream, ready, start stream";
    assert_eq!(world.answer("executor 0 start"), rest);
    assert_eq!(world.state("a"), State::Ready);
}

#[test]
fn an_executor_waits_with_its_start_until_the_instance_is_back() {
    let mut world = processor(1);
    world
        .on("executor 0 start", Hangs)
        .on("a load", DiesTimes(1))
        .stand_still();
    world.on("a load", FailsTimes(0, ExitCode::Init)).start();
    world.dies("a");
    world.dies("a");
    world.on("executor 0 start", FailsFor("a", 1));
    assert_eq!(world.answer("executor 0 start"), "");
    assert_eq!(world.words(), ["backing-off"]);
    assert_eq!(
        world.go_on(),
        "(100ms), a load, a new, executor 0 start a, open stream, ready, start stream"
    );
}

#[test]
fn an_executor_that_waits_does_not_hold_up_a_stop() {
    let mut world = processor(1);
    world.on("executor 0 start", Hangs).stand_still().start();
    world.dies("a");
    world.dies("a");
    world.on("executor 0 start", FailsFor("a", 1));
    world.answer("executor 0 start");
    assert_eq!(world.stop(), "finish 0");
}

#[test]
fn one_that_started_with_the_old_life_makes_its_parts_anew() {
    let mut world = processor(1);
    world.on("executor 0 start", Hangs).stand_still().start();
    world.dies("a");
    let rest = "executor 0 revives a, open stream, ready, start stream";
    assert_eq!(world.answer("executor 0 start"), rest);
}

#[test]
fn an_executor_that_knows_of_a_death_first_is_not_charged_either() {
    let mut world = processor(1);
    world.on("executor 0 start", FindsGone("a", 1));
    let rest = "(100ms), executor 0 start a, open stream, ready, start stream";
    world.start();
    assert_eq!(
        world.since("executor 0 start a"),
        "open stream, ready, start stream"
    );
    assert!(world.log().ends_with(rest), "{}", world.log());
    // One that fails while its instance is well is charged as ever.
    let mut world = processor(1);
    world.on("executor 0 start", FailsFor("a", 1));
    assert!(world.start().ends_with("finish 6"), "{}", world.log());
}

#[test]
fn a_start_whose_executors_keep_dying_ends_with_the_quarantine() {
    let mut world = processor(1);
    world.on("executor 0 start", Hangs).stand_still().start();
    for _ in 0..6 {
        world.dies("a");
        world.on("executor 0 start", FailsFor("a", 99));
        world.wait(Duration::from_secs(1));
    }
    assert_eq!(world.state("a"), State::Quarantined);
    assert_eq!(world.answer("executor 0 start"), "warning 4, finish 1");
}
