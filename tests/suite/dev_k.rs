//! Temporary.
#![allow(clippy::unwrap_used, reason = "tests")]
mod cli;
mod config_cli;
mod live_config;
mod readme;
