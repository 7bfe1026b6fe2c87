//! A confirmation and the deadline of what it confirms, as close to one another as a client can bring them (C31). The suite
//! takes a few of them, `live/confirm.rs` all.

use hotshoe_tests::{Entry, Setup, artifacts, http};
use serde_json::json;
use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// What is confirmed lasts so long.
const CONFIRM: Duration = Duration::from_secs(5);

/// A confirmation comes at most so much before or after it.
const SPREAD: Duration = Duration::from_millis(5);

/// Races in as many stores of one host, spread evenly over what is tried; how many of them were confirmed.
///
/// - Panics: one of them has two winners, or none.
#[track_caller]
pub(crate) fn races(stores: u32) -> usize {
    let setup = Setup::new();
    let name = |i: u32| format!("store-{i}");
    let entry = |i| {
        Entry::of(&name(i), artifacts::library("hotshoe-dynamic-config"))
            .set("listen = [\"127.0.0.1:0\"]")
            .set("state = \"memory\"")
    };
    let entries: Vec<Entry> = (0..stores).map(entry).collect();
    setup.entries("", &entries);
    let mut host = setup.start();
    host.wait_ready();
    let confirmed = thread::scope(|scope| {
        let race = |i: u32| {
            let url = setup.addresses(&name(i)).remove(0);
            let address = url.trim_start_matches("http://").to_owned();
            let after = CONFIRM - SPREAD + 2 * SPREAD * i / stores;
            scope.spawn(move || race(&address, after))
        };
        let racing: Vec<_> = (0..stores).map(race).collect();
        let won = racing.into_iter().map(|one| one.join().unwrap());
        won.filter(|won| *won).count()
    });
    host.stop();
    confirmed
}

/// Changes the value until it is confirmed, and confirms it `after` that; whether that was in time.
fn race(address: &str, after: Duration) -> bool {
    let ask = |method, path: &str, headers: &[_], body: &[u8]| {
        http::send(address, method, path, headers, body)
    };
    let path = format!("/v1/config?confirm={}s", CONFIRM.as_secs());
    let headers = [("Content-Type", "application/json")];
    let sent = ask("PUT", &path, &headers, b"{\"value\":42}");
    // The deadline lies behind some moment of that request.
    let fire = Instant::now() + after;
    assert_eq!(sent.status, 200, "{sent:?}");
    pass(fire.saturating_duration_since(Instant::now()));
    let response = ask("POST", "/v1/confirm", &[], b"");
    let history = || ask("GET", "/v1/history", &[], b"").json();
    if response.status == 200 {
        // Whatever the deadline still does, it does meanwhile.
        pass(Duration::from_secs(1));
        let page = history();
        assert_eq!(
            (&page["newest"], &page["items"][0]["confirm"]),
            (&json!(2), &json!("confirmed"))
        );
        return true;
    }
    assert_eq!(
        (response.status, &response.json()["type"]),
        (409, &json!("urn:hotshoe:config:nothing-to-confirm"))
    );
    let page = history();
    assert_eq!(
        (&page["newest"], &page["items"][0]["op"]),
        (&json!(3), &json!("auto-rollback"))
    );
    assert_eq!(page["items"][1]["confirm"], "expired");
    false
}

/// Lets time pass: what is raced against is a clock.
fn pass(time: Duration) {
    let (_keeps_it_open, never) = mpsc::channel::<()>();
    assert!(never.recv_timeout(time).is_err());
}
