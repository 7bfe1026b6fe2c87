//! Provisional changes and what takes them back (C25 to C31), the worked examples as a whole (C9), differences (C32).

use super::{script::*, watch::Watcher, *};
use std::time::{Duration, Instant};

fn put_with(served: &Served<'_>, query: &str, tag: Option<&str>, value: i64) -> http::Response {
    let mut headers = vec![JSON];
    headers.extend(tag.map(|tag| ("If-Match", tag)));
    let body = format!("{{\"value\":{value}}}");
    let path = format!("/v1/config{query}");
    served.ask("PUT", &path, &headers, body.as_bytes())
}

fn confirm(served: &Served<'_>, body: &str) -> http::Response {
    let headers: &[(&str, &str)] = if body.is_empty() { &[] } else { &[JSON] };
    served.ask("POST", "/v1/confirm", headers, body.as_bytes())
}

fn marks(served: &Served<'_>) -> Vec<Value> {
    let items = served.get("/v1/history").json()["items"].clone();
    let marks = items.as_array().unwrap().iter().rev();
    marks.map(|item| item["confirm"].clone()).collect()
}

/// C9, whole: with `state = "dir"`, so that every change says that it is durable.
#[test]
fn c09_the_worked_examples_answer_as_written_when_durable() {
    let entry = Entry::of(INSTANCE, artifacts::library("hotshoe-dynamic-config"))
        .set("listen = [\"127.0.0.1:0\", \"[::1]:0\"]")
        .set("profile = \"quickstart\"")
        .set("state = \"dir\"");
    let setup = alone(entry);
    let served = Served::start(&setup);
    let json = "Content-Type: application/json";
    assert_shown(
        &shown(&served, "", &[]),
        2,
        "the latest configuration is 20",
    );
    let read = shown(&served, "/v1/config", &[]);
    assert_shown(&read, 2, r#"{"value":20}"#);
    assert_eq!(read.header("etag"), Some("\"2\""));
    let body = r#"{"value":42}"#;
    let put = ["-X", "PUT", "-H", json, "-H", "If-Match: \"2\"", "-d", body];
    assert_shown(
        &shown(&served, "/v1/config", &put),
        3,
        r#"{"changed":true,"confirm":null,"durable":true,"generation":3,"op":"put","parent":2}"#,
    );
    let stale = shown(&served, "/v1/config", &put);
    assert_eq!(stale.header("hotshoe-generation"), Some("3"));
    assert_refused(
        &stale,
        r#"{"detail":"","generation":3,"hint":"","status":412,"title":"Generation mismatch","type":"urn:hotshoe:config:generation-mismatch"}"#,
    );
    for (body, refusal) in [
        (
            r#"{"value": }"#,
            r#"{"column":11,"detail":"","line":1,"status":400,"title":"Bad json","type":"urn:hotshoe:config:bad-json"}"#,
        ),
        (
            r#"{"value":"x"}"#,
            r#"{"column":10,"detail":"","line":1,"pointer":"/value","status":422,"title":"Schema violation","type":"urn:hotshoe:config:schema-violation"}"#,
        ),
    ] {
        let put = ["-X", "PUT", "-H", json, "-d", body];
        assert_refused(&shown(&served, "/v1/config", &put), refusal);
    }
    let dry = ["-X", "PUT", "-H", json, "-d", "43"];
    assert_shown(
        &shown(&served, "/v1/config/value?dry_run=true", &dry),
        3,
        r#"{"changed":true,"dry_run":true,"generation":3,"patch":[{"op":"replace","path":"/value","value":43}]}"#,
    );
    let merge = "Content-Type: application/merge-patch+json";
    let patch = ["-X", "PATCH", "-H", merge, "-d", r#"{"value":7}"#];
    let waits = shown(&served, "/v1/config?confirm=60s", &patch);
    let deadline = waits.json()["confirm"]["deadline"].clone();
    let expected = format!(
        "{{\"changed\":true,\"confirm\":{{\"base\":3,\"deadline\":{deadline}}},\"durable\":true,\"generation\":4,\"op\":\"merge-patch\",\"parent\":3}}"
    );
    assert_shown(&waits, 4, &expected);
    assert_eq!(deadline.as_str().unwrap().len(), 27);
    assert_shown(
        &shown(&served, "/v1/confirm", &["-X", "POST"]),
        4,
        r#"{"confirmed":true,"generation":4}"#,
    );
    let back = ["-X", "POST", "-H", json, "-d", r#"{"to":2}"#];
    assert_shown(
        &shown(&served, "/v1/rollback", &back),
        5,
        r#"{"changed":true,"confirm":null,"durable":true,"generation":5,"op":"rollback","parent":4}"#,
    );
    let diff = shown(&served, "/v1/diff?from=3&to=5", &[]);
    let expected =
        "{\"from\":3,\"patch\":[{\"op\":\"replace\",\"path\":\"/value\",\"value\":20}],\"to\":5}\n";
    assert_eq!((diff.status, diff.text().as_str()), (200, expected));
    let page = shown(&served, "/v1/history?limit=2", &[]);
    let items = page.json()["items"].clone();
    let expected = format!(
        "{{\"items\":[{{\"at\":{},\"by\":\"tcp:127.0.0.1\",\"confirm\":null,\"from\":2,\"generation\":5,\"op\":\"rollback\",\"parent\":4}},{{\"at\":{},\"by\":\"tcp:127.0.0.1\",\"confirm\":\"confirmed\",\"generation\":4,\"op\":\"merge-patch\",\"parent\":3}}],\"newest\":5,\"next\":4,\"oldest\":1}}\n",
        items[0]["at"], items[1]["at"]
    );
    assert_eq!((page.status, page.text()), (200, expected));
    served.unchanged(|| {
        let page = shown(&served, "", &["-H", "Origin: http://evil.example"]);
        problem(&page, 403, "browser-refused");
        let form = ["-X", "PUT", "-d", r#"{"value":1}"#];
        let form = shown(&served, "/v1/config", &form);
        problem(&form, 415, "unsupported-media-type");
    });
}

/// C25.
#[test]
fn c25_a_plugin_may_veto_and_its_faults_are_refusals() {
    let setup = Setup::new();
    let gate = setup.gate("check");
    let veto = setup
        .misbehave("veto")
        .key("checks = [\"dynamic-config\"]")
        .act(r#"hook = "check", crime = "veto", word = ":13}", text = "13 is unlucky", name = "/value""#)
        .act(r#"hook = "check", crime = "panic", word = ":14}", text = "told to""#)
        .act(&format!("{}, word = \":15}}\"", gate.act("check")));
    setup.entries("", &[veto, standard()]);
    let served = Served::start(&setup);
    served.unchanged(|| {
        let vetoed = problem(&served.put(r#"{"value":13}"#), 422, "plugin-veto");
        assert_eq!(vetoed["detail"], "13 is unlucky");
        assert_eq!(
            (&vetoed["pointer"], &vetoed["column"]),
            (&json!("/value"), &json!(10))
        );
        problem(
            &put_with(&served, "?dry_run=true", None, 13),
            422,
            "plugin-veto",
        );
        problem(&served.put(r#"{"value":14}"#), 500, "veto-panicked");
        let begun = Instant::now();
        let late = served.put(r#"{"value":15}"#);
        problem(&late, 503, "veto-timeout");
        assert!(late.header("retry-after").is_some());
        assert!(
            begun.elapsed() < Duration::from_secs(15),
            "{:?}",
            begun.elapsed()
        );
    });
    gate.open();
    changed(&served.put(r#"{"value":16}"#), "put", 2);
}

/// C26.
#[test]
fn c26_without_a_confirmation_the_old_value_comes_back() {
    let setup = alone(standard());
    let served = Served::start(&setup);
    let mut watcher = Watcher::open(&served, "", &[("Last-Event-ID", "1")]);
    let begun = Instant::now();
    let response = put_with(&served, "?confirm=5s", None, 42);
    assert_eq!(response.json()["confirm"]["base"], 1);
    watcher.config(2, "put");
    let status = served.get("/v1/status").json();
    assert_eq!(
        (&status["confirm"]["base"], &status["confirm"]["generation"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(served.value(), r#"{"value":42}"#);
    let back = watcher.config(3, "auto-rollback");
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(5), "{took:?}");
    assert_eq!(back["reason"], "deadline");
    assert_eq!(served.value(), r#"{"value":10}"#);
    assert_eq!(marks(&served), [Value::Null, json!("expired"), Value::Null]);
    assert_eq!(served.get("/v1/status").json()["confirm"], Value::Null);
    let metrics = served.get("/metrics").text();
    assert!(
        metrics.contains("changes_total{op=\"auto-rollback\",result=\"changed\"} 1\n"),
        "{metrics}"
    );
}

/// C27.
#[test]
fn c27_a_confirmed_change_stays() {
    let setup = alone(standard());
    let served = Served::start(&setup);
    let mut watcher = Watcher::open(&served, "", &[("Last-Event-ID", "1")]);
    put_with(&served, "?confirm=10s", None, 42);
    watcher.config(2, "put");
    watcher.quiet_for(Duration::from_secs(1));
    let response = confirm(&served, "");
    let expected = "{\"confirmed\":true,\"generation\":2}\n";
    assert_eq!((response.status, response.text().as_str()), (200, expected));
    let event = watcher.event();
    assert_eq!((event.name.as_str(), event.id), ("confirm", None));
    assert_eq!(event.data, json!({"generation": 2, "result": "confirmed"}));
    watcher.quiet_for(Duration::from_secs(10));
    assert_eq!(served.value(), r#"{"value":42}"#);
    served.unchanged(|| problem(&confirm(&served, ""), 409, "nothing-to-confirm"));
    assert_eq!(marks(&served), [Value::Null, json!("confirmed")]);
}

/// C28.
#[test]
fn c28_while_one_change_waits_no_other_is_taken() {
    let setup = alone(standard());
    let served = Served::start(&setup);
    put_with(&served, "?confirm=60s", None, 42);
    assert_eq!(marks(&served), [Value::Null, json!("pending")]);
    served.unchanged(|| {
        for response in [
            served.put(r#"{"value":1}"#),
            served.touch(),
            put_with(&served, "?confirm=60s", None, 1),
            put_with(&served, "?confirm=60s", Some("*"), 1),
            put_with(&served, "", Some("\"2\""), 1),
        ] {
            let json = problem(&response, 409, "confirm-pending");
            assert_eq!(json["generation"], 2);
            let after: u64 = response.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=60).contains(&after), "{after}");
        }
        problem(
            &put_with(&served, "?confirm=60s", Some("\"1\""), 1),
            412,
            "generation-mismatch",
        );
        problem(
            &confirm(&served, r#"{"generation":1}"#),
            412,
            "generation-mismatch",
        );
        problem(
            &confirm(&served, r#"{"generation":"2"}"#),
            422,
            "schema-violation",
        );
        assert_eq!(put_with(&served, "?dry_run=true", None, 1).status, 200);
    });
    // A rollback without a target, while something waits, is the way back.
    let back = served.ask("POST", "/v1/rollback", &[], NO_BODY);
    changed(&back, "rollback", 3);
    assert_eq!(served.value(), r#"{"value":10}"#);
    assert_eq!(
        marks(&served),
        [Value::Null, json!("cancelled"), Value::Null]
    );
    let same = put_with(&served, "?confirm=60s", None, 10).json();
    assert_eq!(
        (&same["changed"], &same["confirm"]),
        (&json!(false), &Value::Null)
    );
}

/// C29.
#[test]
fn c29_a_changed_trial_goes_back_to_the_first_base() {
    let setup = alone(standard());
    let served = Served::start(&setup);
    served.put(r#"{"value":20}"#);
    served.put(r#"{"value":30}"#);
    let mut watcher = Watcher::open(&served, "", &[("Last-Event-ID", "3")]);
    put_with(&served, "?confirm=5s", None, 40);
    let response = put_with(&served, "?confirm=5s", Some("\"4\""), 50);
    assert_eq!(response.json()["confirm"]["base"], 3);
    watcher.config(4, "put");
    watcher.config(5, "put");
    watcher.config(6, "auto-rollback");
    assert_eq!(served.value(), r#"{"value":30}"#);
    let all = [
        Value::Null,
        Value::Null,
        Value::Null,
        json!("superseded"),
        json!("expired"),
        Value::Null,
    ];
    assert_eq!(marks(&served), all);
}

/// C31, with 20 stores: each is confirmed at its deadline, give or take 5 ms.
#[test]
fn c31_confirmation_and_deadline_have_one_winner() {
    confirming::races(20);
}

/// RFC 6902, as far as a difference needs it.
fn apply(mut value: Value, patch: &Value) -> Value {
    for operation in patch.as_array().unwrap() {
        let path = operation["path"].as_str().unwrap();
        let new = operation.get("value").cloned();
        let Some((parent, last)) = path.rsplit_once('/') else {
            value = new.unwrap();
            continue;
        };
        let last = last.replace("~1", "/").replace("~0", "~");
        let op = operation["op"].as_str().unwrap();
        match (value.pointer_mut(parent).unwrap(), op) {
            (Value::Object(members), "remove") => drop(members.remove(&last).unwrap()),
            (Value::Object(members), "add") => drop(members.insert(last, new.unwrap())),
            (Value::Object(members), "replace") => *members.get_mut(&last).unwrap() = new.unwrap(),
            (Value::Array(items), "remove") => drop(items.remove(last.parse().unwrap())),
            (Value::Array(items), "add") if last == "-" => items.push(new.unwrap()),
            (Value::Array(items), "add") => items.insert(last.parse().unwrap(), new.unwrap()),
            (Value::Array(items), "replace") => {
                items[last.parse::<usize>().unwrap()] = new.unwrap()
            }
            (at, _) => panic!("{operation} at {at}"),
        }
    }
    value
}

/// C32, its second half.
#[test]
fn c32_the_difference_of_any_two_generations_leads_from_one_to_the_other() {
    let schema = json!({"type": "object", "additionalProperties": true});
    let setup = with_schema(&schema, "{}");
    let served = Served::start(&setup);
    let values = [
        json!({"a": 1, "b": [1, 2, 3], "c": {"d": null}}),
        json!({"a": 1.5, "b": [2, 3], "c": {"d": {"e~f/g": [[], {}]}}}),
        json!({"a": [1], "b": [0, 1, 2, 3, 4], "": {"": ""}}),
        json!({"b": {"0": 1}, "c": {"x": "ü", "d": true}}),
    ];
    for value in &values {
        assert_eq!(served.put(&value.to_string()).status, 200);
    }
    let newest = values.len() as u64 + 1;
    let value =
        |generation: u64| served.get(&format!("/v1/history/{generation}")).json()["value"].clone();
    for from in 1..=newest {
        for to in 1..=newest {
            let diff = served.get(&format!("/v1/diff?from={from}&to={to}")).json();
            assert_eq!((&diff["from"], &diff["to"]), (&json!(from), &json!(to)));
            assert_eq!(
                apply(value(from), &diff["patch"]),
                value(to),
                "{from} to {to}: {diff}"
            );
        }
        let open = served.get(&format!("/v1/diff?from={from}")).json();
        assert_eq!(open["to"], newest);
    }
    for (query, status, slug) in [
        ("", 400, "bad-query"),
        ("?from=0", 404, "generation-not-found"),
        ("?from=1&to=99", 404, "generation-not-found"),
        ("?from=1&to=0", 404, "generation-not-found"),
        ("?from=01", 400, "bad-query"),
    ] {
        problem(&served.get(&format!("/v1/diff{query}")), status, slug);
    }
}
