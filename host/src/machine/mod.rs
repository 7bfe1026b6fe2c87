//! Pure state machines: events in, effects out. No I/O, no clock, no log, and no knowledge of which backend carries an
//! effect out.

pub mod batch;
pub(crate) mod history;
pub(crate) mod retry;
#[allow(
    dead_code,
    unused_imports,
    reason = "whole from the start: the journal and the watchers of the configuration API use the rest"
)]
pub mod store;
pub(crate) mod supervisor;

/// An instance: its place in the merged configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct InstanceId(pub(crate) usize);

/// An executor: 0, 1, ….
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub(crate) struct ExecutorId(pub(crate) u32);

/// The parts that a manifest declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Parts {
    pub(crate) driver: bool,
    pub(crate) checker: bool,
    pub(crate) executor: bool,
    pub(crate) processor: bool,
}

impl Parts {
    /// Something of it lives on executors.
    pub(crate) fn on_executors(self) -> bool {
        self.executor || self.processor
    }

    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// The declared parts' names.
    pub(crate) fn names(self) -> Vec<&'static str> {
        [
            (self.driver, "driver"),
            (self.checker, "checker"),
            (self.executor, "executor"),
            (self.processor, "processor"),
        ]
        .into_iter()
        .filter_map(|(declared, name)| declared.then_some(name))
        .collect()
    }
}
