//! One request to the configuration API and its answer, over the Unix socket or TCP. It interprets neither, follows nothing,
//! and never repeats a request: whether a change may be sent twice is not its to say.

use super::place::{Address, Place};
use hotshoe::{Blame, ExitCode, Problem};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
    header,
};
use hyper_util::rt::TokioIo;
use std::{error::Error, future::Future, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// Longer than the server takes for anything: 10 s for a body, 1 s for a veto, then the disk.
const PATIENCE: Duration = Duration::from_secs(20);
/// Sixteen times the largest value that settings allow (config-api §12): a page of history, not a flood.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// What is asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Ask {
    pub(super) method: &'static str,
    /// With the query.
    pub(super) path: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// In whole seconds, where the server says so.
    pub(super) retry_after: Option<String>,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Runs a future to its end on a runtime of its own.
pub(super) fn run<T>(work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| {
        let headline = format!("no runtime to ask with: {error}");
        Problem::error(ExitCode::Running, Blame::Environment, "no-answer", headline)
    })?;
    runtime.block_on(work)
}

/// Asks, and reads the answer to its end.
///
/// # Errors
/// `no-answer`.
pub(super) async fn ask(place: &Place, ask: &Ask) -> Result<Answer, Problem> {
    finish(place, begin(place, ask).await?).await
}

/// Reads an answer whose head is there to its end.
///
/// # Errors
/// `no-answer`.
pub(super) async fn finish(place: &Place, response: Response<Incoming>) -> Result<Answer, Problem> {
    let status = response.status().as_u16();
    let retry_after = response.headers().get(header::RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| value.to_str().ok().map(str::to_owned));
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
    let body = match timeout(PATIENCE, body).await {
        Err(_) => return Err(silent(place)),
        Ok(Err(error)) => return Err(no_answer(place, &error.to_string())),
        Ok(Ok(body)) => body.to_bytes(),
    };
    Ok(Answer {
        status,
        retry_after,
        body,
    })
}

/// Asks, and reads the head of the answer.
///
/// # Errors
/// `no-answer`.
pub(super) async fn begin(place: &Place, ask: &Ask) -> Result<Response<Incoming>, Problem> {
    let sent = async {
        let (mut sender, host) = connect(place).await?;
        let mut request = Request::builder()
            .method(ask.method)
            .uri(&ask.path)
            .header(header::HOST, host);
        for (name, value) in &ask.headers {
            request = request.header(*name, value.as_str());
        }
        let request = request
            .body(Full::from(ask.body.clone()))
            .map_err(|error| no_answer(place, &error.to_string()))?;
        let sent = sender.send_request(request).await;
        sent.map_err(|error| no_answer(place, &sentence(&error)))
    };
    timeout(PATIENCE, sent)
        .await
        .unwrap_or_else(|_| Err(silent(place)))
}

/// The first address that takes a connection, and what it is called in the `Host` header.
async fn connect(place: &Place) -> Result<(SendRequest<Full<Bytes>>, String), Problem> {
    let mut refusals = Vec::new();
    for address in &place.addresses {
        let opened = match address {
            Address::Unix(path) => match UnixStream::connect(path).await {
                Ok(stream) => shake(stream).await,
                Err(error) => Err(error.to_string()),
            },
            Address::Tcp(socket) => match TcpStream::connect(socket).await {
                Ok(stream) => shake(stream).await,
                Err(error) => Err(error.to_string()),
            },
        };
        match opened {
            Ok(sender) => return Ok((sender, address.host_header())),
            Err(why) => refusals.push(format!("{address}: {why}")),
        }
    }
    Err(no_answer(place, &refusals.join("; ")))
}

async fn shake(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Full<Bytes>>, String> {
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.map_err(|error| sentence(&error))?;
    // What it ends with reaches the request that waits.
    tokio::spawn(connection);
    Ok(sender)
}

/// An error with what is behind it: hyper's own sentence alone says little.
pub(super) fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut inner = error.source();
    while let Some(error) = inner {
        text = format!("{text}: {error}");
        inner = error.source();
    }
    text
}

fn silent(place: &Place) -> Problem {
    no_answer(place, &format!("nothing within {} s", PATIENCE.as_secs()))
}

fn no_answer(place: &Place, why: &str) -> Problem {
    let Place { host, plugin, .. } = place;
    let headline = format!("plugin `{plugin}` of host `{host}` does not answer: {why}");
    Problem::error(ExitCode::Running, Blame::Environment, "no-answer", headline)
        .fix("see `hotshoe status`; a change that was under way may have happened: look into `hotshoe config history`")
}
