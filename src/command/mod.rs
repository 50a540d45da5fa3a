//! What the command line asks for: serve, check, config, tail, publish, journal, completions, man.
//!
//! Invariant: whatever goes wrong is one sentence on standard error and exit code 2; standard output bears only what was
//! asked for, and a reader that closes it ends the command quietly.

mod backoff;
mod client;
mod endpoint;
mod journal;
mod log;
mod manual;
mod publish;
mod serve;
mod socket;
mod tail;
mod token;

#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Config, ConfigError};
use crate::credentials;
use crate::gateway::{self, StartError, certificates, secrets, token_keys};
use crate::journal::JournalError;

const EXIT_FAILED: u8 = 2;

const ABOUT: &str = "A WebSocket gateway for market-data feeds: one publication in, the same bytes out to every subscriber.";

const EXAMPLES: &str = "\
Examples:
  tidegate
      Demo mode: a made-up market on 127.0.0.1:8080, with its page at http://127.0.0.1:8080/
  tidegate tail demo.trades.BTC-USD
      Prints what a topic publishes
  tidegate --replay recording.gz
      Plays a recording of a combined stream at its own pace
  tidegate config > tidegate.toml
      The default configuration to start from, every key with its meaning
  tidegate check --config tidegate.toml
      What it puts in force, and what in it is risky
  tidegate --config tidegate.toml
      Runs what the file names, and nothing else

Exit codes: 0 done or stopped; 2 something was wrong, said in a sentence on standard error.";

#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about = ABOUT, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the gateway; the default, so the word can be left out
    Serve(Box<serve::ServeArgs>),
    /// Reads a configuration, says what it puts in force and warns of what is risky
    Check(CheckArgs),
    /// Prints the default configuration as commented TOML
    Config,
    /// Subscribes to streams and prints what they publish
    Tail(tail::TailArgs),
    /// Publishes each line of a file or of standard input
    Publish(publish::PublishArgs),
    /// Reads the files of journaled topics
    Journal(journal::JournalArgs),
    /// Prints a script that has a shell complete this command line
    Completions(manual::CompletionsArgs),
    /// Prints the manual's page, for `man -l -`
    Man(manual::ManArgs),
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

/// Why a command ended with exit code 2; displays as a sentence with what to try.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{what} {} cannot be read ({source}); check its path and its permissions", file.display())]
    Unreadable { what: &'static str, file: PathBuf, source: io::Error },
    #[error("{what} cannot be written to {} ({source}); check that its directory is there and yours", file.display())]
    Unwritable { what: &'static str, file: PathBuf, source: io::Error },
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("standard output cannot be written ({0}); what was to be printed is lost")]
    Output(io::Error),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("{0}")]
    Client(String),
    #[error("{0}")]
    Arguments(String),
}

/// Does what the command line asks for.
#[must_use]
pub fn run() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => exit_code(cli.run()),
        Err(error) if error.use_stderr() => exit_code(Err(CommandError::Arguments(sentence(&error)))),
        // Help and version are what was asked for.
        Err(error) => exit_code(print(&error.render().to_string())),
    }
}

fn exit_code(outcome: Result<(), CommandError>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.to_string());
            ExitCode::from(EXIT_FAILED)
        }
    }
}

impl Cli {
    fn run(self) -> Result<(), CommandError> {
        match self.command {
            None => serve::run(&self.serve),
            Some(Command::Serve(args)) => serve::run(&args),
            Some(Command::Check(args)) => check(&args.config),
            Some(Command::Config) => print(&config::default_text()),
            Some(Command::Tail(args)) => tail::run(&args),
            Some(Command::Publish(args)) => publish::run(&args),
            Some(Command::Journal(args)) => journal::run(&args),
            Some(Command::Completions(args)) => manual::completions(&args),
            Some(Command::Man(args)) => manual::man(&args),
        }
    }
}

fn check(file: &Path) -> Result<(), CommandError> {
    let config = read(file)?;
    let loaded = certificates::load(&config, None).map_err(StartError::from)?;
    let (_, risky) = secrets::load(&config).map_err(StartError::from)?;
    token_keys::load(&config).map_err(StartError::from)?;
    credentials::Settings::read(&config).map_err(StartError::Credentials)?;
    let warnings = config::warnings(&config).into_iter().chain(gateway::machine_warnings(&config));
    let warnings = warnings.chain(loaded.warnings).chain(risky);
    let warnings: String = warnings.map(|warning| format!("warning: {warning}\n")).collect();
    print(&format!("{} is valid. In force:\n\n{}\n{warnings}", file.display(), config::in_force(&config)))
}

/// Reads a configuration file, and sees that the recordings it names are there.
fn read(file: &Path) -> Result<Config, CommandError> {
    let unreadable = |source| CommandError::Unreadable { what: "the configuration file", file: file.into(), source };
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    let config = config::parse(&text, file)?;
    serve::recordings_can_be_read(&config)?;
    Ok(config)
}

/// A closed standard output is a reader that has seen enough.
fn print(text: &str) -> Result<(), CommandError> {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CommandError::Output(error)),
        _ => Ok(()),
    }
}

/// A line on standard error. Where that is closed too, nobody is left to be told.
fn say(line: &str) {
    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let _ = writeln!(io::stderr(), "tidegate: {line}");
}

/// What clap says over several lines, without its usage lines, as one.
fn sentence(error: &clap::Error) -> String {
    let rendered = error.render().to_string();
    let lines = rendered.lines().take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"));
    let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    let said = words.join(" ");
    let said = said.strip_prefix("error: ").unwrap_or(&said).replace(" tip: ", "; ");
    format!("{said}; `tidegate --help` tells what there is")
}
