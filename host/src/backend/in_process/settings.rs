//! An instance's settings and their check against the plugin's own schema, with the place of whatever does not fit.

use crate::error::{self, ExitCode, Place, Problem};
use serde_json::Value;

/// An instance's settings, and where each stands in the config.
pub(crate) struct Settings {
    pub(crate) value: Value,
    /// The place of a JSON pointer's value, where there is a file.
    pub(crate) place: Box<dyn Fn(&str) -> Option<Place> + Send + Sync>,
    /// Whether what a pointer names must not be printed.
    pub(crate) hidden: Box<dyn Fn(&str) -> bool + Send + Sync>,
}

/// Checks an instance's settings against its plugin's own schema: every violation, each with its place, in one problem.
pub(crate) fn check_settings(instance: &str, schema: &str, settings: &Settings) -> Result<(), Problem> {
    let broken = |why: String| {
        let headline = format!("plugin `{instance}`: the schema of its settings is broken: {why}");
        Problem::error(ExitCode::Refused, error::Blame::Plugin, "schema-invalid", headline)
    };
    let schema: serde_json::Value = serde_json::from_str(schema).map_err(|error| broken(error.to_string()))?;
    let validator = jsonschema::validator_for(&schema).map_err(|error| broken(error.to_string()))?;
    let mut faults = validator.iter_errors(&settings.value);
    let Some(first) = faults.next() else { return Ok(()) };
    let (pointer, mut text) = explain(&first);
    if (settings.hidden)(&pointer) {
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
    let mut problem = Problem::usage("settings-invalid", format!("plugin `{instance}`: {key}: {text}{more}"))
        .fix(format!("`hotshoe inspect --schema` on the library of `{instance}` shows what its settings may be"));
    problem.at = (settings.place)(&pointer);
    if let Some(keys) = known_keys(&schema, &pointer) {
        problem = problem.wanted(keys);
    }
    Err(problem)
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
                (format!("{at}/{escaped}"), format!("`{key}` is not a key of these settings"))
            }
            None => (at, error.to_string()),
        },
        _ => (at, error.to_string()),
    }
}

/// The keys that the schema knows where an unknown one was found at the top.
fn known_keys(schema: &serde_json::Value, pointer: &str) -> Option<String> {
    let key = pointer.strip_prefix('/').filter(|key| !key.contains('/'))?;
    let known = schema.get("properties")?.as_object()?;
    if known.contains_key(key) {
        return None;
    }
    let names: Vec<&str> = known.keys().map(String::as_str).collect();
    Some(match error::near_misses(key, names.iter().copied()).first() {
        Some(near) => format!("one of {}; did you mean `{near}`?", names.join(", ")),
        None => format!("one of {}", names.join(", ")),
    })
}
