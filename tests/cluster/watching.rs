//! Following deployments: watches to their ends, causes of failures, waits that time out, lists in pages.

use std::time::Duration;

use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::PostParams;
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::watch_deployment_response::Event;
use panamax_kubernetes_adapter::proto::{ComponentReason, DeploymentState, WatchCompleteReason, WatchUntil};
use serde_json::json;
use tonic::Code;

use crate::support::adapter::{Adapter, deploy, deploy_at_once, modern, scale, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{recorded, refused, until};
use crate::support::namespace::{Namespace, namespace};
use crate::support::templates::{WORDPRESS, chain};

/// How long a watch may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// One component of this image.
fn of_image(image: &str, count: u32) -> String {
    format!("name: Web\nimages:\n- {{name: web, source: '{image}', deployment: {{count: {count}}}}}\n")
}

fn watch(namespace: &str, name: &str, until: WatchUntil) -> proto::WatchDeploymentRequest {
    proto::WatchDeploymentRequest {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        until: until.into(),
        ..Default::default()
    }
}

/// A watch under way.
struct Watch(tonic::Streaming<proto::WatchDeploymentResponse>);

impl Watch {
    async fn start(adapter: &Adapter, request: proto::WatchDeploymentRequest) -> Self {
        Self(adapter.deployments().watch_deployment(request).await.expect("a stream").into_inner())
    }

    async fn next(&mut self) -> Option<Event> {
        let message = tokio::time::timeout(PATIENCE, self.0.message()).await;
        let message = message.expect("an event in time").expect("an event")?;
        assert!(message.event_time.is_some(), "every event has its time");
        Some(message.event.expect("something in it"))
    }

    async fn snapshot(&mut self) -> proto::Deployment {
        loop {
            match self.next().await.expect("a snapshot") {
                Event::Snapshot(deployment) => return deployment,
                Event::Heartbeat(_) => {}
                Event::Complete(complete) => panic!("a snapshot, not {complete:?}"),
            }
        }
    }

    /// The snapshots from the first to the end, and the reason of the end.
    async fn all(mut self) -> (Vec<proto::Deployment>, WatchCompleteReason) {
        let mut snapshots = Vec::new();
        loop {
            match self.next().await.expect("a reason before the end") {
                Event::Snapshot(deployment) => snapshots.push(deployment),
                Event::Heartbeat(_) => {}
                Event::Complete(complete) => {
                    assert!(self.next().await.is_none(), "the reason is the last event");
                    return (snapshots, complete.reason());
                }
            }
        }
    }
}

#[tokio::test]
async fn a_watch_shows_a_snapshot_first_and_ends_with_its_reason() {
    let namespace = namespace("watch-ends").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let gone = Watch::start(&adapter, watch(&namespace, "wp", WatchUntil::Gone)).await.all().await;
    assert_eq!(gone, (vec![], WatchCompleteReason::Gone));
    for until in [WatchUntil::Unspecified, WatchUntil::Forever, WatchUntil::Ready, WatchUntil::Settled] {
        let answer = client.watch_deployment(watch(&namespace, "wp", until)).await;
        refused(answer, Code::NotFound, "DEPLOYMENT_NOT_FOUND");
    }
    client.deploy(deploy_at_once(&namespace, "wp", WORDPRESS)).await.expect("deployed");
    let ends = [WatchUntil::Ready, WatchUntil::Settled];
    let reasons = [WatchCompleteReason::Ready, WatchCompleteReason::Settled];
    for (until, wanted) in ends.into_iter().zip(reasons) {
        let (snapshots, reason) = Watch::start(&adapter, watch(&namespace, "wp", until)).await.all().await;
        assert_eq!(reason, wanted);
        let last = snapshots.last().expect("a snapshot");
        assert_eq!((last.state(), last.components.len()), (DeploymentState::Active, 2));
    }
    let mut forever = Watch::start(&adapter, watch(&namespace, "wp", WatchUntil::Forever)).await;
    let gone = Watch::start(&adapter, watch(&namespace, "wp", WatchUntil::Gone)).await;
    assert_eq!(forever.snapshot().await.state(), DeploymentState::Active);
    let (torn_down, forever, gone) =
        tokio::join!(client.teardown(teardown(&namespace, "wp")), forever.all(), gone.all());
    torn_down.expect("torn down");
    for (snapshots, reason) in [forever, gone] {
        assert_eq!(reason, WatchCompleteReason::Gone);
        assert!(snapshots.iter().any(|one| one.state() == DeploymentState::Deleting), "{snapshots:#?}");
    }
}

#[tokio::test]
async fn a_quiet_watch_beats() {
    let namespace = namespace("watch-beats").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    adapter.deployments().deploy(deploy(&namespace, "wp", WORDPRESS)).await.expect("deployed");
    let second = prost_types::Duration { seconds: 1, nanos: 0 };
    let mut request = watch(&namespace, "wp", WatchUntil::Forever);
    request.heartbeat_interval = Some(second);
    let mut watch = Watch::start(&adapter, request.clone()).await;
    watch.snapshot().await;
    let mut beats = 0;
    while beats < 2 {
        if let Some(Event::Heartbeat(_)) = watch.next().await {
            beats += 1;
        }
    }
    // A caller's deadline ends a watch with a word.
    let mut request = tonic::Request::new(request);
    request.set_timeout(Duration::from_secs(3));
    let stream = adapter.deployments().watch_deployment(request).await.expect("a stream").into_inner();
    assert_eq!(Watch(stream).all().await.1, WatchCompleteReason::Deadline);
}

#[tokio::test]
async fn a_watch_beside_others_sees_every_new_deployment() {
    let namespace = namespace("watch-beside").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    // The namespace's watches run already, and may be behind what a Deploy has just answered.
    adapter
        .deployments()
        .deploy(deploy(&namespace, "base", &of_image("example/a:1", 1)))
        .await
        .expect("deployed");
    let _other = Watch::start(&adapter, watch(&namespace, "base", WatchUntil::Forever)).await;
    for round in 0..10 {
        let name = format!("web-{round}");
        let template = of_image("example/a:1", 1).replace("name: web", &format!("name: {name}"));
        adapter.deployments().deploy(deploy_at_once(&namespace, &name, &template)).await.expect("deployed");
        let watched = Watch::start(&adapter, watch(&namespace, &name, WatchUntil::Ready)).await.all().await;
        assert_eq!(watched.1, WatchCompleteReason::Ready);
        assert!(!watched.0.is_empty(), "a snapshot first");
    }
}

#[tokio::test]
async fn a_failing_component_says_why() {
    let namespace = namespace("watch-causes").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let cases = [
        ("docker.io/example/missing:x", ComponentReason::ImagePullFailed, "ImagePullBackOff"),
        ("docker.io/example/crashing:x", ComponentReason::CrashLooping, "exit code 1"),
    ];
    for (image, reason, words) in cases {
        for count in [1, 2] {
            let request = deploy_at_once(&namespace, "web", &of_image(image, count));
            adapter.deployments().deploy(request).await.expect("deployed");
            let settled =
                Watch::start(&adapter, watch(&namespace, "web", WatchUntil::Settled)).await.all().await;
            assert_eq!(settled.1, WatchCompleteReason::Settled);
            let last = settled.0.last().expect("a snapshot");
            assert_eq!((last.state(), last.reason()), (DeploymentState::Failed, reason), "{last:#?}");
            let component = &last.components[0];
            assert_eq!((component.state(), component.reason()), (proto::ComponentState::Failed, reason));
            assert!(component.message.contains(words), "{component:#?}");
            let mut request = deploy(&namespace, "web", &of_image(image, count));
            request.wait_timeout = Some(prost_types::Duration { seconds: 1, nanos: 0 });
            let refusal =
                refused(adapter.deployments().deploy(request).await, Code::DeadlineExceeded, "WAIT_TIMEOUT");
            assert!(refusal.message.contains(words), "{refusal:#?}");
            assert_eq!(refusal.fact("applied"), "true");
            adapter.deployments().teardown(teardown(&namespace, "web")).await.expect("torn down");
        }
    }
}

#[tokio::test]
async fn a_quota_that_stops_a_controller_is_named() {
    let namespace = namespace("watch-quota").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let quota = json!({"metadata": {"name": "few"}, "spec": {"hard": {"pods": "1"}}});
    let quota: ResourceQuota = serde_json::from_value(quota).expect("a quota");
    namespace.api().create(&PostParams::default(), &quota).await.expect("it can be made");
    let counts = |quota: Option<&ResourceQuota>| {
        quota.and_then(|quota| quota.status.as_ref()?.used.as_ref()).is_some_and(|used| !used.is_empty())
    };
    until(&namespace, "few", counts).await;
    let template = of_image("example/web:1", 3);
    let deployed = adapter.deployments().deploy(deploy_at_once(&namespace, "web", &template)).await;
    deployed.expect("a controller is no pod");
    let mut watch = Watch::start(&adapter, watch(&namespace, "web", WatchUntil::Forever)).await;
    let settled = loop {
        let snapshot = watch.snapshot().await;
        if snapshot.state() == DeploymentState::Degraded {
            break snapshot;
        }
    };
    let component = &settled.components[0];
    assert_eq!(component.reason(), ComponentReason::QuotaExceeded, "{component:#?}");
    assert_eq!((component.desired_replicas(), component.ready_replicas()), (3, 1));
}

/// Deploys `web-0` to `web-4`; the last is stopped.
async fn five(namespace: &Namespace, adapter: &Adapter) {
    let mut client = adapter.deployments();
    for number in 0..5 {
        let (name, count) = (format!("web-{number}"), if number == 4 { 0 } else { 1 });
        let template = of_image("example/a:1", count).replace("name: web", &format!("name: {name}"));
        client.deploy(deploy(namespace, &name, &template)).await.expect("deployed");
        recorded(namespace, &name, if count == 0 { "STOPPED" } else { "ACTIVE" }).await;
    }
}

fn listed(answer: &proto::ListDeploymentsResponse) -> Vec<&str> {
    answer.deployments.iter().map(|one| one.name.as_str()).collect()
}

#[tokio::test]
async fn deployments_are_listed_in_pages_and_by_state() {
    let namespace = namespace("watch-list").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    five(&namespace, &adapter).await;
    let of = |namespace: &str| proto::ListDeploymentsRequest {
        namespace: namespace.to_owned(),
        ..Default::default()
    };
    let all = client.list_deployments(of(&namespace)).await.expect("a list").into_inner();
    assert_eq!(listed(&all), ["web-0", "web-1", "web-2", "web-3", "web-4"]);
    assert_eq!(all.next_page_token, "");
    let (mut sizes, mut seen, mut token) = (Vec::new(), Vec::new(), String::new());
    loop {
        let request = proto::ListDeploymentsRequest { page_size: 2, page_token: token, ..of(&namespace) };
        let page = client.list_deployments(request).await.expect("a page").into_inner();
        sizes.push(page.deployments.len());
        seen.extend(page.deployments.into_iter().map(|one| one.name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((sizes, seen.len()), (vec![2, 2, 1], 5));
    assert!(seen.is_sorted(), "{seen:?}");
    let bad = proto::ListDeploymentsRequest { page_token: "bogus".to_owned(), ..of(&namespace) };
    refused(client.list_deployments(bad).await, Code::Aborted, "PAGE_TOKEN_EXPIRED");
    // A token is of one list alone, however many are asked for at a time.
    let first = proto::ListDeploymentsRequest { page_size: 2, ..of(&namespace) };
    let token = client.list_deployments(first).await.expect("a page").into_inner().next_page_token;
    let next = proto::ListDeploymentsRequest { page_token: token, ..of(&namespace) };
    assert_eq!(
        client.list_deployments(next.clone()).await.expect("the rest").into_inner().deployments.len(),
        3
    );
    for other in [
        proto::ListDeploymentsRequest { namespace: "default".to_owned(), ..next.clone() },
        proto::ListDeploymentsRequest { states: vec![DeploymentState::Active.into()], ..next.clone() },
        proto::ListDeploymentsRequest { label_selector: "a=b".to_owned(), ..next.clone() },
        proto::ListDeploymentsRequest { view: proto::DeploymentView::Full.into(), ..next.clone() },
    ] {
        let refusal = refused(client.list_deployments(other).await, Code::InvalidArgument, "FIELD_INVALID");
        assert_eq!(refusal.fields(), ["page_token"]);
    }
    for view in [proto::DeploymentView::Basic, proto::DeploymentView::Full] {
        let stopped = proto::ListDeploymentsRequest {
            states: vec![DeploymentState::Stopped.into()],
            view: view.into(),
            ..of(&namespace)
        };
        let stopped = client.list_deployments(stopped).await.expect("a list").into_inner();
        assert_eq!(listed(&stopped), ["web-4"], "{view:?}");
    }
    let everywhere = client.list_deployments(of("-")).await.expect("a list").into_inner();
    let here = everywhere.deployments.iter().filter(|one| one.namespace == *namespace);
    assert_eq!(here.count(), 5);
    let selected = proto::ListDeploymentsRequest {
        label_selector: "app.kubernetes.io/instance in (web-1, web-3)".to_owned(),
        ..of(&namespace)
    };
    let selected = client.list_deployments(selected).await.expect("a list").into_inner();
    assert_eq!(listed(&selected), ["web-1", "web-3"]);
    let bad = proto::ListDeploymentsRequest { label_selector: "a in (".to_owned(), ..of(&namespace) };
    let refusal = refused(client.list_deployments(bad).await, Code::InvalidArgument, "FIELD_INVALID");
    assert_eq!(refusal.violations[0].0, "label_selector");
}

#[tokio::test]
async fn a_wait_for_scaling_names_what_is_missing() {
    let namespace = namespace("watch-scale").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let template = of_image("docker.io/example/missing:x", 2);
    client.deploy(deploy_at_once(&namespace, "web", &template)).await.expect("deployed");
    let mut request = scale(&namespace, "web", "web", 3);
    request.wait_timeout = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let refusal = refused(client.scale(request).await, Code::DeadlineExceeded, "WAIT_TIMEOUT");
    assert!(refusal.message.contains("component web"), "{refusal:#?}");
    let scaled = client.scale(scale(&namespace, "web", "web", 0)).await.expect("stopped").into_inner();
    assert_eq!(scaled.deployment.expect("a deployment").state(), DeploymentState::Stopped);
    client.deploy(deploy_at_once(&namespace, "big", &chain(3))).await.expect("beside it");
}

#[tokio::test]
async fn a_watch_until_settled_waits_for_what_still_changes_of_itself() {
    let namespace = namespace("watch-settled").await;
    let grace = Duration::from_secs(8);
    let adapter = Adapter::impatient(control_plane(), User::Adapter, grace).await;
    let template = "name: Web\nimages:\n- {name: web, source: 'docker.io/example/missing:1'}\n\
                    - {name: db, source: 'example/db:1', volumes: [{container_path: /data}]}\n";
    let mut request = modern(deploy_at_once(&namespace, "web", template));
    request.options.get_or_insert_default().storage_class = "no-such-class".to_owned();
    adapter.deployments().deploy(request).await.expect("written");
    let watch = Watch::start(&adapter, watch(&namespace, "web", WatchUntil::Settled)).await;
    let (snapshots, reason) = watch.all().await;
    assert_eq!(reason, WatchCompleteReason::Settled);
    let states = |deployment: &proto::Deployment| {
        deployment.components.iter().map(|one| one.state()).collect::<Vec<_>>()
    };
    let last = snapshots.last().expect("a snapshot");
    assert_eq!(states(last), [proto::ComponentState::Failed; 2], "{last:#?}");
    // Nobody was told that a workload is missing while it was made.
    let reasons = snapshots.iter().flat_map(|one| one.components.iter().map(|one| one.reason()));
    assert!(!reasons.into_iter().any(|reason| reason == ComponentReason::WorkloadMissing));
}
