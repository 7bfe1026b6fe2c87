//! `GET /v1/openapi.json`: OpenAPI 3.1 of the surface, made of the table that the router serves from and of the table of
//! refusals. Nothing is described here that is not in one of them but the shapes of bodies.

use crate::{
    answer,
    contract::{Call, ENDPOINTS, Endpoint, Sends},
    error::{Problem, Slug},
    router::Ask,
};
use axum::{body::Bytes, http::StatusCode, response::Response};
use hotshoe_json::canonical;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::OnceLock};

/// The route.
pub(crate) fn openapi(ask: &Ask) -> Result<Response, Problem> {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    ask.query()?;
    let text = TEXT.get_or_init(|| answer::line(canonical(&document())).into());
    Ok(answer::reply(StatusCode::OK, answer::JSON, text.clone()))
}

/// The whole description.
pub(crate) fn document() -> Value {
    let mut paths = Map::new();
    for endpoint in ENDPOINTS
        .iter()
        .filter(|endpoint| endpoint.path != "/v1/config/")
    {
        let path = endpoint.path.replace("{*", "{");
        let mut item = Map::new();
        for call in endpoint.calls {
            item.insert(
                call.verb.word().to_lowercase(),
                operation(endpoint, call, &path, false),
            );
            if endpoint.takes_head && call.verb.word() == "GET" {
                item.insert("head".to_owned(), operation(endpoint, call, &path, true));
            }
        }
        paths.insert(path, Value::Object(item));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Hotshoe live configuration",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "A live configuration that is checked, durable, watchable and reversible",
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    })
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn operation(endpoint: &Endpoint, call: &Call, path: &str, head: bool) -> Value {
    let mut operation = Map::new();
    let word = if head { "HEAD" } else { call.verb.word() };
    let id = format!("{} {path}", word.to_lowercase());
    let letters = id.split(|c: char| !c.is_ascii_alphanumeric());
    let letters: Vec<&str> = letters.filter(|part| !part.is_empty()).collect();
    operation.insert("operationId".to_owned(), letters.join("_").into());
    operation.insert("summary".to_owned(), call.summary.into());
    let parameters = parameters(call, path);
    if !parameters.is_empty() {
        operation.insert("parameters".to_owned(), parameters.into());
    }
    if let Sends::Body(bodies) | Sends::Maybe(bodies) = call.sends {
        let required = matches!(call.sends, Sends::Body(_));
        let body = json!({"required": required, "content": content(bodies)});
        operation.insert("requestBody".to_owned(), body);
    }
    if endpoint.open {
        operation.insert("security".to_owned(), json!([]));
    }
    operation.insert("responses".to_owned(), responses(endpoint, call, head));
    Value::Object(operation)
}

fn content(bodies: &[(&str, &str)]) -> Value {
    let each = bodies.iter().map(|(media, schema)| {
        let body = json!({"schema": reference(schema)});
        ((*media).to_owned(), body)
    });
    Value::Object(each.collect())
}

fn parameters(call: &Call, path: &str) -> Vec<Value> {
    let mut all = Vec::new();
    for (name, schema) in [
        ("pointer", json!({"type": "string"})),
        ("generation", json!({"type": "integer", "minimum": 0})),
    ] {
        if path.contains(&format!("{{{name}}}")) {
            all.push(json!({"in": "path", "name": name, "required": true, "schema": schema}));
        }
    }
    for parameter in call.parameters {
        all.push(json!({
            "in": "query",
            "name": parameter.name(),
            "required": parameter.is_required(),
            "schema": parameter.schema(),
        }));
    }
    for header in call.headers {
        all.push(json!({"in": "header", "name": header, "schema": {"type": "string"}}));
    }
    all
}

fn responses(endpoint: &Endpoint, call: &Call, head: bool) -> Value {
    let mut all: BTreeMap<String, Value> = BTreeMap::new();
    for answer in call.answers {
        let mut response = json!({"description": call.summary});
        let body = answer.content.filter(|_| !head);
        if let Some(body) = body {
            response["content"] = content(&[body]);
        }
        all.insert(answer.status.to_string(), response);
    }
    let mut by_status: BTreeMap<u16, Vec<Slug>> = BTreeMap::new();
    for slug in endpoint.refusals(call) {
        by_status
            .entry(slug.status().as_u16())
            .or_default()
            .push(slug);
    }
    for (status, slugs) in by_status {
        let titles: Vec<String> = slugs.iter().map(|slug| slug.title()).collect();
        let mut response = json!({"description": titles.join("; ")});
        if !head {
            response["content"] =
                json!({"application/problem+json": {"schema": refusal(status, &slugs)}});
        }
        all.insert(status.to_string(), response);
    }
    // Made below the router, without a body.
    all.insert(
        "431".to_owned(),
        json!({"description": "The head is too long"}),
    );
    all.into_iter().collect::<Map<_, _>>().into()
}

fn refusal(status: u16, slugs: &[Slug]) -> Value {
    let types: Vec<String> = slugs
        .iter()
        .map(|slug| format!("urn:hotshoe:config:{}", slug.word()))
        .collect();
    json!({
        "allOf": [reference("Problem")],
        "properties": {"status": {"const": status}, "type": {"enum": types}},
    })
}

/// A closed object: every member of `members` is always there but for those of `maybe`.
fn object(members: &Value, maybe: &[&str]) -> Value {
    let names = members.as_object().into_iter().flat_map(Map::keys);
    let required: Vec<&String> = names
        .filter(|name| !maybe.contains(&name.as_str()))
        .collect();
    json!({
        "type": "object",
        "properties": members,
        "required": required,
        "additionalProperties": false,
    })
}

const OPS: [&str; 10] = [
    "initial",
    "put",
    "delete",
    "reset",
    "json-patch",
    "merge-patch",
    "touch",
    "rollback",
    "auto-rollback",
    "recover",
];

fn schemas() -> Value {
    let generation = || json!({"type": "integer", "minimum": 0});
    let text = || json!({"type": "string"});
    let flag = || json!({"type": "boolean"});
    let mut item = json!({
        "at": text(),
        "by": text(),
        "confirm": {"enum": [null, "pending", "confirmed", "expired", "restart", "cancelled", "superseded"]},
        "from": generation(),
        "generation": generation(),
        "op": {"enum": OPS},
        "parent": generation(),
        "reason": {"enum": ["deadline", "restart"]},
    });
    let item_schema = object(&item, &["from", "reason"]);
    item["value"] = json!({});
    let position = json!({"type": "integer", "minimum": 0});
    let nacked = object(
        &json!({"error": text(), "generation": generation(), "reader": text()}),
        &[],
    );
    json!({
        "Any": {},
        "Text": text(),
        "Patch": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"from": text(), "op": {"enum": ["add", "remove", "replace", "move", "copy", "test"]}, "path": text(), "value": {}},
                "required": ["op", "path"],
            },
        },
        "Changed": {"oneOf": [
            object(
                &json!({
                    "changed": flag(),
                    "confirm": {"oneOf": [
                        {"type": "null"},
                        object(&json!({"base": generation(), "deadline": text()}), &[]),
                    ]},
                    "durable": flag(),
                    "generation": generation(),
                    "op": {"enum": OPS},
                    "parent": generation(),
                    "value": {"type": "integer"},
                }),
                &["value"],
            ),
            object(
                &json!({
                    "changed": flag(),
                    "dry_run": {"const": true},
                    "generation": generation(),
                    "patch": reference("Patch"),
                }),
                &[],
            ),
        ]},
        "Confirmed": object(&json!({"confirmed": {"const": true}, "generation": generation()}), &[]),
        "ConfirmRequest": object(&json!({"generation": generation()}), &["generation"]),
        "RollbackRequest": object(&json!({"to": generation()}), &["to"]),
        "Item": item_schema,
        "Entry": object(&item, &["from", "reason"]),
        "Page": object(
            &json!({
                "items": {"type": "array", "items": reference("Item")},
                "newest": generation(),
                "next": {"type": ["integer", "null"]},
                "oldest": generation(),
            }),
            &[],
        ),
        "Diff": object(&json!({"from": generation(), "patch": reference("Patch"), "to": generation()}), &[]),
        "Status": object(
            &json!({
                "confirm": {"oneOf": [
                    {"type": "null"},
                    object(&json!({"base": generation(), "deadline": text(), "generation": generation(), "remaining_s": position}), &[]),
                ]},
                "connections": position,
                "durable": flag(),
                "generation": generation(),
                "history": object(&json!({"bytes": position, "newest": generation(), "oldest": generation()}), &[]),
                "listen": {"type": "array", "items": text()},
                "plugin": text(),
                "profile": {"enum": ["quickstart", "standard"]},
                "readers": object(
                    &json!({
                        "attached": position,
                        "min_generation": {"type": ["integer", "null"]},
                        "nacked": {"type": "array", "items": nacked},
                    }),
                    &[],
                ),
                "started_at": text(),
                "state": {"enum": ["ready", "read-only", "stopping"]},
                "store": {"type": "string", "pattern": "^[0-9a-f]{8}$"},
                "version": text(),
                "warnings": {"type": "array", "items": text()},
                "watchers": object(&json!({"current": position, "max": position}), &[]),
            }),
            &[],
        ),
        "Problem": problem(&position),
    })
}

fn problem(position: &Value) -> Value {
    let titles: Vec<String> = Slug::ALL.iter().map(|slug| slug.title()).collect();
    let types: Vec<String> = Slug::ALL
        .iter()
        .map(|slug| format!("urn:hotshoe:config:{}", slug.word()))
        .collect();
    let text = json!({"type": "string"});
    let violation = object(
        &json!({"column": position, "detail": text, "line": position, "pointer": text}),
        &["column", "line"],
    );
    let members = json!({
        "column": position,
        "detail": text,
        "errors": {"type": "array", "items": violation, "maxItems": 20},
        "generation": position,
        "hint": text,
        "line": position,
        "operation": position,
        "pointer": text,
        "reasons": {"type": "array", "items": {"enum": ["starting", "stopping", "store-readonly"]}},
        "status": {"type": "integer"},
        "title": {"enum": titles},
        "type": {"enum": types},
    });
    let maybe = [
        "column",
        "errors",
        "generation",
        "hint",
        "line",
        "operation",
        "pointer",
        "reasons",
    ];
    object(&members, &maybe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_refusal_and_parameter_is_described() {
        let document = document();
        let text = document.to_string();
        for slug in Slug::ALL {
            assert!(
                text.contains(&format!("\"urn:hotshoe:config:{}\"", slug.word())),
                "{slug:?}"
            );
            let responses = document["paths"]
                .as_object()
                .unwrap()
                .values()
                .flat_map(|item| item.as_object().unwrap().values());
            let status = slug.status().as_u16().to_string();
            assert!(
                responses
                    .into_iter()
                    .any(|operation| operation["responses"].get(&status).is_some()),
                "{slug:?}"
            );
        }
        for endpoint in ENDPOINTS
            .iter()
            .filter(|endpoint| endpoint.path != "/v1/config/")
        {
            let item = &document["paths"][endpoint.path.replace("{*", "{")];
            for method in endpoint.methods().split(", ") {
                let operation = &item[method.to_lowercase()];
                assert!(
                    operation["operationId"].is_string(),
                    "{method} {}",
                    endpoint.path
                );
            }
        }
        let put = &document["paths"]["/v1/config"]["put"];
        let names: Vec<&str> = put["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["name"].as_str().unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "dry_run",
                "confirm",
                "scope",
                "canary",
                "If-Match",
                "If-None-Match"
            ]
        );
        assert_eq!(put["requestBody"]["required"], true);
    }

    #[test]
    fn every_schema_is_one() {
        let document = document();
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            assert!(jsonschema::meta::is_valid(schema), "{name}");
        }
        let ids: Vec<String> = document["paths"]
            .as_object()
            .unwrap()
            .values()
            .flat_map(|item| item.as_object().unwrap().values())
            .map(|operation| operation["operationId"].to_string())
            .collect();
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
    }
}
