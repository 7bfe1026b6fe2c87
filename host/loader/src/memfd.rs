//! Files in memory that can be sealed: the copy of a library, the cells of metrics, the epoch page. Makes them, and leaves what
//! goes in and which seals go on to whoever asked.

use rustix::{
    fs::{MemfdFlags, memfd_create},
    io::Errno,
};
use std::{io, os::fd::OwnedFd};

/// What debuggers and `/proc/self/maps` show is cut to so many bytes: the kernel's limit is 249, with its own prefix and ours.
const NAME_BYTES_MAX: usize = 200;

/// An empty one that is closed on exec.
///
/// - `prefix`, `name`: what is shown; the prefix is whole, of the name as much as fits.
pub(crate) fn sealable(prefix: &[u8], name: &[u8]) -> io::Result<OwnedFd> {
    let shown = [prefix, &name[..name.len().min(NAME_BYTES_MAX)]].concat();
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create(&shown[..], flags | MemfdFlags::NOEXEC_SEAL) {
        // Before Linux 6.3 that flag is unknown. It only says that nobody can execve the file; mapping its code is as before.
        Err(Errno::INVAL) => Ok(memfd_create(&shown[..], flags)?),
        made => Ok(made?),
    }
}
