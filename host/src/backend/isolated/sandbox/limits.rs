//! Limits of the process itself: memory where no control group holds it, processor time, open files, core dumps.
//!
//! Not `RLIMIT_AS`: allocators reserve address space that they never use. Not `RLIMIT_NPROC`: it counts every process of the
//! user, whoever started it, and does not bind root.

use super::{Layer, LimitsSpec, Part};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Whether anything is limited.
pub(crate) fn any(limits: &LimitsSpec) -> bool {
    limits.memory.is_some()
        || limits.cpu_time.is_some()
        || limits.files.is_some()
        || limits.processes.is_some()
}

/// Whether memory is bounded by a limit that counts private memory only, so that shared memory has to be refused.
pub(crate) fn private_memory_only(limits: &LimitsSpec) -> bool {
    limits.memory.is_some() && !limits.memory_in_group
}

/// Limits the calling process.
///
/// - Errors: the kernel refused one.
pub(crate) fn apply(limits: &LimitsSpec, parts: &mut Vec<Part>) -> Result<(), String> {
    // A core of a plugin holds what the plugin held, and lands wherever the system puts it.
    set(Resource::Core, 0, 0, "core dumps")?;
    if let Some(bytes) = limits.memory {
        parts.push(if limits.memory_in_group {
            Part::held(format!("memory {bytes} bytes"), &[Layer::Cgroup])
        } else {
            let bytes = set(Resource::Data, bytes, bytes, "memory")?;
            let what = format!("memory {}", in_force(bytes, " bytes"));
            let why = "no control group is delegated to the host: private memory is counted, resident or not";
            Part::held(what, &[Layer::Rlimit]).with_gap(Some(why.to_owned()))
        });
    }
    if let Some(time) = limits.cpu_time {
        let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
        // At the first a signal that names the reason, at the second one that cannot be caught.
        let seconds = set(Resource::Cpu, seconds, seconds + 1, "cpu_time")?;
        let what = format!("cpu_time {}", in_force(seconds, " s"));
        parts.push(Part::held(what, &[Layer::Rlimit]));
    }
    if let Some(files) = limits.files {
        let files = set(Resource::Nofile, files.into(), files.into(), "files")?;
        let what = format!("files {}", in_force(files, ""));
        parts.push(Part::held(what, &[Layer::Rlimit]));
    }
    if let Some(processes) = limits.processes {
        let what = format!("processes {processes}");
        parts.push(if limits.processes_in_group {
            Part::held(what, &[Layer::Cgroup])
        } else {
            let why = "no control group is delegated to the host; threads cost memory, which a limit may bound";
            Part::open(what, why)
        });
    }
    Ok(())
}

/// What a resource was limited to.
enum Set {
    AsAsked(u64),
    /// Nobody may have more than the host; one that has less is stricter than what was asked for.
    AsHost(u64),
}

/// What is in force, which is not what the configuration says where the host itself has less.
fn in_force(set: Set, unit: &str) -> String {
    match set {
        Set::AsAsked(value) => format!("{value}{unit}"),
        Set::AsHost(value) => format!("{value}{unit}, as the host's"),
    }
}

/// Limits one resource; answers what is in force.
fn set(resource: Resource, current: u64, maximum: u64, key: &str) -> Result<Set, String> {
    let hosts = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let limit = Rlimit {
        current: Some(current.min(hosts)),
        maximum: Some(maximum.min(hosts)),
    };
    setrlimit(resource, limit)
        .map_err(|error| format!("the limit `{key}` = {current} was refused: {error}"))?;
    Ok(match current > hosts {
        true => Set::AsHost(hosts),
        false => Set::AsAsked(current),
    })
}
