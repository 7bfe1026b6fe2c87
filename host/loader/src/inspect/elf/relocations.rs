//! Which words of a variable become addresses of the library itself when it is loaded.
//!
//! A pointer in a library that may be mapped anywhere is a relocation: a word without one is read as it stands in the file.
//! Tables are walked once and to their end; nothing is applied, and no symbol is looked up.

use super::Image;
use object::{Endian as _, Endianness, elf, read::elf::FileHeader};

/// Words that are told apart: far more than the header that is asked about has.
const WORDS_MAX: u64 = 64;

/// The tables that a dynamic segment names, as addresses and lengths in bytes.
pub(super) struct Tables {
    rela: Option<(u64, u64)>,
    relr: Option<(u64, u64)>,
    /// Without addends, as 32-bit machines have them: not read here.
    other: bool,
}

const DT_RELA: i64 = elf::DT_RELA.0;
const DT_RELASZ: i64 = elf::DT_RELASZ.0;
const DT_REL: i64 = elf::DT_REL.0;
const DT_RELRSZ: i64 = 35;
const DT_RELR: i64 = 36;

impl Tables {
    pub(super) fn of(dynamics: &[(i64, u64)]) -> Self {
        let value = |tag: i64| dynamics.iter().find(|(t, _)| *t == tag).map(|(_, v)| *v);
        Self {
            rela: value(DT_RELA).zip(value(DT_RELASZ)),
            relr: value(DT_RELR).zip(value(DT_RELRSZ)),
            other: value(DT_REL).is_some(),
        }
    }
}

/// The words of one variable, by their place in it.
struct Words {
    address: u64,
    word_len: u64,
    found: u64,
}

impl Words {
    fn add(&mut self, address: u64) {
        let Some(place) = address.checked_sub(self.address) else {
            return;
        };
        if place % self.word_len == 0 && place / self.word_len < WORDS_MAX {
            self.found |= 1 << (place / self.word_len);
        }
    }

    fn contain(&self, address: u64) -> bool {
        address
            .checked_sub(self.address)
            .is_some_and(|place| place < WORDS_MAX * self.word_len)
    }
}

impl<E: FileHeader<Endian = Endianness>> Image<'_, E> {
    /// How many of the first 64 words at `address`, within `len` bytes, become addresses of this library. `None` where its
    /// relocations are of a kind that is not read.
    pub(super) fn addresses_at(&self, address: u64, len: u64, tables: &Tables) -> Option<u64> {
        if tables.other {
            return None;
        }
        let word_len = size_of::<E::Word>() as u64;
        let mut words = Words {
            address,
            word_len,
            found: 0,
        };
        self.rela(tables, &mut words);
        self.relr(tables, &mut words);
        let inside = (len / word_len).min(WORDS_MAX);
        let mask = match inside {
            WORDS_MAX => u64::MAX,
            inside => (1 << inside) - 1,
        };
        Some((words.found & mask).count_ones().into())
    }

    /// A table's bytes, as far as the file has them.
    fn table(&self, place: Option<(u64, u64)>) -> &[u8] {
        let Some((address, len)) = place else {
            return &[];
        };
        let rest = self.at_address(address).unwrap_or_default();
        &rest[..rest.len().min(usize::try_from(len).unwrap_or(usize::MAX))]
    }

    fn word(&self, bytes: &[u8]) -> u64 {
        let big = self.endian.is_big_endian();
        let digits = bytes.iter().take(8);
        let push = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        match big {
            true => digits.fold(0, push),
            false => digits.rev().fold(0, push),
        }
    }

    /// Whether it lies in what is loaded.
    fn is_loaded(&self, address: u64) -> bool {
        self.segments.iter().any(|segment| {
            segment.address <= address && address - segment.address < segment.memory_len
        })
    }

    /// Entries of offset, kind and symbol, addend.
    fn rela(&self, tables: &Tables, words: &mut Words) {
        let word_len = size_of::<E::Word>();
        for entry in self.table(tables.rela).chunks_exact(3 * word_len) {
            let offset = self.word(&entry[..word_len]);
            if !words.contain(offset) {
                continue;
            }
            let info = self.word(&entry[word_len..2 * word_len]);
            let symbol = info >> if word_len == 8 { 32 } else { 8 };
            // What a symbol stands for is the system loader's to find out.
            if symbol != 0 || self.is_loaded(self.word(&entry[2 * word_len..])) {
                words.add(offset);
            }
        }
    }

    /// Packed: an even word is a place; an odd one says which of the words behind the last place are, bit by bit.
    fn relr(&self, tables: &Tables, words: &mut Words) {
        let word_len = words.word_len;
        let mut next = 0_u64;
        let mut add = |place: u64| {
            let stands = || self.at_address(place)?.get(..size_of::<E::Word>());
            if words.contain(place) && stands().is_some_and(|it| self.is_loaded(self.word(it))) {
                words.add(place);
            }
        };
        for entry in self.table(tables.relr).chunks_exact(size_of::<E::Word>()) {
            let entry = self.word(entry);
            if entry & 1 == 0 {
                add(entry);
                next = entry.wrapping_add(word_len);
                continue;
            }
            let bits = word_len * 8 - 1;
            for bit in (0..bits).filter(|bit| entry >> (bit + 1) & 1 == 1) {
                add(next.wrapping_add(bit * word_len));
            }
            next = next.wrapping_add(bits * word_len);
        }
    }
}
