//! Trace: what a write of ours leaves on an object, by which every later write is recognized.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, ObjectMeta};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{ANNOTATION_APPLIED, DeploymentName, Kind, Others, field_manager};

/// What our last write left on an object.
///
/// Nothing of it is made from the content: annotations can be read by people who may not see the values in a Secret, and
/// a digest would let them try guesses. The operation that wrote last is random, and says no less about a late write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// The operation that wrote it last, as its annotation says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mark: Option<String>,
    /// When our field manager last applied it, in seconds of the API server's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<i64>,
    /// Its resourceVersion.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    version: String,
    /// Its generation, for kinds that count one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    generation: Option<i64>,
}

/// What an object shows of its writers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    own: Trace,
    /// When anybody else last wrote anything of it.
    others: Option<i64>,
    /// When anybody else last wrote anything but its status.
    others_but_status: Option<i64>,
}

impl Traces {
    /// Reads them from an object's metadata.
    pub fn of(metadata: &ObjectMeta, deployment: &DeploymentName) -> Self {
        let manager = field_manager(deployment);
        let is_own = |entry: &&ManagedFieldsEntry| {
            entry.manager.as_deref() == Some(manager.as_str()) && entry.operation.as_deref() == Some("Apply")
        };
        let time = |entry: &ManagedFieldsEntry| entry.time.as_ref().map(|time| time.0.as_second());
        // The scale subresource leaves entries that say no time: nobody knows that they are older.
        let or_ever = |entry: &ManagedFieldsEntry| time(entry).unwrap_or(i64::MAX);
        let entries = || metadata.managed_fields.iter().flatten();
        let others = || entries().filter(|entry| !is_own(entry));
        let is_status = |entry: &&ManagedFieldsEntry| entry.subresource.as_deref() == Some("status");
        Self {
            own: Trace {
                mark: metadata.annotations.as_ref().and_then(|all| all.get(ANNOTATION_APPLIED)).cloned(),
                at: entries().find(is_own).and_then(time),
                version: metadata.resource_version.clone().unwrap_or_default(),
                generation: metadata.generation,
            },
            others: others().map(or_ever).max(),
            others_but_status: others().filter(|entry| !is_status(entry)).map(or_ever).max(),
        }
    }

    /// What our own write has left, read from the answer to it.
    pub fn own(&self) -> &Trace {
        &self.own
    }

    /// Whether the object still has the mark of our last write.
    pub fn is_marked_as(&self, written: &Trace) -> bool {
        self.own.mark == written.mark
    }

    /// Whether the object was written under our name since we wrote it: no other entry of its field managers explains
    /// the form that it has.
    ///
    /// What others write under names of their own shows in the fields that they take from us. Times have whole seconds,
    /// so what moves with every write counts, too: the version where nobody writes a status, else the generation.
    pub fn differ(&self, kind: Kind, written: &Trace) -> bool {
        let (is_moved, others) = match kind {
            Kind::Secret | Kind::Service => (self.own.version != written.version, self.others),
            Kind::ReplicationController | Kind::Deployment | Kind::Pod => {
                (self.own.generation != written.generation, self.others_but_status)
            }
            // The cluster writes to claims as it likes, and nothing of ours in one can change but its size.
            Kind::PersistentVolumeClaim => (false, None),
        };
        let is_explained = others.is_some_and(|others| Some(others) >= written.at);
        self.own.mark != written.mark || self.own.at != written.at || is_moved && !is_explained
    }
}

/// What others have written since under names of their own, statuses and replica counts of autoscalers aside.
pub fn written_since(metadata: &ObjectMeta, deployment: &DeploymentName, written: &Trace) -> Vec<Others> {
    let own = field_manager(deployment);
    let entries = metadata.managed_fields.iter().flatten();
    let others = entries.filter(|entry| {
        let time = entry.time.as_ref().map(|time| time.0.as_second());
        entry.manager.as_deref() != Some(own.as_str())
            && entry.subresource.as_deref().is_none_or(str::is_empty)
            && time >= written.at
    });
    let others = others.filter_map(|entry| {
        Some(Others { manager: entry.manager.clone()?, fields: entry.fields_v1.as_ref()?.0.clone() })
    });
    others.collect()
}

/// The digest of the names of the fields that `manager` applied, replica counts left out; `None` if it applied none.
///
/// It changes when another manager takes a field from us, whatever the value.
pub fn owned_fields(entries: &[ManagedFieldsEntry], manager: &str) -> Option<String> {
    match applied(entries, manager)? {
        Value::String(digest) => Some(digest.clone()),
        fields => Some(digest(fields.clone())),
    }
}

/// The digest in place of the fields themselves, for who keeps many objects in memory.
pub fn digested(fields: FieldsV1) -> FieldsV1 {
    FieldsV1(Value::String(digest(fields.0)))
}

fn digest(mut fields: Value) -> String {
    if let Some(spec) = fields.get_mut("f:spec").and_then(Value::as_object_mut) {
        spec.remove("f:replicas");
    }
    let digest = Sha256::digest(fields.to_string().as_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The fields that `manager` applied.
pub fn applied<'e>(entries: &'e [ManagedFieldsEntry], manager: &str) -> Option<&'e Value> {
    let entry = entries.iter().find(|entry| {
        entry.manager.as_deref() == Some(manager)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.as_deref().is_none_or(str::is_empty)
    })?;
    entry.fields_v1.as_ref().map(|fields| &fields.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn traces(version: &str, generation: i64, mark: &str, entries: &Value) -> Traces {
        let metadata = json!({
            "resourceVersion": version, "generation": generation,
            "annotations": {ANNOTATION_APPLIED: mark}, "managedFields": entries,
        });
        let metadata = serde_json::from_value(metadata).expect("metadata");
        Traces::of(&metadata, &DeploymentName::new("shop").expect("a name"))
    }

    fn entry(manager: &str, operation: &str, subresource: &str, second: u32) -> Value {
        let time = format!("2026-01-01T00:00:{second:02}Z");
        json!({"manager": manager, "operation": operation, "subresource": subresource, "time": time})
    }

    #[test]
    fn what_our_name_wrote_is_seen_by_mark_time_version_or_generation() {
        let own = |second| entry("panamax:shop", "Apply", "", second);
        let before = traces("7", 1, "a", &json!([own(10)]));
        let written = before.own().clone();
        for kind in Kind::ALL {
            assert!(!before.differ(kind, &written), "{kind:?}");
            assert!(traces("7", 1, "b", &json!([own(10)])).differ(kind, &written), "{kind:?}: the mark");
            assert!(traces("8", 1, "a", &json!([own(11)])).differ(kind, &written), "{kind:?}: the time");
            assert!(traces("8", 1, "a", &json!([])).differ(kind, &written), "{kind:?}: no entry");
        }
        // Within the same second, and with the mark left.
        let again = traces("8", 2, "a", &json!([own(10)]));
        for kind in Kind::ALL {
            assert_eq!(again.differ(kind, &written), kind != Kind::PersistentVolumeClaim, "{kind:?}");
        }
    }

    #[test]
    fn a_digest_stands_for_the_fields() {
        let entries = |fields: Value| {
            let mut own = entry("panamax:shop", "Apply", "", 10);
            own["fieldsV1"] = fields;
            let entry: ManagedFieldsEntry = serde_json::from_value(own).expect("an entry");
            entry
        };
        let whole = entries(json!({"f:spec": {"f:replicas": {}, "f:ports": {}}}));
        let slim = ManagedFieldsEntry { fields_v1: whole.fields_v1.clone().map(digested), ..whole.clone() };
        let owned = |entry: &ManagedFieldsEntry| owned_fields(std::slice::from_ref(entry), "panamax:shop");
        assert!(owned(&whole).is_some());
        assert_eq!(owned(&whole), owned(&slim));
        assert_ne!(owned(&whole), owned(&entries(json!({"f:spec": {"f:replicas": {}}}))));
    }

    #[test]
    fn what_others_write_under_their_names_explains_another_form() {
        let own = entry("panamax:shop", "Apply", "", 10);
        let written = traces("7", 1, "a", &json!([own])).own().clone();
        let status = traces("8", 1, "a", &json!([own, entry("kubelet", "Update", "status", 12)]));
        let scaled = traces("8", 2, "a", &json!([own, entry("autoscaler", "Update", "scale", 12)]));
        for kind in Kind::ALL {
            assert!(!status.differ(kind, &written), "{kind:?}");
            assert!(!scaled.differ(kind, &written), "{kind:?}");
        }
        // A status moves no generation, and an older entry explains nothing.
        let hidden = traces("8", 2, "a", &json!([own, entry("kubelet", "Update", "status", 12)]));
        assert!(hidden.differ(Kind::Pod, &written));
        let older = traces("8", 2, "a", &json!([own, entry("autoscaler", "Update", "scale", 9)]));
        assert!(older.differ(Kind::Deployment, &written));
    }
}
