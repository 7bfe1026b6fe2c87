//! Changes of a part: C18 to C22.

use super::*;

/// C18: raw path, percent-decoding, then RFC 6901.
#[test]
fn c18_a_pointer_reaches_every_key() {
    let integer = json!({"type": "integer"});
    let inner = json!({
        "type": "object", "properties": {"": integer}, "additionalProperties": false,
    });
    let schema = json!({
        "type": "object",
        "properties": {"a/b": integer, "m~n": integer, "": inner, "ü": integer},
        "additionalProperties": false,
    });
    let initial = r#"{ "a/b" = 1, "m~n" = 2, "" = { "" = 3 }, "ü" = 4 }"#;
    let setup = with_schema(&schema, initial);
    let served = Served::start(&setup);
    for (path, value) in [
        ("/a%2Fb", "1"),
        ("/a%2fb", "1"),
        ("/a~1b", "1"),
        ("/a%7E1b", "1"),
        ("/m~0n", "2"),
        ("/", "{\"\":3}"),
        ("//", "3"),
        ("/%C3%BC", "4"),
    ] {
        let response = served.get(&format!("/v1/config{path}"));
        let found = (response.status, response.text());
        assert_eq!(found, (200, format!("{value}\n")), "{path}");
        assert_eq!(response.header("etag"), Some("\"1\""));
    }
    for path in ["/~2", "/%zz", "/~", "/%C3", "/%", "/%FF"] {
        let response = served.get(&format!("/v1/config{path}"));
        problem(&response, 400, "bad-pointer");
    }
    served.unchanged(|| {
        problem(&served.put_at("/~2", "7"), 400, "bad-pointer");
        let removed = served.ask("DELETE", "/v1/config/none", &[], NO_BODY);
        problem(&removed, 404, "pointer-not-found");
    });
    for path in ["/a", "/a/b", "///", "/m~n%00"] {
        let response = served.get(&format!("/v1/config{path}"));
        match path {
            "/m~n%00" => drop(problem(&response, 400, "bad-pointer")),
            _ => drop(problem(&response, 404, "pointer-not-found")),
        }
    }
    changed(&served.put_at("/a~1b", "7"), "put", 2);
    changed(&served.put_at("//", "8"), "put", 3);
    assert_eq!(
        served.value(),
        "{\"\":{\"\":8},\"a/b\":7,\"m~n\":2,\"ü\":4}"
    );
}

#[test]
fn c18_without_an_empty_key_the_slash_leads_nowhere() {
    let setup = alone(standard());
    let served = Served::start(&setup);
    served.unchanged(|| {
        problem(&served.get("/v1/config/"), 404, "pointer-not-found");
        problem(&served.get("/v1/config/value/"), 404, "pointer-not-found");
        problem(&served.get("/v1/Config"), 404, "no-such-route");
        problem(&served.get("/v1/touch/"), 404, "no-such-route");
    });
}

/// C19.
#[test]
fn c19_elements_are_appended_and_replaced() {
    let schema = json!({
        "type": "object",
        "properties": {"list": {"type": "array", "items": {"type": "integer"}}},
        "additionalProperties": false,
    });
    let setup = with_schema(&schema, "{ list = [1, 2] }");
    let served = Served::start(&setup);
    changed(&served.put_at("/list/-", "3"), "put", 2);
    assert_eq!(served.value(), r#"{"list":[1,2,3]}"#);
    changed(&served.put_at("/list/0", "4"), "put", 3);
    assert_eq!(served.value(), r#"{"list":[4,2,3]}"#);
    served.unchanged(|| {
        for index in ["3", "01", "-1", "1e0", "18446744073709551616"] {
            let response = served.put_at(&format!("/list/{index}"), "5");
            let json = problem(&response, 404, "pointer-not-found");
            assert_eq!(json["pointer"], format!("/list/{index}"));
        }
        problem(&served.put_at("/none/0", "5"), 404, "pointer-not-found");
    });
    let removed = served.ask("DELETE", "/v1/config/list/1", &[], NO_BODY);
    changed(&removed, "delete", 4);
    assert_eq!(served.value(), r#"{"list":[4,3]}"#);
}

/// C20.
#[test]
fn c20_what_is_required_stays_and_the_root_starts_anew() {
    let setup = alone(standard());
    let served = Served::start(&setup);
    changed(&served.put(r#"{"value":77}"#), "put", 2);
    served.unchanged(|| {
        let response = served.ask("DELETE", "/v1/config/value", &[], NO_BODY);
        let json = problem(&response, 422, "schema-violation");
        assert_eq!(json["pointer"], "");
        let response = served.ask("PATCH", "/v1/config", &[MERGE_PATCH], b"{\"value\":null}");
        problem(&response, 422, "schema-violation");
    });
    let response = served.ask("DELETE", "/v1/config", &[], NO_BODY);
    changed(&response, "reset", 3);
    assert_eq!(served.value(), r#"{"value":10}"#);
}

/// C21.
#[test]
fn c21_a_patch_is_all_or_nothing() {
    let setup = alone(standard());
    let served = Served::start(&setup);
    changed(&served.put(r#"{"value":20}"#), "put", 2);
    let patch = |body: Value| {
        let body = body.to_string();
        served.ask("PATCH", "/v1/config", &[JSON_PATCH], body.as_bytes())
    };
    let replace = |value: u64| json!({"op": "replace", "path": "/value", "value": value});
    let test = |value: Value| json!({"op": "test", "path": "/value", "value": value});
    served.unchanged(|| {
        let third = json!([replace(1), replace(2), {"op": "remove", "path": "/none"}]);
        let json = problem(&patch(third), 409, "patch-path-missing");
        assert_eq!(json["operation"], 2);
        let json = problem(&patch(json!([test(json!(21))])), 409, "patch-test-failed");
        assert_eq!(json["operation"], 0);
        let third = json!([replace(1), replace(2), test(json!(3))]);
        let json = problem(&patch(third), 409, "patch-test-failed");
        assert_eq!(json["operation"], 2);
        for bad in [
            json!({}),
            json!([1]),
            json!([{"op": "jump", "path": ""}]),
            json!([{"op": "add", "path": "/value"}]),
        ] {
            problem(&patch(bad), 400, "bad-patch");
        }
        let many = json!(vec![replace(1); 1_001]);
        problem(&patch(many), 400, "bad-patch");
    });
    // By value, not by representation.
    let body = br#"[{"op":"test","path":"/value","value":20.0},{"op":"replace","path":"/value","value":21}]"#;
    let response = served.ask("PATCH", "/v1/config", &[JSON_PATCH], body);
    changed(&response, "json-patch", 3);
    assert_eq!(served.value(), r#"{"value":21}"#);
    changed(&patch(json!(vec![replace(22); 1_000])), "json-patch", 4);
}

/// C22: what would double forty times is stopped as soon as it is too large.
#[test]
fn c22_a_patch_cannot_grow_without_end() {
    const GROWTH_KIB: u64 = 32 << 10;
    let schema = json!({
        "type": "object",
        "additionalProperties": {"type": "array", "items": {}},
    });
    let item = "x".repeat(1_000);
    let setup = with_schema(&schema, &format!("{{ list = [{item:?}] }}"));
    let served = Served::start(&setup);
    let copy = json!({"op": "copy", "from": "", "path": "/list/-"});
    let copies = json!(vec![copy; 40]).to_string();
    served.unchanged(|| {
        let before = hotshoe_tests::memory::peak_bytes(served.host.pid()).unwrap() / 1024;
        let response = served.ask("PATCH", "/v1/config", &[JSON_PATCH], copies.as_bytes());
        problem(&response, 413, "document-too-large");
        let grown = hotshoe_tests::memory::peak_bytes(served.host.pid()).unwrap() / 1024 - before;
        assert!(grown < GROWTH_KIB, "{grown} KiB");
    });
}
