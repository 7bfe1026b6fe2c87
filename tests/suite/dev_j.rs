//! Temporary.
#![allow(clippy::unwrap_used, reason = "tests")]
mod config_api;
