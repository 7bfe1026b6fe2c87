//! Opens what records come from, before the first record is wanted, and says plainly why where it cannot.
//!
//! It reads nothing, follows no default of its own, and never waits without end: a peer that does not answer is given
//! up after [`CONNECT_DEADLINE`].

use std::{
    fmt,
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    fs::{FileType, Mode, OFlags, fstat, open as open_path},
    io::{Errno, retry_on_intr},
};

use super::holder::holder_of;
use crate::error::{Blame, ExitCode, Problem};

/// For all addresses of a peer together. As long as the default deadline of an `init`: a start that hangs longer looks
/// broken.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

const CORRECT_THE_FILE: &str = "correct `[stream] source`, or the file's permissions";

/// Where records come from. `{}` spells it as `[stream] source` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// Descriptor 0, which is duplicated: closing the source leaves it open.
    Stdin,
    /// `HOST:PORT` of a peer that sends lines; its close is the end of the source.
    TcpConnect(String),
    /// Peers connect here, one served at a time; there is no end of the source.
    TcpListen(SocketAddr),
    /// A file, a FIFO or a device.
    File(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => write!(f, "stdin"),
            Self::TcpConnect(address) => write!(f, "tcp-connect:{address}"),
            Self::TcpListen(address) => write!(f, "tcp-listen:{address}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

/// An open source, by how one waits for it.
#[derive(Debug)]
pub(super) enum Input {
    /// A regular file: always ready, and what is read of it is not gone from it.
    Regular(OwnedFd),
    /// Pipe, terminal, socket, device: what was read is nowhere else.
    Stream(OwnedFd),
    /// A listener, and the peer that is being served.
    Listener {
        /// Never blocks.
        listener: TcpListener,
        /// Never blocks.
        peer: Option<TcpStream>,
    },
}

pub(super) fn open(endpoint: &Endpoint) -> Result<Input, Problem> {
    match endpoint {
        Endpoint::Stdin => open_stdin(endpoint),
        Endpoint::TcpConnect(address) => connect(endpoint, address),
        Endpoint::TcpListen(address) => listen(endpoint, *address),
        Endpoint::File(path) => open_file(endpoint, path),
    }
}

/// Takes a descriptor that is open already.
pub(super) fn from_fd(fd: OwnedFd, name: &str) -> Result<Input, Problem> {
    let stat = fstat(&fd).map_err(|errno| unreadable(name, &errno.into()))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(Input::Regular(fd)),
        FileType::Directory => Err(not_readable(name, "it is a folder")),
        _ => Ok(Input::Stream(fd)),
    }
}

fn open_stdin(endpoint: &Endpoint) -> Result<Input, Problem> {
    let name = endpoint.to_string();
    match io::stdin().as_fd().try_clone_to_owned() {
        Ok(fd) => from_fd(fd, &name),
        Err(error) if error.raw_os_error() == Some(Errno::BADF.raw_os_error()) => Err(missing(
            &name,
            "descriptor 0 is not open",
        )
        .found(error.to_string())
        .fix("start the host with its standard input open, or name another `[stream] source`")),
        Err(error) => Err(missing(
            &name,
            &format!("descriptor 0 cannot be duplicated: {error}"),
        )
        .found(error.to_string())
        .remedy(&error, "see the system's log")),
    }
}

/// What stops a source takes a descriptor too.
pub(super) fn unstoppable(name: &str, error: &io::Error) -> Problem {
    missing(name, &format!("nothing can be had to stop it: {error}"))
        .found(error.to_string())
        .remedy(error, "see the system's log")
}

fn open_file(endpoint: &Endpoint, path: &Path) -> Result<Input, Problem> {
    let name = endpoint.to_string();
    // Without NONBLOCK the open of a FIFO waits for its writer, and no stop could end that wait. The reads that
    // follow are preceded by a poll, which waits for the first writer and can be ended.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match retry_on_intr(|| open_path(path, flags, Mode::empty())) {
        Ok(fd) => from_fd(fd, &name),
        Err(Errno::NOENT) => Err(missing(&name, "there is no such file")
            .wanted(format!("a file, FIFO or device at {}", path.display()))
            .found(io::Error::from(Errno::NOENT).to_string())
            .fix("create the file, or correct `[stream] source`")),
        Err(errno) => Err(unreadable(&name, &errno.into())),
    }
}

fn connect(endpoint: &Endpoint, address: &str) -> Result<Input, Problem> {
    let name = endpoint.to_string();
    let resolved: Vec<SocketAddr> = match address.to_socket_addrs() {
        Ok(resolved) => resolved.collect(),
        Err(error) => {
            return Err(
                missing(&name, &format!("{address} is no address that can be found"))
                    .wanted("HOST:PORT")
                    .found(error.to_string())
                    .fix("correct `[stream] source`"),
            );
        }
    };
    let begun = Instant::now();
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for peer in resolved {
        let left = CONNECT_DEADLINE.saturating_sub(begun.elapsed());
        if left.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(&peer, left).and_then(never_blocking) {
            Ok(stream) => return Ok(Input::Stream(stream.into())),
            Err(error) => last = error,
        }
    }
    let headline = match last.kind() {
        ErrorKind::ConnectionRefused => format!("the source {name} refused: nothing listens there"),
        ErrorKind::TimedOut => {
            format!(
                "the source {name} did not answer within {} s",
                CONNECT_DEADLINE.as_secs()
            )
        }
        _ => format!("the source {name} cannot be reached: {last}"),
    };
    Err(Problem::error(
        ExitCode::Running,
        Blame::Environment,
        "source-refused",
        headline,
    )
    .wanted(format!("a peer that listens on {address} and sends lines"))
    .found(last.to_string())
    .remedy(
        &last,
        format!(
            "start the peer first (to try it out: `nc -lk {}`), or correct `[stream] source`",
            address.rsplit(':').next().unwrap_or(address)
        ),
    ))
}

fn listen(endpoint: &Endpoint, address: SocketAddr) -> Result<Input, Problem> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    match bound {
        Ok(listener) => Ok(Input::Listener {
            listener,
            peer: None,
        }),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Err(port_taken(endpoint, address)),
        Err(error) => {
            let headline = format!("the source {endpoint} cannot listen: {error}");
            Err(Problem::error(
                ExitCode::Init,
                Blame::Environment,
                "source-unlistenable",
                headline,
            )
            .wanted("an address of this machine, and a port that this user may bind")
            .found(error.to_string())
            .remedy(&error, "correct `[stream] source`"))
        }
    }
}

fn port_taken(endpoint: &Endpoint, address: SocketAddr) -> Problem {
    let port = address.port();
    let (by, fix) = match holder_of(address) {
        Some(holder) => (holder.to_string(), format!("end {holder}")),
        None => (
            "a process that this user cannot see".to_owned(),
            format!("end what listens there (`ss -ltnp 'sport = :{port}'` as root names it)"),
        ),
    };
    let headline = format!("the source {endpoint} cannot listen: port {port} is taken by {by}");
    Problem::error(
        ExitCode::Init,
        Blame::Environment,
        "source-port-taken",
        headline,
    )
    .wanted(format!("{address} free"))
    .found(by)
    .fix(format!(
        "{fix}, or choose another port in `[stream] source`"
    ))
}

/// A poll may say "ready" for what a read then does not find; such a read must not block.
pub(super) fn never_blocking(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nonblocking(true)?;
    Ok(stream)
}

fn missing(name: &str, why: &str) -> Problem {
    let headline = format!("the source {name} is missing: {why}");
    Problem::error(
        ExitCode::Running,
        Blame::Environment,
        "source-missing",
        headline,
    )
}

/// The system does not let it be read.
fn unreadable(name: &str, error: &io::Error) -> Problem {
    let problem = not_readable(name, &error.to_string());
    problem.remedy(error, CORRECT_THE_FILE)
}

/// Whoever opened it may read it, and yet there is nothing to read.
fn not_readable(name: &str, why: &str) -> Problem {
    let headline = format!("the source {name} cannot be read: {why}");
    Problem::error(
        ExitCode::Running,
        Blame::Environment,
        "source-unreadable",
        headline,
    )
    .wanted("a file, FIFO or device that this user may read")
    .found(why)
    .fix(CORRECT_THE_FILE)
}
