//! `dlopen` and `dlsym`.
//!
//! A library is never closed again: threads that it started, thread-local destructors and pointers into its statics outlive
//! whatever we could know about it.
#![expect(
    unsafe_code,
    reason = "opening a library runs its constructors, and a symbol has the type that we say"
)]

use super::OpenFault;
use hotshoe_abi::abi_stable::library::AbiHeaderRef;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW, Symbol};
use std::{mem::ManuallyDrop, path::Path};

/// Opens a library and answers what stands under the symbol.
///
/// `symbol` was found in the file's dynamic symbols as a variable at least as long as an abi_stable header.
pub(crate) fn open(path: &Path, symbol: &str) -> Result<AbiHeaderRef, OpenFault> {
    // RTLD_NOW: a missing symbol is an error here and not in the middle of a run. RTLD_LOCAL: two plugins never see each other.
    // SAFETY: runs the library's constructors. The bytes were verified and staged; that their code is sound is what the
    // operator vouches for by listing the file, and an isolated backend is for those who cannot.
    let opened = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
    let opened = opened.map_err(|error| OpenFault::NotOpened(error.to_string()))?;
    // Never dlclose: a thread the plugin left behind may still run its code, and the header is borrowed for ever.
    let opened = ManuallyDrop::new(opened);
    // SAFETY: the type is that of a pointer to an abi_stable header, which starts with a magic text that the handshake checks
    // before it reads on; verify made sure that so many bytes are there. A library that lies about the rest faults here.
    let header: Result<Symbol<AbiHeaderRef>, _> = unsafe { opened.get(symbol.as_bytes()) };
    header
        .map(|header| *header)
        .map_err(|error| OpenFault::NoSymbol(error.to_string()))
}
