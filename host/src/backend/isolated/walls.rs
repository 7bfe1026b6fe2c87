//! What an entry of the configuration says of its process, as the values that travel to the worker and to its start.
//!
//! It judges nothing: the configuration did.

use super::sandbox::{Environment, LimitsSpec, Part, SandboxSpec, Walls};
use crate::{
    config_file::{Limits, Sandbox},
    status::EnforcedStatus,
};
use std::{ffi::OsString, path::PathBuf};

impl From<&Sandbox> for SandboxSpec {
    fn from(sandbox: &Sandbox) -> Self {
        match sandbox {
            Sandbox::None => Self::Off,
            Sandbox::Standard => Self::Walled(Walls::default()),
            Sandbox::Only {
                read,
                write,
                bind,
                connect,
                env: _,
            } => Self::Walled(Walls {
                read: absolute(read),
                write: absolute(write),
                bind: bind.clone(),
                connect: connect.clone(),
            }),
        }
    }
}

/// As the worker opens them, whatever folder it works in. A path that is empty was none of the configuration's.
fn absolute(paths: &[PathBuf]) -> Vec<OsString> {
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    paths.iter().map(absolute).map(Into::into).collect()
}

impl From<&Limits> for LimitsSpec {
    fn from(limits: &Limits) -> Self {
        Self {
            memory: limits.memory,
            cpu_time: limits.cpu_time,
            files: limits.files,
            processes: limits.processes,
            ..Self::default()
        }
    }
}

impl From<&Sandbox> for Environment {
    fn from(sandbox: &Sandbox) -> Self {
        match sandbox {
            Sandbox::None => Self::Whole,
            Sandbox::Standard => Self::Listed(Vec::new()),
            Sandbox::Only { env, .. } => Self::Listed(env.clone()),
        }
    }
}

/// As status shows it: "landlock + seccomp", "rlimit (…)", "not enforced: …".
impl From<&Part> for EnforcedStatus {
    fn from(part: &Part) -> Self {
        let by: Vec<String> = part.by.iter().map(ToString::to_string).collect();
        let layer = match (&part.gap, by.as_slice()) {
            (None, _) => by.join(" + "),
            (Some(gap), []) => format!("not enforced: {gap}"),
            (Some(gap), _) => format!("{} ({gap})", by.join(" + ")),
        };
        Self {
            what: part.what.clone(),
            layer,
        }
    }
}
