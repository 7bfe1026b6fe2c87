//! Temporary: the modules of what a stranger meets first.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap in here is a failed test, with its line"
)]

mod cli;
mod readme;
mod third_party;
