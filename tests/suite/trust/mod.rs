//! Trust before load: hostile files, a path that is swapped while it is read, locks and signatures.

mod corpus;
mod fuzz;
mod hostile;
mod inspect;
#[allow(dead_code, unreachable_pub, reason = "shared with fuzz_loader")]
#[path = "../../load/mutation.rs"]
mod mutation;
mod provenance;
mod swap;
#[allow(dead_code, unreachable_pub, reason = "shared with swap_race")]
#[path = "../../load/swapping.rs"]
mod swapping;
