//! N3, N4 and N10: what a durable change costs beside the sync that it cannot do without, and that no update is lost.

use crate::{
    client::Client,
    killing::{self, Served},
    ms, percentile, print, times,
};
use std::{
    fs::File,
    io::Write as _,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

/// An append of a journal line's length and its `fdatasync`, in a file beside the journal.
struct Bare(File);

impl Bare {
    fn beside(folder: &Path) -> Self {
        Self(File::create(folder.join("bare")).unwrap())
    }

    fn append(&mut self) -> Duration {
        let begun = Instant::now();
        self.0.write_all(&[b'x'; 160]).unwrap();
        self.0.sync_data().unwrap();
        begun.elapsed()
    }
}

/// N3: turn by turn, so that both see the same disk.
pub(crate) fn one_client() {
    let setup = killing::setup();
    let served = Served::start(&setup);
    let mut bare = Bare::beside(&setup.state_dir());
    let mut client = Client::connect(&served.address);
    let (mut puts, mut syncs) = (Vec::new(), Vec::new());
    for round in 0..times(2_000) {
        syncs.push(bare.append());
        let begun = Instant::now();
        let response = client.put(100 + round);
        puts.push(begun.elapsed());
        killing::accepted(&response);
    }
    let (put, sync) = (percentile(&mut puts, 0.5), percentile(&mut syncs, 0.5));
    let found = format!(
        "durable PUT p50 {}, bare append and fdatasync {}, {:.2} times, {} above",
        ms(put),
        ms(sync),
        put.as_secs_f64() / sync.as_secs_f64(),
        ms(put.saturating_sub(sync))
    );
    print("N3", &found, "0.200 ms above");
}

/// N4: a bare sync before and after, so that a disk that becomes slower meanwhile is seen.
pub(crate) fn many_clients() {
    const CLIENTS: u64 = 64;
    const LASTS: Duration = Duration::from_secs(5);
    let setup = killing::setup();
    let served = Served::start(&setup);
    let mut bare = Bare::beside(&setup.state_dir());
    let mut syncs: Vec<Duration> = (0..200).map(|_| bare.append()).collect();
    let (done, next, begun) = (AtomicU64::new(0), AtomicU64::new(1_000), Instant::now());
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::connect(&served.address);
                while begun.elapsed() < LASTS {
                    let response = client.put(next.fetch_add(1, Ordering::Relaxed));
                    killing::accepted(&response);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let (took, done) = (begun.elapsed(), done.into_inner());
    syncs.extend((0..200).map(|_| bare.append()));
    let sync = percentile(&mut syncs, 0.5);
    let found = format!(
        "{done} durable changes of {CLIENTS} clients in {:.1} s, {:.1} for each bare sync of {}",
        took.as_secs_f64(),
        done as f64 * sync.as_secs_f64() / took.as_secs_f64(),
        ms(sync)
    );
    print("N4", &found, "at least 16");
}

/// N10: a thousand clients read and write what they read plus one, until each has won once.
pub(crate) fn compare_and_set() {
    let clients = times(1_000);
    let setup = killing::setup();
    let served = Served::start(&setup);
    let (tries, stuck, begun) = (AtomicU64::new(0), AtomicBool::new(false), Instant::now());
    thread::scope(|scope| {
        for _ in 0..clients {
            let builder = thread::Builder::new().stack_size(256 << 10);
            let client = || {
                let mut client = Client::connect(&served.address);
                while !stuck.load(Ordering::Relaxed) {
                    let read = client.ask("GET", "/v1/config", "", "");
                    let tag = read.header("etag").unwrap();
                    let value = read.json()["value"].as_u64().unwrap() + 1;
                    let condition = format!("If-Match: {tag}\r\n");
                    let body = format!("{{\"value\":{value}}}");
                    tries.fetch_add(1, Ordering::Relaxed);
                    let response = client.ask("PUT", "/v1/config", &condition, &body);
                    match response.status {
                        200 => return,
                        412 => {}
                        other => {
                            stuck.store(true, Ordering::Relaxed);
                            panic!("{other}: {}", response.text());
                        }
                    }
                }
            };
            builder.spawn_scoped(scope, client).unwrap();
        }
    });
    assert_eq!(served.generation(), 1 + clients, "an update is lost");
    assert_eq!(served.value(), 10 + i64::try_from(clients).unwrap());
    let found = format!(
        "{clients} compare-and-set writers won once each in {:.1} s and {} tries, 0 updates lost",
        begun.elapsed().as_secs_f64(),
        tries.into_inner()
    );
    print("N10", &found, "0 lost");
}
