//! How often a caller waits for the cluster: round trips of a first Deploy, and calls while waiting.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::watch_deployment_response::Event;
use serde_json::json;

use crate::support::adapter::{Adapter, deploy, deploy_at_once};
use crate::support::calls::{Call, Recorder};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::recorded;
use crate::support::namespace::{Namespace, namespace};
use crate::support::proxy::{Passed, Proxy};
use crate::support::templates::chain;

/// Far longer than the calls of one stage need to start, and than an answer of the API server takes.
const DELAY: Duration = Duration::from_millis(250);

/// What one answer has cost at the API server; renewals of the lease, what the keeper does and Events are not counted: an
/// Event is told after the answer, or beside the work, and nobody waits for it.
struct Cost {
    calls: usize,
    trips: usize,
    shown: Vec<String>,
}

/// Makes a call and counts what it takes, watches aside, and what the keeper does for the small deployment before it.
async fn cost<T>(proxy: &Proxy, namespace: &str, call: impl Future<Output = T>) -> Cost {
    let began = Instant::now();
    call.await;
    let answered = Instant::now();
    let mut calls = proxy.passed();
    calls.retain(|call| {
        call.uri.contains(namespace)
            && call.began >= began
            && call.began < answered
            && !call.uri.contains("fieldManager=panamax-lease")
            && !is_of_an_event(&call.uri)
            && !call.uri.contains("panamax-deployment-small")
            && !is_of_a_watch(&call.uri)
    });
    let shown = calls.iter().map(|call| format!("{} {}", call.method, call.uri)).collect();
    let (calls, trips) = (calls.len(), longest_chain(&calls));
    eprintln!("{calls} calls, {trips} round trips, {:?}", answered - began);
    Cost { calls, trips, shown }
}

/// Whether a call is a watch, or the list that one begins with: such lists are of all deployments.
fn is_of_a_watch(uri: &str) -> bool {
    uri.contains("watch=") || uri.contains("limit=500") && !uri.contains("instance")
}

/// Whether a call creates or lists Events.
fn is_of_an_event(uri: &str) -> bool {
    uri.split('?').next().is_some_and(|path| path.ends_with("/events"))
}

/// A first Deploy of 39 objects, and the same again.
async fn costs(adapter: &Adapter, proxy: &Proxy, namespace: &Namespace) -> [Cost; 2] {
    let deploy = || async {
        let request = deploy_at_once(namespace, "chain", &chain(20));
        adapter.deployments().deploy(request).await.expect("deployed");
    };
    let first = cost(proxy, namespace, deploy()).await;
    recorded(namespace, "chain", "ACTIVE").await;
    let again = cost(proxy, namespace, deploy()).await;
    [first, again]
}

#[tokio::test]
async fn a_first_deploy_takes_five_round_trips() {
    let namespace = namespace("trips").await;
    let proxy = Proxy::start(control_plane().client(User::Adapter).await, DELAY).await;
    let adapter = Adapter::serve(kube::Config::new(proxy.url.parse().expect("an address")), None).await;
    let [first, again] = costs(&adapter, &proxy, &namespace).await;
    assert!(first.calls <= 39 + 4, "{} calls", first.calls);
    assert!(first.trips <= 5, "{} round trips: {:#?}", first.trips, first.shown);
    assert!(again.calls <= 2 + 2 && again.trips <= 2, "{} round trips: {:#?}", again.trips, again.shown);
}

#[tokio::test]
async fn a_first_deploy_takes_four_round_trips_where_the_keeper_watches() {
    let namespace = namespace("trips-kept").await;
    let proxy = Proxy::start(control_plane().client(User::Adapter).await, DELAY).await;
    let config = kube::Config::new(proxy.url.parse().expect("an address"));
    let adapter = Adapter::keeping(config, &namespace).await;
    // Long after the keeper's first look.
    let small = "name: Small\nimages:\n- {name: web, source: 'example/web:1'}\n";
    adapter.deployments().deploy(deploy(&namespace, "small", small)).await.expect("deployed");
    let [first, again] = costs(&adapter, &proxy, &namespace).await;
    assert!(first.calls <= 39 + 3, "{} calls: {:#?}", first.calls, first.shown);
    assert!(first.trips <= 4, "{} round trips: {:#?}", first.trips, first.shown);
    assert!(again.calls <= 2 + 2 && again.trips <= 2, "{} round trips: {:#?}", again.trips, again.shown);
}

#[tokio::test]
async fn the_keepers_watch_of_records_is_the_only_one() {
    let namespace = namespace("trips-records").await;
    let proxy = Proxy::start(control_plane().client(User::Adapter).await, Duration::ZERO).await;
    let config = kube::Config::new(proxy.url.parse().expect("an address"));
    let adapter = Adapter::keeping(config, &namespace).await;
    let template = |tag: u32| {
        format!(
            "name: Kept\nimages:\n- {{name: web, source: 'docker.io/library/nginx:{tag}', deployment: {{count: 2}}}}\n"
        )
    };
    adapter.deployments().deploy(deploy(&namespace, "kept", &template(1))).await.expect("deployed");
    recorded(&namespace, "kept", "ACTIVE").await;
    let began = Instant::now();
    // Between answer and rest, and for those who wait and watch.
    adapter.deployments().deploy(deploy(&namespace, "kept", &template(2))).await.expect("deployed again");
    recorded(&namespace, "kept", "ACTIVE").await;
    let until = proto::WatchUntil::Ready.into();
    let (name, namespace_name) = ("kept".to_owned(), namespace.to_string());
    let request =
        proto::WatchDeploymentRequest { namespace: namespace_name, name, until, ..Default::default() };
    let mut events = adapter.deployments().watch_deployment(request).await.expect("a watch").into_inner();
    let ended = async { while events.message().await.expect("an event").is_some() {} };
    tokio::time::timeout(Duration::from_secs(30), ended).await.expect("ready at once");
    let calls = proxy.passed();
    let since = |call: &&Passed| call.began >= began && call.uri.contains(&*namespace);
    let shown: Vec<_> =
        calls.iter().filter(since).map(|call| format!("{} {}", call.method, call.uri)).collect();
    assert!(shown.iter().any(|call| call.contains("/pods?")), "members are watched: {shown:#?}");
    let of_records: Vec<_> = shown.iter().filter(|call| call.contains("/configmaps?")).collect();
    assert!(
        of_records.iter().all(|call| call.contains("fieldManager=")),
        "records are listed or watched again: {of_records:#?}"
    );
}

/// The longest run of calls of which each began after the one before it had ended.
fn longest_chain(calls: &[Passed]) -> usize {
    let mut spans: Vec<_> = calls.iter().map(|call| (call.ended, call.began)).collect();
    spans.sort();
    let mut length = 0;
    let mut last = None;
    for (ended, began) in spans {
        if last.is_none_or(|last| began >= last) {
            length += 1;
            last = Some(ended);
        }
    }
    length
}

#[tokio::test]
async fn waiting_reads_nothing_after_its_first_look() {
    let namespace = namespace("trips-wait").await;
    let plane = control_plane();
    let adapter = Adapter::real(plane, User::Adapter).await;
    let template = "name: Slow\nimages:\n- {name: web, source: 'docker.io/example/missing:x'}\n";
    let (mut waiting, mut watching) = (adapter.deployments(), adapter.deployments());
    let deployed = waiting.deploy(deploy(&namespace, "slow", template));
    let watched = async {
        let failing = watch_until_failed(&mut watching, &namespace).await;
        // Both wait now, and everything they need to read they have read; the failure is recorded too.
        recorded(&namespace, "slow", "FAILED").await;
        let mut calls = Recorder::start(plane).namespace(&namespace).user(User::Adapter);
        // As a node tells it once the registry has the image.
        let status = json!({"status": {
            "phase": "Running",
            "conditions": [{"type": "ContainersReady", "status": "True"}, {"type": "Ready", "status": "True"}],
            "containerStatuses": [{
                "name": "web", "image": "docker.io/example/missing:x", "imageID": "", "restartCount": 0,
                "ready": true, "started": true, "state": {"running": {}},
            }],
        }});
        let pods = namespace.api::<Pod>();
        let parameters = PatchParams::default();
        pods.patch_status("web-pod", &parameters, &Patch::Strategic(status)).await.expect("a status");
        let mut failing = failing;
        while let Some(event) = failing.message().await.expect("an event") {
            if let Some(Event::Complete(complete)) = event.event {
                assert_eq!(complete.reason(), proto::WatchCompleteReason::Ready);
                break;
            }
        }
        let all = calls.requests();
        let mut reads = all.clone();
        reads.retain(|call| call.verb == "get" || call.verb == "list");
        // What records the outcome may meet its own last write, and looks again then.
        let is_lost = |call: &&Call| call.code == 409 && call.uri.contains("fieldManager=panamax-keeper");
        assert!(reads.len() <= all.iter().filter(is_lost).count(), "among {all:#?}");
    };
    let (deployed, ()) = tokio::join!(deployed, watched);
    let deployment = deployed.expect("deployed").into_inner().deployment.expect("a deployment");
    assert_eq!(deployment.state(), proto::DeploymentState::Active);
}

/// Watches until READY, from the moment the deployment is there; returns the stream once it shows a failure.
async fn watch_until_failed(
    client: &mut proto::deployment_service_client::DeploymentServiceClient<tonic::transport::Channel>,
    namespace: &str,
) -> tonic::Streaming<proto::WatchDeploymentResponse> {
    let request = proto::WatchDeploymentRequest {
        namespace: namespace.to_owned(),
        name: "slow".to_owned(),
        until: proto::WatchUntil::Ready.into(),
        ..Default::default()
    };
    let give_up = Instant::now() + Duration::from_secs(30);
    let mut stream = loop {
        match client.watch_deployment(request.clone()).await {
            Ok(stream) => break stream.into_inner(),
            Err(status) => assert_eq!(status.code(), tonic::Code::NotFound, "{status}"),
        }
        assert!(Instant::now() < give_up, "the deployment appears");
    };
    while let Some(event) = stream.message().await.expect("an event") {
        if let Some(Event::Snapshot(deployment)) = event.event
            && deployment.state() == proto::DeploymentState::Failed
        {
            return stream;
        }
    }
    panic!("the watch ended before the image failed");
}
