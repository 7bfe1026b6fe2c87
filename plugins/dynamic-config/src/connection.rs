//! Connections: accepted, served one request after another, ended in time (config-api §2 steps 1 and 2, §11, §12).
//!
//! HTTP/1 by hyper, one task a connection. A head that is late ends it without a byte; what the router answers is always
//! sent before the connection ends, also where the client is still sending.

use crate::{
    answer,
    error::{Problem, Slug},
    guard::Peer,
    metrics::{Closed, Metrics},
    slots::{Full, Slot, Slots},
    socket::Socket,
};
use axum::{Router, body::Body, http::Request, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{
    convert::Infallible,
    future::poll_fn,
    io::{self, ErrorKind},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UnixListener},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

/// A request's head (config-api §12).
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 100;
/// How long nothing is accepted after the machine refused a descriptor (config-api §11).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long what a client still sends is thrown away, so that closing does not destroy the answer on its way to him.
const LINGER: Duration = Duration::from_secs(1);
/// The same while the instance stops, which is to be over within a second.
const LINGER_AT_STOP: Duration = Duration::from_millis(200);

/// How far a stop has come. It only ever goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Accept and serve.
    Run,
    /// Accept no more; finish what is in hand.
    Finish,
    /// Drop everything.
    Drop,
}

/// What every connection needs.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) router: Router,
    pub(crate) slots: Slots,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) head_timeout: Duration,
    /// The host's effective user.
    pub(crate) euid: u32,
    pub(crate) stage: watch::Receiver<Stage>,
    /// Room for telling clients that there is no room.
    pub(crate) refusals: Arc<Semaphore>,
}

/// Clients that are told so at one time; more than these are closed without a word.
pub(crate) const REFUSALS_MAX: usize = 64;

impl Server {
    /// Accepts until it is dropped.
    pub(crate) async fn accept_tcp(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let port = stream.local_addr().map_or(0, |own| own.port());
                    let ip = peer.ip();
                    self.admit(Socket::tcp(stream), Peer::Tcp { ip, port });
                }
                Err(error) => pause(&error).await,
            }
        }
    }

    /// The same for the Unix socket.
    pub(crate) async fn accept_unix(self, listener: UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => match stream.peer_cred() {
                    Ok(credentials) => {
                        let uid = credentials.uid();
                        let trusted = uid == self.euid || uid == 0;
                        self.admit(Socket::unix(stream), Peer::Unix { uid, trusted });
                    }
                    // Gone already: nobody to answer.
                    Err(_) => drop(stream),
                },
                Err(error) => pause(&error).await,
            }
        }
    }

    fn admit(&self, socket: Socket, peer: Peer) {
        match self.slots.open(socket.blocked(), peer.key()) {
            Ok((slot, evicted)) => {
                let metrics = Arc::clone(&self.metrics);
                let connection = self.clone().serve(socket, peer, slot);
                tokio::spawn(async move {
                    tokio::select! {
                        () = connection => {}
                        // An error means that the slot is given back, which the connection does at its end.
                        Ok(()) = evicted => metrics.closed(Closed::Evicted),
                    }
                });
            }
            Err(Full::OfPeer) => self.metrics.closed(Closed::TooManyOfPeer),
            Err(Full::Connections) => {
                self.metrics.closed(Closed::TooMany);
                self.metrics.refused(Slug::TooManyConnections);
                if let Ok(room) = Arc::clone(&self.refusals).try_acquire_owned() {
                    tokio::spawn(async move {
                        refuse(socket).await;
                        drop(room);
                    });
                }
            }
        }
    }

    async fn serve(mut self, socket: Socket, peer: Peer, slot: Slot) {
        let slot = Arc::new(slot);
        let service = Requests {
            router: TowerToHyperService::new(self.router.clone()),
            peer,
            slot: Arc::clone(&slot),
        };
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_timeout)
            .max_headers(HEADERS_MAX)
            .max_header_size(HEAD_BYTES_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            // A client that has sent its request may close its sending half and still wants the answer.
            .half_close(true)
            .serve_connection(TokioIo::new(socket), service);
        let mut stage = *self.stage.borrow_and_update();
        let outcome = loop {
            if stage == Stage::Finish && !slot.is_working() {
                return;
            }
            let step = poll_fn(|cx| connection.poll_without_shutdown(cx));
            tokio::select! {
                outcome = step => break outcome,
                changed = self.stage.changed() => {
                    stage = if changed.is_ok() { *self.stage.borrow() } else { Stage::Drop };
                    if stage == Stage::Drop {
                        self.metrics.closed(Closed::Stopping);
                        return;
                    }
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        };
        if outcome.as_ref().is_err_and(hyper::Error::is_timeout) {
            self.metrics.closed(Closed::LateHead);
            return;
        }
        if let Err(error) = outcome {
            tracing::debug!("a connection ended: {error}");
            if is_stall(&error) {
                // Nobody reads what is still on its way to him.
                self.metrics.closed(Closed::Stalled);
                return;
            }
        }
        // On the heap of its own: a connection does not carry the buffer of its end around all its life.
        let mut lingering = Box::pin(linger(connection.into_parts().io.into_inner()));
        tokio::select! {
            () = &mut lingering => return,
            () = finishing(&mut self.stage) => {}
        }
        // Whoever reads has the answer by now.
        let _ = timeout(LINGER_AT_STOP, lingering).await;
    }
}

fn is_stall(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let io = cause.downcast_ref::<io::Error>();
        if io.is_some_and(|error| error.kind() == ErrorKind::TimedOut) {
            return true;
        }
        source = cause.source();
    }
    false
}

async fn finishing(stage: &mut watch::Receiver<Stage>) {
    // An error means that nobody is left who could say so: the end as well.
    let _ = stage.wait_for(|stage| *stage >= Stage::Finish).await;
}

/// The errors of `accept` are the peer's (and past) or the machine's (then it is waited a little).
async fn pause(error: &io::Error) {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    let passing = [
        ConnectionAborted,
        ConnectionRefused,
        ConnectionReset,
        Interrupted,
    ];
    if !passing.contains(&error.kind()) {
        tracing::warn!("no connection is accepted for 100 ms: {error}");
        sleep(ACCEPT_PAUSE).await;
    }
}

/// Says 503 to one connection too many, whatever it asks.
async fn refuse(mut socket: Socket) {
    let problem = Problem::new(Slug::TooManyConnections, "all connections are taken").closing();
    let bytes = raw(problem.into_response()).await;
    let _ = timeout(LINGER, socket.write_all(&bytes)).await;
    linger(socket).await;
}

/// A complete answer as its bytes, for where there is no request to answer.
async fn raw(response: Response) -> Vec<u8> {
    use http_body_util::BodyExt;
    let (head, body) = response.into_parts();
    let mut bytes = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
    for (name, value) in &head.headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    // Every body of ours is in memory.
    if let Ok(body) = body.collect().await {
        bytes.extend_from_slice(&body.to_bytes());
    }
    bytes
}

/// Closes the sending half, then reads to the end, for a while: a close with unread bytes would reset the connection and
/// take the answer with it (RFC 9112 §9.6).
async fn linger(mut socket: Socket) {
    if socket.shutdown().await.is_err() {
        return;
    }
    let rest = async {
        let mut waste = [0; 4_096];
        while socket.read(&mut waste).await.is_ok_and(|len| len > 0) {}
    };
    // Whoever sends for longer is not waited for.
    let _ = timeout(LINGER, rest).await;
}

/// The router, for one connection.
struct Requests {
    router: TowerToHyperService<Router>,
    peer: Peer,
    slot: Arc<Slot>,
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.slot.begin();
        request.extensions_mut().insert(self.peer);
        request.extensions_mut().insert(Arc::clone(&self.slot));
        let (router, slot) = (self.router.clone(), Arc::clone(&self.slot));
        Box::pin(async move {
            let answer = caught(async move { router.call(request).await }).await;
            slot.end();
            let response = match answer {
                Ok(Ok(response)) => response,
                Err(Panicked) => internal(),
            };
            Ok(response)
        })
    }
}

/// A handler panicked.
struct Panicked;

/// Runs `work` so that a panic in it ends nothing but the request.
async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut work = Box::pin(work);
    poll_fn(
        move |cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(_) => std::task::Poll::Ready(Err(Panicked)),
        },
    )
    .await
}

fn internal() -> Response<Body> {
    tracing::error!("a request handler panicked");
    let problem = Problem::new(Slug::Internal, "a bug of the listener; nothing was changed");
    let mut response = problem.closing().into_response();
    for (name, value) in answer::FIXED {
        response.headers_mut().insert(name, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_nothing_but_its_request() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let outcome = runtime.block_on(caught(async { panic!("told to") }));
        assert!(matches!(outcome, Err::<(), _>(Panicked)));
        assert_eq!(runtime.block_on(caught(async { 7 })).ok(), Some(7));
    }
}
