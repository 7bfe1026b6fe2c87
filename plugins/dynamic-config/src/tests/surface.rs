//! What is answered to what: routes, bodies, headers, errors.

use super::*;
use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, sync::atomic::Ordering};

const JSON: &str = "content-type: application/json";

#[test]
fn c01_a_plain_get_touches_and_tells() {
    let instance = quickstart();
    let answer = instance.ask("GET /", &["user-agent: curl/7.88.1", "accept: */*"], b"");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text(), "the latest configuration is 20\n");
    assert_eq!(answer.body.len(), 31);
    for (name, value) in [
        ("content-length", "31"),
        ("content-type", "text/plain; charset=utf-8"),
        ("hotshoe-generation", "2"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        (
            "content-security-policy",
            "default-src 'none'; frame-ancestors 'none'",
        ),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    assert!(answer.header("date").is_some());
    assert_eq!(instance.store.last_by(), "tcp:127.0.0.1");
}

#[test]
fn c03_every_touch_has_a_number_of_its_own() {
    let instance = quickstart();
    let address = instance.address;
    let numbers: BTreeSet<u64> = std::thread::scope(|scope| {
        let each = |_| {
            scope.spawn(move || {
                let mut client = Client::tcp(address);
                let mut one = || {
                    client.send_request("GET /", &[], b"");
                    let answer = client.answer();
                    let text = answer.text().trim_end().rsplit(' ').next().unwrap();
                    text.parse::<u64>().unwrap()
                };
                (0..20).map(|_| one()).collect::<Vec<_>>()
            })
        };
        let clients: Vec<_> = (0..10).map(each).collect();
        clients
            .into_iter()
            .flat_map(|client| client.join().unwrap())
            .collect()
    });
    let expected: BTreeSet<u64> = (1..=200).map(|i| 10 + 10 * i).collect();
    assert_eq!(numbers, expected);
    assert_eq!(instance.state(), (201, r#"{"value":2010}"#.to_owned()));
}

#[test]
fn c04_all_addresses_work_on_one_value() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.sock");
    let instance = start(json!({"profile": "quickstart", "unix": path}));
    let clients = [
        instance.client(),
        Client::tcp(instance.also.unwrap()),
        Client::unix(&path),
    ];
    for (mut client, expected) in clients.into_iter().zip([20, 30, 40]) {
        client.send_request("GET /", &[], b"");
        let text = client.answer().text().to_owned();
        assert_eq!(text, format!("the latest configuration is {expected}\n"));
    }
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(instance.store.last_by(), format!("unix:uid={uid}"));
}

#[test]
fn c05_browsers_change_nothing() {
    let instance = quickstart();
    let before = instance.state();
    for header in [
        "origin: http://evil.example",
        "sec-fetch-site: none",
        "user-agent: Mozilla/5.0",
    ] {
        let answer = instance.ask("GET /", &[header], b"");
        assert_eq!(
            (answer.status, answer.slug().as_str()),
            (403, "browser-refused"),
            "{header}"
        );
    }
    let answer = instance.ask("GET /", &["Origin: http://evil.example"], b"");
    let expected = concat!(
        r#"{"detail":"header Origin marks a browser request","hint":"use a command-line client; browsers may not change configuration","#,
        r#""status":403,"title":"Browser refused","type":"urn:hotshoe:config:browser-refused"}"#,
        "\n"
    );
    assert_eq!(answer.text(), expected);
    assert_eq!(instance.state(), before);
}

#[test]
fn c06_only_known_paths_and_methods() {
    let instance = quickstart();
    let before = instance.state();
    for (request, status, allow) in [
        ("POST /", 405, Some("GET")),
        ("OPTIONS /", 405, Some("GET")),
        ("GET //", 404, None),
        ("GET /x", 404, None),
        ("GET /favicon.ico", 404, None),
        ("GET /v1/touch", 405, Some("POST")),
        ("GET /v1/touch/", 404, None),
        ("GET /V1/config", 404, None),
        (
            "POST /v1/config",
            405,
            Some("GET, HEAD, PUT, PATCH, DELETE"),
        ),
        (
            "OPTIONS /v1/config",
            405,
            Some("GET, HEAD, PUT, PATCH, DELETE"),
        ),
        ("BREW /v1/status", 405, Some("GET, HEAD")),
        ("GET /v1/configuration", 404, None),
        ("GET /?x=1", 400, None),
    ] {
        let answer = instance.ask(request, &[], b"");
        assert_eq!(answer.status, status, "{request}");
        assert_eq!(answer.header("allow"), allow, "{request}");
        assert!(answer.header("access-control-allow-origin").is_none());
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{request}"
        );
        answer.slug();
    }
    let mut client = instance.client();
    client.send_request("HEAD /", &[], b"");
    assert_eq!(client.answer_without_body().status, 405);
    assert_eq!(instance.state(), before);

    let instance = standard();
    let answer = instance.get("/");
    assert_eq!(
        (answer.status, answer.slug().as_str()),
        (404, "touch-disabled")
    );
    let answer = instance.ask("POST /v1/touch", &[], b"");
    let expected = concat!(
        r#"{"changed":true,"confirm":null,"durable":false,"generation":2,"op":"touch","parent":1,"value":20}"#,
        "\n"
    );
    assert_eq!(answer.text(), expected);
    assert_eq!(answer.header("hotshoe-generation"), Some("2"));
}

#[test]
fn c07_only_known_hosts() {
    let instance = standard();
    let port = instance.address.port();
    let before = instance.state();
    for (hosts, status) in [
        (vec!["host: evil.example".to_owned()], 403),
        (vec![format!("host: localhost.:{port}")], 403),
        (vec!["host: localhost:1".to_owned()], 403),
        (vec![format!("host: localhost:{port}"); 2], 400),
        (vec![format!("host: [::1]:{port}")], 200),
    ] {
        let headers: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let answer = instance.ask("POST /v1/touch?dry_run=true", &headers, b"");
        assert_eq!(answer.status, status, "{hosts:?}");
    }
    let mut client = instance.client();
    client.send(b"POST /v1/touch HTTP/1.1\r\n\r\n");
    assert_eq!(client.answer().slug(), "bad-host");
    let mut client = instance.client();
    let target = format!("GET http://127.0.0.1:{port}/v1/config");
    client.send_request(&target, &[&format!("host: 127.0.0.1:{port}")], b"");
    assert_eq!(client.answer().status, 200);
    client.send_request(&target, &[], b"");
    assert_eq!(client.answer().slug(), "bad-host");
    assert_eq!(instance.state(), before);
}

#[test]
fn c08_a_touch_does_not_wrap() {
    let value = i64::MAX - 5;
    let instance = start(json!({"touch": {"step": 10}, "initial": {"value": value}}));
    let before = instance.state();
    let answer = instance.ask("POST /v1/touch", &[], b"");
    assert_eq!(
        (answer.status, answer.slug().as_str()),
        (409, "touch-overflow")
    );
    assert_eq!(instance.state(), before);
}

#[test]
fn c10_preconditions() {
    let instance = standard();
    let put = |tag: &str, value: u64| {
        let body = format!("{{\"value\":{value}}}");
        let tag = format!("if-match: {tag}");
        instance.ask("PUT /v1/config", &[JSON, &tag], body.as_bytes())
    };
    assert_eq!(put("\"1\"", 1).status, 200);
    let stale = put("\"1\"", 2);
    assert_eq!(
        (stale.status, stale.slug().as_str()),
        (412, "generation-mismatch")
    );
    assert_eq!(stale.header("hotshoe-generation"), Some("2"));
    assert_eq!(stale.json()["generation"], 2);
    assert_eq!(
        stale.json()["detail"],
        "If-Match names generation 1, the current generation is 2"
    );
    assert_eq!(put("*", 3).status, 200);
    assert_eq!(put("W/\"1\"", 4).status, 412);
    assert_eq!(put("1", 4).slug(), "bad-header");
    // The precondition comes before the body's own faults.
    let answer = instance.ask("PUT /v1/config", &[JSON, "if-match: \"1\""], b"{");
    assert_eq!(answer.status, 412);
    assert_eq!(instance.state(), (3, r#"{"value":3}"#.to_owned()));

    let strict = start(json!({"touch": {"step": 10}, "require_if_match": true}));
    let answer = strict.put(r#"{"value":1}"#);
    assert_eq!(
        (answer.status, answer.slug().as_str()),
        (428, "if-match-required")
    );
    assert_eq!(answer.json()["generation"], 1);
    assert_eq!(strict.ask("POST /v1/touch", &[], b"").status, 200);
    let any = strict.ask("PUT /v1/config", &[JSON, "if-match: *"], br#"{"value":1}"#);
    assert_eq!(any.status, 200);
}

#[test]
fn c12_an_equal_value_changes_nothing() {
    let instance = standard();
    let answer = instance.put(" { \"value\" :\n10 } ");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["changed"], false);
    assert_eq!(answer.json()["generation"], 1);
    assert_eq!(instance.state().0, 1);
}

#[test]
fn c13_to_c16_bad_bodies_have_a_place() {
    let instance = standard();
    let before = instance.state();
    let deep = "[".repeat(1_000_000);
    for (body, status, slug, place, pointer) in [
        ("", 400, "bad-json", (1, 0), None),
        ("{", 400, "bad-json", (1, 1), None),
        ("{\"value\":1}x", 400, "bad-json", (1, 12), None),
        ("\u{feff}{}", 400, "bad-json", (1, 1), None),
        (
            "{\"value\":10,\"value\":11}",
            400,
            "duplicate-key",
            (1, 13),
            None,
        ),
        (
            "{\"value\":1e999}",
            400,
            "number-out-of-range",
            (1, 10),
            None,
        ),
        (&deep, 400, "too-deep", (1, 65), None),
        (
            "{\"value\":1,\"valeu\":2}",
            422,
            "schema-violation",
            (1, 20),
            Some("/valeu"),
        ),
        ("{}", 422, "schema-violation", (1, 1), Some("")),
        (
            "{\"value\":10.0}",
            422,
            "schema-violation",
            (1, 10),
            Some("/value"),
        ),
    ] {
        let answer = instance.put(body);
        let shown = &body[..body.len().min(40)];
        assert_eq!(
            (answer.status, answer.slug().as_str()),
            (status, slug),
            "{shown}"
        );
        let json = answer.json();
        let found = (
            json["line"].as_u64().unwrap(),
            json["column"].as_u64().unwrap(),
        );
        assert_eq!(found, place, "{shown}");
        assert_eq!(
            json.get("pointer").and_then(Value::as_str),
            pointer,
            "{shown}"
        );
    }
    let broken = instance.ask("PUT /v1/config", &[JSON], b"{\"value\":\"\xff\"}");
    assert_eq!(broken.slug(), "bad-json");
    let answer = instance.put("{\"value\": }");
    let expected = concat!(
        r#"{"column":11,"detail":"expected a value","line":1,"status":400,"title":"Bad json","#,
        r#""type":"urn:hotshoe:config:bad-json"}"#,
        "\n"
    );
    assert_eq!(answer.text(), expected);
    assert_eq!(answer.body.len(), 120);
    let answer = instance.put(r#"{"value":"x"}"#);
    let expected = concat!(
        r#"{"column":10,"detail":"\"x\" is not of type \"integer\"","line":1,"pointer":"/value","#,
        r#""status":422,"title":"Schema violation","type":"urn:hotshoe:config:schema-violation"}"#,
        "\n"
    );
    assert_eq!(answer.text(), expected);
    assert_eq!(instance.state(), before);
}

#[test]
fn c18_pointers_reach_every_key() {
    let initial = json!({"a/b": 1, "m~n": 2, "": {"": 3}, "ü": [4, [5]]});
    let instance = start(json!({"initial": initial}));
    instance.store.open.store(true, Ordering::Relaxed);
    for (path, expected) in [
        ("", "{\"\":{\"\":3},\"a/b\":1,\"m~n\":2,\"ü\":[4,[5]]}\n"),
        ("/", "{\"\":3}\n"),
        ("//", "3\n"),
        ("/a%2Fb", "1\n"),
        ("/a~1b", "1\n"),
        ("/m~0n", "2\n"),
        ("/%C3%BC/1/0", "5\n"),
    ] {
        let answer = instance.get(&format!("/v1/config{path}"));
        assert_eq!(answer.text(), expected, "{path}");
        assert_eq!(answer.header("etag"), Some("\"1\""));
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    for (path, slug) in [
        ("/~2", "bad-pointer"),
        ("/%zz", "bad-pointer"),
        ("/none", "pointer-not-found"),
        ("/%C3%BC/2", "pointer-not-found"),
        ("?x=1", "unknown-query"),
    ] {
        assert_eq!(
            instance.get(&format!("/v1/config{path}")).slug(),
            slug,
            "{path}"
        );
    }
    assert_eq!(
        instance.ask("PUT /v1/config/m~0n", &[JSON], b"7").status,
        200
    );
    assert_eq!(instance.get("/v1/config/m~0n").text(), "7\n");
}

#[test]
fn a_known_tag_saves_the_body() {
    let instance = standard();
    let mut client = instance.client();
    for (tag, status) in [
        ("\"1\"", 304),
        ("W/\"1\"", 304),
        ("*", 304),
        ("\"2\"", 200),
        ("1", 400),
    ] {
        client.send_request("GET /v1/config", &[&format!("if-none-match: {tag}")], b"");
        let answer = client.answer();
        assert_eq!(answer.status, status, "{tag}");
        if status == 304 {
            assert_eq!(answer.header("etag"), Some("\"1\""));
            assert_eq!(answer.header("hotshoe-generation"), Some("1"));
        }
    }
    client.send_request("HEAD /v1/config", &[], b"");
    let head = client.answer_without_body();
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("13"))
    );
    client.send_request("GET /v1/config", &[], b"");
    assert_eq!(client.answer().text(), "{\"value\":10}\n");
}

#[test]
fn c23_other_media_types_are_refused() {
    let instance = standard();
    let before = instance.state();
    let body = br#"{"value":1}"#;
    for headers in [
        &[][..],
        &["content-type: application/x-www-form-urlencoded"],
        &["content-type: text/plain"],
        &[JSON, "content-encoding: gzip"],
    ] {
        let answer = instance.ask("PUT /v1/config", headers, body);
        assert_eq!(
            (answer.status, answer.slug().as_str()),
            (415, "unsupported-media-type")
        );
    }
    let form = instance.ask(
        "PUT /v1/config",
        &["content-type: application/x-www-form-urlencoded"],
        body,
    );
    let expected = concat!(
        r#"{"detail":"Content-Type is application/x-www-form-urlencoded","hint":"add -H 'Content-Type: application/json'","#,
        r#""status":415,"title":"Unsupported media type","type":"urn:hotshoe:config:unsupported-media-type"}"#,
        "\n"
    );
    assert_eq!(form.text(), expected);
    let patch = instance.ask("PATCH /v1/config", &[JSON], body);
    let accepted = Some("application/json-patch+json, application/merge-patch+json");
    assert_eq!(
        (patch.status, patch.header("accept-patch")),
        (415, accepted)
    );
    let touch = instance.ask("POST /v1/touch", &[JSON], b"{}");
    assert_eq!(touch.slug(), "unsupported-media-type");
    assert_eq!(instance.state(), before);
}

#[test]
fn c24_dry_runs_change_nothing() {
    let instance = standard();
    let before = instance.state();
    for (query, slug) in [
        ("dryrun=true", "unknown-query"),
        ("dry_run=1", "bad-query"),
        ("dry_run=true&dry_run=true", "bad-query"),
        ("dry_run=true&confirm=60s", "bad-query"),
        ("scope=fleet", "scope-not-available"),
    ] {
        let answer = instance.ask(
            &format!("PUT /v1/config?{query}"),
            &[JSON],
            br#"{"value":1}"#,
        );
        assert_eq!(answer.slug(), slug, "{query}");
    }
    let good = instance.ask("PUT /v1/config?dry_run=true", &[JSON], br#"{"value":1}"#);
    assert_eq!(
        good.text(),
        "{\"changed\":true,\"dry_run\":true,\"generation\":1,\"patch\":[]}\n"
    );
    let bad = instance.ask("PUT /v1/config?dry_run=true", &[JSON], b"{}");
    assert_eq!(bad.status, 422);
    assert_eq!(instance.state(), before);
}

#[test]
fn c20_c32_reset_rollback_and_history() {
    let instance = standard();
    for value in [1, 2, 3] {
        assert_eq!(instance.put(&format!("{{\"value\":{value}}}")).status, 200);
    }
    let reset = instance.ask("DELETE /v1/config", &[], b"");
    assert_eq!((reset.status, &reset.json()["op"]), (200, &"reset".into()));
    assert_eq!(instance.state(), (5, r#"{"value":10}"#.to_owned()));
    let back = instance.ask("POST /v1/rollback", &[JSON], b"{\"to\":2}");
    assert_eq!((back.status, &back.json()["generation"]), (200, &6.into()));
    assert_eq!(instance.state().1, r#"{"value":1}"#);
    for to in ["99", "0"] {
        let answer = instance.ask(
            "POST /v1/rollback",
            &[JSON],
            format!("{{\"to\":{to}}}").as_bytes(),
        );
        assert_eq!(answer.slug(), "generation-not-found", "{to}");
    }
    assert_eq!(instance.ask("POST /v1/rollback", &[], b"").status, 200);
    assert_eq!(instance.state().1, r#"{"value":10}"#);

    let page = instance.get("/v1/history?limit=2").json();
    let generations: Vec<_> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["generation"])
        .collect();
    assert_eq!(generations, [7, 6]);
    assert_eq!(
        (&page["newest"], &page["next"], &page["oldest"]),
        (&7.into(), &6.into(), &1.into())
    );
    let last = instance.get("/v1/history?before=3").json();
    assert_eq!(
        (last["items"].as_array().unwrap().len(), &last["next"]),
        (2, &Value::Null)
    );
    let none = instance.get("/v1/history?before=0").json();
    assert_eq!(none["items"], json!([]));

    let entry = instance.get("/v1/history/3");
    assert_eq!(
        (&entry.json()["op"], &entry.json()["value"]),
        (&"put".into(), &json!({"value": 2}))
    );
    for (path, slug) in [
        ("0", "generation-not-found"),
        ("8", "generation-not-found"),
        ("18446744073709551615", "generation-not-found"),
        ("01", "bad-query"),
        ("+1", "bad-query"),
        ("x", "bad-query"),
    ] {
        assert_eq!(
            instance.get(&format!("/v1/history/{path}")).slug(),
            slug,
            "{path}"
        );
    }
}

#[test]
fn the_schema_health_and_status_are_told() {
    let instance = standard();
    let schema = instance.get("/v1/schema");
    assert_eq!(
        schema.header("content-type"),
        Some("application/schema+json")
    );
    assert_eq!(schema.json()["properties"]["value"]["type"], "integer");
    assert_eq!(instance.get("/healthz").text(), "ok\n");
    assert_eq!(instance.get("/readyz").text(), "ready\n");
    instance.put(r#"{"value":1}"#);
    let status = instance.get("/v1/status").json();
    let members: Vec<&str> = status
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        members,
        [
            "confirm",
            "connections",
            "durable",
            "generation",
            "history",
            "listen",
            "plugin",
            "profile",
            "readers",
            "started_at",
            "state",
            "store",
            "version",
            "warnings",
            "watchers"
        ]
    );
    assert_eq!(
        (&status["generation"], &status["state"]),
        (&2.into(), &"ready".into())
    );
    assert_eq!(
        (&status["history"]["newest"], &status["history"]["oldest"]),
        (&2.into(), &1.into())
    );
    assert!(status["history"]["bytes"].as_u64().unwrap() > 20);
    assert_eq!(status["warnings"], json!(["loopback-open"]));
    let port = instance.address.port();
    let urls = [
        format!("http://127.0.0.1:{port}"),
        format!("http://[::1]:{port}"),
    ];
    assert_eq!(status["listen"], json!(urls));
    assert_eq!(
        instance.get("/v1/status").json()["history"],
        status["history"]
    );

    instance.app.phase.set_leaving();
    let leaving = instance.get("/readyz");
    assert_eq!(
        (leaving.status, leaving.slug().as_str()),
        (503, "not-ready")
    );
    assert_eq!(leaving.json()["reasons"], json!(["stopping"]));
    assert_eq!(leaving.header("retry-after"), Some("1"));
    assert_eq!(instance.get("/v1/status").json()["state"], "stopping");
}

#[test]
fn c49_a_token_is_wanted_everywhere_but_for_health() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    let token = "t".repeat(32);
    fs::write(&path, &token).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let instance = start(json!({"listen": ["0.0.0.0:0"], "token_file": path}));
    let address = SocketAddr::from(([127, 0, 0, 1], instance.address.port()));
    let ask = |target: &str, headers: &[&str]| {
        let mut client = Client::tcp(address);
        client.send_request(target, headers, b"");
        client.answer()
    };
    let without = ask("GET /v1/config", &[]);
    assert_eq!(
        (without.status, without.slug().as_str()),
        (401, "token-required")
    );
    assert_eq!(without.header("www-authenticate"), Some("Bearer"));
    let wrong = ask(
        "GET /v1/config",
        &[&format!("authorization: Bearer {}", "u".repeat(32))],
    );
    assert_eq!(
        (wrong.status, wrong.slug().as_str()),
        (401, "token-invalid")
    );
    assert_eq!(ask("GET /nowhere", &[]).status, 401);
    let right = ask(
        "GET /v1/config",
        &[&format!("authorization: bearer {token}")],
    );
    assert_eq!(right.status, 200);
    assert_eq!(ask("GET /healthz", &[]).status, 200);
    assert_eq!(ask("GET /readyz", &[]).status, 200);
    assert_eq!(instance.app.warnings(), Vec::<&str>::new());
}

#[test]
fn a_panic_in_a_handler_is_an_answer() {
    let instance = standard();
    instance.store.panics.store(true, Ordering::Relaxed);
    let answer = instance.get("/v1/config");
    assert_eq!((answer.status, answer.slug().as_str()), (500, "internal"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    instance.store.panics.store(false, Ordering::Relaxed);
    assert_eq!(instance.get("/v1/config").status, 200);
}
