//! Updates that fail and are taken back: by the call itself, by a keeper, and by the next call.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Patch, PatchParams, PostParams};
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::RevisionResult::{Incomplete, RolledBack, Succeeded};
use serde_json::json;
use tonic::Code;

use super::revisions::{revisions, rollback};
use crate::support::adapter::{Adapter, Binary, connect, deploy, deploy_at_once, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{everything, members, names, recorded, refused, remove};
use crate::support::namespace::{Namespace, namespace};
use crate::support::patience::retried;
use crate::support::proxy::{Point, Proxy};
use crate::support::survey::Survey;

/// Three components: a controller, a bare Pod, and one whose Secret is read.
const SHOP: &str = "\
name: Shop
images:
- {name: web, source: 'example/web:1', ports: [{container_port: 80}], deployment: {count: 2}}
- {name: db, source: 'example/db:1', ports: [{container_port: 5432}], environment: [{variable: A_PASSWORD, value: one}]}
- {name: cache, source: 'example/cache:1', expose: [6379]}
";

/// Another image, another value, a port less, one component less and one more, whose name is taken.
fn broken() -> String {
    let newer = SHOP.replace("web:1", "web:2").replace("value: one", "value: two").replace("5432", "5433");
    let newer = newer.replace("- {name: cache, source: 'example/cache:1', expose: [6379]}\n", "");
    format!(
        "{newer}- {{name: extra, source: 'example/extra:1'}}\n- {{name: taken, source: 'example/taken:1'}}\n"
    )
}

fn request(namespace: &str, text: &str) -> proto::DeployRequest {
    let mut request = deploy_at_once(namespace, "shop", text);
    let options = request.options.get_or_insert_default();
    options.set_on_failure(proto::FailurePolicy::Rollback);
    options.set_secrets(proto::SecretHandling::Secret);
    request
}

async fn take(namespace: &Namespace, name: &str) {
    let pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "a", "image": "b:1"}]}});
    let pod: Pod = serde_json::from_value(pod).expect("a pod");
    namespace.api().create(&PostParams::default(), &pod).await.expect("it can be made");
}

/// Waits until the deployment is one whole again.
async fn whole(namespace: &Namespace) -> Survey {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let mut survey = Survey::of(&namespace.client, namespace).await;
        survey.objects.remove("Pod taken-pod");
        let faults = survey.faults("shop");
        if faults.is_empty() {
            return survey;
        }
        assert!(Instant::now() < until, "{faults:#?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Checks that every object is the first revision's.
async fn is_the_first(namespace: &Namespace) {
    let survey = whole(namespace).await;
    let shown = |name: &str, at: &str| survey.objects[name].data.pointer(at).cloned().unwrap_or_default();
    let image = "/spec/template/spec/containers/0/image";
    assert_eq!(shown("ReplicationController web-replication-controller", image), "example/web:1");
    assert_eq!(shown("Pod db-pod", "/spec/containers/0/image"), "example/db:1");
    assert!(survey.objects.contains_key("Pod cache-pod"), "{:?}", survey.names());
    assert!(!survey.names().iter().any(|name| name.contains("extra")), "{:?}", survey.names());
    let secret = namespace.api::<Secret>().get("db-environment").await.expect("a Secret");
    assert_eq!(secret.data.expect("data")["A_PASSWORD"].0, b"one");
    let images =
        survey.of_kind("Pod").filter_map(|(_, pod)| pod.data.pointer("/spec/containers/0/image").cloned());
    assert!(images.into_iter().all(|image| image != "example/web:2"), "{:?}", survey.names());
}

#[tokio::test]
async fn an_update_that_fails_is_taken_back() {
    let namespace = namespace("failure-back").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let first = request(&namespace, SHOP);
    client
        .deploy(proto::DeployRequest { wait: proto::WaitMode::Ready.into(), ..first.clone() })
        .await
        .expect("deployed");
    let before = members(&namespace).await;
    take(&namespace, "taken-pod").await;
    let answer = client.deploy(request(&namespace, &broken())).await;
    let refusal = refused(answer, Code::AlreadyExists, "APPLY_INCOMPLETE");
    assert!(refusal.message.contains("rolled back to revision 1"), "{refusal:?}");
    assert!(refusal.fact("objects").contains("taken-pod"), "{refusal:?}");
    assert_eq!(refusal.fact("rolled_back_to"), "1", "{refusal:?}");
    is_the_first(&namespace).await;
    recorded(&namespace, "shop", "ACTIVE").await;
    // What the update did not have to touch, and pods that it never replaced, are the same.
    let after = members(&namespace).await;
    let same = |name: &str| assert_eq!(before[name].0, after[name].0, "{name}");
    ["Pod/cache-pod", "ReplicationController/web-replication-controller"].into_iter().for_each(same);
    names(&before).into_iter().filter(|name| name.starts_with("Pod/web-")).for_each(same);
    let listed = [(3, Succeeded, Some(1)), (2, RolledBack, None), (1, Succeeded, None)];
    assert_eq!(revisions(&mut client, &namespace, "shop").await, listed);
    why_taken_back(&adapter, &namespace, "taken-pod").await;
    let same = client.deploy(first).await.expect("unchanged").into_inner();
    assert_eq!(same.outcome(), proto::DeployOutcome::Unchanged);
    // Once nothing is in its way, it goes through.
    remove::<Pod>(&namespace, "taken-pod").await;
    let through = client.deploy(request(&namespace, &broken())).await.expect("deployed").into_inner();
    assert_eq!(through.deployment.expect("a deployment").revision, 4);
    client.teardown(teardown(&namespace, "shop")).await.expect("torn down");
    assert_eq!(names(&everything(&namespace).await), [""; 0]);
}

#[tokio::test]
async fn without_the_option_what_was_written_stays_and_a_rollback_leaves_no_hybrid() {
    let namespace = namespace("failure-keep").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let keep = |text: &str| {
        let mut request = request(&namespace, text);
        request.options.get_or_insert_default().set_on_failure(proto::FailurePolicy::Keep);
        request
    };
    client
        .deploy(proto::DeployRequest { wait: proto::WaitMode::Ready.into(), ..keep(SHOP) })
        .await
        .expect("deployed");
    take(&namespace, "taken-pod").await;
    for again in 0..2 {
        let refusal = refused(client.deploy(keep(&broken())).await, Code::AlreadyExists, "APPLY_INCOMPLETE");
        assert!(refusal.message.contains("the next Deploy repairs it"), "{refusal:?}");
        let listed = revisions(&mut client, &namespace, "shop").await;
        assert_eq!(listed[0].1, Incomplete, "{listed:?}");
        if again == 0 {
            client.rollback(rollback(&namespace, "shop", 0)).await.expect("rolled back");
        } else {
            let old = proto::DeployRequest { wait: proto::WaitMode::Ready.into(), ..keep(SHOP) };
            client.deploy(old).await.expect("deployed");
        }
        is_the_first(&namespace).await;
    }
    let listed = revisions(&mut client, &namespace, "shop").await;
    let results: Vec<_> = listed.iter().map(|(_, result, of)| (*result, *of)).collect();
    let (good, bad) = ((Succeeded, None), (Incomplete, None));
    assert_eq!(results, [good, bad, (Succeeded, Some(1)), bad, good]);
}

#[tokio::test]
async fn what_was_refused_whole_is_no_revision() {
    let namespace = namespace("failure-refused").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "shop", SHOP)).await.expect("deployed");
    take(&namespace, "taken-pod").await;
    let ours = async || {
        let mut all = members(&namespace).await;
        all.remove("Pod/taken-pod");
        all
    };
    let before = ours().await;
    let more = format!("{SHOP}- {{name: taken, source: 'example/taken:1'}}\n");
    let mut request = deploy_at_once(&namespace, "shop", &more);
    request.options.get_or_insert_default().set_on_failure(proto::FailurePolicy::Rollback);
    let refusal = refused(client.deploy(request).await, Code::AlreadyExists, "OBJECT_NOT_OWNED");
    assert!(!refusal.message.contains("rolled back"), "{refusal:?}");
    assert_eq!(ours().await, before);
    assert_eq!(revisions(&mut client, &namespace, "shop").await, [(1, Succeeded, None)]);
    // A first Deploy has nothing to go back to.
    let mut first =
        deploy_at_once(&namespace, "other", "name: O\nimages:\n- {name: taken, source: 'a/b:1'}\n");
    first.options.get_or_insert_default().set_on_failure(proto::FailurePolicy::Rollback);
    refused(client.deploy(first).await, Code::AlreadyExists, "OBJECT_NOT_OWNED");
    let survey = Survey::of(&namespace.client, &namespace).await;
    assert!(survey.head("other").is_none(), "{:?}", survey.names());
}

/// The replica dies while the workloads of the update are written, and again while it is being taken back.
#[tokio::test]
async fn a_replica_that_dies_in_between_takes_nothing_with_it() {
    for (round, next_call) in [(0, false), (1, true)] {
        let namespace = namespace(&format!("failure-dies-{round}")).await;
        let adapter = Adapter::real(control_plane(), User::Adapter).await;
        let waiting =
            proto::DeployRequest { wait: proto::WaitMode::Ready.into(), ..request(&namespace, SHOP) };
        adapter.deployments().deploy(waiting).await.expect("deployed");
        take(&namespace, "taken-pod").await;
        let proxy = Proxy::start(control_plane().client(User::Adapter).await, Duration::ZERO).await;
        let kubeconfig = proxy.kubeconfig();
        let keeps = namespace.to_string();
        let start = move || Binary::start(&kubeconfig, &["--lease", "3s", "--namespaces", &keeps]);
        let mut binary = tokio::task::spawn_blocking(start).await.expect("the binary starts");
        proxy.trap("/pods/extra-pod", Some((1, Point::Unanswered)));
        let channel = connect(binary.address).await;
        let mut dying = proto::deployment_service_client::DeploymentServiceClient::new(channel);
        let call = dying.deploy(request(&namespace, &broken()));
        let (answer, ()) = tokio::join!(call, async {
            let sprung = tokio::time::timeout(Duration::from_secs(30), proxy.sprung()).await;
            sprung.expect("the update reaches its pods");
            binary.kill();
        });
        answer.expect_err("it died");
        assert!(everything(&namespace).await.contains_key("Pod/extra-pod"), "the update was under way");
        if next_call {
            // A Scale finishes what it finds first.
            let scaled = || {
                let mut client = adapter.deployments();
                let scale = crate::support::adapter::scale(&namespace, "shop", "web", 2);
                async move { client.scale(scale).await }
            };
            retried(scaled).await.0.expect("scaled");
        } else {
            let keeps = namespace.to_string();
            let kubeconfig = control_plane().kubeconfig(User::Adapter);
            let start = move || Binary::start(&kubeconfig, &["--lease", "3s", "--namespaces", &keeps]);
            let _keeper = tokio::task::spawn_blocking(start).await.expect("the binary starts");
            is_the_first(&namespace).await;
            recorded(&namespace, "shop", "ACTIVE").await;
        }
        is_the_first(&namespace).await;
        let listed = revisions(&mut adapter.deployments(), &namespace, "shop").await;
        assert_eq!(listed[1..], [(2, RolledBack, None), (1, Succeeded, None)], "{listed:?}");
        assert_eq!((listed[0].0, listed[0].2), (3, Some(1)), "{listed:?}");
        let first = adapter.deployments().deploy(request(&namespace, SHOP)).await.expect("unchanged");
        assert_eq!(first.into_inner().outcome(), proto::DeployOutcome::Unchanged);
    }
}

/// The shop with another image, and a component more.
fn failing(image: &str) -> String {
    format!("{}- {{name: extra, source: 'example/extra:1'}}\n", SHOP.replace("example/web:1", image))
}

fn waiting(namespace: &str, text: &str) -> proto::DeployRequest {
    proto::DeployRequest { wait: proto::WaitMode::Ready.into(), ..request(namespace, text) }
}

#[tokio::test]
async fn a_wait_for_ready_that_sees_a_failure_takes_the_update_back() {
    let namespace = namespace("failure-ready").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(waiting(&namespace, SHOP)).await.expect("deployed");
    let before = members(&namespace).await;
    let answer = client.deploy(waiting(&namespace, &failing("example/crashing:2"))).await;
    let refusal = refused(answer, Code::DeadlineExceeded, "APPLY_INCOMPLETE");
    assert!(refusal.message.contains("rolled back to revision 1"), "{refusal:?}");
    assert!(!refusal.message.contains("stays"), "{refusal:?}");
    assert_eq!((refusal.fact("rolled_back_to"), refusal.fact("component")), ("1", "web"), "{refusal:?}");
    assert!(refusal.message.contains("component web: "), "{refusal:?}");
    why_taken_back(&adapter, &namespace, "component web: ").await;
    is_the_first(&namespace).await;
    recorded(&namespace, "shop", "ACTIVE").await;
    let after = members(&namespace).await;
    for name in ["Pod/cache-pod", "Pod/db-pod"] {
        assert_eq!(before[name].0, after[name].0, "{name}");
    }
    let listed = [(3, Succeeded, Some(1)), (2, RolledBack, None), (1, Succeeded, None)];
    assert_eq!(revisions(&mut client, &namespace, "shop").await, listed);
    // Without a wait, pods that do not become ready are no failure of the update.
    client.deploy(request(&namespace, &failing("example/crashing:3"))).await.expect("written");
    recorded(&namespace, "shop", "FAILED").await;
    let listed = revisions(&mut client, &namespace, "shop").await;
    assert_eq!((listed[0].0, listed[0].1), (4, proto::RevisionResult::Failed), "{listed:?}");
    // What was seen ready once is not taken back, whatever comes later.
    client.deploy(waiting(&namespace, &failing("example/web:4"))).await.expect("ready");
    let survey = Survey::of(&namespace.client, &namespace).await;
    assert_eq!(survey.head("shop").expect("a record").pledge, None);
}

/// What is said of the revision before the current one.
async fn why_taken_back(adapter: &Adapter, namespace: &Namespace, why: &str) {
    let request = proto::ListRevisionsRequest {
        namespace: namespace.to_string(),
        name: "shop".to_owned(),
        ..Default::default()
    };
    let listed = adapter.deployments().list_revisions(request).await.expect("revisions").into_inner();
    let [current, taken_back, ..] = listed.revisions.as_slice() else { panic!("{listed:#?}") };
    assert_eq!((taken_back.result(), current.message.as_str()), (RolledBack, ""), "{listed:#?}");
    assert!(taken_back.message.contains(why), "{listed:#?}");
}

/// The replica dies while its caller waits: whoever is left keeps its promise.
#[tokio::test]
async fn a_promise_outlives_the_replica_that_gave_it() {
    let namespace = namespace("failure-promise").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    adapter.deployments().deploy(waiting(&namespace, SHOP)).await.expect("deployed");
    let keeps = namespace.to_string();
    let kubeconfig = control_plane().kubeconfig(User::Adapter);
    let start = move || Binary::start(&kubeconfig, &["--lease", "3s", "--namespaces", &keeps]);
    let mut binary = tokio::task::spawn_blocking(start).await.expect("the binary starts");
    let channel = connect(binary.address).await;
    let mut dying = proto::deployment_service_client::DeploymentServiceClient::new(channel);
    // An image that cannot be pulled is a failure only after a while.
    let call = dying.deploy(waiting(&namespace, &failing("example/missing:2")));
    let (answer, ()) = tokio::join!(call, async {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let survey = Survey::of(&namespace.client, &namespace).await;
            if survey.head("shop").expect("a record").pledge.is_some() {
                break;
            }
            assert!(Instant::now() < until, "{:?}", survey.head("shop"));
        }
        binary.kill();
    });
    answer.expect_err("it died");
    // A look is enough to wake the keeper of whoever is asked.
    let listed = revisions(&mut adapter.deployments(), &namespace, "shop").await;
    assert_eq!(listed.len(), 2, "{listed:?}");
    recorded(&namespace, "shop", "ACTIVE").await;
    is_the_first(&namespace).await;
    let listed = [(3, Succeeded, Some(1)), (2, RolledBack, None), (1, Succeeded, None)];
    assert_eq!(revisions(&mut adapter.deployments(), &namespace, "shop").await, listed);
    why_taken_back(&adapter, &namespace, "component web: ").await;
}

/// A revision Secret that a finalizer holds stays listed in the record until it is gone.
#[tokio::test]
async fn no_revision_is_forgotten_before_it_is_gone() {
    let namespace = namespace("failure-held").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let web =
        |edition: u32| format!("name: Web\nimages:\n- {{name: web, source: 'example/web:{edition}'}}\n");
    client.deploy(deploy(&namespace, "web", &web(0))).await.expect("deployed");
    let survey = Survey::of(&namespace.client, &namespace).await;
    let first = survey.head("web").expect("a record").current.clone().expect("a revision").secret;
    let secrets = namespace.api::<Secret>();
    let hold = |finalizers: serde_json::Value| Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
    secrets.patch(&first, &PatchParams::default(), &hold(json!(["example.com/hold"]))).await.expect("held");
    for edition in 1..=11 {
        client.deploy(deploy(&namespace, "web", &web(edition))).await.expect("deployed");
    }
    let asked = |secret: Option<&Secret>| secret.is_some_and(|one| one.metadata.deletion_timestamp.is_some());
    crate::support::looking::until(&namespace, &first, asked).await;
    let survey = Survey::of(&namespace.client, &namespace).await;
    let head = survey.head("web").expect("a record");
    assert!(
        head.revisions.iter().any(|entry| entry.revision.secret == first),
        "it is known as long as it is there"
    );
    let listed = revisions(&mut client, &namespace, "web").await;
    assert!(listed.iter().all(|one| one.0 > 1), "{listed:?}");
    secrets.patch(&first, &PatchParams::default(), &hold(json!(null))).await.expect("let go");
}
