//! Refusals that take more than a bad request: a stranger on the socket, a body that never ends, readers that object, queues
//! and places that are taken, an instance that stops (config-api §4). Which test earns which slug is in `rows.rs`.

use super::*;
use hotshoe_tests::DEADLINE;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Resource, Signal, getrlimit, setrlimit},
};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    time::Instant,
};

/// A PUT of which only the head is there, and the listener has begun to wait for so many bytes more.
#[track_caller]
fn begun(served: &Served<'_>, body_bytes: usize) -> TcpStream {
    const GO_ON: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut stream = http::connect(&served.address());
    stream.write_all(&head(served, body_bytes)).unwrap();
    let mut answer = [0; GO_ON.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, GO_ON, "{}", String::from_utf8_lossy(&answer));
    stream
}

fn head(served: &Served<'_>, body_bytes: usize) -> Vec<u8> {
    let host = served.localhost();
    let text = format!(
        "PUT /v1/config HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {body_bytes}\r\nExpect: 100-continue\r\n\r\n"
    );
    text.into_bytes()
}

/// A refusal that also says when to come back.
#[track_caller]
fn refused_for_now(response: &http::Response, slug: &str) {
    problem(response, 503, slug);
    assert_fixed_headers(response, "/v1/config");
    let after: u64 = response.header("retry-after").unwrap().parse().unwrap();
    assert!(after >= 1, "{response:?}");
}

/// §10: whoever reaches the socket although its folder and its mode should keep him out.
#[test]
fn another_user_is_refused_on_the_socket() {
    const NOBODY: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run: only root can ask as another user");
        return;
    }
    let setup = Setup::new();
    let socket = setup.scratch("config.sock");
    let unix = format!("unix = {:?}", socket.display().to_string());
    setup.entries("", &[standard().set(&unix)]);
    let served = Served::start(&setup);
    // An operator who opens what we closed.
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    open(socket.parent().unwrap(), 0o711).unwrap();
    open(&socket, 0o666).unwrap();
    let ask = |uid: u32, arguments: &[&str]| {
        let mut command = curl_command(&["-i", "--unix-socket", socket.to_str().unwrap()]);
        let output = command.args(arguments).uid(uid).gid(uid).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{output:?}");
        http::read(&mut text.as_bytes())
    };
    served.unchanged(|| {
        let change = ["-X", "POST", "http://localhost/v1/touch"];
        problem(&ask(NOBODY, &change), 403, "peer-refused");
        let read = ["http://localhost/v1/config"];
        problem(&ask(NOBODY, &read), 403, "peer-refused");
    });
    let touched = ask(0, &["-X", "POST", "http://localhost/v1/touch"]);
    assert_eq!(touched.json()["value"], 20);
}

#[test]
fn a_body_that_does_not_end_is_given_up_on() {
    let setup = alone(standard().set("body_timeout = \"3s\""));
    let served = Served::start(&setup);
    served.unchanged(|| {
        let mut half = begun(&served, 12);
        half.write_all(b"{\"value\":").unwrap();
        let response = http::read(&mut half);
        problem(&response, 408, "body-timeout");
        assert_eq!(response.header("connection"), Some("close"));
        assert_eq!(hotshoe_tests::read_some(&mut half, &mut [0]).unwrap(), 0);
    });
}

/// A value that the schema admits, and that the processor which reads it does not understand.
#[test]
fn what_a_reader_rejects_is_not_confirmed() {
    for isolation in stream::backends() {
        rejected_by_a_reader(isolation);
    }
}

fn rejected_by_a_reader(isolation: &str) {
    let schema = json!({
        "type": "object",
        "properties": {"value": {"type": "integer"}},
        "additionalProperties": false,
    });
    let setup = Setup::new();
    let path = setup.file("schema.json", schema.to_string().as_bytes());
    let path = format!("schema = {:?}", path.display().to_string());
    let tables = "[stream]\nsource = \"stdin\"\nprocessors = [\"append\"]\n";
    let entries = [standard().set(&path), append()];
    setup.entries(tables, &entries.map(|entry| entry.key(isolation)));
    let mut served = Served::start(&setup);
    let provisional = served.ask("PUT", "/v1/config?confirm=60s", &[JSON], b"{}");
    assert_eq!(provisional.status, 200, "{provisional:?}");
    // The last good value stays in use.
    served.host.send_line("one ");
    served.host.wait_stdout(b"one 10\n");
    let readers = || served.get("/v1/status").json()["readers"].clone();
    let begun = Instant::now();
    while readers()["nacked"] == json!([]) {
        assert!(begun.elapsed() < DEADLINE, "nobody objected: {}", readers());
    }
    let nacked = readers()["nacked"].clone();
    assert_eq!(nacked[0]["generation"], 2, "{nacked}");
    served.unchanged(|| {
        let confirm = served.ask("POST", "/v1/confirm", &[], NO_BODY);
        let json = problem(&confirm, 409, "readers-nacked");
        assert_eq!(json["generation"], 2, "{json}");
    });
    let status = served.get("/v1/status").json();
    assert_eq!(
        status["confirm"]["generation"], 2,
        "the time runs on: {status}"
    );
    let back = served.ask("POST", "/v1/rollback", &[], NO_BODY);
    changed(&back, "rollback", 3);
    served.host.send_line("two ");
    served.host.wait_stdout(b"one 10\ntwo 10\n");
}

/// A schema that lets the touched number go, or be written as a real.
#[test]
fn a_touch_needs_an_integer() {
    let schema = json!({
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "additionalProperties": false,
    });
    let touch = "touch = { step = 1, pointer = \"/n\" }";
    let setup = with_schema_and(&schema, "{ n = 1 }", touch);
    let served = Served::start(&setup);
    for (generation, body) in [(2, "{\"n\":1.0}"), (3, "{}")] {
        changed(&served.put(body), "put", generation);
        served.unchanged(|| {
            let json = problem(&served.touch(), 409, "touch-not-integer");
            assert_eq!(json["pointer"], "/n", "{json}");
        });
    }
    changed(&served.put("{\"n\":1}"), "put", 4);
    assert_eq!(served.touch().json()["value"], 2);
}

/// §12: 64 MiB of bodies may be on their way, and one more is refused before it is read.
#[test]
fn bodies_have_no_more_memory_than_there_is() {
    const BODY_BYTES_MAX: usize = 16 << 20;
    let setup = alone(standard().set("max_body = \"16MiB\""));
    let served = Served::start(&setup);
    let mut held = served.unchanged(|| {
        let held: Vec<TcpStream> = (0..4).map(|_| begun(&served, BODY_BYTES_MAX)).collect();
        let response = http::exchange(&mut http::connect(&served.address()), &head(&served, 1));
        refused_for_now(&response, "busy");
        refused_for_now(&served.put("{\"value\":1}"), "busy");
        held
    });
    drop(held.pop());
    let begun = Instant::now();
    let taken = loop {
        let response = served.put("{\"value\":1}");
        if response.status == 200 {
            break response;
        }
        refused_for_now(&response, "busy");
        assert!(begun.elapsed() < DEADLINE, "the place is not given back");
    };
    changed(&taken, "put", 2);
}

/// §12: behind a checker that takes its time, 4,096 changes wait, and one more is refused.
#[test]
fn the_queue_of_changes_has_an_end() {
    const QUEUED_MAX: usize = 4_096;
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let setup = Setup::new();
    let thinking = setup.gate("check");
    let checker = setup
        .misbehave("checker")
        .key("checks = [\"dynamic-config\"]")
        .key("deadlines = { check = \"60s\" }")
        .act(&format!("{}, times = 1", thinking.act("check")));
    let config = standard().set("max_connections = 5000");
    setup.entries("", &[checker, config]);
    let served = Served::start(&setup);
    // Dry runs wait like all others, and change nothing when their turn comes.
    let dry_run = || {
        let path = "/v1/touch?dry_run=true";
        let request = http::request("POST", path, &served.localhost(), &[], NO_BODY);
        let mut stream = http::connect(&served.address());
        stream.write_all(&request).unwrap();
        stream
    };
    served.unchanged(|| {
        let mut waiting = vec![dry_run()];
        setup.trace().wait_call("checker", "checker", "check");
        waiting.extend((0..=QUEUED_MAX).map(|_| dry_run()));
        let mut one_too_many = answered(&mut waiting);
        refused_for_now(&http::read(&mut one_too_many), "busy");
        refused_for_now(&served.touch(), "busy");
        refused_for_now(&served.put("{\"value\":1}"), "busy");
        thinking.open();
        assert_eq!(waiting.len(), 1 + QUEUED_MAX);
        for mut stream in waiting {
            let response = http::read(&mut stream);
            assert_eq!(response.status, 200, "{response:?}");
            assert_eq!(response.json()["patch"][0]["value"], 20);
        }
    });
    assert_eq!(served.touch().json()["value"], 20);
}

/// The first of them that has an answer.
#[track_caller]
fn answered(streams: &mut Vec<TcpStream>) -> TcpStream {
    let mut polled: Vec<PollFd<'_>> = streams
        .iter()
        .map(|stream| PollFd::new(stream, PollFlags::IN))
        .collect();
    let timeout = Timespec::try_from(DEADLINE).unwrap();
    assert!(
        poll(&mut polled, Some(&timeout)).unwrap() > 0,
        "nobody is refused"
    );
    let first = polled.iter().position(|one| !one.revents().is_empty());
    drop(polled);
    streams.swap_remove(first.unwrap())
}

/// §2 step 1: requests in hand are not put out for others.
#[test]
fn connections_have_an_end() {
    let setup = alone(standard().set("max_connections = 2"));
    let served = Served::start(&setup);
    served.unchanged(|| {
        let mut held = [begun(&served, 1), begun(&served, 1)];
        let refused = served.put("{\"value\":1}");
        refused_for_now(&refused, "too-many-connections");
        assert_eq!(refused.header("connection"), Some("close"));
        refused_for_now(&served.get("/v1/config"), "too-many-connections");
        // Answered, a connection makes room for others.
        for stream in &mut held {
            problem(&http::exchange(stream, b"{"), 400, "bad-json");
        }
    });
    changed(&served.put("{\"value\":1}"), "put", 2);
}

/// §11: a change that has not come whole when the stop comes. The process stays until the other instance has let go.
#[test]
fn a_change_that_comes_too_late_is_refused() {
    let setup = Setup::new();
    let leaving = setup.gate("shutdown");
    let last = setup.misbehave("last").act(&leaving.act("driver-shutdown"));
    setup.entries("", &[last, standard()]);
    let mut served = Served::start(&setup);
    changed(&served.put(r#"{"value":77}"#), "put", 2);
    let journal = killing::segments(&killing::journal(&setup));
    let mut watcher = watch::Watcher::open(&served, "", &[("Last-Event-ID", "2")]);
    let mut coming = begun(&served, 11);
    served.host.signal(Signal::TERM);
    let response = http::read(&mut coming);
    refused_for_now(&response, "shutting-down");
    assert_eq!(response.header("connection"), Some("close"));
    let bye = watcher.event();
    assert_eq!((bye.name.as_str(), bye.id), ("bye", None));
    setup.trace().wait_call("last", "driver", "shutdown");
    leaving.open();
    served.host.assert_exit(0);
    assert_eq!(killing::segments(&killing::journal(&setup)), journal);
    let served = Served::start(&setup);
    let state = served.state();
    assert_eq!(
        (state.generation, state.value.as_str()),
        (2, "{\"value\":77}\n")
    );
}

/// A reader that runs keeps its last good value; one that starts has none. The refusal names the value and the way back, and that
/// way works as it is written.
#[test]
fn a_value_that_a_reader_does_not_take_is_undone_without_that_reader() {
    let setup = Setup::new();
    let schema = json!({"type": "object", "additionalProperties": {"type": "integer"}});
    let path = setup.file("schema.json", schema.to_string().as_bytes());
    let owner = || {
        on_any_port()
            .set(&format!("schema = {:?}", path.display().to_string()))
            .set("state = \"dir\"")
    };
    let stream = "[stream]\nsource = \"stdin\"\nprocessors = [\"append\"]\n";
    let whole = || setup.entries(stream, &[owner(), append()]);
    whole();
    let mut served = Served::start(&setup);
    changed(&served.put("{\"other\":1}"), "put", 2);
    served.host.send_line("one ");
    served.host.wait_stdout(b"one 10\n");
    served.host.close_input();
    served.host.assert_exit(0);

    let finished = setup.run();
    assert_ne!(finished.code, Some(0), "{finished:#?}");
    let error = finished.error();
    let why = "generation 2 of topic `dynamic-config` does not suit this instance: ";
    assert!(error.contains(why), "{error}");
    let fixes = finished
        .logs()
        .into_iter()
        .filter(|line| line.sentence().contains(why));
    let fixes: Vec<String> = fixes.map(|line| line.text_of("fix").to_owned()).collect();
    assert!(
        fixes.iter().any(|fix| fix.contains("config rollback")),
        "{finished:#?}"
    );

    setup.entries("", &[owner()]);
    let mut served = Served::start(&setup);
    setup.hotshoe(&["config", "rollback", "1"]).assert_code(0);
    served.host.stop();
    whole();
    let mut served = Served::start(&setup);
    served.host.send_line("two ");
    served.host.wait_stdout(b"two 10\n");
    served.host.close_input();
    served.host.assert_exit(0);
}
