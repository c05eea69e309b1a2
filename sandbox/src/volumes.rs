//! Plays what stands behind volume claims: they are bound, and stay while a pod mounts them.
use super::kinds::Kind;
use super::object::{claims, hold};
use super::store::{Key, Store, is_terminating};
use serde_json::{Value, json};

/// The one storage class; its volumes cannot grow.
pub const CLASS: &str = "standard";
/// Holds a claim while a pod on a node mounts it.
pub const PROTECTION: &str = "kubernetes.io/pvc-protection";

/// One step of every claim.
pub fn bind(store: &mut Store) {
    for (key, claim) in store.all(Kind::PersistentVolumeClaim) {
        let mut next = Value::clone(&claim);
        let (spec, metadata) = (&claim["spec"], &claim["metadata"]);
        if is_terminating(&claim) {
            let pods =
                store.list(Kind::Pod, &key.namespace).filter(|(_, pod)| pod["spec"]["nodeName"].is_string());
            let used = pods.into_iter().any(|(_, pod)| claims(pod).any(|name| name == key.name));
            hold(&mut next, PROTECTION, used);
        } else if claim["status"]["phase"] == "Pending" && spec["storageClassName"] == CLASS {
            next["spec"]["volumeName"] =
                json!(format!("pvc-{}", metadata["uid"].as_str().unwrap_or_default()));
            next["status"] = json!({
                "phase": "Bound", "accessModes": spec["accessModes"], "capacity": spec["resources"]["requests"],
            });
        }
        if next != **claim {
            store.put(&key, next);
        }
    }
}

/// Whether a pod has no node yet because its claims are not there to be mounted.
pub fn are_awaited(store: &Store, key: &Key, pod: &Value) -> bool {
    let usable = |name: &str| {
        let claim = store.get(&Key::new(Kind::PersistentVolumeClaim, &key.namespace, name));
        claim.is_some_and(|claim| claim["status"]["phase"] == "Bound" && !is_terminating(claim))
    };
    pod["spec"]["nodeName"].is_null() && !claims(pod).all(usable)
}
