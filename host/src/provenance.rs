//! Where libraries come from: the lock beside a configuration, signatures beside libraries, and what `[trust]` asks of both.
//!
//! What is judged is the staged copy, so what was locked or signed is what runs. Which bytes a lock or a signature fits is
//! `hotshoe-loader`'s to say; here is the policy. It writes nothing, and believes no library about its own name.

#![allow(
    clippy::result_large_err,
    reason = "a problem is made once for each mistake of a person, not in a loop that counts"
)]

use crate::{
    BuildError,
    config_file::{Config, PluginEntry, Require},
    error::{Blame, ExitCode, Place, Problem, Severity},
    runtime::loading::{self, Code},
};
use hotshoe_loader::{
    Exposed, LOCK_BYTES_MAX, LOCK_FILE, Lock, LockedLibrary, Misread, Named, PublicKey, Refusal,
    RefusalCode, SIGNATURE_BYTES_MAX, Subject, Verified, argument, doubts, exposed,
    judge_signature, printable_path, read_small, signature_path,
};
use std::{
    io,
    path::{Path, PathBuf},
};

/// What the lock beside a configuration is to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lockfile {
    /// Not looked at: a new one is to be made.
    Ignored,
    /// What it names must be what it says.
    Used,
    /// It must be there, and name every library.
    Wanted,
}

/// Where the lock of a configuration lies.
#[must_use]
pub fn lock_path(config_file: &Path) -> PathBuf {
    config_file.with_file_name(LOCK_FILE)
}

/// Reads a lock; `None` where there is no file of that name, not even a link.
///
/// # Errors
/// `lock-unreadable`, `lock-writable-by-others`, or `lock-invalid` with line and column.
pub fn read_lock(path: &Path) -> Result<Option<Lock>, Problem> {
    let bytes = match read_small(path, LOCK_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match path.read_link() {
                Ok(target) => Err(dangling(path, &target)),
                Err(_) => Ok(None),
            };
        }
        Err(error) => return Err(unreadable("lock-unreadable", "the lock file", path, &error)),
    };
    refuse_exposed("lock-writable-by-others", "the lock file", path)?;
    Lock::parse(&bytes).map(Some).map_err(|misread| {
        invalid(
            "lock-invalid",
            "the lock file cannot be used",
            path,
            &misread,
        )
        .fix("restore it from version control, or write it anew: hotshoe lock FILE")
    })
}

/// A lock that somebody put there, and whose bytes are gone, is not the same as none.
fn dangling(path: &Path, target: &Path) -> Problem {
    let (path, target) = (printable_path(path), printable_path(target));
    let headline = format!("the lock file {path} is a symbolic link that leads nowhere");
    Problem::error(
        ExitCode::Usage,
        Blame::Environment,
        "lock-unreadable",
        headline,
    )
    .wanted("a lock file, or none")
    .found(format!("a link to {target}, which does not exist"))
    .fix(format!(
        "bring {target} back, or remove the link and lock anew: hotshoe lock FILE"
    ))
}

/// Reads the file of a public key.
///
/// # Errors
/// `key-unreadable`, `key-writable-by-others`, or `key-invalid` with its line.
pub fn read_key(path: &Path) -> Result<PublicKey, Problem> {
    let bytes = read_small(path, SIGNATURE_BYTES_MAX)
        .map_err(|error| unreadable("key-unreadable", "the public key", path, &error))?;
    refuse_exposed("key-writable-by-others", "the public key", path)?;
    PublicKey::parse(&bytes).map_err(|misread| {
        invalid("key-invalid", "this is no public key", path, &misread)
            .fix("name the file FILE.pub that `hotshoe keygen FILE` made")
    })
}

/// Reads the signature beside a library; `None` where there is none.
///
/// # Errors
/// [`RefusalCode::BadSignature`]: something is there that no signature can be.
pub fn read_signature(library: &Path) -> Result<Option<Vec<u8>>, Refusal> {
    let path = signature_path(library);
    match read_small(&path, SIGNATURE_BYTES_MAX) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Refusal::new(
            RefusalCode::BadSignature,
            library,
            "has a signature that cannot be read",
            format!("a signature in {}", printable_path(&path)),
            error.to_string(),
        )
        .fix("fetch the signature again, from the author, and let the host's user read it")),
    }
}

/// A file of a person's that cannot be read: their command line's or their configuration's mistake.
#[must_use]
pub fn unreadable(code: &str, what: &str, path: &Path, error: &io::Error) -> Problem {
    let shown = printable_path(path);
    let headline = format!("{what} {shown} cannot be read: {error}");
    Problem::error(ExitCode::Usage, Blame::Environment, code, headline)
        .wanted("a file that this user may read")
        .found(error.to_string())
        .remedy(error, format!("ls -l {}", argument(path)))
}

/// What everybody may write vouches for nothing: whoever changes it decides what runs.
fn refuse_exposed(code: &str, what: &str, path: &Path) -> Result<(), Problem> {
    match exposed(path) {
        None => Ok(()),
        Some(exposed) => Err(say_exposed(code, what, path, &exposed)),
    }
}

fn say_exposed(code: &str, what: &str, path: &Path, exposed: &Exposed) -> Problem {
    let Exposed {
        shown,
        is_folder,
        mode,
    } = exposed;
    let may = match is_folder {
        false => "may be changed by everybody on this machine",
        true => "lies in a folder that everybody on this machine may change",
    };
    let headline = format!("{what} {} {may}", printable_path(path));
    Problem::error(ExitCode::Usage, Blame::Environment, code, headline)
        .wanted("no write permission for others")
        .found(format!("mode {mode:04o} on {shown}"))
        .fix(exposed.cure())
}

/// A warning for each file of the configuration that everybody may change: whoever does runs code as this user. No error,
/// because an operator may have no say in where it lies, and the libraries that it names are judged for themselves.
pub(crate) fn exposed_configuration(config: &Config) -> Vec<Problem> {
    let drop_ins = config.plugins.iter().map(|entry| &entry.at.file);
    let mut files: Vec<&PathBuf> = drop_ins.chain([&config.file]).collect();
    files.sort_unstable();
    files.dedup();
    let warn = |file: &PathBuf| {
        // A configuration that a program made has a name and no file.
        let exposed = file.is_file().then(|| exposed(file)).flatten()?;
        let what = "the configuration";
        let at = Place {
            file: file.clone(),
            line: 0,
            column: 0,
        };
        Some(Problem {
            severity: Severity::Warning,
            ..say_exposed("config-writable-by-others", what, file, &exposed).at(at)
        })
    };
    files.into_iter().filter_map(warn).collect()
}

/// A file of a person's that holds something else.
#[must_use]
pub fn invalid(code: &str, sentence: &str, path: &Path, misread: &Misread) -> Problem {
    let at = Place {
        file: path.to_owned(),
        line: misread.line,
        column: misread.column,
    };
    Problem::usage(code, sentence)
        .wanted(&*misread.wanted)
        .found(&*misread.found)
        .in_file(at)
}

/// The lock of what a configuration names now, and warnings. Opens no library.
///
/// # Errors
/// Every library that would be refused, the optional ones included: a lock is whole, or it is none.
pub fn lock_of(config: &Config) -> Result<(Lock, Vec<Problem>), BuildError> {
    let one = |problem| BuildError {
        problems: vec![problem],
    };
    let (_private, staging) = loading::run_folder().map_err(|error| {
        let temporary = std::env::temp_dir();
        one(unreadable(
            "no-run-dir",
            "the temporary folder",
            &temporary,
            &error,
        ))
    })?;
    let plan = loading::prepare(config, Vec::new(), &staging, Lockfile::Ignored);
    let refused = plan.refused();
    let mut problems = plan.problems;
    let mut records = Vec::new();
    let mut complete = !refused;
    for instance in plan.instances {
        match instance.code {
            Code::Library(verified) => {
                records.push(record(&instance.name, &instance.entry, &verified));
            }
            Code::Refused(problem) => {
                problems.push(problem);
                complete = false;
            }
            Code::Linked(..) => {}
        }
    }
    match complete {
        true => Ok((Lock::new(records), problems)),
        false => Err(BuildError { problems }),
    }
}

fn record(name: &str, entry: &PluginEntry, verified: &Verified) -> LockedLibrary {
    let subject = Subject::of(verified);
    LockedLibrary::of(name, &entry.library_text, &subject, &verified.staged)
}

/// What the libraries of one start are measured by.
pub(crate) struct Trust {
    config_file: PathBuf,
    lock_path: PathBuf,
    lock: Option<Lock>,
    lock_wanted: bool,
    /// Whose signatures count; `None`: none is asked for.
    keys: Option<Vec<PublicKey>>,
    /// What is to be known of the lock and the keys though they are taken.
    pub(crate) warnings: Vec<Problem>,
}

impl Trust {
    /// Reads the lock and the keys.
    ///
    /// # Errors
    /// Each that cannot be used.
    pub(crate) fn read(config: &Config, lockfile: Lockfile) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let lock_path = lock_path(&config.file);
        let trust = &config.trust;
        let mut lock = None;
        let mut warnings = Vec::new();
        let mut doubt = |code: &str, what: &str, path: &Path| {
            let path_shown = printable_path(path);
            let told = doubts(path).into_iter().map(|doubt| {
                Problem::warning(code, format!("{what} {path_shown} {doubt}"))
                    .fix(format!("ls -l {}", argument(path)))
            });
            warnings.extend(told);
        };
        // A program that mounts its own plugins has no lock, even where one lies in its working folder.
        if lockfile != Lockfile::Ignored && !config.plugins.is_empty() {
            match read_lock(&lock_path) {
                Ok(Some(read)) => {
                    doubt("lock", "the lock file", &lock_path);
                    lock = Some(read);
                }
                Ok(None) => {}
                Err(problem) => problems.push(problem),
            }
        }
        let keys = (trust.require == Require::Signed).then(|| {
            let mut keys = Vec::new();
            for path in &trust.keys {
                match read_key(path) {
                    Ok(key) => {
                        doubt("key", "the public key", path);
                        keys.push(key);
                    }
                    Err(problem) => problems.push(problem),
                }
            }
            keys
        });
        if !problems.is_empty() {
            return Err(problems);
        }
        let required = trust.require == Require::Locked && lockfile != Lockfile::Ignored;
        Ok(Self {
            config_file: config.file.clone(),
            lock_path,
            lock,
            lock_wanted: required || lockfile == Lockfile::Wanted,
            keys,
            warnings,
        })
    }

    /// Judges the library of an instance. Answers a warning, where there is something to know.
    ///
    /// # Errors
    /// The first reason not to open it.
    pub(crate) fn judge(
        &self,
        name: &str,
        entry: &PluginEntry,
        verified: &Verified,
    ) -> Result<Option<Problem>, Refusal> {
        if self.lock.is_none() && !self.lock_wanted && self.keys.is_none() {
            return Ok(None);
        }
        let subject = Subject::of(verified);
        let warning = self.judge_lock(name, entry, verified, &subject)?;
        if let Some(keys) = &self.keys {
            judge_signed(verified, &subject, keys)?;
        }
        Ok(warning)
    }

    fn judge_lock(
        &self,
        name: &str,
        entry: &PluginEntry,
        verified: &Verified,
        subject: &Subject,
    ) -> Result<Option<Problem>, Refusal> {
        let path = &verified.path;
        let lock_again = format!("hotshoe lock {}", argument(&self.config_file));
        let Some(lock) = &self.lock else {
            let found = "no such file";
            return match self.lock_wanted {
                true => Err(self.not_locked(name, path, found, lock_again)),
                false => Ok(None),
            };
        };
        let record = LockedLibrary::of(name, &entry.library_text, subject, &verified.staged);
        let named = match &entry.name {
            Some(_) => Named::ByTheConfiguration,
            None => Named::ByItself,
        };
        let is_named = lock
            .judge(path, &record, named)
            .map_err(|refusal| {
                refusal.fix(format!(
                    "restore the file; or, where the change is meant: {lock_again}, and review the difference"
                ))
            })?;
        if is_named {
            return Ok(None);
        }
        let refusal = self.not_locked(name, path, "no record of that name", lock_again);
        match self.lock_wanted {
            true => Err(refusal),
            false => Ok(Some(as_warning(refusal.for_instance(name), entry))),
        }
    }

    fn not_locked(&self, name: &str, path: &Path, found: &str, fix: String) -> Refusal {
        let lock = printable_path(&self.lock_path);
        Refusal::new(
            RefusalCode::NotLocked,
            path,
            format!("is not in {LOCK_FILE}"),
            format!("a record of `{name}` in {lock}"),
            found,
        )
        .fix(fix)
    }
}

fn as_warning(refusal: Refusal, entry: &PluginEntry) -> Problem {
    Problem::warning(refusal.code.as_str(), refusal.headline())
        .wanted(refusal.wanted)
        .found(refusal.found)
        .fix(refusal.fix.unwrap_or_default())
        .at(entry.library_at.clone())
}

fn judge_signed(verified: &Verified, subject: &Subject, keys: &[PublicKey]) -> Result<(), Refusal> {
    let path = &verified.path;
    let signature = read_signature(path)?;
    judge_signature(path, subject, signature.as_deref(), Some(keys))?;
    let Some((first, _)) = verified.staged.neighbours_sha256().first() else {
        return Ok(());
    };
    // They run as well, and a signature is over one file.
    Err(Refusal::new(
        RefusalCode::Unsigned,
        path,
        "brings a library along that its signature does not cover",
        "a library that needs none from its own folder",
        format!("it needs {}", printable_path(first)),
    )
    .fix("link it statically, install it where the system looks, or ask for a lock instead: require = \"locked\""))
}
