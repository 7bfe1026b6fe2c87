//! What goes over an executor's data socket: a head of fixed length, then offsets and bytes as they lie in memory. The host asks,
//! the worker answers in the same order. Nothing is encoded that is a batch already.

use super::wire::WireFailure;
use crate::machine::batch::BATCH_RECORDS_MAX;
use hotshoe_abi::Task;
use serde::{Deserialize, Serialize};

/// Bytes of a [`Head`].
pub(crate) const HEAD_LEN: usize = 40;

/// The most bytes behind a head: what a batch may hold, with its offsets, and room for what a processor appends.
pub(crate) const TAIL_LEN_MAX: usize = 1 << 30;

/// The most bytes of a batch that a worker answers: as much as the plugin's own glue lets a call write. What a batch may have
/// is the executor's to check, as in-process.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// The most offsets of one.
const ANSWER_OFFSETS_MAX: usize = BATCH_RECORDS_MAX + 1;

/// What follows, and what it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    /// Offsets that follow, four bytes each.
    pub(crate) offsets: u32,
    /// Bytes that follow the offsets.
    pub(crate) bytes: u32,
    pub(crate) attempt: u32,
    pub(crate) epoch: u64,
    pub(crate) task: u64,
    /// Counts the questions of one socket from 1, and an answer has its question's: what the worker is at, it says in a cell.
    pub(crate) number: u64,
}

/// What kind of message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    /// To the worker: documents of the head's epoch that it lacks. Not answered.
    Documents = 1,
    /// To the worker: a batch for `process`. Answered by a batch or a failure.
    Process = 2,
    /// To the worker: `finish`. Answered as `process`.
    Finish = 3,
    /// To the worker: a [`DataCall`]. Answered by nothing or a failure.
    Call = 4,
    /// From the worker: a batch.
    Batch = 5,
    /// From the worker: nothing to say.
    Done = 6,
    /// From the worker: a failure.
    Failed = 7,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Documents,
        Self::Process,
        Self::Finish,
        Self::Call,
        Self::Batch,
        Self::Done,
        Self::Failed,
    ];
}

impl Head {
    /// A message without a batch: `bytes` of a body follow.
    pub(crate) fn of(kind: Kind, body: &[u8]) -> Self {
        Self {
            kind,
            offsets: 0,
            bytes: u32::try_from(body.len()).unwrap_or(u32::MAX),
            attempt: 0,
            epoch: 0,
            task: 0,
            number: 0,
        }
    }

    pub(crate) fn encode(&self) -> [u8; HEAD_LEN] {
        let mut head = [0; HEAD_LEN];
        head[0..4].copy_from_slice(&(self.kind as u32).to_le_bytes());
        head[4..8].copy_from_slice(&self.offsets.to_le_bytes());
        head[8..12].copy_from_slice(&self.bytes.to_le_bytes());
        head[12..16].copy_from_slice(&self.attempt.to_le_bytes());
        head[16..24].copy_from_slice(&self.epoch.to_le_bytes());
        head[24..32].copy_from_slice(&self.task.to_le_bytes());
        head[32..40].copy_from_slice(&self.number.to_le_bytes());
        head
    }

    /// The head that stands at the beginning of `bytes`; `None` until all of it is there.
    ///
    /// # Errors
    /// It is none, or says that more follows than may.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Self>, String> {
        let Some(head) = bytes.get(..HEAD_LEN) else {
            return Ok(None);
        };
        let word = |at: usize| {
            let word = head[at..at + 4].try_into().map(u32::from_le_bytes);
            word.unwrap_or_default()
        };
        let long = |at: usize| {
            let long = head[at..at + 8].try_into().map(u64::from_le_bytes);
            long.unwrap_or_default()
        };
        let kind = word(0);
        let kind = Kind::ALL.into_iter().find(|known| *known as u32 == kind);
        let Some(kind) = kind else {
            return Err(format!("a message of unknown kind {}", word(0)));
        };
        let head = Self {
            kind,
            offsets: word(4),
            bytes: word(8),
            attempt: word(12),
            epoch: long(16),
            task: long(24),
            number: long(32),
        };
        if head.tail_len() > TAIL_LEN_MAX {
            return Err(format!(
                "a message of {} bytes; the most is {TAIL_LEN_MAX}",
                head.tail_len()
            ));
        }
        Ok(Some(head))
    }

    /// Whether a worker may answer so much.
    ///
    /// # Errors
    /// More than a call may write.
    pub(crate) fn check_answer(&self) -> Result<(), String> {
        let (offsets, bytes) = (self.offsets as usize, self.bytes as usize);
        if bytes <= ANSWER_BYTES_MAX && offsets <= ANSWER_OFFSETS_MAX {
            return Ok(());
        }
        Err(format!("an answer of {bytes} bytes and {offsets} offsets"))
    }

    /// Bytes of the whole message.
    pub(crate) fn len(&self) -> usize {
        HEAD_LEN + self.tail_len()
    }

    /// Bytes behind the head.
    pub(crate) fn tail_len(&self) -> usize {
        self.offsets as usize * 4 + self.bytes as usize
    }
}

/// A call on an executor's thread, but for batches.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum DataCall {
    /// Makes and initialises the executor part, with the driver's extra conf.
    InitExecutor(Vec<(String, String)>),
    /// Makes and initialises the processor; drops the one before it first.
    InitProcessor(Vec<(String, String)>),
    TaskStart(TaskData),
    TaskSucceeded(TaskData),
    TaskFailed(TaskData, String),
    Receive(#[serde(with = "serde_bytes")] Vec<u8>),
    ShutdownExecutor,
    /// Drops the processor.
    DropProcessor,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct TaskData {
    id: u64,
    attempt: u32,
    records: u32,
    epoch: u64,
}

impl From<Task> for TaskData {
    fn from(task: Task) -> Self {
        Self {
            id: task.id,
            attempt: task.attempt,
            records: task.records,
            epoch: task.epoch,
        }
    }
}

impl From<TaskData> for Task {
    fn from(task: TaskData) -> Self {
        Self {
            id: task.id,
            attempt: task.attempt,
            records: task.records,
            epoch: task.epoch,
        }
    }
}

/// A document of a config set: topic, generation, canonical JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireDocument {
    pub(crate) topic: String,
    pub(crate) generation: u64,
    #[serde(with = "serde_bytes")]
    pub(crate) bytes: Vec<u8>,
}

/// What a call on the data socket came to.
#[derive(Debug)]
pub(crate) enum DataAnswer {
    Batch { offsets: Vec<u32>, bytes: Vec<u8> },
    Done,
    Failed(WireFailure),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_head_is_read_as_it_was_written(kind in 0..7_usize, offsets in 0..1_000_000_u32, bytes: u16, attempt: u32, epoch: u64, task: u64, number: u64) {
            let head = Head { kind: Kind::ALL[kind], offsets, bytes: bytes.into(), attempt, epoch, task, number };
            let encoded = head.encode();
            prop_assert_eq!(Head::decode(&encoded), Ok(Some(head)));
            prop_assert_eq!(Head::decode(&encoded[..HEAD_LEN - 1]), Ok(None));
        }

        #[test]
        fn no_bytes_make_a_head_that_promises_too_much(bytes in proptest::collection::vec(any::<u8>(), HEAD_LEN)) {
            if let Ok(Some(head)) = Head::decode(&bytes) {
                prop_assert!(head.tail_len() <= TAIL_LEN_MAX);
            }
        }
    }
}
