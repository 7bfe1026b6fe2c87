//! ELF in full. Generic over the word size, so that a library for another machine is described as well as one for ours.
//!
//! The `object` crate reads the fixed structures; offsets, strings, version needs and the symbol lookup are walked here, where
//! each has its limit: `object`'s own lookups trust shift counts and string lengths that a hostile file may choose.

mod lookup;
mod relocations;

use super::{InspectFault, Inspection, Platform, text_at};
use crate::error::printable;
use lookup::Lookup;
use object::{
    Endianness,
    elf::{self, FileHeader32, FileHeader64},
    read::elf::{Dyn as _, FileHeader, ProgramHeader as _, SectionHeader as _},
};

/// What a process can address on any of today's machines (x86-64 with five levels of page tables).
const ADDRESSES_MAX: u64 = 1 << 56;
/// More sections than any linker makes; the table is walked once.
const SECTIONS_MAX: usize = 65_536;
/// A program header table has at most this many without the escape that only core files use.
const SEGMENTS_MAX: usize = 4_096;
/// Entries of the dynamic segment that are looked at; real ones have forty.
const DYNAMICS_MAX: usize = 16_384;
/// Names of needed libraries that are kept; each costs at most 4 KiB.
const NEEDED_MAX: usize = 1_024;
/// Version needs that are looked at, over all libraries.
const VERSIONS_MAX: usize = 16_384;

pub(super) fn inspect(bytes: &[u8]) -> Result<Inspection, InspectFault> {
    let class = bytes.get(4).copied();
    match class {
        Some(2) => read::<FileHeader64<Endianness>>(bytes),
        Some(1) => read::<FileHeader32<Endianness>>(bytes),
        Some(other) => Err(malformed(format!("word size {other} is neither 1 nor 2"))),
        None => Err(truncated(64, bytes)),
    }
}

fn malformed(what: impl Into<String>) -> InspectFault {
    InspectFault::Malformed { what: what.into() }
}

fn truncated(wanted_bytes: u64, bytes: &[u8]) -> InspectFault {
    InspectFault::Truncated {
        wanted_bytes,
        found_bytes: bytes.len() as u64,
    }
}

/// One PT_LOAD.
struct Segment {
    address: u64,
    offset: u64,
    file_len: u64,
    memory_len: u64,
}

/// A file whose headers were found in order.
struct Image<'data, E: FileHeader> {
    bytes: &'data [u8],
    header: &'data E,
    endian: E::Endian,
    segments: Vec<Segment>,
}

fn read<E: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Result<Inspection, InspectFault> {
    if bytes.len() < size_of::<E>() {
        return Err(truncated(size_of::<E>() as u64, bytes));
    }
    let header = E::parse(bytes).map_err(|error| malformed(error.to_string()))?;
    let endian = header
        .endian()
        .map_err(|error| malformed(error.to_string()))?;
    check_kind(header, endian)?;
    check_extents(header, endian, bytes)?;

    let program_headers = header
        .program_headers(endian, bytes)
        .map_err(|error| malformed(error.to_string()))?;
    if program_headers.len() > SEGMENTS_MAX {
        return Err(malformed(format!(
            "{} program headers",
            program_headers.len()
        )));
    }
    let mut inspection = Inspection::new(bytes.len() as u64, platform(header, endian));
    let mut image = Image {
        bytes,
        header,
        endian,
        segments: Vec::new(),
    };
    // Without the header that says otherwise, the loader gives an executable stack.
    inspection.exec_stack = true;
    for segment in program_headers {
        image.take_segment(segment, &mut inspection)?;
    }
    inspection.mapped_bytes = image.check_segments()?;
    image.read_sections(&mut inspection)?;
    image.read_dynamic(program_headers, &mut inspection)?;
    Ok(inspection)
}

/// A program, an object file and a core file are ELF too.
fn check_kind<E: FileHeader>(header: &E, endian: E::Endian) -> Result<(), InspectFault> {
    let what = match header.e_type(endian) {
        elf::ET_DYN => return Ok(()),
        elf::ET_EXEC => "a program, not a library",
        elf::ET_REL => "an object file, not linked yet",
        elf::ET_CORE => "a core file",
        _ => "an ELF file of an unknown kind",
    };
    Err(InspectFault::NotALibrary {
        what: what.to_owned(),
    })
}

/// Everything that the headers promise lies inside the file. A half-copied library is a SIGBUS in `dlopen` otherwise.
fn check_extents<E: FileHeader>(
    header: &E,
    endian: E::Endian,
    bytes: &[u8],
) -> Result<(), InspectFault> {
    let len = bytes.len() as u64;
    let table = |offset: u64, entries: u64, entry_len: u64| {
        offset.saturating_add(entries.saturating_mul(entry_len))
    };
    let mut end = 0;
    let programs: u64 = header.e_phoff(endian).into();
    if programs > 0 {
        end = table(
            programs,
            header.e_phnum(endian).into(),
            header.e_phentsize(endian).into(),
        );
    }
    let sections: u64 = header.e_shoff(endian).into();
    if sections > 0 {
        // No count: the true one stands in the first entry.
        let count = u64::from(header.e_shnum(endian)).max(1);
        end = end.max(table(sections, count, header.e_shentsize(endian).into()));
    }
    if end > len {
        return Err(truncated(end, bytes));
    }
    for segment in header
        .program_headers(endian, bytes)
        .unwrap_or_default()
        .iter()
        .take(SEGMENTS_MAX)
    {
        let (offset, file_len) = segment.file_range(endian);
        if segment.p_type(endian) != elf::PT_NULL && file_len > 0 {
            end = end.max(offset.saturating_add(file_len));
        }
    }
    for section in header
        .section_headers(endian, bytes)
        .unwrap_or_default()
        .iter()
        .take(SECTIONS_MAX)
    {
        if let Some((offset, file_len)) = section.file_range(endian) {
            if section.sh_type(endian) != elf::SHT_NULL && file_len > 0 {
                end = end.max(offset.saturating_add(file_len));
            }
        }
    }
    if end > len {
        Err(truncated(end, bytes))
    } else {
        Ok(())
    }
}

fn platform<E: FileHeader>(header: &E, endian: E::Endian) -> Platform {
    let bits: u8 = if header.is_class_64() { 64 } else { 32 };
    let arch = match (header.e_machine(endian), bits) {
        (elf::EM_X86_64, _) => "x86_64",
        (elf::EM_386, _) => "x86",
        (elf::EM_AARCH64, _) => "aarch64",
        (elf::EM_ARM, _) => "arm",
        (elf::EM_RISCV, 64) => "riscv64",
        (elf::EM_RISCV, _) => "riscv32",
        (elf::EM_PPC64, _) => "powerpc64",
        (elf::EM_PPC, _) => "powerpc",
        (elf::EM_S390, _) => "s390x",
        (elf::EM_MIPS, 64) => "mips64",
        (elf::EM_MIPS, _) => "mips",
        (elf::EM_LOONGARCH, _) => "loongarch64",
        (elf::EM_SPARCV9, _) => "sparc64",
        (elf::EM_68K, _) => "m68k",
        _ => "",
    };
    Platform {
        format: "elf",
        os: match header.e_ident().os_abi {
            elf::ELFOSABI_NONE => "unix",
            elf::ELFOSABI_GNU => "linux",
            elf::ELFOSABI_FREEBSD => "freebsd",
            elf::ELFOSABI_NETBSD => "netbsd",
            elf::ELFOSABI_OPENBSD => "openbsd",
            elf::ELFOSABI_SOLARIS => "solaris",
            _ => "an unknown system",
        },
        arch: if arch.is_empty() {
            format!("machine {:#x}", header.e_machine(endian).0)
        } else {
            arch.to_owned()
        },
        bits,
        endian: if header.is_little_endian() {
            "little"
        } else {
            "big"
        },
    }
}

impl<'data, E: FileHeader<Endian = Endianness>> Image<'data, E> {
    fn take_segment(
        &mut self,
        segment: &'data E::ProgramHeader,
        inspection: &mut Inspection,
    ) -> Result<(), InspectFault> {
        let endian = self.endian;
        match segment.p_type(endian) {
            elf::PT_LOAD => {
                let (offset, file_len) = segment.file_range(endian);
                let address: u64 = segment.p_vaddr(endian).into();
                let memory_len: u64 = segment.p_memsz(endian).into();
                let align: u64 = segment.p_align(endian).into();
                if file_len > memory_len {
                    return Err(malformed("a segment is longer in the file than in memory"));
                }
                let bad_align = align > 1 && !align.is_power_of_two();
                if bad_align || (align > 1 && offset % align != address % align) {
                    return Err(malformed(
                        "a segment's place in the file does not fit its alignment",
                    ));
                }
                self.segments.push(Segment {
                    address,
                    offset,
                    file_len,
                    memory_len,
                });
            }
            elf::PT_TLS => inspection.tls_size_bytes = segment.p_memsz(endian).into(),
            elf::PT_GNU_STACK => {
                inspection.exec_stack = segment.p_flags(endian).0 & elf::PF_X.0 != 0;
            }
            elf::PT_NOTE if inspection.build_id.is_none() => {
                inspection.build_id = build_id::<E>(segment, endian, self.bytes);
            }
            _ => {}
        }
        Ok(())
    }

    /// The loader maps segments from the first address to the last and trusts their order: one that is out of order would be
    /// mapped over memory that is not the library's. Answers the bytes of address space.
    fn check_segments(&self) -> Result<u64, InspectFault> {
        let mut end = 0;
        for (i, segment) in self.segments.iter().enumerate() {
            if i > 0 && segment.address < end {
                return Err(malformed("segments overlap or are out of order"));
            }
            end = segment
                .address
                .checked_add(segment.memory_len)
                .filter(|&end| end <= ADDRESSES_MAX)
                .ok_or_else(|| malformed("a segment ends beyond the address space"))?;
        }
        match self.segments.first() {
            Some(first) => Ok(end - first.address),
            None => Err(malformed("nothing in it is loaded")),
        }
    }

    /// The file's bytes from an address to the end of its segment.
    fn at_address(&self, address: u64) -> Option<&'data [u8]> {
        let segment = self.segments.iter().find(|segment| {
            segment.address <= address && address - segment.address < segment.file_len
        })?;
        let start = segment.offset.checked_add(address - segment.address)?;
        let end = segment.offset.checked_add(segment.file_len)?;
        self.bytes
            .get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
    }

    /// Manifest and comments have no program header: they are found by section.
    fn read_sections(&self, inspection: &mut Inspection) -> Result<(), InspectFault> {
        let (endian, bytes) = (self.endian, self.bytes);
        let sections = self
            .header
            .section_headers(endian, bytes)
            .map_err(|error| malformed(error.to_string()))?;
        if sections.len() > SECTIONS_MAX {
            return Err(malformed(format!("{} sections", sections.len())));
        }
        let names = self
            .header
            .section_strings_index(endian, bytes)
            .ok()
            .and_then(|index| sections.get(index.0))
            .and_then(|section| section.data(endian, bytes).ok())
            .unwrap_or_default();
        let named = |section: &E::SectionHeader, name: &str| {
            let start = section.sh_name(endian) as usize;
            let rest = names.get(start..).unwrap_or_default();
            rest.strip_prefix(name.as_bytes())
                .is_some_and(|rest| rest.first() == Some(&0))
        };
        inspection.stripped = true;
        for section in sections {
            if section.sh_type(endian) == elf::SHT_SYMTAB {
                inspection.stripped = false;
            }
            let unread = inspection.manifest.is_none() && inspection.manifest_fault.is_none();
            if unread && named(section, hotshoe_abi::manifest::SECTION) {
                inspection.read_manifest(section.data(endian, bytes).unwrap_or_default());
            } else if inspection.compilers.is_empty() && named(section, ".comment") {
                inspection.compilers = comments(section.data(endian, bytes).unwrap_or_default());
            }
        }
        Ok(())
    }

    fn read_dynamic(
        &self,
        program_headers: &'data [E::ProgramHeader],
        inspection: &mut Inspection,
    ) -> Result<(), InspectFault> {
        let endian = self.endian;
        let mut dynamics: &[E::Dyn] = &[];
        for header in program_headers {
            if let Some(found) = header
                .dynamic(endian, self.bytes)
                .map_err(|error| malformed(error.to_string()))?
            {
                dynamics = found;
            }
        }
        let dynamics: Vec<(i64, u64)> = dynamics
            .iter()
            .take(DYNAMICS_MAX)
            .map(|entry| (entry.tag(endian).0, entry.val(endian)))
            .take_while(|(tag, _)| *tag != elf::DT_NULL.0)
            .collect();
        let value =
            |tag: elf::DynamicTag| dynamics.iter().find(|(t, _)| *t == tag.0).map(|(_, v)| *v);
        let flags = value(elf::DT_FLAGS).unwrap_or_default();
        if value(elf::DT_FLAGS_1).unwrap_or_default() & DF_1_PIE != 0 {
            let what = "a program, not a library".to_owned();
            return Err(InspectFault::NotALibrary { what });
        }
        let strings = value(elf::DT_STRTAB)
            .and_then(|address| self.at_address(address))
            .unwrap_or_default();

        let texts = |tag: elf::DynamicTag| {
            dynamics
                .iter()
                .filter(move |(t, _)| *t == tag.0)
                .filter_map(|(_, offset)| text_at(strings, *offset))
        };
        let paths = |tag| {
            texts(tag).flat_map(|text| text.split(':').map(str::to_owned).collect::<Vec<_>>())
        };
        inspection.soname = texts(elf::DT_SONAME).next();
        // Libraries whose symbols come before its own are loaded with it as well.
        inspection.needed = [elf::DT_NEEDED, elf::DT_FILTER]
            .into_iter()
            .flat_map(texts)
            .take(NEEDED_MAX)
            .collect();
        inspection.auxiliary = texts(elf::DT_AUXILIARY).take(NEEDED_MAX).collect();
        inspection.rpath = paths(elf::DT_RPATH).take(NEEDED_MAX).collect();
        inspection.runpath = paths(elf::DT_RUNPATH).take(NEEDED_MAX).collect();
        inspection.uses_origin = (inspection.rpath.iter().chain(&inspection.runpath))
            .any(|path| path.contains("$ORIGIN") || path.contains("${ORIGIN}"));
        inspection.static_tls = flags & DF_STATIC_TLS != 0;
        inspection.text_relocations = flags & DF_TEXTREL != 0 || value(elf::DT_TEXTREL).is_some();
        inspection.constructors = constructors(
            [elf::DT_INIT_ARRAYSZ, elf::DT_PREINIT_ARRAYSZ]
                .map(|tag| value(tag).unwrap_or_default()),
            value(elf::DT_INIT),
            size_of::<E::Word>(),
        );
        if let Some(needs) = value(elf::DT_VERNEED).and_then(|address| self.at_address(address)) {
            inspection.glibc_needed = glibc_needed(needs, strings, endian);
        }
        if let Some(manifest) = &inspection.manifest {
            let table = value(elf::DT_SYMTAB)
                .and_then(|address| self.at_address(address))
                .unwrap_or_default();
            let lookup = Lookup {
                image: self,
                table,
                strings,
                symbol: manifest.symbol.as_bytes(),
                relocations: relocations::Tables::of(&dynamics),
            };
            inspection.entry = match (value(elf::DT_GNU_HASH), value(elf::DT_HASH)) {
                (Some(address), _) => self.at_address(address).and_then(|hash| lookup.gnu(hash)),
                (None, Some(address)) => {
                    self.at_address(address).and_then(|hash| lookup.sysv(hash))
                }
                (None, None) => None,
            };
        }
        Ok(())
    }
}

// Plain numbers here because `object` gives flags a type of their own that does not meet a dynamic value's.
const DF_TEXTREL: u64 = 0x4;
const DF_STATIC_TLS: u64 = 0x10;
const DF_1_PIE: u64 = 0x0800_0000;

fn constructors(array_lens: [u64; 2], init: Option<u64>, word_len: usize) -> u64 {
    let words = array_lens
        .iter()
        .fold(0_u64, |sum, len| sum.saturating_add(*len / word_len as u64));
    // `_init` itself is in every library that gcc links, and does nothing there; it is a function all the same.
    words + u64::from(init.is_some_and(|address| address != 0))
}

fn comments(section: &[u8]) -> Vec<String> {
    let head = &section[..section.len().min(4096)];
    let mut found: Vec<String> = Vec::new();
    for text in head.split(|&b| b == 0).filter(|text| !text.is_empty()) {
        let text = printable(text);
        if found.len() < 8 && !found.contains(&text) {
            found.push(text);
        }
    }
    found
}

fn build_id<E: FileHeader>(
    segment: &E::ProgramHeader,
    endian: E::Endian,
    bytes: &[u8],
) -> Option<String> {
    use object::read::elf::ProgramHeader as _;
    let notes = segment.data(endian, bytes).ok()?;
    // At most this many notes are looked at; the first one or two hold it.
    const NOTES_MAX: usize = 64;
    let read = |at: usize| {
        let word = notes.get(at..at.checked_add(4)?)?;
        let word = <[u8; 4]>::try_from(word).ok()?;
        Some(to_u32::<E>(word, endian) as usize)
    };
    let mut at = 0_usize;
    for _ in 0..NOTES_MAX {
        let (name_len, content_len, kind) = (read(at)?, read(at + 4)?, read(at + 8)?);
        let name = at + 12;
        let content = name.checked_add(name_len.checked_next_multiple_of(4)?)?;
        let end = content.checked_add(content_len)?;
        if kind == 3 && notes.get(name..name.checked_add(name_len)?)? == b"GNU\0" {
            let id = notes.get(content..end).filter(|id| id.len() <= 64)?;
            return Some(id.iter().map(|b| format!("{b:02x}")).collect());
        }
        at = content.checked_add(content_len.checked_next_multiple_of(4)?)?;
    }
    None
}

fn to_u32<E: FileHeader>(word: [u8; 4], endian: E::Endian) -> u32 {
    use object::Endian as _;
    if endian.is_big_endian() {
        u32::from_be_bytes(word)
    } else {
        u32::from_le_bytes(word)
    }
}

/// The newest `GLIBC_x.y` among the versions that the library needs, of whatever library.
fn glibc_needed(needs: &[u8], strings: &[u8], endian: Endianness) -> Option<(u32, u32)> {
    let u32_at = |at: usize| {
        let word = <[u8; 4]>::try_from(needs.get(at..at.checked_add(4)?)?).ok()?;
        Some(to_u32::<FileHeader64<Endianness>>(word, endian) as usize)
    };
    let mut newest = None;
    let mut budget = VERSIONS_MAX;
    let mut library = 0_usize;
    // Verneed: version u16, count u16, file u32, aux u32, next u32; Vernaux: hash u32, flags u16, other u16, name u32, next u32.
    while let (Some(aux), Some(next_library)) = (u32_at(library + 8), u32_at(library + 12)) {
        let mut version = library.saturating_add(aux);
        while let (Some(name), Some(next)) = (
            u32_at(version.saturating_add(8)),
            u32_at(version.saturating_add(12)),
        ) {
            newest = newest.max(version_name(strings, name).and_then(glibc_version_of));
            budget -= 1;
            if budget == 0 {
                return newest;
            }
            if next == 0 {
                break;
            }
            version = version.saturating_add(next);
        }
        budget -= 1;
        if next_library == 0 || budget == 0 {
            break;
        }
        library = library.saturating_add(next_library);
    }
    newest
}

/// The name of a version, if it is as short as glibc's are: a loop over hostile ones costs nothing.
fn version_name(strings: &[u8], offset: usize) -> Option<&str> {
    const NAME_BYTES_MAX: usize = 32;
    let rest = strings.get(offset..)?;
    let head = &rest[..rest.len().min(NAME_BYTES_MAX)];
    let end = head.iter().position(|&b| b == 0)?;
    std::str::from_utf8(&head[..end]).ok()
}

/// `GLIBC_2.34` and `GLIBC_2.3.4` are versions; `GLIBC_PRIVATE` is none.
pub(crate) fn glibc_version_of(text: &str) -> Option<(u32, u32)> {
    let rest = text.strip_prefix("GLIBC_")?;
    if rest == "ABI_DT_RELR" {
        // The first glibc that understands relative relocations in their packed form.
        return Some((2, 36));
    }
    let mut numbers = rest.split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    }
}
