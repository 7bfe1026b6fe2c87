//! Release libraries of the workspace, built by the bench's own cargo so that both sides are of one build.

use std::{path::PathBuf, process::Command};

/// The path of the package's library, from what cargo says and never from a guessed folder.
pub(crate) fn library(package: &str) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "-p", package, "--message-format=json"])
        .output()
        .expect("cargo runs");
    let text = String::from_utf8_lossy(&built.stdout).into_owned();
    let artifact = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == package.replace('-', "_"))
        .flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default())
        .filter_map(|name| name.as_str().map(PathBuf::from))
        .find(|name| name.extension().is_some_and(|extension| extension == "so"));
    artifact.expect("cargo names the library it built")
}
