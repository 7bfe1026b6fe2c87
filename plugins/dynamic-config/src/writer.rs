//! The threads that ask the store. `cfg-write` takes what is queued, at most 64 changes, and asks once (config-api §1, group
//! commit); `cfg-read` reads what takes the store's lock, and so waits for no checker and no disk.
//!
//! They are the only places that call what may block; the listener's runtime never does. Nothing waits for a group to fill, and a
//! panic refuses the group in hand, or the question, and nothing else.

use crate::{
    error::Slug,
    metrics,
    store::{Applied, Refused, Store, host_refusal},
};
use hotshoe_plugin_api::Change;
use prometheus_client::metrics::histogram::Histogram;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    time::Instant,
};
use tokio::sync::oneshot;

/// Changes of one group: what one sync of a journal is shared by.
const GROUP_MAX: usize = 64;
/// Changes that may wait (config-api §12).
const QUEUED_MAX: usize = 4_096;

/// What a change came to.
pub(crate) type Outcome = Result<Applied, Refused>;

type Look = Box<dyn FnOnce(&dyn Store) + Send>;

enum Job<T> {
    Do(T),
    Stop,
}

/// A change, and whom its outcome is told.
type Asked = (Change, oneshot::Sender<Outcome>);

/// The asking end. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Queue {
    changes: Sender<Job<Asked>>,
    looks: Sender<Job<Look>>,
    shared: Arc<Shared>,
}

struct Shared {
    queued: AtomicUsize,
    abandoned: AtomicBool,
    apply_seconds: Histogram,
}

/// The end of `cfg-write`.
pub(crate) struct Writer {
    changes: Receiver<Job<Asked>>,
    shared: Arc<Shared>,
}

/// The end of `cfg-read`.
pub(crate) struct Reader {
    looks: Receiver<Job<Look>>,
}

pub(crate) fn queue() -> (Queue, Writer, Reader) {
    let (change_sender, changes) = channel();
    let (look_sender, looks) = channel();
    let shared = Arc::new(Shared {
        queued: AtomicUsize::default(),
        abandoned: AtomicBool::default(),
        apply_seconds: metrics::seconds(),
    });
    let queue = Queue {
        changes: change_sender,
        looks: look_sender,
        shared: Arc::clone(&shared),
    };
    let writer = Writer { changes, shared };
    (queue, writer, Reader { looks })
}

impl Queue {
    /// Queues a change and waits for its outcome.
    pub(crate) async fn change(&self, change: Change) -> Outcome {
        if self.shared.queued.fetch_add(1, Ordering::Relaxed) >= QUEUED_MAX {
            self.shared.queued.fetch_sub(1, Ordering::Relaxed);
            let detail = format!("{QUEUED_MAX} changes are waiting");
            return Err(Refused::new(Slug::Busy, detail));
        }
        let (sender, receiver) = oneshot::channel();
        if self.changes.send(Job::Do((change, sender))).is_err() {
            return Err(stopping());
        }
        receiver.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Runs `look`, whatever changes are under way; `None` once the thread has ended.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&dyn Store) -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        let look: Look = Box::new(move |store| {
            // A client that is gone does not need it any more.
            let _ = sender.send(look(store));
        });
        self.looks.send(Job::Do(look)).ok()?;
        receiver.await.ok()
    }

    /// How long groups took.
    pub(crate) fn apply_seconds(&self) -> Histogram {
        self.shared.apply_seconds.clone()
    }

    /// Ends both threads when all that was queued before is done.
    pub(crate) fn stop(&self) {
        // They may have ended already.
        let _ = self.changes.send(Job::Stop);
        let _ = self.looks.send(Job::Stop);
    }

    /// Refuses what is still queued instead of applying it.
    pub(crate) fn abandon(&self) {
        self.shared.abandoned.store(true, Ordering::Relaxed);
    }
}

fn stopping() -> Refused {
    Refused::new(Slug::ShuttingDown, "the instance is stopping")
}

impl Reader {
    /// The thread's whole life.
    pub(crate) fn run(self, store: &dyn Store) {
        while let Ok(Job::Do(look)) = self.looks.recv() {
            guarded(|| look(store)).unwrap_or_default();
        }
    }
}

impl Writer {
    /// The thread's whole life.
    pub(crate) fn run(self, store: &dyn Store) {
        while let Ok(Job::Do(first)) = self.changes.recv() {
            let mut group = vec![first];
            let mut stopped = false;
            while group.len() < GROUP_MAX && !stopped {
                match self.changes.try_recv() {
                    Ok(Job::Do(asked)) => group.push(asked),
                    Ok(Job::Stop) => stopped = true,
                    Err(_) => break,
                }
            }
            self.shared.queued.fetch_sub(group.len(), Ordering::Relaxed);
            self.apply(store, group);
            if stopped {
                return;
            }
        }
    }

    fn apply(&self, store: &dyn Store, group: Vec<Asked>) {
        let (changes, answers): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let refuse_all = |refused: &Refused| vec![Err(refused.clone()); changes.len()];
        let mut outcomes = if self.shared.abandoned.load(Ordering::Relaxed) {
            refuse_all(&stopping())
        } else {
            let begun = Instant::now();
            let applied = guarded(|| store.apply(&changes));
            let took = begun.elapsed().as_secs_f64();
            self.shared.apply_seconds.observe(took);
            match applied {
                Some(Ok(outcomes)) => outcomes,
                Some(Err(error)) => refuse_all(&host_refusal(&error)),
                None => refuse_all(&Refused::new(
                    Slug::Internal,
                    "the store could not be asked",
                )),
            }
        };
        let missing = changes.len().saturating_sub(outcomes.len());
        let unanswered = Refused::new(
            Slug::Internal,
            "the store answered fewer changes than it was asked",
        );
        outcomes.extend(vec![Err(unanswered); missing]);
        for (answer, outcome) in answers.into_iter().zip(outcomes) {
            // A client that is gone learns its outcome from the history.
            let _ = answer.send(outcome);
        }
    }
}

/// Runs `work` so that a panic ends nothing but it.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    let outcome = catch_unwind(AssertUnwindSafe(work));
    if outcome.is_err() {
        tracing::error!("a call into the store panicked");
    }
    outcome.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Entry, Snapshot};
    use hotshoe_plugin_api::{Error, Operation, Result};
    use serde_json::Value;
    use std::{sync::Mutex, time::Duration};

    /// Notes the size of every group; panics once when told.
    #[derive(Default)]
    struct Sizes {
        groups: Mutex<Vec<usize>>,
        panics: AtomicBool,
    }

    impl Store for Sizes {
        fn apply(&self, changes: &[Change]) -> Result<Vec<Result<Applied, Refused>>> {
            assert!(!self.panics.swap(false, Ordering::Relaxed), "told to");
            self.groups.lock().unwrap().push(changes.len());
            Ok(vec![Ok(Applied::default()); changes.len()])
        }

        fn current(&self) -> Result<Snapshot> {
            Err(Error::new("unused"))
        }

        fn history(&self, _: Option<u64>, _: u32) -> Result<Vec<Entry>> {
            Ok(Vec::new())
        }

        fn diff(&self, _: u64, _: u64) -> Result<Result<Value, Refused>> {
            Err(Error::new("unused"))
        }

        fn status(&self) -> Result<Value> {
            Err(Error::new("unused"))
        }

        fn wait(&self, _: u64, _: Duration) -> Result<Option<u64>> {
            Err(Error::new("unused"))
        }
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(future)
    }

    fn send(queue: &Queue, count: usize) -> Vec<oneshot::Receiver<Outcome>> {
        let one = |_| {
            let (sender, receiver) = oneshot::channel();
            let change = Change::from(Operation::Touch);
            queue.changes.send(Job::Do((change, sender))).unwrap();
            queue.shared.queued.fetch_add(1, Ordering::Relaxed);
            receiver
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn what_is_queued_goes_in_groups_of_at_most_64() {
        let (queue, writer, _) = queue();
        let receivers = send(&queue, 150);
        queue.stop();
        let store = Sizes::default();
        writer.run(&store);
        assert_eq!(*store.groups.lock().unwrap(), [64, 64, 22]);
        for receiver in receivers {
            assert!(block_on(receiver).unwrap().is_ok());
        }
        assert_eq!(queue.shared.queued.load(Ordering::Relaxed), 0);
        let refused = block_on(queue.change(Change::from(Operation::Touch)));
        assert_eq!(refused.unwrap_err().slug, Slug::ShuttingDown);
    }

    #[test]
    fn a_panic_refuses_its_group_and_the_thread_goes_on() {
        let (queue, writer, _) = queue();
        let store = Sizes::default();
        store.panics.store(true, Ordering::Relaxed);
        let refused = send(&queue, GROUP_MAX);
        let later = send(&queue, 1);
        queue.stop();
        writer.run(&store);
        for receiver in refused {
            assert_eq!(
                block_on(receiver).unwrap().unwrap_err().slug,
                Slug::Internal
            );
        }
        for receiver in later {
            assert!(block_on(receiver).unwrap().is_ok());
        }
    }

    #[test]
    fn a_panic_in_a_look_ends_nothing_but_it() {
        let (queue, _, reader) = queue();
        let thread = std::thread::spawn(move || reader.run(&Sizes::default()));
        assert_eq!(block_on(queue.look(|_| -> u8 { panic!("told to") })), None);
        assert_eq!(block_on(queue.look(|_| 7)), Some(7));
        queue.stop();
        thread.join().unwrap();
        assert_eq!(block_on(queue.look(|_| 7)), None);
    }

    #[test]
    fn abandoned_changes_are_refused_and_not_applied() {
        let (queue, writer, _) = queue();
        let receivers = send(&queue, 3);
        queue.abandon();
        queue.stop();
        let store = Sizes::default();
        writer.run(&store);
        assert!(store.groups.lock().unwrap().is_empty());
        for receiver in receivers {
            let refused = block_on(receiver).unwrap().unwrap_err();
            assert_eq!(refused.slug, Slug::ShuttingDown);
        }
    }

    #[test]
    fn a_full_queue_is_busy() {
        let (queue, _writer, _) = queue();
        drop(send(&queue, QUEUED_MAX));
        let refused = block_on(queue.change(Change::from(Operation::Touch))).unwrap_err();
        assert_eq!(refused.slug, Slug::Busy);
    }
}
