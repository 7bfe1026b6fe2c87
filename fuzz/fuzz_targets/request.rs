//! Bytes on the listener's Unix socket, through hyper, the router and the host's own store, in a host that lives as long as
//! the fuzzer: answered or closed, never `internal`, and what is refused has changed nothing.
#![no_main]

use hotshoe::Host;
use hotshoe_dynamic_config::DynamicConfig;
use hotshoe_plugin_api::entry;
use libfuzzer_sys::fuzz_target;
use serde_json::json;
use std::{
    io::{ErrorKind, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::OnceLock,
    time::Duration,
};

/// More than the two seconds that the fuzzer gives an input: whoever waits so long is found by it.
const PATIENCE: Duration = Duration::from_secs(30);

const TOPIC: &str = "cfg";

struct World {
    socket: PathBuf,
    _folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
    host: Host,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let socket = folder.path().join("s");
        let settings = json!({
            "listen": [], "unix": socket, "state": "memory", "touch": {"step": 10},
            "run_dir": folder.path(), "history_generations": 8,
        });
        let host = Host::builder()
            .plugin(TOPIC, entry!(DynamicConfig), settings)
            .build()
            .expect("a host");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(host.start()).expect("it starts");
        World {
            socket,
            _folder: folder,
            _runtime: runtime,
            host,
        }
    })
}

/// What comes back; of a watcher, whose answer has no end, the first piece.
fn exchange(request: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(&world().socket).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("above zero");
    // It may be refused before all of it was sent.
    let _ = stream.write_all(request);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let mut piece = [0; 8_192];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return answer,
            Ok(len) => answer.extend_from_slice(&piece[..len]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return answer,
            // The fuzzer's own clock ticks by a signal.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!(
                "no end of the answer: {error}: {}",
                String::from_utf8_lossy(&answer)
            ),
        }
        if find(&answer, b"content-type: text/event-stream").is_some() {
            return answer;
        }
    }
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
}

/// The newest generation and its value.
fn current() -> (u64, Vec<u8>) {
    let host = &world().host;
    host.current(TOPIC).expect("its topic is open")
}

fuzz_target!(|request: &[u8]| {
    // What one request was refused with; of several on one connection, some may be taken.
    let alone = request
        .windows(5)
        .filter(|window| window == b"HTTP/")
        .count()
        <= 1;
    let before = alone.then(current);
    let answer = exchange(request);
    let status = answer
        .strip_prefix(b"HTTP/1.")
        .and_then(|rest| rest.get(2..5));
    let status = status.map(|digits| String::from_utf8_lossy(digits).into_owned());
    let shown = || String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || status.is_some(), "{}", shown());
    // Nothing here asks a checker or writes to a disk: what is 500 is a panic of ours that was caught.
    assert_ne!(status.as_deref(), Some("500"), "{}", shown());
    let refused = status.is_none_or(|status| status.as_str() >= "400");
    if let Some(before) = before.filter(|_| refused) {
        assert_eq!(current(), before, "refused, and changed");
    }
    // Nothing that waits for its confirmation outlives its input.
    if find(request, b"confirm=").is_some() {
        exchange(b"POST /v1/rollback HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    }
});
