//! The stamp on pods: the revision in which a component's pods last changed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{Inputs, standing};
use crate::artifacts::{
    ANNOTATION_APPLIED, ANNOTATION_OPERATION, Artifact, Artifacts, ComponentName, Kind, LABEL_REVISION, Stage,
};
use crate::record;

/// What the containers of a workload's pods are made from: labels and annotations alone make no other pods.
fn pod_spec(artifact: &Artifact) -> Option<&Value> {
    match artifact.reference.kind {
        Kind::Pod => artifact.manifest.get("spec"),
        Kind::ReplicationController | Kind::Deployment => artifact.manifest.pointer("/spec/template/spec"),
        Kind::Secret | Kind::PersistentVolumeClaim | Kind::Service => None,
    }
}

/// The objects as they are applied, and the components whose pods keep the labels and annotations that they have.
///
/// An apps Deployment renews its pods whatever changes in its template, and a ReplicationController's would differ from
/// each other. So where nothing but metadata has changed, a controller's template keeps what it had: the new labels and
/// annotations come with the next change of the pods themselves.
pub(super) fn keep_metadata(inputs: &Inputs<'_>) -> (Artifacts, BTreeSet<ComponentName>) {
    let mut kept = BTreeSet::new();
    let objects = inputs.after.objects().iter().map(|artifact| {
        let mut artifact = artifact.clone();
        if let Some(metadata) = former_metadata(inputs, &artifact) {
            if let Some(now) = artifact.manifest.pointer_mut("/spec/template/metadata") {
                *now = metadata;
            }
            kept.insert(artifact.component.clone());
        }
        artifact
    });
    let objects = objects.collect();
    (Artifacts::new(objects), kept)
}

/// The metadata that a controller's template keeps; `None` if it is to have its own.
fn former_metadata(inputs: &Inputs<'_>, after: &Artifact) -> Option<Value> {
    const METADATA: &str = "/spec/template/metadata";
    let before = inputs.before.iter().find(|before| before.reference == after.reference)?;
    let former = before.manifest.pointer(METADATA)?;
    let is_kept = after.reference.kind.is_controller()
        && is_same(inputs, &after.component, after)
        && after.manifest.pointer(METADATA) != Some(former)
        && is_selected(after, former.get("labels"));
    is_kept.then(|| former.clone())
}

/// Whether a controller's selector finds pods with these labels.
fn is_selected(controller: &Artifact, labels: Option<&Value>) -> bool {
    let path = match controller.reference.kind {
        Kind::Deployment => "/spec/selector/matchLabels",
        _ => "/spec/selector",
    };
    let selector = controller.manifest.pointer(path).and_then(Value::as_object);
    selector.is_some_and(|selector| {
        selector.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
    })
}

fn workload<'a>(artifacts: &'a [Artifact], component: &ComponentName) -> Option<&'a Artifact> {
    artifacts.iter().find(|artifact| {
        artifact.component == *component && artifact.reference.kind.stage() == Stage::Workload
    })
}

/// For each component the revision its pods are of: the earlier one while nothing they are made from changed.
pub(super) fn pod_revisions(inputs: &Inputs<'_>) -> BTreeMap<ComponentName, u32> {
    let after = inputs.after.objects();
    let workloads = after.iter().filter(|artifact| artifact.reference.kind.stage() == Stage::Workload);
    workloads
        .map(|artifact| {
            let component = &artifact.component;
            let kept = earlier(inputs, component).filter(|_| is_same(inputs, component, artifact));
            (component.clone(), kept.unwrap_or(inputs.revision))
        })
        .collect()
}

/// The revision the component's pods are of now, if that is known for certain.
pub(super) fn earlier(inputs: &Inputs<'_>, component: &ComponentName) -> Option<u32> {
    record::pods(&inputs.head?.inventory, component)
}

/// Whether the pods, the Secrets they read and the Services they are linked to stay as they are.
fn is_same(inputs: &Inputs<'_>, component: &ComponentName, after: &Artifact) -> bool {
    let Some(before) = workload(standing::around(inputs, &after.reference), component) else { return false };
    // Pods never move between an apps Deployment and another workload: they are made anew, whatever they are of.
    let is_deployment = |artifact: &Artifact| artifact.reference.kind == Kind::Deployment;
    is_deployment(before) == is_deployment(after)
        && pod_spec(before) == pod_spec(after)
        && !environment_changed(inputs, after)
}

/// Whether what a pod of this workload learns only when it starts has changed beside its template.
pub(super) fn environment_changed(inputs: &Inputs<'_>, after: &Artifact) -> bool {
    secrets_changed(inputs, after) || links_changed(inputs, after)
}

/// Whether a Secret changes that the pods read values from; it may be that of a component they are linked to.
fn secrets_changed(inputs: &Inputs<'_>, after: &Artifact) -> bool {
    let containers = pod_spec(after).and_then(|spec| spec.get("containers")).and_then(Value::as_array);
    let variables = containers.into_iter().flatten().filter_map(|container| container.get("env")?.as_array());
    let names: BTreeSet<&str> = variables
        .flatten()
        .filter_map(|variable| variable.pointer("/valueFrom/secretKeyRef/name")?.as_str())
        .collect();
    let data = |artifacts: &[Artifact], name: &str| {
        let found = artifacts.iter().find(|artifact| {
            artifact.reference.kind == Kind::Secret && artifact.reference.name.as_str() == name
        });
        found.and_then(|secret| secret.manifest.get("data").cloned())
    };
    let before = standing::around(inputs, &after.reference);
    names.into_iter().any(|name| data(before, name) != data(inputs.after.objects(), name))
}

/// Whether a Service that the component is linked to changes: a pod learns its links' addresses when it starts,
/// so it needs a new one. Pods that get no variables of Services learn nothing from them.
fn links_changed(inputs: &Inputs<'_>, after: &Artifact) -> bool {
    if pod_spec(after).and_then(|spec| spec.get("enableServiceLinks")) == Some(&Value::Bool(false)) {
        return false;
    }
    let linked = inputs.links.get(&after.component);
    linked.into_iter().flatten().any(|service| {
        let before = standing::around(inputs, &after.reference);
        let before = before.iter().find(|artifact| artifact.reference == *service);
        // Pods learn nothing about how the Service is reached from outside.
        let address = |artifact: Option<&Artifact>| {
            artifact.map(|artifact| {
                ["/spec/ports", "/spec/clusterIP"].map(|path| artifact.manifest.pointer(path).cloned())
            })
        };
        address(before) != address(inputs.after.get(service))
    })
}

/// Writes the stamp into the labels of the pods.
pub(super) fn stamp(artifact: &mut Artifact, revision: u32) {
    let metadata = match artifact.reference.kind {
        Kind::Pod => artifact.manifest.get_mut("metadata"),
        Kind::ReplicationController | Kind::Deployment => {
            artifact.manifest.pointer_mut("/spec/template/metadata")
        }
        Kind::Secret | Kind::PersistentVolumeClaim | Kind::Service => None,
    };
    let labels = metadata.and_then(|metadata| metadata.get_mut("labels")).and_then(Value::as_object_mut);
    if let Some(labels) = labels {
        labels.insert(LABEL_REVISION.to_owned(), Value::from(revision.to_string()));
    }
}

/// Marks the object itself with the operation that created it and the one that writes it now; its pods are made without
/// the marks.
pub(super) fn mark(artifact: &mut Artifact, created: Option<&str>, applied: Option<&str>) {
    for (key, operation) in [(ANNOTATION_OPERATION, created), (ANNOTATION_APPLIED, applied)] {
        if let Some(operation) = operation {
            annotate(artifact, key, operation);
        }
    }
}

fn annotate(artifact: &mut Artifact, key: &str, value: &str) {
    let metadata = artifact.manifest.get_mut("metadata").and_then(Value::as_object_mut);
    let annotations = metadata
        .map(|metadata| metadata.entry("annotations").or_insert_with(|| Value::Object(Map::new())))
        .and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        annotations.insert(key.to_owned(), Value::from(value));
    }
}

/// Leaves out the values of variables that are empty: an absent one means the same, and owns nothing that others could
/// not set.
pub(super) fn leave_out_empty_values(artifact: &mut Artifact) {
    let spec = match artifact.reference.kind {
        Kind::Pod => artifact.manifest.get_mut("spec"),
        Kind::ReplicationController | Kind::Deployment => {
            artifact.manifest.pointer_mut("/spec/template/spec")
        }
        Kind::Secret | Kind::PersistentVolumeClaim | Kind::Service => None,
    };
    let containers = spec.and_then(|spec| spec.get_mut("containers")?.as_array_mut());
    let variables =
        containers.into_iter().flatten().filter_map(|container| container.get_mut("env")?.as_array_mut());
    for variable in variables.flatten().filter_map(Value::as_object_mut) {
        variable.retain(|key, value| key != "value" || value != "");
    }
}

/// The manifest as it is applied, marks aside.
pub(super) fn applied(artifact: &Artifact) -> Value {
    let mut applied = artifact.clone();
    leave_out_empty_values(&mut applied);
    applied.manifest
}

/// Takes the marks off again.
pub(super) fn unmark(artifact: &mut Artifact) {
    let annotations = artifact.manifest.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        annotations.remove(ANNOTATION_OPERATION);
        annotations.remove(ANNOTATION_APPLIED);
    }
}
