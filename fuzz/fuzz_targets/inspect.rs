//! A library's bytes. Whatever they are: answered, and bounded by the file.
#![no_main]

use hotshoe_loader::{describe, inspect};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let words = match inspect(bytes) {
        Ok(inspection) => {
            assert_eq!(inspection.len_bytes, bytes.len() as u64);
            assert!(inspection.needed.len() <= bytes.len());
            serde_json::to_string(&inspection).expect("an inspection is printable as JSON");
            inspection.what()
        }
        Err(fault) => fault.to_string(),
    };
    // They stand in one line of a log, and no file may draw on a terminal.
    for words in [words, describe(bytes)] {
        assert!(!words.chars().any(char::is_control), "{words:?}");
    }
});
