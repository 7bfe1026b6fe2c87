//! N6: ten thousand watchers, what each of them takes of the host's memory, and how long one change needs to reach them all.

use crate::{
    client::Client,
    killing::{self, Served},
    ms, percentile, print, times,
};
use hotshoe_tests::{Setup, http};
use rustix::{
    event::epoll,
    process::{Resource, getrlimit, setrlimit},
};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

const CHANGES: u64 = 5;

pub(crate) fn ten_thousand() {
    let count = usize::try_from(times(10_000)).unwrap();
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let setup = Setup::new();
    setup.entries(
        "",
        &[crate::in_memory().set(&format!("max_watchers = {count}"))],
    );
    let served = Served::start(&setup);
    let mut client = Client::connect(&served.address);
    client.touch();
    let before = hotshoe_tests::memory::resident_bytes(served.host.pid()).unwrap();
    let mut watchers: Vec<TcpStream> = (0..count).map(|_| watch(&served.address)).collect();
    let each = hotshoe_tests::memory::resident_bytes(served.host.pid())
        .unwrap()
        .saturating_sub(before)
        / count as u64;
    let mut told = Vec::new();
    for change in 0..CHANGES {
        told.push(tell_all(&served, &mut watchers, 3 + change));
    }
    // One more has no place, and everybody else has.
    let mut late = http::connect(&served.address);
    let refused = http::exchange(
        &mut late,
        &killing::request(&served.address, "GET", "/v1/watch", ""),
    );
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(client.value(), 20 + 10 * CHANGES);
    let found = format!(
        "{count} watchers, {:.1} KiB each; all told of one change in {} (median of {CHANGES}), the last of them in {}",
        each as f64 / 1_024.0,
        ms(percentile(&mut told.clone(), 0.5)),
        ms(percentile(&mut told, 1.0)),
    );
    print("N6", &found, "16 KiB and 250 ms");
}

/// A watcher that has seen the current generation.
fn watch(address: &str) -> TcpStream {
    let mut stream = http::connect(address);
    let request = format!("GET /v1/watch HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let (mut seen, mut piece) = (Vec::new(), [0; 2_048]);
    while !ends_an_event(&seen) {
        let len = stream.read(&mut piece).unwrap();
        assert!(len > 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&piece[..len]);
    }
    stream.set_nonblocking(true).unwrap();
    stream
}

fn ends_an_event(seen: &[u8]) -> bool {
    let text = String::from_utf8_lossy(seen);
    text.find("\nevent: config")
        .is_some_and(|at| text[at..].contains("\n\n"))
}

/// From sending the change to the last watcher's last byte of generation `generation`.
fn tell_all(served: &Served<'_>, watchers: &mut [TcpStream], generation: u64) -> Duration {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    for (i, watcher) in watchers.iter().enumerate() {
        let data = epoll::EventData::new_u64(i as u64);
        epoll::add(&poll, watcher, data, epoll::EventFlags::IN).unwrap();
    }
    let address = served.address.clone();
    let mut changer = Client::connect(&address);
    let begun = Instant::now();
    let changing = thread::spawn(move || changer.touch());
    let mut told = vec![false; watchers.len()];
    let mut left = watchers.len();
    let mark = format!("id: {generation}\n");
    let mut events = Vec::with_capacity(1_024);
    let mut piece = [0; 4_096];
    while left > 0 {
        events.clear();
        let patience = rustix::event::Timespec {
            tv_sec: 30,
            tv_nsec: 0,
        };
        epoll::wait(
            &poll,
            rustix::buffer::spare_capacity(&mut events),
            Some(&patience),
        )
        .unwrap();
        assert!(!events.is_empty(), "{left} watchers were not told");
        for event in &events {
            let data = event.data;
            let i = usize::try_from(data.u64()).unwrap();
            let Ok(len) = watchers[i].read(&mut piece) else {
                continue;
            };
            assert!(len > 0, "watcher {i} was closed");
            let text = String::from_utf8_lossy(&piece[..len]);
            if text.contains(&mark) && !told[i] {
                told[i] = true;
                left -= 1;
            }
        }
    }
    let took = begun.elapsed();
    changing.join().unwrap();
    took
}
