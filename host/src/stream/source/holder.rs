//! Who listens on a port that we wanted: an error that names pid and program saves its reader a search.
//!
//! Best effort, from `/proc` alone: where that is absent or shows nothing to this user, the answer is `None`, never an
//! error of its own.

use std::{
    fmt, fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

/// The kernel's number for a listening socket, `TCP_LISTEN` in `include/net/tcp_states.h`.
const LISTENING: &str = "0A";

/// A process that holds a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    pid: u32,
    program: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A program chooses its own name, and may choose control characters.
        write!(f, "pid {} ({})", self.pid, self.program.escape_debug())
    }
}

/// The process whose listening socket keeps us from `wanted`.
pub(super) fn holder_of(wanted: SocketAddr) -> Option<Holder> {
    let links: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, wanted))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if links.is_empty() {
        return None;
    }
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        if !holds_one_of(&entry.path(), &links) {
            return None;
        }
        let program = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        Some(Holder {
            pid,
            program: program.trim_end().to_owned(),
        })
    })
}

fn holds_one_of(process: &Path, links: &[String]) -> bool {
    // Another user's process does not show its descriptors.
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    descriptors.flatten().any(|descriptor| {
        fs::read_link(descriptor.path())
            .is_ok_and(|target| links.iter().any(|link| target == Path::new(link)))
    })
}

/// Inodes of the sockets in a table of `/proc/net` that listen where `wanted` wants to.
fn listening_inodes(table: &str, wanted: SocketAddr) -> Vec<u64> {
    let rows = table.lines().skip(1);
    rows.filter_map(|row| {
        let columns: Vec<&str> = row.split_whitespace().collect();
        let (local, state, inode) = (columns.get(1)?, columns.get(3)?, columns.get(9)?);
        let taken = *state == LISTENING && excludes(parse_address(local)?, wanted);
        taken.then(|| inode.parse().ok()).flatten()
    })
    .collect()
}

/// Whether a listener at `held` keeps another from `wanted`.
fn excludes(held: SocketAddr, wanted: SocketAddr) -> bool {
    let (held_ip, wanted_ip) = (held.ip().to_canonical(), wanted.ip().to_canonical());
    let same = held_ip == wanted_ip || held_ip.is_unspecified() || wanted_ip.is_unspecified();
    held.port() == wanted.port() && same
}

/// `0100007F:270E`: each 32-bit word of the address as this machine's number, then the port.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Vec<u8> = (0..ip.len() / 8)
        .filter_map(|word| u32::from_str_radix(ip.get(word * 8..word * 8 + 8)?, 16).ok())
        .flat_map(u32::to_ne_bytes)
        .collect();
    let ip = match words.len() {
        4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(words).ok()?)),
        16 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(words).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    // As the kernel prints it on a little-endian machine; the numbers are words, so the text depends on that.
    #[cfg(target_endian = "little")]
    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:270E 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 101 1 0 100 0 0 10 0
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 102 1 0 100 0 0 10 0
   2: 0100007F:270F 0100007F:8123 01 00000000:00000000 00:00000000 00000000  1000        0 103 1 0 20 4 30 10 -1
   3: 00000000000000000000000001000000:270E 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 104 1 0 100
   4: 0000000000000000FFFF00000200007F:270E 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 105 1 0 100
   5: garbage
";

    #[cfg(target_endian = "little")]
    #[test]
    fn the_table_names_the_listeners_in_the_way() {
        let check = |wanted: &str, expected: &[u64]| {
            let wanted = wanted.parse().expect("an address");
            assert_eq!(listening_inodes(TABLE, wanted), expected, "{wanted}");
        };
        check("127.0.0.1:9998", &[101]);
        check("[::1]:9998", &[104]);
        check("127.0.0.2:9998", &[105]);
        check("0.0.0.0:9998", &[101, 104, 105]);
        check("192.0.2.1:22", &[102]);
        // A connection in the table is not a listener.
        check("127.0.0.1:9999", &[]);
        check("127.0.0.1:1", &[]);
    }

    #[test]
    fn our_own_listener_is_found_by_pid_and_name() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let holder = holder_of(listener.local_addr().expect("bound")).expect("/proc shows our own");
        assert_eq!(holder.pid, std::process::id());
        assert!(!holder.program.is_empty());
        let odd = Holder {
            pid: 7,
            program: "a\u{1b}[2J".into(),
        };
        assert_eq!(odd.to_string(), "pid 7 (a\\u{1b}[2J)");
    }
}
