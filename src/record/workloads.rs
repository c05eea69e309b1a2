//! Which workload of a component counts: one place for every form of the question.

use std::collections::BTreeSet;

use super::{Head, Member, MemberState};
use crate::artifacts::{ComponentName, Kind, ObjectRef, Stage};

/// The workloads of a component in the inventory.
fn workloads<'a>(
    inventory: &'a [Member],
    component: &'a ComponentName,
) -> impl DoubleEndedIterator<Item = &'a Member> {
    inventory.iter().filter(move |member| member.component == *component && member.stage() == Stage::Workload)
}

/// The workload that runs a component, and those that are to be deleted for it.
///
/// While a controller takes a pod over, both are in the inventory: the controller counts. A workload that is to be
/// deleted, or was never created, counts only when there is no other.
pub fn serving<'a>(
    inventory: &'a [Member],
    component: &'a ComponentName,
) -> (Option<&'a Member>, Vec<&'a Member>) {
    let mut found: Vec<&Member> = workloads(inventory, component).collect();
    found.sort_by_key(|member| {
        let is_deleting = member.state == MemberState::Deleting;
        (is_deleting, member.uid.is_none(), !member.reference.kind.is_controller())
    });
    let mut found = found.into_iter();
    let serving = found.next();
    (serving, found.filter(|member| member.state == MemberState::Deleting).collect())
}

/// The workload that a Scale starts from: one that was created, a controller before a Pod.
///
/// A controller without a uid was never created: the Pod that it was to take over is what runs. The newest come
/// first in the inventory, and of equals the last is taken.
pub fn to_be_scaled<'a>(inventory: &'a [Member], component: &'a ComponentName) -> Option<&'a Member> {
    workloads(inventory, component)
        .rev()
        .filter(|member| member.state != MemberState::Deleting && member.uid.is_some())
        .max_by_key(|member| member.reference.kind.is_controller())
}

/// The workload that was applied for certain: its revision is that of the component's pods.
///
/// A Pod that is being handed to its controller is listed beside it; the controller's stamp is the one that counts.
pub fn applied<'a>(inventory: &'a [Member], component: &'a ComponentName) -> Option<&'a Member> {
    let mut found = workloads(inventory, component).filter(|member| member.state == MemberState::Applied);
    let first = found.next()?;
    let controller = std::iter::once(first).chain(found).find(|member| member.reference.kind.is_controller());
    Some(controller.unwrap_or(first))
}

/// The revision that the component's pods are of for certain, as far as they are like the current revision's.
///
/// A workload that is planned may have been written, with another template; written like the current revision again,
/// the pods it had before are as they should be.
pub fn pods(inventory: &[Member], component: &ComponentName) -> Option<u32> {
    match applied(inventory, component) {
        Some(member) => member.pod_revision,
        None => workloads(inventory, component).find_map(|member| member.pods_before),
    }
}

/// The controller of another kind that runs the component until the controller `next` does.
pub fn former<'a>(
    inventory: &'a [Member],
    component: &ComponentName,
    next: &ObjectRef,
) -> Option<&'a Member> {
    inventory.iter().find(|member| {
        member.component == *component
            && member.reference.kind.is_controller()
            && member.reference != *next
            && member.uid.is_some()
            && member.state != MemberState::Deleting
    })
}

impl Head {
    /// The components that run as ReplicationControllers, whatever the template's count says.
    ///
    /// A component whose apps Deployment was scaled would lose its count to a bare Pod.
    pub fn controllers(&self) -> BTreeSet<ComponentName> {
        let stays = self.inventory.iter().filter(|member| member.state != MemberState::Deleting);
        stays
            .filter(|member| match member.reference.kind {
                Kind::ReplicationController => true,
                Kind::Deployment => member.scaled_replicas.is_some_and(|count| count != 1),
                Kind::Pod | Kind::Secret | Kind::PersistentVolumeClaim | Kind::Service => false,
            })
            .map(|member| member.component.clone())
            .collect()
    }
}
