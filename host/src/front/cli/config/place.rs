//! Where the configuration API of a running host listens: what the host itself says on its admin socket, or, where it has
//! none, what its address files say. Unix socket first.
//!
//! It trusts no address of a host or a plugin that is gone, whoever answers there, and guesses no port.

use super::super::{
    super::dirs::{ADDRESS_FILE, ADMIN_SOCKET, is_locked, run_dir_of_service, run_parent},
    hosts::{self, Running},
    status,
};
use hotshoe::{Blame, ExitCode, Problem};
use serde_json::Value;
use std::{
    fmt, fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

/// An instance that listens, by name, and where.
type Listening = (String, Vec<Address>);

/// One line of an address file, or one endpoint in a status.
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

/// The addresses among these lines, Unix sockets first; a line that is none is passed over.
fn addresses<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<Address> {
    let mut found: Vec<Address> = lines.filter_map(Address::parse).collect();
    found.sort_by_key(|address| !matches!(address, Address::Unix(_)));
    found
}

/// Every instance with an address file in that run folder, by name.
fn in_files(folder: &Path) -> Vec<Listening> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let found = files.filter_map(|file| {
        let name = file.file_name().to_string_lossy().into_owned();
        let text = fs::read_to_string(file.path()).ok()?;
        Some((
            name.strip_suffix(ADDRESS_FILE)?.to_owned(),
            addresses(text.lines()),
        ))
    });
    sorted(found.collect())
}

/// Every instance of a status that listens and owns a topic, by name: another one's endpoint speaks no configuration API.
fn in_status(status: &Value) -> Vec<Listening> {
    let instances = status["instances"].as_array().into_iter().flatten();
    let found = instances.filter_map(|instance| {
        let name = instance["name"].as_str()?;
        status["topics"].get(name)?;
        let endpoints = instance["endpoints"].as_array()?.iter();
        let lines = endpoints.filter_map(Value::as_str);
        Some((name.to_owned(), addresses(lines)))
    });
    sorted(found.collect())
}

fn sorted(mut found: Vec<Listening>) -> Vec<Listening> {
    found.retain(|(_, addresses)| !addresses.is_empty());
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found
}

/// Whether somebody listens on the admin socket of that folder.
fn has_admin(folder: &Path) -> bool {
    UnixStream::connect(folder.join(ADMIN_SOCKET)).is_ok()
}

/// Whether the host of that folder runs. Who answers on a port of its address files says nothing: it may be anybody by now.
fn is_running(folder: &Path) -> bool {
    has_admin(folder) || is_locked(folder)
}

/// The place that is meant.
///
/// # Errors
/// `no-host`, `several-hosts`, `no-such-host`; `no-listener`, `several-plugins`, `no-such-plugin`; `no-answer`.
pub(super) async fn find(host: Option<&str>, plugin: Option<&str>) -> Result<Place, Problem> {
    let host = running(&run_parent(), run_dir_of_service(), host)?;
    let plugins = match has_admin(&host.folder) {
        true => in_status(&status::ask(&host.folder.join(ADMIN_SOCKET)).await?),
        false => in_files(&host.folder),
    };
    choose(host, plugins, plugin)
}

/// The host that is meant.
fn running(
    parent: &Path,
    service: Option<PathBuf>,
    host: Option<&str>,
) -> Result<Running, Problem> {
    let running = hosts::running(parent, service, is_running);
    hosts::choose(&running, host, parent, ExitCode::Running).map_err(
            |problem| match problem.code.as_str() {
                "no-host" => problem.fix("start one with `hotshoe run`; for one that a service manager started, set RUNTIME_DIRECTORY to its folder"),
                _ => problem,
            },
        )
}

/// Of those that listen, the one that is named, or the only one.
fn choose(
    host: Running,
    mut plugins: Vec<Listening>,
    plugin: Option<&str>,
) -> Result<Place, Problem> {
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
                .wanted("an instance of hotshoe_dynamic_config that is ready")
                .found("none")
                .fix(match has_admin(&host.folder) {
                    true => "wait until it is ready (`hotshoe status`), or add a [[plugin]] with library = \"hotshoe_dynamic_config\" and restart",
                    false => "add a [[plugin]] with library = \"hotshoe_dynamic_config\" and restart; one with a run_dir of its own is found only with [host] admin = \"unix\"",
                }));
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
    use rustix::fs::{FlockOperation, flock};
    use serde_json::json;
    use std::{fs::File, net::TcpListener, os::unix::net::UnixListener};

    #[test]
    fn the_unix_socket_comes_first_and_what_is_no_address_is_passed_over() {
        let text = "http://127.0.0.1:9999\nhttp://[::]:9999\nhttps://x\n\nunix:/run/a b.sock\n";
        let found = addresses(text.lines());
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

    /// Run folders as hosts leave them. Whoever holds a folder's lock is a host that runs, without an admin socket.
    struct Folders {
        parent: tempfile::TempDir,
        held: Vec<File>,
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
            fs::write(folder.join("lock"), "").unwrap();
            for (file, text) in files {
                fs::write(folder.join(file), text).unwrap();
            }
            folder
        }

        fn running(&mut self, name: &str, files: &[(&str, &str)]) {
            let folder = self.host(name, files);
            let lock = File::open(folder.join("lock")).unwrap();
            flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
            self.held.push(lock);
        }

        fn find(&self, host: Option<&str>, plugin: Option<&str>) -> Result<Place, Problem> {
            let host = running(self.parent.path(), None, host)?;
            let plugins = in_files(&host.folder);
            choose(host, plugins, plugin)
        }

        fn refused(&self, host: Option<&str>, plugin: Option<&str>) -> String {
            self.find(host, plugin).unwrap_err().code
        }
    }

    #[test]
    fn the_one_plugin_of_the_one_host_is_meant() {
        let mut folders = Folders::new();
        assert_eq!(folders.refused(None, None), "no-host");
        // Somebody answers there, and it is not the host that was killed.
        let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
        let line = format!("http://{}\n", stranger.local_addr().unwrap());
        let file = [("cfg.addr", line.as_str())];
        let stale = folders.host("killed", &file);
        assert_eq!(folders.refused(None, None), "no-host");
        drop(UnixListener::bind(stale.join(ADMIN_SOCKET)).unwrap());
        assert_eq!(folders.refused(None, None), "no-host");
        folders.running("a", &file);
        let place = folders.find(None, None).unwrap();
        assert_eq!((place.host.as_str(), place.plugin.as_str()), ("a", "cfg"));
        folders.running("b", &[]);
        assert_eq!(folders.refused(None, None), "several-hosts");
        assert_eq!(folders.refused(Some("b"), None), "no-listener");
        assert_eq!(folders.refused(Some("killed"), None), "no-such-host");
        assert!(folders.find(Some("a"), Some("cfg")).is_ok());
        assert_eq!(folders.refused(Some("a"), Some("x")), "no-such-plugin");
    }

    #[test]
    fn two_plugins_must_be_told_apart() {
        let mut folders = Folders::new();
        let files = [
            ("two.addr", "http://127.0.0.1:7\n"),
            ("one.addr", "unix:/x\n"),
            ("torn.addr", ""),
            ("two.addr.tmp", "http://127.0.0.1:8\n"),
        ];
        folders.running("a", &files);
        let problem = folders.find(None, None).unwrap_err();
        assert_eq!(problem.code, "several-plugins");
        assert_eq!(problem.found.as_deref(), Some("listening: one, two"));
        assert_eq!(folders.find(None, Some("two")).unwrap().plugin, "two");
    }

    /// An endpoint alone may be anything; a topic alone is written from inside, or its listener is gone.
    #[test]
    fn of_a_status_only_who_listens_and_owns_a_topic_is_asked() {
        let status = json!({
            "instances": [
                {"name": "two", "endpoints": ["http://127.0.0.1:7", "unix:/x"]},
                {"name": "one", "endpoints": ["http://127.0.0.1:8"]},
                {"name": "action", "endpoints": ["http://127.0.0.1:9"]},
                {"name": "inner", "endpoints": []},
            ],
            "topics": {"one": 1, "two": 5, "inner": 3},
        });
        let found = in_status(&status);
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["one", "two"]);
        assert_eq!(found[1].1[0], Address::Unix(PathBuf::from("/x")));
        assert_eq!(in_status(&json!({"state": "loading"})), []);
    }
}
