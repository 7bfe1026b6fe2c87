//! C54 under load: listener and processors in processes of their own, changes and records without a pause, and the listener
//! killed again and again. Shared by the suite and the long run C54.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::killing::{DEADLINE, INSTANCE};
use hotshoe_tests::{Entry, Setup, artifacts, http};
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

const CLIENTS: usize = 2;
/// Before a listener is killed; a hundred more at most.
pub(crate) const CHANGES_MIN: u64 = 10;
/// Records that are written at one time; they come out before the next ones go.
const PIECE: usize = 25;
const ISOLATED: &str = "isolation = \"process\"";

/// What a run came to; what must not be has ended it already.
pub(crate) struct Survived {
    /// Changes that were acknowledged.
    pub(crate) changes: u64,
    pub(crate) records: usize,
    /// Those of them that came out between a death and the next life.
    pub(crate) alone: usize,
    pub(crate) took: Duration,
}

/// Lets the other side end as well when one fails.
pub(crate) struct StopsOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for StopsOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn setup() -> Setup {
    let setup = Setup::new();
    let tables =
        "[executors]\ncount = 2\n[stream]\nsource = \"stdin\"\nprocessors = [\"append\"]\n";
    let config = Entry::of(INSTANCE, artifacts::library("hotshoe-dynamic-config"))
        .key("restart = { attempts = 1000, within = \"1m\", backoff = \"1ms\", backoff_max = \"1ms\" }")
        .set("listen = [\"127.0.0.1:0\"]")
        .set("touch = { step = 10 }")
        .set("state = \"memory\"");
    let append = Entry::of("append", artifacts::library("hotshoe-quickstart"))
        .key("after = [\"dynamic-config\"]")
        .set("topic = \"dynamic-config\"");
    setup.entries(tables, &[config.key(ISOLATED), append.key(ISOLATED)]);
    setup
}

/// Kills `deaths` listeners, each while clients change the value as fast as they can.
///
/// - Panics: a change that was acknowledged is lost, a record shows an older value than one acknowledged before it was
///   written or printed before it, or the store is another one.
pub(crate) fn kill_listeners(deaths: u32) -> Survived {
    let setup = setup();
    let mut host = setup.start();
    host.wait_ready();
    let mut input = host.take_input();
    let acknowledged = AtomicU64::new(10);
    let (printed, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let begun = Instant::now();
    let mut store = Value::Null;
    let (mut changes, mut alone) = (0, 0);
    thread::scope(|scope| {
        let stopped = StopsOnDrop(&done);
        scope.spawn(|| {
            let _stopped = StopsOnDrop(&done);
            while !done.load(Ordering::Acquire) {
                let floor = acknowledged.load(Ordering::Acquire);
                let records = format!("{floor} \n").repeat(PIECE);
                input.write_all(records.as_bytes()).unwrap();
                let count = printed.load(Ordering::Relaxed) + PIECE;
                host.wait_stdout_count(count);
                printed.store(count, Ordering::Release);
            }
            // The host ends with its input.
            drop(input);
        });
        for death in 1..=deaths {
            let address = setup.addresses(INSTANCE)[0]["http://".len()..].to_owned();
            let status = judge(&address, acknowledged.load(Ordering::Acquire));
            if death > 1 {
                assert_eq!(status["store"], store, "{status}");
            }
            store = status["store"].clone();
            let worker = host.worker(INSTANCE).unwrap();
            // Spread without a pattern: multiples of the golden ratio.
            let fraction = (f64::from(death) * 0.618_033_988_749_895).fract();
            let changes_before_it = CHANGES_MIN + (fraction * 100.0) as u64;
            thread::scope(|clients| {
                let (sender, answers) = mpsc::channel();
                for _ in 0..CLIENTS {
                    let (address, sender) = (&address, sender.clone());
                    clients.spawn(|| touch_until_it_dies(address, &acknowledged, sender));
                }
                drop(sender);
                for _ in 0..changes_before_it {
                    answers.recv_timeout(DEADLINE).unwrap();
                }
                kill_process(worker, Signal::KILL).unwrap();
                changes += changes_before_it + answers.iter().count() as u64;
            });
            let before = printed.load(Ordering::Acquire);
            host.wait_message_again(INSTANCE, "in service again", death as usize);
            alone += printed.load(Ordering::Acquire) - before;
            host.wait_stdout_count(before + 2 * PIECE);
        }
        let address = setup.addresses(INSTANCE)[0]["http://".len()..].to_owned();
        let status = judge(&address, acknowledged.load(Ordering::Acquire));
        assert_eq!(status["store"], store, "{status}");
        drop(stopped);
    });
    host.assert_exit(0);
    let records = judge_records(&String::from_utf8(host.stdout()).unwrap()).len();
    assert_eq!(records, printed.into_inner());
    Survived {
        changes,
        records,
        alone,
        took: begun.elapsed(),
    }
}

/// The value is what so many touches make, none of them lost and none done twice; answers the status.
#[track_caller]
fn judge(address: &str, acknowledged: u64) -> Value {
    let status = http::get(address, "/v1/status").json();
    let value = http::get(address, "/v1/config/value").json();
    let generation = status["generation"].as_u64().unwrap();
    assert_eq!(value, generation * 10, "{status}");
    assert!(generation * 10 >= acknowledged, "{acknowledged}: {status}");
    status
}

/// Says so of every change that is acknowledged.
fn touch_until_it_dies(address: &str, acknowledged: &AtomicU64, answers: mpsc::Sender<()>) {
    let request = format!("POST /v1/touch HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let Ok(mut stream) = TcpStream::connect(address) else {
        return;
    };
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    while let Some(value) = touched(&mut stream, request.as_bytes()) {
        acknowledged.fetch_max(value, Ordering::AcqRel);
        answers.send(()).unwrap();
    }
}

/// The new value; none where the answer does not come whole.
fn touched(stream: &mut TcpStream, request: &[u8]) -> Option<u64> {
    stream.write_all(request).ok()?;
    let (mut seen, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut piece).ok().filter(|count| *count > 0)?;
        seen.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&seen);
        // A change answer ends with the only LF that has no CR before it.
        let whole = text.split_once("\r\n\r\n");
        if let Some((head, body)) = whole.filter(|(_, body)| body.ends_with('\n')) {
            assert!(head.starts_with("HTTP/1.1 200 "), "{text}");
            let json: Value = serde_json::from_str(body).unwrap();
            return json["value"].as_u64();
        }
    }
}

/// Each record was written with the newest value whose 200 was there, and is printed with the one of its batch; those.
#[track_caller]
pub(crate) fn judge_records(text: &str) -> Vec<u64> {
    let (mut newest, mut values) = (10, Vec::new());
    for line in text.lines() {
        let (floor, value) = line.split_once(' ').unwrap();
        let (floor, value): (u64, u64) = (floor.parse().unwrap(), value.parse().unwrap());
        assert!(value >= floor, "{value} after the 200 of {floor}");
        assert!(value >= newest, "{value} after a record with {newest}");
        newest = value;
        values.push(value);
    }
    values
}
