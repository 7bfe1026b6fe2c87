//! The executor part: after each task it asks its own driver to set the topic to the operator's next number, and logs what
//! became of it.

use hotshoe_plugin_api::{Context, Error, ExecutorPlugin, ExtraConf, Result, Task, tracing};
use std::time::Duration;

pub(crate) struct Executor {
    /// What the topic is set to, task by task.
    pub(crate) then: Vec<i64>,
    pub(crate) ctx: Option<Context>,
}

impl ExecutorPlugin for Executor {
    fn init(&mut self, ctx: Context, extra: ExtraConf) -> Result<()> {
        tracing::info!("executor init with {extra:?}");
        self.ctx = Some(ctx);
        Ok(())
    }

    fn on_task_start(&mut self, task: Task) -> Result<()> {
        tracing::info!("task {} starts with {} records", task.id, task.records);
        Ok(())
    }

    fn on_task_succeeded(&mut self, task: Task) -> Result<()> {
        let Some(ctx) = &self.ctx else {
            return Err(Error::new("no init"));
        };
        let which = usize::try_from(task.id.saturating_sub(1)).unwrap_or(usize::MAX);
        if let Some(value) = self.then.get(which) {
            let answer = ctx.ask("", value.to_string().as_bytes(), Duration::from_secs(10))?;
            tracing::info!("answered: {}", String::from_utf8_lossy(&answer));
        }
        Ok(())
    }

    fn on_task_failed(&mut self, task: Task, reason: &str) -> Result<()> {
        tracing::info!("task {} failed: {reason}", task.id);
        Ok(())
    }

    fn shutdown(&mut self) -> Result<()> {
        tracing::info!("executor shutdown");
        Ok(())
    }
}
