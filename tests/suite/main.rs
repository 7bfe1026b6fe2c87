//! Every case through the real binary, in one test binary: it is linked once, and what it drives is built once.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap in here is a failed test, with its line"
)]

mod chaos;
mod cli;
mod config_api;
mod config_cli;
mod config_place;
mod conformance;
mod evolution;
mod fixtures;
mod live_config;
mod process;
mod readme;
mod sandbox;
mod spark;
mod third_party;
mod tidy;
mod trust;
mod zoo;
