//! What is left of a deployment beside its inventory: pods and ReplicaSets whose controller is lost.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::artifacts::{DeploymentName, Kind, ObjectName, ObjectRef};
use crate::record::{Head, Makers, controller_of};

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
    let makers = Makers::of(deployment, head);
    let sets = sets
        .iter()
        .filter(|set| makers.have_lost_set(set))
        .filter_map(|set| Some((set.name.clone()?, set.uid.clone()?)));
    let sets: Vec<(String, String)> = sets.collect();
    let is_of_such =
        |pod: &ObjectMeta| controller_of(pod).is_some_and(|owner| sets.iter().any(|(_, uid)| *uid == owner));
    let is_left = |pod: &&ObjectMeta| is_of_such(pod) || makers.have_lost(pod, restored);
    let pods = pods.iter().filter(is_left).filter_map(|pod| {
        let name = ObjectName::new(pod.name.clone()?).ok()?;
        Some((ObjectRef::new(Kind::Pod, name), pod.uid.clone()?))
    });
    Leftovers { pods: pods.collect(), sets }
}

#[cfg(test)]
mod tests;
