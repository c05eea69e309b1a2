//! The main job on the real control plane: deploy, scale, deploy again, tear down; and what it costs in calls.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Pod, ReplicationController, Secret, Service};
use kube::api::ListParams;
use panamax_kubernetes_adapter::proto;

use crate::support::adapter::{Adapter, deploy, deploy_at_once, scale, teardown};
use crate::support::calls::{Recorder, counted, makes_unchanged};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{Object, members, recorded};
use crate::support::namespace::{Namespace, namespace};
use crate::support::templates::{WORDPRESS, chain, wordpress_at};

/// Names of all objects of a kind in a namespace, but for what the cluster itself makes.
async fn names<K: Object>(namespace: &Namespace) -> Vec<String> {
    use kube::ResourceExt;
    let list = namespace.api::<K>().list(&ListParams::default()).await.expect("a list");
    let names = list.items.iter().map(ResourceExt::name_any);
    names.filter(|name| name != "kube-root-ca.crt").collect()
}

/// Everything of ours in a namespace, by kind.
async fn everything(namespace: &Namespace) -> Vec<Vec<String>> {
    vec![
        names::<Service>(namespace).await,
        names::<ReplicationController>(namespace).await,
        names::<Pod>(namespace).await,
        names::<ConfigMap>(namespace).await,
        names::<Secret>(namespace).await,
    ]
}

#[tokio::test]
async fn the_seeds_sample_runs_and_goes() {
    let namespace = namespace("main-sample").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let before = everything(&namespace).await;
    let answer = adapter.deployments().deploy(deploy(&namespace, "wp", WORDPRESS)).await.expect("deployed");
    let answer = answer.into_inner();
    assert_eq!(answer.outcome(), proto::DeployOutcome::Created);
    assert_eq!(answer.deployment.expect("a deployment").state(), proto::DeploymentState::Active);
    assert_eq!(names::<Pod>(&namespace).await, ["db-pod", "wp-pod"]);
    for name in ["db-pod", "wp-pod"] {
        let pod = namespace.api::<Pod>().get(name).await.expect("a pod");
        assert_eq!(pod.status.expect("a status").phase.as_deref(), Some("Running"));
    }
    assert_eq!(names::<Service>(&namespace).await, ["db-1"]);
    let service = namespace.api::<Service>().get("db-1").await.expect("a service");
    let ports = service.spec.expect("a spec").ports.expect("ports");
    assert_eq!(ports.iter().map(|port| port.port).collect::<Vec<_>>(), [3306]);
    assert_eq!(endpoint_pods(&namespace, "db-1").await, ["db-pod"]);
    let torn_down = adapter.deployments().teardown(teardown(&namespace, "wp")).await.expect("torn down");
    assert!(torn_down.into_inner().complete);
    assert_eq!(everything(&namespace).await, before);
}

/// The pods behind a Service, once the endpoints controller has named any.
async fn endpoint_pods(namespace: &Namespace, service: &str) -> Vec<String> {
    use futures::StreamExt;
    use kube::runtime::{WatchStreamExt, watcher};
    let config = watcher::Config::default().fields(&format!("metadata.name={service}"));
    let events = watcher(namespace.api::<Endpoints>(), config).applied_objects();
    let named = events.filter_map(|endpoints| async move {
        let addresses =
            endpoints.ok()?.subsets?.into_iter().flat_map(|subset| subset.addresses.unwrap_or_default());
        let mut pods: Vec<String> = addresses.filter_map(|address| address.target_ref?.name).collect();
        pods.sort();
        (!pods.is_empty()).then_some(pods)
    });
    let mut named = std::pin::pin!(named);
    let found = tokio::time::timeout(std::time::Duration::from_secs(30), named.next()).await;
    found.expect("endpoints in time").expect("endpoints")
}

#[tokio::test]
async fn three_replicas_run_behind_one_service() {
    let namespace = namespace("main-replicas").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let answer =
        adapter.deployments().deploy(deploy(&namespace, "wp", &wordpress_at(3))).await.expect("deployed");
    let deployment = answer.into_inner().deployment.expect("a deployment");
    assert_eq!(deployment.components.iter().map(|one| one.ready_replicas()).collect::<Vec<_>>(), [3, 1]);
    let controllers = namespace.api::<ReplicationController>();
    let controller = controllers.get("wp-replication-controller").await.expect("a controller");
    assert_eq!(controller.status.expect("a status").ready_replicas, Some(3));
    let service = namespace.api::<Service>().get("wp").await.expect("a service");
    let ports = service.spec.expect("a spec").ports.expect("ports");
    assert_eq!(ports.iter().map(|port| port.port).collect::<Vec<_>>(), [8000]);
    assert_eq!(
        ports[0].target_port,
        Some(k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(80))
    );
}

#[tokio::test]
async fn scaling_loses_no_pod() {
    let namespace = namespace("main-scale").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "wp", WORDPRESS)).await.expect("deployed");
    let uid = |pod: Pod| pod.metadata.uid.expect("a uid");
    let first = uid(namespace.api::<Pod>().get("wp-pod").await.expect("wp-pod"));
    let scaled = client.scale(scale(&namespace, "wp", "WP", 3)).await.expect("scaled").into_inner();
    assert_eq!(scaled.deployment.expect("a deployment").components[0].ready_replicas(), 3);
    assert_eq!(uid(namespace.api::<Pod>().get("wp-pod").await.expect("wp-pod stays")), first);
    let before = uids(&namespace).await;
    let again =
        client.deploy(deploy(&namespace, "wp", WORDPRESS)).await.expect("deployed again").into_inner();
    assert_eq!(again.outcome(), proto::DeployOutcome::Unchanged);
    assert!(again.diagnostics.iter().any(|one| one.code == "REPLICAS_KEPT"), "{:?}", again.diagnostics);
    assert_eq!(uids(&namespace).await, before);
    for count in [0, 1] {
        let scaled = client.scale(scale(&namespace, "wp", "wp", count)).await.expect("scaled").into_inner();
        let component = &scaled.deployment.as_ref().expect("a deployment").components[0];
        assert_eq!((component.desired_replicas(), component.ready_replicas()), (count, count));
    }
}

/// The uids of all pods.
async fn uids(namespace: &Namespace) -> Vec<String> {
    let pods = namespace.api::<Pod>().list(&ListParams::default()).await.expect("a list");
    let mut uids: Vec<String> = pods.items.into_iter().filter_map(|pod| pod.metadata.uid).collect();
    uids.sort();
    uids
}

#[tokio::test]
async fn a_second_deploy_of_the_same_changes_nothing() {
    let namespace = namespace("main-unchanged").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "wp", &wordpress_at(2))).await.expect("deployed");
    // The outcome is recorded in the head once it is known; after that nothing moves.
    let head = recorded(&namespace, "wp", "ACTIVE").await;
    let before = members(&namespace).await;
    let again =
        client.deploy(deploy(&namespace, "wp", &wordpress_at(2))).await.expect("deployed").into_inner();
    assert_eq!(again.outcome(), proto::DeployOutcome::Unchanged);
    assert_eq!(members(&namespace).await, before);
    assert_eq!(recorded(&namespace, "wp", "ACTIVE").await, head);
}

#[tokio::test]
async fn calls_stay_within_their_budgets() {
    let namespace = namespace("main-budgets").await;
    let plane = control_plane();
    // On a busy machine a short lease is renewed within the operation, which is not what is counted here.
    let adapter = Adapter::at(&plane.kubeconfig(User::Adapter), Duration::from_secs(30)).await;
    let mut client = adapter.deployments();
    let mut calls = Recorder::start(plane).namespace(&namespace).user(User::Adapter);
    // 20 Pods and 19 Services.
    let objects = 39;
    client.deploy(deploy_at_once(&namespace, "chain", &chain(20))).await.expect("deployed");
    let first: Vec<_> = counted(&mut calls);
    assert!(first.len() <= objects + 4, "{} calls for {objects} objects:\n{first:#?}", first.len());
    recorded(&namespace, "chain", "ACTIVE").await;
    // The head, the revision, and a list for each of two kinds.
    makes_unchanged(&mut calls, 4, async || {
        let request = deploy_at_once(&namespace, "chain", &chain(20));
        adapter.deployments().deploy(request).await.expect("unchanged");
    })
    .await;
    let get = proto::GetDeploymentRequest {
        namespace: namespace.to_string(),
        name: "chain".to_owned(),
        ..Default::default()
    };
    // Pods and Services: what it has no object of is not asked for.
    makes_unchanged(&mut calls, 1 + 2, async || {
        adapter.deployments().get_deployment(get.clone()).await.expect("a deployment");
    })
    .await;
    calls.restart();
    client
        .scale(proto::ScaleRequest { wait: 0, ..scale(&namespace, "chain", "C5", 2) })
        .await
        .expect("scaled");
    let scaled = counted(&mut calls);
    assert!(scaled.len() <= 4 + 2, "{scaled:#?}");
    // What an operation came to is written into the record a moment later, and would be met by the next one.
    recorded(&namespace, "chain", "ACTIVE").await;
    calls.restart();
    client
        .scale(proto::ScaleRequest { wait: 0, ..scale(&namespace, "chain", "C5", 3) })
        .await
        .expect("scaled");
    let scaled = counted(&mut calls);
    // The look for an autoscaler is one more.
    assert!(scaled.len() <= 3 + 1, "{scaled:#?}");
    recorded(&namespace, "chain", "ACTIVE").await;
    calls.restart();
    client.teardown(teardown(&namespace, "chain")).await.expect("torn down");
    let torn_down = counted(&mut calls);
    // The ReplicationController of C5 stands in the place of its Pod, and has a Service more. The last look is for pods
    // that controllers have left.
    assert!(torn_down.len() <= objects + 1 + 4, "{} calls:\n{torn_down:#?}", torn_down.len());
}
