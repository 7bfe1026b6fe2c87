//! Temporary.
#![allow(clippy::unwrap_used, reason = "tests")]
#[path = "config_api/durable.rs"]
mod durable;
