//! Takes fields of other field managers that exclude ours, so that the next apply removes them.
//!
//! An apply removes what its own manager alone has held and holds no longer. So who holds such a field is changed first,
//! in the managed fields and nowhere else: the object does not change, no pod is made from a form in between, and the
//! apply that follows takes the field away and sets ours in one write. A holder that dies in between has changed nothing
//! but whose field it is.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use kube::api::{Patch, PatchParams};
use serde_json::{Map, Value, json};

use super::answers::Subject;
use super::apply::{Written, answered};
use super::{Cluster, patience};
use crate::artifacts::{Artifact, DeploymentName, Form, HeldField, Namespace, ObjectRef, field_manager};
use crate::error::{Error, ErrorKind, Result};

/// How often an object that others keep writing is looked at again.
const LOOKS: usize = 10;

impl Cluster {
    /// Makes fields that others hold ours; their values stay as they are. Returns the form that has come of it.
    pub async fn take_over(
        &self,
        namespace: &Namespace,
        deployment: &DeploymentName,
        reference: &ObjectRef,
        uid: &str,
        fields: &[HeldField],
    ) -> Result<Form> {
        let api = self.api(namespace, reference.kind);
        let name = reference.name.as_str();
        let manager = field_manager(deployment);
        let parameters = PatchParams { field_manager: Some(manager.clone()), ..PatchParams::default() }
            .validation_strict();
        for _ in 0..LOOKS {
            let found = self.see(namespace, deployment, reference).await?;
            let Some((seen, metadata)) = found.filter(|(seen, _)| seen.uid == uid) else {
                // Gone, or another by now: the apply that follows meets that and decides.
                return Ok(Form::new(uid.to_owned(), None));
            };
            // What is seen here may be another form than was planned for: another operation's, perhaps.
            patience::confirmed().await;
            let entries = moved(metadata.managed_fields.unwrap_or_default(), &manager, fields);
            let marks = json!({ "uid": uid, "resourceVersion": seen.version, "managedFields": entries });
            let body = Patch::Merge(json!({ "metadata": marks }));
            let patch = || api.patch_metadata(name, &parameters, &body);
            match self.write("take fields over", Subject::member(reference), patch).await {
                Ok(written) => {
                    let written = written.metadata;
                    let (version, generation) = (written.resource_version, written.generation);
                    return Ok(Form { uid: uid.to_owned(), version, generation });
                }
                // Somebody wrote meanwhile: a controller its status, most often.
                Err(failure) if failure.conflict().is_some() => {}
                Err(failure) => return Err(failure.about(reference)),
            }
        }
        Err(Error::new(
            ErrorKind::OperationInProgress,
            format!("another writer keeps changing {reference}; find out who, then try again"),
        ))
    }

    /// Lets the API server try an object whose nulls take fields of others away; writes nothing.
    pub async fn try_merged(
        &self,
        namespace: &Namespace,
        deployment: &DeploymentName,
        artifact: &Artifact,
        form: &Form,
    ) -> Result<Written> {
        let reference = &artifact.reference;
        let api = self.api(namespace, reference.kind);
        let parameters = PatchParams {
            field_manager: Some(field_manager(deployment)),
            dry_run: true,
            ..PatchParams::default()
        };
        let parameters = parameters.validation_strict();
        let mut body = artifact.manifest.clone();
        if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("uid".to_owned(), json!(form.uid));
        }
        let body = Patch::Strategic(body);
        let name = reference.name.as_str();
        let patch = || api.patch_metadata(name, &parameters, &body);
        let tried = self.write("try the object", Subject::member(reference), patch).await;
        tried.map(|tried| answered(tried.metadata, deployment)).map_err(|failure| failure.about(reference))
    }
}

/// The entries of an object's field managers, with these fields in ours and in nobody else's.
fn moved(
    mut entries: Vec<ManagedFieldsEntry>,
    manager: &str,
    fields: &[HeldField],
) -> Vec<ManagedFieldsEntry> {
    let is_whole = |entry: &ManagedFieldsEntry| entry.subresource.as_deref().is_none_or(str::is_empty);
    let is_ours = |entry: &ManagedFieldsEntry| {
        entry.manager.as_deref() == Some(manager) && entry.operation.as_deref() == Some("Apply")
    };
    let mut taken: Vec<(&[String], Value)> = Vec::new();
    for entry in entries.iter_mut().filter(|entry| is_whole(entry) && !is_ours(entry)) {
        let Some(held) = entry.fields_v1.as_mut() else { continue };
        for field in fields {
            taken.extend(take(&mut held.0, &field.steps).map(|below| (field.steps.as_slice(), below)));
        }
    }
    let is_left = |entry: &ManagedFieldsEntry| {
        entry.fields_v1.as_ref().is_none_or(|held| held.0.as_object().is_none_or(|held| !held.is_empty()))
    };
    entries.retain(is_left);
    if let Some(own) = entries.iter_mut().find(|entry| is_whole(entry) && is_ours(entry)) {
        let held = own.fields_v1.get_or_insert_with(|| FieldsV1(json!({})));
        for (steps, below) in taken {
            give(&mut held.0, steps, below);
        }
    }
    entries
}

/// Takes a field out of a set, with whatever is left empty above it.
fn take(fields: &mut Value, steps: &[String]) -> Option<Value> {
    let (step, rest) = steps.split_first()?;
    let map = fields.as_object_mut()?;
    if rest.is_empty() {
        return map.remove(step);
    }
    let child = map.get_mut(step)?;
    let taken = take(child, rest)?;
    if child.as_object().is_some_and(Map::is_empty) {
        map.remove(step);
    }
    Some(taken)
}

/// Puts a field, and what lies below it, into a set.
fn give(fields: &mut Value, steps: &[String], below: Value) {
    let Some((step, rest)) = steps.split_first() else { return unite(fields, below) };
    if let Some(map) = fields.as_object_mut() {
        give(map.entry(step.clone()).or_insert_with(|| json!({})), rest, below);
    }
}

fn unite(fields: &mut Value, more: Value) {
    let (Some(map), Value::Object(more)) = (fields.as_object_mut(), more) else { return };
    for (step, below) in more {
        unite(map.entry(step).or_insert_with(|| json!({})), below);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(manager: &str, operation: &str, fields: &Value) -> ManagedFieldsEntry {
        let entry = json!({"manager": manager, "operation": operation, "apiVersion": "apps/v1",
            "fieldsType": "FieldsV1", "fieldsV1": fields});
        serde_json::from_value(entry).expect("an entry")
    }

    #[test]
    fn a_field_moves_from_others_to_us_and_leaves_nothing_empty_behind() {
        let field = |steps: &[&str]| HeldField {
            manager: "somebody".to_owned(),
            steps: steps.iter().map(|step| (*step).to_owned()).collect(),
        };
        let ours = json!({"f:spec": {"f:strategy": {"f:type": {}}}});
        let theirs = json!({"f:spec": {"f:strategy": {"f:rollingUpdate": {"f:maxSurge": {}}}}});
        let status = ManagedFieldsEntry {
            subresource: Some("status".to_owned()),
            ..entry("controller", "Update", &json!({"f:status": {}}))
        };
        let entries = vec![
            entry("somebody", "Update", &theirs),
            entry("panamax:shop", "Apply", &ours),
            entry("another", "Update", &json!({"f:metadata": {"f:labels": {"f:team": {}}}})),
            status.clone(),
        ];
        let rolling = field(&["f:spec", "f:strategy", "f:rollingUpdate"]);
        let moved = moved(entries, "panamax:shop", &[rolling]);
        let expected =
            json!({"f:spec": {"f:strategy": {"f:type": {}, "f:rollingUpdate": {"f:maxSurge": {}}}}});
        assert_eq!(moved.len(), 3, "whoever holds nothing any more has no entry");
        assert_eq!(moved[0], entry("panamax:shop", "Apply", &expected));
        assert_eq!(moved[2], status);
    }
}
