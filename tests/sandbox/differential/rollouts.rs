//! Compares what apps Deployments do: pods made, replaced, scaled and collected.
use super::deployments::{complete, deployment};
use super::*;

const PODS: &str = "pods?labelSelector=app%3Dweb";

/// The numbers and conditions that a reader of a rollout looks at.
fn status(deployment: &Value) -> Value {
    let status = &deployment["status"];
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let mut conditions: Vec<_> =
        conditions.map(|one| json!([one["type"], one["status"], one["reason"]])).collect();
    conditions.sort_by_key(Value::to_string);
    let counts = ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas"];
    json!([counts.map(|name| status[name].clone()), conditions])
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

/// The images of all pods, sorted; a terminating one is none any more.
fn images(list: &Value) -> Vec<&str> {
    let staying = items(list).filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    let mut images: Vec<_> =
        staying.filter_map(|pod| pod["spec"]["containers"][0]["image"].as_str()).collect();
    images.sort_unstable();
    images
}

/// Applies, waits for the end of the rollout, and notes what it came to.
async fn rolled(on: &mut Session, label: &str, body: Value) {
    let generation = on.apply(label, OURS, body).await["metadata"]["generation"].clone();
    let done = |code, it: &Value| complete(code, it) && it["metadata"]["generation"] == generation;
    let end = on.until("rolled out", "deployments/web", done).await;
    on.note("status", status(&end));
    let (_, pods) = on.send("GET", PODS, Value::Null, "application/json").await;
    on.note("images", json!(images(&pods)));
}

pub async fn rollouts(on: &mut Session) {
    rolled(on, "first", deployment(3, "nginx:1")).await;
    let (_, pods) = on.send("GET", PODS, Value::Null, "application/json").await;
    let (_, sets) = on.send("GET", "replicasets", Value::Null, "application/json").await;
    let (pod, set) =
        (items(&pods).next().unwrap_or(&Value::Null), items(&sets).next().unwrap_or(&Value::Null));
    let hash = pod["metadata"]["labels"]["pod-template-hash"].as_str().unwrap_or_default();
    on.note("the set is named by the hash", json!(set["metadata"]["name"] == format!("web-{hash}")));
    for (label, one) in [("a pod", pod), ("its set", set)] {
        let mut shown: Value =
            serde_json::from_str(&object(one, &on.namespace).to_string().replace(hash, "hash"))
                .expect("an object");
        shown["metadata"]["name"] = json!("some name");
        on.note(label, shown);
    }
    rolled(on, "new image", deployment(3, "nginx:2")).await;
    rolled(on, "the old image", deployment(3, "nginx:1")).await;
    let (_, sets) = on.send("GET", "replicasets", Value::Null, "application/json").await;
    on.note("two sets", json!(items(&sets).count()));
    let broken = deployment(3, "registry.example/missing:1");
    on.apply("missing image", OURS, broken).await;
    let stuck = on
        .until("stuck", "deployments/web", |_, it| {
            // The real controller says for a moment that it has made the set, before it says that it goes on.
            let conditions = it["status"]["conditions"].as_array();
            let mut reasons = conditions.into_iter().flatten().map(|one| &one["reason"]);
            it["status"]["updatedReplicas"] == 1
                && it["status"]["replicas"] == 4
                && reasons.any(|reason| reason == "ReplicaSetUpdated")
                && it["status"]["observedGeneration"] == it["metadata"]["generation"]
        })
        .await;
    on.note("status", status(&stuck));
    rolled(on, "repaired", deployment(3, "nginx:2")).await;
    for count in [0, 2] {
        rolled(on, "scaled", deployment(count, "nginx:2")).await;
    }
    let rolling = json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 0, "maxUnavailable": 1 } });
    rolled(on, "one after the other", with(deployment(2, "nginx:3"), "/spec/strategy", rolling)).await;
    let recreate = |image: &str| with(deployment(2, image), "/spec/strategy", json!({ "type": "Recreate" }));
    rolled(on, "all at once", recreate("nginx:4")).await;
    rolled(on, "back", recreate("nginx:3")).await;
}

/// How they go.
pub async fn ends(on: &mut Session) {
    on.delete("foreground", "deployments/web", "Foreground", &Value::Null).await;
    on.until("gone", "deployments/web", |code, _| code == 404).await;
    for (label, path) in [("pods went before", PODS), ("sets went before", "replicasets")] {
        let (_, list) = on.send("GET", path, Value::Null, "application/json").await;
        on.note(label, json!(items(&list).count()));
    }
    for options in [json!({ "propagationPolicy": "Background" }), json!({})] {
        rolled(on, "again", deployment(2, "nginx:1")).await;
        on.call("delete", "DELETE", "deployments/web", options).await;
        on.get("gone at once", "deployments/web").await;
        on.until("pods follow", PODS, |_, pods| pods["items"] == json!([])).await;
        on.until("sets follow", "replicasets", |_, sets| sets["items"] == json!([])).await;
    }
}
