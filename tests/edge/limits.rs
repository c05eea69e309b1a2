//! Every limit, set small by its flag: what goes beyond is answered as documented, and counted.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use futures::{FutureExt, StreamExt};
use http::Request;
use http_body::Frame;
use http_body_util::StreamBody;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use panamax_kubernetes_adapter::metrics::{Cut, Limit};
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;
use panamax_kubernetes_adapter::proto::health::HealthCheckRequest;
use panamax_kubernetes_adapter::proto::health::health_client::HealthClient;
use panamax_kubernetes_adapter::sandbox::Sandbox;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Status};

use crate::support::adapter::{Binary, connect, deploy_at_once, reason, scale, teardown};
use crate::support::bearer::with_token;
use crate::support::certificates::{Folder, authority};
use crate::support::looking::Refusal;
use crate::support::metrics::{measured, reaches};
use crate::support::raw::{self, Raw};
use crate::support::relay::free_address;
use crate::support::tunnel::{Speaks, Tunnel};

const VALIDATE: &str = "panamax.kubernetes.v1.TemplateService/ValidateTemplate";
const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";
/// A message without a field.
const EMPTY: [u8; 5] = [0; 5];
/// How long anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
const TOKEN: &str = "a-long-token-of-alice";

/// What the binary serves.
#[derive(Clone, Copy)]
enum With {
    /// The cluster in memory.
    Sandbox,
    /// The cluster in memory, over TLS.
    Tls,
    /// A cluster that takes connections and says nothing.
    Silence,
    /// The same, for callers with tokens.
    Known,
}

/// One limit: the flags that set it, what goes beyond it, and where that is counted.
struct Row {
    with: With,
    flags: &'static [&'static str],
    hit: fn(Binary) -> BoxFuture<'static, Binary>,
    counted: &'static str,
}

fn row(
    with: With,
    flags: &'static [&'static str],
    hit: fn(Binary) -> BoxFuture<'static, Binary>,
    counted: &'static str,
) -> Row {
    Row { with, flags, hit, counted }
}

fn limit(name: &str) -> String {
    format!("panamax_limit_hits_total{{limit=\"{name}\"}}")
}

fn rows() -> Vec<Row> {
    use With::{Known, Sandbox, Silence, Tls};
    vec![
        row(Sandbox, &["--max-streams-per-connection=5"], |it| streams(it).boxed(), "streams_of_connection"),
        row(Sandbox, &["--max-watches-per-connection=1"], |it| watches(it).boxed(), "watches_of_connection"),
        row(Sandbox, &["--max-message=1KiB"], |it| message(it).boxed(), "request"),
        row(Sandbox, &["--max-metadata=1KiB"], |it| metadata(it).boxed(), "metadata"),
        row(Sandbox, &["--max-request-memory=32KiB"], |it| memory(it).boxed(), "request_memory"),
        row(Sandbox, &["--request-timeout=200ms"], |it| coming(it).boxed(), "request_time"),
        row(Sandbox, &["--reader-timeout=1s"], |it| reading(it).boxed(), "cut slow_reader"),
        row(Tls, &["--handshake-timeout=200ms"], |it| handshake(it).boxed(), "cut handshake"),
        row(
            Tls,
            &["--max-handshakes=1", "--handshake-timeout=1m"],
            |it| handshakes(it).boxed(),
            "handshakes",
        ),
        row(Silence, &["--default-deadline=300ms"], |it| default_deadline(it).boxed(), "deadline"),
        row(Silence, &["--max-deadline=300ms"], |it| max_deadline(it).boxed(), "deadline"),
        row(Known, &["--max-reads-per-caller=1"], |it| reads(it).boxed(), "reads_of_caller"),
        row(Sandbox, &["--max-replicas=2"], |it| replicas(it).boxed(), "replicas"),
        row(Sandbox, &[], |it| template(it).boxed(), "template"),
        row(Sandbox, &["--max-api-calls=1"], |it| api_calls(it).boxed(), "api_calls"),
    ]
}

/// A kubeconfig of a cluster at an address, unencrypted.
fn kubeconfig_of(address: SocketAddr) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nusers: [{{name: u, user: {{}}}}]\n\
         contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{server: 'http://{address}'}}}}]\n"
    )
}

/// Starts the binary for a row; the folder and the silent cluster live as long as what is returned.
async fn start(row: &Row, folder: &Folder, silent: Option<&TcpListener>) -> Binary {
    let mut flags = vec!["--metrics-listen".to_owned(), "127.0.0.1:0".to_owned()];
    flags.extend(row.flags.iter().map(|flag| (*flag).to_owned()));
    let mut more = |flags_of: &[&str]| flags.extend(flags_of.iter().map(|flag| (*flag).to_owned()));
    match (row.with, silent) {
        (With::Tls, _) => {
            let (certificate, key) = folder.server(&authority("ours"));
            more(&["--sandbox", "--tls-cert", &certificate, "--tls-key", &key]);
        }
        (With::Silence | With::Known, Some(silent)) => {
            let text = kubeconfig_of(silent.local_addr().expect("an address"));
            more(&["--kubeconfig", &folder.write("config", &text, 0o600)]);
        }
        _ => more(&["--sandbox"]),
    }
    if matches!(row.with, With::Known) {
        let tokens = folder.write("tokens", &format!("alice {TOKEN}\n"), 0o600);
        more(&["--auth", "tokens", "--tokens-file", &tokens]);
    }
    let start = move || Binary::start_with(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(start).await.expect("the binary starts")
}

#[tokio::test]
async fn what_goes_beyond_a_limit_is_answered_and_counted() {
    let hits = rows().into_iter().enumerate().map(|(index, row)| async move {
        let folder = Folder::new(&format!("limits-{index}"));
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let binary = start(&row, &folder, Some(&silent)).await;
        let series = match row.counted.strip_prefix("cut ") {
            Some(cut) => format!("panamax_connections_cut_total{{reason=\"{cut}\"}}"),
            None => limit(row.counted),
        };
        // What the keeper asks at the start may wait for its turn.
        if row.counted != "api_calls" {
            assert_eq!(measured(&binary, &series).await, 0.0, "{series}");
        }
        let binary = (row.hit)(binary).await;
        reaches(&binary, &series, 1.0).await;
    });
    futures::stream::iter(hits).buffer_unordered(4).collect::<()>().await;
}

/// A refusal has this code, this reason, and says this.
fn is(refused: &Status, code: Code, why: &str, part: &str) {
    assert_eq!((refused.code(), reason(refused).as_str()), (code, why), "{refused:?}");
    assert!(refused.message().contains(part), "{part}: {refused:?}");
}

fn health() -> HealthCheckRequest {
    HealthCheckRequest { service: String::new() }
}

async fn deployments(binary: &Binary) -> DeploymentServiceClient<tonic::transport::Channel> {
    DeploymentServiceClient::new(connect(binary.address).await)
}

fn get() -> proto::GetDeploymentRequest {
    proto::GetDeploymentRequest { name: "web".to_owned(), ..Default::default() }
}

fn counting(count: i32) -> String {
    format!("images: [{{name: web, source: 'nginx:1', deployment: {{count: {count}}}}}]")
}

async fn streams(binary: Binary) -> Binary {
    let mut client = Raw::open(binary.address, None).await;
    for number in 0..5 {
        assert!(client.call(number * 2 + 1, HEALTH_WATCH, &EMPTY, true).await);
        assert!(client.has(raw::HEADERS, PATIENCE).await, "stream {number}");
    }
    // A client that does not wait is told so: REFUSED_STREAM.
    assert!(client.call(11, HEALTH_WATCH, &EMPTY, true).await);
    let reset = client.find(raw::RST_STREAM, PATIENCE).await.expect("it is reset");
    assert_eq!((reset.stream, reset.content.as_slice()), (11, &7_u32.to_be_bytes()[..]));
    binary
}

async fn watches(binary: Binary) -> Binary {
    let mut client = deployments(&binary).await;
    client.deploy(deploy_at_once("default", "web", &counting(1))).await.expect("deployed");
    let watch = || proto::WatchDeploymentRequest { name: "web".to_owned(), ..Default::default() };
    let _first = client.watch_deployment(watch()).await.expect("a watch");
    let refused = client.watch_deployment(watch()).await.expect_err("one too many");
    is(&refused, Code::ResourceExhausted, "OVERLOADED", "the connection has 1 watches open");
    deployments(&binary).await.watch_deployment(watch()).await.expect("another connection has its own");
    binary
}

async fn message(binary: Binary) -> Binary {
    let mut templates =
        proto::template_service_client::TemplateServiceClient::new(connect(binary.address).await);
    let asked = |size: usize| proto::ValidateTemplateRequest {
        template_source: Some(proto::validate_template_request::TemplateSource::TemplateYaml(
            " ".repeat(size),
        )),
        ..Default::default()
    };
    templates.validate_template(asked(1000)).await.expect("it is small enough");
    let refused = templates.validate_template(asked(1025)).await.expect_err("it is too large");
    is(&refused, Code::ResourceExhausted, "LIMIT_EXCEEDED", "the request is larger than 1 KiB");
    let mut zipped = templates.send_compressed(tonic::codec::CompressionEncoding::Gzip);
    let refused = zipped.validate_template(asked(1025)).await.expect_err("it is too large");
    is(&refused, Code::ResourceExhausted, "LIMIT_EXCEEDED", "larger than 1 KiB once it is decompressed");
    binary
}

async fn metadata(binary: Binary) -> Binary {
    let mut client = HealthClient::new(connect(binary.address).await);
    let mut asked = tonic::Request::new(health());
    let value = AsciiMetadataValue::try_from("v".repeat(1025)).expect("a value");
    asked.metadata_mut().insert("x-large", value);
    let refused = client.check(asked).await.expect_err("it is too much");
    is(&refused, Code::ResourceExhausted, "LIMIT_EXCEEDED", "1024 are taken");
    client.check(health()).await.expect("the connection lives");
    binary
}

/// Begins a call with these bytes and does not end it; returns what it is refused with.
async fn begun(client: Client<HttpConnector, Unended>, binary: &Binary, bytes: Bytes) -> Status {
    let come = futures::future::ready(Ok(Frame::data(bytes)));
    let body = StreamBody::new(futures::stream::once(come).chain(futures::stream::pending()).boxed());
    let request = Request::post(format!("http://{}/{VALIDATE}", binary.address));
    let request = request.header(http::header::CONTENT_TYPE, "application/grpc").body(body);
    let answer = client.request(request.expect("a request")).await.expect("an answer");
    Status::from_header_map(answer.headers()).expect("a status")
}

type Unended = StreamBody<futures::stream::BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

async fn memory(binary: Binary) -> Binary {
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    // 8 KiB each but for the last byte, of which 4 KiB are free: three are more than a connection may hold.
    let bytes = Bytes::from([&[0, 0, 0, 32, 0][..], &vec![0; 8 * 1024 - 1]].concat());
    let asked = (0..3).map(|_| begun(client.clone(), &binary, bytes.clone()).boxed());
    let first = tokio::time::timeout(PATIENCE, futures::future::select_all(asked)).await.expect("in time");
    is(&first.0, Code::ResourceExhausted, "OVERLOADED", "hold as much memory as they may");
    drop(first);
    binary
}

async fn coming(binary: Binary) -> Binary {
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let refused = tokio::time::timeout(PATIENCE, begun(client, &binary, Bytes::from_static(&[0]))).await;
    is(&refused.expect("in time"), Code::DeadlineExceeded, "CLUSTER_TIMEOUT", "did not end within 0.2 s");
    binary
}

async fn reading(binary: Binary) -> Binary {
    // No byte of an answer fits into its window.
    let mut slow = Raw::open(binary.address, Some(0)).await;
    assert!(slow.call(1, HEALTH_WATCH, &EMPTY, true).await);
    assert!(slow.has(raw::RST_STREAM, PATIENCE).await, "its place stays taken");
    binary
}

/// Whether a connection that says nothing ends.
async fn ends(mut silent: TcpStream) -> bool {
    let ended = tokio::time::timeout(PATIENCE, silent.read(&mut [0; 1])).await;
    matches!(ended, Ok(Ok(0) | Err(_)))
}

async fn handshake(binary: Binary) -> Binary {
    assert!(ends(TcpStream::connect(binary.address).await.expect("a connection")).await);
    binary
}

async fn handshakes(binary: Binary) -> Binary {
    let first = TcpStream::connect(binary.address).await.expect("a connection");
    let _second = TcpStream::connect(binary.address).await.expect("a connection");
    assert!(ends(first).await, "it gives way to the second");
    binary
}

async fn default_deadline(binary: Binary) -> Binary {
    let mut client = deployments(&binary).await;
    let late = client.get_deployment(get()).await.expect_err("the cluster is silent");
    is(&late, Code::DeadlineExceeded, "CLUSTER_TIMEOUT", "before the deadline");
    binary
}

async fn max_deadline(binary: Binary) -> Binary {
    let mut client = deployments(&binary).await;
    let asked = |time: u64| {
        let mut asked = tonic::Request::new(get());
        asked.set_timeout(Duration::from_millis(time));
        asked
    };
    // Whoever is less patient has met no limit of ours.
    client.get_deployment(asked(150)).await.expect_err("the cluster is silent");
    assert_eq!(measured(&binary, &limit("deadline")).await, 0.0);
    let late = client.get_deployment(asked(60_000)).await.expect_err("the cluster is silent");
    is(&late, Code::DeadlineExceeded, "CLUSTER_TIMEOUT", "before the deadline");
    binary
}

async fn reads(binary: Binary) -> Binary {
    let channel = connect(binary.address).await;
    let asked = (0..2).map(|_| {
        let mut client = with_token(channel.clone(), TOKEN);
        async move { client.get_deployment(get()).await.expect_err("the cluster is silent") }.boxed()
    });
    let (refused, ..) =
        tokio::time::timeout(PATIENCE, futures::future::select_all(asked)).await.expect("in time");
    is(&refused, Code::ResourceExhausted, "OVERLOADED", "has 1 calls that look open");
    binary
}

async fn replicas(binary: Binary) -> Binary {
    let mut client = deployments(&binary).await;
    let refused = client.deploy(deploy_at_once("default", "web", &counting(3))).await;
    let refused = Refusal::of(&refused.expect_err("too many"));
    assert_eq!((refused.code, refused.reason.as_str()), (Code::InvalidArgument, "TEMPLATE_INVALID"));
    let field = "images[0].deployment.count";
    assert_eq!(refused.violations, [(field.to_owned(), "LIMIT".to_owned())]);
    reaches(&binary, &limit("replicas"), 1.0).await;
    client.deploy(deploy_at_once("default", "web", &counting(2))).await.expect("no more than there may be");
    let refused = Refusal::of(&client.scale(scale("default", "web", "web", 3)).await.expect_err("too many"));
    assert_eq!((refused.code, refused.reason.as_str()), (Code::InvalidArgument, "FIELD_INVALID"));
    assert_eq!(refused.violations, [("replicas[web]".to_owned(), "LIMIT".to_owned())]);
    reaches(&binary, &limit("replicas"), 2.0).await;
    assert_eq!(measured(&binary, &limit("template")).await, 0.0);
    binary
}

async fn template(binary: Binary) -> Binary {
    let images: Vec<String> = (0..101).map(|number| format!("{{name: a{number}, source: 'a:1'}}")).collect();
    let text = format!("images: [{}]", images.join(", "));
    let refused = deployments(&binary).await.deploy(deploy_at_once("default", "web", &text)).await;
    let refused = Refusal::of(&refused.expect_err("too many"));
    assert_eq!(refused.violations, [("images".to_owned(), "LIMIT".to_owned())]);
    assert_eq!(measured(&binary, &limit("replicas")).await, 0.0);
    binary
}

async fn api_calls(binary: Binary) -> Binary {
    let client = deployments(&binary).await;
    // One after the other, and none of them refused.
    let deployed = (0..8).map(|number| {
        let mut client = client.clone();
        async move {
            let name = format!("web-{number}");
            let template = format!("images: [{{name: {name}, source: 'nginx:1'}}]");
            let deployed = client.deploy(deploy_at_once("default", &name, &template)).await;
            deployed.expect("it waits for its turn");
            client.teardown(teardown("default", &name)).await.expect("it waits for its turn");
        }
    });
    join_all(deployed).await;
    binary
}

#[tokio::test]
async fn more_replicas_are_allowed_where_the_operator_says_so() {
    let flags = ["--sandbox", "--max-replicas=101"];
    let binary = tokio::task::spawn_blocking(move || Binary::start_with(&flags)).await;
    let binary = binary.expect("the binary starts");
    let mut client = deployments(&binary).await;
    let told = client.deploy(deploy_at_once("default", "web", &counting(101))).await.expect("deployed");
    assert!(told.into_inner().deployment.is_some());
}

#[tokio::test]
async fn while_connections_fail_nobody_waits_and_two_seconds_after_the_cluster_is_back_it_is_ready() {
    let address = free_address().await;
    connections_fail("limits-breaker", &kubeconfig_of(address), async {
        let listener = TcpListener::bind(address).await.expect("the port is free");
        Sandbox::start(listener).await.expect("a sandbox")
    })
    .await;
}

#[tokio::test]
async fn while_no_connection_comes_through_a_proxy_nobody_waits_either() {
    let sandbox = Sandbox::start(TcpListener::bind("127.0.0.1:0").await.expect("a port")).await;
    let sandbox = sandbox.expect("a sandbox");
    let server = sandbox.url().trim_start_matches("http://").parse().expect("an address");
    let address = free_address().await;
    let through = format!("', proxy-url: 'socks5://{address}'}}");
    let kubeconfig = kubeconfig_of(server).replace("'}", &through);
    let proxy = async { Tunnel::at(address, server, Speaks::Socks, false, &authority("any")).await };
    connections_fail("limits-breaker-proxy", &kubeconfig, proxy).await;
}

/// Lets every connection fail until somebody mends that.
async fn connections_fail<T>(name: &str, kubeconfig: &str, mended: impl Future<Output = T>) {
    let folder = Folder::new(name);
    let kubeconfig = folder.write("config", kubeconfig, 0o600);
    let start = move || Binary::start_with(&["--kubeconfig", &kubeconfig, "--metrics-listen", "127.0.0.1:0"]);
    let binary = tokio::task::spawn_blocking(start).await.expect("the binary starts");
    let mut client = deployments(&binary).await;
    // Long enough for five failures in a row.
    tokio::time::sleep(Duration::from_secs(4)).await;
    for _ in 0..5 {
        let begun = Instant::now();
        let refused = client.get_deployment(get()).await.expect_err("there is no cluster");
        is(&refused, Code::Unavailable, "CLUSTER_UNREACHABLE", "cannot be reached");
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    }
    let begun = Instant::now();
    let _cluster = mended.await;
    reaches(&binary, "panamax_cluster_reachable", 1.0).await;
    // It is promised in two; the machine may be busy.
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let found = client.get_deployment(get()).await.expect_err("there is no such deployment");
    is(&found, Code::NotFound, "DEPLOYMENT_NOT_FOUND", "");
}

/// The rows of the table of limits in the operator's document.
fn documented() -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operating.md");
    let text = fs::read_to_string(path).expect("the document");
    let lines = text.lines().skip_while(|line| !line.starts_with("| Limit |")).skip(2);
    let lines = lines.take_while(|line| line.starts_with('|'));
    lines.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// The words in backticks of a text.
fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}

#[test]
fn the_table_of_limits_names_every_label_and_every_flag() {
    let table = documented();
    let counted: BTreeSet<String> = table.iter().flat_map(|row| words(&row[2])).collect();
    let cuts: Vec<&str> = Cut::ALL.iter().map(|cut| cut.as_str()).collect();
    for limit in Limit::ALL {
        assert!(counted.contains(limit.as_str()), "{} is not in the table", limit.as_str());
    }
    for word in &counted {
        let is_limit = Limit::ALL.iter().any(|limit| limit.as_str() == word);
        assert!(is_limit || cuts.contains(&word.as_str()), "{word} is no label");
    }
    let flags: BTreeSet<String> = table.iter().flat_map(|row| words(&row[0])).collect();
    for row in rows() {
        for flag in row.flags {
            let flag = flag.split('=').next().unwrap_or_default();
            assert!(flags.contains(flag), "{flag} is not in the table");
        }
    }
    let settings = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/settings.md"));
    let settings = settings.expect("the document");
    for flag in flags {
        assert!(settings.contains(&format!("| `{flag}` |")), "{flag} is no setting");
    }
}
