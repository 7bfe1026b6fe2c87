//! Where tasks lie between the source, the executors and the sink. Bounded; keeps the input's order; remembers what each
//! executor has in hand, so that an abandoned one's task can run again.

use super::batch::Batch;
use crate::{
    backend::slot::{TaskRun, inbox_full},
    error::Problem,
    machine::{ExecutorId, InstanceId},
    services::message::MAILBOX_LEN_MAX,
};
use hotshoe_abi::Failure;
use parking_lot::{Condvar, Mutex};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Tasks between source and sink, per executor. Two keep an executor busy while the sink writes; four absorb a hiccup of
/// either side; more only hides a stall and costs memory.
const IN_FLIGHT_PER_EXECUTOR: u64 = 4;

/// What an executor does next.
pub(crate) enum Work {
    Task(Arc<TaskRun>),
    Message(InstanceId, Vec<u8>),
    Order(Order),
}

/// What the supervisor and the sink want of an executor. Orders come before messages, messages before tasks.
pub(crate) enum Order {
    Start(Vec<InstanceId>),
    Finish(Arc<TaskRun>),
    Stop,
}

/// What became of a task.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// What came out; the records at fault, where they are kept apart.
    Delivered(Batch, Vec<(usize, String)>),
    /// The stream ends here, for that reason.
    Fatal(Problem),
    Cancelled,
}

#[derive(Debug)]
pub(crate) struct Completed {
    pub(crate) run: Option<Arc<TaskRun>>,
    pub(crate) outcome: Outcome,
    /// A record that never became one, already explained: over the limit.
    pub(crate) note: Option<super::Unreadable>,
}

struct Inbox {
    orders: VecDeque<Order>,
    messages: VecDeque<(InstanceId, Vec<u8>)>,
    in_hand: Option<Arc<TaskRun>>,
    /// Which thread serves it: the number of its post. `None` before the first, and once that one was given up.
    post: Option<u32>,
    /// How many threads have served it.
    posts: u32,
    /// Takes tasks: started, and not stopping.
    open: bool,
}

/// One thread's claim to serve an executor. It ends when the thread is given up, and another may get the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Post {
    pub(crate) executor: ExecutorId,
    number: u32,
}

impl Post {
    fn place(self) -> usize {
        self.executor.0 as usize
    }

    /// Nobody served the executor before.
    pub(crate) fn is_first(self) -> bool {
        self.number == 1
    }
}

struct Inner {
    tasks: VecDeque<Arc<TaskRun>>,
    inboxes: Vec<Inbox>,
    idle: Vec<usize>,
    done: BTreeMap<u64, Completed>,
    next_in: u64,
    next_out: u64,
    records_in: u64,
    records_out: u64,
    input_ended: bool,
    finish: Option<Result<Batch, String>>,
}

impl Inner {
    fn serves(&self, post: Post) -> bool {
        self.inboxes[post.place()].post == Some(post.number)
    }
}

/// See the file.
pub(crate) struct Desk {
    inner: Mutex<Inner>,
    /// One per executor: its inbox has something, or there is a task.
    wake: Vec<Condvar>,
    /// Something was completed, or the input has ended.
    completed: Condvar,
    /// There is room for another task.
    room: Condvar,
    pub(crate) cancelled: Arc<AtomicBool>,
}

impl Desk {
    pub(crate) fn new(executors: u32) -> Self {
        let inbox = || Inbox {
            orders: VecDeque::new(),
            messages: VecDeque::new(),
            in_hand: None,
            post: None,
            posts: 0,
            open: false,
        };
        let inner = Inner {
            tasks: VecDeque::new(),
            inboxes: (0..executors).map(|_| inbox()).collect(),
            idle: Vec::new(),
            done: BTreeMap::new(),
            next_in: 1,
            next_out: 1,
            records_in: 0,
            records_out: 0,
            input_ended: false,
            finish: None,
        };
        Self {
            inner: Mutex::new(inner),
            wake: (0..executors).map(|_| Condvar::new()).collect(),
            completed: Condvar::new(),
            room: Condvar::new(),
            cancelled: Arc::default(),
        }
    }

    fn window(&self) -> u64 {
        IN_FLIGHT_PER_EXECUTOR * (self.wake.len() as u64).max(1)
    }

    /// Waits for room, then makes the next task with the id it is given. Answers false once the stream is cancelled.
    pub(crate) fn submit(&self, make: impl FnOnce(u64) -> TaskRun) -> bool {
        let mut inner = self.inner.lock();
        while inner.next_in - inner.next_out >= self.window() && !self.is_cancelled() {
            self.room.wait(&mut inner);
        }
        if self.is_cancelled() {
            return false;
        }
        let id = inner.next_in;
        inner.next_in += 1;
        let run = make(id);
        inner.records_in += run.batch.len() as u64;
        inner.tasks.push_back(Arc::new(run));
        self.wake_one(&mut inner);
        true
    }

    /// Takes the next id for something that is completed already.
    pub(crate) fn submit_completed(&self, outcome: Outcome, note: Option<super::Unreadable>) {
        let mut inner = self.inner.lock();
        let id = inner.next_in;
        inner.next_in += 1;
        inner.done.insert(
            id,
            Completed {
                run: None,
                outcome,
                note,
            },
        );
        self.completed.notify_one();
    }

    /// The source has no more.
    pub(crate) fn end_input(&self) {
        self.inner.lock().input_ended = true;
        self.completed.notify_one();
    }

    /// Wakes an executor that waits, if any does.
    fn wake_one(&self, inner: &mut Inner) {
        while let Some(executor) = inner.idle.pop() {
            if inner.inboxes[executor].open {
                self.wake[executor].notify_one();
                return;
            }
        }
    }

    pub(crate) fn order(&self, executor: ExecutorId, order: Order) {
        let mut inner = self.inner.lock();
        let place = executor.0 as usize;
        let inbox = &mut inner.inboxes[place];
        if matches!(order, Order::Stop) {
            inbox.open = false;
        }
        inbox.orders.push_back(order);
        self.wake[place].notify_one();
    }

    /// Queues a broadcast.
    pub(crate) fn deliver(
        &self,
        executor: ExecutorId,
        instance: InstanceId,
        message: &[u8],
    ) -> Result<(), Failure> {
        let mut inner = self.inner.lock();
        let place = executor.0 as usize;
        let inbox = &mut inner.inboxes[place];
        if inbox.messages.len() >= MAILBOX_LEN_MAX {
            return Err(inbox_full(executor, MAILBOX_LEN_MAX));
        }
        inbox.messages.push_back((instance, message.to_vec()));
        self.wake[place].notify_one();
        Ok(())
    }

    /// A post for a new thread, where the executor has none.
    pub(crate) fn hire(&self, executor: ExecutorId) -> Option<Post> {
        let inbox = &mut self.inner.lock().inboxes[executor.0 as usize];
        if inbox.post.is_some() {
            return None;
        }
        inbox.posts += 1;
        inbox.post = Some(inbox.posts);
        // What the one before it was told and did not hear is not for this one.
        inbox.orders.clear();
        Some(Post {
            executor,
            number: inbox.posts,
        })
    }

    /// Whether the thread still serves its executor. Nothing counts that one says which does not.
    pub(crate) fn serves(&self, post: Post) -> bool {
        self.inner.lock().serves(post)
    }

    /// The executor has its parts and takes tasks from now on.
    pub(crate) fn open(&self, post: Post) {
        let mut inner = self.inner.lock();
        if inner.serves(post) {
            inner.inboxes[post.place()].open = true;
        }
    }

    /// Waits for what the executor does next; `None` once the thread is given up.
    pub(crate) fn next(&self, post: Post) -> Option<Work> {
        let place = post.place();
        let mut inner = self.inner.lock();
        loop {
            if !inner.serves(post) {
                return None;
            }
            let inbox = &mut inner.inboxes[place];
            // What a driver broadcast before its executors were told to stop is still theirs.
            let messages_first =
                matches!(inbox.orders.front(), Some(Order::Stop)) && !inbox.messages.is_empty();
            if !messages_first {
                if let Some(order) = inbox.orders.pop_front() {
                    return Some(Work::Order(order));
                }
            }
            if let Some((instance, message)) = inbox.messages.pop_front() {
                return Some(Work::Message(instance, message));
            }
            if inbox.open {
                if let Some(task) = inner.tasks.pop_front() {
                    inner.inboxes[place].in_hand = Some(Arc::clone(&task));
                    return Some(Work::Task(task));
                }
                if !inner.idle.contains(&place) {
                    inner.idle.push(place);
                }
            }
            self.wake[place].wait(&mut inner);
        }
    }

    /// The executor has done with its task.
    pub(crate) fn complete(&self, post: Post, run: &Arc<TaskRun>, outcome: Outcome) {
        let mut inner = self.inner.lock();
        if !inner.serves(post) {
            return;
        }
        inner.inboxes[post.place()].in_hand = None;
        let completed = Completed {
            run: Some(Arc::clone(run)),
            outcome,
            note: None,
        };
        inner.done.insert(run.id, completed);
        // The sink waits for the next in order, and nobody else does, unless everything is being put down.
        if run.id == inner.next_out || self.is_cancelled() {
            self.completed.notify_all();
        }
    }

    /// The executor's thread does not come back: its task runs again on another.
    pub(crate) fn abandon(&self, executor: ExecutorId) {
        let mut inner = self.inner.lock();
        self.give_up(&mut inner, executor.0 as usize);
    }

    /// Gives up every thread that has a task in hand: there is no more time to wait for them.
    pub(crate) fn abandon_busy(&self) {
        let mut inner = self.inner.lock();
        for place in 0..inner.inboxes.len() {
            if inner.inboxes[place].in_hand.is_some() {
                self.give_up(&mut inner, place);
            }
        }
    }

    fn give_up(&self, inner: &mut Inner, place: usize) {
        let inbox = &mut inner.inboxes[place];
        inbox.post = None;
        inbox.open = false;
        let task = inbox.in_hand.take().filter(|_| !self.is_cancelled());
        if let Some(task) = task {
            inner.tasks.push_front(task);
            self.wake_one(inner);
        }
        self.wake[place].notify_one();
        self.completed.notify_all();
    }

    /// The sink waits for the next completed task, in order; `None` when all is delivered or the stream is cancelled.
    pub(crate) fn next_completed(&self, idle: impl FnOnce()) -> Option<Completed> {
        let mut inner = self.inner.lock();
        let mut idle = Some(idle);
        loop {
            let next = inner.next_out;
            if let Some(completed) = inner.done.remove(&next) {
                inner.next_out += 1;
                inner.records_out += completed
                    .run
                    .as_ref()
                    .map_or(0, |run| run.batch.len() as u64);
                self.room.notify_one();
                return Some(completed);
            }
            if (inner.input_ended && inner.next_out == inner.next_in) || self.is_cancelled() {
                return None;
            }
            if let Some(idle) = idle.take() {
                // Nothing at hand: what was written so far should be seen now. Not under the lock: it may block.
                drop(inner);
                idle();
                inner = self.inner.lock();
                continue;
            }
            self.completed.wait(&mut inner);
        }
    }

    /// Orders an executor to finish and waits for what it writes; `None` where it cannot.
    pub(crate) fn finish(
        &self,
        executor: ExecutorId,
        run: Arc<TaskRun>,
    ) -> Option<Result<Batch, String>> {
        let place = executor.0 as usize;
        let mut inner = self.inner.lock();
        if !inner.inboxes[place].open {
            return None;
        }
        inner.inboxes[place].orders.push_back(Order::Finish(run));
        self.wake[place].notify_one();
        loop {
            if let Some(answer) = inner.finish.take() {
                return Some(answer);
            }
            if self.is_cancelled() {
                return None;
            }
            if !inner.inboxes[place].open {
                let number = executor.0;
                return Some(Err(format!("executor {number} did not return from finish")));
            }
            self.completed.wait(&mut inner);
        }
    }

    pub(crate) fn finished(&self, answer: Result<Batch, String>) {
        self.inner.lock().finish = Some(answer);
        self.completed.notify_one();
    }

    /// Nothing more is delivered. Tasks in hand are discarded when they return.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        let mut inner = self.inner.lock();
        inner.tasks.clear();
        self.room.notify_all();
        self.completed.notify_all();
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Waits until no executor has a task in hand, but for those that were given up; answers how many records were read and
    /// not delivered.
    pub(crate) fn settle(&self) -> u64 {
        let mut inner = self.inner.lock();
        while inner.inboxes.iter().any(|inbox| inbox.in_hand.is_some()) {
            self.completed.wait(&mut inner);
        }
        inner.records_in - inner.records_out
    }
}
