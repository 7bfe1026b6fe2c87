//! The processor: each record with the topic's value behind it, and a last record that counts them.

use hotshoe_plugin_api::{
    Batch, Context, Error, Live, Output, Processor, Result, capability, serde_json::Value, tracing,
};

pub(crate) struct Stamper {
    /// The instance whose value is stamped; none for an instance that processes nothing.
    pub(crate) topic: Option<String>,
    pub(crate) live: Option<Live<Value>>,
    pub(crate) count: u64,
}

impl Processor for Stamper {
    fn init(&mut self, ctx: Context) -> Result<()> {
        if let Some(topic) = &self.topic {
            self.live = Some(ctx.live(topic)?);
        }
        let (extra, has) = (ctx.extra_conf(), ctx.host_has(capability::BASE));
        tracing::info!("processor init with {extra:?}, all of 1.0: {has}");
        Ok(())
    }

    fn process(&mut self, batch: &Batch<'_>, out: &mut Output<'_>) -> Result<()> {
        let live = self.live.as_mut().ok_or_else(|| Error::new("no init"))?;
        let stamp = format!(" {}", live.at(batch)?["value"]);
        for record in batch {
            out.push_parts(&[record, stamp.as_bytes()]);
            self.count += 1;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Output<'_>) -> Result<()> {
        out.push(format!("{} stamped", self.count).as_bytes());
        Ok(())
    }
}
