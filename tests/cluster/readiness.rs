//! Readiness that is true: what has failed is told with its cause and ends a wait, and what has not is not.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PropagationPolicy};
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::{ComponentReason, DeploymentState, WatchUntil};
use serde_json::json;
use tonic::Code;

use crate::cluster::revisions::revisions;
use crate::support::adapter::{Adapter, deploy, deploy_at_once, modern, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{action, last_of, recorded, refused, shown, until};
use crate::support::namespace::{Namespace, namespace};

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

fn of_image(image: &str, count: u32) -> String {
    format!("name: Web\nimages:\n- {{name: web, source: '{image}', deployment: {{count: {count}}}}}\n")
}

async fn get(adapter: &Adapter, namespace: &Namespace) -> proto::Deployment {
    shown(adapter, namespace, "web", proto::DeploymentView::Full).await
}

/// The last snapshot of a watch until the deployment has settled.
async fn settled(adapter: &Adapter, namespace: &Namespace) -> proto::Deployment {
    let request = proto::WatchDeploymentRequest {
        namespace: namespace.to_string(),
        name: "web".to_owned(),
        until: WatchUntil::Settled.into(),
        ..Default::default()
    };
    let stream = adapter.deployments().watch_deployment(request).await.expect("a stream").into_inner();
    last_of(stream).await
}

async fn pods(namespace: &Namespace) -> Vec<Pod> {
    namespace.api::<Pod>().list(&ListParams::default()).await.expect("pods").items
}

async fn uids(namespace: &Namespace) -> BTreeSet<String> {
    pods(namespace).await.iter().filter_map(ResourceExt::uid).collect()
}

/// Ends a pod as an eviction does.
async fn evict(namespace: &Namespace, pod: &str) {
    let status = json!({"status": {"phase": "Failed", "reason": "Evicted", "conditions": [
        {"type": "Ready", "status": "False"}, {"type": "ContainersReady", "status": "False"}]}});
    let patched =
        namespace.api::<Pod>().patch_status(pod, &PatchParams::default(), &Patch::Strategic(&status)).await;
    patched.expect("a status");
}

#[tokio::test]
async fn a_wait_for_ready_ends_with_the_cause_long_before_its_deadline() {
    let namespace = namespace("ready-causes").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let cases = [
        ("docker.io/example/missing:x", "IMAGE_PULL_FAILED", "ImagePullBackOff"),
        ("docker.io/example/crashing:x", "CRASH_LOOPING", "exit code 1, 4 restarts"),
    ];
    for (image, reason, words) in cases {
        for count in [1, 2] {
            let mut request = tonic::Request::new(deploy(&namespace, "web", &of_image(image, count)));
            request.set_timeout(Duration::from_secs(100));
            let begin = Instant::now();
            let refusal =
                refused(adapter.deployments().deploy(request).await, Code::DeadlineExceeded, "WAIT_TIMEOUT");
            assert!(begin.elapsed() < Duration::from_secs(50), "{:?}", begin.elapsed());
            assert!(
                refusal.message.contains(words) && refusal.message.contains("component web"),
                "{refusal:#?}"
            );
            assert!(refusal.message.contains("does not become ready"), "{refusal:#?}");
            assert_eq!((refusal.fact("component"), refusal.fact("state")), ("web", "FAILED"));
            assert_eq!((refusal.fact("reason"), refusal.fact("applied")), (reason, "true"));
            adapter.deployments().teardown(teardown(&namespace, "web")).await.expect("torn down");
        }
    }
}

#[tokio::test]
async fn a_pod_that_gets_no_node_or_no_volume_has_failed_after_the_grace() {
    let namespace = namespace("ready-placed").await;
    let adapter = Adapter::impatient(control_plane(), User::Adapter, Duration::from_secs(2)).await;
    let mut client = adapter.deployments();
    // Each takes a port of its node, and there are fewer nodes than that.
    let image = |name: &str, count: u32| {
        format!(
            "- {{name: {name}, source: 'example/web:1', ports: [{{host_port: 4711, container_port: 80}}], \
             deployment: {{count: {count}}}}}\n"
        )
    };
    let crowded = format!("name: Web\nimages:\n{}{}", image("crowd", 100), image("web", 3));
    let mut request = tonic::Request::new(deploy(&namespace, "web", &crowded));
    request.set_timeout(Duration::from_secs(100));
    let begin = Instant::now();
    let refusal = refused(client.deploy(request).await, Code::DeadlineExceeded, "WAIT_TIMEOUT");
    assert!(begin.elapsed() < Duration::from_secs(50), "{refusal:#?}");
    assert_eq!(refusal.fact("reason"), "UNSCHEDULABLE", "{refusal:#?}");
    assert_eq!(settled(&adapter, &namespace).await.reason(), ComponentReason::Unschedulable);
    client.teardown(teardown(&namespace, "web")).await.expect("torn down");

    let template =
        "name: Web\nimages:\n- {name: web, source: 'example/web:1', volumes: [{container_path: /data}]}\n";
    let mut request = modern(deploy_at_once(&namespace, "web", template));
    request.options.as_mut().expect("options").storage_class = "no-such-class".to_owned();
    client.deploy(request).await.expect("deployed");
    let last = settled(&adapter, &namespace).await;
    assert_eq!((last.state(), last.reason()), (DeploymentState::Failed, ComponentReason::VolumePending));
    assert!(last.message.contains("volume claim web-"), "{last:#?}");
    // Nothing waits for a claim that no pod needs.
    let stopped = template.replace("volumes:", "deployment: {count: 0}, volumes:");
    let mut request = modern(deploy(&namespace, "web", &stopped));
    request.options.as_mut().expect("options").storage_class = "no-such-class".to_owned();
    let answer = client.deploy(request).await.expect("nothing to wait for").into_inner();
    assert_eq!(answer.deployment.expect("a deployment").state(), DeploymentState::Stopped);
}

#[tokio::test]
async fn a_workload_that_somebody_deleted_is_missing_until_the_next_deploy() {
    let namespace = namespace("ready-missing").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let template = of_image("example/web:1", 2);
    adapter.deployments().deploy(deploy(&namespace, "web", &template)).await.expect("deployed");
    let controllers = namespace.api::<ReplicationController>();
    let name = "web-replication-controller";
    let how = DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..Default::default() };
    controllers.delete(name, &how).await.expect("deleted");
    until::<ReplicationController>(&namespace, name, |found: Option<&ReplicationController>| found.is_none())
        .await;
    let missing = |deployment: &proto::Deployment| {
        assert_eq!(
            (deployment.state(), deployment.reason()),
            (DeploymentState::Failed, ComponentReason::WorkloadMissing),
            "{deployment:#?}"
        );
        assert_eq!(deployment.components[0].desired_replicas, None, "nobody knows");
    };
    missing(&get(&adapter, &namespace).await);
    missing(&settled(&adapter, &namespace).await);
    let again = adapter.deployments().deploy(deploy(&namespace, "web", &template)).await.expect("again");
    assert_eq!(again.into_inner().deployment.expect("a deployment").state(), DeploymentState::Active);
}

#[tokio::test]
async fn pods_that_have_ended_count_for_nothing_and_a_bare_one_is_replaced() {
    let namespace = namespace("ready-dead").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let template = of_image("example/web:1", 3);
    client.deploy(deploy(&namespace, "web", &template)).await.expect("deployed");
    let first = pods(&namespace).await[0].name_any();
    evict(&namespace, &first).await;
    let replaced = async {
        while get(&adapter, &namespace).await.state() != DeploymentState::Active
            || pods(&namespace).await.len() != 4
        {}
    };
    tokio::time::timeout(PATIENCE, replaced).await.expect("its controller makes another");
    let deployment = get(&adapter, &namespace).await;
    assert_eq!((deployment.components[0].ready_replicas(), deployment.components[0].pods.len()), (3, 4));
    client.teardown(teardown(&namespace, "web")).await.expect("torn down");

    let template = of_image("example/web:1", 1);
    client.deploy(deploy(&namespace, "web", &template)).await.expect("deployed");
    evict(&namespace, "web-pod").await;
    let ended = get(&adapter, &namespace).await;
    assert_eq!(
        (ended.state(), ended.reason()),
        (DeploymentState::Failed, ComponentReason::PodFailed),
        "{ended:#?}"
    );
    assert!(ended.message.contains("the next Deploy replaces it"), "{}", ended.message);
    let again = client.deploy(deploy(&namespace, "web", &template)).await.expect("replaced").into_inner();
    assert_eq!(action(&again.changes, "Pod/web-pod"), proto::ObjectAction::Replace);
    assert_eq!(again.deployment.expect("a deployment").state(), DeploymentState::Active);
    // Nor is one that has ended handed over to a controller: nobody would ever count it.
    evict(&namespace, "web-pod").await;
    client.deploy(deploy(&namespace, "web", &of_image("example/web:1", 2))).await.expect("grown");
    until::<Pod>(&namespace, "web-pod", |found: Option<&Pod>| found.is_none()).await;
    recorded(&namespace, "web", "ACTIVE").await;
}

/// What its kubelet says of the one pod: the image of its container, and which form of the pod it has seen.
async fn says(namespace: &Namespace, image: &str, seen: i64, state: serde_json::Value) {
    let is_ready = state["running"].is_object();
    let word = if is_ready { "True" } else { "False" };
    let condition = |kind: &str| json!({"type": kind, "status": word, "reason": if is_ready { "" } else { "ContainersNotReady" }});
    let status = json!({"status": {
        "phase": "Running", "observedGeneration": seen,
        "conditions": [condition("ContainersReady"), condition("Ready")],
        "containerStatuses": [{"name": "web", "image": image, "imageID": "", "ready": is_ready, "restartCount": 0, "state": state}],
    }});
    let pods = namespace.api::<Pod>();
    let patched = pods.patch_status("web-pod", &PatchParams::default(), &Patch::Strategic(&status)).await;
    patched.expect("a status");
}

#[tokio::test]
async fn a_bare_pod_with_a_new_image_is_ready_once_that_was_seen_running() {
    let namespace = namespace("ready-in-place").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    // The test itself plays the kubelet.
    let played = |image: &str| {
        let request = deploy_at_once(&namespace, "web", &of_image(image, 1));
        let annotations = [("example.com/played-by".to_owned(), "test".to_owned())].into();
        let options = proto::DeployOptions { annotations, ..Default::default() };
        proto::DeployRequest { options: Some(options), ..request }
    };
    let running = || json!({"running": {}});
    client.deploy(played("example/web:1")).await.expect("deployed");
    says(&namespace, "example/web:1", 1, running()).await;
    recorded(&namespace, "web", "ACTIVE").await;
    let first = pods(&namespace).await[0].uid();
    client.deploy(played("example/web:2")).await.expect("updated");
    assert_eq!(pods(&namespace).await[0].uid(), first, "it is changed in place");
    // The kubelet has seen the change, and the former container has not ended yet.
    says(&namespace, "example/web:1", 2, running()).await;
    let former = get(&adapter, &namespace).await;
    assert_eq!((former.state(), former.components[0].ready_replicas()), (DeploymentState::Deploying, 0));
    assert!(former.message.contains("former image"), "{}", former.message);
    let results = async || {
        let mut client = adapter.deployments();
        revisions(&mut client, &namespace, "web")
            .await
            .into_iter()
            .map(|(_, result, _)| result)
            .collect::<Vec<_>>()
    };
    use proto::RevisionResult::{InProgress, Succeeded};
    assert_eq!(results().await, [InProgress, Succeeded]);
    // It ends, and the new image cannot be pulled: the former container is what is shown beside.
    says(&namespace, "example/web:1", 2, json!({"waiting": {"reason": "ErrImagePull"}})).await;
    let seen = pods(&namespace).await[0].status.as_ref().and_then(|status| status.observed_generation);
    // Servers before 1.34 do not keep which form was seen: it may be the former image that cannot be pulled.
    let told = if seen.is_some() { ComponentReason::ImagePullFailed } else { ComponentReason::Progressing };
    assert_eq!(get(&adapter, &namespace).await.reason(), told);
    says(&namespace, "docker.io/example/web:2", 2, running()).await;
    assert_eq!(get(&adapter, &namespace).await.state(), DeploymentState::Active);
    recorded(&namespace, "web", "ACTIVE").await;
    assert_eq!(results().await, [Succeeded, Succeeded]);
}

#[tokio::test]
async fn a_pod_whose_node_does_not_answer_says_so_until_it_does() {
    let namespace = namespace("ready-lost").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    for (count, name) in [(1, None), (2, Some("web-replication-controller"))] {
        let template = of_image("example/web:1", count);
        adapter.deployments().deploy(deploy(&namespace, "web", &template)).await.expect("deployed");
        let pod = pods(&namespace).await[0].name_any();
        assert!(pod.starts_with(name.unwrap_or("web-pod")), "{pod}");
        // As the node controller does it.
        let ready = |status: &str| json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
        let (api, how) = (namespace.api::<Pod>(), PatchParams::default());
        api.patch_status(&pod, &how, &Patch::Strategic(&ready("False"))).await.expect("a status");
        let lost = get(&adapter, &namespace).await;
        assert_eq!((lost.state(), lost.reason()), (DeploymentState::Deploying, ComponentReason::NodeLost));
        let of_pod = lost.components[0].pods.iter().find(|one| one.name == pod).expect("the pod");
        assert_eq!((of_pod.ready, of_pod.reason()), (false, ComponentReason::NodeLost));
        api.patch_status(&pod, &how, &Patch::Strategic(&ready("True"))).await.expect("a status");
        let back = async { while get(&adapter, &namespace).await.state() != DeploymentState::Active {} };
        tokio::time::timeout(PATIENCE, back).await.expect("its node is back");
        adapter.deployments().teardown(teardown(&namespace, "web")).await.expect("torn down");
    }
}

#[tokio::test]
async fn a_label_restarts_nobody_and_a_list_finds_it() {
    let namespace = namespace("ready-labels").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    for (name, is_modern, count) in [("a", false, 2), ("b", true, 2), ("c", false, 1)] {
        let template = of_image("example/web:1", count).replace("name: web", &format!("name: {name}"));
        let request = deploy(&namespace, name, &template);
        let request = if is_modern { modern(request) } else { request };
        client.deploy(request.clone()).await.expect("deployed");
        let before = uids(&namespace).await;
        let mut options = request.options.clone().unwrap_or_default();
        options.labels = [("team".to_owned(), name.to_owned())].into();
        options.annotations = [("example.com/owner".to_owned(), "us".to_owned())].into();
        let labelled = proto::DeployRequest { options: Some(options), ..request };
        let answer = client.deploy(labelled.clone()).await.expect("labelled").into_inner();
        assert_eq!(answer.outcome(), proto::DeployOutcome::Updated);
        assert_eq!(answer.deployment.as_ref().expect("a deployment").labels["team"], name);
        recorded(&namespace, name, "ACTIVE").await;
        assert_eq!(uids(&namespace).await, before, "{name} was started again for a label");
        let again = client.deploy(labelled).await.expect("again").into_inner();
        assert_eq!(again.outcome(), proto::DeployOutcome::Unchanged);
        let list = proto::ListDeploymentsRequest {
            namespace: namespace.to_string(),
            label_selector: format!("team={name}"),
            ..Default::default()
        };
        let listed = client.list_deployments(list).await.expect("a list").into_inner().deployments;
        let names: Vec<&str> = listed.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, [name]);
    }
    let long = proto::ListDeploymentsRequest {
        namespace: namespace.to_string(),
        label_selector: format!("team in ({})", "a,".repeat(600)),
        ..Default::default()
    };
    let refusal = refused(client.list_deployments(long).await, Code::InvalidArgument, "FIELD_INVALID");
    assert_eq!(refusal.fields(), ["label_selector"]);
}
