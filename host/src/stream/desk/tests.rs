//! The desk with the hands of its executors moved one by one.

use super::*;
use crate::{backend::scripted::pin, machine::history::Hand};
use std::thread;

struct Table {
    desk: Arc<Desk>,
    posts: Vec<Post>,
}

impl Table {
    fn new(executors: u32, window: usize, tasks: u64) -> Self {
        let desk = Arc::new(Desk::new(executors));
        let hire = |id| {
            let post = desk.hire(ExecutorId(id)).unwrap();
            desk.open(post, window);
            post
        };
        let posts = (0..executors).map(hire).collect();
        for _ in 0..tasks {
            desk.submit(|id| TaskRun::new(id, Batch::new(), pin()));
        }
        Self { desk, posts }
    }

    /// The next task of that executor, which must be at hand.
    fn take(&self, executor: usize) -> Arc<TaskRun> {
        match self.desk.next(self.posts[executor]) {
            Some(Work::Task(run)) => run,
            _ => panic!("no task"),
        }
    }

    fn dies(&self, executor: usize, tasks: &[&Arc<TaskRun>], aboard: usize) {
        let returned = tasks.iter().map(|run| Returned {
            run: Arc::clone(run),
            gone: Some(Gone {
                instance: InstanceId(0),
                plugin: "a".to_owned(),
                how: String::new(),
                life: 0,
                hand: Hand::Only,
            }),
        });
        let post = self.posts[executor];
        self.desk.give_back(post, returned.collect(), aboard);
    }

    fn waiting(&self) -> Vec<u64> {
        let inner = self.desk.inner.lock();
        inner.tasks.iter().map(|task| task.id).collect()
    }
}

fn deaths(run: &TaskRun) -> usize {
    run.with_history(|history| history.deaths())
}

#[test]
fn only_a_death_in_hand_and_alone_is_charged() {
    let table = Table::new(1, 1, 1);
    let run = table.take(0);
    table.dies(0, &[&run], 1);
    assert_eq!(deaths(&run), 1);

    // Two executors: neither that says so first nor the other, whose company is gone by then.
    let table = Table::new(2, 1, 2);
    let (first, second) = (table.take(0), table.take(1));
    table.dies(1, &[&second], 1);
    table.dies(0, &[&first], 1);
    assert_eq!((deaths(&first), deaths(&second)), (0, 0));

    // Two aboard of one executor.
    let table = Table::new(1, 2, 2);
    let first = table.take(0);
    let second = table.desk.another(table.posts[0]).unwrap();
    table.dies(0, &[&first, &second], 2);
    assert_eq!((deaths(&first), deaths(&second)), (0, 0));
}

#[test]
fn what_comes_back_lies_in_order_and_the_suspect_runs_by_itself() {
    let table = Table::new(3, 1, 5);
    let held: Vec<Arc<TaskRun>> = (0..3).map(|executor| table.take(executor)).collect();
    table.dies(2, &[&held[2]], 1);
    table.dies(0, &[&held[0]], 1);
    assert_eq!(table.waiting(), [1, 3, 4, 5]);
    // Executor 1 has 2 in hand, so 1 waits; and while 1 is in hand nothing else goes out.
    let (desk, posts) = (&table.desk, &table.posts);
    desk.revived(posts[0], InstanceId(0));
    assert_eq!(desk.inner.lock().take(0).map(|run| run.id), None);
    desk.complete(posts[1], &held[1], Outcome::Cancelled);
    assert_eq!(desk.inner.lock().take(2).map(|run| run.id), None, "dead");
    let first = table.take(0);
    assert_eq!(first.id, 1);
    assert_eq!(desk.inner.lock().take(1).map(|run| run.id), None);
    assert!(desk.another(posts[0]).is_none());
    // An executor that waits for that is woken.
    let (woken, post) = (Arc::clone(desk), posts[1]);
    let waits =
        thread::spawn(move || matches!(woken.next(post), Some(Work::Task(run)) if run.id == 3));
    while desk.inner.lock().idle.is_empty() {
        thread::yield_now();
    }
    desk.complete(posts[0], &first, Outcome::Cancelled);
    assert!(waits.join().unwrap());
}

#[test]
fn what_an_abandoned_executor_held_goes_to_another_and_is_no_longer_its_own() {
    let table = Table::new(1, 2, 3);
    let first = table.take(0);
    let second = table.desk.another(table.posts[0]).unwrap();
    table.desk.abandon(ExecutorId(0));
    assert_eq!(table.waiting(), [1, 2, 3]);
    let late = Completed {
        run: None,
        outcome: Outcome::Cancelled,
        note: None,
    };
    table.desk.complete(table.posts[0], &first, late.outcome);
    table.dies(0, &[&second], 1);
    assert_eq!(table.waiting(), [1, 2, 3]);
    let inner = table.desk.inner.lock();
    assert!(inner.done.is_empty());
    assert!(!Arc::ptr_eq(&inner.tasks[0], &first));
    assert!(inner.tasks[1].with_history(|history| history.is_fresh()));
}

#[test]
fn nothing_is_launched_past_an_order_a_message_or_a_task_that_ran_before() {
    let table = Table::new(1, 4, 4);
    let (desk, post) = (&table.desk, table.posts[0]);
    table.take(0);
    assert!(desk.another(post).is_some());
    desk.deliver(post.executor, InstanceId(0), b"x").unwrap();
    assert!(desk.another(post).is_none());
    assert!(matches!(desk.next(post), Some(Work::Message(..))));
    desk.order(post.executor, Order::Revive(InstanceId(0)));
    assert!(desk.another(post).is_none());
    assert!(matches!(
        desk.next(post),
        Some(Work::Order(Order::Revive(_)))
    ));
    let third = desk.another(post).unwrap();
    third.with_history(|history| history.attempts += 1);
    let gone = None;
    let run = Arc::clone(&third);
    desk.give_back(post, vec![Returned { run, gone }], 0);
    assert!(desk.another(post).is_none());
    assert_eq!(table.take(0).id, third.id);
}

#[test]
fn a_finish_waits_for_the_dead_and_a_stop_does_not() {
    let table = Table::new(1, 1, 1);
    let (desk, post) = (&table.desk, table.posts[0]);
    let run = table.take(0);
    table.dies(0, &[&run], 1);
    desk.deliver(post.executor, InstanceId(0), b"x").unwrap();
    let finish = Arc::new(TaskRun::new(0, Batch::new(), pin()));
    desk.finish_later(post, finish, InstanceId(0));
    desk.order(post.executor, Order::Revive(InstanceId(0)));
    // The revival goes first, though it was ordered last; then what waited for it.
    assert!(matches!(
        desk.next(post),
        Some(Work::Order(Order::Revive(_)))
    ));
    desk.order(post.executor, Order::Stop);
    assert!(matches!(desk.next(post), Some(Work::Message(..))));
    assert!(matches!(desk.next(post), Some(Work::Order(Order::Stop))));
}
