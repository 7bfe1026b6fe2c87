//! The out-of-tree example, built by the oldest compiler that authors may use, runs in the host that another one built.
//!
//! Debian has that compiler as packages; they are unpacked below the target folder and installed nowhere. It takes two
//! minutes the first time, so it runs where `HOTSHOE_RUSTC_185=1` is set, which CI does; elsewhere it says that it did not.

use hotshoe_tests::{
    Entry, Setup,
    artifacts::{stranger_with, target_folder, workspace_root},
};
use serde_json::Value;
use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

/// The compiler, its standard library (for itself and for what it builds), and its code generator.
const PACKAGES: [&str; 4] = [
    "rustc-web=1.85.0*",
    "libstd-rust-web-dev=1.85.0*",
    "libstd-rust-web-1.85=1.85.0*",
    "libllvm19",
];

/// The unpacked compiler, or why there is none.
fn compiler() -> Result<PathBuf, String> {
    if env::var_os("HOTSHOE_RUSTC_185").is_none_or(|value| value != "1") {
        return Err("HOTSHOE_RUSTC_185=1 is not set".to_owned());
    }
    let root = target_folder().join("evolution/rustc-1.85");
    let unpacked = root.join("unpacked");
    if !unpacked.exists() {
        let packages = root.join("packages");
        fs::create_dir_all(&packages).unwrap();
        let mut download = Command::new("apt-get");
        run(download
            .arg("download")
            .args(PACKAGES)
            .current_dir(&packages))?;
        // Moved into its place when it is whole: a run that was cut short leaves nothing that looks like a compiler.
        let half = root.join("half");
        for package in fs::read_dir(&packages).unwrap() {
            let package = package.unwrap().path();
            run(Command::new("dpkg-deb").arg("-x").arg(package).arg(&half))?;
        }
        fs::rename(half, &unpacked).unwrap();
    }
    Ok(unpacked.join("usr"))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {said}")),
    }
}

#[test]
fn a_plugin_built_by_rustc_1_85_runs() {
    let usr = match compiler() {
        Ok(usr) => usr,
        Err(why) => {
            // Past the test harness, which shows nothing of a test that passes.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED a_plugin_built_by_rustc_1_85_runs: {why}"
            );
            return;
        }
    };
    let manifest = workspace_root().join("examples/third-party/Cargo.toml");
    let rustc = usr.join("bin/rustc");
    let libraries = usr.join("lib/x86_64-linux-gnu");
    let variables: [(&str, &Path); 2] = [("RUSTC", &rustc), ("LD_LIBRARY_PATH", &libraries)];
    let library = stranger_with(&manifest, "shout", "rustc-1.85", &variables);

    let setup = Setup::new();
    let path = library.display().to_string();
    let inspected = setup.hotshoe(&["inspect", "--json", &path]);
    inspected.assert_code(0);
    let answer: Value = serde_json::from_str(&inspected.stdout).unwrap();
    let built_by = &answer[0]["inspection"]["manifest"]["rustc"];
    assert!(
        built_by.as_str().unwrap().starts_with("rustc 1.85.0"),
        "{built_by}"
    );

    let entry = Entry::of("loud", &library).set("mark = \"!\"");
    setup.entries("[stream]\nprocessors = [\"loud\"]", &[entry]);
    let mut host = setup.start();
    host.wait_ready();
    host.send_line("hello");
    host.close_input();
    host.assert_exit(0);
    assert_eq!(host.stdout(), b"HELLO!\n");
}
