//! Who may change a file, or replace it: its own mode, and that of every folder on the way to it.
//!
//! Whoever can write a library, its lock or a key that is trusted decides what runs as the host. This reads modes; what follows
//! from them is the caller's. On systems without modes nobody else may write.

use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;

/// Something that everybody on this machine may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed {
    /// The file, or a folder on its path; absolute, made printable.
    pub shown: String,
    /// It is a folder.
    pub is_folder: bool,
    /// Its permission bits.
    pub mode: u32,
}

/// What of `path` everybody may change: the file itself, or the first such folder on the way to it, as the path says and as it
/// is once links are followed. A sticky folder (`/tmp`) lets only a file's owner replace it, and on a file system that is mounted
/// read-only nobody changes anything. `None` also where nothing can be asked.
#[must_use]
pub fn exposed(path: &Path) -> Option<Exposed> {
    #[cfg(unix)]
    return unix::exposed(path);
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// Every folder on the way to the file: as the path says, and as it is once links are followed.
#[cfg(unix)]
fn folders(path: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = Vec::new();
    for way in [Some(crate::error::absolute(path)), path.canonicalize().ok()]
        .into_iter()
        .flatten()
    {
        for folder in way.ancestors().skip(1) {
            if !folders.iter().any(|known| known == folder) {
                folders.push(folder.to_path_buf());
            }
        }
    }
    folders
}

#[cfg(unix)]
mod unix {
    use super::{Exposed, Path, folders};
    use crate::error::{absolute, printable_path};
    use rustix::fs::{StatVfsMountFlags, statvfs};
    use std::{fs, os::unix::fs::MetadataExt as _};

    const OTHERS_WRITE: u32 = 0o002;
    /// In a sticky folder only a file's owner may replace it.
    const STICKY: u32 = 0o1000;

    pub(super) fn exposed(path: &Path) -> Option<Exposed> {
        let file = mode_of(path).filter(|mode| mode & OTHERS_WRITE != 0);
        if let Some(mode) = file.filter(|_| is_writable(path)) {
            return Some(found(path, mode, false));
        }
        folders(path).iter().find_map(|folder| {
            let mode = mode_of(folder)?;
            let open = mode & OTHERS_WRITE != 0 && mode & STICKY == 0;
            (open && is_writable(folder)).then(|| found(folder, mode, true))
        })
    }

    fn mode_of(path: &Path) -> Option<u32> {
        fs::metadata(path).ok().map(|meta| meta.mode())
    }

    /// Whether its file system is mounted for writing, as far as can be told.
    fn is_writable(path: &Path) -> bool {
        statvfs(path).map_or(true, |about| {
            !about.f_flag.contains(StatVfsMountFlags::RDONLY)
        })
    }

    fn found(path: &Path, mode: u32, is_folder: bool) -> Exposed {
        Exposed {
            shown: printable_path(&absolute(path)),
            is_folder,
            mode: mode & 0o7777,
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt as _};

    #[test]
    fn the_file_counts_and_each_folder_on_both_ways_to_it() {
        let folder = tempfile::tempdir().expect("tempdir");
        let below = folder.path().join("below");
        fs::create_dir(&below).expect("mkdir");
        let (path, link) = (below.join("file"), folder.path().join("link"));
        fs::write(&path, b"x").expect("write");
        std::os::unix::fs::symlink(&path, &link).expect("symlink");
        let chmod = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod")
        };
        for (file_mode, folder_mode, what) in [
            (0o644, 0o755, None),
            (0o664, 0o775, None),
            (0o646, 0o755, Some((false, 0o646))),
            (0o644, 0o777, Some((true, 0o777))),
            (0o644, 0o1777, None),
        ] {
            chmod(&path, file_mode);
            chmod(&below, folder_mode);
            for way in [&path, &link] {
                let found = exposed(way);
                let found = found.map(|found| (found.is_folder, found.mode));
                assert_eq!(found, what, "{file_mode:o} in {folder_mode:o}");
            }
        }
        assert_eq!(exposed(&folder.path().join("none")), None);
    }

    /// A folder for all in a mount that nobody can write to, as a container gets its configuration. Runs itself again in a mount
    /// namespace; says so where this machine gives none.
    #[test]
    fn what_is_mounted_read_only_is_changed_by_nobody() {
        const NAME: &str = "access::tests::what_is_mounted_read_only_is_changed_by_nobody";
        const INSIDE: &str = "HOTSHOE_TEST_READ_ONLY";
        if let Some(mount) = std::env::var_os(INSIDE) {
            let file = Path::new(&mount).join("file");
            assert_eq!(mode(&file), 0o666);
            assert_eq!(exposed(&file), None);
            return;
        }
        let folder = tempfile::tempdir().expect("tempdir");
        let mount = folder.path().join("mount");
        fs::create_dir(&mount).expect("mkdir");
        let script = "mount -t tmpfs -o mode=0777 tmpfs \"$0\" && echo x >\"$0/file\" \
            && chmod 666 \"$0/file\" && mount -o remount,ro tmpfs \"$0\"";
        let unshared = |script: &str| {
            let mut command = std::process::Command::new("unshare");
            command.args(["-Urm", "sh", "-c", script]).arg(&mount);
            command
        };
        if !unshared(script)
            .output()
            .is_ok_and(|output| output.status.success())
        {
            eprintln!("skipped: this machine gives no mount namespace");
            return;
        }
        let output = unshared(&format!("{script} && exec \"$@\""))
            .arg(std::env::current_exe().expect("this program"))
            .args(["--exact", NAME])
            .env(INSIDE, &mount)
            .output()
            .expect("unshare");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{said}"
        );
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").permissions().mode() & 0o777
    }
}
