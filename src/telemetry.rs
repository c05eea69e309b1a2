//! Log lines: their form, their filter, and where they go.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging to standard error; fails with a sentence when the filter cannot be read.
pub fn start(filter: &str, json: bool) -> Result<(), String> {
    // kube logs whole requests at debug; bodies hold values of the environment.
    let filter =
        EnvFilter::try_new(format!("{filter},kube=warn,kube_client=warn,hyper=warn,h2=warn,tower=warn"))
            .map_err(|error| format!("--log: {error}"))?;
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(terminal);
    let started = if json { lines.json().finish().try_init() } else { lines.finish().try_init() };
    started.map_err(|error| format!("logging cannot be started: {error}"))
}
