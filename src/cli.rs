//! The commands beside `serve`: what a person types who has a template, with an adapter or without any.

mod address;
mod calling;
mod certificates;
mod changing;
mod connection;
mod contract;
mod failure;
mod findings;
mod flags;
mod looking;
mod offline;
mod options;
mod output;
mod overriding;
mod probing;
mod reads;
mod requests;
mod resting;
mod shell;
mod sight;
mod source;
mod text;
mod unanswered;
mod view;
mod waiting;
mod words;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::config::Config;
use failure::{Failure, REFUSED, USAGE, shown};
use output::{Output, Stream};
use view::View;

/// The binary's name, for sentences that tell what to type.
pub const PROGRAM: &str = env!("CARGO_PKG_NAME");

/// What is told behind the help of every command.
const CODES: &str = "Exit codes: 0 done; 1 refused, or failed; 2 the command line or a file cannot be used; 3 the \
                     adapter or its cluster does not answer; 4 the wait has ended before what it waited for; 130 \
                     Ctrl-C has ended the wait.";

/// What the binary is told to do.
#[derive(Debug)]
pub enum Told {
    /// Serve.
    Serve(Box<Config>),
    /// A command beside serving.
    Do(Box<Command>),
}

#[derive(Parser)]
#[command(name = PROGRAM, version, max_term_width = 100)]
struct Commands {
    #[command(subcommand)]
    command: Command,
}

/// A command beside `serve`. Its flags are built when it is the one that is meant; what its own help then begins with is
/// the first line of those, so both say the same.
#[derive(Clone, Debug, Subcommand)]
#[command(defer = true)]
pub enum Command {
    /// Check templates and tell everything found; needs no adapter
    #[command(after_help = CODES)]
    Validate(offline::ValidateArgs),
    /// Translate a template to manifests, for `kubectl apply -f -`; needs no adapter
    #[command(after_help = CODES)]
    Translate(offline::TranslateArgs),
    /// Deploy a template, or update what was deployed from it, and wait until it is ready
    #[command(after_help = CODES)]
    Deploy(requests::DeployArgs),
    /// Tell what a deploy would do, field by field, and do nothing
    #[command(after_help = CODES)]
    Plan(requests::PlanArgs),
    /// Show one deployment
    #[command(after_help = CODES)]
    Get(reads::GetArgs),
    /// List deployments, as they were last recorded
    #[command(after_help = CODES)]
    List(reads::ListArgs),
    /// Watch a deployment, or all
    #[command(after_help = CODES)]
    Watch(reads::WatchArgs),
    /// Change the replicas of components, and wait until they are ready
    #[command(after_help = CODES)]
    Scale(requests::ScaleArgs),
    /// List the revisions of a deployment
    #[command(after_help = CODES)]
    Revisions(reads::RevisionsArgs),
    /// Put an earlier revision back, and wait until it is ready
    #[command(after_help = CODES)]
    Rollback(requests::RollbackArgs),
    /// Delete everything that belongs to a deployment, and wait until it is gone
    #[command(after_help = CODES)]
    Teardown(requests::TeardownArgs),
    /// Write a script that makes a shell complete commands and flags
    Completion(shell::CompletionArgs),
    /// Write a page of the manual, as `man -l` reads it
    Man(shell::ManArgs),
}

/// The settings of serving. No help shows what a variable holds: it may be an address with credentials.
fn settings() -> clap::Command {
    Config::command().mut_args(|flag| flag.hide_env_values(true))
}

/// The whole command line: that of serving, with the commands beside it.
pub fn command() -> clap::Command {
    let serve = settings().name("serve").about("Serve gRPC; the command that is meant where none is named");
    let serve = serve.long_about(None::<&str>).version(None::<&str>);
    let commands = Commands::command();
    settings()
        .args_conflicts_with_subcommands(true)
        .subcommand_help_heading("Commands")
        .subcommand(serve)
        .subcommands(commands.get_subcommands().cloned())
}

/// Reads a command line. The variables of the server's settings concern serving alone.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Told, clap::Error> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let first = arguments.get(1).and_then(|first| first.to_str()).unwrap_or_default();
    if Command::has_subcommand(first) {
        return Commands::try_parse_from(arguments).map(|told| Told::Do(Box::new(told.command)));
    }
    if first == "serve" && arguments.len() > 1 {
        arguments.remove(1);
        let config = settings().bin_name(format!("{PROGRAM} serve")).try_get_matches_from(arguments)?;
        return Config::of(&config).map(|config| Told::Serve(Box::new(config)));
    }
    let misplaced = misplaced(&arguments).map(str::to_owned);
    let matches = command().try_get_matches_from(arguments).map_err(|error| match misplaced {
        Some(name) if error.use_stderr() => {
            let text = format!("flags of a command come behind it: {PROGRAM} {name} [OPTIONS]");
            command().error(ErrorKind::UnknownArgument, text)
        }
        _ => error,
    })?;
    Config::of(&matches).map(|config| Told::Serve(Box::new(config)))
}

/// Prints the help or the version that was asked for, or the usage of a command; fails where it cannot be written.
pub fn tell(answer: &clap::Error) -> ExitCode {
    let printed = answer.print().and_then(|()| std::io::stdout().flush());
    match printed {
        // Whoever reads no further has read enough, and usage that nobody sees is usage.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe && !answer.use_stderr() => {
            end(&Failure::output(&error), &mut std::io::stderr().lock())
        }
        _ => ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(USAGE)),
    }
}

/// Tells a failure and ends with its code.
fn end(failure: &Failure, err: &mut dyn Write) -> ExitCode {
    // Nobody is left to tell that standard error is closed.
    let _ = err.write_all(shown(&failure.text).as_bytes());
    ExitCode::from(failure.code)
}

/// Whether a command line that cannot be read was meant for one of the commands beside `serve`, whose usage is 2: it
/// begins with a word that is no flag, or names a command further on.
pub fn is_command(arguments: &[OsString]) -> bool {
    let first = arguments.get(1).map(|first| first.to_string_lossy());
    let is_word = first.is_some_and(|first| first != "serve" && !first.starts_with('-'));
    is_word || misplaced(arguments).is_some()
}

/// The command that is named behind flags.
fn misplaced(arguments: &[OsString]) -> Option<&str> {
    let first = arguments.get(1)?.to_str()?;
    let mut words = arguments.iter().skip(2).filter_map(|word| word.to_str());
    words.find(|word| first.starts_with('-') && Command::has_subcommand(word))
}

impl Command {
    /// Carries the command out; what it answers goes to standard output, all else to standard error.
    pub fn run(&self) -> ExitCode {
        let mut out = Stream::new(std::io::BufWriter::new(std::io::stdout()));
        let mut err = Stream::new(std::io::stderr().lock());
        let done = self.answer(&mut out, &mut err);
        let written = out.flush().map_err(|error| Failure::output(&error));
        match done.and(written) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => end(&failure, &mut err),
        }
    }

    /// Refuses what cannot be meant, where a flag or a file alone does not show it.
    fn check(&self) -> Result<(), Failure> {
        match self {
            Self::Validate(asked) => asked.around.check(&asked.files),
            Self::Translate(asked) => asked.around.check(std::slice::from_ref(&asked.file)),
            Self::Deploy(asked) => asked.check(),
            Self::Plan(asked) => asked.deploy.check(),
            Self::Scale(asked) => asked.check(),
            Self::Watch(asked) => asked.check(),
            Self::Rollback(asked) => asked.check(),
            Self::Teardown(asked) => asked.check(),
            Self::Get(_) | Self::List(_) | Self::Revisions(_) | Self::Completion(_) | Self::Man(_) => Ok(()),
        }
    }

    fn answer(&self, out: &mut dyn Output, err: &mut dyn Write) -> Result<(), Failure> {
        self.check()?;
        match self {
            Self::Validate(asked) => asked.run(out, err),
            Self::Translate(asked) => asked.run(out, err),
            Self::Completion(asked) => asked.run(out),
            Self::Man(asked) => asked.run(out),
            Self::Deploy(_)
            | Self::Plan(_)
            | Self::Get(_)
            | Self::List(_)
            | Self::Watch(_)
            | Self::Scale(_)
            | Self::Revisions(_)
            | Self::Rollback(_)
            | Self::Teardown(_) => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.map_err(|error| Failure::new(REFUSED, error.to_string()))?;
                runtime.block_on(Box::pin(self.call(out, err)))
            }
        }
    }

    /// Calls an adapter.
    async fn call(&self, out: &mut dyn Output, err: &mut dyn Write) -> Result<(), Failure> {
        match self {
            Self::Deploy(asked) => asked.deploy(&mut View::new(out, asked.client.output), err).await,
            Self::Plan(asked) => {
                asked.deploy.plan_it(&mut View::new(out, asked.deploy.client.output), err).await
            }
            Self::Get(asked) => asked.run(&mut View::new(out, asked.client.output)).await,
            Self::List(asked) => asked.run(&mut View::new(out, asked.client.output)).await,
            Self::Watch(asked) => asked.run(&mut View::new(out, asked.client.output)).await,
            Self::Scale(asked) => asked.run(&mut View::new(out, asked.client.output), err).await,
            Self::Revisions(asked) => asked.run(&mut View::new(out, asked.client.output)).await,
            Self::Rollback(asked) => asked.run(&mut View::new(out, asked.client.output), err).await,
            Self::Teardown(asked) => asked.run(&mut View::new(out, asked.client.output), err).await,
            Self::Validate(_) | Self::Translate(_) | Self::Completion(_) | Self::Man(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
