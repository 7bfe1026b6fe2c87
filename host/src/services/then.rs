//! Answers that are handed on instead of waited for, so that a thread which only routes asks a service and goes on.
//!
//! Whoever takes one calls it once, on whatever thread has the answer, with no lock held. It refuses to be forgotten: an
//! answer that nobody can give any more is `closed`.

use super::failure::closed;
use hotshoe_abi::Failure;

/// Takes an answer. It must not block: the thread that calls it is a topic's writer, a component's, or the host's alarm.
pub(crate) type Then<T> = Box<dyn FnOnce(Result<T, Failure>) + Send>;

/// An answer that somebody waits for.
pub(crate) struct Owed<T> {
    then: Option<Then<T>>,
    /// What is closed if nobody answers.
    what: String,
}

impl<T> Owed<T> {
    pub(crate) fn new(what: impl Into<String>, then: Then<T>) -> Self {
        Self {
            then: Some(then),
            what: what.into(),
        }
    }

    pub(crate) fn pay(mut self, answer: Result<T, Failure>) {
        if let Some(then) = self.then.take() {
            then(answer);
        }
    }
}

impl<T> Drop for Owed<T> {
    fn drop(&mut self) {
        if let Some(then) = self.then.take() {
            then(Err(closed(&self.what)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotshoe_abi::failure_kind;
    use std::sync::mpsc;

    #[test]
    fn an_answer_is_given_once_and_one_that_nobody_gives_is_closed() {
        let (sender, receiver) = mpsc::channel();
        let owed = || {
            let sender = sender.clone();
            let then: Then<u32> = Box::new(move |answer| sender.send(answer).unwrap());
            Owed::new("topic `t`", then)
        };
        owed().pay(Ok(7));
        assert_eq!(receiver.try_recv().unwrap().unwrap(), 7);
        drop(owed());
        let failure = receiver.try_recv().unwrap().unwrap_err();
        assert_eq!(failure.kind, failure_kind::CLOSED);
        assert_eq!(failure.message, "topic `t` is closed");
        assert!(receiver.try_recv().is_err());
    }
}
