//! Temporary: the cases A19 to A30 and A34 to A37, and the samples.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap in here is a failed test, with its line"
)]

#[path = "spark/executors.rs"]
mod executors;
#[path = "spark/messages.rs"]
mod messages;
#[path = "spark/samples.rs"]
mod samples;
#[path = "spark/seed.rs"]
mod seed;
#[path = "spark/shutdown.rs"]
mod shutdown;
#[path = "spark/tasks.rs"]
mod tasks;
