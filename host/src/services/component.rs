//! The host object behind one component's Context: checks who asks, then passes on to a service. It lives as long as the
//! plugin keeps it; once the component is shut down it answers `closed`.

use super::{
    InstanceInfo, Services,
    config::{Answers, Caller, Waiter},
    failure::{closed, failure},
    foreign, log,
    message::Reply,
    metric::Owner,
    question,
    then::Then,
    watch::Watch,
};
use crate::machine::{ExecutorId, supervisor::Event};
use hotshoe_abi::{
    Applied, Change, ChangeError, Declaration, DiffRange, Failure, HistoryEntry, HistoryRange,
    Host, Host_TO, HostBox, Identity, LogRecord, MetricSpec, Nack, Opened, OptionSetting, Pairs,
    Question, Snapshot, Telling, Wait,
    abi_stable::{
        sabi_trait::TD_Opaque,
        std_types::{RResult, RSlice, RStr, RVec, Tuple2},
    },
    failure_kind,
};
use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// What kind of component it is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub(crate) enum Kind {
    /// The instance itself: for threads that work for no component.
    Instance,
    Driver,
    Checker,
    Executor(ExecutorId),
    Processor(ExecutorId),
}

impl Kind {
    pub(crate) fn component(self) -> &'static str {
        match self {
            Self::Instance => "",
            Self::Driver => "driver",
            Self::Checker => "checker",
            Self::Executor(_) => "executor",
            Self::Processor(_) => "processor",
        }
    }

    pub(crate) fn executor(self) -> Option<ExecutorId> {
        match self {
            Self::Executor(id) | Self::Processor(id) => Some(id),
            Self::Instance | Self::Driver | Self::Checker => None,
        }
    }

    /// Where it lives: `driver`, or the executor's number.
    pub(crate) fn place(self) -> String {
        self.executor()
            .map_or_else(|| "driver".to_owned(), |id| id.0.to_string())
    }
}

/// The private map from an instance's driver to its executor parts.
pub(crate) type ExtraConf = Arc<Mutex<Vec<(String, String)>>>;

/// See the file.
pub(crate) struct Component {
    pub(crate) services: Arc<Services>,
    pub(crate) instance: Arc<InstanceInfo>,
    pub(crate) kind: Kind,
    pub(crate) executor: String,
    pub(crate) closed: Arc<AtomicBool>,
    /// The component's call in hand; `None` for the instance itself.
    pub(crate) watch: Option<Arc<Watch>>,
    /// Its driver's init is running: only then may it set options.
    pub(crate) initializing: Arc<AtomicBool>,
    pub(crate) extra: ExtraConf,
}

impl Component {
    pub(crate) fn boxed(self) -> HostBox {
        Host_TO::from_value(self, TD_Opaque)
    }

    fn open(&self) -> Result<(), Failure> {
        match self.closed.load(Ordering::Acquire) {
            false => Ok(()),
            true => Err(closed(&format!(
                "the {} of plugin `{}`",
                self.what(),
                self.instance.name
            ))),
        }
    }

    fn what(&self) -> &'static str {
        match self.kind {
            Kind::Instance => "context",
            other => other.component(),
        }
    }

    /// The instance that a name means: an empty one is one's own.
    fn target<'a>(&'a self, name: &'a str) -> &'a str {
        if name.is_empty() {
            &self.instance.name
        } else {
            name
        }
    }

    /// The component as a reader of topics: `append processor 0`.
    fn reader(&self) -> String {
        format!(
            "{} {} {}",
            self.instance.name,
            self.kind.component(),
            self.executor
        )
    }

    /// Notes what this component has read, of what was at hand where it runs.
    pub(crate) fn has_read(&self, topic: &str, generation: u64) {
        self.reads(self.target(topic), generation);
    }

    /// Where the cells of a metric are in the memory that is shared with the component's worker: the first, and how many.
    pub(crate) fn metric_place(
        &self,
        kind: u8,
        name: &str,
        bounds: &[f64],
    ) -> Result<(usize, usize), Failure> {
        self.open()?;
        self.services
            .metrics
            .place_of(&self.owner(), kind, name, bounds)
    }

    /// Notes what this component has read. A driver that looks at its own topic is the owner, no reader.
    fn reads(&self, topic: &str, generation: u64) {
        let owner =
            matches!(self.kind, Kind::Driver | Kind::Instance) && topic == self.instance.name;
        if !owner {
            self.services
                .config
                .read_by(topic, &self.reader(), generation);
        }
    }

    fn owner(&self) -> Owner {
        // A processor and an executor part of one instance on one executor share their registry.
        let component = match self.kind {
            Kind::Processor(_) => "executor",
            Kind::Instance => "driver",
            other => other.component(),
        };
        Owner {
            instance: self.instance.name.clone(),
            component,
            executor: self.executor.clone(),
        }
    }

    /// Whom a question is for and how long it may take, if it may be asked.
    fn asked<'a>(&'a self, question: &'a Question<'_>) -> Result<(&'a str, Duration), Failure> {
        self.open()?;
        let to = self.target(question.to.as_str());
        let deadline = match question.deadline_ms {
            0 => self.instance.deadlines.receive,
            ms => Duration::from_millis(ms),
        };
        if question.caller.as_str() == "driver"
            && to == self.instance.name
            && !self.initializing.load(Ordering::Acquire)
        {
            let text = format!(
                "the driver of plugin `{to}` asks itself from the thread that would answer"
            );
            return Err(failure(failure_kind::REENTRANT, text));
        }
        Ok((to, deadline))
    }

    /// `Host::ask` that does not block: `reply` is called once, on whatever thread has the answer, and must not block either.
    pub(crate) fn ask_then(&self, question: &Question<'_>, reply: Reply) {
        let (to, deadline) = match self.asked(question) {
            Ok(asked) => asked,
            Err(failure) => return reply(Err(failure)),
        };
        let bytes = question.bytes.as_slice();
        question::ask_then(&self.services, to, bytes, deadline, reply);
    }

    /// `Host::apply` that does not block: `then` is called once, by the topic's writer or with the failure here, and must not
    /// block either.
    pub(crate) fn apply_then(&self, changes: &[Change<'_>], caller: &str, then: Then<Answers>) {
        if let Err(failure) = self.open() {
            return then(Err(failure));
        }
        let config = &self.services.config;
        config.apply_then(&self.instance.name, changes, called_by(caller), then);
    }

    /// `Host::wait` that does not block: `then` is called once, on whatever thread makes the generation, and must not block
    /// either.
    pub(crate) fn wait_then(&self, wait: &Wait<'_>, then: Then<u64>) {
        if let Err(failure) = self.open() {
            return then(Err(failure));
        }
        let (topic, timeout) = self.awaited(wait);
        let config = &self.services.config;
        config.wait_then(topic, wait.after, timeout, self.waiter(), then);
    }

    fn awaited<'a>(&'a self, wait: &'a Wait<'_>) -> (&'a str, Duration) {
        let timeout = Duration::from_millis(u64::from(wait.timeout_ms));
        (self.target(wait.topic.as_str()), timeout)
    }

    fn waiter(&self) -> Waiter<'_> {
        Waiter {
            instance: &self.instance.name,
            closed: &self.closed,
        }
    }

    fn set(&self, setting: &OptionSetting<'_>) -> Result<(), Failure> {
        self.open()?;
        let (key, value) = (setting.key.as_str(), setting.value.as_str());
        let refuse = |why: String| Err(failure(failure_kind::ERROR, why));
        if self.kind != Kind::Driver || !self.initializing.load(Ordering::Acquire) {
            return refuse(format!("option `{key}` can be set only in a driver's init"));
        }
        if key != "executors.count" {
            let key: String = key.escape_debug().take(64).collect();
            return refuse(format!(
                "option `{key}` cannot be set by a plugin; wanted executors.count"
            ));
        }
        let count = value
            .parse()
            .ok()
            .filter(|count| (1..=EXECUTORS_MAX).contains(count));
        let Some(count) = count else {
            let value: String = value.escape_debug().take(64).collect();
            return refuse(format!(
                "executors.count = `{value}`; wanted a number from 1 to {EXECUTORS_MAX}"
            ));
        };
        let entry = (key.to_owned(), value.to_owned(), self.instance.name.clone());
        self.services.options.lock().push(entry);
        self.services.tell(Event::ExecutorsSet(count));
        tracing::info!(
            plugin = self.instance.name,
            key,
            value,
            "a plugin set a host option"
        );
        Ok(())
    }
}

/// Endpoints of one component, and how long each may be. A plugin that names one for each of its connections would grow the
/// host without end, and its status with it.
const ENDPOINTS_PER_COMPONENT_MAX: usize = 64;
const ENDPOINT_BYTES_MAX: usize = 2048;

/// The most executors that a host runs; as `[executors] count` says.
pub(crate) const EXECUTORS_MAX: u32 = 1024;

fn called_by(caller: &str) -> Caller {
    match caller {
        "checker" => Caller::Checker,
        _ => Caller::Other,
    }
}

impl Host for Component {
    fn identity(&self) -> Identity {
        let run = self.services.run.data();
        run.identity(&self.instance.name, self.kind)
    }

    fn log(&self, record: LogRecord<'_>) {
        log::emit(
            &self.instance.name,
            self.kind.component(),
            &self.executor,
            &record,
        );
    }

    fn log_level(&self) -> u32 {
        log::level()
    }

    fn epoch_word(&self) -> &'static AtomicU64 {
        self.services.config.word()
    }

    fn snapshot(&self, topic: RStr<'_>, epoch: u64) -> RResult<Snapshot, Failure> {
        let topic = self.target(topic.as_str());
        let found = self
            .open()
            .and_then(|()| self.services.config.snapshot(topic, epoch))
            .inspect(|snapshot| self.reads(topic, snapshot.generation));
        found.into()
    }

    fn declare(&self, declaration: Declaration<'_>) -> RResult<Opened, Failure> {
        self.open()
            .and_then(|()| {
                self.services
                    .config
                    .declare(&self.instance.name, &declaration)
            })
            .into()
    }

    fn apply(
        &self,
        changes: RSlice<'_, Change<'_>>,
        caller: RStr<'_>,
    ) -> RResult<RVec<RResult<Applied, ChangeError>>, Failure> {
        let applied = self
            .open()
            .and_then(|()| {
                self.services.config.apply(
                    &self.instance.name,
                    changes.as_slice(),
                    called_by(caller.as_str()),
                )
            })
            .map(|answers| answers.into_iter().map(RResult::from).collect());
        applied.into()
    }

    fn history(&self, range: HistoryRange<'_>) -> RResult<RVec<HistoryEntry>, Failure> {
        let topic = self.target(range.topic.as_str());
        let found = self.open().and_then(|()| {
            self.services
                .config
                .history(topic, range.before, range.limit)
        });
        found.map(RVec::from).into()
    }

    fn diff(&self, range: DiffRange<'_>) -> RResult<RVec<u8>, ChangeError> {
        let topic = self.target(range.topic.as_str());
        self.services
            .config
            .diff(topic, range.from, range.to)
            .map(RVec::from)
            .into()
    }

    fn topic_status(&self, topic: RStr<'_>) -> RResult<RVec<u8>, Failure> {
        let topic = self.target(topic.as_str());
        let found = self
            .open()
            .and_then(|()| self.services.config.status(topic));
        found.map(RVec::from).into()
    }

    fn nack(&self, nack: Nack<'_>) {
        let (topic, generation) = (nack.topic.as_str(), nack.generation);
        let error = &*foreign::text(nack.error.as_str(), foreign::MESSAGE_BYTES_MAX);
        let (plugin, executor) = (&self.instance.name, &self.executor);
        tracing::warn!(
            plugin,
            executor,
            topic,
            generation,
            "a value does not decode here, the last good one stays: {error}"
        );
        self.services
            .config
            .nacked(topic, &self.reader(), generation, error);
    }

    fn wait(&self, wait: Wait<'_>) -> RResult<u64, Failure> {
        let (topic, timeout) = self.awaited(&wait);
        let config = &self.services.config;
        self.open()
            .and_then(|()| config.wait(topic, wait.after, timeout, self.waiter()))
            .into()
    }

    fn metric(&self, spec: MetricSpec<'_>) -> RResult<RSlice<'static, AtomicU64>, Failure> {
        let cells = self.open().and_then(|()| {
            self.services.metrics.cells(
                &self.owner(),
                spec.kind,
                spec.name.as_str(),
                spec.bounds.as_slice(),
            )
        });
        cells.map(RSlice::from_slice).into()
    }

    fn tell(&self, telling: Telling<'_>) -> RResult<(), Failure> {
        let to = self.target(telling.to.as_str());
        self.open()
            .and_then(|()| self.services.messages.tell(to, telling.bytes.as_slice()))
            .into()
    }

    fn broadcast(&self, message: RSlice<'_, u8>) -> RResult<u32, Failure> {
        let sent = self.open().and_then(|()| match self.kind {
            Kind::Driver => self
                .services
                .messages
                .broadcast(self.instance.id, message.as_slice()),
            _ => Err(failure(
                failure_kind::UNSUPPORTED,
                "only a driver can broadcast, to its own executor parts",
            )),
        });
        sent.into()
    }

    fn ask(&self, question: Question<'_>) -> RResult<RVec<u8>, Failure> {
        let answer = self.asked(&question).and_then(|(to, deadline)| {
            let messages = &self.services.messages;
            messages.ask(to, question.bytes.as_slice(), deadline)
        });
        answer.map(RVec::from).into()
    }

    fn set_option(&self, setting: OptionSetting<'_>) -> RResult<(), Failure> {
        self.set(&setting).into()
    }

    fn endpoint(&self, url: RStr<'_>) -> RResult<(), Failure> {
        let key = (self.instance.name.clone(), self.kind.component());
        let entered = self.open().and_then(|()| {
            let mut endpoints = self.services.endpoints.lock();
            let url = foreign::text(url.as_str(), usize::MAX);
            if url.is_empty() {
                endpoints.remove(&key);
                return Ok(());
            }
            if url.len() > ENDPOINT_BYTES_MAX {
                let text = format!("an endpoint may have {ENDPOINT_BYTES_MAX} bytes, this one has {}", url.len());
                return Err(failure(failure_kind::TOO_LARGE, text));
            }
            let own = endpoints.entry(key).or_default();
            if own.len() >= ENDPOINTS_PER_COMPONENT_MAX {
                let text = format!("a component may name {ENDPOINTS_PER_COMPONENT_MAX} endpoints; take them back with an empty one first");
                return Err(failure(failure_kind::FULL, text));
            }
            own.push(url.into_owned());
            Ok(())
        });
        entered.into()
    }

    fn deadline_ms(&self) -> u64 {
        let left = self.watch.as_ref().and_then(|watch| watch.left());
        left.map_or(u64::MAX, |left| {
            u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
        })
    }

    fn extra_conf(&self) -> Pairs {
        let extra = self.extra.lock();
        extra
            .iter()
            .map(|(key, value)| Tuple2(key.as_str().into(), value.as_str().into()))
            .collect()
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        self.services.config.reader_gone(&self.reader());
    }
}
