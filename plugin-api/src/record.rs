//! Records in and out: [`Batch`] lends what came, [`Output`] takes what goes. Neither copies a record more than once.

use hotshoe_abi::{BatchRef, Failure, OutBatch, abi_stable::std_types::RResult, failure_kind};

/// The most that one call may write, in bytes: 256 MiB, sixteen times the largest record of a default stream. Offsets are
/// 32 bits wide; the limit keeps them far from their end, and a runaway loop from the host's memory.
pub const OUTPUT_BYTES_MAX: usize = 256 << 20;

/// A run of records, lent to [`process`](crate::Processor::process) until it returns. A record is bytes: a line without its
/// line end, not necessarily UTF-8.
#[derive(Clone, Copy)]
pub struct Batch<'a>(BatchRef<'a>);

impl<'a> Batch<'a> {
    pub(crate) fn new(batch: BatchRef<'a>) -> Self {
        Self(batch)
    }

    /// How many records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.offsets.len().saturating_sub(1)
    }

    /// Never true for a batch that the host sends.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The record at `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        let offsets = self.0.offsets.as_slice();
        let (start, end) = (*offsets.get(index)?, *offsets.get(index + 1)?);
        self.0.bytes.as_slice().get(start as usize..end as usize)
    }

    /// The records in order.
    #[must_use]
    pub fn iter(&self) -> Records<'a> {
        Records {
            ends: self.0.offsets.as_slice().windows(2),
            bytes: self.0.bytes.as_slice(),
        }
    }

    /// All records, one after another.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.0.bytes.as_slice()
    }

    /// The task's id: counts from 1 within a run.
    #[must_use]
    pub fn task(&self) -> u64 {
        self.0.task
    }

    /// 1 for the first attempt at the task.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.attempt
    }

    /// The config set that is pinned to the task.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.0.epoch
    }
}

impl<'a> IntoIterator for &Batch<'a> {
    type Item = &'a [u8];
    type IntoIter = Records<'a>;

    fn into_iter(self) -> Records<'a> {
        self.iter()
    }
}

/// The records of a [`Batch`], in order.
#[derive(Clone)]
pub struct Records<'a> {
    ends: std::slice::Windows<'a, u32>,
    bytes: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let ends = self.ends.next()?;
        Some(&self.bytes[ends[0] as usize..ends[1] as usize])
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ends.size_hint()
    }
}

impl ExactSizeIterator for Records<'_> {}

/// Takes the records that a call writes, in order.
pub struct Output<'a> {
    out: &'a mut OutBatch,
    too_large: bool,
}

impl<'a> Output<'a> {
    pub(crate) fn new(out: &'a mut OutBatch) -> Self {
        if out.offsets.is_empty() {
            out.offsets.push(0);
        }
        Self {
            out,
            too_large: false,
        }
    }

    /// Writes one record.
    #[inline]
    pub fn push(&mut self, record: &[u8]) {
        self.push_parts(&[record]);
    }

    /// Writes one record made of parts, without putting them together first.
    #[inline]
    pub fn push_parts(&mut self, parts: &[&[u8]]) {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let end = self.out.bytes.len() + len;
        if end > OUTPUT_BYTES_MAX {
            self.too_large = true;
            return;
        }
        for part in parts {
            self.out.bytes.extend_from_copy_slice(part);
        }
        // Fits: OUTPUT_BYTES_MAX is far below 4 GiB.
        self.out.offsets.push(end as u32);
    }

    /// How many records were written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.offsets.len() - 1
    }

    /// Nothing was written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn checked(self, result: RResult<(), Failure>) -> RResult<(), Failure> {
        if !self.too_large || result.is_err() {
            return result;
        }
        let message = format!("one call wrote more than {OUTPUT_BYTES_MAX} bytes");
        RResult::RErr(Failure {
            kind: failure_kind::TOO_LARGE,
            code: "output-too-large".into(),
            message: message.into(),
            fix: "write less per record, or lower [stream] batch_records".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pushed_is_what_a_batch_reads() {
        let mut raw = OutBatch::default();
        let mut out = Output::new(&mut raw);
        out.push(b"one");
        out.push(b"");
        out.push_parts(&[b"th", b"ree"]);
        assert_eq!(out.len(), 3);
        let batch = Batch::new(BatchRef {
            epoch: 1,
            task: 2,
            attempt: 3,
            offsets: raw.offsets.as_rslice(),
            bytes: raw.bytes.as_rslice(),
        });
        assert_eq!(
            batch.iter().collect::<Vec<_>>(),
            [&b"one"[..], b"", b"three"]
        );
        assert_eq!((batch.get(2), batch.get(3)), (Some(&b"three"[..]), None));
        assert_eq!(batch.iter().len(), 3);
    }
}
