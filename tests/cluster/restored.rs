//! A deployment that was restored from a backup: adopted by the next Deploy, and gone after the next Teardown.

use k8s_openapi::api::apps::v1::Deployment as Workload;
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use panamax_kubernetes_adapter::proto::{
    ComponentState, DeployOutcome, Deployment, DeploymentState, GetDeploymentRequest, ObjectAction,
    VolumePolicy,
};

use super::drift::forget_traces;
use crate::support::adapter::{Adapter, deploy, modern, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{action, as_read, everything, members, names, pod_uids, recorded, until};
use crate::support::namespace::{Namespace, namespace};
use crate::support::templates::wordpress_at;

/// Group, kind and plural of what a backup holds, as a backup program restores it.
const SAVED: [(&str, &str, &str); 8] = [
    ("", "ConfigMap", "configmaps"),
    ("", "Secret", "secrets"),
    ("", "Service", "services"),
    ("", "PersistentVolumeClaim", "persistentvolumeclaims"),
    // Before their controller, which would make others otherwise.
    ("", "Pod", "pods"),
    ("", "ReplicationController", "replicationcontrollers"),
    ("apps", "ReplicaSet", "replicasets"),
    ("apps", "Deployment", "deployments"),
];

fn dynamic(
    namespace: &Namespace,
    client: &kube::Client,
    (group, kind, plural): (&str, &str, &str),
) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        api_version: if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") },
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
        // An apps Deployment whose ReplicaSet goes before it would make another of the same name.
        let (at_once, is_made) = match kind.1 {
            "Deployment" => (DeleteParams::foreground(), false),
            kind => (DeleteParams::default().grace_period(0), kind == "ReplicaSet"),
        };
        if !is_made {
            api.delete_collection(&at_once, &ours).await.expect("deleted");
        }
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
        if let Some(spec) = object["spec"].as_object_mut().filter(|_| kind.1 == "Pod") {
            spec.remove("nodeName");
        }
        if kind.1 == "PersistentVolumeClaim" {
            // Its volume is restored with it as another one, or not at all.
            object["spec"].as_object_mut().expect("spec").remove("volumeName");
            let annotations = object["metadata"]["annotations"].as_object_mut().expect("annotations");
            annotations.retain(|key, _| !key.contains("kubernetes.io/"));
            object["metadata"].as_object_mut().expect("metadata").remove("finalizers");
        }
        let object: DynamicObject = serde_json::from_value(object).expect("an object");
        dynamic(namespace, &client, kind).create(&parameters, &object).await.expect("restored");
    }
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
        forget_traces(namespace, "wp").await;
    }
    backup_and_restore(namespace).await;
    let is_running = kube::runtime::conditions::is_pod_running();
    until::<Pod>(namespace, "db-pod", is_running).await;
    // A controller that has not seen all restored pods yet makes others, and deletes what is too many then.
    let is_settled = |controller: Option<&ReplicationController>| {
        let status = controller.and_then(|controller| controller.status.as_ref());
        status.is_some_and(|status| status.replicas == 2 && status.available_replicas == Some(2))
    };
    until::<ReplicationController>(namespace, "wp-replication-controller", is_settled).await;
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

/// A component with two replicas, a claim and a Secret, and one that it is linked to.
const SHOP: &str = "name: Shop\nimages:\n- name: web\n  source: example/web:1\n  ports: [{host_port: 8080, \
                    container_port: 80}]\n  links: [{service: db}]\n  deployment: {count: 2}\n- name: db\n  \
                    source: example/db:1\n  expose: [5432]\n  volumes: [{container_path: /data}]\n  \
                    environment: [{variable: A_PASSWORD, value: first-secret}]\n";

/// The deployment as GetDeployment tells it.
async fn told(adapter: &Adapter, namespace: &Namespace) -> Deployment {
    let request = GetDeploymentRequest {
        namespace: namespace.to_string(),
        name: "shop".to_owned(),
        ..GetDeploymentRequest::default()
    };
    let answer = adapter.deployments().get_deployment(request).await.expect("an answer").into_inner();
    answer.deployment.expect("a deployment")
}

/// Waits until all pods are ready that the restored controllers have adopted.
async fn until_ready(namespace: &Namespace) {
    for (name, count) in [("web", 2), ("db", 1)] {
        let is_ready = move |workload: Option<&Workload>| {
            let metadata = workload.map(|workload| &workload.metadata);
            let status = workload.and_then(|workload| workload.status.as_ref());
            status.is_some_and(|status| {
                status.observed_generation == metadata.and_then(|metadata| metadata.generation)
                    && status.available_replicas == Some(count)
            })
        };
        until::<Workload>(namespace, name, is_ready).await;
    }
}

#[tokio::test]
async fn a_restored_deployment_of_the_modern_profile_is_told_as_such_and_adopted() {
    let namespace = namespace("restored-modern").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let request = modern(deploy(&namespace, "shop", SHOP));
    let made = client.deploy(request.clone()).await.expect("deployed").into_inner();
    for kind in ["PersistentVolumeClaim", "Secret", "Deployment"] {
        let mut kinds = made.changes.iter().filter_map(|change| change.r#ref.as_ref()).map(|one| &one.kind);
        assert!(kinds.any(|one| one == kind), "no {kind}");
    }
    recorded(&namespace, "shop", "ACTIVE").await;
    let before = members(&namespace).await;
    backup_and_restore(&namespace).await;
    until_ready(&namespace).await;
    let restored = members(&namespace).await;
    assert_eq!(names(&restored), names(&before), "the same names");
    assert!(restored.iter().all(|(name, (uid, _))| before[name].0 != *uid), "other uids");

    let deployment = told(&adapter, &namespace).await;
    assert_eq!(deployment.state(), DeploymentState::Degraded, "{}", deployment.message);
    for object in ["Deployment web", "Deployment db", "Service web", "PersistentVolumeClaim db-"] {
        let text = deployment.message.split("; ").find(|text| text.starts_with(object));
        assert!(text.is_some_and(|text| text.ends_with("was restored from a backup")), "{deployment:#?}");
    }
    assert!(!deployment.message.contains("somebody"), "{}", deployment.message);
    for component in &deployment.components {
        assert_eq!(component.state(), ComponentState::Ready, "{component:#?}");
        assert_eq!(component.ready_replicas, component.desired_replicas, "{component:#?}");
    }

    let pods = pod_uids(&restored);
    let again = client.deploy(request.clone()).await.expect("adopted").into_inner();
    assert_eq!(again.outcome(), DeployOutcome::Updated);
    assert_eq!(pod_uids(&members(&namespace).await), pods, "nothing was restarted");
    recorded(&namespace, "shop", "ACTIVE").await;
    let deployment = told(&adapter, &namespace).await;
    assert_eq!((deployment.state(), deployment.message.as_str()), (DeploymentState::Active, ""));
    let last = client.deploy(request).await.expect("deployed").into_inner();
    assert_eq!(last.outcome(), DeployOutcome::Unchanged, "{:#?}", last.changes);
    let mut all = teardown(&namespace, "shop");
    all.set_volumes(VolumePolicy::Delete);
    client.teardown(all).await.expect("torn down");
    assert_eq!(everything(&namespace).await.into_keys().collect::<Vec<_>>(), Vec::<String>::new());
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
