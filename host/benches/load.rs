//! What it costs to get a library from its file into the process, all checks on, lock and signature included.
#![allow(
    missing_docs,
    reason = "criterion's macro makes an undocumented function"
)]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use hotshoe_loader::{
    Lock, LockedLibrary, Named, Policy, PublicKey, SecretKey, Subject, Verified, inspect,
    judge_signature, load, verify, verify_all,
};
use std::{
    hint::black_box,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

mod common;

/// What pins and vouches for one library.
struct Trust {
    path: PathBuf,
    lock: Lock,
    keys: [PublicKey; 1],
    signature: String,
}

impl Trust {
    fn of(path: &Path) -> Self {
        let verified = verify(path, &Policy::default()).expect("verified");
        let subject = Subject::of(&verified);
        let key = SecretKey::from_seed(&[7; 32]);
        Self {
            path: path.to_owned(),
            lock: Lock::new(vec![record(&subject, &verified)]),
            keys: [key.public()],
            signature: key.sign(&subject),
        }
    }

    /// As a start with `hotshoe.lock` and `require = "signed"` judges: one digest, for both.
    fn judge(&self, verified: &Verified) {
        let subject = Subject::of(verified);
        let named = Named::ByTheConfiguration;
        let locked = self
            .lock
            .judge(&self.path, &record(&subject, verified), named);
        assert!(locked.expect("as locked"));
        let signature = Some(self.signature.as_bytes());
        judge_signature(&self.path, &subject, signature, Some(&self.keys)).expect("signed");
    }

    /// As a host starts so many instances of it: verified side by side, then judged and opened one after the other.
    fn whole(&self, instances: usize) {
        let wanted = vec![&self.path; instances];
        for verified in verify_all(&wanted, |path| verify(path, &Policy::default())) {
            let verified = verified.expect("verified");
            self.judge(&verified);
            black_box(load(verified, "bench").expect("loaded").module);
        }
    }
}

fn record(subject: &Subject, verified: &Verified) -> LockedLibrary {
    LockedLibrary::of("bench", "libbench.so", subject, &verified.staged)
}

fn loading(c: &mut Criterion) {
    let path = common::library("hotshoe-quickstart");
    let bytes = std::fs::read(&path).expect("the library");
    println!("the library has {} bytes", bytes.len());
    let trust = Trust::of(&path);
    let mut group = c.benchmark_group("load");
    group.bench_function("inspect", |bencher| {
        bencher.iter(|| inspect(black_box(&bytes)).expect("inspected"))
    });
    group.bench_function("verify, stage, digest", |bencher| {
        bencher.iter(|| verify(black_box(&path), &Policy::default()).expect("verified"));
    });
    let verified = verify(&path, &Policy::default()).expect("verified");
    group.bench_function("lock, signature", |bencher| {
        bencher.iter(|| trust.judge(black_box(&verified)));
    });
    // Each stays loaded, as in a host: few samples, or the process is all libraries.
    group.sample_size(20);
    group.measurement_time(Duration::from_millis(200));
    group.warm_up_time(Duration::from_millis(50));
    group.bench_function(
        "verify, stage, digest, lock, signature, open, handshake",
        |bencher| {
            bencher.iter_batched(|| (), |()| trust.whole(1), BatchSize::PerIteration);
        },
    );
    group.finish();
    hundred(&trust);
}

/// A hundred instances, each of them opened: by hand, because criterion would open some thousands and run out of descriptors.
fn hundred(trust: &Trust) {
    let round = |_| {
        let begun = Instant::now();
        trust.whole(100);
        begun.elapsed()
    };
    let mut rounds: Vec<Duration> = (0..5).map(round).collect();
    rounds.sort_unstable();
    println!(
        "load/a hundred, all of it: {:.1} ms ({:.1} to {:.1} in five rounds)",
        rounds[2].as_secs_f64() * 1e3,
        rounds[0].as_secs_f64() * 1e3,
        rounds[4].as_secs_f64() * 1e3
    );
}

criterion_group!(benches, loading);
criterion_main!(benches);
