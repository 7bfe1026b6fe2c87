//! What a change would do: precondition, confirm state, operation, size, schema, in this order (config-api §2, steps 13 to
//! 16). Changes nothing and asks nobody; veto and journal are the owner's.

use std::{sync::Arc, time::Duration};

use hotshoe_json::{canonical, echo};
use serde_json::Value;

use super::{
    Store,
    change::{
        Candidate, CandidateKind, Change, ChangeError, DryRun, Evaluated, Expect, Op, Operation,
        SetCandidate,
    },
    confirm::{Outcome, Pending, Transition},
    diff::diff,
    edit::{Edit, EditFault, Put, merge},
    json,
    patch::Patch,
    pointer::Pointer,
    read,
};

/// What an operation makes of the current value.
struct Outgrowth {
    op: Op,
    value: Value,
    from: Option<u64>,
    touched: Option<i64>,
    patch: Option<Patch>,
}

impl Outgrowth {
    fn of(op: Op, value: Value) -> Self {
        Self {
            op,
            value,
            from: None,
            touched: None,
            patch: None,
        }
    }
}

impl Store {
    /// What `change` would do at `now`, on the monotonic clock that deadlines are on. Nothing is changed.
    ///
    /// Steps 13 to 16 of config-api §2: precondition, confirm state, operation on the current value, size, schema. The
    /// caller calls [`Store::tick`] first: a confirmation at or past the deadline loses.
    ///
    /// Errors: a row of config-api §4.
    pub fn evaluate(&self, change: &Change, now: Duration) -> Result<Evaluated, ChangeError> {
        self.precondition(change)?;
        if let Operation::Confirm { generation } = change.operation {
            return self.evaluate_confirm(generation, change.dry_run, now);
        }
        let transition = self.transition(change, now)?;
        let returns = matches!(transition, Transition::Return(_));
        let out = self.apply(&change.operation)?;
        let document = canonical(&out.value);
        let limit = self.terms.settings.value_len_max;
        if document.len() > limit && !returns {
            let fault = EditFault::TooLarge { limit };
            return Err(fault.error("pointer-not-found", &Pointer::default()));
        }
        let changed = *document != *self.current().document;
        if changed && !returns {
            self.check_schema(&out)?;
        }
        if change.dry_run {
            return Ok(Evaluated::DryRun(DryRun {
                changed,
                generation: self.current().generation,
                patch: diff(&self.value, &out.value),
                document: document.into(),
                asks_checkers: changed && !returns,
            }));
        }
        // The way back to a base is a generation of its own even where the values are equal: it ends the waiting.
        if !changed && !returns {
            return Ok(Evaluated::NoOp(self.answer(out.op, out.touched)));
        }
        Ok(Evaluated::Candidate(Candidate {
            on: self.current().generation,
            edition: self.edition,
            kind: CandidateKind::Set(SetCandidate {
                op: out.op,
                by: change.by.clone(),
                from: out.from,
                reason: None,
                value: Arc::new(out.value),
                document: document.into(),
                touched: out.touched,
                transition,
            }),
        }))
    }

    fn precondition(&self, change: &Change) -> Result<(), ChangeError> {
        let current = self.current().generation;
        let tags = match &change.expect {
            Expect::Any => return Ok(()),
            Expect::OneOf(tags) if tags.contains(&current) => return Ok(()),
            Expect::OneOf(tags) => tags,
            Expect::Absent => {
                let exempt = matches!(
                    change.operation,
                    Operation::Touch | Operation::Confirm { .. }
                );
                if exempt || !self.terms.settings.require_if_match {
                    return Ok(());
                }
                let detail = "this topic takes no change without If-Match";
                let hint =
                    format!("read the value, then send the change with If-Match: \"{current}\"");
                return Err(ChangeError::new("if-match-required", detail)
                    .on(current)
                    .hint(hint));
            }
        };
        Err(self.mismatch("If-Match names", tags))
    }

    fn mismatch(&self, who: &str, tags: &[u64]) -> ChangeError {
        /// Tags that a detail repeats; the header may hold hundreds.
        const SHOWN: usize = 3;
        let current = self.current().generation;
        let shown: Vec<_> = tags.iter().take(SHOWN).map(u64::to_string).collect();
        let named = match tags.len() {
            0 => "no generation".to_owned(),
            1 => format!("generation {}", shown[0]),
            n if n <= SHOWN => format!("generations {}", shown.join(", ")),
            n => format!("generations {} and {} more", shown.join(", "), n - SHOWN),
        };
        ChangeError::new(
            "generation-mismatch",
            format!("{who} {named}, the current generation is {current}"),
        )
        .on(current)
        .hint(format!(
            "read the value again, then repeat with If-Match: \"{current}\""
        ))
    }

    fn evaluate_confirm(
        &self,
        generation: Option<u64>,
        dry_run: bool,
        now: Duration,
    ) -> Result<Evaluated, ChangeError> {
        let current = self.current().generation;
        if self.pending.as_ref().is_none_or(|p| now >= p.deadline) {
            let detail = "no change waits for confirmation";
            return Err(ChangeError::new("nothing-to-confirm", detail).on(current));
        }
        if let Some(named) = generation.filter(|named| *named != current) {
            return Err(self.mismatch("the request names", &[named]));
        }
        if dry_run {
            return Ok(Evaluated::DryRun(DryRun {
                changed: false,
                generation: current,
                patch: Value::Array(Vec::new()),
                document: Arc::clone(&self.current().document),
                asks_checkers: false,
            }));
        }
        Ok(Evaluated::Candidate(Candidate {
            on: current,
            edition: self.edition,
            kind: CandidateKind::Confirm,
        }))
    }

    /// The table of config-api §8, for a change.
    fn transition(&self, change: &Change, now: Duration) -> Result<Transition, ChangeError> {
        let current = self.current();
        let pending = self.pending.as_ref();
        if let Some(pending) = pending {
            let base = pending.base.generation;
            if let Operation::Rollback { to } = change.operation {
                if to.is_none_or(|to| to == base) {
                    return Ok(Transition::Return(Outcome::Cancelled));
                }
            }
            // `If-Match: *` does not do: whoever replaces a provisional change says which one.
            let named = matches!(&change.expect, Expect::OneOf(_));
            let replaces = change.confirm.is_some() && named;
            if !change.dry_run && !replaces {
                return Err(self.confirm_pending(pending, now));
            }
        }
        Ok(match change.confirm {
            Some(wait) if !change.dry_run => Transition::wait(pending, current, now, wait),
            _ => Transition::Stay,
        })
    }

    fn confirm_pending(&self, pending: &Pending, now: Duration) -> ChangeError {
        let current = self.current().generation;
        let left = pending.deadline.saturating_sub(now);
        let detail = format!(
            "generation {current} waits for confirmation until {}",
            pending.deadline_utc
        );
        let mut error = ChangeError::new("confirm-pending", detail)
            .on(current)
            .hint("confirm it or roll it back first");
        // Whole seconds, rounded up: a client that waits so long does not come too early.
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        error.retry_after = Some(Duration::from_secs(seconds.max(1)));
        error
    }

    fn check_schema(&self, out: &Outgrowth) -> Result<(), ChangeError> {
        let violations = self.terms.schema.faults(&out.value);
        let Some(first) = violations.first() else {
            return Ok(());
        };
        let mut error =
            ChangeError::new("schema-violation", first.detail.clone()).at(&first.pointer);
        if let Some(patch) = &out.patch {
            error.operation = patch.writer_of(&first.pointer);
        }
        if violations.len() > 1 {
            error.violations = violations;
        }
        Err(error)
    }

    fn edit(&self) -> Edit {
        Edit::new(
            (*self.value).clone(),
            self.current().document.len(),
            self.terms.settings.value_len_max,
        )
    }

    fn apply(&self, operation: &Operation) -> Result<Outgrowth, ChangeError> {
        const MISSING: &str = "pointer-not-found";
        match operation {
            Operation::Set { pointer, value } => {
                let (at, value) = (read_pointer(pointer)?, json::normal(value)?);
                let mut edit = self.edit();
                edit.put(&at, value, Put::Set)
                    .map_err(|fault| fault.error(MISSING, &at))?;
                Ok(Outgrowth::of(Op::Put, edit.into_root()))
            }
            Operation::Remove { pointer } if pointer.is_empty() => self.apply(&Operation::Reset),
            Operation::Remove { pointer } => {
                let at = read_pointer(pointer)?;
                let mut edit = self.edit();
                edit.take(&at).map_err(|fault| fault.error(MISSING, &at))?;
                Ok(Outgrowth::of(Op::Delete, edit.into_root()))
            }
            Operation::JsonPatch { pointer, ops } => {
                let (at, ops) = (read_pointer(pointer)?, json::normal(ops)?);
                let patch = Patch::read(&ops, &at)?;
                let mut edit = self.edit();
                self.addressed(&at)?;
                patch.apply(&mut edit)?;
                let mut out = Outgrowth::of(Op::JsonPatch, edit.into_root());
                out.patch = Some(patch);
                Ok(out)
            }
            Operation::MergePatch { pointer, document } => {
                let (at, document) = (read_pointer(pointer)?, json::normal(document)?);
                let merged = merge(self.addressed(&at)?.clone(), &document);
                let mut edit = self.edit();
                edit.put(&at, merged, Put::Replace)
                    .map_err(|fault| fault.error(MISSING, &at))?;
                Ok(Outgrowth::of(Op::MergePatch, edit.into_root()))
            }
            Operation::Reset => Ok(Outgrowth::of(Op::Reset, self.terms.initial.clone())),
            Operation::Touch => self.apply_touch(),
            Operation::Rollback { to } => self.apply_rollback(*to),
            Operation::Confirm { .. } => {
                Ok(Outgrowth::of(self.current().op, (*self.value).clone()))
            }
        }
    }

    fn addressed(&self, at: &Pointer) -> Result<&Value, ChangeError> {
        at.find(&self.value)
            .ok_or_else(|| EditFault::Missing.error("pointer-not-found", at))
    }

    fn apply_touch(&self) -> Result<Outgrowth, ChangeError> {
        let Some((at, step)) = &self.terms.touch else {
            let detail = "touch is not configured for this topic";
            return Err(ChangeError::new("touch-disabled", detail));
        };
        let held = match at.find(&self.value) {
            Some(Value::Number(number)) => json::integer(number),
            _ => None,
        };
        let Some(held) = held else {
            let detail = format!("\"{}\" holds no integer", echo(&at.to_string()));
            return Err(ChangeError::new("touch-not-integer", detail).at(at));
        };
        // Both are within 65 bits, so the sum is exact.
        let Ok(sum) = i64::try_from(held + i128::from(*step)) else {
            let sign = if *step < 0 { '-' } else { '+' };
            let detail = format!("{held} {sign} {} is outside i64", step.unsigned_abs());
            return Err(ChangeError::new("touch-overflow", detail).at(at));
        };
        let mut edit = self.edit();
        edit.put(at, sum.into(), Put::Replace)
            .map_err(|fault| fault.error("touch-not-integer", at))?;
        let mut out = Outgrowth::of(Op::Touch, edit.into_root());
        out.touched = Some(sum);
        Ok(out)
    }

    fn apply_rollback(&self, to: Option<u64>) -> Result<Outgrowth, ChangeError> {
        let to = to.unwrap_or_else(|| match &self.pending {
            Some(pending) => pending.base.generation,
            None => self.current().parent,
        });
        let entry = self.entry(to)?;
        let mut out = Outgrowth::of(Op::Rollback, read(entry)?);
        out.from = Some(to);
        Ok(out)
    }
}

fn read_pointer(text: &str) -> Result<Pointer, ChangeError> {
    Pointer::parse(text).map_err(|why| ChangeError::new("bad-pointer", why))
}
