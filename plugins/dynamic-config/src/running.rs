//! A started instance: init's steps in their order, undone where one fails, and the way back (config-api §11).

use crate::{
    app::{App, Facts},
    listener::{self, AddressFile, Bound, SocketFile},
    settings::Plan,
    status,
    store::HostStore,
    threads::Threads,
    token::Tokens,
    writer,
};
use hotshoe_json::canonical;
use hotshoe_plugin_api::{Context, Error, Result};
use std::{sync::Arc, time::Duration};

/// The host's default for a shutdown, where it sets no deadline.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Fields are dropped in this order: threads before the files that tell of them.
pub(crate) struct Running {
    threads: Threads,
    _address_file: AddressFile,
    _socket_file: Option<SocketFile>,
    endpoints: Endpoints,
}

/// What `hotshoe status` shows, taken back when dropped.
struct Endpoints(Context);

impl Drop for Endpoints {
    fn drop(&mut self) {
        if let Err(error) = self.0.clear_endpoints() {
            tracing::debug!("the endpoints stay in the status: {error}");
        }
    }
}

impl Running {
    /// settings (done) → token → declare → bind → threads → address file. An early return drops what was made.
    pub(crate) fn start(mut plan: Plan, ctx: &Context) -> Result<Self> {
        let tokens = plan.token_file.as_deref().map(Tokens::load).transpose()?;
        let schema = plan.schema_document()?;
        ctx.config()
            .declare(&schema, &plan.initial, &plan.store_settings())?;
        let wanted = plan.limits.watchers;
        plan.limits.watchers = listener::raise_descriptors(plan.limits.connections, wanted);
        let Bound {
            listeners,
            urls,
            socket_file,
        } = listener::bind(&plan, ctx.instance())?;
        let run_dir = plan
            .run_dir
            .clone()
            .unwrap_or_else(|| ctx.run_dir().to_owned());
        let facts = Facts {
            instance: ctx.instance().to_owned(),
            urls: urls.clone(),
            schema: canonical(&schema).into(),
            started_at: status::now(),
        };
        let (queue, writer, reader) = writer::queue();
        let store = Arc::new(HostStore(ctx.clone()));
        let app = Arc::new(App::new(plan, facts, store, queue, tokens));
        if app.plan.limits.watchers < wanted {
            let lowered = app.plan.limits.watchers;
            tracing::warn!(
                wanted,
                lowered,
                "max_watchers is lowered: too few descriptors"
            );
            app.warn("max-watchers-lowered");
        }
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| ctx.spawn(name, work);
        let threads = Threads::start(&app, listeners, (writer, reader), &spawn)?;
        let address_file = AddressFile::write(&run_dir, ctx.instance(), &urls)?;
        let endpoints = Endpoints(ctx.clone());
        for url in &urls {
            ctx.endpoint(url)?;
        }
        let leaving = Arc::downgrade(&app);
        ctx.shutdown_token().on_request(move || {
            if let Some(app) = leaving.upgrade() {
                app.phase.set_leaving();
            }
        });
        app.phase.set_ready();
        tracing::info!("config listening on {}", urls.join(" "));
        Ok(Self {
            threads,
            _address_file: address_file,
            _socket_file: socket_file,
            endpoints,
        })
    }

    /// Ends everything within the shutdown's deadline.
    ///
    /// Errors: a thread hung, and is left behind.
    pub(crate) fn stop(mut self) -> Result<()> {
        let left = self
            .endpoints
            .0
            .deadline()
            .unwrap_or(SHUTDOWN)
            .min(SHUTDOWN);
        // The rest is for the files, and for saying so in time.
        let hung = self.threads.stop(left - left / 10);
        if hung.is_empty() {
            return Ok(());
        }
        let message = format!("{} did not stop in time", hung.join(" and "));
        Err(Error::new(message).with_code("config-thread-hung"))
    }
}
