//! Damages libraries and manifests in every way that a seed can choose, and lets the loader's parsers read them.
//!
//! The same seed gives the same inputs on every machine, so that a panic can be repeated: it is reported with the number of
//! its input. Mounted by the program `fuzz_loader` and, for a short run, by the suite.

use hotshoe_loader::{
    InspectFault, Lock, PublicKey, SecretKey, Subject, inspect, judge_signature, parse_manifest,
};
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, Instant},
};

/// One input took longer than this: nothing that a file says may cost more.
pub const INPUT_MAX: Duration = Duration::from_secs(2);

/// A manifest that is read whole.
const MANIFEST: &[u8] = b"HOTSHOE-MANIFEST 1\nname=fixture\nversion=1.0.0\nabi=1.0.0\n\
    symbol=hotshoe_root_module_fixture\ncomponents=driver,processor\nrustc=rustc 1.85.0\npanic=unwind\n\
    profile=debug\ntarget=x86_64-unknown-linux-gnu\nEND\n";

/// What is damaged. A damaged signature is never accepted: every byte of it counts.
pub const KINDS: [&str; 4] = ["libraries", "manifests", "locks", "signatures"];

/// A lock that is read whole.
const LOCK: &[u8] = b"format = 1\n\n[[library]]\nname = \"a\"\nlibrary = \"./liba.so\"\nversion = \"0.1.0\"\nabi = \"1.0.0\"\n\
    size = 4711\nsha256 = \"0101010101010101010101010101010101010101010101010101010101010101\"\nneighbours = [\n    \
    { file = \"lib/z.so\", sha256 = \"0202020202020202020202020202020202020202020202020202020202020202\" },\n]\n";

/// A signature, what it is about, and the key that is believed.
fn signature() -> (Vec<u8>, Subject, PublicKey) {
    let key = SecretKey::from_seed(&[7; 32]);
    let manifest = parse_manifest(MANIFEST).expect("a whole manifest");
    let subject = Subject::of_bytes(b"a library", &manifest);
    (key.sign(&subject).into_bytes(), subject, key.public())
}

/// What became of the inputs.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Inputs read as each of [`KINDS`].
    pub accepted: [u64; 4],
    /// Inputs refused, likewise.
    pub refused: [u64; 4],
    /// Libraries among the refused that were said to be cut off.
    pub truncated: u64,
    /// Numbers of the inputs that panicked, the first hundred.
    pub panicked: Vec<u64>,
    /// Numbers of the inputs that took longer than [`INPUT_MAX`], likewise.
    pub lingered: Vec<u64>,
}

impl Counts {
    /// Whether every input was answered, in time.
    pub fn is_clean(&self) -> bool {
        self.panicked.is_empty() && self.lingered.is_empty()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, (accepted, refused)) in KINDS.iter().zip(self.accepted.iter().zip(self.refused))
        {
            write!(f, "{kind}: {accepted} accepted, {refused} refused; ")?;
        }
        write!(
            f,
            "{} cut off; panics: {:?}; over {INPUT_MAX:?}: {:?}",
            self.truncated, self.panicked, self.lingered
        )
    }
}

/// xorshift64: good enough to choose, and never zero.
struct Dice(u64);

impl Dice {
    /// The dice of one input, whatever came before it.
    fn of(seed: u64, input: u64) -> Self {
        // Fibonacci hashing; two rounds so that neighbours have nothing in common.
        let mut dice = Self((seed ^ input.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1);
        dice.next();
        dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 1).expect("64 bits") % limit.max(1)
    }
}

/// Reads `inputs` damaged copies of the libraries and of a manifest, numbered from `first` on.
pub fn run(libraries: &[Vec<u8>], seed: u64, first: u64, inputs: u64) -> Counts {
    let mut counts = Counts::default();
    let (signature, subject, key) = signature();
    let keys = [key];
    for input in first..first.saturating_add(inputs) {
        let mut dice = Dice::of(seed, input);
        // Every second input is a library: there is most to get wrong.
        let kind = match input % 6 {
            3 => 1,
            4 => 2,
            5 => 3,
            _ => usize::from(libraries.is_empty()),
        };
        let damaged = match kind {
            0 => damage_library(&libraries[dice.below(libraries.len())], &mut dice),
            1 => damage(MANIFEST, MANIFEST.len(), &mut dice),
            2 => damage(LOCK, LOCK.len(), &mut dice),
            _ => damage(&signature, signature.len(), &mut dice),
        };
        let begun = Instant::now();
        let answer = catch_unwind(AssertUnwindSafe(|| match kind {
            0 => match inspect(&damaged) {
                Ok(inspection) => {
                    assert!(inspection.len_bytes == damaged.len() as u64);
                    (true, false)
                }
                Err(fault) => (false, matches!(fault, InspectFault::Truncated { .. })),
            },
            1 => (parse_manifest(&damaged).is_ok(), false),
            2 => match Lock::parse(&damaged) {
                Ok(lock) => {
                    assert!(
                        Lock::parse(lock.text().as_bytes()) == Ok(lock),
                        "a lock is read back as it was written"
                    );
                    (true, false)
                }
                Err(_) => (false, false),
            },
            _ => {
                let _ = (
                    PublicKey::parse(&damaged),
                    SecretKey::parse(&damaged).is_ok(),
                );
                let judged =
                    judge_signature(Path::new("l.so"), &subject, Some(&damaged), Some(&keys));
                assert!(
                    judged.is_err() || damaged == signature,
                    "a damaged signature was believed"
                );
                (judged.is_ok(), false)
            }
        }));
        match answer {
            Ok((true, _)) => counts.accepted[kind] += 1,
            Ok((false, truncated)) => {
                counts.refused[kind] += 1;
                counts.truncated += u64::from(truncated);
            }
            Err(_) if counts.panicked.len() < 100 => counts.panicked.push(input),
            Err(_) => {}
        }
        if begun.elapsed() > INPUT_MAX && counts.lingered.len() < 100 {
            counts.lingered.push(input);
        }
    }
    counts
}

/// Where a change says most: in the headers at the start, the section table at the end, or the dynamic segment's tables.
fn damage_library(library: &[u8], dice: &mut Dice) -> Vec<u8> {
    let headers = 64 + 56 * 14;
    match dice.below(8) {
        0..=2 => damage(library, headers, dice),
        3 | 4 => {
            let table = number(library, 40).min(library.len());
            let mut damaged = library.to_vec();
            let tail = damage(&library[table..], library.len() - table, dice);
            damaged.truncate(table);
            damaged.extend(tail);
            damaged
        }
        5 | 6 => {
            // Every PT_DYNAMIC entry, hash table and version need lies in the first pages or around the relocations.
            let mut damaged = library.to_vec();
            for _ in 0..=dice.below(6) {
                if let Some((at, len)) = dynamic(library) {
                    put(&mut damaged, at + dice.below(len), dice);
                }
                put(&mut damaged, dice.below(16 * 1024), dice);
            }
            damaged
        }
        _ => damage(library, library.len(), dice),
    }
}

/// The place of PT_DYNAMIC in the file.
fn dynamic(elf: &[u8]) -> Option<(usize, usize)> {
    let table = number(elf, 32);
    (0..14)
        .map(|index| table + 56 * index)
        .find(|&at| elf.get(at) == Some(&2) && elf.get(at + 1) == Some(&0))
        .map(|at| (number(elf, at + 8), number(elf, at + 32).max(1)))
}

fn number(bytes: &[u8], at: usize) -> usize {
    let word = bytes.get(at..at + 8).and_then(|word| word.try_into().ok());
    word.map_or(0, |word| {
        usize::try_from(u64::from_le_bytes(word)).unwrap_or(usize::MAX)
    })
}

/// One to eight changes within the first `reach` bytes; one time in eight a cut, an insertion or a repetition instead.
fn damage(bytes: &[u8], reach: usize, dice: &mut Dice) -> Vec<u8> {
    let mut damaged = bytes.to_vec();
    match dice.below(24) {
        0 => damaged.truncate(dice.below(bytes.len() + 1)),
        1 => {
            let at = dice.below(bytes.len() + 1);
            damaged.insert(at, dice.next().to_le_bytes()[0]);
        }
        2 => {
            let from = dice.below(bytes.len() + 1);
            let to = from + dice.below(bytes.len() - from + 1).min(4096);
            let piece = bytes[from..to].to_vec();
            let at = dice.below(bytes.len() + 1);
            damaged.splice(at..at, piece);
        }
        _ => {
            for _ in 0..=dice.below(8) {
                let at = dice.below(reach.min(bytes.len()));
                put(&mut damaged, at, dice);
            }
        }
    }
    damaged
}

/// A byte, or a number of one to eight bytes that a parser may stumble over.
fn put(bytes: &mut [u8], at: usize, dice: &mut Dice) {
    const NUMBERS: [u64; 14] = [
        0,
        1,
        2,
        0x7f,
        0xff,
        0xffff,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        0x1_0000_0000,
        0x7fff_ffff_ffff_ffff,
        0x8000_0000_0000_0000,
        0xffff_ffff_ffff_fff8,
        0xffff_ffff_ffff_ffff,
    ];
    let number = match dice.below(3) {
        0 => dice.next(),
        _ => NUMBERS[dice.below(NUMBERS.len())],
    };
    let len = [1, 1, 2, 4, 8][dice.below(5)];
    let end = bytes.len();
    for (place, byte) in (at..end).zip(number.to_le_bytes()).take(len) {
        bytes[place] = byte;
    }
}
