//! Shouts: every record in capital letters, with what the operator wants behind it.
#![forbid(unsafe_code)]
use hotshoe_plugin_api::*;

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Stands behind each record.
    mark: String,
}

struct Shout(String);

impl Plugin for Shout {
    type Settings = Settings;
    fn new(settings: Settings) -> Result<Self> {
        Ok(Self(settings.mark))
    }
    fn processor(&mut self) -> Option<Box<dyn Processor>> {
        Some(Box::new(Self(self.0.clone())))
    }
}

impl Processor for Shout {
    fn process(&mut self, batch: &Batch<'_>, out: &mut Output<'_>) -> Result<()> {
        for record in batch {
            out.push_parts(&[&record.to_ascii_uppercase(), self.0.as_bytes()]);
        }
        Ok(())
    }
}

export_plugin!(Shout: processor);
