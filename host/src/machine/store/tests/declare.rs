//! What may be declared, restored and declared again.

use super::*;

fn refusal(schema: &str, initial: &str, settings: StoreSettings) -> (&'static str, String) {
    let declared = Declaration {
        settings,
        ..declaration(schema.as_bytes(), initial.as_bytes())
    };
    let error = Store::open(declared).unwrap_err();
    (error.code, error.message)
}

#[test]
fn a_declaration_is_refused_with_its_key_and_what_is_allowed() {
    let default = StoreSettings::default;
    let touch = |pointer: &str, step| StoreSettings {
        touch: Some(Touch {
            pointer: pointer.into(),
            step,
        }),
        ..default()
    };
    let integer = r#"{"type":"integer"}"#;
    let number = r#"{"type":"number"}"#;
    for (schema, initial, settings, code, start) in [
        ("{", "1", default(), "config-bad-setting", "schema: byte 1:"),
        (
            "1",
            "1",
            default(),
            "config-bad-setting",
            "schema: it is neither",
        ),
        (
            r#"{"type":"intger"}"#,
            "1",
            default(),
            "config-bad-setting",
            "schema: ",
        ),
        (
            r#"{"pattern":"(?=x)"}"#,
            "1",
            default(),
            "config-bad-setting",
            "schema: ",
        ),
        (
            r#"{"pattern":"(a)\\1"}"#,
            "1",
            default(),
            "config-bad-setting",
            "schema: ",
        ),
        (
            r#"{"$ref":"http://x/y"}"#,
            "1",
            default(),
            "config-bad-setting",
            "schema: ",
        ),
        (
            r#"{"type":"object"}"#,
            "{}",
            default(),
            "config-schema-open",
            "schema: ",
        ),
        (
            integer,
            "\"x\"",
            default(),
            "config-bad-setting",
            "initial: \"x\" is not of type",
        ),
        (
            integer,
            "1 1",
            default(),
            "config-bad-setting",
            "initial: byte 2:",
        ),
        (
            "true",
            "{\"a\":1,\"a\":1}",
            default(),
            "config-bad-setting",
            "initial: byte 7:",
        ),
        (
            integer,
            "1",
            touch("", 0),
            "config-bad-setting",
            "touch.step: ",
        ),
        (
            integer,
            "1",
            touch("/x", 1),
            "config-bad-setting",
            "touch.pointer: \"/x\" names no",
        ),
        (
            integer,
            "1",
            touch("x", 1),
            "config-bad-setting",
            "touch.pointer: \"x\" (",
        ),
        (
            number,
            "1",
            touch("", 1),
            "config-bad-setting",
            "touch.pointer: \"\" may hold",
        ),
        (
            number,
            "1.5",
            touch("", 1),
            "config-bad-setting",
            "touch.pointer: \"\" names no",
        ),
        (
            "true",
            "\"aaaa\"",
            StoreSettings {
                value_len_max: 5,
                ..default()
            },
            "config-bad-setting",
            "initial: 6 bytes; allowed: at most 5",
        ),
        (
            "true",
            "1",
            StoreSettings {
                value_len_max: 0,
                ..default()
            },
            "config-bad-setting",
            "max_body: 0; allowed: at least 1",
        ),
        (
            "true",
            "1",
            StoreSettings {
                value_len_max: (16 << 20) + 1,
                ..default()
            },
            "config-bad-setting",
            "max_body: ",
        ),
        (
            "true",
            "1",
            StoreSettings {
                history_generations: 1,
                ..default()
            },
            "config-bad-setting",
            "history_generations: 1; allowed: at least 2",
        ),
        (
            "true",
            "1",
            StoreSettings {
                history_bytes: 1,
                ..default()
            },
            "config-bad-setting",
            "history_bytes: 1; ",
        ),
    ] {
        let (found, message) = refusal(schema, initial, settings);
        assert_eq!(found, code, "{schema}: {message}");
        assert!(message.starts_with(start), "{schema}: {message}");
        assert!(message.contains("; allowed: "), "{schema}: {message}");
    }
}

#[test]
fn a_declared_store_starts_at_generation_one() {
    let store = store_of(
        &builtin_schema(),
        " {\"value\": 10} ",
        StoreSettings::default(),
    );
    let entry = store.current();
    assert_eq!(
        (entry.generation, entry.parent, entry.op),
        (1, 0, Op::Initial)
    );
    assert_eq!((entry.at.as_str(), entry.by.as_str()), (AT, "host"));
    assert_eq!(text(&entry.document), "{\"value\":10}");
    assert_eq!(
        (store.topic(), store.store_id()),
        ("dynamic-config", "7f3a9c21")
    );
    assert_eq!(**store.schema(), *canonical(&builtin_schema()));
}

fn entry(generation: u64, document: &str) -> Entry {
    Entry {
        generation,
        parent: generation - 1,
        op: Op::Put,
        at: AT.into(),
        by: "host".into(),
        from: None,
        reason: None,
        confirm: None,
        document: document.as_bytes().into(),
    }
}

fn restore(entries: Vec<Entry>) -> Result<Store, DeclareError> {
    Store::restore(declaration(br#"{"type":"integer"}"#, b"0"), entries)
}

#[test]
fn a_restored_store_goes_on_where_the_journal_ends() {
    // A recovery may have skipped generations.
    let mut store = restore(vec![entry(1, "1"), entry(2, "2"), entry(9, "9")]).unwrap();
    assert_eq!(
        (store.current().generation, text(&store.current().document)),
        (9, "9")
    );
    assert_eq!(store.entry(5).unwrap_err(), Missing::Gone(5));
    assert_eq!(store.entry(2).unwrap().generation, 2);
    assert!(store.restart_rollback().is_none());
    let applied = run(&mut store, &change(Operation::Reset), NOW).unwrap();
    assert_eq!((applied.generation, text(&applied.document)), (10, "0"));

    let code = |entries| restore(entries).unwrap_err().code;
    assert_eq!(code(vec![]), "config-state-corrupt");
    assert_eq!(
        code(vec![entry(2, "1"), entry(2, "1")]),
        "config-state-corrupt"
    );
    assert_eq!(code(vec![entry(1, "\"x\"")]), "config-state-schema");
    for document in ["", "1 ", "01", "{}}"] {
        assert_eq!(code(vec![entry(1, document)]), "config-state-corrupt");
        // An older one is only missed when it is asked for.
        let store = restore(vec![entry(1, document), entry(2, "2")]).unwrap();
        let back = change(Operation::Rollback { to: Some(1) });
        assert_eq!(
            store.evaluate(&back, NOW).unwrap_err().slug,
            "generation-gone"
        );
        assert_eq!(store.diff(1, 2).unwrap_err(), Missing::Gone(1));
    }
}

#[test]
fn a_restored_pending_generation_goes_back_before_anybody_reads() {
    let waiting = |outcome| {
        let mut waiting = entry(3, "3");
        waiting.confirm = Some(ConfirmMark {
            base: 1,
            deadline: AT.into(),
            outcome,
        });
        waiting
    };
    let entries = |last| vec![entry(1, "1"), entry(2, "2"), last];
    assert!(
        restore(entries(waiting(Outcome::Confirmed)))
            .unwrap()
            .pending()
            .is_none()
    );
    let lost = restore(vec![entry(2, "2"), waiting(Outcome::Pending)]).unwrap_err();
    assert_eq!(lost.code, "config-state-corrupt");

    let mut store = restore(entries(waiting(Outcome::Pending))).unwrap();
    let back = store.restart_rollback().unwrap();
    let applied = store.commit(back, AT);
    assert_eq!((applied.generation, text(&applied.document)), (4, "1"));
    assert_eq!(store.current().reason.as_deref(), Some("restart"));
    let mark = store.entry(3).unwrap().confirm.clone().unwrap();
    assert_eq!(mark.outcome.as_str(), "restart");
}

#[test]
fn a_topic_declared_again_keeps_its_generations() {
    let mut store = store_of(
        &builtin_schema(),
        "{\"value\":10}",
        StoreSettings::default(),
    );
    run(&mut store, &change(set("/value", "11")), NOW).unwrap();
    let schema = canonical(&builtin_schema());
    let touch = Some(Touch {
        pointer: "/value".into(),
        step: 5,
    });
    let again = Declaration {
        settings: StoreSettings {
            touch,
            ..StoreSettings::default()
        },
        ..declaration(&schema, b"{\"value\":0}")
    };
    let Ok(Evaluated::Candidate(early)) = store.evaluate(&change(set("/value", "12")), NOW) else {
        panic!("a change")
    };
    assert!(store.fits(&early));
    store.redeclare(again).unwrap();
    assert!(!store.fits(&early));
    assert_eq!(store.current().generation, 2);
    let touched = run(&mut store, &change(Operation::Touch), NOW).unwrap();
    assert_eq!(touched.touched, Some(16));
    let reset = run(&mut store, &change(Operation::Reset), NOW).unwrap();
    assert_eq!(text(&reset.document), "{\"value\":0}");

    let stricter = store
        .redeclare(declaration(br#"{"type":"string"}"#, b"\"\""))
        .unwrap_err();
    assert_eq!(stricter.code, "config-state-schema");
    assert_eq!(**store.schema(), *schema);
}

#[test]
fn the_words_of_op_read_back() {
    for word in [
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
    ] {
        assert_eq!(Op::from_word(word).unwrap().to_string(), word);
    }
    assert_eq!(Op::from_word("Put"), None);
}
