//! The demo, end to end, A34 to A37: byte for byte, with two hundred clients at once, with hostile ones, with any line.

use hotshoe_tests::{DEADLINE, DefaultPort, Entry, Setup, TestHost, artifacts, http};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    io::{ErrorKind, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const MIB: usize = 1 << 20;

const STDIN: &str = "
[stream]
source = \"stdin\"
processors = [\"append\"]
";

fn append() -> Entry {
    Entry::of("append", artifacts::library("hotshoe-quickstart"))
        .key("after = [\"dynamic-config\"]")
        .set("topic = \"dynamic-config\"")
}

/// The quickstart's owner of a configuration, with other addresses.
fn dynamic_config(listen: &str) -> Entry {
    let library = artifacts::library("hotshoe-dynamic-config");
    Entry::of("dynamic-config", library)
        .set("profile = \"quickstart\"")
        .set(&format!("listen = [{listen:?}]"))
}

/// The quickstart on a port of its own.
fn quickstart(tables: &str) -> Setup {
    let setup = Setup::new();
    setup.entries(tables, &[dynamic_config("127.0.0.1:0"), append()]);
    setup
}

/// Where the plugin listens, once the host is ready.
#[track_caller]
fn address(setup: &Setup) -> String {
    let url = setup.addresses("dynamic-config").remove(0);
    url.strip_prefix("http://").unwrap().to_owned()
}

/// What `curl -s http://ADDRESS` sends, over a connection of its own; the answer is read to its end.
#[track_caller]
fn curl(address: &str) -> http::Response {
    let mut stream = http::connect(address);
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n"
    );
    http::exchange(&mut stream, request.as_bytes())
}

#[track_caller]
fn assert_latest(response: &http::Response, value: u64) {
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(
        response.text(),
        format!("the latest configuration is {value}\n")
    );
}

/// The value, read without changing it.
#[track_caller]
fn value(address: &str) -> Value {
    http::get(address, "/v1/config").json()
}

#[track_caller]
fn assert_refused(address: &str) {
    let address: SocketAddr = address.parse().unwrap();
    let error = TcpStream::connect_timeout(&address, DEADLINE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{address}");
    // And whoever wants it may have it at once.
    TcpListener::bind(address).unwrap();
}

#[test]
fn a34_the_demo_byte_for_byte() {
    let source = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = source.local_addr().unwrap();
    let setup = quickstart(&format!(
        "[stream]\nsource = \"tcp-connect:{peer}\"\nprocessors = [\"append\"]\nsink = \"stdout\"\n"
    ));
    let mut host = setup.start();
    let (mut lines, _) = source.accept().unwrap();
    host.wait_ready();
    assert!(host.begun().elapsed() < DEADLINE);
    let address = address(&setup);

    lines.write_all(b"hello world\n").unwrap();
    host.wait_stdout(b"hello world10\n");

    let response = curl(&address);
    assert_eq!(response.status, 200);
    assert_eq!(response.body, b"the latest configuration is 20\n");
    assert_eq!(response.header("content-length"), Some("31"));
    assert_eq!(
        response.header("content-type"),
        Some("text/plain; charset=utf-8")
    );

    lines.write_all(b"hello world\n").unwrap();
    host.wait_stdout(b"hello world10\nhello world20\n");

    host.signal(Signal::TERM);
    host.wait_exit_within(Duration::from_secs(10));
    host.assert_exit(0);
    assert_eq!(host.stdout(), b"hello world10\nhello world20\n");
    assert_refused(&address);
}

/// The file that the README names, as it is, on the one port that is written down.
#[test]
fn a34_the_quickstarts_own_file_on_its_own_port() {
    let _turn = DefaultPort::take();
    let setup = Setup::new();
    let file = artifacts::workspace_root().join("examples/quickstart/hotshoe.toml");
    let mut host = setup.start_file(&file);
    host.wait_ready();
    host.send_line("hello world");
    host.wait_stdout(b"hello world10\n");
    assert_latest(&curl("127.0.0.1:9999"), 20);
    host.send_line("hello world");
    host.wait_stdout(b"hello world10\nhello world20\n");
    // Ctrl-C.
    host.signal(Signal::INT);
    host.wait_exit_within(Duration::from_secs(10));
    host.assert_exit(0);
    assert_eq!(host.stdout(), b"hello world10\nhello world20\n");
    assert_refused("127.0.0.1:9999");
}

/// Two hundred requests, twenty at a time; the values that were told, in no order.
fn two_hundred(address: &str) -> Vec<u64> {
    let (begun, told) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                while begun.fetch_add(1, Ordering::Relaxed) < 200 {
                    let response = curl(address);
                    assert_eq!(response.status, 200, "{response:?}");
                    let text = response.text();
                    let value = text
                        .strip_prefix("the latest configuration is ")
                        .and_then(|rest| rest.strip_suffix('\n')?.parse().ok())
                        .unwrap_or_else(|| panic!("{text:?}"));
                    told.lock().unwrap().push(value);
                }
            });
        }
    });
    told.into_inner().unwrap()
}

#[test]
fn a35_two_hundred_at_once_are_two_hundred_steps_each_told_once() {
    let setup = quickstart(STDIN);
    let mut host = setup.start();
    host.wait_ready();
    let address = address(&setup);
    let mut told = two_hundred(&address);
    told.sort_unstable();
    let expected: Vec<u64> = (2..=201).map(|step| step * 10).collect();
    assert_eq!(told, expected);
    assert_eq!(value(&address), serde_json::json!({ "value": 2010 }));
    host.send_line("x");
    host.wait_stdout(b"x2010\n");
    host.stop();
}

#[test]
fn a35_a_stream_meanwhile_prints_no_value_twice_back_and_none_that_never_was() {
    let setup = quickstart(&format!(
        "[executors]\ncount = 2\n{STDIN}batch_records = 8\n"
    ));
    let mut host = setup.start();
    host.wait_ready();
    let address = address(&setup);
    let mut input = host.take_input();
    input.write_all(b"x\n").unwrap();
    host.wait_stdout(b"x10\n");
    let done = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let feeder = scope.spawn(|| {
            let mut sent = 1;
            while !done.load(Ordering::Acquire) {
                input.write_all(b"x\nx\nx\nx\n").unwrap();
                sent += 4;
            }
            // After the last reply: these carry the last value.
            input.write_all(b"x\n").unwrap();
            drop(input);
            sent + 1
        });
        let told = two_hundred(&address);
        assert_eq!(told.iter().max(), Some(&2010));
        done.store(true, Ordering::Release);
        feeder.join().unwrap()
    });
    host.assert_exit(0);
    let stdout = String::from_utf8(host.stdout()).unwrap();
    let printed: Vec<u64> = stdout
        .lines()
        .map(|line| line.strip_prefix('x').unwrap().parse().unwrap())
        .collect();
    assert_eq!(printed.len(), sent);
    let back = printed.windows(2).find(|pair| pair[1] < pair[0]);
    assert_eq!(back, None);
    let stray = printed
        .iter()
        .find(|value| **value % 10 != 0 || !(10..=2010).contains(*value));
    assert_eq!(stray, None);
    assert_eq!(printed.last(), Some(&2010));
}

/// Reads until the other side closes; answers what came. A reset is a close.
fn rest_of(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match hotshoe_tests::read_some(stream, &mut piece) {
            Ok(0) => return bytes,
            Ok(len) => bytes.extend_from_slice(&piece[..len]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return bytes,
            Err(error) => panic!("{error}; so far {}", String::from_utf8_lossy(&bytes)),
        }
    }
}

/// The next of a sequence of bytes that looks like nothing, the same every time (Knuth's MMIX generator).
fn noise(len: usize) -> Vec<u8> {
    let mut state = 42_u64;
    let step = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(step).take(len).collect()
}

fn allow_many_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = maximum;
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
}

#[track_caller]
fn assert_still_served(address: &str, expected: u64) {
    assert_eq!(
        value(address),
        serde_json::json!({ "value": expected - 10 })
    );
    let asked = Instant::now();
    assert_latest(&curl(address), expected);
    assert!(asked.elapsed() < DEADLINE);
}

#[test]
fn a36_no_hostile_client_changes_the_value_or_keeps_others_waiting() {
    let setup = quickstart(STDIN);
    let mut host = setup.start();
    host.wait_ready();
    let address = address(&setup);

    drop(http::connect(&address));
    assert_eq!(http::get(&address, "/favicon.ico").status, 404);
    let broken = [
        &b"BROKEN\r\n\r\n"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon here\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ];
    for request in broken {
        let response = http::exchange(&mut http::connect(&address), request);
        assert_eq!(response.status, 400, "{response:?}");
    }

    let mut noisy = http::connect(&address);
    // The other side may close in the middle of it.
    let _ = noisy.write_all(&noise(MIB));
    let answer = rest_of(&mut noisy);
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1.1 400 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    assert_still_served(&address, 20);
    host.stop();
}

#[test]
fn a36_a_request_that_never_ends_is_closed_after_five_seconds() {
    let setup = quickstart(STDIN);
    let mut host = setup.start();
    host.wait_ready();
    let address = address(&setup);
    let begun = Instant::now();
    let mut held = http::connect(&address);
    held.write_all(b"GET / HTTP/1.1").unwrap();
    assert_still_served(&address, 20);
    assert_eq!(rest_of(&mut held), b"");
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(4_900), "{took:?}");
    assert_still_served(&address, 30);
    host.stop();
}

#[test]
fn a36_a_thousand_idle_connections_keep_nobody_waiting() {
    allow_many_descriptors();
    let setup = quickstart(STDIN);
    let mut host = setup.start();
    host.wait_ready();
    let address = address(&setup);
    let idle: Vec<TcpStream> = (0..1_000).map(|_| http::connect(&address)).collect();
    assert_still_served(&address, 20);
    drop(idle);
    assert_still_served(&address, 30);
    host.send_line("x");
    host.wait_stdout(b"x30\n");
    host.stop();
}

#[test]
fn a36_only_loopback_reaches_the_listener() {
    let setup = quickstart(STDIN);
    let mut host = setup.start();
    host.wait_ready();
    let bound: SocketAddr = address(&setup).parse().unwrap();
    assert_eq!(bound.ip(), Ipv4Addr::LOCALHOST);
    // Whoever listens on all addresses of the machine is reached by this one as well.
    let other = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), bound.port()));
    let error = TcpStream::connect_timeout(&other, DEADLINE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    // Nor does the kernel know of any other listening socket of that port.
    let port = format!(":{:04X}", bound.port());
    let listening = |file: &str| -> Vec<String> {
        let table = fs::read_to_string(file).unwrap_or_default();
        let rows = table.lines().skip(1).map(|row| row.split_whitespace());
        rows.filter_map(|mut words| {
            let (local, state) = (words.nth(1)?.to_owned(), words.nth(1)?.to_owned());
            (local.ends_with(&port) && state == "0A").then_some(local)
        })
        .collect()
    };
    assert_eq!(listening("/proc/net/tcp"), [format!("0100007F{port}")]);
    assert_eq!(listening("/proc/net/tcp6"), [] as [String; 0]);
    host.stop();
}

#[test]
fn a36_a_taken_port_is_a_failed_init_and_everything_before_it_is_undone() {
    let setup = Setup::new();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let before = setup.misbehave("before");
    setup.entries(STDIN, &[before, dynamic_config(&taken), append()]);
    let mut host = setup.start();
    host.send_line("hello world");
    host.assert_exit(4);
    let errors = host.errors();
    assert!(
        errors[0].starts_with("error[config-port-taken]: ") && errors[0].contains(&taken),
        "{errors:#?}"
    );
    assert_eq!(host.stdout(), b"");
    let count = |call: &str| setup.trace().count("before", "driver", call);
    assert_eq!((count("init"), count("shutdown")), (1, 1));
    assert_eq!(setup.trace().count("before", "executor", "init"), 0);
}

/// Sends `input` in one write, then ends the input; asserts what comes out, and that the host ends well.
#[track_caller]
fn check_lines(input: &[u8], expected: &[u8]) {
    let setup = quickstart(STDIN);
    let mut host = setup.start();
    host.send(input);
    host.close_input();
    host.assert_exit(0);
    assert!(
        host.stdout() == expected,
        "{:?} became {:?}",
        start_of(input),
        start_of(&host.stdout())
    );
}

fn start_of(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(200)];
    format!("{} bytes: {}", bytes.len(), start.escape_ascii())
}

#[test]
fn a37_line_ends_go_and_everything_else_stays() {
    check_lines(
        b"hello world \n\na\r\n\tb\t\n\r\n\r\r\nlast",
        b"hello world 10\n10\na10\n\tb\t10\n10\n\r10\nlast10\n",
    );
}

#[test]
fn a37_what_is_no_text_passes_as_it_came() {
    check_lines(
        b"\xff\xfe\x00\x80\n\xc3\x28\nok\n",
        b"\xff\xfe\x00\x8010\n\xc3\x2810\nok10\n",
    );
}

#[test]
fn a37_a_line_of_a_mebibyte_is_printed_whole() {
    let mut line = vec![b'm'; MIB];
    let expected = [line.as_slice(), b"10\nnext10\n"].concat();
    line.extend_from_slice(b"\nnext\n");
    check_lines(&line, &expected);
}

/// Two records, one that is a byte over the limit, and one behind it.
fn too_long() -> (Vec<u8>, u64, u64) {
    let len = 16 * MIB + 1;
    let first = b"one\ntwo\n";
    let mut input = first.to_vec();
    input.extend((0..len).map(|at| b'a' + (at % 23) as u8));
    input.extend_from_slice(b"\nthree\n");
    (input, first.len() as u64, len as u64)
}

/// Writes without end of input; the host may end before it has read everything.
fn feed(host: &mut TestHost<'_>, input: &[u8]) {
    let mut stdin = host.take_input();
    let _ = stdin.write_all(input);
}

#[test]
fn a37_a_line_over_the_limit_ends_a_run_that_stops_on_errors() {
    let setup = quickstart(STDIN);
    let (input, offset, len) = too_long();
    let mut host = setup.start();
    feed(&mut host, &input);
    host.assert_exit(1);
    let errors = host.errors();
    for part in ["stdin", &format!("byte {offset} "), &len.to_string()] {
        assert!(errors[0].contains(part), "no {part} in {errors:#?}");
    }
    assert_eq!(host.stdout(), b"one10\ntwo10\n");
}

#[test]
fn a37_a_line_over_the_limit_is_kept_apart_where_errors_are() {
    let setup = Setup::new();
    let dead = setup.scratch("dead.jsonl");
    let tables = format!(
        "{STDIN}on_error = \"dead-letter\"\ndead_letter = {:?}\n",
        dead.display().to_string()
    );
    setup.entries(&tables, &[dynamic_config("127.0.0.1:0"), append()]);
    let (input, offset, len) = too_long();
    let mut host = setup.start();
    feed(&mut host, &input);
    host.assert_exit(0);
    assert_eq!(host.stdout(), b"one10\ntwo10\nthree10\n");
    let dead = fs::read_to_string(dead).unwrap();
    assert_eq!(dead.lines().count(), 1, "{}", start_of(dead.as_bytes()));
    let letter: Value = serde_json::from_str(&dead).unwrap();
    let start = offset as usize;
    let kept = String::from_utf8(input[start..start + (64 << 10)].to_vec()).unwrap();
    assert!(letter["record"] == kept, "{}", start_of(dead.as_bytes()));
    assert_eq!(letter["len"], len);
    assert_eq!(letter["offset"], offset);
    assert_eq!(letter["source"], "stdin");
    let keys: BTreeSet<&str> = letter
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let expected = ["at", "len", "offset", "reason", "record", "source"];
    assert_eq!(keys, BTreeSet::from(expected));
}

#[test]
fn a37_the_end_of_a_connection_ends_the_run_after_its_last_record() {
    let source = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = source.local_addr().unwrap();
    let setup = quickstart(&format!(
        "[stream]\nsource = \"tcp-connect:{peer}\"\nprocessors = [\"append\"]\n"
    ));
    let mut host = setup.start();
    let (mut lines, _) = source.accept().unwrap();
    lines.write_all(b"first\nlast without an end").unwrap();
    drop(lines);
    host.assert_exit(0);
    assert_eq!(host.stdout(), b"first10\nlast without an end10\n");
}

/// A hundredth of the case's million; the whole runs by hand.
#[test]
fn a37_ten_thousand_lines_come_out_in_order() {
    for executors in [1, 4] {
        let setup = quickstart(&format!("[executors]\ncount = {executors}\n{STDIN}"));
        let numbers = 0..10_000;
        let input: String = numbers
            .clone()
            .map(|number| format!("{number}\n"))
            .collect();
        let expected: String = numbers.map(|number| format!("{number}10\n")).collect();
        let mut host = setup.start();
        host.send(input.as_bytes());
        host.close_input();
        host.assert_exit(0);
        assert!(
            host.stdout() == expected.as_bytes(),
            "{executors} executors: {}",
            start_of(&host.stdout())
        );
    }
}
