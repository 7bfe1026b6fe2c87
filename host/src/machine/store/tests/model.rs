//! The store against a model that cannot be wrong: a list of values. Random operations, some refused, some no-ops.

use proptest::prelude::*;

use super::*;

fn documents() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2_i64..3).prop_map(Value::from),
        Just(Value::from(u64::MAX)),
        Just(value("1.0")),
        Just(value("0.1")),
        "[a~/\u{e9}\"\n]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[ab/]{0,1}", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn pointers() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        Just("/a"),
        Just("/b"),
        Just("/~1"),
        Just("/"),
        Just("/0"),
        Just("/1"),
        Just("/-"),
        Just("/01"),
        Just("/~2"),
    ];
    prop::collection::vec(segment, 0..3).prop_map(|segments| segments.concat())
}

fn patches() -> impl Strategy<Value = Value> {
    let step =
        (0_u8..6, pointers(), pointers(), documents()).prop_map(|(verb, path, from, value)| {
            match verb {
                0 => json!({"op": "add", "path": path, "value": value}),
                1 => json!({"op": "remove", "path": path}),
                2 => json!({"op": "replace", "path": path, "value": value}),
                3 => json!({"op": "move", "from": from, "path": path}),
                4 => json!({"op": "copy", "from": from, "path": path}),
                _ => json!({"op": "test", "path": path, "value": value}),
            }
        });
    prop::collection::vec(step, 0..4).prop_map(Value::from)
}

fn operations() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (pointers(), documents())
            .prop_map(|(pointer, value)| Operation::Set { pointer, value }),
        2 => pointers().prop_map(|pointer| Operation::Remove { pointer }),
        4 => (pointers(), patches())
            .prop_map(|(pointer, ops)| Operation::JsonPatch { pointer, ops }),
        2 => (pointers(), documents())
            .prop_map(|(pointer, document)| Operation::MergePatch { pointer, document }),
        1 => Just(Operation::Reset),
        1 => Just(Operation::Touch),
        2 => prop::option::of(0_u64..30).prop_map(|to| Operation::Rollback { to }),
        1 => Just(Operation::Confirm { generation: None }),
    ]
}

#[derive(Debug, Clone)]
struct Asked {
    operation: Operation,
    on_current: bool,
    confirm: bool,
    after_s: u64,
}

fn asked() -> impl Strategy<Value = Asked> {
    (
        operations(),
        any::<bool>(),
        prop::bool::weighted(0.2),
        0_u64..30,
    )
        .prop_map(|(operation, on_current, confirm, after_s)| Asked {
            operation,
            on_current,
            confirm,
            after_s,
        })
}

/// All that an outsider can see of a store.
fn seen(store: &Store) -> (Page, Option<(u64, Duration)>, Vec<u8>) {
    let waiting = store.pending().map(|p| (p.base.generation, p.deadline));
    (
        store.history(None, 1_000),
        waiting,
        canonical(store.value()),
    )
}

/// Applies `patch` to `from` with the store's own evaluation.
fn patched(from: &[u8], ops: Value) -> Vec<u8> {
    let mut store = anything(text(from));
    let operation = Operation::JsonPatch {
        pointer: String::new(),
        ops,
    };
    run(&mut store, &change(operation), NOW)
        .unwrap()
        .document
        .to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_is_a_list_of_values(initial in documents(), script in prop::collection::vec(asked(), 0..25)) {
        let initial = canonical(&initial);
        let mut store = anything(text(&initial));
        let mut model: Vec<Vec<u8>> = vec![initial];
        let mut now = NOW;
        for step in script {
            now += Duration::from_secs(step.after_s);
            if let Some(back) = store.tick(now) {
                let base = store.pending().unwrap().base.document.to_vec();
                prop_assert!(store.commit(back, AT).changed);
                model.push(base);
            }
            let generation = model.len() as u64;
            let expect = if step.on_current {
                Expect::OneOf(vec![generation])
            } else {
                Expect::Absent
            };
            let change = Change {
                expect,
                confirm: step.confirm.then_some(Duration::from_secs(40)),
                ..change(step.operation)
            };
            let before = seen(&store);
            let waited = store.pending().map(|p| p.base.document.to_vec());
            let evaluated = store.evaluate(&change, now);
            prop_assert_eq!(&seen(&store), &before);
            match evaluated {
                Err(error) => prop_assert!(!error.slug.is_empty()),
                Ok(Evaluated::DryRun(_)) => prop_assert!(false, "nobody asked for a dry run"),
                Ok(Evaluated::NoOp(applied)) => {
                    prop_assert_eq!(applied.generation, generation);
                    prop_assert_eq!(&*applied.document, &model[model.len() - 1][..]);
                }
                Ok(Evaluated::Candidate(candidate)) => {
                    let document = candidate.document().cloned();
                    let applied = store.commit(candidate, AT);
                    match document {
                        None => {
                            prop_assert!(waited.is_some() && applied.confirmed);
                            prop_assert_eq!(applied.generation, generation);
                        }
                        Some(document) => {
                            prop_assert_eq!((applied.generation, applied.parent), (generation + 1, generation));
                            if let Operation::Rollback { to } = change.operation {
                                let expected = match (to, waited) {
                                    (None, Some(base)) => base,
                                    (None, None) => model[model.len() - 2].clone(),
                                    (Some(to), _) => model[to as usize - 1].clone(),
                                };
                                prop_assert_eq!(&document[..], &expected[..]);
                            }
                            model.push(document.to_vec());
                        }
                    }
                }
            }
            // The value is what its document says; that edits count its length right is asserted in `Edit::into_root`.
            prop_assert_eq!(&canonical(store.value())[..], &store.current().document[..]);
        }
        let page = store.history(None, 1_000);
        prop_assert_eq!(page.items.len(), model.len());
        for (entry, (i, document)) in page.items.iter().rev().zip(model.iter().enumerate()) {
            prop_assert_eq!((entry.generation, entry.parent), (i as u64 + 1, i as u64));
            prop_assert_eq!(&entry.document[..], &document[..]);
            prop_assert_eq!(canonical(&hotshoe_json::read(document, DEPTH_MAX).unwrap()), document.clone());
        }
    }

    #[test]
    fn applying_a_diff_gives_the_other_value_exactly(from in documents(), to in documents()) {
        let (from, to) = (canonical(&from), canonical(&to));
        let patch = diff::diff(&value(text(&from)), &value(text(&to)));
        prop_assert_eq!(patched(&from, patch), to);
    }

    #[test]
    fn edits_know_the_length_of_their_document(document in documents(), at in pointers(), put in documents()) {
        let len_bytes = canonical(&document).len();
        let mut store = anything(text(&canonical(&document)));
        let operation = Operation::Set { pointer: at, value: put };
        // A limit one byte below the result refuses it, the result's own length admits it.
        if let Ok(applied) = run(&mut store, &change(operation.clone()), NOW) {
            let result = applied.document.len();
            for (limit, fits) in [(result, true), (result - 1, false)] {
                if limit >= len_bytes {
                    let settings = StoreSettings { value_len_max: limit, ..StoreSettings::default() };
                    let mut tight = store_of(&json!(true), text(&canonical(&document)), settings);
                    let found = run(&mut tight, &change(operation.clone()), NOW);
                    prop_assert_eq!(found.map_err(|e| e.slug).err(), (!fits).then_some("document-too-large"));
                }
            }
        }
    }
}
