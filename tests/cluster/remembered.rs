//! How long requests with a name are remembered, and those of Rollback and Teardown.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use panamax_kubernetes_adapter::clock::Clock;
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::DeployOutcome::{Created, Unchanged, Updated};
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::revisions::{revisions, rollback};
use crate::support::adapter::{Adapter, deploy_at_once, reason, scale, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{everything, refused};
use crate::support::namespace::{Namespace, namespace};

/// How many named requests a deployment remembers.
const KEPT: usize = 20;

fn template(edition: u32) -> String {
    format!(
        "name: App\nimages:\n- {{name: web, source: 'example/web:{edition}', ports: [{{container_port: 80}}]}}\n"
    )
}

/// A Deploy of an edition under this name; an empty one is none.
fn named(namespace: &Namespace, id: &str, edition: u32) -> proto::DeployRequest {
    let request = deploy_at_once(namespace, "app", &template(edition));
    proto::DeployRequest { request_id: id.to_owned(), ..request }
}

/// The outcome of a Deploy, and the revision that stands after it.
async fn deployed(adapter: &Adapter, request: proto::DeployRequest) -> (proto::DeployOutcome, i32) {
    let answer = adapter.deployments().deploy(request).await.expect("deployed").into_inner();
    (answer.outcome(), answer.deployment.expect("a deployment").revision)
}

fn is_reused<T: std::fmt::Debug>(answer: Result<T, Status>) {
    let status = answer.expect_err("another request");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "REQUEST_ID_REUSED"));
    let request = status.get_details_bad_request().expect("a violation");
    let violations: Vec<_> = request.field_violations.iter().map(|one| (&*one.field, &*one.reason)).collect();
    assert_eq!(violations, [("request_id", "REQUEST_ID_REUSED")]);
}

#[tokio::test]
async fn a_request_is_remembered_for_a_day() {
    let namespace = namespace("named-day").await;
    let plane = control_plane();
    let passed = Arc::new(AtomicI64::new(0));
    let seconds = Arc::clone(&passed);
    let clock =
        Clock::new(move || Timestamp::now() + SignedDuration::from_secs(seconds.load(Ordering::Relaxed)));
    let kubeconfig = kube::config::Kubeconfig::read_from(plane.kubeconfig(User::Adapter)).expect("a file");
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await;
    let lease = Duration::from_secs(3);
    let adapter = Adapter::serve_by(config.expect("a configuration"), None, lease, clock).await;
    assert_eq!(deployed(&adapter, named(&namespace, "one", 1)).await, (Created, 1));
    assert_eq!(deployed(&adapter, named(&namespace, "", 2)).await, (Updated, 2));
    const DAY: i64 = 24 * 60 * 60;
    for earlier in [DAY - 600, 0] {
        passed.store(earlier, Ordering::Relaxed);
        assert_eq!(deployed(&adapter, named(&namespace, "one", 1)).await, (Created, 2), "{earlier} s");
        is_reused(adapter.deployments().deploy(named(&namespace, "one", 2)).await);
    }
    // The day is over: it is carried out as if nobody had asked for it before, whatever it asks for.
    passed.store(DAY + 60, Ordering::Relaxed);
    assert_eq!(deployed(&adapter, named(&namespace, "one", 3)).await, (Updated, 3));
    assert_eq!(deployed(&adapter, named(&namespace, "one", 3)).await, (Updated, 3));
    is_reused(adapter.deployments().deploy(named(&namespace, "one", 1)).await);
}

#[tokio::test]
async fn twenty_requests_are_remembered_and_the_next_one_pushes_out_the_first() {
    let namespace = namespace("named-twenty").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let id = |number: usize| format!("request-{number}");
    assert_eq!(deployed(&adapter, named(&namespace, &id(1), 1)).await, (Created, 1));
    assert_eq!(deployed(&adapter, named(&namespace, "", 2)).await, (Updated, 2));
    for number in 2..=KEPT {
        assert_eq!(deployed(&adapter, named(&namespace, &id(number), 2)).await, (Unchanged, 2));
    }
    // The first is still known: what it asks for is not done again.
    assert_eq!(deployed(&adapter, named(&namespace, &id(1), 1)).await, (Created, 2));
    // To be asked again makes it no newer.
    assert_eq!(deployed(&adapter, named(&namespace, &id(KEPT + 1), 2)).await, (Unchanged, 2));
    assert_eq!(deployed(&adapter, named(&namespace, &id(1), 1)).await, (Updated, 3));
    // Which has pushed out the second; the third is known.
    assert_eq!(deployed(&adapter, named(&namespace, &id(3), 2)).await, (Unchanged, 3));
    assert_eq!(deployed(&adapter, named(&namespace, &id(2), 2)).await, (Updated, 4));
}

#[tokio::test]
async fn a_rollback_that_comes_again_goes_back_once() {
    let namespace = namespace("named-rollback").await;
    let plane = control_plane();
    let adapters = [Adapter::real(plane, User::Adapter).await, Adapter::real(plane, User::Adapter).await];
    for edition in 1..=3 {
        deployed(&adapters[0], named(&namespace, "", edition)).await;
    }
    let back = |id: &str, revision| proto::RollbackRequest {
        request_id: id.to_owned(),
        wait: 0,
        ..rollback(&namespace, "app", revision)
    };
    let copies = (0..6).map(|number| {
        let (mut client, request) = (adapters[number % 2].deployments(), back("back", 1));
        async move {
            let answer = client.rollback(request).await.expect("rolled back").into_inner();
            (answer.outcome(), answer.deployment.expect("a deployment").revision)
        }
    });
    assert_eq!(join_all(copies).await, vec![(Updated, 4); 6]);
    let mut client = adapters[1].deployments();
    let numbers: Vec<_> = revisions(&mut client, &namespace, "app")
        .await
        .into_iter()
        .map(|(number, _, of)| (number, of))
        .collect();
    assert_eq!(numbers, [(4, Some(1)), (3, None), (2, None), (1, None)]);
    // A late copy does not undo what came after it.
    deployed(&adapters[0], named(&namespace, "", 5)).await;
    let late = client.rollback(back("back", 1)).await.expect("answered").into_inner();
    assert_eq!((late.outcome(), late.deployment.expect("a deployment").revision), (Updated, 5));
    is_reused(client.rollback(back("back", 2)).await);
    is_reused(client.deploy(named(&namespace, "back", 1)).await);
    is_reused(
        client
            .scale(proto::ScaleRequest {
                request_id: "back".to_owned(),
                ..scale(&namespace, "app", "web", 2)
            })
            .await,
    );
    is_reused(client.teardown(ending(&namespace, "back")).await);
    // What failed is not remembered: once it can be carried out, it is.
    refused(client.rollback(back("later", 6)).await, Code::NotFound, "REVISION_NOT_FOUND");
    deployed(&adapters[0], named(&namespace, "", 6)).await;
    deployed(&adapters[0], named(&namespace, "", 7)).await;
    let later = client.rollback(back("later", 6)).await.expect("rolled back").into_inner();
    assert_eq!((later.outcome(), later.deployment.expect("a deployment").revision), (Updated, 8));
}

/// A Teardown under this name that waits for nothing.
fn ending(namespace: &Namespace, id: &str) -> proto::TeardownRequest {
    proto::TeardownRequest { request_id: id.to_owned(), wait: 0, ..teardown(namespace, "app") }
}

#[tokio::test]
async fn a_teardown_that_comes_again_joins_the_first_and_then_finds_nothing() {
    let namespace = namespace("named-end").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    deployed(&adapter, named(&namespace, "begin", 1)).await;
    let pods = namespace.api::<Pod>();
    let held = json!({"metadata": {"finalizers": ["example.com/held"]}});
    let how = PatchParams::default();
    pods.patch("web-pod", &how, &Patch::Merge(held)).await.expect("held");
    is_reused(client.teardown(ending(&namespace, "begin")).await);
    // Each is answered while it goes.
    for _ in 0..2 {
        let answer = client.teardown(ending(&namespace, "end")).await.expect("going").into_inner();
        assert!(!answer.complete, "{answer:#?}");
    }
    // Copies that wait for the end come to it together.
    let wait =
        || proto::TeardownRequest { wait: proto::TeardownWait::Gone.into(), ..ending(&namespace, "end") };
    let copies = join_all((0..3).map(|_| {
        let (mut client, request) = (adapter.deployments(), wait());
        async move { client.teardown(request).await.map(|answer| answer.into_inner().complete) }
    }));
    let lifted = async {
        let lifted = json!({"metadata": {"finalizers": null}});
        pods.patch("web-pod", &how, &Patch::Merge(lifted)).await.expect("lifted");
    };
    let (copies, ()) = tokio::join!(copies, lifted);
    for answer in copies {
        // One that has come after the end finds nothing.
        match answer {
            Ok(complete) => assert!(complete),
            Err(status) => assert_eq!(reason(&status), "DEPLOYMENT_NOT_FOUND"),
        }
    }
    assert!(everything(&namespace).await.is_empty());
    // Nothing is left to remember it: the same is asked anew.
    refused(client.teardown(wait()).await, Code::NotFound, "DEPLOYMENT_NOT_FOUND");
    let missing = proto::TeardownRequest { allow_missing: true, ..wait() };
    assert!(client.teardown(missing).await.expect("nothing to do").into_inner().complete);
    assert_eq!(deployed(&adapter, named(&namespace, "end", 1)).await, (Created, 1));
    assert_eq!(deployed(&adapter, named(&namespace, "end", 1)).await, (Created, 1));
}
