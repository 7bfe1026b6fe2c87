//! The copy of a library that is opened: the bytes that were verified, out of reach of whoever can write to the path.
//!
//! One copy per instance, so that two instances of one file share no statics. On Linux it is a sealed memfd; elsewhere, and
//! where a library needs neighbours beside it, a private folder. It refuses to fall back from the one to the other: what
//! an operator asked for either happens or is refused.

use crate::{
    error::{Refusal, RefusalCode, printable_path},
    find::{reason, remedy},
};
use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Component, Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

/// Where copies are made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Staging {
    /// In memory. A library that finds neighbours through `$ORIGIN` is refused. Where the system has no memfd, a private
    /// folder below the temporary one.
    #[default]
    Memfd,
    /// In a new folder, mode 0700, below this one; neighbours found through `$ORIGIN` are verified and copied along. The
    /// folder stays as long as the library may look for more: to remove it is the caller's, who names a folder of its own.
    Directory(PathBuf),
}

/// A library found beside the one that is staged.
pub(crate) struct Neighbour {
    /// Relative to the library's folder; made of normal components only.
    pub(crate) place: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

impl Neighbour {
    fn is_inside(&self) -> bool {
        let mut parts = self.place.components();
        self.place.file_name().is_some() && parts.all(|it| matches!(it, Component::Normal(_)))
    }
}

/// SHA-256 of a copy.
type Digest = [u8; 32];

/// A verified copy, not opened yet. Dropping it removes it.
#[derive(Debug)]
pub struct Staged {
    backing: Backing,
    len_bytes: u64,
    sha256: Digest,
    /// Where each neighbour is, relative to the folder.
    neighbours_sha256: Vec<(PathBuf, Digest)>,
}

#[derive(Debug)]
enum Backing {
    #[cfg(target_os = "linux")]
    Memfd(std::os::fd::OwnedFd),
    Folder {
        folder: PathBuf,
        file: PathBuf,
    },
}

impl Staged {
    /// Bytes in the copy.
    #[must_use]
    pub const fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// What to open.
    #[must_use]
    pub(crate) fn path(&self) -> PathBuf {
        match &self.backing {
            #[cfg(target_os = "linux")]
            Backing::Memfd(memfd) => {
                use std::os::fd::AsRawFd as _;
                PathBuf::from(format!("/proc/self/fd/{}", memfd.as_raw_fd()))
            }
            Backing::Folder { file, .. } => file.clone(),
        }
    }

    /// The copy in memory, to be handed to another process; `None` where it is a file.
    #[cfg(unix)]
    #[must_use]
    pub fn descriptor(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        match &self.backing {
            #[cfg(target_os = "linux")]
            Backing::Memfd(memfd) => Some(std::os::fd::AsFd::as_fd(memfd)),
            Backing::Folder { .. } => None,
        }
    }

    /// The copy's file; `None` where it is in memory.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match &self.backing {
            #[cfg(target_os = "linux")]
            Backing::Memfd(_) => None,
            Backing::Folder { file, .. } => Some(file),
        }
    }

    /// SHA-256 of the copy, taken while it was written: of what runs, not of what the path holds by now.
    #[must_use]
    pub const fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// SHA-256 of each neighbour's copy, with its place relative to the library.
    #[must_use]
    pub fn neighbours_sha256(&self) -> &[(PathBuf, [u8; 32])] {
        &self.neighbours_sha256
    }

    /// Keeps the copy for ever, because it is opened now; answers the folder, if it is one.
    ///
    /// The descriptor of a memfd must never be closed: its number would be given to another file, and `dlopen` of the same
    /// `/proc/self/fd/N` would answer the library that was opened under that name before.
    pub(crate) fn keep(self) -> Option<PathBuf> {
        // Nothing is dropped on purpose: `Drop` would remove the copy, and the memfd's descriptor is the process's from now on.
        let kept = std::mem::ManuallyDrop::new(self);
        match &kept.backing {
            #[cfg(target_os = "linux")]
            Backing::Memfd(_) => None,
            Backing::Folder { folder, .. } => Some(folder.clone()),
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        match &self.backing {
            #[cfg(target_os = "linux")]
            Backing::Memfd(_) => {}
            // Best effort: what is left is a private folder below one that the caller cleans anyway.
            Backing::Folder { folder, .. } => drop(fs::remove_dir_all(folder)),
        }
    }
}

/// Writes a copy, and digests each piece of it while the processor still has it at hand.
fn write_digested(copy: &mut File, bytes: &[u8]) -> io::Result<Digest> {
    use sha2::{Digest as _, Sha256};
    const PIECE_BYTES: usize = 64 * 1024;
    let mut digest = Sha256::new();
    for piece in bytes.chunks(PIECE_BYTES) {
        copy.write_all(piece)?;
        digest.update(piece);
    }
    Ok(digest.finalize().into())
}

/// Copies a library whose bytes were judged.
pub(crate) fn stage(
    library: &Path,
    bytes: &[u8],
    neighbours: &[Neighbour],
    staging: &Staging,
) -> Result<Staged, Refusal> {
    let name = library.file_name().unwrap_or(OsStr::new("library"));
    match staging {
        #[cfg(target_os = "linux")]
        Staging::Memfd => memfd(name, bytes).map_err(|error| no_memfd(library, &error)),
        #[cfg(not(target_os = "linux"))]
        Staging::Memfd => private_folder(&std::env::temp_dir(), name, bytes, neighbours)
            .map_err(|error| no_folder(library, &std::env::temp_dir(), &error)),
        Staging::Directory(parent) => private_folder(parent, name, bytes, neighbours)
            .map_err(|error| no_folder(library, parent, &error)),
    }
}

/// A file in memory that nobody can change any more, not even this process.
#[cfg(target_os = "linux")]
fn memfd(name: &OsStr, bytes: &[u8]) -> io::Result<Staged> {
    use crate::memfd::sealable;
    use rustix::fs::{SealFlags, fcntl_add_seals};
    use std::os::unix::ffi::OsStrExt as _;

    let memfd = sealable(b"hotshoe:", name.as_bytes())?;
    let mut copy = File::from(memfd);
    let sha256 = write_digested(&mut copy, bytes)?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    while_busy(|| fcntl_add_seals(&copy, seals))?;
    let memfd = std::os::fd::OwnedFd::from(copy);
    // Without /proc the copy has no path to open it by.
    let path = PathBuf::from(format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(&memfd)
    ));
    fs::metadata(path)?;
    Ok(Staged {
        backing: Backing::Memfd(memfd),
        len_bytes: bytes.len() as u64,
        sha256,
        neighbours_sha256: Vec::new(),
    })
}

/// Seals a file that nobody but the kernel can have in use. It refuses to as long as it holds a page of it itself, and waits no
/// more than 150 ms for it; on a busy machine, whose memory it sorts meanwhile, that is now and then too little. A
/// refusal that comes at once is another one's, who has mapped the file to write in it, and is soon believed.
#[cfg(target_os = "linux")]
fn while_busy(mut seal: impl FnMut() -> rustix::io::Result<()>) -> rustix::io::Result<()> {
    /// Five seconds where the kernel waits each time: half of what a load may take.
    const ATTEMPTS: u32 = 32;
    for _ in 1..ATTEMPTS {
        match seal() {
            Err(rustix::io::Errno::BUSY) => {}
            done => return done,
        }
    }
    seal()
}

#[cfg(target_os = "linux")]
fn no_memfd(library: &Path, error: &io::Error) -> Refusal {
    Refusal::new(
        RefusalCode::Unreadable,
        library,
        format!(
            "cannot be copied into memory, where its verified bytes would run: {}",
            reason(error)
        ),
        "memfd_create, sealing and /proc",
        reason(error),
    )
    .fix(remedy(error, "set stage = \"directory\" for this plugin"))
}

fn no_folder(library: &Path, parent: &Path, error: &io::Error) -> Refusal {
    let parent = printable_path(parent);
    Refusal::new(
        RefusalCode::Unreadable,
        library,
        format!(
            "cannot be copied into a private folder, where its verified bytes would run: {}",
            reason(error)
        ),
        format!("a folder below {parent}"),
        reason(error),
    )
    .fix(remedy(
        error,
        format!("make {parent} a folder that the host may write to"),
    ))
}

/// A new folder that only this user can enter, holding the library and its neighbours.
fn private_folder(
    parent: &Path,
    name: &OsStr,
    bytes: &[u8],
    neighbours: &[Neighbour],
) -> io::Result<Staged> {
    // Before anything is written: a place that leads out of the folder would be anywhere.
    if let Some(Neighbour { place, .. }) = neighbours.iter().find(|it| !it.is_inside()) {
        let what = format!("{} leads out of it", printable_path(place));
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let folder = new_folder(parent)?;
    let file = folder.join(name);
    let write_all = || {
        let sha256 = write_new(&file, bytes)?;
        let mut neighbours_sha256 = Vec::new();
        for Neighbour { place, bytes } in neighbours {
            let path = folder.join(place);
            if let Some(below) = path.parent() {
                fs::create_dir_all(below)?;
            }
            neighbours_sha256.push((place.clone(), write_new(&path, bytes)?));
        }
        Ok((sha256, neighbours_sha256))
    };
    match write_all() {
        Ok((sha256, neighbours_sha256)) => Ok(Staged {
            backing: Backing::Folder { folder, file },
            len_bytes: bytes.len() as u64,
            sha256,
            neighbours_sha256,
        }),
        Err(error) => {
            drop(fs::remove_dir_all(&folder));
            Err(error)
        }
    }
}

fn new_folder(parent: &Path) -> io::Result<PathBuf> {
    /// Names that are taken by what a former process left behind; more is somebody's game.
    const ATTEMPTS: u32 = 1000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut last = io::Error::other("no attempt was made");
    for _ in 0..ATTEMPTS {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut name = OsString::from("stage-");
        name.push(format!("{}-{number}", std::process::id()));
        let folder = parent.join(name);
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        match builder.create(&folder) {
            // Absolute, because dlopen searches for what holds no separator, and the working folder may change.
            Ok(()) => return folder.canonicalize(),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<Digest> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o400);
    write_digested(&mut options.open(path)?, bytes)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use sha2::Digest as _;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_memfd_is_named_sealed_and_holds_the_bytes() {
        let staged =
            stage(Path::new("/x/libgeoip.so"), b"abc", &[], &Staging::Memfd).expect("staged");
        assert_eq!(staged.len_bytes(), 3);
        let path = staged.path();
        let link = fs::read_link(&path).expect("link");
        assert_eq!(link, Path::new("/memfd:hotshoe:libgeoip.so (deleted)"));
        assert_eq!(fs::read(&path).expect("read"), b"abc");
        let write = OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut file| file.write_all(b"x"));
        assert!(write.is_err(), "a sealed memfd was written to");
        let cut = OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_len(0));
        assert!(cut.is_err(), "a sealed memfd was cut");
        // FIPS 180-2, appendix B.1.
        let digest: String = staged
            .sha256()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            digest,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_page_that_the_kernel_holds_for_a_while_is_waited_for() {
        use rustix::{
            fs::{SealFlags, fcntl_add_seals, fcntl_get_seals},
            io::Errno,
            pipe::{SpliceFlags, pipe, splice},
        };
        let memfd = crate::memfd::sealable(b"hotshoe:", b"libx.so").expect("a memfd");
        let mut copy = File::from(memfd);
        write_digested(&mut copy, &[7; 100]).expect("written");
        // What lies in a pipe is the page itself.
        let (read, write) = pipe().expect("a pipe");
        let spliced = splice(&copy, Some(&mut 0), &write, None, 100, SpliceFlags::empty());
        assert_eq!(spliced, Ok(100));
        let mut held = Some(read);
        let mut attempts = Vec::new();
        let sealed = while_busy(|| {
            let outcome = fcntl_add_seals(&copy, SealFlags::WRITE);
            attempts.push(outcome);
            held.take()
                .map(|read| rustix::io::read(read, &mut [0; 100]));
            outcome
        });
        assert_eq!(sealed, Ok(()));
        // And again, where it has the page in hand for reasons of its own.
        assert_eq!(attempts.first(), Some(&Err(Errno::BUSY)));
        let seals = fcntl_get_seals(&copy).expect("seals");
        assert!(seals.contains(SealFlags::WRITE));
    }

    #[test]
    fn one_who_may_write_to_the_copy_is_not_waited_for_for_ever() {
        let mut attempts = 0;
        let sealed = while_busy(|| {
            attempts += 1;
            Err(rustix::io::Errno::BUSY)
        });
        assert_eq!((sealed, attempts), (Err(rustix::io::Errno::BUSY), 32));
    }

    #[test]
    fn the_digest_is_that_of_the_copy_however_many_pieces_it_was_written_in() {
        const PIECE: usize = 64 * 1024;
        for len in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE] {
            let bytes: Vec<u8> = (0_u8..251).cycle().take(len).collect();
            let staged = stage(Path::new("libx.so"), &bytes, &[], &Staging::Memfd).expect("staged");
            let copy = fs::read(staged.path()).expect("read");
            assert_eq!(copy, bytes);
            let whole: [u8; 32] = sha2::Sha256::digest(&copy).into();
            assert_eq!(*staged.sha256(), whole, "{len} bytes");
        }
    }

    #[test]
    fn a_long_or_odd_name_is_no_obstacle() {
        let long = "x".repeat(255);
        for name in [&*long, "a b\nc", "ümlaut.so"] {
            assert!(
                stage(Path::new(name), b"abc", &[], &Staging::Memfd).is_ok(),
                "{name}"
            );
        }
    }

    #[test]
    fn a_folder_is_private_and_goes_with_its_owner() {
        let parent = tempfile::tempdir().expect("tempdir");
        let staging = Staging::Directory(parent.path().to_path_buf());
        let neighbours = [Neighbour {
            place: "deps/libdep.so".into(),
            bytes: b"dep".to_vec(),
        }];
        let staged = stage(Path::new("libx.so"), b"abc", &neighbours, &staging).expect("staged");
        let file = staged.path();
        let folder = file.parent().expect("folder").to_path_buf();
        assert_eq!(
            fs::metadata(&folder).expect("folder").permissions().mode() & 0o777,
            0o700
        );
        assert_eq!(
            fs::metadata(&file).expect("file").permissions().mode() & 0o777,
            0o400
        );
        assert_eq!(
            fs::read(folder.join("deps/libdep.so")).expect("neighbour"),
            b"dep"
        );
        let digest = |bytes: &[u8]| <[u8; 32]>::from(sha2::Sha256::digest(bytes));
        assert_eq!(*staged.sha256(), digest(b"abc"));
        let brought = [(PathBuf::from("deps/libdep.so"), digest(b"dep"))];
        assert_eq!(staged.neighbours_sha256(), brought);
        drop(staged);
        assert!(!folder.exists());

        let kept = stage(Path::new("libx.so"), b"abc", &[], &staging)
            .expect("staged")
            .keep();
        assert!(kept.expect("a folder").join("libx.so").exists());
    }

    #[test]
    fn nothing_is_written_for_a_neighbour_that_would_lie_elsewhere() {
        let outer = tempfile::tempdir().expect("tempdir");
        let parent = outer.path().join("run");
        fs::create_dir(&parent).expect("mkdir");
        let absolute = outer.path().join("evil.so");
        let absolute = absolute.to_str().expect("UTF-8");
        for place in [
            "../../evil.so",
            "s/../../../evil.so",
            "..",
            ".",
            "",
            absolute,
        ] {
            let neighbours = [Neighbour {
                place: place.into(),
                bytes: b"evil".to_vec(),
            }];
            let staging = Staging::Directory(parent.clone());
            let refusal = stage(Path::new("libx.so"), b"abc", &neighbours, &staging);
            assert!(refusal.is_err(), "{place}");
            let left = fs::read_dir(outer.path()).expect("list").count();
            let inside = fs::read_dir(&parent).expect("list").count();
            assert_eq!((left, inside), (1, 0), "{place}");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_a_refusal() {
        let staging = Staging::Directory("/nowhere/at/all".into());
        let refusal = stage(Path::new("libx.so"), b"abc", &[], &staging).expect_err("no parent");
        assert_eq!(refusal.code, RefusalCode::Unreadable);
        assert_eq!(&*refusal.found, "no such file or directory");
    }
}
