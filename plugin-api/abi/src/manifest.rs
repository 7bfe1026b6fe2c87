//! Where the manifest stands in a library, and what it says. Plain bytes, readable without running anything.
//!
//! The text is UTF-8: [`MAGIC`], then `key=value` lines, each ended by LF, then [`END`]. Readers skip keys they do not
//! know. Writers never change a key's meaning.

/// The ELF section (PE: the first eight bytes of the name; Mach-O: [`MACHO_SECTION`]).
pub const SECTION: &str = ".hotshoe";

/// Segment and section in a Mach-O file.
pub const MACHO_SECTION: &str = "__DATA,__hotshoe";

/// The first line: the format's version is its last word.
pub const MAGIC: &str = "HOTSHOE-MANIFEST 1\n";

/// The last line: what follows is not the manifest's.
pub const END: &str = "END\n";

/// At most so many bytes, [`MAGIC`] and [`END`] included.
pub const LEN_BYTES_MAX: usize = 4096;

/// The keys of format 1. All are required but [`key::RUSTC`].
pub mod key {
    /// The plugin's name: its crate's, `[a-z0-9][a-z0-9._-]{0,63}`.
    pub const NAME: &str = "name";
    /// The plugin's version: its crate's.
    pub const VERSION: &str = "version";
    /// The ABI version it was built with, `MAJOR.MINOR.PATCH`.
    pub const ABI: &str = "abi";
    /// The symbol of its root module's header.
    pub const SYMBOL: &str = "symbol";
    /// Comma-separated: `driver`, `checker`, `executor`, `processor`; may be empty.
    pub const COMPONENTS: &str = "components";
    /// What `rustc --version` said.
    pub const RUSTC: &str = "rustc";
    /// `unwind` or `abort`.
    pub const PANIC: &str = "panic";
    /// `debug` or `release`.
    pub const PROFILE: &str = "profile";
    /// The target triple.
    pub const TARGET: &str = "target";
}
