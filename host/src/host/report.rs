//! What a host says of itself: status and metrics, read from what others keep.

use super::{About, Host};
use crate::{
    machine::supervisor::{self},
    services::{
        clock,
        metric::{self, HostMetric},
    },
    status::{
        ExecutorStatus, InstanceStatus, MessageStatus, MetricStatus, OptionStatus, Status,
        StreamStatus,
    },
    stream,
};
use hotshoe_abi::ABI_VERSION;
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};
use time::OffsetDateTime;

impl Host {
    /// The host at this moment.
    #[must_use]
    pub fn status(&self) -> Status {
        // Before the snapshot: records of crashes are read from a disk, and the event loop waits for whoever reads the snapshot.
        let mut workers: Vec<_> = self.backends.iter().map(|one| one.worker()).collect();
        let snapshot = self.snapshot.read();
        let metrics = self.services.metrics.read();
        let instances = self.instances.iter().enumerate().map(|(place, about)| {
            let (state, reason, since) = snapshot.instances.get(place).cloned().unwrap_or_default();
            let of_instance = metrics
                .iter()
                .filter(|(owner, ..)| owner.instance == about.name);
            InstanceStatus {
                name: about.name.clone(),
                plugin: about.plugin.clone(),
                library: about.library.clone(),
                parts: about.parts.clone(),
                required: about.required,
                isolation: about.isolation,
                state: state.unwrap_or(supervisor::State::Verified),
                reason,
                since: rfc_3339(since.unwrap_or_else(SystemTime::now)),
                endpoints: self.endpoints(&about.name),
                messages: self.messages(&about.name),
                hook_errors: about.hook_errors.load(Ordering::Relaxed),
                worker: workers[place].take(),
                metrics: of_instance
                    .map(|(owner, name, value)| MetricStatus {
                        name: format!("plugin.{}.{name}", about.name),
                        component: owner.component,
                        executor: owner.executor.clone(),
                        value: value.clone(),
                    })
                    .collect(),
            }
        });
        Status {
            host: self.name.clone(),
            state: if snapshot.phase.is_empty() {
                "loading"
            } else {
                snapshot.phase
            },
            run_id: self.services.run.id.clone(),
            version: env!("CARGO_PKG_VERSION"),
            abi: ABI_VERSION,
            pid: std::process::id(),
            uptime_ms: self.started.lock().map_or(0, |started| {
                u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
            }),
            epoch: self.services.config.pin().epoch(),
            instances: instances.collect(),
            executors: snapshot
                .executors
                .iter()
                .map(|(id, state)| ExecutorStatus { id: *id, state })
                .collect(),
            topics: self.services.config.generations().into_iter().collect(),
            stream: self.counts.as_ref().map(|counts| stream_status(counts)),
            options: self.options(),
        }
    }

    /// Whether everything is ready and nothing stops.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.snapshot.read().ready
    }

    fn options(&self) -> Vec<OptionStatus> {
        let options = self.services.options.lock();
        let named = options.iter().map(|(key, value, plugin)| OptionStatus {
            key: key.clone(),
            value: value.clone(),
            plugin: plugin.clone(),
        });
        named.collect()
    }

    fn endpoints(&self, instance: &str) -> Vec<String> {
        let endpoints = self.services.endpoints.lock();
        endpoints
            .iter()
            .filter(|((name, _), _)| name == instance)
            .flat_map(|(_, urls)| urls.clone())
            .collect()
    }

    fn messages(&self, instance: &str) -> MessageStatus {
        let Some(counts) = self.services.messages.counts(instance) else {
            return MessageStatus::default();
        };
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MessageStatus {
            sent: read(&counts.sent),
            delivered: read(&counts.delivered),
            failed: read(&counts.failed),
            dropped: read(&counts.dropped),
            refused: read(&counts.refused),
        }
    }

    /// Every metric, the plugins' and the host's own, in Prometheus' text format.
    #[must_use]
    pub fn metrics(&self) -> String {
        metric::render(&self.services.metrics, self.host_metrics())
    }

    fn host_metrics(&self) -> Vec<HostMetric> {
        let of_instances = |name, help, read: &dyn Fn(&About) -> u64| HostMetric {
            name,
            help,
            counter: true,
            values: self
                .instances
                .iter()
                .map(|about| (vec![("plugin", about.name.clone())], read(about)))
                .collect(),
        };
        let mut metrics = vec![
            HostMetric {
                name: "ready",
                help: "1 while everything is ready",
                counter: false,
                values: vec![(Vec::new(), u64::from(self.is_ready()))],
            },
            HostMetric {
                name: "config_epoch",
                help: "Number of the newest config set",
                counter: false,
                values: vec![(Vec::new(), self.services.config.pin().epoch())],
            },
        ];
        if !self.instances.is_empty() {
            metrics.extend([
                of_instances("hook_errors", "Task hooks that failed", &|about| {
                    about.hook_errors.load(Ordering::Relaxed)
                }),
                of_instances(
                    "messages_sent",
                    "Messages accepted for the instance",
                    &|about| self.messages(&about.name).sent,
                ),
                of_instances(
                    "messages_delivered",
                    "Messages handed to a handler",
                    &|about| self.messages(&about.name).delivered,
                ),
                of_instances(
                    "messages_failed",
                    "Messages whose handler failed",
                    &|about| self.messages(&about.name).failed,
                ),
                of_instances(
                    "messages_dropped",
                    "Messages that no handler was given",
                    &|about| self.messages(&about.name).dropped,
                ),
            ]);
        }
        if let Some(counts) = &self.counts {
            let stream = stream_status(counts);
            let one = |name, help, value| HostMetric {
                name,
                help,
                counter: true,
                values: vec![(Vec::new(), value)],
            };
            metrics.extend([
                one("records_in", "Records read", stream.records_in),
                one("records_out", "Records written", stream.records_out),
                one("tasks_started", "Attempts at tasks", stream.tasks_started),
                one(
                    "tasks_succeeded",
                    "Attempts that succeeded",
                    stream.tasks_succeeded,
                ),
                one("tasks_failed", "Attempts that failed", stream.tasks_failed),
                one(
                    "dead_letters",
                    "Records that were kept apart",
                    stream.dead_letters,
                ),
            ]);
        }
        metrics
    }
}

fn stream_status(counts: &stream::Counts) -> StreamStatus {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    StreamStatus {
        records_in: read(&counts.records_in),
        records_out: read(&counts.records_out),
        tasks_started: read(&counts.tasks_started),
        tasks_succeeded: read(&counts.tasks_succeeded),
        tasks_failed: read(&counts.tasks_failed),
        dead_letters: read(&counts.dead_letters),
    }
}

fn rfc_3339(at: SystemTime) -> String {
    clock::rfc_3339_millis(OffsetDateTime::from(at))
}
