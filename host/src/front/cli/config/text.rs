//! Answers of the configuration API as an operator reads them. A member that is not there is left out, never guessed.

use serde_json::Value;
use std::fmt::Write as _;

/// A value: indented, as one would write it into a file.
pub(super) fn value(body: &Value) -> String {
    format!("{body:#}\n")
}

/// What a change did, or would do.
pub(super) fn change(body: &Value) -> String {
    let generation = plain(body, "generation");
    if body["dry_run"] == true {
        return match body["changed"].as_bool() {
            Some(true) => format!(
                "generation {generation} would change, nothing did:\n{}",
                patch(&body["patch"])
            ),
            _ => format!("nothing would change, generation {generation} is that already\n"),
        };
    }
    if body["changed"] == false {
        return format!("nothing changed, generation {generation} is that already\n");
    }
    let mut text = format!("generation {generation} ({})\n", plain(body, "op"));
    let confirm = &body["confirm"];
    if confirm.is_object() {
        let _ = writeln!(
            text,
            "confirm it by {} with `hotshoe config confirm {generation}`, or generation {} comes back",
            plain(confirm, "deadline"),
            plain(confirm, "base"),
        );
    }
    if body["durable"] == false {
        text.push_str("kept in memory only: the next start begins with the initial value\n");
    }
    text
}

pub(super) fn confirmed(body: &Value) -> String {
    format!("generation {} is confirmed\n", plain(body, "generation"))
}

/// The way from one generation to the other, one operation a line.
pub(super) fn difference(body: &Value) -> String {
    match body["patch"].as_array() {
        Some(operations) if operations.is_empty() => format!(
            "generations {} and {} hold the same value\n",
            plain(body, "from"),
            plain(body, "to")
        ),
        _ => patch(&body["patch"]),
    }
}

/// RFC 6902 operations: `replace /value 43`, `move /a /b`.
fn patch(operations: &Value) -> String {
    let mut text = String::new();
    for operation in operations.as_array().into_iter().flatten() {
        let path = match operation["path"].as_str() {
            Some("") => "(the whole value)",
            path => path.unwrap_or_default(),
        };
        let mut words = vec![plain(operation, "op")];
        words.extend(operation["from"].as_str().map(str::to_owned));
        words.push(path.to_owned());
        words.extend(operation.get("value").map(Value::to_string));
        let _ = writeln!(text, "{}", words.join(" "));
    }
    text
}

/// One generation a line, newest first.
pub(super) fn history(body: &Value) -> String {
    let items = body["items"].as_array().map_or(&[][..], Vec::as_slice);
    let mut text = String::new();
    for item in items {
        let remarks = [
            ("from", "from generation "),
            ("confirm", ""),
            ("reason", "because of "),
        ];
        let remarks = remarks.iter().filter(|(name, _)| !item[*name].is_null());
        let remarks: Vec<String> = remarks
            .map(|(name, words)| format!("  {words}{}", plain(item, name)))
            .collect();
        let _ = writeln!(
            text,
            "{:>6}  {}  {:<13}  {}{}",
            plain(item, "generation"),
            plain(item, "at"),
            plain(item, "op"),
            plain(item, "by"),
            remarks.concat(),
        );
    }
    if !body["next"].is_null() {
        let _ = writeln!(text, "older ones: --before {}", plain(body, "next"));
    }
    text
}

/// One event of the watch stream, in one line.
pub(super) fn event(name: &str, data: &Value) -> String {
    let generation = plain(data, "generation");
    match name {
        "confirm" => format!("{generation:>6}  {}\n", plain(data, "result")),
        "bye" => format!("the host says goodbye: {}\n", plain(data, "reason")),
        _ => {
            let value = data.get("value").map(|value| format!("  {value}"));
            let reset = match name {
                "reset" => "  (a fresh start: what was before is not in history)",
                _ => "",
            };
            format!(
                "{generation:>6}  {}  {}{}{reset}\n",
                plain(data, "at"),
                plain(data, "op"),
                value.unwrap_or_default()
            )
        }
    }
}

/// A member without quotes; nothing where it is not there.
fn plain(body: &Value, name: &str) -> String {
    match &body[name] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_change_says_what_it_did() {
        let check = |body: Value, expected: &str| assert_eq!(change(&body), expected);
        check(
            json!({"changed": true, "confirm": null, "durable": true, "generation": 3, "op": "put", "parent": 2}),
            "generation 3 (put)\n",
        );
        check(
            json!({"changed": false, "confirm": null, "durable": false, "generation": 3, "op": "put", "parent": 2}),
            "nothing changed, generation 3 is that already\n",
        );
        check(
            json!({"changed": true, "confirm": {"base": 3, "deadline": "T"}, "durable": false, "generation": 4, "op": "put"}),
            "generation 4 (put)\n\
             confirm it by T with `hotshoe config confirm 4`, or generation 3 comes back\n\
             kept in memory only: the next start begins with the initial value\n",
        );
        check(
            json!({"changed": true, "dry_run": true, "generation": 3, "patch": [
                {"op": "replace", "path": "/value", "value": 43}, {"op": "move", "from": "/a", "path": "/b"},
                {"op": "remove", "path": "/c"}, {"op": "replace", "path": "", "value": {}}]}),
            "generation 3 would change, nothing did:\nreplace /value 43\nmove /a /b\nremove /c\nreplace (the whole value) {}\n",
        );
    }

    #[test]
    fn an_event_is_one_line() {
        let check = |name, data: Value, expected: &str| assert_eq!(event(name, &data), expected);
        let data = json!({"at": "T", "generation": 3, "op": "put", "parent": 2});
        check("config", data.clone(), "     3  T  put\n");
        check(
            "reset",
            data,
            "     3  T  put  (a fresh start: what was before is not in history)\n",
        );
        check(
            "config",
            json!({"at": "T", "generation": 3, "op": "put", "value": {"a": 1}}),
            "     3  T  put  {\"a\":1}\n",
        );
        check(
            "confirm",
            json!({"generation": 3, "result": "confirmed"}),
            "     3  confirmed\n",
        );
        check(
            "bye",
            json!({"reason": "stopping"}),
            "the host says goodbye: stopping\n",
        );
    }
}
