//! A configuration's text: what is accepted is what the canonical form says, and what is refused has a place in the text.
#![no_main]

use hotshoe_json::{DEPTH_MAX, Fault, canonical, locate, position, read};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| match read(bytes, DEPTH_MAX) {
    Ok(value) => {
        let form = canonical(&value);
        let again = read(&form, DEPTH_MAX).expect("the canonical form is JSON");
        assert_eq!(again, value);
        assert_eq!(canonical(&again), form);
        // Strict means: less than everybody takes, never more.
        let theirs: Value = serde_json::from_slice(bytes).expect("what is read is JSON");
        assert_eq!(shape(&theirs), shape(&value));
        for text in [bytes, &form] {
            let text = std::str::from_utf8(text).expect("what is read is UTF-8");
            found_where_it_is(text, &value, &mut Vec::new());
        }
    }
    Err(Fault {
        slug,
        offset,
        detail,
    }) => {
        assert!(offset <= bytes.len());
        assert!(!detail.chars().any(char::is_control), "{detail:?}");
        assert!(
            [
                "bad-json",
                "duplicate-key",
                "number-out-of-range",
                "too-deep"
            ]
            .contains(&slug)
        );
        let place = position(bytes, offset);
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        assert!(place.line >= 1 && place.line <= lines + 1);
        assert!(place.column <= bytes.len() as u64 + 1);
        // A finder promises nothing on such a text, and ends.
        if let Ok(text) = std::str::from_utf8(bytes) {
            let found = locate(text, ["a", "0"]);
            assert!(found.is_none_or(|range| range.end <= text.len()));
        }
    }
});

/// Without the numbers, whose last digit other readers get wrong.
fn shape(value: &Value) -> Value {
    match value {
        Value::Number(_) => Value::from(0),
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(name, value)| (name.clone(), shape(value)))
            .collect(),
        plain => plain.clone(),
    }
}

/// The bytes behind a pointer are those of the value; along the last member or element alone, or it would be quadratic.
fn found_where_it_is(text: &str, value: &Value, path: &mut Vec<String>) {
    let range = locate(text, path.iter().map(String::as_str)).expect("it is there");
    let found = read(text[range].as_bytes(), DEPTH_MAX).expect("a value of its own");
    assert_eq!(found, *value, "{path:?}");
    let next = match value {
        Value::Array(items) => items
            .last()
            .map(|item| ((items.len() - 1).to_string(), item)),
        Value::Object(map) => map
            .iter()
            .next_back()
            .map(|(name, member)| (name.clone(), member)),
        _ => None,
    };
    if let Some((segment, inner)) = next {
        path.push(segment);
        found_where_it_is(text, inner, path);
    }
}
