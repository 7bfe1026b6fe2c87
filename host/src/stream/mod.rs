//! The stream: source → batches → executors → sink. Bounded everywhere, in the input's order, and no record is dropped
//! without a word. It decides nothing about instances; it tells how it ended, once.

pub(crate) use crate::machine::batch;
pub mod dead_letter;
pub(crate) mod desk;
pub mod sink;
pub mod source;
pub(crate) mod task;

use self::{
    batch::Batch,
    dead_letter::{DeadLetters, Letter},
    desk::{Completed, Desk, Outcome},
    sink::{Sink, SinkError, SinkSpec},
    source::{Cut, Endpoint, Limits, Source, SourceError, StopHandle},
};
use crate::{
    backend::slot::TaskRun,
    config_file::{self, OnError, StreamConfig},
    error::{Blame, ExitCode, Problem},
    machine::{ExecutorId, supervisor::Cancel},
    services::Services,
};
use std::{
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::SystemTime,
};

/// A line that never became a record: over the limit.
#[derive(Debug)]
pub(crate) struct Unreadable {
    offset: u64,
    len: u64,
    kept: Vec<u8>,
    reason: String,
}

/// What went through, for status and metrics.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) records_in: AtomicU64,
    pub(crate) records_out: AtomicU64,
    pub(crate) tasks_started: AtomicU64,
    pub(crate) tasks_succeeded: AtomicU64,
    pub(crate) tasks_failed: AtomicU64,
    pub(crate) dead_letters: AtomicU64,
}

/// What becomes of a task that fails.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) retries: u32,
}

/// Source, sink and dead letters, opened and not read yet.
pub(crate) struct Opened {
    source: Source,
    sink: Sink,
    dead_letters: Option<DeadLetters>,
}

/// What a program hands over of its own: the host touches none of the descriptors 0 to 2 unless it is told to.
#[derive(Debug, Default)]
pub(crate) struct Standard {
    /// What `source = "stdin"` reads; without it, descriptor 0 as it is when the stream is opened.
    pub(crate) input: Option<OwnedFd>,
    /// Where `sink = "stdout"` writes; the caller decides what that is.
    pub(crate) output: Option<OwnedFd>,
}

/// Opens everything that can fail before the first record is read.
pub(crate) fn open(config: &StreamConfig, standard: Standard) -> Result<Opened, Problem> {
    let limits = Limits {
        batch_records: config.batch_records as usize,
        batch_bytes: config.batch_bytes,
        record_max: config.record_max,
    };
    let endpoint = match &config.source {
        config_file::Source::Stdin => Endpoint::Stdin,
        config_file::Source::TcpConnect(address) => Endpoint::TcpConnect(address.clone()),
        config_file::Source::TcpListen(address) => Endpoint::TcpListen(*address),
        config_file::Source::File(path) => Endpoint::File(path.clone()),
    };
    let spec = match (&config.sink, standard.output) {
        (config_file::Sink::File(path), _) => SinkSpec::File(path.clone()),
        (config_file::Sink::Stdout, Some(stdout)) => SinkSpec::Stdout(stdout),
        (config_file::Sink::Stdout, None) => {
            let headline =
                "sink = \"stdout\", and this program has handed the host no descriptor for it";
            return Err(
                Problem::usage("no-stdout", headline).fix("call Builder::stdout, or name a file")
            );
        }
    };
    if let (Endpoint::File(from), SinkSpec::File(to)) = (&endpoint, &spec) {
        same_file(from, to)?;
    }
    let dead_letters = match &config.on_error {
        OnError::Stop => None,
        OnError::DeadLetter(path) => Some(DeadLetters::open(path)?),
    };
    // The source first: a sink is emptied when it is opened, and need not be for a source that is not there.
    let source = match (&endpoint, standard.input) {
        (Endpoint::Stdin, Some(input)) => Source::from_fd(input, &endpoint.to_string(), limits)?,
        _ => Source::open(&endpoint, limits)?,
    };
    let sink = Sink::open(spec)?;
    if let Some(address) = source.local_addr() {
        tracing::info!(%address, "the source listens");
    }
    Ok(Opened {
        source,
        sink,
        dead_letters,
    })
}

/// A sink is emptied when it is opened; a source would be lost with it.
fn same_file(from: &std::path::Path, to: &std::path::Path) -> Result<(), Problem> {
    let same = match (from.canonicalize(), to.canonicalize()) {
        (Ok(from), Ok(to)) => from == to,
        _ => false,
    };
    if !same {
        return Ok(());
    }
    let headline = format!("[stream] source and sink are one file, {}", from.display());
    Err(Problem::usage("sink-is-source", headline).fix("name another file as sink"))
}

/// A running stream.
pub(crate) struct Stream {
    stop: StopHandle,
}

impl Stream {
    /// Starts reading. `ended` is called once, when everything that was read is delivered or given up.
    pub(crate) fn start(
        opened: Opened,
        desk: &Arc<Desk>,
        services: &Arc<Services>,
        counts: &Arc<Counts>,
        executors: u32,
        ended: impl FnOnce(Result<(), Problem>) + Send + 'static,
    ) -> Result<Self, Problem> {
        let stop = opened.source.stop_handle();
        let source_name = opened.source.name().to_owned();
        let dead_letters_kept = opened.dead_letters.is_some();
        let reader = Reader {
            source: opened.source,
            desk: Arc::clone(desk),
            services: Arc::clone(services),
            counts: Arc::clone(counts),
            dead_letters_kept,
        };
        let writer = Writer {
            sink: opened.sink,
            dead_letters: opened.dead_letters,
            desk: Arc::clone(desk),
            services: Arc::clone(services),
            counts: Arc::clone(counts),
            source_name,
            stop: stop.clone(),
            executors,
        };
        spawn("stream source", move || reader.run())?;
        spawn("stream sink", move || ended(writer.run()))?;
        Ok(Self { stop })
    }

    /// Reads no further; what was read is delivered.
    pub(crate) fn drain(&self) {
        self.stop.stop();
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Problem> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map(drop).map_err(|error| {
        let headline = format!("the operating system refuses a thread for the {name}: {error}");
        Problem::error(ExitCode::Running, Blame::Environment, "no-thread", headline)
    })
}

struct Reader {
    source: Source,
    desk: Arc<Desk>,
    services: Arc<Services>,
    counts: Arc<Counts>,
    dead_letters_kept: bool,
}

impl Reader {
    fn run(mut self) {
        while self.step() {}
        self.desk.end_input();
    }

    /// Cuts one batch; answers whether to go on.
    fn step(&mut self) -> bool {
        let mut batch = Batch::new();
        match self.source.next(&mut batch) {
            Ok(Cut::Batch) => {
                self.counts
                    .records_in
                    .fetch_add(batch.len() as u64, Ordering::Relaxed);
                // Pinned here, after the read and in batch order: a change that was acknowledged before these records were
                // read is in the set, and generations never go back in the output.
                let services = &self.services;
                self.desk
                    .submit(|id| TaskRun::new(id, batch, services.config.pin()))
            }
            Ok(Cut::End | Cut::Stopped) => false,
            Err(SourceError::TooLong {
                source,
                offset,
                len,
                record_max,
                kept,
            }) if self.dead_letters_kept => {
                let reason =
                    format!("a record of {len} bytes is over record_max = {record_max} ({source})");
                let note = Unreadable {
                    offset,
                    len,
                    kept,
                    reason,
                };
                self.desk.submit_completed(Batch::new().into(), Some(note));
                true
            }
            Err(error) => {
                self.desk
                    .submit_completed(Outcome::Fatal(error.problem()), None);
                false
            }
        }
    }
}

struct Writer {
    sink: Sink,
    dead_letters: Option<DeadLetters>,
    desk: Arc<Desk>,
    services: Arc<Services>,
    counts: Arc<Counts>,
    source_name: String,
    stop: StopHandle,
    executors: u32,
}

/// Why nothing more is written.
enum Halt {
    /// Nobody reads the sink any more: a clean end.
    Closed,
    Failed(Problem),
}

impl From<SinkError> for Halt {
    fn from(error: SinkError) -> Self {
        error.problem().map_or(Self::Closed, Self::Failed)
    }
}

impl Writer {
    fn run(mut self) -> Result<(), Problem> {
        let halted = self.deliver_all();
        let flushed = self.sink.flush().map_err(Halt::from);
        match halted.and(flushed) {
            Ok(()) if self.desk.is_cancelled() => self.cancelled(),
            Ok(()) => Ok(()),
            Err(halt) => {
                self.stop.stop();
                self.desk.cancel(Cancel::NoWay);
                let undelivered = self.desk.settle();
                match halt {
                    Halt::Closed => {
                        tracing::info!("nobody reads the sink any more; the stream ends");
                        Ok(())
                    }
                    Halt::Failed(problem) => {
                        if undelivered > 0 {
                            tracing::warn!(undelivered, "records were read and not delivered");
                        }
                        Err(problem)
                    }
                }
            }
        }
    }

    fn cancelled(&self) -> Result<(), Problem> {
        self.stop.stop();
        let undelivered = self.desk.settle();
        if undelivered == 0 {
            return Ok(());
        }
        tracing::warn!(undelivered, "records were read and not delivered");
        if self.desk.why_cancelled() == Some(Cancel::NoWay) {
            // What keeps them was told when it happened; no drain of whatever length would have delivered one.
            return Ok(());
        }
        let headline = format!("the drain ended with {undelivered} records read and not delivered");
        Err(
            Problem::error(ExitCode::Shutdown, Blame::Plugin, "drain-overran", headline)
                .wanted("every record that was read delivered within [executors] drain")
                .fix("raise [executors] drain, or find out what the processors wait for"),
        )
    }

    fn deliver_all(&mut self) -> Result<(), Halt> {
        loop {
            let desk = Arc::clone(&self.desk);
            let mut flushed = Ok(());
            let completed = desk.next_completed(|| flushed = self.sink.flush());
            flushed?;
            match completed {
                Some(completed) => self.deliver(completed)?,
                None if desk.is_cancelled() => return Ok(()),
                None => return self.finish(),
            }
        }
    }

    fn deliver(&mut self, completed: Completed) -> Result<(), Halt> {
        if let Some(note) = completed.note {
            self.keep(note.offset, note.len, &note.kept, &note.reason)?;
        }
        match completed.outcome {
            Outcome::Delivered(batch, faults) => {
                self.write(&batch)?;
                match completed.run {
                    Some(run) if !faults.is_empty() => self.at_fault(&run, faults),
                    _ => Ok(()),
                }
            }
            Outcome::Fatal(problem) => Err(Halt::Failed(problem)),
            Outcome::Cancelled => Ok(()),
        }
    }

    fn write(&mut self, batch: &Batch) -> Result<(), Halt> {
        self.counts
            .records_out
            .fetch_add(batch.len() as u64, Ordering::Relaxed);
        Ok(self.sink.write(batch)?)
    }

    /// Keeps the records at fault, or ends the stream with their names.
    fn at_fault(&mut self, run: &TaskRun, faults: Vec<(usize, String)>) -> Result<(), Halt> {
        if self.dead_letters.is_none() {
            return Err(Halt::Failed(self.record_failed(run, &faults)));
        }
        for (index, reason) in faults {
            let record = run.batch.record(index);
            self.keep(
                run.batch.source_offset(index),
                record.len() as u64,
                record,
                &reason,
            )?;
        }
        Ok(())
    }

    fn keep(&mut self, offset: u64, len: u64, record: &[u8], reason: &str) -> Result<(), Halt> {
        let Some(dead_letters) = self.dead_letters.as_mut() else {
            return Ok(());
        };
        self.counts.dead_letters.fetch_add(1, Ordering::Relaxed);
        let letter = Letter {
            at: SystemTime::now(),
            source: &self.source_name,
            offset,
            len,
            reason,
            record,
        };
        dead_letters
            .append(&letter)
            .map_err(|error| Halt::Failed(error.problem()))
    }

    fn record_failed(&self, run: &TaskRun, faults: &[(usize, String)]) -> Problem {
        let (first, reason) = faults
            .first()
            .map_or((0, ""), |(index, reason)| (*index, reason.as_str()));
        let more = match faults.len() {
            0 | 1 => String::new(),
            n => format!(" (and {} more of its batch)", n - 1),
        };
        let offset = run.batch.source_offset(first);
        let headline = format!(
            "the record at byte {offset} of {} failed{more}: {reason}",
            self.source_name
        );
        let record = String::from_utf8_lossy(run.batch.record(first))
            .escape_debug()
            .take(64)
            .collect::<String>();
        Problem::error(ExitCode::Running, Blame::Plugin, "record-failed", headline)
            .found(format!("\"{record}\""))
            .fix("mend the plugin or the record, or say on_error = \"dead-letter\" and dead_letter = \"PATH\" in [stream]")
    }

    /// All records are through: processors write what they have left, executor by executor.
    fn finish(&mut self) -> Result<(), Halt> {
        for number in 0..self.executors {
            let run = TaskRun::new(0, Batch::new(), self.services.config.pin());
            match self.desk.finish(ExecutorId(number), Arc::new(run)) {
                None => {}
                Some(Ok(batch)) => self.write(&batch)?,
                Some(Err(reason)) => {
                    let problem =
                        Problem::error(ExitCode::Running, Blame::Plugin, "finish-failed", reason);
                    return Err(Halt::Failed(problem));
                }
            }
        }
        Ok(())
    }
}

impl From<Batch> for Outcome {
    fn from(batch: Batch) -> Self {
        Self::Delivered(batch, Vec::new())
    }
}
