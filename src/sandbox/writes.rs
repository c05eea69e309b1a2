//! Writes objects: create, replace, patch and apply, each from the body to the stored object.
use super::failure::Failure;
use super::kinds::Kind;
use super::ownership::{self, Writer};
use super::store::{Key, Store};
use super::validate;
use super::{bodies, defaults};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// What the query says about a write.
#[derive(Default)]
pub struct Options {
    pub manager: String,
    pub dry_run: bool,
    pub strict: bool,
    pub force: bool,
}

/// The object that a write is about.
pub struct Target<'a> {
    pub kind: &'static Kind,
    pub namespace: &'a str,
    pub name: &'a str,
}

impl Target<'_> {
    fn key(&self) -> Key {
        Key::new(self.kind, self.namespace, self.name)
    }
}

/// The time as objects carry it.
pub fn now() -> String {
    after(0)
}

/// The time in so many seconds.
pub fn after(seconds: i64) -> String {
    let second = jiff::Timestamp::now().as_second().saturating_add(seconds);
    jiff::Timestamp::from_second(second).unwrap_or_default().to_string()
}

/// A few letters that make a generated name unique.
pub fn suffix() -> String {
    const LETTERS: &[u8; 16] = b"bcdfghjklmnpqrst";
    let bits: u32 = rand::random();
    (0..5).map(|place| char::from(LETTERS[(bits >> (place * 4)) as usize & 15])).collect()
}

/// POST.
pub fn create(
    store: &mut Store,
    target: &Target,
    body: &Value,
    options: &Options,
) -> Result<Arc<Value>, Failure> {
    let kind = target.kind;
    let mut object = bodies::whole(target, body, options)?;
    if !object["metadata"]["resourceVersion"].is_null() {
        return Err(Failure::schema("resourceVersion should not be set on objects to be created"));
    }
    if let (Value::Null, Some(prefix)) =
        (&object["metadata"]["name"], object["metadata"]["generateName"].as_str())
    {
        object["metadata"]["name"] = json!(format!("{prefix}{}", suffix()));
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let target = Target { name: &name, ..*target };
    open_namespace(store, &target)?;
    defaults::fill(kind, &mut object);
    with_writer(kind, options, |writer| ownership::update(&blank(kind), &mut object, writer));
    bear(store, &target, object, options)
}

/// PUT.
pub fn replace(
    store: &mut Store,
    target: &Target,
    body: &Value,
    options: &Options,
) -> Result<Arc<Value>, Failure> {
    let object = bodies::whole(target, body, options)?;
    let old = find(store, target)?;
    if !object["metadata"]["uid"].is_null() && object["metadata"]["uid"] != old["metadata"]["uid"] {
        return Err(Failure::conflict(
            target.kind,
            target.name,
            "the uid in the precondition is not the object's",
        ));
    }
    overwrite(store, target, &old, object, options)
}

/// PATCH with a JSON merge patch.
pub fn merge(
    store: &mut Store,
    target: &Target,
    patch: &Value,
    options: &Options,
) -> Result<Arc<Value>, Failure> {
    let old = find(store, target)?;
    let mut patched = (*old).clone();
    merge_patch(&mut patched, patch);
    let object = bodies::whole(target, &patched, options)?;
    overwrite(store, target, &old, object, options)
}

/// PATCH with a configuration to apply; true says that the object was made by it.
pub fn apply(
    store: &mut Store,
    target: &Target,
    config: &Value,
    options: &Options,
) -> Result<(bool, Arc<Value>), Failure> {
    let kind = target.kind;
    bodies::configuration(target, config)?;
    let live = store.get(&target.key()).cloned();
    let Some(old) = live else {
        open_namespace(store, target)?;
        let uid = &config["metadata"]["uid"];
        if !uid.is_null() {
            let why = format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            );
            return Err(Failure::conflict(kind, target.name, &why));
        }
        let merged =
            with_writer(kind, options, |writer| ownership::apply(&blank(kind), config, writer, true))?;
        let mut object = kind.read(&merged).map_err(Failure::schema)?;
        defaults::fill(kind, &mut object);
        return Ok((true, bear(store, target, object, options)?));
    };
    let mut config = config.clone();
    config["metadata"]["namespace"] = old["metadata"]["namespace"].clone();
    let merged = with_writer(kind, options, |writer| ownership::apply(&old, &config, writer, options.force))?;
    let mut object = kind.read(&merged).map_err(Failure::schema)?;
    defaults::carry_over(kind, &old, &mut object);
    defaults::fill(kind, &mut object);
    Ok((false, store_change(store, target, &old, object, options)?))
}

/// Stores a new state of an object; a terminating one that nothing holds back any more goes.
pub fn settle(store: &mut Store, key: Key, object: Value) -> Arc<Value> {
    let terminating = !object["metadata"]["deletionTimestamp"].is_null();
    let held = object["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
    if terminating && !held && object["metadata"]["deletionGracePeriodSeconds"] == 0 {
        store.remove(&key);
        return Arc::new(object);
    }
    store.put(key, object)
}

fn with_writer<T>(kind: &Kind, options: &Options, write: impl FnOnce(&Writer) -> T) -> T {
    write(&Writer { manager: &options.manager, api_version: &kind.api_version(), now: &now() })
}

fn find(store: &Store, target: &Target) -> Result<Arc<Value>, Failure> {
    store.get(&target.key()).cloned().ok_or_else(|| Failure::not_found(target.kind, target.name))
}

/// What stands before an object is made: structs that the real server's types always hold count as present.
fn blank(kind: &Kind) -> Value {
    let pod = json!({ "containers": [] });
    match kind.name {
        "Pod" => json!({ "metadata": {}, "spec": pod, "status": {} }),
        "Deployment" => json!({
            "metadata": {}, "spec": { "strategy": {}, "template": { "metadata": {}, "spec": pod } }, "status": {},
        }),
        "PersistentVolumeClaim" => json!({ "metadata": {}, "spec": { "resources": {} }, "status": {} }),
        "ConfigMap" | "Secret" | "Event" => json!({ "metadata": {} }),
        _ => json!({ "metadata": {}, "spec": {}, "status": {} }),
    }
}

fn open_namespace(store: &Store, target: &Target) -> Result<(), Failure> {
    if !target.kind.namespaced {
        return Ok(());
    }
    let namespace = target.namespace;
    let Some(found) = store.get(&Key::namespace(namespace)) else {
        return Err(Failure::namespace_missing(namespace));
    };
    if found["metadata"]["deletionTimestamp"].is_null() {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let cause = format!("namespace {namespace} is being terminated");
    let causes = [("NamespaceTerminating", "metadata.namespace".to_owned(), cause)];
    Err(Failure::forbidden(target.kind, target.name, &why, &causes))
}

fn bear(
    store: &mut Store,
    target: &Target,
    mut object: Value,
    options: &Options,
) -> Result<Arc<Value>, Failure> {
    let kind = target.kind;
    if let Value::Object(map) = &mut object {
        map.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for own in ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"] {
            metadata.remove(own);
        }
    }
    let metadata = &mut object["metadata"];
    if kind.namespaced {
        metadata["namespace"] = json!(target.namespace);
    }
    metadata["uid"] = json!(uid());
    metadata["creationTimestamp"] = json!(now());
    if kind.generation {
        metadata["generation"] = json!(1);
    }
    defaults::allocate(kind, &mut object, store);
    refuse_faults(target, None, &object)?;
    if store.get(&target.key()).is_some() {
        return Err(Failure::exists(kind, target.name));
    }
    if options.dry_run {
        return Ok(Arc::new(object));
    }
    Ok(store.put(target.key(), object))
}

fn overwrite(
    store: &mut Store,
    target: &Target,
    old: &Value,
    mut object: Value,
    options: &Options,
) -> Result<Arc<Value>, Failure> {
    let kind = target.kind;
    defaults::carry_over(kind, old, &mut object);
    defaults::fill(kind, &mut object);
    with_writer(kind, options, |writer| ownership::update(old, &mut object, writer));
    store_change(store, target, old, object, options)
}

fn store_change(
    store: &mut Store,
    target: &Target,
    old: &Value,
    mut object: Value,
    options: &Options,
) -> Result<Arc<Value>, Failure> {
    let kind = target.kind;
    let metadata = &mut object["metadata"];
    let asked = &metadata["resourceVersion"];
    if !asked.is_null() && asked != "" && *asked != old["metadata"]["resourceVersion"] {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        return Err(Failure::conflict(kind, target.name, why));
    }
    if metadata["uid"].is_null() {
        metadata["uid"] = old["metadata"]["uid"].clone();
    }
    const KEPT: [&str; 6] = [
        "namespace",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ];
    for name in KEPT {
        match (&old["metadata"][name], metadata.as_object_mut()) {
            (Value::Null, Some(metadata)) => drop(metadata.remove(name)),
            (kept, _) => metadata[name] = kept.clone(),
        }
    }
    defaults::allocate(kind, &mut object, store);
    if kind.generation && object["spec"] != old["spec"] {
        object["metadata"]["generation"] = json!(old["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
    }
    refuse_faults(target, Some(old), &object)?;
    if object == *old || options.dry_run {
        return Ok(Arc::new(object));
    }
    Ok(settle(store, target.key(), object))
}

fn refuse_faults(target: &Target, old: Option<&Value>, new: &Value) -> Result<(), Failure> {
    let faults = validate::faults(target.kind, old, new);
    if faults.is_empty() { Ok(()) } else { Err(Failure::invalid(target.kind, target.name, &faults)) }
}

fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    for (name, value) in patch {
        if value.is_null() {
            target.as_object_mut().and_then(|target| target.remove(name));
        } else {
            merge_patch(&mut target[name.as_str()], value);
        }
    }
}

/// A random (version 4) UUID.
fn uid() -> String {
    let bits: u128 = rand::random();
    let bits = (bits & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
