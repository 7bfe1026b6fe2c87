//! Deaths that a record may be at fault for, and what becomes of them.
//!
//! Such a death (the worker was at the only batch that was out) is *held*: it does not count while the hunt for that record
//! goes on, for the hunt needs three deaths, and whoever is given up at the second or third has a single bad record to thank
//! for it. With the record found they are taken back, and so is the death in company that began the hunt, which counted
//! meanwhile: several tasks were under way, and nobody could tell. Each is taken back by the life that it ended, so none twice
//! and no other's. Where the task gets through without one they count as any, from the next
//! failure on: what has just shown that it works is not given up for it. No more than one hunt's deaths are held at a time, and
//! of the records found only so many a minute excuse anybody, so one that dies of everything is given up all the same, a few
//! deaths later. Who forgives no failure at all is taken at his word.
//!
//! Which record it was is not decided here, but by `machine/history.rs`.

use super::{
    Effect, InstanceId, Supervisor, Timer,
    restart::{Failure, Restarts},
};
use crate::machine::history::DEATHS_TO_FIND;
use std::time::Duration;

/// Poison records a minute whose deaths are taken back. More than these are no bad records, but a bad plugin.
const POISONS_PER_MINUTE_MAX: usize = 10;

const MINUTE: Duration = Duration::from_secs(60);

impl Restarts {
    /// Takes back the ends of these lives that still count; answers their serials.
    fn take_back(&mut self, lives: &[u64]) -> Vec<u32> {
        let ended = |failure: &Failure| failure.life.is_some_and(|life| lives.contains(&life));
        let (taken, left) = std::mem::take(&mut self.failures)
            .into_iter()
            .partition::<Vec<Failure>, _>(ended);
        self.failures = left;
        taken.into_iter().map(|failure| failure.serial).collect()
    }

    pub(super) fn held(&self) -> usize {
        self.failures.iter().filter(|failure| failure.held).count()
    }

    /// No record is at fault for what was held, or none that excuses it.
    pub(super) fn charge_held(&mut self) {
        for failure in &mut self.failures {
            failure.held = false;
        }
    }
}

impl Supervisor {
    /// Whether a death with a batch in hand is held: a hunt for the record goes on, or begins with it.
    pub(super) fn hunts(&self, id: InstanceId) -> bool {
        let plan = self.plan_of(id);
        let room = self.instances[id.0].restarts.held() < DEATHS_TO_FIND;
        self.stream_open && plan.in_stream && plan.restart.attempts > 0 && room
    }

    /// A poison record was found: the deaths that it caused were not the instance's fault.
    pub(super) fn poisoned(&mut self, id: InstanceId, lives: &[u64], effects: &mut Vec<Effect>) {
        let instance = &self.instances[id.0];
        if !self.isolated(id) || instance.out || !self.restarts_allowed() {
            return;
        }
        let restarts = self.restarts(id);
        let serial = restarts.serial();
        restarts.poisons.push(serial);
        effects.push(Effect::Arm(Timer::Forgive(id, serial), MINUTE));
        if restarts.poisons.len() > POISONS_PER_MINUTE_MAX {
            restarts.charge_held();
            return;
        }
        let taken = restarts.take_back(lives);
        if let Some(untold) = lives.iter().copied().find(|life| *life > restarts.told) {
            // The executor knows of a death before its end-of-file is told.
            restarts.pardon = Some(untold);
        }
        // Older ones that nobody answered for.
        restarts.charge_held();
        for serial in taken {
            effects.push(Effect::Disarm(Timer::Forgive(id, serial)));
        }
    }

    pub(super) fn forgive(&mut self, id: InstanceId, serial: u32) {
        let restarts = self.restarts(id);
        restarts.failures.retain(|failure| failure.serial != serial);
        restarts.poisons.retain(|poison| *poison != serial);
    }
}
