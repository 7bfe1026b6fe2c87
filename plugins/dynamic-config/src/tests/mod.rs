//! The listener over real sockets on ports of its own, with a small store in memory. Every wait has a deadline; nothing
//! sleeps.

mod bounds;
mod client;
mod described;
mod fake;
mod live;
mod surface;

use crate::{
    app::{App, Facts},
    listener::{self, Bound},
    settings::{Plan, Settings},
    status,
    threads::Threads,
    token::Tokens,
    writer,
};
use client::Client;
use fake::Fake;
use hotshoe_json::canonical;
use hotshoe_plugin_api::{Error, Result};
use serde_json::{Map, Value, json};
use std::{net::SocketAddr, sync::Arc, thread::JoinHandle, time::Duration};

/// A running listener on ephemeral ports.
struct Instance {
    app: Arc<App>,
    threads: Threads,
    store: Arc<Fake>,
    address: SocketAddr,
    also: Option<SocketAddr>,
    _socket_file: Option<listener::SocketFile>,
}

/// The quickstart profile, as Q of config-api §16.
fn quickstart() -> Instance {
    start(json!({"profile": "quickstart"}))
}

/// The standard profile with `touch`, as D.
fn standard() -> Instance {
    start(json!({"touch": {"step": 10}}))
}

/// Starts with `settings`, on ephemeral ports unless they say otherwise.
fn start(settings: Value) -> Instance {
    start_with(settings, |_| {})
}

/// The same with a plan that `adjust` has changed.
fn start_with(settings: Value, adjust: impl FnOnce(&mut Plan)) -> Instance {
    let mut members = Map::new();
    members.insert("listen".to_owned(), json!(["127.0.0.1:0", "[::1]:0"]));
    members.extend(settings.as_object().unwrap().clone());
    let settings: Settings = serde_json::from_value(Value::Object(members)).unwrap();
    let mut plan = Plan::check(settings).unwrap();
    adjust(&mut plan);
    let tokens = plan
        .token_file
        .as_deref()
        .map(|path| Tokens::load(path).unwrap());
    let store = Arc::new(Fake::new(plan.initial.clone(), plan.touch.clone()));
    let Bound {
        listeners,
        urls,
        socket_file,
    } = listener::bind(&plan, "dynamic-config").unwrap();
    let facts = Facts {
        instance: "dynamic-config".to_owned(),
        schema: canonical(&plan.schema_document().unwrap()).into(),
        urls,
        started_at: status::now(),
    };
    let addresses: Vec<_> = listeners
        .tcp
        .iter()
        .map(|l| l.local_addr().unwrap())
        .collect();
    let (queue, writer, reader) = writer::queue();
    let held: Arc<dyn crate::store::Store> = Arc::clone(&store) as _;
    let app = Arc::new(App::new(plan, facts, held, queue, tokens));
    let threads = Threads::start(&app, listeners, (writer, reader), &plain_thread).unwrap();
    app.phase.set_ready();
    Instance {
        app,
        threads,
        store,
        address: addresses[0],
        also: addresses.get(1).copied(),
        _socket_file: socket_file,
    }
}

fn plain_thread(name: &str, work: Box<dyn FnOnce() + Send>) -> Result<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(work).map_err(Error::from)
}

impl Instance {
    fn client(&self) -> Client {
        Client::tcp(self.address)
    }

    /// Sends one request on a connection of its own, with the `Host` that curl would send.
    fn ask(&self, method_and_target: &str, headers: &[&str], body: &[u8]) -> client::Answer {
        let mut client = self.client();
        client.send_request(method_and_target, headers, body);
        let answer = client.answer();
        described::check(method_and_target, &answer);
        answer
    }

    fn get(&self, target: &str) -> client::Answer {
        self.ask(&format!("GET {target}"), &[], b"")
    }

    fn put(&self, body: &str) -> client::Answer {
        let json = "content-type: application/json";
        self.ask("PUT /v1/config", &[json], body.as_bytes())
    }

    /// What C5 to C24 mean by "unchanged".
    fn state(&self) -> (u64, String) {
        self.store.state()
    }

    fn stop(&mut self) -> Vec<&'static str> {
        self.threads.stop(Duration::from_secs(4))
    }
}
