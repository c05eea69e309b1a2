//! What can never succeed comes to an end, and says so: ways back, Scales that are refused, Teardowns that join another.

use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, ResourceQuota, Service};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::DeploymentView::Basic;
use panamax_kubernetes_adapter::proto::{DeployOutcome, ObjectAction};
use serde_json::{Value, json};
use tonic::Code;

use super::plans::plan;
use crate::support::adapter::{Adapter, deploy, deploy_at_once, modern, scale, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{action, eventually, members, recorded, refused, remove, shown, until};
use crate::support::namespace::{Namespace, namespace};
use crate::support::patience::retried;

const TWO: &str = "name: Two\nimages:\n\
    - {name: web, source: 'example/web:1', ports: [{container_port: 80}], deployment: {count: 2}}\n\
    - {name: old, source: 'example/old:1', ports: [{container_port: 81}], deployment: {count: 2}}\n";

const LONE: &str = "name: Lone\nimages:\n\
    - {name: web, source: 'example/web:1', ports: [{host_port: 8080, container_port: 80}]}\n";

const STORED: &str = "name: Stored\nimages:\n\
    - {name: db, source: 'example/db:1', ports: [{container_port: 5432}], volumes: [{container_path: /data}]}\n";

/// Somebody's own Service.
async fn foreign(namespace: &Namespace, name: &str) {
    let service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 9}]}});
    let service: Service = serde_json::from_value(service).expect("a Service");
    namespace.api().create(&PostParams::default(), &service).await.expect("it can be made");
}

async fn hold<K: crate::support::looking::Object>(namespace: &Namespace, name: &str, finalizers: Value) {
    let patch = Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
    namespace.api::<K>().patch(name, &PatchParams::default(), &patch).await.expect("a finalizer");
}

/// A quota that lets nobody make a Service, in force.
async fn no_more_services(namespace: &Namespace) {
    let quota = json!({"metadata": {"name": "few"}, "spec": {"hard": {"services": "0"}}});
    let quota: ResourceQuota = serde_json::from_value(quota).expect("a quota");
    namespace.api().create(&PostParams::default(), &quota).await.expect("it can be made");
    let counts = |quota: Option<&ResourceQuota>| {
        quota.and_then(|quota| quota.status.as_ref()?.used.as_ref()).is_some_and(|used| !used.is_empty())
    };
    until(namespace, "few", counts).await;
}

#[tokio::test]
async fn a_way_back_that_waits_for_somebody_is_told_and_goes_on() {
    let namespace = namespace("ends-later").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "two", TWO)).await.expect("ready");
    recorded(&namespace, "two", "ACTIVE").await;
    remove::<Service>(&namespace, "old").await;
    no_more_services(&namespace).await;
    // The update has no `old`, and fails; the revision before cannot have its Service again for now.
    let update = TWO.lines().take(3).collect::<Vec<_>>().join("\n").replace("web:1", "missing:2");
    let mut request = deploy(&namespace, "two", &update);
    request.options.get_or_insert_default().set_on_failure(proto::FailurePolicy::Rollback);
    let lifted = async {
        let message = eventually(async || match shown(&adapter, &namespace, "two", Basic).await.message {
            message if message.contains("could not be put in force yet, and is tried again") => Ok(message),
            message => Err(message),
        });
        let message = message.await;
        assert!(message.contains("revision 1") && message.contains("ResourceQuota few"), "{message}");
        remove::<ResourceQuota>(&namespace, "few").await;
    };
    let (answer, ()) = tokio::join!(client.deploy(request), lifted);
    let refusal = refused(answer, Code::DeadlineExceeded, "APPLY_INCOMPLETE");
    assert!(refusal.message.contains("rolled back to revision 1"), "{refusal:#?}");
    recorded(&namespace, "two", "ACTIVE").await;
    assert_eq!(shown(&adapter, &namespace, "two", Basic).await.message, "");
}

#[tokio::test]
async fn a_way_back_that_is_barred_is_given_up_and_told() {
    let namespace = namespace("ends-back").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "two", TWO)).await.expect("ready");
    recorded(&namespace, "two", "ACTIVE").await;
    remove::<Service>(&namespace, "old").await;
    foreign(&namespace, "old").await;
    // The update has no `old`, and fails; the revision before cannot have its Service again.
    let update = TWO.lines().take(3).collect::<Vec<_>>().join("\n").replace("web:1", "missing:2");
    let mut request = deploy(&namespace, "two", &update);
    request.options.get_or_insert_default().set_on_failure(proto::FailurePolicy::Rollback);
    let refusal = refused(client.deploy(request).await, Code::DeadlineExceeded, "WAIT_TIMEOUT");
    assert!(refusal.message.contains("revision 1 could not be put in force"), "{refusal:#?}");
    assert!(refusal.message.contains("Service old"), "{refusal:#?}");
    let deployment = shown(&adapter, &namespace, "two", Basic).await;
    assert_eq!((deployment.state(), deployment.revision), (proto::DeploymentState::Failed, 2));
    assert!(deployment.message.contains("revision 1 could not be put in force"), "{deployment:#?}");
    // The next Deploy is a new beginning.
    let mended = update.replace("missing:2", "web:3");
    client.deploy(deploy(&namespace, "two", &mended)).await.expect("ready");
    let deployment = shown(&adapter, &namespace, "two", Basic).await;
    assert_eq!((deployment.state(), deployment.message.as_str()), (proto::DeploymentState::Active, ""));
}

/// Writes the record as a Scale leaves it that dies before its first write: a controller and its Service are planned.
async fn dies_scaling(namespace: &Namespace) {
    let heads = namespace.api::<ConfigMap>();
    let head = heads.get("panamax-deployment-one").await.expect("a head");
    let text = &head.data.as_ref().expect("data")["head.json"];
    let mut record: Value = serde_json::from_str(text).expect("a record");
    record["phase"] = json!("applying");
    record["operation"] = json!({
        "id": "dead", "kind": "scale", "epoch": 1, "holder": "dead", "started": "2020-01-01T00:00:00Z",
        "lease_until": "2020-01-01T00:00:01Z", "lease_millis": 1000, "revision": null,
    });
    let inventory = record["inventory"].as_array_mut().expect("members");
    for (kind, name) in [("ReplicationController", "web-replication-controller"), ("Service", "web")] {
        let (mut reference, component) =
            (inventory[0]["reference"].clone(), inventory[0]["component"].clone());
        (reference["kind"], reference["name"]) = (json!(kind), json!(name));
        let mut planned = json!({"reference": reference, "component": component, "state": "planned"});
        if kind == "ReplicationController" {
            planned["scaled_replicas"] = json!(3);
        }
        inventory.push(planned);
    }
    let patch = Patch::Merge(json!({"data": {"head.json": record.to_string()}}));
    heads.patch("panamax-deployment-one", &PatchParams::default(), &patch).await.expect("written");
}

#[tokio::test]
async fn a_scale_that_is_refused_leaves_everything_as_it_was() {
    let namespace = namespace("ends-scale").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "one", LONE)).await.expect("ready");
    recorded(&namespace, "one", "ACTIVE").await;
    let before = members(&namespace).await;
    no_more_services(&namespace).await;
    let unchanged = async |adapter: &Adapter| {
        assert_eq!(members(&namespace).await, before);
        let mut client = adapter.deployments();
        let again = client.deploy(deploy(&namespace, "one", LONE)).await.expect("unchanged").into_inner();
        assert_eq!(again.outcome(), DeployOutcome::Unchanged, "{again:#?}");
        let one = client.scale(scale(&namespace, "one", "web", 1)).await.expect("one as it is").into_inner();
        assert_eq!(action(&one.changes, "Pod/web-pod"), ObjectAction::Unchanged);
        let deployment = shown(adapter, &namespace, "one", Basic).await;
        assert_eq!((deployment.state(), deployment.message.as_str()), (proto::DeploymentState::Active, ""));
    };
    for _ in 0..2 {
        let refusal = client.scale(scale(&namespace, "one", "web", 3)).await;
        let refusal = refused(refusal, Code::ResourceExhausted, "QUOTA_EXCEEDED");
        assert_eq!(refusal.message.matches("Service web").count(), 1, "{refusal:#?}");
        unchanged(&adapter).await;
    }
    dies_scaling(&namespace).await;
    // Whoever ends it meets the same refusal, and leaves nothing that the next Deploy cannot undo.
    let deploys = || {
        let (mut client, request) = (client.clone(), deploy(&namespace, "one", LONE));
        async move { client.deploy(request).await }
    };
    eventually(async || match shown(&adapter, &namespace, "one", Basic).await.state() {
        proto::DeploymentState::Deploying => Err("nobody has ended it".to_owned()),
        _ => Ok(()),
    })
    .await;
    retried(deploys).await.0.expect("a bare Pod again");
    recorded(&namespace, "one", "ACTIVE").await;
    unchanged(&adapter).await;
    remove::<ResourceQuota>(&namespace, "few").await;
    foreign(&namespace, "web").await;
    let before_service = members(&namespace).await["Service/web"].clone();
    for validate_only in [true, false] {
        let request = proto::ScaleRequest { validate_only, ..scale(&namespace, "one", "web", 3) };
        refused(client.scale(request).await, Code::AlreadyExists, "OBJECT_NOT_OWNED");
    }
    assert_eq!(members(&namespace).await["Service/web"], before_service);
    remove::<Service>(&namespace, "web").await;
    unchanged(&adapter).await;
    let scaled = client.scale(scale(&namespace, "one", "web", 3)).await.expect("scaled").into_inner();
    assert_eq!(
        action(&scaled.changes, "ReplicationController/web-replication-controller"),
        ObjectAction::Create
    );
}

/// A Teardown of the deployment with a claim, which waits for nothing.
fn asked(namespace: &Namespace, volumes: proto::VolumePolicy) -> proto::TeardownRequest {
    let wait = proto::TeardownWait::None.into();
    proto::TeardownRequest { wait, volumes: volumes.into(), ..teardown(namespace, "db") }
}

/// Waits until that is gone; it may be by now.
async fn seen_gone(namespace: &Namespace, adapter: &Adapter) {
    let last = proto::TeardownRequest { allow_missing: true, ..teardown(namespace, "db") };
    adapter.deployments().teardown(last).await.expect("gone");
}

#[tokio::test]
async fn a_teardown_that_would_delete_claims_does_not_join_one_that_keeps_them() {
    let namespace = namespace("ends-teardown").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(modern(deploy_at_once(&namespace, "db", STORED))).await.expect("deployed");
    hold::<Service>(&namespace, "db", json!(["example.com/held"])).await;
    let asked = |volumes| asked(&namespace, volumes);
    let keeping = client.teardown(asked(proto::VolumePolicy::Retain)).await.expect("it goes").into_inner();
    let claim = keeping.retained.first().map(|claim| claim.name.clone()).expect("a claim that stays");
    for validate_only in [true, false] {
        let deleting = proto::TeardownRequest { validate_only, ..asked(proto::VolumePolicy::Delete) };
        let refusal = refused(client.teardown(deleting).await, Code::Aborted, "OPERATION_IN_PROGRESS");
        assert!(refusal.message.contains(&claim), "{refusal:#?}");
    }
    client.teardown(asked(proto::VolumePolicy::Retain)).await.expect("the same joins");
    hold::<Service>(&namespace, "db", json!(null)).await;
    seen_gone(&namespace, &adapter).await;
    let claims: Api<PersistentVolumeClaim> = namespace.api();
    assert!(claims.get_opt(&claim).await.expect("a look").is_some());
}

#[tokio::test]
async fn a_teardown_answers_by_the_one_that_it_joins() {
    let namespace = namespace("ends-joined").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(modern(deploy_at_once(&namespace, "db", STORED))).await.expect("deployed");
    hold::<Service>(&namespace, "db", json!(["example.com/held"])).await;
    let asked = |volumes| asked(&namespace, volumes);
    client.teardown(asked(proto::VolumePolicy::Delete)).await.expect("it goes");
    for validate_only in [true, false] {
        let keeping = proto::TeardownRequest { validate_only, ..asked(proto::VolumePolicy::Retain) };
        let joined = client.teardown(keeping).await.expect("it joins").into_inner();
        assert!(joined.retained.is_empty(), "{joined:#?}");
    }
    hold::<Service>(&namespace, "db", json!(null)).await;
    seen_gone(&namespace, &adapter).await;
    assert!(claims(&namespace).await.is_empty());
}

/// The names of the volume claims of a namespace that nobody has asked to go.
async fn claims(namespace: &Namespace) -> Vec<String> {
    let claims: Api<PersistentVolumeClaim> = namespace.api();
    let listed = claims.list(&ListParams::default()).await.expect("a list").items.into_iter();
    let listed = listed.filter(|claim| claim.metadata.deletion_timestamp.is_none());
    listed.filter_map(|claim| claim.metadata.name).collect()
}

#[tokio::test]
async fn a_teardown_keeps_claims_also_where_somebody_has_deleted_the_record() {
    let namespace = namespace("ends-marked").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(modern(deploy(&namespace, "db", STORED))).await.expect("ready");
    recorded(&namespace, "db", "ACTIVE").await;
    hold::<ConfigMap>(&namespace, "panamax-deployment-db", json!(["example.com/held"])).await;
    let heads: Api<ConfigMap> = namespace.api();
    heads.delete("panamax-deployment-db", &DeleteParams::default()).await.expect("asked to go");
    let kept = claims(&namespace).await;
    assert_eq!(kept.len(), 1);
    for validate_only in [true, false] {
        let wait = proto::TeardownWait::None.into();
        let asked = proto::TeardownRequest { validate_only, wait, ..teardown(&namespace, "db") };
        let torn_down = client.teardown(asked).await.expect("it goes").into_inner();
        let retained: Vec<_> = torn_down.retained.into_iter().map(|claim| claim.name).collect();
        assert_eq!(retained, kept);
    }
    hold::<ConfigMap>(&namespace, "panamax-deployment-db", json!(null)).await;
    seen_gone(&namespace, &adapter).await;
    assert_eq!(claims(&namespace).await, kept);
    // The next deployment of the name has none of its own, and says what its Teardown leaves.
    client.deploy(deploy(&namespace, "db", LONE)).await.expect("ready");
    let deleting =
        proto::TeardownRequest { volumes: proto::VolumePolicy::Delete.into(), ..teardown(&namespace, "db") };
    let torn_down = client.teardown(deleting).await.expect("gone").into_inner();
    let retained: Vec<_> = torn_down.retained.into_iter().map(|claim| claim.name).collect();
    assert_eq!((retained, claims(&namespace).await), (kept.clone(), kept));
}

#[tokio::test]
async fn what_is_going_is_told_by_the_plan_and_waited_for() {
    let namespace = namespace("ends-going").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(modern(deploy(&namespace, "db", STORED))).await.expect("ready");
    recorded(&namespace, "db", "ACTIVE").await;
    hold::<Service>(&namespace, "db", json!(["example.com/held"])).await;
    let services: Api<Service> = namespace.api();
    services.delete("db", &DeleteParams::default()).await.expect("asked to go");
    let request = modern(deploy(&namespace, "db", STORED));
    let planned = client.plan_deploy(plan(request.clone())).await.expect("a plan").into_inner();
    assert_eq!(action(&planned.changes, "Service/db"), ObjectAction::Create);
    let told = planned.diagnostics.iter().find(|one| one.code == "OBJECT_GOING");
    assert!(told.is_some_and(|one| one.message.contains("Service db")), "{:#?}", planned.diagnostics);
    let freed = async {
        // It holds the lock while it waits.
        eventually(async || match shown(&adapter, &namespace, "db", Basic).await.state() {
            proto::DeploymentState::Deploying => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        hold::<Service>(&namespace, "db", json!(null)).await;
    };
    let (answer, ()) = tokio::join!(client.deploy(request), freed);
    let answer = answer.expect("deployed").into_inner();
    assert_eq!(answer.outcome(), DeployOutcome::Updated);
    assert_eq!(action(&answer.changes, "Service/db"), ObjectAction::Create);
}
