//! The one way out of a process that has loaded plugins.
//!
//! `exit` would run the destructors and `atexit` functions of every library still loaded, and one that hangs or crashes
//! would change the exit code. This refuses to flush: whoever leaves has flushed sink and logs before.
#![expect(
    unsafe_code,
    reason = "std has no exit that skips atexit; the C library's is one declaration"
)]

use std::ffi::c_int;

unsafe extern "C" {
    // POSIX `_exit`; Microsoft's C runtime has it under the same name.
    #[link_name = "_exit"]
    fn c_exit(status: c_int) -> !;
}

/// Ends the process at once with this exit code. Runs no destructor, no `atexit` function, and flushes nothing.
pub fn leave(code: u8) -> ! {
    // SAFETY: `_exit` takes any status, is async-signal-safe and does not return.
    unsafe { c_exit(c_int::from(code)) }
}
