//! What is there is compared with what should be: writes from outside, whatever name they come under, and restores.

use k8s_openapi::api::core::v1::{ConfigMap, Pod, ReplicationController, Secret, Service};
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::{DeployOutcome, ObjectAction};
use serde_json::{Value, json};
use tonic::Code;

use crate::support::adapter::{Adapter, deploy, deploy_at_once, modern, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{action, everything, members, recorded, refused, until};
use crate::support::namespace::{Namespace, namespace};
use crate::support::templates::wordpress_at;

const APPLIED: &str = "panamax.io/applied";
const CONTROLLER: &str = "wp-replication-controller";

/// A component with a Secret, whose pods nobody runs.
const STILL: &str = "name: Still\nimages:\n- name: web\n  source: example/web:1\n  ports: [{host_port: 8080, \
                     container_port: 80}]\n  environment: [{variable: A_PASSWORD, value: first-secret}]\n  \
                     deployment: {count: 0}\n";

/// An object as anybody can read it and apply it again: without what only the API server writes.
fn as_read(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in ["managedFields", "resourceVersion", "uid", "creationTimestamp", "generation"] {
            metadata.remove(field);
        }
    }
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
    }
    object
}

/// Applies a changed object by force under the deployment's own field manager, as a late write of ours would.
async fn applied_as_ours<K>(namespace: &Namespace, manager: &str, name: &str, change: impl FnOnce(&mut Value))
where
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

fn pod_uids(all: &crate::support::looking::Versions) -> Vec<String> {
    let pods = all.iter().filter(|(name, _)| name.starts_with("Pod/"));
    pods.map(|(name, (uid, _))| format!("{name} {uid}")).collect()
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

/// Makes records and objects as versions did that left no marks.
async fn forget_marks(namespace: &Namespace, name: &str) {
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
    let unmark = |object: &mut Value| {
        object["metadata"]["annotations"]
            .as_object_mut()
            .expect("annotations")
            .remove(APPLIED)
            .expect("a mark");
    };
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

/// Kinds that a backup holds, as a backup program restores them.
const SAVED: [(&str, &str); 5] = [
    ("ConfigMap", "configmaps"),
    ("Secret", "secrets"),
    ("Service", "services"),
    // Before their controller, which would make others otherwise.
    ("Pod", "pods"),
    ("ReplicationController", "replicationcontrollers"),
];

fn dynamic(namespace: &Namespace, client: &kube::Client, (kind, plural): (&str, &str)) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: String::new(),
        version: "v1".to_owned(),
        api_version: "v1".to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    };
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// Saves every object of the deployment, deletes all, and makes them again with other uids.
async fn backup_and_restore(namespace: &Namespace) {
    let client = namespace.plane.client(User::Admin).await;
    let ours = ListParams::default().labels("app.kubernetes.io/managed-by=panamax-kubernetes-adapter");
    let mut saved = Vec::new();
    for kind in SAVED {
        let api = dynamic(namespace, &client, kind);
        for object in api.list(&ours).await.expect("a list").items {
            saved.push((kind, object));
        }
    }
    for kind in SAVED.into_iter().rev() {
        let api = dynamic(namespace, &client, kind);
        let at_once = DeleteParams::default().grace_period(0);
        api.delete_collection(&at_once, &ours).await.expect("deleted");
    }
    for (kind, object) in &saved {
        let api = dynamic(namespace, &client, *kind);
        let name = object.metadata.name.clone().expect("a name");
        let gone = kube::runtime::conditions::is_deleted(object.metadata.uid.as_deref().expect("a uid"));
        let wait = kube::runtime::wait::await_condition(api, &name, gone);
        let waited = tokio::time::timeout(std::time::Duration::from_secs(30), wait).await;
        waited.expect("gone in time").expect("a watch");
    }
    let parameters = PostParams { field_manager: Some("restorer".to_owned()), ..PostParams::default() };
    for (kind, object) in saved {
        let mut object = as_read(serde_json::to_value(object).expect("JSON"));
        object["metadata"].as_object_mut().expect("metadata").remove("ownerReferences");
        if let Some(spec) = object["spec"].as_object_mut().filter(|_| kind.0 == "Pod") {
            spec.remove("nodeName");
        }
        let object: DynamicObject = serde_json::from_value(object).expect("an object");
        dynamic(namespace, &client, kind).create(&parameters, &object).await.expect("restored");
    }
}

#[tokio::test]
async fn a_restored_deployment_is_adopted_without_restarts() {
    let namespace = namespace("drift-restored").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let request = deploy(&namespace, "wp", &wordpress_at(2));
    client.deploy(request.clone()).await.expect("deployed");
    recorded(&namespace, "wp", "ACTIVE").await;
    backup_and_restore(&namespace).await;
    let is_running = kube::runtime::conditions::is_pod_running();
    until::<Pod>(&namespace, "db-pod", is_running).await;
    let pods = pod_uids(&members(&namespace).await);
    let again = client.deploy(request.clone()).await.expect("repaired").into_inner();
    assert_eq!(again.outcome(), DeployOutcome::Updated);
    assert_eq!(action(&again.changes, "Service/db-1"), ObjectAction::Update);
    assert_eq!(pod_uids(&members(&namespace).await), pods);
    let last = client.deploy(request).await.expect("deployed").into_inner();
    assert_eq!(last.outcome(), DeployOutcome::Unchanged);
    client.teardown(teardown(&namespace, "wp")).await.expect("torn down");
    assert_eq!(everything(&namespace).await.into_keys().collect::<Vec<_>>(), Vec::<String>::new());
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
    crate::support::looking::remove::<Service>(&namespace, "db-1").await;
    let copy: Service = serde_json::from_value(as_read(found)).expect("a Service");
    services.create(&PostParams::default(), &copy).await.expect("a copy");
    let answer = client.deploy(deploy_at_once(&namespace, "wp", &wordpress_at(2))).await;
    refused(answer, Code::AlreadyExists, "OBJECT_NOT_OWNED");
}
