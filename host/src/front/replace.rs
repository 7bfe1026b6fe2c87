//! Puts a whole new text in a file's place: a reader sees the old one or the new one, never a part, and what fails leaves
//! the old one. It follows no link to do so: a link is replaced.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

/// Replaces `path`, or makes it.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    // Others may read it as far as the umask says, as any file that an editor makes.
    let mut next = tempfile::Builder::new()
        .prefix(".hotshoe-")
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)?;
    next.write_all(text.as_bytes())?;
    // The new name must not reach the disk before the bytes do.
    next.as_file().sync_all()?;
    next.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}
