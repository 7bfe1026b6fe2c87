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
        let what = format!("memory {bytes} bytes");
        parts.push(if limits.memory_in_group {
            Part::held(what, &[Layer::Cgroup])
        } else {
            set(Resource::Data, bytes, bytes, "memory")?;
            let why = "no control group is delegated to the host: private memory is counted, resident or not";
            Part::held(what, &[Layer::Rlimit]).with_gap(Some(why.to_owned()))
        });
    }
    if let Some(time) = limits.cpu_time {
        let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
        // At the first a signal that names the reason, at the second one that cannot be caught.
        set(Resource::Cpu, seconds, seconds + 1, "cpu_time")?;
        parts.push(Part::held(
            format!("cpu_time {seconds} s"),
            &[Layer::Rlimit],
        ));
    }
    if let Some(files) = limits.files {
        set(Resource::Nofile, files.into(), files.into(), "files")?;
        parts.push(Part::held(format!("files {files}"), &[Layer::Rlimit]));
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

fn set(resource: Resource, current: u64, maximum: u64, key: &str) -> Result<(), String> {
    // Nobody may have more than the host; one that has less is stricter than what was asked for.
    let hosts = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let limit = Rlimit {
        current: Some(current.min(hosts)),
        maximum: Some(maximum.min(hosts)),
    };
    setrlimit(resource, limit)
        .map_err(|error| format!("the limit `{key}` = {current} was refused: {error}"))
}
