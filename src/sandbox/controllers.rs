//! Plays controllers and kubelets: makes, adopts and removes pods, and lets them run.
use super::kinds::Kind;
use super::removal::{self, controller_of};
use super::selection::carries;
use super::store::{Key, Store};
use super::writes::{self, Options, Target, now, settle, suffix};
use super::{Shared, rollout};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long a pod takes to start, and a terminating one to stop.
const POD_DELAY: Duration = Duration::from_millis(50);
/// How often one sweep goes round before it lets requests in between.
const ROUNDS: usize = 32;

/// What is remembered between sweeps.
#[derive(Default)]
struct Progress {
    /// The revision up to which replicas were looked after.
    seen: u64,
    /// When the pods that wait for something are due.
    waiting: HashMap<String, Instant>,
}

/// Follows every change until the sandbox ends.
pub async fn run(shared: Arc<Shared>) {
    let mut news = shared.store().subscribe();
    let mut progress = Progress::default();
    loop {
        news.borrow_and_update();
        let next = sweep(&mut shared.store(), &mut progress);
        tokio::select! {
            () = shared.stop.cancelled() => return,
            changed = news.changed() => if changed.is_err() { return },
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
    }
}

/// A snapshot of the objects of a kind, so that they can be changed while they are looked at.
pub fn snapshot(store: &Store, kind: &str, namespace: &str) -> Vec<(Key, Arc<Value>)> {
    let kind = Kind::named(kind).into_iter();
    kind.flat_map(|kind| store.list(kind, namespace))
        .map(|(key, object)| (key.clone(), object.clone()))
        .collect()
}

/// The objects of a kind that this one controls.
pub fn controlled(store: &Store, kind: &str, owner: &Value) -> Vec<(Key, Arc<Value>)> {
    let namespace = owner["metadata"]["namespace"].as_str().unwrap_or_default();
    let mut all = snapshot(store, kind, namespace);
    all.retain(|(_, object)| controller_of(object).is_some_and(|own| own["uid"] == owner["metadata"]["uid"]));
    all
}

/// Makes an object that another one controls.
pub fn make(store: &mut Store, kind: &str, owner_kind: &Kind, owner: &Value, name: &str, mut object: Value) {
    let Some(kind) = Kind::named(kind) else { return };
    object["metadata"]["name"] = json!(name);
    object["metadata"]["ownerReferences"] = json!([reference(owner_kind, owner)]);
    let namespace = owner["metadata"]["namespace"].as_str().unwrap_or_default();
    let options = Options { manager: "sandbox".to_owned(), ..Options::default() };
    // A refusal needs no answer here: the next sweep tries again, and the owner's counts show what is missing.
    drop(writes::create(store, &Target { kind, namespace, name: "" }, &object, &options));
}

/// Replaces the status if it differs.
pub fn set_status(store: &mut Store, key: Key, object: &Value, status: Value) {
    if object["status"] != status {
        let mut object = object.clone();
        object["status"] = status;
        settle(store, key, object);
    }
}

pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Everything that can happen now; answers when the next pod is due.
fn sweep(store: &mut Store, progress: &mut Progress) -> Option<Instant> {
    let mut next = None;
    for _ in 0..ROUNDS {
        let before = store.revision();
        removal::collect_garbage(store);
        rollout::advance(store);
        let changed = changed_since(store, progress.seen);
        progress.seen = store.revision();
        for name in ["ReplicationController", "ReplicaSet"] {
            let Some(kind) = Kind::named(name) else { continue };
            for (key, object) in snapshot(store, name, "") {
                if changed.as_ref().is_none_or(|changed| changed.iter().any(|one| concerns(&object, one))) {
                    replicate(store, kind, key, &object);
                }
            }
        }
        next = live(store, &mut progress.waiting);
        for (key, claim) in snapshot(store, "PersistentVolumeClaim", "") {
            if claim["status"]["phase"] == "Pending" {
                bind(store, key, (*claim).clone());
            }
        }
        if store.revision() == before {
            break;
        }
    }
    next
}

/// Both sides of every change since a revision; None when the history does not reach back so far.
fn changed_since(store: &Store, revision: u64) -> Option<Vec<Arc<Value>>> {
    let changes = store.since(revision).ok()?;
    Some(changes.flat_map(|change| change.before.iter().chain(&change.after).cloned()).collect())
}

/// Whether a changed object is this controller or a pod that is, or may become, one of its own. Without this
/// question every change of a pod would cost a look at all pods for each controller.
fn concerns(controller: &Value, changed: &Value) -> bool {
    let uid = &controller["metadata"]["uid"];
    changed["metadata"]["uid"] == *uid
        || controller_of(changed).is_some_and(|owner| owner["uid"] == *uid)
        || carries(changed, selector(controller))
}

/// The labels that a controller selects by: a plain map for a ReplicationController, `matchLabels` otherwise.
fn selector(controller: &Value) -> &Value {
    let selector = &controller["spec"]["selector"];
    if selector["matchLabels"].is_object() { &selector["matchLabels"] } else { selector }
}

fn reference(kind: &Kind, owner: &Value) -> Value {
    json!({
        "apiVersion": kind.api_version(), "kind": kind.name, "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
    })
}

/// One step of a ReplicationController or ReplicaSet.
fn replicate(store: &mut Store, kind: &'static Kind, key: Key, object: &Value) {
    let labels = selector(object);
    let mut pods = Vec::new();
    for (pod_key, pod) in snapshot(store, "Pod", &key.namespace) {
        let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        if ended || !pod["metadata"]["deletionTimestamp"].is_null() {
            continue;
        }
        let selected = carries(&pod, labels);
        match controller_of(&pod) {
            Some(owner) if owner["uid"] != object["metadata"]["uid"] => continue,
            Some(_) if !selected => release(store, pod_key, &pod),
            None if selected && object["metadata"]["deletionTimestamp"].is_null() => {
                let mut adopted = (*pod).clone();
                adopted["metadata"]["ownerReferences"] = json!([reference(kind, object)]);
                pods.push((pod_key.clone(), settle(store, pod_key, adopted)));
            }
            Some(_) => pods.push((pod_key, pod)),
            None => {}
        }
    }
    if object["metadata"]["deletionTimestamp"].is_null() {
        let wanted = object["spec"]["replicas"]
            .as_u64()
            .map_or(1, |count| usize::try_from(count).unwrap_or(usize::MAX));
        let template = &object["spec"]["template"];
        for _ in pods.len()..wanted {
            let metadata = json!({
                "generateName": format!("{}-", key.name),
                "labels": template["metadata"]["labels"], "annotations": template["metadata"]["annotations"],
            });
            let name = format!("{}-{}", key.name, suffix());
            make(
                store,
                "Pod",
                kind,
                object,
                &name,
                json!({ "metadata": metadata, "spec": template["spec"] }),
            );
        }
        // Unready pods go first, then the youngest.
        pods.sort_by_key(|(_, pod)| (!is_ready(pod), age(pod)));
        for (key, _) in pods.iter().rev().take(pods.len().saturating_sub(wanted)) {
            drop(delete_pod(store, key));
        }
    }
    let current = controlled(store, "Pod", object);
    let current: Vec<_> =
        current.iter().filter(|(_, pod)| pod["metadata"]["deletionTimestamp"].is_null()).collect();
    let ready = current.iter().filter(|(_, pod)| is_ready(pod)).count();
    let mut status =
        json!({ "replicas": current.len(), "observedGeneration": object["metadata"]["generation"] });
    // Counts of zero are left out, as the real controllers do.
    for (name, count) in
        [("fullyLabeledReplicas", current.len()), ("readyReplicas", ready), ("availableReplicas", ready)]
    {
        if count > 0 {
            status[name] = json!(count);
        }
    }
    set_status(store, key, object, status);
}

fn age(pod: &Value) -> u64 {
    pod["metadata"]["resourceVersion"].as_str().and_then(|revision| revision.parse().ok()).unwrap_or_default()
}

fn delete_pod(store: &mut Store, key: &Key) -> Option<Value> {
    removal::delete(store, Kind::named("Pod")?, key, &json!({ "propagationPolicy": "Background" }), false)
        .ok()
}

fn release(store: &mut Store, key: Key, pod: &Value) {
    let mut pod = pod.clone();
    if let Some(metadata) = pod["metadata"].as_object_mut() {
        metadata.remove("ownerReferences");
    }
    settle(store, key, pod);
}

/// Moves pods on whose time has come: pending ones run or hang, terminating ones end.
fn live(store: &mut Store, waiting: &mut HashMap<String, Instant>) -> Option<Instant> {
    let mut still = HashMap::new();
    for (key, pod) in snapshot(store, "Pod", "") {
        let terminating = !pod["metadata"]["deletionTimestamp"].is_null();
        let fresh = pod["status"]["phase"] == "Pending" && pod["spec"]["nodeName"].is_null();
        // A change of image reaches the container of a pod that runs.
        if !terminating && !fresh && shown_images(&pod) == images(&pod) {
            continue;
        }
        let uid = format!("{}{terminating}", pod["metadata"]["uid"]);
        let due = waiting.get(&uid).copied().unwrap_or_else(|| Instant::now() + POD_DELAY);
        if due > Instant::now() {
            still.insert(uid, due);
        } else if terminating {
            let mut pod = (*pod).clone();
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(0);
            settle(store, key, pod);
        } else {
            start(store, key, &pod);
        }
    }
    *waiting = still;
    waiting.values().min().copied()
}

fn images(pod: &Value) -> Vec<&str> {
    pod["spec"]["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one["image"].as_str())
        .collect()
}

fn shown_images(pod: &Value) -> Vec<&str> {
    let shown = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    shown.filter_map(|one| one["image"].as_str()).collect()
}

fn start(store: &mut Store, key: Key, pod: &Value) {
    let mut pod = pod.clone();
    let time = now();
    let bad = images(&pod).iter().any(|image| image.contains("/missing:") || image.contains("/crashing:"));
    let pulled = !images(&pod).iter().any(|image| image.contains("/missing:"));
    let containers: Vec<Value> = pod["spec"]["containers"].as_array().into_iter().flatten().map(|container| {
        let image = container["image"].as_str().unwrap_or_default();
        let mut status = json!({ "name": container["name"], "image": image, "imageID": "", "restartCount": 0, "lastState": {} });
        let state = if image.contains("/missing:") {
            json!({ "waiting": { "reason": "ImagePullBackOff", "message": "Back-off pulling image" } })
        } else if image.contains("/crashing:") {
            status["restartCount"] = json!(4);
            let ended = json!({ "exitCode": 1, "reason": "Error", "startedAt": time, "finishedAt": time });
            status["lastState"] = json!({ "terminated": ended });
            json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off restarting failed container" } })
        } else {
            json!({ "running": { "startedAt": time } })
        };
        let running = state["running"].is_object();
        status["ready"] = json!(running);
        status["started"] = json!(running);
        status["state"] = state;
        status
    }).collect();
    let condition = |name: &str, holds: bool| {
        let status = if holds { "True" } else { "False" };
        json!({ "type": name, "status": status, "lastProbeTime": null, "lastTransitionTime": time })
    };
    let conditions = [
        condition("Initialized", true),
        condition("ContainersReady", !bad),
        condition("Ready", !bad),
        condition("PodScheduled", true),
    ];
    if pod["status"]["podIP"].is_null() {
        let number = store.next_address();
        pod["status"]["podIP"] = json!(format!("10.0.{}.{}", (number >> 8) & 255, number & 255));
    }
    pod["spec"]["nodeName"] = json!("sandbox");
    let address = pod["status"]["podIP"].clone();
    pod["status"] = json!({
        "phase": if pulled { "Running" } else { "Pending" }, "conditions": conditions, "qosClass": "BestEffort",
        "podIP": address, "podIPs": [{ "ip": address }], "startTime": time, "containerStatuses": containers,
    });
    settle(store, key, pod);
}

fn bind(store: &mut Store, key: Key, mut claim: Value) {
    let volume = format!("pvc-{}", claim["metadata"]["uid"].as_str().unwrap_or_default());
    claim["spec"]["volumeName"] = json!(volume);
    let (capacity, modes) = (&claim["spec"]["resources"]["requests"], &claim["spec"]["accessModes"]);
    claim["status"] = json!({ "phase": "Bound", "capacity": capacity, "accessModes": modes });
    settle(store, key, claim);
}
