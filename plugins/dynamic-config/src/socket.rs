//! One accepted socket, TCP or Unix, that gives up on a peer which takes no byte for too long (config-api §12).
//!
//! It also says whether it waits for its peer, so that a connection in the middle of an answer is not taken for an idle one.

use std::{
    io::{self, ErrorKind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    time::{Sleep, sleep},
};

/// No progress while writing for so long ends a connection.
pub(crate) const STALL: Duration = Duration::from_secs(30);

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// See the module.
pub(crate) struct Socket {
    stream: Stream,
    stall: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    blocked: Arc<AtomicBool>,
}

impl Socket {
    pub(crate) fn tcp(stream: TcpStream) -> Self {
        // Where it fails, answers are a little later and nothing else.
        let _ = stream.set_nodelay(true);
        Self::new(Stream::Tcp(stream), STALL)
    }

    pub(crate) fn unix(stream: UnixStream) -> Self {
        Self::new(Stream::Unix(stream), STALL)
    }

    fn new(stream: Stream, stall: Duration) -> Self {
        Self {
            stream,
            stall,
            stalled: None,
            blocked: Arc::default(),
        }
    }

    /// True while a write waits for the peer.
    pub(crate) fn blocked(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.blocked)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = match &mut this.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        };
        this.blocked.store(outcome.is_pending(), Ordering::Relaxed);
        if outcome.is_ready() {
            this.stalled = None;
            return outcome;
        }
        let stall = this.stall;
        let timer = this.stalled.get_or_insert_with(|| Box::pin(sleep(stall)));
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[test]
    fn a_peer_that_takes_nothing_is_given_up_on() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (ours, _theirs) = UnixStream::pair().unwrap();
            let mut socket = Socket::new(Stream::Unix(ours), Duration::from_millis(50));
            let blocked = socket.blocked();
            let error = socket.write_all(&[0; 1 << 24]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert!(blocked.load(Ordering::Relaxed));
        });
    }
}
