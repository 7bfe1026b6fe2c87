//! Messages between components: bytes, at most 1 MiB, answered by a driver's `receive` or an executor part's.

use crate::{Context, Result, error::from_abi};
use hotshoe_abi::{Question, Telling};
use std::time::Duration;

/// The longest message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;

impl Context {
    /// Sends one way to the driver of the instance `to`; returns when it is queued. To one's own driver: it is queued too.
    ///
    /// - Errors, at once: [`Kind::Unknown`](crate::Kind::Unknown), `NotReady`, `Full`, `TooLarge`, `Closed`,
    ///   `Unsupported`.
    pub fn send(&self, to: &str, message: &[u8]) -> Result<()> {
        from_abi(self.host().tell(Telling {
            to: to.into(),
            bytes: message.into(),
        }))
    }

    /// Sends to the driver of the instance `to` and waits for its answer, at most `deadline`.
    ///
    /// - Errors: as [`send`](Self::send); [`Kind::Timeout`](crate::Kind::Timeout) after the deadline; `Reentrant` at once
    ///   where the answer would have to come from this very thread; the handler's own error with its text, or `Panic`.
    pub fn ask(&self, to: &str, message: &[u8], deadline: Duration) -> Result<Vec<u8>> {
        let question = Question {
            to: to.into(),
            bytes: message.into(),
            // Below a millisecond is still a deadline; 0 would mean the target's own.
            deadline_ms: u64::try_from(deadline.as_millis())
                .unwrap_or(u64::MAX)
                .max(1),
            caller: Self::caller().into(),
        };
        from_abi(self.host().ask(question)).map(Into::into)
    }

    /// From a driver to each of its own executor parts, in order per executor; answers how many.
    ///
    /// - Errors: `Unsupported` from any other component; `Full` where one mailbox is; the executors before it did get the message.
    pub fn broadcast(&self, message: &[u8]) -> Result<u32> {
        from_abi(self.host().broadcast(message.into()))
    }
}
