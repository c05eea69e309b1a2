//! Log lines: their form, their filter, and where they go.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

/// Libraries that log requests, answers or headers below WARN; these hold values of the environment and tokens.
const TALKATIVE: [&str; 5] = ["kube", "hyper", "h2", "tower", "tonic"];

/// Starts logging to standard error; fails with a sentence when the filter cannot be read.
pub fn start(filter: &str, json: bool) -> Result<(), String> {
    let asked = EnvFilter::try_new(filter).map_err(|error| format!("--log: {error}"))?;
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(terminal);
    let lines: Box<dyn Layer<_> + Send + Sync> = if json { lines.json().boxed() } else { lines.boxed() };
    // Not directives of the filter: there a more specific one, given on the command line, would win.
    let discreet = filter_fn(|metadata| {
        let is_of = |name: &str| metadata.target().starts_with(name);
        // The client warns of answers it cannot read by quoting them whole; the failure reaches us all the same.
        // What HTTP/2 warns of is what a caller has sent: whoever floods would write our log.
        let quotes = is_of("kube_client") || is_of("h2");
        !quotes && (*metadata.level() <= LevelFilter::WARN || !TALKATIVE.iter().any(|name| is_of(name)))
    });
    let started = Registry::default().with(asked).with(discreet).with(lines).try_init();
    started.map_err(|error| format!("logging cannot be started: {error}"))
}
