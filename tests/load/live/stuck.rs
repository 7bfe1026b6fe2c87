//! C36: a watcher that stops reading, and what the others notice of it.

use crate::{
    client::Client,
    killing::{self, Served},
    ms, percentile, print, times,
};
use hotshoe_tests::{Entry, Setup, artifacts, http, memory::resident_bytes};
use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    ops::Range,
    time::{Duration, Instant},
};

/// Bytes of the value: a thousand of them are more than the sockets hold.
const VALUE_LEN: usize = 8 << 10;

/// How long one that reads nothing is waited for; it should be 30 s.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) fn one_that_stops_reading() {
    let changes = times(10_000);
    let setup = Setup::new();
    let schema = br#"{"type": "object", "additionalProperties": {"type": "string"}}"#;
    let schema = setup.file("schema.json", schema).display().to_string();
    let entry = Entry::of(
        killing::INSTANCE,
        artifacts::library("hotshoe-dynamic-config"),
    )
    .set("listen = [\"127.0.0.1:0\"]")
    .set("profile = \"standard\"")
    .set("state = \"memory\"")
    .set("initial = {}")
    .set("history_generations = 4")
    .set(&format!("schema = {schema:?}"));
    setup.entries("", &[entry]);
    let served = Served::start(&setup);
    let mut writer = Client::connect(&served.address);
    let mut reading = Reading::open(&served.address);
    // How long each change's answer took, and until the other watcher had it.
    let mut change = |generations: Range<u64>| {
        let mut took: [Vec<Duration>; 2] = Default::default();
        for generation in generations {
            let body = format!("{{\"a\":\"{generation:0VALUE_LEN$}\"}}");
            let begun = Instant::now();
            let response = writer.ask("PUT", "/v1/config", "", &body);
            assert_eq!(response.status, 200, "{}", response.text());
            took[0].push(begun.elapsed());
            reading.wait(generation);
            took[1].push(begun.elapsed());
        }
        took
    };
    let p99 = |took: [Vec<Duration>; 2]| took.map(|mut samples| ms(percentile(&mut samples, 0.99)));
    // As many without it, so that both have the same to compare.
    let from = 2 + changes;
    let before = p99(change(2..from));
    let stuck = watch(&served.address, "?include=value");
    // By a tenth of them all that the sockets hold is full.
    change(from..from + changes / 10);
    let resident = || resident_bytes(served.host.pid()).unwrap();
    let small = resident();
    let beside = p99(change(from + changes / 10..from + changes));
    let grown = resident().saturating_sub(small);
    let closed = closes(&served);
    drop(stuck);
    let found = format!(
        "{changes} changes beside a watcher that stopped reading: p99 of an answer {} (before {}), of another watcher {} (before {}); memory +{} KiB; it was closed {:.1} s after the last change",
        beside[0],
        before[0],
        beside[1],
        before[1],
        grown >> 10,
        closed.as_secs_f64()
    );
    print("C36", &found, "2 times, 1,024 KiB and 30 s");
}

/// How long it takes until one watcher of two is left.
fn closes(served: &Served<'_>) -> Duration {
    let begun = Instant::now();
    let mut reading = Client::connect(&served.address);
    loop {
        let status = reading.ask("GET", "/v1/status", "", "").json();
        if status["watchers"]["current"] == 1 {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < PATIENCE, "{status}");
        std::thread::yield_now();
    }
}

fn watch(address: &str, query: &str) -> TcpStream {
    let mut stream = http::connect(address);
    let path = format!("/v1/watch{query}");
    let request = killing::request(address, "GET", &path, "");
    stream.write_all(&request).unwrap();
    stream
}

/// A watcher that reads.
struct Reading(BufReader<TcpStream>);

impl Reading {
    fn open(address: &str) -> Self {
        let mut reading = Self(BufReader::new(watch(address, "")));
        reading.wait(1);
        reading
    }

    /// Reads as far as the event of that generation.
    fn wait(&mut self, generation: u64) {
        let (mark, mut line) = (format!("id: {generation}\n"), String::new());
        while line != mark {
            line.clear();
            let len = self.0.read_line(&mut line).unwrap();
            assert!(len > 0, "closed before generation {generation}");
        }
    }
}
