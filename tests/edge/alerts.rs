//! Every alert that needs no cluster for its fault: what it names is made to happen, and Prometheus' engine is asked.
//!
//! Whatever happens here in seconds is told as minutes; `support/alerts.rs` says how.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use futures::stream::{FuturesOrdered, StreamExt, repeat_with};
use kube::Client;
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;
use panamax_kubernetes_adapter::proto::health::HealthCheckRequest;
use panamax_kubernetes_adapter::proto::health::health_client::HealthClient;
use panamax_kubernetes_adapter::sandbox::Sandbox;
use prost::Message;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::Channel;

use crate::support::adapter::{Binary, connect, deploy, deploy_at_once, scale};
use crate::support::alerts::{History, RULES};
use crate::support::certificates::{Folder, authority};
use crate::support::metrics::{becomes, measured, reaches};
use crate::support::proxy::{Fault, Proxy};
use crate::support::raw::{self, Raw};

const TEMPLATE: &str = "images: [{name: web, source: 'nginx:1'}]";
/// How long anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// As many as no test needs.
const ALL: usize = 1_000_000;

pub(super) type Deployments = DeploymentServiceClient<Channel>;

/// The built binary, which shows what it measures and has reached its cluster.
pub(super) async fn start(flags: &[&str]) -> Binary {
    let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let start = move || {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        Binary::start_with(&[&["--metrics-listen", "127.0.0.1:0"], &flags[..]].concat())
    };
    let binary = tokio::task::spawn_blocking(start).await.expect("the binary starts");
    becomes(&binary, "panamax_cluster_reachable", 1.0).await;
    binary
}

/// An API server in memory, a road with faults to it, and the binary at the road's end.
struct Place {
    _sandbox: Sandbox,
    client: Client,
    proxy: Proxy,
    binary: Binary,
}

impl Place {
    async fn new(flags: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let sandbox = Sandbox::start(listener).await.expect("a sandbox");
        let config = kube::Config::new(sandbox.url().parse().expect("an address"));
        let client = Client::try_from(config).expect("a client");
        let (proxy, binary) = replica(&client, flags).await;
        Self { _sandbox: sandbox, client, proxy, binary }
    }

    async fn deployments(&self) -> Deployments {
        DeploymentServiceClient::new(connect(self.binary.address).await)
    }
}

/// A replica with a road of its own.
async fn replica(client: &Client, flags: &[&str]) -> (Proxy, Binary) {
    let proxy = Proxy::start(client.clone(), Duration::ZERO).await;
    let kubeconfig = proxy.kubeconfig();
    let kubeconfig = ["--kubeconfig", kubeconfig.to_str().expect("a path")];
    let binary = start(&[&kubeconfig, flags].concat()).await;
    (proxy, binary)
}

pub(super) fn get(namespace: &str, name: &str) -> proto::GetDeploymentRequest {
    proto::GetDeploymentRequest { namespace: namespace.to_owned(), name: name.to_owned(), view: 0 }
}

/// Reads, several at once and without an end.
pub(super) async fn reading(client: &Deployments, namespace: &str, name: &str, at_once: usize) {
    let read = || {
        let mut client = client.clone();
        async move { drop(client.get_deployment(get(namespace, name)).await) }
    };
    repeat_with(read).buffer_unordered(at_once).for_each(|()| async {}).await;
}

#[tokio::test]
async fn reads_that_are_slow() {
    let place = Place::new(&[]).await;
    let mut client = place.deployments().await;
    client.deploy(deploy("default", "slow", TEMPLATE)).await.expect("deployed");
    client.get_deployment(get("default", "slow")).await.expect("it is there");
    let mut history = History::quiet(&[place.binary.metrics]).await;
    place.proxy.befall("GET", "/configmaps/", ALL, Fault::Late(Duration::from_millis(2_600)));
    let mut reads = FuturesOrdered::new();
    for number in 0..14 {
        let mut client = client.clone();
        reads.push_back(async move {
            tokio::time::sleep(Duration::from_millis(50 * number)).await;
            client.get_deployment(get("default", "slow")).await
        });
    }
    while let Some(read) = reads.next().await {
        read.expect("late is not lost");
        history.minutes(&place.binary, 1).await;
    }
    history.fires(&["PanamaxCallsSlow"]).await;
}

#[tokio::test]
async fn a_limit_that_refuses_again_and_again() {
    let binary = start(&["--sandbox", "--max-watches", "1"]).await;
    let mut health = HealthClient::new(connect(binary.address).await);
    let request = || HealthCheckRequest { service: String::new() };
    let _watch = health.watch(request()).await.expect("a watch");
    let mut history = History::quiet(&[binary.metrics]).await;
    for _ in 0..16 {
        for _ in 0..8 {
            health.watch(request()).await.expect_err("one too many");
        }
        history.minutes(&binary, 1).await;
    }
    history.fires(&["PanamaxOverloaded"]).await;
}

#[tokio::test]
async fn connections_that_flood() {
    let binary = start(&["--sandbox"]).await;
    let mut history = History::quiet(&[binary.metrics]).await;
    let pings = raw::frame(raw::PING, 0, 0, &[0; 8]).repeat(200);
    for _ in 0..12 {
        let attack = || async {
            let mut hostile = Raw::open(binary.address, None).await;
            // It may be cut before it has sent all of them.
            let _ = hostile.0.write_all(&pings).await;
            assert!(hostile.has_ended(PATIENCE).await, "it is cut");
        };
        for _ in 0..7 {
            join_all((0..10).map(|_| attack())).await;
        }
        history.minutes(&binary, 1).await;
    }
    let cut = measured(&binary, "panamax_connections_cut_total{reason=\"flood\"}").await;
    assert!((cut - 840.0).abs() < f64::EPSILON, "{cut}");
    history.fires(&["PanamaxUnderAttack"]).await;
}

#[tokio::test]
async fn handshakes_that_fail() {
    let folder = Folder::new("alerts-handshakes");
    let (certificate, key) = folder.server(&authority("ours"));
    let binary = start(&["--sandbox", "--tls-cert", &certificate, "--tls-key", &key]).await;
    let mut history = History::quiet(&[binary.metrics]).await;
    for _ in 0..12 {
        let attack = || async {
            let mut hostile = TcpStream::connect(binary.address).await.expect("a connection");
            let _ = hostile.write_all(b"GET / HTTP/1.1\r\n\r\n").await;
            assert!(Raw(hostile).has_ended(PATIENCE).await, "it is cut");
        };
        for _ in 0..7 {
            join_all((0..10).map(|_| attack())).await;
        }
        history.minutes(&binary, 1).await;
    }
    history.fires(&["PanamaxUnderAttack"]).await;
}

#[tokio::test]
async fn an_api_server_that_throttles() {
    let place = Place::new(&[]).await;
    let client = place.deployments().await;
    client.clone().get_deployment(get("default", "absent")).await.expect_err("there is none");
    let mut history = History::quiet(&[place.binary.metrics]).await;
    let status = Fault::status(429, "TooManyRequests", "slow down", &json!({}));
    place.proxy.befall("GET", "/configmaps/panamax", ALL, status);
    let refused = ("panamax_api_calls_total{verb=\"get\",code=\"429\"}", 8.0);
    history.under(reading(&client, "default", "absent", 16), &place.binary, 16, refused).await;
    history.fires(&["PanamaxApiRefuses"]).await;
}

#[tokio::test]
async fn an_api_server_that_does_not_know_the_adapter() {
    let place = Place::new(&[]).await;
    let client = place.deployments().await;
    client.clone().get_deployment(get("default", "absent")).await.expect_err("there is none");
    let mut history = History::quiet(&[place.binary.metrics]).await;
    place.proxy.befall("GET", "", ALL, Fault::status(401, "Unauthorized", "Unauthorized", &json!({})));
    // The next probe comes within ten seconds.
    becomes(&place.binary, "panamax_cluster_reachable", 0.0).await;
    let refused = ("panamax_api_calls_total{verb=\"get\",code=\"401\"}", 8.0);
    history.under(reading(&client, "default", "absent", 16), &place.binary, 16, refused).await;
    // Nobody is served any more: what fails for all is told first, and more loudly.
    history.fires(&["PanamaxClusterUnreachable", "PanamaxApiRefuses"]).await;
}

#[tokio::test]
async fn replicas_that_die_in_the_middle() {
    let flags = ["--lease", "1s"];
    let dying = Place::new(&flags).await;
    let (_road, living) = replica(&dying.client, &flags).await;
    let mut client = dying.deployments().await;
    client.deploy(deploy("default", "before", TEMPLATE)).await.expect("deployed");
    let replicas = [living.metrics, dying.binary.metrics];
    let mut history = History::quiet(&replicas).await;
    dying.proxy.befall("POST", "/secrets", 6, Fault::Silence);
    let held = join_all((0..6).map(|number| {
        let mut client = client.clone();
        async move { client.deploy(deploy_at_once("default", &format!("taken-{number}"), TEMPLATE)).await }
    }));
    let all_are_held = async {
        while dying.proxy.to_come() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        answers = held => panic!("they were to be held: {answers:?}"),
        come = tokio::time::timeout(PATIENCE, all_are_held) => come.expect("all are held"),
    }
    let Place { mut binary, .. } = dying;
    binary.kill();
    history.minute(&[living.metrics, None]).await;
    reaches(&living, "panamax_takeovers_total", 6.0).await;
    history.minute(&[living.metrics, None]).await;
    history.fires(&["PanamaxTakeovers"]).await;
}

#[tokio::test]
async fn operations_that_fail() {
    let place = Place::new(&[]).await;
    let client = place.deployments().await;
    client.clone().deploy(deploy("default", "before", TEMPLATE)).await.expect("deployed");
    let failed = "panamax_operation_seconds_count{operation=\"deploy\",outcome=\"failed\"}";
    assert!(measured(&place.binary, failed).await == 0.0);
    let mut history = History::quiet(&[place.binary.metrics]).await;
    let full =
        "pods \"web\" is forbidden: exceeded quota: counts, requested: pods=1, used: pods=1, limited: pods=1";
    place.proxy.befall("PATCH", "/pods/", ALL, Fault::status(403, "Forbidden", full, &json!({})));
    // Slower than what PanamaxApiRefuses waits for.
    for minute in 0..28_u8 {
        join_all((0..5).map(|number| {
            let mut client = client.clone();
            async move {
                let refused =
                    client.deploy(deploy_at_once("default", &format!("refused-{number}"), TEMPLATE)).await;
                assert_eq!(refused.expect_err("no room").code(), tonic::Code::ResourceExhausted);
            }
        }))
        .await;
        // The first one is taken back whole, and has failed all the same.
        becomes(&place.binary, failed, 5.0 * f64::from(minute + 1)).await;
        history.minutes(&place.binary, 1).await;
    }
    history.fires(&["PanamaxOperationsFail"]).await;
}

#[tokio::test]
async fn callers_that_are_told_late() {
    const WATCHES: u32 = 14;
    let binary = start(&["--sandbox"]).await;
    let mut client = DeploymentServiceClient::new(connect(binary.address).await);
    client.deploy(deploy("default", "watched", TEMPLATE)).await.expect("deployed");
    // One byte fits into the window of each: the first message is on its way, and nothing after it is collected.
    let mut slow = Raw::open(binary.address, Some(1)).await;
    let request = proto::WatchDeploymentRequest {
        namespace: "default".to_owned(),
        name: "watched".to_owned(),
        ..proto::WatchDeploymentRequest::default()
    };
    let message = request.encode_to_vec();
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    let message = [&[0], &length[..], &message].concat();
    let path = "/panamax.kubernetes.v1.DeploymentService/WatchDeployment";
    for number in 0..WATCHES {
        assert!(slow.call(number * 2 + 1, path, &message, true).await);
    }
    for _ in 0..WATCHES {
        assert!(slow.has(raw::DATA, PATIENCE).await, "its first byte comes");
    }
    let mut history = History::quiet(&[binary.metrics]).await;
    client.scale(scale("default", "watched", "web", 2)).await.expect("scaled");
    // They take nothing for longer than the rule allows.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let told = "panamax_watch_lag_seconds_count";
    for number in 0..WATCHES {
        let before = measured(&binary, told).await;
        assert!(slow.send(raw::WINDOW_UPDATE, 0, number * 2 + 1, &(1_u32 << 20).to_be_bytes()).await);
        reaches(&binary, told, before + 1.0).await;
        history.minutes(&binary, 1).await;
    }
    history.fires(&["PanamaxWatchesLag"]).await;
}

#[tokio::test]
async fn nobody_that_answers() {
    let mut binary = start(&["--sandbox"]).await;
    let mut history = History::quiet(&[binary.metrics]).await;
    binary.kill();
    for _ in 0..7 {
        history.minute(&[None]).await;
    }
    history.fires(&["PanamaxAbsent"]).await;
}

#[tokio::test]
async fn every_alert_has_its_fault_and_no_other_name() {
    let binary = start(&["--sandbox"]).await;
    let alerts = History::quiet(&[binary.metrics]).await.judged().await;
    let text = std::fs::read_to_string(RULES).expect("the rules");
    assert_eq!(alerts.len(), text.matches("- alert: ").count());
    let names: BTreeSet<&str> = alerts.iter().map(|alert| alert.alert.as_str()).collect();
    let tests = [include_str!("alerts.rs"), include_str!("alerts_cluster.rs")].concat();
    let fired: BTreeSet<&str> = tests
        .split(concat!("history.", "fires(&["))
        .skip(1)
        .filter_map(|rest| rest.split_once(']'))
        .flat_map(|(list, _)| list.split(", "))
        .map(|name| name.trim_matches('"'))
        .collect();
    assert_eq!(fired, names);
    assert!(alerts.iter().all(|alert| ["critical", "warning"].contains(&alert.severity.as_str())));
}
