//! The rights in `deploy/served`: enough for everything, and none too many.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::{ReplicationController, Secret, Service};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::api::{ListParams, PostParams};
use panamax_kubernetes_adapter::cluster::{Cluster, Scope, Sight};
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;
use serde_json::json;
use tonic::transport::Channel;

use crate::cluster::events::told_of;
use crate::support::adapter::{Adapter, deploy, deploy_at_once, modern, reason, scale, teardown};
use crate::support::calls::Recorder;
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{Refusal, recorded};
use crate::support::namespace::{Namespace, namespace};
use crate::support::templates::WORDPRESS;

/// A verb and the resource it is for.
pub(super) type Right = (String, String);

/// Gives an account of the namespace what the manifest gives the adapter's.
pub(super) fn apply_manifest(namespace: &Namespace) {
    apply(namespace, "deploy/account.yaml", |text| text);
    apply(namespace, "deploy/served/rights.yaml", |text| text);
}

/// Gives it what an optional manifest gives, under a name of its own.
pub(super) fn apply_optional(namespace: &Namespace, manifest: &str, role: &str) {
    apply(namespace, &format!("deploy/{manifest}/rights.yaml"), |text| {
        text.replace(&format!("panamax-kubernetes-adapter-{manifest}"), role)
    });
}

/// Applies a manifest to a namespace whose account is the adapter's.
fn apply(namespace: &Namespace, manifest: &str, change: impl Fn(String) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(manifest);
    let text = std::fs::read_to_string(path).expect("the manifest");
    let text = change(text.replace("namespace: panamax-adapter", &format!("namespace: {}", &**namespace)));
    let mut kubectl = namespace.plane.kubectl(User::Admin);
    kubectl.args(["apply", "-n", namespace, "-f", "-"]);
    let mut child = kubectl.stdin(Stdio::piped()).spawn().expect("kubectl runs");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("kubectl reads");
    assert!(child.wait().expect("kubectl ends").success());
}

fn keeper_role(namespace: &Namespace) -> String {
    format!("keeper-of-{}", &**namespace)
}

/// An adapter that is nobody but the manifest's ServiceAccount.
async fn adapter(namespace: &Namespace) -> Adapter {
    Adapter::serve(config(namespace).await, None).await
}

/// The way to the API server as the manifest's ServiceAccount, which has its rights by then.
pub(super) async fn config(namespace: &Namespace) -> kube::Config {
    until_may(namespace, true, "get", "configmaps").await;
    let create = ["create", "token", "panamax-kubernetes-adapter", "-n", namespace];
    let output = namespace.plane.kubectl(User::Admin).args(create).output().expect("kubectl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let token = String::from_utf8(output.stdout).expect("a token is text");
    let file = std::fs::read_to_string(namespace.plane.kubeconfig(User::Bob)).expect("a kubeconfig");
    let bob = namespace.plane.token(User::Bob);
    assert!(file.contains(bob), "a kubeconfig holds its user's token");
    let kubeconfig =
        kube::config::Kubeconfig::from_yaml(&file.replace(bob, token.trim())).expect("a kubeconfig");
    let options = kube::config::KubeConfigOptions::default();
    kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("a configuration")
}

/// The rights that the Role gives.
async fn given(namespace: &Namespace) -> BTreeSet<Right> {
    let role = namespace.api::<Role>().get("panamax-kubernetes-adapter").await.expect("the role");
    rights(role.rules)
}

pub(super) fn rights(rules: Option<Vec<PolicyRule>>) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    for rule in rules.expect("rules") {
        for resource in rule.resources.expect("resources") {
            rights.extend(rule.verbs.iter().map(|verb| (verb.clone(), resource.clone())));
        }
    }
    rights
}

#[tokio::test]
async fn the_manifest_gives_exactly_the_rights_that_are_used() {
    let namespace = namespace("cluster-rights").await;
    let mut calls = Recorder::start(control_plane()).namespace(&namespace);
    apply_manifest(&namespace);
    let adapter = adapter(&namespace).await;
    let mut client = adapter.deployments();

    // The whole life of a deployment, as the README tells it.
    client.deploy(deploy(&namespace, "wp", WORDPRESS)).await.expect("deployed");
    client.scale(scale(&namespace, "wp", "WP", 3)).await.expect("scaled");
    let newer = WORDPRESS.replace("mysql:5.5", "mysql:5.6");
    client.deploy(deploy(&namespace, "wp", &newer)).await.expect("deployed again");
    // More revisions than are kept: ten, and the last that was seen ready.
    for number in 7..=17 {
        let newer = WORDPRESS.replace("mysql:5.5", &format!("mysql:5.{number}"));
        client.deploy(deploy_at_once(&namespace, "wp", &newer)).await.expect("deployed once more");
    }
    let revisions = async || {
        let secrets = namespace.api::<Secret>().list(&ListParams::default()).await.expect("secrets").items;
        secrets.iter().filter(|secret| secret.type_.as_deref() == Some("panamax.io/revision")).count()
    };
    // What is beyond goes once the answer is given.
    let pruned = async { while revisions().await > 11 {} };
    tokio::time::timeout(Duration::from_secs(30), pruned).await.expect("ten revisions are kept, and one");
    assert!(revisions().await >= 10);
    let page = proto::ListDeploymentsRequest { namespace: namespace.to_string(), ..Default::default() };
    let page = client.list_deployments(page).await.expect("a list").into_inner();
    assert_eq!(page.deployments.len(), 1);
    let watch = proto::WatchDeploymentRequest {
        namespace: namespace.to_string(),
        name: "wp".to_owned(),
        until: proto::WatchUntil::Ready.into(),
        ..Default::default()
    };
    let mut events = client.watch_deployment(watch).await.expect("a watch").into_inner();
    while events.message().await.expect("an event").is_some() {}
    let full = proto::GetDeploymentRequest {
        namespace: namespace.to_string(),
        name: "wp".to_owned(),
        view: proto::DeploymentView::Full.into(),
    };
    client.get_deployment(full).await.expect("an answer");
    let torn_down = client.teardown(teardown(&namespace, "wp")).await.expect("torn down").into_inner();
    assert!(torn_down.complete);

    modern_life(&namespace, &mut client).await;

    // What stands in the way is looked at before it is named.
    for (kind, name) in [
        ("Pod", "wp-pod"),
        ("Service", "db-1"),
        ("ReplicationController", "wp-replication-controller"),
        ("Deployment", "wp"),
        ("PersistentVolumeClaim", CLAIM),
        ("Secret", "db-environment"),
    ] {
        foreign(&namespace, kind, name).await;
        let count = if kind == "ReplicationController" { 2 } else { 1 };
        let request = deploy(&namespace, "wp", &with_volume(&crate::support::templates::wordpress_at(count)));
        let is_modern = matches!(kind, "Deployment" | "PersistentVolumeClaim" | "Secret");
        let request = if is_modern { modern(request) } else { request };
        let refused = client.deploy(request).await.expect_err("a foreign object");
        assert_eq!(reason(&refused), "OBJECT_NOT_OWNED", "{}", refused.message());
        remove(&namespace, kind, name);
    }

    let account = format!("system:serviceaccount:{}:panamax-kubernetes-adapter", &*namespace);
    let mut used: BTreeSet<Right> = BTreeSet::new();
    for call in calls.calls().iter().filter(|call| call.user == account) {
        assert_ne!(call.code, 403, "{call}");
        used.insert((call.verb.clone(), call.resource.clone()));
        // An apply that makes an object needs the right to create it beside the right to patch.
        if (call.verb.as_str(), call.code) == ("patch", 201) {
            used.insert(("create".to_owned(), call.resource.clone()));
        }
    }
    assert_eq!(used, given(&namespace).await);
}

#[tokio::test]
async fn a_keeper_of_all_namespaces_uses_exactly_the_rights_of_its_manifest() {
    let namespace = namespace("cluster-keeper-rights").await;
    apply_manifest(&namespace);
    let cluster = Cluster::new(config(&namespace).await).expect("a cluster");
    let may = cluster.may_watch_all_heads().await.expect("an answer");
    assert!(!may, "the Role is for one namespace");

    apply_optional(&namespace, "keeper", &keeper_role(&namespace));
    // The API server learns of a new binding a moment later.
    let granted = async { while !cluster.may_watch_all_heads().await.expect("an answer") {} };
    tokio::time::timeout(Duration::from_secs(60), granted).await.expect("granted in time");
    let mut calls = Recorder::start(control_plane());
    assert!(cluster.may_watch_all_heads().await.expect("an answer"));
    cluster.settle_kept(Scope::All, |_| true);
    let mut sights = cluster.watch_heads();
    let listed = async {
        while !matches!(sights.next().await.expect("it goes on").expect("a sight"), Sight::Complete) {}
    };
    tokio::time::timeout(Duration::from_secs(60), listed).await.expect("listed in time");
    let account = format!("system:serviceaccount:{}:panamax-kubernetes-adapter", &*namespace);
    let watched = async {
        // The watch begins once the stream is asked for what comes next.
        tokio::select! {
            _ = async { while sights.next().await.is_some() {} } => unreachable!("a watch does not end"),
            () = until_watched(&mut calls, &account) => {}
        }
    };
    tokio::time::timeout(Duration::from_secs(60), watched).await.expect("watched in time");

    let admin = namespace.plane.client(User::Admin).await;
    let role = kube::Api::<ClusterRole>::all(admin).get(&keeper_role(&namespace)).await.expect("the role");
    let own = calls.calls().iter().filter(|call| call.user == account);
    let used: BTreeSet<Right> = own.map(|call| (call.verb.clone(), call.resource.clone())).collect();
    assert_eq!(used, rights(role.rules));
}

/// Waits until the audit log has a watch of the account's.
async fn until_watched(calls: &mut Recorder, account: &str) {
    while !calls.calls().iter().any(|call| call.user == account && call.verb == "watch") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The claim of the volume that [`with_volume`] gives WP.
const CLAIM: &str = "wp-bd47413b";

/// The template with a volume for WP.
fn with_volume(template: &str) -> String {
    template.replace("  links:\n", "  volumes:\n  - container_path: /data\n  links:\n")
}

/// The life of a deployment with profile MODERN: Secrets, claims and apps Deployments.
async fn modern_life(namespace: &Namespace, client: &mut DeploymentServiceClient<Channel>) {
    let template = with_volume(WORDPRESS);
    client.deploy(modern(deploy(namespace, "wp", &template))).await.expect("deployed");
    client.scale(scale(namespace, "wp", "DB", 2)).await.expect("scaled");
    let newer = template.replace("pass@word01", "another");
    client.deploy(modern(deploy(namespace, "wp", &newer))).await.expect("deployed again");
    // What it leaves behind when it is deleted alone goes, too.
    let orphaned = ["delete", "deployment", "wp", "-n", namespace, "--cascade=orphan"];
    let output = namespace.plane.kubectl(User::Harness).args(orphaned).output().expect("kubectl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut torn_down = teardown(namespace, "wp");
    torn_down.set_volumes(proto::VolumePolicy::Delete);
    assert!(client.teardown(torn_down).await.expect("torn down").into_inner().complete);
}

/// Puts an object of somebody else's into the namespace.
async fn foreign(namespace: &Namespace, kind: &str, name: &str) {
    let container = json!({"containers": [{"name": "x", "image": "example/x:1"}]});
    let spec = match kind {
        "Service" => json!({"ports": [{"port": 1}]}),
        "Pod" => container,
        "Secret" => json!(null),
        "PersistentVolumeClaim" => {
            json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}})
        }
        "Deployment" => {
            json!({"replicas": 0, "selector": {"matchLabels": {"x": "y"}}, "template": {"metadata": {"labels": {"x": "y"}}, "spec": container}})
        }
        _ => {
            json!({"replicas": 0, "selector": {"x": "y"}, "template": {"metadata": {"labels": {"x": "y"}}, "spec": container}})
        }
    };
    let group = if kind == "Deployment" { "apps" } else { "" };
    let gvk = kube::core::GroupVersionKind::gvk(group, "v1", kind);
    let resource = kube::api::ApiResource::from_gvk(&gvk);
    let mut object = json!({"apiVersion": resource.api_version, "kind": kind, "metadata": {"name": name}});
    if !spec.is_null() {
        object["spec"] = spec;
    }
    let api: kube::Api<kube::api::DynamicObject> =
        kube::Api::namespaced_with(namespace.client.clone(), namespace, &resource);
    let object = serde_json::from_value(object).expect("an object");
    api.create(&PostParams::default(), &object).await.expect("it is made");
}

/// Removes it again and waits until it is gone.
fn remove(namespace: &Namespace, kind: &str, name: &str) {
    let arguments = ["delete", kind, name, "-n", namespace, "--now", "--wait"];
    let output = namespace.plane.kubectl(User::Harness).args(arguments).output().expect("kubectl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn without_the_rights_nothing_is_done_and_the_right_is_named() {
    let namespace = namespace("cluster-no-rights").await;
    let adapter = Adapter::real(control_plane(), User::Alice).await;
    let refused =
        adapter.deployments().deploy(deploy(&namespace, "wp", WORDPRESS)).await.expect_err("no rights");
    assert_eq!(reason(&refused), "CLUSTER_FORBIDDEN");
    assert!(refused.message().ends_with("the right to get configmaps"), "{}", refused.message());
    let services = namespace.api::<Service>().list(&ListParams::default()).await.expect("a list");
    assert!(services.items.is_empty());
}

/// Waits until the API server has learned what the manifest's account may do: that is a moment after it was written.
async fn until_may(namespace: &Namespace, may: bool, verb: &str, resource: &str) {
    let user = format!("system:serviceaccount:{}:panamax-kubernetes-adapter", &**namespace);
    let review = json!({"metadata": {}, "spec": {"user": user, "groups": ["system:serviceaccounts"], "resourceAttributes":
        {"namespace": &**namespace, "verb": verb, "resource": resource}}});
    let review: SubjectAccessReview = serde_json::from_value(review).expect("a review");
    let reviews = kube::Api::all(namespace.plane.client(User::Admin).await);
    let learned = async {
        loop {
            let reviewed = reviews.create(&PostParams::default(), &review).await.expect("an answer");
            if reviewed.status.expect("a verdict").allowed == may {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), learned).await.expect("learned in time");
}

#[tokio::test]
async fn without_the_right_to_events_everything_else_works() {
    let namespace = namespace("cluster-no-events").await;
    apply_manifest(&namespace);
    let admin = namespace.plane.client(User::Admin).await;
    let roles: kube::Api<Role> = kube::Api::namespaced(admin, &namespace);
    let mut role = roles.get("panamax-kubernetes-adapter").await.expect("the role");
    let is_of_events =
        |rule: &PolicyRule| rule.resources.iter().flatten().any(|resource| resource == "events");
    role.rules.as_mut().expect("rules").retain(|rule| !is_of_events(rule));
    roles.replace("panamax-kubernetes-adapter", &PostParams::default(), &role).await.expect("written");
    until_may(&namespace, false, "create", "events").await;
    let adapter = adapter(&namespace).await;
    let mut client = adapter.deployments();
    let mut calls = Recorder::start(control_plane()).namespace(&namespace);
    let newer = WORDPRESS.replace("mysql:5.5", "mysql:5.6");
    for template in [WORDPRESS, &newer] {
        client.deploy(deploy(&namespace, "wp", template)).await.expect("deployed");
    }
    let get = proto::GetDeploymentRequest {
        namespace: namespace.to_string(),
        name: "wp".to_owned(),
        view: proto::DeploymentView::Full.into(),
    };
    let answer = client.get_deployment(get).await.expect("an answer").into_inner();
    let deployment = answer.deployment.expect("a deployment");
    assert_eq!((deployment.events.len(), deployment.state()), (0, proto::DeploymentState::Active));
    client.teardown(teardown(&namespace, "wp")).await.expect("torn down");
    let of_events = calls.calls().iter().filter(|call| call.resource == "events" && call.verb == "create");
    assert!(of_events.count() <= 1, "once refused, it is not tried again for a while");
}

#[tokio::test]
async fn a_former_workload_that_could_not_be_deleted_is_told_and_goes_later() {
    let namespace = namespace("cluster-undeleted").await;
    apply_manifest(&namespace);
    let adapter = adapter(&namespace).await;
    let mut client = adapter.deployments();
    let template = crate::support::templates::wordpress_at(2);
    client.deploy(deploy(&namespace, "wp", &template)).await.expect("deployed");
    // Everything but the right to delete ReplicationControllers.
    let admin = namespace.plane.client(User::Admin).await;
    let roles: kube::Api<Role> = kube::Api::namespaced(admin, &namespace);
    let mut role = roles.get("panamax-kubernetes-adapter").await.expect("the role");
    let rules = role.rules.as_mut().expect("rules");
    let mut fewer = rules[0].clone();
    rules[0].resources.as_mut().expect("resources").retain(|resource| resource != "replicationcontrollers");
    fewer.resources = Some(vec!["replicationcontrollers".to_owned()]);
    fewer.verbs.retain(|verb| verb != "delete");
    rules.push(fewer);
    roles.replace("panamax-kubernetes-adapter", &PostParams::default(), &role).await.expect("written");
    until_may(&namespace, false, "delete", "replicationcontrollers").await;

    let failed = client.deploy(modern(deploy(&namespace, "wp", &template))).await;
    let refusal = Refusal::of(&failed.expect_err("it cannot be deleted"));
    assert_eq!(refusal.reason, "APPLY_INCOMPLETE", "{refusal:?}");
    // DB's Pod could be deleted.
    let failed = refusal.fact("objects");
    assert_eq!(failed, "ReplicationController wp-replication-controller: ClusterForbidden");
    let get =
        proto::GetDeploymentRequest { namespace: namespace.to_string(), name: "wp".to_owned(), view: 0 };
    let runs_twice = async {
        loop {
            let answer = client.get_deployment(get.clone()).await.expect("an answer").into_inner();
            let deployment = answer.deployment.expect("a deployment");
            assert_ne!(deployment.state(), proto::DeploymentState::Active, "{deployment:?}");
            if deployment.message.contains("is still to be deleted") {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), runs_twice).await.expect("told in time");
    let told = told_of(&namespace, "PruneRefused").await;
    let refusals = told.iter().filter(|(reason, _, _)| reason == "PruneRefused").collect::<Vec<_>>();
    let [(_, kind, message)] = refusals.as_slice() else { panic!("told once: {told:#?}") };
    assert_eq!(kind, "Warning");
    assert_eq!(
        message,
        "ReplicationController wp-replication-controller is to go and was refused to be deleted: CLUSTER_FORBIDDEN"
    );
    apply_manifest(&namespace);
    recorded(&namespace, "wp", "ACTIVE").await;
    let controllers = namespace.api::<ReplicationController>();
    let going = controllers.get_opt("wp-replication-controller").await.expect("a look");
    assert!(going.is_none_or(|one| one.metadata.deletion_timestamp.is_some()));
}
