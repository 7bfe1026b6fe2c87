//! A program that starts workers, and everything that keeps one from being one: each is said before the plugin's `init`.
//!
//! Without a harness, because the program itself is what becomes a worker: its `main` takes over first thing. What can be
//! wrong with a program is wrong with a script in a temporary folder, or with this very file, where [`LATE`] is set.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap in here is a failed test, with its line"
)]

use hotshoe::{
    BuildError, Builder, ExitCode, Host, Outcome, Problem, config_file, worker::Workers,
};
use hotshoe_tests::artifacts;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Set for a worker whose `main` does something else first: to the library.
const LATE: &str = "HOTSHOE_TEST_LATE";

/// Longer than any start here takes, and shorter than a wait for ever.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is shown, and how.
type Case = (&'static str, fn(&Workers));

const CASES: &[Case] = &[
    ("a program that takes over runs its workers", it_runs),
    ("without the token nothing is started", without_the_token),
    ("a program that is not there is said at once", it_is_missing),
    ("a program that ends at once is no worker", it_ends_at_once),
    ("a program that says nothing is no worker", it_says_nothing),
    ("a program of another build is refused", of_another_build),
    (
        "a program that takes over too late is no worker",
        it_takes_over_late,
    ),
    (
        "a sandbox that cannot be put on stops the start",
        the_sandbox_fails,
    ),
    (
        "without descriptors everything is said",
        without_descriptors,
    ),
];

fn main() {
    if std::env::var_os(LATE).is_some() {
        // As a program does that looks at its arguments before everything else, and does not know these.
        process::exit(match world().build(None).map(drop) {
            Err(error)
                if error
                    .problems
                    .iter()
                    .any(|problem| problem.code == "worker-forgotten") =>
            {
                42
            }
            _ => 43,
        });
    }
    let workers = hotshoe::worker::take_over();
    let filter = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let wanted = |name: &str| {
        filter
            .as_ref()
            .is_none_or(|filter| name.contains(filter.as_str()))
    };
    if std::env::args().any(|word| word == "--list") {
        CASES.iter().for_each(|(name, _)| println!("{name}: test"));
        return;
    }
    let mut failed = 0;
    for (name, case) in CASES.iter().filter(|(name, _)| wanted(name)) {
        let outcome = catch_unwind(AssertUnwindSafe(|| case(&workers)));
        println!(
            "test {name} ... {}",
            if outcome.is_ok() { "ok" } else { "FAILED" }
        );
        failed += i32::from(outcome.is_err());
    }
    process::exit(failed.min(1));
}

/// A host's folder, and one plugin in a process of its own.
struct World {
    folder: TempDir,
    library: PathBuf,
    keys: String,
}

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("run")).unwrap();
    World {
        folder,
        library: match std::env::var_os(LATE) {
            // Where cargo would have to look first, the host's patience might be over.
            Some(library) => library.into(),
            None => artifacts::fixture("misbehave").to_owned(),
        },
        keys: String::new(),
    }
}

impl World {
    fn with(mut self, keys: &str) -> Self {
        keys.clone_into(&mut self.keys);
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program that does what the shell does with `script`.
    fn program(&self, script: &str) -> Workers {
        let file = self.path("program");
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        Workers::executable(file)
    }

    fn config(&self) -> config_file::Config {
        let file = self.path("hotshoe.toml");
        let text = format!(
            "[[plugin]]\nname = \"apart\"\nlibrary = {:?}\nisolation = \"process\"\n{}\n[plugin.settings]\ntrace = {:?}\n",
            self.library,
            self.keys,
            self.path("trace"),
        );
        fs::write(&file, text).unwrap();
        let loaded = config_file::load(&file);
        loaded
            .config
            .unwrap_or_else(|| panic!("{:?}", loaded.problems))
    }

    fn builder(&self, config: config_file::Config) -> Builder {
        Host::builder()
            .config(config)
            .run_dir(self.path("run"))
            .on_problem(|_| ())
    }

    fn build(&self, workers: Option<&Workers>) -> Result<Host, BuildError> {
        let mut builder = self.builder(self.config());
        if let Some(workers) = workers {
            builder = builder.workers(workers.clone());
        }
        builder.build()
    }

    /// The first problem of a start; [`None`], where it went well. Either way everything has ended when this returns.
    fn problem(&self, workers: Option<&Workers>) -> Option<Problem> {
        let host = match self.build(workers) {
            Ok(host) => host,
            Err(error) => return Some(error.problems[0].clone()),
        };
        let outcome = run(async {
            let started = host.start().await;
            let ended = host.shutdown().await;
            started.err().unwrap_or(ended)
        });
        let Outcome { exit, mut problems } = outcome;
        assert_eq!(exit == ExitCode::Clean, problems.is_empty(), "{problems:?}");
        (exit != ExitCode::Clean).then(|| problems.swap_remove(0))
    }

    /// Of the plugin's calls so far.
    fn calls(&self) -> String {
        fs::read_to_string(self.path("trace")).unwrap_or_default()
    }

    /// The start fails with that code, before any `init`.
    #[track_caller]
    fn refused(&self, workers: Option<&Workers>, code: &str) -> Problem {
        let begun = Instant::now();
        let problem = self.problem(workers).expect("it cannot start");
        assert_eq!(problem.code, code, "{problem:#}");
        assert!(
            problem.fix.is_some() && problem.wanted.is_some(),
            "{problem:#}"
        );
        assert!(!self.calls().contains("init"), "{}", self.calls());
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
        problem
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    runtime().block_on(future)
}

fn it_runs(workers: &Workers) {
    let world = world().with("sandbox = { write = [\".\"] }");
    assert_eq!(
        world
            .problem(Some(workers))
            .map(|problem| problem.to_string()),
        None
    );
    let calls = world.calls();
    assert!(
        calls.contains("init") && calls.contains("shutdown"),
        "{calls}"
    );
    // The same, from a program that is named: this one.
    let named = Workers::executable(std::env::current_exe().unwrap());
    assert_eq!(
        world
            .problem(Some(&named))
            .map(|problem| problem.to_string()),
        None
    );
}

fn without_the_token(_: &Workers) {
    let problem = world().refused(None, "no-worker");
    assert!(problem.fix.unwrap().contains("take_over()"));
    assert_eq!(problem.exit, ExitCode::Usage);
}

fn it_is_missing(_: &Workers) {
    let world = world();
    let missing = Workers::executable(world.path("nothing"));
    let problem = world.refused(Some(&missing), "no-worker");
    assert!(
        problem.headline.contains("/nothing") && problem.headline.contains("No such file"),
        "{problem}"
    );
    let unrunnable = world.path("text");
    fs::write(&unrunnable, "no program").unwrap();
    let problem = world.refused(Some(&Workers::executable(unrunnable)), "no-worker");
    assert!(problem.headline.contains("Permission denied"), "{problem}");
    let folder = Workers::executable(world.folder.path());
    assert!(
        world
            .refused(Some(&folder), "no-worker")
            .headline
            .contains("no file")
    );
}

fn it_ends_at_once(_: &Workers) {
    let world = world();
    let problem = world.refused(Some(&world.program("exit 3")), "not-a-worker");
    assert!(
        problem
            .found
            .unwrap()
            .contains("ended by itself with exit code 3")
    );
    assert!(
        problem.headline.contains("/program"),
        "{}",
        problem.headline
    );
    // May be run, and the system cannot.
    let file = world.path("format");
    fs::write(&file, [0x7F, b'E', b'L', b'F', 0, 0, 0, 0]).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    world.refused(Some(&Workers::executable(file)), "worker-not-started");
}

/// It would wait for ever: it reads what the host says, and answers nothing.
fn it_says_nothing(_: &Workers) {
    let world = world();
    let silent = world.program("exec cat >/dev/null");
    let problem = world.refused(Some(&silent), "not-a-worker");
    assert!(
        problem
            .found
            .unwrap()
            .contains("did not say that it is a worker")
    );
}

fn of_another_build(_: &Workers) {
    let world = world();
    let own = std::env::current_exe().unwrap();
    let script = format!("HOTSHOE_WORKER=0.0.1+00 exec {:?} \"$@\"", own);
    let problem = world.refused(Some(&world.program(&script)), "worker-mismatch");
    assert!(problem.wanted.unwrap().contains(env!("CARGO_PKG_VERSION")));
}

fn it_takes_over_late(_: &Workers) {
    let world = world();
    let own = std::env::current_exe().unwrap();
    let script = format!("{LATE}={:?} exec {:?} \"$@\"", world.library, own);
    let problem = world.refused(Some(&world.program(&script)), "not-a-worker");
    // It was told, too, in its own process.
    assert!(problem.found.unwrap().contains("exit code 42"));
    assert!(
        problem
            .wanted
            .unwrap()
            .contains("take_over() first thing in main")
    );
}

fn the_sandbox_fails(workers: &Workers) {
    // What is not there and not the host's to make is refused before anything starts.
    let world = world().with("sandbox = { read = [\"data\"] }");
    world.refused(Some(workers), "no-such-path");
    fs::create_dir(world.path("data")).unwrap();
    let host = world.build(Some(workers)).unwrap();
    fs::remove_dir(world.path("data")).unwrap();
    let outcome = run(host.start()).unwrap_err();
    run(host.shutdown());
    let problem = &outcome.problems[0];
    assert_eq!(
        (problem.code.as_str(), outcome.exit),
        ("sandbox-failed", ExitCode::Init)
    );
    assert!(problem.headline.contains("/data"), "{problem}");
    assert!(problem.headline.starts_with("plugin `"), "{problem}");
    assert_eq!(world.calls(), "");
}

/// With one more descriptor each time, until it starts: until then each start is refused with a word about descriptors, and
/// none hangs, leaves anything open, or gets as far as `init` without a worker.
fn without_descriptors(workers: &Workers) {
    let world = world();
    // Whatever is made once for all is made before.
    assert!(world.problem(Some(workers)).is_none());
    let runtime = runtime();
    let (limits, open) = (getrlimit(Resource::Nofile), open_descriptors());
    let mut refused = Vec::new();
    for more in 0..200 {
        let config = world.config();
        fs::remove_file(world.path("trace")).unwrap_or_default();
        let fewer = Rlimit {
            current: Some(open + more),
            ..limits
        };
        setrlimit(Resource::Nofile, fewer).unwrap();
        let host = world.builder(config).workers(workers.clone()).build();
        let outcome = host.map_err(|error| error.problems).and_then(|host| {
            runtime.block_on(async {
                let started = host.start().await;
                let ended = host.shutdown().await;
                started.map_err(|outcome| outcome.problems)?;
                match ended.problems {
                    problems if problems.is_empty() => Ok(()),
                    problems => Err(problems),
                }
            })
        });
        setrlimit(Resource::Nofile, limits).unwrap();
        let Err(problems) = outcome else { break };
        assert_eq!(world.calls(), "", "{more}: {problems:#?}");
        settles(open, more);
        refused.push((more, problems));
    }
    assert!((5..200).contains(&refused.len()), "{}", refused.len());
    let unclear: Vec<String> = refused
        .iter()
        .filter(|(_, problems)| !is_about_descriptors(&problems[0]))
        .map(|(more, problems)| format!("{more}: {:#}", problems[0]))
        .collect();
    assert!(unclear.is_empty(), "{}", unclear.join("\n"));
}

/// The threads of a host that has ended close what they hold when they are through; none of them tells anybody.
fn settles(open: u64, more: u64) {
    let until = Instant::now() + PATIENCE;
    while open_descriptors() > open {
        assert!(Instant::now() < until, "{more}: some stayed open");
        std::thread::yield_now();
    }
}

fn is_about_descriptors(problem: &Problem) -> bool {
    let fix = problem.fix.as_deref().unwrap_or_default();
    problem.headline.contains("Too many open files") && fix.contains("ulimit -n")
}

fn open_descriptors() -> u64 {
    let open = fs::read_dir("/proc/self/fd").unwrap().count();
    // The folder itself was one of them.
    u64::try_from(open).unwrap() - 1
}
