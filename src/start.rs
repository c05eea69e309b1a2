//! From the configuration to a running server: every check before any socket opens.

mod callers;
mod checks;
mod cluster;
mod kubeconfig;
mod limits;

use std::ffi::OsString;
use std::io::ErrorKind as IoErrorKind;
use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

use crate::clock::Clock;
use crate::config::{Config, Listen, LogFormat};
use crate::operations::{RequestLimits, Settings};
use crate::server::{self, BindError, Listener, Listeners, Parts};
use crate::telemetry::{Telemetry, tell_of_panics};

/// Why nothing was started: one sentence and the process's exit code.
#[derive(Debug)]
pub struct Refusal {
    /// 64 usage, 69 the port is taken, 70 serving failed, 77 the adapter's own rights are too wide, 78 unsafe or
    /// contradictory configuration.
    pub code: u8,
    /// What is wrong and what to do.
    pub sentence: String,
}

fn refusal(code: u8, sentence: impl Into<String>) -> Refusal {
    // A library's words may have line ends; a refusal is one line.
    let sentence: String = sentence.into();
    let sentence = sentence.split_whitespace().collect::<Vec<_>>().join(" ");
    // A file's name may hold what a terminal acts on.
    Refusal { code, sentence: sentence.replace(char::is_control, "\u{fffd}") }
}

/// The refusal of a command line or of a variable that cannot be read.
pub fn usage(error: &clap::Error) -> Refusal {
    // What is no text is told by its name alone, and before what a reader of words makes of it.
    if let Some(name) = unreadable(std::env::vars_os()) {
        return refusal(64, format!("the variable {name} is no text in UTF-8; see --help"));
    }
    // What comes after the first paragraph is the usage, which --help shows.
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    refusal(64, format!("{}; see --help", first.trim_start_matches("error:").trim()))
}

/// The variable of a setting whose value is no text.
fn unreadable(variables: impl Iterator<Item = (OsString, OsString)>) -> Option<String> {
    let mut unreadable = variables.filter(|(_, value)| value.to_str().is_none());
    unreadable.find_map(|(name, _)| name.into_string().ok().filter(|name| name.starts_with("PANAMAX_")))
}

/// Serves as configured until the first SIGTERM or SIGINT has drained, or the second has come.
pub async fn run(config: Config) -> Result<(), Refusal> {
    let is_json = config.log_format == LogFormat::Json;
    let telemetry = Telemetry::start(&config.log, is_json, config.otlp_endpoint.as_deref())
        .map_err(|text| refusal(64, text))?;
    tell_of_panics();
    let served = checked(config).await;
    telemetry.end().await;
    served
}

/// Checks everything, then serves.
async fn checked(config: Config) -> Result<(), Refusal> {
    let (namespace, keeps) = checks::namespaces(&config)?;
    checks::check(&config)?;
    callers::check(&config)?;
    let tls = checks::tls(&config)?;
    let capacity = checks::capacity(&config)?;
    let mut signals =
        signals().map_err(|error| refusal(70, format!("signals cannot be handled: {error}")))?;
    let clock = Clock::system();
    let opened = async {
        let (cluster, sandbox) = cluster::cluster(&config).await?;
        cluster::check_rights(&config, &cluster).await?;
        let callers = callers::callers(&config.callers, &cluster, clock.clone())?;
        Ok::<_, Refusal>((cluster, sandbox, callers, listeners(&config).await?))
    };
    let (cluster, _sandbox, callers, listeners) = tokio::select! {
        biased;
        // Whoever ends it before it serves has nothing to wait for.
        () = either(&mut signals.0, &mut signals.1) => return Ok(()),
        opened = opened => opened?,
    };
    let at = listeners.main.told().map_err(|error| refusal(70, error.to_string()))?;
    info!(
        address = at,
        metrics = told(listeners.metrics.as_ref()),
        rest = told(listeners.rest.as_ref()),
        cluster = cluster.server(),
        sandbox = config.sandbox,
        "serving"
    );
    let is_local = config.is_local();
    let rights = cluster.clone();
    let parts = Parts {
        cluster,
        sandbox: config.sandbox,
        settings: Settings {
            namespace,
            lease: config.lease,
            unschedulable_grace: config.unschedulable_grace,
            holder: holder(),
            keeps,
            requests: RequestLimits {
                default_deadline: config.limits.default_deadline,
                max_deadline: config.limits.max_deadline,
                max_replicas: config.limits.max_replicas,
            },
        },
        clock,
        callers,
        drain_timeout: config.drain_timeout,
        tls,
        capacity,
    };
    tokio::select! {
        served = serve(parts, listeners, signals) => served,
        refusal = cluster::too_wide(is_local, &rights) => Err(refusal),
    }
}

/// Opens every listener that is asked for.
async fn listeners(config: &Config) -> Result<Listeners, Refusal> {
    let metrics = open(config.metrics_listen, "--metrics-listen").await?;
    let rest = open(config.rest_listen, "--rest-listen").await?;
    let main = bind(&config.listen, "--listen").await?;
    Ok(Listeners { main, metrics, rest })
}

async fn open(address: Option<SocketAddr>, flag: &str) -> Result<Option<TcpListener>, Refusal> {
    match address {
        Some(address) => Ok(bind(&Listen::Tcp(address), flag).await?.into_tcp()),
        None => Ok(None),
    }
}

/// Where a listener listens; empty: there is none.
fn told(listener: Option<&TcpListener>) -> String {
    let address = listener.and_then(|listener| listener.local_addr().ok());
    address.map(|address| address.to_string()).unwrap_or_default()
}

async fn bind(listen: &Listen, flag: &str) -> Result<Listener, Refusal> {
    Listener::bind(listen).await.map_err(|error| match error {
        BindError::Taken => refusal(69, format!("{listen} is taken; choose another with {flag}")),
        BindError::NoSocket => refusal(
            78,
            format!("{listen}: there is a file that is no socket; choose another path with {flag}"),
        ),
        BindError::Io(error) if error.kind() == IoErrorKind::AddrInUse => {
            refusal(69, format!("{listen} is taken; choose another with {flag}"))
        }
        BindError::Io(error) => refusal(69, format!("{listen} cannot be listened on: {error}")),
    })
}

/// The first signal drains, the second ends it now.
async fn serve(parts: Parts, listeners: Listeners, signals: (Signal, Signal)) -> Result<(), Refusal> {
    let (mut terminate, mut interrupt) = signals;
    let (first, told) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async {
        // An ended sender means the process is ending anyway.
        let _ = told.await;
    };
    let serving = server::run_all(parts, listeners, shutdown);
    let second = async {
        either(&mut terminate, &mut interrupt).await;
        let _ = first.send(());
        either(&mut terminate, &mut interrupt).await;
    };
    tokio::select! {
        served = serving => served.map_err(|error| refusal(70, error.to_string())),
        () = second => Ok(()),
    }
}

fn signals() -> std::io::Result<(Signal, Signal)> {
    Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Who this adapter is, for those who wait for it.
fn holder() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "adapter".to_owned());
    format!("{host}/{}", std::process::id())
}
