//! Load and strangers: a history that outgrows its bytes (C33), guessed tokens (C50), slow clients (C51), and the limits
//! of peers that are not this machine.

use super::*;
use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, TcpStream, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// C33: 50 MiB of changes into 8 MiB of history.
#[test]
fn c33_a_history_of_many_bytes_is_cut_and_says_so() {
    let schema = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let setup = with_schema_and(&schema, "{}", "history_bytes = \"8MiB\"");
    let served = Served::start(&setup);
    let changes = 64;
    for i in 1..=changes {
        let body = format!("{{\"a\":\"{}{i:02}\"}}", "x".repeat(800 << 10));
        assert_eq!(served.put(&body).status, 200);
    }
    let newest = changes + 1;
    problem(&served.get("/v1/history/1"), 410, "generation-gone");
    problem(&served.get("/v1/history/2"), 410, "generation-gone");
    problem(
        &served.get(&format!("/v1/diff?from=2&to={newest}")),
        410,
        "generation-gone",
    );
    for generation in [newest - 1, newest] {
        let entry = served.get(&format!("/v1/history/{generation}")).json();
        assert_eq!(entry["generation"], generation);
    }
    let status = served.get("/v1/status").json();
    let oldest = status["history"]["oldest"].as_u64().unwrap();
    assert!(oldest > 2 && oldest < newest, "{status}");
    assert_eq!(served.get(&format!("/v1/history/{oldest}")).status, 200);
    let older = oldest - 1;
    problem(
        &served.get(&format!("/v1/history/{older}")),
        410,
        "generation-gone",
    );
}

const TOKEN: &str = "0123456789abcdefghijklmnopqrstuv";

fn write_token(path: &Path, token: &str) {
    let next = path.with_extension("next");
    fs::write(&next, format!("{token}\n")).unwrap();
    fs::set_permissions(&next, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&next, path).unwrap();
}

fn with_token(setup: &Setup, entry: Entry) -> Entry {
    let path = setup.scratch("token");
    write_token(&path, TOKEN);
    entry.set(&format!("token_file = {:?}", path.display().to_string()))
}

/// C50, as far as an answer can tell: however much of a token is right, what comes back is the same to the byte. That the
/// time is the same too is the digest's and the constant-time comparison's doing; `tests/load` measures it.
#[test]
fn c50_an_answer_does_not_tell_how_much_of_a_token_is_right() {
    let setup = Setup::new();
    let entry = with_token(&setup, standard());
    setup.entries("", &[entry]);
    let served = Served::start(&setup);
    let mut answers = BTreeSet::new();
    for right in 0..TOKEN.len() {
        for len in [TOKEN.len(), TOKEN.len() + 1, right] {
            let guess: String = TOKEN
                .chars()
                .take(right)
                .chain("~".repeat(len - right).chars())
                .collect();
            if guess.is_empty() {
                continue;
            }
            let bearer = format!("Bearer {guess}");
            let response = served.ask("GET", "/v1/config", &[("Authorization", &bearer)], NO_BODY);
            problem(&response, 401, "token-invalid");
            let headers = response.headers.iter().filter(|(name, _)| name != "date");
            answers.insert((headers.cloned().collect::<Vec<_>>(), response.body.clone()));
        }
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    let bearer = format!("Bearer {TOKEN}");
    let right = served.ask("GET", "/v1/config", &[("Authorization", &bearer)], NO_BODY);
    assert_eq!(right.status, 200);
}

/// A token that was replaced is in force, and the old one is not, without a restart.
#[test]
fn c49_a_changed_token_file_is_read_again() {
    let setup = Setup::new();
    let entry = with_token(&setup, standard());
    setup.entries("", &[entry]);
    let served = Served::start(&setup);
    let ask = |token: &str| {
        let bearer = format!("Bearer {token}");
        served
            .ask("GET", "/v1/config", &[("Authorization", &bearer)], NO_BODY)
            .status
    };
    let new = TOKEN.replace('0', "9");
    assert_eq!((ask(TOKEN), ask(&new)), (200, 401));
    write_token(&setup.scratch("token"), &new);
    let begun = Instant::now();
    while ask(&new) != 200 {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "ten times the second"
        );
    }
    assert_eq!(ask(TOKEN), 401);
    // One that is no token leaves the ones that are in force.
    write_token(&setup.scratch("token"), "short");
    served.host.wait_log("the error of the bad file", |line| {
        line.message().contains("the old tokens stay in force")
    });
    assert_eq!(ask(&new), 200);
}

/// One byte of a head each second, on every connection, until all of them are closed; how long that took.
fn drip(slow: Vec<TcpStream>) -> Duration {
    let begun = Instant::now();
    let head = b"GET /v1/config HTTP/1.1\r\nHost: localhost\r\n";
    let mut open = slow;
    let (_keeps_it_open, never) = mpsc::channel::<()>();
    for byte in head.chunks(1) {
        open.retain_mut(|stream| {
            stream.set_nonblocking(true).unwrap();
            let closed = matches!(stream.read(&mut [0]), Ok(0))
                || stream
                    .read(&mut [0])
                    .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset);
            !closed && stream.write_all(byte).is_ok()
        });
        if open.is_empty() {
            break;
        }
        assert!(never.recv_timeout(Duration::from_secs(1)).is_err());
    }
    assert!(open.is_empty(), "{} are still open", open.len());
    begun.elapsed()
}

/// C51: a thousand slow clients fit; beside fewer places than there are of them, good clients are served all the same.
#[track_caller]
fn slow_clients(count: usize, max_connections: usize) {
    let setup = alone(standard().set(&format!("max_connections = {max_connections}")));
    let served = Served::start(&setup);
    let slow: Vec<TcpStream> = (0..count)
        .map(|_| http::connect(&served.address()))
        .collect();
    thread::scope(|scope| {
        let dripping = scope.spawn(|| drip(slow));
        let mut took = Vec::new();
        while !dripping.is_finished() {
            let begun = Instant::now();
            assert_eq!(served.get("/v1/config").status, 200);
            took.push(begun.elapsed());
        }
        let closed = dripping.join().unwrap();
        assert!(closed < Duration::from_secs(60), "{closed:?}");
        took.sort_unstable();
        let p99 = took[took.len() * 99 / 100];
        assert!(p99 < Duration::from_secs(10), "{p99:?} of {}", took.len());
    });
    assert_eq!(served.value(), r#"{"value":10}"#);
}

#[test]
fn c51_slow_heads_are_closed_and_good_clients_do_not_notice() {
    slow_clients(1_000, 1_024);
}

#[test]
fn c51_slow_heads_make_room_for_good_clients() {
    slow_clients(50, 40);
}

/// An address of this machine that is not loopback; a machine without a network has none.
fn outer_address() -> Option<IpAddr> {
    // No packet is sent: only the route is asked for.
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

/// §12: off loopback a peer has 64 connections, a rate, and ten guesses; on loopback it has none of these limits.
#[test]
fn limits_of_a_peer_are_for_other_machines() {
    let Some(ip) = outer_address() else {
        eprintln!("skipped: this machine has no address but loopback");
        return;
    };
    let setup = Setup::new();
    // In memory: a slow disk would keep the rate by itself.
    let entry = instance()
        .set("state = \"memory\"")
        .set("listen = [\"0.0.0.0:0\"]")
        .set("touch = { step = 10 }")
        .set("rate = { changes = 3, reads = 200 }")
        .set(&format!("allowed_hosts = [\"{ip}\"]"));
    setup.entries("", &[with_token(&setup, entry)]);
    let served = Served::start(&setup);
    let outer = format!("{ip}:{}", served.port);
    let good = format!("Bearer {TOKEN}");
    let touch = |address: &str, token: &str| {
        http::send(
            address,
            "POST",
            "/v1/touch",
            &[("Authorization", token)],
            NO_BODY,
        )
    };
    // Six at once, then one every third of a second: sooner or later one comes too soon.
    let (mut admitted, until) = (0, Instant::now() + DEADLINE);
    let limited = loop {
        let response = touch(&outer, &good);
        if response.status == 429 {
            break response;
        }
        assert_eq!(response.status, 200);
        admitted += 1;
        assert!(Instant::now() < until, "none of {admitted} was refused");
    };
    assert!(admitted >= 6, "{admitted}");
    problem(&limited, 429, "rate-limited");
    assert_eq!(limited.header("retry-after"), Some("1"));
    for _ in 0..20 {
        assert_eq!(touch(&served.address(), &good).status, 200);
    }

    let read = |token: &str| {
        http::send(
            &outer,
            "GET",
            "/v1/config",
            &[("Authorization", token)],
            NO_BODY,
        )
    };
    for _ in 0..10 {
        problem(&read("Bearer wrong"), 401, "token-invalid");
    }
    problem(&read("Bearer wrong"), 429, "rate-limited");
    problem(&read(&good), 429, "rate-limited");
    let local = http::send(
        &served.address(),
        "GET",
        "/v1/config",
        &[("Authorization", &good)],
        NO_BODY,
    );
    assert_eq!(local.status, 200);

    let mut held: Vec<TcpStream> = (0..65).map(|_| http::connect(&outer)).collect();
    let mut last = held.pop().unwrap();
    assert_eq!(last.read(&mut [0]).unwrap_or(0), 0, "closed without a byte");
    let local = http::send(&served.address(), "GET", "/healthz", &[], NO_BODY);
    assert_eq!(local.status, 200);
}
