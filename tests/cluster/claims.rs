//! Volume claims: they grow, stay, are met again, and go only when a Teardown says so.

use k8s_openapi::api::apps::v1::Deployment as AppsDeployment;
use k8s_openapi::api::core::v1::{LimitRange, PersistentVolumeClaim, Service};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use panamax_kubernetes_adapter::proto;
use serde_json::json;
use tonic::Code;

use crate::support::adapter::{Adapter, deploy, deploy_at_once, modern, scale, teardown};
use crate::support::calls::Recorder;
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{
    Refusal, action, at_rest, everything, names, recorded, refused, remove, until,
};
use crate::support::namespace::{Namespace, namespace};
use crate::support::survey::Survey;

const SHOP: &str = "
name: Shop
images:
- name: db
  source: example/db:1
  ports: [{container_port: 5432}]
  volumes: [{container_path: /data}, {container_path: /log}]
";

/// A Deploy of the shop with claims of this size.
fn sized(namespace: &str, size: &str, class: &str) -> proto::DeployRequest {
    let mut request = modern(deploy(namespace, "shop", SHOP));
    let options = request.options.get_or_insert_default();
    options.volume_size = size.to_owned();
    options.storage_class = class.to_owned();
    request
}

/// A storage class of a test's own; claims of it are bound at once where `provisioner` is the test plane's.
async fn storage_class(namespace: &Namespace, provisioner: &str) -> String {
    let name = format!("{}-class", &**namespace);
    let class = json!({"metadata": {"name": name}, "provisioner": provisioner, "allowVolumeExpansion": true});
    let class: StorageClass = serde_json::from_value(class).expect("a class");
    let classes: Api<StorageClass> = Api::all(namespace.client.clone());
    classes.create(&PostParams::default(), &class).await.expect("it is made");
    name
}

/// Uid and size of every claim, by name.
async fn claims(namespace: &Namespace) -> Vec<(String, String, String)> {
    let list = namespace.api::<PersistentVolumeClaim>().list(&ListParams::default()).await.expect("a list");
    let size = |claim: &PersistentVolumeClaim| {
        let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
        Some(requests.get("storage")?.0.clone())
    };
    let told = |claim: PersistentVolumeClaim| {
        (claim.name_any(), claim.uid().expect("a uid"), size(&claim).expect("a size"))
    };
    list.items.into_iter().map(told).collect()
}

/// A Teardown that deletes volumes too.
fn teardown_all(namespace: &str, name: &str) -> proto::TeardownRequest {
    let volumes = proto::VolumePolicy::Delete.into();
    proto::TeardownRequest { volumes, ..teardown(namespace, name) }
}

fn sizes(claims: &[(String, String, String)]) -> Vec<&str> {
    claims.iter().map(|(_, _, size)| size.as_str()).collect()
}

#[tokio::test]
async fn claims_grow_and_never_become_another() {
    let namespace = namespace("claims-grow").await;
    let plane = control_plane();
    let class = storage_class(&namespace, "kubernetes.io/host-path").await;
    let adapter = Adapter::real(plane, User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(sized(&namespace, "1Gi", &class)).await.expect("deployed");
    let first = claims(&namespace).await;
    assert_eq!(sizes(&first), ["1Gi", "1Gi"]);
    let again = client.deploy(sized(&namespace, "1024Mi", &class)).await.expect("deployed").into_inner();
    assert_eq!(claims(&namespace).await, first, "the same size in another spelling: {:?}", again.changes);
    let answer = client.deploy(sized(&namespace, "2Gi", &class)).await.expect("deployed").into_inner();
    let grown = claims(&namespace).await;
    assert_eq!(sizes(&grown), ["2Gi", "2Gi"]);
    for (before, after) in first.iter().zip(&grown) {
        assert_eq!(before.1, after.1, "the claim is the same");
        let object = format!("PersistentVolumeClaim/{}", after.0);
        assert_eq!(action(&answer.changes, &object), proto::ObjectAction::Update);
    }
    let mut calls = Recorder::start(plane).namespace(&namespace).user(User::Adapter);
    for (size, class, words) in [
        ("1Gi", class.as_str(), &["options.volume_size"][..]),
        ("2Gi", "standard", &["options.storage_class"]),
        ("1Gi", "standard", &["options.volume_size", "options.storage_class"]),
    ] {
        let answer = client.deploy(sized(&namespace, size, class)).await;
        let refusal = refused(answer, Code::FailedPrecondition, "VOLUME_IMMUTABLE");
        for words in words.iter().copied().chain(grown.iter().map(|claim| claim.0.as_str())) {
            assert!(refusal.message.contains(words), "{refusal:?}");
        }
    }
    let mut written = calls.requests();
    written.retain(|call| !matches!(call.verb.as_str(), "get" | "list"));
    written.retain(|call| !call.uri.contains("fieldManager=panamax-keeper"));
    assert!(written.is_empty(), "{written:#?}");
    assert_eq!(claims(&namespace).await, grown);
}

#[tokio::test]
async fn no_class_keeps_the_one_that_a_claim_has_and_a_claim_that_is_left_is_told_as_such() {
    let namespace = namespace("claims-unset").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(sized(&namespace, "1Gi", "")).await.expect("deployed");
    let made = claims(&namespace).await;
    client.deploy(sized(&namespace, "1Gi", "standard")).await.expect("it is the default");
    client.rollback(super::revisions::rollback(&namespace, "shop", 1)).await.expect("rolled back");
    for class in ["standard", ""] {
        client.deploy(sized(&namespace, "1Gi", class)).await.expect("deployed");
        client.teardown(teardown(&namespace, "shop")).await.expect("torn down");
    }
    client.deploy(sized(&namespace, "1Gi", "standard")).await.expect("deployed");
    client.teardown(teardown(&namespace, "shop")).await.expect("torn down");
    // There is no deployment that could be torn down.
    for validate_only in [true, false] {
        let request = proto::DeployRequest { validate_only, ..sized(&namespace, "500Mi", "zzz") };
        let refusal = refused(client.deploy(request).await, Code::FailedPrecondition, "VOLUME_IMMUTABLE");
        for words in ["1Gi", "zzz", "options.volume_size", "delete PersistentVolumeClaim"] {
            assert!(refusal.message.matches(words).count() >= 2, "{words}, of both: {refusal:?}");
        }
        assert!(!refusal.message.contains("tear the deployment down"), "{refusal:?}");
        assert_eq!(claims(&namespace).await, made);
    }
    let another = modern(deploy(&namespace, "another", SHOP));
    let refusal = refused(client.deploy(another).await, Code::AlreadyExists, "OBJECT_NOT_OWNED");
    assert!(refusal.message.contains("left by deployment shop, which is gone"), "{refusal:?}");
    client.deploy(sized(&namespace, "1Gi", "")).await.expect("the claims are met again");
    assert_eq!(claims(&namespace).await, made);
}

#[tokio::test]
async fn a_class_that_does_not_let_claims_grow_is_told() {
    let namespace = namespace("claims-fixed").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(sized(&namespace, "1Gi", "")).await.expect("deployed");
    let before = claims(&namespace).await;
    for _ in 0..2 {
        let refusal = Refusal::of(&client.deploy(sized(&namespace, "2Gi", "")).await.expect_err("a refusal"));
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::FailedPrecondition, "VOLUME_IMMUTABLE"));
        assert!(refusal.message.contains("options.volume_size"), "{refusal:?}");
        assert_eq!(claims(&namespace).await, before);
        // Nothing was changed, so nothing is amiss.
        recorded(&namespace, "shop", "ACTIVE").await;
        at_rest(&namespace, "shop").await;
        let survey = Survey::of(&namespace.client, &namespace).await;
        assert_eq!(survey.head("shop").expect("a record").current.as_ref().expect("a revision").number, 1);
    }
    // The size that the cluster has is no shrinking, whatever the last Deploy asked for.
    let answer = client.deploy(sized(&namespace, "1Gi", "")).await.expect("repaired").into_inner();
    assert_eq!(answer.deployment.expect("a deployment").state(), proto::DeploymentState::Active);
    assert_eq!(claims(&namespace).await, before);
    assert_eq!(Survey::of(&namespace.client, &namespace).await.faults("shop"), [""; 0]);
}

#[tokio::test]
async fn scale_carries_out_no_update_that_was_refused() {
    let namespace = namespace("claims-scale").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(sized(&namespace, "1Gi", "")).await.expect("deployed");
    let before = claims(&namespace).await;
    // Its Service is changed, its claims are refused, its workload is not reached.
    let newer = SHOP.replace("example/db:1", "example/db:2").replace("5432", "5433");
    let mut refused = sized(&namespace, "2Gi", "");
    refused.template_source = deploy(&namespace, "shop", &newer).template_source;
    client.deploy(refused).await.expect_err("the class does not let claims grow");
    let get =
        proto::GetDeploymentRequest { namespace: namespace.to_string(), name: "shop".to_owned(), view: 0 };
    let deployment = client.get_deployment(get).await.expect("an answer").into_inner().deployment;
    let deployment = deployment.expect("a deployment");
    assert_eq!(deployment.reason(), proto::ComponentReason::ApplyIncomplete, "{deployment:?}");
    let component = &deployment.components[0];
    assert_eq!((component.ready_replicas(), component.updated_replicas()), (1, 1), "{component:?}");
    let scaled = client.scale(proto::ScaleRequest { wait: 0, ..scale(&namespace, "shop", "db", 2) }).await;
    let scaled = scaled.expect("scaled").into_inner();
    assert_eq!(scaled.changes.len(), 1, "{:#?}", scaled.changes);
    let running =
        namespace.api::<AppsDeployment>().get("db").await.expect("it is there").spec.expect("a spec");
    let image = running.template.spec.expect("a pod").containers[0].image.clone().expect("an image");
    assert_eq!((running.replicas, image.as_str()), (Some(2), "example/db:1"));
    assert_eq!(claims(&namespace).await, before);
    let survey = Survey::of(&namespace.client, &namespace).await;
    assert_eq!(survey.head("shop").expect("a record").phase.as_str(), "incomplete");
}

#[tokio::test]
async fn claims_outlive_their_component_and_their_deployment() {
    let namespace = namespace("claims-stay").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(modern(deploy(&namespace, "shop", SHOP))).await.expect("deployed");
    let all = claims(&namespace).await;
    // A path that the template no longer has: its claim is kept and stays part of the deployment.
    let without_log = SHOP.replace(", {container_path: /log}", "");
    let request = || modern(deploy(&namespace, "shop", &without_log));
    let answer = client.deploy(request()).await.expect("deployed").into_inner();
    let kept = answer.changes.iter().filter(|change| change.action() == proto::ObjectAction::Keep);
    assert_eq!(kept.count(), 1, "{:#?}", answer.changes);
    let again = client.deploy(request()).await.expect("deployed").into_inner();
    assert_eq!(again.outcome(), proto::DeployOutcome::Unchanged);
    assert_eq!(Survey::of(&namespace.client, &namespace).await.faults("shop"), [""; 0]);

    let torn_down = client.teardown(teardown(&namespace, "shop")).await.expect("torn down").into_inner();
    assert!(torn_down.complete);
    let mut retained: Vec<(String, String)> =
        torn_down.retained.into_iter().map(|claim| (claim.name, claim.uid)).collect();
    retained.sort();
    let told: Vec<_> = all.iter().map(|(name, uid, _)| (name.clone(), uid.clone())).collect();
    assert_eq!(retained, told);
    assert_eq!(claims(&namespace).await, all);
    let left = everything(&namespace).await;
    assert_eq!(names(&left).len(), all.len(), "nothing else: {left:?}");

    // Another deployment is refused what is not its own; the same name meets its data again.
    let other = client.deploy(modern(deploy(&namespace, "other", SHOP))).await;
    let refusal = refused(other, Code::AlreadyExists, "OBJECT_NOT_OWNED");
    assert_eq!(refusal.fact("owner"), "deployment shop");
    assert_eq!(everything(&namespace).await, left);
    let answer = client.deploy(modern(deploy(&namespace, "shop", SHOP))).await.expect("deployed again");
    let answer = answer.into_inner();
    assert_eq!(answer.outcome(), proto::DeployOutcome::Created);
    for (name, ..) in &all {
        let object = format!("PersistentVolumeClaim/{name}");
        assert_eq!(action(&answer.changes, &object), proto::ObjectAction::Update, "it was there");
    }
    assert_eq!(answer.deployment.expect("a deployment").state(), proto::DeploymentState::Active);
    assert_eq!(claims(&namespace).await, all);
    assert_eq!(Survey::of(&namespace.client, &namespace).await.faults("shop"), [""; 0]);

    let torn_down = client.teardown(teardown_all(&namespace, "shop")).await.expect("torn down").into_inner();
    assert!(torn_down.complete && torn_down.retained.is_empty(), "{torn_down:?}");
    assert_eq!(Survey::of(&namespace.client, &namespace).await.names(), [""; 0]);
}

/// Whether a claim that somebody has deleted is still there, since pods use it.
fn is_going(claim: Option<&PersistentVolumeClaim>) -> bool {
    claim.is_some_and(|claim| claim.metadata.deletion_timestamp.is_some())
}

#[tokio::test]
async fn a_claim_that_goes_is_told_and_is_not_said_to_stay() {
    let namespace = namespace("claims-going").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(modern(deploy(&namespace, "shop", SHOP))).await.expect("deployed");
    let all = claims(&namespace).await;
    let (going, stays) = (&all[0], &all[1]);
    let api = namespace.api::<PersistentVolumeClaim>();
    api.delete(&going.0, &DeleteParams::default()).await.expect("marked");
    until(&namespace, &going.0, is_going).await;
    let head = recorded(&namespace, "shop", "ACTIVE").await;
    let newer = SHOP.replace("example/db:1", "example/db:2");
    for validate_only in [true, false] {
        let request = proto::DeployRequest { validate_only, ..modern(deploy(&namespace, "shop", &newer)) };
        let refusal = refused(client.deploy(request).await, Code::FailedPrecondition, "VOLUME_IMMUTABLE");
        assert!(
            refusal.message.contains(&going.0) && refusal.message.contains("deploy again"),
            "{refusal:?}"
        );
    }
    assert_eq!(recorded(&namespace, "shop", "ACTIVE").await, head, "nothing was locked");
    let torn_down = client.teardown(teardown(&namespace, "shop")).await.expect("torn down").into_inner();
    let retained: Vec<_> = torn_down.retained.into_iter().map(|claim| (claim.name, claim.uid)).collect();
    assert_eq!(retained, [(stays.0.clone(), stays.1.clone())]);
}

#[tokio::test]
async fn a_claim_that_somebody_has_grown_stays_and_grows_on() {
    let namespace = namespace("claims-hand").await;
    let class = storage_class(&namespace, "kubernetes.io/host-path").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(sized(&namespace, "1Gi", &class)).await.expect("deployed");
    let api = namespace.api::<PersistentVolumeClaim>();
    let first = claims(&namespace).await;
    let by_hand = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    api.patch(&first[0].0, &PatchParams::default(), &Patch::Merge(by_hand)).await.expect("grown");
    let kept = |answer: &proto::DeployResponse| {
        answer.diagnostics.iter().filter(|one| one.code == "VOLUME_SIZE_KEPT").count()
    };
    for outcome in [proto::DeployOutcome::Updated, proto::DeployOutcome::Unchanged] {
        let answer = client.deploy(sized(&namespace, "1Gi", &class)).await.expect("deployed").into_inner();
        assert_eq!((answer.outcome(), kept(&answer)), (outcome, 1), "{:#?}", answer.changes);
        assert_eq!(sizes(&claims(&namespace).await), ["2Gi", "1Gi"]);
    }
    let larger = sized(&namespace, "3Gi", &class);
    let checked = proto::DeployRequest { validate_only: true, ..larger.clone() };
    client.deploy(checked).await.expect("it could be done");
    let answer = client.deploy(larger).await.expect("deployed").into_inner();
    assert_eq!(kept(&answer), 0);
    let grown = claims(&namespace).await;
    assert_eq!(sizes(&grown), ["3Gi", "3Gi"]);
    assert!(grown.iter().zip(&first).all(|(now, then)| now.1 == then.1), "the claims are the same");
    // The size is ours again, and is not given up by asking for less.
    let answer = client.deploy(sized(&namespace, "2Gi", &class)).await;
    refused(answer, Code::FailedPrecondition, "VOLUME_IMMUTABLE");
    // Whatever else somebody has taken stays theirs.
    let theirs = json!({"metadata": {"labels": {"name": "another"}}, "spec": {"resources": {"requests": {"storage": "4Gi"}}}});
    api.patch(&first[0].0, &PatchParams::default(), &Patch::Merge(theirs)).await.expect("taken");
    let refusal = refused(
        client.deploy(sized(&namespace, "5Gi", &class)).await,
        Code::FailedPrecondition,
        "FIELD_CONFLICT",
    );
    assert!(refusal.message.contains("metadata.labels"), "{refusal:?}");
    assert_eq!(sizes(&claims(&namespace).await), ["4Gi", "3Gi"], "it is found before anything is written");
}

#[tokio::test]
async fn a_first_deploy_takes_back_only_the_claims_it_made() {
    let namespace = namespace("claims-back").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let without_log = SHOP.replace(", {container_path: /log}", "");
    client.deploy(modern(deploy(&namespace, "shop", &without_log))).await.expect("deployed");
    client.teardown(teardown(&namespace, "shop")).await.expect("torn down");
    let data = claims(&namespace).await;
    assert_eq!(data.len(), 1);
    // Somebody has taken the name of the Service.
    let foreign = json!({"metadata": {"name": "db"}, "spec": {"ports": [{"port": 1}]}});
    let foreign: Service = serde_json::from_value(foreign).expect("a service");
    namespace.api::<Service>().create(&PostParams::default(), &foreign).await.expect("it is made");
    let failed = client.deploy(modern(deploy_at_once(&namespace, "shop", SHOP))).await;
    refused(failed, Code::AlreadyExists, "OBJECT_NOT_OWNED");
    assert_eq!(claims(&namespace).await, data, "the claim with data stays, the new one is gone");
    // A claim that is too large already is not touched either, though this Deploy fails at it.
    remove::<Service>(&namespace, "db").await;
    let failed = client.deploy(sized(&namespace, "500Mi", "")).await;
    let refusal = refused(failed, Code::FailedPrecondition, "VOLUME_IMMUTABLE");
    assert!(refusal.message.contains("options.volume_size"), "{refusal:?}");
    assert_eq!(claims(&namespace).await, data);
    assert_eq!(names(&everything(&namespace).await).len(), 1);
}

#[tokio::test]
async fn a_size_that_the_namespace_does_not_allow_is_told() {
    let namespace = namespace("claims-limit").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let limit = json!({"metadata": {"name": "small"}, "spec": {"limits": [{"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}]}});
    let limit: LimitRange = serde_json::from_value(limit).expect("a limit");
    namespace.api::<LimitRange>().create(&PostParams::default(), &limit).await.expect("it is made");
    let before = everything(&namespace).await;
    let answer = adapter.deployments().deploy(sized(&namespace, "2Gi", "")).await;
    let refusal = refused(answer, Code::ResourceExhausted, "QUOTA_EXCEEDED");
    assert!(refusal.message.contains("LimitRange"), "{refusal:?}");
    assert_eq!(everything(&namespace).await, before);
}

#[tokio::test]
async fn a_pod_that_waits_for_its_claim_says_so() {
    let namespace = namespace("claims-wait").await;
    let class = storage_class(&namespace, "example.com/nobody").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client
        .deploy(proto::DeployRequest { wait: 0, ..sized(&namespace, "1Gi", &class) })
        .await
        .expect("written");
    let watch = proto::WatchDeploymentRequest {
        namespace: namespace.to_string(),
        name: "shop".to_owned(),
        ..Default::default()
    };
    let mut events = client.watch_deployment(watch).await.expect("a watch").into_inner();
    let waits = async {
        loop {
            let event = events.message().await.expect("an event").expect("no end").event;
            let Some(proto::watch_deployment_response::Event::Snapshot(deployment)) = event else { continue };
            let component = &deployment.components[0];
            if component.reason() == proto::ComponentReason::VolumePending {
                return (deployment.state(), component.message.clone());
            }
        }
    };
    let waits = tokio::time::timeout(std::time::Duration::from_secs(30), waits).await;
    let (state, message) = waits.expect("told in time");
    assert_eq!(state, proto::DeploymentState::Deploying);
    assert!(claims(&namespace).await.iter().any(|(name, ..)| message.contains(name)), "{message}");
    client.teardown(teardown_all(&namespace, "shop")).await.expect("torn down");
    assert_eq!(Survey::of(&namespace.client, &namespace).await.names(), [""; 0]);
}
