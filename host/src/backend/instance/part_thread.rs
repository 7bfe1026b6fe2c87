//! What a driver's thread and a checker's have in common: a mailbox, the way to it, and what the thread has at hand. It knows no
//! order and makes no call.

use super::{Shared, spawn};
use crate::services::{message::Mailbox, watch::Watch};
use parking_lot::Mutex;
use std::sync::{Arc, atomic::AtomicBool};

/// The way to a component's thread, which starts with the first init. Its orders are `O`.
pub(super) struct Way<O> {
    pub(super) shared: Arc<Shared>,
    pub(super) mailbox: Arc<Mailbox<O>>,
    pub(super) started: Mutex<bool>,
}

impl<O: Send + 'static> Way<O> {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            mailbox: Arc::default(),
            started: Mutex::new(false),
        }
    }

    /// Starts the thread, unless it runs: after a death of its process the thread is the same, and the part is new.
    pub(super) fn start<P>(&self, component: &'static str, run: fn(Thread<O, P>))
    where
        P: 'static,
    {
        if !std::mem::replace(&mut *self.started.lock(), true) {
            let (shared, mailbox) = (Arc::clone(&self.shared), Arc::clone(&self.mailbox));
            spawn(&self.shared.info.name, component, move || {
                run(Thread::new(shared, mailbox, component));
            });
        }
    }
}

/// What the thread has at hand.
pub(super) struct Thread<O, P> {
    pub(super) shared: Arc<Shared>,
    pub(super) mailbox: Arc<Mailbox<O>>,
    pub(super) watch: Arc<Watch>,
    /// The part's context is of no use any more.
    pub(super) closed: Arc<AtomicBool>,
    pub(super) part: Option<P>,
}

impl<O, P> Thread<O, P> {
    fn new(shared: Arc<Shared>, mailbox: Arc<Mailbox<O>>, component: &'static str) -> Self {
        let watch = shared.services.watches.add(&shared.info, component, None);
        Self {
            shared,
            mailbox,
            watch,
            closed: Arc::default(),
            part: None,
        }
    }
}
