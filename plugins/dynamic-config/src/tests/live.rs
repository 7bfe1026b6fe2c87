//! What is live: confirmation, events, figures, and the description of it all.

use super::*;
use crate::{contract::ENDPOINTS, guard::Peer, router::router, store::Store as _};
use axum::{body::Body, http::Request};
use hotshoe_plugin_api::{Change, Operation};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use std::sync::atomic::Ordering;

const JSON: &str = "content-type: application/json";

/// A watcher whose greeting has come.
fn watch(instance: &Instance, query: &str, headers: &[&str]) -> Client {
    let mut client = instance.client();
    client.send_request(&format!("GET /v1/watch{query}"), headers, b"");
    let head = client.head();
    assert_eq!(head.status, 200, "{head:?}");
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert_eq!(head.header("cache-control"), Some("no-store"));
    assert_eq!(head.header("content-length"), None);
    assert_eq!(client.event(), ": hotshoe 1\nretry: 1000\n\n");
    client
}

fn config(event: &str, generation: u64, op: &str) -> String {
    let parent = generation - 1;
    format!(
        "id: {generation}\nevent: {event}\ndata: {{\"at\":\"t\",\"generation\":{generation},\"op\":\"{op}\",\"parent\":{parent}}}\n\n"
    )
}

#[test]
fn c26_to_c28_a_change_waits_for_its_confirmation() {
    let instance = start(json!({"require_if_match": true, "touch": {"step": 10}}));
    let nothing = instance.ask("POST /v1/confirm", &[], b"");
    assert_eq!(
        (nothing.status, nothing.slug().as_str()),
        (409, "nothing-to-confirm")
    );
    let put = |query: &str, headers: &[&str], body: &str| {
        let request = format!("PUT /v1/config{query}");
        instance.ask(&request, &[&[JSON], headers].concat(), body.as_bytes())
    };
    let waits = put("?confirm=60s", &["if-match: \"1\""], "{\"value\":20}");
    assert_eq!(
        waits.text(),
        concat!(
            r#"{"changed":true,"confirm":{"base":1,"deadline":"2026-01-02T03:05:08.000000Z"},"#,
            r#""durable":false,"generation":2,"op":"put","parent":1}"#,
            "\n"
        )
    );
    for answer in [
        put("", &["if-match: *"], "{\"value\":30}"),
        instance.ask("POST /v1/touch", &[], b""),
    ] {
        assert_eq!(
            (answer.status, answer.slug().as_str()),
            (409, "confirm-pending")
        );
        assert_eq!(answer.header("retry-after"), Some("42"));
        assert_eq!(answer.json()["generation"], 2);
    }
    for (headers, body, status, slug) in [
        (
            &[JSON][..],
            "{\"generation\":\"x\"}",
            422,
            "schema-violation",
        ),
        (&[JSON], "{\"to\":2}", 422, "schema-violation"),
        (&[JSON], "{", 400, "bad-json"),
        (&[], "{\"generation\":2}", 415, "unsupported-media-type"),
        (&["if-match: \"1\""], "", 412, "generation-mismatch"),
        (&["if-match: 2"], "", 400, "bad-header"),
    ] {
        let answer = instance.ask("POST /v1/confirm", headers, body.as_bytes());
        assert_eq!(
            (answer.status, answer.slug().as_str()),
            (status, slug),
            "{body}"
        );
    }
    let query = instance.ask("POST /v1/confirm?confirm=5s", &[], b"");
    assert_eq!(query.slug(), "unknown-query");
    let confirmed = instance.ask(
        "POST /v1/confirm",
        &[JSON, "if-match: \"2\""],
        b"{\"generation\":2}",
    );
    assert_eq!(confirmed.text(), "{\"confirmed\":true,\"generation\":2}\n");
    assert_eq!(confirmed.header("hotshoe-generation"), Some("2"));
    let again = instance.ask("POST /v1/confirm", &[], b"");
    assert_eq!(again.slug(), "nothing-to-confirm");
    // Without a body the precondition is still demanded of changes, never of a confirmation.
    assert_eq!(put("", &[], "{\"value\":1}").slug(), "if-match-required");
}

#[test]
fn c32_a_diff_has_two_kept_ends() {
    let instance = standard();
    for value in [20, 30] {
        instance.put(&format!("{{\"value\":{value}}}"));
    }
    let answer = instance.get("/v1/diff?from=1&to=2");
    let expected = "{\"from\":1,\"patch\":[{\"op\":\"replace\",\"path\":\"\",\"value\":{\"value\":20}}],\"to\":2}\n";
    assert_eq!(answer.text(), expected);
    assert_eq!(instance.get("/v1/diff?from=1").json()["to"], 3);
    instance.store.oldest.store(2, Ordering::Relaxed);
    for (query, status, slug) in [
        ("", 400, "bad-query"),
        ("?from=x", 400, "bad-query"),
        ("?from=1&from=2", 400, "bad-query"),
        ("?until=1", 400, "unknown-query"),
        ("?from=0", 404, "generation-not-found"),
        ("?from=2&to=0", 404, "generation-not-found"),
        ("?from=2&to=4", 404, "generation-not-found"),
        ("?from=1", 410, "generation-gone"),
    ] {
        let answer = instance.get(&format!("/v1/diff{query}"));
        assert_eq!(
            (answer.status, answer.slug().as_str()),
            (status, slug),
            "{query}"
        );
    }
}

#[test]
fn c34_a_watcher_sees_the_current_generation_and_all_that_follow() {
    let instance = standard();
    instance.put("{\"value\":11}");
    let mut plain = watch(&instance, "", &[]);
    let mut valued = watch(&instance, "?include=value", &[]);
    assert_eq!(plain.event(), config("config", 2, "put"));
    for value in 12..15 {
        instance.put(&format!("{{\"value\":{value}}}"));
    }
    for generation in 3..=5 {
        assert_eq!(plain.event(), config("config", generation, "put"));
    }
    for generation in 2..=5 {
        let value = format!(
            "\"parent\":{},\"value\":{{\"value\":{}}}}}",
            generation - 1,
            generation + 9
        );
        assert!(valued.event().contains(&value));
    }
    instance.ask("PUT /v1/config?confirm=1m", &[JSON], b"{\"value\":99}");
    instance.ask("POST /v1/confirm", &[], b"");
    assert_eq!(plain.event(), config("config", 6, "put"));
    assert_eq!(
        plain.event(),
        "event: confirm\ndata: {\"generation\":6,\"result\":\"confirmed\"}\n\n"
    );
    // Not replayed.
    let mut late = watch(&instance, "", &["last-event-id: 5"]);
    assert_eq!(late.event(), config("config", 6, "put"));
    instance.put("{\"value\":100}");
    assert_eq!(late.event(), config("config", 7, "put"));
}

/// Whoever confirms: here nobody asks the listener to.
#[test]
fn every_confirmation_is_an_event_and_each_only_one() {
    let instance = standard();
    let mut watcher = watch(&instance, "", &[]);
    assert_eq!(watcher.event(), config("config", 1, "initial"));
    let confirmed = |generation: u64| {
        format!(
            "event: confirm\ndata: {{\"generation\":{generation},\"result\":\"confirmed\"}}\n\n"
        )
    };
    let confirm = Change::from(Operation::Confirm { generation: None });
    for generation in [2, 4] {
        let body = format!("{{\"value\":{generation}}}");
        instance.ask("PUT /v1/config?confirm=1m", &[JSON], body.as_bytes());
        assert_eq!(watcher.event(), config("config", generation, "put"));
        let outcome = instance.store.apply(std::slice::from_ref(&confirm));
        assert!(outcome.unwrap()[0].is_ok());
        assert_eq!(watcher.event(), confirmed(generation));
        // The listener's own is told of by the thread that watches as well.
        instance.ask("PUT /v1/config?confirm=1m", &[JSON], b"{\"value\":0}");
        assert_eq!(watcher.event(), config("config", generation + 1, "put"));
        instance.ask("POST /v1/confirm", &[], b"");
        assert_eq!(watcher.event(), confirmed(generation + 1));
    }
}

#[test]
fn c35_a_watcher_goes_on_where_it_was() {
    let instance = standard();
    for value in 100..420 {
        instance.put(&format!("{{\"value\":{value}}}"));
    }
    // More than the shared frames: what is older comes from the history.
    let mut behind = watch(&instance, "", &["last-event-id: 2"]);
    for generation in 3..=321 {
        assert_eq!(behind.event(), config("config", generation, "put"));
    }
    let mut coalescing = watch(&instance, "?coalesce=true", &["last-event-id: 2"]);
    assert_eq!(coalescing.event(), config("config", 321, "put"));
    let mut current = watch(&instance, "", &["last-event-id: 321"]);
    let mut future = watch(&instance, "", &["last-event-id: 1000000000"]);
    assert_eq!(future.event(), config("reset", 321, "put"));
    instance.store.oldest.store(50, Ordering::Relaxed);
    let mut gone = watch(&instance, "", &["last-event-id: 10"]);
    assert_eq!(gone.event(), config("reset", 321, "put"));
    let mut kept = watch(&instance, "", &["last-event-id: 50"]);
    assert_eq!(kept.event(), config("config", 51, "put"));
    for unknown in ["last-event-id: 0", "last-event-id: 49"] {
        let mut unknown = watch(&instance, "", &[unknown]);
        assert_eq!(unknown.event(), config("reset", 321, "put"));
    }
    instance.put("{\"value\":1}");
    for watcher in [&mut coalescing, &mut current, &mut future, &mut gone] {
        assert_eq!(watcher.event(), config("config", 322, "put"));
    }
    for (query, header, slug) in [
        ("", "last-event-id: x", "bad-header"),
        ("?include=all", "x: y", "bad-query"),
        ("?includes=value", "x: y", "unknown-query"),
    ] {
        let answer = instance.ask(&format!("GET /v1/watch{query}"), &[header], b"");
        assert_eq!((answer.status, answer.slug().as_str()), (400, slug));
    }
    let page = instance.ask("GET /v1/watch", &["sec-fetch-site: cross-site"], b"");
    assert_eq!(page.slug(), "browser-refused");
    let mut head = instance.client();
    head.send_request("HEAD /v1/watch", &[], b"");
    assert_eq!(head.answer_without_body().status, 405);
}

#[test]
fn c37_watchers_have_a_number_of_their_own() {
    let instance = start(json!({"max_watchers": 2, "max_connections": 1}));
    let mut first = watch(&instance, "", &[]);
    let mut second = watch(&instance, "", &[]);
    let third = instance.ask("GET /v1/watch", &[], b"");
    assert_eq!(
        (third.status, third.slug().as_str()),
        (503, "too-many-watchers")
    );
    assert_eq!(third.header("retry-after"), Some("1"));
    assert_eq!(instance.get("/v1/config").status, 200);
    let status = instance.get("/v1/status").json();
    assert_eq!(status["watchers"], json!({"current": 2, "max": 2}));
    assert_eq!(status["connections"], 1);
    instance.put("{\"value\":11}");
    for watcher in [&mut first, &mut second] {
        assert_eq!(watcher.event(), config("config", 1, "initial"));
        assert_eq!(watcher.event(), config("config", 2, "put"));
    }
}

#[test]
fn a_quiet_watcher_hears_a_heartbeat() {
    let instance = start_with(json!({}), |plan| {
        plan.limits.heartbeat = Duration::from_millis(30)
    });
    let mut watcher = watch(&instance, "", &["last-event-id: 1"]);
    for _ in 0..3 {
        assert_eq!(watcher.event(), ": hb\n\n");
    }
}

#[test]
fn c53_at_the_end_watchers_get_the_last_events_and_a_bye() {
    let mut instance = standard();
    let mut watcher = watch(&instance, "", &["last-event-id: 1"]);
    let gate = instance.store.close_gate();
    let mut working = instance.client();
    working.send_request("PUT /v1/config", &[JSON], b"{\"value\":77}");
    gate.entered();
    let stopping = std::thread::spawn(move || (instance.stop(), instance));
    // The change that was in hand is finished first.
    drop(gate);
    assert_eq!(working.answer().status, 200);
    assert_eq!(watcher.event(), config("config", 2, "put"));
    assert_eq!(
        watcher.event(),
        "event: bye\ndata: {\"reason\":\"stopping\"}\n\n"
    );
    assert_eq!(watcher.rest(), b"0\r\n\r\n");
    let (hung, _instance) = stopping.join().unwrap();
    assert!(hung.is_empty(), "{hung:?}");
}

#[test]
fn c53_a_request_that_hangs_takes_no_bye_away() {
    let mut instance = standard();
    let mut watcher = watch(&instance, "", &["last-event-id: 1"]);
    let gate = instance.store.close_gate();
    let mut working = instance.client();
    working.send_request("POST /v1/touch", &[], b"");
    gate.entered();
    // Time enough for the other threads, on a busy machine as well.
    let stopping = std::thread::spawn(move || instance.threads.stop(Duration::from_secs(2)));
    assert_eq!(
        watcher.event(),
        "event: bye\ndata: {\"reason\":\"stopping\"}\n\n"
    );
    assert_eq!(stopping.join().unwrap(), ["cfg-write"]);
    drop(gate);
}

#[test]
fn figures_are_what_happened() {
    let instance = standard();
    instance.put("{\"value\":11}");
    instance.put("{\"value\":11}");
    instance.put("{\"value\":\"x\"}");
    instance.ask("POST /v1/touch?dry_run=true", &[], b"");
    instance.get("/nowhere");
    let _watcher = watch(&instance, "", &[]);
    *instance.store.told.lock().unwrap() = json!({
        "confirm": {"base": 1, "deadline": "t", "generation": 2, "remaining_s": 3},
        "readers": {"attached": 2, "min_generation": 1, "nacked": [{"reader": "a", "generation": 2, "error": "e"}]},
        "durable": true,
        "history": {"bytes": 512, "newest": 2, "oldest": 1},
    })
    .as_object()
    .unwrap()
    .clone();
    let answer = instance.get("/metrics");
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; version=0.0.4")
    );
    for line in [
        "hotshoe_config_generation 2",
        "hotshoe_config_changes_total{op=\"put\",result=\"changed\"} 1",
        "hotshoe_config_changes_total{op=\"put\",result=\"unchanged\"} 1",
        "hotshoe_config_changes_total{op=\"put\",result=\"refused\"} 1",
        "hotshoe_config_changes_total{op=\"touch\",result=\"dry-run\"} 1",
        "hotshoe_config_errors_total{type=\"schema-violation\"} 1",
        "hotshoe_config_errors_total{type=\"no-such-route\"} 1",
        "hotshoe_config_watchers 1",
        "hotshoe_config_connections 1",
        "hotshoe_config_confirm_pending 1",
        "hotshoe_config_reader_min_generation 1",
        "hotshoe_config_readers_nacked 1",
        "hotshoe_config_journal_bytes 512",
        "hotshoe_config_apply_seconds_count 4",
    ] {
        assert!(
            answer.text().lines().any(|found| found == line),
            "{line} in {}",
            answer.text()
        );
    }
}

#[test]
fn what_the_store_says_is_what_is_told() {
    let instance = standard();
    *instance.store.told.lock().unwrap() =
        json!({"read_only": true, "warnings": ["history-damaged"], "durable": true})
            .as_object()
            .unwrap()
            .clone();
    let status = instance.get("/v1/status").json();
    assert_eq!(
        (&status["state"], &status["durable"]),
        (&json!("read-only"), &json!(true))
    );
    assert_eq!(
        status["warnings"],
        json!(["history-damaged", "loopback-open"])
    );
    let ready = instance.get("/readyz");
    assert_eq!((ready.status, ready.slug().as_str()), (503, "not-ready"));
    assert_eq!(ready.json()["reasons"], json!(["store-readonly"]));
    instance.store.told.lock().unwrap().clear();
    assert_eq!(instance.get("/v1/status").json()["state"], "ready");
    assert_eq!(instance.get("/readyz").status, 200);
}

/// Every path answers what the description says, and the description is served.
#[test]
fn the_description_is_served() {
    let instance = standard();
    let answer = instance.get("/v1/openapi.json");
    assert_eq!(answer.json(), crate::openapi::document());
    assert_eq!(answer.json()["openapi"], "3.1.0");
    for endpoint in ENDPOINTS
        .iter()
        .filter(|endpoint| endpoint.path != "/v1/watch")
    {
        let path = endpoint
            .path
            .replace("{*pointer}", "value")
            .replace("{generation}", "1");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            instance.ask(&format!("{method} {path}"), &[], b"");
            instance.ask(&format!("{method} {path}?nonsense=1"), &[JSON], b"{");
        }
    }
}

/// Peers off this machine, as the router sees them.
#[test]
fn c49_other_machines_have_rates_and_few_guesses() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    let token = "t".repeat(32);
    std::fs::write(&path, &token).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let rate = json!({"changes": 2, "reads": 100});
    let instance = start(json!({"token_file": path, "rate": rate, "allowed_hosts": ["x"]}));
    let service = TowerToHyperService::new(router(Arc::clone(&instance.app)));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let ask = |ip: &str, method: &str, token: &str| {
        let peer = Peer::Tcp {
            ip: ip.parse().unwrap(),
            port: 9999,
        };
        let request = Request::builder()
            .method(method)
            .uri("/v1/nowhere")
            .header("host", "x:9999")
            .header("authorization", format!("Bearer {token}"))
            .extension(peer)
            .body(Body::empty())
            .unwrap();
        let response = runtime.block_on(service.call(request)).unwrap();
        let after = response
            .headers()
            .get("retry-after")
            .map(|after| after.to_str().unwrap().to_owned());
        (response.status().as_u16(), after)
    };
    // Four at once, then one every half second: sooner or later one comes too soon.
    let mut changes = (0..1_000).map(|_| ask("192.0.2.1", "POST", &token));
    let admitted = changes.by_ref().take_while(|(status, _)| *status == 404);
    assert!(admitted.count() >= 4);
    let limited = changes.find(|(status, _)| *status == 429);
    assert_eq!(limited.and_then(|(_, after)| after).as_deref(), Some("1"));
    assert_eq!(
        ask("192.0.2.1", "GET", &token).0,
        404,
        "reads have their own"
    );
    assert_eq!(
        ask("192.0.2.2", "POST", &token).0,
        404,
        "another peer has its own"
    );
    for _ in 0..200 {
        assert_eq!(ask("127.0.0.1", "POST", "wrong").0, 401);
    }
    let guesses: Vec<u16> = (0..12)
        .map(|_| ask("192.0.2.3", "GET", "wrong").0)
        .collect();
    assert_eq!((guesses[9], guesses[10], guesses[11]), (401, 429, 429));
    assert_eq!(ask("192.0.2.3", "GET", &token).0, 429);
    assert_eq!(ask("192.0.2.4", "GET", &token).0, 404);
}

/// The thread looks at the file by itself.
#[test]
fn c49_a_changed_token_is_in_force_within_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    let write = |token: &str| {
        let next = dir.path().join("next");
        std::fs::write(&next, token).unwrap();
        std::fs::set_permissions(&next, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        std::fs::rename(&next, &path).unwrap();
    };
    let (old, new) = ("o".repeat(32), "n".repeat(32));
    write(&old);
    let instance = start(json!({"token_file": path}));
    let ask = |token: &str| {
        let bearer = format!("authorization: Bearer {token}");
        instance.ask("GET /v1/config", &[&bearer], b"").status
    };
    assert_eq!((ask(&old), ask(&new)), (200, 401));
    write(&new);
    let begun = std::time::Instant::now();
    while ask(&new) != 200 {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "ten times the second"
        );
        std::thread::yield_now();
    }
    assert_eq!(ask(&old), 401);
}
