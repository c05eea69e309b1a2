//! What shells complete, and the manual's pages.

use std::io::Write;

use clap::{Args, Command};
use clap_complete::Shell;

use super::PROGRAM;
use super::failure::Failure;

/// Write a script that makes a shell complete commands and flags
#[derive(Args, Clone, Debug)]
pub struct CompletionArgs {
    /// Shell that is to complete: `source <(panamax-kubernetes-adapter completion bash)`
    shell: Shell,
}

/// Write a page of the manual, as `man -l` reads it
#[derive(Args, Clone, Debug)]
pub struct ManArgs {
    /// Command to explain [default: the program with all of its commands]
    command: Option<String>,
}

impl CompletionArgs {
    /// Writes the script that makes a shell complete.
    pub fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(), PROGRAM, &mut script);
        let script = String::from_utf8_lossy(&script);
        let script = if self.shell == Shell::Bash { consistent(&script) } else { script.into_owned() };
        out.write_all(script.as_bytes()).map_err(|error| Failure::output(&error))
    }
}

/// The script for bash, in which every command has one word: the library writes the program's dashes in one way where
/// it sets the word, and in another where it looks for it, so nothing behind a command was ever completed.
fn consistent(script: &str) -> String {
    script.replace(&PROGRAM.replace('-', "__subcmd__"), &PROGRAM.replace('-', "__"))
}

impl ManArgs {
    /// Writes a page of the manual.
    pub fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let mut program = super::command();
        program.build();
        let page = match &self.command {
            None => program,
            Some(name) => page(&program, name)?,
        };
        let source = format!("{PROGRAM} {}", env!("CARGO_PKG_VERSION"));
        clap_mangen::Man::new(page).source(source).render(out).map_err(|error| Failure::output(&error))
    }
}

/// The definition of one command, under the name that its page has.
fn page(program: &Command, name: &str) -> Result<Command, Failure> {
    let found = program.get_subcommands().find(|command| command.get_name() == name);
    let found = found.ok_or_else(|| Failure::usage(format!("there is no command `{name}`; see --help")))?;
    let (title, typed) = (format!("{PROGRAM}-{name}"), format!("{PROGRAM} {name}"));
    Ok(found.clone().name(title).display_name(format!("{PROGRAM}-{name}")).bin_name(typed))
}
