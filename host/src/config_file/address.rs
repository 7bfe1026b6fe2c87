//! Where bytes come from and go to: the status socket, the stream's source and its sink.
//!
//! Only the spelling is judged: nothing is resolved, bound or opened.

use std::{
    borrow::Cow,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use toml::de::DeValue;

use super::{
    echo::echo,
    read::Scalar,
    report::{Wrong, near_miss},
    words::{PathText, near, resolve},
};
/// Where the read-only status socket listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admin {
    /// `admin.sock` in the host's `run_dir`, for its own user.
    Unix,
    /// A TCP address.
    Tcp(SocketAddr),
    /// Nowhere.
    Off,
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix => f.write_str("unix"),
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Off => f.write_str("off"),
        }
    }
}

impl Scalar for Admin {
    fn wanted() -> String {
        "\"unix\", \"off\", or an IP address and port such as \"127.0.0.1:9464\"".to_owned()
    }
    fn example() -> String {
        "\"unix\"".to_owned()
    }
    fn parse(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = match value {
            DeValue::String(text) => text,
            DeValue::Boolean(false) => {
                return Err(Wrong::Type {
                    meant: Some("\"off\"".to_owned()),
                });
            }
            _ => return Err(Wrong::TYPE),
        };
        match text.as_ref() {
            "unix" => Ok(Self::Unix),
            "off" => Ok(Self::Off),
            other => other.parse().map(Self::Tcp).map_err(|_| Wrong::Value {
                meant: listen_meant("", other).or_else(|| near(other, ["unix", "off"])),
            }),
        }
    }
}

/// `localhost:1`, `:1` and `*:1` name an address that is known; a host name does not.
fn listen_meant(scheme: &str, text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let host = match host {
        "localhost" | "" => "127.0.0.1",
        "*" => "0.0.0.0",
        _ => return None,
    };
    Some(format!("\"{scheme}{host}:{port}\""))
}

/// Where the records come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The host's standard input.
    Stdin,
    /// A peer that the host connects to, `host:port`.
    TcpConnect(String),
    /// An address at which the host waits for one.
    TcpListen(SocketAddr),
    /// A file, from its beginning to its end.
    File(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("stdin"),
            Self::TcpConnect(address) => write!(f, "tcp-connect:{address}"),
            Self::TcpListen(address) => write!(f, "tcp-listen:{address}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl Source {
    /// The same source, a relative path seen from `folder`.
    pub(super) fn seen_from(self, folder: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(resolve(folder, &path)),
            other => other,
        }
    }
}

/// `host:port`, the port not zero; an IPv6 address in brackets.
fn is_peer(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let host = match host.strip_prefix('[') {
        Some(rest) => match rest.strip_suffix(']') {
            Some(address) => return address.parse::<std::net::Ipv6Addr>().is_ok() && is_port(port),
            None => return false,
        },
        None => host,
    };
    let named = |character: char| character.is_alphanumeric() || ".-_".contains(character);
    !host.is_empty() && host.chars().all(named) && is_port(port)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
        && text.parse::<u16>().is_ok_and(|port| port != 0)
}

impl Scalar for Source {
    fn wanted() -> String {
        "\"stdin\", \"tcp-connect:HOST:PORT\", \"tcp-listen:IP:PORT\" or \"file:PATH\"".to_owned()
    }
    fn example() -> String {
        "\"stdin\"".to_owned()
    }
    fn parse(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let DeValue::String(text) = value else {
            return Err(Wrong::TYPE);
        };
        let text: &str = text;
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest)) => (scheme, Some(rest)),
            None => (text, None),
        };
        match (scheme, rest) {
            ("stdin", None) => Ok(Self::Stdin),
            ("tcp-connect", Some(peer)) if is_peer(peer) => Ok(Self::TcpConnect(peer.to_owned())),
            ("tcp-listen", Some(address)) => {
                address
                    .parse()
                    .map(Self::TcpListen)
                    .map_err(|_| Wrong::Value {
                        meant: listen_meant("tcp-listen:", address),
                    })
            }
            ("file", Some(path)) => PathText::from_text(path)
                .map(|path| Self::File(path.0))
                .ok_or(Wrong::VALUE),
            ("tcp-connect", _) => Err(Wrong::VALUE),
            _ => Err(Wrong::Value {
                meant: scheme_meant(text, &["tcp-connect", "tcp-listen", "file"], "stdin"),
            }),
        }
    }
}

/// The same text with the scheme that its own stands for.
fn scheme_meant(text: &str, schemes: &[&str], word: &str) -> Option<String> {
    let Some((given, rest)) = text.split_once(':') else {
        return near(text, [word]);
    };
    let scheme = near_miss(given, schemes.iter().copied())?;
    Some(format!("\"{scheme}:{}\"", echo(rest)))
}

/// Where the processed records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sink {
    /// The host's standard output.
    Stdout,
    /// A file.
    File(PathBuf),
}

impl fmt::Display for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl Sink {
    /// The same sink, a relative path seen from `folder`.
    pub(super) fn seen_from(self, folder: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(resolve(folder, &path)),
            Self::Stdout => Self::Stdout,
        }
    }
}

impl Scalar for Sink {
    fn wanted() -> String {
        "\"stdout\" or \"file:PATH\"".to_owned()
    }
    fn example() -> String {
        "\"stdout\"".to_owned()
    }
    fn parse(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let DeValue::String(text) = value else {
            return Err(Wrong::TYPE);
        };
        let text: &str = text;
        match (text, text.strip_prefix("file:").map(PathText::from_text)) {
            ("stdout", _) => Ok(Self::Stdout),
            (_, Some(Some(path))) => Ok(Self::File(path.0)),
            (_, Some(None)) => Err(Wrong::VALUE),
            (_, None) => Err(Wrong::Value {
                meant: scheme_meant(text, &["file"], "stdout"),
            }),
        }
    }
}

/// Writes what a text with a grammar of its own is in JSON: a string that matches a pattern.
macro_rules! text_schema {
    ($($name:ident: $pattern:literal),+) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    )+};
}
text_schema!(
    Admin: "^(unix|off|.+:[0-9]+)$",
    Source: "^(stdin|tcp-connect:.+:[0-9]+|tcp-listen:.+:[0-9]+|file:.+)$",
    Sink: "^(stdout|file:.+)$"
);
