//! Which pods and ReplicaSets controllers of ours have made, whoever owns them now.
//!
//! An object is ours only if it has what nobody's copy can have. Our labels can be copied. But nobody else applies as
//! our field manager; and the API server named a controller's pod: `generateName` and five letters, asked for by the
//! cluster's own controllers. A copy has a name that a person chose, or a `generateName` that a person asked for.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Head;
use crate::artifacts::{DeploymentName, Kind, LABEL_NAME, ObjectRef, field_manager};

/// The label by which ReplicaSets and their pods are told apart.
const LABEL_HASH: &str = "pod-template-hash";
/// Who makes the pods of controllers.
const CONTROLLERS: &str = "kube-controller-manager";
/// What the API server makes the ends of names from, and how many of these letters.
const LETTERS: &str = "bcdfghjklmnpqrstvwxz2456789";
const SUFFIX: usize = 5;

/// Who makes the objects of a deployment: our field manager, and controllers of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Makers {
    manager: String,
    controllers: Vec<ObjectRef>,
    /// The uids of the pods that the inventory has.
    known: BTreeSet<String>,
}

impl Makers {
    /// Those of a deployment, as its record has it.
    pub fn of(deployment: &DeploymentName, head: &Head) -> Self {
        let members = head.inventory.iter();
        let adopted = members.clone().filter_map(|member| member.adopts.as_ref()).map(|pod| pod.uid.clone());
        let controllers = members.clone().map(|member| &member.reference);
        let pods = members.filter(|member| member.reference.kind == Kind::Pod);
        Self {
            manager: field_manager(deployment),
            controllers: controllers.filter(|one| one.kind.is_controller()).cloned().collect(),
            known: pods.filter_map(|member| member.uid.clone()).chain(adopted).collect(),
        }
    }

    /// Whether a pod that nothing controls is ours; `restored`: its fields are whose the backup says.
    pub fn have_lost(&self, pod: &ObjectMeta, restored: bool) -> bool {
        let is_ours = is_applied(pod, &self.manager) || is_generated(&self.controllers, pod, restored);
        controller_of(pod).is_none() && is_ours
    }

    /// Whether a ReplicaSet is ours that nothing controls.
    pub fn have_lost_set(&self, set: &ObjectMeta) -> bool {
        is_left_set(&self.controllers, set)
    }

    /// Whether a pod is ours that no record has, whatever controls it.
    pub fn have_made_beside(&self, pod: &ObjectMeta) -> bool {
        let is_known = pod.uid.as_ref().is_some_and(|uid| self.known.contains(uid));
        let is_applied = controller_of(pod).is_none() && is_applied(pod, &self.manager);
        !is_known && (is_applied || is_generated(&self.controllers, pod, false))
    }

    /// Whether a pod has a controller that is none of the inventory's, nor made by one of them.
    pub fn do_not_control(&self, pod: &ObjectMeta) -> bool {
        let mut owners = pod.owner_references.iter().flatten();
        let Some(owner) = owners.find(|owner| owner.controller == Some(true)) else { return false };
        let is_its = |one: &ObjectRef| {
            let rest = owner.name.strip_prefix(one.name.as_str());
            match one.kind {
                Kind::Deployment => {
                    owner.kind == "ReplicaSet" && rest.is_some_and(|rest| rest.starts_with('-'))
                }
                kind => owner.kind == kind.as_str() && rest == Some(""),
            }
        };
        !self.controllers.iter().any(is_its)
    }

    /// Whether the inventory has a pod of this uid.
    pub fn know(&self, uid: &str) -> bool {
        self.known.contains(uid)
    }
}

/// The uid of what controls an object.
pub fn controller_of(object: &ObjectMeta) -> Option<&str> {
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
fn is_controller_of_ours(controllers: &[ObjectRef], kind: Kind, name: &str, component: &str) -> bool {
    let is_its = kind.is_controller() && name == kind.workload_name(component);
    is_its || controllers.iter().any(|one| one.kind == kind && one.name.as_str() == name)
}

/// Whether a controller of ours created the pod.
fn is_generated(controllers: &[ObjectRef], pod: &ObjectMeta, restored: bool) -> bool {
    let (Some(name), Some(begin)) = (pod.name.as_deref(), pod.generate_name.as_deref()) else { return false };
    let Some(suffix) = name.strip_prefix(begin) else { return false };
    let is_suffix = suffix.len() == SUFFIX && suffix.chars().all(|letter| LETTERS.contains(letter));
    let (Some(component), Some(owner)) = (label(pod, LABEL_NAME), begin.strip_suffix('-')) else {
        return false;
    };
    let is_ours = match label(pod, LABEL_HASH) {
        Some(hash) => {
            let deployment = owner.strip_suffix(hash).and_then(|owner| owner.strip_suffix('-'));
            deployment
                .is_some_and(|name| is_controller_of_ours(controllers, Kind::Deployment, name, component))
        }
        None => is_controller_of_ours(controllers, Kind::ReplicationController, owner, component),
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
fn is_left_set(controllers: &[ObjectRef], set: &ObjectMeta) -> bool {
    let named = || {
        let (hash, component) = (label(set, LABEL_HASH)?, label(set, LABEL_NAME)?);
        let owner = set.name.as_deref()?.strip_suffix(hash)?.strip_suffix('-')?;
        Some(is_controller_of_ours(controllers, Kind::Deployment, owner, component))
    };
    controller_of(set).is_none() && named().unwrap_or(false)
}
