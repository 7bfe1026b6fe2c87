//! Temporary.
#![allow(clippy::unwrap_used, reason = "tests")]
#[path = "trust/provenance.rs"]
mod provenance;
