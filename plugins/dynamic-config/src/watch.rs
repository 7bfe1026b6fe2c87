//! `GET /v1/watch`: every new generation, as server-sent events (config-api §7).
//!
//! A watcher is a cursor, never a queue: the last generation that was handed to its socket. What is newer comes from frames
//! that all watchers share, or, for one that fell behind, from the history; while its socket takes nothing, nothing is made
//! for it. The thread `cfg-watch` is the only one that waits for the store.

use crate::{
    answer::bare,
    app::App,
    error::{Problem, Slug},
    request::{self, WatchManner},
    router::Ask,
    slots::Slot,
    store::{Entry, Store},
    writer::guarded,
};
use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use hotshoe_json::canonical;
use hyper::body::Frame;
use serde_json::{Map, Value, json};
use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        mpsc::{Receiver, RecvTimeoutError},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};

/// Between two comments that keep a quiet connection alive (config-api §7, rule 6).
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long `cfg-watch` waits for the store at one time: a stop is noticed within this.
const WAIT: Duration = Duration::from_millis(200);
/// After the store could not be asked.
const PAUSE: Duration = Duration::from_secs(1);
/// How often the store is asked whether it still takes changes.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Shared frames; a watcher that is further behind reads the history.
const FRAMES_MAX: usize = 256;
const FRAMES_BYTES_MAX: usize = 512 << 10;
/// Entries that are read at one time, each with its document.
const PAGE: u64 = 64;
const CATCH_UP_PAGE: u64 = 16;

const GREETING: Bytes = Bytes::from_static(b": hotshoe 1\nretry: 1000\n\n");
const BEAT: Bytes = Bytes::from_static(b": hb\n\n");
const BYE: Bytes = Bytes::from_static(b"event: bye\ndata: {\"reason\":\"stopping\"}\n\n");

/// What all watchers share.
pub(crate) struct Hub {
    signal: watch::Sender<Signal>,
    frames: Mutex<Frames>,
    frames_max: usize,
}

/// What wakes a watcher.
#[derive(Clone, Default)]
struct Signal {
    newest: u64,
    confirmed: Option<Confirmed>,
    bye: bool,
}

/// The newest confirmation. Not replayed: a watcher tells them apart by their number.
#[derive(Clone)]
struct Confirmed {
    number: u64,
    generation: u64,
    text: Bytes,
}

/// The newest generations, without a gap.
#[derive(Default)]
struct Frames {
    held: VecDeque<Arc<Generation>>,
    bytes: usize,
}

/// A generation as watchers see it: encoded once.
struct Generation {
    number: u64,
    parent: u64,
    data: String,
    document: Bytes,
    plain: Bytes,
    valued: OnceLock<Bytes>,
}

impl Generation {
    fn of(entry: Entry) -> Self {
        let mut members = Map::new();
        for name in ["at", "from", "generation", "op", "parent", "reason"] {
            if let Some(value) = entry.item.get(name) {
                members.insert(name.to_owned(), value.clone());
            }
        }
        let parent = entry.item["parent"].as_u64().unwrap_or_default();
        let data = canonical(&Value::Object(members));
        let data = String::from_utf8(data).unwrap_or_default();
        Self {
            plain: event(entry.generation, "config", &data),
            number: entry.generation,
            parent,
            data,
            document: entry.document.into(),
            valued: OnceLock::new(),
        }
    }

    fn len(&self) -> usize {
        self.document.len() + self.plain.len() + self.data.len()
    }

    /// The data with `value`, whose name sorts behind all others.
    fn data_with_value(&self) -> String {
        let value = String::from_utf8_lossy(&self.document);
        let open = self.data.strip_suffix('}').unwrap_or(&self.data);
        format!("{open},\"value\":{value}}}")
    }

    fn config(&self, with_value: bool) -> Bytes {
        if !with_value {
            return self.plain.clone();
        }
        let encode = || event(self.number, "config", &self.data_with_value());
        self.valued.get_or_init(encode).clone()
    }

    fn reset(&self, with_value: bool) -> Bytes {
        if with_value {
            event(self.number, "reset", &self.data_with_value())
        } else {
            event(self.number, "reset", &self.data)
        }
    }
}

fn event(id: u64, name: &str, data: &str) -> Bytes {
    format!("id: {id}\nevent: {name}\ndata: {data}\n\n").into()
}

impl Frames {
    fn push(&mut self, generation: Generation, frames_max: usize) {
        let follows = |last: &Arc<Generation>| last.number == generation.parent;
        if !self.held.back().is_some_and(follows) {
            self.held.clear();
            self.bytes = 0;
        }
        self.bytes += generation.len();
        self.held.push_back(Arc::new(generation));
        while self.held.len() > 1 && (self.held.len() > frames_max || self.bytes > FRAMES_BYTES_MAX)
        {
            self.bytes -= self.held.pop_front().map_or(0, |oldest| oldest.len());
        }
    }

    /// The generation that follows `cursor`.
    fn after(&self, cursor: u64) -> Option<Arc<Generation>> {
        let at = self.held.partition_point(|held| held.number <= cursor);
        let found = self.held.get(at)?;
        (found.parent <= cursor).then(|| Arc::clone(found))
    }

    fn at(&self, number: u64) -> Option<Arc<Generation>> {
        let found = self.held.iter().rev().find(|held| held.number == number);
        found.map(Arc::clone)
    }
}

impl Hub {
    /// No frame outlives the history, which keeps `generations`.
    pub(crate) fn new(generations: usize) -> Self {
        Self {
            signal: watch::channel(Signal::default()).0,
            frames: Mutex::default(),
            frames_max: FRAMES_MAX.min(generations),
        }
    }

    fn frames(&self) -> MutexGuard<'_, Frames> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells that somebody confirmed `generation`; once, whoever says so first: who asked for it, or `cfg-watch`, who saw it.
    pub(crate) fn confirmed(&self, generation: u64) {
        let data = canonical(&json!({"generation": generation, "result": "confirmed"}));
        let text = format!(
            "event: confirm\ndata: {}\n\n",
            String::from_utf8_lossy(&data)
        );
        self.signal.send_if_modified(|signal| {
            let last = signal.confirmed.as_ref();
            if last.is_some_and(|last| last.generation >= generation) {
                return false;
            }
            signal.confirmed = Some(Confirmed {
                number: last.map_or(1, |last| last.number + 1),
                generation,
                text: text.into(),
            });
            true
        });
    }

    /// Sends all watchers away, after everything up to `newest`.
    pub(crate) fn say_bye(&self, newest: u64) {
        self.signal.send_modify(|signal| {
            signal.newest = signal.newest.max(newest);
            signal.bye = true;
        });
    }

    /// Takes in what is newer than what is known, and wakes the watchers.
    fn advance(&self, store: &dyn Store, newest: u64) -> hotshoe_plugin_api::Result<News> {
        let known = self.signal.borrow().newest;
        // At the start there is nobody who missed anything.
        let count = if known == 0 {
            1
        } else {
            (newest - known).min(PAGE)
        };
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let entries = store.history(newest.checked_add(1), count)?;
        let mut news = News::default();
        let mut frames = self.frames();
        for entry in entries
            .into_iter()
            .rev()
            .filter(|entry| entry.generation > known)
        {
            if known > 0 {
                news.ops
                    .extend(entry.item["op"].as_str().map(str::to_owned));
            }
            let waits = entry.item["confirm"] == "pending";
            news.pending = waits.then_some(entry.generation);
            frames.push(Generation::of(entry), self.frames_max);
        }
        drop(frames);
        self.signal
            .send_modify(|signal| signal.newest = signal.newest.max(newest));
        Ok(news)
    }
}

/// What `cfg-watch` has found.
#[derive(Default)]
struct News {
    /// The ops of what came since it looked last.
    ops: Vec<String>,
    /// The newest generation, where it waits for its confirmation.
    pending: Option<u64>,
}

/// What became of a generation that waited: still the same, or `None`, told to the watchers where it was confirmed. The store
/// wakes nobody for a confirmation, which makes no generation.
fn settled(app: &App, pending: u64) -> hotshoe_plugin_api::Result<Option<u64>> {
    let page = app.store.history(pending.checked_add(1), 1)?;
    let confirm = page.first().map(|entry| &entry.item["confirm"]);
    match confirm.and_then(Value::as_str) {
        Some("pending") => return Ok(Some(pending)),
        Some("confirmed") => app.hub.confirmed(pending),
        _ => {}
    }
    Ok(None)
}

/// The thread `cfg-watch`, until `halted` ends.
pub(crate) fn follow(app: &App, halted: &Receiver<()>) {
    let mut looked = std::time::Instant::now();
    let mut pause = Duration::ZERO;
    let mut pending = None;
    while halted.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        let known = app.hub.signal.borrow().newest;
        let newer = || -> hotshoe_plugin_api::Result<()> {
            let newest = app.store.wait(known, WAIT)?;
            // Before what came after it: a generation may be confirmed and followed by others within one wait.
            if let Some(waiting) = pending {
                pending = settled(app, waiting)?;
            }
            if let Some(newest) = newest {
                let news = app.hub.advance(&*app.store, newest)?;
                app.metrics.came(&news.ops);
                pending = news.pending;
            }
            if looked.elapsed() >= LOOK_EVERY {
                looked = std::time::Instant::now();
                app.set_read_only(app.store.status()?["read_only"] == true);
            }
            Ok(())
        };
        pause = match guarded(newer) {
            Some(Ok(())) => Duration::ZERO,
            Some(Err(error)) => {
                tracing::debug!("the store cannot be watched: {error}");
                PAUSE
            }
            None => PAUSE,
        };
    }
}

/// The route.
pub(crate) fn watch(ask: Ask) -> Result<Response, Problem> {
    let manner = request::watch(&ask.query()?)?;
    let last = request::last_event(&ask.head.headers)?;
    let current = crate::read::current(&ask)?.generation;
    let slot = ask.head.extensions.get::<Arc<Slot>>().cloned();
    let slot = slot.ok_or_else(|| Problem::new(Slug::Internal, "a watcher without a place"))?;
    if !slot.watch() {
        let detail = "as many watch already as may";
        return Err(Problem::new(Slug::TooManyWatchers, detail).closing());
    }
    let mut heartbeat = interval_at(
        Instant::now() + ask.app.plan.limits.heartbeat,
        ask.app.plan.limits.heartbeat,
    );
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let signal = ask.app.hub.signal.subscribe();
    let seen = signal
        .borrow()
        .confirmed
        .as_ref()
        .map_or(0, |last| last.number);
    let watcher = Watcher {
        manner,
        signal,
        heartbeat,
        cursor: last.unwrap_or_else(|| current.saturating_sub(1)),
        newest: current,
        must_reset: false,
        asked: last,
        confirmed: seen,
        behind: VecDeque::new(),
        greeted: false,
        left: false,
        app: ask.app,
    };
    let events = Events {
        step: Some(Box::pin(watcher.next())),
    };
    let mut response = bare(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(crate::contract::EVENT_STREAM),
    );
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    *response.body_mut() = Body::new(events);
    Ok(response)
}

/// One watcher between two events.
struct Watcher {
    app: Arc<App>,
    manner: WatchManner,
    signal: watch::Receiver<Signal>,
    heartbeat: Interval,
    /// The generation that was handed to the socket last.
    cursor: u64,
    /// What was current when it came: `cfg-watch` may not have seen it yet.
    newest: u64,
    must_reset: bool,
    /// Where it says it was, until that was looked up.
    asked: Option<u64>,
    /// The number of the confirmation that was sent last.
    confirmed: u64,
    /// Read from the history and not sent yet; empty for one that keeps up.
    behind: VecDeque<Arc<Generation>>,
    greeted: bool,
    left: bool,
}

impl Watcher {
    /// The next bytes, once there are some; `None` at the end.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if !self.greeted {
            self.greeted = true;
            return Some((GREETING, self));
        }
        if self.left {
            return None;
        }
        loop {
            let signal = self.signal.borrow_and_update().clone();
            self.newest = self.newest.max(signal.newest);
            if let Some(asked) = self.asked.take() {
                self.must_reset = !self.knows(asked).await?;
            }
            if self.must_reset || self.cursor < self.newest {
                let bytes = self.generation().await?;
                return Some((bytes, self));
            }
            if let Some(confirmed) = signal.confirmed {
                if confirmed.number > self.confirmed && confirmed.generation <= self.cursor {
                    self.confirmed = confirmed.number;
                    return Some((confirmed.text, self));
                }
            }
            if signal.bye {
                self.left = true;
                return Some((BYE, self));
            }
            tokio::select! {
                changed = self.signal.changed() => changed.ok()?,
                _ = self.heartbeat.tick() => return Some((BEAT, self)),
            }
        }
    }

    /// The event of the generation that is due; `None` where the store cannot be asked any more.
    async fn generation(&mut self) -> Option<Bytes> {
        if !self.must_reset {
            if self.manner.coalesce {
                self.behind.clear();
                self.cursor = self.newest - 1;
            }
            if let Some(due) = self.due().await? {
                self.cursor = due.number;
                return Some(due.config(self.manner.with_value));
            }
            // What was due is no longer kept.
        }
        self.must_reset = false;
        self.behind.clear();
        let current = self.current().await?;
        self.cursor = current.number;
        self.newest = self.newest.max(current.number);
        Some(current.reset(self.manner.with_value))
    }

    /// What follows the cursor; inside, `None` where that is not kept.
    async fn due(&mut self) -> Option<Option<Arc<Generation>>> {
        if self.behind.is_empty() {
            if let Some(shared) = self.app.hub.frames().after(self.cursor) {
                return Some(Some(shared));
            }
            let cursor = self.cursor;
            let end = cursor.saturating_add(CATCH_UP_PAGE + 1);
            let count = CATCH_UP_PAGE as u32;
            let page = self.read(Some(end), count).await?;
            let newer = page.into_iter().rev().filter(|held| held.number > cursor);
            self.behind = newer.collect();
            if self
                .behind
                .front()
                .is_some_and(|first| first.parent > cursor)
            {
                self.behind.clear();
            }
        }
        Some(self.behind.pop_front())
    }

    /// Whether a generation is in the history; `None` where the store cannot be asked any more.
    async fn knows(&self, generation: u64) -> Option<bool> {
        if generation == 0 || generation > self.newest {
            return Some(false);
        }
        if self.app.hub.frames().at(generation).is_some() {
            return Some(true);
        }
        let page = self.read(generation.checked_add(1), 1).await?;
        Some(page.first().is_some_and(|first| first.number == generation))
    }

    async fn current(&self) -> Option<Arc<Generation>> {
        let shared = self.app.hub.frames().at(self.newest);
        match shared {
            Some(shared) => Some(shared),
            None => self.read(None, 1).await?.pop(),
        }
    }

    /// Entries below `before`, newest first, without their documents where nobody wants them.
    async fn read(&self, before: Option<u64>, count: u32) -> Option<Vec<Arc<Generation>>> {
        let with_value = self.manner.with_value;
        let read = move |store: &dyn Store| {
            let encode = |mut entry: Entry| {
                if !with_value {
                    entry.document = Vec::new();
                }
                Arc::new(Generation::of(entry))
            };
            let page = store.history(before, count);
            page.map(|page| page.into_iter().map(encode).collect())
        };
        self.app.queue.look(read).await?.ok()
    }
}

/// The body of the answer: asked for its next frame only when the socket takes one.
struct Events {
    step: Option<Step>,
}

type Step = Pin<Box<dyn Future<Output = Option<(Bytes, Watcher)>> + Send>>;

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(step) = &mut self.step else {
            return Poll::Ready(None);
        };
        let Poll::Ready(next) = step.as_mut().poll(cx) else {
            return Poll::Pending;
        };
        match next {
            Some((bytes, watcher)) => {
                self.step = Some(Box::pin(watcher.next()));
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            None => {
                self.step = None;
                Poll::Ready(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(generation: u64, parent: u64, bytes: usize) -> Generation {
        let item = json!({"at": "t", "by": "tcp:127.0.0.1", "confirm": null, "generation": generation, "op": "put", "parent": parent});
        Generation::of(Entry {
            generation,
            item,
            document: vec![b'1'; bytes],
        })
    }

    #[test]
    fn a_frame_is_the_bytes_of_the_contract() {
        let generation = entry(3, 2, 1);
        let plain = "id: 3\nevent: config\ndata: {\"at\":\"t\",\"generation\":3,\"op\":\"put\",\"parent\":2}\n\n";
        assert_eq!(generation.config(false), plain);
        let valued = plain.replace("2}", "2,\"value\":1}");
        assert_eq!(generation.config(true), valued);
        assert_eq!(generation.reset(true), valued.replace("config", "reset"));
        // Encoded once: the same memory.
        assert_eq!(
            generation.config(true).as_ptr(),
            generation.config(true).as_ptr()
        );
    }

    #[test]
    fn a_confirmation_is_told_once_whoever_tells_it() {
        let hub = Hub::new(2);
        let told = || {
            let signal = hub.signal.borrow();
            let last = signal.confirmed.as_ref().unwrap();
            (last.number, last.generation)
        };
        for (generation, expected) in [(5, (1, 5)), (5, (1, 5)), (7, (2, 7)), (5, (2, 7))] {
            hub.confirmed(generation);
            assert_eq!(told(), expected);
        }
    }

    #[test]
    fn frames_are_a_run_without_gaps_and_of_a_bounded_size() {
        let mut frames = Frames::default();
        for number in 2..=400 {
            frames.push(entry(number, number - 1, 1), FRAMES_MAX);
        }
        assert_eq!(frames.held.len(), FRAMES_MAX);
        assert_eq!(frames.after(399).unwrap().number, 400);
        assert!(frames.after(400).is_none() && frames.after(100).is_none());
        // After a recovery numbers may skip; the parent says that nothing is missing.
        frames.push(entry(500, 400, 1), FRAMES_MAX);
        assert_eq!(frames.after(400).unwrap().number, 500);
        assert_eq!(frames.after(450).unwrap().number, 500);
        frames.push(entry(501, 500, 1), 2);
        assert_eq!(frames.held.len(), 2);
        frames.push(entry(601, 600, 1), FRAMES_MAX);
        assert_eq!(frames.held.len(), 1);
        for number in 602..=610 {
            frames.push(entry(number, number - 1, 100 << 10), FRAMES_MAX);
        }
        assert!(frames.bytes <= FRAMES_BYTES_MAX && frames.held.len() >= 4);
        let held: usize = frames.held.iter().map(|held| held.len()).sum();
        assert_eq!(frames.bytes, held);
    }
}
