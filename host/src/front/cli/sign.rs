//! `hotshoe keygen`, `sign`, `verify`: keys, and who vouches for a library. A secret key is written once, for its owner
//! alone, and never printed.

use super::{
    super::{
        replace::replace,
        report::{self, LogFormat},
    },
    print,
};
use hotshoe::{Blame, ExitCode, Problem, provenance};
use hotshoe_loader::{
    PublicKey, SIGNATURE_BYTES_MAX, SecretKey, Subject, argument, judge_signature, printable_path,
    read_small, signature_path,
};
use std::{
    ffi::OsString,
    fs, io,
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

pub(super) fn keygen(path: &Path, format: LogFormat) -> ExitCode {
    match make_pair(path) {
        Ok((public, key)) => {
            let (path, public) = (printable_path(path), printable_path(&public));
            report::out(&format!(
                "{path}: the secret key; keep it to yourself\n{public}: the public key, {key}\n"
            ));
            ExitCode::Clean
        }
        Err(problem) => print(&[problem], format).unwrap_or(ExitCode::Bug),
    }
}

fn make_pair(path: &Path) -> Result<(PathBuf, PublicKey), Problem> {
    let public_path = beside(path, ".pub");
    for path in [path, &public_path] {
        // A key that is replaced by mistake is gone, and with it every plugin's next update.
        if path.symlink_metadata().is_ok() {
            let headline = format!("{} exists; a key is not written over", printable_path(path));
            return Err(Problem::usage("key-exists", headline)
                .wanted("a name that is not taken")
                .found("a file of that name")
                .fix("name another file"));
        }
    }
    let secret = SecretKey::from_seed(&seed()?);
    let unwritable = |path: &Path, error: &io::Error| {
        let headline = format!("{} cannot be written: {error}", printable_path(path));
        Problem::error(
            ExitCode::Usage,
            Blame::Environment,
            "key-unwritable",
            headline,
        )
        .wanted("a folder that this user may write to")
        .found(error.to_string())
        .fix("name a file in another folder")
    };
    write_secret(path, &secret.text()).map_err(|error| unwritable(path, &error))?;
    let public = secret.public();
    if let Err(error) = replace(&public_path, &public.text()) {
        // Half a pair would be in the way of the next try.
        drop(fs::remove_file(path));
        return Err(unwritable(&public_path, &error));
    }
    Ok((public_path, public))
}

fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a key is none, and would be in the way of the next try.
        drop(fs::remove_file(path));
    }
    written
}

/// Random bytes, the system's; the call waits until it has gathered enough to begin with.
fn seed() -> Result<[u8; 32], Problem> {
    let mut seed = [0; 32];
    let mut filled = 0;
    while filled < seed.len() {
        match rustix::rand::getrandom(&mut seed[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(len) => filled += len,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                let headline = format!("the system gives no random bytes: {error}");
                let blame = Blame::Environment;
                return Err(
                    Problem::error(ExitCode::Usage, blame, "no-random", headline)
                        .wanted("32 random bytes")
                        .found(error.to_string())
                        .fix("make the key on another machine"),
                );
            }
        }
    }
    Ok(seed)
}

pub(super) fn sign(key: &Path, libraries: &[PathBuf], format: LogFormat) -> ExitCode {
    let secret = match read_secret(key) {
        Ok(secret) => secret,
        Err(problem) => return print(&[problem], format).unwrap_or(ExitCode::Bug),
    };
    each(libraries, format, |library| {
        let subject = subject(library)?;
        let path = signature_path(library);
        replace(&path, &secret.sign(&subject)).map_err(|error| {
            let headline = format!("{} cannot be written: {error}", printable_path(&path));
            let blame = Blame::Environment;
            Problem::error(ExitCode::Usage, blame, "signature-unwritable", headline)
                .wanted("a folder that this user may write to")
                .found(error.to_string())
                .fix("copy the library to a folder of yours and sign it there")
        })?;
        let Subject { name, version, .. } = &subject;
        Ok(format!(
            "{}: {name} {version}, signed by {}",
            printable_path(&path),
            secret.public()
        ))
    })
}

fn read_secret(path: &Path) -> Result<SecretKey, Problem> {
    let unreadable =
        |error: &io::Error| provenance::unreadable("key-unreadable", "the secret key", path, error);
    let mode = fs::metadata(path).map_err(|error| unreadable(&error))?;
    let mode = mode.permissions().mode() & 0o777;
    let bytes = read_small(path, SIGNATURE_BYTES_MAX).map_err(|error| unreadable(&error))?;
    let secret = SecretKey::parse(&bytes).map_err(|misread| {
        provenance::invalid("key-invalid", "this is no secret key", path, &misread)
            .fix("name the file that `hotshoe keygen` made, without .pub")
    })?;
    if mode & 0o077 != 0 {
        let headline = format!(
            "the secret key {} is not its owner's alone",
            printable_path(path)
        );
        return Err(Problem::usage("key-exposed", headline)
            .wanted("mode 0600")
            .found(format!("mode {mode:04o}"))
            .fix(format!(
                "chmod 600 {}, or, if others may have read it, make a new one",
                argument(path)
            )));
    }
    Ok(secret)
}

pub(super) fn verify(keys: &[PathBuf], libraries: &[PathBuf], format: LogFormat) -> ExitCode {
    let mut trusted = Vec::new();
    let mut problems = Vec::new();
    for path in keys {
        match provenance::read_key(path) {
            Ok(key) => trusted.push(key),
            Err(problem) => problems.push(problem),
        }
    }
    if let Some(exit) = print(&problems, format) {
        return exit;
    }
    each(libraries, format, |library| {
        let subject = subject(library)?;
        let signature =
            provenance::read_signature(library).map_err(|refusal| hotshoe::refused(&refusal))?;
        let counted = (!keys.is_empty()).then_some(&*trusted);
        let key = judge_signature(library, &subject, signature.as_deref(), counted)
            .map_err(|refusal| hotshoe::refused(&refusal))?;
        let Subject { name, version, .. } = &subject;
        let signed = format!(
            "{}: {name} {version}, signed by {key}",
            printable_path(library)
        );
        let file = trusted.iter().position(|other| *other == key);
        Ok(match file.and_then(|index| keys.get(index)) {
            Some(file) => format!("{signed} ({})", printable_path(file)),
            None => format!("{signed}, whom no --key vouches for"),
        })
    })
}

/// Does the same for each library, whatever came of the others; the first failure decides how the process ends.
fn each(
    libraries: &[PathBuf],
    format: LogFormat,
    act: impl Fn(&Path) -> Result<String, Problem>,
) -> ExitCode {
    let mut exit = ExitCode::Clean;
    for library in libraries {
        match act(library) {
            Ok(line) => report::out(&format!("{line}\n")),
            Err(problem) => {
                report::problem(&problem, format);
                if exit == ExitCode::Clean {
                    exit = problem.exit;
                }
            }
        }
    }
    exit
}

fn subject(library: &Path) -> Result<Subject, Problem> {
    hotshoe_loader::subject(library).map_err(|refusal| hotshoe::refused(&refusal))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
