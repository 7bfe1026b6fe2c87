//! Whether anybody has a file open for writing, and so may be in the middle of it: what no time and no length shows.
//!
//! Asked of the kernel by asking for a read lease, which it gives for no file that is open for writing, and giving it back at
//! once: `execve` refuses such a file with ETXTBSY, `dlopen` does not. It works for the file's owner and for root, on file systems
//! that know leases; elsewhere the answer is that nobody knows. It waits for nobody.
#![expect(
    unsafe_code,
    reason = "neither std nor rustix has leases; the C library's fcntl is one declaration"
)]

use std::{ffi::c_int, fs::File, io, os::fd::AsRawFd as _};

/// What the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writers {
    /// Nobody writes.
    None,
    /// Somebody may.
    Some,
    /// Not for this user, or not on this file system.
    Unknown,
}

// Linux, the same on every architecture: fcntl.h of asm-generic and of linux.
const F_SETSIG: c_int = 10;
const F_SETLEASE: c_int = 1024;
const F_RDLCK: c_int = 0;
const F_UNLCK: c_int = 2;

unsafe extern "C" {
    fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
}

fn with_number(file: &File, command: c_int, number: c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `file` is borrowed, and these commands take one int and no pointer.
    match unsafe { fcntl(file.as_raw_fd(), command, number) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Asks; `file` was opened for reading alone.
pub(super) fn writers(file: &File) -> Writers {
    // Whoever opens the file for writing while we hold the lease waits until it is given back, and we are sent a signal: SIGURG,
    // which nobody dies of, instead of SIGIO, which ends a process that does not expect it.
    let urgent = rustix::process::Signal::URG.as_raw();
    if with_number(file, F_SETSIG, urgent).is_err() {
        return Writers::Unknown;
    }
    match with_number(file, F_SETLEASE, F_RDLCK) {
        Ok(()) => {
            // Were it to fail, the lease would end when the file is closed, milliseconds from now.
            let _ = with_number(file, F_SETLEASE, F_UNLCK);
            Writers::None
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Writers::Some,
        Err(_) => Writers::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_writer_is_seen_as_long_as_it_is_open() {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join("libx.so");
        let writer = File::create(&path).expect("create");
        let file = File::open(&path).expect("open");
        if writers(&file) == Writers::Unknown {
            eprintln!("skipped: no leases in {}", path.display());
            return;
        }
        assert_eq!(writers(&file), Writers::Some);
        drop(writer);
        // Another test's child may hold a copy of that descriptor until it has become its program.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while writers(&file) == Writers::Some && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert_eq!(writers(&file), Writers::None);
        // Nothing is left behind: a writer does not wait, and another reader may ask as well.
        let again = File::options().append(true).open(&path).expect("open");
        assert_eq!(writers(&file), Writers::Some);
        drop(again);
    }
}
