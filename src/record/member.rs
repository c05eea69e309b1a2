//! One object of the inventory: what a deployment has, or may have, on the cluster.

use serde::{Deserialize, Serialize};

use super::HeadFields;
use crate::artifacts::{ComponentName, ObjectRef, Stage, Trace};

/// One object of the inventory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Kind and name.
    pub reference: ObjectRef,
    /// Its component.
    pub component: ComponentName,
    /// How far it got.
    pub state: MemberState,
    /// Its uid, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// For a workload: the revision in which its pods last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_revision: Option<u32>,
    /// For a workload that is planned: the revision that its pods are of if it is not written. That holds as long as
    /// the current revision stays the one that it was planned over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods_before: Option<u32>,
    /// For a ReplicationController that is planned: whether what others have written into the form of its pods is taken
    /// back. Once nobody else holds that form, pods of theirs may run that nothing on them tells from others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retaken: bool,
    /// The revision as which it stands for certain, where the current one was never written to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stands_as: Option<u32>,
    /// For a controller: the template's count when it was last applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_replicas: Option<i32>,
    /// For a controller: whether the template had no count when it was last applied; the one above is the last it had,
    /// or 1.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uncounted: bool,
    /// For a controller: the count set by Scale, as long as it differs from the template's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaled_replicas: Option<i32>,
    /// Whether the object with this uid is to be deleted and created again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replace: bool,
    /// For a controller: its generation after our last write. An observed object of a lower generation is stale and
    /// ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// For a controller: the Pod of ours that it takes over. Kubernetes does that a moment later, and never once
    /// the controller is being deleted: until both were seen together the Pod must go by its own uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopts: Option<Adopted>,
    /// For a controller: the uid of the Pod of ours that it has taken over. Whoever takes that one from it again, or deletes
    /// the controller alone, has left a pod that runs, and nothing that a dead operation sent late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<String>,
    /// The operation that created the object, or was the first to write it after others had left it in doubt: an
    /// annotation of the object, by which what a dead operation still writes is recognized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// A digest of the names of the fields we own; another manager's edit changes it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owned: String,
    /// What our last write left on it; `None`: it was written by a version that did not look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
    /// Whether the template no longer has it, and it stays: nobody misses it, and no Deploy writes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kept: bool,
    /// For a workload: whether the image of its pods was left to somebody else who has set it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub other_image: bool,
    /// For a controller: whether the count above that is not the template's was found, and not set by Scale.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub found_replicas: bool,
}

/// A Pod that was handed to a controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// Kind and name.
    pub reference: ObjectRef,
    /// Its uid.
    pub uid: String,
}

impl HeadFields {
    /// Whether the inventory has an object of this name, or hands the Pod with this uid over to a controller, or has.
    pub fn knows(&self, reference: &ObjectRef, uid: &str) -> bool {
        let is_handed_over = |member: &Member| {
            let adopts = member.adopts.as_ref().map(|pod| &pod.uid);
            adopts.into_iter().chain(&member.adopted).any(|pod| pod == uid)
        };
        self.member(reference).is_some() || self.inventory.iter().any(is_handed_over)
    }
}

impl HeadFields {
    /// Notes what objects show of their writers that are as they were deployed again.
    pub(super) fn same_again(&mut self, objects: &[(ObjectRef, String, Trace)]) {
        for (reference, uid, trace) in objects {
            let members = self.inventory.iter_mut();
            let mut members = members.filter(|member| member.state == MemberState::Applied);
            let is_it =
                |member: &&mut Member| member.reference == *reference && member.uid.as_ref() == Some(uid);
            if let Some(member) = members.find(is_it) {
                member.trace = Some(trace.clone());
            }
        }
    }
}

impl Member {
    /// An entry of which nothing more is known.
    pub fn new(reference: ObjectRef, component: ComponentName, state: MemberState) -> Self {
        Self {
            reference,
            component,
            state,
            uid: None,
            pod_revision: None,
            pods_before: None,
            retaken: false,
            stands_as: None,
            template_replicas: None,
            scaled_replicas: None,
            uncounted: false,
            replace: false,
            generation: None,
            adopts: None,
            adopted: None,
            operation: None,
            owned: String::new(),
            trace: None,
            kept: false,
            other_image: false,
            found_replicas: false,
        }
    }

    /// The entry of an object that an operation which was taken over has created late: it is to be deleted.
    pub fn late(reference: ObjectRef, component: ComponentName, uid: String, operation: String) -> Self {
        let late = Self::new(reference, component, MemberState::Deleting);
        Self { uid: Some(uid), operation: Some(operation), ..late }
    }

    /// Whether it is to be deleted, and was not there when that was decided: an operation that was taken over may have
    /// sent its creation before.
    pub fn may_still_arrive(&self) -> bool {
        self.state == MemberState::Deleting && self.uid.is_none()
    }

    /// The stage it is applied in.
    pub fn stage(&self) -> Stage {
        self.reference.kind.stage()
    }
}

/// How far an object got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberState {
    /// To be written; may be there or not.
    Planned,
    /// Written as its revision says.
    Applied,
    /// To be deleted; may be gone or not.
    Deleting,
}
