//! Temporary.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap in here is a failed test, with its line"
)]

#[path = "spark/bad_input.rs"]
mod bad_input;
#[path = "spark/context.rs"]
mod context;
#[path = "spark/init.rs"]
mod init;
#[path = "spark/loading.rs"]
mod loading;
#[path = "spark/metrics.rs"]
mod metrics;
