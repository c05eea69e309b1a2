//! A handler that panics: its call is answered, nothing of its text is told, and its connection serves the next call.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Request;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use panamax_kubernetes_adapter::cluster::Cluster;
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;
use panamax_kubernetes_adapter::sandbox::Sandbox;
use panamax_kubernetes_adapter::server::{self, Listeners};
use panamax_kubernetes_adapter::telemetry::{Telemetry, tell_of_panics};
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::support::adapter::{deploy_at_once, parts, reason};
use crate::support::agent::Agent;
use crate::support::templates::WORDPRESS;

/// What the panics say.
const CANARY: &str = "canary-of-a-panic";
/// The namespace at whose calls the cluster's handle panics.
const DOOMED: &str = "doomed";
/// Set for the process in which the panics happen.
const INSIDE: &str = "PANAMAX_TEST_PANICS";

/// Log and hook are those of a process, so the panics happen in one of their own.
#[test]
fn a_panic_ends_its_call_alone_and_nothing_of_its_text_is_told() {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        return runtime.expect("a runtime").block_on(calls_panic());
    }
    let name = "edge::panics::a_panic_ends_its_call_alone_and_nothing_of_its_text_is_told";
    let mut command = Command::new(std::env::current_exe().expect("the tests"));
    let output = command.args(["--exact", name, "--nocapture"]).env(INSIDE, "1").output();
    let output = output.expect("the tests run");
    let told =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
    // Where it happened, and which calls it ended, is told.
    assert!(told.matches("a thread panicked").count() == 3 && told.contains(file!()), "{told}");
    assert!(told.matches("\"call failed\"").count() == 3, "{told}");
    assert!(!told.contains(CANARY), "{told}");
}

/// A handle on a sandbox, which panics at every call for one namespace.
async fn cluster() -> (Cluster, Sandbox) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let sandbox = Sandbox::start(listener).await.expect("a sandbox");
    let config = kube::Config::new(sandbox.url().parse().expect("an address"));
    let client = kube::Client::try_from(config).expect("a client");
    let service = tower::service_fn(move |request: Request<Body>| {
        let client = client.clone();
        async move {
            assert!(!request.uri().path().contains(DOOMED), "{CANARY}");
            client.send(request).await
        }
    });
    (Cluster::over(service, 1), sandbox)
}

/// A channel that cannot connect a second time.
async fn only_connection(address: std::net::SocketAddr) -> Channel {
    let opened = Arc::new(AtomicUsize::new(0));
    let connector = tower::service_fn(move |_| {
        let opened = Arc::clone(&opened);
        async move {
            if opened.fetch_add(1, Ordering::Relaxed) > 0 {
                return Err(std::io::Error::other("the connection was to live"));
            }
            TcpStream::connect(address).await.map(TokioIo::new)
        }
    });
    let endpoint = Endpoint::from_static("http://localhost");
    endpoint.connect_with_connector(connector).await.expect("a connection")
}

async fn calls_panic() {
    let _telemetry = Telemetry::start("trace", true, None).expect("a log");
    tell_of_panics();
    let (cluster, _sandbox) = cluster().await;
    let main = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let rest = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addresses = [&main, &rest].map(|listener| listener.local_addr().expect("an address"));
    let listeners = Listeners { main: main.into(), metrics: None, rest: Some(rest) };
    tokio::select! {
        ended = server::run_all(parts(cluster), listeners, std::future::pending()) => panic!("{ended:?}"),
        () = calls(addresses) => {}
    }
}

async fn calls([main, rest]: [std::net::SocketAddr; 2]) {
    let mut client = DeploymentServiceClient::new(only_connection(main).await);
    let get = |namespace: &str| proto::GetDeploymentRequest {
        namespace: namespace.to_owned(),
        name: "absent".to_owned(),
        ..Default::default()
    };
    // In the handler itself, and in the task of an operation.
    let in_handler = client.get_deployment(get(DOOMED)).await.expect_err("it panics");
    let in_task = client.deploy(deploy_at_once(DOOMED, "wp", WORDPRESS)).await.expect_err("it panics");
    for failed in [in_handler, in_task] {
        assert_eq!((failed.code(), reason(&failed).as_str()), (Code::Internal, "INTERNAL"), "{failed:?}");
        assert!(failed.message().contains("internal error"), "{failed:?}");
        assert!(!format!("{failed:?}").contains(CANARY), "{failed:?}");
    }
    let absent = client.get_deployment(get("default")).await.expect_err("there is none");
    assert_eq!(absent.code(), Code::NotFound, "{absent:?}");

    let mut agent = Agent::to(rest).await;
    let failed = agent.call("GET", &format!("/namespaces/{DOOMED}/v1/services"), None).await;
    assert_eq!(failed.refusal(), (500, "INTERNAL".to_owned()), "{failed:?}");
    assert!(!format!("{failed:?}").contains(CANARY), "{failed:?}");
    // An agent never connects again.
    assert_eq!(agent.call("GET", "/v1/services", None).await.status, 200);
}
