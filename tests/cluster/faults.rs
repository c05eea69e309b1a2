//! What the API server may answer besides the truth: each answer is told by its details, and what passes is repeated.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use panamax_kubernetes_adapter::proto;

use crate::support::adapter::{Adapter, deploy, scale, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{everything, recorded};
use crate::support::namespace::{Namespace, namespace};
use crate::support::proxy::{Fault, Proxy};
use crate::support::survey::Survey;

/// A replicated and a bare component, so that every kind of write has one to be made of.
const PAIR: &str = "name: Pair\nimages:\n- name: web\n  source: example/web:1\n  deployment: {count: 2}\n  ports: [{host_port: 80, container_port: 80}]\n- name: db\n  source: example/db:1\n  environment: [{variable: PASSWORD, value: one}]\n";

/// An adapter whose road to the API server can have faults.
async fn adapter() -> (Adapter, Proxy) {
    let proxy = Proxy::start(control_plane().client(User::Adapter).await, Duration::ZERO).await;
    let adapter = Adapter::serve(proxy.config(), None).await;
    (adapter, proxy)
}

/// The whole life of a deployment: made, changed, scaled, torn down; nothing may show that anything was odd.
async fn lives(namespace: &Namespace, adapter: &Adapter) {
    let mut client = adapter.deployments();
    let made = client.deploy(deploy(namespace, "pair", PAIR)).await.expect("deployed").into_inner();
    assert_eq!(made.deployment.expect("a deployment").state(), proto::DeploymentState::Active);
    let changed = PAIR.replace("value: one", "value: two").replace("db:1", "db:2");
    client.deploy(deploy(namespace, "pair", &changed)).await.expect("changed");
    client.scale(scale(namespace, "pair", "web", 3)).await.expect("scaled");
    recorded(namespace, "pair", "ACTIVE").await;
    let survey = Survey::of(&namespace.client, namespace).await;
    assert_eq!(survey.faults("pair"), Vec::<String>::new(), "{:#?}", survey.names());
    assert_eq!(survey.of_kind("Secret").count(), 2, "{:#?}", survey.names());
    let again = client.deploy(deploy(namespace, "pair", &changed)).await.expect("the same").into_inner();
    assert_eq!(again.outcome(), proto::DeployOutcome::Unchanged, "{again:#?}");
    let gone = client.teardown(teardown(namespace, "pair")).await.expect("torn down").into_inner();
    assert!(gone.complete);
    assert!(everything(namespace).await.is_empty(), "{:#?}", everything(namespace).await);
}

#[tokio::test]
async fn a_conflict_about_a_quota_passes_whatever_was_written() {
    let namespace = namespace("faults-quota").await;
    let (adapter, proxy) = adapter().await;
    // Each kind of write in turn.
    for (method, part) in [
        ("POST", "/configmaps"),
        ("POST", "/secrets"),
        ("PATCH", "/services/"),
        ("PATCH", "/replicationcontrollers/"),
        ("PATCH", "fieldManager=panamax-scale"),
        ("PATCH", "/pods/"),
        ("PUT", "/configmaps/"),
        ("DELETE", "/replicationcontrollers/"),
        ("DELETE", "/pods/"),
        ("DELETE", "/services/"),
        ("DELETE", "/configmaps/"),
    ] {
        proxy.befall(method, part, 2, Fault::quota_conflict());
        lives(&namespace, &adapter).await;
        assert_eq!(proxy.to_come(), 0, "{method} {part} was never written");
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_changes_nothing() {
    let namespace = namespace("faults-lost").await;
    let (adapter, proxy) = adapter().await;
    for (method, part) in [
        ("POST", "/configmaps"),
        ("POST", "/secrets"),
        ("PATCH", "/replicationcontrollers/"),
        ("PUT", "/configmaps/"),
        ("DELETE", "/pods/"),
        ("DELETE", "/configmaps/"),
    ] {
        proxy.befall(method, part, 1, Fault::LoseAnswer);
        lives(&namespace, &adapter).await;
        assert_eq!(proxy.to_come(), 0, "{method} {part} was never written");
    }
}

#[tokio::test]
async fn a_namespace_that_is_not_created_yet_is_created_in_spite_of_a_quotas_conflict() {
    let parent = namespace("faults-space").await;
    let (adapter, proxy) = adapter().await;
    let name = format!("{}-new", &*parent);
    proxy.befall("POST", "/api/v1/namespaces?", 1, Fault::quota_conflict());
    let mut request = deploy(&name, "pair", PAIR);
    request.options = Some(proto::DeployOptions { create_namespace: true, ..Default::default() });
    adapter.deployments().deploy(request).await.expect("deployed");
    assert_eq!(proxy.to_come(), 0);
    let heads: Api<ConfigMap> = Api::namespaced(parent.client.clone(), &name);
    heads.get("panamax-deployment-pair").await.expect("a head");
    let pods: Api<Pod> = Api::namespaced(parent.client.clone(), &name);
    assert!(!pods.list(&Default::default()).await.expect("pods").items.is_empty());
    let spaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(parent.client.clone());
    spaces.delete(&name, &Default::default()).await.expect("it goes");
}
