//! What is there is compared with what should be: writes from outside, whatever name they come under.

use k8s_openapi::api::core::v1::{ConfigMap, ReplicationController, Secret, Service};
use kube::api::{Patch, PatchParams, PostParams};
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::watch_deployment_response::Event;
use panamax_kubernetes_adapter::proto::{
    ConflictPolicy, DeployOutcome, DeploymentState, DeploymentView, ObjectAction, WatchUntil,
};
use serde_json::{Value, json};
use tonic::Code;

use crate::support::adapter::{Adapter, deploy, deploy_at_once, modern};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{as_read, members, pod_uids, recorded, refused, remove, until};
use crate::support::namespace::{Namespace, namespace};
use crate::support::templates::wordpress_at;

pub const APPLIED: &str = "panamax.io/applied";
const CONTROLLER: &str = "wp-replication-controller";

/// A component with a Secret, whose pods nobody runs.
const STILL: &str = "name: Still\nimages:\n- name: web\n  source: example/web:1\n  ports: [{host_port: 8080, \
                     container_port: 80}]\n  environment: [{variable: A_PASSWORD, value: first-secret}]\n  \
                     deployment: {count: 0}\n";

/// Applies a changed object by force under the deployment's own field manager, as a late write of ours would.
pub async fn applied_as_ours<K>(
    namespace: &Namespace,
    manager: &str,
    name: &str,
    change: impl FnOnce(&mut Value),
) where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let api = namespace.api::<K>();
    let found = serde_json::to_value(api.get(name).await.expect("it is there")).expect("JSON");
    let mut object = as_read(found);
    object["apiVersion"] = K::api_version(&()).into();
    object["kind"] = K::kind(&()).into();
    change(&mut object);
    api.patch(name, &PatchParams::apply(manager).force(), &Patch::Apply(object)).await.expect("a write");
}

/// Deploys again: this object alone is repaired, and then nothing is left to do.
async fn repaired(adapter: &Adapter, request: proto::DeployRequest, object: &str) {
    let mut client = adapter.deployments();
    let planned = proto::DeployRequest { validate_only: true, ..request.clone() };
    let planned = client.deploy(planned).await.expect("a check").into_inner();
    assert_eq!(planned.outcome(), DeployOutcome::Updated, "{object}");
    let again = client.deploy(request.clone()).await.expect("repaired").into_inner();
    assert_eq!(again.outcome(), DeployOutcome::Updated, "{object}");
    for change in &again.changes {
        let name = change.r#ref.as_ref().map(|one| format!("{}/{}", one.kind, one.name)).expect("a name");
        let expected = if name == object { ObjectAction::Update } else { ObjectAction::Unchanged };
        assert_eq!(change.action(), expected, "{name} after a change of {object}");
    }
    assert!(again.diagnostics.iter().any(|one| one.code == "OBJECT_DRIFTED"), "{:#?}", again.diagnostics);
    let last = client.deploy(request).await.expect("deployed").into_inner();
    assert_eq!(last.outcome(), DeployOutcome::Unchanged, "{object}");
}

#[tokio::test]
async fn what_is_written_under_our_own_name_is_repaired() {
    let namespace = namespace("drift-own").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let request = deploy(&namespace, "wp", &wordpress_at(2));
    adapter.deployments().deploy(request.clone()).await.expect("deployed");
    recorded(&namespace, "wp", "ACTIVE").await;
    // Right after our own writes, with our mark left, and without it.
    for keeps_mark in [true, false] {
        let unmark = |object: &mut Value| {
            if !keeps_mark && let Some(annotations) = object["metadata"]["annotations"].as_object_mut() {
                annotations.remove(APPLIED);
            }
        };
        applied_as_ours::<Service>(&namespace, "panamax:wp", "db-1", |object| {
            object["spec"]["ports"][0]["targetPort"] = json!(3399);
            unmark(object);
        })
        .await;
        let pods = pod_uids(&members(&namespace).await);
        repaired(&adapter, request.clone(), "Service/db-1").await;
        let service = namespace.api::<Service>().get("db-1").await.expect("a Service");
        let service = serde_json::to_value(&service).expect("JSON");
        assert_eq!(service["spec"]["ports"][0]["targetPort"], json!(3306));
        assert_eq!(pod_uids(&members(&namespace).await), pods);

        applied_as_ours::<ReplicationController>(&namespace, "panamax:wp", CONTROLLER, |object| {
            object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("example/other:1");
            unmark(object);
        })
        .await;
        repaired(&adapter, request.clone(), &format!("ReplicationController/{CONTROLLER}")).await;
        let controller = namespace.api::<ReplicationController>().get(CONTROLLER).await.expect("it is there");
        let controller = serde_json::to_value(&controller).expect("JSON");
        let template = &controller["spec"]["template"];
        assert_ne!(template["spec"]["containers"][0]["image"], json!("example/other:1"));
        assert_eq!(
            template["metadata"]["annotations"][APPLIED],
            Value::Null,
            "the mark is the object's alone"
        );
        assert_eq!(pod_uids(&members(&namespace).await), pods);
    }
}

#[tokio::test]
async fn a_secret_that_was_written_under_our_own_name_is_repaired() {
    let namespace = namespace("drift-secret").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let request = modern(deploy_at_once(&namespace, "still", STILL));
    let made = adapter.deployments().deploy(request.clone()).await.expect("deployed").into_inner();
    recorded(&namespace, "still", "STOPPED").await;
    let secret = made.changes.iter().filter_map(|change| change.r#ref.as_ref());
    let secret = secret.clone().find(|one| one.kind == "Secret").expect("a Secret").name.clone();
    let stored = namespace.api::<Secret>().get(&secret).await.expect("a Secret").data;
    applied_as_ours::<Secret>(&namespace, "panamax:still", &secret, |object| {
        for value in object["data"].as_object_mut().expect("data").values_mut() {
            *value = json!("b3RoZXI=");
        }
    })
    .await;
    repaired(&adapter, request, &format!("Secret/{secret}")).await;
    assert_eq!(namespace.api::<Secret>().get(&secret).await.expect("a Secret").data, stored);
}

/// Makes a record as versions did that left no marks on objects.
pub async fn forget_traces(namespace: &Namespace, name: &str) {
    let heads = namespace.api::<ConfigMap>();
    let object = format!("panamax-deployment-{name}");
    let mut head = heads.get(&object).await.expect("a head");
    let text = head.data.as_ref().and_then(|data| data.get("head.json")).expect("a record");
    let mut record: Value = serde_json::from_str(text).expect("JSON");
    record.as_object_mut().expect("a record").remove("uid").expect("a uid");
    for member in record["inventory"].as_array_mut().expect("an inventory") {
        member.as_object_mut().expect("a member").remove("trace").expect("a trace");
    }
    head.data.get_or_insert_default().insert("head.json".to_owned(), record.to_string());
    heads.replace(&object, &PostParams::default(), &head).await.expect("written");
}

/// Takes the mark off an object that is changed by a whole write.
pub fn unmark(object: &mut Value) {
    let annotations = object["metadata"]["annotations"].as_object_mut().expect("annotations");
    annotations.remove(APPLIED).expect("a mark");
}

/// Makes records and objects as versions did that left no marks.
async fn forget_marks(namespace: &Namespace, name: &str) {
    forget_traces(namespace, name).await;
    let manager = format!("panamax:{name}");
    applied_as_ours::<ReplicationController>(namespace, &manager, CONTROLLER, unmark).await;
    applied_as_ours::<Service>(namespace, &manager, "db-1", unmark).await;
}

#[tokio::test]
async fn the_first_deploy_after_an_upgrade_restarts_nobody() {
    let namespace = namespace("drift-upgrade").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let request = deploy(&namespace, "wp", &wordpress_at(2));
    client.deploy(request.clone()).await.expect("deployed");
    recorded(&namespace, "wp", "ACTIVE").await;
    forget_marks(&namespace, "wp").await;
    let pods = pod_uids(&members(&namespace).await);
    let again = client.deploy(request.clone()).await.expect("deployed").into_inner();
    assert_eq!(again.outcome(), DeployOutcome::Updated);
    assert!(!again.diagnostics.iter().any(|one| one.code == "OBJECT_DRIFTED"), "{:#?}", again.diagnostics);
    recorded(&namespace, "wp", "ACTIVE").await;
    assert_eq!(pod_uids(&members(&namespace).await), pods);
    let last = client.deploy(request).await.expect("deployed").into_inner();
    assert_eq!(last.outcome(), DeployOutcome::Unchanged);
    assert_eq!(pod_uids(&members(&namespace).await), pods);
}

/// The state of a deployment and its message, which both views tell alike.
async fn state_of(adapter: &Adapter, namespace: &Namespace, name: &str) -> (DeploymentState, String) {
    let mut told = Vec::new();
    for view in [DeploymentView::Basic, DeploymentView::Full] {
        let request = proto::GetDeploymentRequest {
            namespace: namespace.to_string(),
            name: name.to_owned(),
            view: view.into(),
        };
        let answer = adapter.deployments().get_deployment(request).await.expect("an answer").into_inner();
        let deployment = answer.deployment.expect("a deployment");
        told.push((deployment.state(), deployment.message));
    }
    assert_eq!(told.first(), told.last());
    told.swap_remove(0)
}

/// The last snapshot of a watch until the deployment has settled.
async fn settled(adapter: &Adapter, namespace: &Namespace, name: &str) -> proto::Deployment {
    let request = proto::WatchDeploymentRequest {
        namespace: namespace.to_string(),
        name: name.to_owned(),
        until: WatchUntil::Settled.into(),
        ..Default::default()
    };
    let mut stream = adapter.deployments().watch_deployment(request).await.expect("a stream").into_inner();
    let mut last = None;
    while let Some(message) = stream.message().await.expect("a message") {
        if let Some(Event::Snapshot(deployment)) = message.event {
            last = Some(deployment);
        }
    }
    last.expect("a snapshot")
}

/// Changes a Service's target port as a program of this name would, by a patch or by applying.
async fn retargeted(namespace: &Namespace, manager: &str, applies: bool, port: i32) {
    let ports = json!({"spec": {"ports": [{"port": 3306, "protocol": "TCP", "targetPort": port}]}});
    let services = namespace.api::<Service>();
    if applies {
        let mut object = ports;
        object["apiVersion"] = json!("v1");
        object["kind"] = json!("Service");
        let parameters = PatchParams::apply(manager).force();
        services.patch("db-1", &parameters, &Patch::Apply(object)).await.expect("a write");
    } else {
        let parameters = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
        services.patch("db-1", &parameters, &Patch::Strategic(ports)).await.expect("a write");
    }
}

#[tokio::test]
async fn what_is_written_under_any_name_is_told_by_reads_and_repaired_or_refused() {
    let namespace = namespace("drift-names").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let request = deploy(&namespace, "wp", &wordpress_at(2));
    client.deploy(request.clone()).await.expect("deployed");
    recorded(&namespace, "wp", "ACTIVE").await;
    assert_eq!(state_of(&adapter, &namespace, "wp").await, (DeploymentState::Active, String::new()));
    let pods = pod_uids(&members(&namespace).await);
    // Patched or applied; under a person's name, another program's, and our own.
    let cases = [("kubectl-edit", false), ("helm", true), ("panamax:wp", false)];
    for (index, (manager, applies)) in cases.into_iter().enumerate() {
        let port = 4000 + i32::try_from(index).expect("a number");
        retargeted(&namespace, manager, applies, port).await;
        let (state, message) = state_of(&adapter, &namespace, "wp").await;
        assert_eq!(state, DeploymentState::Degraded, "{manager}: {message}");
        assert!(message.contains("Service db-1") && message.contains("targetPort"), "{manager}: {message}");
        let watched = settled(&adapter, &namespace, "wp").await;
        assert_eq!(watched.state(), DeploymentState::Degraded, "{manager}: {}", watched.message);
        assert!(watched.message.contains("Service db-1"), "{manager}: {}", watched.message);
        let mut forced = request.clone();
        if !manager.starts_with("panamax:") {
            let answer = client.deploy(deploy_at_once(&namespace, "wp", &wordpress_at(2))).await;
            let refusal = refused(answer, Code::FailedPrecondition, "FIELD_CONFLICT");
            assert_eq!(refusal.fact("manager"), manager, "{refusal:#?}");
            forced.options.get_or_insert_default().set_conflicts(ConflictPolicy::Force);
        }
        let repaired = client.deploy(forced.clone()).await.expect("repaired").into_inner();
        assert_eq!(repaired.outcome(), DeployOutcome::Updated, "{manager}");
        let service = namespace.api::<Service>().get("db-1").await.expect("a Service");
        let service = serde_json::to_value(&service).expect("JSON");
        assert_eq!(service["spec"]["ports"][0]["targetPort"], json!(3306), "{manager}");
        recorded(&namespace, "wp", "ACTIVE").await;
        assert_eq!(state_of(&adapter, &namespace, "wp").await, (DeploymentState::Active, String::new()));
        let last = client.deploy(request.clone()).await.expect("deployed").into_inner();
        assert_eq!(last.outcome(), DeployOutcome::Unchanged, "{manager}: {:#?}", last.changes);
    }
    assert_eq!(pod_uids(&members(&namespace).await), pods);
}

/// Adds a label and takes it away again, as a person does.
async fn labelled_for_a_moment<K>(namespace: &Namespace, name: &str)
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let parameters =
        PatchParams { field_manager: Some("kubectl-label".to_owned()), ..PatchParams::default() };
    for value in [json!("blog"), Value::Null] {
        // In the template of a controller's pods, too: that moves its generation.
        let labels = json!({"labels": {"team": value}});
        let mut patch = json!({ "metadata": labels });
        if K::kind(&()) == "ReplicationController" {
            patch["spec"] = json!({ "template": { "metadata": labels } });
        }
        namespace.api::<K>().patch(name, &parameters, &Patch::Merge(patch)).await.expect("a change");
    }
}

/// Whether the cluster's controller has seen the newest form.
fn is_observed(one: Option<&ReplicationController>) -> bool {
    let seen = one.and_then(|one| one.status.as_ref()?.observed_generation);
    one.is_some_and(|one| one.metadata.generation == seen)
}

#[tokio::test]
async fn what_is_as_it_was_deployed_again_is_no_drift() {
    let namespace = namespace("drift-again").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let request = deploy(&namespace, "wp", &wordpress_at(2));
    let active = (DeploymentState::Active, String::new());
    adapter.deployments().deploy(request.clone()).await.expect("deployed");
    recorded(&namespace, "wp", "ACTIVE").await;
    labelled_for_a_moment::<Service>(&namespace, "db-1").await;
    labelled_for_a_moment::<ReplicationController>(&namespace, CONTROLLER).await;
    until(&namespace, CONTROLLER, is_observed).await;
    assert_eq!(state_of(&adapter, &namespace, "wp").await, active);
    // Whoever has not looked at it field by field applies it again, and says so.
    let again = adapter.deployments().deploy(request.clone()).await.expect("deployed").into_inner();
    assert_eq!(again.outcome(), DeployOutcome::Updated, "{again:#?}");
    let told = again.diagnostics.iter().filter(|one| one.code == "OBJECT_DRIFTED").count();
    assert_eq!(told, 2, "{:#?}", again.diagnostics);
    recorded(&namespace, "wp", "ACTIVE").await;
    labelled_for_a_moment::<Service>(&namespace, "db-1").await;
    labelled_for_a_moment::<ReplicationController>(&namespace, CONTROLLER).await;
    until(&namespace, CONTROLLER, is_observed).await;
    // Whoever watches has it looked at, and the record says so from then on.
    let before = members(&namespace).await;
    assert_eq!(settled(&adapter, &namespace, "wp").await.state(), DeploymentState::Active);
    let again = adapter.deployments().deploy(request.clone()).await.expect("deployed").into_inner();
    assert_eq!(again.outcome(), DeployOutcome::Unchanged, "{again:#?}");
    assert_eq!(members(&namespace).await, before);
    // The same values in the hands of somebody else are told as that.
    for port in [4000, 3306] {
        retargeted(&namespace, "kubectl-edit", false, port).await;
    }
    let (state, message) = state_of(&adapter, &namespace, "wp").await;
    assert_eq!(state, DeploymentState::Degraded, "{message}");
    assert!(message.contains("has the values that were deployed"), "{message}");
    assert!(message.contains("kubectl-edit") && message.contains("targetPort"), "{message}");
    adapter.deployments().deploy(request).await.expect("held again");
    recorded(&namespace, "wp", "ACTIVE").await;
    assert_eq!(state_of(&adapter, &namespace, "wp").await, active);
}

/// What a look at everything tells of a deployment.
async fn whole(adapter: &Adapter, namespace: &Namespace, name: &str) -> (DeploymentState, String) {
    let request = proto::GetDeploymentRequest {
        namespace: namespace.to_string(),
        name: name.to_owned(),
        view: DeploymentView::Full.into(),
    };
    let answer = adapter.deployments().get_deployment(request).await.expect("an answer").into_inner();
    let deployment = answer.deployment.expect("a deployment");
    let page = proto::ListDeploymentsRequest {
        namespace: namespace.to_string(),
        view: DeploymentView::Full.into(),
        ..Default::default()
    };
    let page = adapter.deployments().list_deployments(page).await.expect("a page").into_inner().deployments;
    let listed = page.iter().find(|one| one.name == name).expect("it is listed");
    let both = [&deployment, listed].map(|one| (one.state(), &one.message));
    assert_eq!(both[0], both[1], "a list tells what a look at one tells");
    (deployment.state(), deployment.message)
}

#[tokio::test]
async fn a_secret_that_somebody_writes_is_told_without_a_value() {
    let namespace = namespace("drift-secrets").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let request = modern(deploy_at_once(&namespace, "still", STILL));
    let made = adapter.deployments().deploy(request.clone()).await.expect("deployed").into_inner();
    recorded(&namespace, "still", "STOPPED").await;
    let stopped = (DeploymentState::Stopped, String::new());
    assert_eq!(whole(&adapter, &namespace, "still").await, stopped);
    let made = made.changes.iter().filter_map(|change| change.r#ref.as_ref());
    let secret = made.clone().find(|one| one.kind == "Secret").expect("a Secret").name.clone();
    let secrets = namespace.api::<Secret>();
    let stored = secrets.get(&secret).await.expect("a Secret").data.expect("data");
    let key = stored.keys().next().expect("a key").clone();
    let parameters = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
    let written = Patch::Merge(json!({"data": {key.clone(): "dGhpcmQtc2VjcmV0"}}));
    secrets.patch(&secret, &parameters, &written).await.expect("a change");
    let (state, message) = whole(&adapter, &namespace, "still").await;
    assert_eq!(state, DeploymentState::Degraded, "{message}");
    assert!(message.contains(&format!("Secret {secret} differs")) && message.contains(&key), "{message}");
    for value in ["third-secret", "dGhpcmQtc2VjcmV0", "first-secret"] {
        assert!(!message.contains(value), "{message}");
    }
    let mut forced = request.clone();
    forced.options.get_or_insert_default().set_conflicts(ConflictPolicy::Force);
    adapter.deployments().deploy(forced).await.expect("repaired");
    recorded(&namespace, "still", "STOPPED").await;
    assert_eq!(whole(&adapter, &namespace, "still").await, stopped);
    labelled_for_a_moment::<Secret>(&namespace, &secret).await;
    assert_eq!(whole(&adapter, &namespace, "still").await, stopped);
    remove::<Secret>(&namespace, &secret).await;
    let (state, message) = whole(&adapter, &namespace, "still").await;
    assert_eq!(state, DeploymentState::Degraded, "{message}");
    assert!(message.contains(&format!("Secret {secret} does not exist")), "{message}");
}

#[tokio::test]
async fn a_mark_or_a_label_that_somebody_takes_away_is_told_and_put_back() {
    let namespace = namespace("drift-labels").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let request = deploy(&namespace, "wp", &wordpress_at(2));
    adapter.deployments().deploy(request.clone()).await.expect("deployed");
    recorded(&namespace, "wp", "ACTIVE").await;
    let changes =
        [json!({"annotations": {APPLIED: null}}), json!({"labels": {"app.kubernetes.io/name": null}})];
    for metadata in changes {
        let parameters =
            PatchParams { field_manager: Some("kubectl-label".to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(json!({"metadata": metadata}));
        namespace.api::<Service>().patch("db-1", &parameters, &patch).await.expect("a change");
        let (state, message) = state_of(&adapter, &namespace, "wp").await;
        assert_eq!(state, DeploymentState::Degraded, "{metadata}: {message}");
        assert!(message.contains("Service db-1"), "{message}");
        repaired(&adapter, request.clone(), "Service/db-1").await;
        assert_eq!(state_of(&adapter, &namespace, "wp").await.0, DeploymentState::Active);
    }
}

#[tokio::test]
async fn a_count_that_somebody_else_sets_is_no_drift() {
    let namespace = namespace("drift-count").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let request = deploy(&namespace, "wp", &wordpress_at(2));
    adapter.deployments().deploy(request.clone()).await.expect("deployed");
    for (count, manager) in [(3, "kubectl"), (4, "horizontal-pod-autoscaler")] {
        let parameters = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(json!({"spec": {"replicas": count}}));
        let controllers = namespace.api::<ReplicationController>();
        controllers.patch_scale(CONTROLLER, &parameters, &patch).await.expect("a count");
        let has_all = move |one: Option<&ReplicationController>| {
            let ready = one.and_then(|one| one.status.as_ref()?.ready_replicas);
            ready == Some(count)
        };
        until(&namespace, CONTROLLER, has_all).await;
        let (state, message) = state_of(&adapter, &namespace, "wp").await;
        assert_eq!(state, DeploymentState::Active, "{manager}: {message}");
        let again = adapter.deployments().deploy(request.clone()).await.expect("deployed").into_inner();
        assert_eq!(again.outcome(), DeployOutcome::Unchanged, "{manager}: {:#?}", again.diagnostics);
    }
}

#[tokio::test]
async fn one_object_with_another_uid_is_no_restore() {
    let namespace = namespace("drift-copy").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let request = deploy(&namespace, "wp", &wordpress_at(2));
    client.deploy(request.clone()).await.expect("deployed");
    recorded(&namespace, "wp", "ACTIVE").await;
    let services = namespace.api::<Service>();
    let found = serde_json::to_value(services.get("db-1").await.expect("a Service")).expect("JSON");
    remove::<Service>(&namespace, "db-1").await;
    let (state, message) = state_of(&adapter, &namespace, "wp").await;
    assert_eq!(state, DeploymentState::Degraded, "{message}");
    assert!(message.contains("Service db-1 does not exist"), "{message}");
    let copy: Service = serde_json::from_value(as_read(found)).expect("a Service");
    services.create(&PostParams::default(), &copy).await.expect("a copy");
    let (state, message) = state_of(&adapter, &namespace, "wp").await;
    assert_eq!(state, DeploymentState::Degraded, "{message}");
    assert!(message.contains("Service db-1 is not the one that was created here"), "{message}");
    let answer = client.deploy(deploy_at_once(&namespace, "wp", &wordpress_at(2))).await;
    refused(answer, Code::AlreadyExists, "OBJECT_NOT_OWNED");
}
