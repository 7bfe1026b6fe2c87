//! What a configuration means once it is read: plain values, units in types, relative paths resolved.
//!
//! Nothing here is optional because it was left out: defaults are filled in. Nothing here was looked up, either: no file
//! named below has been opened, no name is known to exist.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Map, Value};

use super::{
    address::{Admin, Sink, Source},
    raw::{
        DeadlinesTable, ExecutorsTable, HostTable, LimitsTable, PluginTable, Port, RestartTable,
        SandboxKey, StreamTable, TrustTable,
    },
    read::Located,
    settings::Settings,
    words::{
        ExistingPath, Isolation, Library, Name, OnErrorWord, OnSourceEnd, PathText, Require,
        SandboxWord, Stage,
    },
};
use crate::error::{Place, Problem};

/// A whole configuration: the file and its drop-ins.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file, as the operator named it.
    pub file: PathBuf,
    /// Its folder; "." where the name has none. Paths in the file are relative to it, and resolved.
    pub folder: PathBuf,
    /// `[host]`
    pub host: HostConfig,
    /// `[executors]`
    pub executors: ExecutorsConfig,
    /// `[stream]`; without one, drivers run until a signal.
    pub stream: Option<StreamConfig>,
    /// `[trust]`
    pub trust: TrustConfig,
    /// The entries, drop-ins first; no two that state a name state the same.
    pub plugins: Vec<PluginEntry>,
    /// Paths of sandboxes that were not there when the files were read. Those of a host's own folders it makes; any other it
    /// refuses, when it is built.
    pub absent: Vec<Absent>,
}

/// A path that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absent {
    /// It.
    pub path: PathBuf,
    /// What is to be said of it, unless it is made.
    pub problem: Problem,
}

impl Absent {
    /// Whether it is one of these folders.
    pub(crate) fn is_among(&self, folders: &[PathBuf]) -> bool {
        folders.iter().any(|folder| is_spelled(&self.path, folder))
    }
}

/// Whether a path says that folder. What is below it is not the host's to make: it may be a file, or lie behind a link.
pub(crate) fn is_spelled(path: &Path, folder: &Path) -> bool {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute(path) == absolute(folder)
}

impl Config {
    /// A configuration that no file holds: every default, no plugin, no stream.
    #[must_use]
    pub fn empty(name: &str) -> Self {
        let (file, folder) = (PathBuf::from(name), PathBuf::from("."));
        Self {
            host: HostConfig::resolve(HostTable::default(), &file, &folder),
            executors: ExecutorsConfig::resolve(ExecutorsTable::default()),
            stream: None,
            trust: TrustConfig::resolve(&TrustTable::default(), &folder),
            plugins: Vec::new(),
            absent: Vec::new(),
            file,
            folder,
        }
    }

    /// For whoever only looks, and makes nothing: leaves out of every sandbox what is not there because a start makes it.
    ///
    /// - `own`: the folders that a start makes, its run_dir and state_dir.
    pub fn leave_out_own(&mut self, own: &[PathBuf]) {
        let (made, absent) = std::mem::take(&mut self.absent)
            .into_iter()
            .partition::<Vec<Absent>, _>(|absent| absent.is_among(own));
        self.absent = absent;
        let stays = |path: &PathBuf| made.iter().all(|made| made.path != *path);
        for entry in &mut self.plugins {
            if let Sandbox::Only { read, write, .. } = &mut entry.sandbox {
                read.retain(stays);
                write.retain(stays);
            }
        }
    }

    /// Whether there is nothing to run: no instance and no stream.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.plugins.is_empty() && self.stream.is_none()
    }
}

/// `[host]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostConfig {
    /// Names `run_dir` and `state_dir`; a valid name.
    pub name: String,
    /// Where bare library names are looked for first.
    pub plugin_path: Vec<PathBuf>,
    /// Where the status socket listens.
    pub admin: Admin,
    /// What plugins are told; `None`: the machine's own.
    pub hostname: Option<String>,
    /// The driver's resources, by kind.
    pub resources: BTreeMap<String, Vec<String>>,
}

/// `[executors]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutorsConfig {
    /// 1 to 1,024.
    pub count: u32,
    /// How often an executor whose init fails is started again.
    pub max_restarts: u32,
    /// How long what was read may take after a signal; may be zero.
    pub drain: Duration,
    /// The executors' resources, by kind.
    pub resources: BTreeMap<String, Vec<String>>,
}

/// `[stream]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamConfig {
    /// Where the records come from.
    pub source: Source,
    /// What its end means.
    pub on_source_end: OnSourceEnd,
    /// Instance names, in order.
    pub processors: Vec<Located<String>>,
    /// 1 to 65,536 records.
    pub batch_records: u32,
    /// 1 KiB to 16 MiB.
    pub batch_bytes: usize,
    /// 1 byte to 1 GiB.
    pub record_max: usize,
    /// 0 to 100.
    pub retries: u32,
    /// What becomes of records that still fail.
    pub on_error: OnError,
    /// Where the records go.
    pub sink: Sink,
    /// Where `[stream]` stands.
    pub at: Place,
}

/// What becomes of records that fail in every attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnError {
    /// The stream fails.
    Stop,
    /// They are kept in this file, JSON Lines, and the others go on.
    DeadLetter(PathBuf),
}

/// `[trust]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustConfig {
    /// Public keys whose signatures count.
    pub keys: Vec<PathBuf>,
    /// What a library must show.
    pub require: Require,
}

/// `[[plugin]]`: one instance.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginEntry {
    /// The name that the entry states, trimmed and valid; `None`: the library's own.
    pub name: Option<String>,
    /// Which library.
    pub library: Library,
    /// The same, as the file says it: what a lock calls it, wherever the file lies.
    pub library_text: String,
    /// Where the key `library` stands.
    pub library_at: Place,
    /// Whether the host stops when this instance fails.
    pub required: bool,
    /// Instances that are initialised before this one.
    pub after: Vec<Located<String>>,
    /// 1 to 100.
    pub init_attempts: u32,
    /// Topics whose changes its checker may veto.
    pub checks: Vec<Located<String>>,
    /// How long each call may take.
    pub deadlines: Deadlines,
    /// Where its code runs.
    pub isolation: Isolation,
    /// How its process is started again.
    pub restart: Restart,
    /// What its process may reach.
    pub sandbox: Sandbox,
    /// What its process may use.
    pub limits: Limits,
    /// What the library is opened from.
    pub stage: Stage,
    /// Whether a library that others may write is loaded all the same.
    pub allow_writable: bool,
    /// The plugin's own.
    pub settings: Settings,
    /// Where the entry begins; its file is the one that the entry came from.
    pub at: Place,
}

/// How long each call into a plugin may take; none is zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadlines {
    /// Opening the library, the handshake and `new`.
    pub load: Duration,
    /// `init` of a component.
    pub init: Duration,
    /// `receive` of a message.
    pub receive: Duration,
    /// A task hook.
    pub hook: Duration,
    /// `process` of a batch.
    pub process: Duration,
    /// `check` of a change.
    pub check: Duration,
    /// `shutdown` of a component.
    pub shutdown: Duration,
}

/// An embedder's instance has the same as an entry that says nothing.
impl Default for Deadlines {
    fn default() -> Self {
        DeadlinesTable::default().into()
    }
}

impl From<DeadlinesTable> for Deadlines {
    fn from(table: DeadlinesTable) -> Self {
        Self {
            load: table.load.0,
            init: table.init.0,
            receive: table.receive.0,
            hook: table.hook.0,
            process: table.process.0,
            check: table.check.0,
            shutdown: table.shutdown.0,
        }
    }
}

/// How a process that died is started again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restart {
    /// So many failures...
    pub attempts: u32,
    /// ...within so long; one more, and the instance is quarantined.
    pub within: Duration,
    /// The first wait; each further one doubles it.
    pub backoff: Duration,
    /// The longest wait.
    pub backoff_max: Duration,
}

impl Default for Restart {
    fn default() -> Self {
        RestartTable::default().into()
    }
}

impl From<RestartTable> for Restart {
    fn from(table: RestartTable) -> Self {
        Self {
            attempts: table.attempts.0,
            within: table.within.0,
            backoff: table.backoff.0,
            backoff_max: table.backoff_max.0,
        }
    }
}

/// What a plugin's process may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sandbox {
    /// Whatever the host may.
    None,
    /// The system's library folders, to read.
    Standard,
    /// The same, and exactly this.
    Only {
        /// Folders and files it may read.
        read: Vec<PathBuf>,
        /// Folders and files it may read and write.
        write: Vec<PathBuf>,
        /// TCP ports it may listen at.
        bind: Vec<u16>,
        /// TCP ports it may connect to.
        connect: Vec<u16>,
        /// Variables of the host's environment that it gets beyond the usual ones.
        env: Vec<String>,
    },
}

impl Sandbox {
    fn seen_from(key: SandboxKey, folder: &Path) -> Self {
        let paths = |paths: &[ExistingPath]| {
            let seen = |path: &ExistingPath| path.0.seen_from(folder);
            paths.iter().map(seen).collect()
        };
        match key {
            SandboxKey::Word(SandboxWord::None) => Self::None,
            SandboxKey::Word(SandboxWord::Standard) => Self::Standard,
            SandboxKey::Table(table) => Self::Only {
                read: paths(&table.read),
                write: paths(&table.write),
                bind: ports(&table.net.bind),
                connect: ports(&table.net.connect),
                env: table.env.into_iter().map(|name| name.0).collect(),
            },
        }
    }
}

/// The reader's bounds fit.
fn ports(ports: &[Port]) -> Vec<u16> {
    let fits = |port: &Port| u16::try_from(port.0).ok();
    ports.iter().filter_map(fits).collect()
}

/// What a plugin's process may use; `None`: whatever the host may.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Processor time.
    pub cpu_time: Option<Duration>,
    /// Open files.
    pub files: Option<u32>,
    /// Processes and threads.
    pub processes: Option<u32>,
}

impl From<LimitsTable> for Limits {
    fn from(table: LimitsTable) -> Self {
        Self {
            memory: table.memory.map(|size| size.value.0),
            cpu_time: table.cpu_time.map(|span| span.0),
            files: table.files.map(|room| room.value.0),
            processes: table.processes.map(|room| room.value.0),
        }
    }
}

impl HostConfig {
    pub(super) fn resolve(table: HostTable, file: &Path, folder: &Path) -> Self {
        Self {
            name: table
                .name
                .map_or_else(|| default_name(file, folder), |name| name.0),
            plugin_path: paths(&table.plugin_path, folder),
            admin: table.admin,
            hostname: table.hostname.map(|line| line.0),
            resources: table.resources.0,
        }
    }
}

impl ExecutorsConfig {
    pub(super) fn resolve(table: ExecutorsTable) -> Self {
        Self {
            count: table.count.0,
            max_restarts: table.max_restarts.0,
            drain: table.drain.0,
            resources: table.resources.0,
        }
    }
}

impl StreamConfig {
    /// A stream that no file describes: records from `source` through the instances named `processors`, in order, to
    /// `sink`; everything else as where a file does not say. `None` where a name is not one.
    #[must_use]
    pub fn new(source: Source, processors: &[&str], sink: Sink) -> Option<Self> {
        let at = Place {
            file: PathBuf::from("<program>"),
            line: 0,
            column: 0,
        };
        let named = |name: &&str| {
            Name::from_text(name).map(|name| Located {
                value: name,
                at: at.clone(),
            })
        };
        let table = StreamTable {
            processors: processors.iter().map(named).collect::<Option<_>>()?,
            source,
            sink,
            ..StreamTable::default()
        };
        let located = Located { value: table, at };
        Some(Self::resolve(located, Path::new(".")))
    }

    pub(super) fn resolve(located: Located<StreamTable>, folder: &Path) -> Self {
        let Located { value: table, at } = located;
        Self {
            source: table.source.seen_from(folder),
            on_source_end: table.on_source_end,
            processors: names(table.processors),
            batch_records: table.batch_records.0,
            batch_bytes: bytes(table.batch_bytes.0),
            record_max: bytes(table.record_max.0),
            retries: table.retries.0,
            on_error: match (table.on_error, table.dead_letter) {
                (OnErrorWord::DeadLetter, Some(path)) => {
                    OnError::DeadLetter(path.seen_from(folder))
                }
                _ => OnError::Stop,
            },
            sink: table.sink.seen_from(folder),
            at,
        }
    }
}

impl TrustConfig {
    pub(super) fn resolve(table: &TrustTable, folder: &Path) -> Self {
        Self {
            keys: paths(&table.keys, folder),
            require: table.require,
        }
    }
}

impl PluginEntry {
    /// The entry of a plugin that a program mounts itself: every default. `None` where the name is not one.
    ///
    /// - `number`: tells the program's plugins apart where a place is wanted.
    #[must_use]
    pub fn mounted(name: &str, number: usize, settings: Map<String, Value>) -> Option<Self> {
        let name = Name::from_text(name)?;
        let at = Place {
            file: PathBuf::from("<program>"),
            line: number,
            column: 0,
        };
        let library = Located {
            value: Library::Named(name.0.clone()),
            at: at.clone(),
        };
        let table = PluginTable {
            name: Some(name),
            library: Some(library),
            ..PluginTable::default()
        };
        let entry = Self::resolve(Located { value: table, at }, Path::new("."));
        Some(Self {
            settings: Settings::from_values(settings),
            ..entry
        })
    }

    pub(super) fn resolve(located: Located<PluginTable>, folder: &Path) -> Self {
        let Located { value: table, at } = located;
        // An entry that names no library is an error, so nobody sees the empty name; the entry itself still counts
        // when it is asked who comes after whom.
        let library = table.library.unwrap_or_else(|| Located {
            value: Library::Named(String::new()),
            at: at.clone(),
        });
        Self {
            name: table.name.map(|name| name.0),
            library: library.value.seen_from(folder),
            library_text: library.value.to_string(),
            library_at: library.at,
            required: table.required,
            after: names(table.after),
            init_attempts: table.init_attempts.0,
            checks: names(table.checks),
            deadlines: table.deadlines.into(),
            isolation: table.isolation,
            restart: table.restart.into(),
            sandbox: Sandbox::seen_from(table.sandbox, folder),
            limits: table.limits.into(),
            stage: table.stage,
            allow_writable: table.allow_writable,
            settings: table.settings.or_at(&at),
            at,
        }
    }
}

/// The folder of a file; "." where its name has none, so that it can be opened.
pub(super) fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// What a host is called that does not say: its file's stem, or its folder's name where the stem is "hotshoe".
fn default_name(file: &Path, folder: &Path) -> String {
    const PRODUCT: &str = "hotshoe";
    let stem = file
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned());
    let text = match stem {
        Some(stem) if stem != PRODUCT => Some(stem),
        // Only the whole path says what "." is called.
        _ => folder.canonicalize().ok().and_then(|folder| {
            folder
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
        }),
    };
    text.and_then(|text| Name::derived(&text))
        .map_or_else(|| PRODUCT.to_owned(), |name| name.0)
}

fn paths(texts: &[PathText], folder: &Path) -> Vec<PathBuf> {
    texts.iter().map(|text| text.seen_from(folder)).collect()
}

fn names(names: Vec<Located<Name>>) -> Vec<Located<String>> {
    names
        .into_iter()
        .map(|Located { value, at }| Located { value: value.0, at })
        .collect()
}

/// The reader's bounds, at most 1 GiB, fit every `usize` that the host is built for.
fn bytes(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
