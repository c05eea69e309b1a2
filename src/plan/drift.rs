//! What is there and is not as it was deployed, as reads tell it.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value};

use super::fields;
use crate::artifacts::{
    Artifact, ByName, HoldUp, Kind, LABEL_REVISION, ObjectRef, Observed, Stage, Trace, Traces, applied,
    field_manager, owned_fields, written_since,
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
    /// The object.
    pub fn object(&self) -> &ObjectRef {
        &self.object
    }

    /// The same as what may be so for a moment only: the watches of records and of objects lag behind each other.
    pub fn held_up(&self) -> HoldUp {
        HoldUp::Drifted { object: self.object.clone() }
    }
}

/// Says which objects are not as they were deployed, and which of their fields; empty while an operation is writing.
///
/// Secrets, which nobody may watch, are compared where somebody has looked at them. `rendered` is what was deployed,
/// where it is at hand: what was written and is the same again is then no drift.
pub fn drift(record: &Record, observed: &Observed, rendered: &[Artifact]) -> Vec<Drift> {
    let head = &record.head;
    if head.operation.is_some() || record.is_deleting() || head.phase == Phase::Incomplete {
        return Vec::new();
    }
    let members = head.inventory.iter().filter(|member| {
        let is_seen = member.reference.kind != Kind::Secret || observed.secrets.is_some();
        // What stays although no template has it is nobody's to miss, and no Deploy repairs it.
        member.state == MemberState::Applied && member.uid.is_some() && is_seen && !member.kept
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
            None => absent(observed.by_name.get(&member.reference)).to_owned(),
        };
        Some(Drift { object: member.reference.clone(), what })
    });
    drifted.collect()
}

/// What is said of an object that was not shown; what stands under its name decides what the next Deploy does.
fn absent(by_name: Option<&ByName>) -> &'static str {
    match by_name {
        None => "does not exist; the next Deploy creates it again",
        Some(ByName::Unlabelled) => {
            "has lost the labels by which it is found; the next Deploy puts them back"
        }
        Some(ByName::Relabelled) => {
            "has other labels than those by which it is found; the next Deploy refuses that, or puts them back with \
             options.conflicts CONFLICT_POLICY_FORCE"
        }
        Some(ByName::Foreign) => {
            "is somebody else's, created in the place of the one that was created here; Deploy refuses to write it, \
             delete it and deploy again"
        }
    }
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
    fields_of(record, member, found, rendered, observed)
}

/// What is said of an object that was written, and for which it is not known how it differs.
const WRITTEN: &str = "it was written from outside";

/// How an object differs, and in which fields; `None`: it is as it was deployed.
fn fields_of(
    record: &Record,
    member: &Member,
    found: &ObjectMeta,
    rendered: &[Artifact],
    observed: &Observed,
) -> Option<String> {
    let written = member.trace.as_ref()?;
    let manager = field_manager(&record.name);
    let entries = found.managed_fields.as_deref().unwrap_or_default();
    let is_taken = owned_fields(entries, &manager).unwrap_or_default() != member.owned;
    if !is_taken && !Traces::of(found, &record.name).differ(member.reference.kind, written) {
        return None;
    }
    let differing = differing(member, rendered, observed);
    let differs = |what: &str| {
        format!(
            "differs from what was deployed: {what}; the next Deploy repairs it, or options.conflicts decides"
        )
    };
    match differing.as_deref() {
        Some([]) if is_same_again(record, member, found) => return None,
        Some([]) | None => {}
        Some(fields) => return Some(differs(&fields[..fields.len().min(FIELDS)].join(", "))),
    }
    let own = applied(entries, &manager).cloned().unwrap_or_default();
    let (mut taken, mut marks) = (BTreeSet::new(), false);
    for other in written_since(found, &record.name, written) {
        let mut paths = Vec::new();
        leaves(&other.fields, &own, "", &mut paths);
        // What marks an object as ours is compared with nothing.
        marks |= paths.iter().any(|path| path.contains("panamax.io/"));
        taken.extend(paths.into_iter().map(|path| format!("field manager {} set {path}", other.manager)));
    }
    let taken: Vec<String> = taken.into_iter().take(FIELDS).collect();
    Some(match (taken.is_empty(), differing.is_some() && !marks) {
        (true, _) => differs(WRITTEN),
        (false, false) => differs(&taken.join(", ")),
        // The same values, and whoever set them holds them.
        (false, true) => format!(
            "has the values that were deployed, but they are somebody else's: {}; the next Deploy holds them again",
            taken.join(", ")
        ),
    })
}

/// The fields in which an object differs from what was deployed; `None`: one of both is not at hand.
fn differing(member: &Member, rendered: &[Artifact], observed: &Observed) -> Option<Vec<String>> {
    let artifact = rendered.iter().find(|artifact| artifact.reference == member.reference)?;
    let live = observed.whole(&member.reference)?;
    let mut differing = Vec::new();
    changed(&artifact.manifest, &live, "", &mut differing);
    let revision =
        live.pointer("/spec/template/metadata/labels").and_then(|labels| labels.get(LABEL_REVISION));
    let is_of = |revision: &Value| {
        let number = revision.as_str().and_then(|text| text.parse().ok());
        number == member.pod_revision
    };
    if member.reference.kind.is_controller() && !revision.is_some_and(is_of) {
        differing.push(format!("spec.template.metadata.labels.{LABEL_REVISION}"));
    }
    Some(differing)
}

/// Whether an object whose fields are as they were deployed is so in every respect: it has our mark, and we hold what we
/// held.
fn is_same_again(record: &Record, member: &Member, found: &ObjectMeta) -> bool {
    let entries = found.managed_fields.as_deref().unwrap_or_default();
    let owned = owned_fields(entries, &field_manager(&record.name)).unwrap_or_default();
    let is_marked = |written: &Trace| Traces::of(found, &record.name).is_marked_as(written);
    owned == member.owned && member.trace.as_ref().is_some_and(is_marked)
}

/// The objects that somebody has written since they were deployed and that are as they were deployed again, each with
/// its uid and what it shows of its writers now.
pub fn same_again(
    record: &Record,
    observed: &Observed,
    rendered: &[Artifact],
) -> Vec<(ObjectRef, String, Trace)> {
    let members = record.head.inventory.iter().filter(|member| member.state == MemberState::Applied);
    let same = members.filter_map(|member| {
        let (written, uid) = (member.trace.as_ref()?, member.uid.as_ref()?);
        let found = metadata(observed, member).filter(|found| found.uid.as_ref() == Some(uid))?;
        let traces = Traces::of(found, &record.name);
        let is_written = traces.differ(member.reference.kind, written) && found.deletion_timestamp.is_none();
        let is_same = is_written && is_same_again(record, member, found);
        let is_same =
            is_same && differing(member, rendered, observed).is_some_and(|fields| fields.is_empty());
        is_same.then(|| (member.reference.clone(), uid.clone(), traces.own().clone()))
    });
    same.collect()
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
