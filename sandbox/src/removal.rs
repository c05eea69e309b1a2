//! Deletes objects: preconditions, grace, finalizers, and what owners and namespaces leave behind.
use super::failure::Failure;
use super::kinds::Kind;
use super::object::{hold, owners, uid};
use super::store::{Key, Store, is_terminating};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const FOREGROUND: &str = "foregroundDeletion";

/// DELETE; answers the object while it is still there (or is a Pod or Service), else a Status.
pub fn delete(store: &mut Store, key: &Key, options: &Value, dry_run: bool) -> Result<Value, Failure> {
    let found = store.get(key).cloned().ok_or_else(|| Failure::not_found(key))?;
    for condition in ["uid", "resourceVersion"] {
        let wanted = &options["preconditions"][condition];
        if !wanted.is_null() && *wanted != found["metadata"][condition] {
            return Err(Failure::conflict(
                key,
                &format!("the {condition} in the precondition does not match"),
            ));
        }
    }
    if key.kind == Kind::Namespace && is_terminating(&found) {
        return Err(Failure::conflict(key, "its content is being removed already"));
    }
    let mut object = Value::clone(&found);
    if let Some(policy) = options["propagationPolicy"].as_str() {
        hold(&mut object, FOREGROUND, policy == "Foreground");
    }
    let grace = grace(key.kind, &object, options);
    let metadata = &mut object["metadata"];
    if metadata["deletionTimestamp"].is_null() {
        metadata["deletionTimestamp"] = json!(store.after(grace));
        if let Some(generation) = metadata["generation"].as_i64() {
            metadata["generation"] = json!(generation + 1);
        }
    }
    if key.kind == Kind::Namespace {
        object["status"]["phase"] = json!("Terminating");
    } else {
        let before = metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(grace);
        metadata["deletionGracePeriodSeconds"] = json!(before.min(grace));
    }
    let gone =
        object["metadata"]["finalizers"].is_null() && object["metadata"]["deletionGracePeriodSeconds"] == 0;
    if !dry_run && object != **found {
        object = Value::clone(&store.put(key, object));
    }
    // The real server answers the last state of these; a Pod's shows when it was to go, a Service's does not.
    if gone && key.kind == Kind::Service {
        return Ok(Value::clone(&found));
    }
    if gone && key.kind != Kind::Pod {
        let details = json!({ "name": key.name, "kind": key.kind.plural(), "uid": found["metadata"]["uid"] });
        return Ok(json!({ "kind": "Status", "apiVersion": "v1", "status": "Success", "details": details }));
    }
    Ok(object)
}

/// One round of garbage collection: what has lost its owners or its namespace goes, and then what waited for that.
pub fn collect_garbage(store: &mut Store) {
    let all = store.snapshot();
    let uids_of = |chosen: fn(&Value) -> bool| -> BTreeSet<&str> {
        let chosen = all.iter().filter(|(_, object)| chosen(object));
        chosen.filter_map(|(_, object)| object["metadata"]["uid"].as_str()).collect()
    };
    let (present, foreground) = (uids_of(|_| true), uids_of(is_held));
    let owned: BTreeSet<&str> = all.iter().flat_map(|(_, object)| owners(object)).map(uid).collect();
    let leaving = all.iter().filter(|(key, object)| key.kind == Kind::Namespace && is_terminating(object));
    let leaving: BTreeSet<&str> = leaving.map(|(key, _)| key.name.as_str()).collect();
    let inhabited: BTreeSet<&str> = all.iter().map(|(key, _)| key.namespace.as_str()).collect();
    for (key, object) in &all {
        let orphaned =
            owners(object).next().is_some() && owners(object).all(|owner| !present.contains(uid(owner)));
        let first = owners(object).any(|owner| foreground.contains(uid(owner)));
        let is_owner = owned.contains(uid(&object["metadata"]));
        let removals = orphaned || leaving.contains(key.namespace.as_str()) || first;
        if removals && !is_terminating(object) {
            // What goes before its owner lets its own dependents go first too.
            let policy = if first && is_owner { "Foreground" } else { "Background" };
            drop(delete(store, key, &json!({ "propagationPolicy": policy }), false));
        } else if is_held(object) && !is_owner {
            let mut object = Value::clone(object);
            hold(&mut object, FOREGROUND, false);
            store.put(key, object);
        } else if key.kind == Kind::Namespace
            && is_terminating(object)
            && !inhabited.contains(key.name.as_str())
        {
            let mut object = Value::clone(object);
            object["metadata"]["deletionGracePeriodSeconds"] = json!(0);
            store.put(key, object);
        }
    }
}

/// Whether it is deleted in the foreground: after everything that it owns.
fn is_held(object: &Value) -> bool {
    let finalizers = object["metadata"]["finalizers"].as_array();
    is_terminating(object) && finalizers.is_some_and(|list| list.iter().any(|one| one == FOREGROUND))
}

/// Only a pod that a node runs is given time.
fn grace(kind: Kind, object: &Value, options: &Value) -> i64 {
    if kind != Kind::Pod || object["spec"]["nodeName"].is_null() {
        return 0;
    }
    let usual = object["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
    options["gracePeriodSeconds"].as_i64().unwrap_or(usual)
}
