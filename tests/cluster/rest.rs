//! An old agent's deployments on the real control plane: pods that take their time, a restart in between, two façades.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::support::adapter::Binary;
use crate::support::agent::{Agent, Answer, recorded};
use crate::support::control_plane::{User, control_plane};
use crate::support::namespace::{Namespace, namespace};
use crate::support::relay::{Relay, free_address, kubeconfig_at};

/// How long the old pods take to end.
const GRACE: Duration = Duration::from_secs(8);

/// How long a cause may take to be told.
const PATIENCE: Duration = Duration::from_secs(60);

fn body() -> String {
    recorded("go")
}

async fn start(namespace: &str) -> Binary {
    let namespace = namespace.to_owned();
    let kubeconfig = control_plane().kubeconfig(User::Adapter);
    let flags = move || {
        let own = ["--namespace", &namespace, "--namespaces", &namespace];
        Binary::start(&kubeconfig, &[&own[..], &["--rest-listen", "127.0.0.1:0", "--lease", "3s"]].concat())
    };
    tokio::task::spawn_blocking(flags).await.expect("the binary starts")
}

async fn agent(binary: &Binary) -> Agent {
    Agent::to(binary.rest.expect("it serves the old agents")).await
}

/// Holds the pods as their grace would: they go a while after they were deleted.
async fn hold(namespace: &Namespace, finalizers: serde_json::Value) {
    let pods = namespace.api::<Pod>();
    for pod in pods.list(&ListParams::default()).await.expect("pods") {
        let patch = Patch::Merge(json!({ "metadata": { "finalizers": finalizers } }));
        pods.patch(&pod.name_any(), &PatchParams::default(), &patch).await.expect("a pod that is held");
    }
}

#[tokio::test]
async fn an_agent_redeploys_while_old_pods_take_their_time_and_the_adapter_restarts() {
    let namespace = namespace("rest-life").await;
    let mut binary = start(&namespace).await;
    let mut first = agent(&binary).await;
    let ids = first.post(&body()).await.ids();
    first.until(&ids[0], "running 2/2").await;
    first.until(&ids[1], "running 1/1").await;
    let other = body().replace("shop/store:5.5", "shop/store:6.0");
    assert_eq!(first.post(&other).await.refusal(), (409, "DEPLOYMENT_EXISTS".to_owned()));
    // Another process knows as much as the one before.
    binary.kill();
    let mut binary = start(&namespace).await;
    let mut second = agent(&binary).await;
    assert_eq!(second.post(&body()).await.ids(), ids);
    assert_eq!(second.state(&ids[0]).await, "running 2/2");
    // Redeploy: the POST waits until the old pods have gone.
    hold(&namespace, json!(["example.com/grace"])).await;
    for id in &ids {
        assert_eq!(second.delete(id).await, 204);
    }
    assert_eq!(second.state(&ids[0]).await, "deleting");
    let begun = Instant::now();
    let grace = async {
        tokio::time::sleep(GRACE).await;
        hold(&namespace, json!(null)).await;
    };
    let posted = body();
    let (created, ()) = tokio::join!(second.post(&posted), grace);
    let again = created.ids();
    assert!(begun.elapsed() >= GRACE, "{:?}", begun.elapsed());
    assert!(again.iter().all(|id| !ids.contains(id)), "{again:?}");
    assert_eq!(second.get(&ids[0]).await.status, 404);
    assert_eq!(second.delete(&ids[0]).await, 404, "a stale record deletes nothing");
    second.until(&again[0], "running 2/2").await;
    // Delete, and the adapter restarts before all has gone.
    hold(&namespace, json!(["example.com/grace"])).await;
    assert_eq!(second.delete(&again[0]).await, 204);
    binary.kill();
    let binary = start(&namespace).await;
    let mut third = agent(&binary).await;
    assert_eq!(third.delete(&again[1]).await, 204, "the other one joins in");
    hold(&namespace, json!(null)).await;
    third.until_gone(&again[0]).await;
    assert_eq!(third.delete(&again[1]).await, 404);
    let records = namespace.api::<ConfigMap>().list(&ListParams::default()).await.expect("records");
    let left: Vec<String> = records.iter().map(ResourceExt::name_any).collect();
    assert_eq!(left, ["kube-root-ca.crt"]);
}

#[tokio::test]
async fn two_facades_make_one_deployment_of_one_template() {
    let namespace = namespace("rest-two").await;
    let (left, right) = tokio::join!(start(&namespace), start(&namespace));
    let posted = body();
    let posts = [&left, &right, &left, &right, &left, &right]
        .map(|binary| async { agent(binary).await.post(&posted).await.ids() });
    let mut answers = futures::future::join_all(posts).await;
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    // What one has made the other deletes.
    let ids = answers.remove(0);
    let mut other = agent(&right).await;
    let mut statuses = Vec::new();
    for id in &ids {
        statuses.push(other.delete(id).await);
    }
    assert_eq!(statuses[0], 204);
    agent(&left).await.until_gone(&ids[0]).await;
}

#[tokio::test]
async fn an_agent_is_told_nothing_that_is_not_true_while_the_cluster_is_away() {
    let namespace = namespace("rest-away").await;
    let address = free_address().await;
    let kubeconfig = kubeconfig_at(address);
    let relay = Relay::start(address, Duration::ZERO).await;
    let name = namespace.to_string();
    let start = move || {
        let own = ["--namespace", &name, "--namespaces", &name, "--rest-listen", "127.0.0.1:0"];
        Binary::start(&kubeconfig, &own)
    };
    let binary = tokio::task::spawn_blocking(start).await.expect("the binary starts");
    let mut here = agent(&binary).await;
    let ids = here.post(&body()).await.ids();
    here.until(&ids[0], "running 2/2").await;
    drop(relay);
    let healthy = |answer: &Answer| answer.json()["isHealthy"] == json!(true);
    let begun = Instant::now();
    while healthy(&here.call("GET", "/v1/metadata", None).await) {
        assert!(begun.elapsed() < Duration::from_secs(30), "it notices nothing");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(here.call("GET", "/healthcheck", None).await.body, "false");
    let answer = here.get(&ids[0]).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("retry-after").is_some_and(|after| after != "0"), "{answer:?}");
    // A DELETE has time until the cluster is back: whatever is answered, the agent takes the service for deleted.
    let deleting = async { here.delete(&ids[0]).await };
    let back = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        Relay::start(address, Duration::ZERO).await
    };
    let (deleted, _relay) = tokio::join!(deleting, back);
    assert_eq!(deleted, 204);
    here.until_gone(&ids[0]).await;
}

#[tokio::test]
async fn a_post_that_waits_for_old_pods_does_not_hold_up_the_end() {
    let namespace = namespace("rest-end").await;
    let mut binary = start(&namespace).await;
    let mut here = agent(&binary).await;
    let ids = here.post(&body()).await.ids();
    here.until(&ids[1], "running 1/1").await;
    hold(&namespace, json!(["example.com/grace"])).await;
    assert_eq!(here.delete(&ids[0]).await, 204);
    here.send("POST", "/v1/services", Some(&body())).await;
    // It waits: nothing has come in a while that any other answer takes.
    let early = tokio::time::timeout(Duration::from_secs(2), here.answer("POST")).await;
    assert!(early.is_err(), "{early:?}");
    let begun = Instant::now();
    let ended = tokio::task::spawn_blocking(move || binary.signal("TERM", Duration::from_secs(60)));
    let answer = here.answer("POST").await.expect("an answer");
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    hold(&namespace, json!(null)).await;
    assert_eq!(ended.await.expect("it ends"), Some(0));
}

/// The kubelet's own text may quote the arguments of a container, so an agent gets the cause in our words.
#[tokio::test]
async fn an_agent_is_told_why_a_service_fails_and_no_value() {
    let namespace = namespace("rest-fails").await;
    let binary = start(&namespace).await;
    let mut agent = agent(&binary).await;
    let body = json!([{
        "name": "web", "source": "shop/missing:1", "command": "serve canary",
        "environment": [{ "variable": "PASSWORD", "value": "canary" }],
    }]);
    let ids = agent.post(&body.to_string()).await.ids();
    let pods = namespace.api::<Pod>();
    for cause in ["ErrImagePull", "CreateContainerConfigError"] {
        let until = Instant::now() + PATIENCE;
        // What plays the kubelet tells of the first cause; the text is always ours.
        loop {
            for pod in pods.list(&ListParams::default()).await.expect("pods") {
                let waiting = json!({ "reason": cause, "message": "exec canary: no such file" });
                let status = json!({ "status": { "containerStatuses": [{
                    "name": "web", "image": "shop/missing:1", "imageID": "", "ready": false,
                    "restartCount": 0, "state": { "waiting": waiting },
                }] } });
                let how = PatchParams::default();
                pods.patch_status(&pod.name_any(), &how, &Patch::Strategic(status)).await.expect("a status");
            }
            let state = agent.state(&ids[0]).await;
            assert!(!state.contains("canary") && !state.contains("no such file"), "{state}");
            if state.starts_with("failed: ") && state.contains(cause) {
                break;
            }
            assert!(Instant::now() < until, "{state}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    assert_eq!(agent.delete(&ids[0]).await, 204);
}
