//! What a worker's plugin asks of its host, in the name of the component that asks. Each service is the host's own
//! ([`Component`]), with the same checks as in-process; this translates, and waits for nothing: what may take its time is a
//! request with a continuation, and what may touch a disk goes to the connection's thread for that.

use super::{
    connection::{Asked, Connection, LAST_LINE_BYTES_MAX},
    wire::{Refused, Served, Service, ToWorker, Told, WireChange},
};
use crate::services::{
    component::{Component, Kind},
    failure::{closed, failure},
    foreign,
};
use hotshoe_abi::{
    Change, ChangeText, Declaration, DiffRange, Failure, HistoryRange, Host as _, LogRecord, Nack,
    OptionSetting, Question, Telling, Wait, abi_stable::std_types::RResult, failure_kind,
};
use std::sync::{Arc, atomic::Ordering};

/// Calls of a plugin's into the host that may be under way at once. Each is a thread of the plugin's that waits.
const ASKS_MAX: usize = 1024;

/// Bytes of such calls that may wait at once.
const ASKED_BYTES_MAX: usize = 256 << 20;

impl Connection {
    pub(super) fn component(&self, kind: Kind) -> Option<Arc<Component>> {
        let components = self.components.lock();
        let found = components.get(&kind);
        found.or_else(|| components.get(&Kind::Instance)).cloned()
    }

    pub(super) fn told(&self, kind: Kind, told: Told) {
        let Some(component) = self.component(kind) else {
            return;
        };
        match told {
            Told::Log {
                level,
                target,
                message,
                fields,
            } => {
                component.log(LogRecord {
                    level,
                    target: target.as_str().into(),
                    message: message.as_str().into(),
                    fields: fields.as_str().into(),
                });
                let space = if fields.is_empty() { "" } else { " " };
                let short = |said: &str| foreign::text(said, LAST_LINE_BYTES_MAX).into_owned();
                self.keep(format!(
                    "{}: {}{space}{}",
                    short(&target),
                    short(&message),
                    short(&fields)
                ));
            }
            Told::Nack {
                topic,
                generation,
                error,
            } => component.nack(Nack {
                topic: topic.as_str().into(),
                generation,
                error: error.as_str().into(),
            }),
            Told::Read { topic, generation } => component.has_read(&topic, generation),
        }
    }

    pub(super) fn answer(&self, (id, len): Asked, outcome: Result<Served, Refused>) {
        self.asks.fetch_sub(1, Ordering::AcqRel);
        self.asked_bytes.fetch_sub(len, Ordering::AcqRel);
        // An answer that a worker does not take is its own loss; it is gone, or about to be.
        if let Err(failure) = self.send(&ToWorker::Served(id, outcome), Vec::new()) {
            if failure.kind == failure_kind::FULL {
                self.kill("it asks and does not read the answers");
            }
        }
    }

    pub(super) fn asked(self: &Arc<Self>, id: Asked, kind: Kind, service: Service) {
        let calls = self.asks.fetch_add(1, Ordering::AcqRel);
        let bytes = self.asked_bytes.fetch_add(id.1, Ordering::AcqRel);
        if calls >= ASKS_MAX || bytes > 0 && bytes + id.1 > ASKED_BYTES_MAX {
            let text =
                format!("{calls} calls into the host are under way already, with {bytes} bytes");
            return self.answer(id, refuse(failure(failure_kind::FULL, text)));
        }
        let Some(component) = self.component(kind) else {
            return self.answer(id, refuse(closed("the component")));
        };
        match service {
            Service::Snapshot { topic, epoch } => {
                let found = component.snapshot(topic.as_str().into(), epoch);
                self.answer(
                    id,
                    served(found, |snapshot| Served::Snapshot(snapshot.into())),
                );
            }
            Service::Send { to, bytes } => {
                let sent = component.tell(Telling {
                    to: to.as_str().into(),
                    bytes: bytes.as_slice().into(),
                });
                self.answer(id, served(sent, |()| Served::Nothing));
            }
            Service::Broadcast(bytes) => {
                let sent = component.broadcast(bytes.as_slice().into());
                self.answer(id, served(sent, |count| Served::Number(count.into())));
            }
            Service::SetOption { key, value } => {
                let set = component.set_option(OptionSetting {
                    key: key.as_str().into(),
                    value: value.as_str().into(),
                });
                self.answer(id, served(set, |()| Served::Nothing));
            }
            Service::Endpoint(url) => {
                let entered = component.endpoint(url.as_str().into());
                self.answer(id, served(entered, |()| Served::Nothing));
            }
            Service::Metric { kind, name, bounds } => {
                let place = component.metric_place(kind, &name, &bounds);
                let cells = |(first, len): (usize, usize)| Served::Cells {
                    first: u32::try_from(first).unwrap_or(u32::MAX),
                    len: u32::try_from(len).unwrap_or(0),
                };
                self.answer(id, place.map(cells).map_err(Refused::from));
            }
            Service::Ask {
                to,
                bytes,
                deadline_ms,
                caller,
            } => {
                let connection = Arc::clone(self);
                let question = Question {
                    to: to.as_str().into(),
                    bytes: bytes.as_slice().into(),
                    deadline_ms,
                    caller: caller.as_str().into(),
                };
                component.ask_then(
                    &question,
                    Box::new(move |answer| {
                        let answer = answer.map(Served::Bytes);
                        connection.answer(id, answer.map_err(Refused::from));
                    }),
                );
            }
            Service::Apply { changes, caller } => {
                let connection = Arc::clone(self);
                let changes: Vec<Change<'_>> = changes.iter().map(change).collect();
                component.apply_then(
                    &changes,
                    &caller,
                    Box::new(move |answers| {
                        let applied = answers.map(|answers| {
                            let answers = answers.into_iter().map(|answer| match answer {
                                Ok(applied) => Ok(applied.into()),
                                Err(error) => Err(error.into()),
                            });
                            Served::Applied(answers.collect())
                        });
                        connection.answer(id, applied.map_err(Refused::from));
                    }),
                );
            }
            Service::Wait {
                topic,
                after,
                timeout_ms,
            } => {
                let connection = Arc::clone(self);
                let wait = Wait {
                    topic: topic.as_str().into(),
                    after,
                    timeout_ms,
                };
                component.wait_then(
                    &wait,
                    Box::new(move |generation| {
                        let generation = generation.map(Served::Number);
                        connection.answer(id, generation.map_err(Refused::from));
                    }),
                );
            }
            Service::Declare {
                schema,
                initial,
                settings,
            } => self.slowly(id, move || {
                let opened = component.declare(Declaration {
                    schema: schema.as_slice().into(),
                    initial: initial.as_slice().into(),
                    settings: settings.as_slice().into(),
                });
                served(opened, Served::from)
            }),
            Service::History {
                topic,
                before,
                limit,
            } => self.slowly(id, move || {
                let found = component.history(HistoryRange {
                    topic: topic.as_str().into(),
                    before,
                    limit,
                });
                served(found, |entries| {
                    Served::History(entries.into_iter().map(Into::into).collect())
                })
            }),
            Service::Diff { topic, from, to } => self.slowly(id, move || {
                let made = component.diff(DiffRange {
                    topic: topic.as_str().into(),
                    from,
                    to,
                });
                match made {
                    RResult::ROk(patch) => Ok(Served::Bytes(patch.into())),
                    RResult::RErr(error) => Err(Refused::Change(Box::new(error.into()))),
                }
            }),
            Service::TopicStatus(topic) => self.slowly(id, move || {
                let found = component.topic_status(topic.as_str().into());
                served(found, |status| Served::Bytes(status.into()))
            }),
        }
    }

    /// Serves on the thread for what may wait for a disk, or for whoever holds a topic.
    fn slowly(
        self: &Arc<Self>,
        id: Asked,
        work: impl FnOnce() -> Result<Served, Refused> + Send + 'static,
    ) {
        let connection = Arc::clone(self);
        // The receiver lives as long as this connection does.
        let _ = self
            .slow
            .send(Box::new(move || connection.answer(id, work())));
    }
}

fn change(change: &WireChange) -> Change<'_> {
    Change {
        op: change.op,
        dry_run: change.dry_run,
        generation: change.generation,
        confirm_s: change.confirm_s,
        text: ChangeText {
            pointer: change.pointer.as_str().into(),
            by: change.by.as_str().into(),
        },
        document: change.document.as_slice().into(),
        expect: change.expect.as_slice().into(),
    }
}

fn served<T>(
    outcome: RResult<T, Failure>,
    served: impl FnOnce(T) -> Served,
) -> Result<Served, Refused> {
    match outcome {
        RResult::ROk(value) => Ok(served(value)),
        RResult::RErr(failure) => refuse(failure),
    }
}

fn refuse(failure: Failure) -> Result<Served, Refused> {
    Err(failure.into())
}
