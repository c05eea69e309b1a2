//! Lists the kinds that the sandbox serves.
use k8s_openapi::Resource;
use k8s_openapi::api::{apps::v1 as apps, core::v1 as core};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// What a kind's type tells: its name, its plural, its API version and how it is read.
type Facts = (&'static str, &'static str, &'static str, fn(&Value) -> serde_json::Result<Value>);

macro_rules! kinds {
    ($($kind:ident: $group:ident),+) => {
        /// A kind of object.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind { $($kind),+ }

        impl Kind {
            const ALL: &[Self] = &[$(Self::$kind),+];

            fn facts(self) -> Facts {
                match self { $(Self::$kind => facts::<$group::$kind>()),+ }
            }
        }
    };
}

kinds! {
    Namespace: core, ConfigMap: core, Secret: core, PersistentVolumeClaim: core, Service: core,
    ReplicationController: core, Deployment: apps, ReplicaSet: apps, Pod: core, Event: core
}

impl Kind {
    /// The kind behind a plural of an API version, if the sandbox serves it.
    pub fn of_plural(version: &str, plural: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.plural() == plural && kind.version() == version)
    }

    pub fn name(self) -> &'static str {
        self.facts().0
    }

    pub fn plural(self) -> &'static str {
        self.facts().1
    }

    /// The `apiVersion` of its objects.
    pub fn version(self) -> &'static str {
        self.facts().2
    }

    /// Whether it keeps pods of a template.
    pub fn has_template(self) -> bool {
        matches!(self, Self::ReplicationController | Self::Deployment | Self::ReplicaSet)
    }

    /// Whether `metadata.generation` counts changes of `spec`.
    pub fn has_generation(self) -> bool {
        self.has_template() || self == Self::Pod
    }

    /// Reads an object through its type: wrong types are refused, unknown fields and nulls fall away.
    pub fn read(self, value: &Value) -> Result<Value, String> {
        let mut object = self.facts().3(value).map_err(|error| error.to_string())?;
        drop_empty(&mut object);
        Ok(object)
    }
}

fn facts<T: Resource + Serialize + DeserializeOwned>() -> Facts {
    let read = |value: &Value| serde_json::to_value(serde_json::from_value::<T>(value.clone())?);
    (T::KIND, T::URL_PATH_SEGMENT, T::API_VERSION, read)
}

/// Drops what the real server's types leave out when it is empty: lists, and maps from text to text.
fn drop_empty(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(drop_empty);
            map.retain(|name, value| match (name.as_str(), value) {
                (name, Value::Array(list)) => !list.is_empty() || name == "containers",
                ("labels" | "annotations" | "data" | "nodeSelector", Value::Object(map)) => !map.is_empty(),
                _ => true,
            });
        }
        Value::Array(list) => list.iter_mut().for_each(drop_empty),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
