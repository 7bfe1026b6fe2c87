//! `GET /v1/status`: what an operator asks first (config-api §3.2). Every member is always there; what is about the
//! store is what the store says of itself.

use crate::{
    answer::{self, with_generation},
    error::Problem,
    history::answered,
    router::Ask,
};
use axum::response::Response;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

/// The time now: UTC, RFC 3339 with microseconds.
pub(crate) fn now() -> String {
    const FORMAT: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    let now = OffsetDateTime::now_utc();
    now.format(FORMAT).unwrap_or_default()
}

/// The route.
pub(crate) async fn status(ask: Ask) -> Result<Response, Problem> {
    ask.query()?;
    let app = &ask.app;
    let told = answered(app.queue.look(|store| store.status()).await)?;
    let read_only = told["read_only"] == true;
    app.set_read_only(read_only);
    let stopping = app.phase.reasons().contains(&"stopping");
    let state = match (stopping, read_only) {
        (true, _) => "stopping",
        (false, true) => "read-only",
        (false, false) => "ready",
    };
    let mut warnings: BTreeSet<&str> = app.warnings().into_iter().collect();
    let of_store = told["warnings"].as_array();
    warnings.extend(of_store.into_iter().flatten().filter_map(Value::as_str));
    let generation = told["generation"].as_u64().unwrap_or_default();
    let status = json!({
        "confirm": told["confirm"],
        "connections": app.slots.count(),
        "durable": told["durable"],
        "generation": generation,
        "history": {
            "bytes": told["history"]["bytes"],
            "newest": told["history"]["newest"],
            "oldest": told["history"]["oldest"],
        },
        "listen": app.facts.urls,
        "plugin": app.facts.instance,
        "profile": app.plan.profile.as_str(),
        "readers": told["readers"],
        "started_at": app.facts.started_at,
        "state": state,
        "store": told["store"],
        "version": env!("CARGO_PKG_VERSION"),
        "warnings": warnings,
        "watchers": {"current": app.slots.watchers(), "max": app.slots.watchers_max()},
    });
    Ok(with_generation(answer::json(&status), generation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_microseconds_and_a_z() {
        let now = now();
        assert_eq!(now.len(), "2026-01-02T03:04:05.000000Z".len(), "{now}");
        assert!(now.ends_with('Z') && now.as_bytes()[10] == b'T');
    }
}
