//! Generations that were: C32 (its differences are in `confirm.rs`) and C33's answers.

use super::*;

fn rollback(served: &Served<'_>, body: &str) -> http::Response {
    let headers: &[(&str, &str)] = if body.is_empty() { &[] } else { &[JSON] };
    served.ask("POST", "/v1/rollback", headers, body.as_bytes())
}

/// C32.
#[test]
fn c32_an_old_value_comes_back_as_a_new_generation() {
    let setup = alone(standard());
    let served = Served::start(&setup);
    for generation in 2..=5 {
        changed(
            &served.put(&format!("{{\"value\":{}}}", generation * 100)),
            "put",
            generation,
        );
    }
    changed(&rollback(&served, r#"{"to":2}"#), "rollback", 6);
    assert_eq!(served.value(), r#"{"value":200}"#);
    served.unchanged(|| {
        for to in [99, 0, u64::MAX] {
            let response = rollback(&served, &format!("{{\"to\":{to}}}"));
            problem(&response, 404, "generation-not-found");
        }
        problem(&rollback(&served, r#"{"to":"2"}"#), 422, "schema-violation");
        problem(&rollback(&served, r#"{"too":2}"#), 422, "schema-violation");
    });
    // Without a body: the parent's value, and the parent of 6 is 5.
    changed(&rollback(&served, ""), "rollback", 7);
    assert_eq!(served.value(), r#"{"value":500}"#);

    let entry = |generation: u64| served.get(&format!("/v1/history/{generation}"));
    for (generation, op, value, from) in [
        (1, "initial", 10, Value::Null),
        (2, "put", 200, Value::Null),
        (6, "rollback", 200, json!(2)),
        (7, "rollback", 500, json!(5)),
    ] {
        let json = entry(generation).json();
        assert_eq!(json["generation"], generation);
        assert_eq!((&json["op"], &json["from"]), (&json!(op), &from), "{json}");
        assert_eq!(json["value"], json!({"value": value}));
        assert_eq!(json["parent"], generation - 1);
        let at = json["at"].as_str().unwrap();
        assert!(at.len() == 27 && at.ends_with('Z'), "{at}");
    }
    for (path, status, slug) in [
        ("0", 404, "generation-not-found"),
        ("8", 404, "generation-not-found"),
        ("01", 400, "bad-query"),
        ("+1", 400, "bad-query"),
        ("x", 400, "bad-query"),
    ] {
        problem(&served.get(&format!("/v1/history/{path}")), status, slug);
    }
}

#[test]
fn c32_the_history_is_read_in_pages() {
    let setup = alone(standard());
    let served = Served::start(&setup);
    for _ in 0..6 {
        served.touch();
    }
    let page = |query: &str| {
        let page = served.get(&format!("/v1/history{query}")).json();
        let items = page["items"].as_array().unwrap().clone();
        let generations: Vec<u64> = items
            .iter()
            .map(|item| {
                assert_eq!(item.get("value"), None, "{item}");
                assert_eq!(item.get("confirm"), Some(&Value::Null), "{item}");
                item["generation"].as_u64().unwrap()
            })
            .collect();
        assert_eq!((&page["newest"], &page["oldest"]), (&json!(7), &json!(1)));
        (generations, page["next"].clone())
    };
    assert_eq!(page(""), (vec![7, 6, 5, 4, 3, 2, 1], Value::Null));
    assert_eq!(page("?limit=3"), (vec![7, 6, 5], json!(5)));
    assert_eq!(page("?limit=3&before=5"), (vec![4, 3, 2], json!(2)));
    assert_eq!(page("?limit=3&before=2"), (vec![1], Value::Null));
    for query in ["limit=0", "limit=1001", "before=x", "limit=1&limit=2"] {
        problem(
            &served.get(&format!("/v1/history?{query}")),
            400,
            "bad-query",
        );
    }
}

/// C33, as far as memory has a history: what is no longer kept is gone, not unknown.
#[test]
fn c33_what_is_no_longer_kept_is_gone() {
    let setup = alone(standard().set("history_generations = 3"));
    let served = Served::start(&setup);
    for _ in 0..9 {
        served.touch();
    }
    problem(&served.get("/v1/history/1"), 410, "generation-gone");
    served.unchanged(|| problem(&rollback(&served, r#"{"to":1}"#), 410, "generation-gone"));
    for generation in [8, 9, 10] {
        let path = format!("/v1/history/{generation}");
        assert_eq!(served.get(&path).status, 200, "{generation}");
    }
}

/// The highest number there is names a generation that nobody reached, not "whichever is meant".
#[test]
fn the_highest_number_is_a_generation_that_is_not_there() {
    let setup = alone(standard());
    let served = Served::start(&setup);
    changed(&served.put(r#"{"value":2}"#), "put", 2);
    let pending = served.ask("PUT", "/v1/config?confirm=1h", &[JSON], br#"{"value":3}"#);
    assert_eq!(pending.status, 200, "{}", pending.text());
    served.unchanged(|| {
        let body = br#"{"generation":18446744073709551615}"#;
        let confirm = served.ask("POST", "/v1/confirm", &[JSON], body);
        problem(&confirm, 412, "generation-mismatch");
        let tag = [JSON, ("If-Match", "\"18446744073709551615\"")];
        let put = served.ask("PUT", "/v1/config?confirm=1h", &tag, br#"{"value":4}"#);
        problem(&put, 412, "generation-mismatch");
        for query in [
            "from=1&to=18446744073709551615",
            "from=18446744073709551615",
        ] {
            let diff = served.get(&format!("/v1/diff?{query}"));
            problem(&diff, 404, "generation-not-found");
        }
    });
    let confirm = served.ask("POST", "/v1/confirm", &[JSON], br#"{"generation":3}"#);
    assert_eq!(confirm.status, 200, "{}", confirm.text());
    served.unchanged(|| {
        let none = rollback(&served, r#"{"to":18446744073709551615}"#);
        problem(&none, 404, "generation-not-found");
        for line in [
            "rollback 18446744073709551615",
            "diff 1 18446744073709551615",
        ] {
            let mut arguments = vec!["--log-format", "json", "config"];
            arguments.extend(line.split(' '));
            let finished = served.setup.hotshoe(&arguments);
            assert_eq!(finished.error_code(), "generation-not-found", "{line}");
        }
    });
}
