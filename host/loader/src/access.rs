//! Who may change a file, or replace it: its own mode, and that of every folder on the way to it.
//!
//! Whoever can write a library, its lock or a key that is trusted decides what runs as the host. This reads modes; what follows
//! from them is the caller's. On systems without modes nobody else may write.

use crate::error::argument;
use std::path::Path;
#[cfg(unix)]
use std::{
    fs,
    path::{Component, PathBuf},
};

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

impl Exposed {
    /// The command that takes the right away.
    #[must_use]
    pub fn cure(&self) -> String {
        format!("chmod o-w {}", argument(Path::new(&self.shown)))
    }
}

/// What of `path` everybody may change: the file itself, or the first folder on the way to it, through every link, in which they
/// could put another in the place of what the path goes on with. A sticky folder (`/tmp`) lets only a file's owner replace it,
/// and on a file system that is mounted read-only nobody changes anything. `None` also where nothing can be asked.
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

/// What of a folder that a library is looked for in everybody may change: to put a file there is enough, so that a sticky one is
/// open as well, and one that is not there is as open as the nearest above it that is.
pub(crate) fn exposed_folder(path: &Path) -> Option<Exposed> {
    #[cfg(unix)]
    return unix::exposed_folder(path);
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// What an operator should know of who else may change a file or a folder, besides everybody; to follow its name, one line each.
#[must_use]
pub fn doubts(path: &Path) -> Vec<String> {
    #[cfg(unix)]
    return fs::metadata(path).map_or_else(|_| Vec::new(), |meta| unix::doubts(&meta));
    #[cfg(not(unix))]
    {
        let _ = path;
        Vec::new()
    }
}

#[cfg(unix)]
pub(crate) use unix::doubts as doubts_about;

/// How a path is followed, name by name, as the kernel does: it need not exist.
#[cfg(unix)]
struct Way {
    /// Each folder that a name is looked up in, those on the way of each link included.
    folders: Vec<PathBuf>,
    /// Where it leads; without links and dots as far as it exists.
    end: PathBuf,
}

#[cfg(unix)]
impl Way {
    fn to(path: &Path) -> Self {
        /// As many as Linux follows.
        const LINKS_MAX: u32 = 40;
        let mut links = 0;
        let mut folders: Vec<PathBuf> = Vec::new();
        let mut end = PathBuf::new();
        // The names that are still to be looked up, the next one last.
        let mut names = Vec::new();
        let add = |names: &mut Vec<PathBuf>, path: &Path| {
            names.extend(
                path.components()
                    .rev()
                    .map(|part| PathBuf::from(part.as_os_str())),
            );
        };
        add(&mut names, &crate::error::absolute(path));
        while let Some(name) = names.pop() {
            match name.components().next() {
                Some(Component::ParentDir) => {
                    // What has no link in it has its parent in front of it. Nothing is looked up by name here.
                    end.pop();
                }
                Some(Component::Normal(_)) => {
                    if !folders.contains(&end) {
                        folders.push(end.clone());
                    }
                    let there = end.join(&name);
                    match fs::read_link(&there) {
                        Ok(_) if links == LINKS_MAX => break,
                        Ok(target) => {
                            links += 1;
                            add(&mut names, &target);
                        }
                        Err(_) => end = there,
                    }
                }
                // The root, which replaces what came before it; a dot changes nothing.
                _ => end.push(&name),
            }
        }
        Self { folders, end }
    }
}

#[cfg(unix)]
mod unix {
    use super::{Exposed, Path, Way};
    use crate::error::{absolute, printable_path};
    use rustix::fs::{StatVfsMountFlags, statvfs};
    use std::{fs, os::unix::fs::MetadataExt as _};

    const OTHERS_WRITE: u32 = 0o002;
    const GROUP_WRITES: u32 = 0o020;
    /// In a sticky folder only a file's owner may replace it.
    const STICKY: u32 = 0o1000;

    pub(super) fn exposed(path: &Path) -> Option<Exposed> {
        let file = mode_of(path).filter(|mode| mode & OTHERS_WRITE != 0);
        if let Some(mode) = file.filter(|_| is_writable(path)) {
            return Some(found(path, mode, false));
        }
        crossed(&Way::to(path))
    }

    pub(super) fn exposed_folder(path: &Path) -> Option<Exposed> {
        let way = Way::to(path);
        let (there, mode) = way
            .end
            .ancestors()
            .find_map(|folder| Some((folder, mode_of(folder)?)))?;
        let open = mode & OTHERS_WRITE != 0 && is_writable(there);
        open.then(|| found(there, mode, true))
            .or_else(|| crossed(&way))
    }

    pub(crate) fn doubts(meta: &fs::Metadata) -> Vec<String> {
        let mut doubts = Vec::new();
        if meta.mode() & GROUP_WRITES != 0 {
            let group = meta.gid();
            doubts.push(format!("may be changed by everybody in group {group}"));
        }
        let (me, owner) = (rustix::process::geteuid().as_raw(), meta.uid());
        if owner != 0 && owner != me {
            doubts.push(format!(
                "belongs to user {owner}, neither root nor the host's user {me}"
            ));
        }
        doubts
    }

    fn crossed(way: &Way) -> Option<Exposed> {
        way.folders.iter().find_map(|folder| {
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
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_file_counts_and_each_folder_on_both_ways_to_it() {
        let folder = tempfile::tempdir().expect("tempdir");
        let below = folder.path().join("below");
        fs::create_dir(&below).expect("mkdir");
        let (path, link) = (below.join("file"), folder.path().join("link"));
        fs::write(&path, b"x").expect("write");
        std::os::unix::fs::symlink(&path, &link).expect("symlink");
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

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
    }

    #[test]
    fn the_cure_is_a_command_whatever_the_folder_is_called() {
        let folder = tempfile::tempdir().expect("tempdir");
        let open = folder.path().join("my plugins");
        fs::create_dir(&open).expect("mkdir");
        chmod(&open, 0o777);
        let cure = exposed(&open.join("libx.so")).expect("open to all").cure();
        let run = std::process::Command::new("sh")
            .args(["-c", &cure])
            .status();
        assert!(run.expect("a shell").success(), "{cure}");
        assert_eq!(exposed(&open.join("libx.so")), None);
    }

    /// What leads from one link to the next is as much the way as where the first lies and the last leads.
    #[test]
    fn a_folder_in_the_middle_of_a_chain_of_links_counts() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().expect("tempdir");
        let at = |name: &str| folder.path().join(name);
        for name in ["plugins", "middle", "safe"] {
            fs::create_dir(at(name)).expect("mkdir");
        }
        fs::write(at("safe/libreal.so"), b"x").expect("write");
        symlink("../safe/libreal.so", at("middle/mid.so")).expect("symlink");
        symlink("../middle/mid.so", at("plugins/libp.so")).expect("symlink");
        // And through a link to a folder.
        symlink("middle", at("folder")).expect("symlink");
        let ways = [
            at("plugins/libp.so"),
            at("folder/mid.so"),
            at("plugins/../middle/mid.so"),
        ];
        for way in &ways {
            assert_eq!(exposed(way), None, "{}", way.display());
        }
        chmod(&at("middle"), 0o777);
        let middle = at("middle").canonicalize().expect("there");
        for way in &ways {
            let found = exposed(way).expect("everybody may change the second link");
            assert_eq!(
                found.shown,
                middle.display().to_string(),
                "{}",
                way.display()
            );
        }
        symlink("loop", at("loop")).expect("symlink");
        assert_eq!(exposed(&at("loop")), None);
    }

    /// Whoever may write to a folder cannot change what is above it.
    #[test]
    fn a_folder_that_a_path_only_climbs_out_of_does_not_count() {
        let folder = tempfile::tempdir().expect("tempdir");
        let at = |name: &str| folder.path().join(name);
        for name in ["open", "cfg"] {
            fs::create_dir(at(name)).expect("mkdir");
        }
        fs::write(at("cfg/hotshoe.toml"), b"x").expect("write");
        chmod(&at("open"), 0o777);
        assert_eq!(exposed(&at("open/../cfg/hotshoe.toml")), None);
        assert!(exposed(&at("cfg/../open/hotshoe.toml")).is_some());
    }

    #[test]
    fn a_folder_to_look_in_is_open_where_a_file_can_be_put() {
        let folder = tempfile::tempdir().expect("tempdir");
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("there")).expect("mkdir");
        for name in [
            "there",
            "there/gone/gone",
            "there/stage/..",
            "there/stage/../gone",
        ] {
            for (mode, open) in [(0o755, false), (0o777, true), (0o1777, true)] {
                chmod(&at("there"), mode);
                let found = exposed_folder(&at(name));
                assert_eq!(found.is_some(), open, "{name} in {mode:o}");
            }
        }
        assert_eq!(exposed_folder(&at("gone")), None);
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
