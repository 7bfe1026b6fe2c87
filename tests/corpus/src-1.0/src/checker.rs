//! The checker: refuses one value.

use hotshoe_plugin_api::{
    CheckerPart, Context, Result, Verdict,
    serde_json::{self, Value},
    tracing,
};

/// The value that nobody may set.
pub(crate) struct Checker(pub(crate) Option<i64>);

impl CheckerPart for Checker {
    fn init(&mut self, _: Context) -> Result<()> {
        tracing::info!("checker init");
        Ok(())
    }

    fn check(&mut self, topic: &str, candidate: &[u8], current: &[u8]) -> Result<Verdict> {
        let candidate: Value = serde_json::from_slice(candidate)?;
        let current: Value = serde_json::from_slice(current)?;
        Ok(match candidate["value"].as_i64() {
            Some(value) if Some(value) == self.0 => Verdict::veto(
                "/value",
                format!(
                    "{topic} stays at {}, for {value} is barred",
                    current["value"]
                ),
            ),
            _ => Verdict::Ok,
        })
    }
}
