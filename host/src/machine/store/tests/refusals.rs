//! What is refused before an operation, and what the schema refuses after it, in which words and where.

use super::*;

#[test]
fn preconditions_decide_first() {
    let settings = StoreSettings {
        require_if_match: true,
        ..StoreSettings::default()
    };
    let store = store_of(&json!(true), "0", settings);
    let case = |expect, operation| {
        let change = Change {
            expect,
            ..change(operation)
        };
        store
            .evaluate(&change, NOW)
            .map(|_| ())
            .map_err(|e| (e.slug, e.detail.clone()))
    };
    let mismatch = |named| {
        Err((
            "generation-mismatch",
            format!("If-Match names {named}, the current generation is 1"),
        ))
    };
    let put = || set("", "1");
    assert_eq!(case(Expect::Any, put()), Ok(()));
    assert_eq!(case(Expect::OneOf(vec![9, 1]), put()), Ok(()));
    assert_eq!(
        case(Expect::OneOf(vec![]), put()),
        mismatch("no generation")
    );
    assert_eq!(
        case(Expect::OneOf(vec![2, 3]), put()),
        mismatch("generations 2, 3")
    );
    assert_eq!(
        case(Expect::OneOf((2..99).collect()), put()),
        mismatch("generations 2, 3, 4 and 94 more")
    );
    assert_eq!(
        case(Expect::Absent, put()).unwrap_err().0,
        "if-match-required"
    );
    let rollback = Operation::Rollback { to: None };
    assert_eq!(
        case(Expect::Absent, rollback).unwrap_err().0,
        "if-match-required"
    );
    assert_eq!(
        case(Expect::Absent, Operation::Touch).unwrap_err().0,
        "touch-disabled"
    );
    let confirm = Operation::Confirm { generation: None };
    assert_eq!(
        case(Expect::Absent, confirm).unwrap_err().0,
        "nothing-to-confirm"
    );
    // A stale precondition wins over everything the operation could be refused for.
    assert_eq!(
        case(Expect::OneOf(vec![7]), set("nonsense", "1")),
        mismatch("generation 7")
    );
}

#[test]
fn every_fault_is_named_at_its_place_in_document_order() {
    let schema = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["list"],
        "properties": {
            "list": {"type": "array", "items": {"type": "integer", "format": "int32"}},
            "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 8},
            "mode": {"enum": ["on", "off"]},
            "deep": {"type": "object", "additionalProperties": false, "required": ["x", "y"],
                     "properties": {"x": true, "y": true}},
            "free": {"type": "object", "additionalProperties": true,
                     "propertyNames": {"pattern": "^[a-z]$"}},
        },
    });
    let store = store_of(&schema, "{\"list\":[]}", StoreSettings::default());
    let faults = |document: &str| {
        let error = store.evaluate(&change(set("", document)), NOW).unwrap_err();
        assert_eq!(error.slug, "schema-violation");
        let (pointer, detail) = (error.pointer.clone().unwrap(), error.detail.clone());
        let mut all = error.into_refusal().violations;
        if all.is_empty() {
            all.push(Violation { pointer, detail });
        } else {
            assert!(all.len() > 1 && (&all[0].pointer, &all[0].detail) == (&pointer, &detail));
        }
        all.into_iter()
            .map(|v| (v.pointer, v.detail))
            .collect::<Vec<_>>()
    };
    let one = |document: &str, pointer: &str, detail: &str| {
        assert_eq!(faults(document), [(pointer.to_owned(), detail.to_owned())]);
    };
    one("{}", "", "\"list\" is a required member");
    one(
        "{\"list\":[],\"lsit\":1}",
        "/lsit",
        "unknown member \"lsit\"",
    );
    one("{\"list\":[],\"a/b\":1}", "/a~1b", "unknown member \"a/b\"");
    one(
        "{\"list\":[1.0]}",
        "/list/0",
        "1.0 does not decode into int32",
    );
    one(
        "{\"list\":[2147483648]}",
        "/list/0",
        "2147483648 does not decode into int32",
    );
    one(
        "{\"list\":[],\"name\":\"A\"}",
        "/name",
        "\"A\" does not match \"^[a-z]+$\"",
    );
    one(
        "{\"list\":[],\"mode\":1}",
        "/mode",
        "1 is not one of \"on\" or \"off\"",
    );
    one(
        "{\"list\":[],\"free\":{\"ab\":1}}",
        "/free/ab",
        "\"ab\" does not match \"^[a-z]$\"",
    );
    one("7", "", "7 is not of type \"object\"");

    let places = |document: &str| -> Vec<_> { faults(document).into_iter().map(|f| f.0).collect() };
    let elements = ["0"; 11].join(",");
    assert_eq!(
        places(&format!(
            "{{\"zz\":1,\"list\":[\"a\",{elements},\"b\"],\"deep\":{{\"q\":1}},\"name\":\"TOO LONG A NAME\"}}"
        )),
        [
            "/deep", "/deep", "/deep/q", "/list/0", "/list/12", "/name", "/name", "/zz"
        ]
    );
    let many = vec!["null"; 5_000].join(",");
    let listed = places(&format!("{{\"list\":[{many}]}}"));
    assert_eq!(listed.len(), VIOLATIONS_MAX);
    assert_eq!(listed[19], "/list/19");

    // Nothing large and nothing that moves a terminal's cursor comes back.
    let huge = "\\u001b[2J".repeat(50_000);
    for (_, detail) in faults(&format!("{{\"list\":[\"{huge}\"],\"{huge}\":1}}")) {
        assert!(detail.len() < 200 && !detail.contains('\u{1b}'), "{detail}");
    }
}

#[test]
fn the_builtin_schema_takes_one_i64() {
    let store = quickstart();
    for (document, expected) in [
        ("{\"value\":-9223372036854775808}", None),
        ("{\"value\":9223372036854775807}", None),
        ("{\"value\":9223372036854775808}", Some("/value")),
        ("{\"value\":10.0}", Some("/value")),
        ("{\"value\":-0}", Some("/value")),
        ("{\"value\":1,\"valeu\":2}", Some("/valeu")),
        ("{}", Some("")),
        ("[]", Some("")),
    ] {
        let found = store.evaluate(&change(set("", document)), NOW);
        match (found, expected) {
            (Ok(_), None) => {}
            (Err(error), Some(pointer)) => {
                assert_eq!(error.pointer.as_deref(), Some(pointer), "{document}");
                assert!(error.violations.is_empty(), "{document}: {error:?}");
            }
            (found, _) => panic!("{document}: {found:?}"),
        }
    }
}
