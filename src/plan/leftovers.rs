//! What is left of a deployment when everything in its inventory is gone: pods and ReplicaSets whose controller is lost.
//!
//! An object is ours only if it has what nobody's copy can have. Our labels can be copied. But nobody else applies as
//! our field manager; and the API server named a controller's pod: `generateName` and five letters, asked for by the
//! cluster's own controllers. A copy has a name that a person chose, or a `generateName` that a person asked for.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::artifacts::{DeploymentName, Kind, LABEL_NAME, ObjectName, ObjectRef, field_manager};
use crate::record::Head;

/// The label by which ReplicaSets and their pods are told apart.
const LABEL_HASH: &str = "pod-template-hash";
/// Who makes the pods of controllers.
const CONTROLLERS: &str = "kube-controller-manager";
/// What the API server makes the ends of names from, and how many of these letters.
const LETTERS: &str = "bcdfghjklmnpqrstvwxz2456789";
const SUFFIX: usize = 5;

/// What is left of a deployment, with the uid that is meant of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Pods.
    pub pods: Vec<(ObjectRef, String)>,
    /// ReplicaSets, by name.
    pub sets: Vec<(String, String)>,
}

impl Leftovers {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty() && self.sets.is_empty()
    }
}

/// Chooses what is left of a deployment among the pods and ReplicaSets with its labels.
///
/// `restored`: its objects were all created again from a backup, so their fields are whose the backup says.
pub fn leftovers(
    deployment: &DeploymentName,
    head: &Head,
    pods: &[ObjectMeta],
    sets: &[ObjectMeta],
    restored: bool,
) -> Leftovers {
    let sets = sets
        .iter()
        .filter(|set| is_left_set(head, set))
        .filter_map(|set| Some((set.name.clone()?, set.uid.clone()?)));
    let sets: Vec<(String, String)> = sets.collect();
    let is_of_such =
        |pod: &ObjectMeta| controller(pod).is_some_and(|owner| sets.iter().any(|(_, uid)| *uid == owner));
    let manager = field_manager(deployment);
    let is_left = |pod: &&ObjectMeta| {
        let is_free = controller(pod).is_none();
        is_of_such(pod) || is_free && (is_applied(pod, &manager) || is_generated(head, pod, restored))
    };
    let pods = pods.iter().filter(is_left).filter_map(|pod| {
        let name = ObjectName::new(pod.name.clone()?).ok()?;
        Some((ObjectRef::new(Kind::Pod, name), pod.uid.clone()?))
    });
    Leftovers { pods: pods.collect(), sets }
}

/// The uid of what controls an object.
fn controller(object: &ObjectMeta) -> Option<&str> {
    let mut owners = object.owner_references.iter().flatten();
    owners.find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.as_str())
}

/// Whether our field manager applied it.
fn is_applied(object: &ObjectMeta, manager: &str) -> bool {
    let mut entries = object.managed_fields.iter().flatten();
    entries.any(|one| one.manager.as_deref() == Some(manager) && one.operation.as_deref() == Some("Apply"))
}

fn label<'a>(object: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    object.labels.as_ref()?.get(key).map(String::as_str)
}

/// Whether we would call the component's controller so, or have.
fn is_controller_of_ours(head: &Head, kind: Kind, name: &str, component: &str) -> bool {
    let is_its = match kind {
        Kind::ReplicationController => {
            name.strip_suffix("-replication-controller").is_some_and(|stem| stem == component)
        }
        Kind::Deployment => name == component,
        Kind::Pod | Kind::Secret | Kind::PersistentVolumeClaim | Kind::Service => false,
    };
    let mut members = head.inventory.iter().map(|member| &member.reference);
    is_its || members.any(|one| one.kind == kind && one.name.as_str() == name)
}

/// Whether a controller of ours created the pod.
fn is_generated(head: &Head, pod: &ObjectMeta, restored: bool) -> bool {
    let (Some(name), Some(begin)) = (pod.name.as_deref(), pod.generate_name.as_deref()) else { return false };
    let Some(suffix) = name.strip_prefix(begin) else { return false };
    let is_suffix = suffix.len() == SUFFIX && suffix.chars().all(|letter| LETTERS.contains(letter));
    let (Some(component), Some(owner)) = (label(pod, LABEL_NAME), begin.strip_suffix('-')) else {
        return false;
    };
    let is_ours = match label(pod, LABEL_HASH) {
        Some(hash) => {
            let deployment = owner.strip_suffix(hash).and_then(|owner| owner.strip_suffix('-'));
            deployment.is_some_and(|name| is_controller_of_ours(head, Kind::Deployment, name, component))
        }
        None => is_controller_of_ours(head, Kind::ReplicationController, owner, component),
    };
    is_suffix && is_ours && (restored || is_asked_for_by_controllers(pod))
}

/// Whether the cluster's controllers asked for its name; where nobody holds that field any more, nobody else did.
fn is_asked_for_by_controllers(pod: &ObjectMeta) -> bool {
    let mut holders = pod.managed_fields.iter().flatten().filter(|entry| {
        let fields = entry.fields_v1.as_ref();
        fields.is_some_and(|fields| fields.0.pointer("/f:metadata/f:generateName").is_some())
    });
    holders.all(|entry| entry.manager.as_deref() == Some(CONTROLLERS))
}

/// Whether an apps Deployment of ours made the ReplicaSet and is gone: its name says which, and of which form.
fn is_left_set(head: &Head, set: &ObjectMeta) -> bool {
    let named = || {
        let (hash, component) = (label(set, LABEL_HASH)?, label(set, LABEL_NAME)?);
        let owner = set.name.as_deref()?.strip_suffix(hash)?.strip_suffix('-')?;
        Some(is_controller_of_ours(head, Kind::Deployment, owner, component))
    };
    controller(set).is_none() && named().unwrap_or(false)
}

#[cfg(test)]
mod tests;
