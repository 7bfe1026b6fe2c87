//! Temporary.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap in here is a failed test, with its line"
)]

mod config_api;
