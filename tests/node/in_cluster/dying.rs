//! A replica that dies in the middle of a Deploy that it carries: another one finishes what it has begun.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use panamax_kubernetes_adapter::proto;
use serde_json::{Value, json};

use super::{PATIENCE, Started, patient};
use crate::support::adapter::deploy;

/// The Pod that changes, and cannot change in place.
const CHANGED: &str = "wp-pod";

/// Deploys what replaces a Pod by way of one replica, and kills that one while the old Pod does not go.
pub(super) async fn another_finishes_what_one_began(started: &Started, client: &kube::Client, sample: &str) {
    let replicas = started.pods(client.clone());
    let listed = replicas.list(&ListParams::default()).await.expect("pods").items;
    assert_eq!(listed.len(), 2, "two replicas");
    let (serving, address) =
        (listed[0].name_any(), listed[0].status.as_ref().and_then(|pod| pod.pod_ip.clone()));
    let passage = started.node.passage(format!("{}:50051", address.expect("an address"))).await;
    let mut caller = started.caller_by(&passage).await;
    hold(client, Some("example.com/held")).await;
    let newer = sample.replace("value: wordpress\n", "value: another\n");
    assert_ne!(newer, sample);
    let dying = async {
        until(async || going(client).await && holder(client).await == serving).await;
        replicas.delete(&serving, &DeleteParams::default().grace_period(0)).await.expect("deleted");
        kill(&serving);
        until(async || !["", serving.as_str()].contains(&holder(client).await.as_str())).await;
        let finishing = holder(client).await;
        let names = replicas.list(&ListParams::default()).await.expect("pods").items;
        assert!(names.iter().any(|pod| pod.name_any() == finishing), "{finishing} took it over");
        hold(client, None).await;
    };
    let (deployed, ()) = tokio::join!(caller.deploy(patient(deploy("default", "wp", &newer))), dying);
    deployed.expect_err("nobody answers for the replica that has died");
    // Whoever finishes it stores it again, under a number of its own.
    let is_finished =
        |seen: &proto::Deployment| seen.state() == proto::DeploymentState::Active && seen.revision > 1;
    started.until("wp", is_finished).await;
    let pod = Api::<Pod>::namespaced(client.clone(), "default").get(CHANGED).await.expect("the new Pod");
    let variables = pod.spec.expect("a specification").containers.remove(0).env.expect("variables");
    assert!(
        variables.iter().any(|variable| variable.value.as_deref() == Some("another")),
        "the newer template"
    );
}

/// Who carries the operation on the deployment: the replica's name; nothing without an operation.
async fn holder(client: &kube::Client) -> String {
    let heads: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let head = heads.get("panamax-deployment-wp").await.expect("a record").data.expect("data");
    let head: Value = serde_json::from_str(&head["head.json"]).expect("a record");
    let holder = head.pointer("/operation/holder").and_then(Value::as_str).unwrap_or_default();
    holder.split('/').next().unwrap_or_default().to_owned()
}

/// Whether the old Pod is being deleted.
async fn going(client: &kube::Client) -> bool {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let pod = pods.get(CHANGED).await.expect("the held Pod");
    pod.metadata.deletion_timestamp.is_some()
}

/// Holds the old Pod, or lets it go.
async fn hold(client: &kube::Client, finalizer: Option<&str>) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let finalizers = finalizer.map(|finalizer| [finalizer]);
    let patch = Patch::Merge(json!({ "metadata": { "finalizers": finalizers } }));
    pods.patch(CHANGED, &PatchParams::default(), &patch).await.expect("a Pod that is held or not");
}

/// Kills the processes of a pod: whoever is only deleted may end its work first.
fn kill(pod: &str) {
    let name = format!("HOSTNAME={pod}\0");
    for process in fs::read_dir("/proc").expect("processes").flatten() {
        let environment = fs::read(process.path().join("environ")).unwrap_or_default();
        if environment.windows(name.len()).any(|variable| variable == name.as_bytes()) {
            // It may have ended by itself.
            let _ = Command::new("kill").arg("-9").arg(process.file_name()).status();
        }
    }
}

async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < until, "not in time");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
