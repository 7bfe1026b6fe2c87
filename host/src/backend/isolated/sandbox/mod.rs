//! What the process of an isolated instance may reach and use.
//!
//! The worker calls [`apply`] as its first act, while it has one thread and before the plugin's library is opened: walls that
//! a library's constructors could run in front of would be none. The host's part is a control group ([`cgroup`]) where one
//! may be made, and the [`Environment`] that the process is started with. Five layers, each alone imperfect:
//!
//! - **Landlock** ([`landlock`]): which files may be opened, which ports bound and connected to, whom a signal reaches.
//! - **seccomp** ([`seccomp`]): which system calls exist at all; a refused one answers `EPERM`, it does not kill.
//! - **capabilities** ([`capabilities`]): a worker of root stays user 0 and may nothing that only root may.
//! - **rlimit** ([`limits`]) and **cgroup**: how much it may use.
//!
//! What a kernel lacks is reported in [`Enforced`], never passed over: status and log show it. Nothing here widens what the
//! host may do, and nothing undoes a wall. The files of this folder name nothing of the host, so that the escape attempts in
//! `tests/fixtures/escape` try these very walls, without a host around them.

pub(crate) mod capabilities;
pub(crate) mod cgroup;
pub(crate) mod landlock;
pub(crate) mod limits;
pub(crate) mod seccomp;

use serde::{Deserialize, Serialize};
use std::{ffi::OsString, fmt, time::Duration};

/// Around what the worker is walled in; it travels in the Start frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SandboxSpec {
    /// `sandbox = "none"`: whatever the host may.
    Off,
    /// `"standard"` where everything is empty, a table otherwise.
    Walled(Walls),
}

/// What is let through beyond the system's library folders, [`landlock::SYSTEM_READ`] and [`landlock::DEVICES`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Walls {
    /// Folders and files it may read. Absolute: the worker's working folder is not the host's to promise.
    pub(crate) read: Vec<OsString>,
    /// Folders and files it may read, write, make and remove.
    pub(crate) write: Vec<OsString>,
    /// TCP ports it may listen at.
    pub(crate) bind: Vec<u16>,
    /// TCP ports it may connect to, on any machine.
    pub(crate) connect: Vec<u16>,
}

/// What the worker may use at most; it travels in the Start frame. `None`: whatever the host may.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LimitsSpec {
    /// Bytes.
    pub(crate) memory: Option<u64>,
    /// Processor time of the whole life of the process, counted in whole seconds, up.
    pub(crate) cpu_time: Option<Duration>,
    /// Open files, those of the worker itself included.
    pub(crate) files: Option<u32>,
    /// Processes and threads.
    pub(crate) processes: Option<u32>,
    /// Whether a control group holds `memory` already; [`cgroup::Cage::attach`] says so.
    pub(crate) memory_in_group: bool,
    /// Whether a control group holds `processes` already.
    pub(crate) processes_in_group: bool,
}

/// What holds a part of a sandbox or a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Layer {
    Capabilities,
    Cgroup,
    Landlock,
    Rlimit,
    Seccomp,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Capabilities => "capabilities",
            Self::Cgroup => "cgroup",
            Self::Landlock => "landlock",
            Self::Rlimit => "rlimit",
            Self::Seccomp => "seccomp",
        })
    }
}

/// One part of what was asked for, what holds it, and what is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// "files", "network", "memory 67108864".
    pub(crate) what: String,
    /// None: not enforced.
    pub(crate) by: Vec<Layer>,
    /// What this kernel cannot do of it, and why.
    pub(crate) gap: Option<String>,
}

impl Part {
    fn held(what: impl Into<String>, by: &[Layer]) -> Self {
        Self {
            what: what.into(),
            by: by.to_vec(),
            gap: None,
        }
    }

    fn open(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            by: Vec::new(),
            gap: Some(why.into()),
        }
    }

    fn with_gap(mut self, gap: Option<String>) -> Self {
        self.gap = gap;
        self
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.what)?;
        if self.by.is_empty() {
            f.write_str("not enforced")?;
        }
        for (index, layer) in self.by.iter().enumerate() {
            let plus = if index == 0 { "" } else { " + " };
            write!(f, "{plus}{layer}")?;
        }
        match &self.gap {
            Some(gap) => write!(f, " ({gap})"),
            None => Ok(()),
        }
    }
}

/// What the worker tells the host after it walled itself in, for status and log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Enforced {
    /// In the order of the configuration's keys.
    pub(crate) parts: Vec<Part>,
}

impl Enforced {
    /// The parts that deserve a warning in the log.
    pub(crate) fn gaps(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| part.gap.is_some())
    }
}

/// Why the walls do not stand.
pub(crate) struct Unwalled {
    pub(crate) words: String,
    /// The list of the configuration that names a path which cannot be opened, where that is the reason.
    pub(crate) list: Option<&'static str>,
}

impl From<String> for Unwalled {
    fn from(words: String) -> Self {
        Self { words, list: None }
    }
}

impl From<Unwalled> for String {
    fn from(unwalled: Unwalled) -> Self {
        unwalled.words
    }
}

/// Walls the calling process in. To be called once, by a process of one thread; there is no way back.
///
/// - Errors: the process must not run the plugin: it has more threads than one, a listed path cannot be
///   opened, or a layer that the kernel has refused what was asked. A layer that the kernel lacks is no error but a gap.
pub(crate) fn apply(sandbox: &SandboxSpec, limits: &LimitsSpec) -> Result<Enforced, Unwalled> {
    // Both walls are a thread's: another one would stand outside.
    let threads = std::fs::read_dir("/proc/self/task")
        .map_err(|error| format!("/proc/self/task cannot be read: {error}"))?
        .count();
    if threads != 1 {
        let words = format!("it goes on while there is one thread, and there are {threads}");
        return Err(words.into());
    }
    let mut parts = Vec::new();
    limits::apply(limits, &mut parts)?;
    match sandbox {
        // With it root could raise every limit again.
        SandboxSpec::Off if limits::any(limits) => capabilities::drop_resource()?,
        SandboxSpec::Off => {}
        SandboxSpec::Walled(walls) => {
            rustix::thread::set_no_new_privs(true)
                .map_err(|error| format!("no_new_privs was refused: {error}"))?;
            capabilities::drop_all()?;
            let kernel = landlock::apply(walls)?;
            // Last: it refuses what the others need.
            let filter = seccomp::apply(walls, limits::private_memory_only(limits))?;
            walls_held(walls, kernel, filter, &mut parts);
        }
    }
    Ok(Enforced { parts })
}

/// Says who holds each part of the walls.
///
/// - `kernel`: the Landlock ABI, 0 where the kernel has none.
/// - `filter`: why there is no seccomp filter, where there is none.
fn walls_held(walls: &Walls, kernel: u8, filter: Option<String>, parts: &mut Vec<Part>) {
    let needs = |abi: u8| {
        format!("the kernel's Landlock is version {kernel}, and this needs version {abi}")
    };
    // What Landlock knows from which version on; and whether the filter is needed, which holds more than Landlock of each.
    let mut add = |what: &str, landlock: Option<u8>, filtered: bool, gap: Option<String>| {
        let mut by = Vec::new();
        if landlock.is_some_and(|abi| kernel >= abi) {
            by.push(Layer::Landlock);
        }
        if filtered && filter.is_none() {
            by.push(Layer::Seccomp);
        }
        let unfiltered = filter.clone().filter(|_| filtered);
        let part = Part::held(what, &by).with_gap(gap.or(unfiltered));
        parts.push(part);
    };
    let files = match kernel {
        0 => Some("the kernel has no Landlock, or it is switched off".to_owned()),
        1 | 2 => Some(format!("cutting a file short is not refused: {}", needs(3))),
        _ => None,
    };
    add("files", Some(1), false, files);
    add("modes, owners and times of files", None, true, None);
    let ports = !(walls.bind.is_empty() && walls.connect.is_empty());
    let network = (ports && kernel < 4).then(|| format!("any TCP port may be used: {}", needs(4)));
    add("network", Some(4), true, network);
    add("new processes", Some(1), true, None);
    add("signals to others", Some(6), true, None);
    add("the memory of others", Some(1), true, None);
    add("mounts, keys, io_uring, BPF", None, true, None);
    parts.push(Part::held("rights of root", &[Layer::Capabilities]));
}

/// Which variables of the host's environment the process is started with. The host's part: the worker gets no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Environment {
    /// `sandbox = "none"`: all.
    Whole,
    /// [`Environment::ALWAYS`], `LC_…`, and these.
    Listed(Vec<String>),
}

impl Environment {
    /// What a program needs to speak the operator's language, and nothing that tells of a secret or a place.
    const ALWAYS: [&str; 3] = ["PATH", "LANG", "TZ"];

    /// Whether the process gets the variable `name`.
    pub(crate) fn passes(&self, name: &std::ffi::OsStr) -> bool {
        let Self::Listed(listed) = self else {
            return true;
        };
        let Some(name) = name.to_str() else {
            return false;
        };
        Self::ALWAYS.contains(&name)
            || name.starts_with("LC_")
            || listed.iter().any(|listed| listed == name)
    }
}
