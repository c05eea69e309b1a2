//! Removal with proof: a record goes only when nothing of its deployment is left, and what holds it up is named.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Pod, ReplicationController, Secret, Service};
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams, Patch, PostParams};
use panamax_kubernetes_adapter::proto;
use serde_json::json;

use crate::support::adapter::{Adapter, deploy, modern, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{
    as_read, everything, members, names, pod_uids, recorded, refused, remove, until,
};
use crate::support::namespace::{Namespace, namespace};
use crate::support::policy::Policy;
use crate::support::survey::Survey;

/// A replicated component with a Service.
const WEB: &str = "name: Web\nimages:\n- name: web\n  source: example/web:1\n  deployment: {count: 3}\n  ports: [{host_port: 80, container_port: 80}]\n";
/// The same, and one more.
const TWO: &str = "name: Web\nimages:\n- name: web\n  source: example/web:1\n  deployment: {count: 2}\n  ports: [{host_port: 80, container_port: 80}]\n- name: db\n  source: example/db:1\n  ports: [{host_port: 81, container_port: 81}]\n";

/// Deletes an object and leaves what it owns.
fn orphan(namespace: &Namespace, kind: &str, name: &str) {
    let arguments = ["delete", kind, name, "-n", namespace, "--cascade=orphan"];
    let output = namespace.plane.kubectl(User::Harness).args(arguments).output().expect("kubectl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Puts a copy of a pod beside it, as a person does who wants to look into it.
async fn copy(namespace: &Namespace, of: &str) -> String {
    let pods: Api<Pod> = namespace.api();
    let original = pods.get(of).await.expect("the pod");
    let mut copy = Pod { spec: original.spec.clone(), ..Pod::default() };
    copy.metadata.name = Some(format!("{of}-copy"));
    copy.metadata.generate_name = original.metadata.generate_name.clone();
    copy.metadata.labels = original.metadata.labels.clone();
    if let Some(spec) = copy.spec.as_mut() {
        spec.node_name = None;
    }
    pods.create(&PostParams::default(), &copy).await.expect("a copy").name_any()
}

#[tokio::test]
async fn what_has_lost_its_controller_goes_and_a_persons_copy_stays() {
    let namespace = namespace("removal-orphans").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    for (is_modern, kind, name) in [(false, "rc", "web-replication-controller"), (true, "deployment", "web")]
    {
        let request = deploy(&namespace, "web", WEB);
        let request = if is_modern { modern(request) } else { request };
        adapter.deployments().deploy(request).await.expect("deployed");
        orphan(&namespace, kind, name);
        let pods = namespace.api::<Pod>().list(&ListParams::default()).await.expect("pods").items;
        assert_eq!(pods.len(), 3, "they run on");
        // A ReplicaSet that runs on would take a copy over.
        let copied = if is_modern { None } else { Some(copy(&namespace, &pods[0].name_any()).await) };
        let gone = adapter
            .deployments()
            .teardown(teardown(&namespace, "web"))
            .await
            .expect("torn down")
            .into_inner();
        assert!(gone.complete);
        let left = everything(&namespace).await;
        let copied: Vec<String> = copied.into_iter().map(|name| format!("Pod/{name}")).collect();
        assert_eq!(names(&left), copied, "nothing but the copy");
        let survey = Survey::of(&namespace.client, &namespace).await;
        assert_eq!(survey.of_kind("ReplicaSet").count(), 0, "{:#?}", survey.names());
        for name in copied {
            remove::<Pod>(&namespace, name.trim_start_matches("Pod/")).await;
        }
    }
}

/// What a backup tool saves of an object and creates again: no uid, no version, no owner.
fn saved(object: &DynamicObject) -> DynamicObject {
    let mut saved = object.clone();
    let metadata = &mut saved.metadata;
    (metadata.uid, metadata.resource_version, metadata.owner_references) = (None, None, None);
    (metadata.managed_fields, metadata.creation_timestamp, metadata.generation) = (None, None, None);
    if let Some(spec) = saved.data.pointer_mut("/spec").and_then(|spec| spec.as_object_mut()) {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
        spec.remove("nodeName");
    }
    saved
}

#[tokio::test]
async fn a_restored_deployment_leaves_nothing_revisions_least_of_all() {
    let namespace = namespace("removal-restored").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let template = format!(
        "{WEB}- name: db\n  source: example/db:1\n  environment: [{{variable: PASSWORD, value: one}}]\n"
    );
    adapter.deployments().deploy(deploy(&namespace, "web", &template)).await.expect("deployed");
    recorded(&namespace, "web", "ACTIVE").await;
    let survey = Survey::of(&namespace.client, &namespace).await;
    let is_ours = |object: &DynamicObject| object.labels().contains_key("app.kubernetes.io/instance");
    let ours = survey.objects.iter().filter(|(_, object)| is_ours(object));
    let objects: Vec<(String, DynamicObject)> =
        ours.map(|(name, object)| (name.clone(), saved(object))).collect();
    // Without the adapter: it would see to what is left.
    let arguments =
        ["delete", "all,configmap,secret", "-n", &*namespace, "-l", "app.kubernetes.io/instance=web"];
    let output =
        namespace.plane.kubectl(User::Harness).args(arguments).arg("--now").output().expect("kubectl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let begun = Instant::now();
    while !everything(&namespace).await.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{:#?}", everything(&namespace).await);
    }
    for (name, object) in &objects {
        let (kind, _) = name.split_once(' ').expect("a kind and a name");
        let resource = kube::api::ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk("", "v1", kind));
        let object = DynamicObject {
            types: Some(kube::core::TypeMeta { api_version: "v1".to_owned(), kind: kind.to_owned() }),
            ..object.clone()
        };
        let api: Api<DynamicObject> = Api::namespaced_with(namespace.client.clone(), &namespace, &resource);
        api.create(&PostParams::default(), &object).await.expect("restored");
    }
    let gone =
        adapter.deployments().teardown(teardown(&namespace, "web")).await.expect("torn down").into_inner();
    assert!(gone.complete);
    assert_eq!(names(&everything(&namespace).await), Vec::<&str>::new());
}

/// The pods of the namespace that stay, by the kind of what controls them.
async fn pods_of(namespace: &Namespace, kind: &str) -> Vec<String> {
    let pods = namespace.api::<Pod>().list(&ListParams::default()).await.expect("pods").items;
    let controller = |pod: &Pod| {
        let mut owners = pod.metadata.owner_references.clone().into_iter().flatten();
        owners.find(|owner| owner.controller == Some(true)).map(|owner| owner.kind).unwrap_or_default()
    };
    let stays = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none();
    pods.iter().filter(stays).filter(|pod| controller(pod) == kind).map(ResourceExt::name_any).collect()
}

#[tokio::test]
async fn what_a_lost_controller_has_left_keeps_its_component_from_being_ready() {
    let namespace = namespace("removal-beside").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let request = |is_modern: bool| {
        let request = deploy(&namespace, "web", WEB);
        if is_modern { modern(request) } else { request }
    };
    // From one kind to the other and back, each time with the controller lost in between.
    adapter.deployments().deploy(request(false)).await.expect("deployed");
    orphan(&namespace, "rc", "web-replication-controller");
    let lost = pods_of(&namespace, "").await;
    assert_eq!(lost.len(), 3);
    let copied = copy(&namespace, &lost[0]).await;
    adapter.deployments().deploy(request(true)).await.expect("ready");
    assert_eq!(pods_of(&namespace, "").await, [copied.as_str()], "a person's copy alone stays");
    assert_eq!(pods_of(&namespace, "ReplicaSet").await.len(), 3);
    remove::<Pod>(&namespace, &copied).await;
    orphan(&namespace, "deployment", "web");
    adapter.deployments().deploy(request(false)).await.expect("ready");
    assert_eq!(pods_of(&namespace, "ReplicaSet").await, [""; 0]);
    assert_eq!(pods_of(&namespace, "ReplicationController").await.len(), 3);
    let survey = Survey::of(&namespace.client, &namespace).await;
    assert_eq!(survey.of_kind("ReplicaSet").count(), 0, "{:#?}", survey.names());
    adapter.deployments().teardown(teardown(&namespace, "web")).await.expect("torn down");
}

#[tokio::test]
async fn what_somebody_has_created_again_stays_and_is_named() {
    const NAME: &str = "web-replication-controller";
    let namespace = namespace("removal-again").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    adapter.deployments().deploy(deploy(&namespace, "web", WEB)).await.expect("deployed");
    recorded(&namespace, "web", "ACTIVE").await;
    // Deleted and created again from what was read of it, labels and all.
    let controllers: Api<ReplicationController> = namespace.api();
    let found = controllers.get(NAME).await.expect("a controller");
    orphan(&namespace, "rc", NAME);
    let copy = serde_json::from_value(as_read(serde_json::to_value(found).expect("JSON"))).expect("a copy");
    let other = controllers.create(&PostParams::default(), &copy).await.expect("created again");
    let other = other.uid().expect("a uid");
    let is_ready = |controller: Option<&ReplicationController>| {
        let status = controller.and_then(|controller| controller.status.as_ref());
        status.is_some_and(|status| status.ready_replicas == Some(3))
    };
    until(&namespace, NAME, is_ready).await;
    let pods = pod_uids(&members(&namespace).await);

    let check = proto::DeployRequest { validate_only: true, ..deploy(&namespace, "web", WEB) };
    let refusal =
        refused(adapter.deployments().deploy(check).await, tonic::Code::AlreadyExists, "OBJECT_NOT_OWNED");
    assert!(refusal.message.contains("deployment web, which has not created it"), "{refusal:#?}");

    // Without grace, so that a pod that is asked to go is gone.
    let request = proto::TeardownRequest {
        grace_period: Some(prost_types::Duration { seconds: 0, nanos: 0 }),
        ..teardown(&namespace, "web")
    };
    let before = everything(&namespace).await;
    for validate_only in [true, false] {
        let request = proto::TeardownRequest { validate_only, ..request.clone() };
        let torn_down = adapter.deployments().teardown(request).await.expect("an answer").into_inner();
        assert_eq!(torn_down.complete, !validate_only, "{torn_down:#?}");
        let told: Vec<_> = torn_down.changes.iter().map(|one| (one.action(), one.r#ref.clone())).collect();
        let kept = told.iter().filter(|(action, _)| *action == proto::ObjectAction::Keep);
        let kept: Vec<_> =
            kept.filter_map(|(_, object)| object.as_ref()).map(|one| (&one.name, &one.uid)).collect();
        assert_eq!(kept, [(&NAME.to_owned(), &other)], "{told:#?}");
        let deleted = told.iter().filter(|(action, _)| *action == proto::ObjectAction::Delete);
        let deleted: Vec<_> =
            deleted.filter_map(|(_, object)| object.as_ref()).map(|one| &one.kind).collect();
        assert_eq!(deleted, ["Service"], "{told:#?}");
        if validate_only {
            assert_eq!(everything(&namespace).await, before);
        }
    }
    let left = everything(&namespace).await;
    assert_eq!(left[&format!("ReplicationController/{NAME}")].0, other, "it stays");
    assert_eq!((left.len(), pod_uids(&left)), (4, pods), "and so do its pods, and nothing else");
}

#[tokio::test]
async fn what_holds_a_teardown_up_is_named_and_it_ends_by_itself() {
    let namespace = namespace("removal-held").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    adapter.deployments().deploy(deploy(&namespace, "web", WEB)).await.expect("deployed");
    recorded(&namespace, "web", "ACTIVE").await;
    let secrets: Api<Secret> = namespace.api();
    let secret = secrets.list(&ListParams::default()).await.expect("secrets").items[0].name_any();
    let held = json!({ "metadata": { "finalizers": ["backup.example.com/hold"] } });
    secrets.patch(&secret, &Default::default(), &Patch::Merge(&held)).await.expect("held");
    let none =
        || proto::TeardownRequest { wait: proto::TeardownWait::None.into(), ..teardown(&namespace, "web") };
    let begun = Instant::now();
    adapter.deployments().teardown(none()).await.expect("it begins");
    let told = async {
        loop {
            let again = adapter.deployments().teardown(none()).await.expect("it goes on").into_inner();
            assert!(!again.complete, "{again:#?}");
            let named = |one: &proto::BlockedObject| {
                let object = one.object.as_ref().expect("an object");
                object.kind == "Secret"
                    && object.name == secret
                    && one.finalizers == ["backup.example.com/hold"]
            };
            if again.blocked.iter().any(|one| named(one) && one.since.is_some()) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), told).await.expect("told in time");
    assert!(begun.elapsed() < Duration::from_secs(40), "NONE does not wait for it");
    // Whoever asks again and again leaves nothing behind in the adapter.
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let again = (0..20).map(|_| async { adapter.deployments().teardown(none()).await.expect("it goes on") });
    futures::future::join_all(again).await;
    assert!(tasks() < before + 10, "{before} tasks before, {} after", tasks());
    let get =
        proto::GetDeploymentRequest { namespace: namespace.to_string(), name: "web".to_owned(), view: 0 };
    let seen =
        adapter.deployments().get_deployment(get).await.expect("seen").into_inner().deployment.expect("one");
    assert_eq!(seen.state(), proto::DeploymentState::Deleting);
    assert!(
        seen.message.contains(&secret) && seen.message.contains("backup.example.com/hold"),
        "{}",
        seen.message
    );
    let lifted = json!({ "metadata": { "finalizers": null } });
    secrets.patch(&secret, &Default::default(), &Patch::Merge(&lifted)).await.expect("lifted");
    let gone = async {
        let heads: Api<ConfigMap> = namespace.api();
        while heads.get_opt("panamax-deployment-web").await.expect("a look").is_some() {}
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.expect("it ends by itself");
    assert!(members(&namespace).await.is_empty());
}

/// How soon the garbage collector tries again what was refused for some seconds, and some more.
const RECOVERY: Duration = Duration::from_secs(90);

/// Tears down what a policy keeps something of, hears who that is from everybody who is asked, and sees it end by itself.
async fn kept_by(adapter: &Adapter, namespace: &Namespace, policy: Policy, kind: &str) {
    let wait_timeout = Some(prost_types::Duration { seconds: 15, nanos: 0 });
    let request = proto::TeardownRequest { wait_timeout, ..teardown(namespace, "web") };
    let refusal =
        refused(adapter.deployments().teardown(request).await, tonic::Code::DeadlineExceeded, "WAIT_TIMEOUT");
    let told = [kind, &policy.name, "since"];
    assert!(told.iter().all(|part| refusal.message.contains(part)), "{told:?}: {refusal:#?}");
    let get =
        proto::GetDeploymentRequest { namespace: namespace.to_string(), name: "web".to_owned(), view: 0 };
    let seen = adapter.deployments().get_deployment(get).await.expect("seen").into_inner();
    let message = seen.deployment.expect("a deployment").message;
    assert!(told.iter().all(|part| message.contains(part)), "{told:?}: {message}");
    let none =
        proto::TeardownRequest { wait: proto::TeardownWait::None.into(), ..teardown(namespace, "web") };
    let again = adapter.deployments().teardown(none).await.expect("it goes on").into_inner();
    let is_told = |one: &proto::BlockedObject| one.message.contains(&policy.name) && one.since.is_some();
    assert!(again.blocked.iter().any(is_told), "{again:#?}");
    policy.lift(namespace).await;
    let begun = Instant::now();
    while !everything(namespace).await.is_empty() {
        assert!(begun.elapsed() < RECOVERY, "{:#?}", everything(namespace).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_policy_that_keeps_what_the_garbage_collector_deletes_is_named() {
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let cases = [
        ("removal-kept-pods", false, "", "pods", "web-", "Pod web-"),
        ("removal-kept-modern", true, "", "pods", "web-", "Pod web-"),
        ("removal-kept-sets", true, "apps", "replicasets", "web-", "ReplicaSet web-"),
        (
            "removal-kept-secrets",
            false,
            "",
            "secrets",
            "panamax-deployment-web-r",
            "Secret panamax-deployment-web-r",
        ),
    ];
    // Each waits for the adapter's question and then for the garbage collector, so they wait together.
    let cases = cases.map(|(name, is_modern, group, resource, prefix, kind)| {
        let adapter = &adapter;
        async move {
            let namespace = namespace(name).await;
            let request = deploy(&namespace, "web", WEB);
            let request = if is_modern { modern(request) } else { request };
            adapter.deployments().deploy(request).await.expect("deployed");
            recorded(&namespace, "web", "ACTIVE").await;
            let policy = Policy::keeps_of(&namespace, group, &[resource], prefix).await;
            kept_by(adapter, &namespace, policy, kind).await;
        }
    });
    futures::future::join_all(cases).await;
}

#[tokio::test]
async fn a_policy_that_keeps_pods_of_a_former_workload_is_named() {
    let namespace = namespace("removal-former").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    adapter.deployments().deploy(deploy(&namespace, "web", WEB)).await.expect("deployed");
    recorded(&namespace, "web", "ACTIVE").await;
    let policy = Policy::keeps_of(&namespace, "", &["pods"], "web-replication-controller").await;
    let request = proto::DeployRequest { wait: 0, ..modern(deploy(&namespace, "web", WEB)) };
    adapter.deployments().deploy(request).await.expect("deployed");
    let get =
        || proto::GetDeploymentRequest { namespace: namespace.to_string(), name: "web".to_owned(), view: 0 };
    let begun = Instant::now();
    loop {
        let seen = adapter.deployments().get_deployment(get()).await.expect("seen").into_inner();
        let seen = seen.deployment.expect("a deployment");
        if seen.message.contains("Pod web-replication-controller-") && seen.message.contains(&policy.name) {
            assert_eq!(seen.state(), proto::DeploymentState::Degraded, "{seen:#?}");
            break;
        }
        assert!(begun.elapsed() < RECOVERY, "{seen:#?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    policy.lift(&namespace).await;
    recorded(&namespace, "web", "ACTIVE").await;
    let begun = Instant::now();
    while !pods_of(&namespace, "ReplicationController").await.is_empty() {
        assert!(begun.elapsed() < RECOVERY, "{:#?}", everything(&namespace).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    adapter.deployments().teardown(teardown(&namespace, "web")).await.expect("torn down");
}

#[tokio::test]
async fn a_deploy_that_only_deletes_makes_no_revision() {
    let namespace = namespace("removal-prune").await;
    // A controller has a Service of its own.
    let two = TWO.replace("example/db:1\n", "example/db:1\n  deployment: {count: 2}\n");
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    adapter.deployments().deploy(deploy(&namespace, "web", &two)).await.expect("deployed");
    let services: Api<Service> = namespace.api();
    let held = json!({ "metadata": { "finalizers": ["dns.example.com/record"] } });
    let service = services.list(&ListParams::default()).await.expect("services").items;
    let service = service.iter().find(|one| one.name_any().contains("db")).expect("its Service").name_any();
    services.patch(&service, &Default::default(), &Patch::Merge(&held)).await.expect("held");
    let fewer = TWO.split("- name: db").next().expect("a template").to_owned();
    let revision = |answer: proto::DeployResponse| answer.deployment.expect("a deployment").revision;
    let first =
        adapter.deployments().deploy(deploy(&namespace, "web", &fewer)).await.expect("pruned").into_inner();
    let first = revision(first);
    let again =
        adapter.deployments().deploy(deploy(&namespace, "web", &fewer)).await.expect("again").into_inner();
    assert_eq!(revision(again), first, "nothing but a delete was left to do");
    let lifted = json!({ "metadata": { "finalizers": null } });
    services.patch(&service, &Default::default(), &Patch::Merge(&lifted)).await.expect("lifted");
    adapter.deployments().teardown(teardown(&namespace, "web")).await.expect("torn down");
}
