//! Every policy of DESIGN §5 on `step` alone: what is done, in order, and with which code it ends.

#[path = "supervisor_tests/random.rs"]
mod random;
#[path = "supervisor_tests/restart.rs"]
mod restart;
#[path = "supervisor_tests/world.rs"]
mod world;

use super::*;
use world::{Does::*, Part::*, World, instance};

mod start {
    use super::*;

    #[test]
    fn everything_is_loaded_before_anything_is_made_and_made_before_anything_is_initialised() {
        let mut world = World::of([instance("a", &[D, X]), instance("b", &[D])]).stream();
        assert_eq!(
            world.start(),
            "a load, b load, a new, b new, a init, b init, a register_metrics, b register_metrics, executor 0 start a, \
             open stream, ready, start stream"
        );
    }

    #[test]
    fn without_a_stream_the_executors_come_last_and_without_parts_there_are_none() {
        let mut world = World::of([instance("a", &[P])]).executors(2);
        assert_eq!(
            world.start(),
            "a load, a new, executor 0 start a, executor 1 start a, ready"
        );
        let mut world = World::of([instance("a", &[D])]).executors(2);
        assert_eq!(
            world.start(),
            "a load, a new, a init, a register_metrics, ready"
        );
        assert_eq!(World::of([]).start(), "ready");
    }

    #[test]
    fn after_orders_inits_and_the_config_orders_what_is_loaded() {
        let mut world = World::of([instance("a", &[D]), instance("b", &[D])]).order([1, 0]);
        let started = "a load, b load, a new, b new, b init, a init, b register_metrics, a register_metrics, ready";
        assert_eq!(world.start(), started);
        assert_eq!(world.stop(), "a shutdown, b shutdown, finish 0");
    }

    #[test]
    fn a_checker_is_initialised_right_after_its_driver() {
        let mut world = World::of([instance("a", &[D, C]), instance("b", &[C])]);
        let started = "a load, b load, a new, b new, a init, a checker init, b checker init, a register_metrics, ready";
        assert_eq!(world.start(), started);
        assert_eq!(world.state("a"), State::Ready);
        // A checker has no shutdown.
        assert_eq!(world.stop(), "a shutdown, finish 0");
        assert_eq!(
            [world.state("a"), world.state("b")],
            [State::Stopped, State::Stopped]
        );
    }

    #[test]
    fn a_driver_may_set_the_number_of_executors_while_it_is_initialised() {
        let mut world = World::of([instance("a", &[D, X])]);
        world.on("a init", SetsExecutors(3));
        world.start();
        assert_eq!(world.count("executor"), 3);
        // One that comes too late changes nothing.
        assert_eq!(world.send(Event::ExecutorsSet(5)), "");
        assert_eq!(world.supervisor.executors_wanted(), 3);
    }

    #[test]
    fn half_a_host_runs_its_half() {
        let parts = || World::of([instance("a", &[D, C, X, P])]).stream();
        let mut drivers = parts().side(Side::Drivers);
        assert_eq!(
            drivers.start(),
            "a load, a new, a init, a checker init, a register_metrics, ready"
        );
        assert_eq!(drivers.stop(), "a shutdown, finish 0");
        let mut executors = parts().side(Side::Executors);
        assert_eq!(
            executors.start(),
            "a load, a new, executor 0 start a, ready"
        );
        assert_eq!(executors.stop(), "executor 0 stop, finish 0");
    }

    #[test]
    fn states_go_from_verified_to_stopped() {
        let mut world = World::of([instance("a", &[D])]);
        let at = [
            ("a load", State::Verified),
            ("a new", State::Verified),
            ("a init", State::Initializing),
            ("a register_metrics", State::Ready),
        ];
        for (line, _) in at {
            world.on(line, Hangs);
        }
        world.stand_still().start();
        for (line, state) in at {
            assert_eq!((world.last(), world.state("a")), (line.to_owned(), state));
            world.answer(line);
        }
        assert_eq!(world.state("a"), State::Ready);
        world.on("a shutdown", Hangs);
        world.stop();

        assert_eq!(world.state("a"), State::Stopping);
        assert_eq!(world.answer("a shutdown"), "finish 0");
        assert_eq!(world.state("a"), State::Stopped);
    }
}

mod failure {
    use super::*;

    fn three() -> World {
        World::of([
            instance("a", &[D]),
            instance("b", &[D]),
            instance("c", &[D]),
        ])
    }

    fn optional_c() -> World {
        World::of([
            instance("a", &[D]),
            instance("b", &[D]),
            instance("c", &[D, C]).optional(),
        ])
    }

    #[test]
    fn a_required_library_that_is_refused_ends_the_start_before_anything_was_made() {
        let mut world = three();
        world
            .on("a load", Fails(ExitCode::Refused))
            .on("c load", Fails(ExitCode::Refused));
        assert_eq!(
            world.start(),
            "a load, error 3, b load, c load, error 3, finish 3"
        );
    }

    #[test]
    fn an_optional_library_that_is_refused_is_out_and_the_others_run() {
        let mut world = optional_c();
        world.on("c load", Fails(ExitCode::Refused));
        assert_eq!(
            world.start(),
            "a load, b load, c load, warning 3, c retired, a new, b new, a init, b init, a register_metrics, \
             b register_metrics, ready"
        );
        assert_eq!(
            (world.state("c"), world.reason("c")),
            (State::Failed, Some("c load".to_owned()))
        );
        assert_eq!(world.stop(), "b shutdown, a shutdown, finish 0");
        assert_eq!(world.state("c"), State::Failed);
    }

    #[test]
    fn settings_that_the_schema_refuses_stop_the_host_whoever_they_belong_to() {
        let mut world = optional_c();
        world.on("c load", Fails(ExitCode::Usage));
        assert_eq!(world.start(), "a load, b load, c load, error 2, finish 2");
    }

    #[test]
    fn a_required_new_that_fails_ends_the_start_at_once() {
        let mut world = three();
        world.on("b new", Fails(ExitCode::Init));
        assert_eq!(
            world.start(),
            "a load, b load, c load, a new, b new, error 4, finish 4"
        );
    }

    #[test]
    fn new_may_say_not_for_this_host() {
        let mut world = three();
        world.on("b new", Declines);
        assert_eq!(
            world.start(),
            "a load, b load, c load, a new, b new, b skipped, c new, a init, c init, a register_metrics, \
             c register_metrics, ready"
        );
        assert_eq!(
            (world.state("b"), world.reason("b")),
            (State::Skipped, Some("b new".to_owned()))
        );
        assert_eq!(world.stop(), "c shutdown, a shutdown, finish 0");
        assert_eq!(world.state("b"), State::Skipped);
    }

    #[test]
    fn a_failed_init_rolls_back_in_reverse_each_once_and_itself_not_at_all() {
        let mut world = three();
        world.on("c init", Fails(ExitCode::Init));
        world.start();
        assert_eq!(
            world.since("c init"),
            "error 4, b shutdown, a shutdown, finish 4"
        );
    }

    #[test]
    fn a_rollback_that_fails_goes_on_and_the_first_failure_is_the_exit_code() {
        let mut world = three();
        world
            .on("c init", Fails(ExitCode::Init))
            .on("b shutdown", Fails(ExitCode::Shutdown));
        world.start();
        assert_eq!(
            world.since("c init"),
            "error 4, b shutdown, error 5, a shutdown, finish 4"
        );
    }

    #[test]
    fn whatever_fails_at_the_start_decides_by_required() {
        for (line, shutdowns) in [
            ("c init", "b shutdown, a shutdown"),
            ("c checker init", "c shutdown, b shutdown, a shutdown"),
            ("c register_metrics", "c shutdown, b shutdown, a shutdown"),
        ] {
            let required = [
                instance("a", &[D]),
                instance("b", &[D]),
                instance("c", &[D, C]),
            ];
            let mut world = World::of(required);
            world.on(line, Fails(ExitCode::Init));
            world.start();
            assert_eq!(world.since(line), format!("error 4, {shutdowns}, finish 4"));

            let mut world = optional_c();
            world.on(line, Fails(ExitCode::Init));
            assert!(world.start().ends_with("ready"), "{}", world.log());
            assert!(
                world.since(line).starts_with("warning 4, c retired"),
                "{}",
                world.log()
            );
            assert_eq!(world.state("c"), State::Failed);
            assert_eq!(world.stop(), format!("{shutdowns}, finish 0"));
        }
    }

    #[test]
    fn init_is_tried_again_with_pauses_that_double() {
        let mut world = World::of([instance("a", &[D]).attempts(3)]);
        world.on("a init", FailsTimes(2, ExitCode::Init));
        let started = "a load, a new, a init, warning 4, (100ms), a init, warning 4, (200ms), a init, a register_metrics, ready";
        assert_eq!(world.start(), started);
        assert_eq!(world.stop(), "a shutdown, finish 0");
    }

    #[test]
    fn attempts_run_out() {
        let mut world = World::of([instance("a", &[D]), instance("b", &[D]).attempts(3)]);
        world.on("b init", Fails(ExitCode::Init));
        world.start();
        assert_eq!(world.count("b init"), 3);
        assert!(
            world
                .log()
                .ends_with("(200ms), b init, error 4, a shutdown, finish 4"),
            "{}",
            world.log()
        );
    }

    #[test]
    fn while_an_attempt_waits_the_instance_backs_off_and_a_stop_does_not_wait_with_it() {
        let mut world = World::of([instance("a", &[D]), instance("b", &[D]).attempts(3)]);
        world.on("b init", Fails(ExitCode::Init));
        world.stand_still().start();

        assert_eq!(
            (world.state("b"), world.last()),
            (State::BackingOff, "warning 4".to_owned())
        );
        assert_eq!(world.send(Event::StopAsked), "a shutdown, finish 0");
        assert_eq!((world.state("b"), world.timers()), (State::Stopped, 0));
    }

    #[test]
    fn a_fault_while_running_stops_a_required_instance_s_host_and_spares_an_optional_one_s() {
        let mut world = optional_c().stream();
        world.start();
        assert_eq!(world.fault("c"), "warning 1, c retired");
        assert_eq!(
            (world.state("c"), world.supervisor.ready()),
            (State::Failed, true)
        );
        // It was initialised, so it is owed its shutdown all the same; and it says why it failed until the end.
        assert_eq!(
            world.fault("b"),
            "error 1, drain stream, executor 0 stop, c shutdown, b shutdown, a shutdown, finish 1"
        );
        assert_eq!(world.reason("c"), Some("c faulted".to_owned()));
    }

    #[test]
    fn an_instance_that_faults_twice_is_retired_once() {
        let mut world = optional_c();
        world.start();
        world.fault("c");
        assert_eq!(world.fault("c"), "warning 1");
    }

    #[test]
    fn a_fault_from_before_the_shutdown_counts_although_it_is_told_while_that_runs() {
        let mut world = optional_c();
        world
            .on("c shutdown", Hangs)
            .on("b shutdown", Hangs)
            .start();
        world.stand_still().stop();
        assert_eq!(world.fault("c"), "warning 1, c retired");
        assert_eq!(world.answer("c shutdown"), "b shutdown");
        assert_eq!(world.state("c"), State::Failed);
        assert_eq!(world.fault("b"), "error 1");
        assert_eq!(world.answer("b shutdown"), "a shutdown, finish 1");
        assert_eq!(world.reason("b"), Some("b faulted".to_owned()));
    }

    #[test]
    fn one_that_is_out_gets_no_further_call_and_nothing_on_executors() {
        let all = instance("c", &[D, C, X, P]).optional();
        let mut world = World::of([instance("a", &[X]), all]);
        world.on("c checker init", Hangs);
        world.start();
        let later = "(10s), warning 4, c retired, executor 0 start a, ready";
        assert_eq!(
            (world.since("c checker init"), world.state("c")),
            (later.to_owned(), State::Hung)
        );
    }
}

mod deadline {
    use super::*;

    #[test]
    fn each_call_has_its_own() {
        for (line, within, code) in [
            ("b load", "(1s)", "load-timeout"),
            ("b new", "(1s)", "load-timeout"),
            ("b init", "(10s)", "init-timeout"),
            ("b checker init", "(10s)", "init-timeout"),
            ("b register_metrics", "(10s)", "init-timeout"),
        ] {
            let plan = [instance("a", &[D]), instance("b", &[D, C])];
            let mut world = World::of(plan);
            world.on(line, Hangs);
            world.start();
            let since = world.since(line);
            assert!(
                since.starts_with(&format!("{within}, error 4")),
                "{line}: {since}"
            );
            assert!(since.ends_with("finish 4"), "{line}: {since}");
            assert_eq!(
                (world.codes(), world.state("b") == State::Verified),
                (vec![code.to_owned()], false)
            );
        }
    }

    #[test]
    fn a_hanging_init_names_the_plugin_and_the_time_and_the_others_are_shut_down() {
        let mut world = World::of([instance("a", &[D]), instance("b", &[D])]);
        world.on("b init", Hangs);
        world.start();
        assert_eq!(
            world.since("b init"),
            "(10s), error 4, a shutdown, finish 4"
        );
        assert_eq!(
            world.headlines(),
            ["plugin `b`: init did not return within 10s"]
        );
        assert_eq!(world.state("b"), State::Hung);
    }

    #[test]
    fn a_hanging_init_is_not_tried_again() {
        let mut world = World::of([instance("b", &[D]).attempts(3)]);
        world.on("b init", Hangs);
        world.start();
        assert_eq!(world.count("b init"), 1);
    }

    #[test]
    fn a_late_return_is_reported_and_nothing_comes_of_it() {
        let mut world = World::of([instance("a", &[D]), instance("b", &[D]).optional()]);
        world.on("b init", Hangs);
        assert!(world.start().ends_with("ready"));
        assert_eq!(world.answer("b init"), "b init late");
        assert_eq!(world.state("b"), State::Hung);
        // Its init had not returned in time: it is owed no shutdown.
        assert_eq!(world.stop(), "a shutdown, finish 0");
    }

    #[test]
    fn a_timer_that_crosses_the_return_it_guards_changes_nothing() {
        let mut world = World::of([instance("a", &[D])]);
        world.start();
        assert_eq!(
            world.send(Event::TimerFired(Timer::Call(
                InstanceId(0),
                Call::InitDriver
            ))),
            ""
        );
        assert!(world.supervisor.ready());
    }

    #[test]
    fn a_call_that_nobody_ordered_makes_it_hung_until_it_returns() {
        let mut world = World::of([instance("a", &[D, C])]);
        world.start();
        assert_eq!(world.overruns("a"), "warning 1");
        assert_eq!(world.overruns("a"), "warning 1");
        assert_eq!(
            (world.state("a"), world.supervisor.ready()),
            (State::Hung, true)
        );
        // Driver and checker both hung: one of them is not all of it.
        world.send(Event::Recovered(InstanceId(0)));
        assert_eq!(world.state("a"), State::Hung);
        world.send(Event::Recovered(InstanceId(0)));
        assert_eq!((world.state("a"), world.reason("a")), (State::Ready, None));
    }

    #[test]
    fn a_hung_driver_does_not_end_the_run_and_is_asked_to_shut_down_at_its_end() {
        let mut world = World::of([instance("a", &[D]), instance("b", &[D])]);
        world.start();
        world.overruns("b");
        world.on("b shutdown", Hangs);
        assert_eq!(
            world.stop(),
            "b shutdown, (5s), error 5, a shutdown, finish 5"
        );
    }

    #[test]
    fn what_failed_is_not_made_ready_by_a_call_that_returns() {
        let mut world = World::of([instance("a", &[D]).optional()]);
        world.start();
        world.overruns("a");
        world.fault("a");
        world.send(Event::Recovered(InstanceId(0)));
        assert_eq!(world.state("a"), State::Failed);
    }

    #[test]
    fn durations_are_read_by_people() {
        assert_eq!(human(Duration::from_secs(5)), "5s");
        assert_eq!(human(Duration::from_millis(1500)), "1500ms");
    }
}

mod stop {
    use super::*;

    fn whole() -> World {
        World::of([instance("a", &[D]), instance("b", &[D, X, P])])
            .stream()
            .executors(2)
    }

    /// What follows a stop that is asked for while `line` is in hand and answered afterwards.
    fn stopped_at(line: &str) -> String {
        let mut world = whole();
        world.on(line, Stops);
        world.start();
        assert_eq!(world.timers(), 0);
        world.since(line)
    }

    #[test]
    fn the_stream_is_drained_then_executors_stop_then_drivers_in_reverse() {
        let mut world = whole();
        world.start();
        assert_eq!(
            world.stop(),
            "drain stream, executor 0 stop, executor 1 stop, b shutdown, a shutdown, finish 0"
        );
        assert_eq!(world.timers(), 0);
    }

    #[test]
    fn at_any_moment_the_call_in_hand_is_waited_for_and_what_it_initialised_is_shut_down() {
        assert_eq!(stopped_at("b load"), "finish 0");
        assert_eq!(stopped_at("a new"), "finish 0");
        assert_eq!(stopped_at("a init"), "a shutdown, finish 0");
        assert_eq!(
            stopped_at("a register_metrics"),
            "b shutdown, a shutdown, finish 0"
        );
        assert_eq!(
            stopped_at("executor 0 start"),
            "executor 1 start b, executor 0 stop, executor 1 stop, b shutdown, a shutdown, finish 0"
        );
        assert_eq!(
            stopped_at("open stream"),
            "executor 0 stop, executor 1 stop, give up stream, b shutdown, a shutdown, finish 0"
        );
    }

    #[test]
    fn asked_before_it_began_it_never_begins() {
        let mut world = whole();
        assert_eq!(world.stop(), "finish 0");
        assert_eq!(world.send(Event::Begin), "");
    }

    #[test]
    fn asked_twice_it_stops_once() {
        let mut world = whole();
        world.start();
        world.on("b shutdown", Stops);
        assert_eq!(
            world.stop(),
            "drain stream, executor 0 stop, executor 1 stop, b shutdown, a shutdown, finish 0"
        );
        assert_eq!(world.stop(), "");
    }

    #[test]
    fn an_init_that_fails_while_stopping_is_not_tried_again() {
        let mut world = World::of([instance("a", &[D]).attempts(3)]);
        world.on("a init", Hangs).stand_still().start();
        world.stop();

        world.on("a init", Fails(ExitCode::Init));
        assert_eq!(world.answer("a init"), "error 4, finish 4");
    }

    #[test]
    fn an_executor_that_cannot_start_while_stopping_is_no_failure_but_is_told() {
        let mut world = whole();
        world
            .on("executor 0 start", Hangs)
            .on("executor 1 start", Hangs)
            .stand_still()
            .start();
        assert_eq!(world.stop(), "");

        world.on("executor 0 start", FailsFor("b", 1));
        assert_eq!(world.answer("executor 0 start"), "warning 4");
        let rest = "executor 1 stop, b shutdown, a shutdown, finish 0";
        assert_eq!(world.answer("executor 1 start"), rest);
    }

    #[test]
    fn failing_and_overrunning_shutdowns_do_not_keep_the_others_waiting() {
        let plan = || {
            World::of([
                instance("a", &[D]),
                instance("b", &[D]),
                instance("c", &[D]),
            ])
        };
        let mut world = plan();
        world.on("b shutdown", Fails(ExitCode::Shutdown));
        world.start();
        assert_eq!(
            world.stop(),
            "c shutdown, b shutdown, error 5, a shutdown, finish 5"
        );
        let mut world = plan();
        world.on("b shutdown", Hangs);
        world.start();
        assert_eq!(
            world.stop(),
            "c shutdown, b shutdown, (5s), error 5, a shutdown, finish 5"
        );
        assert_eq!(
            world.headlines(),
            ["plugin `b`: shutdown did not return within 5s"]
        );
    }

    #[test]
    fn an_executor_s_shutdown_that_fails_or_hangs_does_not_either() {
        let mut world = whole();
        world.on("executor 0 stop", Fails(ExitCode::Shutdown));
        world.start();
        assert_eq!(
            world.stop_from("executor 1 stop"),
            "error 5, b shutdown, a shutdown, finish 5"
        );
        let mut world = whole();
        world.on("executor 0 stop", HangsNoticed("b"));
        world.start();
        assert_eq!(
            world.stop_from("executor 1 stop"),
            "error 5, b shutdown, a shutdown, finish 5"
        );
    }

    #[test]
    fn an_executor_that_hangs_where_no_watchdog_looks_is_left_behind_too() {
        let mut world = whole();
        world.on("executor 0 stop", Hangs);
        world.start();
        // One instance's shutdown, and a second.
        let stopped = world.stop_from("executor 1 stop");
        assert_eq!(stopped, "(6s), error 5, b shutdown, a shutdown, finish 5");
        let mut world = whole();
        world.on("executor 0 start", Hangs);
        world.start();
        // Two parts' inits, and a second.
        let stopped = "(21s), error 4, executor 1 stop, b shutdown, a shutdown, finish 4";
        assert_eq!(world.since("executor 1 start b"), stopped);
    }

    #[test]
    fn a_drain_that_overruns_is_cancelled() {
        let mut world = whole();
        world
            .on("drain stream", Hangs)
            .on("cancel stream", Fails(ExitCode::Shutdown));
        world.start();
        let rest = "executor 0 stop, executor 1 stop, b shutdown, a shutdown, finish 5";
        let stopped = format!("drain stream, (2s), cancel stream, error 5, {rest}");
        assert_eq!(world.stop(), stopped);
    }

    #[test]
    fn a_task_that_does_not_return_after_that_is_left_behind() {
        let mut world = whole();
        world.on("drain stream", Hangs).on("cancel stream", Hangs);
        world.start();
        let rest = "executor 0 stop, executor 1 stop, b shutdown, a shutdown, finish 5";
        assert_eq!(
            world.stop(),
            format!("drain stream, (2s), cancel stream, (5s), error 5, {rest}")
        );
    }

    #[test]
    fn the_end_of_the_stream_is_a_clean_stop_without_a_drain() {
        let mut world = whole();
        world.start();
        assert_eq!(
            world.send(Event::StreamEnded(Ok(()))),
            "executor 0 stop, executor 1 stop, b shutdown, a shutdown, finish 0"
        );
    }

    #[test]
    fn a_stream_that_fails_ends_with_1_and_one_that_cannot_be_opened_too() {
        let rest = "executor 0 stop, executor 1 stop, b shutdown, a shutdown, finish 1";
        let mut world = whole();
        world.start();
        assert_eq!(world.stream_fails(), format!("error 1, {rest}"));
        let mut world = whole();
        world.on("open stream", Fails(ExitCode::Running));
        world.start();
        assert_eq!(world.since("open stream"), format!("error 1, {rest}"));
    }

    #[test]
    fn a_failure_after_a_request_to_stop_still_decides_the_exit_code() {
        let mut world = whole();
        world.on("drain stream", Hangs).stand_still().start();
        world.stop();
        assert_eq!(world.fault("a"), "error 1");

        let rest = "executor 0 stop, executor 1 stop, b shutdown, a shutdown, finish 1";
        assert_eq!(world.answer("drain stream"), rest);
    }
}

mod executors {
    use super::*;

    fn two(optional: bool) -> World {
        let c = instance("c", &[X]);
        let c = if optional { c.optional() } else { c };
        World::of([instance("a", &[P]), c])
            .stream()
            .executors(2)
            .restarts(3)
    }

    #[test]
    fn a_start_that_always_fails_is_tried_as_often_as_allowed_with_pauses_that_double() {
        let mut world = two(false);
        world
            .on("executor 0 start", FailsFor("c", 99))
            .on("executor 1 start", FailsFor("c", 99));
        world.start();
        assert_eq!(world.count("executor"), 8);
        assert_eq!(world.pauses(), ["100ms", "200ms", "400ms"]);
        assert!(
            world.log().ends_with("error 6, finish 6"),
            "{}",
            world.log()
        );
        assert_eq!(world.count("error"), 1);
    }

    #[test]
    fn an_optional_instance_that_fails_them_is_dropped_and_they_start_again() {
        let mut world = two(true);
        world
            .on("executor 0 start", FailsFor("c", 4))
            .on("executor 1 start", FailsFor("c", 4));
        world.start();
        let dropped = "warning 6, c retired, executor 0 start a, executor 1 start a, open stream, ready, start stream";
        assert!(world.log().ends_with(dropped), "{}", world.log());
        assert_eq!(world.state("c"), State::Failed);
        assert_eq!(
            world.stop(),
            "drain stream, executor 0 stop, executor 1 stop, finish 0"
        );
    }

    #[test]
    fn one_that_starts_at_last_serves() {
        let mut world = two(false);
        world.on("executor 1 start", FailsFor("c", 3));
        assert!(
            world
                .start()
                .ends_with("(400ms), executor 1 start a c, open stream, ready, start stream")
        );
    }

    #[test]
    fn what_was_out_of_attempts_before_a_stop_is_told() {
        let mut world = two(false).restarts(0);
        world
            .on("executor 0 start", FailsFor("c", 1))
            .on("executor 1 start", Stops);
        world.start();
        assert!(
            world.log().ends_with("error 6, executor 1 stop, finish 6"),
            "{}",
            world.log()
        );
    }

    #[test]
    fn a_hung_one_is_left_behind_and_another_goes_on() {
        let mut world = two(false);
        world.start();
        assert_eq!(
            (world.hangs(0, "a"), world.supervisor.ready()),
            ("warning 1".to_owned(), true)
        );
        // The same thread may be found hung in a second part; it is abandoned once.
        assert_eq!(world.hangs(0, "c"), "warning 1");
        assert_eq!(world.words(), ["hung", "ready"]);
        assert_eq!(world.stop(), "drain stream, executor 1 stop, finish 0");
    }

    #[test]
    fn with_none_left_the_run_ends_with_1() {
        let mut world = two(false);
        world.start();
        world.hangs(0, "a");
        assert_eq!(
            world.hangs(1, "a"),
            "error 1, drain stream, give up stream, finish 1"
        );
        assert_eq!(world.state("a"), State::Hung);
    }

    #[test]
    fn with_none_left_while_draining_what_is_left_is_given_up() {
        let mut world = World::of([instance("a", &[P])]).stream();
        world.on("drain stream", Hangs).stand_still().start();
        world.stop();
        assert_eq!(world.hangs(0, "a"), "error 1, give up stream, finish 1");
    }

    #[test]
    fn one_that_hangs_in_an_init_ends_the_start_for_a_required_instance() {
        let mut world = two(false);
        world.on("executor 0 start", HangsNoticed("c"));
        world.start();
        assert_eq!(
            world.since("executor 1 start a c"),
            "error 4, executor 1 stop, finish 4"
        );
        assert_eq!(world.state("c"), State::Hung);
    }

    #[test]
    fn an_optional_one_that_hangs_them_is_dropped_and_they_start_again_on_other_threads() {
        let mut world = two(true);
        world.on("executor 0 start", HangsNoticed("c"));
        world.start();
        let rest = "warning 4, c retired, executor 0 start a, open stream, ready, start stream";
        assert_eq!(world.since("executor 1 start a c"), rest);
        assert_eq!(
            (world.state("c"), world.words()),
            (State::Hung, vec!["ready", "ready"])
        );
    }

    #[test]
    fn one_that_comes_back_after_it_was_left_behind_is_not_used() {
        let mut world = two(false);
        world.start();
        world.hangs(0, "a");
        assert_eq!(
            world.send(Event::ExecutorStarted(ExecutorId(0), Ok(()))),
            ""
        );
        assert_eq!(world.words(), ["hung", "ready"]);
    }
}
