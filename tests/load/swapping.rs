//! A path that is never the same file twice: one thread renames libraries over it and writes into it as fast as it can,
//! while others verify and load what they find there.
//!
//! Three files take turns, all of one length: two plugins, which answer different schemas, and a library that no host takes
//! and that leaves a mark when anybody opens it. Whatever a load ran, its bytes must be one of the plugins, whole.

use hotshoe_loader::{Policy, Staging, load, verify};
use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
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

/// Swaps until told to stop. The path is there at every moment.
pub fn swap(path: &Path, images: &[Vec<u8>], stop: &AtomicBool, swaps: &Swaps) {
    let mut turn = 0_usize;
    while !stop.load(Ordering::Relaxed) {
        let next = path.with_extension(format!("next{}", turn % 2));
        fs::write(&next, &images[turn % images.len()]).expect("a file of our own");
        fs::rename(&next, path).expect("a file of our own");
        swaps.renamed.fetch_add(1, Ordering::Relaxed);
        // Another one, into the same file: half of the time whoever opened it before now reads a mixture.
        let other = &images[(turn + 1 + turn / images.len()) % images.len()];
        let mut file = OpenOptions::new()
            .write(true)
            .open(path)
            .expect("a file of our own");
        file.write_all(other).expect("a file of our own");
        swaps.rewritten.fetch_add(1, Ordering::Relaxed);
        turn = turn.wrapping_add(1);
    }
}

/// What loads of a path came to: `ran plugin-a`, `refused truncated`, `FOREIGN …`, and how often.
pub type Outcomes = BTreeMap<String, u64>;

/// A plugin that may be found at the path: its bytes' digest and its name.
pub struct Known {
    /// SHA-256 of the file.
    pub digest: [u8; 32],
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
    let digest = verified.staged.sha256().expect("the copy is ours");
    let Some(of) = known.iter().find(|known| known.digest == digest) else {
        return format!("FOREIGN bytes were verified as {}", verified.manifest.name);
    };
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

/// Loads a library that nobody swaps and says what it is.
pub fn known(path: &Path) -> Known {
    let verified = verify(path, &Policy::default()).expect("a good plugin");
    let digest = verified.staged.sha256().expect("the copy is ours");
    let library = load(verified, "known").expect("a good plugin");
    let schema = library.module.settings_schema()().into_result();
    Known {
        digest,
        name: library.manifest.name,
        schema: schema.expect("a good plugin").into(),
    }
}

/// Writes the three images beside the path, and answers them with the paths of the two plugins.
pub fn images(folder: &Path, plugins: [&Path; 2], hostile: &Path) -> (Vec<Vec<u8>>, [PathBuf; 2]) {
    let read = |path: &Path| fs::read(path).expect("a library that cargo just built");
    let mut images = vec![read(plugins[0]), read(plugins[1]), read(hostile)];
    same_length(&mut images);
    let paths = [folder.join("known-a.so"), folder.join("known-b.so")];
    for (path, image) in paths.iter().zip(&images) {
        fs::write(path, image).expect("a file of our own");
    }
    (images, paths)
}
