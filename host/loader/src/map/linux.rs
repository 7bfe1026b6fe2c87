//! Sealed memfds, mapped shared.
//!
//! A seal is a promise of the kernel's about the file, whoever has its descriptor: without SHRINK nothing could keep a mapping
//! from losing its pages. Writing a cell is left to both sides; a worker that scribbles on its own cells changes its own
//! numbers, and the host reads them as numbers only.
#![expect(
    unsafe_code,
    reason = "mapping memory makes a pointer, and only we know what it points at and for how long"
)]

use super::CELLS_LEN;
use crate::memfd::sealable;
use rustix::{
    fs::{SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate},
    io::Errno,
    mm::{MapFlags, ProtFlags, mmap},
};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    ptr,
    sync::atomic::AtomicU64,
};

/// Bytes of the epoch page's file: 8 are used. The kernel maps whole pages; where they are longer, the rest reads as zero.
const PAGE_LEN_BYTES: usize = 4096;

/// What keeps every access inside the file.
const SIZE_SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);

/// Cells of one instance's metrics, mapped by the host and by that instance's worker.
///
/// Dropping it closes the descriptor; the cells stay mapped and valid.
#[derive(Debug)]
pub struct CellRegion {
    memfd: OwnedFd,
    cells: &'static [AtomicU64],
}

impl CellRegion {
    /// New cells, all 0. The host's side.
    ///
    /// - `name`: the instance's; debuggers and `/proc/self/maps` show it.
    ///
    /// # Errors
    /// The system has no memfd or no seals, or no descriptor or no address space is left.
    pub fn create(name: &str) -> io::Result<Self> {
        let memfd = sized("cells", name, CELLS_LEN * size_of::<AtomicU64>())?;
        // SEAL as well: a worker cannot add a seal that would keep its own successor from counting.
        fcntl_add_seals(&memfd, SIZE_SEALS | SealFlags::SEAL)?;
        Self::map(memfd)
    }

    /// The cells of a region that another process created. The worker's side.
    ///
    /// # Errors
    /// The descriptor is no memfd of exactly the size of a region, or its size is not sealed (`InvalidData`); or there is no
    /// address space left.
    pub fn open(memfd: OwnedFd) -> io::Result<Self> {
        judge(&memfd, CELLS_LEN * size_of::<AtomicU64>(), SIZE_SEALS)?;
        Self::map(memfd)
    }

    fn map(memfd: OwnedFd) -> io::Result<Self> {
        let cells = map(&memfd, CELLS_LEN, ProtFlags::READ | ProtFlags::WRITE)?;
        Ok(Self { memfd, cells })
    }

    /// `len` cells from `first` on; `None` where the region has not so many. The same index is the same cell on both sides.
    #[must_use]
    pub fn cells(&self, first: usize, len: usize) -> Option<&'static [AtomicU64]> {
        self.cells.get(first..first.checked_add(len)?)
    }

    /// What a worker is handed, to open.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.memfd.as_fd()
    }

    /// Cells in the region.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether it has none; it always has.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }
}

/// The word that names the newest config set: the host stores, every worker can only load.
///
/// Dropping it closes the descriptor; the word stays mapped and valid.
#[derive(Debug)]
pub struct EpochPage {
    memfd: OwnedFd,
    word: &'static AtomicU64,
}

impl EpochPage {
    /// A new word, 0. The host's side: after this, nobody can map the page writable any more, whoever has its descriptor.
    ///
    /// # Errors
    /// The system has no memfd, or no seal against future writers (Linux 5.1 has), or no descriptor is left.
    pub fn create() -> io::Result<Self> {
        let memfd = sized("epoch", "", PAGE_LEN_BYTES)?;
        let word = word(&memfd, ProtFlags::READ | ProtFlags::WRITE)?;
        // After the mapping: it alone stays writable.
        fcntl_add_seals(
            &memfd,
            SIZE_SEALS | SealFlags::FUTURE_WRITE | SealFlags::SEAL,
        )?;
        Ok(Self { memfd, word })
    }

    /// The word of a page that another process created. The worker's side: a store to it is a fault (SIGSEGV), and nothing
    /// but a load is allowed.
    ///
    /// # Errors
    /// The descriptor is no memfd of exactly the size of a page, or it is not sealed as [`EpochPage::create`] does
    /// (`InvalidData`); or there is no address space left.
    pub fn open(memfd: OwnedFd) -> io::Result<&'static AtomicU64> {
        judge(&memfd, PAGE_LEN_BYTES, SIZE_SEALS | SealFlags::FUTURE_WRITE)?;
        word(&memfd, ProtFlags::READ)
    }

    /// The word, to load and to store.
    #[must_use]
    pub const fn word(&self) -> &'static AtomicU64 {
        self.word
    }

    /// What a worker is handed, to open.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.memfd.as_fd()
    }
}

/// A new memory file of that many zero bytes, not sealed yet.
fn sized(what: &str, name: &str, len_bytes: usize) -> io::Result<OwnedFd> {
    let prefix = [b"hotshoe-", what.as_bytes(), b":"].concat();
    let memfd = sealable(&prefix, name.as_bytes())?;
    ftruncate(&memfd, len_bytes as u64)?;
    Ok(memfd)
}

/// What another process hands us is an allegation: it is a memory file of exactly that size, and stays so.
fn judge(memfd: &OwnedFd, len_bytes: usize, wanted: SealFlags) -> io::Result<()> {
    let refuse = |found: String| {
        let text =
            format!("wanted a memfd of {len_bytes} bytes sealed with {wanted:?}, found {found}");
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    };
    let seals = match fcntl_get_seals(memfd) {
        Ok(seals) => seals,
        Err(Errno::INVAL) => return refuse("no memfd".to_owned()),
        Err(error) => return Err(error.into()),
    };
    if !seals.contains(wanted) {
        return refuse(format!("the seals {seals:?}"));
    }
    let found = fstat(memfd)?.st_size;
    match usize::try_from(found) {
        Ok(found) if found == len_bytes => Ok(()),
        _ => refuse(format!("{found} bytes")),
    }
}

/// Maps the first `len` cells of a file whose size was made or judged to be at least that, for ever.
fn map(memfd: &OwnedFd, len: usize, access: ProtFlags) -> io::Result<&'static [AtomicU64]> {
    let len_bytes = len * size_of::<AtomicU64>();
    // SAFETY: a null address lets the kernel choose a free range, so nothing that exists is replaced.
    let start = unsafe {
        mmap(
            ptr::null_mut(),
            len_bytes,
            access,
            MapFlags::SHARED,
            memfd,
            0,
        )
    }?;
    // SAFETY: mmap answered a range of `len_bytes`, aligned to a page; the file is that long and sealed against shrinking (the
    // host seals right after, before any other process has the descriptor), so each access finds memory; it is never
    // unmapped. Every bit pattern is a u64, and whoever else has the file mapped is another process: what it does, we see as
    // changes of atomics. Where `access` lacks WRITE, std promises that loads of this width do not write on the targets that
    // Linux has ("Atomic accesses to read-only memory"), and a store faults here.
    let cells = unsafe { std::slice::from_raw_parts(start.cast::<AtomicU64>(), len) };
    Ok(cells)
}

fn word(memfd: &OwnedFd, access: ProtFlags) -> io::Result<&'static AtomicU64> {
    let cells = map(memfd, 1, access)?;
    Ok(cells.first().expect("one cell was mapped"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::mm::{MprotectFlags, mprotect};
    use std::{
        fs::File,
        io::{Seek as _, Write as _},
        sync::atomic::Ordering,
    };

    fn copy(descriptor: BorrowedFd<'_>) -> OwnedFd {
        descriptor.try_clone_to_owned().expect("a descriptor")
    }

    fn kind(opened: io::Result<impl Sized>) -> io::ErrorKind {
        opened.err().expect("refused").kind()
    }

    #[test]
    fn both_sides_of_a_region_add_to_the_same_cells() {
        let host = CellRegion::create("append").expect("a region");
        let worker = CellRegion::open(copy(host.descriptor())).expect("the same region");
        assert_eq!((host.len(), worker.len()), (CELLS_LEN, CELLS_LEN));
        assert!(!host.is_empty());
        let ours = host.cells(CELLS_LEN - 2, 2).expect("the last two");
        let theirs = worker.cells(CELLS_LEN - 2, 2).expect("the last two");
        assert!(!ptr::eq(ours, theirs), "one mapping is no proof");
        theirs[1].fetch_add(3, Ordering::Relaxed);
        ours[1].fetch_add(4, Ordering::Relaxed);
        assert_eq!(theirs[1].load(Ordering::Relaxed), 7);
        assert_eq!(ours[0].load(Ordering::Relaxed), 0);
        // What was counted is there after the worker that counted it, and cells outlive their region.
        drop((worker, host));
        assert_eq!(ours[1].load(Ordering::Relaxed), 7);
    }

    #[test]
    fn nothing_beyond_the_end_is_handed_out() {
        let region = CellRegion::create("x").expect("a region");
        assert_eq!(region.cells(CELLS_LEN, 0).map(<[_]>::len), Some(0));
        for (first, len) in [
            (CELLS_LEN, 1),
            (CELLS_LEN + 1, 0),
            (0, CELLS_LEN + 1),
            (1, usize::MAX),
            (usize::MAX, 1),
            (usize::MAX, usize::MAX),
        ] {
            assert!(region.cells(first, len).is_none(), "{first} {len}");
        }
    }

    #[test]
    fn a_region_is_sparse_and_its_size_and_seals_are_fixed() {
        let region = CellRegion::create("x").expect("a region");
        let file = File::from(copy(region.descriptor()));
        assert_eq!(fstat(&file).expect("stat").st_blocks, 0);
        assert!(file.set_len(0).is_err(), "a region was cut");
        assert!(file.set_len(1 << 30).is_err(), "a region was let grow");
        let sealed = fcntl_add_seals(&file, SealFlags::FUTURE_WRITE);
        assert_eq!(sealed, Err(Errno::PERM), "a worker sealed its cells");
    }

    #[test]
    fn what_is_no_region_is_refused() {
        let len_bytes = CELLS_LEN * size_of::<AtomicU64>();
        let sealed = |len_bytes: usize, seals: SealFlags| {
            let memfd = sized("cells", "x", len_bytes).expect("a memfd");
            fcntl_add_seals(&memfd, seals).expect("seals");
            memfd
        };
        let file = tempfile::tempfile().expect("a file");
        file.set_len(len_bytes as u64).expect("as long as a region");
        let (pipe, _write) = rustix::pipe::pipe().expect("a pipe");
        for (what, descriptor) in [
            ("an ordinary file", OwnedFd::from(file)),
            ("a pipe", pipe),
            ("no seals", sealed(len_bytes, SealFlags::empty())),
            ("may shrink", sealed(len_bytes, SealFlags::GROW)),
            ("may grow", sealed(len_bytes, SealFlags::SHRINK)),
            ("too short", sealed(len_bytes - 8, SIZE_SEALS)),
            ("too long", sealed(len_bytes + 8, SIZE_SEALS)),
            ("an epoch page", EpochPage::create().expect("a page").memfd),
        ] {
            let opened = CellRegion::open(descriptor);
            assert_eq!(kind(opened), io::ErrorKind::InvalidData, "{what}");
        }
        // Cells that cannot be written to are no cells.
        let seals = SIZE_SEALS | SealFlags::FUTURE_WRITE;
        let opened = CellRegion::open(sealed(len_bytes, seals));
        assert_eq!(kind(opened), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_worker_reads_the_epoch_word_and_cannot_write_it() {
        let page = EpochPage::create().expect("a page");
        let word = EpochPage::open(copy(page.descriptor())).expect("the same page");
        assert!(!ptr::eq(page.word(), word), "one mapping is no proof");
        assert_eq!(word.load(Ordering::Acquire), 0);
        page.word().store(77, Ordering::Release);
        assert_eq!(word.load(Ordering::Acquire), 77);

        let passed = copy(page.descriptor());
        let writable = map(&passed, 1, ProtFlags::READ | ProtFlags::WRITE);
        assert_eq!(kind(writable), io::ErrorKind::PermissionDenied);
        // Neither can the mapping be made writable afterwards,
        let start = ptr::from_ref(word).cast_mut().cast();
        // SAFETY: the range is a whole page of ours; where the call succeeded, only this test would fail.
        let upgraded = unsafe { mprotect(start, PAGE_LEN_BYTES, MprotectFlags::WRITE) };
        assert_eq!(upgraded, Err(Errno::ACCESS));
        // nor the file be written, cut, or opened anew for more.
        let mut file = File::from(passed);
        assert!(file.write_all(b"x").is_err(), "the page was written");
        assert!(file.set_len(0).is_err(), "the page was cut");
        file.rewind().expect("seek");
        assert_eq!(word.load(Ordering::Acquire), 77);
    }

    #[test]
    fn what_is_no_epoch_page_is_refused() {
        let unsealed = sized("epoch", "", PAGE_LEN_BYTES).expect("a memfd");
        let writable = sized("epoch", "", PAGE_LEN_BYTES).expect("a memfd");
        fcntl_add_seals(&writable, SIZE_SEALS).expect("seals");
        let region = CellRegion::create("x").expect("a region");
        for (what, descriptor) in [
            ("no seals", unsealed),
            ("others may write", writable),
            ("a region", region.memfd),
        ] {
            let opened = EpochPage::open(descriptor);
            assert_eq!(kind(opened), io::ErrorKind::InvalidData, "{what}");
        }
    }

    #[test]
    fn a_long_or_odd_name_is_no_obstacle() {
        for name in ["", "a b\nc", "ümlaut", &"x".repeat(4096)] {
            assert!(CellRegion::create(name).is_ok(), "{name}");
        }
    }
}
