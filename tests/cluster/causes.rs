//! Causes that come from outside or from the image: each is told at once, with its name, and ends a wait.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::{ComponentReason, DeploymentState};
use serde_json::{Value, json};
use tonic::{Code, Response, Status};

use crate::support::adapter::{Adapter, deploy, deploy_at_once, modern, scale, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{recorded, refused, shown, until};
use crate::support::namespace::{Namespace, namespace};

/// How long a caller would wait, and how soon it must be told of what does not end by itself.
const DEADLINE: Duration = Duration::from_secs(100);
const AT_ONCE: Duration = Duration::from_secs(40);

fn of_image(image: &str, count: u32) -> String {
    format!("name: Web\nimages:\n- {{name: web, source: '{image}', deployment: {{count: {count}}}}}\n")
}

/// The same request, whose pods the test itself plays.
fn played(request: proto::DeployRequest) -> proto::DeployRequest {
    let mut options = request.options.clone().unwrap_or_default();
    options.annotations = [("example.com/played-by".to_owned(), "test".to_owned())].into();
    proto::DeployRequest { options: Some(options), ..request }
}

async fn get(adapter: &Adapter, namespace: &Namespace) -> proto::Deployment {
    shown(adapter, namespace, "web", proto::DeploymentView::Full).await
}

/// Deploys with a long deadline, and waits until it is ready or not to be waited for.
async fn waits(
    adapter: &Adapter,
    request: proto::DeployRequest,
) -> Result<Response<proto::DeployResponse>, Status> {
    let mut request = tonic::Request::new(request);
    request.set_timeout(DEADLINE);
    adapter.deployments().deploy(request).await
}

/// Waits until a pod is there that fits; returns its name.
async fn pod(namespace: &Namespace, is_it: impl Fn(&Pod) -> bool) -> String {
    let found = async {
        loop {
            let pods = namespace.api::<Pod>().list(&ListParams::default()).await.expect("pods").items;
            if let Some(pod) = pods.iter().find(|pod| pod.metadata.deletion_timestamp.is_none() && is_it(pod))
            {
                return pod.name_any();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(AT_ONCE, found).await.expect("a pod in time")
}

fn runs(pod: &Pod, image: &str) -> bool {
    pod.spec
        .as_ref()
        .is_some_and(|spec| spec.containers.iter().any(|one| one.image.as_deref() == Some(image)))
}

/// What its kubelet says of the containers of a pod.
async fn says(namespace: &Namespace, pod: &str, ready: bool, containers: Value, init: Value) {
    let word = if ready { "True" } else { "False" };
    let condition = |kind: &str| {
        let reason = if ready { "" } else { "ContainersNotReady" };
        json!({"type": kind, "status": word, "reason": reason})
    };
    let status = json!({"status": {
        "phase": if ready { "Running" } else { "Pending" },
        "conditions": [condition("ContainersReady"), condition("Ready")],
        "containerStatuses": containers, "initContainerStatuses": init,
    }});
    let how = PatchParams::default();
    namespace.api::<Pod>().patch_status(pod, &how, &Patch::Strategic(status)).await.expect("a status");
}

/// One container as a kubelet tells of it.
fn container(name: &str, image: &str, restarts: u32, state: &Value, last: &Value) -> Value {
    let ready = state["running"].is_object();
    json!({"name": name, "image": image, "imageID": "", "ready": ready, "restartCount": restarts,
           "state": state, "lastState": last})
}

async fn changed(namespace: &Namespace, manager: &str, change: Value) {
    let how = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
    let api = namespace.api::<Deployment>();
    api.patch("web", &how, &Patch::Strategic(change)).await.expect("a change");
}

#[tokio::test]
async fn an_apps_deployment_that_somebody_pauses_ends_a_wait() {
    let namespace = namespace("cause-paused").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    waits(&adapter, modern(deploy(&namespace, "web", &of_image("example/web:1", 2)))).await.expect("ready");
    // While a caller waits, and before the call.
    for edition in [2, 3] {
        let image = format!("example/web:{edition}");
        let pause = async {
            if edition == 2 {
                pod(&namespace, |pod| runs(pod, "example/web:2")).await;
            }
            changed(&namespace, "kubectl-rollout", json!({"spec": {"paused": true}})).await;
        };
        let request = played(modern(deploy(&namespace, "web", &of_image(&image, 2))));
        let begin = Instant::now();
        let answer = if edition == 2 {
            tokio::join!(waits(&adapter, request), pause).0
        } else {
            pause.await;
            waits(&adapter, request).await
        };
        let refusal = refused(answer, Code::DeadlineExceeded, "WAIT_TIMEOUT");
        assert!(begin.elapsed() < AT_ONCE, "{refusal:#?}");
        assert!(refusal.message.contains("paused") && refusal.message.contains("resumes"), "{refusal:#?}");
        assert_eq!((refusal.fact("component"), refusal.fact("state")), ("web", "FAILED"), "{refusal:#?}");
        let told = get(&adapter, &namespace).await;
        assert_eq!(told.components[0].reason(), ComponentReason::ReplicaFailure, "{told:#?}");
        assert!(told.message.contains("paused"), "{}", told.message);
        // The pods of before serve on.
        assert_eq!(told.state(), DeploymentState::Degraded, "{told:#?}");
    }
    // Resumed, it goes on by itself.
    changed(&namespace, "kubectl-rollout", json!({"spec": {"paused": false}})).await;
    let request = modern(deploy(&namespace, "web", &of_image("example/web:4", 2)));
    let answer = waits(&adapter, request).await.expect("ready").into_inner();
    assert_eq!(answer.deployment.expect("a deployment").state(), DeploymentState::Active);
}

#[tokio::test]
async fn a_rollout_that_somebody_undoes_ends_a_wait() {
    let namespace = namespace("cause-undone").await;
    let plane = control_plane();
    let adapter = Adapter::real(plane, User::Adapter).await;
    waits(&adapter, modern(deploy(&namespace, "web", &of_image("example/web:1", 2)))).await.expect("ready");
    let undo = async {
        pod(&namespace, |pod| runs(pod, "example/web:2")).await;
        let mut command = plane.kubectl(User::Harness);
        command.args(["-n", &namespace, "rollout", "undo", "deployment/web"]);
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it runs");
        let output = output.expect("kubectl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let request = played(modern(deploy(&namespace, "web", &of_image("example/web:2", 2))));
    let begin = Instant::now();
    let (answer, ()) = tokio::join!(waits(&adapter, request), undo);
    let refusal = refused(answer, Code::DeadlineExceeded, "WAIT_TIMEOUT");
    assert!(begin.elapsed() < AT_ONCE, "{refusal:#?}");
    assert!(refusal.message.contains("pods of another revision"), "{refusal:#?}");
    let told = get(&adapter, &namespace).await;
    assert_eq!(told.components[0].reason(), ComponentReason::ReplicaFailure, "{told:#?}");
    // What was undone is what the next Deploy brings, if its caller says so.
    let mut request = modern(deploy(&namespace, "web", &of_image("example/web:3", 2)));
    request.options.get_or_insert_default().set_conflicts(proto::ConflictPolicy::Force);
    let answer = waits(&adapter, request).await.expect("ready").into_inner();
    assert_eq!(answer.deployment.expect("a deployment").state(), DeploymentState::Active);
    let found = namespace.api::<Deployment>().get("web").await.expect("it is there");
    let image = found.spec.and_then(|spec| spec.template.spec).expect("a spec").containers[0].image.clone();
    assert_eq!(image.as_deref(), Some("example/web:3"));
}

#[tokio::test]
async fn an_init_container_that_somebody_puts_in_is_named_and_is_not_ours() {
    let namespace = namespace("cause-init").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let template = of_image("example/web:1", 1);
    adapter
        .deployments()
        .deploy(played(modern(deploy_at_once(&namespace, "web", &template))))
        .await
        .expect("deployed");
    let injected = json!([{"name": "mesh-init", "image": "example/mesh:1"}]);
    changed(&namespace, "mesh", json!({"spec": {"template": {"spec": {"initContainers": injected}}}})).await;
    let has_init = |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| spec.init_containers.is_some());
    let pod = pod(&namespace, has_init).await;
    let waiting = json!({"waiting": {"reason": "PodInitializing"}});
    let ours = json!([container("web", "example/web:1", 0, &waiting, &json!({}))]);
    let crash = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    let end = json!({"terminated": {"exitCode": 7, "reason": "Error"}});
    let init = json!([container("mesh-init", "example/mesh:1", 4, &crash, &end)]);
    says(&namespace, &pod, false, ours, init).await;
    let begin = Instant::now();
    // The same template again waits for what is there: it changes nothing that others have put in.
    let mut request = played(modern(deploy(&namespace, "web", &template)));
    request.options.get_or_insert_default().set_conflicts(proto::ConflictPolicy::Yield);
    let refusal = refused(waits(&adapter, request).await, Code::DeadlineExceeded, "WAIT_TIMEOUT");
    assert!(begin.elapsed() < AT_ONCE, "{refusal:#?}");
    let words = "init container mesh-init, which is not of the template: CrashLoopBackOff, last exit code 7, 4 restarts";
    assert!(refusal.message.contains(words), "{refusal:#?}");
    assert_eq!(refusal.fact("reason"), "CRASH_LOOPING");
    let told = get(&adapter, &namespace).await;
    assert_eq!(told.state(), DeploymentState::Failed, "{told:#?}");
    assert!(told.message.contains(words), "{told:#?}");
    // The component's own container has neither ended nor been started again.
    let of_pod = told.components[0].pods.iter().find(|one| one.name == pod).expect("the pod");
    assert_eq!((of_pod.restart_count.unwrap_or_default(), of_pod.exit_code), (0, None), "{of_pod:#?}");
    // What ends well is no cause, and neither is one that ended badly before.
    let running = json!([container("web", "example/web:1", 0, &json!({"running": {}}), &json!({}))]);
    let well = json!({"terminated": {"exitCode": 0, "reason": "Completed"}});
    let bad = json!({"terminated": {"exitCode": 7, "reason": "Error"}});
    let init = json!([container("mesh-init", "example/mesh:1", 5, &well, &bad)]);
    says(&namespace, &pod, true, running, init).await;
    let of_component = async {
        while get(&adapter, &namespace).await.components[0].state() != proto::ComponentState::Ready {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(AT_ONCE, of_component).await.expect("ready in time");
}

#[tokio::test]
async fn a_container_that_ends_without_a_fault_again_and_again_is_told_with_what_to_do() {
    let namespace = namespace("cause-ends").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    for (count, is_modern) in [(1, false), (2, false), (1, true)] {
        let request = played(deploy(&namespace, "web", &of_image("example/job:1", count)));
        let request = if is_modern { modern(request) } else { request };
        let plays = async {
            let pod = pod(&namespace, |pod| runs(pod, "example/job:1")).await;
            let back_off = json!({"waiting": {"reason": "CrashLoopBackOff"}});
            let end = json!({"terminated": {"exitCode": 0, "reason": "Completed"}});
            // The first ends are no failure: it may need what is not there yet.
            for restarts in [1, 5] {
                let state = container("web", "example/job:1", restarts, &back_off, &end);
                says(&namespace, &pod, false, json!([state]), json!([])).await;
                if restarts == 1 {
                    let told = get(&adapter, &namespace).await;
                    assert_eq!(told.components[0].reason(), ComponentReason::CrashLooping, "{told:#?}");
                }
            }
        };
        let begin = Instant::now();
        let (answer, ()) = tokio::join!(waits(&adapter, request), plays);
        let refusal = refused(answer, Code::DeadlineExceeded, "WAIT_TIMEOUT");
        assert!(begin.elapsed() < AT_ONCE, "{refusal:#?}");
        assert_eq!((refusal.fact("reason"), refusal.fact("state")), ("CRASH_LOOPING", "FAILED"));
        for words in ["exit code 0", "5 restarts", "give it a command that keeps running"] {
            assert!(refusal.message.contains(words), "{refusal:#?}");
        }
        adapter.deployments().teardown(teardown(&namespace, "web")).await.expect("torn down");
    }
}

#[tokio::test]
async fn claims_that_wait_for_their_first_pod_never_hold_up_a_wait() {
    let namespace = namespace("cause-first").await;
    let adapter = Adapter::impatient(control_plane(), User::Adapter, Duration::from_secs(3)).await;
    let mut client = adapter.deployments();
    let classes: Api<StorageClass> = Api::all(namespace.client.clone());
    let class = async |name: &str, provisioner: &str| {
        let name = format!("{}-{name}", &*namespace);
        let class = json!({"metadata": {"name": name}, "provisioner": provisioner,
                           "volumeBindingMode": "WaitForFirstConsumer"});
        let class: StorageClass = serde_json::from_value(class).expect("a class");
        classes.create(&PostParams::default(), &class).await.expect("it is made");
        name
    };
    let good = class("good", "kubernetes.io/host-path").await;
    let nobodys = class("nobodys", "example.com/nobody").await;
    let of = |class: &str, count: u32| {
        let text = of_image("example/web:1", count)
            .replace("source:", "volumes: [{container_path: /data}], source:");
        let mut request = modern(deploy(&namespace, "web", &text));
        request.options.get_or_insert_default().storage_class = class.to_owned();
        request
    };
    // The claim is bound once a node is chosen for its pod, so the pod must come first.
    let answer = waits(&adapter, of(&good, 1)).await.expect("ready").into_inner();
    assert_eq!(answer.deployment.expect("a deployment").state(), DeploymentState::Active);
    let gone = |namespace: &str| proto::TeardownRequest {
        volumes: proto::VolumePolicy::Delete.into(),
        ..teardown(namespace, "web")
    };
    client.teardown(gone(&namespace)).await.expect("torn down");
    // Nobody ever needs it: nothing is waited for; then a pod does.
    let answer = waits(&adapter, of(&good, 0)).await.expect("nothing to wait for").into_inner();
    assert_eq!(answer.deployment.expect("a deployment").state(), DeploymentState::Stopped);
    client.scale(scale(&namespace, "web", "web", 1)).await.expect("scaled");
    recorded(&namespace, "web", "ACTIVE").await;
    client.teardown(gone(&namespace)).await.expect("torn down");
    // What nobody ever provides ends a wait, too, with its cause.
    let begin = Instant::now();
    let refusal = refused(waits(&adapter, of(&nobodys, 1)).await, Code::DeadlineExceeded, "WAIT_TIMEOUT");
    assert!(begin.elapsed() < AT_ONCE, "{refusal:#?}");
    assert_eq!((refusal.fact("reason"), refusal.fact("state")), ("VOLUME_PENDING", "FAILED"), "{refusal:#?}");
    client.teardown(gone(&namespace)).await.expect("torn down");
    until::<Deployment>(&namespace, "web", |found: Option<&Deployment>| found.is_none()).await;
}
