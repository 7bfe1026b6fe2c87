//! The listening sockets: bound in init or not at all, never shared, given back at the end (config-api §11).
//!
//! No other port than the asked one is ever taken in silence, `SO_REUSEPORT` is never set, and only a machine without IPv6
//! is forgiven a missing `[::1]`. Accepts nothing.

use crate::{
    port::{Holder, holder_of, holder_of_path},
    settings::{Plan, bad, shown},
};
use hotshoe_plugin_api::{Error, Result};
use rustix::process::geteuid;
use socket2::{Domain, Socket, Type};
use std::{
    fmt::Display,
    fs::{self, DirBuilder, Permissions},
    io::{self, ErrorKind},
    net::{Ipv6Addr, SocketAddr, TcpListener},
    os::unix::{
        fs::{DirBuilderExt, MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

/// Connections that the kernel holds until they are accepted: a burst of them costs a slow start, not a refusal.
const BACKLOG: i32 = 1_024;
/// Port numbers tried until one is free on every address (config-api §11).
const PORT_TRIES: u32 = 16;

/// Everything that listens.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) tcp: Vec<TcpListener>,
    pub(crate) unix: Option<UnixListener>,
}

/// What was bound: the sockets, and what has to be taken away with them.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) listeners: Listeners,
    /// One URL for each address.
    pub(crate) urls: Vec<String>,
    pub(crate) socket_file: Option<SocketFile>,
}

/// A Unix socket's file, removed when dropped if it is still ours.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|meta| (meta.dev(), meta.ino()) == self.identity);
        if ours {
            // Nobody is left to be told, and a stale socket is replaced at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds every address of the plan; `instance` is who could not, in an error.
///
/// Errors: `config-port-taken`, `config-bad-setting`, `config-cannot-listen`. Nothing stays bound then.
pub(crate) fn bind(plan: &Plan, instance: &str) -> Result<Bound> {
    let tcp = bind_all(plan, instance)?;
    let mut urls = Vec::new();
    for listener in &tcp {
        urls.push(format!("http://{}", listener.local_addr()?));
    }
    let (unix, socket_file) = match &plan.unix {
        None => (None, None),
        Some(path) => {
            let (listener, file) = bind_unix(path, instance)?;
            urls.push(format!("unix:{}", path.display()));
            (Some(listener), Some(file))
        }
    };
    if urls.is_empty() {
        let listen = format!("{:?}", plan.listen);
        return Err(bad(
            "listen",
            listen,
            "this machine has no IPv6",
            "an IPv4 address",
        ));
    }
    Ok(Bound {
        listeners: Listeners { tcp, unix },
        urls,
        socket_file,
    })
}

/// Addresses with port 0 share one number: the first of them, IPv4 before IPv6, chooses it.
fn bind_all(plan: &Plan, instance: &str) -> Result<Vec<TcpListener>> {
    let mut tries = 1;
    loop {
        let mut chosen = 0;
        let mut bound = Vec::new();
        let mut clash = false;
        for wanted in &plan.listen {
            let mut address = *wanted;
            let follows = address.port() == 0 && chosen != 0;
            if follows {
                address.set_port(chosen);
            }
            match bind_one(address) {
                Ok(listener) => {
                    if wanted.port() == 0 {
                        chosen = listener.local_addr()?.port();
                    }
                    bound.push(listener);
                }
                Err(error) if lacks_ipv6(address, &error) => {
                    tracing::info!("{wanted} is skipped: this machine has no IPv6");
                }
                Err(error) if follows && error.kind() == ErrorKind::AddrInUse => clash = true,
                Err(error) => return Err(refusal(instance, address, &error)),
            }
        }
        if !clash {
            return Ok(bound);
        }
        if tries == PORT_TRIES {
            let message = format!("no port is free on all of {:?}", plan.listen);
            return Err(Error::new(message)
                .with_code("config-port-taken")
                .with_fix("name a port"));
        }
        tries += 1;
    }
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // The port of a host that just ended is free at once, whatever its connections are still waiting for.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // What is listed is what is reachable: [::] does not bring 0.0.0.0 with it.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn lacks_ipv6(address: SocketAddr, error: &io::Error) -> bool {
    let no_stack = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    address.ip() == Ipv6Addr::LOCALHOST
        && (error.raw_os_error() == Some(no_stack) || error.kind() == ErrorKind::AddrNotAvailable)
}

fn refusal(instance: &str, address: SocketAddr, error: &io::Error) -> Error {
    if error.kind() == ErrorKind::AddrInUse {
        return taken(instance, address, &holder_of(address));
    }
    let port = address.port();
    let fix = match (error.kind(), port) {
        (ErrorKind::PermissionDenied, 0) => {
            "where this plugin has a `sandbox`, name a port, and list it in its net.bind".to_owned()
        }
        (ErrorKind::PermissionDenied, 1..1024) => {
            "name a port above 1023, and where this plugin has a `sandbox`, list it in its net.bind"
                .to_owned()
        }
        (ErrorKind::PermissionDenied, _) => format!(
            "where this plugin has a `sandbox`, let it: sandbox = {{ net = {{ bind = [{port}] }} }}"
        ),
        _ => "set listen to an address of this machine".to_owned(),
    };
    Error::new(format!("{instance} cannot listen on {address}: {error}"))
        .with_code("config-cannot-listen")
        .with_fix(fix)
}

fn taken(instance: &str, place: impl Display, holder: &Holder) -> Error {
    Error::new(format!(
        "{instance} cannot listen on {place}: in use by {holder}"
    ))
    .with_code("config-port-taken")
    .with_fix("stop it, or set listen to another port, or to port 0")
}

fn bind_unix(path: &Path, instance: &str) -> Result<(UnixListener, SocketFile)> {
    let refuse = |why: String| {
        bad(
            "unix",
            shown(path),
            why,
            "a path in a folder that only you can write to",
        )
    };
    let parent = path.parent().unwrap_or(Path::new("/"));
    private_folder(parent).map_err(|why| refuse(format!("{}: {why}", parent.display())))?;
    remove_stale(path, instance, refuse)?;
    let listener = UnixListener::bind(path).map_err(|error| refuse(error.to_string()))?;
    let meta = fs::symlink_metadata(path)?;
    let file = SocketFile {
        path: path.to_owned(),
        identity: (meta.dev(), meta.ino()),
    };
    // Whoever connects before this line is told by his uid.
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok((listener, file))
}

/// A socket that nobody listens on goes; anything else stays.
fn remove_stale(path: &Path, instance: &str, refuse: impl Fn(String) -> Error) -> Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let Ok(meta) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !meta.file_type().is_socket() {
        return Err(refuse(
            "something else is there, and is left alone".to_owned(),
        ));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| refuse(error.to_string()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Ok(_) => Err(taken(instance, path.display(), &holder_of_path(path))
            .with_fix("stop it, or set unix to another path")),
        Err(error) => Err(refuse(error.to_string())),
    }
}

/// Makes `folder`, 0700, or finds it ours and writable by nobody else. Errors: why it is neither.
pub(crate) fn private_folder(folder: &Path) -> Result<(), String> {
    if !folder.exists() {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(folder).map_err(|error| error.to_string())?;
    }
    let meta = fs::metadata(folder).map_err(|error| error.to_string())?;
    if !meta.is_dir() {
        return Err("it is no folder".to_owned());
    }
    if meta.uid() != geteuid().as_raw() {
        return Err(format!("it belongs to user {}", meta.uid()));
    }
    let mode = meta.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(format!("others may write to it (mode {mode:04o})"));
    }
    Ok(())
}

/// Raises the soft limit of descriptors to the hard one where connections and watchers would not fit; answers how many
/// watchers fit then.
pub(crate) fn raise_descriptors(connections: usize, watchers: usize) -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let wanted = (connections + watchers + OTHER_DESCRIPTORS) as u64;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|soft| soft >= wanted) {
        return watchers;
    }
    let soft = limit.current;
    limit.current = limit.maximum;
    let now = match setrlimit(Resource::Nofile, limit) {
        Ok(()) => limit.maximum,
        Err(_) => soft,
    };
    watchers_that_fit(now, connections, watchers)
}

/// Descriptors that are no connections.
const OTHER_DESCRIPTORS: usize = 64;

fn watchers_that_fit(descriptors: Option<u64>, connections: usize, watchers: usize) -> usize {
    let Some(descriptors) = descriptors else {
        return watchers;
    };
    let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
    let left = descriptors.saturating_sub(connections + OTHER_DESCRIPTORS);
    watchers.min(left)
}

/// The file that tells where the instance listens, removed when dropped.
#[derive(Debug)]
pub(crate) struct AddressFile(PathBuf);

impl AddressFile {
    /// Writes one URL a line; the file appears whole or not at all.
    ///
    /// Errors: `config-bad-setting`.
    pub(crate) fn write(folder: &Path, instance: &str, urls: &[String]) -> Result<Self> {
        let refuse = |why: String| {
            bad(
                "run_dir",
                shown(folder),
                why,
                "a folder that only you can write to, and where this plugin has a `sandbox`, list it in its write",
            )
        };
        private_folder(folder).map_err(refuse)?;
        let path = folder.join(format!("{instance}.addr"));
        let mut text = urls.join("\n");
        text.push('\n');
        write_by_rename(folder, &path, &text).map_err(|error| refuse(error.to_string()))?;
        Ok(Self(path))
    }
}

impl Drop for AddressFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(file = %self.0.display(), "the address file stays: {error}");
        }
    }
}

fn write_by_rename(folder: &Path, path: &Path, text: &str) -> io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let temporary = path.with_extension("addr.tmp");
    // A name left by a host that was killed meanwhile; never written through.
    let _ = fs::remove_file(&temporary);
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use serde_json::{Value, json};

    fn plan(settings: Value) -> Plan {
        Plan::check(serde_json::from_value::<Settings>(settings).unwrap()).unwrap()
    }

    #[test]
    fn c48_port_0_is_one_number_on_both_addresses() {
        let bound = bind(&plan(json!({"listen": ["[::1]:0", "127.0.0.1:0"]})), "d").unwrap();
        let addresses: Vec<_> = bound
            .listeners
            .tcp
            .iter()
            .map(|l| l.local_addr().unwrap())
            .collect();
        assert!(addresses[0].is_ipv4() && addresses[1].is_ipv6());
        assert_eq!(addresses[0].port(), addresses[1].port());
        let port = addresses[0].port();
        assert_eq!(
            bound.urls,
            [
                format!("http://127.0.0.1:{port}"),
                format!("http://[::1]:{port}")
            ]
        );

        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("run");
        let file = AddressFile::write(&folder, "d", &bound.urls).unwrap();
        let text = fs::read_to_string(folder.join("d.addr")).unwrap();
        assert_eq!(
            text,
            format!("http://127.0.0.1:{port}\nhttp://[::1]:{port}\n")
        );
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        drop(file);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }

    #[test]
    fn c47_a_taken_port_names_its_holder_on_either_address() {
        for held in ["127.0.0.1:0", "[::1]:0"] {
            let held = TcpListener::bind(held).unwrap();
            let port = held.local_addr().unwrap().port();
            let both = json!({"listen": [format!("127.0.0.1:{port}"), format!("[::1]:{port}")]});
            let error = bind(&plan(both.clone()), "dynamic-config").unwrap_err();
            assert_eq!(error.code(), "config-port-taken");
            let address = held.local_addr().unwrap();
            let expected = format!(
                "dynamic-config cannot listen on {address}: in use by pid {} (",
                std::process::id()
            );
            assert!(error.to_string().starts_with(&expected), "{error}");
            drop(held);
            // The other address was given back too, and the port is free at once.
            drop(bind(&plan(both), "dynamic-config").unwrap());
        }
    }

    #[test]
    fn watchers_are_as_many_as_there_are_descriptors_for() {
        assert_eq!(watchers_that_fit(None, 1_024, 10_000), 10_000);
        assert_eq!(watchers_that_fit(Some(20_000), 1_024, 10_000), 10_000);
        assert_eq!(watchers_that_fit(Some(4_096), 1_024, 10_000), 3_008);
        assert_eq!(watchers_that_fit(Some(256), 1_024, 10_000), 0);
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/config.sock");
        let plan = plan(json!({"listen": [], "unix": path}));
        let first = bind(&plan, "d").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(
            fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777,
            0o700
        );
        let error = bind(&plan, "d").unwrap_err();
        assert_eq!(error.code(), "config-port-taken");
        let expected = format!("in use by pid {} (", std::process::id());
        assert!(error.to_string().contains(&expected), "{error}");

        // Killed: the socket is closed and its file stays.
        let Bound {
            listeners,
            socket_file,
            ..
        } = first;
        drop(listeners);
        std::mem::forget(socket_file);
        let second = bind(&plan, "d").unwrap();
        drop(second);
        assert!(!path.exists());

        fs::write(&path, "data").unwrap();
        let error = bind(&plan, "d").unwrap_err();
        assert_eq!(error.code(), "config-bad-setting");
        assert_eq!(fs::read_to_string(&path).unwrap(), "data");
    }

    #[test]
    fn a_folder_that_others_write_to_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o770)).unwrap();
        let why = private_folder(dir.path()).unwrap_err();
        assert_eq!(why, "others may write to it (mode 0770)");
        let urls = ["http://127.0.0.1:1".to_owned()];
        let error = AddressFile::write(dir.path(), "d", &urls).unwrap_err();
        assert_eq!(error.code(), "config-bad-setting");
    }
}
