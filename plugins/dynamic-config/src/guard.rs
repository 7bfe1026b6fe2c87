//! Who may ask: the `Host` rule, the peer, the token, the browser rules (config-api §2 steps 3 to 8, §10).
//!
//! Each rule is one function that answers a refusal or nothing. No setting relaxes any of them.

use crate::{
    error::{Problem, Slug},
    token::Tokens,
};
use axum::http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    header::{
        ACCEPT_LANGUAGE, AUTHORIZATION, COOKIE, FORWARDED, HOST, ORIGIN, REFERER,
        UPGRADE_INSECURE_REQUESTS, USER_AGENT, VIA, WWW_AUTHENTICATE,
    },
    uri::Authority,
};
use hotshoe_json::echo;
use std::net::IpAddr;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// `port` is our own: the one that a `Host` may name.
    Tcp { ip: IpAddr, port: u16 },
    /// `trusted`: the host's own user, or root.
    Unix { uid: u32, trusted: bool },
}

impl Peer {
    /// As `by` of a change (config-api §3.1).
    pub(crate) fn name(self) -> String {
        match self {
            Self::Tcp { ip, .. } => format!("tcp:{ip}"),
            Self::Unix { uid, .. } => format!("unix:uid={uid}"),
        }
    }

    /// `None` for this machine, whose peers are not told apart.
    pub(crate) fn key(self) -> Option<PeerKey> {
        match self {
            _ if self.is_local() => None,
            Self::Unix { .. } => None,
            Self::Tcp { ip, .. } => Some(PeerKey(match ip.to_canonical() {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
                IpAddr::V6(ip) => ip.to_bits() >> 64 << 64,
            })),
        }
    }

    pub(crate) fn is_local(self) -> bool {
        match self {
            Self::Tcp { ip, .. } => ip.is_loopback(),
            Self::Unix { .. } => true,
        }
    }
}

/// What peers are told apart by off this machine: an IPv4 address, or the /64 of an IPv6 one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PeerKey(pub(crate) u128);

/// A name that a `Host` header may hold, in whichever case; without a port it is the bound one, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostName {
    name: String,
    port: Option<u16>,
}

impl HostName {
    /// Reads an entry of `allowed_hosts`. Errors: why it is none.
    pub(crate) fn allowed(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("it is empty");
        }
        if text.contains("//") {
            return Err("it is a URL, not a name");
        }
        if text.contains('*') {
            return Err("wildcards are not taken");
        }
        let (name, port) = split(text).ok_or("it is no host name")?;
        Ok(Self {
            name: name.to_owned(),
            port,
        })
    }
}

/// Name and port of `name[:port]`; `None` where it is malformed.
fn split(text: &str) -> Option<(&str, Option<u16>)> {
    let authority = text.parse::<Authority>().ok()?;
    if text.contains('@') || authority.host().is_empty() {
        return None;
    }
    let name = &text[..authority.host().len()];
    match &text[name.len()..] {
        "" => Some((name, None)),
        port => Some((name, Some(port.strip_prefix(':')?.parse().ok()?))),
    }
}

/// Exactly one `Host`, agreeing with an absolute target, and on TCP one that is on the list.
pub(crate) fn host(
    headers: &HeaderMap,
    uri: &Uri,
    peer: Peer,
    allowed: &[HostName],
) -> Result<(), Problem> {
    let refuse = |detail: &str| Err(Problem::new(Slug::BadHost, detail));
    let mut named = headers.get_all(HOST).iter();
    let (Some(only), None) = (named.next(), named.next()) else {
        let count = headers.get_all(HOST).iter().count();
        return refuse(&format!("{count} Host headers, one is wanted"));
    };
    let text = String::from_utf8_lossy(only.as_bytes());
    let Some((name, port)) = split(&text) else {
        return refuse(&format!("Host \"{}\" is malformed", echo(&text)));
    };
    if let Some(target) = uri.authority() {
        if !target.as_str().eq_ignore_ascii_case(&text) {
            return refuse("Host and the request's target name different hosts");
        }
    }
    let Peer::Tcp { port: bound, .. } = peer else {
        return Ok(());
    };
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    // A client leaves out the port that its scheme implies; in front of a proxy only the operator knows which that is.
    let names_bound = port.unwrap_or(80) == bound;
    let ours = names_bound && ["localhost", "127.0.0.1", "[::1]"].into_iter().any(is);
    let listed = |entry: &HostName| {
        is(&entry.name)
            && match entry.port {
                Some(listed) => port.unwrap_or(80) == listed,
                None => port.is_none_or(|port| port == bound),
            }
    };
    if ours || allowed.iter().any(listed) {
        return Ok(());
    }
    let entry = match port {
        Some(port) if port != bound => format!("{name}:{port}"),
        _ => name.to_owned(),
    };
    let detail = format!("Host \"{}\" is not on the list", echo(&text));
    let problem = Problem::new(Slug::HostRefused, detail);
    // An entry that lets this very request pass, as far as a hint may repeat what was sent.
    let add = (echo(&entry) == entry && HostName::allowed(&entry).is_ok())
        .then(|| format!("add \"{entry}\" to allowed_hosts"));
    let ask = peer
        .is_local()
        .then(|| format!("ask for localhost:{bound}"));
    let ways: Vec<String> = ask.into_iter().chain(add).collect();
    Err(match ways.is_empty() {
        true => problem,
        false => problem.hint(ways.join(", or ")),
    })
}

/// A Unix peer is the host's own user, or root.
pub(crate) fn peer(peer: Peer) -> Result<(), Problem> {
    match peer {
        Peer::Unix { uid, trusted } if !trusted => {
            let detail = format!("user {uid} is neither the host's nor root");
            Err(Problem::new(Slug::PeerRefused, detail))
        }
        _ => Ok(()),
    }
}

/// A bearer token, where one is configured.
pub(crate) fn token(headers: &HeaderMap, tokens: &Tokens) -> Result<(), Problem> {
    let refuse = |slug, detail| {
        let hint = "send the header Authorization: Bearer <token>";
        let challenge = HeaderValue::from_static("Bearer");
        Err(Problem::new(slug, detail)
            .hint(hint)
            .header(WWW_AUTHENTICATE, challenge))
    };
    let mut offered = headers.get_all(AUTHORIZATION).iter();
    let bearer = match (offered.next(), offered.next()) {
        (Some(value), None) => bearer(value.as_bytes()),
        (None, _) => None,
        (Some(_), Some(_)) => {
            return refuse(Slug::TokenInvalid, "more than one Authorization header");
        }
    };
    match bearer {
        None => refuse(Slug::TokenRequired, "this address needs a bearer token"),
        Some(token) if tokens.accepts(token) => Ok(()),
        Some(_) => refuse(Slug::TokenInvalid, "the bearer token is not valid"),
    }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"Bearer ";
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    scheme
        .eq_ignore_ascii_case(SCHEME)
        .then(|| token.trim_ascii())
}

/// What a route lets browsers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BrowserRule {
    /// Nothing at all: a plain `GET` changes the value here.
    Strict,
    /// No change.
    Change,
    /// No reading across sites.
    Read,
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses what only a browser, or a proxy in front of one, sends.
pub(crate) fn browser(headers: &HeaderMap, rule: BrowserRule) -> Result<(), Problem> {
    let mark = match rule {
        BrowserRule::Strict => headers
            .iter()
            .find(|(name, value)| marks_strictly(name, value))
            .map(|(name, _)| name.clone()),
        BrowserRule::Change => marked(headers, &[ORIGIN, REFERER, COOKIE]),
        BrowserRule::Read => marked(headers, &[ORIGIN]),
    };
    let Some(mark) = mark else {
        return Ok(());
    };
    let detail = format!(
        "header {} marks a browser request",
        echo(&title_case(&mark))
    );
    let hint = match rule {
        BrowserRule::Strict | BrowserRule::Change => {
            "use a command-line client; browsers may not change configuration"
        }
        BrowserRule::Read => "use a command-line client; pages may not read configuration",
    };
    Err(Problem::new(Slug::BrowserRefused, detail).hint(hint))
}

fn marks_strictly(name: &HeaderName, value: &HeaderValue) -> bool {
    const NAMES: [HeaderName; 10] = [
        ORIGIN,
        REFERER,
        COOKIE,
        HeaderName::from_static("sec-purpose"),
        HeaderName::from_static("purpose"),
        HeaderName::from_static("x-moz"),
        ACCEPT_LANGUAGE,
        UPGRADE_INSECURE_REQUESTS,
        FORWARDED,
        VIA,
    ];
    let word = name.as_str();
    NAMES.contains(name)
        || word.starts_with("sec-fetch-")
        || word.starts_with("x-forwarded-")
        || (name == USER_AGENT && value.as_bytes().starts_with(b"Mozilla/"))
}

fn marked(headers: &HeaderMap, names: &[HeaderName]) -> Option<HeaderName> {
    let named = names
        .iter()
        .find(|name| headers.contains_key(*name))
        .cloned();
    let other_site = || {
        let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
        sites.any(|site| site != "none").then_some(SEC_FETCH_SITE)
    };
    named.or_else(other_site)
}

/// `sec-fetch-site` as people write it.
fn title_case(name: &HeaderName) -> String {
    let mut start = true;
    name.as_str()
        .chars()
        .map(|c| {
            let shown = if start { c.to_ascii_uppercase() } else { c };
            start = c == '-';
            shown
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: Peer = Peer::Tcp {
        ip: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        port: 9999,
    };

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn slug(outcome: Result<(), Problem>) -> &'static str {
        outcome.map_or_else(|problem| problem.slug().word(), |()| "ok")
    }

    #[test]
    fn c07_only_known_hosts_pass() {
        let extra = [
            HostName::allowed("config.example").unwrap(),
            HostName::allowed("other.example:80").unwrap(),
        ];
        for (value, expected) in [
            ("localhost:9999", "ok"),
            ("127.0.0.1:9999", "ok"),
            ("[::1]:9999", "ok"),
            ("config.example:9999", "ok"),
            ("config.example", "ok"),
            ("Config.EXAMPLE:9999", "ok"),
            ("config.example:80", "host-refused"),
            ("config.example:1", "host-refused"),
            ("config.example.", "host-refused"),
            ("LocalHost:9999", "ok"),
            ("other.example", "ok"),
            ("OTHER.example:80", "ok"),
            ("other.example:9999", "host-refused"),
            ("evil.example", "host-refused"),
            ("localhost.:9999", "host-refused"),
            ("localhost:1", "host-refused"),
            ("localhost", "host-refused"),
            ("127.1:9999", "host-refused"),
            ("", "bad-host"),
            ("localhost:", "bad-host"),
            ("localhost:99999", "bad-host"),
            ("a@localhost:9999", "bad-host"),
            ("a b", "bad-host"),
            ("[::1:9999", "bad-host"),
        ] {
            let outcome = host(
                &headers(&[("host", value)]),
                &Uri::from_static("/"),
                LOOPBACK,
                &extra,
            );
            assert_eq!(slug(outcome), expected, "{value}");
        }
        let ask = |pairs: &[(&'static str, &str)], uri: &'static str, peer| {
            slug(host(&headers(pairs), &Uri::from_static(uri), peer, &[]))
        };
        let local = ("host", "localhost:9999");
        assert_eq!(ask(&[], "/", LOOPBACK), "bad-host");
        assert_eq!(ask(&[local, local], "/", LOOPBACK), "bad-host");
        assert_eq!(ask(&[local], "http://localhost:9999/", LOOPBACK), "ok");
        assert_eq!(ask(&[local], "http://evil.example/", LOOPBACK), "bad-host");
        let unix = Peer::Unix {
            uid: 1,
            trusted: true,
        };
        assert_eq!(ask(&[("host", "anything")], "/", unix), "ok");
        assert_eq!(ask(&[], "/", unix), "bad-host");
    }

    /// Whoever does what the hint says is let in.
    #[test]
    fn c07_the_hint_names_the_entry_that_is_missing() {
        let off = Peer::Tcp {
            ip: "192.0.2.1".parse().unwrap(),
            port: 9999,
        };
        let listed = [HostName::allowed("there.example:443").unwrap()];
        for (value, entry) in [
            ("config.example", "config.example"),
            ("Config.Example:9999", "Config.Example"),
            ("config.example:8443", "config.example:8443"),
            ("there.example", "there.example"),
            ("[2001:db8::1]:9999", "[2001:db8::1]"),
        ] {
            let sent = headers(&[("host", value)]);
            let hint = |peer, allowed: &[HostName]| {
                let refused = host(&sent, &Uri::from_static("/"), peer, allowed).unwrap_err();
                let body: serde_json::Value = serde_json::from_slice(&refused.body()).unwrap();
                body["hint"].as_str().unwrap_or_default().to_owned()
            };
            let add = format!("add \"{entry}\" to allowed_hosts");
            assert_eq!(hint(off, &listed), add);
            let local = format!("ask for localhost:9999, or {add}");
            assert_eq!(hint(LOOPBACK, &listed), local);
            let followed = [HostName::allowed(entry).unwrap()];
            let outcome = host(&sent, &Uri::from_static("/"), off, &followed);
            assert_eq!(slug(outcome), "ok", "{value}");
        }
        // One that may not be listed, and one that is too long to be repeated.
        for value in ["*.example".to_owned(), "a".repeat(100)] {
            let sent = headers(&[("host", value.as_str())]);
            let refused = host(&sent, &Uri::from_static("/"), off, &[]).unwrap_err();
            let body = String::from_utf8(refused.body().to_vec()).unwrap();
            assert!(!body.contains("allowed_hosts"), "{body}");
        }
    }

    #[test]
    fn only_plain_names_may_be_allowed() {
        for text in [
            "",
            "*",
            "*.example",
            "http://a",
            "a/b",
            "a:b",
            "a:",
            "a@b",
            "a:70000",
        ] {
            assert!(HostName::allowed(text).is_err(), "{text}");
        }
    }

    #[test]
    fn c05_every_mark_of_a_browser_is_refused_strictly() {
        for (name, value) in [
            ("origin", "null"),
            ("referer", "http://x/"),
            ("cookie", "a=b"),
            ("sec-fetch-site", "none"),
            ("sec-fetch-mode", "navigate"),
            ("sec-purpose", "prefetch"),
            ("purpose", "prefetch"),
            ("x-moz", "prefetch"),
            ("accept-language", "en"),
            ("upgrade-insecure-requests", "1"),
            ("forwarded", "for=1.2.3.4"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-proto", "http"),
            ("via", "1.1 proxy"),
            ("user-agent", "Mozilla/5.0"),
        ] {
            let sent = headers(&[(name, value)]);
            assert_eq!(
                slug(browser(&sent, BrowserRule::Strict)),
                "browser-refused",
                "{name}"
            );
        }
        let curl = headers(&[("user-agent", "curl/7.88.1"), ("accept", "*/*")]);
        assert_eq!(slug(browser(&curl, BrowserRule::Strict)), "ok");
    }

    #[test]
    fn other_routes_refuse_what_pages_cannot_hide() {
        for (name, value, change, read) in [
            ("origin", "null", false, false),
            ("referer", "http://x/", false, true),
            ("cookie", "a=b", false, true),
            ("sec-fetch-site", "cross-site", false, false),
            ("sec-fetch-site", "none", true, true),
            ("accept-language", "en", true, true),
        ] {
            let sent = headers(&[(name, value)]);
            assert_eq!(
                browser(&sent, BrowserRule::Change).is_ok(),
                change,
                "{name}"
            );
            assert_eq!(browser(&sent, BrowserRule::Read).is_ok(), read, "{name}");
        }
        let problem = browser(&headers(&[("origin", "x")]), BrowserRule::Change).unwrap_err();
        let expected = "browser-refused: header Origin marks a browser request";
        assert_eq!(problem.to_string(), expected);
    }

    #[test]
    fn peers_off_this_machine_are_told_apart() {
        let key = |text: &str| {
            let ip = text.parse().unwrap();
            Peer::Tcp { ip, port: 1 }.key()
        };
        assert_eq!(
            (key("127.0.0.1"), key("127.9.9.9"), key("::1")),
            (None, None, None)
        );
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
    }

    #[test]
    fn a_strangers_socket_is_refused() {
        let stranger = |trusted| Peer::Unix { uid: 4, trusted };
        assert_eq!(slug(peer(stranger(false))), "peer-refused");
        assert_eq!(slug(peer(stranger(true))), "ok");
        assert_eq!(stranger(true).name(), "unix:uid=4");
    }

    #[test]
    fn a_bearer_is_read_whatever_the_case_of_its_scheme() {
        assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bearer   abc "), Some(&b"abc"[..]));
        assert_eq!(bearer(b"Basic abc"), None);
        assert_eq!(bearer(b"Bearer"), None);
    }
}
