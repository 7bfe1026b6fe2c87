//! A plugin of the next ABI: it uses what the next host has, and tells what it got instead where there is no such thing.
#![forbid(unsafe_code)]

use hotshoe_plugin_api::*;

struct Newcomer;

impl Plugin for Newcomer {
    type Settings = NoSettings;
    fn new(_: NoSettings) -> Result<Self> {
        Ok(Self)
    }
    fn processor(&mut self) -> Option<Box<dyn Processor>> {
        Some(Box::new(Asker(String::new())))
    }
}

struct Asker(String);

impl Processor for Asker {
    fn init(&mut self, ctx: Context) -> Result<()> {
        let answer = match ctx.later(21) {
            Ok(answer) => answer.to_string(),
            Err(error) if error.kind() == Kind::Unsupported => "unsupported".to_owned(),
            Err(error) => error.to_string(),
        };
        let (has, minor) = (ctx.host_has(capability::HOST_LATER), ctx.host_abi_minor());
        self.0 = format!(" host has later: {has} (minor {minor}), later {answer}");
        Ok(())
    }

    fn process(&mut self, batch: &Batch<'_>, out: &mut Output<'_>) -> Result<()> {
        for record in batch {
            out.push_parts(&[record, self.0.as_bytes()]);
        }
        Ok(())
    }
}

export_plugin!(Newcomer: processor);
