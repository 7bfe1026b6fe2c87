//! What a signature costs a load, apart from reading the file: the bound is 0.2 ms.
#![allow(
    missing_docs,
    reason = "criterion's macro makes an undocumented function"
)]

use criterion::{Criterion, criterion_group, criterion_main};
use hotshoe_loader::{SecretKey, Subject, judge_signature};
use std::{hint::black_box, path::Path};

fn verification(c: &mut Criterion) {
    let key = SecretKey::from_seed(&[7; 32]);
    let subject = Subject {
        sha256: [1; 32],
        len_bytes: 1 << 20,
        name: "geoip".to_owned(),
        version: "1.2.3".to_owned(),
        abi: "1.0.0".to_owned(),
    };
    let text = key.sign(&subject);
    let keys = [SecretKey::from_seed(&[8; 32]).public(), key.public()];
    let library = Path::new("libgeoip.so");
    c.bench_function("signature/judge", |bencher| {
        bencher.iter(|| {
            judge_signature(
                library,
                black_box(&subject),
                Some(black_box(text.as_bytes())),
                Some(&keys),
            )
            .expect("signed")
        });
    });
}

criterion_group!(benches, verification);
criterion_main!(benches);
