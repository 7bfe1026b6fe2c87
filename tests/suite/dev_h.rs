//! Temporary.
#![allow(clippy::unwrap_used, reason = "tests")]
#[path = "trust/corpus.rs"]
mod corpus;
#[path = "trust/fuzz.rs"]
mod fuzz;
#[path = "trust/hostile.rs"]
mod hostile;
#[path = "trust/inspect.rs"]
mod inspect;
#[allow(dead_code, unreachable_pub, reason = "shared with fuzz_loader")]
#[path = "../load/mutation.rs"]
mod mutation;
#[path = "trust/swap.rs"]
mod swap;
#[allow(dead_code, unreachable_pub, reason = "shared with swap_race")]
#[path = "../load/swapping.rs"]
mod swapping;
