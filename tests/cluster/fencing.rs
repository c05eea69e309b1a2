//! Whoever lost the lock changes nothing any more: clocks that are wrong, processes that sleep, writes that come late.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use panamax_kubernetes_adapter::clock::Clock;
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;
use panamax_kubernetes_adapter::proto::watch_deployment_response::Event;
use panamax_kubernetes_adapter::proto::{WatchCompleteReason, WatchUntil};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::support::adapter::{Adapter, Binary, connect, deploy_at_once, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{recorded, refused, remove, until};
use crate::support::namespace::{Namespace, namespace};
use crate::support::patience::{in_progress, retried};
use crate::support::proxy::{Fault, Kept, Point, Proxy};
use crate::support::survey::{Survey, translated};

/// The lease of everyone here.
pub(super) const LEASE: Duration = Duration::from_secs(3);
/// What a take-over may cost beyond the lease: a caller's pause, and the work itself.
const WORK: Duration = Duration::from_secs(4);
/// How long the adapter looks out for what may still arrive.
pub(super) const DOUBT: Duration = Duration::from_secs(60);
/// How long a keeper may take once the lease is over.
pub(super) const KEEPER: Duration = Duration::from_secs(15);

/// A bare component whose Secret and image change, and one that only one of two templates has, with a Secret of its own.
fn template(edition: u32) -> String {
    let other = if edition == 2 { "late" } else { "other" };
    let secret = if edition == 2 { ", environment: [{variable: A_PASSWORD, value: late}]" } else { "" };
    format!(
        "name: Web\nimages:\n\
         - {{name: web, source: 'example/web:{edition}', environment: [{{variable: A_PASSWORD, value: 'v{edition}'}}]}}\n\
         - {{name: {other}, source: 'example/{other}:1', deployment: {{count: 2}}{secret}}}\n"
    )
}

fn request(namespace: &str, edition: u32) -> proto::DeployRequest {
    let request = deploy_at_once(namespace, "web", &template(edition));
    let mut options = request.options.clone().unwrap_or_default();
    options.set_secrets(proto::SecretHandling::Secret);
    proto::DeployRequest { options: Some(options), ..request }
}

fn waiting(request: proto::DeployRequest) -> proto::DeployRequest {
    proto::DeployRequest { wait: proto::WaitMode::Ready.into(), ..request }
}

/// A road that can be closed.
pub(super) async fn proxy() -> Proxy {
    Proxy::start(control_plane().client(User::Adapter).await, Duration::ZERO).await
}

/// An adapter behind a proxy, whose clock is wrong by so many hours.
async fn off_by(proxy: &Proxy, hours: i64) -> Adapter {
    let clock = Clock::new(move || Timestamp::now() + SignedDuration::from_hours(hours));
    Adapter::serve_by(proxy.config(), None, LEASE, clock).await
}

/// The binary behind a proxy or at the API server itself, keeping this namespace.
pub(super) async fn replica(
    namespace: &Namespace,
    proxy: Option<&Proxy>,
) -> (Binary, DeploymentServiceClient<Channel>) {
    let kubeconfig = proxy.map_or_else(|| control_plane().kubeconfig(User::Adapter), Proxy::kubeconfig);
    let (lease, name) = (format!("{}s", LEASE.as_secs()), namespace.to_string());
    let start = move || Binary::start(&kubeconfig, &["--lease", &lease, "--namespaces", &name]);
    let binary = tokio::task::spawn_blocking(start).await.expect("the binary starts");
    let client = DeploymentServiceClient::new(connect(binary.address).await);
    (binary, client)
}

/// Calls in a task of its own.
fn calling(
    mut client: DeploymentServiceClient<Channel>,
    request: proto::DeployRequest,
) -> tokio::task::JoinHandle<Result<tonic::Response<proto::DeployResponse>, Status>> {
    #[expect(clippy::disallowed_methods, reason = "the test's runtime ends it")]
    tokio::spawn(async move { client.deploy(request).await })
}

#[tokio::test]
async fn clocks_an_hour_apart_change_nothing() {
    let namespace = namespace("fence-clocks").await;
    for (round, hours) in [(0, 1), (1, -1)] {
        let (first_road, second_road) = (proxy().await, proxy().await);
        let (first, second) = (off_by(&first_road, hours).await, off_by(&second_road, -hours).await);
        if round == 0 {
            first.deployments().deploy(waiting(request(&namespace, 1))).await.expect("deployed");
        }
        // Its operation stands still while its lease is renewed: that lives, whatever the other's clock says.
        first_road.befall("PATCH", "/pods/web-pod", 1, Fault::Silence);
        let held = calling(first.deployments(), request(&namespace, 2 + 2 * round));
        let taken = |head: Option<&ConfigMap>| {
            let labels = head.and_then(|head| head.metadata.labels.as_ref());
            labels.is_some_and(|labels| labels["panamax.io/phase"] == "applying")
        };
        until::<ConfigMap>(&namespace, "panamax-deployment-web", taken).await;
        let began = Instant::now();
        while began.elapsed() < LEASE * 2 {
            let answer = second.deployments().deploy(request(&namespace, 3 + 2 * round)).await;
            refused(answer, Code::Aborted, "OPERATION_IN_PROGRESS");
            tokio::time::sleep(LEASE / 6).await;
        }
        // Dead, it is waited for as long as its lease is, and no longer.
        first_road.close();
        let died = Instant::now();
        let next = || {
            let (mut client, request) = (second.deployments(), request(&namespace, 3 + 2 * round));
            async move { client.deploy(request).await }
        };
        let (won, _) = retried(next).await;
        assert_eq!(won.expect("taken over").outcome(), proto::DeployOutcome::Updated);
        assert!(died.elapsed() < LEASE + WORK, "{:?}", died.elapsed());
        recorded(&namespace, "web", "ACTIVE").await;
        held.abort();
        let again = second.deployments().deploy(request(&namespace, 3 + 2 * round)).await;
        assert_eq!(again.expect("deployed").into_inner().outcome(), proto::DeployOutcome::Unchanged);
    }
}

#[tokio::test]
async fn an_operation_outlives_a_silence_longer_than_its_lease() {
    let namespace = namespace("fence-silence").await;
    let road = proxy().await;
    let adapter = off_by(&road, 0).await;
    // One call breaks, and the next, which all others wait for, since it opens the connection anew, takes long.
    road.befall("PATCH", "/pods/web-pod", 1, Fault::LoseAnswer);
    road.trap("/pods/web-pod", Some((2, Point::Unsent)));
    let call = calling(adapter.deployments(), request(&namespace, 1));
    tokio::time::timeout(LEASE, road.sprung()).await.expect("it gets there");
    tokio::time::sleep(LEASE + LEASE / 3).await;
    road.open();
    let made = call.await.expect("no panic").expect("deployed").into_inner();
    assert_eq!(made.outcome(), proto::DeployOutcome::Created);
    recorded(&namespace, "web", "ACTIVE").await;
}

/// Another template wins while the first operation sleeps or its writes are on their way; returns when that rests.
pub(super) async fn wins(namespace: &Namespace, client: &DeploymentServiceClient<Channel>, edition: u32) {
    let next = || {
        let (mut client, request) = (client.clone(), waiting(request(namespace, edition)));
        async move { client.deploy(request).await }
    };
    let (won, _) = retried(next).await;
    won.expect("it wins");
    recorded(namespace, "web", "ACTIVE").await;
}

/// The winner's template stands and nothing beside it, at once or once a keeper has seen to it; then its Deploy changes
/// nothing.
async fn stands(namespace: &Namespace, client: &DeploymentServiceClient<Channel>, edition: u32) {
    let mut client = client.clone();
    let patience = Instant::now() + KEEPER;
    loop {
        let survey = Survey::of(&namespace.client, namespace).await;
        let unrest = survey.unrest("web");
        if unrest.is_empty() {
            break;
        }
        assert!(Instant::now() < patience, "{unrest:#?}\nof {:#?}", survey.names());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let again = client.deploy(request(namespace, edition)).await.expect("deployed").into_inner();
    assert_eq!(again.outcome(), proto::DeployOutcome::Unchanged, "{again:#?}");
    let survey = Survey::of(&namespace.client, namespace).await;
    let image = |name: &str| {
        let pod = survey.objects.get(name).expect("it stands");
        pod.data.pointer("/spec/containers/0/image").and_then(|image| image.as_str().map(str::to_owned))
    };
    assert_eq!(image("Pod web-pod"), Some(format!("example/web:{edition}")));
    let judge = Adapter::real(control_plane(), User::Admin).await;
    let mut members = translated(&judge, "web", &template(edition)).await;
    members.insert("Secret web-environment".to_owned());
    assert_eq!(survey.members("web"), members);
    let gone = client.teardown(teardown(namespace, "web")).await.expect("torn down").into_inner();
    assert!(gone.complete);
    assert_eq!(Survey::of(&namespace.client, namespace).await.names(), [""; 0]);
}

#[tokio::test]
async fn a_process_that_slept_past_its_lease_changes_nothing() {
    let namespace = namespace("fence-sleep").await;
    let (_other, other) = replica(&namespace, None).await;
    // It sleeps before its revision is stored, in the middle of its writes, and before the write that ends it.
    for (part, point) in [
        ("/secrets", Point::Unsent),
        ("/pods/web-pod", Point::Unsent),
        ("/pods/web-pod", Point::Unanswered),
        ("fieldManager=panamax&", Point::Unsent),
    ] {
        let road = proxy().await;
        let (sleeper, client) = replica(&namespace, Some(&road)).await;
        client.clone().deploy(waiting(request(&namespace, 1))).await.expect("deployed");
        recorded(&namespace, "web", "ACTIVE").await;
        // The write that takes the lock is one of the head, too.
        let call = if part.starts_with("field") { 2 } else { 1 };
        road.trap(part, Some((call, point)));
        let slept = calling(client.clone(), request(&namespace, 2));
        tokio::time::timeout(LEASE, road.sprung()).await.expect("it gets there");
        sleeper.freeze();
        road.open();
        wins(&namespace, &other, 3).await;
        sleeper.wake();
        let answer = slept.await.expect("no panic");
        eprintln!(
            "fencing: asleep at {part} {point:?}, it answers {:?}",
            answer.as_ref().map(|_| ()).map_err(Status::code)
        );
        stands(&namespace, &other, 3).await;
    }
}

/// Kills an adapter in the middle of a Deploy, whose write the road keeps; `first`: what it has deployed before.
pub(super) async fn kept_of_the_dead(
    namespace: &Namespace,
    road: &Proxy,
    (method, part): (&'static str, &str),
    first: u32,
    edition: u32,
) -> Kept {
    let (mut sender, client) = replica(namespace, Some(road)).await;
    if first > 0 {
        client.clone().deploy(waiting(request(namespace, first))).await.expect("deployed");
        recorded(namespace, "web", "ACTIVE").await;
    }
    let kept = Kept::default();
    road.befall(method, part, 1, Fault::Keep(kept.clone()));
    let lost = calling(client, request(namespace, edition));
    tokio::time::timeout(Duration::from_secs(10), kept.taken()).await.expect("it is sent");
    sender.kill();
    let broken = lost.await.expect("no panic").expect_err("its process is gone");
    assert!(in_progress(&broken).is_none(), "{broken:?}");
    kept
}

/// A write that a proxy keeps until the winner has ended.
async fn comes_late(prefix: &str, method: &'static str, part: &str, first: u32, late: u32, winner: u32) {
    let namespace = namespace(prefix).await;
    let (_other, other) = replica(&namespace, None).await;
    let kept = kept_of_the_dead(&namespace, &proxy().await, (method, part), first, late).await;
    wins(&namespace, &other, winner).await;
    let (code, text) = kept.deliver(&control_plane().client(User::Adapter).await).await;
    eprintln!("fencing: a late {method} of {part} is answered {code}: {}", &text[..text.len().min(200)]);
    stands(&namespace, &other, winner).await;
}

#[tokio::test]
async fn a_patch_that_comes_late_does_not_land() {
    comes_late("fence-patch", "PATCH", "/pods/web-pod", 1, 4, 3).await;
}

#[tokio::test]
async fn a_secret_that_comes_late_does_not_land() {
    comes_late("fence-secret", "PATCH", "/secrets/web-environment", 1, 4, 3).await;
}

#[tokio::test]
async fn a_secret_that_comes_late_does_not_land_on_one_that_was_there_alike() {
    // The winner wants what was there before: nothing of the Secret need be written but the mark.
    comes_late("fence-back", "PATCH", "/secrets/web-environment", 1, 4, 1).await;
}

#[tokio::test]
async fn what_is_created_late_is_removed() {
    comes_late("fence-create", "PATCH", "/replicationcontrollers/late", 1, 2, 3).await;
}

#[tokio::test]
async fn what_a_first_deploy_creates_late_is_removed() {
    comes_late("fence-first", "PATCH", "/replicationcontrollers/late", 0, 2, 3).await;
}

#[tokio::test]
async fn a_revision_that_comes_late_is_one_of_its_revisions() {
    comes_late("fence-revision", "POST", "/secrets", 1, 2, 3).await;
}

/// Waits until nothing of any deployment is left.
async fn emptied(namespace: &Namespace, patience: Duration) {
    let patience = Instant::now() + patience;
    loop {
        let survey = Survey::of(&namespace.client, namespace).await;
        let left = survey.names();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < patience, "{left:?} is left");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What a dead process has sent arrives when the record is gone that knew of it.
async fn arrives_last(prefix: &str, part: &str, first: u32) {
    let namespace = namespace(prefix).await;
    let (_other, other) = replica(&namespace, None).await;
    let road = proxy().await;
    if first == 0 {
        // A first Deploy goes back only as long as its revision is not stored.
        road.befall("POST", "/secrets", 1, Fault::Silence);
    }
    let kept = kept_of_the_dead(&namespace, &road, ("PATCH", part), first, 2).await;
    if first > 0 {
        let gone = || {
            let (mut client, request) = (other.clone(), teardown(&namespace, "web"));
            async move { client.teardown(request).await }
        };
        assert!(retried(gone).await.0.expect("torn down").complete);
    }
    // Nobody ends a first Deploy but the keeper.
    emptied(&namespace, LEASE + KEEPER).await;
    let (code, text) = kept.deliver(&control_plane().client(User::Adapter).await).await;
    assert_eq!(code, 201, "{text}");
    emptied(&namespace, DOUBT + KEEPER).await;
}

/// Somebody deletes the record of a deployment that runs, while something may still arrive of what made it.
async fn stays_without_its_record() {
    let namespace = namespace("fence-lost").await;
    let road = proxy().await;
    let (_adapter, mut client) = replica(&namespace, Some(&road)).await;
    road.befall("PATCH", "/pods/web-pod", 1, Fault::LoseAnswer);
    client.deploy(waiting(request(&namespace, 1))).await.expect("deployed");
    recorded(&namespace, "web", "ACTIVE").await;
    let record = namespace.api::<ConfigMap>().get("panamax-deployment-web").await.expect("a record");
    let text = record.data.as_ref().and_then(|data| data.get("head.json")).expect("a head");
    assert!(text.contains("\"doubted\":[\""), "something is in doubt: {text}");
    remove::<ConfigMap>(&namespace, "panamax-deployment-web").await;
    tokio::time::sleep(DOUBT + KEEPER).await;
    let survey = Survey::of(&namespace.client, &namespace).await;
    for name in ["Pod web-pod", "ReplicationController other-replication-controller"] {
        assert!(survey.objects.contains_key(name), "{name} is gone: {:?}", survey.names());
    }
}

#[tokio::test]
async fn what_is_created_after_its_record_is_removed() {
    // Each waits for a minute.
    tokio::join!(
        arrives_last("fence-gone", "/replicationcontrollers/late", 1),
        arrives_last("fence-never", "/secrets/web-environment", 0),
        stays_without_its_record(),
    );
}

/// Watches until the deployment is ready; returns why that ended.
async fn ready(mut client: DeploymentServiceClient<Channel>, namespace: String) -> WatchCompleteReason {
    let request = proto::WatchDeploymentRequest {
        namespace,
        name: "web".to_owned(),
        until: WatchUntil::Ready.into(),
        ..Default::default()
    };
    let mut stream = client.watch_deployment(request).await.expect("a stream").into_inner();
    loop {
        let message = stream.message().await.expect("an event").expect("a reason before the end");
        if let Some(Event::Complete(complete)) = message.event {
            return complete.reason();
        }
    }
}

#[tokio::test]
async fn watches_that_began_before_and_after_a_crash_both_end() {
    let namespace = namespace("fence-watch").await;
    let (_other, other) = replica(&namespace, None).await;
    for (edition, part, point) in [
        (2, "/secrets", Point::Answered),
        (3, "/pods/web-pod", Point::Unsent),
        (4, "/replicationcontrollers/", Point::Unanswered),
        (5, "fieldManager=panamax&", Point::Unsent),
    ] {
        let road = proxy().await;
        let (mut victim, client) = replica(&namespace, Some(&road)).await;
        client.clone().deploy(waiting(request(&namespace, 1))).await.expect("deployed");
        recorded(&namespace, "web", "ACTIVE").await;
        let call = if part.starts_with("field") { 2 } else { 1 };
        road.trap(part, Some((call, point)));
        // Both workloads change.
        let mut changed = request(&namespace, edition);
        if let Some(proto::deploy_request::TemplateSource::TemplateYaml(text)) = &mut changed.template_source
        {
            *text = text.replace("other:1", &format!("other:{edition}"));
        }
        let broken = calling(client, changed);
        tokio::time::timeout(Duration::from_secs(10), road.sprung()).await.expect("it gets there");
        #[expect(clippy::disallowed_methods, reason = "the test's runtime ends it")]
        let before = tokio::spawn(ready(other.clone(), namespace.to_string()));
        tokio::time::sleep(LEASE / 6).await;
        victim.kill();
        broken.await.expect("no panic").expect_err("its process is gone");
        let after = ready(other.clone(), namespace.to_string());
        let both = async { tokio::join!(before, after) };
        let (before, after) = tokio::time::timeout(LEASE + KEEPER, both).await.expect("both end");
        assert_eq!(
            (before.expect("no panic"), after),
            (WatchCompleteReason::Ready, WatchCompleteReason::Ready)
        );
        other.clone().teardown(teardown(&namespace, "web")).await.expect("torn down");
    }
}
