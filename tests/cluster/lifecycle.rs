//! The binary from start to end: refusals, health, reflection, and a shutdown that nobody can hold up.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use futures::StreamExt;
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;
use panamax_kubernetes_adapter::proto::template_service_client::TemplateServiceClient;
use panamax_kubernetes_adapter::proto::validate_template_request::TemplateSource;
use panamax_kubernetes_adapter::proto::watch_deployment_response::Event;
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::adapter::{Binary, connect, deploy, reason, refused, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::namespace::namespace;
use crate::support::relay::{Relay, free_address, kubeconfig_at};
use crate::support::templates::WORDPRESS;

/// How long the adapter may take to notice that its cluster is there.
const NOTICED: Duration = Duration::from_secs(2);
/// How long anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts the binary without waiting on this thread.
async fn start(kubeconfig: PathBuf, flags: &'static [&'static str]) -> Binary {
    spawn_blocking(move || Binary::start(&kubeconfig, flags)).await.expect("the binary starts")
}

#[test]
fn what_cannot_be_served_is_refused_in_one_sentence() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().map(|address| (taken, address.to_string())).expect("an address");
    let cases: [(i32, &[&str], &str); 11] = [
        (64, &["--lease", "soon"], "--lease"),
        (78, &["--lease", "0s"], "1s at least"),
        (64, &["--listen", "somewhere"], "--listen"),
        (64, &["--log-format", "xml"], "text, json"),
        (64, &["--no-such-flag"], "--no-such-flag"),
        (64, &["--sandbox", "--kubeconfig", "file"], "--sandbox"),
        (64, &["--sandbox", "--namespace", "No Name"], "--namespace"),
        (69, &["--sandbox", "--listen", &taken.1], "is taken"),
        (78, &["--listen", "0.0.0.0:0"], "--allow-plaintext"),
        (78, &["--sandbox", "--listen", "0.0.0.0:0", "--allow-plaintext"], "loopback"),
        (78, &["--kubeconfig", "/no/such/file"], "/no/such/file"),
    ];
    for (code, flags, part) in cases {
        let (ended, said) = refused(flags);
        assert_eq!(ended, Some(code), "{flags:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{flags:?}: {said}");
        assert!(said.starts_with("panamax-kubernetes-adapter: ") && said.contains(part), "{flags:?}: {said}");
    }
}

#[test]
fn help_and_version_are_no_refusals() {
    for flag in ["--help", "--version"] {
        assert_eq!(refused(&[flag]), (Some(0), String::new()));
    }
}

#[tokio::test]
async fn a_shutdown_ends_watches_with_a_reason_and_waits_for_no_silent_client() {
    let namespace = namespace("lifecycle-shutdown").await;
    let kubeconfig = control_plane().kubeconfig(User::Adapter);
    for silent in [false, true] {
        let mut binary = start(kubeconfig.clone(), &["--drain-timeout", "3s"]).await;
        let mut client = DeploymentServiceClient::new(connect(binary.address).await);
        client.deploy(deploy(&namespace, "wp", WORDPRESS)).await.expect("deployed");
        let request = proto::WatchDeploymentRequest {
            namespace: namespace.to_string(),
            name: "wp".to_owned(),
            ..proto::WatchDeploymentRequest::default()
        };
        let mut watch = client.watch_deployment(request).await.expect("a watch").into_inner();
        watch.next().await.expect("a message").expect("a snapshot");
        // One client is connected and asks nothing; another has never said a word of HTTP/2.
        let _idle = connect(binary.address).await;
        let _silent = if silent { TcpStream::connect(binary.address).await.ok() } else { None };
        let began = Instant::now();
        let ended = spawn_blocking(move || (binary.signal("TERM", PATIENCE), began.elapsed()));
        let mut last = None;
        while let Some(message) = watch.next().await {
            last = message.expect("the stream ends well").event;
        }
        let told = began.elapsed();
        let Some(Event::Complete(complete)) = last else { panic!("the last message is {last:?}") };
        assert_eq!(complete.reason(), proto::WatchCompleteReason::ServerShutdown);
        let (code, time) = ended.await.expect("it ends");
        let clients = if silent { "an idle and a silent client" } else { "an idle client" };
        eprintln!(
            "lifecycle: a watch was told of the shutdown after {told:.1?}; beside {clients} it took {time:.1?}"
        );
        assert_eq!(code, Some(0));
        // Only whoever says nothing at all can keep it for the whole drain timeout.
        let limit = Duration::from_secs(if silent { 5 } else { 2 });
        assert!(time < limit, "it took {time:?} with a drain timeout of 3 s");
    }
    // What it deployed does not depend on it.
    let next = start(kubeconfig, &[]).await;
    let mut client = DeploymentServiceClient::new(connect(next.address).await);
    assert!(client.teardown(teardown(&namespace, "wp")).await.expect("torn down").into_inner().complete);
}

#[tokio::test]
async fn without_clients_a_shutdown_is_immediate() {
    let mut binary = start(control_plane().kubeconfig(User::Adapter), &[]).await;
    let began = Instant::now();
    let code = spawn_blocking(move || binary.signal("INT", PATIENCE)).await.expect("it ends");
    eprintln!("lifecycle: without clients the process ended after {:.1?}", began.elapsed());
    assert_eq!(code, Some(0));
}

async fn health(channel: &Channel, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = HealthClient::new(channel.clone()).check(request).await.expect("a health");
    answer.into_inner().status()
}

const DEPLOYMENTS: &str = "panamax.kubernetes.v1.DeploymentService";
const TEMPLATES: &str = "panamax.kubernetes.v1.TemplateService";

#[tokio::test]
async fn without_its_cluster_templates_are_served_and_health_tells() {
    // A port that nobody listens on, until a relay to the API server does.
    let address = free_address().await;
    let binary = start(kubeconfig_at(address), &[]).await;
    let channel = connect(binary.address).await;
    for service in ["", DEPLOYMENTS] {
        assert_eq!(health(&channel, service).await, ServingStatus::NotServing, "{service}");
    }
    assert_eq!(health(&channel, TEMPLATES).await, ServingStatus::Serving);
    let request = proto::ValidateTemplateRequest {
        template_source: Some(TemplateSource::TemplateYaml(WORDPRESS.to_owned())),
        ..proto::ValidateTemplateRequest::default()
    };
    let answer = TemplateServiceClient::new(channel.clone()).validate_template(request).await;
    assert!(answer.expect("validated").into_inner().valid);
    let mut deployments = DeploymentServiceClient::new(channel.clone());
    let down = deployments.deploy(deploy("default", "wp", WORDPRESS)).await.expect_err("no cluster");
    assert_eq!((down.code(), reason(&down).as_str()), (Code::Unavailable, "CLUSTER_UNREACHABLE"));

    let request = HealthCheckRequest { service: DEPLOYMENTS.to_owned() };
    let mut changes = HealthClient::new(channel.clone()).watch(request).await.expect("a watch").into_inner();
    let first = changes.next().await.expect("a message").expect("a health");
    assert_eq!(first.status(), ServingStatus::NotServing);
    let _relay = Relay::start(address, Duration::ZERO).await;
    let began = Instant::now();
    let next = tokio::time::timeout(PATIENCE, changes.next()).await.expect("in time");
    assert_eq!(next.expect("a message").expect("a health").status(), ServingStatus::Serving);
    let time = began.elapsed();
    eprintln!("lifecycle: the cluster was noticed {time:.1?} after it came");
    assert!(time < NOTICED, "{time:?}");
    assert_eq!(health(&channel, "").await, ServingStatus::Serving);
}

#[tokio::test]
async fn heartbeats_say_whether_the_cluster_answers() {
    let namespace = namespace("lifecycle-beats").await;
    let address = free_address().await;
    let relay = Relay::start(address, Duration::ZERO).await;
    let binary = start(kubeconfig_at(address), &[]).await;
    let mut client = DeploymentServiceClient::new(connect(binary.address).await);
    client.deploy(deploy(&namespace, "wp", WORDPRESS)).await.expect("deployed");
    let request = proto::WatchDeploymentRequest {
        namespace: namespace.to_string(),
        name: "wp".to_owned(),
        heartbeat_interval: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        ..proto::WatchDeploymentRequest::default()
    };
    let mut watch = client.watch_deployment(request).await.expect("a watch").into_inner();
    let mut beats = async |unreachable: bool| {
        let beat = async {
            loop {
                let next = watch.next().await.expect("the watch goes on").expect("a message");
                if let Some(Event::Heartbeat(beat)) = next.event
                    && beat.cluster_unreachable == unreachable
                {
                    return;
                }
            }
        };
        tokio::time::timeout(2 * PATIENCE, beat).await.expect("in time");
    };
    beats(false).await;
    drop(relay);
    // It is noticed when the cluster is asked next, which is every ten seconds.
    beats(true).await;
    let _relay = Relay::start(address, Duration::ZERO).await;
    beats(false).await;
}

/// Asks one version of reflection for the names of all services.
macro_rules! listed {
    ($version:ident, $channel:expr) => {{
        use tonic_reflection::pb::$version::ServerReflectionRequest;
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
        let message_request = Some(MessageRequest::ListServices(String::new()));
        let request = ServerReflectionRequest { message_request, ..ServerReflectionRequest::default() };
        let requests = futures::stream::iter([request]);
        let mut client = ServerReflectionClient::new($channel.clone());
        let answers = client.server_reflection_info(requests).await.expect("an answer");
        let answer = answers.into_inner().next().await.expect("a message").expect("a message");
        let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
            panic!("{answer:?}");
        };
        list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
    }};
}

#[tokio::test]
async fn reflection_lists_and_describes_the_services() {
    let binary = start(control_plane().kubeconfig(User::Adapter), &[]).await;
    let address = binary.address.to_string();
    let grpcurl = |arguments: &[&str]| {
        let mut command = Command::new(control_plane().program("grpcurl"));
        let output = command.arg("-plaintext").args(arguments).output().expect("grpcurl runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let services = grpcurl(&[&address, "list"]);
    let wanted = ["grpc.health.v1.Health", DEPLOYMENTS, "panamax.kubernetes.v1.ServerService", TEMPLATES];
    for service in wanted {
        assert!(services.lines().any(|line| line == service), "{services}");
    }
    let channel = connect(binary.address).await;
    let listed = listed!(v1, channel);
    assert!(wanted.iter().all(|service| listed.iter().any(|one| one == service)), "{listed:?}");
    assert_eq!(listed!(v1alpha, channel).len(), listed.len());
    // The comments of the contract come along.
    let described = grpcurl(&[&address, "describe", &format!("{DEPLOYMENTS}.Scale")]);
    assert!(described.contains("// Sets how many replicas of named components run"), "{described}");
    let described = grpcurl(&[&address, "describe", "panamax.kubernetes.v1.PortMapping"]);
    assert!(described.contains("// The port on which the container listens"), "{described}");
}

/// The most that an idle process may have of its own, in any build: what it shares with its file, and so how its program
/// was built, is not among it. docs/benchmarks.md has the whole of a release build.
const IDLE: u64 = 12_000_000;

#[tokio::test]
async fn the_idle_process_is_small() {
    let real = start(control_plane().kubeconfig(User::Adapter), &[]).await;
    let sandbox = spawn_blocking(|| Binary::start_with(&["--sandbox"])).await.expect("the binary starts");
    for (binary, what) in [(&real, "a cluster"), (&sandbox, "the sandbox")] {
        // Once it serves it has nothing to do.
        let channel = connect(binary.address).await;
        assert_eq!(health(&channel, TEMPLATES).await, ServingStatus::Serving);
        let kind = if cfg!(debug_assertions) { "a debug build" } else { "a release build" };
        let (Some(own), Some(all)) = (binary.anonymous_bytes(), binary.resident_bytes()) else {
            eprintln!("lifecycle: the memory of a process cannot be read here");
            continue;
        };
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        eprintln!(
            "lifecycle: {kind} idle on {what} holds {:.1} MB, {:.1} MB of it its own",
            megabytes(all),
            megabytes(own)
        );
        assert!(own < IDLE, "{own} bytes on {what}");
    }
}
