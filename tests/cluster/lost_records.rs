//! What a record that was lost has left goes all the same: with the next Deploy that prunes, or with the Teardown.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use panamax_kubernetes_adapter::proto;

use crate::support::adapter::{Adapter, deploy, modern, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{eventually, everything, members, recorded, remove};
use crate::support::namespace::{Namespace, namespace};

const ONE: &str = "name: One\nimages:\n\
    - {name: web, source: 'example/web:1', ports: [{container_port: 80}]}\n\
    - {name: old, source: 'example/old:1', ports: [{container_port: 81}], links: [{service: web, alias: WEB}]}\n";

/// Deploys apps Deployments, and takes their record away.
async fn loses_its_record(namespace: &Namespace, adapter: &Adapter) {
    let mut client = adapter.deployments();
    client.deploy(modern(deploy(namespace, "one", ONE))).await.expect("ready");
    recorded(namespace, "one", "ACTIVE").await;
    remove::<ConfigMap>(namespace, "panamax-deployment-one").await;
}

/// The same deployment as Pods, without one of its components.
fn as_pods(namespace: &Namespace) -> proto::DeployRequest {
    deploy(namespace, "one", &ONE.lines().take(3).collect::<Vec<_>>().join("\n"))
}

#[tokio::test]
async fn the_next_deploy_is_ready_and_nothing_else_is_left() {
    let namespace = namespace("lost-deploy").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    loses_its_record(&namespace, &adapter).await;
    adapter.deployments().deploy(as_pods(&namespace)).await.expect("ready");
    recorded(&namespace, "one", "ACTIVE").await;
    let is_left = |name: &String| name.contains("old") || name.starts_with("Deployment/");
    eventually(async || match members(&namespace).await.into_keys().find(is_left) {
        Some(left) => Err(left),
        None => Ok(()),
    })
    .await;
}

#[tokio::test]
async fn a_teardown_leaves_nothing_of_what_it_does_not_know() {
    let namespace = namespace("lost-teardown").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    loses_its_record(&namespace, &adapter).await;
    let mut client = adapter.deployments();
    let mut kept = as_pods(&namespace);
    kept.set_wait(proto::WaitMode::None);
    kept.options.get_or_insert_default().set_prune(proto::PrunePolicy::Keep);
    client.deploy(kept).await.expect("deployed");
    let torn_down = client.teardown(teardown(&namespace, "one")).await.expect("gone").into_inner();
    assert!(torn_down.complete, "{torn_down:#?}");
    let left = everything(&namespace).await;
    assert!(!left.keys().any(|name| name.contains("web") || name.contains("old")), "{left:#?}");
    assert!(namespace.api::<Deployment>().list(&Default::default()).await.expect("a list").items.is_empty());
}
