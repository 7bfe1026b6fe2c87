//! The driver: owns a topic, sets it to what it is told, and counts how often it was asked.

use hotshoe_plugin_api::{
    Context, Counter, DriverPlugin, Error, ExtraConf, Result,
    serde_json::{self, json},
    tracing,
};

pub(crate) struct Driver {
    /// The topic's first value; none for an instance without a topic.
    pub(crate) initial: Option<i64>,
    pub(crate) started: Option<(Context, Option<Counter>)>,
}

impl DriverPlugin for Driver {
    fn init(&mut self, ctx: Context) -> Result<ExtraConf> {
        let Some(initial) = self.initial else {
            return Ok(ExtraConf::from([("colour".to_owned(), "grey".to_owned())]));
        };
        let schema = json!({
            "type": "object",
            "properties": { "value": { "type": "integer" } },
            "required": ["value"],
            "additionalProperties": false,
        });
        let config = ctx.config();
        let opened = config.declare(&schema, &json!({ "value": initial }), &json!({}))?;
        ctx.endpoint("http://127.0.0.1:1/corpus")?;
        ctx.set_option("executors.count", "1")?;
        tracing::info!(generation = opened.generation, "driver init");
        self.started = Some((ctx, None));
        Ok(ExtraConf::from([("colour".to_owned(), "red".to_owned())]))
    }

    fn register_metrics(&mut self, ctx: &Context) -> Result<()> {
        if let Some((_, counter)) = &mut self.started {
            *counter = Some(ctx.metrics().counter("corpus_asked")?);
        }
        Ok(())
    }

    fn receive(&mut self, message: &[u8]) -> Result<Vec<u8>> {
        let Some((ctx, Some(asked))) = &self.started else {
            return Err(Error::new("no init, or no metrics"));
        };
        asked.inc();
        let value: i64 = serde_json::from_slice(message)?;
        Ok(match ctx.config().publish(&json!({ "value": value })) {
            Ok(generation) => format!("{value} is generation {generation}"),
            Err(refused) => format!("{value} is refused: {refused}"),
        }
        .into_bytes())
    }

    fn shutdown(&mut self) -> Result<()> {
        if let Some((ctx, Some(asked))) = self.started.take() {
            let status = ctx.config().status()?;
            tracing::info!(
                "driver shutdown after {} at {}",
                asked.get(),
                status["generation"]
            );
        }
        Ok(())
    }
}
