//! What is no good value: C12 to C17. Every refusal says where, and changes nothing.

use super::*;

/// C12.
#[test]
fn c12_an_equal_value_is_no_change() {
    let setup = alone(standard());
    let served = Served::start(&setup);
    let equal = "{\"changed\":false,\"confirm\":null,\"durable\":true,\"generation\":1,\"op\":\"put\",\"parent\":0}\n";
    served.unchanged(|| {
        for body in ["{\"value\":10}", " {\r\n\t\"value\" : 10 } \n"] {
            let response = served.put(body);
            assert_eq!((response.status, response.text().as_str()), (200, equal));
            assert_eq!(response.header("hotshoe-generation"), Some("1"));
        }
    });
}

#[test]
fn c12_the_order_of_members_is_no_difference() {
    let schema = json!({
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "array"}, "ä": {"type": "string"}},
        "additionalProperties": false,
    });
    let setup = with_schema(&schema, r#"{ b = [1, 2], a = 1, "ä" = "é\n" }"#);
    let served = Served::start(&setup);
    assert_eq!(served.value(), "{\"a\":1,\"b\":[1,2],\"ä\":\"é\\n\"}");
    served.unchanged(|| {
        let body = r#"{ "\u00e4": "\u00e9\u000a", "b": [ 1, 2 ], "\u0061": 1 }"#;
        let response = served.put(body);
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(response.json()["changed"], false);
    });
}

/// C13: not one JSON text; line and column of the byte at fault, of the last one where the end came too early.
#[test]
fn c13_what_is_no_json_is_told_where() {
    let setup = alone(standard());
    let served = Served::start(&setup);
    served.unchanged(|| {
        for (body, line, column) in [
            (&b""[..], 1, 0),
            (b"{", 1, 1),
            (b"{\n", 2, 0),
            (b"{\"value\":1}x", 1, 12),
            (b"{\"value\":\n 1}\n x", 3, 2),
            (b"\xef\xbb\xbf{\"value\":1}", 1, 1),
            (b"{\"value\":\"\xff\"}", 1, 11),
            (b"{\"value\":\"\\ud800\"}", 1, 11),
            (b"{\"value\": }", 1, 11),
            (b"{\"value\":1,}", 1, 12),
            (b"{'value':1}", 1, 2),
            (b"{\"value\":01}", 1, 11),
            (b"{\"value\":NaN}", 1, 10),
            (b"{\"value\":1", 1, 10),
        ] {
            let response = served.ask("PUT", "/v1/config", &[JSON], body);
            let json = problem(&response, 400, "bad-json");
            let place = (json["line"].as_u64(), json["column"].as_u64());
            let shown = String::from_utf8_lossy(body);
            assert_eq!(place, (Some(line), Some(column)), "{shown:?}: {json}");
        }
    });
}

/// C14.
#[test]
fn c14_a_name_twice_is_refused_at_the_second() {
    let setup = alone(standard());
    let served = Served::start(&setup);
    served.unchanged(|| {
        for body in [
            r#"{"value":10,"value":11}"#,
            r#"{"value":10,"v\u0061lue":10}"#,
        ] {
            let json = problem(&served.put(body), 400, "duplicate-key");
            assert_eq!((&json["line"], &json["column"]), (&json!(1), &json!(13)));
        }
    });
}

/// C15.
#[test]
fn c15_numbers_and_nesting_have_an_end() {
    let setup = alone(standard());
    let mut served = Served::start(&setup);
    served.unchanged(|| {
        for number in ["18446744073709551616", "1e999", "-9223372036854775809"] {
            let body = format!("{{\"value\":{number}}}");
            let json = problem(&served.put(&body), 400, "number-out-of-range");
            assert_eq!((&json["line"], &json["column"]), (&json!(1), &json!(10)));
        }
        let nested = "[".repeat(65) + &"]".repeat(65);
        for body in [nested, "[".repeat(1_000_000)] {
            let json = problem(&served.put(&body), 400, "too-deep");
            assert_eq!((&json["line"], &json["column"]), (&json!(1), &json!(65)));
        }
        let deepest = "[".repeat(64) + &"]".repeat(64);
        problem(&served.put(&deepest), 422, "schema-violation");
    });
    served.host.stop();
}

/// C16.
#[test]
fn c16_what_the_schema_refuses_is_pointed_at() {
    let setup = alone(standard());
    let served = Served::start(&setup);
    served.unchanged(|| {
        for (body, pointer, column) in [
            (r#"{"value":1,"valeu":2}"#, "/valeu", 20),
            ("{}", "", 1),
            (r#"{"value":10.0}"#, "/value", 10),
            (r#"{"value":"x"}"#, "/value", 10),
            ("10", "", 1),
            (r#"{"value":9223372036854775808}"#, "/value", 10),
        ] {
            let json = problem(&served.put(body), 422, "schema-violation");
            assert_eq!(json["pointer"], pointer, "{body}: {json}");
            let place = (&json["line"], &json["column"]);
            assert_eq!(place, (&json!(1), &json!(column)), "{body}: {json}");
            assert_eq!(json.get("errors"), None, "there is only one: {json}");
        }
    });
}

/// C17.
#[test]
fn c17_all_wrong_fields_are_told_in_order() {
    let integer = json!({"type": "integer"});
    let schema = json!({
        "type": "object",
        "properties": {"x": integer, "a": integer, "b": {"type": "string"}},
        "additionalProperties": false,
    });
    let setup = with_schema(&schema, r#"{ a = 1, b = "b", x = 2 }"#);
    let served = Served::start(&setup);
    let body = "{\n  \"x\": \"one\",\n  \"b\": 2,\n  \"a\": [3]\n}\n";
    let json = served.unchanged(|| problem(&served.put(body), 422, "schema-violation"));
    let errors = json["errors"].as_array().unwrap();
    let places: Vec<_> = errors
        .iter()
        .map(|error| {
            assert!(error["detail"].is_string(), "{error}");
            let pointer = error["pointer"].as_str().unwrap();
            (pointer, error["line"].as_u64(), error["column"].as_u64())
        })
        .collect();
    assert_eq!(
        places,
        [
            ("/x", Some(2), Some(8)),
            ("/b", Some(3), Some(8)),
            ("/a", Some(4), Some(8)),
        ]
    );
    assert_eq!(json["line"], 2, "the first one is the headline's");
    assert_eq!(json["pointer"], "/x");
}
