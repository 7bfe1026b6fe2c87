//! The threads: `cfg-http`, which owns the sockets and a runtime of its own, `cfg-write`, which changes the store, `cfg-read`,
//! which asks it, and `cfg-watch`, which waits for it.
//!
//! A listener that dies is started again on the same sockets; a stop ends all in time or says which one hung, and never
//! ends the process.

use crate::{
    app::App,
    connection::{REFUSALS_MAX, Server, Stage},
    listener::Listeners,
    router::router,
    token::LOOK_EVERY,
    watch::follow,
    writer::{Reader, Writer},
};
use hotshoe_plugin_api::Result;
use rustix::process::geteuid;
use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, UnixListener},
    runtime::Builder,
    sync::{Semaphore, watch},
    task::JoinSet,
    time::interval,
};

/// Between the death of a listener and its next life (config-api §11).
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// Requests in hand are finished within this, whatever the deadline (config-api §11).
const GRACE_MAX: Duration = Duration::from_secs(3);
/// And watchers get their last events within this.
const BYE_GRACE: Duration = Duration::from_millis(200);

/// How a thread is started: by the context in a host, plainly in a test.
pub(crate) type Spawn<'a> = &'a dyn Fn(&str, Box<dyn FnOnce() + Send>) -> Result<JoinHandle<()>>;

/// All threads, running. Dropping it stops them.
pub(crate) struct Threads {
    app: Arc<App>,
    stage: watch::Sender<Stage>,
    /// Its end wakes a listener that waits to be started again.
    halt: Option<Sender<()>>,
    /// Its end ends `cfg-watch`.
    unwatch: Option<Sender<()>>,
    workers: Vec<Worker>,
}

struct Worker {
    name: &'static str,
    thread: JoinHandle<()>,
    done: Receiver<()>,
}

impl Threads {
    /// Errors: the machine refuses a thread. None is left running then.
    pub(crate) fn start(
        app: &Arc<App>,
        listeners: Listeners,
        (writer, reader): (Writer, Reader),
        spawn: Spawn<'_>,
    ) -> Result<Self> {
        let (stage, staged) = watch::channel(Stage::Run);
        let (halt, halted) = channel();
        let mut threads = Self {
            app: Arc::clone(app),
            stage,
            halt: Some(halt),
            unwatch: None,
            workers: Vec::new(),
        };
        let store = Arc::clone(&app.store);
        threads.add("cfg-write", spawn, move || writer.run(&*store))?;
        let store = Arc::clone(&app.store);
        threads.add("cfg-read", spawn, move || reader.run(&*store))?;
        let listener = Listener {
            app: Arc::clone(app),
            listeners,
            stage: staged,
            halted,
        };
        threads.add("cfg-http", spawn, move || listener.run())?;
        let (unwatch, unwatched) = channel();
        threads.unwatch = Some(unwatch);
        let watched = Arc::clone(app);
        threads.add("cfg-watch", spawn, move || follow(&watched, &unwatched))?;
        Ok(threads)
    }

    fn add(
        &mut self,
        name: &'static str,
        spawn: Spawn<'_>,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<()> {
        let (ended, done) = channel::<()>();
        let body = move || {
            work();
            drop(ended);
        };
        let thread = spawn(name, Box::new(body))?;
        self.workers.push(Worker { name, thread, done });
        Ok(())
    }

    /// Stops all within `left`: no new connections, no new changes, what is in hand is finished, the rest is dropped.
    ///
    /// Answers the names of threads that did not end; they are left to themselves.
    pub(crate) fn stop(&mut self, left: Duration) -> Vec<&'static str> {
        let begun = Instant::now();
        self.app.phase.set_stopping();
        self.halt = None;
        self.advance(Stage::Finish);
        let grace = GRACE_MAX.min(left / 2);
        let mut finished = self.ended("cfg-http", grace);
        // Before the bye, which tells watchers itself what is newest: `cfg-watch` may have begun to wait just now, and
        // whoever waits for it has the other half of the time.
        self.unwatch = None;
        if !finished {
            // Whoever watches is told even where somebody else's request hangs.
            self.app.say_bye();
            finished = self.ended("cfg-http", BYE_GRACE);
        }
        if !finished {
            tracing::warn!("connections that were still open are dropped");
            self.app.queue.abandon();
            self.advance(Stage::Drop);
        }
        self.app.queue.stop();
        let mut hung = Vec::new();
        for worker in self.workers.drain(..) {
            let rest = left.saturating_sub(begun.elapsed());
            if worker.ended(rest) {
                // It came to its end, so that joining does not wait; a panic was logged where it was thrown.
                let _ = worker.thread.join();
            } else {
                tracing::error!(
                    thread = worker.name,
                    "did not stop in time and is left behind"
                );
                hung.push(worker.name);
            }
        }
        hung
    }

    fn advance(&self, stage: Stage) {
        self.stage.send_replace(stage);
    }

    fn ended(&self, name: &str, within: Duration) -> bool {
        let worker = self.workers.iter().find(|worker| worker.name == name);
        worker.is_none_or(|worker| worker.ended(within))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if !self.workers.is_empty() {
            // Nobody asked for a stop: init failed, or the host gives the instance up.
            self.stop(Duration::from_secs(1));
        }
    }
}

impl Worker {
    fn ended(&self, within: Duration) -> bool {
        matches!(
            self.done.recv_timeout(within),
            Err(RecvTimeoutError::Disconnected)
        )
    }
}

/// The thread `cfg-http`.
struct Listener {
    app: Arc<App>,
    listeners: Listeners,
    stage: watch::Receiver<Stage>,
    halted: Receiver<()>,
}

impl Listener {
    fn run(self) {
        let Self {
            app,
            listeners,
            stage,
            halted,
        } = self;
        // Held across restarts, let go at the first sign of a stop: then the port is free.
        let mut listeners = Some(listeners);
        loop {
            let life = || serve(&app, &mut listeners, stage.clone());
            match catch_unwind(AssertUnwindSafe(life)) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => tracing::error!("the listener stopped: {error}"),
                Err(_) => tracing::error!("the listener panicked"),
            }
            app.warn("listener-restarted");
            if halted.recv_timeout(RESTART_PAUSE) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }
}

/// One life of the listener; it returns well only when it was told to stop.
fn serve(
    app: &Arc<App>,
    listeners: &mut Option<Listeners>,
    stage: watch::Receiver<Stage>,
) -> io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    // Dropping the runtime at the end drops every connection that is left.
    runtime.block_on(async {
        let mut accepting = accept(app, listeners.as_ref(), &stage)?;
        let mut stage = stage;
        tokio::select! {
            _ = stage.wait_for(|stage| *stage >= Stage::Finish) => {}
            _ = accepting.join_next() => return Err(io::Error::other("an accept loop ended")),
        }
        *listeners = None;
        accepting.shutdown().await;
        let leave = async {
            app.slots.answered().await;
            app.say_bye();
            app.slots.emptied().await;
        };
        tokio::select! {
            _ = stage.wait_for(|stage| *stage == Stage::Drop) => {}
            () = leave => {}
        }
        Ok(())
    })
}

fn accept(
    app: &Arc<App>,
    listeners: Option<&Listeners>,
    stage: &watch::Receiver<Stage>,
) -> io::Result<JoinSet<()>> {
    let server = Server {
        router: router(Arc::clone(app)),
        slots: app.slots.clone(),
        metrics: Arc::clone(&app.metrics),
        head_timeout: app.plan.limits.head,
        euid: geteuid().as_raw(),
        stage: stage.clone(),
        refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
    };
    let mut accepting = JoinSet::new();
    for listener in listeners.iter().flat_map(|listeners| &listeners.tcp) {
        let listener = TcpListener::from_std(listener.try_clone()?)?;
        accepting.spawn(server.clone().accept_tcp(listener));
    }
    if let Some(listener) = listeners.and_then(|listeners| listeners.unix.as_ref()) {
        let listener = UnixListener::from_std(listener.try_clone()?)?;
        accepting.spawn(server.clone().accept_unix(listener));
    }
    if app.tokens.is_some() {
        accepting.spawn(watch_tokens(Arc::clone(app)));
    }
    Ok(accepting)
}

async fn watch_tokens(app: Arc<App>) {
    let mut ticks = interval(LOOK_EVERY);
    while let Some(tokens) = &app.tokens {
        ticks.tick().await;
        tokens.refresh();
    }
}
