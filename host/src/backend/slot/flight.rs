//! Several tasks of one executor under way at once: while a worker has one, the next is handed to it, and a processor of the
//! host's own runs in between on the executor's thread. Tasks pass each stage in the order in which they were launched.
//!
//! Only where nobody has an executor part: then no hook is due, and none of two tasks can interleave.

use super::{Broke, Slot, TaskRun};
use crate::machine::{batch::Batch, history::Gone};
use hotshoe_abi::{BatchRef, OutBatch, failure_kind};
use std::{collections::VecDeque, sync::Arc};

/// Bytes under way, from which on no further task is launched. Eight batches of the default size are half of it; records of
/// megabytes need no company to keep a worker busy, and would fill the budget of its socket.
const FLIGHT_BYTES_MAX: usize = 1 << 20;

/// A task under way.
pub(super) struct Flight {
    run: Arc<TaskRun>,
    attempt: u32,
    /// What the last stage wrote; the task's own batch before the first.
    made: Option<OutBatch>,
}

impl Flight {
    fn lent(&self) -> BatchRef<'_> {
        self.run
            .lent(self.attempt, &self.run.batch, self.made.as_ref())
    }
}

/// A task that is through, one way or another.
pub(crate) struct Landed {
    pub(crate) run: Arc<TaskRun>,
    pub(crate) landing: Landing,
}

/// How.
pub(crate) enum Landing {
    Done(Batch),
    /// - `own`: it was this task's failure, and not what another's panic left of its processor.
    Failed {
        reason: String,
        own: bool,
    },
    /// - `aboard`: the worker had been handed it.
    Gone {
        gone: Gone,
        aboard: bool,
    },
}

/// Where and how a task was lost.
pub(super) struct Lost {
    broke: Broke,
    own: bool,
    aboard: bool,
}

impl Slot {
    /// Looks at how many batches each stage takes, after parts were made.
    pub(super) fn measure(&mut self) {
        let window = |place: &usize| self.parts[*place].window();
        self.windows = self.chain.iter().map(window).collect();
        self.flights = self.chain.iter().map(|_| VecDeque::new()).collect();
        self.landed.clear();
        self.spoiled.clear();
    }

    /// How many tasks may be under way at once; 1 where they run one at a time.
    pub(crate) fn window(&self) -> usize {
        if self.parts.iter().any(|parts| parts.has_executor_part()) {
            return 1;
        }
        let wide = self.windows.iter().filter(|window| **window > 1);
        wide.min().copied().unwrap_or(1)
    }

    /// How many tasks are under way.
    fn under_way(&self) -> usize {
        self.flights.iter().map(VecDeque::len).sum::<usize>() + self.landed.len()
    }

    /// Whether another task may be launched. Not while one is through at once: it may have failed, and then none may.
    pub(crate) fn has_room(&self) -> bool {
        let flights = self.flights.iter().flatten();
        let bytes = flights.map(|flight| flight.run.batch.bytes().len());
        self.landed.is_empty()
            && self.under_way() < self.window()
            && bytes.sum::<usize>() < FLIGHT_BYTES_MAX
    }

    /// Sends a task on its way. What comes of it is another's to take: [`land`](Self::land).
    pub(crate) fn launch(&mut self, run: Arc<TaskRun>, attempt: u32) {
        let flight = Flight {
            run,
            attempt,
            made: None,
        };
        if let Some(landed) = self.fly(flight, 0) {
            self.landed.push_back(landed);
        }
    }

    /// Waits until the next task is through; `None` where none is under way.
    pub(crate) fn land(&mut self) -> Option<Landed> {
        loop {
            if let Some(landed) = self.landed.pop_front() {
                return Some(landed);
            }
            let Some(step) = self.next_stage() else {
                self.spoiled.clear();
                return None;
            };
            let mut flight = self.flights[step].pop_front()?;
            let place = self.chain[step];
            let mut out = OutBatch::default();
            let outcome = self.parts[place].end(&mut out);
            let panicked = matches!(&outcome, Err(failure) if failure.kind == failure_kind::PANIC);
            let made = self.judged(place, outcome, out);
            let own = !self.spoiled.contains(&step);
            if panicked && own {
                self.spoiled.push(step);
            }
            let landed = match made {
                Ok(made) => {
                    flight.made = Some(made);
                    self.fly(flight, step + 1)
                }
                Err(broke) => {
                    let aboard = true;
                    Some(flight.lost(Lost { broke, own, aboard }))
                }
            };
            if landed.is_some() {
                return landed;
            }
        }
    }

    /// The stage to turn to: the last one that has something ready, so that what is nearly through goes first; else the one
    /// that has the oldest task.
    fn next_stage(&mut self) -> Option<usize> {
        let mut oldest = None;
        for step in (0..self.flights.len()).rev() {
            if self.flights[step].is_empty() {
                continue;
            }
            if self.parts[self.chain[step]].ended() {
                return Some(step);
            }
            oldest = oldest.or(Some(step));
        }
        oldest
    }

    /// Takes a task on from a stage, up to the next worker or to the end.
    fn fly(&mut self, mut flight: Flight, from: usize) -> Option<Landed> {
        for step in from..self.chain.len() {
            if flight.lent().offsets.len() < 2 {
                // A processor before it dropped every record.
                break;
            }
            let passed = match self.windows[step] {
                0 | 1 => self.process(step, flight.lent()).map(Some),
                _ => self.begin(step, &flight).map(|()| None),
            };
            match passed {
                Ok(Some(made)) => flight.made = Some(made),
                Ok(None) => {
                    self.flights[step].push_back(flight);
                    return None;
                }
                Err(broke) => {
                    let own = !self.spoiled.contains(&step);
                    let aboard = false;
                    return Some(flight.lost(Lost { broke, own, aboard }));
                }
            }
        }
        let made = match flight.made.take() {
            None => Ok(flight.run.batch.clone()),
            Some(out) => self.proven(out),
        };
        let landing = match made {
            Ok(batch) => Landing::Done(batch),
            Err(reason) => Landing::Failed { reason, own: true },
        };
        let run = flight.run;
        Some(Landed { run, landing })
    }

    fn begin(&mut self, step: usize, flight: &Flight) -> Result<(), Broke> {
        let place = self.chain[step];
        self.alive(place)?;
        let begun = self.parts[place].begin(flight.lent());
        begun.map_err(|failure| self.broke(place, "process", &failure))
    }
}

impl Flight {
    fn lost(self, lost: Lost) -> Landed {
        let Lost { broke, own, aboard } = lost;
        let landing = match broke {
            Broke::Failed(reason) => Landing::Failed { reason, own },
            Broke::Gone(gone) => Landing::Gone { gone, aboard },
        };
        let run = self.run;
        Landed { run, landing }
    }
}
