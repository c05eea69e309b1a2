//! From the configuration to a running server: every check before any socket opens.

mod callers;
mod checks;
mod cluster;
mod kubeconfig;
mod limits;

use std::ffi::OsString;
use std::io::ErrorKind as IoErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use futures::FutureExt;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot::{self, Receiver};
use tokio::task::JoinError;
use tokio::time::sleep;
use tracing::info;

use crate::clock::Clock;
use crate::config::{Config, Listen, LogFormat};
use crate::operations::{RequestLimits, Settings};
use crate::server::{self, BindError, Listener, Listeners, Parts};
use crate::telemetry::{Telemetry, tell_of_panics};

/// How long after its drain timeout the process may need for what comes last, its last spans among it.
const LAST: Duration = Duration::from_millis(1500);

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
pub fn run(config: Config) -> Result<(), Refusal> {
    let thread = |error| refusal(70, format!("no thread can be started: {error}"));
    let runtime = Builder::new_multi_thread().enable_all().build().map_err(thread)?;
    // Whoever waits for the end waits for nothing else: a log that nobody reads holds up every thread that writes to it.
    let own = Builder::new_current_thread().enable_all().build().map_err(thread)?;
    let latest = config.drain_timeout.saturating_add(LAST);
    let ended = own.block_on(async {
        let (mut terminate, mut interrupt) =
            signals().map_err(|error| refusal(70, format!("signals cannot be handled: {error}")))?;
        let (first, told) = oneshot::channel();
        let mut serving = pin!(runtime.spawn(served(config, told)));
        tokio::select! {
            biased;
            served = serving.as_mut() => return whole(served),
            () = either(&mut terminate, &mut interrupt) => {}
        }
        // An ended receiver means that the process is ending anyway.
        let _ = first.send(());
        tokio::select! {
            biased;
            served = serving => whole(served),
            () = either(&mut terminate, &mut interrupt) => Ok(()),
            () = sleep(latest) => Ok(()),
        }
    });
    // Whoever resolves a name or writes at this moment would hold the process up.
    runtime.shutdown_background();
    ended
}

fn whole(served: Result<Result<(), Refusal>, JoinError>) -> Result<(), Refusal> {
    served.unwrap_or_else(|_| Err(refusal(70, "the adapter has panicked; its log says where")))
}

/// Serves until it is told to end; then it drains.
async fn served(config: Config, told: Receiver<()>) -> Result<(), Refusal> {
    if config
        .otlp_endpoint
        .as_ref()
        .and_then(|address| address.parse().ok())
        .is_some_and(|at| cluster::has_no_port(&at))
    {
        return Err(refusal(64, "--otlp-endpoint names a port that is none; ports are 1 to 65535"));
    }
    let is_json = config.log_format == LogFormat::Json;
    let telemetry = Telemetry::start(&config.log, is_json, config.otlp_endpoint.as_deref())
        .map_err(|text| refusal(64, text))?;
    tell_of_panics();
    let served = checked(config, told).await;
    telemetry.end().await;
    served
}

/// Checks everything, then serves.
async fn checked(config: Config, mut told: Receiver<()>) -> Result<(), Refusal> {
    let (namespace, keeps) = checks::namespaces(&config)?;
    limits::ranges(&config)?;
    let config = config.lowered();
    checks::check(&config)?;
    callers::check(&config)?;
    let tls = checks::tls(&config)?;
    let capacity = checks::capacity(&config)?;
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
        _ = &mut told => return Ok(()),
        opened = opened => opened?,
    };
    let at = listeners.main.told().map_err(|error| refusal(70, error.to_string()))?;
    info!(
        address = at,
        metrics = shown(listeners.metrics.as_ref()),
        rest = shown(listeners.rest.as_ref()),
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
                max_replicas: u32::try_from(config.limits.max_replicas).unwrap_or(u32::MAX),
            },
        },
        clock,
        callers,
        drain_timeout: config.drain_timeout,
        tls,
        capacity,
    };
    let shutdown = told.map(drop);
    tokio::select! {
        served = server::run_all(parts, listeners, shutdown) => {
            served.map_err(|error| refusal(70, error.to_string()))
        }
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
fn shown(listener: Option<&TcpListener>) -> String {
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
