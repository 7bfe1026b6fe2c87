//! The tables of hotshoe.toml as they are written: the keys, their types, their defaults.
//!
//! This is the one definition: the reader takes these fields, `hotshoe schema` prints them, and what stands in an empty
//! file is their `Default`. What the values come to, seen from a folder, is the parent's.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use toml::de::DeValue;

use super::{
    address::{Admin, Sink, Source},
    echo::echo,
    read::{Cursor, Located, Node, Read, Section, section},
    report::{Report, Wrong, headline},
    settings::Settings,
    units::{Deadline, Int, Size, Span},
    words::{
        ExistingPath, Isolation, Library, Line, Name, OnErrorWord, OnSourceEnd, PathText, Require,
        SandboxWord, Stage, VariableName,
    },
};
use crate::error::{Place, Problem};

/// The configuration of a hotshoe host.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "hotshoe.toml")]
pub(super) struct FileTable {
    /// The host itself.
    pub(super) host: HostTable,
    /// What runs the tasks.
    pub(super) executors: ExecutorsTable,
    /// The stream of records. Absent: drivers run until a signal.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "StreamTable")]
    pub(super) stream: Option<Located<StreamTable>>,
    /// What a library must show before it is loaded.
    pub(super) trust: TrustTable,
    /// The instances, in order.
    pub(super) plugin: Plugins,
}
section!(FileTable {
    host,
    executors,
    stream,
    trust,
    plugin
});

/// `[host]`
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HostTable {
    /// Names `run_dir` and `state_dir`. Default: the file's stem, or its folder's name where the stem is "hotshoe".
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Name")]
    pub(super) name: Option<Name>,
    /// Where bare library names are looked for; then this file's folder, then the executable's.
    pub(super) plugin_path: Vec<PathText>,
    /// Read-only `GET /status /metrics /healthz`: "unix" (`admin.sock` in `run_dir`), an IP address and port, or "off".
    pub(super) admin: Admin,
    /// What plugins are told. Default: the machine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Line")]
    pub(super) hostname: Option<Line>,
    /// The driver's, by kind: `{ gpu = ["5", "6"] }`.
    pub(super) resources: Resources,
}
section!(HostTable {
    name,
    plugin_path,
    admin,
    hostname,
    resources
});

impl Default for HostTable {
    fn default() -> Self {
        Self {
            name: None,
            plugin_path: Vec::new(),
            admin: Admin::Unix,
            hostname: None,
            resources: Resources::default(),
        }
    }
}

/// `[executors]`
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ExecutorsTable {
    /// How many; one copy of each processor's state per executor.
    pub(super) count: Int<1, 1024>,
    /// How often an executor whose init fails is started again.
    pub(super) max_restarts: Int<0, 1000>,
    /// How long what was read may take to be processed after a signal.
    pub(super) drain: Span<0>,
    /// The executors', by kind: `{ gpu = ["3", "4"] }`.
    pub(super) resources: Resources,
}
section!(ExecutorsTable {
    count,
    max_restarts,
    drain,
    resources
});

impl Default for ExecutorsTable {
    fn default() -> Self {
        Self {
            count: Int(1),
            max_restarts: Int(3),
            drain: Span::seconds(5),
            resources: Resources::default(),
        }
    }
}

/// `[stream]`
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StreamTable {
    /// "stdin", "tcp-connect:HOST:PORT", "tcp-listen:IP:PORT" or "file:PATH".
    pub(super) source: Source,
    /// What the end of the source means.
    pub(super) on_source_end: OnSourceEnd,
    /// Instance names, in order.
    pub(super) processors: Vec<Located<Name>>,
    /// A batch holds at most so many records.
    pub(super) batch_records: Int<1, 65_536>,
    /// And at most so many bytes, unless it is one record.
    pub(super) batch_bytes: Size<1_024, 16_777_216>,
    /// A longer record is a source error.
    pub(super) record_max: Size<1, 1_073_741_824>,
    /// How often a task that failed runs again.
    pub(super) retries: Int<0, 100>,
    /// What becomes of records that still fail.
    pub(super) on_error: OnErrorWord,
    /// The file that keeps them, with `on_error = "dead-letter"`: JSON Lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PathText")]
    pub(super) dead_letter: Option<PathText>,
    /// "stdout" or "file:PATH".
    pub(super) sink: Sink,
}
section!(StreamTable {
    source, on_source_end, processors, batch_records, batch_bytes, record_max, retries, on_error, dead_letter, sink,
} check check_stream);

impl Default for StreamTable {
    fn default() -> Self {
        Self {
            source: Source::Stdin,
            on_source_end: OnSourceEnd::Stop,
            processors: Vec::new(),
            batch_records: Int(1024),
            batch_bytes: Size(64 << 10),
            record_max: Size(16 << 20),
            retries: Int(3),
            on_error: OnErrorWord::Stop,
            dead_letter: None,
            sink: Sink::Stdout,
        }
    }
}

fn check_stream(table: &StreamTable, cursor: &mut Cursor<'_, '_, '_>) {
    // A `dead_letter` that was wrong in itself is reported already.
    if table.on_error == OnErrorWord::DeadLetter && !cursor.has("dead_letter") {
        let problem = cursor
            .error_at(
                "on_error",
                "missing-key",
                "[stream] keeps failed records, and `dead_letter` does not say where",
            )
            .wanted("dead_letter = \"PATH\" beside on_error = \"dead-letter\"")
            .found("no dead_letter")
            .fix("add `dead_letter = \"dead-letter.jsonl\"` to [stream]");
        cursor.add(problem);
    }
    let written_right = !cursor.has("on_error") || cursor.is_str("on_error", "stop");
    if cursor.has("dead_letter") && written_right {
        let problem = cursor
            .error_at(
                "dead_letter",
                "bad-value",
                "`dead_letter` of [stream] has no use while `on_error` is \"stop\"",
            )
            .wanted("on_error = \"dead-letter\" beside dead_letter")
            .found("on_error = \"stop\"")
            .fix("add `on_error = \"dead-letter\"` to [stream], or remove `dead_letter`");
        cursor.add(problem);
    }
}

/// `[trust]`
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TrustTable {
    /// Public keys whose signatures count.
    pub(super) keys: Vec<PathText>,
    /// What a library must show.
    pub(super) require: Require,
}
section!(TrustTable { keys, require } check check_trust);

impl Default for TrustTable {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            require: Require::None,
        }
    }
}

fn check_trust(table: &TrustTable, cursor: &mut Cursor<'_, '_, '_>) {
    let signed = table.require == Require::Signed;
    if signed && table.keys.is_empty() && !cursor.has("keys") {
        let sentence = format!(
            "{} is \"signed\", and no key is trusted",
            cursor.label("require")
        );
        let problem = cursor
            .error_at("require", "no-keys", &sentence)
            .wanted("keys = [\"FILE.pub\"] beside it")
            .found("no keys")
            .fix("add `keys = [\"FILE.pub\"]` to [trust]; `hotshoe keygen FILE` makes a pair");
        cursor.add(problem);
    }
    if !signed && !table.keys.is_empty() {
        let sentence = format!(
            "{} is not used: signatures are not asked for",
            cursor.label("keys")
        );
        let problem = cursor
            .warning_at("keys", "unused-keys", &sentence)
            .wanted("require = \"signed\" beside it")
            .found("keys without it")
            .fix("add `require = \"signed\"` to [trust], or remove `keys`");
        cursor.add(problem);
    }
}

/// The `[[plugin]]` entries of one file.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct Plugins(pub(super) Vec<Located<PluginTable>>);

impl Read for Plugins {
    fn wanted() -> String {
        "[[plugin]] entries".to_owned()
    }
    fn example() -> String {
        "[{ library = \"hotshoe_quickstart\" }]".to_owned()
    }
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let DeValue::Table(_) = node.value.get_ref() else {
            return Vec::read(node, report).map(Self);
        };
        // One pair of brackets too few is the usual slip; what stands in the table is judged all the same.
        let problem = report
            .error(
                "wrong-type",
                "`plugin` is a table, not a list of entries",
                &node.value.span(),
            )
            .wanted("[[plugin]], one for each instance")
            .found("[plugin]")
            .fix("write its header as [[plugin]]");
        report.add(problem);
        Located::read(node, report).map(|entry| Self(vec![entry]))
    }
}

/// `[[plugin]]`: one instance of a library.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["library"]))]
pub(super) struct PluginTable {
    /// The instance's name. Default: the library's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Name")]
    pub(super) name: Option<Name>,
    /// A name to look for, or, where it holds a separator, a path relative to this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Library")]
    pub(super) library: Option<Located<Library>>,
    /// Whether the host stops when this instance fails.
    pub(super) required: bool,
    /// Instances that are initialised before this one: order only.
    pub(super) after: Vec<Located<Name>>,
    /// How often its driver's init is tried.
    pub(super) init_attempts: Int<1, 100>,
    /// Topics whose changes this instance's checker may veto.
    pub(super) checks: Vec<Located<Name>>,
    /// How long each call into it may take.
    pub(super) deadlines: DeadlinesTable,
    /// Where its code runs.
    pub(super) isolation: Isolation,
    /// How its process is started again, with `isolation = "process"`.
    pub(super) restart: RestartTable,
    /// What its process may reach, with `isolation = "process"`.
    pub(super) sandbox: SandboxKey,
    /// What its process may use, with `isolation = "process"`.
    pub(super) limits: LimitsTable,
    /// What the library is opened from.
    pub(super) stage: Stage,
    /// Whether a library that others may write is loaded all the same.
    pub(super) allow_writable: bool,
    /// The plugin's own. A string may be `{ file = "PATH" }` or hold `${env:NAME}`; such a value is never printed.
    pub(super) settings: Settings,
}
section!(PluginTable {
    name, library, required, after, init_attempts, checks, deadlines, isolation, restart, sandbox, limits, stage,
    allow_writable, settings,
} check check_plugin);

impl Default for PluginTable {
    fn default() -> Self {
        Self {
            name: None,
            library: None,
            required: true,
            after: Vec::new(),
            init_attempts: Int(1),
            checks: Vec::new(),
            deadlines: DeadlinesTable::default(),
            isolation: Isolation::InProcess,
            restart: RestartTable::default(),
            sandbox: SandboxKey::default(),
            limits: LimitsTable::default(),
            stage: Stage::Memfd,
            allow_writable: false,
            settings: Settings::default(),
        }
    }
}

fn check_plugin(table: &PluginTable, cursor: &mut Cursor<'_, '_, '_>) {
    if !cursor.has("library") {
        let sentence = format!("{} does not say which library it is", cursor.owner());
        let problem = cursor
            .error_at("library", "missing-key", &sentence)
            .wanted("library = \"NAME\" or library = \"./PATH\"")
            .found("no library")
            .fix(match &table.name {
                Some(name) => format!(
                    "add `library = \"{}\"`, the name of the file without lib and .so",
                    name.0
                ),
                None => {
                    "add `library = \"NAME\"`, the name of the file without lib and .so".to_owned()
                }
            });
        cursor.add(problem);
    }
    if table.isolation == Isolation::InProcess && !cursor.is_str("isolation", "process") {
        check_in_process(table, cursor);
    }
}

/// What is written for a process of the plugin's own, where it has none. To be restarted differently changes nothing for
/// anybody; who asked for walls or limits must not run without them.
fn check_in_process(table: &PluginTable, cursor: &mut Cursor<'_, '_, '_>) {
    if table.restart != RestartTable::default() {
        let sentence = format!(
            "{} has no effect on a plugin inside the host",
            cursor.label("restart")
        );
        let problem = cursor
            .warning_at("restart", "no-effect", &sentence)
            .wanted("restart only with isolation = \"process\"")
            .found("isolation = \"in-process\"")
            .fix("remove `restart`");
        cursor.add(problem);
    }
    let walls = table.sandbox != SandboxKey::default();
    let limits = table.limits != LimitsTable::default();
    for (key, _) in [("sandbox", walls), ("limits", limits)]
        .into_iter()
        .filter(|(_, asked)| *asked)
    {
        let sentence = format!(
            "{} protects nothing while the plugin runs inside the host",
            cursor.label(key)
        );
        let problem = cursor
            .error_at(key, "needs-process", &sentence)
            .wanted(format!("isolation = \"process\" beside {key}"))
            .found("isolation = \"in-process\"")
            .fix(format!("add `isolation = \"process\"`, or remove `{key}`"));
        cursor.add(problem);
    }
}

/// How long each call into a plugin may take.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DeadlinesTable {
    /// Opening the library, the handshake and `new`.
    pub(super) load: Deadline,
    /// `init` of a component.
    pub(super) init: Deadline,
    /// `receive` of a message.
    pub(super) receive: Deadline,
    /// A task hook.
    pub(super) hook: Deadline,
    /// `process` of a batch.
    pub(super) process: Deadline,
    /// `check` of a change.
    pub(super) check: Deadline,
    /// `shutdown` of a component.
    pub(super) shutdown: Deadline,
}
section!(DeadlinesTable {
    load,
    init,
    receive,
    hook,
    process,
    check,
    shutdown
});

impl Default for DeadlinesTable {
    fn default() -> Self {
        Self {
            load: Span::seconds(10),
            init: Span::seconds(10),
            receive: Span::seconds(10),
            hook: Span::seconds(1),
            process: Span::seconds(30),
            check: Span::seconds(1),
            shutdown: Span::seconds(5),
        }
    }
}

/// How a process that died is started again.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RestartTable {
    /// So many failures...
    pub(super) attempts: Int<0, 1000>,
    /// ...within so long; one more, and the instance is quarantined.
    pub(super) within: Deadline,
    /// The first wait; each further one doubles it.
    pub(super) backoff: Deadline,
    /// The longest wait.
    pub(super) backoff_max: Deadline,
}
section!(RestartTable { attempts, within, backoff, backoff_max } check check_restart);

impl Default for RestartTable {
    fn default() -> Self {
        Self {
            attempts: Int(5),
            within: Span::seconds(300),
            backoff: Span::millis(100),
            backoff_max: Span::seconds(60),
        }
    }
}

fn check_restart(table: &RestartTable, cursor: &mut Cursor<'_, '_, '_>) {
    if table.backoff.0 > table.backoff_max.0 {
        let sentence = format!("{} is longer than backoff_max", cursor.label("backoff"));
        let problem = cursor
            .error_at("backoff", "bad-value", &sentence)
            .wanted(format!("at most backoff_max, {:?}", table.backoff_max.0))
            .found(format!("{:?}", table.backoff.0))
            .fix("shorten `backoff`, or lengthen `backoff_max`");
        cursor.add(problem);
    }
}

/// What a plugin's process may use. The least values are what a worker takes before the plugin does anything, measured with a
/// debug build, and room to work.
#[derive(Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsTable {
    /// Bytes of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Memory")]
    pub(super) memory: Option<Located<Memory>>,
    /// Processor time of the process's whole life, counted in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Span<1_000>")]
    pub(super) cpu_time: Option<Span<1_000>>,
    /// Open files, the worker's own included.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Room")]
    pub(super) files: Option<Located<Room>>,
    /// Processes and threads, the worker's own included.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Room")]
    pub(super) processes: Option<Located<Room>>,
}
section!(LimitsTable {
    memory,
    cpu_time,
    files,
    processes
});

/// What a worker needs of memory with one executor, in MiB: 9 are its threads' stacks and heaps, 23 are the plugin's.
const MEMORY_MIB: u64 = 32;
/// And for each further executor: a thread's stack of two, its heap, and room for a batch.
const MEMORY_MIB_EACH: u64 = 3;
/// From [`MEMORY_MIB`] to 1 TiB.
pub(super) type Memory = Size<{ MEMORY_MIB << 20 }, { 1 << 40 }>;

/// What a worker needs of files (7, without the plugin's) and threads (5) with one executor; each further executor takes one
/// more of either.
const ROOM: u32 = 16;
pub(super) type Room = Int<ROOM, 1_048_576>;

impl PluginTable {
    /// What is wrong with its limits beside so many executors.
    pub(super) fn check_room(&self, executors: u32) -> Vec<Problem> {
        let further = executors.saturating_sub(1);
        let LimitsTable {
            memory,
            files,
            processes,
            ..
        } = &self.limits;
        let mut problems = Vec::new();
        if let Some(Located { value, at }) = memory {
            let least = MEMORY_MIB + MEMORY_MIB_EACH * u64::from(further);
            if value.0 < least << 20 {
                let why = format!("{MEMORY_MIB} MiB, and {MEMORY_MIB_EACH} for each executor");
                let found = format!("{} bytes", value.0);
                let least = format!("\"{least}MiB\"");
                problems.push(self.short("memory", executors, at, (least, why, found)));
            }
        }
        for (key, room) in [("files", files), ("processes", processes)] {
            let least = ROOM + further;
            if let Some(Located { value, at }) = room.as_ref().filter(|room| room.value.0 < least) {
                let why = format!("{ROOM}, and one for each executor");
                let words = (least.to_string(), why, value.0.to_string());
                problems.push(self.short(key, executors, at, words));
            }
        }
        problems
    }

    /// One of its limits is less than `least`, which comes about by `why`.
    fn short(
        &self,
        key: &str,
        executors: u32,
        at: &Place,
        (least, why, found): (String, String, String),
    ) -> Problem {
        let owner = match &self.name {
            Some(name) => shown(&name.0),
            None => "a plugin without a name".to_owned(),
        };
        let sentence = format!(
            "`limits.{key}` of {owner} is less than its worker needs with {executors} executors"
        );
        Problem::usage("bad-value", headline(&sentence, at))
            .at(at.clone())
            .wanted(format!("at least {least}: {why} after the first"))
            .found(found)
            .fix(format!(
                "write `{key} = {least}` or more, or lower executors.count"
            ))
    }
}

/// A word, or what exactly may be reached.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum SandboxKey {
    /// "none" or "standard".
    Word(SandboxWord),
    /// What exactly may be reached.
    Table(SandboxTable),
}

impl Default for SandboxKey {
    fn default() -> Self {
        Self::Word(SandboxWord::None)
    }
}

impl Read for SandboxKey {
    fn wanted() -> String {
        "\"none\", \"standard\", or a table with read, write, net and env".to_owned()
    }
    fn example() -> String {
        "\"none\"".to_owned()
    }
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        match node.value.get_ref() {
            DeValue::Table(_) => SandboxTable::read(node, report).map(Self::Table),
            DeValue::String(_) => SandboxWord::read(node, report).map(Self::Word),
            _ => {
                report.wrong(node, Self::wanted(), Wrong::TYPE);
                None
            }
        }
    }
}

/// What a plugin's process may reach, beyond the system's library folders.
#[derive(Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SandboxTable {
    /// Folders and files it may read. They exist when the host starts.
    pub(super) read: Vec<ExistingPath>,
    /// Folders and files it may read, write, make and remove. They exist when the host starts.
    pub(super) write: Vec<ExistingPath>,
    /// What it may reach over the network.
    pub(super) net: NetTable,
    /// Variables of the host's environment that it gets, beyond PATH, LANG, LC_… and TZ.
    pub(super) env: Vec<VariableName>,
}
section!(SandboxTable {
    read,
    write,
    net,
    env
});

/// What a plugin's process may reach over the network: TCP, by port.
#[derive(Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NetTable {
    /// Ports it may listen at.
    pub(super) bind: Vec<Port>,
    /// Ports it may connect to, on any machine.
    pub(super) connect: Vec<Port>,
}
section!(NetTable { bind, connect });

/// A TCP port.
pub(super) type Port = Int<1, 65_535>;

/// Resources by kind, the values as the operator wrote them.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct Resources(
    #[schemars(with = "BTreeMap<String, Vec<Line>>")] pub(super) BTreeMap<String, Vec<String>>,
);

impl Read for Resources {
    fn wanted() -> String {
        "a table of lists of strings".to_owned()
    }
    fn example() -> String {
        "{ gpu = [\"0\"] }".to_owned()
    }
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let DeValue::Table(table) = node.value.get_ref() else {
            report.wrong(node, Self::wanted(), Wrong::TYPE);
            return None;
        };
        let mut resources = BTreeMap::new();
        for (kind, entry) in node.entries(table, "[\"0\"]") {
            let addresses = Vec::<Line>::read(&entry, report).unwrap_or_default();
            resources.insert(
                kind.to_owned(),
                addresses.into_iter().map(|line| line.0).collect(),
            );
        }
        Some(Self(resources))
    }
}

/// The table that a misplaced key belongs to.
pub(super) fn home_of(key: &str) -> Option<String> {
    let homes: [(&str, &[&str]); 6] = [
        ("the top of the file", FileTable::KEYS),
        ("[host]", HostTable::KEYS),
        ("[executors]", ExecutorsTable::KEYS),
        ("[stream]", StreamTable::KEYS),
        ("[trust]", TrustTable::KEYS),
        ("[[plugin]]", PluginTable::KEYS),
    ];
    // Two homes would be a guess.
    let mut found = homes
        .iter()
        .filter(|(_, keys)| keys.contains(&key))
        .map(|(home, _)| (*home).to_owned());
    let home = found.next()?;
    found.next().is_none().then_some(home)
}

/// The label of a plugin in a warning about two of one name.
pub(super) fn shown(name: &str) -> String {
    format!("plugin `{}`", echo(name))
}
