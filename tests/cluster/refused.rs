//! Deletes and writes that the cluster refuses: told until they are over, tried again, and never forgotten.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams, Patch, PostParams};
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::{ComponentReason, DeploymentState};
use serde_json::{Value, json};
use tonic::Code;

use crate::support::adapter::{Adapter, deploy, deploy_at_once, modern, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{eventually, everything, last_of, members, names, recorded, refused, shown};
use crate::support::namespace::{Namespace, namespace};
use crate::support::policy::{Policy, kept};

/// How long the adapter may take to see that a policy was lifted: its longest pause, and some more.
const RECOVERY: Duration = Duration::from_secs(90);

/// Two controllers, each with a Service.
const TWO: &str = "\
name: Shop
images:
- {name: web, source: 'example/web:1', deployment: {count: 2}, ports: [{container_port: 80}]}
- {name: db, source: 'example/db:1', deployment: {count: 2}, ports: [{container_port: 81}]}
";

fn fewer() -> String {
    TWO.lines().filter(|line| !line.contains("db:1")).map(|line| format!("{line}\n")).collect()
}

async fn get(adapter: &Adapter, namespace: &Namespace) -> proto::Deployment {
    shown(adapter, namespace, "shop", proto::DeploymentView::Basic).await
}

/// The deployment as a list shows it without a look at its objects.
async fn listed(adapter: &Adapter, namespace: &Namespace) -> proto::Deployment {
    let request = proto::ListDeploymentsRequest { namespace: namespace.to_string(), ..Default::default() };
    let answer = adapter.deployments().list_deployments(request).await.expect("a list").into_inner();
    answer.deployments.into_iter().next().expect("a deployment")
}

/// Waits until the deployment is told so.
async fn told(adapter: &Adapter, namespace: &Namespace, is_so: impl Fn(&proto::Deployment) -> bool) {
    let begun = Instant::now();
    loop {
        let seen = get(adapter, namespace).await;
        if is_so(&seen) {
            return;
        }
        assert!(begun.elapsed() < RECOVERY, "{seen:#?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_prune_that_is_refused_is_told_until_it_is_over() {
    let namespace = namespace("refused-prune").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "shop", TWO)).await.expect("deployed");
    recorded(&namespace, "shop", "ACTIVE").await;
    let policy = Policy::keeps(&namespace, "db").await;
    for _ in 0..2 {
        let answer = client.deploy(deploy(&namespace, "shop", &fewer())).await;
        let refusal = refused(answer, Code::FailedPrecondition, "APPLY_INCOMPLETE");
        assert!(refusal.message.contains(&policy.name), "{refusal:?}");
        let seen = get(&adapter, &namespace).await;
        assert_eq!(seen.revision, 2, "nothing but a delete was left to do");
        for seen in [seen, listed(&adapter, &namespace).await] {
            assert!(seen.message.contains("Service db") && seen.message.contains(&policy.name), "{seen:#?}");
            assert!(seen.message.contains("since"), "{seen:#?}");
        }
    }
    // The components are ready, and nobody who waits for that hangs.
    let watch = proto::WatchDeploymentRequest {
        namespace: namespace.to_string(),
        name: "shop".to_owned(),
        until: proto::WatchUntil::Ready.into(),
        ..Default::default()
    };
    let stream = client.watch_deployment(watch).await.expect("a stream").into_inner();
    let last = last_of(stream).await;
    assert_eq!(last.state(), DeploymentState::Degraded);
    assert_eq!(last.components.len(), 1, "{last:#?}");
    recorded(&namespace, "shop", "ACTIVE").await;
    for seen in [get(&adapter, &namespace).await, listed(&adapter, &namespace).await] {
        assert_eq!(seen.state(), DeploymentState::Degraded, "{seen:#?}");
        assert_eq!(seen.reason(), ComponentReason::ApplyIncomplete, "{seen:#?}");
    }
    policy.lift(&namespace).await;
    told(&adapter, &namespace, |seen| seen.state() == DeploymentState::Active && seen.message.is_empty())
        .await;
    assert!(!kept(&namespace).await.contains(&"db".to_owned()));
}

#[tokio::test]
async fn what_a_take_back_could_not_delete_is_named() {
    let namespace = namespace("refused-back").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let pod = json!({ "metadata": { "name": "taken-pod" }, "spec": { "containers": [{ "name": "a", "image": "b:1" }] } });
    let pod: Pod = serde_json::from_value(pod).expect("a pod");
    namespace.api().create(&PostParams::default(), &pod).await.expect("it can be made");
    let policy = Policy::keeps(&namespace, "db").await;
    let text = format!("{TWO}- {{name: taken, source: 'example/taken:1'}}\n");
    let answer = adapter.deployments().deploy(deploy_at_once(&namespace, "shop", &text)).await;
    let refusal = refused(answer, Code::AlreadyExists, "OBJECT_NOT_OWNED");
    assert!(refusal.message.contains("Service db") && refusal.message.contains(&policy.name), "{refusal:?}");
    assert!(refusal.message.contains("taken-pod"), "{refusal:?}");
    for seen in [get(&adapter, &namespace).await, listed(&adapter, &namespace).await] {
        assert_eq!(seen.state(), DeploymentState::Deleting);
        assert!(seen.message.contains("Service db") && seen.message.contains(&policy.name), "{seen:#?}");
    }
    policy.lift(&namespace).await;
    let begun = Instant::now();
    while names(&everything(&namespace).await) != ["Pod/taken-pod"] {
        assert!(begun.elapsed() < RECOVERY, "{:#?}", everything(&namespace).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_revision_that_cannot_be_deleted_is_told() {
    let namespace = namespace("refused-revision").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let web =
        |edition: u32| format!("name: Web\nimages:\n- {{name: web, source: 'example/web:{edition}'}}\n");
    client.deploy(deploy(&namespace, "shop", &web(0))).await.expect("deployed");
    let policy = Policy::keeps(&namespace, "panamax-deployment-shop-r1-").await;
    for edition in 1..=11 {
        client.deploy(deploy(&namespace, "shop", &web(edition))).await.expect("deployed");
    }
    let name =
        kept(&namespace).await.into_iter().find(|name| name.contains("-r1-")).expect("the first revision");
    told(&adapter, &namespace, |seen| {
        seen.state() == DeploymentState::Degraded
            && seen.message.contains(&name)
            && seen.message.contains(&policy.name)
    })
    .await;
    policy.lift(&namespace).await;
    told(&adapter, &namespace, |seen| seen.state() == DeploymentState::Active).await;
    assert!(!kept(&namespace).await.contains(&name));
}

#[tokio::test]
async fn an_update_that_stopped_half_way_says_what_is_missing_and_restarts_nobody_it_never_reached() {
    let namespace = namespace("refused-half").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let shop = "name: Shop\nimages:\n\
        - {name: web, source: 'example/web:1', deployment: {count: 2}}\n\
        - {name: db, source: 'example/db:1', environment: [{variable: A_PASSWORD, value: one}]}\n\
        - {name: cache, source: 'example/cache:1'}\n";
    let request = |text: &str| {
        let mut request = deploy(&namespace, "shop", text);
        request.options.get_or_insert_default().set_secrets(proto::SecretHandling::Secret);
        request
    };
    client.deploy(request(shop)).await.expect("deployed");
    let before = members(&namespace).await;
    let service: Service = serde_json::from_value(json!({
        "metadata": { "name": "taken" }, "spec": { "ports": [{ "port": 80 }] },
    }))
    .expect("a Service");
    namespace.api().create(&PostParams::default(), &service).await.expect("it can be made");
    let newer = shop.replace("web:1", "web:2").replace("value: one", "value: two").replace("db:1", "db:2");
    let newer = newer.replace("- {name: cache, source: 'example/cache:1'}\n", "");
    let newer = format!(
        "{newer}- {{name: taken, source: 'example/taken:1', deployment: {{count: 2}}, ports: [{{container_port: 80}}]}}\n"
    );
    refused(client.deploy(request(&newer)).await, Code::AlreadyExists, "APPLY_INCOMPLETE");
    for seen in [get(&adapter, &namespace).await, listed(&adapter, &namespace).await] {
        let message = &seen.message;
        assert_eq!(
            (seen.state(), seen.reason()),
            (DeploymentState::Degraded, ComponentReason::ApplyIncomplete)
        );
        assert!(message.contains("Service taken was not written"), "{message}");
        let left = message.split("not reached: ").nth(1).unwrap_or_default();
        assert!(left.contains("ReplicationController web-replication-controller"), "{message}");
        assert!(left.contains("Pod db-pod"), "{message}");
    }
    client.deploy(request(shop)).await.expect("deployed");
    let after = members(&namespace).await;
    let pods = names(&before).into_iter().filter(|name| name.starts_with("Pod/"));
    let same: Vec<_> =
        pods.filter(|name| after.get(*name).map(|one| &one.0) != Some(&before[*name].0)).collect();
    assert_eq!(same, [""; 0], "nobody was restarted");
    let secret = namespace.api::<Secret>().get("db-environment").await.expect("a Secret");
    assert_eq!(secret.data.expect("data")["A_PASSWORD"].0, b"one");
    let seen = get(&adapter, &namespace).await;
    assert_eq!((seen.state(), seen.message.as_str()), (DeploymentState::Active, ""));
    // The newer template still gets through, once nothing is in its way.
    namespace.api::<Service>().delete("taken", &Default::default()).await.expect("deleted");
    client.deploy(request(&newer)).await.expect("deployed");
    let pod = namespace.api::<Pod>().get("db-pod").await.expect("a pod");
    assert_eq!(pod.spec.expect("a spec").containers[0].image.as_deref(), Some("example/db:2"));
    client.teardown(teardown(&namespace, "shop")).await.expect("torn down");
}

#[tokio::test]
async fn a_wait_that_a_finalizer_outlasts_names_it() {
    let namespace = namespace("refused-held").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(modern(deploy(&namespace, "shop", TWO))).await.expect("deployed");
    let resource = |group: &str, version: &str, kind: &str| {
        let kind = kube::core::GroupVersionKind::gvk(group, version, kind);
        let resource = kube::api::ApiResource::from_gvk(&kind);
        Api::<DynamicObject>::namespaced_with(namespace.client.clone(), &namespace, &resource)
    };
    let (services, sets) = (resource("", "v1", "Service"), resource("apps", "v1", "ReplicaSet"));
    let set = sets.list(&ListParams::default()).await.expect("ReplicaSets").items[0].name_any();
    let hold = |finalizers: Value| Patch::Merge(json!({ "metadata": { "finalizers": finalizers } }));
    let both = [(&services, "db".to_owned()), (&sets, set.clone())];
    for (api, name) in &both {
        api.patch(name, &Default::default(), &hold(json!(["dns.example.com/record"]))).await.expect("held");
    }
    let short = proto::TeardownRequest {
        wait_timeout: Some(prost_types::Duration { seconds: 3, nanos: 0 }),
        ..teardown(&namespace, "shop")
    };
    // What holds the ReplicaSet shows once the cluster has begun to delete it.
    let refusal = eventually(async || {
        let refusal = client.clone().teardown(short.clone()).await;
        let refusal = refused(refusal, Code::DeadlineExceeded, "WAIT_TIMEOUT");
        if refusal.message.contains(&set) { Ok(refusal) } else { Err(refusal.message) }
    });
    let refusal = refusal.await;
    for name in [&set, "dns.example.com/record", "since"] {
        assert!(refusal.message.contains(name), "{name}: {refusal:?}");
    }
    // What holds an object has held it since then, and not since somebody asked.
    assert!(refusal.message.contains(&format!("since {}", refusal.fact("since"))), "{refusal:?}");
    let none =
        proto::TeardownRequest { wait: proto::TeardownWait::None.into(), ..teardown(&namespace, "shop") };
    let blocked = client.teardown(none).await.expect("it goes on").into_inner().blocked;
    let is_set = |one: &&proto::BlockedObject| one.object.as_ref().is_some_and(|object| object.name == set);
    let found = blocked.iter().find(is_set).unwrap_or_else(|| panic!("{blocked:#?}"));
    assert_eq!(found.finalizers.iter().filter(|one| *one == "dns.example.com/record").count(), 1);
    for (api, name) in &both {
        // What was held by its owner alone may be gone by then.
        if api.get_opt(name).await.expect("a look").is_some() {
            api.patch(name, &Default::default(), &hold(json!(null))).await.expect("lifted");
        }
    }
    let begun = Instant::now();
    while !everything(&namespace).await.is_empty() {
        assert!(begun.elapsed() < RECOVERY, "{:#?}", everything(&namespace).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
