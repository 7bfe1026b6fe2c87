//! Signatures that hold, and every way in which one does not.

use super::*;
use proptest::prelude::*;

fn subject() -> Subject {
    Subject {
        sha256: [0xab; 32],
        len_bytes: 4711,
        name: "geoip".to_owned(),
        version: "1.2.3".to_owned(),
        abi: "1.0.0".to_owned(),
    }
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn judge(text: &[u8], keys: &[PublicKey]) -> Result<PublicKey, Refusal> {
    judge_signature(Path::new("libgeoip.so"), &subject(), Some(text), Some(keys))
}

#[track_caller]
fn refused(text: &[u8], keys: &[PublicKey], code: RefusalCode) -> Refusal {
    let refusal = judge(text, keys).expect_err("it is refused");
    assert_eq!(refusal.code, code, "{refusal:?}");
    assert!(refusal.fix.is_some() && !refusal.wanted.is_empty() && !refusal.found.is_empty());
    refusal
}

/// RFC 8032, 7.1, test 1: the same seed gives the same key everywhere.
#[test]
fn keys_are_those_of_the_standard() {
    let seed =
        unhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").expect("hex");
    let key = SecretKey::from_seed(&seed);
    let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    assert_eq!(key.public().to_string(), public);
}

#[test]
fn keys_survive_their_files_and_no_debug_shows_a_secret() {
    let secret = key(5);
    let again = SecretKey::parse(secret.text().as_bytes()).expect("a key");
    assert_eq!(again.public(), secret.public());
    let public = PublicKey::parse(secret.public().text().as_bytes()).expect("a key");
    assert_eq!(public, secret.public());
    let shown = format!("{secret:?}");
    assert!(!shown.contains("050505"), "{shown}");
    for wrong in ["seed=0505", "seed=05", "seed", ""] {
        let text = format!("{SECRET_KEY}\n{wrong}\n");
        let fault = SecretKey::parse(text.as_bytes()).expect_err("no key");
        assert!(!fault.to_string().contains("05"), "{fault}");
    }
}

/// The neutral element: a "signature" of it fits any message.
#[test]
fn a_key_that_anybody_can_sign_for_is_none() {
    let text = format!("{PUBLIC_KEY}\nkey=01{}\n", "00".repeat(31));
    let fault = PublicKey::parse(text.as_bytes()).expect_err("weak");
    assert_eq!((fault.line, &*fault.found), (2, "32 bytes that are none"));
}

#[test]
fn a_signature_names_its_key_and_holds_for_its_subject_alone() {
    let text = key(1).sign(&subject());
    let trusted = [key(2).public(), key(1).public()];
    assert_eq!(judge(text.as_bytes(), &trusted), Ok(key(1).public()));
    let changes: [fn(&mut Subject); 5] = [
        |subject| subject.sha256[31] ^= 1,
        |subject| subject.len_bytes += 1,
        |subject| subject.name.push('x'),
        |subject| subject.version.push('x'),
        |subject| subject.abi.push('x'),
    ];
    for change in changes {
        let mut other = subject();
        change(&mut other);
        let library = Path::new("libgeoip.so");
        let refusal = judge_signature(library, &other, Some(text.as_bytes()), Some(&trusted));
        assert_eq!(
            refusal.expect_err("other bytes").code,
            RefusalCode::BadSignature
        );
    }
}

#[test]
fn nothing_there_wrong_key_and_no_key_have_codes_of_their_own() {
    let library = Path::new("libgeoip.so");
    let refusal = judge_signature(library, &subject(), None, Some(&[])).expect_err("nothing");
    assert_eq!(refusal.code, RefusalCode::Unsigned);
    assert!(refusal.wanted.contains("libgeoip.so.sig"));
    let text = key(1).sign(&subject());
    let refusal = refused(
        text.as_bytes(),
        &[key(2).public()],
        RefusalCode::UntrustedKey,
    );
    assert!(refusal.found.contains(&key(1).public().to_string()));
    assert!(refusal.wanted.contains(&key(2).public().to_string()));
    refused(text.as_bytes(), &[], RefusalCode::UntrustedKey);
    let anybody = judge_signature(library, &subject(), Some(text.as_bytes()), None);
    assert_eq!(anybody, Ok(key(1).public()));
}

/// Whoever puts a trusted key's name over a signature of their own gets nowhere.
#[test]
fn another_key_s_signature_under_a_trusted_key_s_name_is_bad() {
    let (mine, theirs) = (key(1), key(2));
    let text = theirs.sign(&subject());
    let text = text.replace(&theirs.public().to_string(), &mine.public().to_string());
    refused(text.as_bytes(), &[mine.public()], RefusalCode::BadSignature);
}

#[test]
fn a_cut_off_signature_is_bad_at_every_length() {
    let text = key(1).sign(&subject());
    for len in 0..text.len() {
        refused(
            &text.as_bytes()[..len],
            &[key(1).public()],
            RefusalCode::BadSignature,
        );
    }
}

#[test]
fn every_changed_byte_is_noticed() {
    let text = key(1).sign(&subject());
    for at in 0..text.len() {
        for change in [1, 0x20, 0x80] {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= change;
            refused(&bytes, &[key(1).public()], RefusalCode::BadSignature);
        }
    }
}

#[test]
fn more_than_a_signature_is_bad_and_what_a_newer_host_signs_is_not() {
    let text = key(1).sign(&subject());
    let keys = [key(1).public()];
    for more in ["x=y\n", "\n", "name=geoip\n", " "] {
        refused(
            format!("{text}{more}").as_bytes(),
            &keys,
            RefusalCode::BadSignature,
        );
    }
    refused(
        "a=b\n".repeat(2000).as_bytes(),
        &keys,
        RefusalCode::BadSignature,
    );
    let (statement, _) = text.split_once("signature=").expect("a signature");
    let newer = format!("{statement}since=2030\n");
    let signature = key(1).0.sign(newer.as_bytes());
    let newer = format!("{newer}signature={}\n", hex(&signature.to_bytes()));
    assert_eq!(judge(newer.as_bytes(), &keys), Ok(key(1).public()));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let keys = [key(1).public()];
        prop_assert!(judge(&bytes, &keys).is_err());
        prop_assert!(PublicKey::parse(&bytes).is_err());
        prop_assert!(SecretKey::parse(&bytes).is_err());
    }

    #[test]
    fn no_lines_panic(lines in "(hotshoe-signature 1\n)?((sha256|size|key|signature|abi|x)=[0-9a-f]{0,70}\n){0,9}") {
        prop_assert!(judge(lines.as_bytes(), &[key(1).public()]).is_err());
    }
}
