//! A path that is never the same file twice: one thread renames libraries over it and writes into it as fast as it can,
//! while others verify and load what they find there.
//!
//! Three files take turns, all of one length: two plugins, which answer different schemas, and a library that no host takes
//! and that leaves a mark when anybody opens it. Whatever a load ran, its bytes must be one of the plugins, whole.

use hotshoe_loader::{Policy, Staged, Staging, load, verify};
use std::{
    collections::BTreeMap,
    fs,
    os::{fd::AsRawFd as _, unix::fs::symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

/// How often the path was made another file.
#[derive(Debug, Default)]
pub struct Swaps {
    /// By renaming another over it.
    pub renamed: AtomicU64,
    /// By writing into it.
    pub rewritten: AtomicU64,
}

/// Makes all images as long as the longest: what follows an ELF file's last section is nobody's.
pub fn same_length(images: &mut [Vec<u8>]) {
    let longest = images.iter().map(Vec::len).max().unwrap_or_default();
    for image in images {
        image.resize(longest, 0);
    }
}

/// Stops the swapping when it goes out of scope, also by a failed assertion: its thread ends either way.
pub struct Stopped<'a>(pub &'a AtomicBool);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Swaps until told to stop. The path is there at every moment.
///
/// Mostly it is a link that is replaced by another: those lead to files that have long been at rest, so that a load may succeed.
/// In between it becomes a new file, which then is written into, as `cp` does.
pub fn swap(path: &Path, images: &[Vec<u8>], files: &[PathBuf], stop: &AtomicBool, swaps: &Swaps) {
    const LINKS_PER_FILE: usize = 200;
    let next = path.with_extension("next");
    let mut turn = 0_usize;
    while !stop.load(Ordering::Relaxed) {
        symlink(&files[turn % files.len()], &next).expect("a link of our own");
        fs::rename(&next, path).expect("a file of our own");
        swaps.renamed.fetch_add(1, Ordering::Relaxed);
        turn = turn.wrapping_add(1);
        if turn % LINKS_PER_FILE == 0 {
            let cycle = turn / LINKS_PER_FILE;
            fs::write(&next, &images[cycle % images.len()]).expect("a file of our own");
            fs::rename(&next, path).expect("a file of our own");
            // Whoever opened it before now reads the beginning of the one and the end of the other.
            let other = &images[(cycle + 1 + cycle / images.len()) % images.len()];
            fs::write(path, other).expect("a file of our own");
            swaps.rewritten.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What loads of a path came to: `ran plugin-a`, `refused truncated`, `FOREIGN …`, and how often.
pub type Outcomes = BTreeMap<String, u64>;

/// A plugin that may be found at the path: its bytes, their digest and its name.
pub struct Known {
    /// The file.
    bytes: Vec<u8>,
    /// What the loader says is the file's SHA-256.
    digest: [u8; 32],
    /// The name in its manifest.
    pub name: String,
    /// What it answers.
    pub schema: String,
}

/// Verifies and loads `loads` times. What was opened stays in this process, so a process does a few hundred.
pub fn load_all(path: &Path, known: &[Known], loads: u64, staging: &Staging) -> Outcomes {
    let policy = Policy {
        staging: staging.clone(),
        ..Policy::default()
    };
    let mut outcomes = Outcomes::new();
    for _ in 0..loads {
        *outcomes.entry(outcome(path, known, &policy)).or_default() += 1;
    }
    outcomes
}

fn outcome(path: &Path, known: &[Known], policy: &Policy) -> String {
    let verified = match verify(path, policy) {
        Ok(verified) => verified,
        Err(refusal) => return format!("refused {}", refusal.code),
    };
    let copy = copy_of(&verified.staged);
    let Some(of) = known.iter().find(|known| known.bytes == copy) else {
        return format!("FOREIGN bytes were verified as {}", verified.manifest.name);
    };
    if *verified.staged.sha256() != of.digest {
        return format!("FOREIGN digest of {}", of.name);
    }
    if verified.manifest.name != of.name {
        return format!(
            "FOREIGN manifest: {} of {}",
            verified.manifest.name, of.name
        );
    }
    match load(verified, "swapped") {
        Err(refusal) => format!("FOREIGN refusal after verify: {refusal}"),
        Ok(library) => match library.module.settings_schema()().into_result() {
            Ok(schema) if schema.as_str() == of.schema => format!("ran {}", of.name),
            _ => format!("FOREIGN code answered for {}", of.name),
        },
    }
}

/// The bytes that `dlopen` is about to map, read where it finds them.
fn copy_of(staged: &Staged) -> Vec<u8> {
    let copy = match (staged.descriptor(), staged.file()) {
        (Some(memfd), _) => fs::read(format!("/proc/self/fd/{}", memfd.as_raw_fd())),
        (None, Some(file)) => fs::read(file),
        (None, None) => unreachable!("a copy is in memory or in a folder"),
    };
    copy.expect("a copy of our own")
}

/// Loads a library that nobody swaps and says what it is.
pub fn known(path: &Path) -> Known {
    let verified = verify(path, &Policy::default()).expect("a good plugin");
    let digest = *verified.staged.sha256();
    let library = load(verified, "known").expect("a good plugin");
    let schema = library.module.settings_schema()().into_result();
    Known {
        bytes: fs::read(path).expect("a file of our own"),
        digest,
        name: library.manifest.name,
        schema: schema.expect("a good plugin").into(),
    }
}

/// Writes the three images, all of one length, beside the path: the two plugins come first.
pub fn images(folder: &Path, plugins: [&Path; 2], hostile: &Path) -> (Vec<Vec<u8>>, [PathBuf; 3]) {
    let files = ["a.so", "b.so", "hostile.so"].map(|name| folder.join(name));
    let sources = [plugins[0], plugins[1], hostile];
    let mut images: Vec<Vec<u8>> = (files.iter().zip(sources))
        .map(|(file, source)| {
            // A debug build is mostly names; what is swapped should take no longer than what is loaded.
            let strip = Command::new("strip")
                .args(["-s", "-o"])
                .args([file.as_path(), source])
                .status();
            assert!(
                strip.is_ok_and(|status| status.success()),
                "`strip` of binutils"
            );
            fs::read(file).expect("a file of our own")
        })
        .collect();
    same_length(&mut images);
    for (file, image) in files.iter().zip(&images) {
        fs::write(file, image).expect("a file of our own");
    }
    (images, files)
}
