//! The routes that only read: the value, the schema, health and readiness. None of them waits for the store.

use crate::{
    answer::{self, JSON, SCHEMA_JSON, TEXT, bare, etag, line, reply, with_generation},
    error::{Problem, Slug},
    pointer::Pointer,
    request::Tags,
    router::Ask,
    store::{Snapshot, host_refusal},
};
use axum::{
    body::Bytes,
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH},
    },
    response::Response,
};
use hotshoe_json::{echo, locate};

/// Where the tree of values begins.
const CONFIG: &str = "/v1/config";

/// The pointer that a path below `/v1/config` names.
pub(crate) fn pointer(ask: &Ask) -> Result<Pointer, Problem> {
    Pointer::from_path(ask.path().strip_prefix(CONFIG).unwrap_or_default())
}

/// The newest value, or the refusal to tell it.
pub(crate) fn current(ask: &Ask) -> Result<Snapshot, Problem> {
    ask.app.store.current().map_err(|error| {
        let refused = host_refusal(&error);
        Problem::new(refused.slug, refused.detail)
    })
}

/// `GET /v1/config[/{pointer}]`.
pub(crate) fn config(ask: &Ask) -> Result<Response, Problem> {
    ask.query()?;
    let pointer = pointer(ask)?;
    let known = Tags::read(&ask.head.headers, &IF_NONE_MATCH)?;
    let Snapshot {
        generation,
        document,
    } = current(ask)?;
    let body = sub_value(&document, &pointer)?;
    let mut response = match known {
        Some(tags) if tags.finds(generation) => bare(StatusCode::NOT_MODIFIED),
        _ => reply(StatusCode::OK, JSON, line(body.to_vec())),
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, etag(generation));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(with_generation(response, generation))
}

/// The bytes at `pointer`: a part of a canonical text is canonical.
fn sub_value(document: &Bytes, pointer: &Pointer) -> Result<Bytes, Problem> {
    let text = std::str::from_utf8(document).unwrap_or_default();
    match locate(text, pointer.segments()) {
        Some(range) => Ok(document.slice(range)),
        None => {
            let text = pointer.text();
            let detail = format!("there is nothing at \"{}\"", echo(&text));
            Err(Problem::new(Slug::PointerNotFound, detail).pointer(text))
        }
    }
}

/// `GET /v1/schema`.
pub(crate) fn schema(ask: &Ask) -> Result<Response, Problem> {
    ask.query()?;
    let body = line(ask.app.facts.schema.to_vec());
    Ok(reply(StatusCode::OK, SCHEMA_JSON, body))
}

/// `GET /healthz`: somebody is here.
pub(crate) fn health(ask: &Ask) -> Result<Response, Problem> {
    ask.query()?;
    Ok(reply(StatusCode::OK, TEXT, "ok\n"))
}

/// `GET /readyz`: changes would be taken.
pub(crate) fn ready(ask: &Ask) -> Result<Response, Problem> {
    ask.query()?;
    let mut reasons = ask.app.phase.reasons().to_vec();
    if ask.app.is_read_only() {
        reasons.push("store-readonly");
    }
    match reasons.as_slice() {
        [] => Ok(answer::reply(StatusCode::OK, TEXT, "ready\n")),
        reasons => {
            let detail = format!("the instance is {}", reasons.join(", "));
            Err(Problem::new(Slug::NotReady, detail).reasons(reasons))
        }
    }
}
