//! What is there and is not as it was deployed, as reads tell it.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value};

use super::fields;
use crate::artifacts::{
    Artifact, HoldUp, Kind, ObjectRef, Observed, Stage, Traces, applied, field_manager, owned_fields,
    written_since,
};
use crate::record::{Member, MemberState, Phase, Record};

/// The most objects that are named.
const OBJECTS: usize = 5;
/// The most fields that are named of one object.
const FIELDS: usize = 3;

/// One object that is not as it was deployed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    object: ObjectRef,
    what: String,
}

impl Drift {
    /// The same as what may be so for a moment only: the watches of records and of objects lag behind each other.
    pub fn held_up(&self) -> HoldUp {
        HoldUp::Drifted { object: self.object.clone() }
    }
}

/// Says which objects are not as they were deployed, and which of their fields; empty while an operation is writing.
///
/// Objects of kinds that nobody watches (Secrets) are compared by a Deploy alone. `rendered` is what was deployed, where
/// it is at hand.
pub fn drift(record: &Record, observed: &Observed, rendered: &[Artifact]) -> Vec<Drift> {
    let head = &record.head;
    if head.operation.is_some() || record.is_deleting() || head.phase == Phase::Incomplete {
        return Vec::new();
    }
    let members = head.inventory.iter().filter(|member| {
        member.state == MemberState::Applied && member.uid.is_some() && member.reference.kind != Kind::Secret
    });
    let drifted = members.filter_map(|member| {
        let what = match metadata(observed, member) {
            Some(found) if found.uid == member.uid => difference(record, member, found, rendered, observed)?,
            Some(_) if record.is_restored() => {
                "was restored from a backup; the next Deploy adopts it".to_owned()
            }
            // A component's own state tells what has become of its workload.
            _ if member.reference.kind.stage() == Stage::Workload => return None,
            Some(_) => {
                "is not the one that was created here, somebody has created it again; the next Deploy says \
                        whether it can be taken over"
                    .to_owned()
            }
            None => "does not exist, or its labels were taken away; the next Deploy repairs it".to_owned(),
        };
        Some(Drift { object: member.reference.clone(), what })
    });
    drifted.collect()
}

/// Tells the drift of a deployment, the first objects by name.
pub fn tell_drift(drift: &[&Drift]) -> String {
    let told = drift.iter().take(OBJECTS).map(|one| format!("{} {}", one.object, one.what));
    let more = drift.len().checked_sub(OBJECTS).filter(|more| *more > 0);
    let more = more.map(|more| format!("{more} more objects are not as they were deployed"));
    told.chain(more).collect::<Vec<_>>().join("; ")
}

/// The metadata of what stands under an object's name.
fn metadata<'o>(observed: &'o Observed, member: &Member) -> Option<&'o ObjectMeta> {
    let mut all = observed.metadata();
    let found = all.find(|(kind, metadata)| {
        *kind == member.reference.kind && metadata.name.as_deref() == Some(member.reference.name.as_str())
    });
    found.map(|(_, metadata)| metadata)
}

/// What differs in an object, as a sentence, if anything does.
fn difference(
    record: &Record,
    member: &Member,
    found: &ObjectMeta,
    rendered: &[Artifact],
    observed: &Observed,
) -> Option<String> {
    if found.deletion_timestamp.is_some() {
        return Some("is being deleted; the next Deploy creates it again".to_owned());
    }
    let what = fields_of(record, member, found, rendered, observed)?;
    Some(format!(
        "differs from what was deployed: {what}; the next Deploy repairs it, or options.conflicts decides"
    ))
}

/// The fields in which an object differs, if it does.
fn fields_of(
    record: &Record,
    member: &Member,
    found: &ObjectMeta,
    rendered: &[Artifact],
    observed: &Observed,
) -> Option<String> {
    let written = member.trace.as_ref()?;
    let traces = Traces::of(found, &record.name);
    let manager = field_manager(&record.name);
    let entries = found.managed_fields.as_deref().unwrap_or_default();
    let is_ours = traces.differ(member.reference.kind, written);
    let is_taken = owned_fields(entries, &manager).unwrap_or_default() != member.owned;
    if !is_ours && !is_taken {
        return None;
    }
    let artifact = rendered.iter().find(|artifact| artifact.reference == member.reference);
    let live = artifact.and_then(|_| observed.whole(&member.reference));
    if let (Some(artifact), Some(live)) = (artifact, live) {
        let mut differing = Vec::new();
        changed(&artifact.manifest, &live, "", &mut differing);
        differing.truncate(FIELDS);
        if !differing.is_empty() {
            return Some(differing.join(", "));
        }
    }
    let own = applied(entries, &manager).cloned().unwrap_or_default();
    let mut taken = BTreeSet::new();
    for other in written_since(found, &record.name, written) {
        let mut paths = Vec::new();
        leaves(&other.fields, &own, "", &mut paths);
        taken.extend(paths.into_iter().map(|path| format!("field manager {} set {path}", other.manager)));
    }
    let taken: Vec<String> = taken.into_iter().take(FIELDS).collect();
    Some(if taken.is_empty() { "it was written from outside".to_owned() } else { taken.join(", ") })
}

/// The fields that others hold and we do not.
fn leaves(theirs: &Value, ours: &Value, path: &str, found: &mut Vec<String>) {
    for (step, below) in theirs.as_object().into_iter().flatten() {
        let path = match (step.strip_prefix("f:"), step.strip_prefix("k:")) {
            (Some(key), _) if path.is_empty() => key.to_owned(),
            (Some(key), _) => format!("{path}.{key}"),
            (_, Some(keys)) => format!("{path}[{keys}]"),
            (None, None) => continue,
        };
        let own = ours.get(step);
        match below.as_object().is_none_or(Map::is_empty) {
            true if own.is_none() => found.push(fields::shown(&path)),
            true => {}
            false => leaves(below, own.unwrap_or(&Value::Null), &path, found),
        }
    }
}

/// The fields that a manifest sets and that are otherwise on the cluster; the replica count is decided about elsewhere.
fn changed(manifest: &Value, live: &Value, path: &str, found: &mut Vec<String>) {
    match (manifest, live) {
        (Value::Object(set), _) => {
            for (key, set) in set.iter().filter(|(key, _)| path != "spec" || *key != "replicas") {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                changed(set, live.get(key).unwrap_or(&Value::Null), &path, found);
            }
        }
        (Value::Array(items), Value::Array(there)) => {
            for (index, item) in items.iter().enumerate() {
                let name = item.get("name");
                let named = there.iter().find(|one| name.is_some() && one.get("name") == name);
                let path = match name {
                    Some(name) => format!("{path}[name={name}]"),
                    None => format!("{path}[{index}]"),
                };
                changed(item, named.or(there.get(index)).unwrap_or(&Value::Null), &path, found);
            }
        }
        // An empty value is left out of what is applied.
        (Value::String(text), Value::Null) if text.is_empty() => {}
        _ if manifest != live => found.push(fields::shown(path)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_named_and_values_are_not() {
        let container = |image: &str, value: &str| {
            json!({"spec": {"replicas": 1, "containers": [
                {"name": "web", "image": image, "env": [{"name": "A", "value": value}]}]}})
        };
        let mut found = Vec::new();
        changed(&container("a:1", "first"), &container("a:2", "second"), "", &mut found);
        let container = "spec.containers[name=\"web\"]";
        assert_eq!(found, [format!("{container}.env[name=\"A\"].value"), format!("{container}.image")]);

        let theirs = json!({"f:spec": {"f:ports": {"k:{\"port\":80}": {"f:targetPort": {}, "f:name": {}}}}});
        let ours = json!({"f:spec": {"f:ports": {"k:{\"port\":80}": {"f:name": {}}}}});
        let mut found = Vec::new();
        leaves(&theirs, &ours, "", &mut found);
        assert_eq!(found, ["spec.ports[{\"port\":80}].targetPort"]);
    }
}
