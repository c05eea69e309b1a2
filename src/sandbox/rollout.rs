//! Plays the controller of apps Deployments: one ReplicaSet per pod template, the newest takes over when it is available.
use super::controllers::{controlled, make, set_status, snapshot};
use super::kinds::Kind;
use super::store::{Key, Store};
use super::writes::{now, settle};
use serde_json::{Value, json};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// One step of every apps Deployment.
pub fn advance(store: &mut Store) {
    let Some(kind) = Kind::named("Deployment") else {
        return;
    };
    for (key, deployment) in snapshot(store, "Deployment", "") {
        if deployment["metadata"]["deletionTimestamp"].is_null() {
            step(store, kind, key, &deployment);
        }
    }
}

fn step(store: &mut Store, kind: &Kind, key: Key, deployment: &Value) {
    let wanted = deployment["spec"]["replicas"].as_u64().unwrap_or(1);
    let hash = template_hash(&deployment["spec"]["template"]);
    let name = format!("{}-{hash}", key.name);
    let (new, old): (Vec<_>, Vec<_>) =
        controlled(store, "ReplicaSet", deployment).into_iter().partition(|(key, _)| key.name == name);
    let count = |set: &Value, name: &str| set["status"][name].as_u64().unwrap_or(0);
    let all = |name: &str| new.iter().chain(&old).map(|(_, set)| count(set, name)).sum::<u64>();
    let old_pods: u64 = old.iter().map(|(_, set)| count(set, "replicas")).sum();
    let recreate = deployment["spec"]["strategy"]["type"] == "Recreate";
    let available = new.iter().map(|(_, set)| count(set, "availableReplicas")).sum::<u64>();
    if recreate || available >= wanted {
        old.iter().for_each(|(key, set)| scale(store, key, set, 0));
    }
    match new.first() {
        Some((key, set)) => scale(store, key, set, wanted),
        None if recreate && old_pods > 0 => {}
        None => make(store, "ReplicaSet", kind, deployment, &name, replica_set(deployment, &hash, wanted)),
    }
    let updated = new.iter().map(|(_, set)| count(set, "replicas")).sum::<u64>();
    let mut status = json!({ "observedGeneration": deployment["metadata"]["generation"] });
    let counts = [
        ("replicas", all("replicas")),
        ("updatedReplicas", updated),
        ("readyReplicas", all("readyReplicas")),
        ("availableReplicas", all("availableReplicas")),
        ("unavailableReplicas", wanted.saturating_sub(all("availableReplicas"))),
    ];
    for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        status[name] = json!(count);
    }
    let done = updated >= wanted && available >= wanted && old_pods == 0;
    let reason = if done { "NewReplicaSetAvailable" } else { "ReplicaSetUpdated" };
    let conditions = [
        ("Available", all("availableReplicas") >= wanted, "MinimumReplicasAvailable"),
        ("Progressing", true, reason),
    ];
    status["conditions"] =
        conditions.map(|(name, holds, reason)| condition(deployment, name, holds, reason)).into();
    set_status(store, key, deployment, status);
}

/// A condition; one that holds as before keeps its time, or the status would never come to rest.
fn condition(deployment: &Value, name: &str, holds: bool, reason: &str) -> Value {
    let status = if holds { "True" } else { "False" };
    let mut before = deployment["status"]["conditions"].as_array().into_iter().flatten();
    let same = |one: &&Value| one["type"] == name && one["status"] == status && one["reason"] == reason;
    before.find(same).cloned().unwrap_or_else(|| {
        let time = now();
        json!({ "type": name, "status": status, "reason": reason, "lastTransitionTime": time, "lastUpdateTime": time })
    })
}

fn scale(store: &mut Store, key: &Key, set: &Arc<Value>, replicas: u64) {
    if set["spec"]["replicas"] != json!(replicas) {
        let mut set = (**set).clone();
        set["spec"]["replicas"] = json!(replicas);
        set["metadata"]["generation"] = json!(set["metadata"]["generation"].as_u64().unwrap_or(0) + 1);
        settle(store, key.clone(), set);
    }
}

fn replica_set(deployment: &Value, hash: &str, replicas: u64) -> Value {
    let mut template = deployment["spec"]["template"].clone();
    template["metadata"]["labels"]["pod-template-hash"] = json!(hash);
    let mut labels = deployment["spec"]["selector"]["matchLabels"].clone();
    labels["pod-template-hash"] = json!(hash);
    json!({
        "metadata": { "labels": template["metadata"]["labels"] },
        "spec": { "replicas": replicas, "selector": { "matchLabels": labels }, "template": template },
    })
}

fn template_hash(template: &Value) -> String {
    let mut hasher = DefaultHasher::new();
    template.to_string().hash(&mut hasher);
    format!("{:010x}", hasher.finish() & 0xff_ffff_ffff)
}
