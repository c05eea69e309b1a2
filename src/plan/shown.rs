//! Which fields of an object change, as the plan tells them: from what is on the cluster, to what will be.
//!
//! What was applied last is there still where nobody else holds it. What others hold has to be looked at.

use serde_json::Value;

use super::{Inputs, Plan, Step, claims, diff, fields, find, replicas};
use crate::artifacts::{Action, Artifact, FieldChange, Kind, ObjectRef};

/// The replica count, in the manifest of a controller.
const COUNT: &str = "spec.replicas";

/// An object as it was applied and as it is to be applied, without marks.
#[derive(Clone, Debug)]
pub(crate) struct Shapes {
    before: Value,
    after: Value,
}

/// The fields that a step changes, as far as nobody else holds them.
pub(super) fn fields(inputs: &Inputs<'_>, artifact: &Artifact, step: &mut Step) -> Vec<FieldChange> {
    if !matches!(step.action, Action::Update | Action::Replace) {
        return Vec::new();
    }
    let Some(before) = find(inputs.before, &artifact.reference) else { return Vec::new() };
    if step.is_contested() && artifact.reference.kind != Kind::Secret {
        let (before, after) = (before.manifest.clone(), artifact.manifest.clone());
        step.shapes = Some(Box::new(Shapes { before, after }));
    }
    told(&before.manifest, &artifact.manifest, &artifact.manifest, step)
}

/// What changes from one form to another, where `wanted` is what the template asks for.
fn told(is: &Value, will_be: &Value, wanted: &Value, step: &Step) -> Vec<FieldChange> {
    claims::without_kept(counted(diff::fields(is, will_be), step), wanted, &step.artifact)
}

impl Plan {
    /// The objects of which somebody has to look at what is there before it can be told what changes.
    pub fn to_be_seen(&self) -> Vec<ObjectRef> {
        let steps = self.steps.iter().filter(|step| step.shapes.is_some());
        steps.map(|step| step.artifact.reference.clone()).collect()
    }

    /// The object of a step.
    pub fn artifact(&self, reference: &ObjectRef) -> Option<&Artifact> {
        self.steps.iter().map(|step| &step.artifact).find(|artifact| artifact.reference == *reference)
    }

    /// Tells what changes of an object, once it is decided what of it others keep; `found` is what is there.
    pub fn tell_seen(&mut self, reference: &ObjectRef, found: &Value) {
        let Some(step) = self.steps.iter().find(|step| step.artifact.reference == *reference) else { return };
        let Some(Shapes { before, after }) = step.shapes.as_deref() else { return };
        let (mut is, mut will_be) = (before.clone(), after.clone());
        for other in &step.others {
            let shapes = [before, after];
            overlay(&mut is, &other.fields, found, &shapes, None);
            overlay(&mut will_be, &other.fields, found, &shapes, Some(&step.artifact.manifest));
        }
        let changes = told(&is, &will_be, after, step);
        if let Some(change) = self.changes.iter_mut().find(|change| change.reference == *reference) {
            change.fields = changes;
        }
    }
}

/// The changes with that of the replica count: from the one that is in force to the one that will be.
fn counted(mut changes: Vec<FieldChange>, step: &Step) -> Vec<FieldChange> {
    if !step.artifact.reference.kind.is_controller() {
        return changes;
    }
    changes.retain(|change| change.path != COUNT);
    let after = step.take_back.or_else(|| replicas::written(&step.artifact));
    let before = step.replicas_in_force;
    if after.is_some() && after != before {
        let place = changes.partition_point(|change| change.path.as_str() < COUNT);
        let shown = |count: Option<i32>| count.map(|count| count.to_string());
        let change = FieldChange { path: COUNT.to_owned(), before: shown(before), after: shown(after) };
        changes.insert(place, change);
    }
    changes
}

/// Puts what others hold into `target` as it was found, in fields that one of the shapes has; with `written` only what
/// that does not set.
fn overlay(target: &mut Value, held: &Value, found: &Value, shapes: &[&Value], written: Option<&Value>) {
    for (step, below) in held.as_object().into_iter().flatten() {
        if let Some(name) = step.strip_prefix("f:") {
            let shapes: Vec<&Value> = shapes.iter().filter_map(|shape| shape.get(name)).collect();
            let written = written.map(|written| written.get(name).unwrap_or(&Value::Null));
            let is_leaf = below.as_object().is_none_or(serde_json::Map::is_empty);
            match (target.as_object_mut(), found.get(name)) {
                (None, _) => {}
                _ if shapes.is_empty() || is_leaf && written.is_some_and(|written| !written.is_null()) => {}
                (Some(target), Some(found)) if is_leaf => drop(target.insert(name.to_owned(), found.clone())),
                (Some(target), None) if is_leaf => drop(target.remove(name)),
                (Some(target), Some(found)) => {
                    if let Some(target) = target.get_mut(name) {
                        overlay(target, below, found, &shapes, written);
                    }
                }
                (Some(_), None) => {}
            }
        } else if let Some(keys) = fields::keys(step) {
            let item = |list: &'_ Value| -> Option<usize> {
                list.as_array()?.iter().position(|item| fields::has(item, &keys))
            };
            let shapes: Vec<&Value> = shapes.iter().filter_map(|shape| shape.get(item(shape)?)).collect();
            let written = written.map(|list| item(list).and_then(|at| list.get(at)).unwrap_or(&Value::Null));
            if let (Some(at), Some(found)) = (item(target), item(found).and_then(|at| found.get(at)))
                && let Some(target) = target.get_mut(at)
            {
                overlay(target, below, found, &shapes, written);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_hold_is_told_as_it_was_found() {
        let with =
            |image: &str| json!({"spec": {"containers": [{"name": "web", "image": image, "tty": true}]}});
        let held =
            json!({"f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {"f:image": {}, "f:stdin": {}}}}});
        let (before, after, found) = (with("n:1"), with("n:2"), with("n:9"));
        let shapes = [&before, &after];
        let told = |written: Option<&Value>| {
            let (mut is, mut will_be) = (before.clone(), after.clone());
            overlay(&mut is, &held, &found, &shapes, None);
            overlay(&mut will_be, &held, &found, &shapes, Some(written.unwrap_or(&Value::Null)));
            diff::fields(&is, &will_be)
        };
        // Taken, the image changes from theirs to ours; left to them, it stays.
        let taken = told(Some(&after));
        assert_eq!(taken.len(), 1, "{taken:?}");
        assert_eq!(taken[0].before.as_deref(), Some("\"n:9\""));
        assert_eq!(taken[0].after.as_deref(), Some("\"n:2\""));
        assert_eq!(told(None), []);
    }
}
