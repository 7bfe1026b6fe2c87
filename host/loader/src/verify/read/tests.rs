//! Files that change while they are read, that others may write to, and that are something else.

use super::*;
use std::{io::Write as _, os::unix::fs::PermissionsExt as _};

#[test]
fn a_file_that_changes_under_the_read_is_refused() {
    let folder = tempfile::tempdir().expect("tempdir");
    let path = folder.path().join("libx.so");
    let contents = [b"\x7fELF".as_slice(), &[7; 10_000]].concat();
    for change in ["append", "cut", "rewrite", "nothing"] {
        fs::write(&path, &contents).expect("write");
        let mut file = open(&path).expect("open");
        let before = file.metadata().expect("metadata");
        match change {
            "append" => {
                let mut other = fs::OpenOptions::new()
                    .append(true)
                    .open(&path)
                    .expect("open");
                other.write_all(b"more").expect("append");
            }
            "cut" => {
                let other = fs::OpenOptions::new()
                    .write(true)
                    .open(&path)
                    .expect("open");
                other.set_len(5000).expect("cut");
            }
            // The length stays; a time set by hand stands for a write that came a moment later.
            "rewrite" => {
                let other = fs::OpenOptions::new()
                    .write(true)
                    .open(&path)
                    .expect("open");
                other.set_modified(std::time::UNIX_EPOCH).expect("touch");
            }
            _ => {}
        }
        let outcome = read_whole(&path, &mut file, &before);
        match change {
            "nothing" => assert_eq!(outcome.expect("unchanged"), contents),
            _ => assert_eq!(
                outcome.expect_err(change).code,
                RefusalCode::ChangedWhileLoading,
                "{change}"
            ),
        }
    }
}

/// Rounds in which a write that followed a look did not show in the file's times.
fn unseen_writes(rounds: usize, settles: bool) -> usize {
    let folder = tempfile::tempdir().expect("tempdir");
    let path = folder.path().join("libx.so");
    let is_unseen = |_: &usize| {
        fs::write(&path, b"one way").expect("write");
        let file = open(&path).expect("open");
        let before = file.metadata().expect("metadata");
        if settles {
            settle(&path, &file, &before).expect("nobody else writes");
        }
        let settled = stamp(&file.metadata().expect("metadata"));
        fs::write(&path, b"another").expect("write");
        settled == stamp(&file.metadata().expect("metadata"))
    };
    (0..rounds).filter(is_unseen).count()
}

#[test]
fn a_write_after_the_wait_shows() {
    assert_eq!(unseen_writes(20, true), 0);
}

/// The control, on a file system that knows no time but the last tick's, with this kernel: without the wait most writes are
/// unseen, with it none. Runs itself again in a mount namespace; says so where this machine gives none.
#[test]
fn without_the_wait_a_write_within_a_tick_does_not_show() {
    const NAME: &str = "verify::read::tests::without_the_wait_a_write_within_a_tick_does_not_show";
    const INSIDE: &str = "HOTSHOE_TEST_ON_RAMFS";
    if std::env::var_os(INSIDE).is_some() {
        let (without, with) = (unseen_writes(200, false), unseen_writes(20, true));
        assert!(
            without > 0 && with == 0,
            "unseen: {without} of 200 without the wait, {with} of 20 with it"
        );
        return;
    }
    let mount = tempfile::tempdir().expect("tempdir");
    let unshared = |script: &str| {
        let mut command = std::process::Command::new("unshare");
        command.args(["-Urm", "sh", "-c", script]).arg(mount.path());
        command
    };
    let possible = unshared("mount -t ramfs ramfs \"$0\"").output();
    if !possible.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this machine gives no mount namespace");
        return;
    }
    let mut command = unshared("mount -t ramfs ramfs \"$0\" && TMPDIR=\"$0\" exec \"$@\"");
    command.arg(std::env::current_exe().expect("this program"));
    command.args(["--exact", NAME]).env(INSIDE, "1");
    let output = command.output().expect("unshare");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
fn who_may_write_decides() {
    let folder = tempfile::tempdir().expect("tempdir");
    let below = folder.path().join("plugins");
    fs::create_dir(&below).expect("mkdir");
    let path = below.join("libx.so");
    fs::write(&path, b"\x7fELF").expect("write");
    let chmod = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod")
    };
    let code = |policy: &Policy| read(&path, policy).map_err(|refusal| refusal.code);
    let strict = Policy::default();
    let lenient = Policy {
        allow_writable: true,
        ..Policy::default()
    };
    for (file_mode, folder_mode, refused) in [
        (0o644, 0o755, false),
        (0o646, 0o755, true),
        (0o644, 0o777, true),
        (0o644, 0o1777, false),
        (0o664, 0o775, false),
    ] {
        chmod(&path, file_mode);
        chmod(&below, folder_mode);
        let found = code(&strict).err();
        let wanted = refused.then_some(RefusalCode::WritableByOthers);
        assert_eq!(found, wanted, "{file_mode:o} in {folder_mode:o}");
        assert!(code(&lenient).is_ok());
    }
    let warnings = read(&path, &strict).expect("readable").warnings;
    assert!(
        warnings.iter().any(|line| line.contains("group")),
        "{warnings:?}"
    );

    // A link in a good folder to a file in a bad one.
    chmod(&below, 0o777);
    let link = folder.path().join("libx.so");
    std::os::unix::fs::symlink(&path, &link).expect("symlink");
    let refusal = read(&link, &strict).expect_err("the target's folder counts");
    assert_eq!(refusal.code, RefusalCode::WritableByOthers);
    chmod(&below, 0o755);
}

#[test]
fn a_missing_permission_is_named_with_its_cure() {
    let refusal = cannot_open(
        Path::new("/x/liby.so"),
        &io::ErrorKind::PermissionDenied.into(),
    );
    assert_eq!(refusal.code, RefusalCode::Unreadable);
    assert_eq!(
        refusal.fix.as_deref(),
        Some("let the host's user read it: chmod a+r /x/liby.so, and a+x its folders")
    );
}

#[test]
fn what_is_no_library_is_not_read_to_its_end() {
    let folder = tempfile::tempdir().expect("tempdir");
    let path = folder.path().join("zeros");
    let file = File::create(&path).expect("create");
    file.set_len(1 << 30).expect("sparse");
    drop(file);
    let refusal = read(&path, &Policy::default()).expect_err("zeros");
    assert_eq!(
        (refusal.code, &*refusal.found),
        (RefusalCode::NotALibrary, "nothing but zeros")
    );
    let file = File::options().write(true).open(&path).expect("open");
    file.set_len((1 << 30) + 1).expect("sparse");
    let refusal = read(&path, &Policy::default()).expect_err("large");
    assert_eq!(
        (refusal.code, &*refusal.wanted),
        (RefusalCode::TooLarge, "at most 1.0 GiB")
    );
}
