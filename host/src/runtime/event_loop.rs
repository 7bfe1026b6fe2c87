//! The one thread that calls `step` and performs its effects. It never blocks on a plugin: every effect orders something
//! and returns, and what comes of it is another event.

use super::executor::{self, Crew};
use crate::{
    Outcome,
    backend::Backend,
    config_file::StreamConfig,
    error::{Blame, ExitCode, Problem},
    machine::{
        ExecutorId, InstanceId,
        supervisor::{self, Answer, Call, Effect, Event, State, Supervisor, Timer},
    },
    services::{InstanceInfo, Services, config::CheckedBy, watch::Overrun},
    stream::{
        self, Policy, Standard, Stream,
        batch::OutputLimits,
        desk::{Desk, Order},
    },
};
use hotshoe_abi::{log_level, signal_kind};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, mpsc},
    thread,
    time::{Instant, SystemTime},
};
use tokio::sync::watch;

/// Where a host is, for whoever waits for it.
#[derive(Debug, Clone)]
pub(crate) enum Progress {
    Starting,
    Ready,
    Finished(Outcome),
}

/// What others may read of the loop's state.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) phase: &'static str,
    pub(crate) ready: bool,
    pub(crate) instances: Vec<(Option<State>, Option<String>, Option<SystemTime>)>,
    pub(crate) executors: Vec<(u32, &'static str)>,
}

/// Called with each problem when it happens.
pub(crate) type Observer = Box<dyn Fn(&Problem) + Send + Sync>;

/// What the loop works on.
pub(crate) struct EventLoop {
    pub(crate) supervisor: Supervisor,
    pub(crate) infos: Vec<Arc<InstanceInfo>>,
    pub(crate) backends: Arc<[Arc<dyn Backend>]>,
    /// Topics that each instance's checker is asked about.
    pub(crate) checks: Vec<Vec<String>>,
    pub(crate) chain: Arc<[InstanceId]>,
    pub(crate) services: Arc<Services>,
    pub(crate) stream: Option<StreamConfig>,
    /// Taken by whoever opens the stream.
    pub(crate) standard: Mutex<Standard>,
    pub(crate) counts: Arc<stream::Counts>,
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) snapshot: Arc<RwLock<Snapshot>>,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) observer: Observer,
}

/// What comes into being while it runs.
#[derive(Default)]
struct Running {
    timers: BTreeMap<Timer, Instant>,
    desk: Option<Arc<Desk>>,
    opened: Arc<Mutex<Option<stream::Opened>>>,
    stream: Option<Stream>,
    problems: Vec<Problem>,
    log_level: u32,
}

impl EventLoop {
    /// Runs until the supervisor has finished.
    pub(crate) fn run(mut self, started: Instant) {
        let mut running = Running {
            log_level: log_level::OFF,
            ..Running::default()
        };
        loop {
            let event = self.next_event(&running);
            if let Some(Event::TimerFired(timer)) = &event {
                running.timers.remove(timer);
                if let (Timer::Cancel, Some(desk)) = (timer, &running.desk) {
                    // So that the sink can count what was not delivered, and say so.
                    desk.abandon_busy();
                }
            }
            self.watch(&mut running);
            let Some(event) = event else { continue };
            let mut queue = vec![event];
            while let Some(event) = queue.pop() {
                tracing::trace!(?event, "event");
                if let Event::Died(id, death) = &event {
                    self.backends[id.0].died(&death.how);
                    let name = &self.infos[id.0].name;
                    let mut endpoints = self.services.endpoints.lock();
                    endpoints.retain(|(instance, _), _| instance != name);
                }
                let effects = supervisor::step(&mut self.supervisor, event);
                self.publish();
                for effect in effects {
                    if let Effect::Finish(exit) = effect {
                        self.finish(exit, running);
                        return;
                    }
                    self.perform(effect, &mut running, &mut queue, started);
                }
            }
        }
    }

    /// Runs only until every instance is made, then drops them.
    pub(crate) fn load(mut self) {
        let mut running = Running::default();
        let mut event = Some(Event::Begin);
        loop {
            if let Some(event) = event.take() {
                if let Event::TimerFired(timer) = &event {
                    running.timers.remove(timer);
                }
                for effect in supervisor::step(&mut self.supervisor, event) {
                    let beyond = matches!(
                        effect,
                        Effect::Call(_, Call::InitDriver | Call::InitChecker)
                    ) || matches!(
                        effect,
                        Effect::StartExecutor(..) | Effect::OpenStream | Effect::Ready
                    );
                    if beyond || matches!(effect, Effect::Finish(_)) {
                        return;
                    }
                    self.perform(effect, &mut running, &mut Vec::new(), Instant::now());
                }
            }
            event = self.next_event(&running);
        }
    }

    /// Waits for the next event, timer, or look at the watches; `None` for the last.
    fn next_event(&self, running: &Running) -> Option<Event> {
        let timer = running.timers.iter().min_by_key(|(_, at)| **at);
        let now = Instant::now();
        if let Some((timer, at)) = timer {
            if *at <= now {
                return Some(Event::TimerFired(*timer));
            }
        }
        let until_timer = timer.map(|(_, at)| at.duration_since(now));
        let wait = [until_timer, self.services.watches.interval()]
            .into_iter()
            .flatten()
            .min();
        match wait {
            Some(wait) => self.events.recv_timeout(wait).ok(),
            None => self.events.recv().ok(),
        }
    }

    /// Looks after calls that overran, and pushes a changed log level to the plugins.
    fn watch(&self, running: &mut Running) {
        for overrun in self.services.watches.overruns() {
            self.overran(&overrun, running);
        }
        let level = crate::services::log::level();
        if level != running.log_level {
            running.log_level = level;
            for backend in self.backends.iter() {
                backend.signal(signal_kind::LOG_LEVEL, u64::from(level));
            }
        }
    }

    fn overran(&self, overrun: &Overrun, running: &Running) {
        let (info, method) = (&overrun.watch.instance, overrun.method);
        let deadline = supervisor::human(method.deadline(info));
        let place = overrun
            .watch
            .executor
            .map_or_else(String::new, |id| format!(" on executor {}", id.0));
        let headline = format!(
            "plugin `{}`: {} of its {}{place} has not returned within {deadline}",
            info.name,
            method.name(),
            overrun.watch.component
        );
        let code = format!("{}-timeout", method.deadline_key());
        let problem = Problem::error(ExitCode::Running, Blame::Plugin, code, headline)
            .wanted(format!("an answer within {deadline}"))
            .found(format!(
                "none after {} ms; the call still runs",
                overrun.elapsed.as_millis()
            ))
            .fix(format!(
                "raise deadlines.{} of plugin `{}`, or find out what it waits for",
                method.deadline_key(),
                info.name
            ));
        // Told first: what comes of it, a death, or a stream that ends for want of an executor, is a later event.
        let executor = overrun.watch.executor;
        self.services.tell(match executor {
            None => Event::Overran(info.id, problem),
            Some(executor) => Event::ExecutorHung(executor, info.id, problem),
        });
        // A process of its own can be ended, and the call returns by that.
        let why = format!("{} did not return within {deadline}", method.name());
        let killed = self.backends[info.id.0].kill(&why);
        if let (Some(executor), Some(desk), false) = (executor, &running.desk, killed) {
            desk.abandon(executor);
        }
    }

    fn publish(&self) {
        let mut lost = Vec::new();
        let mut snapshot = self.snapshot.write();
        snapshot.phase = self.supervisor.phase();
        snapshot.ready = self.supervisor.ready();
        snapshot.executors = self
            .supervisor
            .executors()
            .map(|(id, word)| (id.0, word))
            .collect();
        snapshot
            .instances
            .resize_with(self.infos.len(), Default::default);
        let running = snapshot.ready;
        let instances = snapshot.instances.iter_mut().zip(&self.infos);
        for ((slot, info), now) in instances.zip(self.supervisor.instances()) {
            if slot.0 != Some(now.state) {
                let back = matches!(slot.0, Some(State::BackingOff | State::Initializing));
                if running && back && now.state == State::Ready {
                    tracing::info!(plugin = info.name, "in service again");
                }
                if now.state == State::Quarantined {
                    lost.push(&info.name);
                }
                *slot = (Some(now.state), now.reason.clone(), Some(SystemTime::now()));
            }
        }
        drop(snapshot);
        for name in lost {
            // Its own to remove (config-api §11), and no life of it is left to do that.
            let file = self.services.run.run_dir.join(format!("{name}.addr"));
            let _ = fs::remove_file(file);
        }
    }

    fn perform(
        &self,
        effect: Effect,
        running: &mut Running,
        queue: &mut Vec<Event>,
        started: Instant,
    ) {
        match effect {
            Effect::Call(id, call) => self.call(id, call),
            Effect::Arm(timer, after) => {
                running.timers.insert(timer, Instant::now() + after);
            }
            Effect::Disarm(timer) => {
                running.timers.remove(&timer);
            }
            Effect::StartExecutor(id, instances) => {
                self.start_executor(id, instances, running, queue)
            }
            Effect::StopExecutor(id) => {
                if let Some(desk) = &running.desk {
                    desk.order(id, Order::Stop);
                }
            }
            Effect::Kill(id, why) => {
                self.backends[id.0].kill(&why);
            }
            Effect::Revive(executor, id) => {
                if let Some(desk) = &running.desk {
                    desk.order(executor, Order::Revive(id));
                }
            }
            Effect::OpenStream => self.open_stream(running, queue),
            Effect::StartStream => {
                if let Err(problem) = self.start_stream(running) {
                    queue.push(Event::StreamEnded(Err(problem)));
                }
            }
            Effect::DrainStream => match &running.stream {
                Some(stream) => stream.drain(),
                None => queue.push(Event::StreamEnded(Ok(()))),
            },
            Effect::CancelStream(why) => {
                if let Some(desk) = &running.desk {
                    desk.cancel(why);
                }
            }
            Effect::Report(problem) => {
                (self.observer)(&problem);
                running.problems.push(problem);
            }
            Effect::ReportSkipped(id, reason) => {
                tracing::info!(
                    plugin = self.infos[id.0].name,
                    "skipped: not for this host: {reason}"
                );
            }
            Effect::ReportLate(id, call) => {
                let method = call.method();
                tracing::warn!(
                    plugin = self.infos[id.0].name,
                    method,
                    "a call returned after its deadline; nothing comes of it"
                );
            }
            Effect::Retire(id) => {
                self.backends[id.0].retire();
                self.services.metrics.forget(&self.infos[id.0].name);
            }
            Effect::Ready => self.ready(started),
            // Handled by the loop itself, which ends with it.
            Effect::Finish(_) => {}
        }
    }

    fn call(&self, id: InstanceId, call: Call) {
        let services = Arc::clone(&self.services);
        let done = Box::new(move |outcome: Result<Answer, Problem>| {
            services.tell(Event::Returned(id, call, outcome))
        });
        let backend = &self.backends[id.0];
        match call {
            Call::Open => backend.open(done),
            Call::Create => backend.create(done),
            Call::InitDriver => backend.init_driver(done),
            Call::InitChecker => {
                self.enter_checks(id);
                backend.init_checker(done);
            }
            Call::RegisterMetrics => backend.register_metrics(done),
            Call::Shutdown => backend.shutdown(done),
        }
    }

    /// From here on the instance is asked about the topics that its entry names: before its checker is up a change is
    /// refused, never let pass.
    fn enter_checks(&self, id: InstanceId) {
        let info = &self.infos[id.0];
        for topic in &self.checks[id.0] {
            let backend = Arc::clone(&self.backends[id.0]);
            let checked_by = CheckedBy {
                instance: info.name.clone(),
                deadline: info.deadlines.check,
                ask: Arc::new(move |proposal, verdict_to| backend.check(proposal, verdict_to)),
            };
            self.services.config.check_by(topic, checked_by);
        }
    }

    fn start_executor(
        &self,
        id: ExecutorId,
        instances: Vec<InstanceId>,
        running: &mut Running,
        queue: &mut Vec<Event>,
    ) {
        let first = instances.first().copied().unwrap_or(InstanceId(0));
        let desk = match &running.desk {
            Some(desk) => Arc::clone(desk),
            None => Arc::clone(
                running
                    .desk
                    .insert(Arc::new(Desk::new(self.supervisor.executors_wanted()))),
            ),
        };
        if let Some(post) = desk.hire(id) {
            if post.is_first() {
                let (to, office) = (Arc::clone(&desk), &self.services.messages);
                office.enter_executor(Arc::new(move |instance, message| {
                    to.deliver(id, instance, message)
                }));
            }
            let crew = self.crew(&desk);
            if let Err(error) = executor::spawn(post, crew) {
                let headline = format!(
                    "the operating system refuses a thread for executor {}: {error}",
                    id.0
                );
                let problem =
                    Problem::error(ExitCode::Init, Blame::Environment, "no-thread", headline);
                queue.push(Event::ExecutorStarted(id, Err((first, problem))));
                return;
            }
        }
        desk.order(id, Order::Start(instances));
    }

    fn crew(&self, desk: &Arc<Desk>) -> Crew {
        let record_max = self.stream.as_ref().map_or(0, |stream| stream.record_max);
        let default = OutputLimits::default();
        Crew {
            desk: Arc::clone(desk),
            services: Arc::clone(&self.services),
            backends: Arc::clone(&self.backends),
            chain: Arc::clone(&self.chain),
            policy: Policy {
                retries: self.stream.as_ref().map_or(0, |stream| stream.retries),
            },
            counts: Arc::clone(&self.counts),
            // A record that the source lets in must be let out again, and something appended to it.
            limits: OutputLimits {
                bytes_max: default.bytes_max.max(record_max.saturating_mul(2)),
                ..default
            },
        }
    }

    /// Opens source and sink on a thread of its own: a peer may take its time, and a signal may come meanwhile.
    fn open_stream(&self, running: &mut Running, queue: &mut Vec<Event>) {
        let Some(config) = self.stream.clone() else {
            queue.push(Event::StreamOpened(Ok(())));
            return;
        };
        let (services, to) = (Arc::clone(&self.services), Arc::clone(&running.opened));
        let standard = std::mem::take(&mut *self.standard.lock());
        let open = move || {
            let opened = stream::open(&config, standard).map(|opened| *to.lock() = Some(opened));
            services.tell(Event::StreamOpened(opened));
        };
        if let Err(error) = thread::Builder::new()
            .name("stream open".to_owned())
            .spawn(open)
        {
            let headline = format!("the operating system refuses a thread for the stream: {error}");
            let problem =
                Problem::error(ExitCode::Running, Blame::Environment, "no-thread", headline);
            queue.push(Event::StreamOpened(Err(problem)));
        }
    }

    fn start_stream(&self, running: &mut Running) -> Result<(), Problem> {
        let (Some(opened), Some(desk)) = (running.opened.lock().take(), &running.desk) else {
            return Ok(());
        };
        let services = Arc::clone(&self.services);
        let ended = move |outcome| services.tell(Event::StreamEnded(outcome));
        let executors = self.supervisor.executors_wanted();
        running.stream = Some(Stream::start(
            opened,
            desk,
            &self.services,
            &self.counts,
            executors,
            ended,
        )?);
        Ok(())
    }

    fn ready(&self, started: Instant) {
        let instances = self
            .supervisor
            .instances()
            .iter()
            .filter(|instance| instance.state == State::Ready)
            .count();
        let executors = self.supervisor.executors().count();
        let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(instances, executors, ms, "ready");
        self.progress.send_replace(Progress::Ready);
    }

    fn finish(&self, exit: ExitCode, running: Running) {
        for backend in self.backends.iter() {
            backend.close();
        }
        self.services.config.close();
        let outcome = Outcome {
            exit,
            problems: running.problems,
        };
        tracing::info!(exit = exit as u8, "stopped");
        self.progress.send_replace(Progress::Finished(outcome));
    }
}
