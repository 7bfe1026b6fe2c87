//! N7: a thousand clients, and five thousand, that send a head one byte a second, and what good clients notice of them.

use crate::{client::Client, killing::Served, ms, percentile, print, times};
use hotshoe_tests::{Setup, http};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

pub(crate) fn heads() {
    for count in [1_000, 5_000] {
        beside(usize::try_from(times(count)).unwrap());
    }
}

fn beside(count: usize) {
    let setup = Setup::new();
    setup.entries("", &[crate::in_memory()]);
    let served = Served::start(&setup);
    let (closed, good) = (Mutex::new(Duration::ZERO), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        let dripping = scope.spawn(|| *closed.lock().unwrap() = drip(&served.address, count));
        while !dripping.is_finished() {
            // New and kept connections in turn: both must find a place.
            let mut client = Client::connect(&served.address);
            for _ in 0..10 {
                let begun = Instant::now();
                assert_eq!(client.value(), 10);
                good.lock().unwrap().push(begun.elapsed());
            }
        }
    });
    let mut good = good.into_inner().unwrap();
    let found = format!(
        "{count} slow heads all closed {:.2} s after they began; {} good requests meanwhile, p99 {}, none refused",
        closed.into_inner().unwrap().as_secs_f64(),
        good.len(),
        ms(percentile(&mut good, 0.99)),
    );
    print("N7", &found, "6 s and 10 ms");
}

/// Connects `count` clients, sends a byte of a head a second on each, and waits until all are closed; the longest time that
/// one of them was open.
fn drip(address: &str, count: usize) -> Duration {
    let head = b"GET /v1/config HTTP/1.1\r\nHost: localhost\r\n";
    let mut open: Vec<(TcpStream, Instant)> = Vec::with_capacity(count);
    for _ in 0..count {
        let stream = http::connect(address);
        stream.set_nonblocking(true).unwrap();
        open.push((stream, Instant::now()));
    }
    let mut longest = Duration::ZERO;
    // The clock of the drops: nothing is ever sent on it.
    let (_held, clock) = mpsc::channel::<()>();
    let mut sent = Instant::now() - Duration::from_secs(1);
    let mut bytes = head.iter();
    while !open.is_empty() {
        let byte = (sent.elapsed() >= Duration::from_secs(1))
            .then(|| bytes.next().expect("closed before the head is whole"));
        if byte.is_some() {
            sent = Instant::now();
        }
        open.retain_mut(|(stream, since)| {
            let gone = match stream.read(&mut [0]) {
                Ok(len) => len == 0,
                Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
            };
            let gone = gone || byte.is_some_and(|byte| stream.write_all(&[*byte]).is_err());
            if gone {
                longest = longest.max(since.elapsed());
            }
            !gone
        });
        assert!(clock.recv_timeout(Duration::from_millis(20)).is_err());
    }
    longest
}
