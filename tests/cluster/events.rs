//! Events: what becomes of operations is told on the record, once and beside everything; FULL shows what happened.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Event, Namespace as CoreNamespace, Pod};
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::watch_deployment_response::Event as Update;
use serde_json::json;
use tonic::Code;

use crate::cluster::revisions::rollback;
use crate::support::adapter::{Adapter, Binary, connect, deploy, deploy_at_once, modern, scale, teardown};
use crate::support::calls::Recorder;
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{recorded, refused, shown};
use crate::support::metrics::measured;
use crate::support::namespace::{Namespace, namespace};
use crate::support::proxy::{Point, Proxy};

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at Events, which nobody watches here.
const PAUSE: Duration = Duration::from_millis(50);

const SECRET: &str = "hunter2-is-no-word";

fn shop(image: &str, count: u32) -> String {
    format!(
        "name: Shop\nimages:\n- {{name: web, source: '{image}', deployment: {{count: {count}}}, \
         environment: [{{variable: A_PASSWORD, value: {SECRET}}}]}}\n"
    )
}

/// What this adapter has told: reason, kind and sentence, the oldest first.
pub async fn told(namespace: &Namespace) -> Vec<(String, String, String)> {
    let list = namespace.api::<Event>().list(&ListParams::default()).await.expect("Events");
    let is_ours = |event: &Event| event.reporting_component.as_deref() == Some("panamax-kubernetes-adapter");
    let mut ours: Vec<Event> = list.items.into_iter().filter(is_ours).collect();
    ours.sort_by_key(|event| {
        event.metadata.resource_version.as_deref().and_then(|version| version.parse::<u64>().ok())
    });
    let texts = ours.into_iter().map(|event| {
        assert_eq!(event.involved_object.kind.as_deref(), Some("ConfigMap"));
        let message = event.message.unwrap_or_default();
        assert!(!message.contains(SECRET), "{message}");
        (event.reason.unwrap_or_default(), event.type_.unwrap_or_default(), message)
    });
    texts.collect()
}

/// Waits until so much was told.
pub async fn told_of(namespace: &Namespace, reason: &str) -> Vec<(String, String, String)> {
    let look = async {
        loop {
            let told = told(namespace).await;
            if told.iter().any(|(has, _, _)| has == reason) {
                return told;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("{reason} is told in time"))
}

fn reasons(told: &[(String, String, String)]) -> Vec<&str> {
    told.iter().map(|(reason, _, _)| reason.as_str()).collect()
}

async fn get(adapter: &Adapter, namespace: &Namespace) -> proto::Deployment {
    shown(adapter, namespace, "shop", proto::DeploymentView::Full).await
}

/// Notes something about a pod, as its node would.
async fn noted(namespace: &Namespace, pod: &str, reason: &str) {
    let uid = namespace.api::<Pod>().get(pod).await.expect("a pod").uid();
    let event = json!({
        "metadata": {"name": format!("{pod}.{}", reason.to_lowercase())},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": pod, "namespace": &**namespace, "uid": uid},
        "type": "Warning", "reason": reason, "count": 3, "source": {"component": "kubelet"},
        "message": format!("Error: exec \"--password={SECRET}\": executable file not found"),
        "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2036-01-01T00:00:00Z",
    });
    let event: Event = serde_json::from_value(event).expect("an Event");
    namespace.api().create(&PostParams::default(), &event).await.expect("an Event");
}

#[tokio::test]
async fn what_becomes_of_operations_is_told_once_on_the_record() {
    let namespace = namespace("events-told").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "shop", &shop("example/web:1", 2))).await.expect("deployed");
    told_of(&namespace, "Deployed").await;
    let same = client.deploy(deploy(&namespace, "shop", &shop("example/web:1", 2))).await.expect("the same");
    assert_eq!(same.into_inner().outcome(), proto::DeployOutcome::Unchanged);
    client.scale(scale(&namespace, "shop", "web", 3)).await.expect("scaled");
    told_of(&namespace, "Scaled").await;
    client.deploy(deploy(&namespace, "shop", &shop("example/web:2", 2))).await.expect("updated");
    client.rollback(rollback(&namespace, "shop", 1)).await.expect("rolled back");
    told_of(&namespace, "RolledBack").await;
    let describe = ["describe", "configmap", "panamax-deployment-shop", "-n", &namespace];
    let output = namespace.plane.kubectl(User::Admin).args(describe).output().expect("kubectl runs");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    for words in ["Normal", "panamax-kubernetes-adapter", "Deployed", "revision 1 is in force again"] {
        assert!(shown.contains(words), "{words} in {shown}");
    }
    client.teardown(teardown(&namespace, "shop")).await.expect("torn down");
    let told = told_of(&namespace, "TearingDown").await;
    assert_eq!(reasons(&told), ["Deployed", "Scaled", "Deployed", "RolledBack", "TearingDown"], "{told:#?}");
    let (_, _, scaled) = &told[1];
    assert!(scaled.ends_with("ReplicationController web-replication-controller to 3"), "{scaled}");
    assert!(told.iter().all(|(_, kind, _)| kind == "Normal"), "{told:#?}");
}

#[tokio::test]
async fn a_failure_is_told_with_its_reason_and_nobodys_words() {
    let namespace = namespace("events-failed").await;
    let enforce = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}});
    let namespaces: Api<CoreNamespace> = Api::all(namespace.client.clone());
    namespaces.patch(&namespace, &PatchParams::default(), &Patch::Merge(&enforce)).await.expect("labels");
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let template = shop("example/web:1", 1)
        .replace("deployment:", "ports: [{host_port: 80, container_port: 80}], deployment:");
    let failed = adapter.deployments().deploy(deploy(&namespace, "shop", &template)).await;
    refused(failed, Code::FailedPrecondition, "ADMISSION_DENIED");
    let told = told_of(&namespace, "DeployFailed").await;
    let [(_, kind, message)] = told.as_slice() else { panic!("{told:#?}") };
    assert_eq!(kind, "Warning");
    assert_eq!(message, "the first Deploy failed and is taken back: ADMISSION_DENIED (Pod web-pod)");
}

#[tokio::test]
async fn the_take_over_of_a_dead_operation_is_told() {
    let namespace = namespace("events-taken").await;
    let proxy = Proxy::start(control_plane().client(User::Adapter).await, Duration::ZERO).await;
    let kubeconfig = proxy.kubeconfig();
    let flags = ["--lease", "2s", "--namespaces", &namespace, "--metrics-listen", "127.0.0.1:0"];
    let mut dying = Binary::start(&kubeconfig, &flags);
    assert_eq!(measured(&dying, "panamax_takeovers_total").await, 0.0);
    let mut client =
        proto::deployment_service_client::DeploymentServiceClient::new(connect(dying.address).await);
    // Its lock is written, and nothing after that arrives.
    proxy.trap("pods/web-pod", Some((1, Point::Unsent)));
    let request = deploy_at_once(&namespace, "shop", &shop("example/web:1", 1));
    let call = client.deploy(request);
    tokio::select! {
        answer = call => panic!("it was to be held up: {answer:?}"),
        () = proxy.sprung() => {}
    }
    dying.kill();
    let living = Binary::start(&control_plane().kubeconfig(User::Adapter), &flags);
    let told = told_of(&namespace, "TakenOver").await;
    let (_, kind, message) = told.iter().find(|(reason, _, _)| reason == "TakenOver").expect("told");
    assert_eq!(kind, "Warning");
    assert!(message.starts_with("Deploy of ") && message.ends_with("was taken over"), "{message}");
    assert!(measured(&living, "panamax_takeovers_total").await >= 1.0);
    drop(living);
}

#[tokio::test]
async fn full_shows_what_happened_in_words_of_our_own() {
    let namespace = namespace("events-full").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let template = format!("{}- {{name: db, source: 'example/db:1'}}\n", shop("example/web:1", 2));
    client.deploy(deploy(&namespace, "shop", &template)).await.expect("deployed");
    let other = shop("example/web:1", 2).replace("Shop", "Other").replace("name: web", "name: front");
    client.deploy(modern(deploy(&namespace, "other", &other))).await.expect("deployed");
    noted(&namespace, "db-pod", "Failed").await;
    told_of(&namespace, "Deployed").await;
    let all = async {
        loop {
            let deployment = get(&adapter, &namespace).await;
            let has = |reason: &str| deployment.events.iter().any(|event| event.reason == reason);
            if ["Deployed", "Scheduled", "SuccessfulCreate", "Failed"].into_iter().all(has) {
                return deployment;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let deployment = tokio::time::timeout(PATIENCE, all).await.expect("all is shown in time");
    let events = &deployment.events;
    assert!(!format!("{deployment:?}").contains(SECRET));
    let failed = &events[0];
    assert_eq!((failed.reason.as_str(), failed.component.as_str(), failed.count), ("Failed", "db", 3));
    assert_eq!(failed.severity(), proto::Severity::Warning);
    assert!(failed.message.starts_with("the node could not pull"), "{failed:?}");
    let seconds = |event: &proto::DeploymentEvent| event.last_time.map(|time| (time.seconds, time.nanos));
    assert!(events.is_sorted_by(|left, right| seconds(left) >= seconds(right)), "{events:#?}");
    let of = |event: &proto::DeploymentEvent| {
        event.r#ref.clone().map(|object| (object.kind, event.component.clone()))
    };
    let kinds: BTreeSet<(String, String)> = events.iter().filter_map(of).collect();
    for (kind, component) in
        [("ConfigMap", ""), ("Pod", "web"), ("Pod", "db"), ("ReplicationController", "web")]
    {
        assert!(kinds.contains(&(kind.to_owned(), component.to_owned())), "{kind} {component} in {kinds:?}");
    }
    assert!(kinds.iter().all(|(kind, component)| kind != "Deployment" && component != "front"), "{kinds:?}");
    // A list shows the same, each with its own, and an apps Deployment's ReplicaSets.
    let request = proto::ListDeploymentsRequest {
        namespace: namespace.to_string(),
        view: proto::DeploymentView::Full.into(),
        ..Default::default()
    };
    let listed = client.list_deployments(request).await.expect("a list").into_inner().deployments;
    assert!(
        listed[0].events.iter().any(|event| event.r#ref.as_ref().is_some_and(|one| one.kind == "ReplicaSet"))
    );
    assert_eq!(listed[1].events[0], *failed);
}

#[tokio::test]
async fn a_full_watch_has_the_template_and_shares_a_few_looks_at_events() {
    let namespace = namespace("events-watch").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "shop", &shop("example/web:1", 1))).await.expect("deployed");
    recorded(&namespace, "shop", "ACTIVE").await;
    let mut calls = Recorder::start(control_plane()).namespace(&namespace).user(User::Adapter);
    let begin = Instant::now();
    let request = proto::WatchDeploymentRequest {
        namespace: namespace.to_string(),
        name: "shop".to_owned(),
        view: proto::DeploymentView::Full.into(),
        ..Default::default()
    };
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(client.watch_deployment(request.clone()).await.expect("a watch").into_inner());
    }
    for stream in &mut streams {
        let first = stream.message().await.expect("a message").expect("a snapshot");
        let Some(Update::Snapshot(first)) = first.event else { panic!("{first:?}") };
        let template = first.template.expect("the template");
        assert_eq!(template.images[0].environment[0].value(), "***");
        assert_eq!(template.images[0].source, "example/web:1");
    }
    client.deploy(deploy_at_once(&namespace, "shop", &shop("example/web:2", 1))).await.expect("updated");
    noted(&namespace, "web-pod", "BackOff").await;
    for stream in &mut streams {
        let shown = async {
            loop {
                let message = stream.message().await.expect("a message").expect("it goes on");
                let Some(Update::Snapshot(snapshot)) = message.event else { continue };
                let source = snapshot.template.map(|template| template.images[0].source.clone());
                let is_told = snapshot.events.iter().any(|event| event.reason == "BackOff");
                if is_told && source.as_deref() == Some("example/web:2") {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, shown).await.expect("shown in time");
    }
    let took = begin.elapsed();
    let all = calls.calls();
    let looks = all.iter().filter(|call| (call.verb.as_str(), call.resource.as_str()) == ("list", "events"));
    // One for all in five seconds.
    let allowed = took.as_secs() / 5 + 2;
    assert!(looks.count() as u64 <= allowed, "{took:?} {all:#?}");
}
