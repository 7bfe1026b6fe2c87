//! A checker's thread. Whatever goes wrong in here refuses the change; nothing that goes wrong lets one pass.

use super::{Done, Shared, spawn};
use crate::{
    backend::code::CheckerPart,
    error::ExitCode,
    machine::supervisor::{Answer, Event},
    services::{
        component::Kind,
        config::{Proposal, VerdictTo},
        failure::closed,
        message::{Item, Mailbox},
        watch::{Method, Watch},
    },
};
use hotshoe_abi::{Failure, Veto, failure_kind};
use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

enum Order {
    Init(Done<Answer>),
    Check(Proposal, Instant, VerdictTo),
    End,
}

/// The way to a checker's thread.
pub(super) struct CheckerThread {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox<Order>>,
    started: Mutex<bool>,
}

impl CheckerThread {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            mailbox: Arc::default(),
            started: Mutex::new(false),
        }
    }

    pub(super) fn init(&self, done: Done<Answer>) {
        // Again after its process has died: the thread is the same, the part is new.
        if !std::mem::replace(&mut *self.started.lock(), true) {
            let (shared, mailbox) = (Arc::clone(&self.shared), Arc::clone(&self.mailbox));
            spawn(&self.shared.info.name, "checker", move || {
                Thread::new(shared, mailbox).run()
            });
        }
        self.mailbox.order(Order::Init(done));
    }

    pub(super) fn check(&self, proposal: Proposal, verdict_to: VerdictTo) {
        if !*self.started.lock() {
            verdict_to(Err(closed(&format!(
                "the checker of plugin `{}`",
                self.shared.info.name
            ))));
            return;
        }
        // Nobody waits for the verdict after this, so it need not be found.
        let until = Instant::now() + self.shared.info.deadlines.check;
        self.mailbox
            .order(Order::Check(proposal, until, verdict_to));
    }

    pub(super) fn close(&self) {
        if std::mem::take(&mut *self.started.lock()) {
            self.mailbox.order(Order::End);
        }
    }
}

struct Thread {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox<Order>>,
    watch: Arc<Watch>,
    closed: Arc<AtomicBool>,
    checker: Option<Box<dyn CheckerPart>>,
}

impl Thread {
    fn new(shared: Arc<Shared>, mailbox: Arc<Mailbox<Order>>) -> Self {
        let watch = shared.services.watches.add(&shared.info, "checker", None);
        Self {
            shared,
            mailbox,
            watch,
            closed: Arc::default(),
            checker: None,
        }
    }

    fn run(mut self) {
        loop {
            match self.mailbox.take() {
                Item::Order(Order::Init(done)) => {
                    let outcome = self.make().map(|()| Answer::Done);
                    done(outcome.map_err(|failure| {
                        self.shared
                            .problem("checker init", ExitCode::Init, &failure)
                    }));
                }
                Item::Order(Order::Check(proposal, until, verdict_to)) => {
                    if until > Instant::now() {
                        verdict_to(self.check(&proposal));
                    }
                }
                Item::Order(Order::End) => {
                    self.closed.store(true, Ordering::Release);
                    return;
                }
                // Nobody can address mail to a checker.
                Item::Mail(_) => {}
            }
        }
    }

    fn make(&mut self) -> Result<(), Failure> {
        let mut checker = self.shared.code.checker()?;
        let host = self
            .shared
            .component(Kind::Checker, "driver", &self.closed, Some(&self.watch));
        let (outcome, _) = self.watch.during(Method::Init, || checker.init(host));
        outcome.map(|()| self.checker = Some(checker))
    }

    fn check(&mut self, proposal: &Proposal) -> Result<Option<Veto>, Failure> {
        if self.checker.is_none() {
            self.make()?;
        }
        let Some(checker) = self.checker.as_mut() else {
            return Err(closed("the checker"));
        };
        let (outcome, overran) = self.watch.during(Method::Check, || checker.check(proposal));
        if overran {
            self.shared
                .services
                .tell(Event::Recovered(self.shared.info.id));
        }
        if outcome
            .as_ref()
            .is_err_and(|failure| matches!(failure.kind, failure_kind::PANIC | failure_kind::GONE))
        {
            if let Err(failure) = &outcome {
                tracing::warn!(
                    plugin = self.shared.info.name,
                    "check {}; the change is refused",
                    failure.message
                );
            }
            self.checker = None;
        }
        outcome
    }
}
