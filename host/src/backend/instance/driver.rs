//! A driver's thread: takes orders and mail out of one mailbox, in order, and makes every call of that driver.

use super::{
    Done, Shared,
    part_thread::{Thread, Way},
};
use crate::{
    backend::code::DriverPart,
    error::ExitCode,
    machine::supervisor::{Answer, Event},
    services::{
        component::Kind,
        failure::failure,
        message::{Item, Mail, bounded_reply},
        watch::Method,
    },
};
use hotshoe_abi::{Failure, failure_kind};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

enum Order {
    Init(Done<Answer>),
    RegisterMetrics(Done<Answer>),
    Shutdown(Done<Answer>),
}

/// The way to a driver's thread. The thread starts with the first init and ends with the shutdown.
pub(super) struct DriverThread(Way<Order>);

impl DriverThread {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self(Way::new(shared))
    }

    pub(super) fn init(&self, done: Done<Answer>) {
        self.0.start("driver", Driver::run);
        self.0.mailbox.order(Order::Init(done));
    }

    pub(super) fn register_metrics(&self, done: Done<Answer>) {
        self.0.mailbox.order(Order::RegisterMetrics(done));
    }

    pub(super) fn shutdown(&self, done: Done<Answer>) {
        self.0.mailbox.close_with(Order::Shutdown(done));
    }

    pub(super) fn deliver(&self, mail: Mail) -> Result<(), Failure> {
        self.0.mailbox.deliver(&self.0.shared.info.name, mail)
    }

    /// Its process has died: what waits is not for the next one.
    pub(super) fn died(&self, how: &str) {
        for mail in self.0.mailbox.gone() {
            self.0.shared.counted(|counts| &counts.dropped);
            if let Some(reply) = mail.reply {
                reply(Err(failure(failure_kind::GONE, how)));
            }
        }
    }

    pub(super) fn retire(&self) {
        for _ in self.0.mailbox.close() {
            self.0.shared.counted(|counts| &counts.dropped);
        }
    }
}

type Driver = Thread<Order, Box<dyn DriverPart>>;

impl Driver {
    fn run(mut self) {
        loop {
            match self.mailbox.take() {
                Item::Order(Order::Init(done)) => {
                    let outcome = self.init();
                    done(
                        outcome.map_err(|failure| {
                            self.shared.problem("init", ExitCode::Init, &failure)
                        }),
                    );
                }
                Item::Order(Order::RegisterMetrics(done)) => {
                    let (outcome, _) = self.watch.during(Method::RegisterMetrics, || {
                        call(&mut self.part, |driver| driver.register_metrics())
                    });
                    done(outcome.map(|()| Answer::Done).map_err(|failure| {
                        self.shared
                            .problem("register_metrics", ExitCode::Init, &failure)
                    }));
                }
                Item::Order(Order::Shutdown(done)) => {
                    let outcome = self.shutdown();
                    done(outcome.map_err(|failure| {
                        self.shared
                            .problem("shutdown", ExitCode::Shutdown, &failure)
                    }));
                    return;
                }
                Item::Mail(mail) => self.receive(mail),
            }
        }
    }

    /// A new part for each attempt: one that failed half-way is not asked to begin again.
    fn init(&mut self) -> Result<Answer, Failure> {
        self.closed = Arc::default();
        let mut driver = self.shared.code.driver()?;
        let host = self
            .shared
            .component(Kind::Driver, &self.closed, Some(&self.watch));
        self.shared.initializing.store(true, Ordering::Release);
        let (outcome, _) = self.watch.during(Method::Init, || driver.init(host));
        self.shared.initializing.store(false, Ordering::Release);
        match outcome {
            Ok(extra) => {
                let pairs = extra
                    .into_iter()
                    .map(|pair| (pair.0.into_string(), pair.1.into_string()));
                *self.shared.extra.lock() = pairs.collect();
                self.part = Some(driver);
                self.mailbox.open();
                Ok(Answer::Done)
            }
            Err(failure) => {
                self.closed.store(true, Ordering::Release);
                // The next attempt counts anew.
                self.shared.services.metrics.forget(&self.shared.info.name);
                Err(failure)
            }
        }
    }

    fn receive(&mut self, mail: Mail) {
        let late = mail
            .deadline
            .is_some_and(|deadline| deadline <= Instant::now());
        if late || self.part.is_none() {
            self.shared.counted(|counts| &counts.dropped);
            return;
        }
        self.shared.counted(|counts| &counts.delivered);
        let (outcome, overran) = self.watch.during(Method::Receive, || {
            call(&mut self.part, |driver| driver.receive(&mail.bytes))
        });
        let outcome = outcome.and_then(|reply| bounded_reply(&self.shared.info.name, reply));
        if overran {
            self.shared
                .services
                .tell(Event::Recovered(self.shared.info.id));
        }
        let panicked = outcome
            .as_ref()
            .err()
            .filter(|failure| failure.kind == failure_kind::PANIC)
            .cloned();
        if let Err(failure) = &outcome {
            self.shared.counted(|counts| &counts.failed);
            if mail.reply.is_none() && panicked.is_none() {
                tracing::warn!(
                    plugin = self.shared.info.name,
                    "a one-way message failed: {}",
                    failure.message
                );
            }
        }
        if let Some(reply) = mail.reply {
            reply(outcome);
        }
        if let Some(failure) = panicked {
            let problem = self.shared.problem("receive", ExitCode::Running, &failure);
            self.shared
                .services
                .tell(Event::Faulted(self.shared.info.id, problem));
        }
    }

    fn shutdown(&mut self) -> Result<Answer, Failure> {
        let (outcome, _) = self.watch.during(Method::Shutdown, || {
            call(&mut self.part, |driver| driver.shutdown())
        });
        // Only now: what it logs, counts and changes inside its shutdown still arrives.
        self.closed.store(true, Ordering::Release);
        let shared = &self.shared;
        shared.services.config.forget_changes(&shared.info.name);
        self.part = None;
        outcome.map(|()| Answer::Done)
    }
}

fn call<T>(
    driver: &mut Option<Box<dyn DriverPart>>,
    call: impl FnOnce(&mut dyn DriverPart) -> Result<T, Failure>,
) -> Result<T, Failure> {
    match driver {
        Some(driver) => call(driver.as_mut()),
        None => Err(crate::services::failure::closed("the driver")),
    }
}
