//! The one writer of a topic: takes what is queued, evaluates it on a copy of the store, writes all that was accepted with
//! one sync, then makes it current one generation after the other, and only then answers (config-api §1, group commit).
//!
//! Readers wait for none of this: the store's lock is held to look and to swap, never while a checker thinks or a disk syncs.

use super::{
    Asker, CheckedBy, Checks, GROUP_LEN_MAX, Proposal, Readers, Reading, Request, Shared, Topic,
    VerdictTo, Waits,
    journal::{AppendError, Journal, Lines, Room},
    wire::{answer, dry_run_answer, refusal},
};
use crate::{
    machine::store::{self, ChangeError as Refused, Evaluated, Operation, Store},
    services::{clock, failure::kind_name},
};
use hotshoe_abi::{Applied, ChangeError, Failure, Veto, failure_kind};
use parking_lot::Mutex;
use std::{
    sync::{Arc, Weak, atomic::Ordering, mpsc},
    time::Duration,
};

/// How often the way back is written again where there was no room for it (config-api §8).
const REWRITE_EVERY: Duration = Duration::from_secs(1);

/// What was accepted is written at the latest this long after its group was begun, however long checkers think about the rest.
const GROUP_TIME_MAX: Duration = Duration::from_millis(50);

pub(super) struct Writer {
    /// Weak: a closed service ends its writers by dropping the queue's sender with the topic.
    pub(super) topic: Weak<Topic>,
    pub(super) shared: Arc<Shared>,
    pub(super) checks: Checks,
    pub(super) readers: Arc<Mutex<Readers>>,
    pub(super) waits: Arc<Waits>,
}

/// A change, and who wants it.
#[derive(Clone, Copy)]
struct Asked<'a> {
    change: &'a store::Change,
    by: Asker,
}

/// Changes evaluated one on top of the other, none of them written.
struct Draft {
    steps: Vec<Step>,
    lines: Lines,
    room: Room,
    answers: Vec<Drafted>,
}

/// An accepted change, to be made on the store itself once it is written.
struct Step {
    candidate: store::Candidate,
    at: String,
}

enum Drafted {
    /// Needs nothing written: a refusal, a dry run, a no-op.
    Done(Result<Applied, ChangeError>),
    /// The answer to a step, once it is written.
    Step(Applied),
}

enum Written {
    /// All of it, and it is visible.
    Done,
    /// The topic was declared again meanwhile, or went back by itself: nothing was written, all of it is asked anew.
    Stale,
    /// Nothing was made current.
    Refused(AppendError),
    Closed,
}

impl Writer {
    pub(super) fn run(&self, requests: &mpsc::Receiver<Request>) {
        loop {
            let wake_at = self.topic.upgrade().and_then(|topic| topic.wake_at());
            let first = match wake_at {
                None => requests.recv().ok(),
                Some(wake_at) => {
                    match requests.recv_timeout(wake_at.saturating_sub(clock::monotonic())) {
                        Ok(request) => Some(request),
                        Err(mpsc::RecvTimeoutError::Timeout) => {
                            if let Some(topic) = self.topic.upgrade() {
                                self.tick(&topic);
                            }
                            continue;
                        }
                        Err(mpsc::RecvTimeoutError::Disconnected) => None,
                    }
                }
            };
            let Some(first) = first else { return };
            let mut group = vec![first];
            group.extend(requests.try_iter().take(GROUP_LEN_MAX - 1));
            self.group(group);
        }
    }

    /// Decides every change of a group, then answers each request.
    fn group(&self, group: Vec<Request>) {
        let mut answers = Vec::new();
        let asked = group.iter().flat_map(|request| {
            let by = request.asker;
            let asked = move |change| Asked { change, by };
            request.changes.iter().map(asked)
        });
        let changes: Vec<Asked<'_>> = asked.collect();
        while answers.len() < changes.len() {
            let left = &changes[answers.len()..];
            match self.topic.upgrade() {
                Some(topic) => answers.extend(self.prefix(&topic, left)),
                None => answers.extend(left.iter().map(|_| Err(stopping()))),
            }
        }
        let mut answers = answers.into_iter();
        for request in group {
            let count = request.changes.len();
            request
                .answer
                .pay(Ok(answers.by_ref().take(count).collect()));
        }
    }

    /// Decides as many of the changes as fit one commit, and at least makes some progress. An empty answer: ask again.
    fn prefix(
        &self,
        topic: &Arc<Topic>,
        changes: &[Asked<'_>],
    ) -> Vec<Result<Applied, ChangeError>> {
        let mut steps_max = usize::MAX;
        loop {
            self.tick(topic);
            if let Some(why) = topic.storage.lock().read_only() {
                return changes.iter().map(|_| Err(read_only(&why))).collect();
            }
            let base = topic.store.lock().clone();
            let draft = self.draft(topic, &base, changes, steps_max);
            let error = match self.write(topic, &base, &draft) {
                Written::Done => {
                    let answers = draft.answers.into_iter();
                    return answers.map(Drafted::accepted).collect();
                }
                Written::Stale => continue,
                Written::Closed => return changes.iter().map(|_| Err(stopping())).collect(),
                Written::Refused(error) => error,
            };
            match error {
                // Each alone: a smaller one may have room, and what followed a refused one was evaluated on it.
                AppendError::Full(_) if draft.steps.len() > 1 => steps_max = 1,
                AppendError::Full(why) => {
                    let refused = Refused::new(
                        "disk-full",
                        format!("there is no room to keep the change: {why}"),
                    );
                    return draft
                        .refused(&refusal(refused.hint(
                            "make room on the disk of the state folder; nothing was changed",
                        )));
                }
                AppendError::Failed(why) => {
                    let refused = Refused::new("storage-failed", why)
                        .hint("the topic is read-only; repair the disk, then start the host again");
                    return draft.refused(&refusal(refused));
                }
            }
        }
    }

    /// Evaluates on a copy. Checkers are asked here; nothing is locked meanwhile.
    fn draft(
        &self,
        topic: &Arc<Topic>,
        base: &Store,
        changes: &[Asked<'_>],
        steps_max: usize,
    ) -> Draft {
        let mut store = base.clone();
        let mut draft = Draft {
            steps: Vec::new(),
            lines: Lines::default(),
            room: Room::UseReserve,
            answers: Vec::new(),
        };
        let begun = clock::monotonic();
        for asked in changes {
            let late = !draft.steps.is_empty() && clock::monotonic() - begun > GROUP_TIME_MAX;
            // A deadline that passes meanwhile is a commit of its own, and comes first.
            let overdue = store.tick(clock::monotonic()).is_some();
            if late || overdue || draft.steps.len() >= steps_max {
                break;
            }
            let drafted = match self.evaluate(topic, &store, *asked) {
                Err(refused) => Drafted::Done(Err(refusal(refused))),
                Ok(Evaluated::NoOp(applied)) => Drafted::Done(Ok(answer(applied, topic.durable))),
                Ok(Evaluated::DryRun(dry_run)) => {
                    Drafted::Done(Ok(dry_run_answer(&dry_run, &store.current().document)))
                }
                Ok(Evaluated::Candidate(candidate)) => {
                    Drafted::Step(draft.step(topic, &mut store, asked.change, candidate))
                }
            };
            draft.answers.push(drafted);
        }
        draft
    }

    /// Steps 14 to 17 of config-api §2.
    fn evaluate(
        &self,
        topic: &Arc<Topic>,
        store: &Store,
        asked: Asked<'_>,
    ) -> Result<Evaluated, Refused> {
        still_wanted(topic, asked.by)?;
        let change = asked.change;
        let evaluated = store.evaluate(change, clock::monotonic())?;
        let current = &store.current().document;
        match &evaluated {
            Evaluated::NoOp(_) => {}
            Evaluated::DryRun(dry_run) => {
                if dry_run.asks_checkers {
                    let proposal = proposal(topic, &dry_run.document, current, true);
                    self.ask_checkers(topic, &proposal, dry_run.generation)?;
                }
            }
            Evaluated::Candidate(candidate) => {
                if matches!(change.operation, Operation::Confirm { .. }) {
                    self.no_reader_objects(topic, candidate.on())?;
                }
                if let Some(document) = candidate.document().filter(|_| candidate.asks_checkers()) {
                    let proposal = proposal(topic, document, current, false);
                    self.ask_checkers(topic, &proposal, candidate.on())?;
                }
            }
        }
        // A checker may have thought for long.
        still_wanted(topic, asked.by)?;
        Ok(evaluated)
    }

    /// Makes a draft durable and current, in this order.
    fn write(&self, topic: &Topic, base: &Store, draft: &Draft) -> Written {
        // Held to the end: whoever declares the topic again waits, and so does `close`.
        let mut journal = topic.journal.lock();
        let still = {
            let store = topic.store.lock();
            store.same_terms(base) && store.current().generation == base.current().generation
        };
        if !still {
            return Written::Stale;
        }
        if draft.steps.is_empty() {
            return Written::Done;
        }
        match (&mut *journal, topic.durable) {
            (None, true) => return Written::Closed,
            (None, false) => {}
            (Some(journal), _) => {
                if let Err(error) = keep(journal, base, draft) {
                    topic.note(journal);
                    return Written::Refused(error);
                }
            }
        }
        for step in &draft.steps {
            self.commit(topic, step.candidate.clone(), &step.at);
        }
        if let Some(journal) = &mut *journal {
            let needed = topic.store.lock().oldest_needed();
            journal.retain(needed);
            topic.note(journal);
        }
        drop(journal);
        self.wake(topic);
        Written::Done
    }

    /// A provisional change whose time has come goes back by itself, whether that can be written or not.
    fn tick(&self, topic: &Topic) {
        let mut journal = topic.journal.lock();
        self.write_again(topic, journal.as_mut());
        let (candidate, mut draft) = {
            let store = topic.store.lock();
            match store.tick(clock::monotonic()) {
                Some(candidate) => (candidate, store.clone()),
                None => return,
            }
        };
        let at = clock::utc_now();
        draft.commit(candidate.clone(), &at);
        if let Some(journal) = &mut *journal {
            let mut lines = Lines::default();
            lines.set(draft.current());
            let appended = journal.append(&lines, Room::UseReserve);
            if let Err(AppendError::Full(why) | AppendError::Failed(why)) = appended {
                tracing::error!(
                    topic = &*topic.name,
                    "the way back to the last confirmed value is in force, but not written: {why}"
                );
                topic.storage.lock().unwritten = Some((lines, clock::monotonic() + REWRITE_EVERY));
            }
            topic.note(journal);
        }
        self.commit(topic, candidate, &at);
        drop(journal);
        self.wake(topic);
    }

    /// Tries once a second to write a way back that had no room. After a failed write or sync there is nothing to try.
    fn write_again(&self, topic: &Topic, journal: Option<&mut Journal>) {
        let Some(journal) = journal.filter(|journal| journal.failed().is_none()) else {
            return;
        };
        let mut storage = topic.storage.lock();
        let due = |(_, at): &(Lines, Duration)| *at <= clock::monotonic();
        if !storage.unwritten.as_ref().is_some_and(due) {
            return;
        }
        let unwritten = storage.unwritten.take();
        drop(storage);
        let Some((lines, _)) = unwritten else { return };
        if journal.append(&lines, Room::UseReserve).is_err() {
            topic.storage.lock().unwritten = Some((lines, clock::monotonic() + REWRITE_EVERY));
        }
        topic.note(journal);
    }

    /// A generation that a reader cannot decode is not confirmed: it goes back by itself.
    fn no_reader_objects(&self, topic: &Topic, generation: u64) -> Result<(), Refused> {
        let readers = self.readers.lock();
        let objects = |(_, reading): &(&str, &Reading)| {
            reading.generation == generation && reading.nack.is_some()
        };
        match readers.of(&topic.name).find(objects) {
            None => Ok(()),
            Some((reader, reading)) => {
                let why = reading.nack.as_deref().unwrap_or_default();
                let text = format!("{reader} cannot decode generation {generation}: {why}");
                Err(Refused::new("readers-nacked", text).on(generation))
            }
        }
    }

    /// Asks one after another, in init order; the first objection decides.
    fn ask_checkers(
        &self,
        topic: &Topic,
        proposal: &Proposal,
        generation: u64,
    ) -> Result<(), Refused> {
        let checkers = self
            .checks
            .read()
            .get(&*proposal.topic)
            .cloned()
            .unwrap_or_default();
        for checker in checkers {
            let (sender, receiver) = mpsc::sync_channel(1);
            let verdict_to: VerdictTo = Box::new(move |verdict| {
                let _ = sender.try_send(verdict);
            });
            (checker.ask)(proposal.clone(), verdict_to);
            let verdict = self.wait_for(topic, &receiver, checker.deadline);
            veto(&checker, verdict).map_err(|refused| refused.on(generation))?;
        }
        Ok(())
    }

    /// Waits for a verdict. What waits for its confirmation goes back in time all the same; then the draft is stale.
    fn wait_for<T>(
        &self,
        topic: &Topic,
        verdict: &mpsc::Receiver<T>,
        timeout: Duration,
    ) -> Result<T, mpsc::RecvTimeoutError> {
        let until = clock::monotonic().saturating_add(timeout);
        loop {
            let pending_until = topic.store.lock().next_deadline();
            let wake_at = pending_until.map_or(until, |deadline| deadline.min(until));
            match verdict.recv_timeout(wake_at.saturating_sub(clock::monotonic())) {
                Err(mpsc::RecvTimeoutError::Timeout) if wake_at < until => self.tick(topic),
                outcome => return outcome,
            }
        }
    }

    /// Makes a candidate current and visible.
    fn commit(&self, topic: &Topic, candidate: store::Candidate, at: &str) {
        let mut store = topic.store.lock();
        let applied = store.commit(candidate, at);
        if Some(applied.generation) != self.published(&topic.name) {
            self.shared.publish(&topic.name, store.current());
        }
    }

    /// Answers who waits for what was committed. No lock is held: what an answer sets off is not ours to know.
    fn wake(&self, topic: &Topic) {
        self.waits.published(&topic.name, topic.generation());
    }

    fn published(&self, topic: &str) -> Option<u64> {
        let set = self.shared.current.read();
        set.topics.get(topic).map(|document| document.generation)
    }
}

/// One write and one sync for all of a draft, in a new segment where one is due.
fn keep(journal: &mut Journal, base: &Store, draft: &Draft) -> Result<(), AppendError> {
    // A new segment has no room kept for what uses the reserve; that of the old one is there.
    if draft.room == Room::KeepReserve {
        journal.rotate_if_due(base.current())?;
    }
    journal.append(&draft.lines, draft.room)
}

impl Draft {
    /// Commits a candidate to the copy, and notes what is to be written of it.
    fn step(
        &mut self,
        topic: &Topic,
        store: &mut Store,
        change: &store::Change,
        candidate: store::Candidate,
    ) -> Applied {
        let at = clock::utc_now();
        if candidate.asks_checkers() {
            self.room = Room::KeepReserve;
        }
        let applied = store.commit(candidate.clone(), &at);
        match applied.confirmed {
            true => self.lines.confirm(&at, &change.by, applied.generation),
            false => self.lines.set(store.current()),
        }
        self.steps.push(Step { candidate, at });
        answer(applied, topic.durable)
    }

    /// The answers where the steps could not be written: what came before the first stands, each step is refused, and what
    /// came after is left to be asked again, for it was evaluated on a value that never was.
    fn refused(self, refused: &ChangeError) -> Vec<Result<Applied, ChangeError>> {
        let mut answers = Vec::new();
        let mut stepped = false;
        for drafted in self.answers {
            match drafted {
                Drafted::Step(_) => {
                    stepped = true;
                    answers.push(Err(refused.clone()));
                }
                Drafted::Done(_) if stepped => break,
                Drafted::Done(done) => answers.push(done),
            }
        }
        answers
    }
}

impl Drafted {
    fn accepted(self) -> Result<Applied, ChangeError> {
        match self {
            Self::Done(done) => done,
            Self::Step(applied) => Ok(applied),
        }
    }
}

/// Nobody could tell what became of a change whose owner is gone.
fn still_wanted(topic: &Topic, by: Asker) -> Result<(), Refused> {
    let gone = match by {
        Asker::Host => false,
        Asker::Owner(life) => life != topic.lives.load(Ordering::Acquire),
    };
    match gone {
        true => Err(Refused::new(
            "shutting-down",
            "the plugin that asked for the change is gone",
        )),
        false => Ok(()),
    }
}

fn stopping() -> ChangeError {
    refusal(Refused::new("shutting-down", "the host is stopping"))
}

fn read_only(why: &str) -> ChangeError {
    let mut refused = Refused::new("store-readonly", format!("the topic is read-only: {why}"))
        .hint("repair the disk of the state folder, then start the host again");
    refused.retry_after = Some(Duration::from_secs(30));
    refusal(refused)
}

fn proposal(topic: &Topic, candidate: &Arc<[u8]>, current: &Arc<[u8]>, dry_run: bool) -> Proposal {
    Proposal {
        topic: Arc::clone(&topic.name),
        candidate: Arc::clone(candidate),
        current: Arc::clone(current),
        dry_run,
    }
}

/// What a checker's verdict means for the change.
fn veto(
    checker: &CheckedBy,
    verdict: Result<Result<Option<Veto>, Failure>, mpsc::RecvTimeoutError>,
) -> Result<(), Refused> {
    let name = &checker.instance;
    match verdict {
        Ok(Ok(None)) => Ok(()),
        Ok(Ok(Some(veto))) => {
            Err(Refused::new("plugin-veto", veto.reason.as_str()).at(veto.pointer.as_str()))
        }
        Err(mpsc::RecvTimeoutError::Timeout) => {
            let text = format!(
                "plugin `{name}` did not say within {} ms",
                checker.deadline.as_millis()
            );
            Err(Refused::new("veto-timeout", text))
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(Refused::new(
            "veto-timeout",
            format!("the checker of plugin `{name}` is gone"),
        )),
        Ok(Err(failure)) if failure.kind == failure_kind::PANIC => Err(Refused::new(
            "veto-panicked",
            format!("the checker of plugin `{name}` panicked"),
        )),
        Ok(Err(failure))
            if matches!(
                failure.kind,
                failure_kind::TIMEOUT | failure_kind::CLOSED | failure_kind::GONE
            ) =>
        {
            let text = format!(
                "the checker of plugin `{name}` cannot answer: {}",
                failure.message
            );
            Err(Refused::new("veto-timeout", text))
        }
        Ok(Err(failure)) => {
            let text = format!(
                "the checker of plugin `{name}`: {}: {}",
                kind_name(failure.kind),
                failure.message
            );
            Err(Refused::new("plugin-veto", text))
        }
    }
}
