//! What belongs to somebody else stays untouched, and what is ours stays ours.

use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Pod, ReplicationController, Service};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use panamax_kubernetes_adapter::proto;
use serde_json::{Value, json};
use tonic::Code;

use crate::support::adapter::{Adapter, deploy, deploy_at_once, modern, scale, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{Object, everything, members, names, recorded, refused, remove, shown, until};
use crate::support::namespace::{Namespace, namespace};
use crate::support::templates::{WORDPRESS, wordpress_at};

/// One component without ports.
fn alone(name: &str) -> String {
    format!("name: Alone\nimages:\n- {{name: {name}, source: 'example/alone:1'}}\n")
}

/// Makes an object as a person at a terminal would.
async fn made_by_somebody<K: Object>(namespace: &Namespace, object: Value) {
    let api: Api<K> = Api::namespaced(namespace.plane.client(User::Admin).await, namespace);
    let parameters = PostParams { field_manager: Some("somebody".to_owned()), ..PostParams::default() };
    let object = serde_json::from_value(object).expect("an object");
    api.create(&parameters, &object).await.expect("it can be made");
}

fn foreign_pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "main", "image": "nginx:1"}]}})
}

fn foreign_service(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"selector": {"app": "theirs"}, "ports": [{"port": 80}]}})
}

#[tokio::test]
async fn a_second_deployment_with_a_component_of_the_same_name_is_refused() {
    let namespace = namespace("owner-second").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "first", WORDPRESS)).await.expect("deployed");
    recorded(&namespace, "first", "ACTIVE").await;
    let before = everything(&namespace).await;
    // The Service is in the way of one, a Pod of the other, beside a component that nobody else has.
    let other = format!("{}- {{name: Other, source: 'example/other:1'}}\n", alone("db"));
    for template in [WORDPRESS, &other] {
        let answer = client.deploy(deploy_at_once(&namespace, "second", template)).await;
        let refusal = refused(answer, Code::AlreadyExists, "OBJECT_NOT_OWNED");
        assert_eq!(refusal.fact("owner"), "deployment first", "{refusal:#?}");
        assert!(refusal.message.contains("another namespace"), "{refusal:#?}");
        assert_eq!(everything(&namespace).await, before);
    }
}

#[tokio::test]
async fn foreign_objects_in_the_way_are_refused_untouched() {
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let namespace = namespace("owner-foreign").await;
    made_by_somebody::<Service>(&namespace, foreign_service("db-1")).await;
    made_by_somebody::<Pod>(&namespace, foreign_pod("alone-pod")).await;
    let controller = json!({
        "metadata": {"name": "wp-replication-controller"},
        "spec": {"replicas": 0, "selector": {"app": "theirs"}, "template": {
            "metadata": {"labels": {"app": "theirs"}},
            "spec": {"containers": [{"name": "main", "image": "nginx:1"}]},
        }},
    });
    made_by_somebody::<ReplicationController>(&namespace, controller).await;
    // Labels alone make nothing ours.
    let mut dressed = foreign_pod("dressed-pod");
    dressed["metadata"]["labels"] = json!({
        "app.kubernetes.io/managed-by": "panamax-kubernetes-adapter",
        "app.kubernetes.io/instance": "mine",
        "name": "dressed",
    });
    made_by_somebody::<Pod>(&namespace, dressed).await;
    for pod in ["alone-pod", "dressed-pod"] {
        until::<Pod>(&namespace, pod, kube::runtime::conditions::is_pod_running()).await;
    }
    let controller_is_seen = |one: Option<&ReplicationController>| {
        one.is_some_and(|one| one.status.as_ref().and_then(|status| status.observed_generation).is_some())
    };
    until(&namespace, "wp-replication-controller", controller_is_seen).await;
    let before = everything(&namespace).await;
    let lone_controller = wordpress_at(2).replace("    alias: DB_1\n", "    alias: DB_2\n");
    for template in [WORDPRESS, &lone_controller, &alone("alone"), &alone("dressed")] {
        let answer = adapter.deployments().deploy(deploy_at_once(&namespace, "mine", template)).await;
        let refusal = refused(answer, Code::AlreadyExists, "OBJECT_NOT_OWNED");
        assert!(!refusal.fact("owner").is_empty(), "{refusal:#?}");
        assert_eq!(everything(&namespace).await, before);
    }
}

#[tokio::test]
async fn a_foreign_config_map_with_the_heads_name_is_refused_untouched() {
    let namespace = namespace("owner-head").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let map = json!({"metadata": {"name": "panamax-deployment-wp"}, "data": {"head.json": "{}"}});
    made_by_somebody::<ConfigMap>(&namespace, map).await;
    let before = everything(&namespace).await;
    let mut client = adapter.deployments();
    let answer = client.deploy(deploy_at_once(&namespace, "wp", WORDPRESS)).await;
    let refusal = refused(answer, Code::AlreadyExists, "OBJECT_NOT_OWNED");
    assert_eq!(refusal.fact("object"), "ConfigMap panamax-deployment-wp");
    assert_eq!(refusal.fact("namespace"), namespace.to_string());
    // For whoever makes none there is no deployment.
    let get = proto::GetDeploymentRequest {
        namespace: namespace.to_string(),
        name: "wp".to_owned(),
        ..Default::default()
    };
    refused(client.get_deployment(get).await, Code::NotFound, "DEPLOYMENT_NOT_FOUND");
    let answer = client.scale(scale(&namespace, "wp", "WP", 2)).await;
    refused(answer, Code::NotFound, "DEPLOYMENT_NOT_FOUND");
    let gone = || teardown(&namespace, "wp");
    refused(client.teardown(gone()).await, Code::NotFound, "DEPLOYMENT_NOT_FOUND");
    let answer = client.teardown(proto::TeardownRequest { allow_missing: true, ..gone() }).await;
    assert!(answer.expect("nothing is there").into_inner().complete);
    assert_eq!(everything(&namespace).await, before);
}

#[tokio::test]
async fn a_service_never_selects_pods_of_another_deployment() {
    let namespace = namespace("owner-select").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "one", WORDPRESS)).await.expect("deployed");
    // The same component, but no object of the same name: a controller and its Service.
    let other = "name: Other\nimages:\n- name: DB\n  source: example/db:1\n  ports: [{host_port: 13306, \
                 container_port: 3306}]\n  deployment: {count: 2}\n";
    client.deploy(deploy(&namespace, "two", other)).await.expect("deployed");
    let two = |endpoints: Option<&Endpoints>| pods_behind(endpoints).len() == 2;
    let other = until::<Endpoints>(&namespace, "db", two).await;
    assert!(pods_behind(other.as_ref()).iter().all(|pod| pod.starts_with("db-replication-controller-")));
    let one =
        until::<Endpoints>(&namespace, "db-1", |one: Option<&Endpoints>| !pods_behind(one).is_empty()).await;
    assert_eq!(pods_behind(one.as_ref()), ["db-pod"]);
    let pod = namespace.api::<Pod>().get("db-pod").await.expect("db-pod");
    assert_eq!(pod.metadata.owner_references, None, "the other's controller has not adopted it");
}

fn pods_behind(endpoints: Option<&Endpoints>) -> Vec<String> {
    let subsets = endpoints.and_then(|endpoints| endpoints.subsets.clone()).unwrap_or_default();
    let addresses = subsets.into_iter().flat_map(|subset| subset.addresses.unwrap_or_default());
    addresses.filter_map(|address| address.target_ref?.name).collect()
}

#[tokio::test]
async fn what_somebody_deleted_is_made_again() {
    let namespace = namespace("owner-deleted").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "wp", WORDPRESS)).await.expect("deployed");
    let before = members(&namespace).await;
    remove::<Service>(&namespace, "db-1").await;
    remove::<Pod>(&namespace, "wp-pod").await;
    let again = client.deploy(deploy(&namespace, "wp", WORDPRESS)).await.expect("deployed").into_inner();
    assert_eq!(again.outcome(), proto::DeployOutcome::Updated);
    let after = members(&namespace).await;
    assert_eq!(names(&after), names(&before));
    assert_eq!(after["Pod/db-pod"], before["Pod/db-pod"]);
    for made in ["Pod/wp-pod", "Service/db-1"] {
        assert_ne!(after[made].0, before[made].0, "{made} is another object");
    }
}

/// What a Get of deployment `shop` says: state, reason and message.
async fn read(adapter: &Adapter, namespace: &Namespace) -> proto::Deployment {
    shown(adapter, namespace, "shop", proto::DeploymentView::Full).await
}

#[tokio::test]
async fn what_has_lost_its_labels_is_found_by_its_name_and_gets_them_back() {
    let namespace = namespace("owner-labels").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let template = "name: Shop\nimages:\n- name: db\n  source: example/db:1\n  ports: [{container_port: 5432}]\n  \
                    environment: [{variable: A_PASSWORD, value: first-secret}]\n  volumes: [{container_path: /data}]\n";
    let request = modern(deploy(&namespace, "shop", template));
    client.deploy(request.clone()).await.expect("deployed");
    recorded(&namespace, "shop", "ACTIVE").await;
    let all = members(&namespace).await;
    let claim = names(&all).into_iter().find(|name| name.starts_with("Persistent"));
    let claim = claim.expect("a claim").replace("PersistentVolumeClaim", "pvc");
    let uids = async || {
        let all = members(&namespace).await;
        all.into_iter().map(|(name, (uid, _))| (name, uid)).collect::<Vec<_>>()
    };
    let before = uids().await;
    for (object, label, words) in [
        ("deployment/db", "app.kubernetes.io/instance-", "the next Deploy puts them back"),
        ("service/db", "app.kubernetes.io/managed-by-", "the next Deploy puts them back"),
        (&claim, "app.kubernetes.io/instance-", "the next Deploy puts them back"),
        ("secret/db-environment", "app.kubernetes.io/instance-", "the next Deploy repairs it"),
    ] {
        let mut kubectl = namespace.plane.kubectl(User::Admin);
        kubectl.args(["-n", &namespace, "label", object, label]);
        assert!(kubectl.output().expect("kubectl runs").status.success(), "{object}");
        let told = read(&adapter, &namespace).await;
        assert!(told.message.contains(words) && !told.message.contains("does not exist"), "{told:#?}");
        let again = client.deploy(request.clone()).await.expect("deployed").into_inner();
        assert_eq!(again.outcome(), proto::DeployOutcome::Updated, "{object}");
        assert_eq!(uids().await, before, "{object} is the same object");
        let told = read(&adapter, &namespace).await;
        assert_eq!((told.state(), told.message.as_str()), (proto::DeploymentState::Active, ""), "{object}");
    }
    // What another has written into a label is a conflict, and no other owner.
    let mut kubectl = namespace.plane.kubectl(User::Admin);
    kubectl.args([
        "-n",
        &namespace,
        "label",
        "service/db",
        "app.kubernetes.io/instance=other",
        "--overwrite",
    ]);
    assert!(kubectl.output().expect("kubectl runs").status.success());
    let refusal = refused(client.deploy(request.clone()).await, Code::FailedPrecondition, "FIELD_CONFLICT");
    assert_eq!(refusal.fact("manager"), "kubectl-label", "{refusal:#?}");
    let mut forced = request;
    forced.options.get_or_insert_default().set_conflicts(proto::ConflictPolicy::Force);
    client.deploy(forced).await.expect("deployed");
    assert_eq!(uids().await, before);
}

#[tokio::test]
async fn a_foreign_workload_in_our_place_is_told_as_the_next_deploy_tells_it() {
    let namespace = namespace("owner-place").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "shop", &alone("web"))).await.expect("deployed");
    recorded(&namespace, "shop", "ACTIVE").await;
    remove::<Pod>(&namespace, "web-pod").await;
    made_by_somebody::<Pod>(&namespace, foreign_pod("web-pod")).await;
    until::<Pod>(&namespace, "web-pod", kube::runtime::conditions::is_pod_running()).await;
    let told = read(&adapter, &namespace).await;
    assert_eq!(told.reason(), proto::ComponentReason::WorkloadNotOwned, "{told:#?}");
    assert!(told.message.contains("Deploy refuses to write it"), "{told:#?}");
    let answer = client.deploy(deploy_at_once(&namespace, "shop", &alone("web"))).await;
    let refusal = refused(answer, Code::AlreadyExists, "OBJECT_NOT_OWNED");
    assert_eq!(refusal.fact("owner"), "field manager somebody", "whoever wrote its status owns nothing");
}

#[tokio::test]
async fn what_somebody_else_made_in_our_place_is_refused() {
    let namespace = namespace("owner-recreated").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "wp", WORDPRESS)).await.expect("deployed");
    remove::<Service>(&namespace, "db-1").await;
    made_by_somebody::<Service>(&namespace, foreign_service("db-1")).await;
    let before = members(&namespace).await;
    let answer = client.deploy(deploy_at_once(&namespace, "wp", WORDPRESS)).await;
    let refusal = refused(answer, Code::AlreadyExists, "OBJECT_NOT_OWNED");
    assert_eq!(refusal.fact("owner"), "field manager somebody", "{refusal:#?}");
    assert_eq!(members(&namespace).await, before);
    // It is not taken down with the deployment either.
    client.teardown(crate::support::adapter::teardown(&namespace, "wp")).await.expect("torn down");
    let left = everything(&namespace).await;
    assert_eq!(names(&left), ["Service/db-1"]);
    assert_eq!(left["Service/db-1"], before["Service/db-1"]);
}

#[tokio::test]
async fn a_field_changed_by_another_manager_is_a_conflict() {
    let namespace = namespace("owner-field").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "wp", WORDPRESS)).await.expect("deployed");
    let change = json!({"spec": {"ports": [{"port": 3306, "targetPort": 3307}]}});
    let parameters = PatchParams { field_manager: Some("somebody".to_owned()), ..PatchParams::default() };
    let services = namespace.api::<Service>();
    services.patch("db-1", &parameters, &Patch::Strategic(change)).await.expect("a change");
    let before = members(&namespace).await;
    for validate_only in [true, false] {
        let request = proto::DeployRequest { validate_only, ..deploy_at_once(&namespace, "wp", WORDPRESS) };
        let refusal = refused(client.deploy(request).await, Code::FailedPrecondition, "FIELD_CONFLICT");
        assert_eq!(refusal.fact("manager"), "somebody", "{refusal:#?}");
        assert!(refusal.fact("field").contains("targetPort"), "{refusal:#?}");
        assert_eq!(members(&namespace).await, before);
    }
}

#[tokio::test]
async fn replicas_of_another_manager_are_kept_until_the_template_changes() {
    let namespace = namespace("owner-replicas").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "wp", &wordpress_at(2))).await.expect("deployed");
    kubectl_scale(&namespace, 4);
    let kept =
        client.deploy(deploy(&namespace, "wp", &wordpress_at(2))).await.expect("deployed").into_inner();
    assert_eq!(kept.outcome(), proto::DeployOutcome::Unchanged);
    let told = kept.diagnostics.iter().find(|one| one.code == "REPLICAS_KEPT").expect("it is told");
    assert!(told.message.contains("kubectl"), "{told:?}");
    assert_eq!(replicas(&namespace).await, Some(4));
    // Twice: the first taking back must leave no second owner behind.
    for count in [3, 1, 2] {
        let request = deploy(&namespace, "wp", &wordpress_at(count));
        let checked = proto::DeployRequest { validate_only: true, ..request.clone() };
        client.deploy(checked).await.expect("a check that agrees");
        let taken = client.deploy(request).await.expect("deployed").into_inner();
        assert_eq!(taken.outcome(), proto::DeployOutcome::Updated);
        let told = taken.diagnostics.iter().any(|one| one.code == "REPLICAS_TAKEN_BACK");
        assert_eq!(told, count == 3, "{:?}", taken.diagnostics);
        assert_eq!(replicas(&namespace).await, i32::try_from(count).ok());
    }
    // Somebody sets the very count that the template will have: then both own it, and it still can change.
    kubectl_scale(&namespace, 5);
    for count in [5, 3] {
        client.deploy(deploy(&namespace, "wp", &wordpress_at(count))).await.expect("deployed");
        assert_eq!(replicas(&namespace).await, i32::try_from(count).ok());
    }
}

#[tokio::test]
async fn replicas_of_scale_are_kept_until_the_template_changes() {
    let namespace = namespace("owner-scaled").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "wp", WORDPRESS)).await.expect("deployed");
    // Each round: what Scale set stays while the template's count is the same, and goes when it changes.
    for (count, scaled) in [(1, 3), (2, 4), (3, 1)] {
        client.deploy(deploy(&namespace, "wp", &wordpress_at(count))).await.expect("deployed");
        client.scale(scale(&namespace, "wp", "WP", scaled)).await.expect("scaled");
        let kept = client.deploy(deploy(&namespace, "wp", &wordpress_at(count))).await.expect("deployed");
        let kept = kept.into_inner();
        assert_eq!(kept.outcome(), proto::DeployOutcome::Unchanged, "{:?}", kept.changes);
        assert!(kept.diagnostics.iter().any(|one| one.code == "REPLICAS_KEPT"), "{:?}", kept.diagnostics);
        assert_eq!(replicas(&namespace).await, Some(scaled));
        let next = count + 1;
        let request = deploy(&namespace, "wp", &wordpress_at(next));
        let checked = proto::DeployRequest { validate_only: true, ..request.clone() };
        client.deploy(checked).await.expect("a check that agrees");
        let taken = client.deploy(request).await.expect("deployed").into_inner();
        assert!(
            taken.diagnostics.iter().any(|one| one.code == "REPLICAS_TAKEN_BACK"),
            "{:?}",
            taken.diagnostics
        );
        assert_eq!(replicas(&namespace).await, i32::try_from(next).ok());
    }
}

/// How one Scale changes the controller: what it did, and the count before and after.
async fn scaled(adapter: &Adapter, namespace: &Namespace, count: i32) -> (proto::ObjectAction, String) {
    let answer = adapter.deployments().scale(scale(namespace, "wp", "WP", count)).await.expect("scaled");
    let change = answer.into_inner().changes.pop().expect("a change");
    let fields: Vec<String> = change
        .fields
        .iter()
        .map(|field| format!("{:?} {:?} {:?}", field.path, field.before, field.after))
        .collect();
    (change.action(), fields.join("; "))
}

#[tokio::test]
async fn a_scale_tells_the_count_that_it_found_and_writes_none_that_is_there() {
    let namespace = namespace("owner-found").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    adapter.deployments().deploy(deploy(&namespace, "wp", &wordpress_at(2))).await.expect("deployed");
    let found = |before: &str, after: &str| {
        (proto::ObjectAction::Update, format!("{:?} Some({before:?}) Some({after:?})", "spec.replicas"))
    };
    // The template's count becomes Scale's own, and then there is nothing to do.
    assert_eq!(scaled(&adapter, &namespace, 2).await, (proto::ObjectAction::Unchanged, String::new()));
    let controllers = namespace.api::<ReplicationController>();
    let version = async || {
        let controller = controllers.get("wp-replication-controller").await.expect("it is there");
        controller.metadata.managed_fields.expect("managed fields").len()
    };
    let writers = version().await;
    assert_eq!(scaled(&adapter, &namespace, 2).await, (proto::ObjectAction::Unchanged, String::new()));
    assert_eq!(version().await, writers);
    kubectl_scale(&namespace, 4);
    assert_eq!(scaled(&adapter, &namespace, 3).await, found("4", "3"));
    kubectl_scale(&namespace, 3);
    assert_eq!(scaled(&adapter, &namespace, 3).await, (proto::ObjectAction::Unchanged, String::new()));
    assert_eq!(scaled(&adapter, &namespace, 0).await, found("3", "0"));
}

fn kubectl_scale(namespace: &Namespace, count: i32) {
    let mut kubectl = namespace.plane.kubectl(User::Admin);
    let controller = "replicationcontroller/wp-replication-controller";
    kubectl.args(["-n", namespace, "scale", controller, &format!("--replicas={count}")]);
    assert!(kubectl.output().expect("kubectl runs").status.success());
}

async fn replicas(namespace: &Namespace) -> Option<i32> {
    let controllers = namespace.api::<ReplicationController>();
    controllers.get("wp-replication-controller").await.expect("it is there").spec.expect("a spec").replicas
}
