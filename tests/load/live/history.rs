//! N12: a start with a history of 64 MiB beside one without.

use crate::{
    client::Client,
    killing::{self, Served},
    ms, percentile, print, times,
};
use hotshoe_tests::{Entry, Setup, artifacts};
use std::time::{Duration, Instant};

const ROUNDS: usize = 9;
/// Of a document; a thousand of them are 64 MiB.
const DOCUMENT_LEN: usize = 64 << 10;

fn setup() -> Setup {
    let setup = Setup::new();
    let schema = setup.file(
        "schema.json",
        br#"{"type":"object","additionalProperties":{"type":"string"}}"#,
    );
    let entry = Entry::of(
        killing::INSTANCE,
        artifacts::library("hotshoe-dynamic-config"),
    )
    .set("listen = [\"127.0.0.1:0\"]")
    .set("state = \"dir\"")
    .set(&format!("schema = {:?}", schema.display().to_string()))
    .set("initial = {}");
    setup.entries("", &[entry]);
    setup
}

pub(crate) fn long_start() {
    let generations = times(1_030);
    let (short, long) = (setup(), setup());
    {
        let mut served = Served::start(&long);
        let mut client = Client::connect(&served.address);
        for i in 0..generations {
            let body = format!("{{\"a\":\"{}{i}\"}}", "x".repeat(DOCUMENT_LEN));
            let response = client.ask("PUT", "/v1/config", "", &body);
            assert_eq!(response.status, 200, "{}", response.text());
        }
        served.host.signal(rustix::process::Signal::TERM);
        served.host.assert_exit(0);
    }
    let bytes: usize = killing::segments(&killing::journal(&long))
        .values()
        .map(Vec::len)
        .sum();
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.push(start(&short));
        with.push(start(&long));
    }
    let (without, with) = (percentile(&mut without, 0.5), percentile(&mut with, 0.5));
    let found = format!(
        "start to ready {} with a journal of {:.0} MiB, {} without, {} more",
        ms(with),
        bytes as f64 / f64::from(1 << 20),
        ms(without),
        ms(with.saturating_sub(without))
    );
    print("N12", &found, "200 ms more");
}

fn start(setup: &Setup) -> Duration {
    let begun = Instant::now();
    let mut host = setup.start();
    host.wait_ready();
    let took = begun.elapsed();
    host.signal(rustix::process::Signal::TERM);
    host.assert_exit(0);
    took
}
