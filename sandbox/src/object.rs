//! Reads and changes parts of an object that several files need: owners, finalizers, lists.
use super::kinds::Kind;
use super::store::{Key, Store, is_terminating};
use super::stored::Stored;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Objects as they stood when they were looked at.
pub type Objects = Vec<(Key, Arc<Stored>)>;

/// Sets a field; null takes it away.
pub fn set(object: &mut Value, name: &str, value: Value) {
    match object.as_object_mut() {
        Some(map) if value.is_null() => drop(map.remove(name)),
        _ => object[name] = value,
    }
}

/// The items of a list, wherever it stands.
pub fn items<'a>(object: &'a mut Value, pointer: &str) -> impl Iterator<Item = &'a mut Value> {
    object.pointer_mut(pointer).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Puts a finalizer on an object, or takes it off.
pub fn hold(object: &mut Value, finalizer: &str, held: bool) {
    let mut list = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    list.retain(|one| one != finalizer);
    list.extend(held.then(|| json!(finalizer)));
    set(&mut object["metadata"], "finalizers", if list.is_empty() { Value::Null } else { json!(list) });
}

/// What stands as this object's controller.
pub fn controller_of(object: &Value) -> Option<&Value> {
    owners(object).find(|owner| owner["controller"] == true)
}

/// Every owner of an object.
pub fn owners(object: &Value) -> impl Iterator<Item = &Value> {
    object["metadata"]["ownerReferences"].as_array().into_iter().flatten()
}

/// The uid that metadata or a reference holds.
pub fn uid(holder: &Value) -> &str {
    holder["uid"].as_str().unwrap_or_default()
}

/// How a dependent names its controller.
pub fn reference(owner: &Value) -> Value {
    json!({
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
    })
}

/// Objects of a kind that stay, by the uid of their controller; empty for those that have none.
pub fn by_controller(store: &Store, kind: Kind) -> BTreeMap<String, Objects> {
    let mut owned: BTreeMap<String, Objects> = BTreeMap::new();
    for (key, object) in store.all(kind).into_iter().filter(|(_, object)| !is_terminating(object)) {
        let owner = controller_of(&object).and_then(|owner| owner["uid"].as_str()).unwrap_or_default();
        owned.entry(owner.to_owned()).or_default().push((key, object));
    }
    owned
}

/// The names of the claims that a pod mounts.
pub fn claims(pod: &Value) -> impl Iterator<Item = &str> {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    volumes.filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str())
}
