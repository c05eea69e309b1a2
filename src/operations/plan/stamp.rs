//! The stamp on pods: the revision in which a component's pods last changed.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Inputs;
use crate::artifacts::{Artifact, ComponentName, Kind, LABEL_REVISION, Stage};
use crate::cluster::MemberState;

/// The metadata and spec that pods of a workload are made from.
fn pod_template(artifact: &Artifact) -> (Option<&Value>, Option<&Value>) {
    let base = match artifact.reference.kind {
        Kind::Pod => Some(&artifact.manifest),
        Kind::ReplicationController | Kind::Deployment => artifact.manifest.pointer("/spec/template"),
        Kind::Secret | Kind::PersistentVolumeClaim | Kind::Service => None,
    };
    let metadata = base.and_then(|base| base.get("metadata"));
    (metadata.and_then(|metadata| metadata.get("labels")), base.and_then(|base| base.get("spec")))
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
fn earlier(inputs: &Inputs<'_>, component: &ComponentName) -> Option<u32> {
    let inventory = &inputs.head?.inventory;
    let mut workloads = inventory.iter().filter(|member| {
        member.component == *component
            && member.stage() == Stage::Workload
            && member.state == MemberState::Applied
    });
    // A Pod that is being handed to its controller stands beside it; the controller's stamp is the one that counts.
    let first = workloads.next()?;
    let controller =
        std::iter::once(first).chain(workloads).find(|member| member.reference.kind.is_controller());
    controller.unwrap_or(first).pod_revision
}

/// Whether the pods, the Secret beside them and the Services they are linked to stay as they are.
fn is_same(inputs: &Inputs<'_>, component: &ComponentName, after: &Artifact) -> bool {
    let Some(before) = workload(inputs.before, component) else { return false };
    if pod_template(before) != pod_template(after) {
        return false;
    }
    let secrets = |artifacts: &[Artifact]| -> Vec<Value> {
        let of_component = artifacts.iter().filter(|one| one.component == *component);
        of_component
            .filter(|one| one.reference.kind == Kind::Secret)
            .map(|one| one.manifest.clone())
            .collect()
    };
    if secrets(inputs.before) != secrets(inputs.after.objects()) {
        return false;
    }
    !links_changed(inputs, component)
}

/// Whether a Service that the component is linked to changes: a pod learns its links' addresses when it starts,
/// so it needs a new one.
pub(super) fn links_changed(inputs: &Inputs<'_>, component: &ComponentName) -> bool {
    let linked = inputs.links.get(component);
    linked.into_iter().flatten().any(|service| {
        let before = inputs.before.iter().find(|artifact| artifact.reference == *service);
        let spec = |artifact: Option<&Artifact>| {
            artifact.and_then(|artifact| artifact.manifest.get("spec").cloned())
        };
        spec(before) != spec(inputs.after.get(service))
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
