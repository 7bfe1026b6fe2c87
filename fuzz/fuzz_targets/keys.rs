//! Key files: what is read is written and read back as the same, and no error repeats what stood there.
#![no_main]

use hotshoe_loader::{PublicKey, SecretKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(key) = PublicKey::parse(bytes) {
        assert_eq!(PublicKey::parse(key.text().as_bytes()), Ok(key));
    }
    match SecretKey::parse(bytes) {
        Ok(key) => {
            let again = SecretKey::parse(key.text().as_bytes()).expect("our own text is readable");
            assert_eq!(again.text(), key.text());
            assert_eq!(again.public(), key.public());
            let seed = key.text().lines().nth(1).map(str::to_owned);
            let seed = seed.expect("a second line").replace("seed=", "");
            assert!(!format!("{key:?}").contains(&seed));
        }
        Err(misread) => {
            // A digit or two may stand in any sentence; what looks like a piece of a seed may not.
            let words = misread.to_string();
            let text = String::from_utf8_lossy(bytes);
            let secrets = text.lines().filter_map(|line| line.strip_prefix("seed="));
            for secret in secrets.filter(|secret| looks_secret(secret)) {
                assert!(!words.contains(secret), "{words}");
            }
        }
    }
});

fn looks_secret(text: &str) -> bool {
    text.len() >= 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
