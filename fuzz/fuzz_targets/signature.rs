//! What lies beside a library as its signature: only the whole statement about these bytes, by this key, is believed.
//!
//! An input whose first byte is odd is signed first, with the key that is trusted: the fuzzer then writes the statement
//! itself, as an author with a key may, and comes to what stands behind the signature's check.
#![no_main]

use ed25519_dalek::{Signer as _, SigningKey};
use hotshoe_loader::{PublicKey, SecretKey, Subject, hex, judge_signature, parse_manifest};
use libfuzzer_sys::fuzz_target;
use std::{path::Path, sync::LazyLock};

const SEED: [u8; 32] = [7; 32];
const MANIFEST: &[u8] = include_bytes!("../seeds/manifest/whole");

struct World {
    subject: Subject,
    keys: [PublicKey; 1],
    signature: String,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let manifest = parse_manifest(MANIFEST).expect("a whole manifest");
    let subject = Subject::of_bytes(b"a library", &manifest);
    let key = SecretKey::from_seed(&SEED);
    World {
        signature: key.sign(&subject),
        keys: [key.public()],
        subject,
    }
});

fuzz_target!(|bytes: &[u8]| {
    let World {
        subject,
        keys,
        signature,
    } = &*WORLD;
    let (resigned, text) = match bytes.split_first() {
        Some((first, rest)) if first % 2 == 1 => {
            let made = SigningKey::from_bytes(&SEED).sign(rest);
            let line = format!("signature={}\n", hex(&made.to_bytes()));
            (true, [rest, line.as_bytes()].concat())
        }
        Some((_, rest)) => (false, rest.to_vec()),
        None => (false, Vec::new()),
    };
    let judged = judge_signature(Path::new("l.so"), subject, Some(&text), Some(keys));
    let Ok(by) = judged else { return };
    assert_eq!(by, keys[0]);
    // Without the key only its owner's own text is believed; with it, only a statement that says all of this.
    assert!(resigned || text == signature.as_bytes());
    let said = String::from_utf8(text).expect("what is believed is text");
    let lines: Vec<&str> = said.lines().collect();
    for line in signature
        .lines()
        .filter(|line| !line.starts_with("signature="))
    {
        assert_eq!(
            lines.iter().filter(|found| **found == line).count(),
            1,
            "{line}"
        );
    }
});
