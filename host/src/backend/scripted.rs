//! An instance that does as a script says, for tests of what calls it: its records fail, its processor panics, its worker
//! dies, as often as was said and no oftener. It writes down every call that it should not have had.

use super::{Backend, Done, ExecutorParts, Hook, IN_HAND};
use crate::{
    error::Problem,
    machine::{
        ExecutorId, InstanceId,
        supervisor::{Answer, Event},
    },
    services::{
        Deadlines, InstanceInfo, Run, Services,
        config::{Pin, Proposal, Recover, VerdictTo},
        failure::failure,
        message::Mail,
    },
    status::WorkerStatus,
};
use hotshoe_abi::{BatchRef, Failure, OutBatch, Task, failure_kind};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{Arc, mpsc},
    time::Duration,
};

/// What a record does to whoever processes it, and how many times more.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Crime {
    Errors(u32),
    Panics(u32),
    Dies(u32),
}

impl Crime {
    fn left(&mut self) -> &mut u32 {
        match self {
            Self::Errors(left) | Self::Panics(left) | Self::Dies(left) => left,
        }
    }
}

/// How an instance is built.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Build {
    pub(crate) window: usize,
    pub(crate) executor: bool,
}

impl Build {
    /// A processor alone, one batch at a time.
    pub(crate) const PLAIN: Self = Self {
        window: 1,
        executor: false,
    };
    /// The same, and an executor part whose hooks are called.
    pub(crate) const HOOKED: Self = Self {
        window: 1,
        executor: true,
    };

    /// A processor that takes so many batches before it gives one back.
    pub(crate) const fn wide(window: usize) -> Self {
        Self {
            window,
            ..Self::PLAIN
        }
    }
}

#[derive(Default)]
pub(crate) struct World {
    life: u64,
    dead: bool,
    /// Nobody had anything in hand when this life ended.
    killed_from_outside: Option<u64>,
    /// Lives that a record ended, and which it was.
    pub(crate) killed_by: Vec<(u64, u64)>,
    pub(crate) crimes: BTreeMap<u64, Crime>,
    /// Calls of `process` and `begin` after which the worker is killed from outside, one after another.
    pub(crate) kills: VecDeque<u32>,
    /// So many inits of a processor fail.
    pub(crate) inits_failing: u32,
    /// So many calls of `finish` kill the worker.
    pub(crate) finishes_dying: u32,
    /// Answers of `ended`, over and over; empty: always ready.
    pub(crate) readiness: Vec<bool>,
    asked: usize,
    pub(crate) violations: Vec<String>,
    pub(crate) log: Vec<String>,
}

/// Called when the worker dies, on the thread that killed it.
type OnDeath = Box<dyn Fn(InstanceId) + Send + Sync>;

/// See the file.
pub(crate) struct Scripted {
    info: Arc<InstanceInfo>,
    build: Build,
    pub(crate) world: Mutex<World>,
    on_death: OnDeath,
}

impl Scripted {
    pub(crate) fn new(id: usize, build: Build, on_death: OnDeath) -> Arc<Self> {
        let long = Duration::from_secs(60);
        let info = InstanceInfo {
            id: InstanceId(id),
            name: name(id).to_owned(),
            deadlines: Deadlines {
                init: long,
                receive: long,
                hook: long,
                process: long,
                check: long,
                shutdown: long,
            },
        };
        Arc::new(Self {
            info: Arc::new(info),
            build,
            world: Mutex::default(),
            on_death,
        })
    }

    /// A worker without anybody to notice its end.
    pub(crate) fn quiet(id: usize, build: Build) -> Arc<Self> {
        Self::new(id, build, Box::new(|_| {}))
    }

    pub(crate) fn info(&self) -> &Arc<InstanceInfo> {
        &self.info
    }

    pub(crate) fn id(&self) -> InstanceId {
        self.info.id
    }

    pub(crate) fn commit(&self, record: u64, crime: Crime) {
        self.world.lock().crimes.insert(record, crime);
    }

    /// A new worker.
    pub(crate) fn respawn(&self) {
        let mut world = self.world.lock();
        world.life += 1;
        world.dead = false;
    }

    pub(crate) fn die(&self) {
        self.world.lock().dead = true;
        (self.on_death)(self.info.id);
    }

    pub(crate) fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.world.lock().log)
    }

    pub(crate) fn is_alive(&self) -> bool {
        !self.world.lock().dead
    }
}

/// Services of a host that nobody runs.
pub(crate) fn services(events: mpsc::Sender<Event>) -> Arc<Services> {
    let run = Run {
        id: "test".to_owned(),
        hostname: "test".to_owned(),
        run_dir: PathBuf::new(),
        state_dir: PathBuf::new(),
        recover: Recover::default(),
        driver_resources: BTreeMap::new(),
        executor_resources: BTreeMap::new(),
    };
    Services::new(run, events)
}

/// A config set of no topics.
pub(crate) fn pin() -> Pin {
    services(mpsc::channel().0).config.pin()
}

/// Instance 0 is `a`.
pub(crate) fn name(id: usize) -> &'static str {
    ["a", "b", "c", "d"][id]
}

/// `17:…` is record 17.
fn number(record: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(record);
    let digits = text.split(':').next().unwrap_or_default();
    digits.parse().expect("tests number their records")
}

struct Parts {
    on: Arc<Scripted>,
    executor: ExecutorId,
    life: u64,
    begun: VecDeque<(Vec<u32>, Vec<u8>)>,
    /// A panic spoiled what is begun.
    spoiled: bool,
    told_gone: bool,
    executor_lives: bool,
    started: Option<(u64, u32)>,
}

impl Parts {
    fn note(&self, what: &str) {
        let line = format!("{} {what}", self.executor.0);
        self.on.world.lock().log.push(line);
    }

    fn crime(&self, what: &str) {
        let line = format!("{what} on executor {}", self.executor.0);
        self.on.world.lock().violations.push(line);
    }

    fn called(&self, what: &str) {
        if self.told_gone {
            self.crime(&format!("{what} after gone"));
        }
    }

    fn is_gone(&self) -> bool {
        let world = self.on.world.lock();
        world.dead || world.life != self.life
    }

    fn gone(&mut self, in_hand: bool) -> Failure {
        self.told_gone = true;
        let outside = self.on.world.lock().killed_from_outside == Some(self.life);
        let code = if in_hand && !outside { IN_HAND } else { "" };
        Failure {
            code: code.into(),
            ..failure(failure_kind::GONE, "killed by signal 11 (SIGSEGV)")
        }
    }

    /// A call that reaches the worker, unless it is dead or is killed right then.
    fn reach(&mut self, what: &str) -> Result<(), Failure> {
        self.called(what);
        let mut world = self.on.world.lock();
        let killed = match world.kills.front_mut() {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        if killed && !world.dead && world.life == self.life {
            world.kills.pop_front();
            world.killed_from_outside = Some(self.life);
            drop(world);
            self.on.die();
        } else {
            drop(world);
        }
        match self.is_gone() {
            true => Err(self.gone(false)),
            false => Ok(()),
        }
    }

    fn work(&mut self, offsets: &[u32], bytes: &[u8], out: &mut OutBatch) -> Result<(), Failure> {
        out.offsets.push(0);
        for pair in offsets.windows(2) {
            let record = &bytes[pair[0] as usize..pair[1] as usize];
            if self.is_gone() {
                return Err(self.gone(true));
            }
            self.one(number(record))?;
            out.bytes.extend_from_slice(record);
            out.bytes.extend_from_slice(self.on.info.name.as_bytes());
            out.offsets.push(out.bytes.len() as u32);
        }
        Ok(())
    }

    fn one(&mut self, record: u64) -> Result<(), Failure> {
        let mut world = self.on.world.lock();
        let Some(crime) = world.crimes.get_mut(&record) else {
            return Ok(());
        };
        if *crime.left() == 0 {
            return Ok(());
        }
        *crime.left() -= 1;
        let crime = *crime;
        if matches!(crime, Crime::Dies(_)) && !world.dead && world.life == self.life {
            world.killed_by.push((self.life, record));
        }
        drop(world);
        match crime {
            Crime::Errors(_) => {
                let text = format!("record {record} fails");
                Err(failure(failure_kind::ERROR, text))
            }
            Crime::Panics(_) => {
                let text = format!("panicked: record {record} fails");
                Err(failure(failure_kind::PANIC, text))
            }
            Crime::Dies(_) => {
                self.on.die();
                Err(self.gone(true))
            }
        }
    }
}

impl ExecutorParts for Parts {
    fn instance(&self) -> &Arc<InstanceInfo> {
        &self.on.info
    }

    fn life(&self) -> u64 {
        self.life
    }

    fn init_executor(&mut self) -> Result<(), Failure> {
        self.called("init_executor");
        if self.is_gone() {
            return Err(self.gone(false));
        }
        if self.on.build.executor {
            self.note("init");
            self.executor_lives = true;
        }
        Ok(())
    }

    fn init_processor(&mut self) -> Result<(), Failure> {
        self.called("init_processor");
        if self.is_gone() {
            return Err(self.gone(false));
        }
        let mut world = self.on.world.lock();
        if world.inits_failing > 0 {
            world.inits_failing -= 1;
            return Err(failure(failure_kind::ERROR, "no luck"));
        }
        Ok(())
    }

    fn hook(&mut self, hook: Hook<'_>, task: Task) {
        self.called("hook");
        if !self.executor_lives || self.is_gone() {
            return;
        }
        let named = (task.id, task.attempt);
        let (id, attempt) = named;
        match hook {
            Hook::Start => {
                self.note(&format!("start {id}.{attempt}"));
                if self.started.replace(named).is_some() {
                    self.crime("a start within another");
                }
            }
            Hook::Succeeded | Hook::Failed(_) => {
                // Parts that came to life in the middle of an attempt are told nothing of its end.
                let Some(started) = self.started.take() else {
                    return;
                };
                if started != named {
                    self.crime("the end of another start");
                }
                match hook {
                    Hook::Failed(reason) => self.note(&format!("failed {id}.{attempt}: {reason}")),
                    _ => self.note(&format!("succeeded {id}.{attempt}")),
                }
            }
        }
    }

    fn process(&mut self, batch: BatchRef<'_>, out: &mut OutBatch) -> Result<(), Failure> {
        if !self.begun.is_empty() {
            self.crime("process beside what is begun");
        }
        self.reach("process")?;
        self.work(&batch.offsets, &batch.bytes, out)
    }

    fn finish(&mut self, out: &mut OutBatch) -> Result<(), Failure> {
        self.reach("finish")?;
        let mut world = self.on.world.lock();
        if world.finishes_dying > 0 {
            world.finishes_dying -= 1;
            drop(world);
            self.on.die();
            return Err(self.gone(false));
        }
        let line = format!("{}:finish", 1_000_000 + self.on.info.id.0);
        out.bytes.extend_from_slice(line.as_bytes());
        out.offsets.push(0);
        out.offsets.push(out.bytes.len() as u32);
        Ok(())
    }

    fn receive(&mut self, message: &[u8]) {
        if self.executor_lives && !self.is_gone() {
            self.note(&format!("message {}", String::from_utf8_lossy(message)));
        }
    }

    fn shutdown(&mut self) -> Result<(), Failure> {
        self.called("shutdown");
        if self.is_gone() {
            return Err(self.gone(false));
        }
        if std::mem::take(&mut self.executor_lives) {
            self.note("shutdown");
        }
        Ok(())
    }

    fn window(&self) -> usize {
        self.on.build.window
    }

    fn begin(&mut self, batch: BatchRef<'_>) -> Result<(), Failure> {
        if self.begun.len() >= self.on.build.window {
            self.crime("more begun than the window allows");
        }
        self.reach("begin")?;
        if self.spoiled {
            return Err(failure(failure_kind::CLOSED, "the processor is closed"));
        }
        let (offsets, bytes) = (batch.offsets.to_vec(), batch.bytes.to_vec());
        self.begun.push_back((offsets, bytes));
        Ok(())
    }

    fn end(&mut self, out: &mut OutBatch) -> Result<(), Failure> {
        let Some((offsets, bytes)) = self.begun.pop_front() else {
            self.crime("more ended than begun");
            return Err(failure(failure_kind::CLOSED, "nothing was begun"));
        };
        if self.is_gone() {
            // Where several were begun, the first to come back is the one that the worker had.
            let first = !self.told_gone;
            return Err(self.gone(first));
        }
        let made = match self.spoiled {
            true => Err(failure(failure_kind::CLOSED, "the processor is closed")),
            false => self.work(&offsets, &bytes, out),
        };
        self.spoiled |= matches!(&made, Err(made) if made.kind == failure_kind::PANIC);
        self.spoiled &= !self.begun.is_empty();
        made
    }

    fn ended(&mut self) -> bool {
        if self.begun.is_empty() {
            self.crime("asked for what was not begun");
        }
        let mut world = self.on.world.lock();
        world.asked += 1;
        let (asked, ready) = (world.asked, &world.readiness);
        ready.is_empty() || ready[asked % ready.len()]
    }

    fn has_executor_part(&self) -> bool {
        self.on.build.executor
    }
}

impl Backend for Arc<Scripted> {
    fn open(&self, done: Done<Answer>) {
        done(Ok(Answer::Done));
    }
    fn create(&self, done: Done<Answer>) {
        done(Ok(Answer::Done));
    }
    fn init_driver(&self, done: Done<Answer>) {
        done(Ok(Answer::Done));
    }
    fn init_checker(&self, done: Done<Answer>) {
        done(Ok(Answer::Done));
    }
    fn register_metrics(&self, done: Done<Answer>) {
        done(Ok(Answer::Done));
    }
    fn shutdown(&self, done: Done<Answer>) {
        done(Ok(Answer::Done));
    }
    fn extra_conf(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
    fn set_extra_conf(&self, _extra: BTreeMap<String, String>) {}
    fn deliver(&self, _mail: Mail) -> Result<(), Failure> {
        Ok(())
    }
    fn check(&self, _proposal: Proposal, _verdict_to: VerdictTo) {}
    fn parts(&self, executor: ExecutorId) -> Box<dyn ExecutorParts> {
        Box::new(Parts {
            on: Arc::clone(self),
            executor,
            life: self.world.lock().life,
            begun: VecDeque::new(),
            spoiled: false,
            told_gone: false,
            executor_lives: false,
            started: None,
        })
    }
    fn signal(&self, _kind: u32, _value: u64) {}
    fn close(&self) {}
    fn died(&self, _how: &str) {}
    fn kill(&self, _why: &str) -> bool {
        true
    }
    fn worker(&self) -> Option<WorkerStatus> {
        None
    }
    fn retire(&self) {}
    fn settings_schema(&self) -> Result<String, Problem> {
        Ok("{}".to_owned())
    }
}
