//! Each operation, one row a change: initial document, operation, what comes out or which refusal.

use super::{super::patch::OPERATIONS_MAX, *};

/// Evaluates `operation` on `initial` and expects this document, or this slug and pointer.
fn check(initial: &str, operation: Operation, expected: Result<&str, (&str, Option<&str>)>) {
    let mut store = anything(initial);
    let shown = format!("{operation:?}");
    let before = text(&store.current().document).to_owned();
    match (run(&mut store, &change(operation), NOW), expected) {
        (Ok(applied), Ok(expected)) => {
            assert_eq!(text(&applied.document), expected, "{shown}");
            assert_eq!(applied.changed, before != expected, "{shown}");
        }
        (Err(error), Err((slug, pointer))) => {
            assert_eq!(
                (error.slug, error.pointer.as_deref()),
                (slug, pointer),
                "{shown}"
            );
            assert_eq!(text(&store.current().document), before, "{shown}");
        }
        (found, expected) => panic!("{shown}: expected {expected:?}, found {found:?}"),
    }
}

#[test]
fn set_puts_members_elements_and_the_whole_document() {
    let missing = |pointer| Err(("pointer-not-found", Some(pointer)));
    for (initial, pointer, put, expected) in [
        (
            "{\"value\":10}",
            "",
            " { \"value\" : 10 } ",
            Ok("{\"value\":10}"),
        ),
        ("{}", "", "[1]", Ok("[1]")),
        ("{}", "/a", "1", Ok("{\"a\":1}")),
        ("{}", "/", "1", Ok("{\"\":1}")),
        (
            "{\"a\":{\"b\":1}}",
            "/a/b",
            "{\"d\":2,\"c\":1}",
            Ok("{\"a\":{\"b\":{\"c\":1,\"d\":2}}}"),
        ),
        ("{\"a/b\":1}", "/a~1b", "2", Ok("{\"a/b\":2}")),
        ("{}", "/a/b", "1", missing("/a/b")),
        ("{\"a\":1}", "/a/b", "1", missing("/a/b")),
        ("[1,2]", "/0", "3", Ok("[3,2]")),
        ("[1,2]", "/-", "3", Ok("[1,2,3]")),
        ("[]", "/-", "3", Ok("[3]")),
        ("[1,2]", "/2", "3", missing("/2")),
        ("[1,2]", "/01", "3", missing("/01")),
        ("[1,2]", "/x", "3", missing("/x")),
        ("[1,2]", "/-/a", "3", missing("/-/a")),
        ("{}", "a", "1", Err(("bad-pointer", None))),
        ("{}", "/~2", "1", Err(("bad-pointer", None))),
    ] {
        check(initial, set(pointer, put), expected);
    }
}

#[test]
fn remove_takes_members_and_elements_and_resets_the_root() {
    for (initial, pointer, expected) in [
        ("{\"a\":1,\"b\":2}", "/a", Ok("{\"b\":2}")),
        ("{\"a\":1}", "/a", Ok("{}")),
        ("[1,2,3]", "/1", Ok("[1,3]")),
        ("[1]", "/0", Ok("[]")),
        ("[1]", "/-", Err(("pointer-not-found", Some("/-")))),
        ("[1]", "/1", Err(("pointer-not-found", Some("/1")))),
        ("{}", "/a", Err(("pointer-not-found", Some("/a")))),
        (
            "{\"a\":1}",
            "/a/b",
            Err(("pointer-not-found", Some("/a/b"))),
        ),
    ] {
        check(initial, remove(pointer), expected);
    }
    let mut store = quickstart();
    apply(&mut store, Operation::Touch);
    let reset = apply(&mut store, remove(""));
    assert_eq!((reset.generation, reset.op.as_str()), (3, "reset"));
    assert_eq!(text(&reset.document), "{\"value\":10}");
    let again = apply(&mut store, Operation::Reset);
    assert_eq!(
        (again.changed, again.generation, again.parent),
        (false, 3, 2)
    );
}

#[test]
fn merge_patch_does_what_rfc_7396_says() {
    for (initial, pointer, patch, expected) in [
        ("{\"a\":\"b\"}", "", "{\"a\":\"c\"}", Ok("{\"a\":\"c\"}")),
        (
            "{\"a\":\"b\"}",
            "",
            "{\"b\":\"c\"}",
            Ok("{\"a\":\"b\",\"b\":\"c\"}"),
        ),
        ("{\"a\":\"b\"}", "", "{\"a\":null}", Ok("{}")),
        ("{\"a\":[\"b\"]}", "", "{\"a\":\"c\"}", Ok("{\"a\":\"c\"}")),
        (
            "{\"a\":\"c\"}",
            "",
            "{\"a\":[\"b\"]}",
            Ok("{\"a\":[\"b\"]}"),
        ),
        (
            "{\"a\":{\"b\":\"c\"}}",
            "",
            "{\"a\":{\"b\":\"d\",\"c\":null}}",
            Ok("{\"a\":{\"b\":\"d\"}}"),
        ),
        ("{\"e\":null}", "", "{\"a\":1}", Ok("{\"a\":1,\"e\":null}")),
        ("[1,2]", "", "{\"a\":\"b\",\"c\":null}", Ok("{\"a\":\"b\"}")),
        (
            "{}",
            "",
            "{\"a\":{\"bb\":{\"ccc\":null}}}",
            Ok("{\"a\":{\"bb\":{}}}"),
        ),
        ("{\"a\":1}", "", "null", Ok("null")),
        (
            "{\"a\":{\"b\":1}}",
            "/a",
            "{\"c\":2}",
            Ok("{\"a\":{\"b\":1,\"c\":2}}"),
        ),
        (
            "[{\"a\":1}]",
            "/0",
            "{\"a\":null,\"b\":2}",
            Ok("[{\"b\":2}]"),
        ),
        (
            "{}",
            "/a",
            "{\"c\":2}",
            Err(("pointer-not-found", Some("/a"))),
        ),
        ("[1]", "/-", "2", Err(("pointer-not-found", Some("/-")))),
    ] {
        check(initial, merge_patch(pointer, patch), expected);
    }
}

#[test]
fn json_patch_does_what_rfc_6902_says() {
    let missing = |pointer| Err(("patch-path-missing", Some(pointer)));
    let bad = Err(("bad-patch", None));
    for (initial, pointer, patch_text, expected) in [
        (
            "{\"foo\":\"bar\"}",
            "",
            r#"[{"op":"add","path":"/baz","value":"qux"}]"#,
            Ok(r#"{"baz":"qux","foo":"bar"}"#),
        ),
        (
            "[1,3]",
            "",
            r#"[{"op":"add","path":"/1","value":2}]"#,
            Ok("[1,2,3]"),
        ),
        (
            "[1]",
            "",
            r#"[{"op":"add","path":"/1","value":2},{"op":"add","path":"/-","value":[]}]"#,
            Ok("[1,2,[]]"),
        ),
        (
            "[1]",
            "",
            r#"[{"op":"add","path":"/3","value":2}]"#,
            missing("/3"),
        ),
        (
            "[1]",
            "",
            r#"[{"op":"add","path":"/01","value":2}]"#,
            missing("/01"),
        ),
        (
            "{}",
            "",
            r#"[{"op":"add","path":"/a/b","value":2}]"#,
            missing("/a/b"),
        ),
        (
            "{}",
            "",
            r#"[{"op":"add","path":"","value":[7],"extra":1}]"#,
            Ok("[7]"),
        ),
        (
            "{\"a\":1}",
            "",
            r#"[{"op":"remove","path":"/a"}]"#,
            Ok("{}"),
        ),
        (
            "{\"a\":1}",
            "",
            r#"[{"op":"remove","path":"/b"}]"#,
            missing("/b"),
        ),
        (
            "{\"a\":1}",
            "",
            r#"[{"op":"remove","path":""}]"#,
            missing(""),
        ),
        (
            "{\"a\":1}",
            "",
            r#"[{"op":"replace","path":"/a","value":null}]"#,
            Ok("{\"a\":null}"),
        ),
        (
            "{\"a\":1}",
            "",
            r#"[{"op":"replace","path":"/b","value":1}]"#,
            missing("/b"),
        ),
        (
            "[1]",
            "",
            r#"[{"op":"replace","path":"/-","value":1}]"#,
            missing("/-"),
        ),
        (
            "{\"a\":{\"x\":1},\"b\":{}}",
            "",
            r#"[{"op":"move","from":"/a/x","path":"/b/y"}]"#,
            Ok(r#"{"a":{},"b":{"y":1}}"#),
        ),
        (
            "[1,2,3]",
            "",
            r#"[{"op":"move","from":"/0","path":"/2"}]"#,
            Ok("[2,3,1]"),
        ),
        (
            "{\"a\":{\"x\":1}}",
            "",
            r#"[{"op":"move","from":"/a/x","path":""}]"#,
            Ok("1"),
        ),
        (
            "{\"a\":{\"x\":1}}",
            "",
            r#"[{"op":"move","from":"/a","path":"/a/x"}]"#,
            missing("/a/x"),
        ),
        (
            "{\"a\":1}",
            "",
            r#"[{"op":"move","from":"/a","path":"/a"}]"#,
            Ok("{\"a\":1}"),
        ),
        (
            "{\"a\":1}",
            "",
            r#"[{"op":"move","from":"/b","path":"/a"}]"#,
            missing("/b"),
        ),
        (
            "{\"a\":[1]}",
            "",
            r#"[{"op":"copy","from":"/a","path":"/a/-"}]"#,
            Ok("{\"a\":[1,[1]]}"),
        ),
        (
            "{\"a\":1}",
            "",
            r#"[{"op":"copy","from":"/b","path":"/c"}]"#,
            missing("/b"),
        ),
        (
            "{\"a\":1}",
            "",
            r#"[{"op":"copy","from":"/a","path":"/c/d"}]"#,
            missing("/c/d"),
        ),
        (
            "{\"a\":20}",
            "",
            r#"[{"op":"test","path":"/a","value":20.0}]"#,
            Ok("{\"a\":20}"),
        ),
        (
            "{\"a\":20}",
            "",
            r#"[{"op":"test","path":"/a","value":21}]"#,
            Err(("patch-test-failed", Some("/a"))),
        ),
        (
            "{\"a\":20}",
            "",
            r#"[{"op":"test","path":"/a","value":"20"}]"#,
            Err(("patch-test-failed", Some("/a"))),
        ),
        (
            "{\"a\":20}",
            "",
            r#"[{"op":"test","path":"/b","value":null}]"#,
            missing("/b"),
        ),
        (
            "{\"a\":[{\"b\":1}]}",
            "/a/0",
            r#"[{"op":"replace","path":"/b","value":2}]"#,
            Ok("{\"a\":[{\"b\":2}]}"),
        ),
        // The root of the patch is the addressed value: what is added there replaces it.
        (
            "[1,2]",
            "/0",
            r#"[{"op":"add","path":"","value":7}]"#,
            Ok("[7,2]"),
        ),
        (
            "[[1],2]",
            "/0",
            r#"[{"op":"move","from":"/0","path":""}]"#,
            Ok("[1,2]"),
        ),
        ("[1]", "/0", r#"[{"op":"remove","path":""}]"#, missing("/0")),
        ("{}", "/a", "[]", Err(("pointer-not-found", Some("/a")))),
        ("{}", "", "[]", Ok("{}")),
        ("{}", "", "{}", bad),
        ("{}", "", "[1]", bad),
        ("{}", "", r#"[{"op":"add","path":"/a"}]"#, bad),
        ("{}", "", r#"[{"op":"add","value":1}]"#, bad),
        ("{}", "", r#"[{"op":"add","path":"a","value":1}]"#, bad),
        ("{}", "", r#"[{"op":"add","path":1,"value":1}]"#, bad),
        ("{}", "", r#"[{"op":"copy","path":"/a"}]"#, bad),
        ("{}", "", r#"[{"op":"merge","path":"/a","value":1}]"#, bad),
    ] {
        check(initial, patch(pointer, patch_text), expected);
    }
}

#[test]
fn a_patch_is_all_or_nothing_and_names_the_operation_at_fault() {
    let mut store = quickstart();
    let third = patch(
        "",
        r#"[{"op":"test","path":"/value","value":10.0},{"op":"replace","path":"/value","value":1},{"op":"remove","path":"/x"}]"#,
    );
    let error = run(&mut store, &change(third), NOW).unwrap_err();
    assert_eq!(
        (error.slug, error.operation),
        ("patch-path-missing", Some(2))
    );
    // What is not a patch is refused before anything is tried.
    let fourth = patch(
        "",
        r#"[{"op":"remove","path":"/x"},{"op":"nonsense","path":""}]"#,
    );
    let error = run(&mut store, &change(fourth), NOW).unwrap_err();
    assert_eq!((error.slug, error.operation), ("bad-patch", Some(1)));
    let invalid = patch(
        "",
        r#"[{"op":"replace","path":"/value","value":1},{"op":"add","path":"/x","value":1},{"op":"test","path":"/value","value":1}]"#,
    );
    let error = run(&mut store, &change(invalid), NOW).unwrap_err();
    assert_eq!((error.slug, error.operation), ("schema-violation", Some(1)));
    assert_eq!(error.pointer.as_deref(), Some("/x"));
    let too_many = vec![r#"{"op":"test","path":"","value":0}"#; 1_001].join(",");
    let error = run(
        &mut store,
        &change(patch("", &format!("[{too_many}]"))),
        NOW,
    )
    .unwrap_err();
    assert_eq!((error.slug, error.operation), ("bad-patch", None));
    assert_eq!(store.current().generation, 1);
}

#[test]
fn size_and_depth_are_checked_between_two_operations() {
    let kib = format!("{{\"a\":[\"{}\"]}}", "x".repeat(1_010));
    let mut store = anything(&kib);
    let doubling: Vec<_> = (0..40)
        .map(
            |i| json!({"op": "copy", "from": "", "path": if i % 2 == 0 { "/a/-" } else { "/a/0" }}),
        )
        .collect();
    let operation = Operation::JsonPatch {
        pointer: String::new(),
        ops: doubling.into(),
    };
    let error = run(&mut store, &change(operation), NOW).unwrap_err();
    assert_eq!(
        (error.slug, error.operation),
        ("document-too-large", Some(10))
    );

    // Too large in between, though small at the end.
    let large = "x".repeat(1 << 20);
    let ops = json!([{"op": "add", "path": "/b", "value": large}, {"op": "remove", "path": "/b"}]);
    let operation = Operation::JsonPatch {
        pointer: String::new(),
        ops,
    };
    let error = run(&mut store, &change(operation), NOW).unwrap_err();
    assert_eq!(
        (error.slug, error.operation),
        ("document-too-large", Some(0))
    );

    // The limit is exact: two quotes and 1 MiB less two bytes.
    let fits = Value::from("x".repeat((1 << 20) - 2));
    let over = Value::from("x".repeat((1 << 20) - 1));
    let root = |value| Operation::Set {
        pointer: String::new(),
        value,
    };
    let error = run(&mut store, &change(root(over)), NOW).unwrap_err();
    assert_eq!((error.slug, error.operation), ("document-too-large", None));
    assert!(apply(&mut store, root(fits)).changed);

    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    check("{}", set("", &nested(65)), Err(("too-deep", None)));
    check("{}", set("/a", &nested(64)), Err(("too-deep", Some("/a"))));
    check("0", set("", &nested(64)), Ok(&nested(64)));
    let copy = r#"[{"op":"copy","from":"","path":"/0/-"}]"#;
    check(
        &nested(63),
        patch("", copy),
        Err(("too-deep", Some("/0/-"))),
    );
    let mut deep = json!(1);
    for _ in 0..40 {
        deep = json!({"a": deep});
    }
    let merge = Operation::MergePatch {
        pointer: "/0".repeat(30),
        document: deep,
    };
    check(
        &nested(30),
        merge,
        Err(("too-deep", Some(&"/0".repeat(30)))),
    );
}

#[test]
fn a_patch_does_a_bounded_amount_of_work() {
    let zeros = "0,".repeat(1 << 17);
    let initial = format!("{{\"l\":[{}],\"s\":[1]}}", zeros.trim_end_matches(','));
    let twice =
        |ops: [Value; 2]| Value::from_iter(ops.iter().cycle().take(OPERATIONS_MAX).cloned());
    // Each pair copies, moves or shifts a quarter of a mebibyte, and leaves the document as it was.
    for hostile in [
        twice([
            json!({"op": "copy", "from": "/l", "path": "/m"}),
            json!({"op": "remove", "path": "/m"}),
        ]),
        twice([
            json!({"op": "move", "from": "/l", "path": "/m"}),
            json!({"op": "move", "from": "/m", "path": "/l"}),
        ]),
        twice([
            json!({"op": "add", "path": "/l/0", "value": 1}),
            json!({"op": "copy", "from": "/l", "path": "/m"}),
        ]),
    ] {
        let store = anything(&initial);
        let patch = change(Operation::JsonPatch {
            pointer: String::new(),
            ops: hostile,
        });
        let error = store.evaluate(&patch, NOW).unwrap_err();
        assert_eq!(error.slug, "document-too-large");
        let operation = error.operation.unwrap();
        assert!((10..100).contains(&operation), "refused at {operation}");
    }
    // A thousand ordinary operations on the same document are taken.
    let mut store = anything(&initial);
    let patch = change(Operation::JsonPatch {
        pointer: String::new(),
        ops: twice([
            json!({"op": "add", "path": "/l/70000", "value": 1}),
            json!({"op": "copy", "from": "/s/0", "path": "/s/-"}),
        ]),
    });
    run(&mut store, &patch, NOW).unwrap();
}

#[test]
fn a_touch_needs_an_integer_and_room() {
    let disabled = anything("1")
        .evaluate(&change(Operation::Touch), NOW)
        .unwrap_err();
    assert_eq!(disabled.slug, "touch-disabled");

    let mut store = quickstart();
    apply(&mut store, set("/value", "9223372036854775802"));
    let error = run(&mut store, &change(Operation::Touch), NOW).unwrap_err();
    assert_eq!(error.slug, "touch-overflow");
    assert_eq!(error.detail, "9223372036854775802 + 10 is outside i64");
    assert_eq!(error.pointer.as_deref(), Some("/value"));

    let schema = json!({"type": "object", "additionalProperties": false,
        "properties": {"n": {"type": "integer", "maximum": 3}}});
    let touch = Some(Touch {
        pointer: "/n".into(),
        step: -2,
    });
    let settings = StoreSettings {
        touch,
        require_if_match: true,
        ..StoreSettings::default()
    };
    let mut store = store_of(&schema, "{\"n\":3}", settings);
    let applied = apply(&mut store, Operation::Touch);
    assert_eq!(
        (applied.touched, text(&applied.document)),
        (Some(1), "{\"n\":1}")
    );
    for document in ["{\"n\":1.0}", "{}"] {
        let put = Change {
            expect: Expect::Any,
            ..change(set("", document))
        };
        run(&mut store, &put, NOW).unwrap();
        let error = run(&mut store, &change(Operation::Touch), NOW).unwrap_err();
        assert_eq!(error.slug, "touch-not-integer", "{document}");
    }
}

#[test]
fn rollback_brings_a_kept_value_back() {
    let mut store = quickstart();
    let fail = |store: &Store, to| {
        let operation = Operation::Rollback { to };
        store.evaluate(&change(operation), NOW).unwrap_err().slug
    };
    assert_eq!(fail(&store, None), "generation-not-found");
    for _ in 0..4 {
        apply(&mut store, Operation::Touch);
    }
    assert_eq!(fail(&store, Some(0)), "generation-not-found");
    assert_eq!(fail(&store, Some(99)), "generation-not-found");
    let back = apply(&mut store, Operation::Rollback { to: Some(2) });
    assert_eq!(
        (back.generation, text(&back.document)),
        (6, "{\"value\":20}")
    );
    let parent = apply(&mut store, Operation::Rollback { to: None });
    assert_eq!(
        (parent.generation, text(&parent.document)),
        (7, "{\"value\":50}")
    );
    assert_eq!(store.current().from, Some(5));
    let same = apply(&mut store, Operation::Rollback { to: Some(5) });
    assert_eq!((same.changed, same.generation, same.parent), (false, 7, 6));
}

#[test]
fn diffs_are_exact_and_short() {
    for (from, to, expected) in [
        ("{\"a\":1}", "{\"a\":1}", "[]"),
        ("1", "1.0", r#"[{"op":"replace","path":"","value":1.0}]"#),
        (
            "0.0",
            "-0.0",
            r#"[{"op":"replace","path":"","value":-0.0}]"#,
        ),
        (
            "{\"a/b\":1}",
            "{\"c~\":1}",
            r#"[{"op":"remove","path":"/a~1b"},{"op":"add","path":"/c~0","value":1}]"#,
        ),
        (
            "[1,2,3]",
            "[0,1,2,3]",
            r#"[{"op":"add","path":"/0","value":0}]"#,
        ),
        (
            "[1,2,3,4]",
            "[1,4]",
            r#"[{"op":"remove","path":"/1"},{"op":"remove","path":"/1"}]"#,
        ),
        (
            "[1,1]",
            "[1,1,1]",
            r#"[{"op":"add","path":"/2","value":1}]"#,
        ),
        (
            "[[1],2]",
            "[[3],2]",
            r#"[{"op":"replace","path":"/0/0","value":3}]"#,
        ),
    ] {
        let patch = diff::diff(&value(from), &value(to));
        assert_eq!(text(&canonical(&patch)), expected, "{from} {to}");
    }
    let zeros = value(&format!("[{}]", vec!["0"; 1_001].join(",")));
    let ones = value(&format!("[{}]", vec!["1"; 1_001].join(",")));
    let patch = diff::diff(&zeros, &ones);
    assert_eq!(patch.as_array().unwrap().len(), 1);
}
