//! What this machine offers to a library: its glibc and its shared libraries.
//!
//! Asked without running anything, because the answer is wanted before `dlopen` runs constructors. It does not imitate the
//! loader's search: where it knows nothing it says so, and only what is certainly missing is called missing.

use crate::inspect::inspect;
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// The version of the glibc that this process runs on: the newest that its `libc.so.6` defines. `None` where there is no
/// such library, or `/proc` does not say where it is.
#[must_use]
pub fn glibc_version() -> Option<(u32, u32)> {
    static VERSION: OnceLock<Option<(u32, u32)>> = OnceLock::new();
    *VERSION.get_or_init(|| {
        let libc = mapped_files()
            .into_iter()
            .find(|path| path.file_name() == Some(OsStr::new("libc.so.6")))?;
        let bytes = fs::read(libc).ok()?;
        newest_defined(&bytes)
    })
}

/// The newest `GLIBC_x.y` that a libc defines. The file is this process's own, yet it is read like any other.
fn newest_defined(bytes: &[u8]) -> Option<(u32, u32)> {
    use object::{
        Endianness,
        elf::{FileHeader32, FileHeader64},
        read::elf::{FileHeader, SectionHeader as _},
    };
    fn read<E: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Option<(u32, u32)> {
        let header = E::parse(bytes).ok()?;
        let endian = header.endian().ok()?;
        let sections = header.sections(endian, bytes).ok()?;
        let mut newest = None;
        for section in sections.iter() {
            let Ok(Some((mut definitions, link))) = section.gnu_verdef(endian, bytes) else {
                continue;
            };
            let strings = sections.strings(endian, bytes, link).ok()?;
            while let Ok(Some((_, mut names))) = definitions.next() {
                let Ok(Some(name)) = names.next() else {
                    continue;
                };
                let name = name.name(endian, strings).ok()?;
                newest = newest.max(
                    std::str::from_utf8(name)
                        .ok()
                        .and_then(crate::inspect::glibc_version_of),
                );
            }
        }
        newest
    }
    read::<FileHeader64<Endianness>>(bytes).or_else(|| read::<FileHeader32<Endianness>>(bytes))
}

/// The files that are mapped into this process, each once.
fn mapped_files() -> Vec<PathBuf> {
    let maps = fs::read("/proc/self/maps").unwrap_or_default();
    let mut files: Vec<PathBuf> = Vec::new();
    for line in maps.split(|&b| b == b'\n') {
        let Some(at) = line.iter().position(|&b| b == b'/') else {
            continue;
        };
        let path = PathBuf::from(String::from_utf8_lossy(&line[at..]).into_owned());
        if files.last() != Some(&path) {
            files.push(path);
        }
    }
    files
}

/// Whether a library that the loader knows by that name is loaded already: its file is called so, or it calls itself so
/// (`libgcc_s-14.so.1`, with a link `libgcc_s.so.1` to it). Reads libraries whole: ask only where it decides.
pub(crate) fn in_this_process(name: &str) -> bool {
    // Programs and other data are mapped as well, and may be of any size.
    let is_library = |path: &Path| {
        let file_name = path.file_name().unwrap_or_default();
        file_name.to_string_lossy().contains(".so") && path.is_file()
    };
    let soname = |path: &PathBuf| inspect(&fs::read(path).ok()?).ok()?.soname;
    let files = mapped_files();
    (files.iter()).any(|path| path.file_name() == Some(OsStr::new(name)))
        || (files.iter().filter(|path| is_library(path)))
            .any(|path| soname(path).as_deref() == Some(name))
}

/// Where a library's needs are looked for, apart from what the library itself names.
pub(crate) struct Libraries {
    folders: Vec<PathBuf>,
    // Read only for what the folders do not have: a plugin that needs glibc alone costs three looks at files.
    cache: OnceLock<Vec<u8>>,
    mapped: OnceLock<Vec<PathBuf>>,
}

impl Libraries {
    /// Looks at this machine now.
    pub(crate) fn of_this_machine() -> Self {
        let preferred = std::env::var_os("LD_LIBRARY_PATH").filter(|paths| !paths.is_empty());
        let mut folders: Vec<PathBuf> = preferred.iter().flat_map(std::env::split_paths).collect();
        // glibc's own default folders, and Debian's for each architecture.
        let arch = std::env::consts::ARCH;
        for triple in [
            format!("{arch}-linux-gnu"),
            "arm-linux-gnueabihf".to_owned(),
            "i386-linux-gnu".to_owned(),
        ] {
            folders.push(Path::new("/lib").join(&triple));
            folders.push(Path::new("/usr/lib").join(&triple));
        }
        for folder in ["/lib64", "/usr/lib64", "/lib", "/usr/lib"] {
            folders.push(folder.into());
        }
        Self {
            folders,
            cache: OnceLock::new(),
            mapped: OnceLock::new(),
        }
    }

    /// A library of that name in one of the folders: where the loader has others to choose from, not always the one it takes.
    pub(crate) fn file(&self, name: &str) -> Option<PathBuf> {
        let mut files = self.folders.iter().map(|folder| folder.join(name));
        files.find(|file| file.exists())
    }

    /// Whether a needed library that is in none of the folders might be found by its name.
    pub(crate) fn names(&self, name: &str) -> bool {
        cache_names(
            self.cache
                .get_or_init(|| fs::read("/etc/ld.so.cache").unwrap_or_default()),
            name,
        ) || (self.mapped.get_or_init(mapped_files).iter())
            .any(|path| path.file_name() == Some(OsStr::new(name)))
    }
}

/// Whether the loader's cache names a library. Its names are NUL-terminated, and no other text in it is a bare file name: so
/// the format's two versions need not be told apart.
fn cache_names(cache: &[u8], name: &str) -> bool {
    cache.split(|&b| b == 0).any(|text| text == name.as_bytes())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[cfg(target_env = "gnu")]
    #[test]
    fn this_machine_has_a_glibc_that_std_can_use() {
        let version = glibc_version().expect("this test runs on glibc");
        assert!(((2, 17)..(3, 0)).contains(&version), "{version:?}");
        let libraries = Libraries::of_this_machine();
        assert!(libraries.file("libc.so.6").is_some() || libraries.names("libc.so.6"));
    }

    #[test]
    fn what_is_nowhere_is_missing() {
        let libraries = Libraries::of_this_machine();
        assert_eq!(libraries.file("libhotshoe_nowhere.so.7"), None);
        assert!(!libraries.names("libhotshoe_nowhere.so.7"));
    }

    #[test]
    fn the_cache_is_searched_by_whole_names() {
        let cache = b"glibc-ld.so.cache1.1\0\x01\0libz.so.1\0/usr/lib/libz.so.1\0";
        assert!(cache_names(cache, "libz.so.1"));
        assert!(!cache_names(cache, "libz.so"));
    }

    #[test]
    fn a_broken_libc_is_no_version() {
        assert_eq!(newest_defined(b"\x7fELF"), None);
        assert_eq!(newest_defined(&[]), None);
    }
}
