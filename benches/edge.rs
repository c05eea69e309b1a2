//! The adapter's edge beside a bare tonic server: calls, connects by mutual TLS, and what idle peers take of memory.
//!
//! `cargo bench --bench edge` prints ratios of one run. The bare server is this program again, in a process of its own; it
//! serves gRPC's health by tonic's own server and library, without a limit, a layer or a log. `EDGE_ADAPTER` names
//! another build of the binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "what it prints is what it is for, and a failure ends it"
)]

#[path = "toolbox/support.rs"]
mod support;

use std::any::Any;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures::future::join_all;
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity, Server, ServerTlsConfig};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use support::adapter::{Binary, deploy};
use support::certificates::{Folder, authority, issued_for};

/// Callers at once, each with a connection of its own, and the calls of each in a round.
const CALLERS: usize = 8;
const CALLS: usize = 2_000;
/// Rounds, by turns; the best of each server counts.
const ROUNDS: usize = 5;
/// How long connects are counted in a round.
const CONNECTS: Duration = Duration::from_secs(2);
/// Idle connections, and idle watches with how many of them a connection has.
const IDLE: usize = 500;
const WATCHES: usize = 10_000;
const ON_ONE: usize = 800;
/// How long a server rests before its memory is read.
const REST: Duration = Duration::from_secs(2);
/// What the bare server is told by.
const BARE: &str = "EDGE_BARE";

/// The files of a caller and a server that know each other.
struct Files {
    folder: Folder,
    authority: String,
    client: (String, String),
}

impl Files {
    fn new() -> Self {
        let (folder, issuer) = (Folder::new("bench-edge"), authority("bench"));
        folder.server(&issuer);
        let day = time::Duration::days(1);
        let client = issued_for(&issuer, -day, day);
        let authority = issuer.pem();
        folder.write("ca.pem", &authority, 0o600);
        Self { folder, authority, client }
    }

    fn tls(&self) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .domain_name("localhost")
            .ca_certificate(Certificate::from_pem(&self.authority))
            .identity(Identity::from_pem(&self.client.0, &self.client.1))
    }
}

/// The bare server in a process of its own; killed when dropped.
struct Bare {
    child: Child,
    address: SocketAddr,
}

impl Bare {
    fn start(folder: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        let mut child = command.env(BARE, folder).stdout(Stdio::piped()).spawn().expect("it starts again");
        let mut line = String::new();
        let mut told = BufReader::new(child.stdout.take().expect("a pipe"));
        told.read_line(&mut line).expect("it tells where it listens");
        let address = line.trim().parse().expect("an address");
        Self { child, address }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves health and nothing else, until it is killed; with TLS where a folder is named.
async fn serve_bare(folder: &str) {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
    let mut server = Server::builder().max_concurrent_streams(Some(1_000));
    if !folder.is_empty() {
        let read = |name: &str| std::fs::read(Path::new(folder).join(name)).expect("a file");
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(read("cert.pem"), read("key.pem")))
            .client_ca_root(Certificate::from_pem(read("ca.pem")));
        server = server.tls_config(tls).expect("TLS");
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    server.add_service(health).serve_with_incoming(incoming).await.expect("it serves");
}

async fn connect(address: SocketAddr, tls: Option<ClientTlsConfig>) -> Channel {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let endpoint =
        Channel::from_shared(format!("{scheme}://{address}")).expect("an address").tcp_nodelay(true);
    let endpoint = match tls {
        Some(tls) => endpoint.tls_config(tls).expect("TLS"),
        None => endpoint,
    };
    endpoint.connect().await.expect("a connection")
}

async fn check(channel: &Channel) {
    HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.expect("health");
}

/// Calls a second of all callers together.
async fn calls(channels: &[Channel]) -> f64 {
    let begun = Instant::now();
    let caller = |channel: &Channel| {
        let channel = channel.clone();
        tokio::spawn(async move {
            for _ in 0..CALLS {
                check(&channel).await;
            }
        })
    };
    for caller in join_all(channels.iter().map(caller)).await {
        caller.expect("it ends");
    }
    rate(channels.len() * CALLS, begun.elapsed())
}

/// Connections a second, each by mutual TLS and with a call on it.
async fn connects(address: SocketAddr, files: &Files) -> f64 {
    let begun = Instant::now();
    let caller = |_| {
        let tls = files.tls();
        tokio::spawn(async move {
            let mut made = 0;
            while begun.elapsed() < CONNECTS {
                check(&connect(address, Some(tls.clone())).await).await;
                made += 1;
            }
            made
        })
    };
    let made = join_all((0..CALLERS).map(caller)).await;
    rate(made.into_iter().map(|made| made.expect("it ends")).sum(), begun.elapsed())
}

fn rate(count: usize, took: Duration) -> f64 {
    f64::from(u32::try_from(count).expect("few")) / took.as_secs_f64()
}

/// Runs both by turns and prints the best of each.
async fn beside(what: &str, goal: &str, ours: impl AsyncFn() -> f64, bare: impl AsyncFn() -> f64) {
    let (mut best, mut best_bare) = (0.0_f64, 0.0_f64);
    for _ in 0..ROUNDS {
        best_bare = best_bare.max(bare().await);
        best = best.max(ours().await);
    }
    println!(
        "{what:34} {best:8.0}/s, bare {best_bare:8.0}/s: {:.2} times as long ({goal})",
        best_bare / best
    );
}

/// What a process holds in memory, in bytes.
fn resident(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes * 1024.0
}

/// A watch that is open until it is dropped.
type Held = Box<dyn Any>;

/// Opens a watch of the adapter's that nothing happens in: of a deployment, since watches for everybody are few.
async fn watch_deployment(channel: Channel) -> Held {
    let request = proto::WatchDeploymentRequest { name: "idle".to_owned(), ..Default::default() };
    let watch = DeploymentServiceClient::new(channel).watch_deployment(request).await;
    let mut watch = watch.expect("a watch").into_inner();
    watch.message().await.expect("an event").expect("a snapshot");
    Box::new(watch)
}

/// Opens a watch of health.
async fn watch_health(channel: Channel) -> Held {
    let watch = HealthClient::new(channel).watch(HealthCheckRequest::default()).await;
    let mut watch = watch.expect("a watch").into_inner();
    watch.message().await.expect("an event").expect("a state");
    Box::new(watch)
}

/// Opens idle connections and idle watches, and prints what they take.
async fn memory(name: &str, address: SocketAddr, process: u32, watch: impl AsyncFn(Channel) -> Held) {
    const MEGABYTE: f64 = 1e6;
    let rested = async || {
        tokio::time::sleep(REST).await;
        resident(process)
    };
    let idle = rested().await;
    let mut channels = Vec::new();
    for _ in 0..IDLE {
        let channel = connect(address, None).await;
        check(&channel).await;
        channels.push(channel);
    }
    let connected = rested().await;
    let of_connection = (connected - idle) / f64::from(u32::try_from(IDLE).expect("few"));
    let mut watches = Vec::new();
    for number in 0..WATCHES {
        watches.push(watch(channels[number / ON_ONE].clone()).await);
    }
    let watched = rested().await;
    let of_watch = (watched - connected) / f64::from(u32::try_from(WATCHES).expect("few"));
    println!(
        "{name:8} idle {:5.1} MB; a connection {:5.1} kB; a watch {:5.2} kB; with {WATCHES} watches {:6.1} MB",
        idle / MEGABYTE,
        of_connection / 1e3,
        of_watch / 1e3,
        watched / MEGABYTE,
    );
}

fn adapter(flags: &[&str]) -> Binary {
    let program = std::env::var_os("EDGE_ADAPTER")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_panamax-kubernetes-adapter")), PathBuf::from);
    // What is logged at the start tells where it listens.
    let log = "warn,panamax_kubernetes_adapter::start=info";
    let always = ["--sandbox", "--log", log, "--connection-idle", "1h", "--connection-age", "1h"];
    Binary::start_program(&program, &[&always[..], flags].concat())
}

#[tokio::main]
async fn main() {
    if let Ok(folder) = std::env::var(BARE) {
        return serve_bare(&folder).await;
    }
    let files = Files::new();
    {
        let (binary, bare) = (adapter(&[]), Bare::start(""));
        let open = async |address| join_all((0..CALLERS).map(|_| connect(address, None))).await;
        let (ours, theirs) = (open(binary.address).await, open(bare.address).await);
        beside("Health, 8 callers", "goal 1.2", || calls(&ours), || calls(&theirs)).await;
        let template = "images: [{name: web, source: 'example/web:1'}]";
        let mut client = DeploymentServiceClient::new(connect(binary.address, None).await);
        client.deploy(deploy("default", "idle", template)).await.expect("deployed");
        memory("adapter", binary.address, binary.id(), watch_deployment).await;
        memory("bare", bare.address, bare.child.id(), watch_health).await;
        println!("goals: idle at most 25 MB, with {WATCHES} watches at most 200 MiB");
    }
    let path = |name: &str| files.folder.path(name);
    let (certificate, key, authority) = (path("cert.pem"), path("key.pem"), path("ca.pem"));
    let tls = ["--tls-cert", &certificate, "--tls-key", &key, "--tls-client-ca", &authority];
    let (binary, bare) = (adapter(&tls), Bare::start(&path("")));
    let (ours, theirs) = (binary.address, bare.address);
    beside("connects by mutual TLS", "printed", || connects(ours, &files), || connects(theirs, &files)).await;
}
