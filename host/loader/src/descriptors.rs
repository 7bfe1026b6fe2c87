//! A worker's first acts: what it inherited from whoever started its host is put away before anything else happens.
//!
//! Why it exists: a host is often somebody's child, and its workers are its own. A JVM leaves hundreds of descriptors open and
//! signals blocked or ignored; a plugin that trusts the defaults would keep a stranger's socket open, or never see SIGTERM.
//!
//! Only a process that has one thread and has opened nothing yet may call these: they close what others may hold, and what
//! they set is the whole process's. They refuse to start anything, and to say what was closed.
#![expect(
    unsafe_code,
    reason = "closing a descriptor that somebody owns, and changing what a signal does, are for us to justify"
)]

use nix::{
    libc,
    sys::signal::{
        SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask,
    },
};
use std::{fs, io, os::fd::RawFd};

/// Closes every descriptor of the process from `first` on.
///
/// Called: first thing in a process, single-threaded, before anything of its own is open there. Whoever owns a descriptor that
/// is closed here would use, and close, a stranger's later.
///
/// # Errors
/// `/proc` is not there to say which are open; nothing was closed then.
pub fn close_from(first: RawFd) -> io::Result<()> {
    // Read to the end before the first is closed: one of them is the folder's own.
    let mut open = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        open.extend(name.to_str().and_then(|name| name.parse::<RawFd>().ok()));
    }
    for descriptor in open {
        if descriptor >= first {
            // SAFETY: nobody in this process owns a descriptor yet, as this function's contract says; where somebody does, his
            // next use of it is an error, or meets a file that was opened since. What is closed already, as the folder's own
            // is, answers EBADF (rustix would panic at it): with one thread nobody can have taken the number meanwhile.
            let _ = unsafe { libc::close(descriptor) };
        }
    }
    Ok(())
}

/// Unblocks every signal, and gives each one that the parent had ignored its default again; but SIGPIPE, which ends no Rust
/// program, is ignored.
///
/// A handler is not inherited: one that is there is this program's own (std's, which names the thread whose stack overflowed),
/// and stays.
///
/// Called: first thing in a process, single-threaded: the mask is the calling thread's, and those that it starts inherit it.
///
/// # Errors
/// The system refuses what every system allows: a bug of ours or of the system's.
pub fn reset_signals() -> io::Result<()> {
    // Dispositions first: a signal that was blocked, ignored and is pending would act on the old one otherwise.
    for signal in Signal::iterator() {
        match signal {
            // Nobody can change these.
            Signal::SIGKILL | Signal::SIGSTOP => {}
            Signal::SIGPIPE => drop(swap(signal, SigHandler::SigIgn)?),
            signal => {
                let before = swap(signal, SigHandler::SigDfl)?;
                if !matches!(before.handler(), SigHandler::SigIgn | SigHandler::SigDfl) {
                    // SAFETY: it is what stood there a moment ago, handler, flags and mask.
                    unsafe { sigaction(signal, &before) }?;
                }
            }
        }
    }
    reset_realtime_signals()?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

const STOPS: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];

/// Blocks requests to stop on this thread. A process that it starts inherits that, and so is not ended by one before it has its
/// own answer to them; this process hears them on its other threads.
///
/// # Errors
/// The system refuses what every system allows.
pub fn hold_stops_back() -> io::Result<()> {
    Ok(SigSet::from_iter(STOPS).thread_block()?)
}

/// Makes requests to stop (SIGTERM, SIGINT, SIGHUP) do nothing to this process: they are for the host, which stops it in order.
///
/// A service manager asks every process of a unit at once. Handlers and not "ignored", which programs that a plugin starts would
/// inherit; a plugin may set its own.
///
/// Called: before [`reset_signals`], which lets through what [`hold_stops_back`] has held back until there is a handler.
///
/// # Errors
/// As [`reset_signals`].
pub fn leave_stops_to_the_host() -> io::Result<()> {
    extern "C" fn heard(_: libc::c_int) {}
    for signal in STOPS {
        let handler = SigHandler::Handler(heard);
        let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
        // SAFETY: the handler does nothing, which is safe wherever the thread was; it lives in the program, which stays.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}

/// Sets a disposition that is no handler; answers what was there.
fn swap(signal: Signal, handler: SigHandler) -> io::Result<SigAction> {
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: ignoring and the default run no code of ours, so nothing has to be safe in a signal handler.
    Ok(unsafe { sigaction(signal, &action) }?)
}

/// nix names the classic signals only; of these nobody in this process can have a handler yet. The two between are the C
/// library's own, which sets them where it needs them.
#[cfg(target_os = "linux")]
fn reset_realtime_signals() -> io::Result<()> {
    for signal in libc::SIGRTMIN()..=libc::SIGRTMAX() {
        // SAFETY: the default runs no code of ours; the number is one that the C library leaves to programs.
        let before = unsafe { libc::signal(signal, libc::SIG_DFL) };
        if before == libc::SIG_ERR {
            return Err(nix::errno::Errno::last().into());
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "where they exist, they can fail")]
fn reset_realtime_signals() -> io::Result<()> {
    Ok(())
}
