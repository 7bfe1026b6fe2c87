//! What every answer looks like: the fixed headers, content types, the change answer (config-api §3, §3.1).
//!
//! A body is complete before its head is sent, and its length is said even to `HEAD`.

use crate::{contract, store::Applied};
use axum::{
    body::{Body, Bytes},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use hotshoe_json::canonical;
use serde_json::{Map, Value, json};

pub(crate) const JSON: HeaderValue = HeaderValue::from_static(contract::JSON);
pub(crate) const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
pub(crate) const SCHEMA_JSON: HeaderValue = HeaderValue::from_static(contract::SCHEMA_JSON);
pub(crate) const TEXT: HeaderValue = HeaderValue::from_static(contract::TEXT);

/// The generation that an answer is about.
pub(crate) const GENERATION: HeaderName = HeaderName::from_static("hotshoe-generation");

/// On every answer that the router makes.
pub(crate) const FIXED: [(HeaderName, HeaderValue); 4] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

/// An answer with its fixed headers.
pub(crate) fn reply(
    status: StatusCode,
    content_type: HeaderValue,
    body: impl Into<Bytes>,
) -> Response {
    let body = body.into();
    let mut response = bare(status);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CONTENT_LENGTH, body.len().into());
    *response.body_mut() = Body::from(body);
    response
}

/// The same without a body or a type.
pub(crate) fn bare(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    for (name, value) in FIXED {
        response.headers_mut().insert(name, value);
    }
    response
}

/// A JSON value, canonical, and one LF.
pub(crate) fn json(value: &Value) -> Response {
    reply(StatusCode::OK, JSON, line(canonical(value)))
}

/// `bytes` and one LF.
pub(crate) fn line(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.push(b'\n');
    bytes
}

/// Names the generation in a header.
pub(crate) fn with_generation(mut response: Response, generation: u64) -> Response {
    response.headers_mut().insert(GENERATION, generation.into());
    response
}

/// What a client may compare later: the tag of a generation.
pub(crate) fn etag(generation: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{generation}\""))
        .expect("digits in quotes are a header value")
}

/// The answer to a confirmation.
pub(crate) fn confirmed(generation: u64) -> Response {
    let body = json!({"confirmed": true, "generation": generation});
    with_generation(json(&body), generation)
}

/// The answer to an accepted change; of a dry run, what would happen.
pub(crate) fn change(applied: Applied) -> Response {
    let generation = applied.generation;
    let mut members = Map::new();
    members.insert("changed".to_owned(), applied.changed.into());
    members.insert("generation".to_owned(), generation.into());
    if let Some(patch) = applied.patch {
        members.insert("dry_run".to_owned(), true.into());
        members.insert("patch".to_owned(), patch);
    } else {
        let confirm = applied.confirm.unwrap_or(Value::Null);
        members.insert("confirm".to_owned(), confirm);
        members.insert("durable".to_owned(), applied.durable.into());
        members.insert("op".to_owned(), applied.op.into());
        members.insert("parent".to_owned(), applied.parent.into());
        if let Some(number) = applied.touched {
            members.insert("value".to_owned(), number);
        }
    }
    with_generation(json(&Value::Object(members)), generation)
}
