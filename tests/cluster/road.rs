//! The road to the API server: few connections, nothing awaited for ever.

use std::time::Duration;

use futures::future::join_all;
use panamax_kubernetes_adapter::proto;

use crate::support::adapter::{Adapter, deploy_at_once};
use crate::support::namespace::namespace;
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
