//! Pointers, as the path of a request and as the text of RFC 6901: both sides of the plugin boundary read the same.
#![no_main]

use hotshoe::fuzz::store::pointer_text;
use hotshoe_dynamic_config::fuzz::path_pointer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(again) = pointer_text(text) {
        assert_eq!(again, text, "a pointer's text is the only one");
        assert!(text.split('/').count() <= 65);
        // As a path: whatever is not plain is percent-encoded.
        let path: String = text
            .bytes()
            .map(|byte| match byte {
                b'/' | b'~' | b'a'..=b'z' | b'0'..=b'9' => char::from(byte).to_string(),
                other => format!("%{other:02X}"),
            })
            .collect();
        assert_eq!(path_pointer(&path).as_deref(), Some(text));
    }
    if let Some(pointer) = path_pointer(text) {
        assert_eq!(
            pointer_text(&pointer),
            Some(pointer.clone()),
            "what the listener sends, the store reads"
        );
    }
});
