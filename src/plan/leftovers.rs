//! What is left of a deployment beside its inventory: pods and ReplicaSets whose controller is lost.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::artifacts::{DeploymentName, Kind, ObjectName, ObjectRef};
use crate::record::{Head, Makers, controller_of};

/// What is left of a deployment, with the uid that is meant of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Pods that nobody makes anew.
    pub pods: Vec<(ObjectRef, String)>,
    /// Pods of these ReplicaSets: each that goes before its ReplicaSet is made anew.
    pub pods_of_sets: Vec<(ObjectRef, String)>,
    /// ReplicaSets, by name.
    pub sets: Vec<(String, String)>,
}

impl Leftovers {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty() && self.pods_of_sets.is_empty() && self.sets.is_empty()
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
    let mut left = Leftovers { sets, ..Leftovers::default() };
    for pod in pods {
        let owner = controller_of(pod);
        let is_of_set = owner.is_some_and(|owner| left.sets.iter().any(|(_, uid)| *uid == owner));
        let list = match is_of_set {
            true => &mut left.pods_of_sets,
            false if makers.have_lost(pod, restored) => &mut left.pods,
            false => continue,
        };
        let name = pod.name.clone().and_then(|name| ObjectName::new(name).ok());
        list.extend(name.zip(pod.uid.clone()).map(|(name, uid)| (ObjectRef::new(Kind::Pod, name), uid)));
    }
    left
}

#[cfg(test)]
mod tests;
