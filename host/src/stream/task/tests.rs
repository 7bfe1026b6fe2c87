//! Tasks on a slot whose parts do as a script says: attempts, deaths, several under way.

use super::*;
use crate::{
    backend::{
        Backend,
        scripted::{Build, Crime, Scripted, pin},
        slot::Broke,
    },
    machine::{
        ExecutorId, InstanceId,
        batch::OutputLimits,
        history::{Forgiven, Hand},
    },
};

const ALONE: Build = Build::PLAIN;
const WITH_EXECUTOR: Build = Build::HOOKED;
const WIDE: Build = Build::wide(3);

fn task_run(id: u64, records: std::ops::Range<u64>) -> Arc<TaskRun> {
    let mut batch = Batch::new();
    for record in records {
        batch.push(format!("{record}:").as_bytes());
    }
    Arc::new(TaskRun::new(id, batch, pin()))
}

/// A started slot; every instance is in the chain.
fn slot(instances: &[Arc<Scripted>]) -> Slot {
    let mut slot = Slot::new(ExecutorId(0), OutputLimits::default(), Arc::default());
    let backends: Vec<(InstanceId, Arc<dyn Backend>)> = instances
        .iter()
        .map(|on| (on.id(), Arc::new(Arc::clone(on)) as Arc<dyn Backend>))
        .collect();
    let chain: Vec<InstanceId> = instances.iter().map(|on| on.id()).collect();
    slot.start(&backends, &chain).unwrap();
    slot
}

fn text(batch: &Batch) -> Vec<String> {
    let text = |record: &[u8]| String::from_utf8_lossy(record).into_owned();
    batch.iter().map(text).collect()
}

fn delivered(ran: Ran) -> (Vec<String>, Vec<(usize, String)>) {
    match ran {
        Ran::Over(Outcome::Delivered(batch, faults)) => (text(&batch), faults),
        other => panic!("{other:?}"),
    }
}

fn run(slot: &mut Slot, run: &TaskRun, retries: u32) -> Ran {
    run_task(slot, run, &Policy { retries }, &Counts::default())
}

/// A death in hand and alone, as the desk charges it, and the next life.
fn next_life(slot: &mut Slot, on: &Arc<Scripted>, ran: Ran, run: &TaskRun) -> Forgiven {
    let Ran::Gone(gone) = ran else {
        panic!("{ran:?}")
    };
    assert_eq!(gone.hand, Hand::Only);
    on.respawn();
    slot.revive(on.id(), on).unwrap();
    run.with_history(|history| history.died(&gone, true))
}

fn no_violations(instances: &[Arc<Scripted>]) {
    for on in instances {
        assert_eq!(on.world.lock().violations, Vec::<String>::new());
    }
}

#[test]
fn a_record_that_always_kills_is_found_and_the_others_go_on() {
    let on = Scripted::quiet(0, ALONE);
    on.commit(2, Crime::Dies(u32::MAX));
    on.commit(3, Crime::Dies(u32::MAX));
    let (mut slot, task) = (slot(&[Arc::clone(&on)]), task_run(1, 0..5));
    let mut forgiven = Vec::new();
    let ran = loop {
        let ran = run(&mut slot, &task, 0);
        if matches!(ran, Ran::Over(_)) {
            break ran;
        }
        forgiven.push(next_life(&mut slot, &on, ran, &task));
    };
    let a = InstanceId(0);
    assert_eq!(
        forgiven,
        [vec![], vec![], vec![(a, vec![0, 1, 2])], vec![(a, vec![3])]]
    );
    let (out, faults) = delivered(ran);
    assert_eq!(out, ["0:a", "1:a", "4:a"]);
    let killed =
        |times: &str| format!("killed the worker of plugin `a` {times} (signal 11 (SIGSEGV))");
    assert_eq!(faults, [(2, killed("3 times")), (3, killed("once"))]);
    no_violations(&[on]);
}

#[test]
fn deaths_are_no_retries_and_retries_are_no_deaths() {
    let on = Scripted::quiet(0, ALONE);
    on.commit(1, Crime::Dies(2));
    on.commit(2, Crime::Errors(3));
    let (mut slot, task) = (slot(&[Arc::clone(&on)]), task_run(1, 0..4));
    // The first attempt dies, and the second; both leave all three retries.
    for _ in 0..2 {
        let ran = run(&mut slot, &task, 3);
        assert_eq!(next_life(&mut slot, &on, ran, &task), []);
    }
    // A replay, in which a record may fail as often as an attempt might.
    let (out, faults) = delivered(run(&mut slot, &task, 3));
    assert_eq!((out.len(), faults), (4, vec![]));
    assert_eq!(task.history().attempts, 2, "told before the third");
    no_violations(&[on]);
}

#[test]
fn a_death_in_the_last_retry_keeps_what_was_found() {
    let on = Scripted::quiet(0, ALONE);
    on.commit(0, Crime::Errors(u32::MAX));
    on.commit(2, Crime::Dies(1));
    let (mut slot, task) = (slot(&[Arc::clone(&on)]), task_run(1, 0..4));
    let ran = run(&mut slot, &task, 1);
    assert_eq!(next_life(&mut slot, &on, ran, &task), []);
    let replay = task.history().replay.unwrap();
    assert_eq!((replay.next, replay.faults.len()), (2, 1));
    let (out, faults) = delivered(run(&mut slot, &task, 1));
    assert_eq!(out, ["1:a", "2:a", "3:a"]);
    assert_eq!(faults.len(), 1);
    no_violations(&[on]);
}

#[test]
fn the_living_hear_the_end_of_every_start_and_the_dead_nothing() {
    let (driver, dies) = (
        Scripted::quiet(0, WITH_EXECUTOR),
        Scripted::quiet(1, WITH_EXECUTOR),
    );
    dies.commit(0, Crime::Dies(1));
    let both = [Arc::clone(&driver), Arc::clone(&dies)];
    let (mut slot, task) = (slot(&both), task_run(7, 0..1));
    let ran = run(&mut slot, &task, 3);
    next_life(&mut slot, &dies, ran, &task);
    delivered(run(&mut slot, &task, 3));
    assert!(slot.stop().is_empty());
    let died = "0 failed 7.1: the worker of plugin `b` died (signal 11 (SIGSEGV))";
    let again = ["0 start 7.2", "0 succeeded 7.2", "0 shutdown"];
    let living = [&["0 init", "0 start 7.1", died][..], &again].concat();
    assert_eq!(driver.log(), living);
    let dead = [&["0 init", "0 start 7.1", "0 init"][..], &again].concat();
    assert_eq!(dies.log(), dead);
    no_violations(&both);
}

#[test]
fn a_dead_instance_is_owed_no_shutdown() {
    let on = Scripted::quiet(0, WITH_EXECUTOR);
    on.commit(0, Crime::Dies(1));
    let (mut slot, task) = (slot(&[Arc::clone(&on)]), task_run(1, 0..1));
    assert!(matches!(run(&mut slot, &task, 0), Ran::Gone(_)));
    assert!(slot.stop().is_empty());
    // And one whose death nobody here has noticed fails no stop.
    let other = Scripted::quiet(0, WITH_EXECUTOR);
    let mut slot = super::tests::slot(&[Arc::clone(&other)]);
    other.die();
    assert!(slot.stop().is_empty());
    no_violations(&[on, other]);
}

#[test]
fn a_revival_that_fails_leaves_it_dead_and_the_next_one_counts() {
    let on = Scripted::quiet(0, WITH_EXECUTOR);
    on.commit(0, Crime::Dies(1));
    let (mut slot, task) = (slot(&[Arc::clone(&on)]), task_run(1, 0..1));
    assert!(matches!(run(&mut slot, &task, 0), Ran::Gone(_)));
    let dead = slot.revive(on.id(), &on).unwrap_err();
    assert_eq!(dead.code, "gone");
    on.respawn();
    on.world.lock().inits_failing = 1;
    let failed = slot.revive(on.id(), &on).unwrap_err();
    assert_eq!(failed.code, "executor-init-failed");
    assert!(matches!(run(&mut slot, &task, 0), Ran::Gone(gone) if gone.hand == Hand::Elsewhere));
    slot.revive(on.id(), &on).unwrap();
    assert_eq!(delivered(run(&mut slot, &task, 0)).0, ["0:a"]);
    assert!(slot.stop().is_empty());
    let lives = on.log().into_iter().filter(|line| !line.contains('.'));
    // The second init was undone by a shutdown, since its worker lived.
    let expected = ["0 init", "0 init", "0 shutdown", "0 init", "0 shutdown"];
    assert_eq!(lives.collect::<Vec<_>>(), expected);
    no_violations(&[on]);
}

#[test]
fn finish_goes_on_where_a_worker_died() {
    let both = [Scripted::quiet(0, ALONE), Scripted::quiet(1, ALONE)];
    // What `a` writes kills `b`; then `b` dies of its own finish.
    both[1].commit(1_000_000, Crime::Dies(1));
    both[1].world.lock().finishes_dying = 1;
    let (mut slot, task) = (slot(&both), task_run(0, 0..0));
    for _ in 0..2 {
        assert!(matches!(slot.finish(&task), Err(Broke::Gone(_))));
        both[1].respawn();
        slot.revive(both[1].id(), &both[1]).unwrap();
    }
    let made = slot.finish(&task).unwrap();
    assert_eq!(text(&made), ["1000000:finishb", "1000001:finish"]);
    no_violations(&both);
}

/// Runs tasks with several under way; answers what was delivered, in the order in which it was, and what is left.
fn several(slot: &mut Slot, tasks: &[Arc<TaskRun>]) -> (Vec<u64>, Vec<(u64, bool)>, usize) {
    let mut next = tasks.iter().skip(1).cloned();
    let mut done = Vec::new();
    let left = run_several(
        slot,
        Arc::clone(&tasks[0]),
        &Counts::default(),
        || next.next(),
        |run, outcome| {
            assert!(matches!(outcome, Outcome::Delivered(..)), "{outcome:?}");
            done.push(run.id);
        },
    );
    let returned = left.returned.iter();
    let returned = returned.map(|task| (task.run.id, task.gone.is_some()));
    (done, returned.collect(), left.aboard)
}

fn tasks(count: u64) -> Vec<Arc<TaskRun>> {
    (1..=count)
        .map(|id| task_run(id, id * 10..id * 10 + 3))
        .collect()
}

#[test]
fn several_are_under_way_where_nobody_has_hooks() {
    let chain = [
        Scripted::quiet(0, ALONE),
        Scripted::quiet(1, WIDE),
        Scripted::quiet(2, ALONE),
        Scripted::quiet(3, WIDE),
    ];
    chain[1].world.lock().readiness = vec![false, true, true, false, false];
    chain[3].world.lock().readiness = vec![true, false];
    let mut slot = slot(&chain);
    assert_eq!(slot.window(), 3);
    let (done, left, _) = several(&mut slot, &tasks(9));
    assert_eq!((done, left), ((1..=9).collect(), vec![]));
    no_violations(&chain);

    let hooked = [Scripted::quiet(0, WIDE), Scripted::quiet(1, WITH_EXECUTOR)];
    assert_eq!(super::tests::slot(&hooked).window(), 1);
}

#[test]
fn a_failure_brings_everything_home_and_only_the_failed_run_again() {
    let on = Scripted::quiet(0, WIDE);
    on.commit(21, Crime::Errors(1));
    let (mut slot, tasks) = (slot(&[Arc::clone(&on)]), tasks(6));
    let (done, left, aboard) = several(&mut slot, &tasks);
    // 3 and 4 were out already; nothing was launched after that.
    assert_eq!((done, left, aboard), (vec![1, 3, 4], vec![(2, false)], 0));
    let history = tasks[1].history();
    assert_eq!((history.attempts, history.errors), (1, 1));
    assert_eq!(delivered(run(&mut slot, &tasks[1], 1)).0.len(), 3);
    no_violations(&[on]);
}

#[test]
fn what_another_s_panic_spoiled_is_not_charged() {
    let on = Scripted::quiet(0, WIDE);
    on.commit(11, Crime::Panics(1));
    let (mut slot, tasks) = (slot(&[Arc::clone(&on)]), tasks(3));
    let (done, left, _) = several(&mut slot, &tasks);
    assert_eq!(done, [] as [u64; 0]);
    assert_eq!(left, [(1, false), (2, false), (3, false)]);
    let errors: Vec<u32> = tasks.iter().map(|task| task.history().errors).collect();
    assert_eq!(errors, [1, 0, 0]);
    // Without retries the batch at fault is, and the innocent are not.
    assert_eq!(delivered(run(&mut slot, &tasks[0], 0)).1.len(), 3);
    assert_eq!(delivered(run(&mut slot, &tasks[1], 0)).1.len(), 0);
    no_violations(&[on]);
}

#[test]
fn a_death_with_several_aboard_says_how_many() {
    let chain = [Scripted::quiet(0, ALONE), Scripted::quiet(1, WIDE)];
    chain[1].commit(11, Crime::Dies(1));
    let (mut slot, tasks) = (slot(&chain), tasks(5));
    let (done, left, aboard) = several(&mut slot, &tasks);
    let gone = vec![(1, true), (2, true), (3, true)];
    assert_eq!((done, left, aboard), (vec![], gone, 3));
    // Nothing is begun until it is revived.
    let (_, left, aboard) = several(&mut slot, &tasks[3..]);
    assert_eq!((left, aboard), (vec![(4, true)], 0));
    no_violations(&chain);
}
