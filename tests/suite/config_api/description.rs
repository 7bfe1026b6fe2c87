//! Every answer of these cases, judged by the description that the listener itself serves: status, type and body of each
//! are in `/v1/openapi.json` (config-api §3).

use super::*;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock},
};

static DOCUMENT: OnceLock<Value> = OnceLock::new();
static VALIDATORS: Mutex<BTreeMap<String, Arc<jsonschema::Validator>>> =
    Mutex::new(BTreeMap::new());

/// The document, from the first listener that tells it to whoever asks now; one with a token tells it to no other.
fn document(served: &Served<'_>, headers: &[(&str, &str)]) -> Option<&'static Value> {
    if let Some(document) = DOCUMENT.get() {
        return Some(document);
    }
    let token = headers.iter().filter(|(name, _)| *name == "Authorization");
    let token: Vec<(&str, &str)> = token.copied().collect();
    let path = "/v1/openapi.json";
    let request = http::request("GET", path, &served.localhost(), &token, NO_BODY);
    let response = http::exchange(&mut http::connect(&served.address()), &request);
    if response.status != 200 {
        return None;
    }
    Some(DOCUMENT.get_or_init(|| response.json()))
}

/// Asserts that the description holds this answer to that request.
#[track_caller]
pub(super) fn judge(
    served: &Served<'_>,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    response: &http::Response,
) {
    let below_the_router = response.body.is_empty() && matches!(response.status, 400 | 431);
    if below_the_router {
        return;
    }
    let Some(document) = document(served, headers) else {
        return;
    };
    let path = path.split('?').next().unwrap();
    let template = match path {
        _ if path.starts_with("/v1/config/") => "/v1/config/{pointer}",
        _ if path.starts_with("/v1/history/") => "/v1/history/{generation}",
        plain => plain,
    };
    let operation = &document["paths"][template][method.to_lowercase()];
    if !operation.is_object() {
        assert!(
            (400..=405).contains(&response.status),
            "{method} {path}: {response:?}"
        );
        let problem = json!({"$ref": "#/components/schemas/Problem"});
        if method != "HEAD" {
            valid(document, "Problem", &problem, &response.json());
        }
        return;
    }
    let described = &operation["responses"][response.status.to_string()];
    assert!(
        described.is_object(),
        "{method} {path}: {} is not described",
        response.status
    );
    let Some(content) = described.get("content") else {
        assert!(response.body.is_empty(), "{method} {path}: {response:?}");
        return;
    };
    let media = response.header("content-type").unwrap();
    let schema = &content[media]["schema"];
    assert!(schema.is_object(), "{method} {path}: {media} in {content}");
    let body = match media.contains("json") {
        true => response.json(),
        false => response.text().into(),
    };
    let key = format!("{method} {template} {}", response.status);
    valid(document, &key, schema, &body);
}

#[track_caller]
fn valid(document: &Value, key: &str, schema: &Value, body: &Value) {
    let validator = {
        let mut validators = VALIDATORS.lock().unwrap();
        let compile = || {
            let mut schema = schema.clone();
            schema["components"] = document["components"].clone();
            Arc::new(jsonschema::draft202012::new(&schema).unwrap())
        };
        Arc::clone(validators.entry(key.to_owned()).or_insert_with(compile))
    };
    let faults: Vec<String> = validator
        .iter_errors(body)
        .map(|fault| fault.to_string())
        .collect();
    assert!(faults.is_empty(), "{key}: {faults:?} in {body}");
}

/// The document itself: what it is, and that no route and no refusal is left out.
#[test]
fn the_description_names_every_route_and_refusal() {
    let setup = alone(standard());
    let served = Served::start(&setup);
    let response = served.get("/v1/openapi.json");
    assert_eq!(response.header("content-type"), Some("application/json"));
    let document = response.json();
    assert_eq!(document["openapi"], "3.1.0");
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    let expected = [
        "/",
        "/healthz",
        "/metrics",
        "/readyz",
        "/v1/config",
        "/v1/config/{pointer}",
        "/v1/confirm",
        "/v1/diff",
        "/v1/history",
        "/v1/history/{generation}",
        "/v1/openapi.json",
        "/v1/rollback",
        "/v1/schema",
        "/v1/status",
        "/v1/touch",
        "/v1/watch",
    ];
    assert_eq!(paths, expected);
    let types = document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"].clone();
    assert_eq!(types.as_array().unwrap().len(), 49);
    let plain = served.get("/metrics");
    assert_eq!(
        plain.header("content-type"),
        Some("text/plain; version=0.0.4")
    );
}
