//! The cases of config-api §16 through the real binary: what a client on the wire sees, byte for byte.
//!
//! Q is the quickstart profile, whose value is in memory; D the standard one with a touch of 10, whose value is in a journal.
//! Ports are ephemeral wherever the case is not about 9999.

mod abuse;
mod address;
mod bodies;
mod conditions;
mod confirm;
#[path = "../../load/confirming.rs"]
mod confirming;
mod demo;
mod description;
mod durable;
#[allow(dead_code, reason = "shared with the long run")]
#[path = "../../load/dying.rs"]
mod dying;
mod edits;
mod faults;
mod framing;
mod guards;
mod history;
#[allow(dead_code, unreachable_pub, reason = "shared with the long runs")]
#[path = "../../load/killing.rs"]
mod killing;
mod more;
mod refusals;
mod rows;
mod script;
mod stream;
mod watch;

use hotshoe_tests::{DEADLINE, Entry, Setup, TestHost, artifacts, http};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
};

/// The instance that every case asks.
const INSTANCE: &str = "dynamic-config";
const JSON: (&str, &str) = ("Content-Type", "application/json");
const JSON_PATCH: (&str, &str) = ("Content-Type", "application/json-patch+json");
const MERGE_PATCH: (&str, &str) = ("Content-Type", "application/merge-patch+json");
const NO_BODY: &[u8] = b"";

/// What the stream appends: the demo's processor.
fn append() -> Entry {
    Entry::of("append", artifacts::library("hotshoe-quickstart"))
        .key("after = [\"dynamic-config\"]")
        .set("topic = \"dynamic-config\"")
}

/// The plugin on 9999 on both loopback addresses.
fn instance() -> Entry {
    Entry::of(INSTANCE, artifacts::library("hotshoe-dynamic-config"))
}

/// The plugin on ports that the machine chooses.
fn on_any_port() -> Entry {
    instance().set("listen = [\"127.0.0.1:0\", \"[::1]:0\"]")
}

/// Q.
fn quickstart() -> Entry {
    on_any_port().set("profile = \"quickstart\"")
}

/// D.
fn standard() -> Entry {
    on_any_port().set("touch = { step = 10 }")
}

/// A folder with a config of that entry alone.
fn alone(entry: Entry) -> Setup {
    let setup = Setup::new();
    setup.entries("", &[entry]);
    setup
}

/// D with a schema and an initial value of its own: an inline TOML table.
fn with_schema(schema: &Value, initial: &str) -> Setup {
    let setup = Setup::new();
    let path = setup.file("schema.json", schema.to_string().as_bytes());
    let entry = standard_without_touch()
        .set(&format!("schema = {:?}", path.display().to_string()))
        .set(&format!("initial = {initial}"));
    setup.entries("", &[entry]);
    setup
}

/// The same with one more setting.
fn with_schema_and(schema: &Value, initial: &str, setting: &str) -> Setup {
    let setup = Setup::new();
    let path = setup.file("schema.json", schema.to_string().as_bytes());
    let entry = standard_without_touch()
        .set(&format!("schema = {:?}", path.display().to_string()))
        .set(&format!("initial = {initial}"))
        .set(setting);
    setup.entries("", &[entry]);
    setup
}

fn standard_without_touch() -> Entry {
    on_any_port().set("profile = \"standard\"")
}

fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

/// A ready host and the way to its listener.
struct Served<'a> {
    host: TestHost<'a>,
    setup: &'a Setup,
    /// As the address file names them.
    urls: Vec<String>,
    /// Of the first URL.
    port: u16,
}

impl<'a> Served<'a> {
    #[track_caller]
    fn start(setup: &'a Setup) -> Self {
        let host = setup.start();
        host.wait_ready();
        let urls = setup.addresses(INSTANCE);
        let port = urls[0].rsplit(':').next().unwrap().parse().unwrap();
        Self {
            host,
            setup,
            urls,
            port,
        }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `localhost:<port>`, as curl would name it.
    fn localhost(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// One request on a connection of its own; judges what holds for every answer.
    #[track_caller]
    fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> http::Response {
        let request = http::request(method, path, &self.localhost(), headers, body);
        let mut stream = http::connect(&self.address());
        let response = match method {
            "HEAD" => {
                std::io::Write::write_all(&mut stream, &request).unwrap();
                http::read_without_body(&mut stream)
            }
            _ => http::exchange(&mut stream, &request),
        };
        assert_fixed_headers(&response, path);
        description::judge(self, method, path, headers, &response);
        response
    }

    #[track_caller]
    fn get(&self, path: &str) -> http::Response {
        self.ask("GET", path, &[], NO_BODY)
    }

    #[track_caller]
    fn put(&self, body: &str) -> http::Response {
        self.put_at("", body)
    }

    #[track_caller]
    fn put_at(&self, pointer: &str, body: &str) -> http::Response {
        let path = format!("/v1/config{pointer}");
        self.ask("PUT", &path, &[JSON], body.as_bytes())
    }

    #[track_caller]
    fn touch(&self) -> http::Response {
        self.ask("POST", "/v1/touch", &[], NO_BODY)
    }

    /// The value at the root, canonical.
    #[track_caller]
    fn value(&self) -> String {
        let response = self.get("/v1/config");
        assert_eq!(response.status, 200, "{response:?}");
        response.text().trim_end().to_owned()
    }

    #[track_caller]
    fn state(&self) -> State {
        State::of(&self.address(), &self.host, self.setup)
    }

    /// Asserts that `act` leaves everything as it is.
    #[track_caller]
    fn unchanged<T>(&self, act: impl FnOnce() -> T) -> T {
        unchanged(&self.address(), &self.host, self.setup, act)
    }
}

/// Everything that "unchanged" speaks of, but for the events.
#[derive(Debug, Clone, PartialEq)]
struct State {
    value: String,
    tag: String,
    generation: u64,
    /// What waits for its confirmation; without how long that still is.
    pending: [Value; 3],
    history: Value,
    extent: Value,
    /// Name and bytes of every segment; empty for a value in memory.
    journal: BTreeMap<String, Vec<u8>>,
    epoch: Value,
    topic: Value,
}

impl State {
    #[track_caller]
    fn of(address: &str, host: &TestHost<'_>, setup: &Setup) -> Self {
        let config = http::get(address, "/v1/config");
        let status = http::get(address, "/v1/status").json();
        let pending = |member| status["confirm"][member].clone();
        let admin = host.status();
        // As the host sees it: it may have file systems of its own.
        let journal = killing::journal(setup);
        let journal = Path::new("/proc")
            .join(host.pid().to_string())
            .join("root")
            .join(journal.strip_prefix("/").unwrap());
        Self {
            value: config.text(),
            tag: config.header("etag").unwrap().to_owned(),
            generation: status["generation"].as_u64().unwrap(),
            pending: ["base", "deadline", "generation"].map(pending),
            history: http::get(address, "/v1/history?limit=1000").json(),
            extent: status["history"].clone(),
            journal: match journal.exists() {
                true => killing::segments(&journal),
                false => BTreeMap::new(),
            },
            epoch: admin["epoch"].clone(),
            topic: admin["topics"][INSTANCE].clone(),
        }
    }
}

/// Asserts that `act` leaves value, generation, history and journal as they are, and that a watcher hears nothing of it.
#[track_caller]
fn unchanged<T>(address: &str, host: &TestHost<'_>, setup: &Setup, act: impl FnOnce() -> T) -> T {
    let before = State::of(address, host, setup);
    let current = before.generation.to_string();
    let mut watcher = watch::Watcher::open_at(address, "", &[("Last-Event-ID", &current)]);
    let outcome = act();
    assert_eq!(State::of(address, host, setup), before);
    // The thread that gave these answers sends the events too: what it had to send before them is here.
    watcher.assert_nothing_came();
    outcome
}

/// What §3 says of every response.
#[track_caller]
fn assert_fixed_headers(response: &http::Response, path: &str) {
    let cache = match response.header("cache-control") {
        Some("no-cache") if path.starts_with("/v1/config") => "no-cache",
        _ => "no-store",
    };
    for (name, value) in [
        ("cache-control", cache),
        ("x-content-type-options", "nosniff"),
        (
            "content-security-policy",
            "default-src 'none'; frame-ancestors 'none'",
        ),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(response.header(name), Some(value), "{name} of {response:?}");
    }
    let foreign = response.headers.iter().find(|(name, _)| {
        name.starts_with("access-control-") || name == "content-encoding" || name == "upgrade"
    });
    assert_eq!(foreign, None, "{response:?}");
}

/// The body of a problem, judged by §4: its form, and that status, title and type say the same.
#[track_caller]
fn problem(response: &http::Response, status: u16, slug: &str) -> Value {
    let text = response.text();
    let json = response.json();
    assert_eq!(
        (response.status, &json["type"]),
        (status, &json!(format!("urn:hotshoe:config:{slug}"))),
        "{text}"
    );
    assert_eq!(
        response.header("content-type"),
        Some("application/problem+json")
    );
    let title = slug.replace('-', " ");
    let title = title[..1].to_uppercase() + &title[1..];
    assert_eq!(json["title"], title, "{text}");
    assert_eq!(json["status"], status, "{text}");
    assert!(
        json["detail"].as_str().is_some_and(|text| !text.is_empty()),
        "{text}"
    );
    assert_eq!(text, canonical(&json) + "\n", "canonical JSON and one LF");
    json
}

/// The body of D's change answer, byte for byte but for what the test does not care about: `op`, `generation`.
#[track_caller]
fn changed(response: &http::Response, op: &str, generation: u64) {
    let expected = format!(
        "{{\"changed\":true,\"confirm\":null,\"durable\":true,\"generation\":{generation},\"op\":\"{op}\",\"parent\":{}}}\n",
        generation - 1
    );
    assert_eq!((response.status, response.text()), (200, expected));
    assert_eq!(response.header("content-type"), Some("application/json"));
    let named = response.header("hotshoe-generation");
    assert_eq!(named, Some(generation.to_string().as_str()));
    assert_eq!(response.header("etag"), None, "RFC 9110 §9.3.4");
}

/// The canonical form of config-api §5, written by hand: whatever order serde_json was built to keep.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort();
            let pair = |name: &String| format!("{}:{}", json!(name), canonical(&members[name]));
            let pairs: Vec<String> = names.into_iter().map(pair).collect();
            format!("{{{}}}", pairs.join(","))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        plain => plain.to_string(),
    }
}

/// Without the members whose wording is no contract.
fn without_wording(mut json: Value) -> Map<String, Value> {
    let members = json.as_object_mut().unwrap();
    members.remove("detail");
    members.remove("hint");
    std::mem::take(members)
}

/// How a `curl` ended.
#[derive(Debug)]
struct Curl {
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: String,
}

/// The real curl, as somebody types it: only the tester's own proxies and settings are kept out.
fn curl_command(arguments: &[&str]) -> Command {
    let mut command = Command::new("curl");
    command
        .args(["-q", "-s", "-S", "--noproxy", "*", "--max-time", "20"])
        .args(arguments)
        .stdin(Stdio::null());
    command
}

#[track_caller]
fn curl(arguments: &[&str]) -> Curl {
    let output = curl_command(arguments).output().expect("curl is installed");
    Curl {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The body that curl printed.
#[track_caller]
fn curl_text(arguments: &[&str]) -> String {
    let curl = curl(arguments);
    assert_eq!((curl.code, curl.stderr.as_str()), (Some(0), ""), "{curl:?}");
    String::from_utf8(curl.stdout).unwrap()
}
