//! Reads the command line, then serves or carries a command out.

use std::ffi::OsString;
use std::process::ExitCode;

use panamax_kubernetes_adapter::cli::{self, Told};
use panamax_kubernetes_adapter::start::{self, Refusal};

/// Gives memory back to the system soon after a burst of work.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match cli::parse(arguments.clone()) {
        Ok(Told::Serve(config)) => end(start::run(*config)),
        Ok(Told::Do(command)) => command.run(),
        // The help or the version, which was asked for; or the usage of a command.
        Err(answer) if !answer.use_stderr() || cli::is_command(&arguments) => cli::tell(&answer),
        Err(error) => end(Err(start::usage(&error))),
    }
}

fn end(served: Result<(), Refusal>) -> ExitCode {
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            // Logging may not have started: the one sentence goes to standard error as it is.
            #[expect(clippy::print_stderr, reason = "the sentence that tells why nothing was started")]
            {
                eprintln!("panamax-kubernetes-adapter: {}", refusal.sentence);
            }
            ExitCode::from(refusal.code)
        }
    }
}
