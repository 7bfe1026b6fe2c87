//! The host's part: a control group of its own around each worker, where the host was given a tree to make groups in.
//!
//! Version 2 only, and only where the tree is the host's to shape: systemd marks it (`Delegate=yes`, best with
//! `DelegateSubgroup=`), a container's root is one, and to a user who is not root it belongs. The host itself is never moved.
//! A group without processes is removed; nothing is waited for.

use super::LimitsSpec;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// What is limited here, by the controller's name.
const MEMORY: &str = "memory";
const PIDS: &str = "pids";

/// A group around one process. Dropped, it ends whatever is still in it and is removed.
#[derive(Debug)]
pub(crate) struct Cage {
    group: Option<PathBuf>,
    limits: LimitsSpec,
}

impl Cage {
    /// Makes a group for the worker of `instance`, where a limit wants one and the host may. A `Cage` without a group is as
    /// good as one: then [`Cage::attach`] answers limits that the worker sets on itself.
    ///
    /// - `instance`: a name of the configuration's, safe in a path.
    pub(crate) fn prepare(instance: &str, limits: &LimitsSpec) -> Self {
        Self::prepare_below(&parents(Path::new("/proc/self")), instance, limits)
    }

    fn prepare_below(parents: &[PathBuf], instance: &str, limits: &LimitsSpec) -> Self {
        let wanted = [
            (MEMORY, limits.memory.is_some()),
            (PIDS, limits.processes.is_some()),
        ];
        let wanted: Vec<&str> = wanted
            .into_iter()
            .filter_map(|(name, wanted)| wanted.then_some(name))
            .collect();
        let mut cage = Self {
            group: None,
            limits: limits.clone(),
        };
        if wanted.is_empty() {
            return cage;
        }
        for parent in parents {
            let controllers = enable(parent, &wanted);
            if controllers.is_empty() {
                continue;
            }
            if let Ok(group) = make(parent, instance) {
                cage.fill(&group, &controllers);
                cage.group = Some(group);
                return cage;
            }
        }
        cage
    }

    /// Writes the limits; what the group does not take, the worker sets on itself.
    fn fill(&mut self, group: &Path, controllers: &[&str]) {
        if let Some(bytes) = self.limits.memory.filter(|_| controllers.contains(&MEMORY)) {
            self.limits.memory_in_group = write(&group.join("memory.max"), bytes).is_ok();
            // Without these a plugin over its limit moves to the disk first, or loses one thread only. A kernel may lack them.
            let _ = write(&group.join("memory.swap.max"), 0);
            let _ = write(&group.join("memory.oom.group"), 1);
        }
        if let Some(tasks) = self
            .limits
            .processes
            .filter(|_| controllers.contains(&PIDS))
        {
            self.limits.processes_in_group = write(&group.join("pids.max"), tasks.into()).is_ok();
        }
    }

    /// Puts the worker into the group, before it is sent its Start frame. Returns the limits to send it: those that no group
    /// holds, the worker sets on itself.
    pub(crate) fn attach(&mut self, pid: u32) -> LimitsSpec {
        let inside = match &self.group {
            Some(group) => write(&group.join("cgroup.procs"), pid.into()).is_ok(),
            None => false,
        };
        if !inside {
            self.limits.memory_in_group = false;
            self.limits.processes_in_group = false;
        }
        self.limits.clone()
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        if let Some(group) = &self.group {
            // What the worker left behind, where the kernel (5.14) can. Neither failure is anybody's to handle: a group that
            // stays is empty and costs nothing.
            let _ = write(&group.join("cgroup.kill"), 1);
            let _ = fs::remove_dir(group);
        }
    }
}

fn write(file: &Path, value: u64) -> io::Result<()> {
    // Never made where it is not: a file of a control group is there or the kernel lacks it.
    let mut file = fs::OpenOptions::new().write(true).open(file)?;
    io::Write::write_all(&mut file, value.to_string().as_bytes())
}

/// The controllers of `wanted` that groups below `parent` have, switched on where they were not.
fn enable<'w>(parent: &Path, wanted: &[&'w str]) -> Vec<&'w str> {
    let switch = parent.join("cgroup.subtree_control");
    let has = |name: &str| {
        let on = fs::read_to_string(&switch).unwrap_or_default();
        on.split_whitespace().any(|on| on == name)
    };
    let on = |name: &&&str| {
        if !has(name) {
            // Refused where processes are in the parent itself, or where its own parent has it not switched on.
            let _ = fs::OpenOptions::new()
                .write(true)
                .open(&switch)
                .and_then(|mut file| {
                    io::Write::write_all(&mut file, format!("+{name}").as_bytes())
                });
        }
        has(name)
    };
    wanted.iter().filter(on).copied().collect()
}

fn make(parent: &Path, instance: &str) -> io::Result<PathBuf> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("hotshoe-{}-{instance}-{number}", std::process::id());
    let group = parent.join(name);
    fs::create_dir(&group)?;
    Ok(group)
}

/// Where groups may be made: the host's own group, then the one around it, each only if it was delegated.
fn parents(proc: &Path) -> Vec<PathBuf> {
    let Some(mount) = fs::read_to_string(proc.join("mountinfo"))
        .ok()
        .and_then(|text| mount_of(&text))
    else {
        return Vec::new();
    };
    let Some(own) = fs::read_to_string(proc.join("cgroup"))
        .ok()
        .and_then(|text| own_group(&text))
    else {
        return Vec::new();
    };
    let own = mount.join(own);
    // A root is nobody's but its container's, or there is no other group on this machine.
    let may = |group: &Path| group == mount || is_delegated(group);
    let around = own
        .parent()
        .filter(|around| own != mount && *around != mount && is_delegated(around));
    let around = around.map(Path::to_owned);
    let own = Some(own).filter(|own| may(own));
    own.into_iter().chain(around).collect()
}

/// Where version 2 is mounted: `… MOUNTPOINT … - cgroup2 …` in a mountinfo.
fn mount_of(mountinfo: &str) -> Option<PathBuf> {
    let line = mountinfo.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        after.starts_with("cgroup2 ").then_some(before)
    })?;
    line.split(' ').nth(4).map(PathBuf::from)
}

/// The group of version 2, relative to its mount: the line `0::/PATH`.
fn own_group(cgroup: &str) -> Option<PathBuf> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // Of a group outside of what is mounted here one sees "/../…", and may make nothing.
    (!path.split('/').any(|part| part == "..")).then(|| PathBuf::from(path))
}

fn is_delegated(group: &Path) -> bool {
    let marked = |name: &str| {
        let mut value = [0_u8; 8];
        rustix::fs::getxattr(group, name, &mut value)
            .is_ok_and(|len| value.get(..len) == Some(b"1"))
    };
    let user = rustix::process::geteuid();
    let owned = || {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(group).is_ok_and(|group| group.uid() == user.as_raw())
    };
    marked("trusted.delegate") || marked("user.delegate") || (!user.is_root() && owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> LimitsSpec {
        LimitsSpec {
            memory: Some(64 << 20),
            processes: Some(32),
            ..LimitsSpec::default()
        }
    }

    /// A folder that looks like a group: what the kernel would make in a new one cannot be had without the kernel.
    fn fake(on: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("cgroup.subtree_control"), on).unwrap();
        folder
    }

    #[test]
    fn the_hosts_group_is_found_where_version_2_is_mounted() {
        let mountinfo = "24 1 0:21 / /proc rw - proc proc rw\n\
                         31 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                         33 23 0:29 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
        let mount = Some(PathBuf::from("/sys/fs/cgroup/unified"));
        assert_eq!(mount_of(mountinfo), mount);
        assert_eq!(mount_of("24 1 0:21 / /proc rw - proc proc rw\n"), None);
        let own = own_group("9:name=systemd:/\n0::/a.slice/b.service\n");
        assert_eq!(own, Some(PathBuf::from("a.slice/b.service")));
        assert_eq!(own_group("0::/\n"), Some(PathBuf::new()));
        assert_eq!(own_group("4:memory:/x\n"), None);
        assert_eq!(own_group("0::/../other\n"), None);
    }

    #[test]
    fn a_group_without_controllers_is_no_use() {
        let (none, has) = (fake(""), fake("cpu memory"));
        assert_eq!(enable(has.path(), &[MEMORY, PIDS]), [MEMORY]);
        // The stand-in takes what is written to it, as the kernel would not keep "+memory".
        assert_eq!(enable(none.path(), &[PIDS]), [] as [&str; 0]);
        let cage = Cage::prepare_below(&[none.path().to_owned()], "a", &limits());
        assert_eq!(cage.group, None);
    }

    #[test]
    fn the_worker_sets_on_itself_what_no_group_holds() {
        let parent = fake("memory pids");
        let mut cage = Cage::prepare_below(&[parent.path().to_owned()], "a", &limits());
        let group = cage.group.clone().unwrap();
        assert!(group.is_dir());
        // The files of a real group are not there, so that nothing can be written, and nothing is claimed.
        assert_eq!(cage.attach(1), limits());
        for file in ["memory.max", "pids.max", "cgroup.procs"] {
            fs::write(group.join(file), "").unwrap();
        }
        cage.fill(&group, &[MEMORY, PIDS]);
        let held = LimitsSpec {
            memory_in_group: true,
            processes_in_group: true,
            ..limits()
        };
        assert_eq!(cage.attach(7), held);
        assert_eq!(fs::read_to_string(group.join("pids.max")).unwrap(), "32");
    }

    #[test]
    fn without_limits_there_is_no_group_and_with_one_it_goes_with_the_worker() {
        let parent = fake("memory pids");
        let parents = [parent.path().to_owned()];
        let groups = || fs::read_dir(parent.path()).unwrap().count() - 1;
        let files = LimitsSpec {
            files: Some(64),
            ..LimitsSpec::default()
        };
        drop(Cage::prepare_below(&parents, "a", &files));
        let cage = Cage::prepare_below(&parents, "a", &limits());
        assert_eq!(groups(), 1);
        drop(cage);
        assert_eq!(groups(), 0);
    }

    /// On this very system, whatever it is: what is found is a group that may hold others.
    #[test]
    fn a_real_group_is_made_and_removed_where_one_may_be() {
        let mut cage = Cage::prepare("real", &limits());
        let Some(group) = cage.group.clone() else {
            return;
        };
        assert!(cage.limits.memory_in_group || cage.limits.processes_in_group);
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let held = cage.attach(child.id());
        let inside = fs::read_to_string(group.join("cgroup.procs")).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(held.memory_in_group || held.processes_in_group);
        assert_eq!(inside.trim(), child.id().to_string());
        drop(cage);
        assert!(!group.exists());
    }
}
