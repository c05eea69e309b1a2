//! The end of the process, whatever its peers do, and what its health says until then.

use std::error::Error;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;
use panamax_kubernetes_adapter::proto::health::health_check_response::ServingStatus;
use panamax_kubernetes_adapter::proto::health::health_client::HealthClient;
use panamax_kubernetes_adapter::proto::health::{HealthCheckRequest, HealthListRequest};
use panamax_kubernetes_adapter::proto::watch_deployment_response::Event;
use tokio::net::TcpStream;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::support::adapter::{Binary, connect, deploy};
use crate::support::certificates::Folder;
use crate::support::raw::{self, Raw};

const WATCH: &str = "/grpc.health.v1.Health/Watch";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const VALIDATE: &str = "/panamax.kubernetes.v1.TemplateService/ValidateTemplate";
const EMPTY: [u8; 5] = [0; 5];
/// How long anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

async fn start(drain: &'static str) -> Binary {
    let start = move || Binary::start_with(&["--sandbox", "--drain-timeout", drain]);
    tokio::task::spawn_blocking(start).await.expect("the binary starts")
}

/// Peers of which none ends by itself.
async fn hostile(binary: &Binary) -> (TcpStream, Vec<Raw>) {
    let silent = TcpStream::connect(binary.address).await.expect("a connection");
    let mut peers = vec![Raw::open(binary.address, None).await];
    // Watches that are never read, by a reader with room and by one without.
    for window in [None, Some(0)] {
        let mut peer = Raw::open(binary.address, window).await;
        for stream in [1, 3, 5] {
            assert!(peer.call(stream, WATCH, &EMPTY, true).await);
        }
        assert!(peer.call(7, REFLECTION, &[], false).await);
        peers.push(peer);
    }
    // A request that never ends.
    let mut peer = Raw::open(binary.address, None).await;
    assert!(peer.call(1, VALIDATE, &EMPTY[..3], false).await);
    peers.push(peer);
    (silent, peers)
}

/// What a client makes: calls one after the other.
#[derive(Clone, Copy, Debug)]
enum Load {
    Deploys,
    Reads,
    Watches,
}

fn template(image: &str, edition: u32) -> String {
    format!("images: [{{name: {image}, source: 'example/{image}:{edition}'}}]")
}

/// Makes calls until one is not answered as it was meant; returns that. `Ok`: a watch was told that the server ends.
///
/// Once it `has_ended` its port may be another test's, which the library connects to again.
async fn busy(
    address: SocketAddr,
    load: Load,
    name: &str,
    answered: &AtomicUsize,
    has_ended: &AtomicBool,
) -> Result<(), Status> {
    let mut client = DeploymentServiceClient::new(connect(address).await);
    for edition in 0.. {
        match call(&mut client, load, name, edition, answered).await {
            _ if has_ended.load(Ordering::Relaxed) => return Err(Status::unavailable("it has ended")),
            Ok(false) => {
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Ok(true) => break,
            // The library's own word for a call that it had not sent when its connection ended; others send it again.
            Err(unsent) if unsent.code() == Code::Cancelled && unsent.source().is_some() => {}
            Err(status) => return Err(status),
        }
    }
    Ok(())
}

/// Makes a call; says whether it was told that the server ends.
async fn call(
    client: &mut DeploymentServiceClient<Channel>,
    load: Load,
    name: &str,
    edition: u32,
    answered: &AtomicUsize,
) -> Result<bool, Status> {
    match load {
        Load::Deploys => {
            client.deploy(deploy("default", name, &template(name, edition))).await?;
        }
        Load::Reads => {
            client.list_deployments(proto::ListDeploymentsRequest::default()).await?;
        }
        Load::Watches => {
            let request = proto::WatchDeploymentRequest { name: name.to_owned(), ..Default::default() };
            let mut watch = client.watch_deployment(request).await?.into_inner();
            while let Some(message) = watch.message().await? {
                answered.fetch_add(1, Ordering::Relaxed);
                if let Some(Event::Complete(complete)) = message.event {
                    assert_eq!(complete.reason(), proto::WatchCompleteReason::ServerShutdown);
                    return Ok(true);
                }
            }
            panic!("a watch ends with its reason");
        }
    }
    Ok(false)
}

/// Sends SIGTERM to a server under load beside hostile peers; returns how long it took.
async fn end_under_load() -> Duration {
    let mut binary = start("2s").await;
    let address = binary.address;
    let peers = hostile(&binary).await;
    let mut client = DeploymentServiceClient::new(connect(address).await);
    for name in ["watched", "one"] {
        client.deploy(deploy("default", name, &template(name, 0))).await.expect("deployed");
    }
    let clients = [
        (Load::Deploys, "one"),
        (Load::Deploys, "two"),
        (Load::Reads, ""),
        (Load::Reads, ""),
        (Load::Watches, "watched"),
        // This one changes all the time.
        (Load::Watches, "one"),
    ];
    let counts: Vec<AtomicUsize> = clients.iter().map(|_| AtomicUsize::new(0)).collect();
    let has_ended = &AtomicBool::new(false);
    let calls = clients.iter().zip(&counts).map(|((load, name), answered)| async move {
        let ended = tokio::time::timeout(PATIENCE, busy(address, *load, name, answered, has_ended)).await;
        (*load, ended.unwrap_or_else(|_| panic!("{load:?}: a call hangs")))
    });
    let ending = async {
        // Every one of them is at it.
        let begun = async {
            while counts.iter().any(|count| count.load(Ordering::Relaxed) == 0) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, begun).await.expect("all are served");
        let began = Instant::now();
        let code = tokio::task::spawn_blocking(move || binary.signal("TERM", PATIENCE)).await;
        has_ended.store(true, Ordering::Relaxed);
        assert_eq!(code.expect("it ends"), Some(0));
        began.elapsed()
    };
    let (ended, took) = tokio::join!(futures::future::join_all(calls), ending);
    for (load, ended) in ended {
        match ended {
            Ok(()) => assert!(matches!(load, Load::Watches), "{load:?}"),
            // What the client's library says of a call that the end of the connection has left out, which nobody answered.
            Err(status) if format!("{status:?}").contains("GoAway(b\"\", NO_ERROR") => {}
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{load:?}: {status:?}"),
        }
    }
    drop(peers);
    took
}

/// What is promised is the drain timeout; a busy machine needs a moment more to end the process and to see it.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_connections_and_load_hold_up_no_shutdown() {
    const MARGIN: Duration = Duration::from_millis(1500);
    let mut longest = Duration::ZERO;
    // A few at a time: each is a process of its own.
    for _ in 0..5 {
        let took = futures::future::join_all((0..4).map(|_| end_under_load())).await;
        longest = took.into_iter().chain([longest]).max().unwrap_or_default();
    }
    eprintln!(
        "ending: 20 of 20 ended under load beside hostile connections, the longest after {longest:.1?} of 2 s"
    );
    assert!(longest < Duration::from_secs(2) + MARGIN, "{longest:?}");
}

#[tokio::test]
async fn nothing_that_is_still_to_come_is_waited_for() {
    for (path, body) in [(REFLECTION, &[][..]), (VALIDATE, &EMPTY[..3])] {
        let mut binary = start("10m").await;
        let mut peer = Raw::open(binary.address, None).await;
        assert!(peer.call(1, path, body, false).await);
        // Health answers behind it: the request has been seen.
        assert!(peer.call(3, WATCH, &EMPTY, true).await && peer.has(raw::HEADERS, PATIENCE).await);
        let began = Instant::now();
        let code = tokio::task::spawn_blocking(move || binary.signal("TERM", PATIENCE)).await;
        assert_eq!(code.expect("it ends"), Some(0), "{path}");
        assert!(began.elapsed() < Duration::from_secs(10), "{path}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn the_second_signal_ends_it_at_once() {
    let mut binary = start("10m").await;
    let _peers = hostile(&binary).await;
    binary.send("TERM");
    let told = async {
        while !binary.log().contains("shutting down") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("the first is heard");
    let began = Instant::now();
    let code = tokio::task::spawn_blocking(move || binary.signal("TERM", PATIENCE)).await;
    assert_eq!(code.expect("it ends"), Some(0));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

/// A pipe that is full, and whoever reads it.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::OpenOptionsExt;
    let (reader, writer) = std::io::pipe().expect("a pipe");
    // Only this end of it is not waited for.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
    let mut filling =
        std::fs::OpenOptions::new().write(true).custom_flags(flags).open(path).expect("its end");
    while filling.write(&[b'x'; 4096]).is_ok() {}
    while filling.write(b"x").is_ok() {}
    (reader, writer)
}

#[test]
fn a_log_that_nobody_reads_does_not_hold_up_the_end() {
    let folder = Folder::new("ending-log");
    for (drain, signals, most) in [("1s", 1, 8), ("10m", 2, 5)] {
        let socket = folder.path(&format!("{drain}.sock"));
        let (_reader, writer) = full_pipe();
        let child = Command::new(env!("CARGO_BIN_EXE_panamax-kubernetes-adapter"))
            .args(["--sandbox", "--drain-timeout", drain, "--listen", &format!("unix:{socket}")])
            .stderr(writer)
            .spawn();
        let mut child = Killed(child.expect("the binary starts"));
        let began = Instant::now();
        // It listens, and waits to say so.
        while !std::path::Path::new(&socket).exists() {
            assert!(began.elapsed() < PATIENCE);
            std::thread::yield_now();
        }
        let began = Instant::now();
        let mut sent = 0;
        let code = loop {
            if sent < signals || sent > 1 {
                // Two that come at once are one.
                let killed = Command::new("kill").args(["-TERM", &child.0.id().to_string()]).status();
                assert!(killed.expect("kill").success());
                sent += 1;
            }
            let waited = Instant::now();
            let ended = loop {
                if let Some(code) = child.0.try_wait().expect("its end") {
                    break Some(code);
                }
                if waited.elapsed() > Duration::from_millis(100) {
                    break None;
                }
                std::thread::yield_now();
            };
            match ended {
                Some(code) => break code,
                None => assert!(began.elapsed() < PATIENCE, "{drain}: it goes on"),
            }
        };
        assert_eq!(code.code(), Some(0), "{drain}");
        assert!(began.elapsed() < Duration::from_secs(most), "{drain}: {:?}", began.elapsed());
    }
}

/// A process that ends with the test.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn health_lists_all_services_tells_of_unknown_ones_and_of_the_end_at_once() {
    let mut binary = start("10m").await;
    let mut health = HealthClient::new(connect(binary.address).await);
    let watch = |service: &str| HealthCheckRequest { service: service.to_owned() };
    let mut all = health.watch(watch("")).await.expect("a watch").into_inner();
    let mut status = async || all.message().await.expect("a message").expect("a health").status();
    while status().await != ServingStatus::Serving {}
    let listed = health.list(HealthListRequest {}).await.expect("a list").into_inner().statuses;
    assert_eq!(listed.len(), 4, "{listed:?}");
    assert!(listed.values().all(|one| one.status() == ServingStatus::Serving), "{listed:?}");
    let mut unknown = health.watch(watch("no.Service")).await.expect("a watch").into_inner();
    let first = unknown.message().await.expect("a message").expect("a health");
    assert_eq!(first.status(), ServingStatus::ServiceUnknown);
    let next = tokio::time::timeout(Duration::from_millis(50), unknown.message()).await;
    assert!(next.is_err(), "the watch goes on: {next:?}");
    let absent = health.check(watch("no.Service")).await.expect_err("it is unknown");
    assert_eq!(absent.code(), tonic::Code::NotFound);
    let began = Instant::now();
    binary.send("TERM");
    assert_eq!(status().await, ServingStatus::NotServing);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let code = tokio::task::spawn_blocking(move || binary.signal("TERM", PATIENCE)).await;
    assert_eq!(code.expect("it ends"), Some(0));
}
