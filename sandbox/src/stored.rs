//! An object as it is stored, with the texts that show it: each is made once, however many ask.
use serde_json::Value;
use std::ops::Deref;
use std::sync::OnceLock;

/// A stored object; it never changes.
pub struct Stored {
    object: Value,
    body: OnceLock<String>,
    metadata: OnceLock<String>,
}

impl Stored {
    pub fn new(object: Value) -> Self {
        Self { object, body: OnceLock::new(), metadata: OnceLock::new() }
    }

    /// All of it.
    pub fn whole(&self) -> String {
        let (kind, version) = (&self.object["kind"], &self.object["apiVersion"]);
        // Behind the brace, which stands there already.
        let body = self.without_kind().get(1..).unwrap_or_default();
        format!(r#"{{"kind":{kind},"apiVersion":{version},{body}"#)
    }

    /// Its metadata alone.
    pub fn metadata_only(&self) -> String {
        let metadata = self.metadata.get_or_init(|| self.object["metadata"].to_string());
        format!(r#"{{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{metadata}}}"#)
    }

    /// All but its kind, as an item of a list that names the kind once.
    pub fn without_kind(&self) -> &str {
        self.body.get_or_init(|| {
            let fields = self.object.as_object().into_iter().flatten();
            let fields = fields.filter(|(name, _)| !matches!(name.as_str(), "kind" | "apiVersion"));
            let fields: Vec<String> = fields.map(|(name, value)| format!("\"{name}\":{value}")).collect();
            format!("{{{}}}", fields.join(","))
        })
    }
}

impl Deref for Stored {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.object
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_form_is_the_object() {
        let object = json!({
            "kind": "Pod", "apiVersion": "v1", "metadata": { "name": "a\"b", "labels": { "x": "ü" } },
            "spec": { "containers": [] },
        });
        let stored = Stored::new(object.clone());
        let read = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        for _ in 0..2 {
            assert_eq!(read(&stored.whole()), object);
            let item = read(stored.without_kind());
            assert_eq!(item, json!({ "metadata": object["metadata"], "spec": object["spec"] }));
            let partial = read(&stored.metadata_only());
            assert_eq!(partial["kind"], "PartialObjectMetadata");
            assert_eq!(partial["metadata"], object["metadata"]);
        }
    }
}
