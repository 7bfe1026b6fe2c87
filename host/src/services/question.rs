//! A question whose asker's thread does not wait: its answer, its deadline and its refusal meet here, and the first of them is
//! passed on.

use super::{
    Services, clock,
    failure::closed,
    message::{Reply, too_late},
};
use hotshoe_abi::Failure;
use parking_lot::Mutex;
use std::{mem, sync::Arc, time::Duration};

/// Asks the driver of `to`. `reply` is called exactly once: with the answer, with `timeout` at the deadline, with `closed` where
/// the question is dropped unread, or at once with why it was not sent.
pub(super) fn ask_then(
    services: &Services,
    to: &str,
    bytes: &[u8],
    deadline: Duration,
    reply: Reply,
) {
    let until = clock::monotonic().saturating_add(deadline);
    let slot = Arc::new(Slot {
        state: Mutex::new(State::Posting(reply)),
        to: to.to_owned(),
        deadline,
        until,
    });
    let alarm = {
        let slot = Arc::clone(&slot);
        services.alarms.set(until, Box::new(move || slot.late()))
    };
    let alarm = match alarm {
        Ok(alarm) => alarm,
        Err(failure) => return slot.pay(Err(failure)),
    };
    let mail = InMail(Arc::clone(&slot));
    let alarms = Arc::clone(&services.alarms);
    let answer = move |answer| {
        alarms.cancel(alarm);
        mail.0.pay(answer);
    };
    let sent = services
        .messages
        .ask_with(to, bytes, deadline, Box::new(answer));
    if let Err(failure) = sent {
        services.alarms.cancel(alarm);
        return slot.pay(Err(failure));
    }
    if slot.sent() {
        services.alarms.cancel(alarm);
    }
}

struct Slot {
    state: Mutex<State>,
    to: String,
    deadline: Duration,
    until: Duration,
}

enum State {
    /// Mail that is refused is dropped before the refusal is known.
    Posting(Reply),
    /// Dropped before it was known to be sent.
    Dropped(Reply),
    Sent(Reply),
    Paid,
}

/// The question's own hold on the slot: gone when the mail is.
struct InMail(Arc<Slot>);

impl Slot {
    fn pay(&self, answer: Result<Vec<u8>, Failure>) {
        let state = mem::replace(&mut *self.state.lock(), State::Paid);
        match state {
            State::Posting(reply) | State::Dropped(reply) | State::Sent(reply) => reply(answer),
            State::Paid => {}
        }
    }

    fn late(&self) {
        self.pay(Err(too_late(&self.to, self.deadline)));
    }

    /// The mail has been accepted. Answers whether nobody will read it all the same.
    fn sent(&self) -> bool {
        let mut state = self.state.lock();
        match mem::replace(&mut *state, State::Paid) {
            State::Posting(reply) | State::Sent(reply) => {
                *state = State::Sent(reply);
                false
            }
            State::Dropped(reply) => {
                drop(state);
                reply(Err(self.unread()));
                true
            }
            State::Paid => true,
        }
    }

    fn unread(&self) -> Failure {
        match clock::monotonic() >= self.until {
            true => too_late(&self.to, self.deadline),
            false => closed(&format!("plugin `{}`", self.to)),
        }
    }
}

impl Drop for InMail {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        match mem::replace(&mut *state, State::Paid) {
            State::Posting(reply) => *state = State::Dropped(reply),
            State::Sent(reply) => {
                drop(state);
                reply(Err(self.0.unread()));
            }
            other => *state = other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Run,
        config::Recover,
        failure::failure,
        message::{Mail, ToDriver},
    };
    use super::*;
    use hotshoe_abi::failure_kind;
    use std::sync::mpsc;

    const DEADLINE: Duration = Duration::from_secs(20);

    type Answer = Result<Vec<u8>, Failure>;

    /// Services with one driver, `d`, that treats its mail so.
    fn services(
        driver: impl Fn(Mail) -> Result<(), Failure> + Send + Sync + 'static,
    ) -> Arc<Services> {
        let run = Run {
            id: String::new(),
            hostname: String::new(),
            run_dir: "run".into(),
            state_dir: "state".into(),
            recover: Recover::No,
            driver_resources: Default::default(),
            executor_resources: Default::default(),
        };
        let services = Services::new(run, mpsc::channel().0);
        let driver: ToDriver = Arc::new(driver);
        services.messages.enter("d", Some(driver));
        services
    }

    fn ask(services: &Services, to: &str, deadline: Duration) -> mpsc::Receiver<Answer> {
        let (sender, receiver) = mpsc::channel();
        let reply: Reply = Box::new(move |answer| sender.send(answer).unwrap());
        ask_then(services, to, b"?", deadline, reply);
        receiver
    }

    /// The only answer.
    fn answer(receiver: &mpsc::Receiver<Answer>) -> Answer {
        let answer = receiver.recv_timeout(DEADLINE).unwrap();
        let second = receiver.recv_timeout(DEADLINE);
        assert_eq!(second.err(), Some(mpsc::RecvTimeoutError::Disconnected));
        answer
    }

    fn kind(receiver: &mpsc::Receiver<Answer>) -> u8 {
        answer(receiver).unwrap_err().kind
    }

    fn say(mail: Mail, answer: Answer) {
        let reply = mail.reply.expect("a question wants an answer");
        reply(answer);
    }

    #[test]
    fn an_answer_is_passed_on_from_whatever_thread_gives_it() {
        let services = services(|mail| {
            std::thread::spawn(move || say(mail, Ok(b"!".to_vec())));
            Ok(())
        });
        assert_eq!(answer(&ask(&services, "d", DEADLINE)).unwrap(), b"!");
        // Given before it is known that the question was sent.
        let services = self::services(|mail| {
            say(mail, Err(failure(failure_kind::PANIC, "x")));
            Ok(())
        });
        assert_eq!(kind(&ask(&services, "d", DEADLINE)), failure_kind::PANIC);
    }

    #[test]
    fn what_is_not_sent_says_why() {
        let services = services(|_| Err(failure(failure_kind::FULL, "full")));
        assert_eq!(kind(&ask(&services, "d", DEADLINE)), failure_kind::FULL);
        assert_eq!(kind(&ask(&services, "e", DEADLINE)), failure_kind::UNKNOWN);
    }

    #[test]
    fn a_question_that_is_dropped_unread_is_closed() {
        let services = services(|_| Ok(()));
        assert_eq!(kind(&ask(&services, "d", DEADLINE)), failure_kind::CLOSED);
        let services = self::services(|mail| {
            std::thread::spawn(move || drop(mail));
            Ok(())
        });
        assert_eq!(kind(&ask(&services, "d", DEADLINE)), failure_kind::CLOSED);
    }

    #[test]
    fn a_question_that_nobody_answers_ends_at_its_deadline() {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let services = {
            let kept = Arc::clone(&kept);
            services(move |mail| {
                kept.lock().push(mail);
                Ok(())
            })
        };
        let asked = ask(&services, "d", Duration::from_millis(20));
        // Not by `answer`: the mail still holds what the reply was.
        let late = asked.recv_timeout(DEADLINE).unwrap().unwrap_err();
        assert_eq!(late.kind, failure_kind::TIMEOUT);
        assert_eq!(late.message, "plugin `d` did not answer within 20 ms");
        // An answer after that is nobody's.
        let mail = kept.lock().pop().unwrap();
        say(mail, Ok(b"!".to_vec()));
        assert!(asked.recv_timeout(DEADLINE).is_err());
    }
}
