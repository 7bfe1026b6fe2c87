//! The demo's processor: appends to each record what a pointer names in another instance's live configuration.
//!
//! The suffix is decoded once per change, never per record: a record costs one copy of itself and one of the suffix. A value
//! without the pointer is refused at init; one that comes later leaves the last good suffix in place, and the host is told.
#![forbid(unsafe_code)]

use hotshoe_plugin_api::{
    Batch, Context, Error, Live, Output, Plugin, Processor, Result, export_plugin, serde_json,
};
use serde_json::Value;

/// `[plugin.settings]` of an instance.
#[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The instance whose configuration is appended.
    #[schemars(length(min = 1))]
    pub topic: String,
    /// What is appended of it: an RFC 6901 pointer; "" is the whole value.
    #[serde(default = "default_pointer")]
    #[schemars(regex(pattern = "^(/.*)?$"))]
    pub pointer: String,
}

fn default_pointer() -> String {
    "/value".to_owned()
}

/// The plugin. One processor per executor, nothing else.
#[derive(Debug)]
pub struct Append(Settings);

impl Plugin for Append {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        Ok(Self(settings))
    }

    fn processor(&mut self) -> Option<Box<dyn Processor>> {
        Some(Box::new(Appender {
            settings: self.0.clone(),
            suffix: None,
        }))
    }
}

struct Appender {
    settings: Settings,
    /// There from `init` on.
    suffix: Option<Live<Vec<u8>>>,
}

impl Processor for Appender {
    fn init(&mut self, ctx: Context) -> Result<()> {
        let Settings { topic, pointer } = self.settings.clone();
        let suffix = ctx.live_with(&topic, move |document| suffix_of(document, &pointer))?;
        self.suffix = Some(suffix);
        Ok(())
    }

    fn process(&mut self, batch: &Batch<'_>, out: &mut Output<'_>) -> Result<()> {
        let live = self.suffix.as_mut();
        // One generation for the whole batch: whatever changes meanwhile shows in the next one.
        let suffix = live
            .ok_or_else(|| Error::new("init was not called"))?
            .at(batch)?;
        for record in batch {
            out.push_parts(&[record, suffix]);
        }
        Ok(())
    }
}

/// What is appended: a string's text as it is, anything else as compact JSON.
fn suffix_of(document: &[u8], pointer: &str) -> Result<Vec<u8>> {
    let document: Value = serde_json::from_slice(document)?;
    match document.pointer(pointer) {
        Some(Value::String(text)) => Ok(text.clone().into_bytes()),
        Some(value) => Ok(serde_json::to_vec(value)?),
        None => Err(Error::new(format!("`{pointer}` names nothing in it"))
            .with_code("no-such-pointer")
            .with_fix("set `pointer` to an RFC 6901 pointer into the topic's value")),
    }
}

export_plugin!(Append as "append": processor);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_its_text_and_all_else_compact_json() {
        let document = br#"{"value":10,"text":"a \"b\"","list":[1, {"x":null}],"a/b":true}"#;
        let check = |pointer: &str, expected: &str| {
            let suffix = suffix_of(document, pointer).unwrap();
            assert_eq!(String::from_utf8(suffix).unwrap(), expected, "{pointer}");
        };
        check("/value", "10");
        check("/text", "a \"b\"");
        check("/list", r#"[1,{"x":null}]"#);
        check("/list/1", r#"{"x":null}"#);
        check("/a~1b", "true");
        let whole = suffix_of(b" \"text\" ", "").unwrap();
        assert_eq!(whole, b"text");
    }

    #[test]
    fn a_pointer_to_nothing_says_so() {
        let error = suffix_of(br#"{"value":10}"#, "/valeu").unwrap_err();
        assert_eq!(error.code(), "no-such-pointer");
        assert!(error.to_string().contains("`/valeu`"), "{error}");
    }

    #[test]
    fn the_manifest_says_append_and_processor() {
        let entry = hotshoe_plugin_api::entry!(Append);
        let manifest = std::str::from_utf8(entry.manifest).unwrap();
        assert!(manifest.contains("\nname=append\n"), "{manifest}");
        assert!(manifest.contains("\ncomponents=processor\n"), "{manifest}");
    }
}
