//! What a host sends over a worker's control socket: what the socket takes now goes out on the sender's thread, the rest waits
//! for a thread of the connection's, within a budget. No sender ever waits: a worker that was stopped, or does not read, is
//! noticed as `full`, by whoever speaks to it, and by nobody else.

use super::frames::send;
use parking_lot::{Condvar, Mutex};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::SendFlags,
};
use std::{
    collections::VecDeque,
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
};

/// Bytes that wait for one worker. A full mailbox of small messages fits; a stopped worker costs no more than this.
pub(crate) const BUDGET_BYTES: usize = 4 << 20;

/// Why a frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unsent {
    /// The worker does not read, and what waits for it is over the budget.
    Full,
    /// Nobody reads any more.
    Closed,
}

struct Frame {
    bytes: Vec<u8>,
    sent: usize,
    descriptors: Vec<OwnedFd>,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Frame>,
    bytes: usize,
    closed: bool,
}

/// See the file.
pub(crate) struct Outbox {
    socket: Arc<OwnedFd>,
    queue: Mutex<Queue>,
    arrived: Condvar,
}

impl Outbox {
    pub(crate) fn new(socket: Arc<OwnedFd>) -> Self {
        Self {
            socket,
            queue: Mutex::default(),
            arrived: Condvar::new(),
        }
    }

    /// Sends a frame, or queues what the socket does not take now.
    pub(crate) fn send(&self, bytes: Vec<u8>, descriptors: Vec<OwnedFd>) -> Result<(), Unsent> {
        let mut frame = Frame {
            bytes,
            sent: 0,
            descriptors,
        };
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(Unsent::Closed);
        }
        if queue.frames.is_empty() {
            match self.push(&mut frame) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(_) => {
                    queue.closed = true;
                    return Err(Unsent::Closed);
                }
            }
        }
        let left = frame.bytes.len() - frame.sent;
        // A frame that was begun must be ended, whatever its length.
        if frame.sent == 0 && queue.bytes > 0 && queue.bytes + left > BUDGET_BYTES {
            return Err(Unsent::Full);
        }
        queue.bytes += left;
        queue.frames.push_back(frame);
        self.arrived.notify_one();
        Ok(())
    }

    /// Sends what the socket takes now; answers whether that was all of it.
    fn push(&self, frame: &mut Frame) -> Result<bool, Errno> {
        while frame.sent < frame.bytes.len() {
            let descriptors: Vec<_> = frame.descriptors.iter().map(|fd| fd.as_fd()).collect();
            let socket = self.socket.as_fd();
            match send(
                socket,
                &frame.bytes[frame.sent..],
                &descriptors,
                SendFlags::DONTWAIT,
            ) {
                Ok(sent) => {
                    frame.sent += sent;
                    frame.descriptors.clear();
                }
                Err(Errno::AGAIN) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Sends what waits, until the connection is closed. The connection's own thread runs this.
    pub(crate) fn run(&self) {
        let mut queue = self.queue.lock();
        loop {
            let Some(mut frame) = queue.frames.pop_front() else {
                if queue.closed {
                    return;
                }
                self.arrived.wait(&mut queue);
                continue;
            };
            let before = frame.sent;
            let pushed = self.push(&mut frame);
            queue.bytes = queue.bytes.saturating_sub(frame.sent - before);
            match pushed {
                Ok(true) => {}
                Ok(false) => {
                    queue.frames.push_front(frame);
                    // Waited for without the lock: whoever sends meanwhile queues behind it.
                    drop(queue);
                    let mut wanted = [PollFd::new(&*self.socket, PollFlags::OUT)];
                    let polled = poll(&mut wanted, None);
                    queue = self.queue.lock();
                    if polled.is_err_and(|error| error != Errno::INTR) {
                        queue.closed = true;
                    }
                }
                Err(_) => queue.closed = true,
            }
            if queue.closed {
                queue.frames.clear();
                return;
            }
        }
    }

    /// Nothing is sent any more.
    pub(crate) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        queue.frames.clear();
        self.arrived.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::isolated::{frames::Inbox, process::socket_pair};
    use rustix::net::RecvFlags;
    use std::thread;

    #[test]
    fn whoever_does_not_read_costs_a_budget_and_no_sender_waits() {
        let (ours, theirs) = socket_pair().expect("a pair");
        let outbox = Arc::new(Outbox::new(Arc::new(ours)));
        let writer = Arc::clone(&outbox);
        let writing = thread::spawn(move || writer.run());
        let frame = crate::backend::isolated::wire::encode(&vec![1_u8; 64 << 10]).expect("short");
        // Nobody reads. Would a sender wait, this test would not end.
        let sent: Vec<_> = (0..1500)
            .map(|_| outbox.send(frame.clone(), Vec::new()))
            .collect();
        let taken = sent.iter().filter(|sent| sent.is_ok()).count();
        assert!(sent.iter().all(|sent| *sent != Err(Unsent::Closed)));
        let budget = BUDGET_BYTES / frame.len();
        assert!(
            (budget..budget + 20).contains(&taken),
            "{taken} of {budget} taken"
        );

        // What was taken arrives whole and in order, once somebody reads.
        let mut inbox = Inbox::default();
        let mut seen = 0;
        while seen < taken {
            let wanted = inbox.wanted();
            assert_eq!(
                inbox.read(theirs.as_fd(), wanted, RecvFlags::empty()),
                Ok(true)
            );
            while let Some(body) = inbox.next().expect("in bounds") {
                assert_eq!(body, &frame[4..]);
                seen += 1;
            }
        }
        assert_eq!(outbox.send(frame.clone(), Vec::new()), Ok(()));
        drop(theirs);
        outbox.close();
        writing.join().expect("the writer ends");
        assert_eq!(outbox.send(frame, Vec::new()), Err(Unsent::Closed));
    }
}
