//! What a request says beside its body: query, preconditions, media type (config-api §2 steps 10 and 11, §3).
//!
//! Everything is checked before it is used; a name or form that is not known is refused, never ignored.

use crate::{
    contract::Parameter,
    error::{Problem, Slug},
};
use axum::http::{
    HeaderMap, HeaderName,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use hotshoe_json::echo;
use hotshoe_plugin_api::Change;
use std::time::Duration;

/// Bytes of a query (config-api §12).
const QUERY_BYTES_MAX: usize = 1_024;
/// Entries of one history page.
const PAGE_MAX: u64 = 1_000;
/// Confirm times, in seconds (config-api §3).
const CONFIRM_S: std::ops::RangeInclusive<u64> = 5..=86_400;

/// The parameters of a query, each at most once, as they were written.
#[derive(Debug, Default)]
pub(crate) struct Query<'q>(Vec<(&'q str, &'q str)>);

impl<'q> Query<'q> {
    /// Errors: `unknown-query` for a name that is not in `known`, `bad-query` for one that comes twice.
    pub(crate) fn parse(query: Option<&'q str>, known: &[Parameter]) -> Result<Self, Problem> {
        let query = query.unwrap_or_default();
        if query.len() > QUERY_BYTES_MAX {
            let detail = format!("the query is longer than {QUERY_BYTES_MAX} bytes");
            return Err(Problem::new(Slug::BadQuery, detail));
        }
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        let mut twice = None;
        for pair in query.split('&').filter(|_| !query.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !known.iter().any(|parameter| parameter.name() == name) {
                let detail = format!("this route has no parameter \"{}\"", echo(name));
                let mut problem = Problem::new(Slug::UnknownQuery, detail);
                if !known.is_empty() {
                    let names: Vec<&str> = known.iter().map(|one| one.name()).collect();
                    problem = problem.hint(format!("it has: {}", names.join(", ")));
                }
                return Err(problem);
            }
            if pairs.iter().any(|(earlier, _)| *earlier == name) {
                twice.get_or_insert(name);
            }
            pairs.push((name, value));
        }
        match twice {
            Some(name) => Err(bad_query(name, "comes twice")),
            None => Ok(Self(pairs)),
        }
    }

    fn get(&self, parameter: Parameter) -> Option<&'q str> {
        let name = parameter.name();
        let mut pairs = self.0.iter();
        pairs.find(|(own, _)| *own == name).map(|(_, value)| *value)
    }

    fn number(&self, parameter: Parameter) -> Result<Option<u64>, Problem> {
        let read =
            |text| decimal(text).ok_or_else(|| bad_query(parameter.name(), "is no plain number"));
        self.get(parameter).map(read).transpose()
    }

    fn flag(&self, parameter: Parameter) -> Result<bool, Problem> {
        match self.get(parameter) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(bad_query(parameter.name(), "is true or false")),
        }
    }
}

fn bad_query(name: &str, why: &str) -> Problem {
    Problem::new(Slug::BadQuery, format!("parameter \"{name}\" {why}"))
}

/// A decimal u64 without sign or leading zero.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with('0');
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (canonical && digits).then(|| text.parse().ok())?
}

/// How a change is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Manner {
    pub(crate) dry_run: bool,
    /// It goes back by itself after so long, unless confirmed.
    pub(crate) confirm: Option<Duration>,
}

/// What a changing route's query asks for.
///
/// Errors: `bad-query`, `scope-not-available`.
pub(crate) fn manner(query: &Query<'_>) -> Result<Manner, Problem> {
    let dry_run = query.flag(Parameter::DryRun)?;
    let read = |text| {
        let why = "is a time from 5s to 24h, as 90s, 10m or 1h";
        confirm_s(text).ok_or_else(|| bad_query("confirm", why))
    };
    let confirm_s = query.get(Parameter::Confirm).map(read).transpose()?;
    if dry_run && confirm_s.is_some() {
        return Err(bad_query("confirm", "does not go with dry_run"));
    }
    match (query.get(Parameter::Scope), query.get(Parameter::Canary)) {
        (None | Some("host"), None) => {}
        (Some("fleet"), _) => {
            let detail = "this version changes one host at a time";
            return Err(Problem::new(Slug::ScopeNotAvailable, detail));
        }
        (None | Some("host"), Some(_)) => {
            return Err(bad_query("canary", "needs scope=fleet"));
        }
        (Some(_), _) => return Err(bad_query("scope", "is host or fleet")),
    }
    Ok(Manner {
        dry_run,
        confirm: confirm_s.map(Duration::from_secs),
    })
}

fn confirm_s(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return None,
    };
    let seconds = decimal(digits).filter(|_| digits.len() <= 6)? * factor;
    CONFIRM_S.contains(&seconds).then_some(seconds)
}

/// A page of the history: at most `limit` entries below `before`.
pub(crate) fn page(query: &Query<'_>) -> Result<(Option<u64>, u32), Problem> {
    let limit = query.number(Parameter::Limit)?.unwrap_or(50);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(bad_query("limit", "is a number from 1 to 1000"));
    }
    let before = query.number(Parameter::Before)?;
    Ok((before, u32::try_from(limit).unwrap_or(u32::MAX)))
}

/// The two ends of a diff; without the second, the current generation.
pub(crate) fn ends(query: &Query<'_>) -> Result<(u64, Option<u64>), Problem> {
    let from = query.number(Parameter::From)?;
    let from = from.ok_or_else(|| bad_query("from", "is missing"))?;
    Ok((from, query.number(Parameter::To)?))
}

/// How a watcher wants its events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct WatchManner {
    pub(crate) with_value: bool,
    /// It may be shown the newest generation alone.
    pub(crate) coalesce: bool,
}

pub(crate) fn watch(query: &Query<'_>) -> Result<WatchManner, Problem> {
    let with_value = match query.get(Parameter::Include) {
        None => false,
        Some("value") => true,
        Some(_) => return Err(bad_query("include", "is value")),
    };
    Ok(WatchManner {
        with_value,
        coalesce: query.flag(Parameter::Coalesce)?,
    })
}

/// Where a watcher was: the generation in `Last-Event-ID`.
pub(crate) fn last_event(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    const NAME: HeaderName = HeaderName::from_static("last-event-id");
    let mut lines = headers.get_all(NAME).iter();
    let text = match (lines.next(), lines.next()) {
        (None, _) => return Ok(None),
        (Some(line), None) => String::from_utf8_lossy(line.as_bytes()),
        (Some(_), Some(_)) => {
            let detail = "more than one Last-Event-ID";
            return Err(Problem::new(Slug::BadHeader, detail));
        }
    };
    match decimal(&text) {
        Some(generation) => Ok(Some(generation)),
        None => {
            let detail = format!("Last-Event-ID is no generation: {}", echo(&text));
            Err(Problem::new(Slug::BadHeader, detail))
        }
    }
}

/// A precondition header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tags {
    /// `*`.
    Any,
    /// A list; what names no generation is 0, which is none.
    List(Vec<Tag>),
}

/// An entity tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag {
    weak: bool,
    generation: u64,
}

impl Tags {
    /// Reads all lines of the header `name`; `None` where there is none.
    pub(crate) fn read(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, Problem> {
        let lines: Vec<_> = headers.get_all(name).iter().collect();
        if lines.is_empty() {
            return Ok(None);
        }
        let mut list = Vec::new();
        for line in &lines {
            let bytes = line.as_bytes().trim_ascii();
            if bytes == b"*" && lines.len() == 1 {
                return Ok(Some(Self::Any));
            }
            if !read_tags(bytes, &mut list) {
                return Err(bad_tags(name, bytes));
            }
        }
        match list.is_empty() {
            true => Err(bad_tags(name, b"")),
            false => Ok(Some(Self::List(list))),
        }
    }

    /// The generations that `If-Match` admits, as the store takes them: weak tags never match, so a list of nothing else
    /// admits none.
    pub(crate) fn strong(&self) -> Vec<u64> {
        match self {
            Self::Any => vec![Change::ANY],
            Self::List(tags) => {
                let strong = tags.iter().filter(|tag| !tag.weak);
                let mut named: Vec<u64> = strong.map(|tag| tag.generation).collect();
                if named.is_empty() {
                    named.push(0);
                }
                named
            }
        }
    }

    /// Whether `If-None-Match` finds `generation`: weak tags count there.
    pub(crate) fn finds(&self, generation: u64) -> bool {
        match self {
            Self::Any => true,
            Self::List(tags) => tags.iter().any(|tag| tag.generation == generation),
        }
    }
}

fn bad_tags(name: &HeaderName, line: &[u8]) -> Problem {
    let shown = echo(&String::from_utf8_lossy(line));
    let detail = format!("{name} is no list of quoted tags: {shown}");
    Problem::new(Slug::BadHeader, detail).hint(format!("send {name}: \"<generation>\""))
}

/// A comma-separated list of entity tags (RFC 9110 §8.8.3); empty elements are skipped.
fn read_tags(line: &[u8], list: &mut Vec<Tag>) -> bool {
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        if let Some(more) = rest.strip_prefix(b",") {
            rest = more;
            continue;
        }
        if rest.is_empty() {
            return true;
        }
        let weak = rest.starts_with(b"W/");
        let Some(quoted) = rest[if weak { 2 } else { 0 }..].strip_prefix(b"\"") else {
            return false;
        };
        let Some(end) = quoted.iter().position(|byte| *byte == b'"') else {
            return false;
        };
        let opaque = &quoted[..end];
        let legal = |byte: &u8| *byte > 0x20 && *byte != 0x7f;
        if !opaque.iter().all(legal) {
            return false;
        }
        let text = std::str::from_utf8(opaque).unwrap_or_default();
        list.push(Tag {
            weak,
            // The store takes the highest number for `*`; no generation has it.
            generation: decimal(text)
                .filter(|named| *named != Change::ANY)
                .unwrap_or(0),
        });
        rest = quoted[end + 1..].trim_ascii_start();
        if !rest.is_empty() && !rest.starts_with(b",") {
            return false;
        }
    }
}

/// The media type of a body is one of `allowed`; which one, is answered.
pub(crate) fn media_type<'a>(headers: &HeaderMap, allowed: &[&'a str]) -> Result<&'a str, Problem> {
    let refuse = |detail: String| {
        let hint = format!("add -H 'Content-Type: {}'", allowed[0]);
        Problem::new(Slug::UnsupportedMediaType, detail).hint(hint)
    };
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let text = match (types.next(), types.next()) {
        (None, _) => return Err(refuse("Content-Type is missing".to_owned())),
        (Some(_), Some(_)) => return Err(refuse("more than one Content-Type".to_owned())),
        (Some(only), None) => String::from_utf8_lossy(only.as_bytes()),
    };
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let found = allowed
        .iter()
        .find(|word| word.eq_ignore_ascii_case(essence));
    let other_charset = parts.any(|parameter| {
        parameter.split_once('=').is_some_and(|(name, value)| {
            let value = value.trim_matches('"');
            name.eq_ignore_ascii_case("charset") && !value.eq_ignore_ascii_case("utf-8")
        })
    });
    match found {
        Some(word) if !other_charset => Ok(word),
        _ => Err(refuse(format!("Content-Type is {}", echo(&text)))),
    }
}

/// No content coding but `identity`.
pub(crate) fn content_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    match codings.find(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        None => Ok(()),
        Some(coding) => {
            let shown = echo(&String::from_utf8_lossy(coding.as_bytes()));
            let detail = format!("Content-Encoding is {shown}");
            let hint = "send the body as it is";
            Err(Problem::new(Slug::UnsupportedMediaType, detail).hint(hint))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::header::IF_MATCH;

    fn slug<T>(outcome: Result<T, Problem>) -> &'static str {
        outcome.map_or_else(|problem| problem.slug().word(), |_| "ok")
    }

    const CHANGE: [Parameter; 4] = [
        Parameter::DryRun,
        Parameter::Confirm,
        Parameter::Scope,
        Parameter::Canary,
    ];

    #[test]
    fn c24_a_query_is_known_and_well_formed() {
        for (text, expected) in [
            ("", "ok"),
            ("dry_run=true", "ok"),
            ("dry_run=false&scope=host", "ok"),
            ("dryrun=true", "unknown-query"),
            ("&dry_run=true", "unknown-query"),
            ("dry_run=1", "bad-query"),
            ("dry_run", "bad-query"),
            ("dry_run=true&dry_run=true", "bad-query"),
            ("dry_run=true&confirm=60s", "bad-query"),
            ("confirm=4s", "bad-query"),
            ("confirm=05s", "bad-query"),
            ("confirm=25h", "bad-query"),
            ("confirm=s", "bad-query"),
            ("confirm=ä", "bad-query"),
            ("confirm=60s", "ok"),
            ("confirm=24h", "ok"),
            ("scope=fleet", "scope-not-available"),
            ("scope=fleet&canary=10%", "scope-not-available"),
            ("canary=10%", "bad-query"),
            ("scope=x", "bad-query"),
        ] {
            let query = (!text.is_empty()).then_some(text);
            let outcome = Query::parse(query, &CHANGE).and_then(|query| manner(&query));
            assert_eq!(slug(outcome), expected, "{text}");
        }
        assert_eq!(slug(Query::parse(Some("a"), &[])), "unknown-query");
        assert_eq!(slug(Query::parse(Some(""), &[])), "ok");
        let long = "a".repeat(1_025);
        assert_eq!(slug(Query::parse(Some(&long), &[])), "bad-query");
    }

    #[test]
    fn c26_a_change_may_have_to_be_confirmed() {
        let read = |text| Query::parse(Some(text), &CHANGE).and_then(|query| manner(&query));
        for (text, seconds) in [
            ("confirm=5s", 5),
            ("confirm=2m", 120),
            ("confirm=1h", 3_600),
        ] {
            let confirm = read(text).unwrap().confirm;
            assert_eq!(confirm, Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(read("scope=host").unwrap(), Manner::default());
    }

    #[test]
    fn c35_a_watcher_says_where_it_was() {
        let read = |lines: &[&str]| {
            let name = HeaderName::from_static("last-event-id");
            let pairs = lines
                .iter()
                .map(|line| (name.clone(), line.parse().unwrap()));
            last_event(&pairs.collect())
        };
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&["2"]).unwrap(), Some(2));
        assert_eq!(read(&["0"]).unwrap(), Some(0));
        for lines in [
            &["x"][..],
            &[""],
            &["-1"],
            &["01"],
            &["1", "2"],
            &["18446744073709551616"],
        ] {
            assert_eq!(slug(read(lines)), "bad-header", "{lines:?}");
        }
        let known = [Parameter::Include, Parameter::Coalesce];
        let read = |text| Query::parse(Some(text), &known).and_then(|query| watch(&query));
        let wanted = WatchManner {
            with_value: true,
            coalesce: true,
        };
        assert_eq!(read("include=value&coalesce=true").unwrap(), wanted);
        assert_eq!(slug(read("include=by")), "bad-query");
        assert_eq!(slug(read("coalesce=1")), "bad-query");
    }

    #[test]
    fn a_page_has_a_limit() {
        let page = |text| {
            Query::parse(Some(text), &[Parameter::Limit, Parameter::Before]).and_then(|q| page(&q))
        };
        assert_eq!(page("").unwrap(), (None, 50));
        assert_eq!(page("limit=1000&before=7").unwrap(), (Some(7), 1_000));
        for text in [
            "limit=0",
            "limit=1001",
            "limit=01",
            "limit=+1",
            "before=x",
            "before=",
        ] {
            assert_eq!(slug(page(text)), "bad-query", "{text}");
        }
    }

    #[test]
    fn c10_a_precondition_is_any_or_a_list_of_tags() {
        let read = |value: &str| {
            let headers = HeaderMap::from_iter([(IF_MATCH, value.parse().unwrap())]);
            Tags::read(&headers, &IF_MATCH).map(|tags| tags.unwrap().strong())
        };
        for (value, expected) in [
            ("*", &[Change::ANY][..]),
            ("\"12\"", &[12]),
            ("W/\"12\"", &[0]),
            ("W/\"1\", \"2\" ,\"3\"", &[2, 3]),
            ("\"012\"", &[0]),
            ("\"abc\"", &[0]),
            ("\"99999999999999999999\"", &[0]),
            ("\"18446744073709551615\"", &[0]),
            (",\"1\",,", &[1]),
        ] {
            assert_eq!(read(value).unwrap(), expected, "{value}");
        }
        for value in [
            "1",
            "\"1",
            "1\"",
            "\"1\" \"2\"",
            "*, \"1\"",
            "w/\"1\"",
            "\"a b\"",
            ",",
            "",
        ] {
            assert_eq!(slug(read(value)), "bad-header", "{value}");
        }
        let two = HeaderMap::from_iter([
            (IF_MATCH, "\"1\"".parse().unwrap()),
            (IF_MATCH, "\"2\"".parse().unwrap()),
        ]);
        // `from_iter` of a HeaderMap appends.
        let tags = Tags::read(&two, &IF_MATCH).unwrap().unwrap();
        assert_eq!(tags.strong(), [1, 2]);
        assert!(Tags::Any.finds(7) && tags.finds(2) && !tags.finds(3));
    }

    #[test]
    fn c23_only_known_media_types_pass() {
        let read = |values: &[&str]| {
            let pairs = values
                .iter()
                .map(|value| (CONTENT_TYPE, value.parse().unwrap()));
            let headers: HeaderMap = pairs.collect();
            media_type(&headers, &["application/json"])
        };
        for values in [
            &["application/json"][..],
            &["Application/JSON"],
            &["application/json; charset=UTF-8"],
            &["application/json;charset=\"utf-8\""],
        ] {
            assert_eq!(read(values).unwrap(), "application/json");
        }
        for values in [
            &[][..],
            &["text/plain"],
            &["application/x-www-form-urlencoded"],
            &["application/json; charset=latin1"],
            &["application/json", "application/json"],
            &["application/json+x"],
        ] {
            assert_eq!(slug(read(values)), "unsupported-media-type", "{values:?}");
        }
        let gzip = HeaderMap::from_iter([(CONTENT_ENCODING, "gzip".parse().unwrap())]);
        assert_eq!(slug(content_encoding(&gzip)), "unsupported-media-type");
        let plain = HeaderMap::from_iter([(CONTENT_ENCODING, "identity".parse().unwrap())]);
        assert_eq!(slug(content_encoding(&plain)), "ok");
    }
}
