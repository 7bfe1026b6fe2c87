//! An executor's thread in a worker: the plugin's parts for it, and the socket that says what to call. Batches are read where
//! they arrive.

use super::{
    super::{
        data::{DataCall, HEAD_LEN, Head, Kind, WireDocument},
        frames::{Inbox, send_from},
        look::Look,
        wire::{self, WireFailure},
    },
    host::{Sets, WorkerHost},
    serve::Worker,
};
use crate::{
    backend::in_process::handed_out,
    machine::ExecutorId,
    services::{
        component,
        failure::{closed, failure},
        foreign::taken,
        watch::{Method, Watch},
    },
};
use hotshoe_abi::{
    BatchRef, ExecutorBox, Failure, OutBatch, ProcessorBox, abi_stable::std_types::Tuple2,
};
use parking_lot::Mutex;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::{RecvFlags, SendFlags},
};
use std::{
    os::fd::{AsFd as _, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// See the file.
pub(super) struct Executor {
    worker: Arc<Worker>,
    id: u32,
    socket: OwnedFd,
    inbox: Inbox,
    look: Look,
    sets: Arc<Mutex<Sets>>,
    executor: Option<(ExecutorBox, Arc<Watch>)>,
    processor: Option<(ProcessorBox, Arc<Watch>)>,
    /// The parts' contexts are of no use any more.
    closed: Arc<AtomicBool>,
    /// Where the host reads which batch this executor is at.
    at: Option<&'static AtomicU64>,
    offsets: Vec<u32>,
    out: OutBatch,
}

impl Executor {
    pub(super) fn new(worker: &Arc<Worker>, id: u32, socket: OwnedFd) -> Self {
        let cell = worker.home.region.cells(id as usize, 1);
        Self {
            worker: Arc::clone(worker),
            id,
            socket,
            inbox: Inbox::default(),
            look: Look::new(),
            sets: Arc::default(),
            executor: None,
            processor: None,
            closed: Arc::default(),
            at: cell.map(|cell| &cell[0]),
            offsets: Vec::new(),
            out: OutBatch::default(),
        }
    }

    /// Serves until the host closes the socket.
    pub(super) fn run(mut self) -> Result<(), String> {
        while let Some(head) = self.next_head()? {
            match head.kind {
                Kind::Documents => self.documents(&head)?,
                Kind::Process => self.process(&head)?,
                Kind::Finish => self.finish(&head)?,
                Kind::Call => self.call(&head)?,
                Kind::Batch | Kind::Done | Kind::Failed => {
                    return Err("an answer where a question is due".to_owned());
                }
            }
        }
        Ok(())
    }

    /// Waits for a whole message; `None` at the end.
    fn next_head(&mut self) -> Result<Option<Head>, String> {
        loop {
            let arrived = self.inbox.arrived();
            let head = Head::decode(arrived)?;
            let wanted = head.map_or(0, |head| head.len());
            if let Some(head) = head.filter(|_| arrived.len() >= wanted) {
                self.look.found();
                return Ok(Some(head));
            }
            match self
                .inbox
                .read(self.socket.as_fd(), wanted, RecvFlags::DONTWAIT)
            {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(Errno::AGAIN) if self.look.goes_on() => std::hint::spin_loop(),
                Err(Errno::AGAIN) => {
                    let mut polled = [PollFd::new(&self.socket, PollFlags::IN)];
                    match poll(&mut polled, None) {
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(error) => return Err(error.to_string()),
                    }
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn tail<'a>(&'a self, head: &Head) -> &'a [u8] {
        &self.inbox.arrived()[HEAD_LEN..head.len()]
    }

    fn done_with(&mut self, head: &Head) {
        self.inbox.take(head.len());
    }

    fn documents(&mut self, head: &Head) -> Result<(), String> {
        let documents: Vec<WireDocument> = wire::decode(self.tail(head))?;
        let mut sets = self.sets.lock();
        sets.epoch = head.epoch;
        for document in documents {
            sets.documents
                .insert(document.topic, (document.generation, document.bytes));
        }
        drop(sets);
        self.done_with(head);
        Ok(())
    }

    fn process(&mut self, head: &Head) -> Result<(), String> {
        let split = HEAD_LEN + head.offsets as usize * 4;
        let arrived = self.inbox.arrived();
        self.offsets.resize(head.offsets as usize, 0);
        bytemuck::cast_slice_mut(&mut self.offsets).copy_from_slice(&arrived[HEAD_LEN..split]);
        let bytes = &arrived[split..head.len()];
        let batch = BatchRef {
            epoch: head.epoch,
            task: head.task,
            attempt: head.attempt,
            offsets: self.offsets.as_slice().into(),
            bytes: bytes.into(),
        };
        self.out.offsets.clear();
        self.out.bytes.clear();
        self.out.bytes.reserve(bytes.len());
        let outcome = match &mut self.processor {
            None => Err(closed("the processor")),
            Some((processor, watch)) => {
                if let Some(at) = self.at {
                    at.store(head.number, Ordering::Release);
                }
                let out = &mut self.out;
                let (outcome, _) =
                    watch.during(Method::Process, || taken(processor.process(batch, out)));
                outcome
            }
        };
        self.answer_batch(head.number, outcome)?;
        if let Some(at) = self.at {
            at.store(0, Ordering::Release);
        }
        self.done_with(head);
        Ok(())
    }

    fn finish(&mut self, head: &Head) -> Result<(), String> {
        self.out.offsets.clear();
        self.out.bytes.clear();
        let outcome = match &mut self.processor {
            None => Err(closed("the processor")),
            Some((processor, watch)) => {
                let out = &mut self.out;
                let (outcome, _) = watch.during(Method::Finish, || taken(processor.finish(out)));
                outcome
            }
        };
        self.answer_batch(head.number, outcome)?;
        self.done_with(head);
        Ok(())
    }

    fn answer_batch(&self, number: u64, outcome: Result<(), Failure>) -> Result<(), String> {
        match outcome {
            Ok(()) => {
                let (offsets, bytes) = (self.out.offsets.as_slice(), self.out.bytes.as_slice());
                let head = Head {
                    offsets: u32::try_from(offsets.len()).unwrap_or(u32::MAX),
                    number,
                    ..Head::of(Kind::Batch, bytes)
                };
                let fits = head.tail_len() == offsets.len() * 4 + bytes.len();
                if !fits || head.check_answer().is_err() {
                    let text = format!("{} bytes, and {} offsets", bytes.len(), offsets.len());
                    let kind = hotshoe_abi::failure_kind::TOO_LARGE;
                    return self.answer_failed(number, failure(kind, text));
                }
                self.write(head, bytemuck::cast_slice(offsets), bytes)
            }
            Err(failure) => self.answer_failed(number, failure),
        }
    }

    fn answer_failed(&self, number: u64, failure: Failure) -> Result<(), String> {
        let body = wire::body(&WireFailure::from(failure));
        let head = Head {
            number,
            ..Head::of(Kind::Failed, &body)
        };
        self.write(head, &[], &body)
    }

    fn write(&self, head: Head, offsets: &[u8], bytes: &[u8]) -> Result<(), String> {
        // A question is answered once, however many processes the plugin has made of this one meanwhile.
        self.worker.home.link.end_copy();
        let head = head.encode();
        let pieces = [&head[..], offsets, bytes];
        let len: usize = pieces.iter().map(|piece| piece.len()).sum();
        let mut sent = 0;
        while sent < len {
            sent += send_from(self.socket.as_fd(), pieces, sent, SendFlags::empty())
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn call(&mut self, head: &Head) -> Result<(), String> {
        let call: DataCall = wire::decode(self.tail(head))?;
        self.done_with(head);
        match self.make(call) {
            Ok(()) => {
                let done = Head {
                    number: head.number,
                    ..Head::of(Kind::Done, &[])
                };
                self.write(done, &[], &[])
            }
            Err(failure) => self.answer_failed(head.number, failure),
        }
    }

    fn make(&mut self, call: DataCall) -> Result<(), Failure> {
        match call {
            DataCall::InitExecutor(extra) => self.init_executor(extra),
            DataCall::InitProcessor(extra) => self.init_processor(extra),
            DataCall::TaskStart(task) => self.on_executor(Method::OnTaskStart, |executor| {
                taken(executor.on_task_start(task.into()))
            }),
            DataCall::TaskSucceeded(task) => self
                .on_executor(Method::OnTaskSucceeded, |executor| {
                    taken(executor.on_task_succeeded(task.into()))
                }),
            DataCall::TaskFailed(task, reason) => self
                .on_executor(Method::OnTaskFailed, |executor| {
                    taken(executor.on_task_failed(task.into(), reason.as_str().into()))
                }),
            DataCall::Receive(message) => self.on_executor(Method::Receive, |executor| {
                taken(executor.receive(message.as_slice().into())).map(drop)
            }),
            DataCall::ShutdownExecutor => {
                let outcome =
                    self.on_executor(Method::Shutdown, |executor| taken(executor.shutdown()));
                // As in the host: the context is closed first, and the processor goes first.
                self.closed.store(true, Ordering::Release);
                self.processor = None;
                self.executor = None;
                outcome
            }
            DataCall::DropProcessor => {
                self.processor = None;
                Ok(())
            }
        }
    }

    fn on_executor(
        &mut self,
        method: Method,
        call: impl FnOnce(&mut ExecutorBox) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        match &mut self.executor {
            Some((executor, watch)) => watch.during(method, || call(executor)).0,
            None => Err(closed("the executor part")),
        }
    }

    fn watch(&self, component: &'static str) -> Arc<Watch> {
        let id = Some(ExecutorId(self.id));
        self.worker.watches.add(&self.worker.info, component, id)
    }

    fn host(&self, kind: component::Kind, watch: &Arc<Watch>) -> WorkerHost {
        WorkerHost {
            home: Arc::clone(&self.worker.home),
            kind,
            watch: Some(Arc::clone(watch)),
            closed: Arc::clone(&self.closed),
            sets: Some(Arc::clone(&self.sets)),
        }
    }

    fn init_executor(&mut self, extra: Vec<(String, String)>) -> Result<(), Failure> {
        self.executor = None;
        self.closed = Arc::default();
        *self.worker.home.extra.lock() = extra.clone();
        let extra = extra.into_iter();
        let extra = extra
            .map(|(key, value)| Tuple2(key.into(), value.into()))
            .collect();
        let watch = self.watch("executor");
        let host = self
            .host(component::Kind::Executor(ExecutorId(self.id)), &watch)
            .boxed();
        let (made, _) = watch.during(Method::Init, || {
            let mut executor = self
                .worker
                .part(|instance| handed_out("executor", instance.executor()))?;
            taken(executor.init(host, extra)).map(|()| executor)
        });
        made.map(|executor| self.executor = Some((executor, watch)))
    }

    fn init_processor(&mut self, extra: Vec<(String, String)>) -> Result<(), Failure> {
        self.processor = None;
        *self.worker.home.extra.lock() = extra;
        let watch = self.watch("processor");
        let host = self
            .host(component::Kind::Processor(ExecutorId(self.id)), &watch)
            .boxed();
        let (made, _) = watch.during(Method::Init, || {
            let mut processor = self
                .worker
                .part(|instance| handed_out("processor", instance.processor()))?;
            taken(processor.init(host)).map(|()| processor)
        });
        made.map(|processor| self.processor = Some((processor, watch)))
    }
}
