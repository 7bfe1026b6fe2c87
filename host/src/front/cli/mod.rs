//! The command line: one definition feeds parsing and help. Each command is a file that asks the library and prints.

mod check;
mod inspect;
mod run;
mod status;

use super::{
    log,
    report::{self, LogFormat},
};
use clap::{Parser, Subcommand};
use hotshoe::{ExitCode, Problem, Severity, config_file};
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
    /// Print the JSON Schema of hotshoe.toml
    Schema,
}

/// Parses the arguments, runs the command, and answers how the process ends.
pub(crate) fn main() -> ExitCode {
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
    match arguments.command {
        Command::Run { file } => run::run(&file, format),
        Command::Check { file, json } => check::check(&file, json, format),
        Command::Inspect {
            libraries,
            json,
            schema,
        } => inspect::inspect(&libraries, json, schema, format),
        Command::Status { json, host } => status::status(json, host.as_deref(), format),
        Command::Schema => {
            report::out(&format!("{:#}\n", config_file::schema()));
            ExitCode::Clean
        }
    }
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
