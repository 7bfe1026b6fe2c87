//! The journal's readers, for the fuzzer: what a start makes of the bytes of one segment, and what that must never be. Built
//! for a fuzzer alone; touches no disk.

use super::{
    line::{self, Line},
    recovery, segment,
};
use crate::machine::store::{Declaration, Store, StoreSettings};

const TOPIC: &str = "dynamic-config";

/// A line whose checksum and length are right, whatever it says: a fuzzer does not guess them.
pub fn framed(payload: &[u8]) -> Vec<u8> {
    line::frame(payload)
}

/// Reads a segment and goes on as a start would: judge, then restore. Answers how many generations are there afterwards.
///
/// - Panics: what is read is not what is written again, or more is kept than was read.
pub fn segment(bytes: &[u8]) -> usize {
    let read = segment::read(1, TOPIC, bytes);
    assert!(read.good_len <= bytes.len());
    assert!(read.entries.len() <= read.lines);
    assert!(read.fault.is_some() || read.good_len == bytes.len());
    let newest = read.entries.last().map_or(0, |entry| entry.generation);
    assert!(read.highest >= newest);

    // The good part alone is good, and says the same: this is what cutting a torn tail comes to.
    if !read.entries.is_empty() {
        let again = segment::read(1, TOPIC, &bytes[..read.good_len]);
        assert_eq!(again.fault, None);
        assert_eq!(
            (&again.entries, &again.header),
            (&read.entries, &read.header)
        );
    }
    lines(&bytes[..read.good_len]);

    let Ok(healthy) = recovery::judge(std::slice::from_ref(&read)) else {
        return 0;
    };
    assert_eq!(healthy.entries.len(), read.entries.len());
    let declaration = Declaration {
        topic: TOPIC,
        store_id: healthy.store,
        schema: b"true",
        initial: b"null",
        settings: StoreSettings::default(),
        at: "2026-01-02T03:04:05.000000Z".to_owned(),
        by: "host".to_owned(),
    };
    match Store::restore(declaration, healthy.entries) {
        Ok(store) => {
            let current = store.current();
            assert_eq!(current.generation, newest);
            let value = hotshoe_json::read(&current.document, hotshoe_json::DEPTH_MAX);
            let value = value.expect("a restored value is JSON");
            assert_eq!(*hotshoe_json::canonical(&value), *current.document);
            store.history(None, 1).items.len()
        }
        Err(_) => 0,
    }
}

/// Every good line is written again as the same bytes.
fn lines(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let (said, len) = line::read(bytes).expect("a good line");
        let again = match said {
            Line::Header(header) => line::header(&header),
            Line::Base(entry) => line::base(&entry),
            Line::Set(entry) => line::set(&entry),
            Line::Confirm { at, by, generation } => line::confirm(&at, &by, generation),
            Line::OtherVersion(_) => unreachable!("it ends a segment"),
        };
        assert_eq!(again, bytes[..len], "{}", String::from_utf8_lossy(&again));
        bytes = &bytes[len..];
    }
}
