//! One executor's way into a worker: asks over the data socket and takes the answers in order. Bound to the executor's thread,
//! which waits here and nowhere else. It never waits for room without reading what has come: both ends' buffers may be full.

use super::{
    connection::Connection,
    data::{DataAnswer, DataCall, HEAD_LEN, Head, Kind, WireDocument},
    frames::{Inbox, send_from},
    look::Look,
    wire,
};
use crate::{
    backend::{IN_COMPANY, IN_HAND},
    services::{
        config::Pin,
        failure::{closed, failure},
    },
};
use hotshoe_abi::{BatchRef, Failure, OutBatch, failure_kind};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::{RecvFlags, SendFlags},
};
use std::{
    collections::{BTreeMap, VecDeque},
    os::fd::{AsFd as _, OwnedFd},
    sync::{Arc, atomic::Ordering},
};

/// Batches that may be out at once. Two hide the worker's wake-up, eight the scheduler's moods; more only costs memory.
pub(crate) const WINDOW: usize = 8;

/// See the file.
pub(crate) struct Channel {
    connection: Arc<Connection>,
    executor: u32,
    socket: Arc<OwnedFd>,
    inbox: Inbox,
    /// The documents that the worker holds for this executor: topic and generation.
    known: BTreeMap<String, u64>,
    /// The set that they are of.
    known_epoch: u64,
    /// The numbers of the batches that are out.
    out: VecDeque<u64>,
    next_number: u64,
    look: Look,
}

impl Channel {
    pub(crate) fn new(connection: &Arc<Connection>, executor: u32, socket: Arc<OwnedFd>) -> Self {
        Self {
            connection: Arc::clone(connection),
            executor,
            socket,
            inbox: Inbox::default(),
            known: BTreeMap::new(),
            known_epoch: 0,
            out: VecDeque::new(),
            next_number: 1,
            look: Look::new(),
        }
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Makes a call and waits for its answer; what comes back before it, of batches that nobody waits for any more, is dropped.
    pub(crate) fn call(&mut self, call: &DataCall) -> Result<(), Failure> {
        while !self.out.is_empty() {
            let _ = self.end(&mut OutBatch::default());
            if self.connection.is_over() {
                return Err(self.gone());
            }
        }
        let body = wire::body(call);
        let number = self.number();
        let head = Head {
            number,
            ..Head::of(Kind::Call, &body)
        };
        self.send(head, &[], &body)?;
        match self.answer(number)? {
            DataAnswer::Done => Ok(()),
            DataAnswer::Batch { .. } => Err(self.broken("a batch where none is due")),
            DataAnswer::Failed(failure) => Err(failure.of_plugin()),
        }
    }

    /// Of the next question.
    fn number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    /// Hands a batch over, and the documents of its epoch that the worker lacks before it.
    pub(crate) fn begin(&mut self, batch: &BatchRef<'_>) -> Result<(), Failure> {
        self.documents(batch.epoch)?;
        let number = self.number();
        let offsets: &[u32] = batch.offsets.as_slice();
        let bytes = batch.bytes.as_slice();
        let head = Head {
            kind: Kind::Process,
            offsets: u32::try_from(offsets.len()).unwrap_or(u32::MAX),
            bytes: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            attempt: batch.attempt,
            epoch: batch.epoch,
            task: batch.task,
            number,
        };
        self.connection.begun(self.executor, number, batch.task);
        self.connection.batches_out.fetch_add(1, Ordering::AcqRel);
        let sent = self.send(head, bytemuck::cast_slice(offsets), bytes);
        match sent {
            Ok(()) => self.out.push_back(number),
            Err(_) => drop(self.connection.batches_out.fetch_sub(1, Ordering::AcqRel)),
        }
        sent
    }

    /// Whether the oldest batch that is out has come back.
    pub(crate) fn ended(&mut self) -> bool {
        self.complete() || {
            let _ = self.read();
            self.complete()
        }
    }

    /// Takes the oldest batch back; waits for it.
    pub(crate) fn end(&mut self, out: &mut OutBatch) -> Result<(), Failure> {
        let Some(number) = self.out.front().copied() else {
            return Err(closed("the batch"));
        };
        let answer = self.answer(number);
        // Also where none came: the batch behind it is not the one that the worker was at.
        self.out.pop_front();
        let answer = answer.map_err(|gone| self.at(number, gone))?;
        self.connection.batches_out.fetch_sub(1, Ordering::AcqRel);
        self.written(answer, out)
    }

    fn written(&self, answer: DataAnswer, out: &mut OutBatch) -> Result<(), Failure> {
        match answer {
            DataAnswer::Batch { offsets, bytes } => {
                out.offsets = offsets.into();
                out.bytes = bytes.into();
                Ok(())
            }
            // To take it for an empty batch would lose records.
            DataAnswer::Done => Err(self.broken("nothing where a batch is due")),
            DataAnswer::Failed(failure) => Err(failure.of_plugin()),
        }
    }

    /// Asks the processor for what it has left.
    pub(crate) fn finish(&mut self, out: &mut OutBatch) -> Result<(), Failure> {
        let number = self.number();
        let head = Head {
            number,
            ..Head::of(Kind::Finish, &[])
        };
        self.send(head, &[], &[])?;
        let answer = self.answer(number)?;
        self.written(answer, out)
    }

    /// Sends what differs between the set of `epoch` and what the worker holds: also back to an older one, for a re-run.
    fn documents(&mut self, epoch: u64) -> Result<(), Failure> {
        if epoch == self.known_epoch {
            return Ok(());
        }
        let pin: Pin = self.connection.services().config.pin_of(epoch)?;
        let mut lacking = Vec::new();
        for (topic, generation, bytes) in pin.topics() {
            if self.known.get(topic) != Some(&generation) {
                self.known.insert(topic.to_owned(), generation);
                lacking.push(WireDocument {
                    topic: topic.to_owned(),
                    generation,
                    bytes: bytes.to_vec(),
                });
            }
        }
        // Also when nothing is lacking: the worker answers for this epoch from now on.
        let body = wire::body(&lacking);
        let head = Head {
            epoch,
            ..Head::of(Kind::Documents, &body)
        };
        self.send(head, &[], &body)?;
        self.known_epoch = epoch;
        Ok(())
    }

    /// Writes a message; reads what has come whenever there is no room.
    fn send(&mut self, head: Head, offsets: &[u8], bytes: &[u8]) -> Result<(), Failure> {
        let head = head.encode();
        let pieces = [&head[..], offsets, bytes];
        let len: usize = pieces.iter().map(|piece| piece.len()).sum();
        let mut sent = 0;
        while sent < len {
            match send_from(self.socket.as_fd(), pieces, sent, SendFlags::DONTWAIT) {
                Ok(more) => sent += more,
                Err(Errno::AGAIN) => self.wait(PollFlags::IN | PollFlags::OUT)?,
                Err(_) => return Err(self.gone()),
            }
        }
        Ok(())
    }

    /// Waits until the socket is readable or writable as asked, and reads where there is something.
    fn wait(&mut self, wanted: PollFlags) -> Result<(), Failure> {
        let mut polled = [PollFd::new(&*self.socket, wanted)];
        match poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return Err(self.gone()),
        }
        let seen = polled[0].revents();
        if seen.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            self.read()?;
        }
        Ok(())
    }

    /// Takes what is there; answers whether anything was.
    fn read(&mut self) -> Result<bool, Failure> {
        let head = Head::decode(self.inbox.arrived()).and_then(|head| match head {
            Some(head) => head.check_answer().map(|()| Some(head)),
            None => Ok(None),
        });
        let wanted = match head {
            Ok(head) => head.map_or(0, |head| head.len()),
            Err(words) => return Err(self.broken(&words)),
        };
        match self
            .inbox
            .read(self.socket.as_fd(), wanted, RecvFlags::DONTWAIT)
        {
            Ok(true) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Ok(false) | Err(_) => Err(self.gone()),
        }
    }

    /// An answer is there, whole.
    fn complete(&self) -> bool {
        let arrived = self.inbox.arrived();
        matches!(Head::decode(arrived), Ok(Some(head)) if arrived.len() >= head.len())
    }

    /// Waits for the next answer, which is to that question: questions are answered in order, each once.
    fn answer(&mut self, number: u64) -> Result<DataAnswer, Failure> {
        while !self.complete() {
            if self.read()? {
                continue;
            }
            if self.look.goes_on() {
                std::hint::spin_loop();
            } else {
                self.wait(PollFlags::IN)?;
            }
        }
        self.look.found();
        let arrived = self.inbox.arrived();
        let head = match Head::decode(arrived) {
            Ok(Some(head)) => head,
            Ok(None) => return Err(self.broken("half a message")),
            Err(words) => return Err(self.broken(&words)),
        };
        if head.number != number {
            return Err(self.broken("an answer to another question than is due"));
        }
        let split = HEAD_LEN + head.offsets as usize * 4;
        let end = head.len();
        let (offsets, bytes) = (&arrived[HEAD_LEN..split], &arrived[split..end]);
        let answer = match head.kind {
            Kind::Batch => {
                let mut words = vec![0_u32; head.offsets as usize];
                bytemuck::cast_slice_mut(&mut words).copy_from_slice(offsets);
                DataAnswer::Batch {
                    offsets: words,
                    bytes: bytes.to_vec(),
                }
            }
            Kind::Done => DataAnswer::Done,
            Kind::Failed => match wire::decode(bytes) {
                Ok(failure) => DataAnswer::Failed(failure),
                Err(words) => return Err(self.broken(&words)),
            },
            Kind::Documents | Kind::Process | Kind::Finish | Kind::Call => {
                return Err(self.broken("a question where an answer is due"));
            }
        };
        self.inbox.take(end);
        Ok(answer)
    }

    /// The worker speaks what no worker of this build speaks: it is not to be trusted with another word.
    fn broken(&self, words: &str) -> Failure {
        self.connection
            .kill(&format!("it sent what no worker sends: {words}"));
        self.gone()
    }

    /// Why nothing comes back.
    fn gone(&self) -> Failure {
        failure(failure_kind::GONE, self.connection.epitaph())
    }

    /// The same of a batch: whether the worker was at it, and whether another was out, anywhere.
    fn at(&self, number: u64, gone: Failure) -> Failure {
        let at_it = self.connection.in_hand(self.executor) == number;
        let alone = self.connection.batches_out.load(Ordering::Acquire) == 1;
        let code = match (at_it, alone) {
            (true, true) => IN_HAND,
            (true, false) => IN_COMPANY,
            (false, _) => "",
        };
        Failure {
            code: code.into(),
            ..gone
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.connection.channel_closed(self.executor);
    }
}
