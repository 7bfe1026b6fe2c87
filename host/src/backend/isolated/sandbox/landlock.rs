//! Landlock: which files may be opened, which TCP ports used, whom abstract sockets and signals reach.
//!
//! It guards the opening of files, not their names: `stat` and `readlink` tell of any path what the file system's own
//! permissions tell. Modes, owners and times are not its business either; [`super::seccomp`] refuses to change any.

use super::{Unwalled, Walls};
use ::landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, PathFd,
    PathFdError, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
    make_bitflags,
};
use std::{ffi::OsStr, io, path::Path};

/// What every walled worker may read: where the linker finds glibc and a plugin's neighbours. Absent ones are skipped.
pub(crate) const SYSTEM_READ: [&str; 6] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
];

/// Devices without contents, which libraries take for granted; the first may be written as well.
pub(crate) const DEVICES: [&str; 4] = ["/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"];

/// The newest version that the escape attempts were tried on. An older kernel does what it can.
const TRIED: ABI = ABI::V7;

/// To open a file for reading, to list a folder. Nothing is executed.
fn reading() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{ReadFile | ReadDir})
}

/// Regular files and folders, whole. No links that lead elsewhere, no pipes, sockets or devices.
fn writing() -> BitFlags<AccessFs> {
    reading()
        | make_bitflags!(AccessFs::{
            WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir | Refer
        })
}

/// Walls the calling thread in; returns the version of the kernel's Landlock that is in force, 0 where there is none.
///
/// - Errors: a listed path cannot be opened, or the kernel refused a rule.
pub(crate) fn apply(walls: &Walls) -> Result<u8, Unwalled> {
    let mut rules = ruleset().map_err(refused)?;
    for path in SYSTEM_READ {
        rules = open_if_there(rules, path.as_ref(), reading())?;
    }
    for (index, path) in DEVICES.into_iter().enumerate() {
        let write = if index == 0 {
            AccessFs::WriteFile.into()
        } else {
            BitFlags::EMPTY
        };
        rules = open_if_there(rules, path.as_ref(), reading() | write)?;
    }
    for path in &walls.read {
        rules = open(rules, path, reading(), "sandbox.read")?;
    }
    for path in &walls.write {
        rules = open(rules, path, writing(), "sandbox.write")?;
    }
    for (ports, access) in [
        (&walls.bind, AccessNet::BindTcp),
        (&walls.connect, AccessNet::ConnectTcp),
    ] {
        for port in ports {
            rules = rules
                .add_rule(NetPort::new(*port, access))
                .map_err(refused)?;
        }
    }
    let status = rules.restrict_self().map_err(refused)?;
    Ok(match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => version(effective_abi),
        _ => 0,
    })
}

/// Everything is handled, and so refused unless a rule lets it through.
fn ruleset() -> Result<RulesetCreated, RulesetError> {
    Ruleset::default()
        .handle_access(AccessFs::from_all(TRIED))?
        .handle_access(AccessNet::from_all(TRIED))?
        .scope(Scope::from_all(TRIED))?
        .create()
}

/// Lets a path of the operator's through.
fn open(
    rules: RulesetCreated,
    path: &OsStr,
    access: BitFlags<AccessFs>,
    list: &'static str,
) -> Result<RulesetCreated, Unwalled> {
    let path = Path::new(path);
    let shut = |error: &io::Error| Unwalled {
        words: format!("`{list}` names {}: {error}", path.display()),
        list: Some(list),
    };
    let fd = match PathFd::new(path) {
        Ok(fd) => fd,
        Err(PathFdError::OpenCall { source, .. }) => return Err(shut(&source)),
        Err(error) => return Err(shut(&io::Error::other(error))),
    };
    Ok(allow(rules, path, fd, access)?)
}

/// Lets a path of the system's through; one that is not there is nothing to read.
fn open_if_there(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, String> {
    match PathFd::new(path) {
        Ok(fd) => allow(rules, path, fd, access),
        Err(PathFdError::OpenCall { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(rules)
        }
        Err(error) => Err(format!("the system's libraries: {error}")),
    }
}

fn allow(
    rules: RulesetCreated,
    path: &Path,
    fd: PathFd,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, String> {
    let kind = std::fs::metadata(path)
        .map_err(|error| format!("the sandbox's path {}: {error}", path.display()))?;
    // What only folders have is an error on anything else.
    let access = if kind.is_dir() {
        access
    } else {
        access & AccessFs::from_file(TRIED)
    };
    rules
        .add_rule(PathBeneath::new(fd, access))
        .map_err(refused)
}

fn refused(error: RulesetError) -> String {
    format!("Landlock refused the sandbox: {error}")
}

fn version(abi: ABI) -> u8 {
    match abi {
        ABI::Unsupported => 0,
        ABI::V1 => 1,
        ABI::V2 => 2,
        ABI::V3 => 3,
        ABI::V4 => 4,
        ABI::V5 => 5,
        ABI::V6 => 6,
        // Later ones add nothing that is used here.
        _ => 7,
    }
}
