//! The road to the API server: few connections, nothing awaited for ever.

use std::time::{Duration, Instant};

use futures::future::join_all;
use panamax_kubernetes_adapter::proto;

use crate::support::adapter::{Adapter, deploy, deploy_at_once, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::everything;
use crate::support::namespace::namespace;
use crate::support::proxy::{Fault, Proxy};
use crate::support::relay::{Relay, free_address, kubeconfig_at};
use crate::support::templates::chain;

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
