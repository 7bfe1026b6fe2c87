//! Chaos: a seed becomes a schedule (`plan.rs`), the schedule is done to a real host (`run.rs`), and what came of it is held
//! against what the documentation promises (`judge.rs`). Shared by the suite's short case and the long run `load/chaos.rs`.
//!
//! It never waits for a time, only for what the host shows; a wait that nothing ends is a violation like any other.

mod judge;
pub(crate) mod plan;
mod run;

pub(crate) use plan::Plan;

use hotshoe_tests::Setup;
use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// What a run without a violation did.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    /// SIGKILLs that a worker was there to get.
    pub(crate) kills: u64,
    /// Workers that died, by SIGKILL or by a record.
    pub(crate) deaths: u64,
    pub(crate) records: u64,
    pub(crate) dead_letters: u64,
    /// Records that were taken for poison because a worker was killed while it had them, as is documented.
    pub(crate) innocents: u64,
    /// Acknowledged changes of the configuration.
    pub(crate) changes: u64,
    /// How much more memory the host had at the end than after the first deaths, in KiB.
    pub(crate) grown_kib: i64,
}

/// Runs a plan. The error says what was violated; with `kept`, everything that the run left is copied there.
pub(crate) fn run(plan: &Plan, kept: &Path) -> Result<Figures, String> {
    let setup = Setup::new();
    let mut run = run::Run::start(plan, &setup);
    let outcome = catch_unwind(AssertUnwindSafe(|| run.go()));
    let outcome = outcome.unwrap_or_else(|payload| Err(said(payload.as_ref())));
    let outcome = outcome.map_err(|mut reason| {
        // A missed deadline prints all that came; that is kept in files.
        reason.truncate(
            reason
                .char_indices()
                .nth(600)
                .map_or(reason.len(), |(at, _)| at),
        );
        reason
    });
    if let Err(reason) = &outcome {
        let text = format!("{plan}\n\nviolation: {reason}\n");
        // The reason is what matters: a folder that cannot be written takes nothing from it.
        let _ = fs::create_dir_all(kept)
            .and_then(|()| fs::write(kept.join("plan"), text))
            .and_then(|()| run.keep(kept));
    }
    outcome
}

fn said(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}
