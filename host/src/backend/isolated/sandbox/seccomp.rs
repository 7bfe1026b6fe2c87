//! seccomp: which system calls a walled worker has.
//!
//! Everything is let through but what is named here: a plugin brings libraries that nobody has read, and a filter that knows
//! every call they may need would refuse the next one. What is refused answers `EPERM`, so that the plugin can say what it
//! missed; calls newer than this file, and two that filters cannot look into, answer `ENOSYS`, so that libraries fall back
//! to what they did before those existed. Landlock and the capabilities refuse much of this as well: one of two walls may
//! have a hole.

use super::Walls;
use libc::c_long;
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, sock_filter,
};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    io,
    path::Path,
};

/// The newest call that was looked at: `file_setattr` of Linux 6.17. The numbers of all architectures agree from 424 on.
const LAST_KNOWN: u32 = 469;

/// Calls that `libc` has no name for on every architecture, by their number.
const PIDFD_SEND_SIGNAL: c_long = 424;
const IO_URING: [c_long; 3] = [425, 426, 427];
const OPEN_TREE: c_long = 428;
const MOVE_MOUNT: c_long = 429;
const FS_CALLS: [c_long; 4] = [430, 431, 432, 433];
const PIDFD_OPEN: c_long = 434;
const CLONE3: c_long = 435;
const OPENAT2: c_long = 437;
const PIDFD_GETFD: c_long = 438;
const PROCESS_MADVISE: c_long = 440;
const MOUNT_SETATTR: c_long = 442;
const QUOTACTL_FD: c_long = 443;
const PROCESS_MRELEASE: c_long = 448;
const FCHMODAT2: c_long = 452;
const STATMOUNT: c_long = 457;
const LISTMOUNT: c_long = 458;
const LSM_SET_SELF_ATTR: c_long = 460;
const SETXATTRAT: c_long = 463;
const REMOVEXATTRAT: c_long = 466;
const OPEN_TREE_ATTR: c_long = 467;
const FILE_SETATTR: c_long = 469;

/// Refused whatever their arguments.
#[rustfmt::skip]
const NEVER: &[c_long] = &[
    // Programs.
    libc::SYS_execve, libc::SYS_execveat,
    // Other processes: their memory, descriptors, signals, and where they run. `tkill` names a thread of nobody knows whom.
    libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_kcmp, libc::SYS_tkill,
    libc::SYS_move_pages, libc::SYS_migrate_pages,
    PROCESS_MADVISE, PROCESS_MRELEASE, PIDFD_OPEN, PIDFD_GETFD, PIDFD_SEND_SIGNAL,
    // What is mounted where, and who sees it.
    libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_chroot, libc::SYS_swapon, libc::SYS_swapoff,
    libc::SYS_quotactl, libc::SYS_unshare, libc::SYS_setns,
    MOVE_MOUNT, OPEN_TREE, OPEN_TREE_ATTR, MOUNT_SETATTR, QUOTACTL_FD, STATMOUNT, LISTMOUNT,
    FS_CALLS[0], FS_CALLS[1], FS_CALLS[2], FS_CALLS[3],
    // The kernel's keys.
    libc::SYS_add_key, libc::SYS_request_key, libc::SYS_keyctl,
    // Large surfaces that no filter looks into.
    IO_URING[0], IO_URING[1], IO_URING[2],
    libc::SYS_userfaultfd, libc::SYS_bpf, libc::SYS_perf_event_open,
    // Watching files that may not be opened.
    libc::SYS_fanotify_init, libc::SYS_fanotify_mark, libc::SYS_inotify_init1, libc::SYS_inotify_add_watch,
    // Modules and another kernel.
    libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module, libc::SYS_kexec_load,
    // The machine.
    libc::SYS_reboot, libc::SYS_sethostname, libc::SYS_setdomainname, libc::SYS_settimeofday, libc::SYS_clock_settime,
    libc::SYS_clock_adjtime, libc::SYS_adjtimex, libc::SYS_acct, libc::SYS_syslog, libc::SYS_vhangup, LSM_SET_SELF_ATTR,
    // Modes, owners, times and attributes, which Landlock does not guard: one's own user may change them through any
    // descriptor, and with them who else may do what. With `mknod`, because a device is a door; and files by handle.
    libc::SYS_fchmod, libc::SYS_fchmodat, FCHMODAT2, libc::SYS_fchown, libc::SYS_fchownat, libc::SYS_utimensat,
    libc::SYS_setxattr, libc::SYS_lsetxattr, libc::SYS_fsetxattr, SETXATTRAT,
    libc::SYS_removexattr, libc::SYS_lremovexattr, libc::SYS_fremovexattr, REMOVEXATTRAT, FILE_SETATTR,
    libc::SYS_mknodat, libc::SYS_name_to_handle_at, libc::SYS_open_by_handle_at,
    // Memory, queues and semaphores that any process of the user may open by name or number.
    libc::SYS_shmget, libc::SYS_shmat, libc::SYS_shmctl, libc::SYS_semget, libc::SYS_semop, libc::SYS_semctl,
    libc::SYS_semtimedop, libc::SYS_msgget, libc::SYS_msgsnd, libc::SYS_msgrcv, libc::SYS_msgctl,
    libc::SYS_mq_open, libc::SYS_mq_unlink,
];

/// The older spellings that only x86-64 has.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const NEVER_HERE: &[c_long] = &[
    libc::SYS_fork, libc::SYS_vfork, libc::SYS_inotify_init, libc::SYS_kexec_file_load,
    libc::SYS_chmod, libc::SYS_chown, libc::SYS_lchown, libc::SYS_utime, libc::SYS_utimes, libc::SYS_futimesat,
    libc::SYS_mknod, libc::SYS_modify_ldt, libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_uselib,
];
#[cfg(not(target_arch = "x86_64"))]
const NEVER_HERE: &[c_long] = &[294]; // kexec_file_load

/// What a program does with a descriptor of its own: its size, blocking or not, closed on exec or not, a terminal or not.
const IOCTLS: [c_long; 7] = [0x541B, 0x5421, 0x5450, 0x5451, 0x5401, 0x5413, 0x802C_542A];

/// Ask the kernel to send signals to somebody, to hold up another's open, or to watch a folder.
const FCNTLS: [c_long; 5] = [8, 10, 15, 1024, 1026];

/// Outlive the host; another's view of one's memory; what root may get back; whom one shares a core with.
const PRCTLS: [c_long; 5] = [1, 35, 0x5961_6D61, 28, 62];

/// Connects in passing, where Landlock does not look.
const MSG_FASTOPEN: c_long = 0x2000_0000;

const SOCK_TYPE_MASK: c_long = 0xF;
const SETUID: c_long = 0o4000;
const SETGID: c_long = 0o2000;
/// `O_TMPFILE` without the bit that says "a folder".
const TMPFILE: c_long = 0o20_000_000;

/// Takes the system calls away from the calling thread. Returns why there is no filter, where the kernel has none.
///
/// - `private_memory_only`: memory is bounded by a limit that does not count what is shared.
/// - Errors: the kernel refused the filter.
pub(crate) fn apply(walls: &Walls, private_memory_only: bool) -> Result<Option<String>, String> {
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else {
        return Ok(Some(format!(
            "no seccomp filter is written for {}",
            std::env::consts::ARCH
        )));
    };
    let rules = rules(walls, private_memory_only, std::process::id().into());
    let refusing = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let program: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, refusing, arch)
        .and_then(TryInto::try_into)
        .map_err(|error| format!("the seccomp filter does not compile: {error}"))?;
    for program in [program, unknown_calls()] {
        match seccompiler::apply_filter(&program) {
            Ok(()) => {}
            Err(Error::Prctl(error) | Error::Seccomp(error)) if is_lacking(&error) => {
                return Ok(Some("the kernel has no seccomp filters".to_owned()));
            }
            Err(error) => return Err(format!("the seccomp filter was refused: {error}")),
        }
    }
    Ok(None)
}

/// A kernel without filters says "invalid argument", and so does one with filters to a bad one; only the first has no list of
/// what a filter may answer.
fn is_lacking(error: &io::Error) -> bool {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => true,
        Some(libc::EINVAL) => !Path::new("/proc/sys/kernel/seccomp").exists(),
        _ => false,
    }
}

/// What is refused: a call, and when; without a rule always.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn rules(walls: &Walls, private_memory_only: bool, own_pid: u64) -> Rules {
    let mut rules = Rules::new();
    for call in NEVER.iter().chain(NEVER_HERE) {
        rules.insert(*call, Vec::new());
    }
    threads_only(&mut rules);
    own_process_only(&mut rules, own_pid);
    network(&mut rules, walls);
    files(&mut rules);
    for option in PRCTLS {
        refuse(&mut rules, libc::SYS_prctl, vec![equal(0, option)]);
    }
    // 0xffffffff asks; anything else changes, and with it where things lie in memory.
    refuse(
        &mut rules,
        libc::SYS_personality,
        vec![differs(0, 0xFFFF_FFFF)],
    );
    if private_memory_only {
        rules.insert(libc::SYS_memfd_create, Vec::new());
        let shared = c_long::from(libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        refuse(&mut rules, libc::SYS_mmap, vec![has_bits(3, shared)]);
    }
    rules
}

/// A new task is a thread of this process, in the namespaces that it is in.
fn threads_only(rules: &mut Rules) {
    let thread = c_long::from(libc::CLONE_THREAD);
    refuse(rules, libc::SYS_clone, vec![masked(0, thread, 0)]);
    for namespace in [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
    ] {
        refuse(
            rules,
            libc::SYS_clone,
            vec![has_bits(0, c_long::from(namespace))],
        );
    }
}

/// Calls that name a process may name this one, or 0 where that means oneself; to signals 0 is the whole group.
fn own_process_only(rules: &mut Rules, own: u64) {
    for signal in [
        libc::SYS_kill,
        libc::SYS_tgkill,
        libc::SYS_rt_sigqueueinfo,
        libc::SYS_rt_tgsigqueueinfo,
    ] {
        refuse(rules, signal, vec![condition(0, SeccompCmpOp::Ne, own)]);
    }
    let other = |argument: u8| {
        vec![
            differs(argument, 0),
            condition(argument, SeccompCmpOp::Ne, own),
        ]
    };
    for call in [
        libc::SYS_prlimit64,
        libc::SYS_sched_setaffinity,
        libc::SYS_sched_setattr,
        libc::SYS_sched_setparam,
        libc::SYS_sched_setscheduler,
    ] {
        refuse(rules, call, other(0));
    }
    // Of a process (0 and 1), not of a group or a user.
    for (call, of_a_process) in [(libc::SYS_setpriority, 0), (libc::SYS_ioprio_set, 1)] {
        refuse(rules, call, vec![differs(0, of_a_process)]);
        refuse(rules, call, other(1));
    }
}

/// TCP where ports are listed, whose numbers are Landlock's; else none. Pairs of Unix sockets lead nowhere else.
fn network(rules: &mut Rules, walls: &Walls) {
    let (binds, connects) = (!walls.bind.is_empty(), !walls.connect.is_empty());
    if binds || connects {
        let (v4, v6) = (libc::AF_INET.into(), libc::AF_INET6.into());
        refuse(
            rules,
            libc::SYS_socket,
            vec![differs(0, v4), differs(0, v6)],
        );
        only_types(rules, libc::SYS_socket, &[libc::SOCK_STREAM.into()]);
        // Not MPTCP or SCTP, which Landlock takes for something else than TCP.
        let tcp = libc::IPPROTO_TCP.into();
        refuse(
            rules,
            libc::SYS_socket,
            vec![differs(2, 0), differs(2, tcp)],
        );
    } else {
        rules.insert(libc::SYS_socket, Vec::new());
    }
    if !binds {
        for call in [
            libc::SYS_bind,
            libc::SYS_listen,
            libc::SYS_accept,
            libc::SYS_accept4,
        ] {
            rules.insert(call, Vec::new());
        }
    }
    if !connects {
        rules.insert(libc::SYS_connect, Vec::new());
    }
    for (call, flags) in [
        (libc::SYS_sendto, 3),
        (libc::SYS_sendmsg, 2),
        (libc::SYS_sendmmsg, 3),
    ] {
        refuse(rules, call, vec![has_bits(flags, MSG_FASTOPEN)]);
    }
    // A datagram of a pair may be sent to anybody's socket; a connected stream may not.
    let unix = libc::AF_UNIX.into();
    refuse(rules, libc::SYS_socketpair, vec![differs(0, unix)]);
    let connected = [libc::SOCK_STREAM.into(), libc::SOCK_SEQPACKET.into()];
    only_types(rules, libc::SYS_socketpair, &connected);
}

fn only_types(rules: &mut Rules, call: c_long, types: &[c_long]) {
    for kind in (0..=SOCK_TYPE_MASK).filter(|kind| !types.contains(kind)) {
        refuse(rules, call, vec![masked(1, SOCK_TYPE_MASK, kind)]);
    }
}

/// A file that gives others the rights of this user, and what may be asked of a descriptor.
fn files(rules: &mut Rules) {
    let create = c_long::from(libc::O_CREAT);
    for bit in [SETUID, SETGID] {
        for how in [create, TMPFILE] {
            let given = |flags: u8| vec![has_bits(flags, how), has_bits(flags + 1, bit)];
            refuse(rules, libc::SYS_openat, given(2));
            #[cfg(target_arch = "x86_64")]
            refuse(rules, libc::SYS_open, given(1));
        }
        #[cfg(target_arch = "x86_64")]
        refuse(rules, libc::SYS_creat, vec![has_bits(1, bit)]);
    }
    let others = IOCTLS.iter().map(|request| differs(1, *request));
    refuse(rules, libc::SYS_ioctl, others.collect());
    for command in FCNTLS {
        refuse(rules, libc::SYS_fcntl, vec![equal(1, command)]);
    }
}

fn refuse(rules: &mut Rules, call: c_long, conditions: Vec<SeccompCondition>) {
    let rule = SeccompRule::new(conditions).expect("every rule here has a condition");
    match rules.entry(call) {
        Entry::Vacant(vacant) => {
            vacant.insert(vec![rule]);
        }
        // No rule at all is "always": one more would let everything else through.
        Entry::Occupied(occupied) if occupied.get().is_empty() => {}
        Entry::Occupied(mut occupied) => occupied.get_mut().push(rule),
    }
}

fn differs(argument: u8, value: c_long) -> SeccompCondition {
    condition(argument, SeccompCmpOp::Ne, value.unsigned_abs())
}

fn equal(argument: u8, value: c_long) -> SeccompCondition {
    condition(argument, SeccompCmpOp::Eq, value.unsigned_abs())
}

fn has_bits(argument: u8, bits: c_long) -> SeccompCondition {
    masked(argument, bits, bits)
}

fn masked(argument: u8, mask: c_long, value: c_long) -> SeccompCondition {
    let mask = SeccompCmpOp::MaskedEq(mask.unsigned_abs());
    condition(argument, mask, value.unsigned_abs())
}

/// The lower half of an argument: the kernel takes all of these for 32 bits.
fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> SeccompCondition {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
        .expect("the numbers of arguments are ours, 0 to 5")
}

/// `ENOSYS` for what this file has not seen, the second set of calls of x86-64 (x32) included, and for the two whose
/// arguments lie in memory: `clone3`, after which glibc calls `clone`, and `openat2`.
fn unknown_calls() -> BpfProgram {
    // <linux/bpf_common.h>: load a word of the call's data; jump if equal, if greater; return.
    const LOAD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const JUMP_IF_GREATER: u16 = 0x25;
    const RETURN: u16 = 0x06;
    const CALL_NUMBER_AT: u32 = 0;
    let step = |code, jt, k| sock_filter { code, jt, jf: 0, k };
    let number = |call: c_long| u32::try_from(call).expect("calls have small numbers");
    let no_such_call = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    vec![
        step(LOAD, 0, CALL_NUMBER_AT),
        step(JUMP_IF_GREATER, 3, LAST_KNOWN),
        step(JUMP_IF_EQUAL, 2, number(CLONE3)),
        step(JUMP_IF_EQUAL, 1, number(OPENAT2)),
        step(RETURN, 0, SeccompAction::Allow.into()),
        step(RETURN, 0, no_such_call.into()),
    ]
}
