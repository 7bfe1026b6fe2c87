//! The text of a lock file: what is read is written and read back as the same.
#![no_main]

use hotshoe_loader::Lock;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| match Lock::parse(bytes) {
    Ok(lock) => {
        let text = lock.text();
        let again = Lock::parse(text.as_bytes()).expect("our own text is readable");
        assert_eq!(again, lock);
        assert_eq!(again.text(), text);
        assert_eq!(lock.differences(&again), []);
    }
    Err(misread) => {
        let lines = 1 + bytes.iter().filter(|byte| **byte == b'\n').count();
        assert!(misread.line <= lines, "{misread:?}");
        assert!(
            !misread.to_string().chars().any(char::is_control),
            "{misread:?}"
        );
    }
});
