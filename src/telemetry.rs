//! Log lines and spans: their form, their filter, and where they go.

#[cfg(feature = "otlp")]
mod otlp;
#[cfg(not(feature = "otlp"))]
#[path = "telemetry/unbuilt.rs"]
mod otlp;

use tracing::error;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

use self::otlp::Collector;
pub use self::otlp::Parent;

/// Libraries that log requests, answers or headers below WARN; these hold values of the environment and tokens.
const TALKATIVE: [&str; 6] = ["kube", "hyper", "h2", "tower", "tonic", "opentelemetry"];

/// What is written and sent while the process runs; see [`Telemetry::end`].
#[derive(Debug)]
pub struct Telemetry {
    collector: Option<Collector>,
}

impl Telemetry {
    /// Starts logging to standard error, and sends spans to a collector if there is one; fails with a sentence when the
    /// filter or the collector's address cannot be read. It needs a runtime.
    pub fn start(filter: &str, json: bool, collector: Option<&str>) -> Result<Self, String> {
        let asked = EnvFilter::try_new(filter).map_err(|error| format!("--log: {error}"))?;
        let collector = collector.map(Collector::at).transpose()?;
        let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(terminal);
        let lines: Box<dyn Layer<_> + Send + Sync> = if json { lines.json().boxed() } else { lines.boxed() };
        // Not directives of the filter: there a more specific one, given on the command line, would win.
        let discreet = filter_fn(|metadata| {
            let is_of = |name: &str| metadata.target().starts_with(name);
            // The client warns of answers it cannot read by quoting them whole; the failure reaches us all the same.
            // What HTTP/2 warns of is what a caller has sent: whoever floods would write our log.
            // Its watcher warns of every failure, and quotes it; we tell what a watch meets once.
            let quotes = is_of("kube_client") || is_of("kube_runtime") || is_of("h2");
            !quotes && (*metadata.level() <= LevelFilter::WARN || !TALKATIVE.iter().any(|name| is_of(name)))
        });
        let spans = collector.as_ref().map(Collector::layer);
        let started = Registry::default().with(spans).with(asked).with(discreet).with(lines).try_init();
        started.map_err(|error| format!("logging cannot be started: {error}"))?;
        Ok(Self { collector })
    }

    /// Sends what has not been sent yet, for a second at most.
    pub async fn end(self) {
        if let Some(collector) = self.collector {
            collector.end().await;
        }
    }
}

/// Tells in the log where a panic happens, and nothing of what it says: that may quote what was worked on.
pub fn tell_of_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        error!(at, "a thread panicked");
    }));
}
