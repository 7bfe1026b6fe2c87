//! A checker's thread. Whatever goes wrong in here refuses the change; nothing that goes wrong lets one pass.

use super::{
    Done, Shared,
    part_thread::{Thread, Way},
};
use crate::{
    backend::code::CheckerPart,
    error::ExitCode,
    machine::supervisor::{Answer, Event},
    services::{
        component::Kind,
        config::{Proposal, VerdictTo},
        failure::closed,
        message::Item,
        watch::Method,
    },
};
use hotshoe_abi::{Failure, Veto, failure_kind};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

enum Order {
    Init(Done<Answer>),
    Check(Proposal, Instant, VerdictTo),
    End,
}

/// The way to a checker's thread.
pub(super) struct CheckerThread(Way<Order>);

impl CheckerThread {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self(Way::new(shared))
    }

    pub(super) fn init(&self, done: Done<Answer>) {
        self.0.start("checker", Checker::run);
        self.0.mailbox.order(Order::Init(done));
    }

    pub(super) fn check(&self, proposal: Proposal, verdict_to: VerdictTo) {
        if !*self.0.started.lock() {
            verdict_to(Err(closed(&format!(
                "the checker of plugin `{}`",
                self.0.shared.info.name
            ))));
            return;
        }
        // Nobody waits for the verdict after this, so it need not be found.
        let until = Instant::now() + self.0.shared.info.deadlines.check;
        self.0
            .mailbox
            .order(Order::Check(proposal, until, verdict_to));
    }

    pub(super) fn close(&self) {
        if std::mem::take(&mut *self.0.started.lock()) {
            self.0.mailbox.order(Order::End);
        }
    }
}

type Checker = Thread<Order, Box<dyn CheckerPart>>;

impl Checker {
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
            .component(Kind::Checker, &self.closed, Some(&self.watch));
        let (outcome, _) = self.watch.during(Method::Init, || checker.init(host));
        outcome.map(|()| self.part = Some(checker))
    }

    fn check(&mut self, proposal: &Proposal) -> Result<Option<Veto>, Failure> {
        if self.part.is_none() {
            self.make()?;
        }
        let Some(checker) = self.part.as_mut() else {
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
            self.part = None;
        }
        outcome
    }
}
