//! What the programs that time whole runs share: the release build, a host of it in folders of its own, and a run whose output is
//! counted.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Lines that a stream is timed with, 11 bytes each.
pub(crate) const LINES: usize = 4_000_000;

/// Builds the workspace in release and answers its host.
pub(crate) fn host() -> PathBuf {
    let workspace = hotshoe_tests::artifacts::workspace_root();
    let built = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--workspace"])
        .current_dir(workspace)
        .status();
    assert!(
        built.is_ok_and(|status| status.success()),
        "the release build failed"
    );
    workspace.join("target/release/hotshoe")
}

/// That host, without arguments yet; what it writes goes below `folder`.
pub(crate) fn command(host: &Path, folder: &Path) -> Command {
    let mut command = Command::new(host);
    command
        .env("XDG_RUNTIME_DIR", folder)
        .env("XDG_STATE_HOME", folder);
    command
}

/// Runs a command whose output is read and counted: [`LINES`], each with two characters more.
pub(crate) fn timed(mut command: Command) -> Duration {
    let began = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut stdout = child.stdout.take().expect("piped");
    let (mut buffer, mut len) = (vec![0; 1 << 20], 0);
    loop {
        match stdout.read(&mut buffer).expect("its output") {
            0 => break,
            read => len += read,
        }
    }
    let status = child.wait().expect("it ends");
    assert!(
        status.success() && len == LINES * 13,
        "{len} bytes came out"
    );
    began.elapsed()
}
