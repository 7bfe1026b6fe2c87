//! Events (C34 to C37), and what a watcher and a change in hand get at the end (C53).

use super::*;
use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

/// A connection to `/v1/watch`, read strictly: whatever pieces it comes in, event by event.
pub(super) struct Watcher {
    stream: TcpStream,
    /// Chunks that are not complete yet.
    raw: Vec<u8>,
    text: String,
    ended: bool,
}

/// One event; a comment has neither name nor data.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    pub(super) id: Option<u64>,
    pub(super) name: String,
    pub(super) data: Value,
}

impl Watcher {
    #[track_caller]
    pub(super) fn open(served: &Served<'_>, query: &str, headers: &[(&str, &str)]) -> Self {
        Self::open_at(&served.address(), query, headers)
    }

    #[track_caller]
    pub(super) fn open_at(address: &str, query: &str, headers: &[(&str, &str)]) -> Self {
        let path = format!("/v1/watch{query}");
        let mut stream = http::connect(address);
        let request = http::request("GET", &path, address, headers, NO_BODY);
        stream.write_all(&request).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        assert!(
            head.contains("\r\ncontent-type: text/event-stream\r\n"),
            "{head}"
        );
        assert!(head.contains("\r\ncache-control: no-store\r\n"), "{head}");
        assert!(!head.contains("\r\ncontent-length:"), "{head}");
        let mut watcher = Self {
            stream,
            raw: Vec::new(),
            text: String::new(),
            ended: false,
        };
        assert_eq!(watcher.block().unwrap(), ": hotshoe 1\nretry: 1000");
        watcher
    }

    /// The next block of lines, without the empty line behind it; `None` at the end.
    fn block(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block = self.text[..end].to_owned();
                self.text.drain(..end + 2);
                return Some(block);
            }
            if self.ended || !self.fill().expect("an event within the deadline") {
                assert_eq!(self.text, "", "an event without its end");
                return None;
            }
        }
    }

    /// Reads once; false at the end.
    fn fill(&mut self) -> std::io::Result<bool> {
        let mut piece = [0; 64 << 10];
        let len = hotshoe_tests::read_some(&mut self.stream, &mut piece)?;
        self.raw.extend_from_slice(&piece[..len]);
        while let Some(at) = self.raw.windows(2).position(|pair| pair == b"\r\n") {
            let size = std::str::from_utf8(&self.raw[..at]).unwrap();
            let size = usize::from_str_radix(size, 16).expect("a chunk's length");
            let (start, end) = (at + 2, at + 2 + size);
            if self.raw.len() < end + 2 {
                break;
            }
            self.text += std::str::from_utf8(&self.raw[start..end]).unwrap();
            self.raw.drain(..end + 2);
            self.ended |= size == 0;
        }
        Ok(len > 0)
    }

    /// The next event or comment.
    fn any(&mut self) -> Option<Event> {
        let block = self.block()?;
        let mut event = Event {
            id: None,
            name: String::new(),
            data: Value::Null,
        };
        for line in block.lines() {
            match line.split_once(": ").unwrap() {
                ("id", id) => event.id = Some(id.parse().unwrap()),
                ("event", name) => name.clone_into(&mut event.name),
                ("data", data) => {
                    event.data = serde_json::from_str(data).unwrap();
                    assert_eq!(data, canonical(&event.data));
                }
                ("", "hb") => assert_eq!(block, ": hb"),
                _ => panic!("{block:?}"),
            }
        }
        Some(event)
    }

    /// The next event; heartbeats are passed over.
    #[track_caller]
    pub(super) fn event(&mut self) -> Event {
        loop {
            let event = self.any().expect("an event, not the end");
            if !event.name.is_empty() {
                return event;
            }
        }
    }

    /// The next event is that generation's.
    #[track_caller]
    pub(super) fn config(&mut self, generation: u64, op: &str) -> Value {
        let event = self.event();
        assert_eq!(
            (event.name.as_str(), event.id),
            ("config", Some(generation)),
            "{event:?}"
        );
        assert_eq!(event.data["generation"], generation);
        assert_eq!(event.data["op"], op);
        event.data
    }

    /// Nothing but heartbeats is there by now, and the stream goes on.
    #[track_caller]
    pub(super) fn assert_nothing_came(&mut self) {
        self.stream.set_nonblocking(true).unwrap();
        let ended = loop {
            match self.fill() {
                Ok(true) => {}
                Ok(false) => break true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
                Err(error) => panic!("{error}"),
            }
        };
        self.stream.set_nonblocking(false).unwrap();
        self.text = self.text.replace(": hb\n\n", "");
        assert_eq!((self.text.as_str(), ended), ("", false));
    }

    /// Nothing but heartbeats comes for so long.
    #[track_caller]
    pub(super) fn quiet_for(&mut self, time: Duration) {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.stream.set_read_timeout(Some(left)).unwrap();
            match self.fill() {
                Ok(more) => assert!(more, "the stream ended"),
                Err(error) => {
                    let waited =
                        matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                    assert!(waited, "{error}");
                }
            }
            self.text = self.text.replace(": hb\n\n", "");
            assert_eq!(self.text, "");
        }
        self.stream
            .set_read_timeout(Some(hotshoe_tests::DEADLINE))
            .unwrap();
    }
}

fn put(served: &Served<'_>, value: u64) {
    let response = served.put(&format!("{{\"value\":{value}}}"));
    assert_eq!(response.status, 200, "{response:?}");
}

/// C34.
#[test]
fn c34_a_watcher_sees_the_current_generation_and_what_follows() {
    let setup = alone(standard());
    let served = Served::start(&setup);
    let mut watcher = Watcher::open(&served, "", &[]);
    let mut valued = Watcher::open(&served, "?include=value", &[]);
    let data = watcher.config(1, "initial");
    let members: Vec<&String> = data.as_object().unwrap().keys().collect();
    assert_eq!(members, ["at", "generation", "op", "parent"]);
    assert_eq!(valued.config(1, "initial")["value"], json!({"value": 10}));
    for value in 11..14 {
        put(&served, value);
    }
    for generation in 2..=4 {
        watcher.config(generation, "put");
        let value = valued.config(generation, "put")["value"].clone();
        assert_eq!(value, json!({"value": generation + 9}));
    }
    served.touch();
    assert_eq!(watcher.config(5, "touch")["parent"], 4);
}

/// C35.
#[test]
fn c35_a_watcher_goes_on_where_it_was_cut() {
    let setup = alone(standard().set("history_generations = 20"));
    let served = Served::start(&setup);
    put(&served, 2);
    let mut watcher = Watcher::open(&served, "", &[]);
    watcher.config(2, "put");
    drop(watcher);
    for value in 3..=7 {
        put(&served, value);
    }
    let mut again = Watcher::open(&served, "", &[("Last-Event-ID", "2")]);
    for generation in 3..=7 {
        again.config(generation, "put");
    }
    let mut current = Watcher::open(&served, "", &[("Last-Event-ID", "7")]);
    for value in 8..=60 {
        put(&served, value);
    }
    for generation in 8..=60 {
        current.config(generation, "put");
        again.config(generation, "put");
    }
    for last in ["2", "1000000000", "0"] {
        let mut reset = Watcher::open(&served, "", &[("Last-Event-ID", last)]);
        let event = reset.event();
        assert_eq!(
            (event.name.as_str(), event.id),
            ("reset", Some(60)),
            "{last}"
        );
        assert_eq!(event.data["generation"], 60);
    }
    let response = served.ask("GET", "/v1/watch", &[("Last-Event-ID", "x")], NO_BODY);
    problem(&response, 400, "bad-header");
    let mut newest = Watcher::open(&served, "?coalesce=true", &[("Last-Event-ID", "45")]);
    newest.config(60, "put");
    put(&served, 61);
    newest.config(61, "put");
}

/// C36: a hundred changes, each too long for what sockets hold.
#[test]
fn c36_a_watcher_that_stops_reading_costs_nobody_anything() {
    let schema = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let setup = with_schema_and(&schema, "{}", "history_generations = 4");
    let served = Served::start(&setup);
    let mut stuck = Watcher::open(&served, "?include=value", &[]);
    stuck.config(1, "initial");
    let mut reading = Watcher::open(&served, "", &[]);
    reading.config(1, "initial");
    let change = |reading: &mut Watcher, generation: u64| {
        let body = format!("{{\"a\":\"{}{generation}\"}}", "x".repeat(200 << 10));
        assert_eq!(served.put(&body).status, 200);
        reading.config(generation, "put");
    };
    for generation in 2..=60 {
        change(&mut reading, generation);
    }
    let before = hotshoe_tests::memory::resident_bytes(served.host.pid()).unwrap();
    for generation in 61..=101 {
        change(&mut reading, generation);
    }
    let after = hotshoe_tests::memory::resident_bytes(served.host.pid()).unwrap();
    assert!(after < before + (10 << 20), "{before} bytes, then {after}");

    let watchers = || served.get("/v1/status").json()["watchers"]["current"].clone();
    assert_eq!(watchers(), 2);
    let begun = Instant::now();
    while watchers() != 1 {
        assert!(
            begun.elapsed() < Duration::from_secs(300),
            "30 s without progress"
        );
        // The clock is the heartbeat of the one that reads.
        assert_eq!(reading.any().unwrap().name, "");
    }
    let metrics = served.get("/metrics").text();
    assert!(
        metrics.contains("hotshoe_config_closed_total{reason=\"no-progress\"} 1\n"),
        "{metrics}"
    );
}

/// C37, with a hundred.
#[test]
fn c37_watchers_have_a_limit_of_their_own() {
    const WATCHERS: usize = 100;
    let setup = alone(
        standard()
            .set("max_watchers = 100")
            .set("max_connections = 10"),
    );
    let served = Served::start(&setup);
    let open = |_| Watcher::open(&served, "", &[("Last-Event-ID", "1")]);
    let mut watchers: Vec<Watcher> = (0..WATCHERS).map(open).collect();
    let refused = served.get("/v1/watch");
    problem(&refused, 503, "too-many-watchers");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(served.value(), r#"{"value":10}"#);
    let status = served.get("/v1/status").json();
    assert_eq!(status["watchers"], json!({"current": 100, "max": 100}));
    let begun = Instant::now();
    put(&served, 11);
    for watcher in &mut watchers {
        watcher.config(2, "put");
    }
    let took = begun.elapsed();
    assert!(took < DEADLINE, "{took:?}");
}

/// C53: the change waits in a checker when the stop comes; another instance's shutdown keeps the process.
#[test]
fn c53_a_stop_finishes_what_is_in_hand_and_says_goodbye() {
    let setup = Setup::new();
    let (checking, leaving) = (setup.gate("check"), setup.gate("shutdown"));
    let last = setup.misbehave("last").act(&leaving.act("driver-shutdown"));
    let checker = setup
        .misbehave("checker")
        .key("checks = [\"dynamic-config\"]")
        .act(&format!("{}, word = \":77}}\"", checking.act("check")));
    setup.entries("", &[last, checker, standard()]);
    let mut served = Served::start(&setup);
    // Answers are judged by the description, which is asked for once: by now, for later nobody listens.
    assert_eq!(served.value(), r#"{"value":10}"#);
    let mut watcher = Watcher::open(&served, "", &[("Last-Event-ID", "1")]);
    thread::scope(|scope| {
        let changing = scope.spawn(|| served.put(r#"{"value":77}"#));
        setup.trace().wait_call("checker", "checker", "check");
        served.host.signal(rustix::process::Signal::TERM);
        let begun = Instant::now();
        checking.open();
        let response = changing.join().unwrap();
        match response.status {
            200 => {
                assert_eq!(response.json()["generation"], 2);
                watcher.config(2, "put");
            }
            503 => assert!(response.json()["type"].is_string()),
            _ => panic!("{response:?}"),
        }
        let bye = watcher.event();
        assert_eq!((bye.name.as_str(), bye.id), ("bye", None));
        assert_eq!(bye.data, json!({"reason": "stopping"}));
        assert_eq!(watcher.any(), None);
        assert!(
            begun.elapsed() < Duration::from_secs(50),
            "{:?}",
            begun.elapsed()
        );
    });
    setup.trace().wait_call("last", "driver", "shutdown");
    // The process is there, and the port is free at once.
    drop(TcpListener::bind(served.address()).unwrap());
    assert!(std::path::Path::new(&format!("/proc/{}", served.host.pid())).exists());
    leaving.open();
    served.host.assert_exit(0);
}
