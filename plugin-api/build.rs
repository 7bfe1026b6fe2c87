//! Stamps what only cargo knows at build time: the compiler and the target, for the manifest.
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    // An unreadable version is left out of the manifest: it informs, nothing depends on it.
    let version = std::process::Command::new(rustc)
        .arg("--version")
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map(|text| text.trim().replace(['\n', '='], " "))
        .unwrap_or_default();
    println!("cargo:rustc-env=HOTSHOE_RUSTC={version}");
    let target = std::env::var("TARGET").unwrap_or_default();
    println!("cargo:rustc-env=HOTSHOE_TARGET={target}");
}
