//! Profile MODERN on the real control plane: apps Deployments and Secrets, from the first Deploy to the last trace.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment as AppsDeployment;
use k8s_openapi::api::core::v1::{Namespace as CoreNamespace, Pod, Secret};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use panamax_kubernetes_adapter::proto;
use serde_json::json;
use tonic::Code;

use crate::support::adapter::{Adapter, deploy, deploy_at_once, modern, scale, teardown};
use crate::support::calls::{Recorder, counted, makes, makes_unchanged};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{action, eventually, everything, members, recorded, refused, same};
use crate::support::namespace::{Namespace, namespace};
use crate::support::survey::Survey;
use crate::support::templates::{WORDPRESS, rich_chain, wordpress_at};

/// A password that must never be seen outside its Secret.
const CANARY: &str = "canary-in-a-secret";

/// Lets the namespace refuse what Pod Security's level `baseline` refuses.
async fn enforce_baseline(namespace: &Namespace) {
    let namespaces: Api<CoreNamespace> = Api::all(namespace.client.clone());
    let label = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}});
    let patched = namespaces.patch(namespace, &PatchParams::default(), &Patch::Merge(label)).await;
    patched.expect("a namespace can be labelled");
}

/// The uids of the pods of a component.
async fn pods(namespace: &Namespace, component: &str) -> Vec<String> {
    let of_component = ListParams::default().labels(&format!("name={component}"));
    let pods = namespace.api::<Pod>().list(&of_component).await.expect("a list").items;
    let mut uids: Vec<String> = pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .filter_map(ResourceExt::uid)
        .collect();
    uids.sort();
    uids
}

/// Waits until a component has exactly so many pods that stay.
async fn until_pods(namespace: &Namespace, component: &str, count: u32) {
    use futures::StreamExt;
    use kube::runtime::{WatchStreamExt, reflector, watcher};
    let (store, writer) = reflector::store();
    let config = watcher::Config::default().labels(&format!("name={component}"));
    let events = watcher(namespace.api::<Pod>(), config).default_backoff().reflect(writer);
    let mut events = std::pin::pin!(events);
    let met = async {
        while let Some(event) = events.next().await {
            // While the first list comes in, the store knows nothing yet.
            let is_known = !matches!(event, Err(_) | Ok(watcher::Event::Init | watcher::Event::InitApply(_)));
            if is_known && u32::try_from(store.state().len()) == Ok(count) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), met).await.expect("the other pods go in time");
}

#[tokio::test]
async fn the_seeds_sample_lives_under_pod_security() {
    let namespace = namespace("modern-life").await;
    enforce_baseline(&namespace).await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let before = everything(&namespace).await;
    // The seed's own form takes ports of nodes.
    let classic = client.deploy(deploy(&namespace, "wp", WORDPRESS)).await;
    refused(classic, Code::FailedPrecondition, "ADMISSION_DENIED");
    // On a busy machine the answer does not wait for all of it to go.
    eventually(async || same(&everything(&namespace).await, &before)).await;

    let template = WORDPRESS.replace("pass@word01", CANARY);
    let answer = client.deploy(modern(deploy(&namespace, "wp", &template))).await.expect("deployed");
    let answer = answer.into_inner();
    assert_eq!(answer.warnings, [""; 0]);
    assert!(!format!("{answer:?}").contains(CANARY), "{answer:?}");
    let deployment = answer.deployment.expect("a deployment");
    assert_eq!(deployment.state(), proto::DeploymentState::Active);
    for component in &deployment.components {
        let workload = component.workload.as_ref().expect("a workload");
        assert_eq!((workload.group.as_str(), workload.kind.as_str()), ("apps", "Deployment"));
        let counts = [component.desired_replicas(), component.ready_replicas(), component.updated_replicas()];
        assert_eq!(counts, [1, 1, 1], "{component:?}");
    }
    let secret = namespace.api::<Secret>().get("db-environment").await.expect("a Secret");
    assert_eq!(secret.data.expect("data")["MYSQL_ROOT_PASSWORD"].0, CANARY.as_bytes());
    assert_eq!(Survey::of(&namespace.client, &namespace).await.faults("wp"), [""; 0]);

    let scaled = client.scale(scale(&namespace, "wp", "WP", 3)).await.expect("scaled").into_inner();
    assert_eq!(scaled.deployment.expect("a deployment").components[0].ready_replicas(), 3);
    recorded(&namespace, "wp", "ACTIVE").await;
    let members_then = members(&namespace).await;
    let again = client.deploy(modern(deploy(&namespace, "wp", &template))).await.expect("deployed again");
    let again = again.into_inner();
    assert_eq!(again.outcome(), proto::DeployOutcome::Unchanged, "{:#?}", again.changes);
    assert!(again.diagnostics.iter().any(|one| one.code == "REPLICAS_KEPT"), "{:?}", again.diagnostics);
    assert_eq!(members(&namespace).await, members_then);

    a_secret_value_renews_the_pods(&namespace, &adapter, &template).await;

    client.teardown(teardown(&namespace, "wp")).await.expect("torn down");
    assert_eq!(Survey::of(&namespace.client, &namespace).await.names(), [""; 0]);
    assert_eq!(everything(&namespace).await, before);
}

/// Changes the value that both components read, and looks at what became of the pods.
async fn a_secret_value_renews_the_pods(namespace: &Namespace, adapter: &Adapter, template: &str) {
    let mut client = adapter.deployments();
    let old = [pods(namespace, "wp").await, pods(namespace, "db").await];
    let newer = template.replace(CANARY, "another-canary");
    let answer = client.deploy(modern(deploy(namespace, "wp", &newer))).await.expect("deployed").into_inner();
    assert_eq!(action(&answer.changes, "Secret/db-environment"), proto::ObjectAction::Update);
    assert!(!format!("{answer:?}").contains("canary"), "{answer:?}");
    let deployment = answer.deployment.expect("a deployment");
    assert_eq!(deployment.state(), proto::DeploymentState::Active);
    let updated = deployment.components.iter().map(|one| one.updated_replicas());
    assert_eq!(updated.collect::<Vec<_>>(), [3, 1]);
    let new = [pods(namespace, "wp").await, pods(namespace, "db").await];
    for (old, new) in old.iter().zip(&new) {
        assert_eq!(old.len(), new.len());
        assert!(new.iter().all(|uid| !old.contains(uid)), "every pod is another: {old:?}, {new:?}");
    }
    let request = proto::GetDeploymentRequest {
        namespace: namespace.to_string(),
        name: "wp".to_owned(),
        view: proto::DeploymentView::Full.into(),
    };
    let full = client.get_deployment(request).await.expect("a deployment").into_inner();
    let deployment = full.deployment.expect("a deployment");
    assert_eq!(deployment.components.iter().map(|one| one.pods.len()).collect::<Vec<_>>(), [3, 1]);
    assert!(!format!("{deployment:?}").contains("canary"), "{deployment:?}");
}

#[tokio::test]
async fn workloads_change_their_kind_and_back() {
    let namespace = namespace("modern-switch").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    // WP runs as a ReplicationController and DB as a Pod, then both as apps Deployments.
    let template = wordpress_at(2);
    let mut services = Vec::new();
    for round in 0..4 {
        let classic = deploy(&namespace, "wp", &template);
        let request = if round % 2 == 0 { classic } else { modern(classic) };
        let keep = proto::DeployOptions {
            prune: proto::PrunePolicy::Keep.into(),
            ..request.options.clone().unwrap_or_default()
        };
        // What would run a component twice goes even where removed objects are kept.
        let request =
            if round == 2 { proto::DeployRequest { options: Some(keep), ..request } } else { request };
        let answer = client.deploy(request).await.expect("deployed").into_inner();
        let deployment = answer.deployment.expect("a deployment");
        assert_eq!(deployment.state(), proto::DeploymentState::Active);
        let counts = deployment.components.iter().map(|one| (one.ready_replicas(), one.updated_replicas()));
        // What Scale has set goes over from kind to kind.
        let wp = if round == 0 { 2 } else { 3 };
        assert_eq!(counts.collect::<Vec<_>>(), [(wp, wp), (1, 1)], "round {round}");
        let kept = answer.diagnostics.iter().any(|one| one.code == "REPLICAS_KEPT");
        assert_eq!(kept, round > 0, "round {round}: {:?}", answer.diagnostics);
        tokio::join!(until_pods(&namespace, "wp", wp.unsigned_abs()), until_pods(&namespace, "db", 1));
        // Former controllers go when their pods are gone, which nobody waits for.
        let kinds = if round % 2 == 0 { [0, 1] } else { [2, 0] };
        let survey = eventually(async || {
            let survey = Survey::of(&namespace.client, &namespace).await;
            let now = ["Deployment", "ReplicationController"].map(|kind| survey.of_kind(kind).count());
            same(&now, &kinds).map(|()| survey)
        })
        .await;
        if round != 2 {
            assert_eq!(survey.faults("wp"), [""; 0], "round {round}");
        }
        services.push(["wp", "db-1"].map(|name| survey.uid(&format!("Service {name}"))));
        // Whatever the kind, the count is Scale's to set.
        let scaled = client.scale(scale(&namespace, "wp", "WP", 3)).await.expect("scaled").into_inner();
        assert_eq!(scaled.deployment.expect("a deployment").components[0].ready_replicas(), 3);
    }
    assert!(services.iter().all(|uids| *uids == services[0]), "the Services stay: {services:?}");
    client.teardown(teardown(&namespace, "wp")).await.expect("torn down");
    assert_eq!(Survey::of(&namespace.client, &namespace).await.names(), [""; 0]);
}

#[tokio::test]
async fn calls_stay_within_their_budgets() {
    let namespace = namespace("modern-budgets").await;
    let plane = control_plane();
    // On a busy machine a short lease is renewed within the operation, which is not what is counted here.
    let adapter = Adapter::at(&plane.kubeconfig(User::Adapter), Duration::from_secs(30)).await;
    let mut client = adapter.deployments();
    let mut calls = Recorder::start(plane).namespace(&namespace).user(User::Adapter);
    // A Secret, a claim, a Service and an apps Deployment for each component: three kinds beside the Secrets.
    let (components, kinds) = (8, 3);
    let objects = 4 * components;
    let template = rich_chain(components);
    let request = |template: &str| modern(deploy_at_once(&namespace, "rich", template));
    let answer = client.deploy(request(&template)).await.expect("deployed").into_inner();
    assert_eq!(answer.changes.len(), objects);
    let first = counted(&mut calls);
    assert!(first.len() <= objects + 4, "{} calls for {objects} objects:\n{first:#?}", first.len());
    println!("first Deploy of {objects} objects: {} calls", first.len());
    recorded(&namespace, "rich", "ACTIVE").await;
    makes_unchanged(&mut calls, 2 + kinds + components, async || {
        let answer = adapter.deployments().deploy(request(&template)).await.expect("unchanged").into_inner();
        assert_eq!(answer.outcome(), proto::DeployOutcome::Unchanged);
    })
    .await;
    let get = proto::GetDeploymentRequest {
        namespace: namespace.to_string(),
        name: "rich".to_owned(),
        ..Default::default()
    };
    makes_unchanged(&mut calls, 1 + kinds + 1, async || {
        adapter.deployments().get_deployment(get.clone()).await.expect("a deployment");
    })
    .await;
    calls.restart();
    let scaled = proto::ScaleRequest {
        replicas: [("C1".to_owned(), 2), ("C2".to_owned(), 2)].into(),
        wait: 0,
        ..scale(&namespace, "rich", "C1", 2)
    };
    client.scale(scaled).await.expect("scaled");
    makes(&mut calls, 3 + 2);
    recorded(&namespace, "rich", "ACTIVE").await;
    calls.restart();
    // A value that two components read: a Secret and two apps Deployments change.
    let newer = template.replace("value: s3", "value: another");
    let answer = client.deploy(request(&newer)).await.expect("deployed").into_inner();
    let changed =
        answer.changes.iter().filter(|change| change.action() == proto::ObjectAction::Update).count();
    assert_eq!(changed, 3, "{:#?}", answer.changes);
    let updated = counted(&mut calls);
    assert!(updated.len() <= 2 + kinds + components + 3 + changed, "{updated:#?}");
    recorded(&namespace, "rich", "ACTIVE").await;
    calls.restart();
    let all = proto::VolumePolicy::Delete.into();
    client
        .teardown(proto::TeardownRequest { volumes: all, ..teardown(&namespace, "rich") })
        .await
        .expect("torn down");
    let torn_down = counted(&mut calls);
    // The last look is for pods and ReplicaSets that controllers have left; the first for claims of earlier deployments.
    assert!(torn_down.len() <= objects + 6, "{} calls:\n{torn_down:#?}", torn_down.len());
    assert_eq!(Survey::of(&namespace.client, &namespace).await.names(), [""; 0]);
}

#[tokio::test]
async fn a_rollout_that_fails_leaves_the_old_pods_at_work() {
    let namespace = namespace("modern-fails").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(modern(deploy(&namespace, "wp", WORDPRESS))).await.expect("deployed");
    let serving = pods(&namespace, "wp").await;
    let missing = WORDPRESS.replace("centurylink/wordpress:3.9.1", "centurylink/missing:1");
    client.deploy(modern(deploy_at_once(&namespace, "wp", &missing))).await.expect("written");
    recorded(&namespace, "wp", "DEGRADED").await;
    let request = proto::GetDeploymentRequest {
        namespace: namespace.to_string(),
        name: "wp".to_owned(),
        ..Default::default()
    };
    let deployment = client.get_deployment(request).await.expect("a deployment").into_inner();
    let deployment = deployment.deployment.expect("a deployment");
    let component = &deployment.components[0];
    assert_eq!(component.reason(), proto::ComponentReason::ImagePullFailed, "{component:?}");
    assert_eq!((component.ready_replicas(), component.updated_replicas()), (1, 1));
    assert!(pods(&namespace, "wp").await.contains(&serving[0]), "the old pod serves on");
    let back =
        client.deploy(modern(deploy(&namespace, "wp", WORDPRESS))).await.expect("deployed").into_inner();
    assert_eq!(back.deployment.expect("a deployment").state(), proto::DeploymentState::Active);
}

#[tokio::test]
async fn a_secret_that_somebody_holds_back_is_named_and_looked_at_by_name() {
    let namespace = namespace("modern-held").await;
    let plane = control_plane();
    let adapter = Adapter::real(plane, User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(modern(deploy(&namespace, "wp", WORDPRESS))).await.expect("deployed");
    let secrets = namespace.api::<Secret>();
    let held = json!({"metadata": {"finalizers": ["example.com/held"]}});
    secrets.patch("db-environment", &PatchParams::default(), &Patch::Merge(held)).await.expect("held");
    let mut calls = Recorder::start(plane).namespace(&namespace).user(User::Adapter);
    let at_once = proto::TeardownRequest { wait: 0, ..teardown(&namespace, "wp") };
    let answer = client.teardown(at_once).await.expect("marked").into_inner();
    let blocked = answer.blocked.iter().find(|one| one.finalizers == ["example.com/held"]);
    assert_eq!(blocked.and_then(|one| Some(one.object.as_ref()?.name.as_str())), Some("db-environment"));
    let released = async {
        // Everything else is gone by then: the Secret alone is waited for.
        until_pods(&namespace, "wp", 0).await;
        let free = json!({"metadata": {"finalizers": null}});
        secrets
            .patch("db-environment", &PatchParams::default(), &Patch::Merge(free))
            .await
            .expect("released");
    };
    let (torn_down, ()) = tokio::join!(client.teardown(teardown(&namespace, "wp")), released);
    assert!(torn_down.expect("torn down").into_inner().complete);
    assert_eq!(Survey::of(&namespace.client, &namespace).await.names(), [""; 0]);
    let listed = calls
        .calls()
        .iter()
        .filter(|call| call.resource == "secrets" && matches!(call.verb.as_str(), "list" | "watch"));
    assert_eq!(listed.count(), 0);
}

#[tokio::test]
async fn what_fills_claims_passes_pod_security_and_changes_nothing_by_itself() {
    let namespace = namespace("modern-filled").await;
    enforce_baseline(&namespace).await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let template = "
name: Filled
images:
- {name: store, source: 'example/store:1', volumes: [{container_path: /data}]}
- {name: worker, source: 'example/worker:1', volumes_from: [store]}
";
    let mut request = modern(deploy(&namespace, "filled", template));
    request.options.get_or_insert_default().set_volume_filling(proto::VolumeFilling::FromImage);
    let answer = client.deploy(request.clone()).await.expect("deployed").into_inner();
    assert_eq!(answer.warnings, [""; 0]);
    for component in ["store", "worker"] {
        let deployment = namespace.api::<AppsDeployment>().get(component).await.expect("it is there");
        let pod = deployment.spec.and_then(|spec| spec.template.spec).expect("a pod");
        let fillers = pod.init_containers.expect("what fills the claim");
        assert_eq!(fillers[0].image.as_deref(), Some("example/store:1"), "{component}");
    }
    let again = client.deploy(request.clone()).await.expect("deployed").into_inner();
    assert_eq!(again.outcome(), proto::DeployOutcome::Unchanged, "{:#?}", again.changes);
    // A Rollback or a Scale keeps the choice of the revision; another Deploy makes its own.
    client.scale(scale(&namespace, "filled", "worker", 0)).await.expect("scaled");
    let worker = namespace.api::<AppsDeployment>().get("worker").await.expect("it is there");
    let pod = worker.spec.and_then(|spec| spec.template.spec).expect("a pod");
    assert!(pod.init_containers.is_some());
    request.options.get_or_insert_default().set_volume_filling(proto::VolumeFilling::Empty);
    let answer = client.deploy(request).await.expect("deployed").into_inner();
    assert_eq!(answer.outcome(), proto::DeployOutcome::Updated);
    assert_eq!(Survey::of(&namespace.client, &namespace).await.faults("filled"), [""; 0]);
}

/// A claim of a user that is a number: its group, and the claim's own directory, are what `baseline` lets pass.
#[tokio::test]
async fn groups_and_directories_of_claims_pass_pod_security() {
    let namespace = namespace("modern-groups").await;
    enforce_baseline(&namespace).await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let template = "
name: Groups
images:
- {name: store, source: 'example/store:1', volumes: [{container_path: /data}]}
- {name: worker, source: 'example/worker:1', volumes_from: [store], deployment: {count: 2}}
";
    let config = |user: &str| json!({ "config": { "User": user, "Cmd": ["run"] } }).to_string();
    let configs = [("example/store:1", config("472:1234")), ("example/worker:1", config("1000"))];
    let request = proto::DeployRequest {
        image_configs: configs.map(|(source, config)| (source.to_owned(), config)).into(),
        ..modern(deploy(&namespace, "groups", template))
    };
    let answer = client.deploy(request).await.expect("deployed").into_inner();
    assert_eq!(answer.warnings, [""; 0]);
    assert!(answer.diagnostics.iter().any(|found| found.code == "VOLUME_GROUP"), "{:?}", answer.diagnostics);
    let deployment = answer.deployment.expect("a deployment");
    assert_eq!(deployment.state(), proto::DeploymentState::Active);
    // What was admitted are the pods themselves.
    let pods = namespace.api::<Pod>().list(&ListParams::default()).await.expect("pods").items;
    assert_eq!(pods.len(), 3);
    for pod in &pods {
        let spec = pod.spec.as_ref().expect("a specification");
        let security = spec.security_context.as_ref().expect("a security context");
        assert_eq!(security.fs_group, Some(1234), "{}", pod.name_any());
        assert_eq!(security.fs_group_change_policy.as_deref(), Some("OnRootMismatch"));
        let mounts = spec.containers[0].volume_mounts.as_ref().expect("mounts");
        assert!(
            mounts.iter().any(|mount| mount.mount_path == "/data" && mount.sub_path.is_some()),
            "{mounts:?}"
        );
    }
    assert_eq!(Survey::of(&namespace.client, &namespace).await.faults("groups"), [""; 0]);
}
