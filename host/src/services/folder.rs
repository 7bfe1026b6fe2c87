//! The one way in which a folder of the host's own is made, whoever needs it first: what is kept there is this user's alone.

use std::{fs::DirBuilder, io, os::unix::fs::DirBuilderExt as _, path::Path};

/// Makes a folder that only this user may enter, and those above it that are missing; one that is there stays as it is.
///
/// Never with the umask's mode: a journal refuses a folder that others may write to, whoever made it.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}
