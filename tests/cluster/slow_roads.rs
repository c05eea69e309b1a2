//! Calls on a slow road arrive when others have changed what they were decided on.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ReplicationController, Secret};
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use panamax_kubernetes_adapter::clock::Clock;
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::record::Head;
use serde_json::json;
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use super::fencing;
use crate::support::adapter::{Adapter, deploy, deploy_at_once, modern, scale, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{at_rest, eventually, recorded, refused, remove, same, until};
use crate::support::namespace::{Namespace, namespace};
use crate::support::proxy::{Point, Proxy};

/// Long enough that nobody renews it by itself in a test.
const LEASE: Duration = Duration::from_secs(30);
/// How long a call may take to come to where it is held up.
const SOON: Duration = Duration::from_secs(10);
/// The write of the record by an operation, at the end of its query.
const NOTE: &str = "fieldManager=panamax&";

fn template(edition: u32) -> String {
    format!(
        "name: Web\nimages:\n- {{name: web, source: 'example/web:{edition}', deployment: {{count: 1}}}}\n"
    )
}

fn request(namespace: &str, edition: u32) -> proto::DeployRequest {
    modern(deploy(namespace, "web", &template(edition)))
}

/// An adapter behind a road, and one at the API server itself.
async fn two() -> (Proxy, Adapter, Adapter) {
    let road = Proxy::start(control_plane().client(User::Adapter).await, Duration::ZERO).await;
    let slow = Adapter::serve_by(road.config(), None, LEASE, Clock::system()).await;
    (road, slow, Adapter::real(control_plane(), User::Adapter).await)
}

/// Makes a call in a task of its own.
fn calling<T: Send + 'static>(
    call: impl Future<Output = Result<tonic::Response<T>, Status>> + Send + 'static,
) -> JoinHandle<Result<tonic::Response<T>, Status>> {
    #[expect(clippy::disallowed_methods, reason = "the test's runtime ends it")]
    tokio::spawn(call)
}

/// A Scale of `web` to 3 that is held up at the call with this part; others act, and the road is open again.
async fn held_scale(
    (road, slow): (&Proxy, &Adapter),
    namespace: &Namespace,
    part: &str,
    meanwhile: impl Future<Output = ()>,
) -> Result<tonic::Response<proto::ScaleResponse>, Status> {
    road.trap(part, Some((1, Point::Unsent)));
    let request =
        proto::ScaleRequest { wait: proto::WaitMode::None.into(), ..scale(namespace, "web", "web", 3) };
    let mut client = slow.deployments();
    let held = calling(async move { client.scale(request).await });
    tokio::time::timeout(SOON, road.sprung()).await.expect("it gets there");
    meanwhile.await;
    road.open();
    road.trap("", None);
    held.await.expect("no panic")
}

/// The count that Scale has set, as the record has it.
async fn noted(namespace: &Namespace) -> Option<i32> {
    let record = namespace.api::<ConfigMap>().get("panamax-deployment-web").await.expect("a record");
    let text = record.data.as_ref().and_then(|data| data.get("head.json")).expect("a head");
    let head: Head = serde_json::from_str(text).expect("a head that can be read");
    head.inventory.iter().find_map(|member| member.scaled_replicas)
}

#[tokio::test]
async fn a_count_is_noted_of_no_other_deployment_and_no_other_object() {
    let namespace = namespace("slow-note").await;
    let (road, slow, other) = two().await;
    other.deployments().deploy(request(&namespace, 1)).await.expect("deployed");
    // Another deployment of the name.
    let anew = async {
        other.deployments().teardown(teardown(&namespace, "web")).await.expect("torn down");
        other.deployments().deploy(request(&namespace, 1)).await.expect("deployed anew");
    };
    let answer = held_scale((&road, &slow), &namespace, NOTE, anew).await;
    let refusal = refused(answer, Code::Aborted, "OPERATION_IN_PROGRESS");
    assert_eq!(refusal.fact("applied"), "true", "{refusal:#?}");
    at_rest(&namespace, "web").await;
    assert_eq!(noted(&namespace).await, None);
    // Another controller, in the same deployment.
    let again = async {
        remove::<Deployment>(&namespace, "web").await;
        other.deployments().deploy(request(&namespace, 1)).await.expect("created again");
    };
    held_scale((&road, &slow), &namespace, NOTE, again).await.expect("scaled, before it was deleted");
    at_rest(&namespace, "web").await;
    assert_eq!(noted(&namespace).await, None);
    // A later count.
    let back = async {
        let mut request = request(&namespace, 1);
        request.options.get_or_insert_default().set_replicas_policy(proto::ReplicasPolicy::Template);
        other.deployments().deploy(request).await.expect("put back");
    };
    held_scale((&road, &slow), &namespace, NOTE, back).await.expect("scaled, before it was put back");
    at_rest(&namespace, "web").await;
    assert_eq!(noted(&namespace).await, None);
    let same = other.deployments().deploy(request(&namespace, 1)).await.expect("deployed").into_inner();
    let codes: Vec<_> = same.diagnostics.iter().map(|one| one.code.as_str()).collect();
    assert!(!codes.contains(&"REPLICAS_KEPT"), "{same:#?}");
}

#[tokio::test]
async fn a_scale_that_meets_an_operation_waits_to_note_what_it_has_set() {
    let namespace = namespace("slow-scale").await;
    let (road, slow, other) = two().await;
    other.deployments().deploy(request(&namespace, 1)).await.expect("deployed");
    let their_road = Proxy::start(control_plane().client(User::Adapter).await, Duration::ZERO).await;
    let theirs = Adapter::serve_by(their_road.config(), None, LEASE, Clock::system()).await;
    // The Deploy holds the lock when the count is set, and until the Scale has met it.
    their_road.trap("/deployments/web", Some((1, Point::Unsent)));
    road.trap("panamax-scale", Some((1, Point::Unsent)));
    let count =
        proto::ScaleRequest { wait: proto::WaitMode::None.into(), ..scale(&namespace, "web", "web", 3) };
    let mut client = slow.deployments();
    let scaled = calling(async move { client.scale(count).await });
    tokio::time::timeout(SOON, road.sprung()).await.expect("it gets there");
    let (mut client, update) = (theirs.deployments(), request(&namespace, 2));
    let update = calling(async move { client.deploy(update).await });
    tokio::time::timeout(SOON, their_road.sprung()).await.expect("it holds the lock");
    road.open();
    until::<Deployment>(&namespace, "web", |web: Option<&Deployment>| {
        web.and_then(|web| web.spec.as_ref()?.replicas) == Some(3)
    })
    .await;
    their_road.open();
    update.await.expect("no panic").expect("updated");
    scaled.await.expect("no panic").expect("scaled");
    at_rest(&namespace, "web").await;
    assert_eq!(noted(&namespace).await, Some(3));
}

#[tokio::test]
async fn who_has_lost_its_record_writes_over_nobody() {
    let namespace = namespace("slow-loser").await;
    let (road, slow, other) = two().await;
    road.trap("/deployments/web", Some((1, Point::Unsent)));
    let mut client = slow.deployments();
    let first = deploy_at_once(&namespace, "web", &template(1));
    let lost = calling(async move { client.deploy(modern(first)).await });
    tokio::time::timeout(SOON, road.sprung()).await.expect("it gets there");
    remove::<ConfigMap>(&namespace, "panamax-deployment-web").await;
    other.deployments().deploy(request(&namespace, 2)).await.expect("deployed");
    recorded(&namespace, "web", "ACTIVE").await;
    road.open();
    let refusal = refused(lost.await.expect("no panic"), Code::Aborted, "OPERATION_IN_PROGRESS");
    assert_eq!(refusal.fact("applied"), "unknown", "{refusal:#?}");
    let web = namespace.api::<Deployment>().get("web").await.expect("it stands");
    let pods = web.spec.and_then(|spec| spec.template.spec).expect("pods");
    assert_eq!(pods.containers[0].image.as_deref(), Some("example/web:2"));
    at_rest(&namespace, "web").await;
}

#[tokio::test]
async fn a_pod_that_a_controller_had_taken_over_is_nothing_that_came_late() {
    let namespace = namespace("slow-orphan").await;
    let road = Proxy::start(control_plane().client(User::Adapter).await, Duration::ZERO).await;
    let adapter = Adapter::keeping(road.config(), &namespace).await;
    let mut client = adapter.deployments();
    // The one that crashes keeps the keeper awake.
    let text = "name: Web\nimages:\n- {name: web, source: 'example/web:1'}\n- {name: bad, source: 'example/crashing:1'}\n";
    client.deploy(deploy_at_once(&namespace, "web", text)).await.expect("deployed");
    let request = scale(&namespace, "web", "web", 2);
    client
        .scale(proto::ScaleRequest { wait: proto::WaitMode::None.into(), ..request })
        .await
        .expect("scaled");
    let wanted = |web: Option<&ReplicationController>| {
        web.and_then(|web| web.status.as_ref()?.ready_replicas) == Some(2)
    };
    until::<ReplicationController>(&namespace, "web-replication-controller", wanted).await;
    let pod = || async { namespace.api::<Pod>().get("web-pod").await.map_err(|error| error.to_string()) };
    let first = pod().await.expect("it was taken over").uid();
    let orphaning = DeleteParams::orphan();
    let controllers = namespace.api::<ReplicationController>();
    controllers.delete("web-replication-controller", &orphaning).await.expect("deleted");
    // The keeper has seen it without a controller once it has seen what comes after that.
    until::<ReplicationController>(&namespace, "web-replication-controller", |gone: Option<&_>| {
        gone.is_none()
    })
    .await;
    client
        .deploy(deploy_at_once(&namespace, "web", &text.replace("crashing:1", "crashing:2")))
        .await
        .expect("deployed");
    eventually(async || same(&pod().await?.metadata.owner_references.is_some(), &true)).await;
    assert_eq!(pod().await.expect("it serves").uid(), first);
    // Somebody takes it out of service to look at it.
    let labels = json!({"metadata": {"labels": {"name": "web-debug"}}});
    namespace
        .api::<Pod>()
        .patch("web-pod", &PatchParams::default(), &Patch::Merge(&labels))
        .await
        .expect("labelled");
    client
        .deploy(deploy_at_once(&namespace, "web", &text.replace("crashing:1", "crashing:3")))
        .await
        .expect("deployed");
    assert_eq!(pod().await.expect("it is somebody's").uid(), first);
}

/// A Secret that a dead process has sent arrives when whoever took over has made it, too, and a Deploy has removed it.
#[tokio::test]
async fn a_secret_that_comes_after_it_was_removed_is_removed() {
    let namespace = namespace("fence-removed").await;
    let (_other, other) = fencing::replica(&namespace, None).await;
    let sent = ("PATCH", "/secrets/late-environment");
    let kept = fencing::kept_of_the_dead(&namespace, &fencing::proxy().await, sent, 1, 6).await;
    let secrets = namespace.api::<Secret>();
    let until = async |is_there: bool, patience: Duration| {
        let patience = Instant::now() + patience;
        while secrets.get_opt("late-environment").await.expect("an answer").is_some() != is_there {
            assert!(Instant::now() < patience, "is it there? {}", !is_there);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    until(true, fencing::LEASE + fencing::KEEPER).await;
    recorded(&namespace, "web", "ACTIVE").await;
    fencing::wins(&namespace, &other, 3).await;
    until(false, fencing::KEEPER).await;
    let (code, text) = kept.deliver(&control_plane().client(User::Adapter).await).await;
    assert_eq!(code, 201, "{text}");
    until(false, fencing::DOUBT + fencing::KEEPER).await;
}
