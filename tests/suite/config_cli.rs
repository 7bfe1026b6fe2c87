//! `hotshoe config` as an operator types it: against a real host, and, for what a host says rarely or ends with, against a
//! listener of the test's own that says it at once.

use hotshoe_tests::{Entry, Finished, LogLine, Setup, TestHost, artifacts, http};
use rustix::{
    fs::{FlockOperation, flock},
    process::Signal,
};
use serde_json::{Value, json};
use std::{
    fs,
    fs::File,
    io::Write as _,
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
    thread::JoinHandle,
};

/// The plugin on a port that the machine chooses.
fn listener(name: &str) -> Entry {
    Entry::of(name, artifacts::library("hotshoe-dynamic-config"))
        .set("listen = [\"127.0.0.1:0\"]")
        .set("state = \"memory\"")
}

/// A folder with a config of one listener.
fn alone() -> Setup {
    let setup = Setup::new();
    setup.entries("", &[listener("cfg")]);
    setup
}

/// A service manager gives a host its folder; a command that is given the same finds it there.
#[test]
fn a_services_host_is_found_by_the_folder_that_it_was_given() {
    let mut setup = alone();
    let folder = setup.scratch("of-a-service");
    let two = format!("{}:/elsewhere", folder.display());
    setup.variable("RUNTIME_DIRECTORY", two);
    let _host = ready(&setup);
    assert!(folder.join("admin.sock").exists());
    assert_eq!(prints(&setup, "get /value").trim(), "10");
    setup.hotshoe(&["status"]).assert_code(0);
    setup
        .hotshoe(&["status", "--host", "of-a-service"])
        .assert_code(0);
    // Without it nobody looks there, and the refusal says what to set.
    let lost = alone().hotshoe(&["--log-format", "json", "status"]);
    assert_eq!(lost.error_code(), "no-host");
    assert!(lost.stderr.contains("RUNTIME_DIRECTORY"), "{lost:#?}");
}

#[track_caller]
pub(super) fn ready(setup: &Setup) -> TestHost<'_> {
    let host = setup.start();
    host.wait_ready();
    host
}

/// `hotshoe config …`, split at blanks.
#[track_caller]
fn config(setup: &Setup, line: &str) -> Finished {
    let mut arguments = vec!["config"];
    arguments.extend(line.split(' '));
    setup.hotshoe(&arguments)
}

/// The same; answers what it printed.
#[track_caller]
fn prints(setup: &Setup, line: &str) -> String {
    let finished = config(setup, line);
    finished.assert_code(0);
    assert_eq!(finished.stderr, "", "{finished:#?}");
    finished.stdout
}

/// The same with something on its stdin.
fn config_with(setup: &Setup, line: &str, stdin: &[u8]) -> Finished {
    let mut command = Command::new(artifacts::hotshoe());
    command.arg("config").args(line.split(' '));
    setup.place(&mut command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    let output = child.wait_with_output().unwrap();
    Finished {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        took: std::time::Duration::ZERO,
    }
}

/// `127.0.0.1:<port>` of the instance.
fn address(setup: &Setup, instance: &str) -> String {
    let urls = setup.addresses(instance);
    let url = urls.iter().find(|url| url.starts_with("http://127."));
    url.unwrap()["http://".len()..].to_owned()
}

const IN_MEMORY: &str = "kept in memory only: the next start begins with the initial value\n";

#[test]
fn a_value_is_read_and_changed() {
    let setup = alone();
    let mut host = ready(&setup);
    assert_eq!(prints(&setup, "get"), "{\n  \"value\": 10\n}\n");
    assert_eq!(prints(&setup, "get /value"), "10\n");
    let changed =
        |generation: u64, op: &str| format!("generation {generation} ({op})\n{IN_MEMORY}");
    assert_eq!(prints(&setup, "set /value 42"), changed(2, "put"));
    assert_eq!(prints(&setup, "set {\"value\":-5}"), changed(3, "put"));
    assert_eq!(prints(&setup, "set /value -7"), changed(4, "put"));
    let finished = config(&setup, "set -7");
    assert_eq!(
        finished.error_code(),
        "schema-violation",
        "it is the value, not the pointer"
    );
    assert_eq!(prints(&setup, "get /value"), "-7\n");
    assert_eq!(
        prints(&setup, "set /value -7"),
        "nothing changed, generation 4 is that already\n"
    );
    assert_eq!(prints(&setup, "delete"), changed(5, "reset"));
    assert_eq!(prints(&setup, "get /value"), "10\n");
    assert_eq!(prints(&setup, "rollback 2"), changed(6, "rollback"));
    assert_eq!(prints(&setup, "get /value"), "42\n");
    assert_eq!(prints(&setup, "rollback"), changed(7, "rollback"));
    assert_eq!(prints(&setup, "get /value"), "10\n");
    host.stop();
}

/// Both kinds of patch, from a file and from stdin; the media type follows from what it is.
#[test]
fn a_patch_comes_from_a_file_or_stdin() {
    let setup = alone();
    let mut host = ready(&setup);
    let operations = br#" [{"op":"test","path":"/value","value":10},{"op":"replace","path":"/value","value":11}]"#;
    setup.file("ops.json", operations);
    assert_eq!(
        prints(&setup, "patch ops.json"),
        format!("generation 2 (json-patch)\n{IN_MEMORY}")
    );
    let finished = config_with(&setup, "patch -", b"{\"value\":12}\n");
    finished.assert_code(0);
    assert_eq!(
        finished.stdout,
        format!("generation 3 (merge-patch)\n{IN_MEMORY}")
    );
    let finished = config_with(&setup, "patch --at /value -", b"13");
    finished.assert_code(0);
    let finished = config_with(&setup, "set /value - --json", b"14");
    finished.assert_code(0);
    assert_eq!(prints(&setup, "get /value"), "14\n");

    // The first operation does not hold any more: nothing is changed, and the place is named.
    let finished = config(&setup, "patch ops.json");
    finished.assert_code(1);
    assert_eq!(finished.error_code(), "patch-test-failed");
    assert!(
        finished.stderr.contains("operation 0 of the patch"),
        "{finished:#?}"
    );
    assert_eq!(prints(&setup, "get /value"), "14\n");

    let finished = config(&setup, "patch nowhere.json");
    finished.assert_code(2);
    assert_eq!(finished.error_code(), "bad-input");
    host.stop();
}

#[test]
fn history_is_a_table() {
    let setup = alone();
    let mut host = ready(&setup);
    for value in 11..14 {
        prints(&setup, &format!("set /value {value}"));
    }
    let table = prints(&setup, "history --limit 2");
    let lines: Vec<&str> = table.lines().collect();
    let words =
        |line: &str| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() };
    assert_eq!(lines.len(), 3, "{table}");
    let first = words(lines[0]);
    assert_eq!(
        [&first[0], &first[2], &first[3]],
        ["4", "put", "tcp:127.0.0.1"]
    );
    assert_eq!(words(lines[1])[0], "3");
    assert_eq!(lines[2], "older ones: --before 3");
    let table = prints(&setup, "history --before 3");
    assert_eq!(words(table.lines().next().unwrap())[0], "2");
    let last = table.lines().last().unwrap();
    assert_eq!(words(last)[2], "initial", "{table}");
    host.stop();
}

/// What a program reads is what the API says, byte for byte, refusals included.
#[test]
fn json_is_the_servers_body() {
    let setup = alone();
    let mut host = ready(&setup);
    let address = address(&setup, "cfg");
    for (line, path) in [
        ("get --json", "/v1/config"),
        ("get /value --json", "/v1/config/value"),
        ("--json history", "/v1/history"),
    ] {
        assert_eq!(
            prints(&setup, line),
            http::get(&address, path).text(),
            "{line}"
        );
    }
    assert_eq!(
        prints(&setup, "set /value 11 --json"),
        "{\"changed\":true,\"confirm\":null,\"durable\":false,\"generation\":2,\"op\":\"put\",\"parent\":1}\n"
    );
    assert_eq!(
        prints(&setup, "set /value 12 --json --dry-run"),
        "{\"changed\":true,\"dry_run\":true,\"generation\":2,\"patch\":[{\"op\":\"replace\",\"path\":\"/value\",\"value\":12}]}\n"
    );
    let headers = [("Content-Type", "application/json")];
    for body in ["{\"value\":}", "{\"value\":\"x\"}", "{\"valeu\":1}"] {
        let finished = config(&setup, &format!("--json set {body}"));
        finished.assert_code(1);
        let answer = http::send(&address, "PUT", "/v1/config", &headers, body.as_bytes());
        assert_eq!(
            (finished.stdout, finished.stderr),
            (answer.text(), String::new())
        );
    }
    host.stop();
}

/// The line that was typed, and the caret under the byte that the server names.
#[test]
fn a_refusal_points_at_the_input() {
    let setup = alone();
    let mut host = ready(&setup);
    let finished = setup.hotshoe(&["config", "set", "{\"value\": }"]);
    finished.assert_code(1);
    assert_eq!(
        (finished.error_code().as_str(), finished.stdout.as_str()),
        ("bad-json", "")
    );
    let lines: Vec<&str> = finished.stderr.lines().collect();
    assert_eq!(
        lines[1..5],
        [
            "  at:     VALUE:1:11",
            "    |",
            "  1 | {\"value\": }",
            "    |           ^",
        ],
        "{finished:#?}"
    );

    // A letter of two bytes and a tab before the fault: the caret stands where the eye sees it.
    setup.file("new.json", "{\n\t\"valüe\": 1\n}\n".as_bytes());
    let finished = config(&setup, "patch new.json");
    finished.assert_code(1);
    assert_eq!(finished.error_code(), "schema-violation");
    assert!(finished.stderr.contains("  at:     "), "{finished:#?}");
    let finished = config_with(&setup, "set -", "{\n\t\"ü\": x\n}\n".as_bytes());
    finished.assert_code(1);
    let lines: Vec<&str> = finished.stderr.lines().collect();
    assert_eq!(
        lines[1..5],
        [
            "  at:     stdin:2:8",
            "    |",
            "  2 |     \"ü\": x",
            "    |          ^",
        ],
        "{finished:#?}"
    );
    assert!(
        !finished.stderr.contains('\u{1b}'),
        "no terminal, no colours"
    );

    let finished = setup.hotshoe(&["--log-format", "json", "config", "set", "{\"value\": }"]);
    finished.assert_code(1);
    let event: Value = serde_json::from_str(finished.stderr.trim_end()).unwrap();
    assert_eq!(event["code"], "bad-json");
    assert_eq!(event["at"], "VALUE:1:11");
    assert_eq!(prints(&setup, "history").lines().count(), 1);
    host.stop();
}

#[test]
fn a_stale_if_match_changes_nothing() {
    let setup = alone();
    let mut host = ready(&setup);
    prints(&setup, "set /value 11 --if-match 1");
    for line in [
        "set /value 12 --if-match 1",
        "delete --if-match 1",
        "rollback 1 --if-match 1",
    ] {
        let finished = config(&setup, line);
        finished.assert_code(1);
        assert_eq!(finished.error_code(), "generation-mismatch", "{line}");
        assert!(finished.stderr.contains("\n  fix:    "), "{finished:#?}");
    }
    assert_eq!(prints(&setup, "get /value"), "11\n");
    assert_eq!(
        prints(&setup, "set /value 12 --dry-run"),
        "generation 2 would change, nothing did:\nreplace /value 12\n"
    );
    assert_eq!(prints(&setup, "get /value"), "11\n");
    let finished = config(&setup, "get /nowhere");
    finished.assert_code(1);
    assert_eq!(finished.error_code(), "pointer-not-found");
    host.stop();
}

/// What no host could make sense of is refused before any is asked.
#[test]
fn a_wrong_command_line_is_exit_code_2() {
    let setup = Setup::new();
    for line in [
        "get value",
        "set",
        "set /a 1 2",
        "set /a 1 --dry-run --confirm 5s",
        "set /a 1 --if-match x",
        "diff",
        "rollback -1",
        "explode",
    ] {
        let finished = config(&setup, line);
        finished.assert_code(2);
        assert_eq!(finished.stdout, "", "{line}");
    }
}

#[test]
fn without_a_host_there_is_nobody_to_ask() {
    let setup = alone();
    let finished = config(&setup, "get");
    finished.assert_code(1);
    assert_eq!(finished.error_code(), "no-host");
    let mut host = ready(&setup);
    let finished = config(&setup, "get --host other");
    finished.assert_code(2);
    assert_eq!(finished.error_code(), "no-such-host");
    assert!(finished.stderr.contains("demo"), "{finished:#?}");
    host.stop();
    // Neither its socket nor its address file outlive it.
    assert_eq!(config(&setup, "get").error_code(), "no-host");
}

#[test]
fn two_hosts_are_told_apart_by_name() {
    let setup = alone();
    let mut host = ready(&setup);
    let folder = setup.scratch("other");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("hotshoe.toml");
    let entry = listener("cfg").set("initial = { value = 77 }");
    fs::write(&file, entry.to_string()).unwrap();
    let mut other = setup.start_file(&file);
    other.wait_ready();

    let finished = config(&setup, "get");
    finished.assert_code(2);
    assert_eq!(finished.error_code(), "several-hosts");
    for word in ["demo", "other", "--host NAME"] {
        assert!(finished.stderr.contains(word), "{finished:#?}");
    }
    assert_eq!(prints(&setup, "get /value --host demo"), "10\n");
    assert_eq!(prints(&setup, "--host other get /value"), "77\n");
    other.stop();
    assert_eq!(prints(&setup, "get /value"), "10\n");
    host.stop();
}

#[test]
fn two_plugins_are_told_apart_by_name() {
    let setup = Setup::new();
    let two = listener("two").set("initial = { value = 2 }");
    setup.entries("", &[listener("one"), two]);
    let mut host = ready(&setup);
    let finished = config(&setup, "get");
    finished.assert_code(2);
    assert_eq!(finished.error_code(), "several-plugins");
    assert!(finished.stderr.contains("one, two"), "{finished:#?}");
    assert_eq!(prints(&setup, "get /value --plugin two"), "2\n");
    let finished = config(&setup, "get --plugin three");
    finished.assert_code(2);
    assert_eq!(finished.error_code(), "no-such-plugin");
    host.stop();
}

#[test]
fn a_host_without_a_listener_says_so() {
    let setup = Setup::new();
    let metrics = Entry::of("metrics", artifacts::library("hotshoe-message-config"));
    setup.entries("", &[metrics]);
    let mut host = ready(&setup);
    let finished = config(&setup, "get");
    finished.assert_code(1);
    assert_eq!(finished.error_code(), "no-listener");
    host.stop();
}

/// The history tells who came which way.
#[test]
fn the_unix_socket_is_tried_first() {
    let setup = Setup::new();
    let socket = setup.scratch("sockets/cfg.sock");
    let folder = socket.parent().unwrap();
    fs::create_dir(folder).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
    let entry = listener("cfg").set(&format!("unix = {:?}", socket.display().to_string()));
    setup.entries("", &[entry]);
    let mut host = ready(&setup);
    prints(&setup, "set /value 11");
    let by = http::get(&address(&setup, "cfg"), "/v1/history?limit=1").json();
    let by = by["items"][0]["by"].as_str().unwrap().to_owned();
    assert!(by.starts_with("unix:uid="), "{by}");
    // Without it, TCP still leads there.
    fs::remove_file(&socket).unwrap();
    assert_eq!(prints(&setup, "get /value"), "11\n");
    host.stop();
}

#[test]
fn a_token_comes_from_a_file() {
    let setup = Setup::new();
    let write = |name: &str, token: &str| {
        let path = setup.file(name, format!("{token}\n").as_bytes());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let right = write("right", "0123456789abcdef0123456789abcdef");
    let wrong = write("wrong", "0123456789abcdef0123456789abcdeX");
    let empty = write("empty", "");
    setup.entries(
        "",
        &[listener("cfg").set(&format!("token_file = {right:?}"))],
    );
    let mut host = ready(&setup);
    let ask = |token: &[&str], code: i32, slug: &str| {
        let finished = setup.hotshoe(&[&["config", "get", "/value"], token].concat());
        finished.assert_code(code);
        match slug {
            "" => assert_eq!(finished.stdout, "10\n"),
            slug => assert_eq!(finished.error_code(), slug),
        }
        assert!(!finished.stderr.contains("0123"), "{finished:#?}");
    };
    ask(&[], 1, "token-required");
    ask(&["--token-file", &wrong], 1, "token-invalid");
    ask(&["--token-file", &empty], 2, "bad-token-file");
    ask(&["--token-file", "nowhere"], 2, "bad-token-file");
    ask(&["--token-file", &right], 0, "");
    host.stop();
}

/// Every shell is told every command.
#[test]
fn completions_know_every_command() {
    let setup = Setup::new();
    let commands = |arguments: &[&str]| -> Vec<String> {
        let help = setup.hotshoe(arguments).stdout;
        let (_, commands) = help.split_once("Commands:\n").unwrap();
        let lines = commands.lines().take_while(|line| !line.is_empty());
        let indented = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        indented
            .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
            .collect()
    };
    let mut names = commands(&["-h"]);
    assert!(names.contains(&"completions".to_owned()), "{names:?}");
    let config = commands(&["config", "-h"]);
    assert_eq!(
        config,
        [
            "get", "set", "patch", "delete", "diff", "history", "rollback", "confirm", "watch",
            "help"
        ]
    );
    names.extend(config);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let finished = setup.hotshoe(&["completions", shell]);
        finished.assert_code(0);
        for name in names
            .iter()
            .map(String::as_str)
            .chain(["--if-match", "--token-file"])
        {
            let word = match shell {
                "fish" => name.trim_start_matches("--"),
                _ => name,
            };
            assert!(finished.stdout.contains(word), "{shell} lacks {name}");
        }
    }
    setup.hotshoe(&["completions", "cmd"]).assert_code(2);
}

/// The script is one that bash takes, and it completes.
#[test]
fn bash_completes_config_commands() {
    let setup = Setup::new();
    let script = setup.hotshoe(&["completions", "bash"]).stdout;
    setup.file("complete.bash", script.as_bytes());
    let mut bash = Command::new("bash");
    let ask = "set -e; source ./complete.bash; COMP_WORDS=(hotshoe config wa); COMP_CWORD=2; \
               _hotshoe hotshoe wa config; echo \"${COMPREPLY[@]}\"";
    bash.args(["--norc", "-c", ask]);
    setup.place(&mut bash);
    let output = bash.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text, "watch\n", "{output:?}");
}

/// A listener that says what a test wants said: one answer a connection, in order.
struct Fake {
    thread: JoinHandle<Vec<String>>,
    /// What tells that the host lives; it has no admin socket.
    _lock: File,
}

impl Fake {
    fn start(setup: &Setup, answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let folder = setup.run_dir();
        fs::create_dir_all(&folder).unwrap();
        let url = format!("http://{}\n", listener.local_addr().unwrap());
        fs::write(folder.join("cfg.addr"), url).unwrap();
        let lock = File::create(folder.join("lock")).unwrap();
        flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        let serve = move || {
            answers
                .iter()
                .map(|answer| serve(&listener, answer))
                .collect()
        };
        Self {
            thread: std::thread::spawn(serve),
            _lock: lock,
        }
    }

    /// The requests, in order, once every answer was given.
    fn requests(self) -> Vec<String> {
        self.thread.join().unwrap()
    }
}

fn serve(listener: &TcpListener, answer: &str) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    let request = request(&mut stream);
    stream.write_all(answer.as_bytes()).unwrap();
    request
}

/// One request, head and body.
fn request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let len = head.to_ascii_lowercase();
            let len = len.split("content-length: ").nth(1);
            let len = len.and_then(|rest| rest.split("\r\n").next()?.parse().ok());
            if body.len() >= len.unwrap_or(0) {
                return text;
            }
        }
        let read = hotshoe_tests::read_some(stream, &mut piece).unwrap();
        assert_ne!(read, 0, "half a request: {text}");
        bytes.extend_from_slice(&piece[..read]);
    }
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn refusal(status: u16, slug: &str, retry_after: &str) -> String {
    let body =
        json!({"detail": "no", "status": status, "type": format!("urn:hotshoe:config:{slug}")});
    let body = body.to_string();
    format!(
        "HTTP/1.1 {status} No\r\ncontent-type: application/problem+json\r\n{retry_after}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn first_line(request: &str) -> &str {
    request.lines().next().unwrap()
}

/// What each of these commands asks, and what it makes of the answers of config-api §6.
#[test]
fn confirm_and_diff_speak_the_contract() {
    let setup = Setup::new();
    let pending = "{\"changed\":true,\"confirm\":{\"base\":3,\"deadline\":\"2026-01-02T03:05:08.000000Z\"},\"durable\":true,\"generation\":4,\"op\":\"put\",\"parent\":3}\n";
    let difference =
        "{\"from\":3,\"patch\":[{\"op\":\"replace\",\"path\":\"/value\",\"value\":20}],\"to\":5}\n";
    let answers = [
        ok(pending),
        ok("{\"confirmed\":true,\"generation\":4}\n"),
        ok("{\"confirmed\":true,\"generation\":4}\n"),
        ok(difference),
        ok(difference),
        ok("{\"from\":3,\"patch\":[],\"to\":4}\n"),
        refusal(409, "nothing-to-confirm", ""),
        refusal(409, "confirm-pending", "retry-after: 9\r\n"),
    ];
    let fake = Fake::start(&setup, answers.to_vec());
    let deadline = "2026-01-02T03:05:08.000000Z";
    assert_eq!(
        prints(&setup, "set /value 7 --confirm 60s --if-match 3"),
        format!(
            "generation 4 (put)\nconfirm it by {deadline} with `hotshoe config confirm 4`, or generation 3 comes back\n"
        )
    );
    assert_eq!(prints(&setup, "confirm"), "generation 4 is confirmed\n");
    assert_eq!(
        prints(&setup, "confirm 4 --json"),
        "{\"confirmed\":true,\"generation\":4}\n"
    );
    assert_eq!(prints(&setup, "diff 3"), "replace /value 20\n");
    assert_eq!(prints(&setup, "diff 3 5 --json"), difference);
    assert_eq!(
        prints(&setup, "diff 3 4"),
        "generations 3 and 4 hold the same value\n"
    );
    let finished = config(&setup, "confirm");
    finished.assert_code(1);
    assert_eq!(finished.error_code(), "nothing-to-confirm");
    let finished = config(&setup, "set /value 8");
    finished.assert_code(1);
    assert_eq!(
        finished.stderr,
        "error[confirm-pending]: no\n  fix:    try again in 9 s\n"
    );

    let requests = fake.requests();
    let lines: Vec<&str> = requests.iter().map(|request| first_line(request)).collect();
    assert_eq!(
        lines,
        [
            "PUT /v1/config/value?confirm=60s HTTP/1.1",
            "POST /v1/confirm HTTP/1.1",
            "POST /v1/confirm HTTP/1.1",
            "GET /v1/diff?from=3 HTTP/1.1",
            "GET /v1/diff?from=3&to=5 HTTP/1.1",
            "GET /v1/diff?from=3&to=4 HTTP/1.1",
            "POST /v1/confirm HTTP/1.1",
            "PUT /v1/config/value HTTP/1.1",
        ]
    );
    assert!(
        requests[0].contains("\r\nif-match: \"3\"\r\n"),
        "{}",
        requests[0]
    );
    assert!(requests[1].ends_with("\r\n\r\n"), "{}", requests[1]);
    assert!(
        requests[2].ends_with("\r\n\r\n{\"generation\":4}"),
        "{}",
        requests[2]
    );
}

/// The same against the real thing: a change that waits is kept, or dropped, and refuses others meanwhile.
#[test]
fn a_change_waits_for_its_confirmation() {
    let setup = alone();
    let mut host = ready(&setup);
    let line = prints(&setup, "set /value 11 --confirm 10m");
    assert!(
        line.starts_with("generation 2 (put)\nconfirm it by "),
        "{line}"
    );
    assert!(
        line.contains(" with `hotshoe config confirm 2`, or generation 1 comes back\n"),
        "{line}"
    );
    let finished = config(&setup, "set /value 12");
    finished.assert_code(1);
    assert_eq!(finished.error_code(), "confirm-pending");
    let finished = config(&setup, "confirm 1");
    finished.assert_code(1);
    assert_eq!(finished.error_code(), "generation-mismatch");
    assert_eq!(prints(&setup, "confirm 2"), "generation 2 is confirmed\n");
    assert_eq!(config(&setup, "confirm").error_code(), "nothing-to-confirm");

    prints(&setup, "set /value 13 --confirm 10m");
    let line = prints(&setup, "rollback");
    assert!(line.starts_with("generation 4 (rollback)\n"), "{line}");
    assert_eq!(prints(&setup, "diff 3"), "replace /value 11\n");
    let body = http::get(&address(&setup, "cfg"), "/v1/diff?from=3&to=4").text();
    assert_eq!(prints(&setup, "diff 3 4 --json"), body);
    let finished = config(&setup, "diff 9");
    finished.assert_code(1);
    assert_eq!(finished.error_code(), "generation-not-found");
    let finished = config(&setup, "set /value 1 --confirm soon");
    finished.assert_code(1);
    assert_eq!(finished.error_code(), "bad-query");
    host.stop();
}

/// A host that was killed and started again has another port; whoever watched it misses nothing.
#[test]
fn a_watch_outlives_its_host() {
    let setup = Setup::new();
    let entry = Entry::of("cfg", artifacts::library("hotshoe-dynamic-config"))
        .set("listen = [\"127.0.0.1:0\"]")
        .set("state = \"dir\"");
    setup.entries("", &[entry]);
    let mut host = ready(&setup);
    let mut command = Command::new(artifacts::hotshoe());
    command.args(["config", "watch", "--value"]);
    let mut watch = setup.start_command(command);
    watch.wait_stdout_lines(1);
    prints(&setup, "set /value 11");
    watch.wait_stdout_lines(2);
    host.signal(Signal::KILL);
    host.wait_exit();
    watch.wait_log("the loss of the host", |line| {
        line.text().contains("; trying again every 1000 ms")
    });
    let mut host = ready(&setup);
    prints(&setup, "set /value 12");
    let lines = watch.wait_stdout_lines(3);
    let seen: Vec<(&str, &str)> = lines
        .iter()
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (words[0], words[3])
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("1", "{\"value\":10}"),
            ("2", "{\"value\":11}"),
            ("3", "{\"value\":12}")
        ]
    );
    host.stop();
    watch.assert_exit(0);
    let stdout = String::from_utf8(watch.stdout()).unwrap();
    assert!(
        stdout.ends_with("\nthe host says goodbye: stopping\n"),
        "{stdout}"
    );
}

/// What is on the other end is no configuration API.
#[test]
fn a_stranger_on_the_port_is_named_as_one() {
    let setup = Setup::new();
    let answers = [
        "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        "SSH-2.0-OpenSSH_9.6\r\n",
    ];
    let fake = Fake::start(&setup, answers.map(str::to_owned).to_vec());
    let finished = config(&setup, "get --json");
    finished.assert_code(1);
    assert_eq!(finished.error_code(), "unexpected-answer");
    let finished = config(&setup, "get");
    finished.assert_code(1);
    assert_eq!(finished.error_code(), "no-answer");
    // And then nobody listens there any more.
    let Fake { thread, _lock } = fake;
    assert_eq!(thread.join().unwrap().len(), 2);
    let finished = config(&setup, "get");
    assert_eq!(
        (finished.code, finished.error_code().as_str()),
        (Some(1), "no-answer")
    );
}

const STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: hotshoe 1\nretry: 5\n\n";

fn event(generation: u64) -> String {
    format!(
        "id: {generation}\nevent: config\ndata: {{\"at\":\"T\",\"generation\":{generation},\"op\":\"put\",\"parent\":{}}}\n\n",
        generation - 1
    )
}

const BYE: &str = "event: bye\ndata: {\"reason\":\"stopping\"}\n\n";

/// A connection that breaks, in the middle of an event, is made again where it left off; a goodbye is the end.
#[test]
fn a_watch_goes_on_until_goodbye() {
    let setup = Setup::new();
    let half = event(3);
    let answers = vec![
        format!("{STREAM}{}{}", event(2), &half[..half.len() - 5]),
        refusal(503, "not-ready", "retry-after: 1\r\n"),
        format!("{STREAM}{}{BYE}", event(3)),
    ];
    let fake = Fake::start(&setup, answers);
    let finished = config(&setup, "watch --value");
    finished.assert_code(0);
    assert_eq!(
        finished.stdout,
        "     2  T  put\n     3  T  put\nthe host says goodbye: stopping\n"
    );
    assert!(
        finished.stderr.contains("trying again every 5 ms"),
        "{finished:#?}"
    );
    let requests = fake.requests();
    assert_eq!(
        first_line(&requests[0]),
        "GET /v1/watch?include=value HTTP/1.1"
    );
    assert!(!requests[0].contains("last-event-id"), "{}", requests[0]);
    for request in &requests[1..] {
        assert!(request.contains("\r\nlast-event-id: 2\r\n"), "{request}");
    }
}

/// A program reads the data of each event, one a line; a refusal at the first try is the end.
#[test]
fn a_watch_is_lines_of_json_or_a_refusal() {
    let setup = Setup::new();
    let answers = vec![
        format!("{STREAM}{}{BYE}", event(2)),
        refusal(503, "too-many-watchers", "retry-after: 1\r\n"),
    ];
    let fake = Fake::start(&setup, answers);
    let lines = prints(&setup, "watch --json");
    assert_eq!(
        lines,
        "{\"at\":\"T\",\"generation\":2,\"op\":\"put\",\"parent\":1}\n{\"reason\":\"stopping\"}\n"
    );
    let finished = config(&setup, "watch");
    finished.assert_code(1);
    assert_eq!(finished.error_code(), "too-many-watchers");
    assert_eq!(fake.requests().len(), 2);
}

/// The log lines of a command are as those of a host.
#[test]
fn a_problem_is_an_event_where_logs_are_json() {
    let setup = Setup::new();
    let finished = setup.hotshoe(&["config", "get", "--log-format", "json"]);
    finished.assert_code(1);
    let lines: Vec<LogLine> = finished.logs();
    assert_eq!(lines.len(), 1, "{finished:#?}");
    assert_eq!(finished.error_code(), "no-host");
}
