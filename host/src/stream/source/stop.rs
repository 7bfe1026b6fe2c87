//! The way to end a source's wait: a flag, and a descriptor that `poll` sees beside the source's own.
//!
//! It carries one bit, for good: there is no way to take a stop back, and nobody is told why it was made. A source that
//! loses its last handle goes on; only [`StopHandle::stop`] stops it.

use std::{
    io,
    net::Shutdown,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

#[derive(Debug)]
struct Shared {
    raised: AtomicBool,
    /// Shutting this end down makes `watched` readable for ever, never blocks, and may be done twice.
    rung: UnixStream,
    watched: UnixStream,
}

/// Stops one source, from any thread.
#[derive(Debug, Clone)]
pub struct StopHandle(Arc<Shared>);

impl StopHandle {
    /// Ends the source's wait. Returns at once; a second call changes nothing.
    pub fn stop(&self) {
        self.0.raised.store(true, Ordering::Release);
        // It can only fail where it was done before, and then the descriptor is readable already.
        let _ = self.0.rung.shutdown(Shutdown::Write);
    }
}

/// The source's side of its [`StopHandle`]s.
#[derive(Debug)]
pub(super) struct Stop(Arc<Shared>);

impl Stop {
    pub(super) fn new() -> io::Result<Self> {
        let (rung, watched) = UnixStream::pair()?;
        Ok(Self(Arc::new(Shared {
            raised: AtomicBool::new(false),
            rung,
            watched,
        })))
    }

    pub(super) fn handle(&self) -> StopHandle {
        StopHandle(Arc::clone(&self.0))
    }

    pub(super) fn is_raised(&self) -> bool {
        self.0.raised.load(Ordering::Acquire)
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.watched.as_fd()
    }
}
