//! Requests with a name: sent again they are answered again and not carried out again, whoever answers.

use futures::future::join_all;
use k8s_openapi::api::core::v1::{ConfigMap, ReplicationController};
use panamax_kubernetes_adapter::proto;
use tonic::{Code, Status};

use crate::support::adapter::{Adapter, deploy, deploy_at_once, reason, scale, teardown};
use crate::support::calls::Recorder;
use crate::support::control_plane::{User, control_plane};
use crate::support::namespace::{Namespace, namespace};

fn template(edition: u32) -> String {
    format!(
        "name: App\nimages:\n- {{name: web, source: 'example/web:{edition}', deployment: {{count: 2}}, \
         environment: [{{variable: A_PASSWORD, value: 'quiet'}}]}}\n"
    )
}

fn named(id: &str, request: proto::DeployRequest) -> proto::DeployRequest {
    proto::DeployRequest { request_id: id.to_owned(), ..request }
}

/// The outcome of a Deploy, and the revision that stands after it.
async fn deployed(adapter: &Adapter, request: proto::DeployRequest) -> (proto::DeployOutcome, i32) {
    let answer = adapter.deployments().deploy(request).await.expect("deployed").into_inner();
    (answer.outcome(), answer.deployment.expect("a deployment").revision)
}

fn is_reused(status: &Status) -> bool {
    status.code() == Code::InvalidArgument && reason(status) == "REQUEST_ID_REUSED"
}

#[tokio::test]
async fn a_repeated_deploy_gets_the_first_outcome_from_anybody() {
    let namespace = namespace("named-again").await;
    let plane = control_plane();
    let first = Adapter::real(plane, User::Adapter).await;
    let request = named("one", deploy(&namespace, "app", &template(1)));
    assert_eq!(deployed(&first, request.clone()).await, (proto::DeployOutcome::Created, 1));
    let update = named("two", deploy(&namespace, "app", &template(2)));
    assert_eq!(deployed(&first, update.clone()).await, (proto::DeployOutcome::Updated, 2));
    // Another process, after the first: its memory is the cluster's. The update stays.
    drop(first);
    let second = Adapter::real(plane, User::Adapter).await;
    let mut calls = Recorder::start(plane).namespace(&namespace).user(User::Adapter);
    assert_eq!(deployed(&second, request.clone()).await, (proto::DeployOutcome::Created, 2));
    assert_eq!(deployed(&second, update.clone()).await, (proto::DeployOutcome::Updated, 2));
    let writes = calls.requests().into_iter().filter(|call| !["get", "list", "watch"].contains(&&*call.verb));
    assert_eq!(writes.map(|call| call.uri).collect::<Vec<_>>(), [""; 0]);
    // What is waited for is no part of what is asked for; everything else is.
    let at_once = proto::DeployRequest { wait: proto::WaitMode::None.into(), ..request.clone() };
    assert_eq!(deployed(&second, at_once).await, (proto::DeployOutcome::Created, 2));
    let mut client = second.deployments();
    for other in [
        named("one", deploy(&namespace, "app", &template(3))),
        proto::DeployRequest { etag: "7".to_owned(), ..request.clone() },
        named("two", deploy(&namespace, "app", &template(1))),
    ] {
        let refused = client.deploy(other).await.expect_err("another request");
        assert!(is_reused(&refused), "{refused:?}");
    }
    let counts = proto::ScaleRequest { request_id: "one".to_owned(), ..scale(&namespace, "app", "web", 3) };
    let refused = client.scale(counts).await.expect_err("another request");
    assert!(is_reused(&refused), "{refused:?}");
    let end = proto::TeardownRequest { request_id: "one".to_owned(), ..teardown(&namespace, "app") };
    let refused = client.teardown(end).await.expect_err("another request");
    assert!(is_reused(&refused), "{refused:?}");
    assert_eq!(
        deployed(&second, deploy(&namespace, "app", &template(2))).await.0,
        proto::DeployOutcome::Unchanged
    );
    // Where nothing is left to remember it, it is carried out again.
    client.teardown(teardown(&namespace, "app")).await.expect("torn down");
    assert_eq!(deployed(&second, request).await, (proto::DeployOutcome::Created, 1));
}

#[tokio::test]
async fn a_request_that_changed_nothing_is_remembered_too() {
    let namespace = namespace("named-unchanged").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let first = deploy(&namespace, "app", &template(1));
    deployed(&adapter, first.clone()).await;
    let again = named("again", first);
    assert_eq!(deployed(&adapter, again.clone()).await, (proto::DeployOutcome::Unchanged, 1));
    deployed(&adapter, deploy(&namespace, "app", &template(2))).await;
    // A late retry does not undo what came after it.
    assert_eq!(deployed(&adapter, again).await, (proto::DeployOutcome::Unchanged, 2));
    // The same for counts.
    let three = proto::ScaleRequest { request_id: "three".to_owned(), ..scale(&namespace, "app", "web", 3) };
    let mut client = adapter.deployments();
    client.scale(three.clone()).await.expect("scaled");
    client.scale(scale(&namespace, "app", "web", 1)).await.expect("scaled");
    client.scale(three).await.expect("answered");
    let controller = namespace.api::<ReplicationController>().get("web-replication-controller").await;
    assert_eq!(controller.expect("a controller").spec.and_then(|spec| spec.replicas), Some(1));
    // What stands in the record can be read by many: it holds no digest that a guess could be tried on.
    let record = namespace.api::<ConfigMap>().get("panamax-deployment-app").await.expect("a record");
    let record: serde_json::Value =
        serde_json::from_str(&record.data.expect("data")["head.json"]).expect("a record");
    let requests = record["requests"].as_array().expect("requests").clone();
    assert_eq!(requests.len(), 2, "{requests:#?}");
}

#[tokio::test]
async fn copies_in_flight_are_one() {
    let namespace = namespace("named-copies").await;
    let plane = control_plane();
    let adapters = [Adapter::real(plane, User::Adapter).await, Adapter::real(plane, User::Adapter).await];
    for (edition, outcome) in [(1, proto::DeployOutcome::Created), (2, proto::DeployOutcome::Updated)] {
        let request =
            named(&format!("copy-{edition}"), deploy_at_once(&namespace, "app", &template(edition)));
        let copies = (0..6).map(|number| deployed(&adapters[number % 2], request.clone()));
        let revision = i32::try_from(edition).expect("a small number");
        assert_eq!(join_all(copies).await, vec![(outcome, revision); 6]);
    }
    check_one(&namespace).await;
}

#[tokio::test]
async fn copies_of_a_scale_that_makes_controllers_are_one() {
    let namespace = namespace("named-conversion").await;
    let plane = control_plane();
    let adapters = [Adapter::real(plane, User::Adapter).await, Adapter::real(plane, User::Adapter).await];
    let bare = "name: App\nimages:\n- {name: web, source: 'example/web:1'}\n";
    deployed(&adapters[0], deploy(&namespace, "app", bare)).await;
    let request = proto::ScaleRequest { request_id: "two".to_owned(), ..scale(&namespace, "app", "web", 2) };
    let copies = (0..6).map(|number| {
        let mut client = adapters[number % 2].deployments();
        let request = request.clone();
        async move { client.scale(request).await.map(|answer| answer.into_inner().deployment.is_some()) }
    });
    for answer in join_all(copies).await {
        assert!(answer.expect("each is answered"));
    }
    let controller = namespace.api::<ReplicationController>().get("web-replication-controller").await;
    assert_eq!(controller.expect("a controller").spec.and_then(|spec| spec.replicas), Some(2));
}

/// One revision for each edition, whoever has asked for it.
async fn check_one(namespace: &Namespace) {
    let record = namespace.api::<ConfigMap>().get("panamax-deployment-app").await.expect("a record");
    let record: serde_json::Value =
        serde_json::from_str(&record.data.expect("data")["head.json"]).expect("a record");
    let revisions = record["revisions"].as_array().expect("revisions").iter();
    let numbers: Vec<_> = revisions.map(|revision| revision["number"].as_u64()).collect();
    assert_eq!(numbers, [Some(1), Some(2)]);
}

#[tokio::test]
async fn a_name_that_cannot_be_one_is_refused() {
    let namespace = namespace("named-badly").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    for id in ["x".repeat(129), "a\nb".to_owned()] {
        let request = named(&id, deploy(&namespace, "app", &template(1)));
        let refused = adapter.deployments().deploy(request).await.expect_err("no name");
        assert_eq!((refused.code(), reason(&refused)), (Code::InvalidArgument, "FIELD_INVALID".to_owned()));
        assert!(refused.message().contains("request_id"), "{refused:?}");
    }
}
