//! The command line: one definition feeds parsing and help. Each command is a file that asks the library and prints.

mod check;
mod config;
mod hosts;
mod inspect;
mod lock;
mod run;
mod sign;
mod status;

use super::{
    log,
    report::{self, LogFormat},
};
use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use hotshoe::{ExitCode, Problem, Severity, config_file, worker::Workers};
use std::path::{Path, PathBuf};

/// Loads plugins from a configuration, streams records through them, and changes their configuration while they run.
#[derive(Debug, Parser)]
#[command(
    name = "hotshoe",
    version = VERSION,
    max_term_width = 100,
    after_help = "Exit codes: 0 clean; 1 the stream or a required plugin failed while running; 2 command line or \
                  configuration; 3 a library was refused; 4 a plugin's start failed or a port is taken; 5 a shutdown \
                  failed or overran; 6 executors failed too often; 70 a bug of hotshoe's.\n\nStart here: hotshoe run \
                  examples/quickstart/hotshoe.toml"
)]
struct Arguments {
    /// How logs and errors are written to stderr
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

/// The version, with the ABI versions whose plugins this host loads.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (loads plugins built for ABI 1.0 and every later 1.x)"
);

#[derive(Debug, Subcommand)]
enum Command {
    /// Load the plugins and run until a signal or the end of the stream
    ///
    /// Records come from the [stream] source and go to its sink; stdout is the sink and nothing else. Logs go to stderr,
    /// filtered by RUST_LOG (info unless it is set). SIGTERM or SIGINT stops in order: what was read is delivered, executors
    /// stop, then drivers; a second one, a second later, ends at once.
    Run {
        /// The configuration
        #[arg(default_value = "hotshoe.toml")]
        file: PathBuf,
        /// Continue a live configuration whose journal is damaged from its newest good generation; =initial: where there is
        /// none, from the initial value. Damaged files are kept under another name
        #[arg(long, value_name = "FROM", num_args = 0..=1, require_equals = true, default_missing_value = "newest")]
        recover: Option<run::RecoverFrom>,
        /// Refuse every library that hotshoe.lock beside FILE does not name
        #[arg(long)]
        locked: bool,
    },
    /// Tell everything that is wrong with a configuration, without running a plugin's init
    ///
    /// Reads the file and its drop-ins, verifies every library, opens it, checks its settings against its own schema and
    /// makes the instances. Prints the merged result, with the place each entry comes from.
    Check {
        /// The configuration
        #[arg(default_value = "hotshoe.toml")]
        file: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        /// Refuse every library that hotshoe.lock beside FILE does not name
        #[arg(long)]
        locked: bool,
        /// Print the whole story of a refusal: of `layout-mismatch`, how the types differ
        #[arg(long)]
        verbose: bool,
    },
    /// Pin the libraries of a configuration: write their digests to hotshoe.lock beside it
    ///
    /// Opens no library. Where a lock is present, `run` and `check` refuse every library whose bytes are not those it names.
    Lock {
        /// The configuration
        #[arg(default_value = "hotshoe.toml")]
        file: PathBuf,
        /// Write nothing; name every difference and exit with 3 where there is one
        #[arg(long)]
        check: bool,
    },
    /// Make a pair of keys to sign libraries with: KEY, the secret one, and KEY.pub
    Keygen {
        /// The file of the secret key; it must not exist yet
        #[arg(value_name = "KEY")]
        key: PathBuf,
    },
    /// Sign libraries: write LIB.sig beside each
    ///
    /// Reads the library and opens it not at all. A signature is over the digest of the whole file and what its manifest
    /// states; it says who signed, not that the library does no harm.
    Sign {
        /// The file of the secret key
        #[arg(value_name = "KEY")]
        key: PathBuf,
        /// Plugin files
        #[arg(required = true, value_name = "LIB")]
        libraries: Vec<PathBuf>,
    },
    /// Check the signatures beside libraries, without running them
    Verify {
        /// A public key whose signatures count; may be repeated. Without one, any key's do, and the answer names it
        #[arg(long = "key", value_name = "KEY.pub")]
        keys: Vec<PathBuf>,
        /// Plugin files
        #[arg(required = true, value_name = "LIB")]
        libraries: Vec<PathBuf>,
    },
    /// Show what a host sees in plugin files, without running them
    Inspect {
        /// Plugin files
        #[arg(required = true, value_name = "LIB")]
        libraries: Vec<PathBuf>,
        /// Print one JSON array
        #[arg(long)]
        json: bool,
        /// Also print the schema of the plugin's settings. This opens the library, so its constructors run
        #[arg(long)]
        schema: bool,
        /// Print the whole story of a refusal
        #[arg(long)]
        verbose: bool,
    },
    /// Show a running host: instances, executors, topics, counters
    Status {
        /// Print the whole answer as JSON
        #[arg(long)]
        json: bool,
        /// Which host, where several run
        #[arg(long, value_name = "NAME")]
        host: Option<String>,
    },
    /// Read and change the configuration of a running host's plugin
    ///
    /// Finds the plugin's listener by itself: by the address file in the run folder of the one host that runs.
    Config(config::Config),
    /// Print the JSON Schema of hotshoe.toml
    Schema,
    /// Print a shell's completions of this command line
    ///
    /// For bash: hotshoe completions bash > ~/.local/share/bash-completion/completions/hotshoe
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Parses the arguments, runs the command, and answers how the process ends.
pub(crate) fn main(workers: &Workers) -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are answers; clap knows which stream each belongs to.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::Usage
            } else {
                ExitCode::Clean
            };
        }
    };
    let format = arguments.log_format;
    log::install(format);
    let exit = carry_out(arguments.command, format, workers);
    match report::lost_output() {
        Some(lost) if exit == ExitCode::Clean => {
            report::problem(&lost, format);
            lost.exit
        }
        _ => exit,
    }
}

fn carry_out(command: Command, format: LogFormat, workers: &Workers) -> ExitCode {
    match command {
        Command::Run {
            file,
            recover,
            locked,
        } => run::run(&file, recover, locked, workers, format),
        Command::Check {
            file,
            json,
            locked,
            verbose,
        } => check::check(&file, json, locked, verbose, workers, format),
        Command::Lock { file, check: false } => lock::write(&file, format),
        Command::Lock { file, check: true } => lock::check(&file, format),
        Command::Keygen { key } => sign::keygen(&key, format),
        Command::Sign { key, libraries } => sign::sign(&key, &libraries, format),
        Command::Verify { keys, libraries } => sign::verify(&keys, &libraries, format),
        Command::Inspect {
            libraries,
            json,
            schema,
            verbose,
        } => inspect::inspect(&libraries, json, schema, verbose, format),
        Command::Status { json, host } => status::status(json, host.as_deref(), format),
        Command::Config(arguments) => config::config(&arguments, format),
        Command::Completions { shell } => {
            report::out(&completions(shell));
            ExitCode::Clean
        }
        Command::Schema => {
            report::out(&format!("{:#}\n", config_file::schema()));
            ExitCode::Clean
        }
    }
}

/// What the shell is told, from the same definition that parses.
fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "hotshoe", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Prints problems; answers the exit code of the first error.
fn print(problems: &[Problem], format: LogFormat) -> Option<ExitCode> {
    for problem in problems {
        report::problem(problem, format);
    }
    let first = problems
        .iter()
        .find(|problem| problem.severity == Severity::Error);
    first.map(|problem| problem.exit)
}

/// The last line of a start that failed: what to run next.
fn next_step(file: &Path, exit: ExitCode, format: LogFormat) {
    if format == LogFormat::Json {
        return;
    }
    let file = file.display();
    let next = match exit {
        ExitCode::Usage | ExitCode::Refused => format!("hotshoe check {file}"),
        _ => format!("RUST_LOG=debug hotshoe run {file}"),
    };
    report::line(&format!("next: {next}"));
}
