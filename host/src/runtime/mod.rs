//! The edge: threads, timers, files. What it does is ordered by the supervisor; it decides nothing.

pub(crate) mod event_loop;
pub(crate) mod executor;
pub(crate) mod loading;
