//! The settings of an instance: what may be written, and the checked plan that init works from (config-api §13).
//!
//! Types, ranges and unknown keys are said by the schema, so that the host refuses them with file and line. Everything else
//! that can be judged without touching the machine is judged here, as `config-bad-setting`. Opens nothing.

use crate::{guard::HostName, rates::Limit, watch::HEARTBEAT};
use hotshoe_json::{SCHEMA_DEPTH_MAX, echo};
use hotshoe_plugin_api::{Error, Result};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{
    borrow::Cow,
    collections::BTreeSet,
    fmt::Display,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// The largest request body and value (config-api §12).
const BODY_BYTES_LIMIT: u64 = 16 << 20;
/// The least `history_bytes` (config-api §13).
const HISTORY_BYTES_MIN: u64 = 8 << 20;
/// `sun_path` less its final NUL (unix(7)).
const UNIX_PATH_BYTES_MAX: usize = 107;

/// `[plugin.settings]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// "quickstart" sets `state = "memory"`, `touch = { step = 10 }`, `initial = { value = 10 }` where not given, and
    /// enables `GET /`.
    pub profile: Profile,
    /// TCP addresses, as "127.0.0.1:9999"; port 0 lets the machine choose. Default: `127.0.0.1:9999` and `[::1]:9999`.
    pub listen: Option<Vec<String>>,
    /// The absolute path of a Unix socket.
    pub unix: Option<PathBuf>,
    /// A file with one or two bearer tokens, one a line. Required for any address that is not loopback. A relative path is
    /// looked for in the folder that the host is started in.
    pub token_file: Option<PathBuf>,
    /// Further names that a `Host` header may hold, `name` or `name:port`.
    pub allowed_hosts: Vec<String>,
    /// "builtin", or the path of a JSON Schema file. A relative one is looked for in the folder that the host is started in.
    pub schema: Option<PathBuf>,
    /// The first value, and what `DELETE /v1/config` restores.
    pub initial: Option<Value>,
    /// What one touch adds, and where.
    pub touch: Option<Touch>,
    /// Where the value is kept: "dir", the default, survives the host; "memory", the quickstart's, does not.
    pub state: Option<String>,
    /// The folder that the store's own folder is made in. Default: the host's.
    pub state_dir: Option<PathBuf>,
    /// The folder of the address file. Default: the host's.
    pub run_dir: Option<PathBuf>,
    /// Generations that are kept.
    #[schemars(range(min = 2))]
    pub history_generations: Option<u32>,
    /// Bytes of history that are kept, as "64MiB".
    pub history_bytes: Option<Size>,
    /// Whether changes without `If-Match` are refused.
    pub require_if_match: bool,
    /// The largest request body and value, as "1MiB".
    #[schemars(range(min = 1, max = 16_777_216))]
    pub max_body: Option<Size>,
    /// Connections at one time.
    #[schemars(range(min = 1, max = 65_535))]
    pub max_connections: Option<u32>,
    /// Watchers at one time, beside the connections.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_watchers: Option<u32>,
    /// Requests a second of one peer that is not this machine; twice as many may come at once.
    pub rate: Rate,
    /// Time for a request's head, and for an idle connection, as "5s".
    pub head_timeout: Option<Span>,
    /// Time for a request's body after its head, as "10s".
    pub body_timeout: Option<Span>,
}

/// How the instance is meant to be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Everything but `GET /`.
    #[default]
    Standard,
    /// The demo: `GET /` touches the value.
    Quickstart,
}

/// A plain list of words: the derived one is a `oneOf`, and a wrong word would be refused in the words of that.
impl JsonSchema for Profile {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Profile".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "enum": ["standard", "quickstart"]})
    }
}

impl Profile {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Quickstart => "quickstart",
        }
    }
}

/// What one touch does.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Touch {
    /// What is added; not 0.
    pub step: i64,
    /// The integer that it is added to, a JSON pointer.
    #[serde(default = "Touch::default_pointer")]
    pub pointer: String,
}

impl Touch {
    fn default_pointer() -> String {
        "/value".to_owned()
    }
}

/// How often one peer may ask.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rate {
    /// Changes a second.
    #[schemars(range(min = 1))]
    pub changes: u32,
    /// Reads a second.
    #[schemars(range(min = 1))]
    pub reads: u32,
}

impl Default for Rate {
    fn default() -> Self {
        Self {
            changes: 50,
            reads: 500,
        }
    }
}

/// A size: bytes, or a whole number with B, KiB, MiB or GiB.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Size {
    /// Bytes.
    Bytes(u64),
    /// As "64KiB".
    Text(String),
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["integer", "string"], "pattern": "^[0-9]+(B|KiB|MiB|GiB)$"})
    }
}

impl Size {
    const UNITS: [(&str, u64); 4] = [
        ("B", 1),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
    ];

    fn bytes(&self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(*bytes),
            Self::Text(text) => with_unit(text, &Self::UNITS),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Bytes(bytes) => bytes.to_string(),
            Self::Text(text) => format!("\"{}\"", echo(text)),
        }
    }
}

/// A duration: a whole number with ms, s, m or h.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct Span(String);

impl JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"})
    }
}

impl Span {
    const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(end);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Where the schema comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SchemaSource {
    /// `{"value": <i64>}`.
    Builtin,
    File(PathBuf),
}

/// Where the host keeps the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Dir,
    Memory,
}

/// The limits of config-api §12 that a request meets.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) body_bytes: usize,
    pub(crate) connections: usize,
    pub(crate) watchers: usize,
    pub(crate) rate: Limit,
    pub(crate) heartbeat: Duration,
    pub(crate) head: Duration,
    pub(crate) body: Duration,
}

/// Settings that were found good.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) profile: Profile,
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) unix: Option<PathBuf>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) allowed_hosts: Vec<HostName>,
    pub(crate) schema: SchemaSource,
    pub(crate) initial: Value,
    pub(crate) touch: Option<Touch>,
    pub(crate) run_dir: Option<PathBuf>,
    state: State,
    state_dir: Option<PathBuf>,
    pub(crate) require_if_match: bool,
    pub(crate) limits: Limits,
    history_generations: Option<u32>,
    history_bytes: Option<u64>,
}

impl Plan {
    /// Errors: `config-bad-setting`, `config-bind-needs-token`.
    pub(crate) fn check(settings: Settings) -> Result<Self> {
        let quickstart = settings.profile == Profile::Quickstart;
        let state = check_state(settings.state.as_deref(), quickstart)?;
        let listen = check_listen(settings.listen.as_deref(), settings.unix.is_some())?;
        check_reach(&listen, quickstart, settings.token_file.is_some())?;
        if let Some(path) = &settings.unix {
            check_unix(path)?;
        }
        let touch = match settings.touch {
            None if quickstart => Some(Touch {
                step: 10,
                pointer: Touch::default_pointer(),
            }),
            touch => touch,
        };
        if touch.as_ref().is_some_and(|touch| touch.step == 0) {
            return Err(bad(
                "touch.step",
                0,
                "it would change nothing",
                "an integer other than 0",
            ));
        }
        let allowed_hosts = settings.allowed_hosts.iter().map(|name| check_host(name));
        Ok(Self {
            profile: settings.profile,
            listen,
            token_file: settings.token_file,
            allowed_hosts: allowed_hosts.collect::<Result<_>>()?,
            unix: settings.unix,
            schema: match settings.schema {
                Some(path) if path != Path::new("builtin") => SchemaSource::File(path),
                _ => SchemaSource::Builtin,
            },
            initial: settings.initial.unwrap_or_else(|| json!({"value": 10})),
            touch,
            run_dir: settings.run_dir,
            state,
            state_dir: settings.state_dir,
            require_if_match: settings.require_if_match,
            limits: Limits {
                body_bytes: check_body(settings.max_body.as_ref())?,
                connections: settings.max_connections.unwrap_or(1_024) as usize,
                watchers: settings.max_watchers.unwrap_or(10_000) as usize,
                rate: check_rate(settings.rate)?,
                heartbeat: HEARTBEAT,
                head: check_span("head_timeout", settings.head_timeout.as_ref(), 5, 60)?,
                body: check_span("body_timeout", settings.body_timeout.as_ref(), 10, 300)?,
            },
            history_generations: settings.history_generations,
            history_bytes: check_history(settings.history_bytes.as_ref())?,
        })
    }

    /// As many as the store keeps, unless their bytes are too many.
    pub(crate) fn history_generations(&self) -> usize {
        self.history_generations.unwrap_or(1_000) as usize
    }

    /// What the host's store is told.
    pub(crate) fn store_settings(&self) -> Value {
        let mut members = Map::new();
        let state = match self.state {
            State::Dir => "dir",
            State::Memory => "memory",
        };
        members.insert("state".to_owned(), state.into());
        if let Some(folder) = &self.state_dir {
            let folder = folder.display().to_string();
            members.insert("state_dir".to_owned(), folder.into());
        }
        if self.require_if_match {
            members.insert("require_if_match".to_owned(), true.into());
        }
        members.insert("value_len_max".to_owned(), self.limits.body_bytes.into());
        if let Some(touch) = &self.touch {
            let touch = json!({"pointer": touch.pointer, "step": touch.step});
            members.insert("touch".to_owned(), touch);
        }
        if let Some(generations) = self.history_generations {
            members.insert("history_generations".to_owned(), generations.into());
        }
        if let Some(bytes) = self.history_bytes {
            members.insert("history_bytes".to_owned(), bytes.into());
        }
        Value::Object(members)
    }

    /// The schema in force. Reads the file that it is in.
    ///
    /// Errors: `config-bad-setting`.
    pub(crate) fn schema_document(&self) -> Result<Value> {
        match &self.schema {
            SchemaSource::Builtin => Ok(builtin_schema()),
            SchemaSource::File(path) => read_schema(path),
        }
    }
}

/// A refused setting, in the one line of config-api §13.
pub(crate) fn bad(key: &str, value: impl Display, why: impl Display, allowed: &str) -> Error {
    Error::new(format!("{key} = {value}: {why}; allowed: {allowed}"))
        .with_code("config-bad-setting")
        .with_fix(format!("set {key} to {allowed}"))
}

/// A path in the words of [`bad`].
pub(crate) fn shown(path: &Path) -> String {
    format!("\"{}\"", echo(&path.to_string_lossy()))
}

/// The same for a file that `key` names. A relative path depends on where the host was started, so the place that was looked at
/// is told; where nothing is there, the file is what is missing, not another setting.
pub(crate) fn bad_file(key: &str, path: &Path, why: impl Display, allowed: &str) -> Error {
    let place = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = echo_path(&place);
    let (is_missing, is_relative) = (place.try_exists().is_ok_and(|is| !is), path.is_relative());
    let why = match (is_missing, is_relative) {
        (true, _) => format!("the file {there} does not exist"),
        (false, true) => format!("{there}: {why}"),
        (false, false) => why.to_string(),
    };
    let refused = bad(key, shown(path), why, allowed);
    match (is_missing, is_relative) {
        (true, true) => refused.with_fix(format!(
            "put the file there, or set {key} to the absolute path of where it is: a relative one is looked for in the folder \
             that the host is started in"
        )),
        (true, false) => refused.with_fix(format!("put the file there, or set {key} to {allowed}")),
        (false, _) => refused,
    }
}

/// A whole path: an operator must be able to look there.
fn echo_path(path: &Path) -> String {
    path.display().to_string().escape_debug().collect()
}

fn check_state(state: Option<&str>, quickstart: bool) -> Result<State> {
    match state {
        None if quickstart => Ok(State::Memory),
        None | Some("dir") => Ok(State::Dir),
        Some("memory") => Ok(State::Memory),
        Some(word) => Err(bad(
            "state",
            format!("\"{}\"", echo(word)),
            "no such word",
            "\"dir\" or \"memory\"",
        )),
    }
}

fn check_listen(listen: Option<&[String]>, has_unix: bool) -> Result<Vec<SocketAddr>> {
    const ALLOWED: &str = "addresses with a port, as \"127.0.0.1:9999\" or \"[::1]:9999\"";
    let Some(listen) = listen else {
        return Ok(vec![
            SocketAddr::from(([127, 0, 0, 1], 9999)),
            SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 9999)),
        ]);
    };
    if listen.is_empty() && !has_unix {
        return Err(bad(
            "listen",
            "[]",
            "nobody could reach it",
            "an address, or [] with unix set",
        ));
    }
    let mut seen = BTreeSet::new();
    for text in listen {
        let quoted = format!("\"{}\"", echo(text));
        let Ok(address) = text.parse::<SocketAddr>() else {
            return Err(bad("listen", quoted, "not an address with a port", ALLOWED));
        };
        if !seen.insert(address) {
            return Err(bad("listen", quoted, "named twice", "each address once"));
        }
    }
    Ok(seen.into_iter().collect())
}

fn check_reach(listen: &[SocketAddr], quickstart: bool, has_token: bool) -> Result<()> {
    let Some(open) = listen.iter().find(|address| !address.ip().is_loopback()) else {
        return Ok(());
    };
    if quickstart {
        return Err(bad(
            "listen",
            format!("\"{open}\""),
            "the quickstart profile is for this machine alone",
            "loopback addresses, or profile = \"standard\" with token_file",
        ));
    }
    if has_token {
        return Ok(());
    }
    let message = format!("listening on {open} needs token_file: it is not a loopback address");
    Err(Error::new(message)
        .with_code("config-bind-needs-token")
        .with_fix("set token_file, or listen on loopback addresses only"))
}

fn check_unix(path: &Path) -> Result<()> {
    const ALLOWED: &str = "an absolute path of at most 107 bytes";
    let why = if !path.is_absolute() {
        "it is relative"
    } else if path.as_os_str().len() > UNIX_PATH_BYTES_MAX {
        "it is longer than a socket's path may be"
    } else if path.as_os_str().as_encoded_bytes().contains(&0) {
        "it holds a NUL"
    } else {
        return Ok(());
    };
    Err(bad("unix", shown(path), why, ALLOWED))
}

fn check_host(name: &str) -> Result<HostName> {
    HostName::allowed(name).map_err(|why| {
        let quoted = format!("\"{}\"", echo(name));
        bad(
            "allowed_hosts",
            quoted,
            why,
            "names as \"config.example\" or \"config.example:9999\"",
        )
    })
}

fn check_body(size: Option<&Size>) -> Result<usize> {
    let Some(size) = size else {
        return Ok(1 << 20);
    };
    match size.bytes() {
        Some(bytes @ 1..=BODY_BYTES_LIMIT) => Ok(usize::try_from(bytes).unwrap_or(usize::MAX)),
        _ => Err(bad(
            "max_body",
            size.shown(),
            "out of range",
            "a size from 1 byte to \"16MiB\"",
        )),
    }
}

fn check_rate(rate: Rate) -> Result<Limit> {
    for (key, per_s) in [("rate.changes", rate.changes), ("rate.reads", rate.reads)] {
        if per_s == 0 {
            let why = "nobody could ask anything";
            return Err(bad(key, 0, why, "1 or more a second"));
        }
    }
    Ok(Limit {
        changes: rate.changes,
        reads: rate.reads,
    })
}

fn check_history(size: Option<&Size>) -> Result<Option<u64>> {
    let Some(size) = size else {
        return Ok(None);
    };
    match size.bytes() {
        Some(bytes) if bytes >= HISTORY_BYTES_MIN => Ok(Some(bytes)),
        _ => Err(bad(
            "history_bytes",
            size.shown(),
            "too small",
            "\"8MiB\" or more",
        )),
    }
}

fn check_span(key: &str, span: Option<&Span>, default_s: u64, max_s: u64) -> Result<Duration> {
    let Some(span) = span else {
        return Ok(Duration::from_secs(default_s));
    };
    match with_unit(&span.0, &Span::UNITS) {
        Some(millis) if (1..=max_s * 1_000).contains(&millis) => Ok(Duration::from_millis(millis)),
        _ => {
            let quoted = format!("\"{}\"", echo(&span.0));
            Err(bad(
                key,
                quoted,
                "out of range",
                &format!("a time from \"1ms\" to \"{max_s}s\""),
            ))
        }
    }
}

fn builtin_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "value": {"type": "integer", "format": "int64", "minimum": i64::MIN, "maximum": i64::MAX},
        },
        "required": ["value"],
        "additionalProperties": false,
    })
}

fn read_schema(path: &Path) -> Result<Value> {
    const ALLOWED: &str = "\"builtin\", or the path of a JSON Schema file";
    let refuse = |why: String| bad_file("schema", path, why, ALLOWED);
    let text = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
    hotshoe_json::read(&text, SCHEMA_DEPTH_MAX).map_err(|fault| {
        let place = hotshoe_json::position(&text, fault.offset);
        refuse(format!(
            "line {}, column {}: {}",
            place.line, place.column, fault.detail
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(settings: Value) -> Result<Plan> {
        Plan::check(serde_json::from_value(settings).unwrap())
    }

    #[test]
    fn the_quickstart_brings_its_touch_and_its_value() {
        let plan = plan(json!({"profile": "quickstart"})).unwrap();
        assert_eq!(plan.initial, json!({"value": 10}));
        assert_eq!(plan.listen.len(), 2);
        assert_eq!(
            plan.store_settings(),
            json!({
                "state": "memory",
                "touch": {"pointer": "/value", "step": 10},
                "value_len_max": 1 << 20,
            })
        );
    }

    #[test]
    fn what_the_store_is_told_is_what_was_set() {
        let told = |settings: Value| plan(settings).unwrap().store_settings();
        assert_eq!(told(json!({}))["state"], "dir");
        assert_eq!(told(json!({"state": "memory"}))["state"], "memory");
        let told = told(json!({
            "profile": "quickstart",
            "state": "dir",
            "state_dir": "/var/lib/x",
            "require_if_match": true,
            "history_generations": 7,
            "history_bytes": "8MiB",
        }));
        assert_eq!(
            told,
            json!({
                "history_bytes": 8 << 20,
                "history_generations": 7,
                "require_if_match": true,
                "state": "dir",
                "state_dir": "/var/lib/x",
                "touch": {"pointer": "/value", "step": 10},
                "value_len_max": 1 << 20,
            })
        );
    }

    #[test]
    fn what_the_schema_can_say_it_says() {
        let schema = serde_json::to_value(schemars::schema_for!(Settings)).unwrap();
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["properties"]["max_connections"]["maximum"], 65_535);
        assert!(schema["properties"].get("tls_cert").is_none());
        for unknown in [
            json!({"tls_cert": "x"}),
            json!({"tls_key": "x"}),
            json!({"rate": {"writes": 1}}),
        ] {
            assert!(serde_json::from_value::<Settings>(unknown).is_err());
        }
    }

    #[test]
    fn a_bad_setting_is_named_with_what_is_allowed() {
        for (settings, code, expected) in [
            (
                json!({"state": "etcd"}),
                "config-bad-setting",
                "state = \"etcd\": no such word; ",
            ),
            (
                json!({"listen": ["localhost:9999"]}),
                "config-bad-setting",
                "listen = \"localhost:9999\": not an address with a port; allowed: ",
            ),
            (json!({"listen": []}), "config-bad-setting", "listen = []: "),
            (
                json!({"listen": ["127.0.0.1:1", "127.0.0.1:1"]}),
                "config-bad-setting",
                "listen = \"127.0.0.1:1\": named twice; ",
            ),
            (
                json!({"listen": ["0.0.0.0:9999"]}),
                "config-bind-needs-token",
                "listening on 0.0.0.0:9999 needs token_file",
            ),
            (
                json!({"listen": ["[::]:9999"], "profile": "quickstart", "token_file": "/t"}),
                "config-bad-setting",
                "listen = \"[::]:9999\": the quickstart profile",
            ),
            (
                json!({"unix": "a.sock"}),
                "config-bad-setting",
                "unix = \"a.sock\": it is relative; ",
            ),
            (
                json!({"unix": format!("/{}", "a".repeat(107))}),
                "config-bad-setting",
                "unix = \"/aaaa",
            ),
            (
                json!({"touch": {"step": 0}}),
                "config-bad-setting",
                "touch.step = 0: ",
            ),
            (
                json!({"allowed_hosts": ["*.example"]}),
                "config-bad-setting",
                "allowed_hosts = \"*.example\": ",
            ),
            (
                json!({"max_body": "17MiB"}),
                "config-bad-setting",
                "max_body = \"17MiB\": ",
            ),
            (
                json!({"max_body": 0}),
                "config-bad-setting",
                "max_body = 0: ",
            ),
            (
                json!({"rate": {"changes": 0}}),
                "config-bad-setting",
                "rate.changes = 0: ",
            ),
            (
                json!({"head_timeout": "61s"}),
                "config-bad-setting",
                "head_timeout = \"61s\": ",
            ),
            (
                json!({"body_timeout": "0s"}),
                "config-bad-setting",
                "body_timeout = \"0s\": ",
            ),
            (
                json!({"history_bytes": "1MiB"}),
                "config-bad-setting",
                "history_bytes = \"1MiB\": ",
            ),
        ] {
            let error = plan(settings.clone()).unwrap_err();
            assert_eq!(error.code(), code, "{settings}");
            assert!(
                error.to_string().starts_with(expected),
                "{settings}: {error}"
            );
            assert!(!error.fix().is_empty());
        }
    }

    #[test]
    fn good_settings_are_taken_as_they_are_meant() {
        let plan = plan(json!({
            "listen": ["[::1]:0", "127.0.0.1:0"],
            "max_body": "64KiB",
            "head_timeout": "500ms",
            "allowed_hosts": ["config.example", "other.example:80"],
            "schema": "builtin",
        }))
        .unwrap();
        // IPv4 first: it is bound first, and chooses the port.
        assert!(plan.listen[0].is_ipv4());
        assert_eq!(plan.limits.body_bytes, 65_536);
        assert_eq!(plan.limits.head, Duration::from_millis(500));
        assert_eq!(plan.schema, SchemaSource::Builtin);
    }

    #[test]
    fn a_schema_file_is_read_with_its_faults_placed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("schema.json");
        std::fs::write(&path, "{\n \"type\": }").unwrap();
        let plan = plan(json!({"schema": path})).unwrap();
        let error = plan.schema_document().unwrap_err();
        assert!(
            error
                .to_string()
                .contains("line 2, column 10: expected a value"),
            "{error}"
        );
        std::fs::write(
            &path,
            "{\"type\":\"object\",\"additionalProperties\":false}",
        )
        .unwrap();
        assert_eq!(plan.schema_document().unwrap()["type"], "object");
    }
}
