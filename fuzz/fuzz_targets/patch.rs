//! A document and a change of it, two texts with a NUL between: what comes out is a document, and its diff leads there.
#![no_main]

use hotshoe::fuzz::store::{
    Change, Declaration, Evaluated, Expect, Operation, Store, StoreSettings,
};
use hotshoe_json::{DEPTH_MAX, canonical, read};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use std::time::Duration;

/// Small, so that a patch comes to it.
const VALUE_LEN_MAX: usize = 2_048;
const NOW: Duration = Duration::from_secs(1);

/// What config-api §4 lets a patch be refused with.
const SLUGS: [&str; 9] = [
    "bad-patch",
    "bad-pointer",
    "document-too-large",
    "number-out-of-range",
    "patch-path-missing",
    "patch-test-failed",
    "pointer-not-found",
    "schema-violation",
    "too-deep",
];

fn store(initial: &[u8]) -> Option<Store> {
    let settings = StoreSettings {
        value_len_max: VALUE_LEN_MAX,
        ..StoreSettings::default()
    };
    let declaration = Declaration {
        topic: "t",
        store_id: "00000000".to_owned(),
        schema: b"true",
        initial,
        settings,
        at: "2026-01-02T03:04:05.000000Z".to_owned(),
        by: "host".to_owned(),
    };
    Store::open(declaration).ok()
}

fn change(operation: Operation) -> Change {
    Change {
        operation,
        expect: Expect::Absent,
        dry_run: false,
        confirm: None,
        by: "host".to_owned(),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(3, |byte| *byte == 0);
    let (Some(pointer), Some(initial), Some(patch)) = (parts.next(), parts.next(), parts.next())
    else {
        return;
    };
    let Ok(pointer) = std::str::from_utf8(pointer).map(str::to_owned) else {
        return;
    };
    let (Some(mut store), Ok(patch)) = (store(initial), read(patch, DEPTH_MAX)) else {
        return;
    };
    let operation = match patch.is_array() {
        true => Operation::JsonPatch {
            pointer,
            ops: patch,
        },
        false => Operation::MergePatch {
            pointer,
            document: patch,
        },
    };
    let before = store.current().document.clone();
    match store.evaluate(&change(operation), NOW) {
        Ok(Evaluated::Candidate(candidate)) => {
            let document = candidate.document().expect("a change has one").to_vec();
            assert!(document.len() <= VALUE_LEN_MAX);
            let value = read(&document, DEPTH_MAX).expect("a document is JSON, and not too deep");
            assert_eq!(canonical(&value), document);
            let applied = store.commit(candidate, "2026-01-02T03:04:06.000000Z");
            assert_eq!(applied.generation, 2);
            // There and back, exactly.
            for (from, to, expected) in [(1, 2, &document[..]), (2, 1, &before)] {
                let ops = store.diff(from, to).expect("both are kept");
                assert_eq!(applied_to(&store, from, ops), expected);
            }
        }
        Ok(Evaluated::NoOp(_)) => assert_eq!(store.current().document, before),
        Ok(Evaluated::DryRun(_)) => unreachable!("it was not asked for"),
        Err(refused) => {
            assert!(SLUGS.contains(&refused.slug), "{refused}");
            assert!(!refused.detail.chars().any(char::is_control), "{refused}");
            assert_eq!(store.current().document, before);
        }
    }
});

/// The value of generation `from` with a patch applied.
fn applied_to(store: &Store, from: u64, ops: Value) -> Vec<u8> {
    let entry = store.entry(from).expect("it is kept");
    let mut other = self::store(&entry.document).expect("a document may be an initial value");
    let operation = Operation::JsonPatch {
        pointer: String::new(),
        ops,
    };
    match other.evaluate(&change(operation), NOW) {
        Ok(Evaluated::Candidate(candidate)) => {
            other.commit(candidate, "2026-01-02T03:04:06.000000Z");
        }
        Ok(Evaluated::NoOp(_)) => {}
        found => panic!("a diff is no patch: {found:?}"),
    }
    other.current().document.to_vec()
}
