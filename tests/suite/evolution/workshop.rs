//! Workspaces that are written by a test and built below the main target folder. They stay: what did not change is not
//! written again, and so not compiled again.

use hotshoe_tests::artifacts::{target_folder, workspace_root};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A workspace under construction.
pub(super) struct Workshop(PathBuf);

impl Workshop {
    /// The workspace of that name, with the versions of the main one.
    pub(super) fn open(name: &str) -> Self {
        let workshop = Self(target_folder().join("evolution").join(name));
        if !workshop.0.join("Cargo.lock").exists() {
            let lock = fs::read_to_string(workspace_root().join("Cargo.lock")).unwrap();
            workshop.write("Cargo.lock", &lock);
        }
        workshop
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file unless it says that already.
    pub(super) fn write(&self, name: &str, text: &str) {
        let file = self.0.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        if !fs::read_to_string(&file).is_ok_and(|found| found == text) {
            fs::write(file, text).unwrap();
        }
    }

    /// Copies the sources of a package of the main workspace, as `change` makes them; manifests are the caller's.
    pub(super) fn copy(&self, package: &str, change: &dyn Fn(&str, String) -> String) {
        self.copy_folder(&workspace_root().join(package), package, change);
    }

    fn copy_folder(&self, from: &Path, name: &str, change: &dyn Fn(&str, String) -> String) {
        for entry in fs::read_dir(from).unwrap() {
            let (path, file) = entry
                .map(|entry| (entry.path(), entry.file_name()))
                .unwrap();
            let name = format!("{name}/{}", file.to_string_lossy());
            if path.is_dir() {
                self.copy_folder(&path, &name, change);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                self.write(&name, &change(&name, fs::read_to_string(path).unwrap()));
            }
        }
    }
}
