//! Plays controllers and kubelets: makes, adopts and removes pods, and lets them run.
use super::Shared;
use super::call::Call;
use super::kinds::Kind;
use super::object::{Objects, by_controller, reference};
use super::removal::{collect_garbage, delete};
use super::rollout;
use super::store::{Key, Store, is_terminating};
use super::stored::Stored;
use super::validate::{carries, selector};
use super::volumes;
use super::writes;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long a pod takes to start, and a terminating one to stop.
const POD_DELAY: Duration = Duration::from_millis(50);

/// How many pods one controller makes before others have their turn.
const BURST: usize = 100;

/// Follows every change until the sandbox ends.
pub async fn run(shared: Arc<Shared>) {
    let mut news = shared.store().subscribe();
    // When the pods that wait for something are due.
    let mut waiting = BTreeMap::new();
    loop {
        news.forget();
        // Whatever this changes is news, which brings the next round.
        {
            let store = &mut shared.store();
            collect_garbage(store);
            replicate(store);
            rollout::roll(store);
            volumes::bind(store);
            live(store, &mut waiting);
        }
        let next = waiting.values().min().copied();
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            more = news.heard() => if !more { return },
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
    }
}

/// One step of everything that keeps a number of pods.
fn replicate(store: &mut Store) {
    let mut owned = by_controller(store, Kind::Pod);
    let mut free = owned.remove("").unwrap_or_default();
    let controllers = [Kind::ReplicationController, Kind::ReplicaSet].map(|kind| store.all(kind));
    for (key, controller) in controllers.into_iter().flatten() {
        let uid = controller["metadata"]["uid"].as_str().unwrap_or_default();
        let mut pods = owned.remove(uid).unwrap_or_default();
        if !is_terminating(&controller) {
            adopt(store, &key, &controller, &mut free, &mut pods);
            scale(store, &key, &controller, &mut pods);
        }
        let ready = pods.iter().filter(|(_, pod)| is_ready(pod)).count();
        let mut status =
            json!({ "replicas": pods.len(), "observedGeneration": controller["metadata"]["generation"] });
        // Counts of zero are left out, as the real controllers do.
        let counts =
            [("fullyLabeledReplicas", pods.len()), ("readyReplicas", ready), ("availableReplicas", ready)];
        for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            status[name] = json!(count);
        }
        if controller["status"] != status {
            let mut controller = Value::clone(&controller);
            controller["status"] = status;
            store.put(&key, controller);
        }
    }
}

/// Takes in the pods that nobody controls and that carry the labels.
fn adopt(store: &mut Store, key: &Key, controller: &Value, free: &mut Objects, pods: &mut Objects) {
    let fits = |(pod_key, pod): &mut (Key, Arc<Stored>)| {
        pod_key.namespace == key.namespace && carries(pod, selector(key.kind, controller))
    };
    for (key, pod) in free.extract_if(.., fits) {
        let mut pod = Value::clone(&pod);
        pod["metadata"]["ownerReferences"] = json!([reference(controller)]);
        let pod = store.put(&key, pod);
        pods.push((key, pod));
    }
}

/// Makes the pods that are missing and deletes those that are too many.
fn scale(store: &mut Store, key: &Key, controller: &Value, pods: &mut Objects) {
    let wanted = usize::try_from(controller["spec"]["replicas"].as_u64().unwrap_or(1)).unwrap_or(usize::MAX);
    let template = &controller["spec"]["template"];
    for _ in pods.len()..wanted.min(pods.len() + BURST) {
        let prefix = format!("{}-", key.name);
        let metadata = json!({
            "name": format!("{prefix}{}", store.chance.suffix()), "generateName": prefix,
            "labels": template["metadata"]["labels"], "annotations": template["metadata"]["annotations"],
            "ownerReferences": [reference(controller)],
        });
        let call = Call::own(Key::new(Kind::Pod, &key.namespace, ""));
        let pod = json!({ "metadata": metadata, "spec": template["spec"] });
        // A refusal needs no answer here: the next round tries again, and the counts show what is missing.
        drop(writes::create(store, call, &pod));
    }
    // Unready pods go first, then the youngest.
    pods.sort_by_key(|(_, pod)| (!is_ready(pod), pod["metadata"]["creationTimestamp"].to_string()));
    for (key, _) in pods.drain(wanted.min(pods.len())..) {
        drop(delete(store, &key, &json!({ "propagationPolicy": "Background" }), false));
    }
}

fn is_ready(pod: &Value) -> bool {
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Moves pods on whose time has come: new ones, and those with a new image, run or hang; terminating ones end.
fn live(store: &mut Store, waiting: &mut BTreeMap<String, Instant>) {
    let mut still = BTreeMap::new();
    for (key, pod) in store.all(Kind::Pod) {
        let terminating = is_terminating(&pod);
        let runs = images(&pod["status"]["containerStatuses"]) == images(&pod["spec"]["containers"]);
        if !terminating && (runs || volumes::are_awaited(store, &key, &pod)) {
            continue;
        }
        let uid = format!("{}{terminating}", pod["metadata"]["uid"]);
        let due = waiting.get(&uid).copied().unwrap_or_else(|| Instant::now() + POD_DELAY);
        if due > Instant::now() {
            still.insert(uid, due);
            continue;
        }
        let mut pod = Value::clone(&pod);
        if terminating {
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        } else {
            start(store, &mut pod);
        }
        store.put(&key, pod);
    }
    *waiting = still;
}

fn images(containers: &Value) -> Vec<&str> {
    containers.as_array().into_iter().flatten().filter_map(|one| one["image"].as_str()).collect()
}

fn start(store: &mut Store, pod: &mut Value) {
    let now = store.now();
    let images = images(&pod["spec"]["containers"]);
    let pulled = !images.iter().any(|image| image.contains("/missing:"));
    let ready = pulled && !images.iter().any(|image| image.contains("/crashing:"));
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let containers: Vec<_> = containers.map(|one| container_status(one, &now)).collect();
    let conditions =
        [("Initialized", true), ("ContainersReady", ready), ("Ready", ready), ("PodScheduled", true)];
    let conditions = conditions.map(|(name, holds)| {
        let status = if holds { "True" } else { "False" };
        json!({ "type": name, "status": status, "lastTransitionTime": now })
    });
    let address =
        pod["status"]["podIP"].as_str().map(str::to_owned).unwrap_or_else(|| store.next_address("10.0"));
    pod["spec"]["nodeName"] = json!("sandbox");
    pod["status"] = json!({
        "phase": if pulled { "Running" } else { "Pending" }, "conditions": conditions, "qosClass": "BestEffort",
        "podIP": address, "podIPs": [{ "ip": address }], "startTime": now, "containerStatuses": containers,
    });
}

/// A container runs unless the name of its image says otherwise.
fn container_status(container: &Value, now: &str) -> Value {
    let image = container["image"].as_str().unwrap_or_default();
    let ended =
        json!({ "terminated": { "exitCode": 1, "reason": "Error", "startedAt": now, "finishedAt": now } });
    let waits = |reason: &str| json!({ "waiting": { "reason": reason, "message": "the image is named so" } });
    let (state, last, restarts) = match image {
        _ if image.contains("/missing:") => (waits("ImagePullBackOff"), json!({}), 0),
        _ if image.contains("/crashing:") => (waits("CrashLoopBackOff"), ended, 4),
        _ => (json!({ "running": { "startedAt": now } }), json!({}), 0),
    };
    let runs = state["running"].is_object();
    json!({
        "name": container["name"], "image": image, "imageID": "", "ready": runs, "started": runs,
        "restartCount": restarts, "state": state, "lastState": last,
    })
}
