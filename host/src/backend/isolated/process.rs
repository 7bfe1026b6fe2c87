//! The worker's process: started, killed, reaped. One thread per host starts all of them, because what ties a child's life to
//! its parent's (PR_SET_PDEATHSIG) ties it to the thread; none is ever forked, because a fork copies the host's page tables.

use super::sandbox::{Environment, cgroup::Cage};
use parking_lot::Mutex;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open},
};
use std::{
    io,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::process::{CommandExt as _, ExitStatusExt as _},
    },
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, mpsc},
    thread,
};

/// The hidden subcommand.
pub(crate) const WORKER: &str = "__worker";

/// Set in a worker's environment, to what both ends must have in common: a program that forgot to take over finds out that it
/// is one.
pub(crate) const WORKER_ENV: &str = "HOTSHOE_WORKER";

/// What both ends must have in common.
pub(crate) fn fingerprint() -> String {
    format!("{}+{:016x}", super::wire::FINGERPRINT, super::wire::WIRE)
}

/// Two ends of a connection; neither is inherited by anybody.
pub(crate) fn socket_pair() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
}

/// A process that ends closes its connection first; one that is not over so much later has done that alone.
const ENDS_WITHIN: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// What is to be started.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// `None`: the program that runs here, whatever stands at its path by now.
    pub(crate) executable: Option<PathBuf>,
    pub(crate) instance: String,
    /// What of the host's environment it gets.
    pub(crate) environment: Environment,
}

type Started = mpsc::SyncSender<io::Result<Child>>;

/// Starts workers, on a thread that lives as long as this does.
pub(crate) struct Spawner(Mutex<mpsc::Sender<(Program, OwnedFd, Started)>>);

impl Spawner {
    pub(crate) fn new() -> io::Result<Self> {
        let (orders, received) = mpsc::channel::<(Program, OwnedFd, Started)>();
        thread::Builder::new()
            .name("workers".to_owned())
            .spawn(move || {
                let held = hotshoe_loader::hold_stops_back();
                let held = held.map_err(|error| error.kind());
                for (program, control, started) in received {
                    let child = held.map_err(io::Error::from);
                    let _ = started.try_send(child.and_then(|()| spawn(&program, control)));
                }
            })?;
        Ok(Self(Mutex::new(orders)))
    }

    /// Starts a worker; answers its process.
    pub(crate) fn spawn(&self, program: Program) -> io::Result<Process> {
        let (ours, theirs) = socket_pair()?;
        let (to, started) = mpsc::sync_channel(1);
        let gone = || io::Error::other("the thread that starts workers is gone");
        let order = (program, theirs, to);
        self.0.lock().send(order).map_err(|_| gone())?;
        let child = started.recv().map_err(|_| gone())??;
        Process::new(child, ours)
    }
}

fn spawn(program: &Program, control: OwnedFd) -> io::Result<Child> {
    let executable = match &program.executable {
        Some(executable) => executable.clone(),
        None => PathBuf::from("/proc/self/exe"),
    };
    let mut command = Command::new(executable);
    if program.executable.is_none() {
        let own = std::env::args_os().next();
        command.arg0(own.unwrap_or_else(|| "hotshoe".into()));
    }
    if program.environment != Environment::Whole {
        let passed = std::env::vars_os().filter(|(name, _)| program.environment.passes(name));
        command.env_clear().envs(passed);
    }
    // A group of its own: a terminal's Ctrl-C is for the host, which stops it in order, and what it leaves behind goes with it.
    command
        .args([WORKER, &program.instance])
        .env(WORKER_ENV, fingerprint())
        .stdin(Stdio::from(control))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
}

/// A worker's process, and the host's end of its control socket.
pub(crate) struct Process {
    socket: Arc<OwnedFd>,
    child: Mutex<Child>,
    pid: u32,
    /// Readable once the process is over; `None` where the kernel has none.
    pidfd: Option<OwnedFd>,
    state: Mutex<State>,
    output: Mutex<Vec<(&'static str, OwnedFd)>>,
    /// Around the process; goes with it.
    cage: Option<Cage>,
}

#[derive(Default)]
struct State {
    reaped: bool,
    code: Option<i32>,
    /// Why it was killed, where we did it.
    killed: Option<String>,
}

impl Process {
    fn new(mut child: Child, socket: OwnedFd) -> io::Result<Self> {
        let pid = child.id();
        let output = [
            ("stdout", child.stdout.take().map(OwnedFd::from)),
            ("stderr", child.stderr.take().map(OwnedFd::from)),
        ];
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let pidfd = match raw.map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
            Some(Ok(pidfd)) => Some(pidfd),
            // Without it, an end that somebody else's hold of the socket hides would not be noticed.
            Some(Err(error @ (Errno::MFILE | Errno::NFILE))) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error.into());
            }
            // An old kernel.
            Some(Err(_)) | None => None,
        };
        Ok(Self {
            socket: Arc::new(socket),
            pid,
            pidfd,
            child: Mutex::new(child),
            cage: None,
            state: Mutex::default(),
            output: Mutex::new(
                output
                    .into_iter()
                    .filter_map(|(stream, pipe)| Some((stream, pipe?)))
                    .collect(),
            ),
        })
    }

    /// Keeps the group around the process for as long as it lives.
    pub(crate) fn keep(&mut self, cage: Cage) {
        self.cage = Some(cage);
    }

    pub(crate) fn socket(&self) -> &Arc<OwnedFd> {
        &self.socket
    }

    pub(crate) fn id(&self) -> u32 {
        self.pid
    }

    /// Readable once the process is over.
    pub(crate) fn ended(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(OwnedFd::as_fd)
    }

    /// Its pipes; the first asker gets them.
    pub(crate) fn output(&self) -> Vec<(&'static str, OwnedFd)> {
        std::mem::take(&mut *self.output.lock())
    }

    /// Kills it, and everything of its group; the first reason is kept.
    pub(crate) fn kill(&self, why: &str) {
        let mut state = self.state.lock();
        if state.reaped {
            return;
        }
        state.killed.get_or_insert_with(|| why.to_owned());
        self.kill_group();
    }

    /// Only while the process was not reaped: after that its number may be somebody else's.
    fn kill_group(&self) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(pid, Signal::KILL);
            // A plugin may have moved its process into another group.
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// It is over, and ended by itself with that exit code.
    pub(crate) fn ended_with(&self, code: i32) -> bool {
        self.state.lock().code == Some(code)
    }

    /// Tells it to end.
    pub(crate) fn hang_up(&self) {
        let _ = rustix::net::shutdown(&*self.socket, rustix::net::Shutdown::Write);
    }

    fn ends_within(&self, grace: Timespec) -> bool {
        let Some(pidfd) = &self.pidfd else {
            return true;
        };
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&grace)) {
            Ok(ended) => ended > 0,
            // Whoever cannot be looked at is taken to be over; it is killed in either case.
            Err(_) => true,
        }
    }

    /// Makes sure that it is over, with what it started, and answers how it ended.
    pub(crate) fn reap(&self) -> String {
        // It has closed its connection or is over. A plugin may have closed the one without the other; the status of a process
        // that is ending already does not change any more.
        if !self.ends_within(ENDS_WITHIN) {
            let mut state = self.state.lock();
            state
                .killed
                .get_or_insert_with(|| "it closed its connection to the host".to_owned());
        }
        self.kill_group();
        let status = self.child.lock().wait();
        let mut state = self.state.lock();
        state.reaped = true;
        state.code = status.as_ref().ok().and_then(ExitStatus::code);
        match (state.killed.take(), status) {
            (Some(why), _) => format!("killed: {why}"),
            (None, Ok(status)) => ending(status),
            (None, Err(error)) => format!("it ended, and nobody knows how: {error}"),
        }
    }
}

fn ending(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("killed by signal {signal} ({})", signal_name(signal)),
        (None, Some(code)) => format!("it ended by itself with exit code {code}"),
        (None, None) => "it ended".to_owned(),
    }
}

fn signal_name(signal: i32) -> &'static str {
    const NAMES: [(Signal, &str); 18] = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::ILL, "SIGILL"),
        (Signal::TRAP, "SIGTRAP"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::KILL, "SIGKILL"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::ALARM, "SIGALRM"),
        (Signal::TERM, "SIGTERM"),
        (Signal::XCPU, "SIGXCPU"),
        (Signal::XFSZ, "SIGXFSZ"),
        (Signal::SYS, "SIGSYS"),
    ];
    let found = NAMES.iter().find(|(known, _)| known.as_raw() == signal);
    found.map_or("a signal", |(_, name)| name)
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.state.get_mut().reaped {
            self.kill_group();
            let _ = self.child.get_mut().wait();
        }
    }
}

/// What to do where the system starts no more.
pub(crate) fn refusal(error: &io::Error) -> String {
    let otherwise = match Errno::from_io_error(error) {
        Some(Errno::AGAIN) => "raise the limit of processes (ulimit -u, pids.max)",
        Some(Errno::NOENT | Errno::ACCESS) => "name a program that exists and may be run",
        _ => "see the system's log",
    };
    hotshoe_loader::remedy(error, otherwise)
}
