//! The one-curl experience: C1, C3, C4, C6 and C8.

use super::*;
use hotshoe_tests::DefaultPort;
use std::{collections::BTreeSet, thread};

/// C1: the port that is written down, and the bytes.
#[test]
fn c01_one_curl_at_9999_adds_ten() {
    let _turn = DefaultPort::take();
    let setup = alone(instance().set("profile = \"quickstart\""));
    let mut served = Served::start(&setup);
    let curl = curl(&["http://localhost:9999"]);
    assert_eq!(
        String::from_utf8_lossy(&curl.stdout),
        "the latest configuration is 20\n"
    );
    assert_eq!((curl.code, curl.stdout.len()), (Some(0), 31), "{curl:?}");
    assert_eq!(served.value(), r#"{"value":20}"#);
    served.host.stop();
}

#[test]
fn c01_the_answer_says_what_it_is() {
    let setup = alone(quickstart());
    let served = Served::start(&setup);
    let response = served.get("/");
    assert_eq!(response.text(), "the latest configuration is 20\n");
    for (name, value) in [
        ("content-length", "31"),
        ("content-type", "text/plain; charset=utf-8"),
        ("hotshoe-generation", "2"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(response.header(name), Some(value), "{response:?}");
    }
    assert!(response.header("date").is_some());
}

/// C3: 50 processes, 20 connections each; no two of them read the same number, and none is left out.
#[test]
fn c03_no_touch_is_lost_or_answered_twice() {
    const PROCESSES: usize = 50;
    const EACH: usize = 20;
    let setup = alone(quickstart());
    let served = Served::start(&setup);
    let url = format!("http://{}", served.localhost());
    let one = || {
        let mut arguments = vec!["-H", "Connection: close"];
        arguments.extend([url.as_str(); EACH]);
        curl_text(&arguments)
    };
    let texts: Vec<String> = thread::scope(|scope| {
        let processes: Vec<_> = (0..PROCESSES).map(|_| scope.spawn(one)).collect();
        processes
            .into_iter()
            .map(|one| one.join().unwrap())
            .collect()
    });
    let numbers: Vec<u64> = texts
        .iter()
        .flat_map(|text| text.lines())
        .map(|line| {
            let number = line.strip_prefix("the latest configuration is ");
            number.unwrap().parse().unwrap()
        })
        .collect();
    assert_eq!(numbers.len(), PROCESSES * EACH);
    let expected: BTreeSet<u64> = (1..=1_000).map(|touch| 10 + 10 * touch).collect();
    assert_eq!(numbers.into_iter().collect::<BTreeSet<u64>>(), expected);
    assert_eq!(served.value(), r#"{"value":10010}"#);
}

/// C4: one value behind every door.
#[test]
fn c04_every_address_leads_to_one_value() {
    let setup = Setup::new();
    let socket = setup.scratch("config.sock");
    let socket = socket.to_str().unwrap();
    setup.entries("", &[quickstart().set(&format!("unix = {socket:?}"))]);
    let served = Served::start(&setup);
    let says = |value: u64| format!("the latest configuration is {value}\n");
    let port = served.port;
    let url = format!("http://127.0.0.1:{port}");
    assert_eq!(curl_text(&[&url]), says(20));
    let mut by = vec!["tcp:127.0.0.1".to_owned()];
    if has_ipv6() {
        assert_eq!(curl_text(&[&format!("http://[::1]:{port}")]), says(30));
        by.push("tcp:::1".to_owned());
    }
    let value = 10 + 10 * (by.len() as u64 + 1);
    let over_unix = ["--unix-socket", socket, "http://anything.example/"];
    assert_eq!(curl_text(&over_unix), says(value));
    by.push(format!("unix:uid={}", rustix::process::geteuid().as_raw()));
    assert_eq!(served.value(), format!("{{\"value\":{value}}}"));

    let history = served.get("/v1/history").json();
    let items = history["items"].as_array().unwrap();
    let mut seen: Vec<&str> = items
        .iter()
        .map(|item| item["by"].as_str().unwrap())
        .collect();
    seen.reverse();
    assert_eq!(seen[0], "host", "the initial value");
    assert_eq!(seen[1..], by);
}

/// C6, first half: only a plain `GET /` touches.
#[test]
fn c06_other_ways_to_the_root_change_nothing() {
    let setup = alone(quickstart());
    let served = Served::start(&setup);
    served.unchanged(|| {
        for method in ["HEAD", "POST", "OPTIONS"] {
            let response = served.ask(method, "/", &[], NO_BODY);
            assert_eq!(response.status, 405, "{method}");
            assert_eq!(response.header("allow"), Some("GET"), "{method}");
            if method != "HEAD" {
                problem(&response, 405, "method-not-allowed");
            }
        }
        for path in ["//", "/x"] {
            problem(&served.get(path), 404, "no-such-route");
        }
    });
}

/// C6, second half.
#[test]
fn c06_the_standard_profile_touches_by_post_alone() {
    let setup = alone(standard());
    let served = Served::start(&setup);
    served.unchanged(|| problem(&served.get("/"), 404, "touch-disabled"));
    let response = served.touch();
    assert_eq!(
        (response.status, response.text().as_str()),
        (
            200,
            "{\"changed\":true,\"confirm\":null,\"durable\":true,\"generation\":2,\"op\":\"touch\",\"parent\":1,\"value\":20}\n"
        )
    );
    assert_eq!(response.header("hotshoe-generation"), Some("2"));
    assert_eq!(served.value(), r#"{"value":20}"#);
}

#[test]
fn c06_without_touch_there_is_none() {
    let setup = alone(on_any_port());
    let served = Served::start(&setup);
    served.unchanged(|| problem(&served.touch(), 404, "touch-disabled"));
}

/// C8.
#[test]
fn c08_a_touch_over_the_edge_changes_nothing() {
    let near_the_edge = i64::MAX - 5;
    for entry in [quickstart(), standard()] {
        let setup = alone(entry.set(&format!("initial = {{ value = {near_the_edge} }}")));
        let served = Served::start(&setup);
        assert_eq!(served.value(), format!("{{\"value\":{near_the_edge}}}"));
        served.unchanged(|| problem(&served.touch(), 409, "touch-overflow"));
    }
}
