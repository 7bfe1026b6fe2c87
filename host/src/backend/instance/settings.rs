//! An instance's settings and their check against the plugin's own schema, with the place of whatever does not fit.

use crate::error::{self, ExitCode, Place, Problem};
use serde_json::Value;

/// Finds the place of a JSON pointer.
pub(crate) type PlaceOf = Box<dyn Fn(&str) -> Option<Place> + Send + Sync>;

/// Says whether what a JSON pointer names is a secret.
pub(crate) type Hides = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// An instance's settings, and where each stands in the config.
pub(crate) struct Settings {
    pub(crate) value: Value,
    /// The place of a JSON pointer's value, where there is a file.
    pub(crate) place: PlaceOf,
    /// Whether what a pointer names must not be printed.
    pub(crate) hidden: Hides,
}

/// Checks an instance's settings against its plugin's own schema: every violation, each with its place, in one problem.
pub(crate) fn check_settings(
    instance: &str,
    schema: &str,
    settings: &Settings,
) -> Result<(), Problem> {
    let broken = |why: String| {
        let headline = format!("plugin `{instance}`: the schema of its settings is broken: {why}");
        Problem::error(
            ExitCode::Refused,
            error::Blame::Plugin,
            "schema-invalid",
            headline,
        )
    };
    let schema: serde_json::Value =
        serde_json::from_str(schema).map_err(|error| broken(error.to_string()))?;
    let validator =
        jsonschema::validator_for(&schema).map_err(|error| broken(error.to_string()))?;
    let mut faults = validator.iter_errors(&settings.value);
    let Some(first) = faults.next() else {
        return Ok(());
    };
    let (pointer, mut text) = explain(&first);
    let hidden = (settings.hidden)(&pointer);
    if hidden {
        "a secret value does not fit the schema".clone_into(&mut text);
    }
    let more = match faults.count() {
        0 => String::new(),
        n => format!(" (and {n} more)"),
    };
    let key = match pointer.trim_start_matches('/').replace('/', ".") {
        key if key.is_empty() => "settings".to_owned(),
        key => format!("settings.{key}"),
    };
    let headline = format!("plugin `{instance}`: {key}: {}{more}", short(&text, 200));
    let mut problem = Problem::usage("settings-invalid", headline).fix(format!(
        "change it; `hotshoe inspect --schema` on the library of `{instance}` shows what its settings may be"
    ));
    if let Some(wanted) = known_keys(&schema, &pointer).or_else(|| fitting(&schema, &pointer)) {
        problem = problem.wanted(wanted);
    }
    if let Some(found) = settings.value.pointer(&pointer).filter(|_| !hidden) {
        problem = problem.found(short(&found.to_string(), 64));
    }
    Err(match (settings.place)(&pointer) {
        Some(at) => problem.in_file(at),
        None => problem,
    })
}

/// At most `len` characters of what somebody else wrote, control characters escaped.
fn short(text: &str, len: usize) -> String {
    let mut escaped = text.chars().flat_map(|c| match c.is_control() {
        true => c.escape_default().collect::<Vec<_>>(),
        false => vec![c],
    });
    let mut shown: String = escaped.by_ref().take(len).collect();
    if escaped.next().is_some() {
        shown.push('…');
    }
    shown
}

/// What the schema says of the value at a pointer, without its description.
fn fitting(schema: &Value, pointer: &str) -> Option<String> {
    let mut wanted = part(schema, pointer)?.clone();
    if let Some(members) = wanted.as_object_mut() {
        for told_elsewhere in ["$schema", "$defs", "description", "title"] {
            members.remove(told_elsewhere);
        }
    }
    Some(format!(
        "a value that fits {}",
        short(&wanted.to_string(), 160)
    ))
}

/// The part of a schema that is about the value at a pointer: through properties, items and local references.
fn part<'a>(schema: &'a Value, pointer: &str) -> Option<&'a Value> {
    let mut at = resolved(schema, schema)?;
    for segment in pointer.split('/').skip(1) {
        let key = segment.replace("~1", "/").replace("~0", "~");
        let next = at
            .get("properties")
            .and_then(|known| known.get(&key))
            .or_else(|| at.get("items"))?;
        at = resolved(schema, next)?;
    }
    Some(at)
}

/// Follows local references, a few of them: a schema that goes in a circle says nothing.
fn resolved<'a>(schema: &'a Value, mut at: &'a Value) -> Option<&'a Value> {
    const REFERENCES_MAX: usize = 16;
    for _ in 0..REFERENCES_MAX {
        match at.get("$ref").and_then(Value::as_str) {
            Some(reference) => at = schema.pointer(reference.strip_prefix('#')?)?,
            None => return Some(at),
        }
    }
    None
}

/// The offending place and what is wrong; for an unknown key, that key's.
fn explain(error: &jsonschema::ValidationError<'_>) -> (String, String) {
    use jsonschema::error::ValidationErrorKind;
    let at = error.instance_path().to_string();
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => match unexpected.first() {
            Some(key) => {
                let escaped = key.replace('~', "~0").replace('/', "~1");
                (
                    format!("{at}/{escaped}"),
                    format!("`{key}` is not a key of these settings"),
                )
            }
            None => (at, error.to_string()),
        },
        _ => (at, error.to_string()),
    }
}

/// The keys that the schema knows where an unknown one was found.
fn known_keys(schema: &Value, pointer: &str) -> Option<String> {
    let (object, key) = pointer.rsplit_once('/')?;
    let known = part(schema, object)?.get("properties")?.as_object()?;
    if known.contains_key(key) {
        return None;
    }
    let names: Vec<&str> = known.keys().map(String::as_str).collect();
    Some(
        match error::near_misses(key, names.iter().copied()).first() {
            Some(near) => format!("one of {}; did you mean `{near}`?", names.join(", ")),
            None => format!("one of {}", names.join(", ")),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(settings: Value) -> Problem {
        let schema = json!({
            "type": "object",
            "properties": {
                "port": { "type": "integer", "minimum": 1, "description": "where" },
                "acts": { "type": "array", "items": { "$ref": "#/$defs/Act" } },
            },
            "additionalProperties": false,
            "$defs": {
                "Act": { "type": "object", "properties": { "times": { "type": "integer" } }, "additionalProperties": false },
            },
        });
        let settings = Settings {
            value: settings,
            place: Box::new(|_| {
                Some(Place {
                    file: "h.toml".into(),
                    line: 3,
                    column: 1,
                })
            }),
            hidden: Box::new(|pointer| pointer == "/secret"),
        };
        check_settings("p", &schema.to_string(), &settings).unwrap_err()
    }

    #[test]
    fn a_wrong_value_says_what_would_fit_and_what_was_there() {
        let problem = check(json!({ "port": "x" }));
        assert_eq!(
            problem.headline,
            "plugin `p`: settings.port: \"x\" is not of type \"integer\" (h.toml:3)"
        );
        assert_eq!(
            problem.wanted.unwrap(),
            r#"a value that fits {"minimum":1,"type":"integer"}"#
        );
        assert_eq!(problem.found.unwrap(), "\"x\"");
    }

    #[test]
    fn an_unknown_key_is_named_with_the_nearest_known_one() {
        let problem = check(json!({ "prot": 1 }));
        assert_eq!(
            problem.wanted.unwrap(),
            "one of acts, port; did you mean `port`?"
        );
        let problem = check(json!({ "acts": [{ "tims": 1 }] }));
        assert_eq!(
            problem.wanted.unwrap(),
            "one of times; did you mean `times`?"
        );
        assert!(
            problem.headline.contains("settings.acts.0.tims"),
            "{}",
            problem.headline
        );
    }

    #[test]
    fn a_secret_is_not_printed() {
        let problem = check(json!({ "secret": "hunter2" }));
        assert!(!format!("{problem:#}").contains("hunter2"), "{problem:#}");
    }
}
