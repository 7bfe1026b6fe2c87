//! Files that somebody writes into, in place and without cutting them first, while they are verified: what was inspected, what
//! was digested and what is staged are one reading of the file, so a load gets one of the two libraries whole, or a refusal.
#![cfg(target_os = "linux")]
#![allow(missing_docs, reason = "a test binary")]

mod workshop;

use hotshoe_loader::{Lock, LockedLibrary, Named, Policy, RefusalCode, Subject, Verified, verify};
use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};
use workshop::{MANIFEST, Workshop, spoiled_entry};

/// As `cp --no-truncate` would write it, if there were one: block by block, over what is there.
const BLOCK_BYTES: usize = 4096;

/// Two plugins of one length that differ in their manifests and in a megabyte of filling.
fn two(shop: &Workshop) -> [Vec<u8>; 2] {
    let pair = [("a.so", 'a', "name=fixture"), ("b.so", 'b', "name=foreign")];
    let images = pair.map(|(file, with, name)| {
        let filler =
            format!("const char filler[1 << 20] = {{[0 ... (1 << 20) - 1] = '{with}'}};\n");
        let entry = format!("{filler}{}", spoiled_entry());
        let manifest = MANIFEST.replace("name=fixture", name);
        fs::read(shop.plugin(file, &manifest, &entry, &[])).expect(file)
    });
    assert!(images[0].len() == images[1].len() && images[0] != images[1]);
    images
}

fn overwrite(file: &File, image: &[u8]) {
    for (index, block) in image.chunks(BLOCK_BYTES).enumerate() {
        let at = (index * BLOCK_BYTES) as u64;
        file.write_all_at(block, at).expect("a file of our own");
    }
}

fn record(verified: &Verified) -> LockedLibrary {
    let subject = Subject::of(verified);
    LockedLibrary::of("x", "swapped.so", &subject, &verified.staged)
}

/// The record of an image that nobody touches.
fn record_of(shop: &Workshop, image: &[u8]) -> LockedLibrary {
    record(&verify(&shop.write("still.so", image), &Policy::default()).expect("a good plugin"))
}

#[test]
fn a_library_that_is_overwritten_in_place_is_whole_or_refused() {
    const LOADS: u64 = 100;
    let shop = Workshop::new();
    let images = two(&shop);
    let records = images.each_ref().map(|image| record_of(&shop, image));
    let path = shop.write("swapped.so", &images[0]);
    let (stop, loads) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut whole, mut refused) = ([0, 0], 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut turn = 1;
            while !stop.load(Ordering::Relaxed) {
                let file = File::options().write(true).open(&path).expect("open");
                overwrite(&file, &images[turn % 2]);
                drop(file);
                turn += 1;
                // Every third time it rests until a load was made, or none would ever succeed.
                let until = loads.load(Ordering::Relaxed) + 2;
                while turn % 3 == 0
                    && loads.load(Ordering::Relaxed) < until
                    && !stop.load(Ordering::Relaxed)
                {
                    std::thread::yield_now();
                }
            }
        });
        let _stopped = Stopped(&stop);
        // On, until both were seen: how often a load meets the writer is the scheduler's business.
        let deadline = Instant::now() + Duration::from_secs(120);
        while loads.load(Ordering::Relaxed) < LOADS
            || ((whole == [0, 0] || refused == 0) && Instant::now() < deadline)
        {
            match verify(&path, &Policy::default()) {
                Ok(verified) => {
                    let found = record(&verified);
                    let which = records.iter().position(|record| *record == found);
                    let which =
                        which.unwrap_or_else(|| panic!("a mixture was verified: {found:?}"));
                    assert_eq!(verified.manifest.name, ["fixture", "foreign"][which]);
                    whole[which] += 1;
                }
                Err(refusal) => {
                    assert_eq!(
                        refusal.code,
                        RefusalCode::ChangedWhileLoading,
                        "{refusal:?}"
                    );
                    refused += 1;
                }
            }
            loads.fetch_add(1, Ordering::Relaxed);
        }
    });
    assert!(
        whole[0] + whole[1] > 0 && refused > 0,
        "{whole:?} whole, {refused} refused: nothing was shown"
    );
}

struct Stopped<'a>(&'a AtomicBool);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A writer that rests half-way shows in no time and in no length: the kernel knows that it has the file open. One that gave
/// up there has left a file that looks like a library: the digest of what was staged shows it, to a lock of either library and
/// to a signature, which is over that digest.
#[test]
fn what_a_writer_left_half_written_is_seen_by_the_kernel_or_by_the_lock() {
    let shop = Workshop::new();
    let images = two(&shop);
    let path = shop.write("swapped.so", &images[0]);
    let writer = File::options().write(true).open(&path).expect("open");
    let middle = images[1].len() / 2 / BLOCK_BYTES * BLOCK_BYTES;
    overwrite(&writer, &images[1][..middle]);
    let refusal = verify(&path, &Policy::default()).expect_err("a writer rests in it");
    assert_eq!(refusal.code, RefusalCode::ChangedWhileLoading);
    assert_eq!(&*refusal.found, "somebody has it open for writing");
    drop(writer);

    let verified = verify(&path, &Policy::default()).expect("a mixture that looks like a library");
    let found = record(&verified);
    for image in &images {
        let locked = record_of(&shop, image);
        let lock = Lock::new(vec![locked]);
        let refusal = lock
            .judge(Path::new("swapped.so"), &found, Named::ByTheConfiguration)
            .expect_err("other bytes");
        assert_eq!(refusal.code, RefusalCode::HashMismatch);
    }
}
