//! Reads the configuration, binds the listener, serves.

use std::process::ExitCode;

use clap::Parser;
use panamax_kubernetes_adapter::config::Config;
use panamax_kubernetes_adapter::start;

#[tokio::main]
async fn main() -> ExitCode {
    match start::run(Config::parse()).await {
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
