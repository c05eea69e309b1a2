//! A deployment that was restored from a backup: adopted by the next Deploy, and gone after the next Teardown.

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use panamax_kubernetes_adapter::proto::{DeployOutcome, ObjectAction};
use serde_json::Value;

use crate::support::adapter::{Adapter, deploy, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{action, as_read, everything, members, pod_uids, recorded, until};
use crate::support::namespace::{Namespace, namespace};
use crate::support::templates::wordpress_at;

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

/// Makes a record as a version did that noted neither its ConfigMap nor traces of its writes.
async fn as_before(namespace: &Namespace) {
    let heads = namespace.api::<ConfigMap>();
    let mut head = heads.get("panamax-deployment-wp").await.expect("a head");
    let text = head.data.as_ref().and_then(|data| data.get("head.json")).expect("a record");
    let mut record: Value = serde_json::from_str(text).expect("JSON");
    record.as_object_mut().expect("a record").remove("uid").expect("a uid");
    for member in record["inventory"].as_array_mut().expect("an inventory") {
        member.as_object_mut().expect("a member").remove("trace").expect("a trace");
    }
    head.data.get_or_insert_default().insert("head.json".to_owned(), record.to_string());
    heads.replace("panamax-deployment-wp", &PostParams::default(), &head).await.expect("written");
}

/// Deploys, backs up, restores, deploys again and tears down; `before`: as the record of an earlier version.
async fn is_adopted(namespace: &Namespace, before: bool) {
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let request = deploy(namespace, "wp", &wordpress_at(2));
    // Two revisions are in the backup, with the passwords of both.
    let earlier = wordpress_at(2).replace("wordpress:3.9.1", "wordpress:3.9.0");
    client.deploy(deploy(namespace, "wp", &earlier)).await.expect("deployed");
    recorded(namespace, "wp", "ACTIVE").await;
    client.deploy(request.clone()).await.expect("deployed");
    recorded(namespace, "wp", "ACTIVE").await;
    if before {
        as_before(namespace).await;
    }
    backup_and_restore(namespace).await;
    let is_running = kube::runtime::conditions::is_pod_running();
    until::<Pod>(namespace, "db-pod", is_running).await;
    let pods = pod_uids(&members(namespace).await);
    let again = client.deploy(request.clone()).await.expect("repaired").into_inner();
    assert_eq!(again.outcome(), DeployOutcome::Updated);
    assert_eq!(action(&again.changes, "Service/db-1"), ObjectAction::Update);
    assert_eq!(pod_uids(&members(namespace).await), pods);
    let last = client.deploy(request).await.expect("deployed").into_inner();
    assert_eq!(last.outcome(), DeployOutcome::Unchanged);
    client.teardown(teardown(namespace, "wp")).await.expect("torn down");
    assert_eq!(everything(namespace).await.into_keys().collect::<Vec<_>>(), Vec::<String>::new());
}

#[tokio::test]
async fn a_restored_deployment_is_adopted_without_restarts() {
    is_adopted(&namespace("drift-restored").await, false).await;
}

#[tokio::test]
async fn a_restored_record_of_an_earlier_version_is_adopted_too() {
    is_adopted(&namespace("restored-before").await, true).await;
}

#[tokio::test]
async fn what_a_restored_deployment_no_longer_wants_goes() {
    let namespace = namespace("restored-pruned").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "wp", &wordpress_at(2))).await.expect("deployed");
    recorded(&namespace, "wp", "ACTIVE").await;
    backup_and_restore(&namespace).await;
    let alone = "name: Alone\nimages:\n- {name: other, source: 'example/other:1'}\n";
    let changed = client.deploy(deploy(&namespace, "wp", alone)).await.expect("deployed").into_inner();
    assert_eq!(action(&changed.changes, "Service/db-1"), ObjectAction::Delete);
    let left: Vec<String> = members(&namespace).await.into_keys().collect();
    assert_eq!(left, ["Pod/other-pod"]);
    client.teardown(teardown(&namespace, "wp")).await.expect("torn down");
    assert_eq!(everything(&namespace).await.into_keys().collect::<Vec<_>>(), Vec::<String>::new());
}
