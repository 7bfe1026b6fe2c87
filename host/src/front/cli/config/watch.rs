//! `hotshoe config watch`: prints every new generation as it comes, and comes again after a connection that broke, where it
//! left off. It ends by itself only when the host says goodbye, refuses, or nobody reads any more.

use super::{
    client::{self, Answer, Ask},
    events::{Event, Stream},
    place::{self, Place},
    text,
};
use crate::front::report::{self, LogFormat};
use hotshoe::Problem;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;
use std::{io, time::Duration};
use tokio::time::{sleep, timeout};

/// The server sends a comment every 15 s; three missing ones are a dead connection (config-api §7).
const QUIET_MAX: Duration = Duration::from_secs(45);
/// Until the stream says another.
const RETRY_MS: u64 = 1000;
/// Whatever the stream says.
const RETRY_MS_MAX: u64 = 60_000;

/// What is watched, and how it is printed.
pub(super) struct Watch<'a> {
    pub(super) host: Option<&'a str>,
    pub(super) plugin: Option<&'a str>,
    /// The request, without `Last-Event-ID`.
    pub(super) ask: Ask,
    pub(super) as_json: bool,
    pub(super) format: LogFormat,
}

/// How a watch ended that did not fail.
pub(super) enum End {
    /// The host said goodbye, or nobody reads our output any more.
    Done,
    /// The server refused.
    Refused(Answer),
}

/// How one connection ended.
enum Cut {
    Bye,
    Unread,
    Broken(String),
}

impl Watch<'_> {
    /// Until the end.
    ///
    /// # Errors
    /// Those of finding the host and asking it, the first time; later ones are waited out.
    pub(super) async fn run(&self) -> Result<End, Problem> {
        let mut stream = Stream::default();
        let mut told = false;
        let mut place = place::find(self.host, self.plugin).await?;
        let mut once_there = false;
        loop {
            let lost = match self.follow(&place, &mut stream, &mut once_there).await {
                Ok(Followed::Cut(Cut::Bye | Cut::Unread)) => return Ok(End::Done),
                Ok(Followed::Cut(Cut::Broken(why))) => {
                    told = false;
                    why
                }
                // Busy or starting: it will be better. Anything else stays as it is.
                Ok(Followed::Refused(answer)) if once_there && answer.status == 503 => {
                    format!("the server answered {}", answer.status)
                }
                Ok(Followed::Refused(answer)) => return Ok(End::Refused(answer)),
                Err(problem) if !once_there => return Err(problem),
                Err(problem) => problem.headline,
            };
            let wait_ms = stream.retry_ms.unwrap_or(RETRY_MS).clamp(1, RETRY_MS_MAX);
            if !std::mem::replace(&mut told, true) && self.format == LogFormat::Text {
                report::line(&format!("{lost}; trying again every {wait_ms} ms"));
            }
            sleep(Duration::from_millis(wait_ms)).await;
            // A host that was started anew may listen elsewhere.
            if let Ok(found) = place::find(self.host, self.plugin).await {
                place = found;
            }
        }
    }

    async fn follow(
        &self,
        place: &Place,
        stream: &mut Stream,
        once_there: &mut bool,
    ) -> Result<Followed, Problem> {
        let mut ask = self.ask.clone();
        if let Some(id) = &stream.last_id {
            ask.headers.push(("last-event-id", id.clone()));
        }
        let response = client::begin(place, &ask).await?;
        if !response.status().is_success() {
            return Ok(Followed::Refused(client::finish(place, response).await?));
        }
        *once_there = true;
        stream.begin_anew();
        Ok(Followed::Cut(
            self.print(response.into_body(), stream).await,
        ))
    }

    async fn print(&self, mut body: Incoming, stream: &mut Stream) -> Cut {
        loop {
            let frame = match timeout(QUIET_MAX, body.frame()).await {
                Err(_) => return Cut::Broken("the host is silent".to_owned()),
                Ok(None) => return Cut::Broken("the connection ended".to_owned()),
                Ok(Some(Err(error))) => return Cut::Broken(client::sentence(&error)),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(piece) = frame.into_data() else {
                continue;
            };
            let Ok(events) = stream.feed(&piece) else {
                return Cut::Broken("an event is longer than any may be".to_owned());
            };
            for event in events {
                if self.show(&event).is_err() {
                    return Cut::Unread;
                }
                if event.name == "bye" {
                    return Cut::Bye;
                }
            }
        }
    }

    fn show(&self, event: &Event) -> io::Result<()> {
        let line = match serde_json::from_str::<Value>(&event.data) {
            Ok(data) if !self.as_json => text::event(&event.name, &data),
            _ => format!("{}\n", event.data),
        };
        report::try_out(&line)
    }
}

/// What became of one connection.
enum Followed {
    Cut(Cut),
    Refused(Answer),
}
