//! Who holds an address that we wanted: read from `/proc`, for the one line that tells the operator.
//!
//! Best effort: without `/proc`, or without the right to look, the holder is unknown and that is said.

use std::{
    fmt, fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

/// `LISTEN` in `/proc/net/tcp` (proc_pid_net(5)).
const LISTEN: &str = "0A";

/// The program behind a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    Known { pid: u32, program: String },
    Unknown,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known { pid, program } => write!(f, "pid {pid} ({program})"),
            Self::Unknown => f.write_str("an unknown process"),
        }
    }
}

/// Who listens where `address` would.
pub(crate) fn holder_of(address: SocketAddr) -> Holder {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .find_map(|table| listening_inode(&table, address));
    inode.map_or(Holder::Unknown, |inode| holder_of_inode(&inode))
}

/// Who listens on the Unix socket at `path`.
pub(crate) fn holder_of_path(path: &Path) -> Holder {
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let inode = path.to_str().and_then(|path| {
        let mut rows = table.lines().skip(1);
        rows.find_map(|row| unix_inode(row, path))
    });
    inode.map_or(Holder::Unknown, |inode| holder_of_inode(&inode))
}

/// The inode of a row of `/proc/net/unix` that listens on `path`: number, references, protocol, flags, type, state, inode,
/// and a path that may hold spaces. Connections that wait to be accepted have rows with the same path.
fn unix_inode(row: &str, path: &str) -> Option<String> {
    /// `__SO_ACCEPTCON`.
    const LISTENING: &str = "00010000";
    let mut rest = row;
    let mut columns = [""; 7];
    for column in &mut columns {
        (*column, rest) = rest.trim_ascii_start().split_once(' ')?;
    }
    (rest == path && columns[3] == LISTENING).then(|| columns[6].to_owned())
}

fn listening_inode(table: &str, address: SocketAddr) -> Option<String> {
    table.lines().skip(1).find_map(|row| {
        let mut fields = row.split_ascii_whitespace();
        let local = socket_address(fields.nth(1)?)?;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?;
        let conflicts = local.port() == address.port()
            && (local.ip().to_canonical() == address.ip().to_canonical()
                || local.ip().is_unspecified()
                || address.ip().is_unspecified());
        (state == LISTEN && conflicts).then(|| inode.to_owned())
    })
}

/// `0100007F:270F`: words in the machine's byte order, then the port.
fn socket_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |i: usize| {
        let digits = ip.get(i * 8..i * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (i, chunk) in octets.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(i)?);
            }
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn holder_of_inode(inode: &str) -> Holder {
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
        let mut links = descriptors.into_iter().flatten().flatten();
        let holds = links.any(|link| {
            fs::read_link(link.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str())
        });
        if holds {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            return Holder::Known {
                pid,
                program: name.trim_end().to_owned(),
            };
        }
    }
    Holder::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn c47_the_holder_is_this_very_process() {
        for bind in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
            let held = TcpListener::bind(bind).unwrap();
            let mut address = held.local_addr().unwrap();
            if address.ip().is_unspecified() {
                address.set_ip(Ipv4Addr::LOCALHOST.into());
            }
            match holder_of(address) {
                Holder::Known { pid, program } => {
                    assert_eq!(pid, std::process::id());
                    assert!(!program.is_empty());
                }
                Holder::Unknown => panic!("{bind}"),
            }
        }
    }

    #[test]
    fn nobody_listens_on_a_port_that_was_given_back() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        drop(held);
        assert_eq!(holder_of(address).to_string(), "an unknown process");
    }

    #[test]
    fn a_unix_socket_has_a_holder_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("with space.sock");
        let _held = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(
            matches!(holder_of_path(&path), Holder::Known { pid, .. } if pid == std::process::id())
        );
        assert_eq!(holder_of_path(&dir.path().join("other")), Holder::Unknown);
    }
}
