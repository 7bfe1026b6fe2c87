//! N5 and C38: nothing that begins after a 200 sees an older value, be it a batch or a read over HTTP. A record carries the
//! newest value whose 200 was there before the record was written, so before its batch can have been cut.

use crate::{client::Client, print, times};
use hotshoe_tests::{Entry, Setup, artifacts};
use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Instant,
};

/// Records that are written at one time with the same floor.
const PIECE: u64 = 64;

/// How plugin and processor run.
const BACKENDS: [&str; 2] = ["in-process", "process"];

/// N5: batches of one record, and readers beside them.
pub(crate) fn nothing_is_stale() {
    let (batches, reads, took) = run(times(8_000_000), times(2_000_000), BACKENDS[0]);
    let found = format!(
        "{batches} batches and {reads} reads began after a 200 ({took:.0} s), 0 were older"
    );
    print("N5", &found, "0 in 10,000,000");
}

/// C38 in full.
pub(crate) fn every_batch() {
    for backend in BACKENDS {
        let (batches, _, took) = run(times(10_000_000), 0, backend);
        let found = format!(
            "{batches} batches on three executors, {backend} ({took:.0} s), 0 older than a 200 before them"
        );
        print("C38", &found, "0 in 10,000,000");
    }
}

/// Runs `records` batches of one record, and `reads` over HTTP, while another client changes the value without a pause;
/// how many of each were judged, and the seconds that it took.
///
/// - Panics: one of them is stale.
fn run(records: u64, reads: u64, isolation: &str) -> (u64, u64, f64) {
    let setup = Setup::new();
    let tables = "[executors]\ncount = 3\n[stream]\nsource = \"stdin\"\nprocessors = [\"append\"]\nbatch_records = 1\n";
    let config = Entry::of(
        "dynamic-config",
        artifacts::library("hotshoe-dynamic-config"),
    )
    .key(&format!("isolation = {isolation:?}"))
    .set("listen = [\"127.0.0.1:0\"]")
    .set("state = \"memory\"")
    .set("touch = { step = 10 }");
    let append = Entry::of("append", artifacts::library("hotshoe-quickstart"))
        .key("after = [\"dynamic-config\"]")
        .key(&format!("isolation = {isolation:?}"))
        .set("topic = \"dynamic-config\"");
    setup.entries(tables, &[config, append]);
    // Its own pipes: the output is judged as it comes, and not kept.
    let mut command = Command::new(artifacts::hotshoe());
    command.args(["run", "hotshoe.toml"]);
    setup.place(&mut command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(
        log.any(|line| line.unwrap().contains(" ready ")),
        "it never became ready"
    );
    let drain = thread::spawn(move || log.map_while(Result::ok).count());
    let address = setup.addresses("dynamic-config")[0]["http://".len()..].to_owned();
    let (mut input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (acknowledged, done) = (AtomicU64::new(10), AtomicBool::new(false));
    let begun = Instant::now();
    let judged = thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = Client::connect(&address);
            while !done.load(Ordering::Acquire) {
                acknowledged.store(client.touch(), Ordering::Release);
            }
        });
        let reading = scope.spawn(|| {
            let mut client = Client::connect(&address);
            for _ in 0..reads {
                let floor = acknowledged.load(Ordering::Acquire);
                let value = client.value();
                assert!(value >= floor, "a read of {value} after the 200 of {floor}");
            }
        });
        let writing = scope.spawn(|| {
            let mut left = records;
            while left > 0 {
                let piece = left.min(PIECE);
                let floor = acknowledged.load(Ordering::Acquire);
                let text = format!("{floor} \n").repeat(usize::try_from(piece).unwrap());
                input.write_all(text.as_bytes()).unwrap();
                left -= piece;
            }
            input
        });
        let (mut judged, mut newest) = (0, 10);
        for line in BufReader::with_capacity(1 << 20, output).lines() {
            let line = line.unwrap();
            let (floor, value) = line.split_once(' ').unwrap();
            let (floor, value): (u64, u64) = (floor.parse().unwrap(), value.parse().unwrap());
            assert!(
                value >= floor,
                "a batch with {value} after the 200 of {floor}"
            );
            assert!(value >= newest, "{value} after a record with {newest}");
            newest = value;
            judged += 1;
            if judged == records {
                break;
            }
        }
        reading.join().unwrap();
        done.store(true, Ordering::Release);
        // The host ends with its input.
        drop(writing.join().unwrap());
        judged
    });
    let took = begun.elapsed().as_secs_f64();
    assert!(child.wait().unwrap().success());
    drain.join().unwrap();
    (judged, reads, took)
}
