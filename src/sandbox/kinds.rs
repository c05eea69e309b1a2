//! Lists the kinds that the sandbox serves.
use k8s_openapi::api::{apps::v1 as apps, core::v1 as core};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// One kind of object: how it is addressed and how its fields are read.
pub struct Kind {
    pub group: &'static str,
    pub name: &'static str,
    pub plural: &'static str,
    pub short: &'static str,
    pub namespaced: bool,
    /// Whether `metadata.generation` counts changes of `spec`.
    pub generation: bool,
    reading: fn(&Value) -> Result<Value, serde_json::Error>,
}

/// Every kind, in the order of discovery; controllers and Pods come last so that a sweep meets Services first.
pub static KINDS: [Kind; 10] = [
    kind::<core::Namespace>("", "Namespace", "namespaces", "ns", false, false),
    kind::<core::ConfigMap>("", "ConfigMap", "configmaps", "cm", true, false),
    kind::<core::Secret>("", "Secret", "secrets", "", true, false),
    kind::<core::Event>("", "Event", "events", "ev", true, false),
    kind::<core::Service>("", "Service", "services", "svc", true, false),
    kind::<core::PersistentVolumeClaim>(
        "",
        "PersistentVolumeClaim",
        "persistentvolumeclaims",
        "pvc",
        true,
        false,
    ),
    kind::<apps::Deployment>("apps", "Deployment", "deployments", "deploy", true, true),
    kind::<apps::ReplicaSet>("apps", "ReplicaSet", "replicasets", "rs", true, true),
    kind::<core::ReplicationController>(
        "",
        "ReplicationController",
        "replicationcontrollers",
        "rc",
        true,
        true,
    ),
    kind::<core::Pod>("", "Pod", "pods", "po", true, true),
];

const fn kind<T: Serialize + DeserializeOwned>(
    group: &'static str,
    name: &'static str,
    plural: &'static str,
    short: &'static str,
    namespaced: bool,
    generation: bool,
) -> Kind {
    Kind { group, name, plural, short, namespaced, generation, reading: read::<T> }
}

fn read<T: Serialize + DeserializeOwned>(value: &Value) -> Result<Value, serde_json::Error> {
    serde_json::to_value(serde_json::from_value::<T>(value.clone())?)
}

impl Kind {
    /// The kind behind a plural of a group, if the sandbox serves it.
    pub fn find(group: &str, plural: &str) -> Option<&'static Kind> {
        KINDS.iter().find(|kind| kind.group == group && kind.plural == plural)
    }

    /// The kind of this name; owner references and controllers name kinds so.
    pub fn named(name: &str) -> Option<&'static Kind> {
        KINDS.iter().find(|kind| kind.name == name)
    }

    /// What stands in `apiVersion`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { "v1".to_owned() } else { format!("{}/v1", self.group) }
    }

    /// How messages name the resource: `services`, `deployments.apps`.
    pub fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// Reads an object through its type: wrong types are refused, unknown fields and nulls fall away.
    pub fn read(&self, value: &Value) -> Result<Value, String> {
        let mut object = (self.reading)(value).map_err(|error| error.to_string())?;
        drop_empty(&mut object);
        Ok(object)
    }

    /// The discovery entry.
    pub fn discovery(&self) -> Value {
        let short = if self.short.is_empty() { json!([]) } else { json!([self.short]) };
        json!({
            "name": self.plural, "singularName": self.name.to_lowercase(), "kind": self.name,
            "namespaced": self.namespaced, "shortNames": short,
            "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
        })
    }
}

/// Drops what the real server's types leave out when it is empty: lists, and maps from text to text.
pub fn drop_empty(value: &mut Value) {
    const MAPS: [&str; 8] =
        ["labels", "annotations", "data", "binaryData", "nodeSelector", "limits", "requests", "matchLabels"];
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(drop_empty);
            map.retain(|name, value| match value {
                Value::Array(list) => !list.is_empty() || name == "containers",
                Value::Object(map) => !map.is_empty() || !MAPS.contains(&name.as_str()),
                _ => true,
            });
        }
        Value::Array(list) => list.iter_mut().for_each(drop_empty),
        _ => {}
    }
}

/// The paths of `given` that reading it through its type dropped: unknown fields, lists as `spec.ports[0].x`.
pub fn unknown_fields(given: &Value, read: &Value) -> Vec<String> {
    fn walk(path: &str, given: &Value, read: &Value, found: &mut Vec<String>) {
        match (given, read) {
            (Value::Object(given), Value::Object(read)) => {
                for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    match read.get(name) {
                        Some(read) => walk(&path, value, read, found),
                        // Empty lists and maps may have been left out.
                        None if value.to_string().len() == 2 => {}
                        None => found.push(path),
                    }
                }
            }
            (Value::Array(given), Value::Array(read)) => {
                for (index, (given, read)) in given.iter().zip(read).enumerate() {
                    walk(&format!("{path}[{index}]"), given, read, found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk("", given, read, &mut found);
    found
}
