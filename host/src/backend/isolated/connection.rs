//! One life of one worker, seen from the host: what is sent to it, who waits for what of it, and its end. The thread that
//! reads the control socket routes and does nothing else: it holds no lock over a call, waits for nobody, and hands what may
//! touch a disk to a thread apart. Whoever waits for a worker that dies is told `gone`.

use super::{
    frames::Inbox,
    outbox::{Outbox, Unsent},
    process::Process,
    sandbox::Enforced,
    wire::{self, Call, Returned, ToHost, ToWorker, WireFailure, WireProblem},
};
use crate::services::{
    InstanceInfo, Services,
    component::{Component, Kind},
    failure::failure,
    foreign,
};
use hotshoe_abi::{Failure, failure_kind};
use hotshoe_loader::CellRegion;
use parking_lot::{Condvar, Mutex};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::RecvFlags,
};
use std::{
    collections::{BTreeMap, VecDeque},
    os::fd::{AsFd as _, OwnedFd},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

/// Lines of a worker's log that its crash record keeps.
const LAST_LINES_MAX: usize = 100;

/// What of each is kept, of each of its parts: a record of a hundred lines must stay one that is read.
pub(super) const LAST_LINE_BYTES_MAX: usize = 1 << 10;

/// How long a worker that was asked to end may take: what it would do then is nobody's any more.
const END_WITHIN: Duration = Duration::from_secs(1);

/// How long a program may take to say that it is a worker: it does so before anything that takes time.
const HERE_WITHIN: Duration = Duration::from_secs(5);

type CallTo = mpsc::SyncSender<Result<Returned, WireFailure>>;

/// See the file.
pub(crate) struct Connection {
    info: Arc<InstanceInfo>,
    services: Arc<Services>,
    outbox: Outbox,
    waiting: Mutex<Waiting>,
    next_call: AtomicU64,
    pub(super) components: Mutex<BTreeMap<Kind, Arc<Component>>>,
    /// Calls of the plugin's into the host that are under way, and their bytes.
    pub(super) asks: AtomicUsize,
    pub(super) asked_bytes: AtomicUsize,
    /// Services that may wait for a disk.
    pub(super) slow: mpsc::Sender<Job>,
    channels: Mutex<BTreeMap<u32, Weak<OwnedFd>>>,
    /// Batches that were handed to the worker and not taken back; stays as it was at a death.
    pub(crate) batches_out: AtomicUsize,
    /// By executor: the numbers of batches, and their tasks.
    tasks: Mutex<BTreeMap<u32, VecDeque<(u64, u64)>>>,
    region: Arc<CellRegion>,
    process: Process,
    ending: AtomicBool,
    serving: AtomicBool,
    /// The start was sent: nothing may go before it.
    started: AtomicBool,
    over: Mutex<Option<Death>>,
    ended: Condvar,
    last_lines: Mutex<VecDeque<String>>,
}

#[derive(Default)]
struct Waiting {
    calls: BTreeMap<u64, CallTo>,
    opening: Option<mpsc::SyncSender<Opening>>,
    over: bool,
}

/// How far a worker has come that was told to start.
enum Opening {
    Here,
    Opened(Result<Enforced, Box<WireProblem>>),
}

/// Why a library is not open.
pub(crate) enum Unopened {
    /// The program is none that becomes a worker; how it ended.
    NoWorker(String),
    Refused(Box<WireProblem>),
    Gone(Failure),
}

/// How a worker ended.
#[derive(Debug, Clone)]
pub(crate) struct Death {
    /// "killed by signal 11 (SIGSEGV)", "it ended by itself with exit code 3".
    pub(crate) how: String,
    /// It was told to end.
    pub(crate) asked: bool,
    /// It had been taken into service.
    pub(crate) served: bool,
}

type Job = Box<dyn FnOnce() + Send>;

/// A call of the plugin's into the host: its number, and how many bytes it came in.
pub(super) type Asked = (u64, usize);

impl Connection {
    pub(crate) fn new(
        info: &Arc<InstanceInfo>,
        services: &Arc<Services>,
        region: &Arc<CellRegion>,
        process: Process,
    ) -> (Arc<Self>, mpsc::Receiver<Job>) {
        let (slow, jobs) = mpsc::channel();
        let connection = Self {
            info: Arc::clone(info),
            services: Arc::clone(services),
            outbox: Outbox::new(Arc::clone(process.socket())),
            waiting: Mutex::default(),
            next_call: AtomicU64::new(1),
            components: Mutex::default(),
            asks: AtomicUsize::new(0),
            asked_bytes: AtomicUsize::new(0),
            slow,
            channels: Mutex::default(),
            batches_out: AtomicUsize::new(0),
            tasks: Mutex::default(),
            region: Arc::clone(region),
            process,
            ending: AtomicBool::new(false),
            serving: AtomicBool::new(false),
            started: AtomicBool::new(false),
            over: Mutex::new(None),
            ended: Condvar::new(),
            last_lines: Mutex::default(),
        };
        (Arc::new(connection), jobs)
    }

    pub(crate) fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// Starts the threads of the connection; `died` is called once, when the worker is gone and everybody was told.
    pub(crate) fn start(
        self: &Arc<Self>,
        jobs: mpsc::Receiver<Job>,
        died: impl FnOnce(&Arc<Self>, &Death) + Send + 'static,
    ) -> std::io::Result<()> {
        let name = &self.info.name;
        let writer = Arc::clone(self);
        thread::Builder::new()
            .name(format!("to {name}"))
            .spawn(move || writer.outbox.run())?;
        thread::Builder::new()
            .name(format!("services {name}"))
            .spawn(move || jobs.into_iter().for_each(|job| job()))?;
        let output = self.process.output();
        let (over, until) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let (forwarder, (lines_ended, lines_end)) = (Arc::clone(self), mpsc::channel::<()>());
        thread::Builder::new()
            .name(format!("output {name}"))
            .spawn(move || {
                super::output::forward(output, &over, |stream, line| {
                    forwarder.printed(stream, line);
                });
                drop(lines_ended);
            })?;
        let reader = Arc::clone(self);
        thread::Builder::new()
            .name(format!("from {name}"))
            .spawn(move || {
                reader.route();
                let death = reader.bury(&lines_end, until);
                died(&reader, &death);
            })?;
        Ok(())
    }

    // ---- to the worker

    /// Sends a message, with descriptors; never waits.
    pub(crate) fn send(
        &self,
        message: &ToWorker,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), Failure> {
        let frame = wire::encode(message).map_err(|error| {
            let text = format!("{} bytes are too long for a worker", error.len);
            failure(failure_kind::TOO_LARGE, text)
        })?;
        self.outbox
            .send(frame, descriptors)
            .map_err(|unsent| match unsent {
                Unsent::Full => {
                    let text = format!(
                        "the worker of plugin `{}` does not read what it is sent",
                        self.info.name
                    );
                    failure(failure_kind::FULL, text)
                }
                Unsent::Closed => failure(failure_kind::GONE, self.epitaph()),
            })
    }

    /// Makes a call and waits for its outcome, or for the worker's end: whoever watches the call kills a worker that does
    /// not answer.
    pub(crate) fn call(&self, call: Call) -> Result<Returned, Failure> {
        let id = self.next_call.fetch_add(1, Ordering::Relaxed);
        let (to, returned) = mpsc::sync_channel(1);
        {
            let mut waiting = self.waiting.lock();
            if waiting.over {
                drop(waiting);
                return Err(failure(failure_kind::GONE, self.epitaph()));
            }
            waiting.calls.insert(id, to);
        }
        if let Err(failure) = self.send(&ToWorker::Call(id, call), Vec::new()) {
            self.waiting.lock().calls.remove(&id);
            return Err(failure);
        }
        match returned.recv() {
            Ok(outcome) => outcome.map_err(WireFailure::of_plugin),
            Err(mpsc::RecvError) => Err(failure(failure_kind::GONE, self.epitaph())),
        }
    }

    /// Sends the start and waits until the library is open.
    pub(crate) fn open(
        &self,
        start: wire::Start,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Enforced, Unopened> {
        let (to, opening) = mpsc::sync_channel(2);
        self.waiting.lock().opening = Some(to);
        // A program that ends at once is told apart below.
        let sent = self.send(&ToWorker::Start(Box::new(start)), descriptors);
        self.started.store(true, Ordering::Release);
        if let Err(failure) = sent {
            if failure.kind != failure_kind::GONE {
                return Err(Unopened::Gone(failure));
            }
        }
        if opening.recv_timeout(HERE_WITHIN).is_err() {
            self.kill("it did not say that it is a worker");
            return Err(Unopened::NoWorker(self.ending()));
        }
        match opening.recv() {
            Ok(Opening::Opened(outcome)) => outcome.map_err(Unopened::Refused),
            Ok(Opening::Here) | Err(mpsc::RecvError) => {
                Err(Unopened::Gone(failure(failure_kind::GONE, self.epitaph())))
            }
        }
    }

    /// Whether something else than the start may be sent.
    pub(crate) fn is_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    /// Whether it is in service, or was.
    pub(crate) fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Acquire)
    }

    /// Takes it into service: its death is told from here on. A worker that is gone before is not.
    pub(crate) fn serve(&self) -> Result<(), Failure> {
        let over = self.over.lock();
        if over.is_some() {
            drop(over);
            return Err(failure(failure_kind::GONE, self.epitaph()));
        }
        self.serving.store(true, Ordering::Release);
        Ok(())
    }

    /// Gives the worker an executor; answers the host's end of its data socket.
    pub(crate) fn channel(&self, executor: u32) -> Result<Arc<OwnedFd>, Failure> {
        let refused = |error: Errno| {
            let text = format!("the system refuses a socket for executor {executor}: {error}");
            Failure {
                fix: super::process::refusal(&error.into()).into(),
                ..failure(failure_kind::ERROR, text)
            }
        };
        let (ours, theirs) = super::process::socket_pair().map_err(refused)?;
        // Where the last life died is none of this one's batches, which are counted from the same number.
        if let Some(at) = self.region.cells(executor as usize, 1) {
            at[0].store(0, Ordering::Release);
        }
        let ours = Arc::new(ours);
        self.channels.lock().insert(executor, Arc::downgrade(&ours));
        self.send(&ToWorker::Executor(executor), vec![theirs])?;
        if self.over.lock().is_some() {
            return Err(failure(failure_kind::GONE, self.epitaph()));
        }
        Ok(ours)
    }

    pub(crate) fn channel_closed(&self, executor: u32) {
        let mut channels = self.channels.lock();
        // A newer one of that executor stays.
        if channels
            .get(&executor)
            .is_some_and(|socket| socket.strong_count() <= 1)
        {
            channels.remove(&executor);
        }
    }

    /// The number of the batch that the worker says it is at, on that executor; 0 for none. Data, written by the worker.
    pub(crate) fn in_hand(&self, executor: u32) -> u64 {
        let cell = self.region.cells(executor as usize, 1);
        cell.map_or(0, |cell| cell[0].load(Ordering::Acquire))
    }

    /// Notes which task a batch belongs to.
    pub(crate) fn begun(&self, executor: u32, number: u64, task: u64) {
        let mut tasks = self.tasks.lock();
        let out = tasks.entry(executor).or_default();
        out.push_back((number, task));
        // More are never out at once.
        if out.len() > super::channel::WINDOW {
            out.pop_front();
        }
    }

    /// The task that the worker was at; the first, where it was at several.
    pub(crate) fn task_in_hand(&self) -> Option<u64> {
        let tasks = self.tasks.lock();
        tasks.iter().find_map(|(executor, out)| {
            let at = self.in_hand(*executor);
            let found = out.iter().find(|(number, _)| *number == at && at != 0);
            found.map(|(_, task)| *task)
        })
    }

    /// Whether the worker was at a batch, and no other was out: the newest, for the older ones have come back.
    pub(crate) fn at_its_only_batch(&self) -> bool {
        let tasks = self.tasks.lock();
        let mut newest = tasks
            .iter()
            .filter_map(|(executor, out)| Some((*executor, out.back()?.0)));
        self.batches_out.load(Ordering::Acquire) == 1
            && newest.any(|(executor, number)| self.in_hand(executor) == number)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// From here on the component's services are asked for in this name.
    pub(crate) fn enter(&self, component: Component) {
        let (kind, component) = (component.kind, Arc::new(component));
        let before = self.components.lock().insert(kind, component);
        // Not under the lock: to leave is a call into the services.
        drop(before);
    }

    // ---- its end

    /// Ends the worker; its death is told as any other.
    pub(crate) fn kill(&self, why: &str) {
        self.process.kill(why);
    }

    /// Asks the worker to end, and waits until it has: killed, where it takes its time.
    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::Release);
        self.outbox.close();
        self.process.hang_up();
        let mut over = self.over.lock();
        if over.is_none() && self.ended.wait_for(&mut over, END_WITHIN).timed_out() {
            self.process.kill("it did not end when it was told to");
            self.ended.wait_for(&mut over, END_WITHIN);
        }
    }

    /// The worker is gone, and everybody knows.
    pub(crate) fn is_over(&self) -> bool {
        self.over.lock().is_some()
    }

    /// How the worker ended, in a sentence; waits a moment for whoever finds that out.
    pub(crate) fn epitaph(&self) -> String {
        format!(
            "the worker of plugin `{}` died: {}",
            self.info.name,
            self.ending()
        )
    }

    fn ending(&self) -> String {
        let mut over = self.over.lock();
        if over.is_none() {
            self.ended.wait_for(&mut over, END_WITHIN);
        }
        match &*over {
            Some(death) => death.how.clone(),
            None => "it closed its connection".to_owned(),
        }
    }

    /// The last lines of its log, oldest first.
    pub(crate) fn last_lines(&self) -> Vec<String> {
        self.last_lines.lock().iter().cloned().collect()
    }

    /// It ended by itself, with that exit code.
    pub(crate) fn ended_with(&self, code: i32) -> bool {
        self.process.ended_with(code)
    }

    pub(super) fn keep(&self, line: String) {
        let mut lines = self.last_lines.lock();
        if lines.len() == LAST_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn printed(&self, stream: &'static str, line: &str) {
        let plugin = &self.info.name;
        tracing::info!(target: "hotshoe::plugin", plugin, from = stream, "{line}");
        self.keep(format!(
            "{stream}: {}",
            foreign::text(line, LAST_LINE_BYTES_MAX)
        ));
    }

    /// Everybody who waits is told; the process is gone for certain.
    fn bury(&self, lines_end: &mpsc::Receiver<()>, lines: OwnedFd) -> Death {
        self.outbox.close();
        // A child of the worker's may hold the other end: whoever waits for room in there must wake all the same.
        let _ = rustix::net::shutdown(&**self.process.socket(), rustix::net::Shutdown::Both);
        let asked = self.ending.load(Ordering::Acquire);
        let how = self.process.reap();
        // What it said last is on its way; a child of its own may keep the pipes, and is not waited for.
        let _ = lines_end.recv_timeout(Duration::from_millis(200));
        drop(lines);
        let death = {
            let mut over = self.over.lock();
            let served = self.serving.load(Ordering::Acquire);
            over.insert(Death { how, asked, served }).clone()
        };
        self.ended.notify_all();
        let calls = {
            let mut waiting = self.waiting.lock();
            waiting.over = true;
            waiting.opening = None;
            std::mem::take(&mut waiting.calls)
        };
        // Dropped: whoever waits finds nobody at the other end.
        drop(calls);
        let channels = std::mem::take(&mut *self.channels.lock());
        for socket in channels.values().filter_map(Weak::upgrade) {
            // A child of the worker's may hold the other end: the executor's thread must wake all the same.
            let _ = rustix::net::shutdown(&*socket, rustix::net::Shutdown::Both);
        }
        let components = std::mem::take(&mut *self.components.lock());
        drop(components);
        death
    }

    // ---- from the worker

    /// Routes what comes until the worker is gone.
    fn route(self: &Arc<Self>) {
        let mut inbox = Inbox::default();
        let socket = Arc::clone(self.process.socket());
        loop {
            let gone = {
                let ended = self.process.ended();
                let mut polled = vec![PollFd::new(&*socket, PollFlags::IN)];
                polled.extend(ended.map(|ended| PollFd::from_borrowed_fd(ended, PollFlags::IN)));
                match poll(&mut polled, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(_) => return,
                }
                polled
                    .get(1)
                    .is_some_and(|ended| !ended.revents().is_empty())
            };
            loop {
                let wanted = inbox.wanted();
                match inbox.read(socket.as_fd(), wanted, RecvFlags::DONTWAIT) {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(Errno::AGAIN) => break,
                    Err(_) => return,
                }
                if let Err(words) = self.take(&mut inbox) {
                    self.kill(&format!("it sent what no worker sends: {words}"));
                    return;
                }
            }
            // The process is over, whoever else may hold its end of the socket.
            if gone {
                return;
            }
        }
    }

    fn take(self: &Arc<Self>, inbox: &mut Inbox) -> Result<(), String> {
        while let Some(body) = inbox.next()? {
            let len = body.len();
            match wire::decode(body)? {
                ToHost::Here => {
                    if let Some(opening) = &self.waiting.lock().opening {
                        let _ = opening.try_send(Opening::Here);
                    }
                }
                ToHost::Opened(outcome) => {
                    let opening = self.waiting.lock().opening.take();
                    if let Some(opening) = opening {
                        let _ = opening.try_send(Opening::Opened(outcome));
                    }
                }
                ToHost::Returned(id, outcome) => {
                    let to = self.waiting.lock().calls.remove(&id);
                    if let Some(to) = to {
                        let _ = to.try_send(outcome);
                    }
                }
                ToHost::Tell(speaker, told) => self.told(speaker, told),
                ToHost::Ask(id, speaker, service) => self.asked((id, len), speaker, service),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{
        isolated::{Program, Spawner, sandbox::Environment},
        scripted::{self, Build, Scripted},
    };

    /// A program that runs until it is killed, and is no worker.
    fn program() -> Program {
        Program {
            executable: Some("/usr/bin/yes".into()),
            instance: "x".to_owned(),
            environment: Environment::Whole,
        }
    }

    /// What the last life died at says nothing about the next one, whose batches are counted from the same number.
    #[test]
    fn an_executor_of_a_new_life_is_at_nothing() {
        let info = Arc::clone(Scripted::quiet(0, Build::PLAIN).info());
        let services = scripted::services(mpsc::channel().0);
        let region = Arc::new(CellRegion::create("x").expect("memory"));
        region.cells(3, 1).expect("an executor's")[0].store(7, Ordering::Release);
        let process = Spawner::new().and_then(|spawner| spawner.spawn(program()));
        let process = process.expect("every machine has it");
        let (connection, _jobs) = Connection::new(&info, &services, &region, process);
        let _socket = connection.channel(3).expect("room for a message");
        assert_eq!(connection.in_hand(3), 0);
    }
}
