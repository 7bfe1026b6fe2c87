//! Where the configuration API of a running host listens: what its address file says, Unix socket first.
//!
//! It trusts no address file of a host that is gone, and guesses no port.

use super::super::{
    super::dirs::{ADMIN_SOCKET, run_dir_of_service, run_parent},
    hosts,
};
use hotshoe::{Blame, ExitCode, Problem};
use std::{
    fmt, fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

/// How an address file's name ends.
const ADDRESS_FILE: &str = "addr";
/// Asked only where no admin socket tells whether a host lives: loopback answers in microseconds.
const LIFE_SIGN_PATIENCE: Duration = Duration::from_millis(500);

/// One line of an address file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// Where to ask: every address of one instance of one host, in the order in which they are tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) host: String,
    pub(super) plugin: String,
    pub(super) addresses: Vec<Address>,
}

impl Address {
    /// `unix:<path>` or `http://<ip>:<port>`.
    fn parse(line: &str) -> Option<Self> {
        if let Some(path) = line.strip_prefix("unix:") {
            return Some(Self::Unix(PathBuf::from(path)));
        }
        let address: SocketAddr = line.strip_prefix("http://")?.parse().ok()?;
        Some(Self::Tcp(within_reach(address)))
    }

    /// What the `Host` header says: the listener allows this name whatever address it is bound to (config-api §10).
    pub(super) fn host_header(&self) -> String {
        match self {
            Self::Unix(_) => "localhost".to_owned(),
            Self::Tcp(address) => format!("localhost:{}", address.port()),
        }
    }

    fn answers(&self) -> bool {
        match self {
            Self::Unix(path) => UnixStream::connect(path).is_ok(),
            Self::Tcp(address) => TcpStream::connect_timeout(address, LIFE_SIGN_PATIENCE).is_ok(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "http://{address}"),
        }
    }
}

/// A listener on every interface is met on the loopback one.
fn within_reach(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The addresses in a file, Unix sockets first; a line that is none is passed over.
fn addresses(text: &str) -> Vec<Address> {
    let mut found: Vec<Address> = text.lines().filter_map(Address::parse).collect();
    found.sort_by_key(|address| !matches!(address, Address::Unix(_)));
    found
}

/// Every instance with an address file in that run folder, by name.
fn listening(folder: &Path) -> Vec<(String, Vec<Address>)> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<(String, Vec<Address>)> = files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|end| end == ADDRESS_FILE))
        .filter_map(|path| {
            let name = path.file_stem()?.to_string_lossy().into_owned();
            Some((name, addresses(&fs::read_to_string(&path).ok()?)))
        })
        .filter(|(_, addresses)| !addresses.is_empty())
        .collect();
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found
}

/// Whether the host of that folder runs: its admin socket tells, or, where it has none, one of its address files.
fn is_running(folder: &Path) -> bool {
    let admin = folder.join(ADMIN_SOCKET);
    match admin.exists() {
        true => UnixStream::connect(&admin).is_ok(),
        false => listening(folder)
            .iter()
            .flat_map(|(_, addresses)| addresses)
            .any(Address::answers),
    }
}

/// The place that is meant.
///
/// # Errors
/// `no-host`, `several-hosts`, `no-such-host`; `no-listener`, `several-plugins`, `no-such-plugin`.
pub(super) fn find(host: Option<&str>, plugin: Option<&str>) -> Result<Place, Problem> {
    find_below(&run_parent(), run_dir_of_service(), host, plugin)
}

fn find_below(
    parent: &Path,
    service: Option<PathBuf>,
    host: Option<&str>,
    plugin: Option<&str>,
) -> Result<Place, Problem> {
    let running = hosts::running(parent, service, is_running);
    let host =
        hosts::choose(&running, host, parent, ExitCode::Running).map_err(
            |problem| match problem.code.as_str() {
                "no-host" => problem.fix("start one with `hotshoe run`; for one that a service manager started, set RUNTIME_DIRECTORY to its folder"),
                _ => problem,
            },
        )?;
    let mut plugins = listening(&host.folder);
    let names: Vec<&str> = plugins.iter().map(|(name, _)| name.as_str()).collect();
    let found = format!("listening: {}", names.join(", "));
    let chosen = match (plugin, names.as_slice()) {
        (Some(name), names) => names
            .iter()
            .position(|known| *known == name)
            .ok_or_else(|| {
                let headline = format!("host `{}` has no plugin `{name}` that listens", host.name);
                Problem::usage("no-such-plugin", headline).found(found)
            })?,
        (None, []) => {
            let headline = format!(
                "host `{}` has no plugin that listens for configuration",
                host.name
            );
            let problem =
                Problem::error(ExitCode::Running, Blame::Operator, "no-listener", headline);
            return Err(problem
                .wanted(format!("an address file {}/*.addr", host.folder.display()))
                .fix("add a [[plugin]] with library = \"hotshoe_dynamic_config\" and restart"));
        }
        (None, [_]) => 0,
        (None, _) => {
            let headline = format!("several plugins of host `{}` listen", host.name);
            let problem = Problem::usage("several-plugins", headline).found(found);
            return Err(problem.fix("name one with --plugin NAME"));
        }
    };
    let (plugin, addresses) = plugins.swap_remove(chosen);
    Ok(Place {
        host: host.name,
        plugin,
        addresses,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{net::TcpListener, os::unix::net::UnixListener};

    #[test]
    fn the_unix_socket_comes_first_and_what_is_no_address_is_passed_over() {
        let text = "http://127.0.0.1:9999\nhttp://[::]:9999\nhttps://x\n\nunix:/run/a b.sock\n";
        let found = addresses(text);
        let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "unix:/run/a b.sock",
                "http://127.0.0.1:9999",
                "http://[::1]:9999"
            ]
        );
        assert_eq!(found[0].host_header(), "localhost");
        assert_eq!(found[2].host_header(), "localhost:9999");
    }

    /// Run folders as hosts leave them; the listeners live as long as they are held.
    struct Folders {
        parent: tempfile::TempDir,
        held: Vec<UnixListener>,
    }

    impl Folders {
        fn new() -> Self {
            let parent = tempfile::tempdir().unwrap();
            Self {
                parent,
                held: Vec::new(),
            }
        }

        fn host(&mut self, name: &str, files: &[(&str, &str)]) -> PathBuf {
            let folder = self.parent.path().join(name);
            fs::create_dir(&folder).unwrap();
            for (file, text) in files {
                fs::write(folder.join(file), text).unwrap();
            }
            folder
        }

        fn running(&mut self, name: &str, files: &[(&str, &str)]) {
            let folder = self.host(name, files);
            let admin = UnixListener::bind(folder.join(ADMIN_SOCKET)).unwrap();
            self.held.push(admin);
        }

        fn find(&self, host: Option<&str>, plugin: Option<&str>) -> Result<Place, String> {
            find_below(self.parent.path(), None, host, plugin).map_err(|problem| problem.code)
        }
    }

    #[test]
    fn the_one_plugin_of_the_one_host_is_meant() {
        let mut folders = Folders::new();
        assert_eq!(folders.find(None, None).unwrap_err(), "no-host");
        let file = [("cfg.addr", "http://127.0.0.1:7\n")];
        let stale = folders.host("killed", &file);
        drop(UnixListener::bind(stale.join(ADMIN_SOCKET)).unwrap());
        assert_eq!(folders.find(None, None).unwrap_err(), "no-host");
        folders.running("a", &file);
        let place = folders.find(None, None).unwrap();
        assert_eq!((place.host.as_str(), place.plugin.as_str()), ("a", "cfg"));
        folders.running("b", &[]);
        assert_eq!(folders.find(None, None).unwrap_err(), "several-hosts");
        assert_eq!(folders.find(Some("b"), None).unwrap_err(), "no-listener");
        assert_eq!(
            folders.find(Some("killed"), None).unwrap_err(),
            "no-such-host"
        );
        assert!(folders.find(Some("a"), Some("cfg")).is_ok());
        assert_eq!(
            folders.find(Some("a"), Some("x")).unwrap_err(),
            "no-such-plugin"
        );
    }

    #[test]
    fn two_plugins_must_be_told_apart() {
        let mut folders = Folders::new();
        let files = [
            ("two.addr", "http://127.0.0.1:7\n"),
            ("one.addr", "unix:/x\n"),
            ("torn.addr", ""),
            ("lock", "http://127.0.0.1:8\n"),
        ];
        folders.running("a", &files);
        let problem = find_below(folders.parent.path(), None, None, None).unwrap_err();
        assert_eq!(problem.code, "several-plugins");
        assert_eq!(problem.found.as_deref(), Some("listening: one, two"));
        assert_eq!(folders.find(None, Some("two")).unwrap().plugin, "two");
    }

    /// With `admin = "off"` there is no admin socket to ask.
    #[test]
    fn without_an_admin_socket_the_listener_itself_tells() {
        let mut folders = Folders::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let line = format!("http://{}\n", listener.local_addr().unwrap());
        folders.host("quiet", &[("cfg.addr", &line)]);
        assert_eq!(folders.find(None, None).unwrap().host, "quiet");
        drop(listener);
        assert_eq!(folders.find(None, None).unwrap_err(), "no-host");
    }
}
