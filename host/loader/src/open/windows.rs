//! `LoadLibraryEx` and `GetProcAddress`. Written to keep Windows in reach, not built yet (DESIGN §10).
//!
//! A library is never freed again, for the reasons of `unix.rs`.
#![expect(
    unsafe_code,
    reason = "opening a library runs its DllMain, and a symbol has the type that we say"
)]

use super::OpenFault;
use hotshoe_abi::abi_stable::library::AbiHeaderRef;
use libloading::os::windows::{
    LOAD_LIBRARY_SEARCH_DEFAULT_DIRS, LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR, Library, Symbol,
};
use std::{mem::ManuallyDrop, path::Path};

/// Opens a library and answers what stands under the symbol.
pub(crate) fn open(path: &Path, symbol: &str) -> Result<AbiHeaderRef, OpenFault> {
    let search = LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_DEFAULT_DIRS;
    // SAFETY: runs the library's DllMain. The bytes were verified and staged; that their code is sound is what the operator
    // vouches for by listing the file.
    let opened = unsafe { Library::load_with_flags(path, search) };
    let opened = opened.map_err(|error| OpenFault::NotOpened(error.to_string()))?;
    // Never FreeLibrary: a thread the plugin left behind may still run its code, and the header is borrowed for ever.
    let opened = ManuallyDrop::new(opened);
    // SAFETY: the type is that of a pointer to an abi_stable header, which starts with a magic text that the handshake checks
    // before it reads on. A library that lies about the rest faults here.
    let header: Result<Symbol<AbiHeaderRef>, _> = unsafe { opened.get(symbol.as_bytes()) };
    header
        .map(|header| *header)
        .map_err(|error| OpenFault::NoSymbol(error.to_string()))
}
