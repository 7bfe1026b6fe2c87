//! Under which conditions a change is taken: C10, C11, C23 and C24.

use super::*;
use std::thread;

fn put_if(served: &Served<'_>, tag: &str, value: u64) -> http::Response {
    let body = format!("{{\"value\":{value}}}");
    let headers = [JSON, ("If-Match", tag)];
    served.ask("PUT", "/v1/config", &headers, body.as_bytes())
}

/// C10.
#[test]
fn c10_a_precondition_is_kept() {
    let setup = alone(standard());
    let served = Served::start(&setup);
    changed(&put_if(&served, "\"1\"", 1), "put", 2);
    served.unchanged(|| {
        let stale = put_if(&served, "\"1\"", 2);
        let json = problem(&stale, 412, "generation-mismatch");
        assert_eq!(json["generation"], 2);
        assert_eq!(stale.header("hotshoe-generation"), Some("2"));
    });
    changed(&put_if(&served, "*", 3), "put", 3);
    served.unchanged(|| {
        for tag in ["W/\"1\"", "W/\"3\"", "\"03\"", "\"x\"", "\"1\", \"2\""] {
            problem(&put_if(&served, tag, 4), 412, "generation-mismatch");
        }
        for tag in ["1", "3", "\"3", "", "*, \"3\""] {
            problem(&put_if(&served, tag, 4), 400, "bad-header");
        }
    });
    changed(&put_if(&served, "\"1\", \"3\"", 4), "put", 4);
    // A touch asks for no precondition, and keeps the one it is given.
    served.unchanged(|| {
        let stale = served.ask("POST", "/v1/touch", &[("If-Match", "\"3\"")], NO_BODY);
        problem(&stale, 412, "generation-mismatch");
    });
    let current = served.ask("POST", "/v1/touch", &[("If-Match", "\"4\"")], NO_BODY);
    assert_eq!(current.json()["value"], 14);
}

/// `If-None-Match` is read wherever a change is asked for, and refuses what it finds current.
#[test]
fn c10_a_change_may_exclude_a_generation() {
    let setup = alone(quickstart().set("state = \"dir\""));
    let served = Served::start(&setup);
    changed(&served.put("{\"value\":1}"), "put", 2);
    let merge = ("Content-Type", "application/merge-patch+json");
    let routes = [
        ("PUT", "/v1/config", vec![JSON], "{\"value\":2}"),
        ("PATCH", "/v1/config", vec![merge], "{\"value\":2}"),
        ("DELETE", "/v1/config", vec![], ""),
        ("POST", "/v1/touch", vec![], ""),
        ("POST", "/v1/rollback", vec![], ""),
        ("POST", "/v1/confirm", vec![], ""),
        ("GET", "/", vec![], ""),
    ];
    let ask = |(method, path, headers, body): &(&str, &str, Vec<_>, &str), tag| {
        let mut headers = headers.clone();
        headers.push(("If-None-Match", tag));
        served.ask(method, path, &headers, body.as_bytes())
    };
    served.unchanged(|| {
        for route in &routes {
            for tag in ["2", "\"2", "", "*, \"1\""] {
                problem(&ask(route, tag), 400, "bad-header");
            }
            for tag in ["*", "\"2\"", "W/\"2\"", "\"1\", \"2\""] {
                let json = problem(&ask(route, tag), 412, "generation-mismatch");
                assert_eq!(json["generation"], 2, "{route:?}");
            }
        }
    });
    changed(&ask(&routes[0], "\"1\", \"x\""), "put", 3);
}

#[test]
fn c10_a_precondition_can_be_demanded() {
    let setup = alone(standard().set("require_if_match = true"));
    let served = Served::start(&setup);
    served.unchanged(|| {
        let json = problem(&served.put("{\"value\":1}"), 428, "if-match-required");
        assert_eq!(json["generation"], 1);
        let response = served.ask("DELETE", "/v1/config", &[], NO_BODY);
        problem(&response, 428, "if-match-required");
    });
    assert_eq!(served.touch().json()["value"], 20);
    changed(&put_if(&served, "\"2\"", 1), "put", 3);
}

/// C11, with 50 clients: each reads, and puts one more on the condition that nobody was faster, until it has won once.
#[test]
fn c11_no_update_is_lost() {
    const CLIENTS: u64 = 50;
    let setup = alone(standard());
    let served = Served::start(&setup);
    let win_once = || {
        loop {
            let read = served.get("/v1/config");
            let value = read.json()["value"].as_u64().unwrap();
            let put = put_if(&served, read.header("etag").unwrap(), value + 1);
            if put.status == 200 {
                return put.json()["generation"].as_u64().unwrap();
            }
            problem(&put, 412, "generation-mismatch");
        }
    };
    let mut won: Vec<u64> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(win_once)).collect();
        let won = clients.into_iter().map(|client| client.join().unwrap());
        won.collect()
    });
    won.sort_unstable();
    assert_eq!(won, (2..=CLIENTS + 1).collect::<Vec<u64>>());
    let state = served.state();
    assert_eq!(state.value, format!("{{\"value\":{}}}\n", 10 + CLIENTS));
    assert_eq!(state.generation, CLIENTS + 1);
}

/// C23.
#[test]
fn c23_only_json_is_taken_as_json() {
    const ACCEPTED: [&str; 2] = [
        "application/json-patch+json",
        "application/merge-patch+json",
    ];
    let setup = alone(standard());
    let served = Served::start(&setup);
    let body = b"{\"value\":1}";
    served.unchanged(|| {
        for headers in [
            &[][..],
            &[("Content-Type", "application/x-www-form-urlencoded")],
            &[("Content-Type", "text/plain")],
            &[JSON, ("Content-Encoding", "gzip")],
            &[MERGE_PATCH],
        ] {
            let response = served.ask("PUT", "/v1/config", headers, body);
            problem(&response, 415, "unsupported-media-type");
        }
        for headers in [&[JSON][..], &[]] {
            let response = served.ask("PATCH", "/v1/config", headers, body);
            problem(&response, 415, "unsupported-media-type");
            let accepted = response.header("accept-patch").unwrap_or_default();
            let mut accepted: Vec<&str> = accepted.split(',').map(str::trim).collect();
            accepted.sort_unstable();
            assert_eq!(accepted, ACCEPTED);
        }
    });
    let headers = [
        ("Content-Type", "application/json; charset=utf-8"),
        ("Content-Encoding", "identity"),
    ];
    changed(&served.ask("PUT", "/v1/config", &headers, body), "put", 2);
}

/// C24.
#[test]
fn c24_a_dry_run_tells_and_changes_nothing() {
    let setup = alone(standard());
    let served = Served::start(&setup);
    let put = |query: &str, body: &str| {
        let path = format!("/v1/config?{query}");
        served.ask("PUT", &path, &[JSON], body.as_bytes())
    };
    served.unchanged(|| {
        let good = r#"{"value":42}"#;
        problem(&put("dryrun=true", good), 400, "unknown-query");
        for query in [
            "dry_run=1",
            "dry_run=true&dry_run=true",
            "dry_run=true&confirm=60s",
            "confirm=1s",
            "scope=moon",
        ] {
            problem(&put(query, good), 400, "bad-query");
        }
        problem(&put("scope=fleet", good), 501, "scope-not-available");
        let response = put("dry_run=true", good);
        let expected = "{\"changed\":true,\"dry_run\":true,\"generation\":1,\"patch\":[{\"op\":\"replace\",\"path\":\"/value\",\"value\":42}]}\n";
        assert_eq!((response.status, response.text().as_str()), (200, expected));
        assert_eq!(response.header("hotshoe-generation"), Some("1"));
        let response = put("dry_run=true", r#"{"value":10}"#);
        let expected = "{\"changed\":false,\"dry_run\":true,\"generation\":1,\"patch\":[]}\n";
        assert_eq!((response.status, response.text().as_str()), (200, expected));
        let response = put("dry_run=true", r#"{"value":"x"}"#);
        problem(&response, 422, "schema-violation");
        let response = served.ask("POST", "/v1/touch?dry_run=true", &[], NO_BODY);
        assert_eq!(response.json()["patch"][0]["value"], 20);
        let response = served.ask("DELETE", "/v1/config/value?dry_run=true", &[], NO_BODY);
        problem(&response, 422, "schema-violation");
    });
    changed(&put("dry_run=false", r#"{"value":42}"#), "put", 2);
}
