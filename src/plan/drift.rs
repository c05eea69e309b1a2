//! What was written from outside since the last Deploy, as reads tell it.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value};

use super::fields;
use crate::artifacts::{Artifact, Observed, Traces, applied, field_manager, owned_fields, written_since};
use crate::record::{Held, Member, MemberState, Phase};

/// The most objects that are named.
const OBJECTS: usize = 5;
/// The most fields that are named of one object.
const FIELDS: usize = 3;

/// Says which objects were written from outside, and which of their fields; empty while an operation is writing.
///
/// Objects of kinds that nobody watches (Secrets) are compared by a Deploy alone. `rendered` is what was deployed, where
/// it is at hand.
pub fn drift(held: &Held, observed: &Observed, rendered: &[Artifact]) -> Vec<String> {
    let head = &held.head;
    if head.operation.is_some() || held.is_deleting() || head.phase == Phase::Incomplete {
        return Vec::new();
    }
    let members = head.inventory.iter().filter(|member| member.state == MemberState::Applied);
    let drifted = members.filter_map(|member| {
        let found = metadata(observed, member)?;
        let what = difference(held, member, found, rendered, observed)?;
        Some(format!(
            "{} differs from what was deployed: {what}; the next Deploy repairs it",
            member.reference
        ))
    });
    drifted.take(OBJECTS).collect()
}

/// The metadata of the very object that the record has.
fn metadata<'o>(observed: &'o Observed, member: &Member) -> Option<&'o ObjectMeta> {
    let mut all = observed.metadata();
    let found = all.find(|(kind, metadata)| {
        *kind == member.reference.kind && metadata.name.as_deref() == Some(member.reference.name.as_str())
    });
    let found = found.map(|(_, metadata)| metadata).filter(|metadata| metadata.uid == member.uid);
    found.filter(|metadata| metadata.deletion_timestamp.is_none())
}

/// What differs in an object, if anything does.
fn difference(
    held: &Held,
    member: &Member,
    found: &ObjectMeta,
    rendered: &[Artifact],
    observed: &Observed,
) -> Option<String> {
    let written = member.trace.as_ref()?;
    let traces = Traces::of(found, &held.name);
    let manager = field_manager(&held.name);
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
    for other in written_since(found, &held.name, written) {
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
