//! Deaths that a record caused are taken back from the instance, within bounds, and do not count while the record is hunted.

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

/// An executor that makes its parts anew may meet a death that another's record caused, before it is told: it is that death, and
/// no failed start beside it.
#[test]
fn a_death_that_another_executor_meets_first_is_one_and_is_taken_back() {
    let a = instance("a", &[P]).isolated().in_stream().forgiven(2);
    let mut world = begun(World::of([a]).stream().executors(2));
    world.on("executor 1 revives a", FindsGone("a", 1));
    let again = "a load, a new, executor 0 revives a, executor 1 revives a";
    assert_eq!(world.dies("a"), format!("warning 1, {again}"));
    assert_eq!(world.state("a"), State::Initializing);
    assert_eq!(world.dies("a"), format!("warning 1, (100ms), {again}"));
    assert_eq!(world.state("a"), State::Ready);
    world.poisons("a", 2);
    assert_eq!(world.dies("a"), format!("warning 1, {again}"));
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
    // The start is left.
    assert_eq!(world.dies("a"), format!("warning 1, (100ms), {AGAIN}"));
}

#[test]
fn told_before_the_last_death_it_takes_that_back_too_and_no_other() {
    let mut world = begun(driver());
    world.dies("a");
    world.dies("a");
    world.poisons_early("a", 3);
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

/// Records pass through it, and so many failures are forgiven.
fn in_stream(attempts: u32) -> World {
    let a = instance("a", &[P]).isolated().in_stream();
    begun(World::of([a.forgiven(attempts)]).stream())
}

#[test]
fn a_single_bad_record_is_found_however_little_is_forgiven() {
    for attempts in 1..=4 {
        for company in [0, 1] {
            for told_first in [false, true] {
                let mut world = in_stream(attempts);
                for _ in 0..company {
                    // With others under way, so nobody hunts yet: it counts.
                    world.dies("a");
                }
                world.dies_in_hand("a");
                world.dies_in_hand("a");
                if told_first {
                    world.poisons_early("a", 3 + company);
                    world.dies_in_hand("a");
                } else {
                    world.dies_in_hand("a");
                    world.poisons("a", 3 + company);
                }
                assert_eq!(world.state("a"), State::Ready, "{}", world.log());
                assert_eq!(world.timers(), 1);
                // Others of its batch, found at once.
                for _ in 0..9 {
                    world.dies_in_hand("a");
                    world.poisons("a", 1);
                }
                assert_eq!(world.state("a"), State::Ready, "{}", world.log());
                assert_eq!(
                    world.codes().iter().filter(|code| *code != "died").count(),
                    0
                );
            }
        }
    }
}

/// Each dies with others under way, and then three times by itself: ten of them are as if nothing had been.
#[test]
fn bad_records_among_many_are_found_one_after_another_however_little_is_forgiven() {
    for attempts in 1..=2 {
        let mut world = in_stream(attempts);
        let mut found = 0;
        loop {
            assert!(found < 100, "it lives for ever: {}", world.log());
            world.dies("a");
            if world.state("a") == State::Quarantined {
                break;
            }
            found += 1;
            for _ in 0..3 {
                world.dies_in_hand("a");
            }
            world.poisons("a", 4);
            if found == 10 {
                assert_eq!(world.state("a"), State::Ready, "{}", world.log());
                // The marks of ten records, and no failure.
                assert_eq!(world.timers(), 10);
            }
        }
        // The eleventh is charged, and the next failure is one too many.
        assert_eq!(found, 11);
    }
}

#[test]
fn a_death_is_taken_back_once_and_no_other_in_its_stead() {
    // Two tasks were at hand, one on each executor, when it died; a record of both is found.
    let mut world = in_stream(2);
    world.dies("a");
    world.dies("a");
    world.poisons("a", 1);
    world.poisons("a", 1);
    assert_eq!(world.state("a"), State::Ready);
    // The first death still counts, beside the marks of two records.
    assert_eq!(world.timers(), 3);
    world.dies("a");
    assert!(world.dies("a").starts_with("a retired, error 1"));
}

#[test]
fn one_whose_task_gets_through_is_charged_and_given_up_at_the_next_failure() {
    let mut world = in_stream(1);
    world.dies_in_hand("a");
    let said = world.headlines().pop().map(str::to_owned);
    assert!(said.is_some_and(|said| said.contains("may be a record's fault")));
    world.dies_in_hand("a");
    // It has just shown that it works.
    assert_eq!(world.hunt_ends("a"), "");
    assert_eq!(world.state("a"), State::Ready);
    assert!(world.dies_in_hand("a").starts_with("a retired, error 1"));
    assert!(
        world
            .reason("a")
            .is_some_and(|said| said.contains("3 times within 5m"))
    );

    // As long as they count.
    let mut world = in_stream(1);
    world.dies_in_hand("a");
    world.dies_in_hand("a");
    world.hunt_ends("a");
    world.wait(Duration::from_secs(301));
    world.dies_in_hand("a");
    assert_eq!(world.state("a"), State::Ready);
}

#[test]
fn one_that_dies_of_everything_is_given_up_whatever_is_said_of_its_records() {
    for attempts in 1..=3 {
        let lives = |each: fn(&mut World)| {
            let mut world = in_stream(attempts);
            let mut lives = 0;
            while world.state("a") != State::Quarantined {
                lives += 1;
                assert!(lives < 100, "it lives for ever: {}", world.log());
                world.dies_in_hand("a");
                each(&mut world);
            }
            lives
        };
        // Nobody says anything, a record is found each time, no record ever is.
        let (most, excused) = (attempts as usize, 10);
        assert_eq!(lives(|_| {}), most + 1 + 3);
        assert_eq!(
            lives(|world| drop(world.poisons("a", 1))),
            excused + most + 2
        );
        assert_eq!(lives(|world| drop(world.hunt_ends("a"))), most + 2);
    }
}

#[test]
fn only_a_death_with_one_batch_in_hand_of_a_stream_is_held_and_none_where_nothing_is_forgiven() {
    let mut world = in_stream(1);
    world.dies("a");
    assert!(world.dies("a").starts_with("a retired, error 1"));

    let mut world = in_stream(0);
    assert!(world.dies_in_hand("a").starts_with("a retired, error 1"));

    let aside = [instance("a", &[P]).isolated().forgiven(1)];
    let mut world = begun(World::of(aside).stream());
    world.dies_in_hand("a");
    assert!(world.dies_in_hand("a").starts_with("a retired, error 1"));
}
