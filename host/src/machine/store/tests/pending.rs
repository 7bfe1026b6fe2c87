//! Confirm or go back: the table of config-api §8.

use super::*;

fn waiting(store: &mut Store, now: Duration) -> Applied {
    let change = confirming(change(set("/value", "77")), 60);
    run(store, &change, now).unwrap()
}

#[test]
fn a_pending_change_refuses_all_others_until_it_is_confirmed() {
    let mut store = quickstart();
    assert_eq!(waiting(&mut store, NOW).confirm.unwrap().base, 1);
    assert_eq!(store.next_deadline(), Some(NOW + Duration::from_secs(60)));
    let later = NOW + Duration::from_millis(500);
    let by_star = Change {
        expect: Expect::Any,
        ..confirming(change(set("/value", "1")), 5)
    };
    for refused in [
        change(set("/value", "1")),
        change(Operation::Touch),
        change(Operation::Rollback { to: Some(2) }),
        confirming(change(set("/value", "1")), 5),
        expecting(set("/value", "1"), 2),
        by_star,
    ] {
        let error = store.evaluate(&refused, later).unwrap_err();
        assert_eq!(error.slug, "confirm-pending", "{refused:?}");
        assert_eq!(error.retry_after, Some(Duration::from_secs(60)));
    }
    let dry_run = Change {
        dry_run: true,
        ..change(set("/value", "1"))
    };
    assert!(matches!(
        store.evaluate(&dry_run, later),
        Ok(Evaluated::DryRun(_))
    ));
    let confirm = |generation| change(Operation::Confirm { generation });
    let wrong = store.evaluate(&confirm(Some(1)), later).unwrap_err();
    assert_eq!(wrong.slug, "generation-mismatch");
    let stale = expecting(Operation::Confirm { generation: None }, 1);
    assert_eq!(
        store.evaluate(&stale, later).unwrap_err().slug,
        "generation-mismatch"
    );
    assert_eq!(
        store.current().confirm.as_ref().unwrap().outcome,
        Outcome::Pending
    );

    let candidate = match store.evaluate(&confirm(Some(2)), later) {
        Ok(Evaluated::Candidate(candidate)) => candidate,
        other => panic!("{other:?}"),
    };
    assert!(!candidate.asks_checkers() && candidate.document().is_none());
    assert!(store.commit(candidate, AT).confirmed);
    assert!(store.pending().is_none() && store.tick(NOW + PENDING_MAX).is_none());
    assert_eq!(
        store.current().confirm.as_ref().unwrap().outcome,
        Outcome::Confirmed
    );
    let again = store.evaluate(&confirm(None), later).unwrap_err();
    assert_eq!(again.slug, "nothing-to-confirm");
}

#[test]
fn a_pending_change_goes_back_at_its_deadline_and_not_before() {
    let mut store = quickstart();
    waiting(&mut store, NOW);
    let deadline = NOW + Duration::from_secs(60);
    assert!(store.tick(deadline - Duration::from_nanos(1)).is_none());
    let candidate = store.tick(deadline).unwrap();
    assert!(!candidate.asks_checkers());
    // Confirmation and deadline race: at the deadline the confirmation has lost.
    let confirm = change(Operation::Confirm { generation: None });
    let lost = store.evaluate(&confirm, deadline).unwrap_err();
    assert_eq!(lost.slug, "nothing-to-confirm");
    let applied = store.commit(candidate, AT);
    assert_eq!(
        (applied.generation, applied.op.as_str()),
        (3, "auto-rollback")
    );
    assert_eq!(text(&applied.document), "{\"value\":10}");
    let entry = store.current();
    assert_eq!((entry.by.as_str(), entry.from), ("host", None));
    assert_eq!(entry.reason.as_deref(), Some("deadline"));
    let mark = store.entry(2).unwrap().confirm.clone().unwrap();
    assert_eq!(mark.outcome.as_str(), "expired");
    assert!(store.pending().is_none());
}

#[test]
fn a_provisional_change_may_take_the_place_of_another_and_keeps_the_base() {
    let mut store = quickstart();
    apply(&mut store, Operation::Touch);
    apply(&mut store, Operation::Touch);
    waiting(&mut store, NOW);
    let day = PENDING_MAX;
    let replace = |value: &str, on| confirming(expecting(set("/value", value), on), day.as_secs());
    let later = NOW + Duration::from_secs(30);
    let applied = run(&mut store, &replace("78", 4), later).unwrap();
    assert_eq!(applied.confirm.unwrap().base, 3);
    assert_eq!(
        store.entry(4).unwrap().confirm.as_ref().unwrap().outcome,
        Outcome::Superseded
    );
    // At most 24 hours after the first of them.
    assert_eq!(store.next_deadline(), Some(NOW + day));
    // The value of the base, provisionally: still pending, and the way back is still a generation.
    let applied = run(&mut store, &replace("30", 5), later).unwrap();
    assert_eq!(
        (applied.generation, text(&applied.document)),
        (6, "{\"value\":30}")
    );
    let back = apply(&mut store, Operation::Rollback { to: None });
    assert_eq!(
        (back.changed, back.generation, back.confirm.is_none()),
        (true, 7, true)
    );
    assert_eq!(text(&back.document), "{\"value\":30}");
    assert_eq!(
        store.entry(6).unwrap().confirm.as_ref().unwrap().outcome,
        Outcome::Cancelled
    );
    // A no-op starts no timer.
    let noop = confirming(change(set("/value", "30")), 60);
    let applied = run(&mut store, &noop, later).unwrap();
    assert!(!applied.changed && applied.confirm.is_none() && store.pending().is_none());
}
