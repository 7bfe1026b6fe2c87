//! What a task has been through: its attempts, the workers that died under it, and how far its replay record by record got.
//!
//! The one place that decides when a death is a record's fault. It knows no thread and no worker; whether a death may be
//! charged at all (the task was in the worker's hand, and alone) is for the caller to say. A death in company is no proof, but
//! once the record is found it explains that one as well.

use super::{InstanceId, batch::Batch};
use std::collections::BTreeSet;

/// Deaths after which a batch is replayed record by record. The first may be anything: a kill from outside, another task's
/// late damage. The second under the same batch makes the batch the suspect, and no record of it yet.
const DEATHS_BEFORE_REPLAY: usize = 2;

/// Deaths that it takes to find the first record that kills: the two, and the one in the replay.
pub(crate) const DEATHS_TO_FIND: usize = DEATHS_BEFORE_REPLAY + 1;

/// Where a batch was when the worker that had been handed it died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hand {
    /// On its way there or back, or waiting there; or the worker was dead already.
    Elsewhere,
    /// The worker was working on it, and others were out as well.
    Company,
    /// The worker was working on it, and no other was out.
    Only,
}

/// Deaths that an instance is to be forgiven: whose, and of which lives.
pub(crate) type Forgiven = Vec<(InstanceId, Vec<u64>)>;

/// A worker that died under an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) instance: InstanceId,
    /// The instance's name.
    pub(crate) plugin: String,
    /// How the worker ended, as an operator reads it: `killed by signal 11 (SIGSEGV)`. May be empty.
    pub(crate) how: String,
    /// Which of its lives ended.
    pub(crate) life: u64,
    pub(crate) hand: Hand,
}

impl Gone {
    /// Why the attempt failed.
    pub(crate) fn reason(&self) -> String {
        format!("the worker of plugin `{}` died{}", self.plugin, self.tail())
    }

    /// Why a record is at fault.
    fn charge(&self, times: usize) -> String {
        let times = match times {
            1 => "once".to_owned(),
            times => format!("{times} times"),
        };
        let (plugin, tail) = (&self.plugin, self.tail());
        format!("killed the worker of plugin `{plugin}` {times}{tail}")
    }

    fn tail(&self) -> String {
        let how = self.how.strip_prefix("killed by ").unwrap_or(&self.how);
        match how {
            "" => String::new(),
            how => format!(" ({how})"),
        }
    }
}

/// How far a replay record by record got. It outlives the workers that die under it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Replay {
    /// What came out of the records before `next`.
    pub(crate) out: Batch,
    /// The records at fault before `next`, with the reason.
    pub(crate) faults: Vec<(usize, String)>,
    /// The record in hand.
    pub(crate) next: usize,
    /// A record was found that kills: the next death is the work of another such, and needs no further proof.
    poisoned: bool,
}

/// See the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    /// Attempts that began, for whatever reason the last one ended.
    pub(crate) attempts: u32,
    /// Attempts that an error ended. Deaths are not retries.
    pub(crate) errors: u32,
    /// What the last of them said.
    pub(crate) reason: String,
    /// Set where records are to be looked at one by one.
    pub(crate) replay: Option<Replay>,
    /// A worker died while it had this task: nothing else runs beside it until it is through, so that the next death is
    /// known to be its own.
    pub(crate) suspect: bool,
    /// The lives that ended with this task in hand, and nothing else; until a record is found guilty.
    deaths: Vec<(InstanceId, u64)>,
    /// The lives that ended with this task in hand and others beside it; until a record is found guilty.
    in_company: Vec<(InstanceId, u64)>,
    /// The instances whose deaths under this task are held until a record is found guilty, or the task is through.
    accusers: BTreeSet<InstanceId>,
}

impl History {
    /// Nothing has happened to the task yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.attempts == 0 && !self.suspect
    }

    /// The deaths that are charged to it and to no record of it.
    #[cfg(test)]
    pub(crate) fn deaths(&self) -> usize {
        self.deaths.len()
    }

    /// A worker died while it had this task. Answers which deaths each instance is to be forgiven.
    ///
    /// - `alone`: nothing else was under way, anywhere.
    pub(crate) fn died(&mut self, gone: &Gone, alone: bool) -> Forgiven {
        self.suspect = true;
        if gone.hand == Hand::Only {
            self.accusers.insert(gone.instance);
        }
        match (gone.hand, alone) {
            (Hand::Elsewhere, _) => {}
            (Hand::Only, true) => return self.charge(gone),
            (Hand::Only | Hand::Company, _) => self.in_company.push((gone.instance, gone.life)),
        }
        Vec::new()
    }

    /// The task is through. Answers whose deaths under it are no record's fault, as far as anybody will ever know.
    pub(crate) fn acquitted(&mut self) -> BTreeSet<InstanceId> {
        std::mem::take(&mut self.accusers)
    }

    /// A worker died with this task in hand, and with nothing else. Where that proves a record guilty, the record is at fault,
    /// and the answer is which deaths each instance is to be forgiven: those that proved it, and those in company before.
    fn charge(&mut self, gone: &Gone) -> Forgiven {
        self.deaths.push((gone.instance, gone.life));
        let Some(replay) = &mut self.replay else {
            if self.deaths.len() >= DEATHS_BEFORE_REPLAY {
                self.replay = Some(Replay::default());
            }
            return Vec::new();
        };
        if !replay.poisoned && self.deaths.len() <= DEATHS_BEFORE_REPLAY {
            // The replay of a last retry: this death is among the first two.
            return Vec::new();
        }
        let reason = gone.charge(self.deaths.len());
        replay.faults.push((replay.next, reason));
        replay.next += 1;
        replay.poisoned = true;
        self.accusers.clear();
        let mut forgiven = Forgiven::new();
        for (instance, life) in self.in_company.drain(..).chain(self.deaths.drain(..)) {
            match forgiven.iter_mut().find(|(known, _)| *known == instance) {
                Some((_, lives)) => lives.push(life),
                None => forgiven.push((instance, vec![life])),
            }
        }
        forgiven
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(instance: usize, life: u64) -> Gone {
        Gone {
            instance: InstanceId(instance),
            plugin: "x".to_owned(),
            how: "killed by signal 11 (SIGSEGV)".to_owned(),
            life,
            hand: Hand::Only,
        }
    }

    fn with(hand: Hand, gone: Gone) -> Gone {
        Gone { hand, ..gone }
    }

    #[test]
    fn the_third_death_names_the_record_and_a_later_one_is_enough() {
        let mut history = History::default();
        assert_eq!(history.died(&gone(0, 1), true), []);
        assert!(history.replay.is_none());
        assert_eq!(history.died(&gone(0, 2), true), []);
        history.replay.as_mut().unwrap().next = 5;
        let forgiven = history.died(&gone(0, 3), true);
        assert_eq!(forgiven, [(InstanceId(0), vec![1, 2, 3])]);
        assert_eq!(history.replay.as_ref().unwrap().next, 6);
        history.replay.as_mut().unwrap().next = 9;
        let forgiven = history.died(&gone(0, 4), true);
        assert_eq!(forgiven, [(InstanceId(0), vec![4])]);
        let replay = history.replay.unwrap();
        let found: Vec<(usize, &str)> = replay
            .faults
            .iter()
            .map(|(i, r)| (*i, r.as_str()))
            .collect();
        let times = |n| format!("killed the worker of plugin `x` {n} (signal 11 (SIGSEGV))");
        let (first, later) = (times("3 times"), times("once"));
        assert_eq!(found, [(5, first.as_str()), (9, later.as_str())]);
        assert_eq!(replay.next, 10);
    }

    #[test]
    fn a_death_in_the_replay_of_a_last_retry_is_the_first_of_three() {
        let mut history = History {
            replay: Some(Replay::default()),
            ..History::default()
        };
        assert_eq!(history.died(&gone(0, 1), true), []);
        assert_eq!(history.died(&gone(0, 2), true), []);
        assert_eq!(history.replay.as_ref().unwrap().next, 0);
        let forgiven = history.died(&gone(0, 3), true);
        assert_eq!(forgiven, [(InstanceId(0), vec![1, 2, 3])]);
    }

    #[test]
    fn a_death_in_company_proves_nothing_and_is_explained_by_the_record_that_is_found() {
        let mut history = History::default();
        assert_eq!(history.died(&with(Hand::Company, gone(0, 4)), false), []);
        // Whatever the worker says: others were out elsewhere.
        assert_eq!(history.died(&gone(0, 5), false), []);
        // Another task was in its hand.
        assert_eq!(history.died(&with(Hand::Elsewhere, gone(0, 6)), true), []);
        assert_eq!((history.deaths(), history.suspect), (0, true));
        assert_eq!(history.died(&gone(0, 7), true), []);
        assert_eq!(history.died(&gone(0, 8), true), []);
        let forgiven = history.died(&gone(0, 9), true);
        assert_eq!(forgiven, [(InstanceId(0), vec![4, 5, 7, 8, 9])]);
        // Told once.
        let forgiven = history.died(&gone(0, 10), true);
        assert_eq!(forgiven, [(InstanceId(0), vec![10])]);
    }

    #[test]
    fn a_task_that_gets_through_tells_whose_deaths_were_no_records_fault() {
        let mut history = History::default();
        history.died(&gone(1, 1), false);
        history.died(&gone(0, 1), true);
        history.died(&with(Hand::Elsewhere, gone(2, 1)), true);
        history.died(&with(Hand::Company, gone(3, 1)), false);
        let whose = BTreeSet::from([InstanceId(0), InstanceId(1)]);
        assert_eq!((history.acquitted(), history.suspect), (whose, true));
        assert_eq!(history.acquitted(), BTreeSet::new());
        // One that was found guilty answers for all of them.
        history.died(&gone(0, 2), true);
        history.died(&gone(0, 3), true);
        assert_eq!(history.acquitted(), BTreeSet::new());
    }

    #[test]
    fn each_instance_is_forgiven_its_own_deaths() {
        let mut history = History::default();
        history.died(&with(Hand::Company, gone(2, 7)), false);
        history.died(&gone(0, 3), true);
        history.died(&gone(1, 1), true);
        let forgiven = history.died(&gone(0, 4), true);
        let each = |id: usize, lives: &[u64]| (InstanceId(id), lives.to_vec());
        assert_eq!(forgiven, [each(2, &[7]), each(0, &[3, 4]), each(1, &[1])]);
    }
}
