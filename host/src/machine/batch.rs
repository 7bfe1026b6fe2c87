//! A run of records, owned: offsets and bytes, laid out like an Arrow binary array, without line ends.
//!
//! Being a [`Batch`] is the proof that the offsets fit the bytes: whoever holds one slices without checks of his own.
//! What a plugin hands back is an allegation until [`Batch::proven`] has looked at it, once. This file does no I/O and
//! knows nothing of lines but where they lay in their source.

use std::fmt;

/// Bytes of one batch that a plugin may hand back. Four records of the largest default size: enough for any honest
/// expansion of a 64 KiB batch, and far below what u32 offsets can say.
pub const BATCH_BYTES_MAX: usize = 64 << 20;

/// Records of one batch that a plugin may hand back. Their offsets then take as much memory as the bytes may: a flood
/// of empty records is bounded like a flood of bytes.
pub const BATCH_RECORDS_MAX: usize = BATCH_BYTES_MAX / size_of::<u32>();

/// Capacity that [`Batch::clear`] keeps. A batch is used again and again; one giant record must not make each of them
/// giant for good.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// How much a plugin may hand back for one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputLimits {
    /// Records.
    pub records_max: usize,
    /// Bytes of all records together.
    pub bytes_max: usize,
}

impl Default for OutputLimits {
    fn default() -> Self {
        Self {
            records_max: BATCH_RECORDS_MAX,
            bytes_max: BATCH_BYTES_MAX,
        }
    }
}

/// What was wrong with an alleged batch. Always the plugin's fault: the glue never builds one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordFault {
    /// More bytes than allowed.
    TooLarge {
        /// Bytes allowed.
        wanted: usize,
        /// Bytes handed back.
        found: usize,
    },
    /// More records than allowed.
    TooMany {
        /// Records allowed.
        wanted: usize,
        /// Records handed back.
        found: usize,
    },
    /// The first offset is not 0.
    FirstOffset {
        /// The first offset.
        found: u32,
    },
    /// An offset is smaller than the one before it.
    Unsorted {
        /// Which record would have a negative length, from 0.
        record: usize,
    },
    /// The last offset (0 where there is none) is not the number of bytes.
    LastOffset {
        /// The number of bytes.
        wanted: usize,
        /// The last offset.
        found: u32,
    },
}

impl RecordFault {}

impl fmt::Display for RecordFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { wanted, found } => {
                write!(
                    f,
                    "handed back {found} bytes for one batch, at most {wanted} are allowed"
                )
            }
            Self::TooMany { wanted, found } => {
                write!(
                    f,
                    "handed back {found} records for one batch, at most {wanted} are allowed"
                )
            }
            Self::FirstOffset { found } => {
                write!(f, "handed back offsets that begin with {found}, not with 0")
            }
            Self::Unsorted { record } => {
                write!(
                    f,
                    "handed back offsets in which record {record} ends before it begins"
                )
            }
            Self::LastOffset { wanted, found } => {
                write!(
                    f,
                    "handed back offsets that end with {found} for {wanted} bytes"
                )
            }
        }
    }
}

impl std::error::Error for RecordFault {}

/// An owned run of records.
///
/// - Shape: `offsets` has one entry more than there are records, begins with 0, never falls and ends with the number
///   of bytes; record `i` is `bytes[offsets[i]..offsets[i + 1]]`. Any bytes may stand in a record.
/// - Place: a batch that a source cut knows where each record lay in that source.
#[derive(Debug, Clone)]
pub struct Batch {
    offsets: Vec<u32>,
    bytes: Vec<u8>,
    /// Byte offset of the first record in the source.
    source_start: u64,
    /// Records whose newline had a carriage return before it, ascending. Nearly always empty.
    returns: Vec<u32>,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            offsets: vec![0],
            bytes: Vec::new(),
            source_start: 0,
            returns: Vec::new(),
        }
    }
}

impl Batch {
    /// A batch of no records.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Checks what a plugin alleges to be a batch and takes it over. No offsets at all mean no records.
    ///
    /// # Errors
    /// The first [`RecordFault`] found. One pass over the offsets, none over the bytes.
    pub fn proven(
        mut offsets: Vec<u32>,
        bytes: Vec<u8>,
        limits: OutputLimits,
    ) -> Result<Self, RecordFault> {
        Self::check(&offsets, bytes.len(), limits)?;
        if offsets.is_empty() {
            offsets.push(0);
        }
        Ok(Self {
            offsets,
            bytes,
            source_start: 0,
            returns: Vec::new(),
        })
    }

    /// The check of [`Batch::proven`] alone, for a caller that lends the records on without owning them.
    ///
    /// # Errors
    /// The first [`RecordFault`] found.
    pub fn check(
        offsets: &[u32],
        bytes_len: usize,
        limits: OutputLimits,
    ) -> Result<(), RecordFault> {
        if bytes_len > limits.bytes_max {
            return Err(RecordFault::TooLarge {
                wanted: limits.bytes_max,
                found: bytes_len,
            });
        }
        let records = offsets.len().saturating_sub(1);
        if records > limits.records_max {
            return Err(RecordFault::TooMany {
                wanted: limits.records_max,
                found: records,
            });
        }
        let first = offsets.first().copied().unwrap_or(0);
        if first != 0 {
            return Err(RecordFault::FirstOffset { found: first });
        }
        if !never_falls(offsets) {
            let record = offsets.windows(2).position(|pair| pair[0] > pair[1]);
            return Err(RecordFault::Unsorted {
                record: record.unwrap_or(0),
            });
        }
        let last = offsets.last().copied().unwrap_or(0);
        if usize::try_from(last) != Ok(bytes_len) {
            return Err(RecordFault::LastOffset {
                wanted: bytes_len,
                found: last,
            });
        }
        Ok(())
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no record. A batch of one empty record is not empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offsets.len() == 1
    }

    /// Record `i`, counted from 0.
    ///
    /// # Panics
    /// Where there is no record `i`.
    #[must_use]
    pub fn record(&self, i: usize) -> &[u8] {
        &self.bytes[self.offsets[i] as usize..self.offsets[i + 1] as usize]
    }

    /// The records, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.offsets
            .windows(2)
            .map(|pair| &self.bytes[pair[0] as usize..pair[1] as usize])
    }

    /// Where each record begins in [`Batch::bytes`], and where the last one ends.
    #[must_use]
    pub fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    /// The bytes of all records, with nothing between them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends one record.
    ///
    /// # Panics
    /// Where the batch would pass 4 GiB. That is the caller's bug: the source's limits and [`Batch::append`] stop far
    /// below.
    pub fn push(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        let end = u32::try_from(self.bytes.len()).expect("a batch stays far below 4 GiB");
        self.offsets.push(end);
    }

    /// Appends a line of the source. `line_start` is the line's byte offset there, and counts for the first line of
    /// the batch; those that follow must lie there without a gap.
    pub(crate) fn push_line(&mut self, record: &[u8], line_start: u64, line_end: LineEnd) {
        if self.is_empty() {
            self.source_start = line_start;
        }
        if line_end == LineEnd::ReturnNewline {
            // The length fits: each record has a u32 offset.
            self.returns.push(self.offsets.len() as u32 - 1);
        }
        self.push(record);
    }

    /// Appends all records of `other`, as one joins what the replay of single records gave.
    ///
    /// # Errors
    /// [`RecordFault::TooLarge`] or [`RecordFault::TooMany`] where both together pass the limits; nothing is appended.
    pub fn append(&mut self, other: &Self, limits: OutputLimits) -> Result<(), RecordFault> {
        let found = self.bytes.len().saturating_add(other.bytes.len());
        if found > limits.bytes_max {
            return Err(RecordFault::TooLarge {
                wanted: limits.bytes_max,
                found,
            });
        }
        let found = self.len().saturating_add(other.len());
        if found > limits.records_max {
            return Err(RecordFault::TooMany {
                wanted: limits.records_max,
                found,
            });
        }
        other.iter().for_each(|record| self.push(record));
        Ok(())
    }

    /// Takes all records out; memory is kept for the next ones, unless it is a lot.
    pub fn clear(&mut self) {
        self.offsets.truncate(1);
        self.bytes.clear();
        self.returns.clear();
        self.source_start = 0;
        if self.bytes.capacity() > KEPT_BYTES_MAX {
            self.bytes = Vec::new();
        }
        if self.offsets.capacity() > KEPT_BYTES_MAX / size_of::<u32>() {
            self.offsets = vec![0];
        }
    }

    /// Record `i` as a batch of its own, with its place in the source: what a replay record by record works on.
    ///
    /// # Panics
    /// Where there is no record `i`.
    #[must_use]
    pub fn slice(&self, i: usize) -> Self {
        let mut one = Self::new();
        let line_end = match self
            .returns
            .binary_search_by_key(&i, |&marked| marked as usize)
        {
            Ok(_) => LineEnd::ReturnNewline,
            Err(_) => LineEnd::Newline,
        };
        one.push_line(self.record(i), self.source_offset(i), line_end);
        one
    }

    /// Byte offset of record `i` in its source. `i` may be the number of records: then it is where the next line
    /// begins, given that the last one had a line end. Of a batch that a source did not cut, an offset in the text
    /// that its records would be, one a line.
    ///
    /// # Panics
    /// Where `i` is larger than the number of records.
    #[must_use]
    pub fn source_offset(&self, i: usize) -> u64 {
        let returns = self
            .returns
            .partition_point(|&marked| (marked as usize) < i);
        self.source_start + u64::from(self.offsets[i]) + i as u64 + returns as u64
    }
}

/// How a line ended in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineEnd {
    /// `\n`, or the end of the source.
    Newline,
    /// `\r\n`.
    ReturnNewline,
}

/// Whether no offset is smaller than the one before it.
fn never_falls(offsets: &[u32]) -> bool {
    // Blocks without a way out in the middle are what the compiler turns into vector instructions; between blocks a
    // hostile array is left early.
    const BLOCK: usize = 1024;
    let Some((_, after)) = offsets.split_first() else {
        return true;
    };
    offsets
        .chunks(BLOCK)
        .zip(after.chunks(BLOCK))
        .all(|(before, after)| {
            before
                .iter()
                .zip(after)
                .fold(true, |fine, (a, b)| fine & (a <= b))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(records: &[&[u8]]) -> Batch {
        let mut batch = Batch::new();
        records.iter().for_each(|record| batch.push(record));
        batch
    }

    fn check(offsets: &[u32], bytes: &[u8], expected: Result<&[&[u8]], RecordFault>) {
        let found = Batch::proven(offsets.to_vec(), bytes.to_vec(), OutputLimits::default());
        let found = found.map(|batch| {
            assert_eq!(batch.len(), batch.iter().count());
            (0..batch.len())
                .map(|i| batch.record(i).to_vec())
                .collect::<Vec<_>>()
        });
        let expected = expected.map(|records| records.iter().map(|r| r.to_vec()).collect());
        assert_eq!(found, expected, "{offsets:?}");
    }

    #[test]
    fn an_alleged_batch_is_what_it_says_or_a_fault() {
        check(&[], b"", Ok(&[]));
        check(&[0], b"", Ok(&[]));
        check(&[0, 0], b"", Ok(&[b""]));
        check(&[0, 1, 1, 3], b"abc", Ok(&[b"a", b"", b"bc"]));
        check(
            &[],
            b"abc",
            Err(RecordFault::LastOffset {
                wanted: 3,
                found: 0,
            }),
        );
        check(
            &[0],
            b"abc",
            Err(RecordFault::LastOffset {
                wanted: 3,
                found: 0,
            }),
        );
        check(&[1], b"a", Err(RecordFault::FirstOffset { found: 1 }));
        check(&[1, 3], b"abc", Err(RecordFault::FirstOffset { found: 1 }));
        check(
            &[0, 2, 1, 3],
            b"abc",
            Err(RecordFault::Unsorted { record: 1 }),
        );
        check(
            &[0, u32::MAX, 3],
            b"abc",
            Err(RecordFault::Unsorted { record: 1 }),
        );
        check(&[0, 3, 0], b"", Err(RecordFault::Unsorted { record: 1 }));
        check(
            &[0, 4],
            b"abc",
            Err(RecordFault::LastOffset {
                wanted: 3,
                found: 4,
            }),
        );
        check(
            &[0, 2],
            b"abc",
            Err(RecordFault::LastOffset {
                wanted: 3,
                found: 2,
            }),
        );
        check(
            &[0, u32::MAX],
            b"abc",
            Err(RecordFault::LastOffset {
                wanted: 3,
                found: u32::MAX,
            }),
        );
    }

    #[test]
    fn the_limits_are_the_last_sizes_that_pass() {
        let limits = OutputLimits {
            records_max: 2,
            bytes_max: 3,
        };
        assert!(Batch::proven(vec![0, 1, 3], vec![0; 3], limits).is_ok());
        assert_eq!(
            Batch::proven(vec![0, 1, 4], vec![0; 4], limits).err(),
            Some(RecordFault::TooLarge {
                wanted: 3,
                found: 4
            })
        );
        assert_eq!(
            Batch::proven(vec![0, 1, 2, 3], vec![0; 3], limits).err(),
            Some(RecordFault::TooMany {
                wanted: 2,
                found: 3
            })
        );
        let mut joined = batch(&[b"a"]);
        assert_eq!(joined.append(&batch(&[b"bc"]), limits), Ok(()));
        assert_eq!(
            joined.append(&batch(&[b""]), limits),
            Err(RecordFault::TooMany {
                wanted: 2,
                found: 3
            })
        );
        let mut joined = batch(&[b"a"]);
        assert_eq!(
            joined.append(&batch(&[b"bcd"]), limits),
            Err(RecordFault::TooLarge {
                wanted: 3,
                found: 4
            })
        );
        assert_eq!(joined.len(), 1);
    }

    #[test]
    fn one_wrong_offset_is_found_wherever_it_stands() {
        // Across the ends of the blocks in which they are compared.
        let honest: Vec<u32> = (0..3000).collect();
        let bytes = vec![b'x'; 2999];
        assert!(Batch::proven(honest.clone(), bytes.clone(), OutputLimits::default()).is_ok());
        for at in 1..2999 {
            let mut offsets = honest.clone();
            offsets[at] = 2999;
            let found = Batch::proven(offsets, bytes.clone(), OutputLimits::default());
            let expected = (at < 2998).then_some(RecordFault::Unsorted { record: at });
            assert_eq!(found.err(), expected, "{at}");
        }
    }

    #[test]
    fn a_record_knows_its_place_in_the_source() {
        // At offset 100: "ab\r\n", "\n", "\r\n", "c\n".
        let mut batch = Batch::new();
        batch.push_line(b"ab", 100, LineEnd::ReturnNewline);
        batch.push_line(b"", 104, LineEnd::Newline);
        batch.push_line(b"", 105, LineEnd::ReturnNewline);
        batch.push_line(b"c", 107, LineEnd::Newline);
        let places: Vec<u64> = (0..=4).map(|i| batch.source_offset(i)).collect();
        assert_eq!(places, [100, 104, 105, 107, 109]);
        for i in 0..batch.len() {
            let one = batch.slice(i);
            assert_eq!((one.len(), one.record(0)), (1, batch.record(i)));
            assert_eq!(one.source_offset(0), batch.source_offset(i));
            assert_eq!(one.source_offset(1), batch.source_offset(i + 1));
        }
    }

    #[test]
    fn a_cleared_batch_is_as_new_and_lets_go_of_giants() {
        let mut batch = Batch::new();
        batch.push_line(&vec![b'x'; 2 * KEPT_BYTES_MAX], 7, LineEnd::ReturnNewline);
        batch.clear();
        assert!(batch.is_empty());
        assert_eq!((batch.offsets(), batch.bytes()), (&[0_u32][..], &b""[..]));
        assert_eq!((batch.source_offset(0), batch.bytes.capacity()), (0, 0));
    }
}
