//! Takes every template of a folder through its whole life, by each profile, and says in a table how that went.
//!
//! `cargo run --example conformance -- DIR` needs no cluster: it serves a sandbox to itself. `--kubeconfig FILE`
//! serves that cluster instead, `--server URL` talks to an adapter that is running, and both together let it look at
//! the cluster behind that adapter, too. Every template is deployed into a namespace of its own, which goes again
//! where the cluster is known. It ends with 0 when everything is right, else with 1.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what it prints is what it is for")]

mod links;
mod looking;
mod report;
mod walk;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use kube::config::{KubeConfigOptions, Kubeconfig};
use panamax_kubernetes_adapter::artifacts::Namespace;
use panamax_kubernetes_adapter::callers::Callers;
use panamax_kubernetes_adapter::clock::Clock;
use panamax_kubernetes_adapter::cluster::Cluster;
use panamax_kubernetes_adapter::operations::{RequestLimits, Settings};
use panamax_kubernetes_adapter::sandbox::Sandbox;
use panamax_kubernetes_adapter::server::{self, Capacity, Parts};
use tokio::net::TcpListener;
use tonic::transport::Endpoint;

use report::{Row, report, summary, table, templates};
use walk::Site;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Takes every template of a folder through its whole life, by each profile.
#[derive(Parser)]
#[command(name = "conformance")]
struct Wishes {
    /// The folder with the templates: *.pmx, *.yaml, *.yml, *.json.
    folder: PathBuf,
    /// An adapter that is running; else one is started here.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// The cluster to serve, or that behind --server to look at; else a sandbox.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// How many templates are under way at once.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    parallel: u8,
}

#[tokio::main]
async fn main() -> ExitCode {
    let wishes = match Wishes::try_parse() {
        Ok(wishes) => wishes,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    match answer(&wishes).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("conformance: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything is right.
async fn answer(wishes: &Wishes) -> Result<bool> {
    let folder = wishes.folder.display();
    let paths = templates(&wishes.folder).map_err(|error| format!("{folder} cannot be read: {error}"))?;
    if paths.is_empty() {
        return Err(format!("{folder} has no templates").into());
    }
    let rows = at_site(wishes, async |site| {
        // Two reports on one cluster must not meet: the names are this run's own.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() & 0xffff_ffff;
        let run = format!("conformance-{now:08x}");
        let progress = Progress::new(paths.len() * report::PROFILES.len());
        let rows = report(site, &paths, &run, wishes.parallel.into(), |row| progress.tell(row)).await;
        progress.bar.finish_and_clear();
        if site.client.is_none() {
            println!("The cluster is not known, so the namespaces {run}-* stay, with nothing in them.\n");
        }
        rows
    });
    let rows = rows.await?;
    println!("{}\n{}", table(&rows), summary(&rows));
    Ok(rows.iter().all(Row::is_right))
}

/// Does something where templates can be tried: at the adapter that runs, or at one of its own.
async fn at_site<T>(wishes: &Wishes, work: impl AsyncFnOnce(&Site) -> T) -> Result<T> {
    let (config, sandbox) = match (&wishes.kubeconfig, &wishes.server) {
        (Some(path), _) => (Some(configuration(path).await?), None),
        (None, Some(_)) => (None, None),
        (None, None) => {
            let sandbox = Sandbox::start(TcpListener::bind("127.0.0.1:0").await?).await?;
            (Some(kube::Config::new(sandbox.url().parse()?)), Some(sandbox))
        }
    };
    let client = config.clone().map(kube::Client::try_from).transpose()?;
    match (&wishes.server, config) {
        (Some(server), _) => Ok(work(&connect(server, client).await?).await),
        (None, Some(config)) => {
            serve(config, sandbox.is_some(), async |server| Ok(work(&connect(server, client).await?).await))
                .await
        }
        (None, None) => Err("neither an adapter nor a cluster".into()),
    }
}

async fn configuration(path: &Path) -> Result<kube::Config> {
    let refused = |error: &dyn std::fmt::Display| format!("--kubeconfig {}: {error}", path.display());
    let kubeconfig = Kubeconfig::read_from(path).map_err(|error| refused(&error))?;
    let options = KubeConfigOptions::default();
    Ok(kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| refused(&error))?)
}

async fn connect(server: &str, client: Option<kube::Client>) -> Result<Site> {
    let endpoint = Endpoint::from_shared(server.to_owned())
        .map_err(|error| format!("--server {server}: {error}; write it as http://localhost:50051"))?;
    let channel = endpoint
        .connect_timeout(Duration::from_secs(5))
        .connect()
        .await
        .map_err(|_| format!("no adapter answers at {server}"))?;
    Ok(Site { channel, client })
}

/// Serves an adapter of the cluster for as long as the work takes.
async fn serve<T>(
    config: kube::Config,
    sandbox: bool,
    work: impl AsyncFnOnce(&str) -> Result<T>,
) -> Result<T> {
    let cluster = Cluster::new(config).map_err(|error| error.message().to_owned())?;
    let settings = Settings {
        namespace: Namespace::new("default")?,
        lease: Duration::from_secs(30),
        unschedulable_grace: Duration::from_secs(120),
        holder: "conformance".to_owned(),
        keeps: Vec::new(),
        requests: RequestLimits::default(),
    };
    let (clock, drain_timeout) = (Clock::system(), Duration::from_secs(5));
    let parts = Parts {
        cluster,
        sandbox,
        settings,
        callers: Callers::open(clock.clone()),
        clock,
        drain_timeout,
        tls: None,
        capacity: Capacity::default(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = server::run(parts, listener, async {
        // A dropped sender means the work has ended, too.
        let _ = stopped.await;
    });
    let working = async {
        let done = work(&url).await;
        let _ = stop.send(());
        done
    };
    let (done, served) = tokio::join!(working, serving);
    served?;
    done
}

/// How far it is: a bar on a terminal, elsewhere a line for each template and profile.
struct Progress {
    bar: ProgressBar,
}

impl Progress {
    fn new(tries: usize) -> Self {
        let bar = ProgressBar::new(tries as u64);
        let style = ProgressStyle::with_template("{bar:40} {pos} of {len}, {eta} left  {msg}");
        Self { bar: bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())) }
    }

    fn tell(&self, row: &Row) {
        let word = if row.is_right() { "right" } else { "wrong" };
        self.bar.inc(1);
        self.bar.set_message(row.template.clone());
        if self.bar.is_hidden() {
            let (done, all) = (self.bar.position(), self.bar.length().unwrap_or_default());
            eprintln!("{done} of {all}: {} {} {word}", row.template, row.profile);
        }
    }
}
