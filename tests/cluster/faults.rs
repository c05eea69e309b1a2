//! What the API server may answer besides the truth: each answer is told by its details, and what passes is repeated.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use kube::Api;
use panamax_kubernetes_adapter::proto;
use serde_json::json;
use tonic::Code;

use crate::support::adapter::{Adapter, deploy, deploy_at_once, scale, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{everything, recorded, refused, remove};
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

#[tokio::test]
async fn what_others_put_on_the_head_stays_there() {
    let namespace = namespace("faults-head").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "pair", PAIR)).await.expect("deployed");
    recorded(&namespace, "pair", "ACTIVE").await;
    let heads: Api<ConfigMap> = namespace.api();
    let name = "panamax-deployment-pair";
    let anchor: ConfigMap =
        serde_json::from_value(json!({ "metadata": { "name": "anchor" } })).expect("a map");
    let anchor = heads.create(&Default::default(), &anchor).await.expect("an anchor");
    let theirs = json!({
        "metadata": {
            "finalizers": ["backup.example.com/hold"],
            "annotations": { "backup.example.com/at": "noon" },
            "labels": { "backup.example.com/kept": "yes" },
            "ownerReferences": [
                { "apiVersion": "v1", "kind": "ConfigMap", "name": "anchor", "uid": anchor.metadata.uid },
            ],
        },
        "data": { "note": "theirs" },
    });
    let merge = kube::api::Patch::Merge(&theirs);
    heads.patch(name, &Default::default(), &merge).await.expect("marks on the head");
    client.scale(scale(&namespace, "pair", "web", 1)).await.expect("scaled");
    recorded(&namespace, "pair", "ACTIVE").await;
    let head = heads.get(name).await.expect("a head");
    let (metadata, data) = (head.metadata, head.data.expect("data"));
    assert_eq!(metadata.finalizers.expect("finalizers"), ["backup.example.com/hold"]);
    assert_eq!(metadata.annotations.expect("annotations")["backup.example.com/at"], "noon");
    let labels = metadata.labels.expect("labels");
    assert_eq!(
        (labels["backup.example.com/kept"].as_str(), labels["panamax.io/record"].as_str()),
        ("yes", "head")
    );
    assert_eq!(metadata.owner_references.expect("owners").len(), 1);
    assert_eq!(data["note"], "theirs");
    // It holds the head, and once it is lifted everything goes.
    let request =
        proto::TeardownRequest { wait: proto::TeardownWait::None.into(), ..teardown(&namespace, "pair") };
    client.teardown(request).await.expect("it begins");
    until_marked(&heads, name).await;
    let lifted = json!({ "metadata": { "finalizers": null } });
    heads.patch(name, &Default::default(), &kube::api::Patch::Merge(&lifted)).await.expect("lifted");
    let request = proto::TeardownRequest { allow_missing: true, ..teardown(&namespace, "pair") };
    client.teardown(request).await.expect("torn down");
    assert_eq!(heads.get_opt(name).await.expect("a look"), None);
}

/// Waits until the object is being deleted.
async fn until_marked(heads: &Api<ConfigMap>, name: &str) {
    let marked =
        |head: Option<&ConfigMap>| head.is_some_and(|head| head.metadata.deletion_timestamp.is_some());
    let wait = kube::runtime::wait::await_condition(heads.clone(), name, marked);
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("in time").expect("a watch");
}

#[tokio::test]
async fn passing_failures_pass_and_others_are_told_apart() {
    let namespace = namespace("faults-table").await;
    let (adapter, proxy) = adapter().await;
    let text = |code, headers: &[(&'static str, &'static str)], body: &str| Fault::Answer {
        code,
        headers: headers.to_vec(),
        body: body.to_owned(),
    };
    let inside = |message| Fault::status(500, "InternalError", message, &json!({}));
    // Answers that no details come with are text/plain, and their header counts.
    for fault in [
        inside("etcdserver: leader changed"),
        inside("this is unheard of"),
        text(429, &[("retry-after", "1"), ("content-type", "text/plain")], "Too many requests"),
        text(429, &[("retry-after", "-1")], "Too many requests"),
        text(429, &[("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")], "Too many requests"),
        text(503, &[], "apiserver is shutting down"),
        Fault::status(
            403,
            "Forbidden",
            "secrets \"x\" is forbidden: status unknown for quota: q",
            &json!({}),
        ),
        Fault::LoseAnswer,
    ] {
        proxy.befall("POST", "/secrets", 1, fault);
        let began = Instant::now();
        adapter.deployments().deploy(deploy_at_once(&namespace, "pair", PAIR)).await.expect("deployed");
        assert_eq!(proxy.to_come(), 0);
        assert!(began.elapsed() < Duration::from_secs(8));
        adapter.deployments().teardown(teardown(&namespace, "pair")).await.expect("torn down");
    }
    for (fault, code, reason, says) in [
        (inside("etcdserver: request is too large"), Code::ResourceExhausted, "LIMIT_EXCEEDED", "larger"),
        (
            inside("etcdserver: mvcc: database space exceeded"),
            Code::Unavailable,
            "CLUSTER_UNREACHABLE",
            "is full",
        ),
        (
            Fault::status(
                403,
                "Forbidden",
                "configmaps \"x\" is forbidden: failed quota: q: must",
                &json!({}),
            ),
            Code::ResourceExhausted,
            "QUOTA_EXCEEDED",
            "ResourceQuota",
        ),
        (text(403, &[], "blocked"), Code::PermissionDenied, "CLUSTER_FORBIDDEN", "name a missing right"),
        (
            text(429, &[("retry-after", "999999")], "slow"),
            Code::Unavailable,
            "CLUSTER_THROTTLED",
            "slow down",
        ),
    ] {
        proxy.befall("POST", "/configmaps", 1, fault);
        let answer = adapter.deployments().deploy(deploy_at_once(&namespace, "pair", PAIR)).await;
        let refusal = refused(answer, code, reason);
        assert!(refusal.message.contains(says), "{refusal:#?}");
        proxy.heal();
    }
    assert!(everything(&namespace).await.is_empty(), "{:#?}", everything(&namespace).await);
}

#[tokio::test]
async fn failures_that_pass_are_repeated_for_as_long_as_the_lock_is_held() {
    let namespace = namespace("faults-patience").await;
    let proxy = Proxy::start(control_plane().client(User::Adapter).await, Duration::ZERO).await;
    let adapter = Adapter::serve_with_lease(proxy.config(), None, Duration::from_secs(30)).await;
    // Twice as often as a call is tried that no lock is held for.
    let down = Fault::status(503, "ServiceUnavailable", "no", &json!({}));
    proxy.befall("PATCH", "/services/", 8, down);
    adapter.deployments().deploy(deploy_at_once(&namespace, "pair", PAIR)).await.expect("deployed");
    assert_eq!(proxy.to_come(), 0);
}

#[tokio::test]
async fn a_delete_of_what_was_made_anew_ends_whatever_its_kind() {
    let namespace = namespace("faults-anew").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "pair", PAIR)).await.expect("deployed");
    let survey = Survey::of(&namespace.client, &namespace).await;
    let (service, _) = survey.of_kind("Service").next().expect("a Service");
    let others = json!({ "metadata": { "name": service }, "spec": { "ports": [{ "port": 80 }] } });
    let others: Service = serde_json::from_value(others).expect("a Service");
    remove::<Service>(&namespace, service).await;
    namespace.api::<Service>().create(&Default::default(), &others).await.expect("another's Service");
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": "db-pod" },
        "spec": { "containers": [{ "name": "other", "image": "example/other:1" }] },
    }))
    .expect("a Pod");
    remove::<Pod>(&namespace, "db-pod").await;
    namespace.api::<Pod>().create(&Default::default(), &pod).await.expect("another's Pod");
    let gone = client.teardown(teardown(&namespace, "pair")).await.expect("torn down").into_inner();
    assert!(gone.complete);
    let left = everything(&namespace).await;
    assert_eq!(left.len(), 2, "only what others made: {left:#?}");
}
