//! `hotshoe status`: asks a running host over its admin socket and prints the answer.

use super::{
    super::{
        dirs::{ADMIN_SOCKET, run_dir_of_service, run_parent},
        report::{self, LogFormat},
    },
    hosts,
};
use hotshoe::{Blame, ExitCode, Problem};
use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::net::UnixStream;

/// A host that does not answer within this time is not well.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn status(as_json: bool, host: Option<&str>, format: LogFormat) -> ExitCode {
    match find(host).and_then(|socket| ask_now(&socket)) {
        Ok(status) if as_json => report::out(&format!("{status:#}\n")),
        Ok(status) => report::out(&table(&status)),
        Err(problem) => {
            report::problem(&problem, format);
            return problem.exit;
        }
    }
    ExitCode::Clean
}

/// The admin socket of the one host that runs, or of the one that is named.
fn find(host: Option<&str>) -> Result<PathBuf, Problem> {
    let parent = run_parent();
    // A socket that nobody listens on is left over from a host that was killed.
    let listens =
        |folder: &Path| std::os::unix::net::UnixStream::connect(folder.join(ADMIN_SOCKET)).is_ok();
    let running = hosts::running(&parent, run_dir_of_service(), listens);
    let chosen = hosts::choose(&running, host, &parent, ExitCode::Usage);
    chosen
        .map(|host| host.folder.join(ADMIN_SOCKET))
        .map_err(|problem| match problem.code.as_str() {
            "no-host" => problem.fix("start one with `hotshoe run`, with [host] admin = \"unix\"; for one that a service manager started, set RUNTIME_DIRECTORY to its folder"),
            _ => problem,
        })
}

fn ask_now(socket: &Path) -> Result<Value, Problem> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(socket, &error.to_string()))?;
    runtime.block_on(ask(socket))
}

/// What the host behind that admin socket says of itself.
///
/// # Errors
/// `no-answer`.
pub(super) async fn ask(socket: &Path) -> Result<Value, Problem> {
    match tokio::time::timeout(PATIENCE, get(socket)).await {
        Err(_) => {
            let why = format!("nothing within {} s", PATIENCE.as_secs());
            Err(failed(socket, &why))
        }
        Ok(answer) => answer.map_err(|error| failed(socket, &error.to_string())),
    }
}

fn failed(socket: &Path, why: &str) -> Problem {
    let headline = format!(
        "the host behind {} does not answer: {why}",
        socket.display()
    );
    Problem::error(ExitCode::Running, Blame::Environment, "no-answer", headline)
}

async fn get(socket: &Path) -> Result<Value, Box<dyn std::error::Error>> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get("/status")
        .header("host", "hotshoe")
        .body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let body = answer.into_body().collect().await?.to_bytes();
    Ok(serde_json::from_slice(&body)?)
}

fn table(status: &Value) -> String {
    let text = |value: &Value, key: &str| match &value[key] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let mut out = format!(
        "host {} is {} (pid {}, epoch {}, up {} s)\n",
        text(status, "host"),
        text(status, "state"),
        text(status, "pid"),
        text(status, "epoch"),
        status["uptime_ms"].as_u64().unwrap_or(0) / 1000,
    );
    let instances = list(status, "instances");
    let width = instances
        .iter()
        .map(|instance| text(instance, "name").len())
        .max()
        .unwrap_or(0);
    for instance in &instances {
        let parts: Vec<String> = list(instance, "parts")
            .iter()
            .filter_map(|part| part.as_str().map(str::to_owned))
            .collect();
        let endpoints: Vec<String> = list(instance, "endpoints")
            .iter()
            .filter_map(|url| url.as_str().map(str::to_owned))
            .collect();
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "  {:width$}  {:<12}  since {}  {}",
            text(instance, "name"),
            text(instance, "state"),
            text(instance, "since"),
            parts.join(","),
        );
        for extra in [endpoints.join(" "), text(instance, "reason")] {
            if !extra.is_empty() {
                // A plugin's words, both.
                let _ = write!(out, "  {}", report::printable(&extra));
            }
        }
        out.push('\n');
        worker(&instance["worker"], &mut out);
    }
    for executor in list(status, "executors") {
        let _ = writeln!(
            out,
            "  executor {}  {}",
            text(&executor, "id"),
            text(&executor, "state")
        );
    }
    if let Some(topics) = status["topics"].as_object() {
        for (topic, generation) in topics {
            let _ = writeln!(out, "  topic {topic}  generation {generation}");
        }
    }
    if status["stream"].is_object() {
        let stream = &status["stream"];
        let _ = writeln!(
            out,
            "  stream  {} records in, {} out, {} tasks, {} failed, {} dead letters",
            text(stream, "records_in"),
            text(stream, "records_out"),
            text(stream, "tasks_started"),
            text(stream, "tasks_failed"),
            text(stream, "dead_letters"),
        );
    }
    out
}

/// The process of an isolated instance: which, the how manieth, what holds it, and how the ones before it died.
fn worker(worker: &Value, out: &mut String) {
    if worker.is_null() {
        return;
    }
    let pid = match worker["pid"].as_u64() {
        Some(pid) => format!("pid {pid}"),
        None => "no process".to_owned(),
    };
    let lives = worker["lives"].as_u64().unwrap_or(0);
    let _ = writeln!(out, "    worker  {pid}, life {lives}");
    let list = |key: &str| worker[key].as_array().cloned().unwrap_or_default();
    let word = |value: &Value, key: &str| {
        // The kernel's words, or a plugin's.
        report::printable(value[key].as_str().unwrap_or_default()).into_owned()
    };
    for part in list("enforced") {
        let _ = writeln!(
            out,
            "    held    {}: {}",
            word(&part, "what"),
            word(&part, "layer")
        );
    }
    for crash in list("crashes") {
        let task = match crash["task"].as_u64() {
            Some(task) => format!(", at task {task}"),
            None => String::new(),
        };
        let _ = writeln!(
            out,
            "    died    {}  {}{task}",
            word(&crash, "at"),
            word(&crash, "how")
        );
    }
}
