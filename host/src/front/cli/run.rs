//! `hotshoe run`: owns what belongs to the process (descriptor 1, signals, the lock), and hands the rest to the library.

use super::{
    super::{
        admin, dirs, notify,
        report::{self, LogFormat},
        stderr,
    },
    next_step, print,
};
use hotshoe::{
    Blame, ExitCode, Host, Outcome, Problem, Recover,
    config_file::{self, Config},
    worker::Workers,
};
use rustix::{
    fs::{Mode, OFlags},
    pipe::{PipeFlags, pipe_with},
};
use std::{io, os::fd::OwnedFd, path::Path, sync::Arc, time::Duration};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

/// A signal that follows the first within this time is the same request: `kill` and a terminal's Ctrl-C come in pairs.
const SAME_REQUEST: Duration = Duration::from_secs(1);

/// From what a damaged live configuration is continued.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum RecoverFrom {
    /// The newest good generation
    Newest,
    /// The same; the initial value where there is none
    Initial,
}

pub(super) fn run(
    file: &Path,
    recover: Option<RecoverFrom>,
    locked: bool,
    workers: &Workers,
    format: LogFormat,
) -> ExitCode {
    stderr::never_wait(format);
    let loaded = config_file::load(file);
    let refused = print(&loaded.problems, format);
    let Some(config) = loaded.config else {
        let exit = refused.unwrap_or(ExitCode::Usage);
        next_step(file, exit, format);
        return exit;
    };
    if config.is_empty() {
        tracing::info!(file = %file.display(), "nothing to run: the configuration names no plugin and no stream");
        return ExitCode::Clean;
    }
    match start(config, recover, locked, workers, format) {
        Ok(outcome) => {
            // A start that was refused or failed; what happens to a host that runs is in its log.
            if matches!(
                outcome.exit,
                ExitCode::Usage | ExitCode::Refused | ExitCode::Init
            ) {
                next_step(file, outcome.exit, format);
            }
            outcome.exit
        }
        Err(problems) => {
            let exit = print(&problems, format).unwrap_or(ExitCode::Bug);
            next_step(file, exit, format);
            exit
        }
    }
}

/// Everything up to the end of the run. Problems that are answered were not printed yet.
fn start(
    config: Config,
    recover: Option<RecoverFrom>,
    locked: bool,
    workers: &Workers,
    format: LogFormat,
) -> Result<Outcome, Vec<Problem>> {
    let one = |problem| vec![problem];
    let dirs = dirs::open(&config.host.name).map_err(one)?;
    let runtime = enough_for_a_runtime()
        .and_then(|()| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
        })
        .map_err(|error| {
            let headline = format!("the operating system refuses a runtime: {error}");
            one(environment("no-runtime", &headline).remedy(&error, "see the system's log"))
        })?;
    // Before the first library is opened: what a plugin prints lands among the logs, never in the data.
    let stdout = move_stdout().map_err(one)?;
    // And what it reads, closes or covers is not the stream's.
    let stdin = move_stdin().map_err(one)?;
    let (admin_at, stream) = (config.host.admin.clone(), config.stream.is_some());
    let mut builder = Host::builder()
        .config(config)
        .run_dir(&dirs.run)
        .state_dir(&dirs.state)
        .workers(workers.clone())
        .recover(match recover {
            None => Recover::No,
            Some(RecoverFrom::Newest) => Recover::Newest,
            Some(RecoverFrom::Initial) => Recover::Initial,
        })
        .on_problem(move |problem| report::problem(problem, format));
    if locked {
        builder = builder.locked();
    }
    if stream {
        builder = builder.stdin(stdin).stdout(stdout);
    }
    let host = builder.build().map_err(|error| error.problems)?;
    runtime
        .block_on(supervise(Arc::new(host), &admin_at, &dirs.run, format))
        .map_err(one)
}

async fn supervise(
    host: Arc<Host>,
    admin_at: &config_file::Admin,
    run_dir: &Path,
    format: LogFormat,
) -> Result<Outcome, Problem> {
    let mut signals = Signals::listen()?;
    let _served = admin::serve(Arc::clone(&host), admin_at, run_dir).await?;
    let mut starting = Box::pin(host.start());
    let started = tokio::select! {
        started = &mut starting => started,
        () = signals.stop() => {
            host.stop();
            notify::send("STOPPING=1");
            return Ok(end(&host, &mut signals, format).await);
        }
    };
    if let Err(outcome) = started {
        return Ok(outcome);
    }
    notify::send("READY=1");
    let outcome = {
        let stopped = host.run_until(std::future::pending());
        tokio::pin!(stopped);
        tokio::select! {
            outcome = &mut stopped => {
                notify::send("STOPPING=1");
                outcome
            }
            () = signals.stop() => {
                notify::send("STOPPING=1");
                host.stop();
                end(&host, &mut signals, format).await
            }
        }
    };
    Ok(outcome)
}

/// Waits for the orderly stop; a second request ends it at once, naming what had not stopped.
async fn end(host: &Arc<Host>, signals: &mut Signals, format: LogFormat) -> Outcome {
    let stopped = host.run_until(std::future::pending());
    tokio::pin!(stopped);
    let first = Instant::now();
    loop {
        tokio::select! {
            outcome = &mut stopped => return outcome,
            () = signals.stop() => {
                if first.elapsed() < SAME_REQUEST {
                    continue;
                }
                report::problem(&forced(&host.stopping().instances), format);
                // Dropping the host would wait for what hangs; the process ends without it.
                std::mem::forget(Arc::clone(host));
                return Outcome {
                    exit: ExitCode::Shutdown,
                    problems: Vec::new(),
                };
            }
        }
    }
}

fn forced(waiting: &[String]) -> Problem {
    let headline = match waiting {
        [] => "asked a second time to stop; leaving before the stream was drained".to_owned(),
        names => format!(
            "asked a second time to stop; leaving before these had stopped: {}",
            names.join(", ")
        ),
    };
    Problem::error(ExitCode::Shutdown, Blame::Operator, "stop-forced", headline)
}

/// The signals that the process reacts to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    /// Never awaited: that it is handled makes a write beyond the file size limit an error of that write, not the end.
    _file_size: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Problem> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                environment("no-signals", &format!("signals cannot be handled: {error}"))
            })
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
            _file_size: listen(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        })
    }

    /// Returns at the next request to stop.
    async fn stop(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => tracing::info!("SIGHUP is ignored: this version does not reload"),
            }
        }
    }
}

/// tokio takes six descriptors for itself, and where the last two of them cannot be had, it panics.
fn enough_for_a_runtime() -> io::Result<()> {
    let pipes: Result<Vec<_>, _> = (0..3).map(|_| pipe_with(PipeFlags::CLOEXEC)).collect();
    pipes.map(drop).map_err(io::Error::from)
}

fn move_stdout() -> Result<OwnedFd, Problem> {
    let moved = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)
        .and_then(|private| rustix::stdio::dup2_stdout(rustix::stdio::stderr()).map(|()| private));
    moved.map_err(|error| {
        environment(
            "no-stdout",
            &format!("descriptors 1 and 2 cannot be used: {error}"),
        )
        .remedy(
            &error.into(),
            "start hotshoe with stdout and stderr open; /dev/null will do",
        )
    })
}

/// Moves descriptor 0 to one that only the stream knows; what is left there has nothing to be read, as in a worker.
fn move_stdin() -> Result<OwnedFd, Problem> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let moved = rustix::fs::open("/dev/null", flags, Mode::empty()).and_then(|nothing| {
        let private = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
        rustix::stdio::dup2_stdin(&nothing).map(|()| private)
    });
    moved.map_err(|error| {
        environment(
            "no-stdin",
            &format!("descriptor 0 cannot be put away, or there is no /dev/null to put in its place: {error}"),
        )
        .remedy(
            &error.into(),
            "start hotshoe with stdin open and /dev/null at hand; stdin may be /dev/null",
        )
    })
}

fn environment(code: &str, headline: &str) -> Problem {
    Problem::error(ExitCode::Init, Blame::Environment, code, headline)
}
