//! The routes that change the value: checks before the store (config-api §2 steps 10 to 14), one question to it, and its
//! answer with line and column where the fault is in the body.
//!
//! No change is evaluated here: operations go to the store, which alone knows their order.

use crate::{
    answer::{self, TEXT, reply, with_generation},
    app,
    contract::{JSON, JSON_PATCH, MERGE_PATCH},
    error::{Problem, Slug, Violation},
    metrics,
    pointer::Pointer,
    read,
    request::{self, Manner, Tags},
    router::Ask,
    store::{Applied, Refused},
};
use axum::{
    body::{Body, Bytes, HttpBody},
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{IF_MATCH, IF_NONE_MATCH},
    },
    response::Response,
};
use hotshoe_json::{DEPTH_MAX, Position, locate, position};
use hotshoe_plugin_api::{Change, Operation};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;
use std::sync::Arc;
use tokio::{sync::OwnedSemaphorePermit, time::timeout_at};

/// Whether a change may come without `If-Match` where the settings ask for it (config-api §4, row 428).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Precondition {
    AsSet,
    Exempt,
}

/// What was checked before the body is read.
struct Terms {
    manner: Manner,
    tags: Option<Tags>,
    /// `If-None-Match`: generations that must not be current.
    but: Option<Tags>,
}

impl Terms {
    /// Steps 10 and 11, but for the media type.
    fn check(ask: &Ask) -> Result<Self, Problem> {
        let manner = request::manner(&ask.query()?)?;
        let tags = Tags::read(&ask.head.headers, &IF_MATCH)?;
        let but = Tags::read(&ask.head.headers, &IF_NONE_MATCH)?;
        request::content_encoding(&ask.head.headers)?;
        Ok(Self { manner, tags, but })
    }

    /// Step 13. The store asks `If-Match` again, under its lock; `If-None-Match` ends here, for a generation that was not current
    /// only becomes so by the change of somebody else.
    fn admit(&self, ask: &Ask, precondition: Precondition) -> Result<(), Problem> {
        self.admit_match(ask, precondition)?;
        let Some(but) = &self.but else {
            return Ok(());
        };
        let current = read::current(ask)?.generation;
        match but.finds(current) {
            true => Err(found(but, current)),
            false => Ok(()),
        }
    }

    fn admit_match(&self, ask: &Ask, precondition: Precondition) -> Result<(), Problem> {
        let wanted = match &self.tags {
            Some(Tags::Any) => return Ok(()),
            Some(tags) => tags.strong(),
            None if ask.app.plan.require_if_match && precondition == Precondition::AsSet => {
                let current = read::current(ask)?.generation;
                return Err(if_match_required(current));
            }
            None => return Ok(()),
        };
        let current = read::current(ask)?.generation;
        match wanted.contains(&current) {
            true => Ok(()),
            false => Err(mismatch(&wanted, current)),
        }
    }

    fn change(&self, ask: &Ask, operation: Operation) -> Change {
        Change {
            expect: self.tags.as_ref().map(Tags::strong).unwrap_or_default(),
            dry_run: self.manner.dry_run,
            confirm: self.manner.confirm,
            by: ask.peer.name(),
            ..Change::from(operation)
        }
    }
}

fn if_match_required(current: u64) -> Problem {
    Problem::new(
        Slug::IfMatchRequired,
        "this topic takes no change without If-Match",
    )
    .hint(format!(
        "read the value, then send the change with If-Match: \"{current}\""
    ))
    .generation(current)
}

fn mismatch(wanted: &[u64], current: u64) -> Problem {
    /// Generations that a detail repeats; the header may hold hundreds.
    const SHOWN: usize = 3;
    let named: Vec<String> = wanted
        .iter()
        .filter(|named| **named != 0)
        .map(u64::to_string)
        .collect();
    let named = match named.as_slice() {
        [] => "no generation".to_owned(),
        [one] => format!("generation {one}"),
        many if many.len() <= SHOWN => format!("generations {}", many.join(", ")),
        many => {
            let (shown, more) = many.split_at(SHOWN);
            format!("generations {} and {} more", shown.join(", "), more.len())
        }
    };
    let detail = format!("If-Match names {named}, the current generation is {current}");
    let hint = format!("read the value again, then repeat with If-Match: \"{current}\"");
    Problem::new(Slug::GenerationMismatch, detail)
        .hint(hint)
        .generation(current)
}

/// `If-None-Match` names what is current. There is always a value, so `*` does.
fn found(but: &Tags, current: u64) -> Problem {
    let named = match but {
        Tags::Any => "*, and there is always a value".to_owned(),
        Tags::List(_) => format!("generation {current}, which is current"),
    };
    let hint = format!(
        "leave it out; a change that depends on what is current says If-Match: \"{current}\""
    );
    Problem::new(
        Slug::GenerationMismatch,
        format!("If-None-Match names {named}"),
    )
    .hint(hint)
    .generation(current)
}

/// `GET /`: the demo's touch.
pub(crate) async fn root(ask: Ask) -> Result<Response, Problem> {
    let terms = Terms::check(&ask)?;
    if !ask.peer.is_local() {
        let detail = "a plain GET changes the value only from this machine";
        return Err(Problem::new(Slug::PeerRefused, detail));
    }
    let quickstart = ask.app.plan.profile == crate::settings::Profile::Quickstart;
    if !quickstart {
        return Err(
            Problem::new(Slug::TouchDisabled, "GET / is for the quickstart profile")
                .hint("use POST /v1/touch"),
        );
    }
    let applied = touched(&ask, &terms).await?;
    let number = applied
        .touched
        .as_ref()
        .map(Value::to_string)
        .unwrap_or_default();
    let text = format!("the latest configuration is {number}\n");
    Ok(with_generation(
        reply(StatusCode::OK, TEXT, text),
        applied.generation,
    ))
}

/// `POST /v1/touch`.
pub(crate) async fn touch(ask: Ask) -> Result<Response, Problem> {
    let terms = Terms::check(&ask)?;
    Ok(answer::change(touched(&ask, &terms).await?))
}

async fn touched(ask: &Ask, terms: &Terms) -> Result<Applied, Problem> {
    no_body(ask)?;
    if ask.app.plan.touch.is_none() {
        return Err(Problem::new(
            Slug::TouchDisabled,
            "touch is not configured for this instance",
        )
        .hint("set touch = { step = … }"));
    }
    terms.admit(ask, Precondition::Exempt)?;
    submit(ask, terms, Operation::Touch, None).await
}

/// `PUT /v1/config[/{pointer}]`.
pub(crate) async fn put(ask: Ask, body: Body) -> Result<Response, Problem> {
    let terms = Terms::check(&ask)?;
    let pointer = read::pointer(&ask)?;
    request::media_type(&ask.head.headers, &[JSON])?;
    let taken = take_body(&ask, body).await?;
    terms.admit(&ask, Precondition::AsSet)?;
    let value = parse(&taken.bytes)?;
    let operation = Operation::Set {
        pointer: pointer.text(),
        value,
    };
    let source = Source {
        body: &taken.bytes,
        pointer: &pointer,
    };
    Ok(answer::change(
        submit(&ask, &terms, operation, Some(source)).await?,
    ))
}

/// `DELETE /v1/config[/{pointer}]`.
pub(crate) async fn delete(ask: Ask) -> Result<Response, Problem> {
    let terms = Terms::check(&ask)?;
    let pointer = read::pointer(&ask)?.text();
    no_body(&ask)?;
    terms.admit(&ask, Precondition::AsSet)?;
    let operation = match pointer.is_empty() {
        true => Operation::Reset,
        false => Operation::Remove { pointer },
    };
    Ok(answer::change(submit(&ask, &terms, operation, None).await?))
}

/// `PATCH /v1/config[/{pointer}]`.
pub(crate) async fn patch(ask: Ask, body: Body) -> Result<Response, Problem> {
    const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
    let terms = Terms::check(&ask)?;
    let pointer = read::pointer(&ask)?.text();
    let types = [MERGE_PATCH, JSON_PATCH];
    let media = request::media_type(&ask.head.headers, &types).map_err(|problem| {
        let accepted =
            HeaderValue::from_static("application/json-patch+json, application/merge-patch+json");
        problem.header(ACCEPT_PATCH, accepted)
    })?;
    let taken = take_body(&ask, body).await?;
    terms.admit(&ask, Precondition::AsSet)?;
    let document = parse(&taken.bytes)?;
    let operation = match media {
        JSON_PATCH => Operation::JsonPatch {
            pointer,
            operations: document,
        },
        _ => Operation::MergePatch { pointer, document },
    };
    Ok(answer::change(submit(&ask, &terms, operation, None).await?))
}

/// `POST /v1/rollback`.
pub(crate) async fn rollback(ask: Ask, body: Body) -> Result<Response, Problem> {
    let terms = Terms::check(&ask)?;
    let to = named_generation(&ask, body, &terms, Precondition::AsSet, "to").await?;
    let operation = Operation::Rollback { to };
    Ok(answer::change(submit(&ask, &terms, operation, None).await?))
}

/// `POST /v1/confirm`.
pub(crate) async fn confirm(ask: Ask, body: Body) -> Result<Response, Problem> {
    let terms = Terms::check(&ask)?;
    let exempt = Precondition::Exempt;
    let generation = named_generation(&ask, body, &terms, exempt, "generation").await?;
    let operation = Operation::Confirm { generation };
    let applied = submit(&ask, &terms, operation, None).await?;
    ask.app.hub.confirmed(applied.generation);
    Ok(answer::confirmed(applied.generation))
}

/// The generation that a body of one member names; `None` for no body and for `{}`.
async fn named_generation(
    ask: &Ask,
    body: Body,
    terms: &Terms,
    precondition: Precondition,
    member: &str,
) -> Result<Option<u64>, Problem> {
    if ask.is_empty {
        terms.admit(ask, precondition)?;
        return Ok(None);
    }
    request::media_type(&ask.head.headers, &[JSON])?;
    let taken = take_body(ask, body).await?;
    terms.admit(ask, precondition)?;
    one_generation(&taken.bytes, member)
}

fn one_generation(body: &[u8], member: &str) -> Result<Option<u64>, Problem> {
    let refuse = |detail: String, segment: Option<&str>| {
        let found = std::str::from_utf8(body)
            .ok()
            .and_then(|text| locate(text, segment));
        let place = position(body, found.map_or(0, |range| range.start));
        let pointer = segment.map(|segment| format!("/{segment}"));
        Err(Problem::new(Slug::SchemaViolation, detail)
            .hint(format!("send {{\"{member}\":<generation>}}"))
            .pointer(pointer.unwrap_or_default())
            .at(place))
    };
    match parse(body)? {
        Value::Object(members) => match members.get(member) {
            _ if members.keys().any(|name| name != member) => {
                refuse(format!("a member other than \"{member}\""), None)
            }
            None => Ok(None),
            Some(number) => match number.as_u64() {
                Some(generation) => Ok(Some(generation)),
                None => refuse(format!("\"{member}\" is no generation"), Some(member)),
            },
        },
        _ => refuse("not an object".to_owned(), None),
    }
}

fn no_body(ask: &Ask) -> Result<(), Problem> {
    if ask.is_empty {
        return Ok(());
    }
    Err(Problem::new(Slug::UnsupportedMediaType, "this request takes no body").closing())
}

/// A body that arrived whole. Its share of the memory for all bodies is held until the change is answered.
struct Taken {
    bytes: Bytes,
    _share: OwnedSemaphorePermit,
}

/// Step 12.
async fn take_body(ask: &Ask, body: Body) -> Result<Taken, Problem> {
    let limit = ask.app.plan.limits.body_bytes;
    let too_large = || {
        let detail = format!("the body is longer than {limit} bytes");
        Problem::new(Slug::BodyTooLarge, detail).closing()
    };
    let hint = body.size_hint();
    if hint.lower() > limit as u64 {
        return Err(too_large());
    }
    // Of unknown length: as much as it may become.
    let share = hint.exact().unwrap_or(limit as u64);
    let share = u32::try_from(share).unwrap_or(u32::MAX);
    let share = Arc::clone(&ask.app.bodies).try_acquire_many_owned(share);
    let Ok(share) = share else {
        let detail = "the bodies of other changes take all the memory there is for them";
        return Err(Problem::new(Slug::Busy, detail).closing());
    };
    let whole = timeout_at(
        ask.since + ask.app.plan.limits.body,
        Limited::new(body, limit).collect(),
    );
    let arrived = tokio::select! {
        arrived = whole => arrived,
        // A stop does not wait for a client that has not even said what it wants.
        () = ask.app.phase.stopping() => return Err(app::stopping().closing()),
    };
    match arrived {
        Ok(Ok(body)) => Ok(Taken {
            bytes: body.to_bytes(),
            _share: share,
        }),
        Ok(Err(error)) if is_length_limit(error.as_ref()) => Err(too_large()),
        Ok(Err(error)) => {
            tracing::debug!("a body broke off: {error}");
            let detail = "the body did not arrive whole";
            Err(Problem::new(Slug::BadJson, detail).closing())
        }
        Err(_) => {
            let seconds = ask.app.plan.limits.body.as_secs_f64();
            let detail = format!("the body was not complete {seconds} s after the head");
            Err(Problem::new(Slug::BodyTimeout, detail).closing())
        }
    }
}

fn is_length_limit(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<LengthLimitError>() || error.source().is_some_and(is_length_limit)
}

fn parse(body: &[u8]) -> Result<Value, Problem> {
    hotshoe_json::read(body, DEPTH_MAX).map_err(|fault| {
        let slug = Slug::from_word(fault.slug).unwrap_or(Slug::BadJson);
        Problem::new(slug, fault.detail).at(position(body, fault.offset))
    })
}

/// Where the value of a change was written: the store's pointers lead into it.
#[derive(Clone, Copy)]
struct Source<'a> {
    body: &'a [u8],
    /// Where the body's value goes.
    pointer: &'a Pointer,
}

impl Source<'_> {
    /// Where in the body the value at `pointer` begins; `None` where it is not from there.
    fn position(self, pointer: &str) -> Option<Position> {
        let pointer = Pointer::from_text(pointer);
        let below = pointer.below(self.pointer)?;
        let text = std::str::from_utf8(self.body).ok()?;
        let range = locate(text, below.iter().map(String::as_str))?;
        Some(position(self.body, range.start))
    }
}

async fn submit(
    ask: &Ask,
    terms: &Terms,
    operation: Operation,
    source: Option<Source<'_>>,
) -> Result<Applied, Problem> {
    let op = metrics::op(&operation);
    let outcome = ask.app.queue.change(terms.change(ask, operation)).await;
    ask.app.metrics.changed(op, terms.manner.dry_run, &outcome);
    outcome.map_err(|refused| {
        if matches!(refused.slug, Slug::StorageFailed | Slug::StoreReadonly) {
            ask.app.set_read_only(true);
        }
        problem(refused, source)
    })
}

/// The store's refusal, with its places in the body.
fn problem(refused: Refused, source: Option<Source<'_>>) -> Problem {
    // The other refusals are about the path or the precondition, not about what the body says.
    let in_body = matches!(refused.slug, Slug::SchemaViolation | Slug::PluginVeto);
    let source = source.filter(|_| in_body);
    let place = |pointer: &str| source.and_then(|source| source.position(pointer));
    let each = refused
        .violations
        .into_iter()
        .map(|(pointer, detail)| Violation {
            position: place(&pointer),
            detail,
            pointer,
        });
    let mut violations: Vec<Violation> = each.collect();
    // The store knows the canonical order; the client wrote another one.
    if violations
        .iter()
        .all(|violation| violation.position.is_some())
    {
        violations.sort_by_key(|violation| violation.position);
    }
    let (detail, pointer) = match violations.first() {
        Some(first) => (first.detail.clone(), Some(first.pointer.clone())),
        None => (refused.detail, refused.pointer),
    };
    let mut problem = Problem::new(refused.slug, detail);
    if let Some(pointer) = pointer {
        if let Some(position) = place(&pointer) {
            problem = problem.at(position);
        }
        problem = problem.pointer(pointer);
    }
    if let Some(hint) = refused.hint {
        problem = problem.hint(hint);
    }
    if let Some(index) = refused.operation {
        problem = problem.operation(index);
    }
    if let Some(after) = refused.retry_after {
        problem = problem.retry_after_s(after.as_secs().max(1));
    }
    if refused.slug.names_generation() && refused.generation != 0 {
        problem = problem.generation(refused.generation);
    }
    if violations.len() > 1 {
        problem = problem.errors(&violations);
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(problem: &Problem) -> Value {
        serde_json::from_slice(&problem.body()).unwrap()
    }

    fn refused(pointer: &str, violations: &[(&str, &str)]) -> Refused {
        let own = |(pointer, detail): &(&str, &str)| ((*pointer).to_owned(), (*detail).to_owned());
        Refused {
            pointer: Some(pointer.to_owned()),
            violations: violations.iter().map(own).collect(),
            ..Refused::new(Slug::SchemaViolation, "first")
        }
    }

    #[test]
    fn c16_a_violation_is_placed_at_its_value() {
        for (sent, at, pointer, expected) in [
            (r#"{"value":1,"valeu":2}"#, "", "/valeu", Some((1, 20))),
            ("{}", "", "", Some((1, 1))),
            ("\n {\"value\":10.0}", "", "/value", Some((2, 11))),
            ("[1,\n \"x\"]", "/list", "/list/1", Some((2, 2))),
            ("  \"x\"", "/list/-", "/list/7", Some((1, 3))),
            ("1", "/list", "/other", None),
        ] {
            let at = Pointer::from_text(at);
            let source = Source {
                body: sent.as_bytes(),
                pointer: &at,
            };
            let found = body(&problem(refused(pointer, &[]), Some(source)));
            let place = found["line"].as_u64().zip(found["column"].as_u64());
            assert_eq!(place, expected, "{sent}");
            assert_eq!(found["pointer"], pointer);
            assert!(found.get("errors").is_none() && found.get("generation").is_none());
        }
    }

    #[test]
    fn a_fault_of_the_path_has_no_place_in_the_body() {
        let at = Pointer::from_text("/l/01");
        let source = Source {
            body: b"1",
            pointer: &at,
        };
        let mut missing = refused("/l/01", &[]);
        missing.slug = Slug::PointerNotFound;
        let found = body(&problem(missing, Some(source)));
        assert!(found.get("line").is_none() && found.get("column").is_none());
    }

    #[test]
    fn c17_violations_are_in_the_order_of_the_body() {
        let sent = "{\n\"b\":1,\n\"c\":2,\n\"a\":3}";
        let root = Pointer::default();
        let source = Source {
            body: sent.as_bytes(),
            pointer: &root,
        };
        let refused = refused("/a", &[("/a", "A"), ("/b", "B"), ("/c", "C")]);
        let found = body(&problem(refused, Some(source)));
        let lines: Vec<_> = found["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| &e["line"])
            .collect();
        assert_eq!(lines, [2, 3, 4]);
        assert_eq!(
            (&found["detail"], &found["pointer"], &found["line"]),
            (&"B".into(), &"/b".into(), &2.into())
        );
    }

    #[test]
    fn a_body_of_one_member_names_a_generation() {
        assert_eq!(one_generation(b"{}", "to").unwrap(), None);
        assert_eq!(one_generation(b"{\"to\":7}", "to").unwrap(), Some(7));
        for (sent, pointer, column) in [
            ("[]", "", 1),
            ("{\"to\":-1}", "/to", 7),
            ("{\"to\":1,\"of\":2}", "", 1),
        ] {
            let found = body(&one_generation(sent.as_bytes(), "to").unwrap_err());
            assert_eq!(
                (&found["pointer"], &found["column"]),
                (&pointer.into(), &column.into())
            );
        }
    }

    #[test]
    fn c10_a_mismatch_names_what_was_asked() {
        for (wanted, expected) in [
            (&[2][..], "generation 2"),
            (&[0], "no generation"),
            (&[1, 2], "generations 1, 2"),
            (&[1, 2, 4, 5, 6], "generations 1, 2, 4 and 2 more"),
        ] {
            let text = mismatch(wanted, 3).to_string();
            let expected = format!(
                "generation-mismatch: If-Match names {expected}, the current generation is 3"
            );
            assert_eq!(text, expected);
        }
    }
}
