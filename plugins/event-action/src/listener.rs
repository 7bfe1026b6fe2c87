//! Waits for connections on a thread of its own, and ends at once when it is told to.
//!
//! The thread sleeps in `poll` on two things: the listening socket, and a socket pair whose other end the driver holds.
//! Dropping that end is the request to stop; nothing is timed and nobody connects to themselves.

use hotshoe_plugin_api::{Context, Error, Result, tracing};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
    thread::JoinHandle,
};

/// Connections that are taken together at most: what comes meanwhile waits in the socket's backlog.
const EVENTS_MAX: usize = 64;

/// What a client may have sent is read away so far, for its answer's sake.
const UNREAD_BYTES_MAX: usize = 64 << 10;

/// How long nothing is accepted after the system refused a connection (out of descriptors, say).
const REFUSED_PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

pub(crate) struct Listener {
    thread: JoinHandle<()>,
    /// Its drop is the request to stop.
    stop: UnixStream,
}

impl Listener {
    /// `act` is called with the number of connections that came together, and answers what each of them is told.
    pub(crate) fn start(
        ctx: &Context,
        socket: TcpListener,
        act: impl Fn(usize) -> Vec<String> + Send + 'static,
    ) -> Result<Self> {
        socket.set_nonblocking(true)?;
        let (stop, stopped) = UnixStream::pair()?;
        let thread = ctx.spawn("event-action", move || {
            if let Err(error) = serve(&socket, &stopped, act) {
                tracing::error!("no more events are taken: {error}");
            }
        })?;
        Ok(Self { thread, stop })
    }

    /// Returns when the thread has ended and the port is free.
    pub(crate) fn stop(self) -> Result<()> {
        drop(self.stop);
        self.thread
            .join()
            .map_err(|_| Error::new("the listener's thread had panicked"))
    }
}

fn serve(
    socket: &TcpListener,
    stopped: &UnixStream,
    act: impl Fn(usize) -> Vec<String>,
) -> io::Result<()> {
    loop {
        let mut ready = [
            PollFd::new(stopped, PollFlags::IN),
            PollFd::new(socket, PollFlags::IN),
        ];
        match poll(&mut ready, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !ready[0].revents().is_empty() {
            return Ok(());
        }
        let (events, refused) = accept_all(socket);
        if !events.is_empty() {
            let told = act(events.len());
            for (event, text) in events.into_iter().zip(told) {
                answer(event, &text);
            }
        }
        if let Some(error) = refused {
            tracing::warn!("the system refuses a connection: {error}");
            let mut only_stop = [PollFd::new(stopped, PollFlags::IN)];
            // Woken early or not, the loop looks again.
            let _ = poll(&mut only_stop, Some(&REFUSED_PAUSE));
        }
    }
}

/// What has come, and what stopped it where that was not the end of the queue.
fn accept_all(socket: &TcpListener) -> (Vec<TcpStream>, Option<io::Error>) {
    let mut events = Vec::new();
    while events.len() < EVENTS_MAX {
        match socket.accept() {
            Ok((event, _)) => events.push(event),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => break,
                // A client that left before it was taken; the next in the queue is looked at.
                ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                _ => return (events, Some(error)),
            },
        }
    }
    (events, None)
}

/// Best effort: the event was the connection, and its client may be gone.
fn answer(mut event: TcpStream, text: &str) {
    // An answer fits the socket's buffer, so that no client can make this wait.
    if event.set_nonblocking(true).is_err() || event.write_all(text.as_bytes()).is_err() {
        return;
    }
    // Closing a socket with unread input resets it, and the answer could be lost.
    let mut unread = [0; 4096];
    let mut left = UNREAD_BYTES_MAX;
    while let Ok(len @ 1..) = event.read(&mut unread) {
        left = left.saturating_sub(len);
        if left == 0 {
            return;
        }
    }
}
