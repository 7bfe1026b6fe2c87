//! Isolated instances whose workers die, at every moment of a run.

#[path = "restart/coming_back.rs"]
mod coming_back;
#[path = "restart/executors.rs"]
mod executors;
#[path = "restart/killing.rs"]
mod killing;
#[path = "restart/poison.rs"]
mod poison;
#[path = "restart/starting.rs"]
mod starting;
#[path = "restart/stopping.rs"]
mod stopping;
#[path = "restart/told_in_vain.rs"]
mod told_in_vain;

use super::*;
use std::time::Duration;

const AGAIN: &str = "a load, a new, a init, a register_metrics";

/// One with a driver, in a worker.
fn driver() -> World {
    World::of([instance("a", &[D]).isolated()])
}

/// One that records pass through, on so many executors.
fn processor(executors: u32) -> World {
    World::of([instance("a", &[P]).isolated().in_stream()])
        .stream()
        .executors(executors)
}

fn begun(mut world: World) -> World {
    world.start();
    assert!(world.supervisor.ready(), "{}", world.log());
    world
}
