//! Isolated instances whose workers die, at every moment of a run.

use super::*;
use std::time::Duration;

const AGAIN: &str = "a load, a new, a init, a register_metrics";

/// One with a driver, in a worker.
fn driver() -> World {
    World::of([instance("a", &[D]).isolated()])
}

/// One that records pass through, on so many executors.
fn processor(executors: u32) -> World {
    World::of([instance("a", &[P]).isolated().in_stream()])
        .stream()
        .executors(executors)
}

fn begun(mut world: World) -> World {
    world.start();
    assert!(world.supervisor.ready(), "{}", world.log());
    world
}

mod coming_back {
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
            format!("{skipped}, error 2, drain stream, executor 0 stop, finish 2")
        );
    }

    #[test]
    fn quarantined_is_a_word() {
        assert_eq!(State::Quarantined.to_string(), "quarantined");
        let json = serde_json::to_string(&State::Quarantined).expect("a word");
        assert_eq!(json, "\"quarantined\"");
    }
}

mod told_in_vain {
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
}

mod killing {
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
}

mod starting {
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
    fn the_checker_and_the_metrics_of_one_that_dies_fail_it_and_it_is_owed_no_shutdown() {
        for line in ["a checker init", "a register_metrics"] {
            for dying in [Dies, DiesFirst, DiesAfterAll] {
                let mut world = World::of([instance("a", &[D, C]).isolated().attempts(3)]);
                world.on(line, dying);
                world.start();
                let mut end = world.since(line);
                // Where the failure is told first, the shutdown that it was owed finds the worker gone.
                end = end.replace("a shutdown, ", "");
                assert_eq!(end, "error 4, finish 4", "{}", world.log());
            }
        }
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
}

mod executors {
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
}

mod stopping {
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
            "a retired, error 1, cancel stream, executor 0 stop, finish 1"
        );
    }

    #[test]
    fn one_that_is_quarantined_while_running_ends_the_run_at_once() {
        let a = instance("a", &[P]).isolated().in_stream().forgiven(0);
        let mut world = begun(World::of([a]).stream());
        world.on("drain stream", Hangs);
        assert_eq!(
            world.dies("a"),
            "a retired, error 1, drain stream, cancel stream, executor 0 stop, finish 1"
        );
    }

    #[test]
    fn once_executors_are_stopped_nothing_comes_back_and_a_driver_without_its_shutdown_is_an_error()
    {
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
}

mod poison {
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
}
