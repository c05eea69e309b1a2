//! What is measured: each series before and after its event, and the names that dashboard, alerts and documents use.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::Request;
use http_body::Frame;
use http_body_util::StreamBody;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use panamax_kubernetes_adapter::cluster::Cluster;
use panamax_kubernetes_adapter::metrics::{Cut, Limit, Metrics, Operation, Outcome, Verb};
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;
use panamax_kubernetes_adapter::proto::health::HealthCheckRequest;
use panamax_kubernetes_adapter::proto::health::health_client::HealthClient;
use panamax_kubernetes_adapter::proto::server_service_client::ServerServiceClient;
use panamax_kubernetes_adapter::sandbox::Sandbox;
use panamax_kubernetes_adapter::server::{self, Parts};

use crate::support::adapter::{Binary, connect, deploy, parts, scale, teardown};
use crate::support::metrics::{becomes, get, measured, reaches, value};
use crate::support::raw::{self, Raw};
use crate::support::relay::{Relay, free_address, kubeconfig_at};

/// How long anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
const TEMPLATE: &str = "images: [{name: web, source: 'nginx:1', ports: [{container_port: 80}]}]";

async fn start(flags: &'static [&'static str]) -> Binary {
    let flags = [&["--metrics-listen", "127.0.0.1:0"], flags].concat();
    tokio::task::spawn_blocking(move || Binary::start_with(&flags)).await.expect("the binary starts")
}

#[tokio::test]
async fn every_series_moves_with_its_event() {
    let binary = start(&["--sandbox"]).await;
    let mut client = DeploymentServiceClient::new(connect(binary.address).await);
    let deploys = "panamax_rpcs_total{method=\"DeploymentService/Deploy\",code=\"OK\"}";
    let refused = "panamax_rpcs_total{method=\"DeploymentService/GetDeployment\",code=\"NOT_FOUND\"}";
    let took = "panamax_rpc_seconds_count{method=\"DeploymentService/Deploy\"}";
    let held = "panamax_operation_seconds_count{operation=\"deploy\",outcome=\"done\"}";
    let active = "panamax_deployments{state=\"ACTIVE\"}";
    for series in [deploys, refused, took, held, active] {
        assert_eq!(measured(&binary, series).await, 0.0, "{series}");
    }
    let creates = measured(&binary, "panamax_api_calls_total{verb=\"create\",code=\"201\"}").await;
    client.deploy(deploy("default", "m", TEMPLATE)).await.expect("deployed");
    let get_request = proto::GetDeploymentRequest {
        namespace: "default".to_owned(),
        name: "absent".to_owned(),
        ..proto::GetDeploymentRequest::default()
    };
    client.get_deployment(get_request).await.expect_err("there is none");
    for series in [deploys, refused, took, held, active] {
        becomes(&binary, series, 1.0).await;
    }
    assert!(measured(&binary, "panamax_api_calls_total{verb=\"create\",code=\"201\"}").await > creates);

    // A watch is under way, and is told of a change.
    let in_flight = "panamax_rpcs_in_flight{method=\"DeploymentService/WatchDeployment\"}";
    assert_eq!(measured(&binary, in_flight).await, 0.0);
    let request = proto::WatchDeploymentRequest {
        namespace: "default".to_owned(),
        name: "m".to_owned(),
        ..proto::WatchDeploymentRequest::default()
    };
    let mut watch = client.watch_deployment(request).await.expect("a watch").into_inner();
    watch.message().await.expect("a message");
    becomes(&binary, in_flight, 1.0).await;
    let lags = measured(&binary, "panamax_watch_lag_seconds_count").await;
    client.scale(scale("default", "m", "web", 2)).await.expect("scaled");
    watch.message().await.expect("a message");
    assert!(measured(&binary, "panamax_watch_lag_seconds_count").await > lags);
    becomes(&binary, "panamax_operation_seconds_count{operation=\"scale\",outcome=\"done\"}", 1.0).await;
    // One that only sets a count is measured as well.
    client.scale(scale("default", "m", "web", 3)).await.expect("scaled");
    becomes(&binary, "panamax_operation_seconds_count{operation=\"scale\",outcome=\"done\"}", 2.0).await;
    drop(watch);
    becomes(&binary, in_flight, 0.0).await;
    let left = "panamax_rpcs_total{method=\"DeploymentService/WatchDeployment\",code=\"CANCELLED\"}";
    becomes(&binary, left, 1.0).await;

    client.teardown(teardown("default", "m")).await.expect("torn down");
    becomes(&binary, "panamax_operation_seconds_count{operation=\"teardown\",outcome=\"done\"}", 1.0).await;
    becomes(&binary, active, 0.0).await;
}

#[tokio::test]
async fn limits_that_are_hit_are_counted() {
    let binary = start(&["--sandbox", "--max-watches", "1", "--max-connections", "2"]).await;
    let channel = connect(binary.address).await;
    becomes(&binary, "panamax_connections", 1.0).await;
    let mut health = HealthClient::new(channel.clone());
    let request = || HealthCheckRequest { service: String::new() };
    let _watch = health.watch(request()).await.expect("a watch");
    for (limit, before) in [("watches", 0.0), ("connections", 0.0), ("request", 0.0)] {
        let series = format!("panamax_limit_hits_total{{limit=\"{limit}\"}}");
        assert_eq!(measured(&binary, &series).await, before);
    }
    health.watch(request()).await.expect_err("one too many");
    becomes(&binary, "panamax_limit_hits_total{limit=\"watches\"}", 1.0).await;
    let _second = connect(binary.address).await;
    let third = tokio::net::TcpStream::connect(binary.address).await;
    becomes(&binary, "panamax_limit_hits_total{limit=\"connections\"}", 1.0).await;
    drop(third);
    let mut templates = proto::template_service_client::TemplateServiceClient::new(channel);
    let large = proto::ValidateTemplateRequest {
        template_source: Some(proto::validate_template_request::TemplateSource::TemplateYaml(
            " ".repeat(2 << 20),
        )),
        ..proto::ValidateTemplateRequest::default()
    };
    templates.validate_template(large).await.expect_err("too large");
    becomes(&binary, "panamax_limit_hits_total{limit=\"request\"}", 1.0).await;
}

#[tokio::test]
async fn what_never_ends_is_counted() {
    const CHECK: &str = "/grpc.health.v1.Health/Check";
    const WATCH: &str = "/grpc.health.v1.Health/Watch";
    let binary = start(&["--sandbox"]).await;
    let limit = |limit| format!("panamax_limit_hits_total{{limit=\"{limit}\"}}");
    let silent = "panamax_connections_cut_total{reason=\"silent\"}";
    for series in [silent, &limit("calls"), &limit("request_time"), &limit("watches_of_connection")] {
        let (_, text) = get(binary.metrics.expect("a port"), "/metrics").await;
        assert!(text.lines().any(|line| line == format!("{series} 0")), "{series} is shown before");
    }
    let _silent = tokio::net::TcpStream::connect(binary.address).await.expect("a connection");
    // A hundred questions about health that do not end, and one more.
    let mut asking = Raw::open(binary.address, None).await;
    for number in 0..101 {
        assert!(asking.call(number * 2 + 1, CHECK, &[0; 3], false).await);
    }
    becomes(&binary, &limit("calls"), 1.0).await;
    // As many watches of health as a connection may have, and one more.
    let mut watching = Raw::open(binary.address, None).await;
    for number in 0..17 {
        assert!(watching.call(number * 2 + 1, WATCH, &[0; 5], true).await);
    }
    becomes(&binary, &limit("watches_of_connection"), 1.0).await;
    becomes(&binary, &limit("request_time"), 100.0).await;
    becomes(&binary, silent, 1.0).await;
}

#[tokio::test]
async fn requests_that_hold_too_much_memory_are_counted() {
    let binary = start(&["--sandbox"]).await;
    let hits = "panamax_limit_hits_total{limit=\"request_memory\"}";
    assert_eq!(measured(&binary, hits).await, 0.0);
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    // A mebibyte each but for its last byte: seventeen are more than a connection may hold.
    let begun = Bytes::from([&[0, 0, 16, 0, 0][..], &vec![0; (1 << 20) - 1]].concat());
    let path = "panamax.kubernetes.v1.TemplateService/ValidateTemplate";
    let asked = (0..17).map(|_| {
        let come = futures::future::ready(Ok::<_, Infallible>(Frame::data(begun.clone())));
        let body = StreamBody::new(futures::stream::once(come).chain(futures::stream::pending()));
        let request = Request::post(format!("http://{}/{path}", binary.address));
        let request = request.header(http::header::CONTENT_TYPE, "application/grpc").body(body);
        client.request(request.expect("a request"))
    });
    let (answer, ..) =
        tokio::time::timeout(PATIENCE, futures::future::select_all(asked)).await.expect("in time");
    let answer = answer.expect("an answer");
    let refused = tonic::Status::from_header_map(answer.headers()).expect("a status");
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused:?}");
    reaches(&binary, hits, 1.0).await;
}

#[tokio::test]
async fn a_connection_that_does_not_end_is_counted_when_it_is_cut() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let sandbox = Sandbox::start(listener).await.expect("a sandbox");
    let config = kube::Config::new(sandbox.url().parse().expect("an address"));
    let cluster = Cluster::new(config).expect("a cluster");
    let metrics = cluster.metrics().clone();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let parts = Parts { drain_timeout: Duration::from_millis(100), ..parts(cluster) };
    let peer = async {
        let mut peer = Raw::open(address, None).await;
        assert!(peer.call(1, "/grpc.health.v1.Health/Watch", &[0; 5], true).await);
        assert!(peer.has(raw::HEADERS, PATIENCE).await);
        peer
    };
    let (sender, stop) = tokio::sync::oneshot::channel();
    let cuts = || value(&metrics.text(), "panamax_connections_cut_total{reason=\"drain\"}");
    let stopping = async {
        let peer = peer.await;
        assert_eq!(cuts(), 0.0);
        sender.send(()).expect("it is served");
        peer
    };
    let shutdown = async { stop.await.expect("somebody ends it") };
    let (served, _peer) = tokio::join!(server::run(parts, listener, shutdown), stopping);
    served.expect("it ends well");
    assert_eq!(cuts(), 1.0);
}

#[tokio::test]
async fn readiness_is_the_clusters_and_liveness_is_not() {
    let address = free_address().await;
    let kubeconfig = kubeconfig_at(address);
    let start = move || Binary::start(&kubeconfig, &["--metrics-listen", "127.0.0.1:0"]);
    let binary = tokio::task::spawn_blocking(start).await.expect("the binary starts");
    let port = binary.metrics.expect("a port");
    let codes = async || (get(port, "/livez").await.0, get(port, "/readyz").await.0);
    assert_eq!(codes().await, (200, 503));
    assert_eq!(measured(&binary, "panamax_cluster_reachable").await, 0.0);
    let relay = Relay::start(address, Duration::ZERO).await;
    becomes(&binary, "panamax_cluster_reachable", 1.0).await;
    let ready = async { while codes().await != (200, 200) {} };
    tokio::time::timeout(PATIENCE, ready).await.expect("it is ready");
    drop(relay);
    // Whoever asks for the cluster's version notices.
    let mut server = ServerServiceClient::new(connect(binary.address).await);
    let mut info = tonic::Request::new(proto::GetServerInfoRequest {});
    info.set_timeout(Duration::from_secs(10));
    server.get_server_info(info).await.expect("it answers");
    becomes(&binary, "panamax_cluster_reachable", 0.0).await;
    assert_eq!(get(port, "/").await.0, 404);
}

#[tokio::test]
async fn silent_peers_hold_up_no_probe() {
    let binary = start(&["--sandbox"]).await;
    let port = binary.metrics.expect("a port");
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(tokio::net::TcpStream::connect(port).await.expect("the system's queue takes it"));
    }
    let asked = tokio::time::timeout(Duration::from_secs(5), get(port, "/livez")).await;
    assert_eq!(asked.expect("an answer").0, 200);
    // Not one of them is kept.
    for mut peer in silent {
        let mut bytes = [0; 1024];
        let ended = tokio::io::AsyncReadExt::read(&mut peer, &mut bytes);
        let ended = tokio::time::timeout(Duration::from_secs(5), ended).await;
        assert!(matches!(ended, Ok(Ok(_) | Err(_))), "a silent peer is kept");
    }
    let long = format!("GET /livez HTTP/1.1\r\nx: {}\r\n\r\n", "v".repeat(32 << 10));
    let mut peer = tokio::net::TcpStream::connect(port).await.expect("a connection");
    // It may be closed before all is written.
    let _ = tokio::io::AsyncWriteExt::write_all(&mut peer, long.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut peer, &mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "a head of 32 KiB is taken");
}

/// The names of all series there are.
fn names() -> BTreeSet<String> {
    let metrics = Metrics::default();
    let _open = metrics.connection();
    metrics.rpc_began("m");
    metrics.rpc_ended("m", "OK", Duration::from_millis(1));
    metrics.api_call(Verb::Get, Some(200));
    metrics.limit_hit(Limit::Calls);
    metrics.cut(Cut::Idle);
    metrics.deployment("n", "d", Some("ACTIVE"));
    metrics.operation(Operation::Deploy, Outcome::Done, Duration::from_millis(1));
    metrics.takeover();
    metrics.watch_lag(Duration::from_millis(1));
    metrics.reachable(true);
    let text = metrics.text();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split(['{', ' ']).next().map(str::to_owned)).collect()
}

/// The names of series in a text.
fn named(text: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    let pieces = text.split(|letter: char| !is_part(letter));
    let kubernetes = "panamax_kubernetes_adapter";
    pieces.filter(|word| word.starts_with("panamax_") && *word != kubernetes).map(str::to_owned).collect()
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn dashboard_alerts_and_documents_name_what_is_measured() {
    let names = names();
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("deploy/grafana/panamax.json")).expect("JSON");
    let expressions: Vec<&str> = dashboard["panels"]
        .as_array()
        .expect("panels")
        .iter()
        .flat_map(|panel| panel["targets"].as_array().expect("targets"))
        .map(|target| target["expr"].as_str().expect("an expression"))
        .collect();
    for expression in &expressions {
        let used = named(expression);
        assert!(!used.is_empty() && used.is_subset(&names), "{expression}: {used:?}");
    }
    let alerts = read("deploy/alerts/panamax.yaml");
    let used = named(&alerts);
    assert!(!used.is_empty() && used.is_subset(&names), "{:?}", used.difference(&names));
    let document = read("docs/operating.md");
    let told = named(&document);
    let base = |name: &str| {
        let ends = ["_bucket", "_count", "_sum"];
        ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
    };
    let measured: BTreeSet<String> = names.iter().map(|name| base(name)).collect();
    assert_eq!(told.iter().map(|name| base(name)).collect::<BTreeSet<_>>(), measured);
    // Every series is seen somewhere.
    let shown: BTreeSet<String> =
        expressions.iter().flat_map(|one| named(one)).chain(used).map(|name| base(&name)).collect();
    assert_eq!(shown, measured);
}
