//! Where tasks lie between the source, the executors and the sink. Bounded; keeps the input's order; remembers what each
//! executor has in hand, so that the tasks of one that is abandoned, or whose worker died, can run again.
//!
//! It alone sees all executors, so it alone says whether a task was by itself when a worker died, and keeps one that is under
//! suspicion by itself from then on. It calls nobody.

#[cfg(test)]
mod tests;

use super::batch::Batch;
use crate::{
    backend::slot::{TaskRun, inbox_full},
    error::Problem,
    machine::{
        ExecutorId, InstanceId,
        history::{Forgiven, Gone},
        supervisor::Cancel,
    },
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
    /// The instance's worker died and lives again: its parts are made anew.
    Revive(InstanceId),
    /// Waits for the instances that are dead.
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

/// A task that runs again, and what became of its attempt.
#[derive(Debug)]
pub(crate) struct Returned {
    pub(crate) run: Arc<TaskRun>,
    /// The worker that died under it; `None` for one that is only put back.
    pub(crate) gone: Option<Gone>,
}

struct Inbox {
    orders: VecDeque<Order>,
    messages: VecDeque<(InstanceId, Vec<u8>)>,
    /// In the order of their ids.
    in_hand: Vec<Arc<TaskRun>>,
    /// Something was in another executor's hand when a worker died: a death under what is in hand here proves nothing.
    company: bool,
    /// Instances of the chain whose parts here are dead: no task is taken until they are revived.
    dead: Vec<InstanceId>,
    /// Tasks that it may have in hand at once.
    window: u64,
    /// Which thread serves it: the number of its post. `None` before the first, and once that one was given up.
    post: Option<u32>,
    /// How many threads have served it.
    posts: u32,
    /// Started, and not stopping.
    open: bool,
}

impl Inbox {
    fn takes_tasks(&self) -> bool {
        self.open && self.dead.is_empty()
    }

    /// The next order that can be followed now. What a driver broadcast before its executors were told to stop is still
    /// theirs, so a stop waits for it.
    fn order(&mut self) -> Option<Order> {
        let waits = !self.dead.is_empty();
        let due = |order: &Order| !(waits && matches!(order, Order::Finish(_)));
        let place = self.orders.iter().position(due)?;
        let stops = matches!(self.orders[place], Order::Stop);
        match stops && !self.messages.is_empty() {
            true => None,
            false => self.orders.remove(place),
        }
    }

    /// The next message whose receiver lives; with `Stop` ahead, whatever is left.
    fn message(&mut self) -> Option<(InstanceId, Vec<u8>)> {
        let (dead, last) = (&self.dead, !self.open);
        let due = |(instance, _): &(InstanceId, Vec<u8>)| last || !dead.contains(instance);
        let place = self.messages.iter().position(due)?;
        self.messages.remove(place)
    }
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
    /// In the order of their ids.
    tasks: VecDeque<Arc<TaskRun>>,
    inboxes: Vec<Inbox>,
    /// Executors that wait for a task.
    idle: Vec<usize>,
    /// The executor that has a task under suspicion in hand: no other takes any.
    alone: Option<usize>,
    done: BTreeMap<u64, Completed>,
    next_in: u64,
    next_out: u64,
    records_in: u64,
    records_out: u64,
    input_ended: bool,
    finish: Option<Result<Batch, String>>,
    /// Why nothing more is delivered: the first reason.
    cancel: Option<Cancel>,
}

impl Inner {
    fn serves(&self, post: Post) -> bool {
        self.inboxes[post.place()].post == Some(post.number)
    }

    /// Hands the next task out. One under suspicion waits until nothing else runs.
    fn take(&mut self, place: usize) -> Option<Arc<TaskRun>> {
        if self.alone.is_some() || !self.inboxes[place].takes_tasks() {
            return None;
        }
        let suspect = self.tasks.front()?.with_history(|history| history.suspect);
        if suspect {
            if self.inboxes.iter().any(|inbox| !inbox.in_hand.is_empty()) {
                return None;
            }
            self.alone = Some(place);
        }
        let task = self.tasks.pop_front()?;
        let inbox = &mut self.inboxes[place];
        if inbox.in_hand.is_empty() {
            inbox.company = false;
        }
        inbox.in_hand.push(Arc::clone(&task));
        Some(task)
    }

    /// Puts tasks back where their ids say.
    fn put_back(&mut self, tasks: impl IntoIterator<Item = Arc<TaskRun>>) {
        for task in tasks {
            let place = self.tasks.partition_point(|other| other.id < task.id);
            self.tasks.insert(place, task);
        }
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
            in_hand: Vec::new(),
            company: false,
            dead: Vec::new(),
            window: 1,
            post: None,
            posts: 0,
            open: false,
        };
        let inner = Inner {
            tasks: VecDeque::new(),
            inboxes: (0..executors).map(|_| inbox()).collect(),
            idle: Vec::new(),
            alone: None,
            done: BTreeMap::new(),
            next_in: 1,
            next_out: 1,
            records_in: 0,
            records_out: 0,
            input_ended: false,
            finish: None,
            cancel: None,
        };
        Self {
            inner: Mutex::new(inner),
            wake: (0..executors).map(|_| Condvar::new()).collect(),
            completed: Condvar::new(),
            room: Condvar::new(),
            cancelled: Arc::default(),
        }
    }

    fn window(&self, inner: &Inner) -> u64 {
        let wider = inner.inboxes.iter().map(|inbox| inbox.window - 1);
        IN_FLIGHT_PER_EXECUTOR * (self.wake.len() as u64).max(1) + wider.sum::<u64>()
    }

    /// Waits for room, then makes the next task with the id it is given. Answers false once the stream is cancelled.
    pub(crate) fn submit(&self, make: impl FnOnce(u64) -> TaskRun) -> bool {
        let mut inner = self.inner.lock();
        while inner.next_in - inner.next_out >= self.window(&inner) && !self.is_cancelled() {
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
            if inner.inboxes[executor].takes_tasks() {
                self.wake[executor].notify_one();
                return;
            }
        }
    }

    /// After an executor's hand has become emptier: whoever waited for that, or for what was put back, is woken.
    fn freed(&self, inner: &mut Inner, place: usize) {
        if !inner.inboxes[place].in_hand.is_empty() {
            return;
        }
        if inner.alone == Some(place) {
            inner.alone = None;
            for _ in 1..inner.tasks.len() {
                self.wake_one(inner);
            }
        }
        if !inner.tasks.is_empty() {
            self.wake_one(inner);
        }
    }

    pub(crate) fn order(&self, executor: ExecutorId, order: Order) {
        let mut inner = self.inner.lock();
        let place = executor.0 as usize;
        let inbox = &mut inner.inboxes[place];
        if matches!(order, Order::Stop) {
            inbox.open = false;
            // Whoever waits for its finish waits in vain.
            self.completed.notify_all();
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
        inbox.dead.clear();
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
    ///
    /// - `window`: how many at once.
    pub(crate) fn open(&self, post: Post, window: usize) {
        let mut inner = self.inner.lock();
        if inner.serves(post) {
            let inbox = &mut inner.inboxes[post.place()];
            inbox.open = true;
            inbox.dead.clear();
            inbox.window = (window as u64).max(1);
        }
    }

    /// The instance's parts on that executor could not be made anew: as before, no task is taken.
    pub(crate) fn still_dead(&self, post: Post, instance: InstanceId) {
        let mut inner = self.inner.lock();
        if !inner.serves(post) {
            return;
        }
        let inbox = &mut inner.inboxes[post.place()];
        if !inbox.dead.contains(&instance) {
            inbox.dead.push(instance);
        }
    }

    /// The instance's parts on that executor live again.
    pub(crate) fn revived(&self, post: Post, instance: InstanceId) {
        let mut inner = self.inner.lock();
        if inner.serves(post) {
            let dead = &mut inner.inboxes[post.place()].dead;
            dead.retain(|dead| *dead != instance);
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
            let work = match inbox.order() {
                Some(order) => Some(Work::Order(order)),
                None => match inbox.message() {
                    Some((instance, message)) => Some(Work::Message(instance, message)),
                    None => inner.take(place).map(Work::Task),
                },
            };
            if work.is_some() {
                // A wake-up that was meant for a waiting executor would be lost on this one.
                inner.idle.retain(|idle| *idle != place);
                return work;
            }
            if inner.inboxes[place].takes_tasks() && !inner.idle.contains(&place) {
                inner.idle.push(place);
            }
            self.wake[place].wait(&mut inner);
        }
    }

    /// Another task for an executor that has some in hand, if there is one that may run beside them, and nothing else to do.
    pub(crate) fn another(&self, post: Post) -> Option<Arc<TaskRun>> {
        let mut inner = self.inner.lock();
        let inbox = &inner.inboxes[post.place()];
        let free = inbox.orders.is_empty() && inbox.messages.is_empty();
        if !free || !inner.serves(post) {
            return None;
        }
        let fresh = inner
            .tasks
            .front()?
            .with_history(|history| history.is_fresh());
        match fresh {
            true => inner.take(post.place()),
            // It runs by itself; first what is under way comes home.
            false => None,
        }
    }

    /// The executor has done with its task.
    pub(crate) fn complete(&self, post: Post, run: &Arc<TaskRun>, outcome: Outcome) {
        let mut inner = self.inner.lock();
        if !inner.serves(post) {
            return;
        }
        inner.inboxes[post.place()]
            .in_hand
            .retain(|held| held.id != run.id);
        self.freed(&mut inner, post.place());
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

    /// What an executor had in hand when a worker died goes back to the front, in order, and the executor takes no task until
    /// the instance is revived. Answers which deaths each instance is to be forgiven, where one was proven a record's.
    ///
    /// - `aboard`: how many of them the worker had been handed.
    pub(crate) fn give_back(&self, post: Post, returned: Vec<Returned>, aboard: usize) -> Forgiven {
        let mut inner = self.inner.lock();
        if !inner.serves(post) {
            return Vec::new();
        }
        let place = post.place();
        let others = |(other, inbox): (usize, &Inbox)| other != place && !inbox.in_hand.is_empty();
        let alone = aboard <= 1
            && !inner.inboxes[place].company
            && !inner.inboxes.iter().enumerate().any(others);
        for (other, inbox) in inner.inboxes.iter_mut().enumerate() {
            inbox.company |= other != place && !inbox.in_hand.is_empty();
        }
        let mut forgiven = Vec::new();
        let inbox = &mut inner.inboxes[place];
        for Returned { run, gone } in &returned {
            inbox.in_hand.retain(|held| held.id != run.id);
            let Some(gone) = gone else { continue };
            if !inbox.dead.contains(&gone.instance) {
                inbox.dead.push(gone.instance);
            }
            forgiven.extend(run.with_history(|history| history.died(gone, alone)));
        }
        if !self.is_cancelled() {
            inner.put_back(returned.into_iter().map(|returned| returned.run));
        }
        self.freed(&mut inner, place);
        self.completed.notify_all();
        forgiven
    }

    /// A worker died under `finish`: it goes on once the instance is revived.
    pub(crate) fn finish_later(&self, post: Post, run: Arc<TaskRun>, instance: InstanceId) {
        self.still_dead(post, instance);
        let mut inner = self.inner.lock();
        if inner.serves(post) {
            inner.inboxes[post.place()]
                .orders
                .push_front(Order::Finish(run));
        }
    }

    /// The executor's thread does not come back: its tasks run again on another.
    pub(crate) fn abandon(&self, executor: ExecutorId) {
        let mut inner = self.inner.lock();
        self.give_up(&mut inner, executor.0 as usize);
    }

    /// Gives up every thread that has a task in hand: there is no more time to wait for them.
    pub(crate) fn abandon_busy(&self) {
        let mut inner = self.inner.lock();
        for place in 0..inner.inboxes.len() {
            if !inner.inboxes[place].in_hand.is_empty() {
                self.give_up(&mut inner, place);
            }
        }
    }

    fn give_up(&self, inner: &mut Inner, place: usize) {
        let inbox = &mut inner.inboxes[place];
        inbox.post = None;
        inbox.open = false;
        let tasks = std::mem::take(&mut inbox.in_hand);
        if !self.is_cancelled() {
            // The thread that hangs keeps its own, and whatever it still writes there.
            let taken_over = |task: Arc<TaskRun>| Arc::new(task.taken_over());
            inner.put_back(tasks.into_iter().map(taken_over));
        }
        self.freed(inner, place);
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
    pub(crate) fn cancel(&self, why: Cancel) {
        let mut inner = self.inner.lock();
        inner.cancel.get_or_insert(why);
        self.cancelled.store(true, Ordering::Release);
        inner.tasks.clear();
        self.room.notify_all();
        self.completed.notify_all();
    }

    pub(crate) fn why_cancelled(&self) -> Option<Cancel> {
        self.inner.lock().cancel
    }

    /// Tasks that no executor has in hand.
    #[cfg(test)]
    pub(crate) fn tasks_waiting(&self) -> usize {
        self.inner.lock().tasks.len()
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Waits until no executor has a task in hand, but for those that were given up; answers how many records were read and
    /// not delivered.
    pub(crate) fn settle(&self) -> u64 {
        let mut inner = self.inner.lock();
        while inner.inboxes.iter().any(|inbox| !inbox.in_hand.is_empty()) {
            self.completed.wait(&mut inner);
        }
        inner.records_in - inner.records_out
    }
}
