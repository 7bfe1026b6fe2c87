//! The routes that look back. They ask the store on the writing thread: its lock may be held there for a moment.

use crate::{
    answer::{self, with_generation},
    error::{Problem, Slug},
    request,
    router::Ask,
    store::{Entry, Store, host_refusal},
};
use axum::response::Response;
use hotshoe_json::{DEPTH_MAX, echo};
use hotshoe_plugin_api::Result as HostResult;
use serde_json::{Map, Value, json};

/// `GET /v1/history`.
pub(crate) async fn page(ask: Ask) -> Result<Response, Problem> {
    let (before, limit) = request::page(&ask.query()?)?;
    // Below 0 there is nothing; the store would take 0 for "all".
    let none = before == Some(0);
    let looked = ask.app.queue.look(move |store| {
        let (newest, oldest) = extent(store)?;
        // One more than shown tells whether there is a next page.
        let entries = match none {
            true => Vec::new(),
            false => store.history(before, limit + 1)?,
        };
        Ok((newest, oldest, entries))
    });
    let (newest, oldest, mut entries) = answered(looked.await)?;
    let more = entries.len() > limit as usize;
    entries.truncate(limit as usize);
    let next = entries
        .last()
        .filter(|_| more)
        .map(|entry| entry.generation);
    let items: Vec<Value> = entries.into_iter().map(|entry| entry.item).collect();
    let page = json!({"items": items, "newest": newest, "next": next, "oldest": oldest});
    Ok(answer::json(&page))
}

/// `GET /v1/history/{generation}`.
pub(crate) async fn entry(ask: Ask) -> Result<Response, Problem> {
    ask.query()?;
    let text = ask.path().rsplit('/').next().unwrap_or_default();
    let Some(generation) = request::decimal(text) else {
        let detail = format!("\"{}\" is no generation", echo(text));
        return Err(Problem::new(Slug::BadQuery, detail));
    };
    let looked = ask.app.queue.look(move |store| {
        let newest = store.current()?.generation;
        let found = match generation {
            reached if (1..=newest).contains(&reached) => kept(store, reached)?,
            _ => None,
        };
        Ok((newest, found))
    });
    let (newest, found) = answered(looked.await)?;
    let Some(entry) = found else {
        return Err(missing(generation, newest));
    };
    let mut members = match entry.item {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    let value = hotshoe_json::read(&entry.document, DEPTH_MAX)
        .map_err(|fault| Problem::new(Slug::Internal, fault.detail))?;
    members.insert("value".to_owned(), value);
    Ok(with_generation(
        answer::json(&Value::Object(members)),
        generation,
    ))
}

fn missing(generation: u64, newest: u64) -> Problem {
    if generation == 0 {
        Problem::new(Slug::GenerationNotFound, "generations start at 1")
    } else if generation > newest {
        let detail = format!("generation {generation} is not reached yet");
        Problem::new(Slug::GenerationNotFound, detail)
    } else {
        let detail = format!("generation {generation} is no longer kept");
        Problem::new(Slug::GenerationGone, detail)
    }
}

/// What the writing thread found, or why nothing.
pub(crate) fn answered<T>(looked: Option<HostResult<T>>) -> Result<T, Problem> {
    match looked {
        Some(Ok(found)) => Ok(found),
        Some(Err(error)) => {
            let refused = host_refusal(&error);
            Err(Problem::new(refused.slug, refused.detail))
        }
        None => Err(Problem::new(Slug::ShuttingDown, "the instance is stopping")),
    }
}

/// One generation, if it is still kept.
fn kept(store: &dyn Store, generation: u64) -> HostResult<Option<Entry>> {
    let below = store.history(generation.checked_add(1), 1)?.pop();
    Ok(below.filter(|entry| entry.generation == generation))
}

/// The newest and the oldest kept generation.
fn extent(store: &dyn Store) -> HostResult<(u64, u64)> {
    let history = &store.status()?["history"];
    let number = |name: &str| history[name].as_u64().unwrap_or_default();
    Ok((number("newest"), number("oldest")))
}

/// `GET /v1/diff`.
pub(crate) async fn diff(ask: Ask) -> Result<Response, Problem> {
    let (from, to) = request::ends(&ask.query()?)?;
    let looked = ask.app.queue.look(move |store| {
        let newest = store.current()?.generation;
        let to = to.unwrap_or(newest);
        // The store takes 0 for the current one.
        let unreached = [from, to]
            .into_iter()
            .find(|end| !(1..=newest).contains(end));
        match unreached {
            Some(end) => Ok(Err(missing(end, newest))),
            None => Ok(store
                .diff(from, to)?
                .map(|patch| (to, patch))
                .map_err(|refused| Problem::new(refused.slug, refused.detail))),
        }
    });
    let (to, patch) = answered(looked.await)??;
    let diff = json!({"from": from, "patch": patch, "to": to});
    Ok(answer::json(&diff))
}
