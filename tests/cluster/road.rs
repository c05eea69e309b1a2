//! The road to the API server: few connections, nothing awaited for ever.

use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use futures::future::join_all;
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;
use panamax_kubernetes_adapter::sandbox::Sandbox;
use tokio::net::TcpListener;

use crate::support::adapter::{Adapter, Binary, connect, deploy, deploy_at_once, teardown};
use crate::support::certificates::{Folder, Issuer, authority};
use crate::support::control_plane::{User, control_plane};
use crate::support::front::Front;
use crate::support::looking::everything;
use crate::support::namespace::namespace;
use crate::support::proxy::{Fault, Proxy};
use crate::support::relay::{Relay, free_address, kubeconfig_at};
use crate::support::templates::chain;
use crate::support::tunnel::{Speaks, Tunnel};

#[tokio::test]
async fn many_calls_share_one_connection_and_watches_have_another() {
    let namespace = namespace("road-shared").await;
    let address = free_address().await;
    let relay = Relay::start(address, Duration::ZERO).await;
    let adapter = Adapter::at(&kubeconfig_at(address), Duration::from_secs(30)).await;
    let mut client = adapter.deployments();
    client.deploy(deploy_at_once(&namespace, "chain", &chain(20))).await.expect("deployed");
    let reads = (0..50).map(|_| {
        let mut client = adapter.deployments();
        let request = proto::GetDeploymentRequest {
            namespace: namespace.to_string(),
            name: "chain".to_owned(),
            ..Default::default()
        };
        async move { client.get_deployment(request).await }
    });
    for read in join_all(reads).await {
        read.expect("a deployment");
    }
    // One for calls, one for watches.
    assert!(relay.connections() <= 2, "{} connections", relay.connections());
}

/// Longer than any connection may be silent over HTTP/2.
const NOTICED: Duration = Duration::from_secs(30);
const ONE: &str = "name: One\nimages:\n- {name: web, source: 'example/web:1'}\n";

fn get(namespace: &str, name: &str) -> proto::GetDeploymentRequest {
    proto::GetDeploymentRequest {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_connection_that_fell_silent_is_noticed() {
    let namespace = namespace("road-silent").await;
    let address = free_address().await;
    let relay = Relay::start(address, Duration::ZERO).await;
    let adapter = Adapter::at(&kubeconfig_at(address), Duration::from_secs(60)).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "one", ONE)).await.expect("deployed");
    relay.freeze();
    let began = Instant::now();
    // Each call has some tries; until one is answered nothing else may be awaited for longer.
    while let Err(status) = client.get_deployment(get(&namespace, "one")).await {
        assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
        assert!(began.elapsed() < NOTICED, "{status:?}");
    }
    assert!(began.elapsed() < NOTICED, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_list_that_is_never_answered_silences_no_watch() {
    let namespace = namespace("road-list").await;
    let proxy = Proxy::start(control_plane().client(User::Adapter).await, Duration::ZERO).await;
    let adapter = Adapter::serve_with_lease(proxy.config(), None, Duration::from_secs(30)).await;
    for fault in [Fault::Silence, Fault::Stall] {
        proxy.befall("GET", "/pods?&labelSelector=app.kubernetes.io%2Fmanaged-by", 1, fault);
        let began = Instant::now();
        adapter.deployments().deploy(deploy(&namespace, "one", ONE)).await.expect("deployed");
        assert_eq!(proxy.to_come(), 0, "the pods were never listed");
        assert!(began.elapsed() < NOTICED, "{:?}", began.elapsed());
        adapter.deployments().teardown(teardown(&namespace, "one")).await.expect("torn down");
    }
}

#[tokio::test]
async fn a_silent_watch_is_no_proof_that_an_object_is_still_there() {
    let namespace = namespace("road-gone").await;
    let proxy = Proxy::start(control_plane().client(User::Adapter).await, Duration::ZERO).await;
    let adapter = Adapter::serve_with_lease(proxy.config(), None, Duration::from_secs(30)).await;
    adapter.deployments().deploy(deploy(&namespace, "one", ONE)).await.expect("deployed");
    proxy.befall("GET", "watch=true", 100, Fault::Stall);
    let request = proto::TeardownRequest {
        wait_timeout: Some(prost_types::Duration { seconds: 50, nanos: 0 }),
        ..teardown(&namespace, "one")
    };
    let gone = adapter.deployments().teardown(request).await.expect("torn down").into_inner();
    assert!(gone.complete, "{gone:#?}");
    assert!(everything(&namespace).await.is_empty());
}

#[tokio::test]
async fn refused_credentials_are_read_again() {
    let plane = control_plane();
    let namespace = namespace("road-token").await;
    let file = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("rotated.token");
    std::fs::write(&file, "not-a-token-any-more").expect("a file");
    let kubeconfig =
        kube::config::Kubeconfig::read_from(plane.kubeconfig(User::Adapter)).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await;
    let mut config = config.expect("a configuration");
    config.auth_info = kube::config::AuthInfo {
        token_file: Some(file.to_str().expect("a path").to_owned()),
        ..Default::default()
    };
    let adapter = Adapter::serve(config, None).await;
    let mut client = adapter.deployments();
    let status = client.get_deployment(get(&namespace, "one")).await.expect_err("no right token");
    assert_eq!(crate::support::adapter::reason(&status), "CLUSTER_CREDENTIALS_REJECTED");
    std::fs::write(&file, plane.token(User::Adapter)).expect("a file");
    let began = Instant::now();
    // Read again at most every five seconds; once a minute would be too late for a token that was taken back.
    while let Err(status) = client.deploy(deploy_at_once(&namespace, "one", ONE)).await {
        assert_eq!(crate::support::adapter::reason(&status), "CLUSTER_CREDENTIALS_REJECTED");
        assert!(began.elapsed() < Duration::from_secs(10), "{status:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn an_authority_that_was_replaced_is_read_again() {
    authority_replaced(false).await;
}

#[tokio::test]
async fn an_authority_that_was_replaced_is_read_again_behind_a_proxy() {
    authority_replaced(true).await;
}

/// Replaces the authority of the API server, and lets the adapter find out.
async fn authority_replaced(behind_a_proxy: bool) {
    let sandbox = Sandbox::start(TcpListener::bind("127.0.0.1:0").await.expect("a port")).await;
    let sandbox = sandbox.expect("a sandbox");
    let server = sandbox.url().trim_start_matches("http://").parse().expect("an address");
    let folder = Folder::new(&format!("road-authority-{behind_a_proxy}"));
    let [first, second, third] = ["first", "second", "third"].map(authority);
    let front = Front::of(server, &first).await;
    let tunnel = Tunnel::to(front.address, Speaks::Http, false, &first).await;
    let (host, proxy) = match behind_a_proxy {
        true => (
            "cluster.invalid",
            format!(", proxy-url: 'http://{}', tls-server-name: localhost", tunnel.address),
        ),
        false => ("localhost", String::new()),
    };
    let kubeconfig = |cluster: &str| {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\nusers: [{{name: u, user: {{}}}}]\n\
             clusters: [{{name: c, cluster: {{{cluster}, server: 'https://{host}:{}'{proxy}}}}}]\n",
            front.address.port()
        );
        folder.write("kubeconfig", &text, 0o600)
    };
    let file = folder.write("ca.pem", &first.pem(), 0o644);
    let path = kubeconfig(&format!("certificate-authority: '{file}'"));
    let start = move || Binary::start(Path::new(&path), &[]);
    let binary = tokio::task::spawn_blocking(start).await.expect("the binary starts");
    let mut client = DeploymentServiceClient::new(connect(binary.address).await);
    client.deploy(deploy_at_once("default", "one", ONE)).await.expect("deployed");
    // The file that the kubeconfig names is another, and then the kubeconfig itself.
    let inline = base64::engine::general_purpose::STANDARD.encode(third.pem());
    let replaced: [(&Issuer, &dyn Fn()); 2] = [
        (&second, &|| drop(folder.write("ca.pem", &second.pem(), 0o644))),
        (&third, &|| drop(kubeconfig(&format!("certificate-authority-data: {inline}")))),
    ];
    for (by, replace) in replaced {
        front.replace(by);
        let lost = client.get_deployment(get("default", "one")).await.expect_err("nobody trusts it");
        assert_eq!(crate::support::adapter::reason(&lost), "CLUSTER_UNREACHABLE", "{lost:?}");
        replace();
        let began = Instant::now();
        while let Err(status) = client.get_deployment(get("default", "one")).await {
            assert_eq!(crate::support::adapter::reason(&status), "CLUSTER_UNREACHABLE", "{status:?}");
            assert!(began.elapsed() < NOTICED, "{status:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    assert_eq!(tunnel.asked().is_empty(), !behind_a_proxy);
}
