//! `hotshoe config`: an operator's way to the configuration API of a running host. Each command is one request of that API and
//! its answer; what may be changed and how is decided there alone.

mod client;
mod events;
mod place;
mod refusal;
mod request;
mod text;
mod watch;

use crate::front::report::{self, LogFormat};
use clap::{Args, Subcommand};
use client::{Answer, Ask};
use hotshoe::{ExitCode, Problem};
use refusal::Input;
use request::{Prepared, Show};
use serde_json::Value;
use std::path::PathBuf;

/// The arguments of `hotshoe config`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Config {
    #[command(flatten)]
    way: Way,
    #[command(subcommand)]
    what: What,
}

const EXAMPLES: &str = "A normal day:
  hotshoe config get                               the whole value
  hotshoe config set /value 43 --dry-run           what a change would do
  hotshoe config set /value 43 --confirm 60s       do it, undone unless confirmed within a minute
  hotshoe config confirm                           keep it
  hotshoe config rollback                          back to what was before

Exit codes: 0 done; 1 the server refused or is not reachable; 2 the command line.";

/// Who is asked, and how the answer is printed. The same for every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Whom to ask")]
struct Way {
    /// Which host, where several run
    #[arg(long, global = true, value_name = "NAME")]
    host: Option<String>,
    /// Which plugin, where several of the host listen for configuration
    #[arg(long, global = true, value_name = "NAME")]
    plugin: Option<String>,
    /// A file whose first line is the bearer token that the plugin asks for
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print the server's body as it is, a refusal's too
    #[arg(long, global = true)]
    json: bool,
}

/// What holds for every command that changes the value.
#[derive(Debug, Default, Args)]
struct Terms {
    /// Change only if this is the current generation
    #[arg(long, value_name = "GENERATION")]
    if_match: Option<u64>,
    /// Check everything and show what would change; change nothing
    #[arg(long)]
    dry_run: bool,
    /// Take the change back unless it is confirmed in time: 5s to 24h
    #[arg(long, value_name = "DURATION", conflicts_with = "dry_run")]
    confirm: Option<String>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print the current value, or a part of it
    Get {
        /// Which part: an RFC 6901 pointer such as /limits/0; everything without it
        #[arg(value_parser = request::pointer)]
        pointer: Option<String>,
    },
    /// Replace the value, or a part of it
    ///
    /// The parent of the pointer must exist; the last segment `-` appends to an array. A string is written with its quotes:
    /// hotshoe config set /name '"a name"'
    #[command(allow_missing_positional = true)]
    Set {
        /// Which part: an RFC 6901 pointer; everything without it
        // A number below zero that comes first is the value, where nothing follows it.
        #[arg(value_parser = request::pointer, allow_negative_numbers = true)]
        pointer: Option<String>,
        /// JSON, or - to read it from stdin
        #[arg(allow_negative_numbers = true)]
        value: String,
        #[command(flatten)]
        terms: Terms,
    },
    /// Change several parts at once, all or nothing
    ///
    /// The file holds an RFC 6902 patch (an array of operations) or an RFC 7396 merge patch (an object).
    Patch {
        /// The patch, or - to read it from stdin
        file: PathBuf,
        /// The part that is patched: an RFC 6901 pointer; everything without it
        #[arg(long, value_name = "POINTER", value_parser = request::pointer)]
        at: Option<String>,
        #[command(flatten)]
        terms: Terms,
    },
    /// Remove a part; without a pointer, go back to the declared initial value
    Delete {
        /// Which part: an RFC 6901 pointer
        #[arg(value_parser = request::pointer)]
        pointer: Option<String>,
        #[command(flatten)]
        terms: Terms,
    },
    /// Show what differs between two generations
    Diff {
        /// The older one
        from: u64,
        /// The newer one; the current one without it
        to: Option<u64>,
    },
    /// List the generations that are kept, newest first
    History {
        /// How many, 1 to 1000
        #[arg(long, value_name = "COUNT")]
        limit: Option<u64>,
        /// Only generations below this one
        #[arg(long, value_name = "GENERATION")]
        before: Option<u64>,
    },
    /// Make an older generation's value the current one, as a new generation
    Rollback {
        /// The generation to go back to; without it, the one before the current, or before a change that waits for its
        /// confirmation
        to: Option<u64>,
        #[command(flatten)]
        terms: Terms,
    },
    /// Keep a change that was made with --confirm
    Confirm {
        /// Only if this is the generation that waits
        generation: Option<u64>,
    },
    /// Print every new generation as it comes, until the host stops
    ///
    /// The current generation comes first. A connection that breaks is made again, and what was missed is printed. With --json
    /// each event's data is printed, a JSON object a line.
    Watch {
        /// Print the values too
        #[arg(long)]
        value: bool,
    },
}

/// Runs one command.
pub(super) fn config(config: &Config, format: LogFormat) -> ExitCode {
    let done = match request::prepare(config) {
        Ok(prepared) => match prepared.show {
            Show::Events => watch(config, prepared, format),
            _ => once(config, &prepared, format),
        },
        Err(problem) => Err(problem),
    };
    done.unwrap_or_else(|problem| {
        report::problem(&problem, format);
        problem.exit
    })
}

/// One request, one answer.
fn once(config: &Config, prepared: &Prepared, format: LogFormat) -> Result<ExitCode, Problem> {
    let way = &config.way;
    let answer = client::run(async {
        let place = place::find(way.host.as_deref(), way.plugin.as_deref()).await?;
        client::ask(&place, &prepared.ask).await
    })?;
    if !answer.is_success() {
        return Ok(refuse(config, &answer, prepared.input.as_ref(), format));
    }
    let text = match (way.json, serde_json::from_slice::<Value>(&answer.body)) {
        (false, Ok(body)) => prepared.show.text(&body),
        _ => String::from_utf8_lossy(&answer.body).into_owned(),
    };
    report::out(&text);
    Ok(ExitCode::Clean)
}

fn watch(config: &Config, prepared: Prepared, format: LogFormat) -> Result<ExitCode, Problem> {
    let watch = watch::Watch {
        host: config.way.host.as_deref(),
        plugin: config.way.plugin.as_deref(),
        ask: prepared.ask,
        as_json: config.way.json,
        format,
    };
    match client::run(watch.run())? {
        watch::End::Done => Ok(ExitCode::Clean),
        watch::End::Refused(answer) => Ok(refuse(config, &answer, None, format)),
    }
}

/// A refusal goes where its reader looks: a program to stdout, a person to stderr.
fn refuse(config: &Config, answer: &Answer, input: Option<&Input>, format: LogFormat) -> ExitCode {
    // What is made below the router has no body (config-api §2, step 2); somebody must hear of it all the same.
    match config.way.json && !answer.body.is_empty() {
        true => report::out(&String::from_utf8_lossy(&answer.body)),
        false => refusal::print(answer, input, format),
    }
    ExitCode::Running
}
