//! What a host says of itself, as plain values: the admin socket and the command line both print these.

use crate::{machine::supervisor::State, services::metric::MetricValue};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A host at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// `[host] name`.
    pub host: String,
    /// `loading`, `initializing`, `ready`, `stopping` or `stopped`.
    pub state: &'static str,
    /// The same for every component of the run.
    pub run_id: String,
    /// This crate's version.
    pub version: &'static str,
    /// The ABI that this host speaks.
    pub abi: &'static str,
    /// The process.
    pub pid: u32,
    /// Milliseconds since the host was started.
    pub uptime_ms: u64,
    /// The newest config set's number.
    pub epoch: u64,
    /// In the merged configuration's order.
    pub instances: Vec<InstanceStatus>,
    /// In order.
    pub executors: Vec<ExecutorStatus>,
    /// Topics and their current generations.
    pub topics: BTreeMap<String, u64>,
    /// What went through the stream, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamStatus>,
    /// Host options that plugins have set.
    pub options: Vec<OptionStatus>,
}

/// One instance.
#[derive(Debug, Clone, Serialize)]
pub struct InstanceStatus {
    /// Its name.
    pub name: String,
    /// The plugin's own name and version.
    pub plugin: String,
    /// Its library, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub library: Option<String>,
    /// The declared parts.
    pub parts: Vec<&'static str>,
    /// Whether the host stops when it fails.
    pub required: bool,
    /// How it runs.
    pub isolation: &'static str,
    /// Where it is in its life.
    pub state: State,
    /// Why, where it is not well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when: UTC, RFC 3339, milliseconds.
    pub since: String,
    /// Addresses that it serves.
    pub endpoints: Vec<String>,
    /// What became of messages to it.
    pub messages: MessageStatus,
    /// Task hooks that failed.
    pub hook_errors: u64,
    /// Its process, with `isolation = "process"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerStatus>,
    /// Its metrics: `plugin.<instance>.<name>`, with the component and executor.
    pub metrics: Vec<MetricStatus>,
}

/// The process of one isolated instance.
#[derive(Debug, Clone, Serialize)]
pub struct WorkerStatus {
    /// The process; none while there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// How many there have been in this run.
    pub lives: u64,
    /// What holds it, as it says itself.
    pub enforced: Vec<EnforcedStatus>,
    /// Its last deaths, oldest first, also of runs before this one.
    pub crashes: Vec<Crash>,
}

/// One thing that a worker is kept from, and what keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EnforcedStatus {
    /// "reading files", "memory 256MiB".
    pub what: String,
    /// `landlock`, `seccomp`, `rlimit`, `cgroup`, or `not enforced: ` and why.
    pub layer: String,
}

/// A worker's death.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crash {
    /// UTC, RFC 3339, microseconds.
    pub at: String,
    /// "killed by signal 11 (SIGSEGV)".
    pub how: String,
    /// The task that it was at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<u64>,
    /// The last lines of its log, oldest first.
    #[serde(default)]
    pub log: Vec<String>,
}

/// Messages addressed to one instance.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct MessageStatus {
    /// Accepted from senders.
    pub sent: u64,
    /// Handed to a handler.
    pub delivered: u64,
    /// Of those, the ones whose handler failed.
    pub failed: u64,
    /// Accepted, and never handed to a handler.
    pub dropped: u64,
    /// Refused at once.
    pub refused: u64,
}

/// One metric of an instance.
#[derive(Debug, Clone, Serialize)]
pub struct MetricStatus {
    /// `plugin.<instance>.<name>`.
    pub name: String,
    /// `driver`, `checker` or `executor`.
    pub component: &'static str,
    /// `driver`, or the executor's number.
    pub executor: String,
    /// What it is now.
    #[serde(flatten)]
    pub value: MetricValue,
}

/// One executor.
#[derive(Debug, Clone, Serialize)]
pub struct ExecutorStatus {
    /// 0, 1, ….
    pub id: u32,
    /// `initializing`, `backing-off`, `ready`, `failed`, `hung`, `stopping` or `stopped`.
    pub state: &'static str,
}

/// What went through the stream.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct StreamStatus {
    /// Records read.
    pub records_in: u64,
    /// Records written.
    pub records_out: u64,
    /// Attempts at tasks.
    pub tasks_started: u64,
    /// Attempts that succeeded.
    pub tasks_succeeded: u64,
    /// Attempts that failed.
    pub tasks_failed: u64,
    /// Records that were kept apart.
    pub dead_letters: u64,
}

/// A host option that a plugin has set.
#[derive(Debug, Clone, Serialize)]
pub struct OptionStatus {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// By whom.
    pub plugin: String,
}
