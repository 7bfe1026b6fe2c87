//! A host that keeps its topic in a journal, clients that change it, and a kill in the middle: shared by the suite's C40 and
//! the long run `kills`. Judges the journal with a reader of its own, not the host's.
#![allow(clippy::unwrap_used, reason = "tests")]

use hotshoe_tests::{Entry, Setup, TestHost, artifacts, http};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

pub(crate) const INSTANCE: &str = "dynamic-config";
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// D, said in full.
pub(crate) fn entry() -> Entry {
    Entry::of(INSTANCE, artifacts::library("hotshoe-dynamic-config"))
        .set("listen = [\"127.0.0.1:0\"]")
        .set("touch = { step = 10 }")
        .set("state = \"dir\"")
}

pub(crate) fn setup() -> Setup {
    let setup = Setup::new();
    setup.entries("", &[entry()]);
    setup
}

/// Where the topic's journal is.
pub(crate) fn journal(setup: &Setup) -> PathBuf {
    setup.state_dir().join("config").join(INSTANCE)
}

/// The names and bytes of the folder's segments.
pub(crate) fn segments(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let segments = names.filter(|name| name.ends_with(".hsj"));
    segments
        .map(|name| (name.clone(), fs::read(folder.join(&name)).unwrap()))
        .collect()
}

/// Castagnoli, bit by bit: another hand than the host's.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    })
}

/// A line, and what it would be with another payload.
pub(crate) fn line(payload: &str) -> String {
    let covered = format!("{} {payload}", payload.len());
    format!("HSJ1 {:08x} {covered}\n", crc32c(covered.as_bytes()))
}

/// The payloads of a segment, each line judged by its length and checksum.
#[track_caller]
pub(crate) fn payloads(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    assert!(text.ends_with('\n'));
    let judged = text.lines().map(|found| {
        let payload = found.splitn(4, ' ').nth(3).unwrap();
        assert_eq!(format!("{found}\n"), line(payload));
        serde_json::from_str(payload).unwrap()
    });
    judged.collect()
}

/// A ready host and the way to its listener.
pub(crate) struct Served<'a> {
    pub(crate) host: TestHost<'a>,
    pub(crate) address: String,
}

impl<'a> Served<'a> {
    #[track_caller]
    pub(crate) fn start(setup: &'a Setup) -> Self {
        Self::of(setup, setup.start())
    }

    #[track_caller]
    pub(crate) fn of(setup: &Setup, host: TestHost<'a>) -> Self {
        host.wait_ready();
        let urls = setup.addresses(INSTANCE);
        let address = urls[0].trim_start_matches("http://").to_owned();
        Self { host, address }
    }

    #[track_caller]
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> http::Response {
        let request = request(&self.address, method, path, body);
        http::exchange(&mut http::connect(&self.address), &request)
    }

    #[track_caller]
    pub(crate) fn put(&self, value: i64) -> http::Response {
        self.ask("PUT", "/v1/config", &format!("{{\"value\":{value}}}"))
    }

    /// A change that is taken, and is durable.
    #[track_caller]
    pub(crate) fn put_ok(&self, value: i64) -> u64 {
        accepted(&self.put(value))
    }

    #[track_caller]
    pub(crate) fn value(&self) -> i64 {
        let response = self.ask("GET", "/v1/config", "");
        assert_eq!(response.status, 200, "{response:?}");
        response.json()["value"].as_i64().unwrap()
    }

    #[track_caller]
    pub(crate) fn generation(&self) -> u64 {
        let status = self.ask("GET", "/v1/status", "").json();
        status["generation"].as_u64().unwrap()
    }

    /// The items of the history, newest first.
    #[track_caller]
    pub(crate) fn history(&self) -> Vec<Value> {
        let page = self.ask("GET", "/v1/history?limit=1000", "").json();
        page["items"].as_array().unwrap().clone()
    }
}

pub(crate) fn request(address: &str, method: &str, path: &str, body: &str) -> Vec<u8> {
    let headers: &[(&str, &str)] = match method {
        "PUT" => &[("Content-Type", "application/json")],
        _ => &[],
    };
    http::request(method, path, address, headers, body.as_bytes())
}

#[track_caller]
pub(crate) fn accepted(response: &http::Response) -> u64 {
    assert_eq!(response.status, 200, "{}", response.text());
    let json = response.json();
    assert_eq!(
        (&json["changed"], &json["durable"]),
        (&true.into(), &true.into())
    );
    json["generation"].as_u64().unwrap()
}

/// A PUT whose answer may never come: the generation, where it did.
pub(crate) fn put_or_die(address: &str, value: u64) -> Option<u64> {
    let body = format!("{{\"value\":{value}}}");
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    stream
        .write_all(&request(address, "PUT", "/v1/config", &body))
        .ok()?;
    let mut seen = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let count = stream.read(&mut piece).ok().filter(|count| *count > 0)?;
        seen.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&seen);
        // A change answer ends with the only LF that has no CR before it.
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            if body.ends_with('\n') {
                assert!(head.starts_with("HTTP/1.1 200 "), "{text}");
                let json: Value = serde_json::from_str(body).unwrap();
                return json["generation"].as_u64();
            }
        }
    }
}

/// What was acknowledged, and what the next start must show.
#[derive(Default)]
pub(crate) struct Acknowledged(pub(crate) Mutex<BTreeMap<u64, u64>>);

impl Acknowledged {
    #[track_caller]
    pub(crate) fn assert_kept(&self, setup: &Setup, served: &Served<'_>) {
        let acknowledged = self.0.lock().unwrap();
        let mut journaled = BTreeMap::new();
        for bytes in segments(&journal(setup)).values() {
            for payload in payloads(bytes) {
                if let Some(value) = payload["value"]["value"].as_u64() {
                    journaled.insert(payload["gen"].as_u64().unwrap(), value);
                }
            }
        }
        // A thousand generations are kept; an older segment may be gone, rightly.
        let newest = served.generation();
        let kept = acknowledged
            .iter()
            .filter(|(generation, _)| **generation + 1_000 > newest);
        for (generation, value) in kept {
            assert_eq!(journaled.get(generation), Some(value), "of {generation}");
        }
        let shown = served.history();
        let generations: Vec<u64> = shown
            .iter()
            .map(|item| item["generation"].as_u64().unwrap())
            .collect();
        let (newest, oldest) = (generations[0], generations[generations.len() - 1]);
        for generation in acknowledged.keys() {
            assert!(*generation <= newest);
            // The history is a thousand long; the journal was judged above.
            if *generation >= oldest {
                assert!(generations.contains(generation), "{generation}");
            }
        }
        assert_eq!(served.generation(), newest);
        let current = journaled[&newest];
        assert_eq!(served.value(), i64::try_from(current).unwrap());
    }
}

/// Clients change the value until the host is killed, `until` after it was ready.
pub(crate) fn load_until_killed(
    served: &Served<'_>,
    until: Duration,
    next: &AtomicU64,
    acknowledged: &Acknowledged,
) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Acquire) {
                    let value = next.fetch_add(1, Ordering::Relaxed);
                    if let Some(generation) = put_or_die(&served.address, value) {
                        let known = acknowledged.0.lock().unwrap().insert(generation, value);
                        assert_eq!(known, None, "a generation is used once");
                    }
                }
            });
        }
        // A point in time that nothing else decides: this is what the case asks for.
        thread::park_timeout(until);
        served.host.signal(Signal::KILL);
        over.store(true, Ordering::Release);
    });
}

/// What a run of kills came to.
pub(crate) struct Killed {
    pub(crate) kills: u32,
    /// Changes, all of which were found again.
    pub(crate) acknowledged: usize,
}

/// Kills a host `kills` times at any time under load, or as often as `time` allows, and judges what each next one finds.
pub(crate) fn kill_many(kills: u32, time: Duration) -> Killed {
    let setup = setup();
    let (next, mut acknowledged) = (AtomicU64::new(1_000), Acknowledged::default());
    let mut killed = Killed {
        kills: 0,
        acknowledged: 0,
    };
    let begun = Instant::now();
    for kill in 0..kills {
        if begun.elapsed() > time {
            break;
        }
        let mut served = Served::start(&setup);
        acknowledged.assert_kept(&setup, &served);
        // The journal keeps the newest thousand generations, so of older ones there is nothing to judge.
        let newest = served.generation();
        let known = acknowledged.0.get_mut().unwrap();
        known.retain(|generation, _| generation + 1_000 > newest);
        let before = known.len();
        // Spread over 100 ms without a pattern: multiples of the golden ratio.
        let fraction = (f64::from(kill) * 0.618_033_988_749_895).fract();
        let until = Duration::from_secs_f64(0.1 * fraction);
        load_until_killed(&served, until, &next, &acknowledged);
        assert_eq!(served.host.wait_exit().signal, Some(Signal::KILL.as_raw()));
        killed.acknowledged += acknowledged.0.get_mut().unwrap().len() - before;
        killed.kills += 1;
    }
    let served = Served::start(&setup);
    acknowledged.assert_kept(&setup, &served);
    killed
}
