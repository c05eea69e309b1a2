//! Runs the sandbox as its callers do: many objects, watches that stay open, an end.
use crate::support::adapter::{Adapter, deploy, modern, scale, teardown};
use crate::support::templates::{WORDPRESS, rich_chain};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ReplicationController};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use panamax_kubernetes_adapter::proto::{DeployOutcome, DeploymentView, GetDeploymentRequest};
use panamax_kubernetes_adapter::sandbox::Sandbox;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// A sandbox and a client of it.
pub async fn start() -> (Sandbox, kube::Client) {
    let sandbox =
        Sandbox::start(TcpListener::bind("127.0.0.1:0").await.expect("a port")).await.expect("a sandbox");
    let config = kube::Config::new(sandbox.url().parse().expect("a URL"));
    let client = kube::Client::try_from(config).expect("a client");
    (sandbox, client)
}

fn controller(name: &str) -> Patch<serde_json::Value> {
    let template = json!({
        "metadata": { "labels": { "name": name } },
        "spec": { "containers": [{ "name": "main", "image": "nginx:1" }] },
    });
    Patch::Apply(json!({
        "apiVersion": "v1", "kind": "ReplicationController", "metadata": { "name": name, "labels": { "all": "yes" } },
        "spec": { "replicas": 1, "selector": { "name": name }, "template": template },
    }))
}

#[tokio::test]
async fn a_hundred_controllers_are_ready_within_seconds() {
    let (sandbox, client) = start().await;
    let api: Api<ReplicationController> = Api::namespaced(client.clone(), "default");
    let begin = Instant::now();
    let names: Vec<_> = (0..100).map(|number| format!("c{number}")).collect();
    let params = PatchParams::apply("panamax:many");
    futures::future::try_join_all(names.iter().map(|name| {
        let (api, params) = (api.clone(), params.clone());
        async move { api.patch(name, &params, &controller(name)).await }
    }))
    .await
    .expect("all applied");
    let watch = WatchParams::default().labels("all=yes").timeout(60);
    let mut events = api.watch(&watch, "0").await.expect("a watch").boxed();
    let mut ready = std::collections::BTreeSet::new();
    while ready.len() < names.len() {
        let event = events.try_next().await.expect("an event").expect("no end");
        let (WatchEvent::Added(rc) | WatchEvent::Modified(rc)) = event else { panic!("{event:?}") };
        if rc.status.and_then(|status| status.available_replicas) == Some(1) {
            ready.insert(rc.metadata.name);
        }
    }
    println!("100 controllers ready after {:?}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(20));
    let begin = Instant::now();
    let pods: Api<Pod> = Api::namespaced(client, "default");
    for name in &names {
        api.delete(name, &DeleteParams::foreground()).await.expect("a deletion");
    }
    while !pods.list_metadata(&ListParams::default()).await.expect("a list").items.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("gone after {:?}", begin.elapsed());
    sandbox.shutdown().await;
}

#[tokio::test]
async fn the_engine_deploys_scales_and_tears_down() {
    let adapter = Adapter::sandbox().await;
    let mut client = adapter.deployments();
    let mut outcome = async || {
        let answer = client.deploy(deploy("default", "wp", WORDPRESS)).await.expect("deployed");
        answer.into_inner().outcome()
    };
    assert_eq!(outcome().await, DeployOutcome::Created);
    assert_eq!(outcome().await, DeployOutcome::Unchanged);
    for count in [3, 0, 1] {
        let scaled = client.scale(scale("default", "wp", "WP", count)).await.expect("scaled").into_inner();
        assert_eq!(scaled.deployment.expect("a deployment").components[0].ready_replicas(), count);
    }
    let full = GetDeploymentRequest {
        name: "wp".to_owned(),
        view: DeploymentView::Full.into(),
        ..GetDeploymentRequest::default()
    };
    let is_told = async {
        loop {
            let answer = client.get_deployment(full.clone()).await.expect("an answer").into_inner();
            let events = answer.deployment.expect("a deployment").events;
            let scaled = events.iter().filter(|event| event.reason == "Scaled").count();
            if scaled == 3 && events.iter().any(|event| event.reason == "Deployed") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), is_told).await.expect("told in time");
    let torn_down = client.teardown(teardown("default", "wp")).await.expect("torn down");
    assert!(torn_down.into_inner().complete);
}

#[tokio::test]
async fn fifty_components_of_modern_are_ready_within_seconds() {
    let adapter = Adapter::sandbox().await;
    let mut client = adapter.deployments();
    let begin = Instant::now();
    for (template, outcome) in [
        (rich_chain(50), DeployOutcome::Created),
        (rich_chain(50).replace("component", "other"), DeployOutcome::Updated),
    ] {
        let answer = client.deploy(modern(deploy("default", "rich", &template))).await.expect("deployed");
        assert_eq!(answer.into_inner().outcome(), outcome);
        println!("50 components of MODERN ready after {:?}", begin.elapsed());
    }
    assert!(begin.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn the_end_closes_open_watches() {
    let (sandbox, client) = start().await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let mut events = maps.watch_metadata(&WatchParams::default(), "0").await.expect("a watch").boxed();
    let mut map = ConfigMap::default();
    map.metadata.name = Some("a".to_owned());
    maps.create(&PostParams::default(), &map).await.expect("created");
    assert!(
        matches!(events.try_next().await, Ok(Some(WatchEvent::Added(map))) if map.metadata.name.as_deref() == Some("a"))
    );
    let begin = Instant::now();
    sandbox.shutdown().await;
    assert!(begin.elapsed() < Duration::from_secs(1));
    assert!(!matches!(events.try_next().await, Ok(Some(_))));
}

#[tokio::test]
async fn only_loopback_is_served() {
    let everywhere = TcpListener::bind("0.0.0.0:0").await.expect("a port");
    assert!(Sandbox::start(everywhere).await.is_err());
}
