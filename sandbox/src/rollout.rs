//! Plays the controller of apps Deployments: a ReplicaSet for each pod template, and pods moved from old to new.
use super::call::Call;
use super::kinds::Kind;
use super::object::{Objects, by_controller, controller_of, reference};
use super::store::{Key, Store, is_terminating};
use super::writes;
use serde_json::{Value, json};
use std::hash::{DefaultHasher, Hash, Hasher};

const HASH: &str = "pod-template-hash";

/// Where the counts of Deployments and ReplicaSets stand.
const WANTED: &str = "/spec/replicas";
const PODS: &str = "/status/replicas";
const AVAILABLE: &str = "/status/availableReplicas";

/// One step of every Deployment.
pub fn roll(store: &mut Store) {
    let mut owned = by_controller(store, Kind::ReplicaSet);
    for (key, deployment) in store.all(Kind::Deployment).into_iter().filter(|(_, one)| !is_terminating(one)) {
        let mut old =
            owned.remove(deployment["metadata"]["uid"].as_str().unwrap_or_default()).unwrap_or_default();
        let mut hasher = DefaultHasher::new();
        deployment["spec"]["template"].to_string().hash(&mut hasher);
        let hash = format!("{:010x}", hasher.finish() >> 24);
        let at = Key::new(Kind::ReplicaSet, &key.namespace, &format!("{}-{hash}", key.name));
        let new: Objects = old.extract_if(.., |(key, _)| *key == at).collect();
        let new = new.first().map_or(&Value::Null, |(_, set)| set);
        let status = status(&deployment, new, &old, &store.now());
        match target(store, &deployment, new, &old) {
            Some(replicas) if new.is_null() => create(store, &at, &deployment, &hash, replicas),
            Some(replicas) if replicas != count(new, WANTED) => resize(store, &at, new, replicas),
            _ => shrink(store, &deployment, new, &old),
        }
        if deployment["status"] != status {
            let mut deployment = Value::clone(&deployment);
            deployment["status"] = status;
            store.put(&key, deployment);
        }
    }
}

/// How many pods the new ReplicaSet is to have for now; None while it has to wait for old ones to go.
fn target(store: &Store, deployment: &Value, new: &Value, old: &Objects) -> Option<i64> {
    let wanted = count(deployment, WANTED);
    if deployment["spec"]["strategy"]["type"] == "Recreate" {
        let is_old = |pod: &Value| {
            let owner = controller_of(pod).map(|owner| &owner["uid"]);
            old.iter().any(|(_, set)| owner == Some(&set["metadata"]["uid"]))
        };
        let waits = sum(old, WANTED) > 0 || store.list(Kind::Pod, "").any(|(_, pod)| is_old(pod));
        return (!waits).then_some(wanted);
    }
    let room = wanted + bounds(deployment).0 - count(new, WANTED) - sum(old, WANTED);
    Some(wanted.min(count(new, WANTED) + room.max(0)))
}

/// Takes pods off the old ReplicaSets: the unready first, the others while enough are available.
fn shrink(store: &mut Store, deployment: &Value, new: &Value, old: &Objects) {
    let least = count(deployment, WANTED) - bounds(deployment).1;
    let recreates = deployment["spec"]["strategy"]["type"] == "Recreate";
    let mut spare = count(new, AVAILABLE) + sum(old, WANTED) - least;
    let mut healthy = count(new, AVAILABLE) + sum(old, AVAILABLE) - least;
    for (key, set) in old.iter().filter(|(_, set)| count(set, WANTED) > 0) {
        let (wanted, available) = (count(set, WANTED), count(set, AVAILABLE));
        let unready = spare.clamp(0, (wanted - available).max(0));
        let ready = (spare - unready).min(healthy).clamp(0, wanted - unready);
        (spare, healthy) = (spare - unready - ready, healthy - ready);
        let kept = if recreates { 0 } else { wanted - unready - ready };
        if kept != wanted {
            resize(store, key, set, kept);
        }
    }
}

fn create(store: &mut Store, at: &Key, deployment: &Value, hash: &str, replicas: i64) {
    let mut spec = json!({
        "replicas": replicas, "selector": deployment["spec"]["selector"], "template": deployment["spec"]["template"],
    });
    spec["selector"]["matchLabels"][HASH] = json!(hash);
    spec["template"]["metadata"]["labels"][HASH] = json!(hash);
    let metadata = json!({
        "name": at.name, "labels": spec["template"]["metadata"]["labels"],
        "annotations": deployment["metadata"]["annotations"], "ownerReferences": [reference(deployment)],
    });
    // A refusal needs no answer: the status shows what is missing.
    drop(writes::create(store, Call::own(at.clone()), &json!({ "metadata": metadata, "spec": spec })));
}

fn resize(store: &mut Store, at: &Key, set: &Value, replicas: i64) {
    let mut set = set.clone();
    set["spec"]["replicas"] = json!(replicas);
    drop(writes::replace(store, &Call::own(at.clone()), &set));
}

fn status(deployment: &Value, new: &Value, old: &Objects, now: &str) -> Value {
    let all = |what: &str| count(new, what) + sum(old, what);
    let (wanted, replicas, available) = (count(deployment, WANTED), all(PODS), all(AVAILABLE));
    let mut status = json!({ "observedGeneration": deployment["metadata"]["generation"] });
    // Counts of zero are left out, as the real controller does.
    let counts = [
        ("replicas", replicas),
        ("updatedReplicas", count(new, PODS)),
        ("readyReplicas", available),
        ("availableReplicas", available),
        ("unavailableReplicas", all(WANTED) - available),
    ];
    for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        status[name] = json!(count);
    }
    let (holds, enough) = match available >= wanted - bounds(deployment).1 {
        true => ("True", "MinimumReplicasAvailable"),
        false => ("False", "MinimumReplicasUnavailable"),
    };
    let is_complete = [replicas, count(new, PODS), available] == [wanted; 3];
    let progress = if is_complete { "NewReplicaSetAvailable" } else { "ReplicaSetUpdated" };
    let conditions = [("Available", holds, enough), ("Progressing", "True", progress)];
    status["conditions"] =
        conditions.map(|condition| dated(&deployment["status"], condition, now)).into_iter().collect();
    status
}

/// A condition with its times, as they were if nothing of it changed.
fn dated(status: &Value, (name, holds, reason): (&str, &str, &str), now: &str) -> Value {
    let mut former = status["conditions"].as_array().into_iter().flatten();
    let former = former.find(|one| one["type"] == name && one["status"] == holds).unwrap_or(&Value::Null);
    if former["reason"] == reason {
        return former.clone();
    }
    let since = former["lastTransitionTime"].as_str().unwrap_or(now);
    json!({ "type": name, "status": holds, "reason": reason, "lastTransitionTime": since, "lastUpdateTime": now })
}

/// How many pods there may be beyond the wanted ones, and how many of those may be missing.
fn bounds(deployment: &Value) -> (i64, i64) {
    let wanted = count(deployment, WANTED);
    let bound = |name: &str, round_up: i64| match &deployment["spec"]["strategy"]["rollingUpdate"][name] {
        Value::String(share) => (share.trim_end_matches('%').parse().unwrap_or(0) * wanted + round_up) / 100,
        number => number.as_i64().unwrap_or(0),
    };
    let (surge, unavailable) = (bound("maxSurge", 99), bound("maxUnavailable", 0));
    (surge, if surge == 0 && unavailable == 0 { 1 } else { unavailable })
}

fn sum(sets: &Objects, what: &str) -> i64 {
    sets.iter().map(|(_, set)| count(set, what)).sum()
}

fn count(holder: &Value, what: &str) -> i64 {
    holder.pointer(what).and_then(Value::as_i64).unwrap_or(0)
}
