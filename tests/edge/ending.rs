//! The end of the process, whatever its peers do, and what its health says until then.

use std::time::{Duration, Instant};

use panamax_kubernetes_adapter::proto::health::health_check_response::ServingStatus;
use panamax_kubernetes_adapter::proto::health::health_client::HealthClient;
use panamax_kubernetes_adapter::proto::health::{HealthCheckRequest, HealthListRequest};
use tokio::net::TcpStream;

use crate::support::adapter::{Binary, connect};
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

#[tokio::test(flavor = "multi_thread")]
async fn hostile_connections_hold_up_no_shutdown() {
    let mut longest = Duration::ZERO;
    // A few at a time: each is a process of its own.
    for _ in 0..5 {
        let ends = (0..4).map(|_| async {
            let mut binary = start("2s").await;
            let peers = hostile(&binary).await;
            let began = Instant::now();
            let code = tokio::task::spawn_blocking(move || binary.signal("TERM", PATIENCE)).await;
            let took = began.elapsed();
            drop(peers);
            assert_eq!(code.expect("it ends"), Some(0));
            took
        });
        longest =
            futures::future::join_all(ends).await.into_iter().chain([longest]).max().unwrap_or_default();
    }
    eprintln!("ending: 20 of 20 ended beside hostile connections, the longest after {longest:.1?} of 2 s");
    // A busy machine needs a moment to see it.
    assert!(longest < Duration::from_millis(3500), "{longest:?}");
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
