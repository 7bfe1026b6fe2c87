//! What a library says about itself: what is accepted is within its limits, what is refused is told in one line.
#![no_main]

use hotshoe_loader::parse_manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| match parse_manifest(bytes) {
    Ok(manifest) => {
        assert!(manifest.name.len() <= 64, "{manifest:?}");
        let words = [
            &manifest.name,
            &manifest.version,
            &manifest.symbol,
            &manifest.target,
        ];
        for word in words {
            assert!(!word.chars().any(char::is_control), "{word:?}");
        }
        serde_json::to_string(&manifest).expect("a manifest is printable as JSON");
    }
    Err(fault) => {
        for word in [&fault.wanted, &fault.found] {
            assert!(!word.chars().any(char::is_control), "{word:?}");
        }
    }
});
