//! From the configuration to a running server: every check before any socket opens.

mod callers;

use std::io::ErrorKind as IoErrorKind;
use std::sync::Arc;

use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

use crate::artifacts::Namespace;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::config::{Config, LogFormat};
use crate::operations::Settings;
use crate::server::{self, Capacity, Files, Parts, Tls};
use crate::telemetry;

/// Why nothing was started: one sentence and the process's exit code.
#[derive(Debug)]
pub struct Refusal {
    /// 64 usage, 69 the port is taken, 70 serving failed, 78 unsafe or contradictory configuration.
    pub code: u8,
    /// What is wrong and what to do.
    pub sentence: String,
}

fn refusal(code: u8, sentence: impl Into<String>) -> Refusal {
    Refusal { code, sentence: sentence.into() }
}

/// The refusal of a command line or of a variable that cannot be read.
pub fn usage(error: &clap::Error) -> Refusal {
    // What comes after the first paragraph is the usage, which --help shows.
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = first.trim_start_matches("error:").split_whitespace().collect();
    refusal(64, format!("{}; see --help", words.join(" ")))
}

/// Serves as configured until the first SIGTERM or SIGINT has drained, or the second has come.
pub async fn run(config: Config) -> Result<(), Refusal> {
    telemetry::start(&config.log, config.log_format == LogFormat::Json).map_err(|text| refusal(64, text))?;
    let namespace = Namespace::new(config.namespace.clone())
        .map_err(|rule| refusal(64, format!("--namespace {rule}")))?;
    let keeps = config.namespaces.iter().map(|name| Namespace::new(name.clone()));
    let keeps = keeps.collect::<Result<Vec<_>, _>>();
    let keeps = keeps.map_err(|rule| refusal(64, format!("--namespaces: each {rule}")))?;
    check_listen(&config)?;
    callers::check(&config)?;
    let tls = tls(&config)?;
    let signals = signals().map_err(|error| refusal(70, format!("signals cannot be handled: {error}")))?;
    let (cluster, _sandbox) = cluster(&config).await?;
    let clock = Clock::system();
    let callers = callers::callers(&config.callers, &cluster, clock.clone())?;
    let listener = TcpListener::bind(config.listen).await.map_err(|error| {
        if error.kind() == IoErrorKind::AddrInUse {
            refusal(69, format!("{} is taken; choose another with --listen", config.listen))
        } else {
            refusal(69, format!("{} cannot be listened on: {error}", config.listen))
        }
    })?;
    let address = listener.local_addr().map_err(|error| refusal(70, error.to_string()))?;
    info!(%address, cluster = cluster.server(), sandbox = config.sandbox, "serving");
    let parts = Parts {
        cluster,
        sandbox: config.sandbox,
        settings: Settings {
            namespace,
            lease: config.lease,
            unschedulable_grace: config.unschedulable_grace,
            holder: holder(),
            keeps,
        },
        clock,
        callers,
        drain_timeout: config.drain_timeout,
        tls,
        capacity: Capacity {
            connections: config.max_connections.get(),
            calls: config.max_calls.get(),
            watches: config.max_watches.get(),
        },
    };
    serve(parts, listener, signals).await
}

/// The first signal drains, the second ends it now.
async fn serve(parts: Parts, listener: TcpListener, signals: (Signal, Signal)) -> Result<(), Refusal> {
    let (mut terminate, mut interrupt) = signals;
    let (first, told) = tokio::sync::oneshot::channel::<()>();
    let serving = server::run(parts, listener, async {
        // An ended sender means the process is ending anyway.
        let _ = told.await;
    });
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

/// Off loopback nobody is known and everything is readable: refused unless asked for by name.
fn check_listen(config: &Config) -> Result<(), Refusal> {
    if config.listen.ip().is_loopback() {
        return Ok(());
    }
    if config.sandbox {
        return Err(refusal(78, "--sandbox serves on loopback only; use --listen 127.0.0.1:50051"));
    }
    if config.allow_plaintext || config.tls_client_ca.is_some() {
        return Ok(());
    }
    Err(refusal(
        78,
        "off loopback every caller would be unknown and every value readable; listen on 127.0.0.1, name \
         --tls-cert, --tls-key and --tls-client-ca, or, behind a mesh that brings TLS and identity, add \
         --allow-plaintext",
    ))
}

/// The certificates that are asked for, checked.
fn tls(config: &Config) -> Result<Option<Arc<Tls>>, Refusal> {
    let (Some(certificate), Some(key)) = (&config.tls_cert, &config.tls_key) else { return Ok(None) };
    let files =
        Files { certificate: certificate.clone(), key: key.clone(), clients: config.tls_client_ca.clone() };
    let tls = Tls::load(files, Clock::system().now()).map_err(|why| refusal(78, why.to_string()))?;
    Ok(Some(Arc::new(tls)))
}

/// The cluster that was asked for; the sandbox lives as long as its handle.
async fn cluster(config: &Config) -> Result<(Cluster, Option<crate::sandbox::Sandbox>), Refusal> {
    if config.sandbox {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener =
            listener.map_err(|error| refusal(69, format!("the sandbox finds no port: {error}")))?;
        let sandbox = crate::sandbox::Sandbox::start(listener).await;
        let sandbox =
            sandbox.map_err(|error| refusal(70, format!("the sandbox cannot be started: {error}")))?;
        let url =
            sandbox.url().parse().map_err(|error| refusal(70, format!("the sandbox's address: {error}")))?;
        let cluster = handle(kube::Config::new(url))?;
        return Ok((cluster, Some(sandbox)));
    }
    Ok((handle(kubernetes(config).await?)?, None))
}

fn handle(config: kube::Config) -> Result<Cluster, Refusal> {
    let local = config
        .cluster_url
        .host()
        .is_some_and(|host| host == "localhost" || host.starts_with("127.") || host == "[::1]");
    let verified = config.cluster_url.scheme_str() == Some("https") && !config.accept_invalid_certs;
    if !local && !verified {
        return Err(refusal(
            78,
            "the cluster's address is off loopback and its certificate is not verified; use https with a certificate authority",
        ));
    }
    Cluster::new(config)
        .map_err(|error| refusal(78, format!("{}: {}", error.message(), error.context().join("; "))))
}

async fn kubernetes(config: &Config) -> Result<kube::Config, Refusal> {
    let options = KubeConfigOptions { context: config.context.clone(), ..KubeConfigOptions::default() };
    if let Some(path) = &config.kubeconfig {
        let kubeconfig = Kubeconfig::read_from(path).map_err(|error| {
            refusal(78, format!("--kubeconfig {} cannot be read: {error}", path.display()))
        })?;
        return kube::Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .map_err(|error| refusal(78, format!("--kubeconfig {}: {error}", path.display())));
    }
    match kube::Config::from_kubeconfig(&options).await {
        Ok(found) => Ok(found),
        Err(error) if config.context.is_some() => Err(refusal(78, format!("--context: {error}"))),
        Err(error) => kube::Config::incluster().map_err(|_| {
            refusal(
                78,
                format!(
                    "no cluster found: name one with --kubeconfig, run in a pod with a service account, or try \
                     --sandbox ({error})"
                ),
            )
        }),
    }
}

/// Who this adapter is, for those who wait for it.
fn holder() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "adapter".to_owned());
    format!("{host}/{}", std::process::id())
}
