//! Damaged and hostile requests, and the host that is the same afterwards: nothing changed, no panic, no descriptor more. The
//! schema admits one value alone, so whatever gets through changes nothing either. Shared by the suite and the long run N8.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::killing::{self, Served};
use hotshoe_tests::{Entry, Setup, artifacts};
use std::{
    fs,
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

const CLIENTS: u64 = 4;

/// Two heartbeats are half a minute.
const SETTLED: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a run came to; what must not be has ended it already.
pub(crate) struct Abused {
    pub(crate) took: Duration,
    /// Of the host, before and after, in bytes.
    pub(crate) resident: (u64, u64),
}

/// Sends `count` hostile requests to a host of its own.
///
/// - Panics: the host panicked, changed, or keeps a descriptor.
pub(crate) fn abuse(count: u64) -> Abused {
    let setup = Setup::new();
    let schema = r#"{"type":"object","properties":{"value":{"const":10}},"required":["value"],"additionalProperties":false}"#;
    let schema = setup.file("schema.json", schema.as_bytes());
    let socket = setup.scratch("listener.sock");
    let entry = Entry::of(
        killing::INSTANCE,
        artifacts::library("hotshoe-dynamic-config"),
    )
    .set("listen = [\"127.0.0.1:0\"]")
    .set("state = \"dir\"")
    .set(&format!("unix = {:?}", socket.display().to_string()))
    .set(&format!("schema = {:?}", schema.display().to_string()));
    setup.entries("", &[entry]);
    let mut served = Served::of(&setup, setup.start());
    let seeds = seeds();
    let files = descriptors(&served);
    // What a first thousandth takes is what connections, caches and counters need, and stays.
    send(&socket, &seeds, (count / 20).max(1_000), 1);
    settle(&served, files);
    let journal = killing::segments(&killing::journal(&setup));
    let resident = hotshoe_tests::memory::resident_bytes(served.host.pid()).unwrap();
    let begun = Instant::now();
    send(&socket, &seeds, count, 2);
    let took = begun.elapsed();
    settle(&served, files);
    let after = hotshoe_tests::memory::resident_bytes(served.host.pid()).unwrap();
    assert_eq!(
        killing::segments(&killing::journal(&setup)),
        journal,
        "the journal changed"
    );
    assert_eq!(
        (served.generation(), served.value()),
        (1, 10),
        "the value changed"
    );
    let metrics = served.ask("GET", "/metrics", "").text();
    assert!(!metrics.contains("type=\"internal\""), "{metrics}");
    served.host.signal(rustix::process::Signal::TERM);
    served.host.assert_exit(0);
    assert!(
        !served.host.stderr().contains("panicked"),
        "{}",
        served.host.stderr()
    );
    Abused {
        took,
        resident: (resident, after),
    }
}

/// Sends `request` on a connection that is then half closed, and reads to the end; of an answer that has none, the beginning.
fn to_the_end(mut stream: impl Read + Write, request: &[u8], close: impl FnOnce()) -> Vec<u8> {
    // It may be refused before all of it was sent.
    let _ = stream.write_all(request);
    close();
    let (mut answer, mut piece) = (Vec::new(), [0; 16 << 10]);
    while let Ok(len @ 1..) = stream.read(&mut piece) {
        answer.extend_from_slice(&piece[..len]);
        let events = b"content-type: text/event-stream";
        if answer.windows(events.len()).any(|window| window == events) {
            break;
        }
    }
    answer
}

/// The fuzzer's seeds: a whole request of each kind.
fn seeds() -> Vec<Vec<u8>> {
    let folder = artifacts::workspace_root().join("fuzz/seeds/request");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn descriptors(served: &Served<'_>) -> usize {
    let folder = format!("/proc/{}/fd", served.host.pid());
    fs::read_dir(folder).unwrap().count()
}

/// Waits until no connection is left: a watcher that is gone is found by the heartbeats that it does not take.
#[track_caller]
fn settle(served: &Served<'_>, files: usize) {
    let begun = Instant::now();
    // Nothing is ever sent on it: there is no event to wait for but the host's own.
    let (_held, clock) = mpsc::channel::<()>();
    while clock.recv_timeout(LOOK_EVERY).is_err() && descriptors(served) > files {
        let left = descriptors(served);
        assert!(
            begun.elapsed() < SETTLED,
            "{left} descriptors, {files} before"
        );
    }
}

fn send(socket: &Path, seeds: &[Vec<u8>], count: u64, round: u64) {
    let sent = AtomicU64::new(0);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let sent = &sent;
            scope.spawn(move || {
                let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (round << 32) ^ (client + 1));
                while sent.fetch_add(1, Ordering::Relaxed) < count {
                    let request = damaged(&mut random, seeds);
                    let stream = UnixStream::connect(socket).unwrap();
                    stream
                        .set_read_timeout(Some(hotshoe_tests::DEADLINE))
                        .unwrap();
                    let half = stream.try_clone().unwrap();
                    let answer =
                        to_the_end(stream, &request, || drop(half.shutdown(Shutdown::Write)));
                    assert!(
                        answer.is_empty() || answer.starts_with(b"HTTP/1."),
                        "{}",
                        String::from_utf8_lossy(&answer)
                    );
                    assert!(
                        !answer.starts_with(b"HTTP/1.1 500"),
                        "{}",
                        String::from_utf8_lossy(&request)
                    );
                }
            });
        }
    });
}

/// Xorshift: the same requests in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }
}

/// Words that decide something in a request.
const WORDS: [&str; 16] = [
    "\r\n",
    "\r\n\r\n",
    " HTTP/1.0",
    "Content-Length: 99999999\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Host: evil.example\r\n",
    "Origin: http://evil.example\r\n",
    "%2F",
    "~2",
    "[[[[[[[[[[[[[[[[",
    "\u{0}",
    "18446744073709551616",
    "\"\\ud800\"",
    "?scope=fleet&canary=10%",
    "If-Match: \"1\", W/\"2\", x\r\n",
    "\u{feff}",
];

fn damaged(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut request = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(request.len() + 1);
        match random.below(7) {
            0 => request.truncate(at),
            1 if at < request.len() => request[at] ^= 1 << random.below(8),
            2 if at < request.len() => request[at] = random.next() as u8,
            3 => drop(request.splice(at..at, WORDS[random.below(WORDS.len())].bytes())),
            4 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len());
                request.truncate(at);
                request.extend_from_slice(&other[from..]);
            }
            5 => {
                let end = (at + 1 + random.below(16)).min(request.len());
                request.drain(at..end);
            }
            _ => {
                let end = (at + 1 + random.below(64)).min(request.len());
                let again = request[at..end].repeat(1 + random.below(200));
                request.splice(at..at, again);
            }
        }
    }
    request
}
