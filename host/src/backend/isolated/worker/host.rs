//! The host object behind a component's Context, in a worker: what is known here is answered here, the rest is a message. The
//! host checks who asks; nothing is decided on this side.

use super::{
    super::wire::{Refused, Served, Service, Told, WireChange},
    link::Link,
};
use crate::services::{
    RunData,
    component::Kind,
    failure::{closed, failure},
    foreign::{self, owned},
    watch::Watch,
};
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
use hotshoe_loader::CellRegion;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// The documents of the set that an executor's batches are pinned to now.
#[derive(Default)]
pub(super) struct Sets {
    pub(super) epoch: u64,
    pub(super) documents: BTreeMap<String, (u64, Vec<u8>)>,
}

/// What all components of the worker share.
pub(super) struct Home {
    pub(super) link: Link,
    pub(super) instance: String,
    pub(super) run: RunData,
    pub(super) region: CellRegion,
    pub(super) word: &'static AtomicU64,
    /// The driver's extra conf, once its init has returned.
    pub(super) extra: Mutex<Vec<(String, String)>>,
}

/// See the file.
pub(super) struct WorkerHost {
    pub(super) home: Arc<Home>,
    pub(super) kind: Kind,
    pub(super) watch: Option<Arc<Watch>>,
    /// The component was shut down: services are refused, as the host refuses them once it knows.
    pub(super) closed: Arc<AtomicBool>,
    /// An executor's; elsewhere there is no batch to be pinned.
    pub(super) sets: Option<Arc<Mutex<Sets>>>,
}

impl WorkerHost {
    pub(super) fn boxed(self) -> HostBox {
        Host_TO::from_value(self, TD_Opaque)
    }

    fn ask(&self, service: Service) -> Result<Served, Failure> {
        if self.closed.load(Ordering::Acquire) {
            let name = &self.home.instance;
            return Err(closed(&format!("the context of plugin `{name}`")));
        }
        let answer = self.home.link.ask(self.kind, service);
        answer.map_err(|refused| match refused {
            Refused::Failure(failure) => failure.into(),
            Refused::Change(error) => {
                let error = ChangeError::from(*error);
                failure(failure_kind::ERROR, error.detail)
            }
        })
    }

    /// A topic of the set that came along with the batch in hand.
    fn at_hand(&self, topic: &str, epoch: u64) -> Option<Snapshot> {
        let sets = self.sets.as_ref()?.lock();
        let topic = if topic.is_empty() {
            &self.home.instance
        } else {
            topic
        };
        let (generation, document) = sets
            .documents
            .get(topic)
            .filter(|_| epoch != 0 && epoch == sets.epoch)?;
        Some(Snapshot {
            epoch,
            generation: *generation,
            document: document.clone().into(),
        })
    }
}

/// An answer of another kind than was asked for: the host is of this build, so this cannot be.
fn odd<T>(_: Served) -> Result<T, Failure> {
    Err(failure(
        failure_kind::ERROR,
        "the host answered something else than it was asked",
    ))
}

fn nothing(served: Served) -> Result<(), Failure> {
    match served {
        Served::Nothing => Ok(()),
        other => odd(other),
    }
}

fn bytes(served: Served) -> Result<RVec<u8>, Failure> {
    match served {
        Served::Bytes(bytes) => Ok(bytes.into()),
        other => odd(other),
    }
}

fn number(served: Served) -> Result<u64, Failure> {
    match served {
        Served::Number(number) => Ok(number),
        other => odd(other),
    }
}

fn change(change: &Change<'_>) -> WireChange {
    WireChange {
        op: change.op,
        dry_run: change.dry_run,
        generation: change.generation,
        confirm_s: change.confirm_s,
        pointer: owned(&change.text.pointer),
        by: owned(&change.text.by),
        document: change.document.to_vec(),
        expect: change.expect.to_vec(),
    }
}

impl Host for WorkerHost {
    fn identity(&self) -> Identity {
        self.home.run.identity(&self.home.instance, self.kind)
    }

    fn log(&self, record: LogRecord<'_>) {
        let log = |said: &RStr<'_>| foreign::text(said, foreign::LOG_BYTES_MAX).into_owned();
        let told = Told::Log {
            level: record.level,
            target: log(&record.target),
            message: log(&record.message),
            fields: log(&record.fields),
        };
        self.home.link.tell(self.kind, told);
    }

    fn log_level(&self) -> u32 {
        self.home.link.level.load(Ordering::Relaxed)
    }

    fn epoch_word(&self) -> &'static AtomicU64 {
        self.home.word
    }

    fn snapshot(&self, topic: RStr<'_>, epoch: u64) -> RResult<Snapshot, Failure> {
        if let Some(snapshot) = self.at_hand(topic.as_str(), epoch) {
            let told = Told::Read {
                topic: owned(&topic),
                generation: snapshot.generation,
            };
            self.home.link.tell(self.kind, told);
            return RResult::ROk(snapshot);
        }
        let service = Service::Snapshot {
            topic: owned(&topic),
            epoch,
        };
        let found = self.ask(service).and_then(|served| match served {
            Served::Snapshot(snapshot) => Ok(snapshot.into()),
            other => odd(other),
        });
        found.into()
    }

    fn declare(&self, declaration: Declaration<'_>) -> RResult<Opened, Failure> {
        let service = Service::Declare {
            schema: declaration.schema.to_vec(),
            initial: declaration.initial.to_vec(),
            settings: declaration.settings.to_vec(),
        };
        let opened = self.ask(service).and_then(|served| match served {
            Served::Opened {
                generation,
                recovered,
                durable,
                store,
            } => Ok(Opened {
                generation,
                recovered,
                durable,
                store: store.into(),
            }),
            other => odd(other),
        });
        opened.into()
    }

    fn apply(
        &self,
        changes: RSlice<'_, Change<'_>>,
        caller: RStr<'_>,
    ) -> RResult<RVec<RResult<Applied, ChangeError>>, Failure> {
        let service = Service::Apply {
            changes: changes.iter().map(change).collect(),
            caller: owned(&caller),
        };
        let applied = self.ask(service).and_then(|served| match served {
            Served::Applied(answers) => {
                let answers = answers.into_iter().map(|answer| match answer {
                    Ok(applied) => RResult::ROk(applied.into()),
                    Err(error) => RResult::RErr(error.into()),
                });
                Ok(answers.collect())
            }
            other => odd(other),
        });
        applied.into()
    }

    fn history(&self, range: HistoryRange<'_>) -> RResult<RVec<HistoryEntry>, Failure> {
        let service = Service::History {
            topic: owned(&range.topic),
            before: range.before,
            limit: range.limit,
        };
        let found = self.ask(service).and_then(|served| match served {
            Served::History(entries) => Ok(entries.into_iter().map(Into::into).collect()),
            other => odd(other),
        });
        found.into()
    }

    fn diff(&self, range: DiffRange<'_>) -> RResult<RVec<u8>, ChangeError> {
        let service = Service::Diff {
            topic: owned(&range.topic),
            from: range.from,
            to: range.to,
        };
        let refuse = |failure: Failure| ChangeError {
            slug: "shutting-down".into(),
            detail: failure.message,
            hint: failure.fix,
            has_pointer: false,
            pointer: "".into(),
            generation: 0,
            operation: -1,
            violations: RVec::new(),
            retry_after_s: 0,
        };
        match self.home.link.ask(self.kind, service) {
            Ok(served) => bytes(served).map_err(refuse).into(),
            Err(Refused::Change(error)) => RResult::RErr((*error).into()),
            Err(Refused::Failure(failure)) => RResult::RErr(refuse(failure.into())),
        }
    }

    fn topic_status(&self, topic: RStr<'_>) -> RResult<RVec<u8>, Failure> {
        self.ask(Service::TopicStatus(owned(&topic)))
            .and_then(bytes)
            .into()
    }

    fn nack(&self, nack: Nack<'_>) {
        let told = Told::Nack {
            topic: owned(&nack.topic),
            generation: nack.generation,
            error: foreign::text(&nack.error, foreign::MESSAGE_BYTES_MAX).into_owned(),
        };
        self.home.link.tell(self.kind, told);
    }

    fn wait(&self, wait: Wait<'_>) -> RResult<u64, Failure> {
        let service = Service::Wait {
            topic: owned(&wait.topic),
            after: wait.after,
            timeout_ms: wait.timeout_ms,
        };
        self.ask(service).and_then(number).into()
    }

    fn metric(&self, spec: MetricSpec<'_>) -> RResult<RSlice<'static, AtomicU64>, Failure> {
        let service = Service::Metric {
            kind: spec.kind,
            name: owned(&spec.name),
            bounds: spec.bounds.to_vec(),
        };
        let cells = self.ask(service).and_then(|served| match served {
            Served::Cells { first, len } => {
                let cells = self.home.region.cells(first as usize, len as usize);
                cells.ok_or_else(|| {
                    failure(
                        failure_kind::ERROR,
                        "the host named cells that are not there",
                    )
                })
            }
            other => odd(other),
        });
        cells.map(RSlice::from_slice).into()
    }

    fn tell(&self, telling: Telling<'_>) -> RResult<(), Failure> {
        let service = Service::Send {
            to: owned(&telling.to),
            bytes: telling.bytes.to_vec(),
        };
        self.ask(service).and_then(nothing).into()
    }

    fn broadcast(&self, message: RSlice<'_, u8>) -> RResult<u32, Failure> {
        let sent = self
            .ask(Service::Broadcast(message.to_vec()))
            .and_then(number);
        sent.map(|count| u32::try_from(count).unwrap_or(u32::MAX))
            .into()
    }

    fn ask(&self, question: Question<'_>) -> RResult<RVec<u8>, Failure> {
        let service = Service::Ask {
            to: owned(&question.to),
            bytes: question.bytes.to_vec(),
            deadline_ms: question.deadline_ms,
            caller: owned(&question.caller),
        };
        WorkerHost::ask(self, service).and_then(bytes).into()
    }

    fn set_option(&self, setting: OptionSetting<'_>) -> RResult<(), Failure> {
        let service = Service::SetOption {
            key: owned(&setting.key),
            value: owned(&setting.value),
        };
        self.ask(service).and_then(nothing).into()
    }

    fn endpoint(&self, url: RStr<'_>) -> RResult<(), Failure> {
        self.ask(Service::Endpoint(owned(&url)))
            .and_then(nothing)
            .into()
    }

    fn deadline_ms(&self) -> u64 {
        let left = self.watch.as_ref().and_then(|watch| watch.left());
        left.map_or(u64::MAX, |left| {
            u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
        })
    }

    fn extra_conf(&self) -> Pairs {
        let extra = self.home.extra.lock();
        extra
            .iter()
            .map(|(key, value)| Tuple2(key.as_str().into(), value.as_str().into()))
            .collect()
    }
}
