//! Lists the kinds that the sandbox serves.
use k8s_openapi::{Resource, api::core::v1 as core};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// A kind of object; all are of the core group, version v1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Namespace,
    ConfigMap,
    Secret,
    Service,
    ReplicationController,
    Pod,
}

/// What a kind's type tells: its name, its plural and how it is read.
type Facts = (&'static str, &'static str, fn(&Value) -> serde_json::Result<Value>);

impl Kind {
    const ALL: [Self; 6] = [
        Self::Namespace,
        Self::ConfigMap,
        Self::Secret,
        Self::Service,
        Self::ReplicationController,
        Self::Pod,
    ];

    fn facts(self) -> Facts {
        match self {
            Self::Namespace => facts::<core::Namespace>(),
            Self::ConfigMap => facts::<core::ConfigMap>(),
            Self::Secret => facts::<core::Secret>(),
            Self::Service => facts::<core::Service>(),
            Self::ReplicationController => facts::<core::ReplicationController>(),
            Self::Pod => facts::<core::Pod>(),
        }
    }

    /// The kind behind a plural, if the sandbox serves it.
    pub fn of_plural(plural: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.plural() == plural)
    }

    pub fn name(self) -> &'static str {
        self.facts().0
    }

    pub fn plural(self) -> &'static str {
        self.facts().1
    }

    /// Whether `metadata.generation` counts changes of `spec`.
    pub fn has_generation(self) -> bool {
        matches!(self, Self::ReplicationController | Self::Pod)
    }

    /// Reads an object through its type: wrong types are refused, unknown fields and nulls fall away.
    pub fn read(self, value: &Value) -> Result<Value, String> {
        let mut object = self.facts().2(value).map_err(|error| error.to_string())?;
        drop_empty(&mut object);
        Ok(object)
    }
}

fn facts<T: Resource + Serialize + DeserializeOwned>() -> Facts {
    (T::KIND, T::URL_PATH_SEGMENT, |value| serde_json::to_value(serde_json::from_value::<T>(value.clone())?))
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
