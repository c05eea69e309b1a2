//! Plays the controller of apps Deployments: a ReplicaSet for each pod template, and pods moved from old to new.
use super::controllers::{Objects, by_controller, reference};
use super::kinds::Kind;
use super::removal::controller_of;
use super::store::{Key, Store, is_terminating};
use super::writes::{self, Call, now};
use serde_json::{Value, json};
use std::hash::{DefaultHasher, Hash, Hasher};

const HASH: &str = "pod-template-hash";

/// One step of every Deployment.
pub fn roll(store: &mut Store) {
    let mut owned = by_controller(store, Kind::ReplicaSet);
    for (key, deployment) in store.all(Kind::Deployment) {
        let uid = deployment["metadata"]["uid"].as_str().unwrap_or_default();
        let mut old = owned.remove(uid).unwrap_or_default();
        if is_terminating(&deployment) {
            continue;
        }
        let mut hasher = DefaultHasher::new();
        deployment["spec"]["template"].to_string().hash(&mut hasher);
        let hash = format!("{:010x}", hasher.finish() >> 24);
        let name = format!("{}-{hash}", key.name);
        let new: Objects = old.extract_if(.., |(key, _)| key.name == name).collect();
        let new = new.first().map_or(&Value::Null, |(_, set)| &**set);
        let status = status(&deployment, new, &old);
        match target(store, &deployment, new, &old) {
            Some(replicas) if new.is_null() => create(store, &key, &deployment, &hash, replicas),
            Some(replicas) if replicas != wanted(new) => {
                resize(store, &Key { kind: Kind::ReplicaSet, name, ..key.clone() }, new, replicas)
            }
            _ => shrink(store, &deployment, new, &old),
        }
        if deployment["status"] != status {
            let mut deployment = (*deployment).clone();
            deployment["status"] = status;
            store.put(&key, deployment);
        }
    }
}

/// How many pods the new ReplicaSet is to have for now; None while it must not be there yet.
fn target(store: &Store, deployment: &Value, new: &Value, old: &Objects) -> Option<i64> {
    if deployment["spec"]["strategy"]["type"] == "Recreate" {
        let is_old = |pod: &Value| {
            let owner = controller_of(pod).map(|owner| &owner["uid"]);
            old.iter().any(|(_, set)| owner == Some(&set["metadata"]["uid"]))
        };
        let waits = sum(old, wanted) > 0 || store.list(Kind::Pod, "").any(|(_, pod)| is_old(pod));
        return (!waits).then(|| wanted(deployment));
    }
    let (surge, _) = bounds(deployment);
    let room = wanted(deployment) + surge - wanted(new) - sum(old, wanted);
    Some(wanted(deployment).min(wanted(new) + room.max(0)))
}

/// Takes pods off the old ReplicaSets: the unready first, the others while enough are available.
fn shrink(store: &mut Store, deployment: &Value, new: &Value, old: &Objects) {
    let least = wanted(deployment) - bounds(deployment).1;
    let recreates = deployment["spec"]["strategy"]["type"] == "Recreate";
    let missing = wanted(new) - available(new);
    let mut sick = wanted(new) + sum(old, wanted) - least - missing;
    let mut healthy = available(new) + sum(old, available) - least;
    for (key, set) in old.iter().filter(|(_, set)| wanted(set) > 0) {
        let by_sickness = sick.clamp(0, (wanted(set) - available(set)).max(0));
        sick -= by_sickness;
        let by_health = sick.min(healthy).clamp(0, wanted(set) - by_sickness);
        (sick, healthy) = (sick - by_health, healthy - by_health);
        let kept = if recreates { 0 } else { wanted(set) - by_sickness - by_health };
        if kept != wanted(set) {
            resize(store, key, set, kept);
        }
    }
}

fn create(store: &mut Store, key: &Key, deployment: &Value, hash: &str, replicas: i64) {
    let mut template = deployment["spec"]["template"].clone();
    template["metadata"]["labels"][HASH] = json!(hash);
    let labels = template["metadata"]["labels"].clone();
    let mut selector = deployment["spec"]["selector"].clone();
    selector["matchLabels"][HASH] = json!(hash);
    let set = json!({
        "metadata": { "name": format!("{}-{hash}", key.name), "labels": labels,
            "annotations": deployment["metadata"]["annotations"], "ownerReferences": [reference(deployment)] },
        "spec": { "replicas": replicas, "selector": selector, "template": template },
    });
    // A refusal needs no answer: the status shows what is missing.
    drop(writes::create(store, Call::own(Key::new(Kind::ReplicaSet, &key.namespace, "")), &set));
}

fn resize(store: &mut Store, key: &Key, set: &Value, replicas: i64) {
    let mut set = set.clone();
    set["spec"]["replicas"] = json!(replicas);
    drop(writes::replace(store, &Call::own(key.clone()), &set));
}

fn status(deployment: &Value, new: &Value, old: &Objects) -> Value {
    let wants = wanted(deployment);
    let all = |count: fn(&Value) -> i64| count(new) + sum(old, count);
    let (replicas, updated, available) = (all(running), running(new), all(available));
    let mut status = json!({ "observedGeneration": deployment["metadata"]["generation"] });
    // Counts of zero are left out, as the real controller does.
    let counts = [
        ("replicas", replicas),
        ("updatedReplicas", updated),
        ("readyReplicas", available),
        ("availableReplicas", available),
        ("unavailableReplicas", all(wanted) - available),
    ];
    for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        status[name] = json!(count);
    }
    let is_complete = [replicas, updated, available].iter().all(|count| *count == wants);
    let enough = available >= wants - bounds(deployment).1;
    let (has, progress) = (
        if enough { ("True", "MinimumReplicasAvailable") } else { ("False", "MinimumReplicasUnavailable") },
        if is_complete { "NewReplicaSetAvailable" } else { "ReplicaSetUpdated" },
    );
    let conditions = [("Available", has.0, has.1), ("Progressing", "True", progress)];
    status["conditions"] =
        conditions.map(|condition| dated(&deployment["status"], condition)).into_iter().collect();
    status
}

/// A condition with its times, as they were if nothing of it changed.
fn dated(status: &Value, (name, holds, reason): (&str, &str, &str)) -> Value {
    let mut former = status["conditions"].as_array().into_iter().flatten();
    let former = former.find(|one| one["type"] == name && one["status"] == holds).unwrap_or(&Value::Null);
    if former["reason"] == reason {
        return former.clone();
    }
    let since = former["lastTransitionTime"].as_str().map_or_else(now, str::to_owned);
    json!({
        "type": name, "status": holds, "reason": reason, "message": reason,
        "lastTransitionTime": since, "lastUpdateTime": now(),
    })
}

/// How many pods there may be beyond the wanted ones, and how many of those may be missing.
fn bounds(deployment: &Value) -> (i64, i64) {
    let wants = wanted(deployment);
    let strategy = &deployment["spec"]["strategy"]["rollingUpdate"];
    let bound = |name: &str, round_up: i64| match strategy[name].as_str() {
        Some(share) => (share.trim_end_matches('%').parse().unwrap_or(0) * wants + round_up) / 100,
        None => strategy[name].as_i64().unwrap_or(0),
    };
    match (bound("maxSurge", 99), bound("maxUnavailable", 0)) {
        (0, 0) => (0, 1),
        (surge, unavailable) => (surge, unavailable.min(wants)),
    }
}

fn sum(sets: &Objects, count: fn(&Value) -> i64) -> i64 {
    sets.iter().map(|(_, set)| count(set)).sum()
}

fn wanted(holder: &Value) -> i64 {
    holder["spec"]["replicas"].as_i64().unwrap_or(0)
}

fn running(set: &Value) -> i64 {
    set["status"]["replicas"].as_i64().unwrap_or(0)
}

fn available(set: &Value) -> i64 {
    set["status"]["availableReplicas"].as_i64().unwrap_or(0)
}
