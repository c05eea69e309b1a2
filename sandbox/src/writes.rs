//! Writes objects: create, replace and apply, each from the body to the stored object.
use super::call::Call;
use super::defaults;
use super::failure::Failure;
use super::fields;
use super::kinds::Kind;
use super::object::set;
use super::ownership;
use super::removal;
use super::store::{Key, Store, is_terminating};
use super::stored::Stored;
use super::validate::{self, is_missing, size};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Events of a namespace that are kept.
const EVENTS: usize = 1_000;

/// The object as it stands after a write.
pub type Written = Result<Arc<Stored>, Failure>;

/// POST.
pub fn create(store: &mut Store, mut call: Call, body: &Value) -> Written {
    let mut object = whole(&call.key, body)?;
    if !object["metadata"]["resourceVersion"].is_null() {
        return Err(Failure::schema("resourceVersion should not be set on objects to be created"));
    }
    call.key.name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    check_namespace(store, &call.key)?;
    defaults::fill(call.key.kind, &mut object);
    let object = ownership::update(&blank(), &object, &call, &store.now());
    // Faults are found before the name is looked up.
    let exists = store.get(&call.key).is_some();
    call.dry_run |= exists;
    let made = commit(store, &call, None, object)?;
    if call.key.kind == Kind::Event {
        forget_events(store, &call.key.namespace);
    }
    if exists { Err(Failure::exists(&call.key)) } else { Ok(made) }
}

/// Deletes the oldest Events of a namespace beyond the newest that are kept.
fn forget_events(store: &mut Store, namespace: &str) {
    let time = |event: &Value| event["metadata"]["creationTimestamp"].to_string();
    let events = store.list(Kind::Event, namespace);
    let mut events: Vec<_> = events.map(|(key, event)| (time(event), key.clone())).collect();
    events.sort();
    for (_, key) in events.iter().rev().skip(EVENTS) {
        // Nothing holds an Event back.
        drop(removal::delete(store, key, &json!({}), false));
    }
}

/// PUT.
pub fn replace(store: &mut Store, call: &Call, body: &Value) -> Written {
    let mut object = whole(&call.key, body)?;
    let old = store.get(&call.key).cloned().ok_or_else(|| Failure::not_found(&call.key))?;
    let uid = &object["metadata"]["uid"];
    if !uid.is_null() && *uid != old["metadata"]["uid"] {
        return Err(Failure::conflict(&call.key, "the uid in the precondition is not the object's"));
    }
    defaults::fill(call.key.kind, &mut object);
    let object = ownership::update(&old, &object, call, &store.now());
    commit(store, call, Some(&old), object)
}

/// PATCH with a configuration to apply; true says that the object was made by it.
pub fn apply(store: &mut Store, call: &Call, config: &Value) -> Result<(bool, Arc<Stored>), Failure> {
    let key = &call.key;
    check_configuration(key, config)?;
    let found = store.get(key).cloned();
    let old = found.as_ref().map(|old| &***old);
    if old.is_none() {
        check_namespace(store, key)?;
        if !config["metadata"]["uid"].is_null() {
            return Err(Failure::conflict(key, "uid mismatch: no existing object was found"));
        }
    }
    let merged = ownership::apply(old.unwrap_or(&blank()), config, call, &store.now())?;
    let mut object = key.kind.read(&merged).map_err(Failure::schema)?;
    defaults::fill(key.kind, &mut object);
    Ok((old.is_none(), commit(store, call, old, object)?))
}

/// What stands before an object is made: structs that the real server's types always hold count as present.
fn blank() -> Value {
    json!({ "metadata": {}, "spec": { "containers": [] }, "status": {} })
}

/// Reads a whole object; unknown fields fall away.
fn whole(key: &Key, body: &Value) -> Result<Value, Failure> {
    check_identity(key, body)?;
    let mut body = body.clone();
    for (name, value) in [("apiVersion", key.kind.version()), ("kind", key.kind.name())] {
        if body[name].is_null() {
            body[name] = json!(value);
        }
    }
    key.kind.read(&body).map_err(Failure::bad_request)
}

/// Checks a configuration; what does not fit the schema is refused in every mode, as the real server does.
fn check_configuration(key: &Key, config: &Value) -> Result<(), Failure> {
    check_identity(key, config)?;
    let cannot = |why: String| Failure::schema(format!("failed to create typed patch object: {why}"));
    let read = key.kind.read(config).map_err(cannot)?;
    let known: BTreeSet<_> = fields::levels(&read).into_iter().map(|(path, _)| path).collect();
    let mut seen = BTreeSet::new();
    for (path, value) in fields::levels(config) {
        // What is empty may have been left out.
        if !known.contains(&path) && !is_missing(&value) {
            return Err(cannot(format!("{}: field not declared in schema", fields::shown(&path))));
        }
        if let Some(path) = seen.replace(path) {
            return Err(cannot(format!("{}: duplicate entries for one key", fields::shown(&path))));
        }
    }
    if !config["metadata"]["managedFields"].is_null() {
        return Err(Failure::bad_request("metadata.managedFields must be nil"));
    }
    Ok(())
}

fn check_identity(key: &Key, body: &Value) -> Result<(), Failure> {
    if !body.is_object() {
        return Err(Failure::bad_request("the body is not an object"));
    }
    for (name, wanted) in [("namespace", &key.namespace), ("name", &key.name)] {
        let given = body["metadata"][name].as_str().unwrap_or_default();
        if !given.is_empty() && !wanted.is_empty() && given != wanted {
            let why =
                format!("the {name} of the object ({given}) does not match the {name} on the URL ({wanted})");
            return Err(Failure::bad_request(why));
        }
    }
    Ok(())
}

fn check_namespace(store: &Store, key: &Key) -> Result<(), Failure> {
    if key.kind == Kind::Namespace {
        return Ok(());
    }
    let namespace = Key::new(Kind::Namespace, "", &key.namespace);
    let found = store.get(&namespace).ok_or_else(|| Failure::not_found(&namespace))?;
    if is_terminating(found) { Err(Failure::namespace_terminating(key)) } else { Ok(()) }
}

/// What only the server writes into the metadata.
const KEPT: &str =
    "resourceVersion creationTimestamp generation deletionTimestamp deletionGracePeriodSeconds";

/// Stores an object as a caller wants it, with what the server keeps: anew or as it was.
fn commit(store: &mut Store, call: &Call, old: Option<&Value>, mut object: Value) -> Written {
    let key = &call.key;
    let mut birth = json!({ "uid": store.chance.uid(), "creationTimestamp": store.now() });
    if key.kind.has_generation() {
        birth["generation"] = json!(1);
    }
    let servers = old.map_or(&birth, |old| &old["metadata"]);
    let metadata = &mut object["metadata"];
    let asked = &metadata["resourceVersion"];
    if old.is_some() && !is_missing(asked) && *asked != servers["resourceVersion"] {
        return Err(Failure::conflict(key, "it has been modified; apply your changes to the latest version"));
    }
    if old.is_none() || metadata["uid"].is_null() {
        metadata["uid"] = servers["uid"].clone();
    }
    for name in KEPT.split(' ') {
        set(metadata, name, servers[name].clone());
    }
    if !key.namespace.is_empty() {
        metadata["namespace"] = json!(key.namespace);
    }
    let differs = |old: &Value| {
        let note = |object: &Value| object["metadata"]["annotations"].clone();
        old["spec"] != object["spec"] || key.kind == Kind::Deployment && note(old) != note(&object)
    };
    if let (Some(generation), true) = (servers["generation"].as_i64(), old.is_some_and(differs)) {
        object["metadata"]["generation"] = json!(generation + 1);
    }
    defaults::allocate(key.kind, old, &mut object, store);
    let faults = validate::faults(key.kind, old, &object);
    if !faults.is_empty() {
        return Err(Failure::invalid(key, &faults));
    }
    if key.kind == Kind::PersistentVolumeClaim && old.is_some_and(|old| size(&object) > size(old)) {
        return Err(Failure::forbidden(key, "the storageclass that provisions the pvc must support resize"));
    }
    let unchanged = old.is_some_and(|old| *old == object);
    Ok(if call.dry_run || unchanged { Arc::new(Stored::new(object)) } else { store.put(key, object) })
}
