//! From a command line to a request of the configuration API. Only what no server could make sense of is refused here.

use super::{Ask, Config, Input, Terms, What, text};
use hotshoe::Problem;
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    fs,
    io::{self, Read as _},
    path::Path,
};

const JSON: &str = "application/json";
const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";

/// More than any listener takes (config-api §12: at most 16 MiB): it shall say so itself.
const INPUT_BYTES_MAX: u64 = 17 << 20;

/// How an answer is shown to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    Value,
    Change,
    Confirmed,
    Difference,
    History,
    Events,
}

impl Show {
    pub(super) fn text(self, body: &Value) -> String {
        match self {
            Self::Value | Self::Events => text::value(body),
            Self::Change => text::change(body),
            Self::Confirmed => text::confirmed(body),
            Self::Difference => text::difference(body),
            Self::History => text::history(body),
        }
    }
}

/// A request that is ready to be sent.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) ask: Ask,
    /// Where the body came from, if an operator wrote it.
    pub(super) input: Option<Input>,
    pub(super) show: Show,
}

/// The request that a command means.
///
/// # Errors
/// `bad-token-file`, `bad-input`.
pub(super) fn prepare(config: &Config) -> Result<Prepared, Problem> {
    let mut prepared = command(&config.what)?;
    if let Some(path) = &config.way.token_file {
        let bearer = format!("Bearer {}", token(path)?);
        prepared.ask.headers.push(("authorization", bearer));
    }
    Ok(prepared)
}

fn command(what: &What) -> Result<Prepared, Problem> {
    Ok(match what {
        What::Get { pointer } => read(config_path(pointer.as_deref()), Show::Value),
        What::Set {
            pointer,
            value,
            terms,
        } => {
            let input = match value.as_str() {
                "-" => stdin()?,
                value => Input {
                    name: "VALUE".to_owned(),
                    bytes: value.as_bytes().to_vec(),
                },
            };
            change("PUT", config_path(pointer.as_deref()), terms).with(JSON, input)
        }
        What::Patch { file, at, terms } => {
            let input = input(file)?;
            let media_type = patch_type(&input.bytes);
            change("PATCH", config_path(at.as_deref()), terms).with(media_type, input)
        }
        What::Delete { pointer, terms } => change("DELETE", config_path(pointer.as_deref()), terms),
        What::Diff { from, to } => {
            let query = query(&[("from", Some(*from)), ("to", *to)]);
            read(format!("/v1/diff{query}"), Show::Difference)
        }
        What::History { limit, before } => {
            let query = query(&[("limit", *limit), ("before", *before)]);
            read(format!("/v1/history{query}"), Show::History)
        }
        What::Rollback { to, terms } => {
            change("POST", "/v1/rollback".to_owned(), terms).naming("to", *to)
        }
        What::Confirm { generation } => {
            let terms = Terms::default();
            let confirm = change("POST", "/v1/confirm".to_owned(), &terms);
            Prepared {
                show: Show::Confirmed,
                ..confirm.naming("generation", *generation)
            }
        }
        What::Watch { value } => {
            let query = if *value { "?include=value" } else { "" };
            read(format!("/v1/watch{query}"), Show::Events)
        }
    })
}

impl Prepared {
    /// With a body that an operator wrote: sent as it is, so that line and column are theirs.
    fn with(mut self, media_type: &str, input: Input) -> Self {
        self.ask
            .headers
            .push(("content-type", media_type.to_owned()));
        self.ask.body.clone_from(&input.bytes);
        self.input = Some(input);
        self
    }

    /// With a body that names a generation, if one is named.
    fn naming(mut self, member: &str, generation: Option<u64>) -> Self {
        if let Some(generation) = generation {
            self.ask.headers.push(("content-type", JSON.to_owned()));
            self.ask.body = json!({ member: generation }).to_string().into_bytes();
        }
        self
    }
}

fn read(path: String, show: Show) -> Prepared {
    let ask = Ask {
        method: "GET",
        path,
        ..Ask::default()
    };
    Prepared {
        ask,
        input: None,
        show,
    }
}

fn change(method: &'static str, path: String, terms: &Terms) -> Prepared {
    let mut ask = Ask {
        method,
        path,
        ..Ask::default()
    };
    if terms.dry_run {
        ask.path.push_str("?dry_run=true");
    } else if let Some(duration) = &terms.confirm {
        ask.path.push_str("?confirm=");
        encode(&mut ask.path, duration);
    }
    if let Some(generation) = terms.if_match {
        ask.headers.push(("if-match", format!("\"{generation}\"")));
    }
    Prepared {
        ask,
        input: None,
        show: Show::Change,
    }
}

fn query(parameters: &[(&str, Option<u64>)]) -> String {
    let given = parameters
        .iter()
        .filter_map(|(name, value)| value.map(|value| format!("{name}={value}")));
    match given.collect::<Vec<_>>().join("&") {
        none if none.is_empty() => none,
        some => format!("?{some}"),
    }
}

/// A pointer as the command line takes it.
pub(super) fn pointer(text: &str) -> Result<String, String> {
    match text.is_empty() || text.starts_with('/') {
        true => Ok(text.to_owned()),
        false => Err(format!("a pointer begins with a slash: /{text}")),
    }
}

/// The path of a part of the value: the pointer's own bytes, but for those that a path cannot hold.
fn config_path(pointer: Option<&str>) -> String {
    let mut path = "/v1/config".to_owned();
    for (at, segment) in pointer.unwrap_or_default().split('/').enumerate() {
        if at > 0 {
            path.push('/');
        }
        encode(&mut path, segment);
    }
    path
}

/// Appends `text`, percent-encoded but for the unreserved characters of RFC 3986 §2.3.
fn encode(path: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                path.push(char::from(byte));
            }
            // Writing to a String cannot fail.
            _ => drop(write!(path, "%{byte:02X}")),
        }
    }
}

/// An array is a list of operations, anything else is merged.
fn patch_type(bytes: &[u8]) -> &'static str {
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') => JSON_PATCH,
        _ => MERGE_PATCH,
    }
}

fn input(file: &Path) -> Result<Input, Problem> {
    if file == Path::new("-") {
        return stdin();
    }
    let name = file.display().to_string();
    let opened = fs::File::open(file);
    let bytes = opened
        .and_then(all)
        .map_err(|error| unread(&name, &error))?;
    Ok(Input { name, bytes })
}

fn stdin() -> Result<Input, Problem> {
    let name = "stdin".to_owned();
    let bytes = all(io::stdin()).map_err(|error| unread(&name, &error))?;
    Ok(Input { name, bytes })
}

fn all(from: impl io::Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(INPUT_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unread(name: &str, error: &io::Error) -> Problem {
    Problem::usage("bad-input", format!("{name} cannot be read: {error}"))
}

/// The first line of a token file. What is in it is never printed.
fn token(path: &Path) -> Result<String, Problem> {
    let refused = |why: &str| {
        let headline = format!("the token file {} cannot be used: {why}", path.display());
        Problem::usage("bad-token-file", headline)
            .wanted("a file whose first line is the token, of letters, digits and -._~+/=")
    };
    let text = fs::read_to_string(path).map_err(|error| refused(&error.to_string()))?;
    let token = text.lines().next().unwrap_or_default().trim_end();
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    match token {
        "" => Err(refused("its first line is empty")),
        token if token.bytes().all(is_token) => Ok(token.to_owned()),
        _ => Err(refused(
            "its first line holds a character that no token has",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_a_path() {
        let check = |pointer: &str, expected: &str| {
            assert_eq!(config_path(Some(pointer)), format!("/v1/config{expected}"));
        };
        check("", "");
        check("/value", "/value");
        check("/a~1b/m~0n/-", "/a~1b/m~0n/-");
        check("/", "/");
        check("/ü b?#%", "/%C3%BC%20b%3F%23%25");
        assert_eq!(
            pointer("value").unwrap_err(),
            "a pointer begins with a slash: /value"
        );
    }

    #[test]
    fn terms_are_query_and_header() {
        let terms = Terms {
            if_match: Some(7),
            dry_run: false,
            confirm: Some("5 m".to_owned()),
        };
        let Prepared { ask, .. } = change("PUT", "/v1/config".to_owned(), &terms);
        assert_eq!(ask.path, "/v1/config?confirm=5%20m");
        assert_eq!(ask.headers, [("if-match", "\"7\"".to_owned())]);
        assert_eq!(query(&[("from", Some(3)), ("to", None)]), "?from=3");
        assert_eq!(query(&[("limit", None), ("before", None)]), "");
    }

    #[test]
    fn a_list_is_operations_and_an_object_is_merged() {
        assert_eq!(patch_type(b" \n[{}]"), JSON_PATCH);
        assert_eq!(patch_type(b"{\"a\":[]}"), MERGE_PATCH);
        assert_eq!(patch_type(b""), MERGE_PATCH);
    }

    #[test]
    fn a_token_is_a_first_line_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "abc.DEF~1=\nold\n").unwrap();
        assert_eq!(token(&path).unwrap(), "abc.DEF~1=");
        for bad in ["", "\nabc\n", "geheim geheim\n"] {
            fs::write(&path, bad).unwrap();
            let problem = token(&path).unwrap_err();
            assert_eq!(problem.code, "bad-token-file");
            assert!(!format!("{problem:#}").contains("geheim"));
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(token(&path).unwrap_err().code, "bad-token-file");
    }
}
