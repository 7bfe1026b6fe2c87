//! What was answered, judged by `openapi.json`: each test of the surface is one of the description as well.

use super::client::Answer;
use crate::openapi;
use serde_json::{Value, json};
use std::sync::OnceLock;

fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(openapi::document)
}

/// The path of the description that a request's path is.
fn item(path: &str) -> Option<&'static Value> {
    let template = match path {
        _ if path.starts_with("/v1/config/") => "/v1/config/{pointer}",
        _ if path.starts_with("/v1/history/") => "/v1/history/{generation}",
        plain => plain,
    };
    document()["paths"].get(template)
}

/// Status, content type and body are described for that request.
#[track_caller]
pub(super) fn check(method_and_target: &str, answer: &Answer) {
    let (method, target) = method_and_target.split_once(' ').unwrap();
    let path = target.split('?').next().unwrap();
    if answer.body.is_empty() && (answer.status == 431 || answer.status == 400) {
        // Below the router.
        return;
    }
    let operation = item(path).and_then(|item| item.get(method.to_lowercase()));
    let Some(operation) = operation else {
        assert!(
            (400..=405).contains(&answer.status),
            "{method_and_target}: {answer:?}"
        );
        valid(
            &json!({"$ref": "#/components/schemas/Problem"}),
            &answer.json(),
        );
        return;
    };
    let response = &operation["responses"][answer.status.to_string()];
    assert!(
        response.is_object(),
        "{method_and_target}: {} is not described",
        answer.status
    );
    let Some(content) = response.get("content") else {
        assert!(answer.body.is_empty(), "{method_and_target}: {answer:?}");
        return;
    };
    let media = answer.header("content-type").unwrap();
    let schema = &content[media]["schema"];
    assert!(
        schema.is_object(),
        "{method_and_target}: {media} in {content}"
    );
    let body = match media.contains("json") {
        true => answer.json(),
        false => answer.text().into(),
    };
    valid(schema, &body);
}

#[track_caller]
fn valid(schema: &Value, body: &Value) {
    let mut schema = schema.clone();
    schema["components"] = document()["components"].clone();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let faults: Vec<String> = validator
        .iter_errors(body)
        .map(|fault| fault.to_string())
        .collect();
    assert!(faults.is_empty(), "{faults:?} in {body}");
}
