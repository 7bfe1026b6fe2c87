//! `GET /v1/status`: what an operator asks first (config-api §3.2). Every member is always there; what the host's API does
//! not tell a plugin is `null`, never a guess.

use crate::{
    answer::{self, with_generation},
    error::Problem,
    history::{answered, oldest_kept},
    json::canonical,
    request::Query,
    router::Ask,
    store::Store,
};
use axum::response::Response;
use hotshoe_plugin_api::Result as HostResult;
use serde_json::json;
use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError},
};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

/// Entries asked for at one time: each comes with its document.
const PAGE: u32 = 64;

/// The time now: UTC, RFC 3339 with microseconds.
pub(crate) fn now() -> String {
    const FORMAT: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    let now = OffsetDateTime::now_utc();
    now.format(FORMAT).unwrap_or_default()
}

/// What the kept history weighs, so that it is not read as a whole each time.
#[derive(Default)]
pub(crate) struct Weights {
    /// Generation and bytes, oldest first.
    entries: VecDeque<(u64, usize)>,
}

/// The kept history in numbers.
struct Extent {
    newest: u64,
    oldest: u64,
    bytes: usize,
}

impl Weights {
    /// Reads what is new and forgets what is gone.
    fn extent(&mut self, store: &dyn Store) -> HostResult<Extent> {
        let newest = store.current()?.generation;
        let known = self.entries.back().map_or(0, |(generation, _)| *generation);
        let mut fresh = Vec::new();
        let mut before = newest.checked_add(1);
        'pages: loop {
            let page = store.history(before, PAGE)?;
            let full = page.len() == PAGE as usize;
            for entry in page {
                if entry.generation <= known {
                    break 'pages;
                }
                before = Some(entry.generation);
                let bytes = entry.document.len() + canonical(&entry.item).len();
                fresh.push((entry.generation, bytes));
            }
            // Generation 1 has nothing below it, and the store takes 0 for "all".
            if !full || before.is_none_or(|before| before <= 1) {
                break;
            }
        }
        self.entries.extend(fresh.into_iter().rev());
        let oldest = oldest_kept(store, newest)?;
        self.entries.retain(|(generation, _)| *generation >= oldest);
        Ok(Extent {
            newest,
            oldest,
            bytes: self.entries.iter().map(|(_, bytes)| bytes).sum(),
        })
    }
}

/// The route.
pub(crate) async fn status(ask: Ask) -> Result<Response, Problem> {
    Query::parse(ask.query(), &[])?;
    let app = &ask.app;
    let weights = Arc::clone(&app.weights);
    let looked = app.queue.look(move |store| {
        let mut weights = weights.lock().unwrap_or_else(PoisonError::into_inner);
        weights.extent(store)
    });
    let extent = answered(looked.await)?;
    let stopping = app.phase.reasons().contains(&"stopping");
    let status = json!({
        "confirm": null,
        "connections": app.slots.count(),
        "durable": app.facts.durable,
        "generation": extent.newest,
        "history": {"bytes": extent.bytes, "newest": extent.newest, "oldest": extent.oldest},
        "listen": app.facts.urls,
        "plugin": app.facts.instance,
        "profile": app.plan.profile.as_str(),
        "readers": {"attached": null, "min_generation": null, "nacked": []},
        "started_at": app.facts.started_at,
        "state": if stopping { "stopping" } else { "ready" },
        "store": app.facts.store_id,
        "version": env!("CARGO_PKG_VERSION"),
        "warnings": app.warnings(),
        "watchers": {"current": 0, "max": 0},
    });
    Ok(with_generation(answer::json(&status), extent.newest))
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
