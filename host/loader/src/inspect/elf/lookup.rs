//! Finds a symbol as `dlsym` will, over the file's bytes: through the hash table that the loader uses.
//!
//! Chains are followed to a limit, and every offset is checked. It looks for one name and lists nothing.

use super::{Image, relocations::Tables, to_u32};
use crate::inspect::{EntrySymbol, SymbolKind};
use object::{
    Endianness, elf,
    read::elf::{FileHeader, Sym as _},
};

/// Links of one hash chain that are followed.
const CHAIN_MAX: usize = 65_536;
/// Bytes of the symbol that are kept: the part of the header that every version of it begins with, and some.
const HEAD_MAX: usize = 64;

/// The lookup that `dlsym` will do, over the file's bytes.
pub(super) struct Lookup<'image, 'data, E: FileHeader> {
    pub(super) image: &'image Image<'data, E>,
    pub(super) table: &'data [u8],
    pub(super) strings: &'data [u8],
    pub(super) symbol: &'image [u8],
    pub(super) relocations: Tables,
}

impl<E: FileHeader<Endian = Endianness>> Lookup<'_, '_, E> {
    fn u32_at(&self, hash: &[u8], at: usize) -> Option<u32> {
        let word = <[u8; 4]>::try_from(hash.get(at..at.checked_add(4)?)?).ok()?;
        Some(to_u32::<E>(word, self.image.endian))
    }

    pub(super) fn gnu(&self, hash: &[u8]) -> Option<EntrySymbol> {
        let mut wanted: u32 = 5381;
        for &byte in self.symbol {
            wanted = wanted.wrapping_mul(33).wrapping_add(u32::from(byte));
        }
        let buckets = self.u32_at(hash, 0)?;
        let first = self.u32_at(hash, 4)?;
        let bloom_len = (self.u32_at(hash, 8)? as usize).checked_mul(size_of::<E::Word>())?;
        // A hostile bloom filter can only hide a symbol from the loader, which then says so itself.
        let bucket_table = 16_usize.checked_add(bloom_len)?;
        let chain_table = bucket_table.checked_add((buckets as usize).checked_mul(4)?)?;
        let bucket = wanted.checked_rem(buckets)? as usize;
        let mut index = self.u32_at(hash, bucket_table.checked_add(bucket * 4)?)?;
        for _ in 0..CHAIN_MAX {
            let link = index.checked_sub(first)? as usize;
            let value = self.u32_at(hash, chain_table.checked_add(link.checked_mul(4)?)?)?;
            if value | 1 == wanted | 1 {
                if let Some(found) = self.named(index) {
                    return Some(found);
                }
            }
            if value & 1 != 0 {
                return None;
            }
            index = index.checked_add(1)?;
        }
        None
    }

    pub(super) fn sysv(&self, hash: &[u8]) -> Option<EntrySymbol> {
        let mut wanted: u32 = 0;
        for &byte in self.symbol {
            wanted = (wanted << 4).wrapping_add(u32::from(byte));
            let high = wanted & 0xf000_0000;
            wanted = (wanted ^ (high >> 24)) & !high;
        }
        let buckets = self.u32_at(hash, 0)?;
        let bucket = wanted.checked_rem(buckets)? as usize;
        let chain_table = 8_usize.checked_add((buckets as usize).checked_mul(4)?)?;
        let mut index = self.u32_at(hash, 8_usize.checked_add(bucket.checked_mul(4)?)?)?;
        for _ in 0..CHAIN_MAX {
            if index == 0 {
                return None;
            }
            if let Some(found) = self.named(index) {
                return Some(found);
            }
            index = self.u32_at(
                hash,
                chain_table.checked_add((index as usize).checked_mul(4)?)?,
            )?;
        }
        None
    }

    /// The symbol with this index, if it is the one wanted and defined here.
    fn named(&self, index: u32) -> Option<EntrySymbol> {
        let endian = self.image.endian;
        let start = (index as usize).checked_mul(size_of::<E::Sym>())?;
        let bytes = self
            .table
            .get(start..start.checked_add(size_of::<E::Sym>())?)?;
        let (symbol, _) = object::pod::from_bytes::<E::Sym>(bytes).ok()?;
        let name = self.strings.get(symbol.st_name(endian) as usize..)?;
        if name.strip_prefix(self.symbol)?.first() != Some(&0) || symbol.is_undefined(endian) {
            return None;
        }
        let (address, size): (u64, u64) = (
            symbol.st_value(endian).into(),
            symbol.st_size(endian).into(),
        );
        let there = self.image.at_address(address).unwrap_or_default();
        let head_len = usize::try_from(size).unwrap_or(usize::MAX).min(HEAD_MAX);
        Some(EntrySymbol {
            kind: match symbol.st_type() {
                elf::STT_OBJECT => SymbolKind::Data,
                elf::STT_FUNC | elf::STT_GNU_IFUNC => SymbolKind::Function,
                elf::STT_TLS => SymbolKind::ThreadLocal,
                _ => SymbolKind::Other,
            },
            size_bytes: size,
            mapped: there.len() as u64 >= size && !there.is_empty(),
            addresses: self.image.addresses_at(address, size, &self.relocations),
            head: there[..there.len().min(head_len)].to_vec(),
        })
    }
}
