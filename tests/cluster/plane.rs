//! The control plane itself: what the other tests take for granted about it.

use crate::support::calls::{Call, Recorder};
use crate::support::control_plane::{User, control_plane};
use crate::support::kubernetes;
use crate::support::namespace::{Namespace, namespace};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams, WatchParams};
use kube::runtime::wait::{Condition, await_condition};
use serde_json::json;
use std::time::Duration;

/// What was built may be named; what lies in a folder of somebody else's is what it is.
#[tokio::test]
async fn the_server_is_the_kubernetes_that_was_asked_for() {
    let other = kubernetes::other().expect("a version");
    if other.is_none() && std::env::var_os("KUBEBUILDER_ASSETS").is_some() {
        return;
    }
    let wanted = other.map_or_else(kubernetes::own_version, |other| Ok(other.version)).expect("a version");
    let client = control_plane().client(User::Harness).await;
    let version = client.apiserver_version().await.expect("an answer").git_version;
    assert_eq!(version, format!("v{wanted}"));
    let mut kubectl = control_plane().kubectl(User::Harness);
    let output = kubectl.args(["version", "--client"]).output().expect("kubectl runs");
    assert!(String::from_utf8_lossy(&output.stdout).contains(&version), "kubectl is another");
}

#[tokio::test]
async fn a_pod_runs_and_has_an_address() {
    let namespace = namespace("plane-runs").await;
    create(&namespace, "web", "docker.io/library/nginx:1").await;
    let pod = until(&namespace, "web", is_ready).await;
    let status = pod.status.expect("a status");
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert!(status.pod_ip.expect("an address").starts_with("10."));
}

#[tokio::test]
async fn an_image_called_missing_is_never_pulled_until_it_is_replaced() {
    let namespace = namespace("plane-missing").await;
    create(&namespace, "web", "docker.io/example/missing:x").await;
    until(&namespace, "web", waits_for("ImagePullBackOff")).await;
    let change = json!({"spec": {"containers": [{"name": "main", "image": "docker.io/library/nginx:1"}]}});
    let pods: Api<Pod> = namespace.api();
    pods.patch("web", &PatchParams::default(), &Patch::Strategic(change))
        .await
        .expect("images can be changed");
    until(&namespace, "web", is_ready).await;
}

#[tokio::test]
async fn an_image_called_crashing_never_stays_up() {
    let namespace = namespace("plane-crashing").await;
    create(&namespace, "web", "docker.io/example/crashing:x").await;
    until(&namespace, "web", waits_for("CrashLoopBackOff")).await;
}

#[tokio::test]
async fn calls_are_counted_exactly_and_by_user() {
    let namespace = namespace("plane-calls").await;
    let mut adapter = Recorder::start(namespace.plane).namespace(&namespace).user(User::Adapter);
    let mut everybody = Recorder::start(namespace.plane).namespace(&namespace);
    let client = namespace.plane.client(User::Adapter).await;
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    for number in 1..=20 {
        let map =
            serde_json::from_value(json!({"metadata": {"name": format!("map-{number}")}})).expect("a map");
        maps.create(&PostParams::default(), &map).await.expect("it is created");
        assert_eq!(adapter.calls().len(), number, "a call is counted before its answer arrives");
    }
    maps.list(&ListParams::default()).await.expect("a list");
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let map = serde_json::from_value(json!({"metadata": {"name": "map-1"}})).expect("a map");
    maps.create(&dry, &map).await.expect_err("it exists");
    let mut watch = maps.watch(&WatchParams::default(), "0").await.expect("a watch").boxed();
    watch.next().await.expect("an event").expect("a map");
    // Somebody else's calls, and the harness's, are not the adapter's.
    let admin: Api<ConfigMap> = Api::namespaced(namespace.plane.client(User::Admin).await, &namespace);
    admin.get("map-2").await.expect("a map");
    namespace.api::<ConfigMap>().get("map-2").await.expect("a map");

    let requests = adapter.requests();
    let shown: Vec<String> = requests.iter().map(ToString::to_string).collect();
    let count = |verb| requests.iter().filter(|call| call.verb == verb).count();
    assert_eq!((count("create"), count("list"), count("get")), (21, 1, 0), "{shown:#?}");
    let refused = requests.iter().find(|call| call.dry_run).expect("the dry run");
    assert_eq!((refused.code, refused.resource.as_str()), (409, "configmaps"));
    assert_eq!((refused.name.as_deref(), refused.subresource.as_deref()), (Some("map-1"), None));
    assert!(requests.iter().all(|call| call.received <= call.answered));
    let watches = |calls: &[Call]| calls.iter().filter(|call| call.verb == "watch").count();
    assert_eq!(watches(adapter.calls()), 1, "a running watch counts");
    assert_eq!(everybody.calls().len(), adapter.calls().len() + 1);
    adapter.restart();
    assert!(adapter.calls().is_empty());
}

#[tokio::test]
async fn alice_and_bob_may_do_nothing() {
    let namespace = namespace("plane-rights").await;
    for user in [User::Alice, User::Bob] {
        let mut calls = Recorder::start(namespace.plane).namespace(&namespace).user(user).agent("");
        let pods: Api<Pod> = Api::namespaced(namespace.plane.client(user).await, &namespace);
        let error = pods.list(&ListParams::default()).await.expect_err("no rights");
        assert!(matches!(&error, kube::Error::Api(status) if status.is_forbidden()), "{error}");
        assert_eq!(calls.calls().iter().map(|call| call.code).collect::<Vec<_>>(), [403]);
    }
}

#[test]
fn a_token_is_enough_to_call_the_server() {
    let plane = control_plane();
    let mut kubectl = plane.kubectl(User::Bob);
    kubectl.args(["--server", &plane.server, "--token", plane.token(User::Admin), "get", "namespaces"]);
    assert!(kubectl.output().expect("kubectl runs").status.success());
}

#[test]
fn kubectl_and_grpcurl_are_at_hand() {
    let plane = control_plane();
    let output =
        plane.kubectl(User::Admin).args(["get", "nodes", "-o", "name"]).output().expect("kubectl runs");
    let nodes = String::from_utf8_lossy(&output.stdout).lines().count();
    let wanted = std::env::var("CONTROL_PLANE_NODES").map_or(100, |count| count.parse().expect("a number"));
    assert_eq!(nodes, wanted, "{}", String::from_utf8_lossy(&output.stderr));
    let version = std::process::Command::new(plane.program("grpcurl")).arg("-version").output();
    assert!(version.expect("grpcurl runs").status.success());
}

async fn create(namespace: &Namespace, name: &str, image: &str) {
    let pod = json!({
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "main", "image": image, "ports": [{"containerPort": 80, "hostPort": 8000}]}]},
    });
    let pod = serde_json::from_value(pod).expect("a pod");
    namespace.api::<Pod>().create(&PostParams::default(), &pod).await.expect("the pod is created");
}

async fn until(namespace: &Namespace, name: &str, condition: impl Condition<Pod>) -> Pod {
    let reached = await_condition(namespace.api::<Pod>(), name, condition);
    let reached = tokio::time::timeout(Duration::from_secs(20), reached).await;
    reached.expect("in time").expect("the pod can be watched").expect("the pod is there")
}

fn is_ready(pod: Option<&Pod>) -> bool {
    let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}

fn waits_for(reason: &'static str) -> impl Fn(Option<&Pod>) -> bool {
    move |pod| {
        let containers = pod.and_then(|pod| pod.status.as_ref()?.container_statuses.as_ref());
        let waiting =
            containers.and_then(|all| all.first()?.state.as_ref()?.waiting.as_ref()?.reason.as_deref());
        waiting == Some(reason)
    }
}
