//! Deletes objects: preconditions, grace, finalizers, and what owners leave behind.
use super::failure::Failure;
use super::kinds::{KINDS, Kind, drop_empty};
use super::store::{Key, Store};
use super::writes::{after, settle};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// DELETE; answers the object while it is still there (or is a Pod), else a Status.
pub fn delete(
    store: &mut Store,
    kind: &'static Kind,
    key: &Key,
    options: &Value,
    dry_run: bool,
) -> Result<Value, Failure> {
    let Some(found) = store.get(key).cloned() else {
        return Err(Failure::not_found(kind, &key.name));
    };
    for condition in ["uid", "resourceVersion"] {
        let wanted = &options["preconditions"][condition];
        if !wanted.is_null() && *wanted != found["metadata"][condition] {
            let why =
                format!("the {condition} in the precondition ({wanted}) does not match the one in record");
            return Err(Failure::conflict(kind, &key.name, &why));
        }
    }
    let mut object = (*found).clone();
    let terminating = !object["metadata"]["deletionTimestamp"].is_null();
    if kind.name == "Namespace" && terminating {
        let why = "the system is ensuring all content is removed from this namespace";
        return Err(Failure::conflict(kind, &key.name, why));
    }
    set_finalizers(kind, &mut object, &options["propagationPolicy"]);
    let grace = grace(kind, &object, options);
    let held = object["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
    if !terminating {
        object["metadata"]["deletionTimestamp"] = json!(after(grace));
        if let Some(generation) = object["metadata"]["generation"].as_i64() {
            object["metadata"]["generation"] = json!(generation + 1);
        }
    }
    let before = object["metadata"]["deletionGracePeriodSeconds"].as_i64();
    if kind.name == "Namespace" {
        object["status"]["phase"] = json!("Terminating");
    } else {
        object["metadata"]["deletionGracePeriodSeconds"] =
            json!(before.map_or(grace, |before| before.min(grace)));
    }
    let gone = !held && object["metadata"]["deletionGracePeriodSeconds"] == 0;
    if !dry_run && object != *found {
        object = (*settle(store, key.clone(), object)).clone();
    }
    // The real server answers the last state of these kinds; a Pod's shows when it was to go, the others' does not.
    if gone && matches!(kind.name, "Service" | "PersistentVolumeClaim") {
        return Ok((*found).clone());
    }
    if gone && kind.name != "Pod" {
        let details = json!({ "name": key.name, "kind": kind.plural, "uid": found["metadata"]["uid"] });
        return Ok(
            json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details }),
        );
    }
    Ok(object)
}

/// One round of garbage collection; true if anything moved.
pub fn collect_garbage(store: &mut Store) -> bool {
    let before = store.revision();
    empty_namespaces(store);
    let uids: BTreeSet<String> = store.all().map(|(_, object)| uid(object)).collect();
    for kind in &KINDS {
        let objects: Vec<(Key, Arc<Value>)> =
            store.list(kind, "").map(|(key, object)| (key.clone(), object.clone())).collect();
        for (key, object) in objects {
            if has_finalizer(&object, ORPHAN) {
                orphan_dependents(store, &object);
                drop_finalizer(store, key, &object, ORPHAN);
            } else if has_finalizer(&object, FOREGROUND) {
                if dependents(store, &object).is_empty() {
                    drop_finalizer(store, key, &object, FOREGROUND);
                } else {
                    dependents(store, &object)
                        .into_iter()
                        .for_each(|(kind, key)| remove_unless_leaving(store, kind, &key));
                }
            } else if is_left_behind(&object, &uids) {
                remove_unless_leaving(store, kind, &key);
            }
        }
    }
    store.revision() != before
}

/// What stands as this object's controller.
pub fn controller_of(object: &Value) -> Option<&Value> {
    owners(object).find(|owner| owner["controller"] == true)
}

fn owners(object: &Value) -> impl Iterator<Item = &Value> {
    object["metadata"]["ownerReferences"].as_array().into_iter().flatten()
}

fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

fn has_finalizer(object: &Value, name: &str) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
        && object["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|list| list.iter().any(|held| held == name))
}

fn is_left_behind(object: &Value, uids: &BTreeSet<String>) -> bool {
    let mut owners = owners(object).peekable();
    owners.peek().is_some() && owners.all(|owner| !uids.contains(owner["uid"].as_str().unwrap_or_default()))
}

fn set_finalizers(kind: &Kind, object: &mut Value, policy: &Value) {
    let wanted = match (policy.as_str(), kind.name) {
        (Some("Foreground"), _) => Some(FOREGROUND),
        // Alone among the kinds, a ReplicationController leaves its pods behind unless told otherwise.
        (Some("Orphan"), _) | (None, "ReplicationController") => Some(ORPHAN),
        _ => None,
    };
    if policy.is_null() && (has_finalizer(object, FOREGROUND) || has_finalizer(object, ORPHAN)) {
        return;
    }
    let mut list = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    list.retain(|held| held != FOREGROUND && held != ORPHAN);
    list.extend(wanted.map(|name| json!(name)));
    if let Some(metadata) = object["metadata"].as_object_mut() {
        if list.is_empty() {
            metadata.remove("finalizers");
        } else {
            metadata.insert("finalizers".to_owned(), Value::Array(list));
        }
    }
}

/// Only a pod that a node runs is given time.
fn grace(kind: &Kind, object: &Value, options: &Value) -> i64 {
    let ended = matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if kind.name != "Pod" || object["spec"]["nodeName"].is_null() || ended {
        return 0;
    }
    let asked = options["gracePeriodSeconds"].as_i64();
    asked.or(object["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30)
}

fn dependents(store: &Store, owner: &Value) -> Vec<(&'static Kind, Key)> {
    let uid = &owner["metadata"]["uid"];
    let namespace = owner["metadata"]["namespace"].as_str().unwrap_or_default();
    let of_kind = |kind: &'static Kind| {
        let own = store
            .list(kind, namespace)
            .filter(|(_, object)| owners(object).any(|owner| owner["uid"] == *uid));
        own.map(|(key, _)| (kind, key.clone())).collect::<Vec<_>>()
    };
    KINDS.iter().flat_map(of_kind).collect()
}

fn remove_unless_leaving(store: &mut Store, kind: &'static Kind, key: &Key) {
    if store.get(key).is_some_and(|object| object["metadata"]["deletionTimestamp"].is_null()) {
        // Controllers below go the same way, so that nothing outlives the owner above.
        let policy = if matches!(kind.name, "ReplicaSet" | "ReplicationController") {
            "Foreground"
        } else {
            "Background"
        };
        drop(delete(store, kind, key, &json!({ "propagationPolicy": policy }), false));
    }
}

fn orphan_dependents(store: &mut Store, owner: &Value) {
    for (_, key) in dependents(store, owner) {
        let Some(mut object) = store.get(&key).map(|object| (**object).clone()) else {
            continue;
        };
        if let Some(list) = object["metadata"]["ownerReferences"].as_array_mut() {
            list.retain(|reference| reference["uid"] != owner["metadata"]["uid"]);
        }
        drop_empty(&mut object);
        settle(store, key, object);
    }
}

fn drop_finalizer(store: &mut Store, key: Key, object: &Value, name: &str) {
    let mut object = object.clone();
    if let Some(list) = object["metadata"]["finalizers"].as_array_mut() {
        list.retain(|held| held != name);
    }
    drop_empty(&mut object);
    settle(store, key, object);
}

fn empty_namespaces(store: &mut Store) {
    let leaving = |object: &Value| !object["metadata"]["deletionTimestamp"].is_null();
    let namespaces = KINDS[0..1].iter().flat_map(|kind| store.list(kind, ""));
    let names: Vec<String> =
        namespaces.filter(|(_, object)| leaving(object)).map(|(key, _)| key.name.clone()).collect();
    for name in names {
        let content: Vec<_> = KINDS
            .iter()
            .filter(|kind| kind.namespaced)
            .flat_map(|kind| {
                store.list(kind, &name).map(move |(key, _)| (kind, key.clone())).collect::<Vec<_>>()
            })
            .collect();
        if content.is_empty() {
            store.remove(&Key::namespace(&name));
        }
        content.into_iter().for_each(|(kind, key)| remove_unless_leaving(store, kind, &key));
    }
}
