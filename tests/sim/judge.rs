//! What must be true of the cluster after a schedule, whatever has happened in it.

use std::collections::{BTreeMap, BTreeSet};

use panamax_kubernetes_adapter::sandbox::Image;
use serde_json::{Value, json};

/// Everything in the namespace, by `Kind name`.
pub type Objects = BTreeMap<String, Value>;

/// What somebody who creates objects beside the adapter writes on them.
pub const THEIRS: &str = "example.com/theirs";

const REVISION: &str = "/metadata/labels/panamax.io~1revision";
const POD_REVISION: &str = "/spec/template/metadata/labels/panamax.io~1revision";

/// Everything in the namespace, by `Kind name`; but for Events, from which nothing follows.
pub fn objects(image: &Image) -> Objects {
    let all = image.objects("sim").filter(|(kind, ..)| *kind != "Event");
    all.map(|(kind, name, object)| (format!("{kind} {name}"), object.clone())).collect()
}

/// The objects of one kind in the namespace.
pub fn kind_of<'i>(image: &'i Image, kind: &'static str) -> impl Iterator<Item = &'i Value> {
    image.objects("sim").filter(move |(found, ..)| *found == kind).map(|(_, _, object)| object)
}

/// Whether somebody else has created this object.
pub fn is_theirs(object: &Value) -> bool {
    object["metadata"]["annotations"][THEIRS].is_string()
}

/// The Service that somebody else has created, if there is one.
pub fn theirs(image: &Image) -> Option<&Value> {
    kind_of(image, "Service").find(|object| is_theirs(object))
}

/// Where a Service is, behind its namespace.
pub fn path(service: &Value) -> String {
    format!("services/{}", text(service, "/metadata/name"))
}

/// Uid and version of every object.
pub fn versions(objects: &Objects) -> BTreeMap<String, (String, String)> {
    let version = |object: &Value| {
        let at = |field| text(object, field).to_owned();
        (at("/metadata/uid"), at("/metadata/resourceVersion"))
    };
    objects.iter().map(|(name, object)| (name.clone(), version(object))).collect()
}

fn text<'a>(object: &'a Value, at: &str) -> &'a str {
    object.pointer(at).and_then(Value::as_str).unwrap_or_default()
}

fn items<'a>(object: &'a Value, at: &str) -> impl Iterator<Item = &'a Value> {
    object.pointer(at).and_then(Value::as_array).into_iter().flatten()
}

fn of_kind<'a>(objects: &'a Objects, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let named = move |name: &String| name.strip_prefix(kind).is_some_and(|rest| rest.starts_with(' '));
    objects.iter().filter(move |(name, _)| named(name)).map(|(_, object)| object)
}

fn is_ready(pod: &Value) -> bool {
    items(pod, "/status/conditions").any(|one| one["type"] == "Ready" && one["status"] == "True")
}

fn is_going(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some()
}

/// Whether a record says that its deployment is being torn down.
pub fn is_being_deleted(image: &Image) -> bool {
    kind_of(image, "ConfigMap").any(|record| text(record, "/metadata/labels/panamax.io~1phase") == "deleting")
}

/// Why the pod of this name must not be deleted now: it is ready, and another of its component is not.
pub fn interrupts(image: &Image, name: &str) -> Option<String> {
    const COMPONENT: &str = "/metadata/labels/app.kubernetes.io~1name";
    let pods = || kind_of(image, "Pod");
    let removals = pods().find(|pod| text(pod, "/metadata/name") == name)?;
    let component = text(removals, COMPONENT);
    let mut others = pods().filter(|pod| text(pod, COMPONENT) == component && *pod != removals);
    let is_missing = |pod: &Value| is_going(pod) || !is_ready(pod);
    let missing = others.find(|pod| is_ready(removals) && is_missing(pod))?;
    let missing = text(missing, "/metadata/name");
    Some(format!("deletes a ready pod of {component} while {missing} is not ready"))
}

/// The record of the deployment, if there is one.
pub fn head(objects: &Objects) -> Option<Value> {
    let maps = of_kind(objects, "ConfigMap");
    let mut heads = maps.filter(|map| text(map, "/metadata/labels/panamax.io~1record") == "head");
    serde_json::from_str(text(heads.next()?, "/data/head.json")).ok()
}

/// What keeps the namespace from being exactly one deployment at rest, or nothing at all.
pub fn faults(objects: &Objects) -> Vec<String> {
    let Some(head) = head(objects) else {
        let ours = objects.iter().filter(|(_, object)| !is_theirs(object));
        return ours.map(|(name, _)| format!("{name} has no record")).collect();
    };
    let mut faults = Vec::new();
    if !head["operation"].is_null() {
        faults.push(format!("an operation never ended: {}", head["operation"]["kind"]));
    }
    if head["current"].is_null() {
        faults.push("there is no current revision".to_owned());
    }
    let mut known = BTreeSet::new();
    let mut uids = BTreeSet::new();
    for member in items(&head, "/inventory") {
        let name = reference(member);
        match objects.get(&name) {
            None => faults.push(format!("{name} is {} and not there", member["state"])),
            Some(object) if object["metadata"]["uid"] != member["uid"] => {
                faults.push(format!("{name} has another uid"));
            }
            Some(object) if is_going(object) => faults.push(format!("{name} is going")),
            Some(_) if member["state"] != "applied" => faults.push(format!("{name} is {}", member["state"])),
            Some(object) => uids.extend([text(object, "/metadata/uid").to_owned()]),
        }
        if !known.insert(name.clone()) {
            faults.push(format!("{name} is listed twice"));
        }
    }
    known.extend(objects.keys().filter(|name| name.starts_with("ConfigMap panamax-")).cloned());
    for revision in items(&head, "/revisions") {
        let name = format!("Secret {}", text(revision, "/secret"));
        if !objects.contains_key(&name) {
            faults.push(format!("revision {} is not stored", revision["number"]));
        }
        known.insert(name);
    }
    let is_owned = |object: &Value, uids: &BTreeSet<String>| {
        items(object, "/metadata/ownerReferences").any(|owner| uids.contains(text(owner, "/uid")))
    };
    for set in of_kind(objects, "ReplicaSet").filter(|set| is_owned(set, &uids)).collect::<Vec<_>>() {
        uids.insert(text(set, "/metadata/uid").to_owned());
    }
    for (name, object) in objects {
        if !known.contains(name) && !is_owned(object, &uids) && !is_theirs(object) {
            faults.push(format!("{} is an orphan", if name.starts_with("Pod ") { "a pod" } else { name }));
        }
    }
    faults
}

/// Pods of a revision that is not their controller's, though the deployment is said to be ready.
pub fn outdated(objects: &Objects) -> Vec<String> {
    let mut outdated = Vec::new();
    for controller in of_kind(objects, "ReplicationController") {
        let wanted = text(controller, POD_REVISION);
        let own = |pod: &&Value| {
            items(pod, "/metadata/ownerReferences").any(|one| one["uid"] == controller["metadata"]["uid"])
        };
        let older = of_kind(objects, "Pod").filter(own).filter(|pod| text(pod, REVISION) != wanted).count();
        if older > 0 {
            outdated.push(format!("{older} older pods of {}", controller["metadata"]["name"]));
        }
    }
    outdated
}

fn reference(member: &Value) -> String {
    format!("{} {}", text(member, "/reference/kind"), text(member, "/reference/name"))
}

/// The namespace without what two runs may differ in: uids, versions, times, addresses, the names of pods, and the
/// numbers of revisions (their order stays).
pub fn state(objects: &Objects) -> BTreeMap<String, Value> {
    let numbers =
        |at: &'static str| objects.values().filter_map(|object| text(object, at).parse::<u64>().ok());
    let numbers: BTreeSet<u64> = numbers(REVISION).chain(numbers(POD_REVISION)).collect();
    let rank = |number: u64| numbers.iter().position(|known| *known == number).map_or(0, |place| place + 1);
    let mut state = BTreeMap::new();
    let mut pods: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let head = head(objects).unwrap_or_default();
    for (name, object) in objects {
        if name.starts_with("Secret panamax-deployment-") {
            continue;
        }
        let owner = items(object, "/metadata/ownerReferences").next();
        let mut plain = plain(object);
        if is_scaled(objects, &head, name) {
            // A Scale that is asked again finds the controller there, and holds the count under its own name.
            leave_out_count_holders(&mut plain);
        }
        for at in [REVISION, POD_REVISION] {
            if let Some(label) = plain.pointer_mut(at) {
                *label = json!(label.as_str().and_then(|text| text.parse().ok()).map(rank));
            }
        }
        match owner {
            Some(owner) => {
                plain["metadata"].as_object_mut().expect("metadata").remove("name");
                let kind = name.split(' ').next().unwrap_or_default();
                let of = format!("{kind} of {} {}", text(owner, "/kind"), text(owner, "/name"));
                pods.entry(of).or_default().push(plain.to_string());
            }
            None if name.starts_with("ConfigMap panamax-") => {
                state.insert("the record".to_owned(), record(objects, &head, rank));
            }
            None => drop(state.insert(name.clone(), plain)),
        }
    }
    for (of, mut each) in pods {
        each.sort();
        state.insert(of, json!(each));
    }
    state
}

/// The count that Scale has set: as the record has it, or as the object says where whoever set it died before he wrote.
fn scaled(objects: &Objects, member: &Value) -> Option<i64> {
    member["scaled_replicas"].as_i64().or_else(|| {
        let object = objects.get(&reference(member))?;
        let is_of_scale = |entry: &Value| text(entry, "/manager").starts_with("panamax-scale:");
        let is_held = items(object, "/metadata/managedFields").any(is_of_scale);
        object.pointer("/spec/replicas").and_then(Value::as_i64).filter(|_| is_held)
    })
}

/// Whether Scale has set the count of this object.
fn is_scaled(objects: &Objects, head: &Value, name: &str) -> bool {
    items(head, "/inventory").any(|member| reference(member) == name && scaled(objects, member).is_some())
}

/// Leaves out who holds the replica count.
fn leave_out_count_holders(plain: &mut Value) {
    let Some(entries) = plain.pointer_mut("/metadata/fields").and_then(Value::as_array_mut) else { return };
    entries.retain(|entry| !text(entry, "/manager").starts_with("panamax-scale:"));
    for entry in entries {
        if let Some(spec) = entry.pointer_mut("/fieldsV1/f:spec").and_then(Value::as_object_mut) {
            spec.remove("f:replicas");
        }
    }
}

fn record(objects: &Objects, head: &Value, rank: impl Fn(u64) -> usize) -> Value {
    let mut members: Vec<Value> = Vec::new();
    for member in items(head, "/inventory") {
        members.push(json!([
            reference(member),
            member["component"],
            member["state"],
            member["pod_revision"].as_u64().map(&rank),
            member["template_replicas"],
            scaled(objects, member),
        ]));
    }
    members.sort_by_key(Value::to_string);
    let current = &head["current"]["number"];
    let mut entries = items(head, "/revisions").filter(|entry| entry["number"] == *current);
    // Where somebody else's image was left, nobody has seen that of the revision.
    let is_left = items(head, "/inventory").any(|member| member["other_image"] == true);
    let is_good = head["last_good"] == *current || is_left;
    json!({
        "members": members, "phase": head["phase"], "recorded": head["recorded"],
        "template": head["template_name"], "good": is_good,
        "complete": entries.next().map(|entry| &entry["complete"]),
    })
}

fn plain(object: &Value) -> Value {
    let mut object = object.clone();
    let is_pod = object.pointer("/spec/containers").is_some();
    let replicas = object.pointer("/status/readyReplicas").cloned();
    let phase = object.pointer("/status/phase").cloned();
    object["status"] = json!({ "ready": replicas, "phase": phase });
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for name in
            ["uid", "resourceVersion", "creationTimestamp", "generation", "generateName", "ownerReferences"]
        {
            metadata.remove(name);
        }
        // Which operation has created it, or was in doubt about it.
        if let Some(marks) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            marks.remove("panamax.io/operation");
            marks.remove("panamax.io/applied");
        }
        let mut entries = metadata.remove("managedFields").unwrap_or_default();
        for entry in entries.as_array_mut().into_iter().flatten() {
            entry.as_object_mut().map(|entry| entry.remove("time"));
        }
        // The order goes by time.
        if let Some(entries) = entries.as_array_mut() {
            entries.sort_by_key(Value::to_string);
        }
        if !is_pod {
            metadata.insert("fields".to_owned(), entries);
        }
    }
    if let Some(spec) = object["spec"].as_object_mut() {
        if spec.get("clusterIP").is_some_and(|address| address != "None") {
            spec.remove("clusterIP");
            spec.remove("clusterIPs");
        }
        for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            port.as_object_mut().map(|port| port.remove("nodePort"));
        }
        spec.remove("volumeName");
    }
    object
}

/// Where two states differ, in a few words.
pub fn difference(one: &BTreeMap<String, Value>, other: &BTreeMap<String, Value>) -> Vec<String> {
    let mut found = Vec::new();
    for name in one.keys().chain(other.keys()).collect::<BTreeSet<_>>() {
        match (one.get(name), other.get(name)) {
            (Some(_), None) => found.push(format!("{name} should be there")),
            (None, Some(_)) => found.push(format!("{name} should not be there")),
            (Some(one), Some(other)) => differing(name, one, other, &mut found),
            (None, None) => {}
        }
    }
    found
}

fn differing(at: &str, one: &Value, other: &Value, found: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for name in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
                differing(&format!("{at}.{name}"), &one[name], &other[name], found);
            }
        }
        _ if one == other => {}
        _ => found.push(format!("{at}: {one} expected, {other} found")),
    }
}
