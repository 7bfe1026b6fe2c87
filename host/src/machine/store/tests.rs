//! What the store promises. Here: the worked examples of the contract, history, groups; beside it, by subject, tables of
//! one row, one change, one answer; `model.rs` compares it with a list of values.

mod declare;
mod model;
mod operations;
mod pending;
mod refusals;

use super::*;
use serde_json::json;

pub(super) const AT: &str = "2026-01-02T03:04:05.000000Z";
const NOW: Duration = Duration::from_secs(1_000);

pub(super) fn declaration<'a>(schema: &'a [u8], initial: &'a [u8]) -> Declaration<'a> {
    Declaration {
        topic: "dynamic-config",
        store_id: "7f3a9c21".into(),
        schema,
        initial,
        settings: StoreSettings::default(),
        at: AT.into(),
        by: "host".into(),
    }
}

pub(super) fn store_of(schema: &Value, initial: &str, settings: StoreSettings) -> Store {
    let schema = canonical(schema);
    let declared = Declaration {
        settings,
        ..declaration(&schema, initial.as_bytes())
    };
    Store::open(declared).unwrap()
}

/// The quickstart's topic: `{"value":10}`, a touch adds 10.
fn quickstart() -> Store {
    let touch = Some(Touch {
        pointer: "/value".into(),
        step: 10,
    });
    let settings = StoreSettings {
        touch,
        ..StoreSettings::default()
    };
    store_of(&builtin_schema(), "{\"value\":10}", settings)
}

/// A topic that takes any document.
fn anything(initial: &str) -> Store {
    store_of(&json!(true), initial, StoreSettings::default())
}

pub(super) fn change(operation: Operation) -> Change {
    Change {
        operation,
        expect: Expect::Absent,
        dry_run: false,
        confirm: None,
        by: "tcp:127.0.0.1".into(),
    }
}

fn value(text: &str) -> Value {
    hotshoe_json::read(text.as_bytes(), 200).unwrap()
}

fn set(pointer: &str, text: &str) -> Operation {
    Operation::Set {
        pointer: pointer.into(),
        value: value(text),
    }
}

fn remove(pointer: &str) -> Operation {
    Operation::Remove {
        pointer: pointer.into(),
    }
}

fn patch(pointer: &str, text: &str) -> Operation {
    Operation::JsonPatch {
        pointer: pointer.into(),
        ops: value(text),
    }
}

fn merge_patch(pointer: &str, text: &str) -> Operation {
    Operation::MergePatch {
        pointer: pointer.into(),
        document: value(text),
    }
}

fn expecting(operation: Operation, generation: u64) -> Change {
    Change {
        expect: Expect::OneOf(vec![generation]),
        ..change(operation)
    }
}

fn confirming(mut change: Change, seconds: u64) -> Change {
    change.confirm = Some(Duration::from_secs(seconds));
    change
}

pub(super) fn run(
    store: &mut Store,
    change: &Change,
    now: Duration,
) -> Result<Applied, ChangeError> {
    match store.evaluate(change, now)? {
        Evaluated::NoOp(applied) => Ok(applied),
        Evaluated::Candidate(candidate) => Ok(store.commit(candidate, AT)),
        Evaluated::DryRun(dry_run) => panic!("not asked for: {dry_run:?}"),
    }
}

fn apply(store: &mut Store, operation: Operation) -> Applied {
    run(store, &change(operation), NOW).unwrap()
}

pub(super) fn text(document: &[u8]) -> &str {
    std::str::from_utf8(document).unwrap()
}

#[test]
fn the_worked_examples_of_the_contract() {
    let mut store = quickstart();
    let touched = apply(&mut store, Operation::Touch);
    assert_eq!((touched.generation, touched.touched), (2, Some(20)));
    assert_eq!(text(&touched.document), "{\"value\":20}");

    let put = expecting(set("", "{\"value\":42}"), 2);
    let applied = run(&mut store, &put, NOW).unwrap();
    assert_eq!(
        (
            applied.changed,
            applied.generation,
            applied.parent,
            applied.op.as_str()
        ),
        (true, 3, 2, "put")
    );
    let stale = run(&mut store, &put, NOW).unwrap_err();
    assert_eq!(stale.slug, "generation-mismatch");
    assert_eq!(
        stale.detail,
        "If-Match names generation 2, the current generation is 3"
    );
    assert_eq!(stale.generation, Some(3));
    assert_eq!(
        stale.hint.as_deref(),
        Some("read the value again, then repeat with If-Match: \"3\"")
    );

    let wrong = store
        .evaluate(&change(set("", "{\"value\":\"x\"}")), NOW)
        .unwrap_err();
    assert_eq!(wrong.slug, "schema-violation");
    assert_eq!(wrong.detail, "\"x\" is not of type \"integer\"");
    assert_eq!(wrong.pointer.as_deref(), Some("/value"));
    assert_eq!((wrong.generation, wrong.hint.as_deref()), (None, None));
    assert!(wrong.violations.is_empty());

    let dry_run = Change {
        dry_run: true,
        ..change(set("/value", "43"))
    };
    let Ok(Evaluated::DryRun(dry_run)) = store.evaluate(&dry_run, NOW) else {
        panic!("a dry run")
    };
    assert_eq!((dry_run.changed, dry_run.generation), (true, 3));
    assert_eq!(
        (text(&dry_run.document), dry_run.asks_checkers),
        ("{\"value\":43}", true)
    );
    assert_eq!(
        text(&canonical(&dry_run.patch)),
        "[{\"op\":\"replace\",\"path\":\"/value\",\"value\":43}]"
    );

    let provisional = confirming(change(merge_patch("", "{\"value\":7}")), 60);
    let candidate = match store.evaluate(&provisional, NOW) {
        Ok(Evaluated::Candidate(candidate)) => candidate,
        other => panic!("{other:?}"),
    };
    let applied = store.commit(candidate, "2026-01-02T03:04:08.000000Z");
    assert_eq!(
        applied.confirm,
        Some(Confirming {
            base: 3,
            deadline: "2026-01-02T03:05:08.000000Z".into()
        })
    );
    let confirmed = apply(&mut store, Operation::Confirm { generation: None });
    assert_eq!(
        (confirmed.confirmed, confirmed.changed, confirmed.generation),
        (true, false, 4)
    );
    assert_eq!(confirmed.confirm, None);

    let rolled = apply(&mut store, Operation::Rollback { to: Some(2) });
    assert_eq!(
        (rolled.generation, rolled.parent, rolled.op.as_str()),
        (5, 4, "rollback")
    );
    assert_eq!(
        text(&canonical(&store.diff(3, 5).unwrap())),
        "[{\"op\":\"replace\",\"path\":\"/value\",\"value\":20}]"
    );
    let page = store.history(None, 2);
    assert_eq!((page.newest, page.next, page.oldest), (5, Some(4), 1));
    let items: Vec<_> = page
        .items
        .iter()
        .map(|e| (e.generation, e.op.as_str(), e.parent, e.from))
        .collect();
    assert_eq!(
        items,
        [(5, "rollback", 4, Some(2)), (4, "merge-patch", 3, None)]
    );
    let mark = page.items[1].confirm.as_ref().unwrap();
    assert_eq!((mark.outcome.as_str(), mark.base), ("confirmed", 3));
}

#[test]
fn history_keeps_what_the_limits_allow_and_always_current_parent_and_base() {
    let settings = StoreSettings {
        history_generations: 3,
        history_bytes: HISTORY_BYTES_MIN,
        value_len_max: 6 << 20,
        ..StoreSettings::default()
    };
    let mut store = store_of(&json!({"type": ["string", "integer"]}), "0", settings);
    for i in 1..5 {
        apply(&mut store, set("", &i.to_string()));
    }
    assert_eq!(store.history(None, 10).oldest, 3);
    assert_eq!(store.entry(2).unwrap_err(), Missing::Gone(2));
    assert_eq!(store.entry(6).unwrap_err(), Missing::NotFound(6));
    let gone = change(Operation::Rollback { to: Some(1) });
    assert_eq!(
        store.evaluate(&gone, NOW).unwrap_err().slug,
        "generation-gone"
    );

    let large = |c: &str| Operation::Set {
        pointer: String::new(),
        value: c.repeat(5 << 20).into(),
    };
    apply(&mut store, large("a"));
    assert_eq!(store.history(None, 10).oldest, 4);
    apply(&mut store, large("b"));
    // 5 MiB behind generation 6 are within 8 MiB, 10 MiB behind 5 are not.
    assert_eq!(store.history(None, 10).oldest, 6);
    let first = run(&mut store, &confirming(change(set("", "1")), 60), NOW).unwrap();
    assert_eq!(first.confirm.unwrap().base, 7);
    for i in 8..14 {
        let next = confirming(expecting(set("", &i.to_string()), i), 60);
        run(&mut store, &next, NOW).unwrap();
    }
    assert_eq!(store.history(None, 10).oldest, 12);
    assert_eq!(store.entry(7).unwrap().document.len(), (5 << 20) + 2);
    assert_eq!(store.entry(8).unwrap_err(), Missing::Gone(8));
    let back = apply(&mut store, Operation::Rollback { to: None });
    assert_eq!((back.generation, back.document.len()), (15, (5 << 20) + 2));
    assert_eq!(store.entry(7).unwrap_err(), Missing::Gone(7));
}

#[test]
fn what_counts_against_the_history_is_what_came_after() {
    let settings = StoreSettings {
        history_bytes: HISTORY_BYTES_MIN,
        value_len_max: VALUE_LEN_LIMIT_BYTES,
        ..StoreSettings::default()
    };
    let large = format!("\"{}\"", "x".repeat(HISTORY_BYTES_MIN));
    let mut store = store_of(&json!(true), &large, settings);
    for i in 2..5 {
        apply(&mut store, set("", &i.to_string()));
    }
    // The first one alone is over the limit, but hardly anything came after it.
    assert_eq!(store.history(None, 10).oldest, 1);
    assert!(store.history_bytes() > HISTORY_BYTES_MIN);
    apply(&mut store, set("", &large));
    // Now more than the limit came after generation 4, which is the current one's parent.
    assert_eq!(store.history(None, 10).oldest, 4);
}

#[test]
fn pages_and_cursors_walk_the_history_without_gaps() {
    let mut store = quickstart();
    for _ in 0..9 {
        apply(&mut store, Operation::Touch);
    }
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let page = store.history(before, 3);
        seen.extend(page.items.iter().map(|entry| entry.generation));
        assert_eq!((page.newest, page.oldest), (10, 1));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, (1..=10).rev().collect::<Vec<_>>());
    assert!(store.history(Some(1), 50).items.is_empty());
    let after = |generation, limit| -> Result<Vec<u64>, Missing> {
        let entries = store.since(generation, limit)?;
        Ok(entries.iter().map(|entry| entry.generation).collect())
    };
    assert_eq!(after(7, 50), Ok(vec![8, 9, 10]));
    assert_eq!(after(7, 1), Ok(vec![8]));
    assert_eq!(after(10, 50), Ok(vec![]));
    assert_eq!(after(11, 50), Err(Missing::NotFound(11)));
    assert_eq!(after(u64::MAX, 50), Err(Missing::NotFound(u64::MAX)));
}

#[test]
fn a_group_is_evaluated_on_a_clone_and_dropped_without_a_trace() {
    let mut store = quickstart();
    let mut group = store.clone();
    let answers: Vec<_> = [
        expecting(set("/value", "1"), 1),
        expecting(set("/value", "2"), 1),
        change(Operation::Touch),
        change(Operation::Rollback { to: Some(2) }),
    ]
    .iter()
    .map(|change| {
        run(&mut group, change, NOW)
            .map(|a| a.generation)
            .map_err(|e| e.slug)
    })
    .collect();
    assert_eq!(answers, [Ok(2), Err("generation-mismatch"), Ok(3), Ok(4)]);
    assert_eq!(store.current().generation, 1);
    store = group;
    assert_eq!(text(&store.current().document), "{\"value\":1}");
}
