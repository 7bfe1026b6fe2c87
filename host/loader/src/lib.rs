//! From a plugin file to its root module: inspect, verify, stage, open, handshake.
//!
//! Why it exists: this is the only road to `dlopen`, and the constructors of a library run inside `dlopen`. So everything
//! that can be known about a file is asked of its bytes first, and the bytes that were asked are the bytes that run.
//!
//! ```text
//! find ─► verify ───────────────────────────────► load
//!         open once, read, inspect, judge, stage   dlopen the staged copy, check the layout both ways
//! ```
//!
//! It refuses to call a plugin's code (that is the host's backend's), to unload one (a thread that a plugin left behind may
//! still run it), to guess ([`Refusal`] says what was wanted and what was found), and to log.
//!
//! ```no_run
//! use hotshoe_loader::{LibraryName, Policy, find, load, verify};
//! use std::path::Path;
//!
//! let name = LibraryName::new("hotshoe_quickstart", Path::new("."));
//! let file = find(&name, &[Path::new("plugins").to_path_buf()])?;
//! let verified = verify(&file, &Policy::default())?;
//! let library = load(verified, "append")?;
//! println!("{} {}", library.manifest.name, library.manifest.version);
//! # Ok::<(), hotshoe_loader::Refusal>(())
//! ```

mod access;
mod describe;
#[cfg(unix)]
mod descriptors;
mod error;
mod find;
mod handshake;
mod inspect;
mod leave;
mod lock;
mod machine;
mod manifest;
mod map;
#[cfg(target_os = "linux")]
mod memfd;
mod open;
mod signature;
mod small;
mod stage;
mod verify;

pub use access::{Exposed, doubts, exposed};
pub use describe::describe;
#[cfg(unix)]
pub use descriptors::{close_from, hold_stops_back, leave_stops_to_the_host, reset_signals};
pub use error::{Blame, Refusal, RefusalCode, argument, printable_path};
pub use find::{LibraryName, find, remedy, search_folders};
#[doc(hidden)]
pub use handshake::compare_layouts;
pub use handshake::{Copy, Library, load, load_copy};
pub use inspect::{EntrySymbol, InspectFault, Inspection, Platform, SymbolKind, inspect};
pub use leave::leave;
pub use lock::{
    Difference, LOCK_BYTES_MAX, LOCK_FILE, Lock, LockedLibrary, LockedNeighbour, Named,
};
pub use machine::glibc_version;
pub use manifest::{Components, Manifest, ManifestFault, Panic, Profile, parse_manifest};
pub use map::{CellRegion, EpochPage};
pub use signature::{
    PublicKey, SIGNATURE_BYTES_MAX, SecretKey, Subject, judge_signature, signature_path,
};
pub use small::{Misread, hex, read_small};
pub use stage::{Staged, Staging};
pub use verify::{Clash, Policy, Verified, look, subject, verify, verify_all};
