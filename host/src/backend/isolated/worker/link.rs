//! The worker's way to its host: what nobody waits for, and what a plugin's thread waits for. A thread that writes waits for
//! room, which is what slows a plugin down that logs without end.

use super::super::{
    frames::send_all,
    wire::{self, Refused, Served, Service, ToHost, Told},
};
use crate::services::{component::Kind, failure::closed};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    os::fd::{AsFd as _, OwnedFd},
    sync::{
        atomic::{AtomicU32, AtomicU64, Ordering},
        mpsc,
    },
};

/// See the file.
pub(super) struct Link {
    socket: OwnedFd,
    /// The process that the host has started.
    pid: u32,
    writing: Mutex<()>,
    asked: Mutex<BTreeMap<u64, mpsc::SyncSender<Result<Served, Refused>>>>,
    next: AtomicU64,
    /// The most verbose level that the host listens to.
    pub(super) level: AtomicU32,
}

impl Link {
    pub(super) fn new(socket: OwnedFd, level: u32) -> Self {
        Self {
            socket,
            pid: std::process::id(),
            writing: Mutex::new(()),
            asked: Mutex::default(),
            next: AtomicU64::new(1),
            level: AtomicU32::new(level),
        }
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Ends a copy of this process. A plugin that forks, and returns in both, leaves two that answer the same question over
    /// one socket; the host has asked one. Before a lock is taken: in a copy it may be held by a thread that is not there.
    pub(super) fn end_copy(&self) {
        if std::process::id() != self.pid {
            super::leave(0);
        }
    }

    /// Sends a message. A host that is gone takes this process with it, so nobody needs to know here.
    pub(super) fn send(&self, message: &ToHost) -> Result<(), wire::TooLong> {
        let frame = wire::encode(message)?;
        self.end_copy();
        let _turn = self.writing.lock();
        let _ = send_all(self.socket.as_fd(), &frame);
        Ok(())
    }

    pub(super) fn tell(&self, kind: Kind, told: Told) {
        // What is too long for a frame is too long for a log.
        let _ = self.send(&ToHost::Tell(kind, told));
    }

    /// Asks for a service and waits for its answer, on the plugin's own thread.
    pub(super) fn ask(&self, kind: Kind, service: Service) -> Result<Served, Refused> {
        self.end_copy();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (to, answer) = mpsc::sync_channel(1);
        self.asked.lock().insert(id, to);
        if let Err(long) = self.send(&ToHost::Ask(id, kind, service)) {
            self.asked.lock().remove(&id);
            let text = format!("{} bytes are too long for the host", long.len);
            let failure =
                crate::services::failure::failure(hotshoe_abi::failure_kind::TOO_LARGE, text);
            return Err(Refused::Failure(failure.into()));
        }
        answer
            .recv()
            .unwrap_or_else(|_| Err(Refused::Failure(closed("the host").into())))
    }

    /// An answer has come.
    pub(super) fn served(&self, id: u64, outcome: Result<Served, Refused>) {
        let to = self.asked.lock().remove(&id);
        if let Some(to) = to {
            let _ = to.try_send(outcome);
        }
    }
}
